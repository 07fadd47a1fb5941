"""Risk desk and OMS together: one starts its book from the other, and what it says is obeyed."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, CONFIG, DESK, GATEWAY, STORE
from tests.unit.actors.turns import Turns
from tradefan.actors.risk_desk import RiskDesk
from tradefan.actors.risk_desk_state import AccountRiskView, RiskDeskWiring
from tradefan.messages.account import EquityMark
from tradefan.messages.base import Message
from tradefan.messages.control import Ready, Started
from tradefan.messages.market import Quote
from tradefan.messages.orders import CreateOrder, Refusal
from tradefan.messages.records import Equity
from tradefan.units import SECOND, Ref

OMS = Ref(1)


class Both:
    """An OMS on its bench and a desk that hears what the bench sends it, and is heard."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.turns = Turns(bench.config, bench.now_ns)
        self.desk = RiskDesk(RiskDeskWiring(OMS, (ACCOUNT,), dict(bench.wiring.instruments), STORE))
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
        self.bench.now_ns += SECOND
        self._told(self.turns.until(self.desk, self.bench.now_ns))
        self.give()

    @property
    def account(self) -> AccountRiskView:
        return self.desk.view().accounts[0]


def test_desk_when_the_oms_is_ready_then_starts_from_its_book_and_sees() -> None:
    """The answer to one question is enough: balances, positions, and the peak of an earlier life."""
    bench = Bench().ready()
    bench.bought(5)
    bench.take(DESK, Message)
    bench.tell(EquityMark(ACCOUNT, bench.wiring.numeraire, 0, Decimal(10), Decimal(1_100_000), Decimal(3)))
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


def test_desk_when_fills_come_then_two_looks_find_no_difference() -> None:
    """Fees in base and quote, buys and sells: both books stay the same to the last digit."""
    both = Both(Bench().ready())
    both.second(100)
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
    both = Both(Bench(config=msgspec.structs.replace(CONFIG, risk=risk)).ready())
    both.second(100)
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
    both = Both(bench)
    both.second(100)
    both.buy("1")
    both.second(150)
    (first, second) = bench.made(Equity)
    assert (first.peak_equity, second.peak_equity) == (Decimal(1_000_000), Decimal(1_000_050))
    again = Both(Bench(records=bench.records).ready())
    again.second(120)
    assert (again.account.peak, again.account.equity) == (Decimal(1_000_050), Decimal(1_000_020))


def test_ready_when_the_oms_began_anew_then_hears_of_the_desk_again() -> None:
    """A new OMS takes no new risk until the desk has spoken to it."""
    both = Both(Bench().ready())
    both.second(100)
    both.bench.oms.state.live.risk_desk = "STARTING"
    both.give(Ready(2))
    assert both.bench.oms.state.live.risk_desk == "READY"
