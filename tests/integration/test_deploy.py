"""scripts/deploy.sh as its users meet it: words, exit codes, and a daemon that lives or does not.

What needs no daemon runs in small copies of the checkout. What needs one starts the real one from this
checkout on a free port with its data in a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.deploying import (
    ROOT,
    RUN,
    Daemon,
    StandIns,
    call,
    deploy,
    done_well,
    function,
    gone,
    make_checkout,
    put_program,
)

TOOLS = ("awk", "basename", "bash", "cat", "dirname", "grep", "id", "mkdir", "readlink", "sed", "tr")
NOBODY = 65534


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH that holds the tools of the script and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (folder / tool).symlink_to(found)
    return folder


# Usage.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Add -a with one of: deploy start stop"),
        (("-e", "development"), "Add -a with one of: deploy start stop"),
        (("-a", "deploy"), "Add -e with one of: development production staging testing"),
        (("-a", "satus", "-e", "development"), "Did you mean 'status'?"),
        (("-a", "deploy", "-e", "prod"), "Did you mean 'production'?"),
        (("-a", "deploy", "-e", "develpoment"), "Did you mean 'development'?"),
        (("-a",), "-a needs a value"),
        (("-a", "logs", "--tail"), "--tail needs a value"),
        (("--force",), "There is no option '--force'"),
    ],
)
def test_usage_when_wrong_then_exit_2_with_what_is_allowed(
    checkout: Path, arguments: tuple[str, ...], words: str
) -> None:
    """A wrong word costs one look: the message holds the right ones."""
    done = deploy(checkout, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_help_when_asked_then_names_every_action(checkout: Path) -> None:
    """`-h` is complete and no error."""
    done = deploy(checkout, "-h")
    assert done.returncode == 0
    for action in ("deploy", "start", "stop", "restart", "status", "logs", "cleanup", "test"):
        assert f"\n  {action} " in done.stdout


@pytest.mark.parametrize("script", ["scripts/deploy.sh", "scripts/image.sh", "scripts/tradefan", ".ci/run"])
def test_script_when_checked_then_shellcheck_is_quiet(script: str) -> None:
    """The scripts are held to a linter like the Python."""
    done = call(Path(sys.executable).parent / "shellcheck", "-x", "-a", script, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "")


# Finding Python.


def test_find_python_when_shims_fail_then_takes_the_one_that_runs(checkout: Path, bare_path: Path) -> None:
    """A pyenv shim exists for each version that is installed, and fails for those that are not active."""
    put_program(bare_path / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    put_program(bare_path / "python3.12", "echo 3.10.9; exit 1")
    put_program(bare_path / "python3", f'exec {sys.executable} "$@"')
    done = function(checkout, "find_python", env={"PATH": str(bare_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{bare_path}/python3\n", "")


def test_find_python_when_one_is_named_then_takes_that_one_or_none(checkout: Path, bare_path: Path) -> None:
    """Who knows which Python is the fast one says so, and hears when it is none."""
    put_program(bare_path / "python3", f'exec {sys.executable} "$@"')
    put_program(bare_path / "mine", f'exec {sys.executable} "$@"')
    env = {"PATH": str(bare_path), "TRADEFAN_PYTHON": str(bare_path / "mine")}
    done = function(checkout, "find_python", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{bare_path}/mine\n", "")
    done = function(checkout, "find_python", env={**env, "TRADEFAN_PYTHON": "/nowhere/python3"})
    assert (done.returncode, done.stdout) == (69, "")
    assert "TRADEFAN_PYTHON is /nowhere/python3, which does not run" in done.stderr


def test_deploy_when_no_python_then_exit_69_says_what_to_install(checkout: Path, bare_path: Path) -> None:
    """A machine without Python is told so before anything is written."""
    done = deploy(checkout, "-e", "development", "-a", "deploy", env={"PATH": str(bare_path)})
    assert done.returncode == 69
    assert "needs Python 3.11 or newer" in done.stderr
    assert "sudo apt install python3" in done.stderr
    assert not (checkout / ".venv").exists()


def test_deploy_when_python_has_no_venv_then_exit_69_names_the_package(
    checkout: Path, bare_path: Path
) -> None:
    """Debian's python3 comes without ensurepip."""
    put_program(
        bare_path / "python3", f'case "$*" in *ensurepip*) exit 1 ;; esac; exec {sys.executable} "$@"'
    )
    done = deploy(checkout, "-e", "development", "-a", "deploy", env={"PATH": str(bare_path)})
    assert done.returncode == 69
    assert "python3-venv" in done.stderr


# The environment.


def current(checkout: Path, kind: str) -> bool:
    return function(checkout, f"environment_is_current {kind}").returncode == 0


def test_environment_when_nothing_changed_then_is_kept(small_venv: Path) -> None:
    """The second deploy does not touch .venv."""
    done = function(small_venv, "ensure_environment runtime; ensure_environment dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_environment_when_a_lock_changed_then_is_made_again(small_venv: Path) -> None:
    """The tools' lock concerns only the environment with tools."""
    with (small_venv / "requirements-dev.txt").open("a") as lock:
        lock.write("# one more line\n")
    assert (current(small_venv, "runtime"), current(small_venv, "dev")) == (True, False)
    with (small_venv / "pyproject.toml").open("a") as project:
        project.write("# one more line\n")
    assert current(small_venv, "runtime") is False


def test_environment_when_checkout_moved_then_is_made_again(small_venv: Path, tmp_path: Path) -> None:
    """The programs in .venv name the folder that they were made in."""
    moved = small_venv.rename(tmp_path / "moved")
    assert current(moved, "runtime") is False
    assert function(moved, "venv_is_usable").returncode == 1


def test_environment_when_its_python_is_gone_then_is_made_again(small_venv: Path) -> None:
    """An upgrade of the system's Python leaves a dangling link."""
    (small_venv / ".venv" / "bin" / "python").unlink()
    (small_venv / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    assert current(small_venv, "runtime") is False


def test_environment_when_another_python_is_named_then_is_made_again(small_venv: Path) -> None:
    """The same Python by another name is the same; one that is installed elsewhere is not."""
    same, other = small_venv / "same", small_venv / "other"
    put_program(same, f'exec {sys.executable} "$@"')
    put_program(other, "echo /elsewhere 3 11")
    for named, code in ((same, 0), (other, 1)):
        done = function(small_venv, "venv_is_usable", env={"TRADEFAN_PYTHON": str(named)})
        assert done.returncode == code


@pytest.mark.slow
def test_environment_when_it_is_a_link_then_what_it_leads_to_is_left_alone(
    checkout: Path, tmp_path: Path
) -> None:
    """A second checkout that borrows the first one's environment must not clear it."""
    borrowed = tmp_path / "borrowed"
    borrowed.mkdir()
    (borrowed / "kept").touch()
    (checkout / ".venv").symlink_to(borrowed)
    done = function(checkout, "make_venv")
    assert done.returncode == 0, done.stderr
    assert (borrowed / "kept").exists()
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert not (checkout / ".venv").is_symlink()


@pytest.mark.slow
def test_environment_when_nothing_can_be_fetched_then_says_where_to_look(checkout: Path) -> None:
    """A failed installation leaves no stamp, so that the next try resumes."""
    done = function(checkout, "ensure_environment runtime", env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""})
    assert done.returncode == 1
    assert "[1/3] Making .venv with" in done.stdout
    assert ".venv/install.log is above" in done.stderr
    assert "No matching distribution" in done.stderr
    assert current(checkout, "runtime") is False


# Users without rights.


@pytest.fixture
def foreign_checkout() -> Iterator[Path]:
    """A checkout that another user may read; pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield make_checkout(folder / "checkout")


def as_somebody(*capabilities: str) -> list[str]:
    """Give the words in front of a command that make it run without root's rights."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root cannot drop its rights here: there is no setpriv")
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    for name in capabilities:
        words += [f"--inh-caps=+{name}", f"--ambient-caps=+{name}"]
    return words


def test_deploy_when_checkout_is_not_writable_then_exit_69_names_it(foreign_checkout: Path) -> None:
    """Somebody else's checkout is no place for an environment."""
    foreign_checkout.chmod(0o555)
    done = call(*as_somebody(), foreign_checkout / "scripts/deploy.sh", "-e", "development", "-a", "deploy")
    foreign_checkout.chmod(0o755)
    assert done.returncode == 69
    assert f"cannot write to {foreign_checkout}." in done.stderr
    assert not (foreign_checkout / ".venv").exists()


def test_start_when_data_directory_is_not_writable_then_exit_69_names_it(small_venv: Path) -> None:
    """A data directory that cannot even be made is met before the daemon is started."""
    done = deploy(
        small_venv, "-e", "development", "-a", "start", env={"TRADEFAN__DATA_DIR": "/proc/nowhere/data"}
    )
    assert done.returncode == 69
    assert "cannot write to /proc/nowhere/data." in done.stderr


# Processes that look like daemons: a small environment, and a package that only sleeps or answers `check`.


@pytest.mark.parametrize("action", ["deploy", "restart"])
@pytest.mark.parametrize(
    ("says", "code", "expected"),
    [
        ("local.yaml:3: api.prot: there is no such key", 2, 2),
        ("to run, testing lacks api_key of binance:main", 0, 2),
        ("RuntimeError: a defect", 70, 70),
    ],
)
def test_deploy_when_check_refuses_then_the_running_daemon_is_not_stopped(
    small_venv: Path, stand_ins: StandIns, action: str, says: str, code: int, expected: int
) -> None:
    """A mistake in the new configuration is met while the old one still trades."""
    python = small_venv / ".venv" / "bin" / "python"
    process = stand_ins.start(python, *RUN, program=python, cwd=small_venv)
    record = small_venv / "data" / "testing" / "deploy.pid"
    record.parent.mkdir(parents=True)
    record.write_text(f"{process.pid}\n")
    env = {**stand_ins.env, "SAYS": says, "CHECK_CODE": str(code)}
    done = deploy(small_venv, "-e", "testing", "-a", action, env=env)
    assert (done.returncode, done.stdout) == (expected, "")
    assert done.stderr.startswith(f"{says}\nNothing was stopped: the running daemon (pid {process.pid}) ")
    assert process.poll() is None
    assert record.read_text() == f"{process.pid}\n"


# Stopping, and asking, without a daemon.


def test_stop_when_not_running_then_exit_3_says_how_to_start(checkout: Path) -> None:
    """Stopping twice is told apart from stopping."""
    done = deploy(checkout, "-e", "development", "-a", "stop")
    assert done.returncode == 3
    assert "-e development -a deploy" in done.stderr


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def test_stop_when_pid_belongs_to_another_process_then_leaves_it_alone(
    checkout: Path, bystander: subprocess.Popen[bytes]
) -> None:
    """After a reboot the recorded number may be anybody's."""
    record = checkout / "data" / "testing" / "deploy.pid"
    record.parent.mkdir(parents=True)
    record.write_text(f"{bystander.pid}\n")
    done = deploy(checkout, "-e", "testing", "-a", "stop")
    assert done.returncode == 3
    assert "the process is not touched" in done.stdout
    assert bystander.poll() is None
    assert not record.exists()


@pytest.mark.parametrize("text", ["", "-1\n", "1 2\n", "$(touch /tmp/x)\n"])
def test_stop_when_record_is_garbage_then_signals_nobody(checkout: Path, text: str) -> None:
    """`kill -1` would end everything that this user runs."""
    record = checkout / "data" / "testing" / "deploy.pid"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert deploy(checkout, "-e", "testing", "-a", "stop").returncode == 3


@pytest.mark.parametrize("action", ["status", "logs"])
def test_client_action_when_no_environment_then_exit_69_says_deploy(checkout: Path, action: str) -> None:
    """A fresh clone answers with its first command."""
    done = deploy(checkout, "-e", "development", "-a", action)
    assert done.returncode == 69
    assert f"{checkout}/scripts/deploy.sh -e development -a deploy" in done.stderr


def test_wrapper_when_called_through_a_link_then_finds_its_checkout(checkout: Path, tmp_path: Path) -> None:
    """Somebody puts a link into ~/bin."""
    (tmp_path / "tradefan").symlink_to(checkout / "scripts" / "tradefan")
    done = call(tmp_path / "tradefan", "status", cwd=tmp_path)
    assert done.returncode == 69
    assert f"{checkout}/.venv" in done.stderr


@pytest.mark.parametrize(
    ("line", "env", "expected"),
    [
        ("", {}, "{root}/data/testing {root}/logs"),
        ('data_dir: ""  # none', {}, "{root}/data/testing {root}/logs"),
        ('data_dir: "/srv/fan"  # a disk', {}, "/srv/fan /srv/fan/logs"),
        ("data_dir: elsewhere", {}, "{root}/elsewhere {root}/elsewhere/logs"),
        ("data_dir: /srv/fan", {"TRADEFAN__DATA_DIR": "/tmp/fan"}, "/tmp/fan /tmp/fan/logs"),
    ],
)
def test_places_when_data_dir_is_configured_then_are_the_daemons(
    checkout: Path, line: str, env: Mapping[str, str], expected: str
) -> None:
    """The script looks for the daemon where the daemon's own configuration puts it."""
    (checkout / "config" / "local.yaml").write_text(f"api:\n  port: 8000\n{line}\n")
    done = function(checkout, 'ENVIRONMENT=testing; locate_daemon; echo "$DATA_DIR $LOG_DIR"', env=env)
    assert done.stdout == expected.format(root=checkout) + "\n"


def test_places_when_dotenv_says_the_data_directory_then_the_script_looks_there(checkout: Path) -> None:
    """The daemon is started with what .env says, so that is where it is looked for."""
    (checkout / ".env").write_text("TRADEFAN__DATA_DIR=/srv/said\n")
    done = deploy(checkout, "-e", "testing", "-a", "stop")
    assert done.returncode == 3
    assert "in /srv/said)" in done.stderr


# The real daemon.


@pytest.fixture
def daemon(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Daemon]:
    place = Daemon(free_port(), tmp_path / "data")
    yield place
    place.act("stop")


@pytest.mark.slow
def test_daemon_when_deployed_then_lives_through_all_actions(daemon: Daemon) -> None:
    """The way of a first user: deploy, look, deploy again, stop."""
    said = done_well(daemon.act("deploy"))
    first = daemon.pid()
    assert f"http://127.0.0.1:{daemon.port}/status" in said
    assert "-a logs -f" in said
    assert daemon.status()["environment"] == "development"

    assert "PAPER" in done_well(daemon.act("status")).splitlines()[0]
    assert done_well(daemon.act("logs", "--tail", "3")).count("\n") >= 3
    assert f"runs already (pid {first})" in done_well(daemon.act("start"))

    said = done_well(daemon.act("deploy"))
    assert f"Stopping development (pid {first})" in said
    assert gone(first)
    assert not gone(daemon.pid())
    assert daemon.pid() != first

    last = daemon.pid()
    assert "Stopped." in done_well(daemon.act("stop"))
    assert gone(last)
    assert daemon.act("stop").returncode == 3
    assert daemon.act("status").returncode == 3


@pytest.mark.slow
def test_daemon_when_killed_then_next_start_is_clean(daemon: Daemon) -> None:
    """kill -9 leaves the record and the lock's file behind; neither is in the way."""
    done_well(daemon.act("deploy"))
    killed = daemon.pid()
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not gone(killed) and time.monotonic() < deadline:
        time.sleep(0.05)
    done_well(daemon.act("start"))
    assert daemon.pid() != killed


@pytest.mark.slow
def test_deploy_when_port_is_busy_then_exit_69_and_the_other_lives(daemon: Daemon, tmp_path: Path) -> None:
    """The second daemon says what to do, and the first does not notice."""
    done_well(daemon.act("deploy"))
    second = Daemon(daemon.port, tmp_path / "second")
    done = second.act("deploy")
    # Only where the test is about to fail is there anything to stop.
    second.act("stop")
    assert done.returncode == 69, done.stdout + done.stderr
    assert str(daemon.port) in done.stderr
    assert "TRADEFAN__API__PORT=" in done.stderr
    assert "last lines of" in done.stderr
    assert not (tmp_path / "second" / "deploy.pid").exists()
    assert daemon.status()["environment"] == "development"


@pytest.mark.slow
def test_deploy_when_configuration_is_wrong_then_exit_2_shows_the_mistake(daemon: Daemon) -> None:
    """The daemon's own words are shown; nobody has to look for its output."""
    done = daemon.act("deploy", env={"TRADEFAN__API__PORT": "eighty"})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "eighty" in done.stderr
    assert "scripts/tradefan check -e development" in done.stderr


@pytest.mark.slow
def test_deploy_when_new_configuration_is_wrong_then_the_daemon_trades_on(daemon: Daemon) -> None:
    """Before anything is stopped, the real check reads what the next daemon would."""
    done_well(daemon.act("deploy"))
    first = daemon.pid()
    for action in ("deploy", "restart"):
        done = daemon.act(action, env={"TRADEFAN__API__PORT": "eighty"})
        assert (done.returncode, done.stdout) == (2, "")
        assert "got eighty" in done.stderr
        assert f"the running daemon (pid {first}) goes on untouched" in done.stderr
    assert daemon.pid() == first
    assert daemon.status()["environment"] == "development"
    # Without --yes and a terminal nothing is ever removed; here not even the question is reached.
    done = deploy(ROOT, "-a", "cleanup")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"still runs: pid {first}, " in done.stderr


@pytest.mark.slow
def test_daemon_when_user_is_not_root_then_deploys_and_stops(daemon: Daemon) -> None:
    """Nothing needs root: a user who may only read the checkout runs it with data of their own.

    The capability lets that user read an interpreter in root's home, as pyenv's is; it writes nothing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        place = Daemon(daemon.port, folder / "data", tuple(as_somebody("dac_read_search")))
        # The environment was made by whoever runs the tests; only they may bring it up to date.
        assert function(ROOT, "ensure_environment runtime").returncode == 0
        try:
            done_well(place.act("deploy"))
            assert (folder / "data" / "deploy.pid").stat().st_uid == (
                NOBODY if os.getuid() == 0 else os.getuid()
            )
            done_well(place.act("status"))
        finally:
            stopped = place.act("stop")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
