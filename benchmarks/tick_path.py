"""A recorded frame through decode, kernel, quality and two traders; and a submit with many live orders.

The tick path is compared with a one-pass typed decode of the same frames in the same run, the submit
turn with 2,000 live orders with the one with 50. Run: .venv/bin/python benchmarks/tick_path.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.simulation.world import ACCOUNT, RECORDINGS, T0, World, development, recordings
from tradefan.actors.market_data import MarketData
from tradefan.actors.market_state import Fanout, FeedSpec, MarketState, MarketWiring
from tradefan.actors.trader import Trader
from tradefan.actors.trader_state import TraderState, TraderWiring
from tradefan.drivers.virtual import VirtualDriver
from tradefan.messages.control import Ready
from tradefan.messages.market import FeedQuality, Quote, SessionBreak
from tradefan.messages.orders import PositionsSent, SubmitOrder
from tradefan.messages.union import decode
from tradefan.messages.wire import Received
from tradefan.runtime.kernel import Kernel, Stepped
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import ActorSpec, Ingress, PortSpec, System
from tradefan.strategy import Commands, Settings, State, Strategy, Trade, View, register
from tradefan.units import MS, SECOND, InstrumentId, OwnerId, Ref, use_decimal_context
from tradefan.venues.binance import parse_instruments
from tradefan.venues.tape import Tape

BTC = InstrumentId("binance:BTC/USDT")
ROUNDS = 5
SUBMITS = 100
FRAMES = 2_000


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


def path_system() -> tuple[System, Tape]:
    """Wire market data and two traders, and nothing else, on the packaged tape."""
    info = (RECORDINGS / "instruments.json").read_bytes()
    instrument = next(one for one in parse_instruments(info) if one.id == BTC)
    fanout = Fanout()
    for number, owner in enumerate("ab", 2):
        for kind in (FeedQuality, SessionBreak, Quote, Trade):
            fanout.add(kind, BTC, Ref(number))
        fanout.add_owner(OwnerId(owner), Ref(number))
    streams = ("trade", "depth", "book_ticker")
    market = MarketWiring("md", "binance", Ref(5), "wss://tape", (FeedSpec(instrument, streams, ("1m",)),))
    limits = Limits(4_096, 400_000, 64, 64)

    def trader(owner: str) -> TraderWiring:
        return TraderWiring(
            OwnerId(owner),
            ACCOUNT,
            Ref(4),
            "bench_on_trade",
            {},
            Decimal(1),
            {BTC: instrument},
            "binance",
            owner,
        )

    actors = (
        ActorSpec("md", partial(MarketData, market, fanout), MarketState, limits),
        *(ActorSpec(owner, partial(Trader, trader(owner)), TraderState, limits) for owner in "ab"),
    )
    children = (Child("market", "link"), *(Child(spec.name, "actor") for spec in actors))
    tree = Supervisor("root", children, 3, SECOND, "stay_down")
    # The traders' orders would go to port 4, which nobody reads here.
    ports = (PortSpec("oms", None), PortSpec("market", "md"))
    system = System(actors, ports, tree, decode, lambda _: None)
    return system, Tape(recordings(), origin_ns=T0, exchange_info=info, history_ns=300 * SECOND)


def ready_path(*, trace: bool) -> tuple[VirtualDriver, Tape]:
    """Return that system with a LIVE feed and READY traders."""
    system, tape = path_system()
    driver = VirtualDriver(Kernel(system, development(), "c", now_ns=T0, trace=trace), {"market": tape})
    driver.run_until(T0 + 20 * SECOND)
    for owner in "ab":
        ref = driver.hosted.kernel.refs[owner]
        driver.inject(ref, Ready(1))
        driver.inject(ref, PositionsSent(OwnerId(owner), 1))
    driver.run_for(SECOND)
    assert all(driver.hosted.kernel.view(owner).phase == "READY" for owner in "ab")  # type: ignore[union-attr]
    return driver, tape


def following_frames(driver: VirtualDriver, tape: Tape, kind: bytes) -> list[Received]:
    """Return the frames that the tape would play next, of one kind."""
    found: list[Received] = []
    now_ns = driver.now_ns
    while len(found) < FRAMES:
        now_ns += 10 * MS
        found += [
            msg for msg in tape.take(now_ns, 256) if isinstance(msg, Received) and kind in msg.body[:40]
        ]
    return found


def tick_path(driver: VirtualDriver, frames: list[Received]) -> float:
    """Return seconds per frame, one a step; the clock moves little, so that timers stay out of it."""
    kernel = driver.hosted.kernel
    ref, step, now_ns = kernel.refs["md"], kernel.step, driver.now_ns
    turns = kernel.state.messages
    start = time.perf_counter()
    for frame in frames:
        now_ns += 1_000
        step(now_ns, ((ref, frame),))
    spent = time.perf_counter() - start
    assert kernel.state.messages - turns >= len(frames)
    assert not kernel.life.dead_letters
    return spent / len(frames)


def bare(
    frames: list[Received], decoder: msgspec.json.Decoder[TradeFrame] | msgspec.json.Decoder[DepthFrame]
) -> float:
    """Return seconds per frame of a one-pass typed decode."""
    start = time.perf_counter()
    for frame in frames:
        decoder.decode(frame.body)
    return (time.perf_counter() - start) / len(frames)


def submit_turn(live: int) -> float:
    """Return the median seconds of a step that submits an order, with so many live ones."""
    off = [f"strategies.{name}.enabled=false" for name in ("rebalance_btc", "ema_cross_eth")]
    more = ["risk.orders_per_second=1000", "risk.max_position=1000", "risk.max_position_notional=1000000"]
    made = World(development(*off, *more), Path(tempfile.mkdtemp()), recordings(), orders_max=5_000)
    made.run_until(made.ready, 30)
    numbers = count()

    def wish() -> SubmitOrder:
        return SubmitOrder(
            account=ACCOUNT,
            instrument=BTC,
            owner=OwnerId("cli"),
            ref=str(next(numbers)),
            side="buy",
            order_qty=Decimal("0.0001"),
            algo="limit",
            limit_price=Decimal(61_000),
        )

    while (missing := live - made.view("oms").orders_open) > 0:
        for _ in range(min(missing, 40)):
            made.send("oms", wish())
        made.run(0.2)
    times: list[float] = []
    step = made.kernel.step

    def timed(now_ns: int, ingress: Sequence[Ingress] = ()) -> Stepped:
        start = time.perf_counter()
        stepped = step(now_ns, ingress)
        if any(isinstance(msg, SubmitOrder) for _, msg in ingress):
            times.append(time.perf_counter() - start)
        return stepped

    made.kernel.step = timed  # type: ignore[method-assign]
    for _ in range(SUBMITS):
        made.send("oms", wish())
        made.run(0.01)
    assert len(times) == SUBMITS
    made.crash()
    return statistics.median(times)


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
            for _ in range(ROUNDS):
                driver, tape = ready_path(trace=trace)
                frames = following_frames(driver, tape, kind)
                floor.append(bare(frames, decoder))
                ours.append(tick_path(driver, frames))
            path, decode = statistics.median(ours) * 1e6, statistics.median(floor) * 1e6
            print(
                f"{name} frame, trace {'on' if trace else 'off'}: decode {decode:.2f} us,"
                f" tick path {path:.2f} us: {path / decode:.1f}x{'' if trace else note}"
            )
    few, many = submit_turn(50), submit_turn(2_000)
    print(
        f"submit turn: {few * 1e6:.0f} us with 50 live orders, {many * 1e6:.0f} us with 2,000:"
        f" {many / few:.2f}x   required 1.5"
    )


if __name__ == "__main__":
    main()
