from __future__ import annotations

import pytest

from tests.unit.config.build import load, mistakes
from tradefan.config.nodes import DEPTH_MAX, SIZE_MAX, parse


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "a: &x 1\nrisk: *x\n",
            [
                "one:1: a: expected a value without an anchor, got &x",
                "one:1: a: expected a key that exists; known here: {sections}",
                "one:2: risk: expected a value written out, got *x; aliases are not used here",
            ],
        ),
        (
            "api: {port: !!str 8000}",
            [
                (
                    "one:1: api.port: expected a value without a tag, got tag:yaml.org,2002:str;"
                    " types follow from the schema"
                )
            ],
        ),
        (
            "api: !!python/object:os {port: 1}",
            [
                (
                    "one:1: api: expected a value without a tag, got tag:yaml.org,2002:python/object:os;"
                    " types follow from the schema"
                )
            ],
        ),
        ("api:\n\tport: 1\n", ["one:2: api: expected YAML; indent with spaces"]),
        ("api: {port: 1}\n---\napi: {}\n", ["one:2: expected one document in a file, got a second `---`"]),
        ("%YAML 1.1\n---\napi: {port: 1}\n", ["one:1: expected YAML 1.2, got %YAML 1.1"]),
        ("api: [1\n", ["one:2: api: expected YAML; expected ',' or ']', but got '<stream end>'"]),
        ("? [a]\n: 1\n", ["one:1: expected a key that is a name, got a collection"]),
        ('"": 1\n', ["one:1: expected a key that is a name, got an empty key"]),
        ('data_dir: "a\\x00b"', ["one:1: data_dir: expected printable characters, got #x0000"]),
        ('data_dir: "a\\ud800b"', ["one:1: data_dir: expected printable characters, got #xd800"]),
        ("api: {port: 1}\n\x07", ["one:2: expected printable characters, got #x0007"]),
    ],
)
def test_load_yaml_that_is_not_wanted_then_named_with_its_line(text: str, lines: list[str]) -> None:
    """Aliases, anchors, tags, tabs, second documents and broken syntax are mistakes with line and key."""
    sections = (
        "accounts, api, data_dir, environment, feeds, influx, journal, logs, notifiers, portfolio,"
        " production, recorder, redis, risk, runtime, store, strategies, telemetry, time, venues"
    )
    assert mistakes(text) == [line.replace("{sections}", sections) for line in lines]


@pytest.mark.parametrize("text", ['data_dir: "\\UFFFFFFFF"', "%YAML " + "1" * 5000 + ".2\n---\na: 1\n"])
def test_parse_number_that_the_parser_does_not_bound_then_a_mistake(text: str) -> None:
    """Where the parser itself fails on a number in the text, the text is refused like any other."""
    document = parse("one", text.encode())
    assert (document.whole, len(document.mistakes), document.mistakes[0].expected) == (False, 1, "YAML")


@pytest.mark.parametrize("bomb", ["[" * 5000, "{a: " * 5000, "- " * 5000, "? " * 5000])
def test_parse_depth_bomb_then_one_mistake(bomb: str) -> None:
    """Five thousand nested collections cost nothing: reading stops at the depth limit."""
    assert [str(mistake).rpartition(": ")[2] for mistake in parse("one", bomb.encode()).mistakes] == [
        "expected at most 20 levels; the rest of the file was not read"
    ]


def test_parse_depth_at_the_limit_then_read() -> None:
    """Twenty levels are read, one more is not."""
    deepest = "{a: " * DEPTH_MAX + "1" + "}" * DEPTH_MAX
    assert parse("one", deepest.encode()).mistakes == []
    assert parse("one", f"{{b: {deepest}}}".encode()).whole is False


def test_parse_alias_bomb_then_nothing_is_expanded() -> None:
    """A billion laughs is a few mistakes: no alias is followed."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 20)]
    document = parse("one", "\n".join(lines).encode())
    assert (document.whole, len(document.mistakes)) == (True, 20 + 19 * 2)


def test_parse_size_over_the_limit_then_refused_before_reading() -> None:
    """A text over 1 MiB is refused by its size."""
    assert [str(mistake) for mistake in parse("one", b"#" * (SIZE_MAX + 1)).mistakes] == [
        "one:1: expected at most 1048576 bytes, got 1048577 bytes"
    ]
    assert parse("one", b"#" * SIZE_MAX).mistakes == []


def test_parse_bytes_that_are_not_utf_8_then_line_and_byte() -> None:
    """Latin-1 in the third line is named by line and byte."""
    document = parse("one", b"api:\n  port: 1\ndata_dir: caf\xe9\n")
    assert [str(mistake) for mistake in document.mistakes] == ["one:3: expected UTF-8, got byte 0xe9"]


def test_load_byte_order_mark_and_empty_file_then_accepted() -> None:
    """A file of an editor that marks UTF-8, and one with comments only, are fine."""
    assert load("\ufeffapi: {port: 1}", "# nothing\n", "").config.api.port == 1
