"""Fills the witness in as the world runs, runs the checkers, and counts what the report tells.

It costs a share of every step, so it only appends what is new: records on their way to the journal,
what the journal acknowledged, log lines, writes at the venue's link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradefan.messages.control import Append, Durable, KillAnswer, LogLine, Rows
from tradefan.messages.records import Intent, Record
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.system import Cell
from tradefan.sim.witness import Checker, Injected, KillSeen, Violation, Witness

NO_ORDER = "NONE"
"""The column of the coverage matrix for a fault while no order of ours was live."""

SOURCES = ("step", "records", "writes", "venue", "logs", "faults", "kills", "config", "disk")
"""What checkers may watch, each a bit."""
STEP = 1


class Broken(BaseException):
    """An invariant does not hold: the seed ends here. No `Exception`, so that no fence takes it."""

    def __init__(self, violation: Violation) -> None:
        """Keep the violation."""
        super().__init__(str(violation))
        self.violation = violation


class Observer:
    """Sees everything, changes nothing; `durable` is the lsn that the journal acknowledged last."""

    def __init__(self, witness: Witness, checkers: Sequence[Checker]) -> None:
        """Watch with these checkers."""
        self.witness = witness
        self.checkers = tuple(checkers)
        self.durable = 0
        self.orders = 0
        self.coverage: dict[str, dict[str, int]] = {}
        self.folds = 0
        self._generation = -1
        self._known: list[Record] = []
        self.started = False
        self._timed: tuple[Any, ...] = tuple(one for one in checkers if hasattr(one, "due_ns"))
        self._by_change: dict[int, tuple[Checker, ...]] = {}
        self._seen = [0] * len(SOURCES)
        self._oms: Cell | None = None
        self._desk: Cell | None = None

    # --- a life -----------------------------------------------------------------------------------------

    def begin(self, life: int, kernel: Kernel, skew_ns: int) -> None:
        """A process starts: it knows nothing until its journal is folded."""
        seen = self.witness
        seen.life, seen.kernel, seen.skew_ns = life, kernel, skew_ns
        seen.born_ns = kernel.state.now_ns - skew_ns
        seen.oms = seen.desk = None
        self.durable = 0
        self.started = False
        self._generation = -1
        self._oms = kernel.cells[kernel.refs["oms"]]
        self._desk = kernel.cells[kernel.refs["risk_desk"]]

    def end(self) -> None:
        """A process is gone."""
        seen = self.witness
        seen.kernel = seen.oms = seen.desk = None
        self._oms = self._desk = None

    def after_step(self, now_ns: int) -> None:
        """Look at what a step left; the first step behind a fold is looked at twice."""
        seen, oms, desk = self.witness, self._oms, self._desk
        assert oms is not None
        assert desk is not None
        seen.now_ns = now_ns
        if oms.generation != self._generation:
            # A new order manager knows nothing before it has folded.
            self._generation = oms.generation
            self._forget()
        seen.oms = None if oms.actor is None else oms.actor.state
        seen.desk = None if desk.actor is None else desk.actor.state
        if not self.started and seen.oms is not None and seen.oms.live.running:
            self.started = True
            self._all("at_start")
        for checker in self._concerned(now_ns):
            violation = checker.after_step(seen)
            if violation is not None:
                raise Broken(violation)

    def _forget(self) -> None:
        if self.witness.records:
            self._known = self.witness.records
            self.witness.records = []

    def _concerned(self, now_ns: int) -> Sequence[Checker]:
        """Return the checkers that what changed concerns, and those whose time has come."""
        change = self._change()
        concerned = self._by_change.get(change)
        if concerned is None:
            concerned = tuple(one for one in self.checkers if _watches(one) & change)
            self._by_change[change] = concerned
        late = tuple(one for one in self._timed if one.due_ns is not None and one.due_ns <= now_ns)
        return (*concerned, *(one for one in late if one not in concerned)) if late else concerned

    def _change(self) -> int:
        """Return a bit for each source that has changed since the last step."""
        seen, known = self.witness, self._seen
        now = (
            0,
            len(seen.appends) + len(seen.acknowledged) + self.folds,
            len(seen.writes),
            len(seen.venue.log),
            len(seen.logs),
            len(seen.faults),
            len(seen.kills) + len(seen.latched),
            len(seen.configs),
            len(seen.disk_errors),
        )
        change = STEP
        for index, count in enumerate(now):
            if count != known[index]:
                known[index] = count
                change |= 1 << index
        return change

    def at_rest(self, invariants: Sequence[str]) -> None:
        """Look at quiescence, with these invariants only."""
        for checker in self.checkers:
            if checker.invariant in invariants:
                self._check(checker.at_rest(self.witness))

    def _all(self, method: str) -> None:
        for checker in self.checkers:
            self._check(getattr(checker, method)(self.witness))

    def _check(self, violation: Violation | None) -> None:
        if violation is not None:
            raise Broken(violation)

    # --- what passes ------------------------------------------------------------------------------------

    def appended(self, effect: Append) -> None:
        """Records are on their way to the journal."""
        records = self.witness.records
        if effect.first_lsn != len(records) + 1:
            found = f"lsn {effect.first_lsn} behind {len(records)} records"
            raise Broken(Violation("I-08", self.witness.now_ns, "consecutive records", found))
        records += effect.records
        self.witness.appends.append((effect.first_lsn, len(records)))
        for record in effect.records:
            if type(record) is Intent:
                self.orders += 1

    def acknowledged(self, msg: Durable) -> None:
        """Everything up to an lsn survives from now on."""
        self.durable = max(self.durable, msg.lsn)
        known = self.witness.acknowledged
        if msg.lsn > len(known):
            known += self.witness.records[len(known) : msg.lsn]

    def folded(self, msg: Rows) -> None:
        """The journal was read: a snapshot stands for the records that were seen when it was made."""
        seen = self.witness
        self.folds += 1
        seen.records = [*self._behind_snapshot(msg), *msg.records]
        first = len(seen.records) + 1
        seen.skews = [*(one for one in seen.skews if one[0] < first), (first, seen.skew_ns)]
        seen.kill_byte = msg.killed
        self.acknowledged(Durable(msg.durable))

    def answered(self, now_ns: int, answer: KillAnswer) -> None:
        """Whoever asked for a kill is told."""
        seen = self.witness
        seen.kills.append(KillSeen(now_ns, seen.life, answer, len(seen.writes)))

    def _behind_snapshot(self, msg: Rows) -> Sequence[Record]:
        known = self.witness.records or self._known
        if len(known) < msg.snapshot_lsn:
            found = f"one as of lsn {msg.snapshot_lsn}"
            expected = f"a snapshot of the {len(known)} records that were ever written"
            raise Broken(Violation("I-08", self.witness.now_ns, expected, found))
        return known[: msg.snapshot_lsn]

    def logged(self, now_ns: int, line: LogLine) -> None:
        """A line was logged."""
        self.witness.logs.append((now_ns, line))

    def note(self, at_ns: int, kind: str, text: str = "") -> None:
        """Something was injected: remember it, and which states our orders were in."""
        self.witness.faults.append(Injected(at_ns, kind, text))
        row = self.coverage.setdefault(kind, {})
        for status in self._statuses():
            row[status] = row.get(status, 0) + 1

    def _statuses(self) -> Sequence[str]:
        """Return the states of our live orders, each once; an order in doubt counts as `IN_DOUBT` too."""
        oms = self.witness.oms
        if oms is None:
            return ("DOWN",)
        trading = oms.trading
        found: dict[str, None] = {}
        for name in trading.orders_live:
            order = trading.orders[name]
            found[order.status.value] = None
            if order.in_doubt is not None:
                found[f"IN_DOUBT_{order.in_doubt.value}"] = None
        return tuple(found) or (NO_ORDER,)


def _watches(checker: Checker) -> int:
    """Return a bit for each source that a checker watches; without a word it is every step."""
    if checker.kind == "Q":
        return 0
    watched: tuple[str, ...] = getattr(checker, "watches", ("step",))
    return sum(1 << SOURCES.index(source) for source in watched)
