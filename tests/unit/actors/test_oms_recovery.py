"""Restart: owners, positions and ids go on, no order is sent without a new decision."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BTC,
    DESK,
    ETH,
    GATEWAY,
    JOURNAL,
    TRADER,
    TREND,
    foreign,
)
from tradefan.actors import oms_fills
from tradefan.actors.oms_state import Turn
from tradefan.core.ids import client_order_id
from tradefan.core.ledger import position
from tradefan.messages.account import AccountState
from tradefan.messages.control import AskHistory, Ready
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look, VenueFill
from tradefan.messages.orders import CancelParent, FillUpdate, OrderStatus, ParentUpdate, Phase, Refusal
from tradefan.messages.records import (
    CancelIntent,
    Epoch,
    Fill,
    InDoubt,
    Intent,
    PhaseChange,
    Poison,
)
from tradefan.units import MINUTE, SECOND, InstrumentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


@pytest.mark.failure("OR-26", "ST-01", "ST-10")
def test_restart_when_killed_then_positions_owners_and_ids_go_on(bench: Bench) -> None:
    """The journal alone: the same books under the same owners, a higher epoch, no id twice, no order."""
    bench.bought(2)
    bench.submit(1, owner=API)
    flying = bench.one(GATEWAY, CreateOrder)
    again = Bench(records=bench.records, now_ns=bench.now_ns + 90 * SECOND)
    again.fold()
    assert again.trading.ledger == bench.trading.ledger
    assert [record.epoch for record in again.made(Epoch)] == [1, 2]
    doubted = again.made(InDoubt)
    assert [(one.client_order_id, one.reason) for one in doubted] == [(flying.client_order_id, "restart")]
    look = again.one(GATEWAY, Look)
    assert look.orders == ((BTC, flying.client_order_id),)
    assert look.cursors[0] == (BTC, TradeId("0"))
    again.tell(AccountState(ACCOUNT, True, ""))
    again.done(again.one(GATEWAY, Look), missing=())
    assert again.one(TRADER, Ready) == Ready(2, again.oms.state.live.fold_gen)
    assert len(again.take(DESK, Ready)) == 1
    again.advance(MINUTE)
    assert again.take(GATEWAY, CreateOrder) == []
    assert again.made(Intent) == bench.made(Intent)
    again.check()


def restarted(bench: Bench, away_ns: int, **settings: Any) -> Bench:
    """Let a market order of 2 be at work when the daemon dies; so much later 0.5 of it has traded."""
    bench.submit(2, settings=settings)
    flying = bench.one(GATEWAY, CreateOrder)
    again = Bench(records=bench.records, now_ns=bench.now_ns + away_ns).ready()
    again.fill(flying, "0.5")
    again.report(flying, S.EXPIRED, "0.5")
    again.advance(SECOND)
    return again


@pytest.mark.failure("OR-02", "OR-12", "ST-01")
def test_restart_when_it_took_less_than_a_minute_then_a_parent_goes_on_behind_the_evidence(
    bench: Bench,
) -> None:
    """Its flying child is asked for first; what it has not traded is placed under an id of this epoch."""
    again = restarted(bench, 10 * SECOND)
    fresh = again.one(GATEWAY, CreateOrder)
    assert (fresh.client_order_id, fresh.order_qty) == (client_order_id("dev", 2, 1), D("1.5"))
    phases = [(one.phase, one.reason) for one in again.made(PhaseChange)]
    assert phases == [(Phase.PAUSED, "recovery"), (Phase.WORKING, "")]
    again.check()


@pytest.mark.failure("OR-02", "OR-12", "ST-01")
@pytest.mark.parametrize(
    ("away_s", "settings", "expected"),
    [
        (90, {}, (Phase.PAUSED, "restart", 0)),
        (90, {"on_restart": "resume"}, (Phase.WORKING, "", 1)),
        (10, {"on_restart": "pause"}, (Phase.PAUSED, "restart", 0)),
        (10, {"on_restart": "cancel"}, (Phase.DONE, "restart", 0)),
    ],
)
def test_restart_when_it_took_longer_or_the_parent_says_so_then_it_waits_or_ends(
    bench: Bench, away_s: int, settings: dict[str, Any], expected: tuple[Phase, str, int]
) -> None:
    """`on_restart`; what waits for a human places nothing, and ends when its owner says so."""
    again = restarted(bench, away_s * SECOND, **settings)
    (parent,) = again.trading.parents.values()
    assert (parent.phase, parent.reason, len(again.take(GATEWAY, CreateOrder))) == expected
    if parent.phase is Phase.PAUSED:
        again.tell(CancelParent(TREND, parent.order.parent_id))
        assert (parent.phase, parent.status) == (Phase.DONE, S.CANCELED)
    again.check()


def test_restart_when_nothing_of_a_parent_is_at_the_venue_and_its_feed_left_then_it_expires(
    bench: Bench,
) -> None:
    """It is a wish that nobody can fulfil any more, and no defect of its executor."""
    bench.submit(3, instrument=ETH)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.EXPIRED)
    btc = {BTC: bench.wiring.instruments[BTC]}
    again = Bench(records=bench.records, accounts={ACCOUNT: (BTC,)}, instruments=btc)
    again.fold()
    parent = again.trading.parents[create.parent_id]
    assert (parent.phase, parent.status, parent.reason) == (Phase.DONE, S.EXPIRED, "restart")
    assert "parent_failed" not in again.logs
    again.check()


@pytest.mark.failure("OR-09", "ST-01")
def test_restart_when_an_order_rests_then_it_goes_on_and_its_cancel_too(bench: Bench) -> None:
    """A resting order keeps its parent; one that was to be cancelled is cancelled again."""
    stays, goes = bench.limit(1, 99), bench.limit(1, 98)
    bench.report(stays, S.NEW)
    bench.report(goes, S.NEW)
    bench.tell(CancelParent(TREND, goes.parent_id))
    again = Bench(records=bench.records)
    again.fold()
    assert [one.client_order_id for one in again.take(GATEWAY, CancelOrder)] == [goes.client_order_id]
    assert again.made(InDoubt) == []
    again.tell(AccountState(ACCOUNT, True, ""))
    look = again.take(GATEWAY, Look)[-1]
    again.report(stays, S.NEW, source="look")
    again.report(goes, S.CANCELED, source="look")
    again.done(look)
    assert list(again.trading.orders_live) == [stays.client_order_id]
    again.fill(stays, 1)
    assert again.take(TRADER, ParentUpdate)[-1].status is S.FILLED
    assert len(again.made(CancelIntent)) == 1
    again.check()


@pytest.mark.failure("OR-19", "ST-01")
def test_restart_when_facts_come_before_the_fold_then_they_are_kept(bench: Bench) -> None:
    """Facts are never lost: a fill that came while the journal was read is booked after it."""
    create = bench.limit()
    again = Bench(records=bench.records)
    again.fill(create, 1)
    again.report(create, S.FILLED, 1)
    assert again.trading.lsn == 0
    again.fold()
    assert position(again.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert again.one(TRADER, FillUpdate).owner == TREND
    again.check()


def test_restart_in_the_process_when_nobody_says_connected_then_a_look_tells(bench: Bench) -> None:
    """A gateway speaks only when its connection changes: a complete look proves that it is there."""
    again = Bench(records=bench.records)
    again.fold()
    look = again.one(GATEWAY, Look)
    again.done(look, complete=False)
    again.advance(SECOND)
    again.done(again.one(GATEWAY, Look))
    assert again.one(TRADER, Ready) == Ready(2, again.oms.state.live.fold_gen)
    assert again.oms.view().accounts[0].connected


# --- poison ----------------------------------------------------------------------------------------------


@pytest.mark.failure("ST-12")
@pytest.mark.parametrize("what", ["fill", "report"])
def test_poison_when_a_fact_killed_the_oms_then_it_is_skipped_and_its_instrument_held(
    bench: Bench, what: str
) -> None:
    """ST-12: POISON is journaled by key, the key is skipped on every road and after every restart."""
    create = bench.limit()
    key = (
        f"fill {ACCOUNT} {BTC} 666" if what == "fill" else f"report {ACCOUNT} {create.client_order_id} NEW 0"
    )
    again = Bench(records=bench.records)
    again.fold(poison=key, poison_text="boom")
    assert [(one.fact_key, one.instrument) for one in again.made(Poison)] == [(key, BTC)]
    third = Bench(records=again.records).ready()
    if what == "fill":
        third.fill(create, 1, "666")
    else:
        third.report(create, S.NEW)
    assert third.oms.view().counters.skipped == 1
    assert third.oms.view().holds == {BTC: key}
    third.submit()
    refusal = third.one(TRADER, Refusal)
    assert (refusal.code, "on hold" in refusal.text) == ("MODE_CANCEL_ONLY", True)
    third.submit(10, instrument=InstrumentId("binance:ETH/USDT"))
    assert len(third.take(GATEWAY, CreateOrder)) == 1
    third.check()


@pytest.mark.failure("ST-12")
def test_poison_when_it_had_waited_for_the_journal_then_it_alone_is_set_aside(
    monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    """The journal's answer names the fact that waited for it: no crash repeats, its neighbour counts."""
    book = oms_fills._book

    def breaks(turn: Turn, msg: VenueFill, *more: Any) -> None:
        if msg.trade_id == "666":
            raise RuntimeError("boom")
        book(turn, msg, *more)

    monkeypatch.setattr(oms_fills, "_book", breaks)
    lost = foreign(3, client_order_id("dev", 9, 9))
    bench.auto_history = False
    for trade_id in ("665", "666"):
        bench.fill(lost, 1, trade_id, source="look")
    first, second = (bench.history(one) for one in bench.take(JOURNAL, AskHistory))
    bench.tell(first)
    with pytest.raises(RuntimeError, match="boom"):
        bench.tell(second)
    again = Bench(records=bench.records)
    again.fold(restart=1, poison=second.fact_key(), poison_text="boom")
    again.tell(AccountState(ACCOUNT, True, ""))
    again.fill(lost, 1, "666", source="look")
    assert [(one.fact_key, one.instrument) for one in again.made(Poison)] == [
        (f"fill {ACCOUNT} {BTC} 666", BTC)
    ]
    assert [one.trade_id for one in again.made(Fill)] == ["665"]
    assert again.moods(BTC, "poison") == ["CANCEL_ONLY"]
    again.check()


@pytest.mark.failure("ST-12")
def test_poison_when_a_report_of_a_forgotten_order_then_its_instrument_is_held_as_it_comes_again(
    bench: Bench,
) -> None:
    """Its key names no instrument, and its order is not in memory; the report itself tells it."""
    lost = foreign(3, client_order_id("dev", 9, 9))
    key = f"report {ACCOUNT} {lost.client_order_id} NEW 0"
    again = Bench(records=bench.records)
    again.fold(restart=1, poison=key, poison_text="boom")
    assert again.oms.view().holds == {}
    for _ in range(2):
        again.report(lost, S.NEW, source="look")
    assert [one.instrument for one in again.made(Poison)] == [None, BTC]
    assert again.moods(BTC, "poison") == ["CANCEL_ONLY"]
    again.check()


def test_poison_when_it_names_no_instrument_then_nothing_is_held() -> None:
    """A key of another kind is journaled and skipped all the same."""
    bench = Bench()
    bench.fold(poison="report x unknown NEW 0")
    assert bench.made(Poison)[0].instrument is None
    assert bench.oms.view().holds == {}
