"""Mistakes below the order core: the journal's files, recovery, epochs, a strategy's turn."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant

JOURNAL: tuple[Mutant, ...] = (
    Mutant(
        "no-fsync",
        "Commits are not synced: synchronous=NORMAL is 30 times faster, and survives kill -9.",
        (
            Change(
                "stores/journal_base.py",
                'self.db.pragma("synchronous", "full")',
                'self.db.pragma("synchronous", "normal")',
            ),
        ),
        ("I-08", "I-36"),
    ),
    Mutant(
        "durable-before-commit",
        "A group counts as durable when it is handed to the disk, before the commit has succeeded.",
        (
            Change(
                "stores/journal_work.py",
                """\
            group = tuple(islice(self.waiting, appends))
            last = self.file.write(group, self._group_bytes_max, snap)
""",
                """\
            group = tuple(islice(self.waiting, appends))
            if group:
                self._post(Durable(group[0].first_lsn + len(group[0].records) - 1))
            last = self.file.write(group, self._group_bytes_max, snap)
""",
            ),
        ),
        ("I-08",),
    ),
    Mutant(
        "mark-before-commit",
        "The mark file names the last row before the commit that writes it.",
        (
            Change(
                "stores/journal.py",
                """\
        if group.rows or snap is not None:
            self._commit(group, snap)
""",
                """\
        if group.rows or snap is not None:
            self._base.put_mark(group.last, group.chain)
            self._commit(group, snap)
""",
            ),
            Change(
                "stores/journal_base.py",
                """\
    def sync_mark(self) -> None:
""",
                """\
    def put_mark(self, last: int, chain: bytes) -> None:
        if self._mark is not None:
            try:
                self._mark.put(last, chain)
            except OSError as error:
                self._mark_failed(error)

    def sync_mark(self) -> None:
""",
            ),
        ),
        ("I-36", "I-46"),
    ),
    Mutant(
        "mark-never-compared",
        "The mark file is written, and no start compares it with what it finds.",
        (
            Change(
                "stores/journal_base.py",
                """\
        for mark in self._mark.found:
            self._check_mark(mark)
""",
                "",
            ),
        ),
        ("I-46",),
    ),
    Mutant(
        "epoch-not-durable",
        "The highest epoch is not in the mark file: a journal that lost its tail makes ids twice.",
        (
            Change(
                "stores/journal_base.py",
                """\
                if self._mark.epoch != self.epoch:
                    self._mark.put_epoch(self.epoch)
""",
                "",
            ),
        ),
        ("I-46", "I-18"),
    ),
    Mutant(
        "repair-by-opening-again",
        "Behind a sync that failed the file is opened again, and what is found in it counts as durable.",
        (
            Change(
                "stores/journal_base.py",
                """\
            self._require_file()
        self._renew_wal()
""",
                """\
            self._require_file()
""",
            ),
            Change(
                "stores/journal_base.py",
                """\
                if self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
                    raise apsw.BusyError("another program reads it")
""",
                "",
            ),
        ),
        ("I-08", "I-36"),
    ),
    Mutant(
        "wal-not-renewed",
        "A repair opens the file again and believes what it reads, which only the cache may have.",
        (
            Change(
                "stores/journal_base.py",
                """\
            self._require_file()
        self._renew_wal()
""",
                """\
            self._require_file()
""",
            ),
        ),
        ("I-08", "I-36"),
    ),
    Mutant(
        "fold-forgets-what-waits",
        "A fold is answered with what is on the disk, without the records that still wait for it.",
        (
            Change(
                "stores/journal_work.py",
                "            records=(*found.records, *behind(self.waiting, found.last_lsn)),\n",
                "            records=found.records,\n",
            ),
        ),
        ("I-08", "I-36"),
    ),
    Mutant(
        "snapshot-one-too-new",
        "A snapshot carries the number of the record before its last, which recovery then folds twice.",
        (
            Change(
                "actors/oms_recovery.py",
                "Snap(lsn, _encoder.encode(turn.trading))",
                "Snap(lsn - 1, _encoder.encode(turn.trading))",
            ),
        ),
        ("I-08",),
    ),
    Mutant(
        "clock-set-back-waits",
        "Instants that an earlier life noted beyond this start stay there, and waits begin only behind them.",
        (
            Change(
                "core/apply_parents.py",
                """\
    _begin_no_later(state, record.at_ns)
    state.epoch,""",
                """\
    state.epoch,""",
            ),
        ),
        ("R4", "I-36", "I-05"),
    ),
    Mutant(
        "state-after-commands",
        "A strategy's State goes to the journal in a message of its own, behind the commands of its turn.",
        (
            Change(
                "actors/trader_turn.py",
                """\
    if not ctx.send(wiring.oms, turn):
        return False
    state.turn += 1
    _remember_sent""",
                """\
    for command in commands:
        if not ctx.send(wiring.oms, command):
            return False
    if not ctx.send(wiring.oms, OwnerTurn(wiring.owner, state.turn + 1, changed, (), state.asked)):
        return False
    state.turn += 1
    _remember_sent""",
            ),
        ),
        ("I-43",),
        shows_always=True,
    ),
    Mutant(
        "dead-strategy-heard",
        "A turn of a strategy that has been replaced meanwhile is taken: it is the same owner.",
        (
            Change(
                "actors/oms_owners.py",
                """\
    if wish.asked != turn.live.asked.get(wish.owner, 0):
""",
                """\
    if wish.owner not in turn.live.asked:
""",
            ),
        ),
        ("I-43", "I-41"),
    ),
    Mutant(
        "wish-survives-start",
        "A target that waited when the process ended is ordered by the next one, without a new decision.",
        (
            Change(
                "actors/oms_owners.py",
                """\
    lose_wishes(turn)
    lost, turn.live.lost""",
                """\
    lost, turn.live.lost""",
            ),
        ),
        ("I-43",),
    ),
)
