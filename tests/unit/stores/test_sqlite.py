"""The embedded store's file: rows in, the same messages out, each once, whatever comes twice."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from tests.unit.stores.made import (
    ACCOUNT,
    BTC,
    OWNER,
    Disk,
    bar,
    equity,
    fill,
    gap,
    health,
    indicator,
    order,
    parent,
    position,
    refusal,
    risk,
    tca,
    trade,
)
from tradefan.errors import Outage, Refused
from tradefan.messages.account import HealthPoint, IndicatorPoint, RiskPoint
from tradefan.messages.control import StoreAck, StoreBatch, Stored, VolumesAsked
from tradefan.messages.market import Gap
from tradefan.messages.orders import Doubt, OrderStatus, Phase
from tradefan.messages.tca import Lines
from tradefan.stores.migrations import MIGRATIONS, STORE_VERSION
from tradefan.stores.schema import TABLES, from_row, to_row
from tradefan.stores.sqlite import StoreFile
from tradefan.units import DAY, MINUTE, OwnerId


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
def store(path: str) -> StoreFile:
    return StoreFile(path)


def batch(*rows: Stored, lsn: int | None = None) -> StoreBatch:
    return StoreBatch(1, rows, lsn)


LINES = Lines(((5, 100.5), (6, 101.0)), ((5, 0.5),), ((6, 0.25), (7, 0.8)))
ALL: tuple[Stored, ...] = (
    trade(1),
    bar(0),
    gap(7),
    order(1),
    msgspec.structs.replace(order(2), in_doubt=Doubt.CREATE, avg_px=Decimal("1.50")),
    parent(1),
    fill(1, 4),
    position("0.4995"),
    equity(5),
    refusal(6),
    indicator(8),
    risk(11),
    health(12),
    tca(1, lines=LINES),
)


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_row_when_led_to_the_table_and_back_then_is_the_same_message(message: Stored) -> None:
    """Nothing of a message is lost or rounded in the store."""
    assert from_row(type(message), to_row(message)) == message


def test_tables_cover_every_kind_of_row() -> None:
    """A kind that the data writer may send has a table."""
    assert set(TABLES) == {type(message) for message in ALL}


def test_write_when_every_kind_comes_then_every_query_gives_it_back(store: StoreFile) -> None:
    """One batch of everything, asked for again after the file was closed."""
    assert store.write(batch(*ALL, lsn=4)) == StoreAck(1, len(ALL), None, 4)
    store.close()
    again = StoreFile(store.path, read_only=True)
    assert again.trades(BTC) == (trade(1),)
    assert again.bars(BTC, "1m") == (bar(0),)
    assert again.fills() == (fill(1, 4),)
    assert again.equity(ACCOUNT) == (equity(5),)
    assert set(again.orders()) == {ALL[3], ALL[4]}
    assert again.parents() == (parent(1),)
    assert again.positions() == (position("0.4995"),)
    assert again.refusals() == (refusal(6),)
    assert again._ask(Gap, "1", (), 9) == (gap(7),)
    assert again._ask(IndicatorPoint, "1", (), 9) == (indicator(8),)
    assert again._ask(RiskPoint, "1", (), 9) == (risk(11),)
    assert again._ask(HealthPoint, "1", (), 9) == (health(12),)
    assert (again.tca("p1"), again.tcas(9), again.tcas(10)) == (tca(1, lines=LINES), (ALL[-1],), ())
    assert (again.parent("p1"), again.parent("p2"), again.tca("p2")) == (parent(1), None, None)
    assert again.fills_of("p1") == (fill(1, 4),)


def test_write_when_costs_become_final_then_figures_are_replaced_and_the_drawing_stays(
    store: StoreFile,
) -> None:
    """Only the first record of a parent carries its lines; an older one changes nothing."""
    store.write(batch(tca(1, 9, LINES)))
    store.write(batch(tca(1, 20, state="final", flags=())))
    store.write(batch(tca(1, 9, LINES)))
    assert store.tca("p1") == tca(1, 20, LINES, state="final", flags=())


def test_write_when_a_batch_comes_twice_then_changes_nothing(store: StoreFile) -> None:
    """A batch whose answer was lost is simply sent again."""
    store.write(batch(*ALL, lsn=4))
    first = dump(store.path)
    assert store.write(batch(*ALL, lsn=4)) == StoreAck(1, len(ALL), None, 4)
    assert dump(store.path) == first


def dump(path: str) -> dict[str, list[tuple[Any, ...]]]:
    db = apsw.Connection(path)
    rows = {table.name: db.execute(f"SELECT * FROM {table.name}").fetchall() for table in TABLES.values()}
    db.close()
    return rows


def test_write_when_an_older_picture_comes_late_then_the_newer_one_stays(store: StoreFile) -> None:
    """Order, parent and position never go back in the journal; at the same number the later word counts."""
    newer = (
        order(1, OrderStatus.FILLED, 20),
        parent(1, 20, Phase.DONE),
        position("0", 20),
    )
    store.write(batch(*newer))
    store.write(batch(order(1), parent(1), position("1")))
    assert (store.orders(), store.parents(), store.positions()) == tuple((row,) for row in newer)
    store.write(batch(order(1, OrderStatus.CANCELED, 20)))
    assert store.orders() == (order(1, OrderStatus.CANCELED, 20),)


def test_write_when_a_closed_bar_is_corrected_then_replaces_it(store: StoreFile) -> None:
    """A trade that came late corrects the store."""
    store.write(batch(bar(0, close=3.0)))
    store.write(batch(bar(0, close=3.5)))
    assert store.bars(BTC, "1m") == (bar(0, close=3.5),)


def test_write_when_a_row_cannot_be_stored_then_only_it_is_set_aside(store: StoreFile) -> None:
    """NaN and numbers beyond 64 bits never cost the rest of their batch, and the answer says so."""
    rows = (trade(1), trade(2, price=math.nan), trade(2**70), trade(3))
    ack = store.write(batch(*rows))
    assert (ack.stored, ack.reason) == (
        2,
        "2 rows set aside, the first a Trade: NOT NULL constraint failed: trades.price",
    )
    assert store.trades(BTC) == (trade(1), trade(3))


def test_applied_lsn_when_batches_carry_none_or_less_then_never_goes_back(store: StoreFile) -> None:
    """The projection's place only moves forward, in the transaction that earns it."""
    acks = [store.write(batch(trade(1), lsn=lsn)) for lsn in (None, 7, None, 5)]
    assert [ack.applied_lsn for ack in acks] == [0, 7, 7, 7]


def test_queries_when_given_a_range_then_are_half_open_and_bounded(store: StoreFile) -> None:
    """start <= time < end, oldest first, at most `limit` and never less than none."""
    store.write(batch(*(trade(number) for number in range(1, 6)), *(bar(at) for at in (0, 60, 120))))
    store.write(batch(*(equity(at) for at in (1, 2, 3)), *(fill(at, at) for at in (1, 2, 3))))
    assert store.trades(BTC, 2, 5, 2) == (trade(2), trade(3))
    assert store.bars(BTC, "1m", 60, 120) == (bar(60),)
    assert store.bars(BTC, "5m") == ()
    assert store.equity(ACCOUNT, 2, 3) == (equity(2),)
    assert store.fills(ACCOUNT, BTC, 2, 4) == (fill(2, 2), fill(3, 3))
    assert store.fills("paper:other") == ()
    assert store.trades(BTC, limit=-1) == ()


def test_trades_when_older_than_kept_then_are_forgotten(path: str) -> None:
    """The market of last week does not fill the disk; its own trades never leave."""
    store = StoreFile(path, keep_trades_ns=DAY)
    store.write(batch(trade(1, at_ns=1), fill(1, 1)))
    late = msgspec.structs.replace(trade(2, at_ns=DAY + 10), recv_ns=DAY + 10)
    store.write(batch(late))
    assert (store.trades(BTC), store.fills()) == ((late,), (fill(1, 1),))


def test_forget_unjournaled_when_store_ran_ahead_then_only_the_lead_goes(store: StoreFile) -> None:
    """What follows from records that were never durable did not happen."""
    kept, lost = order(1, updated_ns=4), order(2, updated_ns=9)
    store.write(batch(kept, lost, fill(1, 4), fill(2, 9), lsn=9))
    store.forget_unjournaled(last_lsn=4)
    assert (store.forgot, store.applied_lsn) == (True, 4)
    assert (store.orders(), store.fills()) == ((kept,), (fill(1, 4),))


def test_write_when_disk_is_full_then_is_an_outage_and_nothing_of_the_batch_stays(path: str) -> None:
    """A batch is whole or not there; what was stored before stays readable."""
    disk = Disk()
    store = StoreFile(path, connect=disk.connect)
    store.write(batch(trade(1), lsn=1))
    disk.full = True
    with pytest.raises(Outage, match="FullError"):
        store.write(batch(*(trade(number) for number in range(2, 5000)), lsn=9))
    assert (store.trades(BTC), store.applied_lsn) == ((trade(1),), 1)
    disk.full = False
    assert store.write(batch(trade(2), lsn=9)).applied_lsn == 9
    assert store.integrity() == "ok"


def test_open_when_file_is_newer_then_is_refused(path: str, store: StoreFile) -> None:
    """An old program does not write into a layout that it does not know."""
    store.close()
    db = apsw.Connection(path)
    db.pragma("user_version", STORE_VERSION + 1)
    db.close()
    with pytest.raises(
        Refused, match=f"STORE_NEWER: .* version {STORE_VERSION + 1}, expected {STORE_VERSION}"
    ):
        StoreFile(path)


def test_open_when_file_is_empty_and_read_only_then_is_refused(path: str) -> None:
    """A reader makes no tables."""
    apsw.Connection(path).pragma("user_version", 0)
    with pytest.raises(Refused, match="STORE_OLDER"):
        StoreFile(path, read_only=True)


def test_open_when_file_is_no_database_then_is_an_outage(path: str) -> None:
    """Something else under our name is not overwritten."""
    Path(path).write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(Outage, match="NotADBError"):
        StoreFile(path)


def test_write_when_one_name_has_two_numbers_of_an_instant_then_both_are_there(path: str) -> None:
    """Also in a file of before ordinals, whose numbers stay."""
    db = apsw.Connection(path)
    for script in MIGRATIONS[:7]:
        db.execute(script)
    db.execute("INSERT INTO indicators VALUES (?, ?, 'fast', 8, 1.5)", (OWNER, BTC))
    db.pragma("user_version", 7)
    db.close()
    store = StoreFile(path)
    later = [msgspec.structs.replace(indicator(9, 2.0), ordinal=number) for number in (1, 2)]
    store.write(batch(*later, *later))
    assert store._ask(IndicatorPoint, "1 ORDER BY at_ns, ordinal", (), 9) == (indicator(8), *later)


def test_owner_with_a_quote_in_its_name_is_only_a_value(store: StoreFile) -> None:
    """Names reach SQL as values, never as text."""
    odd = msgspec.structs.replace(position("1"), owner=OwnerId("x'; DROP TABLE fills; --"))
    store.write(batch(odd))
    assert store.positions() == (odd,)
    assert store.fills() == ()


def test_volumes_when_bars_are_there_then_each_whole_part_of_the_days_is_told(store: StoreFile) -> None:
    """Five minutes count where all bars are there, minutes before a longer one; other days are not told."""
    day = 20_000 * DAY
    opens = [day + i * MINUTE for i in (0, 1, 2, 3, 4, 5, 6, 8, 9)] + [
        day + DAY + i * MINUTE for i in range(5)
    ]
    rows = [msgspec.structs.replace(bar(0), open_ns=at, close_ns=at + MINUTE, volume=2.0) for at in opens]
    longer, known = (
        msgspec.structs.replace(row, timeframe="5m", volume=7.0, close_ns=row.open_ns + 5 * MINUTE)
        for row in (rows[5], rows[0])
    )
    other = msgspec.structs.replace(rows[0], open_ns=day + 10 * MINUTE, timeframe="1h")
    store.write(batch(*rows, longer, known, other))
    (found,) = store.volumes(VolumesAsked(BTC, 20_000, 20_001))
    assert (found.instrument, found.source, found.bucket_ns) == (BTC, "recorded", 5 * MINUTE)
    assert [(number, parts[:3], len(parts)) for number, parts in found.days] == [
        (20_000, (10.0, 7.0, None), 288)
    ]
    assert store.volumes(VolumesAsked(BTC, 19_000, 20_000)) == ()
    assert store.volumes(VolumesAsked("binance:ETH/USDT", 20_000, 20_001)) == ()  # type: ignore[arg-type]
