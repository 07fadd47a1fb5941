"""What a simulated InfluxDB holds, and what its writer was told: the two sides that I-23 compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tradefan.actors.point_writer import PointWriter, PointWriterState
from tradefan.messages.account import EquityPoint, HealthPoint, IndicatorPoint, RiskPoint
from tradefan.messages.control import Folded, PointsWritten
from tradefan.messages.market import Gap, Trade
from tradefan.messages.orders import FillUpdate, OrderUpdate, ParentUpdate, PositionUpdate, Refusal
from tradefan.messages.tca import TcaUpdate
from tradefan.runtime.actor import Context
from tradefan.runtime.system import System
from tradefan.stores.influx_bodies import PROGRESS
from tradefan.wiring import INFLUX, POINT_WRITERS

NOTES = (Gap, EquityPoint, IndicatorPoint, RiskPoint, HealthPoint, Refusal)
OWN = (OrderUpdate, ParentUpdate, FillUpdate, PositionUpdate, TcaUpdate)
COUNTED = frozenset((Trade, *NOTES, *OWN))
"""Of quotes and bars the writer takes some only; what it takes is in the contents all the same."""
AGAIN = ("bars", "gaps")
"""What is written anew as it is known better."""


@dataclass
class Generation:
    """One writer from its start to its fall, by message class."""

    state: PointWriterState
    told: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    """Rows of batches that had an answer: written or set aside."""
    never: Counter[str] = field(default_factory=Counter)
    """Told by an order manager that fell before they were journaled."""


@dataclass
class InfluxTruth:
    """All points, and what should never have been seen."""

    points: dict[str, str] = field(default_factory=dict)
    """Fields by series and time."""
    wrong: list[tuple[str, str]] = field(default_factory=list)
    """What was expected and what was found instead, in order."""
    aside: list[str] = field(default_factory=list)
    """Lines that the writer's link has set aside."""
    writer: Generation | None = None
    _places: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def write(self, line: str) -> None:
        """Store a line; where one of another content stood a point is lost, but for what is known better."""
        head, _, rest = line.partition(" ")
        while head.endswith("\\"):
            more, _, rest = rest.partition(" ")
            head = f"{head} {more}"
        fields, _, at = rest.rpartition(" ")
        measurement = head.partition(",")[0]
        if measurement == PROGRESS:
            self._note_place(head, fields, int(at))
            return
        key = f"{head} {at}"
        known = self.points.get(key)
        if known is not None and known != fields and measurement not in AGAIN:
            self.wrong.append((f"one point at {key}: {known}", fields))
        self.points[key] = fields

    def require(self, lines: Iterable[str]) -> None:
        """Look whether what was acknowledged is there."""
        for line in lines:
            if not line.startswith(PROGRESS):
                space = line.rfind(" ")
                if not self._has(line[:space], line[space + 1 :]):
                    self.wrong.append((f"what was acknowledged: {line}", "no such point"))

    def _has(self, said: str, at: str) -> bool:
        for end, sign in enumerate(said):
            if sign == " " and said[end - 1] != "\\":
                return f"{said[:end]} {at}" in self.points
        return False

    def place(self, journal: str) -> tuple[int, int]:
        """Return up to where a journal is in here, by the newest word, and the epoch of that row."""
        return self._places.get(f"{PROGRESS},journal={journal}", (0, 0, 0))[1:]

    @property
    def newest_place(self) -> int:
        """That of the journal that was noted last."""
        return max(self._places.values(), default=(0, 0, 0))[1]

    def of(self, measurement: str) -> list[tuple[str, str]]:
        """Return series with time, and fields, of all points of a measurement."""
        start = f"{measurement},"
        return [(key, fields) for key, fields in self.points.items() if key.startswith(start)]

    def aside_of(self, measurement: str) -> list[str]:
        """Return the lines of a measurement that were set aside."""
        return [line for line in self.aside if line.startswith(f"{measurement},")]

    def _note_place(self, head: str, fields: str, at_ns: int) -> None:
        said = dict(one.removesuffix("i").split("=") for one in fields.split(","))
        place = (at_ns, int(said["lsn"]), int(said.get("epoch", 0)))
        self._places[head] = max(self._places.get(head, place), place)


def unbalanced(writer: Generation) -> tuple[str, str] | None:
    """Say what was told, and what of it was written, waits or is counted as lost, where they differ."""
    state = writer.state
    under_way = [row for batch in state.under_way.values() for row in batch.rows]
    waiting = Counter(
        type(row).__name__ for row in (*state.journal.rows, *state.rest, *state.market, *under_way)
    )
    for kind in sorted(one.__name__ for one in COUNTED):
        lost = state.dropped.get(kind, 0) + state.journal.left.get(kind, 0) + writer.never[kind]
        count = writer.answered[kind] + waiting[kind] + lost
        if writer.told[kind] != count:
            return f"{writer.told[kind]} {kind} written, waiting or counted as lost", str(count)
    return None


class Told:
    """The point writer as the kernel has it, with everything counted that it is told."""

    def __init__(self, inner: PointWriter, truth: InfluxTruth) -> None:
        """Begin to count anew: what a predecessor had in memory fell with it."""
        self.inner = inner
        self._truth = truth
        lost = None if truth.writer is None else unbalanced(truth.writer)
        if lost is not None:
            truth.wrong.append(lost)
        self._seen = truth.writer = Generation(inner.state)
        self.view = inner.view

    @property
    def state(self) -> PointWriterState:
        """That of the writer."""
        return self.inner.state

    def handle(self, msg: Any, ctx: Context) -> None:  # noqa: ANN401 whatever an actor takes
        """Count, and pass on."""
        state, seen = self.inner.state, self._seen
        kind = type(msg)
        if kind is PointsWritten and (batch := state.under_way.get(msg.batch_id)) is not None:
            seen.answered.update(type(row).__name__ for row in batch.rows)
        own = list(state.journal.rows) if kind is Folded else []
        self.inner.handle(msg, ctx)
        if kind in COUNTED and not (kind is Trade and state.stopping):
            seen.told[kind.__name__] += 1
        elif kind is Folded:
            seen.never.update(type(row).__name__ for row in own if row.lsn > msg.lsn)
        most = ctx.config.influx.queue_max
        if state.waiting > most:
            self._truth.wrong.append((f"at most {most} rows that wait", str(state.waiting)))


def watched(system: System, truth: InfluxTruth) -> System:
    """Return a system whose point writer, where it has one, is counted."""
    name, rewire = POINT_WRITERS[INFLUX], system.rewire
    assert rewire is not None

    def again(*given: Any) -> System | None:
        """Wired anew, it is the same writer."""
        other = rewire(*given)
        return None if other is None else watched(other, truth)

    return replace(
        system,
        rewire=again,
        actors=tuple(
            replace(spec, factory=partial(_told, spec.factory, truth)) if spec.name == name else spec
            for spec in system.actors
        ),
    )


def _told(factory: Callable[[Any], Any], truth: InfluxTruth, state: Any) -> Told:  # noqa: ANN401 see `ActorSpec`
    return Told(factory(state), truth)
