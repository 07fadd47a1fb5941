from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tradefan.config.leaf import Leaf
from tradefan.config.loader import Loaded, load_texts
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config.render import quoted, render
from tradefan.config.schema import Config
from tradefan.config.shape import Field, Table, root, slots
from tradefan.config.sources import Layer

pytestmark = pytest.mark.slow

GOOD = b"{accounts: {paper:main: {}}, venues: {binance: {}}, feeds: {binance:BTC/USDT: {}}}"
SECTIONS = [name for name, field in root(Config).shape.fields.items() if isinstance(field.shape, Table)]  # type: ignore[union-attr]
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)
SETTING = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | TEXT
    | st.floats(-1e29, 1e29).filter(lambda x: abs(x) > 1e-29),
    lambda inner: st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), inner, max_size=3
    ),
    max_leaves=6,
)


def load(text: str) -> Loaded:
    return load_texts([Layer("good", GOOD), Layer("text", text.encode())], {}, [])


def values(field: Field) -> st.SearchStrategy[str]:
    """Give texts of a value that keeps the bounds of a leaf."""
    leaf = field.shape
    assert isinstance(leaf, Leaf)
    low = int(leaf.ge if leaf.ge is not None else 0)
    high = int(leaf.le if leaf.le is not None else low + 1000)
    match leaf.kind:
        case "bool":
            return st.sampled_from(["true", "false"])
        case "int":
            return st.integers(low, high).map(str)
        case "float" | "decimal":
            return st.decimals(low, high, places=6, allow_nan=False).filter(lambda n: n > 0).map(str)
        case "duration":
            return st.integers(1, high // 1_000_000).map(lambda ms: f"{ms}ms")
        case "choice":
            return st.sampled_from(leaf.choices)
        case _:
            return st.just(quoted(str(field.default)))


def section(name: str) -> st.SearchStrategy[str]:
    """Give a section with any of its keys at any good value."""
    table = root(Config).shape.fields[name].shape  # type: ignore[union-attr]
    assert isinstance(table, Table)
    leaves = {key: values(field) for key, field in table.fields.items() if isinstance(field.shape, Leaf)}
    pairs = st.fixed_dictionaries({}, optional=leaves)
    return pairs.map(
        lambda pairs: f"{name}: {{{', '.join(f'{key}: {value}' for key, value in pairs.items())}}}"
    )


@settings(max_examples=60)
@given(st.tuples(*map(section, SECTIONS)))
def test_render_any_configuration_then_loads_to_the_same(parts: tuple[str, ...]) -> None:
    """What `tradefan check` prints is a configuration with the same values and the same id."""
    try:
        loaded = load("\n".join(parts))
    except ConfigInvalid as error:
        # Values that are good alone may not fit each other.
        assert all("up to" in mistake.expected for mistake in error.mistakes)  # noqa: PT017
        return
    again = load_texts([Layer("again", render(loaded).encode())], {}, [])
    assert (again.config, again.config_id) == (loaded.config, loaded.config_id)


@settings(max_examples=60)
@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), SETTING, max_size=4))
@example({"symbol": "BTC/USDT"})
def test_render_any_settings_then_loads_to_the_same(given_settings: dict[str, Any]) -> None:
    """A strategy's settings survive rendering, whatever text and numbers they hold."""
    given_settings |= {"symbol": "BTC/USDT", "timeframe": "1m"}

    def flow(value: object) -> str:
        if isinstance(value, dict):
            return f"{{{', '.join(f'{quoted(key)}: {flow(inner)}' for key, inner in value.items())}}}"
        if isinstance(value, str):
            return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
        return str(value).lower()

    loaded = load(f"strategies: {{t: {{use: x, settings: {flow(given_settings)}}}}}")
    assert loaded.config.strategies["t"].settings == given_settings
    again = load_texts([Layer("again", render(loaded).encode())], {}, [])
    assert again.config_id == loaded.config_id


WORDS = [
    "api",
    "port",
    "risk",
    "feeds",
    "strategies",
    "t",
    "settings",
    "accounts",
    "paper:main",
    "null",
    "no",
]
MARKS = [
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "'",
    '"',
    "#",
    "|\n",
    ">",
    "\t",
]
ODD = [
    "&a ",
    "*a",
    "!!str ",
    "!",
    "%YAML 1.2\n",
    "---\n",
    "...",
    "<<",
    "\\U",
    "\\xff",
    "1e9999",
    ".nan",
    "0x",
    "@",
    "~",
]
TOKENS = st.sampled_from(WORDS + MARKS + ODD)
BYTES = (
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.lists(TOKENS, max_size=25).map(lambda tokens: "".join(tokens).encode())
)


@settings(max_examples=300)
@given(BYTES)
def test_load_any_bytes_then_a_configuration_or_its_mistakes(data: bytes) -> None:
    """No text makes the loader raise anything but its own refusal, and a refusal names at least one place."""
    try:
        loaded = load_texts([Layer("good", GOOD), Layer("any", data)], {}, [])
    except ConfigInvalid as error:
        assert error.mistakes  # noqa: PT017
        return
    assert load_texts([Layer("again", render(loaded).encode())], {}, []).config_id == loaded.config_id


@settings(max_examples=150)
@given(
    st.lists(st.lists(st.sampled_from([*WORDS, ".", "__"]), max_size=4).map(".".join), max_size=2),
    st.lists(TOKENS, max_size=8).map("".join) | st.text(max_size=10),
)
def test_load_any_override_then_a_configuration_or_its_mistakes(keys: list[str], value: str) -> None:
    """Environment variables and --set of any kind end in a configuration or in mistakes."""
    environ = {f"TRADEFAN__{key.replace('.', '__').upper()}": value for key in keys}
    try:
        loaded = load_texts([Layer("good", GOOD)], environ, [f"{key}={value}" for key in keys])
    except ConfigInvalid as error:
        assert error.mistakes  # noqa: PT017
        return
    assert isinstance(loaded.config, Config)


@pytest.mark.parametrize("slot", [slot.key for slot in slots(root(Config), load("").config)])
def test_load_every_key_with_a_list_then_refused_at_its_place(slot: str) -> None:
    """Every single key refuses what it is not, at its own place."""
    with pytest.raises(ConfigInvalid) as caught:
        load_texts([Layer("good", GOOD)], {}, [f"{slot}=[]"])
    assert [(mistake.file, mistake.key) for mistake in caught.value.mistakes] == [(f"--set {slot}", slot)]
