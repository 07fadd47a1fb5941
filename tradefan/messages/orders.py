"""Orders: wishes of owners, children at the venue, and what the venue says about them.

Quantities are Decimals in the instrument's quantity asset, prices Decimals in its quote asset.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from tradefan.messages.base import Command, Fact, Message
from tradefan.units import (
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    Side,
    TradeId,
)

OrderType = Literal["market", "limit"]
TimeInForce = Literal["GTC", "IOC", "FOK"]
PositionSide = Literal["net", "long", "short"]


class OrderStatus(StrEnum):
    """FIX order status; UNKNOWN is a venue's word that we do not map and is never stored."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    PENDING_CANCEL = "PENDING_CANCEL"
    CANCELED = "CANCELED"
    PENDING_REPLACE = "PENDING_REPLACE"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    SUSPENDED = "SUSPENDED"
    UNKNOWN = "UNKNOWN"


TERMINAL = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
    }
)


class Doubt(StrEnum):
    """Which of our requests has an unknown outcome."""

    CREATE = "CREATE"
    CANCEL = "CANCEL"
    REPLACE = "REPLACE"


class Phase(StrEnum):
    """Where a parent stands."""

    VALIDATED = "VALIDATED"
    ARMED = "ARMED"
    WORKING = "WORKING"
    PAUSED = "PAUSED"
    COMPLETING = "COMPLETING"
    DONE = "DONE"


# --- owners to the OMS --------------------------------------------------------------------------


class SubmitOrder(Command, frozen=True, array_like=True, tag=True):
    """A wish for a parent order; (owner, ref) is its idempotency key, `req` the API's request number."""

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    ref: str
    side: Side
    order_qty: Decimal
    algo: str
    settings: dict[str, Any] = field(default_factory=dict)
    limit_price: Decimal | None = None
    intent_id: str | None = None
    reason: str = ""
    reduce_only: bool = False
    position_side: PositionSide = "net"
    protective: bool = False
    req: int | None = None
    decision_px: Decimal | None = None
    """The mid that its owner saw, where it saw one."""


class SetTarget(Command, frozen=True, array_like=True, tag=True):
    """A wish for a position: the OMS subtracts held, working and in-doubt quantity in its own turn.

    Differences under `band` (a share of the target) or under the venue's minimum do nothing;
    a target of zero always acts.
    """

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    ref: str
    target_qty: Decimal
    band: Decimal
    algo: str
    settings: dict[str, Any] = field(default_factory=dict)
    limit_price: Decimal | None = None
    reason: str = ""
    decision_px: Decimal | None = None
    """As in `SubmitOrder`; of a wish that waits that of its own instant."""


class CancelParent(Command, frozen=True, array_like=True, tag=True):
    """An owner's wish to end a parent."""

    owner: OwnerId
    parent_id: ParentId
    req: int | None = None


class PauseOrder(Command, frozen=True, array_like=True, tag=True):
    """A wish that a parent places nothing until it is resumed; its clock stops with it, unless `keep_end`."""

    owner: OwnerId
    parent_id: ParentId
    keep_children: bool = False
    keep_end: bool = False
    req: int | None = None


class ResumeOrder(Command, frozen=True, array_like=True, tag=True):
    """A wish that a paused parent goes on."""

    owner: OwnerId
    parent_id: ParentId
    req: int | None = None


class AmendOrder(Command, frozen=True, array_like=True, tag=True):
    """A wish that a parent is another one from now on; what is None stays.

    `display` is an iceberg's, `trigger_price` that of a parent that is armed.
    """

    owner: OwnerId
    parent_id: ParentId
    order_qty: Decimal | None = None
    limit_price: Decimal | None = None
    end_ns: int | None = None
    display: Decimal | None = None
    req: int | None = None
    trigger_price: Decimal | None = None


class CancelAll(Command, frozen=True, array_like=True, tag=True):
    """An owner's wish to end all its parents, of one instrument or of all."""

    owner: OwnerId
    instrument: InstrumentId | None = None
    req: int | None = None


class OwnerTurn(Command, frozen=True, array_like=True, tag=True):
    """One turn of a strategy: its commands, and its state where that changed, journaled as one.

    `turn` rises by one with every such message of an owner; `state` None: unchanged. `asked` is that
    of the `AskPositions` from whose answer the owner went on: a turn of an older one is a dead
    predecessor's that waited in the commands lane while the question overtook it there, and an OMS that
    began anew takes none before it was asked.
    """

    owner: OwnerId
    turn: int
    state: bytes | None
    commands: tuple[SubmitOrder | SetTarget | CancelParent | CancelAll, ...] = ()
    asked: int = 0


class ResolveOrder(Command, frozen=True, array_like=True, tag=True):
    """A human ends what only a human may end (`tradefan order resolve`).

    `subject` is the id of an order in doubt (PLACED or NOT_PLACED), or the key of a poisoned fact
    (RETRY or DROP).
    """

    subject: str
    verdict: Literal["PLACED", "NOT_PLACED", "RETRY", "DROP"]
    reason: str
    principal: str
    owner: OwnerId = OwnerId("cli")
    req: int | None = None


class AssignPosition(Command, frozen=True, array_like=True, tag=True):
    """A human moves a quantity between owners; `price` None takes the giver's average, else the mark."""

    account: AccountId
    instrument: InstrumentId
    giver: OwnerId
    taker: OwnerId
    qty: Decimal
    price: Decimal | None
    principal: str
    owner: OwnerId = OwnerId("cli")
    req: int | None = None


class ResumeTrading(Command, frozen=True, array_like=True, tag=True):
    """A human opens a scope's latch, and lets the modes of that scope go that wait for a human."""

    scope: str
    reason: str
    principal: str
    owner: OwnerId = OwnerId("cli")
    req: int | None = None


class AskPlan(Command, frozen=True, array_like=True, tag=True):
    """How would this wish be worked now? It creates nothing; answered by `PlanAnswer` or `Refusal`."""

    wish: SubmitOrder

    @property
    def owner(self) -> OwnerId:
        """Whose wish it would be."""
        return self.wish.owner

    @property
    def req(self) -> int | None:
        """The API's request number."""
        return self.wish.req


class Asked(Command, frozen=True, array_like=True, tag=True):
    """A human's wish by way of a face: it is audited in the transaction of what comes of it.

    `principal` is who asks (`cli alice`). `once` is a key, good for a day: the same wish under it gives the
    first answer again, another one is refused (KEY_REUSED). One that was refused leaves its key free.
    """

    wish: Audited
    principal: str
    once: str = ""

    @property
    def owner(self) -> OwnerId:
        """Whose wish it is."""
        return self.wish.owner

    @property
    def req(self) -> int | None:
        """The API's request number."""
        return self.wish.req


Audited: TypeAlias = (
    SubmitOrder
    | CancelParent
    | PauseOrder
    | ResumeOrder
    | AmendOrder
    | ResolveOrder
    | AssignPosition
    | ResumeTrading
)
"""Wishes of humans; a kill, which waits for nothing, says in its own record who asked for it."""


class AskPositions(Fact, frozen=True, array_like=True, tag=True):
    """An owner (or the risk desk, owner None: all) asks for `PositionUpdate`s; sent after `Ready`.

    `asked` numbers the question: a number never used before in this run, not even by a predecessor.
    """

    owner: OwnerId | None
    asked: int = 0


class PositionsSent(Fact, frozen=True, array_like=True, tag=True):
    """Closes the answer to `AskPositions`: all that the owner holds and works on went before it.

    `generation` is that of the OMS's `Ready`, for an owner that began anew and did not hear it.
    `asked` is that of the question: an answer that a predecessor waited for is not the asker's.
    """

    owner: OwnerId | None
    generation: int
    asked: int = 0


# --- the OMS to owners, API, risk desk, store ---------------------------------------------------


class ParentOrder(Message, frozen=True, array_like=True, tag=True):
    """An accepted wish; even a plain limit order is a parent with the algorithm `limit`."""

    parent_id: ParentId
    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    ref: str
    side: Side
    order_qty: Decimal
    algo: str
    settings: dict[str, Any]
    limit_price: Decimal | None
    intent_id: str
    reason: str
    reduce_only: bool
    position_side: PositionSide
    protective: bool
    created_ns: int


class ParentUpdate(Fact, frozen=True, array_like=True, tag=True):
    """A parent changed; the whole picture, so that the newest alone is enough."""

    order: ParentOrder
    status: OrderStatus
    phase: Phase
    reason: str
    cum_qty: Decimal
    working_qty: Decimal
    in_doubt_qty: Decimal
    avg_px: Decimal | None
    children: int
    updated_ns: int
    lsn: int = 0
    """The journal number up to which it is true: of two pictures the one with the higher is the newer."""

    @property
    def leaves_qty(self) -> Decimal:
        """What is still to be done, or zero once the parent has ended."""
        return Decimal(0) if self.phase is Phase.DONE else self.order.order_qty - self.cum_qty


class ParentSnapshot(Fact, frozen=True, array_like=True, tag=True):
    """An open parent as it stands, for an owner that began anew; no event, so no handler hears it."""

    owner: OwnerId
    update: ParentUpdate


class OwnerMemory(Fact, frozen=True, array_like=True, tag=True):
    """The state that an owner journaled last; answers `AskPositions` before `PositionsSent`.

    `turn` 0 and None: it never journaled any. `refused` are wishes of turns on record that were lost since:
    they come again with each answer until a turn behind it is on record.
    """

    owner: OwnerId
    turn: int
    state: bytes | None
    refused: tuple[Refusal, ...] = ()


class OrderUpdate(Fact, frozen=True, array_like=True, tag=True):
    """A child order changed, for store and API."""

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    parent_id: ParentId
    client_order_id: ClientOrderId
    venue_order_id: str | None
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    order_qty: Decimal
    limit_price: Decimal | None
    status: OrderStatus
    in_doubt: Doubt | None
    cum_qty: Decimal
    avg_px: Decimal | None
    reason: str
    created_ns: int
    updated_ns: int
    lsn: int = 0
    """The journal number up to which it is true: of two pictures the one with the higher is the newer."""


class FillUpdate(Fact, frozen=True, array_like=True, tag=True):
    """A fill was booked once; `lsn` is its journal number, `realised` in the quote asset before fees."""

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    parent_id: ParentId | None
    client_order_id: ClientOrderId | None
    trade_id: TradeId
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: Asset
    liquidity: Literal["maker", "taker"]
    event_ns: int
    lsn: int
    realised: Decimal


class PositionUpdate(Fact, frozen=True, array_like=True, tag=True):
    """What one owner holds in one instrument; `qty` is signed, `avg_px` None when flat."""

    account: AccountId
    owner: OwnerId
    instrument: InstrumentId
    qty: Decimal
    avg_px: Decimal | None
    realised: Decimal
    fees: dict[Asset, Decimal]
    working_qty: Decimal
    in_doubt_qty: Decimal
    updated_ns: int
    lsn: int = 0
    """The journal number up to which it is true: of two pictures the one with the higher is the newer."""


class PositionMoved(Fact, frozen=True, array_like=True, tag=True):
    """A quantity has another owner now, by a human's word; for the risk desk's own book."""

    account: AccountId
    instrument: InstrumentId
    giver: OwnerId
    taker: OwnerId
    qty: Decimal


class Refusal(Fact, frozen=True, array_like=True, tag=True):
    """A wish was refused; `code` is stable, `would_pass` says what would have been accepted."""

    account: AccountId | None
    instrument: InstrumentId | None
    owner: OwnerId
    ref: str
    code: str
    text: str
    limit: str | None
    used: str | None
    would_pass: str | None
    at_ns: int
    req: int | None = None


class PlannedSlice(Struct, frozen=True, array_like=True):
    """A decision of a plan: when (None: when the one before it has ended), how much, what is done by then."""

    at_ns: int | None
    quantity: Decimal
    target_qty: Decimal


class PlanAnswer(Fact, frozen=True, array_like=True, tag=True):
    """The answer to `AskPlan`: the plan that this wish would get at this instant, from the code that runs it.

    `n` and `slices` are None and empty where volume decides. Its jitter is that of the next parent's id.
    """

    req: int
    n: int | None
    slices: tuple[PlannedSlice, ...]
    start_ns: int | None
    end_ns: int | None
    expected_participation: float | None
    estimate_bps: float | None
    source: str
    coverage: float | None
    flags: tuple[str, ...]


class Answer(Fact, frozen=True, array_like=True, tag=True):
    """The answer to an API request that was accepted; leaves only when durable, that to a cancel at once."""

    req: int
    parent_ids: tuple[ParentId, ...]
    known: bool = False
    """True when (owner, ref) was known already: the first answer is given again."""
