"""The simulated venue of one account: a timed machine that answers as Binance does, and knows the truth.

Requests of the WebSocket API come as `Write` and meet the book after half of the latency and whatever
its personality puts in between; answers and the private stream go back on the same connection. The
book outlives every process that talks to it: after `crash` nobody hears the answers to what was
written, and it is done all the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from msgspec import Struct

from tradefan.core.connection import may_write
from tradefan.messages.base import Message
from tradefan.messages.instrument import Instrument
from tradefan.messages.wire import Close, Closed, NotWritten, Open, Opened, Received, Text, Write, Written
from tradefan.sim.market import SimMarket
from tradefan.sim.personality import LIAR_LAG_NS, Chances, Personality
from tradefan.sim.venue_book import Book, SimOrder, SimTrade
from tradefan.sim.venue_engine import Engine
from tradefan.sim.witness import VenueEvent, VenueOrder, VenueTrade
from tradefan.units import MS, SECOND, ZERO, InstrumentId
from tradefan.venues import paper_codec as codec
from tradefan.venues.binance_orders import venue_symbol
from tradefan.venues.paper_account import VenueError

TRADES_MAX = 1_000
FEE = Decimal("0.001")
_RECV_WINDOW_MS = 5_000
Key = tuple[str, int]
"""Connection and generation."""


class _Conn(Struct):
    """One generation of the connection."""

    gen: int
    subscribed: bool = False


class Asked(Struct):
    """A request on its way: who asked, what, and until when a create may be written."""

    key: Key
    request: codec.Request
    op: str
    not_after_ns: int
    client_order_id: str


class SimVenue:
    """`VenueTruth`, and the machine of the port `venue:ACCOUNT`."""

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        market: SimMarket,
        personality: Personality,
        *,
        seed: int,
        balances: dict[str, Decimal],
        note: Callable[[str, str], None] = lambda _kind, _text: None,
        fee_rate: Decimal = FEE,
        latched: Callable[[tuple[str, ...]], bool] = lambda _scopes: False,
        on_write: Callable[[Write, str | None], None] = lambda _write, _refused: None,
    ) -> None:
        """Open an account that holds `balances`."""
        self.personality = personality
        self.market = market
        self.latched = latched
        self.on_write = on_write
        self.accept_bound_ns = personality.accept_bound_ns
        self.visible_bound_ns = personality.visible_bound_ns
        self.late_fill_bound_ns = personality.late_fill_bound_ns
        self.honest = personality.honest
        self.chances = Chances(
            seed, note, rates=personality.rates, every_s=personality.every_s, modes=personality.modes
        )
        self.book = Book(
            instruments,
            balances,
            personality.visible_bound_ns + LIAR_LAG_NS + SECOND,
            fee_rate=fee_rate,
            own_ids=self.chances.mode("id_reuse"),
        )
        self.engine = Engine(self.book, market, personality, self.chances, self.later)
        self._fee_rate = fee_rate
        self._symbols: dict[str, str] = {one.id: venue_symbol(one) for one in instruments}
        self._ids: dict[str, InstrumentId] = {venue_symbol(one): one.id for one in instruments}
        self._conns: dict[Key, _Conn] = {}
        self._todo: list[tuple[int, int, Callable[[int], None]]] = []
        self._out: list[tuple[int, int, Key, Message]] = []
        self._numbers = 0
        self._pending: dict[str, int] = {}
        self._cancel_ids: dict[int, str] = {}
        market.watch(self._moved)

    # --- the truth --------------------------------------------------------------------------------------

    @property
    def orders(self) -> dict[int, VenueOrder]:
        """All orders there ever were."""
        return self.book.orders  # type: ignore[return-value]

    @property
    def trades(self) -> list[VenueTrade]:
        """All trades there ever were."""
        return self.book.trades  # type: ignore[return-value]

    @property
    def balances(self) -> dict[str, Decimal]:
        """What the account holds, free and locked together."""
        return self.book.balances

    @property
    def log(self) -> list[VenueEvent]:
        """What happened inside."""
        return self.book.log

    def may_accept(self, client_order_id: str) -> bool:
        """Say whether a create was written that may still become an order."""
        return client_order_id in self._pending

    # --- timed machine ----------------------------------------------------------------------------------

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take `Open Close Write`; the market is known without being told."""
        if isinstance(effect, Write):
            self._run(now_ns)
            self._write(effect, now_ns)
        elif isinstance(effect, Open):
            self._run(now_ns)
            self.later(now_ns + self._half(), lambda at_ns: self._open(effect, at_ns))
        elif isinstance(effect, Close):
            self._run(now_ns)
            self._close(effect.conn, effect.gen, now_ns, effect.code, "closed")

    def next_ns(self) -> int | None:
        """Return when something happens here, or is heard."""
        dues = [queue[0][0] for queue in (self._todo, self._out) if queue]
        if self.book.live and self.market.tick_ns is not None:
            dues.append(self.market.tick_ns)
        return min(dues, default=None)

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is heard by now."""
        self._run(now_ns)
        out = self._out
        heard: list[Message] = []
        while out and out[0][0] <= now_ns and len(heard) < limit:
            _, _, key, message = heapq.heappop(out)
            if type(message) is not Received or key in self._conns:
                heard.append(message)
        return heard

    def crash(self) -> None:
        """The process is gone: its connections end, and nobody hears what it asked for."""
        self._conns.clear()
        self._out.clear()

    def heal(self, now_ns: int) -> None:
        """Nothing new goes wrong; what is on its way arrives within A."""
        self._run(now_ns)
        self.chances.calm()
        bound_ns = now_ns + self.accept_bound_ns
        self._todo = [(min(due_ns, bound_ns), number, act) for due_ns, number, act in self._todo]
        self._out = [(min(due_ns, bound_ns), number, key, msg) for due_ns, number, key, msg in self._out]
        heapq.heapify(self._todo)
        heapq.heapify(self._out)

    def later(self, due_ns: int, act: Callable[[int], None]) -> None:
        """Do something at an instant, in the order of instants and then of calls."""
        self._numbers += 1
        heapq.heappush(self._todo, (due_ns, self._numbers, act))

    def _run(self, now_ns: int) -> None:
        """Let the market move and the agenda happen, all in the order of their instants."""
        self.market.advance(now_ns)
        self._work(now_ns)

    def _work(self, until_ns: int) -> None:
        todo = self._todo
        while todo and todo[0][0] <= until_ns:
            due_ns, _, act = heapq.heappop(todo)
            act(due_ns)
            todo = self._todo

    def _moved(self, instrument: InstrumentId, at_ns: int) -> None:
        """Take a move of the market: what was due before it comes first."""
        self._work(at_ns)
        if self.book.live:
            self.engine.moved(instrument, at_ns)
            self._tell_stream(at_ns)

    # --- connections --------------------------------------------------------------------------------------

    def _open(self, effect: Open, at_ns: int) -> None:
        key = (effect.conn, effect.gen)
        self._conns[key] = _Conn(effect.gen)
        heard_ns = at_ns + self._half()
        self._hear(heard_ns, key, Opened(effect.conn, effect.gen, heard_ns))

    def _close(self, conn: str, gen: int, at_ns: int, code: int | None, reason: str) -> None:
        """End a connection; requests that left still arrive, but nobody hears their answers."""
        self._conns.pop((conn, gen), None)
        self._hear(at_ns, (conn, gen), Closed(conn, gen, at_ns, code, reason))

    def _write(self, write: Write, now_ns: int) -> None:
        key = (write.conn, write.gen)
        conn = self._conns.get(key)
        guarded = write.op in ("create", "replace") and self.latched(write.scopes)
        refused = may_write(guarded, (write.gen, conn.gen if conn else 0), write.not_after_ns, now_ns)
        self.on_write(write, refused)
        if refused is not None:
            self._hear(now_ns, key, NotWritten(write.conn, write.gen, write.req, refused))
            return
        self._hear(now_ns, key, Written(write.conn, write.gen, write.req, now_ns))
        assert isinstance(write.body, Text), f"the venue speaks text, got {write.body}"
        request = codec.read_request(write.body.text)
        asked = Asked(key, request, write.op, _not_after_ns(write, request), "")
        if write.op in ("create", "replace"):
            asked.client_order_id = str(request.params.get("newClientOrderId", ""))
            self._pending[asked.client_order_id] = self._pending.get(asked.client_order_id, 0) + 1
        self.later(now_ns + self._half(), lambda at_ns: self._arrive(asked, at_ns))

    # --- requests -----------------------------------------------------------------------------------------

    def _arrive(self, asked: Asked, at_ns: int) -> None:
        params = asked.request.params
        if asked.op in ("cancel", "replace"):
            target = params.get("origClientOrderId") or params.get("cancelOrigClientOrderId") or ""
            self.book.arrived("cancel", str(target), ZERO, at_ns)
        if asked.op in ("create", "replace"):
            self.book.arrived("create", asked.client_order_id, Decimal(str(params["quantity"])), at_ns)
        self._serve(asked, at_ns)

    def _serve(self, asked: Asked, at_ns: int) -> None:
        """Carry out one request and answer it."""
        try:
            self._check_time(asked.request.params, at_ns)
            method: _Method = self._METHODS.get(asked.request.method, SimVenue._unknown)
            result = method(self, asked, at_ns)
        except VenueError as error:
            body = codec.refusal(asked.request.id, error)
            if asked.client_order_id:
                self.book.rejected(asked.client_order_id, error.text, at_ns)
        else:
            body = codec.answer(asked.request.id, result)
        if asked.client_order_id:
            self._settled(asked.client_order_id)
        self._answer(asked, body, at_ns)
        self._tell_stream(at_ns)

    def _settled(self, client_order_id: str) -> None:
        """A create on its way has come to its end, whichever."""
        left = self._pending.pop(client_order_id) - 1
        if left:
            self._pending[client_order_id] = left

    def _place(self, asked: Asked, at_ns: int) -> dict[str, Any]:
        params = asked.request.params
        instrument = self._instrument(params)
        before = len(self.book.trades)
        order = self.engine.place(instrument, codec.read_wish(params), at_ns)
        trades = [trade for trade in self.book.trades[before:] if trade.order_id == order.order_id]
        return self._placed(order, trades)

    def _placed(self, order: SimOrder, trades: list[SimTrade]) -> dict[str, Any]:
        rows = [trade.versions[0][1] for trade in trades if trade.named]
        symbol = self._symbols[order.instrument]
        return codec.placed(order.versions[-1][1], [row for row in rows if row is not None], symbol)

    def _cancel(self, asked: Asked, at_ns: int) -> dict[str, Any]:
        params = asked.request.params
        instrument = self._instrument(params)
        order = self.book.open_order(instrument, *codec.read_ids(params))
        if order is None:
            raise VenueError(-2011, "Unknown order sent.")
        cancel_id = str(params.get("newClientOrderId") or f"cancel-{order.order_id}")
        self._cancel_ids[order.order_id] = cancel_id
        self.engine.cancel(order, at_ns)
        return codec.canceled(order.versions[-1][1], self._symbols[instrument], cancel_id)

    def _status(self, asked: Asked, at_ns: int) -> dict[str, Any]:
        params = asked.request.params
        instrument = self._instrument(params)
        order = self.book.find(instrument, *codec.read_ids(params))
        if order is None:
            raise VenueError(-2013, "Order does not exist.")
        return codec.status(order.versions[-1][1], self._symbols[instrument])

    def _open_orders(self, asked: Asked, at_ns: int) -> list[dict[str, Any]]:
        params = asked.request.params
        instrument = self._instrument(params) if "symbol" in params else None
        return [
            codec.status(picture, self._symbols[picture.instrument])
            for picture in self.book.open_at(instrument, at_ns)
        ]

    def _trades(self, asked: Asked, at_ns: int) -> list[dict[str, Any]]:
        params = asked.request.params
        instrument = self._instrument(params)
        limit = min(codec.read_int(params, "limit") or 500, TRADES_MAX)
        rows = self.book.trades_at(instrument, codec.read_int(params, "fromId"), limit, at_ns)
        return [codec.trade_row(row, self._symbols[instrument]) for _, row in rows]

    def _account(self, asked: Asked, at_ns: int) -> dict[str, Any]:
        state = self.book.account_at(at_ns)
        return codec.account(state, self._fee_rate, self._fee_rate, at_ns)

    def _subscribe(self, asked: Asked, at_ns: int) -> dict[str, Any]:
        conn = self._conns.get(asked.key)
        if conn is not None:
            conn.subscribed = True
        return {"subscriptionId": codec.SUBSCRIPTION}

    def _ping(self, asked: Asked, at_ns: int) -> dict[str, Any]:
        return {}

    def _unknown(self, asked: Asked, at_ns: int) -> dict[str, Any]:
        raise VenueError(-1020, "This operation is not supported.")

    def _instrument(self, params: codec.Params) -> InstrumentId:
        instrument = self._ids.get(str(params.get("symbol")))
        if instrument is None:
            raise VenueError(-1121, "Invalid symbol.")
        return instrument

    def _check_time(self, params: codec.Params, at_ns: int) -> None:
        """Refuse what was under way for longer than its own window."""
        sent_ms = codec.read_int(params, "timestamp")
        window_ms = codec.read_int(params, "recvWindow") or _RECV_WINDOW_MS
        if sent_ms is not None and at_ns // MS - sent_ms > window_ms:
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")

    _METHODS: ClassVar[dict[str, _Method]] = {
        "order.place": _place,
        "order.cancel": _cancel,
        "order.status": _status,
        "openOrders.status": _open_orders,
        "myTrades": _trades,
        "account.status": _account,
        "userDataStream.subscribe": _subscribe,
        "ping": _ping,
    }

    # --- what is heard ------------------------------------------------------------------------------------

    def _answer(self, asked: Asked, body: bytes, at_ns: int) -> None:
        heard_ns = at_ns + self._half()
        conn, gen = asked.key
        self._hear(heard_ns, asked.key, Received(conn, gen, heard_ns, body))

    def _tell_stream(self, at_ns: int) -> None:
        if not self.book.told:
            return
        told, self.book.told = self.book.told, []
        heard_ns = at_ns + self._half()
        listeners = [key for key, conn in self._conns.items() if conn.subscribed]
        for item in told if listeners else ():
            body = codec.event(item, self._symbols, self._cancel_ids)
            for key in listeners:
                self._hear(heard_ns, key, Received(*key, heard_ns, body))

    def _half(self) -> int:
        return self.personality.latency_ns // 2

    def _hear(self, due_ns: int, key: Key, message: Message) -> None:
        self._numbers += 1
        heapq.heappush(self._out, (due_ns, self._numbers, key, message))


def _not_after_ns(write: Write, request: codec.Request) -> int:
    """Return until when a create counts as fresh: what the link was told, else the venue's own window."""
    if write.not_after_ns is not None:
        return write.not_after_ns
    sent_ms = codec.read_int(request.params, "timestamp") or 0
    return (sent_ms + (codec.read_int(request.params, "recvWindow") or _RECV_WINDOW_MS)) * MS


_Method = Callable[[SimVenue, Asked, int], Any]
