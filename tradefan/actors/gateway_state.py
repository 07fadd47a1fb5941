"""What a gateway knows: its connection, requests in flight, looks, tombstones and counters."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tradefan.core.connection_state import Budget, ConnectionState
from tradefan.messages.account import Balances
from tradefan.messages.gateway import CreateOrder, ExecutionReport, Look, VenueFill
from tradefan.messages.wire import Op
from tradefan.units import ClientOrderId, InstrumentId, TradeId
from tradefan.venues.binance_account_wire import AccountTrade

What = Literal["create", "cancel", "replace", "open_orders", "trades", "balances", "query", "query_venue_id"]

CONN = "account"
"""Name of the connection of an account."""
QUARANTINE_MAX = 100
LATE_MAX = 1_000
"""Requests about orders whose time is up: a later answer, or proof, still counts."""
TOMBSTONES_MAX = 10_000
OWNERS_MAX = 10_000
"""Orders whose client id is remembered by the venue's id; the oldest are forgotten first."""


class Flight(Struct):
    """One request without an answer; `subject` is the order's id where there is one.

    Of a replacement `subject` and `order` are the new one, `old_id` is the one it takes the place of.
    """

    req: int
    what: What
    gen: int
    instrument: InstrumentId | None
    subject: str
    timer_id: int
    look_id: int | None = None
    order: CreateOrder | None = None
    old_id: ClientOrderId | None = None
    late: bool = False

    @property
    def op(self) -> Op:
        """What it is to the link and to the outcome table."""
        return self.what if self.what in ("create", "cancel", "replace") else "query"


class Question(Struct, frozen=True):
    """A query by id that a look still has to ask."""

    what: Literal["query", "query_venue_id"]
    instrument: InstrumentId
    subject: str


class Reading(Struct):
    """The trades of one instrument behind a cursor, page by page.

    `after` is where the next page begins, None when only the newest trade's id is wanted.
    """

    after: TradeId | None
    rows: list[AccountTrade] = []


class Ripening(Struct, frozen=True):
    """The newest trade of a complete reading, which ended at `at_ns`: a cursor may pass it later."""

    number: int
    at_ns: int


class Looking(Struct):
    """A look under way.

    `asked` flights are out. Trades wait in `trades` until the client id of each one's order is in
    `owners` (by `instrument venue_order_id`): a fill without it would belong to nobody.
    """

    look: Look
    asked_ns: int
    asked: int = 0
    by_id: bool = False
    questions: list[Question] = []
    reported: dict[str, int] = {}
    owners: dict[str, ClientOrderId] = {}
    trades: dict[InstrumentId, Reading] = {}
    pages: int = 0
    missing: list[ClientOrderId] = []
    balances: Balances | None = None
    failures: list[str] = []
    outgoing: list[ExecutionReport | VenueFill | Balances] = []
    """Facts for the OMS that wait for the next turn: one turn tells a bounded number."""
    telling: bool = False
    """A timer for the next turn is armed."""
    ended: bool = False
    """Everything was asked and heard; when `outgoing` is empty the look is done."""


class Counters(Struct):
    """Since this gateway began."""

    creates: int = 0
    replaces: int = 0
    cancels: int = 0
    queries: int = 0
    looks: int = 0
    not_sent: int = 0
    rejected: int = 0
    in_doubt: int = 0
    timeouts: int = 0
    late_answers: int = 0
    strays: int = 0
    duplicates: int = 0
    garbage: int = 0
    unmapped: int = 0
    rate_limits: int = 0


class GatewayState(Struct):
    """All of it; `shut_until_ns`: nothing is written before, for `shut_reason`.

    `auth`: why the venue does not take our key; until `auth_until_ns` nothing new is placed with it.
    """

    connection: ConnectionState
    budget: Budget
    flights: dict[int, Flight] = {}
    looks: dict[int, Looking] = {}
    ripening: dict[InstrumentId, Ripening] = {}
    owners: dict[str, ClientOrderId] = {}
    tombstones: dict[ClientOrderId, int] = {}
    shut_until_ns: int = 0
    shut_reason: Literal["", "BAN", "RATE_LIMIT"] = ""
    auth: str = ""
    auth_until_ns: int = 0
    deaf: int = 0
    garbage_ns: list[int] = []
    quarantine: list[str] = []
    counters: Counters = field(default_factory=Counters)


class GatewayView(Struct, frozen=True):
    """A gateway as status and metrics see it."""

    account: str
    phase: str
    connected: bool
    reason: str
    since_ns: int
    generation: int
    in_flight: int
    late: int
    looks: int
    tombstones: int
    shut_until_ns: int
    auth: str
    counters: Counters
    quarantine: tuple[str, ...]


def order_key(instrument: InstrumentId, venue_order_id: str | None) -> str:
    """Name an order by the venue's id, which two symbols may both use (OR-25)."""
    return f"{instrument} {venue_order_id}"


def remember_owner(state: GatewayState, report: ExecutionReport) -> None:
    """Note whose order a venue's id is."""
    owners, key = state.owners, order_key(report.instrument, report.venue_order_id)
    owners.pop(key, None)
    owners[key] = report.client_order_id
    if len(owners) > OWNERS_MAX:
        del owners[next(iter(owners))]
