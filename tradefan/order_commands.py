"""The commands about orders: submit, list, show, cancel, pause, resume."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradefan.errors import Refused
from tradefan.terminal import AsJson, ConfigDir, Env, Url, number, pairs, print_json, say_more
from tradefan.terminal import client as _client

orders = typer.Typer(no_args_is_help=True, help="Submit, list, show, pause, cancel and resolve orders.")


@orders.command("submit")
def order_submit(
    symbol: Annotated[str, typer.Option("--symbol", help="BTC/USDT")],
    side: Annotated[str, typer.Option("--side", help="buy or sell")],
    quantity: Annotated[str, typer.Option("--quantity", help="in the base asset")],
    algo: Annotated[
        str | None,
        typer.Option(
            "--algo",
            help="market, or limit with --limit; twap vwap pov iceberg; stop stop_limit take_profit trailing",
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
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Submit an order; it is durable when this returns."""
    if side not in ("buy", "sell"):
        raise Refused("BAD_SIDE", f"--side: expected buy or sell, got {side!r}")
    body: dict[str, Any] = {
        "symbol": symbol,
        "side": side,
        "quantity": number("--quantity", quantity),
        "algo": algo or ("market" if limit is None else "limit"),
        "owner": "cli",
        "settings": pairs("--set", settings or []),
    }
    if reduce_only:
        body["reduce_only"] = True
    if limit is not None:
        body["limit_price"] = number("--limit", limit)
    times = (("duration", duration), ("slices", slices))
    body["settings"] |= {key: value for key, value in times if value is not None}
    body |= {key: value for key, value in (("account", account), ("ref", ref)) if value is not None}
    order = _client(env, config, url).post("/api/v1/orders", body)
    print_json(order) if as_json else print(_sentence(order))


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
            print(_sentence(order))
    say_more(found["more_open"], "open")
    say_more(found["more_done"], "done")


@orders.command("show")
def order_show(
    parent_id: str,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one order with its children."""
    order = _client(env, config, url).get(f"/api/v1/orders/{_id(parent_id)}")
    if as_json:
        print_json(order)
        return
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
    order = _client(env, config, url).post(f"/api/v1/orders/{_id(parent_id)}/cancel", {})
    print_json(order) if as_json else print(_sentence(order))


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
    order = _client(env, config, url).post(f"/api/v1/orders/{_id(parent_id)}/pause", body)
    print_json(order) if as_json else print(_sentence(order))


@orders.command("resume")
def order_resume(
    parent_id: str,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused order go on; what paused it since its last pause was asked for may pause it again."""
    order = _client(env, config, url).post(f"/api/v1/orders/{_id(parent_id)}/resume", {})
    print_json(order) if as_json else print(_sentence(order))


def _sentence(order: dict[str, Any]) -> str:
    words = [order["parent_id"], order["owner"], order["side"], order["order_qty"], order["symbol"]]
    words.append(order["algo"])
    words += ["at", order["limit_price"]] if order["limit_price"] is not None else []
    words[-1] += ":"
    words += [order["status"], order["phase"], "done", order["cum_qty"]]
    words += ["avg", order["avg_px"]] if order["avg_px"] is not None else []
    words += [f"({order['reason']})"] if order["reason"] else []
    return " ".join(words)


def _id(text: str) -> str:
    if not text.isalnum() or not text.isascii():
        raise Refused("BAD_ID", f"expected an order's id of letters and digits, got {text!r}")
    return text
