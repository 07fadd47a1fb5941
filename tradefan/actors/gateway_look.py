"""One look at the venue: open orders, trades after the cursors, balances, and every named order.

The first questions leave together, so that a venue that works them off in order answers with one
picture. What they leave open is asked by id. Fills come last, each with the client id of its order,
then balances, then `LookDone`, which moves cursors only when every answer came, and only as far as
nothing can be hidden (`gateway_trades`).
"""

from __future__ import annotations

from collections.abc import Callable

from tradefan.actors.gateway_state import (
    Flight,
    GatewayState,
    Looking,
    Question,
    Reading,
    What,
    order_key,
    remember_owner,
)
from tradefan.actors.gateway_trades import newest_id, ripen, safe_cursor, take_page
from tradefan.core.ids import wire_id
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import Timer
from tradefan.messages.gateway import ExecutionReport, Look, LookDone, VenueFill
from tradefan.messages.wire import Text
from tradefan.runtime.actor import Context
from tradefan.units import ClientOrderId, InstrumentId, TradeId
from tradefan.venues.binance_orders import Event, OrderCodec
from tradefan.venues.binance_outcome import Outcome, Verdict
from tradefan.venues.feed_events import BadFrame

LOOKS_MAX = 8
QUERIES_IN_FLIGHT_MAX = 50
FACTS_PER_TURN = 1_000
PAGES_MAX = 100
"""Of 1,000 trades each, over all instruments of one look."""

Ask = Callable[[Context, What, Callable[[int], Text], InstrumentId | None, str, int], str | None]
"""(ctx, what, body of a request number, instrument, subject, look) -> why it was not written."""


class Looks:
    """All looks of a gateway, which live in its State."""

    def __init__(
        self,
        codec: OrderCodec,
        state: GatewayState,
        ask: Ask,
        emit: Callable[[Context, Message], None],
    ) -> None:
        """Bind to what the gateway lends."""
        self._codec = codec
        self._state = state
        self._looks = state.looks
        self._ripening = state.ripening
        self._counters = state.counters
        self._ask = ask
        self._emit = emit

    def begin(self, look: Look, refused: str | None, ctx: Context) -> None:
        """Ask, or say at once why nothing can be asked."""
        self._counters.looks += 1
        looking = Looking(look, ctx.now_ns)
        if refused is None and (len(self._looks) >= LOOKS_MAX or look.look_id in self._looks):
            refused = "BUSY"
        if refused is not None:
            looking.failures.append(refused)
            self._done(looking, ctx)
            return
        self._looks[look.look_id] = looking
        try:
            self._first(looking, ctx)
        except Refused as error:
            looking.failures.append(str(error))
        self._go_on(looking, ctx)

    def _first(self, looking: Looking, ctx: Context) -> None:
        codec, look, now_ns = self._codec, looking.look, ctx.now_ns
        for instrument, _ in (*look.orders, *look.cursors):
            codec.symbol(instrument)
        self._send(looking, ctx, "open_orders", lambda req: codec.open_orders(req, now_ns))
        for instrument, cursor in look.cursors:
            looking.trades[instrument] = Reading(cursor)
            self._ask_trades(looking, ctx, instrument, cursor)
        if look.balances:
            self._send(looking, ctx, "balances", lambda req: codec.balances(req, now_ns))

    def _ask_trades(
        self, looking: Looking, ctx: Context, instrument: InstrumentId, after: TradeId | None
    ) -> None:
        codec, now_ns = self._codec, ctx.now_ns
        looking.pages += 1
        body = lambda req: codec.trades(req, instrument, now_ns, after)  # noqa: E731 a body waits for its number
        self._send(looking, ctx, "trades", body, instrument)

    def _send(
        self,
        looking: Looking,
        ctx: Context,
        what: What,
        body: Callable[[int], Text],
        instrument: InstrumentId | None = None,
        subject: str = "",
    ) -> None:
        refused = self._ask(ctx, what, body, instrument, subject, looking.look.look_id)
        if refused is None:
            looking.asked += 1
        else:
            looking.failures.append(f"{what}: {refused}")

    # --- answers --------------------------------------------------------------------------------------

    def answered(self, flight: Flight, outcome: Outcome, result: bytes, ctx: Context) -> None:
        """Take the answer to one question; `result` may be read when the outcome is DONE."""
        looking = self._looks.get(flight.look_id or 0)
        if looking is None:
            return
        looking.asked -= 1
        if outcome.verdict is Verdict.DONE:
            try:
                self._take(looking, flight, result, ctx)
            except BadFrame as error:
                looking.failures.append(f"UNREADABLE: {error}")
        elif outcome.verdict is Verdict.NOT_FOUND and flight.what == "query":
            looking.missing.append(ClientOrderId(flight.subject))
        elif not (outcome.verdict is Verdict.NOT_FOUND and self._knows_owner(looking, flight)):
            looking.failures.append(f"{flight.what}: {outcome.why}")
        self._go_on(looking, ctx)

    def failed(self, flight: Flight, reason: str, ctx: Context) -> None:
        """Take note that a question gets no answer."""
        looking = self._looks.get(flight.look_id or 0)
        if looking is not None:
            looking.asked -= 1
            looking.failures.append(f"{flight.what}: {reason}")
            self._go_on(looking, ctx)

    def _knows_owner(self, looking: Looking, flight: Flight) -> bool:
        """Say whose order a trade is, where the trade can be seen already and its order not yet."""
        if flight.what != "query_venue_id" or flight.instrument is None:
            return False
        key = order_key(flight.instrument, flight.subject)
        owner = self._state.owners.get(key)
        if owner is not None:
            looking.owners[key] = owner
        return owner is not None

    def _take(self, looking: Looking, flight: Flight, result: bytes, ctx: Context) -> None:
        if flight.what == "trades" and flight.instrument is not None:
            self._take_trades(looking, flight.instrument, result, ctx)
        elif flight.what == "balances":
            looking.balances = self._codec.account_balances(result, ctx.now_ns, "look")
        elif flight.what == "open_orders":
            for event in self._codec.orders(result, ctx.now_ns, "look"):
                self._take_report(looking, event)
        else:
            self._take_named(looking, flight, result, ctx)

    def _take_named(self, looking: Looking, flight: Flight, result: bytes, ctx: Context) -> None:
        """Take the answer to a query, if it is about the order that was asked for."""
        event = self._codec.order(result, ctx.now_ns, "look")
        by_name = flight.what == "query"
        told = None
        if isinstance(event, ExecutionReport) and event.instrument == flight.instrument:
            told = event.client_order_id if by_name else event.venue_order_id
        if told == wire_id(flight.subject):
            self._take_report(looking, event)
        else:
            looking.failures.append(f"ECHO: asked for {flight.subject}, answered {told}")

    def _take_report(self, looking: Looking, event: Event) -> None:
        """Take a report; a symbol that we do not trade is nobody's business here."""
        if isinstance(event, ExecutionReport):
            looking.reported[order_key(event.instrument, event.client_order_id)] = 1
            looking.owners[order_key(event.instrument, event.venue_order_id)] = event.client_order_id
            remember_owner(self._state, event)
            looking.outgoing.append(event)

    def _take_trades(self, looking: Looking, instrument: InstrumentId, result: bytes, ctx: Context) -> None:
        rows, reading = self._codec.trade_rows(instrument, result), looking.trades[instrument]
        if reading.after is None:
            # What came before the newest is not ours to book.
            reading.after = newest_id(rows)
        elif take_page(reading, rows):
            if looking.pages >= PAGES_MAX:
                looking.failures.append(f"trades: more than {PAGES_MAX} pages")
            else:
                self._ask_trades(looking, ctx, instrument, reading.after)

    # --- progress -------------------------------------------------------------------------------------

    def _go_on(self, looking: Looking, ctx: Context) -> None:
        """Ask what is left, or end; after a failure nothing more is asked."""
        if looking.asked == 0 and not looking.by_id and not looking.failures:
            looking.by_id = True
            looking.questions = self._open_questions(looking)
        while looking.questions and not looking.failures and looking.asked < QUERIES_IN_FLIGHT_MAX:
            self._ask_by_id(looking, looking.questions.pop(0), ctx)
        idle = looking.asked == 0 and (not looking.questions or looking.failures)
        if idle and not looking.ended:
            looking.ended = True
            looking.outgoing.extend(self._fills(looking, ctx))
            if looking.balances is not None:
                looking.outgoing.append(looking.balances)
        self.tell(looking, ctx)

    def tell(self, looking: Looking, ctx: Context) -> None:
        """Tell what is known, a bounded number of facts in one turn, and end when all is told."""
        if looking.telling:
            return
        for fact in looking.outgoing[:FACTS_PER_TURN]:
            self._emit(ctx, fact)
        del looking.outgoing[:FACTS_PER_TURN]
        if looking.outgoing:
            looking.telling = True
            ctx.after(0, Timer("look", number=looking.look.look_id))
        elif looking.ended:
            del self._looks[looking.look.look_id]
            self._done(looking, ctx)

    def go_on_telling(self, look_id: int, ctx: Context) -> None:
        """Take the timer of `tell`."""
        looking = self._looks.get(look_id)
        if looking is not None:
            looking.telling = False
            self.tell(looking, ctx)

    def _open_questions(self, looking: Looking) -> list[Question]:
        """Name what the first answers left open: orders not reported, and orders behind trades."""
        named = [
            Question("query", instrument, client_order_id)
            for instrument, client_order_id in looking.look.orders
            if order_key(instrument, wire_id(client_order_id)) not in looking.reported
        ]
        behind: dict[str, Question] = {}
        for instrument, reading in looking.trades.items():
            for row in reading.rows:
                key = order_key(instrument, str(row.order_id))
                if key not in looking.owners:
                    behind[key] = Question("query_venue_id", instrument, str(row.order_id))
        return named + list(behind.values())

    def _ask_by_id(self, looking: Looking, question: Question, ctx: Context) -> None:
        codec, now_ns, instrument, subject = self._codec, ctx.now_ns, question.instrument, question.subject

        def body(req: int) -> Text:
            if question.what == "query":
                return codec.query(req, instrument, now_ns, wire_id(subject))
            return codec.query_venue_id(req, instrument, now_ns, subject)

        self._send(looking, ctx, question.what, body, instrument, subject)

    def _done(self, looking: Looking, ctx: Context) -> None:
        look = looking.look
        complete = not looking.failures
        done = LookDone(
            account=look.account,
            look_id=look.look_id,
            asked_ns=looking.asked_ns,
            complete=complete,
            missing=tuple(looking.missing),
            cursors=self._moved(looking, ctx) if complete else look.cursors,
            reason="; ".join(looking.failures[:3]),
        )
        self._emit(ctx, done)
        if not complete:
            ctx.log("warning", "look_incomplete", look_id=look.look_id, reason=done.reason)

    def _moved(self, looking: Looking, ctx: Context) -> tuple[tuple[InstrumentId, TradeId | None], ...]:
        """Return the cursors behind a complete look."""
        return tuple(
            (name, self._cursor(looking, name, cursor, ctx)) for name, cursor in looking.look.cursors
        )

    def _cursor(
        self, looking: Looking, name: InstrumentId, cursor: TradeId | None, ctx: Context
    ) -> TradeId | None:
        reading, known = looking.trades[name], self._ripening.get(name)
        if cursor is None:
            return reading.after
        visible_ns: int = ctx.config.accounts[looking.look.account].visible_bound
        ripe = known is not None and looking.asked_ns >= known.at_ns + visible_ns
        if ripe or known is None:
            newest = ripen(reading, ctx.now_ns)
            if newest is not None:
                self._ripening[name] = newest
        return safe_cursor(reading, cursor, known.number) if known is not None and ripe else cursor

    def _fills(self, looking: Looking, ctx: Context) -> list[VenueFill]:
        """Return the trades of orders that are known; the others wait for the next look."""
        return [
            self._codec.fill(row, instrument, trade_id, owner, ctx.now_ns)
            for instrument, reading in looking.trades.items()
            for row, trade_id in zip(
                reading.rows, self._codec.trade_ids(instrument, reading.rows), strict=True
            )
            if (owner := looking.owners.get(order_key(instrument, str(row.order_id)))) is not None
        ]
