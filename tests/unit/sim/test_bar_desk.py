"""An order in the market of bars: through the order manager, and by the engine alone, which is the same."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from tradefan.core.curve import packaged
from tradefan.executors.entry import Entry
from tradefan.messages.market import VolumeDays
from tradefan.messages.orders import OrderStatus, ParentOrder
from tradefan.messages.plan import Clip
from tradefan.messages.records import Fill, Record
from tradefan.messages.work import Decision
from tradefan.sim.bar_desk import BarDesk
from tradefan.sim.bar_engine import BarEngine, Traded
from tradefan.sim.bar_market import BarMarket, MinuteBar, Shown
from tradefan.testing.build import make_instrument
from tradefan.units import DAY, MINUTE, SECOND, Side, parse_iso

BTC = make_instrument("BTC/USDT")
START = parse_iso("2025-06-11T09:58:00Z")
SHOWN = Shown(1, 50_000)
MINUTES = 7


def bars(seed: int) -> list[MinuteBar]:
    """Minutes of a market that wanders, each with its own volume."""
    random, price, made = Random(seed), 10_000_000, []
    for i in range(MINUTES):
        close = price + random.randint(-3_000, 3_000)
        high, low = max(price, close) + random.randint(0, 900), min(price, close) - random.randint(0, 900)
        made.append(
            MinuteBar(START + i * MINUTE, price, high, low, close, random.randint(500, 4_000) * 1_000)
        )
        price = close
    return made


def history() -> VolumeDays:
    """Twenty days with a wave."""
    today = START // DAY
    volumes = tuple(40 + 20 * math.sin(i / 9) for i in range(288))
    return VolumeDays(BTC.id, "klines", 5 * MINUTE, tuple((today - 20 + i, volumes) for i in range(20)))


class Played:
    """What an order did."""

    def __init__(self) -> None:
        self.clips: list[tuple[int, Clip]] = []
        self.fills: list[tuple[int, int, int, bool]] = []

    def on_record(self, now_ns: int, record: Record) -> None:
        if isinstance(record, Decision):
            self.clips.append((now_ns, record.clip))
        elif isinstance(record, Fill):
            lots, price = int(record.qty / BTC.qty_lot), int(record.price / BTC.price_tick)
            self.fills.append((now_ns, lots, price, record.liquidity == "maker"))

    def on_decision(self, now_ns: int, clip: Clip) -> None:
        self.clips.append((now_ns, clip))

    def on_fill(self, now_ns: int, traded: Traded) -> None:
        self.fills.append((now_ns, *traded))


def by_desk(
    side: Side, qty: Decimal, algo: str, settings: dict[str, Any], seed: int
) -> tuple[Played, ParentOrder, Any]:
    """Play it through the order manager."""
    played, market = Played(), BarMarket(bars(seed), SHOWN, seed)
    desk = BarDesk({BTC.id: BTC}, {BTC.id: market}, START - SECOND, played.on_record)
    desk.begin()
    desk.history(history())
    name = desk.submit(BTC.id, side, qty, algo, **settings)
    while desk.step():
        pass
    parent = desk.parent(name)
    return played, parent.order, parent


def by_engine(order: ParentOrder, seed: int) -> tuple[Played, BarEngine]:
    """Play the same order, at the same instant, by the engine alone."""
    played, market = Played(), BarMarket(bars(seed), SHOWN, seed)
    now_ns = START - SECOND
    while now_ns < order.created_ns:
        now_ns = _step(market)
    one = market.now
    assert one is not None
    entry = Entry(
        order,
        BTC,
        now_ns,
        Decimal(one.bid + one.ask) * BTC.price_tick / 2,
        levels=packaged("BTC"),
        history=(history(),),
    )
    engine = BarEngine(entry, market, played.on_decision, played.on_fill)
    while True:
        engine.timers(now_ns + SECOND)
        if not (now_ns := _step(market)):
            return played, engine
        engine.print(now_ns)


def _step(market: BarMarket) -> int:
    one = market.step()
    return 0 if one is None else one.at_ns


ORDERS: list[tuple[str, dict[str, Any]]] = [
    ("twap", {}),
    ("twap", {"interval": "3s", "discretion": "0.01"}),
    ("twap", {"participation_cap": "0.01"}),
    ("twap", {"at_end": "cancel", "post_only": True}),
    ("vwap", {}),
    ("vwap", {"mode": "dynamic", "prior_buckets": 2}),
    ("pov", {"rate": "0.02", "max_rate": "0.04"}),
    ("pov", {"rate": "0.002"}),
    ("pov", {"rate": "0.4", "max_rate": "0.9", "min_clip": "0.4"}),
]


@pytest.mark.parametrize("seed", range(len(ORDERS)))
def test_engine_when_it_is_alone_then_it_does_what_it_does_in_the_order_manager(
    seed: int,
) -> None:
    """Every decision, every trade, at its instant; and how it ends."""
    algo, more = ORDERS[seed]
    side: Side = "buy" if seed % 2 else "sell"
    settings = {"duration": "5m", **more}
    # What is to be more of the expected volume than its cap is refused.
    qty = Decimal("0.5" if "participation_cap" in more else "5.3")
    whole, order, parent = by_desk(side, qty, algo, settings, seed)
    alone, engine = by_engine(order, seed)
    assert alone.fills == whole.fills
    assert alone.clips == whole.clips
    # Its largest clip is what risk lets through, which is beyond all that there is.
    assert engine.plan == replace(parent.plan, max_clip=None)
    assert (engine.status, engine.cum * BTC.qty_lot) == (parent.status, parent.cum_qty)
    assert engine.status in (OrderStatus.FILLED, OrderStatus.EXPIRED)
    assert len(whole.fills) > 3


def test_desk_when_it_is_told_of_earlier_days_then_a_vwap_follows_them() -> None:
    """As the product's own order manager does."""
    _, _, parent = by_desk("buy", Decimal(1), "vwap", {"duration": "10m"}, 1)
    assert (parent.plan.source, parent.plan.coverage) == ("klines", 1.0)
