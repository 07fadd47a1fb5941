"""Causes of modes as they are followed: entered, clear, left; and their table (RELIABILITY.md 2b)."""

from __future__ import annotations

import msgspec
import pytest

from tradefan.core.modes import (
    CAUSES,
    OVER_LIMIT,
    RESUMABLE,
    Causes,
    entered,
    holds,
    is_over_limit,
    is_own,
    left_ns,
    tighter,
    waits_for_human,
    word,
)
from tradefan.messages.account import Mode
from tradefan.units import MINUTE, SECOND

BTC = "binance:BTC/USDT"


def test_table_when_read_then_every_cause_has_its_mode_and_clear_times() -> None:
    """Written down from RELIABILITY.md 2b, not from the product: mode, clear time, again, human."""
    wanted: dict[str, tuple[Mode, int, int, bool]] = {
        "feed": ("NO_NEW_RISK", 0, 30, False),
        "link": ("NO_NEW_RISK", 30, 30, False),
        "loop lag": ("NO_NEW_RISK", 30, 30, False),
        "risk desk": ("NO_NEW_RISK", 30, 30, False),
        "chain": ("NO_NEW_RISK", 30, 30, True),
        "over limit": ("REDUCE_ONLY", 30, 30, False),
        "hold": ("CANCEL_ONLY", 0, 0, False),
        "poison": ("CANCEL_ONLY", 0, 0, False),
        "in doubt": ("CANCEL_ONLY", 30, 30, False),
        "auth": ("CANCEL_ONLY", 30, 30, True),
        "ban": ("CANCEL_ONLY", 30, 30, False),
        "journal": ("CANCEL_ONLY", 10, 30, False),
        "starting": ("CANCEL_ONLY", 0, 0, False),
        "safe": ("CANCEL_ONLY", 0, 0, False),
    }
    found = {
        name: (spec.mode, spec.clear_ns // SECOND, spec.clear_again_ns // SECOND, spec.human)
        for name, spec in CAUSES.items()
    }
    assert found == wanted


def test_modes_when_compared_then_they_are_strictly_ordered() -> None:
    """NORMAL NO_NEW_RISK REDUCE_ONLY CANCEL_ONLY KILLED, from free to tight."""
    order: tuple[Mode, ...] = ("NORMAL", "NO_NEW_RISK", "REDUCE_ONLY", "CANCEL_ONLY", "KILLED")
    for left, one in enumerate(order):
        for right, other in enumerate(order):
            assert tighter(one, other) is (left > right)


def test_cause_when_clear_then_it_is_left_after_its_clear_time_and_holding_begins_anew() -> None:
    """The instant from which it is clear counts; while it holds there is none."""
    causes = Causes()
    entered(causes, "all", "link", 0, at_start=False)
    assert left_ns(causes, "all", "link", 10 * SECOND) == 40 * SECOND
    assert left_ns(causes, "all", "link", 20 * SECOND) == 40 * SECOND
    holds(causes, "all", "link")
    assert left_ns(causes, "all", "link", 50 * SECOND) == 80 * SECOND


@pytest.mark.parametrize(("apart_ns", "clear_s"), [(5 * MINUTE, 30), (5 * MINUTE + 1, 0)])
def test_cause_when_entered_again_then_five_minutes_decide_about_its_clear_time(
    apart_ns: int, clear_s: int
) -> None:
    """A feed that breaks again within 5 min has to be LIVE for 30 s."""
    causes = Causes()
    entered(causes, BTC, "feed", 0, at_start=False)
    assert left_ns(causes, BTC, "feed", 0) == 0
    entered(causes, BTC, "feed", apart_ns, at_start=False)
    assert left_ns(causes, BTC, "feed", apart_ns) == apart_ns + clear_s * SECOND


def test_cause_when_it_has_held_since_the_start_then_it_is_left_at_once_and_only_then() -> None:
    """Nobody has seen it begin; one that was left and came again has begun."""
    causes = Causes()
    entered(causes, "all", "risk desk", 0, at_start=True)
    assert left_ns(causes, "all", "risk desk", 9) == 9
    entered(causes, "all", "risk desk", 10, at_start=True)
    assert left_ns(causes, "all", "risk desk", 11) == 11 + 30 * SECOND


@pytest.mark.parametrize("cause", ["chain", "auth"])
def test_cause_when_a_human_has_to_end_it_then_no_time_does(cause: str) -> None:
    """None: there is no instant to come back at, since the start or not."""
    causes = Causes()
    for at_start in (True, False):
        entered(causes, "all", cause, 0, at_start=at_start)
        assert left_ns(causes, "all", cause, 10**15) is None


def test_cause_when_of_an_earlier_life_then_it_is_left_at_once() -> None:
    """A MODE record that nobody here has entered: what does not hold any more is over."""
    assert left_ns(Causes(), "all", "link", 7) == 7


def test_cause_when_of_two_scopes_then_each_is_followed_by_itself() -> None:
    """The key is (scope, cause)."""
    causes = Causes()
    entered(causes, "a", "link", 0, at_start=False)
    entered(causes, "b", "link", 0, at_start=False)
    assert left_ns(causes, "a", "link", 0) == 30 * SECOND
    holds(causes, "b", "link")
    assert left_ns(causes, "a", "link", 5) == 30 * SECOND


def test_name_when_it_carries_its_subject_then_its_word_is_the_cause() -> None:
    """`over limit @ACCOUNT INSTRUMENT` is judged as `over limit`; the desk's causes are not the OMS's."""
    name = f"{OVER_LIMIT}paper:main {BTC}"
    assert (word(name), is_over_limit(name), is_own(name)) == ("over limit", True, True)
    assert [is_own(one) for one in ("link", "drawdown", "books differ")] == [True, False, False]
    assert [waits_for_human(one) for one in RESUMABLE] == [True] * 6
    assert [waits_for_human(one) for one in ("poison", "hold", "link", "exposure")] == [False] * 4


def test_causes_when_encoded_then_they_come_back_equal() -> None:
    """They are part of the OMS's state."""
    causes = Causes()
    entered(causes, "all", "link", 5, at_start=True)
    left_ns(causes, "all", "link", 7)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(causes), type=Causes)
    assert again == causes
