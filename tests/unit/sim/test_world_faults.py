"""Schedules: what may go wrong in a seed, and when."""

from __future__ import annotations

import pytest

from tradefan.errors import Refused
from tradefan.sim.faults import (
    CRASHES,
    KINDS,
    MODIFIERS,
    PER_MINUTE,
    WORLD_KINDS,
    misdeeds,
    on_in,
    read_kinds,
    read_only,
    schedule,
)
from tradefan.sim.kinds import MARKET_KINDS, VENUE_KINDS
from tradefan.sim.only import Only
from tradefan.units import MINUTE, SECOND

SPAN_NS = 17 * MINUTE


def test_read_kinds_when_all_then_every_kind_may_be_on() -> None:
    """`all` leaves it to the seed which subset is on."""
    assert read_kinds("all") == (tuple(KINDS), False)


def test_read_kinds_when_a_list_then_exactly_these_are_on() -> None:
    """A list repeats a failing seed, so each of its kinds is on; the order of the words says nothing."""
    assert read_kinds("stall, crash_disk") == (("crash_disk", "stall"), True)


def test_read_kinds_when_none_then_nothing_is_on() -> None:
    """`none` is a world in which nothing goes wrong."""
    assert read_kinds("none") == ((), True)


def test_read_kinds_when_a_word_is_unknown_then_the_nearest_is_named() -> None:
    """A typing mistake does not quietly run without the fault."""
    with pytest.raises(Refused, match=r"--faults: expected .*, got 'crash_dis'; did you mean 'crash_disk'"):
        read_kinds("crash_dis")


def test_read_only_when_faults_are_named_then_each_word_is_kept_once() -> None:
    """Kinds and single faults may stand beside each other, with blanks or commas between."""
    assert read_only("crash_effect:2, answer_lost:17 fee_quote answer_lost:17") == (
        "crash_effect:2",
        "answer_lost:17",
        "fee_quote",
    )


def test_read_only_when_all_or_none_then_everything_or_nothing_may_happen() -> None:
    """None stands for no limit, which an empty list is not."""
    assert (read_only("all"), read_only("none")) == (None, ())


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("crash_efect:2", "did you mean 'crash_effect'"),
        ("stall:", "behind the colon is a number from 0 on"),
        ("stall:-1", "behind the colon is a number from 0 on"),
        ("stall:one", "behind the colon is a number from 0 on"),
        ("stall:²", "behind the colon is a number from 0 on"),
        ("fee_quote:3", "fee_quote holds all the time"),
    ],
)
def test_read_only_when_a_word_names_no_fault_then_option_value_and_reason_are_said(
    word: str, why: str
) -> None:
    """A list that was typed in by hand does not quietly let something else happen."""
    with pytest.raises(Refused) as refused:
        read_only(f"stall:1 {word}")
    assert refused.value.code == "UNKNOWN_FAULT"
    assert "--only: expected all, none, or faults such as stall or crash_effect:2" in str(refused.value)
    assert f"got {word!r}" in str(refused.value)
    assert why in str(refused.value)


def test_kinds_when_listed_then_each_is_said_once_and_has_instants_or_comes_with_a_crash() -> None:
    """A word that nobody injects would never be covered."""
    assert len(KINDS) == len(VENUE_KINDS) + len(MARKET_KINDS) + len(WORLD_KINDS)
    assert {*PER_MINUTE, *MODIFIERS} == set(WORLD_KINDS)


@pytest.mark.parametrize("seed", range(30))
def test_schedule_when_crashes_may_be_on_then_there_are_two(seed: int) -> None:
    """Every seed under `all` kills its process at least twice, inside the phase with faults."""
    on = on_in(seed, KINDS, all_on=False, liar=False)
    crashes = [one for one in schedule(seed, on, SECOND, SPAN_NS).plan if one.kind in CRASHES]
    assert len(crashes) >= 2
    assert all(SECOND <= one.at_ns < SECOND + SPAN_NS for one in crashes)


def test_schedule_when_a_kind_is_dropped_then_the_others_stay_where_they_were() -> None:
    """That is what makes a shortened list of faults fail as the whole did."""
    kinds = ("stall", "kill", "store_slow", "crash_disk", "crash_effect")
    whole, less = (schedule(3, on, 0, 60 * MINUTE).plan for on in (kinds, kinds[1:]))
    assert tuple(one for one in whole if one.kind != "stall") == less


def test_on_in_when_the_venue_is_honest_then_no_liar_kind_is_on() -> None:
    """An honest venue keeps its bounds, whatever was asked for."""
    assert on_in(1, ("not_found", "halt"), all_on=True, liar=False) == ("halt",)
    assert on_in(1, ("not_found", "halt"), all_on=True, liar=True) == ("not_found", "halt")


def test_misdeeds_when_planned_then_each_strategy_gets_its_own() -> None:
    """They stand in a strategy's settings as words that it reads itself."""
    faults = schedule(1, ("strategy_raise",), 0, 60 * MINUTE)
    found = misdeeds(faults, 2, Only())
    words = [word for texts in found.values() for word in texts.split()]
    assert sorted(words) == sorted(f"raise@{one.at_ns}" for one in faults.plan)
    assert set(found) == {0, 1}


def test_misdeeds_when_some_are_left_out_then_no_setting_names_them() -> None:
    """What a strategy does by itself is left out of what it is told to do."""
    faults, only = schedule(1, ("strategy_raise",), 0, 60 * MINUTE), Only(("strategy_raise:1",))
    second = next(one for one in faults.plan if one.number == 1)
    assert misdeeds(faults, 2, only) == {1: f"raise@{second.at_ns}"}
    assert list(only.happened) == ["strategy_raise:1"]
