"""The commands about recordings: replay, and data cut."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tradefan.commands import until_the_reader_leaves
from tradefan.data_commands import data_import
from tradefan.errors import Refused
from tradefan.query_commands import data_export, data_show
from tradefan.terminal import AsJson, ConfigDir, Env, Sets

data = typer.Typer(
    no_args_is_help=True,
    help="What is stored: shown, exported, imported; recordings and what is made of them.",
)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(replay)
    data.command("import")(data_import)
    data.command("show")(data_show)
    data.command("export")(data_export)
    app.add_typer(data, name="data")


def replay(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE|DIR]", help="a recording, or a folder of them; else the environment's"),
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="T", help="show nothing before: an instant or step:N")
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--until", metavar="T|ORDER_ID", help="end there: an instant, step:N, an order"),
    ] = None,
    show: Annotated[
        str | None, typer.Option("--print", metavar="WHAT", help="orders, decisions or all")
    ] = None,
    step: Annotated[
        bool, typer.Option("--step", help="wait for Enter behind each step that shows something")
    ] = False,
    order: Annotated[
        str | None,
        typer.Option("--explain", metavar="ID", help="tell the story of an order, a parent or a ref"),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="stop in pdb before the step of --until, or of --from")
    ] = False,
    sets: Sets = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", help="compare with this one, else the one that was written then"),
    ] = None,
    env: Env = "development",
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a recording again through the same code; exit code 1 where it does not go as recorded.

    With --set nothing is compared: the same market is run with another configuration on the paper venue.
    """
    from tradefan.replay import command

    asked = _asked(path, env, config, begin, end, journal)
    say = print
    _require_one(
        {"--set": sets, "--explain": order is not None, "--debug": debug},
        {"--print": show is not None, "--step": step},
    )
    if sets and journal is not None:
        raise Refused("BAD_OPTIONS", "--set: expected without --journal: it compares runs")
    code = 0
    with until_the_reader_leaves():
        if sets:
            from tradefan.replay.what_if import what_if

            code = what_if(asked, sets, say, as_json=as_json)
        elif order is not None:
            code = command.explain(asked, order, say, as_json=as_json)
        elif debug:
            code = command.debug(asked, say)
        else:
            word = show or ("decisions" if step else None)
            code = command.check(asked, say, word=word, wait=_enter if step else None, as_json=as_json)
    raise SystemExit(code)


def _require_one(ways: dict[str, Any], shows: dict[str, bool]) -> None:
    """See that what is asked for is one thing: another option would be passed over in silence.

    Raises:
        Refused: BAD_OPTIONS.
    """
    chosen = [name for name, value in ways.items() if value]
    others = [*chosen[1:], *(name for name, value in shows.items() if value)]
    if chosen and others:
        raise Refused("BAD_OPTIONS", f"{chosen[0]}: expected without {', '.join(others)}: it shows its own")


def _asked(
    path: Path | None,
    env: str,
    config: Path | None,
    begin: str | None,
    end: str | None,
    journal: Path | None = None,
) -> Any:  # noqa: ANN401 lazy import
    from tradefan.environment import find_places, load_own_strategies
    from tradefan.flight import program_hash
    from tradefan.replay.check import Asked

    strategies = load_own_strategies(config)
    where = find_places(env, config).recorder if path is None else path
    return Asked(where, program_hash(), strategies, begin, end, journal)


def _enter() -> bool:
    """Wait for a line; q, or the end of the input, ends the replay."""
    if not sys.stdin.isatty():
        return True
    try:
        return input().strip().lower() != "q"
    except EOFError:
        return False


@data.command("cut")
def data_cut(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE|DIR]", help="a recording, or a folder of them; else the environment's"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="where the files are made")] = Path(
        "tape"
    ),
    symbols: Annotated[
        list[str] | None, typer.Option("--symbol", help="BTC/USDT; more than once; else all")
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="T", help="an instant or step:N")] = None,
    end: Annotated[str | None, typer.Option("--until", metavar="T", help="an instant or step:N")] = None,
    env: Env = "development",
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the raw frames of the newest run as files that `feeds.NAME.tape` plays and tests read."""
    import msgspec

    from tradefan.replay.check import teller
    from tradefan.replay.cut import cut

    tell = teller(print, as_json=as_json)
    made = cut(_asked(path, env, config, begin, end), symbols or (), out, tell)
    if as_json:
        print(msgspec.json.encode(made).decode())
        return
    for id_, one in made.items():
        bridged = f", {one.bridged} holes bridged" if one.bridged else ""
        print(f"{id_}: {one.frames} frames{bridged} in {one.path}{f'; {one.note}' if one.note else ''}")
