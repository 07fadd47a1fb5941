"""How the venue of the OMS's state machine answers looks, and what must hold once everything is mild."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from tests.property.oms_rim import Rim
from tests.property.oms_venue import Venue
from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, CONFIG, GATEWAY
from tradefan.core.trading import Trading, apply
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.control import ActorState, ConfigChanged
from tradefan.messages.gateway import CancelOrder, CancelRejected, CreateOrder, Look, ReplaceOrder
from tradefan.messages.orders import TERMINAL, OrderStatus, ResumeTrading
from tradefan.messages.records import Record
from tradefan.units import SECOND

D = Decimal
S = OrderStatus
HEAL_S = 150
"""More than A + V + 90 s of a paper account (I-36)."""


def snapshot_rows(records: list[Record], at: int) -> dict[str, Any]:
    """Return the rows of a fold that begins with a snapshot as of the record at a place."""
    if not at:
        return {"records": tuple(records)}
    state = Trading()
    for record in records[:at]:
        apply(state, record)
    encoded = msgspec.msgpack.encode(state)
    return {"records": tuple(records[at:]), "snapshot": encoded, "snapshot_lsn": at}


def answer(bench: Bench, venue: Venue, look: Look, *, complete: bool, shown: bool) -> None:
    """End a look: balances are the truth, and so is what is missing; orders only where `shown`."""
    named = [name for _, name in look.orders]
    for name, create in list(venue.creates.items()):
        status = venue.status(create)
        if shown and status is not None and (name in named or status not in TERMINAL):
            bench.report(create, status, venue.cum(create), source="look")
    known = {name: venue.creates.get(name) for name in named}
    missing = tuple(name for name, one in known.items() if one is None or venue.status(one) is None)
    bench.done(
        look, {str(asset): qty for asset, qty in venue.wallet.items()}, complete=complete, missing=missing
    )


def heal(bench: Bench, venue: Venue, rim: Rim) -> None:
    """Let the disk, the venue and the humans be kind for a while; then books, orders and modes are right."""
    bench.durable()
    bench.config = CONFIG
    bench.tell(
        ConfigChanged("healed"),
        SetMode("all", "test", "NORMAL", "", ""),
        AccountState(ACCOUNT, True, ""),
        ActorState("risk_desk", "READY"),
        *venue.busts,
    )
    for new in list(venue.undecided):
        venue.decide(new, succeeds=False)
    for _ in range(HEAL_S):
        _serve(bench, venue, rim)
        _resume(bench, rim)
        bench.market()
        bench.advance(SECOND)
        while (fill := venue.tell(0)) is not None:
            bench.tell(msgspec.structs.replace(fill, source="look"))
        for look in bench.take(GATEWAY, Look):
            answer(bench, venue, look, complete=True, shown=True)
    _judge(bench, venue)
    assert (rim.byte, rim.closed) == (0, {})


def _resume(bench: Bench, rim: Rim) -> None:
    safe = ["all"] if "safe" in bench.trading.modes.get("all", {}) else []
    for scope in (*bench.trading.kills, *safe):
        bench.tell(ResumeTrading(scope, "healed", "me"))
    while rim.bytes:
        rim.put_byte(bench, None)


def _serve(bench: Bench, venue: Venue, rim: Rim) -> None:
    """Do at once what leaves."""
    for msg in list(rim.take(bench)):
        if isinstance(msg, CancelOrder):
            _cancel(bench, venue, msg)
        elif isinstance(msg, ReplaceOrder):
            venue.got(msg)
            new = msg.create
            done = venue.decide(new.client_order_id, succeeds=True)
            bench.report(venue.creates[msg.old_id], S.CANCELED if done else S.NEW)
            bench.report(new, S.NEW if done else S.REJECTED)
            venue.ended.update({} if done else {new.client_order_id: S.REJECTED})
        else:
            venue.got(msg)
            _place(bench, venue, msg)


def _place(bench: Bench, venue: Venue, create: CreateOrder) -> None:
    assert create.limit_price is not None
    venue.exists[create.client_order_id] = None
    bench.report(create, S.NEW)
    if create.time_in_force == "IOC":
        venue.trade(create, create.order_qty, create.limit_price, bench.now_ns)
        venue.ended[create.client_order_id] = S.FILLED
        bench.report(create, S.FILLED, create.order_qty)


def _cancel(bench: Bench, venue: Venue, msg: CancelOrder) -> None:
    create = venue.creates.get(msg.client_order_id)
    if create is not None and venue.status(create) not in (*TERMINAL, None):
        venue.ended[msg.client_order_id] = S.CANCELED
        bench.report(create, S.CANCELED, venue.cum(create))
    else:
        bench.tell(CancelRejected(ACCOUNT, msg.client_order_id, "unknown order"))


def _judge(bench: Bench, venue: Venue) -> None:
    """I-36: nothing in doubt, books and orders equal the venue's, modes NORMAL where no limit is exceeded."""
    trading = bench.trading
    doubted = [order for order in trading.orders.values() if order.in_doubt is not None]
    assert (doubted, trading.exposure.in_doubt.get(ACCOUNT, 0)) == ([], 0), doubted
    live = [name for name, create in venue.creates.items() if venue.status(create) not in (*TERMINAL, None)]
    assert sorted(trading.orders_live) == sorted(live), (trading.orders_live, live)
    found = {str(asset): qty for asset, qty in trading.ledger.balances[ACCOUNT].items() if qty}
    truth = {asset: qty for asset, qty in venue.wallet.items() if qty}
    assert found == truth, (found, truth)
    assert trading.inferred == {}, trading.inferred
    causes = {
        f"{scope} {cause}": record
        for scope, known in trading.modes.items()
        for cause, record in known.items()
    }
    left = {name: record for name, record in causes.items() if "over limit @" not in name}
    assert (left, trading.kills) == ({}, {}), (left, trading.kills)
