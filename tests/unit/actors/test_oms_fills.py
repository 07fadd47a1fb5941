"""Fills: booked once, whatever road they take, and sealed when nothing more is expected."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BTC,
    CONFIG,
    DESK,
    ETH,
    GATEWAY,
    JOURNAL,
    TREND,
)
from tradefan.config.schema import AccountConfig
from tradefan.core import apply_orders
from tradefan.core.exposure import account_sides
from tradefan.core.ledger import position
from tradefan.messages.control import AskHistory
from tradefan.messages.gateway import Look
from tradefan.messages.orders import FillUpdate, OrderStatus
from tradefan.messages.records import (
    Cursor,
    Fill,
    Sealed,
)
from tradefan.units import MINUTE, SECOND, InstrumentId, ParentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def test_fill_when_of_a_rejected_order_then_it_is_booked_and_asked(bench: Bench) -> None:
    """The money moved, whatever the venue said before; an overfill is alarmed too."""
    create = bench.limit()
    bench.report(create, S.REJECTED)
    bench.fill(create, 2)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
    assert bench.oms.view().counters.overfills == 1
    assert bench.oms.view().counters.illegal == 1
    bench.advance(SECOND)
    assert (BTC, create.client_order_id) in bench.one(GATEWAY, Look).orders


def test_fill_when_its_instrument_is_unknown_then_it_is_said_and_not_booked(bench: Bench) -> None:
    """Without an instrument nobody knows which assets moved."""
    create = bench.limit()
    bench.fill(create, 1, instrument=InstrumentId("binance:XRP/USDT"))
    assert bench.made(Fill) == []
    assert "fill_unbookable" in bench.logs


@pytest.mark.parametrize(
    "changes", [{"qty": "0"}, {"qty": "NaN"}, {"qty": "1e19"}, {"qty": 1, "fee": D("1e-30")}]
)
def test_fill_when_its_numbers_are_unsound_then_nobody_is_told_of_one(
    bench: Bench, changes: dict[str, Any]
) -> None:
    """What would not be booked is no fill: not in the journal, and not for desk, owner and store."""
    create = bench.resting(2)
    bench.sent.clear()
    for _ in range(2):
        bench.fill(create, D(changes["qty"]), "x1", fee=changes.get("fee", D(0)))
    assert [msg for _, msg in bench.sent if isinstance(msg, FillUpdate)] == []
    assert (bench.made(Fill), bench.oms.state.live.fills, bench.oms.view().counters.fills) == ([], [], 0)
    assert bench.logs.count("fill_unbookable") == 2
    bench.check()


def test_correction_when_its_numbers_are_unsound_then_nobody_is_told_of_one(bench: Bench) -> None:
    """The trade stays as it was booked."""
    create = bench.resting(2)
    bench.fill(create, 1, "x1")
    bench.sent.clear()
    bench.bust("x1", D("1e19"), 100, event_ns=bench.now_ns + 1)
    assert [msg for _, msg in bench.sent if isinstance(msg, FillUpdate)] == []
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert (bench.oms.view().counters.busts, "fill_unapplied" in bench.logs) == (0, True)


@pytest.mark.failure("OR-20", "OR-25", "ST-11")
def test_fill_when_it_comes_on_every_road_and_again_after_a_restart_then_it_books_once(bench: Bench) -> None:
    """Key (account, instrument, trade id): stream, answer, look, and the same once more in another life."""
    create = bench.resting(2)
    bench.fill(create, 1, "7")
    bench.fill(create, 1, "7", source="answer")
    bench.fill(create, 1, "7", source="look", client_order_id=None)
    again = Bench(records=bench.records).ready()
    again.fill(create, 1, "7", source="look")
    again.fill(create, 1, "7", instrument=ETH)
    assert [(one.instrument, one.trade_id) for one in again.made(Fill)] == [(BTC, "7"), (ETH, "7")]
    assert position(again.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert (bench.oms.view().counters.duplicates, again.oms.view().counters.duplicates) == (2, 1)
    again.check()


@pytest.mark.failure("OR-07")
def test_fill_when_late_then_it_is_booked_and_after_the_seal_alarmed(bench: Bench) -> None:
    """OR-07: a late fill always applies; after the seal it is SEV1, and the order is open to news again."""
    create = bench.resting()
    bench.report(create, S.CANCELED)
    bench.fill(create, "0.2")
    assert ("late_fill" in bench.logs, bench.alarms) == (True, [])
    bench.advance(11 * MINUTE, answering=True)
    assert bench.trading.orders[create.client_order_id].sealed
    bench.fill(create, "0.3")
    order = bench.trading.orders[create.client_order_id]
    assert (bench.alarms, order.sealed, order.filled) == (["late_fill"], False, D("0.5"))
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D("0.5")
    assert bench.trading.parents[ParentId(create.parent_id)].cum_qty == D("0.5")
    bench.check()


@pytest.mark.failure("OR-07")
def test_report_when_it_counts_more_after_the_seal_then_is_alarmed_as_a_fill_is(bench: Bench) -> None:
    """OR-07: what comes behind the seal is SEV1 whoever tells of it first, and is said once."""
    create = bench.resting()
    bench.report(create, S.CANCELED)
    bench.advance(11 * MINUTE, answering=True)
    assert bench.trading.orders[create.client_order_id].sealed
    bench.report(create, S.CANCELED, "0.3")
    assert bench.alarms == ["late_fill"]
    bench.fill(create, "0.3")
    assert (bench.alarms, bench.trading.orders[create.client_order_id].filled) == (["late_fill"], D("0.3"))
    bench.check()


@pytest.mark.failure("OR-07")
def test_order_when_quiet_long_after_its_end_then_it_is_sealed(bench: Bench) -> None:
    """Confirmed by a look, trades = filled (no inferred ones), ten minutes without news."""
    bench.bought()
    short = bench.limit()
    bench.report(short, S.CANCELED, "0.1")
    bench.advance(9 * MINUTE, answering=True)
    assert bench.made(Sealed) == []
    bench.advance(3 * MINUTE, answering=True)
    assert len(bench.made(Sealed)) == 1
    assert bench.trading.orders[bench.made(Sealed)[0].client_order_id].sealed
    bench.fill(short, "0.1")
    bench.advance(11 * MINUTE, answering=True)
    assert [one.client_order_id for one in bench.made(Sealed)][1:] == [short.client_order_id]
    bench.check()


def test_order_when_the_late_fill_bound_is_long_then_the_seal_waits_for_it() -> None:
    """`seal_after` = max(10 min, L + V)."""
    slow = AccountConfig(late_fill_bound=15 * MINUTE, visible_bound=MINUTE)
    bench = Bench(config=msgspec.structs.replace(CONFIG, accounts={ACCOUNT: slow})).ready()
    bench.bought()
    bench.advance(16 * MINUTE - SECOND, answering=True)
    assert bench.made(Sealed) == []
    bench.advance(20 * SECOND, answering=True)
    assert len(bench.made(Sealed)) == 1


# --- what has left memory ---------------------------------------------------------------------------------


@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember two fills and one ended order."""
    monkeypatch.setattr(apply_orders, "FILL_KEYS_MAX", 2)
    monkeypatch.setattr(apply_orders, "FILLS_MAX", 2)
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 1)


@pytest.mark.failure("OR-20", "ST-11")
@pytest.mark.usefixtures("short_memory")
def test_fill_when_older_than_memory_then_the_journal_is_asked_before_it_is_applied(bench: Bench) -> None:
    """The key has left its window: the journal says that it was booked, or that it never was."""
    create = bench.resting(9)
    for number in (10, 12, 13, 14):
        bench.fill(create, 1, str(number))
    bench.auto_history = False
    bench.fill(create, 1, "10", source="look")
    bench.fill(create, 1, "11", source="look")
    asked = bench.take(JOURNAL, AskHistory)
    assert [one.subject for one in asked] == [f"fill {ACCOUNT} {BTC} {number}" for number in (10, 11)]
    assert len(bench.made(Fill)) == 4
    bench.tell(*(bench.history(one) for one in asked))
    assert [one.trade_id for one in bench.made(Fill)] == ["10", "12", "13", "14", "11"]
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(5)
    bench.check()


@pytest.mark.failure("OR-19")
@pytest.mark.usefixtures("short_memory")
def test_fill_when_the_journal_still_thinks_then_no_cursor_passes_it(bench: Bench) -> None:
    """What waits for the answer is not applied yet: a crash must find it again."""
    create = bench.resting(9)
    for number in (10, 12, 13):
        bench.fill(create, 1, str(number))
    bench.auto_history = False
    bench.fill(create, 1, "9", source="look")
    held = {str(asset): qty for asset, qty in bench.trading.ledger.balances[ACCOUNT].items()}
    bench.look(create, held=held, cursors=((BTC, TradeId("13")),))
    assert [one.trade_id for one in bench.made(Cursor)] == []
    bench.tell(bench.history(bench.one(JOURNAL, AskHistory)))
    bench.look(create, cursors=((BTC, TradeId("13")),))
    assert [one.trade_id for one in bench.made(Cursor)] == ["13"]
    bench.check()


@pytest.mark.failure("ST-10")
@pytest.mark.usefixtures("short_memory")
def test_fill_when_of_an_order_that_left_memory_then_it_goes_to_its_owner(bench: Bench) -> None:
    """ST-10: by id and record, never by guess; so long after the end it is SEV1."""
    first, second, third = bench.resting(), bench.resting(), bench.resting()
    for create in (first, second, third):
        bench.report(create, S.CANCELED)
    assert first.client_order_id not in bench.trading.orders
    bench.fill(first, "0.4", "99")
    (fill,) = bench.made(Fill)
    assert (fill.owner, fill.client_order_id) == (TREND, first.client_order_id)
    assert bench.alarms == ["late_fill"]
    assert bench.one(DESK, FillUpdate).owner == TREND
    bench.fill(first, "0.4", "99")
    assert len(bench.made(Fill)) == 1
    bench.check()


@pytest.mark.usefixtures("short_memory")
def test_report_when_of_an_order_that_left_memory_then_its_end_is_no_news_and_its_life_is_adopted(
    bench: Bench,
) -> None:
    """R5: what the venue shows live counts in exposure again, is alarmed, and its instrument held."""
    creates = [bench.resting() for _ in range(3)]
    for create in creates:
        bench.report(create, S.CANCELED)
    first, records = creates[0], len(bench.records)
    bench.report(first, S.CANCELED)
    assert len(bench.records) == records
    bench.report(first, S.NEW, source="look")
    assert bench.alarms == ["orphan"]
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(1)
    bench.check()
