"""What a restarted trader of a scenario hears of the market again: as `market_data` tells it."""

from __future__ import annotations

from tradefan.core.desk import Declared
from tradefan.messages.base import Message
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import Bar, BarsClosed, FeedQuality, Quote, SessionBreak
from tradefan.units import InstrumentId


class Heard:
    """Keeps what was shown: bars since the last break, and the newest of all else."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._bars: dict[tuple[InstrumentId, str], list[Bar]] = {}
        self._newest: dict[tuple[str, InstrumentId], Message] = {}

    def take(self, msg: Message) -> None:
        """Keep a message; a session break ends what came before it."""
        if isinstance(msg, BarsClosed):
            for bar in msg.bars:
                self._bars.setdefault((bar.instrument, bar.timeframe), []).append(bar)
        elif isinstance(msg, SessionBreak):
            for key in [key for key in self._bars if key[0] == msg.instrument]:
                del self._bars[key]
            self._newest.pop(("quote", msg.instrument), None)
        elif isinstance(msg, FeedQuality):
            self._newest["quality", msg.instrument] = msg
        elif isinstance(msg, Quote):
            self._newest["quote", msg.instrument] = msg
        elif isinstance(msg, InstrumentUpdate):
            self._newest["rules", msg.instrument.id] = msg

    def again(self, declared: Declared, *, whole: bool) -> list[Message]:
        """Return the declared depth of bars (or the whole of them), oldest first, then all else's newest."""
        bars: list[Bar] = []
        for need in declared.bars:
            kept = self._bars.get((need.instrument, need.timeframe), [])
            bars.extend(kept if whole else kept[max(len(kept) - need.depth, 0) :])
        bars.sort(key=lambda bar: bar.close_ns)
        return [*(BarsClosed(bar.instrument, (bar,), live=False) for bar in bars), *self._newest.values()]
