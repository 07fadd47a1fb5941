"""The command line. Exit codes: 0 done, 1 failed, 2 usage or config, 3 not running, 4 not ready,
5 killed but not yet on the disk, 69 prerequisite missing, 70 defect, 130 interrupted twice. What a signal
ends before `run` was read has none.
"""  # noqa: D205 the codes are the summary

from __future__ import annotations

import sys
import time
import traceback
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from tradefan import __version__, commands, replay_commands, tca_commands
from tradefan.client import FAILED, NOT_RUNNING, USAGE, Unanswered
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config_commands import config_app
from tradefan.drivers.stop_signals import StopSignals
from tradefan.errors import Outage, Refused
from tradefan.order_commands import orders
from tradefan.terminal import (
    DEFECT,
    PREREQUISITE,
    AsJson,
    ConfigDir,
    Env,
    Sets,
    Url,
    address,
    fail,
    instant,
    number,
    pairs,
    print_json,
    program,
    say_more,
)
from tradefan.terminal import client as _client
from tradefan.units import use_decimal_context

_MISSING = (
    "DATA_DIR_IN_USE",
    "KEY_IN_USE",
    "JOURNAL_DAMAGED",
    "JOURNAL_NEWER",
    "JOURNAL_OLDER",
    "NO_JOURNAL",
    "NO_RECORDING",
)
"""Refusals that are about something outside: there is nothing wrong with the words of the command."""
_WRONG = (
    "RECORDING_DAMAGED",
    "RECORDING_NEWER",
    "RECORDING_OTHER",
    "SNAPSHOT_CODE",
    "SNAPSHOT_SYSTEM",
    "SNAPSHOT_VERSION",
)
"""What is refused because a file is not what it was: exit code 1."""
_HINTS = {
    "JOURNAL_DAMAGED": [
        "docs/refused-journal.md: what to look for first, and what `run --accept-loss` gives up"
    ],
}

_SEED_LAST = 2**63 - 1
"""What a report can hold."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="TradeFan: a crypto trading daemon.",
)
strategies = typer.Typer(no_args_is_help=True, help="Strategy instances.")
positions = typer.Typer(no_args_is_help=True, help="Positions and their owners.")
paper = typer.Typer(no_args_is_help=True, help="The paper venue's account.")
new = typer.Typer(no_args_is_help=True, help="Begin something of your own.")
for name, part in (
    ("order", orders),
    ("strategy", strategies),
    ("position", positions),
    ("paper", paper),
    ("config", config_app),
    ("new", new),
):
    app.add_typer(part, name=name)
commands.register(app, orders, positions)
replay_commands.register(app)
tca_commands.register(app)


def main() -> None:
    """Run the command line."""
    use_decimal_context()
    try:
        app(prog_name="tradefan")
    except Unanswered as error:
        fail(str(error), error.code)
    except ConfigInvalid as error:
        lines = [str(mistake) for mistake in error.mistakes]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        fail(f"{count} in the configuration", USAGE, lines)
    except Refused as error:
        code = PREREQUISITE if error.code in _MISSING else FAILED if error.code in _WRONG else USAGE
        fail(str(error), code, _HINTS.get(error.code, ()))
    except Outage as error:
        fail(str(error), PREREQUISITE)
    except Exception:  # noqa: BLE001 the last fence: a defect has its own exit code
        traceback.print_exc()
        raise SystemExit(DEFECT) from None


def _environment(env: str, config: Path | None, sets: list[str] | None = None) -> Any:  # noqa: ANN401 lazy import
    from tradefan.environment import Environment

    return Environment.load(env, config, tuple(sets or ()))


# --- the daemon -------------------------------------------------------------------------------------


@app.command()
def run(
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0, metavar="SECONDS", help="then stop in order")
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="start on a damaged journal, with what can be believed")
    ] = False,
    tied: Annotated[
        bool, typer.Option("--tied", help="also stop in order when standard input ends: with who started it")
    ] = False,
) -> None:
    """Run the daemon in the foreground until it is stopped."""
    with StopSignals() as stop:
        if tied:
            stop.with_input()
        environment = _environment(env, config, sets)
        if not environment.missing_to_run():
            environment.require_free()
        # Behind the refusals: the daemon's libraries take longer than these.
        from tradefan.daemon import run_daemon

        raise SystemExit(run_daemon(environment, seconds, print, accept_loss=accept_loss, stop=stop))


@app.command()
def check(
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON Schema of the configuration")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="print only what is wrong or missing")] = False,
) -> None:
    """Check the configuration, also by the journal; print what is in force, each value with its origin."""
    if schema:
        from tradefan.config.render import json_schema

        print_json(json_schema())
        return
    environment = _environment(env, config, sets)
    environment.check_strategies()
    environment.require_readable()
    from tradefan.stores.journal import judge_wired

    unknown = judge_wired(str(environment.places.journal), environment.wired())
    if not quiet:
        print(environment.render(), end="")
    if unknown:
        print(f"only the configuration was checked: {unknown}", file=sys.stderr)
    for lack in environment.missing_to_run():
        print(f"to run, {env} lacks {lack}", file=sys.stderr)


@app.command("self-test")
def self_test(
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
    seconds: Annotated[
        float, typer.Option("--for", min=0, metavar="SECONDS", help="of paper trading, beside everything")
    ] = 20,
    health: Annotated[
        bool, typer.Option("--health/--no-health", help="also ask the daemon that runs how it is")
    ] = True,
) -> None:
    """Test an environment: configuration, paper trading in a temporary folder, health; touch nothing."""
    from tradefan.self_test import self_test as test

    raise SystemExit(test(_environment(env, config, sets), seconds, print, health=health))


@app.command()
def probe(
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    ready: Annotated[
        bool, typer.Option("--ready", help="whether it takes orders, not whether it lives")
    ] = False,
) -> None:
    """Ask a daemon whether it is well: exit code 0, 1 down, 3 not running, 4 not ready."""
    from tradefan.environment import find_places
    from tradefan.probe import announced
    from tradefan.probe import probe as ask

    code, text = ask(address(url) or announced(find_places(env, config).root), ready=ready)
    print(text)
    raise SystemExit(code)


@app.command()
def simulate(
    seed: Annotated[int | None, typer.Option("--seed", min=0, max=_SEED_LAST, help="one seed")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="so many seeds")] = None,
    first: Annotated[int, typer.Option("--from", min=0, max=_SEED_LAST, help="the first of --seeds")] = 1,
    hours: Annotated[float | None, typer.Option("--hours", min=0.07, help="simulated, of each seed")] = None,
    faults: Annotated[str, typer.Option("--faults", help="all, none, or kinds joined by commas")] = "all",
    only: Annotated[
        str,
        typer.Option(
            "--only", help="of these faults let happen: all, none, kinds, or KIND:NUMBER as printed"
        ),
    ] = "all",
    shrink_minutes: Annotated[
        float | None, typer.Option("--shrink-minutes", min=0, help="to reduce a failing seed; 5, 0 is off")
    ] = None,
    pin: Annotated[
        Path | None, typer.Option("--pin", metavar="DIR", help="for tests of failing seeds; results/pinned")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="processes")] = 1,
    as_json: AsJson = False,
) -> None:
    """Attack the whole system in a simulated world; exit code 1 when an invariant breaks."""
    from tradefan.sim.command import DEFAULT_HOURS, PINNED, SHRINK_MINUTES, Wanted
    from tradefan.sim.command import main as attack

    if seed is not None and seeds is not None:
        raise Refused("BAD_SEEDS", "expected --seed or --seeds, not both")
    if first + (seeds or 1) - 1 > _SEED_LAST:
        raise Refused("BAD_SEEDS", f"--from: expected seeds up to {_SEED_LAST}, got {seeds} from {first} on")
    wanted = Wanted(
        tuple(range(first, first + (seeds or 1))) if seed is None else (seed,),
        hours or DEFAULT_HOURS,
        faults,
        only,
        jobs,
        SHRINK_MINUTES if shrink_minutes is None else shrink_minutes,
        pin or PINNED,
    )
    raise SystemExit(attack(wanted, as_json=as_json))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command()
def status(
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="again every second until Ctrl-C")] = False,
) -> None:
    """Show mode, money, feeds, positions, working orders and refusals on one screen."""
    client = _client(env, config, url)
    if as_json:
        print_json(client.get("/status"))
        return
    from rich.console import Console
    from rich.live import Live

    from tradefan.screen import status_screen

    console = Console(highlight=False)
    screen = status_screen(client.get("/status"), program())
    if not watch:
        console.print(screen)
        return
    with suppress(KeyboardInterrupt), Live(screen, console=console, auto_refresh=False) as live:
        while True:
            time.sleep(1)
            live.update(status_screen(client.get("/status"), program()), refresh=True)


@app.command()
def logs(
    env: Env = "development",
    config: ConfigDir = None,
    tail: Annotated[
        int | None, typer.Option("--tail", min=0, help="last lines; 40 unless --since is given")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help="an instant, or a duration such as 10m")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on as lines come")] = False,
) -> None:
    """Print the daemon's log, one JSON object a line."""
    from tradefan.environment import find_places
    from tradefan.logs import follow_log, read_log

    path = find_places(env, config).log
    from_ns = None if since is None else instant("--since", since)
    lines = 40 if tail is None and since is None else tail
    if not path.is_file():
        fail(f"no log at {path}; has the daemon been started?", NOT_RUNNING)
    with path.open(encoding="utf-8", errors="replace") as file, suppress(KeyboardInterrupt):
        sys.stdout.writelines(read_log(path, file, lines, from_ns))
        sys.stdout.flush()
        if follow:
            for line in follow_log(path, file):
                print(line, end="", flush=True)


# --- pictures ---------------------------------------------------------------------------------------


@strategies.command("list")
def strategy_list(
    env: Env = "development", config: ConfigDir = None, url: Url = None, as_json: AsJson = False
) -> None:
    """List the running strategy instances."""
    found = _client(env, config, url).get("/api/v1/strategies")["strategies"]
    if as_json:
        print_json(found)
        return
    for one in found:
        print(
            f"{one['owner']:20} {one['use']:14} {one['account']:12} {one['state']:8} {one['text']}".rstrip()
        )


@strategies.command("show")
def strategy_show(
    use: Annotated[str, typer.Argument(metavar="NAME", help="an instance, or a registered strategy")],
    env: Env = "development",
    config: ConfigDir = None,
) -> None:
    """Show what a strategy declares: subscriptions, warm-up, settings."""
    print(_environment(env, config).describe_strategy(use))


@positions.command("list")
def position_list(
    env: Env = "development", config: ConfigDir = None, url: Url = None, as_json: AsJson = False
) -> None:
    """List positions with their owners; what nobody here bought is `external`'s."""
    status = _client(env, config, url).get("/status")
    found, holdings, more = status["positions"], status["holdings"], status["more"]
    if as_json:
        print_json([*found, *holdings])
        found = holdings = []
    for one in holdings:
        print(f"{one['account']:12} {one['owner']:16} {one['asset']:18} {one['qty']:>14}")
    for one in found:
        print(f"{one['account']:12} {one['owner']:16} {one['instrument']:18} {one['qty']:>14}", end="")
        for key in ("avg_px", "mark", "unrealised"):
            print(f"  {key} {'-' if one[key] is None else one[key]}", end="")
        print()
    say_more(more["positions"] + more["holdings"], "positions")


@paper.command("reset")
def paper_reset(
    balance: Annotated[
        list[str] | None, typer.Option("--balance", metavar="ASSET=AMOUNT", help="else as configured")
    ] = None,
    account: Annotated[str, typer.Option("--account")] = "paper:main",
    env: Env = "development",
    config: ConfigDir = None,
) -> None:
    """Give a paper account new balances; its old history is kept. The daemon must be stopped."""
    environment = _environment(env, config)
    texts = pairs("--balance", balance or []).items()
    print(
        environment.reset_paper(account, {a: Decimal(number("--balance", text)) for a, text in texts} or None)
    )


@new.command("strategy")
def new_strategy(
    strategy_name: Annotated[str, typer.Argument(metavar="NAME")], config: ConfigDir = None
) -> None:
    """Write a strategy of about twenty lines, and its test, into strategies/."""
    from tradefan import scaffold
    from tradefan.environment import own_strategies

    for path in scaffold.new_strategy(strategy_name, own_strategies(config)):
        print(f"wrote {path}")
    print(f"next: name it under strategies: in config/local.yaml, then {program()} check")
