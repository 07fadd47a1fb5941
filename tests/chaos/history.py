"""What really happened, read from files only: the venue's own book against a copy of the journal.

Nothing of the daemon's code is used here, so that a mistake in it cannot hide itself: the journal is
read by sqlite3 as rows of msgpack arrays whose places are written down below, the hash chain is
computed anew, and the paper venue's file is the truth.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

ACCOUNT = "paper:main"
OPEN = ("NEW", "PARTIALLY_FILLED")
ZERO = Decimal(0)


@dataclass(frozen=True)
class VenueOrder:
    """One order in the venue's file."""

    order_id: int
    client_order_id: str
    instrument: str
    side: str
    qty: Decimal
    cum_qty: Decimal
    status: str


@dataclass(frozen=True)
class VenueTrade:
    """One trade in the venue's file."""

    trade_id: str
    order_id: int
    instrument: str
    side: str
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str


@dataclass
class Venue:
    """The paper venue's own file."""

    orders: dict[int, VenueOrder] = field(default_factory=dict)
    trades: dict[tuple[str, str], VenueTrade] = field(default_factory=dict)
    balances: dict[str, Decimal] = field(default_factory=dict)

    def open_ids(self) -> set[str]:
        return {order.client_order_id for order in self.orders.values() if order.status in OPEN}


@dataclass
class Journal:
    """The rows of a journal as plain arrays, the type's name first."""

    rows: list[list[Any]] = field(default_factory=list)

    def of(self, kind: str) -> Iterator[list[Any]]:
        return (row for row in self.rows if row[0] == kind)

    def intents(self) -> dict[str, list[Any]]:
        """INTENT by client id: 3 instrument, 4 owner, 5 parent, 6 client id, 8 side, 12 quantity."""
        return {row[6]: row for row in self.of("Intent")}

    def parents(self) -> dict[str, list[Any]]:
        """The order of each PARENT by its id: 1 id, 4 owner, 5 ref, 7 quantity."""
        return {row[2][1]: row[2] for row in self.of("Parent")}

    def fills(self) -> list[list[Any]]:
        """FILL, in order: 3 instrument, 4 owner, 5 trade, 6 client id, 8 side, 9 quantity, 10 price,
        11 base, 12 quote, 13 fee, 14 its asset.
        """
        return list(self.of("Fill"))


@contextmanager
def copied(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy of a file of SQLite with its WAL, as a later start would find it."""
    with tempfile.TemporaryDirectory() as folder:
        for end in ("", "-wal"):
            if Path(f"{path}{end}").exists():
                shutil.copy(f"{path}{end}", folder)
        connection = sqlite3.connect(Path(folder) / path.name)
        try:
            yield connection
        finally:
            connection.close()


def read_venue(path: Path) -> Venue:
    """Read the venue's file while nobody writes to it."""
    found = Venue()
    if not path.exists():
        return found
    with copied(path) as db:
        columns = "order_id, client_order_id, instrument, side, qty, cum_qty, status"
        for row in db.execute(f"SELECT {columns} FROM orders ORDER BY order_id"):
            order = VenueOrder(row[0], row[1], row[2], row[3], Decimal(row[4]), Decimal(row[5]), row[6])
            found.orders[order.order_id] = order
        columns = "trade_id, order_id, instrument, side, qty, price, fee, fee_asset"
        for row in db.execute(f"SELECT {columns} FROM trades ORDER BY trade_id"):
            qty, price, fee = map(Decimal, row[4:7])
            trade = VenueTrade(str(row[0]), row[1], row[2], row[3], qty, price, fee, row[7])
            found.trades[trade.instrument, trade.trade_id] = trade
        for asset, free, locked in db.execute("SELECT asset, free, locked FROM balance"):
            found.balances[asset] = Decimal(free) + Decimal(locked)
    return found


def read_journal(path: Path) -> Journal:
    """Read a journal: every lsn is there, and every hash follows from the one before."""
    found, chain = Journal(), bytes(32)
    if not path.exists():
        return found
    with copied(path) as db:
        if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'journal'").fetchone()[0]:
            return found
        select = "SELECT lsn, at_ns, epoch, type, version, payload, chain FROM journal ORDER BY lsn"
        for number, (lsn, at_ns, epoch, kind, version, payload, digest) in enumerate(db.execute(select), 1):
            assert lsn == number, f"lsn {number} is missing"
            head = struct.pack(">QqQII", lsn, at_ns, epoch, version, len(kind))
            chain = blake2b(chain + head + kind.encode() + payload, digest_size=32).digest()
            assert chain == digest, f"the chain is broken at lsn {lsn}"
            found.rows.append(msgspec.msgpack.decode(payload))
            assert found.rows[-1][0] == kind
    return found


# --- what must hold at any instant -------------------------------------------------------------------------


def check_any_instant(venue: Venue, journal: Journal, answered: dict[str, str]) -> None:
    """Hold both files against each other while the daemon is dead, whenever it died.

    `answered` maps the ref of each wish whose answer somebody has heard to its parent.
    """
    _no_order_unknown(venue, journal)
    _no_fill_invented(venue, journal)
    _no_answer_forgotten(journal, answered)
    _no_parent_exceeded(venue, journal)
    _epochs_rise(journal)


def _no_order_unknown(venue: Venue, journal: Journal) -> None:
    """I-01, I-04: every order at the venue was intended before, and sent once."""
    intents = journal.intents()
    names = Counter(order.client_order_id for order in venue.orders.values())
    assert [name for name in names if name not in intents] == []
    assert [name for name, count in names.items() if count > 1] == []


def _no_fill_invented(venue: Venue, journal: Journal) -> None:
    """I-06: each FILL is a trade of the venue, word for word, and stands in the journal once."""
    fills = journal.fills()
    keys = Counter((fill[3], fill[5]) for fill in fills)
    assert [key for key, count in keys.items() if count > 1] == []
    for fill in fills:
        trade = venue.trades.get((fill[3], fill[5]))
        assert trade is not None, f"the venue does not know trade {fill[5]}"
        order = venue.orders[trade.order_id]
        said = (fill[6], fill[8], Decimal(fill[9]), Decimal(fill[10]), Decimal(fill[13]), fill[14])
        true = (order.client_order_id, trade.side, trade.qty, trade.price, trade.fee, trade.fee_asset)
        assert said == true


def _no_answer_forgotten(journal: Journal, answered: dict[str, str]) -> None:
    """What was acknowledged is durable, and the same ref never became a second order."""
    parents = journal.parents()
    by_ref: dict[str, list[str]] = defaultdict(list)
    for parent_id, order in parents.items():
        by_ref[order[5]].append(parent_id)
    assert {ref: by_ref.get(ref) for ref in answered} == {ref: [name] for ref, name in answered.items()}
    assert {ref: names for ref, names in by_ref.items() if len(names) > 1} == {}


def _no_parent_exceeded(venue: Venue, journal: Journal) -> None:
    """I-03: what was filled and may still fill at the venue is never more than what was wished for."""
    exposed = at_venue(venue, journal)
    for parent_id, wish in journal.parents().items():
        assert exposed[parent_id] <= Decimal(wish[7]), f"{parent_id}: {exposed[parent_id]} of {wish[7]}"


def at_venue(venue: Venue, journal: Journal, *, rests: bool = True) -> dict[str, Decimal]:
    """Return what has traded at the venue of each parent, and what may still where that counts as well."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    intents = journal.intents()
    for order in venue.orders.values():
        qty = order.qty if rests and order.status in OPEN else order.cum_qty
        found[intents[order.client_order_id][5]] += qty
    return found


def _epochs_rise(journal: Journal) -> None:
    """I-18: a start never gives out ids of an earlier one."""
    starts = [(row[2], row[6]) for row in journal.of("Epoch")]
    assert starts == sorted(starts)
    assert len({*starts}) == len(starts)


# --- what must hold when everything is quiet ----------------------------------------------------------------


def check_quiet(venue: Venue, journal: Journal) -> None:
    """Hold both files against each other when nothing is under way: nothing was lost either."""
    keys = {(fill[3], fill[5]) for fill in journal.fills()}
    assert {key for key in venue.trades if key not in keys} == set()
    known = {order.client_order_id for order in venue.orders.values()}
    never = {row[3] for row in journal.of("NotSent")}
    never |= {row[3] for row in journal.of("Resolved") if row[4] == "NOT_PLACED"}
    never |= {row[3] for row in journal.of("Report") if row[5] == "REJECTED"}
    lost = [name for name in journal.intents() if name not in known and name not in never]
    assert lost == [], "orders of which nobody knows whether they exist"
    assert [name for name in never if name in known] == [], "orders that exist, and were said not to"
    assert balances(journal) == {asset: qty for asset, qty in venue.balances.items() if qty}


def balances(journal: Journal) -> dict[str, Decimal]:
    """Return what the journal's openings, fills and fees add up to, by asset."""
    total: dict[str, Decimal] = defaultdict(Decimal)
    for row in journal.of("Opening"):
        total[row[3]] += Decimal(row[4])
    for row in journal.of("Transfer"):
        total[row[3]] += Decimal(row[4])
    for fill in journal.fills():
        sign = 1 if fill[8] == "buy" else -1
        total[fill[11]] += sign * Decimal(fill[9])
        total[fill[12]] -= sign * Decimal(fill[9]) * Decimal(fill[10])
        total[fill[14]] -= Decimal(fill[13])
    return {asset: qty for asset, qty in total.items() if qty}


def positions(journal: Journal) -> dict[tuple[str, str], Decimal]:
    """Return what each owner holds of each instrument by the journal's fills, fees in the base included."""
    held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for fill in journal.fills():
        sign = 1 if fill[8] == "buy" else -1
        held[fill[4], fill[3]] += sign * Decimal(fill[9])
        if fill[14] == fill[11]:
            held[fill[4], fill[3]] -= Decimal(fill[13])
    return {key: qty for key, qty in held.items() if qty}
