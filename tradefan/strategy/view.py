"""What a handler sees of the world around its strategy, at the instant of its turn."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct, field

from tradefan.errors import Defect, Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import FeedQuality, Quality, Quote
from tradefan.messages.orders import ParentUpdate, PositionUpdate
from tradefan.setting import suggest
from tradefan.units import Asset, InstrumentId, ParentId

if TYPE_CHECKING:
    from tradefan.core.series import Columns, Series


class Position(Struct, frozen=True):
    """What this strategy holds of one instrument; `qty` is signed, `working` and `in_doubt` too.

    Floats, because they only inform a decision: money itself stays Decimal where it moves, and a
    quantity given back in a wish is rounded to whole lots.
    """

    qty: float
    avg_px: float | None
    unrealised: float
    realised: float
    working: float
    in_doubt: float


class Picture(Struct):
    """What a trader knows of the world around its strategy; part of the trader's state."""

    now_ns: int = 0
    instruments: dict[InstrumentId, Instrument] = field(default_factory=dict)
    quotes: dict[InstrumentId, Quote] = field(default_factory=dict)
    quality: dict[InstrumentId, FeedQuality] = field(default_factory=dict)
    positions: dict[InstrumentId, PositionUpdate] = field(default_factory=dict)
    parents: dict[ParentId, ParentUpdate] = field(default_factory=dict)


class View:
    """A read-only picture of this instant; it is valid during the handler that it was given to."""

    __slots__ = ("_capital", "_numeraire", "_picture", "_series", "_venue")

    def __init__(
        self,
        picture: Picture,
        venue: str,
        capital: Decimal,
        numeraire: Asset,
        series: Mapping[tuple[str, str], Series],
    ) -> None:
        """Look at a picture; `series` are the declared ones by (instrument, timeframe)."""
        self._picture = picture
        self._venue = venue
        self._capital = capital
        self._numeraire = numeraire
        self._series = series

    @property
    def now(self) -> int:
        """Kernel time of this turn, UTC in ns."""
        return self._picture.now_ns

    @property
    def capital(self) -> float:
        """The constant that weights refer to, in the numeraire."""
        return float(self._capital)

    @property
    def equity(self) -> float:
        """Own capital + realised + unrealised - fees, in the numeraire.

        Fees in an asset without a quote here are left out: they have no price that can be named.
        """
        total = self.capital
        for instrument, held in self._picture.positions.items():
            total += float(held.realised) + self._unrealised(instrument, held)
            total -= sum(float(fee) * self._price(asset) for asset, fee in held.fees.items())
        return total

    def instrument(self, symbol: str) -> Instrument:
        """Return tick, lot and limits of a symbol."""
        return self._picture.instruments[self._id(symbol)]

    def quote(self, symbol: str) -> Quote:
        """Return best bid and ask of a declared symbol."""
        instrument = self._id(symbol)
        found = self._picture.quotes.get(instrument)
        if found is None:
            raise Defect(f"no quote of {instrument}: declare bars, quotes or trades of it in setup()")
        return found

    def quality(self, symbol: str) -> Quality:
        """Return how far the feed of a symbol can be trusted."""
        found = self._picture.quality.get(self._id(symbol))
        return found.quality if found is not None else Quality.BLIND

    def position(self, symbol: str) -> Position:
        """Return what this strategy itself holds of a symbol."""
        instrument = self._id(symbol)
        held = self._picture.positions.get(instrument)
        if held is None:
            return Position(0.0, None, 0.0, 0.0, 0.0, 0.0)
        return Position(
            float(held.qty),
            None if held.avg_px is None else float(held.avg_px),
            self._unrealised(instrument, held),
            float(held.realised),
            float(held.working_qty),
            float(held.in_doubt_qty),
        )

    def parents(self) -> tuple[ParentUpdate, ...]:
        """Return own wishes that have not ended, oldest first."""
        return tuple(self._picture.parents.values())

    def orders(self, symbol: str) -> tuple[ParentUpdate, ...]:
        """Return own wishes of one symbol that have not ended, oldest first."""
        instrument = self._id(symbol)
        return tuple(parent for parent in self.parents() if parent.order.instrument == instrument)

    def last(self, n: int, timeframe: str | None = None, symbol: str | None = None) -> Columns:
        """Return the newest bars of a kept series as NumPy columns; by default the first declared."""
        for (instrument, frame), series in self._series.items():
            if timeframe in (None, frame) and (symbol is None or self._id(symbol) == instrument):
                return series.last(n)
        raise Defect(f"no series of {symbol or 'any symbol'} {timeframe or ''}: declare bars(..., keep={n})")

    def _id(self, symbol: str) -> InstrumentId:
        return find_instrument(self._picture.instruments, self._venue, symbol)

    def _unrealised(self, instrument: InstrumentId, held: PositionUpdate) -> float:
        quote, rules = self._picture.quotes.get(instrument), self._picture.instruments.get(instrument)
        if quote is None or rules is None or held.avg_px is None:
            return 0.0
        qty, entry, mid = float(held.qty), float(held.avg_px), (quote.bid + quote.ask) / 2
        return qty / entry - qty / mid if rules.inverse else qty * (mid - entry)

    def _price(self, asset: Asset) -> float:
        if asset == self._numeraire:
            return 1.0
        for instrument, quote in self._picture.quotes.items():
            rules = self._picture.instruments.get(instrument)
            if rules is not None and rules.base == asset and rules.quote == self._numeraire:
                return (quote.bid + quote.ask) / 2
        return 0.0


def find_instrument(instruments: Mapping[InstrumentId, Instrument], venue: str, symbol: str) -> InstrumentId:
    """Return the instrument that a symbol (or an instrument id) names on a venue.

    Raises:
        Refused: UNKNOWN_INSTRUMENT with what was probably meant.
    """
    for name in (InstrumentId(symbol), InstrumentId(f"{venue}:{symbol}")):
        if name in instruments:
            return name
    known = (item.partition(":")[2] for item in instruments)
    raise Refused(
        "UNKNOWN_INSTRUMENT", f"no instrument is called {symbol!r} on {venue}{suggest(symbol, known)}"
    )
