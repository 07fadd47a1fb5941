"""Parents as the records tell them: an own fold of plan, clip and phase, which shares nothing with `core`.

What a parent's settings mean is written down here once more: the judge does not follow the product.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from tradefan.messages.contingent import Amend, Triggered
from tradefan.messages.orders import ParentOrder, Phase
from tradefan.messages.plan import Clip, Plan
from tradefan.messages.records import (
    Audit,
    Epoch,
    Parent,
    PhaseChange,
    Record,
)
from tradefan.messages.work import Amended, Decision, ParentFailed, PlanChange
from tradefan.sim.checkers.base import OverRecords
from tradefan.sim.witness import Violation, Witness
from tradefan.units import SECOND, parse_duration

SCHEDULES = ("twap", "vwap")
CONTINGENT = ("stop", "stop_limit", "take_profit", "trailing")
ENTRY = "entry"
AT_END, EXTEND, I_WOULD = "at_end", "extend", "i_would"
"""Reasons of clips (docs/execution.md)."""
GRACE_NS = 5 * SECOND
"""`end_grace` where a parent's settings name none."""


class Worked(Struct):
    """One parent: what it was asked for, what it means to do, and whether it may."""

    order: ParentOrder
    qty: Decimal
    """As it was asked for last."""
    plan: Plan | None
    plans: int
    phase: Phase = Phase.WORKING
    reason: str = ""
    paused_ns: int = 0
    clip: Clip | None = None
    epoch: int = 0
    """Since which start it works."""
    left: tuple[str, int] = ("", 0)
    """Why it was paused last, and since when, once it goes on."""
    amended: bool = False
    """Whether a human has made it another one."""
    told: dict[int, None] = field(default_factory=dict)
    """The starts in which a human has let it go on."""

    @property
    def name(self) -> str:
        """Its id."""
        return self.order.parent_id

    @property
    def extra_ns(self) -> int:
        """For how long it may go on behind its end."""
        at_end = self.setting("at_end", "cross_collared" if self.order.algo in SCHEDULES else "cancel")
        if at_end == "cancel":
            return 0
        if str(at_end).startswith(EXTEND):
            return parse_duration(str(at_end).partition(":")[2])
        return duration_of(self.setting("end_grace", GRACE_NS))

    def setting(self, name: str, default: Any) -> Any:  # noqa: ANN401 whatever was asked for
        """Return what it was asked for, or what holds where it was not."""
        return self.order.settings.get(name, default)

    def share(self, name: str, default: str) -> tuple[int, int]:
        """Return a setting that is a share, as a ratio of integers."""
        return Decimal(str(self.setting(name, default))).as_integer_ratio()


def duration_of(value: Any) -> int:  # noqa: ANN401 a number of ns, or what a human wrote
    """Return a duration of a parent's settings in ns."""
    return value if isinstance(value, int) else parse_duration(str(value))


def fired(order: ParentOrder) -> ParentOrder:
    """Return what an order is worked as, which is itself where it does not wait for the market."""
    if order.algo not in CONTINGENT:
        return order
    limited = {"take_profit": order.limit_price is not None, "trailing": "limit_offset_bps" in order.settings}
    algo = order.settings.get("then")
    algo = algo or ("limit" if limited.get(order.algo, order.algo == "stop_limit") else "market")
    # What protects goes on by itself.
    usual = {"on_restart": "resume"} if order.protective or algo == "limit" else {}
    return replace(order, algo=algo, settings={**usual, **order.settings})


class OverParents(OverRecords):
    """A checker that follows parents: `on_plan on_phase on_decision` look at what a record changes.

    One that waits for the market is followed from its firing on, as what it has become. Of the members of
    groups only entries are: how much of the others is to be traded changes with their group.
    """

    def begin(self) -> None:
        self.parents: dict[str, Worked] = {}
        self.epoch = 0
        self._waiting: dict[str, ParentOrder] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            if record.leg not in ("", ENTRY):
                return None
            if record.order.algo in CONTINGENT:
                self._waiting[record.order.parent_id] = record.order
                return None
            plan = record.plan
            qty = record.order.order_qty
            made = Worked(record.order, qty, plan, 0 if plan is None else 1, epoch=self.epoch)
            self.parents[record.order.parent_id] = made
            return None if plan is None else self.on_plan(seen, made, None, record.at_ns)
        if isinstance(record, Epoch):
            self.epoch = record.epoch
        elif isinstance(record, Audit) and record.action == "ResumeOrder" and not record.code:
            for name in filter(self.parents.__contains__, record.parent_ids):
                self.parents[name].told[self.epoch] = None
        elif isinstance(record, Triggered) and record.parent_id in self._waiting:
            order = fired(self._waiting.pop(record.parent_id))
            self.parents[record.parent_id] = Worked(order, order.order_qty, None, 0, epoch=self.epoch)
        elif isinstance(record, Amended) and record.order.parent_id in self._waiting:
            self._waiting[record.order.parent_id] = record.order
        elif isinstance(record, Amend) and record.parent_id in self._waiting:
            order = self._waiting[record.parent_id]
            self._waiting[record.parent_id] = replace(order, order_qty=record.order_qty)
        elif isinstance(record, Amended) and record.order.parent_id in self.parents:
            one = self.parents[record.order.parent_id]
            one.order, one.qty, one.amended = fired(record.order), record.order.order_qty, True
            one.plan, one.plans = record.plan, one.plans + 1
            self._begins_anew(one)
        elif isinstance(record, Amend) and record.parent_id in self.parents:
            self.parents[record.parent_id].qty = record.order_qty
        elif isinstance(record, PhaseChange | PlanChange | Decision | ParentFailed):
            known = self.parents.get(record.parent_id)
            return None if known is None else self._changed(seen, known, record)
        return None

    def _changed(self, seen: Witness, one: Worked, record: Any) -> Violation | None:  # noqa: ANN401 one of four
        broken = None
        if isinstance(record, Decision):
            broken, one.clip = self.on_decision(seen, one, record), record.clip
        elif isinstance(record, PlanChange):
            old, one.plan, one.plans = one.plan, record.plan, one.plans + 1
            broken, one.left = self.on_plan(seen, one, old, record.at_ns), ("", 0)
            self._begins_anew(one)
        elif isinstance(record, ParentFailed):
            one.phase, one.reason, one.paused_ns = Phase.PAUSED, "defect", record.at_ns
        else:
            broken = self.on_phase(seen, one, record)
            paused = (one.phase, one.reason) == (Phase.PAUSED, record.reason)
            if record.phase is Phase.PAUSED and not paused:
                one.paused_ns = record.at_ns
            if one.phase is Phase.PAUSED and record.phase is Phase.WORKING:
                one.epoch, one.left = self.epoch, (one.reason, one.paused_ns)
            one.phase, one.reason = record.phase, record.reason
        return broken

    def _begins_anew(self, one: Worked) -> None:
        """What works by a plan belongs to the start that has made it."""
        if one.phase is Phase.WORKING:
            one.epoch = self.epoch

    def on_plan(self, seen: Witness, one: Worked, old: Plan | None, at_ns: int) -> Violation | None:
        """Look at the plan that it has since now, and at the one before it."""
        return None

    def on_phase(self, seen: Witness, one: Worked, record: PhaseChange) -> Violation | None:
        """Look at a phase before it is entered."""
        return None

    def on_decision(self, seen: Witness, one: Worked, record: Decision) -> Violation | None:
        """Look at a decision before its clip takes the place of the last one."""
        return None
