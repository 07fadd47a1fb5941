"""A gateway's requests in flight: written once, watched, and each with exactly one end."""

from __future__ import annotations

from collections.abc import Callable

from tradefan.actors.gateway_state import LATE_MAX, Flight, GatewayState, What
from tradefan.core.connection_state import Phase
from tradefan.core.scopes import scopes
from tradefan.messages.control import Timer
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.wire import Text, Write
from tradefan.runtime.actor import Context
from tradefan.units import AccountId, ClientOrderId, InstrumentId, Ref


class Flights:
    """Writes requests of one account; `lost` hears of each that gets no answer."""

    def __init__(
        self,
        account: AccountId,
        link: Ref,
        conn: str,
        state: GatewayState,
        lost: Callable[[Flight, str, Context], None],
    ) -> None:
        """Bind to the gateway's State."""
        self._account = account
        self._link = link
        self._conn = conn
        self._state = state
        self._lost = lost

    def shut(self, ctx: Context) -> str | None:
        """Return why nothing at all may be written now."""
        state = self._state
        if state.shut_until_ns > ctx.now_ns:
            return state.shut_reason
        if state.connection.phase not in (Phase.SUBSCRIBING, Phase.LIVE):
            return "NOT_CONNECTED"
        return None

    def placing(self, client_order_id: str) -> bool:
        """Say whether a create or replacement with this new order was written and has no end yet."""
        flights = self._state.flights.values()
        return any(flight.order is not None and flight.subject == client_order_id for flight in flights)

    def write(
        self,
        ctx: Context,
        what: What,
        body: Callable[[int], Text],
        instrument: InstrumentId | None,
        subject: str,
        *,
        look_id: int | None = None,
        order: CreateOrder | None = None,
        old_id: ClientOrderId | None = None,
    ) -> str | None:
        """Write one request; return why it was not written, which proves that it never left.

        `order` is what a create or a replacement would place: its deadline and scopes go with it.
        """
        shut = self.shut(ctx)
        if shut is not None:
            return shut
        req, gen = ctx.next_id(), self._state.connection.gen
        flight = Flight(req, what, gen, instrument, subject, 0, look_id, order, old_id)
        not_after_ns = order.not_after_ns if order is not None else None
        latched = scopes(order.account, order.instrument, order.owner) if order is not None else ()
        write = Write(self._conn, gen, req, flight.op, not_after_ns, body(req), scopes=latched)
        if not ctx.send(self._link, write):
            return "QUEUE_FULL"
        timeout_ns: int = ctx.config.accounts[self._account].request_timeout
        flight.timer_id = ctx.after(timeout_ns, Timer("request", subject, req))
        self._state.flights[req] = flight
        return None

    def land(self, req: int, ctx: Context) -> Flight | None:
        """Return the request that got its end, however late."""
        flight = self._state.flights.pop(req, None)
        if flight is not None:
            ctx.cancel(flight.timer_id)
        return flight

    def timed_out(self, req: int, ctx: Context) -> bool:
        """Give up waiting; say whether it was still waited for."""
        flight = self._state.flights.get(req)
        if flight is None or flight.late:
            return False
        self._lose(flight, "TIMEOUT", ctx)
        return True

    def disconnected(self, gen: int, ctx: Context) -> None:
        """Lose what was written to any generation but this one."""
        for flight in [f for f in self._state.flights.values() if f.gen != gen and not f.late]:
            self._lose(flight, "CLOSED", ctx)

    def _lose(self, flight: Flight, reason: str, ctx: Context) -> None:
        """A request about an order is remembered, because a late answer or a proof still counts."""
        ctx.cancel(flight.timer_id)
        flights = self._state.flights
        if flight.op == "query":
            del flights[flight.req]
        else:
            flight.late = True
            late = [req for req, known in flights.items() if known.late]
            for req in late[: max(0, len(late) - LATE_MAX)]:
                del flights[req]
        self._lost(flight, reason, ctx)
