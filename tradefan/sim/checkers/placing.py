"""When a parent may place children, and which: EXECUTION.md's I3, I4 and I5."""

from __future__ import annotations

from msgspec import Struct

from tradefan.messages.orders import Phase
from tradefan.messages.plan import Plan
from tradefan.messages.records import Epoch, Intent, PhaseChange, Record
from tradefan.sim.checkers.worked import OverParents, Worked, duration_of
from tradefan.sim.witness import Kind, Violation, Witness

USER = "user"
"""Why a parent is paused whose clock stands still until it goes on."""
RECOVERED = ("recovery", "restart")
"""Why a parent is paused behind a restart."""


class _Gone(Struct, frozen=True):
    """A parent that has gone on behind a restart."""

    one: Worked
    at_ns: int
    epoch: int


class WorkingOnly(OverParents):
    """E-03: a child is created only while its parent works; behind a restart only once that went on.

    Where its settings say `on_restart: pause` or `cancel`, or `auto` and its end had passed, it goes on by a
    human's word alone, which is in the same transaction.
    """

    invariant: str = "E-03"
    kind: Kind = "T"

    def begin(self) -> None:
        super().begin()
        self._gone: list[_Gone] = []

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if not isinstance(record, Intent):
            return super().take(seen, record)
        one, name = self.parents.get(record.parent_id), record.client_order_id
        if one is None:
            return None
        if one.phase is not Phase.WORKING:
            return self.broken(seen, f"no {name} of {one.name}", f"{one.phase} ({one.reason})")
        if one.plan is not None and one.epoch != self.epoch:
            found = f"one of start {one.epoch} in start {self.epoch}"
            return self.broken(seen, f"no {name} before {one.name} goes on", found)
        return None

    def on_phase(self, seen: Witness, one: Worked, record: PhaseChange) -> Violation | None:
        back = one.phase is Phase.PAUSED and record.phase is Phase.WORKING
        if back and one.epoch != self.epoch and one.plan is not None:
            self._gone.append(_Gone(one, record.at_ns, self.epoch))
        return None

    def judge(self, seen: Witness) -> Violation | None:
        gone, self._gone = self._gone, []
        for item in gone:
            one, plan = item.one, item.one.plan
            what = one.setting("on_restart", "auto")
            passed = plan is not None and plan.end_ns is not None and plan.end_ns <= item.at_ns
            by_itself = what == "resume" or (what == "auto" and not passed)
            if not by_itself and item.epoch not in one.told:
                return self.broken(seen, f"a human's word for {one.name} ({what})", "it goes on by itself")
        return None


class WithinWindow(OverParents):
    """E-04: no child is created outside of [start, end + grace or extension] of its parent's plan.

    The end stays where it was asked for, or a human has amended it to. A pause that one asked for moves it,
    by as long as it lasted, unless he keeps it, and so does a halt where `halt: extend` says so; and what
    goes on behind its end has the time of its end policy from then.
    """

    invariant: str = "E-04"
    kind: Kind = "T"

    def begin(self) -> None:
        super().begin()
        self._moved: list[tuple[Worked, set[int | None]]] = []

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Epoch):
            # The clock may have been set back: what was before is at most this start.
            for known in self.parents.values():
                known.paused_ns = min(known.paused_ns, record.at_ns)
                known.left = (known.left[0], min(known.left[1], record.at_ns))
        if not isinstance(record, Intent):
            return super().take(seen, record)
        one = self.parents.get(record.parent_id)
        plan = None if one is None else one.plan
        if one is None or plan is None:
            return None
        last_ns = None if plan.end_ns is None else plan.end_ns + one.extra_ns
        # What is placed at once goes on where the clock was set back: it has begun.
        early = record.at_ns < plan.start_ns and one.order.algo not in ("market", "limit")
        if early or (last_ns is not None and record.at_ns > last_ns):
            expected = f"{record.client_order_id} of {one.name} in {plan.start_ns} to {last_ns}"
            return self.broken(seen, expected, record.at_ns)
        return None

    def on_plan(self, seen: Witness, one: Worked, old: Plan | None, at_ns: int) -> Violation | None:
        plan, duration = one.plan, one.setting("duration", None)
        assert plan is not None
        if old is None:
            wanted = {plan.end_ns if duration is None else plan.start_ns + duration_of(duration)}
        else:
            wanted = self._ends(one, old, at_ns)
        if plan.end_ns not in wanted:
            self._moved.append((one, wanted))
        return None

    def judge(self, seen: Witness) -> Violation | None:
        moved, self._moved = self._moved, []
        for one, wanted in moved:
            if not one.amended and one.plan is not None:
                expected = f"{one.name} to end at {sorted(filter(None, wanted))}"
                return self.broken(seen, expected, one.plan.end_ns)
        return None

    def _ends(self, one: Worked, old: Plan, at_ns: int) -> set[int | None]:
        """Return where its end may lie now; what stood before its window has begun takes nothing of it."""
        end_ns = old.end_ns
        # A clock that runs again within a pause has stood until then.
        reason, since_ns = (one.reason, one.paused_ns) if one.phase is Phase.PAUSED else one.left
        if end_ns is None:
            return {None}
        stands = reason == "halt" and one.setting("halt", "run") == "extend"
        if reason == USER or stands:
            return {end_ns + max(at_ns - max(since_ns, old.start_ns), 0)}
        return {end_ns, at_ns} if end_ns <= at_ns else {end_ns}


class WithinBounds(OverParents):
    """E-05: a child keeps its plan: limit, largest and smallest clip, and post-only where that was asked for.

    Its collar is I-13's, what an iceberg shows I-31's.
    """

    invariant: str = "E-05"
    kind: Kind = "T"

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if not isinstance(record, Intent):
            return super().take(seen, record)
        one = self.parents.get(record.parent_id)
        if one is None or one.plan is None:
            return None
        plan, name = one.plan, record.client_order_id
        lot, qty = plan.qty_lot, record.order_qty
        if plan.max_clip is not None and qty > plan.max_clip * lot:
            return self.broken(seen, f"at most {plan.max_clip * lot} of {name}", qty)
        if qty < plan.min_clip * lot:
            return self.broken(seen, f"at least {plan.min_clip * lot} of {name}", qty)
        if one.setting("post_only", default=False) and not record.post_only:
            return self.broken(seen, f"{name} of {one.name} post-only", record.time_in_force)
        if plan.limit is None or record.limit_price is None:
            return None
        limit = plan.limit * plan.price_tick
        if record.limit_price > limit if record.side == "buy" else record.limit_price < limit:
            return self.broken(seen, f"{record.side} of {name} within {limit}", record.limit_price)
        return None
