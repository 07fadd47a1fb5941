"""The price of one instrument: a random walk on the tick grid, and its words in the venue's frames.

Integers count ticks and lots of the finest rules that the instrument ever has; a change of its rules
coarsens `grid`. Levels below the touch are a function of touch and price, so that a book can be told
whole at any time without having been kept.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random

from msgspec.structs import replace

from tradefan.messages.instrument import Instrument
from tradefan.units import MS, Side, opposite, plain, sign

LEVELS = 5
"""Of each side; a side of so few is a whole one to whoever asks for more."""
PRICES = {"BTC": 60_000.0, "ETH": 2_500.0, "BNB": 550.0, "SOL": 150.0}
"""Opening prices in a stable coin."""
USUAL = 20_000
"""What a level or a trade is worth at most, in a stable coin."""
DRAG = 0.002
"""Share of the way home at each move, so that no walk is lost."""
CRASH = 0.13
"""What is left of a price after a flash crash of 87 %."""

Sides = tuple[dict[int, int], dict[int, int]]


class Steps:
    """Whole steps of a Decimal grid as text, without a Decimal in between."""

    def __init__(self, step: Decimal) -> None:
        self.step = step
        exponent = step.as_tuple().exponent
        assert isinstance(exponent, int), f"expected a finite step, got {step}"
        self._scale = 10 ** max(0, -exponent)
        self._places = max(0, -exponent)
        self._unit = int(step * self._scale)
        self._texts: dict[int, str] = {}

    def text(self, steps: int) -> str:
        """Return what so many steps are; levels come again and again."""
        text = self._texts.get(steps)
        if text is None:
            whole, rest = divmod(steps * self._unit, self._scale)
            text = self._texts[steps] = f"{whole}.{rest:0{self._places}d}" if self._places else str(whole)
        return text

    def count(self, value: Decimal) -> int:
        """Return how many whole steps a value has."""
        return int(value / self.step)


class Walk:
    """One instrument's market."""

    def __init__(self, instrument: Instrument, rng: Random, volatility: float) -> None:
        """Stand at the opening price; `volatility` is the share of a price that one move has on average."""
        self.rules = self._finest = instrument
        self.symbol = f"{instrument.base}{instrument.quote}"
        self.stream = self.symbol.lower()
        self.prices = Steps(instrument.price_tick)
        self.lots = Steps(instrument.qty_lot)
        self.grid = 1
        self.trades = self.update_id = 0
        self.crashed = self.crossed = False
        """Its price is far down; its frames show a bid above the ask."""
        self.told_id = 0
        """The last id whose levels were told."""
        self._rng = rng
        self._volatility = volatility
        opening = PRICES.get(instrument.base, 100.0) / PRICES.get(instrument.quote, 1.0)
        self._home = self._mid = opening / float(instrument.price_tick)
        worth = opening * PRICES.get(instrument.quote, 1.0)
        self._lots_usual = max(1, int(USUAL / worth / float(instrument.qty_lot)))
        self._lattice = max(1, int(self._home) // 20_000)
        self.bid = self.ask = self.bid_lots = self.ask_lots = 0
        self.last = int(self._mid)
        self.move()

    def move(self) -> None:
        """Take one step."""
        rng = self._rng
        self._mid += self._mid * self._volatility * rng.gauss(0.0, 1.0) + DRAG * (self._home - self._mid)
        grid = self.grid
        mid = self._mid * CRASH if self.crashed else self._mid
        self.bid = max(grid, int(mid * 0.99998) // grid * grid)
        self.ask = max(self.bid + grid, int(mid * 1.00002) // grid * grid)
        self.bid_lots = 1 + int(rng.random() * self._lots_usual)
        self.ask_lots = 1 + int(rng.random() * self._lots_usual)
        self.update_id += 1

    def print_trade(self, rng: Random) -> tuple[int, int, Side]:
        """Let others trade at the touch; return price, lots and the aggressor's side."""
        self.trades += 1
        side: Side = "buy" if rng.random() < 0.5 else "sell"
        self.last = self.ask if side == "buy" else self.bid
        return self.last, 1 + int(rng.random() * self._lots_usual), side

    # --- for the venue --------------------------------------------------------------------------------

    def touch(self, side: Side) -> int:
        """Return the price at which an order of a side would trade now, in ticks."""
        return self.ask if side == "buy" else self.bid

    def reaches(self, side: Side, ticks: int) -> bool:
        """Say whether an order of a side and price trades now."""
        return ticks >= self.ask if side == "buy" else ticks <= self.bid

    def price(self, ticks: int) -> Decimal:
        """Return a price in the quote asset."""
        return ticks * self.prices.step

    # --- rules ----------------------------------------------------------------------------------------

    def change_status(self, status: str) -> None:
        """Halt, resume or take off."""
        self.rules = replace(self.rules, status=status)

    def coarsen(self, tick: int, lot: int) -> None:
        """Make tick and lot so many of the finest ones; 1 and 1 are the rules at the start."""
        self.grid = tick
        step = lot * self.lots.step
        self.rules = replace(
            self.rules,
            price_tick=tick * self.prices.step,
            qty_lot=step,
            min_qty=max(step, self._finest.min_qty // step * step),
        )

    def info(self) -> dict[str, object]:
        """Return this symbol as `exchangeInfo` shows it."""
        rules = self.rules
        price, lot = plain(rules.price_tick), plain(rules.qty_lot)
        sizes = {"minQty": plain(rules.min_qty), "maxQty": plain(rules.max_qty), "stepSize": lot}
        return {
            "symbol": self.symbol,
            "status": rules.status,
            "baseAsset": rules.base,
            "quoteAsset": rules.quote,
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": price, "maxPrice": "1000000", "tickSize": price},
                {"filterType": "LOT_SIZE"} | sizes,
                {"filterType": "NOTIONAL", "minNotional": plain(rules.min_notional)},
            ],
        }

    # --- words ----------------------------------------------------------------------------------------

    def levels(self) -> Sides:
        """Return the book around the touch as it is shown: price to lots, bids and asks, best first."""
        bids = self._side("sell", self.bid, self.bid_lots)
        if self.crossed:
            bids = {self._shown_bid(): self.bid_lots} | bids
        return bids, self._side("buy", self.ask, self.ask_lots)

    def _shown_bid(self) -> int:
        return self.ask + self.grid if self.crossed else self.bid

    def _side(self, taker: Side, best: int, lots: int) -> dict[int, int]:
        """Return levels on a coarse lattice behind the best one, so that few of them change at a move."""
        step = max(self.grid, self._lattice // self.grid * self.grid)
        away = sign(opposite(taker)) * -step
        side, price = {best: lots}, best // step * step + (step if away > 0 else 0)
        if price == best:
            price += away
        for _ in range(LEVELS - 1):
            if price > 0:
                side[price] = 1 + price * 7919 % self._lots_usual
            price += away
        return side

    def rows(self, side: dict[int, int]) -> str:
        """Write levels as the venue does."""
        price, lots = self.prices.text, self.lots.text
        return ",".join(f'["{price(level)}","{lots(qty)}"]' for level, qty in side.items())

    def frame(self, stream: str, fields: str) -> bytes:
        """Return a frame of a combined stream."""
        return f'{{"stream":"{self.stream}@{stream}","data":{{{fields}}}}}'.encode()

    def ticker_frame(self) -> bytes:
        """Return a `bookTicker`."""
        price, lots = self.prices.text, self.lots.text
        return self.frame(
            "bookTicker",
            f'"u":{self.update_id},"s":"{self.symbol}","b":"{price(self._shown_bid())}","B":"{lots(self.bid_lots)}",'
            f'"a":"{price(self.ask)}","A":"{lots(self.ask_lots)}"',
        )

    def trade_frame(self, printed: tuple[int, int, Side], event_ns: int) -> bytes:
        """Return a `trade`."""
        ticks, lots, side = printed
        at_ms, maker = event_ns // MS, "true" if side == "sell" else "false"
        return self.frame(
            "trade",
            f'"e":"trade","E":{at_ms},"s":"{self.symbol}","t":{self.trades},"p":"{self.prices.text(ticks)}",'
            f'"q":"{self.lots.text(lots)}","T":{at_ms},"m":{maker},"M":true',
        )

    def depth_frame(self, before: Sides, after: Sides, event_ns: int) -> bytes:
        """Return the `depthUpdate` that leads from the book that was told last to the next."""
        bids, asks = (self.rows(_changes(old, new)) for old, new in zip(before, after, strict=True))
        return self.frame(
            "depth@100ms",
            f'"e":"depthUpdate","E":{event_ns // MS},"s":"{self.symbol}",'
            f'"U":{self.told_id + 1},"u":{self.update_id},"b":[{bids}],"a":[{asks}]',
        )

    def snapshot(self) -> bytes:
        """Return the answer to the HTTP request for the book."""
        bids, asks = (self.rows(side) for side in self.levels())
        return f'{{"lastUpdateId":{self.update_id},"bids":[{bids}],"asks":[{asks}]}}'.encode()


def _changes(old: dict[int, int], new: dict[int, int]) -> dict[int, int]:
    """Return changed levels, those that are gone with zero."""
    gone = {price: 0 for price in old if price not in new}
    return gone | {price: lots for price, lots in new.items() if old.get(price) != lots}
