"""What an account is worth, how far it fell, and whether that is too far.

The risk desk's own book: kept from fills, not from the ledger, so that a mistake in one shows as a
difference between the two. Money of different assets is added only here, by named sources: an asset
is priced by the first spot instrument that trades it against the numeraire, at that instrument's mark.

A book keeps cash flows. Spot exchanges base for quote; of a linear contract the flows go to its
settle asset and the open quantity is valued at the mark, which is realised plus unrealised result.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import FillUpdate
from tradefan.units import DAY, HOUR, MINUTE, SECOND, ZERO, Asset, InstrumentId, OwnerId, plain, sign

BEYOND = Decimal("Infinity")
"""The share of something in nothing."""
_CENT = Decimal("0.01")
_BASIS = Decimal("0.0001")
_MANY = Decimal(1_000_000)

K = TypeVar("K", bound=str)
Marks: TypeAlias = Mapping[InstrumentId, Decimal]


class Book(Struct):
    """What an account owns: assets, open contracts, and which owner holds what of an instrument."""

    assets: dict[Asset, Decimal] = field(default_factory=dict)
    contracts: dict[InstrumentId, Decimal] = field(default_factory=dict)
    held: dict[OwnerId, dict[InstrumentId, Decimal]] = field(default_factory=dict)


class Worth(Struct, frozen=True):
    """A book at given marks, in the numeraire; `parts` are positions by asset or contract.

    `missing` names instruments whose mark is needed and not there: then `equity` means nothing.
    `unpriced` names assets that no instrument prices: they count as nothing.
    """

    equity: Decimal
    parts: dict[str, Decimal]
    missing: tuple[InstrumentId, ...] = ()
    unpriced: tuple[Asset, ...] = ()

    @property
    def gross(self) -> Decimal:
        """The sum of all positions, whatever their sign."""
        return sum((abs(part) for part in self.parts.values()), ZERO)

    @property
    def largest(self) -> tuple[str, Decimal]:
        """Name and size of the largest position."""
        return max(((name, abs(part)) for name, part in self.parts.items()), key=_size, default=("", ZERO))

    @property
    def exposure(self) -> Decimal:
        """All positions as a share of equity."""
        return share(self.gross, self.equity)

    @property
    def concentration(self) -> Decimal:
        """The largest position as a share of equity."""
        return share(self.largest[1], self.equity)


class Valuer:
    """Prices assets in the numeraire from the marks of named instruments."""

    def __init__(self, instruments: Mapping[InstrumentId, Instrument], numeraire: Asset) -> None:
        """Choose the source of each asset: the first spot instrument against the numeraire."""
        self.numeraire = numeraire
        self.instruments = instruments
        self.sources: dict[Asset, InstrumentId] = {}
        for instrument in instruments.values():
            if instrument.kind == "spot" and instrument.quote == numeraire:
                self.sources.setdefault(instrument.base, instrument.id)

    def price(self, asset: Asset, marks: Marks) -> Decimal | None:
        """Return an asset's price in the numeraire, None where it has none now."""
        if asset == self.numeraire:
            return Decimal(1)
        source = self.sources.get(asset)
        return None if source is None else marks.get(source)

    def worth(self, book: Book, marks: Marks) -> Worth:
        """Value a book; nothing is ever valued at a made-up price."""
        equity = book.assets.get(self.numeraire, ZERO)
        parts: dict[str, Decimal] = {}
        missing: list[InstrumentId] = []
        unpriced: list[Asset] = []
        for asset, qty in book.assets.items():
            if not qty or asset == self.numeraire:
                continue
            price = self.price(asset, marks)
            if price is not None:
                parts[asset] = qty * price
            elif asset in self.sources:
                missing.append(self.sources[asset])
            else:
                unpriced.append(asset)
        equity += sum(parts.values(), ZERO)
        for name, qty in book.contracts.items():
            if not qty:
                continue
            value = self._contract(name, qty, marks)
            if value is None:
                missing.append(name)
            else:
                parts[name] = value
                equity += value
        return Worth(equity, parts, tuple(dict.fromkeys(missing)), tuple(unpriced))

    def marks_of(self, book: Book, marks: Marks) -> dict[InstrumentId, Decimal]:
        """Return those marks that value what a book holds."""
        priced = [self.sources[asset] for asset, qty in book.assets.items() if qty and asset in self.sources]
        open_ones = [name for name, qty in book.contracts.items() if qty]
        return {name: marks[name] for name in (*priced, *open_ones) if name in marks}

    def _contract(self, name: InstrumentId, qty: Decimal, marks: Marks) -> Decimal | None:
        mark, settle = marks.get(name), self.price(self.instruments[name].settle, marks)
        return None if mark is None or settle is None else qty * mark * settle


def book_fill(book: Book, instrument: Instrument, fill: FillUpdate) -> None:
    """Book a fill: base against quote, the fee in its own asset."""
    signed = fill.qty * sign(fill.side)
    kept = signed
    if instrument.kind == "spot":
        add_to(book.assets, instrument.base, signed)
        add_to(book.assets, instrument.quote, -signed * fill.price)
        if fill.fee_asset == instrument.base:
            # A fee in base is paid with what was bought and leaves the owner's position.
            kept -= fill.fee
    else:
        add_to(book.contracts, instrument.id, signed)
        add_to(book.assets, instrument.settle, -signed * fill.price)
    add_to(book.assets, fill.fee_asset, -fill.fee)
    add_to(book.held.setdefault(fill.owner, {}), instrument.id, kept)


def add_to(sums: dict[K, Decimal], key: K, change: Decimal) -> None:
    """Add to an entry, which begins at zero."""
    sums[key] = sums.get(key, ZERO) + change


# --- day and peak -------------------------------------------------------------------------------


class Curve(Struct):
    """Where equity is measured from. `seam` is the sum of the jumps that were booked apart.

    `day_fees` is what had been paid in fees, by asset, when the day began.
    """

    day_start_ns: int
    day_equity: Decimal
    peak: Decimal
    seam: Decimal = ZERO
    day_fees: dict[Asset, Decimal] = field(default_factory=dict)

    def follow(self, equity: Decimal) -> bool:
        """Raise the peak; say whether it rose."""
        if equity <= self.peak:
            return False
        self.peak = equity
        return True

    def roll(self, day_start_ns: int, equity: Decimal, fees: Mapping[Asset, Decimal] | None = None) -> bool:
        """Begin a day when a later one has come; say whether it did. `fees` is all that was ever paid.

        A wall clock that was set back over midnight goes on with the day that it had begun; one that had run
        ahead for days does not keep the loss of today measured from where that day began.
        """
        if 0 <= self.day_start_ns - day_start_ns < 2 * DAY:
            return False
        self.day_start_ns = day_start_ns
        self.day_equity = equity
        self.day_fees = dict(fees or {})
        return True

    def shift(self, change: Decimal) -> None:
        """Let equity change without gain or loss: a deposit, a withdrawal."""
        self.peak += change
        self.day_equity += change

    def book_seam(self, jump: Decimal) -> None:
        """Book apart what a break in the market, not the market, did to equity."""
        self.shift(jump)
        self.seam += jump

    def drawdown(self, equity: Decimal) -> Decimal:
        """Return the fall from the peak as a share of it."""
        return share(max(self.peak - equity, ZERO), self.peak)

    def daily_loss(self, equity: Decimal) -> Decimal:
        """Return the loss since the day began as a share of its first equity."""
        return share(max(self.day_equity - equity, ZERO), self.day_equity)


def share(part: Decimal, whole: Decimal) -> Decimal:
    """Return part / whole; something in nothing is beyond every limit."""
    if whole > 0:
        return part / whole
    return BEYOND if part > 0 else ZERO


def day_start(now_ns: int, roll_ns: int = 0, zone: str = "UTC") -> int:
    """Return when the present day of a time zone began; its days begin at `roll_ns` after midnight there."""
    if zone == "UTC":
        return (now_ns - roll_ns) // DAY * DAY + roll_ns
    # By the wall clock of the zone, so that a day is 23 or 25 hours long where summer time begins or ends.
    now = datetime.fromtimestamp(now_ns // SECOND, ZoneInfo(zone))
    hour, minute = divmod(roll_ns // MINUTE, 60)
    start = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if start > now:
        start -= timedelta(days=1)
    return int(start.timestamp()) * SECOND


def parse_roll(text: str) -> int:
    """Return the nanoseconds after midnight of `17:30`, as the configuration has checked it."""
    hours, minutes = text.split(":")
    return int(hours) * HOUR + int(minutes) * MINUTE


# --- limits -------------------------------------------------------------------------------------


class Limits(Struct, frozen=True):
    """Shares of equity, of the peak, or of the day's first equity."""

    drawdown: Decimal
    daily_loss: Decimal
    exposure: Decimal
    concentration: Decimal


class Breach(Struct, frozen=True):
    """A limit that does not hold; `subject` is the position, where it is about one."""

    cause: str
    subject: str
    code: str
    text: str
    limit: str
    used: str
    would_pass: str


def judge(worth: Worth, curve: Curve, limits: Limits, numeraire: Asset) -> tuple[Breach, ...]:
    """Return the limits that do not hold. Losses may not reach theirs, positions may."""
    equity = worth.equity
    fall, loss = curve.drawdown(equity), curve.daily_loss(equity)
    sizes = [("exposure", "", worth.gross, limits.exposure)]
    sizes += [("concentration", name, abs(part), limits.concentration) for name, part in worth.parts.items()]
    found: list[Breach] = []
    if fall >= limits.drawdown:
        found.append(_loss("drawdown", "its peak", equity, curve.peak, fall, limits.drawdown, numeraire))
    if loss >= limits.daily_loss:
        first = curve.day_equity
        found.append(
            _loss("daily_loss", "the day's first", equity, first, loss, limits.daily_loss, numeraire)
        )
    for cause, subject, size, limit in sizes:
        if share(size, equity) > limit:
            found.append(_size_of(cause, subject, size, equity, limit, numeraire))
    return tuple(found)


def _loss(
    cause: str, what: str, equity: Decimal, base: Decimal, used: Decimal, limit: Decimal, numeraire: Asset
) -> Breach:
    text = f"equity {money(equity)} {numeraire} is {percent(used)} below {what}, {money(base)}"
    floor = f"equity above {money(base * (1 - limit))} {numeraire}"
    return Breach(cause, "", f"RISK_{cause.upper()}", text, plain(limit), ratio(used), floor)


def _size_of(
    cause: str, subject: str, size: Decimal, equity: Decimal, limit: Decimal, numeraire: Asset
) -> Breach:
    used = share(size, equity)
    what = f"what is held of {subject} is" if subject else "all positions together are"
    text = f"{what} worth {money(size)} {numeraire}, {percent(used)} of equity {money(equity)}"
    room = f"at most {money(max(limit * equity, ZERO))} {numeraire}"
    return Breach(cause, subject, f"RISK_{cause.upper()}", text, plain(limit), ratio(used), room)


def money(value: Decimal) -> str:
    """Return an amount with two decimals."""
    return format(value.quantize(_CENT), "f")


def ratio(value: Decimal) -> str:
    """Return a share with four decimals."""
    return plain(value.quantize(_BASIS)) if value < _MANY else "all and more"


def percent(value: Decimal) -> str:
    """Return a share as a percentage."""
    return f"{format((100 * value).quantize(_CENT), 'f')} %" if value < _MANY else "all and more"


def _size(part: tuple[str, Decimal]) -> Decimal:
    return part[1]
