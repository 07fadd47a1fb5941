"""The commands about stored market data: import."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradefan.client import USAGE
from tradefan.errors import Refused
from tradefan.terminal import AsJson, ConfigDir, Env, Sets, print_json
from tradefan.units import DAY, iso, parse_duration

if TYPE_CHECKING:
    from tradefan.environment import Environment

Symbol = Annotated[str, typer.Option("--symbol", help="BTC/USDT, or an id: binance:BTC/USDT")]
Timeframe = Annotated[str, typer.Option("--timeframe", help="how long a bar of the file is: 1m, 5m")]


def data_import(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="CSV of bars; also packed: .gz .xz .zip")],
    symbol: Symbol,
    timeframe: Timeframe,
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Store a venue's bars from a file, all or none, while the daemon is stopped.

    Volume curves are made of them, and strategies warm with those that end where a feed's own begin.
    Columns as in Binance's files, with or without their names; times in ms or us. A file that comes twice
    changes nothing. Every mistake is named with line, column and value; then nothing is stored.
    """
    from tradefan.environment import Environment
    from tradefan.stores.klines import KlinesInvalid

    try:
        done = import_klines(Environment.load(env, config, tuple(sets or ())), path, symbol, timeframe)
    except KlinesInvalid as no:
        if not as_json:
            raise
        print_json({"mistakes": [_json(mistake) for mistake in no.mistakes], "more": no.more})
        raise SystemExit(USAGE) from None
    print_json(done) if as_json else print(_sentence(done))


def import_klines(environment: Environment, path: Path, symbol: str, timeframe: str) -> dict[str, Any]:
    """Store the bars of a file under an instrument of the feeds; return what was done.

    Raises:
        KlinesInvalid: the file has mistakes; nothing is stored.
        Refused: UNKNOWN_INSTRUMENT, BAD_TIMEFRAME, NO_FILE, BAD_FILE, or DATA_DIR_IN_USE by the daemon.
        Outage: the disk; nothing is stored.
    """
    from tradefan.stores.disk import free_bytes
    from tradefan.stores.klines import read_klines
    from tradefan.stores.sqlite import StoreFile
    from tradefan.stores.store_link import Room
    from tradefan.stores.volumes import TIMEFRAMES

    instrument = _instrument(environment.loaded.config.feeds, symbol)
    read = read_klines(path, _step_ns(timeframe), time.time_ns())
    places, rows = environment.places, read.rows
    # The store has one writer; what came beside it would be asked for tomorrow only.
    places.take("(data import)")
    try:
        Room(str(places.store), environment.loaded.config.journal.disk_free_min, free_bytes).require()
        store = StoreFile(str(places.store))
        try:
            new, changed = store.put_klines(instrument, timeframe, rows)
        finally:
            store.close()
    finally:
        places.release()
    return {
        "instrument": instrument,
        "timeframe": timeframe,
        "rows": len(rows),
        "new": new,
        "changed": changed,
        "missing": read.missing,
        "from": iso(rows[0].open_ns),
        "until": iso(rows[-1].open_ns + parse_duration(timeframe)),
        "curve": timeframe in TIMEFRAMES,
    }


def _instrument(feeds: dict[str, Any], symbol: str) -> str:
    from tradefan.config.mistakes import meant

    found = [name for name in feeds if symbol in (name, name.partition(":")[2])]
    if len(found) > 1:
        text = f"{symbol} is traded as {' and '.join(found)}; name one of them"
        raise Refused("AMBIGUOUS_SYMBOL", text)
    if not found:
        near = meant(symbol, [name.partition(":")[2] for name in feeds])
        raise Refused("UNKNOWN_INSTRUMENT", f"no feed carries {symbol!r}; {near}")
    return found[0]


def _step_ns(timeframe: str) -> int:
    step_ns = parse_duration(timeframe)
    if DAY % step_ns:
        raise Refused("BAD_TIMEFRAME", f"--timeframe: expected a part of a day, got {timeframe!r}")
    return step_ns


def _sentence(done: dict[str, Any]) -> str:
    kept = done["rows"] - done["new"] - done["changed"]
    words = f"{done['new']} new, {done['changed']} changed, {kept} as they were"
    gaps = f", {done['missing']} missing in between" if done["missing"] else ""
    use = "" if done["curve"] else "; volume curves are made of bars up to 5m only"
    span = f"{done['from']} to {done['until']}"
    return f"{done['instrument']} {done['timeframe']}: {done['rows']} bars, {span}: {words}{gaps}{use}"


def _json(mistake: Any) -> dict[str, Any]:  # noqa: ANN401 lazy import
    return {
        "line": mistake.line,
        "column": mistake.key or None,
        "value": mistake.value,
        "expected": mistake.expected,
    }
