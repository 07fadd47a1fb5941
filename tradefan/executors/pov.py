"""`pov`: a share of all that trades, own trades included."""

from __future__ import annotations

from tradefan.contracts import register
from tradefan.execution import SCHEDULE_ONLY, Recipe
from tradefan.executors.composed import Composed
from tradefan.executors.pacings import Room
from tradefan.executors.tactics import PassiveThenCross
from tradefan.executors.trajectories import Rate, Rated


@register("executor", "pov", settings=Rated)
class Pov(Composed[Rated]):
    """A share of all volume: 10 % of it is 11.11 % of what others trade."""

    def compose(self) -> Recipe:
        settings = self.settings
        tactic, unread = PassiveThenCross(settings, always=True), (*SCHEDULE_ONLY, "tactic")
        return Recipe(settings, Rate(settings), Room(settings), tactic, goes_on=True, unread=unread)
