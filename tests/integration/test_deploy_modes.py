"""deploy.sh beyond the start of a process: going back by itself, the self-test, containers, systemd.

The daemon and the self-test are the real ones. An engine and a service manager are rare where tests run, so
what they would be told is taken down by programs that stand in for them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.integration.daemon_process import DaemonProcess
from tests.integration.deploying import (
    HARMLESS,
    ROOT,
    RUN,
    Daemon,
    StandIns,
    deploy,
    done_well,
    function,
    make_checkout,
    put_program,
    put_stand_ins,
)
from tests.services.server import require
from tradefan.data_dir import DaemonFile

# Going back.


@pytest.mark.slow
def test_deploy_when_the_new_daemon_does_not_start_then_what_ran_before_runs_again(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a copy of its own, with the words that it was started with and no others, in the same directory.

    That is said from the checkout, and means another place from the copy.
    """
    monkeypatch.chdir(ROOT)
    place = Daemon(free_port(), Path(os.path.relpath(tmp_path / "data", ROOT)))
    monkeypatch.setenv("TRADEFAN__VENUES__BINANCE__TAPE__HISTORY", "5s")
    try:
        done_well(place.act("deploy"))
        first = place.pid()
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            port = str(busy.getsockname()[1])
            done = place.act(
                "deploy", env={"TRADEFAN__API__PORT": port, "TRADEFAN__RISK__MAX_ORDER_QTY": "7"}
            )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "The new daemon ended with exit code 69. Going back to what ran before." in done.stderr
        assert f"What ran before runs again (pid {place.pid()}, http://127.0.0.1:{place.port})" in done.stderr
        assert place.pid() != first
        status = place.status()
        assert status["ready"] is True
        release = tmp_path / "data" / "release"
        assert Path(f"/proc/{place.pid()}/cwd").resolve() == release
        assert release.stat().st_mode & 0o777 == 0o700
        assert "runs already" in done_well(place.act("start"))
        # What the daemon was not started with is not there either.
        assert b"MAX_ORDER_QTY" not in Path(f"/proc/{place.pid()}/environ").read_bytes()
    finally:
        assert place.act("stop").returncode == 0


HANGS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(os.environ["TOLD"], "w").close()
time.sleep(300)
"""


def test_release_when_it_is_kept_then_what_a_path_of_the_checkout_leads_to_is_there(small_venv: Path) -> None:
    """A secret's file may lie in a folder whose name begins with a dot."""
    (small_venv / ".secrets").mkdir()
    (small_venv / ".secrets" / "key").touch()
    assert function(small_venv, "ENVIRONMENT=testing; locate_daemon; keep_release").returncode == 0
    release = small_venv / "data" / "testing" / "release"
    assert {path.name for path in release.iterdir()} == {
        "words",
        *(path.name for path in small_venv.iterdir()),
    }
    assert (release / ".secrets" / "key").exists()


def test_go_back_when_the_new_daemon_hangs_at_its_stop_then_it_is_killed(
    small_venv: Path, tmp_path: Path
) -> None:
    """It would hold the place of what ran before; alone, a stop kills nobody."""
    package = tmp_path / "hangs" / "tradefan"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(HANGS)
    env = {"PYTHONPATH": str(package.parent), "TOLD": str(tmp_path / "told")}
    hung = """
        ENVIRONMENT=testing; locate_daemon
        spawn_daemon "$ROOT"
        while ! [[ -e "$TOLD" ]]; do sleep 0.1; done
        printf '{"pid":%s,"url":"","stop_deadline_s":0}' "$DAEMON" >"$DATA_DIR/daemon.json"
        """
    code = "(stop_daemon $DAEMON) || echo $?; stop_daemon $DAEMON kill; is_our_daemon $DAEMON || echo gone"
    # The margin is fixed; here a second has to do.
    script = small_venv / "scripts" / "lib" / "release.sh"
    script.write_text(script.read_text().replace("STOP_MARGIN_S=10", "STOP_MARGIN_S=1"))
    done = function(small_venv, hung + code, env=env)
    said = done.stdout.splitlines()
    assert said[1] == "1"
    assert said[-2:] == ["Stopped.", "gone"]
    assert "did not end within 1 s of SIGTERM: runtime.stop_deadline and 1 s." in done.stderr
    assert "did not end within 1 s of SIGTERM; it is killed." in done.stderr


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("runtime:\n  stop_deadline: 10s   # base.yaml:115\n", 20),
        ("runtime:\n  stop_deadline: 1500ms\nstore:\n  stop_deadline: 3m\n", 12),
        ("other:\n  stop_deadline: 3m\nruntime:\n  seed: 0\n  stop_deadline: 5m\n", 310),
        ("", 20),
    ],
)
def test_stop_limit_when_configured_then_is_that_and_a_margin(
    small_venv: Path, said: str, seconds: int
) -> None:
    """What handles orders at a stop is not killed while it does; the daemon says it of itself, too."""
    done = function(small_venv, f"configured_stop_s <<<'{said}'")
    assert done.stdout == f"{seconds}\n"
    place = small_venv / "data" / "testing"
    place.mkdir(parents=True)
    record = DaemonFile(7, "http://127.0.0.1:8000", 5, "testing", "1", 60)
    (place / "daemon.json").write_bytes(msgspec.json.encode(record))
    where = "ENVIRONMENT=testing; locate_daemon"
    assert function(small_venv, f"{where}; stop_limit 7; stop_limit 8").stdout == "70\n20\n"


# The self-test.


BROKEN = """
from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register

@register("strategy", "broken", settings=Settings)
class Broken(Strategy[Settings, State]):
    def setup(self) -> None:
        self.bars("1s", symbol="BTC/USDT")

    def on_bar_1s(self, bar: Bar, view: View) -> Commands:
        raise ValueError("a mistake that only a running market shows")
"""


QUICK = "venues: {binance: {tape: {history: 5s}}}\n"
SERVERS = """
influx: {url: "http://127.0.0.1:1", password: "${NONE_SUCH}"}
redis: {url: "redis://127.0.0.1:1"}
strategies: {own: {use: broken}}
"""


@pytest.mark.slow
def test_self_test_when_run_then_tells_of_each_part_and_leaves_nothing(tmp_path: Path) -> None:
    """Beside a daemon that runs: it goes on, and is asked how it is. Then with a strategy that falls."""
    daemon = DaemonProcess(tmp_path)
    (daemon.config / "local.yaml").write_text(QUICK)
    before = set(Path("/tmp").glob("tradefan-rehearsal-*"))
    try:
        daemon.start().until_ready()
        done = daemon.run("self-test", "--for", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        parts = [line.split()[:2] for line in done.stdout.splitlines()]
        assert parts == [["configuration", "ok,"], ["rehearsal", "ok,"], ["health", "ok,"]]
        assert "an order FILLED" in done.stdout
        assert f"{daemon.url} (pid " in done.stdout
        fills = daemon.status()["fills"]["last"]
        assert [one for one in fills if one["owner"] == "cli"] == []
        assert daemon.end()[0] == 0
    finally:
        daemon.close()
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "broken.py").write_text(BROKEN)
    (daemon.config / "local.yaml").write_text(QUICK + SERVERS)
    done = daemon.run("self-test", "--for", "1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "lacks the password of InfluxDB (influx.password: ${NONE_SUCH} is not set)" in done.stdout
    assert "rehearsal      FAILED: its log has " in done.stdout
    assert "no daemon of development runs here" in done.stdout
    assert set(Path("/tmp").glob("tradefan-rehearsal-*")) == before


def test_deploy_when_the_self_test_fails_then_nothing_is_stopped(
    small_venv: Path, stand_ins: StandIns
) -> None:
    """With -s it gates; alone it deploys nothing, and its exit code is the script's."""
    python = small_venv / ".venv" / "bin" / "python"
    process = stand_ins.start(python, *RUN, program=python, cwd=small_venv)
    record = small_venv / "data" / "testing" / "deploy.pid"
    record.parent.mkdir(parents=True)
    record.write_text(f"{process.pid}\n")
    env = {**stand_ins.env, "SAYS": "", "CHECK_CODE": "0", "SELF_TEST_CODE": "1"}
    done = deploy(small_venv, "-e", "testing", "-a", "deploy", "-s", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The self-test of testing failed; the line above says where. Nothing was deployed." in done.stderr
    assert process.poll() is None
    # What is deployed may be the cure of a daemon that is not well.
    assert (stand_ins.folder / "told").read_text().endswith("--for 20 --no-health\n")
    (stand_ins.folder / "told").unlink()
    for code in (0, 1):
        assert (
            deploy(small_venv, "-e", "testing", "-s", env={**env, "SELF_TEST_CODE": str(code)}).returncode
            == code
        )
    assert "--no-health" not in (stand_ins.folder / "told").read_text()
    assert "-s goes alone or with -a deploy" in deploy(small_venv, "-e", "testing", "-a", "stop", "-s").stderr


# Containers, with programs in the place of an engine.


def test_compose_when_not_ready_then_the_image_and_configuration_of_before_run_again(
    small_venv: Path, tmp_path: Path
) -> None:
    """Check, start, gate, go back: the calls in their order, and exit code 1."""
    env = {**put_stand_ins(tmp_path), **HARMLESS, "TRADEFAN_READY_S": "2"}
    put_program(small_venv / "scripts" / "image.sh", 'echo "image $*" >>"$TOLD"')
    told = tmp_path / "told"
    words = ("-m", "compose", "-e", "development", "-a")
    quantity = "TRADEFAN__RISK__MAX_ORDER_QTY"
    before = {**env, quantity: "$7 'and more", "TRADEFAN_PORT": "8003"}
    said = done_well(deploy(small_venv, *words, "deploy", "--full", env=before))
    assert "login    admin / tradefan123 (development only" in said
    assert "health   http://127.0.0.1:8003/health" in said
    (tmp_path / "told.broken").touch()
    told.write_text("")
    done = deploy(small_venv, *words, "deploy", env={**env, quantity: "8", "TRADEFAN__API__PORT": "8004"})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "did not become ready: waiting for oms (starting). Going back" in done.stderr
    assert "What ran before runs again: image tradefan:kept-development" in done.stderr
    release = small_venv / "data" / "compose-development" / "release"
    lines = told.read_text().splitlines()
    calls = [line for line in lines if line.startswith(("compose", "image", "docker tag"))]
    new, kept = "image=tradefan:local config=", f"image=tradefan:kept-development config={release}/config"
    one_off = "run --rm --no-deps -T tradefan"
    overrides = release.parent / "overrides.yml"
    file, env_word = f"compose -f {small_venv}/docker-compose.yml -f {overrides}", "env=development"
    now, then = "port=8004 stop=70 qty=8", "port=8003 stop=70 qty=$7 'and more"
    # Limits, mounts and health checks are of then, too; the folders are those of the checkout.
    old_file = f"compose --project-directory {small_venv} -f {release}/docker-compose.yml -f {overrides}"
    daemon = "up -d --no-deps --force-recreate tradefan"
    assert calls == [
        "image build",
        f"{file} {one_off} check -e development {new} {env_word} port=8004 stop= qty=8",
        f"{file} {daemon} {new} {env_word} {now}",
        f"{file} up -d {new} {env_word} {now}",
        "docker tag sha256:before tradefan:kept-development",
        f"{old_file} {daemon} {kept} {env_word} {then}",
    ]
    # Compose gets the names; the port and the volume inside a container are its own.
    assert yaml.safe_load(overrides.read_text()) == {"services": {"tradefan": {"environment": [quantity]}}}
    assert (release / "words").stat().st_mode & 0o777 == 0o600
    assert lines.count("docker stop -t 45 c0ffee") == lines.count("docker rm c0ffee") == 2
    asked = [line for line in lines if line.startswith("docker ps ")]
    assert all("label=com.docker.compose.oneoff=False" in line for line in asked)
    for action in ("status", "logs", "stop"):
        done_well(deploy(small_venv, *words, action, env=env))
    assert (
        "still runs (container c0ffee). Nothing was removed."
        in deploy(small_venv, *words, "cleanup", "--yes", env=env).stderr
    )
    done = deploy(
        small_venv, *words, "deploy", env={**env, "CHECK_CODE": "2", "SAYS": "local.yaml:3: api.prot"}
    )
    assert done.returncode == 2
    assert "local.yaml:3: api.prot\nNothing was started or stopped." in done.stderr


def test_compose_when_a_container_cannot_start_then_goes_back_or_stops_it(
    small_venv: Path, tmp_path: Path
) -> None:
    """With nothing before: its exit code and no more starts, or 4 while it tries. Else what ran before."""
    env = {**put_stand_ins(tmp_path), **HARMLESS, "TRADEFAN_READY_S": "1"}
    put_program(small_venv / "scripts" / "image.sh", ":")
    told = tmp_path / "told"
    words = ("-m", "compose", "-e", "development", "-a")
    ended = tmp_path / "told.ended"
    ended.touch()
    done = deploy(small_venv, *words, "deploy", env=env)
    assert done.returncode == 69, done.stdout + done.stderr
    assert "Nothing ran before, so there is nothing to go back to; it is stopped." in done.stderr
    assert "docker stop c0ffee" in told.read_text()
    ended.unlink()
    (tmp_path / "told.broken").touch()
    told.write_text("")
    done = deploy(small_venv, *words, "deploy", env=env)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "It goes on trying." in done.stderr
    assert "docker stop c0ffee" not in told.read_text()
    (tmp_path / "told.broken").unlink()
    done_well(deploy(small_venv, *words, "deploy", env=env))
    done = deploy(small_venv, *words, "deploy", env={**env, "UP_CODE": "1"})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "did not become ready: compose could not start it. Going back to what ran before." in done.stderr
    assert "What ran before runs again: image tradefan:kept-development" in done.stderr


def test_compose_when_self_tested_then_the_container_that_runs_is_asked(
    small_venv: Path, tmp_path: Path
) -> None:
    """Alone its health counts; in front of a deployment it is what may be cured."""
    env = {**put_stand_ins(tmp_path), **HARMLESS, "TRADEFAN_READY_S": "1"}
    put_program(small_venv / "scripts" / "image.sh", ":")
    told = tmp_path / "told"
    words = ("-m", "compose", "-e", "development", "-s")
    assert "no container of development runs here" in done_well(deploy(small_venv, *words, env=env))
    (tmp_path / "told.up").touch()
    said = done_well(deploy(small_venv, *words, env=env))
    assert said.splitlines()[-1] == "health         ok, http://ready (container c0ffee)"
    (tmp_path / "told.broken").touch()
    done = deploy(small_venv, *words, env=env)
    assert (done.returncode, done.stderr) == (4, "health         FAILED: waiting for oms (starting)\n")
    told.write_text("")
    assert "Waiting for development" in deploy(small_venv, *words, "-a", "deploy", env=env).stdout
    assert "self-test -e development --for 20 --no-health" in told.read_text()


def test_compose_stop_when_not_all_could_be_taken_down_then_exit_1_says_so(
    small_venv: Path, tmp_path: Path
) -> None:
    """The daemon has ended; what is around it may run on."""
    env = {**put_stand_ins(tmp_path), **HARMLESS}
    (tmp_path / "told.up").touch()
    (tmp_path / "told.stuck").touch()
    done = deploy(small_venv, "-m", "compose", "-e", "development", "-a", "stop", env=env)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "in use")
    assert "Stopped." not in done.stdout


def test_compose_cleanup_when_something_is_in_use_then_exit_1_says_so(
    small_venv: Path, tmp_path: Path
) -> None:
    """What was left is no success."""
    env = {**put_stand_ins(tmp_path), **HARMLESS}
    (tmp_path / "told.stuck").touch()
    done = deploy(small_venv, "-m", "compose", "-e", "development", "-a", "cleanup", "--yes", env=env)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "in use")
    assert "Removed." not in done.stdout


# systemd.


def test_systemd_when_deployed_then_unit_and_drop_in_are_good_and_a_failed_start_goes_back(
    small_venv: Path, tmp_path: Path, stand_ins: StandIns
) -> None:
    """The unit with its folders filled in is read by systemd itself; the manager here only takes down."""
    env = {**stand_ins.env, **put_stand_ins(tmp_path)}
    shutil.copytree(ROOT / "config" / "systemd", small_venv / "config" / "systemd")
    units = tmp_path / "units"
    units.mkdir()
    (small_venv / "tradefan").mkdir()
    env |= {"TRADEFAN_UNIT_DIR": str(units), "TRADEFAN__API__PORT": '1"%'}
    env |= {"SYSTEMCTL_CODE": "0", "TRADEFAN_READY_S": "1"}
    install = "MODE=systemd; ENVIRONMENT=testing; prepare_systemd; locate_daemon; install_unit"
    assert function(small_venv, install, env=env).returncode == 0
    drop_in = units / "tradefan@testing.service.d" / "deploy.conf"
    python = f'"{small_venv}/.venv/bin/python" -m tradefan'
    assert drop_in.read_text().splitlines() == [
        "[Service]",
        f"User={small_venv.owner()}",
        f"WorkingDirectory={small_venv}",
        "EnvironmentFile=",
        f"EnvironmentFile={drop_in.parent}/secrets.env",
        f"EnvironmentFile={drop_in.parent}/overrides.env",
        "ExecStartPre=",
        f"ExecStartPre={python} check --quiet -e %i",
        "ExecStart=",
        f"ExecStart={python} run -e %i",
        "TimeoutStopSec=20",
        f'ReadWritePaths="-{small_venv}/data" "-{small_venv}/logs"',
        f'ReadWritePaths="{small_venv}/data/testing" "{small_venv}/logs"',
    ]
    # A shell reads it alike.
    overrides = drop_in.parent / "overrides.env"
    assert overrides.read_text() == 'TRADEFAN__API__PORT="1\\"%"\n'
    assert overrides.stat().st_mode & 0o777 == 0o600
    # What several checkouts share names none of them.
    assert (units / "tradefan@.service").read_text() == (
        ROOT / "config" / "systemd" / "tradefan@.service"
    ).read_text()
    verify(units)
    # What ran before: a release, and a manager that knows a process.
    assert function(small_venv, f"{install}; keep_service_release", env=env).returncode == 0
    unit = small_venv / "config" / "systemd" / "tradefan@.service"
    of_then = unit.read_text()
    unit.write_text(of_then.replace("MemoryMax=2G", "MemoryMax=1K"))
    quiet = "gate_native() { :; }; restore_packages() { :; }; systemd_running() { say 'pid 1'; }"
    env["TRADEFAN__API__PORT"] = "`2`$\\\\"
    failing = f'{install}; {quiet}; [[ $(. $OVERRIDES; say $TRADEFAN__API__PORT) == "$TRADEFAN__API__PORT" ]]'
    took = 'systemctl() { command systemctl "$@"; [[ $1 != restart ]]; }'
    (tmp_path / "told").write_text("")
    done = function(small_venv, f"{failing}; {took}; systemd_deploy", env=env)
    assert done.returncode == 1
    calls = [line.split()[1] for line in (tmp_path / "told").read_text().splitlines()]
    # It ends by its own limit before the unit changes, and failures of before block no start.
    start = ["daemon-reload", "reset-failed", "restart"]
    assert [call for call in calls if call != "show"] == ["daemon-reload", "stop", *start, *start]
    assert "Going back to what ran before." in done.stderr
    assert "What ran before does not start either" in done.stderr
    assert drop_in.read_text().splitlines()[-1] == f"WorkingDirectory={small_venv}/data/testing/release"
    (tmp_path / "told").write_text("")
    assert overrides.read_text() == 'TRADEFAN__API__PORT="1\\"%"\n'
    assert (units / "tradefan@.service").read_text() == of_then
    put_program(tmp_path / "bin" / "systemctl", 'echo "systemctl $*" >>"$TOLD"')
    done_well(deploy(small_venv, "-m", "systemd", "-e", "testing", "-a", "cleanup", "--yes", env=env))
    assert list(units.iterdir()) == []
    assert "systemctl disable --quiet tradefan@testing.service\n" in (tmp_path / "told").read_text()


def test_systemd_when_it_goes_back_then_a_relative_data_directory_is_the_same(
    small_venv: Path, tmp_path: Path
) -> None:
    """A service of the copy has another folder to begin at; and systemd takes no path with `..`."""
    env = {**put_stand_ins(tmp_path), "TRADEFAN_UNIT_DIR": str(tmp_path), "TRADEFAN__DATA_DIR": "../own data"}
    shutil.copytree(ROOT / "config" / "systemd", small_venv / "config" / "systemd")
    install = "MODE=systemd; ENVIRONMENT=testing; locate_daemon; prepare_systemd; install_unit"
    done = function(small_venv, f"{install}; keep_service_release; restore_service", env=env)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "tradefan@testing.service.d"
    data = small_venv.parent / "own data"
    assert f'ReadWritePaths="{data}" "{data}/logs"' in (folder / "deploy.conf").read_text()
    read = function(small_venv, f'. "{folder}/overrides.env"; say "$TRADEFAN__DATA_DIR"')
    assert read.stdout == f"{data}\n"


def test_systemd_when_stopped_then_what_is_left_at_the_venue_is_shown(
    small_venv: Path, tmp_path: Path
) -> None:
    """The daemon says it last, into the journal; who stops it sees it."""
    env = {**put_stand_ins(tmp_path), "TRADEFAN_UNIT_DIR": str(tmp_path)}
    put_program(tmp_path / "bin" / "systemctl", 'case "$1" in show) echo 7 ;; esac')
    done = deploy(small_venv, "-m", "systemd", "-e", "testing", "-a", "stop", env=env)
    assert done.stdout.splitlines() == [
        "Stopping tradefan@testing.service (pid 7)",
        "    left at the venue: nothing of ours",
        "Stopped; it does not start with the machine any more.",
    ]


def test_systemd_when_root_deploys_somebodys_checkout_then_all_of_it_stays_theirs(
    small_venv: Path, tmp_path: Path, stand_ins: StandIns
) -> None:
    """The service, and the next deployment without sudo, have to write there."""
    if os.getuid() != 0:
        pytest.skip("only root makes what is not its own")
    shutil.copytree(ROOT / "config" / "systemd", small_venv / "config" / "systemd")
    env = {**stand_ins.env, **put_stand_ins(tmp_path), "TRADEFAN_UNIT_DIR": str(tmp_path)}
    for path in (small_venv, *small_venv.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    (small_venv / ".venv" / "made").touch()
    done = deploy(small_venv, "-m", "systemd", "-e", "testing", "-a", "deploy", env=env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (small_venv / "data" / "testing").is_dir()
    assert [path for path in small_venv.rglob("*") if path.lstat().st_uid != 65534] == []


@pytest.mark.parametrize(
    ("running", "ended_with", "code"),
    [("no", "1 69", 69), ("no", "1 1", 1), ("no", "2 9", 1), ("yes", "", 4)],
)
def test_systemd_when_the_first_deployment_fails_then_exit_code_is_the_daemons_own(
    small_venv: Path, tmp_path: Path, stand_ins: StandIns, running: str, ended_with: str, code: int
) -> None:
    """As for a process; what has ended is stopped, so that it is not started again and again."""
    shutil.copytree(ROOT / "config" / "systemd", small_venv / "config" / "systemd")
    env = {**stand_ins.env, **put_stand_ins(tmp_path)}
    env |= {"TRADEFAN_UNIT_DIR": str(tmp_path), "TRADEFAN_READY_S": "1"}
    how, status = (ended_with.split() or ["", ""])[:2]
    program = f"""
        MODE=systemd ENVIRONMENT=testing; locate_daemon; gate_native() {{ :; }}
        systemd_running() {{ [[ {running} == yes && -e "$TOLD.went" ]] && say 'pid 1'; }}
        systemctl() {{
            case "$*" in
                *ExecMainCode*) say '{how}' ;;
                *ExecMainStatus*) say '{status}' ;;
                restart*) touch "$TOLD.went"; [[ {running} == yes ]] ;;
                stop*) say stopped ;;
            esac
        }}
        systemd_deploy"""
    done = function(small_venv, program, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("stopped" in done.stdout) is (running == "no")


def test_systemd_when_the_checkout_lies_in_a_folder_with_spaces_then_the_unit_is_good(
    tmp_path: Path, stand_ins: StandIns
) -> None:
    """Each word is quoted as the key that it stands behind wants it."""
    checkout = make_checkout(tmp_path / "a checkout, 100%")
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copytree(ROOT / "config" / "systemd", checkout / "config" / "systemd")
    units = tmp_path / "units"
    units.mkdir()
    env = {**stand_ins.env, **put_stand_ins(tmp_path), "TRADEFAN_UNIT_DIR": str(units)}
    install = "MODE=systemd; ENVIRONMENT=testing; prepare_systemd; locate_daemon; install_unit"
    assert function(checkout, install, env=env).returncode == 0
    assert (
        f'"{tmp_path}/a checkout, 100%%/.venv/bin/python"'
        in (units / "tradefan@testing.service.d" / "deploy.conf").read_text()
    )
    verify(units)


def verify(units: Path) -> None:
    """Have `systemd-analyze verify` read an instance with its drop-in."""
    analyze = require("systemd-analyze")
    command = [
        analyze,
        "verify",
        "--man=no",
        "--recursive-errors=no",
        str(units / "tradefan@testing.service"),
    ]
    (units / "tradefan@testing.service").symlink_to(units / "tradefan@.service")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (units / "tradefan@testing.service").unlink()
    assert [line for line in done.stderr.splitlines() if "tradefan" in line] == []
