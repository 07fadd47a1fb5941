"""`limit`: rest one child at the limit price; what ends it ends the parent."""

from __future__ import annotations

from typing import Annotated

from tradefan.contracts import register
from tradefan.errors import Refused
from tradefan.execution import SLICED_ONLY, Common, Recipe
from tradefan.executors.composed import Composed
from tradefan.executors.pacings import Once
from tradefan.executors.tactics import Rest
from tradefan.executors.trajectories import Whole
from tradefan.messages.orders import TimeInForce
from tradefan.setting import unit


class LimitSettings(Common, frozen=True, kw_only=True):
    """How long it may rest; `post_only` never takes."""

    time_in_force: Annotated[
        TimeInForce,
        unit("choice", "good till cancelled, or only what trades at once, or all at once or nothing"),
    ] = "GTC"


@register("executor", "limit", settings=LimitSettings)
class Limit(Composed[LimitSettings]):
    """Good till cancelled at the limit price, or IOC, or FOK; never placed twice."""

    def __init__(self, settings: LimitSettings) -> None:
        """Refuse what contradicts itself.

        Raises:
            Refused: BAD_SETTING, post-only with a time in force that only takes.
        """
        if settings.post_only and settings.time_in_force != "GTC":
            raise Refused("BAD_SETTING", f"post_only rests, {settings.time_in_force} does not: use GTC")
        super().__init__(settings)

    def compose(self) -> Recipe:
        settings = self.settings
        tactic = Rest(settings, settings.time_in_force)
        return Recipe(
            settings,
            Whole(),
            Once(settings),
            tactic,
            follows=False,
            slices=False,
            once=True,
            unread=SLICED_ONLY,
        )
