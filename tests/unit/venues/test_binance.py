"""The codec of Binance spot: every word of the public market, and nothing but BadFrame for the rest."""

from __future__ import annotations

import contextlib
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.core.recorded import BTC, ETH, FRAMES, RECORDINGS, codec, instruments, raw_frames
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Bar, BookDelta, BookSnapshot, Quote, Ticker24h, Trade
from tradefan.messages.wire import Http, Received, Text
from tradefan.units import MINUTE, MS, SECOND, Asset
from tradefan.venues.binance import NO_SHIFT, BinanceSpot, Shift, kline_interval, parse_instruments
from tradefan.venues.feed_events import (
    Ack,
    AggTrade,
    BadFrame,
    Event,
    Instruments,
    Kline,
    Klines,
    Unmapped,
    VenueTime,
)

CAPTURE = Path(__file__).parents[2] / "data" / "wire-cryptofeed" / "BINANCE.jsonl.gz"
NOW = 1_723_161_254_087_896_568
TRADE = {
    "e": "trade", "E": 1723161255343, "s": "BTCUSDT", "t": 3735683259, "p": "61837.63000000",
    "q": "0.02000000", "T": 1723161255342, "m": True, "M": True,
}  # fmt: skip
TICKER = {
    "u": 50093239212, "s": "BTCUSDT", "b": "61837.63000000", "B": "3.78826000", "a": "61837.64000000",
    "A": "1.54698000",
}  # fmt: skip
DEPTH = {
    "e": "depthUpdate", "E": 1723161255308, "s": "BTCUSDT", "U": 50093239203, "u": 50093239207,
    "b": [["55653.87000000", "0.00000000"]], "a": [["61838.04000000", "0.32332000"]],
}  # fmt: skip
KLINE = {
    "e": "kline", "E": 1723161300001, "s": "BTCUSDT",
    "k": {
        "t": 1723161240000, "T": 1723161299999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 9, "o": "61837.63",
        "c": "61828.00", "h": "61860.80", "l": "61780.00", "v": "15.07702", "n": 9, "x": True, "q": "1",
        "V": "1", "Q": "1", "B": "0",
    },
}  # fmt: skip
DAY = {
    "e": "24hrTicker", "E": 1723161300001, "s": "BTCUSDT", "c": "61828.00", "o": "55000.01", "h": "62000",
    "l": "54000", "v": "40000.5", "q": "2400000000",
}  # fmt: skip
AGG = {
    "e": "aggTrade", "E": 1723161255343, "s": "BTCUSDT", "a": 7, "p": "61837.63", "q": "0.5",
    "f": 100, "l": 105, "T": 1723161255342, "m": False, "M": True,
}  # fmt: skip


def frame(data: Any, stream: str = "btcusdt@trade") -> bytes:
    return msgspec.json.encode({"stream": stream, "data": data})


def decode(body: bytes, shift: Shift = NO_SHIFT) -> tuple[Event, ...]:
    return codec().decode(Received("binance", 1, NOW, body), shift)


def answer(subject: str, body: bytes, shift: Shift = NO_SHIFT, status: int = 200) -> tuple[Event, ...]:
    return codec().answer(subject, Received("binance", 1, NOW, body, 7, status), shift)


def bad(body: bytes) -> str:
    with pytest.raises(BadFrame) as caught:
        decode(body)
    return caught.value.kind


# --- frames -------------------------------------------------------------------------------------------


def test_trade_when_buyer_was_the_maker_then_the_taker_sold() -> None:
    """Time is the trade's own, price and quantity are floats, `m` gives the aggressor."""
    sold = Trade(BTC, 3735683259, 61837.63, 0.02, "sell", 1723161255342 * MS, NOW)
    assert decode(frame(TRADE)) == (sold,)
    assert decode(frame({**TRADE, "m": False})) == (msgspec.structs.replace(sold, taker_side="buy"),)


def test_book_ticker_when_decoded_then_quote_with_update_id() -> None:
    """The one frame without a time keeps the receive time only."""
    quote = Quote(BTC, 61837.63, 3.78826, 61837.64, 1.54698, 50093239212, NOW)
    assert decode(frame(TICKER, "btcusdt@bookTicker")) == (quote,)


def test_depth_when_decoded_then_absolute_levels_and_both_ids() -> None:
    """A zero quantity stays: it removes the level."""
    delta = BookDelta(
        BTC, 50093239203, 50093239207, ((55653.87, 0.0),), ((61838.04, 0.32332),), 1723161255308 * MS, NOW
    )
    assert decode(frame(DEPTH, "btcusdt@depth@100ms")) == (delta,)


def test_streams_on_demand_when_decoded_then_kline_ticker_and_aggregate() -> None:
    """The bar counts its volume in lots; the aggregate keeps its own ids."""
    start = 1723161240 * SECOND
    prices = (61837.63, 61860.8, 61780.0, 61828.0)
    bar = Bar(BTC, "1m", start, start + MINUTE, *prices, 15.07702, 1507702, 9)
    day = Ticker24h(BTC, 61828.0, 55000.01, 62000.0, 54000.0, 40000.5, 2400000000.0, 1723161300001 * MS)
    agg = AggTrade(BTC, 7, 100, 105, 61837.63, 0.5, "buy", 1723161255342 * MS, NOW)
    assert decode(frame(KLINE, "btcusdt@kline_1m")) == (Kline(bar, closed=True),)
    assert decode(frame(DAY, "btcusdt@ticker")) == (day,)
    assert decode(frame(AGG, "btcusdt@aggTrade")) == (agg,)


@pytest.mark.parametrize(
    ("data", "stream"),
    [
        (TRADE, "btcusdt@trade"),
        (TICKER, "btcusdt@bookTicker"),
        (DEPTH, "btcusdt@depth@100ms"),
        (KLINE, "btcusdt@kline_1m"),
        (DAY, "btcusdt@ticker"),
        (AGG, "btcusdt@aggTrade"),
    ],
)
def test_frame_when_raw_or_spaced_then_reads_like_the_combined_one(data: Any, stream: str) -> None:
    """The form of the JSON says nothing: `/ws` sends the data alone, other servers put spaces."""
    combined = decode(frame(data, stream))
    assert decode(msgspec.json.encode(data)) == combined
    assert decode(json.dumps({"stream": stream, "data": data}, indent=1).encode()) == combined
    assert decode(json.dumps({"data": data, "stream": stream}).encode()) == combined


def test_decode_when_the_tape_shifts_then_times_and_ids_move() -> None:
    """The frame stays as recorded; receive times are moved by the tape itself."""
    shift = Shift(ns=10 * SECOND, ids=1_000_000_000)
    trade, delta, quote, day, kline, agg = (
        decode(frame(data, f"btcusdt@{stream}"), shift)[0]
        for data, stream in [
            (TRADE, "trade"), (DEPTH, "depth@100ms"), (TICKER, "bookTicker"), (DAY, "ticker"),
            (KLINE, "kline_1m"), (AGG, "aggTrade"),
        ]
    )  # fmt: skip
    assert isinstance(trade, Trade)
    assert isinstance(delta, BookDelta)
    assert isinstance(quote, Quote)
    assert isinstance(day, Ticker24h)
    assert isinstance(kline, Kline)
    assert isinstance(agg, AggTrade)
    assert (trade.trade_id, trade.event_ns, trade.recv_ns) == (4735683259, 1723161265342 * MS, NOW)
    assert (delta.first_id, delta.last_id) == (51093239203, 51093239207)
    assert delta.event_ns == 1723161265308 * MS
    assert (quote.update_id, quote.recv_ns) == (51093239212, NOW)
    assert day.event_ns == 1723161310001 * MS
    assert (kline.bar.open_ns, kline.bar.close_ns) == (1723161250000 * MS, 1723161310000 * MS)
    assert (agg.agg_id, agg.first_id, agg.last_id) == (1_000_000_007, 1_000_000_100, 1_000_000_105)


# --- answers to commands, news ------------------------------------------------------------------------


def test_ack_when_a_command_is_answered_then_its_request_and_the_error() -> None:
    """Both spellings of an error are known; without our id it is only counted."""
    refused = {"error": {"code": 2, "msg": "Invalid request"}, "id": 9}
    assert decode(b'{"result":null,"id":9}') == (Ack(9, None),)
    assert decode(json.dumps(refused).encode()) == (Ack(9, "2 Invalid request"),)
    assert decode(b'{"code":3,"msg":"Invalid JSON","id":9}') == (Ack(9, "3 Invalid JSON"),)
    assert decode(b'{"result":null,"id":"x"}') == (Unmapped("answer", "without an id"),)
    assert decode(b'{"error":{"code":2,"msg":"no"}}') == (Unmapped("answer", "no"),)


def test_word_when_unknown_then_unmapped_and_no_exception() -> None:
    """What the venue invents tomorrow is counted, not quarantined."""
    new_interval = {**KLINE, "k": {**KLINE["k"], "i": "7m"}}  # type: ignore[dict-item]
    assert decode(b'{"e":"serverShutdown","E":1}') == (Unmapped("answer", "without an id"),)
    assert decode(b'{"e":"forceOrder","s":"BTCUSDT"}') == (Unmapped("event", "forceOrder BTCUSDT"),)
    assert decode(frame(TRADE, "dogeusdt@trade")) == (Unmapped("stream", "dogeusdt@trade"),)
    assert decode(frame(new_interval, "btcusdt@kline_1m")) == (Unmapped("interval", "7m"),)


# --- what no market says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "stream"),
    [
        ({**TRADE, "p": "0.00000000"}, "trade"),
        ({**TRADE, "p": "-1"}, "trade"),
        ({**TRADE, "p": "NaN"}, "trade"),
        ({**TRADE, "p": "Infinity"}, "trade"),
        ({**TRADE, "p": "1e999"}, "trade"),
        ({**TRADE, "p": ""}, "trade"),
        ({**TRADE, "p": None}, "trade"),
        ({**TRADE, "p": True}, "trade"),
        ({**TRADE, "q": "0"}, "trade"),
        ({**TRADE, "q": "-0.1"}, "trade"),
        ({**TRADE, "T": 0}, "trade"),
        ({**TRADE, "T": 10**30}, "trade"),
        ({**TRADE, "t": -1}, "trade"),
        ({**TRADE, "e": "depthUpdate"}, "trade"),
        ({"e": "trade"}, "trade"),
        ([], "trade"),
        ({**TICKER, "B": "nan"}, "bookTicker"),
        ({**TICKER, "a": "0"}, "bookTicker"),
        ({**DEPTH, "E": 0}, "depth@100ms"),
        ({**DEPTH, "b": [["-1", "804627.7"]]}, "depth@100ms"),
        ({**DEPTH, "a": [["1", "-0.5"]]}, "depth@100ms"),
        ({**DEPTH, "a": [["1"]]}, "depth@100ms"),
        ({**DEPTH, "U": DEPTH["u"] + 1}, "depth@100ms"),  # type: ignore[operator]
    ],
)
def test_value_when_no_market_has_it_then_bad_frame(data: Any, stream: str) -> None:
    """Non-finite, non-positive, missing, mistyped: the frame is set aside whole."""
    assert bad(frame(data, f"btcusdt@{stream}")) == "value"


def test_symbol_when_not_the_streams_own_then_bad_frame() -> None:
    """A frame that contradicts itself moves no book."""
    assert bad(frame({**TRADE, "s": "ETHUSDT"})) == "symbol"
    assert bad(json.dumps({"stream": "btcusdt@trade", "data": {**TRADE, "s": "X"}}).encode()) == "symbol"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff\xfe",
        b"{",
        frame(TRADE)[:-20],
        frame(TRADE) + b"}",
        b'{"stream":"btcusdt@trade","data":' + b"[" * 100_000,
        b"[" * 100_000,
        frame(TRADE).replace(b"BTCUSDT", b"BTC\xffSDT"),
        b"<html>502</html>",
        b"null",
        b"17",
        b'"text"',
    ],
)
def test_garbage_when_decoded_then_bad_frame(body: bytes) -> None:
    """Truncated, not JSON, bad UTF-8, too deep: nothing but BadFrame comes out."""
    assert bad(body) in ("garbage", "value")


def test_frame_when_over_one_mebibyte_then_bad_before_it_is_read() -> None:
    """The bound stands in front of the decoder."""
    assert bad(frame({**TRADE, "x": "y" * (1 << 20)})) == "oversized"
    with pytest.raises(BadFrame, match="oversized"):
        answer(f"depth {BTC}", b" " * (1 << 20) + b"{}")


RECORDED = [raw for _, raw in zip(range(300), (raw for _, raw in raw_frames(BTC)), strict=False)]
JUNK = st.sampled_from(
    [b"", b"-", b"NaN", b"1e999", b"null", b"[", b"}", b"\xff", b'"', b"0", b"9" * 40, b"\\u0000"]
)


@given(st.sampled_from(RECORDED), st.integers(0, 400), st.integers(0, 40), JUNK)
def test_recorded_frame_when_damaged_anywhere_then_decodes_or_bad_frame(
    raw: bytes, at: int, length: int, junk: bytes
) -> None:
    """Cut, overwritten, spliced: `decode` and `answer` raise nothing but BadFrame."""
    damaged = raw[:at] + junk + raw[at + length :]
    for read in (decode, lambda body: answer(f"depth {BTC}", body)):
        try:
            told = read(damaged)
        except BadFrame:
            continue
        assert all(isinstance(event, Event) for event in told)


@given(st.binary(max_size=200))
@example(b"[]")
def test_any_bytes_when_decoded_then_nothing_but_bad_frame(body: bytes) -> None:
    """So do bytes of no origin, for every decoder of the codec."""
    for subject in (f"depth {BTC}", f"klines {BTC} 5s", "exchangeInfo", "time"):
        try:
            told = answer(subject, body)
        except BadFrame:
            continue
        # No klines at all is an answer.
        sense = [event for event in told if getattr(event, "bars", event)]
        if sense or not body.strip().startswith(b"["):
            pytest.fail(f"{subject} made sense of {body!r}")
    with contextlib.suppress(BadFrame):
        assert all(isinstance(event, Event) for event in decode(body))


# --- requests and their answers -----------------------------------------------------------------------


def test_plan_when_feeds_are_given_then_names_in_order_and_busy_streams() -> None:
    """Trades may be rare, so a mute trade stream is no failure."""
    plan = codec().plan("wss://host/", {BTC: ("trade", "depth"), ETH: ("book_ticker", "ticker")})
    streams = ("btcusdt@trade", "btcusdt@depth@100ms", "ethusdt@bookTicker", "ethusdt@ticker")
    assert plan == ("wss://host/stream", streams, ("btcusdt@depth@100ms", "ethusdt@bookTicker"))
    assert codec().stream_of(decode(frame(DEPTH, "btcusdt@depth@100ms"))[0]) == "btcusdt@depth@100ms"
    assert codec().stream_of(decode(frame(TICKER, "btcusdt@bookTicker"))[0]) == "btcusdt@bookTicker"
    assert codec().stream_of(decode(frame(TRADE))[0]) is None


def test_encode_when_asked_then_requests_in_wire_spelling() -> None:
    """Queries are percent-encoded once, here."""
    assert codec().subscribe(3, ("a@trade", "b@trade")) == Text(
        '{"method":"SUBSCRIBE","params":["a@trade","b@trade"],"id":3}'
    )
    assert codec().encode(f"depth {BTC}") == Http(
        "GET", "/api/v3/depth", (("symbol", "BTCUSDT"), ("limit", "1000"))
    )
    assert codec().encode(f"klines {ETH} 5s") == Http(
        "GET", "/api/v3/klines", (("symbol", "ETHUSDT"), ("interval", "1s"), ("limit", "1000"))
    )
    symbols = "%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D"
    assert codec().encode("exchangeInfo") == Http("GET", "/api/v3/exchangeInfo", (("symbols", symbols),))
    assert codec().encode("time") == Http("GET", "/api/v3/time")


def test_encode_when_the_symbol_is_not_ascii_then_percent_encoded() -> None:
    """MD-23: names are opaque; the venue lists such symbols."""
    odd = msgspec.structs.replace(instruments()[BTC], base=Asset("币安"), id="binance:币安/USDT")
    request = BinanceSpot([odd]).encode("depth binance:币安/USDT")
    assert request.query[0] == ("symbol", "%E5%B8%81%E5%AE%89USDT")


@pytest.mark.parametrize("subject", ["depth binance:X/Y", "klines x 250ms", "orders", ""])
def test_encode_when_the_venue_has_no_word_then_refused(subject: str) -> None:
    """An unknown instrument, timeframe or request is our caller's mistake, said so."""
    with pytest.raises(Refused):
        codec().encode(subject)


def test_kline_interval_when_the_venue_lacks_it_then_the_longest_that_divides() -> None:
    """So 1,000 rows reach as far back as they can."""
    wanted = {
        "1m": "1m",
        "5s": "1s",
        "10m": "5m",
        "90s": "1s",
        "4h": "4h",
        "2d": "1d",
        "7h": "1h",
        "45m": "15m",
    }
    assert {name: kline_interval(name) for name in wanted} == wanted


def test_snapshot_when_answered_then_levels_at_its_id() -> None:
    """The shift of a tape moves its id like every other."""
    body = b'{"lastUpdateId":5,"bids":[["1.5","2"]],"asks":[["1.6","3"]]}'
    assert answer(f"depth {BTC}", body, Shift(1, 10)) == (
        BookSnapshot(BTC, 15, ((1.5, 2.0),), ((1.6, 3.0),), NOW),
    )


def test_klines_when_answered_then_bars_folded_to_the_timeframe() -> None:
    """Five whole seconds make a bar; a part of one makes none."""
    rows = [
        [1723161240000 + 1000 * n, f"{10 + n}", f"{20 + n}", f"{1 + n}", f"{11 + n}", "0.5",
         1723161240999 + 1000 * n, "1", 2, "1", "1", "0"]
        for n in range(8)
    ]  # fmt: skip
    start = 1723161240 * SECOND
    first = Bar(BTC, "5s", start, start + 5 * SECOND, 10.0, 24.0, 1.0, 15.0, 2.5, 250_000, 10)
    assert answer(f"klines {BTC} 5s", json.dumps(rows).encode()) == (Klines(BTC, "5s", (first,)),)
    minute = [[1723161240000, "1", "2", "1", "2", "3", 1723161299999, "1", 2, "1", "1", "0"]]
    bar = Bar(BTC, "1m", start, start + MINUTE, 1.0, 2.0, 1.0, 2.0, 3.0, 300_000, 2)
    assert answer(f"klines {BTC} 1m", json.dumps(minute).encode()) == (Klines(BTC, "1m", (bar,)),)


def test_time_when_answered_then_venue_time() -> None:
    """In nanoseconds, like all times."""
    assert answer("time", b'{"serverTime":1723161255343}') == (VenueTime(1723161255343 * MS),)


def test_answer_when_its_subject_is_none_of_ours_then_bad_frame() -> None:
    """Nobody asked for it, so nothing is read into it."""
    with pytest.raises(BadFrame, match="nobody asked"):
        answer("orders", b"{}")


def test_answer_when_the_venue_says_no_then_refused_with_its_words() -> None:
    """That is no garbage: the machine asks again, the frame is not quarantined."""
    with pytest.raises(BadFrame, match="HTTP 429: slow down") as caught:
        answer(f"depth {BTC}", b"slow down", status=429)
    assert caught.value.kind == "refused"


# --- instruments --------------------------------------------------------------------------------------


def test_instruments_when_packaged_then_the_facts_of_the_recording() -> None:
    """Tick, lot, minimum quantity and notional are those of the data's README."""
    facts = {
        id_: (one.symbol, one.price_tick, one.qty_lot, one.min_qty, one.min_notional, one.status)
        for id_, one in instruments().items()
    }
    cent, five = Decimal("0.01"), Decimal(5)
    assert facts == {
        BTC: ("BTC/USDT", cent, Decimal("0.00001"), Decimal("0.00001"), five, "TRADING"),
        ETH: ("ETH/USDT", cent, Decimal("0.0001"), Decimal("0.0001"), five, "TRADING"),
    }
    assert codec().answer(
        "exchangeInfo", Received("b", 1, 2, (RECORDINGS / "instruments.json").read_bytes(), 1, 200)
    ) == (Instruments(tuple(instruments().values())),)


@pytest.mark.parametrize(
    ("path", "value"),
    [("tickSize", "0"), ("tickSize", "NaN"), ("stepSize", "-1"), ("minQty", None), ("maxQty", "x")],
)
def test_instruments_when_a_step_is_missing_or_absurd_then_bad_frame(path: str, value: str | None) -> None:
    """A symbol that cannot be quantised cannot be traded."""
    info = json.loads((RECORDINGS / "instruments.json").read_bytes())
    for item in info["symbols"][0]["filters"]:
        if path in item:
            item[path] = value
    with pytest.raises(BadFrame):
        parse_instruments(json.dumps(info).encode())


def test_instruments_when_the_status_is_new_then_unknown() -> None:
    """A word that we do not map is UNKNOWN, never an exception."""
    info = json.loads((RECORDINGS / "instruments.json").read_bytes())
    info["symbols"][0]["status"] = "AUCTION_MATCH"
    info["symbols"][1]["status"] = "HALT"
    statuses = [one.status for one in parse_instruments(json.dumps(info).encode(), version=3)]
    assert statuses == ["UNKNOWN", "HALT"]


# --- recorded traffic ---------------------------------------------------------------------------------


def test_recorded_minutes_when_decoded_then_as_many_of_each_as_its_readme_counts() -> None:
    """Every line of the recording has its meaning."""
    counts: dict[str, int] = {}
    for recv_ns, raw in raw_frames(ETH, ("20240808",)):
        message = Received("b", 1, recv_ns, raw, 1, 200)
        told = answer(f"depth {ETH}", raw) if raw[2:14] == b"lastUpdateId" else codec().decode(message)
        for event in told:
            counts[type(event).__name__] = counts.get(type(event).__name__, 0) + 1
    assert counts == {"Quote": 24077, "Trade": 6106, "BookDelta": 3434, "BookSnapshot": 1}
    assert (FRAMES / "LICENSE").read_text().startswith("MIT License")


def test_capture_of_another_day_when_decoded_then_no_frame_is_bad() -> None:
    """A capture of 2021 of small pairs reads alike: exchangeInfo, snapshots, all four streams."""
    with gzip.open(CAPTURE) as lines:
        records = [json.loads(line) for line in lines]
    listed = _capture_instruments(records)
    reader = BinanceSpot(listed.values())
    ids = {f"{one.base}{one.quote}": one.id for one in listed.values()}
    counts: dict[str, int] = {}
    for record in records:
        message = Received("b", 1, 5, record.get("data", "").encode(), 1, 200)
        if record["t"] == "recv":
            told = reader.decode(message)
        elif "/depth?" in record.get("url", ""):
            told = reader.answer(f"depth {ids[record['url'].split('symbol=')[1].split('&')[0]]}", message)
        else:
            continue
        for event in told:
            counts[type(event).__name__] = counts.get(type(event).__name__, 0) + 1
    assert counts == {"BookDelta": 177, "Quote": 84, "AggTrade": 2, "Kline": 2, "BookSnapshot": 4}


def _capture_instruments(records: list[dict[str, Any]]) -> dict[str, Instrument]:
    info = next(record for record in records if "exchangeInfo" in record.get("url", ""))
    symbols = json.loads(info["data"])["symbols"]
    wanted = [symbol for symbol in symbols if symbol["symbol"] in ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")]
    listed = parse_instruments(json.dumps({"symbols": wanted}).encode())
    assert [one.min_notional for one in listed if one.symbol == "NKN/USDT"] == [Decimal(10)]
    return {one.id: one for one in listed}
