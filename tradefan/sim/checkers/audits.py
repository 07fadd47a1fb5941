"""What a human asks for is written down with who asked, before anything comes of it (I-35)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tradefan.messages.orders import Phase
from tradefan.messages.records import (
    Assign,
    Audit,
    Parent,
    PhaseChange,
    PoisonResolved,
    Record,
    Resume,
)
from tradefan.sim.checkers.base import Newer, Source, Watch
from tradefan.sim.witness import Kind, Violation, Witness

HUMANS = ("api", "cli")
KERNEL = "kernel"


class AuditedFirst(Watch):
    """I-35: what a human has changed has an AUDIT with a principal in the transaction of its effect.

    A parent, a pause, a kill that is lifted, a position that is given away, a poison that is resolved: the
    records of one transaction are durable together, and nothing leaves before they are (I-04).
    """

    invariant: str = "I-35"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("records",)

    def __init__(self) -> None:
        """Begin before the first transaction."""
        self._appends = Newer()

    def at_start(self, seen: Witness) -> Violation | None:
        # What a crash may have taken back was judged in its own step, or never came so far.
        self._appends.of(seen.appends)
        return None

    def after_step(self, seen: Witness) -> Violation | None:
        for first, last in self._appends.of(seen.appends):
            broken = self._judge(seen, seen.records[first - 1 : last])
            if broken is not None:
                return broken
        return None

    def _judge(self, seen: Witness, records: Sequence[Record]) -> Violation | None:
        audits = [one for one in records if isinstance(one, Audit)]
        for audit in audits:
            if not audit.principal:
                return self.broken(seen, f"who asked for {audit.action} of {audit.subject}", "nobody")
        for record in records:
            rule = _RULES.get(type(record))
            wanted = None if rule is None else rule(record)
            if wanted is not None and not any(_is_of(audit, *wanted) for audit in audits):
                found = [f"{one.action} of {one.subject}" for one in audits]
                return self.broken(seen, f"an AUDIT of {wanted[0]} of {wanted[1]} beside it", found)
        return None


def _is_of(audit: Audit, action: str, subject: str) -> bool:
    names = (audit.subject, *audit.parent_ids)
    return audit.action == action and not audit.code and subject in names


def _parent(record: Parent) -> tuple[str, str] | None:
    return ("SubmitOrder", record.order.parent_id) if record.order.owner in HUMANS else None


def _phase(record: PhaseChange) -> tuple[str, str] | None:
    asked = record.phase is Phase.PAUSED and record.reason.startswith("user")
    return ("PauseOrder", record.parent_id) if asked else None


def _resume(record: Resume) -> tuple[str, str] | None:
    return None if record.principal == KERNEL else ("ResumeTrading", record.scope)


_RULES: dict[type[Any], Callable[[Any], tuple[str, str] | None]] = {
    Parent: _parent,
    PhaseChange: _phase,
    Resume: _resume,
    Assign: lambda record: ("AssignPosition", record.instrument),
    PoisonResolved: lambda record: ("ResolveOrder", record.fact_key),
}
"""Which wish an effect comes of, and about what; None where no human has to have asked."""
