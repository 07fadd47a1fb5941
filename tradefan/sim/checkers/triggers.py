"""Contingent orders and groups, by the records alone: one `then` a trigger, and no leg beyond its group."""

from __future__ import annotations

from decimal import Decimal

from tradefan.messages.contingent import Armed, Disarmed, Group, Triggered, TriggerPause, Watermark
from tradefan.messages.orders import ParentOrder
from tradefan.messages.records import Intent, Parent, PhaseChange, Record
from tradefan.sim.checkers.base import OverRecords
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import ZERO

WAITS = ("stop", "stop_limit", "take_profit", "trailing")
"""Algorithms that place nothing before they have fired."""
ENTRY = "entry"
UNMARKED = Decimal("0.11")
"""Share of a callback by which a watermark may be better than the journal says, and a little."""


class OneThen(OverRecords):
    """THEN: a contingent parent fires at most once, only while it is armed, and has no child before that.

    What fires it is beyond its level, on the right side; the level of a trailing one follows its watermark,
    of which a tenth of the callback need not be journaled, and that moves in its favour only. What is
    paused fires nothing.
    """

    invariant: str = "THEN"
    kind: Kind = "T"

    def begin(self) -> None:
        self._waits: dict[str, str] = {}
        """Contingent parents that have not fired: idle, armed, or over."""
        self._paused: dict[str, bool] = {}
        self._orders: dict[str, ParentOrder] = {}
        self._levels: dict[str, Decimal | None] = {}
        self._marks: dict[str, Decimal | None] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            if record.order.algo in WAITS:
                self._waits[record.order.parent_id] = "idle"
                self._orders[record.order.parent_id] = record.order
        elif isinstance(record, Armed):
            self._levels[record.parent_id], self._marks[record.parent_id] = record.level, record.watermark
            return self._move(seen, record.parent_id, ("idle", "armed"), "armed")
        elif isinstance(record, Watermark):
            return self._mark(seen, record)
        elif isinstance(record, TriggerPause):
            self._paused[record.parent_id] = record.paused
        elif isinstance(record, Triggered):
            if self._paused.get(record.parent_id):
                return self.broken(seen, f"{record.parent_id} fires nothing while it is paused", record.price)
            return self._move(seen, record.parent_id, ("armed",), "fired") or self._price(seen, record)
        elif isinstance(record, Disarmed) or (isinstance(record, PhaseChange) and record.phase == "DONE"):
            if self._waits.get(record.parent_id, "fired") != "fired":
                self._waits[record.parent_id] = "over"
        elif isinstance(record, Intent):
            state = self._waits.get(record.parent_id, "fired")
            if state != "fired":
                found = f"{record.client_order_id} of {record.parent_id}, which is {state}"
                return self.broken(seen, "no child before its trigger has fired", found)
        return None

    def _move(self, seen: Witness, name: str, before: tuple[str, ...], after: str) -> Violation | None:
        state = self._waits.get(name, "no contingent parent")
        if state not in before:
            return self.broken(seen, f"{name} {after} only while {' or '.join(before)}", state)
        self._waits[name] = after
        return None

    def _mark(self, seen: Witness, record: Watermark) -> Violation | None:
        order, mark = self._orders.get(record.parent_id), self._marks.get(record.parent_id)
        self._marks[record.parent_id] = record.price
        if order is None or mark is None:
            return None
        better = record.price > mark if order.side == "sell" else record.price < mark
        expected = f"a watermark of {record.parent_id} that is better than {mark}"
        return None if better else self.broken(seen, expected, record.price)

    def _price(self, seen: Witness, record: Triggered) -> Violation | None:
        """Hold what fired an order against its level."""
        order = self._orders[record.parent_id]
        level, mark = self._levels.get(record.parent_id), self._marks.get(record.parent_id)
        rises = (order.side == "buy") != (order.algo == "take_profit")
        if order.algo == "trailing":
            if mark is None:
                return self.broken(seen, f"{record.parent_id} behind a watermark", "none")
            callback = _callback(order, mark) * (1 - UNMARKED)
            level = mark + callback if rises else mark - callback
        beyond = level is not None and (record.price >= level if rises else record.price <= level)
        where = "above" if rises else "below"
        expected = f"{record.parent_id} to fire at or {where} {level}"
        return None if beyond else self.broken(seen, expected, record.price)


def _callback(order: ParentOrder, mark: Decimal) -> Decimal:
    given = order.settings.get("callback_abs")
    if given is not None:
        return Decimal(str(given))
    return mark * Decimal(str(order.settings["callback_bps"])) / 10_000


class GroupBudget(OverRecords):
    """GROUP: no child is decided by which the legs of a group could come to more than its quantity.

    Of an oco that is its own, of the exits of a bracket what its entry had traded by then. What the venue
    trades too much behind that is looked at by others.
    """

    invariant: str = "GROUP"
    kind: Kind = "T"

    def begin(self) -> None:
        self._orders = Orders()
        self._groups: dict[str, Group] = {}
        self._leg: dict[str, tuple[str, str]] = {}
        self._children: dict[str, list[Child]] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Group):
            self._groups[record.group_id] = record
            for leg, name in record.members:
                self._leg[name] = (record.group_id, leg)
        broken = self._judge(seen, record) if isinstance(record, Intent) else None
        known = len(self._orders.known)
        child = self._orders.take(record)
        if child is not None and child.parent_id is not None and len(self._orders.known) > known:
            self._children.setdefault(child.parent_id, []).append(child)
        return broken

    def _judge(self, seen: Witness, intent: Intent) -> Violation | None:
        group_id, leg = self._leg.get(intent.parent_id, ("", ENTRY))
        group = self._groups.get(group_id)
        if group is None or (group.kind == "bracket" and leg == ENTRY):
            return None
        members = dict(group.members)
        budget = group.wish.order_qty if group.kind == "oco" else self._traded(members[ENTRY])
        legs = [name for one, name in group.members if group.kind == "oco" or one != ENTRY]
        most = sum((self._may(name, but=intent.replaces) for name in legs), ZERO) + intent.order_qty
        if most <= budget:
            return None
        found = f"{most} with {intent.client_order_id} of leg {leg}"
        return self.broken(seen, f"at most {budget} of the legs of group {group_id}", found)

    def _traded(self, parent: str) -> Decimal:
        return sum((child.cum for child in self._children.get(parent, ())), ZERO)

    def _may(self, parent: str, *, but: str | None) -> Decimal:
        """Return what a leg has traded, and what may still trade of it; not what is replaced."""
        children = self._children.get(parent, ())
        return sum((one.cum + (ZERO if one.client_order_id == but else one.rest) for one in children), ZERO)
