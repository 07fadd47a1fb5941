"""kill -9 of real processes: what journal and store had acknowledged is there afterwards.

It does not test fsync: the kernel keeps written pages when only the process dies.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.unit.stores.made import BTC, transfers
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_tool import verify
from tradefan.stores.sqlite import StoreFile
from tradefan.units import SECOND

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def killed(module: str, *arguments: str, until: Callable[[str], bool]) -> list[str]:
    """Run a program until it prints a line that says enough, kill it, return all that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.integration.{module}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    for line in process.stdout:
        printed.append(line)
        if until(line):
            break
    process.send_signal(signal.SIGKILL)
    printed += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    assert process.wait(10) == -signal.SIGKILL
    # The last line may be cut; what stands on a whole line was said.
    return [line for line in printed if line.endswith("\n")]


def integrity(path: str) -> str:
    db = apsw.Connection(path)
    try:
        return str(db.execute("PRAGMA integrity_check").get)
    finally:
        db.close()


@pytest.mark.failure("ST-02", "ST-05")
def test_journal_when_killed_again_and_again_then_has_every_acknowledged_record(tmp_path: Path) -> None:
    """Durable was said only of what a later start finds, whole and chained."""
    path, last = str(tmp_path / "journal.db"), 0
    for more in (100, 1, 1000, 50):

        def enough(line: str, wanted: int = last + more) -> bool:
            return int(line) >= wanted

        printed = killed("killed_journal", path, until=enough)
        acknowledged = max(int(line) for line in printed)
        assert integrity(path) == "ok"
        report = verify(path)
        assert (report.problems, report.rows >= acknowledged) == ((), True)
        file = JournalFile(path)
        records, durable = file.fold()
        recovered = file.recover()
        file.close()
        assert durable >= acknowledged > last
        assert records == transfers(durable)
        lsn = recovered.snapshot_lsn
        assert recovered.snapshot == (f"state {lsn}".encode() if lsn else None)
        assert durable < 200 or lsn > 0
        assert recovered.records == records[lsn:]
        last = durable


def test_store_when_killed_again_and_again_then_has_every_row_older_than_a_second(tmp_path: Path) -> None:
    """Batches by size and age, one writer, one transaction each: at most the last second is lost."""
    path, first = str(tmp_path / "store.db"), 1
    for duration_ns in (1_300_000_000, 1_700_000_000):
        begun: list[int] = []

        def enough(line: str, duration_ns: int = duration_ns, begun: list[int] = begun) -> bool:
            begun.append(int(line.split()[1]))
            return begun[-1] - begun[0] > duration_ns

        printed = [line.split() for line in killed("killed_store", path, str(first), until=enough)]
        numbers, last_ns = [int(number) for number, _ in printed], int(printed[-1][1])
        due = [int(number) for number, at_ns in printed if int(at_ns) <= last_ns - SECOND]
        assert integrity(path) == "ok"
        store = StoreFile(path, read_only=True)
        stored = {row.trade_id for row in store.trades(BTC, limit=100_000)}
        fills = {int(row.trade_id) for row in store.fills(limit=100_000)}
        store.close()
        assert len(due) > 20
        assert set(due) <= stored
        assert set(due) <= fills
        first = numbers[-1] + 1
