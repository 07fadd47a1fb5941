"""Each rule of the history checker is seen failing: a checker that finds nothing proves nothing."""

from __future__ import annotations

import dataclasses
import sqlite3
import struct
from collections.abc import Callable
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.chaos.history import (
    Journal,
    Venue,
    VenueOrder,
    VenueTrade,
    balances,
    check_any_instant,
    check_quiet,
    positions,
    read_journal,
)
from tests.chaos.history_engine import SECOND, at_work, check_costs, check_engine, check_groups

BTC = "binance:BTC/USDT"


def intent(name: str, parent: str, qty: str = "1") -> list[Any]:
    return ["Intent", 1, "paper:main", BTC, "api", parent, name, 1, "buy", "limit", "GTC", False, qty]


def parent(name: str, ref: str, qty: str = "1") -> list[Any]:
    return ["Parent", 1, ["ParentOrder", name, "paper:main", BTC, "api", ref, "buy", qty], None]


def fill(trade: str, name: str, qty: str = "1", price: str = "100", fee: str = "0.001") -> list[Any]:
    head = ["Fill", 1, "paper:main", BTC, "api", trade, name, "1", "buy", qty, price]
    return [*head, "BTC", "USDT", fee, "BTC"]


def truth() -> tuple[Venue, Journal]:
    """Return one order that traded and one that rests, and a journal that says the same."""
    venue = Venue()
    venue.orders[1] = VenueOrder(1, "c1", BTC, "buy", Decimal(1), Decimal(1), "FILLED")
    venue.orders[2] = VenueOrder(2, "c2", BTC, "buy", Decimal(1), Decimal(0), "NEW")
    trade = VenueTrade("7", 1, BTC, "buy", Decimal(1), Decimal(100), Decimal("0.001"), "BTC")
    venue.trades[BTC, "7"] = trade
    venue.balances = {"USDT": Decimal(900), "BTC": Decimal("0.999"), "ETH": Decimal(0)}
    rows = [
        ["Epoch", 1, 1, "abc", "cfg", "0", 0],
        ["Opening", 1, "paper:main", "USDT", "1000", None, []],
        parent("p1", "r1"),
        intent("c1", "p1"),
        fill("7", "c1"),
        parent("p2", "r2"),
        intent("c2", "p2"),
        intent("c3", "p2"),
        ["NotSent", 1, "paper:main", "c3", "LATCHED"],
        intent("c4", "p2"),
        ["Report", 1, "paper:main", "c4", None, "REJECTED", "0", "Filter failure", 1, None],
        ["Epoch", 2, 2, "abc", "cfg", "0", 0],
    ]
    return venue, Journal(rows)


ANSWERED = {"r1": "p1", "r2": "p2"}


def test_history_when_it_is_true_then_nothing_is_found() -> None:
    """Orders that traded, rest, or never were; and what they add up to."""
    venue, journal = truth()
    check_any_instant(venue, journal, ANSWERED)
    check_quiet(venue, journal)
    assert balances(journal) == {"USDT": 900, "BTC": Decimal("0.999")}
    assert positions(journal) == {("api", BTC): Decimal("0.999")}


Lie = Callable[[Venue, Journal], object]
LIES: dict[str, Lie] = {
    "an order that nobody intended": lambda _v, j: j.rows.remove(intent("c2", "p2")),
    "an order sent twice": lambda v, _j: v.orders.update({3: dataclasses.replace(v.orders[2], order_id=3)}),
    "a fill booked twice": lambda _v, j: j.rows.append(fill("7", "c1")),
    "a fill that never was": lambda _v, j: j.rows.append(fill("8", "c1")),
    "a fill with another quantity": lambda _v, j: _swap(j, fill("7", "c1"), fill("7", "c1", "2")),
    "a fill at another price": lambda _v, j: _swap(j, fill("7", "c1"), fill("7", "c1", price="99")),
    "a fill with another fee": lambda _v, j: _swap(j, fill("7", "c1"), fill("7", "c1", fee="0")),
    "a fill of another order": lambda _v, j: _swap(j, fill("7", "c1"), fill("7", "c2")),
    "an answer that was forgotten": lambda _v, j: j.rows.remove(parent("p2", "r2")),
    "one ref, two orders": lambda _v, j: j.rows.append(parent("p3", "r1")),
    "more than was wished for": lambda _v, j: _swap(j, parent("p2", "r2"), parent("p2", "r2", "0.5")),
    "an epoch given out twice": lambda _v, j: j.rows.append(["Epoch", 3, 2, "abc", "cfg", "0", 0]),
    "an epoch that went back": lambda _v, j: j.rows.append(["Epoch", 3, 1, "abc", "cfg", "0", 1]),
}


def _swap(journal: Journal, old: list[Any], new: list[Any]) -> None:
    journal.rows[journal.rows.index(old)] = new


@pytest.mark.parametrize("lie", LIES)
def test_history_when_it_lies_at_some_instant_then_found(lie: str) -> None:
    """What must hold whenever the daemon died."""
    venue, journal = truth()
    LIES[lie](venue, journal)
    with pytest.raises(AssertionError):
        check_any_instant(venue, journal, ANSWERED)


QUIET_LIES: dict[str, Lie] = {
    "a fill that was lost": lambda _v, j: j.rows.remove(fill("7", "c1")),
    "an order of which nobody knows": lambda v, _j: v.orders.pop(2),
    "an order that was said not to exist": lambda _v, j: j.rows.append(
        ["Resolved", 1, "paper:main", "c2", "NOT_PLACED", "two looks"]
    ),
    "an order that was said to be rejected": lambda _v, j: j.rows.append(
        ["Report", 1, "paper:main", "c2", None, "REJECTED", "0", "no", 1, None]
    ),
    "a balance that differs": lambda v, _j: v.balances.update(USDT=Decimal("899.99")),
    "a deposit that nobody booked": lambda v, _j: v.balances.update(ETH=Decimal(1)),
}


@pytest.mark.parametrize("lie", QUIET_LIES)
def test_history_when_it_lies_in_quiet_then_found(lie: str) -> None:
    """What must hold once nothing is under way."""
    venue, journal = truth()
    QUIET_LIES[lie](venue, journal)
    with pytest.raises(AssertionError):
        check_quiet(venue, journal)


@pytest.mark.parametrize("damage", [None, "missing row", "altered payload", "altered hash"])
def test_journal_when_a_row_is_missing_or_altered_then_found(tmp_path: Path, damage: str | None) -> None:
    """The hash chain is computed by this test's own means."""
    path, chain = tmp_path / "journal.db", bytes(32)
    db = sqlite3.connect(path)
    with db:
        db.execute("CREATE TABLE journal (lsn, at_ns, epoch, type, version, payload, chain)")
        for lsn, row in enumerate(truth()[1].rows, 1):
            payload, kind = msgspec.msgpack.encode(row), row[0]
            head = struct.pack(">QqQII", lsn, 1, 1, 1, len(kind)) + kind.encode()
            chain = blake2b(chain + head + payload, digest_size=32).digest()
            db.execute("INSERT INTO journal VALUES (?, 1, 1, ?, 1, ?, ?)", (lsn, kind, payload, chain))
        if damage == "missing row":
            db.execute("DELETE FROM journal WHERE lsn = 4")
        elif damage == "altered payload":
            other = msgspec.msgpack.encode(["Epoch", 9, 1, "abc", "cfg", "0", 0])
            db.execute("UPDATE journal SET payload = ? WHERE lsn = 1", (other,))
        elif damage == "altered hash":
            db.execute("UPDATE journal SET chain = zeroblob(32) WHERE lsn = 5")
    db.close()
    if damage is None:
        assert read_journal(path).rows == truth()[1].rows
    else:
        with pytest.raises(AssertionError, match=r"missing|broken"):
            read_journal(path)


# --- algorithms -------------------------------------------------------------------------------------------


def planned(settings: dict[str, Any], start_ns: int = 0, end_ns: int = 20 * SECOND) -> list[Any]:
    order = ["ParentOrder", "p1", "paper:main", BTC, "api", "r1", "buy", "1", "twap", settings]
    return ["Parent", 0, order, None, [start_ns, end_ns]]


def child(at_ns: int) -> list[Any]:
    return ["Intent", at_ns, *intent("c1", "p1")[2:]]


def phase(name: str, at_ns: int = 0) -> list[Any]:
    return ["PhaseChange", at_ns, "p1", name, "NEW", ""]


ASKED = {"duration": "20s"}
LATER = ["PlanChange", 30 * SECOND, "p1", [20 * SECOND, 30 * SECOND]]


def test_engine_when_it_keeps_its_windows_then_nothing_is_found() -> None:
    """Up to the end of its grace; and what goes on behind its end has that instant for an end."""
    rows = [planned(ASKED), child(25 * SECOND), phase("PAUSED"), phase("WORKING"), LATER, child(35 * SECOND)]
    assert check_engine(Journal(rows))["p1"].phase == "WORKING"
    fired = ["Triggered", 1, "p1", "100", "last", 1]
    assert check_engine(Journal([planned(ASKED), fired])).keys() == {"p1"}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([planned(ASKED, 5 * SECOND, 25 * SECOND), child(5 * SECOND - 1)], "before its start"),
        ([planned(ASKED), child(25 * SECOND + 1)], "behind its window"),
        ([planned({**ASKED, "at_end": "cancel"}), child(20 * SECOND + 1)], "behind its window"),
        ([planned({**ASKED, "at_end": "extend:9s"}), child(29 * SECOND + 1)], "behind its window"),
        ([planned({"duration": "19s"})], "ends at"),
        ([planned(ASKED), ["PlanChange", 5, "p1", [0, 21 * SECOND]]], "ends at"),
        ([planned(ASKED), phase("PAUSED"), child(1)], "which is PAUSED"),
        ([planned(ASKED), phase("DONE"), child(1)], "which is DONE"),
        ([planned(ASKED), ["Triggered", 1, "p1"], ["Triggered", 2, "p1"]], "fired twice"),
    ],
)
def test_engine_when_a_rule_is_broken_then_it_is_found(rows: list[list[Any]], found: str) -> None:
    """Each by itself."""
    with pytest.raises(AssertionError, match=found):
        check_engine(Journal(rows))


def costs(filled: str) -> list[Any]:
    return ["Tca", 1, "p1", "paper:main", BTC, "api", "buy", "twap", "USDT", 0, ["final", "3", filled]]


def test_costs_when_their_newest_has_all_that_was_filled_then_nothing_is_found() -> None:
    """A late fill brings another TCA, and that one counts."""
    rows = [intent("c1", "p1"), fill("7", "c1"), phase("DONE"), costs("1"), fill("8", "c1"), costs("2")]
    assert check_costs(Journal(rows)) == 1


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], "nobody knows what these cost"),
        ([costs("1")], "another quantity"),
        ([costs("2"), costs("3")], "another quantity"),
    ],
)
def test_costs_when_missing_or_of_another_quantity_then_it_is_found(
    rows: list[list[Any]], found: str
) -> None:
    """TCA is written in the commit of the end, and again behind each later fill."""
    fills = [intent("c1", "p1"), fill("7", "c1"), fill("8", "c1")]
    with pytest.raises(AssertionError, match=found):
        check_costs(Journal([*fills, phase("DONE"), *rows]))


def group(kind: str, *legs: str) -> list[Any]:
    wish = ["SubmitOrder", "paper:main", BTC, "api", "r1", "sell", "3", kind, {}]
    return ["Group", 1, "p1", kind, [[leg, f"p{number}"] for number, leg in enumerate(legs, 1)], wish]


def placed(*orders: tuple[str, str, str]) -> tuple[Venue, list[list[Any]]]:
    """Return a venue with orders of 2 by (parent, traded, status), and their INTENTs."""
    venue, rows = Venue(), []
    for number, (parent_id, cum, status) in enumerate(orders, 1):
        name = f"c{number}"
        venue.orders[number] = VenueOrder(number, name, BTC, "sell", Decimal(2), Decimal(cum), status)
        rows.append(intent(name, parent_id, "2"))
    return venue, rows


OCO, BRACKET = group("oco", "take_profit", "stop"), group("bracket", "entry", "take_profit", "stop")


def test_groups_when_their_legs_keep_the_quantity_then_nothing_is_found() -> None:
    """An oco of 3: 1 has traded and 2 rest; a bracket whose entry has 2, of which an exit rests in full."""
    venue, rows = placed(("p1", "1", "CANCELED"), ("p2", "0", "NEW"))
    check_groups(venue, Journal([OCO, *rows]))
    venue, rows = placed(("p1", "2", "FILLED"), ("p2", "0", "NEW"), ("p3", "0", "CANCELED"))
    check_groups(venue, Journal([BRACKET, *rows]))


@pytest.mark.parametrize(
    ("kind", "orders"),
    [
        (OCO, [("p1", "2", "FILLED"), ("p2", "2", "FILLED")]),
        (OCO, [("p1", "2", "FILLED"), ("p2", "0", "NEW")]),
        (BRACKET, [("p1", "1", "PARTIALLY_FILLED"), ("p2", "0", "NEW")]),
        (BRACKET, [("p1", "2", "FILLED"), ("p2", "1", "CANCELED"), ("p3", "1", "PARTIALLY_FILLED")]),
    ],
)
def test_groups_when_their_legs_may_trade_too_much_then_it_is_found(
    kind: list[Any], orders: list[tuple[str, str, str]]
) -> None:
    """Each leg keeps its own quantity, and both together do not keep the group's, or the entry's."""
    venue, rows = placed(*orders)
    with pytest.raises(AssertionError, match="the legs of p1 come to"):
        check_groups(venue, Journal([kind, *rows]))


def test_work_when_legs_only_have_fired_or_entries_only_traded_then_it_does_not_count() -> None:
    """A stop of its own that has fired; and a group once a leg of it, of a bracket an exit, has traded."""
    waits = ["Parent", 0, ["ParentOrder", "p9", "paper:main", BTC, "api", "r9", "sell", "1", "stop", {}]]
    rows = [waits, BRACKET, intent("c1", "p1"), fill("7", "c1"), ["Triggered", 1, "p3", "100", "last", 1]]
    assert at_work(Journal(rows)) == set()
    rows += [["Triggered", 1, "p9", "100", "last", 1], intent("c2", "p3"), fill("8", "c2")]
    assert at_work(Journal(rows)) == {"stop", "bracket"}
