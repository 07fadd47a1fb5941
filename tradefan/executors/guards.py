"""Guards: they only shrink or delay a clip."""

from __future__ import annotations

from tradefan.contracts import register
from tradefan.execution import Common, Delay, Pass, Shrink, Verdict, View

PARTICIPATION = "participation"


@register("guard", "participation", settings=Common)
class Participation:
    """Own volume stays below a share of all volume in a rolling window.

    room = floor(cap V_w) - own_w - W. Until the window was seen once from its beginning, one smallest clip
    and a quarter of what the other side shows are room.
    """

    def __init__(self, settings: Common) -> None:
        """Keep the settings."""
        self.settings = settings

    def check(self, view: View, lots: int) -> Verdict:
        room = self._room(view)
        if lots <= room:
            return Pass()
        if room < max(view.plan.min_clip, 1):
            return Delay(PARTICIPATION)
        return Shrink(room, PARTICIPATION)

    def _room(self, view: View) -> int:
        volume, touch = view.volume, view.touch
        if not volume.whole:
            shown = 0 if touch is None else touch.ask_lots if view.side == "buy" else touch.bid_lots
            return max(view.plan.min_clip, 1) + shown // 4
        num, den = self.settings.participation_cap.as_integer_ratio()
        return num * volume.window // den - volume.own_window - view.working
