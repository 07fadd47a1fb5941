"""When everything has healed: nothing is in doubt, and what was to be cancelled is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tradefan.messages.records import CancelIntent, Record
from tradefan.sim.checkers.base import LIAR_LAG_NS, OverRecords, Source, Watch, oms_of
from tradefan.sim.checkers.orders import Orders
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import SECOND, ZERO

CANCELED_NS = 40 * SECOND
LOOKS_NS = 30 * SECOND
"""Within this one look misses an order, and the next has asked for it by its id."""
LASTING = ("over limit", "exposure", "concentration")
"""Causes that may go on to hold: somebody holds more than a limit allows, and nobody has sold it."""


class AllWell(Watch):
    """I-36: A + V + 90 s after the heal nothing is in doubt, books are equal, streams LIVE, modes NORMAL.

    The world looks at that instant, before it stops. Equal books: the desk's positions are those of the
    order manager, nothing is open there that ended at the venue so long ago that looks have told it, by the
    world's clock, whatever ours did, and what others have at rest counts there. A mode whose cause is a limit
    that is still exceeded may stand.
    """

    invariant: str = "I-36"
    kind: Kind = "Q"
    watches: tuple[Source, ...] = ()

    def at_rest(self, seen: Witness) -> Violation | None:
        troubles = list(self._troubles(seen))
        return self.broken(seen, "all well", "; ".join(troubles)) if troubles else None

    def _troubles(self, seen: Witness) -> Iterator[str]:
        if oms_of(seen) is None or seen.desk is None:
            yield f"order manager {_runs(seen.oms)}, risk desk {_runs(seen.desk)}"
            return
        trading, live = seen.oms.trading, seen.oms.live
        for name in trading.orders_live:
            if trading.orders[name].in_doubt is not None:
                yield f"{name} in doubt: {trading.orders[name].in_doubt}"
        for scope, causes in trading.modes.items():
            for cause, record in causes.items():
                if not cause.startswith(LASTING):
                    yield f"{scope} {record.mode} for {cause!r} ({record.text})"
        for scope in (*trading.kills, *seen.latched):
            yield f"{scope} is killed"
        for account, here in live.accounts.items():
            if not (here.connected and here.ready):
                yield f"{account} connected {here.connected}, ready {here.ready}: {here.reason}"
        for instrument in seen.config.feeds:
            quality = live.qualities.get(instrument)
            if quality is None or quality.quality != "LIVE":
                yield f"the feed of {instrument} is {quality and quality.quality}"
        yield from _apart(seen)
        yield from _ended(seen)
        yield from _unknown(seen)


def _ended(seen: Witness) -> Iterator[str]:
    """Name the own orders that rest only in our books; what a human has to look at is said by its mode."""
    lag_ns = seen.venue.visible_bound_ns + LOOKS_NS + (0 if seen.venue.honest else LIAR_LAG_NS)
    trading = seen.oms.trading
    for order in seen.venue.orders.values():
        known = trading.orders.get(order.client_order_id) if order.ours else None
        if known is None or not known.live or known.external or order.ended_ns is None:
            continue
        if order.ended_ns < seen.now_ns - lag_ns:
            yield f"{known.client_order_id} {known.status}, ended at the venue at {order.ended_ns} ns"


def _unknown(seen: Witness) -> Iterator[str]:
    """Name the orders of others that rest at the venue and count nowhere here.

    With a liar a word about an older order of the same id may end one for good: his queries lag behind V.
    """
    lag_ns, trading = seen.venue.visible_bound_ns + LOOKS_NS, seen.oms.trading
    known = [trading.orders[name] for name in trading.orders_live]
    numbers = {order.venue_order_id for order in known if order.external}
    for order in seen.venue.orders.values() if seen.venue.honest else ():
        rests = not order.ours and order.ended_ns is None and order.accepted_ns < seen.now_ns - lag_ns
        if rests and str(order.order_id) not in numbers:
            yield f"{order.client_order_id} of others rests at the venue as {order.order_id}, unknown here"


def _apart(seen: Witness) -> Iterator[str]:
    """Name the positions in which the two books differ."""
    positions = seen.oms.trading.ledger.positions
    for account, one in seen.desk.accounts.items():
        if one.book is None:
            yield f"the desk has no book of {account}"
            continue
        owners = positions.get(account, {})
        for owner in dict.fromkeys((*owners, *one.book.held)):
            ours, desks = owners.get(owner, {}), one.book.held.get(owner, {})
            for name in dict.fromkeys((*ours, *desks)):
                qty = ours[name].qty if name in ours else ZERO
                if qty != desks.get(name, ZERO):
                    yield f"{owner} holds {qty} of {name}, {desks.get(name, ZERO)} in the desk's book"


def _runs(state: object) -> str:
    return "down" if state is None else "up"


class CancelsCome(OverRecords):
    """I-37: what was to be cancelled is terminal at the venue 40 s + A + V after the wish, or after the heal.

    Judged at rest by when the venue's order ended: no later than that after the later of the two. One
    that never came to be is as good, unless it may still be accepted.
    """

    invariant: str = "I-37"
    kind: Kind = "Q"

    def __init__(self) -> None:
        """Begin without a wish."""
        super().__init__()
        self._wished: dict[str, int] = {}
        """True instants, also of wishes that a crash took."""

    def begin(self) -> None:
        self._orders = Orders()

    def take(self, seen: Witness, record: Record) -> Violation | None:
        child = self._orders.take(record)
        if child is not None and isinstance(record, CancelIntent):
            self._wished.setdefault(child.client_order_id, self.true_ns(seen, record.at_ns))
        return None

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        return not_gone(self, seen, self._wished)


def not_gone(checker: Watch, seen: Witness, wished: Mapping[str, int]) -> Violation | None:
    """Name an order that is not terminal at the venue in time, given when each was to go by true time."""
    healed_ns, venue = seen.healed_ns, seen.venue
    assert healed_ns is not None, "there is no rest before the heal"
    patience_ns = venue.accept_bound_ns + venue.visible_bound_ns + CANCELED_NS
    found: dict[str, int | None] = {}
    for order in venue.orders.values():
        if order.ours:
            found[order.client_order_id] = order.ended_ns
    for name, at_ns in wished.items():
        due_ns = max(healed_ns, at_ns) + patience_ns
        if venue.may_accept(name):
            return checker.broken(seen, f"{name} cancelled by {due_ns} ns", "it may still be accepted")
        ended_ns = found.get(name, 0)
        if (seen.now_ns if ended_ns is None else ended_ns) > due_ns:
            return checker.broken(seen, f"{name} terminal at the venue by {due_ns} ns", ended_ns or "open")
    return None
