"""I-03: a parent's budget, by the venue's truth and by ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.order_builders import ACCOUNT, CID, PID, fill, intent, parent, parent_order, report
from tests.unit.sim.checker_bench import Bench, D, broken
from tradefan.messages.orders import OrderStatus
from tradefan.messages.plan import Plan
from tradefan.messages.records import Bust, CancelIntent, Correct, Intent, NotSent, Resolved
from tradefan.messages.work import Amended
from tradefan.sim.checkers.parents import ParentBudget, RoomLeft
from tradefan.units import ClientOrderId, TradeId

S = OrderStatus
SECOND_ID = ClientOrderId("c2")


def second(qty: Any, **changes: Any) -> Intent:
    """Return the INTENT of another child of the same parent."""
    return intent(client_order_id=SECOND_ID, order_qty=D(qty), **changes)


def bench_with(*, honest: bool = True) -> Bench:
    """Return a parent to buy 10 whose first child of 10 rests at the venue."""
    bench = Bench(ParentBudget(), honest=honest)
    bench.append(parent(), intent(), report(S.NEW))
    return bench


def test_children_when_within_the_budget_then_quiet() -> None:
    """10 of which 4 trade; its rest is cancelled, 6 more are placed, and one that never left is nothing."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    bench.venue.trade(order, 4)
    bench.venue.end(order)
    assert bench.step(report(S.CANCELED, 4), fill(4), second(6)) is None
    bench.venue.accept("c2", 6)
    assert bench.step(NotSent(2, ACCOUNT, SECOND_ID, "EXPIRED")) is None


def test_children_when_both_may_live_then_broken() -> None:
    """A child that we take for live and a second of 1 are 11 of 10, before anything reaches the venue."""
    bench = bench_with()
    broken(bench.step(second(1)), "I-03", f"at most 10 of parent {PID}", "11: c1 venue 0 ours 10, c2")


def test_children_when_the_parent_was_amended_then_that_is_its_budget() -> None:
    """12 allow 2 more; 9 of which 10 are at work are an amendment that came too early."""
    made = Plan(1, None, D(1), D(1), 1)
    bench = bench_with()
    assert bench.step(Amended(2, parent_order(order_qty=D(12)), made), second(2)) is None
    early = bench_with().step(Amended(2, parent_order(order_qty=D(9)), made))
    broken(early, "I-03", f"at most 9 of parent {PID}", "10: c1")


def test_children_when_the_venue_has_more_than_we_believe_then_broken() -> None:
    """We take the first for cancelled, but it lives: only the venue's book shows it."""
    bench = bench_with()
    bench.venue.accept(CID)
    broken(
        bench.step(report(S.CANCELED), second(10)), "I-03", "at most 10", "20: c1 venue 10 ours 0, c2 venue 0"
    )


def test_child_when_the_venue_trades_then_only_what_it_has_counts() -> None:
    """Our belief lags behind the venue: the larger of the two counts, not their sum."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    bench.venue.trade(order, 7)
    assert bench.look() is None
    assert bench.step(fill(7)) is None


def test_replacement_when_both_orders_are_open_then_one_of_them_counts() -> None:
    """A replacement stops when its cancel fails; at the venue there is one of the two at any time."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    assert bench.step(second(10, replaces=CID)) is None
    bench.venue.end(order)
    bench.venue.accept("c2", 10)
    assert bench.look() is None


def test_replacement_when_the_old_order_trades_instead_then_its_successor_gets_no_more() -> None:
    """The venue places nothing for an order that has traded: what it traded is not counted again."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    assert bench.step(second(10, replaces=CID)) is None
    bench.venue.trade(order, 10)
    assert bench.step(fill(4)) is None
    assert bench.step(fill(6, trade_id="t2")) is None


def test_replacement_when_it_is_larger_than_what_was_open_then_broken() -> None:
    """4 had traded when 10 more were asked for in place of the 6 that were open."""
    bench = bench_with()
    bench.venue.trade(bench.venue.accept(CID), 4)
    assert bench.step(fill(4)) is None
    broken(bench.step(second(10, replaces=CID)), "I-03", "at most 10", "14: c1 c2")


def test_replacement_when_the_venue_has_both_then_broken() -> None:
    """The truth counts both of them."""
    bench = bench_with()
    bench.venue.accept(CID)
    bench.append(second(10, replaces=CID))
    bench.venue.accept("c2", 10)
    broken(bench.look(), "I-03", "at most 10", "20: c1 c2 venue 20 ours 10")


def test_overfill_when_it_is_known_then_it_is_apart_but_leaves_no_room() -> None:
    """12 of 10 that the venue meant to trade are free; a child more is not."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    bench.venue.trade(order, 10)
    bench.venue.trade(order, 2, overfill=True)
    assert bench.look() is None
    assert bench.step(fill(10), fill(2, trade_id="t2")) is None
    broken(bench.step(second(1)), "I-03", "at most 10", "13: c1")


def test_fill_when_behind_the_end_then_free_for_what_was_placed_before_it_was_known() -> None:
    """4 trade late behind a cancel, while 10 more rest: 14 are nobody's fault, 15 would be."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    bench.venue.end(order)
    assert bench.step(report(S.CANCELED), second(10)) is None
    bench.venue.trade(order, 4)
    assert bench.look() is None
    assert bench.step(fill(4)) is None
    third = intent(client_order_id="c3", order_qty=D(1))
    broken(bench.step(third), "I-03", "at most 10", "15: c1 venue 0 ours 4")


def test_fill_when_it_is_counted_twice_then_broken() -> None:
    """Without a surprise of the venue nothing excuses 13 of 10."""
    bench = bench_with()
    bench.venue.accept(CID)
    broken(bench.step(fill(10), fill(3, trade_id="t2")), "I-03", "at most 10", "13")


def test_trade_when_busted_then_its_room_is_there_again() -> None:
    """A bust lowers what has traded, at the venue and with us, of an order that the venue has ended."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    trade = bench.venue.trade(order, 10)
    assert bench.step(fill(10), report(S.FILLED, 10)) is None
    bench.venue.bust(trade)
    order.cum_qty -= trade.qty
    bust = Bust(9, ACCOUNT, order.instrument, TradeId("t1"), fill(10))
    assert bench.step(bust, second(10)) is None


def test_trade_when_busted_and_traded_again_then_free_until_the_bust_is_known() -> None:
    """The venue takes 4 of 10 back and trades 4 others: 14 by all that was told, and 10 by its book."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    trade = bench.venue.trade(order, 10)
    bench.venue.bust(trade)
    order.cum_qty -= trade.qty
    bench.venue.trade(order, 10)
    assert bench.step(fill(10)) is None
    assert bench.step(fill(4, trade_id="t2")) is None
    broken(bench.step(second(1)), "I-03", "at most 10", "15: c1 venue 10 ours 14")
    bust = Bust(9, ACCOUNT, order.instrument, TradeId("t1"), fill(10))
    assert bench.step(bust, fill(6, trade_id="t3"), NotSent(2, ACCOUNT, SECOND_ID, "EXPIRED")) is None
    broken(bench.step(fill(1, trade_id="t4")), "I-03", "at most 10", "11: c1 venue 10 ours 11")


def test_trade_when_busted_and_told_late_then_free_only_what_was_told() -> None:
    """By an old word 7 traded of an order of which 4 are left; what is sent above that is not excused."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    trade = bench.venue.trade(order, 3)
    bench.venue.trade(order, 4)
    bench.venue.end(order)
    bench.venue.bust(trade)
    order.cum_qty -= trade.qty
    assert bench.step(report(S.EXPIRED, 4)) is None
    assert bench.step(second(6)) is None
    assert bench.step(report(S.PARTIALLY_FILLED, 7)) is None
    third = intent(client_order_id="c3", order_qty=D(1))
    broken(bench.step(third), "I-03", "at most 10", "14: c1 venue 4 ours 7")


def test_trade_when_busted_then_what_is_sent_against_it_is_not_free() -> None:
    """The bust is not known: 7 have traded by all we know, so 6 more are too many."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    trade = bench.venue.trade(order, 3)
    bench.venue.trade(order, 4)
    bench.venue.end(order)
    bench.venue.bust(trade)
    order.cum_qty -= trade.qty
    assert bench.step(report(S.EXPIRED, 7)) is None
    broken(bench.step(second(6)), "I-03", "at most 10", "13: c1 venue 4 ours 7")


def test_trade_when_busted_then_what_the_step_of_an_old_word_sends_is_not_free() -> None:
    """What is sent behind the word counts against it, what was sent before does not."""
    for records, quiet in (
        ((report(S.EXPIRED, 4), second(6), report(S.EXPIRED, 7)), True),
        ((report(S.EXPIRED, 7), second(6)), False),
    ):
        bench = bench_with()
        order = bench.venue.accept(CID)
        trade = bench.venue.trade(order, 3)
        bench.venue.trade(order, 4)
        bench.venue.end(order)
        bench.venue.bust(trade)
        order.cum_qty -= trade.qty
        violation = bench.step(*records)
        if quiet:
            assert violation is None
        else:
            broken(violation, "I-03", "at most 10", "13: c1 venue 4 ours 7")


def test_trade_when_busted_and_what_was_over_is_gone_then_nothing_is_free_any_more() -> None:
    """7 told late beside an open 6 were free; behind the end of these another 6 are too many."""
    bench = bench_with()
    order = bench.venue.accept(CID)
    trade = bench.venue.trade(order, 3)
    bench.venue.trade(order, 4)
    bench.venue.end(order)
    bench.venue.bust(trade)
    order.cum_qty -= trade.qty
    assert bench.step(report(S.EXPIRED, 4), second(6)) is None
    assert bench.step(report(S.PARTIALLY_FILLED, 7)) is None
    assert bench.step(report(S.CANCELED, client_order_id="c2")) is None
    third = intent(client_order_id="c3", order_qty=D(6))
    broken(bench.step(third), "I-03", "at most 10", "13: c1 venue 4 ours 7")


def test_fill_when_behind_the_end_and_what_was_over_is_gone_then_nothing_is_free_any_more() -> None:
    """4 late ones beside an open 10 were nobody's fault; behind the end of these 6 fit, and not 10."""
    for qty in (6, 10):
        bench = bench_with()
        order = bench.venue.accept(CID)
        bench.venue.end(order)
        assert bench.step(report(S.CANCELED), second(10)) is None
        bench.venue.trade(order, 4)
        assert bench.step(fill(4)) is None
        assert bench.step(report(S.CANCELED, client_order_id="c2")) is None
        violation = bench.step(intent(client_order_id="c3", order_qty=D(qty)))
        if qty == 6:
            assert violation is None
        else:
            broken(violation, "I-03", "at most 10", "14: c1 venue 0 ours 4")


def test_trade_when_it_comes_corrected_then_the_venues_later_word_gives_the_room_back() -> None:
    """8 of 10 were counted of a trade that came as 4: with its word from since 6 more fit, and not 7."""
    bench = bench_with()
    corrected = Correct(9, ACCOUNT, fill(4).instrument, TradeId("t1"), fill(4), D(4), D(100), 5)
    old = report(S.EXPIRED, 8, at_ns=3)
    assert bench.step(old, fill(4), corrected, second(2)) is None
    bench.append(NotSent(9, ACCOUNT, SECOND_ID, "EXPIRED"))
    third = intent(client_order_id="c3", order_qty=D(6))
    assert bench.step(report(S.EXPIRED, 4, at_ns=5), old, third) is None
    fourth = intent(client_order_id="c4", order_qty=D(1))
    broken(bench.step(fourth), "I-03", "at most 10", "11: c1 venue 0 ours 4")


@pytest.mark.parametrize("bust_ns", [None, 3, 5, 6])
def test_trade_when_revised_before_it_was_told_then_a_lower_word_from_behind_it_gives_the_room_back(
    bust_ns: int | None,
) -> None:
    """10 were counted, then 4: only with a bust between the two words do 6 more fit."""
    bench = bench_with()
    if bust_ns is not None:
        bench.append(Bust(9, ACCOUNT, fill(4).instrument, TradeId("t1"), None, bust_ns))
    old, new = report(S.EXPIRED, 10, at_ns=3), report(S.EXPIRED, 4, at_ns=5)
    found = bench.step(old, new, old, second(6))
    if bust_ns == 5:
        assert found is None
    else:
        broken(found, "I-03", "at most 10", "16: c1 venue 0 ours 10")


def test_trade_when_busted_of_an_order_that_only_we_have_ended_then_its_room_is_taken() -> None:
    """By our own sum it was full; the venue may have it open still, so nothing more fits beside it."""
    bench = bench_with()
    bench.venue.accept(CID)
    assert bench.step(fill(10)) is None
    bust = Bust(9, ACCOUNT, fill(10).instrument, TradeId("t1"), fill(10))
    broken(bench.step(bust, second(10)), "I-03", "at most 10", "20")


@pytest.mark.parametrize("honest", [True, False])
def test_child_when_a_liar_has_it_behind_two_looks_then_its_parent_is_free(honest: bool) -> None:
    """With a liar a parent whose child was declared NOT_PLACED is I-16's; else it is broken."""
    bench = Bench(ParentBudget(), honest=honest)
    gone = Resolved(3, ACCOUNT, CID, "NOT_PLACED", "two looks", 1, 2)
    bench.append(parent(), intent(), gone, second(10))
    bench.venue.accept(CID)
    violation = bench.look()
    if honest:
        broken(violation, "I-03", "at most 10", "20: c1 venue 10 ours 0")
    else:
        assert violation is None


@pytest.mark.parametrize("honest", [True, False])
def test_child_when_adopted_in_spite_of_its_end_then_only_a_liar_frees_its_parent(honest: bool) -> None:
    """What had ended and has its successor may trade after all: both together are too much."""
    bench = Bench(ParentBudget(), honest=honest)
    assert bench.step(parent(), intent(), report(S.CANCELED), second(10)) is None
    violation = bench.step(Resolved(3, ACCOUNT, CID, "PLACED", "look shows NEW"))
    if honest:
        broken(violation, "I-03", "at most 10", "20: c1 venue 0 ours 10")
    else:
        assert violation is None


def test_records_when_a_crash_takes_them_back_then_they_count_no_more() -> None:
    """A child whose INTENT was lost is no child; what stands counts on."""
    bench = bench_with()
    assert bench.look() is None
    bench.append(report(S.CANCELED), second(10))
    bench.crash(keep=2)
    assert bench.look() is None
    broken(bench.step(second(3)), "I-03", "at most 10", "13")


def bench_late(**changes: Any) -> Bench:
    """Return a parent of 10 whose first child traded 10 behind its end, while 10 more wait to leave."""
    bench = Bench(ParentBudget())
    bench.append(parent(**changes), intent(), report(S.NEW))
    order = bench.venue.accept(CID)
    bench.venue.end(order)
    assert bench.step(report(S.CANCELED), second(10)) is None
    bench.venue.trade(order, 10)
    return bench


def test_create_when_it_leaves_behind_the_step_that_told_of_a_late_fill_then_broken() -> None:
    """The fill is nobody's fault, what leaves on top of it is; what leaves in its step is not."""
    for qty, told_before in ((10, True), (4, True), (10, False)):
        bench = bench_late()
        if told_before:
            assert bench.step(fill(qty)) is None
            bench.write("c2")
            expected = f"c2 of 10 left when {10 + qty} had traded or was wanted"
            broken(bench.look(), "I-03", f"at most 10 of parent {PID}", expected)
        else:
            bench.append(fill(qty))
            bench.write("c2")
            assert bench.look() is None


def test_create_when_its_cancel_is_behind_it_then_quiet() -> None:
    """It was in the gateway's mail already; a sibling that is cancelled leaves room for it."""
    bench = bench_late()
    assert bench.step(fill(10), CancelIntent(9, ACCOUNT, SECOND_ID, "over")) is None
    bench.write("c2")
    assert bench.look() is None


@pytest.mark.parametrize("protective", [False, True])
@pytest.mark.parametrize("qty", [4, 10])
def test_create_when_it_protects_then_it_may_leave_unless_all_of_it_is_over(
    qty: int, protective: bool
) -> None:
    """6 of the 10 that are on their way are needed still, or nothing."""
    bench = bench_late(protective=protective, reduce_only=not protective)
    assert bench.step(fill(qty)) is None
    bench.write("c2")
    violation = bench.look()
    if qty == 4:
        assert violation is None
    else:
        broken(violation, "I-03", f"at most 10 of parent {PID}", "c2 of 10 left when 20")


def test_replacement_when_it_leaves_for_what_a_late_fill_has_left_then_quiet() -> None:
    """4 came late beside a resting 10: 6 in its place are what is left, and 7 are not."""
    for qty in (6, 7):
        bench = bench_late()
        bench.venue.accept("c2")
        assert bench.step(report(S.NEW, client_order_id="c2"), fill(4)) is None
        third = intent(client_order_id="c3", order_qty=D(qty), replaces=SECOND_ID)
        assert bench.step(third) is None
        bench.write("c3", "replace")
        if qty == 6:
            assert bench.look() is None
        else:
            broken(bench.look(), "I-03", "at most 10", "c3 of 7 left when 11")


@pytest.mark.parametrize("qty", [10, 3])
def test_rest_when_a_late_fill_leaves_no_room_for_it_then_it_is_cancelled_in_that_step(qty: int) -> None:
    """I-03: 4 trade behind a cancel while others rest: those of 10 go, those of 3 have room."""
    for cancelled in (False, True):
        bench = Bench(RoomLeft())
        bench.append(parent(), intent(), report(S.CANCELED), second(qty))
        assert bench.step(report(S.NEW, client_order_id="c2")) is None
        records = (CancelIntent(4, ACCOUNT, SECOND_ID, "over"),) if cancelled else ()
        violation = bench.step(fill(4), *records)
        if qty == 10 and not cancelled:
            broken(violation, "I-03", "a cancel of c2, for which p1 has no room", "10 at rest, 4 too much")
        else:
            assert violation is None


@pytest.mark.parametrize(("traded", "quiet"), [(4, True), (10, False)])
def test_rest_when_it_protects_then_it_goes_where_all_of_it_is_too_much(traded: int, quiet: bool) -> None:
    """I-03: a part of a protection is worth more than none."""
    bench = Bench(RoomLeft())
    bench.append(parent(protective=True), intent(), report(S.CANCELED), second(10))
    violation = bench.step(fill(traded))
    assert (violation is None) == quiet


def test_rest_when_a_replacement_is_to_take_its_place_then_only_what_that_has_left_counts() -> None:
    """I-03: of a chain one is possibly live, and one that never was wants nothing."""
    bench = Bench(RoomLeft())
    bench.append(parent(), intent(), report(S.NEW), second(8, replaces=CID))
    assert bench.step(fill(4)) is None
    assert bench.step(NotSent(2, ACCOUNT, SECOND_ID, "EXPIRED"), fill(6, trade_id="t2")) is None
