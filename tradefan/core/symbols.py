"""What a user's word for an instrument means, among all that have a feed."""

from __future__ import annotations

from collections.abc import Mapping

from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.setting import suggest
from tradefan.units import InstrumentId


def resolve_symbol(instruments: Mapping[InstrumentId, Instrument], symbol: str) -> InstrumentId:
    """Return the instrument that a user's word names: an id, or a symbol that one venue carries.

    Raises:
        Refused: UNKNOWN_INSTRUMENT, or AMBIGUOUS_SYMBOL with the ids to choose from.
    """
    if symbol in instruments:
        return InstrumentId(symbol)
    found = [id_ for id_, one in instruments.items() if one.symbol == symbol]
    if not found:
        raise Refused(
            "UNKNOWN_INSTRUMENT", f"no feed carries {symbol!r}{suggest(symbol, _words(instruments))}"
        )
    if len(found) > 1:
        raise Refused("AMBIGUOUS_SYMBOL", f"{symbol} is traded as {' and '.join(found)}; name one of them")
    return found[0]


def _words(instruments: Mapping[InstrumentId, Instrument]) -> list[str]:
    return sorted({one.symbol for one in instruments.values()})
