"""How a market order that has to be done is placed: as `take`, and then again each second."""

from __future__ import annotations

from typing import Annotated, ClassVar

from tradefan.execution import Command, Common, Spent, View, Wake
from tradefan.executors.tactics import Take, take
from tradefan.setting import unit
from tradefan.units import SECOND


class Insisting(Common, frozen=True, kw_only=True):
    """How long a market order goes on where it cannot act: the word of what fires it, not of its owner."""

    private: ClassVar[tuple[str, ...]] = ("insist", "tries_end")

    insist: Annotated[bool, unit("flag", "goes on each second where it cannot act, and behind its tries")] = (
        False
    )
    tries_end: Annotated[bool, unit("flag", "its tries end it all the same")] = False


class Insist:
    """Take within the collar, which follows the mid; behind `tries`, or without a price, once a second."""

    def __init__(self, settings: Insisting) -> None:
        """Keep the settings."""
        self.settings = settings
        self._take = Take(settings)

    def act(self, view: View) -> tuple[Command, ...]:
        acted = self._take.act(view)
        spent = next((one for one in acted if isinstance(one, Spent)), None)
        if spent is None or spent.reason == "dust" or (spent.reason == "tries" and self.settings.tries_end):
            return acted
        due_ns = (view.last_end_ns or 0) + SECOND
        if view.now_ns < due_ns:
            return (Wake(due_ns),)
        again = take(view, self.settings, None)
        return (Wake(view.now_ns + SECOND),) if any(isinstance(one, Spent) for one in again) else again
