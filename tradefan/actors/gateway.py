"""The gateway of one account: requests in flight, deadlines, outcome classes, looks.

It is the machine of the account's connection: one request, one answer, no queue and no retry. A
create is written at most once and never after its deadline; whatever becomes of it is told to the
OMS as one of

* `OrderNotSent`: proof that nothing left us,
* `ExecutionReport` (REJECTED, or what the venue says), with the fills of a FULL answer before it,
* `OrderInDoubt`: time-out, lost connection, an answer that the outcome table does not know. A later
  answer is still evidence and is told when it comes.

Cancels and looks are facts and overtake creates in the mailbox, so a cancel leaves a tombstone that
refuses a late create for 60 s. While the venue asks for silence (429, 418) nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from msgspec import Struct

from tradefan.actors.gateway_flights import Flights
from tradefan.actors.gateway_look import Looks
from tradefan.actors.gateway_state import (
    QUARANTINE_MAX,
    TOMBSTONES_MAX,
    Flight,
    GatewayState,
    GatewayView,
    What,
)
from tradefan.core.connection import Connection
from tradefan.core.connection_state import (
    Budget,
    ConnectionSpec,
    ConnectionState,
    Phase,
    Timing,
    Turn,
)
from tradefan.errors import Refused
from tradefan.messages.account import AccountState, Balances
from tradefan.messages.base import Message
from tradefan.messages.control import Started, Stop, Stopped, Timer
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import (
    CancelOrder,
    CancelRejected,
    CreateOrder,
    Doubt,
    ExecutionReport,
    GatewayReset,
    Look,
    OrderInDoubt,
    OrderNotSent,
    OrderStatus,
)
from tradefan.messages.wire import Closed, NotWritten, Opened, Received, Text, Written
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.units import DAY, MS, SECOND, ZERO, AccountId, ClientOrderId, InstrumentId, Ref
from tradefan.venues.binance_account_wire import Frame, read_frame
from tradefan.venues.binance_orders import Event, OrderCodec, StreamEnded
from tradefan.venues.binance_outcome import Outcome, Verdict, outcome
from tradefan.venues.feed_events import BadFrame, Unmapped

TOMBSTONE_NS = 60 * SECOND
GARBAGE_MAX = 20
GARBAGE_WINDOW_NS = 10 * SECOND
DEAF_MAX = 3
"""Time-outs in a row without a single frame between them: the connection is dead."""
SHUT_MAX_NS = 3 * DAY
"""Binance's longest ban."""
USER_STREAM = "user"


class GatewayWiring(Struct, frozen=True):
    """Whom a gateway knows. `observers` hear `AccountState` and `Balances` after the OMS."""

    name: str
    account: AccountId
    oms: Ref
    link: Ref
    instruments: tuple[Instrument, ...]
    url: str = "paper:"
    conn: str = "account"
    observers: tuple[Ref, ...] = ()
    timing: Timing = Timing(silence_ns=None)


class Gateway:
    """The machine of one account; `accounts.NAME.request_timeout` is read at each request."""

    def __init__(self, wiring: GatewayWiring, state: GatewayState | None = None) -> None:
        """Bind to the wiring; nothing is opened before `Started`."""
        self.wiring = wiring
        self.state = GatewayState(ConnectionState(), Budget()) if state is None else state
        self._codec = OrderCodec(wiring.account, wiring.instruments)
        self._connection = Connection(
            ConnectionSpec(wiring.conn, wiring.url, (USER_STREAM,)),
            wiring.timing,
            lambda req, _streams: self._codec.subscribe(req),
            self.state.budget,
            self.state.connection,
        )
        self._flights = Flights(wiring.account, wiring.link, wiring.conn, self.state, self._lost)
        self._looks = Looks(self._codec, self.state.looks, self.state.counters, self._ask, self._tell)
        self._handlers: dict[type[Message], Callable[[Any, Context], None]] = {
            Started: self._started,
            Stop: self._stop,
            CreateOrder: self._create,
            CancelOrder: self._cancel,
            Look: self._look,
            Timer: self._timer,
            Opened: lambda msg, ctx: self._turned(self._connection.opened(msg, ctx), ctx),
            Closed: lambda msg, ctx: self._turned(self._connection.closed(msg, ctx), ctx),
            Received: self._received,
            NotWritten: self._not_written,
            # Handed to the transport: neither proof nor doubt.
            Written: lambda _msg, _ctx: None,
        }

    def handle(self, msg: Message, ctx: Context) -> None:
        """Take one message; kinds that mean nothing to a gateway are ignored."""
        handler = self._handlers.get(type(msg))
        if handler is not None:
            handler(msg, ctx)

    def view(self) -> GatewayView:
        """Return a picture for status."""
        state, connection = self.state, self.state.connection
        late = sum(flight.late for flight in state.flights.values())
        return GatewayView(
            account=self.wiring.account,
            phase=connection.phase,
            connected=connection.phase is Phase.LIVE and not state.auth,
            reason=connection.reason,
            since_ns=connection.since_ns,
            generation=connection.gen,
            in_flight=len(state.flights) - late,
            late=late,
            looks=len(state.looks),
            tombstones=len(state.tombstones),
            shut_until_ns=state.shut_until_ns,
            auth=state.auth,
            counters=copy(state.counters),
            quarantine=tuple(state.quarantine),
        )

    # --- life -----------------------------------------------------------------------------------------

    def _started(self, msg: Started, ctx: Context) -> None:
        if msg.restart:
            self._tell(ctx, GatewayReset(self.wiring.account))
        for command in msg.commands:
            if isinstance(command, CreateOrder):
                self._refuse(command, "RESTARTING", ctx)
        self._turned(self._connection.want(ctx), ctx)

    def _stop(self, _msg: Stop, ctx: Context) -> None:
        self._turned(self._connection.drop(ctx, "stopping"), ctx)
        ctx.send(RIM, Stopped(self.wiring.name))

    def _timer(self, msg: Timer, ctx: Context) -> None:
        if msg.name == "connection":
            self._turned(self._connection.tick(msg.number, ctx), ctx)
        elif msg.name == "request":
            self._timed_out(msg.number, ctx)
        elif msg.name == "look":
            self._looks.go_on_telling(msg.number, ctx)

    def _turned(self, turn: Turn, ctx: Context) -> None:
        """Do what the connection decided; requests of a generation that ended have no answer."""
        for effect in turn.effects:
            ctx.send(self.wiring.link, effect)
        if turn.alarm_ns is not None:
            ctx.after(max(0, turn.alarm_ns - ctx.now_ns), Timer("connection", number=turn.alarm_ns))
        self._flights.disconnected(self.state.connection.gen, ctx)
        for move in turn.moves:
            level = "warning" if move.target in (Phase.BACKOFF, Phase.BANNED) else "info"
            ctx.log(level, "account_connection", phase=move.target.value, reason=move.reason)
            if move.target is Phase.LIVE:
                self.state.auth, self.state.deaf = "", 0
            if Phase.LIVE in (move.source, move.target) or move.target is not Phase.SUBSCRIBING:
                self._announce(move.reason, ctx)

    def _announce(self, reason: str, ctx: Context) -> None:
        state = self.state
        connected = state.connection.phase is Phase.LIVE and not state.auth
        self._tell_all(ctx, AccountState(self.wiring.account, connected, reason))

    # --- wishes of the OMS ----------------------------------------------------------------------------

    def _create(self, order: CreateOrder, ctx: Context) -> None:
        """Write a create once, or prove that it was not written."""
        state = self.state
        if self._flights.creating(order.client_order_id):
            state.counters.duplicates += 1
            ctx.log("error", "create_repeated", client_order_id=order.client_order_id)
            return
        reason = self._why_not(order, ctx)
        if reason is None:
            codec, now_ns, client_order_id = self._codec, ctx.now_ns, order.client_order_id
            try:
                reason = self._flights.write(
                    ctx,
                    "create",
                    lambda req: codec.create(req, order, now_ns),
                    order.instrument,
                    client_order_id,
                    order=order,
                )
            except Refused as error:
                reason = error.code
        if reason is not None:
            self._refuse(order, reason, ctx)
        else:
            state.counters.creates += 1

    def _why_not(self, order: CreateOrder, ctx: Context) -> str | None:
        state = self.state
        if state.tombstones.get(order.client_order_id, 0) > ctx.now_ns:
            return "CANCELED_BEFORE_SENT"
        if ctx.now_ns > order.not_after_ns:
            return "EXPIRED"
        if state.auth:
            return "AUTH"
        if state.connection.phase is not Phase.LIVE:
            return "NOT_CONNECTED"
        return None

    def _refuse(self, order: CreateOrder, reason: str, ctx: Context) -> None:
        self.state.counters.not_sent += 1
        self._tell(ctx, OrderNotSent(order.account, order.client_order_id, reason))
        ctx.log("warning", "create_not_sent", client_order_id=order.client_order_id, reason=reason)

    def _cancel(self, order: CancelOrder, ctx: Context) -> None:
        """Write a cancel at once, and see to it that a create behind it is not written any more."""
        self._bury(order.client_order_id, ctx.now_ns)
        codec, now_ns = self._codec, ctx.now_ns
        try:
            reason = self._flights.write(
                ctx,
                "cancel",
                lambda req: codec.cancel(req, order, now_ns),
                order.instrument,
                order.client_order_id,
            )
        except Refused as error:
            reason = error.code
        if reason is None:
            self.state.counters.cancels += 1
        else:
            self._tell(ctx, CancelRejected(order.account, order.client_order_id, f"NOT_SENT: {reason}"))

    def _bury(self, client_order_id: ClientOrderId, now_ns: int) -> None:
        """Set a tombstone; the oldest leave first."""
        tombstones = self.state.tombstones
        tombstones.pop(client_order_id, None)
        tombstones[client_order_id] = now_ns + TOMBSTONE_NS
        while tombstones:
            oldest = next(iter(tombstones))
            if tombstones[oldest] > now_ns and len(tombstones) <= TOMBSTONES_MAX:
                return
            del tombstones[oldest]

    def _look(self, look: Look, ctx: Context) -> None:
        self._looks.begin(look, self._flights.shut(ctx), ctx)

    # --- requests -------------------------------------------------------------------------------------

    def _ask(
        self,
        ctx: Context,
        what: What,
        body: Callable[[int], Text],
        instrument: InstrumentId | None,
        subject: str,
        look_id: int,
    ) -> str | None:
        self.state.counters.queries += 1
        return self._flights.write(ctx, what, body, instrument, subject, look_id=look_id)

    def _timed_out(self, req: int, ctx: Context) -> None:
        if not self._flights.timed_out(req, ctx):
            return
        self.state.counters.timeouts += 1
        self.state.deaf += 1
        if self.state.deaf >= DEAF_MAX:
            self.state.deaf = 0
            self._turned(self._connection.fail(ctx, f"{DEAF_MAX} requests without an answer"), ctx)

    def _lost(self, flight: Flight, reason: str, ctx: Context) -> None:
        if flight.op == "query":
            self._looks.failed(flight, reason, ctx)
        else:
            self._doubt(flight, reason, ctx)

    def _doubt(self, flight: Flight, reason: str, ctx: Context) -> None:
        self.state.counters.in_doubt += 1
        doubt = Doubt.CREATE if flight.what == "create" else Doubt.CANCEL
        order_id = ClientOrderId(flight.subject)
        self._tell(ctx, OrderInDoubt(self.wiring.account, order_id, doubt, reason))
        ctx.log("warning", "order_in_doubt", client_order_id=order_id, doubt=doubt.value, reason=reason)

    def _not_written(self, msg: NotWritten, ctx: Context) -> None:
        """Take the proof that a request never left, also for a generation that ended meanwhile."""
        flight = self._flights.land(msg.req, ctx)
        if flight is None:
            self._turned(self._connection.not_written(msg, ctx), ctx)
        elif flight.order is not None:
            self._refuse(flight.order, msg.reason, ctx)
        elif flight.what == "cancel":
            order_id = ClientOrderId(flight.subject)
            self._tell(ctx, CancelRejected(self.wiring.account, order_id, f"NOT_SENT: {msg.reason}"))
        else:
            self._looks.failed(flight, f"NOT_SENT: {msg.reason}", ctx)

    # --- what the venue says --------------------------------------------------------------------------

    def _received(self, msg: Received, ctx: Context) -> None:
        turn = self._connection.received(msg, ctx)
        self._turned(turn, ctx)
        if not turn.mine:
            return
        self.state.deaf = 0
        try:
            frame = read_frame(msg.body)
            event = bytes(frame.event)
            events = self._codec.event(event, msg.recv_ns) if event else ()
        except BadFrame as error:
            self._quarantine(msg, error, ctx)
            return
        if not event:
            self._answered(msg, frame, ctx)
        for told in events:
            self._event(told, ctx)

    def _answered(self, msg: Received, frame: Frame, ctx: Context) -> None:
        """Match an answer with its request by the id that the venue sends back."""
        state, req = self.state, frame.req
        flight = self._flights.land(req, ctx) if req is not None else None
        op = flight.op if flight is not None else "query"
        found = outcome(op, msg.status, msg.body)
        self._obey(found, msg, ctx)
        if req is not None and req in state.connection.acks:
            error = None if found.verdict is Verdict.DONE else found.why
            self._turned(self._connection.acknowledged(req, ctx, error), ctx)
        elif flight is None:
            state.counters.strays += 1
        else:
            state.counters.late_answers += flight.late
            self._settle(flight, found, bytes(frame.result), ctx)

    def _settle(self, flight: Flight, found: Outcome, result: bytes, ctx: Context) -> None:
        if flight.what == "create":
            self._created(flight, found, result, ctx)
        elif flight.what == "cancel":
            self._canceled(flight, found, result, ctx)
        else:
            self._looks.answered(flight, found, result, ctx)

    def _created(self, flight: Flight, found: Outcome, result: bytes, ctx: Context) -> None:
        assert flight.order is not None, f"create {flight.req} has no order"
        if found.verdict is Verdict.REJECTED:
            self._rejected(flight.order, found, ctx)
            return
        if found.verdict is not Verdict.DONE:
            self._doubt(flight, found.why, ctx)
            return
        try:
            events = self._codec.placed(result, ctx.now_ns)
        except BadFrame as error:
            self._doubt(flight, f"UNREADABLE: {error}", ctx)
            return
        ids = {e.client_order_id: 1 for e in events if isinstance(e, ExecutionReport)}
        if list(ids) != [flight.subject]:
            self._doubt(flight, f"ECHO: sent {flight.subject}, answered {list(ids)}", ctx)
        for event in events:
            self._event(event, ctx)

    def _rejected(self, order: CreateOrder, found: Outcome, ctx: Context) -> None:
        self.state.counters.rejected += 1
        report = ExecutionReport(
            account=order.account,
            instrument=order.instrument,
            client_order_id=order.client_order_id,
            venue_order_id=None,
            status=OrderStatus.REJECTED,
            side=order.side,
            order_qty=order.order_qty,
            cum_qty=ZERO,
            limit_price=order.limit_price,
            reason=found.why,
            event_ns=ctx.now_ns,
            recv_ns=ctx.now_ns,
            source="answer",
        )
        self._tell(ctx, report)
        ctx.log("warning", "create_rejected", client_order_id=order.client_order_id, reason=found.why)

    def _canceled(self, flight: Flight, found: Outcome, result: bytes, ctx: Context) -> None:
        if found.verdict is Verdict.IN_DOUBT:
            self._doubt(flight, found.why, ctx)
        elif found.verdict is not Verdict.DONE:
            # Information, not proof: an unknown order may have filled, or may not have arrived yet.
            order_id = ClientOrderId(flight.subject)
            self._tell(ctx, CancelRejected(self.wiring.account, order_id, found.why))
        else:
            try:
                self._event(self._codec.order(result, ctx.now_ns, "answer"), ctx)
            except BadFrame as error:
                self._doubt(flight, f"UNREADABLE: {error}", ctx)

    def _obey(self, found: Outcome, msg: Received, ctx: Context) -> None:
        """Keep silent when the venue asks for it; note that it does not know our key."""
        state = self.state
        if found.reason == "AUTH" and not state.auth:
            state.auth = found.why
            self._announce(found.why, ctx)
            ctx.log("error", "account_refused", reason=found.why)
        if not found.shut_ns:
            return
        wait_ns = found.shut_ns
        if msg.retry_after_s is not None:
            wait_ns = int(msg.retry_after_s * 1000) * MS
        elif found.shut_until_ns is not None:
            wait_ns = max(found.shut_until_ns - ctx.now_ns, SECOND)
        state.counters.rate_limits += 1
        state.shut_until_ns = max(state.shut_until_ns, ctx.now_ns + min(wait_ns, SHUT_MAX_NS))
        state.shut_reason = "BAN" if found.reason == "BAN" else "RATE_LIMIT"
        ctx.log("warning", "venue_asks_for_silence", until_ns=state.shut_until_ns, reason=found.why)

    def _event(self, event: Event, ctx: Context) -> None:
        if isinstance(event, StreamEnded):
            self._turned(self._connection.fail(ctx, f"user stream ended: {event.reason}"), ctx)
        elif isinstance(event, Unmapped):
            self.state.counters.unmapped += 1
        elif isinstance(event, Balances):
            self._tell_all(ctx, event)
        else:
            self._tell(ctx, event)

    def _quarantine(self, msg: Received, error: BadFrame, ctx: Context) -> None:
        """Set garbage aside; a socket that sends much of it is given up."""
        state = self.state
        state.counters.garbage += 1
        state.quarantine.append(f"{error}"[:300])
        del state.quarantine[:-QUARANTINE_MAX]
        recent = [at_ns for at_ns in state.garbage_ns if at_ns > ctx.now_ns - GARBAGE_WINDOW_NS]
        state.garbage_ns = [*recent, ctx.now_ns]
        if len(state.garbage_ns) >= GARBAGE_MAX:
            state.garbage_ns = []
            self._turned(self._connection.fail(ctx, "garbage"), ctx)

    # --- to others ------------------------------------------------------------------------------------

    def _tell(self, ctx: Context, msg: Message) -> None:
        if isinstance(msg, Balances):
            self._tell_all(ctx, msg)
        else:
            ctx.send(self.wiring.oms, msg)

    def _tell_all(self, ctx: Context, msg: Message) -> None:
        for ref in (self.wiring.oms, *self.wiring.observers):
            ctx.send(ref, msg)
