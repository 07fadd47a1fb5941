"""`limit`: rest one child at the limit price; what ends it ends the parent."""

from __future__ import annotations

from typing import Annotated, ClassVar

from tradefan.contracts import register
from tradefan.core.schedule import without_dust
from tradefan.errors import Refused
from tradefan.execution import UNSLICED_UNREAD, Command, Common, Move, Place, Recipe, View, Wake
from tradefan.executors.composed import Composed
from tradefan.executors.pacings import Once
from tradefan.executors.tactics import Rest
from tradefan.executors.trajectories import Whole
from tradefan.messages.orders import OrderStatus, TimeInForce
from tradefan.setting import unit
from tradefan.units import SECOND


class LimitSettings(Common, frozen=True, kw_only=True):
    """How long it may rest; `post_only` never takes. What fires it, or an exit of a bracket, `grows`."""

    private: ClassVar[tuple[str, ...]] = ("grows",)

    time_in_force: Annotated[
        TimeInForce,
        unit("choice", "good till cancelled, or only what trades at once, or all at once or nothing"),
    ] = "GTC"
    grows: Annotated[
        bool, unit("flag", "a further child rests for what is new, and what ends early is placed again")
    ] = False


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
            once=not settings.grows,
            unread=UNSLICED_UNREAD,
        )

    def next(self, view: View) -> tuple[Command, ...]:
        plan = view.plan
        early = view.now_ns < plan.start_ns and not view.live
        over = plan.end_ns is not None and view.now_ns >= plan.end_ns
        return stand(view, self.settings) if self.settings.grows and not early | over else super().next(view)


def stand(view: View, settings: Common) -> tuple[Command, ...]:
    """Let all that is open rest at the limit, also what has been added since the last child was placed."""
    limit, moved = view.limit, [child for child in view.live if child.rests and not child.ending]
    assert limit is not None, "nothing is begun without its level"
    moves = tuple(
        Move(child.client_order_id, child.leaves, limit, settings.post_only)
        for child in moved
        if child.price != limit
    )
    again_ns = (view.last_end_ns or 0) + SECOND
    end_ns = view.plan.end_ns
    ended = next((child for child in reversed(view.children) if not child.live), None)
    by_venue = ended is not None and not ended.ending and ended.status is not OrderStatus.FILLED
    if by_venue and view.now_ns < again_ns:
        # What the venue has just ended is not placed in a loop.
        return (*moves, Wake(again_ns if end_ns is None else min(again_ns, end_ns)))
    if view.rest < max(view.plan.min_clip, 1):
        return (*moves, Wake(end_ns))
    most = view.plan.max_clip
    lots = without_dust(view.rest, min(view.rest, most or view.rest), view.plan.min_clip, most)
    return (*moves, Place(lots, limit, "GTC", settings.post_only), Wake(end_ns))
