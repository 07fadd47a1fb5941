"""Whole pictures of parents, orders and positions, as owners hear them and stores keep them."""

from __future__ import annotations

from decimal import Decimal

from tradefan.core.exposure import owner_sides
from tradefan.core.ledger import position
from tradefan.core.order import Order
from tradefan.core.trading import ParentState, Trading
from tradefan.messages.orders import FillUpdate, OrderUpdate, ParentUpdate, PositionUpdate
from tradefan.messages.records import Fill
from tradefan.messages.tca import Lines, Tca, TcaUpdate
from tradefan.units import AccountId, InstrumentId, OwnerId, ParentId


def parent_update(parent: ParentState, lsn: int = 0) -> ParentUpdate:
    """Return the whole picture of a parent; `lsn` is the number of the last record that is in it."""
    return ParentUpdate(
        order=parent.order,
        status=parent.shown_status,
        phase=parent.phase,
        reason=parent.reason,
        cum_qty=parent.cum_qty,
        working_qty=parent.working_qty,
        in_doubt_qty=parent.in_doubt_qty,
        avg_px=parent.value / parent.filled if parent.filled else None,
        children=parent.attempts,
        updated_ns=parent.updated_ns,
        lsn=lsn,
    )


def order_update(order: Order, lsn: int = 0) -> OrderUpdate:
    """Return the whole picture of a child; `lsn` as above."""
    return OrderUpdate(
        account=order.account,
        instrument=order.instrument,
        owner=order.owner,
        parent_id=order.parent_id,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        order_qty=order.order_qty,
        limit_price=order.limit_price,
        status=order.status,
        in_doubt=order.in_doubt,
        cum_qty=order.cum_qty,
        avg_px=order.avg_px,
        reason=order.reason,
        created_ns=order.created_ns,
        updated_ns=order.updated_ns,
        lsn=lsn,
    )


def fill_update(fill: Fill, lsn: int, parent_id: ParentId | None, realised: Decimal) -> FillUpdate:
    """Return a fill as it is told; `lsn` is its journal number, `realised` in the quote asset before fees."""
    return FillUpdate(
        account=fill.account,
        instrument=fill.instrument,
        owner=fill.owner,
        parent_id=parent_id,
        client_order_id=fill.client_order_id,
        trade_id=fill.trade_id,
        side=fill.side,
        qty=fill.qty,
        price=fill.price,
        fee=fill.fee,
        fee_asset=fill.fee_asset,
        liquidity=fill.liquidity,
        event_ns=fill.event_ns,
        lsn=lsn,
        realised=realised,
    )


def tca_update(record: Tca, lsn: int) -> TcaUpdate:
    """Return the analysis of a parent as it is told; `lsn` is its journal number."""
    return TcaUpdate(
        parent_id=record.parent_id,
        account=record.account,
        instrument=record.instrument,
        owner=record.owner,
        side=record.side,
        algo=record.algo,
        quote=record.quote,
        created_ns=record.created_ns,
        at_ns=record.at_ns,
        costs=record.costs,
        lines=record.lines,
        lsn=lsn,
    )


def kept_tca(trading: Trading, name: ParentId) -> TcaUpdate | None:
    """Return what was written last of a parent whose record is not at hand; its lines are not kept."""
    parent, track = trading.parents.get(name), trading.tracks.get(name)
    if parent is None or track is None or track.costs is None:
        return None
    order = parent.order
    return TcaUpdate(
        parent_id=name,
        account=order.account,
        instrument=order.instrument,
        owner=order.owner,
        side=order.side,
        algo=order.algo,
        quote=track.quote,
        created_ns=order.created_ns,
        at_ns=track.written_ns,
        costs=track.costs,
        lines=Lines(),
        lsn=trading.lsn,
    )


def position_update(
    trading: Trading, account: AccountId, owner: OwnerId, instrument: InstrumentId
) -> PositionUpdate:
    """Return what an owner holds in an instrument; working and in-doubt quantities are signed."""
    held = position(trading.ledger, account, owner, instrument)
    sides = owner_sides(trading.exposure, account, instrument, owner)
    return PositionUpdate(
        account=account,
        owner=owner,
        instrument=instrument,
        qty=held.qty,
        avg_px=held.avg_px,
        realised=held.realised,
        fees=dict(held.fees),
        working_qty=sides.working_qty,
        in_doubt_qty=sides.in_doubt_qty,
        updated_ns=held.updated_ns,
        lsn=trading.lsn,
    )
