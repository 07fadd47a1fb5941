"""A defect in the daemon's own code: a seed finds it, is reduced to what it needs, and is pinned."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tradefan.actors.gateway_orders import Orders
from tradefan.sim import command
from tradefan.sim.command import SHRINK_MINUTES, Wanted, replay, simulate
from tradefan.sim.only import kind_of
from tradefan.sim.reduce import RUNS_MAX, Reduced, reduce
from tradefan.sim.shorten import Budget
from tradefan.stores.journal_base import JournalBase
from tradefan.units import SECOND

HOURS = 0.14
"""As in CI: five minutes with faults, three to heal."""
MANY = 50
"""A seed that fails with fewer faults shows little about reducing them."""


def resend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gateway write a create again that got no answer in time."""
    lost = Orders.lost

    def resends(self: Orders, flight: Any, reason: str, ctx: Any) -> None:
        lost(self, flight, reason, ctx)
        if flight.what == "create" and reason == "TIMEOUT":
            self._write_create(msgspec.structs.replace(flight.order, not_after_ns=ctx.now_ns + SECOND), ctx)

    monkeypatch.setattr(Orders, "lost", resends)


def not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the journal say that it is on the disk when the disk has only heard of it."""
    opened = JournalBase._open

    def opens(self: JournalBase) -> None:
        opened(self)
        self.db.pragma("synchronous", "off")

    monkeypatch.setattr(JournalBase, "_open", opens)


def found(folder: Path) -> tuple[int, int, list[str]]:
    """Return the first seed that fails with many faults, how many, and what was said of it."""
    for seed in range(1, 30):
        said: list[str] = []
        simulate(Wanted((seed,), HOURS, pin=folder / str(seed)), said.append)
        many = len(replay(seed, hours=HOURS).happened)
        if said and many >= MANY:
            return seed, many, said
    pytest.fail("no seed fails")


def shrunk(seed: int, runs_max: int) -> Reduced:
    """Return what a seed needs, by so many runs at most and without a clock."""
    budget = Budget(runs_max, 1e9)
    trial = partial(command._again, seed, "all", budget)
    return reduce(replay(seed, hours=HOURS), HOURS, trial, budget)


def breaks(seed: int, hours: float, words: Sequence[str]) -> str | None:
    """Return the invariant that a seed breaks with exactly these faults."""
    violation = replay(seed, hours=hours, only=" ".join(words) or "none").violation
    return None if violation is None else violation.invariant


def run_pinned(path: Path) -> None:
    """Run the only test of a file."""
    names: dict[str, Any] = {}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    (test,) = (one for name, one in names.items() if name.startswith("test_"))
    test()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("defect", "invariant", "needed"),
    [
        (resend, "I-01", {"ack_delay", "answer_lost", "connection_slow", "malformed"}),
        # No kill -9 shows this one: it takes a crash, and the loss of power that comes with it.
        (not_synced, "I-36", {"power_loss"}),
    ],
)
def test_seed_when_the_code_has_a_defect_then_it_is_reduced_to_what_it_needs_and_pinned(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    defect: Callable[[pytest.MonkeyPatch], None],
    invariant: str,
    needed: set[str],
) -> None:
    """The promise as a whole: minimal, repeated by one command, pinned, and all of it in minutes."""
    with monkeypatch.context() as broken:
        defect(broken)
        begun_s = time.monotonic()
        seed, many, said = found(tmp_path)
        assert time.monotonic() - begun_s < SHRINK_MINUTES * 60
        assert said[0].startswith(f"seed {seed}: {invariant} at ")

        hours, only = re.findall(r"--hours (\S+) --only '?([^']*)", said[2])[0]
        words = only.split()
        assert said[1].startswith(f"  needs {len(words)} of {many} faults (")
        assert len(words) <= many // 10
        assert needed & set(map(kind_of, words))
        assert breaks(seed, float(hours), words) == invariant
        for index in range(len(words)):
            assert breaks(seed, float(hours), words[:index] + words[index + 1 :]) != invariant

        # Where the number of runs ends it, and not the clock, it ends alike.
        assert shrunk(seed, RUNS_MAX).only == tuple(words)
        assert shrunk(seed, 3) == shrunk(seed, 3)

        (pinned,) = (tmp_path / str(seed)).iterdir()
        assert said[3] == f"  pinned by {pinned}"
        with pytest.raises(AssertionError, match=f"^{invariant} at "):
            run_pinned(pinned)
    run_pinned(pinned)
