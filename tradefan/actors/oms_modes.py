"""Modes: entered in the turn that learns a cause, left by rule, obeyed at once (RELIABILITY.md 2b).

Every change is a MODE record. The OMS decides about the causes of `core/modes.CAUSES`; those of the
risk desk come as `SetMode`. Scopes are `all`, an instrument, an account, an owner or a venue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from tradefan.actors.oms_gate import fee_rate, mode_of, risk_state, worst_case
from tradefan.actors.oms_state import AccountLive, Turn
from tradefan.actors.oms_waiting import cancel_order, drop_creates
from tradefan.core import modes
from tradefan.core.modes import CAUSES, CauseSpec
from tradefan.core.order import Order
from tradefan.core.scopes import scopes
from tradefan.messages.account import Mode, SetMode
from tradefan.messages.control import ActorState, LoopLag, Timer
from tradefan.messages.market import Quality, Quote
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import ModeChange
from tradefan.units import EXTERNAL, SECOND, AccountId, InstrumentId, exact, plain, sign

RISK_DESK = "risk_desk"
IN_DOUBT_MAX = 3
LAG_CLEAR_NS = SECOND // 4
"""A loop that is later than this has not recovered yet."""
_CANCELS: tuple[Mode, ...] = ("REDUCE_ONLY", "KILLED")
_FORBID_ALL: tuple[Mode, ...] = ("CANCEL_ONLY", "KILLED")
_ENDING = (OrderStatus.PENDING_CANCEL, OrderStatus.PENDING_REPLACE)
_BLIND = (Quality.STALE, Quality.BLIND)
_NOT_LIVE = (*_BLIND, Quality.SUSPECT)

Condition = tuple[str, str, str | None]
"""(scope, cause, why it holds or None)."""


def judge(turn: Turn) -> None:
    """Enter and leave the modes that follow from what is known at the end of this turn.

    Behind our answer to the stop all others end: that feeds and links are gone then says nothing of them.
    """
    ended = turn.live.stopping is not None and turn.live.stopping.answered
    if ended or not turn.live.running or not (turn.judge or turn.suspects):
        return
    turn.judge, places = False, dict(turn.suspects)
    waits = [here.banned_until_ns for here in turn.live.accounts.values() if here.banned_until_ns > turn.now]
    for scope, cause, why in _conditions(turn):
        held = cause in turn.trading.modes.get(scope, {})
        if why is not None:
            _hold(turn, scope, cause, why, held=held)
        elif held and (due_ns := _leave(turn, scope, cause)) is not None:
            waits.append(due_ns)
    if places and any(
        one.mode == "REDUCE_ONLY" for held in turn.trading.modes.values() for one in held.values()
    ):
        _keep_reducing(turn, places)
    if waits:
        _come_back(turn, min(waits))


def on_mode_timer(turn: Turn, timer: Timer) -> None:
    """Look whether a cause has been clear for long enough."""
    if timer.number == turn.live.mode_due_ns:
        turn.live.mode_due_ns = 0
        turn.judge = True


def _come_back(turn: Turn, due_ns: int) -> None:
    known = turn.live.mode_due_ns
    if not known or due_ns < known or known <= turn.now:
        turn.live.mode_due_ns = due_ns
        turn.ctx.after(max(due_ns - turn.now, 0), Timer("mode", number=due_ns))


def _hold(turn: Turn, scope: str, cause: str, why: str, *, held: bool) -> None:
    if held:
        modes.holds(turn.live.causes, scope, cause)
        return
    mode = _spec(cause).mode
    at_start = not all(here.announced for here in turn.live.accounts.values())
    modes.entered(turn.live.causes, scope, cause, turn.now, at_start=at_start)
    set_mode(turn, ModeChange(turn.now, scope, cause, mode, f"MODE_{mode}", why))


def _leave(turn: Turn, scope: str, cause: str) -> int | None:
    """Withdraw a cause that has been clear for long enough; else return when it will have been."""
    due_ns = modes.left_ns(turn.live.causes, scope, cause, turn.now)
    if due_ns is None or due_ns > turn.now:
        return due_ns
    if modes.is_over_limit(cause):
        turn.live.suspects.pop(f"{scope} {cause}", None)
    set_mode(turn, ModeChange(turn.now, scope, cause, "NORMAL", "", ""))
    return None


def _spec(cause: str) -> CauseSpec:
    return CAUSES[modes.word(cause)]


def leave_gone(turn: Turn) -> None:
    """Withdraw at the fold what an earlier life found of what is wired no more: nobody judges it again.

    What waits for a human goes on waiting: it can be resumed by its name.
    """
    wired = _wired(turn)
    held = [record for causes in turn.trading.modes.values() for record in causes.values()]
    for record in held:
        # A cause may be about a place as well: `over limit @paper:main binance:BTC/USDT`.
        about = (word.removeprefix("@") for word in record.cause.split() if ":" in word)
        if not modes.waits_for_human(record.cause) and not wired.issuperset((record.scope, *about)):
            set_mode(turn, ModeChange(turn.now, record.scope, record.cause, "NORMAL", "", ""))


def _wired(turn: Turn) -> set[str]:
    """Return all scopes that are judged in this life; an owner who left is, as long as he is in the books."""
    wiring, books = turn.wiring, turn.trading.ledger.positions
    places = {*wiring.accounts, *wiring.instruments}
    venues = {place.partition(":")[0] for place in places}
    return {"all", *places, *venues, *wiring.owners, *(owner for held in books.values() for owner in held)}


# --- what holds now -----------------------------------------------------------------------------------


def _conditions(turn: Turn) -> Iterator[Condition]:
    live = turn.live
    yield "all", "journal", _why(live.journal_failing, "the journal cannot write: {}")
    yield "all", "loop lag", _lag(turn)
    yield "all", "chain", live.chain_broken
    yield "all", "safe", live.safe
    if turn.wiring.risk_desk is not None:
        desk = live.risk_desk
        yield "all", "risk desk", None if desk == "READY" else f"the risk desk is {desk}, not READY"
    for account, instruments in turn.wiring.accounts.items():
        yield from _of_account(turn, account, turn.account(account))
        for instrument in instruments:
            yield from _of_instrument(turn, instrument)
    yield from _bans(turn)
    yield from _over_limits(turn)


def _why(text: str | None, sentence: str) -> str | None:
    return None if text is None else sentence.format(text)


def _lag(turn: Turn) -> str | None:
    lag_ns, held = turn.live.lag_ns, "loop lag" in turn.trading.modes.get("all", {})
    most_ns = LAG_CLEAR_NS if held else turn.config.runtime.loop_lag_max
    return f"the loop is {lag_ns / SECOND:.2f} s late" if lag_ns > most_ns else None


def _of_account(turn: Turn, account: AccountId, here: AccountLive) -> Iterator[Condition]:
    doubts = turn.trading.exposure.in_doubt.get(account, 0)
    away = here.announced and not (here.connected and here.ready)
    yield account, "starting", None if here.announced else f"{account} is not reconciled yet"
    yield account, "link", f"{account} is not reconciled since its connection was lost" if away else None
    most = doubts > IN_DOUBT_MAX
    yield account, "in doubt", f"{account} has more than {IN_DOUBT_MAX} orders in doubt" if most else None
    yield account, "auth", (here.auth and f"the venue refuses the key of {account}: {here.auth}") or None


def _bans(turn: Turn) -> Iterator[Condition]:
    """A venue bans an address, so one banned account silences all of it."""
    banned: dict[str, str | None] = {}
    for account in turn.wiring.accounts:
        venue = account.partition(":")[0]
        if turn.account(account).banned_until_ns > turn.now:
            banned[venue] = f"the venue bans {account} for a while"
        banned.setdefault(venue, None)
    for venue, why in banned.items():
        yield venue, "ban", why


def _of_instrument(turn: Turn, instrument: InstrumentId) -> Iterator[Condition]:
    quality = turn.live.qualities.get(instrument)
    held = "feed" in turn.trading.modes.get(instrument, {})
    # Only a LIVE feed is trusted again, and one that nobody has heard of holds no mode.
    blind = quality is not None and quality.quality in (_NOT_LIVE if held else _BLIND)
    yield instrument, "feed", f"the feed of {instrument} is {quality.quality}" if blind and quality else None
    yield instrument, "hold", next(iter(turn.live.holds.get(instrument, {}).values()), None)
    yield instrument, "poison", _poison(turn, instrument)


def _poison(turn: Turn, instrument: InstrumentId) -> str | None:
    for key, record in turn.trading.poisons.items():
        if record.instrument == instrument:
            return f"{instrument} is on hold until a human resolves {key!r}"
    return None


# --- what is over its limit without an order of ours -----------------------------------------------------


def suspect(turn: Turn, account: AccountId, instrument: InstrumentId) -> None:
    """Have a limit looked at in this turn: something else than an approved order has moved what it bounds."""
    turn.suspects[account, instrument] = None


def suspect_all(turn: Turn) -> None:
    """Have all limits looked at: they themselves have changed."""
    for account, instruments in turn.wiring.accounts.items():
        for instrument in instruments:
            suspect(turn, account, instrument)


def on_first_quote(turn: Turn, msg: Quote) -> None:
    """Judge what an instrument's positions are worth, now that there is a price (again)."""
    for account, instruments in turn.wiring.accounts.items():
        if msg.instrument in instruments:
            suspect(turn, account, msg.instrument)


def suspect_asset(turn: Turn, account: AccountId, asset: str) -> None:
    """Have the limits of all instruments looked at that trade an asset."""
    for name in turn.wiring.accounts.get(account, ()):
        found = turn.instrument(name)
        if found is not None and found.base == asset:
            suspect(turn, account, name)


def _over_limits(turn: Turn) -> Iterator[Condition]:
    """Judge what is suspected now, and what was entered before and may have come back inside."""
    places, turn.suspects = turn.suspects, {}
    for known in turn.live.suspects.values():
        places.setdefault(known)
    for account, instrument in places:
        for scope, owner in _holders(turn, account, instrument):
            cause = f"{modes.OVER_LIMIT}{account} {instrument}"
            why = over_limit(turn, account, instrument, owner)
            if why is None:
                why = _unpriced(turn, scope, cause, worst_case(turn, account, instrument, owner), instrument)
            if why is not None:
                turn.live.suspects[f"{scope} {cause}"] = (account, instrument)
            yield scope, cause, why


def _unpriced(turn: Turn, scope: str, cause: str, most: Decimal, instrument: InstrumentId) -> str | None:
    """Return why a limit holds on while nobody knows what a position is worth: it is judged with a quote."""
    known = turn.trading.modes.get(scope, {}).get(cause)
    return None if known is None or not most or instrument in turn.live.quotes else known.text


def _holders(turn: Turn, account: AccountId, instrument: InstrumentId) -> list[tuple[str, str | None]]:
    """Return the scopes that a limit of an instrument bounds: the account's net, and each owner."""
    owners = {
        **turn.trading.ledger.positions.get(account, {}),
        **turn.trading.exposure.owners.get(account, {}).get(instrument, {}),
    }
    return [(instrument, None), *((owner, owner) for owner in owners if owner != EXTERNAL)]


def over_limit(turn: Turn, account: AccountId, instrument: InstrumentId, owner: str | None) -> str | None:
    """Return which position limit the worst case of an account, or of one owner, is beyond now."""
    limits, most = turn.config.risk.limits(instrument), worst_case(turn, account, instrument, owner)
    who = owner or account
    if most > limits.max_position:
        return f"{who} may hold {plain(most)} of {instrument}, over max_position {plain(limits.max_position)}"
    quote = turn.live.quotes.get(instrument)
    if quote is None:
        return None
    worth = most * (exact(quote.bid) + exact(quote.ask)) / 2
    if worth > limits.max_position_notional * (1 + fee_rate(turn, account)):
        bound = plain(limits.max_position_notional)
        return f"{who} may hold {plain(worth)} in {instrument}, over max_position_notional {bound}"
    return None


# --- a change, and what it forbids --------------------------------------------------------------------------


def set_mode(turn: Turn, record: ModeChange) -> None:
    """Journal a cause's mode for a scope and obey it in this step."""
    turn.emit(record)
    turn.log(
        "info" if record.mode == "NORMAL" else "warning",
        "mode",
        scope=record.scope,
        cause=record.cause,
        mode=record.mode,
        code=record.code,
        text=record.text,
    )
    if record.mode != "NORMAL":
        _forbid(turn, record)


def _forbid(turn: Turn, record: ModeChange) -> None:
    """Cancel own resting orders that a mode does not let stand (RELIABILITY.md 2b), and drop such creates."""
    own = [order for order in turn.live_orders() if not order.external]
    within = [order for order in own if record.scope in _scopes_of(order)]
    if record.mode not in _FORBID_ALL:
        # Who reduces is judged beside all others of its place, and none of another place.
        places = {(order.account, order.instrument) for order in within}
        adding = _adding(turn, [one for one in own if (one.account, one.instrument) in places])
        names = {order.client_order_id for order in adding}
        within = [order for order in within if order.client_order_id in names]
    for order in within if record.mode in _CANCELS else ():
        cancel_order(turn, order, f"mode {record.mode}")
    names = {order.client_order_id for order in within}
    drop_creates(turn, lambda create: create.client_order_id in names, f"mode {record.mode}")


def _keep_reducing(turn: Turn, places: Iterable[tuple[AccountId, InstrumentId]]) -> None:
    """Cancel what adds by now where REDUCE_ONLY holds: something else than an approved order has traded."""
    own = [order for order in turn.live_orders() if not order.external]
    for order in _adding(turn, [one for one in own if (one.account, one.instrument) in places]):
        if mode_of(turn, order.account, order.instrument, order.owner).mode == "REDUCE_ONLY":
            cancel_order(turn, order, "mode REDUCE_ONLY")


def _adding(turn: Turn, orders: Iterable[Order]) -> list[Order]:
    """Return which of these orders, oldest first, do not fit into what is left to flat.

    Of the account and of its owner alike; one whose end is wished for already leaves its room to others.
    """
    left: dict[tuple[str, ...], Decimal] = {}
    found = []
    for order in orders:
        instrument = turn.instrument(order.instrument)
        whole = (order.account, order.instrument, order.side)
        mine = (*whole, order.owner)
        if instrument is None:
            # Nobody can say any more what it would reduce.
            found.append(order)
            continue
        if mine not in left:
            state = risk_state(turn, order.account, instrument, order.owner)
            left.setdefault(whole, -state.account.position * sign(order.side))
            left[mine] = -state.owner.position * sign(order.side)
        if min(left[whole], left[mine]) < order.leaves_qty:
            found.append(order)
        elif order.status not in _ENDING:
            left[whole] -= order.leaves_qty
            left[mine] -= order.leaves_qty
    return found


def _scopes_of(order: Order) -> tuple[str, ...]:
    return scopes(order.account, order.instrument, order.owner)


# --- messages -------------------------------------------------------------------------------------


def on_set_mode(turn: Turn, msg: SetMode) -> None:
    """Take a cause of the risk desk or of an operator; a repeated word changes nothing."""
    known = turn.trading.modes.get(msg.scope, {}).get(msg.cause)
    if known is None and msg.mode == "NORMAL":
        return
    if known is not None and (known.mode, known.code, known.limit) == (msg.mode, msg.code, msg.limit):
        return
    wanted = (msg.mode, msg.code, msg.text, msg.limit, msg.used, msg.would_pass)
    set_mode(turn, ModeChange(turn.now, msg.scope, msg.cause, *wanted))


def on_actor_state(turn: Turn, msg: ActorState) -> None:
    """While the risk desk is not READY there is no new risk."""
    if msg.name == RISK_DESK:
        turn.live.risk_desk = msg.state
        turn.judge = True


def on_loop_lag(turn: Turn, msg: LoopLag) -> None:
    """Take note of a loop that was late, or keeps time again."""
    turn.live.lag_ns = msg.lag_ns
    turn.judge = True
