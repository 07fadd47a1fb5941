"""Deliberate faults in what is told to InfluxDB: batches, their answers, their place in the journal."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant

POINTS: tuple[Mutant, ...] = (
    Mutant(
        "points-under-way-forgotten",
        "When the link ends, the batches that had no answer count as written.",
        (
            Change(
                "actors/point_writer.py",
                """\
        self.state.failing = msg.reason
        self._put_back()
        self._bound(ctx)
        self._perhaps_stopped(ctx)
""",
                """\
        self.state.failing = msg.reason
        self.state.under_way.clear()
        self._perhaps_stopped(ctx)
""",
            ),
        ),
        ("I-23", "I-24"),
    ),
    Mutant(
        "points-dropped-uncounted",
        "Rows of the market that go for want of room are not counted.",
        (
            Change(
                "actors/point_writer.py",
                """\
            for row in gone:
                state.dropped[type(row).__name__] += 1
""",
                """\
            for row in gone if rows is state.rest else ():
                state.dropped[type(row).__name__] += 1
""",
            ),
        ),
        ("I-23",),
    ),
    Mutant(
        "poison-sent-again-whole",
        "A request that the server refuses is sent again as it is, until the search is given up.",
        (
            Change(
                "stores/influx_bodies.py",
                """\
            middle = (part.start + part.stop) // 2
            self._parts += [range(middle, part.stop), range(part.start, middle)]
""",
                """\
            self._parts.append(part)
""",
            ),
        ),
        ("I-23",),
    ),
    Mutant(
        "points-before-they-are-durable",
        "News of orders and fills leaves for InfluxDB before its records are on the disk.",
        (
            Change(
                "actors/point_journal.py",
                "    while ready < len(rows) and rows[ready].lsn <= state.durable:\n",
                "    while ready < len(rows):\n",
            ),
        ),
        ("I-24",),
    ),
    Mutant(
        "start-without-catch-up",
        "A writer that begins takes for granted that the server has all of the journal.",
        (
            Change(
                "actors/point_journal.py",
                "        state.begun, state.missing = True, max(state.missing, msg.last)\n",
                "        state.begun = True\n",
            ),
        ),
        ("I-24",),
    ),
    Mutant(
        "correction-in-one-point",
        "Of a correction the trade that is taken back and the one in its place have one instant.",
        (Change("stores/schema.py", 'apart="qty lsn"', 'apart="lsn"'),),
        ("I-23",),
    ),
)
