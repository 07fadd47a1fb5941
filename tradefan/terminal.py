"""What all commands of the command line have in common: options, how they print, how they end."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from shutil import which
from typing import Annotated, NoReturn

import orjson
import typer

from tradefan.client import FAILED, NOT_READY, NOT_RUNNING, Client, Unanswered, read_token
from tradefan.errors import Refused, naming
from tradefan.units import NAME_MAX, clean, cut, require_number, since_ns

PREREQUISITE = 69
DEFECT = 70

Env = Annotated[
    str, typer.Option("-e", "--env", "--environment", help="development, testing, staging or production")
]
ConfigDir = Annotated[
    Path | None, typer.Option("--config", metavar="DIR", help="directory with base.yaml and environments/")
]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override one key")]
Url = Annotated[
    str | None,
    typer.Option("--url", help="a daemon's address; else TRADEFAN_URL, else it is found by environment"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


def fail(text: str, code: int, lines: Iterable[str] = ()) -> NoReturn:
    """Say what is wrong on standard error and end with this code."""
    print(*lines, f"tradefan: {text}", sep="\n", file=sys.stderr)
    raise SystemExit(code)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())


def program() -> str:
    """Return how the user can call this program again."""
    return "tradefan" if which("tradefan") else "scripts/tradefan"


def address(url: str | None) -> str | None:
    """Return the address that the user named, None where the daemon is to be found by its environment."""
    return url or os.environ.get("TRADEFAN_URL")


def client(env: str, config: Path | None, url: str | None) -> Client:
    """Find the daemon; with an address the configuration is read only where a token is needed."""
    from tradefan.environment import find_places

    if named := address(url):
        return Client(named, lambda: _token(find_places(env, config).token))
    places = find_places(env, config)
    running = places.running()
    if running is None:
        if (pid := places.holder()) is not None:
            text = f"a daemon with pid {pid} runs in {places.root}; its address is not known yet"
            fail(f"{text}; name it with --url, or ask again", NOT_READY)
        fail(f"no daemon runs in {places.root}; start one: {program()} run -e {env}", NOT_RUNNING)
    return Client(running.url, lambda: _token(places.token))


def _token(path: Path) -> str:
    token = read_token(path)
    if token is None:
        text = f"expected the daemon's token in TRADEFAN_TOKEN or {path}, got neither"
        raise Unanswered(FAILED, text)
    return token


def number(option: str, text: str) -> str:
    """Return a text that is a number above zero that one can compute with.

    Raises:
        Refused: BAD_NUMBER for everything else.
    """
    with suppress(InvalidOperation):
        value = Decimal(text)
        if value.is_finite() and value > 0:
            require_number(option, value)
            return text
    raise Refused("BAD_NUMBER", f"{option}: expected a number above zero, got {text!r}")


def instant(option: str, text: str) -> int:
    """Return the instant in ns of `10m` (so long ago) or of a text in ISO 8601.

    Raises:
        Refused: BAD_DURATION or BAD_INSTANT when it is neither.
    """
    with naming(option):
        return since_ns(text, time.time_ns())


def given(option: str, text: str, most: int) -> str:
    """Return a text that says something, as UTF-8 can carry it.

    Raises:
        Refused: BAD_TEXT for nothing, or more than `most` characters.
    """
    if 0 < len(text) <= most:
        return clean(text)
    got = repr(text) if len(text) <= most else f"{len(text)} of them"
    raise Refused("BAD_TEXT", f"{option}: expected 1 to {most} characters, got {got}")


def say_more(count: int, what: str) -> None:
    """Say what a list leaves out, where it is not taken for a part of the list."""
    if count:
        print(f"and {count} more {what}", file=sys.stderr)


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """Return what KEY=VALUE words say.

    Raises:
        Refused: BAD_SETTING.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise Refused("BAD_SETTING", f"{option}: expected KEY=VALUE, got {text!r}")
        if key in found:
            twice = f"is given twice, as {found[key]!r} and as {value!r}"
            raise Refused("BAD_SETTING", f"{option} {key}: {twice}; expected one of them")
        found[key] = value
    return found


def caller() -> dict[str, str]:
    """Say who calls, for the journal."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = str(os.getuid())
    return {"owner": "cli", "user": cut(user, NAME_MAX)}
