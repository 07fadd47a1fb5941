"""What leaves for the venue: once, from a durable INTENT, with a rising epoch, only to our own orders."""

from __future__ import annotations

from collections.abc import Sequence

from tradefan.messages.records import Epoch, ExternalOrder, Intent, Kill, Record
from tradefan.sim.checkers.base import Newer, OverRecords, Source, Watch
from tradefan.sim.witness import Kind, Violation, Witness, Written

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def epoch_of(client_order_id: str) -> int:
    """Return the epoch in an id: four base32 characters behind the instance's three."""
    number = 0
    for letter in client_order_id[3:7]:
        number = number * 32 + _ALPHABET.index(letter)
    return number


class OneCreate(Watch):
    """I-01: at most one create per client id leaves, and at most one arrives at the venue.

    Counted in the write log and in the venue's log, over all lives; a replacement is a create too.
    """

    invariant: str = "I-01"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("venue", "writes")

    def __init__(self) -> None:
        """Begin without any."""
        self._log, self._writes = Newer(), Newer()
        self._arrived: dict[str, int] = {}
        self._left: dict[str, int] = {}

    def after_step(self, seen: Witness) -> Violation | None:
        arrived = [
            (one.client_order_id, one.at_ns) for one in self._log.of(seen.venue.log) if one.what == "create"
        ]
        left = [(one.client_order_id, one.at_ns) for one in self._writes.of(seen.writes) if is_create(one)]
        return self._twice(seen, self._left, left, "left") or self._twice(
            seen, self._arrived, arrived, "arrived"
        )

    def _twice(
        self, seen: Witness, known: dict[str, int], fresh: Sequence[tuple[str, int]], what: str
    ) -> Violation | None:
        for name, at_ns in fresh:
            if name in known:
                found = f"two {what}, at {known[name]} and at {at_ns} ns"
                return self.broken(seen, f"at most one create of {name}", found)
            known[name] = at_ns
        return None


class DurableIntent(Watch):
    """I-04: every create that left had an INTENT that was durable before, and left by its deadline.

    The INTENT is looked up among what the journal has acknowledged; its lsn is at most what was
    acknowledged in the statement of the write.
    """

    invariant: str = "I-04"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("writes",)

    def __init__(self) -> None:
        """Begin without any."""
        self._acknowledged, self._writes = Newer(), Newer()
        self._intents: dict[str, tuple[int, Intent]] = {}

    def after_step(self, seen: Witness) -> Violation | None:
        lsn = self._acknowledged.count
        for record in self._acknowledged.of(seen.acknowledged):
            lsn += 1
            if isinstance(record, Intent):
                self._intents.setdefault(record.client_order_id, (lsn, record))
        for written in self._writes.of(seen.writes):
            if is_create(written) and (broken := self._judge(seen, written)):
                return broken
        return None

    def _judge(self, seen: Witness, written: Written) -> Violation | None:
        name, durable = written.client_order_id, written.durable_lsn
        lsn, intent = self._intents.get(name, (None, None))
        if lsn is None or intent is None or lsn > durable:
            found = f"lsn {lsn} with {durable} durable when it left"
            return self.broken(seen, f"a durable INTENT of {name}", found)
        left_ns = written.at_ns + seen.skew_ns
        if written.life == seen.life and left_ns > intent.not_after_ns:
            return self.broken(seen, f"{name} written by {intent.not_after_ns} ns", f"{left_ns} ns")
        return None


class OwnTarget(OverRecords):
    """I-17: a cancel or a replacement names an order that we have placed, `external` ones only by the flag.

    Own is what any INTENT ever named, whether or not a crash took it; the flag is a KILL record with
    `including_external`, and holds for orders that an EXTERNAL record named.
    """

    invariant: str = "I-17"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "writes")

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__()
        self._writes = Newer()
        self._own: dict[str, str | None] = {}
        self._external: dict[str, None] = {}
        self._flagged = False

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Intent):
            self._own[record.client_order_id] = record.replaces
        elif isinstance(record, ExternalOrder):
            self._external[record.client_order_id] = None
        elif isinstance(record, Kill):
            self._flagged = self._flagged or record.including_external
        return None

    def judge(self, seen: Witness) -> Violation | None:
        for written in self._writes.of(seen.writes):
            target: str | None = written.client_order_id
            if written.op == "replace":
                target = self._own.get(written.client_order_id)
            if written.op == "create" or written.refused is not None or target in self._own:
                continue
            if not (self._flagged and target in self._external):
                expected = "an order of ours as the target of a " + written.op
                return self.broken(seen, expected, f"{target} (written for {written.client_order_id})")
        return None


class RisingEpoch(Watch):
    """I-18: the epochs in the ids of creates never go back, and each was durable before its first create.

    So a second daemon, or a predecessor that still writes, is seen by the order of ids at the link.
    """

    invariant: str = "I-18"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("writes",)

    def __init__(self) -> None:
        """Begin below every epoch."""
        self._acknowledged, self._writes = Newer(), Newer()
        self._durable: dict[int, int] = {}
        self._instance = ""
        self._newest = -1

    def after_step(self, seen: Witness) -> Violation | None:
        lsn = self._acknowledged.count
        for record in self._acknowledged.of(seen.acknowledged):
            lsn += 1
            if isinstance(record, Epoch):
                self._durable.setdefault(record.epoch, lsn)
        for written in self._writes.of(seen.writes):
            if is_create(written) and (broken := self._judge(seen, written)):
                return broken
        return None

    def _judge(self, seen: Witness, written: Written) -> Violation | None:
        name = written.client_order_id
        epoch, instance = epoch_of(name), name[:3]
        if epoch < self._newest or instance != (self._instance or instance):
            expected = f"an id of {self._instance} with an epoch of at least {self._newest}"
            return self.broken(seen, expected, f"{name} with epoch {epoch}")
        self._newest, self._instance = epoch, instance
        lsn = self._durable.get(epoch)
        if lsn is None or lsn > written.durable_lsn:
            found = f"lsn {lsn} with {written.durable_lsn} durable when {name} left"
            return self.broken(seen, f"a durable EPOCH {epoch}", found)
        return None


def is_create(written: Written) -> bool:
    """Say whether something left that may become an order."""
    return written.op != "cancel" and written.refused is None
