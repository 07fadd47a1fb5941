"""Find what a strategy must not do, before it runs: I/O, clock, chance, and waiting.

This reads byte code, so it costs nothing at run time and finds what is written down, in handlers and
in the functions of the same module that they call. It is a help for honest authors, not a prison.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FunctionType, ModuleType
from typing import Any

BANNED_MODULES = frozenset(
    {
        "aiohttp",
        "asyncio",
        "ctypes",
        "http",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "requests",
        "secrets",
        "select",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "structlog",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
        "websockets",
    }
)
BANNED_BUILTINS = frozenset({"open", "input", "exec", "eval", "__import__", "breakpoint"})
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
CLOCKS = frozenset({"now", "utcnow", "today"})
"""What asks `datetime` and `date` for the time."""


def impurities(strategy: type[Any], base: type[Any]) -> tuple[str, ...]:
    """Return what the methods that a strategy adds to `base` reach for, one sentence each."""
    found: dict[str, None] = {}
    for owner in strategy.__mro__:
        if owner in base.__mro__:
            continue
        for name, member in vars(owner).items():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if inspect.isfunction(function):
                for what in _reaches(function, {}):
                    found[f"{owner.__name__}.{name} {what}"] = None
    return tuple(found)


def _reaches(function: FunctionType, seen: dict[str, None]) -> Iterator[str]:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield "is async: handlers run to completion and await nothing"
    elif inspect.isgeneratorfunction(function):
        yield "yields: return the wishes as a tuple"
    if function.__qualname__ in seen:
        return
    seen[function.__qualname__] = None
    for operation, name, attribute in _names(function.__code__):
        if operation == "IMPORT_NAME":
            if name.partition(".")[0] in BANNED_MODULES:
                yield f"imports {name}"
            continue
        value = function.__globals__.get(name)
        if value is None:
            if name in BANNED_BUILTINS:
                yield f"calls {name}()"
        elif (module := _module_of(value)) in BANNED_MODULES:
            yield f"uses {name} of {module}"
        elif module == "datetime" and attribute in CLOCKS:
            yield f"asks {name}.{attribute}() for the time: view.now has it"
        elif inspect.isfunction(value) and value.__module__ == function.__module__:
            yield from _reaches(value, seen)


@lru_cache(maxsize=4_096)
def _names(code: CodeType) -> tuple[tuple[str, str, str], ...]:
    """Return globals and imports of a function and of those inside it, with the attribute read next."""
    steps, found = list(dis.get_instructions(code)), []
    for step, after in pairwise([*steps, steps[-1]]):
        if step.opname in ("LOAD_GLOBAL", "IMPORT_NAME"):
            read = str(after.argval) if after.opname in _ATTRIBUTE else ""
            found.append((step.opname, str(step.argval), read))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found += _names(inner)
    return tuple(found)


def _module_of(value: object) -> str:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return str(name or "").partition(".")[0]
