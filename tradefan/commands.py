"""The commands of whoever watches over a daemon: kill, resume, resolve, assign, and the journal's."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
import orjson
import typer

from tradefan.client import FAILED, NOT_RUNNING, UNPERSISTED, USAGE, Client, Unanswered, read_token
from tradefan.errors import Refused
from tradefan.terminal import (
    AsJson,
    ConfigDir,
    Env,
    Url,
    address,
    caller,
    client,
    fail,
    given,
    number,
    print_json,
    program,
)
from tradefan.units import NAME_MAX, REASON_MAX, clean, cut

KILL_TIMEOUT_S = 1.0
"""How long the API may be silent before the signal is sent in its place."""
FAR_TIMEOUT_S = 3.0
"""How long that of another machine may be."""
_BYTE_LOOKS, _BYTE_PAUSE_S = 20, 0.05
_NOT_UNDERSTOOD = (400, 422)
"""Answers about the words of a kill: a misspelt scope is to be said again, and does not mean everything."""
_NOT_LET_IN = (401, 403, 429)
"""Answers about who calls; a kill with the token waits for no rate, so 429 says that it was another one."""

_SUBJECT_MAX = 400
"""Characters of an id, or of the key of a fact, which names account, instrument and trade."""
VERDICTS = ("placed", "not-placed", "retry", "drop")

journal = typer.Typer(
    no_args_is_help=True, help="Look at the journal, also beside a running daemon; nothing is written."
)

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="why; it is written into the journal")]
Account = Annotated[str | None, typer.Option("--account", help="where more than one trades the symbol")]


def register(app: typer.Typer, orders: typer.Typer, positions: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(kill)
    app.command()(resume)
    orders.command("resolve")(order_resolve)
    app.add_typer(journal, name="journal")
    positions.command("assign")(position_assign)
    positions.command("release")(position_release)


# --- kill -------------------------------------------------------------------------------------------


def kill(
    scope: Annotated[
        str, typer.Option("--scope", help="all, or an account, instrument, owner or venue")
    ] = "all",
    reason: Reason = "",
    keep_protection: Annotated[
        bool, typer.Option("--keep-protection", help="leave reduce-only orders that rest at the venue")
    ] = False,
    including_external: Annotated[
        bool, typer.Option("--including-external", help="cancel orders that are not ours, too")
    ] = False,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Stop sending new orders at once and cancel what rests; only `resume` undoes it.

    Where the API is silent for a second, the daemon on this machine gets a signal: then everything is
    meant, whatever the scope, and protection too. Not where --url names another machine: that one is meant
    alone, and exit code 3 says that it was not reached. Exit code 5: closed, but a restart may open it again.
    """
    body = {
        "scope": clean(scope),
        "reason": cut(reason, REASON_MAX),
        "keep_protection": keep_protection,
        "including_external": including_external,
        **caller(),
    }
    named = address(url)
    there = None if named is None else _kill_there(body, env, config, named, typed=bool(url))
    answer = _kill_here(body, env, config) if there is None else there
    if as_json:
        print_json(answer)
    else:
        for line in _killed(answer):
            print(line)
    if there is None and named is not None and not _is_local(named):
        fail(f"nobody answered at {named}: what runs there may NOT be killed", NOT_RUNNING)
    if not answer["persisted"]:
        raise SystemExit(UNPERSISTED)


def _kill_there(
    body: dict[str, Any], env: str, config: Path | None, url: str, *, typed: bool
) -> dict[str, Any] | None:
    """Ask the daemon of an address; None where the one of this machine is to be asked in its place.

    An address that was left in the environment must not keep a kill from the daemon that runs here; one of
    another machine that was typed means that one.
    """
    from tradefan.environment import find_places

    def token() -> str | None:
        return os.environ.get("TRADEFAN_TOKEN") or read_token(find_places(env, config).token)

    try:
        return _asked(url, token, KILL_TIMEOUT_S if _is_local(url) else FAR_TIMEOUT_S, body)
    except Unanswered as silence:
        _require_silence(silence, body)
        if typed and not _is_local(url) and silence.code == NOT_RUNNING:
            way = f"{program()} kill without --url kills the daemon of {env} on this machine"
            text = f"{silence}\n  what runs there may NOT be killed, and nothing is killed here; {way}"
            raise Unanswered(NOT_RUNNING, text) from silence
        if (typed and not _is_local(url)) or not _may_be_here(silence, env, config, url):
            raise
        print(f"tradefan: {silence}; asking the daemon of {env} on this machine", file=sys.stderr)
        return None


def _may_be_here(silence: Unanswered, env: str, config: Path | None, url: str) -> bool:
    """Say whether the daemon of this machine may be meant: nobody is at the address, or it is itself."""
    from tradefan.environment import find_places

    try:
        places = find_places(env, config)
    except Refused:
        return False
    if places.holder() is None:
        return False
    running = places.running()
    # A daemon that answers at another port is another one: ours is not to be killed in its place.
    ours = _is_local(url) and (running is None or urlsplit(running.url).port == urlsplit(url).port)
    return ours or silence.code in (NOT_RUNNING, USAGE)


def _is_local(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _kill_here(body: dict[str, Any], env: str, config: Path | None) -> dict[str, Any]:
    """Ask the daemon of an environment, or send it the signal when it is silent or not to be found."""
    from tradefan.environment import find_places

    places = find_places(env, config)
    pid, running = places.holder(), places.running()
    if pid is None:
        elsewhere = "kill -USR2 $(cat DATA_DIR/lock) kills one whose data lies elsewhere"
        fail(f"no daemon runs in {places.root}; {elsewhere}", NOT_RUNNING)
    if running is None:
        return _kill_by_signal(pid, places.journal, "the daemon does not say where it listens")
    try:
        return _asked(running.url, lambda: read_token(places.token), KILL_TIMEOUT_S, body)
    except Unanswered as silence:
        _require_silence(silence, body)
        return _kill_by_signal(pid, places.journal, str(silence))


def _asked(
    url: str, token: Callable[[], str | None], timeout_s: float, body: dict[str, Any]
) -> dict[str, Any]:
    """Return the answer of a daemon that has closed.

    Raises:
        Unanswered: whatever else came, or went wrong on the way: a kill has the signal left.
    """
    try:
        answer = Client(url, token, timeout_s).post("/api/v1/kill", body)
        if answer["closed"] is True and not {"scope", "persisted", "naked", "text"} - set(answer):
            return dict(answer)
    except Unanswered:
        raise
    except Exception as error:
        # No mistake, of ours or in the answer, may keep a kill out.
        raise Unanswered(FAILED, f"asking {url} failed: {type(error).__name__}: {error}") from error
    raise Unanswered(FAILED, f"{url}: expected the answer of a kill, got {str(answer)[:REASON_MAX]}")


def _require_silence(silence: Unanswered, body: dict[str, Any]) -> None:
    """Let pass what is no answer to the one who calls.

    Raises:
        Unanswered: the words of a kill, or the token where not everything is meant, were refused.
    """
    if silence.status in _NOT_UNDERSTOOD:
        raise silence
    if silence.status in _NOT_LET_IN and body["scope"] != "all":
        why = "the daemon does not take the token (TRADEFAN_TOKEN, else DATA_DIR/token)"
        way = f"{program()} kill without --scope, on its machine, kills everything, by a signal"
        raise Unanswered(FAILED, f"{silence}\n  nothing is killed: {why}; {way}", silence.status)


def _kill_by_signal(pid: int, journal: Path, silence: str) -> dict[str, Any]:
    from tradefan.data_dir import may_be_daemon

    if not may_be_daemon(pid):
        none = f"pid {pid} is no TradeFan daemon: no signal was sent, and NOTHING is killed"
        fail(f"{silence}; the lock names its holder, but {none}; find the daemon and kill -USR2 it", FAILED)
    try:
        os.kill(pid, signal.SIGUSR2)
    except OSError as error:
        fail(f"{silence}; and SIGUSR2 to pid {pid} failed: {error.strerror}", FAILED)
    text = f"{silence}; sent SIGUSR2 to pid {pid}: all scopes are meant, and protection is cancelled too"
    held = _until_persisted(journal)
    return {"scope": "all", "closed": True, "persisted": held, "naked": [], "text": text, "signal": pid}


def _until_persisted(journal: Path) -> bool:
    """Wait a second for the kill byte: all that a daemon without an API can show us."""
    from tradefan.stores.kill_byte import ALL, KILL_END, killed

    byte = Path(f"{journal}{KILL_END}")
    for _ in range(_BYTE_LOOKS):
        # Not there yet, or not for this user to read: the signal is sent all the same.
        with suppress(OSError):
            if killed(byte.read_bytes()) == ALL:
                return True
        time.sleep(_BYTE_PAUSE_S)
    return False


def _killed(answer: dict[str, Any]) -> list[str]:
    held = "survives a restart" if answer["persisted"] else "does NOT survive a restart yet"
    lines = [f"killed: {answer['scope']}; no new order leaves; this {held}"]
    lines += [answer["text"]] if answer["text"] else []
    lines += [f"without protection now: {one}" for one in answer["naked"]]
    return [*lines, f"own orders are being cancelled; see {program()} status; undo: {program()} resume"]


def resume(
    reason: Reason,
    scope: Annotated[
        str, typer.Option("--scope", help="all, or an account, instrument, owner or venue")
    ] = "all",
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let a scope trade again after a kill, a breaker, or a hold that waits for a human."""
    scope, reason = given("--scope", scope, NAME_MAX), given("--reason", reason, REASON_MAX)
    body = {"scope": scope, "reason": reason, **caller()}
    answer = client(env, config, url).post("/api/v1/resume", body)
    print_json(answer) if as_json else print(f"resumed: {answer['scope']}")


# --- what only a human may decide -------------------------------------------------------------------


def order_resolve(
    subject: Annotated[str, typer.Argument(metavar="ID", help="a child order, or the key of a fact")],
    verdict: Annotated[str, typer.Argument(metavar="VERDICT", help="placed, not-placed, retry or drop")],
    reason: Reason,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """End the doubt about an order (placed, not-placed), or set a poisoned fact free (retry, drop)."""
    if verdict not in VERDICTS:
        raise Refused("BAD_VERDICT", f"VERDICT: expected one of {', '.join(VERDICTS)}, got {verdict!r}")
    reason = given("--reason", reason, REASON_MAX)
    body = {"verdict": verdict.upper().replace("-", "_"), "reason": reason, **caller()}
    path = f"/api/v1/orders/{quote(given('ID', subject, _SUBJECT_MAX), safe='')}/resolve"
    answer = client(env, config, url).post(path, body)
    print_json(answer) if as_json else print(f"{answer['subject']}: {answer['verdict']}")


def position_assign(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL")],
    quantity: Annotated[str, typer.Argument(metavar="QTY")],
    to: Annotated[str, typer.Option("--to", metavar="OWNER", help="who has it from now on")],
    giver: Annotated[str, typer.Option("--from", metavar="OWNER", help="who had it until now")] = "external",
    price: Annotated[
        str | None, typer.Option("--price", help="else the giver's average price, else the mark")
    ] = None,
    account: Account = None,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Give an owner a quantity that the account holds; nothing is traded."""
    giver, to = given("--from", giver, NAME_MAX), given("--to", to, NAME_MAX)
    body: dict[str, Any] = {"symbol": symbol, "quantity": number("QTY", quantity), "from": giver, "to": to}
    if price is not None:
        body["price"] = number("--price", price)
    _assign(body, account, client(env, config, url), as_json)


def position_release(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL")],
    quantity: Annotated[str, typer.Argument(metavar="QTY")],
    giver: Annotated[str, typer.Option("--from", metavar="OWNER", help="who had it until now")],
    account: Account = None,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Take a quantity from an owner; it becomes `external`, which nobody here trades or sells."""
    giver = given("--from", giver, NAME_MAX)
    body = {"symbol": symbol, "quantity": number("QTY", quantity), "from": giver, "to": "external"}
    _assign(body, account, client(env, config, url), as_json)


def _assign(body: dict[str, Any], account: str | None, api: Client, as_json: bool) -> None:
    if account is not None:
        body["account"] = account
    answer = api.post("/api/v1/positions/assign", {**body, **caller()})
    if as_json:
        print_json(answer)
        return
    what = f"{body['quantity']} {answer['instrument']} on {answer['account']}"
    print(f"{what}: from {answer['from']} to {answer['to']}")


# --- the journal ------------------------------------------------------------------------------------


@journal.command("verify")
def journal_verify(env: Env = "development", config: ConfigDir = None, as_json: AsJson = False) -> None:
    """Check every row, hash, mark and snapshot; exit code 1 where something is not as it must be."""
    from tradefan.stores.journal_tool import verify

    found = verify(_journal_path(env, config))
    seen = {name: getattr(found, name) for name in found.__struct_fields__}
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        snapshots = [f"lsn {one.lsn}: {one.state}, {one.size} bytes" for one in found.snapshots]
        for name, value in {**seen, "snapshots": snapshots}.items():
            print(f"{name:10} {'; '.join(value) or '-' if isinstance(value, tuple | list) else value}")
    raise SystemExit(found.code)


@journal.command("show")
def journal_show(
    since: Annotated[int, typer.Option("--since", metavar="LSN", min=0, help="from this row on")] = 0,
    until: Annotated[int | None, typer.Option("--until", metavar="LSN", min=0, help="up to this row")] = None,
    order: Annotated[
        str | None, typer.Option("--order", metavar="ID", help="what speaks of this order or parent")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="records of this type, such as INTENT")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="at most so many rows")] = None,
    env: Env = "development",
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Print rows, one a line, in order; with --json each as an object."""
    from tradefan.stores.journal_tool import show

    path = _journal_path(env, config)
    with until_the_reader_leaves():
        for row in show(path, since_lsn=since, until_lsn=until, order=order, kind=kind, limit=limit):
            print(orjson.dumps(row).decode() if as_json else _line(row))


@journal.command("export")
def journal_export(
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="else to standard output")
    ] = None,
    file_format: Annotated[str, typer.Option("--format", help="jsonl: one object a line")] = "jsonl",
    env: Env = "development",
    config: ConfigDir = None,
) -> None:
    """Write all rows for other programs."""
    from tradefan.environment import find_places
    from tradefan.stores.journal_tool import export, require_export

    places = find_places(env, config)
    path = str(places.journal)
    if out is None:
        with until_the_reader_leaves():
            export(path, sys.stdout.buffer, file_format)
        return
    require_export(path, file_format)
    wanted = f"--out: expected a file that can be written and is not in the data directory, got {str(out)!r}"
    target, root = out.resolve(), places.root.resolve()
    # The journal may lie elsewhere: neither it nor what belongs to it.
    if target.is_relative_to(root) or str(target).startswith(str(places.journal.resolve())):
        raise Refused("BAD_FILE", wanted)
    # Only a file can be replaced; a pipe or a device is written as it is.
    part = target.with_name(f"{target.name}.tmp") if out.is_file() or not out.exists() else out
    try:
        with part.open("wb") as file:
            count = export(path, file, file_format)
        if part != out:
            part.replace(target)
    except OSError as error:
        raise Refused("BAD_FILE", f"{wanted}: {error.strerror}") from error
    except Refused as no:
        raise Refused(no.code, f"{no.text} to {part}; {out} is as it was") from no
    print(f"wrote {count} rows to {out}")


def _journal_path(env: str, config: Path | None) -> str:
    from tradefan.environment import find_places

    return str(find_places(env, config).journal)


@contextmanager
def until_the_reader_leaves() -> Iterator[None]:
    """End in silence when `| head` has seen enough, as any filter does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer is written at exit, and must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(row: dict[str, Any]) -> str:
    fields = [f"{name}={_value(value)}" for name, value in row["fields"].items() if value is not None]
    return " ".join([f"{row['lsn']:>8}", row["time"], f"{row['epoch']:>4}", row["type"], *fields])


def _value(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() and value else orjson.dumps(value).decode()
