"""Says of figures where they come from: the commit, the day, the machine and the command.

The commit is the newest one that changed anything but the proof itself, so that committing figures makes
none of them old.
"""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import apsw
from msgspec import Struct

from tradefan.errors import Refused

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "RELIABILITY.md"
PLACE = ROOT / "tests" / "data" / "proof"
_ALL_BUT_PROOF = ("--", ".", f":!{PLACE.relative_to(ROOT)}", f":!{PAGE.relative_to(ROOT)}")
DIRTY = "-dirty"
"""Behind the commit of figures that are not kept: what ran was not that commit."""
_SHOWN = 5


class Machine(Struct, frozen=True):
    """What it ran on."""

    cores: int
    cpu: str
    python: str
    sqlite: str


class Stamp(Struct, frozen=True):
    """What is said of every figure; `date` is UTC."""

    commit: str
    date: str
    machine: Machine
    command: str


def stamp(command: str, place: Path = PLACE) -> Stamp:
    """Return the stamp of what runs now and is kept in that folder.

    Raises:
        Refused: TREE_DIRTY, the folder is the one in git, and what would run is not what is committed.
    """
    changed = changes()
    if changed and is_kept(place):
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        text = f"expected the code of a commit, got changes in {', '.join(changed[:_SHOWN])}{more}"
        raise Refused("TREE_DIRTY", f"{text}; commit or stash them first")
    today = datetime.now(UTC).date().isoformat()
    return Stamp(f"{code_of('HEAD')}{DIRTY if changed else ''}", today, machine(), command)


def is_kept(place: Path) -> bool:
    """Say whether a folder is the one in git, whatever road leads there."""
    return place.resolve() == PLACE


def still(before: Stamp, place: Path = PLACE) -> None:
    """Check that the code is what it was when something began to run.

    Raises:
        Refused: CODE_CHANGED, or TREE_DIRTY.
    """
    now = stamp(before.command, place)
    if now.commit != before.commit:
        text = f"began at {before.commit[:12]}, and now it is {now.commit[:12]}: nobody knows what ran"
        raise Refused("CODE_CHANGED", f"{text}; its figures are not kept")


def code_of(ref: str, root: Path = ROOT) -> str:
    """Return the newest commit up to `ref` that changed anything but the proof.

    Raises:
        Refused: NO_COMMIT, git is not there or knows no such commit.
    """
    found = _git(root, "log", "-1", "--format=%H", ref, *_ALL_BUT_PROOF)
    if not found:
        raise Refused("NO_COMMIT", f"expected a commit that git knows, got {ref!r}")
    return found


def changes(root: Path = ROOT) -> list[str]:
    """Return the paths, but for those of the proof, that are not as in the last commit."""
    lines = _git(root, "status", "--porcelain", "--untracked-files=all", *_ALL_BUT_PROOF).splitlines()
    return [line[2:].strip() for line in lines]


def machine() -> Machine:
    """Return this machine."""
    return Machine(os.cpu_count() or 1, _cpu(), platform.python_version(), apsw.sqlite_lib_version())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Refused("NO_COMMIT", f"expected git, got {error.strerror}") from error
    if done.returncode != 0:
        raise Refused("NO_COMMIT", f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.rstrip("\n")
