"""What is not ours: it counts, and is never touched."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BASE,
    BTC,
    CLI,
    DESK,
    ETH,
    GATEWAY,
    JOURNAL,
    STORE,
    TRADER,
    USDT,
    client_id,
    foreign,
)
from tradefan.core.exposure import account_sides, owner_sides, reserved
from tradefan.core.ids import client_order_id, wire_id
from tradefan.core.ledger import balance, position
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.control import ActorState, AskHistory, Stop
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look, OrderNotSent
from tradefan.messages.orders import (
    CancelAll,
    Doubt,
    FillUpdate,
    OrderStatus,
    Refusal,
    ResolveOrder,
    ResumeTrading,
)
from tradefan.messages.records import (
    ExternalOrder,
    Fill,
)
from tradefan.units import EXTERNAL, SECOND, InstrumentId, OwnerId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


@pytest.mark.failure("ST-10")
def test_fill_when_not_ours_then_it_is_external(bench: Bench) -> None:
    """Manual and foreign trades belong to `external`, and are counted and told to the risk desk."""
    create = bench.limit()
    bench.fill(create, 1, client_order_id=client_id("web_123"))
    bench.fill(create, 1, client_order_id=None, side="sell")
    assert [record.owner for record in bench.made(Fill)] == [EXTERNAL] * 2
    assert position(bench.trading.ledger, ACCOUNT, EXTERNAL, BTC).qty == D(0)
    assert bench.logs.count("foreign_fill") == 2
    assert bench.oms.view().counters.foreign == 2
    assert bench.take(TRADER, FillUpdate) == []
    assert len(bench.take(DESK, FillUpdate)) == 2


@pytest.mark.failure("ST-10")
def test_fill_when_of_our_form_and_unknown_to_the_journal_then_it_is_an_orphan(bench: Bench) -> None:
    """Own prefix, no INTENT: the journal is asked, then `external` has it, SEV1."""
    lost = foreign(3, client_order_id("dev", 9, 9))
    bench.auto_history = False
    bench.fill(lost, 3, "7")
    assert bench.made(Fill) == []
    asked = bench.one(JOURNAL, AskHistory)
    assert asked == AskHistory(f"order {lost.client_order_id}", f"fill {ACCOUNT} {BTC} 7")
    bench.fill(lost, 3, "7", source="look")
    assert bench.take(JOURNAL, AskHistory) == []
    bench.tell(bench.history(asked))
    (fill,) = bench.made(Fill)
    assert (fill.owner, fill.qty) == (EXTERNAL, D(3))
    assert (bench.alarms, bench.oms.view().counters.orphans) == (["epoch_used_before", "orphan"], 1)
    bench.check()


@pytest.mark.failure("ST-07", "ST-08")
def test_report_when_not_ours_then_the_order_counts_and_is_never_touched(bench: Bench) -> None:
    """EXTERNAL_ORDER: its rest is exposure and reserved; mode, kill, stop and cancels leave it alone."""
    stranger = foreign(5)
    bench.report(stranger, S.PARTIALLY_FILLED, 2)
    (record,) = bench.made(ExternalOrder)
    assert (record.order_qty, record.cum_qty, record.orphan) == (D(5), D(2), False)
    assert (bench.logs.count("foreign_order"), bench.levels["foreign_order"]) == (1, "warning")
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(3)
    assert owner_sides(bench.trading.exposure, ACCOUNT, BTC, EXTERNAL).buy_qty == D(3)
    assert reserved(bench.trading.exposure, ACCOUNT, USDT) == 3 * 99
    bench.tell(OrderNotSent(ACCOUNT, client_id("x"), ""), SetMode("all", "t", "REDUCE_ONLY", "T", ""))
    bench.tell(CancelAll(OwnerId("nobody")), CancelAll(API))
    bench.kill()
    bench.tell(Stop(bench.now_ns + SECOND))
    assert bench.take(GATEWAY, CancelOrder) == []
    assert bench.oms.view().counters.foreign == 1
    bench.report(stranger, S.CANCELED, 2)
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(0)
    assert reserved(bench.trading.exposure, ACCOUNT, USDT) == D(0)
    bench.check()


def test_foreign_order_when_its_fills_come_behind_its_report_then_they_count_once(bench: Bench) -> None:
    """It appeared after the opening, so its trades are booked: its rest stays what the venue says."""
    stranger = foreign(5)
    bench.report(stranger, S.PARTIALLY_FILLED, 2)
    bench.fill(stranger, 2, "7")
    order = bench.trading.orders[stranger.client_order_id]
    assert (order.cum_qty, order.leaves_qty) == (D(2), D(3))
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(3)
    assert position(bench.trading.ledger, ACCOUNT, EXTERNAL, BTC).qty == D(2)
    bench.fill(stranger, 3, "8")
    bench.report(stranger, S.FILLED, 5)
    assert bench.oms.view().counters.overfills == 0
    bench.check()


@pytest.mark.failure("ST-13")
def test_foreign_order_when_partly_filled_before_the_opening_then_that_part_is_in_the_balances() -> None:
    """What had traded when the account was opened is in OPENING; only later trades are booked."""
    bench, stranger = Bench(), foreign(5)
    bench.fold()
    bench.tell(AccountState(ACCOUNT, True, ""))
    bench.report(stranger, S.PARTIALLY_FILLED, 2, source="look")
    bench.opened({"USDT": 1000, "BTC": 2}, cursors=((BTC, TradeId("50")),))
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(3)
    bench.fill(stranger, 2, "50", source="look")
    bench.fill(stranger, 1, "51")
    order = bench.trading.orders[stranger.client_order_id]
    # Which part the fill was is known when the venue counts it: until then more counts, never less.
    assert order.leaves_qty >= D(2)
    bench.report(stranger, S.PARTIALLY_FILLED, 3)
    assert (order.cum_qty, order.leaves_qty) == (D(3), D(2))
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(3)
    bench.check()


@pytest.mark.failure("OR-04")
def test_foreign_order_when_its_id_is_used_again_then_it_is_another_order(bench: Bench) -> None:
    """OR-04: an id is free when its order has ended."""
    stranger = foreign(5)
    bench.report(stranger, S.NEW)
    bench.report(stranger, S.CANCELED)
    bench.report(foreign(2), S.NEW, venue_order_id="v2")
    assert [one.order_qty for one in bench.made(ExternalOrder)] == [D(5), D(2)]
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(2)
    bench.check()


def used_again(bench: Bench, status: OrderStatus = S.NEW, seconds: int = 60) -> CreateOrder:
    """Let the id of a foreign purchase of 1 be that of one of 100 when the connection is back."""
    bench.report(foreign(1), S.NEW)
    bench.advance(SECOND)
    bench.tell(AccountState(ACCOUNT, False, "lost"), AccountState(ACCOUNT, True, ""))
    newer, until_ns = foreign(100), bench.now_ns + seconds * SECOND
    while bench.now_ns < until_ns:
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.report(newer, status, source="look", venue_order_id="v2")
            bench.done(look, missing=())
    return newer


@pytest.mark.failure("OR-04")
@pytest.mark.parametrize(("status", "buys"), [(S.NEW, 100), (S.CANCELED, 0)])
def test_foreign_order_when_its_id_is_used_again_while_we_are_away_then_the_new_one_counts(
    bench: Bench, status: OrderStatus, buys: int
) -> None:
    """OR-04: a look that shows its id with another order behind it is the proof of its end, over restarts."""
    used_again(bench, status)
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(buys)
    assert reserved(bench.trading.exposure, ACCOUNT, USDT) == 99 * buys
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    assert account_sides(again.trading.exposure, ACCOUNT, BTC).buy_qty == D(buys)
    bench.check()


@pytest.mark.failure("OR-04")
def test_fill_when_of_the_order_that_had_its_id_before_then_it_is_external_and_the_new_one_counts_whole(
    bench: Bench,
) -> None:
    """Whichever comes first: the money has moved, and of the new order nothing has traded."""
    newer = foreign(100)
    bench.report(foreign(1), S.NEW)
    bench.fill(newer, 3, "8", venue_order_id="v2")
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(1)
    used_again(bench)
    bench.fill(newer, 1, "7", source="look")
    assert position(bench.trading.ledger, ACCOUNT, EXTERNAL, BTC).qty == D(4)
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(100)
    bench.bust("7")
    assert position(bench.trading.ledger, ACCOUNT, EXTERNAL, BTC).qty == D(3)
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(100)
    bench.check()


def test_foreign_order_when_an_older_word_of_its_id_comes_late_then_it_lives_on(bench: Bench) -> None:
    """Of the stream, and of a look that may not show it yet: nothing of that proves its end."""
    bench.report(foreign(1), S.NEW, venue_order_id="v0")
    bench.report(foreign(1), S.CANCELED, venue_order_id="v0")
    newer = foreign(100)
    bench.report(newer, S.NEW)
    bench.report(foreign(1), S.NEW, venue_order_id="v0")
    bench.report(foreign(1), S.NEW, venue_order_id="v0", source="look")
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(100)
    bench.advance(SECOND)
    assert bench.take(GATEWAY, Look)[-1].orders == ((BTC, newer.client_order_id),)
    bench.check()


@pytest.mark.failure("OR-04")
@pytest.mark.parametrize("listed", [False, True])
def test_foreign_order_when_looks_tell_the_end_of_the_one_that_had_its_id_then_it_lives_on(
    bench: Bench, *, listed: bool
) -> None:
    """A look asks for the order behind a trade too: of the one that has its id now that proves nothing."""
    bench.report(foreign(1), S.NEW, venue_order_id="v0")
    bench.report(foreign(1), S.FILLED, 1, venue_order_id="v0")
    newer = foreign(100)
    bench.report(newer, S.NEW)
    bench.report(foreign(1), S.NEW, venue_order_id="v0")
    until_ns = bench.now_ns + 60 * SECOND
    while bench.now_ns < until_ns:
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.report(foreign(1), S.FILLED, 1, source="look", venue_order_id="v0")
            if listed or look.orders:
                bench.report(newer, S.NEW, source="look")
            bench.done(look, missing=())
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(100)
    bench.check()


@pytest.mark.failure("OR-04", "ST-08")
def test_foreign_order_when_its_id_is_that_of_a_cancelled_one_then_it_is_not_cancelled_for_that(
    bench: Bench,
) -> None:
    """A cancel is repeated until the end of its order, not of whatever has its id by then."""
    bench.report(foreign(1), S.NEW)
    bench.kill(including_external=True)
    assert bench.byte() == 2
    bench.tell(ResumeTrading("all", "seen", "me"))
    bench.byte()
    bench.report(foreign(1), S.CANCELED)
    bench.report(foreign(100), S.NEW, venue_order_id="v2")
    bench.take(GATEWAY, CancelOrder)
    bench.advance(60 * SECOND)
    assert bench.take(GATEWAY, CancelOrder) == []
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(100)


@pytest.mark.failure("OR-25")
def test_foreign_orders_when_two_symbols_have_one_id_then_both_count_each_by_itself(bench: Bench) -> None:
    """An id is unique on its symbol only; reports, looks and a kill mean the right one."""
    first, second = foreign(5), foreign(70, instrument=ETH)
    bench.report(first, S.NEW)
    bench.report(second, S.NEW, venue_order_id="v2", source="look")
    sides = [account_sides(bench.trading.exposure, ACCOUNT, one).buy_qty for one in (BTC, ETH)]
    assert sides == [D(5), D(70)]
    bench.report(second, S.PARTIALLY_FILLED, 30, venue_order_id="v2")
    bench.kill(including_external=True)
    cancels = {one.instrument: one.client_order_id for one in bench.take(GATEWAY, CancelOrder)}
    assert {wire_id(name) for name in cancels.values()} == {first.client_order_id}
    assert (len(set(cancels.values())), cancels[BTC]) == (2, first.client_order_id)
    bench.report(second, S.CANCELED, 30, venue_order_id="v2")
    sides = [account_sides(bench.trading.exposure, ACCOUNT, one).buy_qty for one in (BTC, ETH)]
    assert sides == [D(5), D(0)]
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    assert again.trading.orders == bench.trading.orders
    bench.check()


@pytest.mark.failure("OR-25", "ST-09")
def test_order_when_others_use_an_id_of_ours_on_another_symbol_then_ours_is_left_alone(bench: Bench) -> None:
    """Its words are not ours: it is an orphan, counts there, and holds its own instrument."""
    create = bench.resting(2)
    bench.report(foreign(70, create.client_order_id, instrument=ETH), S.PARTIALLY_FILLED, 30)
    order = bench.trading.orders[create.client_order_id]
    assert (order.instrument, order.cum_qty, order.status) == (BTC, D(0), S.NEW)
    assert account_sides(bench.trading.exposure, ACCOUNT, ETH).buy_qty == D(40)
    assert list(bench.oms.state.live.holds) == [ETH]
    assert "orphan" in bench.alarms


def test_foreign_order_when_its_end_was_missed_then_a_look_by_id_finds_it(bench: Bench) -> None:
    """It does not count for ever because nobody told us of its end."""
    stranger = foreign(5)
    bench.report(stranger, S.NEW)
    bench.look()
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    assert look.orders == ((BTC, stranger.client_order_id),)
    bench.report(stranger, S.EXPIRED, source="look")
    bench.done(look, missing=())
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(0)


@pytest.mark.parametrize("cancelled", [False, True])
def test_foreign_order_when_its_feed_is_gone_then_looks_leave_it_out_and_the_account_is_ready(
    bench: Bench, cancelled: bool
) -> None:
    """One symbol that nobody can ask by does not hold up all others, nor is it asked again and again."""
    bench.report(foreign(5, instrument=ETH), S.NEW)
    if cancelled:
        bench.kill("binance:ETH/USDT", including_external=True)
        bench.doubt(foreign(5, instrument=ETH), Doubt.CANCEL)
    btc = {BTC: bench.wiring.instruments[BTC]}
    again = Bench(records=bench.records, accounts={ACCOUNT: (BTC,)}, instruments=btc)
    again.fold()
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.quote(BTC, 100)
    began_ns = again.now_ns
    while again.now_ns < began_ns + 60 * SECOND:
        again.advance(SECOND)
        for asked in again.take(GATEWAY, Look):
            assert (asked.orders, [name for name, _ in asked.cursors]) == ((), [BTC])
            again.done(asked)
    assert again.oms.view().state == "READY"
    assert again.oms.state.live.counters.looks < 15
    assert list(again.trading.orders_live) == ["web_123"]
    again.quote(BTC, 100)
    again.submit()
    again.one(GATEWAY, CreateOrder)
    again.check()


@pytest.mark.failure("ST-07", "ST-09")
def test_order_when_of_our_form_and_unknown_to_the_journal_then_it_is_an_orphan_on_hold(
    bench: Bench,
) -> None:
    """The second witness of a lost tail: counted, SEV1, HOLD, and not cancelled."""
    lost = foreign(3, client_order_id("dev", 9, 9))
    bench.report(lost, S.NEW, source="look")
    (record,) = bench.made(ExternalOrder)
    assert (record.client_order_id, record.orphan) == (lost.client_order_id, True)
    assert bench.alarms == ["epoch_used_before", "orphan"]
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(3)
    bench.kill()
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.check()


def held_orphan(bench: Bench) -> CreateOrder:
    """Let the venue show an order of our form that nobody knows."""
    lost = foreign(3, client_order_id("dev", 9, 9))
    bench.report(lost, S.NEW, source="look")
    bench.alarms.clear()
    return lost


@pytest.mark.failure("ST-07", "ST-09")
@pytest.mark.parametrize("verdict", [None, "PLACED", "NOT_PLACED"])
def test_orphan_when_the_oms_begins_anew_then_its_instrument_is_held_until_a_human_has_resolved_it(
    bench: Bench, verdict: Literal["PLACED", "NOT_PLACED"] | None
) -> None:
    """Neither looks that show it nor a restart let it go, and what a human has said stays said."""
    lost = held_orphan(bench)
    for _ in range(3):
        bench.look(lost)
    bench.report(lost, S.PARTIALLY_FILLED, 1)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    if verdict is not None:
        bench.tell(ResolveOrder(lost.client_order_id, verdict, "it is mine", "me"))
    bench.check()
    again = Bench(records=bench.records).ready()
    held = [] if verdict else [BTC]
    assert list(again.oms.view().holds) == held
    assert again.moods(BTC, "hold")[-1] == ("NORMAL" if verdict else "CANCEL_ONLY")
    again.check()


@pytest.mark.failure("ST-09")
def test_orphan_when_it_ends_then_nothing_is_left_to_hold_for(bench: Bench) -> None:
    """A human could not resolve it any more."""
    lost = held_orphan(bench)
    bench.report(lost, S.CANCELED)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    assert bench.trading.differences == {}
    bench.check()


def test_report_when_it_cannot_count_then_nothing_is_made_of_it(bench: Bench) -> None:
    """Ended, unmapped, without quantity, or in an instrument that nobody here trades."""
    bench.report(foreign(5), S.CANCELED)
    bench.report(foreign(5), S.UNKNOWN)
    bench.report(foreign(0), S.NEW)
    bench.report(foreign(5, instrument=InstrumentId("binance:XRP/USDT")), S.NEW)
    assert bench.made(ExternalOrder) == []
    assert bench.trading.orders == {}


def test_foreign_order_when_it_names_no_price_then_the_mark_is_what_it_reserves_at(bench: Bench) -> None:
    """A market order of somebody else costs what the market does now."""
    bench.report(foreign(5), S.NEW, limit_price=None)
    assert reserved(bench.trading.exposure, ACCOUNT, USDT) == 5 * 100


def test_foreign_sale_when_it_rests_then_it_reserves_what_it_sells() -> None:
    """A sale of spot reserves its base: nobody else sells the same coins."""
    bench = Bench().ready(USDT=1000, BTC=5)
    bench.report(foreign(4, side="sell", limit_price=D(120)), S.NEW, limit_price=D(120))
    assert reserved(bench.trading.exposure, ACCOUNT, BASE) == D(4)
    bench.submit(2, side="sell", owner=CLI)
    assert bench.one(STORE, Refusal).code == "INSUFFICIENT_FUNDS"
    bench.submit(1, side="sell", owner=CLI)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(1)
