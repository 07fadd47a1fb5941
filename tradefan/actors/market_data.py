"""Market data of one venue: raw frames in, trades, quotes, books, bars and quality out.

The connection machine decides about the socket, the codec says what a frame means, each instrument's
`Feed` what follows from it. This actor connects them: it decodes, quarantines what says nothing
usable, asks the venue for what the feeds want, and keeps one timer for whatever only time can show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tradefan.actors.market_book import SNAPSHOT_TIMER
from tradefan.actors.market_feed import Feed, follow, new_feed
from tradefan.actors.market_history import KLINES_TIMER, STORED_TIMER, History
from tradefan.actors.market_state import (
    Fanout,
    MarketDataView,
    MarketState,
    MarketWiring,
    feed_view,
)
from tradefan.core.connection import SEAM, Connection, ConnectionSpec, Move, Phase, Turn
from tradefan.core.quality import NEVER
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigChanged, Started, Stop, Stopped, Timer
from tradefan.messages.instrument import Instrument, InstrumentUpdate
from tradefan.messages.market import (
    AskBars,
    AskFeeds,
    AskRules,
    BookSnapshot,
    FollowTrades,
    FollowVolume,
    StoredBars,
)
from tradefan.messages.wire import Closed, LinkDown, NotWritten, Opened, Received, Written
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.units import MINUTE, MS, SECOND, InstrumentId
from tradefan.venues.binance import BinanceSpot, Shift
from tradefan.venues.feed_events import (
    Ack,
    BadFrame,
    Event,
    Instruments,
    Klines,
    Unmapped,
)

RULES_NS = 10 * MINUTE
"""Rules of instruments are read again this often: a venue changes ticks and lots while we run."""
RULES_MIN_NS = 10 * SECOND
"""And not more often than this, however many orders are rejected."""
UNMAPPED_MAX = 100
LOOK_MIN_NS = MS


class MarketData:
    """The actor; `state` None starts with nothing known."""

    def __init__(self, wiring: MarketWiring, fanout: Fanout, state: MarketState | None = None) -> None:
        self.wiring = wiring
        self.state = state or _new_state(wiring)
        self.fanout = fanout
        for spec in wiring.feeds:
            if spec.instrument.id not in self.state.feeds:
                self.state.feeds[spec.instrument.id] = new_feed(spec, wiring.bar_grace_ns)
                self.state.instruments[spec.instrument.id] = spec.instrument
            follow(spec, self.state.feeds[spec.instrument.id])
        self.state.awaited = [one for one in self.state.awaited if fanout.knows(one.owner)]
        self._codec = BinanceSpot(self.state.instruments.values())
        plan = self._codec.plan(wiring.url, {spec.instrument.id: spec.streams for spec in wiring.feeds})
        self.connection = Connection(
            ConnectionSpec(wiring.venue, plan.url, plan.streams, plan.busy),
            wiring.timing,
            self._codec.subscribe,
            self.state.budget,
            self.state.connection,
        )
        self._feeds = {
            spec.instrument.id: Feed(
                spec, self.state.feeds[spec.instrument.id], self.state, fanout, self._ask
            )
            for spec in wiring.feeds
        }
        self._history = History(self.state, fanout, self._ask, klines=wiring.klines, store=wiring.store)
        self._shift = Shift(self.state.shift_ns, self.state.shift_id)

    def handle(self, msg: Any, ctx: Context) -> None:
        """Take one message."""
        handler = _HANDLERS.get(type(msg))
        if handler is None:
            raise Defect(f"{self.wiring.name} does not take {type(msg).__name__}")
        handler(self, msg, ctx)

    def view(self) -> MarketDataView:
        """Return the picture for status."""
        state = self.state
        connection = state.connection
        return MarketDataView(
            venue=self.wiring.venue,
            phase=connection.phase.value,
            reason=connection.reason,
            generation=connection.gen,
            opens=connection.opens,
            failures=connection.failures,
            strangers=connection.strangers,
            history=state.history,
            frames=state.frames,
            bad_frames=dict(state.quarantine.counts),
            unmapped=dict(state.unmapped),
            feeds=tuple(feed_view(id_, feed) for id_, feed in state.feeds.items()),
        )

    # --- life ---------------------------------------------------------------------------------------

    def _on_started(self, msg: Started, ctx: Context) -> None:
        """Connect. A predecessor's socket is closed when it is heard: its generation is not ours."""
        for feed in self.state.feeds.values():
            feed.watch.since_ns = ctx.now_ns
        self._obey(self.connection.want(ctx), ctx)
        ctx.after(RULES_NS, Timer("rules"))
        self._look(ctx)

    def _on_stop(self, msg: Stop, ctx: Context) -> None:
        self.state.stopping = True
        self._obey(self.connection.drop(ctx, "stopped"), ctx)
        ctx.send(RIM, Stopped(self.wiring.name))

    def _on_config(self, msg: ConfigChanged, ctx: Context) -> None:
        """Subscribe what is observed from now on, too."""
        turn = self.connection.subscribe_more(ctx)
        if not turn.moves:
            return
        for feed in self._feeds.values():
            if not feed.state.session:
                feed.state.watch.since_ns = ctx.now_ns
                feed.opened(self.state.connection.gen, ctx)
        self._obey(turn, ctx)
        self._look(ctx)

    def _on_timer(self, msg: Timer, ctx: Context) -> None:
        if self.state.stopping:
            return
        if msg.name == "connection":
            self._obey(self.connection.tick(msg.number, ctx), ctx)
        elif msg.name == "look" and msg.number == self.state.check_ns:
            self.state.check_ns = None
            self._look(ctx)
        elif msg.name == SNAPSHOT_TIMER:
            self._feeds[InstrumentId(msg.subject)].book.snapshot_due(msg, ctx)
        elif msg.name == KLINES_TIMER:
            self._history.on_timer(msg, ctx)
        elif msg.name == STORED_TIMER:
            self._history.look_again(ctx)
        elif msg.name == "rules":
            ctx.after(RULES_NS, Timer("rules"))
            self._ask("exchangeInfo", ctx)

    # --- connection -----------------------------------------------------------------------------------

    def _on_opened(self, msg: Opened, ctx: Context) -> None:
        turn = self.connection.opened(msg, ctx)
        if turn.mine:
            state = self.state
            state.shift_ns, state.shift_id = msg.shift_ns, msg.shift_id
            state.live_from_ns = msg.live_from_ns
            state.history = msg.live_from_ns > 0
            self._shift = Shift(msg.shift_ns, msg.shift_id)
            state.quarantine.begin_anew()
            for feed in self._feeds.values():
                feed.opened(msg.gen, ctx)
            self._history.look(ctx)
        self._obey(turn, ctx)
        self._look(ctx)

    def _on_closed(self, msg: Closed, ctx: Context) -> None:
        self._obey(self.connection.closed(msg, ctx), ctx)
        self._look(ctx)

    def _on_not_written(self, msg: NotWritten, ctx: Context) -> None:
        self._obey(self.connection.not_written(msg, ctx), ctx)

    def _on_written(self, msg: Written, ctx: Context) -> None:
        """It proves nothing about the other end."""

    def _on_link_down(self, msg: LinkDown, ctx: Context) -> None:
        """Each of its connections says `Closed` for itself."""

    def _obey(self, turn: Turn, ctx: Context) -> None:
        """Do what the connection machine decided."""
        for effect in turn.effects:
            ctx.send(self.wiring.link, effect)
        for lost in turn.lost:
            self._failed(lost.request.subject, lost.reason, ctx)
        for move in turn.moves:
            self._moved(move, ctx)
        if turn.alarm_ns is not None:
            ctx.after(max(0, turn.alarm_ns - ctx.now_ns), Timer("connection", "", turn.alarm_ns))

    def _moved(self, move: Move, ctx: Context) -> None:
        seam = move.target is Phase.OPENING and move.reason == SEAM
        ctx.log(
            "warning" if move.target in (Phase.BACKOFF, Phase.BANNED) else "info",
            "connection_moved",
            conn=self.wiring.venue,
            source=move.source.value,
            target=move.target.value,
            reason=move.reason,
        )
        if seam or move.target in (Phase.BACKOFF, Phase.BANNED, Phase.DOWN):
            for feed in self._feeds.values():
                feed.lost(self.state.connection.gen, move.reason, ctx, seam=seam)
            self._look(ctx)
        elif move.target is Phase.LIVE:
            self._ask("exchangeInfo", ctx)

    # --- frames ---------------------------------------------------------------------------------------

    def _on_received(self, msg: Received, ctx: Context) -> None:
        turn = self.connection.received(msg, ctx)
        if msg.req is not None or not turn.mine:
            self._on_answer(turn, msg, ctx)
            return
        state = self.state
        state.frames += 1
        try:
            events = self._codec.decode(msg, self._shift)
        except BadFrame as bad:
            self._set_aside(bad, msg, ctx)
            return
        for event in events:
            news = _NEWS.get(type(event))
            if news is not None:
                news(self, event, ctx)
                continue
            if state.history and msg.recv_ns >= state.live_from_ns:
                self._end_history(ctx)
            # All events but news have an instrument.
            feed = self._feeds[event.instrument]  # type: ignore[union-attr]
            feed.handlers[type(event)](event, ctx)
            if state.connection.mute:
                self._heard(event, ctx)
            if feed.changed:
                self._look(ctx)

    def _heard(self, event: Event, ctx: Context) -> None:
        """Tell the connection, which waits for its busy streams."""
        stream = self._codec.stream_of(event)
        if stream is not None:
            self._obey(self.connection.heard(stream, ctx), ctx)

    def _end_history(self, ctx: Context) -> None:
        self.state.history = False
        for feed in self._feeds.values():
            feed.history_ended(ctx)
        self._history.look(ctx)
        self._look(ctx)

    def _set_aside(self, bad: BadFrame, msg: Received, ctx: Context) -> None:
        flood = self.state.quarantine.put(ctx.now_ns, bad.kind, bad.text, msg.body)
        if flood:
            ctx.log("error", "bad_frames", conn=self.wiring.venue, kind=bad.kind, text=bad.text)
            self.state.quarantine.begin_anew()
            self._obey(self.connection.fail(ctx, f"garbage: {bad}"), ctx)

    # --- answers and news -------------------------------------------------------------------------------

    def _ask(self, subject: str, ctx: Context) -> None:
        """Ask the venue; the answer, or that there will be none, comes under the same subject."""
        turn = self.connection.request(ctx, "query", self._codec.encode(subject), subject)
        self._obey(turn, ctx)

    def _on_answer(self, turn: Turn, msg: Received, ctx: Context) -> None:
        if turn.answer is None:
            self._obey(turn, ctx)
            return
        subject = turn.answer.subject
        try:
            events = self._codec.answer(subject, msg, self._shift)
        except BadFrame as bad:
            if bad.kind != "refused":
                self.state.quarantine.put(ctx.now_ns, bad.kind, bad.text, msg.body)
            self._failed(subject, str(bad), ctx)
            return
        for event in events:
            _ANSWERS[type(event)](self, event, ctx)
        self._look(ctx)

    def _failed(self, subject: str, reason: str, ctx: Context) -> None:
        what, _, rest = subject.partition(" ")
        if reason not in ("closed", "not_connected"):
            ctx.log("warning", "query_failed", conn=self.wiring.venue, subject=subject, reason=reason)
        if what == "depth":
            self._feeds[InstrumentId(rest)].book.snapshot_failed(ctx)
        elif what == "klines":
            self._history.on_failure(subject, reason, ctx)

    def _on_snapshot(self, event: BookSnapshot, ctx: Context) -> None:
        self._feeds[event.instrument].book.on_snapshot(event, ctx)

    def _on_klines(self, event: Klines, ctx: Context) -> None:
        self._history.on_klines(event, ctx)

    def _on_ask_bars(self, msg: AskBars, ctx: Context) -> None:
        if self.fanout.knows(msg.owner):
            self._history.on_ask(msg, ctx)

    def _on_stored(self, msg: StoredBars, ctx: Context) -> None:
        self._history.on_stored(msg, ctx)

    def _on_ask_feeds(self, msg: AskFeeds, ctx: Context) -> None:
        """Say what was said before: rules that have changed since the start, how each feed is, its quote."""
        for one in self.state.instruments.values():
            if one.version > 1:
                for ref in self.fanout.refs(InstrumentUpdate, one.id):
                    ctx.send(ref, InstrumentUpdate(one))
        for feed in self._feeds.values():
            feed.tell_again(ctx)

    def _on_follow(self, msg: FollowVolume, ctx: Context) -> None:
        feed = self._feeds.get(msg.instrument)
        if feed is not None:
            feed.follow(msg.asker, on=msg.on, ctx=ctx)

    def _on_follow_trades(self, msg: FollowTrades, ctx: Context) -> None:
        feed = self._feeds.get(msg.instrument)
        if feed is not None:
            feed.state.prints = msg.on

    def _on_ask_rules(self, msg: AskRules, ctx: Context) -> None:
        """Read the rules again, once for all rejects of a moment."""
        if msg.instrument in self.state.instruments and ctx.now_ns >= self.state.rules_ns + RULES_MIN_NS:
            self.state.rules_ns = ctx.now_ns
            self._ask("exchangeInfo", ctx)

    def _on_rules(self, event: Instruments, ctx: Context) -> None:
        for told in event.instruments:
            known = self.state.instruments.get(told.id)
            if known is not None and (changed := _next_version(known, told)) != known:
                self._change_rules(known, changed, ctx)

    def _change_rules(self, known: Instrument, changed: Instrument, ctx: Context) -> None:
        """Tell everybody; bars count in lots, so those of another lot begin anew."""
        ctx.log("warning", "instrument_changed", instrument=known.id, version=changed.version)
        self.state.instruments[known.id] = changed
        if changed.qty_lot != known.qty_lot:
            self._feeds[known.id].use_lot(float(changed.qty_lot), ctx)
        self._codec = BinanceSpot(self.state.instruments.values())
        for ref in self.fanout.refs(InstrumentUpdate, known.id):
            ctx.send(ref, InstrumentUpdate(changed))

    def _on_ack(self, event: Ack, ctx: Context) -> None:
        self._obey(self.connection.acknowledged(event.req, ctx, event.error), ctx)

    def _on_unmapped(self, event: Unmapped, ctx: Context) -> None:
        """Count a word that we do not know; an endless list of them would fill the memory."""
        counts, word = self.state.unmapped, f"{event.what} {event.word}"
        if word not in counts and len(counts) >= UNMAPPED_MAX:
            word = "others"
        counts[word] = counts.get(word, 0) + 1

    # --- time -------------------------------------------------------------------------------------------

    def _look(self, ctx: Context) -> None:
        """Let every feed look at what only time shows, and arm the next look."""
        next_ns = NEVER
        for feed in self._feeds.values():
            next_ns = min(next_ns, feed.look(ctx))
        check_ns = self.state.check_ns
        if next_ns >= NEVER or self.state.stopping:
            return
        next_ns = max(next_ns, ctx.now_ns + LOOK_MIN_NS)
        if check_ns is None or next_ns < check_ns:
            self.state.check_ns = next_ns
            ctx.after(next_ns - ctx.now_ns, Timer("look", "", next_ns))


def _new_state(wiring: MarketWiring) -> MarketState:
    return MarketState(
        feeds={spec.instrument.id: new_feed(spec, wiring.bar_grace_ns) for spec in wiring.feeds},
        instruments={spec.instrument.id: spec.instrument for spec in wiring.feeds},
    )


def _next_version(known: Instrument, told: Instrument) -> Instrument:
    """Return the known rules if the venue's are the same, else the venue's as the next version."""
    same = replace(told, version=known.version) == known
    return known if same else replace(told, version=known.version + 1)


_HANDLERS: dict[type[Message], Callable[[MarketData, Any, Context], None]] = {
    Received: MarketData._on_received,
    Opened: MarketData._on_opened,
    Closed: MarketData._on_closed,
    Written: MarketData._on_written,
    NotWritten: MarketData._on_not_written,
    LinkDown: MarketData._on_link_down,
    Timer: MarketData._on_timer,
    AskBars: MarketData._on_ask_bars,
    StoredBars: MarketData._on_stored,
    AskFeeds: MarketData._on_ask_feeds,
    FollowVolume: MarketData._on_follow,
    FollowTrades: MarketData._on_follow_trades,
    AskRules: MarketData._on_ask_rules,
    Started: MarketData._on_started,
    Stop: MarketData._on_stop,
    ConfigChanged: MarketData._on_config,
}
_NEWS: dict[type, Callable[[MarketData, Any, Context], None]] = {
    Ack: MarketData._on_ack,
    Unmapped: MarketData._on_unmapped,
}
_ANSWERS: dict[type, Callable[[MarketData, Any, Context], None]] = {
    BookSnapshot: MarketData._on_snapshot,
    Klines: MarketData._on_klines,
    Instruments: MarketData._on_rules,
}
