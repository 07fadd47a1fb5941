"""Snapshots: a picture of everything durable and the records behind it are as good as all records."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, CONFIG, FACE, GATEWAY, JOURNAL, START, TREND, submit
from tradefan.config.schema import Config, JournalConfig
from tradefan.core.trading import apply
from tradefan.core.trading_state import Trading
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.control import ActorState, Append, JournalFailed, KillAnswer, Snap
from tradefan.messages.gateway import CancelOrder
from tradefan.messages.orders import CancelParent, OrderStatus, OwnerTurn
from tradefan.messages.records import Epoch, Intent
from tradefan.units import SECOND

D = Decimal
S = OrderStatus


def often(every: int = 100) -> Config:
    return msgspec.structs.replace(CONFIG, journal=JournalConfig(snapshot_every=every))


@pytest.fixture
def bench() -> Bench:
    """Return a bench that takes a picture every 100 records."""
    return Bench(config=often()).ready()


def busy(bench: Bench, orders: int) -> None:
    """Let orders come, trade and go, some to rest, one in doubt."""
    for number in range(orders):
        create = bench.resting("0.1", 99)
        if number % 3:
            bench.fill(create, "0.1")
            bench.report(create, S.FILLED, "0.1")
        elif number % 2:
            bench.report(create, S.CANCELED)
    bench.doubt(bench.limit("0.1"))


def test_snapshot_when_so_many_records_have_passed_then_it_is_handed_over_behind_them(bench: Bench) -> None:
    """Every `journal.snapshot_every` records, in a turn, as of its last lsn; the Append goes first."""
    busy(bench, 60)
    snaps = bench.take(JOURNAL, Snap)
    assert len(snaps) == len(bench.records) // 100
    for snap in snaps:
        state = Trading()
        for record in bench.records[: snap.lsn]:
            apply(state, record)
        assert msgspec.msgpack.decode(snap.state, type=Trading) == state
    assert bench.oms.view().counters.snapshots == len(snaps)
    bench.oms.state.live.snap_lsn = bench.trading.lsn - 99
    bench.sent.clear()
    bench.oms.handle(submit("0.06", ref="the last", algo="limit", limit_price=D(99)), bench)
    kinds = [type(msg) for ref, msg in bench.sent if ref == JOURNAL]
    assert kinds == [Append, Snap]


@pytest.mark.failure("ST-01")
def test_fold_when_it_begins_with_a_snapshot_then_the_state_is_that_of_the_whole_fold(bench: Bench) -> None:
    """Snapshot + tail = fold of everything, and the story goes on the same."""
    busy(bench, 60)
    snap = bench.take(JOURNAL, Snap)[-1]
    tail = tuple(bench.records[snap.lsn :])
    assert tail
    states = []
    for rows in ({}, {"records": tail, "snapshot": snap.state, "snapshot_lsn": snap.lsn}):
        again = Bench(records=bench.records, config=often(), now_ns=bench.now_ns)
        again.fold(rows=rows)
        again.tell(AccountState(ACCOUNT, True, ""))
        again.market()
        again.look()
        states.append(again.trading)
        again.check()
    assert states[0] == states[1]


def test_fold_when_the_snapshot_is_new_then_the_next_one_waits_for_as_many_records(bench: Bench) -> None:
    """A restart takes no picture of what was just read."""
    busy(bench, 30)
    snap = bench.take(JOURNAL, Snap)[-1]
    again = Bench(records=bench.records, config=often())
    tail = tuple(bench.records[snap.lsn :])
    again.fold(rows={"records": tail, "snapshot": snap.state, "snapshot_lsn": snap.lsn})
    assert again.take(JOURNAL, Snap) == []
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    again.look()
    while not (later := again.take(JOURNAL, Snap)):
        again.limit("0.06")
    assert 100 <= later[0].lsn - snap.lsn < 110


def test_snapshot_when_the_journal_is_failing_then_none_is_taken(bench: Bench) -> None:
    """The disk has enough to do; the picture comes when it works again."""
    bench.auto_durable = False
    bench.tell(JournalFailed("disk full"))
    for number in range(60):
        bench.tell(OwnerTurn(TREND, number + 1, b"state"), SetMode(BTC, "t", "NO_NEW_RISK", str(number), ""))
    assert bench.take(JOURNAL, Snap) == []
    bench.durable()
    bench.tell(OwnerTurn(TREND, 100, b"state"))
    assert len(bench.take(JOURNAL, Snap)) == 1


@pytest.mark.failure("ST-03")
def test_fold_when_the_disk_cannot_write_then_records_cancels_and_kills_go_on(bench: Bench) -> None:
    """An OMS restarted behind a full disk folds what waits in the link, cancels, and can be killed."""
    create = bench.resting()
    bench.auto_durable = False
    bench.tell(JournalFailed("disk full"), CancelParent(TREND, create.parent_id))
    durable = bench.oms.state.live.outbox.durable
    again = Bench(records=bench.records)
    again.auto_durable = False
    again.fold(rows={"durable": durable, "failing": "disk full"}, restart=1)
    assert [one.client_order_id for one in again.take(GATEWAY, CancelOrder)] == [create.client_order_id]
    assert again.trading.modes["all"]["journal"].mode == "CANCEL_ONLY"
    assert again.alarms == ["journal_failing"]
    again.kill(req=4)
    again.byte()
    assert again.one(FACE, KillAnswer).persisted
    again.durable()
    assert again.oms.state.live.journal_failing is None
    assert list(again.trading.kills) == ["all"]
    again.check()


def test_fold_when_an_operator_accepted_a_loss_then_it_is_said_loudly(bench: Bench) -> None:
    """`--accept-loss` is never silent."""
    again = Bench(records=bench.records)
    again.fold(rows={"lost": "3 rows above lsn 9"})
    assert again.alarms == ["journal_loss_accepted"]


@pytest.mark.failure("ST-12")
def test_fold_when_records_cannot_be_applied_then_it_is_said_and_goes_on(bench: Bench) -> None:
    """Total: what does not fit is counted and alarmed, never a crash loop."""
    create = bench.resting()
    twice = [*bench.records, *(one for one in bench.records if isinstance(one, Intent))]
    again = Bench(records=twice)
    again.fold()
    assert again.alarms == ["records_unapplied"]
    assert (again.trading.unapplied, list(again.trading.orders_live)) == (1, [create.client_order_id])


def test_restart_when_of_the_oms_alone_then_epoch_says_so_and_it_is_no_start(bench: Bench) -> None:
    """EPOCH counts restarts inside a process; ids still rise."""
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND)
    again.fold(restart=2)
    assert [(one.epoch, one.restart) for one in again.made(Epoch)] == [(1, 0), (2, 2)]
    assert again.trading.starts == [START]
