"""The commands about orders: submit, list, show, cancel, pause, resume, amend."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tradefan.client import FAILED, Client
from tradefan.errors import Refused
from tradefan.order_text import plan_lines, progress_line, sentence
from tradefan.terminal import (
    AsJson,
    ConfigDir,
    Env,
    Url,
    caller,
    number,
    pairs,
    print_json,
    program,
    say_more,
)
from tradefan.terminal import client as _client

WATCH_S = 1.0
"""How often a watch looks."""

orders = typer.Typer(no_args_is_help=True, help="Submit, list, show, pause, cancel and resolve orders.")
Watch = Annotated[bool, typer.Option("--watch", help="then say how it goes, until it has ended")]
JSON = dict[str, Any]


@orders.command("submit")
def order_submit(
    symbol: Annotated[str, typer.Option("--symbol", help="BTC/USDT")],
    side: Annotated[str, typer.Option("--side", help="buy or sell")],
    quantity: Annotated[str | None, typer.Option("--quantity", help="in the base asset")] = None,
    notional: Annotated[
        str | None, typer.Option("--notional", help="instead: in the quote asset, at the mid of its arrival")
    ] = None,
    algo: Annotated[
        str | None,
        typer.Option(
            "--algo",
            help="market, or limit with --limit; twap vwap pov iceberg; stop stop_limit take_profit trailing;"
            " oco bracket",
        ),
    ] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="limit price")] = None,
    duration: Annotated[str | None, typer.Option("--duration", help="30s, 5m: of twap, vwap, pov")] = None,
    slices: Annotated[int | None, typer.Option("--slices", min=1, help="clips of a schedule")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="of the algorithm")
    ] = None,
    reduce_only: Annotated[
        bool, typer.Option("--reduce-only", help="never more than closes what is held")
    ] = False,
    account: Annotated[str | None, typer.Option("--account")] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", help="your own id: the same one never orders twice")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the plan, or why it is refused; order nothing")
    ] = False,
    watch: Watch = False,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Submit an order; it is durable when this returns."""
    if side not in ("buy", "sell"):
        raise Refused("BAD_SIDE", f"--side: expected buy or sell, got {side!r}")
    if dry_run and watch:
        raise Refused("BAD_WATCH", "--watch: a dry run orders nothing that could be watched")
    given = {"quantity": quantity, "notional": notional, "limit_price": limit, "duration": duration}
    own = {"slices": slices, "reduce_only": "true" if reduce_only else None}
    words = _merged(pairs("--set", settings or []), given | own)
    body: JSON = {"symbol": symbol, "side": side, **caller()}
    for key in ("quantity", "notional", "limit_price"):
        if key in words:
            option = "--limit" if key == "limit_price" else f"--{key}"
            body[key] = number(option if given[key] is not None else f"--set {key}", words.pop(key))
    if ("quantity" in body) == ("notional" in body):
        raise Refused("BAD_QUANTITY", "expected either --quantity or --notional")
    if _flag("reduce_only", words.pop("reduce_only", "false")):
        body["reduce_only"] = True
    body["algo"] = algo or ("limit" if "limit_price" in body else "market")
    body["settings"] = words
    body |= {key: value for key, value in (("account", account), ("ref", ref)) if value is not None}
    api = _client(env, config, url)
    if dry_run:
        plan = api.post("/api/v1/orders/plan", body)
        print_json(plan) if as_json else print(*plan_lines(plan), sep="\n")
        return
    _show_or_watch(api, api.post("/api/v1/orders", body), watch=watch, as_json=as_json)


def _merged(settings: JSON, options: JSON) -> JSON:
    """Return settings with those that have an option of their own, which is given once at most.

    Raises:
        Refused: BAD_SETTING, one of them is given twice.
    """
    given = {key: value for key, value in options.items() if value is not None}
    twice = sorted(given.keys() & settings.keys())
    if twice:
        raise Refused(
            "BAD_SETTING", f"--set {twice[0]}: is given by its own option, too; expected one of them"
        )
    return settings | given


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise Refused("BAD_SETTING", f"--set {name}: expected true or false, got {text!r}")
    return text == "true"


@orders.command("list")
def order_list(
    env: Env = "development", config: ConfigDir = None, url: Url = None, as_json: AsJson = False
) -> None:
    """List all open orders, and the newest of those that are done."""
    found = _client(env, config, url).get("/api/v1/orders")
    if as_json:
        print_json(found["orders"])
    else:
        for order in found["orders"]:
            print(sentence(order, time.time_ns()))
    say_more(found["more_open"], "open")
    say_more(found["more_done"], "done")


@orders.command("show")
def order_show(
    parent_id: str,
    watch: Watch = False,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one order with its children."""
    api = _client(env, config, url)
    order = api.get(f"/api/v1/orders/{_id(parent_id)}")
    if watch:
        _show_or_watch(api, order, watch=True, as_json=as_json)
        return
    if as_json:
        print_json(order)
        return
    print(progress_line(order, time.time_ns()))
    for key, value in order.items():
        if key != "children_orders":
            print(f"{key:16} {'-' if value in (None, '') else value}")
    for child in order["children_orders"]:
        doubt = f" IN DOUBT ({child['in_doubt']})" if child["in_doubt"] else ""
        done = f"{child['cum_qty']}/{child['order_qty']}"
        print(f"  child {child['client_order_id']} {child['status']}{doubt} {done}")


@orders.command("cancel")
def order_cancel(
    parent_id: str,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an order; the venue's word ends it."""
    _change(parent_id, "cancel", {}, env, config, url, as_json=as_json)


@orders.command("pause")
def order_pause(
    parent_id: str,
    keep_children: Annotated[bool, typer.Option("--keep-children", help="what rests stays")] = False,
    keep_end: Annotated[bool, typer.Option("--keep-end", help="its clock runs on")] = False,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let an order place nothing more until it is resumed."""
    body = {"keep_children": keep_children, "keep_end": keep_end}
    _change(parent_id, "pause", body, env, config, url, as_json=as_json)


@orders.command("amend")
def order_amend(
    parent_id: str,
    quantity: Annotated[str | None, typer.Option("--quantity", help="of the whole order")] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="limit price")] = None,
    end_at: Annotated[str | None, typer.Option("--end-at", help="2026-05-01T12:00:00Z")] = None,
    display: Annotated[str | None, typer.Option("--display", help="of an iceberg")] = None,
    trigger: Annotated[str | None, typer.Option("--trigger-price", help="of what is armed")] = None,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change an order: what rests is cancelled, then the rest is planned anew; what is armed waits on."""
    numbers = {
        "quantity": ("--quantity", quantity),
        "limit_price": ("--limit", limit),
        "display": ("--display", display),
        "trigger_price": ("--trigger-price", trigger),
    }
    body: JSON = {key: number(word, text) for key, (word, text) in numbers.items() if text is not None}
    if end_at is not None:
        body["end_at"] = end_at
    if not body:
        raise Refused(
            "NOTHING_TO_AMEND", "expected --quantity, --limit, --end-at, --display or --trigger-price"
        )
    _change(parent_id, "amend", body, env, config, url, as_json=as_json)


@orders.command("resume")
def order_resume(
    parent_id: str,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused order go on; what paused it since its last pause was asked for may pause it again."""
    _change(parent_id, "resume", {}, env, config, url, as_json=as_json)


def _change(
    parent_id: str, word: str, body: JSON, env: str, config: Path | None, url: str | None, *, as_json: bool
) -> None:
    """Ask for a change of one order, and print the order as it is then."""
    api = _client(env, config, url)
    order = api.post(f"/api/v1/orders/{_id(parent_id)}/{word}", {**body, **caller()})
    _show_or_watch(api, order, watch=False, as_json=as_json)


def _show_or_watch(api: Client, order: JSON, *, watch: bool, as_json: bool) -> None:
    if not watch:
        print_json(order) if as_json else print(sentence(order, time.time_ns()))
        return
    try:
        done = _watch(api, order, as_json=as_json)
    except KeyboardInterrupt:
        print(f"it goes on; {program()} order cancel {order['parent_id']} ends it", file=sys.stderr)
        return
    if not as_json:
        print(sentence(done, time.time_ns()))
    if done["status"] != "FILLED":
        raise SystemExit(FAILED)


def _watch(api: Client, order: JSON, *, as_json: bool) -> JSON:
    """Print each change of an order, and return it when it has ended."""
    path, shown = f"/api/v1/orders/{order['parent_id']}", ""
    while True:
        text = json.dumps(order) if as_json else progress_line(order, time.time_ns())
        if text != shown:
            print(text, flush=True)
            shown = text
        if order["phase"] == "DONE":
            return order
        time.sleep(WATCH_S)
        order = api.get(path)


def _id(text: str) -> str:
    if not text.isalnum() or not text.isascii():
        raise Refused("BAD_ID", f"expected an order's id of letters and digits, got {text!r}")
    return text
