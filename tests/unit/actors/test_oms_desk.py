"""Modes, marks, books, and the stop: what the risk desk and the supervisor get."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import (
    ACCOUNT,
    API,
    BTC,
    CONFIG,
    DESK,
    ETH,
    GATEWAY,
    RIM,
    TRADER,
    TREND,
    USDT,
    Bench,
)
from tradefan.config.schema import Config, StrategyConfig
from tradefan.messages.account import EquityMark, Mode, OwnBook, SetMode
from tradefan.messages.control import ActorState, ConfigChanged, Durable, Rows, Started, Stop, Stopped
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import Bar, Quality
from tradefan.messages.orders import (
    AskPositions,
    CancelAll,
    CancelOrder,
    CreateOrder,
    Look,
    OrderStatus,
    ParentUpdate,
    PositionsSent,
    PositionUpdate,
    Refusal,
)
from tradefan.messages.records import Equity, ModeChange, NotSent
from tradefan.units import EXTERNAL, SECOND, Asset, InstrumentId

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


# --- modes ------------------------------------------------------------------------------------------------


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
    assert [record.mode for record in bench.made(ModeChange)] == ["NO_NEW_RISK", "NORMAL"]
    bench.check()


def test_mode_when_it_has_two_causes_then_the_tightest_holds(bench: Bench) -> None:
    """A scope has the tightest of its causes, an order the tightest of its scopes; a repeat is no record."""
    bench.tell(
        mode("NO_NEW_RISK"), mode("NO_NEW_RISK"), mode("CANCEL_ONLY", BTC, "hold", code="", text="hold")
    )
    bench.submit()
    bench.submit(6, instrument=ETH)
    assert [one.code for one in bench.take(TRADER, Refusal)] == ["MODE_CANCEL_ONLY", "RISK_DRAWDOWN"]
    assert bench.oms.view().mode.mode == "CANCEL_ONLY"
    assert len(bench.made(ModeChange)) == 2


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


def test_mode_when_tightened_then_waiting_creates_that_it_forbids_are_dropped(bench: Bench) -> None:
    """They have not left, so they never were; what reduces still leaves."""
    bench.bought(2)
    bench.auto_durable = False
    bench.submit(1)
    bench.submit(1, side="sell")
    bench.tell(mode("NO_NEW_RISK"))
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert [one.side for one in bench.take(GATEWAY, CreateOrder)] == ["sell"]
    assert [record.reason for record in bench.made(NotSent)] == ["LOCAL_EXPIRED"]
    bench.check()


def test_feed_when_stale_then_its_waiting_creates_are_dropped(bench: Bench) -> None:
    """STALE takes the reference away, and with it what waits for the disk; another instrument goes on."""
    bench.auto_durable = False
    bench.submit(1)
    bench.submit(6, instrument=ETH)
    bench.quote(BTC, 100, Quality.STALE)
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert [one.instrument for one in bench.take(GATEWAY, CreateOrder)] == [ETH]


def test_mode_when_the_oms_restarts_then_it_still_holds(bench: Bench) -> None:
    """A loss limit survives the restart: the MODE record is in the journal."""
    bench.tell(mode("NO_NEW_RISK"))
    again = Bench(records=bench.records).ready()
    again.submit()
    assert again.one(TRADER, Refusal).code == "RISK_DRAWDOWN"
    assert [one.cause for one in again.oms.state.trading.modes["all"].values()] == ["drawdown"]


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


# --- marks and books --------------------------------------------------------------------------------------


def test_positions_when_the_desk_asks_then_books_add_up_to_the_balances(bench: Bench) -> None:
    """Positions by owner, all else of each asset as `external`, the marks, and the closing word."""
    bench.bought(2)
    bench.submit(1, owner=API)
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, 1, fee=D("0.1"))
    mark = EquityMark(ACCOUNT, USDT, 0, D(1), D(2), D(0), {USDT: D(3)})
    bench.tell(mark, mark)
    assert len(bench.made(Equity)) == 1
    bench.sent.clear()
    bench.tell(AskPositions(None))
    books = bench.take(DESK, OwnBook)
    assert books[:2] == [
        OwnBook(ACCOUNT, TREND, BTC, Asset("BTC"), D(2), D(200)),
        OwnBook(ACCOUNT, API, BTC, Asset("BTC"), D(1), D(100)),
    ]
    sums: dict[Asset, Decimal] = {}
    for book in books:
        sums[book.asset] = sums.get(book.asset, D(0)) + book.qty
    assert sums == bench.trading.ledger.balances[ACCOUNT]
    assert [book.owner for book in books[2:]] == [EXTERNAL, EXTERNAL]
    assert bench.one(DESK, EquityMark) == mark
    assert [one.owner for one in bench.take(DESK, PositionUpdate)] == [TREND, API]
    assert bench.sent == [(DESK, PositionsSent(None, 1))]


def test_positions_when_an_owner_asks_then_it_hears_of_its_own_only(bench: Bench) -> None:
    """Positions, open parents, and the closing word with the generation; nothing before READY."""
    bench.bought(2)
    bench.limit(1, 99)
    bench.limit(1, 99, owner=API)
    bench.sent.clear()
    bench.tell(AskPositions(TREND))
    kinds = [type(msg) for ref, msg in bench.sent if ref == TRADER]
    assert kinds == [PositionUpdate, ParentUpdate, PositionsSent]
    assert bench.take(TRADER, PositionUpdate)[0].working_qty == D(1)
    early = Bench()
    early.tell(Started(0), AskPositions(TREND))
    early.fold()
    early.tell(AskPositions(TREND))
    assert early.take(TRADER, PositionsSent) == []


def test_books_when_an_instrument_has_left_the_wiring_then_its_position_is_in_the_rest(bench: Bench) -> None:
    """The sum per asset stays the balance, whatever is still tradable."""
    bench.bought(2)
    again = Bench(records=bench.records, instruments={}, accounts={ACCOUNT: ()}).ready()
    again.tell(AskPositions(None))
    assert {book.asset: book.qty for book in again.take(DESK, OwnBook)} == {"USDT": D(999_800), "BTC": D(2)}


# --- stop -------------------------------------------------------------------------------------------------


def owned(policy: Any) -> Config:
    return msgspec.structs.replace(CONFIG, strategies={TREND: StrategyConfig(on_stop=policy)})


def test_stop_when_orders_rest_then_they_are_cancelled_verified_and_flushed(bench: Bench) -> None:
    """No new orders; cancel; a complete look; every record on the disk; then Stopped, once."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(Stop(bench.now_ns + 10 * SECOND), Stop(bench.now_ns + 10 * SECOND))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.submit()
    bench.tell(CancelAll(TREND))
    assert bench.one(TRADER, Refusal).text == "TradeFan is stopping"
    bench.report(create, S.CANCELED)
    assert bench.take(RIM, Stopped) == []
    bench.advance(SECOND // 2)
    bench.auto_durable = False
    bench.done(bench.take(GATEWAY, Look)[-1])
    bench.tell(Durable(len(bench.records)))
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert bench.oms.view().state == "STOPPING"
    bench.advance(20 * SECOND)
    assert bench.take(RIM, Stopped) == []
    bench.check()


def test_stop_when_nothing_is_open_then_it_is_answered_at_once(bench: Bench) -> None:
    """Nothing to cancel, nothing to verify."""
    bench.bought()
    bench.tell(Stop(bench.now_ns + SECOND))
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)


def test_stop_when_a_create_waits_then_it_never_leaves(bench: Bench) -> None:
    """The disk speaks first, then the answer; the create is NOT_SENT."""
    bench.auto_durable = False
    bench.submit()
    bench.tell(Stop(bench.now_ns + SECOND))
    assert bench.take(RIM, Stopped) == []
    bench.tell(Durable(len(bench.records)))
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert bench.take(GATEWAY, CreateOrder) == []


def test_stop_when_the_venue_is_silent_then_the_deadline_answers_with_what_is_left(bench: Bench) -> None:
    """Unverified, and the orders by id."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(Stop(bench.now_ns + 2 * SECOND))
    bench.advance(2 * SECOND - 1)
    assert bench.one(RIM, Stopped) == Stopped("oms", ((ACCOUNT, TREND, create.client_order_id),), True)
    assert len(bench.take(GATEWAY, CancelOrder)) >= 3


def test_stop_when_the_look_still_shows_the_order_then_it_looks_again(bench: Bench) -> None:
    """Verified means that nothing unwanted is left."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    bench.advance(SECOND)
    bench.done(bench.take(GATEWAY, Look)[-1], missing=())
    assert bench.take(RIM, Stopped) == []
    bench.report(create, S.CANCELED)
    bench.advance(SECOND)
    bench.done(bench.take(GATEWAY, Look)[-1])
    assert bench.one(RIM, Stopped).unverified is False


def test_stop_when_the_policy_is_leave_then_orders_stay(bench: Bench) -> None:
    """`on_stop: leave` and protective orders rest on; others are cancelled."""
    bench = Bench(config=owned("leave")).ready()
    bench.limit()
    bench.limit(1, 98, owner=API, protective=True)
    other = bench.limit(owner=API)
    bench.tell(Stop(bench.now_ns + SECOND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [other.client_order_id]
    bench.report(other, S.CANCELED)
    bench.advance(SECOND // 2)
    bench.done(bench.take(GATEWAY, Look)[-1])
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert len(bench.trading.orders_live) == 2


def test_stop_when_the_policy_is_flatten_then_the_position_is_sold_once() -> None:
    """`on_stop: flatten` cancels and takes the book's other side once, at the collar."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    resting = bench.limit()
    bench.tell(Stop(bench.now_ns + 5 * SECOND), CancelAll(TREND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [resting.client_order_id]
    sale = bench.one(GATEWAY, CreateOrder)
    assert (sale.side, sale.order_qty, sale.time_in_force) == ("sell", D(2), "IOC")
    bench.report(resting, S.CANCELED)
    bench.fill(sale, 2)
    bench.report(sale, S.FILLED, 2)
    bench.advance(SECOND // 2)
    bench.done(bench.take(GATEWAY, Look)[-1])
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    bench.check()


def test_stop_when_the_journal_is_still_read_then_it_begins_after_the_fold_or_is_cut(bench: Bench) -> None:
    """What is to be cancelled is known after the fold; without one the deadline says unverified."""
    create = bench.limit()
    bench.report(create, S.NEW)
    again = Bench(records=bench.records)
    again.tell(Started(0), Stop(again.now_ns + 2 * SECOND))
    again.fold()
    assert [one.client_order_id for one in again.take(GATEWAY, CancelOrder)] == [create.client_order_id]
    never = Bench()
    never.tell(Started(0), Stop(never.now_ns + 2 * SECOND))
    never.advance(2 * SECOND)
    assert never.one(RIM, Stopped) == Stopped("oms", (), True)


# --- the rest ---------------------------------------------------------------------------------------------


def test_message_when_it_means_nothing_to_the_oms_then_it_is_counted(bench: Bench) -> None:
    """Bars and a changed configuration need no action; rows of a fold that is over are not folded again."""
    bar = Bar(BTC, "1m", 0, 1, 1.0, 1.0, 1.0, 1.0, 0.0, 0, 0)
    before = bench.trading.lsn
    bench.tell(bar, ConfigChanged("cfg-2"), Rows(0, tuple(bench.records), 0))
    assert (bench.oms.view().counters.ignored, bench.trading.lsn) == (1, before)


def test_instrument_when_its_rules_change_then_the_newest_hold(bench: Bench) -> None:
    """MD-17: a halted instrument takes no order, a new lot is the grid; INTENT names the version."""
    rules = bench.wiring.instruments[BTC]
    bench.tell(InstrumentUpdate(msgspec.structs.replace(rules, qty_lot=D(1), version=2)))
    bench.submit("1.5")
    bench.submit(1)
    assert bench.one(TRADER, Refusal).code == "OFF_GRID"
    assert bench.records[-1].instrument_version == 2  # type: ignore[union-attr]
    bench.tell(InstrumentUpdate(msgspec.structs.replace(rules, status="HALT")))
    bench.submit(1)
    assert bench.one(TRADER, Refusal).code == "INSTRUMENT_HALT"


def test_kind_when_unsupported_then_it_is_refused_by_name() -> None:
    """Inverse contracts and options decode and are refused."""
    name = InstrumentId("binance:BTC/USD:BTC")
    base = Bench().wiring.instruments[BTC]
    inverse = msgspec.structs.replace(base, id=name, kind="inverse", inverse=True)
    bench = Bench(instruments={name: inverse}, accounts={ACCOUNT: (name,)}).ready()
    bench.submit(instrument=name)
    assert bench.one(TRADER, Refusal).code == "UNSUPPORTED_KIND"
