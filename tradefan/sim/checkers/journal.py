"""The journal: its fold is State, its turns are whole, the store is its projection."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tradefan.core.trading import Trading, apply
from tradefan.messages.contingent import GroupEnding
from tradefan.messages.orders import FillUpdate, Phase
from tradefan.messages.records import (
    Bust,
    Correct,
    Epoch,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    OwnerState,
    Parent,
    PhaseChange,
    Record,
    Waiting,
)
from tradefan.sim.checkers.base import Newer, OverRecords, oms_of
from tradefan.sim.witness import Kind, StoreTruth, Violation, Witness
from tradefan.units import ZERO, sign

EVERY_STEPS = 100
EVERY_LOOKS = 20
LARGE = ("orders", "parents", "recent_fills")
STORE_MAX = 100_000
_encode = msgspec.msgpack.Encoder().encode


class SameFold(OverRecords):
    """I-08: State is the fold of the records; what was acknowledged survives every crash.

    The fold is `core/trading.apply` itself: what is checked is that nothing else changes State, and that
    journal, snapshot and restart lose and invent nothing. Looked at in the first step with records 100 or
    more behind the last look: all but what ended before it and was not recorded since. The whole, byte for
    byte, at every twentieth of these looks, at rest, and whenever a journal was folded, before the venue
    is asked.
    """

    invariant: str = "I-08"
    kind: Kind = "T"

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self._kernel: Any = None
        self._next_step = self._looks = 0

    def begin(self) -> None:
        self._fold = Trading()
        self._touched: dict[str, None] = {}
        """Orders and parents that were recorded since the last look."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        apply(self._fold, record)
        for field in ("client_order_id", "parent_id"):
            name = getattr(record, field, None)
            if name is not None:
                self._touched[name] = None
        return None

    def judge(self, seen: Witness) -> Violation | None:
        kernel = seen.kernel
        if kernel is None or (kernel is self._kernel and kernel.state.steps < self._next_step):
            return None
        self._kernel, self._next_step = kernel, kernel.state.steps + EVERY_STEPS
        self._looks += 1
        return self._compare(seen, whole=self._looks % EVERY_LOOKS == 1)

    def at_start(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        for index, (acknowledged, found) in enumerate(zip(seen.acknowledged, seen.records, strict=False)):
            if acknowledged != found:
                return self.broken(seen, f"lsn {index + 1} as it was acknowledged {acknowledged}", found)
        if len(seen.records) < len(seen.acknowledged):
            return self.broken(seen, f"{len(seen.acknowledged)} acknowledged records", len(seen.records))
        return self._compare(seen)

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        return self._compare(seen)

    def _compare(self, seen: Witness, *, whole: bool = True) -> Violation | None:
        if oms_of(seen) is None:
            return None
        state = seen.oms.trading
        if _encode(self._fold) == _encode(state) if whole else self._same(state):
            return None
        for name in Trading.__struct_fields__:
            folded, found = getattr(self._fold, name), getattr(state, name)
            if _encode(folded) != _encode(found):
                key, one, other = _first_difference(folded, found)
                return self.broken(seen, f"the fold's {name}{key} {one}", f"State's {other}")
        return self.broken(seen, "the fold of all records", "another State")

    def _same(self, state: Trading) -> bool:
        """Say whether State equals the fold in all that may have changed since the last look."""
        fold, touched = self._fold, self._touched
        self._touched = {}
        small = (name for name in Trading.__struct_fields__ if name not in LARGE)
        if any(getattr(fold, name) != getattr(state, name) for name in small):
            return False
        pairs: tuple[tuple[dict[Any, Any], dict[Any, Any], dict[Any, None]], ...] = (
            (fold.orders, state.orders, fold.orders_live),
            (fold.parents, state.parents, fold.parents_open),
        )
        return all(
            one.get(name) == other.get(name) for one, other, live in pairs for name in (*live, *touched)
        )


def _first_difference(one: Any, other: Any) -> tuple[str, Any, Any]:  # noqa: ANN401 whatever State holds
    """Return the first entry of two maps that differs, or the two values themselves."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in (*one, *other):
            if one.get(key) != other.get(key):
                deeper, left, right = _first_difference(one.get(key), other.get(key))
                return f"[{key}]{deeper}", left, right
        return " in the order of", list(one), list(other)
    return "", one, other


class WholeTurns(OverRecords):
    """I-43: a turn's OWNER_STATE and its PARENTs are durable together or not at all; no turn comes twice.

    A plain PARENT of a strategy stands in the Append of an OWNER_STATE of its owner (a target's may
    come later, when it has waited, and what a group is brought to nothing by is nobody's wish: the same
    Append says so); no Append is torn by a crash; an owner's turn numbers rise.
    So is a wish that waits: the Append that ends a parent for a newer target has the parent's whole end, or
    the wish. No PARENT comes of a wish from before a start of the process, and it goes only in the Append
    of a later turn of its owner, who has been told.
    """

    invariant: str = "I-43"
    kind: Kind = "T"

    def __init__(self) -> None:
        """Begin with nothing written."""
        super().__init__()
        self._appends = Newer()
        self._ends: dict[int, None] = {0: None}
        self._newest = 0

    def begin(self) -> None:
        self._turns: dict[str, int] = {}
        self._places: dict[str, tuple[str, str, str]] = {}
        """By parent."""
        self._wishes: dict[tuple[str, str, str], tuple[str, bool]] = {}
        """By place the ref of a wish that waits, and whether a start of the process has come since."""
        self._gone: dict[int, None] = {}
        """Where the journal ends the wait of such a wish."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            return self._on_parent(seen, record)
        if isinstance(record, Epoch) and not record.restart:
            self._wishes = {place: (ref, True) for place, (ref, _) in self._wishes.items()}
        elif isinstance(record, Waiting):
            self._on_waiting(record)
        return self._on_state(seen, record) if isinstance(record, OwnerState) else None

    def _on_parent(self, seen: Witness, record: Parent) -> Violation | None:
        order = record.order
        place = self._places[order.parent_id] = (order.account, order.instrument, order.owner)
        ref, old = self._wishes.get(place, ("", False))
        if record.target_qty is None or place not in self._wishes or ref != order.ref:
            return None
        del self._wishes[place]
        if not old:
            return None
        return self.broken(seen, f"{ref} of {order.owner} told as lost behind a start", order.parent_id)

    def _on_waiting(self, record: Waiting) -> None:
        place = (record.account, record.instrument, record.owner)
        _, old = self._wishes.pop(place, ("", False))
        if record.wish is not None:
            self._wishes[place] = (record.wish.ref, False)
        elif old:
            self._gone[self.lsn] = None

    def _on_state(self, seen: Witness, record: OwnerState) -> Violation | None:
        before = self._turns.get(record.owner, 0)
        self._turns[record.owner] = record.turn
        if record.turn > before:
            return None
        return self.broken(seen, f"a turn of {record.owner} behind {before}", record.turn)

    def judge(self, seen: Witness) -> Violation | None:
        for first, last in self._appends.of(seen.appends):
            records = seen.records[first - 1 : last]
            broken = (
                self._torn(seen, first, last)
                or self._apart(seen, records)
                or self._unkept(seen, records)
                or self._untold(seen, first, records)
            )
            if broken is not None:
                return broken
        return None

    def _torn(self, seen: Witness, first: int, last: int) -> Violation | None:
        """Hold what a crash left against the ends of the Appends before it."""
        left = first - 1
        if left not in self._ends:
            return self.broken(seen, "an Append behind whole Appends", f"one from lsn {first} on")
        if left != self._newest:
            self._ends = {end: None for end in self._ends if end <= left}
        self._ends[last], self._newest = None, last
        return None

    def _apart(self, seen: Witness, records: list[Record]) -> Violation | None:
        turned = {record.owner: None for record in records if isinstance(record, OwnerState)}
        flat = {record.flat: None for record in records if isinstance(record, GroupEnding)}
        for record in records:
            if not isinstance(record, Parent) or record.target_qty is not None:
                continue
            owner = record.order.owner
            if record.order.parent_id in flat:
                continue
            if owner in seen.config.strategies and owner not in turned:
                expected = f"an OWNER_STATE of {owner} in the Append of {record.order.parent_id}"
                return self.broken(seen, expected, "none")
        return None

    def _unkept(self, seen: Witness, records: list[Record]) -> Violation | None:
        """Hold each parent that ends for a newer target against that target."""
        ending: dict[tuple[str, str, str], str] = {}
        for record in records:
            if isinstance(record, PhaseChange) and record.parent_id in self._places:
                place = self._places[record.parent_id]
                if record.phase is Phase.COMPLETING and record.reason == "new_target":
                    ending[place] = record.parent_id
                elif record.phase is Phase.DONE and ending.get(place) == record.parent_id:
                    del ending[place]
            elif isinstance(record, Waiting) and record.wish is not None:
                ending.pop((record.account, record.instrument, record.owner), None)
        for place, name in ending.items():
            return self.broken(seen, f"a WAITING of {' '.join(place)} in the Append that ends {name}", "none")
        return None

    def _untold(self, seen: Witness, first: int, records: list[Record]) -> Violation | None:
        turned = {record.owner: None for record in records if isinstance(record, OwnerState)}
        for lsn, record in enumerate(records, first):
            if lsn not in self._gone or not isinstance(record, Waiting):
                continue
            if record.owner in seen.config.strategies and record.owner not in turned:
                expected = f"an OWNER_STATE of {record.owner} with the end of its wish from before a start"
                return self.broken(seen, expected, f"none at lsn {lsn}")
        return None


class StoreFollows(OverRecords):
    """I-24: at rest the store is the journal's projection up to `applied_lsn`, and that is behind every fill.

    Each FILL is in it once, with its lsn, quantity, price and fee; what else is in it tells of
    an inferred fill, or takes one back, and names the lsn of the record that does; all of them together
    are what owners have traded of each instrument. Each order that State knows is in it as it is now, and
    none is in it that no record began.
    """

    invariant: str = "I-24"
    kind: Kind = "Q"

    def begin(self) -> None:
        self._fills: dict[tuple[str, str, str], tuple[int, Fill]] = {}
        self._others: dict[int, None] = {}
        self._inferred: dict[str, Fill] = {}
        self._sums: dict[tuple[str, str], Decimal] = {}
        """What each owner has traded of each instrument, signed."""
        self._newest = 0
        self._orders: dict[str, None] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Fill):
            self._fills[record.account, record.instrument, record.trade_id] = (self.lsn, record)
            self._add(record, record.qty)
        elif isinstance(record, FillInferred):
            self._inferred[record.fill.trade_id] = record.fill
            self._add(record.fill, record.fill.qty)
        elif isinstance(record, FillReplaced):
            self._add(self._inferred.get(record.trade_id), -record.qty)
        elif isinstance(record, Bust | Correct) and record.fill is not None:
            now = record.qty if isinstance(record, Correct) else ZERO
            self._add(record.fill, now - record.fill.qty)
        elif isinstance(record, Intent | ExternalOrder):
            self._orders[record.client_order_id] = None
        if isinstance(record, FillInferred | FillReplaced | Bust | Correct):
            self._others[self.lsn] = None
        return None

    def _add(self, fill: Fill | None, qty: Decimal) -> None:
        if fill is not None:
            key = (fill.owner, fill.instrument)
            self._sums[key] = self._sums.get(key, ZERO) + sign(fill.side) * qty
            self._newest = self.lsn

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        if seen.store is None or oms_of(seen) is None:
            return None
        return self._of_fills(seen, seen.store) or self._of_orders(seen, seen.store)

    def _of_fills(self, seen: Witness, store: StoreTruth) -> Violation | None:
        rows = store.fills(limit=STORE_MAX)
        stored: dict[tuple[str, str, str], tuple[Any, ...]] = {
            (row.account, row.instrument, row.trade_id): (row.lsn, row.qty, row.price, row.fee)
            for row in rows
        }
        if store.applied_lsn < self._newest:
            return self.broken(seen, f"the store's place at lsn {self._newest} or behind", store.applied_lsn)
        for key, (lsn, fill) in self._fills.items():
            values = (lsn, fill.qty, fill.price, fill.fee)
            if stored.get(key) != values:
                return self.broken(seen, f"fill {' '.join(key)} stored as {values}", stored.get(key))
        for key, values in stored.items():
            if key not in self._fills and values[0] not in self._others:
                return self.broken(seen, f"no fill {' '.join(key)} in the store", values)
        return self._of_sums(seen, rows)

    def _of_sums(self, seen: Witness, rows: Sequence[FillUpdate]) -> Violation | None:
        sums: dict[tuple[str, str], Decimal] = {}
        for row in rows:
            whose = (row.owner, row.instrument)
            sums[whose] = sums.get(whose, ZERO) + sign(row.side) * row.qty
        for key in dict.fromkeys((*self._sums, *sums)):
            own, found = self._sums.get(key, ZERO), sums.get(key, ZERO)
            if own != found:
                return self.broken(seen, f"{' '.join(key)} traded {own} in the store", found)
        return None

    def _of_orders(self, seen: Witness, store: StoreTruth) -> Violation | None:
        stored = {
            row.client_order_id: (str(row.status), row.cum_qty) for row in store.orders(limit=STORE_MAX)
        }
        for name, order in seen.oms.trading.orders.items():
            state = (str(order.status), order.cum_qty)
            if stored.get(name) != state:
                return self.broken(seen, f"order {name} stored as {state}", stored.get(name))
        for name, found in stored.items():
            if name not in self._orders:
                return self.broken(seen, f"no order {name} in the store", found)
        return None
