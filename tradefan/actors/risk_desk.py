"""The second pair of eyes: its own book, equity, and four limits that stop new risk.

It values its own book, kept from fills, at marks taken once a second. A limit that does not hold
becomes a mode of the OMS in the turn that learns it. Exposure and concentration let go when they
have held again for a while; drawdown and daily loss stay until a human, or the next day. Every 15 s
it asks the OMS for its book and compares: two looks apart by more than a lot hold the instrument.

Where the market was interrupted (the seam of a looped recording) equity jumps without anybody having
won or lost: such a jump is booked apart, and day start and peak move with it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tradefan.actors import risk_desk_books as books
from tradefan.actors.risk_desk_limits import (
    book_back,
    book_gone,
    book_seams,
    evaluate,
    let_go,
    repeat_latched,
    set_mode,
)
from tradefan.actors.risk_desk_state import Account, Desk, RiskDeskState, RiskDeskWiring, RiskView, Told
from tradefan.actors.risk_desk_view import equity_point, risk_point, risk_view
from tradefan.core.equity import Curve, Valuer, book_fill
from tradefan.errors import Defect
from tradefan.messages.account import EquityMark, OwnBook, SetMode
from tradefan.messages.control import ActorState, ConfigChanged, Ready, Started, Stop, Stopped, Timer
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import AskFeeds, FeedQuality, Quote, SessionBreak
from tradefan.messages.orders import AskPositions, FillUpdate, PositionMoved, PositionsSent, PositionUpdate
from tradefan.runtime.actor import Context
from tradefan.units import SECOND, AccountId, exact, plain

TICK = "second"
LOOK_NS = 14 * SECOND
"""Two looks find a difference within the 30 s that I-45 allows."""
POINT_NS = 5 * SECOND
_HALF = Decimal("0.5")


class RiskDesk:
    """Watches what accounts are worth."""

    def __init__(self, wiring: RiskDeskWiring, state: RiskDeskState | None = None) -> None:
        """Begin without a book, or where a snapshot was."""
        self.wiring = wiring
        self.state = state or RiskDeskState(
            accounts={account: Account() for account in wiring.accounts},
        )
        # What is observed since the snapshot was taken; of all others it may have heard newer rules.
        self.state.instruments = {**wiring.instruments, **self.state.instruments}
        self.valuer = Valuer(self.state.instruments, wiring.numeraire)

    def handle(self, msg: Any, ctx: Context) -> None:
        """Take one message."""
        handler = _HANDLERS.get(type(msg))
        if handler is None:
            raise Defect(f"the risk desk does not take {type(msg).__name__}")
        handler(self, msg, ctx)

    def view(self) -> RiskView:
        """Return a picture for status and metrics."""
        return risk_view(self.state, self.wiring, self.valuer)

    # --- beginning and asking -----------------------------------------------------------------------

    def _on_started(self, msg: Started, ctx: Context) -> None:
        for market in self.wiring.markets:
            ctx.send(market, AskFeeds())
        self._ask(ctx)
        self._say(ctx)
        self._arm(ctx)

    def _on_ready(self, msg: Ready, ctx: Context) -> None:
        """The OMS began anew and knows nothing of us: say everything again, and compare."""
        self.state.said = ""
        for name, account in self.state.accounts.items():
            repeat_latched(self._desk(ctx), name, account)
        self._ask(ctx)
        self._evaluate_all(ctx)

    def _ask(self, ctx: Context) -> None:
        self.state.asked_ns, self.state.asked = ctx.now_ns, ctx.next_id()
        self._forget_told()
        ctx.send(self.wiring.oms, AskPositions(None, self.state.asked))

    def _forget_told(self) -> None:
        for account in self.state.accounts.values():
            account.told = None

    def _on_own_book(self, msg: OwnBook, ctx: Context) -> None:
        account = self.state.accounts.get(msg.account)
        if account is not None:
            account.told = account.told or Told()
            books.note(account.told, msg)

    def _on_equity_mark(self, msg: EquityMark, ctx: Context) -> None:
        """Take up day start and peak of an earlier life; our own are newer.

        It is what the OMS has on record: one that began anew may have lost what its predecessor was told.
        """
        account = self.state.accounts.get(msg.account)
        if account is not None and account.curve is not None:
            account.marked = msg
            rolled = msg.day_start_ns != account.curve.day_start_ns
            if rolled and "daily_loss" not in account.latched:
                set_mode(self._desk(ctx), msg.account, "daily_loss", "NORMAL")
        elif account is not None:
            account.curve = Curve(
                msg.day_start_ns, msg.day_equity, msg.peak_equity, msg.seam, dict(msg.day_fees)
            )
            account.marked = msg
            account.last_marks = dict(msg.marks)
            account.transferred = dict(msg.transferred or {})
            account.gone = dict(msg.gone)

    def _on_positions_sent(self, msg: PositionsSent, ctx: Context) -> None:
        """The OMS's answer is whole: take its book over where we have none, else compare.

        One to a question of a predecessor, or of ours before the newest, may have begun before we listened.
        """
        if msg.owner is None and msg.asked not in {0, self.state.asked}:
            self._forget_told()
        elif msg.owner is None:
            self.state.counters.looks += 1
            books.compare(self._desk(ctx), msg.generation)
            for name, account in self.state.accounts.items():
                book_gone(self._desk(ctx), name, account)
                book_back(self._desk(ctx), name, account)
            self._evaluate_all(ctx)

    def _on_position(self, msg: PositionUpdate, ctx: Context) -> None:
        account = self.state.accounts.get(msg.account)
        if account is not None:
            account.results.setdefault(msg.owner, {})[msg.instrument] = msg

    def _on_fill(self, msg: FillUpdate, ctx: Context) -> None:
        account = self.state.accounts.get(msg.account)
        instrument = self.state.instruments.get(msg.instrument)
        if account is None or account.book is None or instrument is None:
            # Without a book, the answer that we wait for holds this fill already.
            self.state.counters.unbooked += 1
            return
        self.state.counters.fills += 1
        book_fill(account.book, instrument, msg)
        evaluate(self._desk(ctx), msg.account, account)
        self._say(ctx)

    def _on_moved(self, msg: PositionMoved, ctx: Context) -> None:
        """A human gave a quantity to another owner; what the account holds is the same."""
        account = self.state.accounts.get(msg.account)
        instrument = self.state.instruments.get(msg.instrument)
        if account is not None and account.book is not None and instrument is not None:
            books.move(account.book, instrument, msg)

    # --- the market -----------------------------------------------------------------------------------

    def _on_quote(self, msg: Quote, ctx: Context) -> None:
        self.state.quotes[msg.instrument] = msg

    def _on_quality(self, msg: FeedQuality, ctx: Context) -> None:
        self.state.qualities[msg.instrument] = msg.quality

    def _on_break(self, msg: SessionBreak, ctx: Context) -> None:
        """Keep the last mark until the market goes on; a quote from before may still wait behind us."""
        self.state.breaks[msg.instrument] = msg.at_ns

    def _on_instrument(self, msg: InstrumentUpdate, ctx: Context) -> None:
        self.state.instruments[msg.instrument.id] = msg.instrument
        self.valuer = Valuer(self.state.instruments, self.wiring.numeraire)

    def _take_marks(self, ctx: Context) -> None:
        """Mark every instrument at the middle of its last quote; what a break did is booked apart."""
        state = self.state
        fresh = {
            name: (exact(quote.bid) + exact(quote.ask)) * _HALF
            for name, quote in state.quotes.items()
            if quote.recv_ns > state.breaks.get(name, -1)
        }
        seams = {name: fresh[name] for name in state.breaks if name in fresh}
        if seams:
            book_seams(self._desk(ctx), seams)
            state.breaks = {name: at_ns for name, at_ns in state.breaks.items() if name not in seams}
        state.marks.update(fresh)
        self._stand_in(ctx)

    def _stand_in(self, ctx: Context) -> None:
        """Value what is held of a halted instrument as when equity was measured last.

        Nobody quotes it after a start, maybe for days: the account would not be seen, and nothing new
        traded in all others. Day start and peak hold this very value, so it is neither loss nor gain.
        """
        state = self.state
        for account in state.accounts.values():
            for name, mark in account.last_marks.items():
                instrument = state.instruments.get(name)
                if name not in state.marks and instrument is not None and instrument.status != "TRADING":
                    state.marks[name] = mark
                    ctx.log("warning", "mark_stands_in", instrument=name, mark=plain(mark))

    # --- what follows ---------------------------------------------------------------------------------

    def _desk(self, ctx: Context) -> Desk:
        return Desk(self.wiring, self.state, self.valuer, ctx)

    def _evaluate_all(self, ctx: Context) -> None:
        desk = self._desk(ctx)
        for name, account in self.state.accounts.items():
            evaluate(desk, name, account)
        self._say(ctx)

    def _on_set_mode(self, msg: SetMode, ctx: Context) -> None:
        """A human lets go: losses are measured anew from here, a held instrument's book is the OMS's."""
        if msg.mode != "NORMAL":
            return
        account = self.state.accounts.get(AccountId(msg.scope))
        if account is not None:
            let_go(account, msg.cause)
        elif msg.cause == books.HOLD:
            for one in self.state.accounts.values():
                one.book = None
            self._ask(ctx)
        ctx.send(self.wiring.oms, msg)
        self._evaluate_all(ctx)

    def _say(self, ctx: Context) -> None:
        """Tell the OMS whether we see; it takes no new risk while we do not."""
        said, reason = self._state_now()
        self.state.reason = reason
        if said != self.state.said:
            self.state.said = said
            ctx.send(self.wiring.oms, ActorState(self.wiring.name, said, reason))
            ctx.log("info", "risk_desk_state", state=said, reason=reason)

    def _state_now(self) -> tuple[str, str]:
        for name, account in self.state.accounts.items():
            if account.book is None or account.worth is None:
                return "STARTING", f"the book of {name} is not known yet"
            if account.worth.missing:
                return "WARMING", f"no mark yet of {', '.join(account.worth.missing)}"
        return "READY", ""

    # --- time -----------------------------------------------------------------------------------------

    def _on_timer(self, msg: Timer, ctx: Context) -> None:
        state = self.state
        self._arm(ctx)
        self._take_marks(ctx)
        self._evaluate_all(ctx)
        if ctx.now_ns - state.point_ns >= POINT_NS:
            state.point_ns = ctx.now_ns
            self._send_points(ctx)
        unknown = any(account.book is None for account in state.accounts.values())
        if unknown or ctx.now_ns - state.asked_ns >= LOOK_NS:
            self._ask(ctx)

    def _arm(self, ctx: Context) -> None:
        ctx.after(SECOND - ctx.now_ns % SECOND, Timer(TICK))

    def _send_points(self, ctx: Context) -> None:
        for name, account in self.state.accounts.items():
            points = equity_point(name, account, self._desk(ctx)), risk_point(name, account, ctx.now_ns)
            for point in points:
                if point is not None:
                    for ref in self.wiring.stores:
                        ctx.send(ref, point)

    def _on_stop(self, msg: Stop, ctx: Context) -> None:
        """Tell what was not yet told, answer, and go on watching until the end."""
        self.state.stopping = True
        self._evaluate_all(ctx)
        ctx.send(self.wiring.supervisor, Stopped(self.wiring.name))

    def _on_config(self, msg: ConfigChanged, ctx: Context) -> None:
        """A limit that was lowered below what is held counts in this very step.

        What a feed that comes prices again is day start's, too, before equity has it.
        """
        for name, account in self.state.accounts.items():
            book_back(self._desk(ctx), name, account)
        self._evaluate_all(ctx)


_HANDLERS: dict[type[Any], Callable[[RiskDesk, Any, Context], None]] = {
    Quote: RiskDesk._on_quote,
    Timer: RiskDesk._on_timer,
    FillUpdate: RiskDesk._on_fill,
    PositionUpdate: RiskDesk._on_position,
    PositionMoved: RiskDesk._on_moved,
    OwnBook: RiskDesk._on_own_book,
    EquityMark: RiskDesk._on_equity_mark,
    PositionsSent: RiskDesk._on_positions_sent,
    FeedQuality: RiskDesk._on_quality,
    SessionBreak: RiskDesk._on_break,
    InstrumentUpdate: RiskDesk._on_instrument,
    SetMode: RiskDesk._on_set_mode,
    Started: RiskDesk._on_started,
    Ready: RiskDesk._on_ready,
    ConfigChanged: RiskDesk._on_config,
    Stop: RiskDesk._on_stop,
}
