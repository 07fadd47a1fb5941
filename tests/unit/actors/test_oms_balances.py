"""Balances: the opening, and money that moved without a fill of ours."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BASE,
    BTC,
    CONFIG,
    ETH,
    GATEWAY,
    TREND,
    USDT,
    client_id,
    foreign,
)
from tradefan.config.schema import AccountConfig
from tradefan.core.ids import client_order_id
from tradefan.core.ledger import balance, held_before, position
from tradefan.messages.account import AccountState
from tradefan.messages.gateway import CreateOrder, Look
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import (
    Fill,
    Opening,
    Transfer,
)
from tradefan.units import MS, SECOND, ClientOrderId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


# --- the opening -----------------------------------------------------------------------------------------


def connected() -> Bench:
    """Return a bench whose account is not opened yet, with its first look under way."""
    bench = Bench()
    bench.fold()
    bench.tell(AccountState(ACCOUNT, True, ""))
    return bench


@pytest.mark.failure("ST-09", "ST-14")
def test_opening_when_two_looks_agree_then_it_is_booked_once_what_is_visible_has_come() -> None:
    """Cursor, balances, open orders, and all of it again `visible_bound` later: nothing hides any more."""
    bench = connected()
    began_ns = bench.now_ns
    bench.opened({"USDT": 1000, "BTC": 2})
    account = bench.config.accounts[ACCOUNT]
    assert bench.now_ns - began_ns >= account.visible_bound
    assert [(one.asset, one.qty) for one in bench.made(Opening)] == [(USDT, D(1000)), (BASE, D(2))]
    bench.look(held={"USDT": 1000, "BTC": 2})
    assert len(bench.made(Opening)) == 2
    bench.check()


def test_opening_when_a_look_shows_something_else_then_they_begin_anew() -> None:
    """Balances or cursors that move between two looks: what is booked is what stayed."""
    bench = connected()
    for held, cursor in (({"BTC": 1}, "5"), ({"BTC": 2}, "5"), ({"BTC": 2}, "6")):
        bench.look(held=held, cursors=((BTC, TradeId(cursor)),))
    first_ns = bench.now_ns
    assert bench.trading.opened == {}
    bench.opened({"BTC": 2}, cursors=((BTC, TradeId("6")),))
    assert bench.now_ns - first_ns >= bench.config.accounts[ACCOUNT].visible_bound
    assert bench.trading.opening_cursors == {ACCOUNT: {BTC: "6"}}


def test_opening_when_nothing_is_held_then_it_is_booked_as_nothing() -> None:
    """An empty account is opened, too: with a zero of the numeraire."""
    bench = connected()
    bench.opened({})
    assert [(one.asset, one.qty) for one in bench.made(Opening)] == [(USDT, D(0))]


@pytest.mark.failure("ST-13")
def test_history_when_before_the_opening_then_it_is_not_booked() -> None:
    """What traded before us is in the balances that OPENING books."""
    bench = connected()
    bench.fill(foreign(1), 1, "1", source="look")
    bench.opened({"BTC": 1})
    assert bench.made(Fill) == []
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(1)


@pytest.mark.failure("ST-14")
def test_opening_when_something_happens_meanwhile_then_the_looks_are_repeated() -> None:
    """Cursor, balances, and nothing in between: else the same money would be counted twice."""
    bench = connected()
    bench.look(held={"BTC": 1})
    for _ in range(20):
        bench.fill(foreign(1), 1)
        bench.look(held={"BTC": 1})
    assert bench.trading.opened == {}
    bench.opened({"BTC": 1, "USDT": -100})
    assert list(bench.trading.opened) == [ACCOUNT]


@pytest.mark.failure("ST-11", "ST-13")
@pytest.mark.parametrize("client_order_id", [None, client_id("web"), client_order_id("dev", 9, 9)])
def test_fill_when_streamed_before_the_opening_then_its_money_is_counted_once(
    client_order_id: ClientOrderId | None,
) -> None:
    """What traded before OPENING is in its balances: foreign fills and orphans, before it and late."""
    bench = connected()
    create, fill = foreign(1, "web"), {"client_order_id": client_order_id}
    bench.look(held={"BTC": 1, "USDT": 900})
    bench.fill(create, 1, "41", **fill)
    bench.look(held={"BTC": 1, "USDT": 900})
    assert bench.trading.opened == {}
    bench.opened({"BTC": 2, "USDT": 800}, cursors=((BTC, TradeId("100")),))
    # Traded before the opening's cursor, told after it, on both roads; the last one is news.
    bench.fill(create, 1, "42", **fill)
    bench.fill(create, 1, "100", source="look", **fill)
    bench.fill(create, 1, "101", **fill)
    assert [one.trade_id for one in bench.made(Fill)] == ["101"]
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(3)
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(700)
    bench.check()


# --- transfers -------------------------------------------------------------------------------------------


@pytest.mark.failure("ST-09", "ST-14")
def test_balance_when_two_quiet_looks_agree_on_a_difference_then_it_is_a_transfer(bench: Bench) -> None:
    """A deposit is booked to `external` after two agreeing looks, 5 s and V apart, with nothing under way."""
    held = {"USDT": 1_000_500, "BNB": "0.5"}
    bench.advance(10 * SECOND)
    bench.done(bench.one(GATEWAY, Look), held)
    bench.advance(6 * SECOND)
    assert bench.take(GATEWAY, Look) == []
    bench.advance(SECOND)
    bench.done(bench.one(GATEWAY, Look), held)
    assert [(one.asset, one.qty) for one in bench.made(Transfer)] == [("USDT", D(500)), ("BNB", D("0.5"))]
    assert held_before(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_500)
    assert (bench.logs.count("transfer"), bench.levels["transfer"]) == (2, "warning")
    bench.check()


@pytest.mark.failure("ST-14")
def test_balance_when_the_difference_moves_then_nothing_is_booked(bench: Bench) -> None:
    """A fill on its way looks like a difference; only what stays is one."""
    create = bench.resting()
    for qty in (1, 2, 3, 4):
        bench.look(create, held={"USDT": 1_000_000, "BNB": qty})
    bench.report(create, S.CANCELED)
    for qty in (5, 6, 7):
        bench.look(held={"USDT": 1_000_000, "BNB": qty})
    assert bench.made(Transfer) == []


def test_balance_when_an_order_works_then_two_looks_have_to_be_further_apart(bench: Bench) -> None:
    """Until `visible_bound` has passed its trade may hide where the balance shows it already."""
    create = bench.resting()
    held = {"USDT": 1_000_000, "BNB": 1}
    bench.look(create, held=held)
    first_ns = bench.now_ns
    while not bench.made(Transfer):
        bench.look(create, held=held)
        assert bench.now_ns < first_ns + 20 * SECOND
    assert bench.now_ns - first_ns >= 5 * SECOND + 2 * SECOND
    bench.check()


@pytest.mark.failure("OR-07")
@pytest.mark.parametrize("ours", [True, False])
def test_balance_when_a_trade_shows_later_than_its_money_then_it_is_no_transfer(ours: bool) -> None:
    """A late fill of what has ended, or a trade of others: money at once, the trade `visible_bound` later."""
    slow = AccountConfig(visible_bound=10 * SECOND, late_fill_bound=300 * SECOND)
    bench = Bench(config=msgspec.structs.replace(CONFIG, accounts={ACCOUNT: slow})).ready()
    create = bench.resting(2, 100) if ours else foreign(2)
    if ours:
        bench.report(create, S.CANCELED)
    bench.passed(30)
    held, first_ns = {"USDT": 999_800, "BTC": 2}, None
    while first_ns is None or bench.now_ns < first_ns + 60 * SECOND:
        while not (looks := bench.take(GATEWAY, Look)):
            bench.advance(bench.timers[0][0] - bench.now_ns)
        first_ns = first_ns or bench.now_ns
        if bench.now_ns >= first_ns + 10 * SECOND:
            bench.fill(create, 2, "9", source="look")
        bench.done(looks[-1], held)
    assert bench.made(Transfer) == []
    assert len(bench.made(Fill)) == 1
    bench.check()


def test_balance_when_an_order_is_in_doubt_then_nothing_is_booked(bench: Bench) -> None:
    """What nobody knows may have moved the money."""
    bench.doubtful(algo="limit", limit_price=D(99))
    for _ in range(8):
        bench.look(held={"USDT": 999_901, "BTC": 1})
    assert bench.made(Transfer) == []


def test_balance_when_we_trade_all_the_time_then_three_looks_have_to_agree(bench: Bench) -> None:
    """A fill between two looks leaves them in doubt; what three show alike is a transfer all the same."""
    create = bench.resting(2)
    first_ns = bench.now_ns
    while not bench.made(Transfer):
        held = {str(asset): qty for asset, qty in bench.trading.ledger.balances[ACCOUNT].items()}
        bench.look(create, held={**held, "BNB": 1})
        bench.fill(create, "0.1")
    assert bench.now_ns - first_ns >= 2 * 7 * SECOND
    assert [(one.asset, one.qty) for one in bench.made(Transfer)] == [("BNB", D(1))]
    held = {str(asset): qty for asset, qty in bench.trading.ledger.balances[ACCOUNT].items()}
    for rise in (1, 2, 3, 4):
        bench.look(
            create, held={**held, "USDT": held["USDT"] - 10 * rise, "BTC": held["BTC"] + D("0.1") * rise}
        )
    assert len(bench.made(Transfer)) == 1
    bench.check()


def test_balance_when_looks_fall_into_our_trades_then_those_say_nothing_against_the_others(
    bench: Bench,
) -> None:
    """Each third look falls into a trade of ours; a deposit of 1 BTC is booked all the same."""
    create = bench.resting(2)
    looked = 0
    while not bench.made(Transfer):
        while not (looks := bench.take(GATEWAY, Look)):
            bench.advance(bench.timers[0][0] - bench.now_ns)
        bench.report(create, S.NEW, source="look")
        held: dict[str, Any] = {
            str(name): qty for name, qty in bench.trading.ledger.balances[ACCOUNT].items()
        }
        held["BTC"] = held.get("BTC", D(0)) + 1
        looked += 1
        if looked % 3 == 0:
            bench.fill(create, "0.01")
        bench.done(looks[-1], held, missing=())
        bench.fill(create, "0.01")
        assert looked < 8
    assert [(one.asset, one.qty) for one in bench.made(Transfer)] == [("BTC", D(1))]
    bench.check()


@pytest.mark.parametrize("clips", [(1, 1, 1), (1, 1, 2, 1), (1, 2, 1, 1)])
def test_balance_when_every_look_falls_into_a_trade_then_what_they_share_is_no_transfer(
    bench: Bench, clips: tuple[int, ...]
) -> None:
    """A strategy that buys its clip whenever a look is under way: each shows the time before."""
    for count in clips:
        while not (looks := bench.take(GATEWAY, Look)):
            bench.advance(bench.timers[0][0] - bench.now_ns)
            bench.market()
        asked_ns = bench.now_ns
        held = {str(name): qty for name, qty in bench.trading.ledger.balances[ACCOUNT].items()}
        for _ in range(count):
            bench.advance(200 * MS)
            bench.market()
            bench.submit(1)
            create = bench.one(GATEWAY, CreateOrder)
            bench.fill(create, 1)
            bench.report(create, S.FILLED, 1)
        bench.done(looks[-1], held, asked_ns=asked_ns, missing=())
    assert bench.made(Transfer) == []
    bench.check()


@pytest.mark.failure("OR-19")
def test_balance_when_a_filled_order_lacks_its_fill_then_nothing_is_a_transfer(bench: Bench) -> None:
    """Our own money on its way is no deposit: a report said FILLED, and the fill itself comes late."""
    bench.submit()
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.FILLED, 1)
    venue = {"USDT": 999_900, "BTC": 1}
    look_for(bench, 40, venue)
    bench.fill(create, 1)
    look_for(bench, 40, venue)
    assert bench.made(Transfer) == []
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(999_900)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert "fill_inferred" in bench.logs
    bench.check()


@pytest.mark.failure("ST-12")
@pytest.mark.parametrize("ours", [True, False])
def test_poison_when_looks_find_its_money_then_no_transfer_and_the_cursor_waits_before_it(
    bench: Bench, ours: bool
) -> None:
    """A human still has to resolve the fill: it is neither passed nor booked under another name."""
    create = bench.limit()
    bench.report(create, S.NEW)
    key = f"fill {ACCOUNT} {BTC} 77"
    again = Bench(records=bench.records)
    again.fold(poison=key, poison_text="boom")
    again.tell(AccountState(ACCOUNT, True, ""))
    again.fill(create, 1, "77", client_order_id=create.client_order_id if ours else None)
    again.report(create, *((S.FILLED, 1) if ours else (S.CANCELED, 0)), source="look")
    cursors = ((BTC, TradeId("77")), (ETH, TradeId("5")))
    look_for(again, 40, {"USDT": 999_901, "BTC": 1}, cursors=cursors)
    assert again.made(Transfer) == []
    assert again.trading.cursors == {ACCOUNT: {BTC: "0", ETH: "5"}}
    # An asset of no held instrument still is a deposit.
    look_for(again, 40, {"USDT": 999_901, "BTC": 1, "BNB": 2}, cursors=cursors)
    assert [one.asset for one in again.made(Transfer)] == ["BNB"]
    again.check()


def look_for(bench: Bench, seconds: int, held: dict[str, Any], **changes: Any) -> None:
    """Let time pass; each look finds these balances and has no order missing."""
    for _ in range(seconds):
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, held, missing=(), **changes)
