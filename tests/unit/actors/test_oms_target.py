"""Targets: the wish is a position, and repeating it is free."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BASE, BTC, CLI, ETH, GATEWAY, PAUSE, TRADER, TREND, wiring
from tests.unit.risk.test_limits import instrument
from tradefan.actors.oms_state import Turn
from tradefan.core.ledger import balance, position
from tradefan.messages.gateway import CancelOrder, CreateOrder, OrderInDoubt
from tradefan.messages.market import Quality
from tradefan.messages.orders import CancelAll, Doubt, OrderStatus, ParentUpdate, Refusal
from tradefan.messages.records import FillInferred, Intent, Parent
from tradefan.units import SECOND

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def filled(bench: Bench) -> CreateOrder:
    """Fill the only create and return it."""
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, create.order_qty)
    bench.report(create, S.FILLED, create.order_qty)
    return create


def test_target_when_flat_then_the_difference_is_ordered_and_then_nothing(bench: Bench) -> None:
    """Wish 2, buy 2; the same wish again while it works and after it is full does nothing."""
    bench.target(2)
    bench.target(2)
    create = filled(bench)
    assert (create.side, create.order_qty) == ("buy", D(2))
    bench.target(2)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert [record.target_qty for record in bench.made(Parent)] == [D(2)]
    bench.check()


def test_target_when_many_others_are_open_then_they_are_not_walked_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn costs what its own place holds, whatever rests elsewhere: the index is all that it reads."""
    for place in ({"owner": CLI}, {"instrument": ETH}, {}):
        bench.limit(1, 9, **place)
    monkeypatch.setattr(Turn, "open_parents", None)
    bench.target(2)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(1)
    bench.target(5)
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.check()


def test_target_when_it_changes_then_the_difference_in_both_directions(bench: Bench) -> None:
    """Up buys, down sells, zero sells all."""
    sides = []
    for wish in (2, 3, 1, 0):
        bench.target(wish)
        create = filled(bench)
        sides.append((create.side, create.order_qty))
    assert sides == [("buy", D(2)), ("buy", D(1)), ("sell", D(2)), ("sell", D(1))]
    assert bench.take(TRADER, Refusal) == []


def test_weight_when_constant_over_300_bars_then_no_order_below_the_band(bench: Bench) -> None:
    """A constant weight of 150,000 USDT while the price walks: only moves of one per cent and more trade."""
    wishes, orders = 300, 0
    price = 100.0
    for bar in range(wishes):
        price *= 1.003 if bar % 2 else 1 / 1.002
        bench.advance(5 * SECOND)
        bench.quote(BTC, round(price, 2))
        wanted = (D(900) / D(str(round(price, 2)))).quantize(D("0.001"))
        before = position(bench.trading.ledger, "paper:main", "trend", BTC).qty  # type: ignore[arg-type]
        bench.target(wanted)
        creates = bench.take(GATEWAY, CreateOrder)
        for create in creates:
            orders += 1
            assert create.order_qty >= D("0.01") * wanted
            assert create.order_qty == abs(wanted - before)
            bench.fill(create, create.order_qty)
            bench.report(create, S.FILLED, create.order_qty)
        if not creates:
            assert abs(wanted - before) < D("0.01") * wanted
    assert 2 <= orders <= 25
    assert bench.take(TRADER, Refusal) == []
    bench.check()


@pytest.mark.failure("OR-02")
def test_target_when_the_fills_are_still_on_their_way_then_nothing_is_ordered_twice(bench: Bench) -> None:
    """A report may overtake its fills: what the venue says has traded counts as held."""
    bench.target(2)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.FILLED, 2)
    bench.target("2.5")
    second = bench.one(GATEWAY, CreateOrder)
    assert second.order_qty == D("0.5")
    bench.fill(create, 2)
    bench.fill(second, "0.5")
    bench.target("2.5")
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.check()


@pytest.mark.parametrize("inferred", [False, True])
def test_target_when_the_fee_of_a_purchase_is_still_to_come_then_it_is_not_sold(inferred: bool) -> None:
    """It may be taken in what was bought: a strategy would pay it with what the account held before."""
    bench = Bench().ready(USDT=1_000_000, BTC=10)
    bench.submit(1)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.FILLED, 1)
    if inferred:
        bench.passed(60)
    assert len(bench.made(FillInferred)) == inferred
    bench.submit(1, side="sell")
    assert bench.one(TRADER, Refusal).would_pass == "order_qty 0.999"
    bench.target(0)
    sale = filled(bench)
    assert (sale.side, sale.order_qty) == ("sell", D("0.999"))
    bench.fill(create, 1, fee=D("0.001"), fee_asset=BASE)
    held = position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty
    assert (held, balance(bench.trading.ledger, ACCOUNT, BASE)) == (D(0), D(10))
    bench.check()


@pytest.mark.parametrize("again", [False, True])
def test_target_when_no_trade_ever_tells_of_a_purchase_then_all_is_sold_in_the_end(again: bool) -> None:
    """What was only inferred stays so: its fee would keep back for ever what its owner holds.

    Each life waits `seal_after` for the trade anew.
    """
    lots = {BTC: instrument(qty_lot=D(1), min_qty=D(1)), ETH: wiring().instruments[ETH]}
    bench = Bench(instruments=lots).ready()
    bench.submit(1)
    bench.report(bench.one(GATEWAY, CreateOrder), S.FILLED, 1)
    bench.passed(60)
    assert len(bench.made(FillInferred)) == 1
    bench.submit(1, side="sell", reduce_only=True)
    assert bench.one(TRADER, Refusal).would_pass == "nothing"
    bench.passed(10 * 60)
    if again:
        bench = Bench(instruments=lots, records=bench.records, now_ns=bench.now_ns).ready(BTC=1, USDT=999_900)
        bench.submit(1, side="sell", reduce_only=True)
        assert bench.one(TRADER, Refusal).would_pass == "nothing"
        bench.passed(10 * 60)
    bench.target(0)
    assert filled(bench).order_qty == D(1)
    bench.check()


def test_target_when_little_of_it_is_untold_then_its_fee_and_no_whole_lot_is_kept_back() -> None:
    """Lots bind what is sold of the rest."""
    bench = Bench().ready(USDT=1_000_000, BTC=10)
    bench.submit(1)
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, 1, fee=D("0.0001"), fee_asset=BASE)
    bench.report(create, S.FILLED, 1)
    bench.submit("0.1")
    bench.report(bench.one(GATEWAY, CreateOrder), S.FILLED, "0.1")
    bench.target(0)
    assert filled(bench).order_qty == D("1.099")


def test_target_when_the_fee_was_paid_in_quote_then_the_rest_is_sold_behind_the_trade() -> None:
    """What was kept back for the fee is certain once the real trade is booked."""
    bench = Bench().ready(USDT=1_000_000, BTC=10)
    bench.submit(10)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.FILLED, 10)
    bench.target(0)
    assert filled(bench).order_qty == D("9.99")
    bench.fill(create, 10, fee=D(1))
    bench.target(0, settings={"tries": 1})
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D("0.01")
    bench.submit("0.01", side="sell", algo="limit", limit_price=D(1000))
    assert bench.one(GATEWAY, CreateOrder).order_qty == D("0.01")


@pytest.mark.failure("OR-02")
def test_target_when_the_create_is_in_doubt_then_it_waits_for_evidence(bench: Bench) -> None:
    """A doubtful order counts whole; a different wish cancels it to evidence before anything new."""
    bench.target(2)
    create = bench.one(GATEWAY, CreateOrder)
    bench.tell(OrderInDoubt(create.account, create.client_order_id, Doubt.CREATE, "time-out"))
    bench.target(2)
    bench.target(5)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.fill(create, 1)
    bench.report(create, S.CANCELED, 1)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(4)
    bench.check()


def test_target_when_changed_while_it_works_then_the_newest_wish_follows_the_evidence(bench: Bench) -> None:
    """A running parent is cancelled, its last fill counted, and only then the newest wish acts."""
    bench.target(3, algo="limit", limit_price=D(99))
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    bench.target("3.001", algo="limit", limit_price=D(99))
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.target(4, algo="limit", limit_price=D(99))
    bench.target(5, algo="limit", limit_price=D(98))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.report(create, S.CANCELED, 1)
    bench.fill(create, 1)
    second = bench.one(GATEWAY, CreateOrder)
    assert (second.order_qty, second.limit_price) == (D(4), D(98))
    assert [record.target_qty for record in bench.made(Parent)] == [D(3), D(5)]
    bench.check()


def test_target_when_it_returns_to_what_runs_then_nothing_is_replaced(bench: Bench) -> None:
    """The wish that waited is forgotten when the old one comes back before the change took effect."""
    bench.auto_durable = False
    bench.target(3, algo="limit", limit_price=D(99))
    bench.target(5, algo="limit", limit_price=D(99))
    assert [intent.order_qty for intent in bench.made(Intent)] == [D(3), D(5)]
    assert bench.take(GATEWAY, CancelOrder) == []


def test_target_when_the_owner_cancels_all_then_the_waiting_wish_goes_too(bench: Bench) -> None:
    """CancelAll means all: the wish that waits for evidence is not taken up afterwards."""
    bench.target(3, algo="limit", limit_price=D(99))
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    bench.target(5, algo="limit", limit_price=D(99))
    bench.tell(CancelAll(create.owner))
    bench.report(create, S.CANCELED)
    assert bench.take(GATEWAY, CreateOrder) == []


def test_target_when_other_orders_of_the_owner_work_then_they_count(bench: Bench) -> None:
    """Held, working and in doubt are subtracted, whoever asked for them; other owners' are not."""
    bench.limit(1, 99)
    bench.limit(4, 99, owner=CLI)
    bench.target(3)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(2)


SMALL: dict[str, dict[str, Any]] = {
    "inside the band": {"target_qty": D("2.019")},
    "below a lot": {"target_qty": D("2.0004"), "band": D(0)},
    "below the minimum notional": {"target_qty": D("2.04"), "band": D(0)},
    "dust towards zero": {"instrument": ETH, "target_qty": D("-0.005"), "band": D(0)},
}


@pytest.mark.parametrize("name", SMALL)
def test_target_when_the_difference_is_small_then_nothing_happens_and_nothing_is_refused(
    bench: Bench, name: str
) -> None:
    """Under the band, a lot, or what the venue takes: no order and no refusal."""
    bench.bought(2)
    bench.target(0, **SMALL[name])
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.take(TRADER, Refusal) == []


def test_zero_when_wished_then_it_ignores_the_band(bench: Bench) -> None:
    """A target of zero always acts."""
    bench.bought("0.06")
    bench.target(0, band=D("0.99"))
    assert bench.one(GATEWAY, CreateOrder).side == "sell"


def test_target_when_its_order_expires_then_the_next_wish_acts(bench: Bench) -> None:
    """A thin book leaves a rest; while tries are left the wish is unchanged, afterwards it acts again."""
    bench.target(2, settings={"tries": 2})
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    bench.target(2, settings={"tries": 2})
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.advance(PAUSE)
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    assert bench.take(TRADER, ParentUpdate)[-1].reason == "tries"
    bench.target(2)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(2)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "instrument": ({"instrument": "binance:XRP/USDT"}, "UNKNOWN_INSTRUMENT"),
    "algo": ({"algo": "twapp"}, "UNKNOWN_ALGO"),
    "risk": ({"target_qty": D(50)}, "RISK_MAX_ORDER_QTY"),
    "short on spot": ({"target_qty": D(-1)}, "INSUFFICIENT_FUNDS"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_target_when_it_cannot_be_then_it_is_refused(bench: Bench, name: str) -> None:
    """A wish that needs an order passes the same checks as an order."""
    changes, code = REFUSED[name]
    bench.target(1, **changes)
    assert bench.one(TRADER, Refusal).code == code


def test_target_when_there_is_no_reference_then_it_is_refused(bench: Bench) -> None:
    """No feed, no order; and before READY none either."""
    bench.quote(BTC, 100, Quality.STALE)
    bench.target(1)
    assert bench.one(TRADER, Refusal).code == "NO_REFERENCE"
    fresh = Bench()
    fresh.fold()
    fresh.target(1)
    assert fresh.one(TRADER, Refusal).code == "NOT_READY"


def test_target_when_its_ref_is_known_then_nothing_happens(bench: Bench) -> None:
    """A wish that comes twice under its ref is one wish."""
    bench.target(1, ref="same")
    bench.target(5, ref="same")
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(1)
