"""Modes: entered in the turn that learns a cause, obeyed at once, left by rule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BTC,
    CLI,
    ETH,
    GATEWAY,
    TRADER,
    TREND,
    foreign,
)
from tradefan.messages.account import AccountState, Mode, SetMode
from tradefan.messages.control import ActorState, Stop
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.market import Quality
from tradefan.messages.orders import OrderStatus, ParentUpdate, Phase, Refusal, ResumeTrading
from tradefan.messages.records import (
    NotSent,
)
from tradefan.units import SECOND

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def mode(mode: Mode, scope: str = "all", cause: str = "drawdown", **changes: Any) -> SetMode:
    fields: dict[str, Any] = {
        "code": "RISK_DRAWDOWN",
        "text": "fell by 21 %",
        "limit": "20 %",
        "used": "21 %",
        "would_pass": "a sale",
    }
    return SetMode(scope, cause, mode, **{**fields, **changes})


@pytest.mark.parametrize("scope", ["all", BTC, ACCOUNT, TREND, "paper", "binance"])
def test_mode_when_no_new_risk_then_only_what_reduces_passes(bench: Bench, scope: str) -> None:
    """The refusal has the cause's code, limit, used and would_pass; NORMAL withdraws the cause."""
    bench.bought(2)
    bench.tell(mode("NO_NEW_RISK", scope))
    bench.submit()
    refusal = bench.one(TRADER, Refusal)
    assert (refusal.code, refusal.limit, refusal.used, refusal.would_pass) == (
        "RISK_DRAWDOWN",
        "20 %",
        "21 %",
        "a sale",
    )
    bench.submit(3, side="sell")
    assert bench.one(TRADER, Refusal).code == "RISK_DRAWDOWN"
    bench.submit(2, side="sell")
    assert bench.one(GATEWAY, CreateOrder).side == "sell"
    bench.tell(mode("NORMAL", scope), mode("NORMAL", scope))
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert bench.moods(scope, "drawdown") == ["NO_NEW_RISK", "NORMAL"]
    bench.check()


def test_mode_when_it_has_two_causes_then_the_tightest_holds(bench: Bench) -> None:
    """A scope has the tightest of its causes, an order the tightest of its scopes; a repeat is no record."""
    bench.tell(
        mode("NO_NEW_RISK"),
        mode("NO_NEW_RISK"),
        mode("CANCEL_ONLY", BTC, "books differ", code="", text="hold"),
    )
    bench.submit()
    bench.submit(6, instrument=ETH)
    assert [one.code for one in bench.take(TRADER, Refusal)] == ["MODE_CANCEL_ONLY", "RISK_DRAWDOWN"]
    assert bench.oms.view().mode.mode == "CANCEL_ONLY"
    assert (bench.moods("all", "drawdown"), bench.moods(BTC, "books differ")) == (
        ["NO_NEW_RISK"],
        ["CANCEL_ONLY"],
    )


def test_mode_when_of_another_scope_then_it_does_not_matter(bench: Bench) -> None:
    """An owner's mode stops that owner."""
    bench.tell(mode("CANCEL_ONLY", "other"))
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1


def test_mode_when_reduce_only_then_resting_orders_that_add_are_cancelled(bench: Bench) -> None:
    """What can raise exposure goes, what reduces stays."""
    bench.bought(2)
    buy = bench.limit(1, 99)
    sell = bench.limit(1, 101, side="sell")
    bench.tell(mode("REDUCE_ONLY"))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [buy.client_order_id]
    bench.tell(mode("KILLED", ETH, "kill"), mode("KILLED", "all", "kill"))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [sell.client_order_id]
    bench.submit(1, side="sell")
    assert bench.one(TRADER, Refusal).code == "RISK_LATCHED"
    bench.check()


def linear(qty: int) -> Bench:
    """Return a bench where BTC is a contract, of which the strategy holds a quantity."""
    bench = Bench().ready()
    contract = msgspec.structs.replace(bench.wiring.instruments[BTC], kind="linear")
    bench.oms.state.live.instruments[BTC] = contract
    bench.bought(qty)
    return bench


def names(*orders: CreateOrder | CancelOrder) -> list[str]:
    return [one.client_order_id for one in orders]


def test_mode_when_reduce_only_then_sales_beyond_what_is_held_are_cancelled_newest_first() -> None:
    """A sale that turns the position around adds, by itself or together with older ones."""
    bench = linear(2)
    sales = [bench.resting(qty, 101 + qty, side="sell") for qty in (1, 3, 1, 1)]
    bench.tell(mode("REDUCE_ONLY"))
    assert names(*bench.take(GATEWAY, CancelOrder)) == names(sales[1], sales[3])
    bench.fill(sales[0], 1)
    bench.fill(sales[2], 1)
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.check()


def test_mode_when_reduce_only_then_what_others_hold_is_no_room_of_an_owner() -> None:
    """An owner's sale beyond its own position adds to its risk, whatever the account holds."""
    bench = linear(2)
    sale = bench.resting(1, 101, side="sell", owner=CLI)
    bench.tell(mode("REDUCE_ONLY"))
    assert names(*bench.take(GATEWAY, CancelOrder)) == names(sale)


def test_mode_when_reduce_only_holds_and_a_trade_of_others_takes_the_room_then_the_rest_is_cancelled() -> (
    None
):
    """The mode is obeyed as long as it holds, in the turn that learns what has traded."""
    bench = linear(2)
    first, second = bench.resting(1, 101, side="sell"), bench.resting(1, 102, side="sell")
    bench.tell(mode("REDUCE_ONLY"))
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.fill(foreign(1, side="sell"), 1)
    assert names(*bench.take(GATEWAY, CancelOrder)) == names(second)
    bench.fill(foreign(2, side="sell"), 1)
    assert names(*bench.take(GATEWAY, CancelOrder)) == names(first)
    bench.check()


def test_mode_when_reduce_only_then_a_sale_of_what_the_account_held_before_stays(bench: Bench) -> None:
    """A human sells from the opening: that lowers the worst case, so REDUCE_ONLY lets it rest."""
    bench = Bench().ready(USDT=1000, BTC=5)
    sale = bench.limit(1, 101, side="sell", owner=CLI)
    bench.report(sale, S.NEW)
    bench.tell(mode("REDUCE_ONLY"))
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.submit(1, side="sell", owner=CLI)
    assert bench.one(GATEWAY, CreateOrder).side == "sell"


@pytest.mark.parametrize(
    ("tight", "stays", "leaves"),
    [
        ("NO_NEW_RISK", ["buy", "sell"], ["sell"]),
        ("REDUCE_ONLY", ["sell"], ["sell"]),
        ("CANCEL_ONLY", ["buy", "sell"], []),
        ("KILLED", [], []),
    ],
)
def test_mode_when_tightened_then_it_cancels_drops_and_refuses_what_its_row_says(
    bench: Bench, tight: Mode, stays: list[str], leaves: list[str]
) -> None:
    """Own resting orders, creates that wait, and new wishes: each row of 2b, `external` apart."""
    bench.bought(4)
    rests = {"buy": bench.resting(1, 99), "sell": bench.resting(1, 101, side="sell")}
    stranger = foreign()
    bench.report(stranger, S.NEW)
    bench.auto_durable = False
    bench.submit(1)
    bench.submit(1, side="sell")
    bench.tell(mode(tight))
    gone = [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)]
    assert [side for side, one in rests.items() if one.client_order_id not in gone] == stays
    assert stranger.client_order_id not in gone
    bench.durable()
    assert [one.side for one in bench.take(GATEWAY, CreateOrder)] == leaves
    assert len(bench.made(NotSent)) == 2 - len(leaves)
    bench.take(TRADER, Refusal)
    bench.submit(1)
    bench.submit(1, side="sell")
    passed = [one.side for one in bench.take(GATEWAY, CreateOrder)]
    assert passed == leaves
    assert len(bench.take(TRADER, Refusal)) == 2 - len(leaves)
    bench.check()


def test_mode_when_tightened_then_waiting_creates_that_it_forbids_are_dropped(bench: Bench) -> None:
    """They have not left, so they never were; what reduces still leaves."""
    bench.bought(2)
    bench.auto_durable = False
    bench.submit(1)
    bench.submit(1, side="sell")
    bench.tell(mode("NO_NEW_RISK"))
    bench.durable()
    assert [one.side for one in bench.take(GATEWAY, CreateOrder)] == ["sell"]
    assert [record.reason for record in bench.made(NotSent)] == ["LOCAL_EXPIRED"]
    bench.check()


@pytest.mark.parametrize("algo", ["market", "limit"])
def test_mode_when_it_drops_a_create_then_the_parent_goes_on_or_ends(bench: Bench, algo: str) -> None:
    """A parent whose only child was taken back is asked again in that turn: none is left without a future."""
    bench.auto_durable = False
    bench.submit(1, algo=algo, limit_price=D(99) if algo == "limit" else None)
    bench.tell(ActorState("risk_desk", "DOWN"))
    bench.durable()
    bench.advance(SECOND)
    assert bench.take(GATEWAY, CreateOrder) == []
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.phase, parent.status) == (Phase.DONE, S.EXPIRED)
    assert bench.trading.parents_open == {}
    bench.check()


def test_feed_when_stale_then_its_waiting_creates_are_dropped(bench: Bench) -> None:
    """STALE takes the reference away, and with it what waits for the disk; another instrument goes on."""
    bench.auto_durable = False
    bench.submit(1)
    bench.submit(6, instrument=ETH)
    bench.quote(BTC, 100, Quality.STALE)
    bench.durable()
    assert [one.instrument for one in bench.take(GATEWAY, CreateOrder)] == [ETH]


def test_mode_when_the_oms_restarts_then_it_still_holds(bench: Bench) -> None:
    """A loss limit survives the restart: the MODE record is in the journal."""
    bench.tell(mode("NO_NEW_RISK"))
    again = Bench(records=bench.records).ready()
    again.submit()
    assert again.one(TRADER, Refusal).code == "RISK_DRAWDOWN"
    assert [one.cause for one in again.oms.state.trading.modes["all"].values()] == ["drawdown"]


def test_mode_when_of_this_session_then_the_view_shows_every_cause(bench: Bench) -> None:
    """Status shows the tightest mode that holds anywhere, and each cause by scope."""
    bench.tell(mode("NO_NEW_RISK"), mode("REDUCE_ONLY", BTC, "prices"), mode("CANCEL_ONLY", ETH, "prices"))
    view = bench.oms.view()
    assert (view.mode.mode, view.mode.code) == ("CANCEL_ONLY", "RISK_DRAWDOWN")
    assert [(one.scope, one.cause, one.mode) for one in view.modes] == [
        ("all", "drawdown", "NO_NEW_RISK"),
        (BTC, "prices", "REDUCE_ONLY"),
        (ETH, "prices", "CANCEL_ONLY"),
    ]


def test_risk_desk_when_not_ready_then_there_is_no_new_risk(bench: Bench) -> None:
    """While the second pair of eyes is closed nothing new is risked; where none is wired none is missed."""
    bench.tell(ActorState("risk_desk", "STARTING"), ActorState("market_data:binance", "DOWN"))
    bench.submit()
    refusal = bench.one(TRADER, Refusal)
    assert (refusal.code, "STARTING" in refusal.text) == ("MODE_NO_NEW_RISK", True)
    alone = Bench(risk_desk=None).ready()
    alone.tell(ActorState("risk_desk", "DOWN"))
    alone.submit()
    assert len(alone.take(GATEWAY, CreateOrder)) == 1


@pytest.mark.parametrize(
    ("scope", "cause", "withdrawn"),
    [
        (ETH, "feed", True),
        (ETH, f"concentration {ACCOUNT}", True),
        ("gone:main", "link", True),
        ("gone", "ban", True),
        ("nobody", f"over limit @{ACCOUNT} {BTC}", True),
        (TREND, f"over limit @{ACCOUNT} {ETH}", True),
        (BTC, "concentration gone:main", True),
        ("gone:main", "auth", False),
        (ETH, "books differ", False),
        (BTC, f"concentration {ACCOUNT}", False),
        (TREND, "prices", False),
    ],
)
def test_mode_when_what_it_is_about_left_the_configuration_then_the_fold_withdraws_it(
    bench: Bench, scope: str, cause: str, withdrawn: bool
) -> None:
    """Nobody judges it any more, so it would hold for ever; what waits for a human waits on."""
    bench.tell(mode("NO_NEW_RISK", scope, cause))
    btc = {BTC: bench.wiring.instruments[BTC]}
    again = Bench(records=bench.records, accounts={ACCOUNT: (BTC,)}, instruments=btc)
    again.fold()
    assert again.moods(scope, cause) == ["NO_NEW_RISK"] + ["NORMAL"] * withdrawn
    again.check()


@pytest.mark.parametrize("cause", ["kill", "auth", "books differ"])
def test_resume_when_its_scope_left_the_configuration_then_it_opens_all_the_same(
    bench: Bench, cause: str
) -> None:
    """A human's word reaches what a human closed, whoever is wired today."""
    scope = "gone:main"
    if cause == "kill":
        bench.kill(scope)
    else:
        bench.tell(mode("CANCEL_ONLY", scope, cause))
    again = Bench(records=bench.records)
    again.fold()
    again.tell(ResumeTrading(scope, "seen", "me", CLI, 9))
    assert (again.trading.kills, again.trading.modes.get(scope)) == ({}, None)
    assert list(again.oms.state.live.accounts) == [ACCOUNT]


def test_mode_when_others_end_behind_the_stop_then_that_says_nothing_of_the_market(bench: Bench) -> None:
    """Links end behind us: a feed that is BLIND because of that is no cause for the next start."""
    bench.tell(Stop(bench.now_ns + SECOND))
    count = len(bench.records)
    bench.quote(BTC, 100, Quality.BLIND)
    bench.tell(AccountState(ACCOUNT, False, "stopping"))
    assert bench.records[count:] == []
    again = Bench(records=bench.records).ready()
    again.submit()
    again.one(GATEWAY, CreateOrder)


def test_mode_when_a_feed_goes_during_the_stop_then_it_still_counts() -> None:
    """Until our answer what rests is still ours to look after."""
    bench = Bench().ready()
    bench.resting()
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    bench.quote(BTC, 100, Quality.BLIND)
    assert bench.moods(BTC, "feed") == ["NO_NEW_RISK"]
