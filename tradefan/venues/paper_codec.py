"""The paper venue's side of the wire: it reads requests and writes answers as Binance spot does.

Shapes are those of the WebSocket API and of the user data stream, so the gateway's codec meets here
what it will meet at the venue. Source: binance-spot-api-docs at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, cast

import msgspec
from msgspec import Struct

from tradefan.units import MS, ZERO, Side
from tradefan.venues.paper_account import Told, VenueError, Wish
from tradefan.venues.paper_state import PaperOrder, PaperState, PaperTrade, WireTimeInForce, WireType

SUBSCRIPTION = 0
"""Id of the only user data subscription of a connection."""
Params = dict[str, Any]
_TIMES_IN_FORCE = ("GTC", "IOC", "FOK")
_DIGITS = Decimal("0.00000001")
_NUMBER_MAX = Decimal(10**15)
"""Far above the MAX_* of any filter, far below where 38 digits no longer hold a number in steps."""
_INT_MAX = 2**63 - 1


class Request(Struct):
    """A request of the WebSocket API; `id` comes back in the answer."""

    id: str | int | None
    method: str
    params: Params = {}


# --- reading --------------------------------------------------------------------------------------


def read_request(text: str) -> Request:
    """Return a request.

    Raises:
        VenueError: -1135, where the venue would answer the same.
    """
    try:
        return msgspec.json.decode(text.encode(), type=Request)
    except (msgspec.DecodeError, RecursionError) as error:
        raise VenueError(-1135, "Invalid JSON Request") from error


def read_wish(params: Params) -> Wish:
    """Return the order that `order.place` asks for."""
    side, kind = _word(params, "side"), _word(params, "type")
    if side not in ("BUY", "SELL"):
        raise VenueError(-1117, "Invalid side.")
    if kind not in ("LIMIT", "LIMIT_MAKER", "MARKET"):
        raise VenueError(-1116, "Invalid orderType.")
    time_in_force = _word(params, "timeInForce") if kind == "LIMIT" else "GTC"
    if time_in_force not in _TIMES_IN_FORCE:
        raise VenueError(-1115, "Invalid timeInForce.")
    return Wish(
        client_order_id=str(params.get("newClientOrderId", "")),
        side=cast("Side", side.lower()),
        type=cast("WireType", kind),
        time_in_force=cast("WireTimeInForce", time_in_force),
        price=ZERO if kind == "MARKET" else _number(params, "price", "PRICE_FILTER"),
        qty=_number(params, "quantity", "LOT_SIZE"),
    )


def read_ids(params: Params) -> tuple[str | None, int | None]:
    """Return (client id, venue id) of the order that a cancel or a query names."""
    client_order_id, order_id = params.get("origClientOrderId"), params.get("orderId")
    if client_order_id is None and order_id is None:
        raise VenueError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent.")
    return client_order_id, read_int(params, "orderId")


def read_replaced(params: Params) -> tuple[str | None, int | None]:
    """Return (client id, venue id) of the order that `order.cancelReplace` takes away.

    Only the mode that places nothing when the cancel fails is offered.
    """
    if _word(params, "cancelReplaceMode") != "STOP_ON_FAILURE":
        raise VenueError(-1020, "This operation is not supported.")
    if params.get("cancelRestrictions", "ONLY_NEW") != "ONLY_NEW":
        raise VenueError(-1145, "Invalid cancelRestrictions")
    client_order_id, order_id = params.get("cancelOrigClientOrderId"), params.get("cancelOrderId")
    if client_order_id is None and order_id is None:
        raise VenueError(-1102, "Param 'cancelOrigClientOrderId' or 'cancelOrderId' must be sent.")
    return client_order_id, read_int(params, "cancelOrderId")


def read_int(params: Params, name: str) -> int | None:
    """Return a whole number, None where it is absent."""
    value = params.get(name)
    if value is None:
        return None
    # Longer texts are not read at all: `int` refuses thousands of digits by an exception of its own.
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(_INT_MAX)):
        return int(value)
    if isinstance(value, int) and abs(value) <= _INT_MAX:
        return value
    raise VenueError(-1130, f"Data sent for parameter '{name}' is not valid.")


def _word(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise VenueError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _number(params: Params, name: str, filter_name: str) -> Decimal:
    try:
        value = Decimal(_word(params, name))
    except InvalidOperation as error:
        raise VenueError(-1100, f"Illegal characters found in parameter '{name}'.") from error
    if not value.is_finite() or value <= 0:
        raise VenueError(-1100, f"Illegal characters found in parameter '{name}'.")
    if value >= _NUMBER_MAX:
        raise VenueError(-1013, f"Filter failure: {filter_name}")
    return value


# --- answers ----------------------------------------------------------------------------------------


def answer(request_id: str | int | None, result: object) -> bytes:
    """Return the envelope of a success."""
    return msgspec.json.encode({"id": request_id, "status": 200, "result": result, "rateLimits": []})


def refusal(request_id: str | int | None, error: VenueError) -> bytes:
    """Return the envelope of an error."""
    body = {"code": error.code, "msg": error.text}
    body |= {} if error.data is None else {"data": error.data}
    return msgspec.json.encode({"id": request_id, "status": error.status, "error": body, "rateLimits": []})


def placed(order: PaperOrder, trades: list[PaperTrade], symbol: str) -> dict[str, Any]:
    """Return the result of `order.place` with newOrderRespType FULL."""
    fills = [
        {
            "price": _text(trade.price),
            "qty": _text(trade.qty),
            "commission": _text(trade.fee),
            "commissionAsset": trade.fee_asset,
            "tradeId": trade.trade_id,
        }
        for trade in trades
    ]
    head = {"symbol": symbol, "orderId": order.order_id, "orderListId": -1}
    head |= {"clientOrderId": order.client_order_id, "transactTime": _ms(order.updated_ns)}
    return head | _amounts(order) | {"workingTime": _ms(order.created_ns), "fills": fills}


def replaced(canceled: dict[str, Any], placed: dict[str, Any]) -> dict[str, Any]:
    """Return the result of an `order.cancelReplace` of which both legs were carried out."""
    return _legs(canceled, placed)


def replace_failed(canceled: VenueError | dict[str, Any], placed: VenueError | None) -> VenueError:
    """Return the error of an `order.cancelReplace`: the cancel failed, or the new order behind it.

    Status and code as in web-socket-api.md: 400 and -2022 when nothing was carried out, 409 and -2021
    when one leg was.
    """
    if isinstance(canceled, VenueError):
        return VenueError(-2022, "Order cancel-replace failed.", 400, _legs(canceled, placed))
    return VenueError(-2021, "Order cancel-replace partially failed.", 409, _legs(canceled, placed))


def _legs(
    canceled: VenueError | dict[str, Any], placed: VenueError | dict[str, Any] | None
) -> dict[str, Any]:
    word, response = _leg(canceled)
    new_word, new_response = ("NOT_ATTEMPTED", None) if placed is None else _leg(placed)
    return {
        "cancelResult": word,
        "newOrderResult": new_word,
        "cancelResponse": response,
        "newOrderResponse": new_response,
    }


def _leg(leg: VenueError | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(leg, VenueError):
        return "FAILURE", {"code": leg.code, "msg": leg.text}
    return "SUCCESS", leg


def canceled(order: PaperOrder, symbol: str, cancel_id: str) -> dict[str, Any]:
    """Return the result of `order.cancel`: the order's own id stands in origClientOrderId."""
    head = {"symbol": symbol, "origClientOrderId": order.client_order_id, "orderId": order.order_id}
    head |= {"orderListId": -1, "clientOrderId": cancel_id, "transactTime": _ms(order.updated_ns)}
    return head | _amounts(order)


def status(order: PaperOrder, symbol: str) -> dict[str, Any]:
    """Return an order as `order.status` and `openOrders.status` show it."""
    head = {"symbol": symbol, "orderId": order.order_id, "orderListId": -1}
    head["clientOrderId"] = order.client_order_id
    times = {"time": _ms(order.created_ns), "updateTime": _ms(order.updated_ns)}
    rest = {"stopPrice": _text(ZERO), "icebergQty": _text(ZERO), "isWorking": True}
    rest |= {"workingTime": _ms(order.created_ns), "origQuoteOrderQty": _text(ZERO)}
    return head | _amounts(order) | times | rest


def trade_row(trade: PaperTrade, symbol: str) -> dict[str, Any]:
    """Return one row of `myTrades`."""
    return {
        "symbol": symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": _text(trade.price),
        "qty": _text(trade.qty),
        "quoteQty": _text(trade.price * trade.qty),
        "commission": _text(trade.fee),
        "commissionAsset": trade.fee_asset,
        "time": _ms(trade.at_ns),
        "isBuyer": trade.side == "buy",
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


def account(state: PaperState, maker: Decimal, taker: Decimal, at_ns: int) -> dict[str, Any]:
    """Return the result of `account.status`."""
    balances = [
        {"asset": asset, "free": _text(item.free), "locked": _text(item.locked)}
        for asset, item in state.balances.items()
    ]
    rates = {"maker": _text(maker), "taker": _text(taker), "buyer": _text(ZERO), "seller": _text(ZERO)}
    return {
        "commissionRates": rates,
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "updateTime": _ms(at_ns),
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
    }


# --- user data stream ---------------------------------------------------------------------------------


def event(told: Told, symbols: dict[str, str], cancel_ids: dict[int, str]) -> bytes:
    """Return one event of the user data stream in its envelope."""
    body = _position(told) if told.order is None else _report(told, told.order, symbols, cancel_ids)
    return msgspec.json.encode({"subscriptionId": SUBSCRIPTION, "event": body})


def _position(told: Told) -> dict[str, Any]:
    rows = [{"a": asset, "f": _text(free), "l": _text(locked)} for asset, free, locked in told.balances]
    at_ms = _ms(told.at_ns)
    return {"e": "outboundAccountPosition", "E": at_ms, "u": at_ms, "B": rows}


def _report(
    told: Told, order: PaperOrder, symbols: dict[str, str], cancel_ids: dict[int, str]
) -> dict[str, Any]:
    """Return an executionReport; on a cancel `c` is the cancel's id and `C` the order's."""
    trade, at_ms = told.trade, _ms(told.at_ns)
    cancels = told.what == "CANCELED"
    own = order.client_order_id
    return {
        "e": "executionReport",
        "E": at_ms,
        "s": symbols[order.instrument],
        "c": cancel_ids.get(order.order_id, "") if cancels else own,
        "S": order.side.upper(),
        "o": order.type,
        "f": order.time_in_force,
        "q": _text(order.qty),
        "p": _text(order.price),
        "P": _text(ZERO),
        "F": _text(ZERO),
        "g": -1,
        "C": own if cancels else "",
        "x": told.what,
        "X": order.status,
        "r": "NONE",
        "i": order.order_id,
        "l": _text(trade.qty if trade else ZERO),
        "z": _text(order.cum_qty),
        "L": _text(trade.price if trade else ZERO),
        "n": _text(trade.fee if trade else ZERO),
        "N": trade.fee_asset if trade else None,
        "T": at_ms,
        "t": trade.trade_id if trade else -1,
        "I": 0,
        "w": order.status in ("NEW", "PARTIALLY_FILLED"),
        "m": trade.maker if trade else False,
        "M": False,
        "O": _ms(order.created_ns),
        "Z": _text(order.cum_quote),
        "Y": _text(trade.price * trade.qty if trade else ZERO),
        "Q": _text(ZERO),
        "W": _ms(order.created_ns),
        "V": "EXPIRE_TAKER",
    }


def _amounts(order: PaperOrder) -> dict[str, Any]:
    return {
        "price": _text(order.price),
        "origQty": _text(order.qty),
        "executedQty": _text(order.cum_qty),
        "cummulativeQuoteQty": _text(order.cum_quote),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side.upper(),
        "selfTradePreventionMode": "EXPIRE_TAKER",
    }


def _text(value: Decimal) -> str:
    """Return a number as the venue writes it: 8 decimals, more only where they are needed."""
    return format(value.quantize(_DIGITS) if value == round(value, 8) else value, "f")


def _ms(ns: int) -> int:
    return ns // MS
