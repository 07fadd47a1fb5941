"""One strategy instance as an actor: warms it, shows it the world, sends what it wishes.

No handler runs before everything is there at once: the OMS is ready and has said what this owner
holds, each declared series is warm, each named instrument has a LIVE feed and a quote. While any of
it is missing again (a seam, a stale feed, an OMS that restarts), bars only warm, quotes and trades
pass by, and own facts and schedules are held until all is there again.

What a control message changes is settled by a timer of zero delay: control overtakes facts, and bars
of history that still wait in the mailbox must be seen before the first handler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradefan.actors.trader_memory import Memory, take_up
from tradefan.actors.trader_state import (
    Held,
    TraderState,
    TraderView,
    TraderWiring,
    make_strategy,
    needs,
    view_of,
    waits_for,
)
from tradefan.actors.trader_turn import (
    RESTARTING,
    is_news,
    last_orders,
    new_ref,
    note_decision,
    note_refusal,
    part_of,
    refusal_of,
    say,
    send_turn,
    wishes_of,
)
from tradefan.core.declare import AnyStrategy, Handler
from tradefan.core.desk import Declared
from tradefan.core.wish import Order
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigChanged, Ready, Started, Stop, Stopped, Timer
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import (
    AskBars,
    AskFeeds,
    Bar,
    BarHistory,
    BarsClosed,
    FeedQuality,
    Quality,
    Quote,
    SessionBreak,
    Trade,
)
from tradefan.messages.orders import (
    AskPositions,
    FillUpdate,
    OwnerMemory,
    ParentSnapshot,
    ParentUpdate,
    Phase,
    PositionsSent,
    PositionUpdate,
    Refusal,
)
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM
from tradefan.strategy.view import View
from tradefan.strategy.wishes import AnyWish, Commands, SayWish
from tradefan.units import SECOND

__all__ = ["Trader", "TraderState", "TraderView", "TraderWiring", "needs"]

HELD_MAX = 256
"""Own facts that wait for readiness; the oldest go first, and positions are whole in any case."""
ASK_AGAIN_NS = 10 * SECOND
"""Until market data is asked again for bars: it may have begun anew, and forgotten that it was."""
EVERY = "every"
SETTLE = "settle"
HISTORY = "history"


class Trader:
    """The actor around one strategy instance."""

    def __init__(
        self,
        wiring: TraderWiring,
        state: TraderState | None = None,
        strategy: type[AnyStrategy] | None = None,
    ) -> None:
        """Make the strategy and let it declare; `strategy` replaces what `wiring.use` names."""
        self.wiring = wiring
        self._made = make_strategy(wiring, state, strategy)
        if state is None:
            state = TraderState()
            state.quotes_awaited = dict.fromkeys(self._made.declared.instruments, True)
        # What is observed since; of all others it may have heard newer rules.
        state.picture.instruments = {**wiring.instruments, **state.picture.instruments}
        self.state = state
        state.series, state.indicators = self._made.series_states, self._made.indicators
        self._strategy = self._made.strategy
        self._memory = Memory(type(self._strategy))
        state.memory = self._strategy.state
        self._quotes = dict.fromkeys(self._made.declared.quotes, self._made.on_quote)
        self._trades = dict.fromkeys(self._made.declared.trades, self._made.on_trade)
        self._view = View(state.picture, wiring.venue, wiring.capital, wiring.numeraire, self._made.series)

    def handle(self, msg: Message, ctx: Context) -> None:
        """Take one message; an exception of the strategy ends this trader, and only this one."""
        if self.state.stopped:
            return
        self.state.picture.now_ns = ctx.now_ns
        handler = _HANDLERS.get(type(msg))
        if handler is None:
            raise Defect(f"{self.wiring.name} does not take {type(msg).__name__}")
        handler(self, msg, ctx)

    @property
    def declared(self) -> Declared:
        """What the strategy follows."""
        return self._made.declared

    @property
    def strategy(self) -> AnyStrategy:
        """The strategy itself."""
        return self._strategy

    def view(self) -> TraderView:
        """Return the picture for status."""
        return view_of(self.wiring, self.state, self._made)

    # --- life -------------------------------------------------------------------------------------

    def _on_started(self, msg: Started, ctx: Context) -> None:
        declared = self._made.declared
        for timer in declared.timers:
            self._arm(timer.name, ctx)
        self._ask(ctx)
        if self.wiring.market is None:
            return
        ctx.send(self.wiring.market, AskFeeds())
        self.state.bars_awaited = dict.fromkeys(declared.instruments, True)
        self._ask_bars(ctx)

    def _ask_bars(self, ctx: Context) -> None:
        """Ask for the bars that are awaited, and again until all are there; market data hears it once."""
        if self.wiring.market is None or not self.state.bars_awaited:
            return
        for instrument in self.state.bars_awaited:
            wanted = (need for need in self._made.declared.bars if need.instrument == instrument)
            depths = {need.timeframe: need.depth for need in wanted}
            ctx.send(self.wiring.market, AskBars(self.wiring.owner, instrument, depths))
        ctx.after(ASK_AGAIN_NS, Timer(HISTORY))

    def _on_ready(self, msg: Ready, ctx: Context) -> None:
        """The OMS has folded, perhaps anew: what it said before may be over."""
        state = self.state
        if state.positions_known and (state.generation, state.fold) == (msg.generation, msg.fold):
            return
        state.generation, state.fold = msg.generation, msg.fold
        state.positions_known = state.ready = False
        state.picture.positions.clear()
        state.picture.parents.clear()
        self._ask(ctx)

    def _ask(self, ctx: Context) -> None:
        """Ask the OMS for all that is ours; only the answer to the newest question counts."""
        self.state.asked = ctx.next_id()
        ctx.send(self.wiring.oms, AskPositions(self.wiring.owner, self.state.asked))

    def _on_memory(self, msg: OwnerMemory, ctx: Context) -> None:
        """Keep it until the answer is whole: what a question of before brought is over by then."""
        self.state.offered = msg

    def _on_positions_sent(self, msg: PositionsSent, ctx: Context) -> None:
        state = self.state
        if msg.asked in {0, state.asked} and state.generation in {None, msg.generation}:
            state.generation = msg.generation
            state.positions_known = True
            take_up(state, self.wiring, self._strategy, self._memory, ctx)
            self._settle_later(ctx)

    def _on_stop(self, msg: Stop, ctx: Context) -> None:
        state = self.state
        wishes: Commands = ()
        if state.started:
            # For its State alone: at the end nothing is wished for in the place of what is lost.
            self._hear_lost(ctx)
            wishes = self._strategy.on_stop(self._view)
            state.memory = self._strategy.state
        self.act(wishes, ctx, again=False, last=last_orders(self.wiring, ctx))
        state.ready = False
        state.stopped = True
        ctx.send(RIM, Stopped(self.wiring.name))

    def _on_config(self, msg: ConfigChanged, ctx: Context) -> None:
        """Settings are read at the start; `on_stop` is read when it counts."""

    # --- market -----------------------------------------------------------------------------------

    def _on_bars(self, msg: BarsClosed, ctx: Context) -> None:
        """Feed all series of this instant first, then run handlers, finest first."""
        if msg.instrument in self.state.bars_awaited:
            return
        fed = [bar for bar in msg.bars if self._feed(bar)]
        if not fed:
            return
        if not msg.live:
            self._settle_later(ctx)
            return
        if self._settle(ctx):
            for bar in fed:
                handler = self._made.on_bar.get(bar.timeframe)
                if handler is not None and self.state.ready:
                    self._run(handler, bar, ctx)

    def _feed(self, bar: Bar) -> bool:
        series = self._made.series.get((bar.instrument, bar.timeframe))
        if series is None or not series.update(bar):
            return False
        self.state.counters.bars += 1
        if not series.ready:
            # A hole began it anew: no handler until it is warm again.
            self.state.ready = False
        return True

    def _on_history(self, msg: BarHistory, ctx: Context) -> None:
        if self.state.bars_awaited.pop(msg.instrument, None):
            for bar in msg.bars:
                self._feed(bar)
            self._settle_later(ctx)

    def _on_quote(self, msg: Quote, ctx: Context) -> None:
        state, instrument = self.state, msg.instrument
        state.picture.quotes[instrument] = msg
        if state.ready:
            handler = self._quotes.get(instrument)
            if handler is not None:
                self._run(handler, msg, ctx)
        elif state.quotes_awaited.pop(instrument, None):
            self._settle_later(ctx)

    def _on_trade(self, msg: Trade, ctx: Context) -> None:
        handler = self._trades.get(msg.instrument)
        if handler is not None and self.state.ready:
            self._run(handler, msg, ctx)

    def _on_quality(self, msg: FeedQuality, ctx: Context) -> None:
        self.state.picture.quality[msg.instrument] = msg
        if msg.instrument not in self._made.declared.instruments:
            return
        if msg.quality is Quality.LIVE:
            self._settle_later(ctx)
        else:
            self.state.ready = False

    def _on_break(self, msg: SessionBreak, ctx: Context) -> None:
        """What comes next does not connect: series, indicators and quote of this instrument begin anew."""
        if msg.instrument not in self._made.declared.instruments:
            return
        for series in self._made.series.values():
            if series.instrument == msg.instrument:
                series.begin_anew()
        self.state.quotes_awaited[msg.instrument] = True
        self.state.ready = False

    def _on_instrument(self, msg: InstrumentUpdate, ctx: Context) -> None:
        self.state.picture.instruments[msg.instrument.id] = msg.instrument

    # --- own facts and schedules ------------------------------------------------------------------

    def _on_position(self, msg: PositionUpdate, ctx: Context) -> None:
        self.state.picture.positions[msg.instrument] = msg

    def _on_parent(self, msg: ParentUpdate, ctx: Context) -> None:
        self._picture_parent(msg)
        self._tell(msg, ctx)

    def _on_parent_snapshot(self, msg: ParentSnapshot, ctx: Context) -> None:
        """A picture, no event: nothing has changed, so no handler hears it."""
        self._picture_parent(msg.update)

    def _picture_parent(self, parent: ParentUpdate) -> None:
        parents = self.state.picture.parents
        if parent.phase is Phase.DONE:
            parents.pop(parent.order.parent_id, None)
        else:
            parents[parent.order.parent_id] = parent

    def _on_fill(self, msg: FillUpdate, ctx: Context) -> None:
        self._tell(msg, ctx)

    def _on_refusal(self, msg: Refusal, ctx: Context) -> None:
        if not is_news(self.state, msg):
            return
        if not self.state.started and msg.code != RESTARTING:
            # Of a predecessor's turn, which is on record with its State.
            self.state.lost = [*self.state.lost, msg][-HELD_MAX:]
            return
        note_refusal(self.state, msg)
        self._tell(msg, ctx)

    def _on_timer(self, msg: Timer, ctx: Context) -> None:
        if msg.name == SETTLE:
            self.state.settling = False
            self._settle(ctx)
        elif msg.name == HISTORY:
            self._ask_bars(ctx)
        else:
            self._arm(msg.subject, ctx)
            self._tell(msg, ctx)

    def _arm(self, name: str, ctx: Context) -> None:
        need = next(timer for timer in self._made.declared.timers if timer.name == name)
        due_ns = need.next_ns(ctx.now_ns)
        ctx.after(due_ns - ctx.now_ns, Timer(EVERY, name, due_ns))

    def _tell(self, msg: Held, ctx: Context) -> None:
        """Run the handler of an own fact, or hold the fact until everything is there again."""
        state = self.state
        if not state.started:
            return
        if state.ready:
            self._run(self._handler_of(msg), msg, ctx)
            return
        if isinstance(msg, Timer):
            state.held = [
                one for one in state.held if not (isinstance(one, Timer) and one.subject == msg.subject)
            ]
        state.held.append(msg)
        if len(state.held) > HELD_MAX:
            del state.held[0]
            state.counters.held_dropped += 1

    def _handler_of(self, msg: Held) -> Handler:
        if isinstance(msg, Timer):
            return self._made.on_timer[msg.subject]
        name = _OWN[type(msg)]
        handler: Handler = getattr(self._strategy, name)
        return handler

    # --- readiness ----------------------------------------------------------------------------------

    def _settle_later(self, ctx: Context) -> None:
        """Look behind the facts that wait already whether everything is there."""
        if not self.state.settling and not self.state.ready:
            self.state.settling = True
            ctx.after(0, Timer(SETTLE))

    def _settle(self, ctx: Context) -> bool:
        """Become ready if everything is there: start once, then hand out what was held."""
        state = self.state
        if state.ready or waits_for(state, self._made) is not None:
            return state.ready
        state.ready = True
        ctx.log("info", "strategy_ready", owner=self.wiring.owner, first=not state.started)
        held, state.held = state.held, []
        if not state.started:
            state.started = True
            self.begin(ctx)
        elif state.lost:
            self._keep(self._hear_lost(ctx), ctx)
        for msg in held:
            self._run(self._handler_of(msg), msg, ctx)
        return True

    # --- wishes -------------------------------------------------------------------------------------

    def begin(self, ctx: Context) -> None:
        """Run the first handler, and tell what was lost; the State of the last life is there by now."""
        wishes = wishes_of(type(self._strategy).__name__, self._strategy.on_start(self._view))
        self._keep((*wishes, *self._hear_lost(ctx)), ctx)

    def _hear_lost(self, ctx: Context) -> tuple[AnyWish, ...]:
        """Tell the strategy all that an OMS lost, before a turn carries its State; return its wishes."""
        lost, self.state.lost = self.state.lost, []
        wishes: list[AnyWish] = []
        for refusal in lost:
            note_refusal(self.state, refusal)
            event = "command_lost" if refusal.code == RESTARTING else "refusal_heard_late"
            ctx.log("warning", event, owner=self.wiring.owner, ref=refusal.ref, text=refusal.text)
            wishes += wishes_of(type(self._strategy).__name__, self._strategy.on_refused(refusal, self._view))
        return tuple(wishes)

    def _run(self, handler: Handler, event: Message, ctx: Context) -> None:
        self._keep(handler(event, self._view), ctx)

    def _keep(self, wishes: Commands, ctx: Context) -> None:
        """Carry out what a handler returned; it may have put a new object into `self.state`."""
        self.state.memory = self._strategy.state
        self.act(wishes, ctx)

    def act(
        self, wishes: Commands, ctx: Context, *, again: bool = True, last: tuple[Order, ...] = ()
    ) -> None:
        """Send wishes in order, with the State that they leave, as one turn, and `last` behind them.

        A wish that is refused here is told to the strategy, once; without room all of them are.
        """
        wiring, state = self.wiring, self.state
        parts = []
        for wish in wishes_of(type(self._strategy).__name__, wishes):
            if isinstance(wish, SayWish):
                say(wish, state, wiring, ctx)
            else:
                parts.append(part_of(wish, new_ref(state, ctx), wiring, state.picture))
        commands = [part.command for part in parts if part.command is not None]
        # A strategy that has not begun has no State to journal, and at a stop one may not have heard yet what
        # an OMS has lost: its State would stand on record as if it had.
        heard = state.started and state.positions_known
        changed = self._memory.changed(self._strategy.state, state.journaled) if heard else None
        taken = send_turn(state, wiring, changed, (*commands, *last), ctx)
        for part in parts:
            if taken and part.no is None:
                note_decision(state, wiring, part.wish, ctx)
        refused = [refusal_of(part, wiring, ctx.now_ns) for part in parts if part.no is not None or not taken]
        for refusal in refused:
            note_refusal(state, refusal)
            ctx.log("warning", "wish_refused", owner=wiring.owner, code=refusal.code, text=refusal.text)
            answer = self._strategy.on_refused(refusal, self._view) if again else ()
            state.memory = self._strategy.state
            self.act(answer, ctx, again=False)


_OWN: dict[type[Message], str] = {
    FillUpdate: "on_fill",
    ParentUpdate: "on_parent",
    Refusal: "on_refused",
}

_HANDLERS: dict[type[Message], Callable[[Trader, Any, Context], None]] = {
    Started: Trader._on_started,
    Ready: Trader._on_ready,
    PositionsSent: Trader._on_positions_sent,
    OwnerMemory: Trader._on_memory,
    Stop: Trader._on_stop,
    ConfigChanged: Trader._on_config,
    BarsClosed: Trader._on_bars,
    BarHistory: Trader._on_history,
    Quote: Trader._on_quote,
    Trade: Trader._on_trade,
    FeedQuality: Trader._on_quality,
    SessionBreak: Trader._on_break,
    InstrumentUpdate: Trader._on_instrument,
    PositionUpdate: Trader._on_position,
    ParentUpdate: Trader._on_parent,
    ParentSnapshot: Trader._on_parent_snapshot,
    FillUpdate: Trader._on_fill,
    Refusal: Trader._on_refusal,
    Timer: Trader._on_timer,
}
