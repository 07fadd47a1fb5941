"""One page about what an order cost: it contains all that it shows, and follows the reader's colour scheme.

Charts are SVG made here; there is no script, and nothing is fetched from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from tradefan.tca_words import FIGURES, headline, span_of, value_of, words_of
from tradefan.units import SECOND, iso

JSON = dict[str, Any]
Point = tuple[float, float]
WIDTH, HEIGHT = 860, 280
LEFT, RIGHT, TOP, BOTTOM = 74, 96, 14, 34
PRICES = (
    ("decision", "decision_px"),
    ("arrival", "arrival_px"),
    ("average", "avg_px"),
    ("VWAP", "vwap"),
    ("TWAP", "twap"),
    ("end", "end_px"),
)
PARTS = (
    ("delay", "is_delay_bps"),
    ("trading", "is_trading_bps"),
    ("opportunity", "is_opportunity_bps"),
    ("fees", "is_fees_bps"),
)
FILLS_MAX = 1_000
"""Fills that are drawn; of more every n-th."""

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --dim: #57606a; --line: #d0d7de;
  --target: #9a6700; --done: #0969da; --mid: #57606a; --good: #1a7f37; --cost: #cf222e; --maker: #1a7f37;
  --taker: #bc4c00; --panel: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3; --dim: #9198a1;
  --line: #30363d; --target: #d29922; --done: #58a6ff; --mid: #9198a1; --good: #3fb950; --cost: #ff7b72;
  --maker: #3fb950; --taker: #f0883e; --panel: #161b22; } }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 900px; padding: 24px 20px 48px; }
h1 { font-size: 21px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 28px 0 6px; }
p { margin: 4px 0; } .dim { color: var(--dim); }
svg { width: 100%; height: auto; display: block; background: var(--panel); border: 1px solid var(--line);
  border-radius: 6px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); } svg text.ink { fill: var(--ink); }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--dim); stroke-width: 1; }
.target { fill: none; stroke: var(--target); stroke-width: 2; stroke-dasharray: 6 4; }
.done { fill: none; stroke: var(--done); stroke-width: 2.5; }
.area { fill: var(--done); opacity: 0.13; }
.mid { fill: none; stroke: var(--mid); stroke-width: 1.5; }
.bench { stroke: var(--dim); stroke-width: 1; stroke-dasharray: 3 3; }
.bench.average { stroke: var(--done); stroke-width: 1.5; stroke-dasharray: none; }
.maker { fill: var(--maker); stroke: var(--panel); } .taker { fill: var(--taker); stroke: var(--panel); }
.plus { fill: var(--cost); } .minus { fill: var(--good); } .whole { fill: var(--done); }
ul.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 6px 0; padding: 0;
  color: var(--dim); font-size: 13px; }
.key { display: inline-block; width: 18px; height: 0; border-top: 3px solid; vertical-align: middle;
  margin-right: 6px; } .key.dot { width: 10px; height: 10px; border: 0; border-radius: 5px; }
table { border-collapse: collapse; width: 100%; } td, th { border-bottom: 1px solid var(--line);
  padding: 4px 8px; text-align: left; font-weight: normal; } td { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures { columns: 2 340px; column-gap: 28px; } .figures table { break-inside: avoid; }
li.flag { color: var(--ink); }
"""


def page(one: JSON) -> str:
    """Return the page of one order, as `/api/v1/orders/ID/tca` tells of it."""
    begin, end = span_of(one)
    title = f"Costs of {one['parent_id']}"
    body = [
        f"<h1>{escape(headline(one))}</h1>",
        f'<p class="dim">{escape(_when(one))}</p>',
        *_flags(one),
        "<h2>Schedule</h2>",
        _schedule(one, begin, end),
        _legend((("target", "--target", ""), ("done", "--done", ""))),
        "<h2>Fills on the price</h2>",
        _prices(one, begin, end),
        _legend((("mid", "--mid", ""), ("maker fill", "--maker", "dot"), ("taker fill", "--taker", "dot"))),
        "<h2>Where the shortfall comes from</h2>",
        _waterfall(one),
        '<p class="dim">Against the mid of the decision, in bps of what was ordered; above zero it cost.</p>',
        "<h2>Figures</h2>",
        _figures(one),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head>",
            "<body>",
            *body,
            "</body></html>",
            "",
        ]
    )


def _when(one: JSON) -> str:
    begin, end = one["arrived_ns"], one["ended_ns"]
    if begin is None:
        return f"{one['state']}; it never began to work"
    return f"{one['state']}; from {iso(begin)} to {'now' if end is None else iso(end)}"


def _flags(one: JSON) -> list[str]:
    rows = [
        f'<li class="flag"><strong>{escape(flag)}</strong>: {escape(words_of(flag))}</li>'
        for flag in one["flags"]
    ]
    return ["<ul>", *rows, "</ul>"] if rows else []


def _legend(rows: Iterable[tuple[str, str, str]]) -> str:
    items = "".join(
        f'<li><span class="key {kind}" style="{"background" if kind else "color"}: var({colour})"></span>'
        f"{escape(text)}</li>"
        for text, colour, kind in rows
    )
    return f'<ul class="legend">{items}</ul>'


def _svg(name: str, title: str, text: str, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-t {name}-d">',
            f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(text)}</desc>',
            *parts,
            "</svg>",
        ]
    )


# --- the scale ----------------------------------------------------------------------------------------------


class _Scale:
    """From instants and values to places on the paper."""

    def __init__(self, begin: int, end: int, low: float, high: float) -> None:
        """Span a time and a range of values; one without extent gets a little."""
        self.begin, self.end = begin, max(end, begin + 1)
        room = (high - low) * 0.06 or abs(high) * 1e-4 or 1.0
        self.low, self.high = low - room, high + room

    def x(self, at_ns: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at_ns - self.begin) / (self.end - self.begin)

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)

    def grid(self, values: Iterable[tuple[float, str]]) -> list[str]:
        """Return lines and words of values, and the time below."""
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        rows = [
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{self.y(value):.1f}" y2="{self.y(value):.1f}"/>'
            f'<text x="{LEFT - 8}" y="{self.y(value) + 4:.1f}" text-anchor="end">{escape(text)}</text>'
            for value, text in values
        ]
        rows.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        for part, anchor in ((0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end")):
            at_ns = self.begin + (self.end - self.begin) * part // 4
            text = iso(at_ns)[11:19] if part == 0 else f"+{_span(at_ns - self.begin)}"
            rows.append(
                f'<text x="{self.x(at_ns):.1f}" y="{bottom + 20}" text-anchor="{anchor}">{text}</text>'
            )
        return rows


def _span(ns: int) -> str:
    seconds = ns / SECOND
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7_200 else f"{seconds / 3_600:.3g} h"


def _steps(scale: _Scale, line: Sequence[Sequence[float]], end: int) -> list[Point]:
    """Return the corners of a line of steps up to the end."""
    found: list[Point] = []
    for at_ns, value in line:
        x, y = scale.x(int(at_ns)), scale.y(value)
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return [*found, (scale.x(end), found[-1][1])] if found else []


def _path(kind: str, points: Sequence[Point]) -> str:
    if not points:
        return ""
    words = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{kind}" d="M{words}"/>'


def _nothing(text: str) -> str:
    return f'<text class="ink" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">{escape(text)}</text>'


# --- the charts ---------------------------------------------------------------------------------------------


def _schedule(one: JSON, begin: int, end: int) -> str:
    scale = _Scale(begin, end, 0.0, 1.0)
    lines = one["lines"]
    start: list[Sequence[float]] = [(begin, 0.0)]
    done = _steps(scale, [*start, *lines["done"]], end)
    targets = _steps(scale, [*start, *lines["targets"]] if lines["targets"] else [], end)
    area = [*done, (scale.x(end), scale.y(0)), (scale.x(begin), scale.y(0))]
    error = value_of(one, "schedule_error_mean", "%")
    filled = value_of(one, "fill_ratio", "%")
    text = f"{filled} of the order was filled; it was off its schedule by {error} on average."
    return _svg(
        "schedule",
        "Target and realised share of the order over time",
        text,
        [
            *scale.grid((part / 4, f"{25 * part} %") for part in range(5)),
            _path("area", area),
            _path("target", targets),
            _path("done", done),
        ],
    )


def _prices(one: JSON, begin: int, end: int) -> str:
    mids = one["lines"]["mids"]
    fills = [fill for fill in one["fills"] if float(fill["qty"]) > 0]
    fills = fills[:: max(-(-len(fills) // FILLS_MAX), 1)]
    marks = [(word, float(one[name])) for word, name in PRICES if one[name] is not None]
    values = [value for _, value in mids] + [float(fill["price"]) for fill in fills] + [v for _, v in marks]
    title, text = "Fills on the path of the mid", _prices_text(one, len(fills))
    if not values:
        return _svg("prices", title, text, [_nothing("nothing is known of the price")])
    scale = _Scale(begin, end, min(values), max(values))
    ticks = [scale.low + (scale.high - scale.low) * part / 4 for part in range(5)]
    path = [(scale.x(int(at_ns)), scale.y(value)) for at_ns, value in mids]
    return _svg(
        "prices",
        title,
        text,
        [
            *scale.grid((tick, f"{tick:.7g}") for tick in ticks),
            *_benchmarks(scale, marks),
            _path("mid", path),
            *(_fill(scale, fill, begin, end) for fill in fills),
        ],
    )


def _prices_text(one: JSON, count: int) -> str:
    words = [f"{word} {float(one[name]):.10g}" for word, name in PRICES if one[name] is not None]
    return f"{count} fills. " + (", ".join(words) or "No price is known") + "."


def _benchmarks(scale: _Scale, marks: Sequence[tuple[str, float]]) -> list[str]:
    """Return lines with their words beside them, which give way to each other."""
    right, rows = WIDTH - RIGHT, []
    placed: list[float] = []
    for word, value in sorted(marks, key=lambda mark: -mark[1]):
        y = scale.y(value)
        below = max(y + 4, placed[-1] + 14) if placed else y + 4
        placed.append(below)
        kind = "bench average" if word == "average" else "bench"
        rows.append(
            f'<line class="{kind}" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<line class="grid" x1="{right}" x2="{right + 10}" y1="{y:.1f}" y2="{below - 4:.1f}"/>'
            f'<text class="ink" x="{right + 14}" y="{below:.1f}">{escape(word)}</text>'
        )
    return rows


def _fill(scale: _Scale, fill: JSON, begin: int, end: int) -> str:
    x = scale.x(min(max(fill["event_ns"], begin), end))
    y, kind = scale.y(float(fill["price"])), "maker" if fill["liquidity"] == "maker" else "taker"
    words = f"{fill['side']} {fill['qty']} at {fill['price']}, {fill['liquidity']}, {iso(fill['event_ns'])}"
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(words)}</title></circle>'


def _waterfall(one: JSON) -> str:
    """Return each part on top of those before it, and their sum; one that is not known is named."""
    known = [(word, None if one[name] is None else float(one[name])) for word, name in PARTS]
    total = None if one["is_bps"] is None else float(one["is_bps"])
    levels, sum_so_far = [0.0], 0.0
    for _, value in known:
        sum_so_far += value or 0.0
        levels.append(sum_so_far)
    words = [f"{word} {'unknown' if value is None else f'{value:.2f} bps'}" for word, value in known]
    text = f"{', '.join(words)}; in all {'unknown' if total is None else f'{total:.2f} bps'}."
    scale = _Scale(0, 1, min(levels), max(levels))
    step = (WIDTH - LEFT - RIGHT) / (len(known) + 1)
    parts = [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{scale.y(0):.1f}" y2="{scale.y(0):.1f}"/>'
    ]
    for i, (word, value) in enumerate(known):
        parts += _bar(scale, LEFT + step * i, step, word, levels[i], value)
    parts += _bar(scale, LEFT + step * len(known), step, "shortfall", 0.0, total, kind="whole")
    return _svg("parts", "Decomposition of the implementation shortfall", text, parts)


def _bar(
    scale: _Scale, x: float, step: float, word: str, base: float, value: float | None, kind: str = ""
) -> list[str]:
    middle, bottom = x + step / 2, HEIGHT - 10
    name = f'<text class="ink" x="{middle:.1f}" y="{bottom}" text-anchor="middle">{escape(word)}</text>'
    high = scale.y(max(base, base + (value or 0.0)))
    shown = "unknown" if value is None else f"{value:+.2f}"
    label = (
        f'<text class="ink" x="{middle:.1f}" y="{max(high - 5, 11):.1f}" text-anchor="middle">{shown}</text>'
    )
    if value is None:
        return [name, label]
    kind = kind or ("plus" if value > 0 else "minus")
    height = abs(scale.y(base) - scale.y(base + value))
    rectangle = (
        f'<rect class="{kind}" x="{x + step * 0.2:.1f}" y="{high:.1f}" '
        f'width="{step * 0.6:.1f}" height="{max(height, 1):.1f}"/>'
    )
    return [name, rectangle, label]


def _figures(one: JSON) -> str:
    rows = [
        f'<tr><th scope="row">{escape(word.strip())}</th><td>{escape(value_of(one, name, unit))}</td></tr>'
        for word, name, unit in FIGURES
    ]
    prices = [
        f'<tr><th scope="row">{escape(word)} price</th><td>{_price(one[name])}</td></tr>'
        for word, name in PRICES
    ]
    fees = "-" if one["fees"] is None else f"{float(one['fees']):.8g} {escape(one['quote'])}"
    prices.append(f'<tr><th scope="row">fees</th><td>{fees}</td></tr>')
    half = -(-(len(rows) + len(prices)) // 2)
    everything = [*rows, *prices]
    tables = (f"<table>{''.join(part)}</table>" for part in (everything[:half], everything[half:]))
    return f'<div class="figures">{"".join(tables)}</div>'


def _price(value: object) -> str:
    return "-" if value is None else f"{float(str(value)):.10g}"
