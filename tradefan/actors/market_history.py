"""Closed bars for a trader that begins: those that are remembered, else the venue's klines.

A trader that asked takes no live bar before its answer, so it always gets one: at once where enough
is remembered or the venue has no klines (a tape brings its own history), else when the klines are
here, or have failed too often.
"""

from __future__ import annotations

from collections.abc import Callable

from tradefan.actors.market_feed import BARS_KEPT
from tradefan.actors.market_state import AwaitedBars, Fanout, MarketState, quality_of
from tradefan.core.quality import NEVER
from tradefan.messages.control import Timer
from tradefan.messages.market import AskBars, Bar, BarHistory
from tradefan.runtime.actor import Context
from tradefan.units import SECOND, InstrumentId
from tradefan.venues.feed_events import Klines

FAILURES_MAX = 5
RETRY_NS = 2 * SECOND
KLINES_TIMER = "klines"


class History:
    """Answers `AskBars`; what it knows stands in the actor's state."""

    def __init__(
        self, state: MarketState, fanout: Fanout, ask: Callable[[str, Context], None], *, klines: bool
    ) -> None:
        self.state = state
        self._fanout = fanout
        self._ask = ask
        self._klines = klines

    def on_ask(self, msg: AskBars, ctx: Context) -> None:
        """Answer now, or ask the venue for what is missing."""
        kept = self._kept(msg.instrument)
        short = [name for name, depth in msg.depths.items() if len(kept.get(name, ())) < depth]
        awaited = AwaitedBars(msg.owner, msg.instrument, msg.depths, short if self._klines else [])
        self.state.awaited.append(awaited)
        for timeframe in awaited.missing:
            self._ask(f"klines {msg.instrument} {timeframe}", ctx)
        self._answer(ctx)

    def on_klines(self, klines: Klines, ctx: Context) -> None:
        """Put the venue's closed bars before and between ours, and answer who waits for them."""
        kept = self._kept(klines.instrument)
        closed_ns = self._venue_ns(klines.instrument, ctx.now_ns)
        # The last kline may still be open: it is dropped.
        bars = {bar.open_ns: bar for bar in klines.bars if bar.close_ns <= closed_ns}
        bars.update((bar.open_ns, bar) for bar in kept.get(klines.timeframe, ()))
        merged = [bars[open_ns] for open_ns in sorted(bars)]
        kept[klines.timeframe] = merged[-BARS_KEPT:]
        self._done(klines.instrument, klines.timeframe)
        self._answer(ctx)

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
            self._answer(ctx)
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

    def _answer(self, ctx: Context) -> None:
        """Answer everybody who waits for nothing more."""
        ready = [awaited for awaited in self.state.awaited if not awaited.missing]
        self.state.awaited = [awaited for awaited in self.state.awaited if awaited.missing]
        for awaited in ready:
            kept = self._kept(awaited.instrument)
            bars = [
                bar for name, depth in awaited.depths.items() if depth for bar in kept.get(name, [])[-depth:]
            ]
            ref = self._fanout.owner(awaited.owner)
            ctx.send(ref, BarHistory(awaited.instrument, tuple(bars)))
            feed = self.state.feeds.get(awaited.instrument)
            if feed is not None:
                # Told on change only, and who begins heard no change.
                ctx.send(ref, quality_of(awaited.instrument, feed))
