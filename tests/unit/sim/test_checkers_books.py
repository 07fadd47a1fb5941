"""I-05, I-07, I-32: ledger, results and reservations are what the records make of them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.core.order_builders import ACCOUNT, BASE, BTC, CID, OWNER, USDT, fill, intent, report
from tests.unit.sim.checker_bench import T0, Bench, D, broken, opening
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.messages.records import (
    Assign,
    Bust,
    CancelIntent,
    Correct,
    ExternalOrder,
    FillInferred,
    FillReplaced,
    InDoubt,
    NotSent,
    PoisonResolved,
    Record,
    Resolved,
    Transfer,
)
from tradefan.sim.checkers.base import LAST_LOOK_NS, Watch
from tradefan.sim.checkers.books import ExactLedger, OthersMoney, Reserved, SameResult
from tradefan.sim.witness import VenueEvent
from tradefan.units import EXTERNAL, Asset, ClientOrderId, OwnerId, TradeId

S = OrderStatus
OTHER = OwnerId("other")
MOVES: list[Record] = [
    opening("USDT", 10_000),
    opening("BTC", "0.5"),
    intent(),
    fill(4, fee=D("0.004"), fee_asset=BASE),
    fill(3, price=110, trade_id="t2", fee=D("0.33")),
    fill(5, price=120, trade_id="t3", side="sell", fee=D("0.001"), fee_asset=Asset("BNB")),
    Transfer(T0, ACCOUNT, USDT, D("-12.5"), "two looks agree"),
    FillInferred(T0, fill(3, price=100, trade_id="inferred c1", fee=D("0.3"))),
    FillReplaced(T0, ACCOUNT, BTC, TradeId("inferred c1"), D(1)),
    fill(1, price=101, trade_id="t4"),
    FillReplaced(T0, ACCOUNT, BTC, TradeId("inferred c1"), D(2)),
    fill(2, price=99, trade_id="t5"),
    Bust(T0, ACCOUNT, BTC, TradeId("t4"), fill(1, price=101, trade_id="t4")),
    Correct(T0, ACCOUNT, BTC, TradeId("t5"), fill(2, price=99, trade_id="t5"), D("1.5"), D(98)),
    Assign(T0, ACCOUNT, BTC, BASE, OWNER, OTHER, D("0.25"), D("104.7"), "me"),
    Assign(T0, ACCOUNT, BTC, BASE, EXTERNAL, OWNER, D("0.125"), D(100), "me"),
    fill(9, price=90, trade_id="t6", side="sell", owner=OTHER, client_order_id=None),
    fill(7, price=95, trade_id="t7", side="buy", owner=EXTERNAL, client_order_id=None),
]
"""Everything that moves money, one of each kind and then some; turned positions among them."""


@pytest.mark.parametrize("checker", [ExactLedger, SameResult, Reserved])
def test_books_when_every_kind_of_record_moves_them_then_quiet(checker: type[Watch]) -> None:
    """The own folds agree with the ledger step by step, and behind a crash that takes the last records."""
    bench = Bench(checker())
    for record in MOVES:
        assert bench.step(record) is None
    assert bench.seen.oms.trading.unapplied == 0
    assert bench.crash(len(MOVES) - 3) is None
    assert bench.step(fill(1, trade_id="t8")) is None


def _ledger(bench: Bench) -> Any:
    return bench.seen.oms.trading.ledger


def _balance(bench: Bench) -> None:
    _ledger(bench).balances[ACCOUNT][USDT] += D("0.00000001")


def _net(bench: Bench) -> None:
    _ledger(bench).nets[ACCOUNT][BTC] -= 1


def _holding(bench: Bench) -> None:
    _ledger(bench).external[ACCOUNT][USDT].qty += 1


@pytest.mark.parametrize(
    ("tamper", "expected", "found"),
    [
        (_balance, "balances of paper:main {'BTC': Decimal('4'), 'USDT': Decimal('9600')}", "9600.00000001"),
        (_net, "nets of paper:main {'binance:BTC/USDT': Decimal('4')}", "Decimal('3')"),
        (_holding, "external of paper:main {'USDT': Decimal('10000')}", "Decimal('10001')"),
    ],
)
def test_ledger_when_it_is_off_by_a_digit_then_broken(
    tamper: Callable[[Bench], None], expected: str, found: str
) -> None:
    """I-05, T: balances, nets and holdings, to the last digit."""
    bench = Bench(ExactLedger())
    bench.append(opening("USDT", 10_000), intent(), fill(4))
    tamper(bench)
    broken(bench.look(), "I-05", expected, found)


def test_ledger_when_a_fill_was_not_booked_then_broken() -> None:
    """I-05: a FILL in the journal that State has not taken."""
    bench = Bench(ExactLedger())
    bench.append(opening("USDT", 10_000), intent())
    bench.seen.records.append(fill(4))
    broken(bench.look(), "I-05", "'BTC': Decimal('4')", "'USDT': Decimal('10000')")


def test_ledger_at_rest_when_the_venue_agrees_then_quiet_else_broken() -> None:
    """I-05, Q: the venue's own balances; assets of nothing do not count."""
    bench = Bench(ExactLedger())
    bench.append(opening("USDT", 10_000), intent(), fill(4))
    bench.venue.balances = {"USDT": D("9600.000"), "BTC": D(4), "BNB": D(0)}
    assert bench.rest() is None
    bench.venue.balances["BTC"] = D("4.1")
    broken(bench.rest(), "I-05", "the venue's balances of paper:main {'BTC': Decimal('4.1')", "Decimal('4')")


@pytest.mark.parametrize(("age_ns", "fine"), [(0, True), (1, False)])
def test_ledger_at_rest_when_a_trade_is_too_young_to_be_seen_then_quiet(age_ns: int, fine: bool) -> None:
    """I-05, Q: an order that was left at the venue fills while the daemon ends."""
    bench = Bench(ExactLedger())
    bench.append(opening("USDT", 10_000), intent(), fill(4))
    order = bench.venue.accept(CID)
    bench.venue.trade(order, "0.5", fee="0.001")
    bench.venue.balances = {"USDT": D(9_550), "BTC": D("4.499")}
    bench.seen.now_ns = bench.venue.trades[-1].at_ns + bench.venue.visible_bound_ns + LAST_LOOK_NS + age_ns
    violation = bench.rest()
    if fine:
        assert violation is None
    else:
        broken(violation, "I-05", "the venue's balances of paper:main", "Decimal('4')")


@pytest.mark.parametrize(("key", "fine"), [(f"fill {ACCOUNT} {BTC} t9", True), (f"report {CID}", False)])
def test_ledger_at_rest_when_a_human_dropped_a_fill_then_quiet(key: str, fine: bool) -> None:
    """I-05, Q: the venue's balances hold what he said never counts; another fact moves no money."""
    bench = Bench(ExactLedger())
    bench.append(opening("USDT", 10_000), PoisonResolved(T0, key, "DROP", "x", "me"))
    bench.venue.balances = {"USDT": D(9_900)}
    assert (bench.rest() is None) == fine


@pytest.mark.parametrize(
    ("field", "change", "found"),
    [
        ("qty", D("0.5"), "qty 1.5"),
        ("cost", D("0.000001"), "realised - cost -70.000001"),
        ("realised", D("0.000001"), "realised - cost -69.999999"),
    ],
)
def test_result_when_a_position_is_off_then_broken(field: str, change: Decimal, found: str) -> None:
    """I-07: 4 bought at 100, 3 sold at 110: 1 is left at 100, and 30 are realised."""
    bench = Bench(SameResult())
    bench.append(intent(), fill(4), fill(3, price=110, trade_id="t2", side="sell"))
    held = _ledger(bench).positions[ACCOUNT][OWNER][BTC]
    setattr(held, field, getattr(held, field) + change)
    broken(bench.look(), "I-07", f"{OWNER} in {BTC} qty 1, realised - cost -70", found)


def test_result_when_cost_and_result_are_off_alike_then_broken() -> None:
    """I-07: another way of averaging moves both, and their difference stays."""
    bench = Bench(SameResult())
    bench.append(intent(), fill(4), fill(3, price=110, trade_id="t2", side="sell"))
    held = _ledger(bench).positions[ACCOUNT][OWNER][BTC]
    held.cost += 7
    held.realised += 7
    broken(bench.look(), "I-07", "realised 30.0", "37")


def test_result_when_a_position_is_unknown_to_state_then_broken() -> None:
    """I-07: what the journal gives an owner State has to have."""
    bench = Bench(SameResult())
    bench.append(intent(), fill(4))
    _ledger(bench).positions[ACCOUNT].clear()
    broken(bench.look(), "I-07", "qty 4, realised - cost -400", "qty 0")


EXTERNAL_ORDER = ExternalOrder(
    T0, ACCOUNT, BTC, ClientOrderId("web_1"), "7", "buy", D(5), D(1), D(90), D(90), USDT, D(90), orphan=False
)


def test_reserved_when_orders_live_and_end_then_quiet() -> None:
    """I-32: doubt, cancel wishes, fills, busts, proofs and adoptions, of ours and of others."""
    bench = Bench(Reserved())
    sale = intent(
        client_order_id="c2", side="sell", order_qty=D(3), reserve_asset=BASE, reserve_per_unit=D(1)
    )
    for record in (
        intent(),
        InDoubt(T0, ACCOUNT, CID, Doubt.CREATE, "time-out"),
        report(S.NEW),
        CancelIntent(T0, ACCOUNT, CID, "x"),
        fill(4),
        report(S.PARTIALLY_FILLED, 6),
        report(S.CANCELED, 7),
        fill(3, trade_id="t2"),
        Bust(T0, ACCOUNT, BTC, TradeId("t2"), fill(3, trade_id="t2")),
        sale,
        NotSent(T0, ACCOUNT, ClientOrderId("c2"), "EXPIRED"),
        Resolved(T0, ACCOUNT, ClientOrderId("c2"), "PLACED", "look"),
        report(S.NEW, client_order_id="c2", order_qty=D(2)),
        EXTERNAL_ORDER,
        report(S.CANCELED, 2, client_order_id="web_1"),
        EXTERNAL_ORDER,
    ):
        assert bench.step(record) is None
    assert bench.seen.oms.trading.unapplied == 0
    assert bench.seen.oms.trading.exposure.reserved[ACCOUNT] == {USDT: D(360), BASE: D(2)}


def test_reserved_when_it_is_not_the_sum_of_what_may_trade_then_broken() -> None:
    """I-32: 10 at 100.1 of which 4 have traded reserve 600.6."""
    bench = Bench(Reserved())
    bench.append(intent(), report(S.NEW), fill(4))
    bench.seen.oms.trading.exposure.reserved[ACCOUNT][USDT] = D(1001)
    broken(bench.look(), "I-32", "600.6 USDT of paper:main reserved", "1001")


def test_reserved_when_nothing_lives_then_it_is_zero() -> None:
    """I-32: a reservation that stays behind its order is a leak."""
    bench = Bench(Reserved())
    bench.append(intent(), report(S.CANCELED))
    bench.seen.oms.trading.exposure.reserved[ACCOUNT][USDT] = D(1)
    broken(bench.look(), "I-32", "0", "1")


def test_reserved_when_the_order_manager_folds_then_nothing_is_compared() -> None:
    """I-32: before the fold State knows no order."""
    bench = Bench(Reserved())
    bench.append(intent())
    bench.seen.oms.live.running = False
    bench.seen.oms.trading.exposure.reserved.clear()
    assert bench.look() is None


def moved(*records: Record, honest: bool = True) -> Bench:
    """Return an account of 1000 USDT and 5 BTC that gets 3 BTC; its order buys 4 at 100, others buy 2."""
    bench = Bench(OthersMoney(), honest=honest)
    bench.append(opening("USDT", 1_000), opening("BTC", 5), intent(), *records)
    venue = bench.venue
    venue.trade(venue.accept(CID), 4, fee="0.1")
    venue.trade(venue.accept("web", ours=False), 2)
    venue.log.append(VenueEvent(venue.now_ns + 1, "transfer", "", None, D(3), "BTC"))
    venue.balances = {"BTC": D("13.9"), "USDT": D(400)}
    return bench


FOREIGN = fill(2, trade_id="t2", owner=EXTERNAL, client_order_id=None)
DEPOSIT = Transfer(T0, ACCOUNT, BASE, D(3), "looks agree")


@pytest.mark.parametrize(
    "records",
    [
        (fill(4, fee=D("0.1"), fee_asset=BASE), FOREIGN, DEPOSIT),
        # The trade of others was not told, and then it was.
        (
            Transfer(T0, ACCOUNT, BASE, D(5), "looks agree"),
            Transfer(T0, ACCOUNT, USDT, D(-200), "looks agree"),
        ),
    ],
)
def test_transfers_when_they_are_what_others_moved_then_quiet(records: tuple[Record, ...]) -> None:
    """I-05: a deposit, and what others have traded, by a trade of theirs or by the balances alone."""
    assert moved(*records).rest() is None


def test_transfer_when_it_is_a_trade_of_ours_that_was_not_told_then_broken() -> None:
    """I-05: 3.9 of it are what our order has bought; that the books agree later does not make it true."""
    wrong = Transfer(T0, ACCOUNT, BASE, D("8.9"), "looks agree")
    back = Transfer(T0, ACCOUNT, BASE, D("-3.9"), "looks agree")
    broken(moved(wrong, back).rest(), "I-05", "BTC of others", "13.9 behind a TRANSFER of 8.9")
    assert moved(wrong, back, honest=False).rest() is None


def test_transfer_when_trades_were_revised_or_inferred_then_nobody_knows_what_it_is() -> None:
    """I-05: what the venue takes back and tells nobody can only be a transfer; so is a wrong guess."""
    wrong = Transfer(T0, ACCOUNT, BASE, D("8.9"), "looks agree")
    assert moved(FillInferred(T0, fill(4, trade_id="inferred c1")), wrong).rest() is None
    bench = moved(wrong)
    bench.venue.bust(bench.venue.trades[0])
    assert bench.rest() is None
    dropped = PoisonResolved(T0, f"fill {ACCOUNT} {BTC} t1", "DROP", "me", "x")
    assert moved(dropped, wrong).rest() is None
