"""Run one strategy over given bars, quotes and trades, and see what it wished and what was sent.

The real trader runs, with the real series, warm-up, readiness and rounding; only the OMS is a stand-in
(`tradefan.testing.broker`). Time is that of the events, so two runs of one scenario are equal.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tradefan.actors.trader import Trader, TraderState, TraderView, TraderWiring
from tradefan.core.bars import fold
from tradefan.core.declare import AnyStrategy, declare, find_strategy
from tradefan.core.wish import Order
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import Ready, Started
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Bar, BarsClosed, FeedQuality, Quality, Quote, Trade
from tradefan.messages.orders import AskPositions, FillUpdate, OwnerTurn, PositionUpdate, Refusal
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.strategy.wishes import AnyWish, Commands, SayWish, Wish
from tradefan.testing.broker import GENERATION, Broker
from tradefan.testing.build import VENUE, make_instrument
from tradefan.testing.heard import Heard
from tradefan.units import AccountId, InstrumentId, OwnerId, Ref, parse_duration, use_decimal_context

ACCOUNT = AccountId("paper:main")
OWNER = OwnerId("scenario")
OMS = Ref(1)
TURNS_MAX = 10_000
"""Turns at one instant; a strategy that answers every refusal with the next order would never end."""


class Outcome:
    """What came of a run: wishes as the strategy made them, messages as they were sent.

    `sent` are the commands one by one, `turns` the messages that carried them with a changed State.
    `begun` is what `on_start` wished in each life, `handled` what all other handlers wished; `decided`
    is both, without the `on_start` of a life after the first.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.decided: list[tuple[int, AnyWish]] = []
        self.begun: list[tuple[int, AnyWish]] = []
        self.handled: list[tuple[int, AnyWish]] = []
        self.sent: list[Message] = []
        self.turns: list[OwnerTurn] = []
        self.fills: list[FillUpdate] = []
        self.refusals: list[Refusal] = []
        self.positions: dict[InstrumentId, PositionUpdate] = {}
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.state = TraderState()
        self.strategy: AnyStrategy | None = None
        self.view: TraderView | None = None

    @property
    def commands(self) -> list[Wish]:
        """All wishes in order: compare them with `target(...)`, `buy(...)` and so on."""
        return [wish for _, wish in self.decided if not isinstance(wish, SayWish)]

    @property
    def said(self) -> list[SayWish]:
        """What was recorded, noted and alerted, in order: compare it with `record(...)` and so on."""
        return [wish for _, wish in self.decided if isinstance(wish, SayWish)]


class Scenario:
    """A strategy, its settings, and the market that it will see."""

    def __init__(
        self,
        strategy: str | type[AnyStrategy],
        settings: Mapping[str, Any] | None = None,
        *,
        bars: Sequence[Bar] = (),
        history: Sequence[Bar] = (),
        quotes: Sequence[Quote] = (),
        trades: Sequence[Trade] = (),
        events: Sequence[tuple[int, Message]] = (),
        instruments: Sequence[Instrument] | None = None,
        capital: Decimal | int = 100_000,
        fill: bool = False,
        refuse: str | None = None,
    ) -> None:
        """Prepare a run.

        `bars` are live, `history` only warms; coarser timeframes are folded from the finest bars
        unless they are given. Each bar brings a quote around its close, unless quotes of its
        instrument are given. `events` are further messages at an instant: a `SessionBreak`, a
        `FeedQuality`. With `fill`, orders fill whole at the open of the next bar.
        """
        self._name = strategy if isinstance(strategy, str) else strategy.__name__
        self._strategy = None if isinstance(strategy, str) else strategy
        self._settings = dict(settings or {})
        self._history, self._bars = list(history), list(bars)
        self._quotes, self._trades, self._events = list(quotes), list(trades), list(events)
        self._instruments = _instruments(instruments, self._all_named())
        self._capital = Decimal(capital)
        self._fill, self._refuse = fill, refuse

    def run(
        self,
        restore_at: Iterable[int] = (),
        restart_at: Iterable[int] = (),
        *,
        whole: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Play everything and return what came of it.

        Before the events with the numbers `restore_at` the trader is saved to bytes and built again
        from them. Before those of `restart_at` it is killed: a new one warms from the declared depth
        of bars (`whole`: from all of them), and has its State, positions and open orders from the
        stand-in. With `settings` it begins with these instead of its own.
        """
        use_decimal_context()
        broker = Broker(ACCOUNT, OWNER, fill=self._fill, refuse=self._refuse)
        stage = _Stage(self._wiring(), self._strategy, broker)
        restored, restarted = dict.fromkeys(restore_at), dict.fromkeys(restart_at)
        events = self._timeline(stage)
        stage.begin(events[0][0] if events else 0)
        for number, (at_ns, msg) in enumerate(events):
            if number in restored:
                stage.restore()
            if number in restarted:
                stage.restart(self._settings if settings is None else dict(settings), whole=whole)
            stage.play(at_ns, msg)
        return stage.finish()

    def _wiring(self) -> TraderWiring:
        return TraderWiring(
            owner=OWNER,
            account=ACCOUNT,
            oms=OMS,
            use=self._name,
            settings=self._settings,
            capital=self._capital,
            instruments=self._instruments,
            venue=VENUE,
            name="trader",
            on_stop="leave",
        )

    def _all_named(self) -> list[str]:
        """Return instruments and symbols that this scenario, or the strategy's `setup`, speaks of."""
        made, settings = find_strategy(self._name, self._settings, self._strategy)
        symbol = getattr(settings, "symbol", None)
        named = [symbol] if isinstance(symbol, str) else []
        named += declare(made, settings, _instrument).declared.instruments
        named += [bar.instrument for bar in (*self._history, *self._bars)]
        named += [quote.instrument for quote in self._quotes]
        return [*named, *(trade.instrument for trade in self._trades)]

    def _timeline(self, stage: _Stage) -> list[tuple[int, Message]]:
        """Return all events by time; at one instant trades first, then quotes, then what closed."""
        frames = list(dict.fromkeys(frame for _, frame in stage.frames))
        quoted = {quote.instrument: True for quote in self._quotes}
        events: list[tuple[int, int, Message]] = []
        for live, bars in ((False, self._history), (True, self._bars)):
            for closed in _closings(_with_folded(bars, frames), live=live):
                finest = closed.bars[0]
                events.append((finest.close_ns, 3 if live else 2, closed))
                if live and finest.instrument not in quoted:
                    events.append((finest.close_ns, 1, _quote_of(finest, stage.tick(finest.instrument))))
        events.extend((trade.recv_ns, 0, trade) for trade in self._trades)
        events.extend((quote.recv_ns, 1, quote) for quote in self._quotes)
        events.extend((at_ns, 0, msg) for at_ns, msg in self._events)
        events.sort(key=lambda event: event[:2])
        return [(at_ns, msg) for at_ns, _, msg in events]


class _Recording(Trader):
    """The trader itself, with an ear at what the strategy returns."""

    outcome: Outcome
    first: bool
    beginning: bool = False

    def begin(self, ctx: Context) -> None:
        self.beginning = True
        super().begin(ctx)
        self.beginning = False

    def act(
        self, wishes: Commands, ctx: Context, *, again: bool = True, last: tuple[Order, ...] = ()
    ) -> None:
        listed = wishes if isinstance(wishes, tuple | list) else (wishes,)
        decided = [(ctx.now_ns, wish) for wish in listed]
        (self.outcome.begun if self.beginning else self.outcome.handled).extend(decided)
        if self.first or not self.beginning:
            self.outcome.decided.extend(decided)
        super().act(wishes, ctx, again=again, last=last)


class _Stage:
    """The context of a trader's turns, with its timers and the stand-in's answers."""

    config = None
    config_id = "scenario"

    def __init__(self, wiring: TraderWiring, strategy: type[AnyStrategy] | None, broker: Broker) -> None:
        self.now_ns = 0
        self._wiring, self._strategy, self._broker = wiring, strategy, broker
        self._outcome = Outcome()
        self._timers: list[tuple[int, int, Message]] = []
        self._mail: deque[Message] = deque()
        self._count = 0
        self._turns = (0, 0)
        self._heard = Heard()
        self._lives = 0
        self._build(None)

    @property
    def frames(self) -> list[tuple[str, str]]:
        """Declared (instrument, timeframe) pairs."""
        return [(need.instrument, need.timeframe) for need in self._trader.declared.bars]

    def tick(self, instrument: InstrumentId) -> float:
        """Return the price tick of an instrument."""
        return float(self._wiring.instruments[instrument].price_tick)

    def begin(self, now_ns: int) -> None:
        """Start the trader, let the OMS be ready and all feeds LIVE."""
        self.now_ns = now_ns
        self._deliver(Started(0))
        self._deliver(Ready(GENERATION))
        for instrument in self._trader.declared.instruments:
            self._show(FeedQuality(instrument, Quality.LIVE, "", now_ns, 1))

    def play(self, at_ns: int, msg: Message) -> None:
        """Fire what is due before an event, then deliver it."""
        while self._timers and self._timers[0][0] < at_ns:
            self._fire()
        self.now_ns = at_ns
        if isinstance(msg, BarsClosed) and msg.live:
            for told in self._broker.bar(msg.bars[0]):
                self._deliver(told)
        self._show(msg)

    def restart(self, settings: dict[str, Any], *, whole: bool) -> None:
        """Kill the trader and let a new one begin, as after kill -9."""
        self._timers.clear()
        self._lives += 1
        self._wiring = msgspec.structs.replace(self._wiring, settings=settings)
        self._build(None)
        self._deliver(Started(self._lives))
        self._deliver(Ready(GENERATION))
        for msg in self._heard.again(self._trader.declared, whole=whole):
            self._deliver(msg)

    def restore(self) -> None:
        """Save the trader to bytes and build it again from them."""
        blob = msgspec.msgpack.encode(self._trader.state)
        self._build(msgspec.msgpack.decode(blob, type=TraderState))

    def finish(self) -> Outcome:
        """Return what came of it."""
        outcome = self._outcome
        outcome.state, outcome.view = self._trader.state, self._trader.view()
        outcome.strategy = self._trader.strategy
        return outcome

    def _build(self, state: TraderState | None) -> None:
        self._trader = _Recording(self._wiring, state, self._strategy)
        self._trader.outcome, self._trader.first = self._outcome, self._lives == 0

    def _show(self, msg: Message) -> None:
        """Deliver news of the market, which a later life is told again."""
        self._heard.take(msg)
        self._deliver(msg)

    def _deliver(self, msg: Message) -> None:
        """Give a message and all that follows from it at this instant."""
        self._mail.append(msg)
        while self._mail or (self._timers and self._timers[0][0] <= self.now_ns):
            if self._mail:
                self._hand(self._mail.popleft())
            else:
                self._fire()

    def _hand(self, msg: Message) -> None:
        at_ns, turns = self._turns
        self._turns = (self.now_ns, turns + 1 if at_ns == self.now_ns else 1)
        if turns > TURNS_MAX:
            raise Defect(f"more than {TURNS_MAX} turns at one instant: {type(msg).__name__} never ends")
        if isinstance(msg, FillUpdate):
            self._outcome.fills.append(msg)
        elif isinstance(msg, Refusal):
            self._outcome.refusals.append(msg)
        elif isinstance(msg, PositionUpdate):
            self._outcome.positions[msg.instrument] = msg
        self._trader.handle(msg, self)

    def _fire(self) -> None:
        at_ns, _, msg = heapq.heappop(self._timers)
        self.now_ns = max(self.now_ns, at_ns)
        self._hand(msg)
        while self._mail:
            self._hand(self._mail.popleft())

    # --- runtime.actor.Context ----------------------------------------------------------------------

    def send(self, ref: Ref, msg: Message) -> bool:
        """Take a command for the stand-in; its answers come after this turn."""
        if ref == RIM:
            return True
        if isinstance(msg, OwnerTurn):
            self._outcome.turns.append(msg)
            self._outcome.sent.extend(msg.commands)
        elif not isinstance(msg, AskPositions):
            self._outcome.sent.append(msg)
        self._mail.extend(self._broker.take(msg, self.now_ns))
        return True

    def after(self, delay_ns: int, msg: Message) -> int:
        """Arm a timer."""
        self._count += 1
        heapq.heappush(self._timers, (self.now_ns + delay_ns, self._count, msg))
        return self._count

    def cancel(self, timer_id: int) -> None:
        """Forget a timer."""
        self._timers = [timer for timer in self._timers if timer[1] != timer_id]
        heapq.heapify(self._timers)

    def next_id(self) -> int:
        """Return the next number."""
        self._count += 1
        return self._count

    def series_id(self) -> int:
        """Return the next number."""
        return self.next_id()

    def random(self) -> float:
        """Refuse: a trader decides nothing by chance."""
        raise Defect("a trader asked for a random number")

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Keep a log line."""
        self._outcome.log.append((event, fields))


def _instrument(symbol: str) -> InstrumentId:
    return InstrumentId(f"{VENUE}:{symbol.removeprefix(f'{VENUE}:')}")


def _instruments(given: Sequence[Instrument] | None, named: list[str]) -> dict[InstrumentId, Instrument]:
    if given is not None:
        return {instrument.id: instrument for instrument in given}
    symbols = dict.fromkeys(name.removeprefix(f"{VENUE}:") for name in named)
    made = [make_instrument(symbol) for symbol in symbols]
    return {instrument.id: instrument for instrument in made}


def _with_folded(bars: list[Bar], frames: list[str]) -> list[Bar]:
    """Return bars with the declared timeframes that are missing, folded from the finest given."""
    out = list(bars)
    for instrument in dict.fromkeys(bar.instrument for bar in bars):
        mine = [bar for bar in bars if bar.instrument == instrument]
        given = dict.fromkeys(bar.timeframe for bar in mine)
        finest = min(given, key=parse_duration)
        fine = [bar for bar in mine if bar.timeframe == finest]
        for frame in frames:
            if frame not in given and parse_duration(frame) % parse_duration(finest) == 0:
                out.extend(fold(fine, frame))
    return out


def _closings(bars: list[Bar], *, live: bool) -> list[BarsClosed]:
    """Return bars by the instant of their close, finest first, as `market_data` sends them."""
    groups: dict[tuple[int, InstrumentId], list[Bar]] = {}
    for bar in bars:
        groups.setdefault((bar.close_ns, bar.instrument), []).append(bar)
    for group in groups.values():
        group.sort(key=lambda bar: bar.close_ns - bar.open_ns)
    return [BarsClosed(key[1], tuple(groups[key]), live) for key in sorted(groups)]


def _quote_of(bar: Bar, tick: float) -> Quote:
    """Return a quote one tick around a close, so that its mid is the close."""
    return Quote(bar.instrument, bar.close - tick, 1.0, bar.close + tick, 1.0, bar.close_ns, bar.close_ns)
