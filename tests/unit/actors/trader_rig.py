"""A trader on a bench: a context that keeps what it sends, and what the world tells it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tradefan.actors.trader import Trader, TraderWiring
from tradefan.messages.base import Message
from tradefan.messages.market import BarsClosed, FeedQuality, Quality, Quote
from tradefan.messages.orders import OrderStatus, OwnerTurn, ParentOrder, ParentUpdate, Phase
from tradefan.testing import make_bars, make_instrument
from tradefan.units import SECOND, ZERO, AccountId, InstrumentId, OwnerId, ParentId, Ref

BTC = InstrumentId("binance:BTC/USDT")
ETH = InstrumentId("binance:ETH/USDT")
OMS, MARKET, RIM = Ref(7), Ref(8), Ref(0)
ME, ACCOUNT = OwnerId("me"), AccountId("paper:main")
T0 = 1_704_067_200 * SECOND


class Turns:
    """The context of a trader's turns: keeps what was sent, and fires timers when told the time."""

    def __init__(self, config: Any = None) -> None:
        self.now_ns = T0
        self.config = config
        self.config_id = "c1"
        self.sent: list[tuple[Ref, Message]] = []
        self.logged: list[tuple[str, dict[str, Any]]] = []
        self.timers: list[tuple[int, int, Message]] = []
        self.full = False
        self.count = 0

    def send(self, ref: Ref, msg: Message) -> bool:
        if self.full and msg.lane == 2:
            return False
        self.sent.append((ref, msg))
        return True

    def after(self, delay_ns: int, msg: Message) -> int:
        self.timers.append((self.now_ns + delay_ns, self.next_id(), msg))
        return self.count

    def cancel(self, timer_id: int) -> None:
        raise AssertionError(timer_id)

    def next_id(self) -> int:
        self.count += 1
        return self.count

    def series_id(self) -> int:
        return self.next_id()

    def random(self) -> float:
        raise AssertionError("a trader asks for no random number")

    def log(self, level: str, event: str, **fields: Any) -> None:
        self.logged.append((event, fields))

    def give(self, trader: Trader, *msgs: Message) -> None:
        """Hand messages over; what is due at this instant comes after each."""
        for msg in msgs:
            trader.handle(msg, self)
            self.pass_to(trader, self.now_ns)

    def pass_to(self, trader: Trader, now_ns: int) -> None:
        """Let time pass and fire what is due on the way."""
        while due := [timer for timer in self.timers if timer[0] <= now_ns]:
            first = min(due)
            self.timers.remove(first)
            self.now_ns = max(self.now_ns, first[0])
            trader.handle(first[2], self)
        self.now_ns = now_ns

    def to_oms(self) -> list[Message]:
        """Return and forget what was sent to the OMS."""
        out = [msg for ref, msg in self.sent if ref == OMS]
        self.sent = [(ref, msg) for ref, msg in self.sent if ref != OMS]
        return out

    def commands(self) -> list[Message]:
        """Return and forget what was sent to the OMS, each turn as its commands."""
        told = [msg.commands if isinstance(msg, OwnerTurn) else (msg,) for msg in self.to_oms()]
        return [command for commands in told for command in commands]


def wiring(**other: Any) -> TraderWiring:
    """Return the wiring of a trader of BTC and ETH, with parts of it replaced."""
    parts: dict[str, Any] = {
        "owner": ME,
        "account": ACCOUNT,
        "oms": OMS,
        "use": "probe",
        "settings": {},
        "capital": Decimal(1000),
        "instruments": {BTC: make_instrument(), ETH: make_instrument("ETH/USDT")},
        "venue": "binance",
        "name": "trader:me",
    }
    return TraderWiring(**(parts | other))


def live(instrument: InstrumentId = BTC, quality: Quality = Quality.LIVE) -> FeedQuality:
    return FeedQuality(instrument, quality, "", T0, 1)


def quote(mid: float, instrument: InstrumentId = BTC) -> Quote:
    return Quote(instrument, mid - 1.0, 1.0, mid + 1.0, 1.0, 1, T0)


def bars(*closes: float, start: int = T0, live: bool = True) -> list[BarsClosed]:
    made = make_bars(closes, timeframe="1m", start=start)
    return [BarsClosed(bar.instrument, (bar,), live) for bar in made]


def parent(phase: Phase) -> ParentUpdate:
    order = ParentOrder(
        parent_id=ParentId("p1"),
        account=ACCOUNT,
        instrument=BTC,
        owner=ME,
        ref="t-4-1",
        side="buy",
        order_qty=Decimal(1),
        algo="market",
        settings={},
        limit_price=None,
        intent_id="i1",
        reason="",
        reduce_only=False,
        position_side="net",
        protective=False,
        created_ns=T0,
    )
    return ParentUpdate(order, OrderStatus.NEW, phase, "", ZERO, ZERO, ZERO, None, 1, T0)
