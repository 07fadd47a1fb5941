"""The wall clock may be set between two lives: what counts from an earlier one lasts as long."""

from __future__ import annotations

import pytest

from tests.unit.actors.oms_bench import Bench, D, S
from tests.unit.actors.oms_wired import ACCOUNT, BTC, GATEWAY, START, TREND
from tests.unit.actors.test_oms_safe import starts
from tradefan.messages.account import AccountState
from tradefan.messages.control import ActorState
from tradefan.messages.gateway import CreateOrder, Look
from tradefan.messages.orders import CancelParent, Doubt
from tradefan.messages.records import FillInferred, Resolved, Sealed, Transfer
from tradefan.units import HOUR, MINUTE, SECOND

LATER = START + 2 * HOUR


def next_life(bench: Bench, jump_ns: int = -HOUR) -> Bench:
    """Return the process that follows, which begins by another clock."""
    after = Bench(records=bench.records, now_ns=bench.now_ns + jump_ns)
    after.fold()
    after.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    after.market()
    return after


def looks_until(
    bench: Bench, kind: type, *seen: CreateOrder, most_ns: int = MINUTE, **changes: object
) -> int:
    """Look until a record of a kind is made; return how long that took."""
    begun_ns = bench.now_ns
    while not bench.made(kind):
        assert bench.now_ns - begun_ns <= most_ns, f"no {kind.__name__} within {most_ns // SECOND} s"
        bench.look(*seen, **changes)  # type: ignore[arg-type]
        bench.market()
    return bench.now_ns - begun_ns


@pytest.mark.parametrize("jump_ns", [2 * SECOND, -20 * SECOND, -HOUR])
def test_r5_when_the_clock_was_set_back_then_what_rests_is_adopted_as_soon(jump_ns: int) -> None:
    """An end that an earlier life noted counts from this start, whichever way the clock went."""
    bench = Bench(now_ns=LATER).ready()
    create = bench.resting(1)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED)
    after = next_life(bench, jump_ns)
    assert looks_until(after, Resolved, create) <= 15 * SECOND
    after.check()


@pytest.mark.parametrize("jump_ns", [2 * SECOND, -20 * SECOND, -HOUR])
def test_missing_fill_when_the_clock_was_set_back_then_it_is_inferred_as_soon(jump_ns: int) -> None:
    """What the venue counts and no trade tells is inferred 30 s behind the start, and a look."""
    bench = Bench(now_ns=LATER).ready()
    bench.submit(1)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.FILLED, 1)
    after = next_life(bench, jump_ns)
    assert looks_until(after, FillInferred) <= 45 * SECOND
    after.check()


@pytest.mark.parametrize("jump_ns", [2 * SECOND, -20 * SECOND, -HOUR])
def test_doubt_when_the_clock_was_set_back_then_its_alarm_comes_as_soon(jump_ns: int) -> None:
    """A cancel in doubt holds its instrument `doubt_alarm` behind the start."""
    bench = Bench(now_ns=LATER).ready()
    create = bench.resting(1)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.doubt(create, Doubt.CANCEL)
    after = next_life(bench, jump_ns)
    begun_ns = after.now_ns
    while "doubt_alarm" not in after.alarms:
        assert after.now_ns - begun_ns <= 80 * SECOND
        after.look(create)
        after.market()
    assert after.trading.modes[BTC]["hold"].mode == "CANCEL_ONLY"
    after.check()


def test_resting_order_when_the_clock_was_set_back_then_it_is_missed_as_soon() -> None:
    """An order of an earlier life that no look shows is asked by id, and held for a human."""
    bench = Bench(now_ns=LATER).ready()
    create = bench.resting(1)
    after = next_life(bench)
    begun_ns = after.now_ns
    while "order_missing" not in after.alarms:
        assert after.now_ns - begun_ns <= MINUTE
        after.advance(SECOND)
        for look in after.take(GATEWAY, Look):
            after.done(look)
        after.market()
    assert create.client_order_id in after.trading.differences


def test_inferred_fill_when_the_clock_was_set_back_then_its_difference_becomes_a_transfer() -> None:
    """The assets of an inferred fill are left alone for `seal_after`, and not for as long as the jump."""
    bench = Bench(now_ns=LATER).ready()
    bench.submit(1)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.FILLED, 1)
    looks_until(bench, FillInferred)
    after = next_life(bench)
    held = {"USDT": D(1_000_000), "BTC": D(0)}
    assert looks_until(after, Transfer, most_ns=15 * MINUTE, held=held) >= 9 * MINUTE
    after.check()


def test_ended_order_when_the_clock_was_set_back_then_it_is_sealed_in_time() -> None:
    """`seal_after` of an order of an earlier life counts from the start at the latest."""
    bench = Bench(now_ns=LATER).ready()
    bench.bought(1)
    after = next_life(bench)
    assert looks_until(after, Sealed, most_ns=15 * MINUTE) >= 9 * MINUTE


def test_ended_order_when_the_clock_was_set_forward_then_it_is_sealed_no_sooner() -> None:
    """Nobody watched while the clock jumped: an hour of it is no quiet."""
    bench = Bench(now_ns=LATER).ready()
    bench.bought(1)
    after = next_life(bench, HOUR)
    assert looks_until(after, Sealed, most_ns=15 * MINUTE) >= 9 * MINUTE


def test_missing_fill_when_the_clock_was_set_forward_then_its_trade_has_time_to_come() -> None:
    """What the venue counted a second ago is inferred 30 s behind the start, not at once."""
    bench = Bench(now_ns=LATER).ready()
    bench.submit(1)
    bench.report(bench.one(GATEWAY, CreateOrder), S.FILLED, 1)
    assert looks_until(next_life(bench, HOUR), FillInferred) >= 29 * SECOND


def test_inferred_fill_when_the_clock_was_set_forward_then_it_explains_its_difference_as_long() -> None:
    """A transfer that the real trade would have to undo is not booked; nor is its fee taken as told."""
    bench = Bench(now_ns=LATER).ready()
    bench.submit(1)
    bench.report(bench.one(GATEWAY, CreateOrder), S.FILLED, 1)
    looks_until(bench, FillInferred)
    after = next_life(bench, HOUR)
    held = {"USDT": D("999900.5"), "BTC": D(1)}
    assert looks_until(after, Transfer, most_ns=15 * MINUTE, held=held) >= 9 * MINUTE


def test_parent_when_the_clock_was_set_back_then_its_executor_reads_no_end_to_come() -> None:
    """What an executor counts from the last child's end is not ahead of it."""
    bench = Bench(now_ns=LATER).ready()
    create = bench.resting(1)
    bench.report(create, S.CANCELED)
    assert bench.trading.parents[create.parent_id].last_end_ns == bench.now_ns
    after = next_life(bench)
    assert after.trading.parents[create.parent_id].last_end_ns == after.trading.epoch_ns == after.now_ns


def test_starts_when_the_clock_was_set_back_between_them_then_they_count_still() -> None:
    """Starts that repeat are SAFE although the earlier ones seem to be ahead."""
    bench = starts(3)
    assert next_life(bench, -HOUR).alarms == ["safe"]
    bench.check()


@pytest.mark.parametrize("jump_ns", [-HOUR, 5 * MINUTE])
def test_safe_when_held_since_a_life_by_another_clock_then_it_ends_in_time_behind_a_restart(
    jump_ns: int,
) -> None:
    """A restart inside the process counts SAFE from the begin of the process, not of its mode."""
    bench = starts(5, apart_ns=SECOND)
    process = next_life(Bench(records=bench.records, now_ns=bench.now_ns), jump_ns)
    again = Bench(records=process.records, now_ns=process.now_ns + MINUTE)
    again.fold(restart=1)
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    safe = ("all", "safe")
    again.passed(8 * 60)
    held = again.moods(*safe)
    again.passed(3 * 60)
    assert (held[-1], again.moods(*safe)[-1]) == ("CANCEL_ONLY", "NORMAL")


def test_kill_when_the_clock_was_set_back_then_looks_do_not_come_each_second() -> None:
    """What a kill leaves open is asked every 10 s: a venue bans who asks each second for an hour."""
    bench = Bench(now_ns=LATER).ready()
    create = bench.resting(1)
    bench.kill()
    bench.byte()
    after = next_life(bench)
    looks = 0
    for _ in range(60):
        after.advance(SECOND)
        for look in after.take(GATEWAY, Look):
            looks += 1
            after.report(create, S.NEW, source="look")
            after.done(look, missing=())
    assert 5 <= looks <= 15
