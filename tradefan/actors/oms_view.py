"""What the OMS shows: updates to owners, risk desk and store at the end of a turn, and its view.

Order of telling: risk desk, owner, observers. An update is the whole picture of its subject, so the
newest alone is enough; fills are single facts.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import islice

import msgspec
from msgspec import Struct

from tradefan.actors.oms_gate import mode_shown
from tradefan.actors.oms_state import Counters, Live, ModeNow, OmsState, OmsWiring, Turn
from tradefan.actors.oms_tca_state import AckCounts, CostCounts
from tradefan.core.outbox import creates
from tradefan.core.trading import Trading
from tradefan.core.trading_state import ParentState
from tradefan.core.updates import order_update, parent_update, position_update, tca_update
from tradefan.messages.base import Message
from tradefan.messages.orders import FillUpdate, OrderUpdate, ParentUpdate, Phase, PositionUpdate, Refusal
from tradefan.messages.records import Fill, Kill, ModeChange
from tradefan.messages.tca import Tca, TcaUpdate
from tradefan.units import EXTERNAL, AccountId, Asset, InstrumentId, OwnerId

OPEN_SHOWN = 200
"""Open parents, live orders and positions in a picture: all there usually are; what is beyond is counted."""
PARENTS_SHOWN = 50
"""Parents in a picture, where done ones fill what the open ones leave."""
MODES_SHOWN = 50


class AccountView(Struct, frozen=True):
    """One account; `balances` are the ledger's."""

    account: AccountId
    connected: bool
    ready: bool
    reason: str
    in_doubt: int
    balances: dict[Asset, Decimal]


class OmsView(Struct, frozen=True):
    """The order manager for status and metrics; lists are bounded.

    What is open stands first, the newest of it in front: of parents before those that are done, of orders
    our own before those of others, of positions before what is flat.
    """

    state: str
    mode: ModeNow
    modes: tuple[ModeChange, ...]
    kills: tuple[Kill, ...]
    epoch: int
    lsn: int
    durable_lsn: int
    waiting_creates: int
    accounts: tuple[AccountView, ...]
    parents: tuple[ParentUpdate, ...]
    parents_open: int
    parents_kept: int
    orders: tuple[OrderUpdate, ...]
    orders_open: int
    in_doubt: int
    positions: tuple[PositionUpdate, ...]
    positions_kept: int
    refusals: tuple[Refusal, ...]
    holds: dict[InstrumentId, str]
    fills: int
    last_fills: tuple[Fill, ...]
    unapplied: int
    counters: Counters
    costs: dict[str, dict[InstrumentId, CostCounts]]
    """By algorithm."""
    acks: dict[AccountId, AckCounts]


def publish(turn: Turn) -> None:
    """Tell everybody what this turn changed."""
    positions = [
        position_update(turn.trading, account, owner, instrument)
        for account, owner, instrument in turn.positions
    ]
    known = turn.trading.parents
    lsn = turn.trading.lsn
    parents = [parent_update(known[name], lsn) for name in turn.parents if name in known]
    children = turn.trading.orders
    orders = [order_update(children[name], lsn) for name in turn.orders if name in children]
    owned: list[FillUpdate | PositionUpdate] = [*turn.fills, *positions]
    for news in owned:
        turn.send(turn.wiring.risk_desk, news)
    for news in owned:
        turn.send(turn.wiring.owners.get(news.owner), news)
    for parent in parents:
        turn.send(turn.wiring.owners.get(parent.order.owner), parent)
    everything: list[Message] = [*orders, *owned, *parents, *_costs(turn)]
    for ref in turn.wiring.observers:
        for item in everything:
            turn.send(ref, item)


def _costs(turn: Turn) -> list[TcaUpdate]:
    """Return the analyses that this turn wrote, with the numbers of their records."""
    first = turn.trading.lsn - len(turn.records) + 1
    return [tca_update(one, first + i) for i, one in enumerate(turn.records) if isinstance(one, Tca)]


def positions_of(trading: Trading, owner: OwnerId | None) -> list[PositionUpdate]:
    """Return all positions of an owner, or of all."""
    return [
        position_update(trading, account, name, instrument)
        for account, by_owner in trading.ledger.positions.items()
        for name, by_instrument in by_owner.items()
        if owner in (None, name)
        for instrument in by_instrument
    ]


def oms_view(state: OmsState, wiring: OmsWiring) -> OmsView:
    """Return a bounded picture between steps; it changes nothing."""
    trading, live = state.trading, state.live
    orders = [trading.orders[name] for name in reversed(trading.orders_live)]
    orders.sort(key=lambda order: order.external)
    positions = [item for item in positions_of(trading, None) if item.owner != EXTERNAL or item.qty]
    positions.sort(key=lambda item: not item.qty)
    return OmsView(
        state=_state_word(state, wiring),
        mode=mode_shown(trading),
        modes=tuple(one for causes in trading.modes.values() for one in causes.values())[:MODES_SHOWN],
        kills=tuple(trading.kills.values()),
        epoch=trading.epoch,
        lsn=trading.lsn,
        durable_lsn=live.outbox.durable,
        waiting_creates=len(creates(live.outbox)),
        accounts=tuple(_account_view(state, account) for account in wiring.accounts),
        parents=tuple(map(parent_update, _parents(trading))),
        parents_open=len(trading.parents_open),
        parents_kept=len(trading.parents),
        orders=tuple(map(order_update, orders[:OPEN_SHOWN])),
        orders_open=len(trading.orders_live),
        in_doubt=sum(trading.exposure.in_doubt.values()),
        positions=tuple(positions[:OPEN_SHOWN]),
        positions_kept=len(positions),
        refusals=tuple(reversed(live.refusals)),
        holds=_holds(trading, live),
        fills=trading.fills,
        last_fills=tuple(reversed(live.fills)),
        unapplied=trading.unapplied,
        costs=live.tca.counts,
        acks=live.tca.acks,
        counters=msgspec.structs.replace(live.counters, reasons={**live.counters.reasons}),
    )


def _parents(trading: Trading) -> list[ParentState]:
    """Return the open parents, and the newest done ones where that leaves room: small ones hide no other."""
    shown = [trading.parents[name] for name in islice(reversed(trading.parents_open), OPEN_SHOWN)]
    done = (one for one in reversed(trading.parents.values()) if one.phase is Phase.DONE)
    return [*shown, *islice(done, max(PARENTS_SHOWN - len(shown), 0))]


def _holds(trading: Trading, live: Live) -> dict[InstrumentId, str]:
    """Return why each instrument on hold waits."""
    found = {name: next(iter(why.values())) for name, why in live.holds.items() if why}
    poisoned = {record.instrument: key for key, record in trading.poisons.items() if record.instrument}
    return {**poisoned, **found}


def _account_view(state: OmsState, account: AccountId) -> AccountView:
    here = state.live.accounts.get(account)
    return AccountView(
        account=account,
        connected=here is not None and here.connected,
        ready=here is not None and here.ready,
        reason="not heard of" if here is None else here.reason,
        in_doubt=state.trading.exposure.in_doubt.get(account, 0),
        balances=dict(state.trading.ledger.balances.get(account, {})),
    )


def _state_word(state: OmsState, wiring: OmsWiring) -> str:
    """Return STARTING until the fold is done and every account was reconciled once, then READY."""
    live = state.live
    if live.closing:
        return "STOPPING"
    seen = [here for name in wiring.accounts if (here := live.accounts.get(name)) is not None]
    ready = live.running and len(seen) == len(wiring.accounts) and all(here.announced for here in seen)
    return "READY" if ready else "STARTING"
