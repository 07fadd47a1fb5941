"""`tradefan.infra` without a daemon: what a request says, what answers become, how long one waits."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.shell import Daemon
from tradefan import infra
from tradefan.client import Client, RateLimited
from tradefan.data_dir import DataDir
from tradefan.environment import Environment
from tradefan.errors import Outage, Refused
from tradefan.infra import InfrastructureManager, OrderRequest, OrderSide, OrderType
from tradefan.infra_orders import OrderManager
from tradefan.query_commands import make_queries
from tradefan.stores.queries import Question
from tradefan.units import DAY, parse_duration

ROOT = Path(__file__).resolve().parents[2]
BTC = "BTC/USDT"
BUSY = {"error": {"code": "RATE_LIMIT", "text": "more than 20"}}


# --- requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (5, "5"),
        ("0.10", "0.10"),
        (Decimal("0.10"), "0.10"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (np.float64(1e-7), "0.0000001"),
        (np.int64(5), "5"),
        (np.array([42280.5])[0], "42280.5"),
    ],
)
def test_request_when_a_number_is_of_any_kind_then_it_means_what_it_prints(number: Any, text: str) -> None:
    """NumPy's own, too: each number of an answer is one."""
    body = OrderRequest(BTC, OrderSide.BUY, OrderType.LIMIT, number, limit_price=number).body()
    assert (body["quantity"], body["limit_price"]) == (text, text)


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [(300, 300_000), (90.5, 90_500), (np.float64(0.25), 250), (np.int64(60), 60_000), (0.1 + 0.2, 300)],
)
def test_request_when_it_lasts_seconds_of_any_kind_then_the_daemon_reads_as_many(
    seconds: Any, ms: int
) -> None:
    """A part of a second is no reason to refuse."""
    body = OrderRequest(BTC, OrderSide.BUY, OrderType.TWAP, 1, twap_duration=seconds).body()
    assert parse_duration(body["settings"]["duration"]) == ms * 1_000_000


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), np.float64("nan")])
def test_request_when_it_lasts_no_time_that_is_known_then_refused(seconds: float) -> None:
    """In words, before anything is sent."""
    with pytest.raises(Refused, match="BAD_DURATION: twap_duration"):
        OrderRequest(BTC, OrderSide.BUY, OrderType.TWAP, 1, twap_duration=seconds).body()


def test_request_when_whole_then_it_is_what_the_api_takes() -> None:
    """All fields; what is not given is not sent, and settings of the caller's are not changed."""
    settings = {"display": "0.1"}
    request = OrderRequest(
        BTC, OrderSide.SELL, OrderType.ICEBERG, 1, ref="mine", reason="r", reduce_only=True, settings=settings
    )
    assert request.body() == {
        "quantity": "1",
        "symbol": BTC,
        "side": "sell",
        "algo": "iceberg",
        "settings": {"display": "0.1"},
        "reason": "r",
        "reduce_only": True,
        "ref": "mine",
    }
    assert "duration" not in settings
    assert OrderRequest(BTC, "buy", quantity=1).body().keys().isdisjoint({"ref", "limit_price"})


# --- waiting --------------------------------------------------------------------------------------------


class Orders:
    """A manager whose daemon answers with these, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.answers = [*answers]

    async def get(self, path: str) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        raise NotImplementedError

    async def submit_order(self, request: OrderRequest) -> dict[str, Any]:
        raise NotImplementedError


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long one has slept, without sleeping."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("tradefan.infra_orders.asyncio.sleep", sleep)
    return pauses


async def test_wait_when_an_order_takes_its_time_then_looks_less_and_less_often(slept: list[float]) -> None:
    """From a tenth of a second up to one: a look is a request of the operator's allowance."""
    done = {"phase": "DONE"}
    orders = Orders(*[{"phase": "WORKING"}] * 10, done)
    assert await OrderManager(orders).wait("p1") == done
    assert slept[:3] == pytest.approx([0.1, 0.15, 0.225])
    assert slept[-3:] == [1, 1, 1]


async def test_wait_when_the_daemon_is_asked_too_much_then_waits_as_long_as_it_says(
    slept: list[float],
) -> None:
    """The order goes on, and so does who waits; any other refusal ends it."""
    busy = RateLimited("RATE_LIMIT", "more than 20 requests in a second", 3)
    soon = RateLimited("RATE_LIMIT", "more than 20 requests in a second", 0)
    done = {"phase": "DONE"}
    assert await OrderManager(Orders(busy, soon, {"phase": "WORKING"}, done)).wait("p1") == done
    assert slept == [3, 1, 1]
    with pytest.raises(Refused, match="UNKNOWN_PARENT"):
        await OrderManager(Orders(Refused("UNKNOWN_PARENT", "no p1"))).wait("p1")


# --- the daemon's answers -------------------------------------------------------------------------------


def attached(daemon: Daemon) -> InfrastructureManager:
    manager = InfrastructureManager()
    manager._client = Client(daemon.url, lambda: "token")
    return manager


async def test_answer_when_too_many_then_says_when_to_come_again(daemon: Daemon) -> None:
    """What `Retry-After` says, as a refusal of its own kind."""
    daemon.answers["/status"] = (429, BUSY)
    with pytest.raises(RateLimited) as no:
        await attached(daemon).get("/status")
    assert (no.value.code, no.value.text, no.value.retry_after_s) == ("RATE_LIMIT", "more than 20", 2)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [(409, Refused, "^DUPLICATE: no$"), (500, Outage, "DUPLICATE: no"), (503, Outage, "DUPLICATE: no")],
)
async def test_answer_when_no_then_a_refusal_or_nobody_knows(
    daemon: Daemon, status: int, kind: type[Exception], text: str
) -> None:
    """Behind 500 an order may or may not be there."""
    daemon.answers["/status"] = (status, {"error": {"code": "DUPLICATE", "text": "no"}})
    with pytest.raises(kind, match=text):
        await attached(daemon).get("/status")


async def test_health_when_something_is_down_then_its_checks_say_what(daemon: Daemon) -> None:
    """They are wanted exactly then; of a daemon that is gone there is a reason."""
    checks = {"market:binance": {"status": "down", "text": "next try"}}
    daemon.answers["/health"] = (503, {"status": "down", "checks": checks})
    manager = attached(daemon)
    assert await manager.health_check() == {"status": "down", "checks": checks}
    daemon.answers["/health"] = (503, {"error": {"code": "NOT_READY", "text": "starting"}})
    assert await manager.health_check() == {
        "status": "down",
        "checks": {},
        "reason": "NOT_READY: starting",
    }


async def test_health_when_too_many_ask_then_nobody_says_that_it_is_down(daemon: Daemon) -> None:
    """How it is nobody knows; when to ask again is known."""
    daemon.answers["/health"] = (429, BUSY)
    with pytest.raises(RateLimited) as no:
        await attached(daemon).health_check()
    assert (no.value.code, no.value.retry_after_s) == ("RATE_LIMIT", 2)


# --- attaching ------------------------------------------------------------------------------------------


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, ...]:
    return (f"data_dir={tmp_path / 'data'}",)


def runs_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let a daemon of that environment be there."""
    monkeypatch.setattr(DataDir, "running", lambda _: SimpleNamespace(url=url))


async def test_initialize_when_the_daemon_there_is_not_ready_then_attaches_all_the_same(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    """Its data and its health are wanted most where a feed does not come."""
    runs_at(monkeypatch, daemon.url)
    down = {"status": "down", "checks": {"market:binance": {"status": "down"}}}
    daemon.answers |= {"/health": (503, down), "/ready": (503, {"ready": False, "waiting": {}})}
    manager = await InfrastructureManager().initialize("development", config=ROOT / "config", sets=sets)
    assert manager.attached
    assert await manager.health_check() == down


async def test_initialize_when_the_daemon_there_says_nothing_then_an_outage_names_the_log(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    """After the time that it has."""
    runs_at(monkeypatch, daemon.url)
    monkeypatch.setattr(infra, "READY_S", 0.0)
    with pytest.raises(Outage, match=r"was not answering in 0 s: see .*tradefan\.log"):
        await InfrastructureManager().initialize("development", config=ROOT / "config", sets=sets)


class Started:
    """A daemon that was started and is never ready."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.told: list[str] = []

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.told.append("terminate")

    def communicate(self, timeout: float | None = None) -> None:
        self.told.append("waited")


async def test_initialize_when_its_daemon_is_never_ready_then_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    """Nobody has a hand on it any more: it must not trade on alone."""
    started = Started()
    monkeypatch.setattr(infra, "_start", lambda _: started)
    monkeypatch.setattr(infra, "READY_S", 0.0)
    manager = InfrastructureManager()
    with pytest.raises(Outage, match="was not ready in 0 s"):
        await manager.initialize("development", config=ROOT / "config", sets=sets)
    assert started.told == ["terminate", "waited"]
    assert not manager.attached


def answers_in_turn(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, path: str, *answers: Any) -> list[float]:
    """Let each sleep bring the next answer of a path; return how long one has slept."""
    pauses: list[float] = []
    coming = iter(answers)
    daemon.answers[path] = next(coming)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        daemon.answers[path] = next(coming)

    monkeypatch.setattr("tradefan.infra.asyncio.sleep", sleep)
    return pauses


async def test_initialize_when_its_daemon_is_asked_too_much_then_waits_as_long_as_it_says(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    """Who else asks is no reason to end it; and each look is one request."""
    started = Started()

    def start(_: Environment) -> Started:
        runs_at(monkeypatch, daemon.url)
        return started

    monkeypatch.setattr(infra, "_start", start)
    waiting, ready = (503, {"ready": False, "waiting": {}}), (200, {"ready": True, "waiting": {}})
    slept = answers_in_turn(monkeypatch, daemon, "/ready", waiting, (429, BUSY), ready)
    manager = await InfrastructureManager().initialize("development", config=ROOT / "config", sets=sets)
    assert slept == [infra.LOOK_S, 2]
    assert [path for _, path, _, _ in daemon.asked] == ["/ready"] * 3
    assert (manager.attached, started.told) == (False, [])


async def test_initialize_when_the_daemon_there_is_asked_too_much_then_attaches_later(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    """As soon as it says how it is."""
    runs_at(monkeypatch, daemon.url)
    well = (200, {"status": "ok", "checks": {}})
    slept = answers_in_turn(monkeypatch, daemon, "/health", (429, BUSY), well)
    manager = await InfrastructureManager().initialize("development", config=ROOT / "config", sets=sets)
    assert (manager.attached, slept) == (True, [2])


# --- data -----------------------------------------------------------------------------------------------


async def test_store_when_a_second_manager_is_told_then_its_own_environment_has_the_bars(
    tmp_path: Path,
) -> None:
    """Not that of the manager which the process has in common."""
    manager = InfrastructureManager()
    sets = (f"data_dir={tmp_path / 'second'}",)
    manager._environment = environment = Environment.load("development", ROOT / "config", sets)
    manager._queries = make_queries(environment)
    row = {"time": DAY, "open": 1, "high": 2, "low": 1, "close": 1, "volume": 1}
    assert await manager.store_market_data(BTC, "1d", [row | {"time": 20_000 * DAY}]) == 1
    found = await manager.queries.ask(Question("bars", BTC, "1d", source="user"))
    assert found["open_ns"].tolist() == [20_000 * DAY]
