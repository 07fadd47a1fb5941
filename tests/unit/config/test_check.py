from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.config.build import load, mistakes
from tradefan.config import check
from tradefan.config.check import (
    Difference,
    diff,
    matching_feeds,
    missing_to_run,
    validate,
    validate_swap,
)
from tradefan.config.leaf import DURATION
from tradefan.config.loader import load_texts
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config.schema import AccountConfig, Config, RiskConfig, StrategyConfig

TIMEFRAME = "a timeframe of at least 1s that divides a day, such as 5s, 1m or 4h"


def changed(config: Config, **sections: Any) -> Config:
    return msgspec.structs.replace(config, **sections)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "accounts: {paper:two: {venue: binance}}",
            "accounts.paper:two.venue: expected paper, as the account's name says, got binance",
        ),
        (
            "accounts: {binanse:main: {venue: binanse}}",
            (
                "accounts.binanse:main.venue: expected paper or a venue under venues, got binanse;"
                " did you mean binance?"
            ),
        ),
        (
            "feeds: {binanc:BTC/USDT: {}}",
            "feeds.binanc:BTC/USDT: expected a venue under venues; did you mean binance?",
        ),
        (
            (
                "feeds: {binance:BTC/USDT: {bars: {1m: null},"
                " streams: {trade: false, depth: false, book_ticker: false}}}"
            ),
            "feeds.binance:BTC/USDT.streams: expected at least one stream that is on",
        ),
        (
            "feeds: {binance:BTC/USDT: {streams: {trade: false}}}",
            "feeds.binance:BTC/USDT.streams.trade: expected true, because bars are made of trades, got false",
        ),
        (
            "feeds: {binance:BTC/USDT: {bars: {7m: true}}}",
            f"feeds.binance:BTC/USDT.bars.7m: expected {TIMEFRAME}, got 7m",
        ),
        (
            "strategies: {api: {use: x}}",
            "strategies.api: expected a name other than api, cli, external, got api",
        ),
        (
            "strategies: {t: {use: x, settings: {timeframe: soon}}}",
            f"strategies.t.settings.timeframe: expected {TIMEFRAME}, got soon",
        ),
        (
            "strategies: {t: {use: x, settings: {timeframe: 250ms}}}",
            f"strategies.t.settings.timeframe: expected {TIMEFRAME}, got 250ms",
        ),
        (
            (
                "{venues: {okx: {}}, feeds: {okx:BTC/USDT: {}},"
                " strategies: {t: {use: x, settings: {symbol: BTC/USDT}}}}"
            ),
            (
                "strategies.t.settings.symbol: expected one of binance:BTC/USDT, okx:BTC/USDT,"
                " because several venues carry it, got BTC/USDT"
            ),
        ),
        (
            "risk: {instruments: {binance:BTC/USD: {}}}",
            (
                "risk.instruments.binance:BTC/USD: expected an instrument under feeds;"
                " did you mean binance:BTC/USDT?"
            ),
        ),
        (
            "runtime: {messages_per_visit: 300}",
            "runtime.messages_per_visit: expected up to messages_per_step (256), got 300",
        ),
        (
            "venues: {binance: {backoff_base: 20s, backoff_cap: 10s}}",
            "venues.binance.backoff_base: expected up to backoff_cap (10s), got 20s",
        ),
        (
            "store: {path: journal.db}",
            "store.path: expected another file than the journal's, got journal.db",
        ),
        (
            "recorder: {size_max: 10000000}",
            "recorder.segment_size: expected up to size_max (10000000), got 67108864",
        ),
        (
            "time: {zone: Asia/Shangai}",
            (
                "time.zone: expected a time zone such as UTC or Asia/Shanghai, got Asia/Shangai;"
                " did you mean Asia/Shanghai?"
            ),
        ),
        (
            "time: {zone: ../etc/passwd}",
            "time.zone: expected a time zone such as UTC or Asia/Shanghai, got ../etc/passwd",
        ),
    ],
)
def test_load_values_that_do_not_fit_each_other_then_named_with_their_line(text: str, line: str) -> None:
    """Whatever one value cannot show is found too, with the line that said it."""
    assert mistakes(text) == [f"one:1: {line}"]


def test_load_nothing_then_says_what_is_needed() -> None:
    """A configuration without account, venue or feed is refused, wherever that comes from."""
    with pytest.raises(ConfigInvalid) as caught:
        load_texts([], {}, [])
    assert [str(mistake) for mistake in caught.value.mistakes] == [
        "configuration: accounts: expected at least one account",
        "configuration: venues: expected at least one venue",
        "configuration: feeds: expected at least one feed",
    ]


def test_load_mistake_at_a_key_then_no_second_one_that_follows_from_it() -> None:
    """A wrong account name is one mistake: that nothing is left under `accounts` is not another."""
    assert mistakes("accounts: {paper:main: null, Paper: {}}") == [
        "one:1: accounts: expected an account id such as paper:main, got Paper"
    ]


def test_zone_utc_without_a_database_then_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without time zones can still run on UTC."""

    def nothing(key: str) -> None:
        raise KeyError(key)

    monkeypatch.setattr(check, "ZoneInfo", nothing)
    assert load("time: {zone: UTC}").config.time.zone == "UTC"
    with pytest.raises(ConfigInvalid, match=r"time\.zone"):
        load("time: {zone: Asia/Shanghai}")


def test_validate_snapshot_made_by_hand_then_bounds_are_checked_too() -> None:
    """A snapshot that no file wrote is held to the same bounds and relations, and shows no secret."""
    config = load().config
    bad = changed(
        config,
        risk=RiskConfig(max_drawdown=Decimal(2)),
        accounts={"paper:main": AccountConfig(api_key="abc", latency=0)},
        strategies={"t": StrategyConfig(account="paper:x", settings={"deep": {"x": [1]}})},
    )
    secret = "a reference such as ${BINANCE_API_KEY} or ${file:PATH}, never the secret itself"
    assert validate(config) == ()
    assert validate(bad) == (
        f"accounts.paper:main.latency: expected {DURATION} up to 10s, got 0ms",
        f"accounts.paper:main.api_key: expected {secret}, got ***",
        "strategies.t.settings.deep.x: expected text, a number, true or false, got [1]",
        "risk.max_drawdown: expected a number above 0 up to 1, got 2",
        "strategies.t.use: expected the name of a registered strategy",
        "strategies.t.account: expected an account under accounts, got paper:x; did you mean paper:main?",
    )


def test_diff_then_every_key_with_when_it_takes_effect() -> None:
    """Changed, added and removed keys are listed in the order of the schema; secrets are not shown."""
    old = load(
        "accounts: {paper:main: {api_key: '${A}'}}", "feeds: {binance:BTC/USDT: {bars: {5s: true}}}"
    ).config
    new = load(
        "accounts: {paper:main: {api_key: '${B}'}}", "{risk: {max_drawdown: 0.1}, api: {port: 1}}"
    ).config
    assert diff(old, old) == ()
    assert diff(old, new) == (
        Difference("accounts.paper:main.api_key", "***", "***", "restart"),
        Difference("feeds.binance:BTC/USDT.bars.5s", "true", None, "live"),
        Difference("risk.max_drawdown", "0.2", "0.1", "live"),
        Difference("api.port", "8000", "1", "restart"),
    )
    assert diff(new, old)[-1] == Difference("feeds.binance:BTC/USDT.bars.5s", None, "true", "live")


def test_validate_swap_live_keys_then_allowed_others_refused_by_name() -> None:
    """All or nothing: one key that needs a restart refuses the swap, and says so."""
    old = load().config
    live = changed(old, risk=RiskConfig(max_drawdown=Decimal("0.1")))
    assert validate_swap(old, live) == ()
    mixed = load("{risk: {max_drawdown: 0.1}, api: {port: 1}, portfolio: {numeraire: USDC}}").config
    assert validate_swap(old, mixed) == (
        "api.port: from 8000 to 1 takes effect at a restart",
        "portfolio.numeraire: from USDT to USDC takes effect never in this data directory",
    )
    added = load("strategies: {t: {use: x}}").config
    assert validate_swap(old, added) == validate_swap(added, old) == ()
    more = load("feeds: {binance:SOL/USDT: {}, binance:BTC/USDT: {bars: {5s: true}}}").config
    assert validate_swap(old, more) == ()
    assert "feeds.binance:SOL/USDT.streams.trade: from true to None" in validate_swap(more, old)[0]
    other = load("strategies: {t: {use: y, capital: 5, settings: {depth: 3}}}").config
    assert validate_swap(added, other) == ("strategies.t.use: from x to y takes effect at a restart",)


@pytest.mark.parametrize("live", [True, False])
def test_validate_swap_override_of_a_limit_then_live(live: bool) -> None:
    """An override of a limit appears and goes while the daemon runs, like the limit itself."""
    old, new = load().config, load("risk: {instruments: {binance:BTC/USDT: {max_position: 3}}}").config
    assert validate_swap(*((old, new) if live else (new, old))) == ()


def test_missing_to_run_production_on_paper_then_asks_for_a_real_account() -> None:
    """`production` without a real account is a mistake of its own; a confirmed one lacks only the version."""
    paper = load("environment: production").config
    assert missing_to_run(paper, lambda _reference: None) == ("an account on a real venue (accounts)",)
    real = load(
        "accounts: {binance:main: {venue: binance, api_key: '${K}'}}",
        "production: {confirm: true}",
    ).config
    assert missing_to_run(real, lambda _reference: None) == (
        "api_secret of binance:main (accounts.binance:main.api_secret)",
        "a connection to binance accounts: this version trades on paper only (binance:main)",
    )


def test_matching_feeds_then_symbol_or_id() -> None:
    """Users type BTC/USDT where one venue carries it; the whole id always works."""
    config = load().config
    assert matching_feeds(config, "BTC/USDT") == ("binance:BTC/USDT",)
    assert matching_feeds(config, "binance:ETH/USDT") == ("binance:ETH/USDT",)
    assert matching_feeds(config, "SOL/USDT") == ()
