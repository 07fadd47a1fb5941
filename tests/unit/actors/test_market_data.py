"""Market data: from raw frames to what subscribers hear, through disconnects, holes and garbage."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.actors.market_world import ALL, LINK, OWNER, T0, TRADER, World, fanout, wiring
from tests.unit.core.recorded import BTC, ETH, instruments
from tradefan.actors.market_data import MarketData
from tradefan.actors.market_state import Fanout
from tradefan.core.connection import Phase
from tradefan.core.quality import SUSPECT
from tradefan.core.quarantine import KEPT_MAX, Quarantine
from tradefan.errors import Defect
from tradefan.messages.control import Append, Started, Stop, Stopped
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import (
    AskBars,
    AskFeeds,
    AskRules,
    Bar,
    BarCorrected,
    BarHistory,
    BarsClosed,
    BookDelta,
    BookSnapshot,
    FeedQuality,
    FollowTrades,
    Gap,
    Quality,
    Quote,
    SessionBreak,
    Ticker24h,
    Trade,
)
from tradefan.messages.wire import Close, NotWritten, Open, Received, Write
from tradefan.runtime.system import RIM
from tradefan.units import MS, SECOND, InstrumentId, Ref


def states(world: World) -> list[tuple[str, str]]:
    return [(told.quality.value, told.reason) for told in world.take(FeedQuality, ALL)]


# --- start ------------------------------------------------------------------------------------------


def test_start_when_connected_then_subscribes_asks_for_the_book_and_becomes_live() -> None:
    """BLIND until 10 s after connection and book; the book is asked for with the first diff."""
    world = World().connect()
    assert world.asked("depth") == []
    world.delta(11, 12, {100.5: 2.0}).quote(12, 100.5, 101.0, qty=2.0)
    assert world.actor.state.connection.phase is Phase.LIVE
    world.snapshot(11)
    assert world.take(BookSnapshot) == [
        BookSnapshot(BTC, 12, ((100.5, 2.0), (100.0, 1.0)), ((101.0, 1.0),), world.now_ns)
    ]
    world.delta(13, 13, {}, {101.0: 2.0}).busy(10.1)
    assert states(world) == [("BLIND", "no connection"), ("BLIND", "no book"), ("LIVE", "")]


def test_frames_when_live_then_everybody_hears_in_order() -> None:
    """Trade, quote and change go out as they came."""
    world = World().live()
    world.sent.clear()
    at = world.actor.state.feeds[BTC].book.last_id
    world.trade(2, 100.5).delta(at + 1, at + 1, {99.0: 3.0}).quote(at + 2, 100.1, 100.9)
    now = world.now_ns
    assert world.sent == [
        (ALL, Trade(BTC, 2, 100.5, 0.1, "sell", now, now)),
        (ALL, BookDelta(BTC, at + 1, at + 1, ((99.0, 3.0),), (), now, now)),
        (ALL, Quote(BTC, 100.1, 1.0, 100.9, 1.0, at + 2, now)),
    ]


def test_view_when_live_then_shows_feed_and_connection() -> None:
    """Status asks between steps and changes nothing."""
    world = World().live()
    before = msgspec.msgpack.encode(world.actor.state)
    view = world.actor.view()
    assert msgspec.msgpack.encode(world.actor.state) == before
    (feed,) = view.feeds
    assert (view.venue, view.phase, view.opens, view.history) == ("binance", "LIVE", 1, False)
    assert (feed.instrument, feed.quality, feed.last_price, feed.bid, feed.ask) == (
        BTC,
        Quality.LIVE,
        100.5,
        100.0,
        101.0,
    )
    assert (feed.heard_ns, feed.session, feed.counters.trades) == (world.now_ns, view.generation, 1)


def test_fanout_when_a_kind_is_not_sent_then_defect() -> None:
    """A wrong subscription is a mistake of wiring, found at the start."""
    with pytest.raises(Defect, match="does not send Started"):
        Fanout().add(Started, BTC, ALL)
    with pytest.raises(Defect, match="nobody said"):
        Fanout().owner(OWNER)
    twice = Fanout()
    twice.add(Trade, BTC, ALL)
    twice.add(Trade, BTC, ALL)
    assert twice.refs(Trade, BTC) == (ALL,)


def test_message_when_not_for_market_data_then_defect() -> None:
    """Wiring that sends nonsense is seen."""
    with pytest.raises(Defect, match="does not take Append"):
        World().give(Append(1, 1, ()))


# --- trades -------------------------------------------------------------------------------------------


def test_trade_when_repeated_or_old_then_once() -> None:
    """MD-11: ids are consecutive, so what is not newer is a duplicate."""
    world = World().live()
    world.take(Trade)
    world.trade(2, 100.0).trade(2, 100.0).trade(1, 100.0).trade(3, 100.0)
    assert [trade.trade_id for trade in world.take(Trade)] == [2, 3]
    assert world.actor.view().feeds[0].counters.duplicates == 2


def test_trades_when_somebody_waits_for_prices_then_each_comes_until_he_waits_no_more() -> None:
    """Beside those who hear every trade anyway; a feed that is not here is passed over."""
    world = World().live()
    world.take(Trade)
    world.trade(2, 100.0)
    assert len(world.take(Trade)) == 1
    world.give(FollowTrades(BTC, on=True)).give(FollowTrades(InstrumentId("binance:NO/USDT"), on=True))
    world.trade(3, 100.0).trade(3, 100.0).trade(4, 101.0)
    assert [trade.trade_id for trade in world.take(Trade)] == [3, 3, 4, 4]
    world.give(FollowTrades(BTC, on=False)).trade(5, 100.0)
    assert len(world.take(Trade)) == 1


def test_trade_when_ids_jump_then_a_gap_is_written_down_and_the_feed_suspect() -> None:
    """MD-12: the hole has ids and times, and bars over it are not live."""
    world = World().live()
    world.take(FeedQuality)
    before_ns = world.now_ns
    world.trade(2, 100.0).sleep(0.1).trade(6, 100.0)
    assert world.take(Gap) == [Gap(BTC, "trades", before_ns, world.now_ns, 3, 5, "jump")]
    assert states(world) == [("SUSPECT", "trades are missing")]
    world.busy(2.1)
    assert states(world) == [("LIVE", "")]


def test_trades_when_old_ids_go_on_and_on_then_the_venue_counts_anew() -> None:
    """MD-07: repetitions never are newer than what we have; new trades of old ids are a reset."""
    world = World().live()
    world.trade(1_000, 100.0).take(Gap)
    old_ns = world.now_ns - 5 * SECOND
    for number in range(200):
        world.trade(2 + number, 100.0, event_ns=old_ns)
    assert world.actor.state.feeds[BTC].last_trade_id == 1_000
    world.busy(0.1)
    for number in range(200):
        world.trade(2 + number, 100.0)
    assert world.actor.state.feeds[BTC].last_trade_id == 201
    assert [(gap.from_id, gap.to_id, gap.cause) for gap in world.take(Gap)] == [
        (None, None, "ids began anew")
    ]


def test_trade_when_one_id_is_absurd_then_recovers() -> None:
    """A single wrong id must not make all later trades duplicates for ever."""
    world = World().live()
    world.trade(2**52, 100.0)
    for number in range(150):
        world.sleep(0.01).trade(2 + number, 100.0)
    assert world.actor.state.feeds[BTC].last_trade_id == 151


def test_agg_trades_when_single_ones_are_not_subscribed_then_they_are_the_trades() -> None:
    """Never both: volume would count twice."""
    agg = {"e": "aggTrade", "E": T0 // MS, "s": "BTCUSDT", "a": 7, "p": "5", "q": "2", "f": 1, "l": 3,
           "T": T0 // MS, "m": False}  # fmt: skip
    both = World(wiring(streams=("trade", "agg_trade"))).connect()
    only = World(wiring(streams=("agg_trade",))).connect()
    for world in (both, only):
        world.frame(agg, "btcusdt@aggTrade")
    assert both.take(Trade) == []
    assert only.take(Trade) == [Trade(BTC, 7, 5.0, 2.0, "buy", T0, T0)]


# --- book ---------------------------------------------------------------------------------------------


def test_book_when_its_chain_breaks_then_stale_resynced_and_sent_whole() -> None:
    """MD-06: STALE at once, a gap written down, a snapshot asked for, the buffered diff applied."""
    world = World().live()
    at = world.actor.state.feeds[BTC].book.last_id
    world.sent.clear()
    world.sleep(0.1).delta(at + 3, at + 4, {100.2: 1.0})
    assert world.take(BookDelta) == []
    assert [(gap.kind, gap.from_id, gap.to_id, gap.cause) for gap in world.take(Gap)] == [
        ("book", at + 1, at + 2, "jump")
    ]
    assert states(world) == [("STALE", "book: jump")]
    world.snapshot(at + 3)
    assert [(book.last_id, book.bids[0]) for book in world.take(BookSnapshot)] == [(at + 4, (100.2, 1.0))]
    world.busy(5.1)
    assert states(world) == [("LIVE", "")]
    assert world.actor.view().feeds[0].counters.resyncs == 1


def test_snapshot_when_too_old_refused_or_lost_then_asked_again_after_a_pause() -> None:
    """At once the first time, then after growing pauses: a sick venue is not hammered."""
    world = World().connect().quote(1, 100.0, 101.0).delta(20, 21)
    world.snapshot(10)
    assert world.asked("depth") == []
    world.sleep(2).answer("depth", {"code": -1003, "msg": "busy"}, status=429)
    world.sleep(3.9)
    assert world.asked("depth") == []
    world.sleep(0.2)
    (write,) = world.asked("depth")
    world.give(NotWritten("binance", write.gen, write.req, "EXPIRED"))
    world.sleep(8).snapshot(20)
    assert world.actor.state.feeds[BTC].book.last_id == 21
    assert [fields["reason"] for event, fields in world.logs if fields.get("subject") == f"depth {BTC}"] == [
        'refused: HTTP 429: {"code":-1003,"msg":"busy"}',
        "EXPIRED",
    ]


def test_snapshot_when_it_is_garbage_then_quarantined_and_asked_again() -> None:
    """An answer is read with the same care as a frame."""
    world = World().connect().quote(1, 100.0, 101.0).delta(20, 21)
    world.answer("depth", {"lastUpdateId": 20, "bids": [["-1", "1"]], "asks": []})
    assert world.actor.view().bad_frames == {"value": 1}
    assert world.sleep(2).snapshot(20).actor.state.feeds[BTC].book.synced


def test_book_when_crossed_then_withheld_suspect_and_resynced() -> None:
    """MD-08, I-21: nothing crossed is published; after 2 s the book is thrown away."""
    world = World().live()
    world.sent.clear()
    at = world.actor.state.feeds[BTC].book.last_id + 1
    world.delta(at, at, {101.0: 1.0})
    assert world.sent == []
    world.sleep(0.3)
    assert states(world) == [("SUSPECT", "book is crossed")]
    for number in range(1, 20):
        world.sleep(0.1).delta(at + number, at + number)
    assert [gap.cause for gap in world.take(Gap)] == ["crossed"]
    assert states(world) == [("STALE", "book: crossed")]
    world.delta(at + 20, at + 20).snapshot(at + 20)
    assert world.actor.view().feeds[0].counters.crossed == 1
    assert [book.last_id for book in world.take(BookSnapshot)] == [at + 20]


def test_book_when_uncrossed_again_then_sent_whole() -> None:
    """What subscribers missed meanwhile is in it."""
    world = World().live()
    world.sent.clear()
    at = world.actor.state.feeds[BTC].book.last_id + 1
    world.delta(at, at, {101.0: 1.0}).delta(at + 1, at + 1, {}, {101.0: 0.0, 102.0: 5.0})
    assert world.sent == [
        (ALL, BookSnapshot(BTC, at + 1, ((101.0, 1.0), (100.0, 1.0)), ((102.0, 5.0),), world.now_ns))
    ]


@pytest.mark.parametrize("book_first", [True, False])
def test_book_when_it_differs_from_book_ticker_at_the_same_id_then_suspect(book_first: bool) -> None:
    """Whichever of the two comes first; between two ids nothing is compared."""
    world = World().live()
    world.take(FeedQuality)
    at = world.actor.state.feeds[BTC].book.last_id + 1
    world.quote(at - 1 + 5, 99.0, 101.5)
    assert states(world) == []
    if book_first:
        world.delta(at, at + 9).quote(at + 9, 99.0, 101.0)
    else:
        world.quote(at + 9, 99.0, 101.0).delta(at, at + 9)
    assert states(world) == [("SUSPECT", "book and bookTicker differ")]
    assert world.actor.view().feeds[0].counters.mismatches == 1


def test_quote_when_no_book_ticker_is_subscribed_then_from_the_book() -> None:
    """Each change of the top is a quote, other changes are none."""
    world = World(wiring(streams=("trade", "depth"))).connect().delta(10, 10).snapshot(10)
    world.delta(11, 11, {99.0: 1.0}).delta(12, 12, {100.5: 2.0})
    now = world.now_ns
    assert world.take(Quote) == [
        Quote(BTC, 100.0, 1.0, 101.0, 1.0, 10, now),
        Quote(BTC, 100.5, 2.0, 101.0, 1.0, 12, now),
    ]


def test_quote_when_old_or_crossed_then_not_published() -> None:
    """Quotes never go backwards; a crossed one is counted."""
    world = World().live()
    world.take(Quote)
    at = world.actor.state.feeds[BTC].quote_id
    world.quote(at + 1, 100.0, 101.0).quote(at, 90.0, 91.0).quote(at + 2, 101.0, 101.0)
    assert [quote.update_id for quote in world.take(Quote)] == [at + 1]
    assert world.actor.view().feeds[0].counters.crossed == 1


def test_book_when_the_market_nears_its_range_then_renewed_without_a_break() -> None:
    """1,000 levels reach 200 USDT: a trend must not cost 5 s of trading every few minutes."""
    world = World().connect().quote(9, 100.0, 101.0).delta(10, 10)
    bids = [[str(100.0 - number / 100), "1"] for number in range(1_000)]
    world.answer("depth", {"lastUpdateId": 10, "bids": bids, "asks": [["101", "1"]]})
    world.busy(10.1).sent.clear()
    at = world.actor.state.feeds[BTC].book.last_id
    gone = {100.0 - number / 100: 0.0 for number in range(600)}
    world.delta(at + 1, at + 1, gone).delta(at + 2, at + 2, {94.01: 2.0})
    lower = [[str(94.0 - number / 100), "1"] for number in range(1_000)]
    world.answer("depth", {"lastUpdateId": at + 1, "bids": lower, "asks": [["101", "1"]]})
    book = world.actor.state.feeds[BTC].book
    assert (book.last_id, book.top(), book.qty_at("buy", 85.0)) == (at + 2, (94.01, 2.0, 101.0, 1.0), 1.0)
    assert (states(world), world.take(Gap)) == ([], [])
    assert world.actor.view().feeds[0].counters.renewals == 1


def test_delta_when_old_or_one_sided_then_counted_and_no_quote_made() -> None:
    """An old diff says nothing; a market without asks has no top, and its changes still go out."""
    world = World(wiring(streams=("depth",))).connect().delta(10, 10).snapshot(10)
    world.sent.clear()
    world.delta(9, 10, {100.5: 1.0}).delta(11, 11, {}, {101.0: 0.0})
    now = world.now_ns
    assert world.sent == [(ALL, BookDelta(BTC, 11, 11, (), ((101.0, 0.0),), now, now))]
    assert world.actor.view().feeds[0].counters.duplicates == 1


def test_renewal_when_its_snapshot_is_too_old_then_asked_again_and_the_book_goes_on() -> None:
    """A renewal never costs the book that stands."""
    world = World().connect().quote(9, 100.0, 101.0).delta(10, 10)
    bids = [[str(100.0 - number / 100), "1"] for number in range(1_000)]
    world.answer("depth", {"lastUpdateId": 10, "bids": bids, "asks": [["101", "1"]]}).sleep(2)
    world.delta(11, 11, {100.0 - number / 100: 0.0 for number in range(600)}).delta(12, 12).delta(13, 13)
    world.answer("depth", {"lastUpdateId": 10, "bids": bids, "asks": [["101", "1"]]})
    assert world.actor.state.feeds[BTC].book.last_id == 13
    world.sleep(2).answer("depth", {"lastUpdateId": 12, "bids": bids, "asks": [["101", "1"]]})
    assert world.actor.view().feeds[0].counters.renewals == 1


# --- bars -----------------------------------------------------------------------------------------------


def closings(world: World) -> list[tuple[list[tuple[str, int]], bool]]:
    return [
        ([(bar.timeframe, (bar.open_ns - T0) // SECOND) for bar in told.bars], told.live)
        for told in world.take(BarsClosed)
    ]


def test_bars_when_the_feed_is_live_then_live_and_before_the_trade_that_closed_them() -> None:
    """The trade belongs to the next bar."""
    world = World().live()
    world.busy(3).trade(2, 100.0)
    kinds = [type(msg) for _, msg in world.sent if isinstance(msg, Trade | BarsClosed)]
    assert kinds[-2:] == [BarsClosed, Trade]
    assert closings(world) == [([("5s", 5)], True), ([("5s", 10)], True)]


def test_bars_when_diffs_go_on_without_trades_then_close_by_their_venue_time() -> None:
    """Two seconds of grace behind the end."""
    world = World().live()
    world.take(BarsClosed)
    world.busy(4.8)
    assert closings(world) == []
    world.busy(0.1)
    assert closings(world) == [([("5s", 10)], True)]


def test_bars_when_everything_is_quiet_then_close_by_the_clock_until_the_feed_is_stale() -> None:
    """A quiet market still has time; a dead feed has none."""
    world = World().live()
    world.take(BarsClosed)
    world.sleep(30)
    assert closings(world) == [([("5s", 10)], False)]


def test_bars_when_the_feed_is_not_live_or_a_trade_is_missing_then_they_only_warm() -> None:
    """No decision is made on a bar that may be wrong."""
    world = World().live()
    world.take(BarsClosed)
    world.trade(5, 100.0).busy(2.9).trade(6, 100.0).busy(5).trade(7, 100.0).busy(5)
    world.actor.state.feeds[BTC].watch.mark(SUSPECT, "for this test", world.now_ns)
    world.trade(8, 100.0)
    assert closings(world) == [([("5s", 10)], False), ([("5s", 15)], True), ([("5s", 20)], False)]


def test_klines_when_subscribed_then_held_against_our_bars() -> None:
    """Whichever comes later counts a difference."""
    world = World(wiring(streams=(*("trade", "depth", "book_ticker"), "kline_1m")))
    world.live()
    world.sleep(55 - 0.1).trade(2, 7.0, 0.5)
    k = {"t": T0 // MS + 60_000, "T": T0 // MS + 119_999, "s": "BTCUSDT", "i": "1m", "o": "7", "h": "7",
         "l": "7", "c": "7", "v": "0.5", "n": 1, "x": True}  # fmt: skip
    kline = {"e": "kline", "E": 1, "s": "BTCUSDT", "k": k}
    world.frame(kline, "btcusdt@kline_1m")
    world.sleep(60).trade(3, 7.0)
    counters = world.actor.view().feeds[0].counters
    assert (counters.klines, counters.klines_differ) == (1, 0)
    world.frame({**kline, "k": {**k, "v": "0.6"}}, "btcusdt@kline_1m")
    assert (counters.klines, counters.klines_differ) == (2, 1)


def test_ticker_when_subscribed_then_handed_on() -> None:
    """Statistics of the venue go to who wants them."""
    day = {
        "e": "24hrTicker",
        "E": T0 // MS,
        "s": "BTCUSDT",
        "c": "2",
        "o": "1",
        "h": "3",
        "l": "1",
        "v": "5",
        "q": "9",
    }
    world = World(wiring(streams=("ticker",))).connect().frame(day, "btcusdt@ticker")
    assert world.take(Ticker24h) == [Ticker24h(BTC, 2.0, 1.0, 3.0, 1.0, 5.0, 9.0, T0)]


# --- disconnects, seams, restarts -------------------------------------------------------------------------


def test_disconnect_when_over_then_blind_the_missed_trades_a_gap_and_everything_new() -> None:
    """What was missed is written down with its ids; the bars over it only warm."""
    world = World().live()
    world.take(FeedQuality)
    before_ns, session = world.actor.state.feeds[BTC].last_trade_ns, world.gen
    world.close()
    assert states(world) == [("BLIND", "closed: 1006 gone")]
    world.sleep(1).connect().quote(500, 100.0, 101.0).delta(500, 500).snapshot(500).trade(9, 100.0)
    assert world.gen > session
    assert world.take(Gap) == [Gap(BTC, "trades", before_ns, world.now_ns, 2, 8, "disconnect")]
    assert world.take(SessionBreak) == []
    world.busy(10.1)
    assert states(world) == [("BLIND", "no book"), ("LIVE", "")]


def test_disconnect_when_no_trade_was_missed_then_no_gap_and_exact_bars() -> None:
    """The next id follows: nothing happened meanwhile."""
    world = World().live()
    world.take(BarsClosed)
    world.close().sleep(1).connect().quote(500, 100.0, 101.0).delta(500, 500).snapshot(500).trade(2, 100.0)
    world.busy(14.1).trade(3, 100.0)
    assert world.take(Gap) == []
    assert closings(world)[-1] == ([("5s", 20)], True)
    assert world.actor.view().feeds[0].bars_inexact == 0


def test_seam_when_a_lap_ends_then_session_break_and_nothing_of_before() -> None:
    """STALE, not BLIND; book, open bars and remembered bars are gone; opened again at once."""
    world = World().live()
    world.sleep(5).trade(2, 100.0).busy(0.1)
    world.sent.clear()
    world.close("seam", None)
    (opening,) = world.take(Open)
    (broken,) = world.take(SessionBreak)
    assert broken == SessionBreak(BTC, opening.gen, "seam", world.now_ns)
    world.sent.append((LINK, opening))
    world.connect(shift_id=10**9).quote(1, 50.0, 51.0).delta(1, 1).snapshot(1, 50.0, 51.0).trade(1, 50.5)
    world.give(AskBars(OWNER, BTC, {"5s": 10}))
    assert world.take(BarHistory) == [BarHistory(BTC, ())]
    assert [trade.trade_id for trade in world.take(Trade)] == [10**9 + 1]
    world.busy(5.1)
    assert states(world) == [("STALE", "seam"), ("LIVE", "")]
    assert world.take(Gap) == []


def test_history_when_old_frames_are_played_then_only_bars_leave_and_they_are_not_live() -> None:
    """Subscribers get the market as it stands when the live frames begin."""
    world = World(wiring(timeframes=("1s",))).connect(live_from_ns=T0)
    old_ns, world.now_ns = T0 - 10 * SECOND, T0
    for number in range(10):
        at_ns = old_ns + number * SECOND
        quote = {"u": number + 1, "s": "BTCUSDT", "b": "100", "B": "1", "a": "101", "A": "1"}
        at = {"s": "BTCUSDT", "T": at_ns // MS, "E": at_ns // MS}
        trade = {**at, "e": "trade", "t": number + 1, "p": "100", "q": "1", "m": True}
        depth = {**at, "e": "depthUpdate", "U": number + 1, "u": number + 1, "b": [], "a": []}
        world.frame(quote, "btcusdt@bookTicker", recv_ns=at_ns)
        world.frame(depth, "btcusdt@depth@100ms", recv_ns=at_ns)
        if number == 0:
            world.snapshot(1)
        world.frame(trade, "btcusdt@trade", recv_ns=at_ns)
    assert closings(world) == [([("1s", at)], False) for at in range(-9, -1)]
    assert (world.take(Quote), world.take(Trade), world.take(BookDelta), world.take(BookSnapshot)) == (
        [],
        [],
        [],
        [],
    )
    world.trade(11, 100.0)
    assert [book.last_id for book in world.take(BookSnapshot)] == [10]
    assert [quote.update_id for quote in world.take(Quote)] == [10]
    assert [trade.trade_id for trade in world.take(Trade)] == [11]
    assert world.actor.state.feeds[BTC].watch.quality is Quality.BLIND
    world.busy(10.1)
    assert states(world)[-1] == ("LIVE", "")


def test_crash_when_restarted_then_old_generation_closed_and_the_book_comes_back() -> None:
    """A new actor knows nothing: it opens anew, and closes the socket that is not its own, once."""
    world = World().live()
    old = world.gen
    world.sent.clear()
    world.crash()
    for _ in range(3):
        world.raw(b"{}", gen=old)
    assert world.take(Close) == [Close("binance", old)]
    assert world.actor.view().frames == 0
    world.connect().quote(500, 100.0, 101.0).delta(500, 500).snapshot(500)
    assert [book.last_id for book in world.take(BookSnapshot)] == [500]
    assert world.busy(10.1).actor.state.feeds[BTC].watch.quality is Quality.LIVE


def test_state_when_encoded_at_any_instant_then_a_new_actor_goes_on_alike() -> None:
    """Snapshot, restore, continue says the same as going on."""
    plain, restored = World(), World()
    for world in (plain, restored):
        world.live()
    restored.restored()
    for world in (plain, restored):
        world.sent.clear()
        at = world.actor.state.feeds[BTC].book.last_id
        world.trade(2, 100.0).delta(at + 3, at + 3).snapshot(at + 3).busy(8).close().sleep(2)
    assert restored.sent == plain.sent
    assert restored.actor.state == plain.actor.state


def test_stop_when_asked_then_closed_and_said_so_and_silent() -> None:
    """Nothing is opened again, no timer does anything."""
    world = World().live()
    gen = world.gen
    world.sent.clear()
    world.give(Stop(T0)).sleep(700)
    assert [msg for _, msg in world.sent if not isinstance(msg, FeedQuality)] == [
        Close("binance", gen),
        Stopped("market_data:binance"),
    ]
    assert (RIM, Stopped("market_data:binance")) in world.sent


def test_region_when_refused_then_blind_with_its_name() -> None:
    """HTTP 451 is no outage that goes away: the reason says what it is."""
    world = World().give(Started(0))
    world.close("HTTP 451", 451)
    assert states(world)[-1] == ("BLIND", "HTTP 451: the venue refuses this region")


def test_blind_when_it_lasts_then_said_once() -> None:
    """An alarm after 30 s, not one a second."""
    world = World().give(Started(0)).sleep(120)
    assert [event for event, _ in world.logs].count("feed_blind") == 1


# --- garbage ------------------------------------------------------------------------------------------------


def test_garbage_when_it_comes_then_quarantined_and_the_stream_goes_on() -> None:
    """MD-10: the last 100 are kept, the first KiB of each in hex."""
    world = World().live()
    for _ in range(150):
        world.sleep(1).raw(b"\xff" * 2000)
    kept = world.actor.state.quarantine.kept
    assert (len(kept), kept[-1].head, kept[-1].size) == (KEPT_MAX, "ff" * 1024, 2000)
    assert world.actor.view().bad_frames == {"garbage": 150}
    world.take(Trade)
    assert len(world.trade(2, 100.0).take(Trade)) == 1


def test_garbage_when_twenty_in_ten_seconds_then_reconnects() -> None:
    """A socket that sends nothing else is useless."""
    world = World().live()
    gen = world.gen
    for _ in range(20):
        world.raw(b"garbage")
    assert world.take(Close) == [Close("binance", gen)]
    assert world.actor.state.connection.phase is Phase.BACKOFF
    assert states(world)[-1][0] == "BLIND"
    assert world.sleep(1).take(Open) != []


def test_quarantine_when_its_counts_add_up_then_total() -> None:
    """Counts by kind, never lost."""
    quarantine = Quarantine()
    for number in range(5):
        quarantine.put(number, "value" if number else "garbage", "x", b"")
    assert (quarantine.total, quarantine.counts) == (5, {"garbage": 1, "value": 4})


def test_word_when_unknown_then_counted_and_bounded() -> None:
    """A new stream is no garbage; endless new words share one counter."""
    world = World().live()
    for number in range(300):
        world.frame({}, f"x{number}@trade")
    counts = world.actor.view().unmapped
    assert (len(counts), counts["others"], sum(counts.values())) == (101, 200, 300)


# --- history from klines ----------------------------------------------------------------------------------


def test_ask_bars_when_remembered_then_answered_at_once() -> None:
    """A trader that restarts in mid-session is warm at once; a tape needs no klines."""
    world = World().live()
    world.sleep(5).trade(2, 7.0).sleep(5).trade(3, 8.0)
    closed = [bar for told in world.take(BarsClosed) for bar in told.bars]
    world.give(AskBars(OWNER, BTC, {"5s": 2, "1m": 3, "1h": 0}))
    assert world.take(BarHistory, TRADER) == [BarHistory(BTC, tuple(closed[-2:]))]
    world.give(AskBars(OWNER, ETH, {"5s": 2}))
    assert world.take(BarHistory, TRADER) == [BarHistory(ETH, ())]


def test_ask_when_somebody_begins_then_hears_how_the_feed_is() -> None:
    """Quality is told on change, and who begins heard no change."""
    world = World().live()
    world.sent.clear()
    now = FeedQuality(BTC, Quality.LIVE, "", T0 + 10 * SECOND, world.gen)
    world.give(AskBars(OWNER, BTC, {}))
    assert world.sent == [(TRADER, BarHistory(BTC, ())), (TRADER, now)]
    world.sent.clear()
    world.give(AskFeeds())
    assert world.sent == [(ALL, now), (ALL, world.actor.state.feeds[BTC].quote)]


def kline_rows(count: int, until_ns: int) -> list[list[Any]]:
    first_ms = until_ns // MS - count * 1_000
    return [
        [first_ms + 1_000 * n, "5", "6", "4", "5", "0.1", first_ms + 1_000 * n + 999, "1", 1, "1", "1", "0"]
        for n in range(count)
    ]


def test_ask_bars_when_not_remembered_then_from_klines_and_the_open_one_is_dropped() -> None:
    """5 s bars come of 1 s klines; own bars win over the venue's of the same time."""
    world = World(wiring(klines=True)).live()
    world.sleep(5).trade(2, 7.0)
    own = [bar for told in world.take(BarsClosed) for bar in told.bars][-1]
    world.give(AskBars(OWNER, BTC, {"5s": 4}))
    assert world.take(BarHistory) == []
    world.answer("klines", kline_rows(40, T0 + 20 * SECOND))
    (history,) = world.take(BarHistory, TRADER)
    assert [(bar.open_ns - T0) // SECOND for bar in history.bars] == [-5, 0, 5, 10]
    assert history.bars[-1] == own
    assert history.bars[0] == Bar(BTC, "5s", T0 - 5 * SECOND, T0, 5.0, 6.0, 4.0, 5.0, 0.5, 50_000, 5)


def test_ask_bars_when_not_connected_then_waits_and_when_refused_then_answers_with_what_there_is() -> None:
    """The trader always gets its answer."""
    world = World(wiring(klines=True)).give(Started(0))
    world.give(AskBars(OWNER, BTC, {"5s": 4})).sleep(6)
    assert (world.take(BarHistory), world.asked("klines")) == ([], [])
    world.connect().quote(1, 1.0, 2.0).delta(1, 1).sleep(2.1)
    for _ in range(5):
        assert world.take(BarHistory) == []
        world.answer("klines", {"code": -1, "msg": "no"}, status=400).sleep(2.1)
    assert world.take(BarHistory, TRADER) == [BarHistory(BTC, ())]
    assert [event for event, _ in world.logs].count("klines_failed") == 1


# --- rules ------------------------------------------------------------------------------------------------


def test_rules_when_the_venue_changed_them_then_a_new_version_for_everybody() -> None:
    """MD-17: asked at each connection and every ten minutes; the same rules are no news.

    Who begins later, an order manager in its second life, hears of them when it asks for the feeds.
    """
    world = World().live()
    symbol = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"}

    def told(lot: str, status: str) -> dict[str, Any]:
        lots = {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": lot}
        price = {"filterType": "PRICE_FILTER", "tickSize": "0.01"}
        notional = {"filterType": "NOTIONAL", "minNotional": "5"}
        return {"symbols": [{**symbol, "status": status, "filters": [lots, price, notional]}]}

    world.answer("exchangeInfo", told("0.00001", "TRADING"))
    assert world.take(InstrumentUpdate) == []
    world.busy(587.8)
    assert world.asked("exchangeInfo") == []
    world.busy(0.2).answer("exchangeInfo", told("0.0001", "HALT"))
    (update,) = world.take(InstrumentUpdate)
    changed = msgspec.structs.replace(
        instruments()[BTC], qty_lot=update.instrument.qty_lot, status="HALT", version=2
    )
    assert (update.instrument, str(changed.qty_lot)) == (changed, "0.0001")
    assert world.actor.state.feeds[BTC].bars.lot == 0.0001
    assert world.actor.state.feeds[BTC].bars.begun_ns is None
    world.give(AskFeeds())
    assert world.take(InstrumentUpdate) == [update]


def test_late_trade_when_its_bar_is_closed_then_the_store_alone_hears_of_the_bar_again() -> None:
    """A closed bar stays closed for everybody who decides; the store's row takes the trade."""
    world = World().live()
    start = world.now_ns - world.now_ns % (60 * SECOND) + 60 * SECOND
    world.busy((start - world.now_ns) / SECOND + 1)
    seen = world.actor.state.feeds[BTC].last_trade_id
    world.trade(seen + 1, 100.0, 0.5, event_ns=start + SECOND)
    world.busy(60)
    world.trade(seen + 2, 101.0, 0.5, event_ns=world.now_ns)
    closed = [bar for one in world.take(BarsClosed) for bar in one.bars if bar.open_ns == start]
    assert [(bar.timeframe, bar.high, bar.trades) for bar in closed if bar.timeframe == "1m"] == [
        ("1m", 100.0, 1)
    ]
    world.trade(seen + 3, 105.0, 0.25, event_ns=start + 2 * SECOND)
    assert world.take(BarsClosed) == []
    minute = [one.bar for one in world.take(BarCorrected) if one.bar.timeframe == "1m"]
    assert [(bar.open_ns, bar.open, bar.high, bar.low, bar.close) for bar in minute] == [
        (start, 100.0, 105.0, 100.0, 100.0)
    ]
    assert (minute[0].trades, minute[0].volume) == (2, 0.75)


OTHER = InstrumentId("other:BTC/USDT")


def test_rules_when_an_order_broke_a_filter_then_read_again_once_for_a_moment() -> None:
    """A reject by a filter reads the venue's rules again; twenty rejects are one question."""
    world = World().live()
    world.answer("exchangeInfo", {"symbols": []})
    for _ in range(20):
        world.give(AskRules(BTC))
    assert len(world.asked("exchangeInfo")) == 1
    world.give(AskRules(OTHER))
    world.busy(10)
    world.give(AskRules(BTC))
    assert len(world.asked("exchangeInfo")) == 1


def test_link_when_down_or_deaf_then_the_connection_reconnects() -> None:
    """No frame at all for 30 s ends the generation; the next one is opened after a back-off."""
    world = World().live()
    gen = world.gen
    world.sent.clear()
    world.sleep(31)
    assert world.take(Close) == [Close("binance", gen)]
    assert len(world.take(Open)) == 1


def test_fanout_when_two_instruments_then_each_to_its_own() -> None:
    """One feed's break is not the other's."""
    both = wiring(instruments()[BTC], instruments()[ETH])
    made = fanout(both)
    made.add(Trade, ETH, Ref(99))
    assert (made.refs(Trade, BTC), made.refs(Trade, ETH)) == ((ALL,), (ALL, Ref(99)))
    world = World(both).connect()
    world.trade(1, 5.0)
    assert [trade.instrument for trade in world.take(Trade)] == [BTC]
    writes = [msg for _, msg in world.sent if isinstance(msg, Write)]
    assert writes == []


def test_answer_when_nobody_asked_then_ignored() -> None:
    """A late answer of a request that timed out says nothing any more."""
    world = World().live()
    world.sent.clear()
    world.give(Received("binance", world.gen, world.now_ns, b"{}", 9_999, 200))
    assert world.sent == []


def test_bars_when_a_timeframe_goes_and_comes_back_then_what_was_remembered_is_not_told() -> None:
    """Between its last bar and the next one lies what nobody has followed."""
    world = World(wiring(timeframes=("5s", "1m")))
    kept = world.actor.state.feeds[BTC].kept
    kept["5s"], kept["1m"] = [_bar_of("5s")], [_bar_of("1m")]
    for timeframes in (("1m",), ("5s", "1m")):
        wired = wiring(timeframes=timeframes)
        world.actor = MarketData(wired, fanout(wired), world.actor.state)
    assert list(world.actor.state.feeds[BTC].kept) == ["1m"]


def _bar_of(timeframe: str) -> Bar:
    return Bar(BTC, timeframe, 0, 5, 1.0, 1.0, 1.0, 1.0, 0.0, 0, 0)
