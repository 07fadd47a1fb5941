"""What is observed on a market. Prices and quantities are floats: they only inform."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from tradefan.messages.base import Control, Fact, Market
from tradefan.units import InstrumentId, OwnerId, Side

Levels: TypeAlias = tuple[tuple[float, float], ...]
"""(price, quantity) pairs, best first; in a delta a quantity of zero removes the level."""


class Quality(StrEnum):
    """How far a feed can be trusted; RELIABILITY.md names who may trade on what."""

    LIVE = "LIVE"
    SUSPECT = "SUSPECT"
    STALE = "STALE"
    BLIND = "BLIND"


class Trade(Fact, frozen=True, array_like=True, tag=True, gc=False):
    """One public trade; `taker_side` is the aggressor's side, `event_ns` the venue's trade time."""

    instrument: InstrumentId
    trade_id: int
    price: float
    qty: float
    taker_side: Side
    event_ns: int
    recv_ns: int

    def fact_key(self) -> str | None:
        """Public trades are named by venue trade id."""
        return f"trade {self.instrument} {self.trade_id}"


class Quote(Market, frozen=True, array_like=True, tag=True, gc=False):
    """Best bid and ask; conflated by instrument."""

    instrument: InstrumentId
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    update_id: int
    recv_ns: int

    def key(self) -> str:
        """One slot per instrument."""
        return self.instrument


class VolumeTick(Market, frozen=True, array_like=True, tag=True, gc=False):
    """What has traded since the feed was first followed, in lots and price x lots; conflated by instrument.

    `generation` changes when the sums begin anew.
    """

    instrument: InstrumentId
    generation: int
    lots: int
    value: float
    last_price: float
    recv_ns: int

    def key(self) -> str:
        """One slot per instrument."""
        return f"VolumeTick {self.instrument}"


class BookDelta(Fact, frozen=True, array_like=True, tag=True):
    """Absolute quantities of changed levels, update ids `first_id`..`last_id` inclusive."""

    instrument: InstrumentId
    first_id: int
    last_id: int
    bids: Levels
    asks: Levels
    event_ns: int
    recv_ns: int


class BookSnapshot(Fact, frozen=True, array_like=True, tag=True):
    """A whole book as of `last_id`; levels outside its range are unknown, not empty."""

    instrument: InstrumentId
    last_id: int
    bids: Levels
    asks: Levels
    recv_ns: int


class Bar(Fact, frozen=True, array_like=True, tag=True, gc=False):
    """A closed, UTC-aligned bar [open_ns, close_ns); `volume_lots` is exact, `volume` is in base."""

    instrument: InstrumentId
    timeframe: str
    open_ns: int
    close_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    volume_lots: int
    trades: int

    @property
    def symbol(self) -> str:
        """The ccxt symbol, as users type it."""
        return self.instrument.partition(":")[2]


class BarsClosed(Fact, frozen=True, array_like=True, tag=True):
    """All bars of one instrument that closed at one instant, finest first.

    `live` is False for history and while the feed is not LIVE: such bars only warm.
    """

    instrument: InstrumentId
    bars: tuple[Bar, ...]
    live: bool


class BarCorrected(Fact, frozen=True, array_like=True, tag=True):
    """A trade came late for a bar that is closed: stores take the bar as it is now, nobody decides again."""

    instrument: InstrumentId
    bar: Bar


class AskBars(Fact, frozen=True, array_like=True, tag=True):
    """A trader that begins asks for the newest closed bars, so many of each timeframe.

    `BarHistory` answers, and the `FeedQuality` of now, which is otherwise told only when it changes.
    """

    owner: OwnerId
    instrument: InstrumentId
    depths: dict[str, int]


class AskFeeds(Fact, frozen=True, array_like=True, tag=True):
    """Somebody who begins asks how every feed is: quality is told on change, and he heard none.

    All who hear of a feed's quality hear it again; that changes nothing for those who knew it.
    """


class FollowVolume(Fact, frozen=True, array_like=True, tag=True):
    """Somebody has work in an instrument, or none any more: `VolumeTick`s come with its trades until then.

    The sums begin anew for another `asker`: it does not know what its predecessor was told.
    """

    instrument: InstrumentId
    on: bool
    asker: int = 0


class FollowTrades(Fact, frozen=True, array_like=True, tag=True):
    """Somebody waits for prices of an instrument, or nobody any more: each `Trade` comes to it until then."""

    instrument: InstrumentId
    on: bool


class AskRules(Fact, frozen=True, array_like=True, tag=True):
    """An order broke a filter that we thought it kept: the venue's rules may have changed, read them again.

    The answer, if anything changed, is an `InstrumentUpdate` to all who follow the instrument.
    """

    instrument: InstrumentId


class BarHistory(Fact, frozen=True, array_like=True, tag=True):
    """Bars that closed before this message was sent, oldest first per timeframe; they only warm.

    Empty where nothing is remembered. Bars that close later come as `BarsClosed` behind it.
    """

    instrument: InstrumentId
    bars: tuple[Bar, ...]


class AskStored(Fact, frozen=True, array_like=True, tag=True):
    """Market data asks for the newest `count` of the venue's bars in the store that end at `until_ns`.

    `StoredBars` answers by way of the data writer. `lot` is that of the instrument's quantities.
    """

    instrument: InstrumentId
    timeframe: str
    until_ns: int
    count: int
    lot: float


class StoredBars(Fact, frozen=True, array_like=True, tag=True):
    """The bars that were asked for, oldest first and without a hole; `why` says why there are no more."""

    ask: AskStored
    bars: tuple[Bar, ...]
    why: str


class VolumeDays(Fact, frozen=True, array_like=True, tag=True):
    """What has traded in an instrument on earlier days of UTC, by parts of `bucket_ns`; oldest first.

    Each day is its number since 1970-01-01 and the volume in base of each of its parts, None where it is not
    known whole. `source` is `recorded` (own recorded trades) or `klines` (the venue's bars).
    """

    instrument: InstrumentId
    source: str
    bucket_ns: int
    days: tuple[tuple[int, tuple[float | None, ...]], ...]


class Ticker24h(Market, frozen=True, array_like=True, tag=True, gc=False):
    """The venue's rolling 24 h statistics."""

    instrument: InstrumentId
    last_price: float
    open_price: float
    high: float
    low: float
    volume: float
    quote_volume: float
    event_ns: int

    def key(self) -> str:
        """One slot per instrument."""
        return f"Ticker24h {self.instrument}"


class FeedQuality(Control, frozen=True, array_like=True, tag=True):
    """The feed of an instrument changed its quality; `session` counts laps and reconnections."""

    instrument: InstrumentId
    quality: Quality
    reason: str
    since_ns: int
    session: int

    def key(self) -> str:
        """One slot per instrument."""
        return f"FeedQuality {self.instrument}"


class SessionBreak(Fact, frozen=True, array_like=True, tag=True):
    """The market before and after this point do not connect (lap seam): indicators start anew.

    A fact, so that it keeps its place between the bars of the two sessions.
    """

    instrument: InstrumentId
    session: int
    reason: str
    at_ns: int


class Gap(Fact, frozen=True, array_like=True, tag=True):
    """A hole in a feed that is known and written down; ids are inclusive, None where unknown."""

    instrument: InstrumentId
    kind: str
    from_ns: int
    to_ns: int
    from_id: int | None
    to_id: int | None
    cause: str
