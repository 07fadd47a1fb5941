"""One life of the simulated process: where it dies, and what its machines see of time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tradefan.messages.base import Message
from tradefan.messages.wire import Open, Opened, Received, Text, Write
from tradefan.sim.process import (
    DISK,
    EFFECT,
    REPAIR,
    Countdown,
    Crash,
    DiskTap,
    Tap,
    draw_crash,
    to_kernel,
    to_true,
)
from tradefan.units import MS, SECOND

BODY = '{"id":1,"method":"order.place","params":{"recvWindow":2000,"timestamp":1700000000000}}'
WRITE = Write("account", 3, 9, "create", 12 * SECOND, Text(BODY))


class Machine:
    """A machine that says what it was told, and has one message to give."""

    def __init__(self, heard: Message | None = None) -> None:
        self.told: list[tuple[int, Message]] = []
        self.asked: list[int] = []
        self._heard = heard

    def apply(self, now_ns: int, effect: Message) -> None:
        self.told.append((now_ns, effect))

    def next_ns(self) -> int | None:
        return 5 * SECOND if self._heard is not None else None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        self.asked.append(now_ns)
        return [] if self._heard is None else [self._heard]


def repeat(times: int, act: Callable[[], None]) -> None:
    for _ in range(times):
        act()


def test_countdown_when_armed_then_it_dies_at_that_pass_and_nowhere_else() -> None:
    """`before the n-th effect` is exact, and other places go on."""
    countdown = Countdown()
    countdown.arm(EFFECT, 2)
    countdown.passes(EFFECT)
    countdown.passes(DISK)
    countdown.passes(EFFECT)
    with pytest.raises(Crash, match="effect"):
        countdown.passes(EFFECT)


def test_crash_of_a_repair_when_drawn_then_only_calls_on_the_database_file_count() -> None:
    """They are made by checkpoints and repairs alone: other calls do not use the countdown up."""
    countdown = Countdown()
    draw_crash(countdown, "crash_repair", Random(1))
    for _ in range(100):
        countdown.passes(DISK)
    with pytest.raises(Crash, match="repair"):
        repeat(10, lambda: countdown.passes(REPAIR))


def test_countdown_when_nothing_armed_then_it_lives() -> None:
    """A process without a planned death passes every place."""
    countdown = Countdown()
    for _ in range(100):
        countdown.passes(EFFECT)
    countdown.check()


def test_countdown_when_it_died_below_sqlite_then_check_dies_again_until_the_next_life() -> None:
    """SQLite makes an error of its own of what is raised inside it; the process is dead all the same."""
    countdown = Countdown()
    countdown.arm(DISK, 0)
    with pytest.raises(Crash):
        countdown.passes(DISK)
    with pytest.raises(Crash, match="disk"):
        countdown.check()
    countdown.disarm()
    countdown.check()


def test_tap_when_the_process_dies_before_an_effect_then_the_machine_never_gets_it() -> None:
    """What was not handed over did not happen."""
    machine, countdown = Machine(), Countdown()
    countdown.arm(EFFECT, 0)
    with pytest.raises(Crash):
        Tap(machine, countdown).apply(1, WRITE)
    assert machine.told == []


def test_disk_tap_when_the_machine_swallowed_the_death_then_nothing_is_heard_of_it() -> None:
    """Whatever a machine made of an error below SQLite, no message of a dead process leaves."""

    class Swallows(Machine):
        def take(self, now_ns: int, limit: int) -> list[Message]:
            with pytest.raises(Crash):
                countdown.passes(DISK)
            return [Open("account", 1, "paper:")]

    countdown = Countdown()
    countdown.arm(DISK, 0)
    with pytest.raises(Crash, match="disk"):
        DiskTap(Swallows(), countdown).take(1, 10)


def test_tap_when_the_clock_is_skewed_then_the_machine_has_true_time() -> None:
    """The venue goes by its own clock, whatever ours says; ingress is stamped with ours."""
    machine = Machine(Received("account", 3, 5 * SECOND, b"{}"))
    tap = Tap(machine, Countdown(), skew_ns=SECOND)
    tap.apply(10 * SECOND, WRITE)
    assert tap.next_ns() == 6 * SECOND
    assert tap.take(6 * SECOND, 10) == [Received("account", 3, 6 * SECOND, b"{}")]
    assert machine.asked == [5 * SECOND]
    ((at_ns, told),) = machine.told
    assert at_ns == 9 * SECOND
    assert isinstance(told, Write)
    assert told.not_after_ns == 11 * SECOND


def test_to_true_when_a_request_is_stamped_then_the_stamp_is_true_time_too() -> None:
    """The stamp is what the daemon believes the venue's time to be; the belief itself is not simulated."""
    told = to_true(WRITE, 1_500 * MS)
    assert isinstance(told, Write)
    assert told.body == Text(BODY.replace("1700000000000", "1699999998500"))


def test_to_kernel_when_a_message_has_no_stamp_of_the_link_then_it_is_untouched() -> None:
    """Times inside a body are the venue's."""
    opened = Opened("account", 3, SECOND)
    assert to_kernel(opened, SECOND) == Opened("account", 3, 2 * SECOND)
    assert to_kernel(WRITE, SECOND) is WRITE
