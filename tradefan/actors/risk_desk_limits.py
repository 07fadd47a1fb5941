"""From book and marks to modes: values an account, follows day and peak, tells the OMS what does not hold."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.risk_desk_state import Account, Desk, Watch
from tradefan.core.equity import Book, Breach, Curve, Limits, Worth, day_start, judge, parse_roll
from tradefan.messages.account import EquityMark, Mode, SetMode
from tradefan.units import SECOND, ZERO, AccountId, Asset, InstrumentId, plain

MARK_NS = SECOND
"""Day start and peak are told at most this often."""
CLEAR_NS = 30 * SECOND
"""So long must a position limit hold again before its mode goes."""
LATCHING = ("drawdown", "daily_loss")
"""They stay until a human, or for the daily loss the next day."""


def evaluate(desk: Desk, name: AccountId, account: Account) -> None:
    """Value an account and tell the OMS which limits do not hold, in the turn that learns it."""
    if account.book is None:
        return
    worth = account.worth = _worth(desk, account, account.book)
    if worth.missing:
        return
    _shift(desk, account)
    time = desk.config.time
    today_ns = day_start(desk.ctx.now_ns, parse_roll(time.day_roll), time.zone)
    if account.curve is None:
        account.curve = Curve(today_ns, worth.equity, worth.equity, day_fees=account.fees())
    elif account.curve.roll(today_ns, worth.equity, account.fees()):
        account.latched.pop("daily_loss", None)
        set_mode(desk, name, "daily_loss", "NORMAL")
    _forgive(account, account.curve, worth.equity)
    account.curve.follow(worth.equity)
    limits = desk.state.limits = _limits(desk)
    account.breaches = judge(worth, account.curve, limits, desk.wiring.numeraire)
    _latch(desk, name, account)
    _watch(desk, name, account)
    _tell_mark(desk, name, account, account.curve)


def _worth(desk: Desk, account: Account, book: Book) -> Worth:
    """Value a book; what was transferred needs its mark, too, also where nothing of it is left."""
    worth, sources = desk.valuer.worth(book, desk.state.marks), desk.valuer.sources
    moved = (sources[asset] for asset, qty in account.moved.items() if qty and asset in sources)
    unmarked = [name for name in moved if name not in desk.state.marks]
    return replace(worth, missing=tuple(dict.fromkeys((*worth.missing, *unmarked)))) if unmarked else worth


def _shift(desk: Desk, account: Account) -> None:
    """Let what was transferred move day start and peak as it moved equity: without a price not at all."""
    moved, account.moved = account.moved, {}
    for asset in account.gone.keys() & moved:
        qty, mark = account.gone[asset]
        account.gone[asset] = (qty + moved[asset], mark)
    if account.curve is not None:
        prices = {asset: desk.valuer.price(asset, desk.state.marks) for asset in moved}
        account.curve.shift(sum((qty * (prices[asset] or ZERO) for asset, qty in moved.items()), ZERO))


def repeat_latched(desk: Desk, name: AccountId, account: Account) -> None:
    """Say again what stays, to an OMS that began anew; what may go again is said by `evaluate`."""
    account.watches.clear()
    for breach in account.latched.values():
        set_mode(desk, name, breach.cause, "REDUCE_ONLY", breach)


def let_go(account: Account, cause: str) -> None:
    """A human has seen a loss: it is measured anew from here, or from the next instant that can be valued."""
    account.latched.pop(cause, None)
    if cause in LATCHING:
        account.forgiven[cause] = None


def _forgive(account: Account, curve: Curve, equity: Decimal) -> None:
    if "drawdown" in account.forgiven:
        curve.peak = equity
    if "daily_loss" in account.forgiven:
        curve.day_equity = equity
    account.forgiven.clear()


def book_seams(desk: Desk, seams: dict[InstrumentId, Decimal]) -> None:
    """Book apart what the first marks after a break do to equity."""
    state = desk.state
    marks = state.marks | seams
    for name, account in state.accounts.items():
        if account.book is None or account.curve is None:
            continue
        before, after = (desk.valuer.worth(account.book, one) for one in (state.marks, marks))
        jump = after.equity - before.equity
        if before.missing or not jump:
            continue
        account.curve.book_seam(jump)
        state.counters.seams += 1
        desk.ctx.log("info", "seam_booked_apart", account=name, jump=plain(jump))


def book_gone(desk: Desk, name: AccountId, account: Account) -> None:
    """Book apart what an earlier life valued and nothing prices now: its feed left the configuration.

    Day start and peak hold that value, at the marks told last, and no transfer that came since. Only
    `external` can have such, because a start that takes the price of a position of ours is refused.
    """
    if account.book is None or account.curve is None:
        return
    valuer = desk.valuer
    gone = [one for one in account.last_marks if one not in desk.state.instruments]
    for instrument in gone:
        mark = account.last_marks.pop(instrument)
        base, _, quote = instrument.partition(":")[2].partition("/")
        asset = Asset(base)
        qty = account.book.assets.get(asset, ZERO) - account.moved.get(asset, ZERO)
        if qty and quote == valuer.numeraire and base not in valuer.sources:
            account.curve.book_seam(-qty * mark)
            account.gone[asset] = (qty, mark)
            desk.state.counters.seams += 1
            desk.ctx.log(
                "warning", "unpriced_now", account=name, asset=base, qty=plain(qty), mark=plain(mark)
            )


def book_back(desk: Desk, name: AccountId, account: Account) -> None:
    """Take back what was booked apart for a feed that is there again: equity holds it, so day start does."""
    if account.book is None or account.curve is None:
        return
    for asset in [one for one in account.gone if one in desk.valuer.sources]:
        qty, mark = account.gone.pop(asset)
        account.curve.book_seam(qty * mark)
        desk.state.counters.seams += 1
        desk.ctx.log("info", "priced_again", account=name, asset=asset, qty=plain(qty), mark=plain(mark))


def set_mode(desk: Desk, scope: str, cause: str, mode: Mode, breach: Breach | None = None) -> None:
    """Tell the OMS a mode; NORMAL needs no words."""
    if breach is None:
        desk.ctx.send(desk.wiring.oms, SetMode(scope, cause, mode, "", ""))
        return
    desk.state.counters.modes += 1
    words = (breach.code, breach.text, breach.limit, breach.used, breach.would_pass)
    desk.ctx.send(desk.wiring.oms, SetMode(scope, cause, mode, *words))


def _latch(desk: Desk, name: AccountId, account: Account) -> None:
    for breach in account.breaches:
        if breach.cause in LATCHING and breach.cause not in account.latched:
            account.latched[breach.cause] = breach
            set_mode(desk, name, breach.cause, "REDUCE_ONLY", breach)


def _watch(desk: Desk, name: AccountId, account: Account) -> None:
    """Exposure stops an account's new risk, concentration that of the instruments it is about."""
    found = {breach.subject: breach for breach in account.breaches if breach.cause not in LATCHING}
    _watch_one(desk, account, name, "exposure", found.get(""))
    for instrument in desk.state.instruments.values():
        part = instrument.base if instrument.kind == "spot" else instrument.id
        _watch_one(desk, account, instrument.id, f"concentration {name}", found.get(part))


def _watch_one(desk: Desk, account: Account, scope: str, cause: str, breach: Breach | None) -> None:
    """Enter at once, leave when the limit has held for a while; say either at the start."""
    key = f"{scope} {cause}"
    watch = account.watches.get(key)
    entered = watch is not None and watch.mode != "NORMAL"
    if breach is not None:
        if not entered:
            account.watches[key] = Watch("NO_NEW_RISK")
            set_mode(desk, scope, cause, "NO_NEW_RISK", breach)
        elif watch is not None:
            watch.inside_ns = None
        return
    if watch is not None and entered:
        watch.inside_ns = desk.ctx.now_ns if watch.inside_ns is None else watch.inside_ns
        if desk.ctx.now_ns - watch.inside_ns < CLEAR_NS:
            return
    if watch is None or entered:
        account.watches[key] = Watch("NORMAL")
        set_mode(desk, scope, cause, "NORMAL")


def _but_marks(mark: EquityMark) -> EquityMark:
    return replace(mark, marks={})


def _tell_mark(desk: Desk, name: AccountId, account: Account, curve: Curve) -> None:
    """Let the OMS journal day start and peak: a new day at once, a peak at most once a second.

    In a stop the marks as well: a start without the feed of a holding has no newer ones.
    """
    mark = EquityMark(
        account=name,
        numeraire=desk.wiring.numeraire,
        day_start_ns=curve.day_start_ns,
        day_equity=curve.day_equity,
        peak_equity=curve.peak,
        seam=curve.seam,
        day_fees=curve.day_fees,
        marks={} if account.book is None else desk.valuer.marks_of(account.book, desk.state.marks),
        transferred=dict(account.transferred),
        gone=dict(account.gone),
    )
    known, now_ns = account.marked, desk.ctx.now_ns
    same = known is not None and _but_marks(known) == _but_marks(mark) and set(known.marks) == set(mark.marks)
    if same and not (desk.state.stopping and known != mark):
        # That prices have moved is no news, until a stop: the next start may have no others.
        return
    new_day = known is None or known.day_start_ns != mark.day_start_ns
    if new_day or desk.state.stopping or now_ns - account.marked_ns >= MARK_NS:
        account.marked, account.marked_ns = mark, now_ns
        desk.ctx.send(desk.wiring.oms, mark)


def _limits(desk: Desk) -> Limits:
    risk = desk.config.risk
    return Limits(risk.max_drawdown, risk.max_daily_loss, risk.max_exposure, risk.max_concentration)
