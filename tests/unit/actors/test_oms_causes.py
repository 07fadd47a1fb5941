"""The causes of modes: entered in the turn that learns them, left by their rule (RELIABILITY.md 2b)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec import Struct

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, ETH, GATEWAY
from tradefan.core.order import Order
from tradefan.messages.account import AccountState, Mode
from tradefan.messages.control import ActorState, ChainBroken, JournalFailed, JournalWorks, LoopLag
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look
from tradefan.messages.market import Quality
from tradefan.messages.orders import OrderStatus, ResumeTrading
from tradefan.units import MS, SECOND, AccountId

D = Decimal
S = OrderStatus
Step = Callable[[Bench], None]


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


class Row(Struct, frozen=True):
    """One cause: where, how tight, what brings it, what ends it, and after how many seconds it is left."""

    scope: str
    mode: Mode
    enter: Step
    leave: Step
    clear_s: int
    again_s: int


def lose(bench: Bench) -> None:
    bench.tell(AccountState(ACCOUNT, False, "closed"))


def reconnect(bench: Bench) -> None:
    bench.tell(AccountState(ACCOUNT, True, ""))
    bench.done(bench.take(GATEWAY, Look)[-1])


def doubts(bench: Bench) -> None:
    for _ in range(4):
        bench.submit("0.1", owner=API)
    for create in bench.take(GATEWAY, CreateOrder):
        bench.doubt(create)


def three_doubts(bench: Bench) -> None:
    for order in bench.trading.orders.values():
        if order.in_doubt is not None:
            bench.report(_named(order), S.CANCELED)
            return


def no_doubts(bench: Bench) -> None:
    for order in bench.trading.orders.values():
        if order.in_doubt is not None:
            bench.report(_named(order), S.CANCELED)


def _named(order: Order) -> CancelOrder:
    return CancelOrder(order.account, order.instrument, order.owner, order.client_order_id)


def banned(bench: Bench) -> None:
    until_ns = bench.now_ns + 5 * SECOND
    bench.tell(AccountState(ACCOUNT, True, "418", shut_until_ns=until_ns, shut="BAN"))


def ban_over(bench: Bench) -> None:
    while bench.oms.state.live.accounts[ACCOUNT].banned_until_ns > bench.now_ns:
        bench.passed(1)


def stale(bench: Bench) -> None:
    bench.quote(BTC, 100, Quality.STALE)


def alive(bench: Bench) -> None:
    bench.quote(BTC, 100)


ROWS: dict[str, Row] = {
    "feed": Row(BTC, "NO_NEW_RISK", stale, alive, 0, 30),
    "link": Row(ACCOUNT, "NO_NEW_RISK", lose, reconnect, 30, 30),
    "loop lag": Row(
        "all",
        "NO_NEW_RISK",
        lambda bench: bench.tell(LoopLag(2 * SECOND + 1)),
        lambda bench: bench.tell(LoopLag(249 * MS)),
        30,
        30,
    ),
    "risk desk": Row(
        "all",
        "NO_NEW_RISK",
        lambda bench: bench.tell(ActorState("risk_desk", "DOWN")),
        lambda bench: bench.tell(ActorState("risk_desk", "READY")),
        30,
        30,
    ),
    "in doubt": Row(ACCOUNT, "CANCEL_ONLY", doubts, no_doubts, 30, 30),
    "ban": Row("paper", "CANCEL_ONLY", banned, ban_over, 30, 30),
    "journal": Row(
        "all",
        "CANCEL_ONLY",
        lambda bench: bench.tell(JournalFailed("disk full")),
        lambda bench: bench.tell(JournalWorks()),
        10,
        30,
    ),
}


@pytest.mark.parametrize("cause", ROWS)
def test_cause_when_learned_then_its_mode_holds_at_once_and_is_left_when_clear_for_long_enough(
    bench: Bench, cause: str
) -> None:
    """Scope and mode by the table; one MODE record in, one out; the clear time runs from the end of it."""
    row, past = ROWS[cause], len(bench.moods(ROWS[cause].scope, cause))
    bench.passed(301)
    row.enter(bench)
    (entered,) = bench.trading.modes[row.scope].values()
    assert (entered.cause, entered.mode, entered.code) == (cause, row.mode, f"MODE_{row.mode}")
    assert entered.at_ns == bench.now_ns
    assert entered.text
    row.leave(bench)
    if row.clear_s:
        bench.passed(row.clear_s - 1)
        assert bench.moods(row.scope, cause)[past:] == [row.mode]
        bench.passed(1)
    assert bench.moods(row.scope, cause)[past:] == [row.mode, "NORMAL"]
    assert bench.trading.modes == {}
    bench.check()


@pytest.mark.parametrize("cause", ROWS)
def test_cause_when_it_comes_again_within_five_minutes_then_it_is_left_more_slowly(
    bench: Bench, cause: str
) -> None:
    """The longer clear time of the table holds the second time, the shorter one again much later."""
    row = ROWS[cause]
    bench.passed(301)
    for clear_s, pause_s in ((row.clear_s, 100), (row.again_s, 305), (row.clear_s, 0)):
        row.enter(bench)
        row.leave(bench)
        if clear_s:
            bench.passed(clear_s - 1)
            assert cause in bench.trading.modes[row.scope]
            bench.passed(1)
        assert row.scope not in bench.trading.modes
        bench.passed(pause_s)


@pytest.mark.parametrize("cause", ["link", "loop lag", "risk desk", "ban"])
def test_cause_when_it_comes_back_before_it_was_left_then_the_clear_time_begins_anew(
    bench: Bench, cause: str
) -> None:
    """A cause that is clear for a moment only is one cause, and one record."""
    row, past = ROWS[cause], len(bench.moods(ROWS[cause].scope, cause))
    row.enter(bench)
    row.leave(bench)
    bench.passed(25)
    row.enter(bench)
    row.leave(bench)
    bench.passed(29)
    assert bench.moods(row.scope, cause)[past:] == [row.mode]
    bench.passed(1)
    assert bench.moods(row.scope, cause)[past:] == [row.mode, "NORMAL"]


# --- by their own rules ---------------------------------------------------------------------------------


def test_feed_when_only_suspect_again_then_the_mode_stays_until_it_is_live(bench: Bench) -> None:
    """STALE is left at LIVE, not on the way there."""
    stale(bench)
    bench.quote(BTC, 100, Quality.SUSPECT)
    assert bench.moods(BTC, "feed") == ["NO_NEW_RISK"]
    alive(bench)
    assert bench.moods(BTC, "feed") == ["NO_NEW_RISK", "NORMAL"]


def test_feed_when_blind_then_only_its_instrument_waits(bench: Bench) -> None:
    """BLIND as STALE; another instrument goes on."""
    bench.quote(BTC, 100, Quality.BLIND)
    assert bench.moods(BTC, "feed") == ["NO_NEW_RISK"]
    bench.submit(6, instrument=ETH)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1


def test_cause_when_it_goes_to_and_fro_then_it_changes_at_most_six_times_a_minute(bench: Bench) -> None:
    """I-38, for a feed that breaks every second."""
    for _ in range(60):
        stale(bench)
        bench.advance(SECOND // 2)
        alive(bench)
        bench.advance(SECOND // 2)
    assert len(bench.moods(BTC, "feed")) <= 6
    assert bench.trading.modes[BTC]["feed"].mode == "NO_NEW_RISK"


def test_lag_when_it_falls_then_it_counts_until_the_loop_keeps_time_again(bench: Bench) -> None:
    """Entered above 2 s, left below 250 ms: between the two nothing changes."""
    bench.tell(LoopLag(2 * SECOND))
    assert bench.trading.modes == {}
    bench.tell(LoopLag(3 * SECOND), LoopLag(SECOND))
    bench.passed(60)
    assert bench.moods("all", "loop lag") == ["NO_NEW_RISK"]


def test_doubts_when_three_are_left_then_the_account_may_trade_again(bench: Bench) -> None:
    """More than three IN DOUBT is one too many; three are not."""
    doubts(bench)
    three_doubts(bench)
    for _ in range(30):
        bench.advance(SECOND)
        bench.take(GATEWAY, Look)
    assert bench.moods(ACCOUNT, "in doubt") == ["CANCEL_ONLY", "NORMAL"]


@pytest.mark.failure("OR-15")
def test_ban_when_it_lasts_then_nothing_is_left_before_it_is_over(bench: Bench) -> None:
    """The clear time begins when the ban ends, although nobody says that it has ended."""
    bench.tell(AccountState(ACCOUNT, True, "418", shut_until_ns=bench.now_ns + 20 * SECOND, shut="BAN"))
    bench.passed(49)
    assert bench.moods("paper", "ban") == ["CANCEL_ONLY"]
    bench.passed(1)
    assert bench.moods("paper", "ban") == ["CANCEL_ONLY", "NORMAL"]


@pytest.mark.failure("OR-15")
def test_ban_when_one_of_two_accounts_is_banned_then_the_venue_stays_silent_for_both() -> None:
    """The scope is the venue: an account without a ban does not withdraw the other's."""
    other = AccountId("paper:two")
    bench = Bench(accounts={ACCOUNT: (BTC,), other: (ETH,)}, gateways={ACCOUNT: GATEWAY, other: GATEWAY})
    bench.fold()
    bench.tell(
        ActorState("risk_desk", "READY"),
        AccountState(ACCOUNT, True, "418", shut_until_ns=bench.now_ns + 60 * SECOND, shut="BAN"),
        AccountState(other, True, ""),
    )
    for _ in range(5):
        bench.advance(SECOND)
        bench.tell(ActorState("risk_desk", "READY"))
    assert bench.moods("paper", "ban") == ["CANCEL_ONLY"]


def test_limit_of_requests_when_reached_then_it_is_no_ban(bench: Bench) -> None:
    """A 429 slows down; only a 418 forbids new orders."""
    until_ns = bench.now_ns + 5 * SECOND
    bench.tell(AccountState(ACCOUNT, True, "429", shut_until_ns=until_ns, shut="RATE_LIMIT"))
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1


@pytest.mark.parametrize("cause", ["auth", "chain"])
def test_human_cause_when_its_reason_has_gone_then_only_resume_ends_it(bench: Bench, cause: str) -> None:
    """AUTH and a broken chain: nothing but `tradefan resume --scope` lets go, however long it is clear."""
    scope = {"auth": ACCOUNT, "chain": "all"}[cause]
    tight = {"auth": "CANCEL_ONLY", "chain": "NO_NEW_RISK"}[cause]
    bench.tell(
        AccountState(ACCOUNT, True, "", auth="-2015") if cause == "auth" else ChainBroken(5, "another hash")
    )
    bench.tell(AccountState(ACCOUNT, True, ""))
    bench.passed(600)
    assert bench.moods(scope, cause) == [tight]
    bench.tell(ResumeTrading(scope, "new key", "me"))
    assert bench.trading.modes == {}
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


# --- the start ------------------------------------------------------------------------------------


def test_starting_when_the_account_is_reconciled_then_it_is_left_without_a_clear_time() -> None:
    """CANCEL_ONLY from the fold to READY, then NORMAL in the same turn."""
    bench = Bench()
    bench.fold()
    assert bench.moods(ACCOUNT, "starting") == ["CANCEL_ONLY"]
    bench.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    bench.opened({"USDT": 1000})
    assert bench.moods(ACCOUNT, "starting") == ["CANCEL_ONLY", "NORMAL"]
    assert bench.trading.modes == {}


def test_cause_when_it_has_held_since_the_start_then_it_is_left_at_once() -> None:
    """The desk was not READY yet: that is no failure to recover from."""
    bench = Bench()
    bench.fold()
    assert bench.moods("all", "risk desk") == ["NO_NEW_RISK"]
    bench.passed(20)
    bench.tell(ActorState("risk_desk", "READY"))
    assert bench.moods("all", "risk desk") == ["NO_NEW_RISK", "NORMAL"]


def test_cause_when_it_comes_again_before_ready_then_it_has_not_held_since_the_start() -> None:
    """I-38: while a venue is away for long, a feed that goes to and fro is slowed down as later."""
    bench = Bench()
    bench.fold()
    for _ in range(30):
        stale(bench)
        bench.advance(SECOND)
        alive(bench)
        bench.advance(SECOND)
        bench.take(GATEWAY, Look)
    assert len(bench.moods(BTC, "feed")) <= 6
