"""What the product promises, and what guards each promise: read from `promises.toml`."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from pathlib import Path

from msgspec import Struct, convert

from tradefan.sim.checkers import CHECKERS
from tradefan.sim.checkers.base import Watch

SOURCE = Path(__file__).with_name("promises.toml")


class Invariant(Struct, frozen=True, forbid_unknown_fields=True):
    """A sentence that always holds, the checkers of the simulator that watch it, and tests that do."""

    what: str
    checkers: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


class Experiment(Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to real processes, and what has to come of it."""

    what: str
    tests: tuple[str, ...]


class Promise(Struct, frozen=True, forbid_unknown_fields=True):
    """A promise in plain words, and the ids of what guards it."""

    title: str
    text: str
    invariants: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


class Book(Struct, frozen=True, forbid_unknown_fields=True):
    """All promises, what guards them, and what is not shown."""

    promises: tuple[Promise, ...]
    invariants: dict[str, Invariant]
    experiments: dict[str, Experiment]
    limits: tuple[str, ...]


def read() -> Book:
    """Return the promises in the order of the file."""
    return convert(tomllib.loads(SOURCE.read_text(encoding="utf-8")), Book)


def checkers() -> dict[str, type[Watch]]:
    """Return the simulator's checkers by name."""
    return {one.__name__: one for one in CHECKERS}


def place_of(checker: type[Watch]) -> str:
    """Return the file of a checker, as a path of this project."""
    path = inspect.getsourcefile(importlib.import_module(checker.__module__))
    assert path is not None
    return f"{checker.__module__.replace('.', '/')}.py"
