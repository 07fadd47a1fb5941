"""A bench for the OMS: a context that collects, a journal in memory, timers, and a venue told by hand."""

from __future__ import annotations

import heapq
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from tests.unit.risk.test_limits import instrument
from tradefan.actors.oms import Oms, OmsState, OmsWiring
from tradefan.config.schema import AccountConfig, Config, RiskConfig
from tradefan.core.trading import Trading, apply
from tradefan.messages.account import AccountState, Balance, Balances
from tradefan.messages.base import Message
from tradefan.messages.control import ActorState, Append, Durable, Fold, Rows, Started, Timer
from tradefan.messages.market import FeedQuality, Quality, Quote
from tradefan.messages.orders import (
    CancelOrder,
    CreateOrder,
    ExecutionReport,
    Look,
    LookDone,
    OrderStatus,
    SetTarget,
    SubmitOrder,
    VenueFill,
)
from tradefan.messages.records import Record
from tradefan.messages.union import decode, encode
from tradefan.units import (
    MS,
    SECOND,
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    Ref,
    TradeId,
)

D = Decimal
S = OrderStatus
ACCOUNT = AccountId("paper:main")
BTC, ETH = InstrumentId("binance:BTC/USDT"), InstrumentId("binance:ETH/USDT")
TREND, API, CLI = OwnerId("trend"), OwnerId("api"), OwnerId("cli")
USDT, BASE = Asset("USDT"), Asset("BTC")
JOURNAL, GATEWAY, TRADER, DESK, STORE, FACE, MARKET, RIM = (Ref(n) for n in (1, 2, 3, 4, 5, 6, 7, 0))
START = 1_000 * SECOND
M = TypeVar("M", bound=Message)

CONFIG = Config(
    accounts={ACCOUNT: AccountConfig()},
    risk=RiskConfig(max_position_notional=D(10**9), max_order_notional=D(10**9), orders_per_second=1000),
)


def wiring(**changes: Any) -> OmsWiring:
    """Return one account with BTC and ETH, a trader, a risk desk, a store, an API and a market."""
    eth = instrument(
        id=ETH,
        symbol="ETH/USDT",
        base=Asset("ETH"),
        qty_lot=D("0.01"),
        min_qty=D("0.01"),
        price_tick=D("0.01"),
    )
    btc = instrument(qty_lot=D("0.001"), min_qty=D("0.001"), price_tick=D("0.01"))
    fields: dict[str, Any] = {
        "journal": JOURNAL,
        "gateways": {ACCOUNT: GATEWAY},
        "accounts": {ACCOUNT: (BTC, ETH)},
        "instruments": {BTC: btc, ETH: eth},
        "owners": {TREND: TRADER},
        "instance": "dev",
        "numeraire": USDT,
        "risk_desk": DESK,
        "observers": (STORE,),
        "markets": (MARKET,),
        "api": FACE,
    }
    return OmsWiring(**{**fields, **changes})


class Bench:
    """One OMS with its surroundings; `sent` holds what it sent, per ref, until it is taken."""

    def __init__(
        self,
        *,
        config: Config = CONFIG,
        records: list[Record] | None = None,
        now_ns: int = START,
        **changes: Any,
    ) -> None:
        """Build the OMS; the journal holds `records` from an earlier run."""
        self.wiring = wiring(**changes)
        self.oms = Oms(self.wiring)
        self.records: list[Record] = list(records or ())
        self.born = len(self.records)
        self.now_ns = now_ns
        self.config: Any = config
        self.config_id = "cfg-1"
        self.sent: list[tuple[Ref, Message]] = []
        self.logs: list[str] = []
        self.timers: list[tuple[int, int, Timer]] = []
        self.ids = 0
        self.auto_durable = True
        self.full: Ref | None = None
        self.looks: list[Look] = []

    # --- Context ---------------------------------------------------------------------------------

    def send(self, ref: Ref, msg: Message) -> bool:
        if ref == self.full and isinstance(msg, CreateOrder):
            return False
        assert decode(encode(msg)) == msg
        self.sent.append((ref, msg))
        return True

    def after(self, delay_ns: int, msg: Message) -> int:
        assert delay_ns >= 0
        assert isinstance(msg, Timer)
        self.ids += 1
        heapq.heappush(self.timers, (self.now_ns + delay_ns, self.ids, msg))
        return self.ids

    def cancel(self, timer_id: int) -> None:
        raise AssertionError("the OMS lets its timers expire")

    def next_id(self) -> int:
        self.ids += 1
        return self.ids

    def random(self) -> float:
        raise AssertionError("the OMS needs no chance")

    def log(self, level: str, event: str, **fields: Any) -> None:
        self.logs.append(event)

    # --- driving ----------------------------------------------------------------------------------

    def tell(self, *messages: Message) -> None:
        """Give messages to the OMS, one turn each; the journal answers between the turns."""
        for msg in messages:
            self.oms.handle(decode(encode(msg)), self)
            self._journal()

    def _journal(self) -> None:
        appended = [msg for _, msg in self.sent if isinstance(msg, Append)]
        self.sent = [item for item in self.sent if not isinstance(item[1], Append)]
        for append in appended:
            assert append.first_lsn == len(self.records) + 1
            self.records += append.records
        if appended and self.auto_durable:
            self.tell(Durable(len(self.records)))

    def advance(self, delay_ns: int, *, answering: bool = False) -> None:
        """Let time pass; timers fire in order. With `answering`, looks find the venue empty."""
        until_ns = self.now_ns + delay_ns
        while self.timers and self.timers[0][0] <= until_ns:
            self.now_ns, _, timer = heapq.heappop(self.timers)
            self.tell(timer)
            if answering:
                for look in self.take(GATEWAY, Look):
                    self.done(look)
        self.now_ns = until_ns

    def take(self, ref: Ref, kind: type[M]) -> list[M]:
        """Return what was sent of a kind to a ref, and forget it."""
        found = [msg for to, msg in self.sent if to == ref and isinstance(msg, kind)]
        self.sent = [item for item in self.sent if not (item[0] == ref and isinstance(item[1], kind))]
        return found

    def one(self, ref: Ref, kind: type[M]) -> M:
        """Return the only message of a kind to a ref, and forget it."""
        found = self.take(ref, kind)
        assert len(found) == 1, found
        return found[0]

    def made(self, kind: type[Any]) -> list[Any]:
        """Return the journal's records of a kind."""
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def trading(self) -> Trading:
        return self.oms.state.trading

    def check(self) -> None:
        """I-08: the journal's fold is the state, and all state encodes."""
        again = Trading()
        for record in self.records:
            apply(again, record)
        assert again == self.trading
        assert again.unapplied == 0
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.oms.state), type=OmsState)
        assert state == self.oms.state

    # --- phases -----------------------------------------------------------------------------------

    def fold(self, **changes: Any) -> None:
        """Start and give the journal's rows."""
        self.tell(Started(0, **changes))
        fold = self.take(JOURNAL, Fold)[-1]
        self.tell(Rows(fold.gen, tuple(self.records), len(self.records)))

    def ready(self, **held: Any) -> Bench:
        """Fold, connect, open the account with what it holds (USDT by default), and give a market."""
        self.fold()
        self.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
        self.quote(BTC, 100)
        self.quote(ETH, 10)
        self.done(self.take(GATEWAY, Look)[-1], held or {"USDT": 1_000_000})
        self.sent.clear()
        return self

    def quote(self, instrument: InstrumentId, mid: Any, quality: Quality = Quality.LIVE) -> None:
        """Say bid mid - 0.05 and ask mid + 0.05, and the feed's quality."""
        self.tell(FeedQuality(instrument, quality, "", self.now_ns, 1))
        self.tell(Quote(instrument, mid - 0.05, 9, mid + 0.05, 9, 1, self.now_ns))

    def done(
        self, look: Look, held: dict[str, Any] | None = None, *, complete: bool = True, **changes: Any
    ) -> None:
        """End a look; without `held` the venue shows what the ledger says."""
        if held is None:
            held = {str(asset): qty for asset, qty in self.trading.ledger.balances.get(ACCOUNT, {}).items()}
        totals = tuple(Balance(Asset(asset), D(qty), D(0)) for asset, qty in held.items())
        self.tell(Balances(ACCOUNT, totals, True, self.now_ns, self.now_ns, "look"))
        fields: dict[str, Any] = {
            "missing": tuple(name for _, name in look.orders),
            "cursors": tuple((name, cursor or TradeId("0")) for name, cursor in look.cursors),
            "asked_ns": self.now_ns,
        }
        self.tell(LookDone(ACCOUNT, look.look_id, complete=complete, **{**fields, **changes}))

    # --- wishes and words -------------------------------------------------------------------------

    def submit(self, qty: Any = 1, **changes: Any) -> SubmitOrder:
        """Submit a market order to buy BTC, by the strategy."""
        self.ids += 1
        fields: dict[str, Any] = {
            "account": ACCOUNT,
            "instrument": BTC,
            "owner": TREND,
            "ref": f"r{self.born}-{self.ids}",
            "side": "buy",
            "order_qty": D(qty),
            "algo": "market",
        }
        wish = SubmitOrder(**{**fields, **changes})
        self.tell(wish)
        return wish

    def limit(self, qty: Any = 1, price: Any = 99, **changes: Any) -> CreateOrder:
        """Submit a resting limit order and return its create."""
        self.submit(qty, algo="limit", limit_price=D(price), **changes)
        return self.one(GATEWAY, CreateOrder)

    def target(self, qty: Any, **changes: Any) -> None:
        """Wish for a position of the strategy."""
        self.ids += 1
        fields: dict[str, Any] = {
            "account": ACCOUNT,
            "instrument": BTC,
            "owner": TREND,
            "ref": f"t{self.born}-{self.ids}",
            "target_qty": D(qty),
            "band": D("0.01"),
            "algo": "market",
        }
        self.tell(SetTarget(**{**fields, **changes}))

    def report(
        self, create: CreateOrder | CancelOrder, status: OrderStatus, cum: Any = 0, **changes: Any
    ) -> None:
        """Let the venue speak about an order."""
        self.tell(report(create, status, cum, now_ns=self.now_ns, **changes))

    def fill(self, create: CreateOrder, qty: Any, trade_id: str = "", **changes: Any) -> None:
        """Let an order trade at 100."""
        self.ids += 1
        fields: dict[str, Any] = {
            "account": create.account,
            "instrument": create.instrument,
            "trade_id": TradeId(trade_id or f"v{self.ids}"),
            "client_order_id": create.client_order_id,
            "venue_order_id": "v",
            "side": create.side,
            "qty": D(qty),
            "price": D(100),
            "fee": D(0),
            "fee_asset": USDT,
            "liquidity": "taker",
            "event_ns": self.now_ns,
            "recv_ns": self.now_ns,
            "source": "stream",
        }
        self.tell(VenueFill(**{**fields, **changes}))

    def bought(self, qty: Any = 1) -> None:
        """Let the strategy hold a quantity, bought at 100."""
        self.submit(qty)
        create = self.one(GATEWAY, CreateOrder)
        self.fill(create, qty)
        self.report(create, S.FILLED, qty)
        self.sent.clear()


def report(
    create: CreateOrder | CancelOrder,
    status: OrderStatus,
    cum: Any = 0,
    *,
    now_ns: int = START,
    **changes: Any,
) -> ExecutionReport:
    """Return the venue's word about an order."""
    fields: dict[str, Any] = {
        "account": create.account,
        "instrument": create.instrument,
        "client_order_id": create.client_order_id,
        "venue_order_id": "v1",
        "status": status,
        "side": getattr(create, "side", "buy"),
        "order_qty": getattr(create, "order_qty", D(0)),
        "cum_qty": D(cum),
        "limit_price": D(99),
        "reason": "",
        "event_ns": now_ns,
        "recv_ns": now_ns,
        "source": "stream",
    }
    return ExecutionReport(**{**fields, **changes})


def client_id(text: str) -> ClientOrderId:
    """Return a client order id."""
    return ClientOrderId(text)


PAUSE = 250 * MS
