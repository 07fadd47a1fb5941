"""The analysis of costs, against the journal's own fills."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.messages.orders import Phase
from tradefan.messages.records import (
    Bust,
    Correct,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    Parent,
    PhaseChange,
    Record,
)
from tradefan.messages.tca import Costs, Tca
from tradefan.sim.checkers.base import OverRecords
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import ZERO


class _Sums:
    """What a parent has traded: quantity, quantity x price, and fees in its quote asset."""

    def __init__(self) -> None:
        self.qty = self.value = self.fees = ZERO
        self.unknown = ZERO
        """Quantity whose fee has no price, or nobody has told."""

    def add(self, fill: Fill, qty: Decimal, price: Decimal, *, told: bool) -> None:
        """Add a fill or a part of one; what is taken back is below zero."""
        self.qty, self.value = self.qty + qty, self.value + qty * price
        fee: Decimal | None = fill.fee if abs(qty) == fill.qty else fill.fee * abs(qty) / fill.qty
        if fee and fill.fee_asset != fill.quote:
            fee = None if fill.fee_px is None else fee * fill.fee_px
        if fee is None or not told:
            self.unknown += qty
        else:
            self.fees += fee if qty > 0 else -fee


class CostsTold(OverRecords):
    """TCA: in the step in which a parent ends, or an ended one's fills change, its costs are on record.

    They have the quantity, the average price and the fees that the journal's fills add up to; fees are
    unknown exactly where one of them has no price, or was inferred.
    """

    invariant: str = "TCA"
    kind: Kind = "T"

    def begin(self) -> None:
        self._parents: dict[str, _Sums] = {}
        self._orders: dict[str, str] = {}
        self._inferred: dict[str, tuple[Fill, Decimal]] = {}
        self._done: dict[str, None] = {}
        self._costs: dict[str, Costs] = {}
        self._touched: dict[str, None] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            self._parents[record.order.parent_id] = _Sums()
        elif isinstance(record, Intent) and record.parent_id in self._parents:
            self._orders[record.client_order_id] = record.parent_id
        elif isinstance(record, PhaseChange) and record.phase is Phase.DONE:
            self._done[record.parent_id] = self._touched[record.parent_id] = None
        elif isinstance(record, Tca):
            self._costs[record.parent_id] = record.costs
            self._touched[record.parent_id] = None
        else:
            self._trade(record)
        return None

    def _trade(self, record: Record) -> None:
        if isinstance(record, Fill):
            self._add(record, record.qty, record.price)
        elif isinstance(record, FillInferred):
            self._inferred[record.fill.trade_id] = (record.fill, record.fill.qty)
            self._add(record.fill, record.fill.qty, record.fill.price, told=False)
        elif isinstance(record, FillReplaced) and record.trade_id in self._inferred:
            fill = self._inferred[record.trade_id][0]
            self._add(fill, -record.qty, fill.price, told=False)
        elif isinstance(record, Bust | Correct) and record.fill is not None:
            self._add(record.fill, -record.fill.qty, record.fill.price)
            if isinstance(record, Correct) and record.qty:
                # Its fee stays what the venue said it was, whatever its quantity is now.
                now = replace(record.fill, qty=record.qty, price=record.price)
                self._add(now, now.qty, now.price)

    def _add(self, fill: Fill, qty: Decimal, price: Decimal, *, told: bool = True) -> None:
        name = self._orders.get(fill.client_order_id or "")
        if name is not None:
            self._parents[name].add(fill, qty, price, told=told)
            self._touched[name] = None

    def judge(self, seen: Witness) -> Violation | None:
        for name in self._touched:
            broken = self._judge(seen, name) if name in self._done else None
            if broken is not None:
                return broken
        self._touched.clear()
        return None

    def _judge(self, seen: Witness, name: str) -> Violation | None:
        costs, sums = self._costs.get(name), self._parents.get(name)
        if sums is None:
            return None
        if costs is None:
            return self.broken(seen, f"the costs of {name}, which has ended", "none")
        avg_px = sums.value / sums.qty if sums.qty else None
        fees = None if sums.unknown else sums.fees
        told, expected = (costs.filled, costs.avg_px, costs.fees), (sums.qty, avg_px, fees)
        if told != expected:
            return self.broken(seen, f"quantity, price and fees {expected} of {name}", told)
        return None
