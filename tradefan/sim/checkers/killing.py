"""A kill: nothing leaves behind its acknowledgement, what rests goes, and no crash opens what shall last."""

from __future__ import annotations

from msgspec import Struct

from tradefan.messages.records import Intent, Kill, Record, Resume
from tradefan.sim.checkers.base import Newer, OverRecords, Source
from tradefan.sim.checkers.healing import not_gone
from tradefan.sim.checkers.modes import scopes_of
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.checkers.sends import is_create
from tradefan.sim.witness import KillSeen, Kind, Violation, Witness, Written
from tradefan.units import SECOND

ALL, BY_BYTE = "all", "journal"
"""The scope of everything, and the principal of the kill that a start finds in the byte alone."""
STALE_NS = SECOND
"""A kill is answered within 200 ms: an answer this close behind a RESUME is of the kill before it."""


class Closed(Struct):
    """A scope that was acknowledged as closed, before write number `writes`; `life` None: in all lives."""

    at_ns: int
    life: int | None
    writes: int


class _Scopes(OverRecords):
    """Follows which scopes KILL and RESUME records leave closed."""

    watches: tuple[Source, ...] = ("records", "writes", "kills")

    def __init__(self) -> None:
        """Begin open."""
        self.kills, self.writes = Newer(), 0
        super().__init__()

    def begin(self) -> None:
        self.recorded: dict[str, Closed] = {}
        self.resumes: dict[str, int] = {}
        self._resumed_ns: dict[str, int] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Kill):
            self.recorded[record.scope] = Closed(seen.now_ns, None, self.writes)
        elif isinstance(record, Resume):
            self.recorded.pop(record.scope, None)
            self.resumes[record.scope] = self.resumes.get(record.scope, 0) + 1
            self._resumed_ns[record.scope] = seen.now_ns
        return None

    def lost_before(self, seen: Witness, record: Record) -> int:
        """Return before when a kill without a record is part of `all` now, 0 for none: so the byte says."""
        if isinstance(record, Kill) and (record.principal, record.scope) == (BY_BYTE, ALL):
            return self.true_ns(seen, record.at_ns)
        return 0

    def acknowledged(self, seen: Witness) -> list[KillSeen]:
        """Return the new acknowledgements of closed scopes that nobody has resumed meanwhile."""
        return [kill for kill in self.kills.of(seen.kills) if kill.answer.closed and not self._stale(kill)]

    def _stale(self, kill: KillSeen) -> bool:
        resumed_ns = self._resumed_ns.get(kill.answer.scope)
        since = resumed_ns is not None and kill.at_ns - resumed_ns <= STALE_NS
        return since and kill.answer.scope not in self.recorded


class NothingBehindKill(_Scopes):
    """I-09: between a kill's acknowledgement and its RESUME no create leaves that has the scope.

    From the very write that follows the answer; where it says `persisted: false`, until the process
    ends. A KILL record closes likewise, from the step behind the one that wrote it. RESUME opens its scope;
    one of `all` also those whose record a crash took, where the byte has closed `all` in their stead.
    Nor does one leave in whose statement the latch is closed: who kills from the rim closes it first. The
    scopes of a create are those of its INTENT, whatever scopes the link was asked with.
    """

    invariant: str = "I-09"
    kind: Kind = "V"

    def __init__(self) -> None:
        """Begin open."""
        super().__init__()
        self._answered: dict[str, Closed] = {}
        self._written = Newer()
        self._scopes: dict[str, tuple[str, ...]] = {}

    def after_step(self, seen: Witness) -> Violation | None:
        """Judge the writes first: what this step has recorded holds from the next one on."""
        for kill in self.acknowledged(seen):
            life = None if kill.answer.persisted else kill.life
            known = self._answered.get(kill.answer.scope)
            if known is None or known.life != kill.life:
                self._answered[kill.answer.scope] = Closed(kill.at_ns, life, kill.writes)
        broken = None
        for written in self._written.of(seen.writes):
            if is_create(written):
                broken = broken or self._judge(seen, written)
            self.writes += 1
        return broken or super().after_step(seen)

    def _judge(self, seen: Witness, written: Written) -> Violation | None:
        for scope in self._scopes.get(written.client_order_id, written.scopes):
            if scope in written.closed:
                expected = f"no create of {scope} while its latch is closed"
                return self.broken(seen, expected, f"{written.client_order_id} written at {written.at_ns} ns")
            for closed in (self._answered.get(scope), self.recorded.get(scope)):
                if closed is None or closed.life not in (None, written.life) or self.writes < closed.writes:
                    continue
                expected = f"no create of {scope} behind the kill at {closed.at_ns} ns"
                return self.broken(seen, expected, f"{written.client_order_id} written at {written.at_ns} ns")
        return None

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Intent):
            self._scopes[record.client_order_id] = scopes_of(record)
        if isinstance(record, Resume):
            self._answered.pop(record.scope, None)
        lost_ns = self.lost_before(seen, record)
        for scope, one in list(self._answered.items()) if lost_ns else ():
            if scope not in self.recorded and one.at_ns < lost_ns:
                del self._answered[scope]
        return super().take(seen, record)


class LatchLasts(_Scopes):
    """I-10: a scope acknowledged as closed and persisted is closed at the boot of every later process.

    Looked at when the journal is folded: the latch holds the scope, or `all`, unless the records hold a
    RESUME of it from behind the acknowledgement. KILL records that are left close alike. When it is
    acknowledged a durable KILL of the scope has to say so, or the kill byte.
    """

    invariant: str = "I-10"
    kind: Kind = "T"

    def __init__(self) -> None:
        """Begin open."""
        super().__init__()
        self._durable = Newer()
        self._closed: dict[str, bool] = {}
        """By scope whether the last durable word is KILL."""
        self._persisted: dict[str, tuple[int, int]] = {}
        """When it was acknowledged, and how often the scope had been resumed by then."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        lost_ns = self.lost_before(seen, record)
        for scope, (at_ns, _) in list(self._persisted.items()) if lost_ns else ():
            if scope not in self.recorded and at_ns < lost_ns:
                del self._persisted[scope]
        return super().take(seen, record)

    def judge(self, seen: Witness) -> Violation | None:
        for record in self._durable.of(seen.acknowledged):
            if isinstance(record, Kill | Resume):
                self._closed[record.scope] = isinstance(record, Kill)
        for kill in self.acknowledged(seen):
            scope = kill.answer.scope
            if not kill.answer.persisted:
                continue
            self._persisted[scope] = (kill.at_ns, self.resumes.get(scope, 0))
            if not seen.kill_byte and not self._closed.get(scope):
                return self.broken(seen, f"a durable KILL of {scope}, or the byte", "persisted by neither")
        return None

    def at_start(self, seen: Witness) -> Violation | None:
        self.after_step(seen)
        closed = {scope: one.at_ns for scope, one in self.recorded.items()}
        for scope, (at_ns, resumes) in self._persisted.items():
            if self.resumes.get(scope, 0) <= resumes:
                closed[scope] = at_ns
        for scope, at_ns in closed.items():
            if scope not in seen.latched and ALL not in seen.latched:
                return self.broken(
                    seen, f"the latch of {scope} closed since {at_ns} ns", f"closed: {seen.latched}"
                )
        return None


class KilledGone(OverRecords):
    """I-37: what a kill finds is asked to cancel: gone at the venue 40 s + A + V after it, or after the heal.

    Every order of ours in the scope that the records do not call ended when KILL is written, one in doubt
    and one that waits too. A RESUME takes nothing of that back. Others' orders may stay, and protection
    that is to be kept. A KILL that a crash took does not count: where the byte lasts, the next start writes
    it again. How it goes at once is in the records: a cancel of each, or that it never left.
    """

    invariant: str = "I-37"
    kind: Kind = "V"

    def begin(self) -> None:
        self._orders = Orders()
        self._killed: dict[str, int] = {}
        """By order when it was to go, in the world's time."""
        self._fresh: dict[str, str] = {}
        """What this step's kills found, by order, and the scope."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._orders.take(record)
        if isinstance(record, Kill):
            at_ns = self.true_ns(seen, record.at_ns)
            for child in self._orders.known.values():
                if _forbidden(child, record):
                    self._killed.setdefault(child.client_order_id, at_ns)
                    self._fresh[child.client_order_id] = record.scope
        return None

    def judge(self, seen: Witness) -> Violation | None:
        fresh, self._fresh = self._fresh, {}
        for name, scope in fresh.items():
            child = self._orders.known[name]
            if not child.cancelled and not child.ended:
                return self.broken(seen, f"a cancel of {name} in the turn that kills {scope}", "none")
        return None

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        return not_gone(self, seen, self._killed)


def _forbidden(child: Child, kill: Kill) -> bool:
    """Say whether a kill lets an order of ours not rest."""
    intent = child.intent
    if intent is None or child.ended or child.rest <= 0 or (kill.keep_protection and intent.reduce_only):
        return False
    account, instrument = child.account, child.instrument
    venues = (account.split(":")[0], instrument.split(":")[0])
    return kill.scope in (ALL, account, instrument, child.owner, *venues)
