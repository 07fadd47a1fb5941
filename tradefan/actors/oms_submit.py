"""Commands of owners: submit, target, cancel. Every wish becomes a parent, or is refused in words.

A wish is validated, checked by the gates and written as PARENT and INTENT in one turn. (owner, ref)
is its idempotency key: the same ref again gives the first answer.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from tradefan.actors.oms_contingent import accept_trigger
from tradefan.actors.oms_engine import advance
from tradefan.actors.oms_entry import No, checked, say_accepted, tradable
from tradefan.actors.oms_gate import closed, not_ready, reference, risk_state
from tradefan.actors.oms_group import cancel_group, flatten_brackets, leg_ended
from tradefan.actors.oms_group_end import FLATTEN
from tradefan.actors.oms_group_entry import accept_group
from tradefan.actors.oms_parents import cancel_children, complete
from tradefan.actors.oms_room import flattens
from tradefan.actors.oms_state import OTHER_REASON, REASONS_MAX, REFUSALS_KEPT, Turn
from tradefan.actors.oms_tca import in_market
from tradefan.contracts import MarketView, RiskRefused, refuse_private
from tradefan.core.contingent import TRIGGERS, is_protective
from tradefan.core.exposure import owner_sides
from tradefan.core.group import GROUPS
from tradefan.core.ids import parent_id
from tradefan.core.ledger import position
from tradefan.core.trading import ParentState, place_key
from tradefan.errors import Refused
from tradefan.messages.control import AnyCommand
from tradefan.messages.gateway import ReplaceOrder
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import (
    Answer,
    Asked,
    AskPlan,
    CancelAll,
    CancelParent,
    OrderStatus,
    ParentOrder,
    Phase,
    Refusal,
    SetTarget,
    SubmitOrder,
)
from tradefan.messages.records import Parent, Waiting
from tradefan.units import (
    ZERO,
    OwnerId,
    ParentId,
    Side,
    is_number,
    plain,
    require_number,
)


def on_submit(turn: Turn, wish: SubmitOrder) -> None:
    """Turn a wish into a parent with its first child, or refuse it."""
    if _known(turn, wish):
        return
    try:
        order = parent_of(turn, wish)
        if wish.algo in GROUPS:
            parents = accept_group(turn, wish, order)
        else:
            _accept(turn, order, None, decision_px=wish.decision_px, at_stop=False)
            parents = (_newest(turn),)
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
    except No as no:
        refuse(turn, wish, no.refused)
    else:
        if wish.req is not None:
            turn.guard(Answer(wish.req, parents))


def require_numbers(wish: SubmitOrder | SetTarget) -> None:
    """Let a wish in whose numbers can be computed with.

    Raises:
        Refused: BAD_NUMBER, before any arithmetic; the ref stays free.
    """
    if isinstance(wish, SubmitOrder):
        require_number("order_qty", wish.order_qty)
    else:
        require_number("target_qty", wish.target_qty)
        require_number("band", wish.band)
    if wish.limit_price is not None:
        require_number("limit_price", wish.limit_price)


def _known(turn: Turn, wish: SubmitOrder | SetTarget) -> bool:
    """Give the first answer again to a ref that is known."""
    known = turn.trading.refs.get(wish.owner, {}).get(wish.ref) if wish.ref else None
    if known is None:
        return False
    parent, group = turn.trading.parents.get(known), turn.trading.groups.get(known)
    first = None if parent is None else (parent.asked or parent.order) if group is None else group.wish
    if isinstance(wish, SubmitOrder) and first is not None and not _same(first, wish):
        # The first answer would look as if this wish had been heard.
        text = f"ref {wish.ref!r} of {wish.owner} is {known}, which is another order"
        refuse(turn, wish, RiskRefused("REF_REUSED", text, None, wish.ref, "another ref"))
    elif isinstance(wish, SubmitOrder) and wish.req is not None:
        names = (known,) if group is None else tuple(group.members.values())
        turn.guard(Answer(wish.req, names, known=True))
    return True


def _same(order: ParentOrder | SubmitOrder, wish: SubmitOrder) -> bool:
    """Say whether a wish repeats the one that became this order."""
    names = ("account", "instrument", "side", "algo", "limit_price", "settings", "reduce_only")
    # A notional stands in the settings; its quantity was that of its first instant.
    same_qty = "notional" in wish.settings or order.order_qty == wish.order_qty
    return same_qty and all(getattr(order, name) == getattr(wish, name) for name in names)


# --- checks at entry ----------------------------------------------------------------------------------


def _qty_of(turn: Turn, wish: SubmitOrder) -> Decimal:
    """Return the quantity of a wish; a `notional` in quote is converted at the mid, down to a lot.

    Raises:
        Refused: BAD_SETTING, NO_REFERENCE, or the instrument cannot be traded.
    """
    given = wish.settings.get("notional")
    if given is None:
        return wish.order_qty
    value = _number(given)
    if wish.order_qty or value <= 0:
        text = f"expected a quantity or a notional above zero, got {plain(wish.order_qty)} and {given!r}"
        raise Refused("BAD_SETTING", text[:200], "one of them")
    instrument = tradable(turn, wish.account, wish.instrument)
    market = reference(turn, instrument, crossing=False)
    if isinstance(market, RiskRefused):
        raise Refused(market.code, market.text)
    return instrument.floor_qty(value / market.mid)


def _number(given: object) -> Decimal:
    """Return what a setting says, zero where it is no number that can be computed with."""
    try:
        value = Decimal(str(given))
    except InvalidOperation:
        return ZERO
    return value if is_number(value) else ZERO


def parent_of(turn: Turn, wish: SubmitOrder) -> ParentOrder:
    """Return the parent that a wish asks for; nothing exists yet.

    Raises:
        Refused: its quantity cannot be told, or it has a setting that is nobody's to give.
    """
    if wish.algo not in (*TRIGGERS, *GROUPS):
        refuse_private(wish.algo, wish.settings)
    name = parent_id(turn.trading.instance or "aaa", turn.trading.epoch, turn.trading.parent_sequence + 1)
    return ParentOrder(
        parent_id=name,
        account=wish.account,
        instrument=wish.instrument,
        owner=wish.owner,
        ref=wish.ref,
        side=wish.side,
        order_qty=_qty_of(turn, wish),
        algo=wish.algo,
        settings=wish.settings,
        limit_price=wish.limit_price,
        intent_id=wish.intent_id or name,
        reason=wish.reason,
        reduce_only=wish.reduce_only,
        position_side=wish.position_side,
        protective=wish.protective or is_protective(wish.algo, wish.settings),
        created_ns=turn.now,
    )


def _accept(
    turn: Turn,
    order: ParentOrder,
    target: SetTarget | None,
    *,
    decision_px: Decimal | None,
    at_stop: bool,
) -> None:
    """Check a parent as a whole, then write it and let its executor place the first child.

    Raises:
        Refused, No: why it may not exist; nothing was written then.
    """
    if target is not None and order.algo in (*TRIGGERS, *GROUPS):
        raise Refused("BAD_SETTING", f"a target is worked at once, {order.algo} is not: order it instead")
    if order.algo in TRIGGERS:
        accept_trigger(turn, order, decision_px)
        return
    plan = checked(turn, order, at_stop=at_stop)
    record = Parent(turn.now, order, None if target is None else target.target_qty, plan)
    turn.emit(in_market(turn, record, decision_px))
    turn.parents[order.parent_id] = None
    say_accepted(turn, order)
    advance(turn, order.parent_id, at_stop=at_stop)


# --- targets ------------------------------------------------------------------------------------------


def on_target(turn: Turn, wish: SetTarget, *, at_stop: bool = False) -> None:
    """Resolve a wish for a position in this turn; an unchanged wish orders nothing anew.

    `at_stop` is a wish of the stop itself, to which the gate is open that it has closed to all others.
    What the owner holds, has working and has in doubt is subtracted here, so repeating is free and
    a restart cannot double it. A running parent of an earlier, different wish is cancelled to
    evidence first; the newest wish waits for that.
    """
    if _known(turn, wish):
        return
    here = turn.open_parents_at(wish.account, wish.instrument, wish.owner)
    running = [parent for parent in here if parent.target_qty is not None]
    for parent in running:
        goes_on = parent.at_work or parent.waits
        if goes_on and _same_wish(wish, parent) and not _is_stuck(turn, parent):
            if parent.live and parent.open_qty:
                # A clip that was refused while another rests may be let through by now.
                turn.woken[parent.order.parent_id] = None
            end_wish(turn, _wish_key(wish))
            return
    for parent in running:
        complete(turn, parent, OrderStatus.CANCELED, "new_target")
    # What had not left yet is gone at once, and then nothing is left to wait for.
    if all(parent.phase is Phase.DONE for parent in running):
        _resolve(turn, wish, at_stop=at_stop)
        if not at_stop:
            end_wish(turn, _wish_key(wish))
        return
    # In the commit of the State that tells of it (I-43).
    turn.emit(Waiting(turn.now, wish.account, wish.instrument, wish.owner, wish))
    turn.live.lost_wishes.pop(_wish_key(wish), None)
    if turn.live.closing:
        lose_wishes(turn, wish.owner)


def resolve_waiting(turn: Turn, parent: ParentState) -> None:
    """Take up the wish that waited for the end of a parent, behind the last of those that it replaces."""
    order = parent.order
    if parent.group is not None:
        leg_ended(turn, parent.group)
    place = place_key(order.account, order.instrument, order.owner)
    wish = turn.trading.wishes.get(place)
    if wish is None or place in turn.live.lost_wishes:
        return
    here = turn.open_parents_at(order.account, order.instrument, order.owner)
    if all(one.target_qty is None for one in here):
        on_target(turn, wish)


def end_wish(turn: Turn, place: str) -> None:
    """Let a wish wait no longer, where one does."""
    wish = turn.trading.wishes.get(place)
    if wish is not None:
        turn.emit(Waiting(turn.now, wish.account, wish.instrument, wish.owner, None))
    turn.live.lost_wishes.pop(place, None)


def lose_wishes(turn: Turn, owner: OwnerId | None = None) -> None:
    """Take no wish up any more that waits, of one owner or of all; it stays until its owner has heard so."""
    for place, wish in turn.trading.wishes.items():
        if owner in (None, wish.owner) and place not in turn.live.lost_wishes:
            turn.live.lost_wishes[place] = wish
            turn.live.told_wishes.pop(place, None)
            turn.log("warning", "wish_lost", owner=wish.owner, instrument=wish.instrument, ref=wish.ref)


def _resolve(turn: Turn, wish: SetTarget, *, at_stop: bool) -> None:
    """Order the difference between wish and position, if it is worth an order."""
    try:
        instrument = tradable(turn, wish.account, wish.instrument)
        refused = closed(turn, at_stop=at_stop) or not_ready(turn, wish.account)
        if refused is not None:
            raise No(refused)  # noqa: TRY301 one way out for all refusals
        delta = wish.target_qty - _expected(turn, wish)
        if is_small(turn, wish, instrument, delta):
            return
        side: Side = "buy" if delta > 0 else "sell"
        qty = instrument.floor_qty(_sellable(turn, wish, instrument, abs(delta), side))
        order = parent_of(turn, _submit_of(wish, side, qty))
        _accept(turn, order, wish, decision_px=wish.decision_px, at_stop=at_stop)
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
    except No as no:
        refuse(turn, wish, no.refused)


def _expected(turn: Turn, wish: SetTarget) -> Decimal:
    """Return what the owner will hold when all that runs has traded and all that traded is booked."""
    held = position(turn.trading.ledger, wish.account, wish.owner, wish.instrument).qty
    running = turn.open_parents_at(wish.account, wish.instrument, wish.owner)
    unbooked = owner_sides(turn.trading.exposure, wish.account, wish.instrument, wish.owner).unbooked
    return held + unbooked + sum((parent.pending_signed for parent in running), ZERO)


def _sellable(turn: Turn, wish: SetTarget, instrument: Instrument, qty: Decimal, side: Side) -> Decimal:
    """Return how much of a sale is there for certain: what a buy or its fee may still change comes later."""
    if side == "buy" or instrument.kind != "spot":
        return qty
    free = risk_state(turn, wish.account, instrument, wish.owner).free_base
    # Where nothing is there at all, the gate says so.
    return min(qty, free) if instrument.floor_qty(free) > 0 else qty


def is_small(turn: Turn, wish: SetTarget, instrument: Instrument, delta: Decimal) -> bool:
    """Say whether a difference does nothing: inside the band, or below what the venue takes.

    A target of zero ignores the band; what the venue does not take stays, as dust.
    """
    qty = instrument.floor_qty(abs(delta))
    if not qty or qty < instrument.min_qty:
        return True
    if wish.target_qty and abs(delta) < wish.band * abs(wish.target_qty):
        return True
    market = reference(turn, instrument, crossing=False)
    # Without a reference the gate refuses in its own words.
    return isinstance(market, MarketView) and instrument.notional(qty, market.mid) < instrument.min_notional


def _same_wish(wish: SetTarget, parent: ParentState) -> bool:
    """Say whether a running parent works for this very wish, as far as the band can tell."""
    assert parent.target_qty is not None
    if not wish.target_qty or not parent.target_qty:
        return wish.target_qty == parent.target_qty
    same_order = wish.algo == parent.order.algo and wish.limit_price == parent.order.limit_price
    difference = abs(wish.target_qty - parent.target_qty)
    return same_order and difference <= wish.band * abs(wish.target_qty)


def _is_stuck(turn: Turn, parent: ParentState) -> bool:
    """Say whether a parent of an earlier start has more to place than it may: what rests is not all."""
    return parent.plan is None and parent.epoch != turn.trading.epoch and parent.open_qty > 0


def _submit_of(wish: SetTarget, side: Side, qty: Decimal) -> SubmitOrder:
    return SubmitOrder(
        account=wish.account,
        instrument=wish.instrument,
        owner=wish.owner,
        ref=wish.ref,
        side=side,
        order_qty=qty,
        algo=wish.algo,
        settings=wish.settings,
        limit_price=wish.limit_price,
        reason=wish.reason,
    )


def _wish_key(wish: SetTarget) -> str:
    return place_key(wish.account, wish.instrument, wish.owner)


# --- cancels --------------------------------------------------------------------------------------------


def on_cancel_parent(turn: Turn, wish: CancelParent) -> None:
    """End one parent of its owner; a parent that has ended already is no trouble."""
    parent = turn.trading.parents.get(wish.parent_id)
    if not turn.live.running:
        refuse(turn, wish, RiskRefused("NOT_READY", "the journal is being read"))
        return
    if parent is None or not may_change(wish.owner, parent.order.owner):
        refuse(turn, wish, RiskRefused("UNKNOWN_PARENT", f"{wish.owner} has no parent {wish.parent_id}"))
        return
    left = parent.order.order_qty - parent.cum_qty
    if flattens(turn, parent) and left > 0 and parent.phase not in (Phase.COMPLETING, Phase.DONE):
        fields = {"parent_id": parent.order.parent_id, "code": "CANCELLED", "qty": plain(left)}
        turn.log("critical", "not_flattened", **fields)
    if not cancel_group(turn, parent):
        end_parents(turn, [parent], "cancelled")
    _say_cancelled(turn, wish.req, [parent])


def on_cancel_all(turn: Turn, wish: CancelAll) -> None:
    """End all parents of an owner, in one instrument or in all; a waiting wish goes too."""
    if not turn.live.running:
        refuse(turn, wish, RiskRefused("NOT_READY", "the journal is being read"))
        return
    for place, held in tuple(turn.trading.wishes.items()):
        # One that is lost is over already: what is left of it is for its owner to hear.
        lost = place in turn.live.lost_wishes
        if not lost and held.owner == wish.owner and wish.instrument in (None, held.instrument):
            end_wish(turn, place)
    found = turn.open_parents(
        lambda parent: parent.order.owner == wish.owner and wish.instrument in (None, parent.order.instrument)
    )
    if turn.live.stopping is not None:
        # The stop has cancelled what its policies say; what it flattens is to go through.
        found = []
    elif turn.live.closing and wish.owner in turn.wiring.owners:
        # A strategy's last word comes before our own part of the stop, which leaves what protects.
        found = [parent for parent in found if not parent.order.protective]
    # What brings a group to nothing is what an earlier cancel asked for.
    found = [parent for parent in found if not flattens(turn, parent)]
    flatten_brackets(turn, found)
    end_parents(turn, found, "cancelled")
    _say_unprotected(turn, found)
    _say_cancelled(turn, wish.req, found)


def _say_unprotected(turn: Turn, ended: list[ParentState]) -> None:
    """Name the positions that have lost an order which protected them, and are not sold by a bracket."""
    names = dict[str, None]()
    for parent in ended:
        order, group = parent.order, turn.trading.groups.get(parent.group or parent.order.parent_id)
        held = turn.trading.ledger.positions.get(order.account, {}).get(order.owner, {}).get(order.instrument)
        sold = group is not None and group.ending == FLATTEN
        if order.protective and not sold and held is not None and held.qty:
            names[f"{order.owner} {order.instrument} {plain(held.qty)}"] = None
    if names:
        turn.log("warning", "protection_cancelled", positions=list(names))


def _say_cancelled(turn: Turn, req: int | None, parents: list[ParentState]) -> None:
    """Answer at once, as the cancels leave: behind a full disk nobody is to think that they did not."""
    if req is not None:
        turn.send(turn.wiring.api, Answer(req, tuple(parent.order.parent_id for parent in parents)))


def end_parents(turn: Turn, parents: list[ParentState], reason: str) -> None:
    """Cancel parents to evidence."""
    for parent in parents:
        if parent.phase is Phase.COMPLETING:
            cancel_children(turn, parent, reason)
        else:
            complete(turn, parent, OrderStatus.CANCELED, reason)


def may_change(who: OwnerId, owner: OwnerId) -> bool:
    """An owner changes its own; the humans at CLI and API change everybody's."""
    return who == owner or who in ("api", "cli")


# --- refusals -------------------------------------------------------------------------------------------


def refuse(turn: Turn, wish: AnyCommand, no: RiskRefused) -> None:
    """Tell everybody concerned why a wish was turned down, and what would have passed."""
    refusal, live = refusal_of(turn, wish, no), turn.live
    owner = refusal.owner
    turn.refused = refusal
    live.counters.refusals += 1
    reasons = live.counters.reasons
    reason = no.code if no.code in reasons or len(reasons) < REASONS_MAX else OTHER_REASON
    reasons[reason] = reasons.get(reason, 0) + 1
    live.refusals = [*live.refusals, refusal][-REFUSALS_KEPT:]
    turn.log("warning", "refused", owner=owner, code=no.code, text=no.text, would_pass=no.would_pass)
    turn.send(turn.wiring.owners.get(owner), refusal)
    for ref in turn.wiring.observers:
        turn.send(ref, refusal)
    if refusal.req is not None:
        turn.send(turn.wiring.api, refusal)


def refusal_of(turn: Turn, wish: AnyCommand, no: RiskRefused) -> Refusal:
    """Return the words in which a wish is turned down."""
    if isinstance(wish, Asked | AskPlan):
        wish = wish.wish
    return Refusal(
        account=getattr(wish, "account", None),
        instrument=getattr(wish, "instrument", None),
        owner=wish.create.owner if isinstance(wish, ReplaceOrder) else wish.owner,
        ref=str(getattr(wish, "ref", None) or getattr(wish, "parent_id", "")),
        code=no.code,
        text=no.text,
        limit=no.limit,
        used=no.used,
        would_pass=no.would_pass,
        at_ns=turn.now,
        req=getattr(wish, "req", None),
    )


def _newest(turn: Turn) -> ParentId:
    return next(reversed(turn.trading.parents))
