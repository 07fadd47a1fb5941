"""When an account's venue is asked. One look at a time and one timer per account.

A look asks open orders, the trades after the cursors, balances, and each named order. It is due
every 10 s, at once after a connection, at R3's instants while something is in doubt, and at both
instants of R4.
"""

from __future__ import annotations

from tradefan.actors.oms_state import AccountLive, Turn
from tradefan.core.order import Order
from tradefan.messages.control import Timer
from tradefan.messages.gateway import Look
from tradefan.units import MINUTE, SECOND, AccountId

PERIOD_NS = 10 * SECOND
TIMEOUT_NS = 60 * SECOND
"""A look whose gateway never ends it; the gateway's own time-outs come long before."""
CLOCK_BOUND_NS = SECOND
SEAL_MIN_NS = 10 * MINUTE
SECOND_LOOK_NS = 5 * SECOND
NAMED_MAX = 200
"""Orders asked by id in one look; the rest waits for the next."""


def ask_soon(turn: Turn, account: AccountId, delay_ns: int) -> None:
    """See to it that a look is due within a delay."""
    here, due_ns = turn.account(account), turn.now + delay_ns
    if here.look_due_ns is not None and here.look_due_ns <= due_ns:
        return
    here.look_due_ns = due_ns
    here.look_serial += 1
    turn.ctx.after(delay_ns, Timer("look", account, here.look_serial))


def query(turn: Turn, order: Order) -> None:
    """Have an order asked by id in the next look, where it can be asked for."""
    if _can_be_asked(turn, order):
        turn.account(order.account).queries[order.client_order_id] = None


def _can_be_asked(turn: Turn, order: Order) -> bool:
    """Say whether there is a symbol to ask by: the feed of what others have in the market may be gone.

    One such question would make every look of its account incomplete.
    """
    return order.instrument in turn.wiring.accounts.get(order.account, ())


def on_look_timer(turn: Turn, timer: Timer) -> None:
    """Look, if the venue is there and no other look is under way."""
    account = AccountId(timer.subject)
    here = turn.account(account)
    if timer.number != here.look_serial:
        return
    here.look_due_ns = None
    if here.look_id and turn.now - here.look_sent_ns < TIMEOUT_NS:
        # What it finds out decides when the next one is due; this is the net below it.
        ask_soon(turn, account, SECOND)
    elif here.shut_until_ns > turn.now:
        # The venue asks for silence; nothing would be written.
        ask_soon(turn, account, here.shut_until_ns - turn.now)
    elif not (here.connected or not here.heard):
        # The connection's return looks at once.
        return
    elif _is_needed(turn, account, here):
        look_now(turn, account)
    else:
        ask_soon(turn, account, here.period_ns - turn.now)


def _is_needed(turn: Turn, account: AccountId, here: AccountLive) -> bool:
    """Say whether a look has something to find out; what asked for it may have come by itself."""
    open_questions = here.queries or here.differences or turn.trading.exposure.in_doubt.get(account, 0)
    ending = turn.live.stopping is not None or turn.live.killing
    unsure = not here.ready or here.look_failures or here.absent or here.present or ending
    return bool(open_questions or unsure) or turn.now >= here.period_ns


def look_now(turn: Turn, account: AccountId) -> None:
    """Ask for everything that the books of an account need."""
    here = turn.account(account)
    here.look_id, here.look_sent_ns = turn.ctx.next_id(), turn.now
    here.period_ns = turn.now + PERIOD_NS
    here.seen, here.reopened, here.others = {}, {}, {}
    here.totals = None
    turn.live.counters.looks += 1
    cursors = turn.trading.cursors.get(account, {})
    named = tuple((order.instrument, order.client_order_id) for order in _named(turn, account, here))
    turn.send(
        turn.wiring.gateways.get(account),
        Look(
            account=account,
            look_id=here.look_id,
            orders=named,
            cursors=tuple((name, cursors.get(name)) for name in turn.wiring.accounts.get(account, ())),
        ),
    )
    ask_soon(turn, account, TIMEOUT_NS)


def _named(turn: Turn, account: AccountId, here: AccountLive) -> list[Order]:
    """Return the orders to ask by id: all in doubt, if they can be, then those with an open question."""
    live = turn.live_orders(account)
    doubts = [order for order in live if order.in_doubt is not None and _can_be_asked(turn, order)]
    known = {order.client_order_id: None for order in doubts}
    asked = [
        turn.trading.orders[name]
        for name in here.queries
        if name not in known and name in turn.trading.orders
    ]
    named = (doubts + asked)[:NAMED_MAX]
    here.named = {order.client_order_id: None for order in named}
    return named


def r4_earliest(turn: Turn, order: Order) -> int:
    """Return the first instant at which "not found" can be proof (RELIABILITY.md 2a, R4).

    The deadline of an INTENT of an earlier epoch counts from this start: the wall clock may have
    jumped while nobody was here.
    """
    config = turn.account_config(order.account)
    deadline_ns = order.not_after_ns
    if order.epoch != turn.trading.epoch:
        deadline_ns = turn.trading.epoch_ns + config.order_deadline
    return deadline_ns + config.accept_bound + config.visible_bound + CLOCK_BOUND_NS


def visible_ns(turn: Turn, account: AccountId) -> int:
    """Return after how long every look shows what happened."""
    return turn.account_config(account).visible_bound + CLOCK_BOUND_NS


def seal_after_ns(turn: Turn, account: AccountId) -> int:
    """Return after how long no trade is expected any more of what traded."""
    config = turn.account_config(account)
    return max(SEAL_MIN_NS, config.late_fill_bound + config.visible_bound)


def r4_delay_ns(turn: Turn, account: AccountId) -> int:
    """Return how long after its INTENT "not found" can be proof."""
    config = turn.account_config(account)
    return config.order_deadline + config.accept_bound + config.visible_bound + CLOCK_BOUND_NS


def doubtful_creates(turn: Turn, account: AccountId) -> list[Order]:
    """Return the orders of which nobody knows whether they exist."""
    return [order for order in turn.live_orders(account) if order.may_not_exist]
