"""Kill and resume: close, persist, acknowledge, then cancel until two empty looks (RELIABILITY.md 2b).

Whoever kills from the rim has closed the latch already; here it is closed again, because the OMS, the
risk desk and a supervisor may ask for it too. The kill byte is written beside the journal, so that a
kill lasts although the database fails. Only a human's RESUME opens: durable, byte cleared, latch open.
"""

from __future__ import annotations

from tradefan.actors.oms_look import ask_soon, visible_ns
from tradefan.actors.oms_modes import set_mode
from tradefan.actors.oms_parents import complete
from tradefan.actors.oms_state import Killing, Resuming, Turn
from tradefan.actors.oms_submit import refuse
from tradefan.actors.oms_waiting import REPEATS, cancel_order, drop_creates, unsent
from tradefan.contracts import RiskRefused
from tradefan.core.modes import DESK_HUMAN, waits_for_human
from tradefan.core.order import Order
from tradefan.core.scopes import scopes
from tradefan.core.trading import ParentState
from tradefan.messages.account import SetMode
from tradefan.messages.base import Message
from tradefan.messages.control import (
    LAST_RESORT,
    CloseLatch,
    Heard,
    KillAnswer,
    KillByte,
    KillByteSet,
    KillSwitch,
    OpenLatch,
    Timer,
)
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.orders import Answer, OrderStatus, ResumeTrading
from tradefan.messages.records import Kill, ModeChange, Resume
from tradefan.runtime.system import RIM, Ingress
from tradefan.setting import suggest
from tradefan.units import MS, SECOND, AccountId, Ref, plain

ANSWER_NS = 200 * MS
"""A kill is acknowledged at the latest after this, persisted or not."""
AGAIN_NS = SECOND
LOOKS_EMPTY = 2
ALL = "all"
OPEN, SOME, EVERYTHING = 0, 1, 2
"""Values of the kill byte: whatever it says beyond the journal's KILL records counts as `all`.

SOME has no room for a name: it proves a kill only where the journal names no other scope that could
explain it. A second one is proven by its own record, and where the disk does not take that, by EVERYTHING.
"""
UNHEARD, KERNEL = 0, "kernel"
"""Serial of the byte that the kernel has written where order managers die of a kill, and who kills then."""
RESORT = KillSwitch(ALL, "a kill cost order managers their lives", KERNEL)


def on_kill(turn: Turn, msg: KillSwitch) -> None:
    """Close a scope for good; before the fold only latch and byte are closed, the rest waits for it."""
    live = turn.live
    turn.send(turn.wiring.supervisor, CloseLatch(msg.scope, msg.reason))
    _overtake(turn, msg.scope)
    killing = live.killing.setdefault(msg.scope, Killing(msg.scope, None, 0))
    if msg.req is not None and killing.req != msg.req:
        _answer(turn, killing)
        killing.req, killing.answered = msg.req, False
    if killing.lsn is None and not killing.serial:
        _shut_byte(turn, killing)
    turn.ctx.after(ANSWER_NS, Timer("kill", msg.scope, killing.serial))
    if not live.running:
        live.stash.append(msg)
        return
    _carry_out(turn, msg, killing)


def _overtake(turn: Turn, scope: str) -> None:
    """Let a resume go that is still under way: what is killed again is not to be opened by it."""
    for resuming in [one for one in turn.live.resuming if one.scope == scope]:
        turn.live.resuming.remove(resuming)
        if resuming.req is not None:
            wish = ResumeTrading(scope, "", "", req=resuming.req)
            refuse(turn, wish, RiskRefused("KILLED_AGAIN", f"{scope} was killed again meanwhile"))


def _carry_out(turn: Turn, msg: KillSwitch, killing: Killing) -> None:
    known = turn.trading.kills.get(msg.scope)
    again = known is not None and (
        known.including_external >= msg.including_external and known.keep_protection <= msg.keep_protection
    )
    if not again:
        # No later kill takes back what an earlier one forbade.
        external = msg.including_external or (known is not None and known.including_external)
        keep = msg.keep_protection and (known is None or known.keep_protection)
        turn.emit(Kill(turn.now, msg.scope, msg.reason, msg.principal, external, keep))
        if known is not None and killing.lsn is not None:
            # What is on the disk by now says less.
            killing.lsn, killing.persisted = turn.trading.lsn, False
        turn.log("critical", "kill", scope=msg.scope, reason=msg.reason, principal=msg.principal)
    killing.lsn = turn.trading.lsn if killing.lsn is None else killing.lsn
    turn.live.unheard[LAST_RESORT if msg == RESORT else msg.key()] = turn.trading.lsn
    kill = turn.trading.kills[msg.scope]
    killing.naked = tuple({**dict.fromkeys(killing.naked), **dict.fromkeys(_naked(turn, kill))})
    drop_creates(turn, lambda create: _in_scope(create, msg.scope), "kill")
    obey(turn, kill)
    for account in turn.wiring.accounts:
        # A look that is under way shows the time before the kill.
        killing.empty[account] = -1 if turn.account(account).look_id else 0
        ask_soon(turn, account, 0)
    progress(turn)


def obey(turn: Turn, kill: Kill) -> None:
    """Cancel what is forbidden in a killed scope: own orders; others only when a human said so."""
    for parent in turn.open_parents(lambda item: _parent_in(item, kill.scope)):
        if not (kill.keep_protection and _protects(parent)):
            complete(turn, parent, OrderStatus.CANCELED, "kill")
    for order in turn.live_orders():
        if _in_scope(order, kill.scope) and not _stays(order, kill):
            cancel_order(turn, order, "kill", external=kill.including_external)


def _stays(order: Order, kill: Kill) -> bool:
    """Say whether an order may rest in a killed scope: another's, or protection that is to be kept."""
    return (order.external and not kill.including_external) or (kill.keep_protection and order.reduce_only)


def _in_scope(order: Order | CreateOrder, scope: str) -> bool:
    return scope in scopes(order.account, order.instrument, order.owner)


def _protects(parent: ParentState) -> bool:
    return parent.order.protective or parent.order.reduce_only


def _parent_in(parent: ParentState, scope: str) -> bool:
    order = parent.order
    return scope in scopes(order.account, order.instrument, order.owner)


def _naked(turn: Turn, kill: Kill) -> list[str]:
    """Name the positions that lose an order which protected or closed them, or have none that may stay."""
    protected = turn.open_parents(lambda item: _protects(item) and _parent_in(item, kill.scope))
    waiting, found = unsent(turn), []
    for parent in protected:
        order = parent.order
        children = [turn.trading.orders[name] for name in parent.live]
        stay = [child for child in children if child.client_order_id not in waiting and _stays(child, kill)]
        if stay and stay == children:
            continue
        held = turn.trading.ledger.positions.get(order.account, {}).get(order.owner, {}).get(order.instrument)
        if held is not None and held.qty:
            found.append(f"{order.owner} {order.instrument} {plain(held.qty)}")
    return found


# --- persisted and acknowledged -----------------------------------------------------------------------


def progress(turn: Turn) -> None:
    """Acknowledge what lasts by now, and take a resume its next step."""
    durable = turn.live.outbox.durable
    for name in [name for name, lsn in turn.live.unheard.items() if lsn <= durable]:
        del turn.live.unheard[name]
        turn.send(turn.wiring.supervisor, Heard(turn.wiring.name, name))
    explained = False
    for killing in turn.live.killing.values():
        if killing.lsn is not None and killing.lsn <= durable:
            explained, killing.raised = explained or killing.raised, False
            killing.persisted = True
        if killing.persisted:
            _answer(turn, killing)
    if explained and not turn.live.resuming:
        _write_byte(turn, _byte(turn))
    _end_verified(turn)
    for resuming in turn.live.resuming:
        if resuming.serial is None and resuming.lsn <= durable:
            resuming.serial = _write_byte(turn, _byte(turn))


def on_byte_set(turn: Turn, msg: KillByteSet) -> None:
    """Take note that the byte is on the disk, or that it could not be written."""
    if msg.serial == UNHEARD:
        if turn.live.closing and msg.error is None:
            # What killed order managers is not risked on the stop's cancels: the next start comes up closed.
            turn.live.shut = True
            return
        # Which scope it was died with our predecessors; everything contains it.
        on_kill(turn, RESORT)
        return
    for killing in turn.live.killing.values():
        proves = killing.alone or msg.value == EVERYTHING
        if killing.serial == msg.serial and msg.error is None and proves:
            killing.persisted = True
    for resuming in [one for one in turn.live.resuming if one.serial == msg.serial]:
        if msg.error is None:
            turn.live.resuming.remove(resuming)
            _open(turn, resuming)
        else:
            turn.ctx.after(AGAIN_NS, Timer("resume", resuming.scope))
    if msg.error is not None:
        turn.log("critical", "kill_byte_failed", reason=msg.error)
    progress(turn)


def on_kill_timer(turn: Turn, timer: Timer) -> None:
    """Acknowledge in any case, and try again to make it last."""
    killing = turn.live.killing.get(timer.subject)
    if killing is None or killing.persisted:
        return
    if not killing.answered:
        turn.log("critical", "kill_not_persisted", scope=killing.scope)
        _answer(turn, killing)
    _shut_byte(turn, killing, slow=True)
    turn.ctx.after(AGAIN_NS, Timer("kill", killing.scope, killing.serial))


def on_resume_timer(turn: Turn, timer: Timer) -> None:
    """Write the byte again for a resume that waits for it."""
    for resuming in turn.live.resuming:
        if resuming.scope == timer.subject:
            resuming.serial = _write_byte(turn, _byte(turn))


def _answer(turn: Turn, killing: Killing) -> None:
    if killing.answered:
        return
    killing.answered = True
    if killing.req is not None:
        answer = KillAnswer(killing.req, killing.scope, True, killing.persisted, killing.naked)
        turn.send(turn.wiring.api, answer)


def _shut_byte(turn: Turn, killing: Killing, *, slow: bool = False) -> None:
    """Let the byte say of a kill what it can, and EVERYTHING where the journal does not take its record.

    Before the fold only `all` may be written: what an earlier life left there is not read yet, and SOME
    would lower it.
    """
    live = turn.live
    if not live.running and killing.scope != ALL:
        return
    others = [scope for scope in turn.trading.kills if scope != killing.scope]
    # A resume that is under way may be lost, and then its scope is killed still.
    killing.alone = killing.alone or not (others or live.resuming)
    killing.raised = not killing.alone and (slow or live.journal_failing is not None)
    killing.serial = _write_byte(turn, _byte(turn))


def _write_byte(turn: Turn, value: int) -> int:
    serial = turn.ctx.next_id()
    turn.send(turn.wiring.journal, KillByte(value, serial))
    return serial


def last_resort(journal: Ref, kill: Message) -> tuple[Ingress, ...]:
    """Have everything closed for good in place of an order manager that cannot hear a kill.

    The kill's own scope is part of it: no record will name it, so no RESUME could ever open its latch.
    """
    assert isinstance(kill, KillSwitch), "nothing else is kept"
    opened = () if kill.scope == ALL else ((RIM, OpenLatch(kill.scope)),)
    return (RIM, CloseLatch(ALL, kill.reason)), *opened, (journal, KillByte(EVERYTHING, UNHEARD))


def _byte(turn: Turn) -> int:
    """Return what the byte has to say; a kill that waits for the fold counts already."""
    killing = turn.live.killing
    if turn.live.shut:
        return EVERYTHING
    closed = (*turn.trading.kills, *(scope for scope, one in killing.items() if one.lsn is None))
    if ALL in closed or any(one.raised for one in killing.values()):
        return EVERYTHING
    return SOME if closed else OPEN


# --- verified -----------------------------------------------------------------------------------------


def look_done(turn: Turn, account: AccountId, asked_ns: int) -> None:
    """Count the empty looks behind a kill; two in a row end it.

    What others have there may hide from a look for `visible_bound`: where it is to go, so far they are apart.
    """
    for killing in list(turn.live.killing.values()):
        kill = turn.trading.kills.get(killing.scope)
        if kill is None or account not in killing.empty:
            continue
        left = [o for o in turn.live_orders(account) if _in_scope(o, kill.scope) and not _stays(o, kill)]
        for order in left:
            # What others placed since the last look is known only now.
            cancel_order(turn, order, "kill", external=kill.including_external)
        apart_ns = visible_ns(turn, account) if kill.including_external else 0
        if left:
            killing.empty[account] = 0
        elif killing.empty[account] <= 0 or asked_ns >= killing.empty_ns[account] + apart_ns:
            killing.empty[account], killing.empty_ns[account] = killing.empty[account] + 1, asked_ns
        if killing.empty[account] >= LOOKS_EMPTY:
            del killing.empty[account]
        else:
            # What will not go is asked for ever less often, down to R3's 10 s.
            wait_ns = min(max(abs(turn.now - kill.at_ns), SECOND), REPEATS[-1]) if left else SECOND
            ask_soon(turn, account, max(wait_ns, 0 if left else apart_ns))
    _end_verified(turn)


def _end_verified(turn: Turn) -> None:
    """Let go of the kills that are verified, answered and in the journal, whichever came last."""
    durable = turn.live.outbox.durable
    for killing in list(turn.live.killing.values()):
        journaled = killing.lsn is not None and killing.lsn <= durable
        if journaled and killing.answered and not killing.empty:
            del turn.live.killing[killing.scope]
            turn.log("warning", "kill_verified", scope=killing.scope)


# --- the fold, and resume -----------------------------------------------------------------------------


def take_up(turn: Turn, byte: int) -> None:
    """Come up killed where byte or journal say so."""
    kills = turn.trading.kills
    unexplained = (byte == EVERYTHING and ALL not in kills) or (byte == SOME and not kills)
    if unexplained and ALL not in turn.live.killing:
        turn.emit(Kill(turn.now, ALL, "the kill byte is set and no record says why", "journal"))
    for kill in kills.values():
        turn.send(turn.wiring.supervisor, CloseLatch(kill.scope, kill.reason))
        turn.live.killing.setdefault(
            kill.scope, Killing(kill.scope, turn.trading.lsn, 0, answered=True)
        ).empty = dict.fromkeys(turn.wiring.accounts, 0)
        obey(turn, kill)
    restarted = turn.live.restart > 0
    if not restarted and byte != OPEN and ALL not in kills and ALL not in turn.live.killing:
        # A start closes everything where the byte is set; the journal says that it was not everything.
        turn.send(turn.wiring.supervisor, OpenLatch(ALL))
    if restarted:
        # A predecessor may have died behind a durable RESUME, before the latch was open.
        shut = [scope for scope in turn.trading.resumed if scope not in turn.live.killing]
        turn.live.resuming += [Resuming(scope, turn.trading.lsn, None) for scope in shut]
    if byte != _byte(turn):
        _write_byte(turn, _byte(turn))


def on_resume(turn: Turn, wish: ResumeTrading) -> None:
    """Open a scope by a human's word; modes of the risk desk that wait for a human go with it."""
    if not turn.live.running:
        refuse(turn, wish, RiskRefused("NOT_READY", "the journal is being read"))
        return
    waiting = [cause for cause in turn.trading.modes.get(wish.scope, {}) if waits_for_human(cause)]
    if wish.scope not in turn.trading.kills and not waiting:
        known = {
            *turn.trading.kills,
            *(scope for scope, causes in turn.trading.modes.items() if any(map(waits_for_human, causes))),
        }
        text = f"nothing in scope {wish.scope!r} waits for a human{suggest(wish.scope, known)}"
        refuse(turn, wish, RiskRefused("NOTHING_TO_RESUME", text))
        return
    for cause in waiting:
        _let_go(turn, wish.scope, cause)
    turn.emit(Resume(turn.now, wish.scope, wish.reason, wish.principal))
    killing = turn.live.killing.pop(wish.scope, None)
    if killing is not None:
        _answer(turn, killing)
    turn.judge = True
    turn.log("warning", "resume", scope=wish.scope, reason=wish.reason, principal=wish.principal)
    turn.live.resuming.append(Resuming(wish.scope, turn.trading.lsn, wish.req))


def _let_go(turn: Turn, scope: str, cause: str) -> None:
    """Withdraw one cause; the risk desk measures a loss anew from here."""
    live = turn.live
    if cause == "chain":
        live.chain_broken = None
    elif cause == "safe":
        live.safe = None
    elif cause == "auth" and scope in turn.wiring.accounts:
        turn.account(AccountId(scope)).auth = ""
    set_mode(turn, ModeChange(turn.now, scope, cause, "NORMAL", "", ""))
    if cause in DESK_HUMAN:
        turn.send(turn.wiring.risk_desk, SetMode(scope, cause, "NORMAL", "", ""))


def _open(turn: Turn, resuming: Resuming) -> None:
    """Open the latch behind record and byte, unless it was closed again meanwhile."""
    if resuming.scope not in turn.trading.kills:
        turn.send(turn.wiring.supervisor, OpenLatch(resuming.scope))
    if resuming.req is not None:
        turn.send(turn.wiring.api, Answer(resuming.req, ()))
