"""What the API answers, as types: the pictures are built from them, and so is the OpenAPI document.

Quantities and prices are Decimals, written as strings; instants are ns of UTC. Absent is null, never 0.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct, field

from tradefan.messages.orders import Doubt, OrderStatus, OrderType, Phase, TimeInForce
from tradefan.units import AccountId, ClientOrderId, InstrumentId, OwnerId, ParentId, Side


class Trigger(Struct, frozen=True, kw_only=True):
    """What an armed order waits for, or was fired by: a `level`, or the `watermark` that a level follows.

    While somebody has `paused` it, it fires nothing.
    """

    level: Decimal | None
    watermark: Decimal | None
    expires_ns: int | None
    armed_ns: int
    fired_ns: int | None
    fired_px: Decimal | None
    paused: bool


class Order(Struct, frozen=True, kw_only=True):
    """A parent. `progress` is the share that has traded.

    `trigger` is that of a contingent order; `protected_by` says who watches over one that protects. A member
    of a group names that, and which `leg` it is.

    `schedule_error` is how far it is from its schedule, as a signed share of the order: negative behind, 0
    between the targets that hold now, null without a schedule. `source` names the volume curve of its plan,
    `coverage` its share with data; of its `flags`, `curve_fallback` says that it goes as a TWAP without one,
    `volume_unknown` that nobody knows which share of the volume it will be. `end_ns` is null while its clock
    stands, in a pause of its owner's or a halt: it ends so much later.
    """

    parent_id: ParentId
    account: AccountId
    instrument: InstrumentId
    symbol: str
    owner: OwnerId
    ref: str
    status: OrderStatus
    phase: Phase
    reason: str
    side: Side
    algo: str
    order_qty: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    working_qty: Decimal
    in_doubt_qty: Decimal
    avg_px: Decimal | None
    limit_price: Decimal | None
    created_ns: int
    start_ns: int | None
    end_ns: int | None
    progress: float
    schedule_error: float | None
    children: int
    trigger: Trigger | None = None
    protected_by: Literal["daemon"] | None = None
    group: ParentId | None = None
    leg: str | None = None
    source: str | None = None
    coverage: float | None = None
    flags: list[str] = []


class Child(Struct, frozen=True, kw_only=True):
    """An order at the venue. `in_doubt` names the request whose outcome nobody knows."""

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
    lsn: int


class OrderShown(Order, frozen=True, kw_only=True):
    """A parent with its live children and the newest that ended."""

    children_orders: list[Child]


class Orders(Struct, frozen=True, kw_only=True):
    """Open parents, the newest first, then those that are done; and how many of each are left out."""

    orders: list[Order]
    more_open: int
    more_done: int


# --- plans ----------------------------------------------------------------------------------------------


class Slice(Struct, frozen=True):
    """One decision: when (null: when the one before it has ended), how much, what is done by then."""

    at_ns: int | None
    quantity: Decimal
    target_qty: Decimal


class Planned(Struct, frozen=True, kw_only=True):
    """How an order would be worked from this instant on, by the code that would work it.

    `n` is null where volume decides, `expected_participation` and `estimate_bps` where nothing is scheduled
    or nobody knows the volume (flag `volume_unknown`); `source` names the volume curve, `coverage` its share
    with data.
    """

    n: int | None
    slices: list[Slice]
    start_ns: int | None
    end_ns: int | None
    expected_participation: float | None
    estimate_bps: float | None
    source: str | None
    coverage: float | None
    flags: list[str]


class PluginShown(Struct, frozen=True, kw_only=True):
    """Something registered: an algorithm, a part of one, a strategy; `settings` is a JSON Schema.

    It has the default of each setting, its unit as `x-unit`, and what it means.
    """

    kind: str
    name: str
    text: str
    settings: dict[str, Any]


class Plugins(Struct, frozen=True, kw_only=True):
    """All that is registered, by kind and name."""

    plugins: list[PluginShown]


# --- control --------------------------------------------------------------------------------------------


class Killed(Struct, frozen=True, kw_only=True):
    """Nothing new leaves in this scope; `persisted` where a restart keeps it so.

    `naked` are positions without protection now.
    """

    scope: str
    closed: bool
    persisted: bool
    naked: list[str]
    text: str | None = None


class Resumed(Struct, frozen=True, kw_only=True):
    """A scope is open again."""

    scope: str
    resumed: bool


class Resolved(Struct, frozen=True, kw_only=True):
    """A human's word was taken."""

    subject: str
    verdict: str


class Assigned(Struct, frozen=True, kw_only=True):
    """A quantity has another owner."""

    account: AccountId
    instrument: InstrumentId
    giver: str = field(name="from")
    taker: str = field(name="to")


# --- pictures -------------------------------------------------------------------------------------------


class Health(Struct, frozen=True, kw_only=True):
    """What runs: `ok`, or `down` when a critical part does not."""

    status: Literal["ok", "down"]
    timestamp: str
    checks: dict[str, dict[str, Any]]


class Ready(Struct, frozen=True, kw_only=True):
    """Whether orders can be placed on every feed, and what is waited for."""

    ready: bool
    waiting: dict[str, str]


class Strategies(Struct, frozen=True, kw_only=True):
    """The strategy instances."""

    strategies: list[dict[str, Any]]


class Error(Struct, frozen=True, kw_only=True):
    """Why not: a stable code and a sentence; what would have passed, where there is something."""

    code: str
    text: str
    limit: str | None = None
    used: str | None = None
    would_pass: str | None = None
    ref: str | None = None
    """Of an order whose outcome is unknown: sent again with it, it is taken once."""
    parent_id: str | None = None
    req: int | None = None


class Failure(Struct, frozen=True, kw_only=True):
    """Every answer from 400 on."""

    error: Error


class Status(Struct, frozen=True, kw_only=True):
    """Everything that one screen shows; `schema` rises when a name goes or means something else."""

    schema: int
    version: str
    environment: str
    paper: bool
    pid: int
    url: str
    data_dir: str
    now: str
    uptime_s: float
    config_id: str
    config: dict[str, Any]
    ready: bool
    mode: dict[str, Any]
    equity: list[dict[str, Any]]
    today: list[dict[str, Any]]
    drawdown: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    feeds: list[dict[str, Any]]
    positions: list[dict[str, Any]]
    holdings: list[dict[str, Any]]
    parents: list[Order]
    orders: dict[str, Any]
    more: dict[str, int]
    fills: dict[str, Any]
    tca: dict[str, Any]
    refusals: list[dict[str, Any]]
    strategies: list[dict[str, Any]]
    actors: list[dict[str, Any]]
    links: list[dict[str, Any]]
    stores: list[dict[str, Any]]


class Document(Struct, frozen=True, kw_only=True):
    """An OpenAPI 3.1 document."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
