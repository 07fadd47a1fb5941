"""`python -m tests.metric_page`: writes docs/metrics.md from the registry; a test compares the two."""

from __future__ import annotations

from pathlib import Path

from tradefan.metric_registry import METRICS, ONLY_WITH, USER_METRICS, Spec

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
_HEAD = """# Metrics

`GET /metrics` in Prometheus' text format, without a token. Written by `python -m tests.metric_page` from
`tradefan/metric_registry.py`; panels and alerts use these names and no others, and each is used by one at
least ([dashboards.md](dashboards.md), [alerts.md](alerts.md)).

Counters begin with the daemon, where nothing else is said. A child of a label is there from the start, so
that a rate over its first event has the zero before it; those of costs begin with the first parent of their
algorithm and instrument. Beside these come `process_*` and `python_gc_*` of the Prometheus client.

"""
_USER_HEAD = """
## Of your own process

A notebook or script that uses `tradefan.infra` ([python.md](python.md)) has these and no others, on a page of
its own. The hit rate of stored data is the hits by the sum of both.

"""
_ROWS_HEAD = "| name | kind | labels | what |\n|---|---|---|---|\n"


def page() -> str:
    """Return the page."""
    return _HEAD + _rows(METRICS) + _USER_HEAD + _rows(USER_METRICS)


def _rows(metrics: dict[str, Spec]) -> str:
    rows = []
    for name, spec in metrics.items():
        labels = ", ".join(spec.labels) or "-"
        needs = f" (with `{ONLY_WITH[name]}`)" if "." in ONLY_WITH.get(name, "") else ""
        rows.append(f"| `{spec.sample(name)}` | {spec.kind} | {labels} | {spec.text}{needs} |\n")
    return _ROWS_HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
