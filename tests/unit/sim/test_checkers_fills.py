"""I-02, I-06, I-15: fills within their order, once, and the only thing behind an end."""

from __future__ import annotations

import pytest

from tests.unit.core.order_builders import ACCOUNT, BTC, CID, external, fill, intent, report
from tests.unit.sim.checker_bench import Bench, D, broken
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import (
    Bust,
    CancelIntent,
    FillInferred,
    NotSent,
    PoisonResolved,
    Record,
    Resolved,
)
from tradefan.sim.checkers.fills import AllBooked, AppliedOnce, LastWord, WithinQty
from tradefan.units import SECOND, ClientOrderId, TradeId

S = OrderStatus


def test_trades_when_within_their_order_then_quiet() -> None:
    """I-02: 10 of 10 in two trades, a busted one and an overfill on purpose apart."""
    bench = Bench(WithinQty())
    order = bench.venue.accept(CID)
    for qty in (4, 3, 6):
        trade = bench.venue.trade(order, qty)
        if qty == 3:
            bench.venue.bust(trade)
    bench.venue.trade(order, 2, overfill=True)
    assert bench.look() is None


def test_trades_when_beyond_their_order_then_broken() -> None:
    """I-02: 11 of 10 without the venue having meant to."""
    bench = Bench(WithinQty())
    order = bench.venue.accept(CID)
    bench.venue.trade(order, 4)
    bench.venue.trade(order, 7)
    broken(bench.look(), "I-02", f"at most 10 traded of {CID}", "11")


@pytest.mark.parametrize("news", [fill(12), report(S.FILLED, 12)], ids=["fill", "report"])
def test_overfill_when_it_is_told_then_an_alarm_is_due_within_a_second(news: Record) -> None:
    """I-02: the FILL or REPORT that tells of 12 of 10 has an `overfill` error a second later at most."""
    bench = Bench(WithinQty())
    assert bench.step(intent(), news) is None
    assert bench.checker.due_ns == bench.seen.now_ns + SECOND
    assert bench.look() is None
    broken(bench.look(1), "I-02", f"{CID} has 10", "none, 12 traded")


def test_overfill_when_it_is_alarmed_then_quiet() -> None:
    """I-02: and an alarm of too low a level is none."""
    for level in ("error", "info"):
        bench = Bench(WithinQty())
        bench.append(intent(), fill(12))
        bench.log(level, "overfill", client_order_id=CID)
        assert bench.look() is None
        assert (bench.look(2 * SECOND) is None) == (level == "error")


@pytest.mark.parametrize("together", [True, False], ids=["in one step", "later"])
def test_overfill_when_its_trade_is_taken_back_then_only_in_the_same_step_no_alarm_is_due(
    together: bool,
) -> None:
    """I-02: a trade whose bust was heard before it fills nothing; one that stood for a while did."""
    bench = Bench(WithinQty())
    more = fill(12)
    bust = Bust(9, ACCOUNT, more.instrument, more.trade_id, more)
    bench.append(intent(), more, *((bust,) if together else ()))
    assert bench.look() is None
    if together:
        assert bench.look(2 * SECOND) is None
    else:
        assert bench.step(bust) is None
        broken(bench.look(2 * SECOND), "I-02", f"{CID} has 10", "none, 12 traded")


def test_overfill_when_the_process_dies_then_no_alarm_is_awaited() -> None:
    """I-02: the books of the next life hold it, no news tells of it."""
    bench = Bench(WithinQty())
    assert bench.step(intent(), fill(12)) is None
    bench.seen.life = 2
    assert bench.look(10 * SECOND) is None


def test_fills_when_each_is_booked_once_then_quiet() -> None:
    """I-06: two trades, an inferred one, and the same id in another instrument."""
    bench = Bench(AppliedOnce())
    inferred = FillInferred(3, fill(1, trade_id="inferred 1"))
    other = fill(1, trade_id="t1", instrument="binance:ETH/USDT")
    assert bench.step(intent(), fill(1), fill(2, trade_id="t2"), inferred, other) is None


def test_fill_when_it_is_booked_again_behind_a_crash_then_broken() -> None:
    """I-06: over all lives; what the crash took back does not count."""
    bench = Bench(AppliedOnce())
    assert bench.step(intent(), fill(1), fill(2, trade_id="t2")) is None
    assert bench.crash(2) is None
    assert bench.step(fill(2, trade_id="t2")) is None
    broken(bench.step(fill(1)), "I-06", f"one FILL of {ACCOUNT} {BTC} t1", "lsn 2 and 4")


def resolved(verdict: str) -> Resolved:
    return Resolved(5, ACCOUNT, CID, verdict, "x", 1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "records",
    [
        (report(S.CANCELED, 4), fill(6)),
        (report(S.CANCELED, 4), report(S.FILLED, 10)),
        (NotSent(2, ACCOUNT, CID, "EXPIRED"), resolved("PLACED"), report(S.NEW)),
        (fill(10), Bust(4, ACCOUNT, BTC, TradeId("t1"), fill(10))),
    ],
    ids=["late fill", "reported fill", "adoption", "bust"],
)
def test_end_when_a_fill_bust_or_adoption_follows_then_quiet(records: tuple[Record, ...]) -> None:
    """I-15: what may change what has ended, each in a step of its own."""
    bench = Bench(LastWord())
    bench.step(intent(), *((fill(4, trade_id="t0"),) if records[0] == report(S.CANCELED, 4) else ()))
    for record in records:
        assert bench.step(record) is None


def test_end_when_another_word_changes_it_then_broken() -> None:
    """I-15: a CANCELED order of which a cancel is recorded lives again in State."""
    bench = Bench(LastWord())
    assert bench.step(intent(), report(S.CANCELED)) is None
    bench.append(CancelIntent(5, ACCOUNT, CID, "again"))
    bench.seen.oms.trading.orders[CID].status = S.PENDING_CANCEL
    broken(bench.look(), "I-15", f"{CID} to stay CANCELED", "PENDING_CANCEL")


@pytest.mark.parametrize("world", ["human", "liar", "ended before", "ended later"])
def test_end_when_it_is_adopted_then_the_venue_must_have_had_it_open(world: str) -> None:
    """I-15: an honest venue's end is the last word; a human's is not, where the order rested all the same."""
    bench = Bench(LastWord(), honest=world != "liar")
    order = bench.venue.accept(CID)
    if world in ("liar", "ended before"):
        bench.venue.end(order)
    assert bench.step(intent(), report(S.CANCELED, at_ns=bench.seen.now_ns)) is None
    if world == "ended later":
        bench.venue.now_ns = bench.seen.now_ns + 1
        bench.venue.end(order)
    violation = bench.step(resolved("PLACED"))
    if world == "ended before":
        broken(violation, "I-15", f"{CID} to stay ended", "adopted: x")
    else:
        assert violation is None
        assert bench.seen.oms.trading.orders[CID].status is S.NEW


def test_end_when_an_older_report_comes_then_its_status_stays() -> None:
    """I-15: a report that tells of nothing more may not turn one end into another."""
    bench = Bench(LastWord())
    assert bench.step(intent(), report(S.CANCELED)) is None
    bench.append(report(S.EXPIRED))
    bench.seen.oms.trading.orders[CID].status = S.EXPIRED
    broken(bench.look(), "I-15", f"{CID} to stay CANCELED", "EXPIRED")


def test_end_when_no_order_manager_runs_then_nothing_is_concluded() -> None:
    """I-15: State is empty until the journal is folded."""
    bench = Bench(LastWord())
    assert bench.step(intent(), report(S.CANCELED)) is None
    bench.seen.oms.live.running = False
    bench.seen.oms.trading.orders[CID].status = S.NEW
    assert bench.step(CancelIntent(5, ACCOUNT, CID, "x")) is None
    assert D(0) == bench.seen.oms.trading.orders[CID].cum_qty


def booked(*records: Record, honest: bool = True) -> Bench:
    """Return an order of which 7 have traded at the venue, long ago, and what is booked of it."""
    bench = Bench(AllBooked(), honest=honest)
    bench.append(intent(), *records)
    order = bench.venue.accept(CID)
    bench.venue.trade(order, 4)
    bench.venue.trade(order, 3)
    bench.look(100 * SECOND)
    return bench


def test_trades_when_all_are_booked_at_rest_then_quiet() -> None:
    """I-06: real or inferred, busted ones and those of others apart."""
    bench = booked(fill(4), FillInferred(3, fill(3, trade_id="inferred c1")))
    bench.venue.bust(bench.venue.trade(next(iter(bench.venue.orders.values())), 2))
    bench.venue.trade(bench.venue.accept("web", ours=False), 5)
    bench.look(100 * SECOND)
    assert bench.rest() is None


@pytest.mark.parametrize(
    ("records", "found"),
    [((fill(4),), "4"), ((fill(4), fill(4, trade_id="t2")), "8"), ((), "0")],
    ids=["too little", "too much", "nothing"],
)
def test_trades_when_not_booked_at_rest_then_broken(records: tuple[Record, ...], found: str) -> None:
    """I-06: a balance may agree all the same, by a transfer that never was."""
    broken(booked(*records).rest(), "I-06", f"7 of {CID} booked", found)


def test_trade_when_of_the_last_moments_or_revised_in_them_then_nobody_could_know() -> None:
    """I-06: a trade as old as a look may hide is missing or booked, and so is a bust."""
    for records in (
        (fill(4), fill(3, trade_id="t2")),
        (fill(4), fill(3, trade_id="t2"), fill(2, trade_id="t3")),
    ):
        bench = booked(*records)
        bench.venue.trade(next(iter(bench.venue.orders.values())), 2)
        assert bench.rest() is None
    bench = booked(fill(4), fill(3, trade_id="t2"))
    bench.venue.bust(bench.venue.trades[0])
    assert bench.rest() is None


def test_trade_when_a_human_has_dropped_it_then_it_is_his() -> None:
    """I-06: what was poison and is never to count."""
    dropped = PoisonResolved(5, f"fill {ACCOUNT} {BTC} t2", "DROP", "me", "x")
    assert booked(fill(4), dropped).rest() is None


def test_order_of_others_when_its_id_comes_again_then_it_is_another_one() -> None:
    """I-15: ids are free again when an order has ended; a word about the old one is no reason."""
    bench = Bench(LastWord())
    name = ClientOrderId("web")
    assert bench.step(external(), report(S.CANCELED, client_order_id=name)) is None
    assert bench.step(external(venue_order_id="v2")) is None
    assert bench.step(report(S.CANCELED, client_order_id=name, venue_order_id="v2")) is None
