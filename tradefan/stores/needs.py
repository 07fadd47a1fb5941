"""What a journal still needs of the configuration: the feeds of open orders and of what owners hold.

Without its feed an order cannot be looked at and a position has no price. Own orders of an account that is
not configured would rest at the venue with nobody there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec import Struct

from tradefan.core.order import Order
from tradefan.core.trading import Trading
from tradefan.errors import Refused
from tradefan.messages.records import Assign, Bust, Correct, Fill, FillInferred, FillReplaced, Intent, Record
from tradefan.units import EXTERNAL, AccountId, InstrumentId, plain

SHOWN_MAX = 5
"""Orders and positions that are named for one key."""

STILL_NEEDED = "STILL_NEEDED"

_PLACED = (Intent, Fill, FillInferred, FillReplaced, Bust, Correct, Assign)
"""Nothing else begins an order of ours or moves a position."""
PLACED = frozenset(kind.__name__ for kind in _PLACED)


class Wired(Struct, frozen=True):
    """What a configuration names: its accounts, and the instruments of its feeds."""

    accounts: Collection[AccountId]
    instruments: Collection[InstrumentId]

    def lacks(self, account: AccountId, instrument: InstrumentId) -> bool:
        """Say whether a place is not in the configuration (any more)."""
        return instrument not in self.instruments or account not in self.accounts

    def may_lack(self, state: Trading) -> bool:
        """Say whether rows behind a state could need what is not there: if not, those need no fold.

        Its ended orders count as well, because a late word may open one again.
        """
        orders = any(self.lacks(one.account, one.instrument) for one in state.orders.values())
        return orders or next(_held(state, self), None) is not None

    def lacks_of(self, record: Record) -> bool:
        """Say whether a record of the kinds in `PLACED` is of a place that is not in the configuration."""
        place = record.fill if isinstance(record, FillInferred) else record
        return isinstance(place, _PLACED) and self.lacks(place.account, place.instrument)


def require_wired(path: str, state: Trading, wired: Wired) -> None:
    """See that the configuration has all that a folded journal needs.

    Raises:
        Refused: STILL_NEEDED with one line for each key: what needs it, and what is expected.
    """
    needs: dict[str, list[str]] = {}
    for key, what in (*_ordered(state, wired), *_held(state, wired)):
        needs.setdefault(key, []).append(what)
    if needs:
        lines = (f"{key}: {_list(found)}; {_EXPECTED}" for key, found in sorted(needs.items()))
        first = f"journal {path} still needs what the configuration lacks:"
        raise Refused(STILL_NEEDED, "\n  ".join((first, *lines)))


_EXPECTED = (
    "expected to be configured until orders have ended with all fills booked, and positions are sold "
    "or given to external (tradefan position release; below zero, position assign)"
)

Need = tuple[str, str]
"""(key of the configuration, what needs it)."""


def _ordered(state: Trading, wired: Wired) -> Iterator[Need]:
    """Yield the own orders without their place that may trade, or whose trades are not all booked."""
    for order in state.orders.values():
        if order.external or not (order.live or order.filled < order.venue_cum):
            continue
        if order.instrument not in wired.instruments:
            yield f"feeds.{order.instrument}", _order(order)
        if order.account not in wired.accounts:
            yield f"accounts.{order.account}", _order(order)


def _order(order: Order) -> str:
    doubt = f" IN DOUBT ({order.in_doubt})" if order.in_doubt else ""
    ids = f"order {order.client_order_id} of {order.owner} on {order.account}"
    what = f"{order.side} {plain(order.order_qty)} {order.instrument}, {order.status}{doubt}"
    return f"{ids} ({what}, {plain(order.filled)} booked)"


def _held(state: Trading, wired: Wired) -> Iterator[Need]:
    """Yield what owners of ours hold, on accounts that are there, without the feed that prices it."""
    for account in wired.accounts:
        for owner, by_instrument in state.ledger.positions.get(account, {}).items():
            for name, held in by_instrument.items():
                if owner != EXTERNAL and held.qty and name not in wired.instruments:
                    yield f"feeds.{name}", f"{owner} on {account} holds {plain(held.qty)} {name}"


def _list(found: list[str]) -> str:
    more = len(found) - SHOWN_MAX
    return "; ".join(found[:SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
