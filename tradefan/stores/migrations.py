"""The embedded store's tables as numbered scripts; one that was released is never edited."""

from __future__ import annotations

_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE trades (
    instrument TEXT NOT NULL, trade_id INTEGER NOT NULL, price REAL NOT NULL, qty REAL NOT NULL,
    taker_side TEXT NOT NULL, event_ns INTEGER NOT NULL, recv_ns INTEGER NOT NULL,
    PRIMARY KEY (instrument, trade_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX trades_at ON trades (instrument, event_ns);
CREATE TABLE bars (
    instrument TEXT NOT NULL, timeframe TEXT NOT NULL, open_ns INTEGER NOT NULL, close_ns INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL NOT NULL, volume_lots INTEGER NOT NULL, trades INTEGER NOT NULL,
    PRIMARY KEY (instrument, timeframe, open_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE gaps (
    instrument TEXT NOT NULL, kind TEXT NOT NULL, from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL,
    from_id INTEGER, to_id INTEGER, cause TEXT NOT NULL,
    PRIMARY KEY (instrument, kind, from_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE orders (
    account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL, parent_id TEXT NOT NULL,
    client_order_id TEXT NOT NULL, venue_order_id TEXT, side TEXT NOT NULL, order_type TEXT NOT NULL,
    time_in_force TEXT NOT NULL, order_qty TEXT NOT NULL, limit_price TEXT, status TEXT NOT NULL,
    in_doubt TEXT, cum_qty TEXT NOT NULL, avg_px TEXT, reason TEXT NOT NULL,
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
    PRIMARY KEY (account, client_order_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_at ON orders (created_ns);
CREATE TABLE parents (
    parent_id TEXT PRIMARY KEY, account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL,
    ref TEXT NOT NULL, side TEXT NOT NULL, order_qty TEXT NOT NULL, algo TEXT NOT NULL,
    settings TEXT NOT NULL, limit_price TEXT, intent_id TEXT NOT NULL, wish TEXT NOT NULL,
    reduce_only INTEGER NOT NULL, position_side TEXT NOT NULL, protective INTEGER NOT NULL,
    created_ns INTEGER NOT NULL, status TEXT NOT NULL, phase TEXT NOT NULL, reason TEXT NOT NULL,
    cum_qty TEXT NOT NULL, working_qty TEXT NOT NULL, in_doubt_qty TEXT NOT NULL, avg_px TEXT,
    children INTEGER NOT NULL, updated_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX parents_at ON parents (created_ns);
CREATE TABLE fills (
    account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL, parent_id TEXT,
    client_order_id TEXT, trade_id TEXT NOT NULL, side TEXT NOT NULL, qty TEXT NOT NULL,
    price TEXT NOT NULL, fee TEXT NOT NULL, fee_asset TEXT NOT NULL, liquidity TEXT NOT NULL,
    event_ns INTEGER NOT NULL, lsn INTEGER NOT NULL, realised TEXT NOT NULL,
    PRIMARY KEY (account, instrument, trade_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX fills_at ON fills (event_ns);
CREATE TABLE positions (
    account TEXT NOT NULL, owner TEXT NOT NULL, instrument TEXT NOT NULL, qty TEXT NOT NULL, avg_px TEXT,
    realised TEXT NOT NULL, fees TEXT NOT NULL, working_qty TEXT NOT NULL, in_doubt_qty TEXT NOT NULL,
    updated_ns INTEGER NOT NULL,
    PRIMARY KEY (account, owner, instrument)
) STRICT, WITHOUT ROWID;
CREATE TABLE equity (
    account TEXT NOT NULL, numeraire TEXT NOT NULL, at_ns INTEGER NOT NULL, equity TEXT NOT NULL,
    realised TEXT NOT NULL, unrealised TEXT NOT NULL, fees TEXT NOT NULL, seam TEXT NOT NULL,
    drawdown TEXT NOT NULL, exposure TEXT NOT NULL,
    PRIMARY KEY (account, at_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE refusals (
    account TEXT, instrument TEXT, owner TEXT NOT NULL, ref TEXT NOT NULL, code TEXT NOT NULL,
    text TEXT NOT NULL, limit_ TEXT, used TEXT, would_pass TEXT, at_ns INTEGER NOT NULL, req INTEGER,
    PRIMARY KEY (at_ns, owner, ref, code)
) STRICT, WITHOUT ROWID;
"""

_LSN_OF_PICTURES = """
ALTER TABLE orders ADD COLUMN lsn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE parents ADD COLUMN lsn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN lsn INTEGER NOT NULL DEFAULT 0;
"""
"""The wall clock may go back between two starts, the journal's numbers never do."""

_COSTS = """
CREATE TABLE tca (
    parent_id TEXT PRIMARY KEY, account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL,
    side TEXT NOT NULL, algo TEXT NOT NULL, quote TEXT NOT NULL, created_ns INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    state TEXT NOT NULL, order_qty TEXT NOT NULL, filled TEXT NOT NULL, avg_px TEXT, fees TEXT,
    arrived_ns INTEGER, ended_ns INTEGER, decision_px TEXT, arrival_px TEXT, end_px TEXT, vwap TEXT,
    twap TEXT, arrival_slippage_bps TEXT, vwap_slippage_bps TEXT, twap_slippage_bps TEXT, is_bps TEXT,
    is_delay_bps TEXT, is_trading_bps TEXT, is_opportunity_bps TEXT, is_fees_bps TEXT,
    markout_1s_bps TEXT, markout_5s_bps TEXT, markout_30s_bps TEXT, markout_300s_bps TEXT,
    spread_capture TEXT, maker_share TEXT, fill_ratio TEXT NOT NULL, participation TEXT,
    schedule_error_mean REAL, schedule_error_max REAL, ack_p50_ms REAL, ack_p95_ms REAL, ack_p99_ms REAL,
    estimate_bps REAL, flags TEXT NOT NULL, lines TEXT NOT NULL, lsn INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tca_at ON tca (ended_ns);
CREATE INDEX fills_of ON fills (parent_id) WHERE parent_id IS NOT NULL;
"""

_KLINES = """
CREATE TABLE klines (
    instrument TEXT NOT NULL, timeframe TEXT NOT NULL, open_ns INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL, volume REAL NOT NULL,
    PRIMARY KEY (instrument, timeframe, open_ns)
) STRICT, WITHOUT ROWID;
"""
"""The venue's bars; `bars` are those that we made of what we saw ourselves."""

_CURVE_ERROR = "ALTER TABLE tca ADD COLUMN curve_error REAL;"

_POINTS = """
CREATE TABLE indicators (
    owner TEXT NOT NULL, instrument TEXT NOT NULL, name TEXT NOT NULL, at_ns INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (owner, name, instrument, at_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE risk (
    account TEXT NOT NULL, at_ns INTEGER NOT NULL, drawdown TEXT NOT NULL, daily_loss TEXT NOT NULL,
    exposure TEXT NOT NULL, concentration TEXT NOT NULL,
    PRIMARY KEY (account, at_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE health (
    at_ns INTEGER PRIMARY KEY, mode TEXT NOT NULL, ready INTEGER NOT NULL, lag_s REAL NOT NULL,
    rss_bytes INTEGER NOT NULL, steps INTEGER NOT NULL, messages INTEGER NOT NULL, restarts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
"""What strategies recorded, how near accounts are to their limits, how the daemon itself is."""

_MACHINE = """
ALTER TABLE health ADD COLUMN cpu_s REAL NOT NULL DEFAULT 0;
ALTER TABLE health ADD COLUMN load REAL NOT NULL DEFAULT 0;
ALTER TABLE health ADD COLUMN memory_available INTEGER NOT NULL DEFAULT 0;
ALTER TABLE health ADD COLUMN disk_free INTEGER NOT NULL DEFAULT 0;
ALTER TABLE health ADD COLUMN network_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE health ADD COLUMN network_out INTEGER NOT NULL DEFAULT 0;
"""
"""What the machine under the daemon has left."""

_ORDINALS = """
CREATE TABLE numbered (
    owner TEXT NOT NULL, instrument TEXT NOT NULL, name TEXT NOT NULL, at_ns INTEGER NOT NULL,
    value REAL NOT NULL, ordinal INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, name, instrument, at_ns, ordinal)
) STRICT, WITHOUT ROWID;
INSERT INTO numbered (owner, instrument, name, at_ns, value)
SELECT owner, instrument, name, at_ns, value FROM indicators;
DROP TABLE indicators;
ALTER TABLE numbered RENAME TO indicators;
"""
"""A step may record one name several times; the instant told them not apart."""

_ASKED = """
DROP INDEX fills_at;
CREATE INDEX fills_at ON fills (event_ns, lsn, trade_id);
CREATE INDEX fills_of_instrument ON fills (instrument, event_ns, lsn, trade_id);
CREATE INDEX equity_at ON equity (at_ns, account);
CREATE INDEX indicators_at ON indicators (at_ns, name, instrument, owner);
CREATE INDEX indicators_of ON indicators (instrument, name, at_ns, owner);
"""
"""In the order of answers (`stores/queries.py`): their newest rows are found without all the others."""

MIGRATIONS: tuple[str, ...] = (
    _FIRST,
    _LSN_OF_PICTURES,
    _COSTS,
    _KLINES,
    _CURVE_ERROR,
    _POINTS,
    _MACHINE,
    _ORDINALS,
    _ASKED,
)
"""Script n leads from `user_version` n to n + 1."""
STORE_VERSION = len(MIGRATIONS)
