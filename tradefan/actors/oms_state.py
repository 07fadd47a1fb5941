"""What the OMS knows (`Trading` durable, `Live` rebuilt), what wiring gives it, and one turn of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct, field

from tradefan.actors.oms_tca_state import TcaLive
from tradefan.config.schema import AccountConfig, Config
from tradefan.core.modes import Causes
from tradefan.core.order import Order
from tradefan.core.outbox import Guarded, Outbox
from tradefan.core.tape import Tape
from tradefan.core.trading import ParentState, Trading, apply, place_key
from tradefan.core.trigger import Armed as ArmedTrigger
from tradefan.core.trigger import Condition
from tradefan.core.wakes import Wakes
from tradefan.messages.account import Balances, EquityMark, Mode, SetMode
from tradefan.messages.base import Message
from tradefan.messages.control import KillSwitch, Stop
from tradefan.messages.gateway import (
    CancelRejected,
    ExecutionReport,
    FillBusted,
    GatewayReset,
    LookDone,
    OrderInDoubt,
    OrderNotSent,
    VenueFill,
)
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import FeedQuality, Quote, VolumeDays
from tradefan.messages.orders import AskPositions, FillUpdate, Phase, Refusal, SetTarget
from tradefan.messages.records import Fill, Record
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.units import (
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    Ref,
    TradeId,
)

REFUSALS_KEPT = 20
FILLS_KEPT = 20
STASH_MAX = 100_000

Stashed: TypeAlias = (
    ExecutionReport
    | VenueFill
    | Balances
    | OrderNotSent
    | OrderInDoubt
    | CancelRejected
    | LookDone
    | GatewayReset
    | FillBusted
    | EquityMark
    | AskPositions
    | SetMode
    | KillSwitch
    | Stop
)
"""What waits for the fold; the commands of that time are refused."""


class OmsWiring(Struct, frozen=True):
    """Who the OMS talks to, and what it may trade.

    `accounts` maps each account to its instruments. `risk_desk` hears of fills and positions before
    the owner, `observers` (data writer) after it; `followers` of the journal hear what is durable.
    `markets` answer `AskFeeds`, and `supervisor` takes `Stopped`.
    `instance` is three characters `a-z2-7`, the beginning of every id.
    """

    journal: Ref
    gateways: dict[AccountId, Ref]
    accounts: dict[AccountId, tuple[InstrumentId, ...]]
    instruments: dict[InstrumentId, Instrument]
    owners: dict[OwnerId, Ref]
    instance: str
    numeraire: Asset
    risk_desk: Ref | None = None
    observers: tuple[Ref, ...] = ()
    followers: tuple[Ref, ...] = ()
    markets: tuple[Ref, ...] = ()
    api: Ref | None = None
    supervisor: Ref = RIM
    own_fills_in_feed: dict[AccountId, bool] = {}
    """Whether the public trades of an account's venue show ours: paper's do not."""
    name: str = "oms"
    version: str = ""


class Apart(Struct):
    """How far venue and ledger are apart in an asset, since which look, and how many looks agree."""

    qty: Decimal
    first_ns: int
    last_ns: int
    looks: int = 1


class Seen(Struct):
    """What a look showed of an account before its opening."""

    asked_ns: int
    totals: dict[Asset, Decimal]
    cursors: tuple[tuple[InstrumentId, TradeId | None], ...]


class AccountLive(Struct):
    """One account's connection, readiness and looks. `look_id` 0 means that none is under way.

    `heard` is False until its gateway or a complete look has said whether it is connected. `absent` and
    `present` say since which look in a row an order is missing that the venue has known, or is back.
    """

    connected: bool = False
    heard: bool = False
    reason: str = "not heard of yet"
    auth: str = ""
    banned_until_ns: int = 0
    shut_until_ns: int = 0
    opening: Seen | None = None
    ready: bool = False
    announced: bool = False
    look_id: int = 0
    look_sent_ns: int = 0
    look_due_ns: int | None = None
    look_serial: int = 0
    look_failures: int = 0
    period_ns: int = 0
    doubt_step: int = 0
    seen: dict[ClientOrderId, None] = field(default_factory=dict)
    queries: dict[ClientOrderId, None] = field(default_factory=dict)
    asked: dict[ClientOrderId, int] = field(default_factory=dict)
    """How many looks have asked for an order by id and left its question open."""
    named: dict[ClientOrderId, None] = field(default_factory=dict)
    negatives: dict[ClientOrderId, int] = field(default_factory=dict)
    absent: dict[ClientOrderId, int] = field(default_factory=dict)
    reopened: dict[ClientOrderId, ExecutionReport] = field(default_factory=dict)
    """What the present look shows open of the orders that have ended here."""
    others: dict[ClientOrderId, ExecutionReport] = field(default_factory=dict)
    """What the present look says of other foreign orders that have the id of one that lives here."""
    present: dict[ClientOrderId, int] = field(default_factory=dict)
    totals: dict[Asset, Decimal] | None = None
    differences: dict[Asset, Apart] = field(default_factory=dict)
    activity_ns: int = 0


REASONS_MAX = 50
OTHER_REASON = "OTHER"


class Counters(Struct):
    """What metrics and status show; since the start of this OMS."""

    orders: int = 0
    fills: int = 0
    duplicates: int = 0
    refusals: int = 0
    illegal: int = 0
    foreign: int = 0
    orphans: int = 0
    adopted: int = 0
    skipped: int = 0
    ignored: int = 0
    looks: int = 0
    overfills: int = 0
    failed_parents: int = 0
    inferred: int = 0
    busts: int = 0
    replaces: int = 0
    not_placed: int = 0
    snapshots: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Refusals by code: a rule of somebody else's may make up codes, so beyond `REASONS_MAX` they are one."""


class Stopping(Struct):
    """A stop under way: how many empty looks in a row each account still owes to the verification."""

    deadline_ns: int
    unverified: dict[AccountId, int]
    since: dict[AccountId, int] = field(default_factory=dict)
    """When each account was last told to cancel or sell: only looks asked behind it count."""
    answered: bool = False
    noted: bool = False
    """CLEAN_STOP is written."""
    tried: dict[str, int] = field(default_factory=dict)
    """By account, instrument and owner the instant at which a position was last to be sold."""


class Killing(Struct):
    """A kill under way: who waits for its answer, what proves that it lasts, what is verified.

    `persisted` by the kill byte or by the journal, whichever is first. `empty` counts empty looks, of which
    the last was asked at `empty_ns`. `alone`: no KILL of another scope can be in the journal before this one,
    so that SOME in the byte proves it; `raised`: the byte says EVERYTHING for it until its own record is
    durable.
    """

    scope: str
    lsn: int | None
    serial: int
    req: int | None = None
    naked: tuple[str, ...] = ()
    persisted: bool = False
    answered: bool = False
    empty: dict[AccountId, int] = field(default_factory=dict)
    empty_ns: dict[AccountId, int] = field(default_factory=dict)
    alone: bool = False
    raised: bool = False


class Resuming(Struct):
    """A resume under way: durable first, then the byte, then the latch."""

    scope: str
    lsn: int
    req: int | None
    serial: int | None = None


class Watched(Struct):
    """What an armed parent makes of the market; prices are ticks of `tick`.

    `marked` is the watermark that was journaled last, `seq` the newest trade's id, or what counts the quotes,
    `price` the newest and `due_ns` when it will have held for long enough. `blocked` is why it should have
    fired and did not, said at `said_ns`; `was_back` where the market was on the other side since.
    """

    condition: Condition
    armed: ArmedTrigger
    source: str
    tick: Decimal
    marked: int | None = None
    seq: int = 0
    looks: int = 0
    price: int = 0
    due_ns: int = 0
    blocked: str = ""
    said_ns: int = 0
    was_back: bool = False


class Armed(Struct, frozen=True, array_like=True):
    """A timer that runs, and the instant that it is for."""

    at_ns: int
    timer: int


class Live(Struct):
    """All that is not journaled."""

    running: bool = False
    restart: int = 0
    fold_gen: int = 0
    stash: list[Stashed] = field(default_factory=list)
    asking: dict[str, list[ExecutionReport | VenueFill | FillBusted]] = field(default_factory=dict)
    """Facts about what has left memory, by the subject that the journal was asked for and their key."""
    outbox: Outbox = field(default_factory=Outbox)
    instruments: dict[InstrumentId, Instrument] = field(default_factory=dict)
    quotes: dict[InstrumentId, Quote] = field(default_factory=dict)
    qualities: dict[InstrumentId, FeedQuality] = field(default_factory=dict)
    accounts: dict[AccountId, AccountLive] = field(default_factory=dict)
    risk_desk: str = "STARTING"
    asked: dict[OwnerId, int] = field(default_factory=dict)
    """The question of each owner that was answered last."""
    lost: dict[OwnerId, str] = field(default_factory=dict)
    """Owners that were lost before the fold, and why."""
    strangers: dict[OwnerId, None] = field(default_factory=dict)
    """Owners of kept orders that the configuration has no more."""
    lag_ns: int = 0
    chain_broken: str | None = None
    safe: str | None = None
    journal_failing: str | None = None
    durable_due_ns: int = 0
    snap_lsn: int = 0
    causes: Causes = field(default_factory=Causes)
    mode_due_ns: int = 0
    suspects: dict[str, tuple[AccountId, InstrumentId]] = field(default_factory=dict)
    killing: dict[str, Killing] = field(default_factory=dict)
    unheard: dict[str, int] = field(default_factory=dict)
    """Kills that the kernel tells a successor, too, until this lsn is durable; by their key."""
    shut: bool = False
    """The byte closes the next start, in the stop of a life that is not to kill: none writes a lower one."""
    resuming: list[Resuming] = field(default_factory=list)
    lost_wishes: dict[str, SetTarget] = field(default_factory=dict)
    """Wishes that wait and are not taken up any more: their owner is to hear of it before they end."""
    told_wishes: dict[str, None] = field(default_factory=dict)
    """The places of those that their owner has been told of: its next turn ends them."""
    wakes: dict[ParentId, Armed] = field(default_factory=dict)
    """When a parent is asked again, at the latest."""
    levels: dict[InstrumentId, Wakes] = field(default_factory=dict)
    tapes: dict[InstrumentId, Tape] = field(default_factory=dict)
    """What trades where a parent is at work."""
    arrivals: dict[ParentId, int] = field(default_factory=dict)
    """What its tape counted when nothing had traded yet for a parent."""
    own_fills: dict[ParentId, list[tuple[int, Decimal]]] = field(default_factory=dict)
    tca: TcaLive = field(default_factory=TcaLive)
    volumes: dict[InstrumentId, dict[str, VolumeDays]] = field(default_factory=dict)
    """What traded on earlier days, by source."""
    policies: dict[ParentId, int] = field(default_factory=dict)
    """When a parent that may not act is judged again."""
    halted: dict[InstrumentId, int] = field(default_factory=dict)
    """Since when an instrument trades again."""
    watched: dict[ParentId, Watched] = field(default_factory=dict)
    """Armed parents."""
    watchers: dict[InstrumentId, dict[ParentId, None]] = field(default_factory=dict)
    overdue: dict[ParentId, None] = field(default_factory=dict)
    overfilled: dict[ParentId, None] = field(default_factory=dict)
    """Of these groups somebody knows that they have traded too much."""
    """Parents that have fired and are not done, of which that was said."""
    tending: dict[ParentId, None] = field(default_factory=dict)
    """Groups that are being looked after in this very turn."""
    resized: dict[ParentId, int] = field(default_factory=dict)
    """When the exits of a bracket were sized last."""
    dusty: dict[ParentId, None] = field(default_factory=dict)
    """Exits of which was said that they are less than the venue takes."""
    alive: bool = False
    """Whether the timer of ALIVE runs."""
    down_ns: int = 0
    """How long nobody was here before this start."""
    cancels: dict[ClientOrderId, int] = field(default_factory=dict)
    recent: dict[OwnerId, list[int]] = field(default_factory=dict)
    holds: dict[InstrumentId, dict[str, str]] = field(default_factory=dict)
    """Why an instrument is on hold: by subject (an order, an asset), the text."""
    poison: tuple[str, str] | None = None
    refusals: list[Refusal] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    closing: bool = False
    """A stop has begun: nothing new is let in, whoever is stopped before us."""
    stopping: Stopping | None = None
    stop_code: int = 0
    """What the process exits with where the stop goes well; not 0: a defect of ours ends it."""


class OmsState(Struct):
    """`trading` equals the fold of the journal; nothing changes it but `emit`."""

    trading: Trading = field(default_factory=Trading)
    live: Live = field(default_factory=Live)


class ModeNow(Struct, frozen=True):
    """The tightest mode of an order's scopes, with the words for a refusal."""

    mode: Mode
    code: str
    text: str
    limit: str | None = None
    used: str | None = None
    would_pass: str | None = None


class Turn:
    """One message's turn: `emit` is the only way to change `trading`; the rest is collected.

    Orders, parents and positions that were touched are published when the turn ends; before that,
    parents in `woken` are given to their executors, and those in `ended` to a wish that waits.
    """

    __slots__ = (
        "config",
        "ctx",
        "ended",
        "ending",
        "fills",
        "guarded",
        "judge",
        "live",
        "now",
        "orders",
        "parents",
        "positions",
        "records",
        "refused",
        "state",
        "suspects",
        "trading",
        "wiring",
        "woken",
    )

    def __init__(self, state: OmsState, wiring: OmsWiring, ctx: Context) -> None:
        """Begin a turn."""
        self.state = state
        self.trading = state.trading
        self.live = state.live
        self.wiring = wiring
        self.ctx = ctx
        self.now = ctx.now_ns
        self.config: Config = ctx.config
        self.records: list[Record] = []
        self.guarded: list[Guarded] = []
        self.fills: list[FillUpdate] = []
        self.orders: dict[ClientOrderId, None] = {}
        self.parents: dict[ParentId, None] = {}
        self.positions: dict[tuple[AccountId, OwnerId, InstrumentId], None] = {}
        self.suspects: dict[tuple[AccountId, InstrumentId], None] = {}
        self.refused: Refusal | None = None
        """The newest refusal of this turn."""
        self.judge = False
        """Something that a mode depends on has changed."""
        self.woken: dict[ParentId, None] = {}
        self.ended: dict[ParentId, None] = {}
        self.ending: dict[ParentId, str] = {}

    def take_over(self, trading: Trading) -> None:
        """Begin from a snapshot of the durable state."""
        self.state.trading = self.trading = trading

    def next(self) -> Turn:
        """Return a further turn of the same message, for what came out only when this one ended."""
        return Turn(self.state, self.wiring, self.ctx)

    def since(self, at_ns: int) -> int:
        """Return an instant of the records, or this start where that is later.

        What is to last for a while lasts as long for us: between two lives the wall clock may have jumped.
        """
        return max(at_ns, self.trading.epoch_ns)

    def emit(self, record: Record) -> bool:
        """Fold a record at once, so that later decisions of the turn see it, and journal it.

        False when it changed nothing: what was to follow from it must not happen.
        """
        unapplied = self.trading.unapplied
        apply(self.trading, record)
        self.records.append(record)
        applied = self.trading.unapplied == unapplied
        if applied and type(record) is Fill:
            self.live.fills = [*self.live.fills, record][-FILLS_KEPT:]
        return applied

    def guard(self, effect: Guarded) -> None:
        """Let an effect wait until the records of this turn are durable."""
        self.guarded.append(effect)

    def send(self, ref: Ref | None, msg: Message) -> bool:
        """Send at once; nobody there is no trouble."""
        return ref is None or self.ctx.send(ref, msg)

    def touch(self, order: Order) -> None:
        """Note that an order changed, and with it its parent and its owner's position."""
        self.judge = True
        self.orders[order.client_order_id] = None
        self.positions[order.account, order.owner, order.instrument] = None
        if order.parent_id in self.trading.parents:
            self.parents[order.parent_id] = None
            self.woken[order.parent_id] = None

    def instrument(self, instrument: InstrumentId) -> Instrument | None:
        """Return an instrument's newest rules."""
        return self.live.instruments.get(instrument) or self.wiring.instruments.get(instrument)

    def account(self, account: AccountId) -> AccountLive:
        """Return an account's live side."""
        return self.live.accounts.setdefault(account, AccountLive())

    def account_config(self, account: AccountId) -> AccountConfig:
        """Return an account's configuration, its defaults where it has no block."""
        return self.config.accounts.get(account, _DEFAULTS)

    def open_parents(self, match: Callable[[ParentState], bool]) -> list[ParentState]:
        """Return the open parents that match, oldest first."""
        found = (self.trading.parents[name] for name in self.trading.parents_open)
        return [parent for parent in found if parent.phase is not Phase.DONE and match(parent)]

    def open_parents_at(
        self, account: AccountId, instrument: InstrumentId, owner: OwnerId
    ) -> list[ParentState]:
        """Return an owner's open parents in one instrument, oldest first, however many others there are."""
        names = self.trading.parents_at.get(place_key(account, instrument, owner), {})
        return [self.trading.parents[name] for name in names]

    def live_orders(self, account: AccountId | None = None) -> list[Order]:
        """Return the live orders, of one account or of all, oldest first."""
        found = (self.trading.orders[name] for name in self.trading.orders_live)
        return [order for order in found if account is None or order.account == account]

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Write one structured line when the turn returns."""
        self.ctx.log(level, event, **fields)


_DEFAULTS = AccountConfig()
