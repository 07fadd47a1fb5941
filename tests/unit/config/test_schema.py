from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.unit.config.build import load
from tradefan.config.check import missing_to_run, validate
from tradefan.config.leaf import Leaf
from tradefan.config.loader import Loaded, load_texts
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config.nodes import Scalar
from tradefan.config.schema import (
    AccountConfig,
    Config,
    FeedConfig,
    InstrumentRisk,
    RiskConfig,
    StreamsConfig,
)
from tradefan.config.shape import Field, Map, Table, root
from tradefan.config.sources import ENVIRONMENTS, Layer, read_layers

FOLDER = Path(__file__).parents[3] / "config"
BASE = (FOLDER / "base.yaml").read_text()
DOCUMENTED = re.sub(r"(?m)^#\| ", "", BASE)
"""base.yaml with the keys that have no entry by default."""


def read(name: str) -> bytes | None:
    """Read a file of the project's configuration, but nothing of one's own."""
    path = FOLDER / name
    return path.read_bytes() if path.exists() and name != "local.yaml" else None


def environment(name: str) -> Loaded:
    return load_texts(read_layers(read, name), {}, [], environment=name)


def keys(field: Field, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Field]]:
    """Give every key of the schema; `*` stands for the name of an entry."""
    if path:
        yield ".".join(path), field
    if isinstance(field.shape, Table):
        for name, inner in field.shape.fields.items():
            yield from keys(inner, (*path, name))
    elif isinstance(field.shape, Map):
        yield from keys(field.shape.item, (*path, "*"))


def said(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str, int]]:
    """Give every key of a YAML text with its value's text and its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            yield (
                ".".join(inner),
                value.value if isinstance(value, yaml.ScalarNode) else "",
                key.start_mark.line,
            )
            yield from said(value, inner)


SCHEMA = dict(keys(root(Config)))
TREE = yaml.compose(DOCUMENTED, yaml.SafeLoader)
assert TREE is not None
LINES = DOCUMENTED.splitlines()
KEYS = {key: (value, LINES[line]) for key, value, line in said(TREE)}


_NAMES = ("paper:main", "binance:BTC/USDT", "binance:ETH/USDT", "trend_btc", "ops", "binance", "1m", "USDT")


def generic(key: str) -> str:
    """Return a key with `*` for the names that base.yaml chose."""
    for name in _NAMES:
        key = re.sub(rf"(?<=\.){re.escape(name)}(?=\.|$)", "*", key)
    return key


def test_base_yaml_then_documents_every_key_and_no_other() -> None:
    """Every key of the schema stands in base.yaml, behind `#|` where it has no entry."""
    documented = {generic(key) for key in KEYS}
    assert documented == {key for key in SCHEMA if key != "strategies.*.settings.*"}


@pytest.mark.parametrize("key", [key for key in KEYS if isinstance(SCHEMA[generic(key)].shape, Leaf)])
def test_base_yaml_key_then_default_change_and_unit_as_in_the_schema(key: str) -> None:
    """What base.yaml says about a key is what the schema says: value, when it changes, unit."""
    field = SCHEMA[generic(key)]
    assert isinstance(field.shape, Leaf)
    value, line = KEYS[key]
    collection, _, name = key.rpartition(".")
    default = SCHEMA[generic(collection)].default[name] if generic(key).endswith("*") else field.default
    given = None if value in ("null", "") else field.shape.read(Scalar(value, plain=True, line=1))
    assert given == (None if default == "" else default)
    comment = re.search(r" # (live|restart|fixed)( \| [^|]+)+$", line)
    assert comment is not None, line
    unit = "duration" if field.shape.kind == "duration" else field.unit
    assert comment.group(0).split(" | ")[:-1] == [f" # {field.change}", *([unit] if unit else [])]


def test_base_yaml_then_equal_to_the_defaults() -> None:
    """Without its entries base.yaml changes nothing: it is the schema's defaults, written down."""
    config = load_texts([Layer("base", BASE.encode())], {}, []).config
    empty = msgspec.structs.replace(config, accounts={}, venues={}, feeds={})
    assert empty == Config()
    assert config.accounts == {"paper:main": AccountConfig()}
    assert list(config.feeds) == ["binance:BTC/USDT", "binance:ETH/USDT"]
    assert set(map(msgspec.json.encode, config.feeds.values())) == {msgspec.json.encode(FeedConfig())}


@pytest.mark.parametrize("key", [key for key, field in SCHEMA.items() if "*" not in key.split(".")[-1]])
def test_schema_key_then_described(key: str) -> None:
    """Every key says what it means and when a change takes effect, and its default passes its own check."""
    field = SCHEMA[key]
    assert field.doc
    assert field.change in ("live", "restart", "fixed")
    if isinstance(field.shape, Leaf) and field.default is not None:
        text = field.shape.text(field.default)
        assert field.shape.read(Scalar(text, not isinstance(field.default, str), 1)) == field.default


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment_then_loads_and_survives_msgpack(name: str) -> None:
    """The four environments have no mistake, and a snapshot of each can travel in a recording."""
    config = environment(name).config
    assert (config.environment, validate(config)) == (name, ())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config) == config


def test_environments_then_differ_as_they_should() -> None:
    """development plays the tape on paper, testing is seeded, staging is live, production is real money."""
    configs = {name: environment(name).config for name in ENVIRONMENTS}
    summary = {
        name: (
            config.venues["binance"].source,
            list(config.accounts),
            list(config.strategies),
            config.runtime.seed != 0,
        )
        for name, config in configs.items()
    }
    two = ["ema_cross_eth", "rebalance_btc"]
    assert summary == {
        "development": ("tape", ["paper:main"], two, False),
        "testing": ("tape", ["paper:main"], two, True),
        "staging": ("live", ["paper:main"], two, False),
        "production": ("live", ["binance:main"], [], False),
    }
    same: dict[str, Any] = {"environment": "", "runtime": configs["testing"].runtime}
    assert msgspec.structs.replace(configs["development"], **same) == msgspec.structs.replace(
        configs["testing"], **same
    )
    assert configs["development"].strategies["rebalance_btc"].settings == {
        "symbol": "BTC/USDT",
        "weight": 0.15,
        "band": 0.01,
        "by": "twap",
        "duration": "2m",
    }


def test_development_then_a_parent_of_5_btc_passes_its_limits() -> None:
    """5 BTC at 61,000 beside a held weight of 0.15 and ETH at 0.1 is inside every limit of 1,000,000."""
    config = environment("development").config
    equity, price = int(config.accounts["paper:main"].balances["USDT"]), 61_000
    held, order, eth = equity * 15 // 100, 5 * price, equity // 10
    limits = config.risk.limits("binance:BTC/USDT")
    assert limits.max_order_qty >= 5
    assert limits.max_order_notional >= order
    assert limits.max_position >= 5 + held // price + 1
    assert limits.max_position_notional >= held + order
    assert config.risk.max_concentration * equity >= held + order
    assert config.risk.max_exposure * equity >= held + order + eth
    assert config.risk.limits("binance:ETH/USDT").max_order_qty >= eth // 2000


def test_production_then_passes_check_and_names_what_it_lacks() -> None:
    """Real money needs keys, a venue that this version does not trade, and a word; paper needs nothing."""
    assert missing_to_run(environment("production").config, lambda reference: f"{reference} is not set") == (
        "api_key of binance:main (accounts.binance:main.api_key: ${BINANCE_API_KEY} is not set)",
        "api_secret of binance:main (accounts.binance:main.api_secret: ${BINANCE_API_SECRET} is not set)",
        "a connection to binance accounts: this version trades on paper only (binance:main)",
        "your word that real money is wanted (production.confirm: true)",
    )
    assert missing_to_run(environment("staging").config, lambda reference: f"{reference} is not set") == ()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment_file_cut_anywhere_then_refused(name: str) -> None:
    """A file that is read while it is written is noticed, wherever it ends: its last line names it."""
    whole = (FOLDER / f"environments/{name}.yaml").read_bytes()
    base = Layer("base", BASE.encode())
    for line in range(1, whole.count(b"\n")):
        cut = b"\n".join(whole.split(b"\n")[:line]) + b"\n"
        with pytest.raises(ConfigInvalid, match=r"environment: expected|expected YAML"):
            load_texts([base, Layer("cut", cut)], {}, [], environment=name)


def test_base_yaml_cut_in_a_line_then_refused() -> None:
    """`port: 80` of `port: 8000` is never taken: a file ends with a line end."""
    at = BASE.index("port: 8000") + len("port: 80")
    cut = {"base.yaml": BASE[:at].encode(), "environments/testing.yaml": b"environment: testing\n"}
    with pytest.raises(ConfigInvalid, match="expected a line end at the end; it may be cut short"):
        read_layers(cut.get, "testing")


def test_limits_then_overrides_over_the_common_ones() -> None:
    """An instrument inherits every limit that it does not override."""
    risk = load("risk: {instruments: {binance:ETH/USDT: {max_position: 7}}}").config.risk
    common = RiskConfig()
    assert risk.limits("binance:BTC/USDT") == common.limits("x")
    assert risk.limits("binance:ETH/USDT") == msgspec.structs.replace(common.limits("x"), max_position=7)
    assert set(InstrumentRisk.__struct_fields__) == set(common.limits("x").__struct_fields__)


def test_small_views_then_what_is_on() -> None:
    """Streams and stored bars that are on, and the directories of a run."""
    assert StreamsConfig(depth=False, ticker=True).names() == ("trade", "book_ticker", "ticker")
    assert FeedConfig(bars={"1m": True, "5s": False}).timeframes() == ("1m",)
    assert (Config().data_path, Config().logs_path) == ("data/development", "logs")
    moved = Config(data_dir="/x")
    assert (moved.data_path, moved.logs_path) == ("/x", "/x/logs")
