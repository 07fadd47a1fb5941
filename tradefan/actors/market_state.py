"""What market data knows, whom it tells, and its picture for status."""

from __future__ import annotations

from msgspec import Struct, field

from tradefan.core.bars import Bars
from tradefan.core.book import Book
from tradefan.core.connection import Budget, ConnectionState, Timing
from tradefan.core.quality import FeedWatch
from tradefan.core.quarantine import Quarantine
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.instrument import Instrument, InstrumentUpdate
from tradefan.messages.market import (
    AskStored,
    Bar,
    BarCorrected,
    BarsClosed,
    BookDelta,
    BookSnapshot,
    FeedQuality,
    FollowTrades,
    Gap,
    Quality,
    Quote,
    SessionBreak,
    Ticker24h,
    Trade,
    VolumeTick,
)
from tradefan.units import SECOND, InstrumentId, OwnerId, Ref

FANNED = (
    Trade,
    Quote,
    BarsClosed,
    BarCorrected,
    BookDelta,
    BookSnapshot,
    FeedQuality,
    SessionBreak,
    Gap,
    Ticker24h,
    InstrumentUpdate,
    VolumeTick,
    FollowTrades,
)
"""What can be subscribed; who is entered for `FollowTrades` gets each trade while they are followed."""


class Fanout:
    """Who gets which message of which instrument; the order of `add` is the order of sending."""

    def __init__(self) -> None:
        self._refs: dict[tuple[type[Message], InstrumentId], tuple[Ref, ...]] = {}
        self._owners: dict[OwnerId, Ref] = {}

    def add(self, kind: type[Message], instrument: InstrumentId, ref: Ref) -> None:
        """Send messages of this class and instrument to `ref` too; a second time changes nothing."""
        if kind not in FANNED:
            raise Defect(f"market data does not send {kind.__name__}")
        refs = self._refs.get((kind, instrument), ())
        if ref not in refs:
            self._refs[kind, instrument] = (*refs, ref)

    def add_owner(self, owner: OwnerId, ref: Ref) -> None:
        """Say where the answer to this owner's `AskBars` goes."""
        self._owners[owner] = ref

    def __eq__(self, other: object) -> bool:
        """Say whether the same hear the same, in the same order."""
        mine = (self._refs, self._owners)
        return isinstance(other, Fanout) and mine == (other._refs, other._owners)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def refs(self, kind: type[Message], instrument: InstrumentId) -> tuple[Ref, ...]:
        """Return the receivers in order."""
        return self._refs.get((kind, instrument), ())

    def knows(self, owner: OwnerId) -> bool:
        """Say whether this owner lives: one that asked may have been taken out meanwhile."""
        return owner in self._owners

    def owner(self, owner: OwnerId) -> Ref:
        """Return the receiver of an owner's answers."""
        if owner not in self._owners:
            raise Defect(f"nobody said where {owner} lives")
        return self._owners[owner]


class FeedSpec(Struct, frozen=True):
    """One observed instrument: our names of its streams (`trade depth ...`) and the bars to make.

    `depths` are the bars of each timeframe that a strategy wants at its start.
    """

    instrument: Instrument
    streams: tuple[str, ...]
    timeframes: tuple[str, ...]
    depths: dict[str, int] = {}


class MarketWiring(Struct, frozen=True):
    """One venue's public market at the host `url`; `name` is the actor's, `link` takes all its effects.

    With `klines` the venue is asked for history that a trader wants and nobody remembers, with `store` (the
    data writer) its bars in the store for what is missing then.
    """

    name: str
    venue: str
    link: Ref
    url: str
    feeds: tuple[FeedSpec, ...]
    timing: Timing = Timing()
    bar_grace_ns: int = 2 * SECOND
    klines: bool = False
    store: Ref | None = None


class FeedCounters(Struct):
    """What happened to one feed since this actor began."""

    trades: int = 0
    quotes: int = 0
    deltas: int = 0
    bars: int = 0
    duplicates: int = 0
    gaps: int = 0
    resyncs: int = 0
    renewals: int = 0
    mismatches: int = 0
    crossed: int = 0
    klines: int = 0
    klines_differ: int = 0


class FeedState(Struct):
    """One instrument: its book, open bars, quality, and where its ids stand."""

    book: Book
    bars: Bars
    watch: FeedWatch
    session: int = 0
    told: tuple[Quality, int, str] | None = None
    alarmed: bool = False
    look_soon: bool = False
    last_trade_id: int = 0
    last_trade_ns: int = 0
    old_trades: int = 0
    old_after_id: int = 0
    torn: bool = False
    quote_id: int = 0
    quote: Quote | None = None
    tickers: dict[int, Quote] = {}
    withheld: bool = False
    asking: bool = False
    asked_ns: int = 0
    refusals: int = 0
    kline: Bar | None = None
    kept: dict[str, list[Bar]] = {}
    counters: FeedCounters = field(default_factory=FeedCounters)
    followed: int = 0
    """The generation of what is followed, 0 for nothing."""
    asker: int = 0
    """Who follows it."""
    lots: int = 0
    value: float = 0.0
    prints: bool = False
    """Whether somebody waits for each trade."""
    seamed: bool = False
    """Whether what is remembered began at a seam: nothing of before connects."""
    short: list[str] = []
    """Timeframes of which it was said that too few stored bars connect."""


class AwaitedBars(Struct):
    """A trader's question that waits for klines: timeframes still missing, and failures so far.

    `asked` and `stored` are what the store was asked and what it said, by timeframe.
    """

    owner: OwnerId
    instrument: InstrumentId
    depths: dict[str, int]
    missing: list[str]
    failures: int = 0
    asked: dict[str, AskStored] = {}
    stored: dict[str, tuple[Bar, ...]] = {}


class MarketState(Struct):
    """All that market data knows of one venue."""

    feeds: dict[InstrumentId, FeedState]
    instruments: dict[InstrumentId, Instrument]
    connection: ConnectionState = field(default_factory=ConnectionState)
    budget: Budget = field(default_factory=Budget)
    quarantine: Quarantine = field(default_factory=Quarantine)
    shift_ns: int = 0
    shift_id: int = 0
    live_from_ns: int = 0
    history: bool = False
    check_ns: int | None = None
    awaited: list[AwaitedBars] = []
    looking: bool = False
    """Whether a timer looks after them."""
    frames: int = 0
    heard_ns: int = 0
    unmapped: dict[str, int] = {}
    stopping: bool = False
    rules_ns: int = 0


class FeedView(Struct, frozen=True):
    """One feed for status; `heard_ns` is the receive time of its newest frame (age = now - heard)."""

    instrument: InstrumentId
    quality: Quality
    reason: str
    since_ns: int
    session: int
    heard_ns: int | None
    last_price: float | None
    bid: float | None
    bid_qty: float | None
    ask: float | None
    ask_qty: float | None
    book_id: int | None
    bars_late: int
    bars_inexact: int
    counters: FeedCounters


class MarketDataView(Struct, frozen=True):
    """One venue's public market for status; counts are since this actor began."""

    venue: str
    phase: str
    reason: str
    generation: int
    opens: int
    failures: int
    strangers: int
    history: bool
    frames: int
    bad_frames: dict[str, int]
    unmapped: dict[str, int]
    feeds: tuple[FeedView, ...]


def quality_of(instrument: InstrumentId, feed: FeedState) -> FeedQuality:
    """Return how a feed is now."""
    watch = feed.watch
    return FeedQuality(instrument, watch.quality, watch.reason, watch.since_ns, feed.session)


def feed_view(instrument: InstrumentId, feed: FeedState) -> FeedView:
    """Return the picture of one feed."""
    quote, watch, book = feed.quote, feed.watch, feed.book
    heard_ns = max((stream.heard_ns for stream in watch.streams), default=0) or watch.moved_ns
    top = book.top() or (None, None, None, None)
    if quote is not None:
        top = quote.bid, quote.bid_qty, quote.ask, quote.ask_qty
    return FeedView(
        instrument=instrument,
        quality=watch.quality,
        reason=watch.reason,
        since_ns=watch.since_ns,
        session=feed.session,
        heard_ns=heard_ns or None,
        last_price=feed.bars.last_price,
        bid=top[0],
        bid_qty=top[1],
        ask=top[2],
        ask_qty=top[3],
        book_id=book.last_id if book.synced else None,
        bars_late=feed.bars.late,
        bars_inexact=feed.bars.inexact,
        counters=feed.counters,
    )
