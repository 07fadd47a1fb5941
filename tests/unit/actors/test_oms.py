"""The OMS: life of an order from wish to done, in one turn each, behind the journal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import (
    ACCOUNT,
    API,
    BASE,
    BTC,
    CLI,
    CONFIG,
    DESK,
    ETH,
    FACE,
    GATEWAY,
    JOURNAL,
    MARKET,
    PAUSE,
    STORE,
    TRADER,
    TREND,
    USDT,
    Bench,
)
from tradefan.actors.oms import Oms, OmsState
from tradefan.config.schema import AccountConfig, Config, RiskConfig
from tradefan.core.ids import is_own
from tradefan.core.ledger import balance, position
from tradefan.messages.account import AccountState
from tradefan.messages.control import Durable, Fold, JournalFailed, Ready, Started
from tradefan.messages.market import AskFeeds, AskRules, Quality, SessionBreak
from tradefan.messages.orders import (
    Answer,
    CancelAll,
    CancelOrder,
    CancelParent,
    CancelRejected,
    CreateOrder,
    FillUpdate,
    Look,
    OrderStatus,
    OrderUpdate,
    ParentUpdate,
    Phase,
    PositionUpdate,
    Refusal,
    SubmitOrder,
)
from tradefan.messages.records import (
    CancelIntent,
    Cursor,
    Epoch,
    Intent,
    NotSent,
    Opening,
    Parent,
    PhaseChange,
)
from tradefan.units import EXTERNAL, SECOND, ClientOrderId, InstrumentId, ParentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


# --- start ----------------------------------------------------------------------------------------------


def test_start_when_first_then_epoch_opening_and_ready_follow() -> None:
    """Fold, EPOCH, a look, OPENING to `external` with the cursors, then READY to desk, traders and store."""
    bench = Bench()
    bench.fold()
    assert bench.made(Epoch) == [Epoch(bench.now_ns, 1, "dev", "cfg-1", "")]
    assert bench.take(MARKET, AskFeeds) == [AskFeeds()]
    bench.tell(AccountState(ACCOUNT, True, ""))
    look = bench.take(GATEWAY, Look)[-1]
    assert look.cursors == ((BTC, None), (ETH, None))
    bench.done(look, {"USDT": 1000, "BTC": 2})
    cursors = ((BTC, TradeId("0")), (ETH, TradeId("0")))
    assert bench.made(Opening) == [
        Opening(bench.now_ns, ACCOUNT, USDT, D(1000), None, cursors),
        Opening(bench.now_ns, ACCOUNT, BASE, D(2), None),
    ]
    assert [ref for ref, msg in bench.sent if isinstance(msg, Ready)] == [DESK, TRADER, STORE]
    assert bench.take(TRADER, Ready) == [Ready(1)]
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(1000)
    assert bench.oms.view().state == "READY"
    bench.check()


def test_start_when_the_journal_is_silent_then_it_is_asked_again() -> None:
    """A journal link that restarts has lost the question; rows of an older question are not taken."""
    bench = Bench()
    bench.tell(Started(0))
    first = bench.one(JOURNAL, Fold)
    bench.advance(5 * SECOND)
    second = bench.one(JOURNAL, Fold)
    assert second.gen > first.gen
    assert bench.oms.view().state == "STARTING"


def test_command_when_before_ready_then_it_is_refused_not_ready() -> None:
    """Before the fold, before the connection, before the look: each time in its own words."""
    bench = Bench()
    bench.tell(Started(0))
    bench.submit(req=1)
    bench.tell(CancelAll(TREND), CancelParent(TREND, ParentId("p")))
    bench.fold()
    bench.submit()
    bench.tell(AccountState(ACCOUNT, True, ""))
    bench.submit()
    refusals = bench.take(TRADER, Refusal)
    assert [refusal.code for refusal in refusals] == ["NOT_READY"] * 5
    assert len({refusal.text: None for refusal in refusals}) == 3
    assert bench.one(FACE, Refusal).req == 1
    assert bench.made(Intent) == []


def test_command_when_it_waited_for_a_predecessor_then_it_is_refused_restarting() -> None:
    """The new OMS refuses in its own words what waited for the old one."""
    bench = Bench()
    wish = SubmitOrder(ACCOUNT, BTC, TREND, "r", "buy", D(1), "market", req=4)
    bench.tell(Started(1, (wish, CancelParent(TREND, ParentId("p9")))))
    told = bench.take(TRADER, Refusal)
    assert [(one.code, one.ref) for one in told] == [("RESTARTING", "r"), ("RESTARTING", "p9")]
    assert bench.one(FACE, Refusal).req == 4


# --- submit ---------------------------------------------------------------------------------------------


def test_submit_when_accepted_then_nothing_leaves_before_it_is_durable(bench: Bench) -> None:
    """PARENT and INTENT in one turn; create and answer wait for the disk; updates between actors do not."""
    bench.auto_durable = False
    bench.submit(2, owner=API, req=7, reason="test")
    assert [type(record) for record in bench.records[-2:]] == [Parent, Intent]
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.take(FACE, Answer) == []
    assert [one.status for one in bench.take(STORE, OrderUpdate)] == [S.PENDING_NEW]
    assert bench.oms.view().waiting_creates == 1
    bench.tell(Durable(len(bench.records) - 1))
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.tell(Durable(len(bench.records)))
    create, intent = bench.one(GATEWAY, CreateOrder), bench.made(Intent)[0]
    assert create == CreateOrder(
        account=ACCOUNT,
        instrument=BTC,
        owner=API,
        parent_id=bench.made(Parent)[0].order.parent_id,
        client_order_id=intent.client_order_id,
        side="buy",
        order_type="limit",
        time_in_force="IOC",
        post_only=False,
        order_qty=D(2),
        limit_price=D("100.5"),
        reduce_only=False,
        not_after_ns=bench.now_ns + 2 * SECOND,
    )
    assert bench.one(FACE, Answer) == Answer(7, (create.parent_id,))
    assert is_own(create.client_order_id, "dev")
    assert (intent.reference_px, intent.reserve_asset, intent.reserve_per_unit) == (
        D(100),
        USDT,
        D("100.6005"),
    )
    bench.check()


def test_order_when_it_fills_then_everybody_hears_in_order(bench: Bench) -> None:
    """Risk desk, owner, store: fill and position; the parent ends FILLED with its average price."""
    bench.submit(2)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    bench.sent.clear()
    bench.fill(create, 2, "77", fee=D("0.2"))
    fills = [ref for ref, msg in bench.sent if isinstance(msg, FillUpdate)]
    assert fills == [DESK, TRADER, STORE]
    fill = bench.take(TRADER, FillUpdate)[0]
    assert (fill.trade_id, fill.lsn, fill.realised, fill.parent_id) == (
        "77",
        len(bench.records) - 1,
        D(0),
        create.parent_id,
    )
    held = bench.one(TRADER, PositionUpdate)
    assert (held.qty, held.avg_px, held.fees, held.working_qty) == (D(2), D(100), {USDT: D("0.2")}, D(0))
    parent = bench.one(TRADER, ParentUpdate)
    assert (
        parent.status,
        parent.phase,
        parent.cum_qty,
        parent.avg_px,
        parent.children,
        parent.leaves_qty,
    ) == (
        S.FILLED,
        Phase.DONE,
        D(2),
        D(100),
        1,
        D(0),
    )
    bench.sent.clear()
    bench.report(create, S.FILLED, 2)
    bench.report(create, S.NEW)
    assert bench.sent == []
    bench.check()


def test_fill_when_before_the_acknowledgement_or_twice_then_it_books_once(bench: Bench) -> None:
    """OR-06, OR-20: the fill opens the order; the same trade from another road changes nothing."""
    bench.submit(2)
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, 1, "5")
    bench.fill(create, 1, "5", source="look", event_ns=1)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert bench.oms.view().counters.duplicates == 1
    assert bench.trading.orders[create.client_order_id].status is S.PARTIALLY_FILLED
    bench.check()


def test_fill_when_after_the_end_then_it_is_booked(bench: Bench) -> None:
    """OR-07: a late fill re-opens the accounting of order and parent, and is logged."""
    create = bench.limit()
    bench.report(create, S.CANCELED)
    bench.sent.clear()
    bench.fill(create, 1)
    assert bench.one(TRADER, ParentUpdate).cum_qty == D(1)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert "late_fill" in bench.logs
    bench.check()


def test_market_when_the_book_is_thin_then_the_rest_goes_again_four_times(bench: Bench) -> None:
    """IOC at the collar, 250 ms between tries, four in all; the rest ends EXPIRED."""
    bench.submit(4)
    for _ in range(4):
        create = bench.one(GATEWAY, CreateOrder)
        bench.fill(create, "0.5")
        bench.report(create, S.EXPIRED, "0.5")
        bench.advance(PAUSE - 1)
        assert bench.take(GATEWAY, CreateOrder) == []
        bench.advance(1)
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.reason, parent.cum_qty, parent.children) == (S.EXPIRED, "tries", D(2), 4)
    assert [intent.order_qty for intent in bench.made(Intent)] == [D(4), D("3.5"), D(3), D("2.5")]
    bench.check()


def test_ref_when_repeated_then_the_first_answer_comes_again(bench: Bench) -> None:
    """(owner, ref) is the idempotency key; another owner may use the same ref, another order may not."""
    wish = bench.submit(owner=API, ref="once", req=1)
    bench.tell(msgspec.structs.replace(wish, req=2))
    bench.tell(msgspec.structs.replace(wish, req=3, order_qty=D(9)))
    assert [(one.code, one.req) for one in bench.take(FACE, Refusal)] == [("REF_REUSED", 3)]
    first, again = bench.take(FACE, Answer)
    assert (again.req, again.parent_ids, again.known, first.known) == (2, first.parent_ids, True, False)
    bench.submit(owner=CLI, ref="once")
    assert len(bench.made(Parent)) == 2


@pytest.mark.parametrize(
    "text", ["1E+15", "1E+40", "1E+999999999", "1E-19", "1E-60", "NaN", "sNaN", "Infinity", "-Infinity"]
)
def test_wish_when_a_number_is_none_then_it_is_refused_before_anything_is_computed(
    bench: Bench, text: str
) -> None:
    """BAD_NUMBER names field and value; the OMS lives, nothing is written, the ref stays free."""
    number, records = D(text), len(bench.records)
    bench.submit(number)
    bench.submit(1, algo="limit", limit_price=number)
    bench.target(number)
    bench.target(1, band=number)
    bench.target(1, algo="limit", limit_price=number)
    refusals = bench.take(TRADER, Refusal)
    fields = ("order_qty", "limit_price", "target_qty", "band", "limit_price")
    assert [one.code for one in refusals] == ["BAD_NUMBER"] * 5
    for one, field in zip(refusals, fields, strict=True):
        wanted = f"expected a finite {field} below 1e15 with at most 18 places, got {number}"
        assert one.text == wanted
    assert len(bench.records) == records
    bench.submit(1, ref=refusals[0].ref)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1


BAD: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "account": ({"account": "paper:mian"}, "UNKNOWN_ACCOUNT", None),
    "instrument": ({"instrument": InstrumentId("binance:XRP/USDT")}, "UNKNOWN_INSTRUMENT", None),
    "algo": ({"algo": "twapp"}, "UNKNOWN_ALGO", None),
    "setting": ({"settings": {"trys": 1}}, "UNKNOWN_SETTING", None),
    "value": ({"settings": {"tries": -1}}, "BAD_SETTING", None),
    "limit without price": ({"algo": "limit"}, "BAD_SETTING", None),
    "hedge mode": ({"position_side": "long"}, "UNSUPPORTED_KIND", None),
    "nothing": ({"order_qty": D(0)}, "BELOW_MIN_QTY", None),
    "no number": ({"order_qty": D("NaN")}, "BAD_NUMBER", None),
    "lot": ({"order_qty": D("1.0005")}, "OFF_GRID", "order_qty 1"),
    "tick": ({"algo": "limit", "limit_price": D("99.999")}, "OFF_GRID", "limit_price 99.99"),
    "price": ({"algo": "limit", "limit_price": D("Infinity")}, "BAD_NUMBER", None),
    "negative price": ({"algo": "limit", "limit_price": D(-99)}, "OFF_GRID", "limit_price 99"),
    "too much": ({"order_qty": D(2000)}, "ABOVE_MAX_QTY", "order_qty 1000"),
    "worth too little": ({"order_qty": D("0.001")}, "BELOW_MIN_NOTIONAL", "order_qty 0.05"),
    "risk": ({"order_qty": D(11)}, "RISK_MAX_ORDER_QTY", "order_qty 10"),
    "band": ({"algo": "limit", "limit_price": D(103)}, "RISK_PRICE_BAND", "102"),
    "sale of nothing": ({"side": "sell"}, "INSUFFICIENT_FUNDS", "nothing"),
    "external": ({"owner": EXTERNAL}, "UNKNOWN_OWNER", None),
}


@pytest.mark.parametrize("name", BAD)
def test_submit_when_wrong_then_it_is_refused_and_nothing_is_written(bench: Bench, name: str) -> None:
    """Code, and what would have passed; no record, no effect; the API hears its request number."""
    changes, code, passes = BAD[name]
    records = len(bench.records)
    bench.submit(**{"req": 3, **changes})
    refusal = bench.one(FACE, Refusal)
    assert (refusal.code, refusal.would_pass, refusal.req) == (code, passes, 3)
    assert refusal.text
    assert len(bench.records) == records
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.oms.view().refusals[0] == refusal
    assert bench.one(STORE, Refusal) == refusal


def test_submit_when_below_the_minimum_quantity_then_the_minimum_would_pass() -> None:
    """The venue's filters are checked before anything exists."""
    bench = Bench().ready()
    bench.submit("0.001", instrument=ETH, owner=API)
    bench.submit(1, instrument=ETH, algo="limit", limit_price=D("0.1"))
    codes = [(one.code, one.would_pass) for one in bench.take(STORE, Refusal)]
    assert codes == [("OFF_GRID", "order_qty 0.01"), ("BELOW_MIN_NOTIONAL", "order_qty 50")]


def test_sale_when_a_strategy_holds_less_than_the_account_then_only_its_own_sells() -> None:
    """What the account held before us belongs to no strategy; a human may sell it."""
    bench = Bench().ready(USDT=1000, BTC=5)
    bench.submit(1, side="sell")
    assert bench.one(TRADER, Refusal).code == "INSUFFICIENT_FUNDS"
    bench.submit(1, side="sell", owner=CLI)
    assert bench.one(GATEWAY, CreateOrder).side == "sell"


def test_funds_when_reserved_by_open_orders_then_they_are_not_free() -> None:
    """Two orders never pass the same headroom (RK-05)."""
    bench = Bench().ready(USDT=250)
    bench.limit(2)
    bench.submit(1, algo="limit", limit_price=D(99))
    assert bench.one(TRADER, Refusal).code == "INSUFFICIENT_FUNDS"


def test_rate_when_an_owner_is_too_fast_then_it_waits_a_second() -> None:
    """`orders_per_second` counts one owner's creates of the last second of kernel time."""
    config = msgspec.structs.replace(CONFIG, risk=RiskConfig(orders_per_second=2))
    bench = Bench(config=config).ready()
    for _ in range(3):
        bench.submit()
    assert bench.one(TRADER, Refusal).code == "RISK_ORDER_RATE"
    bench.submit(owner=API)
    bench.advance(SECOND)
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 4


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BLIND, Quality.SUSPECT])
def test_market_when_the_feed_is_not_live_then_there_is_no_reference(bench: Bench, quality: Quality) -> None:
    """What crosses needs a LIVE feed; no default price exists (RK-01)."""
    bench.quote(BTC, 100, quality)
    bench.submit()
    refusal = bench.one(TRADER, Refusal)
    assert (refusal.code, refusal.limit) == ("NO_REFERENCE", "LIVE")


def test_passive_order_when_the_feed_is_suspect_then_it_may_rest(bench: Bench) -> None:
    """SUSPECT lets passive orders through, and nothing that would cross."""
    bench.quote(BTC, 100, Quality.SUSPECT)
    assert bench.limit(1, 99).limit_price == D(99)
    bench.submit(1, algo="limit", limit_price=D(101))
    assert bench.one(TRADER, Refusal).code == "NO_REFERENCE"


def test_reference_when_old_or_of_another_session_then_it_is_none(bench: Bench) -> None:
    """A quote older than `reference_age_max`, and one from before a seam, approve nothing."""
    bench.advance(10 * SECOND + 1)
    bench.submit()
    bench.quote(BTC, 100)
    bench.tell(SessionBreak(BTC, 2, "seam", bench.now_ns))
    bench.submit()
    texts = [refusal.text for refusal in bench.take(TRADER, Refusal)]
    assert texts == ["the quote of binance:BTC/USDT is 10.0 s old", "binance:BTC/USDT has no quote yet"]


# --- limit and cancel -------------------------------------------------------------------------------------


def test_cancel_when_wished_then_it_leaves_before_the_disk_and_again_until_terminal(bench: Bench) -> None:
    """CANCEL_INTENT and CancelOrder at once, PENDING_CANCEL, repeated at R3's instants; then DONE."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.auto_durable = False
    bench.tell(CancelParent(TREND, create.parent_id))
    cancel = CancelOrder(ACCOUNT, BTC, TREND, create.client_order_id)
    assert bench.take(GATEWAY, CancelOrder) == [cancel]
    bench.auto_durable = True
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.PENDING_CANCEL
    bench.advance(PAUSE)
    assert bench.take(GATEWAY, CancelOrder) == [cancel]
    bench.advance(2 * PAUSE)
    assert bench.take(GATEWAY, CancelOrder) == [cancel]
    bench.report(create, S.CANCELED)
    bench.advance(60 * SECOND)
    assert bench.take(GATEWAY, CancelOrder) == []
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.phase, parent.reason) == (S.CANCELED, Phase.DONE, "cancelled")
    assert len(bench.made(CancelIntent)) == 1
    bench.check()


def test_cancel_when_the_create_still_waits_then_nothing_of_it_leaves(bench: Bench) -> None:
    """NOT_SENT LOCAL_EXPIRED, no create, no cancel; the reservation is gone."""
    bench.auto_durable = False
    bench.submit(algo="limit", limit_price=D(99))
    bench.tell(CancelAll(TREND, BTC))
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.take(GATEWAY, CancelOrder) == []
    assert [record.reason for record in bench.made(NotSent)] == ["LOCAL_EXPIRED"]
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.CANCELED
    assert bench.trading.exposure.reserved[ACCOUNT][USDT] == D(0)
    bench.check()


def test_cancel_when_rejected_then_the_order_is_asked_and_the_wish_stays(bench: Bench) -> None:
    """OR-08: "too late to cancel" is information; the fill that explains it ends the order."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(CancelParent(API, create.parent_id, req=5))
    assert bench.one(FACE, Answer) == Answer(5, (create.parent_id,))
    bench.take(GATEWAY, CancelOrder)
    bench.tell(CancelRejected(ACCOUNT, create.client_order_id, "too late"))
    assert bench.trading.orders[create.client_order_id].status is S.NEW
    bench.advance(PAUSE)
    assert bench.one(GATEWAY, CancelOrder).client_order_id == create.client_order_id
    assert bench.trading.orders[create.client_order_id].status is S.PENDING_CANCEL
    assert (BTC, create.client_order_id) in bench.take(GATEWAY, Look)[-1].orders
    bench.fill(create, 1)
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.FILLED
    bench.check()


def test_cancel_when_of_somebody_else_or_unknown_then_it_is_refused(bench: Bench) -> None:
    """An owner ends its own parents only; the humans end everybody's."""
    create = bench.limit(owner=API)
    bench.tell(CancelParent(TREND, create.parent_id), CancelParent(TREND, ParentId("p?")), CancelAll(TREND))
    assert [one.code for one in bench.take(TRADER, Refusal)] == ["UNKNOWN_PARENT"] * 2
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.tell(CancelAll(API, req=9), CancelAll(API, req=9))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    assert [answer.parent_ids for answer in bench.take(FACE, Answer)] == [(create.parent_id,)] * 2


def test_limit_when_rejected_by_the_venue_then_the_parent_is(bench: Bench) -> None:
    """A post-only refusal ends it: REJECTED with the venue's reason."""
    create = bench.limit(settings={"post_only": True})
    assert create.post_only
    bench.report(create, S.REJECTED, reason="post_only")
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.reason, parent.phase) == (S.REJECTED, "post_only", Phase.DONE)


def test_filter_when_the_venue_names_one_then_its_rules_are_read_again_and_nothing_is_repeated(
    bench: Bench,
) -> None:
    """A reject by a filter is definite: the rules are read again, and the order is not repeated."""
    bench.submit(algo="limit", limit_price=D(100))
    create = bench.take(GATEWAY, CreateOrder)[0]
    bench.report(create, S.REJECTED, reason="FILTER: Filter failure: LOT_SIZE")
    assert bench.take(MARKET, AskRules) == [AskRules(create.instrument)]
    assert bench.take(GATEWAY, CreateOrder) == []


def test_create_when_the_gateway_is_full_then_it_never_was(bench: Bench) -> None:
    """A commands lane without room is said so: NOT_SENT QUEUE_FULL, and the parent ends."""
    bench.full = GATEWAY
    bench.submit(algo="limit", limit_price=D(99))
    assert [record.reason for record in bench.made(NotSent)] == ["QUEUE_FULL"]
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.EXPIRED
    bench.check()


# --- journal ----------------------------------------------------------------------------------------------


def test_journal_when_failing_then_only_cancels_leave_until_it_works(bench: Bench) -> None:
    """CANCEL_ONLY at once, waiting creates are dropped, cancels go on; the disk's next word ends it."""
    resting = bench.limit()
    bench.auto_durable = False
    bench.submit()
    bench.tell(JournalFailed("disk full"))
    bench.submit()
    assert bench.one(TRADER, Refusal).code == "MODE_CANCEL_ONLY"
    assert bench.oms.view().mode.mode == "CANCEL_ONLY"
    bench.tell(CancelParent(TREND, resting.parent_id))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.oms.view().mode.mode == "NORMAL"
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


def test_journal_when_silent_for_a_second_then_it_counts_as_failing(bench: Bench) -> None:
    """`journal.durable_timeout` is the OMS's own watch over the disk."""
    bench.auto_durable = False
    bench.submit()
    bench.advance(SECOND)
    assert bench.oms.view().mode.mode == "CANCEL_ONLY"
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert bench.oms.view().mode.mode == "NORMAL"
    bench.advance(5 * SECOND)
    assert bench.oms.view().mode.mode == "NORMAL"


# --- connection -------------------------------------------------------------------------------------------


def test_connection_when_lost_then_waiting_creates_go_and_a_look_comes_first(bench: Bench) -> None:
    """OR-29: nothing that waits survives a disconnection; READY again after a complete look."""
    bench.auto_durable = False
    bench.submit()
    bench.tell(AccountState(ACCOUNT, False, "closed"))
    bench.auto_durable = True
    bench.tell(Durable(len(bench.records)))
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.submit()
    assert "not connected: closed" in bench.one(TRADER, Refusal).text
    bench.tell(AccountState(ACCOUNT, True, ""))
    look = bench.one(GATEWAY, Look)
    bench.submit()
    assert "reconciled" in bench.one(TRADER, Refusal).text
    bench.done(look)
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert bench.take(TRADER, Ready) == []
    bench.check()


def test_look_when_time_passes_then_it_comes_every_fifteen_seconds(bench: Bench) -> None:
    """One look at a time; its cursors are journaled when it was complete."""
    bench.advance(14 * SECOND)
    assert bench.take(GATEWAY, Look) == []
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    bench.advance(10 * SECOND)
    assert bench.take(GATEWAY, Look) == []
    cursors = ((BTC, TradeId("9")), (ETH, None))
    bench.done(look, complete=False, cursors=cursors)
    assert bench.made(Cursor) == []
    bench.advance(SECOND)
    bench.done(bench.one(GATEWAY, Look), cursors=cursors)
    assert [(one.instrument, one.trade_id) for one in bench.made(Cursor)] == [(BTC, "9")]
    bench.check()


# --- state ------------------------------------------------------------------------------------------------


def test_state_when_taken_out_and_put_back_then_the_rest_of_the_story_is_the_same() -> None:
    """Snapshot, restore, continue: an OMS is its state."""
    stories = []
    for again in (False, True):
        bench = Bench().ready()
        create = bench.limit()
        bench.report(create, S.NEW)
        if again:
            encoded = msgspec.msgpack.encode(bench.oms.state)
            bench.oms = Oms(bench.wiring, msgspec.msgpack.decode(encoded, type=OmsState))
        bench.fill(create, "0.5")
        bench.tell(CancelParent(TREND, create.parent_id))
        bench.report(create, S.CANCELED, "0.5")
        bench.advance(20 * SECOND)
        stories.append((bench.records, bench.sent, bench.oms.state))
    assert stories[0] == stories[1]


def test_view_when_much_is_there_then_it_is_bounded_and_changes_nothing(bench: Bench) -> None:
    """Newest parents, open orders, positions, the last refusals, counters and modes."""
    for _ in range(120):
        bench.limit("0.06")
    for _ in range(30):
        bench.submit(-1)
    before = msgspec.msgpack.encode(bench.oms.state)
    view = bench.oms.view()
    assert msgspec.msgpack.encode(bench.oms.state) == before
    assert (len(view.parents), len(view.orders), len(view.refusals)) == (50, 100, 20)
    assert (view.parents_open, view.orders_open, view.counters.refusals, view.epoch) == (120, 120, 30, 1)
    assert view.parents[0].order.parent_id == bench.made(Parent)[-1].order.parent_id
    assert view.durable_lsn == view.lsn == len(bench.records)
    assert view.accounts[0].balances == {USDT: D(1_000_000)}
    assert msgspec.json.encode(view)


def test_account_when_it_has_no_block_then_the_defaults_hold() -> None:
    """An account without configuration has the defaults of `accounts.NAME`."""
    bench = Bench(config=Config(risk=CONFIG.risk)).ready()
    assert bench.limit().not_after_ns == bench.now_ns + AccountConfig().order_deadline


def test_phase_when_done_then_the_journal_says_so_once(bench: Bench) -> None:
    """One PHASE DONE per parent."""
    bench.bought()
    assert [one.phase for one in bench.made(PhaseChange)] == [Phase.DONE]
    assert ClientOrderId("x") not in bench.trading.orders
