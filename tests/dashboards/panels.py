"""What Grafana calls a dashboard, made of what a description says; nothing here knows a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

JSON = dict[str, Any]
Steps = tuple[tuple[float | None, str], ...]
"""From each value on this colour; the first one has no value."""
Words = Mapping[int, tuple[str, str]]
"""What a number means, and its colour."""
FULL = 24
"""Columns of a row."""


class Source(NamedTuple):
    """A data source as dashboards name it."""

    type: str
    uid: str

    @property
    def ref(self) -> JSON:
        """Return what stands in panels and queries."""
        return {"type": self.type, "uid": self.uid}


PROMETHEUS = Source("prometheus", "tradefan-prometheus")
INFLUX = Source("influxdb", "tradefan-influxdb")


class Look(NamedTuple):
    """How a panel shows its values."""

    steps: Steps = ()
    words: Words = {}
    stack: bool = False
    bars: bool = False
    named: bool = False
    """A tile shows its label and no number."""
    heat: bool = False
    """A query has the buckets of a histogram."""
    least: float | None = None
    most: float | None = None
    absent: str = ""
    """What stands where there is no value."""


class Panel(NamedTuple):
    """One panel; `queries` by legend."""

    kind: str
    title: str
    about: str
    unit: str
    look: Look
    queries: dict[str, str]
    width: int
    height: int


class Row(NamedTuple):
    """Panels under a heading."""

    title: str
    panels: list[Panel]


class Variable(NamedTuple):
    """What a user may choose: one value, or several and all of them (`many`)."""

    name: str
    label: str
    query: str
    many: bool = True


class Dashboard(NamedTuple):
    """One dashboard; its file is named by its uid. `marks` are queries of instants marked in all panels."""

    uid: str
    title: str
    about: str
    source: Source
    span: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    marks: Mapping[str, str] = {}

    def json(self) -> JSON:
        """Return it as Grafana 10 and 11 read it."""
        return {
            "annotations": {"list": [_BUILT_IN, *(_mark(self.source, *mark) for mark in self.marks.items())]},
            "description": self.about,
            "editable": True,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "id": None,
            "links": [_LINK],
            "panels": _placed(self.source, self.rows),
            "refresh": "5s",
            "schemaVersion": 39,
            "tags": ["tradefan"],
            "templating": {"list": [_variable(self.source, one) for one in self.variables]},
            "time": {"from": f"now-{self.span}", "to": "now"},
            "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
            # The log and everything stored are in UTC.
            "timezone": "utc",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
        }


_BUILT_IN: JSON = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "blue",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}
_LINK: JSON = {
    "asDropdown": False,
    "icon": "external link",
    "includeVars": True,
    "keepTime": True,
    "tags": ["tradefan"],
    "targetBlank": False,
    "title": "TradeFan",
    "tooltip": "",
    "type": "dashboards",
    "url": "",
}


def _mark(source: Source, name: str, query: str) -> JSON:
    """Mark where a query is above 0; Grafana leaves out zeros."""
    return {
        "datasource": source.ref,
        "enable": True,
        "expr": query,
        "hide": False,
        "iconColor": "purple",
        "name": name,
        "step": "5s",
        "titleFormat": name,
    }


def _variable(source: Source, one: Variable) -> JSON:
    query: Any = one.query
    if source is PROMETHEUS:
        query = {"query": one.query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        # `All` also finds what lacks the label.
        **({"allValue": ".*"} if one.many else {}),
        "current": everything if one.many else {"selected": False, "text": "", "value": ""},
        "datasource": source.ref,
        "definition": one.query,
        "hide": 0,
        "includeAll": one.many,
        "label": one.label,
        "multi": one.many,
        "name": one.name,
        "options": [],
        "query": query,
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }


# --- panels and their places ------------------------------------------------------------------------------


def _placed(source: Source, rows: Sequence[Row]) -> list[JSON]:
    """Return headings and panels with their places: a panel that has no room any more begins a line."""
    found: list[JSON] = []
    y = 0
    for row in rows:
        heading = {"collapsed": False, "panels": [], "title": row.title, "type": "row"}
        found.append({**heading, "gridPos": {"h": 1, "w": FULL, "x": 0, "y": y}, "id": len(found) + 1})
        x, y, high = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > FULL:
                x, y, high = 0, y + high, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            found.append({**_panel(source, panel), "gridPos": place, "id": len(found) + 1})
            x, high = x + panel.width, max(high, panel.height)
        y += high
    return found


def _panel(source: Source, panel: Panel) -> JSON:
    ask = _ask_prometheus if source is PROMETHEUS else _ask_influx
    look = panel.look
    kind, fields, options = _KINDS[panel.kind](look)
    shown: JSON = {
        "datasource": source.ref,
        "description": panel.about,
        "fieldConfig": {"defaults": {"unit": panel.unit, **_defaults(look), **fields}, "overrides": []},
        "options": options,
        "targets": [
            {"datasource": source.ref, "refId": ref(i), **ask(panel, query, legend)}
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
        "title": panel.title,
        "type": kind,
    }
    if panel.kind == "table":
        # Of several queries each has a column, named by its legend.
        names = {f"Value #{ref(i)}": legend for i, legend in enumerate(panel.queries)}
        away = {"Time": True} if source is PROMETHEUS else {}
        columns = {"excludeByName": away, "indexByName": {}, "renameByName": names}
        shown["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": columns}]
    return shown


def ref(i: int) -> str:
    """Return the name of the query in a place."""
    return chr(ord("A") + i)


def _ask_prometheus(panel: Panel, query: str, legend: str) -> JSON:
    at_once = panel.kind in _AT_ONCE
    return {
        "editorMode": "code",
        "expr": query,
        "format": "table" if panel.kind == "table" else "heatmap" if panel.look.heat else "time_series",
        "instant": at_once,
        "legendFormat": legend or "__auto",
        "range": not at_once,
    }


def _ask_influx(panel: Panel, query: str, legend: str) -> JSON:
    form = "table" if panel.kind in ("table", "candles") else "time_series"
    return {"alias": legend, "query": query, "rawQuery": True, "resultFormat": form}


_AT_ONCE = ("tile", "meters", "table")
"""Kinds that show what is now."""


def _defaults(look: Look) -> JSON:
    """Return what fields of all kinds have."""
    steps = look.steps or ((None, "text"),)
    found: JSON = {
        "thresholds": {"mode": "absolute", "steps": [{"color": name, "value": at} for at, name in steps]}
    }
    if look.words:
        words = {
            str(value): {"text": text, "color": colour, "index": i}
            for i, (value, (text, colour)) in enumerate(look.words.items())
        }
        found["mappings"] = [{"type": "value", "options": words}]
    bounds = {"min": look.least, "max": look.most, "noValue": look.absent or None}
    return {**found, **{name: value for name, value in bounds.items() if value is not None}}


# --- kinds: what Grafana calls it, how its fields look, its options -----------------------------------------

Kind = tuple[str, JSON, JSON]
_REDUCED: JSON = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
_LEGEND: JSON = {"calcs": ["lastNotNull"], "displayMode": "list", "placement": "bottom", "showLegend": True}
_OVER_TIME: JSON = {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}


def _tile(look: Look) -> Kind:
    """A value of now, to be read from afar."""
    options = {
        **_REDUCED,
        "colorMode": "background" if look.words or look.steps else "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "showPercentChange": False,
        "textMode": "name" if look.named else "auto",
        "wideLayout": True,
    }
    return "stat", {} if look.absent else {"noValue": "no answer"}, options


def _lines(look: Look) -> Kind:
    """Lines over the time, areas upon each other, or bars; steps are dashed lines."""
    custom = {
        "drawStyle": "bars" if look.bars else "line",
        "fillOpacity": 60 if look.bars else 30 if look.stack else 8,
        "lineWidth": 1,
        "pointSize": 4,
        "showPoints": "never" if look.bars else "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if look.stack else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if look.steps else "off"},
    }
    return "timeseries", {"color": {"mode": "palette-classic"}, "custom": custom}, _OVER_TIME


def _states(_look: Look) -> Kind:
    """What something was, as coloured stretches of time."""
    options = {"alignValue": "left", "mergeValues": True, "rowHeight": 0.8, "showValue": "auto", **_OVER_TIME}
    return "state-timeline", {"custom": {"fillOpacity": 80, "lineWidth": 0}}, options


def _meters(_look: Look) -> Kind:
    """Bars of now beside each other."""
    options = {
        **_REDUCED,
        "displayMode": "basic",
        "legend": {**_LEGEND, "showLegend": False},
        "maxVizHeight": 300,
        "minVizHeight": 10,
        "minVizWidth": 0,
        "namePlacement": "auto",
        "orientation": "horizontal",
        "sizing": "auto",
        "showUnfilled": True,
        "valueMode": "color",
    }
    return "bargauge", {}, options


def _table(_look: Look) -> Kind:
    """Rows of now."""
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
    footer = {"show": False, "reducer": ["sum"], "countRows": False}
    options = {"cellHeight": "sm", "footer": footer, "frameIndex": 0, "showHeader": True}
    return "table", {"custom": custom, "noValue": "none"}, options


def _candles(_look: Look) -> Kind:
    """Bars with volume, of a query that gives open, high, low, close and volume."""
    options = {
        "candleStyle": "candles",
        "colors": {"up": "green", "down": "red", "flat": "gray"},
        "colorStrategy": "open-close",
        "fields": {name: name for name in ("open", "high", "low", "close", "volume")},
        "includeAllFields": False,
        "legend": {**_LEGEND, "showLegend": False},
        "mode": "candles+volume",
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    return "candlestick", {}, options


_KINDS: dict[str, Callable[[Look], Kind]] = {
    "tile": _tile,
    "lines": _lines,
    "states": _states,
    "meters": _meters,
    "table": _table,
    "candles": _candles,
}
