"""The paper venue: a timed machine that answers like any venue and matches against the live market.

It hosts one account behind one port. Requests of Binance's WebSocket API come as `Write`, answers
and the user data stream go back as `Received` on the same connection; the market comes as effects
(`Trade BookDelta BookSnapshot SessionBreak`), which are never refused. Half of the latency passes
before a request meets the book, half before anything is heard.

What a request or a market event changes is saved before anybody hears of it. When the store fails
the machine forgets what it could not save: every connection closes, nothing in flight is answered,
and the next `Open` takes up what the store still holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, ClassVar

from msgspec import Struct

from tradefan.core.connection import may_write
from tradefan.errors import Outage
from tradefan.messages.base import Message
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import BookDelta, BookSnapshot, SessionBreak, Trade
from tradefan.messages.wire import (
    Close,
    Closed,
    NotWritten,
    Open,
    Opened,
    Received,
    Text,
    Write,
    Written,
)
from tradefan.units import MS, InstrumentId
from tradefan.venues import paper_codec as codec
from tradefan.venues.binance_orders import venue_symbol
from tradefan.venues.paper_account import PaperAccount, Told, VenueError
from tradefan.venues.paper_state import PaperConfig, PaperOrder, PaperSaved, PaperStore

TRADES_MAX = 1_000
"""Most rows of one `myTrades`, as on Binance."""
_RECV_WINDOW_MS = 5_000


class PaperView(Struct, frozen=True):
    """Counters and sizes for status and metrics."""

    epoch: int
    connections: int
    orders_open: int
    requests: int
    refusals: int
    trades: int
    failures: int


class _Conn(Struct):
    gen: int
    subscribed: bool = False


class PaperVenue:
    """One paper account as a timed machine; `latched` is the rim's latch, asked before each create."""

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        store: PaperStore,
        config: PaperConfig | None = None,
        latched: Callable[[tuple[str, ...]], bool] = lambda _scopes: False,
    ) -> None:
        """Take up what the store holds."""
        self.config = PaperConfig() if config is None else config
        self.account = PaperAccount(instruments, self.config, store)
        self._instruments = instruments
        self._store = store
        self._latched = latched
        self._symbols: dict[str, str] = {item.id: venue_symbol(item) for item in instruments}
        self._ids: dict[str, InstrumentId] = {venue_symbol(item): item.id for item in instruments}
        self._conns: dict[tuple[str, int], _Conn] = {}
        self._arriving: list[tuple[int, int, Write | Open]] = []
        self._leaving: list[tuple[int, int, Message]] = []
        self._numbers = 0
        self._cancel_ids: dict[int, str] = {}
        self._broken = False
        self.requests = self.refusals = self.failures = 0

    def know(self, instruments: tuple[Instrument, ...]) -> None:
        """Trade these, too, from now on; those that it trades already stay as they are.

        Raises:
            Refused: UNSUPPORTED_KIND.
        """
        new = tuple(item for item in instruments if item.id not in self._symbols)
        self.account.know(new)
        self._instruments += new
        self._symbols |= {item.id: venue_symbol(item) for item in new}
        self._ids |= {venue_symbol(item): item.id for item in new}

    # --- timed machine ------------------------------------------------------------------------------

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take a request or a market event; requests that arrived before it are carried out first."""
        self._arrive(now_ns)
        if isinstance(effect, Trade | BookDelta | BookSnapshot | SessionBreak):
            self._observe(effect, now_ns)
        elif isinstance(effect, Write):
            self._write(effect, now_ns)
        elif isinstance(effect, Open):
            self._later(self._arriving, now_ns + self._half(), effect)
        elif isinstance(effect, Close):
            self._close(effect, now_ns)

    def next_ns(self) -> int | None:
        """Return when the next request arrives or the next message is heard."""
        dues = [queue[0][0] for queue in (self._arriving, self._leaving) if queue]
        return min(dues, default=None)

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is heard by now."""
        self._arrive(now_ns)
        heard: list[Message] = []
        while self._leaving and self._leaving[0][0] <= now_ns and len(heard) < limit:
            heard.append(heapq.heappop(self._leaving)[2])
        return heard

    def close(self) -> None:
        """Close the store."""
        close = getattr(self._store, "close", None)
        if close is not None:
            close()

    def saved(self) -> PaperSaved:
        """Return the account as it is, for one that begins again from here.

        Raises:
            Outage: its newest orders and trades cannot be read.
        """
        rows = [row for one in self._instruments for row in self._store.trades_last(one.id, TRADES_MAX)]
        trades = sorted(rows, key=lambda row: row.trade_id)
        return PaperSaved(self.account.state, trades, list(self._store.orders_last(TRADES_MAX)))

    def adopt(self, conn: str, gen: int) -> None:
        """Take a connection for open and subscribed that somebody has, who goes on from `saved`."""
        self._conns[conn, gen] = _Conn(gen, subscribed=True)

    def view(self) -> PaperView:
        """Return counters."""
        state = self.account.state
        return PaperView(
            epoch=state.epoch,
            connections=len(self._conns),
            orders_open=len(state.orders),
            requests=self.requests,
            refusals=self.refusals,
            trades=state.next_trade_id - 1,
            failures=self.failures,
        )

    # --- connections ----------------------------------------------------------------------------------

    def _write(self, write: Write, now_ns: int) -> None:
        conn = self._conns.get((write.conn, write.gen))
        latched = write.op in ("create", "replace") and self._latched(write.scopes)
        generation = (write.gen, conn.gen if conn is not None else 0)
        refused = may_write(latched, generation, write.not_after_ns, now_ns)
        if refused is not None:
            self._later(self._leaving, now_ns, NotWritten(write.conn, write.gen, write.req, refused))
            return
        self._later(self._leaving, now_ns, Written(write.conn, write.gen, write.req, now_ns))
        self._later(self._arriving, now_ns + self._half(), write)

    def _close(self, effect: Close, now_ns: int) -> None:
        """End a connection; requests that left still arrive, but nobody hears their answers."""
        self._conns.pop((effect.conn, effect.gen), None)
        self._mute(effect.conn, effect.gen)
        at_ns = now_ns + self._half()
        self._later(self._leaving, at_ns, Closed(effect.conn, effect.gen, at_ns, effect.code, "closed"))

    def _mute(self, conn: str, gen: int) -> None:
        self._leaving = [
            item
            for item in self._leaving
            if not (isinstance(item[2], Received) and (item[2].conn, item[2].gen) == (conn, gen))
        ]
        heapq.heapify(self._leaving)

    def _arrive(self, now_ns: int) -> None:
        while self._arriving and self._arriving[0][0] <= now_ns:
            at_ns, _, effect = heapq.heappop(self._arriving)
            if isinstance(effect, Open):
                self._opened(effect, at_ns)
            else:
                self._serve(effect, at_ns)

    def _opened(self, effect: Open, at_ns: int) -> None:
        heard_ns = at_ns + self._half()
        if self._broken and not self._recover():
            closed = Closed(effect.conn, effect.gen, heard_ns, 1011, "store")
            self._later(self._leaving, heard_ns, closed)
            return
        self._conns[effect.conn, effect.gen] = _Conn(effect.gen)
        self._later(self._leaving, heard_ns, Opened(effect.conn, effect.gen, heard_ns))

    # --- requests -------------------------------------------------------------------------------------

    def _serve(self, write: Write, at_ns: int) -> None:
        """Carry out one request, save, then answer; a request to a broken store is never answered."""
        if self._broken:
            return
        self.requests += 1
        request_id: str | int | None = None
        try:
            assert isinstance(write.body, Text), f"the paper venue speaks text, got {write.body}"
            request = codec.read_request(write.body.text)
            request_id = request.id
            method: _Method = self._METHODS.get(request.method, PaperVenue._unknown)
            body = codec.answer(request_id, method(self, request.params, write, at_ns))
        except VenueError as error:
            self.refusals += 1
            body = codec.refusal(request_id, error)
        except Outage:
            self._fail(at_ns)
            return
        self._publish(at_ns, (write.conn, write.gen, body))

    def _place(self, params: codec.Params, _write: Write, at_ns: int) -> dict[str, Any]:
        self._check_time(params, at_ns)
        instrument = self._instrument(params)
        order, trades = self.account.place(instrument, codec.read_wish(params), at_ns)
        return codec.placed(order, trades, self._symbols[instrument])

    def _cancel(self, params: codec.Params, _write: Write, at_ns: int) -> dict[str, Any]:
        self._check_time(params, at_ns)
        instrument = self._instrument(params)
        order = self.account.open_order(instrument, *codec.read_ids(params))
        return self._canceled(order, params.get("newClientOrderId"), at_ns)

    def _canceled(
        self, order: PaperOrder | None, cancel_id: object, at_ns: int, *, only_new: bool = False
    ) -> dict[str, Any]:
        if order is None:
            raise VenueError(-2011, "Unknown order sent.")
        if only_new and order.status != "NEW":
            raise VenueError(-2011, "Order was not canceled due to cancel restrictions.")
        name = str(cancel_id or f"cancel-{order.order_id}")
        self._cancel_ids[order.order_id] = name
        return codec.canceled(self.account.cancel(order, at_ns), self._symbols[order.instrument], name)

    def _replace(self, params: codec.Params, _write: Write, at_ns: int) -> dict[str, Any]:
        """Cancel an order and place another; both are saved in one transaction, whatever they come to.

        Filters are looked at before the cancel, the rest when the new order's turn comes: a cancel
        that was done stays done (web-socket-api.md, "Cancel and replace order").
        """
        self._check_time(params, at_ns)
        instrument, wish = self._instrument(params), codec.read_wish(params)
        order = self.account.open_order(instrument, *codec.read_replaced(params))
        self.account.check_filters(instrument, wish)
        only_new, cancel_id = "cancelRestrictions" in params, params.get("cancelNewClientOrderId")
        try:
            canceled = self._canceled(order, cancel_id, at_ns, only_new=only_new)
        except VenueError as error:
            raise codec.replace_failed(error, None) from error
        try:
            new, trades = self.account.place(instrument, wish, at_ns)
        except VenueError as error:
            raise codec.replace_failed(canceled, error) from error
        return codec.replaced(canceled, codec.placed(new, trades, self._symbols[instrument]))

    def _status(self, params: codec.Params, _write: Write, _at_ns: int) -> dict[str, Any]:
        instrument = self._instrument(params)
        order = self.account.find(instrument, *codec.read_ids(params))
        if order is None:
            raise VenueError(-2013, "Order does not exist.")
        return codec.status(order, self._symbols[instrument])

    def _open_orders(self, params: codec.Params, _write: Write, _at_ns: int) -> list[dict[str, Any]]:
        instrument = self._instrument(params) if "symbol" in params else None
        orders = self.account.open_orders(instrument)
        return [
            codec.status(order, self._symbols[order.instrument])
            for order in orders
            if order.instrument in self._symbols
        ]

    def _trades(self, params: codec.Params, _write: Write, _at_ns: int) -> list[dict[str, Any]]:
        instrument = self._instrument(params)
        limit = min(codec.read_int(params, "limit") or 500, TRADES_MAX)
        from_id = codec.read_int(params, "fromId")
        if from_id is None:
            rows = self._store.trades_last(instrument, limit)
        else:
            rows = self._store.trades_after(instrument, from_id - 1, limit)
        return [codec.trade_row(row, self._symbols[instrument]) for row in rows]

    def _account(self, _params: codec.Params, _write: Write, at_ns: int) -> dict[str, Any]:
        config = self.config
        return codec.account(self.account.state, config.maker_fee, config.taker_fee, at_ns)

    def _subscribe(self, _params: codec.Params, write: Write, _at_ns: int) -> dict[str, Any]:
        conn = self._conns.get((write.conn, write.gen))
        if conn is not None:
            if conn.subscribed:
                raise VenueError(-2035, "User Data Stream subscription already active.")
            conn.subscribed = True
        return {"subscriptionId": codec.SUBSCRIPTION}

    def _ping(self, _params: codec.Params, _write: Write, _at_ns: int) -> dict[str, Any]:
        return {}

    def _unknown(self, _params: codec.Params, _write: Write, _at_ns: int) -> dict[str, Any]:
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
        "order.cancelReplace": _replace,
        "order.status": _status,
        "openOrders.status": _open_orders,
        "myTrades": _trades,
        "account.status": _account,
        "userDataStream.subscribe": _subscribe,
        "ping": _ping,
    }

    # --- what is heard --------------------------------------------------------------------------------

    def _observe(self, event: Trade | BookDelta | BookSnapshot | SessionBreak, now_ns: int) -> None:
        self.account.observe(event, now_ns)
        if not self._broken:
            self._publish(now_ns, None)

    def _publish(self, at_ns: int, answer: tuple[str, int, bytes] | None) -> None:
        """Save, then tell: the answer to the one who asked, events to every subscriber."""
        try:
            told = self.account.commit(at_ns)
        except Outage:
            self._fail(at_ns)
            return
        events = self._events(told)
        if answer is not None:
            at = len(events) if self.config.stream_first else 0
            events.insert(at, answer)
        heard_ns = at_ns + self._half()
        for conn, gen, body in events:
            if (conn, gen) in self._conns:
                self._later(self._leaving, heard_ns, Received(conn, gen, heard_ns, body))

    def _events(self, told: tuple[Told, ...]) -> list[tuple[str, int, bytes]]:
        listeners = [key for key, conn in self._conns.items() if conn.subscribed]
        bodies = [codec.event(item, self._symbols, self._cancel_ids) for item in told]
        self._cancel_ids.clear()
        return [(conn, gen, body) for body in bodies for conn, gen in listeners]

    def _fail(self, at_ns: int) -> None:
        """The store did not save: nobody may hear what it does not hold; only the books go on."""
        self._broken = True
        self.account.forget_orders()
        self.failures += 1
        for conn, gen in self._conns:
            self._mute(conn, gen)
            self._later(self._leaving, at_ns, Closed(conn, gen, at_ns, 1011, "store"))
        self._conns.clear()

    def _recover(self) -> bool:
        """Start again from the store, with the books as they are."""
        books = {key: market.matching for key, market in self.account.markets.items()}
        try:
            self.account = PaperAccount(self._instruments, self.config, self._store, books)
        except Outage:
            return False
        self._broken = False
        return True

    def _half(self) -> int:
        return self.config.latency_ns // 2

    def _later(self, queue: list[tuple[int, int, Any]], due_ns: int, message: Message) -> None:
        """Queue by (instant, order of arrival here)."""
        self._numbers += 1
        heapq.heappush(queue, (due_ns, self._numbers, message))


_Method = Callable[[PaperVenue, codec.Params, Write, int], Any]
