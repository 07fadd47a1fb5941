"""One child order: the FIX transition table as data, and how the venue's words merge into it.

Beside the status stand `in_doubt` (a request of ours without known outcome) and `sealed` (nothing
more is expected). Quantities are cumulative and merge by maximum: words may come twice, late or in
any order. Only the venue's word ends an order; what it could not have said changes nothing.
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, StrEnum
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct, field

from tradefan.messages.orders import TERMINAL, Doubt, OrderStatus, OrderType, TimeInForce
from tradefan.messages.records import ExternalOrder, Intent, Report
from tradefan.units import (
    EXTERNAL,
    ZERO,
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    Side,
)


class Event(StrEnum):
    """What else than a venue's report may happen to an order."""

    FILL = "FILL"
    """A fill was booked and a rest is left."""
    FULL = "FULL"
    """A fill was booked and nothing is left."""
    CANCEL = "CANCEL"
    """We asked for its end, again perhaps."""
    CANCEL_REJECTED = "CANCEL_REJECTED"
    NOT_SENT = "NOT_SENT"
    """Proof that the create never left us."""
    NOT_PLACED = "NOT_PLACED"
    """Two looks have proved that the create in doubt never arrived (R4)."""
    ADOPTED = "ADOPTED"
    """The venue has it although by all we knew it does not exist, or has ended (R5)."""
    REPLACE = "REPLACE"
    """We asked for its end and another order in one request."""


class Move(Enum):
    """A cell of the table that names no status."""

    SAME = "=="
    """Legal: an older, repeated or weaker word; quantities still merge."""
    BACK = "<<"
    """Legal: the request, or the end, is off; the status follows from the quantities again."""
    ILLEGAL = "!!"
    """Changes nothing, is counted, and the venue is asked."""


Cell: TypeAlias = OrderStatus | Move
Column: TypeAlias = OrderStatus | Event

_CODES: Final[dict[str, Cell]] = {
    "PN": OrderStatus.PENDING_NEW,
    "NW": OrderStatus.NEW,
    "PF": OrderStatus.PARTIALLY_FILLED,
    "FI": OrderStatus.FILLED,
    "PC": OrderStatus.PENDING_CANCEL,
    "CX": OrderStatus.CANCELED,
    "PR": OrderStatus.PENDING_REPLACE,
    "RJ": OrderStatus.REJECTED,
    "EX": OrderStatus.EXPIRED,
    "DD": OrderStatus.DONE_FOR_DAY,
    "SU": OrderStatus.SUSPENDED,
    "==": Move.SAME,
    "<<": Move.BACK,
    "!!": Move.ILLEGAL,
}
COLUMNS: Final[tuple[Column, ...]] = (*OrderStatus, *Event)
"""The venue's reports in the order of `OrderStatus`, then the events."""

# Rows are what we hold, columns what comes. The columns are those of `COLUMNS`:
# PN NW PF FI PC CX PR RJ EX DD SU UNKNOWN  FILL FULL CANCEL REJ NSENT NPLACED ADOPT REPLACE
_GRID: Final[dict[OrderStatus, str]] = {
    # A fill may overtake the acknowledgement, and so may any later word. Only here, and where we
    # asked for its end meanwhile, can proof say that the order never was.
    OrderStatus.PENDING_NEW: "== NW PF FI PC CX PR RJ EX DD SU !!  PF  FI  PC  ==  EX  EX  !!  !!",
    # What a gateway accepted its engine may reject a moment later (FIX D1), so NEW to REJECTED is legal.
    OrderStatus.NEW: "== == PF FI PC CX PR RJ EX DD SU !!  PF  FI  PC  ==  !!  !!  !!  PR",
    # NEW after a part was filled is an acknowledgement that a fill overtook; what traded cannot be rejected.
    OrderStatus.PARTIALLY_FILLED: "== == == FI PC CX PR !! EX DD SU !!  ==  FI  PC  ==  !!  !!  !!  PR",
    # Filled takes precedence (FIX D11): older words say nothing new, SUSPENDED and DONE_FOR_DAY too, which
    # are words of a live order that may come late; another end contradicts it.
    # A rejected cancel after it is "too late to cancel" (FIX B.1.c).
    # No word takes an end back; a complete look that was asked late enough does (ADOPTED, R5).
    OrderStatus.FILLED: "== == == == == !! == !! !! == == !!  ==  ==  !!  ==  !!  !!  <<  !!",
    # Our request out takes precedence over live words (FIX D4); a fill of all or the create's own
    # rejection still ends it, and a rejected cancel takes it back to what the quantities say.
    OrderStatus.PENDING_CANCEL: "== == == FI == CX == RJ EX == == !!  ==  FI  ==  <<  EX  EX  !!  !!",
    # A fill may overtake the cancel on its way to us: quantities merge, and FILLED wins when all traded.
    # Two roads (stream, query) may call the same end CANCELED and EXPIRED.
    OrderStatus.CANCELED: "== == == FI == == == !! == == == !!  ==  FI  !!  ==  !!  !!  <<  !!",
    # Decided by the next live word (FIX C.1.b, D11, 15) or by a rejection, which takes it back (16).
    OrderStatus.PENDING_REPLACE: "== NW PF FI PC CX == !! EX DD SU !!  ==  FI  PC  <<  !!  !!  !!  ==",
    # A rejected order never lived: every word of life contradicts it, and so does a fill, which is
    # booked all the same because the money moved.
    OrderStatus.REJECTED: "== !! !! !! !! !! !! == !! !! !! !!  !!  !!  !!  ==  !!  !!  <<  !!",
    # As CANCELED. It is also how an order ends that never was (NOT_SENT, NOT_PLACED): the venue's word
    # for such a one is adopted first (R5).
    OrderStatus.EXPIRED: "== == == FI == == == !! == == == !!  ==  FI  !!  ==  !!  !!  <<  !!",
    # Not terminal: a GTC order is restated the next day and goes on (FIX D27).
    OrderStatus.DONE_FOR_DAY: "== NW PF FI PC CX PR !! EX == SU !!  ==  FI  PC  ==  !!  !!  !!  PR",
    # Accepted but not on the book: its trigger may reject it for want of funds.
    OrderStatus.SUSPENDED: "== NW PF FI PC CX PR RJ EX DD == !!  PF  FI  PC  ==  !!  !!  !!  PR",
}
# The UNKNOWN column is a venue's word that we do not map: counted and asked, never an exception (OR-13).

TABLE: Final[dict[OrderStatus, dict[Column, Cell]]] = {
    status: {column: _CODES[code] for column, code in zip(COLUMNS, row.split(), strict=True)}
    for status, row in _GRID.items()
}


REVISIONS_MAX = 100
"""Trades of one order that were taken back or changed, and are remembered; the newest."""
_OF_EXISTENCE: Final = (Doubt.CREATE, Doubt.REPLACE)
_OF_END: Final = (Doubt.CANCEL, Doubt.REPLACE)


class Revision(NamedTuple):
    """By how much a trade was lowered; the venue's reports from before `until_ns` count that too much.

    Zero where nobody knows: the trade came as the venue had changed it already.
    """

    until_ns: int
    qty: Decimal


class Order(Struct):
    """A child as we know it. `venue_cum` is the venue's word, `filled` the sum of booked fills.

    `venue_cum` is what the report of `venue_cum_ns` counts, less what was taken back since. The order
    has ended by the venue's own word where `venue_ended`, else by our sum of its fills.

    `never_was` while there is proof that it does not exist, `orphan` where its INTENT names a parent
    that nobody knows.
    """

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    parent_id: ParentId
    client_order_id: ClientOrderId
    epoch: int
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    order_qty: Decimal
    limit_price: Decimal | None
    reserve_px: Decimal
    reserve_asset: Asset
    reserve_per_unit: Decimal
    not_after_ns: int
    created_ns: int
    updated_ns: int
    status: OrderStatus = OrderStatus.PENDING_NEW
    in_doubt: Doubt | None = None
    in_doubt_since_ns: int | None = None
    sealed: bool = False
    reason: str = ""
    venue_order_id: str | None = None
    acknowledged: bool = False
    never_was: bool = False
    orphan: bool = False
    venue_cum: Decimal = ZERO
    filled: Decimal = ZERO
    value: Decimal = ZERO
    cancel_ns: int | None = None
    cancels: int = 0
    ended_ns: int | None = None
    reduce_only: bool = False
    external: bool = False
    replaces: ClientOrderId | None = None
    replaced_by: ClientOrderId | None = None
    revisions: list[Revision] = field(default_factory=list)
    venue_cum_ns: int = 0
    venue_ended: bool = False
    clip: int = -1
    step: int = 0
    filled_ns: int = 0

    @property
    def cum_qty(self) -> Decimal:
        """What has traded: the larger of the booked fills and the venue's cumulative quantity."""
        return max(self.filled, self.venue_cum)

    @property
    def leaves_qty(self) -> Decimal:
        """What may still trade while the order is live."""
        return max(self.order_qty - self.cum_qty, ZERO)

    @property
    def live(self) -> bool:
        """Whether it counts as exposure: not terminal, or in doubt."""
        return self.status not in TERMINAL or self.in_doubt is not None

    @property
    def may_not_exist(self) -> bool:
        """Whether nobody has ever said that the venue has it, and its request has no outcome."""
        return self.in_doubt in _OF_EXISTENCE and not self.acknowledged

    @property
    def avg_px(self) -> Decimal | None:
        """The mean price of the booked fills."""
        return self.value / self.filled if self.filled else None


def new_order(intent: Intent, epoch: int) -> Order:
    """Return the order that an INTENT begins."""
    return Order(
        account=intent.account,
        instrument=intent.instrument,
        owner=intent.owner,
        parent_id=intent.parent_id,
        client_order_id=intent.client_order_id,
        epoch=epoch,
        side=intent.side,
        order_type=intent.order_type,
        time_in_force=intent.time_in_force,
        order_qty=intent.order_qty,
        limit_price=intent.limit_price,
        reserve_px=intent.reserve_px,
        reserve_asset=intent.reserve_asset,
        reserve_per_unit=intent.reserve_per_unit,
        not_after_ns=intent.not_after_ns,
        created_ns=intent.at_ns,
        updated_ns=intent.at_ns,
        reduce_only=intent.reduce_only,
        replaces=intent.replaces,
        clip=intent.clip,
        step=intent.step,
    )


def new_external(record: ExternalOrder, epoch: int) -> Order:
    """Return an order at the venue that is not ours; the venue's word is all there is of it."""
    return Order(
        account=record.account,
        instrument=record.instrument,
        owner=EXTERNAL,
        parent_id=ParentId(""),
        client_order_id=record.client_order_id,
        epoch=epoch,
        side=record.side,
        order_type="limit",
        time_in_force="GTC",
        order_qty=record.order_qty,
        limit_price=record.limit_price,
        reserve_px=record.reserve_px,
        reserve_asset=record.reserve_asset,
        reserve_per_unit=record.reserve_per_unit,
        not_after_ns=record.at_ns,
        created_ns=record.at_ns,
        updated_ns=record.at_ns,
        status=OrderStatus.PARTIALLY_FILLED if record.cum_qty else OrderStatus.NEW,
        venue_order_id=record.venue_order_id,
        acknowledged=True,
        orphan=True,
        external=True,
        venue_cum=record.cum_qty,
        venue_cum_ns=record.at_ns,
    )


def judge(order: Order, status: OrderStatus, cum_qty: Decimal) -> Cell:
    """Return the cell of a report; what traded and was rejected at once contradicts itself."""
    if cum_qty < 0 or (status is OrderStatus.REJECTED and max(cum_qty, order.cum_qty) > 0):
        return Move.ILLEGAL
    return TABLE[order.status][status]


def counted(order: Order, cum_qty: Decimal, event_ns: int) -> Decimal:
    """Return what a reported quantity counts now: less what was taken back since its instant.

    From before a loss that nobody knows it raises nothing, once the venue has spoken since.
    """
    later = [one for one in order.revisions if event_ns < one.until_ns]
    now = cum_qty - sum((one.qty for one in later), ZERO)
    settled = any(not one.qty and one.until_ns <= order.venue_cum_ns for one in later)
    return min(now, order.venue_cum) if settled else now


def settles(order: Order, event_ns: int) -> bool:
    """Say whether a report is the first from behind a loss that nobody knows: what it counts is the truth."""
    return any(not one.qty and order.venue_cum_ns < one.until_ns <= event_ns for one in order.revisions)


def tells_news(
    order: Order, status: OrderStatus, cum_qty: Decimal, order_qty: Decimal, event_ns: int
) -> bool:
    """Say whether a legal report would change anything, so that repeated words are not journaled.

    `cum_qty` is what it counts now.
    """
    cell = judge(order, status, cum_qty)
    return (
        cell not in (Move.SAME, order.status)
        or cum_qty > order.cum_qty
        or settles(order, event_ns)
        or order.may_not_exist
        or not order.acknowledged
        or order_qty != order.order_qty
    )


def merge_report(order: Order, report: Report) -> bool:
    """Merge the venue's word; False where the table forbids it, and then nothing has changed."""
    cell = judge(order, report.status, report.cum_qty)
    if cell is Move.ILLEGAL:
        return False
    word = (counted(order, report.cum_qty, report.event_ns), report.event_ns)
    known = (order.venue_cum, order.venue_cum_ns)
    order.venue_cum, order.venue_cum_ns = word if settles(order, report.event_ns) else max(known, word)
    order.venue_ended = order.venue_ended or report.status in TERMINAL
    if report.order_qty is not None:
        order.order_qty = report.order_qty
    order.venue_order_id = report.venue_order_id or order.venue_order_id
    _acknowledge(order)
    _enter(order, cell, report.reason, report.at_ns)
    return True


def merge_fill(order: Order, qty: Decimal, price: Decimal, at_ns: int) -> bool:
    """Add a fill that was not known before; False where the status forbids it.

    The quantity counts in any case: a fill is the venue's money that moved.
    """
    order.filled += qty
    order.value += qty * price
    _acknowledge(order)
    return happen(order, Event.FULL if not order.leaves_qty else Event.FILL, "", at_ns)


def take_back(order: Order, qty: Decimal, price: Decimal, at_ns: int) -> None:
    """Take a booked quantity back; what the venue counts stays."""
    order.filled -= qty
    order.value -= qty * price
    order.updated_ns = at_ns
    order.sealed = False


def revise(order: Order, revision: Revision, at_ns: int) -> None:
    """Let the venue's count follow a trade that the venue took back or changed; nothing else lowers it.

    Where our own sum alone says that an order has ended it may still be open there: it lives until
    the venue speaks. One that the venue has ended stays ended.
    """
    order.revisions = [*order.revisions, revision][-REVISIONS_MAX:]
    if order.venue_cum_ns < revision.until_ns:
        order.venue_cum = max(order.venue_cum - revision.qty, ZERO)
    if order.status is OrderStatus.FILLED and order.leaves_qty and not order.venue_ended:
        order.status, order.ended_ns = _by_quantity(order), None
    order.updated_ns = at_ns
    order.sealed = False


def happen(order: Order, event: Event, reason: str, at_ns: int) -> bool:
    """Let an event happen; False where the table forbids it, and then nothing has changed."""
    cell = TABLE[order.status][event]
    if cell is Move.ILLEGAL:
        return False
    if event is Event.CANCEL:
        order.cancel_ns = at_ns if order.cancel_ns is None else order.cancel_ns
        order.cancels += 1
    if event is Event.CANCEL_REJECTED and order.in_doubt in _OF_END and order.acknowledged:
        _end_doubt(order)
    if event in (Event.NOT_SENT, Event.NOT_PLACED):
        _end_doubt(order)
    order.never_was = event in (Event.NOT_SENT, Event.NOT_PLACED) or (
        order.never_was and event is not Event.ADOPTED
    )
    _enter(order, cell, reason, at_ns)
    return True


def begin_doubt(order: Order, doubt: Doubt, reason: str, at_ns: int) -> bool:
    """Mark a request as without known outcome; False where its outcome is known already."""
    if not may_doubt(order, doubt):
        return False
    order.in_doubt, order.in_doubt_since_ns = doubt, at_ns
    order.reason, order.updated_ns = reason, at_ns
    return True


def may_doubt(order: Order, doubt: Doubt) -> bool:
    """Say whether a request of this order can be in doubt: its outcome is not known already.

    While nobody knows whether the order exists that is the question, and a cancel only repeats (R6).
    """
    if order.status in TERMINAL:
        return False
    if order.acknowledged:
        return doubt is not Doubt.CREATE and order.in_doubt is None
    return doubt is not Doubt.CANCEL and order.in_doubt not in _OF_EXISTENCE


def _acknowledge(order: Order) -> None:
    """Take note that the venue has it, or had it: whether it exists is in doubt no more."""
    if order.may_not_exist:
        _end_doubt(order)
    order.acknowledged = True


def _enter(order: Order, cell: Cell, reason: str, at_ns: int) -> None:
    if cell is Move.BACK:
        order.status = _by_quantity(order)
    elif isinstance(cell, OrderStatus):
        order.status = cell
    order.reason = reason or order.reason
    order.updated_ns = at_ns
    order.sealed = False
    if order.status not in TERMINAL:
        order.ended_ns = None
    elif order.ended_ns is None:
        order.ended_ns = at_ns
        _end_doubt(order)


def _by_quantity(order: Order) -> OrderStatus:
    """Return the status of an order without a request under way."""
    if not order.leaves_qty:
        return OrderStatus.FILLED
    if order.cum_qty:
        return OrderStatus.PARTIALLY_FILLED
    return OrderStatus.NEW if order.acknowledged else OrderStatus.PENDING_NEW


def _end_doubt(order: Order) -> None:
    order.in_doubt = None
    order.in_doubt_since_ns = None
