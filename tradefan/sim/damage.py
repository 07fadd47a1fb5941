"""Damage to a copy of the dead process's disk: I-46 without ruining the world that goes on.

At any byte it ends in all rows that were ever acknowledged, in a refusal, or in a loss that is said, behind
which no id is made a second time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from random import Random

from tradefan.errors import Outage, Refused
from tradefan.messages.records import Epoch, Record
from tradefan.sim.disk import DamageKind, SimDisk
from tradefan.sim.witness import Violation
from tradefan.stores.journal import JournalFile

INVARIANT = "I-46"
KINDS: tuple[DamageKind, ...] = ("flip", "flip", "flip", "cut", "remove", "old")


def copy_of(disk: SimDisk, seed: int) -> SimDisk:
    """Return another disk with the same files, all of them on the platter."""
    twin = SimDisk(seed)
    for path in disk.paths():
        twin.plain(path, disk.peek(path))
    return twin


def probe(
    disk: SimDisk,
    journal: str,
    acknowledged: Sequence[Record],
    old: Mapping[str, bytes],
    rng: Random,
    now_ns: int,
) -> tuple[str, Violation | None]:
    """Harm a copy, open the journal on it, and judge; return what was done, and what is broken.

    `old` is what the files of the journal held at an earlier start of the process.
    """
    twin = copy_of(disk, rng.randrange(2**31))
    try:
        text = _harm(twin, journal, old, rng)
        found = _outcome(twin, journal, acknowledged)
    finally:
        twin.close()
    if found is None:
        return text, None
    expected = f"all {len(acknowledged)} rows, a refusal or a reported loss behind {text}"
    return text, Violation(INVARIANT, now_ns, expected, found)


def _harm(twin: SimDisk, journal: str, old: Mapping[str, bytes], rng: Random) -> str:
    paths = [path for path in twin.paths() if path.startswith(journal)]
    kind = rng.choice(KINDS)
    if kind == "old" and old:
        # A restored backup of the database; its mark file is the present one.
        for path in (journal, f"{journal}-wal"):
            if twin.exists(path):
                twin.damage("remove", path)
            if path in old:
                twin.plain(path, old[path])
        return "an old copy"
    if kind == "remove":
        return twin.damage("remove", rng.choice([path for path in paths if path != journal] or paths))
    full = [path for path in paths if twin.peek(path)]
    return twin.damage("flip" if kind == "old" else kind, rng.choice(full))


def _outcome(twin: SimDisk, journal: str, acknowledged: Sequence[Record]) -> str | None:
    """Return what is wrong with what the journal makes of the harm, None where it is fine."""
    try:
        with contextlib.closing(JournalFile(journal, disk=twin)) as file:
            told = [row.record for row in file.rows()]
            recovered = file.recover()
    except (Refused, Outage):
        return _accepted(twin, journal, acknowledged)
    if told[: len(acknowledged)] != list(acknowledged):
        return f"{len(told)} rows, of which {_same(told, acknowledged)} are those acknowledged"
    tail = list(recovered.records)
    if tail != told[recovered.snapshot_lsn :]:
        return f"a recovery from lsn {recovered.snapshot_lsn} with {len(tail)} of {len(told)} rows"
    return None


def _accepted(twin: SimDisk, journal: str, acknowledged: Sequence[Record]) -> str | None:
    """Go on behind a refusal as `--accept-loss` does: it always opens, and what is missing then is said."""
    try:
        with contextlib.closing(JournalFile(journal, disk=twin, accept_loss=True)) as file:
            found, lost, epoch = file.recover(), file.lost(), file.epoch
    except (Refused, Outage) as error:
        # A flip may make it look like another program's, which would believe more than we do.
        if isinstance(error, Refused) and error.code in ("JOURNAL_NEWER", "JOURNAL_OLDER"):
            return None
        return f"a loss that cannot be accepted: {error}"
    # What lies before its snapshot recovery does not need: the background says what is wrong there.
    same = found.snapshot_lsn + _same(found.records, acknowledged[found.snapshot_lsn :])
    if same < len(acknowledged) and not lost:
        return f"{same} rows accepted, and nothing said of the others"
    used = max((record.epoch for record in acknowledged if isinstance(record, Epoch)), default=0)
    return f"ids of epoch {epoch + 1} to come, although {used} was used" if epoch < used else None


def _same(told: Sequence[Record], acknowledged: Sequence[Record]) -> int:
    """Count the acknowledged rows that are there, from the first on."""
    pairs = zip(told, acknowledged, strict=False)
    return next(
        (index for index, (one, other) in enumerate(pairs) if one != other), min(len(told), len(acknowledged))
    )
