"""Risk desk and OMS together: one starts its book from the other, and what it says is obeyed."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, CONFIG, DESK, GATEWAY, STORE, TREND, USDT
from tests.unit.actors.turns import Turns
from tradefan.actors.risk_desk import RiskDesk
from tradefan.actors.risk_desk_books import HOLD
from tradefan.actors.risk_desk_state import AccountRiskView, RiskDeskWiring
from tradefan.messages.account import EquityMark
from tradefan.messages.base import Message
from tradefan.messages.control import Ready, Started
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.market import Quote
from tradefan.messages.orders import AssignPosition, Refusal, ResumeTrading
from tradefan.messages.records import Equity, Fill, Transfer
from tradefan.units import EXTERNAL, SECOND, Asset, Ref

OMS = Ref(1)


class Both:
    """An OMS on its bench and a desk that hears what the bench sends it, and is heard."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.turns = Turns(bench.config, bench.now_ns)
        self.desk = RiskDesk(RiskDeskWiring(OMS, (ACCOUNT,), dict(bench.wiring.instruments), (STORE,)))
        self.give(Started(0))

    def give(self, *messages: Message) -> None:
        """Give messages to the desk and let both talk until neither has anything to say."""
        self._told(self.turns.give(self.desk, *messages))
        while heard := self.bench.take(DESK, Message):
            self._told(self.turns.give(self.desk, *heard))

    def _told(self, sent: list[tuple[Ref, Message]]) -> None:
        self.bench.tell(*(msg for ref, msg in sent if ref == OMS))

    def buy(self, qty: str) -> None:
        """Let the strategy buy at 100, and everybody hear of it."""
        self.bench.submit(qty)
        create = self.bench.one(GATEWAY, CreateOrder)
        self.bench.fill(create, create.order_qty)
        self.give()

    def second(self, price: float | None = None) -> None:
        """Let a second pass, with a quote of BTC at its beginning."""
        now_ns = self.bench.now_ns
        if price is not None:
            self.give(Quote(BTC, price, 1, price, 1, 1, now_ns))
            self.bench.quote(BTC, price)
        self.bench.advance(SECOND, answering=True)
        self._told(self.turns.until(self.desk, self.bench.now_ns))
        self.give()

    def trusted(self, price: float = 100) -> Both:
        """Let the OMS take new risk: the desk has seen for as long as its mode has to be clear."""
        while self.bench.oms.view().mode.mode != "NORMAL":
            self.second(price)
        return self

    @property
    def account(self) -> AccountRiskView:
        return self.desk.view().accounts[0]


def test_desk_when_the_oms_is_ready_then_starts_from_its_book_and_sees() -> None:
    """The answer to one question is enough: balances, positions, and the peak of an earlier life."""
    bench = Bench().ready()
    bench.bought(5)
    bench.take(DESK, Message)
    gone = {Asset("SOL"): (Decimal(40), Decimal(5))}
    told = EquityMark(ACCOUNT, USDT, 0, Decimal(10), Decimal(1_100_000), Decimal(3), gone=gone)
    bench.tell(told)
    assert bench.made(Equity)[-1].gone == gone
    both = Both(bench)
    both.give()
    both.second(100)
    assert (both.desk.view().state, bench.oms.state.live.risk_desk) == ("READY", "READY")
    assert (both.account.equity, both.account.peak, both.account.seam, both.account.gross) == (
        Decimal(1_000_000),
        Decimal(1_100_000),
        Decimal(3),
        Decimal(500),
    )
    assert both.desk.state.accounts[ACCOUNT].gone == gone


@pytest.mark.failure("OR-18")
def test_desk_when_fills_come_then_two_looks_find_no_difference() -> None:
    """Fees in base and quote, buys and sells: both books stay the same to the last digit."""
    both = Both(Bench().ready()).trusted()
    for side, fee_asset in (("buy", "BTC"), ("sell", "USDT"), ("buy", "BTC")):
        both.bench.submit("1.5" if side == "buy" else "0.7", side=side)
        create = both.bench.one(GATEWAY, CreateOrder)
        both.bench.fill(create, create.order_qty, fee=Decimal("0.0123"), fee_asset=fee_asset)
        both.give()
    for _ in range(40):
        both.second(101)
    view = both.desk.view()
    assert view.counters.looks >= 3
    assert (view.differences, view.counters.differences, view.counters.transfers) == ({}, 0, 0)
    assert both.account.marks[0].qty == Decimal("2.2754")


def test_desk_when_a_limit_does_not_hold_then_the_oms_refuses_new_risk_in_its_words() -> None:
    """Code, limit, used and what would pass reach the owner; what reduces goes on."""
    risk = msgspec.structs.replace(CONFIG.risk, max_concentration=Decimal("0.0004"))
    both = Both(Bench(config=msgspec.structs.replace(CONFIG, risk=risk)).ready()).trusted()
    both.buy("5")
    both.bench.submit(1)
    refusal = both.bench.one(STORE, Refusal)
    assert (refusal.code, refusal.limit, refusal.used, refusal.would_pass) == (
        "RISK_CONCENTRATION",
        "0.0004",
        "0.0005",
        "at most 400.00 USDT",
    )
    both.bench.submit(1, side="sell")
    assert both.bench.one(GATEWAY, CreateOrder).side == "sell"


def test_mark_when_the_peak_rises_then_is_journaled_and_comes_back() -> None:
    """What the limits refer to survives kill -9: it is in the journal."""
    bench = Bench().ready()
    both = Both(bench).trusted()
    both.buy("1")
    both.second(150)
    (first, bought, second) = bench.made(Equity)
    assert (first.peak_equity, second.peak_equity) == (Decimal(1_000_000), Decimal(1_000_050))
    assert [one.marks for one in (first, bought, second)] == [{}, {BTC: Decimal(100)}, {BTC: Decimal(150)}]
    again = Both(Bench(records=bench.records).ready())
    again.second(120)
    assert (again.account.peak, again.account.equity) == (Decimal(1_000_050), Decimal(1_000_020))


def test_withdrawal_when_the_process_dies_before_the_desk_looks_then_is_no_loss() -> None:
    """TRANSFER is durable and the curve of before counts it: nothing is latched in the next life."""
    bench = Bench().ready()
    Both(bench).trusted()
    moved = Transfer(bench.now_ns, ACCOUNT, USDT, Decimal(-400_000), "looks agree")
    again = Both(Bench(records=[*bench.records, moved], now_ns=bench.now_ns).ready(USDT=600_000))
    again.second(100)
    account = again.account
    assert account.equity == account.peak == account.day_equity == Decimal(600_000)
    assert account.latched == ()
    again.second(100)
    assert again.bench.made(Equity)[-1].transferred == {USDT: Decimal(-400_000)}
    again.bench.check()


def test_desk_when_it_begins_anew_then_new_risk_waits_until_it_has_seen_for_a_while() -> None:
    """NO_NEW_RISK until READY and 30 s more: a desk that crashes again and again is none."""
    both = Both(Bench().ready())
    assert both.desk.view().state == "READY"
    ready_ns = both.bench.now_ns
    both.bench.submit(1)
    assert both.bench.one(STORE, Refusal).code == "MODE_NO_NEW_RISK"
    both.trusted()
    assert both.bench.now_ns - ready_ns == 30 * SECOND


def test_drawdown_when_a_human_resumes_then_it_is_measured_anew_and_trading_goes_on() -> None:
    """RESUME reaches the desk by the OMS; what it lets go there does not come back by itself."""
    risk = msgspec.structs.replace(CONFIG.risk, max_drawdown=Decimal("0.0001"))
    both = Both(Bench(config=msgspec.structs.replace(CONFIG, risk=risk)).ready()).trusted()
    both.buy("5")
    for _ in range(3):
        both.second(70)
    assert both.bench.moods(ACCOUNT, "drawdown") == ["REDUCE_ONLY"]
    both.bench.submit(1)
    assert both.bench.one(STORE, Refusal).code == "RISK_DRAWDOWN"
    both.bench.tell(ResumeTrading(ACCOUNT, "seen", "me"))
    both.give()
    for _ in range(5):
        both.second(70)
    assert both.bench.moods(ACCOUNT, "drawdown") == ["REDUCE_ONLY", "NORMAL"]
    assert both.account.latched == ()
    assert both.account.drawdown == 0
    both.bench.submit(1)
    assert len(both.bench.take(GATEWAY, CreateOrder)) == 1


def test_hold_when_a_human_resumes_then_the_desk_takes_the_book_of_the_oms_over() -> None:
    """A desk that has lost a fill never agrees again by itself: somebody has to look, and to say so."""
    both = Both(Bench().ready()).trusted()
    both.bench.submit("5")
    create = both.bench.one(GATEWAY, CreateOrder)
    both.bench.fill(create, create.order_qty)
    both.bench.take(DESK, Message)
    for _ in range(40):
        both.second(100)
    assert both.bench.moods(BTC, HOLD) == ["CANCEL_ONLY"]
    both.bench.tell(ResumeTrading(BTC, "seen", "me"))
    both.give()
    for _ in range(40):
        both.second(100)
    assert both.bench.moods(BTC, HOLD) == ["CANCEL_ONLY", "NORMAL"]
    assert (both.desk.view().differences, both.desk.view().held) == ({}, ())
    assert both.bench.oms.view().mode.mode == "NORMAL"


def test_position_when_a_human_assigns_it_then_both_books_follow() -> None:
    """OMS and desk agree afterwards, look after look."""
    both = Both(Bench().ready()).trusted()
    both.buy("5")
    both.bench.tell(AssignPosition(ACCOUNT, BTC, TREND, API, Decimal(2), None, "me"))
    both.bench.tell(AssignPosition(ACCOUNT, BTC, TREND, EXTERNAL, Decimal(1), None, "me"))
    for _ in range(40):
        both.second(100)
    view = both.desk.view()
    assert (view.differences, view.counters.differences, view.counters.transfers) == ({}, 0, 0)
    assert both.bench.moods(BTC, HOLD) == []


def test_bust_when_it_comes_then_both_books_follow() -> None:
    """What is taken back is told as a fill, so that the desk needs no word of its own for it."""
    both = Both(Bench().ready()).trusted()
    both.buy("5")
    (fill,) = both.bench.made(Fill)
    both.bench.bust(fill.trade_id, 3, 90)
    both.give()
    for _ in range(40):
        both.second(100)
    view = both.desk.view()
    assert (view.differences, view.counters.differences, view.counters.transfers) == ({}, 0, 0)
    assert both.account.equity == 1_000_000 + 3 * 10


def test_ready_when_the_oms_began_anew_then_hears_of_the_desk_again() -> None:
    """A new OMS takes no new risk until the desk has spoken to it."""
    both = Both(Bench().ready())
    both.second(100)
    both.bench.oms.state.live.risk_desk = "STARTING"
    both.give(Ready(2))
    assert both.bench.oms.state.live.risk_desk == "READY"
