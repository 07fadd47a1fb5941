"""What orders have cost, as rows, in the terminal, as a page, and on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace
from rich.console import Console

from tests.unit.shell import Daemon, Shell
from tests.unit.stores.made import fill, tca
from tradefan.messages.control import StoreBatch
from tradefan.messages.tca import Lines, TcaUpdate
from tradefan.stores.sqlite import StoreFile
from tradefan.tca_commands import _plain
from tradefan.tca_html import page
from tradefan.tca_rows import aggregated, cost_detail
from tradefan.tca_store import costs_since, detail_of
from tradefan.tca_terminal import drawing, means, step_at
from tradefan.units import SECOND, AccountId, Asset, InstrumentId

D = Decimal
ETH = InstrumentId("binance:ETH/USDT")
T0 = 1_700_000_000 * SECOND
LINES = Lines(
    tuple((T0 + at * SECOND, 60_000.0 + at % 7) for at in range(60)),
    ((T0, 0.25), (T0 + 15 * SECOND, 0.5), (T0 + 30 * SECOND, 0.75), (T0 + 45 * SECOND, 1.0)),
    ((T0 + 5 * SECOND, 0.2), (T0 + 20 * SECOND, 0.5), (T0 + 50 * SECOND, 0.8)),
)
KNOWN: dict[str, Any] = {
    "arrived_ns": T0,
    "ended_ns": T0 + 60 * SECOND,
    "decision_px": D(59_990),
    "arrival_px": D(60_000),
    "end_px": D(60_004),
    "vwap": D(60_002),
    "twap": D("60002.5"),
    "is_bps": D("12.5"),
    "is_delay_bps": D("1.5"),
    "is_trading_bps": D("-2.25"),
    "is_opportunity_bps": D("3.25"),
    "is_fees_bps": D(10),
    "schedule_error_mean": 0.031,
    "maker_share": D("0.75"),
}


def one(**changes: Any) -> TcaUpdate:
    return tca(1, 9, LINES, **{**KNOWN, **changes})


def detail(**changes: Any) -> dict[str, Any]:
    """Return an order as the API answers it, with one fill of each kind."""
    maker = replace(fill(1, 4), event_ns=T0 + 5 * SECOND, price=D(60_001), liquidity="maker")
    taker = replace(fill(2, 5), event_ns=T0 + 20 * SECOND, price=D(60_003), liquidity="taker")
    found: dict[str, Any] = _plain(cost_detail(one(**changes), (maker, taker)))
    return found


def shown(renderable: Any) -> str:
    console = Console(width=80, no_color=True, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


# --- rows ---------------------------------------------------------------------------------------------------


def test_means_when_orders_differ_then_they_are_weighted_by_quantity_within_one_pair_of_assets() -> None:
    """1 and 3 BTC at 10 and 2 bps are 4 bps; an order in ETH is a row of its own."""
    rows = [
        tca(1, filled=D(1), arrival_slippage_bps=D(10)),
        tca(2, filled=D(3), arrival_slippage_bps=D(2)),
        tca(3, filled=D(9), arrival_slippage_bps=None),
        replace(tca(4, filled=D(50), arrival_slippage_bps=D(1)), instrument=ETH),
    ]
    found = aggregated(rows)
    by_algo = {(row["name"], row["base"]): row for row in found["algo"]}
    assert list(by_algo) == [("twap", "BTC"), ("twap", "ETH")]
    bitcoin = by_algo["twap", "BTC"]
    assert (bitcoin["n"], bitcoin["filled"], bitcoin["arrival_slippage_bps"]) == (3, D(13), D(4))
    assert (bitcoin["vwap_slippage_bps"], bitcoin["fees"]) == (None, D("3.6"))
    assert [row["name"] for row in found["instrument"]] == ["binance:BTC/USDT", "binance:ETH/USDT"]
    assert [(row["name"], row["base"]) for row in found["venue"]] == [("paper", "BTC"), ("paper", "ETH")]


def test_means_when_quotes_or_venues_differ_then_they_are_rows_of_their_own() -> None:
    """A basis point of a dollar and of a euro have no mean."""
    rows = [
        replace(tca(1), quote=Asset("EUR"), instrument=InstrumentId("binance:BTC/EUR")),
        replace(tca(2), account=AccountId("binance:main")),
        tca(3),
    ]
    found = aggregated(rows)
    assert [(row["name"], row["quote"], row["n"]) for row in found["algo"]] == [
        ("twap", "EUR", 1),
        ("twap", "USDT", 2),
    ]
    assert [(row["name"], row["quote"]) for row in found["venue"]] == [
        ("binance", "USDT"),
        ("paper", "EUR"),
        ("paper", "USDT"),
    ]


def test_means_when_nothing_was_filled_then_what_is_about_the_order_still_has_one() -> None:
    """A fill ratio of nothing is known; a slippage of nothing is not."""
    (row,) = aggregated([tca(1, filled=D(0), fill_ratio=D(0), arrival_slippage_bps=None)])["algo"]
    assert (row["fill_ratio"], row["arrival_slippage_bps"], row["maker_share"]) == (D(0), None, None)


def test_store_when_asked_then_it_answers_as_the_api_does() -> None:
    """Lines and fills come from the store, figures from memory where that is newer."""
    store = StoreFile(":memory:")
    store.write(StoreBatch(1, (one(), fill(1, 4), fill(2, 5)), None))
    found = detail_of(store, "p1", replace(one(state="final"), lines=Lines()))
    assert found is not None
    assert (found["state"], len(found["lines"]["mids"]), len(found["fills"])) == ("final", 60, 2)
    assert detail_of(store, "p9") is None
    assert detail_of(None, "p1") is None
    many = costs_since(store, T0)
    assert ([row["parent_id"] for row in many["rows"]], many["more"]) == (["p1"], False)
    assert costs_since(store, T0 + 3_600 * SECOND)["rows"] == []


# --- the terminal -------------------------------------------------------------------------------------------


def test_drawing_when_printed_then_schedule_and_figures_fit_eighty_columns() -> None:
    """Target above what is done, the figures beside each other, and why something is not known."""
    text = shown(drawing(detail()))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "buy 4 of 5 BTC/USDT at 60000.05" in text
    assert re.search(r"shortfall\s+12\.50 bps", text)
    assert re.search(r"delay\s+1\.50 bps", text)
    assert re.search(r"markout 300 s\s+-", text)
    assert "no_mid: a mid was not known" in text
    full = next(line for line in lines if line.startswith(" 100 %"))
    assert full.rstrip().endswith("·")
    assert "█" not in full
    assert "█" in next(line for line in lines if line.startswith("  41 %"))


def test_drawing_when_nothing_happened_then_it_says_so() -> None:
    """An order that never began has no lines, and no error is drawn."""
    empty = _plain(cost_detail(tca(1, arrived_ns=None, ended_ns=None, filled=D(0), avg_px=None), ()))
    text = shown(drawing(empty))
    assert "never began" in text
    assert "█ done" in text


def test_step_when_asked_for_an_instant_then_it_is_the_one_that_began_last() -> None:
    """Before the first there is none."""
    line = [(5, 0.1), (7, 0.2)]
    assert [step_at(line, at) for at in (4, 5, 6, 7, 9)] == [None, 0.1, 0.1, 0.2, 0.2]


def test_means_when_printed_then_there_is_a_table_for_each_and_none_is_cut() -> None:
    """80 columns hold them; nothing at all says since when."""
    store = StoreFile(":memory:")
    store.write(StoreBatch(1, (one(),), None))
    text = shown(means(_plain(costs_since(store, T0))))
    assert max(map(len, text.splitlines())) <= 80
    assert [word for word in ("algo", "instrument", "venue") if f"{word} " in text] == [
        "algo",
        "instrument",
        "venue",
    ]
    assert "…" not in text
    assert "BTC/USDT" in text
    assert "no order has ended since" in shown(means(_plain(costs_since(None, T0))))


# --- the page -----------------------------------------------------------------------------------------------


class Checked(HTMLParser):
    """Reads a page: every tag that is opened is closed, in order."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def drawings(text: str) -> Iterator[ET.Element]:
    for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        yield ET.fromstring(found)


def test_page_when_written_then_it_is_whole_and_asks_for_nothing_from_elsewhere() -> None:
    """Well formed, without a script, and nothing in it names another place."""
    text = page(detail())
    checked = Checked(text)
    assert "script" not in checked.tags
    assert not {"link", "iframe", "img", "object", "embed", "form", "base"} & set(checked.tags)
    assert not [name for name, _ in checked.attributes if name.startswith("on")]
    assert not {"href", "src", "srcset", "action", "data", "xlink:href"} & {n for n, _ in checked.attributes}
    assert not re.search(r"https?:|//[a-z]|url\(|@import", text)
    ids = [value for name, value in checked.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_page_when_read_aloud_then_each_drawing_has_a_name_and_says_what_it_shows() -> None:
    """Title and description, referred to by the drawing."""
    found = list(drawings(page(detail())))
    assert len(found) == 3
    for drawing_ in found:
        assert drawing_.get("role") == "img"
        names = (drawing_.get("aria-labelledby") or "").split()
        parts = [drawing_.find(f".//*[@id='{name}']") for name in names]
        assert [part is not None and part.tag for part in parts] == ["title", "desc"]
        assert all(part is not None and part.text for part in parts)
    texts = [desc.text or "" for drawing_ in found for desc in drawing_.iter("desc")]
    assert "off its schedule by 3.1 %" in texts[0]
    assert "decision 59990, arrival 60000" in texts[1]
    assert "delay 1.50 bps, trading -2.25 bps" in texts[2]


def test_page_when_drawn_then_schedule_fills_and_parts_are_where_their_values_are() -> None:
    """Done ends below the target, two fills in their own colours, each part on top of those before it."""
    schedule, prices, parts = drawings(page(detail()))
    ends = {path.get("class"): float((path.get("d") or "").split()[-1]) for path in schedule.iter("path")}
    assert ends["target"] < ends["done"]
    kinds = [(dot.get("class"), float(dot.get("cy") or 0)) for dot in prices.iter("circle")]
    assert [kind for kind, _ in kinds] == ["maker", "taker"]
    assert kinds[0][1] > kinds[1][1]
    bars = [
        (bar.get("class"), float(bar.get("y") or 0), float(bar.get("height") or 0))
        for bar in parts.iter("rect")
    ]
    assert [kind for kind, _, _ in bars] == ["plus", "minus", "plus", "plus", "whole"]
    delay, trading = bars[0], bars[1]
    assert delay[1] == pytest.approx(trading[1], abs=0.11)
    assert trading[2] == pytest.approx(1.5 * delay[2], rel=0.02)
    opportunity, fees = bars[2], bars[3]
    assert fees[1] + fees[2] == pytest.approx(opportunity[1], abs=0.11)


def test_page_when_labels_lie_close_then_they_give_way_to_each_other() -> None:
    """Six benchmarks within one basis point are all legible."""
    _, prices, _ = drawings(page(detail(decision_px=D(60_000), twap=D(60_002), vwap=D(60_002))))
    words = [float(text.get("y") or 0) for text in prices.iter("text") if text.get("class") == "ink"]
    assert len(words) == 6
    assert all(below - above >= 13 for above, below in pairwise(words))


def test_page_when_words_are_hostile_then_they_are_only_words() -> None:
    """An owner, a reason, a trade id: whatever comes from outside is escaped."""
    found = detail()
    found["owner"] = '<script>alert("x")</script>'
    found["fills"][0]["liquidity"] = '"><img src=x>'
    found["flags"] = ["<b>"]
    text = page(found)
    assert "script" not in Checked(text).tags
    assert "img" not in Checked(text).tags
    assert "&lt;script&gt;" in text


def test_page_when_nothing_is_known_then_it_says_so_and_is_whole() -> None:
    """No price, no fill, no end."""
    nothing = dict.fromkeys(KNOWN) | {"avg_px": None, "fees": None, "filled": D(0), "fill_ratio": D(0)}
    text = page(_plain(cost_detail(tca(1, 9, Lines(), **nothing), ())))
    Checked(text)
    assert "nothing is known of the price" in text
    assert "in all unknown" in text


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one_colour: str, other: str) -> float:
    high, low = sorted((_luminance(one_colour), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_when_light_or_dark_then_it_is_legible(scheme: str) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11: 4.5 for text, 3 for what is drawn, on the page and on its panels."""
    light, dark = page(detail()).split("@media (prefers-color-scheme: dark)")[:2]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", dark.split("body")[0]))
    for ground in ("page", "panel"):
        for ink in ("ink", "dim"):
            assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for drawn in ("target", "done", "mid", "good", "cost", "maker", "taker"):
            assert _contrast(colours[drawn], colours[ground]) >= 3, (drawn, ground)


# --- the command line ---------------------------------------------------------------------------------------


@pytest.fixture
def stored(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A store that no daemon writes."""
    monkeypatch.chdir(tmp_path)
    shell.data.root.mkdir(parents=True)
    store = StoreFile(str(shell.data.store))
    store.write(StoreBatch(1, (one(), fill(1, 4)), None))
    store.close()
    return shell


def test_command_when_no_daemon_runs_then_the_store_answers(stored: Shell, tmp_path: Path) -> None:
    """Drawn, as JSON, and as a page in results/."""
    words = ("--config", str(stored.config))
    done = stored("tca", "p1", *words)
    assert (done.code, "12.50 bps" in done.out) == (0, True)
    found = json.loads(stored("tca", "p1", "--json", *words).out)
    assert (found["is_bps"], found["parent_id"], len(found["fills"])) == ("12.5", "p1", 1)
    done = stored("tca", "p1", "--html", *words)
    assert done.out.strip() == "results/tca-p1.html"
    Checked((tmp_path / "results" / "tca-p1.html").read_text(encoding="utf-8"))


def test_command_when_asked_for_many_then_means_come(stored: Shell) -> None:
    """Since long ago there is one, in the last hour none."""
    words = ("--config", str(stored.config))
    found = json.loads(stored("tca", "--since", "2020-01-01T00:00:00Z", "--json", *words).out)
    assert [row["name"] for row in found["by"]["instrument"]] == ["binance:BTC/USDT"]
    assert "no order has ended" in stored("tca", "--since", "1h", *words).out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "expected the ID of an order, or --since"),
        (("p1", "--since", "7d"), "expected the ID of an order, or --since"),
        (("--since", "7d", "--html"), "name its ID"),
        (("--since", "soon"), "--since: expected an instant"),
        (("--since", "200000d"), "--since: expected a duration up to 36500d, got '200000d'"),
        (("--since", "9999-12-31"), "--since: expected an instant from 1678 to 2261, got '9999-12-31'"),
        (("../x",), "expected an order's id"),
    ],
)
def test_command_when_its_words_are_wrong_then_2(shell: Shell, words: tuple[str, ...], text: str) -> None:
    """And nothing is asked."""
    done = shell("tca", *words, "--config", str(shell.config))
    assert (done.code, done.out) == (2, "")
    assert text in done.err


def test_command_when_there_is_nothing_then_it_says_what_is_missing(stored: Shell, shell: Shell) -> None:
    """An order that nobody knows; a daemon that never was."""
    done = stored("tca", "p9", "--config", str(stored.config))
    assert (done.code, "no order p9 in" in done.err) == (1, True)
    shell.data.store.unlink()
    done = shell("tca", "p1", "--config", str(shell.config))
    assert (done.code, "no store is there" in done.err) == (3, True)


def test_command_when_a_daemon_runs_then_it_is_asked(shell: Shell, daemon: Daemon) -> None:
    """One order, and many."""
    daemon.answers["/api/v1/orders/p1/tca"] = (200, detail())
    daemon.answers["/api/v1/tca?since=7d"] = (200, {"since_ns": T0, "rows": [], "by": {}, "more": False})
    found = json.loads(shell("tca", "p1", "--json", "--url", daemon.url, "--config", str(shell.config)).out)
    assert found["is_bps"] == "12.5"
    daemon.answers["/api/v1/tca?since=2026-11-30T15%3A00%3A00%2B00%3A00"] = daemon.answers[
        "/api/v1/tca?since=7d"
    ]
    for since in ("7d", "2026-11-30T15:00:00+00:00"):
        done = shell("tca", "--since", since, "--url", daemon.url, "--config", str(shell.config))
        assert (done.code, "no order has ended" in done.out) == (0, True)
