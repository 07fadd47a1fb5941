"""What checkers may look at: the venue's own book, what was written to it, records, State, logs, faults.

The world fills it in as it runs; it outlives every crash of the simulated process. A checker draws
its conclusions from nothing else, so that it shares no code with what it checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol

from msgspec import Struct

from tradefan.config.schema import Config
from tradefan.messages.control import KillAnswer, LogLine
from tradefan.messages.orders import FillUpdate, OrderUpdate
from tradefan.messages.records import Record
from tradefan.runtime.kernel import Kernel
from tradefan.sim.influx_truth import InfluxTruth
from tradefan.units import ClientOrderId, InstrumentId, Side

Kind = Literal["V", "T", "Q"]
"""V: venue's truth at every instant; T: State against own records; Q: both at quiescence."""


class VenueOrder(Struct):
    """One order in the venue's own book; `ours` as the venue was asked for it by TradeFan's connection."""

    order_id: int
    client_order_id: str
    instrument: InstrumentId
    ours: bool
    side: Side
    price: Decimal
    qty: Decimal
    cum_qty: Decimal
    status: str
    accepted_ns: int
    ended_ns: int | None = None

    @property
    def open_qty(self) -> Decimal:
        """What may still trade."""
        return self.qty - self.cum_qty if self.ended_ns is None else Decimal(0)


class VenueTrade(Struct):
    """One trade in the venue's own book; `overfill` where it went beyond the order on purpose."""

    trade_id: str
    order_id: int
    client_order_id: str
    instrument: InstrumentId
    ours: bool
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    at_ns: int
    overfill: bool = False
    busted: bool = False


class VenueEvent(Struct, frozen=True):
    """One line of the venue's log, in order of what happened inside it."""

    at_ns: int
    what: Literal[
        "create",
        "accepted",
        "rejected",
        "fill",
        "cancel",
        "canceled",
        "expired",
        "bust",
        "correct",
        "transfer",
    ]
    """`create` and `cancel`: the request arrived, a replacement is both; the others happened in its book."""
    client_order_id: str
    order_id: int | None = None
    qty: Decimal = Decimal(0)
    text: str = ""


class VenueTruth(Protocol):
    """The venue's own book."""

    accept_bound_ns: int
    visible_bound_ns: int
    late_fill_bound_ns: int
    honest: bool

    @property
    def orders(self) -> Mapping[int, VenueOrder]:
        """All orders there ever were, by the venue's id."""
        ...

    @property
    def trades(self) -> Sequence[VenueTrade]:
        """All trades there ever were."""
        ...

    @property
    def balances(self) -> Mapping[str, Decimal]:
        """Free and locked together."""
        ...

    @property
    def log(self) -> Sequence[VenueEvent]:
        """What happened inside, in order."""
        ...

    def may_accept(self, client_order_id: str) -> bool:
        """Say whether a create is on its way inside the venue and may still become an order."""
        ...


class Written(Struct, frozen=True):
    """One create, cancel or replacement at the link, in the statement of its write."""

    at_ns: int
    life: int
    op: Literal["create", "cancel", "replace"]
    client_order_id: ClientOrderId
    """Of a replacement: the new order's."""
    scopes: tuple[str, ...]
    refused: str | None
    """Why it was not written, None when it left."""
    durable_lsn: int
    """What the journal had acknowledged at that instant."""
    closed: tuple[str, ...] = ()
    """The scopes that the latch held closed in that statement."""


class Injected(Struct, frozen=True):
    """One fault as it was injected; `kind` is a word of `sim.faults`."""

    at_ns: int
    kind: str
    text: str = ""


class KillSeen(Struct, frozen=True):
    """The acknowledgement of a kill as whoever asked for it got it; `writes` had been made before it."""

    at_ns: int
    life: int
    answer: KillAnswer
    writes: int


class StoreTruth(Protocol):
    """What a store holds: rows as `stores.sqlite.StoreFile` returns them."""

    @property
    def applied_lsn(self) -> int:
        """Everything that follows from the journal up to here is in it."""
        ...

    def fills(self, *, limit: int) -> Sequence[FillUpdate]:
        """Return all its fills."""
        ...

    def orders(self, *, limit: int) -> Sequence[OrderUpdate]:
        """Return all its orders."""
        ...


DEFECT = "DEFECT"
"""In the place of an invariant: an exception that nobody caught has ended the run."""


class Violation(Struct, frozen=True):
    """A broken invariant with both values."""

    invariant: str
    at_ns: int
    expected: str
    found: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.invariant} at {self.at_ns} ns: expected {self.expected}, found {self.found}"


@dataclass
class Witness:
    """Everything that was seen in one seed."""

    seed: int
    config: Config
    venue: VenueTruth
    now_ns: int = 0
    life: int = 0
    """Number of the present process, from 1; it rises with every start."""
    born_ns: int = 0
    """When it began, and read the rules of its instruments."""
    kernel: Kernel | None = None
    oms: Any = None
    """`OmsState` after the step, None while the OMS or the process is down."""
    desk: Any = None
    """`RiskDeskState`, likewise."""
    records: list[Record] = field(default_factory=list)
    """All records that the present OMS has folded or appended: record of lsn n at n - 1."""
    acknowledged: list[Record] = field(default_factory=list)
    """What the journal has ever acknowledged as durable, over all lives."""
    writes: list[Written] = field(default_factory=list)
    asked: dict[int, None] = field(default_factory=dict)
    """The instants at which queries have left for the venue."""
    logs: list[tuple[int, LogLine]] = field(default_factory=list)
    faults: list[Injected] = field(default_factory=list)
    healed_ns: int | None = None
    """Since when nothing new goes wrong."""
    appends: list[tuple[int, int]] = field(default_factory=list)
    """First and last lsn of every Append that was handed to the journal, over all lives, in order."""
    kills: list[KillSeen] = field(default_factory=list)
    latched: tuple[str, ...] = ()
    """The scopes that the rim's latch holds closed now."""
    kill_byte: int = 0
    """What the disk is known to hold: as the journal read it, or has written and synced it."""
    disk_errors: list[int] = field(default_factory=list)
    """When calls of a running process on the journal's files failed."""
    configs: dict[str, Config] = field(default_factory=dict)
    """Every valid configuration that was offered, by its id, the first one too."""
    heard: dict[InstrumentId, int] = field(default_factory=dict)
    """When TradeFan was last given a frame from which it could make a quote of an instrument."""
    printed: dict[InstrumentId, list[tuple[int, Decimal]]] = field(default_factory=dict)
    """When TradeFan was given each trade of others, and how much of the base it was; each once."""
    printed_last: dict[InstrumentId, int] = field(default_factory=dict)
    """The number of the newest of them."""
    skew_ns: int = 0
    """What the kernel's time of this life is ahead of the world's, in which all else here is measured.

    Records and log lines carry the kernel's.
    """
    skews: list[tuple[int, int]] = field(default_factory=list)
    """First lsn and skew of each life whose records still stand, oldest first."""

    def skew_of(self, lsn: int) -> int:
        """Return the skew of the life that made a record; a fold meets records of many lives."""
        for first, skew_ns in reversed(self.skews):
            if first <= lsn:
                return skew_ns
        return self.skew_ns

    store: StoreTruth | None = None
    """The store at rest, None while it cannot be asked."""
    influx: InfluxTruth | None = None
    """The InfluxDB beside the daemon, None in a world without one."""


class Checker(Protocol):
    """One invariant. It keeps its own memory, looks at what is new, and says what is broken."""

    invariant: str
    kind: Kind

    def after_step(self, seen: Witness) -> Violation | None:
        """Look after every step."""
        ...

    def at_start(self, seen: Witness) -> Violation | None:
        """Look when a new process has folded its journal, before the venue was asked."""
        ...

    def at_rest(self, seen: Witness) -> Violation | None:
        """Look once, at quiescence."""
        ...
