"""What goes to an InfluxDB in which request, and what becomes of a request that it refuses. Pure.

A refusal does not say which line is poison, and its other lines are written (`dropped` is not to be
believed). So halves are sent again until it is found; nothing is ever repeated whole behind a refusal.
Only of points that are older than its retention policy it says how many, and those are the oldest ones: it
drops them before it looks at the others, and names them only where it took all of these.
Source: https://github.com/influxdata/influxdb/blob/1.8/coordinator/points_writer.go (`MapShards`)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tradefan.messages.control import Stored
from tradefan.messages.market import Quote
from tradefan.stores.line_protocol import Aside, Lines, encode
from tradefan.stores.schema import MEASUREMENTS

BODY_MAX = 250_000
"""Most characters of one request: four bytes each are less than the MiB from which aiohttp warns."""
REQUESTS_MAX = 200
"""Most refusals by which one batch's poison is looked for; what is refused then is set aside as it is."""
UNTRIED = "not tried alone, the server may have it"
PROGRESS = "progress"
"""The measurement in which the server keeps up to where it has each journal; it is no message's."""
_TOO_OLD = re.compile(r"points beyond retention policy dropped=(\d+)")
_KIND_OF = {table.name: kind.__name__ for kind, table in MEASUREMENTS.items()}


class Delivery:
    """The lines of a batch on their way, one request after the other."""

    def __init__(self, lines: Lines) -> None:
        """Begin with the first; what the encoder set aside is aside already."""
        self._lines = lines.lines
        self._measurements = lines.measurements
        self._parts = _bodies(lines.lines)
        self._left = REQUESTS_MAX
        self.aside = list(lines.aside)

    @property
    def text(self) -> str | None:
        """The lines of the next request, None when all are dealt with."""
        if not self._parts:
            return None
        part = self._parts[-1]
        return "\n".join(self._lines[part.start : part.stop])

    def taken(self) -> None:
        """Go on behind a request that the server has stored."""
        self._parts.pop()

    def refused(self, reason: str) -> None:
        """Halve a request of which the server refuses a line; a single line is set aside."""
        part = self._parts.pop()
        old = _TOO_OLD.search(reason)
        if old is not None and int(old[1]) > 0:
            self._put_aside(sorted(part, key=self._at)[: int(old[1])], reason)
            return
        self._left -= 1
        if len(part) > 1 and self._left > 0:
            middle = (part.start + part.stop) // 2
            self._parts += [range(middle, part.stop), range(part.start, middle)]
        else:
            self._put_aside(part, reason if len(part) == 1 else f"{reason} ({UNTRIED})")

    def _put_aside(self, places: Iterable[int], reason: str) -> None:
        self.aside += [Aside(self._measurements[place], reason, self._lines[place]) for place in places]

    def _at(self, place: int) -> int:
        """Return the instant of a line's point."""
        return int(self._lines[place].rpartition(" ")[2])

    def counts(self) -> dict[str, int]:
        """Count what is set aside, by message class."""
        kinds = (_KIND_OF.get(one.measurement) for one in self.aside)
        return dict(Counter(kind for kind in kinds if kind is not None))


def add_lines(lines: Lines, rows: Sequence[Stored | Quote]) -> None:
    """Encode rows behind lines that are there."""
    found = encode(rows)
    lines.lines.extend(found.lines)
    lines.measurements.extend(found.measurements)
    lines.aside.extend(found.aside)


def with_place(lines: Lines, journal: str, lsn: int, epoch: int, at_ns: int) -> None:
    """Add behind lines the one that says up to where the server has this journal with them.

    They are one request, which it applies as one. The epoch, 0 when it is not known, tells that row from
    another one that has its number where rows were lost.
    """
    of = f",epoch={epoch}i" if epoch else ""
    lines.lines.append(f"{PROGRESS},journal={journal} lsn={lsn}i{of} {at_ns}")
    lines.measurements.append(PROGRESS)


def asked_place(journal: str) -> str:
    """Return the question for that place and its epoch; the newest word is the one that counts."""
    return f'SELECT last("lsn"), "epoch" FROM "{PROGRESS}" WHERE "journal" = \'{journal}\''  # noqa: S608 hex


def _bodies(lines: Sequence[str]) -> list[range]:
    """Return which lines go into one request, the first ones last, as a stack has them."""
    bodies, first, size = [], 0, 0
    for place, line in enumerate(lines):
        if size and size + len(line) > BODY_MAX:
            bodies.append(range(first, place))
            first, size = place, 0
        size += len(line) + 1
    return [range(first, len(lines)), *reversed(bodies)] if lines else []
