"""`tradefan status` on one screen: what a trader looks at first stands first."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Row = tuple[RenderableType | str, ...]


def status_screen(status: dict[str, Any]) -> Group:
    """Return the status as renderables of at most 80 columns."""
    return Group(
        _headline(status),
        _money(status),
        _table("feed", ("quality", "age", "last", "why"), [_feed(feed) for feed in status["feeds"]]),
        _table(
            "position", ("owner", "qty", "avg", "unrealised", "realised"),
            [_position(position) for position in status["positions"]],
        ),
        _table(
            "working", ("owner", "side", "qty", "done", "algo"), [_parent(one) for one in status["parents"]]
        ),
        _table("refused", ("owner", "code", "would pass"), [_refusal(one) for one in status["refusals"][:3]]),
        _line("actors", _actors(status["actors"])),
        _line("stores", ", ".join(f"{store['name']} {store['state']}" for store in status["stores"])),
        _next(status),
    )  # fmt: skip


def _headline(status: dict[str, Any]) -> Text:
    paper = status["paper"]
    mode = status["mode"]["mode"]
    return Text.assemble(
        ("PAPER" if paper else "REAL MONEY", "bold green" if paper else "bold white on red"),
        f"  {status['environment']}  up {_age(status['uptime_s'])}  config {status['config_id']}  mode ",
        (mode, "green" if mode == "NORMAL" else "bold yellow"),
        *(f"\n  {cause['scope']}: {cause['text']}" for cause in status["mode"]["causes"][:3]),
    )


def _money(status: dict[str, Any]) -> Text:
    lines = []
    for equity, today, drawdown in zip(status["equity"], status["today"], status["drawdown"], strict=True):
        lines.append(
            f"{equity['account']} equity {_money_text(equity['equity'])} {equity['numeraire']}   "
            f"today gross {_money_text(today['gross'])} fees {_money_text(today['fees'])}   "
            f"drawdown {_share(drawdown['value'])} of {_share(drawdown['limit'])}"
        )
    return Text("\n".join(lines) or "equity: the risk desk is down")


def _feed(feed: dict[str, Any]) -> Row:
    quality = feed["quality"]
    age = "-" if feed["age_ms"] is None else f"{feed['age_ms'] / 1000:.1f} s"
    colour = "green" if quality == "LIVE" else "yellow"
    return (feed["instrument"], Text(quality, colour), age, _number(feed["last"]), feed["reason"] or "")


def _position(position: dict[str, Any]) -> Row:
    return (
        position["instrument"],
        position["owner"],
        _number(position["qty"]),
        _number(position["avg_px"]),
        _money_text(position["unrealised"]),
        _money_text(position["realised"]),
    )


def _parent(parent: dict[str, Any]) -> Row:
    return (
        parent["parent_id"],
        parent["owner"],
        parent["side"],
        f"{_number(parent['order_qty'])} {parent['symbol']}",
        _number(parent["cum_qty"]),
        f"{parent['algo']} {parent['phase']}",
    )


def _refusal(refusal: dict[str, Any]) -> Row:
    return (refusal["at"][11:19], refusal["owner"], refusal["code"], refusal["would_pass"] or refusal["text"])


def _actors(actors: list[dict[str, Any]]) -> str:
    unwell = [actor for actor in actors if actor["state"] not in ("READY", "UP") or actor["restarts"]]
    well = len(actors) - len(unwell)
    parts = [f"{well} up"]
    for actor in unwell:
        restarts = f" restarts {actor['restarts']}" if actor["restarts"] else ""
        text = f" {actor['text']}" if actor["text"] else ""
        parts.append(f"{actor['name']} {actor['state']}{restarts}{text}")
    return ", ".join(parts)


def _next(status: dict[str, Any]) -> Text:
    environment = status["environment"]
    return Text(
        f"next: tradefan order submit -e {environment} --symbol BTC/USDT --side buy --quantity 0.01"
        f" | tradefan logs -e {environment} -f",
        style="dim",
    )


def _table(first: str, columns: tuple[str, ...], rows: list[Row]) -> RenderableType:
    if not rows:
        return Text(f"{first}: none", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in (first, *columns):
        numeric = column in ("age", "last", "qty", "avg", "unrealised", "realised", "done")
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name} ", "dim"), text)


def _number(value: object) -> str:
    if value is None:
        return "-"
    text = format(Decimal(str(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _money_text(value: object) -> str:
    return "-" if value is None else f"{Decimal(str(value)):,.2f}"


def _share(value: object) -> str:
    return "-" if value is None else f"{100 * Decimal(str(value)):.2f} %"


def _age(seconds: float) -> str:
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
