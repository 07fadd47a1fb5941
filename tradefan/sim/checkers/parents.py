"""A parent's budget, by the venue's truth and by what we believe, whichever is more."""

from __future__ import annotations

from decimal import Decimal

from tradefan.messages.records import Correct, Fill, FillInferred, Parent, Record, Report, Resolved
from tradefan.sim.checkers.base import OverRecords, Source
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.checkers.venue import Index
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import ZERO

_TELLS = (Fill, FillInferred, Report, Correct)


class ParentBudget(OverRecords):
    """I-03: over a parent's children, max(traded + open at the venue, ours + possibly live) <= its quantity.

    Judged at each change, for the parents that it touches. What the venue trades over an order's
    quantity or behind its end is excess that nobody could prevent: it counts from when we know it, and
    what it exceeds the budget by then is free, no more. With a liar a parent is free once a child was
    declared NOT_PLACED; then I-16 watches R5.
    """

    invariant: str = "I-03"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "venue")

    def __init__(self) -> None:
        """Begin without parents."""
        super().__init__()
        self._venue = Index()

    def begin(self) -> None:
        self._orders = Orders()
        self._budgets: dict[str, Decimal] = {}
        self._children: dict[str, list[Child]] = {}
        self._free: dict[str, None] = {}
        self._excess: dict[str, Decimal] = {}
        self._touched: dict[str, None] = {}
        self._told: dict[str, None] = {}
        """Parents of which this step has told what has traded."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            self._budgets[record.order.parent_id] = record.order.order_qty
            return None
        known = len(self._orders.known)
        child = self._orders.take(record)
        if child is None or child.parent_id is None:
            return None
        name = child.parent_id
        self._touched[name] = None
        if len(self._orders.known) > known:
            self._children.setdefault(name, []).append(child)
        if isinstance(record, _TELLS):
            self._told[name] = None
        if isinstance(record, Resolved) and record.verdict == "NOT_PLACED" and not seen.venue.honest:
            self._free[name] = None
        return None

    def judge(self, seen: Witness) -> Violation | None:
        touched, told = self._touched, self._told
        self._touched, self._told = {}, {}
        for client_order_id in self._venue.follow(seen.venue):
            child = self._orders.known.get(client_order_id)
            if child is not None and child.parent_id is not None:
                touched[child.parent_id] = None
        for name in touched:
            broken = self._judge(seen, name, told=name in told)
            if broken is not None:
                return broken
        return None

    def _judge(self, seen: Witness, name: str, *, told: bool) -> Violation | None:
        budget = self._budgets.get(name)
        if budget is None or name in self._free:
            return None
        children = self._children.get(name, [])
        parts = [(self._at_venue(child), child.cum + child.rest) for child in children]
        over = sum((max(part) for part in parts), ZERO) - budget
        if told and over > ZERO:
            self._excess[name] = max(self._excess.get(name, ZERO), min(over, self._surprise(children)))
        if over <= self._excess.get(name, ZERO):
            return None
        shown = ", ".join(
            f"{child.client_order_id} venue {venue} ours {ours}"
            for child, (venue, ours) in zip(children, parts, strict=True)
        )
        return self.broken(seen, f"at most {budget} of parent {name}", f"{budget + over}: {shown}")

    def _at_venue(self, child: Child) -> Decimal:
        return sum((placed.counts for placed in self._venue.of(child.client_order_id)), ZERO)

    def _surprise(self, children: list[Child]) -> Decimal:
        found = (placed for child in children for placed in self._venue.of(child.client_order_id))
        return sum((placed.surprise for placed in found), ZERO)
