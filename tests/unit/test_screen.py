"""One screen of 80 by 24 whatever the daemon does; its first line says whose money it is."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from rich.console import Console

from tradefan.screen import status_screen

STATUS: dict[str, Any] = {
    "environment": "development",
    "paper": True,
    "ready": True,
    "uptime_s": 125.4,
    "config_id": "5f1c0a9e7b21",
    "mode": {"mode": "NORMAL", "causes": []},
    "equity": [{"account": "paper:main", "numeraire": "USDT", "equity": "999871.4"}],
    "today": [{"account": "paper:main", "gross": "21.9", "fees": "150.5", "net": "-128.6"}],
    "drawdown": [{"account": "paper:main", "value": "0.0001286", "limit": "0.2"}],
    "feeds": [
        {"instrument": "binance:BTC/USDT", "quality": "LIVE", "age_ms": 120, "last": 61675.99, "reason": None}
    ],
    "positions": [
        {
            "account": "paper:main",
            "instrument": "binance:BTC/USDT",
            "owner": "rebalance_btc",
            "qty": "2.42891865",
            "avg_px": "61701.33358148",
            "unrealised": "-61.55",
            "realised": "0.005",
        }
    ],
    "parents": [],
    "more": {"positions": 0, "parents": 0},
    "fills": {
        "total": 29,
        "last": [
            {
                "at": "2026-11-21T12:44:50.100Z",
                "side": "buy",
                "qty": "0.08648000",
                "instrument": "binance:BTC/USDT",
                "price": "61705.37",
                "owner": "rebalance_btc",
            }
        ],
    },
    "refusals": [],
    "actors": [{"name": "oms", "state": "READY", "text": "", "restarts": 0}],
    "links": [{"name": "journal", "state": "READY", "text": "", "restarts": 0}],
    "stores": [{"name": "journal", "state": "READY", "lsn": 7, "durable_lsn": 7}],
}


def shown(status: dict[str, Any], program: str = "tradefan") -> list[str]:
    """Return the lines of the screen on a terminal of 80 columns."""
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(status_screen(status, program))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(STATUS), **changes}


def test_screen_when_all_is_well_then_reads_like_this() -> None:
    """The whole screen, as README shows it."""
    assert shown(STATUS) == [
        "PAPER  development  ready  mode NORMAL  up 2m05s  config 5f1c0a9e7b21",
        "account             equity today gross   fees     net drawdown",
        "paper:main 999,871.40 USDT       21.90 150.50 -128.60 0.01% of 20.00%",
        "feed             quality   age     last why",
        "binance:BTC/USDT LIVE    0.1 s 61675.99",
        "position         owner                qty       avg unrealised realised",
        "binance:BTC/USDT rebalance_btc 2.42891865 61701.334     -61.55     0.00",
        "working none",
        "fills 29, the last at 12:44:50: buy 0.08648 BTC/USDT at 61705.37 for rebalance_…",
        "refused none",
        "actors 1 ready",
        "links 1 ready",
        "stores journal READY",
        "next: tradefan logs -f",
        "      tradefan order submit --symbol BTC/USDT --side buy --quantity 0.01",
    ]


def test_screen_when_the_recording_began_anew_then_the_jump_stands_apart() -> None:
    """The equity jump of a seam is shown, beside a net that does not contain it."""
    equity = [{**STATUS["equity"][0], "seam": "-936.6"}]
    assert (
        shown(changed(equity=equity))[3] == "paper:main seam -936.60: the recording began anew, booked apart"
    )


def test_screen_when_money_is_real_then_its_first_words_say_so() -> None:
    """Nobody takes one for the other."""
    assert shown(changed(paper=False))[0].startswith("REAL MONEY  ")
    assert "NOT READY" in shown(changed(ready=False))[0]


def test_screen_when_nothing_is_known_yet_then_is_still_one() -> None:
    """The first look may come before the first price."""
    unknown = {"account": "paper:main", "numeraire": "USDT", "equity": None}
    status = changed(
        equity=[unknown],
        today=[{"account": "paper:main", "gross": None, "fees": "0", "net": None}],
        drawdown=[{"account": "paper:main", "value": None, "limit": "0.2"}],
        feeds=[
            {"instrument": "b:X/Y", "quality": "BLIND", "age_ms": None, "last": None, "reason": "no book"}
        ],
        positions=[],
        fills={"total": None, "last": []},
    )
    lines = shown(status)
    assert lines[2] == "paper:main - USDT           - 0.00   - - of 20.00%"
    assert lines[4] == "b:X/Y BLIND     -    - no book"
    assert {"position none", "fills -"} <= {*lines}
    nobody = shown(changed(equity=[], today=[], drawdown=[]))
    assert nobody[1] == "equity: the risk desk is down"


def test_screen_when_something_is_wrong_then_it_is_named() -> None:
    """Mode and cause, who is down, what waits for the disk, and what would pass."""
    status = changed(
        mode={"mode": "NO_NEW_RISK", "causes": [{"scope": "all", "text": "the risk desk is down"}]},
        actors=[
            {"name": "oms", "state": "READY", "text": "", "restarts": 1},
            {"name": "risk_desk", "state": "DOWN", "text": "next try soon", "restarts": 3},
        ],
        stores=[
            {"name": "journal", "state": "READY", "lsn": 9, "durable_lsn": 7},
            {"name": "store", "state": "READY", "failing": "disk full"},
        ],
        refusals=[
            {
                "at": "2026-11-21T12:44:50.100Z",
                "owner": "cli",
                "code": "RISK_MAX_ORDER_QTY",
                "would_pass": "10",
                "text": "no",
            }
        ],
        drawdown=[{"account": "paper:main", "value": "Infinity", "limit": "0.2"}],
    )
    lines = shown(status)
    assert lines[1] == "  all: the risk desk is down"
    assert "Infinity% of 20.00%" in lines[3]
    assert "12:44:50 cli   RISK_MAX_ORDER_QTY 10" in lines
    assert "actors 0 ready; oms READY, restarts 1; risk_desk DOWN (next try soon), restarts…" in lines
    assert "stores journal READY, 2 records wait, store READY, failing: disk full" in lines


def crowded(count: int) -> dict[str, Any]:
    """Return a status with so many rows of everything, and the longest names that there can be."""
    status = changed(environment="production", uptime_s=400_000, paper=False)
    owner = "a_strategy_with_a_name_that_goes_on"
    status["feeds"] = [{**STATUS["feeds"][0], "reason": "depth is silent for a while"}] * count
    status["positions"] = [{**STATUS["positions"][0], "owner": owner, "unrealised": "-1234567.89"}] * count
    parent = {
        "parent_id": "pyn5aaabaaaaaabvv",
        "owner": owner,
        "side": "sell",
        "order_qty": "2.43135",
        "symbol": "BTC/USDT",
        "progress": 0.588706,
        "algo": "limit",
        "phase": "COMPLETING",
        "in_doubt_qty": "1",
    }
    refusal = {
        "at": "2026-11-21T12:44:50.100Z",
        "owner": owner,
        "code": "RISK_MAX_POSITION_NOTIONAL",
        "would_pass": "at most 5999999.99 USDT of this and a few words more about why",
        "text": "no",
    }
    status["parents"], status["refusals"] = [parent] * count, [refusal] * count
    status["fills"]["last"][0]["owner"] = owner
    status["mode"] = {"mode": "NO_NEW_RISK", "causes": [{"scope": "all", "text": "why " * 30}] * count}
    status["actors"] = [{"name": f"strategy:{owner}", "state": "DOWN", "text": "x", "restarts": 3}] * count
    return status


@pytest.mark.parametrize("program", ["tradefan", "scripts/tradefan"])
def test_screen_when_there_is_much_then_still_80_columns_and_says_what_is_left_out(program: str) -> None:
    """Bounded lists, cut names, no line that wraps."""
    lines = shown(crowded(50), program)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 30
    assert [line for line in lines if line.startswith("and ")] == [
        "and 47 more",
        "and 46 more",
        "and 48 more",
        "and 48 more",
    ]
    assert any(line.startswith("pyn5aaabaaaaaabvv ") for line in lines)
    assert lines[-1] == f"      {program} order submit -e production --help"


def test_screen_when_the_daemon_itself_left_something_out_then_that_counts_too() -> None:
    """What nobody told the screen is there all the same."""
    lines = shown(changed(more={"positions": 7, "parents": 0}))
    assert [line for line in lines if line.startswith("and ")] == ["and 7 more"]


def test_screen_when_a_usual_day_then_24_lines() -> None:
    """Two of everything fit a terminal as it opens."""
    status = crowded(2)
    status["mode"] = STATUS["mode"]
    assert len(shown(status)) <= 24
