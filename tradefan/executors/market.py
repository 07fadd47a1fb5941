"""`market`: take what the book shows within the collar, again after a while, a few times in all."""

from __future__ import annotations

from tradefan.contracts import register
from tradefan.execution import SLICED_ONLY, Common, Recipe
from tradefan.executors.composed import Composed
from tradefan.executors.pacings import Once
from tradefan.executors.tactics import Take
from tradefan.executors.trajectories import Whole


@register("executor", "market", settings=Common)
class Market(Composed[Common]):
    """Immediate-or-cancel at the collar; the rest goes again after `retry_after`, `tries` in all."""

    def compose(self) -> Recipe:
        settings = self.settings
        tactic, unread = Take(settings), (*SLICED_ONLY, "post_only")
        return Recipe(settings, Whole(), Once(settings), tactic, follows=False, slices=False, unread=unread)
