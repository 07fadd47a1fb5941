"""What was declared not to exist does not, and cannot come to exist any more."""

from __future__ import annotations

from collections.abc import Iterator

from tradefan.messages.records import Intent, NotSent, Record, Report, Resolved
from tradefan.sim.checkers.base import LIAR_LAG_NS, Newer, OverRecords, Source
from tradefan.sim.checkers.orders import ENDS, Child, Orders
from tradefan.sim.witness import Kind, VenueEvent, Violation, Witness, Written
from tradefan.units import SECOND

CLOCK_BOUND_NS = SECOND
APART_NS = 5 * SECOND
ADOPT_NS = 15 * SECOND


class NotPlaced(OverRecords):
    """I-16: no RESOLVED NOT_PLACED of an order that exists, or that the venue may still accept.

    Judged at both looks, and these were asked then: the first not before `not_after` (of an earlier epoch:
    its start + the order's deadline) + A + V + 1 s, the second 5 s later, and at neither had the venue the
    create in hand or decided for it. NOT_SENT is proof of the same kind: no create of it was written, or it
    was a replacement that the venue never took, because its cancel failed. A human may err.
    Where he does, and with a liar instead: R5 adopts what is visible within 15 s, counted after the heal;
    also what a human's word has ended (a REPORT) of which the venue had said that it has it.
    """

    invariant: str = "I-16"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "venue", "writes")

    def __init__(self) -> None:
        """Begin without orders."""
        super().__init__()
        self._log, self._writes = Newer(), Newer()
        self._events: dict[str, list[VenueEvent]] = {}
        self._left: dict[str, Written] = {}

    def begin(self) -> None:
        self._orders = Orders()
        self._denied: dict[str, Resolved | NotSent] = {}
        """What was declared not to exist, and has not been adopted since."""
        self._ended: dict[str, int] = {}
        """When a human's word ended what was known to exist, in the world's time."""

    def after_step(self, seen: Witness) -> Violation | None:
        for event in self._log.of(seen.venue.log):
            self._events.setdefault(event.client_order_id, []).append(event)
        for written in self._writes.of(seen.writes):
            if written.op != "cancel" and written.refused is None:
                self._left.setdefault(written.client_order_id, written)
        return super().after_step(seen)

    def take(self, seen: Witness, record: Record) -> Violation | None:
        child = self._orders.take(record)
        if isinstance(record, Report) and record.status in ENDS and _human(record):
            self._ended[record.client_order_id] = self.true_ns(seen, record.at_ns)
        if child is None or not isinstance(record, NotSent | Resolved):
            return None
        if isinstance(record, Resolved) and record.verdict == "PLACED":
            self._denied.pop(child.client_order_id, None)
            self._ended.pop(child.client_order_id, None)
            return None
        self._denied[child.client_order_id] = record
        if isinstance(record, NotSent):
            return self._not_sent(seen, record)
        exempt = _human(record) or not seen.venue.honest
        return None if exempt else self._not_placed(seen, record, child)

    def _not_sent(self, seen: Witness, record: NotSent) -> Violation | None:
        name = record.client_order_id
        written = self._left.get(name)
        accepted = any(event.what == "accepted" for event in self._events.get(name, ()))
        could = accepted or seen.venue.may_accept(name)
        if written is None or (written.op == "replace" and not could):
            return None
        expected = f"NOT_SENT ({record.reason}) only of what was never written"
        return self.broken(seen, expected, f"{name} written at {written.at_ns} ns")

    def _not_placed(self, seen: Witness, record: Resolved, child: Child) -> Violation | None:
        name, first, second = record.client_order_id, record.first_look_ns, record.second_look_ns
        if first is None or second is None:
            return self.broken(seen, f"two looks behind NOT_PLACED of {name}", (first, second))
        earliest_ns = self._earliest(seen, child)
        if first < earliest_ns:
            return self.broken(seen, f"a first look for {name} at {earliest_ns} ns or later", f"{first} ns")
        if second - first < APART_NS:
            return self.broken(seen, f"a second look for {name} {APART_NS} ns later", f"{second - first} ns")
        for look_ns in (first, second):
            if seen.asked and self.true_ns(seen, look_ns) not in seen.asked:
                return self.broken(seen, f"a look for {name} that was asked at {look_ns} ns", "none was")
        if seen.venue.may_accept(name):
            return self.broken(seen, f"{name} not to be acceptable any more", "it is on its way in the venue")
        return self._decided(seen, name, self.true_ns(seen, first))

    def _earliest(self, seen: Witness, child: Child) -> int:
        intent: Intent | None = child.intent
        assert intent is not None, "only an INTENT is ever in doubt as a create"
        deadline_ns = intent.not_after_ns
        if child.epoch != self._orders.epoch:
            # The wall clock may have jumped between two starts.
            deadline_ns = self._orders.epoch_ns + (intent.not_after_ns - intent.at_ns)
        return deadline_ns + seen.venue.accept_bound_ns + seen.venue.visible_bound_ns + CLOCK_BOUND_NS

    def _decided(self, seen: Witness, name: str, first_ns: int) -> Violation | None:
        """Name an event that shows that the venue had it, or still had to decide when first asked."""
        for event in self._events.get(name, ()):
            late = event.what in ("create", "rejected") and event.at_ns > first_ns
            if event.what == "accepted" or late:
                expected = f"{name} neither accepted nor undecided at {first_ns} ns"
                return self.broken(seen, expected, f"{event.what} at {event.at_ns} ns")
        return None

    # --- a liar, or a human who errs --------------------------------------------------------------

    def judge(self, seen: Witness) -> Violation | None:
        self.due_ns = None
        for name, due_ns in self._due(seen):
            if seen.now_ns > due_ns:
                return self.broken(seen, f"{name} adopted (R5) by {due_ns} ns", "it is still taken for void")
            self.due_ns = due_ns if self.due_ns is None else min(due_ns, self.due_ns)
        return None

    def _due(self, seen: Witness) -> Iterator[tuple[str, int]]:
        """Give what has to be adopted, and by when."""
        for name, record in self._denied.items():
            due_ns = None if seen.venue.honest and not _human(record) else self._adopt_by(seen, name)
            if due_ns is not None:
                yield name, due_ns
        if not self._ended or seen.healed_ns is None:
            return
        resting = {one.client_order_id for one in seen.venue.orders.values() if one.ended_ns is None}
        for name in (name for name in self._ended if name in resting):
            # A look proves it that was asked late enough to show the end, had there been one.
            since_ns = self._ended[name] + CLOCK_BOUND_NS + self._visible_ns(seen)
            yield name, max(since_ns, seen.healed_ns) + ADOPT_NS

    def _adopt_by(self, seen: Witness, name: str) -> int | None:
        """Return by when an order has to be adopted: nobody can look while links and process are down.

        One that ended without a fill leaves nothing that a look would show.
        """
        events = self._events.get(name, ())
        accepted = [event.at_ns for event in events if event.what == "accepted"]
        if not accepted or seen.healed_ns is None:
            return None
        happened = {event.what for event in events}
        if happened & {"canceled", "expired"} and "fill" not in happened:
            return None
        return max(accepted[0] + self._visible_ns(seen), seen.healed_ns) + ADOPT_NS

    def _visible_ns(self, seen: Witness) -> int:
        return seen.venue.visible_bound_ns + (0 if seen.venue.honest else LIAR_LAG_NS)

    def at_rest(self, seen: Witness) -> Violation | None:
        return self.judge(seen)


def _human(record: Resolved | NotSent | Report) -> bool:
    """Say whether a record is a human's word."""
    said = record.evidence if isinstance(record, Resolved) else record.reason
    return said.startswith("human")
