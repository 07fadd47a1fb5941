"""Journal records: one fact or decision, one atomic change each.

What follows from a record (position, reservation, P&L) is none. `core/trading.apply` knows every
version ever written; fields are only added at the end, with a default. Every record that concerns
an order names account, instrument and owner, so that a journal can be read without folding it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import field

from tradefan.messages.account import Mode
from tradefan.messages.contingent import ContingentRecord
from tradefan.messages.orders import (
    Doubt,
    OrderStatus,
    OrderType,
    ParentOrder,
    Phase,
    SetTarget,
    TimeInForce,
)
from tradefan.messages.plan import Plan
from tradefan.messages.record_base import RecordBase
from tradefan.messages.tca import TcaRecord
from tradefan.messages.work import WorkRecord
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

RECORD_VERSION = 5
"""Of each row. A new kind of record raises it, else older programs take the row for damage. 2: `Waiting`;
3: plans, clips, audits, costs; 4: contingent orders; 5: pauses of what is armed."""
TRADING_VERSION = 6
"""Of the encoded `Trading` in a snapshot. One from before `TRADING_READ`, or a newer one, is not read: the
records are folded instead, and where those are gone the journal is refused."""
TRADING_READ = 2
"""The oldest `Trading` that is brought up to the present one."""


class Epoch(RecordBase, frozen=True, array_like=True, tag=True):
    """A start of the daemon: ids made from now on carry this epoch."""

    epoch: int
    instance: str
    config_id: str
    version: str
    restart: int = 0
    """0 for a start of the process, else the restart of the order manager inside it."""


class CleanStop(RecordBase, frozen=True, array_like=True, tag=True):
    """An orderly stop came to its end: the next start does not count as one after a crash."""

    left: int


class ConfigChange(RecordBase, frozen=True, array_like=True, tag=True):
    """Another configuration is in force since this turn."""

    config_id: str


class Parent(RecordBase, frozen=True, array_like=True, tag=True):
    """A wish was accepted as a parent; `target_qty` is the position wished for, None for a plain order."""

    order: ParentOrder
    target_qty: Decimal | None = None
    plan: Plan | None = None
    """How it is worked; the first, see `PlanChange`."""
    decision_px: Decimal | None = None
    mid: Decimal | None = None
    spread: Decimal | None = None
    """The mid that its owner decided at; the market now, which is its arrival where it works at once."""
    group: ParentId | None = None
    """The group that it is a member of, as `leg`; where `held` it is idle until that begins it."""
    leg: str = ""
    held: bool = False


class PhaseChange(RecordBase, frozen=True, array_like=True, tag=True):
    """A parent changed phase or status."""

    parent_id: ParentId
    phase: Phase
    status: OrderStatus
    reason: str


class Intent(RecordBase, frozen=True, array_like=True, tag=True):
    """A child is about to be sent: reserved from now on, IN DOUBT until somebody says more.

    `reserve_per_unit` of `reserve_asset` is what each unit that may still trade can cost: quote at
    the worst price with fees for a buy, the base itself for a sale.
    """

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    parent_id: ParentId
    client_order_id: ClientOrderId
    sequence: int
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    order_qty: Decimal
    limit_price: Decimal | None
    reserve_px: Decimal
    config_id: str
    instrument_version: int
    reference_px: Decimal
    reference_age_ns: int
    not_after_ns: int
    reduce_only: bool
    reserve_asset: Asset
    reserve_per_unit: Decimal
    replaces: ClientOrderId | None = None
    """The order that this one takes the place of, in one request with its cancel."""
    reference_quality: str = "LIVE"
    collar_px: Decimal | None = None
    clip: int = -1
    """Number of the clip that it works for, -1 for none."""
    step: int = 0


class ExternalOrder(RecordBase, frozen=True, array_like=True, tag=True):
    """An open order at the venue that is not ours: it counts in exposure and is never touched.

    `orphan` where its id has our form, but no INTENT of ours is known.
    """

    account: AccountId
    instrument: InstrumentId
    client_order_id: ClientOrderId
    venue_order_id: str | None
    side: Side
    order_qty: Decimal
    cum_qty: Decimal
    limit_price: Decimal | None
    reserve_px: Decimal
    reserve_asset: Asset
    reserve_per_unit: Decimal
    orphan: bool


class NotSent(RecordBase, frozen=True, array_like=True, tag=True):
    """Proof that a create never left: the order does not exist."""

    account: AccountId
    client_order_id: ClientOrderId
    reason: str


class Report(RecordBase, frozen=True, array_like=True, tag=True):
    """The venue's word about an order, as merged into the table; `order_qty` only where it changed."""

    account: AccountId
    client_order_id: ClientOrderId
    venue_order_id: str | None
    status: OrderStatus
    cum_qty: Decimal
    reason: str
    event_ns: int
    order_qty: Decimal | None = None
    ack_ns: int | None = None
    """How long after the socket's write this came, where it is the venue's first word of the order."""


class InDoubt(RecordBase, frozen=True, array_like=True, tag=True):
    """A request has no known outcome."""

    account: AccountId
    client_order_id: ClientOrderId
    doubt: Doubt
    reason: str


class Resolved(RecordBase, frozen=True, array_like=True, tag=True):
    """A doubt ended by evidence, or by a human (`evidence` begins with `human`)."""

    account: AccountId
    client_order_id: ClientOrderId
    verdict: Literal["PLACED", "NOT_PLACED"]
    evidence: str
    first_look_ns: int | None = None
    second_look_ns: int | None = None


class CancelIntent(RecordBase, frozen=True, array_like=True, tag=True):
    """We want this order gone; repeated until it is terminal."""

    account: AccountId
    client_order_id: ClientOrderId
    reason: str


class CancelRefused(RecordBase, frozen=True, array_like=True, tag=True):
    """The venue would not cancel: information; the wish to cancel stays."""

    account: AccountId
    client_order_id: ClientOrderId
    reason: str


class Sealed(RecordBase, frozen=True, array_like=True, tag=True):
    """A query confirmed the end, fills equal the venue's quantity, and it has been quiet long enough."""

    account: AccountId
    client_order_id: ClientOrderId


class Fill(RecordBase, frozen=True, array_like=True, tag=True):
    """One execution, booked once under (account, instrument, trade_id)."""

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    trade_id: TradeId
    client_order_id: ClientOrderId | None
    venue_order_id: str
    side: Side
    qty: Decimal
    price: Decimal
    base: Asset
    quote: Asset
    fee: Decimal
    fee_asset: Asset
    liquidity: Literal["maker", "taker"]
    event_ns: int
    kind: Literal["spot", "linear"] = "spot"
    revised_ns: int = 0
    """The venue's instant of the newest correction that is in it."""
    mid: Decimal | None = None
    spread: Decimal | None = None
    fee_px: Decimal | None = None
    """The market at its instant, and what a unit of the fee's asset was worth in the quote asset."""
    ack_ns: int | None = None
    """How long the venue took to say its first word of the order, where this is it."""


class FillInferred(RecordBase, frozen=True, array_like=True, tag=True):
    """What the venue says has traded and no trade tells us of: booked at the order's price, tagged.

    `fill.trade_id` is made by us (`inferred ...`); the real fills replace it.
    """

    fill: Fill


class FillReplaced(RecordBase, frozen=True, array_like=True, tag=True):
    """So much of an inferred fill is taken back.

    A real one has come, and its FILL follows in the same turn; or the venue counts that much no more.
    """

    account: AccountId
    instrument: InstrumentId
    trade_id: TradeId
    qty: Decimal


class Bust(RecordBase, frozen=True, array_like=True, tag=True):
    """The venue took a trade back; `fill` is what was booked, None where it was not seen yet."""

    account: AccountId
    instrument: InstrumentId
    trade_id: TradeId
    fill: Fill | None
    event_ns: int = 0
    """The venue's instant: what it reports from then on does not count the trade."""


class Correct(RecordBase, frozen=True, array_like=True, tag=True):
    """The venue changed a trade: `fill` is taken back and booked anew with this quantity and price."""

    account: AccountId
    instrument: InstrumentId
    trade_id: TradeId
    fill: Fill | None
    qty: Decimal
    price: Decimal
    event_ns: int = 0
    """The venue's instant: what it reports from then on counts the trade as it is now."""


class OwnerState(RecordBase, frozen=True, array_like=True, tag=True):
    """A strategy's state behind its turn `turn`, msgpack; in one transaction with the turn's PARENTs."""

    owner: OwnerId
    turn: int
    state: bytes | None


class Waiting(RecordBase, frozen=True, array_like=True, tag=True):
    """A target waits at its place for the end of what runs there; the newest counts, its PARENT ends it.

    None where the wait has ended otherwise: withdrawn, refused, nothing left to order, or told as lost.
    """

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    wish: SetTarget | None


class Opening(RecordBase, frozen=True, array_like=True, tag=True):
    """What an account held before us, booked to `external`, with the trade cursor of each instrument.

    `price` is the mark in the numeraire at that instant, None where there is none (the numeraire).
    """

    account: AccountId
    asset: Asset
    qty: Decimal
    price: Decimal | None
    cursors: tuple[tuple[InstrumentId, TradeId | None], ...] = ()


class Transfer(RecordBase, frozen=True, array_like=True, tag=True):
    """A change of an asset that is no fill of ours: deposit, withdrawal, correction; to `external`."""

    account: AccountId
    asset: Asset
    qty: Decimal
    reason: str


class Assign(RecordBase, frozen=True, array_like=True, tag=True):
    """A human moved a quantity from one owner's position to another's, at a price in the quote asset."""

    account: AccountId
    instrument: InstrumentId
    base: Asset
    giver: OwnerId
    taker: OwnerId
    qty: Decimal
    price: Decimal
    principal: str
    kind: Literal["spot", "linear"] = "spot"


class Difference(RecordBase, frozen=True, array_like=True, tag=True):
    """DIFF: two agreeing looks found venue and books apart, or equal again (`apart` False).

    `subject` is an order's id or an asset. An orphan is a difference until it ends or a human resolves it.
    """

    account: AccountId
    instrument: InstrumentId | None
    subject: str
    apart: bool
    text: str


class Cursor(RecordBase, frozen=True, array_like=True, tag=True):
    """A complete look has seen every trade up to this one."""

    account: AccountId
    instrument: InstrumentId
    trade_id: TradeId


class Poison(RecordBase, frozen=True, array_like=True, tag=True):
    """A fact that killed the OMS: skipped by its key, its instrument on hold until a human resolves."""

    fact_key: str
    instrument: InstrumentId | None
    text: str


class PoisonResolved(RecordBase, frozen=True, array_like=True, tag=True):
    """A human has seen a poisoned fact: it may be taken again (`RETRY`), or never counts (`DROP`).

    Of a report only the word that was set aside never counts: the venue's next equal one does.
    """

    fact_key: str
    verdict: Literal["RETRY", "DROP"]
    reason: str
    principal: str


class Kill(RecordBase, frozen=True, array_like=True, tag=True):
    """The latch of a scope is closed: nothing new leaves there until RESUME."""

    scope: str
    reason: str
    principal: str
    including_external: bool = False
    keep_protection: bool = False


class Resume(RecordBase, frozen=True, array_like=True, tag=True):
    """A human opened a scope again: its latch, and every mode that waited for a human."""

    scope: str
    reason: str
    principal: str


class Audit(RecordBase, frozen=True, array_like=True, tag=True):
    """AUDIT: a human asked for something, in one transaction with all that came of it.

    `action` is the message's name and `subject` what it was about; `code` is that of the refusal, empty
    where it was done. Then the same wish (by its `digest`) under the same `key` is answered alike for a day.
    """

    owner: OwnerId
    principal: str
    action: str
    subject: str
    code: str = ""
    parent_ids: tuple[ParentId, ...] = ()
    key: str = ""
    digest: bytes = b""


class ModeChange(RecordBase, frozen=True, array_like=True, tag=True):
    """A cause changed the mode of a scope; NORMAL withdraws the cause."""

    scope: str
    cause: str
    mode: Mode
    code: str
    text: str
    limit: str | None = None
    used: str | None = None
    would_pass: str | None = None


class Equity(RecordBase, frozen=True, array_like=True, tag=True):
    """Day start and peak of an account's equity, the seams booked apart, the fees before this day.

    `marks` valued what was held then: at the next start an instrument that is halted, or without a feed, has
    no other. `transferred` are the sums of TRANSFERs that day start and peak count. Records of before they
    were kept have None and begin them: they count every TRANSFER before them. `gone` are holdings without a
    feed, and the marks at which they were booked apart.
    """

    account: AccountId
    numeraire: Asset
    day_start_ns: int
    day_equity: Decimal
    peak_equity: Decimal
    seam: Decimal
    day_fees: dict[Asset, Decimal] = field(default_factory=dict)
    marks: dict[InstrumentId, Decimal] = field(default_factory=dict)
    transferred: dict[Asset, Decimal] | None = None
    gone: dict[Asset, tuple[Decimal, Decimal]] = field(default_factory=dict)


Record: TypeAlias = (
    Epoch
    | Parent
    | PhaseChange
    | Intent
    | NotSent
    | Report
    | InDoubt
    | Resolved
    | CancelIntent
    | CancelRefused
    | Sealed
    | Fill
    | Opening
    | Transfer
    | Cursor
    | Poison
    | ModeChange
    | Equity
    | CleanStop
    | ConfigChange
    | ExternalOrder
    | FillInferred
    | FillReplaced
    | Bust
    | Correct
    | OwnerState
    | Assign
    | Difference
    | PoisonResolved
    | Kill
    | Resume
    | Waiting
    | ContingentRecord
    | Audit
    | TcaRecord
    | WorkRecord
)
"""Everything that may stand in the journal."""
