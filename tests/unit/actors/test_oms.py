"""The OMS: life of an order from wish to done, in one turn each, behind the journal."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BASE,
    BTC,
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
    foreign,
)
from tradefan.actors.oms import Oms, OmsState
from tradefan.core.ids import is_own
from tradefan.core.ledger import balance, position
from tradefan.messages.account import AccountState
from tradefan.messages.control import ConfigChanged, Durable, Fold, Folded, Ready, Rows, Started
from tradefan.messages.gateway import CreateOrder, Look
from tradefan.messages.market import AskFeeds, Bar
from tradefan.messages.orders import (
    Answer,
    CancelAll,
    CancelParent,
    FillUpdate,
    OrderStatus,
    OrderUpdate,
    ParentUpdate,
    Phase,
    PositionUpdate,
    Refusal,
    SubmitOrder,
)
from tradefan.messages.records import (
    ConfigChange,
    Epoch,
    Intent,
    NotSent,
    Opening,
    Parent,
    PhaseChange,
)
from tradefan.messages.work import (
    Decision,
)
from tradefan.units import SECOND, ClientOrderId, ParentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


# --- start -----------------------------------------------------------------------------------------------


def test_start_when_first_then_epoch_opening_and_ready_follow() -> None:
    """Fold, EPOCH, looks, OPENING to `external` with the cursors, then READY to desk, traders and store."""
    bench = Bench()
    bench.fold()
    assert bench.made(Epoch) == [Epoch(bench.now_ns, 1, "dev", "cfg-1", "")]
    assert bench.take(MARKET, AskFeeds) == [AskFeeds()]
    bench.tell(AccountState(ACCOUNT, True, ""))
    look = bench.take(GATEWAY, Look)[-1]
    assert look.cursors == ((BTC, None), (ETH, None))
    bench.done(look, {"USDT": 1000, "BTC": 2})
    assert bench.made(Opening) == []
    bench.opened({"USDT": 1000, "BTC": 2})
    cursors = ((BTC, TradeId("0")), (ETH, TradeId("0")))
    assert bench.made(Opening) == [
        Opening(bench.now_ns, ACCOUNT, USDT, D(1000), None, cursors),
        Opening(bench.now_ns, ACCOUNT, BASE, D(2), None),
    ]
    assert [ref for ref, msg in bench.sent if isinstance(msg, Ready)] == [DESK, TRADER, STORE]
    assert bench.take(TRADER, Ready) == [Ready(1, bench.oms.state.live.fold_gen)]
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


@pytest.mark.failure("OR-31")
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


@pytest.mark.parametrize("restart", [0, 1])
def test_fold_when_it_is_a_restart_then_observers_hear_up_to_where_before_anything_else(restart: int) -> None:
    """What a predecessor told beyond the journal never was; a whole process is told by its store's link."""
    bench = Bench()
    bench.ready()
    again = Bench(records=bench.records)
    again.fold(restart=restart)
    folded = [Folded(len(bench.records))] if restart else []
    assert again.take(STORE, Folded) == folded


# --- an order --------------------------------------------------------------------------------------------


@pytest.mark.failure("ST-02")
def test_submit_when_accepted_then_nothing_leaves_before_it_is_durable(bench: Bench) -> None:
    """PARENT, DECISION and INTENT in one turn; create and answer wait for the disk, updates inside do not."""
    bench.auto_durable = False
    bench.submit(2, owner=API, req=7, reason="test")
    assert [type(record) for record in bench.records[-3:]] == [Parent, Decision, Intent]
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
        len(bench.records) - 2,
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


@pytest.mark.failure("OR-06", "OR-20")
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


@pytest.mark.failure("OR-07")
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


@pytest.mark.failure("OR-31")
def test_create_when_the_gateway_is_full_then_it_never_was(bench: Bench) -> None:
    """A commands lane without room is said so: NOT_SENT QUEUE_FULL, and the parent ends."""
    bench.full = GATEWAY
    bench.submit(algo="limit", limit_price=D(99))
    assert [record.reason for record in bench.made(NotSent)] == ["QUEUE_FULL"]
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.EXPIRED
    bench.check()


def test_phase_when_done_then_the_journal_says_so_once(bench: Bench) -> None:
    """One PHASE DONE per parent."""
    bench.bought()
    assert [one.phase for one in bench.made(PhaseChange)] == [Phase.DONE]
    assert ClientOrderId("x") not in bench.trading.orders


# --- state -----------------------------------------------------------------------------------------------


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
    for _ in range(220):
        bench.limit("0.06")
    for _ in range(30):
        bench.submit(-1)
    before = msgspec.msgpack.encode(bench.oms.state)
    view = bench.oms.view()
    assert msgspec.msgpack.encode(bench.oms.state) == before
    assert (len(view.parents), len(view.orders), len(view.refusals)) == (200, 200, 20)
    assert (view.parents_open, view.orders_open, view.counters.refusals, view.epoch) == (220, 220, 30, 1)
    assert (view.parents_kept, view.positions_kept) == (220, len(view.positions))
    assert view.parents[0].order.parent_id == bench.made(Parent)[-1].order.parent_id
    assert view.durable_lsn == view.lsn == len(bench.records)
    assert view.accounts[0].balances == {USDT: D(1_000_000)}
    assert msgspec.json.encode(view)


def test_view_when_an_order_rests_behind_many_that_are_done_then_it_stands_in_front(bench: Bench) -> None:
    """What is done hides nothing that is open."""
    first = bench.limit("0.06")
    bench.report(first, S.NEW)
    for _ in range(60):
        small = bench.limit("0.06")
        bench.report(small, S.NEW)
        bench.fill(small, "0.06")
    view = bench.oms.view()
    assert (len(view.parents), view.parents_open, view.parents_kept) == (50, 1, 61)
    shown = [one.order.parent_id for one in view.parents]
    assert shown[:2] == [first.parent_id, small.parent_id]
    assert len(set(shown)) == 50


def test_view_when_others_place_orders_then_ours_stand_in_front(bench: Bench) -> None:
    """However many those are."""
    ours = bench.limit("0.06")
    bench.report(ours, S.NEW)
    for number in range(210):
        bench.report(foreign(1, f"web_{number}"), S.NEW, venue_order_id=f"w{number}")
    view = bench.oms.view()
    assert (len(view.orders), view.orders_open) == (200, 211)
    assert view.orders[0].client_order_id == ours.client_order_id


def test_message_when_it_means_nothing_to_the_oms_then_it_is_counted(bench: Bench) -> None:
    """Bars need no action; rows of a fold that is over are not folded again."""
    bar = Bar(BTC, "1m", 0, 1, 1.0, 1.0, 1.0, 1.0, 0.0, 0, 0)
    before = bench.trading.lsn
    bench.tell(bar, Rows(0, tuple(bench.records), 0))
    assert (bench.oms.view().counters.ignored, bench.trading.lsn) == (1, before)


def test_config_when_it_changes_then_the_journal_says_since_when_and_intents_name_it(bench: Bench) -> None:
    """CONFIG stands before everything that was decided by it (RK-12, CF-06)."""
    bench.tell(ConfigChanged("cfg-2"))
    bench.config_id = "cfg-2"
    bench.limit()
    assert bench.made(ConfigChange) == [ConfigChange(bench.now_ns, "cfg-2")]
    assert (bench.trading.config_id, bench.made(Intent)[0].config_id) == ("cfg-2", "cfg-2")
    bench.check()
