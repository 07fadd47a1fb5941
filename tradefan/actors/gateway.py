"""The gateway of one account: requests in flight, deadlines, outcome classes, looks.

It is the machine of the account's connection: one request, one answer, no queue and no retry. A
create or a replacement is written at most once and never after its deadline; whatever becomes of it
is told to the OMS as one of

* `OrderNotSent`: proof that nothing left us, or that the venue did not attempt it,
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
from tradefan.actors.gateway_orders import Orders
from tradefan.actors.gateway_state import (
    CONN,
    QUARANTINE_MAX,
    Flight,
    GatewayState,
    GatewayView,
    What,
    remember_owner,
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
from tradefan.messages.account import AccountState, Balances
from tradefan.messages.base import Message
from tradefan.messages.control import Started, Stop, Stopped, Timer
from tradefan.messages.gateway import (
    CancelOrder,
    CreateOrder,
    ExecutionReport,
    GatewayReset,
    Look,
    ReplaceOrder,
)
from tradefan.messages.instrument import Instrument
from tradefan.messages.wire import Closed, NotWritten, Opened, Received, Text, Written
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.units import DAY, MINUTE, MS, SECOND, AccountId, InstrumentId, Ref
from tradefan.venues.binance_account_wire import Frame, read_frame
from tradefan.venues.binance_orders import Event, OrderCodec, StreamEnded
from tradefan.venues.binance_outcome import Outcome, Verdict, outcome
from tradefan.venues.feed_events import BadFrame, Unmapped

GARBAGE_MAX = 20
GARBAGE_WINDOW_NS = 10 * SECOND
DEAF_MAX = 3
"""Time-outs in a row without a single frame between them: the connection is dead."""
SHUT_MAX_NS = 3 * DAY
"""Binance's longest ban."""
AUTH_NS = MINUTE
"""So long nothing new is placed with a key that the venue refused: what is under way shall not knock
again and again. After it the OMS alone decides, which waits for a human."""
USER_STREAM = "user"


class GatewayWiring(Struct, frozen=True):
    """Whom a gateway knows. `observers` hear `AccountState` and `Balances` after the OMS."""

    name: str
    account: AccountId
    oms: Ref
    link: Ref
    instruments: tuple[Instrument, ...]
    url: str = "paper:"
    conn: str = CONN
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
        self._orders = Orders(self._codec, self._flights, self.state, self._tell, self._event, self._heed_key)
        self._looks = Looks(self._codec, self.state, self._ask, self._tell)
        self._handlers: dict[type[Message], Callable[[Any, Context], None]] = {
            Started: self._started,
            Stop: self._stop,
            CreateOrder: self._orders.create,
            ReplaceOrder: self._orders.replace,
            CancelOrder: self._orders.cancel,
            Look: lambda msg, ctx: self._looks.begin(msg, self._flights.shut(ctx), ctx),
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
            if isinstance(command, CreateOrder | ReplaceOrder):
                self._orders.refuse(command, "RESTARTING", ctx)
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
        elif msg.name == "silence":
            self._silence_ends(msg.number, ctx)

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
                self.state.auth, self.state.auth_until_ns, self.state.deaf = "", 0, 0
            if Phase.LIVE in (move.source, move.target) or move.target is not Phase.SUBSCRIBING:
                self._announce(move.reason, ctx)

    def _announce(self, reason: str, ctx: Context) -> None:
        """Say how the account stands; a refused connection (418 among others) is a silence as well.

        A refused key is told while it is news: later words are not to undo that a human let it go.
        """
        state, connection = self.state, self.state.connection
        until_ns, shut = state.shut_until_ns, state.shut_reason
        if connection.phase is Phase.BANNED and connection.retry_ns > until_ns:
            until_ns, shut = connection.retry_ns, "BAN"
        connected = connection.phase is Phase.LIVE
        auth = state.auth if state.auth_until_ns > ctx.now_ns else ""
        told = AccountState(self.wiring.account, connected, reason, auth, until_ns, shut)
        self._tell_all(ctx, told)

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
            self._orders.lost(flight, reason, ctx)

    def _not_written(self, msg: NotWritten, ctx: Context) -> None:
        """Take the proof that a request never left, also for a generation that ended meanwhile."""
        flight = self._flights.land(msg.req, ctx)
        if flight is None:
            self._turned(self._connection.not_written(msg, ctx), ctx)
        elif flight.op == "query":
            self._looks.failed(flight, f"NOT_SENT: {msg.reason}", ctx)
        else:
            self._orders.not_written(flight, msg.reason, ctx)

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
        self._obey(flight, found, msg, ctx)
        if req is not None and req in state.connection.acks:
            error = None if found.verdict is Verdict.DONE else found.why
            self._turned(self._connection.acknowledged(req, ctx, error), ctx)
        elif flight is None:
            state.counters.strays += 1
        else:
            state.counters.late_answers += flight.late
            if flight.op == "query":
                self._looks.answered(flight, found, bytes(frame.result), ctx)
            else:
                self._orders.answered(flight, found, frame, ctx)

    def _obey(self, flight: Flight | None, found: Outcome, msg: Received, ctx: Context) -> None:
        """Keep silent when the venue asks for it; note whether it takes our key."""
        if flight is not None and flight.op != "query":
            self._heed_key(found, ctx)
        elif found.reason == "AUTH":
            self._key_refused(found, ctx)
        if found.shut_ns:
            self._keep_silent(found, msg.retry_after_s, ctx)

    def _heed_key(self, found: Outcome, ctx: Context) -> None:
        """Note what an answer about an order says of our key: one that may only read passes queries."""
        state = self.state
        if found.reason == "AUTH":
            self._key_refused(found, ctx)
        elif state.auth and found.verdict in (Verdict.DONE, Verdict.NOT_FOUND):
            state.auth, state.auth_until_ns = "", 0
            self._announce("the venue takes our key", ctx)

    def _key_refused(self, found: Outcome, ctx: Context) -> None:
        state = self.state
        known = state.auth_until_ns > ctx.now_ns
        state.auth, state.auth_until_ns = found.why, ctx.now_ns + AUTH_NS
        # Each time: since the last one a human may have told the OMS to go on.
        self._announce(found.why, ctx)
        if not known:
            ctx.log("error", "account_refused", reason=found.why)

    def _keep_silent(self, found: Outcome, retry_after_s: float | None, ctx: Context) -> None:
        state, now_ns = self.state, ctx.now_ns
        wait_ns = found.shut_ns
        # A header is foreign text: also `nan` and `inf` are numbers.
        if retry_after_s is not None and retry_after_s >= 0:
            wait_ns = int(min(retry_after_s, SHUT_MAX_NS / SECOND) * 1000) * MS
        elif found.shut_until_ns is not None:
            wait_ns = max(found.shut_until_ns - now_ns, SECOND)
        until_ns = now_ns + min(wait_ns, SHUT_MAX_NS)
        state.counters.rate_limits += 1
        ctx.log("warning", "venue_asks_for_silence", until_ns=until_ns, reason=found.why)
        if found.reason == "BAN" or state.shut_until_ns <= now_ns:
            state.shut_reason = "BAN" if found.reason == "BAN" else "RATE_LIMIT"
        if until_ns > state.shut_until_ns:
            state.shut_until_ns = until_ns
            ctx.after(until_ns - now_ns, Timer("silence", number=until_ns))
        self._announce(found.why, ctx)

    def _silence_ends(self, until_ns: int, ctx: Context) -> None:
        """Say that we may speak again, unless the silence was prolonged meanwhile."""
        if until_ns == self.state.shut_until_ns:
            self.state.shut_until_ns, self.state.shut_reason = 0, ""
            self._announce("silence is over", ctx)

    def _event(self, event: Event, ctx: Context) -> None:
        if isinstance(event, StreamEnded):
            self._turned(self._connection.fail(ctx, f"user stream ended: {event.reason}"), ctx)
        elif isinstance(event, Unmapped):
            self.state.counters.unmapped += 1
        elif isinstance(event, Balances):
            self._tell_all(ctx, event)
        else:
            if isinstance(event, ExecutionReport):
                remember_owner(self.state, event)
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
