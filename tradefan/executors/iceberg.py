"""`iceberg`: never more in the book than `display`."""

from __future__ import annotations

from tradefan.contracts import register
from tradefan.execution import SCHEDULE_ONLY, Recipe
from tradefan.executors.composed import Composed
from tradefan.executors.pacings import Refill, Shown
from tradefan.executors.tactics import Peg, Rest
from tradefan.executors.trajectories import Whole


@register("executor", "iceberg", settings=Shown)
class Iceberg(Composed[Shown]):
    """One child at a time, never more than `display`, at the limit or pegged to the own best."""

    def compose(self) -> Recipe:
        settings = self.settings
        tactic = Peg(settings) if settings.peg else Rest(settings)
        unread = [*SCHEDULE_ONLY, "tactic"]
        if not settings.peg:
            # At its own limit it is out of no limit, and no feed goes stale for it.
            unread += ["on_limit", "stale_cancel_after"]
        if settings.i_would_price is None:
            unread.append("participation_window")
        return Recipe(
            settings,
            Whole(),
            Refill(settings),
            tactic,
            follows=settings.peg,
            goes_on=True,
            unread=tuple(unread),
        )
