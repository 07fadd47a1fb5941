"""The latch at the rim: what it forbids, and that closing it overtakes everything else of a step."""

from __future__ import annotations

import pytest

from tests.unit.runtime.players import Scribe, build, kernel_of, say
from tradefan.drivers.latch import Latch
from tradefan.drivers.virtual import VirtualDriver
from tradefan.messages.base import Message
from tradefan.messages.control import CloseLatch, OpenLatch, Timer
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM, PortSpec
from tradefan.units import Ref

PORT = Ref(2)
WRITE = ("all", "binance:BTC/USDT", "paper:main", "trend", "binance", "paper")


@pytest.mark.parametrize(
    ("closed", "scopes", "verdict"),
    [
        ((), WRITE, False),
        ((), (), False),
        (("all",), WRITE, True),
        (("all",), (), True),
        (("paper:main",), WRITE, True),
        (("binance:BTC/USDT",), WRITE, True),
        (("trend",), WRITE, True),
        (("binance",), WRITE, True),
        (("binance:ETH/USDT", "paper:other", "mean"), WRITE, False),
        (("paper:main",), (), False),
    ],
)
def test_latch_when_a_scope_is_closed_then_writes_that_name_it_are_forbidden(
    closed: tuple[str, ...], scopes: tuple[str, ...], verdict: bool
) -> None:
    """A scope holds for the writes that name it; `all` holds for every write, also one that names none."""
    latch = Latch()
    for scope in closed:
        latch.close(scope, "kill")
    assert latch.is_closed(scopes) is verdict


def test_latch_when_one_scope_is_opened_then_the_others_stay_closed() -> None:
    """Resuming an account does not resume what was killed beside it; the first reason is kept."""
    latch = Latch()
    latch.close("all", "first")
    latch.close("all", "second")
    latch.close("paper:main", "third")
    assert latch.closed == {"all": "first", "paper:main": "third"}
    latch.open("all")
    latch.open("never closed")
    assert (latch.is_closed(WRITE), latch.closed) == (True, {"paper:main": "third"})


class Witness:
    """A timed machine that notes whether the latch was closed when each effect came."""

    def __init__(self, latch: Latch) -> None:
        self.latch = latch
        self.heard: list[tuple[str, bool]] = []

    def apply(self, now_ns: int, effect: Message) -> None:
        assert isinstance(effect, Timer)
        self.heard.append((effect.name, self.latch.is_closed(WRITE)))

    def next_ns(self) -> int | None:
        return None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        return []


def heard(*effects: Message) -> list[tuple[str, bool]]:
    """Let one turn send these effects, and return what a machine saw of the latch."""

    def action(_scribe: Scribe, _msg: Message, ctx: Context) -> None:
        for effect in effects:
            ctx.send(PORT if isinstance(effect, Timer) else RIM, effect)

    latch = Latch()
    machine = Witness(latch)
    kernel = kernel_of(build({"a": {"Started": action}}, ports=(PortSpec("p", "a"),)))
    driver = VirtualDriver(kernel, {"p": machine}, latch=latch)
    driver.settle()
    assert not [effect for effect in driver.unhandled if isinstance(effect, CloseLatch | OpenLatch)]
    return machine.heard


def test_close_latch_when_it_is_the_last_effect_then_obeyed_before_the_first() -> None:
    """A create that the same step sent to a timed machine meets the closed latch (RELIABILITY.md 2b)."""
    assert heard(say("create"), CloseLatch("all", "kill")) == [("create", True)]


def test_open_latch_when_effects_stand_around_it_then_obeyed_in_its_turn() -> None:
    """What a step sent before it opened the latch is still forbidden, what it sent behind it leaves."""
    effects = (CloseLatch("all", "kill"), say("before"), OpenLatch("all"), say("behind"))
    assert heard(*effects) == [("before", True), ("behind", False)]


def test_open_latch_when_the_same_step_kills_behind_it_then_the_latch_stays_shut() -> None:
    """A kill that was handled in the step of a resume wins: nothing leaves in between, or afterwards."""
    effects = (say("before"), OpenLatch("all"), say("behind"), CloseLatch("all", "kill"), say("last"))
    assert heard(*effects) == [("before", True), ("behind", True), ("last", True)]
