"""A bench in virtual time: one gateway, one venue's machine, and everything that was said.

Ingress is taken before timers, effects are applied after the handler returned, as a driver does it.
"""

from __future__ import annotations

import heapq
from decimal import Decimal
from typing import Any, Protocol

from tradefan.actors.gateway import Gateway, GatewayWiring
from tradefan.config.schema import AccountConfig, Config
from tradefan.messages.base import Message
from tradefan.messages.control import Started
from tradefan.messages.gateway import (
    CancelOrder,
    CreateOrder,
    ExecutionReport,
    Look,
    LookDone,
    ReplaceOrder,
    VenueFill,
)
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import TERMINAL, OrderType, TimeInForce
from tradefan.messages.wire import Write
from tradefan.units import (
    MS,
    SECOND,
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    Ref,
    Side,
    TradeId,
)

T0 = 1_700_000_000 * SECOND
ACCOUNT = AccountId("paper:main")
BTC = InstrumentId("binance:BTC/USDT")
ETH = InstrumentId("binance:ETH/USDT")
OMS, LINK, DESK = Ref(1), Ref(2), Ref(3)
D = Decimal


def spot(symbol: str, lot: str = "0.00001", tick: str = "0.01") -> Instrument:
    """Return a spot instrument with Binance's usual rules."""
    base, _, quote = symbol.partition("/")
    return Instrument(
        id=InstrumentId(f"binance:{symbol}"),
        venue="binance",
        symbol=symbol,
        kind="spot",
        base=Asset(base),
        quote=Asset(quote),
        settle=Asset(quote),
        price_tick=D(tick),
        qty_lot=D(lot),
        min_qty=D(lot),
        max_qty=D(9000),
        min_notional=D(5),
    )


INSTRUMENTS = (spot("BTC/USDT"), spot("ETH/USDT", lot="0.0001"))


class Machine(Protocol):
    """A timed machine behind the gateway's port."""

    def apply(self, now_ns: int, effect: Message) -> None: ...
    def next_ns(self) -> int | None: ...
    def take(self, now_ns: int, limit: int) -> list[Message]: ...


class BenchContext:
    """`Context` for the one actor; what is asked takes effect after the turn."""

    def __init__(self) -> None:
        self.now_ns = T0
        self.config: Any = Config(accounts={ACCOUNT: AccountConfig()})
        self.config_id = "bench"
        self.sent: list[tuple[Ref, Message]] = []
        self.timers: list[tuple[int, int, Message]] = []
        self.disarmed: list[int] = []
        self.logs: list[tuple[str, str, dict[str, Any]]] = []
        self.ids = 0
        self.port_full = False

    def send(self, ref: Ref, msg: Message) -> bool:
        if ref == LINK and self.port_full:
            return False
        self.sent.append((ref, msg))
        return True

    def after(self, delay_ns: int, msg: Message) -> int:
        self.ids += 1
        heapq.heappush(self.timers, (self.now_ns + delay_ns, self.ids, msg))
        return self.ids

    def cancel(self, timer_id: int) -> None:
        self.disarmed.append(timer_id)

    def next_id(self) -> int:
        self.ids += 1
        return self.ids

    def series_id(self) -> int:
        return self.next_id()

    def random(self) -> float:
        return 0.5

    def log(self, level: str, event: str, **fields: Any) -> None:
        self.logs.append((level, event, fields))


class Bench:
    """Runs a gateway against a machine; `told` is what the OMS heard, `writes` what left."""

    def __init__(self, machine: Machine, state: Any = None) -> None:
        self.ctx = BenchContext()
        self.machine = machine
        self.wiring = GatewayWiring("gateway", ACCOUNT, OMS, LINK, INSTRUMENTS, observers=(DESK,))
        self.gateway = Gateway(self.wiring, state)
        self.told: list[Message] = []
        self.desk: list[Message] = []
        self.kernel: list[Message] = []
        self.writes: list[Write] = []
        self._looks = 0

    # --- time -------------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        return self.ctx.now_ns

    def tell(self, *messages: Message) -> None:
        """Give messages to the gateway now, in order."""
        for msg in messages:
            self.gateway.handle(msg, self.ctx)
            self._flush()

    def market(self, *effects: Message) -> None:
        """Give market events to the venue now."""
        for effect in effects:
            self.machine.apply(self.now_ns, effect)

    def run(self, delay_ns: int) -> None:
        """Let time pass."""
        until_ns = self.now_ns + delay_ns
        while True:
            due = [t for t in (self.machine.next_ns(), self._timer_ns()) if t is not None]
            if not due or min(due) > until_ns:
                break
            self.ctx.now_ns = max(self.now_ns, min(due))
            self._settle()
        self.ctx.now_ns = until_ns

    def start(self, *, restart: int = 0) -> None:
        """Start the gateway and let it connect."""
        self.tell(Started(restart))
        self.run(SECOND)

    def _settle(self) -> None:
        while (ingress := self.machine.take(self.now_ns, 256)) or self._due():
            self.tell(*ingress)
            if not ingress:
                self.tell(heapq.heappop(self.ctx.timers)[2])

    def _due(self) -> bool:
        due_ns = self._timer_ns()
        return due_ns is not None and due_ns <= self.now_ns

    def _timer_ns(self) -> int | None:
        while self.ctx.timers and self.ctx.timers[0][1] in self.ctx.disarmed:
            heapq.heappop(self.ctx.timers)
        return self.ctx.timers[0][0] if self.ctx.timers else None

    def _flush(self) -> None:
        sent, self.ctx.sent = self.ctx.sent, []
        boxes = {OMS: self.told, DESK: self.desk, Ref(0): self.kernel}
        for ref, msg in sent:
            if ref == LINK:
                if isinstance(msg, Write):
                    self.writes.append(msg)
                self.machine.apply(self.now_ns, msg)
            else:
                boxes[ref].append(msg)

    # --- what is wanted -----------------------------------------------------------------------------

    def order(
        self,
        name: str,
        side: Side,
        qty: str,
        price: str | None,
        *,
        order_type: OrderType = "limit",
        time_in_force: TimeInForce = "GTC",
        post_only: bool = False,
        not_after_ns: int | None = None,
        instrument: InstrumentId = BTC,
    ) -> CreateOrder:
        """Return a create that may be written for 2 s."""
        return CreateOrder(
            account=ACCOUNT,
            instrument=instrument,
            owner=OwnerId("api"),
            parent_id=ParentId("p"),
            client_order_id=ClientOrderId(name),
            side=side,
            order_type="market" if price is None else order_type,
            time_in_force=time_in_force,
            post_only=post_only,
            order_qty=D(qty),
            limit_price=None if price is None else D(price),
            reduce_only=False,
            not_after_ns=self.now_ns + 2 * SECOND if not_after_ns is None else not_after_ns,
        )

    def place(self, name: str, side: Side, qty: str, price: str | None, **more: Any) -> None:
        """Create an order and wait for what the venue says."""
        self.tell(self.order(name, side, qty, price, **more))
        self.run(100 * MS)

    def replacement(self, old: str, name: str, side: Side, qty: str, price: str, **more: Any) -> ReplaceOrder:
        """Return a replacement of an order by a limit order."""
        return ReplaceOrder(ACCOUNT, self.order(name, side, qty, price, **more), ClientOrderId(old))

    def replace(self, old: str, name: str, side: Side, qty: str, price: str, **more: Any) -> None:
        """Replace an order and wait for what the venue says."""
        self.tell(self.replacement(old, name, side, qty, price, **more))
        self.run(100 * MS)

    def cancel(self, name: str, instrument: InstrumentId = BTC) -> None:
        """Cancel an order and wait for what the venue says."""
        self.tell(CancelOrder(ACCOUNT, instrument, OwnerId("api"), ClientOrderId(name)))
        self.run(100 * MS)

    def look(
        self, *names: str, cursor: str | None = "0", balances: bool = True
    ) -> tuple[list[Message], LookDone]:
        """Look at the venue; return what was told before `LookDone`, and it."""
        self._looks += 1
        before = len(self.told)
        orders = tuple((BTC, ClientOrderId(name)) for name in names)
        cursors = ((BTC, None if cursor is None else TradeId(cursor)),)
        self.tell(Look(ACCOUNT, self._looks, orders, cursors, balances))
        self.run(10 * SECOND)
        *facts, done = self.told[before:]
        assert isinstance(done, LookDone), self.told[before:]
        return facts, done

    # --- what was heard ------------------------------------------------------------------------------

    def reports(self, name: str) -> list[tuple[str, Decimal]]:
        """Return (status, cum_qty) of each different report about an order, in order."""
        found: list[tuple[str, Decimal]] = []
        for msg in self.told:
            if isinstance(msg, ExecutionReport) and msg.client_order_id == name:
                row = (msg.status.value, msg.cum_qty)
                if row not in found:
                    found.append(row)
        return found

    def verdict(self, name: str) -> tuple[str, Decimal]:
        """Return (status, cum_qty) merged as the OMS does: a terminal word and the most filled win."""
        rows = [msg for msg in self.told if isinstance(msg, ExecutionReport) and msg.client_order_id == name]
        best = max(rows, key=lambda row: (row.status in TERMINAL, row.cum_qty))
        return best.status.value, best.cum_qty

    def last(self, name: str) -> ExecutionReport:
        """Return the newest report about an order."""
        return next(
            msg
            for msg in reversed(self.told)
            if isinstance(msg, ExecutionReport) and msg.client_order_id == name
        )

    def fills(self, name: str | None = None) -> dict[str, VenueFill]:
        """Return fills by trade id, as the OMS books them: once, the first word counts."""
        found: dict[str, VenueFill] = {}
        for msg in self.told:
            if isinstance(msg, VenueFill) and name in (None, msg.client_order_id):
                found.setdefault(msg.trade_id, msg)
        return found

    def written(self, op: str) -> list[Write]:
        """Return the writes of a kind."""
        return [write for write in self.writes if write.op == op]
