"""Doubt and recovery: the venue is asked, nothing is sent twice, owners and positions survive."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import (
    ACCOUNT,
    API,
    BASE,
    BTC,
    DESK,
    ETH,
    GATEWAY,
    PAUSE,
    START,
    TRADER,
    TREND,
    USDT,
    Bench,
    client_id,
)
from tradefan.core.ids import client_order_id
from tradefan.core.ledger import balance, held_before, position
from tradefan.errors import Defect
from tradefan.messages.account import AccountState
from tradefan.messages.control import Ready
from tradefan.messages.orders import (
    CancelAll,
    CancelOrder,
    CancelParent,
    CreateOrder,
    Doubt,
    FillUpdate,
    GatewayReset,
    Look,
    LookDone,
    OrderInDoubt,
    OrderNotSent,
    OrderStatus,
    ParentUpdate,
    Phase,
    Refusal,
    VenueFill,
)
from tradefan.messages.records import (
    CancelIntent,
    Epoch,
    Fill,
    InDoubt,
    Intent,
    NotSent,
    Poison,
    Report,
    Resolved,
    Sealed,
    Transfer,
)
from tradefan.messages.wire import LinkDown
from tradefan.units import EXTERNAL, MINUTE, SECOND, ClientOrderId, InstrumentId, ParentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def doubtful(bench: Bench) -> CreateOrder:
    """Submit a market order whose create gets no answer."""
    bench.submit()
    create = bench.one(GATEWAY, CreateOrder)
    bench.advance(5 * SECOND)
    bench.tell(OrderInDoubt(ACCOUNT, create.client_order_id, Doubt.CREATE, "TIMEOUT"))
    return create


# --- doubt ------------------------------------------------------------------------------------------------


def test_doubt_when_the_venue_is_silent_then_it_is_asked_at_growing_distances(bench: Bench) -> None:
    """R3: looks 0.25, 0.5, 1, 2, 5, 10 s apart name the order; R2: its whole rest stays reserved."""
    create = doubtful(bench)
    began = bench.now_ns
    asked: list[float] = []
    while len(asked) < 6:
        bench.advance(PAUSE)
        for look in bench.take(GATEWAY, Look):
            assert look.orders == ((BTC, create.client_order_id),)
            asked.append((bench.now_ns - began) / SECOND)
            bench.done(look, missing=())
    assert asked == [0.25, 0.75, 1.75, 3.75, 8.75, 18.75]
    assert bench.trading.exposure.accounts[ACCOUNT][BTC].buy_doubt == D(1)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.check()


def test_doubt_when_two_late_looks_find_nothing_then_it_was_not_placed(bench: Bench) -> None:
    """R4: not before not_after + A + V + 1 s, twice, 5 s apart, both instants on record; then a new child."""
    create = doubtful(bench)
    bench.quote(BTC, 100)
    earliest = create.not_after_ns + 3 * SECOND
    while not bench.made(Resolved):
        bench.advance(PAUSE, answering=True)
        assert bench.now_ns < START + MINUTE
    resolved = bench.made(Resolved)[0]
    assert resolved.verdict == "NOT_PLACED"
    assert resolved.first_look_ns is not None
    assert resolved.second_look_ns is not None
    assert resolved.first_look_ns >= earliest
    assert resolved.second_look_ns - resolved.first_look_ns >= 5 * SECOND
    assert bench.trading.exposure.reserved[ACCOUNT][USDT] == D(0)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.quote(BTC, 100)
    bench.advance(PAUSE)
    second = bench.one(GATEWAY, CreateOrder)
    assert second.client_order_id != create.client_order_id
    bench.check()


def test_doubt_when_a_look_is_incomplete_then_it_proves_nothing(bench: Bench) -> None:
    """Looks that failed do not count towards R4, however many there are."""
    create = doubtful(bench)
    for _ in range(200):
        bench.advance(PAUSE)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, complete=False)
    assert bench.made(Resolved) == []
    assert bench.trading.orders[create.client_order_id].in_doubt is Doubt.CREATE


def test_doubt_when_the_venue_shows_the_order_then_it_ends(bench: Bench) -> None:
    """Positive evidence: the report merges, the doubt is gone, and one negative look is forgotten."""
    create = doubtful(bench)
    bench.advance(3 * SECOND, answering=True)
    assert bench.oms.state.live.accounts[ACCOUNT].negatives
    bench.report(create, S.NEW, source="look")
    assert bench.trading.orders[create.client_order_id].in_doubt is None
    assert bench.oms.state.live.accounts[ACCOUNT].negatives == {}
    bench.fill(create, 1)
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.FILLED
    bench.check()


def test_order_when_found_in_spite_of_the_proof_then_it_is_adopted(bench: Bench) -> None:
    """R5: a fill of a NOT_PLACED order is journaled, adopted, booked to its owner and alarmed."""
    create = doubtful(bench)
    bench.advance(MINUTE, answering=True)
    assert bench.made(Resolved)[0].verdict == "NOT_PLACED"
    bench.fill(create, 1)
    assert [record.verdict for record in bench.made(Resolved)][-1] == "PLACED"
    assert bench.made(Fill)[0].owner == TREND
    assert (bench.oms.view().counters.adopted, "order_adopted" in bench.logs) == (1, True)
    bench.report(create, S.FILLED, 1)
    bench.check()


def test_never_sent_order_when_the_venue_shows_it_then_it_is_adopted_and_its_end_is_no_news(
    bench: Bench,
) -> None:
    """A terminal word without quantity says nothing new; life does, and nobody wants that order any more."""
    create = bench.limit()
    bench.tell(OrderNotSent(ACCOUNT, create.client_order_id, "EXPIRED"))
    bench.tell(OrderNotSent(ACCOUNT, create.client_order_id, "EXPIRED"))
    bench.report(create, S.CANCELED)
    assert bench.made(Report) == []
    assert len(bench.made(NotSent)) == 1
    bench.report(create, S.NEW)
    assert bench.trading.orders[create.client_order_id].status is S.PENDING_CANCEL
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.check()


def test_not_sent_when_the_venue_spoke_already_then_it_is_illegal(bench: Bench) -> None:
    """A proof that contradicts the venue's word changes nothing; the venue is asked."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(OrderNotSent(ACCOUNT, create.client_order_id, "EXPIRED"))
    assert bench.made(NotSent) == []
    assert bench.oms.view().counters.illegal == 1
    bench.advance(SECOND)
    assert (BTC, create.client_order_id) in bench.one(GATEWAY, Look).orders


def test_report_when_illegal_then_it_is_counted_and_the_order_is_asked(bench: Bench) -> None:
    """An illegal pair and an unmapped word change nothing and trigger a query by id."""
    create = bench.limit()
    bench.report(create, S.REJECTED)
    records = len(bench.records)
    bench.report(create, S.NEW)
    bench.report(create, S.UNKNOWN)
    assert (len(bench.records), bench.oms.view().counters.illegal) == (records, 2)
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    assert look.orders == ((BTC, create.client_order_id),)
    bench.done(look, missing=())
    bench.advance(5 * SECOND)
    assert bench.take(GATEWAY, Look) == []


def test_fill_when_of_a_rejected_order_then_it_is_booked_and_asked(bench: Bench) -> None:
    """The money moved, whatever the venue said before; an overfill is alarmed too."""
    create = bench.limit()
    bench.report(create, S.REJECTED)
    bench.fill(create, 2)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
    counters = bench.oms.view().counters
    assert (counters.illegal, counters.overfills) == (1, 1)


def test_report_when_ahead_of_its_fills_then_a_look_brings_them(bench: Bench) -> None:
    """The venue's quantity is ahead: the trades are asked after a second, unless they came."""
    create = bench.limit()
    bench.report(create, S.PARTIALLY_FILLED, "0.4")
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    bench.fill(create, "0.4", source="look")
    bench.done(look)
    bench.report(create, S.FILLED, 1)
    bench.fill(create, "0.6")
    bench.advance(5 * SECOND)
    assert bench.take(GATEWAY, Look) == []
    bench.check()


def test_create_when_nobody_ever_answers_then_a_look_doubts_it(bench: Bench) -> None:
    """An order without any word long after its deadline is in doubt, whoever lost it."""
    create = bench.limit()
    bench.advance(35 * SECOND, answering=True)
    assert [record.client_order_id for record in bench.made(InDoubt)] == [create.client_order_id]
    bench.check()


def test_order_when_missing_among_the_open_ones_then_it_is_asked_by_id(bench: Bench) -> None:
    """A report was lost: the order is not open any more, and asking by id finds its end."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.advance(15 * SECOND)
    bench.done(bench.one(GATEWAY, Look))
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    assert look.orders == ((BTC, create.client_order_id),)
    bench.report(create, S.CANCELED, source="look")
    bench.done(look, missing=())
    assert bench.take(TRADER, ParentUpdate)[-1].phase is Phase.DONE
    bench.check()


def test_order_when_the_venue_forgot_it_then_only_a_human_can_end_it(bench: Bench) -> None:
    """Known before, not found now: nothing is proved by that."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.advance(40 * SECOND, answering=True)
    assert bench.trading.orders[create.client_order_id].status is S.NEW
    assert "order_missing" in bench.logs


def test_account_when_four_orders_are_in_doubt_then_only_cancels_leave(bench: Bench) -> None:
    """More than three IN DOUBT: CANCEL_ONLY for the account."""
    for _ in range(4):
        bench.submit("0.1", owner=API)
    for create in bench.take(GATEWAY, CreateOrder):
        bench.tell(OrderInDoubt(ACCOUNT, create.client_order_id, Doubt.CREATE, "TIMEOUT"))
    bench.submit("0.1")
    assert bench.one(TRADER, Refusal).code == "MODE_CANCEL_ONLY"
    bench.tell(CancelAll(API))
    assert len(bench.take(GATEWAY, CancelOrder)) == 4


def test_gateway_when_it_resets_then_its_creates_are_in_doubt(bench: Bench) -> None:
    """What it had in flight has no outcome; what still waited here is not touched, nor what was answered."""
    answered, lost = bench.limit(), bench.limit()
    bench.report(answered, S.NEW)
    bench.auto_durable = False
    bench.submit("0.1")
    bench.tell(GatewayReset(ACCOUNT))
    bench._journal()
    assert [record.client_order_id for record in bench.made(InDoubt)] == [lost.client_order_id]
    bench.advance(0)
    assert bench.one(GATEWAY, Look).orders == ((BTC, lost.client_order_id),)


# --- restart ----------------------------------------------------------------------------------------------


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
    assert again.one(TRADER, Ready) == Ready(2)
    assert len(again.take(DESK, Ready)) == 1
    again.advance(MINUTE)
    assert again.take(GATEWAY, CreateOrder) == []
    assert again.made(Intent) == bench.made(Intent)
    again.check()


def test_restart_when_a_market_order_was_at_work_then_no_child_without_a_new_decision(bench: Bench) -> None:
    """Its flying child goes to evidence; then the parent of the old epoch ends EXPIRED(restart)."""
    bench.submit(2)
    flying = bench.one(GATEWAY, CreateOrder)
    again = Bench(records=bench.records).ready()
    again.fill(flying, "0.5")
    again.report(flying, S.EXPIRED, "0.5")
    again.advance(SECOND)
    assert again.take(GATEWAY, CreateOrder) == []
    parent = again.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.reason, parent.cum_qty) == (S.EXPIRED, "restart", D("0.5"))
    again.submit()
    fresh = again.one(GATEWAY, CreateOrder)
    assert fresh.client_order_id == client_order_id("dev", 2, 1)
    again.check()


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
    assert again.one(TRADER, Ready) == Ready(2)
    assert again.oms.view().accounts[0].connected


def test_journal_link_when_it_dies_then_the_oms_begins_anew(bench: Bench) -> None:
    """What waited in the link is gone: only a new fold knows what the disk holds, so this OMS ends."""
    with pytest.raises(Defect, match="fold again"):
        bench.oms.handle(LinkDown("journal", 1, "died"), bench)


def test_restart_when_an_append_never_arrived_then_its_create_never_was(bench: Bench) -> None:
    """Records that died before the disk had them have sent nothing: no order, no doubt, no id twice."""
    bench.auto_durable = False
    bench.submit(1)
    assert bench.take(GATEWAY, CreateOrder) == []
    again = Bench(records=bench.records[:-2]).ready()
    assert again.trading.orders == {}
    again.submit(1)
    assert again.one(GATEWAY, CreateOrder).client_order_id == client_order_id("dev", 2, 1)
    again.check()


def test_look_when_of_an_earlier_life_then_its_end_means_nothing(bench: Bench) -> None:
    """Facts of a look that nobody waits for still merge; its end proves nothing."""
    create = doubtful(bench)
    bench.tell(LookDone(ACCOUNT, 999_999, bench.now_ns, True, (create.client_order_id,), ()))
    assert bench.oms.state.live.accounts[ACCOUNT].negatives == {}
    assert bench.trading.orders[create.client_order_id].in_doubt is Doubt.CREATE


def test_r4_when_the_intent_is_of_an_earlier_epoch_then_the_deadline_counts_from_this_start(
    bench: Bench,
) -> None:
    """The wall clock may have jumped while nobody was here: the old deadline proves nothing."""
    create = bench.limit()
    again = Bench(records=bench.records, now_ns=bench.now_ns - 100 * SECOND).ready()
    began = again.now_ns
    while not again.made(Resolved):
        again.advance(PAUSE, answering=True)
        assert again.now_ns < began + MINUTE
    assert again.made(Resolved)[0].first_look_ns >= began + 5 * SECOND
    parent = again.take(TRADER, ParentUpdate)[-1]
    assert (parent.order.parent_id, parent.status, parent.reason) == (
        create.parent_id,
        S.EXPIRED,
        "NOT_PLACED",
    )


# --- poison -----------------------------------------------------------------------------------------------


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


def test_poison_when_it_names_no_instrument_then_nothing_is_held() -> None:
    """A key of another kind is journaled and skipped all the same."""
    bench = Bench()
    bench.fold(poison="report x unknown NEW 0")
    assert bench.made(Poison)[0].instrument is None
    assert bench.oms.view().holds == {}


# --- foreign ------------------------------------------------------------------------------------------------


def test_fill_when_not_ours_then_it_is_external(bench: Bench) -> None:
    """Manual and foreign trades belong to `external`; an unknown id of our own form is an orphan."""
    create = bench.limit()
    bench.fill(create, 1, client_order_id=client_id("web_123"))
    bench.fill(create, 1, client_order_id=None, side="sell")
    bench.fill(create, 3, client_order_id=client_order_id("dev", 9, 9))
    assert [record.owner for record in bench.made(Fill)] == [EXTERNAL] * 3
    assert position(bench.trading.ledger, ACCOUNT, EXTERNAL, BTC).qty == D(3)
    counters = bench.oms.view().counters
    assert (counters.foreign, counters.orphans) == (2, 1)
    assert bench.take(TRADER, FillUpdate) == []
    assert len(bench.take(DESK, FillUpdate)) == 3


def test_report_when_not_ours_then_it_is_counted_and_never_touched(bench: Bench) -> None:
    """Foreign orders are not cancelled, amended or adopted."""
    create = bench.limit()
    bench.report(create, S.NEW, client_order_id=client_id("web_123"))
    bench.tell(
        OrderNotSent(ACCOUNT, client_id("x"), ""), OrderInDoubt(ACCOUNT, client_id("x"), Doubt.CREATE, "")
    )
    assert bench.oms.view().counters.foreign == 1
    assert bench.take(GATEWAY, CancelOrder) == []


def test_fill_when_its_instrument_is_unknown_then_it_is_said_and_not_booked(bench: Bench) -> None:
    """Without an instrument nobody knows which assets moved."""
    create = bench.limit()
    bench.fill(create, 1, instrument=InstrumentId("binance:XRP/USDT"))
    assert bench.made(Fill) == []
    assert "fill_unbookable" in bench.logs


def test_history_when_before_the_opening_then_it_is_not_booked() -> None:
    """What traded before us is in the balances that OPENING books."""
    bench = Bench()
    bench.fold()
    bench.tell(AccountState(ACCOUNT, True, ""))
    look = bench.take(GATEWAY, Look)[-1]
    old = VenueFill(
        ACCOUNT,
        BTC,
        TradeId("1"),
        None,
        "v",
        "buy",
        D(1),
        D(100),
        D(0),
        USDT,
        "taker",
        1,
        1,
        "look",
    )
    bench.tell(old)
    bench.done(look, {"BTC": 1})
    assert bench.made(Fill) == []
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(1)


def test_opening_when_something_happens_meanwhile_then_the_look_is_repeated() -> None:
    """Cursor, balances, and nothing in between: else the same money would be counted twice."""
    bench = Bench()
    bench.fold()
    bench.tell(AccountState(ACCOUNT, True, ""))
    look = bench.take(GATEWAY, Look)[-1]
    create = CreateOrder(
        ACCOUNT,
        BTC,
        TREND,
        ParentId("p"),
        client_id("web"),
        "buy",
        "limit",
        "GTC",
        False,
        D(1),
        D(1),
        False,
        1,
    )
    bench.fill(create, 1)
    bench.done(look, {"BTC": 1})
    assert bench.trading.opened == {}
    bench.advance(SECOND)
    bench.done(bench.one(GATEWAY, Look), {"BTC": 1, "USDT": -100})
    assert list(bench.trading.opened) == [ACCOUNT]


def test_balance_when_two_quiet_looks_agree_on_a_difference_then_it_is_a_transfer(bench: Bench) -> None:
    """A deposit is booked to `external` after two agreeing looks, 5 s apart, with nothing under way."""
    held = {"USDT": 1_000_500, "BNB": "0.5"}
    bench.advance(15 * SECOND)
    bench.done(bench.one(GATEWAY, Look), held)
    bench.advance(2 * SECOND)
    assert bench.made(Transfer) == []
    bench.advance(3 * SECOND)
    bench.done(bench.one(GATEWAY, Look), held)
    assert [(one.asset, one.qty) for one in bench.made(Transfer)] == [("USDT", D(500)), ("BNB", D("0.5"))]
    assert held_before(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_500)
    bench.check()


def test_balance_when_an_order_works_or_the_difference_moves_then_nothing_is_booked(bench: Bench) -> None:
    """A fill on its way looks like a difference; only what stays is one."""
    create = bench.limit()
    bench.report(create, S.NEW)
    for qty in (1, 1, 1, 1):
        bench.advance(15 * SECOND)
        bench.report(create, S.NEW, source="look")
        bench.done(bench.take(GATEWAY, Look)[-1], {"USDT": 1_000_000, "BNB": qty})
    assert bench.made(Transfer) == []
    bench.report(create, S.CANCELED)
    for qty in (1, 2, 3):
        bench.advance(15 * SECOND)
        bench.done(bench.take(GATEWAY, Look)[-1], {"USDT": 1_000_000, "BNB": qty})
    assert bench.made(Transfer) == []


def test_order_when_quiet_long_after_its_end_then_it_is_sealed(bench: Bench) -> None:
    """Confirmed by a look, fills equal the venue's quantity, ten minutes without news."""
    bench.bought()
    short = bench.limit()
    bench.report(short, S.CANCELED, "0.1")
    bench.advance(9 * MINUTE, answering=True)
    assert bench.made(Sealed) == []
    bench.advance(2 * MINUTE, answering=True)
    assert len(bench.made(Sealed)) == 1
    assert bench.trading.orders[bench.made(Sealed)[0].client_order_id].sealed
    bench.check()


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
    assert "fills_missing" in bench.logs
    bench.check()


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
    # An asset of no held instrument still is a deposit, once nothing of ours is under way.
    look_for(again, 40, {"USDT": 999_901, "BTC": 1, "BNB": 2}, cursors=cursors)
    assert [one.asset for one in again.made(Transfer)] == ([] if ours else ["BNB"])
    again.check()


def look_for(bench: Bench, seconds: int, held: dict[str, Any], **changes: Any) -> None:
    """Let time pass; each look finds these balances and has no order missing."""
    for _ in range(seconds):
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, held, missing=(), **changes)


@pytest.mark.parametrize("client_order_id", [None, client_id("web"), client_order_id("dev", 9, 9)])
def test_fill_when_streamed_before_the_opening_then_its_money_is_counted_once(
    client_order_id: ClientOrderId | None,
) -> None:
    """What traded before OPENING is in its balances: foreign fills and orphans, before it and late."""
    bench = Bench()
    bench.fold()
    bench.tell(AccountState(ACCOUNT, True, ""))
    create = CreateOrder(
        ACCOUNT,
        BTC,
        TREND,
        ParentId("p"),
        client_id("web"),
        "buy",
        "limit",
        "GTC",
        False,
        D(1),
        D(1),
        False,
        1,
    )
    fill = {"client_order_id": client_order_id}
    bench.fill(create, 1, "41", **fill)
    bench.done(bench.take(GATEWAY, Look)[-1], {"BTC": 1, "USDT": 900})
    assert bench.trading.opened == {}
    bench.advance(SECOND)
    bench.done(bench.one(GATEWAY, Look), {"BTC": 2, "USDT": 800}, cursors=((BTC, TradeId("100")),))
    # Traded before the opening's cursor, told after it, on both roads; the last one is news.
    bench.fill(create, 1, "42", **fill)
    bench.fill(create, 1, "100", source="look", **fill)
    bench.fill(create, 1, "101", **fill)
    assert [one.trade_id for one in bench.made(Fill)] == ["101"]
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(3)
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(700)
    bench.check()


@pytest.mark.parametrize("word", ["report", "fill"])
def test_adopted_order_when_its_cancel_was_wished_before_then_it_is_cancelled_again(
    bench: Bench, word: str
) -> None:
    """R5 after a cancel: the repetition ended with NOT_PLACED, so the adoption begins it anew (R6)."""
    create = resolved(bench, cancelled=True)
    if word == "report":
        bench.report(create, S.NEW)
    else:
        bench.fill(create, "0.4")
    assert bench.one(GATEWAY, CancelOrder).client_order_id == create.client_order_id
    for wait in (PAUSE, 2 * PAUSE, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 10 * SECOND):
        bench.advance(wait)
        assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.report(create, S.CANCELED, bench.trading.orders[create.client_order_id].cum_qty)
    bench.advance(MINUTE)
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.check()


def test_adopted_order_when_its_parent_is_ending_then_it_is_cancelled(bench: Bench) -> None:
    """Cancelled while one child was proved missing and another lives: the one that turns up goes too."""
    first = resolved(bench, cancelled=False, algo="market", limit_price=None)
    bench.advance(SECOND)
    second = bench.one(GATEWAY, CreateOrder)
    bench.report(second, S.NEW)
    bench.tell(CancelParent(TREND, ParentId(first.parent_id)))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [second.client_order_id]
    bench.report(first, S.NEW)
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [first.client_order_id]
    bench.report(second, S.CANCELED)
    bench.report(first, S.CANCELED)
    parent = bench.trading.parents[first.parent_id]
    assert (parent.phase, parent.status) == (Phase.DONE, S.CANCELED)
    bench.check()


def resolved(bench: Bench, *, cancelled: bool, **changes: Any) -> CreateOrder:
    """Return an order that was in doubt, cancelled perhaps, and then proved missing (R4)."""
    bench.submit(1, **{"algo": "limit", "limit_price": D(99), **changes})
    create = bench.one(GATEWAY, CreateOrder)
    bench.tell(OrderInDoubt(ACCOUNT, create.client_order_id, Doubt.CREATE, "TIMEOUT"))
    if cancelled:
        bench.tell(CancelParent(TREND, ParentId(create.parent_id)))
    while not bench.trading.orders[create.client_order_id].never_was:
        bench.advance(SECOND, answering=True)
        bench.quote(BTC, 100)
    if cancelled:
        # The repetition of the cancel ends with the proof.
        bench.advance(MINUTE, answering=True)
        bench.take(GATEWAY, CancelOrder)
    return create
