"""One instrument's feed: what each decoded event does to trades, bars and quality, and who is told.

The parts are pure machines of `core`; here stands what connects them: duplicates and holes by id,
and the order in which subscribers hear (`market_book` has book and quotes). History of a tape (old frames
played at once) moves book, bars and quality only; subscribers see its bars, which are not live, and
then the book as it stands when the live frames begin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tradefan.actors.market_book import Ask, BookFeed
from tradefan.actors.market_state import FANNED, Fanout, FeedSpec, FeedState, MarketState, quality_of
from tradefan.core.bars import Closing, corrected, new_bars
from tradefan.core.book import Book
from tradefan.core.quality import BLIND, BLIND_NS, NEVER, SUSPECT, FeedWatch, Stream
from tradefan.messages.market import (
    Bar,
    BarCorrected,
    BarsClosed,
    BookDelta,
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
from tradefan.runtime.actor import Context
from tradefan.units import SECOND, Ref, to_lots
from tradefan.venues.feed_events import AggTrade, Kline

BARS_KEPT = 1_000
"""Closed bars remembered per timeframe for a trader that begins in mid-session."""
DEPTH_MAX = 10_000
"""And for one that wants more of them."""
OLD_TRADES_MAX = 100
"""So many old trade ids in a row are ids that began anew, not repetitions."""


def new_feed(spec: FeedSpec, bar_grace_ns: int) -> FeedState:
    """Return the state of a feed that has heard nothing yet."""
    streams = [Stream(name) for name in ("depth", "book_ticker") if name in spec.streams]
    watch = FeedWatch(streams, needs_book="depth" in spec.streams)
    lot = float(spec.instrument.qty_lot)
    return FeedState(Book(), new_bars(spec.instrument.id, spec.timeframes, lot, bar_grace_ns), watch)


def follow(spec: FeedSpec, state: FeedState) -> None:
    """Make the bars of a specification from now on; of one that comes back nothing is remembered.

    Between its last bar and the next one lies what nobody has followed.
    """
    state.bars.follow(spec.timeframes, state.last_trade_ns)
    state.kept = {name: bars for name, bars in state.kept.items() if name in spec.timeframes}
    state.short = [name for name in state.short if name in spec.timeframes]


def kept_max(depth: int) -> int:
    """Return how many bars are remembered where a strategy wants so many."""
    return min(max(BARS_KEPT, depth), DEPTH_MAX)


class Feed:
    """Handlers of one instrument; all that it knows is in its state."""

    def __init__(
        self,
        spec: FeedSpec,
        state: FeedState,
        shared: MarketState,
        fanout: Fanout,
        ask: Ask,
    ) -> None:
        self.id = spec.instrument.id
        self.state = state
        self.shared = shared
        self.book = BookFeed(spec, state, shared, fanout, ask)
        self._kept = {name: kept_max(spec.depths.get(name, 0)) for name in spec.timeframes}
        self.handlers: dict[type, Callable[[Any, Context], None]] = {
            Trade: self.on_trade,
            Quote: self.book.on_quote,
            BookDelta: self.on_delta,
            AggTrade: self.on_agg_trade,
            Ticker24h: self.on_ticker,
            Kline: self.on_kline,
        }
        self._refs: dict[type, tuple[Ref, ...]] = {kind: fanout.refs(kind, self.id) for kind in FANNED}
        self._trade_refs = self._refs[Trade]
        self._has_trades = "trade" in spec.streams

    # --- events -------------------------------------------------------------------------------------

    def on_trade(self, trade: Trade, ctx: Context) -> None:
        """Count a trade once, in order; ids are consecutive, so a jump is a hole."""
        state = self.state
        last_id = state.last_trade_id
        if (trade.trade_id != last_id + 1 or state.torn) and not self._out_of_order(trade, ctx):
            return
        state.last_trade_id = trade.trade_id
        event_ns = state.last_trade_ns = trade.event_ns
        state.counters.trades += 1
        state.watch.event(ctx.now_ns, trade.recv_ns, event_ns)
        closed = state.bars.trade(trade.price, trade.qty, event_ns)
        if closed:
            self._close(closed, ctx)
        elif event_ns < state.bars.open_ns:
            self._correct(trade, ctx)
        if not self.shared.history:
            for ref in self._trade_refs:
                ctx.send(ref, trade)
            if state.prints:
                for ref in self._refs[FollowTrades]:
                    ctx.send(ref, trade)
        if state.followed:
            self._count(trade, ctx)

    def follow(self, asker: int, *, on: bool, ctx: Context) -> None:
        """Begin to tell volume, or stop; who asks again goes on where it was."""
        state = self.state
        if on and not (state.followed and state.asker == asker):
            state.asker = asker
            self._count_anew(ctx)
        elif not on:
            state.followed = 0

    def use_lot(self, lot: float, ctx: Context) -> None:
        """Count in another lot: bars and sums of the one before begin anew."""
        bars = self.state.bars
        bars.begin_anew()
        bars.lot = lot
        self.state.kept.clear()
        if self.state.followed:
            self._count_anew(ctx)

    def _count_anew(self, ctx: Context) -> None:
        self.state.followed, self.state.lots, self.state.value = ctx.series_id(), 0, 0.0

    def _count(self, trade: Trade, ctx: Context) -> None:
        state = self.state
        lots = to_lots(trade.qty, state.bars.lot)
        state.lots += lots
        state.value += lots * trade.price
        tick = VolumeTick(self.id, state.followed, state.lots, state.value, trade.price, trade.recv_ns)
        for ref in self._refs[VolumeTick]:
            ctx.send(ref, tick)

    def _correct(self, trade: Trade, ctx: Context) -> None:
        """Put a late trade into the bars that it belongs to: for the store only."""
        lot = self.state.bars.lot
        for bars in self.state.kept.values():
            for place in range(len(bars) - 1, -1, -1):
                bar = bars[place]
                if bar.open_ns <= trade.event_ns < bar.close_ns:
                    bars[place] = corrected(bar, trade.price, to_lots(trade.qty, lot), lot)
                    self._send(BarCorrected(self.id, bars[place]), ctx)
                if bar.open_ns <= trade.event_ns:
                    break

    def on_agg_trade(self, agg: AggTrade, ctx: Context) -> None:
        """Take aggregated trades where single ones are not subscribed; their ids are consecutive too."""
        if not self._has_trades:
            price, side = agg.price, agg.taker_side
            trade = Trade(self.id, agg.agg_id, price, agg.qty, side, agg.event_ns, agg.recv_ns)
            self.on_trade(trade, ctx)

    def on_delta(self, delta: BookDelta, ctx: Context) -> None:
        """Move the book; each change also tells the venue's time, which closes bars."""
        self.book.on_delta(delta, ctx)
        closed = self.state.bars.advance(delta.event_ns)
        if closed:
            self._close(closed, ctx)

    def on_ticker(self, ticker: Ticker24h, ctx: Context) -> None:
        """Hand on the venue's statistics."""
        for ref in self._refs[Ticker24h]:
            ctx.send(ref, ticker)

    def on_kline(self, kline: Kline, ctx: Context) -> None:
        """Hold the venue's closed bar against ours; whichever comes later does it."""
        if kline.closed:
            self.state.counters.klines += 1
            self.state.kline = kline.bar
            for bar in self.state.kept.get(kline.bar.timeframe, [])[-2:]:
                self._same_as_kline(bar)

    # --- connection ---------------------------------------------------------------------------------

    def opened(self, session: int, ctx: Context) -> None:
        """A connection serves this feed from now on."""
        self.state.session = session
        self.state.watch.opened(ctx.now_ns, history=self.shared.history)

    def lost(self, session: int, reason: str, ctx: Context, *, seam: bool) -> None:
        """The connection ended: no book; at a seam nothing of before connects to what comes."""
        state = self.state
        self.book.lost()
        state.watch.closed(ctx.now_ns, reason, seam=seam)
        if not seam:
            if state.last_trade_id and not state.torn:
                state.torn = True
                state.bars.hole(state.last_trade_ns)
            return
        state.session = session
        state.torn = False
        state.seamed = True
        state.last_trade_id = 0
        state.quote = state.kline = None
        state.kept.clear()
        state.bars.begin_anew()
        self._send(SessionBreak(self.id, session, reason, ctx.now_ns), ctx)

    def history_ended(self, ctx: Context) -> None:
        """The first live frame is here: subscribers start from the market as it stands."""
        self.state.watch.history = False
        self.book.history_ended(ctx)

    # --- quality ------------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether the quality is another than the one that subscribers know."""
        watch = self.state.watch
        told = self.state.told
        return told is None or watch.quality is not told[0] or self.state.look_soon

    def look(self, ctx: Context) -> int:
        """Bring quality and overdue bars up to date; return when to look again."""
        state, now_ns = self.state, ctx.now_ns
        state.look_soon = False
        if state.watch.crossed_too_long(now_ns):
            self.book.resync("crossed", ctx)
        next_ns = state.watch.check(now_ns)
        watch = state.watch
        # Why a feed is blind may change while it is: an outage becomes a refused region.
        told = (watch.quality, state.session, watch.reason if watch.level == BLIND else "")
        if told != state.told:
            state.told = told
            self._tell(ctx)
        return min(next_ns, self._alarm(now_ns, ctx), self._overdue_bars(now_ns, ctx))

    def tell_again(self, ctx: Context) -> None:
        """Say how the feed is and what it quotes: somebody has just begun to listen."""
        self._send(quality_of(self.id, self.state), ctx)
        if self.state.quote is not None:
            self._send(self.state.quote, ctx)

    def _tell(self, ctx: Context) -> None:
        state, watch = self.state, self.state.watch
        state.alarmed = False
        self._send(quality_of(self.id, self.state), ctx)
        level = "warning" if watch.flapping else "info"
        ctx.log(
            level,
            "feed_quality",
            instrument=self.id,
            quality=watch.quality.value,
            reason=watch.reason,
            flapping=watch.flapping,
        )

    def _alarm(self, now_ns: int, ctx: Context) -> int:
        """Say once, after half a minute, that a feed is blind; return when to look for that."""
        state, watch = self.state, self.state.watch
        if watch.level != BLIND or state.alarmed:
            return NEVER
        if now_ns - watch.since_ns < BLIND_NS:
            return watch.since_ns + BLIND_NS
        state.alarmed = True
        ctx.log("warning", "feed_blind", instrument=self.id, reason=watch.reason)
        return NEVER

    def _overdue_bars(self, now_ns: int, ctx: Context) -> int:
        """Close bars by the clock while the book is quiet; else its frames tell the venue's time."""
        watch, bars = self.state.watch, self.state.bars
        ahead_ns = watch.lag.base_ns
        if watch.level > SUSPECT or watch.history or ahead_ns == NEVER or bars.begun_ns is None:
            return NEVER
        if now_ns - self.book.depth.heard_ns > SECOND:
            closed = bars.advance(now_ns - ahead_ns)
            if closed:
                self._close(closed, ctx)
        return max(bars.close_ns + bars.grace_ns + ahead_ns, now_ns + SECOND)

    # --- trades and bars ------------------------------------------------------------------------------

    def _out_of_order(self, trade: Trade, ctx: Context) -> bool:
        """Say whether a trade counts that does not follow the last one, and write a hole down."""
        state, last_id = self.state, self.state.last_trade_id
        reset, torn = trade.trade_id <= last_id, state.torn
        if reset and not self._began_anew(trade):
            state.counters.duplicates += 1
            return False
        state.torn = False
        if not last_id:
            return True
        if trade.trade_id == last_id + 1:
            state.bars.hole_ends(0)
            return True
        state.counters.gaps += 1
        state.bars.hole(state.last_trade_ns, trade.event_ns)
        state.watch.mark(SUSPECT, "trades are missing", ctx.now_ns)
        cause = "ids began anew" if reset else "disconnect" if torn else "jump"
        from_id, to_id = (None, None) if reset else (last_id + 1, trade.trade_id - 1)
        gap = Gap(self.id, "trades", state.last_trade_ns, trade.event_ns, from_id, to_id, cause)
        self._send(gap, ctx)
        return True

    def _began_anew(self, trade: Trade) -> bool:
        """Say whether old ids that bring new trades have come so often that the venue counts anew."""
        state = self.state
        if state.old_after_id != state.last_trade_id:
            state.old_after_id, state.old_trades = state.last_trade_id, 0
        state.old_trades += trade.event_ns > state.last_trade_ns
        return state.old_trades >= OLD_TRADES_MAX

    def _close(self, closed: Sequence[Closing], ctx: Context) -> None:
        """Send what closed, each instant as one message, and remember it."""
        state = self.state
        live = state.watch.quality is Quality.LIVE and not self.shared.history
        for bars, exact in closed:
            for bar in bars:
                kept = state.kept.setdefault(bar.timeframe, [])
                kept.append(bar)
                del kept[: -self._kept[bar.timeframe]]
                self._same_as_kline(bar)
            state.counters.bars += len(bars)
            self._send(BarsClosed(self.id, bars, live and exact), ctx)

    def _same_as_kline(self, bar: Bar) -> None:
        kline = self.state.kline
        if kline is None or (kline.timeframe, kline.open_ns) != (bar.timeframe, bar.open_ns):
            return
        ours = (bar.open, bar.high, bar.low, bar.close, bar.volume_lots)
        if ours != (kline.open, kline.high, kline.low, kline.close, kline.volume_lots):
            self.state.counters.klines_differ += 1

    def _send(
        self, msg: SessionBreak | Gap | BarsClosed | BarCorrected | FeedQuality | Quote, ctx: Context
    ) -> None:
        for ref in self._refs[type(msg)]:
            ctx.send(ref, msg)
