"""The simulated venue of one account: a timed machine that answers as Binance does, and knows the truth.

Requests of the WebSocket API come as `Write` and meet the book after half of the latency and whatever
its personality puts in between; answers and the private stream go back on the same connection. The
book outlives every process that talks to it: after `crash` nobody hears the answers to what was
written, and it is done all the same.

    Write -> may_write -> [lost] -> Gate -> [later] -> Desk -> Book
                                                         |  -> Answers -> Received
                                                         |  -> Stream  -> Received
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import msgspec
from msgspec import Struct

from tradefan.core.connection import may_write
from tradefan.messages.base import Message
from tradefan.messages.instrument import Instrument
from tradefan.messages.wire import Close, NotWritten, Open, Text, Write, Written
from tradefan.sim.market import SimMarket
from tradefan.sim.only import Only
from tradefan.sim.personality import LIAR_LAG_NS, QUERY_SHARE, Chances, Delay, Personality
from tradefan.sim.venue_answers import Answers
from tradefan.sim.venue_book import Book
from tradefan.sim.venue_desk import RECV_WINDOW_MS, Desk, LegsError
from tradefan.sim.venue_engine import Engine
from tradefan.sim.venue_gate import Gate, failure
from tradefan.sim.venue_life import Account
from tradefan.sim.venue_links import Key, Links
from tradefan.sim.venue_records import SimTrade
from tradefan.sim.venue_stream import Stream
from tradefan.sim.witness import VenueEvent, VenueOrder, VenueTrade
from tradefan.units import MS, SECOND, ZERO, InstrumentId
from tradefan.venues import paper_codec as codec
from tradefan.venues.binance_orders import venue_symbol
from tradefan.venues.paper_account import Told, VenueError

FEE = Decimal("0.001")
MUTE_SHARE = 0.7
"""Of late accepts, those that lose their answer."""


class Asked(Struct):
    """A request on its way; `client_order_id` is that of a create or replacement, else empty."""

    key: Key
    request: codec.Request
    op: str
    not_after_ns: int
    client_order_id: str
    mute: bool = False
    """Its answer gets lost."""
    failure: bytes | None = None
    """What is answered instead of what was done."""

    @property
    def share(self) -> float:
        """How much of the usual trouble it gets."""
        return QUERY_SHARE if self.op in ("query", "subscribe") else 1.0


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
        latched: Callable[[Write], bool] = lambda _write: False,
        on_write: Callable[[Write, str | None], None] = lambda _write, _refused: None,
        faults_until_ns: int | None = None,
        only: Only | None = None,
    ) -> None:
        """Open an account that holds `balances`; no ban that is told ends after `faults_until_ns`."""
        self.personality = personality
        self.market = market
        self.latched = latched
        self.on_write = on_write
        self.accept_bound_ns = personality.accept_bound_ns
        self.visible_bound_ns = personality.visible_bound_ns
        self.late_fill_bound_ns = personality.late_fill_bound_ns
        self.honest = personality.honest
        self.chances = chances = Chances(
            seed,
            note,
            rates=personality.rates,
            every_s=personality.every_s,
            modes=personality.modes,
            only=only,
        )
        self.book = Book(
            instruments,
            balances,
            personality.visible_bound_ns + LIAR_LAG_NS + SECOND,
            fee_rate=fee_rate,
            fees="third"
            if chances.mode("fee_third_asset")
            else "quote"
            if chances.mode("fee_quote")
            else "received",
            own_ids=chances.mode("id_reuse"),
        )
        self.engine = Engine(self.book, market, personality, chances, self.later, self._busted)
        self.links = Links()
        self.stream = Stream(personality, chances, {one.id: venue_symbol(one) for one in instruments})
        self.desk = Desk(
            self.book, self.engine, personality, chances, instruments, self.stream.cancel_ids, fee_rate
        )
        self.gate = Gate(chances, faults_until_ns)
        self._answers = Answers(personality, chances)
        self._account = Account(self)
        self._begun = False
        self._todo: list[tuple[int, int, Callable[[int], None]]] = []
        self._numbers = 0
        self._pending: dict[str, int] = {}
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
            self.later(now_ns + self._half(), partial(self._open, effect))
        elif isinstance(effect, Close):
            self._run(now_ns)
            self.links.close((effect.conn, effect.gen), now_ns, effect.code, "closed")

    def next_ns(self) -> int | None:
        """Return when something happens here, or is heard."""
        due_ns = self._todo[0][0] if self._todo else None
        for other_ns in (self.links.next_ns(), self.market.tick_ns if self.book.live else None):
            if other_ns is not None and (due_ns is None or other_ns < due_ns):
                due_ns = other_ns
        return due_ns

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is heard by now."""
        self._run(now_ns)
        return self.links.take(now_ns, limit)

    def crash(self) -> None:
        """The process is gone: its connections end, and nobody hears what it asked for."""
        self.links.crash()

    def heal(self, now_ns: int) -> None:
        """Nothing new goes wrong; what is on its way arrives within A, and bans end."""
        self._run(now_ns)
        self.chances.calm()
        self.gate.heal()
        self.engine.hidden.heal()
        self.links.refused_ns = self.links.slow_until_ns = self.links.slow_ns = 0
        self.stream.silence(0)
        self.links.break_all(now_ns, "connection lost", deaf_only=True)
        bound_ns = now_ns + self.accept_bound_ns
        self._todo = [(min(due_ns, bound_ns), number, act) for due_ns, number, act in self._todo]
        heapq.heapify(self._todo)
        self.links.hurry(bound_ns)

    def later(self, due_ns: int, act: Callable[[int], None]) -> None:
        """Do something at an instant, in the order of instants and then of calls."""
        self._numbers += 1
        heapq.heappush(self._todo, (due_ns, self._numbers, act))

    def _run(self, now_ns: int) -> None:
        """Let the market move and the agenda happen, all in the order of their instants."""
        if not self._begun:
            self._begun = True
            self._account.begin(now_ns)
        self.market.advance(now_ns)
        self._work(now_ns)

    def _work(self, until_ns: int) -> None:
        while self._todo and self._todo[0][0] <= until_ns:
            due_ns, _, act = heapq.heappop(self._todo)
            act(due_ns)

    def _moved(self, instrument: InstrumentId, at_ns: int) -> None:
        """Take a move of the market: what was due before it comes first."""
        self._work(at_ns)
        if self.book.live:
            self.engine.moved(instrument, at_ns)
            self.tell(at_ns)

    def _open(self, effect: Open, at_ns: int) -> None:
        self.links.open(effect, at_ns, at_ns + self._half(), self.gate.banned_ns)

    # --- requests -----------------------------------------------------------------------------------------

    def _write(self, write: Write, now_ns: int) -> None:
        key = (write.conn, write.gen)
        conn = self.links.conns.get(key)
        guarded = write.op in ("create", "replace")
        latched = guarded and self.latched(write)
        refused = may_write(latched, (write.gen, conn.gen if conn else 0), write.not_after_ns, now_ns)
        self.on_write(write, refused)
        if refused is not None or conn is None:
            reason = refused or "STALE_GENERATION"
            self.links.hear(now_ns, key, NotWritten(write.conn, write.gen, write.req, reason))
            return
        self.links.hear(now_ns, key, Written(write.conn, write.gen, write.req, now_ns))
        assert isinstance(write.body, Text), f"the venue speaks text, got {write.body}"
        request = codec.read_request(write.body.text)
        named = str(request.params.get("newClientOrderId", "")) if guarded else ""
        asked = Asked(key, request, write.op, _not_after_ns(write, request), named)
        if named:
            self._pending[named] = self._pending.get(named, 0) + 1
        lost = conn.deaf or self._loses(asked)
        self.later(now_ns + self._half(), partial(self._vanish if lost else self._arrive, asked))

    def _loses(self, asked: Asked) -> bool:
        """Say whether a request gets lost on its way."""
        for kind, fits in (("request_lost", asked.op != "subscribe"), ("cancel_lost", asked.op == "cancel")):
            if fits and self.chances.hit(kind, asked.share):
                return self.chances.happens(kind, f"{asked.op} {asked.client_order_id}")
        return False

    def _vanish(self, asked: Asked, at_ns: int) -> None:
        self._settled(asked)

    def _arrive(self, asked: Asked, at_ns: int) -> None:
        """Take a request at the door: write it down, then refuse it, fail, or carry it out now or later."""
        self._log(asked, at_ns)
        body = self.gate.refusal(asked.request, at_ns)
        try:
            self.desk.check_time(asked.request.params, at_ns)
        except VenueError as error:
            body = body or codec.refusal(asked.request.id, error)
        if body is not None:
            self._refuse(asked, body, "not let in", at_ns)
            return
        if self.chances.hit("server_error", asked.share):
            rng = self.chances.rng("server_error/how")
            done = rng.random() < 0.5
            body = failure(asked.request, rng)
            if self.chances.happens("server_error", f"{asked.op}, {'' if done else 'not '}carried out"):
                asked.failure = body
                if not done:
                    self._refuse(asked, body, "server error", at_ns)
                    return
        due_ns = self._accept_ns(asked, at_ns)
        if due_ns > at_ns:
            self.later(due_ns, partial(self._serve, asked))
        else:
            self._serve(asked, at_ns)

    def _log(self, asked: Asked, at_ns: int) -> None:
        """Write down what arrived; a replacement is a cancel and a create."""
        params, book = asked.request.params, self.book
        if asked.op in ("cancel", "replace"):
            target = params.get("origClientOrderId") or params.get("cancelOrigClientOrderId")
            number = codec.read_int(params, "orderId") or codec.read_int(params, "cancelOrderId")
            named = book.orders.get(number) if number is not None else None
            book.arrived("cancel", str(target or (named.client_order_id if named else "")), ZERO, at_ns)
        if asked.client_order_id:
            book.arrived("create", asked.client_order_id, Decimal(str(params.get("quantity", 0))), at_ns)

    def _accept_ns(self, asked: Asked, at_ns: int) -> int:
        """Return when a request meets the book: a create may be let in late, and then often in silence."""
        if not asked.client_order_id or not self.chances.hit("late_accept"):
            return at_ns
        accept = self.personality.accept
        bound_ns = asked.not_after_ns + accept.bound_ns - at_ns
        due_ns = at_ns + Delay(accept.shape, max(bound_ns, 0)).draw(self.chances.rng("late_accept/when"))
        if due_ns > at_ns:
            mute = self.chances.rng("late_accept/mute").random() < MUTE_SHARE
            late_s = (due_ns - asked.not_after_ns) / SECOND
            if not self.chances.happens("late_accept", f"{asked.client_order_id} not_after{late_s:+g} s"):
                return at_ns
            asked.mute = mute
        return due_ns

    def _refuse(self, asked: Asked, body: bytes, why: str, at_ns: int) -> None:
        if asked.client_order_id:
            self.book.rejected(asked.client_order_id, why, at_ns)
        self._settled(asked)
        self._answers.send(body, at_ns + self._half(), partial(self.links.say, asked.key), asked.share)

    def _serve(self, asked: Asked, at_ns: int) -> None:
        """Carry out one request, answer it, and tell the stream, which may be first."""
        request, trades = asked.request, len(self.book.trades)
        try:
            body = codec.answer(request.id, self.desk.serve(request.method, request.params, at_ns))
        except VenueError as error:
            body = _refused(request, error)
            if asked.client_order_id:
                self.book.rejected(asked.client_order_id, error.text, at_ns)
        self._settled(asked)
        heard_ns = at_ns + self._half()
        filled = bool(asked.client_order_id) and len(self.book.trades) > trades
        if filled and self.chances.hit("fill_before_ack") and self.links.listeners():
            happens = self.chances.happens("fill_before_ack", asked.client_order_id)
            # The way of one that is left out is drawn, too.
            held_ns = self._answers.held(self.tell(at_ns) if happens else at_ns)
            heard_ns = held_ns if happens else heard_ns
        if not asked.mute:
            hear = partial(self.links.say, asked.key)
            self._answers.send(asked.failure or body, heard_ns, hear, asked.share)
        if request.method == "userDataStream.subscribe" and asked.key in self.links.conns:
            self.links.conns[asked.key].subscribed = True
            self.stream.repeat(at_ns, partial(self.links.say, asked.key))
        self.tell(at_ns)

    def _settled(self, asked: Asked) -> None:
        """A create on its way has come to its end, whichever."""
        if asked.client_order_id:
            left = self._pending.pop(asked.client_order_id) - 1
            if left:
                self._pending[asked.client_order_id] = left

    # --- what is heard ------------------------------------------------------------------------------------

    def tell(self, at_ns: int) -> int:
        """Tell the private stream what has changed; return when the last of it is heard."""
        if not self.book.told:
            return at_ns
        told, self.book.told = self.book.told, []
        if self.engine.hidden.hides(at_ns):
            told = [one for one in told if one.what != "TRADE" or not self._is_ours(one)]
        return self.stream.publish(told, at_ns, self.links.listeners())

    def _is_ours(self, told: Told) -> bool:
        return told.order is not None and self.book.orders[told.order.order_id].ours

    def _busted(self, trade: SimTrade, at_ns: int) -> None:
        self.stream.busted(trade, at_ns, self.links.listeners())
        self.tell(at_ns)

    def _half(self) -> int:
        return self.personality.latency_ns // 2


def _not_after_ns(write: Write, request: codec.Request) -> int:
    """Return until when a create counts as fresh: what the link was told, else the venue's own window."""
    if write.not_after_ns is not None:
        return write.not_after_ns
    sent_ms = codec.read_int(request.params, "timestamp") or 0
    return (sent_ms + (codec.read_int(request.params, "recvWindow") or RECV_WINDOW_MS)) * MS


def _refused(request: codec.Request, error: VenueError) -> bytes:
    """Return the envelope of an error, with both legs where there are two."""
    if not isinstance(error, LegsError):
        return codec.refusal(request.id, error)
    body = {"code": error.code, "msg": error.text, "data": error.data}
    return msgspec.json.encode({"id": request.id, "status": error.status, "error": body, "rateLimits": []})
