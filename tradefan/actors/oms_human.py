"""What only a human may decide: an order in doubt, a poisoned fact, who owns a position."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_gate import external_left
from tradefan.actors.oms_look import ask_soon
from tradefan.actors.oms_modes import suspect
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import refuse
from tradefan.actors.oms_waiting import ask_for, clear_holds, replaced_stays
from tradefan.contracts import RiskRefused
from tradefan.core.exposure import owner_sides
from tradefan.core.ledger import position
from tradefan.core.order import Order
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import Answer, AssignPosition, OrderStatus, PositionMoved, ResolveOrder
from tradefan.messages.records import Assign, CancelRefused, Difference, PoisonResolved, Report, Resolved
from tradefan.setting import suggest
from tradefan.units import EXTERNAL, ZERO, AccountId, ClientOrderId, OwnerId, exact, plain, require_number

HUMANS = ("api", "cli")


def on_resolve(turn: Turn, wish: ResolveOrder) -> None:
    """End what waits for a human: an order by its id, or a poisoned fact by its key."""
    if not turn.live.running:
        refuse(turn, wish, RiskRefused("NOT_READY", "the journal is being read"))
        return
    try:
        if wish.verdict in ("RETRY", "DROP"):
            _resolve_poison(turn, wish)
        else:
            _resolve_order(turn, wish)
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
        return
    turn.judge = True
    turn.log(
        "warning",
        "resolved_by_human",
        subject=wish.subject,
        verdict=wish.verdict,
        reason=wish.reason,
        principal=wish.principal,
    )
    if wish.req is not None:
        turn.guard(Answer(wish.req, ()))


def _resolve_poison(turn: Turn, wish: ResolveOrder) -> None:
    if wish.subject not in turn.trading.poisons:
        known = list(turn.trading.poisons)
        raise Refused("UNKNOWN_FACT", f"no fact {wish.subject!r} is set aside{suggest(wish.subject, known)}")
    verdict = wish.verdict
    assert verdict in ("RETRY", "DROP")
    if verdict == "RETRY" and wish.subject.startswith("bust "):
        text = (
            f"{wish.subject!r} is told once, and no look asks for it: expected DROP, then `position assign` "
            "of what the trade had moved, from its owner to external"
        )
        raise Refused("NOT_TOLD_AGAIN", text)
    # A fact that may be taken again comes with the next look: the cursor has not passed it.
    turn.emit(PoisonResolved(turn.now, wish.subject, verdict, wish.reason, wish.principal))
    account = AccountId(wish.subject.split(" ")[1])
    if verdict == "RETRY" and account in turn.wiring.accounts:
        # Nothing else is open that would let the look be before its period.
        turn.account(account).period_ns = turn.now
        ask_soon(turn, account, 0)


def _resolve_order(turn: Turn, wish: ResolveOrder) -> None:
    """Take a human's word for the venue's; an order that is not in question is none of his business."""
    order = turn.trading.orders.get(ClientOrderId(wish.subject))
    if order is None or not order.live or not _in_question(turn, order):
        doubted = [name for name in turn.trading.orders_live if turn.trading.orders[name].in_doubt]
        text = f"no order {wish.subject!r} is in doubt{suggest(wish.subject, doubted)}"
        raise Refused("NOT_IN_DOUBT", text)
    evidence = f"human: {wish.reason}"
    if wish.verdict == "NOT_PLACED" and not order.acknowledged:
        turn.emit(Resolved(turn.now, order.account, order.client_order_id, "NOT_PLACED", evidence))
        replaced_stays(turn, order, evidence)
    else:
        _take_word(turn, order, wish, evidence)
        ask_for(turn, order, 0)
    if order.client_order_id in turn.trading.differences:
        difference = Difference(
            turn.now, order.account, order.instrument, order.client_order_id, False, evidence
        )
        turn.emit(difference)
    turn.live.holds.get(order.instrument, {}).pop(order.client_order_id, None)
    turn.touch(order)
    clear_holds(turn, order)


def _in_question(turn: Turn, order: Order) -> bool:
    """Say whether an order waits for a human: in doubt, missing, or the venue's word on it is poison."""
    held = turn.live.holds.get(order.instrument, {})
    if order.in_doubt is not None or order.client_order_id in held:
        return True
    about = f"report {order.account} {order.client_order_id} "
    return any(key.startswith(about) for key in turn.trading.poisons)


def _take_word(turn: Turn, order: Order, wish: ResolveOrder, evidence: str) -> None:
    """Take a human's word on what is at the venue.

    Of an order that was known to exist "placed" says that the request to end it has failed. The wish
    stays, and with it the repetition.
    """
    if wish.verdict == "NOT_PLACED":
        _say(turn, order, OrderStatus.CANCELED, evidence)
    elif order.acknowledged and order.in_doubt is not None:
        turn.emit(CancelRefused(turn.now, order.account, order.client_order_id, evidence))
    else:
        _say(turn, order, OrderStatus.NEW, evidence)


def _say(turn: Turn, order: Order, status: OrderStatus, evidence: str) -> None:
    turn.emit(
        Report(
            at_ns=turn.now,
            account=order.account,
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            status=status,
            cum_qty=order.cum_qty,
            reason=evidence,
            event_ns=turn.now,
        )
    )


# --- who owns a position -----------------------------------------------------------------------------------


def on_assign(turn: Turn, wish: AssignPosition) -> None:
    """Move a quantity from one owner to another; the account holds what it held."""
    try:
        _assign(turn, wish)
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
    else:
        if wish.req is not None:
            turn.guard(Answer(wish.req, ()))


def _assign(turn: Turn, wish: AssignPosition) -> None:
    instrument = _checked(turn, wish)
    held = _held(turn, wish, wish.giver, instrument)
    if wish.qty > held:
        text = f"{wish.giver} holds {plain(held)} of {wish.instrument}, expected at least {plain(wish.qty)}"
        raise Refused("NOT_HELD", text)
    record = Assign(
        at_ns=turn.now,
        account=wish.account,
        instrument=wish.instrument,
        base=instrument.base,
        giver=wish.giver,
        taker=wish.taker,
        qty=wish.qty,
        price=_price(turn, wish, instrument),
        principal=wish.principal,
        kind="linear" if instrument.kind == "linear" else "spot",
    )
    turn.emit(record)
    for owner in (wish.giver, wish.taker):
        turn.positions[wish.account, owner, wish.instrument] = None
    # A human may give somebody more than his limit: it is his word, and no more is bought on top of it.
    suspect(turn, wish.account, wish.instrument)
    moved = PositionMoved(wish.account, wish.instrument, wish.giver, wish.taker, wish.qty)
    turn.send(turn.wiring.risk_desk, moved)
    turn.log(
        "warning",
        "position_assigned",
        account=wish.account,
        instrument=wish.instrument,
        giver=wish.giver,
        taker=wish.taker,
        qty=plain(wish.qty),
        price=plain(record.price),
        principal=wish.principal,
    )


def _checked(turn: Turn, wish: AssignPosition) -> Instrument:
    if not turn.live.running:
        raise Refused("NOT_READY", "the journal is being read")
    require_number("qty", wish.qty)
    if wish.price is not None:
        require_number("price", wish.price)
    found = turn.instrument(wish.instrument)
    tradable = turn.wiring.accounts.get(wish.account, ())
    if found is None or wish.instrument not in tradable:
        text = f"{wish.account} has no {wish.instrument!r}{suggest(wish.instrument, tradable)}"
        raise Refused("UNKNOWN_INSTRUMENT", text)
    if wish.qty <= 0 or (wish.price is not None and wish.price <= 0):
        raise Refused(
            "BAD_NUMBER", f"expected a quantity and a price above zero, got {wish.qty}, {wish.price}"
        )
    owners = {*turn.wiring.owners, *HUMANS, EXTERNAL, *turn.trading.ledger.positions.get(wish.account, {})}
    for key, owner in (("from", wish.giver), ("to", wish.taker)):
        if owner not in owners:
            raise Refused("UNKNOWN_OWNER", f"{key}: expected an owner, got {owner!r}{suggest(owner, owners)}")
    if wish.giver == wish.taker:
        raise Refused("SAME_OWNER", f"{wish.giver} would give to itself")
    return found


def _held(turn: Turn, wish: AssignPosition, owner: OwnerId, instrument: Instrument) -> Decimal:
    """Return what an owner can give: not what its own sales still need, or have sold before their fills."""
    if owner == EXTERNAL and instrument.kind == "spot":
        # What others traded meanwhile is a position, what was there before them a holding: both are theirs.
        return external_left(turn, wish.account, instrument)
    own = owner_sides(turn.trading.exposure, wish.account, wish.instrument, owner)
    free = position(turn.trading.ledger, wish.account, owner, wish.instrument).qty
    return free + min(own.unbooked, ZERO) - own.sell_qty


def _price(turn: Turn, wish: AssignPosition, instrument: Instrument) -> Decimal:
    """Return the price that was asked for, else what the giver paid on average, else the mark."""
    if wish.price is not None:
        return wish.price
    held = position(turn.trading.ledger, wish.account, wish.giver, wish.instrument)
    if held.avg_px is not None:
        return held.avg_px
    quote = turn.live.quotes.get(instrument.id)
    if quote is None:
        raise Refused("NO_REFERENCE", f"{wish.instrument} has no quote: name a --price")
    return (exact(quote.bid) + exact(quote.ask)) / 2
