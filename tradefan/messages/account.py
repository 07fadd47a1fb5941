"""Accounts: balances, equity, limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct, field

from tradefan.messages.base import Control, Fact
from tradefan.units import ZERO, AccountId, Asset, InstrumentId, OwnerId

Mode = Literal["NORMAL", "NO_NEW_RISK", "REDUCE_ONLY", "CANCEL_ONLY", "KILLED"]
MODES: tuple[Mode, ...] = (
    "NORMAL",
    "NO_NEW_RISK",
    "REDUCE_ONLY",
    "CANCEL_ONLY",
    "KILLED",
)
"""From free to tight."""


class Balance(Struct, frozen=True, array_like=True):
    """One asset of an account at the venue; `locked` is reserved by open orders."""

    asset: Asset
    free: Decimal
    locked: Decimal


class Balances(Fact, frozen=True, array_like=True, tag=True):
    """The venue's balances; `whole` when assets that are not named are zero."""

    account: AccountId
    balances: tuple[Balance, ...]
    whole: bool
    event_ns: int
    recv_ns: int
    source: Literal["stream", "answer", "look"]


class AccountState(Control, frozen=True, array_like=True, tag=True):
    """A gateway's connection to its account: creates are possible only while `connected`."""

    account: AccountId
    connected: bool
    reason: str
    auth: str = ""
    """Why the venue does not take our key; only a human helps."""
    shut_until_ns: int = 0
    """The venue asked for silence until then."""
    shut: str = ""
    """`BAN` or `RATE_LIMIT` while it did."""

    def key(self) -> str:
        """One slot per account."""
        return f"AccountState {self.account}"


class SetMode(Control, frozen=True, array_like=True, tag=True):
    """The risk desk (or an operator) asks the OMS for a mode of a scope for a cause.

    `scope` is `all`, or one of an instrument, account, owner or venue id; NORMAL withdraws the cause.
    `code limit used would_pass` go into each refusal made because of it.
    """

    scope: str
    cause: str
    mode: Mode
    code: str
    text: str
    limit: str | None = None
    used: str | None = None
    would_pass: str | None = None

    def key(self) -> str:
        """One slot per (scope, cause)."""
        return f"SetMode {self.scope} {self.cause}"


class EquityMark(Fact, frozen=True, array_like=True, tag=True):
    """Day start and peak of equity, journaled by the OMS so that limits survive a restart.

    `seam` is the sum of equity jumps booked apart: at the seams of a looped recording, and where the feed
    of a holding left. `day_fees` is what the account had paid in fees when the day began. `marks` valued
    what was held when this was told. `transferred` are the sums of transfers (`OwnBook`) that day start and
    peak count, None where unknown. `gone` are holdings without a feed, whose quantity at a mark is part of
    `seam` until they have one again.
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


class EquityPoint(Fact, frozen=True, array_like=True, tag=True):
    """Equity at an instant, for store and status."""

    account: AccountId
    numeraire: Asset
    at_ns: int
    equity: Decimal
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    seam: Decimal
    drawdown: Decimal
    exposure: Decimal


class RiskPoint(Fact, frozen=True, array_like=True, tag=True):
    """How near an account is to its limits, as shares: of its peak, its day, its equity."""

    account: AccountId
    at_ns: int
    drawdown: Decimal
    daily_loss: Decimal
    exposure: Decimal
    concentration: Decimal


class HealthPoint(Fact, frozen=True, array_like=True, tag=True):
    """How the daemon itself is, as its rim sees it; `lag_s` is the worst delay of the loop of late.

    `cpu_s` it has used since it began. Of the machine: load per core, memory and disk in bytes that are left,
    bytes that came and went on its network since it began; 0 where the system does not say.
    """

    at_ns: int
    mode: str
    ready: bool
    lag_s: float
    rss_bytes: int
    steps: int
    messages: int
    restarts: int
    cpu_s: float = 0.0
    load: float = 0.0
    memory_available: int = 0
    disk_free: int = 0
    network_in: int = 0
    network_out: int = 0


class IndicatorPoint(Fact, frozen=True, array_like=True, tag=True):
    """A number that a strategy recorded, for store and panels; `instrument` is empty where it is of none.

    `ordinal` counts the numbers of a run of its trader: a step may record one name several times.
    """

    owner: OwnerId
    instrument: InstrumentId
    name: str
    at_ns: int
    value: float
    ordinal: int = 0


class OwnBook(Fact, frozen=True, array_like=True, tag=True):
    """What the OMS's book says; the risk desk starts its own book from it, and compares it later.

    With an instrument: what an owner holds of it; `asset` is its base, `cost` the position's cost.
    Without: the rest of the account's balance of `asset`, cash and what was there before us; owner is
    `external`. Of spot the quantities of an asset add up to its balance, a linear contract is apart.
    `transferred` stands in the latter only: all transfers of the asset, as far as they were ever summed.
    """

    account: AccountId
    owner: OwnerId
    instrument: InstrumentId | None
    asset: Asset
    qty: Decimal
    cost: Decimal
    transferred: Decimal = ZERO
