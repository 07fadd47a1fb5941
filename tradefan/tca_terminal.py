"""What an order cost, in the terminal: its schedule against its fills, its figures; and means over many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tradefan.tca_words import FIGURES, headline, span_of, value_of, words_of
from tradefan.units import SECOND, iso

JSON = dict[str, Any]
WIDTH, HEIGHT = 60, 12
TARGET, DONE = "·", "█"


def drawing(one: JSON) -> Group:
    """Return an order's schedule against its fills, and its figures."""
    parts: list[RenderableType] = [Text(headline(one), style="bold"), Text(_times(one), style="dim"), Text()]
    parts += [*_plot(one), Text()]
    parts.append(_figures(one))
    parts += [Text(f"{flag}: {words_of(flag)}", style="yellow") for flag in one["flags"]]
    return Group(*parts)


def _times(one: JSON) -> str:
    begin, end = one["arrived_ns"], one["ended_ns"]
    words = [one["state"], "never began" if begin is None else f"{iso(begin)} to"]
    if begin is not None:
        words.append("now" if end is None else iso(end))
    return "  ".join(words)


def _plot(one: JSON) -> list[Text]:
    """Return rows from 100 % down: what is done as bars, the target as dots, above or inside of them."""
    begin, end = span_of(one)
    instants = [begin + (end - begin) * (2 * column + 1) // (2 * WIDTH) for column in range(WIDTH)]
    done = [step_at(one["lines"]["done"], at_ns) or 0.0 for at_ns in instants]
    target = [step_at(one["lines"]["targets"], at_ns) for at_ns in instants]
    rows = []
    for row in range(HEIGHT, 0, -1):
        line = Text(f"{100 * row // HEIGHT:4d} % ")
        for have, want in zip(done, target, strict=True):
            wanted = want is not None and round(want * HEIGHT) == row
            if wanted:
                line.append(TARGET, style="bold yellow reverse" if have * HEIGHT >= row else "bold yellow")
            else:
                line.append(DONE if have * HEIGHT >= row - 0.5 else " ", style="cyan")
        rows.append(line)
    legend = Text("       ").append(DONE, style="cyan").append(" done   ").append(TARGET, style="bold yellow")
    return [*rows, legend.append(f" target   over {(end - begin) / SECOND:.0f} s")]


def step_at(line: Sequence[Sequence[float]], at_ns: int) -> float | None:
    """Return the value of a line of steps at an instant, None before its first."""
    value = None
    for begin_ns, step in line:
        if begin_ns > at_ns:
            break
        value = step
    return value


def _figures(one: JSON) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    half = -(-len(FIGURES) // 2)
    for left, right in zip(FIGURES[:half], (*FIGURES[half:], None), strict=False):
        cells = [left[0], value_of(one, left[1], left[2])]
        cells += ["", ""] if right is None else [right[0], value_of(one, right[1], right[2])]
        table.add_row(*cells)
    for column in (1, 3):
        table.columns[column].justify = "right"
    return table


# --- means over many ----------------------------------------------------------------------------------------

_COLUMNS = (
    ("IS", "is_bps", "bps"),
    ("arrival", "arrival_slippage_bps", "bps"),
    ("VWAP", "vwap_slippage_bps", "bps"),
    ("30 s", "markout_30s_bps", "bps"),
    ("maker", "maker_share", "%"),
    ("filled", "fill_ratio", "%"),
    ("error", "schedule_error_mean", "%"),
)
_LEGEND = (
    "IS is the shortfall; it, arrival and VWAP in bps, positive is cost. 30 s is the markout,\n"
    "positive is good for us; error the time average of the distance to the schedule."
)


def means(found: JSON) -> Group:
    """Return means by algorithm, instrument and venue."""
    if not found["rows"]:
        return Group(Text(f"no order has ended since {iso(found['since_ns'])}"))
    parts: list[RenderableType] = [
        _means(word, found["by"][word]) for word in ("algo", "instrument", "venue")
    ]
    parts.append(Text(_LEGEND, "dim"))
    if found["more"]:
        parts.append(Text(f"of the newest {len(found['rows'])} orders; older ones are not in it", "yellow"))
    return Group(*parts)


def _means(word: str, rows: Sequence[JSON]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(word, no_wrap=True)
    for name in ("n", "quantity", *(column[0] for column in _COLUMNS)):
        table.add_column(name, justify="right", no_wrap=True)
    for one in rows:
        cells = [value_of(one, name, unit).removesuffix(" bps") for _, name, unit in _COLUMNS]
        quantity = f"{float(one['filled']):.6g} {one['base']}"
        table.add_row(one["name"].rpartition(":")[2], str(one["n"]), quantity, *cells)
    return table
