"""A witness made by hand: a venue's book, records with the State that follows from them, writes, logs.

Each test says what happened, and one checker looks at it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from tradefan.actors.oms_state import OmsState
from tradefan.actors.risk_desk_state import Account, RiskDeskState
from tradefan.config.schema import Config, RiskConfig, StrategyConfig
from tradefan.core.equity import Book
from tradefan.core.ids import client_order_id
from tradefan.core.trading import apply
from tradefan.messages.control import KillAnswer, LogLine
from tradefan.messages.records import Epoch, Opening, Record
from tradefan.sim.checkers.base import Watch
from tradefan.sim.witness import (
    Injected,
    KillSeen,
    VenueEvent,
    VenueOrder,
    VenueTrade,
    Violation,
    Witness,
    Written,
)
from tradefan.units import SECOND, ZERO, AccountId, Asset, ClientOrderId, InstrumentId, OwnerId, Side

ACCOUNT = AccountId("paper:main")
BTC = InstrumentId("binance:BTC/USDT")
OWNER = OwnerId("trend")
SCOPES = ("all", BTC, ACCOUNT, OWNER, "paper", "binance")
T0 = 1_000 * SECOND
D = Decimal


class Truth:
    """A venue's own book, filled in by hand."""

    def __init__(self, *, honest: bool = True) -> None:
        """Open an empty account with A 12 s, V 5 s, L 300 s."""
        self.orders: dict[int, VenueOrder] = {}
        self.trades: list[VenueTrade] = []
        self.balances: dict[str, Decimal] = {}
        self.log: list[VenueEvent] = []
        self.accept_bound_ns, self.visible_bound_ns, self.late_fill_bound_ns = (
            12 * SECOND,
            5 * SECOND,
            300 * SECOND,
        )
        self.honest = honest
        self.pending: dict[str, None] = {}
        self.now_ns = T0

    def may_accept(self, client_order_id: str) -> bool:
        """Say whether a create is on its way."""
        return client_order_id in self.pending

    def arrive(self, name: str, what: Literal["create", "cancel"] = "create") -> None:
        """Let a request arrive."""
        self._note(what, name)

    def accept(self, name: str, qty: Any = 10, side: Side = "buy", *, ours: bool = True) -> VenueOrder:
        """Take an order into the book."""
        number = len(self.orders) + 1
        order = VenueOrder(number, name, BTC, ours, side, D(100), D(qty), D(0), "NEW", self.now_ns)
        self.orders[number] = order
        self.pending.pop(name, None)
        self._note("accepted", name, number, D(qty))
        return order

    def reject(self, name: str, text: str) -> None:
        """Turn a create down."""
        self.pending.pop(name, None)
        self._note("rejected", name, None, D(0), text)

    def trade(self, order: VenueOrder, qty: Any, *, overfill: bool = False, fee: Any = 0) -> VenueTrade:
        """Let an order trade at 100; the fee is in BTC."""
        trade = VenueTrade(
            f"t{len(self.trades) + 1}",
            order.order_id,
            order.client_order_id,
            order.instrument,
            order.ours,
            order.side,
            D(qty),
            D(100),
            D(fee),
            "BTC",
            self.now_ns,
            overfill,
        )
        self.trades.append(trade)
        order.cum_qty += trade.qty
        if order.cum_qty >= order.qty and order.ended_ns is None:
            order.ended_ns = self.now_ns
        self._note("fill", order.client_order_id, order.order_id, trade.qty, trade.trade_id)
        return trade

    def end(self, order: VenueOrder) -> None:
        """Cancel an order."""
        order.status, order.ended_ns = "CANCELED", self.now_ns
        self._note("canceled", order.client_order_id, order.order_id)

    def bust(self, trade: VenueTrade) -> None:
        """Take a trade back."""
        trade.busted = True
        self._note("bust", trade.client_order_id, trade.order_id)

    def _note(
        self, what: Any, name: str, order_id: int | None = None, qty: Decimal = ZERO, text: str = ""
    ) -> None:
        self.log.append(VenueEvent(self.now_ns, what, name, order_id, qty, text))


class Bench:
    """One checker before a witness; every `step` is a second later."""

    def __init__(self, checker: Watch, *, honest: bool = True, config: Config | None = None) -> None:
        """Begin in life 1 with an order manager that runs and knows nothing."""
        self.checker = checker
        self.venue = Truth(honest=honest)
        self.seen = Witness(1, config or CONFIG, self.venue, now_ns=T0, life=1)
        self.seen.configs["cfg"] = self.seen.config
        self.seen.oms = OmsState()
        self.seen.oms.live.running = True

    # --- what happens -------------------------------------------------------------------------------

    def step(self, *records: Record) -> Violation | None:
        """Append records, fold them into State, and let the checker look a second later."""
        self.append(*records)
        return self.look()

    def append(self, *records: Record) -> None:
        """Append records in one Append and fold them into State; they become durable."""
        seen = self.seen
        if records:
            seen.appends.append((len(seen.records) + 1, len(seen.records) + len(records)))
        for record in records:
            seen.records.append(record)
            apply(seen.oms.trading, record)
        seen.acknowledged[len(seen.acknowledged) :] = seen.records[len(seen.acknowledged) :]

    def look(self, after_ns: int = SECOND) -> Violation | None:
        """Let the checker look a while later."""
        self.seen.now_ns += after_ns
        self.venue.now_ns = self.seen.now_ns
        return self.checker.after_step(self.seen)

    def crash(self, keep: int) -> Violation | None:
        """Start again from so many records: a new order manager has folded them."""
        seen = self.seen
        seen.records = list(seen.records[:keep])
        seen.life += 1
        seen.oms = OmsState()
        seen.oms.live.running = True
        for record in seen.records:
            apply(seen.oms.trading, record)
        return self.checker.at_start(seen)

    def rest(self) -> Violation | None:
        """Let the checker look at rest."""
        return self.checker.at_rest(self.seen)

    def write(
        self,
        name: str,
        op: Literal["create", "cancel", "replace"] = "create",
        *,
        refused: str | None = None,
        durable: int | None = None,
        closed: tuple[str, ...] = (),
    ) -> None:
        """Let a request leave for the venue, or be refused at the link; `closed` is what the latch holds."""
        seen = self.seen
        lsn = len(seen.acknowledged) if durable is None else durable
        scopes = () if op == "cancel" else SCOPES
        seen.writes.append(
            Written(seen.now_ns, seen.life, op, ClientOrderId(name), scopes, refused, lsn, closed)
        )
        if op != "cancel" and refused is None:
            self.venue.pending[name] = None

    def kill(self, scope: str, *, persisted: bool = True) -> None:
        """Answer a kill."""
        seen = self.seen
        answer = KillAnswer(1, scope, closed=True, persisted=persisted)
        seen.kills.append(KillSeen(seen.now_ns, seen.life, answer, len(seen.writes)))

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Log a line."""
        self.seen.logs.append((self.seen.now_ns, LogLine(level, event, "oms", fields)))

    def fault(self, kind: str, text: str = "") -> None:
        """Inject a fault."""
        self.seen.faults.append(Injected(self.seen.now_ns, kind, text))


def config_of(**risk: Any) -> Config:
    """Return a configuration with the strategy `trend` and some limits."""
    return Config(strategies={OWNER: StrategyConfig(use="x")}, risk=RiskConfig(**risk))


CONFIG = config_of()


def name_of(epoch: int, sequence: int, instance: str = "sim") -> ClientOrderId:
    """Return a client id as the order manager makes them."""
    return client_order_id(instance, epoch, sequence)


def epoch(number: int, at_ns: int = T0, **changes: Any) -> Epoch:
    """Return the record of a start."""
    fields: dict[str, Any] = {"instance": "sim", "config_id": "cfg", "version": "1"}
    return Epoch(at_ns, number, **{**fields, **changes})


def opening(asset: str, qty: Any) -> Opening:
    """Return what an account held before."""
    return Opening(T0, ACCOUNT, Asset(asset), D(qty), None)


def desk_with(
    held: dict[OwnerId, dict[InstrumentId, Decimal]], assets: dict[Asset, Decimal]
) -> RiskDeskState:
    """Return a risk desk with a book of the account."""
    return RiskDeskState(accounts={ACCOUNT: Account(book=Book(assets=assets, held=held))})


def broken(violation: Violation | None, invariant: str, expected: str, found: str) -> None:
    """Assert that an invariant is broken, and that both values are named."""
    assert violation is not None
    assert violation.invariant == invariant
    assert expected in violation.expected, violation
    assert found in violation.found, violation
