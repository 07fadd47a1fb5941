"""What the daemon does before its first step."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ETH
from tests.unit.stores.made import transfers
from tradefan.daemon import Daemon, close_if_killed, holding, run_daemon
from tradefan.data_dir import DaemonFile, DataDir
from tradefan.drivers.latch import Latch
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.messages.control import Append
from tradefan.messages.records import CleanStop, Epoch
from tradefan.stores.disk import REAL
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_link import JournalLink
from tradefan.stores.kill_byte import ALL, KILL_END, OPEN, SOME, KillByteFile
from tradefan.stores.segments import Head
from tradefan.stores.thread_link import left_behind
from tradefan.telemetry import Logging, start_logging


@pytest.mark.parametrize(("value", "closed"), [(OPEN, False), (SOME, False), (ALL, True)])
def test_latch_when_the_kill_byte_says_all_then_closed_before_the_first_step(
    tmp_path: Path, value: int, closed: bool
) -> None:
    """What was killed comes up killed, whatever becomes of the journal (I-10); a part of it is its word."""
    journal, latch = tmp_path / "journal.db", Latch()
    byte = KillByteFile(REAL, f"{journal}{KILL_END}")
    byte.put(value)
    byte.close()
    close_if_killed(latch, journal)
    assert latch.is_closed(("paper:main",)) is closed


def test_latch_when_nothing_was_ever_killed_then_open(tmp_path: Path) -> None:
    """The first start has no byte."""
    latch = Latch()
    close_if_killed(latch, tmp_path / "journal.db")
    assert not latch.is_closed(())


@pytest.mark.parametrize("content", [b"", b"\x01", b"killed"])
def test_latch_when_the_byte_is_damaged_then_closed(tmp_path: Path, content: bytes) -> None:
    """A byte that nobody wrote opens nothing."""
    (tmp_path / f"journal.db{KILL_END}").write_bytes(content)
    latch = Latch()
    close_if_killed(latch, tmp_path / "journal.db")
    assert latch.is_closed(())


async def test_lock_when_a_thread_of_the_journal_hangs_at_the_end_then_is_kept_until_the_process_ends(
    tmp_path: Path,
) -> None:
    """When the disk comes back that thread writes on: nobody else may have opened the journal by then."""
    hangs, gate = threading.Event(), threading.Event()

    class Hung(JournalFile):
        def write(self, *given: Any, **options: Any) -> int:
            hangs.set()
            gate.wait(20)
            return super().write(*given, **options)

    first, second = (Environment.load("development", None, (f"data_dir={tmp_path}",)) for _ in range(2))
    with holding(first):
        journal = str(first.places.journal)
        link = JournalLink(journal, lambda _message: None, open_file=Hung)
        task = asyncio.create_task(link.run())
        link.apply(Append(1, 1, transfers(1)))
        await asyncio.to_thread(hangs.wait, 5)
        # Once by the stop protocol, and again when the driver ends what is left.
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(task, return_exceptions=True)
        assert left_behind() == ["journal"]
    try:
        with pytest.raises(Refused, match=f"used by the daemon with pid {os.getpid()}"), holding(second):
            raise AssertionError("two processes would write one journal")
        gate.set()
        async with asyncio.timeout(5):
            while left_behind():
                await asyncio.sleep(0.01)
        assert JournalFile(journal, read_only=True).last_lsn == 1
    finally:
        gate.set()
        first.places.release()


def test_run_when_an_order_lost_its_feed_then_refused_before_anything_runs(tmp_path: Path) -> None:
    """One line names the key, the order and what is expected; journal and data directory stay as they are."""
    bench = Bench().ready()
    bench.resting(2, 9, instrument=ETH)
    file = JournalFile(str(tmp_path / "journal.db"))
    file.append(1, 1, bench.records)
    file.close()
    gone = ("feeds.binance:ETH/USDT=null", "risk.instruments=null", "strategies=null")
    sets = (f"data_dir={tmp_path}", "api.port=0", *gone)
    with pytest.raises(Refused, match=r"STILL_NEEDED: journal .*\n  feeds\.binance:ETH/USDT: order dev"):
        run_daemon(Environment.load("development", None, sets), 0.5)
    assert JournalFile(str(tmp_path / "journal.db"), read_only=True).last_lsn == len(bench.records)


@pytest.mark.failure("ST-03")
async def test_address_when_the_disk_is_full_then_it_is_written_as_soon_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API serves meanwhile; the log says once why no client finds it."""
    monkeypatch.setattr("tradefan.daemon.ANNOUNCE_AGAIN_S", 0.01)
    environment = Environment.load("development", None, (f"data_dir={tmp_path}", "strategies=null"))
    lines: list[tuple[str, str, dict[str, Any]]] = []
    log = SimpleNamespace(
        log=lambda level, event, **fields: lines.append((level, event, fields)),
        watch_space=lambda *_: None,
        redact=lambda _: None,
    )
    daemon = Daemon(environment, cast("Logging", log))
    announce, tries = type(environment.places).announce, iter((True, True, False, False))

    def write(places: DataDir, record: DaemonFile) -> None:
        if next(tries):
            raise OSError(errno.ENOSPC, "No space left on device")
        announce(places, record)

    monkeypatch.setattr("tradefan.data_dir.DataDir.announce", write)
    daemon._on_listening(8123)
    async with asyncio.timeout(5):
        while not environment.places.daemon_file.exists():
            await asyncio.sleep(0.01)
    daemon.close()
    assert b"http://127.0.0.1:8123" in environment.places.daemon_file.read_bytes()
    assert [(level, event) for level, event, _ in lines] == [
        ("info", "listening"),
        ("warning", "address_not_written"),
    ]
    text = f"{environment.places.daemon_file}: No space left on device"
    assert lines[1][2] == {"reason": text, "url": "http://127.0.0.1:8123"}


@pytest.mark.failure("ST-10")
def test_run_when_the_instance_file_is_lost_then_it_comes_from_the_journal_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    """Own ids must stay known as own."""
    file = JournalFile(str(tmp_path / "journal.db"))
    file.append(1, 1, (Epoch(1, 1, "abc", "cfg", "1"), CleanStop(2, 0)))
    file.close()
    sets = (f"data_dir={tmp_path}", "api.port=0", "strategies=null", "logs.console=false")
    assert run_daemon(Environment.load("development", None, sets), 0.5) == 0
    assert (tmp_path / "instance").read_text() == "abc"
    lines = [
        msgspec.json.decode(line) for line in (tmp_path / "logs" / "tradefan.log").read_bytes().splitlines()
    ]
    (line,) = [line for line in lines if line["event"] == "instance_restored"]
    assert (line["level"], line["instance"]) == ("warning", "abc")


def test_recorder_when_the_log_learns_a_secret_then_it_strikes_it_out_too(tmp_path: Path) -> None:
    """The API's token from the start, and what a link tells the log later, in each spelling."""
    environment = Environment.load("development", None, (f"data_dir={tmp_path}", "logs.console=false"))
    log = start_logging(tmp_path / "log", "info", console=False)
    daemon = Daemon(environment, log)
    log.stop()
    assert daemon.recorder is not None
    assert environment.places.load_token() in daemon.recorder._secrets()
    log.redact('pass"word')
    assert {'pass"word', 'pass\\"word'} < set(daemon.recorder._secrets())


def test_head_when_the_daemon_is_wired_anew_meanwhile_then_it_has_what_the_snapshot_has(
    tmp_path: Path,
) -> None:
    """The recorder's thread asks for it later than the snapshot was taken."""
    environment = Environment.load("development", None, (f"data_dir={tmp_path}", "logs.console=false"))
    log = start_logging(tmp_path / "log", "info", console=False)
    daemon = Daemon(environment, log)
    log.stop()
    assert daemon.recorder is not None
    head, made_of = daemon.recorder._head(1, 0), daemon.kernel.system.made_of
    daemon.kernel.system = replace(daemon.kernel.system, made_of={})
    assert msgspec.msgpack.decode(head(), type=Head).instruments == tuple(made_of.values()) != ()
