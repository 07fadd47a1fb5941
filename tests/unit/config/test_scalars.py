from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.config.build import load, mistakes
from tradefan.config.scalars import carried, resolve
from tradefan.errors import Refused


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("22:22", "22:22"),
        ("1_000", "1_000"),
        ("2024-08-08", "2024-08-08"),
        ("0b11", "0b11"),
        ("=", "="),
        ("<<", "<<"),
        ("010", 10),
        ("0777", 777),
        ("0o17", 15),
        ("0x1F", 31),
        ("+5", 5),
        ("-0", 0),
        ("1e3", Decimal(1000)),
        ("1.", Decimal(1)),
        (".5", Decimal("0.5")),
        ("0.20", Decimal("0.2")),
        ("-1.5E-2", Decimal("-0.015")),
        ("0.1234567890123456789", Decimal("0.1234567890123456789")),
        ("0e99", Decimal(0)),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nULL", "nULL"),
        ("infinity", "infinity"),
        ("nan", "nan"),
    ],
)
def test_resolve_plain_scalar_then_yaml_1_2_and_exact(text: str, value: object) -> None:
    """A scalar is what it looks like: the traps of YAML 1.1 are text or plain numbers, no digit is lost."""
    result = resolve(text)
    assert (type(result), str(result)) == (type(value), str(value))


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", ".nan", "1e31", "1e-31", "1e99999999999999999999", "9" * 65]
)
def test_resolve_number_without_use_then_refused(text: str) -> None:
    """No infinite, unreal or absurd number gets in, and none costs memory."""
    with pytest.raises(Refused, match="BAD_NUMBER"):
        resolve(text)


def test_carried_number_that_a_float_would_change_then_refused() -> None:
    """A free setting travels as JSON has it; a number that would lose a digit on the way is refused."""
    assert (carried(Decimal("0.15")), carried(5), carried(Decimal(1000))) == (0.15, 5, 1000.0)
    for number in (Decimal("0.12345678901234567891"), 2**63):
        with pytest.raises(Refused, match="at most 15 digits"):
            carried(number)


PORT = "a whole number from 0 up to 65535"
SHARE = "a number above 0 up to 1"
LEVEL = "debug, info, warning or error"
GRACE = "a duration such as 250ms, 30s, 5m, 1h or 1d up to 1m"


@pytest.mark.parametrize(
    ("key", "value", "expected", "hint"),
    [
        ("api.port", "no", PORT, ""),
        ("api.port", "8_000", PORT, "; digits only, no separators"),
        ("api.port", "'8000'", PORT, "; without quotes"),
        ("api.port", "80.5", PORT, ""),
        ("api.port", "true", PORT, ""),
        ("api.port", "0177777", PORT, ""),
        ("api.host", "12", "a host", '; quote it to make it text: "12"'),
        ("logs.console", "no", "true or false", "; did you mean false?"),
        ("logs.console", "Yes", "true or false", "; did you mean true?"),
        ("logs.console", "1", "true or false", ""),
        ("logs.level", "warn", LEVEL, "; did you mean warning?"),
        ("logs.level", "5", LEVEL, '; quote it to make it text: "5"'),
        ("risk.max_drawdown", "20%", SHARE, "; a share is written as a fraction: 20% is 0.2"),
        ("risk.max_drawdown", "20", SHARE, ""),
        ("risk.max_drawdown", "nan", SHARE, ""),
        ("risk.max_drawdown", ".nan", "a finite number", ""),
        ("risk.max_drawdown", ".inf", "a finite number", ""),
        ("risk.max_drawdown", "1e-400", "a number between 1e-30 and 1e30", ""),
        ("time.bar_grace", "2", GRACE, ""),
        ("time.bar_grace", "0s", GRACE, ""),
        ("time.bar_grace", "2h", GRACE, ""),
        ("time.bar_grace", ".inf", GRACE, ""),
        ("time.bar_grace", "٣s", GRACE, ""),
        ("time.bar_grace", f"{'9' * 70}s", GRACE, ""),
        ("time.day_roll", "24:00", "a time such as 00:00 or 17:30", ""),
        ("venues.binance.tape.speed", "0", "a number above 0 up to 1000", ""),
        ("venues.binance.stream_url", "http://x", "ws:// or wss:// and a host", ""),
    ],
)
def test_load_value_of_another_kind_then_says_what_would_pass(
    key: str, value: str, expected: str, hint: str
) -> None:
    """Each value of a wrong kind or out of bounds is named with its place, the expectation and a way out."""
    *sections, name = key.split(".")
    text = "".join(f"{section}: {{" for section in sections) + f"{name}: {value}" + "}" * len(sections)
    assert mistakes(text) == [f"one:1: {key}: expected {expected}, got {value}{hint}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data_dir: {a: b}", "one:1: data_dir: expected text, got a map"),
        ("logs: {files: [1]}", "one:1: logs.files: expected a whole number from 1 up to 1000, got a list"),
        ("logs: 5", "one:1: logs: expected a map, got 5"),
        ("logs: [5]", "one:1: logs: expected a map, got a list; collections are maps keyed by name"),
        ("hello", "one:1: expected a map, got hello"),
    ],
)
def test_load_value_of_another_shape_then_refused(text: str, line: str) -> None:
    """A map is no value, a value no map, and nothing is a list."""
    assert mistakes(text) == [line]


def test_load_scalars_that_mislead_yaml_1_1_then_as_written() -> None:
    """A port 010 is ten, a roll 12:30 is a time of day, and a number with an exponent is a number."""
    config = load(
        "{api: {port: 010}, time: {day_roll: 12:30}, risk: {max_order_qty: 1e3, max_drawdown: 0.10}}"
    ).config
    assert (config.api.port, config.time.day_roll) == (10, "12:30")
    assert (str(config.risk.max_order_qty), str(config.risk.max_drawdown)) == ("1000", "0.1")
