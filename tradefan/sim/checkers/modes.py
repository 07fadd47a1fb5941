"""Modes as the records tell them: how often they change, and that nothing is decided against them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from decimal import Decimal

from tradefan.messages.contingent import Triggered
from tradefan.messages.orders import ParentOrder
from tradefan.messages.records import Epoch, Intent, Kill, ModeChange, Parent, Record, Resume
from tradefan.sim.checkers.base import OverRecords
from tradefan.sim.checkers.money import Money
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import EXTERNAL, MINUTE, ZERO, AccountId, Asset, InstrumentId, OwnerId

TIGHTER = ("NORMAL", "NO_NEW_RISK", "REDUCE_ONLY", "CANCEL_ONLY", "KILLED")
CHANGES_MAX = 6
CHANGES_OF_A_START = 2
HUMANS = ("api", "cli")
"""Of these only the account's side is looked at: what `external` holds is theirs to sell, too."""
NO_WAY_OUT = ("journal", "auth", "ban", "starting")
"""Causes of CANCEL_ONLY for which nothing can leave, not even a stop."""
HUMAN_CAUSES = ("chain", "auth", "safe", "drawdown", "daily_loss")
"""What a RESUME of its scope lets go (RELIABILITY.md 2b: those that a human leaves)."""


class Modes:
    """The causes that hold, by scope; a kill is one of them."""

    def __init__(self) -> None:
        """Begin NORMAL everywhere."""
        self.causes: dict[str, dict[str, str]] = {}

    def take(self, record: Record) -> None:
        """Fold one record."""
        if isinstance(record, ModeChange):
            self._set(record.scope, record.cause, record.mode)
        elif isinstance(record, Kill):
            self._set(record.scope, "kill", "KILLED")
        elif isinstance(record, Resume):
            for cause in ("kill", *HUMAN_CAUSES):
                self._set(record.scope, cause, "NORMAL")

    def _set(self, scope: str, cause: str, mode: str) -> None:
        causes = self.causes.setdefault(scope, {})
        if mode == "NORMAL":
            causes.pop(cause, None)
        else:
            causes[cause] = mode

    def of(self, scopes: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the causes of some scopes."""
        return {scope: self.causes[scope] for scope in scopes if self.causes.get(scope)}

    def at_least(self, mode: str, scopes: Iterable[str]) -> bool:
        """Say whether a mode, or a tighter one, holds in any of some scopes."""
        least = TIGHTER.index(mode)
        found = (one for causes in self.of(scopes).values() for one in causes.values())
        return any(TIGHTER.index(one) >= least for one in found)


def _within_a_minute(recent: deque[int], at_ns: int) -> None:
    """Add an instant and let go of what is not within the minute before it."""
    while recent and not 0 <= at_ns - recent[0] < MINUTE:
        recent.popleft()
    recent.append(at_ns)


class FewChanges(OverRecords):
    """I-38: at most 6 MODE records within a minute of one (scope, cause), and 2 more for each start in it.

    By the records' own time; where a new start's clock is behind, counting begins anew. A start takes
    off what was journaled and is not so any more, and enters what it finds, however fast it is killed.
    """

    invariant: str = "I-38"
    kind: Kind = "T"

    def begin(self) -> None:
        self._recent: dict[tuple[str, str], deque[int]] = {}
        self._starts: deque[int] = deque()

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Epoch):
            _within_a_minute(self._starts, record.at_ns)
        if not isinstance(record, ModeChange):
            return None
        recent = self._recent.setdefault((record.scope, record.cause), deque())
        _within_a_minute(recent, record.at_ns)
        starts = sum(0 <= record.at_ns - start < MINUTE for start in self._starts)
        most = CHANGES_MAX + CHANGES_OF_A_START * starts
        if len(recent) <= most:
            return None
        expected = f"at most {most} changes a minute of {record.scope} for {record.cause!r}"
        return self.broken(seen, expected, f"{len(recent)} since {recent[0]} ns")


def scopes_of(intent: Intent) -> tuple[str, ...]:
    """Return the scopes of an order: all, its places, its owner, and the venues of both."""
    account, instrument = intent.account, intent.instrument
    venues = dict.fromkeys((account.partition(":")[0], instrument.partition(":")[0]))
    return ("all", instrument, account, intent.owner, *venues)


class Obeyed(OverRecords):
    """MODE: no INTENT against a mode of its scopes that stands before it among the records.

    KILLED lets none through and no trigger fires in it, CANCEL_ONLY only what is reduce-only of a trigger
    that has fired, unless its cause is that nothing can leave. NO_NEW_RISK and REDUCE_ONLY let through what
    can only bring a position of the account, and of a strategy, nearer to flat when all that is open on its
    side trades.
    """

    invariant: str = "MODE"
    kind: Kind = "T"

    def begin(self) -> None:
        self._modes, self._orders, self._money = Modes(), Orders(), Money()
        self._parents: dict[str, ParentOrder] = {}
        self._reduces: dict[str, None] = {}
        self._fired: dict[str, None] = {}
        self._open: dict[tuple[AccountId, InstrumentId], dict[str, Child]] = {}
        """What may still trade, or has traded and is not booked."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._modes.take(record)
        self._money.take(record)
        if isinstance(record, Parent):
            self._parents[record.order.parent_id] = record.order
            if record.order.reduce_only:
                self._reduces[record.order.parent_id] = None
        elif isinstance(record, Triggered) and record.parent_id in self._reduces:
            self._fired[record.parent_id] = None
        broken = self._judge(seen, record) if isinstance(record, Intent) else None
        if isinstance(record, Triggered):
            broken = self._fires(seen, record)
        child = self._orders.take(record)
        if child is not None:
            here = self._open.setdefault((child.account, child.instrument), {})
            here[child.client_order_id] = child
            if not child.rest and child.cum == child.filled:
                del here[child.client_order_id]
        return broken

    def _judge(self, seen: Witness, intent: Intent) -> Violation | None:
        scopes = scopes_of(intent)
        if not self._modes.at_least("NO_NEW_RISK", scopes):
            return None
        owners = (None,) if intent.owner in HUMANS else (None, intent.owner)
        forbidden = self._modes.at_least("CANCEL_ONLY", scopes) and not self._is_way_out(intent, scopes)
        if not forbidden and all(self._room(intent, owner) >= intent.order_qty for owner in owners):
            return None
        found = f"{intent.side} {intent.order_qty} by {intent.owner} in {self._modes.of(scopes)}"
        least = "no INTENT" if forbidden else "only what reduces"
        return self.broken(seen, f"{least} ({intent.client_order_id})", found)

    def _fires(self, seen: Witness, record: Triggered) -> Violation | None:
        """Find a trigger that fires where nothing may be placed."""
        order = self._parents.get(record.parent_id)
        if order is None:
            return None
        venues = (order.account.partition(":")[0], order.instrument.partition(":")[0])
        scopes = ("all", order.instrument, order.account, order.owner, *dict.fromkeys(venues))
        if not self._modes.at_least("KILLED", scopes):
            return None
        return self.broken(seen, f"{record.parent_id} not to fire", str(self._modes.of(scopes)))

    def _is_way_out(self, intent: Intent, scopes: tuple[str, ...]) -> bool:
        """Say whether an order may leave although only cancels may: it is a stop that takes risk away."""
        held = [cause for causes in self._modes.of(scopes).values() for cause in causes]
        stuck = self._modes.at_least("KILLED", scopes) or any(cause in NO_WAY_OUT for cause in held)
        return intent.parent_id in self._fired and not stuck

    def _room(self, intent: Intent, owner: OwnerId | None) -> Decimal:
        """Return how much an order may trade until the account, or its owner, would be flat at worst."""
        account, name = intent.account, intent.instrument
        if owner is None:
            base = Asset(name.partition(":")[2].partition("/")[0])
            held = self._money.nets.get(account, {}).get(name, ZERO)
            held += self._money.external.get(account, {}).get(base, ZERO)
        else:
            held = self._money.place(account, owner, name).qty
        ours = ZERO
        for child in self._open.get((account, name), {}).values():
            if owner not in (None, child.owner):
                continue
            unbooked = ZERO if child.owner == EXTERNAL else child.cum - child.filled
            held += unbooked if child.side == "buy" else -unbooked
            if child.side == intent.side and child.client_order_id != intent.replaces:
                ours += child.rest
        return (held if intent.side == "sell" else -held) - ours
