"""Start, restart and reconnect share one path: fold the journal, ask the venue, merge, READY.

Nothing is decided again by the fold. Creates of an earlier start without an outcome are in doubt;
what a look finds is merged, what two looks prove missing is NOT_PLACED (R4), and nothing is ever
sent again. What looks conclude is in `oms_evidence`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tradefan.actors.oms_epoch import begin_epoch
from tradefan.actors.oms_kill import progress, take_up
from tradefan.actors.oms_look import look_now
from tradefan.actors.oms_modes import leave_gone, suspect_all
from tradefan.actors.oms_owners import act_on_losses, refuse_whole
from tradefan.actors.oms_policy import recover, wake_parents
from tradefan.actors.oms_state import FILLS_KEPT, Stashed, Turn
from tradefan.actors.oms_tca import recover as await_costs
from tradefan.actors.oms_venue import doubt_request
from tradefan.actors.oms_waiting import difference_over, drop_creates, send_cancel, watch_doubt
from tradefan.contracts import RiskRefused
from tradefan.core import modes, outbox
from tradefan.core.order import Order
from tradefan.core.trading import Trading, apply
from tradefan.messages.account import AccountState, Balances
from tradefan.messages.base import Fact
from tradefan.messages.control import (
    ChainBroken,
    Durable,
    Fold,
    Folded,
    Journaled,
    JournalFailed,
    JournalWorks,
    Rows,
    Snap,
    Started,
    Timer,
)
from tradefan.messages.gateway import ExecutionReport
from tradefan.messages.market import AskFeeds
from tradefan.messages.records import Fill, Poison
from tradefan.units import DAY, SECOND, ClientOrderId, InstrumentId

FOLD_AGAIN_NS = 5 * SECOND
_decoder = msgspec.msgpack.Decoder(Trading)
_encoder = msgspec.msgpack.Encoder()

Replay = Callable[[Turn, Stashed], None]


# --- the fold ---------------------------------------------------------------------------------------


def on_started(turn: Turn, msg: Started) -> None:
    """Refuse what waited for a predecessor, and ask for the journal."""
    for command in msg.commands:
        no = RiskRefused("RESTARTING", "the order manager restarts: send it again")
        refuse_whole(turn, command, no)
    turn.live.restart = msg.restart
    if msg.poison is not None:
        turn.live.poison = (msg.poison, msg.poison_text)
    ask_fold(turn)


def ask_fold(turn: Turn) -> None:
    """Ask for everything that the journal holds; a journal that is away is asked again."""
    turn.live.fold_gen = turn.ctx.next_id()
    turn.send(turn.wiring.journal, Fold(turn.live.fold_gen))
    turn.ctx.after(FOLD_AGAIN_NS, Timer("fold", number=turn.live.fold_gen))


def on_fold_timer(turn: Turn, timer: Timer) -> None:
    """Ask again while nothing has come."""
    if not turn.live.running and timer.number == turn.live.fold_gen:
        ask_fold(turn)


def on_rows(turn: Turn, msg: Rows, replay: Replay) -> None:
    """Fold, begin an epoch, doubt what has no outcome, then take what came meanwhile."""
    live = turn.live
    if live.running or msg.gen != live.fold_gen:
        return
    _fold(turn, msg)
    _count_recent(turn)
    if live.restart:
        for ref in turn.wiring.observers:
            turn.send(ref, Folded(turn.trading.lsn))
    live.running = True
    live.fills = [record for record in msg.records if isinstance(record, Fill)][-FILLS_KEPT:]
    live.snap_lsn = msg.snapshot_lsn
    outbox.confirm(live.outbox, msg.durable)
    _begin_epoch(turn, msg)
    _poison(turn)
    take_up(turn, msg.killed)
    _judge_starts(turn, msg)
    _take_up_modes(turn)
    for order in turn.live_orders():
        _take_up(turn, order)
    for name in turn.trading.parents_open:
        recover(turn, turn.trading.parents[name])
        turn.woken[name] = None
    await_costs(turn)
    act_on_losses(turn)
    for account in turn.wiring.accounts:
        # A gateway says when its connection changes, not when we begin: it is asked at once.
        turn.account(account)
        look_now(turn, account)
    for ref in turn.wiring.markets:
        turn.send(ref, AskFeeds())
    stash, live.stash = live.stash, []
    for waiting in stash:
        replay(turn, waiting)


def _fold(turn: Turn, msg: Rows) -> None:
    if msg.snapshot is not None:
        turn.take_over(_decoder.decode(msg.snapshot))
    for record in msg.records:
        apply(turn.trading, record)


def _count_recent(turn: Turn) -> None:
    """Let the creates of the journal's last second count as made now: nobody knows how long ago that was.

    Between two lives the wall clock may have jumped; so a start waits for a second at most.
    """
    since_ns = turn.trading.updated_ns - SECOND
    for order in turn.trading.orders.values():
        if order.created_ns > since_ns and not order.external:
            turn.live.recent.setdefault(order.owner, []).append(turn.now)


def _begin_epoch(turn: Turn, msg: Rows) -> None:
    live, trading = turn.live, turn.trading
    # Where the clock was set back nobody knows for how long.
    down_ns = turn.now - trading.updated_ns if trading.lsn else 0
    live.down_ns = down_ns if down_ns >= 0 else DAY
    epoch = begin_epoch(turn, max(trading.epoch, msg.epoch), restart=live.restart)
    if msg.failing is not None:
        live.journal_failing = msg.failing
        turn.log("critical", "journal_failing", reason=msg.failing)
    if msg.lost:
        turn.log("critical", "journal_loss_accepted", text=msg.lost)
    if trading.unapplied:
        turn.log("critical", "records_unapplied", count=trading.unapplied, records=trading.lsn)
    turn.log(
        "info",
        "folded",
        records=len(msg.records),
        snapshot_lsn=msg.snapshot_lsn,
        epoch=epoch,
        orders_live=len(trading.orders_live),
    )


def _judge_starts(turn: Turn, msg: Rows) -> None:
    """Be SAFE when starts repeat that no orderly stop ended, or when nothing can be written."""
    if turn.live.restart:
        _go_on_safe(turn)
        return
    runtime = turn.config.runtime
    recent = [at for at in turn.trading.starts if turn.now - at <= runtime.starts_window]
    if len(recent) > runtime.starts_max:
        minutes = runtime.starts_window / (60 * SECOND)
        _be_safe(turn, f"SAFE: {len(recent)} starts in {minutes:g} min: only cancels leave for a while")
    elif msg.failing is not None:
        _be_safe(turn, f"SAFE: the journal could not be written at the start: {msg.failing}")


def _be_safe(turn: Turn, text: str) -> None:
    turn.live.safe = text
    turn.ctx.after(modes.SAFE_NS, Timer("safe"))
    turn.log("critical", "safe", reason=text)


def _go_on_safe(turn: Turn) -> None:
    """A restart inside the process does not end SAFE before its time.

    Its mode may hold since an earlier life, by another clock: SAFE began anew with the process.
    """
    known = turn.trading.modes.get("all", {}).get("safe")
    if known is not None:
        turn.live.safe = known.text
        begun_ns = min(max(known.at_ns, *turn.trading.starts[-1:]), turn.now)
        turn.ctx.after(max(begun_ns + modes.SAFE_NS - turn.now, 0), Timer("safe"))


def on_safe_timer(turn: Turn, timer: Timer) -> None:
    """Leave SAFE after its time."""
    turn.live.safe = None
    turn.judge = True


def _take_up_modes(turn: Turn) -> None:
    """Go on with modes of an earlier start: what does not hold any more is left at once."""
    turn.judge = True
    for one in turn.live_orders():
        if one.in_doubt is not None and "hold" in turn.trading.modes.get(one.instrument, {}):
            # Its alarm counts anew; what an earlier one held no start lets go.
            text = f"{one.instrument} was on hold before this start: {one.client_order_id} is in doubt"
            turn.live.holds.setdefault(one.instrument, {})[one.client_order_id] = text
    leave_gone(turn)
    # A limit may have been lowered while nobody was here.
    suspect_all(turn)
    for record in tuple(turn.trading.differences.values()):
        order = turn.trading.orders.get(ClientOrderId(record.subject))
        if order is not None and not order.live:
            turn.emit(difference_over(turn, order))
        elif record.instrument is not None:
            turn.live.holds.setdefault(record.instrument, {})[record.subject] = record.text


def _take_up(turn: Turn, order: Order) -> None:
    """Go on with an order of an earlier start: its open create is in doubt, its cancel is repeated."""
    if not order.acknowledged and order.in_doubt is None:
        doubt_request(turn, order, "restart")
    elif order.in_doubt is not None:
        watch_doubt(turn, order)
    if order.cancel_ns is not None:
        send_cancel(turn, order, 0)


def _poison(turn: Turn) -> None:
    """Journal the fact that killed a predecessor; every poison holds its instrument."""
    live = turn.live
    if live.poison is not None:
        key, text = live.poison
        live.poison = None
        turn.emit(Poison(turn.now, key, _instrument_of(turn, key), text))
        turn.log("critical", "poison", fact_key=key)


def place_poison(turn: Turn, key: str, fact: Fact) -> None:
    """Hold the instrument of a report that is poison when it comes again, where its key does not tell it."""
    record = turn.trading.poisons.get(key)
    if record is not None and record.instrument is None and isinstance(fact, ExecutionReport):
        turn.emit(Poison(turn.now, key, fact.instrument, record.text))
        turn.judge = True


def _instrument_of(turn: Turn, fact_key: str) -> InstrumentId | None:
    """Return the instrument that a fact key names, or that its order is in."""
    kind, *words = fact_key.split(" ")
    if kind in ("fill", "bust") and len(words) == 3:
        return InstrumentId(words[1])
    if kind == "trade" and words:
        return InstrumentId(words[0])
    order = turn.trading.orders.get(ClientOrderId(words[1])) if kind == "report" and len(words) > 1 else None
    return None if order is None else order.instrument


# --- journal -------------------------------------------------------------------------------------------


def on_journal_failed(turn: Turn, msg: JournalFailed) -> None:
    """Let only cancels leave until the disk writes again; records wait in the link."""
    if turn.live.journal_failing is None:
        turn.log("critical", "journal_failing", reason=msg.reason)
    turn.live.journal_failing = msg.reason
    turn.judge = True
    drop_creates(turn, lambda _: True, "journal failing")


def on_durable_timer(turn: Turn, timer: Timer) -> None:
    """Treat a disk that says nothing in time as a failing journal."""
    if turn.live.durable_due_ns == timer.number:
        waits = turn.trading.lsn - turn.live.outbox.durable
        on_journal_failed(turn, JournalFailed(f"{waits} records are not on the disk"))


def on_durable(turn: Turn, msg: Durable) -> None:
    """Note what is on the disk; a journal that caught up is a journal that works."""
    live = turn.live
    outbox.confirm(live.outbox, msg.lsn)
    live.durable_due_ns = 0
    if live.running:
        # A repair at the start says this before the fold: nothing is known yet of what was made.
        for ref in turn.wiring.followers:
            turn.send(ref, Journaled(live.outbox.durable, turn.trading.lsn))
    if live.killing or live.resuming or live.unheard:
        progress(turn)
    if msg.lsn < turn.trading.lsn:
        watch_durable(turn)
    else:
        _journal_works(turn, msg.lsn)


def on_journal_works(turn: Turn, msg: JournalWorks) -> None:
    """Take the word of a probe, where nothing waits that would prove it."""
    if turn.live.outbox.durable >= turn.trading.lsn:
        _journal_works(turn, turn.trading.lsn)


def _journal_works(turn: Turn, lsn: int) -> None:
    if turn.live.journal_failing is not None:
        turn.log("warning", "journal_works", lsn=lsn)
        turn.live.journal_failing = None
        turn.judge = True


def on_chain_broken(turn: Turn, msg: ChainBroken) -> None:
    """An old part of the journal was altered: nothing new is risked until a human has looked."""
    turn.live.chain_broken = f"the journal is altered at lsn {msg.lsn}: {msg.text}"
    turn.judge = True
    turn.log("critical", "chain_broken", lsn=msg.lsn, text=msg.text)


def watch_durable(turn: Turn) -> None:
    """Expect a word from the disk within `journal.durable_timeout`."""
    live, timeout_ns = turn.live, turn.config.journal.durable_timeout
    if not live.durable_due_ns:
        live.durable_due_ns = turn.now + timeout_ns
        turn.ctx.after(timeout_ns, Timer("durable", number=live.durable_due_ns))


def snapshot_if_due(turn: Turn, *, now: bool = False) -> None:
    """Hand the whole state over from time to time: recovery reads the newest and what follows it."""
    live, lsn = turn.live, turn.trading.lsn
    due = lsn - live.snap_lsn >= turn.config.journal.snapshot_every
    if (due or now) and lsn > live.snap_lsn and live.journal_failing is None:
        live.snap_lsn = lsn
        live.counters.snapshots += 1
        turn.send(turn.wiring.journal, Snap(lsn, _encoder.encode(turn.trading)))


# --- connection ------------------------------------------------------------------------------------------


def on_account_state(turn: Turn, msg: AccountState) -> None:
    """Look as soon as the venue is there; nothing that waits survives a disconnection."""
    here = turn.account(msg.account)
    was = here.connected
    here.connected, here.reason, here.heard = msg.connected, msg.reason, True
    wake_parents(turn, account=msg.account)
    here.auth = msg.auth or here.auth
    here.shut_until_ns = msg.shut_until_ns if msg.shut else 0
    here.banned_until_ns = msg.shut_until_ns if msg.shut == "BAN" else 0
    turn.judge = True
    if not msg.connected:
        here.ready, here.look_id = False, 0
        drop_creates(turn, lambda create: create.account == msg.account, "disconnected")
    elif turn.live.running and not was:
        here.look_id = 0
        look_now(turn, msg.account)


def on_balances(turn: Turn, msg: Balances) -> None:
    """Keep the totals of a look until it is done."""
    if msg.source == "look":
        here = turn.account(msg.account)
        here.totals = {item.asset: item.free + item.locked for item in msg.balances}
