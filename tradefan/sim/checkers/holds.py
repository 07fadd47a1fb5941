"""What has to stop new orders in time: a doubt that nobody clears up, and a journal that does not write."""

from __future__ import annotations

from typing import Any

from tradefan.messages.records import Epoch, InDoubt, Record
from tradefan.sim.checkers.base import Newer, OverRecords, Source, oms_of
from tradefan.sim.checkers.modes import Modes
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import MINUTE, MS, SECOND, AccountId

ALARM_MIN_NS = MINUTE
BEHIND_R4_NS = 30 * SECOND
CLOCK_BOUND_NS = SECOND
JOURNAL_NS = 100 * MS
ALL, CANCEL_ONLY = "all", "CANCEL_ONLY"
ALARMS = ("doubt_alarm", "order_missing")
"""Either tells a human of the order, and is behind its hold."""


class _Late:
    """Says what is late: what still is behind the whole of the first instant with steps at or after its due.

    A process that stood still, or makes short steps, is not done with its first step at an instant.
    """

    def __init__(self) -> None:
        """Begin with nothing due."""
        self._seen: dict[Any, int] = {}

    def is_late(self, key: object, due_ns: int, now_ns: int) -> tuple[bool, int]:
        """Say whether it is late now, and when to look again."""
        if now_ns < due_ns:
            return False, due_ns
        first_ns = self._seen.setdefault(key, now_ns)
        return now_ns > first_ns, first_ns + 1

    def forget(self, key: object) -> None:
        """It is in order."""
        self._seen.pop(key, None)


class DoubtHolds(OverRecords):
    """R4: at `doubt_alarm` an order in doubt is alarmed, and its instrument CANCEL_ONLY until that ends.

    Counted from the doubt's record, and from the newest EPOCH where that is of an earlier one: a wall clock
    may have jumped between. What is in doubt is State's word, how long the records'.
    """

    invariant: str = "R4"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("records", "logs")

    def __init__(self) -> None:
        """Begin without alarms."""
        super().__init__()
        self._logs = Newer()
        self._told: dict[str, None] = {}
        """Of which orders this order manager has told a human."""
        self._oms: Any = None

    def begin(self) -> None:
        self._modes, self._late = Modes(), _Late()
        self._begun: dict[str, tuple[AccountId, int]] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._modes.take(record)
        if isinstance(record, InDoubt):
            self._begun[record.client_order_id] = record.account, record.at_ns
            self._late.forget(record.client_order_id)
            self._told.pop(record.client_order_id, None)
        elif isinstance(record, Epoch):
            self._begun = {name: (account, record.at_ns) for name, (account, _) in self._begun.items()}
            self._late = _Late()
        return None

    def judge(self, seen: Witness) -> Violation | None:
        self.due_ns = None
        oms = oms_of(seen)
        if oms is None:
            return None
        if oms is not self._oms:
            self._oms, self._told = oms, {}
        for _, line in self._logs.of(seen.logs):
            if line.event in ALARMS and line.level == "critical":
                self._told[str(line.fields["client_order_id"])] = None
        for name, (account, begun_ns) in list(self._begun.items()):
            order = oms.trading.orders.get(name)
            if order is None or order.in_doubt is None:
                del self._begun[name]
                continue
            due_ns = begun_ns + self._patience_ns(seen, account) - seen.skew_ns
            late, again_ns = self._late.is_late(name, due_ns, seen.now_ns)
            trouble = self._trouble(name, order.instrument) if seen.now_ns >= due_ns else ""
            if not trouble and seen.now_ns >= due_ns:
                self._late.forget(name)
                continue
            if late:
                return self.broken(seen, f"alarm and HOLD for {name}, in doubt, by {due_ns} ns", trouble)
            self.due_ns = again_ns if self.due_ns is None else min(again_ns, self.due_ns)
        return None

    def _patience_ns(self, seen: Witness, account: AccountId) -> int:
        # The bounds as they are declared, to the millisecond; the venue keeps them to the nanosecond.
        config = seen.config.accounts[account]
        r4_ns = config.order_deadline + config.accept_bound + config.visible_bound + CLOCK_BOUND_NS
        return max(ALARM_MIN_NS, r4_ns + BEHIND_R4_NS)

    def _trouble(self, name: str, instrument: str) -> str:
        """Return what is missing."""
        held = self._modes.of((instrument,)).get(instrument, {}).get("hold")
        if held != CANCEL_ONLY:
            return f"{instrument} held by {held}"
        return "" if name in self._told else "no alarm"


class JournalStops(OverRecords):
    """ST-03: 100 ms behind a failed call on the journal's files, `all` is CANCEL_ONLY for the journal.

    So it is that long behind `durable_timeout` without a word from the disk while records wait. Whoever
    starts in between asks the journal anew.
    """

    invariant: str = "ST-03"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("records", "disk")

    def __init__(self) -> None:
        """Begin with a disk that works."""
        super().__init__()
        self._errors = Newer()
        self._late = _Late()
        self._failed: tuple[int, Any] | None = None
        """When a call failed first, and the State of whoever was to hear of it."""
        self._waits: tuple[int, int, Any] | None = None
        """Since when records wait, behind which durable lsn, and likewise."""

    def begin(self) -> None:
        self._modes = Modes()

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._modes.take(record)
        return None

    def judge(self, seen: Witness) -> Violation | None:
        oms, errors = oms_of(seen), self._errors.of(seen.disk_errors)
        self.due_ns = None
        if self._failed is not None and self._failed[1] is not oms:
            self._failed = None
        if errors and oms is not None and self._failed is None:
            self._failed = errors[0], oms
        self._follow(seen, oms)
        if oms is None or self._modes.of((ALL,)).get(ALL, {}).get("journal") == CANCEL_ONLY:
            self._failed = None
            self._late = _Late()
            return None
        silent = None if self._waits is None else self._waits[0] + seen.config.journal.durable_timeout
        for what, since_ns in (
            ("a failed call", None if self._failed is None else self._failed[0]),
            ("a silent disk", silent),
        ):
            broken = None if since_ns is None else self._look(seen, what, since_ns)
            if broken is not None:
                return broken
        return None

    def _follow(self, seen: Witness, oms: Any) -> None:  # noqa: ANN401 the order manager's State
        """Note since when records wait without a word from the disk."""
        durable = None if oms is None else oms.live.outbox.durable
        if durable is None or oms.trading.lsn <= durable:
            self._waits = None
        elif self._waits is None or self._waits[1:] != (durable, oms):
            self._waits = seen.now_ns, durable, oms
            self._late.forget("a silent disk")

    def _look(self, seen: Witness, what: str, since_ns: int) -> Violation | None:
        due_ns = since_ns + JOURNAL_NS
        late, again_ns = self._late.is_late(what, due_ns, seen.now_ns)
        if late:
            expected = f"CANCEL_ONLY by {due_ns} ns behind {what} of the journal"
            return self.broken(seen, expected, self._modes.of((ALL,)) or "no mode")
        self.due_ns = again_ns if self.due_ns is None else min(again_ns, self.due_ns)
        return None
