"""`tradefan replay`: runs recordings again, and says whether all went as recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from tradefan.errors import Outage, Refused
from tradefan.replay.against_journal import AgainstJournal
from tradefan.replay.bounds import Bound, names, read_bound
from tradefan.replay.player import Diverged, Divergence, Played, Player, Raised
from tradefan.replay.recordings import Span, differences_of_program, find_runs, opened
from tradefan.stores.segments import Segment, end_of, is_being_written
from tradefan.units import SECOND, iso


class Asked(Struct, frozen=True):
    """What of a recording is replayed, against what, and who is told."""

    path: Path
    code: str
    """Hash of the program that replays."""
    strategies: str
    from_text: str | None = None
    until_text: str | None = None
    journal: Path | None = None
    listen: bool = False


class Report(Struct):
    """What came of the replay of one run."""

    run: str
    segments: int
    environment: str
    steps: int = 0
    recorded_s: float = 0.0
    replayed_s: float = 0.0
    trace: str = ""
    digests: int = 0
    """Digests of the recording that were compared and are equal."""
    joints: int = 0
    """Snapshots of later segments that came out the same, byte for byte."""
    records: int = 0
    """Rows of the journal that came out the same."""
    ended: str = ""
    program: list[str] = []
    """What is not as it was when this was recorded; whoever asked was told before the first step."""
    notes: list[str] = []
    divergence: Divergence | None = None
    raised: str = ""

    @property
    def code(self) -> int:
        """Return the exit code: 1 where something did not go as recorded, or the kernel raised."""
        return int(self.divergence is not None or bool(self.raised))

    def lines(self) -> Iterator[str]:
        """Give the report as text."""
        count = "1 segment" if self.segments == 1 else f"{self.segments} segments"
        yield f"recording {self.run} of {self.environment}, {count}, {self.recorded_s:.1f} s; {self.ended}"
        rate = self.steps / self.replayed_s if self.replayed_s else 0.0
        yield f"replayed {self.steps} steps in {self.replayed_s:.2f} s: {rate:.0f} steps/s"
        yield from (f"note: {note}" for note in self.notes)
        if self.divergence is not None:
            one = self.divergence
            yield f"NOT as recorded at step {one.step}: {one.what}"
            yield f"  recorded: {one.recorded}"
            yield f"  replayed: {one.replayed}"
        elif self.raised:
            yield self.raised
        elif not self.steps:
            yield "nothing to compare: no step of it is recorded"
        else:
            yield f"trace {self.trace} as recorded, {self.digests} digests and {self.joints} snapshots equal"
        yield f"journal: {self.records} records equal"


def teller(say: Callable[[str], None], *, as_json: bool) -> Callable[[str], None]:
    """Return what says a note at once: beside the output where programs read that."""

    def tell(text: str) -> None:
        if as_json:
            sys.stderr.write(f"note: {text}\n")
        else:
            say(f"note: {text}")

    return tell


class Runs:
    """The recordings that somebody asked for, opened and checked before anything is replayed."""

    def __init__(
        self, asked: Asked, tell: Callable[[str], None] = lambda _text: None, *, orders: bool = True
    ) -> None:
        """Find and open them; `tell` hears of another program before anything is made of them.

        Without `orders` none may say where to end.

        Raises:
            Refused: NO_RECORDING, RECORDING_DAMAGED, BAD_BOUND.
        """
        self.asked = asked
        self.met = False
        """Some run has come to the end that was asked for."""
        found = find_runs(asked.path)
        recorded = (found[0][0].begins_ns, end_of(found[-1][-1].path))
        begin, end = asked.from_text, asked.until_text
        self.begin = Bound() if begin is None else read_bound("--from", begin, recorded, orders=False)
        self.end = Bound() if end is None else read_bound("--until", end, recorded, orders=orders)
        if self.end.is_before(self.begin):
            raise Refused("BAD_BOUND", f"--until: expected nothing before --from {begin}, got {end!r}")
        span = Span(self.begin.at_ns, self.end.at_ns)
        self.runs = [segments for run in found if (segments := opened(run, span))]
        if not self.runs:
            has = f"what is there goes from {iso(recorded[0])} to {iso(recorded[1])}"
            raise Refused(
                "NO_RECORDING", f"expected a recording of that time at {asked.path}, found none; {has}"
            )
        for text in dict.fromkeys(text for run in self.runs for text in self.program_of(run)):
            tell(text)

    def program_of(self, segments: Sequence[Segment]) -> list[str]:
        """Return what is not as it was when a run was recorded."""
        return list(differences_of_program(segments[0].head, self.asked.code, self.asked.strategies))

    def play(
        self,
        segments: Sequence[Segment],
        see: Callable[[Player, Played], None],
        before: Callable[[int, int], None] = lambda _number, _now_ns: None,
    ) -> Report:
        """Replay a run; `see` is told each step from the beginning of what was asked for on."""
        head = segments[0].head
        report = Report(head.run, len(segments), head.environment, program=self.program_of(segments))
        report.ended = _end_of(segments[-1])
        player = Player(segments, listen=self.asked.listen, before=before)
        begun_s, played = time.monotonic(), None
        with ExitStack() as stack:
            against: AgainstJournal | None = None
            try:
                for played in player.play():
                    if player.steps == 1:
                        against = self._against(player, segments[0], stack, report)
                    report.steps = player.steps
                    if self._is_wanted(played):
                        see(player, played)
                    if against is not None and player.unchecked_from is None:
                        against.look(played)
                    if self._is_last(played):
                        self.met = True
                        report.ended = f"ended at step {played.number}, as asked"
                        break
            except Diverged as diverged:
                report.divergence = self._by_record(against, diverged, player) or diverged.divergence
            except Raised as raised:
                report.raised = str(raised)
            report.records = 0 if against is None else against.equal
        if self.end.order is not None and "as asked" not in report.ended and not report.code:
            report.notes.append(f"no record speaks of {self.end.order}")
        report.replayed_s = time.monotonic() - begun_s
        report.digests, report.joints = player.digests, player.joints
        report.notes += player.gaps
        if played is not None:
            report.recorded_s = (played.now_ns - segments[0].first_ns) / SECOND
            assert player.kernel.trace is not None
            report.trace = player.kernel.trace.hexdigest()
        return report

    def require_order(self) -> None:
        """See that the order that was to be the end is in one of the runs: it may be a word that means none.

        Raises:
            Refused: UNKNOWN_ORDER.
        """
        if self.end.order is not None and not self.met:
            expected = f"expected an order that {self.asked.path} has"
            raise Refused("UNKNOWN_ORDER", f"--until: {expected}, got {self.end.order!r}")

    def _is_wanted(self, played: Played) -> bool:
        begin = self.begin
        return begin == Bound() or begin.reached(played.number, played.now_ns)

    def _is_last(self, played: Played) -> bool:
        if self.end.order is not None:
            return names(played, self.end.order)
        return self.end.reached(played.number, played.now_ns)

    def _against(
        self, player: Player, segment: Segment, stack: ExitStack, report: Report
    ) -> AgainstJournal | None:
        """Open the journal; one that is not here, or another one, is a note."""
        path = self.asked.journal or Path(segment.head.journal)
        if self.asked.journal is not None and not path.is_file():
            raise Refused("NO_JOURNAL", f"--journal: expected a journal's file, got {str(path)!r}")
        if not path.exists():
            report.notes.append(f"no journal at {path}: its records were not compared")
            return None
        try:
            against = AgainstJournal(path, player.kernel.refs["journal"], segment.head.instance)
        except (Refused, Outage) as error:
            if self.asked.journal is not None:
                raise
            report.notes.append(f"the journal was not compared: {error}")
            return None
        return stack.enter_context(against)

    def _by_record(
        self, against: AgainstJournal | None, diverged: Diverged, player: Player
    ) -> Divergence | None:
        """Say it by the record that differs, where there is one: that has both values."""
        played = player.played
        if against is None or played is None or played.number != diverged.divergence.step:
            return None
        return against.settle(played)


def _end_of(segment: Segment) -> str:
    ended = segment.ended
    if ended is not None:
        return f"ended in order ({ended.reason})"
    if segment.goes_on:
        return "to the end of what was asked for"
    if is_being_written(segment.path):
        return "still being written: replayed as far as it was on the disk"
    if segment.cut_at is not None:
        return f"cut off at offset {segment.cut_at} of {segment.path.name}: replayed to its last whole chunk"
    return "without an end: the process died, or its disk failed"
