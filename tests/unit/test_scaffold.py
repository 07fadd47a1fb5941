"""`tradefan new strategy NAME`: what is written works, and nothing is overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tradefan.contracts import names
from tradefan.core.describe import describe
from tradefan.errors import Refused
from tradefan.scaffold import load_strategies, new_strategy

ROOT = Path(__file__).resolve().parents[2]


def test_new_strategy_when_loaded_then_it_is_registered_and_says_what_it_follows(tmp_path: Path) -> None:
    """The file registers under its name, and its declaration is printable."""
    folder = tmp_path / "strategies"
    paths = new_strategy("fresh_idea", folder)
    assert paths == (folder / "fresh_idea.py", folder / "test_fresh_idea.py")
    assert load_strategies(folder) == ("strategies.fresh_idea",)
    assert "fresh_idea" in names("strategy")
    assert describe("fresh_idea").startswith("fresh_idea: Hold while the close is above its average.")


@pytest.mark.slow
def test_new_strategy_when_its_test_is_run_then_it_passes(tmp_path: Path) -> None:
    """A user runs pytest on the folder and begins from green."""
    new_strategy("green_start", tmp_path / "strategies")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "-o", f"pythonpath={tmp_path}", "strategies/test_green_start.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_new_strategy_when_the_name_or_file_is_taken_then_nothing_is_written(tmp_path: Path) -> None:
    """Bad names, names of registered strategies and existing files are refused with a code each."""
    (tmp_path / "test_mine.py").write_text("# mine\n")
    for name, code in (("My-Trend", "BAD_NAME"), ("rebalance", "NAME_TAKEN"), ("mine", "FILE_EXISTS")):
        with pytest.raises(Refused) as refused:
            new_strategy(name, tmp_path)
        assert refused.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]


def test_strategies_when_loaded_then_a_broken_file_is_named_and_a_missing_folder_is_empty(
    tmp_path: Path,
) -> None:
    """One line says which file raised what; tests and private files are none; no folder is an empty one."""
    assert load_strategies(tmp_path / "nothing") == ()
    (tmp_path / "test_x.py").write_text("raise SystemError\n")
    (tmp_path / "_x.py").write_text("raise SystemError\n")
    assert load_strategies(tmp_path) == ()
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(Refused, match=r"BAD_STRATEGY: .*broken.py: ZeroDivisionError: division by zero"):
        load_strategies(tmp_path)
    assert "strategies.broken" not in sys.modules
