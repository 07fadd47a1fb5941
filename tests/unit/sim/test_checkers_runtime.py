"""I-27, I-29, I-30: what the kernel promises, on a real kernel."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.runtime.players import LIMITS, Script, build, fail, kernel_of, say, wish
from tests.unit.sim.checker_bench import Bench, broken
from tradefan.messages.control import LogLine
from tradefan.messages.market import Quote
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.supervisor import OnExhausted
from tradefan.runtime.system import Ingress
from tradefan.sim.checkers.base import Watch
from tradefan.sim.checkers.runtime import LOOK_NS, BoundedLanes, BoundedRestarts, TimersOnTime
from tradefan.sim.witness import Violation
from tradefan.units import SECOND, InstrumentId, Ref

A = Ref(1)
RETRY_NS = 5 * SECOND


class Running:
    """A real kernel with one actor before a checker; `go` is one step, logs go to the witness."""

    def __init__(self, checker: Watch, script: Script, *, on_exhausted: OnExhausted = "stay_down") -> None:
        """Start it."""
        self.bench = Bench(checker)
        self.kernel: Kernel = kernel_of(build({"a": script}, on_exhausted=on_exhausted))
        self.bench.seen.kernel = self.kernel
        self.go()

    def go(self, *ingress: Ingress, after_ns: int = 1) -> Violation | None:
        """Take a step and let the checker look."""
        at_ns = self.kernel.state.now_ns + after_ns
        for _, effect in self.kernel.step(at_ns, list(ingress)).effects:
            if isinstance(effect, LogLine):
                self.bench.seen.logs.append((at_ns, effect))
        self.bench.seen.now_ns = at_ns
        return self.bench.checker.after_step(self.bench.seen)


def quote(number: int) -> Quote:
    return Quote(InstrumentId(f"x{number}"), 1.0, 1.0, 2.0, 1.0, number, 0)


def test_lanes_when_full_to_their_limits_then_quiet() -> None:
    """I-27: refused commands and quotes dropped from a full lane are what the policy says."""
    run = Running(BoundedLanes(), {})
    mail: list[Ingress] = [(A, quote(number)) for number in range(LIMITS.market_max + 1)]
    mail += [(A, wish(str(number))) for number in range(LIMITS.commands_max + 1)]
    assert run.go(*mail, after_ns=LOOK_NS) is None
    statistics = run.kernel.statistics()["a"]
    assert (statistics.dropped, statistics.refused) == (1, 1)


def test_lanes_when_one_was_deeper_than_its_limit_then_broken() -> None:
    """I-27: each lane but control, by its depth now and by its peak."""
    for lane, most in (("commands", LIMITS.commands_max), ("market", LIMITS.market_max)):
        run = Running(BoundedLanes(), {})
        setattr(mail_of(run), f"{lane}_peak", most + 1)
        broken(run.go(after_ns=LOOK_NS), "I-27", f"at most {most} {lane} of a", str(most + 1))
    run = Running(BoundedLanes(), {})
    mail_of(run).facts_peak = LIMITS.facts_max + 1
    broken(run.go(after_ns=LOOK_NS), "I-27", f"at most {LIMITS.facts_max} facts of a", "4001")


def mail_of(run: Running) -> Any:
    cell = run.kernel.cells[A]
    assert cell is not None
    return cell.mail


def test_quote_when_dropped_although_there_was_room_then_broken() -> None:
    """I-27: a drop counter says what is missing, and nothing may be."""
    run = Running(BoundedLanes(), {})
    mail_of(run).dropped = 3
    broken(run.go(after_ns=LOOK_NS), "I-27", "no quote of a dropped", "3")


def test_mail_when_lost_while_nobody_is_down_then_broken() -> None:
    """I-27: facts drop 0."""
    run = Running(BoundedLanes(), {"x": fail})
    run.kernel.state.lost_to_down += 2
    broken(run.go(after_ns=LOOK_NS), "I-27", "0 messages lost", "2")


def test_mail_when_its_actor_stays_down_then_its_loss_is_quiet() -> None:
    """I-27: who is exhausted loses his mail; the owner of the seed is told by the supervisor."""
    run = Running(BoundedLanes(), {"x": fail})
    for _ in range(4):
        run.go((A, say("x")))
    for _ in range(4):
        assert run.go((A, say("y")), after_ns=LOOK_NS) is None
    assert run.kernel.state.lost_to_down > 0


def test_restarts_when_within_the_window_then_quiet_until_it_stays_down() -> None:
    """I-29: three in 60 s, the fourth end leaves it down, its one try each 5 s fails again."""
    run = Running(BoundedRestarts(), {"x": fail})
    for _ in range(4):
        assert run.go((A, say("x"))) is None
    child = run.kernel.life.tree.child("a")
    assert (child.up, child.restarts) == (False, 3)
    assert run.bench.checker.due_ns == child.retry_ns
    for _ in range(3):
        assert run.go(after_ns=RETRY_NS) is None
        assert child.up
        assert run.go((A, say("x"))) is None
        assert not child.up


def test_restarts_when_older_than_the_window_then_they_count_no_more() -> None:
    """I-29: one each 25 s never fills a window of 60 s."""
    run = Running(BoundedRestarts(), {"x": fail})
    for _ in range(6):
        assert run.go((A, say("x")), after_ns=25 * SECOND) is None
    assert run.kernel.life.tree.child("a").up


def test_restarts_when_one_too_many_then_broken() -> None:
    """I-29: a supervisor that lets a fourth restart happen within its window."""
    run = Running(BoundedRestarts(), {"x": fail})
    for _ in range(3):
        assert run.go((A, say("x"))) is None
        run.kernel.life.tree.child("a").recent_ns.clear()
    broken(run.go((A, say("x"))), "I-29", "at most 3 restarts of a", "4 since")


def test_restarts_when_its_try_is_followed_by_another_then_broken() -> None:
    """I-29: behind the pause one failure is enough."""
    run = Running(BoundedRestarts(), {"x": fail})
    for _ in range(4):
        run.go((A, say("x")))
    assert run.go(after_ns=RETRY_NS) is None
    run.kernel.life.tree.child("a").recent_ns.clear()
    broken(run.go((A, say("x"))), "I-29", "at most 3 restarts of a", "4 since")


def test_end_when_it_brings_no_restart_although_some_are_left_then_broken() -> None:
    """I-29: escalation comes at exactly the next end, not before, and so does a pause before the next try."""
    run = Running(BoundedRestarts(), {"x": fail})
    run.kernel.life.tree.child("a").recent_ns = [run.kernel.state.now_ns] * 3
    broken(run.go((A, say("x"))), "I-29", "a started again: 0 of 3 restarts used", "it is down")
    run = Running(BoundedRestarts(), {"x": fail})
    run.bench.log("error", "actor_crashed")
    run.bench.seen.logs[-1] = (0, LogLine("error", "actor_crashed", "a", {}))
    run.kernel.life.tree.child("a").up = False
    broken(run.go(), "I-29", "a started again: 0 of 3 restarts used", "it is down")


def test_end_when_it_stops_everything_then_quiet() -> None:
    """I-29: escalation ends the process instead of the child."""
    run = Running(BoundedRestarts(), {"x": fail}, on_exhausted="escalate")
    for _ in range(4):
        assert run.go((A, say("x"))) is None
    assert run.kernel.life.stopping is not None


def arm(_scribe: Any, _msg: Any, ctx: Any) -> None:
    """Script: one timer for now, one for later."""
    ctx.after(0, say("now"))
    ctx.after(10, say("later"))


def test_timers_when_fired_in_their_step_then_quiet() -> None:
    """I-30: what is armed for now is due in the next step."""
    run = Running(TimersOnTime(), {"x": arm})
    assert run.go((A, say("x"))) is None
    assert run.go() is None
    assert run.go(after_ns=100) is None
    assert not run.kernel.timers


def test_timers_when_one_waits_behind_its_deadline_then_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """I-30: a kernel that looks at its heap in every other step only."""
    run = Running(TimersOnTime(), {"x": arm})
    assert run.go((A, say("x"))) is None
    deadline = run.kernel.timers[0][0]
    monkeypatch.setattr(run.kernel, "_fire", lambda _now_ns: None)
    broken(run.go(), "I-30", f"all timers up to {deadline + 1}", f"still waits since {deadline} ns")


def test_time_when_it_goes_back_within_a_life_then_broken() -> None:
    """I-30: a new life may have another clock."""
    run = Running(TimersOnTime(), {})
    run.go(after_ns=SECOND)
    now = run.kernel.state.now_ns
    run.kernel.state.now_ns = now - 5
    violation = run.bench.checker.after_step(run.bench.seen)
    broken(violation, "I-30", f"a step at {now} ns or later", f"{now - 5} ns")
    other = kernel_of(build({"a": {}}))
    run.bench.seen.kernel = other
    assert run.bench.checker.after_step(run.bench.seen) is None
