"""Exposure: kept with every change, whole for what is in doubt, the same as a scan would find."""

from __future__ import annotations

from decimal import Decimal

from tests.unit.core.order_builders import ACCOUNT, BASE, BTC, OWNER, USDT, fill, intent, report
from tradefan.core.exposure import Sides, account_sides, owner_sides, reserved
from tradefan.core.trading import Trading, apply
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.messages.records import InDoubt, Record
from tradefan.units import AccountId, Asset, ClientOrderId, OwnerId

D = Decimal
S = OrderStatus


def folded(*records: Record) -> Trading:
    state = Trading()
    for record in records:
        apply(state, record)
    assert state.unapplied == 0
    return state


def test_order_when_working_then_its_rest_counts_by_account_and_owner() -> None:
    """10 at 100 of which 4 have traded: 6 work, worth 600, and 6 * 100.1 USDT are reserved."""
    state = folded(intent(), report(S.PARTIALLY_FILLED, 4), fill(4))
    wanted = Sides(buy_working=D(6), buy_notional=D(600))
    assert account_sides(state.exposure, ACCOUNT, BTC) == wanted
    assert owner_sides(state.exposure, ACCOUNT, BTC, OWNER) == wanted
    assert reserved(state.exposure, ACCOUNT, USDT) == D("600.6")


def test_order_when_in_doubt_then_all_of_it_counts_until_evidence() -> None:
    """Doubt moves the rest from working to in doubt, and evidence moves it back or away."""
    state = folded(intent(), InDoubt(2, ACCOUNT, ClientOrderId("c1"), Doubt.CREATE, "time-out"))
    assert account_sides(state.exposure, ACCOUNT, BTC) == Sides(buy_doubt=D(10), buy_notional=D(1000))
    assert state.exposure.in_doubt == {ACCOUNT: 1}
    apply(state, report(S.NEW))
    assert account_sides(state.exposure, ACCOUNT, BTC) == Sides(buy_working=D(10), buy_notional=D(1000))
    apply(state, report(S.CANCELED))
    assert account_sides(state.exposure, ACCOUNT, BTC) == Sides()
    assert (state.exposure.in_doubt, reserved(state.exposure, ACCOUNT, USDT)) == ({ACCOUNT: 0}, D(0))


def test_report_when_ahead_of_the_fills_then_the_difference_is_unbooked() -> None:
    """What the venue says has traded belongs to the position, and is paid, before its fills have come."""
    state = folded(intent(), report(S.FILLED, 10), fill(4))
    assert account_sides(state.exposure, ACCOUNT, BTC) == Sides(unbooked=D(6), unbooked_buy=D(6))
    assert reserved(state.exposure, ACCOUNT, USDT) == D("600.6")
    apply(state, fill(6, trade_id="t2"))
    assert account_sides(state.exposure, ACCOUNT, BTC) == Sides()
    assert reserved(state.exposure, ACCOUNT, USDT) == D(0)


def test_sale_when_working_then_it_reserves_base_and_is_signed() -> None:
    """Both sides and both owners add up in the account."""
    other = OwnerId("other")
    state = folded(
        intent(order_qty=D(3)),
        intent(
            client_order_id=ClientOrderId("c2"),
            owner=other,
            side="sell",
            order_qty=D(5),
            reserve_asset=BASE,
            reserve_per_unit=D(1),
        ),
        InDoubt(2, ACCOUNT, ClientOrderId("c2"), Doubt.CREATE, "time-out"),
    )
    both = account_sides(state.exposure, ACCOUNT, BTC)
    assert (both.buy_qty, both.sell_qty, both.working_qty, both.in_doubt_qty) == (D(3), D(5), D(3), D(-5))
    assert owner_sides(state.exposure, ACCOUNT, BTC, other).sell_notional == D(500)
    assert reserved(state.exposure, ACCOUNT, BASE) == D(5)


def test_nobody_when_asked_then_nothing_is_there() -> None:
    """An account, owner or asset without orders has no exposure."""
    state = Trading()
    assert account_sides(state.exposure, ACCOUNT, BTC) == Sides()
    assert owner_sides(state.exposure, ACCOUNT, BTC, OWNER) == Sides()
    assert reserved(state.exposure, AccountId("x"), Asset("y")) == D(0)
