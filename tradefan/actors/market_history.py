"""Closed bars for a trader that begins: those that are remembered, the venue's klines, those of the store.

A trader that asked takes no live bar before its answer, so it always gets one: at once where enough is
remembered; else when the klines are here, or have failed too often, when a tape has played its history, and
the store has said what it has. A store that says nothing is waited for until enough is remembered.

Bars of the store are told in front of ours, where they end in the instant in which ours begin; where none of
ours has closed yet, in which the open one began. What came before a seam connects with nothing behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from tradefan.actors.market_feed import DEPTH_MAX
from tradefan.actors.market_state import AwaitedBars, Fanout, FeedState, MarketState, quality_of
from tradefan.core.connection import Phase
from tradefan.core.quality import NEVER
from tradefan.messages.control import Timer
from tradefan.messages.market import AskBars, AskStored, Bar, BarHistory, StoredBars
from tradefan.runtime.actor import Context
from tradefan.units import SECOND, InstrumentId, Ref, iso, parse_duration
from tradefan.venues.feed_events import Klines

FAILURES_MAX = 5
RETRY_NS = 2 * SECOND
KLINES_TIMER = "klines"
STORED_TIMER = "stored"
_OPEN = (Phase.SUBSCRIBING, Phase.LIVE)


class History:
    """Answers `AskBars`; what it knows stands in the actor's state."""

    def __init__(
        self,
        state: MarketState,
        fanout: Fanout,
        ask: Callable[[str, Context], None],
        *,
        klines: bool,
        store: Ref | None,
    ) -> None:
        self.state = state
        self._fanout = fanout
        self._ask = ask
        self._klines = klines
        self._store = store

    def on_ask(self, msg: AskBars, ctx: Context) -> None:
        """Answer now, or ask for what is missing; a question that waits already is one."""
        who = (msg.owner, msg.instrument)
        before = next((one for one in self.state.awaited if (one.owner, one.instrument) == who), None)
        if before is not None:
            if before.depths == msg.depths:
                return
            self.state.awaited.remove(before)
        kept = self._kept(msg.instrument)
        short = [name for name, depth in msg.depths.items() if len(kept.get(name, ())) < depth]
        awaited = AwaitedBars(msg.owner, msg.instrument, msg.depths, short if self._klines else [])
        self.state.awaited.append(awaited)
        for timeframe in awaited.missing:
            self._ask(f"klines {msg.instrument} {timeframe}", ctx)
        self.look(ctx)
        if self.state.awaited and not self.state.looking:
            self.state.looking = True
            ctx.after(RETRY_NS, Timer(STORED_TIMER))

    def on_klines(self, klines: Klines, ctx: Context) -> None:
        """Put the venue's closed bars before and between ours, and answer who waits for them."""
        kept = self._kept(klines.instrument)
        closed_ns = self._venue_ns(klines.instrument, ctx.now_ns)
        # The last kline may still be open: it is dropped.
        bars = {bar.open_ns: bar for bar in klines.bars if bar.close_ns <= closed_ns}
        bars.update((bar.open_ns, bar) for bar in kept.get(klines.timeframe, ()))
        merged = [bars[open_ns] for open_ns in sorted(bars)]
        kept[klines.timeframe] = merged[-DEPTH_MAX:]
        self._done(klines.instrument, klines.timeframe)
        self.look(ctx)

    def on_failure(self, subject: str, reason: str, ctx: Context) -> None:
        """Ask again in a while; a venue that keeps saying no is not asked for ever."""
        _, instrument, timeframe = subject.split(" ")
        waiting = [
            awaited
            for awaited in self.state.awaited
            if awaited.instrument == instrument and timeframe in awaited.missing
        ]
        for awaited in waiting:
            # Without a connection nothing was asked.
            awaited.failures += reason not in ("not_connected", "closed")
        if any(awaited.failures >= FAILURES_MAX for awaited in waiting):
            ctx.log("warning", "klines_failed", instrument=instrument, timeframe=timeframe, reason=reason)
            self._done(InstrumentId(instrument), timeframe)
            self.look(ctx)
        elif waiting:
            ctx.after(RETRY_NS, Timer(KLINES_TIMER, subject))

    def on_timer(self, msg: Timer, ctx: Context) -> None:
        """The pause after a failure is over."""
        self._ask(msg.subject, ctx)

    def _kept(self, instrument: InstrumentId) -> dict[str, list[Bar]]:
        feed = self.state.feeds.get(instrument)
        return {} if feed is None else feed.kept

    def _venue_ns(self, instrument: InstrumentId, now_ns: int) -> int:
        feed = self.state.feeds.get(instrument)
        base_ns = NEVER if feed is None else feed.watch.lag.base_ns
        return now_ns if base_ns == NEVER else now_ns - base_ns

    def _done(self, instrument: InstrumentId, timeframe: str) -> None:
        for awaited in self.state.awaited:
            if awaited.instrument == instrument and timeframe in awaited.missing:
                awaited.missing.remove(timeframe)

    def look(self, ctx: Context, *, again: bool = False) -> None:
        """Answer everybody who waits for nothing more."""
        waiting = [
            one for one in self.state.awaited if one.missing or self._asks_store(one, ctx, again=again)
        ]
        ready = [one for one in self.state.awaited if one not in waiting]
        self.state.awaited = waiting
        for awaited in ready:
            self._answer(awaited, ctx)

    def look_again(self, ctx: Context) -> None:
        """Ask the store again while somebody waits: the data writer may have begun anew."""
        self.look(ctx, again=True)
        self.state.looking = bool(self.state.awaited)
        if self.state.looking:
            ctx.after(RETRY_NS, Timer(STORED_TIMER))

    def on_stored(self, msg: StoredBars, ctx: Context) -> None:
        """Take what the store has for who asked; an answer to a question of before is passed over."""
        name, until_ns = msg.ask.timeframe, msg.ask.until_ns
        feed = self.state.feeds.get(msg.ask.instrument)
        asked = [one for one in self.state.awaited if one.asked.get(name) == msg.ask]
        if feed is not None and asked and _begin_ns(feed, name) in {None, until_ns}:
            for awaited in asked:
                awaited.stored[name] = msg.bars
            self._say(msg, feed, ctx)
        self.look(ctx)

    def _say(self, msg: StoredBars, feed: FeedState, ctx: Context) -> None:
        """Say what is used, and once where it is less than is needed."""
        ask, bars = msg.ask, len(msg.bars)
        where = {"instrument": ask.instrument, "timeframe": ask.timeframe, "until": iso(ask.until_ns)}
        if msg.bars:
            ctx.log("info", "stored_bars", **where, since=iso(msg.bars[0].open_ns), bars=bars)
        missing = ask.count - bars - len(feed.kept.get(ask.timeframe, ()))
        if msg.why and missing > 0 and ask.timeframe not in feed.short:
            feed.short.append(ask.timeframe)
            ctx.log("warning", "stored_bars_short", **where, bars=bars, missing=missing, reason=msg.why)

    def _asks_store(self, awaited: AwaitedBars, ctx: Context, *, again: bool) -> bool:
        """Ask the store for what is missing, when it is known where our bars begin; say whether to wait."""
        feed = self.state.feeds.get(awaited.instrument)
        if self._store is None or feed is None or feed.seamed:
            return False
        depths = {name: min(depth, DEPTH_MAX) for name, depth in awaited.depths.items()}
        short = [
            name
            for name, depth in depths.items()
            if len(feed.kept.get(name, ())) < depth and not _joins(feed, name, awaited.stored.get(name))
        ]
        if self.state.history or self.state.connection.phase not in _OPEN:
            return bool(short)
        for name in short:
            until_ns = _begin_ns(feed, name)
            if until_ns is None:
                # A bar whose time is over is open until its grace has passed: the clock would skip it.
                begun = feed.bars.begun_ns is not None
                at_ns = feed.bars.open_ns if begun else self._venue_ns(awaited.instrument, ctx.now_ns)
                until_ns = at_ns - at_ns % parse_duration(name)
            ask = AskStored(awaited.instrument, name, until_ns, depths[name], feed.bars.lot)
            if again or awaited.asked.get(name) != ask:
                awaited.asked[name] = ask
                ctx.send(self._store, ask)
        return bool(short)

    def _answer(self, awaited: AwaitedBars, ctx: Context) -> None:
        feed = self.state.feeds.get(awaited.instrument)
        bars: list[Bar] = []
        for name, depth in awaited.depths.items():
            if depth and feed is not None:
                stored = awaited.stored.get(name, ())
                joins = not feed.seamed and _joins(feed, name, stored)
                bars += [*(stored if joins else ()), *feed.kept.get(name, ())][-depth:]
        ref = self._fanout.owner(awaited.owner)
        ctx.send(ref, BarHistory(awaited.instrument, tuple(bars)))
        if feed is not None:
            # Told on change only, and who begins heard no change.
            ctx.send(ref, quality_of(awaited.instrument, feed))


def _joins(feed: FeedState, timeframe: str, stored: tuple[Bar, ...] | None) -> bool:
    """Say whether the store has answered, and with what still joins: one of ours may have closed since."""
    return stored == () or bool(stored and _begin_ns(feed, timeframe) in {None, stored[-1].close_ns})


def _begin_ns(feed: FeedState, timeframe: str) -> int | None:
    """Return where our bars begin, None before the first has closed."""
    kept = feed.kept.get(timeframe)
    return kept[0].open_ns if kept else None
