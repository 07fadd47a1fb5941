"""A tiny stand-in for the OMS: it answers as the OMS does, and may fill at the next bar's open.

It knows positions, targets with their band, whole fills, and the State that its owner journaled.
Exposure, risk, partial fills and doubt are the real OMS's business and are tested there.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.market import Bar
from tradefan.messages.orders import (
    AskPositions,
    CancelAll,
    CancelParent,
    FillUpdate,
    OrderStatus,
    OwnerMemory,
    OwnerTurn,
    ParentOrder,
    ParentSnapshot,
    ParentUpdate,
    Phase,
    PositionsSent,
    PositionUpdate,
    Refusal,
    SetTarget,
    SubmitOrder,
)
from tradefan.units import (
    ZERO,
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    TradeId,
    exact,
    sign,
)

GENERATION = 1


class Holding(Struct):
    """What the owner holds of one instrument."""

    qty: Decimal = ZERO
    avg_px: Decimal | None = None
    realised: Decimal = ZERO


class Broker:
    """Takes the commands of one owner; `take` and `bar` return what it says to that."""

    def __init__(self, account: AccountId, owner: OwnerId, *, fill: bool, refuse: str | None) -> None:
        """Begin flat; with `refuse`, every wish is refused with that code."""
        self._account = account
        self._owner = owner
        self._fill = fill
        self._refuse = refuse
        self._count = 0
        self.turn = 0
        self.memory: bytes | None = None
        self.holdings: dict[InstrumentId, Holding] = {}
        self.working: dict[ParentId, ParentOrder] = {}

    def take(self, msg: Message, now_ns: int) -> list[Message]:
        """Answer one message of the trader."""
        if isinstance(msg, AskPositions):
            return self._tell_all(msg, now_ns)
        if isinstance(msg, OwnerTurn):
            return self._turn(msg, now_ns)
        if isinstance(msg, CancelParent | CancelAll):
            return self._cancel(msg, now_ns)
        if not isinstance(msg, SetTarget | SubmitOrder):
            raise Defect(f"the stand-in does not take {type(msg).__name__}")
        if self._refuse is not None:
            return [self._refusal(msg, self._refuse, now_ns)]
        signed = self._difference(msg) if isinstance(msg, SetTarget) else sign(msg.side) * msg.order_qty
        return [self._accept(msg, signed, now_ns)] if signed else []

    def _tell_all(self, msg: AskPositions, now_ns: int) -> list[Message]:
        """Answer with all that the owner holds, works on and remembers."""
        told: list[Message] = [self._position(instrument, now_ns) for instrument in self.holdings]
        told.extend(
            ParentSnapshot(self._owner, _update(order, OrderStatus.NEW, order.created_ns))
            for order in self.working.values()
        )
        memory = OwnerMemory(self._owner, self.turn, self.memory)
        return [*told, memory, PositionsSent(self._owner, GENERATION, msg.asked)]

    def _turn(self, msg: OwnerTurn, now_ns: int) -> list[Message]:
        """Keep the state of a turn, and take its commands one after the other."""
        if msg.turn != self.turn + 1:
            raise Defect(f"turn {msg.turn} of {msg.owner} came after turn {self.turn}")
        self.turn = msg.turn
        self.memory = self.memory if msg.state is None else msg.state
        return [told for command in msg.commands for told in self.take(command, now_ns)]

    def bar(self, bar: Bar) -> list[Message]:
        """Fill what works on this instrument at the open of a bar that closed after it was wished."""
        if not self._fill:
            return []
        due = [order for order in self.working.values() if order.instrument == bar.instrument]
        told: list[Message] = []
        for order in due:
            if order.created_ns <= bar.open_ns:
                told.extend(self._filled(order, exact(bar.open), bar.close_ns))
        return told

    def _difference(self, msg: SetTarget) -> Decimal:
        """Return what is missing to a target, or zero inside its band."""
        held = self.holdings.get(msg.instrument, Holding()).qty
        mine = [order for order in self.working.values() if order.instrument == msg.instrument]
        missing = msg.target_qty - held - sum((sign(order.side) * order.order_qty for order in mine), ZERO)
        return ZERO if msg.target_qty and abs(missing) < msg.band * abs(msg.target_qty) else missing

    def _refusal(self, msg: SetTarget | SubmitOrder, code: str, now_ns: int) -> Refusal:
        return Refusal(
            account=self._account,
            instrument=msg.instrument,
            owner=self._owner,
            ref=msg.ref,
            code=code,
            text="the scenario refuses everything",
            limit=None,
            used=None,
            would_pass=None,
            at_ns=now_ns,
        )

    def _accept(self, msg: SetTarget | SubmitOrder, signed: Decimal, now_ns: int) -> ParentUpdate:
        self._count += 1
        order = ParentOrder(
            parent_id=ParentId(f"p{self._count}"),
            account=self._account,
            instrument=msg.instrument,
            owner=self._owner,
            ref=msg.ref,
            side="buy" if signed > 0 else "sell",
            order_qty=abs(signed),
            algo=msg.algo,
            settings=msg.settings,
            limit_price=msg.limit_price,
            intent_id=msg.ref,
            reason=msg.reason,
            reduce_only=False,
            position_side="net",
            protective=False,
            created_ns=now_ns,
        )
        self.working[order.parent_id] = order
        return _update(order, OrderStatus.NEW, now_ns)

    def _cancel(self, msg: CancelParent | CancelAll, now_ns: int) -> list[Message]:
        gone = [order for order in self.working.values() if _concerns(msg, order)]
        for order in gone:
            del self.working[order.parent_id]
        return [_update(order, OrderStatus.CANCELED, now_ns) for order in gone]

    def _filled(self, order: ParentOrder, price: Decimal, now_ns: int) -> list[Message]:
        del self.working[order.parent_id]
        realised = self._book(order.instrument, sign(order.side) * order.order_qty, price)
        fill = FillUpdate(
            account=self._account,
            instrument=order.instrument,
            owner=self._owner,
            parent_id=order.parent_id,
            client_order_id=ClientOrderId(f"c-{order.parent_id}"),
            trade_id=TradeId(f"x-{order.parent_id}"),
            side=order.side,
            qty=order.order_qty,
            price=price,
            fee=ZERO,
            fee_asset=Asset("USDT"),
            liquidity="taker",
            event_ns=now_ns,
            lsn=self._count,
            realised=realised,
        )
        done = _update(order, OrderStatus.FILLED, now_ns, price)
        return [fill, self._position(order.instrument, now_ns), done]

    def _book(self, instrument: InstrumentId, signed: Decimal, price: Decimal) -> Decimal:
        """Book a fill at average cost and return what it realised."""
        held = self.holdings.setdefault(instrument, Holding())
        before, entry = held.qty, held.avg_px or price
        held.qty += signed
        closed = min(abs(before), abs(signed)) * (1 if before > 0 else -1)
        realised = closed * (price - entry) if before * signed < 0 else ZERO
        held.realised += realised
        if not held.qty:
            held.avg_px = None
        elif before * held.qty <= 0:
            held.avg_px = price
        elif abs(held.qty) > abs(before):
            held.avg_px = (before * entry + signed * price) / held.qty
        return realised

    def _position(self, instrument: InstrumentId, now_ns: int) -> PositionUpdate:
        held = self.holdings[instrument]
        return PositionUpdate(
            account=self._account,
            owner=self._owner,
            instrument=instrument,
            qty=held.qty,
            avg_px=held.avg_px,
            realised=held.realised,
            fees={},
            working_qty=ZERO,
            in_doubt_qty=ZERO,
            updated_ns=now_ns,
        )


def _concerns(msg: CancelParent | CancelAll, order: ParentOrder) -> bool:
    if isinstance(msg, CancelParent):
        return msg.parent_id == order.parent_id
    return msg.instrument in {None, order.instrument}


def _update(
    order: ParentOrder, status: OrderStatus, now_ns: int, price: Decimal | None = None
) -> ParentUpdate:
    phase = Phase.WORKING if status is OrderStatus.NEW else Phase.DONE
    cum_qty = ZERO if price is None else order.order_qty
    return ParentUpdate(order, status, phase, "", cum_qty, ZERO, ZERO, price, 1, now_ns)
