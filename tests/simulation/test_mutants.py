"""The runner of deliberate faults: it kills what breaks a promise, and says so when something survives."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.mutants import run
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Change, Mutant
from tests.mutants.run import Report, main

NULL = Mutant(
    "null",
    "Nothing is wrong with it.",
    (
        Change(
            "core/ids.py", "Say whether a text can be an instance's name.", "Say whether it can be a name."
        ),
    ),
    ("I-01",),
)
BROKEN = Mutant(
    "broken",
    "It does not even start.",
    (Change("core/ids.py", "def is_instance(", "def is_no_instance("),),
    ("I-01",),
)

NAMELESS = Mutant(
    "nameless",
    "Its author has not run it.",
    (Change("core/scopes.py", "account, owner, *venues)", "account, owner, *nothing)"),),
    ("I-09",),
    shows_always=True,
)
TORN = Mutant(
    "torn",
    "It breaks where no fence is, as soon as there is a kill.",
    (Change("drivers/latch.py", "any(scope in closed for", "any(scope in nothing for"),),
    ("I-09",),
)


@pytest.mark.slow
def test_run_when_one_mutant_survives_then_it_is_named_with_who_should_have_seen_it(tmp_path: Path) -> None:
    """One that sends before it journals is killed by the first seed; one that changes nothing lives on."""
    killed = next(one for one in MUTANTS if one.name == "create-unguarded")
    said: list[str] = []
    out = tmp_path / "results" / "mutants.json"
    code = main(["--jobs", "1", "--budget", "15", "--out", str(out)], (killed, NULL, BROKEN), said.append)
    assert code == 1
    assert "1 of 3 killed (33 %)" in said
    assert f"survived: null ({NULL.mistake}) not seen by I-01" in said
    report = msgspec.json.decode(out.read_bytes(), type=Report)
    first, null, broken = report.mutants
    assert (first.verdict, first.killed_by, first.seed) == ("killed", "I-04", 1)
    assert (null.verdict, null.killed_by) == ("survived", "")
    assert null.seeds >= 1
    assert null.core_s <= 15
    assert broken.verdict == "invalid"
    assert len(report.stamp.commit.partition("-")[0]) == 40


@pytest.mark.slow
def test_run_when_the_program_only_comes_apart_then_nothing_is_killed(tmp_path: Path) -> None:
    """A name that is not there breaks every run: that says nothing about the mistake that was meant."""
    out = tmp_path / "mutants.json"
    assert main(["--jobs", "1", "--out", str(out)], (NAMELESS, TORN), lambda _: None) == 1
    nameless, torn = msgspec.json.decode(out.read_bytes(), type=Report).mutants
    assert (nameless.verdict, nameless.expected) == ("invalid", "a run without faults that breaks I-09")
    assert nameless.found.startswith("I-41 actor_crashed of oms ")
    assert (torn.verdict, torn.killed_by) == ("invalid", "")
    assert torn.found.rstrip().endswith("name 'nothing' is not defined")


def test_attack_when_two_children_run_then_they_share_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs under both hash seeds costs no more than any other mutant."""
    given: list[int] = []

    class Watched(run.Child):
        def __init__(self, folder: Path, budget_s: int, hash_seed: str, *, walks: bool = False) -> None:
            given.append(budget_s)
            super().__init__(folder, budget_s, hash_seed, walks=walks)

    source = tmp_path / "source"
    (source / "core").mkdir(parents=True)
    (source / "core" / "ids.py").write_text(f"# {NULL.changes[0].old}\n")
    monkeypatch.setattr(run, "Child", Watched)
    run.attack(replace(NULL, hash_seeds=True), source, 300)
    run.attack(NULL, source, 300)
    assert given == [150, 150, 300]


@pytest.mark.slow
def test_run_when_all_are_killed_then_it_succeeds() -> None:
    """Exit code 0 is for a run that killed 95 %."""
    said: list[str] = []
    assert main(["--jobs", "1", "--only", "create-unguarded", "last-report-wins"], say=said.append) == 0
    assert said[-1] == "2 of 2 killed (100 %)"
