"""Instants and durations as people write them: what is none, and what no record can hold, is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from tradefan.errors import Refused
from tradefan.spans import Instant, Span, read_special
from tradefan.units import DAY, SECOND, iso, parse_duration, parse_iso, since_ns, steps_up


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59Z", "2262-04-12", "1677-09-20", "0001-01-01", "0001-01-01T00:00:00+05:00"]
)
def test_instant_when_no_record_can_hold_it_then_refused_with_what_can(text: str) -> None:
    """Nanoseconds in 64 bits: from 1678 to 2261; beyond, journal and store could not write it."""
    with pytest.raises(Refused, match="BAD_INSTANT: expected an instant from 1678 to 2261, got") as no:
        parse_iso(text)
    assert text in no.value.text


@pytest.mark.parametrize("text", ["1678-01-01", "2261-12-31T23:59:59.999999Z"])
def test_instant_when_it_is_just_inside_then_it_is_taken(text: str) -> None:
    """Both ends fit a signed integer of 64 bits, and are shown as they were written."""
    assert -(2**63) <= parse_iso(text) < 2**63
    assert iso(parse_iso(text)).startswith(text[:10])


@pytest.mark.parametrize("text", ["36501d", "99999999d", "9" * 5_000 + "s"])
def test_duration_when_it_is_longer_than_a_century_then_refused(text: str) -> None:
    """An instant that is so long ago, or so far ahead, would fit no record either."""
    with pytest.raises(Refused, match="BAD_DURATION: expected a duration up to 36500d, got") as no:
        parse_duration(text)
    assert len(no.value.text) < 150
    with pytest.raises(ValueError, match="expected a duration up to 36500d, got"):
        read_special(Span, text)
    assert parse_duration("36500d") == 36_500 * DAY


@pytest.mark.parametrize("value", ["9" * 5_000, 10**10, 3_153_600_001.0])
def test_duration_when_it_is_a_number_that_is_too_large_then_refused(value: object) -> None:
    """Seconds have the same bound as a text with its unit."""
    with pytest.raises(ValueError, match="expected a duration above zero, up to 36500d, got") as no:
        read_special(Span, value)
    assert len(str(no.value)) < 150


def test_instant_when_it_is_a_number_that_no_record_holds_then_refused() -> None:
    """Settings may say nanoseconds."""
    assert read_special(Instant, SECOND) == SECOND
    with pytest.raises(ValueError, match="expected an instant"):
        read_special(Instant, 2**63)


def test_since_when_so_long_ago_that_no_record_holds_it_then_refused() -> None:
    """Whatever it is written as."""
    for text in ("200000d", "9999-12-31T23:59:59Z", "0001-01-01"):
        with pytest.raises(Refused, match="BAD_"):
            since_ns(text, 1_800_000_000 * SECOND)


def test_since_when_a_datetime_then_its_zone_counts() -> None:
    """To the microsecond; one of no zone could be anybody's clock, a date is no instant."""
    zone = timezone(timedelta(hours=2))
    moment = datetime(2026, 3, 5, 14, 0, 0, 250_001, zone)
    assert since_ns(moment, 0) == parse_iso("2026-03-05T12:00:00.250001Z")
    assert since_ns(moment.astimezone(UTC), 0) == since_ns(moment, 0)
    with pytest.raises(Refused, match="BAD_INSTANT: expected a datetime with a zone, got"):
        since_ns(moment.replace(tzinfo=None), 0)
    with pytest.raises(Refused, match="expected an instant from 1678 to 2261"):
        since_ns(datetime.max.replace(tzinfo=UTC), 0)
    for other in (moment.date(), 1.5):
        with pytest.raises(Refused, match="BAD_INSTANT: expected a text such as 10m"):
            since_ns(other, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "steps"),
    [("0", 0), ("0E-8", 0), ("0.00266", 3), ("0.003", 3), ("0.0030000001", 4), ("2.5", 2500)],
)
def test_steps_up_when_a_step_has_begun_then_it_counts(value: str, steps: int) -> None:
    """`//` of Decimals cuts towards zero, so that turning the sign twice rounds nothing up."""
    assert steps_up(Decimal(value), Decimal("0.001")) == steps
