"""`twap`: the same quantity in the same time, passively first."""

from __future__ import annotations

from tradefan.contracts import register
from tradefan.execution import Recipe, Scheduled
from tradefan.executors.composed import Composed, tactic_of
from tradefan.executors.guards import Participation
from tradefan.executors.pacings import Times
from tradefan.executors.trajectories import Linear


@register("executor", "twap", settings=Scheduled)
class Twap(Composed[Scheduled]):
    """The same quantity in the same time: F = (k + 1) / n."""

    def compose(self) -> Recipe:
        settings = self.settings
        return Recipe(
            settings, Linear(settings), Times(settings), tactic_of(settings), (Participation(settings),)
        )
