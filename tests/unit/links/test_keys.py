"""One daemon to an API key on this machine, whatever directory it runs in; secrets stay where they are."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tradefan.config.schema import AccountConfig
from tradefan.errors import Outage, Refused
from tradefan.links.keys import PLACES, KeyLocks, fingerprint
from tradefan.links.lock import NameLock
from tradefan.links.secret import read_secret

REAL = AccountConfig(venue="binance", api_key="${TEST_KEY}", api_secret="${TEST_SECRET}")
PAPER = AccountConfig(venue="paper")
KEY = secrets.token_hex(32)
HOLDER = """
import sys, time
from pathlib import Path
from tradefan.config.schema import AccountConfig
from tradefan.errors import Refused
from tradefan.links.keys import KeyLocks
locks = KeyLocks([Path(place) for place in sys.argv[2:]]) if len(sys.argv) > 2 else KeyLocks()
account = AccountConfig(venue="binance", api_key="${TEST_KEY}", api_secret="${TEST_SECRET}")
try:
    locks.take({"binance:main": account}, Path(sys.argv[1]))
except Refused as no:
    sys.exit(str(no))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a key of its own: names of the kernel's are the same for all that runs on this machine."""
    monkeypatch.setenv("TEST_KEY", KEY)


@pytest.mark.failure("ST-07")
@pytest.mark.slow
def test_key_when_another_process_trades_with_it_then_refused_by_pid_and_directory(tmp_path: Path) -> None:
    """Within a second, although its data directory is another one; when that process dies it is free."""
    words = [sys.executable, "-c", HOLDER, "/data/first", str(tmp_path)]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        second, began = KeyLocks([tmp_path]), time.monotonic()
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
    first, second = KeyLocks([tmp_path]), KeyLocks([tmp_path])
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
    locks = KeyLocks([tmp_path])
    with pytest.raises(Refused, match="KEY_TWICE: accounts binance:a and binance:b"):
        locks.take({"binance:a": REAL, "binance:b": REAL}, Path("/one"))
    other = KeyLocks([tmp_path])
    other.take({"binance:a": REAL}, Path("/two"))
    other.release()


def test_key_when_it_is_looked_for_then_stands_in_no_name_and_no_note(tmp_path: Path) -> None:
    """The lock says who holds it, and gives the key to nobody."""
    locks = KeyLocks([tmp_path])
    locks.take({"binance:main": REAL}, Path("/one"))
    (path,) = tmp_path.iterdir()
    assert (path.name, path.read_text()) == (
        f"tradefan-key-{fingerprint('binance', KEY)}.lock",
        f"{os.getpid()} /one\n",
    )
    assert KEY not in path.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    locks.release()


# --- where it is held ---------------------------------------------------------------------------------------


@pytest.mark.failure("ST-07")
@pytest.mark.slow
def test_key_when_the_environments_differ_then_the_second_is_refused_all_the_same(tmp_path: Path) -> None:
    """A login shell has XDG_RUNTIME_DIR and perhaps a TMPDIR, a service has others: the places are fixed."""
    places = [place / f"tradefan-key-{fingerprint('binance', KEY)}.lock" for place in PLACES]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    around = [{"XDG_RUNTIME_DIR": str(tmp_path / "one")}, {"TMPDIR": str(tmp_path / "two")}]
    began = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, f"/data/{number}"],
            env={**os.environ, "XDG_RUNTIME_DIR": "", **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, more in enumerate(around)
    ]
    try:
        # One of them holds the key and sleeps, the other one ends.
        deadline = time.monotonic() + 20
        while all(one.poll() is None for one in began) and time.monotonic() < deadline:
            time.sleep(0.05)
        (refused,) = (one for one in began if one.poll() is not None)
        (holds,) = (one for one in began if one is not refused)
        assert (refused.stderr, holds.stdout) != (None, None)
        said = refused.communicate(timeout=10)[1]
        assert (
            f"KEY_IN_USE: the API key of binance:main is used by the daemon with pid {holds.pid} in " in said
        )
    finally:
        for one in began:
            one.kill()
            one.communicate(timeout=10)
        for path in places:
            path.unlink(missing_ok=True)


def test_key_when_the_places_have_nothing_in_common_then_the_name_refuses(tmp_path: Path) -> None:
    """A service with folders of its own: the pid is told, the directory cannot be."""
    first, second = KeyLocks([tmp_path / "nowhere"]), KeyLocks([tmp_path])
    first.take({"binance:main": REAL}, Path("/one"))
    text = rf"KEY_IN_USE: .* pid {os.getpid()} in a directory that cannot be seen from here"
    with pytest.raises(Refused, match=text):
        second.require_free({"binance:main": REAL})
    with pytest.raises(Refused, match=text):
        second.take({"binance:main": REAL}, Path("/two"))
    first.release()
    second.take({"binance:main": REAL}, Path("/two"))
    second.release()


def test_key_when_there_are_no_names_then_any_place_in_common_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other systems have files only; a place that cannot be written is none, and one at least is needed."""
    monkeypatch.setattr(NameLock, "take", lambda _: None)
    monkeypatch.setattr(NameLock, "holder", lambda _: None)
    missing, alias = tmp_path / "missing", tmp_path / "alias"
    alias.symlink_to(tmp_path)
    first, second = KeyLocks([missing, tmp_path, alias]), KeyLocks([tmp_path])
    first.take({"binance:main": REAL}, Path("/one"))
    with pytest.raises(Refused, match=rf"pid {os.getpid()} in /one;"):
        second.require_free({"binance:main": REAL})
    with pytest.raises(Refused, match=rf"pid {os.getpid()} in /one;"):
        second.take({"binance:main": REAL}, Path("/two"))
    with pytest.raises(Outage, match=r"expected to lock .* in one place at least: .*/missing/"):
        KeyLocks([missing]).take({"binance:main": REAL}, Path("/two"))
    first.release()


def test_key_when_somebody_put_something_else_in_the_place_then_it_is_left_alone(tmp_path: Path) -> None:
    """Everybody may write there: a link must not lead us to another file, nor a pipe let us wait."""
    name, victim = f"tradefan-key-{fingerprint('binance', KEY)}.lock", tmp_path / "victim"
    victim.write_text("precious")
    plant: dict[str, Callable[[Path], object]] = {
        "link": lambda path: path.symlink_to(victim),
        "second name": lambda path: path.hardlink_to(victim),
        "pipe": os.mkfifo,
        "folder": lambda path: path.mkdir(),
    }
    for kind, make in plant.items():
        place = tmp_path / kind
        place.mkdir()
        make(place / name)
        locks = KeyLocks([place])
        locks.require_free({"binance:main": REAL})
        locks.take({"binance:main": REAL}, Path("/one"))
        locks.release()
    assert victim.read_text() == "precious"


# --- secrets ------------------------------------------------------------------------------------------------


def test_secret_when_referred_to_then_read_from_variable_or_file(tmp_path: Path) -> None:
    """Line ends of a file are no part of it."""
    path = tmp_path / "key"
    path.write_text("s3cret\n")
    assert read_secret("${TEST_KEY}") == KEY
    assert read_secret(f"${{file:{path}}}") == "s3cret"


@pytest.mark.parametrize("reference", ["plain", "${NOT_SET_ANYWHERE}", "${file:/nowhere/key}"])
def test_secret_when_the_reference_leads_to_nothing_then_refused(reference: str) -> None:
    """By the reference, never by what might lie behind it."""
    with pytest.raises(Refused, match="NO_SECRET"):
        read_secret(reference)


def test_key_when_an_account_has_none_then_refused(tmp_path: Path) -> None:
    """Two accounts without a key would share a lock."""
    with pytest.raises(Refused, match="NO_SECRET"):
        KeyLocks([tmp_path]).take({"binance:main": AccountConfig(venue="binance")}, tmp_path)
