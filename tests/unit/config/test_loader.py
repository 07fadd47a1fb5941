from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from tests.unit.config.build import GOOD, load, mistakes
from tradefan.config.loader import identify, load_texts
from tradefan.config.mistakes import ConfigInvalid, meant, shown
from tradefan.config.sources import Layer, read_layers


class Cross(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings as a strategy declares them."""

    symbol: str
    fast: Annotated[int, Meta(ge=1)] = 5
    weight: float = 0.5
    stake: Decimal = Decimal(10)
    side: Literal["long", "both"] = "long"
    limit: float | None = None
    extra: dict[str, int] = {}

    def __post_init__(self) -> None:
        if self.fast > 100:
            raise ValueError("fast is at most 100")


STRATEGIES = {"cross": Cross}


def test_load_layers_then_the_last_wins_key_by_key() -> None:
    """Files, then environment variables, then --set: each replaces only the keys that it names."""
    loaded = load(
        "api: {port: 1, host: one, body_max: 2048}",
        "api: {port: 2, host: two}",
        "api: {port: 3}",
        environ={"TRADEFAN__API__CONNECTIONS_MAX": "7", "TRADEFAN_URL": "http://x", "PATH": "/bin"},
        sets=["api.requests_per_second=8", "api.requests_per_second=9"],
    )
    api = loaded.config.api
    assert (api.port, api.host, api.body_max) == (3, "two", 2048)
    assert (api.connections_max, api.requests_per_second) == (7, 9)
    assert {key: place for key, place in loaded.origins.items() if key.startswith("api.")} == {
        "api.port": "three:1",
        "api.host": "two:1",
        "api.body_max": "one:1",
        "api.connections_max": "env TRADEFAN__API__CONNECTIONS_MAX",
        "api.requests_per_second": "--set api.requests_per_second",
    }


def test_load_null_then_entry_removed_and_default_back() -> None:
    """null removes an entry of a map, also a default one, and gives a key or a section its default."""
    config = load(
        """
        feeds: {binance:BTC/USDT: {bars: {5s: true}}, binance:SOL/USDT: {}}
        accounts: {paper:main: {balances: {BTC: 2}}}
        risk: {max_order_qty: 3, max_drawdown: 0.1}
        api: {port: 1}
        """,
        """
        feeds: {binance:BTC/USDT: {bars: {1m: null}}, binance:SOL/USDT: null, binance:ETH/USDT: null}
        accounts: {paper:main: {balances: {USDT: ~}}}
        risk: {max_order_qty: null}
        """,
        environ={"TRADEFAN__API": ""},
    ).config
    assert {name: feed.bars for name, feed in config.feeds.items()} == {"binance:BTC/USDT": {"5s": True}}
    assert config.accounts["paper:main"].balances == {"BTC": Decimal(2)}
    assert (config.risk.max_order_qty, config.risk.max_drawdown) == (Decimal(10), Decimal("0.1"))
    assert config.api.port == 8000


def test_load_entry_removed_and_named_again_then_it_begins_anew() -> None:
    """What stood below a removed entry does not come back with its name."""
    config = load(
        "accounts: {paper:main: {latency: 50ms, order_deadline: 1s}}",
        "accounts: {paper:main: null}",
        "accounts: {paper:main: {latency: 30ms}}",
    ).config
    account = config.accounts["paper:main"]
    assert (account.latency, account.order_deadline) == (30_000_000, 2_000_000_000)


def test_load_maps_then_in_the_order_of_names() -> None:
    """The order of entries in files decides nothing, so it cannot change a run or the config id."""
    one = load("strategies: {b: {use: x}, a: {use: x, settings: {z: 1, y: 2}}}")
    two = load(
        "strategies: {a: {settings: {y: 2}}}", "strategies: {a: {use: x, settings: {z: 1}}, b: {use: x}}"
    )
    assert list(one.config.strategies) == ["a", "b"]
    assert list(one.config.strategies["a"].settings) == ["y", "z"]
    assert one.config_id == two.config_id


def test_identify_value_written_otherwise_then_same_id() -> None:
    """The id follows the values, not their spelling; any other value changes it."""
    ids = [load(f"risk: {{max_drawdown: {text}}}").config_id for text in ("0.2", "0.20", "2e-1", "0.3")]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert identify(load().config) == ids[0]
    assert len(ids[0]) == 12


def test_load_free_settings_then_as_json_has_them() -> None:
    """Settings of a strategy that nobody declared keep text, numbers, truth and nested maps."""
    settings = "{symbol: BTC/USDT, n: 010, x: 0.15, on: true, off: no, deep: {a: {b: 1e3}}}"
    loaded = load(f"strategies: {{t: {{use: t, settings: {settings}}}}}", sets=["strategies.t.settings.n=~"])
    assert loaded.config.strategies["t"].settings == {
        "symbol": "BTC/USDT",
        "x": 0.15,
        "on": True,
        "off": "no",
        "deep": {"a": {"b": 1000.0}},
    }


def test_load_setting_replaced_by_another_shape_then_the_last_one_holds() -> None:
    """A later layer may put a value where a map was, and a map where a value was."""
    text = "strategies: {{t: {{use: t, settings: {{a: {0}, b: {1}}}}}}}"
    config = load(text.format("{x: 1}", "2"), text.format("3", "{y: 4}")).config
    assert config.strategies["t"].settings == {"a": 3, "b": {"y": 4}}


def test_load_declared_settings_then_checked_and_kept_plain() -> None:
    """Settings are held against the strategy's Struct, and a Decimal's digits survive as they were."""
    given = "{symbol: BTC/USDT, stake: 0.1, fast: 1e1, limit: 2, extra: {a: 1}}"
    text = f"strategies: {{t: {{use: cross, settings: {given}}}}}"
    settings = load(text, strategies=STRATEGIES).config.strategies["t"].settings
    assert settings == {"symbol": "BTC/USDT", "stake": 0.1, "fast": 10, "limit": 2.0, "extra": {"a": 1}}


def test_load_declared_settings_with_mistakes_then_all_named() -> None:
    """Wrong settings are named like any other key, in every layer, beside what only the Struct knows."""
    assert mistakes(
        """
strategies:
  a: {use: cros}
  b:
    use: cross
    settings: {symbol: 5, fast: 0, wieght: 1, weight: much, stake: "1", side: short}
  c: {use: cross}
  d: {use: cross, settings: {symbol: BTC/USDT, fast: 101}}
  e: {settings: {symbol: BTC/USDT, weight: 0.12345678901234567891}}
""",
        strategies=STRATEGIES,
    ) == [
        "one:3: strategies.a.use: expected a registered strategy, got cros; did you mean cross?",
        'one:6: strategies.b.settings.symbol: expected text, got 5; quote it to make it text: "5"',
        "one:6: strategies.b.settings.fast: expected a whole number from 1, got 0",
        "one:6: strategies.b.settings.wieght: expected a key that exists; did you mean weight?",
        "one:6: strategies.b.settings.weight: expected a number, got much",
        "one:6: strategies.b.settings.stake: expected a number, got '1'; without quotes",
        "one:6: strategies.b.settings.side: expected long or both, got short",
        "one:7: strategies.c.settings: expected settings of cross; Object missing required field `symbol`",
        "one:8: strategies.d.settings: expected settings of cross; fast is at most 100",
        (
            "one:9: strategies.e.settings.weight: expected a number of at most 15 digits,"
            " got 0.12345678901234567891"
        ),
        "one:9: strategies.e.use: expected the name of a registered strategy",
    ]


def test_load_duplicate_key_then_both_lines_and_both_values_checked() -> None:
    """A key that stands twice is one mistake with both lines; a wrong value under either is another."""
    assert mistakes("api:\n  port: nine\n  host: x\n  port: 99999\n") == [
        "one:2: api.port: expected a whole number from 0 up to 65535, got nine",
        "one:4: api.port: expected each key once; line 2 says nine, line 4 says 99999",
        "one:4: api.port: expected a whole number from 0 up to 65535, got 99999",
    ]


def test_load_duplicate_section_and_secret_then_named_without_the_secret() -> None:
    """Duplicates of sections are found at any depth, and what might be a secret is never repeated."""
    text = "api: {port: 1}\naccounts: {paper:main: {api_key: abc, api_key: def}}\napi: {prot: 2}\n"
    assert mistakes(text) == [
        (
            "one:2: accounts.paper:main.api_key: expected a reference such as ${BINANCE_API_KEY} or"
            " ${file:PATH}, never the secret itself, got ***"
        ),
        "one:2: accounts.paper:main.api_key: expected each key once; line 2 says ***, line 2 says ***",
        (
            "one:2: accounts.paper:main.api_key: expected a reference such as ${BINANCE_API_KEY} or"
            " ${file:PATH}, never the secret itself, got ***"
        ),
        "one:3: api: expected each key once; line 1 says a map, line 3 says a map",
        "one:3: api.prot: expected a key that exists; did you mean port?",
    ]


def test_load_many_mistakes_then_all_at_once_in_order() -> None:
    """Every layer is read to its end: syntax, keys, values, names and what does not fit, in one go."""
    assert mistakes(
        "risk:\n  max_drawdwn: 0.1\n  max_daily_loss: 5\nfeeds: {BTCUSDT: {}}\nmax_exposure: 0.5\n",
        "strategies:\n  t: {use: x, account: paper:mian, settings: {symbol: BTC/USD, timeframe: 7s}}\n",
        environ={"TRADEFAN__API__PORT": "[1]", "TRADEFAN____X": "1", "TRADEFAN__LOGS__FILES": "&a 3"},
        sets=["api.host", "api..x=1", "nothing.at.all=1", "logs.level=loud", "data_dir=a: b: c"],
    ) == [
        "one:2: risk.max_drawdwn: expected a key that exists; did you mean max_drawdown?",
        "one:3: risk.max_daily_loss: expected a number above 0 up to 1, got 5",
        "one:4: feeds: expected an instrument id such as binance:BTC/USDT, got BTCUSDT",
        "one:5: max_exposure: expected a key that exists; did you mean risk.max_exposure?",
        (
            "two:2: strategies.t.account: expected an account under accounts, got paper:mian;"
            " did you mean paper:main?"
        ),
        (
            "two:2: strategies.t.settings.symbol: expected an instrument under feeds, got BTC/USD;"
            " did you mean BTC/USDT?"
        ),
        (
            "two:2: strategies.t.settings.timeframe: expected a timeframe of at least 1s that divides a day,"
            " such as 5s, 1m or 4h, got 7s"
        ),
        "env TRADEFAN__API__PORT: api.port: expected a whole number from 0 up to 65535, got a list",
        "env TRADEFAN__LOGS__FILES: logs.files: expected a value without an anchor, got &a",
        "env TRADEFAN____X: expected TRADEFAN__SECTION__KEY",
        "--set api.host: expected KEY=VALUE such as api.port=8001",
        "--set api..x: expected KEY=VALUE such as api.port=8001",
        (
            "--set nothing.at.all: nothing: expected a key that exists; known here: accounts, api, data_dir,"
            " environment, feeds, influx, journal, logs, notifiers, portfolio, production, recorder, redis,"
            " risk, runtime, store, strategies, telemetry, time, venues"
        ),
        "--set logs.level: expected debug, info, warning or error, got loud",
        "--set data_dir: expected YAML; mapping values are not allowed here",
    ]


def test_load_file_that_ends_early_then_what_it_lacks_is_no_mistake() -> None:
    """Behind a syntax error half a file is missing: only what was read is judged, in every layer."""
    with pytest.raises(ConfigInvalid) as caught:
        load_texts([Layer("a", b"api: {port: x}\nrisk: ["), Layer("b", b"logs: {files: x}")], {}, [])
    assert [str(mistake) for mistake in caught.value.mistakes] == [
        "a:1: api.port: expected a whole number from 0 up to 65535, got x",
        "a:2: risk: expected YAML; expected the node content, but found '<stream end>'",
        "b:1: logs.files: expected a whole number from 1 up to 1000, got x",
    ]


def test_load_override_with_undecodable_bytes_or_endless_path_then_a_mistake() -> None:
    """Environment variables are bytes of a stranger, and a --set may be any text."""
    assert mistakes(environ={"TRADEFAN__DATA_DIR": "\udce9"}, sets=[f"{'a.' * 30}a=1"]) == [
        "env TRADEFAN__DATA_DIR: data_dir: expected UTF-8, got byte 0xed",
        f"--set {'a.' * 30}a: expected KEY=VALUE such as api.port=8001",
    ]


def test_load_files_of_another_environment_then_refused() -> None:
    """The files say which environment they are; a file without that line was cut short."""
    assert load("environment: staging", environment="staging").config.environment == "staging"
    hint = "; the last line of environments/*.yaml names it"
    assert mistakes("environment: staging", environment="production") == [
        f"one:1: environment: expected production, got staging{hint}"
    ]
    assert mistakes("api: {port: 1}\n", environment="development") == [
        f"one: environment: expected development{hint}"
    ]


def test_config_invalid_then_carries_a_code_and_every_line() -> None:
    """The exception is a refusal with a stable code, and its text is what the user reads."""
    with pytest.raises(ConfigInvalid) as caught:
        load("api: {port: x, prot: 1}")
    assert (caught.value.code, caught.value.text.count("\n"), len(caught.value.mistakes)) == (
        "CONFIG_INVALID",
        1,
        2,
    )


def test_meant_and_shown_then_short() -> None:
    """A hint is one near word or a short list, and a value is never longer than a line."""
    assert meant("prot", ["port", "host"]) == "did you mean port?"
    assert meant("zzz", ["port", "host"]) == "known here: host, port"
    assert (meant("zzz", []), meant("zzz", [f"k{n}" for n in range(21)])) == ("", "")
    assert (shown("a b"), shown(" a"), shown(""), shown("a\nb")) == ("a b", "' a'", "''", "'a\\nb'")
    assert shown("x" * 90) == "x" * 80 + "..."


# --- reading ------------------------------------------------------------------------------------

FILES = {"base.yaml": GOOD.encode(), "environments/testing.yaml": b"environment: testing\n"}


def test_read_layers_then_base_environment_and_local_in_order() -> None:
    """local.yaml lies over the environment and may be absent."""
    assert [layer.name for layer in read_layers(FILES.get, "testing")] == [
        "config/base.yaml",
        "config/environments/testing.yaml",
    ]
    files = FILES | {"local.yaml": b"api: {port: 1}\n"}
    layers = read_layers(files.get, "testing", directory="etc")
    assert load_texts(layers, {}, [], environment="testing").origins["api.port"] == "etc/local.yaml:1"


def test_read_layers_missing_or_cut_file_then_named() -> None:
    """A missing file is named with what was meant, and one without a last line end was cut short."""
    with pytest.raises(ConfigInvalid) as caught:
        read_layers({"local.yaml": b"api: {}\nap"}.get, "testin")
    assert [str(mistake) for mistake in caught.value.mistakes] == [
        "config/base.yaml: expected a file that exists; is this the directory of the configuration?",
        "config/environments/testin.yaml: expected a file that exists; did you mean testing?",
        "config/local.yaml:2: expected a line end at the end; it may be cut short",
    ]


def test_read_layers_file_being_written_then_read_until_it_stands_still() -> None:
    """Two equal readings are needed; a file that never stands still is refused."""
    torn = [b"", b"api: {", b"api: {port: 1}\n", b"api: {port: 1}\n"]

    def settling(name: str) -> bytes | None:
        return torn.pop(0) if name == "local.yaml" else FILES.get(name)

    assert read_layers(settling, "testing")[2].data == b"api: {port: 1}\n"
    count = iter(range(100))

    def restless(name: str) -> bytes | None:
        return b"%d\n" % next(count) if name == "local.yaml" else FILES.get(name)

    with pytest.raises(ConfigInvalid, match=r"config/local\.yaml: expected a file that stands still"):
        read_layers(restless, "testing")
