"""Parts of the proof that only read: results of mutants, records of kills, and what the exit code says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.mutants.mutant import WALKS, Mutant
from tests.proof import __main__ as program
from tests.proof import mutants, seeds, stamp
from tests.proof.figures import Broken, Mutants, Seeds, load, save
from tests.proof.kills import accepted_behind, decided_behind
from tests.unit.core.order_builders import intent
from tests.unit.proof.made import chunk, kills, mutant, stamped, whole
from tradefan.errors import Defect, Refused
from tradefan.messages.records import Kill, Resume
from tradefan.sim.command import PINNED, Wanted
from tradefan.sim.report import Summary

RESULT: dict[str, Any] = {
    "name": "twice",
    "mistake": "again",
    "invariants": ["I-01"],
    "verdict": "killed",
    "killed_by": "I-01",
    "seed": 4,
    "expected": "a",
    "found": "b",
    "core_s": 1.5,
    "seeds": 4,
}
LAME = {**RESULT, "name": "lame", "verdict": "invalid", "killed_by": "", "seed": 0}


def told(tmp_path: Path, *results: dict[str, Any], commit: str = "3" * 40, budget_s: int = 300) -> Path:
    """Write a file as the run of the mutants does."""
    path = tmp_path / "told.json"
    of = msgspec.to_builtins(stamped(commit))
    report = {"stamp": of, "budget_s": budget_s, "hours": 0.14, "seeds": 300, "killed": 1, "mutants": results}
    path.write_text(json.dumps(report))
    return path


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be two mutants, and code that has no changes."""
    made = [Mutant(name, name, (), ("I-01",)) for name in ("twice", "lame")]
    monkeypatch.setattr(mutants, "MUTANTS", made)
    monkeypatch.setattr(stamp, "code_of", lambda ref: "3" * 40)
    monkeypatch.setattr(stamp, "changes", list)


# --- mutants --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("catalogue")
def test_mutants_when_told_then_stored_under_the_stamp_that_they_name(tmp_path: Path) -> None:
    """Whoever ran them knows what they ran on; what did not run as a program would is not killed."""
    mutants.run(tmp_path, told(tmp_path, RESULT, LAME))
    found = load(tmp_path, Mutants)
    assert found is not None
    assert found.stamp == stamped("3" * 40)
    assert [(one.name, one.verdict, one.invariants, one.found) for one in found.results] == [
        ("twice", "killed", ("I-01",), ""),
        ("lame", "invalid", ("I-01",), "b"),
    ]
    assert mutants.share(found.results) == 0.5


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("commit", ["1" * 40, "3" * 40 + "-dirty"])
def test_mutants_when_they_are_of_other_code_then_refused(tmp_path: Path, commit: str) -> None:
    """Nobody knows which mistakes there were then, nor what a tree with changes was."""
    with pytest.raises(Refused, match=r"OTHER_CODE: expected mutants of 333333333333, got those of "):
        mutants.run(tmp_path, told(tmp_path, RESULT, LAME, commit=commit))
    assert load(tmp_path, Mutants) is None


@pytest.mark.usefixtures("catalogue")
def test_mutants_when_they_had_more_time_than_is_promised_then_refused(tmp_path: Path) -> None:
    """Five core-minutes each."""
    with pytest.raises(Refused, match=r"BAD_MUTANTS: .* at most 300 core-seconds for each, got 301"):
        mutants.read(told(tmp_path, RESULT, LAME, budget_s=301))


@pytest.mark.parametrize("field", ["name", "mistake", "invariants", "verdict"])
def test_mutants_when_a_field_is_missing_then_refused_by_its_name(tmp_path: Path, field: str) -> None:
    """Nothing is guessed in its place."""
    cut = {name: value for name, value in RESULT.items() if name != field}
    with pytest.raises(
        Refused, match=rf"BAD_MUTANTS: .*missing required field `{field}` - at `\$.mutants\[1\]`"
    ):
        mutants.read(told(tmp_path, RESULT, cut))


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("results", "words"),
    [
        ((), "each of 2 mutants, got not twice, lame"),
        ((RESULT,), "each of 2 mutants, got not lame"),
        ((RESULT, LAME, {**LAME, "name": "third"}), "each of 2 mutants, got unknown third"),
        ((RESULT, RESULT, LAME), "each of 2 mutants, got twice twice"),
        (({**RESULT, "killed_by": ""}, LAME), "killed, and no invariant says so: twice"),
        (({**RESULT, "verdict": "yes"},), "Invalid enum value 'yes'"),
    ],
)
def test_mutants_when_they_make_no_sense_then_refused(
    tmp_path: Path, results: tuple[dict[str, Any], ...], words: str
) -> None:
    """Some of them, and those the killed ones, would be all of them killed."""
    with pytest.raises(Refused, match=words):
        mutants.read(told(tmp_path, *results))


def test_mutants_when_the_file_is_not_there_then_refused(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(Refused, match=r"none.json: No such file"):
        mutants.run(tmp_path, tmp_path / "none.json")


# --- seeds ----------------------------------------------------------------------------------------------


def test_seeds_when_run_then_a_failing_one_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What five thousand seeds find must not have to be found again."""
    asked: list[Wanted] = []

    def one(wanted: Wanted, say: object) -> tuple[Summary, str]:
        asked.append(wanted)
        return Summary(), "ab"

    monkeypatch.setattr(seeds, "simulate", one)
    monkeypatch.setattr(seeds, "stamp", lambda command, place: stamped())
    monkeypatch.setattr(seeds, "still", lambda begun, place: None)
    seeds.run(tmp_path, seeds.Asked(count=1), print)
    assert [wanted.pin for wanted in asked] == [PINNED]


def test_silent_when_fewer_than_the_whole_range_then_nothing_is_said() -> None:
    """A few seeds show nothing of what is rare; what struck in the whole range is not named."""
    assert seeds.silent(Seeds((chunk(1, seeds.COUNT - 1),))) == []
    assert "bust" not in seeds.silent(Seeds((chunk(1, seeds.COUNT),)))


# --- kills ----------------------------------------------------------------------------------------------


def test_intents_when_between_kill_and_resume_then_counted() -> None:
    """Of a kill of everything; one of a scope says nothing about the others."""
    records = (
        intent(),
        Kill(1, "all", "", "api"),
        intent(),
        intent(),
        Resume(2, "all", "", "api"),
        intent(),
        Kill(3, "binance:BTC/USDT", "", "api"),
        intent(),
    )
    assert decided_behind(records) == 2


def test_orders_when_accepted_behind_a_kill_then_those_that_were_on_their_way_do_not_count() -> None:
    """A quarter of a second is more than the way to the venue takes."""
    second = 1_000_000_000
    closed = [(second, 2 * second), (5 * second, 6 * second)]
    accepted = [
        second - 1,
        second + 200_000_000,
        second + 300_000_000,
        2 * second + 1,
        5 * second + second // 2,
    ]
    assert accepted_behind(accepted, closed) == 2


# --- the exit code --------------------------------------------------------------------------------------


def rendered(tmp_path: Path) -> int:
    words = ["render", "--place", str(tmp_path), "--page", str(tmp_path / "page.md")]
    return program.main(words)


def test_exit_when_parts_are_fine_then_0_and_the_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that is stored for this code is not run again."""
    monkeypatch.setattr(program, "code_of", lambda ref: stamped().commit)
    monkeypatch.setattr(stamp, "code_of", lambda ref: stamped().commit)
    monkeypatch.setattr(stamp, "changes", list)
    save(tmp_path, Seeds((chunk(1, 100),)))
    save(tmp_path, Mutants(stamped(), 300, tuple(mutant(str(number)) for number in range(20))))
    save(tmp_path, kills())
    recovery = whole().recovery
    assert recovery is not None
    save(tmp_path, recovery)
    words = ["all", "--count", "100", "--place", str(tmp_path), "--page", str(tmp_path / "page.md")]
    words += ["--signals", "2", "--starts", "1", "--large", "1"]
    assert program.main(words) == 0
    assert "20 of 20 (100.0 %)" in (tmp_path / "page.md").read_text()
    assert "kills: stored for this code already" in capsys.readouterr().out


def test_all_when_a_part_has_fewer_figures_than_are_asked_for_then_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three kills that somebody has tried are not two hundred."""
    ran: list[str] = []
    monkeypatch.setattr(program, "code_of", lambda ref: stamped().commit)

    def one(part: str, asked: object, say: object) -> list[str]:
        ran.append(part)
        return []

    monkeypatch.setattr(program, "_one", one)
    for figures in (whole().mutants, kills(), whole().recovery):
        assert figures is not None
        save(tmp_path, figures)
    for words in (("--signals", "3"), ("--kills", "201"), ("--starts", "2"), ("--large", "2")):
        fewer = {"--kills": "200", "--signals": "2", "--starts": "1", "--large": "1"} | dict([words])
        program.main(["all", "--place", str(tmp_path), *(word for pair in fewer.items() for word in pair)])
    assert ran == ["seeds", "kills", "seeds", "kills", "seeds", "recovery", "seeds", "recovery"]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (Seeds((chunk(1, 9, "1" * 40, Broken(5, "I-06", "a", "b")),)), "seed 5 violates I-06"),
        (Seeds((chunk(1, seeds.COUNT),)), "stp never struck: no seed shows anything of it"),
        (kills(behind=2), "2 orders were decided or accepted behind a kill"),
        (
            Mutants(stamped(), 300, tuple(mutant(str(number), killed=number > 1) for number in range(20))),
            "mutants killed: expected 95%, got 90.0%",
        ),
        (
            Mutants(
                stamped(),
                300,
                (
                    *(mutant(str(number), killed=number > 0) for number in range(19)),
                    replace(mutant("walked"), invariants=(WALKS,)),
                ),
            ),
            "mutants killed by the simulator: expected 95%, got 94.7%",
        ),
    ],
)
def test_exit_when_a_promise_is_broken_then_1_and_says_which(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    figures: Any,
    words: str,
) -> None:
    """The page is written all the same."""
    monkeypatch.setattr(program, "code_of", lambda ref: stamped().commit)
    monkeypatch.setattr(program, "_one", lambda part, asked, say: program._judge(part, asked.place))
    save(tmp_path, figures)
    where = tmp_path / "page.md"
    assert program.main(["all", "--place", str(tmp_path), "--page", str(where)]) == 1
    assert words in capsys.readouterr().err
    assert where.exists()


@pytest.mark.parametrize("error", [AssertionError("9 orders still rest"), Defect("seed 5 died")])
def test_exit_when_one_part_fails_in_its_midst_then_1_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """A daemon that does not do what it should, or a process that died, is what is found."""
    ran: list[str] = []

    def one(part: str, asked: object, say: object) -> list[str]:
        ran.append(part)
        if part in ("seeds", "kills"):
            raise error
        return []

    monkeypatch.setattr(program, "code_of", lambda ref: stamped().commit)
    monkeypatch.setattr(program, "_one", one)
    assert program.main(["all", "--place", str(tmp_path)]) == 1
    assert ran == ["seeds", "mutants", "kills", "recovery"]
    assert f"seeds: {error}\nkills: {error}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--count", "0"),
        ("--count", "-3"),
        ("--from", "-1"),
        ("--chunk", "0"),
        ("--jobs", "0"),
        ("--large", "0"),
    ]
    + [("--hours", text) for text in ("0.01", "nan", "inf", "-1")],
)
def test_parser_when_a_number_makes_no_sense_then_2_and_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    """None at all would be a proof of nothing that ends with 0."""
    with pytest.raises(SystemExit, match="2"):
        program.main(["seeds", "--place", str(tmp_path), *words])
    assert f"{words[0]}: expected at least" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_page_when_the_figures_go_elsewhere_then_it_stands_there(tmp_path: Path) -> None:
    """RELIABILITY.md has those that are kept, whatever is tried beside."""
    before = stamp.PAGE.read_bytes()
    place = tmp_path / "new"
    assert program.main(["render", "--place", str(place)]) == 0
    assert (place / "RELIABILITY.md").exists()
    assert stamp.PAGE.read_bytes() == before


def test_exit_when_a_part_cannot_run_then_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no result is no survivor."""
    (tmp_path / "kills.json").write_text("{}")
    assert rendered(tmp_path) == 2
    assert "BAD_FIGURES" in capsys.readouterr().err


def test_exit_when_one_part_cannot_run_then_1_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours behind it are not to be lost to a module that is not there."""
    ran: list[str] = []

    def one(part: str, asked: object, say: object) -> list[str]:
        ran.append(part)
        if part == "mutants":
            raise Refused("NO_MUTANTS", "no such module")
        return []

    monkeypatch.setattr(program, "code_of", lambda ref: stamped().commit)
    monkeypatch.setattr(program, "_one", one)
    assert program.main(["all", "--place", str(tmp_path), "--page", str(tmp_path / "page.md")]) == 1
    assert ran == ["seeds", "mutants", "kills", "recovery"]
    assert "mutants: NO_MUTANTS: no such module" in capsys.readouterr().err
