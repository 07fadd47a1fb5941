"""What the risk desk knows, what wiring gives it, and what it shows."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from msgspec import Struct, field

from tradefan.config.schema import Config
from tradefan.core.equity import Book, Breach, Curve, Limits, Valuer, Worth, add_to
from tradefan.messages.account import EquityMark, Mode
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quality, Quote
from tradefan.messages.orders import PositionUpdate
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset, InstrumentId, OwnerId, Ref


class RiskDeskWiring(Struct, frozen=True):
    """Whom the desk talks to and what it watches; `store` gets an equity point every 5 s."""

    oms: Ref
    accounts: tuple[AccountId, ...]
    instruments: dict[InstrumentId, Instrument]
    stores: tuple[Ref, ...] = ()
    markets: tuple[Ref, ...] = ()
    numeraire: Asset = Asset("USDT")
    name: str = "risk_desk"
    supervisor: Ref = RIM


class Watch(Struct):
    """What the OMS was told about a limit that may hold again by itself."""

    mode: Mode
    inside_ns: int | None = None


class Told(Struct):
    """The OMS's book of one account, as its present answer tells it."""

    rest: dict[Asset, Decimal] = field(default_factory=dict)
    held: dict[OwnerId, dict[InstrumentId, Decimal]] = field(default_factory=dict)
    costs: dict[InstrumentId, Decimal] = field(default_factory=dict)
    transferred: dict[Asset, Decimal] = field(default_factory=dict)


class Account(Struct):
    """One account: its book once it is known, where equity is measured from, and what was said."""

    book: Book | None = None
    curve: Curve | None = None
    worth: Worth | None = None
    results: dict[OwnerId, dict[InstrumentId, PositionUpdate]] = field(default_factory=dict)
    breaches: tuple[Breach, ...] = ()
    latched: dict[str, Breach] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)
    marked: EquityMark | None = None
    marked_ns: int = 0
    told: Told | None = None
    epoch: int = 0
    """Of the OMS that the book was last held against."""
    last_marks: dict[InstrumentId, Decimal] = field(default_factory=dict)
    """What an earlier life valued the account's holdings at."""
    transferred: dict[Asset, Decimal] = field(default_factory=dict)
    """The OMS's sums of transfers that the curve counts, together with `moved`."""
    moved: dict[Asset, Decimal] = field(default_factory=dict)
    """What was transferred and the curve does not count yet: it waits for the prices."""
    gone: dict[Asset, tuple[Decimal, Decimal]] = field(default_factory=dict)
    """What was booked apart because its feed had left: the quantity, and the mark told last."""
    forgiven: dict[str, None] = field(default_factory=dict)
    """Losses that a human has let go and that are not measured anew yet: it waits for the prices."""

    def fees(self) -> dict[Asset, Decimal]:
        """Return all that was ever paid in fees, of all but `external`."""
        paid: dict[Asset, Decimal] = {}
        for owner, by_instrument in self.results.items():
            for held in by_instrument.values() if owner != EXTERNAL else ():
                for asset, fee in held.fees.items():
                    add_to(paid, asset, fee)
        return paid


class Difference(Struct):
    """How far two books are apart in an instrument, and for how many looks they were, or were not."""

    qty: Decimal = ZERO
    apart: int = 0
    agreeing: int = 0
    held: bool = True
    """Until two looks agreed it may be held since an earlier life of the desk."""


class Counters(Struct):
    """Since the start of this desk."""

    looks: int = 0
    fills: int = 0
    unbooked: int = 0
    differences: int = 0
    transfers: int = 0
    seams: int = 0
    modes: int = 0


class RiskDeskState(Struct):
    """All that the desk knows."""

    accounts: dict[AccountId, Account] = field(default_factory=dict)
    instruments: dict[InstrumentId, Instrument] = field(default_factory=dict)
    quotes: dict[InstrumentId, Quote] = field(default_factory=dict)
    marks: dict[InstrumentId, Decimal] = field(default_factory=dict)
    breaks: dict[InstrumentId, int] = field(default_factory=dict)
    qualities: dict[InstrumentId, Quality] = field(default_factory=dict)
    differences: dict[InstrumentId, Difference] = field(default_factory=dict)
    limits: Limits | None = None
    said: str = ""
    reason: str = ""
    asked_ns: int = 0
    asked: int = 0
    """The number of the newest question."""
    point_ns: int = 0
    stopping: bool = False
    counters: Counters = field(default_factory=Counters)


class Desk(NamedTuple):
    """What one turn of the desk works with."""

    wiring: RiskDeskWiring
    state: RiskDeskState
    valuer: Valuer
    ctx: Context

    @property
    def config(self) -> Config:
        """The configuration of this step."""
        config: Config = self.ctx.config
        return config


# --- pictures -----------------------------------------------------------------------------------


class MarkView(Struct, frozen=True):
    """One instrument: its mark, how old the quote behind it is, how far it can be trusted."""

    instrument: InstrumentId
    mark: Decimal | None
    recv_ns: int | None
    quality: str
    qty: Decimal
    worth: Decimal | None


class Room(Struct, frozen=True):
    """What would still pass, in the numeraire; negative is what is too much."""

    drawdown: Decimal
    daily_loss: Decimal
    exposure: Decimal
    concentration: Decimal


class AccountRiskView(Struct, frozen=True):
    """One account; numbers are None while its book or a mark is missing."""

    account: AccountId
    numeraire: Asset
    equity: Decimal | None
    day_start_ns: int | None
    day_equity: Decimal | None
    peak: Decimal | None
    drawdown: Decimal | None
    daily_loss: Decimal | None
    exposure: Decimal | None
    concentration: Decimal | None
    largest: str | None
    gross: Decimal | None
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    fees_today: Decimal
    seam: Decimal
    room: Room | None
    breaches: tuple[Breach, ...]
    latched: tuple[Breach, ...]
    missing: tuple[InstrumentId, ...]
    unpriced: tuple[Asset, ...]
    marks: tuple[MarkView, ...]


class RiskView(Struct, frozen=True):
    """The desk for status and metrics; `differences` are instruments where two books disagree."""

    state: str
    reason: str
    limits: Limits | None
    accounts: tuple[AccountRiskView, ...]
    differences: dict[InstrumentId, Decimal]
    held: tuple[InstrumentId, ...]
    counters: Counters
