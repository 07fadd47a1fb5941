"""How often an owner sends: `risk.orders_per_second`, counted at the venue's link."""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from tradefan.messages.records import Intent, Record
from tradefan.sim.checkers.base import Newer, OverRecords, Source
from tradefan.sim.checkers.sends import is_create
from tradefan.sim.witness import Kind, Violation, Witness, Written
from tradefan.units import SECOND, OwnerId


class _Create(Struct, frozen=True):
    """What an INTENT says of a create: whose it is, when it was decided, and under which limit."""

    owner: OwnerId
    at_ns: int
    limit: int
    late_ns: int
    """For how long behind that it may wait for the disk and the link."""


class OrdersPerSecond(OverRecords):
    """I-20: of the creates of one owner that have left, at most `orders_per_second` belong to one second.

    Counted is what the venue's link has written, over all lives; a replacement counts, a cancel does not.
    The limit is that of the configuration of the newest INTENT among these: one that was lowered binds
    from the next order on. The disk may bunch what was decided apart. So each is counted at the instant of
    its INTENT, and by the link's own clock no second has more than the seconds in which its creates can
    have been decided.
    """

    invariant: str = "I-20"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "writes")

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__()
        self._writes = Newer()
        self._sent: dict[OwnerId, deque[tuple[int, _Create]]] = {}
        """What has left lately, and when, by owner."""

    def begin(self) -> None:
        self._asked: dict[str, _Create] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Intent):
            limit = seen.configs.get(record.config_id, seen.config).risk.orders_per_second
            at_ns, late_ns = self.true_ns(seen, record.at_ns), record.not_after_ns - record.at_ns
            self._asked[record.client_order_id] = _Create(record.owner, at_ns, limit, late_ns)
        return None

    def judge(self, seen: Witness) -> Violation | None:
        for written in self._writes.of(seen.writes):
            create = self._asked.get(written.client_order_id)
            # One without an INTENT is I-04's.
            if is_create(written) and create is not None and (broken := self._count(seen, written, create)):
                return broken
        return None

    def _count(self, seen: Witness, written: Written, create: _Create) -> Violation | None:
        sent = self._sent.setdefault(create.owner, deque())
        sent.append((written.at_ns, create))
        while sent[0][0] <= written.at_ns - SECOND - create.late_ns:
            sent.popleft()
        who = f"of {create.owner} up to {written.client_order_id}"
        decided = sum(create.at_ns - SECOND < one.at_ns <= create.at_ns for _, one in sent)
        if decided > create.limit:
            return self.broken(seen, f"at most {create.limit} creates {who} decided in a second", decided)
        left = [one for at_ns, one in sent if at_ns > written.at_ns - SECOND]
        # Decided in so many seconds, each of which has its limit.
        seconds = -(-(SECOND + max(one.late_ns for one in left)) // SECOND)
        most = seconds * max(one.limit for one in left)
        if len(left) > most:
            return self.broken(seen, f"at most {most} creates {who} written in a second", len(left))
        return None
