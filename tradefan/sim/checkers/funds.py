"""What a create may draw on when it is approved: free funds, and of its owner's own."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

from tradefan.config.schema import AccountConfig
from tradefan.messages.records import FillInferred, Intent, Record, Transfer
from tradefan.sim.checkers.base import Newer, OverRecords, Source, oms_of
from tradefan.sim.checkers.modes import Modes
from tradefan.sim.checkers.money import Money, Whose
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import EXTERNAL, MINUTE, SECOND, ZERO, AccountId, Asset, InstrumentId, OwnerId

HUMANS = ("api", "cli")
"""They may sell what the account held before, as long as no other human has sold it."""
HOLD_NS = 30 * SECOND
LATE_MIN_NS = 10 * MINUTE
K = TypeVar("K")


class WithinFree(OverRecords):
    """I-33: with a create that is approved, what is reserved of its asset stays within the balance.

    Both by own folds, at the place of the INTENT among the records; the balance is what the venue
    reported, as opening, fills and transfers have booked it. Of a replacement's two orders one is real.
    """

    invariant: str = "I-33"
    kind: Kind = "T"

    def begin(self) -> None:
        self._orders, self._money = Orders(), Money()
        self._each: dict[str, Decimal] = {}
        self._sums: dict[tuple[AccountId, Asset], Decimal] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._money.take(record)
        child = self._orders.take(record)
        if child is None:
            return None
        name, key, now = child.client_order_id, (child.account, child.asset), child.reserved
        before, self._each[name] = self._each.get(name, ZERO), now
        self._sums[key] = self._sums.get(key, ZERO) + now - before
        return self._judge(seen, record, key) if isinstance(record, Intent) else None

    def _judge(self, seen: Witness, record: Intent, key: tuple[AccountId, Asset]) -> Violation | None:
        account, asset = key
        reserved, balance = self._sums[key], self._money.balance(account, asset)
        if record.replaces is not None:
            reserved -= self._each.get(record.replaces, ZERO)
        if reserved <= balance:
            return None
        expected = f"at most {balance} {asset} of {account} reserved with {record.client_order_id}"
        return self.broken(seen, expected, reserved)


class OwnFunds(OverRecords):
    """I-44: an account's position is the sum over its owners, and no sale draws on another owner.

    T: at each INTENT of a sale, what its owner holds by its own fills, less what it already has on sale,
    covers it; to a human's is added what `external` holds and no other human is short in. Of what was
    bought and has no trade yet, inferred or not, the largest fee counts as paid in what was bought, while
    its trade may still come.
    Q: the account's net in State = the sum of its owners'.
    """

    invariant: str = "I-44"
    kind: Kind = "T"

    def begin(self) -> None:
        self._orders, self._money = Orders(), Money()
        self._open: dict[Whose, dict[str, Child]] = {}
        self._told: dict[str, tuple[int, int]] = {}
        """When a trade was inferred, by the clock of that life and in the world's time."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._money.take(record)
        self._now = (record.at_ns, self.true_ns(seen, record.at_ns))
        if isinstance(record, FillInferred):
            self._told[record.fill.trade_id] = self._now
        child = self._orders.take(record)
        if child is None:
            return None
        whose = (child.account, child.owner, child.instrument)
        open_here = self._open.setdefault(whose, {})
        broken = None
        if isinstance(record, Intent) and child.side == "sell":
            broken = self._covered(seen, record, whose)
        open_here[child.client_order_id] = child
        if not child.rest and child.cum <= child.filled:
            del open_here[child.client_order_id]
        return broken

    def _covered(self, seen: Witness, record: Intent, whose: Whose) -> Violation | None:
        """Hold a sale against what its owner has left, and a human's against what `external` has, too."""
        free = self._left(seen, whose, record.replaces)
        if record.owner in HUMANS:
            free += max(self._external(seen, record), ZERO)
        if record.order_qty <= free:
            return None
        name = f"{record.owner} in {record.instrument}"
        return self.broken(
            seen, f"{name} to sell at most {free}", f"{record.client_order_id} {record.order_qty}"
        )

    def _left(self, seen: Witness, whose: Whose, replaced: str | None = None) -> Decimal:
        """Return the position with what has traded and is not booked, without what is on sale."""
        free = self._money.place(*whose).qty
        for child in self._open.get(whose, {}).values():
            unbooked = child.cum - child.filled
            free += unbooked if child.side == "buy" else -unbooked
            if child.side == "sell" and child.client_order_id != replaced:
                free -= child.rest
        return free - self._fee(seen, whose)

    def _external(self, seen: Witness, record: Intent) -> Decimal:
        """Return what `external` holds of what is sold, without what other humans owe it."""
        account, instrument = record.account, record.instrument
        held = self._money.external.get(account, {}).get(record.reserve_asset, ZERO)
        held += self._money.place(account, EXTERNAL, instrument).qty
        others = (OwnerId(name) for name in HUMANS if name != record.owner)
        return held + sum((min(self._left(seen, (account, one, instrument)), ZERO) for one in others), ZERO)

    def _fee(self, seen: Witness, whose: Whose) -> Decimal:
        """Return the most that trades which are still to come may cost of what they bought."""
        account = seen.config.accounts.get(whose[0], AccountConfig())
        bps = max(account.maker_fee_bps, account.taker_fee_bps, ZERO)
        late_ns = max(LATE_MIN_NS, account.late_fill_bound + account.visible_bound)
        bought = [
            child.cum - child.filled for child in self._open.get(whose, {}).values() if child.side == "buy"
        ]
        bought += [
            fill.qty
            for name, fill in self._money.inferred.items()
            if fill.side == "buy"
            and (fill.account, fill.owner, fill.instrument) == whose
            # A later life whose clock went ahead may take it for late, and so may one that knows the time.
            and all(now - then < late_ns for now, then in zip(self._now, self._told[name], strict=True))
        ]
        return sum(bought, ZERO) * bps / 10_000

    def at_rest(self, seen: Witness) -> Violation | None:
        if oms_of(seen) is None:
            return self.broken(seen, "an order manager that runs", None)
        ledger = seen.oms.trading.ledger
        for account, nets in ledger.nets.items():
            for instrument, net in nets.items():
                held = ledger.positions.get(account, {}).values()
                total = sum((one[instrument].qty for one in held if instrument in one), ZERO)
                if total != net:
                    return self.broken(seen, f"{account} {instrument} net {net}", f"its owners' sum {total}")
        return None


class EqualBooks(OverRecords):
    """I-45: the risk desk's own book is what the records make of positions and balances.

    The desk keeps its book from fills that it is told. T: positions that differ for 30 s, for whatever
    reason, have their instrument on hold (CANCEL_ONLY or tighter), or its account: one that is not
    reconciled yet tells no book, so the 30 s begin when it is. Q: at rest positions of all owners and assets
    of all accounts are equal, but for the transfers of the last 30 s: the desk hears of these when it
    compares the next time.
    """

    invariant: str = "I-45"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("records", "faults")

    def __init__(self) -> None:
        """Begin without a fault."""
        super().__init__()
        self._faults = Newer()

    def begin(self) -> None:
        self._money = Money()
        self._modes = Modes()
        self._moved = False
        self._transfers: list[tuple[int, Transfer]] = []
        self._apart: dict[InstrumentId, int] = {}
        """Since when the positions of an instrument differ."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._modes.take(record)
        self._moved = self._money.take(record) or self._moved
        if isinstance(record, Transfer):
            self._transfers.append((self.true_ns(seen, record.at_ns), record))
        return None

    def judge(self, seen: Witness) -> Violation | None:
        for fault in self._faults.of(seen.faults):
            self._moved = self._moved or fault.kind == "book_differs"
            if fault.kind == "stall":
                # Nobody looks while the process stands still.
                self._apart = dict.fromkeys(self._apart, seen.now_ns)
        if self._moved or self._apart:
            self._moved = False
            self._note(seen)
        for name, since_ns in tuple(self._apart.items()):
            scopes = (name, *(seen.desk.accounts if seen.desk is not None else ()), "all")
            if self._modes.at_least("CANCEL_ONLY", scopes):
                self._apart[name] = seen.now_ns
            elif seen.now_ns > since_ns + HOLD_NS:
                expected = f"{name} on hold: two books have differed since {since_ns} ns"
                return self.broken(seen, expected, f"modes {self._modes.of(scopes)}")
        self._come_back()
        return None

    def _come_back(self) -> None:
        self.due_ns = min(self._apart.values()) + HOLD_NS + 1 if self._apart else None

    def _note(self, seen: Witness) -> None:
        """Remember which instruments differ now, and since when; without two books none does."""
        known, self._apart = self._apart, {}
        if oms_of(seen) is not None and seen.desk is not None:
            for account, one in seen.desk.accounts.items():
                for (_, name), *_ in _differ(self._held(account), _flat(one)) if one.book else ():
                    self._apart[name] = known.get(name, seen.now_ns)
        self._come_back()

    def _unseen(self, seen: Witness, account: AccountId, qty: Decimal) -> list[Asset]:
        """Return the assets of which the newest transfers, all within 30 s, come to a quantity."""
        found, sums = [], dict[Asset, Decimal]()
        for at_ns, one in reversed(self._transfers):
            if one.account == account and seen.now_ns - at_ns <= HOLD_NS:
                sums[one.asset] = sums.get(one.asset, ZERO) + one.qty
                if sums[one.asset] == qty:
                    found.append(one.asset)
        return found

    def _held(self, account: AccountId) -> dict[tuple[OwnerId, InstrumentId], Decimal]:
        places = self._money.places.items()
        return {(owner, name): place.qty for (of, owner, name), place in places if of == account}

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        if seen.desk is None:
            return self.broken(seen, "a risk desk", None)
        for account, one in seen.desk.accounts.items():
            if one.book is None:
                return self.broken(seen, f"the desk's book of {account}", None)
            for key, ours, desks in (
                *_differ(self._held(account), _flat(one)),
                *_differ(self._money.balances.get(account, {}), one.book.assets),
            ):
                if key in self._unseen(seen, account, ours - desks):
                    continue
                return self.broken(seen, f"{account} {key} {ours}", f"{desks} in the desk's book")
        return None


def _flat(account: Any) -> dict[tuple[OwnerId, InstrumentId], Decimal]:  # noqa: ANN401 of the desk's State
    held = account.book.held.items()
    return {(owner, name): qty for owner, by_name in held for name, qty in by_name.items()}


def _differ(ours: dict[K, Decimal], desks: dict[K, Decimal]) -> list[tuple[K, Decimal, Decimal]]:
    """Return key and both values where two books differ."""
    keys = dict.fromkeys((*ours, *desks))
    pairs = ((key, ours.get(key, ZERO), desks.get(key, ZERO)) for key in keys)
    return [(key, one, other) for key, one, other in pairs if one != other]
