"""Metrics and alerts of a user's process: functions that raise, hang, wait or come late disturb nobody."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tradefan import infra_monitoring
from tradefan.errors import Refused
from tradefan.infra_monitoring import AlertSeverity, MonitoringSystem
from tradefan.metric_registry import METRICS, USER_METRICS

WARNING = AlertSeverity.WARNING


@pytest.fixture
def monitoring() -> MonitoringSystem:
    return MonitoringSystem(lambda: (3, 1))


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set, it lets go whoever hangs; a look waits for no more than a moment."""
    monkeypatch.setattr(infra_monitoring, "TIMEOUT_S", 0.05)
    event = threading.Event()
    yield event
    event.set()


def firing(monitoring: MonitoringSystem) -> list[str]:
    return [alert.name for alert in monitoring.look()]


def samples(monitoring: MonitoringSystem) -> dict[str, float]:
    families = text_string_to_metric_families(monitoring.text())
    return {
        f"{one.name} {' '.join(value for _, value in sorted(one.labels.items()))}".strip(): one.value
        for family in families
        for one in family.samples
        if not one.name.endswith("_created")
    }


# --- metrics --------------------------------------------------------------------------------------------


def test_page_when_everything_was_used_then_it_is_the_registry(monitoring: MonitoringSystem) -> None:
    """Each family with its kind, text and labels; none is missing, and none is the daemon's."""
    monitoring.metrics_collector.record_order("FILLED", "BTC/USDT", "mine")
    monitoring.metrics_collector.update_pnl(12.5, strategy="mine", symbol="BTC/USDT")
    monitoring.add_business_alert("quiet", lambda: False, WARNING)
    found = {
        family.name: (
            family.type,
            family.documentation,
            {label for one in family.samples for label in one.labels},
        )
        for family in text_string_to_metric_families(monitoring.text())
        if not family.name.endswith("_created")
    }
    assert found == {
        f"tradefan_{name}": (spec.kind, spec.text, {*spec.labels}) for name, spec in USER_METRICS.items()
    }
    assert USER_METRICS.keys().isdisjoint(METRICS)
    assert samples(monitoring) == {
        "tradefan_user_orders_total BTC/USDT mine FILLED": 1,
        "tradefan_user_pnl BTC/USDT mine": 12.5,
        "tradefan_user_alert quiet": 0,
        "tradefan_user_cache_hits_total": 3,
        "tradefan_user_cache_misses_total": 1,
    }


# --- alerts ---------------------------------------------------------------------------------------------


def test_alert_when_its_function_says_so_then_fires_until_it_does_not(
    monitoring: MonitoringSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """Each change is one line of the severity's level."""
    caplog.set_level(logging.INFO, "tradefan.user")
    answers = [[], [1], [1], []]
    monitoring.add_business_alert("full", lambda: answers.pop(0), AlertSeverity.CRITICAL)
    assert [firing(monitoring) for _ in range(4)] == [[], ["full"], ["full"], []]
    assert [(line.levelno, line.message) for line in caplog.records] == [
        (logging.CRITICAL, "alert full fires"),
        (logging.INFO, "alert full is over"),
    ]
    with pytest.raises(Refused, match="BAD_ALERT"):
        monitoring.add_business_alert("full", lambda: True, WARNING)
    with pytest.raises(ValueError, match="loud"):
        monitoring.add_business_alert("other", lambda: True, "loud")  # type: ignore[arg-type]


def test_alert_when_its_function_raises_then_nothing_changes_and_the_log_says_why_once(
    monitoring: MonitoringSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what ends a program, or a truth that nobody knows."""

    def leave() -> bool:
        raise SystemExit(3)

    monitoring.add_business_alert("leaves", leave, WARNING)
    monitoring.add_business_alert("divides", lambda: 1 / 0, WARNING)
    monitoring.add_business_alert("fires", lambda: True, WARNING)
    assert [firing(monitoring), firing(monitoring)] == [["fires"], ["fires"]]
    said = [line.message for line in caplog.records if "cannot" in line.message]
    assert said == [
        "alert leaves cannot be looked at: SystemExit: 3",
        "alert divides cannot be looked at: ZeroDivisionError: division by zero",
    ]


def test_alert_when_its_function_hangs_then_it_is_not_called_again_and_holds_no_other_up(
    monitoring: MonitoringSystem, hanging: threading.Event
) -> None:
    """One thread stays behind, not one for each look; what it says in the end counts."""
    calls: list[str] = []

    def hang() -> bool:
        calls.append("called")
        return hanging.wait(60)

    monitoring.add_business_alert("hangs", hang, WARNING)
    monitoring.add_business_alert("fires", lambda: True, WARNING)
    before = threading.active_count()
    assert [firing(monitoring) for _ in range(20)] == [["fires"]] * 20
    assert (calls, threading.active_count()) == (["called"], before + 1)
    assert monitoring.alerts["hangs"].reason == "no answer within 0.05 s"
    hanging.set()
    call = monitoring.alerts["hangs"].call
    assert call is not None
    call.result(10)
    assert firing(monitoring) == ["hangs", "fires"]
    assert monitoring.alerts["hangs"].reason == ""


def test_alert_when_its_function_is_async_then_it_is_awaited(monitoring: MonitoringSystem) -> None:
    """A coroutine that nobody awaits is true for ever."""

    async def quiet() -> bool:
        await asyncio.sleep(0)
        return False

    async def loud() -> bool:
        await asyncio.sleep(0)
        return True

    monitoring.add_business_alert("quiet", quiet, WARNING)
    monitoring.add_business_alert("loud", loud, WARNING)
    assert firing(monitoring) == ["loud"]


async def test_look_when_a_loop_runs_then_it_works_as_without(monitoring: MonitoringSystem) -> None:
    """Each cell of a notebook is inside of one."""
    monitoring.add_business_alert("fires", lambda: True, WARNING)
    assert firing(monitoring) == ["fires"]


def test_watcher_when_an_alert_is_added_while_it_looks_then_it_lives_and_sees_that_one(
    monitoring: MonitoringSystem,
) -> None:
    """The page of the documentation adds alerts behind `start`."""
    inside, go_on, seen = threading.Event(), threading.Event(), threading.Event()

    def slow() -> bool:
        inside.set()
        return go_on.wait(10)

    def late() -> bool:
        seen.set()
        return True

    monitoring.add_business_alert("slow", slow, WARNING)
    monitoring.start(every_s=0.001)
    try:
        assert inside.wait(10)
        monitoring.add_business_alert("late", late, AlertSeverity.CRITICAL)
        go_on.set()
        assert seen.wait(10)
    finally:
        monitoring.stop()
    assert firing(monitoring) == ["slow", "late"]


def test_watcher_when_a_look_fails_then_it_looks_again(
    monitoring: MonitoringSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without threads has some again a moment later."""
    looks, again = [RuntimeError("can't start new thread")], threading.Event()

    def look() -> None:
        if looks:
            raise looks.pop()
        again.set()

    monkeypatch.setattr(monitoring, "look", look)
    monitoring.start(every_s=0.001)
    try:
        assert again.wait(10)
    finally:
        monitoring.stop()
