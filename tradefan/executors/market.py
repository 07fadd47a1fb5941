"""`market`: take what the book shows within the collar, again after a while, a few times in all."""

from __future__ import annotations

from typing import Annotated

from tradefan.contracts import register
from tradefan.errors import Refused
from tradefan.execution import UNSLICED_UNREAD, Recipe
from tradefan.executors.composed import Composed
from tradefan.executors.insist import Insist, Insisting
from tradefan.executors.pacings import Once
from tradefan.executors.tactics import Take
from tradefan.executors.trajectories import Whole
from tradefan.setting import unit


class MarketSettings(Insisting, frozen=True, kw_only=True):
    """Whether it goes on each second, as a stop does; whose type it is."""

    native: Annotated[bool, unit("flag", "the venue's own market type, without a collar")] = False


@register("executor", "market", settings=MarketSettings)
class Market(Composed[MarketSettings]):
    """Immediate-or-cancel at the collar; the rest goes again after `retry_after`, `tries` in all."""

    def compose(self) -> Recipe:
        settings = self.settings
        if settings.native:
            text = "native: expected a venue with a market type of its own; no venue says that it has one"
            raise Refused("BAD_SETTING", text, "native false")
        tactic = Insist(settings) if settings.insist else Take(settings)
        unread = (*UNSLICED_UNREAD, "post_only")
        return Recipe(settings, Whole(), Once(settings), tactic, follows=False, slices=False, unread=unread)
