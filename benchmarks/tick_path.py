"""A recorded frame through decode, kernel, quality and two traders; and a submit with many live orders.

The tick path is compared with a one-pass typed decode of the same frames in the same run, the submit
turn with 2,000 live orders with the one with 50. Run: .venv/bin/python benchmarks/tick_path.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.simulation.world import ACCOUNT, World, development, recordings
from tradefan.messages.orders import SubmitOrder
from tradefan.messages.wire import Received
from tradefan.strategy import Commands, Settings, State, Strategy, Trade, View, register
from tradefan.units import MS, SECOND, InstrumentId, OwnerId, use_decimal_context
from tradefan.venues.tape import Tape

BTC = InstrumentId("binance:BTC/USDT")
ROUNDS = 7
FRAMES = 4_000


class OnTradeSettings(Settings, frozen=True):
    """None but the symbol."""

    symbol: str = "BTC/USDT"


@register("strategy", "bench_on_trade", settings=OnTradeSettings)
class OnTrade(Strategy[OnTradeSettings, State]):
    """Looks at every trade and wants nothing."""

    def setup(self) -> None:
        """Declare trades."""
        self.trades(self.s.symbol)

    def on_trade(self, trade: Trade, view: View) -> Commands:
        """Want nothing."""
        return ()


class TradeData(msgspec.Struct):
    """The payload of a trade frame."""

    e: str
    E: int
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


class DepthData(msgspec.Struct):
    """The payload of a depth frame."""

    e: str
    E: int
    s: str
    U: int
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class TradeFrame(msgspec.Struct):
    """A trade frame as it comes."""

    stream: str
    data: TradeData


class DepthFrame(msgspec.Struct):
    """A depth frame as it comes."""

    stream: str
    data: DepthData


def world(*, trace: bool) -> World:
    """Return a system with two traders on BTC trades, READY and LIVE."""
    off = [f"strategies.{name}.enabled=false" for name in ("rebalance_btc", "ema_cross_eth")]
    two = [
        f"strategies.{name}.{pair}" for name in "ab" for pair in ("use=bench_on_trade", "account=paper:main")
    ]
    folder = Path(tempfile.mkdtemp(prefix="tradefan-bench-"))
    made = World(development(*off, *two), folder, recordings(), trace=trace)
    made.run_until(made.ready, 30)
    made.run(1)
    assert made.view("strategy:a").phase == "READY"
    return made


def following_frames(made: World, kind: bytes) -> list[Received]:
    """Return the frames that the tape would play next, of one kind of BTC."""
    tape = made.machines["market:binance"]
    assert isinstance(tape, Tape)
    found: list[Received] = []
    now_ns = made.driver.now_ns
    while len(found) < FRAMES:
        now_ns += 10 * MS
        found += [
            msg for msg in tape.take(now_ns, 256) if isinstance(msg, Received) and kind in msg.body[:40]
        ]
    return found


def tick_path(made: World, frames: list[Received]) -> float:
    """Return seconds per frame, one a step, under a clock that follows the frames."""
    ref = made.kernel.refs["market_data:binance"]
    step, now_ns = made.kernel.step, made.driver.now_ns
    start = time.perf_counter()
    for frame in frames:
        now_ns += 10_000
        stepped = step(now_ns, [(ref, frame)])
        while stepped.more:
            stepped = step(now_ns)
    return (time.perf_counter() - start) / len(frames)


def bare(
    frames: list[Received], decoder: msgspec.json.Decoder[TradeFrame] | msgspec.json.Decoder[DepthFrame]
) -> float:
    """Return seconds per frame of a one-pass typed decode."""
    start = time.perf_counter()
    for frame in frames:
        decoder.decode(frame.body)
    return (time.perf_counter() - start) / len(frames)


def submit_turn(live: int) -> float:
    """Return the median seconds of a step that submits, with so many live orders."""
    off = [f"strategies.{name}.enabled=false" for name in ("rebalance_btc", "ema_cross_eth")]
    more = ["risk.orders_per_second=1000", "risk.max_position=1000", "risk.max_position_notional=1000000"]
    folder = Path(tempfile.mkdtemp(prefix="tradefan-bench-"))
    made = World(development(*off, *more), folder, recordings(), orders_max=5_000)
    made.run_until(made.ready, 30)
    number = 0

    def submit() -> float:
        nonlocal number
        number += 1
        wish = SubmitOrder(
            ACCOUNT,
            BTC,
            OwnerId("cli"),
            f"r{number}",
            "buy",
            Decimal("0.0001"),
            "limit",
            limit_price=Decimal(61000),
        )
        now_ns = made.driver.now_ns
        start = time.perf_counter()
        made.kernel.step(now_ns, [(made.kernel.refs["oms"], wish)])
        return time.perf_counter() - start

    def place() -> None:
        number_before = made.view("oms").counters.orders
        wish_count = min(40, live - number_before)
        for _ in range(wish_count):
            nonlocal number
            number += 1
            made.send(
                "oms",
                SubmitOrder(
                    ACCOUNT, BTC, OwnerId("cli"), f"p{number}", "buy", Decimal("0.0001"), "limit",
                    limit_price=Decimal(61000),
                ),
            )  # fmt: skip
        made.run(0.1)

    while made.view("oms").orders_open < live:
        place()
    times = []
    for _ in range(60):
        times.append(submit())
        made.driver.settle()
        made.run(0.02)
    return statistics.median(times)


def median(measure: Callable[[], float]) -> float:
    """Return the median of several rounds."""
    return statistics.median(measure() for _ in range(ROUNDS))


def main() -> None:
    """Print the ratios."""
    use_decimal_context()
    kinds = (
        ("trade", b"@trade", msgspec.json.Decoder(TradeFrame), "   required 20, goal 10"),
        ("depth", b"@depth", msgspec.json.Decoder(DepthFrame), ""),
    )
    for name, kind, decoder, note in kinds:
        for trace in (False, True):
            ours, floor = [], []
            for _ in range(3):
                made = world(trace=trace)
                frames = following_frames(made, kind)
                floor.append(bare(frames, decoder))
                ours.append(tick_path(made, frames))
                made.crash()
            ratio = statistics.median(ours) / statistics.median(floor)
            print(
                f"{name} frame, trace {'on' if trace else 'off'}: decode {statistics.median(floor) * 1e6:.2f} us,"
                f" tick path {statistics.median(ours) * 1e6:.2f} us: {ratio:.1f}x{'' if trace else note}"
            )
    few, many = submit_turn(50), submit_turn(2_000)
    print(
        f"submit turn: {few * 1e6:.0f} us with 50 live orders, {many * 1e6:.0f} us with 2,000:"
        f" {many / few:.2f}x   required 1.5"
    )
    print(f"one virtual second is {SECOND} ns; rounds {ROUNDS}, frames {FRAMES}")


if __name__ == "__main__":
    main()
