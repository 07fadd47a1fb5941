"""How much of an order is seen and of the market is taken; and that nothing of a parent is lost (I-31)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import takewhile
from operator import attrgetter

from tradefan.messages.contingent import Amend
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.plan import Plan
from tradefan.messages.records import (
    Bust,
    Correct,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    Parent,
    PhaseChange,
    Record,
)
from tradefan.messages.work import Amended, Decision
from tradefan.sim.checkers.base import OverRecords, Source, oms_of
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.checkers.venue import Index
from tradefan.sim.checkers.worked import AT_END, EXTEND, I_WOULD, SCHEDULES, OverParents, Worked, duration_of
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import MINUTE, SECOND, ZERO

SLACK_NS = 3 * SECOND
"""What the order manager is told of a trade comes a moment after the market told it."""
_FILLS = (Fill, FillInferred, FillReplaced, Bust, Correct)


class WholeParents(OverRecords):
    """I-31: what a parent has traded is the sum over its children, and with its residual it is its quantity.

    It is DONE when none of them can trade any more, FILLED only with all of it. Our own word in State, by a
    fold of the records: what its children have traded and what of that is booked (EXECUTION.md, I2).
    """

    invariant: str = "I-31"
    kind: Kind = "T"

    def begin(self) -> None:
        self._orders = Orders()
        self._wanted: dict[str, Decimal] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._touched: dict[str, None] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent | Amended):
            self._wanted[record.order.parent_id] = record.order.order_qty
        if isinstance(record, Amend):
            self._wanted[record.parent_id] = record.order_qty
        if isinstance(record, PhaseChange):
            self._touched[record.parent_id] = None
            return self._ended(seen, record) if record.phase is Phase.DONE else None
        child = self._orders.take(record)
        if child is not None and child.parent_id is not None:
            self._children.setdefault(child.parent_id, {})[child.client_order_id] = None
            self._touched[child.parent_id] = None
        return None

    def _ended(self, seen: Witness, record: PhaseChange) -> Violation | None:
        """Look at an end before anything that comes behind it."""
        name, children = record.parent_id, self._of(record.parent_id)
        cum = sum((child.cum for child in children), ZERO)
        rest = sum((child.rest for child in children), ZERO)
        if rest:
            return self.broken(seen, f"nothing at rest of {name}, which has ended", rest)
        wanted = self._wanted.get(name, ZERO)
        if (record.status is OrderStatus.FILLED) != (cum >= wanted):
            return self.broken(seen, f"{name} FILLED with {wanted}", f"{record.status} with {cum}")
        return None

    def judge(self, seen: Witness) -> Violation | None:
        touched, self._touched = self._touched, {}
        oms = oms_of(seen)
        for name in touched if oms is not None else ():
            parent, children = oms.trading.parents.get(name), self._of(name)
            if parent is None:
                continue
            said = (parent.cum_qty, parent.filled)
            told = tuple(sum(map(attrgetter(of), children), ZERO) for of in ("cum", "filled"))
            if said != told:
                return self.broken(seen, f"{told} traded and booked of {name}", said)
        return None

    def _of(self, name: str) -> list[Child]:
        return [self._orders.known[one] for one in self._children.get(name, ())]


class ShownAtMost(OverRecords):
    """I-31: an iceberg never has more than its `display` in the venue's own book."""

    invariant: str = "I-31"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "venue")

    def __init__(self) -> None:
        """Begin without icebergs."""
        super().__init__()
        self._venue = Index()
        self._moved: dict[str, None] = {}

    def begin(self) -> None:
        self._most: dict[str, Decimal] = {}
        self._parents: dict[str, str] = {}
        self._children: dict[str, list[str]] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent | Amended) and "display" in record.order.settings:
            # Where it is amended less is shown from the next refill on.
            name, most = record.order.parent_id, Decimal(str(record.order.settings["display"]))
            self._most[name] = max(self._most.get(name, ZERO), most)
        elif isinstance(record, Intent) and record.parent_id in self._most:
            self._parents[record.client_order_id] = record.parent_id
            self._children.setdefault(record.parent_id, []).append(record.client_order_id)
        return None

    def after_step(self, seen: Witness) -> Violation | None:
        self._moved |= self._venue.follow(seen.venue)
        return super().after_step(seen)

    def judge(self, seen: Witness) -> Violation | None:
        moved, self._moved = self._moved, {}
        for name in dict.fromkeys(self._parents[one] for one in moved if one in self._parents):
            placed = [one for child in self._children[name] for one in self._venue.of(child)]
            shown = sum((one.order.open_qty for one in placed), ZERO)
            if shown > self._most[name]:
                return self.broken(seen, f"at most {self._most[name]} of {name} in the book", shown)
        return None


class WithinShare(OverParents):
    """I-31: what a decision places keeps its share of what has traded, by the market's own prints.

    Of a schedule `participation_cap` of its window, once that was seen whole; of a `pov` both `max_rate` of
    its window and `rate` of all since it came. Own trades are no prints here, so they come on top of them.
    The last clip may have a remainder beside it that would be dust by itself. And what a decision says of
    all that has traded is, but for own trades, no more than the feed has told.
    """

    invariant: str = "I-31"
    kind: Kind = "T"

    def begin(self) -> None:
        super().begin()
        self._orders = Orders()
        self._children: dict[str, list[Child]] = {}
        self._since: dict[str, int] = {}
        self._fills: dict[str, list[tuple[int, Decimal]]] = {}
        """By parent: when so much of it was booked."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            self._since[record.order.parent_id] = self.true_ns(seen, record.at_ns)
        before = self._filled(record)
        child = self._orders.take(record)
        if child is not None and child.parent_id is not None:
            if isinstance(record, Intent):
                self._children.setdefault(child.parent_id, []).append(child)
            elif isinstance(record, _FILLS):
                booked = (self.true_ns(seen, record.at_ns), child.filled - before)
                self._fills.setdefault(child.parent_id, []).append(booked)
        return super().take(seen, record)

    def _filled(self, record: Record) -> Decimal:
        """Return what is booked of the order that a record is about."""
        if isinstance(record, FillReplaced):
            fill = self._orders.inferred.get(record.trade_id)
        else:
            fill = record if isinstance(record, Fill) else getattr(record, "fill", None)
        name = None if fill is None else fill.client_order_id
        child = None if name is None else self._orders.known.get(name)
        return ZERO if child is None else child.filled

    def on_decision(self, seen: Witness, one: Worked, record: Decision) -> Violation | None:
        clip, plan, algo = record.clip, one.plan, one.order.algo
        told, others = _told(seen, one), clip.volume - clip.volume_own
        if told is not None and others > told:
            return self.broken(seen, f"at most {told} lots traded beside {one.name}", f"{others}: {clip}")
        if plan is None or not clip.lots or clip.reason in (AT_END, I_WOULD):
            return None
        now_ns, lots = self.true_ns(seen, record.at_ns), clip.lots * plan.qty_lot
        if lots >= one.qty - self._done(one):
            lots -= (plan.min_clip - 1) * plan.qty_lot
        if algo == "pov":
            broken = self._of_window(seen, one, plan, now_ns, lots, ("max_rate", "0.20"))
            # Of an extension all that is left is due.
            return broken or (None if clip.reason == EXTEND else self._of_all(seen, one, lots))
        # Before the feed's first word nobody knows of a window; that may have come later in this step.
        heard = clip.volume > clip.volume_own
        if algo in SCHEDULES and heard and _is_whole(seen, one, plan, record.at_ns):
            return self._of_window(seen, one, plan, now_ns, lots, ("participation_cap", "0.25"))
        return None

    def _of_window(
        self, seen: Witness, one: Worked, plan: Plan, now_ns: int, lots: Decimal, share: tuple[str, str]
    ) -> Violation | None:
        """Hold a clip against its share of the window."""
        since_ns = now_ns - _window_ns(one, plan)
        own = _sum(self._fills.get(one.name, ()), since_ns)
        traded = _sum(seen.printed.get(one.order.instrument, ()), since_ns - SLACK_NS) + own
        num, den = one.share(*share)
        if (lots + own) * den <= traded * num:
            return None
        expected = f"at most {share[0]} {Decimal(num) / den} of what trades beside {one.name}"
        return self.broken(seen, expected, f"{lots} more than {own} of {traded}")

    def _of_all(self, seen: Witness, one: Worked, lots: Decimal) -> Violation | None:
        """Hold a clip against its share of all that has traded since it came; its owner's price is apart."""
        if one.setting("i_would_price", default=None) is not None:
            return None
        cum, done = self._cum(one), self._done(one)
        traded = _sum(seen.printed.get(one.order.instrument, ()), self._since[one.name] - SLACK_NS) + cum
        num, den = one.share("rate", "0.10")
        if (done + lots) * den <= traded * num:
            return None
        expected = f"at most rate {Decimal(num) / den} of what trades beside {one.name}"
        return self.broken(seen, expected, f"{lots} more than {done} of {traded}")

    def _cum(self, one: Worked) -> Decimal:
        return sum((child.cum for child in self._children.get(one.name, ())), ZERO)

    def _done(self, one: Worked) -> Decimal:
        """Return what has traded of it, works or may exist."""
        return sum((child.rest for child in self._children.get(one.name, ())), self._cum(one))


def _sum(told: Sequence[tuple[int, Decimal]], since_ns: int) -> Decimal:
    """Return what was told behind an instant, of what is in the order of its time."""
    return sum((qty for _, qty in takewhile(lambda one: one[0] > since_ns, reversed(told))), ZERO)


def _told(seen: Witness, one: Worked) -> int | None:
    """Return how many lots the feed has told since a parent came, None where nobody counts in its lots."""
    oms, name = oms_of(seen), one.order.instrument
    tape = None if oms is None else oms.live.tapes.get(name)
    rules = None if oms is None else oms.live.instruments.get(name)
    arrival = None if oms is None else oms.live.arrivals.get(one.name)
    other = one.plan is None or (rules is not None and rules.qty_lot != one.plan.qty_lot)
    return None if tape is None or arrival is None or other else tape.lots - arrival


def _is_whole(seen: Witness, one: Worked, plan: Plan, now_ns: int) -> bool:
    """Say whether the order manager has seen a parent's window from its beginning."""
    oms = oms_of(seen)
    tape = None if oms is None else oms.live.tapes.get(one.order.instrument)
    return tape is not None and tape.generation != 0 and now_ns - tape.since_ns >= _window_ns(one, plan)


def _window_ns(one: Worked, plan: Plan) -> int:
    """Return the window of participation: as given, at least the lives of two clips."""
    given = duration_of(one.setting("participation_window", MINUTE))
    if not plan.taus or plan.end_ns is None:
        return given
    return max(given, 2 * max((plan.end_ns - plan.start_ns) // len(plan.taus), 1))
