"""The risk desk's picture for status and metrics: numbers, what would still pass, and marks."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors import risk_desk_books as books
from tradefan.actors.risk_desk_state import (
    Account,
    AccountRiskView,
    Desk,
    MarkView,
    RiskDeskState,
    RiskDeskWiring,
    RiskView,
    Room,
)
from tradefan.core.equity import Curve, Limits, Marks, Valuer, Worth
from tradefan.messages.account import EquityPoint, RiskPoint
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset, InstrumentId

MARKS_SHOWN = 50


def risk_view(state: RiskDeskState, wiring: RiskDeskWiring, valuer: Valuer) -> RiskView:
    """Return a bounded picture; it changes nothing."""
    return RiskView(
        state=state.said or "STARTING",
        reason=state.reason,
        limits=state.limits,
        accounts=tuple(_account(name, one, state, wiring, valuer) for name, one in state.accounts.items()),
        differences={name: one.qty for name, one in state.differences.items() if one.qty},
        held=tuple(name for name, one in state.differences.items() if one.held and one.apart),
        counters=state.counters,
    )


def results(account: Account, valuer: Valuer, marks: Marks) -> tuple[Decimal, Decimal, Decimal]:
    """Return realised result, unrealised result and fees in the numeraire, of all but `external`."""
    realised = unrealised = ZERO
    for owner, by_instrument in account.results.items():
        if owner == EXTERNAL:
            continue
        for name, held in by_instrument.items():
            instrument, mark = valuer.instruments.get(name), marks.get(name)
            price = None if instrument is None else valuer.price(instrument.quote, marks)
            if price is not None:
                realised += held.realised * price
                if mark is not None and held.avg_px is not None:
                    unrealised += held.qty * (mark - held.avg_px) * price
    return realised, unrealised, _worth(account.fees(), valuer, marks)


def fees_today(account: Account, valuer: Valuer, marks: Marks) -> Decimal:
    """Return the fees since the day began in the numeraire, at the marks of now as equity is."""
    before = {} if account.curve is None else account.curve.day_fees
    paid = {asset: fee - before.get(asset, ZERO) for asset, fee in account.fees().items()}
    return _worth(paid, valuer, marks)


def _worth(amounts: dict[Asset, Decimal], valuer: Valuer, marks: Marks) -> Decimal:
    return sum((amount * (valuer.price(asset, marks) or ZERO) for asset, amount in amounts.items()), ZERO)


def equity_point(name: AccountId, account: Account, desk: Desk) -> EquityPoint | None:
    """Return the point that the store keeps; None while the account cannot be valued."""
    worth, curve = account.worth, account.curve
    if worth is None or worth.missing or curve is None:
        return None
    realised, unrealised, fees = results(account, desk.valuer, desk.state.marks)
    return EquityPoint(
        account=name,
        numeraire=desk.wiring.numeraire,
        at_ns=desk.ctx.now_ns,
        equity=worth.equity,
        realised=realised,
        unrealised=unrealised,
        fees=fees,
        seam=curve.seam,
        drawdown=curve.drawdown(worth.equity),
        exposure=worth.exposure,
    )


def risk_point(name: AccountId, account: Account, now_ns: int) -> RiskPoint | None:
    """Return how near an account is to its limits; None while it cannot be valued."""
    worth, curve = account.worth, account.curve
    if worth is None or worth.missing or curve is None:
        return None
    return RiskPoint(
        name,
        now_ns,
        curve.drawdown(worth.equity),
        curve.daily_loss(worth.equity),
        worth.exposure,
        worth.concentration,
    )


def _account(
    name: AccountId, account: Account, state: RiskDeskState, wiring: RiskDeskWiring, valuer: Valuer
) -> AccountRiskView:
    curve, worth = account.curve, account.worth
    if worth is not None and worth.missing:
        worth = None
    realised, unrealised, fees = results(account, valuer, state.marks)
    return AccountRiskView(
        account=name,
        numeraire=wiring.numeraire,
        equity=None if worth is None else worth.equity,
        day_start_ns=None if curve is None else curve.day_start_ns,
        day_equity=None if curve is None else curve.day_equity,
        peak=None if curve is None else curve.peak,
        drawdown=None if worth is None or curve is None else curve.drawdown(worth.equity),
        daily_loss=None if worth is None or curve is None else curve.daily_loss(worth.equity),
        exposure=None if worth is None else worth.exposure,
        concentration=None if worth is None else worth.concentration,
        largest=None if worth is None else worth.largest[0] or None,
        gross=None if worth is None else worth.gross,
        realised=realised,
        unrealised=unrealised,
        fees=fees,
        fees_today=fees_today(account, valuer, state.marks),
        seam=ZERO if curve is None else curve.seam,
        room=_room(worth, curve, state.limits),
        breaches=account.breaches,
        latched=tuple(account.latched.values()),
        missing=() if account.worth is None else account.worth.missing,
        unpriced=() if account.worth is None else account.worth.unpriced,
        marks=_marks(account, state),
    )


def _room(worth: Worth | None, curve: Curve | None, limits: Limits | None) -> Room | None:
    """Return how much may still be lost and added."""
    if worth is None or curve is None or limits is None:
        return None
    return Room(
        drawdown=worth.equity - curve.peak * (1 - limits.drawdown),
        daily_loss=worth.equity - curve.day_equity * (1 - limits.daily_loss),
        exposure=limits.exposure * worth.equity - worth.gross,
        concentration=limits.concentration * worth.equity - worth.largest[1],
    )


def _marks(account: Account, state: RiskDeskState) -> tuple[MarkView, ...]:
    names = list(state.instruments)[:MARKS_SHOWN]
    return tuple(_mark(name, account, state) for name in names)


def _mark(name: InstrumentId, account: Account, state: RiskDeskState) -> MarkView:
    instrument, mark, quote = state.instruments[name], state.marks.get(name), state.quotes.get(name)
    qty = ZERO if account.book is None else books.net(account.book, name)
    quality = state.qualities.get(name)
    return MarkView(
        instrument=name,
        mark=mark,
        recv_ns=None if quote is None else quote.recv_ns,
        quality="" if quality is None else quality.value,
        qty=qty,
        worth=None if mark is None else instrument.notional(qty, mark),
    )
