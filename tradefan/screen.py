"""`tradefan status` on one screen of 80 by 24: what a trader looks at first stands first."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tradefan.units import plain

JSON = dict[str, Any]
Row = tuple[RenderableType | str, ...]

FEEDS_MAX, POSITIONS_MAX, WORKING_MAX, REFUSED_MAX = 3, 4, 2, 2
_RIGHT = ("age", "last", "qty", "avg", "unrealised", "realised", "done", "equity", "gross", "fees", "net")
WIDTH = 80


def status_screen(status: JSON, program: str = "tradefan") -> Group:
    """Return the status as renderables of at most 80 columns; `program` is how the user called us."""
    more, positions = status["more"], [_position(one) for one in status["positions"]]
    refused = [_refusal(one) for one in status["refusals"]]
    return Group(
        _headline(status),
        *_causes(status["mode"]),
        _money(status),
        *_seams(status["equity"]),
        _table("feed", ("quality", "age", "last", "why"), [_feed(one) for one in status["feeds"]], FEEDS_MAX),
        _table(
            "position",
            ("owner", "qty", "avg", "unrealised", "realised"),
            positions,
            POSITIONS_MAX,
            more["positions"],
        ),
        _table(
            "working",
            ("owner", "what", "done", "algo"),
            [_parent(one) for one in status["parents"]],
            WORKING_MAX,
            more["parents"],
        ),
        _last_fill(status["fills"]),
        _table("refused", ("owner", "code", "what passes"), refused, REFUSED_MAX),
        _line("actors", _unwell(status["actors"])),
        _line("links", _unwell(status["links"])),
        _line("stores", ", ".join(_store(store) for store in status["stores"])),
        *_next(status, program),
    )  # fmt: skip


def _headline(status: JSON) -> Text:
    paper, mode, ready = status["paper"], status["mode"]["mode"], status["ready"]
    return Text.assemble(
        ("PAPER" if paper else "REAL MONEY", "bold green" if paper else "bold white on red"),
        f"  {status['environment']}  ",
        ("ready" if ready else "NOT READY", "green" if ready else "bold yellow"),
        "  mode ",
        (mode, "green" if mode == "NORMAL" else "bold yellow"),
        f"  up {_age(status['uptime_s'])}  config {status['config_id']}",
    )


def _causes(mode: JSON) -> list[Text]:
    return [_line(f"  {_short(cause['scope'])}:", cause["text"], "yellow") for cause in mode["causes"][:2]]


def _money(status: JSON) -> RenderableType:
    """Return a line for each account: what it is worth, what today brought, how far it fell."""
    rows = [
        (
            equity["account"],
            f"{_money_text(equity['equity'])} {equity['numeraire']}",
            _money_text(today["gross"]),
            _money_text(today["fees"]),
            _money_text(today["net"]),
            f"{_share(drawdown['value'])} of {_share(drawdown['limit'])}",
        )
        for equity, today, drawdown in zip(status["equity"], status["today"], status["drawdown"], strict=True)
    ]
    if not rows:
        return Text("equity: the risk desk is down", "bold yellow")
    return _table("account", ("equity", "today gross", "fees", "net", "drawdown"), rows, len(rows))


def _seams(equity: list[JSON]) -> list[Text]:
    """Name the jumps of a looped recording: they are no gain and no loss, and stand in neither."""
    jumps = [(one["account"], Decimal(str(one.get("seam") or 0))) for one in equity]
    return [
        Text(f"{account} seam {jump:+,.2f}: the recording began anew, booked apart", "dim")
        for account, jump in jumps
        if jump
    ]


def _feed(feed: JSON) -> Row:
    quality = feed["quality"]
    age = "-" if feed["age_ms"] is None else f"{feed['age_ms'] / 1000:.1f} s"
    colour = "green" if quality == "LIVE" else "yellow"
    return (feed["instrument"], Text(quality, colour), age, _number(feed["last"]), feed["reason"] or "")


def _position(position: JSON) -> Row:
    return (
        position["instrument"],
        _short(position["owner"]),
        _number(position["qty"]),
        _price(position["avg_px"]),
        _money_text(position["unrealised"]),
        _money_text(position["realised"]),
    )


def _parent(parent: JSON) -> Row:
    """Return an order; its id, which a user has to type again, is never cut."""
    state = "IN DOUBT" if Decimal(parent["in_doubt_qty"]) else parent["phase"]
    return (
        parent["parent_id"],
        _short(parent["owner"], 12),
        _short(f"{parent['side']} {_number(parent['order_qty'])} {parent['symbol']}", 24),
        f"{100 * parent['progress']:.1f}%",
        _short(f"{parent['algo']} {state}", 17),
    )


def _last_fill(fills: JSON) -> Text:
    if not fills["last"]:
        return _line("fills", "-" if fills["total"] is None else str(fills["total"]))
    last = fills["last"][0]
    symbol = last["instrument"].partition(":")[2]
    what = f"{last['side']} {_number(last['qty'])} {symbol} at {_price(last['price'])}"
    when = f"the last at {last['at'][11:19]}"
    return _line("fills", f"{fills['total']}, {when}: {what} for {_short(last['owner'])}")


def _refusal(refusal: JSON) -> Row:
    return (
        refusal["at"][11:19],
        _short(refusal["owner"], 12),
        refusal["code"],
        _short(refusal["would_pass"] or refusal["text"], 56 - len(refusal["code"])),
    )


def _unwell(parts: list[JSON]) -> str:
    """Return how many are well, and each that is not or was not."""
    unwell = [part for part in parts if part["state"] != "READY" or part["restarts"]]
    texts = [f"{len(parts) - len(unwell)} ready"]
    for part in unwell:
        restarts = f", restarts {part['restarts']}" if part["restarts"] else ""
        text = f" ({part['text']})" if part["text"] else ""
        texts.append(f"{part['name']} {part['state']}{text}{restarts}")
    return "; ".join(texts)


def _store(store: JSON) -> str:
    behind = (store.get("lsn") or 0) - (store.get("durable_lsn") or 0)
    waits = f", {behind} records wait" if behind else ""
    failing = f", failing: {store['failing']}" if store.get("failing") else ""
    return f"{store['name']} {store['state']}{waits}{failing}"


def _next(status: JSON, program: str) -> list[Text]:
    """Return commands to go on with: one line each, short enough not to wrap."""
    where = "" if status["environment"] == "development" else f" -e {status['environment']}"
    symbol = status["feeds"][0]["instrument"].partition(":")[2] if status["feeds"] else "BTC/USDT"
    order = f"      {program} order submit{where} --symbol {symbol} --side buy --quantity 0.01"
    if len(order) > WIDTH:
        order = f"      {program} order submit{where} --help"
    return [Text(f"next: {program} logs{where} -f", "dim"), Text(order, "dim")]


# --- how it is written --------------------------------------------------------------------------------


def _table(
    first: str, columns: tuple[str, ...], rows: Sequence[Row], most: int, more: int = 0
) -> RenderableType:
    """Return the first rows; those that do not fit, and `more` that were not even told, are counted."""
    if not rows:
        return _line(first, "none")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column in (first, *columns):
        right = column in _RIGHT or column.split(" ")[-1] in _RIGHT
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in rows[:most]:
        table.add_row(*row)
    if left := max(len(rows) - most, 0) + more:
        table.add_row(f"and {left} more")
    return table


def _line(name: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{name} ", "dim"), (text, style), overflow="ellipsis", no_wrap=True)


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _number(value: object) -> str:
    return "-" if value is None else plain(Decimal(str(value)))


def _price(value: object) -> str:
    """Return a price in at most eight digits, as much as a chart shows."""
    if value is None:
        return "-"
    price = Decimal(str(value))
    return plain(round(price, max(0, 7 - price.adjusted())))


def _money_text(value: object) -> str:
    return "-" if value is None else f"{Decimal(str(value)):,.2f}"


def _share(value: object) -> str:
    return "-" if value is None else f"{100 * Decimal(str(value)):.2f}%"


def _age(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
