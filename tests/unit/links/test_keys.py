"""One daemon to an API key on this machine, whatever directory it runs in; secrets stay where they are."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tradefan.config.schema import AccountConfig
from tradefan.errors import Outage, Refused
from tradefan.links.keys import KeyLocks, fingerprint, read_secret, runtime_folder

REAL = AccountConfig(venue="binance", api_key="${TEST_KEY}", api_secret="${TEST_SECRET}")
PAPER = AccountConfig(venue="paper")
HOLDER = """
import sys, time
from pathlib import Path
from tradefan.config.schema import AccountConfig
from tradefan.links.keys import KeyLocks
locks = KeyLocks(Path(sys.argv[1]))
account = AccountConfig(venue="binance", api_key="${TEST_KEY}", api_secret="${TEST_SECRET}")
locks.take({"binance:main": account}, Path(sys.argv[2]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "k" * 64)


@pytest.mark.failure("ST-07")
@pytest.mark.slow
def test_key_when_another_process_trades_with_it_then_refused_by_pid_and_directory(tmp_path: Path) -> None:
    """Within a second, although its data directory is another one; when that process dies it is free."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path), "/data/first"]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        second, began = KeyLocks(tmp_path), time.monotonic()
        text = rf"KEY_IN_USE: the API key of binance:mine is used by.* pid {holder.pid} in /data/first;"
        with pytest.raises(Refused, match=text):
            second.require_free({"binance:mine": REAL})
        with pytest.raises(Refused, match=text):
            second.take({"binance:mine": REAL}, Path("/data/second"))
        assert time.monotonic() - began < 1
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        second.require_free({"binance:mine": REAL})
        second.take({"binance:mine": REAL}, Path("/data/second"))
        second.release()
    finally:
        holder.kill()
        holder.wait(10)
        assert holder.stdout is not None
        holder.stdout.close()


def test_key_when_it_is_another_one_then_both_trade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are by venue and key; paper accounts have none."""
    first, second = KeyLocks(tmp_path), KeyLocks(tmp_path)
    first.take({"binance:main": REAL, "paper:main": PAPER}, Path("/one"))
    second.take({"paper:main": PAPER}, Path("/two"))
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setenv("TEST_KEY", "other")
    second.take({"binance:main": REAL}, Path("/two"))
    first.release()
    second.release()


@pytest.mark.failure("ST-07")
def test_key_when_two_accounts_share_it_then_refused_and_none_is_held(tmp_path: Path) -> None:
    """Each fill would be booked to both; what was taken before is let go."""
    locks = KeyLocks(tmp_path)
    with pytest.raises(Refused, match="KEY_TWICE: accounts binance:a and binance:b"):
        locks.take({"binance:a": REAL, "binance:b": REAL}, Path("/one"))
    other = KeyLocks(tmp_path)
    other.take({"binance:a": REAL}, Path("/two"))
    other.release()


def test_key_when_it_is_looked_for_then_stands_in_no_name_and_no_note(tmp_path: Path) -> None:
    """The lock says who holds it, and gives the key to nobody."""
    locks = KeyLocks(tmp_path)
    locks.take({"binance:main": REAL}, Path("/one"))
    (path,) = tmp_path.iterdir()
    assert (path.name, path.read_text()) == (
        f"{fingerprint('binance', 'k' * 64)}.lock",
        f"{os.getpid()} /one\n",
    )
    assert "kkkk" not in path.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    locks.release()


# --- the folder ---------------------------------------------------------------------------------------------


def test_folder_when_the_session_has_one_then_lies_in_it_and_is_private(tmp_path: Path) -> None:
    """XDG_RUNTIME_DIR; a relative one is none."""
    found = runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found == tmp_path / "tradefan"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == found


def test_folder_when_there_is_no_session_then_lies_under_the_temporary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by the user, so that two users do not meet."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uid = os.getuid()
    missing = {"XDG_RUNTIME_DIR": str(tmp_path / "missing")}
    assert runtime_folder(missing, uid) == tmp_path / f"tradefan-{uid}"


def test_folder_when_somebody_else_could_write_there_then_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can replace a lock file can let a second daemon in."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uid, missing = os.getuid(), {"XDG_RUNTIME_DIR": str(tmp_path / "missing")}
    folder = tmp_path / f"tradefan-{uid}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Outage, match="nobody else may write"):
        runtime_folder(missing, uid)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(Outage, match=r"folder of user|expected a runtime folder"):
        runtime_folder(missing, uid)


# --- secrets ------------------------------------------------------------------------------------------------


def test_secret_when_referred_to_then_read_from_variable_or_file(tmp_path: Path) -> None:
    """Line ends of a file are no part of it."""
    path = tmp_path / "key"
    path.write_text("s3cret\n")
    assert read_secret("${TEST_KEY}") == "k" * 64
    assert read_secret(f"${{file:{path}}}") == "s3cret"


@pytest.mark.parametrize("reference", ["", "plain", "${NOT_SET_ANYWHERE}", "${file:/nowhere/key}"])
def test_secret_when_the_reference_leads_to_nothing_then_refused(reference: str) -> None:
    """By the reference, never by what might lie behind it."""
    with pytest.raises(Refused, match="NO_SECRET"):
        read_secret(reference)
