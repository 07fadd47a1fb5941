"""The books: what records make of money, positions and reservations is what State says, to the last digit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from tradefan.messages.records import PoisonResolved, Record
from tradefan.sim.checkers.base import OverRecords, oms_of
from tradefan.sim.checkers.money import Costed, Money, Whose
from tradefan.sim.checkers.orders import Orders
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import SECOND, ZERO, AccountId, Asset

K = TypeVar("K", bound=str)
TOLERANCE = Fraction(1, 10**15)
"""The ledger rounds each cost that leaves a position at 20 decimals."""

LAST_LOOK_NS = 5 * SECOND
"""What a stop takes at most from its last look to its exit."""


class _OfMoney(OverRecords):
    """A checker that folds money; `moved` says whether this step moved any."""

    def begin(self) -> None:
        self.money = Money()
        self.moved = False

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self.moved = self.money.take(record) or self.moved
        return None

    def judge(self, seen: Witness) -> Violation | None:
        moved, self.moved = self.moved, False
        return self.compare(seen) if moved and oms_of(seen) is not None else None

    def compare(self, seen: Witness) -> Violation | None:
        """Hold what was folded against State."""
        return None


class ExactLedger(_OfMoney):
    """I-05: per account and asset opening + fills - fees +- transfers, by an own fold; to the last digit.

    T: equal to the balances in State after every step that moved money, and so are the nets of
    instruments and what is `external`. Q: equal to the venue's balances, or to those before the last of our
    trades that nobody could have seen yet: an order that `on_stop: leave` left may fill at the very end.
    Unless a human has dropped a fill: it is missing in the books until a look calls it a transfer.
    """

    invariant: str = "I-05"
    kind: Kind = "T"

    def begin(self) -> None:
        super().begin()
        self._dropped = False

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, PoisonResolved):
            self._dropped = self._dropped or (
                record.verdict == "DROP" and record.fact_key.startswith("fill ")
            )
        return super().take(seen, record)

    def compare(self, seen: Witness) -> Violation | None:
        ledger, money = seen.oms.trading.ledger, self.money
        external = {
            account: {asset: held.qty for asset, held in by_asset.items()}
            for account, by_asset in ledger.external.items()
        }
        pairs: tuple[tuple[str, Mapping[AccountId, Any], Mapping[AccountId, Any]], ...] = (
            ("balances", money.balances, ledger.balances),
            ("nets", money.nets, ledger.nets),
            ("external", money.external, external),
        )
        for what, own, states in pairs:
            for account in dict.fromkeys((*own, *states)):
                here, there = _filled(own.get(account, {})), _filled(states.get(account, {}))
                if here != there:
                    return self.broken(seen, f"{what} of {account} {here}", there)
        return None

    def at_rest(self, seen: Witness) -> Violation | None:
        broken = self.after_step(seen)
        if broken is not None or self._dropped:
            return broken
        for account in self.money.balances:
            own, venue = _filled(self.money.balances[account]), _filled(seen.venue.balances)
            if own != venue and own not in _shortly_before(seen):
                return self.broken(seen, f"the venue's balances of {account} {venue}", own)
        return None


class SameResult(_OfMoney):
    """I-07: realised result and cost of every position, folded from the journal at average cost, are live's.

    The quantity exactly; realised - cost = the sum of its cash flows, and the result itself, within 1e-15,
    since the ledger rounds what a reduction takes out, and averages at which humans assign have no end.
    The unrealised result at any mark follows from quantity and cost.
    """

    invariant: str = "I-07"
    kind: Kind = "T"

    def begin(self) -> None:
        super().begin()
        self.money = Money(Costed)
        self._flows: dict[Whose, Decimal] = {}

    def compare(self, seen: Witness) -> Violation | None:
        positions = seen.oms.trading.ledger.positions
        for whose, place in self.money.places.items():
            if not isinstance(place, Costed) or self._flows.get(whose) == place.flow:
                continue
            self._flows[whose] = place.flow
            account, owner, instrument = whose
            held = positions.get(account, {}).get(owner, {}).get(instrument)
            qty, cost, realised = (held.qty, held.cost, held.realised) if held else (ZERO, ZERO, ZERO)
            name = f"{owner} in {instrument}"
            if qty != place.qty or abs(realised - cost - place.flow) > TOLERANCE:
                expected = f"{name} qty {place.qty}, realised - cost {place.flow}"
                return self.broken(seen, expected, f"qty {qty}, realised - cost {realised - cost}")
            if abs(Fraction(realised) - place.realised) > TOLERANCE:
                return self.broken(seen, f"{name} realised {float(place.realised)}", realised)
        return None


class Reserved(OverRecords):
    """I-32: what is reserved of an asset = the sum over orders that may trade, or have unbooked trades.

    An own fold's rests, and what has traded and no fill has told, times what each unit can cost, against
    `Exposure.reserved`; zero where none is.
    """

    invariant: str = "I-32"
    kind: Kind = "T"

    def begin(self) -> None:
        self._orders = Orders()
        self._each: dict[str, Decimal] = {}
        self._sums: dict[tuple[AccountId, Asset], Decimal] = {}
        self._touched: dict[tuple[AccountId, Asset], None] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        child = self._orders.take(record)
        if child is None:
            return None
        name, key, now = child.client_order_id, (child.account, child.asset), child.reserved
        self._sums[key] = self._sums.get(key, ZERO) + now - self._each.get(name, ZERO)
        self._each[name] = now
        self._touched[key] = None
        return None

    def judge(self, seen: Witness) -> Violation | None:
        touched, self._touched = self._touched, {}
        if oms_of(seen) is None:
            return None
        reserved = seen.oms.trading.exposure.reserved
        for account, asset in touched:
            own, state = self._sums[account, asset], reserved.get(account, {}).get(asset, ZERO)
            if own != state:
                return self.broken(seen, f"{own} {asset} of {account} reserved", state)
        return None


def _shortly_before(seen: Witness) -> Iterator[dict[str, Decimal]]:
    """Give the venue's balances before each of our trades since the last look, newest first."""
    balances = dict(seen.venue.balances)
    for trade in reversed(seen.venue.trades):
        if trade.at_ns < seen.now_ns - seen.venue.visible_bound_ns - LAST_LOOK_NS:
            return
        if not trade.ours:
            continue
        base, _, quote = trade.instrument.partition(":")[2].partition("/")
        way = 1 if trade.side == "buy" else -1
        changes = ((base, way * trade.qty), (quote, -way * trade.qty * trade.price))
        for asset, change in (*changes, (trade.fee_asset, -trade.fee)):
            balances[asset] = balances.get(asset, ZERO) - change
        yield _filled(balances)


def _filled(balances: Mapping[K, Decimal]) -> dict[str, Decimal]:
    """Return the entries that are not zero, in the order of their names."""
    return {str(asset): qty for asset, qty in sorted(balances.items()) if qty}
