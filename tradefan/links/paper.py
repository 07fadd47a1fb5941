"""The paper accounts' own file: SQLite, written before the paper venue answers.

WAL with `synchronous=NORMAL` survives kill -9; a power loss may take the last second. It is the
venue's memory, never the OMS's, which asks the venue as it would ask any other. A commit takes no
fsync, so the driver's thread may do it; a checkpoint does, about once in a thousand pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes import addressof, c_int
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import apsw
from msgspec import Struct

from tradefan.errors import Outage, Refused
from tradefan.messages.instrument import Instrument
from tradefan.units import AccountId, InstrumentId, Side, plain
from tradefan.venues.paper import PaperVenue
from tradefan.venues.paper_state import (
    Changes,
    PaperBalance,
    PaperConfig,
    PaperOrder,
    PaperState,
    PaperTrade,
    WireTimeInForce,
    WireType,
)

MIGRATIONS = (
    """
    CREATE TABLE account(
        account TEXT PRIMARY KEY, epoch INTEGER NOT NULL,
        next_order_id INTEGER NOT NULL, next_trade_id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE opening(
        account TEXT, epoch INTEGER, asset TEXT, qty TEXT NOT NULL,
        PRIMARY KEY(account, epoch, asset)) STRICT, WITHOUT ROWID;
    CREATE TABLE balance(
        account TEXT, epoch INTEGER, asset TEXT, free TEXT NOT NULL, locked TEXT NOT NULL,
        PRIMARY KEY(account, epoch, asset)) STRICT, WITHOUT ROWID;
    CREATE TABLE orders(
        account TEXT, order_id INTEGER, epoch INTEGER NOT NULL, client_order_id TEXT NOT NULL,
        instrument TEXT NOT NULL, side TEXT NOT NULL, type TEXT NOT NULL, time_in_force TEXT NOT NULL,
        price TEXT NOT NULL, qty TEXT NOT NULL, cum_qty TEXT NOT NULL, cum_quote TEXT NOT NULL,
        status TEXT NOT NULL, created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
        PRIMARY KEY(account, order_id)) STRICT, WITHOUT ROWID;
    CREATE INDEX orders_by_client_id ON orders(account, client_order_id);
    CREATE INDEX orders_open ON orders(account, order_id) WHERE status IN ('NEW', 'PARTIALLY_FILLED');
    CREATE TABLE trades(
        account TEXT, trade_id INTEGER, epoch INTEGER NOT NULL, order_id INTEGER NOT NULL,
        instrument TEXT NOT NULL, side TEXT NOT NULL, price TEXT NOT NULL, qty TEXT NOT NULL,
        fee TEXT NOT NULL, fee_asset TEXT NOT NULL, maker INTEGER NOT NULL, at_ns INTEGER NOT NULL,
        PRIMARY KEY(account, trade_id)) STRICT, WITHOUT ROWID;
    CREATE INDEX trades_by_instrument ON trades(account, instrument, trade_id);
    """,
)
"""One script per version of the file, `user_version` counts them."""
RESERVE = 8 * 2**20
"""Bytes of the WAL that are there before they are needed: twice what it has when it begins anew.

So there are always a thousand pages left, a few hundred cancels, when the disk gets full.
"""

_ORDER = (
    "order_id, client_order_id, instrument, side, type, time_in_force, price, qty, cum_qty, cum_quote,"
    " status, created_ns, updated_ns"
)
_TRADE = "trade_id, order_id, instrument, side, price, qty, fee, fee_asset, maker, at_ns"
_OPEN = "status IN ('NEW', 'PARTIALLY_FILLED')"


class Reset(Struct, frozen=True):
    """An account that begins anew: its epoch now, and how many open orders that ended."""

    account: AccountId
    epoch: int
    canceled: int


def open_paper(
    path: Path,
    account: AccountId,
    instruments: tuple[Instrument, ...],
    balances: Mapping[str, Decimal],
    *,
    config: PaperConfig | None = None,
    latched: Callable[[tuple[str, ...]], bool] = lambda _scopes: False,
) -> PaperVenue:
    """Open an account of the paper venue; `balances` only matter when it is made.

    Raises:
        Outage: the file cannot be opened.
        Refused: the file is from a newer version.
    """
    return PaperVenue(instruments, SqlitePaperStore(path, account, balances), config, latched)


def accounts_in(path: Path) -> tuple[AccountId, ...]:
    """Return the accounts that a file has."""
    if not path.exists():
        return ()
    connection = _connect(path)
    try:
        with _outages(path):
            rows = connection.execute("SELECT account FROM account ORDER BY account")
            return tuple(AccountId(row[0]) for row in rows)
    finally:
        connection.close()


def reset_paper(
    path: Path, balances: Mapping[str, Decimal], account: AccountId | None = None
) -> tuple[Reset, ...]:
    """Begin a new epoch with these balances, of one account or of every one in the file.

    History stays and ids go on rising. The daemon that uses the file must not run.
    """
    if not path.exists():
        return ()
    connection = _connect(path)
    try:
        with _outages(path), connection:
            select = "SELECT account FROM account WHERE account = ?1 OR ?1 IS NULL ORDER BY account"
            names = [row[0] for row in connection.execute(select, (account,))]
            resets = tuple(_reset(connection, AccountId(name), balances) for name in names)
    finally:
        connection.close()
    return resets


class SqlitePaperStore:
    """`PaperStore` of one account in a SQLite file that several accounts may share."""

    def __init__(self, path: Path, account: AccountId, balances: Mapping[str, Decimal]) -> None:
        """Open or make the file, and the account in it."""
        self._path = path
        self._account = account
        self._connection = _connect(path)
        with self._transaction():
            known = self._rows("SELECT epoch FROM account WHERE account = ?", account)
            if not known:
                insert = "INSERT INTO account VALUES(?, 1, 1, 1)"
                self._connection.execute(insert, (account,))
                _open_epoch(self._connection, account, 1, balances)
            self._epoch: int = known[0][0] if known else 1

    def load(self) -> PaperState:
        """Return the account with its open orders."""
        account, epoch = self._account, self._epoch
        with _outages(self._path):
            head = self._rows("SELECT next_order_id, next_trade_id FROM account WHERE account = ?", account)
            select = "SELECT asset, free, locked FROM balance WHERE account = ? AND epoch = ?"
            balances = self._rows(select, account, epoch)
            select = f"SELECT {_ORDER} FROM orders WHERE account = ? AND {_OPEN} ORDER BY order_id"  # noqa: S608
            orders = [_order(row) for row in self._rows(select, account)]
        return PaperState(
            epoch=epoch,
            next_order_id=head[0][0],
            next_trade_id=head[0][1],
            balances={row[0]: PaperBalance(Decimal(row[1]), Decimal(row[2])) for row in balances},
            orders={order.order_id: order for order in orders},
        )

    def save(self, changes: Changes, next_order_id: int, next_trade_id: int) -> None:
        """Write one transaction."""
        account, epoch, connection = self._account, self._epoch, self._connection
        with self._transaction():
            update = "UPDATE account SET next_order_id = ?, next_trade_id = ? WHERE account = ?"
            connection.execute(update, (next_order_id, next_trade_id, account))
            connection.executemany(
                "INSERT OR REPLACE INTO balance VALUES(?, ?, ?, ?, ?)",
                [
                    (account, epoch, key, plain(b.free), plain(b.locked))
                    for key, b in changes.balances.items()
                ],
            )
            connection.executemany(
                f"INSERT OR REPLACE INTO orders(account, epoch, {_ORDER})"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(account, epoch, *_order_row(order)) for order in changes.orders.values()],
            )
            connection.executemany(
                f"INSERT INTO trades(account, epoch, {_TRADE}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(account, epoch, *_trade_row(trade)) for trade in changes.trades],
            )

    def order(self, instrument: InstrumentId, client_order_id: str) -> PaperOrder | None:
        """Return the newest order of this client id."""
        where = "client_order_id = ? AND instrument = ? ORDER BY order_id DESC LIMIT 1"
        return self._one_order(where, client_order_id, instrument)

    def order_by_id(self, instrument: InstrumentId, order_id: int) -> PaperOrder | None:
        """Return an order by the venue's id."""
        return self._one_order("order_id = ? AND instrument = ?", order_id, instrument)

    def orders_last(self, limit: int) -> tuple[PaperOrder, ...]:
        """Return the newest orders, ended ones too, oldest first."""
        select = f"SELECT {_ORDER} FROM orders WHERE account = ? ORDER BY order_id DESC LIMIT ?"  # noqa: S608
        with _outages(self._path):
            rows = self._rows(select, self._account, limit)
        return tuple(_order(row) for row in reversed(rows))

    def trades_after(self, instrument: InstrumentId, trade_id: int, limit: int) -> tuple[PaperTrade, ...]:
        """Return the oldest trades with a higher id, in order."""
        return self._trades(
            "instrument = ? AND trade_id > ? ORDER BY trade_id LIMIT ?", instrument, trade_id, limit
        )

    def trades_last(self, instrument: InstrumentId, limit: int) -> tuple[PaperTrade, ...]:
        """Return the newest trades, oldest first."""
        newest = self._trades("instrument = ? ORDER BY trade_id DESC LIMIT ?", instrument, limit)
        return newest[::-1]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _one_order(self, where: str, *values: str | int) -> PaperOrder | None:
        select = f"SELECT {_ORDER} FROM orders WHERE account = ? AND {where}"  # noqa: S608
        with _outages(self._path):
            rows = self._rows(select, self._account, *values)
        return _order(rows[0]) if rows else None

    def _trades(self, where: str, *values: str | int) -> tuple[PaperTrade, ...]:
        select = f"SELECT {_TRADE} FROM trades WHERE account = ? AND {where}"  # noqa: S608
        with _outages(self._path):
            return tuple(_trade(row) for row in self._rows(select, self._account, *values))

    def _rows(self, select: str, *values: str | int) -> list[Any]:
        return list(self._connection.execute(select, values))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _outages(self._path), self._connection:
            yield


def _connect(path: Path) -> apsw.Connection:
    with _outages(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(2_000)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection, path)
        # The last connection would take WAL and index away, and a start on a full disk could not make them.
        on = c_int(1)
        connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, addressof(on))
        _reserve(Path(f"{path}-wal"))
    return connection


def _reserve(wal: Path) -> None:
    """Make room in the WAL; SQLite ends reading at the first page that is none of its own.

    Without room it goes on as long as it can: this is no reason not to start.
    """
    with suppress(OSError), wal.open("ab", buffering=0) as file:
        size = file.tell()
        if size < RESERVE and file.write(bytes(RESERVE - size)) < RESERVE - size:
            # Not the last bytes of a disk: others need them more than a part of a reserve.
            file.truncate(size)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    version = int(connection.pragma("user_version"))
    if version > len(MIGRATIONS):
        connection.close()
        known = len(MIGRATIONS)
        raise Refused("NEWER_FILE", f"{path} has version {version}, this TradeFan knows up to {known}")
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        with connection:
            connection.execute(script)
            connection.execute(f"PRAGMA user_version = {number}")


@contextmanager
def _outages(path: Path) -> Iterator[None]:
    """Name the disk's trouble as what it is."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise Outage(f"paper accounts in {path}: {type(error).__name__}: {error}") from error


def _open_epoch(
    connection: apsw.Connection, account: AccountId, epoch: int, balances: Mapping[str, Decimal]
) -> None:
    for asset, qty in balances.items():
        connection.execute("INSERT INTO opening VALUES(?, ?, ?, ?)", (account, epoch, asset, plain(qty)))
        insert = "INSERT INTO balance VALUES(?, ?, ?, ?, '0')"
        connection.execute(insert, (account, epoch, asset, plain(qty)))


def _reset(connection: apsw.Connection, account: AccountId, balances: Mapping[str, Decimal]) -> Reset:
    connection.execute("UPDATE account SET epoch = epoch + 1 WHERE account = ?", (account,))
    epoch = next(connection.execute("SELECT epoch FROM account WHERE account = ?", (account,)))[0]
    update = f"UPDATE orders SET status = 'CANCELED' WHERE account = ? AND {_OPEN}"  # noqa: S608
    connection.execute(update, (account,))
    canceled = connection.changes()
    _open_epoch(connection, account, epoch, balances)
    return Reset(account, epoch, canceled)


def _order_row(order: PaperOrder) -> tuple[str | int, ...]:
    return (
        order.order_id,
        order.client_order_id,
        order.instrument,
        order.side,
        order.type,
        order.time_in_force,
        plain(order.price),
        plain(order.qty),
        plain(order.cum_qty),
        plain(order.cum_quote),
        order.status,
        order.created_ns,
        order.updated_ns,
    )


def _order(row: tuple[Any, ...]) -> PaperOrder:
    return PaperOrder(
        order_id=row[0],
        client_order_id=row[1],
        instrument=InstrumentId(row[2]),
        side=cast("Side", row[3]),
        type=cast("WireType", row[4]),
        time_in_force=cast("WireTimeInForce", row[5]),
        price=Decimal(row[6]),
        qty=Decimal(row[7]),
        cum_qty=Decimal(row[8]),
        cum_quote=Decimal(row[9]),
        status=row[10],
        created_ns=row[11],
        updated_ns=row[12],
    )


def _trade_row(trade: PaperTrade) -> tuple[str | int, ...]:
    return (
        trade.trade_id,
        trade.order_id,
        trade.instrument,
        trade.side,
        plain(trade.price),
        plain(trade.qty),
        plain(trade.fee),
        trade.fee_asset,
        int(trade.maker),
        trade.at_ns,
    )


def _trade(row: tuple[Any, ...]) -> PaperTrade:
    return PaperTrade(
        trade_id=row[0],
        order_id=row[1],
        instrument=InstrumentId(row[2]),
        side=cast("Side", row[3]),
        price=Decimal(row[4]),
        qty=Decimal(row[5]),
        fee=Decimal(row[6]),
        fee_asset=row[7],
        maker=bool(row[8]),
        at_ns=row[9],
    )
