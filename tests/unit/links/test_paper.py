"""The paper accounts' file: what is written before the answer is found after a kill."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE, Popen

import apsw
import pytest

from tests.conformance.venue.bench import ACCOUNT, BTC, ETH, INSTRUMENTS, Bench, D
from tradefan.errors import Outage, Refused
from tradefan.links.paper import MIGRATIONS, RESERVE, Reset, SqlitePaperStore, open_paper, reset_paper
from tradefan.messages.account import Balances
from tradefan.messages.gateway import VenueFill
from tradefan.messages.market import BookSnapshot
from tradefan.messages.orders import OrderStatus
from tradefan.units import AccountId
from tradefan.venues.paper_state import (
    Changes,
    MemoryStore,
    PaperBalance,
    PaperOrder,
    PaperState,
    PaperStore,
    PaperTrade,
)

OPENING = {"USDT": D(1000), "BTC": D(10)}
OTHER = AccountId("paper:other")


def order(number: int, name: str, status: str = "NEW", cum: str = "0") -> PaperOrder:
    return PaperOrder(
        order_id=number,
        client_order_id=name,
        instrument=BTC,
        side="buy",
        type="LIMIT",
        time_in_force="GTC",
        price=D("99.10"),
        qty=D("2"),
        cum_qty=D(cum),
        cum_quote=D(cum) * D("99.1"),
        status=status,
        created_ns=number,
        updated_ns=number + 1,
    )


def trade(number: int) -> PaperTrade:
    return PaperTrade(number, 1, BTC, "buy", D("99.1"), D("0.5"), D("-0.0005"), "BTC", maker=True, at_ns=7)


def fill_store(store: PaperStore) -> None:
    """Write three orders, of which one is open, and three trades."""
    balances = {"USDT": PaperBalance(D("801.8"), D("198.2")), "ETH": PaperBalance(D("0.1"), D(0))}
    first = Changes({1: order(1, "a"), 2: order(2, "b", "FILLED", "2")}, [trade(1), trade(2)], balances)
    store.save(first, 3, 3)
    store.save(Changes({1: order(1, "a", "PARTIALLY_FILLED", "0.5")}, [trade(3)], {}), 3, 4)
    store.save(Changes({3: order(3, "b", "CANCELED")}, [], {}), 4, 4)


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PaperStore:
    if request.param == "memory":
        return MemoryStore(OPENING)
    return SqlitePaperStore(tmp_path / "deep" / "paper.db", ACCOUNT, OPENING)


# --- every store ------------------------------------------------------------------------------------


def test_store_when_it_is_new_then_it_holds_the_opening(store: PaperStore) -> None:
    """Epoch 1, ids from 1, the configured balances, nothing else."""
    balances = {asset: PaperBalance(qty, D(0)) for asset, qty in OPENING.items()}
    assert store.load() == PaperState(1, 1, 1, balances, {})
    assert (store.order(BTC, "a"), store.order_by_id(BTC, 1), store.trades_last(BTC, 5)) == (None, None, ())


def test_store_when_it_was_written_then_it_answers_what_was_written(store: PaperStore) -> None:
    """Open orders only in memory; everything that ever was by id."""
    fill_store(store)
    state = store.load()
    assert (state.next_order_id, state.next_trade_id) == (4, 4)
    assert state.orders == {1: order(1, "a", "PARTIALLY_FILLED", "0.5")}
    assert state.balances == {
        "USDT": PaperBalance(D("801.8"), D("198.2")),
        "BTC": PaperBalance(D(10), D(0)),
        "ETH": PaperBalance(D("0.1"), D(0)),
    }
    assert store.order(BTC, "b") == order(3, "b", "CANCELED")
    assert store.order_by_id(BTC, 2) == order(2, "b", "FILLED", "2")
    assert (store.order(ETH, "b"), store.order_by_id(ETH, 2)) == (None, None)
    assert store.trades_after(BTC, 1, 1) == (trade(2),)
    assert store.trades_after(BTC, 1, 9) == (trade(2), trade(3))
    assert store.trades_last(BTC, 2) == (trade(2), trade(3))
    assert store.trades_after(ETH, 0, 9) == ()


# --- SQLite -----------------------------------------------------------------------------------------


def test_file_when_two_accounts_share_it_then_neither_sees_the_other(tmp_path: Path) -> None:
    """Ids, balances and orders belong to one account."""
    path = tmp_path / "paper.db"
    mine, other = SqlitePaperStore(path, ACCOUNT, OPENING), SqlitePaperStore(path, OTHER, {"USDT": D(5)})
    fill_store(mine)
    assert other.load() == PaperState(1, 1, 1, {"USDT": PaperBalance(D(5), D(0))}, {})
    assert other.trades_after(BTC, 0, 9) == ()
    mine.close()
    other.close()


def test_file_when_it_is_opened_again_then_the_opening_balances_are_not_used(tmp_path: Path) -> None:
    """A changed configuration does not give money away."""
    path = tmp_path / "paper.db"
    SqlitePaperStore(path, ACCOUNT, OPENING).close()
    again = SqlitePaperStore(path, ACCOUNT, {"USDT": D(5)})
    assert again.load().balances["USDT"] == PaperBalance(D(1000), D(0))


def test_file_when_it_is_from_a_newer_version_then_it_is_refused(tmp_path: Path) -> None:
    """What we do not know we do not touch."""
    path = tmp_path / "paper.db"
    SqlitePaperStore(path, ACCOUNT, OPENING).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(Refused, match="NEWER_FILE"):
        SqlitePaperStore(path, ACCOUNT, OPENING)


def test_file_when_the_disk_refuses_then_it_is_an_outage(tmp_path: Path) -> None:
    """A file that is no database, and a write that cannot be done, are the world's doing."""
    path = tmp_path / "paper.db"
    path.write_bytes(b"no database at all, and long enough to be read as a header of one" * 20)
    with pytest.raises(Outage, match=r"paper\.db"):
        SqlitePaperStore(path, ACCOUNT, OPENING)
    store = SqlitePaperStore(tmp_path / "good.db", ACCOUNT, OPENING)
    fill_store(store)
    before = store.load()
    twice = Changes({9: order(9, "z")}, [trade(1)], {"USDT": PaperBalance(D(1), D(1))})
    with pytest.raises(Outage, match="ConstraintError"):
        store.save(twice, 99, 99)
    assert store.load() == before


def test_file_when_it_is_made_then_it_survives_a_kill_by_its_settings(tmp_path: Path) -> None:
    """WAL and NORMAL are what the promise rests on."""
    path = tmp_path / "paper.db"
    store = SqlitePaperStore(path, ACCOUNT, OPENING)
    connection = store._connection
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 1


@pytest.mark.failure("ST-03")
def test_file_when_it_is_open_then_the_room_of_its_next_writes_is_there_already_and_stays(
    tmp_path: Path,
) -> None:
    """On a full disk the paper venue still cancels, as a real one would; also after a stop and a start."""
    wal = tmp_path / "paper.db-wal"
    for start in range(2):
        store = SqlitePaperStore(tmp_path / "paper.db", ACCOUNT, OPENING)
        assert (wal.stat().st_size, wal.stat().st_blocks * 512 >= RESERVE) == (RESERVE, True)
        for number in range(1, 400):
            store.save(Changes({number: order(number, f"o{number}")}, [], {}), number + 1, 1)
        assert wal.stat().st_size == RESERVE, start
        store.close()
        assert wal.stat().st_size == RESERVE
    again = SqlitePaperStore(tmp_path / "paper.db", ACCOUNT, OPENING)
    assert (again.load().next_order_id, len(again.load().orders)) == (400, 399)
    again.close()


def test_reset_when_it_is_asked_then_a_new_epoch_begins_and_history_stays(tmp_path: Path) -> None:
    """New balances, no open order, ids go on, old trades are still told."""
    path = tmp_path / "paper.db"
    store = SqlitePaperStore(path, ACCOUNT, OPENING)
    fill_store(store)
    store.close()
    SqlitePaperStore(path, OTHER, OPENING).close()
    assert reset_paper(path, {"USDT": Decimal(1_000_000)}) == (
        Reset(ACCOUNT, 2, 1),
        Reset(OTHER, 2, 0),
    )
    assert reset_paper(path, {"USDT": D(7)}, OTHER) == (Reset(OTHER, 3, 0),)
    again = SqlitePaperStore(path, ACCOUNT, OPENING)
    assert again.load() == PaperState(2, 4, 4, {"USDT": PaperBalance(D(1_000_000), D(0))}, {})
    assert again.order(BTC, "a") == order(1, "a", "CANCELED", "0.5")
    assert again.trades_after(BTC, 0, 9) == (trade(1), trade(2), trade(3))
    epochs = list(
        again._connection.execute("SELECT epoch, asset, qty FROM opening WHERE account = ?", (ACCOUNT,))
    )
    assert epochs == [(1, "BTC", "10"), (1, "USDT", "1000"), (2, "USDT", "1000000")]


def test_reset_when_there_is_no_file_then_none_is_made(tmp_path: Path) -> None:
    """There is nothing to reset before the first start."""
    path = tmp_path / "paper.db"
    assert (reset_paper(path, {"USDT": D(1)}), path.exists()) == ((), False)


# --- the venue over it ----------------------------------------------------------------------------------


def test_venue_when_the_process_restarts_then_a_look_finds_what_it_left(tmp_path: Path) -> None:
    """Orders, fills and balances of the file are what a new gateway is told."""
    path = tmp_path / "paper.db"

    def start() -> Bench:
        bench = Bench(open_paper(path, ACCOUNT, INSTRUMENTS, OPENING))
        bench.start()
        bench.market(BookSnapshot(BTC, 1, ((99.0, 1.0),), ((101.0, 5.0),), bench.now_ns))
        return bench

    bench = start()
    bench.place("rest", "buy", "1", "98.00")
    bench.place("take", "buy", "1", "101.00")
    # Nothing is closed: a killed process does not say goodbye.
    again = start()
    facts, done = again.look("rest", "take")
    # The trade is told, and too young for a cursor to pass it.
    assert (done.complete, done.missing, done.cursors) == (True, (), ((BTC, "0"),))
    assert again.last("rest").status is OrderStatus.NEW
    assert again.last("take").status is OrderStatus.FILLED
    assert [fact.client_order_id for fact in facts if isinstance(fact, VenueFill)] == ["take"]
    balances = next(fact for fact in facts if isinstance(fact, Balances))
    held = {row.asset: (row.free, row.locked) for row in balances.balances}
    assert held == {"USDT": (D(801), D(98)), "BTC": (D("10.999"), D(0))}


KILLED = """
import json, os, signal, sys
from decimal import Decimal
from pathlib import Path
from tests.conformance.venue.bench import ACCOUNT, BTC, INSTRUMENTS, Bench
from tradefan.links.paper import open_paper
from tradefan.messages.market import BookSnapshot
from tradefan.units import use_decimal_context

use_decimal_context()
bench = Bench(open_paper(Path(sys.argv[1]), ACCOUNT, INSTRUMENTS, {"USDT": Decimal(1000)}))
bench.start()
bench.market(BookSnapshot(BTC, 1, ((99.0, 1.0),), ((101.0, 50.0),), bench.now_ns))
for number in range(20):
    bench.place(f"o{number}", "buy", "0.1", "101.00")
print(json.dumps(sorted(bench.fills())), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_venue_when_it_is_killed_then_every_answered_fill_is_in_the_file(tmp_path: Path) -> None:
    """kill -9 right after the answers: the file has them all."""
    path = tmp_path / "paper.db"
    root = Path(__file__).parents[3]
    with Popen([sys.executable, "-c", KILLED, str(path)], stdout=PIPE, cwd=root) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == -9
    answered = json.loads(output)
    assert len(answered) == 20
    store = SqlitePaperStore(path, ACCOUNT, {})
    assert sorted(str(row.trade_id) for row in store.trades_after(BTC, 0, 100)) == answered
    assert store.load().next_order_id == 21
