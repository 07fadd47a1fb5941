"""One instrument's book and quotes: what the venue's changes do to them, and who is told.

A book is right at its id or not there. A broken chain is written down as a gap and a snapshot is
asked for, at once the first time and after growing pauses then. Nothing crossed is published:
subscribers get the book whole as soon as it is uncrossed.
"""

from __future__ import annotations

from collections.abc import Callable

from tradefan.actors.market_state import Fanout, FeedSpec, FeedState, MarketState
from tradefan.core import book as books
from tradefan.core.quality import SUSPECT, Stream
from tradefan.messages.control import Timer
from tradefan.messages.market import BookDelta, BookSnapshot, Gap, Quote
from tradefan.runtime.actor import Context
from tradefan.units import SECOND
from tradefan.venues.binance import SNAPSHOT_LIMIT

TICKERS_MAX = 1_024
"""Quotes that wait for the book to reach their id."""
ASK_PAUSE_NS = SECOND
ASK_PAUSE_MAX_NS = 30 * SECOND
SNAPSHOT_TIMER = "snapshot"

Ask = Callable[[str, Context], None]
"""Ask the venue for a subject of its codec."""


class BookFeed:
    """Handlers of book and quotes; all that they know is in the feed's state."""

    def __init__(
        self, spec: FeedSpec, state: FeedState, shared: MarketState, fanout: Fanout, ask: Ask
    ) -> None:
        self.id = spec.instrument.id
        self.state = state
        self.shared = shared
        self._ask = ask
        self._quote_refs = fanout.refs(Quote, self.id)
        self._delta_refs = fanout.refs(BookDelta, self.id)
        self._snapshot_refs = fanout.refs(BookSnapshot, self.id)
        self._gap_refs = fanout.refs(Gap, self.id)
        self._has_quotes = "book_ticker" in spec.streams
        streams = {stream.name: stream for stream in state.watch.streams}
        self.depth = streams.get("depth") or Stream("depth")
        self._ticker = streams.get("book_ticker") or Stream("book_ticker")

    # --- what the venue says --------------------------------------------------------------------------

    def on_quote(self, quote: Quote, ctx: Context) -> None:
        """Take the venue's best bid and ask, and hold them against the book at the same id."""
        state = self.state
        if quote.update_id <= state.quote_id:
            state.counters.duplicates += 1
            return
        state.quote_id = quote.update_id
        state.counters.quotes += 1
        state.watch.heard(self._ticker, ctx.now_ns, quote.recv_ns)
        if state.book.synced:
            self._hold_against_book(quote, ctx)
        self.publish_quote(quote, ctx)

    def on_delta(self, delta: BookDelta, ctx: Context) -> None:
        """Move the book; a broken chain discards it and asks for a snapshot."""
        state = self.state
        before_id, before_ns = state.book.last_id, state.watch.event_ns
        outcome = state.book.apply(delta)
        if outcome == books.IGNORED:
            state.counters.duplicates += 1
            return
        state.counters.deltas += 1
        state.watch.heard(self.depth, ctx.now_ns, delta.recv_ns)
        state.watch.event(ctx.now_ns, delta.recv_ns, delta.event_ns)
        if outcome == books.APPLIED:
            self._applied(delta, ctx)
            return
        if outcome == books.GAP:
            self._broken(delta, before_id, before_ns, ctx)
        self._ask_snapshot(ctx)

    def on_snapshot(self, snapshot: BookSnapshot, ctx: Context) -> None:
        """Load the answer to our request; what does not fit is asked again."""
        state = self.state
        state.asking = False
        if state.book.renewing:
            if state.book.renew(snapshot, SNAPSHOT_LIMIT) == books.APPLIED:
                state.refusals = 0
                state.counters.renewals += 1
            else:
                self.snapshot_failed(ctx)
            return
        if state.book.synced:
            return
        if state.book.load(snapshot, SNAPSHOT_LIMIT) != books.APPLIED:
            self.snapshot_failed(ctx)
            return
        state.refusals = 0
        state.tickers.clear()
        state.watch.book_ready(ctx.now_ns)
        state.withheld = True
        self._look_at_top(snapshot.recv_ns, ctx)

    # --- what the feed says ---------------------------------------------------------------------------

    def lost(self) -> None:
        """The connection ended, and with it book and ids."""
        state = self.state
        state.book.drop()
        state.tickers.clear()
        state.quote_id = state.asked_ns = state.refusals = 0
        state.asking = state.withheld = False

    def resync(self, cause: str, ctx: Context) -> None:
        """Throw the book away for what it shows."""
        at_ns = self.state.watch.event_ns
        self.state.book.drop()
        self._book_lost(Gap(self.id, "book", at_ns, at_ns, None, None, cause), ctx)
        self._ask_snapshot(ctx)

    def history_ended(self, ctx: Context) -> None:
        """Subscribers start from the market as it stands when the live frames begin."""
        if self.state.book.synced and not self.state.withheld:
            self._publish_book(ctx)
        if self.state.quote is not None:
            self.publish_quote(self.state.quote, ctx)

    def snapshot_failed(self, ctx: Context) -> None:
        """Ask again, less often with each failure in a row."""
        self.state.asking = False
        self.state.refusals += 1
        if self.state.book.renewing or not self.state.book.synced:
            self._ask_snapshot(ctx)

    def snapshot_due(self, msg: Timer, ctx: Context) -> None:
        """The pause between two requests is over, if the connection still is the same."""
        if msg.number == self.state.session and self.state.asking:
            self._ask_now(ctx)

    # --- book -----------------------------------------------------------------------------------------

    def _applied(self, delta: BookDelta, ctx: Context) -> None:
        state = self.state
        if state.tickers:
            quote = state.tickers.get(delta.last_id)
            if quote is not None:
                self._compare(quote, ctx)
            state.tickers = {id_: later for id_, later in state.tickers.items() if id_ > delta.last_id}
        if state.book.wants_renewal():
            state.book.begin_renewal()
            self._ask_snapshot(ctx)
        if self._look_at_top(delta.recv_ns, ctx) and not self.shared.history:
            for ref in self._delta_refs:
                ctx.send(ref, delta)

    def _look_at_top(self, recv_ns: int, ctx: Context) -> bool:
        """Watch the top; True where the change that led to it may be published as it is."""
        state, top = self.state, self.state.book.top()
        if top is None:
            return not state.withheld
        state.watch.top(top[0], top[2], ctx.now_ns)
        if top[0] >= top[2]:
            if state.watch.crossed_ns == ctx.now_ns:
                state.counters.crossed += 1
                state.look_soon = True
            state.withheld = True
            return False
        if not self._has_quotes and (state.quote is None or top != _top_of(state.quote)):
            self.publish_quote(Quote(self.id, *top, state.book.last_id, recv_ns), ctx)
        if not state.withheld:
            return True
        state.withheld = False
        if not self.shared.history:
            self._publish_book(ctx)
        return False

    def _publish_book(self, ctx: Context) -> None:
        if self._snapshot_refs:
            snapshot = self.state.book.snapshot(self.id, self.depth.heard_ns)
            for ref in self._snapshot_refs:
                ctx.send(ref, snapshot)

    def _broken(self, delta: BookDelta, last_id: int, from_ns: int, ctx: Context) -> None:
        """Write down why the book was discarded."""
        jump = delta.first_id > last_id + 1
        from_id, to_id = (last_id + 1, delta.first_id - 1) if jump else (None, None)
        cause = "jump" if jump else "ids began anew" if delta.last_id <= last_id else "out of range"
        self._book_lost(Gap(self.id, "book", from_ns, delta.event_ns, from_id, to_id, cause), ctx)

    def _book_lost(self, gap: Gap, ctx: Context) -> None:
        state = self.state
        state.counters.resyncs += 1
        state.tickers.clear()
        state.watch.book_lost(ctx.now_ns, f"book: {gap.cause}")
        ctx.log("warning", "book_resync", instrument=self.id, cause=gap.cause, session=state.session)
        for ref in self._gap_refs:
            ctx.send(ref, gap)

    # --- quotes ---------------------------------------------------------------------------------------

    def publish_quote(self, quote: Quote, ctx: Context) -> None:
        """Keep and send a quote that is uncrossed."""
        if quote.bid >= quote.ask:
            self.state.counters.crossed += 1
            return
        self.state.quote = quote
        if not self.shared.history:
            for ref in self._quote_refs:
                ctx.send(ref, quote)

    def _hold_against_book(self, quote: Quote, ctx: Context) -> None:
        """Compare at the same id, now or when the book gets there; between two ids nothing is known."""
        state, last_id = self.state, self.state.book.last_id
        if quote.update_id > last_id:
            if len(state.tickers) >= TICKERS_MAX:
                state.tickers.clear()
            state.tickers[quote.update_id] = quote
        elif quote.update_id == last_id:
            self._compare(quote, ctx)

    def _compare(self, quote: Quote, ctx: Context) -> None:
        if self.state.book.top() != _top_of(quote):
            self.state.counters.mismatches += 1
            self.state.watch.mark(SUSPECT, "book and bookTicker differ", ctx.now_ns)

    # --- requests -------------------------------------------------------------------------------------

    def _ask_snapshot(self, ctx: Context) -> None:
        """Ask for the book unless that is under way; the first time at once, then after a pause."""
        state = self.state
        if state.asking:
            return
        state.asking = True
        pause_ns = min(ASK_PAUSE_NS * 2 ** min(state.refusals, 10), ASK_PAUSE_MAX_NS)
        wait_ns = state.asked_ns + pause_ns - ctx.now_ns if state.asked_ns else 0
        if wait_ns > 0:
            ctx.after(wait_ns, Timer(SNAPSHOT_TIMER, self.id, state.session))
        else:
            self._ask_now(ctx)

    def _ask_now(self, ctx: Context) -> None:
        self.state.asked_ns = ctx.now_ns
        self._ask(f"depth {self.id}", ctx)


def _top_of(quote: Quote) -> tuple[float, float, float, float]:
    return quote.bid, quote.bid_qty, quote.ask, quote.ask_qty
