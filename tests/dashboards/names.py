"""Names in queries: whether anybody makes them, and how a dashboard's variables narrow them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tradefan.metric_registry import METRICS
from tradefan.stores.schema import MEASUREMENTS, Table

FOREIGN = {
    "up",
    "ALERTS",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "python_gc_collections_total",
}
"""Made by Prometheus itself and by its client; each panel and alert that needs another one adds it here."""
TABLES: dict[str, Table] = {table.name: table for table in MEASUREMENTS.values()}
VENUE = 'instrument=~"$venue:.*"'
"""An instrument's name begins with that of its venue."""
_LABELS = {"strategy": "owner"}
"""What a variable is as a label or tag, where that has another name."""
_ENDS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_SAMPLES = {f"tradefan_{name}{end}": name for name, spec in METRICS.items() for end in _ENDS[spec.kind]}
_METRIC = re.compile(r"\b((?:tradefan|process|python)_\w+|up|ALERTS)\b(?:\{([^}]*)\})?")
_QUOTED = re.compile(r'"(\w+)"')


# --- Prometheus -------------------------------------------------------------------------------------------


def metric(sample: str) -> str:
    """Return the registry's name of a sample's name.

    Raises:
        KeyError: nobody makes such a sample.
    """
    return _SAMPLES[sample]


def samples(expr: str) -> set[str]:
    """Return the names of samples in an expression."""
    return {found.group(1) for found in _METRIC.finditer(expr)}


def labels(sample: str) -> tuple[str, ...]:
    """Return the labels of a sample beside its instance."""
    return () if sample in FOREIGN else METRICS[metric(sample)].labels


def narrowed(expr: str, variables: Iterable[str]) -> str:
    """Return an expression whose series are those of the chosen daemon, account, instrument and so on."""
    chosen = [*variables]

    def one(found: re.Match[str]) -> str:
        matchers = [*filter(None, [found.group(2)]), *_matchers(found.group(1), chosen)]
        return f"{found.group(1)}{{{','.join(matchers)}}}" if matchers else found.group(1)

    return _METRIC.sub(one, expr)


def _matchers(sample: str, variables: Iterable[str]) -> Iterator[str]:
    known = labels(sample)
    for name in variables:
        label = _LABELS.get(name, name)
        if name == "daemon":
            yield 'instance="$daemon"'
        elif name == "venue" and "instrument" in known:
            yield VENUE
        elif label in known:
            yield f'{label}=~"${name}"'


# --- InfluxDB -------------------------------------------------------------------------------------------


def chosen_points(measurement: str, variables: Iterable[str]) -> str:
    """Return the condition of the chosen time and of the variables that are tags of a measurement.

    `:regex` escapes the slash of an instrument in every version of Grafana, also where one value is chosen.
    """
    tags = TABLES[measurement].tags
    pairs = ((_LABELS.get(name, name), name) for name in variables)
    chosen = (f'"{tag}" =~ /^${{{name}:regex}}$/' for tag, name in pairs if tag in tags)
    return " AND ".join(["$timeFilter", *chosen])


def strangers(query: str) -> set[str]:
    """Return the names in a query of InfluxQL that are no measurement, tag or field of it, nor made in it."""
    measurements = re.findall(r'FROM "(\w+)"', query)
    made = set(re.findall(r'AS "(\w+)"', query))
    kept = {name for one in measurements if one in TABLES for name in _columns(TABLES[one])}
    return set(_QUOTED.findall(query)) - made - kept - (set(measurements) & TABLES.keys())


def ungrouped(query: str) -> set[str]:
    """Return the names that a query of InfluxQL groups by, matches or lists as tags, and that are none."""
    tags = {tag for one in re.findall(r'FROM "(\w+)"', query) for tag in TABLES[one].tags}
    parts = re.findall(r"GROUP BY (.*?)(?: fill\(|\) WHERE|$)", query)
    grouped = {name for part in parts for name in _QUOTED.findall(part)}
    matched = {*re.findall(r'"(\w+)" =~', query), *re.findall(r'KEY = "(\w+)"', query)}
    return (grouped | matched) - tags


def _columns(table: Table) -> set[str]:
    return {*table.columns, *table.tags} - {*table.unsent}
