"""What becomes of a replacement: each leg is read, and a doubt is one of both orders (OR-23)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, GATEWAY, PAUSE, START, TREND
from tests.unit.actors.replacing import Plug, buys, once, order_of, replacing
from tradefan.core.exposure import account_sides
from tradefan.messages.gateway import (
    CancelOrder,
    CancelRejected,
    CreateOrder,
    GatewayReset,
    Look,
    OrderNotSent,
    ReplaceOrder,
)
from tradefan.messages.orders import CancelParent, Doubt, OrderStatus, Phase
from tradefan.messages.records import InDoubt, Resolved
from tradefan.units import MINUTE, SECOND, ParentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench(plug: Plug) -> Bench:
    """Return a bench whose executor `test` rests 2 at 99 and replaces it once, by 1.5 at 98."""
    plug(once)
    return Bench().ready()


# --- each leg ---------------------------------------------------------------------------------------------


@pytest.mark.failure("OR-23")
def test_replace_when_both_legs_succeed_then_the_new_order_is_what_counts(bench: Bench) -> None:
    """Old CANCELED, new NEW; the parent trades what the new one does and has its rest open again."""
    old, new = replacing(bench)
    bench.report(old, S.CANCELED)
    bench.report(new, S.NEW)
    assert buys(bench) == D("1.5")
    parent = bench.trading.parents[ParentId(old.parent_id)]
    assert (parent.working_qty, parent.open_qty) == (D("1.5"), D("0.5"))
    bench.fill(new, "1.5")
    bench.report(new, S.FILLED, "1.5")
    assert parent.cum_qty == D("1.5")
    bench.check()


@pytest.mark.failure("OR-23")
def test_replace_when_the_cancel_leg_fails_then_the_old_order_goes_on(bench: Bench) -> None:
    """STOP_ON_FAILURE: the new one was not attempted, the old one may just have filled: it is asked."""
    old, new = replacing(bench)
    bench.tell(CancelRejected(ACCOUNT, old.client_order_id, "-2011"))
    bench.report(new, S.REJECTED, reason="CANCEL_FAILED")
    assert (order_of(bench, old).status, order_of(bench, old).in_doubt) == (S.NEW, None)
    assert buys(bench) == D(2)
    bench.advance(PAUSE)
    assert (BTC, old.client_order_id) in bench.one(GATEWAY, Look).orders
    bench.fill(old, 2)
    bench.report(old, S.FILLED, 2)
    assert bench.trading.parents[ParentId(old.parent_id)].status is S.FILLED
    bench.check()


@pytest.mark.failure("OR-23")
def test_replace_when_only_the_new_leg_fails_then_nothing_rests(bench: Bench) -> None:
    """The old one is cancelled, the new one rejected: both words count, in either order."""
    for first_new in (True, False):
        old, new = replacing(bench)
        words = [(new, S.REJECTED), (old, S.CANCELED)]
        for create, status in words if first_new else reversed(words):
            bench.report(create, status)
        assert (order_of(bench, old).status, order_of(bench, new).status) == (S.CANCELED, S.REJECTED)
        assert buys(bench) == D(0)
    bench.check()


def test_replace_when_it_was_not_written_then_the_old_order_rests_on(bench: Bench) -> None:
    """Latch, deadline or generation at the rim: proof that nothing happened."""
    old, new = replacing(bench)
    bench.tell(
        CancelRejected(ACCOUNT, old.client_order_id, "NOT_SENT: EXPIRED"),
        OrderNotSent(ACCOUNT, new.client_order_id, "EXPIRED"),
    )
    assert (order_of(bench, old).status, order_of(bench, new).never_was) == (S.NEW, True)
    assert buys(bench) == D(2)
    bench.check()


# --- in doubt ---------------------------------------------------------------------------------------------


def doubted(bench: Bench) -> tuple[CreateOrder, CreateOrder]:
    """Let a replacement get no answer."""
    old, new = replacing(bench)
    bench.doubt(old, Doubt.REPLACE)
    bench.doubt(new, Doubt.REPLACE)
    return old, new


@pytest.mark.failure("OR-23")
def test_replace_when_it_times_out_then_both_are_in_doubt_and_asked_by_id(bench: Bench) -> None:
    """Exposure counts both whole; both ids follow R3; neither is sent again."""
    old, new = doubted(bench)
    sides = account_sides(bench.trading.exposure, ACCOUNT, BTC)
    assert (sides.buy_doubt, sides.buy_working) == (D("3.5"), D(0))
    bench.advance(PAUSE)
    assert bench.one(GATEWAY, Look).orders == ((BTC, old.client_order_id), (BTC, new.client_order_id))
    bench.advance(60 * SECOND)
    assert bench.take(GATEWAY, ReplaceOrder) == []
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.check()


@pytest.mark.failure("OR-23")
def test_replace_when_the_stream_told_both_legs_before_the_time_out_then_nothing_is_in_doubt(
    bench: Bench,
) -> None:
    """No report of a resting order is news, so a doubt of what the venue has confirmed would never end."""
    old, new = replacing(bench)
    bench.report(new, S.NEW, source="stream")
    bench.doubt(new, Doubt.REPLACE)
    bench.doubt(old, Doubt.REPLACE)
    assert (order_of(bench, new).in_doubt, order_of(bench, old).in_doubt) == (None, Doubt.REPLACE)
    bench.report(old, S.CANCELED, source="stream")
    assert [one.client_order_id for one in bench.made(InDoubt)] == [old.client_order_id]
    assert buys(bench) == D("1.5")
    bench.check()


@pytest.mark.failure("OR-23")
def test_replace_when_looks_find_only_the_old_order_then_it_goes_on(bench: Bench) -> None:
    """R4 for the new id by two looks; that the old one is shown again is no proof for the new one."""
    old, new = doubted(bench)
    bench.look(old, missing=(new.client_order_id,))
    assert order_of(bench, new).in_doubt is Doubt.REPLACE
    while order_of(bench, new).live:
        bench.look(old, missing=(new.client_order_id,))
        assert bench.now_ns < START + MINUTE
    (resolved,) = bench.made(Resolved)
    assert (resolved.client_order_id, resolved.verdict) == (new.client_order_id, "NOT_PLACED")
    assert resolved.first_look_ns >= new.not_after_ns + 3 * SECOND
    one = order_of(bench, old)
    assert (one.status, one.in_doubt, buys(bench)) == (S.NEW, None, D(2))
    bench.check()


@pytest.mark.failure("OR-23")
def test_replace_when_looks_find_the_new_order_then_the_old_ones_end_is_read_by_id(bench: Bench) -> None:
    """Both legs happened and the answer was lost."""
    old, new = doubted(bench)
    bench.look(new)
    assert order_of(bench, new).in_doubt is None
    assert order_of(bench, old).in_doubt is Doubt.REPLACE
    bench.advance(SECOND)
    look = bench.take(GATEWAY, Look)[-1]
    assert (BTC, old.client_order_id) in look.orders
    bench.report(old, S.CANCELED, source="look")
    bench.done(look, missing=())
    assert (order_of(bench, old).live, buys(bench)) == (False, D("1.5"))
    bench.check()


@pytest.mark.failure("OR-23")
def test_replace_when_only_the_cancel_happened_then_the_old_one_ends_and_the_new_one_never_was(
    bench: Bench,
) -> None:
    """Each leg has its own evidence."""
    old, new = doubted(bench)
    bench.report(old, S.CANCELED, source="look")
    while order_of(bench, new).live:
        bench.look(missing=(new.client_order_id,))
        assert bench.now_ns < START + MINUTE
    assert buys(bench) == D(0)
    assert order_of(bench, old).status is S.CANCELED
    bench.check()


@pytest.mark.failure("OR-23")
@pytest.mark.parametrize("fresh", [True, False], ids=["restart", "gateway reset"])
def test_replace_when_its_answer_died_with_somebody_then_both_are_in_doubt(bench: Bench, fresh: bool) -> None:
    """A request in flight at a restart, and one that a gateway took with it, have no outcome."""
    old, new = replacing(bench)
    if fresh:
        bench = Bench(records=bench.records)
        bench.fold()
    else:
        bench.tell(GatewayReset(ACCOUNT))
    doubts = {one.client_order_id: one.doubt for one in bench.made(InDoubt)}
    assert doubts == {old.client_order_id: Doubt.REPLACE, new.client_order_id: Doubt.REPLACE}
    bench.check()


def test_replace_when_its_parent_is_cancelled_then_both_legs_are(bench: Bench) -> None:
    """R6: whichever of the two exists is cancelled by its id, until both have ended."""
    old, new = doubted(bench)
    bench.tell(CancelParent(TREND, old.parent_id))
    gone = [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)]
    assert gone == [old.client_order_id, new.client_order_id]
    bench.tell(
        CancelRejected(ACCOUNT, old.client_order_id, "-2011"),
        CancelRejected(ACCOUNT, new.client_order_id, "-2011"),
    )
    assert order_of(bench, new).in_doubt is Doubt.REPLACE
    bench.report(new, S.CANCELED, source="look")
    bench.report(old, S.CANCELED, source="look")
    parent = bench.trading.parents[ParentId(old.parent_id)]
    assert (parent.phase, parent.status, buys(bench)) == (Phase.DONE, S.CANCELED, D(0))
    bench.check()
