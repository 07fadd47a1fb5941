"""The operator's commands: what they send, and a kill that needs no API."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.shell import Daemon, Shell
from tradefan.data_dir import DaemonFile

KILLED = {"scope": "all", "closed": True, "persisted": True, "naked": [], "text": None}
CALLER = {"owner": "cli", "user": getpass.getuser()}
HOLDER = """
import sys, signal
from pathlib import Path
from tradefan.data_dir import DataDir
heard = []
signal.signal(signal.SIGUSR2, lambda *_: heard.append(1))
places = DataDir(Path(sys.argv[1]), Path(sys.argv[2]))
places.take()
print("held", flush=True)
while not heard:
    signal.pause()
print("heard", flush=True)
"""


class Holder:
    """A process that holds the data directory and notes SIGUSR2."""

    def __init__(self, shell: Shell, *like: str) -> None:
        words = [sys.executable, "-c", HOLDER, str(shell.data.root), str(shell.data.logs), *like]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.said() == "held\n"

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def holder(shell: Shell) -> Iterator[Holder]:
    made = Holder(shell, "tradefan", "run")
    yield made
    made.close()


def announce(shell: Shell, url: str) -> None:
    shell.data.announce(DaemonFile(1, url, 0, "development", "1"))
    shell.data.load_token()


# --- kill -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kill_when_the_api_answers_then_it_is_asked_with_everything_that_was_said(
    shell: Shell, daemon: Daemon, holder: Holder
) -> None:
    """Scope, reason and both flags; naked positions are named; nobody gets a signal."""
    announce(shell, daemon.url)
    answer = {**KILLED, "scope": "paper:main", "persisted": False, "naked": ["paper:main BTC 1"]}
    daemon.answers["/api/v1/kill"] = (200, answer | {"text": "not yet on the disk"})
    words = ("--scope", "paper:main", "--reason", "a test", "--keep-protection", "--including-external")
    done = shell.ours("kill", *words)
    assert (done.code, done.err) == (5, "")
    first, second, third, _ = done.out.splitlines()
    assert first.startswith("killed: paper:main;")
    assert "does NOT survive a restart yet" in first
    assert (second, third) == ("not yet on the disk", "without protection now: paper:main BTC 1")
    ((_, path, token, body),) = daemon.asked
    assert (path, token) == ("/api/v1/kill", f"Bearer {shell.data.load_token()}")
    assert body == {
        "scope": "paper:main",
        "reason": "a test",
        "keep_protection": True,
        "including_external": True,
        **CALLER,
    }
    assert holder.process.poll() is None
    assert json.loads(shell.ours("kill", "--json").out) == answer | {"text": "not yet on the disk"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble",
    ["no address", "no URL", "nobody listens", "silent", "broken", "nonsense", "a token of umlauts"],
)
def test_kill_when_the_api_does_not_answer_then_the_holder_of_the_lock_gets_a_signal(
    shell: Shell, daemon: Daemon, holder: Holder, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """It is said that all scopes and protection are meant, and that no kill byte shows it yet."""
    monkeypatch.setattr("tradefan.commands._BYTE_LOOKS", 2)
    monkeypatch.setenv("TRADEFAN_TOKEN", "\u00fc" if trouble == "a token of umlauts" else "t")
    if trouble == "nobody listens":
        announce(shell, "http://127.0.0.1:1")
    elif trouble == "no URL":
        announce(shell, "http://[half:an:address/")
    elif trouble != "no address":
        announce(shell, daemon.url)
        answers = {"broken": (500, "x"), "nonsense": (200, ["closed"])}
        daemon.answers["/api/v1/kill"] = answers.get(trouble, (200, KILLED))
        daemon.silent_s = 3 if trouble == "silent" else 0
    began = time.monotonic()
    done = shell.ours("kill", "--scope", "paper:main")
    assert time.monotonic() - began < 3.5
    assert (done.code, done.err) == (5, "")
    assert done.out.startswith("killed: all; no new order leaves; this does NOT survive a restart yet")
    text = f"sent SIGUSR2 to pid {holder.process.pid}: all scopes are meant, and protection is cancelled too"
    assert text in done.out
    assert holder.said() == "heard\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc tells what a process is")
def test_kill_when_the_note_names_a_process_that_is_no_daemon_then_1_and_it_gets_no_signal(
    shell: Shell,
) -> None:
    """The number of a dead process, or of one in a container, is another's here: SIGUSR2 would end it."""
    other = Holder(shell)
    try:
        done = shell.ours("kill")
        assert (done.code, done.out) == (1, "")
        assert f"pid {other.process.pid} is no TradeFan daemon: no signal was sent" in done.err
        assert "NOTHING is killed" in done.err
        assert other.process.poll() is None
    finally:
        other.close()


@pytest.mark.slow
@pytest.mark.failure("ST-07")
@pytest.mark.parametrize("how", ["removed", "hidden"])
def test_kill_when_the_lock_file_is_gone_or_hidden_then_its_daemon_gets_the_signal(
    shell: Shell, holder: Holder, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whoever cleaned up beside a daemon needs the kill no less."""
    monkeypatch.setattr("tradefan.commands._BYTE_LOOKS", 2)
    lock = shell.data.root / "lock"
    lock.unlink()
    if how == "hidden":
        lock.symlink_to(shell.data.root / "elsewhere")
        # As on a system without names, or from another network namespace: what is left is what it announced.
        monkeypatch.setattr("tradefan.links.lock.NameLock.holder", lambda _: None)
        record = DaemonFile(holder.process.pid, "http://127.0.0.1:1", 0, "development", "1")
        shell.data.announce(record)
    done = shell.ours("kill")
    assert (done.code, done.err) == (5, "")
    assert f"sent SIGUSR2 to pid {holder.process.pid}" in done.out
    assert holder.said() == "heard\n"


def test_command_when_the_daemon_has_not_said_where_it_listens_then_4_and_its_pid(shell: Shell) -> None:
    """One that cannot write its address runs all the same: nobody is told to start another."""
    shell.data.take()
    done = shell.ours("resume", "--reason", "tried")
    shell.data.release()
    assert (done.code, done.out) == (4, "")
    assert f"a daemon with pid {os.getpid()} runs in {shell.data.root}" in done.err
    assert "its address is not known yet; name it with --url" in done.err


@pytest.mark.slow
def test_kill_when_the_scope_is_misspelt_then_refused_and_nobody_gets_a_signal(
    shell: Shell, daemon: Daemon, holder: Holder
) -> None:
    """A slip of the fingers does not cancel everything."""
    announce(shell, daemon.url)
    daemon.answers["/api/v1/kill"] = (422, {"error": {"code": "UNKNOWN_SCOPE", "text": "no"}})
    done = shell.ours("kill", "--scope", "paper:mian")
    assert (done.code, done.out) == (1, "")
    assert "UNKNOWN_SCOPE" in done.err
    holder.process.send_signal(signal.SIGUSR2)
    assert holder.said() == "heard\n"


def test_kill_when_no_daemon_runs_then_3(shell: Shell) -> None:
    """There is nothing to kill, whatever an earlier run left behind."""
    shell.data.take()
    announce(shell, "http://127.0.0.1:1")
    shell.data.release()
    done = shell.ours("kill")
    assert (done.code, done.out) == (3, "")
    assert f"no daemon runs in {shell.data.root}" in done.err


@pytest.mark.slow
def test_kill_when_the_configuration_is_broken_then_the_daemon_is_found_all_the_same(
    shell: Shell, daemon: Daemon, holder: Holder
) -> None:
    """Not the moment to mend a file first: `data_dir` is read of what can be read."""
    announce(shell, daemon.url)
    (shell.config / "local.yaml").write_text(f"data_dir: {shell.data.root}\napi: [")
    daemon.answers["/api/v1/kill"] = (200, KILLED)
    assert shell.ours("kill").code == 0


def test_kill_when_the_configuration_is_broken_and_nobody_is_there_then_says_what_still_kills(
    shell: Shell,
) -> None:
    """The daemon's data may lie where only a broken file says."""
    (shell.config / "local.yaml").write_text("api: [")
    done = shell.ours("kill")
    assert (done.code, done.out) == (3, "")
    assert "kill -USR2 $(cat DATA_DIR/lock) kills one whose data lies elsewhere" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "said"),
    [("st\udcf6rung", "st?rung"), ("x" * 201, f"{'x' * 199}…"), ("", ""), ("\x00", "\x00")],
)
def test_kill_when_its_reason_is_odd_then_it_is_said_in_words_that_pass(
    shell: Shell, daemon: Daemon, holder: Holder, monkeypatch: pytest.MonkeyPatch, reason: str, said: str
) -> None:
    """A Latin-1 terminal gives surrogate escapes; neither they nor a novel may keep a kill out."""
    announce(shell, daemon.url)
    monkeypatch.setattr("getpass.getuser", lambda: "\udcf6" * 101)
    daemon.answers["/api/v1/kill"] = (200, KILLED)
    done = shell.ours("kill", "--reason", reason)
    assert (done.code, done.err) == (0, "")
    body = daemon.asked[0][3]
    assert (body["reason"], body["user"]) == (said, f"{'?' * 99}…")
    assert holder.process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403, 429])
def test_kill_when_the_token_is_refused_then_a_scope_is_not_widened_to_everything(
    shell: Shell, daemon: Daemon, holder: Holder, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """That is an answer, and says how everything is killed; who meant everything has it by the signal."""
    monkeypatch.setattr("tradefan.commands._BYTE_LOOKS", 2)
    announce(shell, daemon.url)
    daemon.answers["/api/v1/kill"] = (status, {"error": {"code": "NO", "text": "no"}})
    for words in ((), ("--url", daemon.url)):
        done = shell.ours("kill", "--scope", "paper:main", *words)
        assert (done.code, done.out) == (1, "")
        assert "nothing is killed: the daemon does not take the token (TRADEFAN_TOKEN" in done.err
        assert "kill without --scope" in done.err
    assert holder.process.poll() is None
    done = shell.ours("kill")
    assert (done.code, done.err) == (5, "")
    assert f"sent SIGUSR2 to pid {holder.process.pid}" in done.out
    assert holder.said() == "heard\n"


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["dead", "its own", "far", "no URL"])
def test_kill_when_nobody_answers_at_the_address_then_the_daemon_here_gets_a_signal(
    shell: Shell, daemon: Daemon, holder: Holder, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """An address left in the environment keeps no kill out; what may run far away is not called killed."""
    monkeypatch.setattr("tradefan.commands._BYTE_LOOKS", 2)
    addresses = {"dead": "http://127.0.0.1:1", "far": "http://nowhere.invalid", "no URL": "127.0.0.1"}
    monkeypatch.setenv("TRADEFAN_URL", addresses.get(trouble, daemon.url))
    daemon.answers["/api/v1/kill"] = (500, "x")
    done = shell.ours("kill")
    assert done.code == (5 if trouble in ("dead", "its own") else 3)
    assert "asking the daemon of development on this machine" in done.err
    assert ("may NOT be killed" in done.err) == (trouble in ("far", "no URL"))
    assert f"sent SIGUSR2 to pid {holder.process.pid}" in done.out
    assert holder.said() == "heard\n"


@pytest.mark.slow
def test_kill_when_nobody_answers_at_a_far_address_that_was_typed_then_3_and_ours_is_left_alone(
    shell: Shell, holder: Holder
) -> None:
    """Who names another machine does not mean this one; it is said how this one is killed."""
    done = shell.ours("kill", "--url", "http://nowhere.invalid")
    assert (done.code, done.out) == (3, "")
    assert "no answer from http://nowhere.invalid" in done.err
    assert "kill without --url kills the daemon of development on this machine" in done.err
    assert holder.process.poll() is None


@pytest.mark.slow
def test_kill_when_another_daemon_answers_at_the_address_then_ours_is_left_alone(
    shell: Shell, daemon: Daemon, holder: Holder
) -> None:
    """It is alive and not ours: a signal to ours would kill in its place."""
    announce(shell, "http://127.0.0.1:1")
    daemon.answers["/api/v1/kill"] = (500, "x")
    done = shell.ours("kill", "--url", daemon.url)
    assert (done.code, done.out) == (1, "")
    assert holder.process.poll() is None


def test_kill_when_nobody_answers_and_nobody_runs_here_then_3(shell: Shell) -> None:
    """The address is what the error is about."""
    done = shell.ours("kill", "--url", "http://127.0.0.1:1")
    assert (done.code, done.out) == (3, "")
    assert "no answer from http://127.0.0.1:1" in done.err


# --- resume, resolve, assign --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "path", "body", "answer", "out"),
    [
        (
            ("resume", "--reason", "checked"),
            "/api/v1/resume",
            {"scope": "all", "reason": "checked"},
            {"scope": "all"},
            "resumed: all\n",
        ),
        (
            ("order", "resolve", "abc", "not-placed", "--reason", "seen"),
            "/api/v1/orders/abc/resolve",
            {"verdict": "NOT_PLACED", "reason": "seen"},
            {"subject": "abc", "verdict": "NOT_PLACED"},
            "abc: NOT_PLACED\n",
        ),
        (
            ("order", "resolve", "fill a b/c 1", "drop", "--reason", "seen"),
            "/api/v1/orders/fill%20a%20b%2Fc%201/resolve",
            {"verdict": "DROP", "reason": "seen"},
            {"subject": "fill a b/c 1", "verdict": "DROP"},
            "fill a b/c 1: DROP\n",
        ),
        (
            ("position", "assign", "BTC/USDT", "0.5", "--to", "trend", "--price", "60000.1"),
            "/api/v1/positions/assign",
            {"symbol": "BTC/USDT", "quantity": "0.5", "from": "external", "to": "trend", "price": "60000.1"},
            {"account": "a", "instrument": "i", "from": "external", "to": "trend"},
            "0.5 i on a: from external to trend\n",
        ),
        (
            ("position", "release", "BTC/USDT", "0.5", "--from", "trend", "--account", "paper:main"),
            "/api/v1/positions/assign",
            {
                "symbol": "BTC/USDT",
                "quantity": "0.5",
                "from": "trend",
                "to": "external",
                "account": "paper:main",
            },
            {"account": "a", "instrument": "i", "from": "trend", "to": "external"},
            "0.5 i on a: from trend to external\n",
        ),
    ],
)
def test_command_when_a_human_decides_then_the_daemon_hears_what_and_who(
    shell: Shell,
    daemon: Daemon,
    words: tuple[str, ...],
    path: str,
    body: dict[str, Any],
    answer: dict[str, Any],
    out: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each with the name of the user who gave it."""
    monkeypatch.setenv("TRADEFAN_TOKEN", "t")
    daemon.answers[path] = (200, answer)
    done = shell.ours(*words, "--url", daemon.url)
    assert (done.code, done.out) == (0, out)
    assert [(at, said) for _, at, _, said in daemon.asked] == [(path, {**body, **CALLER})]
    assert json.loads(shell.ours(*words, "--url", daemon.url, "--json").out) == answer


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("resume",), "Missing option '--reason'"),
        (("order", "resolve", "abc", "placed"), "Missing option '--reason'"),
        (("order", "resolve", "abc", "maybe", "--reason", "x"), "expected one of placed, not-placed"),
        (("position", "assign", "BTC/USDT", "0", "--to", "x"), "QTY: expected a number above zero"),
        (("resume", "--reason", ""), "BAD_TEXT: --reason: expected 1 to 200 characters, got ''"),
        (("resume", "--reason", "x" * 201), "--reason: expected 1 to 200 characters, got 201 of them"),
        (("resume", "--reason", "x", "--scope", ""), "--scope: expected 1 to 100 characters, got ''"),
        (("order", "resolve", "", "placed", "--reason", "x"), "ID: expected 1 to 400 characters, got ''"),
        (("order", "resolve", "abc", "placed", "--reason", ""), "--reason: expected 1 to 200 characters"),
        (("position", "assign", "BTC/USDT", "1", "--to", ""), "--to: expected 1 to 100 characters, got ''"),
        (("position", "release", "BTC/USDT", "1", "--from", ""), "--from: expected 1 to 100 characters"),
        (
            ("position", "assign", "BTC/USDT", "1e-30", "--to", "x"),
            "QTY: expected a finite number below 1e15 with at most 18 places, got 1E-30",
        ),
        (("position", "assign", "B\udcf6", "1", "--to", "x"), "symbol: expected a text in UTF-8, got"),
        (("position", "assign", "BTC/USDT", "1"), "Missing option '--to'"),
        (("position", "release", "BTC/USDT", "1"), "Missing option '--from'"),
    ],
)
def test_command_when_something_is_missing_then_2_before_anybody_is_asked(
    shell: Shell, daemon: Daemon, words: tuple[str, ...], text: str
) -> None:
    """What a human decides has a reason, an owner and a number."""
    done = shell.ours(*words, "--url", daemon.url)
    assert (done.code, done.out, daemon.asked) == (2, "", [])
    assert text in done.err
