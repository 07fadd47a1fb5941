"""The command line. Exit codes: 0 done, 1 failed, 2 usage or config, 3 not running, 4 not ready,
69 prerequisite missing, 70 defect, 130 interrupted twice.
"""  # noqa: D205 the codes are the summary

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console

from tradefan import __version__
from tradefan.client import Client, Unanswered
from tradefan.errors import Outage, Refused
from tradefan.units import parse_duration, parse_iso, use_decimal_context

USAGE = 2
PREREQUISITE = 69
DEFECT = 70

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="TradeFan: a crypto trading daemon.",
)
orders = typer.Typer(no_args_is_help=True, help="Submit, list, show and cancel orders.")
strategies = typer.Typer(no_args_is_help=True, help="Strategy instances.")
positions = typer.Typer(no_args_is_help=True, help="Positions and their owners.")
paper = typer.Typer(no_args_is_help=True, help="The paper venue's account.")
new = typer.Typer(no_args_is_help=True, help="Begin something of your own.")
for name, part in (
    ("order", orders),
    ("strategy", strategies),
    ("position", positions),
    ("paper", paper),
    ("new", new),
):
    app.add_typer(part, name=name)

Env = Annotated[str, typer.Option("-e", "--env", help="development, testing, staging or production")]
ConfigDir = Annotated[
    Path | None, typer.Option("--config", help="directory with base.yaml and environments/")
]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override one key")]
Url = Annotated[str | None, typer.Option("--url", help="a daemon's address, else it is found by environment")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


def main() -> None:
    """Run the command line."""
    use_decimal_context()
    try:
        app(prog_name="tradefan")
    except Unanswered as error:
        _fail(str(error), error.code)
    except Refused as error:
        _fail(str(error), USAGE)
    except Outage as error:
        _fail(str(error), PREREQUISITE)
    except Exception:  # noqa: BLE001 the last fence: a defect has its own exit code
        traceback.print_exc()
        raise SystemExit(DEFECT) from None


def _fail(text: str, code: int) -> NoReturn:
    print(f"tradefan: {text}", file=sys.stderr)
    raise SystemExit(code)


def _print_json(value: object) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())


def _environment(env: str, config: Path | None, sets: list[str] | None = None) -> Any:  # noqa: ANN401 lazy import
    from tradefan.environment import Environment

    return Environment.load(env, config, tuple(sets or ()))


def _client(env: str, config: Path | None, url: str | None) -> Client:
    places = _environment(env, config).places
    running = places.running()
    return Client.find(places.root, running.url if running else None, url)


# --- the daemon -------------------------------------------------------------------------------------


@app.command()
def run(
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
    seconds: Annotated[
        float | None, typer.Option("--for", help="stop in order after so many seconds")
    ] = None,
) -> None:
    """Run the daemon in the foreground until it is stopped."""
    from tradefan.daemon import run_daemon

    raise SystemExit(run_daemon(_environment(env, config, sets), seconds))


@app.command()
def check(
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON Schema of the configuration")
    ] = False,
) -> None:
    """Check the configuration and print what is in force, each value with where it comes from."""
    if schema:
        from tradefan.config.render import json_schema

        _print_json(json_schema())
        return
    print(_environment(env, config, sets).render())


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
        _print_json(client.get("/status"))
        return
    from rich.live import Live

    from tradefan.screen import status_screen

    console = Console()
    if not watch:
        console.print(status_screen(client.get("/status")))
        return
    with Live(status_screen(client.get("/status")), console=console, refresh_per_second=4) as live:
        while True:
            time.sleep(1)
            live.update(status_screen(client.get("/status")))


@app.command()
def logs(
    env: Env = "development",
    config: ConfigDir = None,
    tail: Annotated[int, typer.Option("--tail", min=0, help="last lines")] = 40,
    since: Annotated[
        str | None, typer.Option("--since", help="an instant, or a duration such as 10m")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on as lines come")] = False,
) -> None:
    """Print the daemon's log, one JSON object a line."""
    path = _environment(env, config).places.logs / "tradefan.log"
    if not path.is_file():
        _fail(f"no log at {path}; has the daemon been started?", 3)
    from_ns = _since(since)
    with path.open(encoding="utf-8") as file:
        lines = deque((line for line in file if _is_since(line, from_ns)), maxlen=tail or None)
        sys.stdout.writelines(lines if tail else ())
        sys.stdout.flush()
        while follow:
            line = file.readline()
            if line:
                sys.stdout.write(line)
                sys.stdout.flush()
            elif path.stat().st_ino != _inode(file.fileno()):
                return logs(env, config, 0, None, follow)
            else:
                time.sleep(0.2)
    return None


def _inode(descriptor: int) -> int:
    import os

    return os.fstat(descriptor).st_ino


def _since(text: str | None) -> int | None:
    if text is None:
        return None
    if text[-1:].isalpha() and text[:-1].isdecimal():
        return time.time_ns() - parse_duration(text)
    return parse_iso(text)


def _is_since(line: str, from_ns: int | None) -> bool:
    if from_ns is None:
        return True
    try:
        return parse_iso(orjson.loads(line)["ts"]) >= from_ns
    except (orjson.JSONDecodeError, KeyError, Refused):
        return True


# --- orders -----------------------------------------------------------------------------------------


@orders.command("submit")
def order_submit(
    symbol: Annotated[str, typer.Option("--symbol", help="BTC/USDT")],
    side: Annotated[str, typer.Option("--side", help="buy or sell")],
    quantity: Annotated[str, typer.Option("--quantity", help="in the base asset")],
    algo: Annotated[str | None, typer.Option("--algo", help="market, or limit with --limit")] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="limit price")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="of the algorithm")
    ] = None,
    account: Annotated[str | None, typer.Option("--account")] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", help="your own id: the same one never orders twice")
    ] = None,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Submit an order; it is durable when this returns."""
    body: dict[str, Any] = {
        "symbol": symbol,
        "side": side,
        "quantity": _decimal("--quantity", quantity),
        "algo": algo or ("market" if limit is None else "limit"),
        "owner": "cli",
        "settings": _settings(settings or []),
    }
    if limit is not None:
        body["limit_price"] = _decimal("--limit", limit)
    if account is not None:
        body["account"] = account
    if ref is not None:
        body["ref"] = ref
    _show_order(_client(env, config, url).post("/api/v1/orders", body), as_json)


@orders.command("list")
def order_list(
    env: Env = "development", config: ConfigDir = None, url: Url = None, as_json: AsJson = False
) -> None:
    """List the newest orders."""
    found = _client(env, config, url).get("/api/v1/orders")["orders"]
    if as_json:
        _print_json(found)
        return
    for order in found:
        _show_order(order, as_json=False)


@orders.command("show")
def order_show(
    parent_id: str,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one order with its children."""
    order = _client(env, config, url).get(f"/api/v1/orders/{parent_id}")
    if as_json:
        _print_json(order)
        return
    for key, value in order.items():
        if key != "children_orders":
            print(f"{key:16} {'-' if value is None else value}")
    for child in order["children_orders"]:
        doubt = f" IN DOUBT ({child['in_doubt']})" if child["in_doubt"] else ""
        print(
            f"  child {child['client_order_id']} {child['status']}{doubt} {child['cum_qty']}/{child['order_qty']}"
        )


@orders.command("cancel")
def order_cancel(
    parent_id: str,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an order; the venue's word ends it."""
    _show_order(_client(env, config, url).post(f"/api/v1/orders/{parent_id}/cancel", {}), as_json)


def _show_order(order: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(order)
        return
    price = f" at {order['limit_price']}" if order["limit_price"] is not None else ""
    average = f" avg {order['avg_px']}" if order["avg_px"] is not None else ""
    print(
        f"{order['parent_id']} {order['owner']} {order['side']} {order['order_qty']} {order['symbol']}"
        f" {order['algo']}{price}: {order['status']} {order['phase']} done {order['cum_qty']}{average}"
        + (f" ({order['reason']})" if order["reason"] else "")
    )


def _decimal(option: str, text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Refused("BAD_NUMBER", f"{option}: expected a number, got {text!r}") from None
    if not value.is_finite() or value <= 0:
        raise Refused("BAD_NUMBER", f"{option}: expected a number above zero, got {text}")
    return text


def _settings(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise Refused("BAD_SETTING", f"--set: expected KEY=VALUE, got {pair!r}")
        found[key] = value
    return found


# --- pictures ---------------------------------------------------------------------------------------


@strategies.command("list")
def strategy_list(
    env: Env = "development", config: ConfigDir = None, url: Url = None, as_json: AsJson = False
) -> None:
    """List the running strategy instances."""
    found = _client(env, config, url).get("/api/v1/strategies")["strategies"]
    if as_json:
        _print_json(found)
        return
    for one in found:
        print(f"{one['owner']:20} {one['use']:14} {one['account']:12} {one['state']} {one['text']}")


@strategies.command("show")
def strategy_show(use: str, env: Env = "development", config: ConfigDir = None) -> None:
    """Show what a strategy declares: subscriptions, warm-up, settings."""
    print(_environment(env, config).describe_strategy(use))


@positions.command("list")
def position_list(
    env: Env = "development", config: ConfigDir = None, url: Url = None, as_json: AsJson = False
) -> None:
    """List positions with their owners."""
    found = _client(env, config, url).get("/status")["positions"]
    if as_json:
        _print_json(found)
        return
    for one in found:
        average = "-" if one["avg_px"] is None else one["avg_px"]
        print(f"{one['account']:12} {one['owner']:16} {one['instrument']:20} {one['qty']} avg {average}")


@paper.command("reset")
def paper_reset(
    balance: Annotated[list[str] | None, typer.Option("--balance", metavar="ASSET=AMOUNT")] = None,
    account: Annotated[str, typer.Option("--account")] = "paper:main",
    env: Env = "development",
    config: ConfigDir = None,
) -> None:
    """Give the paper account new balances; its old history is kept. The daemon must be stopped."""
    environment = _environment(env, config)
    balances = {
        asset: Decimal(_decimal("--balance", text)) for asset, text in _settings(balance or []).items()
    }
    print(environment.reset_paper(account, balances or None))


@new.command("strategy")
def new_strategy(strategy_name: str, config: ConfigDir = None) -> None:
    """Write a strategy of about twenty lines, and its test, into strategies/."""
    for path in _environment("development", config).new_strategy(strategy_name):
        print(f"wrote {path}")
