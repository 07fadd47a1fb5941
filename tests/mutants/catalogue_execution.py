"""Mistakes in the execution engine: each algorithm, and what all of them share."""

from __future__ import annotations

from tests.mutants.mutant import WALKS, Change, Mutant


def _one(name: str, mistake: str, file: str, old: str, new: str, *invariants: str) -> Mutant:
    """Return a mistake in one place that the seeds judge; an order that is worked wrongly needs no fault."""
    return Mutant(name, mistake, (Change(file, old, new),), invariants, shows_always=True)


def _walked(name: str, mistake: str, file: str, old: str, new: str) -> Mutant:
    """Return a mistake in arithmetic that no world shows: the walker of the property tests judges it."""
    return Mutant(name, mistake, (Change(file, old, new),), (WALKS,), judge="walks")


_MARKET = (
    _one(
        "market-unsplit",
        "A market order is sent in one piece, whatever its largest clip is.",
        "executors/tactics.py",
        "    lots = without_dust(lots, min(lots, most), view.plan.min_clip, most)\n"
        '    return (Place(lots, bound, "IOC"',
        '    return (Place(lots, bound, "IOC"',
        "E-05",
    ),
    _one(
        "collar-outward",
        "The collar of a crossing child is rounded away from the market.",
        "executors/composed.py",
        "return int((floor_step(price, tick) if buys else ceil_step(price, tick)) // tick)",
        "return int((floor_step(price, tick) if buys else ceil_step(price, tick)) // tick)"
        " + (1 if buys else -1)",
        "I-41",
    ),
    _one(
        "collar-twice-as-wide",
        "The collar lies on both sides of the mid, and its width is counted twice.",
        "actors/oms_gate.py",
        "    total = market.bid + market.ask\n",
        "    total, collar_bps = market.bid + market.ask, 2 * collar_bps\n",
        "I-13",
    ),
    _one(
        "retry-whole",
        "A taking child that has traded in part is sent again as a whole.",
        "executors/tactics.py",
        "    clip, lots = view.clip, view.clip_rest\n    assert clip is not None\n    if any(child.rests",
        "    clip, lots = view.clip, 0 if view.clip is None else view.clip.lots\n"
        "    assert clip is not None\n    if any(child.rests",
        "I-41",
        "I-03",
    ),
)

_LIMIT = (
    _one(
        "limit-unsplit",
        "A limit order rests in one piece, whatever its largest clip is.",
        "executors/tactics.py",
        "        most = view.plan.max_clip or clip.lots\n",
        "        most = clip.lots\n",
        "E-05",
    ),
    _one(
        "limit-forgets-post-only",
        "A limit order that is never to take rests as any other one.",
        "executors/tactics.py",
        "return (Place(lots, limit, self._tif, self.settings.post_only),) if lots else ()",
        "return (Place(lots, limit, self._tif),) if lots else ()",
        "I-41",
        "E-05",
    ),
    _one(
        "limit-a-tick-better",
        "A limit order rests one tick beyond its limit, to be first.",
        "executors/tactics.py",
        "return (Place(lots, limit, self._tif, self.settings.post_only),) if lots else ()",
        "return (Place(lots, view.toward(limit, 1), self._tif, self.settings.post_only),) if lots else ()",
        "I-41",
    ),
)

_TWAP = (
    _one(
        "twap-looks-back",
        "The target of a decision is that of the beginning of its interval: the last one is not the whole.",
        "core/schedule.py",
        "return Shares(tuple(range(1, n + 1)), n)",
        "return Shares(tuple(range(n)), n)",
        "I-31",
    ),
    _one(
        "jitter-not-monotone",
        "Sizes are jittered upwards, over the next target.",
        "core/schedule.py",
        'after if k == len(steps) - 1 else after - fraction(after - before, jitter, name, "size", k)',
        'after + fraction(after - before, jitter, name, "size", k)',
        "I-31",
    ),
    _one(
        "decision-early",
        "A decision is taken at the beginning of its interval, without the jitter of its time.",
        "executors/pacings.py",
        "        while k >= 0 and self._at(view, k) > view.now_ns:\n            k -= 1\n",
        "",
        "I-30",
    ),
    _one(
        "catch-up-without-cap",
        "What is behind is made up for in one clip of any size.",
        "core/schedule.py",
        "    num, den = cap.as_integer_ratio()\n    return min(owed, num * max(plain, even_clip) // den)",
        "    return owed",
        "I-31",
    ),
)

_VWAP = (
    _one(
        "vwap-not-cumulative",
        "The curve's shares are those of each bucket, not their sums.",
        "core/schedule.py",
        "    nums = tuple(until(instant(start_ns, end_ns, n, k + 1)) - base for k in range(n))\n",
        "    nums = tuple(until(instant(start_ns, end_ns, n, k + 1)) - until(instant(start_ns, end_ns, n, k))"
        " for k in range(n))\n",
        "I-31",
    ),
    _walked(
        "vwap-another-day",
        "The curve is read from its beginning on, not from where the window begins.",
        "core/schedule.py",
        "whole, part_ns = divmod(at_ns - first_ns, bucket_ns)",
        "whole, part_ns = divmod(at_ns - start_ns, bucket_ns)",
    ),
    _walked(
        "vwap-whole-buckets",
        "Only whole buckets count: inside of one nothing has traded yet.",
        "core/schedule.py",
        "        partly = volumes[whole] * part_ns if part_ns else 0\n",
        "        partly = 0\n",
    ),
    _walked(
        "dynamic-inverse",
        "The live factor is the curve over the market, so that it slows down when more trades.",
        "core/schedule.py",
        "return min(max((observed + prior) / (expected + prior), M_MIN), M_MAX)",
        "return min(max((expected + prior) / (observed + prior), M_MIN), M_MAX)",
    ),
    _walked(
        "dynamic-without-prior",
        "The curve weighs nothing against what has traded.",
        "executors/trajectories.py",
        "prior = self.settings.prior_buckets * sum(plan.volumes) / self._buckets(plan)",
        "prior = 1.0",
    ),
    _walked(
        "dynamic-counts-the-past",
        "What traded before the plan was made counts as traded in its window.",
        "executors/trajectories.py",
        "counted = float(max(view.volume.total - plan.volume_base, 0))",
        "counted = float(view.volume.total)",
    ),
    _walked(
        "dynamic-bursts",
        "What missed decisions would have done belongs to the next one, where no cap bounds it.",
        "executors/trajectories.py",
        "if k > (0 if last is None else last.k + 1):",
        "if k < 0:",
    ),
    _walked(
        "dynamic-forgets-the-unseen",
        "What traded while nobody saw it counts once, and is gone at the next decision.",
        "executors/trajectories.py",
        "return observed, factor, observed - counted",
        "return observed, factor, unseen",
    ),
)

_POV = (
    _one(
        "own-volume-twice",
        "Own trades count twice in all that trades.",
        "actors/oms_executor.py",
        "window, total = window + int(filled // lot), total + own\n",
        "window, total = window + 2 * int(filled // lot), total + 2 * own\n",
        "I-31",
    ),
    _one(
        "pov-without-ceiling",
        "The ceiling over the window is not read.",
        "executors/pacings.py",
        "ceiling = num * view.volume.window // den - view.volume.own_window",
        "ceiling = max(room, num * view.volume.window // den)",
        "I-31",
    ),
    _one(
        "pov-forgets-what-works",
        "Only what has traded counts against the rate, not what is in doubt.",
        "executors/pacings.py",
        "        room = target - view.done\n",
        "        room = target - view.cum\n",
        "I-31",
    ),
    _one(
        "pov-of-others",
        "The rate is one of what the others trade, so that its share of all is higher.",
        "core/schedule.py",
        "    return min(order_lots, num * volume_lots // den)",
        "    return min(order_lots, num * volume_lots // (den - num))",
        "I-31",
    ),
)

_ICEBERG = (
    Mutant(
        "display-ignored",
        "An iceberg places all that is left, and nobody looks at what it shows.",
        (
            Change("executors/pacings.py", "min(lots, view.rest), plan.end_ns)", "view.rest, plan.end_ns)"),
            Change(
                "execution.py",
                "for bound in (self.plan.max_clip, self.plan.display) if",
                "for bound in (self.plan.max_clip,) if",
            ),
            Change("actors/oms_children.py", " if shown + qty > most else None", " if qty < 0 else None"),
        ),
        ("I-31",),
        shows_always=True,
    ),
    _one(
        "iceberg-peaks-up",
        "The variance is added: each clip shows as much as may be shown.",
        "core/schedule.py",
        'return display * (whole - num * draw(name, "peak", i)) // whole',
        'return display * (whole + num * draw(name, "peak", i)) // whole',
        "I-31",
    ),
    Mutant(
        "iceberg-refills-beside",
        "The next clip comes while nobody knows whether the last one is in the book: it counts as gone.",
        (
            Change(
                "executors/pacings.py",
                '        if kind != "threshold" or any(not child.rests for child in live):\n'
                "            return False\n",
                '        if any(not child.rests for child in live) or kind != "threshold":\n'
                "            return any(not child.rests for child in live)\n",
            ),
            Change(
                "executors/tactics.py",
                "        hidden = view.plan.display is not None and (view.doubt or older)\n",
                "        hidden = False\n",
            ),
            Change(
                "actors/oms_children.py",
                "shown, most = parent.working_qty + parent.in_doubt_qty, parent",
                "shown, most = parent.working_qty, parent",
            ),
        ),
        ("I-31",),
    ),
)

_ENGINE = (
    _one(
        "participation-ignored",
        "The guard lets everything through.",
        "executors/guards.py",
        "        if lots <= room:\n            return Pass()\n",
        "        if lots <= room or lots:\n            return Pass()\n",
        "I-31",
    ),
    Mutant(
        "dust-sent",
        "What is less than the smallest clip is sent all the same.",
        (
            Change(
                "executors/engine.py",
                "    if lots < plan.min_clip and lots < view.rest:\n",
                "    if lots < 1 and lots < view.rest:\n",
            ),
            Change(
                "executors/tactics.py",
                "view.plan.min_clip, most)\n    if lots < max(view.plan.min_clip, 1):\n",
                "view.plan.min_clip, most)\n    if lots < 1:\n",
            ),
            Change(
                "executors/tactics.py",
                "    if lots < view.plan.min_clip:\n        # Dust is never sent",
                "    if lots < 1:\n        # Dust is never sent",
            ),
        ),
        ("E-05",),
        shows_always=True,
    ),
    _one(
        "end-ignored",
        "The grace behind the end begins anew with every decision there.",
        "executors/engine.py",
        "    until_ns = end_ns + settings.extra_ns\n",
        "    until_ns = max(end_ns, 0 if clip is None else clip.begun_ns) + settings.extra_ns\n",
        "E-04",
    ),
    _one(
        "wake-lost",
        "A parent whose timer has fired is not asked.",
        "actors/oms_wakes.py",
        "        del turn.live.wakes[name]\n        turn.woken[name] = None\n",
        "        del turn.live.wakes[name]\n",
        "I-30",
    ),
    _one(
        "wake-late",
        "A timer is rounded up to the next second.",
        "actors/oms_wakes.py",
        "max(command.at_ns, turn.now + MS))",
        "max(command.at_ns, turn.now + MS) // (1_000 * MS) * (1_000 * MS) + 1_000 * MS)",
        "I-30",
    ),
    _one(
        "self-cross-off",
        "Nobody looks whether a child meets one of ours.",
        "actors/oms_cross.py",
        "        if there is not None and (price >= there if buys else price <= there):\n",
        "        if there is not None and price < 0:\n",
        "I-39",
    ),
    _one(
        "self-cross-on-the-way",
        "What only takes is passed over, also by what is to rest when it arrives.",
        "actors/oms_cross.py",
        'meets = (rests or other.time_in_force == "GTC") and not other.external',
        'meets = other.time_in_force == "GTC" and not other.external',
        "I-39",
    ),
    _one(
        "restart-policy-ignored",
        "Whatever its owner has said, a parent goes on behind a restart.",
        "actors/oms_policy.py",
        '    if what == "resume" or (what == "auto"',
        '    if what != "cancel" or (what == "auto"',
        "E-03",
    ),
    _one(
        "restart-cancel-ignored",
        "A parent that was to end with the daemon goes on.",
        "actors/oms_policy.py",
        '        turn.ending[parent.order.parent_id] = "restart"\n        return RECOVERY\n',
        '        return ""\n',
        "E-03",
    ),
    _one(
        "pause-clock-runs",
        "The end of a parent that a human has paused stays where it was.",
        "actors/oms_policy.py",
        "replace(plan, end_ns=plan.end_ns + _stood_ns(turn, parent))",
        "replace(plan, end_ns=plan.end_ns)",
        "E-04",
    ),
    Mutant(
        "paused-places",
        "A parent is asked for its next step whether or not it is paused.",
        (
            Change(
                "actors/oms_engine.py",
                "    if parent.phase is Phase.WORKING and parent.amending is None",
                "    if parent.phase in (Phase.WORKING, Phase.PAUSED) and parent.amending is None",
            ),
            Change(
                "actors/oms_engine.py",
                "            if parent.phase is Phase.WORKING:\n                later",
                "            if parent.phase in (Phase.WORKING, Phase.PAUSED):\n                later",
            ),
        ),
        ("E-03",),
        shows_always=True,
    ),
    _one(
        "audit-forgotten",
        "Only what was refused is written down.",
        "actors/oms_audit.py",
        "    turn.emit(\n        Audit(\n",
        "    (turn.emit if code else repr)(\n        Audit(\n",
        "I-35",
    ),
    _one(
        "ended-with-a-child",
        "A parent has ended as soon as it is to end, whatever still works for it.",
        "actors/oms_parents.py",
        "    if parent.live or not (full or parent.phase is Phase.COMPLETING):\n",
        "    if not (full or parent.phase is Phase.COMPLETING):\n",
        "I-31",
    ),
)

EXECUTION: tuple[Mutant, ...] = (*_MARKET, *_LIMIT, *_TWAP, *_VWAP, *_POV, *_ICEBERG, *_ENGINE)
