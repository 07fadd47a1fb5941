"""Asks what Grafana would ask: variables first, then every query of every panel with its macros replaced.

Sources: https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables,
https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/#use-__rate_interval
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.services.influx import Influxd
from tests.services.prometheus import Prometheus

SCRAPE_S = 5
"""`timeInterval` of the data source."""
POINTS_A_COLUMN = 65
"""Pixels, of which a panel asks for a point each, on a screen of 1600."""
_NICE_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200)
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_SPECIAL = re.compile(r"[\\^$*+?.()|[\]{}/]")
_SPECIAL_IN_PROMQL = re.compile(r"[\\^$*+?.()|[\]{}]")
EVERYTHING = ".*"
FULL = 24
JSON = dict[str, Any]


class Answer(NamedTuple):
    """What came of one query; `error` says why nothing did."""

    dashboard: str
    panel: str
    legend: str
    source: str
    query: str
    series: int
    samples: int
    error: str = ""

    @property
    def good(self) -> bool:
        """Say whether there was something to show."""
        return not self.error and self.samples > 0


class Servers(NamedTuple):
    """What dashboards ask."""

    prometheus: Prometheus
    influx: Influxd


class Chosen(NamedTuple):
    """What is chosen of a variable: one value, several of `many`, or all of them (`.*`)."""

    values: list[str]
    many: bool

    def in_promql(self) -> str:
        """Return it as Prometheus' data source does: of many a regular expression inside a string."""
        if not self.many or self.values == [EVERYTHING]:
            return self.values[0]
        return _either(_SPECIAL_IN_PROMQL.sub(r"\\\\\g<0>", one) for one in self.values)

    def regex(self) -> str:
        """Return it as `${name:regex}`."""
        if self.values == [EVERYTHING]:
            return EVERYTHING
        return _either(_SPECIAL.sub(r"\\\g<0>", one) for one in self.values)


def ask(dashboard: JSON, servers: Servers, now_s: float, *, first: bool = False) -> Iterator[Answer]:
    """Give the answer to each variable and panel, with all values chosen, or with the `first` one of each."""
    window = (now_s - _seconds(dashboard["time"]["from"]), now_s)
    chosen: dict[str, Chosen] = {}
    for variable in dashboard["templating"]["list"]:
        answer, values = _offered(dashboard["title"], variable, chosen, servers)
        yield answer
        if values:
            every = variable["multi"] and not first
            chosen[variable["name"]] = Chosen(
                [variable["allValue"]] if every else values[:1], variable["multi"]
            )
    asking = _Asking(dashboard["title"], window, chosen, servers)
    for mark in dashboard["annotations"]["list"]:
        if "expr" in mark:
            yield asking.one(mark["name"], {**mark, "instant": False}, FULL)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield asking.one(panel["title"], target, panel["gridPos"]["w"])


def table(answers: Sequence[Answer]) -> str:
    """Return one line for each answer, with the query where it is not good."""
    lines = []
    for one in answers:
        what = f"{one.panel}: {one.legend}" if one.legend not in ("", "__auto") else one.panel
        why = "" if one.good else f"  <- {one.error or 'empty'}: {one.query}"
        lines.append(
            f"{one.dashboard:36} {what:52} {one.source:10} {one.series:4} series {one.samples:6} samples{why}"
        )
    return "\n".join(lines)


# --- as Grafana replaces it -------------------------------------------------------------------------------


def interval_s(span_s: float, width: int, least_s: float) -> float:
    """Return `$__interval`: of the nice ones the nearest to a pixel, and not below the data source's."""
    pixel_s = span_s / (width * POINTS_A_COLUMN)
    return max(min(_NICE_S, key=lambda nice: abs(nice - pixel_s)), least_s)


def macros(window: tuple[float, float], step_s: float) -> dict[str, str]:
    """Return the macros of both data sources."""
    since_s, until_s = window
    return {
        "__rate_interval": f"{max(step_s + SCRAPE_S, 4 * SCRAPE_S):g}s",
        "__interval": f"{step_s:g}s",
        "__range": f"{until_s - since_s:.0f}s",
        "timeFilter": f"time >= {since_s * 1000:.0f}ms and time <= {until_s * 1000:.0f}ms",
    }


def _either(parts: Iterable[str]) -> str:
    texts = [*parts]
    return texts[0] if len(texts) == 1 else f"({'|'.join(texts)})"


def _replaced(query: str, texts: Mapping[str, str]) -> str:
    """Replace `$name` and `${name:form}`; what nobody knows stays, and the server will complain."""
    return re.sub(r"\$(?:(\w+)|\{([\w:]+)\})", lambda found: texts.get(found[1] or found[2], found[0]), query)


def _seconds(ago: str) -> int:
    found = re.fullmatch(r"now-(\d+)([mhd])", ago)
    assert found is not None, ago
    return int(found[1]) * _UNITS[found[2]]


# --- asking -----------------------------------------------------------------------------------------------


class _Asking(NamedTuple):
    """One dashboard with what is chosen in it."""

    title: str
    window: tuple[float, float]
    chosen: Mapping[str, Chosen]
    servers: Servers

    def one(self, panel: str, target: JSON, width: int) -> Answer:
        """Ask one query as a panel of so many columns."""
        source = target["datasource"]["type"]
        legend: str = target.get("legendFormat") or target.get("alias") or ""
        least_s = SCRAPE_S if source == "prometheus" else 1
        step_s = interval_s(self.window[1] - self.window[0], width, least_s)
        query = _replaced(target.get("expr") or target["query"], self._texts(step_s))
        try:
            if source == "influxdb":
                series, samples = _ask_influx(query, self.servers.influx)
            elif target["instant"]:
                series, samples = self._count(query, "query", time=self.window[1])
            else:
                # Grafana asks at whole steps.
                start, end = (math.floor(at / step_s) * step_s for at in self.window)
                series, samples = self._count(query, "query_range", start=start, end=end, step=step_s)
        except (AssertionError, OSError) as error:
            return Answer(self.title, panel, legend, source, query, 0, 0, str(error).partition("\n")[0])
        return Answer(self.title, panel, legend, source, query, series, samples)

    def _texts(self, step_s: float) -> dict[str, str]:
        plain = {name: one.in_promql() for name, one in self.chosen.items()}
        return {
            **plain,
            **{f"{name}:regex": one.regex() for name, one in self.chosen.items()},
            **macros(self.window, step_s),
        }

    def _count(self, query: str, path: str, **times: float) -> tuple[int, int]:
        """Return how many series an expression has, and values that are numbers."""
        asked = {name: f"{at:.3f}" for name, at in times.items()}
        found = self.servers.prometheus.ask(path, query=query, **asked)["result"]
        values = [value for one in found for value in one.get("values", [one.get("value")])]
        return len(found), sum(not math.isnan(float(value)) for _, value in values)


def _ask_influx(query: str, influx: Influxd) -> tuple[int, int]:
    """Return how many series a query has, and rows in which there is something beside the time."""
    found = influx.ask(query)
    rows = [dict(zip(one["columns"], row, strict=True)) for one in found for row in one["values"]]
    return len(found), sum(any(row[name] is not None for name in row if name != "time") for row in rows)


def _offered(
    title: str, variable: JSON, chosen: Mapping[str, Chosen], servers: Servers
) -> tuple[Answer, list[str]]:
    """Return what a variable offers beside the answer that says so."""
    source, name = variable["datasource"]["type"], variable["name"]
    query = _replaced(variable["definition"], {one: value.in_promql() for one, value in chosen.items()})
    if source == "influxdb":
        values = sorted({row[1] for one in servers.influx.ask(query) for row in one["values"]})
    else:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert found is not None, query
        values = servers.prometheus.ask(f"label/{found[2]}/values", **{"match[]": found[1]})
    return Answer(title, f"${name}", "", source, query, 1, len(values)), values
