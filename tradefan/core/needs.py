"""What strategies need of an instrument's market, from what they declare."""

from __future__ import annotations

from collections.abc import Mapping

from tradefan.core.desk import Declared
from tradefan.messages.base import Message
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import BarsClosed, FeedQuality, Quote, SessionBreak, Trade
from tradefan.units import InstrumentId, OwnerId


def messages_of(declared: Declared, instrument: InstrumentId) -> list[type[Message]]:
    """Return what a trader hears of an instrument, in the order of sending."""
    if instrument not in declared.instruments:
        return []
    needs: list[type[Message]] = [FeedQuality, SessionBreak, InstrumentUpdate, Quote]
    if instrument in declared.trades:
        needs.append(Trade)
    if any(need.instrument == instrument for need in declared.bars):
        needs.append(BarsClosed)
    return needs


def depths_of(declared: Mapping[OwnerId, Declared], instrument: InstrumentId) -> dict[str, int]:
    """Return the timeframes that strategies follow, and how many bars the deepest wants."""
    depths: dict[str, int] = {}
    for need in (need for one in declared.values() for need in one.bars):
        if need.instrument == instrument:
            depths[need.timeframe] = max(depths.get(need.timeframe, 0), need.depth)
    return depths
