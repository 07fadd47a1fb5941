"""An InfluxDB that goes wrong, and the link to it as a timed machine; bodies and bisection are the real ones.

The server outlives the process: what it was sent and did not answer it may have stored, or store later.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from random import Random

from tradefan.errors import Outage, Refused
from tradefan.messages.base import Message
from tradefan.messages.control import PointBatch, PointsWritten, StoreFailed
from tradefan.messages.wire import Credit
from tradefan.sim.influx_truth import InfluxTruth
from tradefan.stores.following import Source
from tradefan.stores.influx_bodies import Delivery, add_lines, with_place
from tradefan.stores.journal_points import JournalPoints, Piece, epoch_of, held, journal_name
from tradefan.stores.line_protocol import Lines
from tradefan.units import MS, SECOND

NAME = "influx"
BATCHES_MAX = 2
FAST_NS, SLOW_NS = 2 * MS, 3 * SECOND
WAIT_NS, WAIT_MAX_NS = 200 * MS, 10 * SECOND
LATE_NS = 30 * SECOND
_GREETING = 0


class InfluxTrouble:
    """What is wrong with the server until when; it outlives the process."""

    def __init__(self) -> None:
        """Begin well."""
        self.away_ns = self.slow_ns = self.unheard_ns = self.poison_ns = 0
        self.poison = ""
        """The measurement of which no line is taken."""

    def begin(self, kind: str, now_ns: int, rng: Random) -> None:
        """Let one kind of trouble begin."""
        most_ns = 120 * SECOND if kind == "influx_away" else 30 * SECOND
        until_ns = now_ns + int(most_ns * rng.random())
        self.poison = rng.choice(("trades", "orders", "fills", "equity", "refusals"))
        setattr(self, f"{kind.removeprefix('influx_')}_ns", until_ns)

    def heal(self) -> None:
        """Let everything be well."""
        self.away_ns = self.slow_ns = self.unheard_ns = self.poison_ns = 0


class SimInfluxd:
    """The server, with what is wrong with it."""

    def __init__(self, rng: Random) -> None:
        """Begin empty."""
        self.truth = InfluxTruth()
        self.trouble = InfluxTrouble()
        self.rng = rng
        self._late: list[tuple[int, str]] = []

    def reach(self, now_ns: int) -> None:
        """Ask for anything.

        Raises:
            Outage: it is away, or its answer is.
        """
        self._settle(now_ns)
        if now_ns < self.trouble.away_ns:
            raise Outage("influx: away")
        if now_ns < self.trouble.unheard_ns:
            raise Outage("influx: no answer")

    def write(self, now_ns: int, text: str) -> str:
        """Write lines; return why one of them is refused, "" when all are stored.

        Raises:
            Outage: likewise; the lines may be stored all the same, now or later.
        """
        self._settle(now_ns)
        if now_ns >= self.trouble.away_ns and now_ns < self.trouble.unheard_ns:
            roll = self.rng.random()
            if roll < 0.4:
                self._store(now_ns, text)
            elif roll < 0.7:
                self._late.append((now_ns + int(LATE_NS * self.rng.random()), text))
        self.reach(now_ns)
        return self._store(now_ns, text)

    def ask_ns(self, now_ns: int) -> int:
        """Draw how long an answer takes."""
        return int(SLOW_NS * self.rng.random()) if now_ns < self.trouble.slow_ns else FAST_NS

    def _settle(self, now_ns: int) -> None:
        due = [text for at_ns, text in self._late if at_ns <= now_ns]
        self._late = [one for one in self._late if one[0] > now_ns]
        for text in due:
            self._store(now_ns, text)

    def _store(self, now_ns: int, text: str) -> str:
        """Store what can be: a line that cannot does not hold the others back, and is not named."""
        refused = self.trouble.poison if now_ns < self.trouble.poison_ns else ""
        reason = ""
        for line in text.split("\n"):
            if refused and line.startswith(f"{refused},"):
                reason = "400 partial write: field type conflict dropped=0"
            else:
                self.truth.write(line)
        return reason


class _Work:
    """One thing under way at the server."""

    def __init__(self, batch: PointBatch) -> None:
        self.batch = batch
        self.due_ns = 0
        self.tries = 0
        self.failed = ""
        self.sent: Delivery | None = None
        self.lines: tuple[str, ...] = ()
        self.points: JournalPoints | None = None
        self.piece: Piece | None = None
        self.rows = 0
        self.aside: dict[str, int] = {}


class SimInflux:
    """The link: batches under way beside each other, each tried again with growing waits."""

    def __init__(self, server: SimInfluxd, source: Source, now_ns: int) -> None:
        """Begin by greeting the server."""
        self.server = server
        self._source = source
        self._journal = ""
        self._room = BATCHES_MAX
        self._waiting: deque[PointBatch] = deque()
        self._works = [self._begun(PointBatch(_GREETING, ()), now_ns)]
        self._greeted = False
        self._refused: dict[str, None] = {}
        self._out: deque[Message] = deque()

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take a batch."""
        assert isinstance(effect, PointBatch), f"InfluxDB does not take {type(effect).__name__}"
        self._waiting.append(effect)
        self._begin(now_ns)

    def next_ns(self) -> int | None:
        """Return when something comes back."""
        return 0 if self._out else min((one.due_ns for one in self._works), default=None)

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due."""
        for work in [one for one in self._works if one.due_ns <= now_ns]:
            self._try(work, now_ns)
        self._begin(now_ns)
        return [self._out.popleft() for _ in range(min(limit, len(self._out)))]

    def _begin(self, now_ns: int) -> None:
        while self._greeted and self._waiting and len(self._works) < BATCHES_MAX:
            self._works.append(self._begun(self._waiting.popleft(), now_ns))

    def _begun(self, batch: PointBatch, now_ns: int) -> _Work:
        work = _Work(batch)
        work.due_ns = now_ns + self.server.ask_ns(now_ns)
        return work

    def _try(self, work: _Work, now_ns: int) -> None:
        """Make one request; what fails is tried again behind a wait, what is done is said."""
        try:
            done = self._ask(work, now_ns)
        except (Outage, Refused) as error:
            if all(str(error) != one.failed for one in self._works):
                self._out.append(StoreFailed(str(error)))
            work.failed = str(error)
            work.tries += 1
            most_ns = min(WAIT_NS << work.tries, WAIT_MAX_NS)
            work.due_ns = now_ns + max(1, int(most_ns * self.server.rng.random()))
            return
        work.failed, work.tries = "", 0
        work.due_ns = now_ns + self.server.ask_ns(now_ns)
        if done:
            self._works.remove(work)
            self._say(work)

    def _say(self, work: _Work) -> None:
        self._room += self._greeted
        self._greeted = True
        rows = (work.rows if work.points else len(work.batch.rows)) - sum(work.aside.values())
        reason = "poison" if work.aside else ""
        self._out.append(Credit(NAME, self._room))
        self._out.append(PointsWritten(work.batch.batch_id, rows, work.aside, reason))

    def _ask(self, work: _Work, now_ns: int) -> bool:
        """Make the next request of a batch; say whether it was the last."""
        batch = work.batch
        if work.points is None and batch.up_to is not None:
            self._know_journal()
            self.server.reach(now_ns)
            work.points = JournalPoints(self._source, batch.up_to)
            work.points.begin(held(self._source, *self.server.truth.place(self._journal)))
            return False
        if work.sent is None:
            self._encode(work, now_ns)
        sent = work.sent
        assert sent is not None
        if (text := sent.text) is None:
            self.server.reach(now_ns)
            return True
        self._write(sent, text, now_ns)
        return sent.text is None and self._delivered(work, sent)

    def _write(self, sent: Delivery, text: str, now_ns: int) -> None:
        if text in self._refused:
            self.server.truth.wrong.append(("no request again that was refused", text[:500]))
        reason = self.server.write(now_ns, text)
        if reason:
            self._refused[text] = None
            sent.refused(reason)
        else:
            sent.taken()

    def _delivered(self, work: _Work, sent: Delivery) -> bool:
        """Hold what is acknowledged against what is there; go on with the next piece of a journal."""
        aside = dict.fromkeys(one.text for one in sent.aside)
        self.server.truth.aside += aside
        self.server.truth.require(line for line in work.lines if line not in aside)
        for kind, count in sent.counts().items():
            work.aside[kind] = work.aside.get(kind, 0) + count
        work.sent = None
        return work.piece is None or work.piece.whole

    def _encode(self, work: _Work, now_ns: int) -> None:
        lines, batch = Lines([], [], []), work.batch
        if work.points is not None:
            work.piece = piece = work.points.read()
            work.rows += len(piece.rows)
            add_lines(lines, piece.rows)
            self._add_place(lines, piece.lsn, now_ns)
        else:
            add_lines(lines, batch.rows[: batch.own])
            if batch.place is not None:
                self._know_journal()
                self._add_place(lines, batch.place, now_ns)
            add_lines(lines, batch.rows[batch.own :])
        work.sent, work.lines = Delivery(lines), tuple(lines.lines)

    def _add_place(self, lines: Lines, lsn: int, now_ns: int) -> None:
        epoch = 0
        with suppress(Outage, Refused):
            epoch = epoch_of(self._source, lsn)
        with_place(lines, self._journal, lsn, epoch, now_ns)

    def _know_journal(self) -> None:
        self._journal = self._journal or journal_name(self._source)
