"""Life of actors, links, configuration, the journal, and stopping."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

from msgspec import Raw, Struct, field

from tradefan.messages.account import EquityPoint, HealthPoint, IndicatorPoint, RiskPoint
from tradefan.messages.base import Control, Fact, Message
from tradefan.messages.gateway import CreateOrder, ReplaceOrder
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import AskStored, Bar, Gap, Quote, StoredBars, Trade, VolumeDays
from tradefan.messages.orders import (
    AmendOrder,
    Asked,
    AskPlan,
    AssignPosition,
    CancelAll,
    CancelParent,
    FillUpdate,
    OrderUpdate,
    OwnerTurn,
    ParentUpdate,
    PauseOrder,
    PositionUpdate,
    Refusal,
    ResolveOrder,
    ResumeOrder,
    ResumeTrading,
    SetTarget,
    SubmitOrder,
)
from tradefan.messages.records import Record
from tradefan.messages.tca import TcaUpdate
from tradefan.units import AccountId, ClientOrderId, InstrumentId, OwnerId

AnyCommand: TypeAlias = (
    SubmitOrder
    | SetTarget
    | CancelParent
    | PauseOrder
    | ResumeOrder
    | AmendOrder
    | CancelAll
    | CreateOrder
    | ReplaceOrder
    | OwnerTurn
    | ResolveOrder
    | AssignPosition
    | ResumeTrading
    | AskPlan
    | Asked
)
Stored: TypeAlias = (
    Trade
    | Bar
    | Gap
    | OrderUpdate
    | ParentUpdate
    | FillUpdate
    | PositionUpdate
    | EquityPoint
    | IndicatorPoint
    | RiskPoint
    | HealthPoint
    | Refusal
    | TcaUpdate
)
"""What a store keeps."""


class Timer(Fact, frozen=True, array_like=True, tag=True):
    """What an actor sends to itself by `ctx.after`; it comes in the facts lane."""

    name: str
    subject: str = ""
    number: int = 0


class Started(Control, frozen=True, array_like=True, tag=True):
    """The first message of every actor.

    `restart` counts from 0; `commands` waited for a predecessor and are to be refused in the new
    one's own words; `poison` is the fact key of the message in hand when the predecessor died.
    """

    restart: int
    commands: tuple[AnyCommand, ...] = ()
    poison: str | None = None
    poison_text: str = ""


class Stop(Control, frozen=True, array_like=True, tag=True):
    """End by `deadline_ns`; answered by `Stopped`."""

    deadline_ns: int
    code: int = 0
    """What the process will exit with where all goes well; 0 for an orderly stop."""


class StopBegun(Control, frozen=True, array_like=True, tag=True):
    """A stop has begun: let nothing new in. `Stop` follows when those in front of us have had their time."""


class Stopped(Control, frozen=True, array_like=True, tag=True):
    """An actor has done what it wanted to do before the end, or its time was over.

    `left` names orders that should not rest any more, `positions` what `on_stop: flatten` did not sell.
    """

    name: str
    left: tuple[tuple[AccountId, OwnerId, ClientOrderId], ...] = ()
    unverified: bool = False
    positions: tuple[tuple[AccountId, OwnerId, InstrumentId, Decimal], ...] = ()

    def key(self) -> str:
        """One slot per actor."""
        return f"Stopped {self.name}"


class ConfigChanged(Control, frozen=True, array_like=True, tag=True):
    """A new configuration snapshot is in `ctx.config` since this step."""

    config_id: str


class ConfigResult(Control, frozen=True, array_like=True, tag=True):
    """How a swap ended; no errors means that it is active."""

    config_id: str
    errors: tuple[str, ...]

    def key(self) -> str:
        """One slot per snapshot: no result hides another's."""
        return f"ConfigResult {self.config_id}"


class Ready(Control, frozen=True, array_like=True, tag=True):
    """The OMS has folded and reconciled (again): ask for positions.

    `fold` tells its lives apart where `generation` does not: an EPOCH that was lost with the journal's
    link comes again.
    """

    generation: int
    fold: int = 0


class ActorState(Control, frozen=True, array_like=True, tag=True):
    """An actor tells the OMS and status how far it is: STARTING WARMING READY DOWN."""

    name: str
    state: str
    text: str = ""

    def key(self) -> str:
        """One slot per actor."""
        return f"ActorState {self.name}"


# --- journal ------------------------------------------------------------------------------------


class Append(Fact, frozen=True, array_like=True, tag=True):
    """Write records with lsn `first_lsn`, `first_lsn + 1`, ...; answered by `Durable`, never refused."""

    first_lsn: int
    epoch: int
    records: tuple[Record, ...]


class Durable(Control, frozen=True, array_like=True, tag=True):
    """Everything up to and including `lsn` survives kill -9 and power loss."""

    lsn: int


class Fold(Fact, frozen=True, array_like=True, tag=True):
    """Ask for everything; answered by `Rows` with the same `gen`."""

    gen: int


class Rows(Control, frozen=True, array_like=True, tag=True):
    """What the disk holds and, behind it, every Append that still waits in the link.

    `snapshot` is an encoded `Trading` as of `snapshot_lsn`, None where there is none; `records` follow
    it in lsn order, and all of them are durable up to `durable`. `killed` is the kill byte: 0 open,
    1 some scope (the journal says which), 2 all. `failing` says why the disk cannot write now, `lost`
    what an operator accepted as lost (`--accept-loss`). `epoch` is the highest that ids were made in,
    also where the record of it was lost.
    """

    gen: int
    records: tuple[Record, ...]
    durable: int
    snapshot: bytes | None = None
    snapshot_lsn: int = 0
    killed: int = 0
    failing: str | None = None
    lost: str = ""
    epoch: int = 0


class Snap(Fact, frozen=True, array_like=True, tag=True):
    """Keep this encoded `Trading`, as of `lsn`, in the transaction that holds that lsn; two are kept."""

    lsn: int
    state: bytes


class KillByte(Fact, frozen=True, array_like=True, tag=True):
    """Overwrite and sync the kill byte (0, 1, 2 as in `Rows`); answered by `KillByteSet`, never refused."""

    value: int
    serial: int


class KillByteSet(Control, frozen=True, array_like=True, tag=True):
    """The kill byte was written and synced, or why not."""

    serial: int
    value: int
    error: str | None = None

    def key(self) -> str:
        """One slot per request."""
        return f"KillByteSet {self.serial}"


class AskHistory(Fact, frozen=True, array_like=True, tag=True):
    """Ask the journal for what has left memory: `subject` is `fill ACCOUNT INSTRUMENT ID` or `order ID`.

    `fact` is the key of the fact that waits for the answer.
    """

    subject: str
    fact: str = ""


class History(Fact, frozen=True, array_like=True, tag=True):
    """All records of that subject, in order: the FILL of a trade id, or the INTENT of an order."""

    subject: str
    records: tuple[Record, ...]
    fact: str = ""

    def fact_key(self) -> str | None:
        """Whoever cannot take it cannot take the fact that waited for it: that one is the poison."""
        return self.fact or None


class JournalFailed(Control, frozen=True, array_like=True, tag=True):
    """The journal cannot write; records wait in the link."""

    reason: str


class JournalWorks(Control, frozen=True, array_like=True, tag=True):
    """A probe reached the disk although nothing waited: the journal can write again."""


class ChainBroken(Control, frozen=True, array_like=True, tag=True):
    """The background verification found an old part of the journal altered."""

    lsn: int
    text: str


# --- store --------------------------------------------------------------------------------------


class Folded(Fact, frozen=True, array_like=True, tag=True):
    """The OMS began again inside the process from the journal up to here: what it told beyond never was."""

    lsn: int


class Journaled(Fact, frozen=True, array_like=True, tag=True):
    """Everything up to `lsn` is on the disk; `last` is the newest record that was made.

    It comes behind the news of all these records, for whoever may tell outside only what lasts.
    """

    lsn: int
    last: int


class VolumesAsked(Struct, frozen=True, array_like=True):
    """Which days of an instrument are asked for: from <= day < until, counted from 1970-01-01."""

    instrument: InstrumentId
    from_day: int
    until_day: int


class StoreBatch(Fact, frozen=True, array_like=True, tag=True):
    """Rows for a store: messages in order; `applied_lsn` is the highest journal number inside, or None.

    What the store has behind `forget_lsn` goes before them. One with `ask` or `bars` brings nothing and asks
    for volumes or bars, which come with its answer.
    """

    batch_id: int
    rows: tuple[Stored, ...]
    applied_lsn: int | None
    forget_lsn: int | None = None
    ask: VolumesAsked | None = None
    bars: AskStored | None = None


class StoreAck(Fact, frozen=True, array_like=True, tag=True):
    """A batch was stored, or set aside with a reason."""

    batch_id: int
    stored: int
    reason: str | None
    applied_lsn: int
    found: tuple[VolumeDays, ...] = ()
    bars: StoredBars | None = None


class StoreFailed(Control, frozen=True, array_like=True, tag=True):
    """A store cannot write; batches wait in its link and are tried again."""

    reason: str


# --- points for InfluxDB --------------------------------------------------------------------------


class PointBatch(Fact, frozen=True, array_like=True, tag=True):
    """Messages that become points, in order.

    The first `own` of them follow from the journal: with them the server has all of it up to `place`, which
    is noted there. One with `up_to` has no rows: it asks to write what the server lacks of the journal up to
    that number. One with neither asks for an answer.
    """

    batch_id: int
    rows: tuple[Stored | Quote, ...]
    own: int = 0
    place: int | None = None
    up_to: int | None = None


class PointsWritten(Fact, frozen=True, array_like=True, tag=True):
    """A batch has been dealt with: how many points were written, and set aside by message class.

    A `batch_id` of 0 greets: the link has found its database.
    """

    batch_id: int
    written: int
    aside: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    """Why the first one was set aside."""


# --- kill and human modes -------------------------------------------------------------------------


class KillSwitch(Control, frozen=True, array_like=True, tag=True):
    """Nothing new leaves in a scope from now on, and what rests there is cancelled.

    Whoever sends it from the rim has closed the latch already. It is `kept` until its KILL is durable.
    """

    kept: ClassVar[bool] = True
    scope: str
    reason: str
    principal: str
    including_external: bool = False
    keep_protection: bool = False
    req: int | None = None

    def key(self) -> str:
        """One slot for each that waits for an answer, or forbids something else: none hides another's."""
        return f"KillSwitch {self.scope} {self.including_external} {self.keep_protection} {self.req}"


class KillAnswer(Fact, frozen=True, array_like=True, tag=True):
    """The latch is closed; `persisted` when byte or journal hold it already.

    `naked` names positions whose protection the kill cancelled, or of which none is at the venue.
    """

    req: int
    scope: str
    closed: bool
    persisted: bool
    naked: tuple[str, ...] = ()


class LoopLag(Control, frozen=True, array_like=True, tag=True):
    """How late the event loop was at worst since the last word; 0 again when it keeps time."""

    lag_ns: int


# --- what a step may ask of its driver ----------------------------------------------------------


class StartLink(Message, frozen=True, array_like=True, tag=True):
    """Start a link's task under this generation."""

    link: str
    generation: int


class StopLink(Message, frozen=True, array_like=True, tag=True):
    """End a link's task."""

    link: str
    generation: int


class CloseLatch(Message, frozen=True, array_like=True, tag=True):
    """Close the rim's latch for a scope before any other effect of the step."""

    scope: str
    reason: str


class OpenLatch(Message, frozen=True, array_like=True, tag=True):
    """Open the rim's latch for a scope; only behind a durable RESUME."""

    scope: str


class Exit(Message, frozen=True, array_like=True, tag=True):
    """End the process with this code."""

    code: int
    reason: str


class LogLine(Message, frozen=True, array_like=True, tag=True):
    """One structured log line, written by the rim when the turn that made it has returned."""

    level: str
    event: str
    actor: str
    fields: dict[str, Any]


class DeadLetter(Struct, frozen=True, array_like=True):
    """The message in hand when an actor died, with its traceback."""

    at_ns: int
    actor: str
    message: Raw
    message_type: str
    traceback: str


# --- to and from the kernel itself ----------------------------------------------------------------


class SwapConfig(Control, frozen=True, array_like=True, tag=True):
    """One ingress to the kernel: replace the configuration snapshot, all or nothing.

    `instruments` are the rules of those that it names and that this run does not know yet; `places` say where
    keys that differ were said, for who refuses them.
    """

    config_id: str
    payload: bytes
    instruments: tuple[Instrument, ...] = ()
    places: tuple[tuple[str, str], ...] = ()


class StopAll(Control, frozen=True, array_like=True, tag=True):
    """One ingress to the kernel: stop everything in reverse order by the deadline, then exit."""

    deadline_ns: int
    code: int = 0


LAST_RESORT = "last resort"
"""Called heard when what was said in another place has come to the actor; as no message's key."""


class Heard(Control, frozen=True, array_like=True, tag=True):
    """An actor says to the kernel that a `kept` message need not be told to a successor any more."""

    actor: str
    name: str
    """The message's key, or LAST_RESORT for all that were left to that."""

    def key(self) -> str:
        """One slot per message."""
        return f"Heard {self.actor} {self.name}"


class Rejected(Message, frozen=True, array_like=True, tag=True):
    """An ingress command found its lane full or its actor down; its port should say so."""

    actor: str
    message: AnyCommand
    reason: str
