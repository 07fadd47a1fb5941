"""An actor's mail: four lanes, each with a required capacity and an overflow policy.

The kernel takes and puts inline for speed; everything that is not on the hot path is here.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from tradefan.messages.base import COMMANDS, CONTROL, FACTS, Message
from tradefan.messages.control import AnyCommand


class Limits(Struct, frozen=True):
    """Capacities of one mailbox, in messages.

    A port blocks at `facts_high`; actors may go on to `facts_max`, which wiring computes as high
    water + 256 x the most facts of one turn. Beyond it is a defect of that actor: it falls, the facts stay.
    """

    facts_high: int
    facts_max: int
    commands_max: int
    market_max: int

    def __post_init__(self) -> None:
        """Refuse limits that cannot work."""
        if not 0 < self.facts_high <= self.facts_max or self.commands_max < 1 or self.market_max < 1:
            raise ValueError(f"expected 0 < facts_high <= facts_max and positive lanes, got {self}")


class Kept(Struct):
    """A message that is told to successors until it was heard, and how many it was told to.

    When it is `left` to the last resort it is told to none any more.
    """

    msg: Message
    again: int = 0
    left: bool = False


class LaneStatistics(Struct, frozen=True):
    """Depth and losses of one mailbox since the start."""

    control: int
    facts: int
    commands: int
    market: int
    facts_peak: int
    commands_peak: int
    market_peak: int
    conflated: int
    refused: int
    dropped: int


class Mailbox:
    """The four lanes of one actor, taken in the order control, facts, commands, market."""

    __slots__ = (
        "commands",
        "commands_peak",
        "conflated",
        "control",
        "dropped",
        "facts",
        "facts_peak",
        "kept",
        "limits",
        "market",
        "market_peak",
        "refused",
    )

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self.limits = limits
        self.control: dict[str, Message] = {}
        self.facts: deque[Message] = deque()
        self.commands: deque[Message] = deque()
        self.market: dict[str, Message] = {}
        self.kept: dict[str, Kept] = {}
        self.facts_peak = self.commands_peak = self.market_peak = 0
        self.conflated = self.refused = self.dropped = 0

    def __len__(self) -> int:
        """Count the waiting messages."""
        return len(self.control) + len(self.facts) + len(self.commands) + len(self.market)

    @property
    def blocked(self) -> bool:
        """True when ports must not bring more facts."""
        return len(self.facts) >= self.limits.facts_high

    def put(self, msg: Message) -> bool:
        """Queue one message by the policy of its lane; False when its commands lane is full."""
        lane = msg.lane
        if lane == FACTS:
            self.facts.append(msg)
        elif lane == CONTROL:
            self.conflated += self._slot(self.control, msg)
            if msg.kept:
                self.kept[msg.key()] = Kept(msg)
        elif lane == COMMANDS:
            if len(self.commands) >= self.limits.commands_max:
                self.refused += 1
                return False
            self.commands.append(msg)
            self.commands_peak = max(self.commands_peak, len(self.commands))
        else:
            self._put_market(msg)
        return True

    def _put_market(self, msg: Message) -> None:
        if len(self.market) >= self.limits.market_max and msg.key() not in self.market:
            self.dropped += 1
            return
        self.conflated += self._slot(self.market, msg)
        self.market_peak = max(self.market_peak, len(self.market))

    @staticmethod
    def _slot(lane: dict[str, Message], msg: Message) -> int:
        key = msg.key()
        known = key in lane
        lane[key] = msg
        return known

    def take_commands(self) -> tuple[AnyCommand, ...]:
        """Remove and return the waiting commands: a successor refuses them in its own words."""
        waiting = tuple(self.commands)
        self.commands.clear()
        return waiting  # type: ignore[return-value]  # the lane is chosen by class: only commands are here

    def begin_with(self, first: Message) -> None:
        """Put a new actor's first message in front of control and facts that survive; quotes are dropped."""
        survivors = dict(self.control)
        self.control.clear()
        self.control[first.key()] = first
        self.control.update(survivors)
        self.dropped += len(self.market)
        self.market.clear()

    def clear(self) -> int:
        """Forget what waits and return how much it was; what is kept is the kernel's to lose."""
        lost = len(self)
        for lane in (self.control, self.facts, self.commands, self.market):
            lane.clear()
        return lost

    def statistics(self) -> LaneStatistics:
        """Return depths, peaks and losses."""
        return LaneStatistics(
            control=len(self.control),
            facts=len(self.facts),
            commands=len(self.commands),
            market=len(self.market),
            facts_peak=self.facts_peak,
            commands_peak=self.commands_peak,
            market_peak=self.market_peak,
            conflated=self.conflated,
            refused=self.refused,
            dropped=self.dropped,
        )
