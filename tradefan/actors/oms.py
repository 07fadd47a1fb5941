"""The order manager: one actor for all accounts, the only writer of `Trading` and of the journal.

`handle` is one atomic turn: a handler reads the state, emits records (each folded at once by
`core/trading.apply`), and collects effects. At its end parents that changed are given to their executors,
modes are judged, everybody concerned is told, the records go to the journal as one Append, and guarded
effects wait in the outbox until that is durable. Parts: `oms_submit` (wishes), `oms_owners` (a strategy's
turn), `oms_engine` (parents), `oms_executor` (the fence around their plug-ins), `oms_gate` (reference,
risk), `oms_trigger`, `oms_watch`, `oms_fired` (contingent parents), `oms_group` (groups), `oms_over` (what
a late fill leaves no room for), `oms_waiting` (what is on its way out), `oms_venue` (reports), `oms_fills`,
`oms_external` (what is not ours), `oms_recovery` (fold, journal, connection), `oms_look` and `oms_evidence`
(looks and what they prove), `oms_modes`, `oms_kill`, `oms_human`, `oms_desk` (books), `oms_epoch` (ids),
`oms_curve` (volumes of earlier days), `oms_market` (feeds, rules), `oms_stop`, `oms_view`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from tradefan.actors.oms_amend_wish import on_amend
from tradefan.actors.oms_audit import on_asked
from tradefan.actors.oms_curve import on_volume_days
from tradefan.actors.oms_desk import on_ask_positions, on_equity_mark
from tradefan.actors.oms_engine import advance
from tradefan.actors.oms_evidence import on_look_done
from tradefan.actors.oms_fills import on_bust, on_fill, on_history
from tradefan.actors.oms_human import on_assign, on_resolve
from tradefan.actors.oms_kill import (
    on_byte_set,
    on_kill,
    on_kill_timer,
    on_resume,
    on_resume_timer,
)
from tradefan.actors.oms_look import on_look_timer
from tradefan.actors.oms_market import on_feed, on_rules, on_session_break, on_tick
from tradefan.actors.oms_modes import (
    judge,
    on_actor_state,
    on_first_quote,
    on_loop_lag,
    on_mode_timer,
    on_set_mode,
    suspect_all,
)
from tradefan.actors.oms_owners import end_strangers, on_owner_state, on_owner_turn
from tradefan.actors.oms_pause import on_pause, on_resume_order
from tradefan.actors.oms_plan import on_ask_plan
from tradefan.actors.oms_policy import on_alive_timer, on_policy_timer, wake_parents
from tradefan.actors.oms_recovery import (
    on_account_state,
    on_balances,
    on_chain_broken,
    on_durable,
    on_durable_timer,
    on_fold_timer,
    on_journal_failed,
    on_journal_works,
    on_rows,
    on_safe_timer,
    on_started,
    place_poison,
    snapshot_if_due,
    watch_durable,
)
from tradefan.actors.oms_state import STASH_MAX, OmsState, OmsWiring, Stashed, Turn
from tradefan.actors.oms_stop import (
    answer_if_done,
    on_flatten_timer,
    on_stop,
    on_stop_begun,
    on_stop_timer,
    verified,
)
from tradefan.actors.oms_submit import (
    on_cancel_all,
    on_cancel_parent,
    on_submit,
    on_target,
    refuse,
    require_numbers,
    resolve_waiting,
)
from tradefan.actors.oms_tca import on_tca_timer, on_written
from tradefan.actors.oms_tca import settle as settle_costs
from tradefan.actors.oms_tca_market import on_quote as see_quote
from tradefan.actors.oms_trigger import on_expiry_timer, on_held_timer, on_quote, on_trade
from tradefan.actors.oms_venue import (
    on_cancel_rejected,
    on_cancel_timer,
    on_gateway_reset,
    on_in_doubt,
    on_not_sent,
    on_report,
)
from tradefan.actors.oms_view import OmsView, oms_view, publish
from tradefan.actors.oms_waiting import not_sent, on_doubt_timer
from tradefan.actors.oms_wakes import on_wake
from tradefan.contracts import RiskRefused
from tradefan.core import outbox
from tradefan.core.wakes import reached
from tradefan.errors import Defect, Refused
from tradefan.messages.account import AccountState, Balances, EquityMark, SetMode
from tradefan.messages.base import Fact
from tradefan.messages.control import (
    ActorState,
    Append,
    ChainBroken,
    ConfigChanged,
    Durable,
    History,
    JournalFailed,
    JournalWorks,
    KillByteSet,
    KillSwitch,
    LoopLag,
    Rows,
    Started,
    Stop,
    StopBegun,
    Timer,
)
from tradefan.messages.gateway import (
    CancelRejected,
    ExecutionReport,
    FillBusted,
    GatewayReset,
    LookDone,
    OrderInDoubt,
    OrderNotSent,
    VenueFill,
)
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import FeedQuality, Quote, SessionBreak, Trade, VolumeDays, VolumeTick
from tradefan.messages.orders import (
    AmendOrder,
    Answer,
    Asked,
    AskPlan,
    AskPositions,
    AssignPosition,
    CancelAll,
    CancelParent,
    OwnerTurn,
    PauseOrder,
    ResolveOrder,
    ResumeOrder,
    ResumeTrading,
    SetTarget,
    SubmitOrder,
)
from tradefan.messages.records import ConfigChange
from tradefan.messages.wire import LinkDown
from tradefan.runtime.actor import Context

__all__ = ["Oms", "OmsState", "OmsView", "OmsWiring"]

ADVANCES_MAX = 1_000
"""Executor questions of one turn beyond those of each open parent; more means that they never end."""
QUESTIONS_EACH = 4
"""A parent decides, places, and waits."""

Handler: TypeAlias = Callable[[Turn, Any], None]


class Oms:
    """The order manager of all accounts."""

    def __init__(self, wiring: OmsWiring, state: OmsState | None = None) -> None:
        """Begin empty: what it knows comes from the journal after `Started`."""
        self.wiring = wiring
        self.state = OmsState() if state is None else state

    def handle(self, msg: Any, ctx: Context) -> None:
        """Take one message."""
        kind = type(msg)
        if kind is Quote:
            quotes = self.state.live.quotes
            known = msg.instrument in quotes
            quotes[msg.instrument] = msg
            see_quote(self.state.live, msg, ctx.now_ns)
            waits = self.state.live.levels.get(msg.instrument)
            woken = [] if waits is None else reached(waits, msg.bid, msg.ask)
            watched = msg.instrument in self.state.live.watchers
            if known and not woken and not watched:
                return
        elif kind is Trade and msg.instrument not in self.state.live.watchers:
            # The last to wait for a price has gone meanwhile.
            return
        turn = Turn(self.state, self.wiring, ctx)
        if kind is Quote:
            turn.woken.update(dict.fromkeys(woken))
            if watched:
                on_quote(turn, msg)
            if not known:
                on_first_quote(turn, msg)
                wake_parents(turn, msg.instrument)
        elif kind in _WAITS and not self.state.live.running:
            _stash(turn, msg)
        else:
            _dispatch(turn, msg)
        _finish(turn)

    def view(self) -> OmsView:
        """Return a bounded picture; it changes nothing."""
        return oms_view(self.state, self.wiring)


def _dispatch(turn: Turn, msg: Any) -> None:
    if isinstance(msg, Fact) and (key := msg.fact_key()) is not None and _set_aside(turn, key, msg):
        # It killed the OMS once; a human resolves it, or has said that it never counts (a fill, a bust).
        turn.live.counters.skipped += 1
        place_poison(turn, key, msg)
        return
    handler = _HANDLERS.get(type(msg))
    if handler is None:
        turn.live.counters.ignored += 1
    else:
        handler(turn, msg)


def _set_aside(turn: Turn, key: str, fact: Fact) -> bool:
    """Say whether a fact waits for a human, or was dropped by one.

    A report is no event but how it stands: the venue says the same again as long as it is so. What a
    human dropped is the word that he has seen; deaf to all that are equal, a doubt or an order would
    never end. One that kills again is set aside again, and its order is a human's to resolve.
    """
    dropped = key in turn.trading.dropped and not isinstance(fact, ExecutionReport)
    return dropped or key in turn.trading.poisons


def _stash(turn: Turn, msg: Stashed) -> None:
    """Keep a fact until the fold is done; commands of that time are refused instead."""
    if len(turn.live.stash) >= STASH_MAX:
        raise Defect(f"expected a fold within {STASH_MAX} facts, got none")
    turn.live.stash.append(msg)


# --- the end of a turn ------------------------------------------------------------------------------


def _finish(turn: Turn) -> None:
    """Ask executors, tell everybody, journal, and let out what is durable."""
    _advance_all(turn)
    judge(turn)
    # What a mode took back or cancelled may be for its executor to hear.
    _advance_all(turn)
    answer_if_done(turn)
    settle_costs(turn)
    publish(turn)
    _journal(turn)
    _release(turn)


def _advance_all(turn: Turn) -> None:
    most = ADVANCES_MAX + QUESTIONS_EACH * len(turn.trading.parents_open)
    for _ in range(most):
        if turn.woken:
            name = next(iter(turn.woken))
            del turn.woken[name]
            advance(turn, name)
        elif turn.ended:
            name = next(iter(turn.ended))
            del turn.ended[name]
            parent = turn.trading.parents.get(name)
            if parent is not None:
                resolve_waiting(turn, parent)
        else:
            return
    raise Defect(f"expected a turn to end, but its parents woke each other {most} times")


def _journal(turn: Turn) -> None:
    """Hand the turn's records over as one Append; its guarded effects wait for its last lsn."""
    trading, live = turn.trading, turn.live
    if turn.records:
        first = trading.lsn - len(turn.records) + 1
        turn.send(turn.wiring.journal, Append(first, trading.epoch, tuple(turn.records)))
        watch_durable(turn)
        snapshot_if_due(turn)
    for effect in turn.guarded:
        outbox.put(live.outbox, trading.lsn, effect)


def _release(turn: Turn) -> None:
    """Send what is durable. A gateway without room refuses a create, which then never was."""
    refused = []
    for effect in outbox.release(turn.live.outbox):
        if isinstance(effect, Answer):
            turn.send(turn.wiring.api, effect)
        elif not turn.send(turn.wiring.gateways[effect.account], effect):
            refused.append(effect)
        elif (create := outbox.create_of(effect)) is not None:
            on_written(turn, create.client_order_id)
    if refused:
        again = turn.next()
        for create in map(outbox.create_of, refused):
            assert create is not None
            order = again.trading.orders.get(create.client_order_id)
            if order is not None:
                not_sent(again, order, "QUEUE_FULL")
        _finish(again)


# --- what needs no file of its own -------------------------------------------------------------------


def _on_link_down(turn: Turn, msg: LinkDown) -> None:
    """Records that waited in the journal's link died with it: begin anew from what the disk holds."""
    raise Defect(f"the {msg.link} link ended ({msg.reason}): fold again")


def _on_rows(turn: Turn, msg: Rows) -> None:
    on_rows(turn, msg, _dispatch)


def _on_look_done(turn: Turn, msg: LookDone) -> None:
    here = turn.account(msg.account)
    # Of a look that is not the present one nobody knows when it was asked.
    asked_ns = here.look_sent_ns if msg.look_id == here.look_id else None
    on_look_done(turn, msg)
    if msg.complete and asked_ns is not None:
        verified(turn, msg.account, asked_ns)


def _on_actor_state(turn: Turn, msg: ActorState) -> None:
    on_actor_state(turn, msg)
    on_owner_state(turn, msg)


def _on_owner_turn(turn: Turn, msg: OwnerTurn) -> None:
    on_owner_turn(turn, msg, _HANDLERS)


def _on_asked(turn: Turn, msg: Asked) -> None:
    on_asked(turn, msg, _HANDLERS)


def _on_config(turn: Turn, msg: ConfigChanged) -> None:
    """Journal which configuration decides from now on; a limit may have been lowered below what is held."""
    if turn.live.running:
        turn.emit(ConfigChange(turn.now, msg.config_id))
        end_strangers(turn)
        suspect_all(turn)


def _on_timer(turn: Turn, timer: Timer) -> None:
    handler = _TIMERS.get(timer.name)
    if handler is not None and (turn.live.running or timer.name in _BEFORE_FOLD):
        handler(turn, timer)


def _if_sound(handler: Handler) -> Handler:
    """Return the handler of a wish behind the check of its numbers."""

    def handle(turn: Turn, wish: SubmitOrder | SetTarget) -> None:
        try:
            require_numbers(wish)
        except Refused as no:
            refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
        else:
            handler(turn, wish)

    return handle


_TIMERS: dict[str, Callable[[Turn, Timer], None]] = {
    "fold": on_fold_timer,
    "look": on_look_timer,
    "wake": on_wake,
    "policy": on_policy_timer,
    "alive": on_alive_timer,
    "cancel": on_cancel_timer,
    "durable": on_durable_timer,
    "stop": on_stop_timer,
    "flatten": on_flatten_timer,
    "mode": on_mode_timer,
    "doubt": on_doubt_timer,
    "tca": on_tca_timer,
    "kill": on_kill_timer,
    "resume": on_resume_timer,
    "safe": on_safe_timer,
    "held": on_held_timer,
    "expiry": on_expiry_timer,
}
_BEFORE_FOLD = ("fold", "stop", "kill")
"""Timers that mean something before the journal is read."""

_WAITS: dict[type[Any], None] = dict.fromkeys(
    (
        ExecutionReport,
        VenueFill,
        Balances,
        OrderNotSent,
        OrderInDoubt,
        CancelRejected,
        LookDone,
        GatewayReset,
        FillBusted,
        EquityMark,
        AskPositions,
        SetMode,
    )
)
"""What waits for the fold (`oms_state.Stashed`)."""

_HANDLERS: dict[type[Any], Handler] = {
    Started: on_started,
    Rows: _on_rows,
    Durable: on_durable,
    JournalFailed: on_journal_failed,
    JournalWorks: on_journal_works,
    ChainBroken: on_chain_broken,
    KillSwitch: on_kill,
    KillByteSet: on_byte_set,
    History: on_history,
    LoopLag: on_loop_lag,
    Timer: _on_timer,
    StopBegun: on_stop_begun,
    Stop: on_stop,
    ConfigChanged: _on_config,
    OwnerTurn: _on_owner_turn,
    Asked: _on_asked,
    AskPlan: on_ask_plan,
    ResumeTrading: on_resume,
    ResolveOrder: on_resolve,
    AssignPosition: on_assign,
    SubmitOrder: _if_sound(on_submit),
    SetTarget: _if_sound(on_target),
    CancelParent: on_cancel_parent,
    PauseOrder: on_pause,
    ResumeOrder: on_resume_order,
    AmendOrder: on_amend,
    CancelAll: on_cancel_all,
    AskPositions: on_ask_positions,
    ExecutionReport: on_report,
    VenueFill: on_fill,
    FillBusted: on_bust,
    OrderNotSent: on_not_sent,
    OrderInDoubt: on_in_doubt,
    CancelRejected: on_cancel_rejected,
    GatewayReset: on_gateway_reset,
    Balances: on_balances,
    LookDone: _on_look_done,
    AccountState: on_account_state,
    ActorState: _on_actor_state,
    SetMode: on_set_mode,
    EquityMark: on_equity_mark,
    FeedQuality: on_feed,
    VolumeTick: on_tick,
    VolumeDays: on_volume_days,
    Trade: on_trade,
    SessionBreak: on_session_break,
    InstrumentUpdate: on_rules,
    LinkDown: _on_link_down,
}
