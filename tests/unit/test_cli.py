"""The command line: words, exit codes, and how it talks to a daemon over HTTP."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ETH
from tests.unit.shell import Daemon, Done, Shell
from tests.unit.stores.made import transfers
from tradefan import __version__, cli
from tradefan.data_dir import DaemonFile
from tradefan.errors import Refused
from tradefan.logs import follow_log, read_log
from tradefan.messages.control import VolumesAsked
from tradefan.messages.records import RECORD_VERSION
from tradefan.stores.journal import JournalFile
from tradefan.stores.sqlite import StoreFile
from tradefan.units import MINUTE, InstrumentId, parse_iso, since_ns

# --- words and exit codes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("stauts",), "Did you mean 'status'?"),
        (("status", "--jsno"), "No such option"),
        (("order", "submit", "--symbol", "BTC/USDT"), "Missing option '--side'"),
        (("run", "--for", "x"), "Invalid value for '--for'"),
        (("status", "-e", "developmnt"), "did you mean development?"),
        (("run", "--config", "/nowhere"), "expected base.yaml in /nowhere"),
        (("status", "--url", "localhost:8000"), "begins with http://"),
        (("logs", "--since", "yesterday"), "expected an instant"),
        (("order", "show", "../x", "--url", "http://127.0.0.1:1"), "expected an order's id"),
        (("strategy", "show", "ema_cros"), "did you mean 'ema_cross'?"),
        (("new", "strategy", "Bad-Name"), "expected a name such as my_trend"),
    ],
)
def test_command_when_its_words_are_wrong_then_2_with_what_is_meant(
    shell: Shell, words: tuple[str, ...], text: str
) -> None:
    """Usage is always 2, and the message holds what would do."""
    done = shell(*words)
    assert (done.code, done.out) == (2, "")
    assert text in done.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--side", "by", "--quantity", "1"), "--side: expected buy or sell, got 'by'"),
        (("--side", "buy", "--quantity", "0"), "--quantity: expected a number above zero, got '0'"),
        (("--side", "buy", "--quantity", "NaN"), "--quantity: expected a number above zero, got 'NaN'"),
        (("--side", "buy", "--quantity", "1", "--limit", "x"), "--limit: expected a number above zero"),
        (("--side", "buy", "--quantity", "1", "--set", "x"), "--set: expected KEY=VALUE, got 'x'"),
        (("--side", "buy", "--set", "quantity=x"), "--set quantity: expected a number above zero, got 'x'"),
        (("--side", "buy", "--quantity", "1", "--set", "quantity=2"), "--set quantity: is given by its own"),
        (
            ("--side", "buy", "--quantity", "1", "--set", "slices=3", "--set", "slices=5"),
            "--set slices: is given twice, as '3' and as '5'; expected one of them",
        ),
        (
            ("--side", "buy", "--quantity", "1", "--set", "reduce_only=false", "--reduce-only"),
            "--set reduce_only: is given by its own option, too",
        ),
        (
            ("--side", "buy", "--quantity", "1", "--set", "reduce_only=1"),
            "reduce_only: expected true or false, got '1'",
        ),
    ],
)
def test_order_when_its_numbers_are_none_then_2_before_anybody_is_asked(
    shell: Shell, words: tuple[str, ...], text: str
) -> None:
    """No daemon is needed to see that."""
    done = shell("order", "submit", "--symbol", "BTC/USDT", *words)
    assert (done.code, done.out) == (2, "")
    assert text in done.err


def test_help_and_version_when_asked_then_0(shell: Shell) -> None:
    """Every command of the issue is there."""
    assert shell("version") == Done(0, f"{__version__}\n", "")
    done = shell("--help")
    assert done.code == 0
    for command in (
        *("run", "check", "status", "order", "strategy", "position", "paper", "new", "logs"),
        *("kill", "resume", "journal"),
    ):
        assert f" {command} " in done.out


def test_configuration_when_wrong_then_every_mistake_on_a_line_and_2(shell: Shell) -> None:
    """Nothing is printed as in force."""
    (shell.config / "local.yaml").write_text("api:\n  prt: 1\nrisk:\n  max_drawdown: 2\n")
    for command in ("check", "run"):
        done = shell.ours(command)
        assert (done.code, done.out) == (2, "")
        first, second, last = done.err.splitlines()
        assert first.endswith("local.yaml:2: api.prt: expected a key that exists; did you mean port?")
        assert second.startswith(f"{shell.config}/local.yaml:4: risk.max_drawdown: expected")
        assert last == "tradefan: 2 mistakes in the configuration"


def test_check_when_right_then_prints_what_is_in_force_and_what_run_would_lack(shell: Shell) -> None:
    """Each value with its origin; the output loads to the same configuration."""
    done = shell.ours("check", "-e", "production", "--set", "api.port=8123")
    assert done.code == 0
    (port,) = [line for line in done.out.splitlines() if line.startswith("  port: ")]
    assert port.split() == ["port:", "8123", "#", "--set", "api.port"]
    assert "to run, production lacks api_key of binance:main" in done.err
    assert json.loads(shell("check", "--schema").out)["properties"]["api"]["type"] == ["object", "null"]


def test_secret_when_its_file_cannot_be_read_then_2_with_key_and_file_in_check_and_run(shell: Shell) -> None:
    """A supervisor does not start again what ends with 2."""
    (shell.config / "local.yaml").write_text(
        f"influx:\n  url: 'http://127.0.0.1:1'\n  password: '${{file:{shell.config}}}'\n"
    )
    why = f"${{file:{shell.config}}} cannot be read: Is a directory"
    done = shell.ours("check")
    where = f"{shell.config}/local.yaml:3: influx.password: expected a secret that can be read"
    assert (done.code, done.out) == (2, "")
    assert done.err == f"{where}; {why}\ntradefan: 1 mistake in the configuration\n"
    done = shell.ours("run")
    assert done.code == 2
    assert f"the password of InfluxDB (influx.password: {why})" in done.err


GONE = ("feeds.binance:ETH/USDT=null", "risk.instruments=null", "strategies=null")


def test_check_when_quiet_then_prints_only_what_is_wrong_or_missing(shell: Shell) -> None:
    """A service checks before each start, and the journal of the system need not hold the configuration."""
    done = shell.ours("check", "--quiet", "-e", "production")
    assert (done.code, done.out) == (0, "")
    assert "to run, production lacks " in done.err
    assert shell.ours("check", "--quiet", "--set", "api.prot=1").code == 2


def test_check_when_the_journal_needs_what_is_gone_then_2_as_the_start(shell: Shell) -> None:
    """A deploy asks before it stops the daemon that looks after the order; it runs beside that one."""
    bench = Bench().ready()
    bench.resting(2, 9, instrument=ETH)
    shell.data.take()
    file = JournalFile(str(shell.data.journal))
    file.append(1, 1, bench.records)
    done = shell.ours("check", *(word for key in GONE for word in ("--set", key)))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"tradefan: STILL_NEEDED: journal {shell.data.journal} still needs")
    assert "\n  feeds.binance:ETH/USDT: order dev" in done.err
    done = shell.ours("check")
    assert (done.code, done.err) == (0, "")
    file.append(len(bench.records) + 1, 1, transfers(1))
    file.close()
    shell.data.release()


def test_check_when_no_journal_can_be_read_then_judges_the_configuration_alone(shell: Shell) -> None:
    """Whether it is damaged or newer is the start's to say; nothing is made."""
    journal = shell.data.journal
    done = shell.ours("check")
    assert (done.code, done.err) == (
        0,
        f"only the configuration was checked: there is no journal {journal}\n",
    )
    assert not journal.parent.exists()
    journal.parent.mkdir(parents=True)
    JournalFile(str(journal), version=RECORD_VERSION + 1).append(1, 1, transfers(1))
    done = shell.ours("check")
    assert (done.code, "checked: JOURNAL_NEWER: the Transfer" in done.err) == (0, True)
    journal.write_bytes(b"no database at all" * 500)
    done = shell.ours("check")
    assert (done.code, "checked: JOURNAL_DAMAGED: " in done.err) == (0, True)


def test_run_when_the_environment_cannot_trade_then_2_and_names_what_is_missing(shell: Shell) -> None:
    """Nothing was made: no data, no log."""
    done = shell.ours("run", "-e", "production")
    assert (done.code, done.out) == (2, "")
    for text in ("api_key of binance:main", "trades on paper only", "production.confirm: true"):
        assert text in done.err
    assert not (shell.config.parent / "data").exists()


def test_run_when_the_port_is_taken_then_69_says_which_key_to_change(shell: Shell, daemon: Daemon) -> None:
    """Not a daemon whose face restarts for ever."""
    port = daemon.port
    done = shell.ours("run", "--set", f"api.port={port}", "--set", "logs.console=false")
    assert done.code == 69
    assert f"another program listens on api.host 127.0.0.1, api.port {port}" in done.err
    assert f"TRADEFAN__API__PORT={port + 1}" in done.err
    assert "cannot_run" in (shell.config.parent / "logs" / "tradefan.log").read_text()


def test_run_when_another_daemon_has_the_directory_then_69_names_its_pid(shell: Shell) -> None:
    """Two daemons on one journal would be two owners of the same orders."""
    shell.data.take()
    done = shell.ours("run")
    shell.data.release()
    assert done.code == 69
    assert f"DATA_DIR_IN_USE: {shell.data.root} is used by the daemon with pid" in done.err


def test_defect_when_met_then_70_with_its_traceback(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager and the user can tell it from a mistake of theirs."""
    monkeypatch.setattr(cli, "_environment", lambda *_: 1 / 0)
    done = shell("check")
    assert done.code == 70
    assert "ZeroDivisionError" in done.err


@pytest.mark.parametrize("code", ["SNAPSHOT_VERSION", "SNAPSHOT_SYSTEM", "SNAPSHOT_CODE", "RECORDING_OTHER"])
def test_replay_when_the_recording_is_another_program_s_then_1(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """The words of the command are right: what is wrong is the file."""

    def refuse(*_: Any, **_more: Any) -> int:
        raise Refused(code, "of another program")

    monkeypatch.setattr("tradefan.replay.command.check", refuse)
    done = shell("replay")
    assert (done.code, f"{code}: of another program" in done.err) == (1, True)


def test_new_strategy_when_made_then_can_be_checked_and_shown(shell: Shell) -> None:
    """It lies beside the configuration; a second one of that name is refused."""
    done = shell.ours("new", "strategy", "cli_made")
    folder = shell.config.parent / "strategies"
    assert done.out.splitlines()[:2] == [
        f"wrote {folder}/cli_made.py",
        f"wrote {folder}/test_cli_made.py",
    ]
    assert "cli_made: Hold while" in shell.ours("strategy", "show", "cli_made").out
    assert shell.ours("new", "strategy", "cli_made").code == 2


def test_paper_reset_when_nothing_is_there_or_the_daemon_runs_then_says_so(shell: Shell) -> None:
    """Balances are checked first; a running daemon holds the file."""
    assert shell.ours("paper", "reset", "--balance", "USDT=x").code == 2
    assert shell.ours("paper", "reset", "--account", "paper:other").code == 2
    done = shell.ours("paper", "reset", "--balance", "USDT=1000")
    assert (done.code, done.out) == (0, "nothing to reset: paper:main is made at the first start\n")
    shell.data.take()
    assert shell.ours("paper", "reset").code == 69
    shell.data.release()


def test_data_import_when_bars_are_given_then_they_are_stored_once(shell: Shell, tmp_path: Path) -> None:
    """All or none; a second time changes nothing; a running daemon has the file."""
    day = 1_728_000_000_000
    file = tmp_path / "bars.csv"
    file.write_text("".join(f"{day + i * 300_000},2,3,1,2,{i}\n" for i in range(6) if i != 4))
    words = ("data", "import", str(file), "--symbol", "BTC/USDT", "--timeframe", "5m")
    done = shell.ours(*words, "--json")
    assert (done.code, json.loads(done.out)) == (
        0,
        {
            "instrument": "binance:BTC/USDT",
            "timeframe": "5m",
            "rows": 5,
            "new": 5,
            "changed": 0,
            "missing": 1,
            "from": "2024-10-04T00:00:00.000Z",
            "until": "2024-10-04T00:30:00.000Z",
            "curve": True,
        },
    )
    said = "binance:BTC/USDT 5m: 5 bars, 2024-10-04T00:00:00.000Z to 2024-10-04T00:30:00.000Z: "
    done = shell.ours(*words)
    assert done.out == f"{said}0 new, 0 changed, 5 as they were, 1 missing in between\n"
    shell.data.take()
    assert shell.ours(*words).code == 69
    shell.data.release()
    store = StoreFile(str(shell.data.store))
    (found,) = store.volumes(VolumesAsked(InstrumentId("binance:BTC/USDT"), 20_000, 20_001))
    assert found.days[0][1][:7] == (0.0, 1.0, 2.0, 3.0, None, 5.0, None)
    store.close()


def test_data_import_when_the_file_is_wrong_then_every_mistake_is_said(shell: Shell, tmp_path: Path) -> None:
    """Exit code 2, and the store is not even made."""
    file = tmp_path / "bars.csv"
    file.write_text("1728000000000,2,3,1,2,x\n1728000060001,2,1,1,2,1\n")
    words = ("data", "import", str(file), "--symbol", "BTC/USDT", "--timeframe", "1m")
    done = shell.ours(*words)
    assert (done.code, done.out) == (2, "")
    assert f"{file}:1: volume: expected a number that is not below zero, got x" in done.err
    assert f"{file}:2: open_time: expected a multiple of 60 s, got 1728000060001" in done.err
    done = shell.ours(*words, "--json")
    assert (done.code, len(json.loads(done.out)["mistakes"])) == (2, 2)
    assert json.loads(done.out)["mistakes"][0] == {
        "line": 1,
        "column": "volume",
        "value": "x",
        "expected": "a number that is not below zero",
    }
    assert not shell.data.store.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("x.csv", "--symbol", "BTC/USDD", "--timeframe", "1m"),
            "no feed carries 'BTC/USDD'; did you mean BTC/USDT?",
        ),
        (("x.csv", "--symbol", "BTC/USDT", "--timeframe", "7m"), "expected a part of a day, got '7m'"),
        (("x.csv", "--symbol", "BTC/USDT", "--timeframe", "1x"), "expected a duration such as"),
        (("/nowhere.csv", "--symbol", "BTC/USDT", "--timeframe", "1m"), "found nothing at /nowhere.csv"),
    ],
)
def test_data_import_when_its_words_are_wrong_then_it_says_so(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    """Before anything is read or made."""
    done = shell.ours("data", "import", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


# --- talking to a daemon --------------------------------------------------------------------------------

ORDER = {
    "parent_id": "pabc",
    "owner": "cli",
    "side": "buy",
    "order_qty": "0.5",
    "symbol": "BTC/USDT",
    "algo": "limit",
    "limit_price": "61000",
    "status": "NEW",
    "phase": "WORKING",
    "cum_qty": "0",
    "avg_px": None,
    "reason": "",
    "progress": 0.0,
    "schedule_error": None,
    "end_ns": None,
    "children_orders": [
        {"client_order_id": "c1", "status": "NEW", "in_doubt": "CREATE", "cum_qty": "0", "order_qty": "0.5"}
    ],
}
CALLER = {"owner": "cli", "user": getpass.getuser()}
END_NS = parse_iso("2026-11-29T14:05:30Z")
PLAN = {
    "n": 2,
    "slices": [
        {"at_ns": parse_iso("2026-11-29T10:00:00Z"), "quantity": "2.5", "target_qty": "2.5"},
        {"at_ns": None, "quantity": "2.5", "target_qty": "5"},
    ],
    "start_ns": parse_iso("2026-11-29T10:00:00Z"),
    "end_ns": parse_iso("2026-11-29T10:05:00Z"),
    "expected_participation": 0.042,
    "estimate_bps": None,
    "source": "packaged",
    "coverage": 1.0,
    "flags": ["volume_unknown"],
}
REFUSED = {"code": "RISK_MAX_ORDER_QTY", "text": "no", "limit": "10", "used": "50", "would_pass": "10"}


@pytest.fixture
def tokened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEFAN_TOKEN", "t")


def test_client_when_nobody_runs_then_3_and_how_to_start(shell: Shell) -> None:
    """Also where a daemon was killed and its address lies there still."""
    done = shell.ours("status")
    assert (done.code, done.out) == (3, "")
    assert f"no daemon runs in {shell.data.root}; start one: " in done.err
    assert shell.ours("logs").code == 3
    shell.data.take()
    shell.data.announce(DaemonFile(1, "http://127.0.0.1:1", 0, "development", "1"))
    assert "no answer from http://127.0.0.1:1" in shell.ours("status").err
    shell.data.release()
    assert shell("status", "--url", "http://127.0.0.1:1").code == 3


@pytest.mark.parametrize("how", ["announced", "--url", "TRADEFAN_URL"])
def test_client_when_a_daemon_runs_then_is_found_by_each_way(
    shell: Shell, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """By environment, by option, by variable; reading the status needs no token and gives none away."""
    daemon.answers["/status"] = (200, {"positions": []})
    shell.data.take()
    if how == "announced":
        shell.data.announce(DaemonFile(1, daemon.url, 0, "development", "1"))
    if how == "TRADEFAN_URL":
        monkeypatch.setenv("TRADEFAN_URL", daemon.url)
    done = shell.ours("status", "--json", *(("--url", daemon.url) if how == "--url" else ()))
    shell.data.release()
    assert (done.code, json.loads(done.out)) == (0, {"positions": []})
    assert daemon.asked == [("GET", "/status", None, None)]


def test_order_when_submitted_then_the_token_goes_along_and_the_wish_is_whole(
    shell: Shell, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token of the data directory, unless TRADEFAN_TOKEN holds another; a proxy is passed by."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("TRADEFAN_URL", daemon.url)
    daemon.answers["/api/v1/orders"] = (201, ORDER)
    shell.data.root.mkdir(parents=True)
    token = shell.data.load_token()
    words = ["order", "submit", "--symbol", "BTC/USDT", "--side", "buy", "--quantity", "0.50"]
    done = shell.ours(*words, "--limit", "61000", "--ref", "r1", "--account", "paper:main", "--set", "a=b")
    assert done == Done(0, "pabc cli buy 0.5 BTC/USDT limit at 61000: NEW WORKING done 0; 0 %\n", "")
    monkeypatch.setenv("TRADEFAN_TOKEN", "another")
    assert json.loads(shell.ours(*words, "--json").out) == ORDER
    plain = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.50", **CALLER}
    whole = {
        "algo": "limit",
        "limit_price": "61000",
        "account": "paper:main",
        "ref": "r1",
        "settings": {"a": "b"},
    }
    assert daemon.asked == [
        ("POST", "/api/v1/orders", f"Bearer {token}", plain | whole),
        ("POST", "/api/v1/orders", "Bearer another", plain | {"algo": "market", "settings": {}}),
    ]


def test_order_when_a_field_is_set_like_a_setting_then_it_is_the_field(
    shell: Shell, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--set NAME=VALUE` sets any parameter, whatever else has an option for it."""
    monkeypatch.setenv("TRADEFAN_URL", daemon.url)
    monkeypatch.setenv("TRADEFAN_TOKEN", "mine")
    daemon.answers["/api/v1/orders"] = (201, ORDER)
    given = ("quantity=0.5", "limit_price=61000", "reduce_only=true", "duration=5m", "slices=4")
    sets = [word for one in given for word in ("--set", one)]
    shell.ours("order", "submit", "--symbol", "BTC/USDT", "--side", "sell", *sets, "--algo", "twap")
    (_, _, _, body) = daemon.asked[0]
    assert body == {
        "symbol": "BTC/USDT",
        "side": "sell",
        "algo": "twap",
        "quantity": "0.5",
        "limit_price": "61000",
        "reduce_only": True,
        "settings": {"duration": "5m", "slices": "4"},
        **CALLER,
    }


def test_order_when_nobody_has_a_token_then_1_and_both_places_are_named(shell: Shell, daemon: Daemon) -> None:
    """A control call without one is not even tried."""
    done = shell.ours("order", "list", "--url", daemon.url)
    assert (done.code, done.out, daemon.asked) == (1, "", [])
    assert f"expected the daemon's token in TRADEFAN_TOKEN or {shell.data.token}, got neither" in done.err


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("cancel",), {}),
        (("resume",), {}),
        (
            ("amend", "--quantity", "4", "--end-at", "2026-05-01T12:00:00Z"),
            {"quantity": "4", "end_at": "2026-05-01T12:00:00Z"},
        ),
        (("amend", "--limit", "99.5", "--display", "1"), {"limit_price": "99.5", "display": "1"}),
        (("amend", "--trigger-price", "97.5"), {"trigger_price": "97.5"}),
        (("pause",), {"keep_children": False, "keep_end": False}),
        (("pause", "--keep-end", "--keep-children"), {"keep_children": True, "keep_end": True}),
    ],
)
def test_order_when_changed_then_the_call_says_who_asks(
    shell: Shell, daemon: Daemon, tokened: None, words: tuple[str, ...], body: dict[str, Any]
) -> None:
    """The same for each change: id, what is said, and the order as it is then."""
    path = f"/api/v1/orders/pabc/{words[0]}"
    daemon.answers[path] = (202, ORDER | {"status": "PENDING_CANCEL", "progress": 0.42})
    done = shell("order", *words, "pabc", "--url", daemon.url)
    assert done.out == "pabc cli buy 0.5 BTC/USDT limit at 61000: PENDING_CANCEL WORKING done 0; 42 %\n"
    assert daemon.asked == [("POST", path, "Bearer t", body | CALLER)]


SUBMIT = ("order", "submit", "--symbol", "BTC/USDT", "--side", "buy", "--quantity", "5", "--algo", "twap")


def test_order_when_a_dry_run_then_its_plan_and_nothing_else(
    shell: Shell, daemon: Daemon, tokened: None
) -> None:
    """Asked at another path: no daemon that does not know the word orders something."""
    daemon.answers["/api/v1/orders/plan"] = (200, PLAN)
    words = (*SUBMIT, "--duration", "5m", "--slices", "2", "--dry-run", "--url", daemon.url)
    assert json.loads(shell(*words, "--json").out) == PLAN
    assert shell(*words).out.splitlines() == [
        "plan: 2 decisions from 2026-11-29T10:00:00.000Z until 2026-11-29T10:05:00.000Z; nothing was created",
        "  10:00:00.000Z             2.5  target 2.5",
        "           then             2.5  target 5",
        "expected participation: 4.20 %",
        "estimated cost: unknown",
        "volume curve: packaged, 100 % covered",
        "flags: volume_unknown",
    ]
    (first, _) = daemon.asked
    assert first[:2] == ("POST", "/api/v1/orders/plan")
    assert first[3]["settings"] == {"duration": "5m", "slices": 2}
    refused = shell(*words, "--watch")
    assert (refused.code, len(daemon.asked)) == (2, 2)


@pytest.mark.parametrize(("status", "code"), [("FILLED", 0), ("EXPIRED", 1)])
def test_order_when_watched_then_each_change_once_until_it_ends(
    shell: Shell, daemon: Daemon, tokened: None, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    """Exit code 1 says that it has not got all."""
    working = ORDER | {"schedule_error": 0.003, "progress": 0.42, "end_ns": END_NS}
    ended = working | {"phase": "DONE", "status": status, "progress": 1.0, "schedule_error": None}
    answers = [working, working, ended]
    monkeypatch.setattr("tradefan.order_commands.WATCH_S", 0)
    monkeypatch.setattr("tradefan.order_commands.time.time_ns", lambda: END_NS - 1)
    monkeypatch.setattr("tradefan.client.Client.get", lambda _self, _path: answers.pop(0))
    daemon.answers["/api/v1/orders"] = (201, working)
    done = shell(*SUBMIT, "--watch", "--url", daemon.url)
    assert (done.code, answers) == (code, [])
    assert done.out.splitlines() == [
        "pabc NEW WORKING: 42 %, on schedule +0.3 %, ends 14:05",
        f"pabc {status} DONE: 100 %, ended",
        f"pabc cli buy 0.5 BTC/USDT limit at 61000: {status} DONE done 0",
    ]


@pytest.mark.parametrize(
    ("status", "answer", "code", "text"),
    [
        (422, {"error": REFUSED}, 1, "RISK_MAX_ORDER_QTY: no\n  limit: 10\n  used: 50\n  would pass: 10"),
        (503, {"error": {"code": "NOT_READY", "text": "starting"}}, 4, "NOT_READY: starting"),
        (401, {"error": {"code": "NO_TOKEN", "text": "expected a token"}}, 1, "NO_TOKEN: expected a token"),
        (500, "500 Internal Server Error", 1, "HTTP 500 Internal Server Error"),
        (200, "<html>", 1, "expected JSON; is it TradeFan?"),
        (302, "http://127.0.0.1:1/stolen", 1, "HTTP 302 Found"),
    ],
)
def test_order_when_refused_then_the_code_says_of_which_kind(
    shell: Shell, daemon: Daemon, tokened: None, status: int, answer: Any, code: int, text: str
) -> None:
    """Refused is 1, not ready is 4; nobody is sent elsewhere with the token."""
    daemon.answers["/api/v1/orders/pabc/cancel"] = (status, answer)
    done = shell("order", "cancel", "pabc", "--url", daemon.url)
    assert (done.code, done.out) == (code, "")
    assert text in done.err


def test_lists_when_asked_then_readable_or_json(shell: Shell, daemon: Daemon, tokened: None) -> None:
    """Everything that prints a table takes --json."""
    strategy = {"owner": "me", "use": "ema", "account": "paper:main", "state": "READY", "text": ""}
    position = {"account": "paper:main", "owner": "me", "instrument": "b:X/Y", "qty": "1", "avg_px": None}
    position |= {"mark": "2", "unrealised": None}
    holding = {"account": "paper:main", "owner": "external", "asset": "BTC", "qty": "2"}
    status = {"more": {"positions": 0, "holdings": 0}}
    daemon.answers = {
        "/status": (200, status | {"positions": [position], "holdings": [holding]}),
        "/api/v1/orders": (200, {"orders": [ORDER], "more_open": 0, "more_done": 0}),
        "/api/v1/orders/pabc": (200, ORDER),
        "/api/v1/strategies": (200, {"strategies": [strategy]}),
    }
    url = ("--url", daemon.url)
    for words, value, text in (
        (("order", "list"), [ORDER], "pabc cli buy 0.5"),
        (("order", "show", "pabc"), ORDER, "  child c1 NEW IN DOUBT (CREATE) 0/0.5"),
        (("strategy", "list"), [strategy], "me                   ema            paper:main   READY\n"),
        (("position", "list"), [position, holding], "avg_px -  mark 2  unrealised -"),
        (("position", "list"), [position, holding], "external         BTC                             2\n"),
    ):
        assert text in shell(*words, *url).out
        assert json.loads(shell(*words, *url, "--json").out) == value


def test_lists_when_they_leave_something_out_then_that_is_said(
    shell: Shell, daemon: Daemon, tokened: None
) -> None:
    """Beside the list, so that a program which reads it is not disturbed."""
    daemon.answers = {
        "/status": (200, {"positions": [], "holdings": [], "more": {"positions": 8, "holdings": 4}}),
        "/api/v1/orders": (200, {"orders": [], "more_open": 3, "more_done": 0}),
    }
    for words, text in (
        (("order", "list"), "and 3 more open\n"),
        (("position", "list"), "and 12 more positions\n"),
    ):
        assert shell(*words, "--url", daemon.url) == Done(0, "", text)
        assert shell(*words, "--json", "--url", daemon.url).err == text


# --- logs -----------------------------------------------------------------------------------------------


def line(second: int) -> str:
    return json.dumps({"ts": f"2026-11-21T12:00:{second:02d}.000Z", "event": f"e{second}"}) + "\n"


def test_logs_when_asked_then_the_last_or_those_since_also_from_older_files(shell: Shell) -> None:
    """The newest file may have been begun a moment ago."""
    shell.data.logs.mkdir()
    (shell.data.logs / "tradefan.log.1").write_text("".join(map(line, range(50))))
    shell.data.log.write_text("".join(map(line, range(50, 55))))
    everything = [line(second) for second in range(55)]

    def told(*words: str) -> list[str]:
        done = shell.ours("logs", *words)
        assert (done.code, done.err) == (0, "")
        return done.out.splitlines(keepends=True)

    assert told() == everything[-40:]
    assert told("--tail", "7") == everything[-7:]
    assert told("--tail", "0") == []
    assert told("--since", "2026-11-21T12:00:03Z") == everything[3:]
    assert told("--since", "2026-11-21T12:00:03Z", "--tail", "2") == everything[-2:]
    assert told("--since", "2026-11-21T13:00:00") == []


def test_since_when_a_duration_then_counts_back_from_now() -> None:
    """`10m` ago, or an instant."""
    now = parse_iso("2026-11-21T12:00:00Z")
    assert since_ns("10m", now) == now - 10 * MINUTE
    assert since_ns("250ms", now) == now - 250_000_000
    assert since_ns("2026-11-21T12:00:00Z", 0) == now


def test_log_when_a_line_is_unreadable_then_shown_all_the_same(tmp_path: Path) -> None:
    """What a crash cut off may be what somebody looks for."""
    path = tmp_path / "log"
    path.write_text('{"ts": "20\n' + line(5))
    with path.open() as file:
        assert [*read_log(path, file, None, parse_iso("2026-11-21T12:00:01Z"))] == ['{"ts": "20\n', line(5)]


def test_log_when_followed_then_no_line_is_lost_where_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line waits for its end; the old file is read to its end before the new one is begun."""
    path = tmp_path / "log"
    path.write_text(line(1)[:10])
    steps = iter(
        [
            lambda: path.write_text(line(1) + line(2)),
            lambda: (path.rename(tmp_path / "log.1"), path.write_text(line(3))),
        ]
    )
    monkeypatch.setattr("tradefan.logs.time.sleep", lambda _: next(steps)())
    with path.open() as file:
        lines = follow_log(path, file)
        assert [next(lines) for _ in range(3)] == [line(1), line(2), line(3)]
        lines.close()  # type: ignore[attr-defined]
