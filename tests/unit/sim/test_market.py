"""The synthetic market: frames that the codec reads, prices on the grid, and each kind of trouble."""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from tests.unit.sim.wired import BTC, CROSS, ETH, INSTRUMENTS
from tradefan.core.book import APPLIED, Book
from tradefan.messages.base import Message
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import BookDelta, BookSnapshot, Quote, Trade
from tradefan.messages.wire import Closed, Http, Open, Received, Write
from tradefan.sim.kinds import MARKET_KINDS
from tradefan.sim.market import FRAMES_MAX_S, SimMarket
from tradefan.units import MINUTE, SECOND, InstrumentId, exact
from tradefan.venues.binance import SNAPSHOT_LIMIT, BinanceSpot, parse_instruments
from tradefan.venues.feed_events import BadFrame, Klines

T0 = 1_700_000_000 * SECOND
STREAMS = ("trade", "depth", "book_ticker")


class Listener:
    """One connection to the market that keeps what it hears, read by the codec."""

    def __init__(
        self, *kinds: str, seed: int = 1, streams: tuple[str, ...] = STREAMS, **settings: Any
    ) -> None:
        self.notes: list[str] = []
        self.market = SimMarket(
            INSTRUMENTS, seed, kinds=kinds, note=lambda kind, _text: self.notes.append(kind), **settings
        )
        self.codec = BinanceSpot(INSTRUMENTS)
        self.plan = self.codec.plan("sim:", {one.id: streams for one in INSTRUMENTS})
        self.now_ns, self.gen, self.req = T0, 0, 0
        self.up = False
        self.heard: list[Message] = []
        self.events: list[tuple[int, Any]] = []
        self.bad: list[str] = []
        self.answers: dict[int, Received] = {}

    def connect(self) -> None:
        """Open and subscribe."""
        self.gen += 1
        self.up = True
        self.market.apply(self.now_ns, Open("binance", self.gen, "sim:"))
        self.run(0.1)
        self.req += 1
        body = self.codec.subscribe(self.req, self.plan.streams)
        self.market.apply(self.now_ns, Write("binance", self.gen, self.req, "subscribe", None, body))
        self.run(0.1)

    def run(self, seconds: float) -> None:
        """Let time pass, event by event."""
        until_ns = self.now_ns + int(seconds * SECOND)
        while (due_ns := self.market.next_ns()) is not None and due_ns <= until_ns:
            self.now_ns = max(self.now_ns, due_ns)
            for message in self.market.take(self.now_ns, 256):
                self._hear(message)
        self.now_ns = until_ns

    def ask(self, subject: str) -> Received:
        """Ask over HTTP and wait for the answer."""
        self.req += 1
        body = self.codec.encode(subject)
        self.market.apply(self.now_ns, Write("binance", self.gen, self.req, "query", None, body))
        self.run(0.05)
        return self.answers[self.req]

    def listen(self, seconds: float) -> None:
        """Let time pass and come back whenever the connection is gone."""
        for _ in range(int(seconds)):
            if not self.up:
                self.connect()
            self.run(1)

    def of(self, kind: type[Any], instrument: Instrument) -> list[tuple[int, Any]]:
        """Return events of one kind with the instants at which they were heard."""
        found = [(at_ns, event) for at_ns, event in self.events if type(event) is kind]
        return [(at_ns, event) for at_ns, event in found if event.instrument == instrument.id]

    def _hear(self, message: Message) -> None:
        self.heard.append(message)
        if isinstance(message, Closed):
            self.up = False
        elif isinstance(message, Received) and message.req is not None:
            self.answers[message.req] = message
        elif isinstance(message, Received):
            try:
                self.events += [(self.now_ns, event) for event in self.codec.decode(message)]
            except BadFrame as bad:
                self.bad.append(bad.kind)


def test_frames_when_nothing_goes_wrong_then_the_codec_reads_them_and_they_are_few() -> None:
    """Trades, quotes and depth of each instrument, never more than 20 frames in any second."""
    listener = Listener(frames_s=15.0)
    listener.connect()
    listener.run(300)
    assert listener.bad == []
    for instrument in INSTRUMENTS:
        assert len(listener.of(Trade, instrument)) > 50
        assert len(listener.of(Quote, instrument)) == len(listener.of(BookDelta, instrument)) > 200
    instants = [at_ns for at_ns, _ in listener.events]
    most = max(
        sum(begin <= at < begin + SECOND for at in instants[i : i + 40]) for i, begin in enumerate(instants)
    )
    assert FRAMES_MAX_S / 3 < most <= FRAMES_MAX_S


def test_trades_when_heard_then_their_ids_are_consecutive_and_their_prices_on_the_grid() -> None:
    """Whoever sees a jump has lost something."""
    listener = Listener()
    listener.connect()
    listener.run(300)
    for instrument in INSTRUMENTS:
        trades = [trade for _, trade in listener.of(Trade, instrument)]
        assert [trade.trade_id for trade in trades] == list(
            range(trades[0].trade_id, trades[0].trade_id + len(trades))
        )
        assert all(exact(trade.price) % instrument.price_tick == 0 for trade in trades)
        assert all(exact(trade.qty) % instrument.qty_lot == 0 for trade in trades)


def test_depth_when_a_snapshot_is_loaded_then_the_book_follows_and_agrees_with_the_quotes() -> None:
    """The chain of ids has no hole, and the top of the book is the best quote at each id."""
    listener = Listener()
    listener.connect()
    listener.run(5)
    for instrument in INSTRUMENTS:
        book = Book()
        (snapshot,) = listener.codec.answer(f"depth {instrument.id}", listener.ask(f"depth {instrument.id}"))
        assert isinstance(snapshot, BookSnapshot)
        assert book.load(snapshot, SNAPSHOT_LIMIT) == APPLIED
        begin = len(listener.events)
        listener.run(60)
        quotes = {quote.update_id: quote for _, quote in listener.of(Quote, instrument)}
        for _, event in listener.events[begin:]:
            if isinstance(event, BookDelta) and event.instrument == instrument.id:
                assert book.apply(event) == APPLIED
                quote = quotes[event.last_id]
                assert book.top() == (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty)


def test_touch_when_a_quote_was_heard_then_it_is_what_the_venue_trades_at() -> None:
    """Venue and market are one."""
    listener = Listener()
    listener.connect()
    listener.run(30)
    for instrument in INSTRUMENTS:
        _, quote = listener.of(Quote, instrument)[-1]
        assert listener.market.touch(instrument.id, "buy") == exact(quote.ask)
        assert listener.market.touch(instrument.id, "sell") == exact(quote.bid)
        assert listener.market.price(instrument.id) == exact(listener.of(Trade, instrument)[-1][1].price)


def test_rules_when_asked_then_they_are_the_instruments() -> None:
    """`exchangeInfo` reads back as what the market was made of."""
    listener = Listener()
    listener.connect()
    assert parse_instruments(listener.ask("exchangeInfo").body) == INSTRUMENTS


def test_klines_when_asked_then_bars_end_with_now() -> None:
    """They touch each other, and the last one is still open."""
    listener = Listener()
    listener.connect()
    listener.run(10)
    subject = f"klines {BTC.id} 1m"
    (klines,) = listener.codec.answer(subject, listener.ask(subject))
    assert isinstance(klines, Klines)
    opens = [bar.open_ns for bar in klines.bars]
    assert [later - earlier for earlier, later in pairwise(opens)] == [MINUTE] * (len(opens) - 1)
    assert opens[-1] <= listener.now_ns < opens[-1] + MINUTE
    assert all(
        bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in klines.bars
    )


def test_market_when_nobody_listens_then_it_goes_on_as_it_would_have() -> None:
    """A crash of the process ends its connection; the prices are the same as without."""
    one, other = Listener(seed=3), Listener(seed=3)
    for listener in (one, other):
        listener.connect()
        listener.run(30)
    one.market.crash()
    heard = len(one.heard)
    for listener in (one, other):
        listener.run(60)
    assert len(one.heard) == heard
    for instrument in INSTRUMENTS:
        for side in ("buy", "sell"):
            assert one.market.touch(instrument.id, side) == other.market.touch(instrument.id, side)
    one.connect()
    one.run(10)
    assert one.events[-1][0] > one.now_ns - 5 * SECOND


# --- trouble ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", tuple(MARKET_KINDS))
def test_kind_when_it_is_on_then_it_happens_and_nothing_else_does(kind: str) -> None:
    """Half an hour or two, with requests, until it came at least once."""
    listener = Listener(kind)
    for _ in range(240):
        listener.listen(30)
        if listener.up:
            listener.ask("exchangeInfo")
        if kind in listener.notes:
            break
    assert set(listener.notes) == {kind}


def test_kinds_when_all_are_off_then_nothing_is_noted_and_nothing_is_bad() -> None:
    """A good market for half an hour."""
    listener = Listener()
    listener.listen(1800)
    assert (listener.notes, listener.bad) == ([], [])


def until(listener: Listener, kind: str) -> None:
    """Listen until a kind was noted."""
    while kind not in listener.notes:
        listener.listen(1)


def test_stall_when_it_holds_then_no_frame_of_it_is_heard_and_the_price_goes_on() -> None:
    """Silence without an end of the connection; afterwards ids go on without a hole."""
    listener = Listener("market_stall", seed=2)
    listener.listen(1200)
    gaps = [
        later - earlier
        for instrument in INSTRUMENTS
        for (earlier, _), (later, _) in pairwise(listener.of(Quote, instrument))
    ]
    assert max(gaps) > 10 * SECOND
    assert not any(isinstance(message, Closed) for message in listener.heard)
    for instrument in INSTRUMENTS:
        deltas = [delta for _, delta in listener.of(BookDelta, instrument)]
        assert all(b.first_id == a.last_id + 1 for a, b in pairwise(deltas))


def test_frozen_when_it_holds_then_frames_keep_coming_with_one_time() -> None:
    """Receive times move, event times do not."""
    listener = Listener("market_frozen")
    until(listener, "market_frozen")
    listener.run(1)
    begin = len(listener.events)
    listener.run(1.5)
    times = [event.event_ns for _, event in listener.events[begin:] if isinstance(event, BookDelta)]
    late = [at_ns - event.event_ns for at_ns, event in listener.events if isinstance(event, BookDelta)]
    assert len(set(times)) < len(times)
    assert max(late) > SECOND


def test_gap_when_it_happens_then_ids_jump() -> None:
    """A hole in the chain of depth or of trades."""
    listener = Listener("market_gap")
    listener.listen(900)
    jumps = 0
    for instrument in INSTRUMENTS:
        deltas = [delta for _, delta in listener.of(BookDelta, instrument)]
        jumps += sum(b.first_id > a.last_id + 1 for a, b in pairwise(deltas))
    assert jumps


def test_crossed_when_it_holds_then_the_bid_is_above_the_ask_and_the_venue_trades_as_before() -> None:
    """Only what is shown is crossed."""
    listener = Listener("market_crossed", streams=("book_ticker",))
    until(listener, "market_crossed")
    quotes = [event for _, event in listener.events if isinstance(event, Quote) and event.bid >= event.ask]
    assert quotes
    for instrument in INSTRUMENTS:
        assert listener.market.touch(instrument.id, "sell") < listener.market.touch(instrument.id, "buy")


def test_flash_crash_when_it_happens_then_a_price_loses_87_percent_and_comes_back() -> None:
    """In one move, and in trades that are as real as any."""
    listener = Listener("flash_crash")
    before = {one.id: listener.market.price(one.id) for one in INSTRUMENTS}
    until(listener, "flash_crash")
    listener.run(2)
    low = [listener.market.touch(one.id, "buy") / before[one.id] for one in INSTRUMENTS]
    assert min(low) < Decimal("0.2")
    assert sorted(low)[1] > Decimal("0.5")
    listener.market.heal(listener.now_ns)
    listener.run(10)
    assert all(listener.market.touch(one.id, "buy") / before[one.id] > Decimal("0.5") for one in INSTRUMENTS)


@pytest.mark.parametrize(("kind", "status"), [("halt", "HALT"), ("delist", "BREAK")])
def test_stop_when_it_holds_then_the_rules_say_so_and_its_frames_cease(kind: str, status: str) -> None:
    """One instrument stands still, the others go on; healing brings it back."""
    listener = Listener(kind)
    until(listener, kind)
    told = {one.id: one.status for one in parse_instruments(listener.ask("exchangeInfo").body)}
    (stopped,) = [one for one in INSTRUMENTS if told[one.id] == status]
    begin = len(listener.events)
    listener.run(4)
    heard = [getattr(event, "instrument", None) for _, event in listener.events[begin:]]
    assert stopped.id not in heard
    assert heard
    listener.market.heal(listener.now_ns)
    listener.run(10)
    assert listener.market.rules(stopped.id).status == "TRADING"
    assert listener.of(Quote, stopped)[-1][0] > listener.now_ns - 9 * SECOND


def test_filter_change_when_it_happens_then_rules_and_prices_are_of_the_new_grid() -> None:
    """Tick or lot are other multiples, and quotes keep to the new tick."""
    listener = Listener("filter_change")
    rules: dict[InstrumentId, Instrument] = {}
    for _ in range(40):
        listener.listen(60)
        rules = {one.id: one for one in parse_instruments(listener.ask("exchangeInfo").body)}
        assert rules == {one.id: listener.market.rules(one.id) for one in INSTRUMENTS}
        listener.run(10)
        for instrument in INSTRUMENTS:
            _, quote = listener.of(Quote, instrument)[-1]
            assert exact(quote.bid) % listener.market.rules(instrument.id).price_tick == 0
    ticks = [rules[one.id].price_tick / one.price_tick for one in (BTC, ETH, CROSS)]
    lots = [rules[one.id].qty_lot / one.qty_lot for one in (BTC, ETH, CROSS)]
    assert set(ticks) | set(lots) > {Decimal(1)}
    for walk in listener.market.walks.values():
        walk.coarsen(1, 1)
    assert parse_instruments(listener.ask("exchangeInfo").body) == INSTRUMENTS


def test_refused_when_it_holds_then_http_fails_and_the_stream_goes_on() -> None:
    """503 in a proxy's words."""
    listener = Listener("market_refused")
    listener.connect()
    while listener.ask("exchangeInfo").status == 200:
        listener.listen(2)
    begin = len(listener.events)
    listener.run(3)
    assert len(listener.events) > begin


def test_market_when_the_seed_is_the_same_then_so_are_all_frames() -> None:
    """Whoever else asks in between changes nothing; another seed is another market."""

    def frames(seed: int, *, look: bool) -> str:
        listener = Listener(*MARKET_KINDS, seed=seed)
        digest = blake2b()
        for _ in range(20):
            listener.listen(30)
            if look:
                listener.market.advance(listener.now_ns + SECOND // 3)
        for message in listener.heard:
            digest.update(msgspec.msgpack.encode(message))
        return digest.hexdigest()

    assert frames(5, look=False) == frames(5, look=True) != frames(6, look=False)


def test_http_when_it_is_unknown_then_it_is_refused() -> None:
    """The market has no more than what is asked of it."""
    listener = Listener()
    listener.connect()
    listener.market.apply(
        listener.now_ns, Write("binance", listener.gen, 99, "query", None, Http("GET", "/api/v3/nothing"))
    )
    listener.run(0.1)
    assert listener.answers[99].status == 400
