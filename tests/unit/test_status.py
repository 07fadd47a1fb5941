"""Pictures and metrics of a wired system in virtual time: figures that agree, names that stay."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from tests.metric_page import PAGE, page
from tests.simulation.world import T0, World, development, recordings
from tradefan.actors.oms_tca_state import BPS_BUCKETS, CostCounts
from tradefan.drivers.watchdog import Watchdog
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.messages.account import SetMode
from tradefan.messages.control import KillSwitch
from tradefan.messages.orders import SubmitOrder
from tradefan.messages.wire import LinkDown
from tradefan.metric_registry import METRICS, ONLY_WITH
from tradefan.metrics import REASONS
from tradefan.runtime.life import Stopping
from tradefan.runtime.system import RIM
from tradefan.screen import status_screen
from tradefan.status import Picture
from tradefan.telemetry import start_logging
from tradefan.units import SECOND, AccountId, InstrumentId, OwnerId, iso

ROOT = Path(__file__).resolve().parents[2]
# DOMAIN.md, part Faces.
PROMISED = """
    schema environment paper uptime_s config_id mode equity today drawdown feeds positions parents
    orders fills refusals actors stores
"""
LABELS = "venue account instrument owner side status actor lane algo limit store measurement pool reason"
BTC = InstrumentId("binance:BTC/USDT")
ETH = InstrumentId("binance:ETH/USDT")
EMA_OFF = "strategies.ema_cross_eth=null"


class Seen:
    """A world and the pictures of it."""

    def __init__(self, folder: Path) -> None:
        self.world = World(development(EMA_OFF), folder, recordings(60 * SECOND), history_ns=5 * SECOND)
        environment = Environment.load("development", ROOT / "config", (EMA_OFF, f"data_dir={folder}"))
        self.log = start_logging(folder / "log", "info", console=False)
        self.picture = Picture(
            environment,
            self.world.kernel,
            self.world.plan,
            lambda: self.world.driver.now_ns,
            Watchdog(1, lambda *_: None),
            self.log,
            self.world.driver.hosted.latch,
        )

    def links_die(self, name: str, times: int) -> None:
        """Let a link end so many times, each time as soon as it runs again."""
        kernel, driver = self.world.kernel, self.world.driver
        for _ in range(times):
            generation = kernel.ports[kernel.refs[name]].generation
            driver.inject(RIM, LinkDown(name, generation, "scripted"))
            driver.settle()


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    found = Seen(tmp_path)
    yield found
    found.log.stop()
    found.world.crash()


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A system that has bought its position; only to be looked at."""
    found = Seen(tmp_path_factory.mktemp("trading"))
    found.world.run_until(found.world.ready)
    found.world.run_until(lambda: found.world.view("oms").fills > 0)
    found.world.run(3)
    yield found
    found.log.stop()
    found.world.crash()


def test_pictures_when_nothing_has_started_then_say_so(seen: Seen) -> None:
    """No picture needs an actor: the first request may come before the first step."""
    picture = seen.picture
    assert picture.health()["status"] == "down"
    assert {"oms": "DOWN", "journal": "DOWN", "market:binance": "DOWN"}.items() <= picture.ready()[
        "waiting"
    ].items()
    status = picture.status()
    assert (status["equity"], status["positions"], status["fills"]) == ([], [], {"total": None, "last": []})
    assert status["mode"]["mode"] == "CANCEL_ONLY"
    assert picture.orders() == {"orders": [], "more_open": 0, "more_done": 0}
    assert picture.order("p1") is None
    assert b"tradefan_actor_up" in picture.metrics()


def test_status_when_trading_then_carries_what_was_promised(trading: Seen) -> None:
    """Other programs rely on these names."""
    status = trading.picture.status()
    assert [name for name in PROMISED.split() if name not in status] == []
    assert (status["schema"], status["environment"], status["paper"], status["ready"]) == (
        1,
        "development",
        True,
        True,
    )
    assert {row["state"] for row in (*status["actors"], *status["links"], *status["stores"])} == {"READY"}
    assert status["more"] == {"positions": 0, "holdings": 0, "parents": 0, "orders": 0}
    assert trading.picture.ready() == {"ready": True, "waiting": {}}
    health = trading.picture.health()
    assert (health["status"], {check["status"] for check in health["checks"].values()}) == ("ok", {"ok"})


def test_status_when_trading_then_its_figures_agree_with_each_other(trading: Seen) -> None:
    """Position, equity, today and drawdown are views of one book."""
    status = trading.picture.status()
    (position,) = status["positions"]
    assert (position["owner"], position["instrument"]) == ("rebalance_btc", "binance:BTC/USDT")
    worth = position["qty"] * (position["mark"] - position["avg_px"])
    assert abs(position["unrealised"] - worth) < Decimal("0.000001")
    (equity,), (today,), (drawdown,) = status["equity"], status["today"], status["drawdown"]
    assert today["since"] == iso(T0 // (86_400 * SECOND) * 86_400 * SECOND)
    assert today["net"] == equity["equity"] - 1_000_000
    assert abs(today["gross"] - today["fees"] - today["net"]) < Decimal("0.0000001")
    assert today["fees"] == equity["fees"] > 100
    assert drawdown["value"] == round(1 - equity["equity"] / drawdown["peak"], 8)
    assert drawdown["limit"] == Decimal("0.2")
    assert Decimal("0.14") < equity["exposure"] < Decimal("0.16")


def test_status_when_trading_then_the_last_fills_stand_newest_first(trading: Seen) -> None:
    """At most twenty, of all that were booked; they are those of the order."""
    fills = trading.picture.status()["fills"]
    assert len(fills["last"]) == min(20, fills["total"])
    times = [fill["at"] for fill in fills["last"]]
    assert times == sorted(times, reverse=True)
    assert {(fill["owner"], fill["side"], fill["liquidity"]) for fill in fills["last"]} == {
        ("rebalance_btc", "buy", "taker")
    }
    (parent,) = trading.picture.orders()["orders"]
    order = trading.picture.order(parent["parent_id"])
    assert order is not None
    (child,) = order["children_orders"]
    assert {fill["client_order_id"] for fill in fills["last"]} == {child["client_order_id"]}
    assert (child["cum_qty"], order["status"], order["progress"]) == (order["order_qty"], "FILLED", 1.0)


def test_resolve_when_the_words_name_nothing_then_refused(trading: Seen) -> None:
    """A user says BTC/USDT; the only account need not be named."""
    assert trading.picture.resolve("BTC/USDT", None) == ("paper:main", "binance:BTC/USDT")
    assert trading.picture.resolve("binance:BTC/USDT", "paper:main")[0] == "paper:main"
    with pytest.raises(Refused, match=r"UNKNOWN_INSTRUMENT.*did you mean 'BTC/USDT'"):
        trading.picture.resolve("BTC/USD", None)
    with pytest.raises(Refused, match=r"UNKNOWN_ACCOUNT.*did you mean 'paper:main'"):
        trading.picture.resolve("BTC/USDT", "paper:man")


# --- parts that die -------------------------------------------------------------------------------------


def states(seen: Seen, key: str) -> dict[str, tuple[str, int]]:
    return {row["name"]: (row["state"], row["restarts"]) for row in seen.picture.status()[key]}


def test_strategy_when_it_crashes_then_it_alone_is_restarted_and_that_is_seen(seen: Seen) -> None:
    """Status and metric name it; everybody else goes on."""
    world = seen.world
    world.run_until(world.ready)
    before = states(seen, "actors")
    world.break_actor("strategy:rebalance_btc")
    world.run(5)
    after = states(seen, "actors")
    assert after.pop("strategy:rebalance_btc")[1] == 1
    before.pop("strategy:rebalance_btc")
    assert after == before
    metrics = values(seen)
    assert metrics["tradefan_actor_restarts_total", "strategy:rebalance_btc"] == 1
    assert metrics["tradefan_actor_crashes_total", "strategy:rebalance_btc"] == 1
    assert sum(value for (name, _), value in metrics.items() if name == "tradefan_actor_crashes_total") == 1
    assert seen.picture.ready()["ready"]


def test_link_when_it_dies_again_and_again_then_it_is_named_until_its_next_try(seen: Seen) -> None:
    """Ready and health say which link is dead and when it is tried again; then the feed recovers."""
    world = seen.world
    world.run_until(world.ready)
    seen.links_die("market:binance", 6)
    waiting, health = seen.picture.ready()["waiting"], seen.picture.health()
    assert waiting["market:binance"].startswith("DOWN: next try at 20")
    assert (health["status"], health["checks"]["market:binance"]["status"]) == ("down", "down")
    assert values(seen)["tradefan_actor_up", "market:binance"] == 0
    world.run_until(world.ready)
    assert (seen.picture.ready()["ready"], seen.picture.health()["status"]) == (True, "ok")


def test_risk_desk_when_down_then_money_is_unknown_and_nothing_else_is_made_up(seen: Seen) -> None:
    """Numbers that nobody stands behind are absent, not zero."""
    world = seen.world
    world.run_until(world.ready)
    for _ in range(4):
        world.break_actor("risk_desk")
        world.run(1.1)
    assert states(seen, "actors")["risk_desk"][0] == "DOWN"
    status = seen.picture.status()
    assert (status["equity"], status["today"], status["drawdown"], status["limits"]) == ([], [], [], [])
    assert "risk_desk" in seen.picture.ready()["waiting"]
    assert not [name for name, _ in values(seen) if name == "tradefan_equity"]


# --- metrics --------------------------------------------------------------------------------------------


def values(seen: Seen) -> dict[tuple[str, str], float]:
    """Return every sample by its name and its first label."""
    families = text_string_to_metric_families(seen.picture.metrics().decode())
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, next(iter(sample.labels.values()), "")): sample.value for sample in samples}


def test_metrics_when_scraped_then_names_and_labels_keep_the_rules(trading: Seen) -> None:
    """`tradefan_` in front, `_total` behind counters, and no label that could become a series for ever."""
    families = [*text_string_to_metric_families(trading.picture.metrics().decode())]
    assert len(families) > 40
    for family in families:
        labels = {label for sample in family.samples for label in sample.labels}
        assert family.name.startswith(("tradefan_", "process_", "python_gc_")), family.name
        assert family.type in ("counter", "gauge", "histogram")
        assert family.documentation
        if family.type == "counter":
            assert {sample.name for sample in family.samples} == {f"{family.name}_total"}, family.name
        known = {*LABELS.split(), *(("le",) if family.type == "histogram" else ())}
        named_by_others = family.name == "tradefan_build_info" or family.name.startswith("python_gc_")
        assert labels <= known or named_by_others, family.name


def test_metrics_when_scraped_then_are_those_of_the_registry(trading: Seen) -> None:
    """One that is not registered cannot be emitted, and one that nobody emits is no promise."""
    text = trading.picture.metrics().decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    ours = {name.removeprefix("tradefan_") for name in names if name.startswith("tradefan_")}
    assert ours == METRICS.keys() - ONLY_WITH.keys()


def test_page_of_metrics_then_is_that_of_the_registry() -> None:
    """`python -m tests.metric_page` writes it."""
    assert PAGE.read_text() == page()


def test_metrics_when_limits_are_used_then_say_how_much(trading: Seen) -> None:
    """Of 20 % drawdown and so on; a dashboard need not know the limits."""
    metrics = [
        sample
        for family in text_string_to_metric_families(trading.picture.metrics().decode())
        for sample in family.samples
        if sample.name == "tradefan_limit_used_ratio"
    ]
    used = {sample.labels["limit"]: sample.value for sample in metrics}
    assert used.keys() == {
        "max_drawdown",
        "max_daily_loss",
        "max_exposure",
        "max_concentration",
        "max_position",
        "max_position_notional",
    }
    assert 0 < used["max_exposure"] < 1
    (held,) = trading.picture.status()["positions"]
    # An order of the strategy's may be under way.
    assert float(held["qty"]) / 20 <= used["max_position"] < 1
    assert 0.9 < used["max_position_notional"] / float(held["qty"] * held["mark"] / 600_000) < 1.1


def test_metrics_when_wishes_are_refused_then_say_by_which_rule(seen: Seen) -> None:
    """Every rule of ours has its zero before its first refusal; any other code comes as it occurs."""
    seen.world.run_until(seen.world.ready)

    def counts() -> dict[str, float]:
        found = values(seen)
        return {reason: value for (name, reason), value in found.items() if name == "tradefan_refusals_total"}

    rules = (ROOT / "tradefan" / "risk" / "limits.py").read_text()
    assert counts().keys() == {*re.findall(r'"(RISK_\w+|INSUFFICIENT_FUNDS)"', rules)} == {*REASONS}
    assert set(counts().values()) == {0}
    for number, qty in enumerate(("1000", "1000", "0.0000001")):
        wish = SubmitOrder(
            account=AccountId("paper:main"),
            instrument=BTC,
            owner=OwnerId("api"),
            ref=f"refused{number}",
            side="buy",
            order_qty=Decimal(qty),
            algo="market",
        )
        seen.world.driver.inject(seen.world.kernel.refs["oms"], wish)
    seen.world.run(1)
    found = counts()
    assert found["RISK_MAX_ORDER_QTY"] == 2
    assert sum(found.values()) == seen.world.view("oms").counters.refusals == 3
    assert len(found) == len(REASONS) + 1


def test_metrics_when_orders_were_sent_then_say_what_the_venue_was_asked_and_how_fast_it_was(
    trading: Seen,
) -> None:
    """The paper venue answers 40 ms behind a request and refuses nothing."""
    families = [*text_string_to_metric_families(trading.picture.metrics().decode())]
    asked = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if family.name.startswith(("tradefan_venue", "tradefan_order_ack"))
    }
    sent = values(trading)["tradefan_orders_total", ""]
    assert asked["tradefan_venue_requests_total", "paper:main", "create"] == sent > 0
    assert asked["tradefan_order_ack_seconds_count", "paper:main"] == sent
    assert 0.02 <= asked["tradefan_order_ack_seconds_sum", "paper:main"] / sent < 0.1
    failures = {key[2]: value for key, value in asked.items() if key[0] == "tradefan_venue_failures_total"}
    assert failures == dict.fromkeys(
        ("rejected", "not_sent", "in_doubt", "timeout", "rate_limit", "garbage"), 0
    )


def test_metrics_when_something_is_down_then_not_ready(seen: Seen) -> None:
    """What /ready says with its status, a panel shows as 0 and 1."""
    assert values(seen)["tradefan_ready", ""] == 0
    seen.world.run_until(seen.world.ready)
    assert values(seen)["tradefan_ready", ""] == 1


def test_metrics_when_nothing_has_happened_then_the_children_are_there(seen: Seen, trading: Seen) -> None:
    """A rate over the first crash, gap or lost row needs the zero before it."""
    started = values(seen)
    counters = {key for key in values(trading) if key[0].endswith("_total")}
    of_orders = (
        "tradefan_fills",
        "tradefan_orders",
        "tradefan_refusals",
        "tradefan_order_",
        "tradefan_overfills",
        "tradefan_parents_failed",
    )
    missing = [key for key in counters - started.keys() if not key[0].startswith(of_orders)]
    assert missing == []
    assert started["tradefan_feed_gaps_total", "binance:ETH/USDT"] == 0


def test_costs_when_counted_then_only_of_algorithms_in_use(seen: Seen) -> None:
    """Every algorithm on every instrument would be thousands of samples; zero comes before the first one."""

    def counts() -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(seen.picture.metrics().decode())
        samples = [one for family in families for one in family.samples]
        return {
            (one.labels["algo"], one.labels["instrument"]): one.value
            for one in samples
            if one.name == "tradefan_shortfall_bps_bucket" and one.labels["le"] == "+Inf"
        }

    assert counts() == {}
    seen.world.run_until(lambda: bool(counts()))
    assert counts() == {("market", "binance:BTC/USDT"): 0}
    analysed = seen.world.view("oms").costs
    analysed["twap"] = {ETH: CostCounts(shortfall=[1] * (len(BPS_BUCKETS) + 1))}
    seen.world.run(1)
    assert counts() == {("market", "binance:BTC/USDT"): 0, ("twap", ETH): len(BPS_BUCKETS) + 1}


def test_metrics_when_trading_then_equal_status(trading: Seen) -> None:
    """One truth on two faces."""
    status, metrics = trading.picture.status(), values(trading)
    assert metrics["tradefan_fills_total", ""] == status["fills"]["total"] > 0
    assert round(metrics["tradefan_equity", "paper:main"], 6) == round(
        float(status["equity"][0]["equity"]), 6
    )
    assert metrics["tradefan_position_qty", "paper:main"] == float(status["positions"][0]["qty"])
    assert metrics["tradefan_journal_durable_lsn", ""] == status["stores"][0]["durable_lsn"]
    assert metrics["tradefan_feed_quality", "binance:BTC/USDT"] in (0.0, 1.0)


def test_lists_when_longer_than_the_bound_then_cut(trading: Seen) -> None:
    """`telemetry.top` holds for each list, but not for what is open."""
    many: list[Any] = [*range(80)]
    assert trading.picture._top(many) == many[:50]
    assert trading.picture._top(many, lambda row: row < 70) == many[:70]
    assert trading.picture._top(many, lambda row: row < 7) == many[:50]


def test_mode_when_a_scope_is_killed_then_named_with_who_and_why_and_so_is_the_latch(tmp_path: Path) -> None:
    """The tightest cause first; the latch is what the links obey, and shown until nobody holds it closed."""
    seen = Seen(tmp_path)
    world, picture = seen.world, seen.picture
    try:
        world.run_until(world.ready)
        latch = world.driver.hosted.latch
        latch.close("paper:main", "rim")
        before = picture.status()["mode"]
        assert (before["mode"], before["latch"]) == ("KILLED", {"paper:main": "rim"})
        assert before["causes"][0]["text"] == "the latch is closed: rim"
        kill = KillSwitch("paper:main", "a test", "cli alice", keep_protection=True)
        world.driver.inject(world.kernel.refs["oms"], kill)
        world.run(1)
        mode = picture.status()["mode"]
        assert (mode["mode"], mode["latch"]) == ("KILLED", {"paper:main": "rim"})
        first = mode["causes"][0]
        assert (first["scope"], first["cause"], first["mode"]) == ("paper:main", "kill", "KILLED")
        assert first["text"].endswith("by cli alice: a test, protection kept")
        assert [cause["cause"] for cause in mode["causes"]].count("latch") == 0
        assert b"tradefan_latch_closed_scopes 1.0" in picture.metrics()
        screen = io.StringIO()
        Console(file=screen, width=80).print(status_screen(picture.status()))
        assert "mode KILLED" in screen.getvalue()
        assert "paper:main:" in screen.getvalue()
    finally:
        seen.log.stop()
        world.crash()


@pytest.mark.parametrize(
    ("word", "scope"),
    [
        ("all", "all"),
        ("paper:main", "paper:main"),
        ("rebalance_btc", "rebalance_btc"),
        ("cli", "cli"),
        ("binance", "binance"),
        ("paper", "paper"),
        ("BTC/USDT", "binance:BTC/USDT"),
        ("binance:ETH/USDT", "binance:ETH/USDT"),
    ],
)
def test_scope_when_a_user_names_it_then_known_by_its_id(trading: Seen, word: str, scope: str) -> None:
    """What a kill may hit: everything, an account, an owner, a venue, an instrument by either name."""
    assert trading.picture.scope(word) == scope


def test_scope_when_killed_or_held_and_configured_no_more_then_still_known(tmp_path: Path) -> None:
    """Else nobody could resume it."""
    seen = Seen(tmp_path)
    world, picture = seen.world, seen.picture
    try:
        world.run_until(world.ready)
        for scope in ("ema_cross_eth", "paper:gone"):
            with pytest.raises(Refused, match="UNKNOWN_SCOPE"):
                picture.scope(scope)
        oms = world.kernel.refs["oms"]
        world.driver.inject(oms, KillSwitch("ema_cross_eth", "a test", "cli alice"))
        world.driver.inject(oms, SetMode("paper:gone", "drawdown", "REDUCE_ONLY", "RISK_DRAWDOWN", "fell"))
        world.run(1)
        assert picture.scope("ema_cross_eth") == "ema_cross_eth"
        assert picture.scope("paper:gone") == "paper:gone"
    finally:
        seen.log.stop()
        world.crash()


def test_scope_when_nobody_knows_it_then_refused_with_what_is_meant(trading: Seen) -> None:
    """A kill is not the moment to guess in silence."""
    with pytest.raises(Refused, match=r"UNKNOWN_SCOPE: expected all, an account.*did you mean 'paper:main'"):
        trading.picture.scope("paper:mian")


def test_left_when_orders_rest_at_the_end_then_each_by_its_id_and_whether_that_is_sure(
    tmp_path: Path,
) -> None:
    """What a stop leaves at the venue is nobody's guess (RK-07), unless there is no order manager."""
    seen = Seen(tmp_path)
    world, picture = seen.world, seen.picture
    try:
        assert picture.left() == ["left at the venue: unknown, the order manager was down"]
        world.run_until(world.ready)
        world.run_until(lambda: world.view("oms").fills > 0)
        world.run(1)
        assert picture.left() == ["left at the venue: nothing of ours (not verified)"]
        btc = InstrumentId("binance:BTC/USDT")
        kept = (AccountId("paper:main"), OwnerId("trend"), btc, Decimal("0.50"))
        world.kernel.life.stopping = Stopping(0, 0, [], positions=(kept,))
        assert picture.left() == [
            "left at the venue: nothing of ours",
            "  trend on paper:main still holds 0.5 binance:BTC/USDT: on_stop flatten did not sell it",
        ]
        world.kernel.life.stopping = None
        wish = SubmitOrder(
            account=AccountId("paper:main"),
            instrument=InstrumentId("binance:ETH/USDT"),
            owner=OwnerId("cli"),
            ref="rest",
            side="buy",
            order_qty=Decimal("0.1"),
            algo="limit",
            limit_price=Decimal(2600),
        )
        world.driver.inject(world.kernel.refs["oms"], wish)
        world.run(1)
        mine = next(one for one in picture.status()["orders"]["list"] if one["owner"] == "cli")
        what = f"{mine['client_order_id']} of cli on paper:main: buy 0.1 binance:ETH/USDT at 2600"
        assert picture.left() == ["left at the venue: 1 own order (not verified)", f"  {what}, NEW, filled 0"]
    finally:
        seen.log.stop()
        world.crash()
