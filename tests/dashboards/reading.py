"""Reads what dashboards show from the texts beside this file.

    dashboard UID | TITLE | SPAN | prometheus or influx | VARIABLES
      What it is for.
    == HEADING OF A ROW
    KIND TITLE | UNIT | LOOKS | WIDTHxHEIGHT
      What it shows, to whom it may matter.
      LEGEND | QUERY
    same TITLE | WIDTHxHEIGHT

KIND is `tile`, `lines`, `states`, `meters`, `table` or `candles`. LOOKS are divided by commas: `stack`,
`bars`, `heat` (the buckets of a histogram), `named` (the label instead of the number), `from 0`, `to 1`,
`else TEXT` where there is no value, `words up` for what numbers mean, and colours: `bad 1`, `good 0`,
`rise 5 30`, `fall 2e9 5e9`, `within -1 1`. Looks and sizes may be left out. A line that is indented further
goes on with its query. `{account}` in a legend is that label. `same` is a panel that stands further up or in
an earlier file.

Queries are written without what a user has chosen: of Prometheus each metric is narrowed by the variables
that are its labels, in InfluxDB `@chosen` is the time and the variables that are tags of the measurement.
`@mode` and `@quality` are metrics of several states as one number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.dashboards.names import chosen_points, narrowed
from tests.dashboards.panels import (
    INFLUX,
    PROMETHEUS,
    Dashboard,
    Look,
    Panel,
    Row,
    Source,
    Steps,
    Variable,
    Words,
)
from tradefan.messages.account import MODES
from tradefan.messages.market import Quality

FOLDER = Path(__file__).parent
_OF_POINTS = ("influx_overview", "influx_trading", "influx_risk", "influx_market", "influx_system")
_ORDER = ("overview", "trading", "risk", "market", "system", *_OF_POINTS)
_SOURCES = {"prometheus": PROMETHEUS, "influx": INFLUX}
_VALUES = 'SHOW TAG VALUES FROM "{}" WITH KEY = "{}"'
_SIZES = {
    "tile": (3, 4),
    "lines": (8, 7),
    "states": (24, 5),
    "meters": (8, 7),
    "table": (24, 7),
    "candles": (24, 11),
}
_CHOICES = {
    "prometheus": {
        "daemon": Variable("daemon", "Daemon", 'label_values(up{job="tradefan"}, instance)', many=False),
        "account": Variable("account", "Account", "label_values(tradefan_venue_requests_total, account)"),
        "venue": Variable("venue", "Venue", "label_values(tradefan_frames_quarantined_total, venue)"),
        "instrument": Variable("instrument", "Instrument", "label_values(tradefan_feed_quality, instrument)"),
        "strategy": Variable("strategy", "Strategy", "label_values(tradefan_position_qty, owner)"),
        "algo": Variable("algo", "Algorithm", "label_values(tradefan_parents_at_work, algo)"),
        "actor": Variable("actor", "Part", "label_values(tradefan_actor_up, actor)"),
    },
    "influx": {
        "account": Variable("account", "Account", _VALUES.format("equity", "account")),
        "instrument": Variable("instrument", "Instrument", _VALUES.format("parents", "instrument")),
        "strategy": Variable("strategy", "Strategy", _VALUES.format("parents", "owner")),
        "algo": Variable("algo", "Algorithm", _VALUES.format("parents", "algo")),
        "market": Variable("instrument", "Instrument", _VALUES.format("quotes", "instrument"), many=False),
        "timeframe": Variable("timeframe", "Bars", _VALUES.format("bars", "timeframe"), many=False),
    },
}
_MARKS = {
    "Daemon started": "changes(process_start_time_seconds[1m])",
    "Configuration changed": "changes(tradefan_config_version[1m])",
}
"""Marked in every panel on Prometheus."""
_SHADES = ("green", "yellow", "orange", "red", "dark-red")
_WORDS: dict[str, Words] = {
    "up": {0: ("DOWN", "red"), 1: ("UP", "green")},
    "ready": {0: ("NOT READY", "red"), 1: ("READY", "green")},
    "open": {0: ("OPEN", "green")},
    "modes": {i: (mode, _SHADES[i]) for i, mode in enumerate(MODES)},
    "qualities": {i: (str(quality), _SHADES[i]) for i, quality in enumerate(Quality)},
}


def dashboards() -> tuple[Dashboard, ...]:
    """Return all of them."""
    known: dict[str, Panel] = {}
    return tuple(_read((FOLDER / f"{name}.txt").read_text(encoding="utf-8"), known) for name in _ORDER)


def _read(text: str, known: dict[str, Panel]) -> Dashboard:
    (head, about), *blocks = _blocks(text)
    uid, title, span, source, names = _cells(head.removeprefix("dashboard "))
    of = _SOURCES[source]
    variables = [_CHOICES[source][name] for name in names.split()]
    chosen = [one.name for one in variables]
    rows: list[Row] = []
    for block in blocks:
        if block[0].startswith("== "):
            rows.append(Row(block[0].removeprefix("== "), []))
        else:
            rows[-1].panels.append(_panel(block, of, chosen, known))
    marks = {name: narrowed(expr, chosen) for name, expr in _MARKS.items()} if of is PROMETHEUS else {}
    if of is PROMETHEUS:
        variables = [_narrower(one, chosen[:i]) for i, one in enumerate(variables)]
    return Dashboard(uid, title, about.strip(), of, span, variables, rows, marks)


def _narrower(variable: Variable, earlier: list[str]) -> Variable:
    """Return a variable that offers what the chosen daemon and venue have."""
    offered = [name for name in earlier if name in ("daemon", "venue")]
    return variable._replace(query=narrowed(variable.query, offered))


def _blocks(text: str) -> Iterator[list[str]]:
    """Give each line that is not indented with those that are indented behind it."""
    block: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        if line.startswith(" "):
            block.append(line)
            continue
        if block:
            yield block
        block = [line]
    yield block


def _cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.split(" | ")]


def _panel(block: list[str], source: Source, chosen: list[str], known: dict[str, Panel]) -> Panel:
    kind, _, head = block[0].partition(" ")
    title, *cells = _cells(head)
    size = next((cell for cell in cells if re.fullmatch(r"\d+x\d+", cell)), "")
    if kind == "same":
        panel = known[title]
        return _narrowed(panel if not size else _sized(panel, size), source, chosen)
    unit, *looks = [cell for cell in cells if cell != size]
    about, *lines = block[1:]
    width, height = _SIZES[kind]
    panel = Panel(
        kind, title, about.strip(), unit, _look(kind, looks), _queries(source, lines), width, height
    )
    known[title] = panel = _sized(panel, size) if size else panel
    return _narrowed(panel, source, chosen)


def _sized(panel: Panel, size: str) -> Panel:
    width, height = map(int, size.split("x"))
    return panel._replace(width=width, height=height)


def _narrowed(panel: Panel, source: Source, chosen: list[str]) -> Panel:
    def one(query: str) -> str:
        if source is PROMETHEUS:
            return narrowed(query.replace("@mode", _MODE).replace("@quality", _QUALITY), chosen)
        return re.sub(
            r'FROM "(\w+)" WHERE @chosen', lambda at: f"{at[0][:-7]}{chosen_points(at[1], chosen)}", query
        )

    return panel._replace(queries={legend: one(query) for legend, query in panel.queries.items()})


def _queries(source: Source, lines: list[str]) -> dict[str, str]:
    """Return queries by legend; a label is written as the data source wants it."""
    found: dict[str, str] = {}
    legend = ""
    label = r"{{\1}}" if source is PROMETHEUS else r"$tag_\1"
    for line in lines:
        if line.startswith("   "):
            found[legend] += f" {line.strip()}"
            continue
        shown, _, query = line.removeprefix(" ").partition("| ")
        legend = re.sub(r"\{(\w+)\}", label, shown.strip()).replace("$tag_col", "$col")
        found[legend] = query.strip()
    return found


def _look(kind: str, looks: list[str]) -> Look:
    """Return how a panel looks of words like `rise 1 2`, `bars`, `from 0`."""
    found: dict[str, Any] = {"steps": ((None, "green"),)} if kind == "meters" else {}
    for word, _, rest in (one.strip().partition(" ") for cell in looks for one in cell.split(",")):
        if word in ("stack", "bars", "named", "heat"):
            found[word] = True
        elif word == "words":
            found["words"] = _WORDS[rest]
        elif word == "else":
            found["absent"] = rest
        elif word in ("from", "to"):
            found["least" if word == "from" else "most"] = float(rest)
        else:
            found["steps"] = _steps(word, [*map(float, rest.split())])
    return Look(**found)


def _steps(word: str, at: list[float]) -> Steps:
    """Return colours: `bad 1` is red from 1, `rise` worse with more, `fall` with less, `within` bounds."""
    if word == "bad":
        return ((None, "green"), (at[0], "red"))
    if word == "rise":
        return ((None, "green"), (at[0], "orange"), (at[1], "red"))
    if word == "fall":
        return ((None, "red"), (at[0], "orange"), (at[1], "green"))
    if word == "good":
        return ((None, "red"), (at[0], "green"))
    assert word == "within", f"expected a look, got {word}"
    return ((None, "red"), (at[0], "green"), (at[1], "red"))


def _numbered(metric: str, words: Words, by: str = "") -> str:
    """Return a metric that is 1 for one of several states as that state's number."""
    parts = (f'{metric}{{status="{word}"}} * {i}' for i, (word, _) in words.items())
    return f"sum{by} ({' or '.join(parts)})"


_MODE = _numbered("tradefan_mode", _WORDS["modes"])
_QUALITY = _numbered("tradefan_feed_quality", _WORDS["qualities"], " by (instrument)")
