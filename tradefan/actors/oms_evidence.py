"""What a look at the venue proves: the opening, what is missing, what differs, what is over.

An incomplete look proves nothing and is repeated. "Not found" is proof only twice, late enough and 5 s
apart (R4); a correction needs two agreeing looks and quiet between them.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_external import is_orphan
from tradefan.actors.oms_fills import INFER_NS, infer_missing, take_surplus_back
from tradefan.actors.oms_kill import look_done as kill_look_done
from tradefan.actors.oms_look import (
    SECOND_LOOK_NS,
    ask_soon,
    doubtful_creates,
    query,
    r4_earliest,
    seal_after_ns,
    visible_ns,
)
from tradefan.actors.oms_modes import suspect_asset
from tradefan.actors.oms_policy import wake_parents
from tradefan.actors.oms_state import AccountLive, Apart, Seen, Turn
from tradefan.actors.oms_venue import doubt_request, reopen, take_others
from tradefan.actors.oms_waiting import clear_holds, repeat_after, replaced_stays
from tradefan.core import outbox
from tradefan.core.ledger import balance
from tradefan.core.order import Order
from tradefan.messages.control import Ready
from tradefan.messages.gateway import LookDone
from tradefan.messages.records import Cursor, Difference, Opening, Resolved, Sealed, Transfer
from tradefan.units import SECOND, ZERO, AccountId, Asset, InstrumentId, exact, plain

LOOKS_AGREED = 3
"""So many looks that agree on a difference book it, whatever trades meanwhile."""
UNANSWERED_NS = 10 * SECOND
"""A create without any word this long after its deadline is in doubt, whoever lost it."""


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
    turn.judge = True
    for name in here.named:
        here.queries.pop(name, None)
        here.asked[name] = here.asked.get(name, 0) + 1
    if not _opened(turn, msg, here):
        ask_soon(turn, msg.account, visible_ns(turn, msg.account))
        return
    _move_cursors(turn, msg)
    _reopen(turn, msg, here)
    take_others(turn, msg, here)
    _weigh_missing(turn, msg, here)
    _check_unseen(turn, msg, here)
    _infer(turn, msg)
    _doubt_inferred(turn, msg)
    _check_balances(turn, msg, here)
    _seal(turn, msg)
    if not here.ready:
        here.ready = True
        wake_parents(turn, account=msg.account)
    _announce(turn, msg.account, here)
    kill_look_done(turn, msg.account, msg.asked_ns)
    _schedule(turn, msg, here)


# --- the opening, and cursors -------------------------------------------------------------------------


def _opened(turn: Turn, msg: LookDone, here: AccountLive) -> bool:
    """Book what the account held before us, once, from two agreeing looks between which nothing happened.

    They are `visible_bound` apart: whatever one look did not show yet, the other does.
    """
    if msg.account in turn.trading.opened:
        return True
    seen = Seen(msg.asked_ns, dict(here.totals or {}), msg.cursors)
    first = here.opening
    same = first is not None and (first.totals, first.cursors) == (seen.totals, seen.cursors)
    if here.totals is None or first is None or not same or here.activity_ns >= first.asked_ns:
        here.opening = None if here.totals is None else seen
        return False
    if seen.asked_ns - first.asked_ns < visible_ns(turn, msg.account):
        return False
    here.opening = None
    _book_opening(turn, msg, seen.totals)
    return True


def _book_opening(turn: Turn, msg: LookDone, totals: dict[Asset, Decimal]) -> None:
    held = {asset: qty for asset, qty in totals.items() if qty} or {turn.wiring.numeraire: ZERO}
    cursors = msg.cursors
    for asset, qty in held.items():
        turn.emit(Opening(turn.now, msg.account, asset, qty, _mark(turn, msg.account, asset), cursors))
        cursors = ()
        suspect_asset(turn, msg.account, asset)
    turn.log("info", "account_opened", account=msg.account, assets=len(held))


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
    """Note up to where trades are booked; not past one that is poison, or that waits for the journal."""
    known = turn.trading.cursors.get(msg.account, {})
    waiting = {record.instrument: None for record in turn.trading.poisons.values()}
    for instrument, trade_id in msg.cursors:
        if instrument in waiting or turn.live.asking:
            continue
        if trade_id is not None and known.get(instrument) != trade_id:
            turn.emit(Cursor(turn.now, msg.account, instrument, trade_id))


# --- orders that a look should not have shown, or did not show ------------------------------------------


def _reopen(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Adopt what has ended here and is open in a look that was asked late enough to show its end.

    Whoever said that it ended was wrong, the venue or a human. An end that an earlier life noted counts
    from this start, whichever way the wall clock has jumped between them.
    """
    for name, shown in here.reopened.items():
        order = turn.trading.orders.get(name)
        if order is None or order.ended_ns is None or order.order_qty <= max(order.cum_qty, shown.cum_qty):
            continue
        if msg.asked_ns >= turn.since(order.ended_ns) + visible_ns(turn, msg.account):
            reopen(turn, order, shown)


def _weigh_missing(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Take "not found" as evidence where it can be: twice, late enough, 5 s apart (R4)."""
    for name in msg.missing:
        order = turn.trading.orders.get(name)
        if order is None or not order.live:
            continue
        if not order.may_not_exist:
            if order.acknowledged:
                _absent(turn, msg, order, here)
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
    turn.live.counters.not_placed += 1
    turn.touch(order)
    clear_holds(turn, order)
    turn.log("warning", "not_placed", client_order_id=name)
    replaced_stays(turn, order, "not placed")


def _absent(turn: Turn, msg: LookDone, order: Order, here: AccountLive) -> None:
    """The venue knew an order and does not now: that ends nothing; after two looks a human has to look.

    Each word of the venue begins it anew (`absent` is from behind the last one); what we do about the
    order meanwhile, a cancel that is repeated, does not.
    """
    name = order.client_order_id
    here.present.pop(name, None)
    query(turn, order)
    first_ns = here.absent.setdefault(name, turn.now)
    apart = msg.asked_ns - first_ns >= _absent_ns(turn, order.account)
    if apart and name not in turn.trading.differences:
        text = f"{order.instrument} is on hold: the venue does not know {name} any more"
        turn.emit(Difference(turn.now, order.account, order.instrument, name, True, text))
        turn.live.holds.setdefault(order.instrument, {})[name] = text
        turn.log("critical", "order_missing", client_order_id=name, status=order.status)


def _absent_ns(turn: Turn, account: AccountId) -> int:
    """Return how long an order has to be missing: two looks apart, and behind what its last word may hide."""
    return max(SECOND_LOOK_NS, visible_ns(turn, account))


def _check_unseen(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Ask by id for what should have been among the open orders; doubt what nobody ever spoke of."""
    waiting = outbox.creates(turn.live.outbox)
    for order in turn.live_orders(msg.account):
        name = order.client_order_id
        if name in here.seen:
            _agrees(turn, msg, order, here)
        if name in here.seen or name in waiting or order.created_ns >= msg.asked_ns:
            continue
        if order.acknowledged and name not in msg.missing:
            query(turn, order)
        elif not order.acknowledged and turn.now > order.not_after_ns + UNANSWERED_NS:
            doubt_request(turn, order, "no answer")


def _agrees(turn: Turn, msg: LookDone, order: Order, here: AccountLive) -> None:
    """Let an instrument go that was held for an order, when two looks show that order again."""
    name = order.client_order_id
    if name not in turn.trading.differences or is_orphan(turn, order):
        # That an orphan is there is what its instrument is held for.
        return
    first_ns = here.present.setdefault(name, msg.asked_ns)
    if msg.asked_ns - first_ns >= SECOND_LOOK_NS:
        del here.present[name]
        text = "the venue shows it again"
        turn.emit(Difference(turn.now, order.account, order.instrument, name, False, text))
        clear_holds(turn, order)


def _infer(turn: Turn, msg: LookDone) -> None:
    """Book what the venue has counted for long and no trade tells: this look has asked for all trades.

    Where a fact is poison a human decides: what it may have been is not booked under another name.
    """
    poisoned = {record.instrument: None for record in turn.trading.poisons.values()}
    for order in tuple(turn.trading.orders.values()):
        behind = not order.external and order.filled < order.venue_cum and order.account == msg.account
        waited = msg.asked_ns - turn.since(order.updated_ns) >= INFER_NS
        if behind and waited and order.instrument not in poisoned:
            infer_missing(turn, order)


def _doubt_inferred(turn: Turn, msg: LookDone) -> None:
    """Take back what was inferred and is counted no more; ask for the counts while trades may still come.

    The venue may have taken a trade back that nobody saw: then only its count of the order says so.
    """
    for fill in tuple(turn.trading.inferred.values()):
        order = None if fill.client_order_id is None else turn.trading.orders.get(fill.client_order_id)
        if order is None or order.account != msg.account:
            continue
        take_surplus_back(turn, order)
        if turn.now - turn.since(fill.at_ns) < seal_after_ns(turn, msg.account):
            query(turn, order)


# --- balances ------------------------------------------------------------------------------------------


def _check_balances(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Book a difference between venue and ledger to `external`: a deposit, a withdrawal, a correction.

    Looks have to agree on it, each after all that the one before did not show yet, since a trade may hide
    where its money shows: two with nothing of ours between them, or three while we trade. One that was taken
    in the middle of a trade neither counts nor undoes the others. The assets of a
    fill that nobody booked yet, that was only inferred, or that an order in doubt may have had, are left
    alone: it explains the difference.
    """
    if here.totals is None:
        return
    if here.activity_ns >= msg.asked_ns:
        _keep_recent(turn, msg, here)
        return
    books = turn.trading.ledger.balances.get(msg.account, {})
    unsure = _unsure_assets(turn, msg.account)
    known, here.differences = here.differences, {}
    for asset in dict.fromkeys((*here.totals, *books)):
        qty = here.totals.get(asset, ZERO) - balance(turn.trading.ledger, msg.account, asset)
        if not qty or asset in unsure:
            continue
        apart = known.get(asset)
        if apart is None or apart.qty != qty:
            apart = Apart(qty, msg.asked_ns, msg.asked_ns)
        elif msg.asked_ns - apart.last_ns >= _apart_ns(turn, msg.account):
            apart.looks, apart.last_ns = apart.looks + 1, msg.asked_ns
        if _agreed(turn, here, apart):
            _transfer(turn, msg.account, asset, qty)
        else:
            here.differences[asset] = apart


def _apart_ns(turn: Turn, account: AccountId) -> int:
    return SECOND_LOOK_NS + visible_ns(turn, account)


def _keep_recent(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Let what looks agreed on stand, for as long as these are not old."""
    old_ns = msg.asked_ns - LOOKS_AGREED * _apart_ns(turn, msg.account)
    here.differences = {asset: apart for asset, apart in here.differences.items() if apart.last_ns > old_ns}


def _agreed(turn: Turn, here: AccountLive, apart: Apart) -> bool:
    if turn.live.asking:
        return False
    # Of an order that has ended, or of others, as well: whoever has traded, its trade comes by then.
    quiet = here.activity_ns < apart.first_ns
    return apart.looks >= (2 if quiet else LOOKS_AGREED)


def _transfer(turn: Turn, account: AccountId, asset: Asset, qty: Decimal) -> None:
    turn.emit(Transfer(turn.now, account, asset, qty, "looks agree"))
    suspect_asset(turn, account, asset)
    turn.log("warning", "transfer", account=account, asset=asset, qty=plain(qty))


def _unsure_assets(turn: Turn, account: AccountId) -> dict[Asset, None]:
    """Return the assets of instruments in which a fill is missing, in doubt, poison or only inferred."""
    names: dict[InstrumentId, None] = {}
    for record in turn.trading.poisons.values():
        if record.instrument is not None:
            names[record.instrument] = None
    for fill in turn.trading.inferred.values():
        # One that no trade replaces in time is all that will come: the rest of the difference is a transfer.
        if turn.now - turn.since(fill.at_ns) < seal_after_ns(turn, account):
            names[fill.instrument] = None
    for order in turn.trading.orders.values():
        unknown = order.filled < order.venue_cum or (order.live and order.in_doubt is not None)
        if unknown and not order.external:
            names[order.instrument] = None
    known = [turn.instrument(name) for name in names if name in turn.wiring.accounts.get(account, ())]
    found = [one for one in known if one is not None]
    return dict.fromkeys(asset for one in found for asset in (one.base, one.quote, one.settle))


# --- the end of a look -----------------------------------------------------------------------------------


def _seal(turn: Turn, msg: LookDone) -> None:
    """Seal what ended, is booked whole, and has been quiet for `seal_after`: nothing more is expected."""
    quiet_ns = seal_after_ns(turn, msg.account)
    trading = turn.trading
    inferred = {fill.client_order_id: None for fill in trading.inferred.values()}
    for name in trading.orders_ended:
        order = trading.orders[name]
        # Not in order of their ends: what may not leave memory yet was put behind the others.
        quiet = turn.now - turn.since(order.updated_ns) >= quiet_ns
        whole = order.filled == order.cum_qty and name not in inferred
        if quiet and whole and not order.sealed and order.account == msg.account:
            turn.emit(Sealed(turn.now, order.account, name))


def _announce(turn: Turn, account: AccountId, here: AccountLive) -> None:
    """Say READY when an account is reconciled for the first time since this start."""
    if here.announced:
        return
    here.announced = True
    turn.log("info", "account_ready", account=account, epoch=turn.trading.epoch)
    ready = Ready(turn.trading.epoch, turn.live.fold_gen)
    for ref in (turn.wiring.risk_desk, *turn.wiring.owners.values(), *turn.wiring.observers):
        turn.send(ref, ready)


def _schedule(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """Arm the next look: periodic, or sooner while something is open (R3, and R4's two instants).

    Each question backs off by itself: one that nobody answers costs a look each 10 s, however long it
    waits for a human.
    """
    ask_soon(turn, msg.account, max(here.period_ns - turn.now, 0))
    here.asked = {name: count for name, count in here.asked.items() if name in here.queries}
    for name in here.queries:
        ask_soon(turn, msg.account, repeat_after(max(here.asked.get(name, 0), 1)))
    _look_twice(turn, msg.account, here)
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


def _look_twice(turn: Turn, account: AccountId, here: AccountLive) -> None:
    """Arm the second look at what the first found missing, back, or apart; what has ended is none of it."""
    live = turn.trading.orders_live
    here.absent = {name: since_ns for name, since_ns in here.absent.items() if name in live}
    here.present = {name: since_ns for name, since_ns in here.present.items() if name in live}
    for name, since_ns in here.absent.items():
        if name not in turn.trading.differences:
            ask_soon(turn, account, max(since_ns + _absent_ns(turn, account) - turn.now, 0))
    for apart in here.differences.values():
        ask_soon(turn, account, max(apart.last_ns + _apart_ns(turn, account) - turn.now, SECOND))
    if here.present:
        ask_soon(turn, account, SECOND_LOOK_NS)
