"""The branches of the pure floors against coverage's `fail_under`.

coverage adds lines and branches up before it compares, and lines are the easier half. This is a part of the
root conftest that is long enough for a file of its own; it acts only where pytest-cov measured.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import coverage

_LINES = pytest.StashKey[list[str]]()


def judge(session: pytest.Session) -> None:
    """Fail the session if too few branches ran; keep the lines to print."""
    measured = _measured(session.config)
    if measured is None or session.config.option.collectonly:
        return
    required = float(measured.get_option("report:fail_under") or 0)  # type: ignore[arg-type]
    lines, percent = _by_floor(_files(measured))
    if percent < required:
        lines.append(f"FAIL Required are {required:g}% of the branches on the pure floors.")
        session.testsfailed += 1
    session.config.stash[_LINES] = lines


def report(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what `judge` found."""
    for line in config.stash.get(_LINES, []):
        reporter.write_line(line, red=line.startswith("FAIL"))


def _measured(config: pytest.Config) -> coverage.Coverage | None:
    """Give pytest-cov's combined measurement; a worker of xdist and a run without --cov have none."""
    plugin = config.pluginmanager.getplugin("_cov")
    if hasattr(config, "workerinput") or plugin is None or plugin.cov_controller is None:
        return None
    found: coverage.Coverage | None = plugin.cov_controller.cov
    return found


def _files(measured: coverage.Coverage) -> dict[str, dict[str, dict[str, int]]]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(target))
        files: dict[str, dict[str, dict[str, int]]] = json.loads(target.read_bytes())["files"]
    return files


def _by_floor(files: dict[str, dict[str, dict[str, int]]]) -> tuple[list[str], float]:
    covered, total = Counter[str](), Counter[str]()
    for name, file in files.items():
        room = Path(name).parts[1]
        covered[room] += file["summary"]["covered_branches"]
        total[room] += file["summary"]["num_branches"]
    rooms = [room for room in sorted(total) if total[room]]
    lines = [f"branches {room:<14} {_percent(covered[room], total[room]):6.1f}%" for room in rooms]
    percent = _percent(covered.total(), total.total())
    return [*lines, f"branches on the pure floors: {percent:.1f}%"], percent


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0
