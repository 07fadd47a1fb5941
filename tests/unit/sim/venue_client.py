"""Somebody who talks to the simulated venue over its wire, with the gateway's own codec."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import msgspec

from tests.unit.sim.wired import BALANCES, INSTRUMENTS
from tradefan.messages.base import Message
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderType, TimeInForce
from tradefan.messages.wire import Closed, Op, Open, Opened, Received, Text, Write
from tradefan.sim.market import SimMarket
from tradefan.sim.only import Only
from tradefan.sim.personality import Personality
from tradefan.sim.venue import SimVenue
from tradefan.sim.venue_records import SimOrder
from tradefan.units import MS, SECOND, AccountId, ClientOrderId, OwnerId, ParentId, Side
from tradefan.venues.binance_orders import RECV_WINDOW_MS, OrderCodec

T0 = 1_700_000_000 * SECOND
ACCOUNT = AccountId("paper:main")
DEADLINE_NS = 2 * SECOND


class Client:
    """One connection and its answers; time stands still until `run_until`."""

    def __init__(
        self,
        personality: Personality | None = None,
        *,
        seed: int = 1,
        market_kinds: tuple[str, ...] = (),
        instruments: tuple[Instrument, ...] = INSTRUMENTS,
        volatility: float | None = None,
        latched: Callable[[Write], bool] = lambda _write: False,
        only: Only | None = None,
    ) -> None:
        self.notes: list[tuple[int, str, str]] = []
        self.writes: list[tuple[Write, str | None]] = []
        self.market = SimMarket(
            instruments, seed, kinds=market_kinds, note=self._note, volatility=volatility, only=only
        )
        self.venue = SimVenue(
            instruments,
            self.market,
            personality or Personality(),
            seed=seed,
            balances=BALANCES,
            note=self._note,
            latched=latched,
            on_write=lambda write, refused: self.writes.append((write, refused)),
            only=only,
        )
        self.codec = OrderCodec(ACCOUNT, instruments)
        self.now_ns = T0
        self.gen = self.req = 0
        self.up = False
        self.answers: dict[int, tuple[int, dict[str, Any]]] = {}
        """By request: when the first answer that can be read came, and what it said."""
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.heard: list[Message] = []

    # --- time -------------------------------------------------------------------------------------------

    def run_until(self, until_ns: int) -> None:
        """Let venue and market go on, event by event."""
        while True:
            dues = [due for due in (self.venue.next_ns(), self.market.next_ns()) if due is not None]
            due_ns = min(dues, default=until_ns + 1)
            if due_ns > until_ns:
                break
            self.now_ns = max(self.now_ns, due_ns)
            self.market.take(self.now_ns, 256)
            for message in self.venue.take(self.now_ns, 256):
                self._hear(message)
        self.now_ns = until_ns

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(self.now_ns + int(seconds * SECOND))

    def connect(self, *, subscribe: bool = True) -> None:
        """Open a connection and wait until it stands."""
        self.gen += 1
        self.venue.apply(self.now_ns, Open("account", self.gen, "paper:"))
        self.run(0.2)
        if subscribe and self.up:
            self.write("subscribe", self.codec.subscribe(self._next()))
            self.run(0.2)

    def _hear(self, message: Message) -> None:
        self.heard.append(message)
        if isinstance(message, Opened):
            self.up = message.gen == self.gen
        elif isinstance(message, Closed):
            self.up = self.up and message.gen != self.gen
        elif isinstance(message, Received):
            self._read(message.body)

    def _read(self, body: bytes) -> None:
        try:
            frame = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if not isinstance(frame, dict):
            return
        if "event" in frame:
            self.events.append((self.now_ns, frame["event"]))
        elif str(frame.get("id")).isdecimal():
            self.answers.setdefault(int(frame["id"]), (self.now_ns, frame))

    # --- requests ---------------------------------------------------------------------------------------

    def _next(self) -> int:
        self.req += 1
        return self.req

    def write(self, op: Op, body: Text, not_after_ns: int | None = None) -> int:
        """Hand one request to the link; return its number."""
        write = Write("account", self.gen, self.req, op, not_after_ns, body, scopes=("all",))
        self.venue.apply(self.now_ns, write)
        return self.req

    def place(
        self,
        instrument: Instrument,
        side: Side,
        qty: Decimal,
        price: Decimal | None,
        client_order_id: str,
        *,
        tif: TimeInForce = "GTC",
        post_only: bool = False,
    ) -> int:
        """Write a create."""
        kind: OrderType = "market" if price is None else "limit"
        order = self.create(instrument, side, qty, price, client_order_id, kind, tif, post_only)
        return self.write(
            "create", self.codec.create(self._next(), order, self.now_ns), self.now_ns + DEADLINE_NS
        )

    def create(
        self,
        instrument: Instrument,
        side: Side,
        qty: Decimal,
        price: Decimal | None,
        client_order_id: str,
        kind: OrderType = "limit",
        tif: TimeInForce = "GTC",
        post_only: bool = False,
    ) -> CreateOrder:
        """Return an order as the OMS would send it."""
        return CreateOrder(
            account=ACCOUNT,
            instrument=instrument.id,
            owner=OwnerId("me"),
            parent_id=ParentId("p"),
            client_order_id=ClientOrderId(client_order_id),
            side=side,
            order_type=kind,
            time_in_force=tif,
            post_only=post_only,
            order_qty=qty,
            limit_price=price,
            reduce_only=False,
            not_after_ns=self.now_ns + DEADLINE_NS,
        )

    def cancel(self, instrument: Instrument, client_order_id: str) -> int:
        """Write a cancel."""
        order = CancelOrder(ACCOUNT, instrument.id, OwnerId("me"), ClientOrderId(client_order_id))
        return self.write("cancel", self.codec.cancel(self._next(), order, self.now_ns))

    def replace(
        self, instrument: Instrument, old_id: str, side: Side, qty: Decimal, price: Decimal, new_id: str
    ) -> int:
        """Write a cancel-replace as a careful client does: it stops when the cancel fails."""
        params = {
            "symbol": self.codec.symbol(instrument.id),
            "side": side.upper(),
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": str(qty),
            "price": str(price),
            "newClientOrderId": new_id,
            "cancelOrigClientOrderId": old_id,
            "cancelReplaceMode": "STOP_ON_FAILURE",
            "cancelRestrictions": "ONLY_NEW",
        }
        return self.write("replace", self.ask("order.cancelReplace", params), self.now_ns + DEADLINE_NS)

    def query(self, method: str, **params: object) -> int:
        """Write a query."""
        return self.write("query", self.ask(method, params))

    def ask(self, method: str, params: dict[str, Any]) -> Text:
        """Return a request with the time that it is sent at."""
        timed = params | {"timestamp": self.now_ns // MS, "recvWindow": RECV_WINDOW_MS}
        return Text(
            msgspec.json.encode({"id": str(self._next()), "method": method, "params": timed}).decode()
        )

    def answer(self, req: int, seconds: float = 0.2) -> dict[str, Any]:
        """Wait, and return the answer to a request."""
        self.run(seconds)
        return self.answers[req][1]

    # --- looking ----------------------------------------------------------------------------------------

    def order(self, client_order_id: str) -> SimOrder:
        """Return our newest order of an id from the venue's book."""
        return [one for one in self.venue.book.orders.values() if one.client_order_id == client_order_id][-1]

    def kinds(self) -> dict[str, int]:
        """Count the faults that were noted."""
        counts: dict[str, int] = {}
        for _, kind, _ in self.notes:
            counts[kind] = counts.get(kind, 0) + 1
        return counts

    def _note(self, kind: str, text: str) -> None:
        self.notes.append((self.now_ns, kind, text))


def trade_at_random(client: Client, rng: Random, seconds: float, *, prefix: str = "c") -> None:
    """Place, cancel, replace and query for a while, and come back whenever the connection is gone."""
    until_ns, number, open_ids = client.now_ns + int(seconds * SECOND), 0, [("", INSTRUMENTS[0])]
    while client.now_ns < until_ns:
        if not client.up:
            client.connect()
        instrument = rng.choice(tuple(client.market.walks.values())).rules
        number += 1
        name = f"{prefix}{number}"
        side: Side = rng.choice(("buy", "sell"))
        qty, price = _size(client, rng, instrument), _price(client, rng, instrument, side)
        old, there = rng.choice(open_ids[-10:])
        what = rng.random()
        if what < 0.5:
            tif: TimeInForce = rng.choice(("GTC", "GTC", "GTC", "IOC", "FOK"))
            client.place(instrument, side, qty, price, name, tif=tif, post_only=rng.random() < 0.2)
            open_ids.append((name, instrument))
        elif what < 0.7:
            client.cancel(there, old)
        elif what < 0.75:
            client.replace(
                there, old, side, _size(client, rng, there), _price(client, rng, there, side), name
            )
            open_ids.append((name, there))
        else:
            _look(client, rng, instrument, old)
        client.run(rng.uniform(0.05, 2.5))


def _look(client: Client, rng: Random, instrument: Instrument, old: str) -> None:
    symbol = client.codec.symbol(instrument.id)
    match rng.randint(1, 4):
        case 1:
            client.query("openOrders.status")
        case 2:
            client.query("myTrades", symbol=symbol, fromId=rng.randint(1, 50), limit=1000)
        case 3:
            client.query("account.status", omitZeroBalances=True)
        case _:
            client.query("order.status", symbol=symbol, origClientOrderId=old)


def _size(client: Client, rng: Random, instrument: Instrument) -> Decimal:
    rules = client.market.rules(instrument.id)
    least = max(rules.min_qty, rules.min_notional / client.market.price(instrument.id))
    return (least * rng.randint(2, 30)) // rules.qty_lot * rules.qty_lot


def _price(client: Client, rng: Random, instrument: Instrument, side: Side) -> Decimal:
    """Return a price around the touch: some take, some rest near, some far."""
    rules = client.market.rules(instrument.id)
    touch = client.market.touch(instrument.id, side)
    away = touch * rng.choice((-10, -2, 0, 0, 1, 3, 10, 100)) / 10_000
    price = touch - away if side == "buy" else touch + away
    return price // rules.price_tick * rules.price_tick
