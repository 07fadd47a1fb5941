"""Collects what is worth keeping and hands it to the store in batches, by size and by age.

Nothing that trades waits for it. While the store has no room rows wait here, bounded: the oldest
market rows go first and are counted, then equity, indicators and refusals, then orders, parents, fills and
positions, which the journal has too. What a crash or want of room takes from this actor the store's link
finds there: an empty batch, sent at every start and behind every such loss, asks it to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar, get_args

from msgspec import Struct, field
from msgspec.structs import replace

from tradefan.actors import stored_bars, volume_days
from tradefan.actors.stored_bars import Questions
from tradefan.actors.volume_days import DAY_OVER, Inquiry
from tradefan.config.schema import Config
from tradefan.errors import Defect
from tradefan.messages.account import EquityPoint, HealthPoint, IndicatorPoint, RiskPoint
from tradefan.messages.base import Message
from tradefan.messages.control import (
    ConfigChanged,
    Folded,
    Ready,
    Started,
    Stop,
    Stopped,
    StoreAck,
    StoreBatch,
    Stored,
    StoreFailed,
    Timer,
)
from tradefan.messages.market import AskStored, Bar, BarCorrected, BarsClosed, Gap, Trade
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
HELLO_NS = 2 * SECOND
"""Until the store is asked again to catch up."""
LAST_HELLO_NS = 20 * MS
"""The same in a stop, which ends soon."""
LAST_WORD_NS = 50 * MS
"""How long before the stop's deadline it gives up on the store."""
GREETING = 0
"""The batch id with which a link that has just started says where it stands."""
Note: TypeAlias = EquityPoint | RiskPoint | HealthPoint | IndicatorPoint | Refusal
DROPPABLE: tuple[type[Any], ...] = (Trade, Bar, Gap, *get_args(Note))
R = TypeVar("R", bound=Message)
OWN: tuple[type[Any], ...] = (OrderUpdate, ParentUpdate, FillUpdate, PositionUpdate, TcaUpdate)


class DataWriterWiring(Struct, frozen=True):
    """Where batches go, and what the store finds. `under_way_max` is the room of the store's link."""

    store: Ref
    oms: Ref | None = None
    name: str = "data_writer"
    under_way_max: int = 8
    supervisor: Ref = RIM
    markets: dict[str, Ref] = {}
    """The market data of each venue."""


class DataWriterState(Struct):
    """Rows that wait by how dear they are, and batches that have no answer yet."""

    own: list[Stored] = field(default_factory=list)
    notes: list[Stored] = field(default_factory=list)
    market: list[Stored] = field(default_factory=list)
    under_way: dict[int, StoreBatch] = field(default_factory=dict)
    linked: bool = False
    armed: int | None = None
    """The timer of the next flush."""
    waits_ns: int = 0
    """For how long it was armed."""
    overdue: bool = False
    stopping: bool = False
    stopped: bool = False
    failing: str = ""
    applied_lsn: int = 0
    batches: int = 0
    stored: int = 0
    set_aside: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {kind.__name__: 0 for kind in DROPPABLE})
    missing_lsn: int = 0
    """The newest row of one's own that was let go and is not known to be in the store, 0 for none."""
    heir: bool = False
    """A predecessor in this process may have lost rows, all older than the first one that comes."""
    asking: bool = False
    volumes: Inquiry = field(default_factory=Inquiry)
    questions: Questions = field(default_factory=Questions)
    forget_lsn: int | None = None
    """What the store has behind it is of no record, and goes before anything else is sent."""

    @property
    def waiting(self) -> int:
        """Count the rows that wait for a batch."""
        return len(self.own) + len(self.notes) + len(self.market)

    def forget(self, lsn: int) -> None:
        """Let what the store has behind a number go, behind the lowest of those that wait."""
        self.forget_lsn = lsn if self.forget_lsn is None else min(lsn, self.forget_lsn)


class DataWriterView(Struct, frozen=True):
    """The writer for status and metrics; `failing` is why the store cannot write."""

    linked: bool
    failing: str
    waiting: int
    under_way: int
    batches: int
    stored: int
    set_aside: int
    dropped: dict[str, int]
    applied_lsn: int


class DataWriter:
    """Batches rows for one store."""

    def __init__(self, wiring: DataWriterWiring, state: DataWriterState | None = None) -> None:
        """Begin empty, or where a snapshot was."""
        self.wiring = wiring
        self.state = state or DataWriterState()

    def handle(self, msg: Any, ctx: Context) -> None:
        """Take one message."""
        handler = _HANDLERS.get(type(msg))
        if handler is None:
            raise Defect(f"the data writer does not take {type(msg).__name__}")
        handler(self, msg, ctx)

    def view(self) -> DataWriterView:
        """Return a picture for status and metrics."""
        state = self.state
        return DataWriterView(
            linked=state.linked,
            failing=state.failing,
            waiting=state.waiting,
            under_way=len(state.under_way),
            batches=state.batches,
            stored=state.stored,
            set_aside=state.set_aside,
            dropped=dict(state.dropped),
            applied_lsn=state.applied_lsn,
        )

    # --- rows ---------------------------------------------------------------------------------------

    def _on_market(self, msg: Trade | Gap, ctx: Context) -> None:
        if self.state.stopping:
            # The market does not end with us: a last batch must not be followed by another for ever.
            return
        self.state.market.append(msg)
        self._added(ctx)

    def _on_bars(self, msg: BarsClosed, ctx: Context) -> None:
        """Keep the timeframes that the configuration names, whatever else strategies asked for."""
        if self.state.stopping:
            return
        self._keep_bars(msg.instrument, msg.bars, ctx)

    def _on_correction(self, msg: BarCorrected, ctx: Context) -> None:
        """Write a bar again: the row of its instant takes its place."""
        if not self.state.stopping:
            self._keep_bars(msg.instrument, (msg.bar,), ctx)

    def _keep_bars(self, instrument: InstrumentId, bars: tuple[Bar, ...], ctx: Context) -> None:
        feed = ctx.config.feeds.get(instrument)
        kept = [bar for bar in bars if feed is None or feed.bars.get(bar.timeframe, False)]
        if kept:
            self.state.market.extend(kept)
            self._added(ctx)

    def _on_note(self, msg: Note, ctx: Context) -> None:
        self.state.notes.append(msg)
        self._added(ctx)

    def _on_own(
        self, msg: OrderUpdate | ParentUpdate | FillUpdate | PositionUpdate | TcaUpdate, ctx: Context
    ) -> None:
        state = self.state
        state.own.append(msg)
        if state.heir:
            state.heir, state.missing_lsn = False, max(state.missing_lsn, msg.lsn)
            self._ask_later(ctx)
        self._added(ctx)

    def _added(self, ctx: Context) -> None:
        state, config = self.state, _config(ctx)
        if state.waiting > config.store.queue_max:
            self._drop(ctx, config.store.queue_max)
        if state.armed is None:
            self._arm(ctx)
        if state.overdue or state.waiting >= config.store.batch_size:
            self._send(ctx)

    def _drop(self, ctx: Context, most: int) -> None:
        """Let the oldest market rows go, some at once so that a long outage costs little."""
        state = self.state
        excess = state.waiting - most + most // 100
        for rows in (state.market, state.notes):
            gone = rows[:excess]
            del rows[:excess]
            excess -= len(gone)
            for row in gone:
                state.dropped[type(row).__name__] += 1
        if state.waiting > most:
            self._leave_to_journal(ctx)

    def _leave_to_journal(self, ctx: Context) -> None:
        """Let all rows of one's own go, once and not one by one: a catch-up brings every one of them."""
        state = self.state
        if not state.missing_lsn:
            ctx.log("warning", "store_behind", rows=len(state.own))
        state.missing_lsn = max(state.missing_lsn, *(row.lsn for row in state.own if isinstance(row, OWN)))
        state.own.clear()
        self._ask_later(ctx)

    # --- batches --------------------------------------------------------------------------------------

    def _send(self, ctx: Context) -> None:
        """Send what is due while there is room: full batches, and all that is overdue."""
        state, size = self.state, _config(ctx).store.batch_size
        if state.forget_lsn is not None and state.linked:
            self._say_hello(ctx)
        if state.forget_lsn is not None:
            return
        while state.waiting and (state.overdue or state.waiting >= size):
            if not state.linked or len(state.under_way) >= self.wiring.under_way_max:
                return
            batch = self._batch(ctx.next_id(), size)
            if not ctx.send(self.wiring.store, batch):
                return
            self._take(batch)
        state.overdue = state.stopping

    def _batch(self, batch_id: int, size: int) -> StoreBatch:
        """Return the next rows: the dear ones first, each kind in its order."""
        state = self.state
        rows: list[Stored] = []
        for waiting in (state.own, state.notes, state.market):
            rows += waiting[: size - len(rows)]
        lsns = [row.lsn for row in rows if isinstance(row, FillUpdate)]
        # Beyond rows that were let go the store's place would hide that they are missing.
        return StoreBatch(batch_id, tuple(rows), None if state.missing_lsn else max(lsns, default=None))

    def _take(self, batch: StoreBatch) -> None:
        state, left = self.state, len(batch.rows)
        for waiting in (state.own, state.notes, state.market):
            count = min(left, len(waiting))
            del waiting[:count]
            left -= count
        state.under_way[batch.batch_id] = batch
        state.batches += 1

    def _put_back(self) -> None:
        """Let batches without an answer wait again, in front; a row that comes twice is one row."""
        state = self.state
        rows: list[Stored] = []
        for batch in state.under_way.values():
            if batch.forget_lsn is not None:
                rows = journaled(rows, batch.forget_lsn)
                state.forget(batch.forget_lsn)
            rows += batch.rows
        state.under_way.clear()
        volume_days.lost(state.volumes)
        stored_bars.lost(state.questions)
        state.own[:0] = [row for row in rows if isinstance(row, OWN)]
        state.notes[:0] = [row for row in rows if isinstance(row, Note)]
        state.market[:0] = [row for row in rows if isinstance(row, Trade | Bar | Gap)]

    # --- the link -------------------------------------------------------------------------------------

    def _on_started(self, msg: Started, ctx: Context) -> None:
        """Ask the link to catch up: a predecessor may have died with rows in hand.

        Twice, for the records of its last rows may not be on the disk yet, nor those of our own start,
        from which on the store can tell what is journaled. A disk that is full for longer than that is why
        the heir of a crash moves the store's place only when the journal has its first row.
        """
        self.state.heir = msg.restart > 0
        self._say_hello(ctx)
        self._ask_later(ctx)
        self._want_volumes(ctx)

    def _on_folded(self, msg: Folded, ctx: Context) -> None:
        """Let go what a predecessor of the OMS told beyond the journal, here and in the store.

        Other records take its numbers, so later nobody could tell the ones from the others.
        """
        state = self.state
        state.own = journaled(state.own, msg.lsn)
        for batch_id, batch in state.under_way.items():
            state.under_way[batch_id] = replace(batch, rows=tuple(journaled(batch.rows, msg.lsn)))
        state.missing_lsn = min(state.missing_lsn, msg.lsn)
        state.forget(msg.lsn)
        self._send(ctx)
        self._ask_later(ctx)
        # It has forgotten what it was told.
        self._want_volumes(ctx)

    def _want_volumes(self, ctx: Context) -> None:
        if self.wiring.oms is not None and not self.state.stopping:
            volume_days.want(self.state.volumes, _config(ctx).feeds, ctx)
            self._ask_store(ctx)

    def _on_ask_stored(self, msg: AskStored, ctx: Context) -> None:
        stored_bars.want(self.state.questions, msg)
        self._ask_store(ctx)

    def _ask_store(self, ctx: Context) -> None:
        if self.state.linked and not self.state.stopping:
            stored_bars.ask_next(self.state.questions, self.wiring.store, ctx)
            volume_days.ask_next(self.state.volumes, self.wiring.store, ctx)

    def _say_hello(self, ctx: Context) -> None:
        hello = StoreBatch(ctx.next_id(), (), None, self.state.forget_lsn)
        if ctx.send(self.wiring.store, hello):
            self.state.under_way[hello.batch_id] = hello
            self.state.forget_lsn = None
        else:
            self._ask_later(ctx)

    def _ask_later(self, ctx: Context) -> None:
        if not self.state.asking:
            self.state.asking = True
            ctx.after(LAST_HELLO_NS if self.state.stopping else HELLO_NS, Timer(HELLO))

    def _on_ack(self, msg: StoreAck, ctx: Context) -> None:
        state = self.state
        state.applied_lsn = msg.applied_lsn
        if msg.batch_id < GREETING:
            self._on_found(msg, ctx)
            return
        if msg.batch_id == GREETING:
            # A link that has just begun knows nothing of the batches that its predecessor had.
            self._put_back()
        batch = state.under_way.pop(msg.batch_id, None)
        state.stored += msg.stored
        state.linked = True
        if state.failing:
            ctx.log("info", "store_recovered", reason=state.failing)
            state.failing = ""
        if msg.reason is not None:
            state.set_aside += 0 if batch is None else len(batch.rows) - msg.stored
            ctx.log("warning", "store_complains", reason=msg.reason)
        if batch is None or not batch.rows:
            self._caught_up(msg, ctx)
        self._send(ctx)
        self._ask_store(ctx)
        self._perhaps_stopped(ctx)

    def _on_found(self, msg: StoreAck, ctx: Context) -> None:
        if msg.bars is not None:
            stored_bars.take(self.state.questions, msg.bars, self.wiring.markets, ctx)
        elif self.wiring.oms is not None:
            volume_days.take(self.state.volumes, msg, self.wiring.oms, ctx)
        self._send(ctx)
        self._ask_store(ctx)

    def _caught_up(self, msg: StoreAck, ctx: Context) -> None:
        """Ask again where the journal could not be read, or has not yet on its disk what was let go."""
        if msg.reason is not None or msg.applied_lsn < self.state.missing_lsn:
            self._ask_later(ctx)
        else:
            self.state.missing_lsn = 0

    def _on_failed(self, msg: StoreFailed, ctx: Context) -> None:
        self.state.failing = msg.reason
        ctx.log("error", "store_failing", reason=msg.reason)

    def _on_link_down(self, msg: LinkDown, ctx: Context) -> None:
        self.state.linked = False
        self.state.failing = msg.reason
        self._put_back()
        self._perhaps_stopped(ctx)

    def _on_credit(self, msg: Credit, ctx: Context) -> None:
        self._send(ctx)

    # --- time -----------------------------------------------------------------------------------------

    def _on_timer(self, msg: Timer, ctx: Context) -> None:
        state = self.state
        if msg.name == STOP:
            self._stopped(ctx)
            return
        if msg.name == DAY_OVER:
            state.volumes.armed = False
            self._want_volumes(ctx)
            return
        if msg.name == HELLO:
            state.asking = False
            self._say_hello(ctx)
            return
        if msg.name == LAST:
            state.stopping = state.overdue = True
            if state.missing_lsn:
                # Its time may lie behind the end, and nobody would see in the store what is missing.
                self._say_hello(ctx)
            self._send(ctx)
            self._perhaps_stopped(ctx)
            return
        state.armed = None
        state.overdue = True
        self._send(ctx)
        if state.waiting:
            # No room: the answer that makes some sends the rest, and this timer is for when none comes.
            self._arm(ctx)

    def _arm(self, ctx: Context) -> None:
        state = self.state
        state.waits_ns = _config(ctx).store.flush_interval
        state.armed = ctx.after(state.waits_ns, Timer(FLUSH))

    def _on_stop(self, msg: Stop, ctx: Context) -> None:
        """Write everything; what comes after the answer is written too, as long as the link lives.

        The stop overtook the rows that still wait in the mailbox: a timer of no delay lies behind them.
        """
        ctx.after(0, Timer(LAST))
        ctx.after(max(0, msg.deadline_ns - LAST_WORD_NS - ctx.now_ns), Timer(STOP))

    def _perhaps_stopped(self, ctx: Context) -> None:
        state = self.state
        left = state.waiting or state.under_way or state.missing_lsn
        if state.stopping and (not state.linked or not left):
            self._stopped(ctx)

    def _stopped(self, ctx: Context) -> None:
        """Answer the stop once; rows of one's own that are left come back from the journal."""
        state = self.state
        if state.stopped:
            return
        state.stopped = True
        if state.waiting or state.under_way:
            ctx.log("warning", "store_left_behind", rows=state.waiting, batches=len(state.under_way))
        ctx.send(self.wiring.supervisor, Stopped(self.wiring.name))

    def _on_config(self, msg: ConfigChanged, ctx: Context) -> None:
        """Let what waits wait no longer than the new settings say; all others are read anew at every use."""
        armed = self.state.armed
        if armed is not None and _config(ctx).store.flush_interval < self.state.waits_ns:
            ctx.cancel(armed)
            self._arm(ctx)
        if self.wiring.oms is not None and not self.state.stopping:
            volume_days.want_more(self.state.volumes, _config(ctx).feeds)
            self._ask_store(ctx)

    def _on_nothing(self, msg: Message, ctx: Context) -> None:
        """The configuration is read anew at every use, and what the OMS folds the store finds itself."""


def journaled(rows: Iterable[R], lsn: int) -> list[R]:
    """Return the rows that are no news of one's own beyond this number of the journal."""
    return [row for row in rows if not isinstance(row, OWN) or row.lsn <= lsn]


def _config(ctx: Context) -> Config:
    config: Config = ctx.config
    return config


_HANDLERS: dict[type[Any], Callable[[DataWriter, Any, Context], None]] = {
    Trade: DataWriter._on_market,
    Gap: DataWriter._on_market,
    AskStored: DataWriter._on_ask_stored,
    BarsClosed: DataWriter._on_bars,
    BarCorrected: DataWriter._on_correction,
    **dict.fromkeys(get_args(Note), DataWriter._on_note),
    OrderUpdate: DataWriter._on_own,
    ParentUpdate: DataWriter._on_own,
    FillUpdate: DataWriter._on_own,
    PositionUpdate: DataWriter._on_own,
    TcaUpdate: DataWriter._on_own,
    Started: DataWriter._on_started,
    Stop: DataWriter._on_stop,
    Timer: DataWriter._on_timer,
    StoreAck: DataWriter._on_ack,
    StoreFailed: DataWriter._on_failed,
    Folded: DataWriter._on_folded,
    LinkDown: DataWriter._on_link_down,
    Credit: DataWriter._on_credit,
    ConfigChanged: DataWriter._on_config,
    Ready: DataWriter._on_nothing,
}
