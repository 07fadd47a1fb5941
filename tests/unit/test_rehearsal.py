"""A rehearsal touches nothing outside: what it leaves of a configuration for real money and live markets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.shell import ROOT
from tradefan.config.schema import Config, FeedConfig, StrategyConfig
from tradefan.environment import Environment
from tradefan.rehearsal import ACCOUNT, STAGE, _copy, _on, _sets, _unrecorded
from tradefan.self_test import self_test

LOCAL = """
feeds: {"binance:SOL/USDT": {}}
risk: {instruments: {"binance:SOL/USDT": {max_order_qty: 3}}}
strategies:
  sol: {use: rebalance, account: "binance:main", settings: {symbol: SOL/USDT, weight: 0.1}}
  eth: {use: ema_cross, account: "binance:main", settings: {symbol: ETH/USDT}}
influx: {url: "http://influx.internal:8086", username: "${U}", password: "${P}"}
redis: {url: "redis://redis.internal:6379/0", password: "${P}"}
notifiers: {ops: {url: "${OPS_URL}"}}
api: {host: 0.0.0.0}
production: {confirm: true}
"""


def test_rehearsal_when_the_environment_is_production_then_nothing_outside_is_left(
    tmp_path: Path,
) -> None:
    """Real accounts become paper, live markets the recording; servers and what is unrecorded go."""
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("local.yaml"))
    (tmp_path / "config" / "local.yaml").write_text(LOCAL)
    real = Environment.load("production", tmp_path / "config", ())
    config = real.loaded.config
    left_out = tuple(_unrecorded(config))
    assert left_out == ("binance:SOL/USDT",)
    _copy(real, tmp_path / "copy")
    sets = (f"data_dir={tmp_path}/data", *_sets(config, left_out))
    rehearsed = Environment.load(STAGE, tmp_path / "copy" / "config", sets)
    left = rehearsed.loaded.config
    assert rehearsed.missing_to_run() == ()
    assert rehearsed.places.root == tmp_path / "data"
    assert {*left.accounts} == {ACCOUNT}
    assert left.accounts[ACCOUNT].balances["USDT"] == 1_000_000
    assert [one.source for one in left.venues.values()] == ["tape"]
    assert {name: one.tape for name, one in left.feeds.items()} == {
        "binance:BTC/USDT": "",
        "binance:ETH/USDT": "",
    }
    assert (left.influx.url, left.redis.url, left.notifiers, left.api.host) == ("", "", {}, "127.0.0.1")
    assert {name: one.account for name, one in left.strategies.items()} == {"eth": ACCOUNT}
    # Everything else is as it will be: the limits, most of all.
    assert left.risk.max_order_qty == config.risk.max_order_qty
    assert {*left.risk.instruments} == {"binance:ETH/USDT"}


UNRECORDED = """
feeds: {"binance:BTC/USDT": null, "binance:ETH/USDT": null, "binance:SOL/USDT": {}}
risk: {instruments: {"binance:ETH/USDT": null}}
strategies: {rebalance_btc: null, ema_cross_eth: null}
"""


def test_self_test_when_the_recording_has_no_feed_then_says_so_and_passes(tmp_path: Path) -> None:
    """There is nothing to trade on; the configuration is judged all the same."""
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("local.yaml"))
    (tmp_path / "config" / "local.yaml").write_text(UNRECORDED)
    said: list[str] = []
    environment = Environment.load("development", tmp_path / "config", ())
    assert self_test(environment, 1, said.append, health=False) == 0
    assert said[0].startswith("configuration  ok, ")
    assert said[1:] == [
        "rehearsal      not rehearsable: no feed of this configuration is in the packaged recording"
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"symbols": ["BTC/USDT", "SOL/USDT"]},
        {"weights": {"SOL/USDT": 0.1}},
        {"legs": [{"symbol": "binance:SOL/USDT"}]},
    ],
)
def test_rehearsal_when_settings_name_an_unrecorded_feed_within_then_it_is_found(
    settings: dict[str, object],
) -> None:
    """In a list, as a key, and below: such a strategy is left out with its feed."""
    feeds = {"binance:BTC/USDT": FeedConfig(), "binance:SOL/USDT": FeedConfig()}
    config = Config(environment="testing", feeds=feeds)
    strategy = StrategyConfig(use="own", account=ACCOUNT, settings=settings)
    assert "binance:SOL/USDT" in _on(config, strategy)
