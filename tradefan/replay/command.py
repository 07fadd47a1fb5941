"""What `tradefan replay` does with its options; everything is printed by the one who calls."""

from __future__ import annotations

import pdb  # noqa: T100 `--debug` is for this
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from tradefan.errors import Refused
from tradefan.replay.bounds import names
from tradefan.replay.check import Asked, Report, Runs, teller
from tradefan.replay.player import Played, Player
from tradefan.replay.show import Shown, line, require_word, shower
from tradefan.replay.story import Story
from tradefan.stores.segments import Segment

Say = Callable[[str], None]


class _Left(Exception):
    """Whoever looks has seen enough."""


class _Debugger(pdb.Pdb):
    """Ends the command when it is left: the kernel would take what pdb raises for the crash of an actor."""

    def set_quit(self) -> None:
        """Leave."""
        super().set_quit()
        raise SystemExit(0)


def check(asked: Asked, say: Say, *, word: str | None, wait: Callable[[], bool] | None, as_json: bool) -> int:
    """Replay all runs, show what is asked for, then the reports; return the exit code.

    `wait` is called behind each step that showed something; False ends the replay.

    Raises:
        Refused: UNKNOWN_ORDER when the replay was to end at one that no recording speaks of.
    """
    if word is not None:
        require_word(word)
    runs = Runs(msgspec.structs.replace(asked, listen=word is not None), teller(say, as_json=as_json))
    try:
        reports = [runs.play(run, _shows(word, say, wait, as_json=as_json)) for run in runs.runs]
    except _Left:
        return 0
    if not any(report.code for report in reports):
        runs.require_order()
    return _end(reports, say, as_json=as_json)


def explain(asked: Asked, order: str, say: Say, *, as_json: bool) -> int:
    """Tell the story of one order; return the exit code.

    Raises:
        Refused: UNKNOWN_ORDER when no recording speaks of it.
    """
    runs = Runs(msgspec.structs.replace(asked, listen=True), teller(say, as_json=as_json))
    reports, stories = [], []
    for run in runs.runs:
        story = Story(order)
        reports.append(runs.play(run, story.see))
        stories.append(story)
    told = [story for story in stories if story.events]
    wrong = [report for report in reports if report.code]
    if not told and not wrong:
        raise Refused("UNKNOWN_ORDER", f"--explain: expected an order that {asked.path} has, got {order!r}")
    for story in told:
        lines: Iterable[str] = story.lines()
        if as_json:
            lines = (msgspec.json.encode(event).decode() for event in story.events)
        for text in lines:
            say(text)
    return _end(wrong, say, as_json=as_json) if wrong else 0


def debug(asked: Asked, say: Say) -> int:
    """Stop in pdb before the step that `--until` names, else before the first that is asked for.

    Raises:
        Refused: BAD_BOUND when no recording has it.
    """
    runs = Runs(asked, teller(say, as_json=False))
    wrong = []
    for run in runs.runs:
        target = _target(runs, run)
        if isinstance(target, int):
            return _debugged(asked, run, target, say)
        wrong += [target] if target.code else []
    if wrong:
        return _end(wrong, say, as_json=False)
    name, text = ("--from", asked.from_text) if asked.until_text is None else ("--until", asked.until_text)
    raise Refused("BAD_BOUND", f"{name}: expected what {asked.path} has, got {text!r}")


def _debugged(asked: Asked, run: Sequence[Segment], target: int, say: Say) -> int:
    def before(number: int, _now_ns: int) -> None:
        if number == target:
            say(f"pdb stops before step {number}: `s` into `kernel.step`; `player.kernel` is the kernel")
            debugger.set_trace()

    debugger = _Debugger()
    return _end([Runs(asked).play(run, lambda _player, _played: None, before)], say, as_json=False)


def _target(runs: Runs, run: Sequence[Segment]) -> int | Report:
    """Find the number of the step to stop at by a replay of its own; its report where there is none."""
    bound = runs.end if runs.asked.until_text is not None else runs.begin
    begun = 0

    def before(number: int, _now_ns: int) -> None:
        nonlocal begun
        begun = number

    def see(_player: Player, played: Played) -> None:
        hit = (
            names(played, bound.order)
            if bound.order is not None
            else bound.reached(played.number, played.now_ns)
        )
        if hit or runs.asked.until_text is None:
            raise _Left

    try:
        report = runs.play(run, see, before)
    except _Left:
        return begun
    # One that raises, or goes another way than recorded, was never seen.
    one = report.divergence
    diverges = one is not None and bound.reached(one.step, one.at_ns)
    return begun if report.raised or diverges else report


def _shows(
    word: str | None, say: Say, wait: Callable[[], bool] | None, *, as_json: bool
) -> Callable[[Player, Played], None]:
    """Return what shows a step of a replay, and waits behind it where somebody goes step by step."""
    if word is None:
        return lambda _player, _played: None
    show: Callable[[Played], Iterator[Shown]] | None = None

    def see(player: Player, played: Played) -> None:
        nonlocal show
        # One run has one system: its actors have the same refs from the first segment to the last.
        show = show or shower(word, player.names)
        shown = list(show(played))
        for one in shown:
            say(msgspec.json.encode(one).decode() if as_json else line(one))
        if shown and wait is not None and not wait():
            raise _Left

    return see


def _end(reports: list[Report], say: Say, *, as_json: bool) -> int:
    for report in reports:
        for text in (msgspec.json.encode(report).decode(),) if as_json else report.lines():
            say(text)
    return max((report.code for report in reports), default=0)
