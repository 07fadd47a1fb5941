"""A damaged journal under a real daemon: refused in words; `--accept-loss` asks the venue for the rest."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

BTC = "binance:BTC/USDT"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Only the strategy that holds a constant share."""
    made = DaemonProcess(tmp_path, "strategies.ema_cross_eth=null", "venues.binance.tape.history=30s")
    yield made
    made.close()


def journal_of(daemon: DaemonProcess) -> dict[str, int]:
    return daemon.status()["stores"][0]


def flip(journal: Path, kind: str) -> int:
    """Change one byte of the last row of a kind; return its lsn."""
    with closing(sqlite3.connect(journal)) as db, db:
        lsn, payload = db.execute(
            "SELECT lsn, payload FROM journal WHERE type = ? ORDER BY lsn DESC LIMIT 1", (kind,)
        ).fetchone()
        flipped = bytes([*payload[:-1], payload[-1] ^ 1])
        db.execute("UPDATE journal SET payload = ? WHERE lsn = ?", (flipped, lsn))
    found: int = lsn
    return found


@pytest.mark.failure("ST-06")
def test_daemon_when_its_journal_is_damaged_then_refuses_until_the_loss_is_accepted(
    daemon: DaemonProcess,
) -> None:
    """What the lost rows told of our fills the venue tells again; the loss stays on record."""
    daemon.start().until_ready()
    daemon.until(lambda: float(daemon.positions().get(("rebalance_btc", BTC), "0")) > 0, 60)
    # Memory runs ahead of the disk: the fill is shown before it is in the file that is to be damaged.
    seen = journal_of(daemon)["lsn"]
    daemon.until(lambda: journal_of(daemon)["durable_lsn"] >= seen, 10)
    daemon.end(signal.SIGKILL)
    lsn = flip(daemon.data / "journal.db", "Fill")

    process = daemon.start().process
    assert process is not None
    assert process.wait(30) != 0
    assert f"lsn {lsn}" in daemon.console()
    assert "docs/refused-journal.md" in daemon.console()

    daemon.start("--accept-loss").until_ready()
    bought = daemon.paper("SELECT free FROM balance WHERE asset = 'BTC'")
    daemon.until(lambda: daemon.positions().get(("rebalance_btc", BTC)) == bought[0][0], 30)
    assert daemon.logged("journal_loss_accepted")
    verified = daemon.run("journal", "verify")
    assert (verified.returncode, "losses     -" in verified.stdout) == (0, False)
    assert daemon.end(signal.SIGTERM)[0] == 0
