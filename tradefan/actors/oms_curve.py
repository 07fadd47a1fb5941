"""What traded on earlier days, by source: volume curves are made of it when a parent is planned.

The store has it; the data writer asks for it at the start and when a day has ended, and tells it here. Until
then, and where it does not cover an order's window, the packaged curve stands in, which the plan says.
"""

from __future__ import annotations

from tradefan.actors.oms_state import Turn
from tradefan.messages.market import VolumeDays
from tradefan.units import InstrumentId

SOURCES = ("recorded", "klines")
"""The best first."""


def on_volume_days(turn: Turn, msg: VolumeDays) -> None:
    """Keep the newest word of a source; one that we do not know, or may not trade in, is passed over."""
    if msg.source in SOURCES and turn.instrument(msg.instrument) is not None:
        turn.live.volumes.setdefault(msg.instrument, {})[msg.source] = msg


def history_of(turn: Turn, instrument: InstrumentId) -> tuple[VolumeDays, ...]:
    """Return what is known of an instrument, the best source first."""
    known = turn.live.volumes.get(instrument, {})
    return tuple(known[source] for source in SOURCES if source in known)
