"""Over a limit without an order of ours: REDUCE_ONLY in the step that learns it, until inside (I-11)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, CONFIG, ETH, GATEWAY, TRADER, TREND, foreign
from tradefan.actors.oms_limits_view import PositionUse, position_use
from tradefan.config.schema import Config
from tradefan.core.ledger import position
from tradefan.messages.control import ConfigChanged
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import AssignPosition, OrderStatus, Refusal
from tradefan.messages.records import Transfer
from tradefan.units import EXTERNAL, SECOND

D = Decimal
S = OrderStatus


def limited(most: Any = 4, **changes: Any) -> Config:
    risk = msgspec.structs.replace(CONFIG.risk, **{"max_position": D(most), **changes})
    return msgspec.structs.replace(CONFIG, risk=risk)


@pytest.fixture
def bench() -> Bench:
    """Return a bench whose limit is a position of 4."""
    return Bench(config=limited()).ready()


def over(bench: Bench, scope: str = BTC, instrument: str = BTC) -> list[str]:
    """Return the modes that being over the limit gave a scope."""
    return bench.moods(scope, f"over limit @{ACCOUNT} {instrument}")


def test_limit_when_lowered_under_what_is_held_then_reduce_only_in_that_step(bench: Bench) -> None:
    """Orders that add are cancelled at once, what reduces is let through; inside again frees after 30 s."""
    bench.bought(3)
    adds = bench.resting(1, 99)
    takes = bench.resting(1, 101, side="sell")
    bench.config = limited(2)
    bench.tell(ConfigChanged("cfg-2"))
    assert (over(bench), over(bench, TREND)) == (["REDUCE_ONLY"], ["REDUCE_ONLY"])
    assert bench.trading.modes[BTC][f"over limit @{ACCOUNT} {BTC}"].at_ns == bench.now_ns
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [adds.client_order_id]
    bench.submit(1)
    assert bench.one(TRADER, Refusal).code == "MODE_REDUCE_ONLY"
    bench.submit(1, instrument=ETH, owner=API)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.report(adds, S.CANCELED)
    bench.fill(takes, 1)
    bench.report(takes, S.FILLED, 1)
    bench.passed(29)
    assert over(bench) == ["REDUCE_ONLY"]
    bench.passed(1)
    assert (over(bench), over(bench, TREND)) == (["REDUCE_ONLY", "NORMAL"], ["REDUCE_ONLY", "NORMAL"])
    bench.check()


def test_limit_when_of_worth_and_lowered_then_it_counts_as_well(bench: Bench) -> None:
    """`max_position_notional` at the price that the rest is reserved at, or the mark."""
    bench.bought(3)
    bench.config = limited(max_position_notional=D(250))
    bench.tell(ConfigChanged("cfg-2"))
    assert over(bench) == ["REDUCE_ONLY"]


def test_limit_of_worth_when_nobody_knows_a_price_then_what_holds_stays_until_the_first_quote(
    bench: Bench,
) -> None:
    """A stale feed is no reason to believe that less is at risk; the quote that comes is judged at once."""
    bench.bought(3)
    bench.config = limited(max_position_notional=D(250))
    bench.tell(ConfigChanged("cfg-2"))
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 1))
    bench.advance(60 * SECOND, answering=True)
    assert (over(bench), over(bench, TREND)) == (["REDUCE_ONLY"], ["REDUCE_ONLY"])
    bench.passed(60)
    assert over(bench) == ["REDUCE_ONLY"]
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 1))
    bench.quote(BTC, 80)
    bench.advance(30 * SECOND)
    assert over(bench) == ["REDUCE_ONLY", "NORMAL"]
    bench.check()


def test_limit_of_worth_when_the_position_is_gone_then_no_price_is_needed(bench: Bench) -> None:
    """Nothing is worth nothing."""
    bench.bought(3)
    bench.config = limited(max_position_notional=D(250))
    bench.tell(ConfigChanged("cfg-2"))
    bench.submit(3, side="sell")
    sale = bench.one(GATEWAY, CreateOrder)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 1))
    bench.fill(sale, 3)
    bench.report(sale, S.FILLED, 3)
    bench.advance(60 * SECOND, answering=True)
    assert over(bench) == ["REDUCE_ONLY", "NORMAL"]


@pytest.mark.parametrize("entered", [True, False])
def test_limit_of_worth_when_we_start_then_it_is_judged_at_the_first_quote(
    bench: Bench, *, entered: bool
) -> None:
    """Quotes come behind the fold: what held goes on, and what was lowered meanwhile begins."""
    bench.bought(3)
    bench.config = limited(max_position_notional=D(250))
    if entered:
        bench.tell(ConfigChanged("cfg-2"))
    again = Bench(records=bench.records, config=bench.config).ready()
    assert over(again) == ["REDUCE_ONLY"]
    again.passed(60)
    assert over(again) == ["REDUCE_ONLY"]
    again.check()


def test_transfer_when_it_exceeds_the_limit_then_reduce_only_in_that_step(bench: Bench) -> None:
    """Coins that came by a deposit count in exposure; a withdrawal takes the mode away again."""
    bench.bought(3)
    held = {"USDT": 999_700, "BTC": 5}
    while not bench.made(Transfer):
        assert over(bench) == []
        bench.look(held=held)
    assert over(bench) == ["REDUCE_ONLY"]
    assert over(bench, TREND) == []
    for _ in range(8):
        bench.look(held={**held, "BTC": 3})
    assert over(bench) == ["REDUCE_ONLY", "NORMAL"]
    bench.check()


def test_withdrawal_when_more_left_than_was_there_before_then_a_human_may_not_buy_more_for_it(
    bench: Bench,
) -> None:
    """What others took away makes no room: the limit holds what the human bought himself."""
    bench.submit(3, owner=API, algo="market")
    bench.fill(bench.one(GATEWAY, CreateOrder), 3)
    held = {"USDT": 999_700, "BTC": 1}
    while not bench.made(Transfer):
        bench.look(held=held)
    bench.quote(BTC, 100)
    bench.submit(2, owner=API)
    assert [msg.code for _, msg in bench.sent if isinstance(msg, Refusal)] == ["RISK_MAX_POSITION"]


def test_assign_when_it_gives_more_than_the_limit_then_reduce_only_for_the_taker(bench: Bench) -> None:
    """A human's word stands; nothing is bought on top of it."""
    bench.bought(3)
    bench.fill(foreign(2, side="sell"), 2, client_order_id=None)
    bench.submit(3, owner=API, algo="market")
    bench.fill(bench.one(GATEWAY, CreateOrder), 3)
    assert over(bench, API) == []
    bench.tell(AssignPosition(ACCOUNT, BTC, TREND, API, D(3), None, "me", req=3))
    assert position(bench.trading.ledger, ACCOUNT, API, BTC).qty == D(6)
    assert (over(bench, API), over(bench, TREND)) == (["REDUCE_ONLY"], [])


def test_foreign_order_when_it_exceeds_the_limit_then_reduce_only_in_that_step(bench: Bench) -> None:
    """Its rest counts in the worst case, and so does what it trades; its end takes the mode away."""
    bench.bought(2)
    stranger = foreign(3)
    bench.report(stranger, S.NEW)
    assert over(bench) == ["REDUCE_ONLY"]
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.report(stranger, S.CANCELED)
    bench.passed(30)
    assert over(bench) == ["REDUCE_ONLY", "NORMAL"]
    bench.check()


def test_foreign_fill_when_it_exceeds_the_limit_then_reduce_only_in_that_step(bench: Bench) -> None:
    """A manual trade of 5 without any order that we know."""
    bench.fill(foreign(5), 5, client_order_id=None)
    assert over(bench) == ["REDUCE_ONLY"]
    assert over(bench, EXTERNAL) == []


def test_foreign_order_when_it_is_made_larger_then_reduce_only_in_that_step(bench: Bench) -> None:
    """Whoever amends it needs nobody's approval."""
    bench.bought(2)
    stranger = foreign(1)
    bench.report(stranger, S.NEW)
    assert over(bench) == []
    bench.report(stranger, S.NEW, order_qty=D(3))
    assert over(bench) == ["REDUCE_ONLY"]
    bench.check()


@pytest.mark.failure("OR-22")
def test_overfill_when_it_exceeds_the_limit_then_it_is_applied_alarmed_and_reduce_only(bench: Bench) -> None:
    """OR-22: a genuine overfill is real; it is said at once, and nothing is risked on top of it."""
    create = bench.resting(4)
    bench.fill(create, 5)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(5)
    assert ("overfill" in bench.logs, bench.oms.view().counters.overfills) == (True, 1)
    assert (over(bench), over(bench, TREND)) == (["REDUCE_ONLY"], ["REDUCE_ONLY"])
    order = bench.trading.orders[create.client_order_id]
    assert (order.leaves_qty, order.status) == (D(0), S.FILLED)
    bench.check()


@pytest.mark.failure("OR-07")
def test_late_fill_when_it_exceeds_the_limit_then_reduce_only_in_that_step(bench: Bench) -> None:
    """OR-07: what an order that had ended trades is reserved by nothing any more, and counts at once."""
    gone = bench.resting(3, 99)
    bench.report(gone, S.CANCELED)
    bench.bought(3)
    assert over(bench) == []
    bench.fill(gone, 2)
    assert (over(bench), over(bench, TREND)) == (["REDUCE_ONLY"], ["REDUCE_ONLY"])
    bench.check()


@pytest.mark.failure("OR-07")
def test_late_fill_when_a_report_tells_of_it_first_then_reduce_only_in_that_step(bench: Bench) -> None:
    """OR-07: the venue may count before its trades show; those then find nothing that is late."""
    gone = bench.resting(3, 99)
    bench.report(gone, S.CANCELED)
    bench.bought(3)
    bench.report(gone, S.FILLED, 3)
    assert (over(bench), over(bench, TREND)) == (["REDUCE_ONLY"], ["REDUCE_ONLY"])
    bench.fill(gone, 3)
    assert bench.logs.count("late_fill") == 1
    bench.check()


def test_opening_when_it_exceeds_the_limit_then_reduce_only_from_the_start() -> None:
    """What the account held before us counts; it is not sold by anybody for that."""
    bench = Bench(config=limited()).ready(USDT=1000, BTC=9)
    assert over(bench) == ["REDUCE_ONLY"]
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.submit("0.1")
    assert bench.one(TRADER, Refusal).code == "MODE_REDUCE_ONLY"


def test_limit_when_exceeded_before_a_restart_then_it_holds_and_is_left_when_inside(bench: Bench) -> None:
    """The MODE is in the journal; the start looks at the limit again."""
    bench.bought(3)
    bench.config = limited(2)
    bench.tell(ConfigChanged("cfg-2"))
    again = Bench(records=bench.records, config=limited(2)).ready()
    assert over(again) == ["REDUCE_ONLY"]
    again.submit("0.1")
    assert again.one(TRADER, Refusal).code == "MODE_REDUCE_ONLY"
    third = Bench(records=again.records, config=limited(4)).ready()
    assert over(third) == ["REDUCE_ONLY", "NORMAL"]
    third.check()


def test_limit_when_lowered_between_two_starts_then_the_start_learns_it(bench: Bench) -> None:
    """A configuration that was changed while nobody was here is a lowered limit as well."""
    bench.bought(3)
    again = Bench(records=bench.records, config=limited(2)).ready()
    assert over(again) == ["REDUCE_ONLY"]


# --- how much of a limit is used ------------------------------------------------------------------------


def used(bench: Bench) -> PositionUse:
    return position_use(bench.oms.state, bench.oms.wiring, bench.config)[ACCOUNT]


def test_use_when_nothing_is_held_then_none() -> None:
    """From the start, so that a panel shows 0."""
    assert used(Bench(config=limited()).ready()) == PositionUse(D(0), D(0))


def test_use_when_held_and_working_then_the_worst_case_counts(bench: Bench) -> None:
    """As the order manager judges it: what may still be bought is as good as held, sales do not lessen it."""
    bench.bought(1)
    assert used(bench).max_position == D("0.25")
    bench.resting(2, 99)
    bench.resting(1, 101, side="sell")
    assert used(bench).max_position == D("0.75")


def test_use_when_beyond_one_then_the_mode_is_tighter(bench: Bench) -> None:
    """Exactly then, of quantity and of worth."""
    bench.bought(3)
    for most, worth, mood in ((3, 10**6, []), (2, 10**6, ["REDUCE_ONLY"])):
        bench.config = limited(most, max_position_notional=D(worth))
        bench.tell(ConfigChanged(f"cfg-{most}"))
        assert (used(bench).max_position > 1, over(bench)) == (bool(mood), mood)
    bench = Bench(config=limited(100)).ready()
    bench.bought(3)
    for worth, mood in ((310, []), (290, ["REDUCE_ONLY"])):
        bench.config = limited(100, max_position_notional=D(worth))
        bench.tell(ConfigChanged(f"cfg-{worth}"))
        assert (used(bench).max_position_notional > 1, over(bench)) == (bool(mood), mood)


def test_use_when_there_are_many_then_the_highest_of_any_instrument_counts(bench: Bench) -> None:
    """One number for an account: which instrument it is, status says."""
    bench.bought(2)
    bench.submit(3, instrument=ETH, owner=API)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert used(bench).max_position == D("0.75")
