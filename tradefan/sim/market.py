"""The synthetic public market: walks on the tick grid as raw frames, behind the port of a live market.

One instrument moves at a time, so that all of them together stay below 20 frames a second. The market
outlives the process that listens: whatever happens while nobody does happens all the same. Venue and
market are one: the venue is told of each move, and asks for touch and rules.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from tradefan.messages.base import Message
from tradefan.messages.instrument import Instrument
from tradefan.messages.wire import (
    Close,
    Closed,
    Http,
    NotWritten,
    Open,
    Opened,
    Received,
    Text,
    Write,
    Written,
)
from tradefan.sim.kinds import MARKET_KINDS
from tradefan.sim.market_faults import EVERY_S, RATES, MarketFaults
from tradefan.sim.market_walk import Sides, Walk
from tradefan.sim.only import Only
from tradefan.sim.personality import Chances, chance
from tradefan.units import MS, SECOND, InstrumentId, Side
from tradefan.venues.binance import INTERVALS

FRAMES_MAX_S = 20.0
"""Frames a second, over all instruments."""
KLINES_MAX = 120
HTTP_NS = 10 * MS


class _Session(Struct):
    """One generation of the connection with its streams."""

    conn: str
    streams: dict[str, bool] = {}


class _Command(Struct):
    method: str = ""
    params: list[str] = []
    id: int | str | None = None


class SimMarket:
    """A timed machine for the port of a public market; `touch price rules watch` are the venue's."""

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        seed: int,
        *,
        kinds: Iterable[str] = (),
        note: Callable[[str, str], None] = lambda _kind, _text: None,
        frames_s: float | None = None,
        volatility: float | None = None,
        only: Only | None = None,
    ) -> None:
        """Begin at the opening prices; moves begin with the first instant that is heard of."""
        rng = chance(seed, "market")
        moves = 10 ** rng.uniform(-4.3, -3.3) if volatility is None else volatility
        self.walks = {one.id: Walk(one, chance(seed, f"walk/{one.id}"), moves) for one in instruments}
        self._order = tuple(self.walks.values())
        self._by_symbol = {walk.symbol: walk for walk in self._order}
        rate = rng.uniform(5.0, 12.0) if frames_s is None else frames_s
        assert 0 < rate <= FRAMES_MAX_S * 0.75, f"expected at most {FRAMES_MAX_S * 0.75} frames/s, got {rate}"
        self._rate = rate
        self._rng = rng
        self._prints = chance(seed, "prints")
        self._bars = chance(seed, "klines")
        on = [kind for kind in MARKET_KINDS if kind in tuple(kinds)]
        self.chances = Chances(
            seed,
            note,
            rates={kind: chance(seed, f"rate/{kind}").uniform(*RATES[kind]) for kind in on if kind in RATES},
            every_s={
                kind: chance(seed, f"rate/{kind}").uniform(*EVERY_S[kind]) for kind in on if kind in EVERY_S
            },
            only=only,
        )
        self.faults = MarketFaults(self, self.chances)
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._sessions: dict[int, _Session] = {}
        self._out: list[tuple[int, int, int, Message]] = []
        self._number = 0
        self._depths: dict[str, Sides] = {}
        self._watchers: list[Callable[[InstrumentId, int], None]] = []
        self._move_ns: int | None = None
        self.tick_ns: int | None = None
        """When something happens next; None before the first instant."""

    # --- for the venue ----------------------------------------------------------------------------------

    def watch(self, watcher: Callable[[InstrumentId, int], None]) -> None:
        """Call `watcher(instrument, at_ns)` after each move and each change of rules."""
        self._watchers.append(watcher)

    def rules(self, instrument: InstrumentId) -> Instrument:
        """Return the rules that hold now."""
        return self.walks[instrument].rules

    def touch(self, instrument: InstrumentId, side: Side) -> Decimal:
        """Return the price at which an order of a side would trade now."""
        walk = self.walks[instrument]
        return walk.price(walk.touch(side))

    def price(self, instrument: InstrumentId) -> Decimal:
        """Return the last price."""
        walk = self.walks[instrument]
        return walk.price(walk.last)

    def advance(self, now_ns: int) -> None:
        """Let everything happen that is due by now; time never goes back."""
        if self._move_ns is None:
            self._move_ns = now_ns + self._gap_ns()
            self.faults.begin(now_ns)
        while True:
            agenda, move_ns = self._agenda, self._move_ns
            if agenda and agenda[0][0] <= min(move_ns, now_ns):
                due_ns, _, act = heapq.heappop(agenda)
                act(due_ns)
            elif move_ns <= now_ns:
                self._tick(move_ns)
                self._move_ns = move_ns + self._gap_ns()
            else:
                break
        self.tick_ns = min(self._move_ns, agenda[0][0]) if agenda else self._move_ns

    def later(self, due_ns: int, act: Callable[[int], None]) -> None:
        """Do something at an instant."""
        self._number += 1
        heapq.heappush(self._agenda, (due_ns, self._number, act))

    def told(self, walk: Walk, at_ns: int) -> None:
        """Tell who watches that an instrument has moved, or is not what it was."""
        for watcher in self._watchers:
            watcher(walk.rules.id, at_ns)

    # --- timed machine ----------------------------------------------------------------------------------

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take `Open Close Write`; all else is news that the market needs not hear."""
        self.advance(now_ns)
        if isinstance(effect, Write):
            self._write(effect, now_ns)
        elif isinstance(effect, Open):
            self._sessions[effect.gen] = _Session(effect.conn)
            self._tell(now_ns + HTTP_NS, effect.gen, Opened(effect.conn, effect.gen, now_ns + HTTP_NS))
        elif isinstance(effect, Close):
            self._end(effect.gen, now_ns, effect.code, "closed")

    def next_ns(self) -> int | None:
        """Return when there is something to hear, or the market moves."""
        if self._out and (self.tick_ns is None or self._out[0][0] < self.tick_ns):
            return self._out[0][0]
        return self.tick_ns

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is heard by now."""
        self.advance(now_ns)
        out = self._out
        heard: list[Message] = []
        while out and out[0][0] <= now_ns and len(heard) < limit:
            heard.append(heapq.heappop(out)[3])
        return heard

    def crash(self) -> None:
        """The process that listened is gone: its connections end, and nobody is told."""
        self._sessions.clear()
        self._depths.clear()
        self._out.clear()

    def heal(self, now_ns: int) -> None:
        """Nothing goes wrong any more."""
        self.advance(now_ns)
        self.chances.calm()
        self.faults.heal()
        for walk in self._order:
            self.told(walk, now_ns)

    # --- the market moves -------------------------------------------------------------------------------

    def _gap_ns(self) -> int:
        """Draw the time to the next move, which takes up to three frames: never too many in a second."""
        return int((0.75 + 0.5 * self._rng.random()) * 3 / self._rate * SECOND)

    def _tick(self, at_ns: int) -> None:
        walk = self._order[int(self._rng.random() * len(self._order))]
        prints = self._prints.random() < 0.4
        if walk.rules.status != "TRADING":
            return
        walk.move()
        if not self.faults.holds("market_stall", walk, at_ns, note=bool(self._sessions)):
            printed = walk.print_trade(self._prints) if prints else None
            if self._sessions:
                self._publish(walk, printed, at_ns)
        self.told(walk, at_ns)

    def _publish(self, walk: Walk, printed: tuple[int, int, Side] | None, at_ns: int) -> None:
        """Tell the subscribers of a move: its book, its best quotes, its trade."""
        name = walk.stream
        event_ns = self.faults.frozen_ns if self.faults.holds("market_frozen", walk, at_ns) else at_ns
        lost = self.faults.holds("market_gap", walk, at_ns)
        walk.crossed = self.faults.holds("market_crossed", walk, at_ns)
        depth = self._wanted(f"{name}@depth@100ms")
        if depth:
            before, after = self._depths.get(name), walk.levels()
            if before is not None and not lost:
                self._send(depth, walk.depth_frame(before, after, event_ns), at_ns)
            self._depths[name], walk.told_id = after, walk.update_id
        if lost:
            return
        if quotes := self._wanted(f"{name}@bookTicker"):
            self._send(quotes, walk.ticker_frame(), at_ns)
        if printed is not None and (trades := self._wanted(f"{name}@trade")):
            self._send(trades, walk.trade_frame(printed, event_ns), at_ns)

    def _wanted(self, stream: str) -> list[int]:
        return [gen for gen, session in self._sessions.items() if stream in session.streams]

    def _send(self, gens: list[int], frame: bytes, at_ns: int) -> None:
        for gen in gens:
            message = Received(self._sessions[gen].conn, gen, at_ns, frame)
            self._tell(at_ns, gen, message)
            if self.chances.hit("market_duplicated") and self.chances.happens("market_duplicated"):
                self._tell(at_ns, gen, message)

    def say(self, frame: bytes, at_ns: int) -> bool:
        """Send bytes to everybody; say whether anybody was there."""
        self._send(list(self._sessions), frame, at_ns)
        return bool(self._sessions)

    def break_all(self, at_ns: int) -> bool:
        """End all connections; say whether there was one."""
        gens = list(self._sessions)
        for gen in gens:
            self._end(gen, at_ns, 1006, "connection reset")
        return bool(gens)

    # --- requests ---------------------------------------------------------------------------------------

    def _write(self, write: Write, now_ns: int) -> None:
        session = self._sessions.get(write.gen)
        if session is None:
            self._tell(now_ns, 0, NotWritten(write.conn, write.gen, write.req, "STALE_GENERATION"))
            return
        self._tell(now_ns, write.gen, Written(write.conn, write.gen, write.req, now_ns))
        at_ns = now_ns + HTTP_NS
        if isinstance(write.body, Text):
            body = self._command(session, write.body.text)
            self._tell(at_ns, write.gen, Received(write.conn, write.gen, at_ns, body))
        else:
            status, body = self._http(write.body, now_ns)
            self._tell(at_ns, write.gen, Received(write.conn, write.gen, at_ns, body, write.req, status))

    def _command(self, session: _Session, text: str) -> bytes:
        """Obey SUBSCRIBE and UNSUBSCRIBE; a book that is told of from now on starts as it stands."""
        command = msgspec.json.decode(text, type=_Command)
        for name in command.params:
            if command.method == "SUBSCRIBE":
                session.streams[name] = True
            else:
                session.streams.pop(name, None)
        for walk in self._order:
            wanted = self._wanted(f"{walk.stream}@depth@100ms")
            if wanted and walk.stream not in self._depths:
                self._depths[walk.stream], walk.told_id = walk.levels(), walk.update_id
            elif not wanted:
                self._depths.pop(walk.stream, None)
        return msgspec.json.encode({"result": None, "id": command.id})

    def _http(self, request: Http, now_ns: int) -> tuple[int, bytes]:
        query = dict(request.query)
        if self.faults.holds("market_refused", None, now_ns):
            return 503, b"<html>503 Service Temporarily Unavailable</html>"
        if request.path == "/api/v3/exchangeInfo":
            symbols = [walk.info() for walk in self._order]
            return 200, msgspec.json.encode(
                {"timezone": "UTC", "serverTime": now_ns // MS, "symbols": symbols}
            )
        if request.path == "/api/v3/time":
            return 200, msgspec.json.encode({"serverTime": now_ns // MS})
        walk = self._by_symbol.get(query.get("symbol", ""))
        if walk is None:
            return 400, b'{"code":-1121,"msg":"Invalid symbol."}'
        if request.path == "/api/v3/depth":
            return 200, walk.snapshot()
        if request.path == "/api/v3/klines":
            return 200, msgspec.json.encode(_klines(walk, query["interval"], now_ns, self._bars))
        return 404, b'{"code":-1,"msg":"Not found."}'

    # --- what is heard ----------------------------------------------------------------------------------

    def _end(self, gen: int, now_ns: int, code: int | None, reason: str) -> None:
        session = self._sessions.pop(gen, None)
        if session is not None:
            self._out = [item for item in self._out if item[2] != gen or type(item[3]) is not Received]
            heapq.heapify(self._out)
            self._tell(now_ns, gen, Closed(session.conn, gen, now_ns, code, reason))

    def _tell(self, due_ns: int, gen: int, message: Message) -> None:
        self._number += 1
        heapq.heappush(self._out, (due_ns, self._number, gen, message))


def _klines(walk: Walk, interval: str, now_ns: int, rng: Random) -> list[Any]:
    """Return bars up to now, a walk backwards from the last price; the newest is still open."""
    size_ns = INTERVALS.get(interval, 60 * SECOND)
    text, close, rows = walk.prices.text, walk.last, []
    open_ns = now_ns // size_ns * size_ns
    for _ in range(KLINES_MAX):
        before = max(walk.grid, int(close * (1 + rng.gauss(0.0, 0.0005))))
        high, low = max(before, close), min(before, close)
        times = (open_ns // MS, (open_ns + size_ns) // MS - 1)
        prices = [text(price) for price in (before, high, low, close)]
        rows.append([times[0], *prices, "1.0", times[1], "1.0", 10, "0.5", "0.5", "0"])
        close, open_ns = before, open_ns - size_ns
    return rows[::-1]
