"""The venue's methods: what each request of the WebSocket API does, and what queries show.

Creates and cancels meet the book as it is; a query sees it as it was up to V ago. Shapes are those of
the paper venue's codec; `order.cancelReplace` is added here. Source: binance-spot-api-docs,
web-socket-api.md at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from tradefan.messages.instrument import Instrument
from tradefan.sim.personality import Chances, Personality
from tradefan.sim.venue_book import Book
from tradefan.sim.venue_engine import Engine
from tradefan.sim.venue_records import SimOrder, picture_at
from tradefan.units import MINUTE, MS, SECOND, InstrumentId
from tradefan.venues import paper_codec as codec
from tradefan.venues.binance_orders import venue_symbol
from tradefan.venues.paper_account import VenueError
from tradefan.venues.paper_state import PaperOrder, PaperState

TRADES_MAX = 1_000
MISSED_AGAIN_NS = 30 * SECOND
"""The same order is not left out of a list twice within this: two looks agree on what is not there."""
RECV_WINDOW_MS = 5_000
Params = codec.Params


class Desk:
    """Carries out requests; `cancel_ids` gets the client id of each cancel, for the private stream."""

    def __init__(
        self,
        book: Book,
        engine: Engine,
        personality: Personality,
        chances: Chances,
        instruments: tuple[Instrument, ...],
        cancel_ids: dict[int, str],
        fee_rate: Decimal,
    ) -> None:
        """Open."""
        self.symbols: dict[str, str] = {one.id: venue_symbol(one) for one in instruments}
        self._ids: dict[str, InstrumentId] = {venue_symbol(one): one.id for one in instruments}
        self._book = book
        self._engine = engine
        self._personality = personality
        self._chances = chances
        self._cancel_ids = cancel_ids
        self._fee_rate = fee_rate
        self._missed: dict[int, int] = {}
        self._wrong: tuple[int, str, Decimal] = (0, "", Decimal(0))

    def serve(self, method: str, params: Params, at_ns: int) -> Any:  # noqa: ANN401 the JSON of an answer
        """Carry out one request and return its result.

        Raises:
            VenueError: in the venue's words.
        """
        handler: _Method | None = self._METHODS.get(method)
        if handler is None:
            raise VenueError(-1020, "This operation is not supported.")
        return handler(self, params, at_ns)

    def check_time(self, params: Params, at_ns: int) -> None:
        """Refuse what was under way for longer than its own window."""
        sent_ms = codec.read_int(params, "timestamp")
        window_ms = codec.read_int(params, "recvWindow") or RECV_WINDOW_MS
        if sent_ms is not None and at_ns // MS - sent_ms > window_ms:
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")

    # --- orders -----------------------------------------------------------------------------------------

    def _place(self, params: Params, at_ns: int) -> dict[str, Any]:
        instrument = self._instrument(params)
        before = len(self._book.trades)
        order = self._engine.place(instrument, codec.read_wish(params), at_ns)
        fresh = () if self._engine.hidden.hides(at_ns) else self._book.trades[before:]
        rows = [trade.versions[0][1] for trade in fresh if trade.named]
        named = [row for row in rows if row is not None]
        placed = codec.placed(order.versions[-1][1], named, self.symbols[instrument])
        if self._chances.hit("echo_rewritten") and self._chances.happens(
            "echo_rewritten", order.client_order_id
        ):
            placed["clientOrderId"] = f"x-{order.client_order_id[:14]}"
        return placed

    def _cancel(self, params: Params, at_ns: int) -> dict[str, Any]:
        order = self._book.open_order(self._instrument(params), *codec.read_ids(params))
        return self._cancel_order(order, params.get("newClientOrderId"), at_ns)

    def _cancel_order(
        self, order: SimOrder | None, cancel_id: str | None, at_ns: int, only: str | None = None
    ) -> dict[str, Any]:
        if order is None:
            raise VenueError(-2011, "Unknown order sent.")
        cancel_id = str(cancel_id or f"cancel-{order.order_id}")
        self._cancel_ids[order.order_id] = cancel_id
        self._engine.cancel(order, at_ns, only)
        return codec.canceled(order.versions[-1][1], self.symbols[order.instrument], cancel_id)

    def _replace(self, params: Params, at_ns: int) -> dict[str, Any]:
        """Cancel, then place, and stop where the cancel fails; filters are looked at before either."""
        instrument = self._instrument(params)
        if params.get("cancelReplaceMode") != "STOP_ON_FAILURE":
            raise VenueError(-1020, "This operation is not supported.")
        self._engine.check_filters(instrument, codec.read_wish(params))
        try:
            canceled = self._cancel_leg(instrument, params, at_ns)
        except VenueError as error:
            data = _legs("FAILURE", "NOT_ATTEMPTED", _refused(error), None)
            raise LegsError(-2022, "Order cancel-replace failed.", 400, data) from error
        try:
            placed = self._place(params, at_ns)
        except VenueError as error:
            data = _legs("SUCCESS", "FAILURE", canceled, _refused(error))
            raise LegsError(-2021, "Order cancel-replace partially failed.", 409, data) from error
        return _legs("SUCCESS", "SUCCESS", canceled, placed)

    def _cancel_leg(self, instrument: InstrumentId, params: Params, at_ns: int) -> dict[str, Any]:
        client_order_id = params.get("cancelOrigClientOrderId")
        order = self._book.open_order(instrument, client_order_id, codec.read_int(params, "cancelOrderId"))
        only = params.get("cancelRestrictions")
        return self._cancel_order(order, params.get("cancelNewClientOrderId"), at_ns, only)

    # --- queries ----------------------------------------------------------------------------------------

    def _as_of(self, at_ns: int) -> int:
        """Return the instant of which a query shows the book."""
        if not self._chances.hit("query_lag"):
            return at_ns
        lag_ns = self._personality.lag.draw(self._chances.rng("lag"))
        # A lag in which nothing happened shows the book as it is, which is no fault.
        shows = bool(self._book.log) and self._book.log[-1].at_ns > at_ns - lag_ns
        if shows and not self._chances.happens("query_lag", f"{lag_ns / SECOND:g} s"):
            return at_ns
        return at_ns - lag_ns

    def _status(self, params: Params, at_ns: int) -> dict[str, Any]:
        instrument = self._instrument(params)
        as_of_ns = self._as_of(at_ns)
        for order in self._book.named(instrument, *codec.read_ids(params)):
            picture = picture_at(order.versions, as_of_ns)
            if picture is not None and not self._overlooked(picture):
                return codec.status(picture, self.symbols[instrument])
        raise VenueError(-2013, "Order does not exist.")

    def _overlooked(self, picture: PaperOrder) -> bool:
        """Say whether a liar does not find an order that is there."""
        if self._book.orders[picture.order_id].ended_ns is not None or not self._chances.hit("not_found"):
            return False
        return self._chances.happens("not_found", picture.client_order_id)

    def _open_orders(self, params: Params, at_ns: int) -> list[dict[str, Any]]:
        instrument = self._instrument(params) if "symbol" in params else None
        pictures = self._book.open_at(instrument, self._as_of(at_ns))
        pictures = [picture for picture in pictures if not self._overlooked(picture)]
        missing = self._missing(pictures, at_ns)
        return [
            codec.status(picture, self.symbols[picture.instrument])
            for picture in pictures
            if picture is not missing
        ]

    def _missing(self, pictures: list[PaperOrder], at_ns: int) -> PaperOrder | None:
        """Choose the order that a list lacks, if any."""
        if not pictures or not self._chances.hit("item_missing"):
            return None
        picture = self._chances.rng("item_missing/which").choice(pictures)
        if at_ns - self._missed.get(picture.order_id, -MINUTE) < MISSED_AGAIN_NS:
            return None
        self._missed[picture.order_id] = at_ns
        happens = self._chances.happens("item_missing", f"order {picture.client_order_id}")
        return picture if happens else None

    def _trades(self, params: Params, at_ns: int) -> list[dict[str, Any]]:
        instrument = self._instrument(params)
        limit = min(codec.read_int(params, "limit") or 500, TRADES_MAX)
        from_id = codec.read_int(params, "fromId")
        as_of_ns = self._engine.hidden.shown_ns(self._as_of(at_ns), at_ns)
        shown = []
        for trade, row in self._book.trades_at(instrument, from_id, limit, as_of_ns):
            young = trade.at_ns > at_ns - self._personality.visible_bound_ns
            misses = young and self._chances.hit("item_missing")
            if misses and self._chances.happens("item_missing", f"trade {trade.number}"):
                continue
            told = codec.trade_row(row, self.symbols[instrument])
            if not trade.named and trade.number % 2:
                del told["id"]
            elif not trade.named:
                told["id"] = -1
            shown.append(told)
        return shown

    def _account(self, params: Params, at_ns: int) -> dict[str, Any]:
        state = PaperState(1, 1, 1, self._book.wallet.at(self._as_of(at_ns)), {})
        asset, off = self._wrong_balance(at_ns)
        if asset in state.balances:
            state.balances[asset].free += off
        answer = codec.account(state, self._fee_rate, self._fee_rate, at_ns)
        if params.get("omitZeroBalances"):
            rows = [row for row in answer["balances"] if Decimal(row["free"]) or Decimal(row["locked"])]
            answer["balances"] = rows
        return answer

    def _wrong_balance(self, at_ns: int) -> tuple[str, Decimal]:
        """Return the asset that a liar counts wrongly for up to a minute, and by how much."""
        until_ns, asset, off = self._wrong
        if at_ns < until_ns:
            return asset, off
        if not self._chances.hit("balance_wrong"):
            return "", Decimal(0)
        rng = self._chances.rng("balance_wrong/how")
        asset = rng.choice(tuple(self._book.balances))
        # Never less than nothing: that would be a mistake that anybody sees.
        off = self._book.balances[asset] * rng.randint(1, 100) / 1000
        until_ns = at_ns + rng.randint(SECOND, MINUTE)
        if not self._chances.happens("balance_wrong", f"{asset} {off}"):
            return "", Decimal(0)
        self._wrong = (until_ns, asset, off)
        return asset, off

    def _ping(self, params: Params, at_ns: int) -> dict[str, Any]:
        return {}

    def _subscribe(self, params: Params, at_ns: int) -> dict[str, Any]:
        return {"subscriptionId": codec.SUBSCRIPTION}

    def _instrument(self, params: Params) -> InstrumentId:
        instrument = self._ids.get(str(params.get("symbol")))
        if instrument is None:
            raise VenueError(-1121, "Invalid symbol.")
        return instrument

    _METHODS: ClassVar[dict[str, _Method]] = {
        "order.place": _place,
        "order.cancel": _cancel,
        "order.cancelReplace": _replace,
        "order.status": _status,
        "openOrders.status": _open_orders,
        "myTrades": _trades,
        "account.status": _account,
        "userDataStream.subscribe": _subscribe,
        "ping": _ping,
    }


_Method = Callable[[Desk, Params, int], Any]


class LegsError(VenueError):
    """A cancel-replace of which one leg failed; `data` says which and why."""

    def __init__(self, code: int, text: str, status: int, data: dict[str, Any]) -> None:
        super().__init__(code, text, status)
        self.data = data


def _legs(cancel: str, place: str, canceled: dict[str, Any], placed: dict[str, Any] | None) -> dict[str, Any]:
    """Return both legs as an answer shows them."""
    return {
        "cancelResult": cancel,
        "newOrderResult": place,
        "cancelResponse": canceled,
        "newOrderResponse": placed,
    }


def _refused(error: VenueError) -> dict[str, Any]:
    return {"code": error.code, "msg": error.text}
