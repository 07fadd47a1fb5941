"""A daemon whose YAML is edited while it trades, and the versions that it keeps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.daemon_process import ROOT, DaemonProcess

pytestmark = pytest.mark.slow

LIVE_S = 4.0
"""Within 2 s where the machine is its own (`make chaos`); beside other tests it waits for a core."""
TIGHT = "risk:\n  max_order_notional: 1000\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path_factory.mktemp("reload"))
    made.start()
    try:
        made.until_ready()
        yield made
    finally:
        made.close()


def config_of(daemon: DaemonProcess) -> dict[str, Any]:
    return daemon.status()["config"]


def edit(daemon: DaemonProcess, text: str) -> None:
    (daemon.config / "local.yaml").write_text(text)


def tradefan(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tradefan", *words, "-e", "development", "--config", str(daemon.config)]
    return subprocess.run(command, env=daemon.environ, cwd=ROOT, text=True, capture_output=True, check=False)


def test_edit_when_it_lowers_a_limit_then_the_next_order_is_refused_by_it(daemon: DaemonProcess) -> None:
    """In force soon, and nothing else has changed."""
    order = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.1"}
    assert daemon.ask("/api/v1/orders", order)[0] < 300
    before = config_of(daemon)
    edit(daemon, TIGHT)
    took = daemon.until(lambda: config_of(daemon)["config_id"] != before["config_id"], 10)
    assert took < LIVE_S
    code, answer = daemon.ask("/api/v1/orders", order)
    assert (code, answer["error"]["code"]) == (422, "RISK_MAX_NOTIONAL")
    (line,) = daemon.logged("config_changed")
    assert line["changed"] == ["risk.max_order_notional: from 400000 to 1000"]
    assert config_of(daemon)["version"] == line["version"] == 2


def test_edit_when_it_is_wrong_then_status_and_log_name_line_and_key_and_clients_still_work(
    daemon: DaemonProcess,
) -> None:
    """The files say nothing usable, the daemon goes on, and every client finds it."""
    before = config_of(daemon)
    edit(daemon, f"{TIGHT}  max_drawdown: lots\n")
    daemon.until(lambda: config_of(daemon)["refused"] != before["refused"], 10)
    found = config_of(daemon)
    assert found["config_id"] == before["config_id"]
    (reason,) = found["refused_errors"]
    assert reason.startswith(f"{daemon.config}/local.yaml:3: risk.max_drawdown: expected ")
    assert daemon.logged("config_refused")
    shown = tradefan(daemon, "status", "--json")
    assert (shown.returncode, json.loads(shown.stdout)["pid"]) == (0, daemon.status()["pid"])
    checked = tradefan(daemon, "check")
    assert (checked.returncode, "risk.max_drawdown" in checked.stderr) == (2, True)


def test_edit_when_a_key_needs_a_restart_then_is_refused_whole(daemon: DaemonProcess) -> None:
    """A limit beside it is not taken either: what is in force is what one of the files' states said."""
    before = config_of(daemon)
    edit(daemon, "risk:\n  max_order_notional: 2000\nstore:\n  path: other.db\n")
    daemon.until(lambda: config_of(daemon)["refused"] != before["refused"], 10)
    found = config_of(daemon)
    assert found["config_id"] == before["config_id"]
    where = f"{daemon.config}/local.yaml:4"
    assert found["refused_errors"] == [
        f"{where}: store.path: from store.db to other.db takes effect at a restart"
    ]


def test_log_level_when_it_is_edited_then_holds_at_once(daemon: DaemonProcess) -> None:
    """More lines without a restart."""
    edit(daemon, f"{TIGHT}logs: {{level: error}}\n")
    daemon.until(lambda: config_of(daemon)["version"] == 3, 10)
    time.sleep(0.5)
    before = len(daemon.log())
    assert daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.1"})[0] == 422
    time.sleep(0.5)
    assert {line["level"] for line in daemon.log()[before:]} <= {"error", "critical"}


def test_versions_when_asked_for_then_are_listed_shown_compared_and_brought_back(
    daemon: DaemonProcess,
) -> None:
    """history, show, diff and rollback, beside the daemon that they are about."""
    listed = json.loads(tradefan(daemon, "config", "history", "--json").stdout)
    assert [(one["number"], one["cause"]) for one in listed] == [(1, "start"), (2, "edit"), (3, "edit")]
    assert "logs.level: from info to error" in tradefan(daemon, "config", "history").stdout
    assert "max_order_notional: 1000 " in tradefan(daemon, "config", "show", "2").stdout
    assert (
        "risk.max_order_notional: from 400000 to 1000 takes effect at once"
        in tradefan(daemon, "config", "diff", "1", "2").stdout
    )
    back = tradefan(daemon, "config", "rollback", "1")
    assert back.returncode == 0, back.stderr
    assert "the daemon has them in force as version 4" in back.stdout
    code, _ = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.1"})
    assert code < 300
    again = tradefan(daemon, "config", "rollback", "1")
    assert again.stdout == "the files are those of version 1 already\n"
    missing = tradefan(daemon, "config", "rollback", "77")
    assert (missing.returncode, "kept are 1 to 4" in missing.stderr) == (2, True)


def test_rollback_when_the_folder_is_mounted_read_only_then_says_so_and_what_to_do_instead(
    daemon: DaemonProcess,
) -> None:
    """A container has its configuration so: nothing is kept or written, and the file can be printed."""
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root mounts a folder read-only here")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody have mounts of their own")
    before = tradefan(daemon, "config", "history").stdout
    mount = 'mount --bind "$D" "$D" && mount -o remount,bind,ro "$D" && exec "$@"'
    words = [sys.executable, "-m", "tradefan", "config", "rollback", "2", "--config", str(daemon.config)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh", *words],
        env={**daemon.environ, "D": str(daemon.config)},
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (69, "")
    assert (
        f"expected to write {daemon.config}/local.yaml, but {daemon.config} is read-only here" in done.stderr
    )
    assert "tradefan config show 2 --file local.yaml -e development" in done.stderr
    assert tradefan(daemon, "config", "history").stdout == before
    assert tradefan(daemon, "config", "show", "2", "--file", "local.yaml").stdout == TIGHT
    assert tradefan(daemon, "config", "show", "1", "--file", "local.yaml").stdout == ""
    wrong = tradefan(daemon, "config", "show", "1", "--file", "locale.yaml")
    assert (wrong.returncode, "it has base.yaml, " in wrong.stderr) == (2, True)
