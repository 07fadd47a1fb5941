"""Dashboards: the files are those of the texts, and every name in a query is one that somebody makes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.dashboards.asking import Answer, Chosen, interval_s, macros
from tests.dashboards.files import FOLDER, files
from tests.dashboards.names import FOREIGN, labels, metric, narrowed, samples, strangers, ungrouped
from tests.dashboards.panels import INFLUX, PROMETHEUS
from tests.dashboards.reading import dashboards
from tradefan.metric_registry import METRICS
from tradefan.stores.schema import MEASUREMENTS

CONFIG = FOLDER.parents[1]
PROVISIONING = CONFIG / "grafana" / "provisioning"
JSON = dict[str, Any]
WRITTEN: dict[str, JSON] = {name: json.loads(text) for name, text in files().items()}


def panels() -> Iterator[tuple[str, JSON]]:
    """Give every panel with its place."""
    for name, dashboard in WRITTEN.items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


def expressions() -> Iterator[str]:
    """Give every expression of PromQL, those of variables and alerts, too."""
    for _, panel in panels():
        yield from (target["expr"] for target in panel["targets"] if "expr" in target)
    for dashboard in WRITTEN.values():
        yield from (mark["expr"] for mark in dashboard["annotations"]["list"] if "expr" in mark)
        for variable in dashboard["templating"]["list"]:
            if variable["datasource"]["type"] == "prometheus":
                yield variable["definition"]
    for group in yaml.safe_load((CONFIG / "alerts" / "tradefan.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def influx_queries() -> Iterator[str]:
    for _, panel in panels():
        yield from (target["query"] for target in panel["targets"] if "query" in target)
    for dashboard in WRITTEN.values():
        for variable in dashboard["templating"]["list"]:
            if variable["datasource"]["type"] == "influxdb":
                yield variable["definition"]


# --- the files ------------------------------------------------------------------------------------------


def test_files_then_are_those_of_the_texts() -> None:
    """`python -m tests.dashboards` writes them."""
    kept = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    assert kept == files()


def test_dashboards_when_read_then_places_are_free_and_each_panel_says_what_it_is() -> None:
    """Nothing lies upon each other or beyond the screen, and a row is no wall."""
    for name, dashboard in WRITTEN.items():
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids), name
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = set(
                itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
            )
            assert not taken & cells, f"{name}: {panel['title']}"
            assert max(x for x, _ in cells) < 24, f"{name}: {panel['title']}"
            taken |= cells
        titles = [panel["title"] for panel in dashboard["panels"]]
        assert len(titles) < 40, name
        assert len(set(titles)) == len(titles), name
        assert (dashboard["refresh"], dashboard["uid"]) == ("5s", name.removesuffix(".json"))
    for where, panel in panels():
        assert panel["description"].endswith("."), where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["targets"], where


def test_data_sources_when_provisioned_then_are_those_that_panels_name() -> None:
    """By their uids; what Grafana fills in is a variable that has its default, and no secret is in a file."""
    text = (PROVISIONING / "datasources" / "tradefan.yml").read_text()
    sources = {one["uid"]: one["type"] for one in yaml.safe_load(text)["datasources"]}
    assert sources == {source.uid: source.type for source in (PROMETHEUS, INFLUX)}
    named = {(panel["datasource"]["uid"], panel["datasource"]["type"]) for _, panel in panels()}
    assert named == set(sources.items())
    text += (PROVISIONING / "dashboards" / "tradefan.yml").read_text()
    lines = (CONFIG / "grafana" / "defaults.env").read_text().splitlines()
    defaults = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert set(re.findall(r"^[^#\n]*\$\{(\w+)\}", text, re.MULTILINE)) == defaults.keys()
    assert defaults["INFLUXDB_PASSWORD"] == ""


def test_limits_when_their_panel_says_who_is_woken_then_as_the_alerts_do() -> None:
    """The lower line wakes nobody for a position: it may stay at its limit."""
    rules = [expr for expr in expressions() if re.match(r"tradefan_limit_used_ratio\{.*\} >", expr)]
    assert rules == [
        'tradefan_limit_used_ratio{limit!~"max_position.*"} > 0.8',
        'tradefan_limit_used_ratio{limit!~"max_position.*"} >= 1',
        'tradefan_limit_used_ratio{limit=~"max_position.*"} > 1',
    ]
    [said] = [panel["description"] for place, panel in panels() if place.endswith(": Limits over time")]
    assert said.endswith("Beyond the lines somebody is woken; for a position beyond the upper one only.")


# --- names ----------------------------------------------------------------------------------------------


def test_metrics_when_panels_and_alerts_are_read_then_each_is_known_and_each_is_used() -> None:
    """What nobody makes shows nothing for ever; what nobody looks at need not be measured."""
    used = {name for expr in expressions() for name in samples(expr)}
    ours = {name for name in used if name.startswith("tradefan_")}
    assert {metric(name) for name in ours} == METRICS.keys()
    assert used - ours == FOREIGN


def test_metric_when_nobody_makes_it_then_refused() -> None:
    """Also one of ours with the end of another kind."""
    assert metric("tradefan_order_ack_seconds_bucket") == "order_ack_seconds"
    for name in (
        "tradefan_orders",
        "tradefan_equity_total",
        "tradefan_order_ack_seconds",
        "tradefan_nothing",
    ):
        with pytest.raises(KeyError):
            metric(name)


def test_legends_when_they_name_a_label_then_the_query_has_it() -> None:
    """`{{account}}` of a series without an account is shown as it stands."""
    for where, panel in panels():
        for target in panel["targets"]:
            if "expr" in target:
                wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                known = {label for name in samples(target["expr"]) for label in labels(name)}
                assert wanted <= known | {"le", "generation"}, where
            else:
                wanted = set(re.findall(r"\$tag_(\w+)", target["alias"]))
                grouped = set(re.findall(r'"(\w+)"', target["query"].rpartition("GROUP BY")[2]))
                assert wanted <= grouped, where


def test_points_when_influx_is_asked_then_each_name_is_one_of_the_schema() -> None:
    """Measurements, fields and tags of stores/schema.py; what is grouped and matched is a tag."""
    asked = [*influx_queries()]
    assert len(asked) > 30
    for query in asked:
        assert (strangers(query), ungrouped(query)) == (set(), set()), query


def test_points_when_influx_is_asked_then_each_measurement_is_looked_at() -> None:
    """What nobody looks at need not be written."""
    asked = {name for query in influx_queries() for name in re.findall(r'FROM "(\w+)"', query)}
    assert asked == {table.name for table in MEASUREMENTS.values()}


def test_points_when_a_name_is_unknown_or_no_tag_then_said() -> None:
    """The test above sees what it should."""
    assert strangers('SELECT last("equty") FROM "equity" WHERE $timeFilter') == {"equty"}
    assert strangers('SELECT last("equity") FROM "equities" WHERE $timeFilter') == {"equity", "equities"}
    assert strangers('SELECT "lines" FROM "tca"') == {"lines"}
    assert strangers('SELECT sum("v") FROM (SELECT "price" * "qty" AS "v" FROM "fills")') == set()
    assert ungrouped('SELECT sum("qty") FROM "fills" GROUP BY time(1s), "price" fill(none)') == {"price"}
    assert ungrouped('SELECT "qty" FROM "fills" WHERE "fee_asset" =~ /^a$/') == {"fee_asset"}
    assert ungrouped('SHOW TAG VALUES FROM "fills" WITH KEY = "qty"') == {"qty"}


def test_variables_when_a_metric_has_their_labels_then_narrow_it() -> None:
    """And no other; a matcher that stands there stays."""
    chosen = ["daemon", "account", "strategy", "venue", "instrument"]
    assert narrowed("tradefan_ready", chosen) == 'tradefan_ready{instance="$daemon"}'
    assert narrowed('tradefan_feed_quality{status="LIVE"} * 2', chosen[1:]) == (
        'tradefan_feed_quality{status="LIVE",instrument=~"$venue:.*",instrument=~"$instrument"} * 2'
    )
    assert narrowed("sum by (owner) (tradefan_position_qty)", ["strategy"]) == (
        'sum by (owner) (tradefan_position_qty{owner=~"$strategy"})'
    )
    assert all(dashboard.variables for dashboard in dashboards())


# --- as Grafana replaces it -------------------------------------------------------------------------------


def test_macros_when_replaced_then_as_grafana_does() -> None:
    """A nice interval near a pixel, never below the scrapes; four scrapes for a rate."""
    assert [interval_s(3600, 8, 5), interval_s(86_400, 24, 1), interval_s(21_600, 8, 5)] == [5, 60, 30]
    assert macros((1000.0, 4600.0), 5) == {
        "__rate_interval": "20s",
        "__interval": "5s",
        "__range": "3600s",
        "timeFilter": "time >= 1000000ms and time <= 4600000ms",
    }
    assert macros((0, 1), 30)["__rate_interval"] == "35s"


def test_choices_when_put_into_a_query_then_escaped_as_grafana_does() -> None:
    """A string of PromQL escapes the backslash again; a pattern of InfluxQL ends at a slash."""
    one, two = Chosen(["binance:BTC/USDT"], many=True), Chosen(["a.b", "c"], many=True)
    assert (one.in_promql(), one.regex()) == ("binance:BTC/USDT", r"binance:BTC\/USDT")
    assert (two.in_promql(), two.regex()) == (r"(a\\.b|c)", r"(a\.b|c)")
    assert Chosen(["127.0.0.1:8000"], many=False).in_promql() == "127.0.0.1:8000"
    assert Chosen([".*"], many=True).in_promql() == Chosen([".*"], many=True).regex() == ".*"


def test_answer_when_empty_or_wrong_then_not_good() -> None:
    """Nothing but numbers counts."""
    good = Answer("d", "p", "", "prometheus", "q", 1, 1)
    assert good.good
    assert not good._replace(samples=0).good
    assert not good._replace(error="no").good
