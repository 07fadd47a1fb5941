"""The page says what the figures say, and where there are none, that there are none."""

from __future__ import annotations

import msgspec
import pytest

from tests.proof.figures import Broken, Proof, Seeds
from tests.proof.promises import read
from tests.proof.render import page
from tests.proof.text import percentile, rows, share, spread
from tests.unit.proof.made import OTHER, chunk, whole

BOOK = read()


def cells(text: str, name: str) -> list[str]:
    """Return the cells of the line of the first table that has this name."""
    (line, *_) = [line for line in text.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_page_when_nothing_has_run_then_says_so_in_place_of_every_number() -> None:
    """A number that is missing must not look like a zero."""
    text = page(BOOK, Proof())
    figures = text.partition("## Figures\n")[2].partition("## Promises")[0]
    body = [line for line in figures.splitlines() if line.startswith("|")][2:]
    assert len(body) == 19
    assert all(line.endswith("| not run yet |  |  |  |") for line in body)
    assert text.count("Not run yet.") == 4


def test_page_when_one_part_has_run_then_the_others_still_say_so() -> None:
    """Parts are run one by one."""
    text = page(BOOK, Proof(kills=whole().kills))
    assert cells(text, "Seeds")[1] == "not run yet"
    assert cells(text, "Kills by the API")[1:] == [
        "200: p50 100.0, p99 198.0, max 200.0",
        "`111111111111`",
        "2026-11-29",
        "2 cores, a processor",
    ]


def test_page_when_everything_has_run_then_has_every_figure() -> None:
    """Totals, percentiles, survivors by name, what should have seen them."""
    text = page(BOOK, whole())
    assert "not run yet" not in text
    values = {
        "Seeds": "500, 0 with a venue that breaks its bounds",
        "Violations": "**0**",
        "Simulated hours": "71.4",
        "Orders ": "5,000",
        "Fills": "4,000",
        "Crashes": "500",
        "Starts ": "1,000",
        "Faults": "500, 1 of 106 kinds",
        "Mutants killed": "1 of 2 (50.0 %)",
        "of these judged": "1 of 2 (50.0 %)",
        "of these acknowledged": "199 of 200",
        "Orders decided": "**0**, of 400 orders around 202 kills",
    }
    assert {name: cells(text, name)[1] for name in values} == values
    assert cells(text, "`silent`") == [
        "`silent`",
        "drops a fill &#124; and more",
        "I-06, I-05",
    ]
    assert cells(text, "`bust`") == ["`bust`", "500", "500", "0 / 0 / 0"]
    assert cells(text, "`stp`") == ["`stp`", "**never**", "", ""]
    assert "1: p50 10.10, p99 10.10, max 10.10" in text


def test_page_when_seeds_are_of_two_commits_then_each_range_names_its_own() -> None:
    """And the totals name both; a violation is told with what was found."""
    broken = Broken(260, "I-06", "one FILL", "two")
    text = page(BOOK, Proof(seeds=Seeds((chunk(1, 250), chunk(251, 500, OTHER, broken)))))
    assert cells(text, "Violations")[1:3] == ["**1**", "`111111111111`, `222222222222`"]
    assert cells(text, "1-250")[6] == "`111111111111`"
    assert cells(text, "251-500")[2] == "1"
    assert cells(text, "260") == ["260", "I-06", "one FILL", "two", "`222222222222`"]


def test_page_when_written_twice_then_the_same_to_the_byte() -> None:
    """Also when the figures have been stored and read meanwhile."""
    proof = whole()
    again = msgspec.json.decode(msgspec.json.encode(proof), type=Proof)
    assert page(BOOK, proof) == page(BOOK, again)


def test_page_when_read_then_every_promise_stands_there_with_its_guards() -> None:
    """In the order of its source."""
    text = page(BOOK, Proof())
    for number, promise in enumerate(BOOK.promises, 1):
        part = text.partition(f"### {number}. {promise.title}\n")[2].partition("\n#")[0]
        assert promise.text in part
        assert all(name in part for name in (*promise.invariants, *promise.experiments, *promise.failures))
    assert len(BOOK.promises) >= 20


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [
        ((3.0,), 99, 3.0),
        ((1.0, 2.0, 3.0, 4.0), 50, 2.0),
        (tuple(range(1, 101)), 99, 99),
        ((5.0, 1.0), 100, 5.0),
    ],
)
def test_percentile_when_asked_then_a_value_that_was_measured(
    values: tuple[float, ...], percent: float, found: float
) -> None:
    """Nearest rank: no number is made up between two."""
    assert percentile(values, percent) == found


def test_share_when_nearly_all_then_not_all() -> None:
    """999 of 1,000 would be enough, 949 of 1,000 is not."""
    assert (share(9_999, 10_000), share(949, 1_000), share(2, 2)) == ("99.9 %", "94.9 %", "100.0 %")
    assert spread((1.0, 2.0), 1) == "p50 1.0, p99 2.0, max 2.0"
    assert list(rows(("a", "b"), [("x|y", "z")])) == ["| a | b |", "|---|---|", "| x&#124;y | z |", ""]
