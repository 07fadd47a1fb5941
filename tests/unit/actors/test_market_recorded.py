"""Market data on recorded frames: the tape in virtual time, and a recording with edited-in faults."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.unit.actors.market_world import World, fanout, wiring
from tests.unit.core.recorded import BTC, ETH, FRAMES, RECORDINGS, events, instruments
from tradefan.actors.market_data import MarketData
from tradefan.actors.market_state import Fanout, MarketState, MarketWiring
from tradefan.core.book import GAP, Book
from tradefan.drivers.virtual import VirtualDriver
from tradefan.links.tape import open_recordings
from tradefan.messages.base import Message
from tradefan.messages.market import (
    BarsClosed,
    BookDelta,
    BookSnapshot,
    FeedQuality,
    Gap,
    Quality,
    Quote,
    SessionBreak,
    Trade,
)
from tradefan.messages.union import decode
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import ActorSpec, PortSpec, System, number_refs
from tradefan.units import SECOND, InstrumentId, Ref
from tradefan.venues.tape import Tape, cut

T0 = 1_800_000_000 * SECOND
SPAN, HISTORY = 60 * SECOND, 30 * SECOND
LIMITS = Limits(4096, 1_000_000, 256, 1024)


class Nothing(Struct):
    """The state of a listener."""


class Show:
    """Tape, market data and a listener in one kernel, in virtual time."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, Message]] = []
        refs = number_refs(["market", "listener", "feed"])
        both = wiring(*instruments().values())
        wired = MarketWiring("market", "binance", refs["feed"], "tape:", both.feeds)
        made = Fanout()
        for instrument in instruments():
            for kind in (Trade, Quote, BarsClosed, BookDelta, BookSnapshot, FeedQuality, SessionBreak, Gap):
                made.add(kind, instrument, Ref(refs["listener"]))
        show = self

        class Listener:
            def __init__(self, state: Nothing | None) -> None:
                self.state = state or Nothing()

            def handle(self, msg: Any, ctx: Context) -> None:
                show.heard.append((ctx.now_ns, msg))

            def view(self) -> Struct:
                return self.state

        self.actors: list[MarketData] = []

        def make(state: MarketState | None) -> MarketData:
            self.actors.append(MarketData(wired, made, state))
            return self.actors[-1]

        system = System(
            (
                ActorSpec("market", make, MarketState, LIMITS),
                ActorSpec("listener", Listener, Nothing, LIMITS),
            ),
            (PortSpec("feed", "market"),),
            Supervisor(
                "root",
                (Child("market", "actor"), Child("listener", "actor"), Child("feed", "link")),
                5,
                300 * SECOND,
                "escalate",
            ),
            decode,
            lambda _: None,
        )
        self.refs = refs
        self.kernel = Kernel(system, None, "x", now_ns=T0)
        tape = Tape(
            cut(open_recordings(FRAMES), SPAN),
            origin_ns=T0,
            exchange_info=(RECORDINGS / "instruments.json").read_bytes(),
            history_ns=HISTORY,
        )
        self.driver = VirtualDriver(self.kernel, {"feed": tape})

    def of(self, kind: type[Any], instrument: InstrumentId = BTC) -> list[Any]:
        return [msg for _, msg in self.heard if isinstance(msg, kind) and msg.instrument == instrument]


def rebuilt(show: Show, instrument: InstrumentId) -> Book:
    """Follow what was published, as the paper venue does."""
    book = Book()
    for _, msg in show.heard:
        if getattr(msg, "instrument", None) != instrument:
            continue
        if isinstance(msg, BookSnapshot):
            book.drop()
            book.load(msg)
        elif isinstance(msg, BookDelta):
            assert book.apply(msg) != GAP
    return book


def truth(instrument: InstrumentId, last_id: int) -> Book:
    """Rebuild the recording's book up to an id."""
    book = Book()
    for event in events(instrument, until_ns=1_723_161_330 * SECOND):
        if isinstance(event, BookSnapshot):
            book.load(event)
        elif isinstance(event, BookDelta) and (not book.synced or event.last_id <= last_id):
            book.apply(event)
    assert book.last_id == last_id
    return book


@pytest.mark.slow
def test_tape_when_it_plays_then_live_after_history_and_books_are_the_recordings() -> None:
    """History warms: its bars are not live; the published book is the venue's at its id (I-21)."""
    show = Show()
    show.driver.run_for(20 * SECOND)
    for instrument in instruments():
        assert [told.quality.value for told in show.of(FeedQuality, instrument)] == ["BLIND", "BLIND", "LIVE"]
        book = rebuilt(show, instrument)
        state = show.actors[0].state.feeds[instrument].book
        assert book.top() == state.top() == truth(instrument, book.last_id).top()
        bars = show.of(BarsClosed, instrument)
        assert [told.live for told in bars] == sorted(told.live for told in bars)
        fine = [bar for told in bars for bar in told.bars if bar.timeframe == "5s"]
        assert all(one.close_ns == later.open_ns for one, later in pairwise(fine))
        assert {told.live for told in bars} == {False, True}
        assert show.of(Gap, instrument) == []
    trades = show.of(Trade)
    assert all(later.trade_id == one.trade_id + 1 for one, later in pairwise(trades))
    assert all(trade.recv_ns >= T0 for trade in trades)


@pytest.mark.slow
def test_market_data_when_it_crashes_in_mid_lap_then_its_book_comes_back() -> None:
    """The predecessor's socket is closed, the tape gives the book at its position, with history again."""
    show = Show()
    show.driver.run_for(15 * SECOND)
    show.heard.clear()
    show.driver.inject(show.refs["market"], Quote(BTC, 1.0, 1.0, 2.0, 1.0, 1, 1))
    show.driver.run_for(SECOND // 10)
    assert len(show.actors) == 2
    book = rebuilt(show, BTC)
    assert book.top() == truth(BTC, book.last_id).top()
    show.driver.run_for(11 * SECOND)
    assert show.actors[1].state.connection.strangers > 0
    assert [told.quality for told in show.of(FeedQuality)][-1] is Quality.LIVE
    book = rebuilt(show, ETH)
    assert book.top() == truth(ETH, book.last_id).top()


@pytest.mark.slow
def test_laps_when_they_follow_each_other_then_sessions_break_and_ids_grow() -> None:
    """Each seam: STALE, a break before anything of the new lap, history again, LIVE."""
    show = Show()
    show.driver.run_for(100 * SECOND)
    breaks = [at_ns for at_ns, msg in show.heard if isinstance(msg, SessionBreak) and msg.instrument == BTC]
    assert len(breaks) == 3
    trades = show.of(Trade)
    assert all(later.trade_id > one.trade_id for one, later in pairwise(trades))
    assert [told.quality.value for told in show.of(FeedQuality)] == ["BLIND", "BLIND"] + [
        "LIVE",
        "STALE",
    ] * 3 + ["LIVE"]
    assert show.of(Gap) == []
    book = rebuilt(show, BTC)
    assert book.top() == show.actors[0].state.feeds[BTC].book.top()
    closed_ns = [bar.close_ns for told in show.of(BarsClosed) for bar in told.bars if bar.timeframe == "5s"]
    restarts = sum(later <= one for one, later in pairwise(closed_ns))
    assert restarts == 3


# --- faults that somebody edited into a recording -----------------------------------------------------------

TRX = InstrumentId("binance:TRX/USDT")


def trade_frames(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    with gzip.open(path, "rt") as lines:
        for row in csv.DictReader(lines):
            data = {"e": "trade", "s": row["Symbol"], "t": int(row["TradeId"])}
            data |= {"E": int(row["EventTime"]) // 1000, "T": int(row["TransactionTime"]) // 1000}
            data |= {"p": row["Price"], "q": row["Quantity"], "m": row["IsBuyerMarketMaker"] == "1"}
            yield int(row["TimestampOfReceive"]) * 1000, data, "trxusdt@trade"


def depth_frames(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Put the rows of one frame together; a row's own time counts where it differs from the others'."""
    frame: dict[str, Any] = {}
    recv_ns = 0
    with gzip.open(path, "rt") as lines:
        for row in csv.DictReader(lines):
            ids = (int(row["FirstUpdateId"]), int(row["FinalUpdateId"]))
            if frame and ids != (frame["U"], frame["u"]):
                yield recv_ns, frame, "trxusdt@depth@100ms"
                frame = {}
            recv_ns = int(row["TimestampOfReceive"]) * 1000
            if not frame:
                frame = {"e": "depthUpdate", "E": int(row["EventTime"]) // 1000, "s": row["Symbol"]}
                frame |= {"U": ids[0], "u": ids[1], "b": [], "a": []}
            frame["a" if row["IsAsk"] == "1" else "b"].append([row["Price"], row["Quantity"]])
    yield recv_ns, frame, "trxusdt@depth@100ms"


def played(frames: Iterator[tuple[int, dict[str, Any], str]]) -> World:
    """Give frames at their receive times; a snapshot that fits comes with the first."""
    btc = instruments()[BTC]
    trx = type(btc)(
        **{name: getattr(btc, name) for name in btc.__struct_fields__}
        | {"id": TRX, "symbol": "TRX/USDT", "base": "TRX"}
    )
    world = World(wiring(trx))
    first_ns = None
    for recv_ns, data, stream in frames:
        if first_ns is None:
            first_ns = recv_ns
            world.now_ns = recv_ns
            world.connect()
        world.sleep(max(0, (recv_ns - world.now_ns)) / SECOND)
        if recv_ns - first_ns > 3_000 * SECOND:
            break
        world.frame(data, stream)
        if world.actor.state.feeds[TRX].asking and world.asked_now("depth"):
            world.answer("depth", {"lastUpdateId": data["u"], "bids": [["0.2", "1"]], "asks": [["0.3", "1"]]})
    return world


@pytest.mark.slow
def test_edited_recording_when_played_then_each_fault_is_flagged_and_the_original_is_clean(
    reference_data: Path,
) -> None:
    """A repeated trade id, a jump, a zero time, a price below zero, a wrong update id."""
    folder = reference_data / "data-quality"
    trade_path = "test_{}_binance_trade_stream_spot_trxusdt_04-03-2025.csv.gz"
    depth_path = "test_{}_binance_difference_depth_stream_spot_trxusdt_04-03-2025.csv.gz"
    clean = played(trade_frames(folder / trade_path.format("positive")))
    assert (clean.take(Gap), clean.actor.view().feeds[0].counters.duplicates) == ([], 0)
    edited = played(trade_frames(folder / trade_path.format("negative")))
    assert [(gap.from_id, gap.to_id) for gap in edited.take(Gap)] == [(348656872, 348656872)]
    assert edited.actor.view().feeds[0].counters.duplicates == 1
    clean = played(depth_frames(folder / depth_path.format("positive")))
    assert (clean.take(Gap), clean.actor.view().bad_frames) == ([], {})
    edited = played(depth_frames(folder / depth_path.format("negative")))
    assert edited.actor.view().bad_frames == {"value": 1}
    assert [(gap.kind, gap.cause, gap.from_id, gap.to_id) for gap in edited.take(Gap)] == [
        ("book", "jump", 5434434570, 5434434570)
    ]
    assert fanout(edited.wiring).refs(Gap, TRX)
