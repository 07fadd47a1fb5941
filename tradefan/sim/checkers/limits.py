"""Limits hold for the worst case at the venue; where something else moved it, risk is only reduced."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct

from tradefan.config.schema import Config
from tradefan.config.schema import Limits as InstrumentLimits
from tradefan.messages.records import Assign, Bust, Correct, FillInferred, Intent, Record
from tradefan.sim.checkers.base import Newer, OverRecords, Source, oms_of
from tradefan.sim.checkers.modes import Modes
from tradefan.sim.checkers.money import Money
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.checkers.sends import is_create
from tradefan.sim.checkers.venue import Index
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset, InstrumentId, OwnerId

Place: TypeAlias = tuple[AccountId, InstrumentId]


class Known(Struct, frozen=True):
    """What was known when an INTENT was approved, and cannot be read from the venue's own trades."""

    order: int
    held: Decimal
    """By the account, from before us, by others and by what humans assigned."""
    assigned: Decimal
    """To the order's owner, net."""
    revisions: int


class WorstCase(OverRecords):
    """I-11: position + open + written and unanswered stays within `max_position` (and its notional).

    V: at each create that leaves, by the venue's own trades of our orders, what is open there and what
    may still be accepted, of the account and of the owner; the limits are those of the newest INTENT
    among these, the worth is at its reserve price. What others brought counts as known at that INTENT.
    T: whatever else moved it, a step behind which the known worst case is over `max_position` leaves
    REDUCE_ONLY or tighter in one of its scopes. Of spot only the long side grows. With a liar only T.
    """

    invariant: str = "I-11"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "writes", "venue", "config")

    def __init__(self) -> None:
        """Begin without orders."""
        super().__init__()
        self._venue, self._writes = Index(), Newer()
        self._alive: dict[Place, dict[str, None]] = {}
        """Buys that were written and may still trade at the venue."""
        self._net: dict[str, Decimal] = {}
        self._nets: dict[tuple[Place, OwnerId | None], Decimal] = {}
        """What the venue has traded of our orders, by order, and by place of the account and of an owner."""
        self._config: Config | None = None

    def begin(self) -> None:
        self._orders, self._money, self._modes = Orders(), Money(), Modes()
        self._known: dict[str, Known] = {}
        self._assigned: dict[tuple[OwnerId, InstrumentId], Decimal] = {}
        self._active: dict[Place, dict[str, Child]] = {}
        """Those that may still trade, or have traded what is not booked."""
        self._revisions = 0
        self._touched: dict[Place, None] = {}
        self._over: dict[tuple[AccountId, OwnerId | None, InstrumentId], int] = {}
        """Since when a worst case is over its limit without a tight mode."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        moved = self._money.take(record)
        self._modes.take(record)
        child = self._orders.take(record)
        if isinstance(record, Bust | Correct):
            self._revisions += 1
        elif isinstance(record, Assign):
            self._assign(record)
        if moved:
            self._moved(record)
        if child is not None:
            self._follow_child(child)
            if isinstance(record, Intent):
                self._approved(record)
        return None

    def _moved(self, record: Any) -> None:  # noqa: ANN401 any record that moves money
        """Note the instruments in which what somebody holds has changed."""
        fill = record.fill if isinstance(record, FillInferred) else record
        name, asset = getattr(fill, "instrument", None), getattr(fill, "asset", None)
        places = ((of, at) for of, _, at in self._money.places if of == fill.account)
        found = (place for place in places if name == place[1] or asset == _base(place[1]))
        self._touched.update(dict.fromkeys(found))

    def _follow_child(self, child: Child) -> None:
        place = (child.account, child.instrument)
        self._touched[place] = None
        active = self._active.setdefault(place, {})
        active[child.client_order_id] = child
        if not child.rest and child.cum == child.filled:
            del active[child.client_order_id]

    def _assign(self, record: Assign) -> None:
        for owner, signed in ((record.giver, -record.qty), (record.taker, record.qty)):
            key = (owner, record.instrument)
            if owner == EXTERNAL:
                continue
            self._assigned[key] = self._assigned.get(key, ZERO) + signed

    def _approved(self, record: Intent) -> None:
        name = record.instrument
        by_others = self._money.place(record.account, EXTERNAL, name).qty
        assigned = sum((qty for (owner, at), qty in self._assigned.items() if at == name), ZERO)
        self._known[record.client_order_id] = Known(
            len(self._known),
            self._held_before(record.account, name) + by_others + assigned,
            self._assigned.get((record.owner, record.instrument), ZERO),
            self._revisions,
        )

    def _held_before(self, account: AccountId, instrument: InstrumentId) -> Decimal:
        return self._money.external.get(account, {}).get(_base(instrument), ZERO)

    # --- at the venue -----------------------------------------------------------------------------

    def judge(self, seen: Witness) -> Violation | None:
        for name in self._venue.follow(seen.venue):
            child = self._orders.known.get(name)
            if child is not None:
                self._count(child)
        for written in self._writes.of(seen.writes):
            child = self._orders.known.get(written.client_order_id)
            if not is_create(written) or child is None or child.side != "buy":
                continue
            self._alive.setdefault((child.account, child.instrument), {})[child.client_order_id] = None
            for owner in (None, child.owner) if seen.venue.honest else ():
                broken = self._written(seen, child, owner)
                if broken is not None:
                    return broken
        return self._reduced(seen)

    def _count(self, child: Child) -> None:
        """Count anew what the venue has traded of an order; bought beyond it is left out."""
        net, base = ZERO, _base(child.instrument)
        for placed in self._venue.of(child.client_order_id):
            for trade in (*placed.trades, *(placed.beyond if child.side == "sell" else ())):
                if not trade.busted:
                    net += trade.qty if child.side == "buy" else -trade.qty
                    net -= trade.fee if trade.fee_asset == base else ZERO
        change = net - self._net.get(child.client_order_id, ZERO)
        self._net[child.client_order_id] = net
        for owner in (None, child.owner):
            key = ((child.account, child.instrument), owner)
            self._nets[key] = self._nets.get(key, ZERO) + change

    def _written(self, seen: Witness, child: Child, owner: OwnerId | None) -> Violation | None:
        place = (child.account, child.instrument)
        alive = self._alive[place]
        worst, newest = self._nets.get((place, owner), ZERO), child
        for name in tuple(alive):
            one = self._orders.known.get(name)
            qty = ZERO if one is None else self._open(seen, one)
            if one is None or not qty:
                # What neither rests nor is on its way does not come back.
                del alive[name]
            elif owner in (None, one.owner):
                worst += qty
                newest = max(newest, one, key=lambda it: self._known[it.client_order_id].order)
        known, intent = self._known[newest.client_order_id], newest.intent
        if known.revisions < self._venue.revisions or intent is None:
            # A sale that was taken back and is not known yet moved the position: then T's rule holds.
            return None
        return self._within(seen, intent, worst + (known.held if owner is None else known.assigned), owner)

    def _within(
        self, seen: Witness, intent: Intent, worst: Decimal, owner: OwnerId | None
    ) -> Violation | None:
        limits = _limits(seen.configs.get(intent.config_id, seen.config), intent.instrument)
        who = f"{owner or intent.account} in {intent.instrument} with {intent.client_order_id}"
        if worst > limits.max_position:
            return self.broken(seen, f"{who} at most {limits.max_position}", worst)
        if worst * intent.reserve_px > limits.max_position_notional:
            expected = f"{who} worth at most {limits.max_position_notional}"
            return self.broken(seen, expected, worst * intent.reserve_px)
        return None

    def _open(self, seen: Witness, child: Child) -> Decimal:
        """Return what may still be bought by an order that was written."""
        placed = self._venue.of(child.client_order_id)
        if placed:
            return sum((one.order.open_qty for one in placed), ZERO)
        return child.qty if seen.venue.may_accept(child.client_order_id) else ZERO

    # --- by what is known ---------------------------------------------------------------------------

    def _reduced(self, seen: Witness) -> Violation | None:
        touched, self._touched = self._touched, {}
        kernel = seen.kernel
        if kernel is None or oms_of(seen) is None:
            self._over.clear()
            return None
        config: Config = kernel.config
        if config is not self._config:
            self._config = config
            touched.update(dict.fromkeys((of, name) for of, _, name in self._money.places))
        for account, name in (*touched, *((of, at) for of, _, at in self._over)):
            owners = {owner: None for of, owner, at in self._money.places if (of, at) == (account, name)}
            for owner in (None, *(one for one in owners if one != EXTERNAL)):
                self._note(seen, account, name, owner, _limits(config, name))
        for (account, owner, name), since_ns in self._over.items():
            if seen.now_ns > since_ns:
                expected = f"REDUCE_ONLY for {owner or account} in {name}, over its limit since {since_ns} ns"
                return self.broken(seen, expected, f"modes {self._modes.causes}")
        self.due_ns = seen.now_ns + 1 if self._over else None
        return None

    def _note(
        self,
        seen: Witness,
        account: AccountId,
        name: InstrumentId,
        owner: OwnerId | None,
        limits: InstrumentLimits,
    ) -> None:
        """Remember a worst case that is over its limit while nothing keeps risk from growing."""
        key = (account, owner, name)
        venues = (account.partition(":")[0], name.partition(":")[0])
        scopes = ("all", name, account, *venues, *(() if owner is None else (owner,)))
        tight = self._modes.at_least("REDUCE_ONLY", scopes)
        if tight or self._believed(account, name, owner) <= limits.max_position:
            self._over.pop(key, None)
        else:
            self._over.setdefault(key, seen.now_ns)

    def _believed(self, account: AccountId, name: InstrumentId, owner: OwnerId | None) -> Decimal:
        """Return the worst case that the records tell: held, traded and not booked, and open buys."""
        if owner is None:
            total = self._money.nets.get(account, {}).get(name, ZERO) + self._held_before(account, name)
        else:
            total = self._money.place(account, owner, name).qty
        for child in self._active.get((account, name), {}).values():
            if owner in (None, child.owner):
                # What others trade is known by their trades; what their orders say may be booked already.
                unbooked = ZERO if child.owner == EXTERNAL else child.cum - child.filled
                total += unbooked + child.rest if child.side == "buy" else -unbooked
        return total


def _base(instrument: InstrumentId) -> Asset:
    """Return the base asset of `venue:BASE/QUOTE`."""
    return Asset(instrument.partition(":")[2].partition("/")[0])


def _limits(config: Config, instrument: InstrumentId) -> InstrumentLimits:
    return config.risk.limits(instrument)
