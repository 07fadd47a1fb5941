"""The venue's bars from a file: read whole and checked whole before anything is stored.

Format: Binance's CSV (open_time, open, high, low, close, volume, close_time and more), with or without its
line of names, times in ms or since 2025 in us; or fewer columns under such names, or the first six without.
Source: github.com/binance/binance-public-data, README (2025-01-01: spot data in microseconds).
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TextIO

from msgspec import Struct

from tradefan.config.mistakes import Mistake, shown
from tradefan.errors import Refused
from tradefan.units import MS, US, iso

ROWS_MAX = 5_000_000
"""Bars of one file: ten years of minutes."""
MISTAKES_MAX = 100
"""So many are named; the others are counted."""
COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
CLOSE_TIME = "close_time"
BINANCE_COLUMNS = 12
"""Of its files without names; the seventh is close_time."""
_ALIASES = {"open_time_ms": "open_time", "open_time_us": "open_time", "timestamp": "open_time"}
_NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,2})?")
_UNITS = ((MS, 10**12, 10**14), (US, 10**15, 10**17))
"""What an instant of this century counts, by its size."""
_TIME = "ms or us since 1970"


class Kline(NamedTuple):
    """A bar of a venue; volume in base."""

    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Klines(Struct, frozen=True):
    """What a file holds, in order of time; `missing` bars lie in between, which is no mistake."""

    rows: tuple[Kline, ...]
    missing: int


class KlinesInvalid(Refused):
    """A file was refused; `mistakes` are the first of them, `more` how many others there are."""

    def __init__(self, mistakes: list[Mistake], more: int) -> None:
        self.mistakes, self.more = tuple(mistakes), more
        lines = [str(mistake) for mistake in mistakes]
        if more:
            lines.append(f"and {more} more")
        super().__init__("BAD_KLINES", "\n".join(lines))


def read_klines(path: Path, step_ns: int, now_ns: int) -> Klines:
    """Return the bars of a file of CSV, as it is or packed (.gz .xz .zip); each `step_ns` long.

    Raises:
        KlinesInvalid: with every mistake, its line, column and value.
        Refused: NO_FILE or BAD_FILE when it cannot be read at all.
    """
    try:
        with closing(_open(path)) as file:
            return _Reader(str(path), step_ns, now_ns).read(file)
    except FileNotFoundError:
        raise Refused("NO_FILE", f"expected a file of bars, found nothing at {path}") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise Refused("BAD_FILE", f"{path}: {type(error).__name__}: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8-sig", newline="")
    if path.suffix == ".zip":
        return _zipped(path)
    return path.open(encoding="utf-8-sig", newline="")


def _zipped(path: Path) -> TextIO:
    with zipfile.ZipFile(path) as pack:
        names = pack.namelist()
        if len(names) != 1:
            raise Refused("BAD_FILE", f"{path}: expected one file in it, got {len(names)}")
        return io.TextIOWrapper(pack.open(names[0]), encoding="utf-8-sig", newline="")


class _Reader:
    """Reads one file, and goes on behind a mistake, so that all are said at once."""

    def __init__(self, name: str, step_ns: int, now_ns: int) -> None:
        self._name, self._step_ns, self._now_ns = name, step_ns, now_ns
        self._places = dict(zip(COLUMNS, range(6), strict=True))
        self._named = False
        self._rows: list[Kline] = []
        self._mistakes: list[Mistake] = []
        self._more = 0
        self._last_ns = 0
        self._missing = 0

    def read(self, file: TextIO) -> Klines:
        for line, cells in _lines(file):
            if line == 1 and not _NUMBER.fullmatch(cells[0]):
                self._names(cells)
            elif len(self._rows) >= ROWS_MAX:
                text = f"expected at most {ROWS_MAX} bars in a file; cut it"
                raise Refused("BAD_FILE", f"{self._name}: {text}")
            else:
                self._line(line, cells)
        if not (self._rows or self._mistakes):
            self._mistake(1, "", None, "bars")
        if self._mistakes:
            raise KlinesInvalid(self._mistakes, self._more)
        return Klines(tuple(self._rows), self._missing)

    def _names(self, cells: list[str]) -> None:
        """Take the line of names; without one of the columns no line can be read."""
        self._named = True
        named = [cell.lower().replace(" ", "_") for cell in cells]
        places = {_ALIASES.get(name, name): place for place, name in enumerate(named)}
        for column in COLUMNS:
            if column not in places:
                self._mistake(1, column, ",".join(cells), f"a column {column}")
        if self._mistakes:
            raise KlinesInvalid(self._mistakes, self._more)
        self._places = {name: places[name] for name in (*COLUMNS, CLOSE_TIME) if name in places}

    def _line(self, line: int, cells: list[str]) -> None:
        places = self._places
        if not self._named and len(cells) == BINANCE_COLUMNS:
            places = {**places, CLOSE_TIME: 6}
        if len(cells) <= max(places.values()):
            least = max(places.values()) + 1
            self._mistake(line, "", ",".join(cells), f"{least} columns, {len(cells)} are there")
            return
        before = len(self._mistakes) + self._more
        at_ns = self._time(line, cells[places["open_time"]])
        prices = [self._price(line, name, cells[places[name]]) for name in COLUMNS[1:5]]
        volume = self._number(line, "volume", cells[places["volume"]])
        if CLOSE_TIME in places and at_ns is not None:
            # Of another timeframe each time may lie on the grid all the same.
            self._close_time(line, at_ns, cells[places[CLOSE_TIME]])
        if len(self._mistakes) + self._more == before:
            assert at_ns is not None
            assert volume is not None
            self._take(line, at_ns, [price for price in prices if price is not None], volume, cells)

    def _take(self, line: int, at_ns: int, prices: list[float], volume: float, cells: list[str]) -> None:
        opened, high, low, close = prices
        places = self._places
        if high < max(opened, close, low):
            self._mistake(line, "high", cells[places["high"]], "the highest of the four prices")
        elif low > min(opened, close):
            self._mistake(line, "low", cells[places["low"]], "the lowest of the four prices")
        else:
            self._rows.append(Kline(at_ns, opened, high, low, close, volume))

    # --- cells --------------------------------------------------------------------------------------

    def _time(self, line: int, text: str) -> int | None:
        """Return an instant of the timeframe's, behind the one before, and of a bar that is over."""
        at_ns = _instant(text)
        if at_ns is None:
            self._mistake(line, "open_time", text, _TIME)
            return None
        last_ns, self._last_ns = self._last_ns, max(self._last_ns, at_ns)
        if at_ns % self._step_ns:
            self._mistake(line, "open_time", text, f"a multiple of {self._step_ns // 10**9} s")
        elif at_ns <= last_ns:
            self._mistake(line, "open_time", text, f"an instant behind {iso(last_ns)}")
        elif at_ns + self._step_ns > self._now_ns:
            self._mistake(line, "open_time", text, "a bar that is over; leave out what still grows")
        else:
            if last_ns:
                self._missing += (at_ns - last_ns) // self._step_ns - 1
            return at_ns
        return None

    def _close_time(self, line: int, at_ns: int, text: str) -> None:
        """See that the bar is as long as the timeframe: Binance names its last ms or us."""
        close_ns = _instant(text)
        end_ns = at_ns + self._step_ns
        if close_ns is None or not end_ns - MS <= close_ns <= end_ns:
            self._mistake(line, CLOSE_TIME, text, f"the end of its bar, {iso(end_ns)}: another timeframe?")

    def _price(self, line: int, column: str, text: str) -> float | None:
        value = self._number(line, column, text)
        if value == 0:
            self._mistake(line, column, text, "a price above zero")
            return None
        return value

    def _number(self, line: int, column: str, text: str) -> float | None:
        if not _NUMBER.fullmatch(text):
            self._mistake(line, column, text, "a number that is not below zero")
            return None
        return float(text)

    def _mistake(self, line: int, column: str, value: str | None, expected: str) -> None:
        if len(self._mistakes) >= MISTAKES_MAX:
            self._more += 1
        else:
            got = None if value is None else shown(value)
            self._mistakes.append(Mistake(self._name, line, column, got, expected))


def _lines(file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Give each line that has something, with its number."""
    reader = csv.reader(file)
    try:
        for cells in reader:
            if any(cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise Refused("BAD_FILE", f"line {reader.line_num}: {error}") from error


def _instant(text: str) -> int | None:
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
    return next((value * unit for unit, least, most in _UNITS if least <= value < most), None)
