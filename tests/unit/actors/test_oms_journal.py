"""The disk fails, is silent, dies and comes back: nothing new leaves that it does not hold."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    GATEWAY,
    TRADER,
    TREND,
)
from tradefan.core.ids import client_order_id
from tradefan.errors import Defect
from tradefan.messages.control import ChainBroken, JournalFailed, JournalWorks
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import CancelParent, OrderStatus, Refusal, ResumeTrading
from tradefan.messages.wire import LinkDown
from tradefan.units import SECOND

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


@pytest.mark.failure("ST-03")
def test_journal_when_failing_then_only_cancels_leave_until_it_works(bench: Bench) -> None:
    """CANCEL_ONLY at once, waiting creates are dropped, cancels go on; 10 s after its next word it ends."""
    resting = bench.limit()
    bench.auto_durable = False
    bench.submit()
    bench.tell(JournalFailed("disk full"))
    bench.submit()
    assert bench.one(TRADER, Refusal).code == "MODE_CANCEL_ONLY"
    assert bench.oms.view().mode.mode == "CANCEL_ONLY"
    bench.tell(CancelParent(TREND, resting.parent_id))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    assert bench.alarms == ["journal_failing"]
    bench.durable()
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.passed(9)
    assert bench.oms.view().mode.mode == "CANCEL_ONLY"
    bench.passed(1)
    assert bench.oms.view().mode.mode == "NORMAL"
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert bench.moods("all", "journal") == ["CANCEL_ONLY", "NORMAL"]
    bench.check()


def test_journal_when_it_failed_before_in_the_last_five_minutes_then_it_has_to_work_for_longer(
    bench: Bench,
) -> None:
    """The second time within 5 min it is left after 30 s instead of 10, later after 10 again."""
    for wait_s, pause_s in ((10, 200), (30, 301), (10, 0)):
        bench.tell(JournalFailed("disk full"), JournalWorks())
        bench.passed(wait_s - 1)
        assert bench.oms.view().mode.mode == "CANCEL_ONLY"
        bench.passed(1)
        assert bench.oms.view().mode.mode == "NORMAL"
        bench.passed(pause_s)
    bench.check()


def test_journal_when_a_probe_works_but_records_wait_then_it_is_not_believed(bench: Bench) -> None:
    """Only what is on the disk proves that the disk takes it."""
    bench.auto_durable = False
    bench.tell(JournalFailed("disk full"), JournalWorks())
    assert bench.oms.state.live.journal_failing == "disk full"
    bench.durable()
    assert bench.oms.state.live.journal_failing is None


@pytest.mark.failure("ST-03")
def test_journal_when_silent_for_a_second_then_it_counts_as_failing(bench: Bench) -> None:
    """`journal.durable_timeout` is the OMS's own watch over the disk."""
    bench.auto_durable = False
    bench.submit()
    bench.advance(SECOND - 1)
    assert bench.oms.view().mode.mode == "NORMAL"
    bench.advance(1)
    assert bench.oms.view().mode.mode == "CANCEL_ONLY"
    bench.durable()
    bench.passed(10)
    assert bench.oms.view().mode.mode == "NORMAL"
    bench.passed(5)
    assert bench.oms.view().mode.mode == "NORMAL"


@pytest.mark.failure("ST-06")
def test_chain_when_broken_then_nothing_new_is_risked_until_a_human_has_looked(bench: Bench) -> None:
    """An old part of the journal was altered: alarm, NO_NEW_RISK, also after a restart of the OMS."""
    bench.bought(1)
    bench.tell(ChainBroken(7, "another hash"))
    assert bench.alarms == ["chain_broken"]
    bench.passed(60)
    bench.submit(1)
    assert bench.one(TRADER, Refusal).code == "MODE_NO_NEW_RISK"
    bench.submit(1, side="sell")
    assert bench.one(GATEWAY, CreateOrder).side == "sell"
    again = Bench(records=bench.records).ready()
    again.passed(60)
    assert again.oms.view().mode.mode == "NO_NEW_RISK"
    again.tell(ResumeTrading("all", "compared with the backup", "me"))
    assert again.oms.view().mode.mode == "NORMAL"
    again.check()


def test_journal_link_when_it_dies_then_the_oms_begins_anew(bench: Bench) -> None:
    """What waited in the link is gone: only a new fold knows what the disk holds, so this OMS ends."""
    with pytest.raises(Defect, match="fold again"):
        bench.oms.handle(LinkDown("journal", 1, "died"), bench)


@pytest.mark.failure("ST-02")
def test_restart_when_an_append_never_arrived_then_its_create_never_was(bench: Bench) -> None:
    """Records that died before the disk had them have sent nothing: no order, no doubt, no id twice."""
    bench.auto_durable = False
    bench.submit(1)
    assert bench.take(GATEWAY, CreateOrder) == []
    again = Bench(records=bench.records[:-2]).ready()
    assert again.trading.orders == {}
    again.submit(1)
    assert again.one(GATEWAY, CreateOrder).client_order_id == client_order_id("dev", 2, 1)
    again.check()
