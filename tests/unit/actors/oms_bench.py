"""A bench for the OMS: a context that collects, a journal in memory, timers, and a venue told by hand."""

from __future__ import annotations

import heapq
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BTC,
    CONFIG,
    ETH,
    GATEWAY,
    JOURNAL,
    START,
    report,
    submit,
    target,
    venue_fill,
    wiring,
)
from tradefan.actors.oms import Oms, OmsState
from tradefan.config.schema import Config
from tradefan.core.trading import Trading, apply
from tradefan.messages.account import AccountState, Balance, Balances
from tradefan.messages.base import Message
from tradefan.messages.control import (
    ActorState,
    Append,
    AskHistory,
    Durable,
    Fold,
    History,
    KillByte,
    KillByteSet,
    KillSwitch,
    Rows,
    Started,
    Timer,
)
from tradefan.messages.gateway import CancelOrder, CreateOrder, FillBusted, Look, LookDone, OrderInDoubt
from tradefan.messages.market import FeedQuality, Quality, Quote
from tradefan.messages.orders import Doubt, OrderStatus, SubmitOrder
from tradefan.messages.records import ModeChange, Record
from tradefan.messages.union import decode, encode
from tradefan.stores.journal_layout import subject_of
from tradefan.units import SECOND, Asset, InstrumentId, Ref, TradeId

D = Decimal
S = OrderStatus
M = TypeVar("M", bound=Message)


class Bench:
    """One OMS with its surroundings; `sent` holds what it sent, per ref, until it is taken.

    The journal answers `Append` and `AskHistory` between the turns, unless it is told not to; kill
    bytes wait for `byte`.
    """

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
        self.commits: list[int] = []
        """Where a transaction of this life ended: nothing is lost between two of them."""
        self.now_ns = now_ns
        self.config: Any = config
        self.config_id = "cfg-1"
        self.sent: list[tuple[Ref, Message]] = []
        self.logs: list[str] = []
        self.levels: dict[str, str] = {}
        self.alarms: list[str] = []
        self.timers: list[tuple[int, int, Timer]] = []
        self.ids = 0
        self.auto_durable = True
        self.auto_history = True
        self.full: Ref | None = None

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
        self.timers = [timer for timer in self.timers if timer[1] != timer_id]
        heapq.heapify(self.timers)

    def next_id(self) -> int:
        self.ids += 1
        return self.ids

    def series_id(self) -> int:
        return self.next_id()

    def random(self) -> float:
        raise AssertionError("the OMS needs no chance")

    def log(self, level: str, event: str, **fields: Any) -> None:
        self.logs.append(event)
        self.levels[event] = level
        if level == "critical":
            self.alarms.append(event)

    # --- driving ----------------------------------------------------------------------------------

    def tell(self, *messages: Message) -> None:
        """Give messages to the OMS, one turn each; the journal answers between the turns."""
        for msg in messages:
            self.oms.handle(decode(encode(msg)), self)
            self.journal()

    def journal(self) -> None:
        """Let the journal take what was sent to it, and answer."""
        appended = self.take(JOURNAL, Append)
        for append in appended:
            assert append.first_lsn == len(self.records) + 1
            self.records += append.records
            self.commits.append(len(self.records))
        asked = self.take(JOURNAL, AskHistory) if self.auto_history else []
        if appended and self.auto_durable:
            self.tell(Durable(len(self.records)))
        for ask in asked:
            self.tell(self.history(ask))

    def history(self, ask: AskHistory) -> History:
        """Return what the journal knows of a subject."""
        found = tuple(one for one in self.records if subject_of(one) == ask.subject)
        return History(ask.subject, found, ask.fact)

    def durable(self) -> None:
        """Let the disk catch up, and go on answering."""
        self.auto_durable = True
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

    def moods(self, scope: str, cause: str) -> list[str]:
        """Return the modes that a cause has given a scope, in order."""
        found = (one for one in self.made(ModeChange) if (one.scope, one.cause) == (scope, cause))
        return [record.mode for record in found]

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

    def fold(self, rows: dict[str, Any] | None = None, **changes: Any) -> None:
        """Start and give the journal's rows; `rows` changes them."""
        self.tell(Started(**{"restart": 0, **changes}))
        fold = self.take(JOURNAL, Fold)[-1]
        fields = {"records": tuple(self.records), "durable": len(self.records), **(rows or {})}
        self.tell(Rows(fold.gen, **fields))

    def ready(self, **held: Any) -> Bench:
        """Fold, connect, open the account with what it holds (USDT by default), and give a market."""
        self.fold()
        self.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
        self.market()
        self.opened(held or {"USDT": 1_000_000})
        self.market()
        self.sent.clear()
        return self

    def opened(self, held: dict[str, Any], **changes: Any) -> None:
        """Answer looks with these balances until the account is reconciled for the first time."""
        while not self.oms.state.live.accounts[ACCOUNT].announced:
            self.look(held=held, **changes)

    def market(self) -> None:
        """Quote both instruments."""
        self.quote(BTC, 100)
        self.quote(ETH, 10)

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

    def look(self, *seen: CreateOrder, held: dict[str, Any] | None = None, **changes: Any) -> None:
        """Let time pass to the next look; it finds these orders resting, and none missing."""
        while not (looks := self.take(GATEWAY, Look)):
            at_ns = self.timers[0][0]
            self.advance(at_ns - self.now_ns)
        for create in seen:
            self.report(create, S.NEW, source="look")
        self.done(looks[-1], held, **{"missing": (), **changes})

    # --- wishes and words -------------------------------------------------------------------------

    def submit(self, qty: Any = 1, **changes: Any) -> SubmitOrder:
        """Submit a market order to buy BTC, by the strategy."""
        self.ids += 1
        wish = submit(qty, **{"ref": f"r{self.born}-{self.ids}", **changes})
        self.tell(wish)
        return wish

    def limit(self, qty: Any = 1, price: Any = 99, **changes: Any) -> CreateOrder:
        """Submit a resting limit order and return its create."""
        self.submit(qty, algo="limit", limit_price=D(price), **changes)
        return self.one(GATEWAY, CreateOrder)

    def resting(self, qty: Any = 1, price: Any = 99, **changes: Any) -> CreateOrder:
        """Submit a limit order and let the venue take it."""
        create = self.limit(qty, price, **changes)
        self.report(create, S.NEW)
        return create

    def target(self, qty: Any, **changes: Any) -> None:
        """Wish for a position of the strategy."""
        self.ids += 1
        self.tell(target(qty, **{"ref": f"t{self.born}-{self.ids}", **changes}))

    def report(
        self, create: CreateOrder | CancelOrder, status: OrderStatus, cum: Any = 0, **changes: Any
    ) -> None:
        """Let the venue speak about an order."""
        self.tell(report(create, status, cum, now_ns=self.now_ns, **changes))

    def fill(self, create: CreateOrder, qty: Any, trade_id: str = "", **changes: Any) -> None:
        """Let an order trade at 100."""
        self.ids += 1
        self.tell(venue_fill(create, qty, trade_id or f"v{self.ids}", self.now_ns, **changes))

    def bust(self, trade_id: str, qty: Any = None, price: Any = None, *, event_ns: int | None = None) -> None:
        """Let the venue take a trade of BTC back, or change it."""
        now = (None if qty is None else D(qty), None if price is None else D(price))
        at_ns = self.now_ns if event_ns is None else event_ns
        self.tell(FillBusted(ACCOUNT, BTC, TradeId(trade_id), at_ns, self.now_ns, *now))

    def doubt(self, create: CreateOrder, kind: Doubt = Doubt.CREATE) -> None:
        """Let a request of an order have no outcome."""
        self.tell(OrderInDoubt(ACCOUNT, create.client_order_id, kind, "TIMEOUT"))

    def doubtful(self, **changes: Any) -> CreateOrder:
        """Submit an order whose create gets no answer, and learn so after the time-out."""
        self.submit(**changes)
        create = self.one(GATEWAY, CreateOrder)
        self.advance(5 * SECOND)
        self.doubt(create)
        return create

    def bought(self, qty: Any = 1) -> None:
        """Let the strategy hold a quantity, bought at 100."""
        self.submit(qty)
        create = self.one(GATEWAY, CreateOrder)
        self.fill(create, qty)
        self.report(create, S.FILLED, qty)
        self.sent.clear()

    def kill(self, scope: str = "all", **changes: Any) -> None:
        """Kill a scope, as somebody at the rim does."""
        self.tell(KillSwitch(**{"scope": scope, "reason": "test", "principal": "me", **changes}))

    def byte(self, error: str | None = None) -> int:
        """Let the disk take the kill byte that was asked for last, or fail to; return its value."""
        asked = self.take(JOURNAL, KillByte)[-1]
        self.tell(KillByteSet(asked.serial, asked.value, error))
        return asked.value

    def passed(self, seconds: int) -> None:
        """Let seconds pass with a market and a venue that shows all as it is."""
        for _ in range(seconds):
            self.advance(SECOND, answering=True)
            self.market()
