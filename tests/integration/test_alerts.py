"""Alerts: each fires on what it is about and is quiet otherwise, judged by Prometheus' own tool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.dashboards.names import FOREIGN, metric, samples
from tests.services.server import require

CONFIG = Path(__file__).resolve().parents[2] / "config"
RULES = CONFIG / "alerts" / "tradefan.yml"
OTHERS = {"up"}
"""Made by Prometheus itself."""


class Case(NamedTuple):
    """Series by name that make an alert fire, and such as do not; `at` is when it is looked at."""

    fires: dict[str, str]
    quiet: dict[str, str]
    at: str = "5m"


def one(series: str, fires: str, quiet: str) -> Case:
    return Case({series: fires}, {series: quiet})


def _acks(fast: str, slow: str) -> dict[str, str]:
    """Return how many acknowledgements of an account have come within so many seconds."""
    bucket = 'tradefan_order_ack_seconds_bucket{account="a",le="%s"}'
    return {bucket % "0.1": fast, bucket % "5.0": slow, bucket % "+Inf": slow}


# Values are of every 5 s: `0x60` is five minutes of 0, `0+1x60` one more each time.
CASES = {
    "DaemonDown": one('up{job="tradefan"}', "1x10 0x60", "1x60"),
    "StrategyNotRunning": one('tradefan_actor_up{actor="strategy:trend"}', "1x10 0x60", "1x10 0x5 1x60"),
    "DaemonRestarts": one(
        'process_start_time_seconds{job="tradefan"}', "1x10 2x10 3x10 4x30", "1x10 2x10 3x40"
    ),
    "PartRestarts": one('tradefan_actor_restarts_total{actor="oms"}', "0x20 0+1x40", "0x20 1x40"),
    "HighErrorRate": one('tradefan_actor_crashes_total{actor="oms"}', "0x20 0+1x40", "0x20 1x40"),
    "LoopStalled": one("tradefan_loop_stalls_total", "0x50 1x20", "1x60"),
    "HighLatency": Case(_acks("0+1x60", "0+10x60"), _acks("0+10x60", "0+10x60")),
    "ClockOff": one("tradefan_clock_offset_seconds", "0x30 -0.3x60", "0.2x60"),
    "ConfigRefused": one("tradefan_config_refused_total", "0x50 1x20", "3x60"),
    "DataOld": one('tradefan_feed_age_seconds{instrument="a"}', "0x30 0+5x60", "20x60"),
    "FeedNotLive": one('tradefan_feed_quality{instrument="a",status="LIVE"}', "1x10 0x60", "1x40 0x5 1x60"),
    "FeedGaps": one('tradefan_feed_gaps_total{instrument="a"}', "0x20 0+1x40", "0x20 2x40"),
    "OrdersInDoubt": one("tradefan_orders_in_doubt", "0x30 1x60", "0x30 1x3 0x60"),
    "HighRejectRate": Case(
        {
            'tradefan_refusals_total{reason="RISK_PRICE_BAND"}': "0+1.5x60",
            'tradefan_refusals_total{reason="NOT_READY"}': "0+1.5x60",
        },
        {'tradefan_refusals_total{reason="NOT_READY"}': "0+0.5x60"},
    ),
    "Overfilled": one("tradefan_overfills_total", "0x50 1x20", "1x60"),
    "ParentFailed": one("tradefan_parents_failed_total", "0x50 1x20", "1x60"),
    "JournalBehind": Case(
        {"tradefan_journal_lsn": "0+500x60", "tradefan_journal_durable_lsn": "5x60"},
        {"tradefan_journal_lsn": "0+500x60", "tradefan_journal_durable_lsn": "0+500x60"},
    ),
    "Killed": one('tradefan_mode{status="KILLED"}', "0x50 1x20", "0x60"),
    "TradingRestricted": one('tradefan_mode{status="REDUCE_ONLY"}', "0x10 1x60", "0x10 1x5 0x60"),
    "LimitNear": Case(
        {'tradefan_limit_used_ratio{account="a",limit="max_drawdown"}': "0.85x60"},
        {
            'tradefan_limit_used_ratio{account="a",limit="max_drawdown"}': "0.7x60",
            'tradefan_limit_used_ratio{account="a",limit="max_position"}': "1x60",
        },
    ),
    "LimitReached": Case(
        {'tradefan_limit_used_ratio{account="a",limit="max_drawdown"}': "1x60"},
        {
            'tradefan_limit_used_ratio{account="a",limit="max_drawdown"}': "0.99x60",
            'tradefan_limit_used_ratio{account="a",limit="max_position"}': "1x60",
        },
    ),
    "PositionOverLimit": one(
        'tradefan_limit_used_ratio{account="a",limit="max_position"}', "1.01x60", "1x60"
    ),
    "Drawdown": one('tradefan_drawdown_ratio{account="a"}', "0.11x60", "0.09x60"),
    "LowBalance": Case(
        {'tradefan_equity{account="a"}': "79x60", 'tradefan_day_equity{account="a"}': "100x60"},
        {'tradefan_equity{account="a"}': "81x60", 'tradefan_day_equity{account="a"}': "100x60"},
    ),
    "BooksDiffer": one("tradefan_books_differ", "1x60", "0x60"),
    "DiskLow": one("tradefan_disk_free_bytes", "1000000000x60", "3000000000x60"),
    "RecorderDown": one("tradefan_recorder_up", "0x60", "1x60"),
    "RowsLost": one('tradefan_store_rows_dropped_total{store="store"}', "0x50 9x20", "9x60"),
    "InfluxDown": one("tradefan_influx_up", "0x60", "1x60"),
    "PointsLost": one('tradefan_influx_points_dropped_total{measurement="trades"}', "0x50 9x20", "9x60"),
    "RedisDown": one("tradefan_redis_up", "0x60", "1x60"),
    "EntriesLost": one('tradefan_redis_points_dropped_total{measurement="trades"}', "0x50 9x20", "9x60"),
    "PointsAside": one('tradefan_influx_points_aside_total{measurement="trades"}', "0x50 9x20", "9x60"),
}


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_rules_when_read_then_each_has_a_case_a_severity_and_what_to_do() -> None:
    """Whoever is woken at night reads one line that says what to do first."""
    assert rules().keys() == CASES.keys()
    for name, rule in rules().items():
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert len(rule["annotations"]["summary"]) > 10, name
        assert len(rule["annotations"]["do"]) > 20, name


def test_rules_when_read_then_use_names_of_the_registry_alone() -> None:
    """A name that nobody emits would never fire, and nobody would notice."""
    for name, rule in rules().items():
        used = samples(rule["expr"])
        assert used, name
        for one_of_ours in used - FOREIGN:
            metric(one_of_ours)


@pytest.mark.slow
def test_rules_when_promtool_judges_them_then_each_fires_on_its_case_and_on_nothing_less(
    tmp_path: Path,
) -> None:
    """Expressions, spans and labels as Prometheus itself evaluates them."""
    promtool = require("promtool")
    tests = []
    for name, case in CASES.items():
        for series, firing in ((case.fires, True), (case.quiet, False)):
            count = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
            tests.append(
                {
                    "interval": "5s",
                    "input_series": [{"series": key, "values": values} for key, values in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": count,
                            "eval_time": case.at,
                            "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
                        }
                    ],
                }
            )
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5s", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_prometheus_when_its_file_is_checked_then_finds_the_rules() -> None:
    """config/prometheus.yml is whole and leads to the alerts."""
    promtool = require("promtool")
    command = [promtool, "check", "config", str(CONFIG / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CASES)} rules found" in done.stdout
