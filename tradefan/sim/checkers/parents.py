"""A parent's budget, by the venue's truth and by what we believe, whichever is more."""

from __future__ import annotations

from decimal import Decimal

from tradefan.messages.contingent import Amend
from tradefan.messages.records import Correct, Fill, FillInferred, Intent, Parent, Record, Report, Resolved
from tradefan.messages.work import Amended
from tradefan.sim.checkers.base import Newer, OverRecords, Source, oms_of
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.checkers.sends import is_create
from tradefan.sim.checkers.venue import Index
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import ZERO

_TELLS = (Fill, FillInferred, Report, Correct)


class ParentBudget(OverRecords):
    """I-03: over a parent's children, max(traded + open at the venue, ours + possibly live) <= its quantity.

    That is the one it was amended to last; whoever amends it to less has cancelled what is too much before.
    Judged at each change, for the parents that it touches. Of an order and those that take its place at
    most one is possibly live: a replacement stops when its cancel fails, and is sent for what was open
    then, of an order that has not traded since (ONLY_NEW). What the venue trades over an
    order's quantity or behind its end is excess that nobody could prevent: it counts from when we know
    it, and what it exceeds the budget by then is free, no more. What the venue has taken back is ours until
    we know that: what trades in its place, or was told only then, is free so long. Neither excuses what is
    sent when it is known, also in the same step, nor comes back once the parent is within its budget; nor a
    create that leaves in a later step: that is taken back, or cancelled behind its way through the gateway,
    unless it protects and is not wholly too much. With a liar a parent is free once a child was declared
    NOT_PLACED, where I-16 watches R5, or was adopted in spite of its end.
    """

    invariant: str = "I-03"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "venue", "writes")

    def __init__(self) -> None:
        """Begin without parents."""
        super().__init__()
        self._venue, self._writes = Index(), Newer()

    def begin(self) -> None:
        self._orders = Orders()
        self._budgets: dict[str, Decimal] = {}
        self._protects: dict[str, None] = {}
        self._children: dict[str, dict[str, list[Child]]] = {}
        """By parent, and by the first order of a chain of replacements."""
        self._first: dict[str, str] = {}
        self._replaced: dict[str, tuple[Child, Decimal]] = {}
        """By the order that takes another's place: that one, and what had traded of it by then."""
        self._free: dict[str, None] = {}
        self._excess: dict[str, Decimal] = {}
        self._gone: dict[str, Decimal] = {}
        """By parent: what has come over its budget by trades that the venue has taken back unknown to us."""
        self._touched: dict[str, None] = {}
        self._told: dict[str, None] = {}
        """Parents of which this step has told what has traded, and sent nothing since."""
        self._moved: dict[str, None] = {}

    def after_step(self, seen: Witness) -> Violation | None:
        self._moved = self._venue.follow(seen.venue)
        # Before what this step has told: nobody could know that when these left.
        return self._left(seen) or super().after_step(seen)

    def _left(self, seen: Witness) -> Violation | None:
        """Find a create that has left although nobody wanted it any more, by what earlier steps had told."""
        for written in filter(is_create, self._writes.of(seen.writes)):
            child = self._orders.known.get(written.client_order_id)
            name = None if child is None else child.parent_id
            if child is None or name is None or child.cancelled or name in self._free:
                continue
            budget = self._budgets.get(name, ZERO)
            wanted = sum(map(self._wanted, self._children[name].values()), ZERO)
            if wanted > budget and not (name in self._protects and child.rest > wanted - budget):
                found = f"{child.client_order_id} of {child.qty} left when {wanted} had traded or was wanted"
                return self.broken(seen, f"at most {budget} of parent {name}", found)
        return None

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            self._budgets[record.order.parent_id] = record.order.order_qty
            if record.order.protective or record.order.reduce_only:
                self._protects[record.order.parent_id] = None
            return None
        if isinstance(record, Amended):
            # From now on it is another budget, for which what works was cancelled to evidence before.
            self._budgets[record.order.parent_id] = record.order.order_qty
            self._touched[record.order.parent_id] = None
            return None
        if isinstance(record, Amend):
            self._amend(record)
            return None
        if isinstance(record, Intent) and record.parent_id in self._told:
            del self._told[record.parent_id]
            self._weigh(record.parent_id, told=True)
        known = len(self._orders.known)
        child = self._orders.take(record)
        if child is None or child.parent_id is None:
            return None
        name = child.parent_id
        self._touched[name] = None
        if len(self._orders.known) > known:
            self._enter(name, child)
        if isinstance(record, _TELLS):
            self._told[name] = None
        if isinstance(record, Resolved) and not seen.venue.honest:
            self._free[name] = None
        return None

    def _amend(self, record: Amend) -> None:
        """Take another quantity; what there is of the parent already is not more than it by that."""
        name, old = record.parent_id, self._budgets.get(record.parent_id)
        if old is None:
            return
        parts = sum((max(venue, ours) for _, venue, ours in self._parts(name)), ZERO)
        self._budgets[name] = max(record.order_qty, min(old, parts))

    def _enter(self, parent: str, child: Child) -> None:
        replaced = None if child.intent is None else child.intent.replaces
        name = child.client_order_id
        old = None if replaced is None else self._orders.known.get(replaced)
        if old is not None:
            self._replaced[name] = (old, old.cum)
        first = self._first[name] = name if replaced is None else self._first.get(replaced, replaced)
        self._children.setdefault(parent, {}).setdefault(first, []).append(child)

    def judge(self, seen: Witness) -> Violation | None:
        touched, told = self._touched, self._told
        self._touched, self._told = {}, {}
        for client_order_id in self._moved:
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
        over = self._weigh(name, told=told)
        if over <= self._excess.get(name, ZERO) + self._gone.get(name, ZERO):
            return None
        shown = ", ".join(
            f"{' '.join(child.client_order_id for child in chain)} venue {venue} ours {ours}"
            for chain, venue, ours in self._parts(name)
        )
        return self.broken(seen, f"at most {budget} of parent {name}", f"{budget + over}: {shown}")

    def _weigh(self, name: str, *, told: bool) -> Decimal:
        """Return what a parent is over its budget by, having brought what of it is free up to date."""
        parts, budget = self._parts(name), self._budgets.get(name, ZERO)
        over = sum((max(venue, ours) for _, venue, ours in parts), ZERO) - budget
        excess, free = self._excess.get(name, ZERO), self._gone.get(name, ZERO)
        if told and over > ZERO:
            surprise = sum((self._surprise(chain) for chain, _, _ in parts), ZERO)
            excess = max(excess, min(over, surprise))
            free = max(free, over - excess)
        # It is free no longer than it is over, and than the loss is unknown.
        gone = sum((self._not_known(child) for chain, _, _ in parts for child in chain), ZERO)
        self._excess[name] = excess = min(excess, max(over, ZERO))
        self._gone[name] = min(free, gone, max(over - excess, ZERO))
        return over

    def _parts(self, name: str) -> list[tuple[list[Child], Decimal, Decimal]]:
        """Return each chain with what it is at the venue and with us."""
        chains = self._children.get(name, {}).values()
        return [(chain, self._at_venue(chain), self._ours(chain)) for chain in chains]

    def _at_venue(self, chain: list[Child]) -> Decimal:
        return sum((one.counts for child in chain for one in self._venue.of(child.client_order_id)), ZERO)

    def _surprise(self, chain: list[Child]) -> Decimal:
        return sum((one.surprise for child in chain for one in self._venue.of(child.client_order_id)), ZERO)

    def _not_known(self, child: Child) -> Decimal:
        """Return what we count of an order although the venue has taken it back, which we do not know."""
        placed = self._venue.of(child.client_order_id)
        traded = sum((one.traded for one in placed), ZERO)
        lost = sum((one.first for one in placed), ZERO) - traded
        known = sum((qty for _, qty in child.revised), ZERO)
        return max(min(lost - known, child.cum - traded), ZERO)

    def _ours(self, chain: list[Child]) -> Decimal:
        """Return what we take for traded of a chain, and the most that one of it may still trade."""
        return sum((child.cum for child in chain), ZERO) + max(self._rests(chain))

    def _wanted(self, chain: list[Child]) -> Decimal:
        """Return what has traded of a chain, and the rest of its newest order that nobody has cancelled."""
        rests = zip(self._rests(chain), chain, strict=True)
        wanted = [rest for rest, child in rests if rest and not child.cancelled]
        return sum((child.cum for child in chain), ZERO) + (wanted[-1] if wanted else ZERO)

    def _rests(self, chain: list[Child]) -> list[Decimal]:
        """Return what each order of a chain may still trade by what we know.

        What has traded of an order since then its successor will not be given any more, and what has
        traded of a successor proves that the order before it has ended.
        """
        rests = []
        for at, child in enumerate(chain):
            old, before = self._replaced.get(child.client_order_id, (None, ZERO))
            since = ZERO if old is None else max(old.cum - before, ZERO)
            over = any(later.cum for later in chain[at + 1 :])
            rests.append(ZERO if over else max(child.rest - since, ZERO))
        return rests


class RoomLeft(ParentBudget):
    """I-03: what a step tells leaves nothing at rest, in that step, for which a parent has no room any more.

    Behind a fill of an order that had ended, what is too much is taken back or cancelled at once, but
    for what protects a position and is too much only in part. By records alone.
    """

    kind: Kind = "T"
    watches: tuple[Source, ...] = ("records",)

    def after_step(self, seen: Witness) -> Violation | None:
        return self.follow(seen) or self.judge(seen)

    def judge(self, seen: Witness) -> Violation | None:
        told, self._told, self._touched = self._told, {}, {}
        found = (self._too_much(name) for name in told if name not in self._free)
        first = next(filter(None, found), None) if oms_of(seen) is not None else None
        if first is None:
            return None
        child, rest, over = first
        expected = f"a cancel of {child.client_order_id}, for which {child.parent_id} has no room"
        return self.broken(seen, expected, f"{rest} at rest, {over} too much")

    def _too_much(self, name: str) -> tuple[Child, Decimal, Decimal] | None:
        """Return an order that nobody has cancelled, what it has left, and what is over the budget in all."""
        chains = self._children.get(name, {}).values()
        over = sum(map(self._wanted, chains), ZERO) - self._budgets.get(name, ZERO)
        for chain in chains if over > ZERO else ():
            for rest, child in zip(self._rests(chain), chain, strict=True):
                if rest and not child.cancelled and (name not in self._protects or rest <= over):
                    return child, rest, over
        return None
