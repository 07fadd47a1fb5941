"""What has traded in an instrument since somebody began to follow it, in lots, and in any window of late.

The feed sends sums. An actor that begins anew begins at zero with another generation: differences count.
"""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct, field

from tradefan.units import MS, SECOND

SAMPLE_NS = 250 * MS
"""Two samples lie at least so far apart."""
KEPT_NS = 3_600 * SECOND
"""The longest window."""


class Tape(Struct):
    """Sums since it is followed, with samples (instant, lots) of the last hour, oldest first."""

    lots: int = 0
    value: float = 0.0
    """Price x lots, in quote per lot of base."""
    generation: int = 0
    seen_lots: int = 0
    seen_value: float = 0.0
    since_ns: int = 0
    at_ns: list[int] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)


def begin(now_ns: int) -> Tape:
    """Return a tape that is followed from now on."""
    return Tape(since_ns=now_ns)


def note(tape: Tape, generation: int, lots: int, value: float, now_ns: int) -> None:
    """Take the feed's sums."""
    if generation != tape.generation:
        tape.generation, tape.seen_lots, tape.seen_value = generation, 0, 0.0
    if tape.at_ns and now_ns - tape.at_ns[-1] < SAMPLE_NS:
        # The sample stands for what traded before it: the present sum is in `lots`.
        pass
    else:
        tape.at_ns.append(now_ns)
        tape.sums.append(tape.lots)
        _forget(tape, now_ns)
    tape.lots += lots - tape.seen_lots
    tape.value += value - tape.seen_value
    tape.seen_lots, tape.seen_value = lots, value


def rescale(tape: Tape, num: int, den: int) -> None:
    """Let one lot be num / den of what it was: the instrument has another lot now."""
    tape.lots = tape.lots * num // den
    tape.sums = [one * num // den for one in tape.sums]
    tape.value = tape.value * num / den


def window(tape: Tape, now_ns: int, window_ns: int) -> int:
    """Return what has traded since an instant; a part of a sample's length is not told apart."""
    i = bisect_right(tape.at_ns, now_ns - window_ns)
    return tape.lots - (tape.sums[i] if i < len(tape.sums) else tape.lots)


def _forget(tape: Tape, now_ns: int) -> None:
    i = bisect_right(tape.at_ns, now_ns - KEPT_NS)
    # One at a time would cost the whole list each time.
    if i > 256:
        del tape.at_ns[:i], tape.sums[:i]
