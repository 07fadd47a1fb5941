"""Start, restart and reconnect share one path: fold the journal, ask the venue, merge, READY.

Nothing is decided again by the fold. Creates of an earlier start without an outcome are in doubt;
what a look finds is merged, what two looks prove missing is NOT_PLACED (R4), and nothing is ever
sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from tradefan.actors.oms_engine import repeat_after, send_cancel
from tradefan.actors.oms_look import (
    SECOND_LOOK_NS,
    ask_soon,
    doubtful_creates,
    look_now,
    query,
    r4_earliest,
)
from tradefan.actors.oms_state import FILLS_KEPT, AccountLive, Stashed, Turn
from tradefan.actors.oms_submit import refuse
from tradefan.actors.oms_venue import doubt, not_sent
from tradefan.contracts import RiskRefused
from tradefan.core import outbox
from tradefan.core.ids import next_epoch
from tradefan.core.ledger import balance
from tradefan.core.order import Order
from tradefan.core.trading import apply
from tradefan.messages.account import AccountState, Balances
from tradefan.messages.control import Durable, Fold, JournalFailed, Ready, Rows, Started, Timer
from tradefan.messages.market import AskFeeds
from tradefan.messages.orders import CreateOrder, Doubt, LookDone
from tradefan.messages.records import (
    Cursor,
    Epoch,
    Fill,
    InDoubt,
    Opening,
    Poison,
    Resolved,
    Sealed,
    Transfer,
)
from tradefan.units import MINUTE, SECOND, ZERO, AccountId, Asset, ClientOrderId, InstrumentId, exact, plain

FOLD_AGAIN_NS = 5 * SECOND
UNANSWERED_NS = 10 * SECOND
"""A create without any word this long after its deadline is in doubt, whoever lost it."""
SEAL_MIN_NS = 10 * MINUTE
QUIET_NS = 5 * SECOND
MISSING_NS = 30 * SECOND
"""Fills this long behind the venue's quantity are an error; until they come nothing is a transfer."""

Replay = Callable[[Turn, Stashed], None]


# --- the fold ---------------------------------------------------------------------------------------


def on_started(turn: Turn, msg: Started) -> None:
    """Refuse what waited for a predecessor, and ask for the journal."""
    for command in msg.commands:
        refuse(turn, command, RiskRefused("RESTARTING", "the order manager restarts: send it again"))
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
    for record in msg.records:
        apply(turn.trading, record)
    live.running = True
    live.fills = [record for record in msg.records if isinstance(record, Fill)][-FILLS_KEPT:]
    outbox.confirm(live.outbox, msg.durable)
    wiring, trading = turn.wiring, turn.trading
    epoch = next_epoch(trading.epoch)
    turn.emit(Epoch(turn.now, epoch, wiring.instance, turn.ctx.config_id, wiring.version))
    if trading.unapplied:
        turn.log("critical", "records_unapplied", count=trading.unapplied, records=trading.lsn)
    turn.log("info", "folded", records=len(msg.records), epoch=epoch, orders_live=len(trading.orders_live))
    _poison(turn)
    for order in turn.live_orders():
        _take_up(turn, order)
    for name in trading.parents_open:
        turn.woken[name] = None
    for account in wiring.accounts:
        # A gateway says when its connection changes, not when we begin: it is asked at once.
        look_now(turn, account)
    for ref in wiring.markets:
        turn.send(ref, AskFeeds())
    stash, live.stash = live.stash, []
    for waiting in stash:
        replay(turn, waiting)


def _take_up(turn: Turn, order: Order) -> None:
    """Go on with an order of an earlier start: its open create is in doubt, its cancel is repeated."""
    if not order.acknowledged and order.in_doubt is None:
        turn.emit(InDoubt(turn.now, order.account, order.client_order_id, Doubt.CREATE, "restart"))
        turn.touch(order)
    if order.cancel_ns is not None:
        send_cancel(turn, order, 0)


def _poison(turn: Turn) -> None:
    """Journal the fact that killed a predecessor; every poison holds its instrument."""
    live, trading = turn.live, turn.trading
    if live.poison is not None:
        key, text = live.poison
        live.poison = None
        turn.emit(Poison(turn.now, key, _instrument_of(turn, key), text))
        turn.log("critical", "poison", fact_key=key)
    for key, record in trading.poisons.items():
        if record.instrument is not None:
            live.holds[record.instrument] = key


def _instrument_of(turn: Turn, fact_key: str) -> InstrumentId | None:
    """Return the instrument that a fact key names, or that its order is in."""
    kind, *words = fact_key.split(" ")
    if kind == "fill" and len(words) == 3:
        return InstrumentId(words[1])
    order = turn.trading.orders.get(ClientOrderId(words[1])) if kind == "report" and len(words) > 1 else None
    return None if order is None else order.instrument


# --- journal -------------------------------------------------------------------------------------------


def on_journal_failed(turn: Turn, msg: JournalFailed) -> None:
    """Let only cancels leave until the disk writes again; records wait in the link."""
    if turn.live.journal_failing is None:
        turn.log("critical", "journal_failing", reason=msg.reason)
    turn.live.journal_failing = msg.reason
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
    if msg.lsn < turn.trading.lsn:
        watch_durable(turn)
    elif live.journal_failing is not None:
        turn.log("warning", "journal_works", lsn=msg.lsn)
        live.journal_failing = None


def watch_durable(turn: Turn) -> None:
    """Expect a word from the disk within `journal.durable_timeout`."""
    live, timeout_ns = turn.live, turn.config.journal.durable_timeout
    if not live.durable_due_ns:
        live.durable_due_ns = turn.now + timeout_ns
        turn.ctx.after(timeout_ns, Timer("durable", number=live.durable_due_ns))


def drop_creates(turn: Turn, forbidden: Callable[[CreateOrder], bool], reason: str) -> None:
    """Take the waiting creates out that something forbids now: nothing of them has left."""
    for create in outbox.drop(turn.live.outbox, forbidden):
        turn.log("warning", "create_dropped", client_order_id=create.client_order_id, reason=reason)
        order = turn.trading.orders.get(create.client_order_id)
        if order is not None:
            not_sent(turn, order, "LOCAL_EXPIRED")


# --- connection ------------------------------------------------------------------------------------------


def on_account_state(turn: Turn, msg: AccountState) -> None:
    """Look as soon as the venue is there; nothing that waits survives a disconnection."""
    here = turn.account(msg.account)
    was = here.connected
    here.connected, here.reason, here.heard = msg.connected, msg.reason, True
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


# --- the end of a look -----------------------------------------------------------------------------------


def on_look_done(turn: Turn, msg: LookDone) -> None:
    """Draw the conclusions of a look; an incomplete one proves nothing and is repeated."""
    here = turn.account(msg.account)
    if msg.look_id != here.look_id:
        return
    here.look_id = 0
    if not msg.complete:
        here.look_failures += 1
        ask_soon(turn, msg.account, repeat_after(here.look_failures))
        return
    here.look_failures = 0
    here.connected = here.heard = True
    for name in here.named:
        here.queries.pop(name, None)
    if not _opened(turn, msg, here):
        ask_soon(turn, msg.account, repeat_after(0))
        return
    _move_cursors(turn, msg)
    _weigh_missing(turn, msg, here)
    _check_unseen(turn, msg, here)
    _check_balances(turn, msg, here)
    _seal(turn, msg)
    here.ready = True
    _announce(turn, msg.account, here)
    _schedule(turn, msg, here)


def _opened(turn: Turn, msg: LookDone, here: AccountLive) -> bool:
    """Book what the account held before us, once, from a look in which nothing happened."""
    if msg.account in turn.trading.opened:
        return True
    if here.totals is None or here.activity_ns >= msg.asked_ns:
        return False
    held = {asset: qty for asset, qty in here.totals.items() if qty} or {turn.wiring.numeraire: ZERO}
    cursors = msg.cursors
    for asset, qty in held.items():
        turn.emit(Opening(turn.now, msg.account, asset, qty, _mark(turn, msg.account, asset), cursors))
        cursors = ()
    turn.log("info", "account_opened", account=msg.account, assets=len(held))
    return True


def _mark(turn: Turn, account: AccountId, asset: Asset) -> Decimal | None:
    """Return an asset's price in the numeraire now, None where nobody quotes it."""
    for name in turn.wiring.accounts.get(account, ()):
        instrument, quote = turn.instrument(name), turn.live.quotes.get(name)
        pair = instrument is not None and (instrument.base, instrument.quote) == (
            asset,
            turn.wiring.numeraire,
        )
        if pair and quote is not None:
            return (exact(quote.bid) + exact(quote.ask)) / 2
    return None


def _move_cursors(turn: Turn, msg: LookDone) -> None:
    """Note up to where trades are booked; not past a fill that is poison, which still waits for a human."""
    known = turn.trading.cursors.get(msg.account, {})
    for instrument, trade_id in msg.cursors:
        if instrument in turn.live.holds:
            continue
        if trade_id is not None and known.get(instrument) != trade_id:
            turn.emit(Cursor(turn.now, msg.account, instrument, trade_id))


def _weigh_missing(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Take "not found" as evidence where it can be: twice, late enough, 5 s apart (R4)."""
    for name in msg.missing:
        order = turn.trading.orders.get(name)
        if order is None or not order.live:
            continue
        if order.in_doubt is not Doubt.CREATE:
            # The venue knew it and does not now: that ends nothing, a human has to look.
            turn.log("error", "order_missing", client_order_id=name, status=order.status)
            continue
        first_ns = here.negatives.get(name)
        if msg.asked_ns < r4_earliest(turn, order):
            continue
        if first_ns is None:
            here.negatives[name] = msg.asked_ns
        elif msg.asked_ns - first_ns >= SECOND_LOOK_NS:
            del here.negatives[name]
            _not_placed(turn, order, first_ns, msg.asked_ns)


def _not_placed(turn: Turn, order: Order, first_ns: int, second_ns: int) -> None:
    name = order.client_order_id
    turn.emit(
        Resolved(turn.now, order.account, name, "NOT_PLACED", "two complete looks", first_ns, second_ns)
    )
    turn.touch(order)
    turn.log("warning", "not_placed", client_order_id=name)


def _check_unseen(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Ask by id for what should have been among the open orders; doubt what nobody ever spoke of."""
    waiting = outbox.creates(turn.live.outbox)
    for order in turn.live_orders(msg.account):
        name = order.client_order_id
        if name in here.seen or name in waiting or order.created_ns >= msg.asked_ns:
            continue
        if order.acknowledged and name not in msg.missing:
            query(turn, order)
        elif not order.acknowledged and turn.now > order.not_after_ns + UNANSWERED_NS:
            doubt(turn, order, Doubt.CREATE, "no answer")


def _check_balances(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Book a difference between venue and ledger to `external`: a deposit, a withdrawal, a correction.

    Two looks have to agree on it, 5 s apart, with nothing of ours under way in between. The assets of
    an instrument on hold are left alone: a fill of it that nobody booked explains the difference.
    """
    if here.totals is None:
        return
    books = turn.trading.ledger.balances.get(msg.account, {})
    names = dict.fromkeys((*here.totals, *books))
    found = {
        asset: here.totals.get(asset, ZERO) - balance(turn.trading.ledger, msg.account, asset)
        for asset in names
    }
    held = _held_assets(turn, msg.account)
    found = {asset: qty for asset, qty in found.items() if qty and asset not in held}
    quiet = not _under_way(turn, msg.account) and turn.now - here.activity_ns >= QUIET_NS
    if not quiet or found != here.differences:
        here.differences, here.differences_ns = (found if quiet else {}), turn.now
        return
    if turn.now - here.differences_ns < SECOND_LOOK_NS:
        return
    for asset, qty in found.items():
        turn.emit(Transfer(turn.now, msg.account, asset, qty, "two looks agree"))
        turn.log("warning", "transfer", account=msg.account, asset=asset, qty=plain(qty))
    here.differences = {}


def _under_way(turn: Turn, account: AccountId) -> bool:
    """Say whether something of ours may still move money: a live order, or fills that have not come."""
    for order in turn.trading.orders.values():
        missing = order.filled < order.venue_cum
        if order.account != account or not (missing or order.live):
            continue
        if missing and turn.now - order.updated_ns >= MISSING_NS:
            turn.log("error", "fills_missing", client_order_id=order.client_order_id)
        return True
    return False


def _held_assets(turn: Turn, account: AccountId) -> dict[Asset, None]:
    names = [name for name in turn.live.holds if name in turn.wiring.accounts.get(account, ())]
    found = [one for one in map(turn.instrument, names) if one is not None]
    return dict.fromkeys(asset for one in found for asset in (one.base, one.quote, one.settle))


def _seal(turn: Turn, msg: LookDone) -> None:
    """Seal what ended, is booked whole, and has been quiet for `seal_after`: nothing more is expected."""
    config = turn.account_config(msg.account)
    quiet_ns = max(SEAL_MIN_NS, config.late_fill_bound + config.visible_bound)
    trading = turn.trading
    for name in trading.orders_ended:
        order = trading.orders[name]
        if turn.now - order.updated_ns < quiet_ns:
            # In order of their ends: all behind it are younger still.
            return
        if not order.sealed and order.account == msg.account and order.filled == order.cum_qty:
            turn.emit(Sealed(turn.now, order.account, name))


def _announce(turn: Turn, account: AccountId, here: AccountLive) -> None:
    """Say READY when an account is reconciled for the first time since this start."""
    if here.announced:
        return
    here.announced = True
    turn.log("info", "account_ready", account=account, epoch=turn.trading.epoch)
    ready = Ready(turn.trading.epoch)
    for ref in (turn.wiring.risk_desk, *turn.wiring.owners.values(), *turn.wiring.observers):
        turn.send(ref, ready)


def _schedule(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Arm the next look: periodic, or sooner while something is open (R3, and R4's two instants)."""
    ask_soon(turn, msg.account, max(here.period_ns - turn.now, 0))
    if here.queries:
        ask_soon(turn, msg.account, repeat_after(1))
    if here.differences:
        ask_soon(turn, msg.account, SECOND_LOOK_NS)
    doubts = doubtful_creates(turn, msg.account)
    if not turn.trading.exposure.in_doubt.get(msg.account, 0):
        here.doubt_step = 0
        return
    here.doubt_step += 1
    ask_soon(turn, msg.account, repeat_after(here.doubt_step))
    for order in doubts:
        first_ns = here.negatives.get(order.client_order_id)
        due_ns = r4_earliest(turn, order) if first_ns is None else first_ns + SECOND_LOOK_NS
        if due_ns > turn.now:
            ask_soon(turn, msg.account, due_ns - turn.now)
