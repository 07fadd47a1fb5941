"""What stands before every create: readiness, modes, a trusted reference, the risk check.

Each gate answers None, or why not, with what would have passed.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from tradefan.actors.oms_look import seal_after_ns
from tradefan.actors.oms_state import ModeNow, Turn
from tradefan.config.schema import AccountConfig
from tradefan.contracts import Held, MarketView, RiskIntent, RiskRefused, RiskState
from tradefan.core.exposure import Sides, account_sides, owner_sides, reserved
from tradefan.core.ledger import balance, held_before, net, position
from tradefan.core.modes import tighter
from tradefan.core.scopes import scopes
from tradefan.core.trading import Trading
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quality
from tradefan.messages.orders import OrderType, ParentOrder
from tradefan.messages.records import ModeChange
from tradefan.risk import check, reduces
from tradefan.units import (
    EXTERNAL,
    SECOND,
    ZERO,
    AccountId,
    Asset,
    InstrumentId,
    OwnerId,
    Side,
    ceil_step,
    exact,
    floor_step,
)

COLLAR_BPS = Decimal(50)
_BPS = Decimal(10_000)
_HUMANS = (OwnerId("api"), OwnerId("cli"))
_BOTH = Decimal(2)


class Wanted(Struct, frozen=True):
    """A child that somebody wants to place; `price` is the worst price it may trade at."""

    account: AccountId
    instrument: Instrument
    owner: OwnerId
    side: Side
    order_qty: Decimal
    price: Decimal
    order_type: OrderType
    reduce_only: bool
    takes: bool
    child_qty: Decimal | None = None
    """The largest part that is sent as one order; None: all of it."""
    fired: bool = False
    """It works for a trigger that has fired."""


NO_WAY_OUT = ("journal", "auth", "ban", "starting")
"""Causes of CANCEL_ONLY in which nothing can be sent, or nothing be written."""


def admit(turn: Turn, wanted: Wanted) -> RiskRefused | None:
    """Return why this create may not exist now, or None; nothing is reserved yet.

    Whether a stop has begun is asked before: no wish is taken then, and no executor asked (`closed`).
    """
    refused = not_ready(turn, wanted.account)
    if refused is not None:
        return refused
    market = reference(turn, wanted.instrument, crossing=crosses(turn, wanted))
    if isinstance(market, RiskRefused):
        return market
    state = risk_state(turn, wanted.account, wanted.instrument, wanted.owner)
    refused = _by_mode(turn, wanted, state)
    if refused is not None:
        return refused
    intent = RiskIntent(
        wanted.account,
        wanted.instrument,
        wanted.owner,
        wanted.side,
        wanted.order_qty,
        wanted.price,
        wanted.order_type,
        wanted.reduce_only,
        wanted.child_qty,
    )
    verdict = check(state, intent, market, turn.config.risk)
    return verdict if isinstance(verdict, RiskRefused) else None


def closed(turn: Turn, *, at_stop: bool) -> RiskRefused | None:
    """Refuse from the first word of a stop on; `at_stop` is what the stop itself wishes for."""
    if turn.live.closing and not at_stop:
        return RiskRefused("NOT_READY", "TradeFan is stopping")
    return None


def not_ready(turn: Turn, account: AccountId) -> RiskRefused | None:
    """Refuse before the fold, before the venue was asked, and while it is away."""
    if not turn.live.running:
        return RiskRefused("NOT_READY", "the journal is being read")
    return away(turn, account)


def away(turn: Turn, account: AccountId) -> RiskRefused | None:
    """Refuse before the venue was asked, and while it is away."""
    here = turn.account(account)
    if not here.connected:
        return RiskRefused("NOT_READY", f"{account} is not connected: {here.reason}")
    if not here.ready:
        return RiskRefused("NOT_READY", f"{account} is being reconciled with its venue")
    return None


# --- modes ------------------------------------------------------------------------------------------


def mode_of(turn: Turn, account: AccountId, instrument: InstrumentId, owner: OwnerId) -> ModeNow:
    """Return the tightest mode of an order's scopes; of equal ones the first."""
    return _tightest(turn.trading, scopes(account, instrument, owner))


def mode_shown(trading: Trading) -> ModeNow:
    """Return the tightest mode that holds anywhere, for status."""
    return _tightest(trading, tuple({**trading.kills, **trading.modes}))


def _tightest(trading: Trading, wanted: tuple[str, ...]) -> ModeNow:
    tightest = ModeNow("NORMAL", "", "")
    for scope in wanted:
        kill = trading.kills.get(scope)
        if kill is not None:
            return ModeNow("KILLED", "MODE_KILLED", f"{scope} was killed: {kill.reason}")
        for record in trading.modes.get(scope, {}).values():
            if tighter(record.mode, tightest.mode):
                tightest = _from_record(record)
    return tightest


def _from_record(record: ModeChange) -> ModeNow:
    code = record.code or f"MODE_{record.mode}"
    return ModeNow(record.mode, code, record.text, record.limit, record.used, record.would_pass)


def _by_mode(turn: Turn, wanted: Wanted, state: RiskState) -> RiskRefused | None:
    """Refuse what the mode forbids; NO_NEW_RISK and REDUCE_ONLY let through what can only reduce.

    CANCEL_ONLY lets through what works for a reduce-only stop that has fired.
    """
    now = mode_of(turn, wanted.account, wanted.instrument.id, wanted.owner)
    if now.mode == "NORMAL":
        return None
    reducing = now.mode in ("NO_NEW_RISK", "REDUCE_ONLY") and reduces(state, wanted.side, wanted.order_qty)
    stop = wanted.fired and wanted.reduce_only and now.mode == "CANCEL_ONLY"
    if stop and may_leave(turn, wanted.account, wanted.instrument.id, wanted.owner):
        return None
    # KILLED is the latch, which a rule reads from the state.
    if reducing or now.mode == "KILLED":
        return None
    return RiskRefused(now.code, now.text, now.limit, now.used, now.would_pass)


def may_leave(turn: Turn, account: AccountId, instrument: InstrumentId, owner: OwnerId) -> bool:
    """Say whether what CANCEL_ONLY forbids could leave: a reduce-only stop that has fired may then."""
    held = (turn.trading.modes.get(scope, {}) for scope in scopes(account, instrument, owner))
    return not any(cause in NO_WAY_OUT for causes in held for cause in causes)


# --- reference and state --------------------------------------------------------------------------------


def reference(turn: Turn, instrument: Instrument, *, crossing: bool) -> MarketView | RiskRefused:
    """Return the reference of an instrument, or why there is none: no default price exists (RK-01).

    What crosses needs a LIVE feed; a passive order may also be placed on a SUSPECT one.
    """
    quality = turn.live.qualities.get(instrument.id)
    quote = turn.live.quotes.get(instrument.id)
    trusted = (Quality.LIVE,) if crossing else (Quality.LIVE, Quality.SUSPECT)
    if quality is None or quality.quality not in trusted:
        shown = "BLIND (not heard of)" if quality is None else f"{quality.quality} ({quality.reason})"
        return RiskRefused("NO_REFERENCE", f"the feed of {instrument.id} is {shown}", "LIVE", shown)
    if quote is None:
        return RiskRefused("NO_REFERENCE", f"{instrument.id} has no quote yet")
    age_ns, most_ns = turn.now - quote.recv_ns, turn.config.risk.reference_age_max
    if age_ns > most_ns:
        text = f"the quote of {instrument.id} is {age_ns / SECOND:.1f} s old"
        return RiskRefused("NO_REFERENCE", text, f"{most_ns / SECOND:g} s", f"{age_ns / SECOND:.1f} s")
    bid, ask = exact(quote.bid), exact(quote.ask)
    return MarketView(bid, ask, (bid + ask) / _BOTH, age_ns, quality.quality)


def collar_price(instrument: Instrument, side: Side, market: MarketView, collar_bps: Decimal) -> Decimal:
    """Return the worst price of a crossing child, rounded inward (EXECUTION.md part 2, "Collar")."""
    total = market.bid + market.ask
    if side == "buy":
        return floor_step(total * (_BPS + collar_bps) / (2 * _BPS), instrument.price_tick)
    return ceil_step(total * (_BPS - collar_bps) / (2 * _BPS), instrument.price_tick)


def crosses(turn: Turn, wanted: Wanted) -> bool:
    """Say whether an order would take from the book as it was last seen."""
    quote = turn.live.quotes.get(wanted.instrument.id)
    if wanted.takes or quote is None:
        return wanted.takes
    return wanted.price >= exact(quote.ask) if wanted.side == "buy" else wanted.price <= exact(quote.bid)


def risk_state(turn: Turn, account: AccountId, instrument: Instrument, owner: OwnerId) -> RiskState:
    """Return what the books say, read without a scan of orders."""
    trading, books = turn.trading, turn.trading.ledger
    mine = owner_sides(trading.exposure, account, instrument.id, owner)
    own_qty = position(books, account, owner, instrument.id).qty
    whole_qty = account_qty(turn, account, instrument.id)
    base_free = balance(books, account, instrument.base) - reserved(
        trading.exposure, account, instrument.base
    )
    if instrument.kind == "spot" and owner in _HUMANS:
        # A human may also sell what the account held before; what others took away is no room to buy.
        left = max(external_left(turn, account, instrument, but=owner), ZERO)
        own_qty += left
        base_free = min(base_free, _free_of_base(turn, account, instrument, owner) + left)
    elif instrument.kind == "spot":
        # A strategy sells what it bought: what the account held before is never its to trade.
        base_free = min(base_free, own_free(turn, account, instrument.id, owner))
    latch = mode_of(turn, account, instrument.id, owner)
    return RiskState(
        account=_held(whole_qty, account_sides(trading.exposure, account, instrument.id)),
        owner=_held(own_qty, mine),
        free_base=base_free,
        free_quote=balance(books, account, instrument.quote)
        - reserved(trading.exposure, account, instrument.quote),
        fee_rate=fee_rate(turn, account),
        orders_recent=len(recent_orders(turn, owner)),
        latched=latch.text or latch.code if latch.mode == "KILLED" else None,
    )


def free_qty(turn: Turn, order: ParentOrder, instrument: Instrument, price: Decimal) -> Decimal:
    """Return how much of an order could be paid for at a price, fees included."""
    state = risk_state(turn, order.account, instrument, order.owner)
    if order.side == "sell" and instrument.kind == "spot":
        return max(state.free_base, ZERO)
    return max(state.free_quote, ZERO) / (price * (1 + state.fee_rate))


def own_free(turn: Turn, account: AccountId, instrument: InstrumentId, owner: OwnerId) -> Decimal:
    """Return what an owner may sell of its own for certain, whatever fee is still to be told.

    A fee of a purchase may be taken in what was bought: until its real trade is booked the largest one
    is taken off. A trade that has not come for `seal_after` does not come: its fee shows as a transfer.
    """
    late_ns = turn.now - seal_after_ns(turn, account)
    mine = owner_sides(turn.trading.exposure, account, instrument, owner)
    untold = mine.unbooked_buy + sum(
        fill.qty
        for fill in turn.trading.inferred.values()
        if (fill.account, fill.instrument, fill.owner, fill.side) == (account, instrument, owner, "buy")
        and turn.since(fill.at_ns) > late_ns
    )
    own_qty = position(turn.trading.ledger, account, owner, instrument).qty
    return own_qty + mine.unbooked - mine.sell_qty - untold * fee_rate(turn, account)


def external_left(
    turn: Turn, account: AccountId, instrument: Instrument, *, but: OwnerId | None = None
) -> Decimal:
    """Return what `external` has of a spot base: not what humans, `but` one, have sold of it or have on sale.

    A human who is short in it has that from `external`: what strategies hold is nobody else's to sell.
    """
    left = held_before(turn.trading.ledger, account, instrument.base)
    left += _free_of_base(turn, account, instrument, EXTERNAL)
    for human in _HUMANS:
        if human != but:
            left += min(_free_of_base(turn, account, instrument, human), ZERO)
    return left


def _free_of_base(turn: Turn, account: AccountId, like: Instrument, owner: OwnerId) -> Decimal:
    """Return what an owner may sell of its own of a spot base, whatever it was traded against."""
    held = turn.trading.ledger.positions.get(account, {}).get(owner, {})
    names = dict.fromkeys((*held, *turn.trading.exposure.owners.get(account, {})))
    of_base = [name for name in names if _spot_base(turn, name) == like.base]
    return sum((own_free(turn, account, name, owner) for name in of_base), ZERO)


def _spot_base(turn: Turn, name: InstrumentId) -> Asset | None:
    """Return what an instrument trades; by its name, where its feed has left the configuration."""
    found = turn.instrument(name)
    if found is None:
        return Asset(name.partition(":")[2].partition("/")[0])
    return found.base if found.kind == "spot" else None


def worst_case(turn: Turn, account: AccountId, instrument: InstrumentId, owner: str | None) -> Decimal:
    """Return the largest position, of either sign, that an account or one owner may come to."""
    return worst_of(turn.trading, turn.instrument(instrument), account, instrument, owner)


def worst_of(
    trading: Trading,
    found: Instrument | None,
    account: AccountId,
    instrument: InstrumentId,
    owner: str | None,
) -> Decimal:
    """Return the same outside of a turn; `found` are the rules of the instrument."""
    books = trading.ledger
    if owner is None:
        qty = _account_qty(trading, found, account, instrument)
        sides = account_sides(trading.exposure, account, instrument)
    else:
        qty = position(books, account, OwnerId(owner), instrument).qty
        sides = owner_sides(trading.exposure, account, instrument, OwnerId(owner))
    qty += sides.unbooked
    return max(abs(qty + sides.buy_qty), abs(qty - sides.sell_qty))


def account_qty(turn: Turn, account: AccountId, instrument: InstrumentId) -> Decimal:
    """Return what an account holds of an instrument, what was there before us with it."""
    return _account_qty(turn.trading, turn.instrument(instrument), account, instrument)


def _account_qty(
    trading: Trading, found: Instrument | None, account: AccountId, instrument: InstrumentId
) -> Decimal:
    books = trading.ledger
    qty = net(books, account, instrument)
    if found is not None and found.kind == "spot":
        qty += held_before(books, account, found.base)
    return qty


def fee_rate(turn: Turn, account: AccountId) -> Decimal:
    """Return the largest fee that a fill may cost, as a share of its worth."""
    return fee_of(turn.account_config(account))


def fee_of(config: AccountConfig) -> Decimal:
    """Return the largest fee of an account that is configured so."""
    return max(config.maker_fee_bps, config.taker_fee_bps, ZERO) / _BPS


def recent_orders(turn: Turn, owner: OwnerId) -> list[int]:
    """Return the instants of an owner's creates within the last second of kernel time."""
    return [at_ns for at_ns in turn.live.recent.get(owner, ()) if at_ns > turn.now - SECOND]


def _held(qty: Decimal, sides: Sides) -> Held:
    return Held(qty + sides.unbooked, sides.buy_qty, sides.sell_qty)
