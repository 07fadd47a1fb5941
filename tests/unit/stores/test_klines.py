"""Bars from a file: every format that is read, every mistake with its place, all or nothing in the store."""

from __future__ import annotations

import gzip
import lzma
import zipfile
from pathlib import Path

import pytest

from tests.unit.stores.made import BTC, Disk, dies_at
from tradefan.errors import Outage, Refused
from tradefan.messages.control import VolumesAsked
from tradefan.sim.disk import SimDisk
from tradefan.stores.klines import MISTAKES_MAX, Kline, KlinesInvalid, read_klines
from tradefan.stores.sqlite import StoreFile
from tradefan.units import DAY, MINUTE, MS

T0 = 20_000 * DAY
NOW = T0 + DAY
NAMES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)
ROWS = tuple(Kline(T0 + i * MINUTE, 10.5, 12.0, 9.0, 11.0, 3.25 + i) for i in range(3))


def text(rows: tuple[Kline, ...] = ROWS, unit: int = MS) -> list[str]:
    """Lines of six columns."""
    return [",".join(str(cell) for cell in (row.open_ns // unit, *row[1:])) for row in rows]


def binance(rows: tuple[Kline, ...] = ROWS, unit: int = MS) -> list[str]:
    """Lines of Binance's twelve columns."""
    return [
        f"{line},{(row.open_ns + MINUTE) // unit - 1},35.75,7,1.5,16.5,0"
        for line, row in zip(text(rows, unit), rows, strict=True)
    ]


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "lines",
    [
        text(),
        text(unit=1_000),
        ["open_time_ms,open,high,low,close,volume", *text()],
        binance(),
        binance(unit=1_000),
        [NAMES, *binance(), ""],
        [f"\ufeff{NAMES.upper().replace('_', ' ')}", *binance(unit=1_000)],
        ["volume,close,low,high,open,timestamp", *(",".join(line.split(",")[::-1]) for line in text())],
        [", ".join(f'"{cell}"' for cell in line.split(",")).replace(", ", ",") for line in text()],
    ],
)
def test_read_when_a_file_has_one_of_the_formats_then_its_bars_are_found(
    tmp_path: Path, lines: list[str]
) -> None:
    """With and without names, in ms and in us, six or twelve columns, in the order of their names."""
    found = read_klines(written(tmp_path / "x.csv", *lines), MINUTE, NOW)
    assert (found.rows, found.missing) == (ROWS, 0)


def test_read_when_a_file_is_packed_then_it_is_read_all_the_same(tmp_path: Path) -> None:
    """As venues and archives have them."""
    content = "\n".join(binance()).encode()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.csv.xz").write_bytes(lzma.compress(content))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as pack:
        pack.writestr("BTCUSDT-1m.csv", content)
    for name in ("a.csv.gz", "b.csv.xz", "c.zip"):
        assert read_klines(tmp_path / name, MINUTE, NOW).rows == ROWS
    with zipfile.ZipFile(tmp_path / "c.zip", "a") as pack:
        pack.writestr("other.csv", content)
    with pytest.raises(Refused, match=r"BAD_FILE: .*expected one file in it, got 2"):
        read_klines(tmp_path / "c.zip", MINUTE, NOW)


def test_read_when_bars_are_missing_in_between_then_they_are_counted(tmp_path: Path) -> None:
    """A venue that was down made none."""
    rows = (ROWS[0], ROWS[2]._replace(open_ns=T0 + 10 * MINUTE))
    assert read_klines(written(tmp_path / "x.csv", *text(rows)), MINUTE, NOW).missing == 9


def changed(line: int, place: int, cell: str) -> list[str]:
    """Binance's lines with one cell changed; lines count from 1."""
    lines = binance()
    cells = lines[line - 1].split(",")
    cells[place] = cell
    lines[line - 1] = ",".join(cells)
    return lines


T = T0 // MS


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (changed(1, 0, "17e11"), "x.csv:1: open_time: expected ms or us since 1970, got 17e11"),
        (changed(2, 0, "1728"), "x.csv:2: open_time: expected ms or us since 1970, got 1728"),
        (changed(2, 0, str(T + 1)), f"x.csv:2: open_time: expected a multiple of 60 s, got {T + 1}"),
        (
            changed(2, 0, str(T)),
            f"x.csv:2: open_time: expected an instant behind 2024-10-04T00:00:00.000Z, got {T}",
        ),
        (changed(3, 0, str(T + 86_400_000)), "x.csv:3: open_time: expected a bar that is over"),
        (changed(1, 1, "nan"), "x.csv:1: open: expected a number that is not below zero, got nan"),
        (changed(1, 1, "0"), "x.csv:1: open: expected a price above zero, got 0"),
        (changed(1, 1, "-3"), "x.csv:1: open: expected a number that is not below zero, got -3"),
        (changed(1, 2, "1_2"), "x.csv:1: high: expected a number that is not below zero, got 1_2"),
        (changed(1, 2, "10.9"), "x.csv:1: high: expected the highest of the four prices, got 10.9"),
        (changed(2, 3, "10.6"), "x.csv:2: low: expected the lowest of the four prices, got 10.6"),
        (changed(2, 5, ""), "x.csv:2: volume: expected a number that is not below zero, got ''"),
        (
            changed(2, 6, str(T + 300_000)),
            "x.csv:2: close_time: expected the end of its bar, 2024-10-04T00:02:00.000Z",
        ),
        (changed(2, 6, str(T + 60_999)), "x.csv:2: close_time: expected the end of its bar"),
        ([*binance()[:2], "1,2,3"], "x.csv:3: expected 6 columns, 3 are there, got 1,2,3"),
        ([NAMES, *binance()[:1], *text()[1:]], "x.csv:3: expected 7 columns, 6 are there"),
        (["time,open,high,low,close", *text()], "x.csv:1: open_time: expected a column open_time"),
        ([""], "x.csv:1: expected bars"),
        ([NAMES], "x.csv:1: expected bars"),
    ],
)
def test_read_when_a_line_is_wrong_then_it_is_named_with_column_and_value(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    """Nothing of the file is taken."""
    with pytest.raises(KlinesInvalid, match="BAD_KLINES") as caught:
        read_klines(written(tmp_path / "x.csv", *lines), MINUTE, NOW)
    assert said in str(caught.value.mistakes[0])


def test_read_when_there_are_many_mistakes_then_all_are_said_or_counted(tmp_path: Path) -> None:
    """Two in one line, too."""
    with pytest.raises(KlinesInvalid) as caught:
        read_klines(written(tmp_path / "x.csv", f"{T},x,y,9,11,3", *text()[1:], "1,2"), MINUTE, NOW)
    assert [(one.line, one.key) for one in caught.value.mistakes] == [(1, "open"), (1, "high"), (4, "")]
    lines = [f"{T + i * 60_000},1,1,1,1,x" for i in range(MISTAKES_MAX + 7)]
    with pytest.raises(KlinesInvalid, match=r"\nand 7 more") as caught:
        read_klines(written(tmp_path / "x.csv", *lines), MINUTE, NOW)
    assert (len(caught.value.mistakes), caught.value.more) == (MISTAKES_MAX, 7)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("x.csv", b"\xff\xfe1,2", "BAD_FILE"),
        ("x.csv.gz", b"no", "BAD_FILE"),
        ("x.csv.xz", b"no", "BAD_FILE"),
        ("x.zip", b"no", "BAD_FILE"),
        ("x.csv", b'1,"' + b"2" * 200_000, "BAD_FILE"),
        ("missing.csv", None, "NO_FILE"),
    ],
)
def test_read_when_a_file_cannot_be_read_then_it_is_refused(
    tmp_path: Path, name: str, content: bytes | None, code: str
) -> None:
    """With its name."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=code):
        read_klines(tmp_path / name, MINUTE, NOW)


def test_store_when_klines_come_twice_then_nothing_changes(tmp_path: Path) -> None:
    """What says otherwise takes the place of what was there, and is counted."""
    store = StoreFile(str(tmp_path / "store.db"))
    assert store.put_klines(BTC, "1m", ROWS) == (3, 0)
    assert store.put_klines(BTC, "1m", ROWS) == (0, 0)
    other = ROWS[1]._replace(volume=100.0)
    more = tuple(ROWS[0]._replace(open_ns=T0 + i * MINUTE) for i in (3, 4))
    assert store.put_klines(BTC, "1m", (other, *more)) == (2, 1)
    (found,) = store.volumes(VolumesAsked(BTC, 20_000, 20_001))
    assert (found.source, found.days[0][1][0]) == ("klines", 3.25 + 100.0 + 5.25 + 2 * 3.25)


def test_store_when_the_disk_fails_in_the_middle_then_no_bar_is_there(tmp_path: Path) -> None:
    """One transaction; afterwards the same file comes whole."""
    disk = Disk()
    store = StoreFile(str(tmp_path / "store.db"), connect=disk.connect)
    disk.full = True
    with pytest.raises(Outage):
        store.put_klines(BTC, "1m", MANY)
    disk.full = False
    assert store.volumes(VolumesAsked(BTC, 0, 30_000)) == ()
    assert store.put_klines(BTC, "1m", MANY) == (len(MANY), 0)


def test_store_when_the_process_dies_while_it_writes_then_all_bars_are_there_or_none() -> None:
    """Whichever call of the disk is the last one."""
    seen = {}
    for call in range(1, 400, 23):
        disk = SimDisk(1)
        store = StoreFile("store.db", connect=disk.connect)
        with dies_at(disk, call):
            store.put_klines(BTC, "1m", MANY)
        disk.crash(power_loss=False)
        found = StoreFile("store.db", connect=disk.connect).volumes(VolumesAsked(BTC, 0, 30_000))
        seen[sum(len(days.days) for days in found)] = call
    assert list(seen) == [0, 7]


MANY = tuple(ROWS[0]._replace(open_ns=T0 + i * MINUTE) for i in range(10_000))
