"""`vwap`: the share of the day's volume, by a curve of earlier days, live or not."""

from __future__ import annotations

from tradefan.contracts import register
from tradefan.execution import Recipe
from tradefan.executors.composed import Composed, tactic_of
from tradefan.executors.guards import Participation
from tradefan.executors.pacings import Times
from tradefan.executors.trajectories import Curve, Curved, LiveCurve


@register("executor", "vwap", settings=Curved)
class Vwap(Composed[Curved]):
    """The share of the day's volume that has traded by then; `mode: dynamic` follows what trades."""

    def compose(self) -> Recipe:
        settings = self.settings
        static = settings.mode == "static"
        return Recipe(
            settings,
            Curve(settings) if static else LiveCurve(settings),
            Times(settings),
            tactic_of(settings),
            (Participation(settings),),
            unread=("prior_buckets",) if static else (),
        )
