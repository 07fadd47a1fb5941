"""Schedules: each decision is taken in its instant, and for what the plan says; nothing of it is lost."""

from __future__ import annotations

from hashlib import sha256
from math import ceil
from typing import Any

from tradefan.messages.orders import Phase
from tradefan.messages.plan import Clip, Plan
from tradefan.messages.work import Decision
from tradefan.sim.checkers.base import Source, oms_of
from tradefan.sim.checkers.worked import AT_END, EXTEND, I_WOULD, OverParents, Worked
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import MS

_UNIT = 1 << 53
_SEEN = ("LIVE", "SUSPECT")
"""The market is seen."""


def draw(name: str, purpose: str, k: int) -> int:
    """Return u(purpose, k) in units of 2^-53 (EXECUTION.md part 4)."""
    return int.from_bytes(sha256(f"{name}:{purpose}:{k}".encode()).digest()[:8], "big") >> 11


def decided_ns(one: Worked, plan: Plan, k: int) -> int:
    """Return d_k, when decision k of a plan is taken."""
    assert plan.end_ns is not None
    n, span = len(plan.taus), plan.end_ns - plan.start_ns
    begin, end = plan.start_ns + k * span // n, plan.start_ns + (k + 1) * span // n
    num, den = one.share("time_jitter", "0.2")
    return begin + num * draw(one.name, "time", k) * (end - begin) // (den * _UNIT)


class DecisionsInTime(OverParents):
    """I-30: a decision of a schedule is taken in the first step at or behind its instant, never before it.

    Unless its parent does not work, has nothing left, waits for the evidence of what it has cancelled or does
    not know, or nobody sees the market; or mail of that step still waits for the order manager.
    """

    invariant: str = "I-30"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("records",)

    def begin(self) -> None:
        super().begin()
        self.due_ns: int | None = None

    def on_decision(self, seen: Witness, one: Worked, record: Decision) -> Violation | None:
        clip, plan = record.clip, one.plan
        if plan is None or not 0 <= clip.k < len(plan.taus) or clip.reason in (AT_END, EXTEND):
            return None
        due_ns = decided_ns(one, plan, clip.k)
        if record.at_ns < due_ns:
            return self.broken(seen, f"decision {clip.k} of {one.name} at {due_ns} ns", record.at_ns)
        return None

    def judge(self, seen: Witness) -> Violation | None:
        oms, kernel = oms_of(seen), seen.kernel
        if oms is None or kernel is None:
            self.due_ns = None
            return None
        now_ns, nexts = kernel.state.now_ns, []
        for name in oms.trading.parents_open:
            one = self.parents.get(name)
            if one is None or one.plan is None or not one.plan.taus or one.phase is not Phase.WORKING:
                continue
            k = 0 if one.clip is None or one.clip.plan != one.plans else one.clip.k + 1
            if k >= len(one.plan.taus):
                continue
            due_ns = decided_ns(one, one.plan, k)
            nexts.append(max(due_ns + MS - seen.skew_ns, seen.now_ns + 1))
            # Nobody is asked again within the same millisecond.
            late = due_ns + MS <= now_ns < (one.plan.end_ns or 0)
            if late and not self._waits(seen, oms, one, now_ns):
                return self.broken(seen, f"decision {k} of {name} at {due_ns} ns", f"none at {now_ns} ns")
        self.due_ns = min(nexts, default=None)
        return None

    def _waits(self, seen: Witness, oms: Any, one: Worked, now_ns: int) -> bool:  # noqa: ANN401 `OmsState`
        """Say whether something holds a decision up."""
        parent, plan = oms.trading.parents.get(one.name), one.plan
        assert plan is not None
        if parent is None or oms.live.closing or parent.open_qty < plan.qty_lot or _has_mail(seen):
            return True
        children = [oms.trading.orders[name] for name in parent.live]
        if any(child.in_doubt is not None or child.cancel_ns is not None for child in children):
            return True
        if any(child.time_in_force != "GTC" for child in children):
            # What takes ends by itself, and is asked for so at once.
            return True
        live, name = oms.live, one.order.instrument
        quality, quote = live.qualities.get(name), live.quotes.get(name)
        if quality is None or quote is None or quality.quality not in _SEEN:
            return True
        assert seen.kernel is not None
        config = seen.configs.get(seen.kernel.state.config_id, seen.config)
        return bool(now_ns - quote.recv_ns > config.risk.reference_age_max)


def _has_mail(seen: Witness) -> bool:
    kernel = seen.kernel
    if kernel is None:
        return False
    cell = kernel.cells[kernel.refs["oms"]]
    if cell is None:
        return True
    lanes = cell.mail.statistics()
    return bool(lanes.facts or lanes.commands or lanes.market)


class SoundPlans(OverParents):
    """I-31: the targets of a plan never fall and end in the whole quantity; a decision is for its target.

    What it places is at most `catch_up_cap` times a plain clip, what would be dust beside it apart. Of a TWAP
    the targets are computed anew, of a `pov` from what its decision says has traded; and what a clip of an
    iceberg shows.
    """

    invariant: str = "I-31"
    kind: Kind = "T"

    def on_plan(self, seen: Witness, one: Worked, old: Plan | None, at_ns: int) -> Violation | None:
        plan = one.plan
        assert plan is not None
        if not plan.taus:
            return None
        whole = int(one.qty // plan.qty_lot)
        if (plan.base, *plan.taus) != tuple(sorted((plan.base, *plan.taus))) or plan.taus[-1] != whole:
            return self.broken(seen, f"targets of {one.name} from {plan.base} up to {whole}", plan.taus)
        wanted = _even(one, plan, whole) if one.order.algo == "twap" else plan.taus
        return (
            None if wanted == plan.taus else self.broken(seen, f"targets {wanted} of {one.name}", plan.taus)
        )

    def on_decision(self, seen: Witness, one: Worked, record: Decision) -> Violation | None:
        clip, plan = record.clip, one.plan
        if plan is None or clip.reason in (AT_END, EXTEND, I_WOULD):
            return None
        if one.order.algo == "pov" and clip.target > (rated := _rated(one, plan, clip)):
            return self.broken(seen, f"target {rated} of {one.name}", clip.target)
        if plan.display is not None and clip.lots > (peak := _peak(one, plan, plan.display, clip.k)):
            return self.broken(seen, f"at most {peak} of clip {clip.k} of {one.name}", clip.lots)
        if not plan.taus:
            return None
        if plan.end_ns is not None and record.at_ns >= plan.end_ns:
            # The end policy has its own decisions.
            return None
        last = one.clip if one.clip is not None and one.clip.plan == one.plans else None
        # Behind what was taken ahead of it, the same interval is decided on again.
        again = last is not None and last.reason == I_WOULD and clip.k == last.k
        if last is not None and not again and (clip.k <= last.k or clip.target < last.target):
            return self.broken(seen, f"a decision of {one.name} behind {last.k}: {last.target}", clip)
        if not plan.volumes and clip.target != plan.taus[clip.k]:
            return self.broken(seen, f"target {plan.taus[clip.k]} of {one.name}", clip.target)
        most = self._most(one, plan, clip, last)
        return None if clip.lots <= most else self.broken(seen, f"at most {most} of {one.name}", clip)

    def _most(self, one: Worked, plan: Plan, clip: Clip, last: Clip | None) -> int:
        num, den = one.share("catch_up_cap", "3")
        even = -(-(plan.taus[-1] - plan.base) // len(plan.taus))
        plain = plan.taus[clip.k] - (plan.taus[clip.k - 1] if clip.k else plan.base)
        if plan.volumes:
            plain = _plain_live(one, plan, clip, last)
        most = num * max(plain, even) // den
        # A remainder that would be dust is merged into it.
        return most + plan.min_clip - 1


def _plain_live(one: Worked, plan: Plan, clip: Clip, last: Clip | None) -> int:
    """Return a plain clip of a live curve: what its target has moved, and of missed ones its own interval."""
    if last is not None and last.reason == I_WOULD:
        return clip.target - last.before
    if clip.k == (0 if last is None else last.k + 1):
        return clip.target - (plan.base if last is None else last.target)
    observed = max(clip.volume - plan.volume_base, 0) + clip.unseen
    own, whole = clip.factor * plan.volumes[clip.k], observed + clip.factor * sum(plan.volumes[clip.k :])
    return ceil((int(one.qty // plan.qty_lot) - plan.base) * own / whole) + 1 if whole else 0


def _rated(one: Worked, plan: Plan, clip: Clip) -> int:
    """Return the target of a rate: a share of all that has traded since its plan, own trades included."""
    (num, den), rest = one.share("rate", "0.10"), int(one.qty // plan.qty_lot) - plan.base
    return plan.base + min(rest, num * max(clip.volume - plan.volume_base, 0) // den)


def _peak(one: Worked, plan: Plan, display: int, k: int) -> int:
    """Return what a clip of an iceberg shows at most: its display less a part of its variance, and dust."""
    num, den = one.share("variance", "0.2")
    least, peak = max(plan.min_clip, 1), display * (den * _UNIT - num * draw(one.name, "peak", k))
    return max(peak // (den * _UNIT), least) + least - 1


def _even(one: Worked, plan: Plan, whole: int) -> tuple[int, ...]:
    """Return the targets of a TWAP: the same share in the same time, each less its jitter but the last."""
    n, (num, den) = len(plan.taus), one.share("size_jitter", "0.2")
    plain = [plan.base + (whole - plan.base) * (k + 1) // n for k in range(n)]
    found = []
    for k, (before, after) in enumerate(zip((plan.base, *plain), plain, strict=False)):
        less = num * draw(one.name, "size", k) * (after - before) // (den * _UNIT)
        found.append(after if k == n - 1 else after - less)
    return tuple(found)
