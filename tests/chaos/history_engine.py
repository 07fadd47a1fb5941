"""What the journal says of algorithms: windows are kept, triggers fire once, what has ended has its costs.

As `history`, it uses nothing of the daemon's code: rows are arrays whose places are written down here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.chaos.history import ZERO, Journal, Venue, at_venue

SECOND = 1_000_000_000
GRACE = "5s"
"""`end_grace` where nobody says another one."""
SCHEDULES = ("twap", "vwap")


@dataclass
class Parent:
    """A parent as its newest records have it; 1 start and 2 end of its plan are instants."""

    order: list[Any]
    plan: list[Any] | None
    phase: str = "WORKING"

    @property
    def extra_ns(self) -> int:
        """For how long it may go on behind its end."""
        # What waits for the market is worked as its `then`.
        algo = self.order[9].get("then", self.order[8])
        default = "cross_collared" if algo in SCHEDULES else "cancel"
        at_end = str(self.order[9].get("at_end", default))
        if at_end.startswith("extend:"):
            return seconds(at_end.partition(":")[2])
        return 0 if at_end == "cancel" else seconds(self.order[9].get("end_grace", GRACE))


def seconds(text: str) -> int:
    """Return a duration like `20s` in ns; the load writes no others."""
    return int(text.removesuffix("s")) * SECOND


def check_engine(journal: Journal) -> dict[str, Parent]:
    """Hold every child against the plan and the phase that its parent had then; return the parents.

    PARENT: 2 order (1 id, 8 algorithm, 9 settings), 4 plan (0 start, 1 end). PLAN: 2 parent, 3 plan.
    PHASE: 2 parent, 3 phase. INTENT: 1 instant, 5 parent.
    """
    parents: dict[str, Parent] = {}
    for row in journal.rows:
        if row[0] == "Parent":
            parents[row[2][1]] = made = Parent(row[2], row[4])
            _check_end(made, None, row[1])
        elif row[0] == "PlanChange":
            one = parents[row[2]]
            before, one.plan = one.plan, row[3]
            _check_end(one, before, row[1])
        elif row[0] == "PhaseChange":
            parents[row[2]].phase = row[3]
        elif row[0] == "Intent":
            _check_child(parents[row[5]], row)
    fired = Counter(row[2] for row in journal.of("Triggered"))
    assert [name for name, count in fired.items() if count > 1] == [], "they have fired twice"
    return parents


def _check_end(one: Parent, before: list[Any] | None, at_ns: int) -> None:
    """The end is where it was asked for, or, for what goes on behind it, the instant of that."""
    plan, duration = one.plan, one.order[9].get("duration")
    if plan is None or plan[1] is None or (before is None and duration is None):
        return
    if before is None or before[1] is None:
        # What waited for the market begins when that has come.
        wanted = {plan[0] + seconds(duration)} if duration is not None else {plan[1]}
    else:
        wanted = {before[1], at_ns} if before[1] <= at_ns else {before[1]}
    assert plan[1] in wanted, f"{one.order[1]} ends at {plan[1]}, expected {wanted}"


def _check_child(one: Parent, row: list[Any]) -> None:
    assert one.phase == "WORKING", f"{row[6]} of {one.order[1]}, which is {one.phase}"
    if one.plan is None:
        return
    start_ns, end_ns = one.plan[:2]
    assert row[1] >= start_ns, f"{row[6]} of {one.order[1]} before its start"
    if end_ns is not None:
        late_ns = row[1] - end_ns - one.extra_ns
        assert late_ns <= 0, f"{row[6]} of {one.order[1]} {late_ns} ns behind its window"


def check_groups(venue: Venue, journal: Journal) -> None:
    """All legs of an oco together keep its quantity, the exits of a bracket what its entry has traded.

    What may still trade at the venue counts. GROUP: 2 id, 3 kind, 4 members (leg, parent), 5 wish, whose 6
    is the quantity.
    """
    exposed, traded = at_venue(venue, journal), at_venue(venue, journal, rests=False)
    for row in journal.of("Group"):
        legs = dict(row[4])
        budget = Decimal(row[5][6]) if row[3] == "oco" else traded[legs.pop("entry")]
        total = sum((exposed[name] for name in legs.values()), ZERO)
        assert total <= budget, f"the legs of {row[2]} come to {total} of {budget}"


def check_costs(journal: Journal) -> int:
    """Every parent that has ended has its costs on record, of all that it has traded; return how many.

    TCA: 2 parent, 10 costs, whose 2 is what was filled; the newest counts.
    """
    ended = [row[2] for row in journal.of("PhaseChange") if row[3] == "DONE"]
    told = {row[2]: Decimal(row[10][2]) for row in journal.of("Tca")}
    assert [name for name in ended if name not in told] == [], "nobody knows what these cost"
    traded = _filled(journal)
    wrong = {name: (told[name], traded[name]) for name in ended if told[name] != traded[name]}
    assert wrong == {}, "costs of another quantity than what was filled"
    return len(ended)


def at_work(journal: Journal) -> set[str]:
    """Return which triggers outside of groups have fired, and of which groups a leg, or exit, has traded."""
    groups = list(journal.of("Group"))
    members = {name for row in groups for _, name in row[4]}
    parents, traded = journal.parents(), _filled(journal)
    fired = {parents[row[2]][8] for row in journal.of("Triggered") if row[2] not in members}
    legs = {row[3]: name for row in groups for leg, name in row[4] if leg != "entry" and traded[name]}
    return fired | legs.keys()


def _filled(journal: Journal) -> dict[str, Decimal]:
    """Return what the fills of each parent add up to."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    intents = journal.intents()
    for fill in journal.fills():
        if fill[6] in intents:
            found[intents[fill[6]][5]] += Decimal(fill[9])
    return found
