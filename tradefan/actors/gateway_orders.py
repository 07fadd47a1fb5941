"""A gateway's creates, replacements and cancels: each written at most once, each with its end.

A replacement is one request with two ends. Whatever is told of it is told of both orders, of the old
one first: a definite answer of each leg, or `Doubt.REPLACE` for both, because a venue that did not
say what it did may have done one half (OR-23). Nothing here concludes from silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tradefan.actors.gateway_flights import Flights
from tradefan.actors.gateway_state import TOMBSTONES_MAX, Flight, GatewayState
from tradefan.core.connection_state import Phase
from tradefan.core.ids import wire_id
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.gateway import (
    CancelOrder,
    CancelRejected,
    CreateOrder,
    ExecutionReport,
    OrderInDoubt,
    OrderNotSent,
    ReplaceOrder,
)
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.runtime.actor import Context
from tradefan.units import SECOND, ZERO, ClientOrderId
from tradefan.venues.binance_account_wire import Frame
from tradefan.venues.binance_legs import Leg, read_legs
from tradefan.venues.binance_orders import Event, OrderCodec
from tradefan.venues.binance_outcome import LEGS, Outcome, Verdict
from tradefan.venues.feed_events import BadFrame

TOMBSTONE_NS = 60 * SECOND


class Orders:
    """The order requests of one gateway; what they lead to is told by `tell` and `event`.

    `heed` hears the outcome of each leg, as the gateway itself hears that of each answer.
    """

    def __init__(
        self,
        codec: OrderCodec,
        flights: Flights,
        state: GatewayState,
        tell: Callable[[Context, Message], None],
        event: Callable[[Event, Context], None],
        heed: Callable[[Outcome, Context], None],
    ) -> None:
        """Bind to what the gateway lends."""
        self._codec = codec
        self._flights = flights
        self._state = state
        self._tell = tell
        self._event = event
        self._heed = heed

    # --- wishes of the OMS ----------------------------------------------------------------------------

    def create(self, order: CreateOrder, ctx: Context) -> None:
        """Write a create once, or prove that it was not written."""
        if self._is_new(order.client_order_id, ctx):
            reason = self._why_not(order, ctx) or self._write_create(order, ctx)
            if reason is not None:
                self.refuse(order, reason, ctx)

    def replace(self, order: ReplaceOrder, ctx: Context) -> None:
        """Write a replacement once, or prove that it was not written."""
        if self._is_new(order.create.client_order_id, ctx):
            reason = self._why_not(order.create, ctx) or self._write_replace(order, ctx)
            if reason is not None:
                self.refuse(order, reason, ctx)

    def cancel(self, order: CancelOrder, ctx: Context) -> None:
        """Write a cancel at once, and see to it that a create behind it is not written any more."""
        name, codec, now_ns = order.client_order_id, self._codec, ctx.now_ns
        wired = msgspec.structs.replace(order, client_order_id=wire_id(name))
        self._bury(name, now_ns)
        try:
            reason = self._flights.write(
                ctx, "cancel", lambda req: codec.cancel(req, wired, now_ns), order.instrument, name
            )
        except Refused as error:
            reason = error.code
        if reason is None:
            self._state.counters.cancels += 1
        else:
            self._not_canceled(name, f"NOT_SENT: {reason}", ctx)

    def refuse(self, command: CreateOrder | ReplaceOrder, reason: str, ctx: Context) -> None:
        """Say that a create or a replacement never left; of a replacement the old order rests on."""
        if isinstance(command, ReplaceOrder):
            self._not_sent(command.create, command.old_id, reason, ctx)
        else:
            self._not_sent(command, None, reason, ctx)

    def _is_new(self, client_order_id: ClientOrderId, ctx: Context) -> bool:
        """Say whether this order is not under way already; no word about the first comes of a second."""
        if not self._flights.placing(client_order_id):
            return True
        self._state.counters.duplicates += 1
        ctx.log("error", "create_repeated", client_order_id=client_order_id)
        return False

    def _why_not(self, order: CreateOrder, ctx: Context) -> str | None:
        state = self._state
        if state.tombstones.get(order.client_order_id, 0) > ctx.now_ns:
            return "CANCELED_BEFORE_SENT"
        if ctx.now_ns > order.not_after_ns:
            return "EXPIRED"
        if state.auth_until_ns > ctx.now_ns:
            return "AUTH"
        if state.connection.phase is not Phase.LIVE:
            return "NOT_CONNECTED"
        return None

    def _write_create(self, order: CreateOrder, ctx: Context) -> str | None:
        codec, now_ns, name = self._codec, ctx.now_ns, order.client_order_id
        try:
            reason = self._flights.write(
                ctx,
                "create",
                lambda req: codec.create(req, order, now_ns),
                order.instrument,
                name,
                order=order,
            )
        except Refused as error:
            return error.code
        self._state.counters.creates += reason is None
        return reason

    def _write_replace(self, order: ReplaceOrder, ctx: Context) -> str | None:
        codec, now_ns, create = self._codec, ctx.now_ns, order.create
        try:
            reason = self._flights.write(
                ctx,
                "replace",
                lambda req: codec.replace(req, order, now_ns),
                create.instrument,
                create.client_order_id,
                order=create,
                old_id=order.old_id,
            )
        except Refused as error:
            return error.code
        self._state.counters.replaces += reason is None
        return reason

    def _bury(self, client_order_id: ClientOrderId, now_ns: int) -> None:
        """Set a tombstone; the oldest leave first."""
        tombstones = self._state.tombstones
        tombstones.pop(client_order_id, None)
        tombstones[client_order_id] = now_ns + TOMBSTONE_NS
        while tombstones:
            oldest = next(iter(tombstones))
            if tombstones[oldest] > now_ns and len(tombstones) <= TOMBSTONES_MAX:
                return
            del tombstones[oldest]

    # --- ends -----------------------------------------------------------------------------------------

    def lost(self, flight: Flight, reason: str, ctx: Context) -> None:
        """Take note that a request gets no answer, or one that proves nothing."""
        if flight.what == "replace":
            self._doubt(_old(flight), Doubt.REPLACE, reason, ctx)
            self._doubt(flight.subject, Doubt.REPLACE, reason, ctx)
        else:
            kind = Doubt.CREATE if flight.what == "create" else Doubt.CANCEL
            self._doubt(flight.subject, kind, reason, ctx)

    def not_written(self, flight: Flight, reason: str, ctx: Context) -> None:
        """Take the proof that a request never left."""
        if flight.order is not None:
            self._not_sent(flight.order, flight.old_id, reason, ctx)
        else:
            self._not_canceled(flight.subject, f"NOT_SENT: {reason}", ctx)

    def answered(self, flight: Flight, found: Outcome, frame: Frame, ctx: Context) -> None:
        """Take the venue's answer, however late."""
        try:
            if flight.what == "create":
                self._created(flight, found, bytes(frame.result), ctx)
            elif flight.what == "cancel":
                self._canceled(flight, found, bytes(frame.result), ctx)
            else:
                self._replaced(flight, found, frame, ctx)
        except BadFrame as error:
            self.lost(flight, f"UNREADABLE: {error}", ctx)

    def _created(self, flight: Flight, found: Outcome, result: bytes, ctx: Context) -> None:
        if found.verdict is Verdict.REJECTED:
            self._rejected(flight, found, ctx)
        elif found.verdict is not Verdict.DONE:
            self.lost(flight, found.why, ctx)
        else:
            events = self._codec.placed(result, ctx.now_ns)
            self._echoed(flight, flight.subject, Doubt.CREATE, events, ctx)

    def _canceled(self, flight: Flight, found: Outcome, result: bytes, ctx: Context) -> None:
        if found.verdict is Verdict.IN_DOUBT:
            self.lost(flight, found.why, ctx)
        elif found.verdict is not Verdict.DONE:
            # Information, not proof: an unknown order may have filled, or may not have arrived yet.
            self._not_canceled(flight.subject, found.why, ctx)
        else:
            event = self._codec.order(result, ctx.now_ns, "answer")
            self._echoed(flight, flight.subject, Doubt.CANCEL, (event,), ctx)

    def _replaced(self, flight: Flight, found: Outcome, frame: Frame, ctx: Context) -> None:
        if found.verdict is Verdict.REJECTED:
            # Refused as a whole, before either leg.
            self._not_canceled(_old(flight), found.why, ctx)
            self._rejected(flight, found, ctx)
        elif found.verdict is not Verdict.DONE and found.reason != LEGS:
            self.lost(flight, found.why, ctx)
        else:
            legs = read_legs(self._codec, found, bytes(frame.result), bytes(frame.error), ctx.now_ns)
            self._cancel_leg(flight, legs.cancel, ctx)
            self._create_leg(flight, legs.create, legs.cancel, ctx)

    def _cancel_leg(self, flight: Flight, leg: Leg, ctx: Context) -> None:
        old_id, found = _old(flight), leg.outcome
        self._heed(found, ctx)
        if found.verdict is Verdict.DONE:
            self._echoed(flight, old_id, Doubt.REPLACE, leg.events, ctx)
        elif found.verdict is Verdict.IN_DOUBT:
            self._doubt(old_id, Doubt.REPLACE, found.why, ctx)
        else:
            self._not_canceled(old_id, found.why, ctx)

    def _create_leg(self, flight: Flight, leg: Leg | None, cancel: Leg, ctx: Context) -> None:
        if leg is None:
            # Not attempted: it left us, and the venue's word is that it does not exist.
            refused = Outcome(Verdict.REJECTED, "CANCEL_FAILED", cancel.outcome.why)
            self._rejected(flight, refused, ctx)
            return
        self._heed(leg.outcome, ctx)
        if leg.outcome.verdict is Verdict.DONE:
            self._echoed(flight, flight.subject, Doubt.REPLACE, leg.events, ctx)
        elif leg.outcome.verdict is Verdict.REJECTED:
            self._rejected(flight, leg.outcome, ctx)
        else:
            self._doubt(flight.subject, Doubt.REPLACE, leg.outcome.why, ctx)

    # --- leaves ---------------------------------------------------------------------------------------

    def _echoed(self, flight: Flight, name: str, kind: Doubt, events: Sequence[Event], ctx: Context) -> None:
        """Tell what the venue says; when it speaks of another order, that proves nothing of ours."""
        reports = [event for event in events if isinstance(event, ExecutionReport)]
        heard = [(report.instrument, report.client_order_id) for report in reports]
        if heard != [(flight.instrument, wire_id(name))]:
            told = [report.client_order_id for report in reports]
            # Neither is it a stranger's order: the next look shows what the venue really has.
            self._doubt(name, kind, f"ECHO: sent {name}, answered {told}", ctx)
            return
        for event in events:
            self._event(event, ctx)

    def _rejected(self, flight: Flight, found: Outcome, ctx: Context) -> None:
        """Report a definite reject with the order's own data: the order does not exist."""
        order = flight.order
        assert order is not None, f"{flight.what} {flight.req} has no order"
        self._state.counters.rejected += 1
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

    def _not_sent(self, order: CreateOrder, old_id: ClientOrderId | None, reason: str, ctx: Context) -> None:
        if old_id is not None:
            self._not_canceled(old_id, f"NOT_SENT: {reason}", ctx)
        self._state.counters.not_sent += 1
        self._tell(ctx, OrderNotSent(order.account, order.client_order_id, reason))
        ctx.log("warning", "create_not_sent", client_order_id=order.client_order_id, reason=reason)

    def _not_canceled(self, name: str, reason: str, ctx: Context) -> None:
        self._tell(ctx, CancelRejected(self._codec.account, ClientOrderId(name), reason))

    def _doubt(self, name: str, kind: Doubt, reason: str, ctx: Context) -> None:
        self._state.counters.in_doubt += 1
        order_id = ClientOrderId(name)
        self._tell(ctx, OrderInDoubt(self._codec.account, order_id, kind, reason))
        ctx.log("warning", "order_in_doubt", client_order_id=order_id, doubt=kind.value, reason=reason)


def _old(flight: Flight) -> ClientOrderId:
    assert flight.old_id is not None, f"replacement {flight.req} replaces nothing"
    return flight.old_id
