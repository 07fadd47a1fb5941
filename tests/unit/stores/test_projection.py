"""Catching up: what follows from the journal's records, and only that, is in the store."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from tests.unit.stores.made import ACCOUNT, BTC, OWNER, costs, equity, fill, order, parent, position, trade
from tradefan.actors.oms_view import positions_of
from tradefan.core.trading import Trading, apply
from tradefan.core.updates import order_update, parent_update, tca_update
from tradefan.messages.control import Snap, StoreBatch
from tradefan.messages.orders import OrderStatus, ParentOrder, Phase
from tradefan.messages.records import (
    Assign,
    Bust,
    Correct,
    Epoch,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    NotSent,
    Opening,
    Parent,
    PhaseChange,
    Record,
    Report,
)
from tradefan.messages.tca import Lines, Met, State, Tca
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.stores import projection
from tradefan.stores.journal import JournalFile
from tradefan.stores.projection import begin, catch_up, place_of
from tradefan.stores.sqlite import StoreFile
from tradefan.units import EXTERNAL, Asset, ClientOrderId, ParentId, Side, TradeId


def wish(number: int, at_ns: int) -> ParentOrder:
    return msgspec.structs.replace(parent(number).order, created_ns=at_ns, order_qty=Decimal(1))


def intent(at_ns: int, name: str, parent_id: str, side: Side = "buy") -> Intent:
    return Intent(
        at_ns=at_ns,
        account=ACCOUNT,
        instrument=BTC,
        owner=OWNER,
        parent_id=ParentId(parent_id),
        client_order_id=ClientOrderId(name),
        sequence=at_ns,
        side=side,
        order_type="limit",
        time_in_force="GTC",
        post_only=False,
        order_qty=Decimal(1),
        limit_price=Decimal(100),
        reserve_px=Decimal(100),
        config_id="c",
        instrument_version=1,
        reference_px=Decimal(100),
        reference_age_ns=0,
        not_after_ns=at_ns + 10,
        reduce_only=False,
        reserve_asset=Asset("USDT"),
        reserve_per_unit=Decimal(100),
    )


def filled(at_ns: int, name: str | None, trade_id: str, side: Side, qty: str, price: str) -> Fill:
    return Fill(
        at_ns=at_ns,
        account=ACCOUNT,
        instrument=BTC,
        owner=OWNER,
        trade_id=TradeId(trade_id),
        client_order_id=None if name is None else ClientOrderId(name),
        venue_order_id="v",
        side=side,
        qty=Decimal(qty),
        price=Decimal(price),
        base=Asset("BTC"),
        quote=Asset("USDT"),
        fee=Decimal("0.1"),
        fee_asset=Asset("USDT"),
        liquidity="taker",
        event_ns=at_ns - 1,
    )


def report(at_ns: int, name: str, status: OrderStatus, cum_qty: str) -> Report:
    return Report(at_ns, ACCOUNT, ClientOrderId(name), "v", status, Decimal(cum_qty), "", at_ns - 1)


RECORDS: tuple[Record, ...] = (
    Epoch(1, 1, "abc", "c", "0.1"),
    Opening(2, ACCOUNT, Asset("USDT"), Decimal(1000), None),
    Parent(3, wish(1, 3)),
    intent(3, "a", "p1"),
    report(5, "a", OrderStatus.NEW, "0"),
    filled(6, "a", "t1", "buy", "0.4", "100"),
    filled(7, "a", "t2", "buy", "0.6", "110"),
    report(7, "a", OrderStatus.FILLED, "1"),
    PhaseChange(8, ParentId("p1"), Phase.DONE, OrderStatus.FILLED, "filled"),
    Parent(9, wish(2, 9)),
    intent(9, "b", "p2", "sell"),
    filled(10, "b", "t3", "sell", "0.5", "120"),
    filled(11, "b", "t3", "sell", "0.5", "120"),
    filled(12, None, "t4", "sell", "0.1", "120"),
    intent(13, "c", "p2", "sell"),
    NotSent(14, ACCOUNT, ClientOrderId("c"), "expired"),
    ParentFailed(15, ParentId("p2"), "boom"),
)


@pytest.fixture
def journal() -> JournalFile:
    file = JournalFile(":memory:")
    file.append(1, 1, RECORDS)
    return file


def everything(store: StoreFile) -> tuple[object, ...]:
    """All rows; up to which record a picture is true depends on where the batches were cut."""
    pictures = (*store.orders(), *store.parents(), *store.positions())
    return ([msgspec.structs.replace(row, lsn=0) for row in pictures], store.fills(), store.applied_lsn)


def test_catch_up_when_store_is_empty_then_has_what_follows_from_the_records(journal: JournalFile) -> None:
    """Orders, parents, fills with realised results, and positions, computed by hand."""
    store = StoreFile(":memory:")
    assert catch_up(store, journal) == len(RECORDS)
    fills = store.fills()
    assert [(row.trade_id, row.lsn, row.parent_id, row.realised) for row in fills] == [
        ("t1", 6, "p1", 0),
        ("t2", 7, "p1", 0),
        # Bought 1 for 106, so half of it cost 53.
        ("t3", 12, "p2", 60 - 53),
        ("t4", 14, None, Decimal(12) - Decimal("10.6")),
    ]
    (held,) = store.positions()
    assert (held.qty, held.avg_px, held.realised, held.fees) == (
        Decimal("0.4"),
        Decimal(106),
        Decimal("8.4"),
        {"USDT": Decimal("0.4")},
    )
    assert [
        (row.client_order_id, row.status, row.cum_qty, row.avg_px, row.created_ns) for row in store.orders()
    ] == [
        ("c", "EXPIRED", 0, None, 13),
        ("b", "PARTIALLY_FILLED", Decimal("0.5"), 120, 9),
        ("a", "FILLED", 1, 106, 3),
    ]
    assert [
        (row.order, row.status, row.phase, row.reason, row.cum_qty, row.working_qty, row.children)
        for row in store.parents()
    ] == [
        (wish(2, 9), "PARTIALLY_FILLED", "PAUSED", "defect", Decimal("0.5"), Decimal("0.5"), 2),
        (wish(1, 3), "FILLED", "DONE", "filled", 1, 0, 1),
    ]


def test_catch_up_when_done_in_any_two_parts_then_ends_the_same() -> None:
    """It does not matter how far the store was when the daemon died."""
    whole = StoreFile(":memory:")
    full = JournalFile(":memory:")
    full.append(1, 1, RECORDS)
    catch_up(whole, full)
    for cut in range(1, len(RECORDS)):
        store, file = StoreFile(":memory:"), JournalFile(":memory:")
        file.append(1, 1, RECORDS[:cut])
        catch_up(store, file)
        file.append(cut + 1, 1, RECORDS[cut:])
        catch_up(store, file)
        assert everything(store) == everything(whole)


def test_catch_up_when_up_to_date_then_changes_nothing(journal: JournalFile) -> None:
    """Every start does it; most find nothing to do."""
    store = StoreFile(":memory:")
    catch_up(store, journal)
    before = everything(store)
    catch_up(store, journal)
    assert everything(store) == before


def test_catch_up_when_store_ran_ahead_then_what_was_never_durable_goes(journal: JournalFile) -> None:
    """A crash between a message to the store and the commit of its record leaves no ghost."""
    store = StoreFile(":memory:")
    catch_up(store, journal)
    before = everything(store)
    ghost = order(9, updated_ns=99)
    ahead = [msgspec.structs.replace(row, lsn=99, reason="not durable") for row in store.orders()]
    held = [msgspec.structs.replace(row, lsn=99, qty=Decimal(7)) for row in store.positions()]
    store.write(StoreBatch(1, (ghost, *ahead, *held, fill(9, 99), trade(1), equity(99)), 99))
    begin(store, place_of(journal))
    assert (store.forgot, store.applied_lsn) == (True, len(RECORDS))
    assert catch_up(store, journal) == len(RECORDS)
    assert (store.forgot, everything(store)) == (False, before)
    assert (len(store.trades(BTC)), len(store.equity(ACCOUNT))) == (1, 1)


def test_catch_up_when_daemon_runs_then_takes_nothing_away(journal: JournalFile) -> None:
    """While the OMS runs its messages may be ahead of the disk by a commit."""
    store = StoreFile(":memory:")
    catch_up(store, journal)
    ahead = fill(9, 99)
    store.write(StoreBatch(1, (ahead,), 99))
    catch_up(store, journal)
    assert ahead in store.fills()


def test_catch_up_when_journal_is_another_then_history_stays_and_positions_go() -> None:
    """A new journal beside an old store: what was traded stays written, what is held begins anew."""
    store, first, second = StoreFile(":memory:"), JournalFile(":memory:"), JournalFile(":memory:")
    first.append(1, 1, RECORDS)
    catch_up(store, first)
    store.write(StoreBatch(1, (position("7"),), None))
    second.append(1, 1, (Epoch(500, 1, "xyz", "c", "0.1"), Parent(501, wish(3, 501))))
    assert catch_up(store, second) == 2
    assert (store.positions(), len(store.fills()), len(store.orders())) == ((), 4, 3)
    assert store.parents(limit=1)[0].order == wish(3, 501)
    # The numbers of the new journal are lower than those of the old one.
    assert catch_up(store, second) == 2
    assert (len(store.fills()), len(store.orders()), len(store.parents())) == (4, 3, 3)


def test_catch_up_when_there_is_much_then_moves_forward_in_batches(tmp_path: Path) -> None:
    """A long way is written in several transactions, each with its own place."""
    store, file = StoreFile(str(tmp_path / "s.db")), JournalFile(":memory:")
    many = tuple(filled(10 + number, None, f"t{number}", "buy", "1", "100") for number in range(700))
    file.append(1, 1, many)
    places: list[int] = []
    whole = store.write
    store.write = lambda batch: places.append(batch.applied_lsn or 0) or whole(batch)  # type: ignore[method-assign, func-returns-value, redundant-expr]
    assert catch_up(store, file) == 700
    assert len(places) > 1
    assert all(one < other for one, other in pairwise(places))
    assert len(store.fills()) == 700


def test_rows_when_projected_then_are_the_messages_that_the_oms_sends() -> None:
    """Whether a row came by message or by the journal cannot be told from it."""
    state, store, file = Trading(), StoreFile(":memory:"), JournalFile(":memory:")
    file.append(1, 1, RECORDS)
    for record in RECORDS:
        apply(state, record)
    catch_up(store, file)
    assert {row.client_order_id: row for row in store.orders()} == {
        name: order_update(one, state.lsn) for name, one in state.orders.items()
    }
    assert {row.order.parent_id: row for row in store.parents()} == {
        name: parent_update(one, state.lsn) for name, one in state.parents.items()
    }
    assert list(store.positions()) == positions_of(state, None)


def analysed(at_ns: int, number: int, state: State, lines: Lines) -> Tca:
    """Return the record of a parent's costs."""
    place = (ParentId(f"p{number}"), ACCOUNT, BTC, OWNER, "buy", "limit", Asset("USDT"), 3)
    return Tca(at_ns, *place, costs(state), lines, Met(end_px=Decimal(100)))  # type: ignore[arg-type]


def test_costs_when_projected_then_the_newest_record_counts_with_the_lines_of_the_first() -> None:
    """As by message: provisional at the end, final behind it."""
    lines = Lines(((5, 100.5),))
    store = stored(*RECORDS, analysed(16, 1, "provisional", lines), analysed(17, 1, "final", Lines()))
    expected = tca_update(analysed(17, 1, "final", lines), len(RECORDS) + 2)
    assert (store.tca("p1"), store.tcas()) == (expected, (expected,))


def test_costs_when_the_store_ran_ahead_then_the_record_before_comes_back(journal: JournalFile) -> None:
    """A final record that was never durable goes, and the provisional one is told again."""
    journal.append(len(RECORDS) + 1, 1, (analysed(16, 1, "provisional", Lines()),))
    ahead = tca_update(analysed(17, 1, "final", Lines()), len(RECORDS) + 2)
    store = StoreFile(":memory:")
    catch_up(store, journal)
    store.write(StoreBatch(1, (ahead,), None))
    begin(store, place_of(journal))
    assert store.tca("p1") is None
    catch_up(store, journal)
    found = store.tca("p1")
    assert found is not None
    assert (found.costs, found.at_ns, found.algo) == (costs("provisional"), 16, "limit")


# --- what changes a trade behind its fill -------------------------------------------------------


INFERRED = filled(20, "b", "inferred b 17", "sell", "0.3", "120")
LATER: tuple[Record, ...] = (
    FillInferred(20, INFERRED),
    FillReplaced(21, ACCOUNT, BTC, INFERRED.trade_id, Decimal("0.1")),
    filled(21, "b", "t5", "sell", "0.1", "120"),
    Bust(22, ACCOUNT, BTC, TradeId("t2"), filled(7, "a", "t2", "buy", "0.6", "110")),
    Bust(22, ACCOUNT, BTC, TradeId("t9"), None),
    Correct(
        23,
        ACCOUNT,
        BTC,
        TradeId("t1"),
        filled(6, "a", "t1", "buy", "0.4", "100"),
        Decimal("0.2"),
        Decimal(101),
    ),
    Assign(24, ACCOUNT, BTC, Asset("BTC"), OWNER, EXTERNAL, Decimal("0.1"), Decimal(100), "cli"),
)


def stored(*records: Record) -> StoreFile:
    store, file = StoreFile(":memory:"), JournalFile(":memory:")
    file.append(1, 1, records)
    catch_up(store, file)
    return store


def test_fills_when_inferred_replaced_busted_or_corrected_then_each_change_is_a_row(
    journal: JournalFile,
) -> None:
    """What is taken back is a negative quantity under a name of its own; the records stay in order."""
    first = len(RECORDS)
    rows: list[tuple[object, ...]] = [
        (row.lsn - first, row.trade_id, row.qty, row.price, row.parent_id)
        for row in sorted(stored(*RECORDS, *LATER).fills(), key=lambda row: (row.lsn, row.trade_id))
        if row.lsn > first
    ]
    assert rows == [
        (1, "inferred b 17", Decimal("0.3"), 120, "p2"),
        (2, f"replaced inferred b 17 {first + 2}", Decimal("-0.1"), 120, "p2"),
        (3, "t5", Decimal("0.1"), 120, "p2"),
        (4, f"bust t2 {first + 4}", Decimal("-0.6"), 110, "p1"),
        (6, f"bust t1 {first + 6}", Decimal("-0.4"), 100, "p1"),
        (6, f"corrected t1 {first + 6}", Decimal("0.2"), 101, "p1"),
    ]


def test_pictures_when_trades_were_changed_then_are_those_of_the_state() -> None:
    """Orders, parents and positions of every owner, external included."""
    state, records = Trading(), (*RECORDS, *LATER)
    for record in records:
        apply(state, record)
    store = stored(*records)
    assert {row.client_order_id: row for row in store.orders()} == {
        name: order_update(one, state.lsn) for name, one in state.orders.items()
    }
    assert {row.order.parent_id: row for row in store.parents()} == {
        name: parent_update(one, state.lsn) for name, one in state.parents.items()
    }
    assert [row for row in store.positions() if row.qty] == positions_of(state, None)
    assert EXTERNAL in {row.owner for row in store.positions()}


def test_orders_when_one_replaces_another_or_is_external_then_all_are_rows() -> None:
    """The order that was replaced changes with the INTENT of its successor."""
    successor = msgspec.structs.replace(intent(20, "d", "p2", "sell"), replaces=ClientOrderId("b"))
    foreign = ExternalOrder(
        at_ns=21,
        account=ACCOUNT,
        instrument=BTC,
        client_order_id=ClientOrderId("theirs"),
        venue_order_id="v9",
        side="buy",
        order_qty=Decimal(1),
        cum_qty=Decimal(0),
        limit_price=Decimal(90),
        reserve_px=Decimal(90),
        reserve_asset=Asset("USDT"),
        reserve_per_unit=Decimal(90),
        orphan=False,
    )
    rows = {row.client_order_id: row for row in stored(*RECORDS, successor, foreign).orders()}
    assert (rows["b"].status, rows["d"].status) == ("PENDING_REPLACE", "PENDING_NEW")  # type: ignore[index]
    assert rows["theirs"].owner == EXTERNAL  # type: ignore[index]


# --- snapshots ----------------------------------------------------------------------------------


def test_catch_up_when_there_is_a_snapshot_before_its_place_then_begins_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A million old records are not read at every start."""
    monkeypatch.setattr(projection, "MARGIN", 2)
    whole = stored(*RECORDS)
    store, file, state = StoreFile(":memory:"), JournalFile(":memory:"), Trading()
    file.append(1, 1, RECORDS[:10])
    catch_up(store, file)
    for record in RECORDS[:8]:
        apply(state, record)
    file.write((), snap=Snap(8, msgspec.msgpack.encode(state)))
    # What lies before the snapshot cannot be read any more, and is not.
    file.base.db.execute("UPDATE journal SET payload = x'00' WHERE lsn = 5")
    file.append(11, 1, RECORDS[10:])
    assert catch_up(store, file) == len(RECORDS)
    assert everything(store) == everything(whole)


def test_catch_up_when_the_snapshot_is_beyond_its_place_or_unreadable_then_folds_from_the_first() -> None:
    """Rows behind `applied_lsn` are made from records, never from a state alone."""
    whole = stored(*RECORDS)
    for state in (msgspec.msgpack.encode(Trading(lsn=17)), b"nothing"):
        store, file = StoreFile(":memory:"), JournalFile(":memory:")
        file.append(1, 1, RECORDS)
        file.write((), snap=Snap(0 if state == b"nothing" else len(RECORDS), state))
        catch_up(store, file)
        assert everything(store) == everything(whole)
