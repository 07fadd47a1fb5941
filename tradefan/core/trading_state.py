"""What is durable: the shape of the trading state. `core/trading.apply` alone changes it."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

from msgspec import Struct, field

from tradefan.core.exposure import Exposure
from tradefan.core.ids import keyed
from tradefan.core.ledger import Ledger
from tradefan.core.order import Order
from tradefan.core.track import Track
from tradefan.messages.orders import OrderStatus, ParentOrder, Phase, SetTarget, SubmitOrder
from tradefan.messages.plan import Clip, Plan
from tradefan.messages.records import (
    Bust,
    Correct,
    Difference,
    Equity,
    Fill,
    Kill,
    ModeChange,
    Poison,
)
from tradefan.units import (
    DAY,
    ZERO,
    AccountId,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    TradeId,
    sign,
)

ENDED_MAX = 1_000
"""Done parents, and ended orders of ours and of others, that stay in memory."""
UNSEALED_MAX = 5_000
"""Ended orders of ours that stay at most because their parents may still hear of a late fill."""
FILL_KEYS_MAX = 10_000
"""Trade ids remembered per (account, instrument)."""
FILLS_MAX = 1_000
"""Fills remembered whole, so that a bust can take one back without asking the journal."""
REFS_MAX = 10_000
"""Idempotency keys remembered per owner."""
KEYS_MAX = 10_000
"""Idempotency keys of the API remembered per owner."""
KEYS_NS = DAY
"""How long each is good for."""
CHILDREN_MAX = 20
"""Ended children that a parent names."""
POISON_MAX = 1_000
STARTS_MAX = 100
"""Instants of starts that are remembered."""
PAUSED_BY_MARKET = ("data", "halt", "disconnected")
PAUSED_BY_OTHERS = ("user", "user, its end stays", "funds", "recovery", "restart")
"""Who has paused it, or has its money, lets it go on: its owner's same wish is no other one."""
"""Reasons of a pause that is over by itself."""
NOT_NUMBERED = -1
"""Floor of fill keys that are no numbers: any of them may have left the window."""
K = TypeVar("K")
V = TypeVar("V")


class TriggerState(Struct):
    """Where the trigger of a contingent parent stands; prices in the quote asset.

    `level` is None for a trailing one, whose `watermark` was journaled at `marked_ns` last. It fires
    nothing while somebody has `paused` it.
    """

    level: Decimal | None
    watermark: Decimal | None
    expires_ns: int | None
    armed_ns: int
    marked_ns: int
    fired_ns: int | None = None
    fired_px: Decimal | None = None
    paused: bool = False


class ParentState(Struct):
    """A parent with its sums over all children, kept up to date with every change."""

    order: ParentOrder
    target_qty: Decimal | None
    epoch: int
    phase: Phase = Phase.VALIDATED
    status: OrderStatus = OrderStatus.NEW
    reason: str = ""
    cum_qty: Decimal = ZERO
    working_qty: Decimal = ZERO
    in_doubt_qty: Decimal = ZERO
    filled: Decimal = ZERO
    value: Decimal = ZERO
    base_fee: Decimal = ZERO
    """What fees have taken in the base asset of what is booked."""
    live: dict[ClientOrderId, None] = field(default_factory=dict)
    ended: dict[ClientOrderId, None] = field(default_factory=dict)
    attempts: int = 0
    failures: int = 0
    last_end_ns: int | None = None
    updated_ns: int = 0
    plan: Plan | None = None
    plans: int = 0
    clip: Clip | None = None
    clips: int = 0
    paused_ns: int = 0
    """When it was paused last."""
    amending: ParentOrder | None = None
    """What it is to become, as soon as nothing of it rests."""
    trigger: TriggerState | None = None
    """Of a contingent parent that was armed."""
    group: ParentId | None = None
    leg: str = ""
    held: bool = False
    """It is an exit, which its group begins and sizes."""
    asked: ParentOrder | None = None
    """As it was asked for, where that was changed since."""

    @property
    def done_qty(self) -> Decimal:
        """What has traded or still may: never above the order's quantity (I-03)."""
        return self.cum_qty + self.working_qty + self.in_doubt_qty

    @property
    def open_qty(self) -> Decimal:
        """What may still be placed."""
        return max(self.order.order_qty - self.done_qty, ZERO)

    @property
    def fired(self) -> bool:
        """Whether its trigger has fired: it is worked as its `then` since."""
        return self.trigger is not None and self.trigger.fired_ns is not None

    @property
    def shown_status(self) -> OrderStatus:
        """The FIX status as it follows from phase and quantities."""
        if self.phase is Phase.COMPLETING:
            # Its last status is known, but not yet true: the children still live.
            return OrderStatus.PENDING_CANCEL
        if self.amending is not None and self.phase is not Phase.DONE:
            return OrderStatus.PENDING_REPLACE
        if self.phase is not Phase.DONE and self.cum_qty:
            return OrderStatus.PARTIALLY_FILLED
        return self.status

    @property
    def at_work(self) -> bool:
        """Whether it places more, now or when what pauses it is over by itself."""
        return self.phase is Phase.WORKING or (self.phase is Phase.PAUSED and self.reason in PAUSED_BY_MARKET)

    @property
    def waits(self) -> bool:
        """Whether somebody else has to let it go on."""
        return self.phase is Phase.PAUSED and self.reason in PAUSED_BY_OTHERS

    @property
    def pending_signed(self) -> Decimal:
        """Signed quantity that it will still trade; one that stopped has its children only."""
        rest = self.working_qty + self.in_doubt_qty
        if self.at_work:
            rest += self.open_qty
        return sign(self.order.side) * rest


class GroupState(Struct):
    """Parents that belong together, by leg; `wish` is the one order that they were asked for as.

    `ending` is how it was cancelled, `flat` the parent that brings what is left of it to nothing.
    """

    kind: str
    members: dict[str, ParentId]
    wish: SubmitOrder
    ending: str = ""
    flat: ParentId | None = None


class OwnerMemoryState(Struct):
    """What an owner journaled last: the number of its turn, and its state as it encoded it."""

    turn: int = 0
    state: bytes | None = None


class Answered(Struct, frozen=True, array_like=True):
    """What was answered to the wish of a key, and which wish that was."""

    digest: bytes
    parent_ids: tuple[ParentId, ...]
    at_ns: int


class Trading(Struct):
    """Everything durable. `lsn` is the number of records folded.

    `parents_at` has the open parents by `place_key`: what a target meets is never searched for.
    `external_ended` are ended orders of others: however many those are, ours stay.
    `fill_floors` says up to which trade id keys have left their window (`NOT_NUMBERED`: unknown).
    `resumed` are scopes that a human opened again: their latch is to be open.
    `starts` are the instants of the process's starts that did not follow an orderly stop.
    `wishes` are targets that wait for evidence, by `place_key`.
    """

    lsn: int = 0
    unapplied: int = 0
    epoch: int = 0
    epoch_ns: int = 0
    instance: str = ""
    config_id: str = ""
    starts: list[int] = field(default_factory=list)
    stopped: bool = False
    sequence: int = 0
    parent_sequence: int = 0
    parents: dict[ParentId, ParentState] = field(default_factory=dict)
    parents_open: dict[ParentId, None] = field(default_factory=dict)
    parents_done: dict[ParentId, None] = field(default_factory=dict)
    parents_at: dict[str, dict[ParentId, None]] = field(default_factory=dict)
    orders: dict[ClientOrderId, Order] = field(default_factory=dict)
    orders_live: dict[ClientOrderId, None] = field(default_factory=dict)
    orders_ended: dict[ClientOrderId, None] = field(default_factory=dict)
    exposure: Exposure = field(default_factory=Exposure)
    ledger: Ledger = field(default_factory=Ledger)
    fill_keys: dict[AccountId, dict[InstrumentId, dict[TradeId, None]]] = field(default_factory=dict)
    fill_floors: dict[AccountId, dict[InstrumentId, int]] = field(default_factory=dict)
    recent_fills: dict[str, Fill] = field(default_factory=dict)
    inferred: dict[TradeId, Fill] = field(default_factory=dict)
    busts: dict[str, Bust | Correct] = field(default_factory=dict)
    owners: dict[OwnerId, OwnerMemoryState] = field(default_factory=dict)
    refs: dict[OwnerId, dict[str, ParentId]] = field(default_factory=dict)
    cursors: dict[AccountId, dict[InstrumentId, TradeId | None]] = field(default_factory=dict)
    opened: dict[AccountId, int] = field(default_factory=dict)
    opening_cursors: dict[AccountId, dict[InstrumentId, TradeId | None]] = field(default_factory=dict)
    modes: dict[str, dict[str, ModeChange]] = field(default_factory=dict)
    kills: dict[str, Kill] = field(default_factory=dict)
    resumed: dict[str, None] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    poisons: dict[str, Poison] = field(default_factory=dict)
    dropped: dict[str, None] = field(default_factory=dict)
    equity: dict[AccountId, Equity] = field(default_factory=dict)
    fills: int = 0
    late_fills: int = 0
    external_ended: dict[ClientOrderId, None] = field(default_factory=dict)
    wishes: dict[str, SetTarget] = field(default_factory=dict)
    updated_ns: int = 0
    """Of the newest record."""
    answers: dict[OwnerId, dict[str, Answered]] = field(default_factory=dict)
    """By the idempotency key of the API, oldest first."""
    tracks: dict[ParentId, Track] = field(default_factory=dict)
    """For the analysis of costs: of all open parents, and of the newest done ones."""
    tracks_final: dict[ParentId, None] = field(default_factory=dict)
    marks: dict[InstrumentId, dict[ParentId, None]] = field(default_factory=dict)
    """Whose fills wait for a later mid."""
    samples: dict[InstrumentId, list[float]] = field(default_factory=dict)
    """What calibrates the estimates of an instrument, oldest first."""
    groups: dict[ParentId, GroupState] = field(default_factory=dict)
    """As long as one of its members is in memory."""


def order_at(
    state: Trading, account: AccountId, instrument: InstrumentId, client_order_id: ClientOrderId
) -> Order | None:
    """Find the order that the venue means by an id: others may use one on several instruments."""
    order = state.orders.get(client_order_id)
    if order is not None and (order.account, order.instrument) == (account, instrument):
        return order
    return state.orders.get(keyed(client_order_id, account, instrument))


def knows_fill(state: Trading, account: AccountId, instrument: InstrumentId, trade_id: TradeId) -> bool:
    """Say whether a fill was booked already, as far as memory goes."""
    return trade_id in state.fill_keys.get(account, {}).get(instrument, {})


def may_have_forgotten(
    state: Trading, account: AccountId, instrument: InstrumentId, trade_id: TradeId
) -> bool:
    """Say whether a fill that is not in memory may have been booked long ago: then the journal knows."""
    floor = state.fill_floors.get(account, {}).get(instrument)
    if floor is None:
        return False
    return floor == NOT_NUMBERED or not trade_id.isdecimal() or int(trade_id) <= floor


def in_opening(state: Trading, account: AccountId, instrument: InstrumentId, trade_id: TradeId) -> bool:
    """Say whether the balances that OPENING booked hold a fill already: it is not behind their cursor.

    Ids of digits rise; of others only the cursor itself is known to be inside.
    """
    cursor = state.opening_cursors.get(account, {}).get(instrument)
    if cursor is None or not (cursor.isdecimal() and trade_id.isdecimal()):
        return cursor == trade_id
    return int(trade_id) <= int(cursor)


def place_key(account: AccountId, instrument: InstrumentId, owner: OwnerId) -> str:
    """Name the place that a target is about."""
    return f"{account} {instrument} {owner}"


def fill_key(account: AccountId, instrument: InstrumentId, trade_id: TradeId) -> str:
    """Name a fill, as facts and look-ups in the journal do."""
    return f"fill {account} {instrument} {trade_id}"


def sound(*numbers: Decimal) -> bool:
    """Say whether numbers are finite and of a size that money and quantities have."""
    return all((number.is_finite() and -21 < number.adjusted() < 18) or not number for number in numbers)


def remember(window: dict[K, V], key: K, value: V, most: int) -> list[K]:
    """Put a key at the end of a window; return the oldest ones, which left it beyond `most`."""
    window.pop(key, None)
    window[key] = value
    left = []
    while len(window) > most:
        oldest = next(iter(window))
        del window[oldest]
        left.append(oldest)
    return left
