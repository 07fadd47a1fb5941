"""Collects what a service beside the daemon is told and hands it to its link in batches, by size and age.

One writes to InfluxDB, one to Redis; nothing that trades waits for them. While the server is away points wait
here, bounded: the oldest of the market go first, then the oldest of the rest, and every one that goes is
counted. What follows from the journal is not lost with it: a writer that `follows` that has it written from
there (`point_journal`). Of quotes the newest of each instrument is a point at every flush.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from tradefan.actors import point_journal
from tradefan.actors.data_writer import journaled
from tradefan.actors.point_journal import Followed, Own
from tradefan.config.schema import Config
from tradefan.config.services import InfluxConfig, RedisConfig
from tradefan.errors import Defect
from tradefan.messages.account import EquityPoint, HealthPoint, IndicatorPoint, RiskPoint
from tradefan.messages.base import Message
from tradefan.messages.control import (
    ConfigChanged,
    Folded,
    Journaled,
    PointBatch,
    PointsWritten,
    Ready,
    Started,
    Stop,
    Stopped,
    Stored,
    StoreFailed,
    Timer,
)
from tradefan.messages.market import Bar, BarCorrected, BarsClosed, Gap, Quote, Trade
from tradefan.messages.orders import FillUpdate, OrderUpdate, ParentUpdate, PositionUpdate, Refusal
from tradefan.messages.tca import TcaUpdate
from tradefan.messages.wire import Credit, LinkDown
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.units import MS, SECOND, InstrumentId, Ref

FLUSH = "flush"
LAST = "last"
STOP = "stop"
HELLO = "hello"
HELLO_NS = SECOND
"""Until a link that had no room is greeted again."""
LAST_WORD_NS = 50 * MS
"""How long before the stop's deadline it gives up on the server."""
GREETING = 0
Row: TypeAlias = Stored | Quote
MARKET: tuple[type[Any], ...] = (Trade, Quote, Bar)
"""What goes first where room is short: the venue has it, too."""
KINDS = (
    Trade,
    Quote,
    Bar,
    Gap,
    EquityPoint,
    IndicatorPoint,
    RiskPoint,
    HealthPoint,
    Refusal,
    OrderUpdate,
    ParentUpdate,
    FillUpdate,
    PositionUpdate,
    TcaUpdate,
)


class PointWriterWiring(Struct, frozen=True):
    """Where batches go, and whose settings hold; `under_way_max` is the room of the link.

    One that `follows` the journal loses nothing of it, and tells nothing that is not durable.
    """

    link: Ref
    name: str = "point_writer"
    section: Literal["influx", "redis"] = "influx"
    under_way_max: int = 2
    follows: bool = False
    supervisor: Ref = RIM


def _zeros() -> dict[str, int]:
    return {kind.__name__: 0 for kind in KINDS}


class PointWriterState(Struct):
    """Rows that wait, batches without an answer, and what became of all others, by message class."""

    market: list[Row] = field(default_factory=list)
    rest: list[Row] = field(default_factory=list)
    journal: Followed = field(default_factory=Followed)
    quotes: dict[InstrumentId, Quote] = field(default_factory=dict)
    under_way: dict[int, PointBatch] = field(default_factory=dict)
    linked: bool = False
    armed: int | None = None
    """The timer of the next flush."""
    waits_ns: int = 0
    """For how long it was armed."""
    overdue: bool = False
    stopping: bool = False
    stopped: bool = False
    failing: str = ""
    batches: int = 0
    written: int = 0
    dropped: dict[str, int] = field(default_factory=_zeros)
    """For want of room."""
    aside: dict[str, int] = field(default_factory=_zeros)
    """By the encoder or the server."""
    told: int = 0
    """So many dropped ones have been logged."""

    @property
    def waiting(self) -> int:
        """Count the rows that wait for a batch."""
        return len(self.market) + len(self.rest) + len(self.journal.rows)

    @property
    def free(self) -> bool:
        """Whether no batch is under way whose place in the journal another one would overtake."""
        return all(not one.own and one.up_to is None for one in self.under_way.values())

    @property
    def behind(self) -> bool:
        """Whether the server may lack something of the journal that no row here has."""
        asked = any(one.up_to is not None for one in self.under_way.values())
        return asked or not self.journal.begun or bool(self.journal.missing)

    @property
    def sendable(self) -> int:
        """Count the rows that may leave."""
        own = self.journal.sendable if self.free else 0
        return own + len(self.rest) + len(self.market)


class PointWriterView(Struct, frozen=True):
    """The writer for status and metrics; `failing` is why nothing is written now."""

    linked: bool
    failing: str
    waiting: int
    under_way: int
    batches: int
    written: int
    dropped: dict[str, int]
    aside: dict[str, int]
    left: dict[str, int]
    """Rows that waited too long and come from the journal later."""
    behind: bool
    """Whether something of the journal may be missing there; a writer that has begun does not know yet."""


class PointWriter:
    """Batches points for one service."""

    def __init__(self, wiring: PointWriterWiring, state: PointWriterState | None = None) -> None:
        """Begin empty, or where a snapshot was."""
        self.wiring = wiring
        self.state = state or PointWriterState()

    def handle(self, msg: Any, ctx: Context) -> None:
        """Take one message."""
        handler = _HANDLERS.get(type(msg))
        if handler is None:
            raise Defect(f"the point writer does not take {type(msg).__name__}")
        handler(self, msg, ctx)

    def view(self) -> PointWriterView:
        """Return a picture for status and metrics."""
        state = self.state
        return PointWriterView(
            linked=state.linked,
            failing=state.failing,
            waiting=state.waiting,
            under_way=len(state.under_way),
            batches=state.batches,
            written=state.written,
            dropped=dict(state.dropped),
            aside=dict(state.aside),
            left=dict(state.journal.left),
            behind=self.wiring.follows and state.behind,
        )

    def _settings(self, ctx: Context) -> InfluxConfig | RedisConfig:
        config = _config(ctx)
        return config.redis if self.wiring.section == "redis" else config.influx

    # --- rows ---------------------------------------------------------------------------------------

    def _on_trade(self, msg: Trade, ctx: Context) -> None:
        if not self.state.stopping:
            self.state.market.append(msg)
            self._added(ctx)

    def _on_quote(self, msg: Quote, ctx: Context) -> None:
        state = self.state
        if not state.stopping:
            state.quotes[msg.instrument] = msg
            self._arm(ctx)

    def _on_bars(self, msg: BarsClosed, ctx: Context) -> None:
        """Keep the timeframes that the configuration names, whatever else strategies asked for."""
        self._keep_bars(msg.instrument, msg.bars, ctx)

    def _on_correction(self, msg: BarCorrected, ctx: Context) -> None:
        """Write a bar again: the point of its instant takes its place."""
        self._keep_bars(msg.instrument, (msg.bar,), ctx)

    def _keep_bars(self, instrument: InstrumentId, bars: tuple[Bar, ...], ctx: Context) -> None:
        feed = _config(ctx).feeds.get(instrument)
        kept = [bar for bar in bars if feed is None or feed.bars.get(bar.timeframe, False)]
        if kept and not self.state.stopping:
            self.state.market.extend(kept)
            self._added(ctx)

    def _on_rest(self, msg: Row, ctx: Context) -> None:
        self.state.rest.append(msg)
        self._added(ctx)

    def _on_own(self, msg: Own, ctx: Context) -> None:
        if self.wiring.follows:
            point_journal.tell(self.state.journal, msg)
            self._added(ctx)
        else:
            self._on_rest(msg, ctx)

    def _added(self, ctx: Context) -> None:
        state = self.state
        self._bound(ctx)
        self._arm(ctx)
        if state.overdue or state.sendable >= self._settings(ctx).batch_size:
            self._send(ctx)

    def _arm(self, ctx: Context) -> None:
        if self.state.armed is None:
            self.state.waits_ns = self._settings(ctx).flush_interval
            self.state.armed = ctx.after(self.state.waits_ns, Timer(FLUSH))

    def _bound(self, ctx: Context) -> None:
        """Let the oldest go where too many wait, a hundredth at once, so that a long outage costs little."""
        state, most = self.state, self._settings(ctx).queue_max
        if state.waiting <= most:
            return
        excess = state.waiting - most + most // 100
        for rows in (state.market, state.rest):
            gone = rows[:excess]
            del rows[:excess]
            excess -= len(gone)
            for row in gone:
                state.dropped[type(row).__name__] += 1
        if excess > 0:
            known = state.journal.missing
            left = point_journal.leave(state.journal)
            if not known:
                ctx.log("warning", "points_left_to_journal", of=self.wiring.section, points=left)

    # --- batches --------------------------------------------------------------------------------------

    def _send(self, ctx: Context) -> None:
        """Send what is due while there is room: full batches, and all that is overdue."""
        state, size = self.state, self._settings(ctx).batch_size
        if state.journal.due and state.free and self._has_room():
            self._pass(point_journal.ask(state.journal, ctx.next_id()), ctx)
        while (waiting := state.sendable) and (state.overdue or waiting >= size):
            if not self._has_room():
                return
            batch = self._batch(ctx.next_id(), size)
            if not self._pass(batch, ctx):
                return
            left = size - batch.own
            del state.market[: max(0, left - len(state.rest))]
            del state.rest[:left]
            point_journal.took(state.journal, batch.own)
        state.overdue = state.stopping

    def _has_room(self) -> bool:
        return self.state.linked and len(self.state.under_way) < self.wiring.under_way_max

    def _batch(self, batch_id: int, size: int) -> PointBatch:
        """Return the next rows: first what follows from the journal, last the market."""
        state = self.state
        own, place = point_journal.first(state.journal, size) if state.free else ((), None)
        left = size - len(own)
        rows = (*own, *state.rest[:left], *state.market[: max(0, left - len(state.rest))])
        return PointBatch(batch_id, rows, len(own), place)

    def _pass(self, batch: PointBatch, ctx: Context) -> bool:
        """Hand a batch to the link; one that asks and finds no room asks again."""
        state = self.state
        if not ctx.send(self.wiring.link, batch):
            point_journal.put_back(state.journal, () if batch.rows else (batch,))
            return False
        state.under_way[batch.batch_id] = batch
        state.batches += 1
        return True

    def _put_back(self) -> None:
        """Let batches without an answer wait again, in front; a point that is written twice is one point."""
        state = self.state
        batches = list(state.under_way.values())
        rows = [row for batch in batches for row in batch.rows[batch.own :]]
        state.under_way.clear()
        state.market[:0] = [row for row in rows if isinstance(row, MARKET)]
        state.rest[:0] = [row for row in rows if not isinstance(row, MARKET)]
        point_journal.put_back(state.journal, batches)

    # --- the link -------------------------------------------------------------------------------------

    def _on_written(self, msg: PointsWritten, ctx: Context) -> None:
        state = self.state
        if msg.batch_id == GREETING:
            # A link that has just begun knows nothing of the batches that its predecessor had.
            self._put_back()
            self._bound(ctx)
        state.under_way.pop(msg.batch_id, None)
        state.linked = True
        state.written += msg.written
        for kind, count in msg.aside.items():
            state.aside[kind] += count
        if msg.aside:
            ctx.log(
                "warning",
                "points_set_aside",
                of=self.wiring.section,
                points=dict(msg.aside),
                reason=msg.reason,
            )
        if state.failing:
            ctx.log("info", f"{self.wiring.section}_recovered", reason=state.failing)
            state.failing = ""
        lost = sum(state.dropped.values())
        if lost > state.told:
            ctx.log(
                "warning",
                "points_dropped",
                of=self.wiring.section,
                points=lost - state.told,
                in_all=dict(state.dropped),
            )
            state.told = lost
        self._send(ctx)
        self._perhaps_stopped(ctx)

    def _on_failed(self, msg: StoreFailed, ctx: Context) -> None:
        self.state.failing = msg.reason
        ctx.log("error", f"{self.wiring.section}_failing", reason=msg.reason)

    def _on_link_down(self, msg: LinkDown, ctx: Context) -> None:
        self.state.linked = False
        self.state.failing = msg.reason
        self._put_back()
        self._bound(ctx)
        self._perhaps_stopped(ctx)

    def _on_credit(self, msg: Credit, ctx: Context) -> None:
        self._send(ctx)

    def _on_started(self, msg: Started, ctx: Context) -> None:
        """Greet the link, which does not know that a predecessor fell; the first one is greeted by it."""
        if msg.restart:
            self._say_hello(ctx)

    def _say_hello(self, ctx: Context) -> None:
        if not self.state.linked and not self._pass(PointBatch(ctx.next_id(), ()), ctx):
            ctx.after(HELLO_NS, Timer(HELLO))

    def _on_journaled(self, msg: Journaled, ctx: Context) -> None:
        state = self.state
        point_journal.hear(state.journal, msg)
        if state.overdue or state.journal.due:
            self._send(ctx)

    def _on_folded(self, msg: Folded, _ctx: Context) -> None:
        """Let go what a predecessor of the OMS told beyond the journal: it never was."""
        state = self.state
        point_journal.forget(state.journal, msg.lsn)
        if self.wiring.follows:
            return
        state.rest = journaled(state.rest, msg.lsn)
        for batch_id, batch in state.under_way.items():
            state.under_way[batch_id] = replace(batch, rows=tuple(journaled(batch.rows, msg.lsn)))

    # --- time -----------------------------------------------------------------------------------------

    def _on_timer(self, msg: Timer, ctx: Context) -> None:
        state = self.state
        if msg.name == STOP:
            self._stopped(ctx)
            return
        if msg.name == HELLO:
            self._say_hello(ctx)
            return
        state.market.extend(state.quotes.values())
        state.quotes.clear()
        self._bound(ctx)
        state.overdue = True
        if msg.name == LAST:
            state.stopping = True
        else:
            state.armed = None
        self._send(ctx)
        if state.waiting and not state.stopping:
            # No room: the answer that makes some sends the rest, and this timer is for when none comes.
            self._arm(ctx)
        self._perhaps_stopped(ctx)

    def _on_config(self, msg: ConfigChanged, ctx: Context) -> None:
        """Wait no longer than the new settings say; all others are read anew at every use."""
        state = self.state
        if state.armed is not None and self._settings(ctx).flush_interval < state.waits_ns:
            ctx.cancel(state.armed)
            state.armed = None
            self._arm(ctx)

    def _on_stop(self, msg: Stop, ctx: Context) -> None:
        """Write everything; what comes after the answer is written too, as long as the link lives.

        The stop overtook the rows that still wait in the mailbox: a timer of no delay lies behind them.
        """
        ctx.after(0, Timer(LAST))
        ctx.after(max(0, msg.deadline_ns - LAST_WORD_NS - ctx.now_ns), Timer(STOP))

    def _perhaps_stopped(self, ctx: Context) -> None:
        state = self.state
        away = not state.linked or bool(state.failing)
        if state.stopping and (away or not (state.sendable or state.under_way or state.journal.due)):
            self._stopped(ctx)

    def _stopped(self, ctx: Context) -> None:
        """Answer the stop once, and say what is lost with it; what follows from the journal is not."""
        state = self.state
        if state.stopped:
            return
        state.stopped = True
        self._put_back()
        lost = len(state.market) + len(state.rest)
        if lost:
            ctx.log("warning", "points_left_behind", of=self.wiring.section, points=lost)
            self._bound(ctx)
        ctx.send(self.wiring.supervisor, Stopped(self.wiring.name))

    def _on_nothing(self, msg: Message, ctx: Context) -> None:
        """A point that was written stays."""


def _config(ctx: Context) -> Config:
    config: Config = ctx.config
    return config


_HANDLERS: dict[type[Any], Callable[[PointWriter, Any, Context], None]] = {
    Trade: PointWriter._on_trade,
    Quote: PointWriter._on_quote,
    BarsClosed: PointWriter._on_bars,
    BarCorrected: PointWriter._on_correction,
    Gap: PointWriter._on_rest,
    EquityPoint: PointWriter._on_rest,
    IndicatorPoint: PointWriter._on_rest,
    RiskPoint: PointWriter._on_rest,
    HealthPoint: PointWriter._on_rest,
    Refusal: PointWriter._on_rest,
    OrderUpdate: PointWriter._on_own,
    ParentUpdate: PointWriter._on_own,
    FillUpdate: PointWriter._on_own,
    PositionUpdate: PointWriter._on_own,
    TcaUpdate: PointWriter._on_own,
    Stop: PointWriter._on_stop,
    Timer: PointWriter._on_timer,
    PointsWritten: PointWriter._on_written,
    StoreFailed: PointWriter._on_failed,
    LinkDown: PointWriter._on_link_down,
    Credit: PointWriter._on_credit,
    Started: PointWriter._on_started,
    ConfigChanged: PointWriter._on_config,
    Ready: PointWriter._on_nothing,
    Folded: PointWriter._on_folded,
    Journaled: PointWriter._on_journaled,
}
