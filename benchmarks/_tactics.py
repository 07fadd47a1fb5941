"""Table (ii): tactics on recorded frames, through the whole daemon and the paper venue with its queue.

Ten windows of a minute of BTC and of ETH, one order in each at an instant drawn by the seed, in five passes
over the recording. Costs are against the mid at that instant; the naive order takes equal slices at the
touch, at the instants of a schedule of as many slices, without the latency that ours have.
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

from benchmarks._paired import Known, Paired, known, paired
from tests.simulation.world import ACCOUNT, T0, World, development, recordings
from tradefan.core.tca import markout_bps, spread_capture
from tradefan.core.track import HORIZONS_NS
from tradefan.messages.orders import FillUpdate, SubmitOrder
from tradefan.units import MINUTE, MS, SECOND, InstrumentId, OwnerId, ParentId, Side, sign
from tradefan.venues.tape import Recording

QTY = {"BTC/USDT": Decimal("0.05"), "ETH/USDT": Decimal("0.5")}
WINDOWS, PASSES, SLICES = 10, 5, 3
LASTS_NS = 30 * SECOND
HISTORY_NS = SECOND
FIRST_NS = 40 * SECOND
"""Until orders can be placed."""
TACTICS: dict[str, tuple[str, dict[str, Any]]] = {
    "passive_then_cross": ("twap", {"tactic": "passive_then_cross"}),
    "peg": ("twap", {"tactic": "peg"}),
    "take": ("twap", {"tactic": "take"}),
}
SETS = (
    "strategies.rebalance_btc.enabled=false",
    "strategies.ema_cross_eth.enabled=false",
    "accounts.paper:main.balances.BTC=2",
    "accounts.paper:main.balances.ETH=20",
    "risk.max_position_notional=1000000000",
    "risk.max_position=1000000",
    "risk.max_exposure=1",
    "risk.max_concentration=1",
    "risk.instruments.binance:ETH/USDT.max_position=1000000",
)
BPS = Decimal(10_000)


class Quotes(Struct):
    """The best bid and ask of a recording, by receive time."""

    at_ns: list[int]
    bids: list[Decimal]
    asks: list[Decimal]

    def mid(self, at_ns: int) -> Decimal | None:
        """Return the mid of an instant, None outside of the recording."""
        i = bisect_right(self.at_ns, at_ns) - 1
        return None if i < 0 or at_ns > self.at_ns[-1] else (self.bids[i] + self.asks[i]) / 2

    def touch(self, at_ns: int, side: Side) -> Decimal:
        """Return what an order at once pays."""
        i = bisect_right(self.at_ns, at_ns) - 1
        return self.asks[i] if side == "buy" else self.bids[i]

    def spread(self, at_ns: int) -> Decimal:
        """Return ask less bid."""
        i = bisect_right(self.at_ns, at_ns) - 1
        return self.asks[i] - self.bids[i]


def quotes(recording: Recording) -> Quotes:
    """Read the frames of the best bid and ask."""
    found = Quotes([], [], [])
    for at_ns, raw in recording.frames():
        if b"@bookTicker" in raw[:60]:
            told = json.loads(raw)["data"]
            found.at_ns.append(at_ns)
            found.bids.append(Decimal(told["b"]))
            found.asks.append(Decimal(told["a"]))
    return found


class Entry(Struct, frozen=True):
    """One order: its minute of the recording, and its instant in virtual time.

    A minute is one window for both symbols: one market moves them, so they are no samples of their own.
    """

    window: int
    symbol: str
    side: Side
    at_ns: int


class Cost(Struct, frozen=True):
    """What it cost against the mid at its entry, and what others would have."""

    window: int
    pays: float
    naive: float
    once: float
    fees: float
    filled: float
    maker: float
    capture: float | None
    markouts: tuple[float | None, ...]


def entries(number: int, seed: int, windows: int) -> list[Entry]:
    """Draw the orders of a pass, the same ones for every tactic."""
    drawn = []
    for symbol in QTY:
        random = Random(f"{seed}/{number}/{symbol}")
        for window in range(windows):
            begun_ns = T0 + FIRST_NS + window * MINUTE
            at_ns = begun_ns + random.randrange((MINUTE - LASTS_NS - SECOND) // MS) * MS
            drawn.append(Entry(window, symbol, random.choice(("buy", "sell")), at_ns))
    return sorted(drawn, key=lambda one: one.at_ns)


def play(tactic: str, drawn: Sequence[Entry], books: Mapping[str, Quotes]) -> list[Cost]:
    """Let a daemon in virtual time work the orders of a pass; return what each cost."""
    algo, settings = TACTICS[tactic]
    tape = recordings()
    with tempfile.TemporaryDirectory() as folder:
        world = World(development(*SETS), Path(folder), tape, history_ns=HISTORY_NS)
        world.run_until(world.ready, FIRST_NS // SECOND)
        for one in drawn:
            world.driver.run_until(one.at_ns)
            world.send("oms", _wish(one, algo, settings))
        world.run((LASTS_NS + 10 * SECOND) / SECOND)
        parents = {one.order.ref: one.order.parent_id for one in world.store.parents(limit=10_000)}
        fills = world.store.fills(limit=100_000)
        world.crash()
    shift_ns = T0 - min(one.first_ns for one in tape.values()) - HISTORY_NS
    return [_cost(one, parents[_ref(one)], fills, books[one.symbol], shift_ns) for one in drawn]


def _ref(one: Entry) -> str:
    return f"{one.symbol} {one.window}"


def _wish(one: Entry, algo: str, settings: dict[str, Any]) -> SubmitOrder:
    return SubmitOrder(
        account=ACCOUNT,
        instrument=InstrumentId(f"binance:{one.symbol}"),
        owner=OwnerId("cli"),
        ref=_ref(one),
        side=one.side,
        order_qty=QTY[one.symbol],
        algo=algo,
        settings={"duration": f"{LASTS_NS // SECOND}s", "slices": SLICES, **settings},
    )


def _cost(one: Entry, parent: ParentId, fills: Sequence[FillUpdate], book: Quotes, shift_ns: int) -> Cost:
    entry_ns, qty, s = one.at_ns - shift_ns, QTY[one.symbol], sign(one.side)
    arrival = book.mid(entry_ns)
    assert arrival is not None, "expected an entry inside the recording"
    mine = [fill for fill in fills if fill.parent_id == parent]
    filled = sum((fill.qty for fill in mine), Decimal(0))
    # What is left is taken when it is over.
    last = book.touch(entry_ns + LASTS_NS, one.side)
    value = sum((fill.qty * fill.price for fill in mine), (qty - filled) * last)
    slices = [book.touch(entry_ns + k * LASTS_NS // SLICES, one.side) for k in range(SLICES)]

    def bps(price: Decimal) -> float:
        return float(s * (price - arrival) / arrival * BPS)

    captures, markouts = [], []
    for fill in mine:
        at_ns = fill.event_ns - shift_ns
        mid = book.mid(at_ns)
        captures.append(
            (fill.qty, None if mid is None else spread_capture(one.side, fill.price, mid, book.spread(at_ns)))
        )
        after = [book.mid(at_ns + later) for later in HORIZONS_NS]
        markouts.append(
            (fill.qty, [None if mid is None else markout_bps(one.side, fill.price, mid) for mid in after])
        )
    return Cost(
        one.window,
        bps(value / qty),
        bps(sum(slices, Decimal(0)) / SLICES),
        bps(book.touch(entry_ns, one.side)),
        float(sum((_fee(fill) for fill in mine), Decimal(0)) / (qty * arrival) * BPS),
        float(filled / qty),
        float(sum((fill.qty for fill in mine if fill.liquidity == "maker"), Decimal(0)) / filled)
        if filled
        else 0.0,
        _weighted(captures),
        tuple(_weighted([(lots, each[i]) for lots, each in markouts]) for i in range(len(HORIZONS_NS))),
    )


def _fee(fill: FillUpdate) -> Decimal:
    """Return a fee in quote: one in base at its own trade's price."""
    return fill.fee if fill.fee_asset == "USDT" else fill.fee * fill.price


def _weighted(parts: Sequence[tuple[Decimal, Decimal | None]]) -> float | None:
    known = [(weight, value) for weight, value in parts if value is not None]
    whole = sum((weight for weight, _ in known), Decimal(0))
    return float(sum((weight * value for weight, value in known), Decimal(0)) / whole) if whole else None


class Line(Struct, frozen=True):
    """One line of the table; the differences are to the naive TWAP, and to crossing at once.

    What is not known of all `n` orders has its own number: a markout behind the recording, or no fill.
    """

    symbol: str
    tactic: str
    n: int
    filled: float
    maker: float
    capture: Known
    markouts: tuple[Known, ...]
    fees: float
    pays: float
    to_naive: Paired
    to_once: Paired


def table(
    seed: int, passes: int = PASSES, windows: int = WINDOWS, tactics: Sequence[str] = tuple(TACTICS)
) -> list[Line]:
    """Play every tactic; return a line for each symbol and tactic, resampled by whole minutes."""
    books = {symbol: quotes(recordings()[symbol.replace("/", "")]) for symbol in QTY}
    found: list[Line] = []
    for tactic in tactics:
        costs: dict[str, list[Cost]] = {symbol: [] for symbol in QTY}
        for number in range(passes):
            drawn = entries(number, seed, windows)
            for one, cost in zip(drawn, play(tactic, drawn, books), strict=True):
                costs[one.symbol].append(cost)
        found += [_line(symbol, tactic, of) for symbol, of in costs.items()]
        found.append(_line("both", tactic, [cost for of in costs.values() for cost in of]))
    return found


def _line(symbol: str, tactic: str, costs: Sequence[Cost]) -> Line:
    def of(name: str) -> float:
        return float(sum(getattr(one, name) for one in costs)) / len(costs)

    windows = [one.window for one in costs]
    return Line(
        symbol,
        tactic,
        len(costs),
        of("filled"),
        of("maker"),
        known([one.capture for one in costs]),
        tuple(known([one.markouts[i] for one in costs]) for i in range(len(HORIZONS_NS))),
        of("fees"),
        of("pays"),
        paired([one.pays - one.naive for one in costs], windows),
        paired([one.pays - one.once for one in costs], windows),
    )


HEAD = (
    "symbol    tactic                n  filled  maker  capture/n markout 1s/n      5s/n     30s/n    300s/n"
    "   fees   pays"
    " | to naive TWAP, bps: mean     sd   95 % | to crossing at once"
)


def lines(found: Sequence[Line]) -> list[str]:
    """Return the table as text."""
    rows = [HEAD]
    for one in found:
        naive, once = one.to_naive, one.to_once
        after = "".join(f"{value!s:>10}" for value in one.markouts)
        rows.append(
            f"{one.symbol:9} {one.tactic:18} {one.n:4}  {one.filled:6.3f}  {one.maker:5.3f}"
            f"  {one.capture!s:>9}   {after} {one.fees:6.2f} {one.pays:6.3f}"
            f" | {naive.mean:23.3f} {naive.sd:6.2f}"
            f"   [{naive.low:.3f}, {naive.high:.3f}] {naive.word} |"
            f" {once.mean:.3f} [{once.low:.3f}, {once.high:.3f}] {once.word}"
        )
    return rows
