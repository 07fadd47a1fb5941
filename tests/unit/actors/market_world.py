"""A market data actor alone with a scripted venue: its clock, its timers, and what it said to whom."""

from __future__ import annotations

import heapq
from typing import Any, TypeVar

import msgspec

from tests.unit.core.recorded import BTC, instruments
from tradefan.actors.market_data import MarketData
from tradefan.actors.market_state import FANNED, Fanout, FeedSpec, MarketState, MarketWiring
from tradefan.core.connection import Timing
from tradefan.messages.base import Message
from tradefan.messages.control import Started, Timer
from tradefan.messages.instrument import Instrument
from tradefan.messages.wire import Closed, Http, Open, Opened, Received, Text, Write
from tradefan.units import MS, SECOND, OwnerId, Ref

T0 = 1_800_000_000 * SECOND
LINK, ALL, TRADER = Ref(7), Ref(8), Ref(9)
OWNER = OwnerId("trend")
STREAMS = ("trade", "depth", "book_ticker")
M = TypeVar("M", bound=Message)


def wiring(
    *listed: Instrument,
    streams: tuple[str, ...] = STREAMS,
    timeframes: tuple[str, ...] = ("5s", "1m"),
    klines: bool = False,
    store: Ref | None = None,
    depths: dict[str, int] | None = None,
) -> MarketWiring:
    chosen = listed or (instruments()[BTC],)
    feeds = tuple(FeedSpec(instrument, streams, timeframes, depths or {}) for instrument in chosen)
    return MarketWiring(
        "market_data:binance", "binance", LINK, "ws://host", feeds, Timing(), klines=klines, store=store
    )


def fanout(wired: MarketWiring) -> Fanout:
    made = Fanout()
    for spec in wired.feeds:
        for kind in FANNED:
            made.add(kind, spec.instrument.id, ALL)
    made.add_owner(OWNER, TRADER)
    return made


class World:
    """A turn's context and the driver around it."""

    def __init__(self, wired: MarketWiring | None = None) -> None:
        self.wiring = wired or wiring()
        self.now_ns = T0
        self.config, self.config_id = None, "x"
        self.sent: list[tuple[Ref, Message]] = []
        self.logs: list[tuple[str, dict[str, Any]]] = []
        self._timers: list[tuple[int, int, Timer]] = []
        self._ids = 0
        self.actor = MarketData(self.wiring, fanout(self.wiring))

    # --- context ------------------------------------------------------------------------------------

    def send(self, ref: Ref, msg: Message) -> bool:
        assert msgspec.msgpack.encode(msg)
        self.sent.append((ref, msg))
        return True

    def after(self, delay_ns: int, msg: Message) -> int:
        assert isinstance(msg, Timer)
        assert delay_ns >= 0
        heapq.heappush(self._timers, (self.now_ns + delay_ns, self.next_id(), msg))
        return self._ids

    def cancel(self, timer_id: int) -> None:
        self._timers = [timer for timer in self._timers if timer[1] != timer_id]

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def series_id(self) -> int:
        return self.next_id()

    def random(self) -> float:
        return 0.5

    def log(self, level: str, event: str, **fields: Any) -> None:
        self.logs.append((event, fields))

    # --- driver -------------------------------------------------------------------------------------

    def give(self, msg: Message) -> World:
        self.actor.handle(msg, self)
        return self

    def sleep(self, seconds: float) -> World:
        """Let time pass and timers fire."""
        until_ns = self.now_ns + round(seconds * SECOND)
        while self._timers and self._timers[0][0] <= until_ns:
            self.now_ns, _, msg = heapq.heappop(self._timers)
            self.give(msg)
        self.now_ns = until_ns
        return self

    def restored(self) -> World:
        """Go on with an actor that was made of nothing but the encoded state."""
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.actor.state), type=MarketState)
        self.actor = MarketData(self.wiring, fanout(self.wiring), state)
        return self

    def crash(self) -> World:
        """Replace the actor by a new one, as a supervisor would; old timers are void."""
        self.actor = MarketData(self.wiring, fanout(self.wiring))
        self._timers.clear()
        return self.give(Started(1))

    def take(self, kind: type[M], ref: Ref | None = None) -> list[M]:
        """Return and forget what was sent of one kind."""
        found = [msg for to, msg in self.sent if isinstance(msg, kind) and ref in {None, to}]
        self.sent = [(to, msg) for to, msg in self.sent if not (isinstance(msg, kind) and ref in {None, to})]
        return found

    # --- venue --------------------------------------------------------------------------------------

    @property
    def gen(self) -> int:
        return self.actor.state.connection.gen

    def connect(self, *, live_from_ns: int = 0, shift_ns: int = 0, shift_id: int = 0) -> World:
        """Start if need be, open what is to be opened, and acknowledge its subscriptions."""
        if not self.actor.state.connection.opens:
            self.give(Started(0))
        opening = self.take(Open)[-1]
        self.give(Opened("binance", opening.gen, self.now_ns, shift_ns, shift_id, live_from_ns))
        for write in self.take(Write):
            if isinstance(write.body, Text):
                self.frame({"result": None, "id": write.req})
        return self

    def frame(self, data: Any, stream: str | None = None, *, recv_ns: int | None = None) -> World:
        """Receive one frame now, or with an older receive time."""
        body = msgspec.json.encode(data if stream is None else {"stream": stream, "data": data})
        return self.raw(body, recv_ns=recv_ns)

    def raw(self, body: bytes, *, recv_ns: int | None = None, gen: int | None = None) -> World:
        at_ns = self.now_ns if recv_ns is None else recv_ns
        return self.give(Received("binance", self.gen if gen is None else gen, at_ns, body))

    def trade(self, trade_id: int, price: float, qty: float = 0.1, *, event_ns: int | None = None) -> World:
        at_ms = (self.now_ns if event_ns is None else event_ns) // MS
        data = {
            "e": "trade",
            "E": at_ms,
            "s": "BTCUSDT",
            "t": trade_id,
            "p": str(price),
            "q": str(qty),
            "T": at_ms,
        }
        return self.frame({**data, "m": True, "M": True}, "btcusdt@trade")

    def delta(
        self,
        first: int,
        last: int,
        bids: dict[float, float] | None = None,
        asks: dict[float, float] | None = None,
    ) -> World:
        sides = [[[str(price), str(qty)] for price, qty in (side or {}).items()] for side in (bids, asks)]
        data = {"e": "depthUpdate", "E": self.now_ns // MS, "s": "BTCUSDT", "U": first, "u": last}
        return self.frame({**data, "b": sides[0], "a": sides[1]}, "btcusdt@depth@100ms")

    def quote(self, id_: int, bid: float, ask: float, *, qty: float = 1.0) -> World:
        data = {"u": id_, "s": "BTCUSDT", "b": str(bid), "B": str(qty), "a": str(ask), "A": str(qty)}
        return self.frame(data, "btcusdt@bookTicker")

    def asked(self, path: str) -> list[Write]:
        """Return and forget the requests for a path."""
        writes = [w for w in self.take(Write) if isinstance(w.body, Http)]
        self.sent.extend((LINK, w) for w in writes if isinstance(w.body, Http) and path not in w.body.path)
        return [w for w in writes if isinstance(w.body, Http) and path in w.body.path]

    def asked_now(self, path: str) -> bool:
        """Say whether a request for a path waits for its answer."""
        return any(
            isinstance(w, Write) and isinstance(w.body, Http) and path in w.body.path for _, w in self.sent
        )

    def answer(self, path: str, body: Any, *, status: int = 200) -> World:
        """Answer the one request for a path."""
        (write,) = self.asked(path)
        encoded = msgspec.json.encode(body)
        return self.give(Received("binance", write.gen, self.now_ns, encoded, write.req, status))

    def snapshot(self, last_id: int, bid: float = 100.0, ask: float = 101.0) -> World:
        book = {"lastUpdateId": last_id, "bids": [[str(bid), "1"]], "asks": [[str(ask), "1"]]}
        return self.answer("depth", book)

    def close(self, reason: str = "gone", code: int | None = 1006) -> World:
        return self.give(Closed("binance", self.gen, self.now_ns, code, reason))

    def live(self) -> World:
        """Connect and bring book and first trade; 12.1 s later the feed is LIVE and one bar has closed."""
        self.connect()
        self.quote(9, 100.0, 101.0).delta(10, 10).snapshot(10)
        return self.trade(1, 100.5).busy(12.1)

    def busy(self, seconds: float) -> World:
        """Hear a diff and a quote of the same id each 100 ms that change nothing."""
        for _ in range(round(seconds * 10)):
            self.sleep(0.1)
            next_id = self.actor.state.feeds[BTC].book.last_id + 1 - self.actor.state.shift_id
            self.delta(next_id, next_id)
            top = self.actor.state.feeds[BTC].book.top()
            assert top is not None
            self.quote(next_id, top[0], top[2], qty=top[1])
        return self
