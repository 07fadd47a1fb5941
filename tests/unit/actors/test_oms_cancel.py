"""Cancels: at once, to evidence, and never for what is not theirs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BTC,
    FACE,
    GATEWAY,
    MARKET,
    PAUSE,
    TRADER,
    TREND,
    USDT,
)
from tradefan.messages.control import Durable, JournalFailed
from tradefan.messages.gateway import CancelOrder, CancelRejected, CreateOrder, Look
from tradefan.messages.market import AskRules
from tradefan.messages.orders import (
    Answer,
    CancelAll,
    CancelParent,
    OrderStatus,
    ParentUpdate,
    Phase,
    Refusal,
)
from tradefan.messages.records import (
    CancelIntent,
    NotSent,
)
from tradefan.units import SECOND, ParentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


@pytest.mark.failure("OR-09")
def test_cancel_when_wished_then_it_leaves_before_the_disk_and_again_until_terminal(bench: Bench) -> None:
    """CANCEL_INTENT and CancelOrder at once, PENDING_CANCEL, repeated at R3's instants; then DONE."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.auto_durable = False
    bench.tell(CancelParent(TREND, create.parent_id))
    cancel = CancelOrder(ACCOUNT, BTC, TREND, create.client_order_id)
    assert bench.take(GATEWAY, CancelOrder) == [cancel]
    bench.auto_durable = True
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.PENDING_CANCEL
    bench.advance(PAUSE)
    assert bench.take(GATEWAY, CancelOrder) == [cancel]
    bench.advance(2 * PAUSE)
    assert bench.take(GATEWAY, CancelOrder) == [cancel]
    bench.report(create, S.CANCELED)
    bench.advance(60 * SECOND)
    assert bench.take(GATEWAY, CancelOrder) == []
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.phase, parent.reason) == (S.CANCELED, Phase.DONE, "cancelled")
    assert len(bench.made(CancelIntent)) == 1
    bench.check()


@pytest.mark.failure("ST-03")
@pytest.mark.parametrize("every", [False, True], ids=["one", "all"])
def test_cancel_when_the_disk_is_full_then_its_answer_does_not_wait_for_it(bench: Bench, every: bool) -> None:
    """Whoever cancels hears so, and not that nobody knows; the cancel has left by then."""
    create = bench.limit(owner=API)
    bench.report(create, S.NEW)
    bench.auto_durable = False
    bench.tell(JournalFailed("disk full"))
    bench.tell(CancelAll(API, req=5) if every else CancelParent(API, create.parent_id, req=5))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    assert bench.take(FACE, Answer) == [Answer(5, (create.parent_id,))]
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert bench.take(FACE, Answer) == []


@pytest.mark.failure("OR-29")
def test_cancel_when_the_create_still_waits_then_nothing_of_it_leaves(bench: Bench) -> None:
    """NOT_SENT LOCAL_EXPIRED, no create, no cancel; the reservation is gone."""
    bench.auto_durable = False
    bench.submit(algo="limit", limit_price=D(99))
    bench.tell(CancelAll(TREND, BTC))
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.take(GATEWAY, CancelOrder) == []
    assert [record.reason for record in bench.made(NotSent)] == ["LOCAL_EXPIRED"]
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.CANCELED
    assert bench.trading.exposure.reserved[ACCOUNT][USDT] == D(0)
    bench.check()


@pytest.mark.failure("OR-08")
def test_cancel_when_rejected_then_the_order_is_asked_and_the_wish_stays(bench: Bench) -> None:
    """OR-08: "too late to cancel" is information; the fill that explains it ends the order."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(CancelParent(API, create.parent_id, req=5))
    assert bench.one(FACE, Answer) == Answer(5, (create.parent_id,))
    bench.take(GATEWAY, CancelOrder)
    bench.tell(CancelRejected(ACCOUNT, create.client_order_id, "too late"))
    assert bench.trading.orders[create.client_order_id].status is S.NEW
    bench.advance(PAUSE)
    assert bench.one(GATEWAY, CancelOrder).client_order_id == create.client_order_id
    assert bench.trading.orders[create.client_order_id].status is S.PENDING_CANCEL
    assert (BTC, create.client_order_id) in bench.take(GATEWAY, Look)[-1].orders
    bench.fill(create, 1)
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.FILLED
    bench.check()


@pytest.mark.failure("ST-08")
def test_cancel_when_of_somebody_else_or_unknown_then_it_is_refused(bench: Bench) -> None:
    """An owner ends its own parents only; the humans end everybody's."""
    create = bench.limit(owner=API)
    bench.tell(CancelParent(TREND, create.parent_id), CancelParent(TREND, ParentId("p?")), CancelAll(TREND))
    assert [one.code for one in bench.take(TRADER, Refusal)] == ["UNKNOWN_PARENT"] * 2
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.tell(CancelAll(API, req=9), CancelAll(API, req=9))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    assert [answer.parent_ids for answer in bench.take(FACE, Answer)] == [(create.parent_id,)] * 2


def test_limit_when_rejected_by_the_venue_then_the_parent_is(bench: Bench) -> None:
    """A post-only refusal ends it: REJECTED with the venue's reason."""
    create = bench.limit(settings={"post_only": True})
    assert create.post_only
    bench.report(create, S.REJECTED, reason="post_only")
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.reason, parent.phase) == (S.REJECTED, "post_only", Phase.DONE)


@pytest.mark.failure("OR-17")
def test_filter_when_the_venue_names_one_then_its_rules_are_read_again_and_nothing_is_repeated(
    bench: Bench,
) -> None:
    """A reject by a filter is definite: the rules are read again, and the order is not repeated."""
    bench.submit(algo="limit", limit_price=D(100))
    create = bench.take(GATEWAY, CreateOrder)[0]
    bench.report(create, S.REJECTED, reason="FILTER: Filter failure: LOT_SIZE")
    assert bench.take(MARKET, AskRules) == [AskRules(create.instrument)]
    assert bench.take(GATEWAY, CreateOrder) == []
