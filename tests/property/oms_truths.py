"""What must hold of an OMS after every step, recomputed without its own sums."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, ETH
from tradefan.core.exposure import Sides, account_sides, owner_sides, reserved
from tradefan.core.ledger import balance, held_before
from tradefan.core.trading import Trading, apply
from tradefan.messages.orders import Phase
from tradefan.messages.records import (
    Bust,
    Correct,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    ModeChange,
    Opening,
    OwnerState,
    Record,
    Resolved,
    Transfer,
)
from tradefan.units import EXTERNAL, MINUTE, ZERO, Asset, InstrumentId, OwnerId, sign

D = Decimal


class Shadow:
    """The fold of the journal, kept beside the OMS."""

    def __init__(self) -> None:
        """Begin with an empty journal."""
        self.trading = Trading()

    def follow(self, bench: Bench) -> None:
        """I-08: fold what is new; every record could be applied, and the fold is the state."""
        for record in bench.records[self.trading.lsn :]:
            apply(self.trading, record)
        assert self.trading.lsn == len(bench.records)
        assert self.trading.unapplied == 0
        assert self.trading == bench.trading


def exposure_is_that_of_the_orders(trading: Trading) -> None:
    """I-32 and more: by account, by owner, reserved and in doubt, from the orders alone."""
    accounts: dict[InstrumentId, Sides] = {}
    owners: dict[tuple[InstrumentId, OwnerId], Sides] = {}
    held: dict[Asset, Decimal] = {}
    doubts = 0
    for order in trading.orders.values():
        rest = order.leaves_qty if order.live else ZERO
        unbooked = ZERO if order.external else order.cum_qty - order.filled
        kept = (rest + unbooked) * order.reserve_per_unit
        held[order.reserve_asset] = held.get(order.reserve_asset, ZERO) + kept
        doubts += bool(rest) and order.in_doubt is not None
        for sides in (
            accounts.setdefault(order.instrument, Sides()),
            owners.setdefault((order.instrument, order.owner), Sides()),
        ):
            sides.unbooked += unbooked * sign(order.side)
            sides.unbooked_buy += unbooked if order.side == "buy" else ZERO
            field = f"{order.side}_{'doubt' if order.in_doubt else 'working'}"
            setattr(sides, field, getattr(sides, field) + rest)
            notional = f"{order.side}_notional"
            setattr(sides, notional, getattr(sides, notional) + rest * order.reserve_px)
    for instrument, sides in accounts.items():
        assert account_sides(trading.exposure, ACCOUNT, instrument) == sides
    for (instrument, owner), sides in owners.items():
        assert owner_sides(trading.exposure, ACCOUNT, instrument, owner) == sides
    for asset, qty in held.items():
        assert reserved(trading.exposure, ACCOUNT, asset) == qty
    assert trading.exposure.in_doubt.get(ACCOUNT, 0) == doubts


def parents_stay_within_their_quantity(trading: Trading, records: list[Record]) -> None:
    """I-03: traded and possible, whatever comes; of a replacement and what it replaces only one can trade.

    A child that was found in spite of the proof (R5) is alarmed instead: its parent had gone on.
    """
    adopted = [
        record.client_order_id
        for record in records
        if isinstance(record, Resolved) and record.verdict == "PLACED"
    ]
    for parent in trading.parents.values():
        if any(name in adopted for name in (*parent.live, *parent.ended)):
            continue
        worst = parent.cum_qty
        for name in parent.live:
            order = trading.orders[name]
            successor = trading.orders.get(order.replaced_by) if order.replaced_by is not None else None
            if successor is None or not successor.live or successor.leaves_qty < order.leaves_qty:
                worst += order.leaves_qty
                worst -= successor.leaves_qty if successor is not None and successor.live else ZERO
        assert worst <= parent.order.order_qty
        if parent.phase is Phase.DONE:
            # Only an order that never was, and then was after all, lives on: on its way to its end.
            assert all(trading.orders[name].cancel_ns is not None for name in parent.live)


def balances_are_those_of_the_records(records: list[Record], trading: Trading) -> None:
    """I-05: opening + fills - fees ± transfers, exact, by a fold that shares no code with the ledger."""
    sums: dict[Asset, Decimal] = {}
    inferred: dict[str, Fill] = {}

    def move(asset: Asset, qty: Decimal) -> None:
        sums[asset] = sums.get(asset, ZERO) + qty

    def book(fill: Fill, times: int = 1) -> None:
        signed = fill.qty * sign(fill.side) * times
        move(fill.base, signed)
        move(fill.quote, -signed * fill.price)
        move(fill.fee_asset, -fill.fee * times)

    for record in records:
        match record:
            case Opening() | Transfer():
                move(record.asset, record.qty)
            case Fill():
                book(record)
            case FillInferred(fill=fill):
                inferred[fill.trade_id] = fill
                book(fill)
            case FillReplaced():
                known = inferred[record.trade_id]
                book(msgspec.structs.replace(known, qty=record.qty, fee=ZERO), -1)
            case Bust(fill=Fill() as fill):
                book(fill, -1)
            case Correct(fill=Fill() as fill):
                book(fill, -1)
                if record.qty:
                    book(msgspec.structs.replace(fill, qty=record.qty, price=record.price))
            case _:
                pass
    found = trading.ledger.balances.get(ACCOUNT, {})
    assert {asset: qty for asset, qty in sums.items() if qty} == {
        asset: qty for asset, qty in found.items() if qty
    }


def owners_add_up_to_the_account(trading: Trading) -> None:
    """I-44: what all owners hold, `external` with its holdings, is what the account holds."""
    for instrument, asset in ((BTC, Asset("BTC")), (ETH, Asset("ETH"))):
        by_owner = trading.ledger.positions.get(ACCOUNT, {})
        positions = sum((one[instrument].qty for one in by_owner.values() if instrument in one), ZERO)
        assert positions + held_before(trading.ledger, ACCOUNT, asset) == balance(
            trading.ledger, ACCOUNT, asset
        )


def trades_are_booked_once(records: list[Record]) -> None:
    """I-06: each (account, instrument, trade id) is one FILL."""
    keys = [(one.account, one.instrument, one.trade_id) for one in records if isinstance(one, Fill)]
    assert len(keys) == len(dict.fromkeys(keys))


def turns_rise(records: list[Record]) -> None:
    """I-43: no turn on record is repeated, none goes back."""
    last: dict[OwnerId, int] = {}
    for record in records:
        if isinstance(record, OwnerState):
            assert record.turn > last.get(record.owner, 0)
            last[record.owner] = record.turn


def modes_do_not_flap(records: list[Record]) -> None:
    """I-38: at most six changes a minute of a (scope, cause) that the OMS decides about."""
    changes: dict[tuple[str, str], list[int]] = {}
    for record in records:
        if isinstance(record, ModeChange) and record.cause != "test":
            changes.setdefault((record.scope, record.cause), []).append(record.at_ns)
    for key, instants in changes.items():
        for first, seventh in zip(instants, instants[6:], strict=False):
            assert seventh - first > MINUTE, key


def nothing_is_beyond_its_limit_unnoticed(bench: Bench, limit: Decimal) -> None:
    """I-11: the worst case is inside, or REDUCE_ONLY holds since the step that learned it."""
    trading = bench.trading
    for instrument, asset in ((BTC, Asset("BTC")), (ETH, Asset("ETH"))):
        sides = account_sides(trading.exposure, ACCOUNT, instrument)
        qty = balance(trading.ledger, ACCOUNT, asset) + sides.unbooked
        worst = max(abs(qty + sides.buy_qty), abs(qty - sides.sell_qty))
        if worst > limit:
            causes = trading.modes.get(instrument, {})
            assert any(one.startswith("over limit @") for one in causes), (worst, limit)


def nobody_draws_on_external(records: list[Record]) -> None:
    """I-44: no order of ours is booked to `external`, and none of theirs to an owner."""
    ours = [record.client_order_id for record in records if isinstance(record, Intent)]
    for record in records:
        if isinstance(record, Fill) and record.client_order_id is not None:
            assert (record.owner != EXTERNAL) == (record.client_order_id in ours)


def waiting_wishes_wait_for_somebody(bench: Bench) -> None:
    """A target waits only while a parent of its place is ending, or its owner has to hear of its loss."""
    for place, waiting in bench.trading.wishes.items():
        if place in bench.oms.state.live.lost_wishes:
            continue
        open_ = [bench.trading.parents[name] for name in bench.trading.parents_open]
        places = [(one.order.instrument, one.order.owner) for one in open_]
        assert (waiting.instrument, waiting.owner) in places
