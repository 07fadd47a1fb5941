"""What `deploy.sh -a cleanup` removes, whom it asks, and which daemons it is in the way of."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.deploying import RUN, StandIns, deploy, put_program


@pytest.fixture
def used_checkout(checkout: Path) -> Path:
    for name in (".venv/bin", "tradefan/__pycache__", "data/development", "logs", "config"):
        (checkout / name).mkdir(parents=True, exist_ok=True)
    (checkout / "config" / "local.yaml").touch()
    return checkout


def left(checkout: Path) -> set[str]:
    names = (".venv", "tradefan/__pycache__", "data", "logs", "config/local.yaml")
    return {name for name in names if (checkout / name).exists()}


EVERYTHING = {".venv", "tradefan/__pycache__", "data", "logs", "config/local.yaml"}


@pytest.mark.parametrize("arguments", [(), ("--all",)])
def test_cleanup_when_nobody_can_be_asked_then_removes_nothing(
    used_checkout: Path, arguments: tuple[str, ...]
) -> None:
    """Without a terminal only --yes is a yes; what --all removes is worth the extra word at any time."""
    done = deploy(used_checkout, "-a", "cleanup", *arguments)
    assert done.returncode == 2
    assert "\n  .venv\n  tradefan/__pycache__\n" in done.stdout.replace("  data\n  logs\n", "")
    assert "--yes" in done.stderr
    assert left(used_checkout) == EVERYTHING


def test_cleanup_when_yes_then_spares_data_and_logs(used_checkout: Path) -> None:
    """What was built goes, what was earned stays."""
    assert deploy(used_checkout, "-a", "cleanup", "--yes").returncode == 0
    assert left(used_checkout) == {"data", "logs", "config/local.yaml"}
    assert deploy(used_checkout, "-a", "cleanup", "--yes").stdout == "There is nothing to remove.\n"


def test_cleanup_when_all_and_yes_then_spares_the_users_own_files(used_checkout: Path) -> None:
    """The local configuration is the user's work, not the program's."""
    assert deploy(used_checkout, "-a", "cleanup", "--all", "--yes").returncode == 0
    assert left(used_checkout) == {"config/local.yaml"}


@pytest.mark.parametrize(("answer", "code", "kept"), [("n\n", 1, True), ("\n", 1, True), ("y\n", 0, False)])
def test_cleanup_when_at_a_terminal_then_obeys_the_answer(
    used_checkout: Path, answer: str, code: int, kept: bool
) -> None:
    """Only a yes is a yes."""
    controller, terminal = pty.openpty()
    os.write(controller, answer.encode())
    try:
        done = subprocess.run(
            ["bash", used_checkout / "scripts" / "deploy.sh", "-a", "cleanup"],
            stdin=terminal,
            capture_output=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert done.returncode == code
    assert (used_checkout / ".venv").exists() is kept


def test_cleanup_when_something_cannot_be_removed_then_exit_1_says_so(
    used_checkout: Path, tmp_path: Path
) -> None:
    """What was left is no success."""
    (tmp_path / "bin").mkdir()
    put_program(tmp_path / "bin" / "rm", 'echo "rm: cannot remove" >&2; exit 1')
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = deploy(used_checkout, "-a", "cleanup", "--yes", env=env)
    assert done.returncode == 1
    assert "Removed." not in done.stdout
    assert done.stderr == "rm: cannot remove\nNot everything could be removed; the lines above name it.\n"


# Processes that look like daemons.


@pytest.mark.parametrize(
    "words",
    [
        ("{root}/.venv/bin/python", *RUN),
        ("{root}/.venv/bin/python3", "-P", "-m", "tradefan", "run"),
        (".venv/bin/python", *RUN),
        ("../checkout/.venv/bin/python", *RUN),
        ("python", *RUN),
    ],
)
def test_cleanup_when_a_daemon_runs_with_data_elsewhere_then_refuses_by_pid(
    small_venv: Path, stand_ins: StandIns, words: tuple[str, ...]
) -> None:
    """What counts is whose environment a daemon runs in, not where its record lies or how it was called."""
    process = stand_ins.start(
        *(word.format(root=small_venv) for word in words),
        program=small_venv / ".venv" / "bin" / "python",
        cwd=small_venv,
        env={"TRADEFAN__DATA_DIR": "/tmp/elsewhere", "VIRTUAL_ENV": str(small_venv / ".venv")},
    )
    done = deploy(small_venv, "-a", "cleanup", "--all", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"still runs: pid {process.pid}, " in done.stderr
    assert (small_venv / ".venv" / "bin" / "python").exists()
    assert process.poll() is None


def test_cleanup_when_only_others_run_then_is_not_in_their_way(small_venv: Path, stand_ins: StandIns) -> None:
    """The daemon of another checkout, or another command of this one, is no reason to keep anything."""
    python = small_venv / ".venv" / "bin" / "python"
    elsewhere = Path(sys.executable)
    others = [
        stand_ins.start(elsewhere, *RUN, program=elsewhere, cwd=small_venv),
        stand_ins.start("python", *RUN, program=elsewhere, cwd=small_venv, env={"VIRTUAL_ENV": "/other"}),
        stand_ins.start(
            python, "-c", "import time; time.sleep(300)", "tradefan", program=python, cwd=small_venv
        ),
    ]
    done = deploy(small_venv, "-a", "cleanup", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (small_venv / ".venv").exists()
    assert [other.poll() for other in others] == [None, None, None]
