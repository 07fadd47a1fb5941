"""How a store follows its journal for the whole life of a process, while its links come and go.

What was stored ahead of the journal's end goes before the first row is written: later nobody can tell it
from what this process has told and not yet journaled. The same where the order manager begins again inside
the process: what its predecessor told goes that the journal has not.

A process may die before it comes to the store, and a loss of power may take out of the store again that
something went: then other records have those numbers. So the store notes up to where its rows are proven,
and the journal's epochs tell where the life ended that came behind.

Rows move the store's place only behind a catch-up that succeeded: they would hide for ever that older
ones are missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from tradefan.errors import Outage, Refused
from tradefan.messages.control import StoreAck, StoreBatch
from tradefan.stores.journal import JournalFile
from tradefan.stores.projection import Place, begin, catch_up, place_of
from tradefan.stores.sqlite import StoreFile

Source = Callable[[], contextlib.AbstractContextManager[JournalFile] | None]
"""Opens the journal that a store follows, None where there is none yet."""


class Following:
    """What a process knows of its store's place; made before anything of the process writes a journal."""

    def __init__(self, source: Source) -> None:
        """Note where the journal ends; of one that cannot be read now the store keeps all that it has."""
        self._source = source
        self._whole = False
        self._base: int | None = None
        """Behind it lie the records of the life that tells now, once what was ahead is gone."""
        self._place: Place | None = None
        with contextlib.suppress(Outage, Refused):
            opened = source()
            if opened is not None:
                with opened as journal:
                    self._place = place_of(journal)

    def store(self, file: StoreFile, batch: StoreBatch) -> StoreAck:
        """Write a batch; an empty one asks to catch up with the journal first, for volumes or for bars.

        Raises:
            Outage: the store's disk; the same batch may come again.
        """
        if self._place is not None:
            begin(file, self._place, self._told(file))
            self._base, self._place = self._place.end_lsn, None
        if batch.forget_lsn is not None:
            # What the journal has told its owner may not be on the disk yet: that proves nothing.
            file.forget_unjournaled(batch.forget_lsn, min(file.proven_lsn or 0, batch.forget_lsn))
            self._base = batch.forget_lsn
        if batch.ask is not None:
            return StoreAck(batch.batch_id, 0, None, file.applied_lsn, file.volumes(batch.ask))
        if batch.bars is not None:
            return StoreAck(batch.batch_id, 0, None, file.applied_lsn, (), file.joining(batch.bars))
        if not batch.rows:
            return self._catch_up(file, batch.batch_id)
        return file.write(batch if self._whole else replace(batch, applied_lsn=None))

    def _told(self, file: StoreFile) -> int | None:
        """Return where the life ended whose rows came last; None in a file that was never asked.

        Too much may go, which the journal gives again: what is not proven, of one that cannot be read now.
        """
        proven = file.proven_lsn
        if proven is None:
            return None
        with contextlib.suppress(Outage, Refused):
            opened = self._source()
            if opened is not None:
                with opened as journal:
                    return journal.epoch_end(proven)
        return proven

    def _prove(self, file: StoreFile, journal: JournalFile, lsn: int) -> None:
        """Note how far the rows tell of the journal, within one life: another one's may be ahead."""
        base = self._base
        if base is not None and base < lsn <= journal.epoch_end(base + 1):
            file.prove(lsn)

    def _catch_up(self, file: StoreFile, batch_id: int) -> StoreAck:
        """Catch up and say how far; a journal that cannot be read is said, not fatal."""
        reason, self._whole = None, False
        try:
            opened = self._source()
            if opened is not None:
                with opened as journal:
                    last = journal.last_lsn
                    catch_up(file, journal)
                    self._prove(file, journal, last)
            self._whole = True
        except (Outage, Refused) as error:
            reason = str(error)
        return StoreAck(batch_id, 0, reason, file.applied_lsn)


def follow(journal: str | None) -> Following:
    """Return how a store follows the journal at a path, to be read beside its writer."""
    return Following(reading(journal))


def reading(journal: str | None) -> Source:
    """Return what opens the journal at a path, to be read beside its writer."""

    def open_journal() -> contextlib.AbstractContextManager[JournalFile] | None:
        if journal is None or not Path(journal).exists():
            return None
        return contextlib.closing(JournalFile(journal, read_only=True))

    return open_journal
