"""Contingent orders as they are written: errors name the setting, what it was and what would pass."""

from __future__ import annotations

import pytest

from tradefan.core.contingent import good_till_ns
from tradefan.errors import Refused
from tradefan.units import DAY


@pytest.mark.parametrize("expiry", ["good_till:x", "good_till:", "good_till:9999-12-31T23:59:59Z"])
def test_expiry_when_it_is_no_instant_that_a_record_can_hold_then_refused(expiry: str) -> None:
    """It would be journaled with the trigger, and stop the journal."""
    with pytest.raises(Refused, match="BAD_SETTING: expiry: expected an instant") as no:
        good_till_ns(expiry)
    assert (f"got {expiry.partition(':')[2]!r}" in no.value.text, no.value.would_pass) == (True, "expiry gtc")


def test_expiry_when_it_is_an_instant_then_it_is_that_one() -> None:
    """Others have none."""
    assert good_till_ns("good_till:1970-01-02") == DAY
    assert (good_till_ns("gtc"), good_till_ns("day")) == (None, None)
