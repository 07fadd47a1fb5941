"""Orders, trades and balances of one Binance spot account in the words of its WebSocket API.

Pure: it writes requests, reads answers and user data events, and decides nothing. What an answer
proves is `binance_outcome`'s. Source: binance-spot-api-docs at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from tradefan.core.fill_id import derived_ids
from tradefan.errors import Refused
from tradefan.messages.account import Balance, Balances
from tradefan.messages.gateway import (
    CancelOrder,
    CreateOrder,
    ExecutionReport,
    FillBusted,
    ReplaceOrder,
    VenueFill,
)
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderStatus
from tradefan.messages.wire import Text
from tradefan.units import (
    MS,
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    Side,
    TradeId,
    plain,
)
from tradefan.venues import binance_account_wire as wire
from tradefan.venues.binance_account_wire import AccountTrade, OrderRow, Report
from tradefan.venues.feed_events import BadFrame, Unmapped

RECV_WINDOW_MS = 2_000
TRADES_MAX = 1_000
"""Rows of one `myTrades`: a full page asks for the next."""
NO_TRADE = TradeId("0")
"""Cursor of an instrument that has no trade: Binance counts from 1."""

Source = Literal["stream", "answer", "look"]

STATUS = {
    "NEW": OrderStatus.NEW,
    # It waits for the rest of its list, which is not our PENDING_NEW.
    "PENDING_NEW": OrderStatus.SUSPENDED,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    # Self-trade prevention.
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
"""The venue's word to ours; any other, PENDING_CANCEL (unused) among them, is UNKNOWN and counted."""


class StreamEnded(Struct, frozen=True):
    """The venue ended the user data stream: nothing more will be told."""

    reason: str


Event: TypeAlias = ExecutionReport | VenueFill | FillBusted | Balances | StreamEnded | Unmapped
NAMELESS = Unmapped("trade", "without an id")
"""An execution that the stream or an answer tells without an id. Nobody could tell it from the same
one told again, so it is not booked: its order's report says that there is more than was told, and
the next look brings it, named by its place in a complete reading (`core/fill_id.py`)."""


def venue_symbol(instrument: Instrument) -> str:
    """Return Binance's spelling of a spot instrument: `BTCUSDT`."""
    return f"{instrument.base}{instrument.quote}"


class OrderCodec:
    """The words of one account; spot only, by instrument id."""

    def __init__(self, account: AccountId, instruments: tuple[Instrument, ...]) -> None:
        """Know the symbols."""
        self.account = account
        self._symbols = {item.id: venue_symbol(item) for item in instruments if item.kind == "spot"}
        self._ids = {symbol: instrument for instrument, symbol in self._symbols.items()}

    # --- requests -----------------------------------------------------------------------------------

    def create(self, req: int, order: CreateOrder, now_ns: int) -> Text:
        """Write `order.place`; FULL answers carry the fills."""
        return self._timed(req, "order.place", self._wish(order), now_ns)

    def replace(self, req: int, order: ReplaceOrder, now_ns: int) -> Text:
        """Write `order.cancelReplace`: nothing is placed when the old order cannot be cancelled whole.

        ONLY_NEW makes the cancel fail when a fill is on its way, so that old and new together never
        exceed what was wished. Source: web-socket-api.md, "Cancel and replace order".
        """
        params = self._wish(order.create) | {
            "cancelReplaceMode": "STOP_ON_FAILURE",
            "cancelRestrictions": "ONLY_NEW",
            "cancelOrigClientOrderId": order.old_id,
        }
        return self._timed(req, "order.cancelReplace", params, now_ns)

    def cancel(self, req: int, order: CancelOrder, now_ns: int) -> Text:
        """Write `order.cancel` by client id."""
        params = {"symbol": self.symbol(order.instrument), "origClientOrderId": order.client_order_id}
        return self._timed(req, "order.cancel", params, now_ns)

    def query(self, req: int, instrument: InstrumentId, now_ns: int, client_order_id: ClientOrderId) -> Text:
        """Write `order.status` by client id."""
        params = {"symbol": self.symbol(instrument), "origClientOrderId": client_order_id}
        return self._timed(req, "order.status", params, now_ns)

    def query_venue_id(self, req: int, instrument: InstrumentId, now_ns: int, venue_order_id: str) -> Text:
        """Write `order.status` by the venue's id."""
        params = {"symbol": self.symbol(instrument), "orderId": int(venue_order_id)}
        return self._timed(req, "order.status", params, now_ns)

    def open_orders(self, req: int, now_ns: int) -> Text:
        """Write `openOrders.status` of all symbols."""
        return self._timed(req, "openOrders.status", {}, now_ns)

    def trades(self, req: int, instrument: InstrumentId, now_ns: int, after: TradeId | None) -> Text:
        """Write `myTrades`: the first page after a trade, or only the newest trade for None."""
        params: dict[str, Any] = {"symbol": self.symbol(instrument)}
        params |= {"limit": 1} if after is None else {"fromId": int(after) + 1, "limit": TRADES_MAX}
        return self._timed(req, "myTrades", params, now_ns)

    def balances(self, req: int, now_ns: int) -> Text:
        """Write `account.status`."""
        return self._timed(req, "account.status", {"omitZeroBalances": True}, now_ns)

    def subscribe(self, req: int) -> Text:
        """Write `userDataStream.subscribe`."""
        return _text(req, "userDataStream.subscribe", {})

    def symbol(self, instrument: InstrumentId) -> str:
        """Return the venue's symbol.

        Raises:
            Refused: UNKNOWN_INSTRUMENT for one that this account does not trade.
        """
        symbol = self._symbols.get(instrument)
        if symbol is None:
            raise Refused("UNKNOWN_INSTRUMENT", f"{self.account} does not trade {instrument}")
        return symbol

    # --- answers ------------------------------------------------------------------------------------

    def placed(self, result: bytes, recv_ns: int) -> tuple[Event, ...]:
        """Read the result of `order.place`: its fills, then the order."""
        order = wire.read_order(result)
        instrument = self._ids.get(order.symbol)
        if instrument is None:
            return (Unmapped("symbol", order.symbol),)
        report = self._report(instrument, order, recv_ns, "answer")
        fills = (
            VenueFill(
                account=self.account,
                instrument=instrument,
                trade_id=TradeId(str(fill.trade_id)),
                client_order_id=report.client_order_id,
                venue_order_id=str(order.order_id),
                side=report.side,
                qty=fill.qty,
                price=fill.price,
                fee=fill.commission,
                fee_asset=Asset(fill.commission_asset),
                # What fills while it is placed has taken.
                liquidity="taker",
                event_ns=report.event_ns,
                recv_ns=recv_ns,
                source="answer",
            )
            if fill.trade_id is not None and fill.trade_id >= 0
            else NAMELESS
            for fill in order.fills
        )
        return (*fills, report)

    def order(self, result: bytes, recv_ns: int, source: Source) -> Event:
        """Read the result of `order.cancel` or `order.status`."""
        return self._told(wire.read_order(result), recv_ns, source)

    def orders(self, result: bytes, recv_ns: int, source: Source) -> tuple[Event, ...]:
        """Read the result of `openOrders.status`."""
        rows = wire.read_orders(result)
        return tuple(self._told(row, recv_ns, source) for row in rows)

    def trade_rows(self, instrument: InstrumentId, result: bytes) -> tuple[AccountTrade, ...]:
        """Read the result of `myTrades`, oldest first.

        Where every row has an id they are sorted by it; else only the venue's order says where the
        others stand.

        Raises:
            BadFrame: also when a row is another symbol's, or that order cannot be believed.
        """
        rows = wire.read_trades(result)
        strange = next((row.symbol for row in rows if self._ids.get(row.symbol) != instrument), None)
        if strange is not None:
            raise BadFrame("trade", f"asked for {instrument}, got {strange}")
        numbers = [row.trade_id for row in rows if row.trade_id is not None]
        if len(numbers) == len(rows):
            return tuple(sorted(rows, key=lambda row: row.trade_id or 0))
        if numbers != sorted(numbers):
            raise BadFrame("trade", "trades without ids that are not in order")
        return tuple(rows)

    def trade_ids(self, instrument: InstrumentId, rows: Sequence[AccountTrade]) -> tuple[TradeId, ...]:
        """Return the id of each row of one complete reading, made by us where the venue has none."""
        nameless = [row for row in rows if row.trade_id is None]
        made = iter(derived_ids(self._fields(instrument, row) for row in nameless))
        return tuple(next(made) if row.trade_id is None else TradeId(str(row.trade_id)) for row in rows)

    def fill(
        self,
        row: AccountTrade,
        instrument: InstrumentId,
        trade_id: TradeId,
        owner: ClientOrderId,
        recv_ns: int,
    ) -> VenueFill:
        """Return a row of `myTrades` as a fill, once its order's client id is known."""
        return VenueFill(
            account=self.account,
            instrument=instrument,
            trade_id=trade_id,
            client_order_id=owner,
            venue_order_id=str(row.order_id),
            side="buy" if row.is_buyer else "sell",
            qty=row.qty,
            price=row.price,
            fee=row.commission,
            fee_asset=Asset(row.commission_asset),
            liquidity="maker" if row.is_maker else "taker",
            event_ns=row.time * MS,
            recv_ns=recv_ns,
            source="look",
        )

    def account_balances(self, result: bytes, recv_ns: int, source: Source) -> Balances:
        """Read the result of `account.status`: everything that is not zero."""
        account = wire.read_account(result)
        rows = tuple(Balance(Asset(row.asset), row.free, row.locked) for row in account.balances)
        return Balances(self.account, rows, True, account.update_time * MS, recv_ns, source)

    # --- user data stream -----------------------------------------------------------------------------

    def event(self, body: bytes, recv_ns: int) -> tuple[Event, ...]:
        """Read one event of the user data stream; kinds that say nothing about us are Unmapped.

        Raises:
            BadFrame: and nothing else.
        """
        kind = wire.read_head(body).e
        if kind == "executionReport":
            return self._stream_report(wire.read_report(body), recv_ns)
        if kind == "outboundAccountPosition":
            position = wire.read_position(body)
            rows = tuple(Balance(Asset(row.a), row.f, row.l) for row in position.B)
            return (Balances(self.account, rows, False, position.u * MS, recv_ns, "stream"),)
        if kind == "tradeBust":
            return self._busted(wire.read_bust(body), recv_ns)
        if kind == "eventStreamTerminated":
            return (StreamEnded(kind),)
        return (Unmapped("event", kind),)

    def _stream_report(self, report: Report, recv_ns: int) -> tuple[Event, ...]:
        instrument = self._ids.get(report.s)
        if instrument is None:
            return (Unmapped("symbol", report.s),)
        # On a cancel `c` is the cancel's own id and `C` the order's.
        client_order_id = ClientOrderId(report.C or report.c)
        reason = "stp" if report.x == "TRADE_PREVENTION" else _reason(report.r, report.eR)
        told = ExecutionReport(
            account=self.account,
            instrument=instrument,
            client_order_id=client_order_id,
            venue_order_id=str(report.i),
            status=_status(report.X, report.w),
            side=_side(report.S),
            order_qty=report.q,
            cum_qty=report.z,
            limit_price=report.p or None,
            reason="stp" if report.X == "EXPIRED_IN_MATCH" else reason,
            event_ns=report.T * MS,
            recv_ns=recv_ns,
            source="stream",
        )
        if not report.l:
            return _with_words(told, report.X)
        if report.t < 0:
            return (*_with_words(told, report.X), NAMELESS)
        fill = VenueFill(
            account=self.account,
            instrument=instrument,
            trade_id=TradeId(str(report.t)),
            client_order_id=client_order_id,
            venue_order_id=told.venue_order_id or "",
            side=told.side,
            qty=report.l,
            price=report.L,
            fee=report.n,
            fee_asset=Asset(report.N or ""),
            liquidity="maker" if report.m else "taker",
            event_ns=told.event_ns,
            recv_ns=recv_ns,
            source="stream",
        )
        return (fill, *_with_words(told, report.X))

    def _busted(self, bust: wire.Bust, recv_ns: int) -> tuple[Event, ...]:
        instrument = self._ids.get(bust.s)
        if instrument is None:
            return (Unmapped("symbol", bust.s),)
        trade_id, event_ns = TradeId(str(bust.t)), bust.T * MS
        return (FillBusted(self.account, instrument, trade_id, event_ns, recv_ns, bust.q, bust.p),)

    # --- leaves ---------------------------------------------------------------------------------------

    def _wish(self, order: CreateOrder) -> dict[str, Any]:
        """Return the parameters that describe a new order."""
        params: dict[str, Any] = {
            "symbol": self.symbol(order.instrument),
            "side": order.side.upper(),
            "quantity": plain(order.order_qty),
            "newClientOrderId": order.client_order_id,
            "newOrderRespType": "FULL",
            "selfTradePreventionMode": "EXPIRE_TAKER",
        }
        if order.order_type == "market":
            return params | {"type": "MARKET"}
        if order.limit_price is None:
            raise Refused("BAD_ORDER", f"{order.client_order_id} is a limit order without a price")
        params["price"] = plain(order.limit_price)
        if order.post_only:
            return params | {"type": "LIMIT_MAKER"}
        return params | {"type": "LIMIT", "timeInForce": order.time_in_force}

    def _fields(self, instrument: InstrumentId, row: AccountTrade) -> tuple[str, ...]:
        """Return everything that a row says of its trade, in one spelling."""
        side, liquidity = "buy" if row.is_buyer else "sell", "maker" if row.is_maker else "taker"
        amounts = (plain(row.qty), plain(row.price), plain(row.commission), row.commission_asset)
        return (self.account, instrument, str(row.order_id), side, *amounts, liquidity, str(row.time))

    def _timed(self, req: int, method: str, params: dict[str, Any], now_ns: int) -> Text:
        timed = params | {"recvWindow": RECV_WINDOW_MS, "timestamp": now_ns // MS}
        return _text(req, method, timed)

    def _told(self, order: OrderRow, recv_ns: int, source: Source) -> Event:
        instrument = self._ids.get(order.symbol)
        if instrument is None:
            return Unmapped("symbol", order.symbol)
        return self._report(instrument, order, recv_ns, source)

    def _report(
        self, instrument: InstrumentId, order: OrderRow, recv_ns: int, source: Source
    ) -> ExecutionReport:
        at_ms = order.transact_time or order.update_time or order.time or 0
        stp = order.status == "EXPIRED_IN_MATCH"
        return ExecutionReport(
            account=self.account,
            instrument=instrument,
            client_order_id=ClientOrderId(order.orig_client_order_id or order.client_order_id),
            venue_order_id=str(order.order_id),
            status=_status(order.status, order.is_working),
            side=_side(order.side),
            order_qty=order.orig_qty,
            cum_qty=order.executed_qty,
            limit_price=order.price or None,
            reason="stp" if stp else order.expiry_reason or "",
            event_ns=at_ms * MS,
            recv_ns=recv_ns,
            source=source,
        )


def _with_words(told: ExecutionReport, word: str) -> tuple[Event, ...]:
    return (told,) if word in STATUS else (told, Unmapped("status", word))


def _status(word: str, working: bool) -> OrderStatus:
    """Map a status; a stop's NEW that is not on the book yet is SUSPENDED."""
    status = STATUS.get(word, OrderStatus.UNKNOWN)
    return OrderStatus.SUSPENDED if status is OrderStatus.NEW and not working else status


def _side(word: Literal["BUY", "SELL"]) -> Side:
    return "buy" if word == "BUY" else "sell"


def _reason(reject: str, expiry: str | int | None) -> str:
    return str(expiry) if expiry is not None else "" if reject == "NONE" else reject


def _text(req: int, method: str, params: dict[str, Any]) -> Text:
    return Text(msgspec.json.encode({"id": str(req), "method": method, "params": params}).decode())
