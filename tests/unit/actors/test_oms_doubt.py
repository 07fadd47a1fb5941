"""Doubt: the venue is asked, nothing is sent twice, and only evidence ends it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BTC,
    GATEWAY,
    PAUSE,
    START,
    TRADER,
    TREND,
    USDT,
)
from tradefan.messages.gateway import CancelOrder, CreateOrder, GatewayReset, Look, OrderInDoubt, OrderNotSent
from tradefan.messages.orders import CancelAll, CancelParent, Doubt, OrderStatus, ParentUpdate, Phase, Refusal
from tradefan.messages.records import (
    Fill,
    InDoubt,
    NotSent,
    Report,
    Resolved,
)
from tradefan.units import MINUTE, SECOND, ParentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


@pytest.mark.failure("OR-01")
def test_doubt_when_the_venue_is_silent_then_it_is_asked_at_growing_distances(bench: Bench) -> None:
    """R3: looks 0.25, 0.5, 1, 2, 5, 10 s apart name the order; R2: its whole rest stays reserved."""
    create = bench.doubtful()
    began = bench.now_ns
    asked: list[float] = []
    while len(asked) < 6:
        bench.advance(PAUSE)
        for look in bench.take(GATEWAY, Look):
            assert look.orders == ((BTC, create.client_order_id),)
            asked.append((bench.now_ns - began) / SECOND)
            bench.done(look, missing=())
    assert asked == [0.25, 0.75, 1.75, 3.75, 8.75, 18.75]
    assert bench.trading.exposure.accounts[ACCOUNT][BTC].buy_doubt == D(1)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.check()


@pytest.mark.failure("OR-01", "OR-10", "OR-11")
def test_doubt_when_two_late_looks_find_nothing_then_it_was_not_placed(bench: Bench) -> None:
    """R4: not before not_after + A + V + 1 s, twice, 5 s apart, both instants on record; then a new child."""
    create = bench.doubtful()
    bench.quote(BTC, 100)
    earliest = create.not_after_ns + 3 * SECOND
    while not bench.made(Resolved):
        bench.advance(PAUSE, answering=True)
        assert bench.now_ns < START + MINUTE
    resolved = bench.made(Resolved)[0]
    assert resolved.verdict == "NOT_PLACED"
    assert resolved.first_look_ns is not None
    assert resolved.second_look_ns is not None
    assert resolved.first_look_ns >= earliest
    assert resolved.second_look_ns - resolved.first_look_ns >= 5 * SECOND
    assert bench.trading.exposure.reserved[ACCOUNT][USDT] == D(0)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.quote(BTC, 100)
    bench.advance(PAUSE)
    second = bench.one(GATEWAY, CreateOrder)
    assert second.client_order_id != create.client_order_id
    bench.check()


@pytest.mark.failure("OR-11")
def test_doubt_when_the_venue_speaks_between_two_looks_then_those_are_no_proof(bench: Bench) -> None:
    """Whatever it says of the order, be it a status that nobody knows: it is there."""
    create = bench.doubtful(algo="limit", limit_price=D(99))
    while not bench.oms.state.live.accounts[ACCOUNT].negatives:
        bench.look(missing=(create.client_order_id,))
    bench.report(create, S.UNKNOWN)
    bench.look(missing=(create.client_order_id,))
    assert bench.made(Resolved) == []


@pytest.mark.failure("OR-11")
def test_doubt_when_a_look_is_incomplete_then_it_proves_nothing(bench: Bench) -> None:
    """Looks that failed do not count towards R4, however many there are."""
    create = bench.doubtful()
    for _ in range(200):
        bench.advance(PAUSE)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, complete=False)
    assert bench.made(Resolved) == []
    assert bench.trading.orders[create.client_order_id].in_doubt is Doubt.CREATE


@pytest.mark.failure("OR-01")
def test_doubt_when_the_venue_shows_the_order_then_it_ends(bench: Bench) -> None:
    """Positive evidence: the report merges, the doubt is gone, and one negative look is forgotten."""
    create = bench.doubtful()
    bench.advance(3 * SECOND, answering=True)
    assert bench.oms.state.live.accounts[ACCOUNT].negatives
    bench.report(create, S.NEW, source="look")
    assert bench.trading.orders[create.client_order_id].in_doubt is None
    assert bench.oms.state.live.accounts[ACCOUNT].negatives == {}
    bench.fill(create, 1)
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.FILLED
    bench.check()


def test_account_when_four_orders_are_in_doubt_then_only_cancels_leave(bench: Bench) -> None:
    """More than three IN DOUBT: CANCEL_ONLY for the account."""
    for _ in range(4):
        bench.submit("0.1", owner=API)
    for create in bench.take(GATEWAY, CreateOrder):
        bench.tell(OrderInDoubt(ACCOUNT, create.client_order_id, Doubt.CREATE, "TIMEOUT"))
    bench.submit("0.1")
    assert bench.one(TRADER, Refusal).code == "MODE_CANCEL_ONLY"
    bench.tell(CancelAll(API))
    assert len(bench.take(GATEWAY, CancelOrder)) == 4


@pytest.mark.failure("OR-01")
def test_gateway_when_it_resets_then_its_creates_are_in_doubt(bench: Bench) -> None:
    """What it had in flight has no outcome; what still waited here is not touched, nor what was answered."""
    answered, lost = bench.limit(), bench.limit()
    bench.report(answered, S.NEW)
    bench.auto_durable = False
    bench.submit("0.1")
    bench.tell(GatewayReset(ACCOUNT))
    bench.journal()
    assert [record.client_order_id for record in bench.made(InDoubt)] == [lost.client_order_id]
    bench.advance(0)
    assert bench.one(GATEWAY, Look).orders == ((BTC, lost.client_order_id),)


@pytest.mark.failure("OR-10", "OR-11")
def test_r4_when_the_intent_is_of_an_earlier_epoch_then_the_deadline_counts_from_this_start(
    bench: Bench,
) -> None:
    """The wall clock may have jumped while nobody was here: the old deadline proves nothing."""
    create = bench.limit()
    again = Bench(records=bench.records, now_ns=bench.now_ns - 100 * SECOND).ready()
    began = again.now_ns
    while not again.made(Resolved):
        again.advance(PAUSE, answering=True)
        assert again.now_ns < began + MINUTE
    assert again.made(Resolved)[0].first_look_ns >= began + 5 * SECOND
    parent = again.take(TRADER, ParentUpdate)[-1]
    assert (parent.order.parent_id, parent.status, parent.reason) == (
        create.parent_id,
        S.EXPIRED,
        "NOT_PLACED",
    )


@pytest.mark.failure("OR-09")
def test_doubt_when_the_cancel_times_out_before_the_create_then_existence_is_what_is_in_doubt(
    bench: Bench,
) -> None:
    """R6: `in_doubt` CREATE stays beside the wish to cancel, whichever time-out comes first; R4 ends it."""
    create = bench.limit()
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.doubt(create, Doubt.CANCEL)
    bench.doubt(create, Doubt.CREATE)
    order = bench.trading.orders[create.client_order_id]
    assert order.in_doubt is Doubt.CREATE
    bench.passed(20)
    assert [one.verdict for one in bench.made(Resolved)] == ["NOT_PLACED"]
    assert (order.live, bench.trading.parents[create.parent_id].phase) == (False, Phase.DONE)
    bench.check()


def test_doubt_when_only_the_cancel_had_one_and_nobody_ever_spoke_of_the_order_then_r4_ends_it_too(
    bench: Bench,
) -> None:
    """An order without any word long after its deadline may not exist, whatever else is in doubt."""
    create = bench.limit()
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.doubt(create, Doubt.CANCEL)
    bench.passed(60)
    assert not bench.trading.orders[create.client_order_id].live
    bench.check()


# --- found in spite of the proof -------------------------------------------------------------------------


@pytest.mark.failure("OR-11")
def test_order_when_found_in_spite_of_the_proof_then_it_is_adopted(bench: Bench) -> None:
    """R5: a fill of a NOT_PLACED order is journaled, adopted, booked to its owner and alarmed."""
    create = bench.doubtful()
    bench.advance(MINUTE, answering=True)
    assert bench.made(Resolved)[0].verdict == "NOT_PLACED"
    bench.fill(create, 1)
    assert [record.verdict for record in bench.made(Resolved)][-1] == "PLACED"
    assert bench.made(Fill)[0].owner == TREND
    assert (bench.oms.view().counters.adopted, "order_adopted" in bench.logs) == (1, True)
    bench.report(create, S.FILLED, 1)
    bench.check()


@pytest.mark.failure("OR-11")
def test_never_sent_order_when_the_venue_shows_it_then_it_is_adopted_and_its_end_is_no_news(
    bench: Bench,
) -> None:
    """A terminal word without quantity says nothing new; life does, and nobody wants that order any more."""
    create = bench.limit()
    bench.tell(OrderNotSent(ACCOUNT, create.client_order_id, "EXPIRED"))
    bench.tell(OrderNotSent(ACCOUNT, create.client_order_id, "EXPIRED"))
    bench.report(create, S.CANCELED)
    assert bench.made(Report) == []
    assert len(bench.made(NotSent)) == 1
    bench.report(create, S.NEW)
    assert bench.trading.orders[create.client_order_id].status is S.PENDING_CANCEL
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.check()


def test_not_sent_when_the_venue_spoke_already_then_it_is_illegal(bench: Bench) -> None:
    """A proof that contradicts the venue's word changes nothing; the venue is asked."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(OrderNotSent(ACCOUNT, create.client_order_id, "EXPIRED"))
    assert bench.made(NotSent) == []
    assert bench.oms.view().counters.illegal == 1
    bench.advance(SECOND)
    assert (BTC, create.client_order_id) in bench.one(GATEWAY, Look).orders


def resolved(bench: Bench, *, cancelled: bool, **changes: Any) -> CreateOrder:
    """Return an order that was in doubt, cancelled perhaps, and then proved missing (R4)."""
    bench.submit(1, **{"algo": "limit", "limit_price": D(99), **changes})
    create = bench.one(GATEWAY, CreateOrder)
    bench.tell(OrderInDoubt(ACCOUNT, create.client_order_id, Doubt.CREATE, "TIMEOUT"))
    if cancelled:
        bench.tell(CancelParent(TREND, ParentId(create.parent_id)))
    while not bench.trading.orders[create.client_order_id].never_was:
        bench.advance(SECOND, answering=True)
        bench.quote(BTC, 100)
    if cancelled:
        # The repetition of the cancel ends with the proof.
        bench.advance(MINUTE, answering=True)
        bench.take(GATEWAY, CancelOrder)
    return create


@pytest.mark.failure("OR-09", "OR-11")
@pytest.mark.parametrize("word", ["report", "fill"])
def test_adopted_order_when_its_cancel_was_wished_before_then_it_is_cancelled_again(
    bench: Bench, word: str
) -> None:
    """R5 after a cancel: the repetition ended with NOT_PLACED, so the adoption begins it anew (R6)."""
    create = resolved(bench, cancelled=True)
    if word == "report":
        bench.report(create, S.NEW)
    else:
        bench.fill(create, "0.4")
    assert bench.one(GATEWAY, CancelOrder).client_order_id == create.client_order_id
    for wait in (PAUSE, 2 * PAUSE, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 10 * SECOND):
        bench.advance(wait)
        assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.report(create, S.CANCELED, bench.trading.orders[create.client_order_id].cum_qty)
    bench.advance(MINUTE)
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.check()


def test_adopted_order_when_its_parent_is_ending_then_it_is_cancelled(bench: Bench) -> None:
    """Cancelled while one child was proved missing and another lives: the one that turns up goes too."""
    first = resolved(bench, cancelled=False, algo="market", limit_price=None)
    bench.advance(SECOND)
    second = bench.one(GATEWAY, CreateOrder)
    bench.report(second, S.NEW)
    bench.tell(CancelParent(TREND, ParentId(first.parent_id)))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [second.client_order_id]
    bench.report(first, S.NEW)
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [first.client_order_id]
    bench.report(second, S.CANCELED)
    bench.report(first, S.CANCELED)
    parent = bench.trading.parents[first.parent_id]
    assert (parent.phase, parent.status) == (Phase.DONE, S.CANCELED)
    bench.check()
