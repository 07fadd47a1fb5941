"""`paper reset` through the real files: the whole system begins anew, and nothing of before is lost."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tests.simulation.world import ACCOUNT, ROOT, World, recordings
from tradefan.data_dir import write_whole
from tradefan.environment import Environment
from tradefan.errors import Outage
from tradefan.stores.journal import JournalFile
from tradefan.units import SECOND

SPAN_NS = 400 * SECOND
BOUGHT = ("rebalance_btc", "binance:BTC/USDT")


def test_paper_reset_when_positions_were_held_then_none_is_left_and_they_are_bought_anew(
    tmp_path: Path,
) -> None:
    """The venue begins with cash only, and so do the books; ids, orders and trades of before are kept."""
    environment = Environment.load("development", ROOT / "config", (f"data_dir={tmp_path}",))
    places = environment.places
    assert places.root == tmp_path
    write_whole(tmp_path / "instance", "tst")
    config, tape = environment.loaded.config, recordings(SPAN_NS)

    world = World(config, tmp_path, tape)
    world.run_until(world.ready)
    world.run_until(lambda: BOUGHT in world.positions())
    now_ns = world.driver.now_ns
    world.crash()
    records, trades = journaled(tmp_path / "journal.db"), traded(tmp_path)

    lines = environment.reset_paper(ACCOUNT, None).splitlines()
    letters = places.instance()
    assert letters != "tst"
    assert lines[1:] == [
        f"order ids begin with {letters}, no more with tst",
        "journal.db is kept as journal-1.db",
        "store.db is kept as store-1.db",
    ]
    assert journaled(tmp_path / "journal-1.db") == records
    # The kill byte stays: what was killed must not open because its journal was set aside.
    left = [path.name for path in (*tmp_path.glob("journal.db*"), *tmp_path.glob("store.db*"))]
    assert left == ["journal.db.kill"]
    assert traded(tmp_path) == trades

    world = World(config, tmp_path, tape, start_ns=now_ns + SECOND, instance=letters)
    world.run_until(lambda: getattr(world.view("oms"), "state", None) == "READY")
    assert world.positions() == {}
    world.run_until(lambda: BOUGHT in world.positions())
    world.run(30)
    assert "external" not in {owner for owner, _ in world.positions()}
    assert [one.event for one in world.errors()] == []
    world.crash()
    after = traded(tmp_path)
    assert after[: len(trades)] == trades
    assert {name[:3] for _, name in after[len(trades) :]} == {letters}


def test_paper_reset_when_done_again_then_the_next_number_is_taken(tmp_path: Path) -> None:
    """What was set aside before is never written over, and letters never come back."""
    environment = Environment.load("development", ROOT / "config", (f"data_dir={tmp_path}",))
    World(environment.loaded.config, tmp_path, recordings(SPAN_NS)).crash()
    seen = [environment.places.instance()]
    for _ in range(2):
        environment.reset_paper(ACCOUNT, None)
        seen.append(environment.places.instance())
    assert len(set(seen)) == 3
    kept = sorted(path.name for path in tmp_path.glob("*-*") if not path.name.startswith("paper.db"))
    assert kept == ["instance-1", "instance-2", "journal-1.db", "journal-1.db.mark", "store-1.db"]


def journaled(path: Path) -> int:
    journal = JournalFile(str(path))
    records, _ = journal.fold()
    journal.close()
    return len(records)


def traded(folder: Path) -> list[tuple[int, str]]:
    """Return the trades that the paper venue remembers, with their orders' client ids."""
    select = "SELECT trade_id, client_order_id FROM trades JOIN orders USING(account, order_id) ORDER BY 1"
    connection = apsw.Connection(str(folder / "paper.db"))
    rows = [(int(row[0]), str(row[1])) for row in connection.execute(select)]
    connection.close()
    return rows


def test_paper_reset_when_a_file_is_broken_then_nothing_is_moved_or_reset(tmp_path: Path) -> None:
    """An Outage names the file, before anything else has changed."""
    environment = Environment.load("development", ROOT / "config", (f"data_dir={tmp_path}",))
    World(environment.loaded.config, tmp_path, recordings(SPAN_NS)).crash()
    letters = environment.places.instance()
    before = sorted(path.name for path in tmp_path.glob("*.db"))
    environment.places.store.write_bytes(b"no database at all" * 100)
    with pytest.raises(Outage, match=r"store\.db: NotADBError"):
        environment.reset_paper(ACCOUNT, None)
    assert environment.places.instance() == letters
    assert sorted(path.name for path in tmp_path.glob("*.db")) == before
