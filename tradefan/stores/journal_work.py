"""What the journal does with what it is sent, whoever keeps the time: the thread, or virtual time.

Records wait in order and are written group by group. A disk that fails loses none of them: it is
tried again each second, `JournalFailed` says why, and until then folds are answered from what can be
read and what waits. The kill byte and folds never wait for a group that cannot be written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.messages.control import (
    Append,
    AskHistory,
    Durable,
    Fold,
    History,
    JournalFailed,
    JournalWorks,
    KillByte,
    KillByteSet,
    Rows,
    Snap,
)
from tradefan.messages.records import Record
from tradefan.stores.backlog import Backlog
from tradefan.stores.chain_check import ChainCheck
from tradefan.stores.journal import GROUP_BYTES_MAX, JournalFile
from tradefan.stores.journal_layout import subject_of
from tradefan.stores.kill_byte import KILL_END, KillByteFile
from tradefan.units import MS, SECOND

RETRY_NS = SECOND
MARK_SYNC_NS = SECOND
CHECK_PAUSE_NS = 10 * MS
"""Between two slices of the background verification: about a tenth of a core, a minute for a million rows."""


class JournalWork:
    """The journal's work on one thread; answers are posted in the order in which they become true.

    `failed` says why the disk cannot be written now, "" where it can. `durable` is what was
    acknowledged; rows that are found again behind a failure count only when the repair has succeeded.
    """

    def __init__(
        self,
        file: JournalFile,
        post: Callable[[Message], None],
        backlog: Backlog,
        *,
        group_bytes_max: int = GROUP_BYTES_MAX,
        retry_ns: int = RETRY_NS,
    ) -> None:
        """Take over an open file."""
        self.file = file
        self.waiting: deque[Append] = deque()
        self.failed = file.base.failing
        self.durable = 0 if self.failed else file.last_lsn
        self._post = post
        self._backlog = backlog
        self._kill = KillByteFile(file.base.disk, file.path + KILL_END)
        self._group_bytes_max = group_bytes_max
        self._retry_ns = retry_ns
        self._snap: Snap | None = None
        self._kills: deque[KillByte] = deque()
        self._asked: deque[Fold | AskHistory] = deque()
        self._check: ChainCheck | None = None
        self._probe_ns = 0
        self._mark_ns = 0
        self._check_ns = 0

    @staticmethod
    def require(effect: Message) -> None:
        """See that something is for a journal.

        Raises:
            Defect: the wiring is wrong.
        """
        if not isinstance(effect, Append | Snap | Fold | AskHistory | KillByte):
            raise Defect(f"the journal does not take {type(effect).__name__}")

    def take(self, effect: Message) -> None:
        """Take what was sent to the journal; nothing is done yet."""
        match effect:
            case Append():
                self.waiting.append(effect)
            case Snap():
                if self._snap is None or effect.lsn >= self._snap.lsn:
                    self._snap = effect
            case KillByte():
                self._kills.append(effect)
            case Fold() | AskHistory():
                self._asked.append(effect)

    # --- what does not wait for a group -----------------------------------------------------------

    def answer(self, now_ns: int) -> None:
        """Write kill bytes, then answer folds and look-ups; what cannot be read now is asked again."""
        while self._kills:
            self._set_kill_byte(self._kills.popleft())
        try:
            while self._asked:
                asked = self._asked[0]
                found = self._rows(asked, now_ns) if isinstance(asked, Fold) else self._history(asked)
                self._post(found)
                self._asked.popleft()
        except Outage as error:
            # What cannot be read is taken up anew like what cannot be written.
            self.file.base.suspect = True
            if not self.failed:
                # A reader who asks again and again does not put the repair off.
                self._fail(str(error), now_ns)

    def _set_kill_byte(self, wish: KillByte) -> None:
        error = None
        try:
            self._kill.put(wish.value)
        except OSError as trouble:
            error = f"{type(trouble).__name__}: {trouble}"
        self._post(KillByteSet(wish.serial, wish.value, error))

    def _rows(self, asked: Fold, now_ns: int) -> Rows:
        found = self.file.recover()
        if self._check is None:
            self._check = ChainCheck(found.snapshot_lsn, *self.file.begin())
            self._check_ns = now_ns + CHECK_PAUSE_NS
        return Rows(
            gen=asked.gen,
            records=(*found.records, *behind(self.waiting, found.last_lsn)),
            durable=min(self.durable, found.last_lsn),
            snapshot=found.snapshot,
            snapshot_lsn=found.snapshot_lsn,
            killed=self._kill.value,
            failing=self.failed or None,
            lost=self.file.lost(),
            epoch=self.file.epoch,
        )

    def _history(self, asked: AskHistory) -> History:
        waiting = behind(self.waiting, self.file.last_lsn)
        ours = (record for record in waiting if subject_of(record) == asked.subject)
        return History(asked.subject, (*self.file.history(asked.subject), *ours), asked.fact)

    # --- groups -----------------------------------------------------------------------------------

    def ready(self, now_ns: int) -> bool:
        """Say whether `commit` has something to do now."""
        if self.failed:
            return now_ns >= self._probe_ns
        snap = self._snap
        return bool(self.waiting) or (snap is not None and snap.lsn <= self.file.last_lsn)

    def commit(self, now_ns: int, appends: int | None = None) -> None:
        """Write one group, of at most so many Appends, a failing disk being repaired first."""
        failed = self.failed
        # A snapshot can wait until the records behind it are safe again.
        snap = None if failed else self._snap
        try:
            if failed:
                self.file.reopen()
            group = tuple(islice(self.waiting, appends))
            last = self.file.write(group, self._group_bytes_max, snap)
        except Outage as error:
            self._fail(str(error), now_ns)
            return
        self.failed = ""
        if snap is not None and snap.lsn <= last:
            self._snap = None
        self._settle(last)
        if group or last > self.durable:
            self.durable = last
            self._post(Durable(last))
        elif failed:
            self._post(JournalWorks())
        self._look_at_mark(now_ns)

    def _settle(self, durable: int) -> None:
        """Forget the Appends that are on the disk as a whole."""
        waiting = self.waiting
        while waiting and waiting[0].first_lsn + len(waiting[0].records) - 1 <= durable:
            self._backlog.settle(waiting.popleft())

    def _fail(self, reason: str, now_ns: int) -> None:
        """Say why the disk cannot be used, the same reason once."""
        if reason != self.failed:
            self._post(JournalFailed(reason))
        self.failed = reason
        self._probe_ns = now_ns + self._retry_ns

    # --- what is done by the clock ----------------------------------------------------------------

    def next_ns(self) -> int | None:
        """Return when there is something to do although nothing comes: None for never, 0 for at once."""
        due = []
        if self.failed:
            due.append(self._probe_ns)
        elif self._asked:
            due.append(0)
        elif self.file.base.mark_unsynced:
            due.append(self._mark_ns)
        if self._checking:
            due.append(self._check_ns)
        return min(due, default=None)

    def tick(self, now_ns: int) -> None:
        """Sync the mark each second, shorten the WAL, verify a slice of the old chain."""
        if self.failed:
            return
        if self.file.base.mark_unsynced and now_ns >= self._mark_ns:
            self.file.base.sync_mark()
            self._look_at_mark(now_ns)
        try:
            self.file.base.checkpoint()
            if self._checking and now_ns >= self._check_ns:
                self._verify(now_ns)
        except Outage as error:
            self._fail(str(error), now_ns)

    @property
    def _checking(self) -> bool:
        return self._check is not None and not self._check.done and not self.failed

    def _verify(self, now_ns: int) -> None:
        assert self._check is not None
        broken = self._check.step(self.file)
        if broken is not None:
            self._post(broken)
        self._check_ns = now_ns + CHECK_PAUSE_NS

    def _look_at_mark(self, now_ns: int) -> None:
        """Let the mark be synced a second from its first change on; one that fails is a failing disk."""
        base = self.file.base
        if base.failing:
            self._fail(base.failing, now_ns)
        elif not base.mark_unsynced:
            self._mark_ns = 0
        elif self._mark_ns == 0:
            self._mark_ns = now_ns + MARK_SYNC_NS

    def close(self) -> None:
        """Close the files; nothing more is written for those who wait."""
        self._kill.close()
        self.file.close()


def behind(waiting: Iterable[Append], last: int) -> list[Record]:
    """Return what waits behind an lsn, each lsn once, however often it was sent."""
    records: list[Record] = []
    for append in waiting:
        for lsn, record in enumerate(append.records, append.first_lsn):
            if lsn == last + 1:
                records.append(record)
                last = lsn
    return records
