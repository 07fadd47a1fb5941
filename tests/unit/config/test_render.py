from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from tests.unit.config.build import load
from tradefan.config.leaf import Leaf
from tradefan.config.loader import load_texts
from tradefan.config.render import json_schema, quoted, render
from tradefan.config.schema import Config
from tradefan.config.shape import ANY, Map, Table, table
from tradefan.config.sources import Layer


def test_render_then_every_value_with_its_origin() -> None:
    """`tradefan check` prints the effective configuration: a line a key, ending with where it is from."""
    loaded = load(
        "feeds: {binance:BTC/USDT: {bars: {1m: null, 5s: true}}}\nrisk:\n  max_drawdown: 0.10\n",
        "strategies: {t: {use: x, settings: {symbol: BTC/USDT, off: 'no', deep: {a: 1.5}}}}",
        environ={"TRADEFAN__API__PORT": "8001"},
        sets=["time.bar_grace=3s"],
    )
    text = render(loaded)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == f"# config {loaded.config_id}"
    for line in (
        "max_drawdown: 0.1 # one:3",
        "port: 8001 # env TRADEFAN__API__PORT",
        "bar_grace: 3s # --set time.bar_grace",
        "day_roll: 00:00 # default",
        "5s: true # one:1",
        "1m: null # default",
        "off: no # two:1",
        "a: 1.5 # two:1",
        'data_dir: "" # default',
        "instruments: {} # default",
    ):
        assert line in lines
    assert "    bars:\n      5s: true" in text
    assert load_texts([Layer("again", text.encode())], {}, []).config_id == loaded.config_id


def test_quoted_text_then_reads_back_as_the_same_text() -> None:
    """Text that would look like something else is quoted, anything else stays readable."""
    assert [quoted(text) for text in ("USDT", "12:30", "wss://a.b:9443", "binance:BTC/USDT")] == [
        "USDT",
        "12:30",
        "wss://a.b:9443",
        "binance:BTC/USDT",
    ]
    assert [quoted(text) for text in ("", "true", "010", "1e3", ".nan", "a: b", "#x", 'a"\\\n', "a:")] == [
        '""',
        '"true"',
        '"010"',
        '"1e3"',
        '".nan"',
        '"a: b"',
        '"#x"',
        '"a\\"\\\\\\U0000000a"',
        '"a:"',
    ]


def test_json_schema_then_every_key_with_type_bounds_and_change() -> None:
    """Editors learn from it what a file may say: nothing is required, unknown keys are errors."""
    schema = json_schema()
    sections: dict[str, Any] = schema["properties"]
    assert list(sections) == list(Config.__struct_fields__)
    assert schema["additionalProperties"] is False
    assert sections["risk"]["properties"]["max_drawdown"] == {
        "description": "fall from the highest equity [live]",
        "x-unit": "share of equity",
        "x-change": "live",
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 0.2,
    }
    assert sections["time"]["properties"]["bar_grace"]["default"] == "2s"
    assert sections["time"]["properties"]["day_roll"]["pattern"] == "^(([01][0-9]|2[0-3]):[0-5][0-9])$"
    assert sections["logs"]["properties"]["level"]["enum"] == ["debug", "info", "warning", "error", None]
    assert (
        "type"
        not in sections["strategies"]["additionalProperties"]["properties"]["settings"][
            "additionalProperties"
        ]
    )
    assert sections["accounts"]["propertyNames"]["pattern"].startswith("^([a-z]")
    assert "default" not in sections["risk"]["properties"]["instruments"]
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema


class Inner(Struct):
    """Part of a plug-in's settings."""

    depth: int = 1


class Odd(Struct):
    """Settings with types that the project's own schema does not use."""

    inner: Inner
    pair: int | str = 1
    either: Decimal | None = None
    rows: tuple[int, ...] = ()
    share: float = 0.5


def test_table_of_a_plug_in_then_its_types_as_far_as_they_are_known() -> None:
    """A plug-in's Struct is walked like a section; what only msgspec understands is left to it."""
    fields = table(Odd).fields
    assert isinstance(fields["inner"].shape, Table)
    assert fields["inner"].default is msgspec.NODEFAULT
    assert (fields["pair"].shape, fields["rows"].shape) == (
        Leaf("any", optional=True),
        ANY,
    )
    assert fields["either"].shape == Leaf("decimal", optional=True)
    assert fields["share"].shape == Leaf("float")
    assert isinstance(table(Config).fields["feeds"].shape, Map)
