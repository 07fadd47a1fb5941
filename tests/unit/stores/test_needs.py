"""A configuration that lacks what its journal still needs is refused before anything runs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, CLI, ETH, GATEWAY, TREND, foreign
from tradefan.core.trading import Trading, apply
from tradefan.errors import Refused
from tradefan.messages.control import Append, Snap
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.orders import AssignPosition, OrderStatus
from tradefan.messages.records import Record
from tradefan.stores.journal import JournalFile, check_journal
from tradefan.stores.needs import SHOWN_MAX, Wired
from tradefan.units import EXTERNAL, AccountId, OwnerId

D = Decimal
S = OrderStatus
BOTH = Wired((ACCOUNT,), (BTC, ETH))
NO_ETH = Wired((ACCOUNT,), (BTC,))


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


@pytest.fixture(params=["rows", "snapshot"])
def snapped(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "snapshot")


class Journal:
    """The records of a bench in a file, all behind a snapshot or all in it."""

    def __init__(self, folder: Path, records: list[Record], *, snapped: bool) -> None:
        self.path = str(folder / "journal.db")
        folder.mkdir(exist_ok=True)
        file, state = JournalFile(self.path), Trading()
        for record in records:
            apply(state, record)
        snap = Snap(len(records), msgspec.msgpack.encode(state)) if snapped else None
        file.write((Append(1, 1, tuple(records)),), snap=snap)
        file.close()

    def refusal(self, wired: Wired) -> str:
        """Return the refusal of a start; a start with all that was there passes."""
        assert check_journal(self.path, wired=BOTH) == ""
        with pytest.raises(Refused) as refused:
            check_journal(self.path, wired=wired)
        assert refused.value.code == "STILL_NEEDED"
        return refused.value.text


@pytest.mark.parametrize("status", [S.NEW, S.PENDING_NEW, S.FILLED])
def test_start_when_an_order_lost_its_feed_then_refused_until_it_is_booked(
    bench: Bench, tmp_path: Path, status: OrderStatus, snapped: bool
) -> None:
    """Nobody could look at it: the account would wait for ever, or its trade never be booked."""
    create = bench.limit(2, 9, instrument=ETH)
    if status is not S.PENDING_NEW:
        bench.report(create, status, 2 if status is S.FILLED else 0)
    text = Journal(tmp_path, bench.records, snapped=snapped).refusal(NO_ETH)
    name = create.client_order_id
    assert f"feeds.{ETH}: order {name} of {TREND} on {ACCOUNT} (buy 2 {ETH}, {status}, 0 booked); exp" in text
    assert len(text.splitlines()) == 2


def test_start_when_an_order_lost_its_account_then_refused(
    bench: Bench, tmp_path: Path, snapped: bool
) -> None:
    """It would rest at the venue with nobody there."""
    create = bench.resting()
    wired = Wired((AccountId("paper:other"),), (BTC, ETH))
    text = Journal(tmp_path, bench.records, snapped=snapped).refusal(wired)
    assert f"accounts.{ACCOUNT}: order {create.client_order_id} of {TREND} on {ACCOUNT} (buy 1 {BTC}" in text


def bought(bench: Bench, owner: OwnerId, qty: int) -> None:
    """Let an owner hold a quantity of ETH, bought at 10."""
    bench.submit(qty, instrument=ETH, owner=owner)
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, qty, price=D(10))
    bench.report(create, S.FILLED, qty)


def give(bench: Bench, giver: OwnerId, taker: OwnerId, qty: int) -> None:
    bench.tell(AssignPosition(ACCOUNT, ETH, giver, taker, D(qty), D(10), "me", CLI, 5))


def test_start_when_positions_lost_their_feed_then_refused_until_they_are_external(
    bench: Bench, tmp_path: Path, snapped: bool
) -> None:
    """Without a price it would count as a loss; each key is named once, each owner with its quantity."""
    bought(bench, TREND, 3)
    bought(bench, CLI, 1)
    text = Journal(tmp_path, bench.records, snapped=snapped).refusal(NO_ETH)
    assert f"feeds.{ETH}: {TREND} on {ACCOUNT} holds 3 {ETH}; {CLI} on {ACCOUNT} holds 1 {ETH}; exp" in text
    assert len(text.splitlines()) == 2
    give(bench, TREND, EXTERNAL, 3)
    give(bench, CLI, EXTERNAL, 1)
    path = Journal(tmp_path / "given", bench.records, snapped=snapped).path
    assert check_journal(path, wired=NO_ETH) == ""


def test_start_when_more_was_sold_than_an_owner_had_then_external_gives_it_back(
    tmp_path: Path, snapped: bool
) -> None:
    """What a human sold of what was there before is below zero in his name, and named like any position."""
    bench = Bench().ready(USDT=1_000_000, ETH=10)
    bench.submit(4, instrument=ETH, owner=CLI, side="sell")
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, 4, price=D(10))
    bench.report(create, S.FILLED, 4)
    assert f"{CLI} on {ACCOUNT} holds -4 {ETH}" in Journal(tmp_path, bench.records, snapped=snapped).refusal(
        NO_ETH
    )
    give(bench, EXTERNAL, CLI, 4)
    path = Journal(tmp_path / "given", bench.records, snapped=snapped).path
    assert check_journal(path, wired=NO_ETH) == ""


def test_start_when_all_in_it_has_ended_or_is_of_others_then_a_feed_may_go(
    bench: Bench, tmp_path: Path, snapped: bool
) -> None:
    """What was traded there once needs nothing, and an order of others is theirs."""
    create = bench.resting(2, 9, instrument=ETH)
    bench.report(create, S.CANCELED)
    bench.report(foreign(3, instrument=ETH), S.NEW)
    assert len(bench.trading.orders_live) == 1
    path = Journal(tmp_path, bench.records, snapped=snapped).path
    assert check_journal(path, wired=NO_ETH) == ""


def test_start_when_many_orders_need_one_feed_then_some_are_named_and_the_rest_counted(
    bench: Bench, tmp_path: Path, snapped: bool
) -> None:
    """The line stays readable."""
    for _ in range(SHOWN_MAX + 2):
        bench.resting(1, 9, instrument=ETH)
    text = Journal(tmp_path, bench.records, snapped=snapped).refusal(NO_ETH)
    assert (text.count("order dev"), "; and 2 more; expected" in text) == (SHOWN_MAX, True)
