"""The books: what records make of money, positions and reservations is what State says, to the last digit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from tradefan.messages.records import (
    Bust,
    Correct,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    Opening,
    PoisonResolved,
    Record,
    Transfer,
)
from tradefan.sim.checkers.base import LAST_LOOK_NS, OverRecords, oms_of
from tradefan.sim.checkers.money import Costed, Money, Whose
from tradefan.sim.checkers.orders import Orders
from tradefan.sim.witness import Kind, VenueTrade, Violation, Witness
from tradefan.units import ZERO, AccountId, Asset, sign

K = TypeVar("K", bound=str)
TOLERANCE = Fraction(1, 10**15)
"""The ledger rounds each cost that leaves a position at 20 decimals."""


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


class OthersMoney(OverRecords):
    """I-05: a TRANSFER books what came or went without a trade of ours.

    Looked at when all is over: what opening, transfers and trades of others have come to behind each TRANSFER
    is what they had come to at the venue at some time. Unless a trade was revised, a human dropped one, or
    some were only inferred then; a third asset that fees are taken in, and a liar's balances, do not count.
    """

    invariant: str = "I-05"
    kind: Kind = "Q"

    def begin(self) -> None:
        self._ours: dict[str, None] = {}
        self._others: dict[str, Decimal] = {}
        self._inferred: dict[str, Decimal] = {}
        self._told: list[tuple[str, Decimal, Decimal]] = []
        """Asset and quantity of each TRANSFER, and what was there of others behind it."""
        self._exempt = False

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Intent):
            self._ours[record.client_order_id] = None
        elif isinstance(record, Opening | Transfer):
            self._add(record.asset, record.qty)
            if isinstance(record, Transfer) and not any(self._inferred.values()):
                self._told.append((record.asset, record.qty, self._others[record.asset]))
        elif isinstance(record, Fill) and record.client_order_id not in self._ours:
            for asset, change in _moves(record, record.base, record.quote):
                self._add(asset, change)
        elif isinstance(record, FillInferred):
            self._inferred[record.fill.trade_id] = record.fill.qty
        elif isinstance(record, FillReplaced):
            self._inferred[record.trade_id] = self._inferred.get(record.trade_id, ZERO) - record.qty
        elif isinstance(record, Bust | Correct | PoisonResolved):
            self._exempt = True
        return None

    def _add(self, asset: str, change: Decimal) -> None:
        self._others[asset] = self._others.get(asset, ZERO) + change

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        revised = any(event.what in ("bust", "correct") for event in seen.venue.log)
        if self._exempt or revised or not seen.venue.honest:
            return None
        ever = _ever_of_others(seen)
        for asset, qty, others in self._told:
            if others not in ever.get(asset, {others: None}):
                expected = f"{asset} of others, at some time one of {list(map(str, ever[asset]))}"
                return self.broken(seen, expected, f"{others} behind a TRANSFER of {qty}")
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
        for asset, change in _moves(trade, *_assets(trade)):
            balances[asset] = balances.get(asset, ZERO) - change
        yield _filled(balances)


def _ever_of_others(seen: Witness) -> dict[str, dict[Decimal, None]]:
    """Return by asset all that was ever there besides our own trades; not of a third one for fees."""
    now, third = dict(seen.venue.balances), dict[str, None]()
    for trade in (one for one in seen.venue.trades if one.ours):
        for asset, change in _moves(trade, *_assets(trade)):
            now[asset] = now.get(asset, ZERO) - change
        third.update({} if trade.fee_asset in _assets(trade) else {trade.fee_asset: None})
    moves = [(one.at_ns, one.text, one.qty) for one in seen.venue.log if one.what == "transfer"]
    for trade in (one for one in seen.venue.trades if not one.ours):
        moves += [(trade.at_ns, *move) for move in _moves(trade, *_assets(trade))]
    ever = {asset: {qty: None} for asset, qty in now.items() if asset not in third}
    for _, asset, change in sorted(moves, reverse=True):
        now[asset] = now.get(asset, ZERO) - change
        if asset not in third:
            ever.setdefault(asset, {})[now[asset]] = None
    return ever


def _assets(trade: VenueTrade) -> tuple[str, str]:
    base, _, quote = trade.instrument.partition(":")[2].partition("/")
    return base, quote


def _moves(trade: VenueTrade | Fill, base: str, quote: str) -> tuple[tuple[str, Decimal], ...]:
    """Return what a trade has moved of which asset."""
    signed = sign(trade.side) * trade.qty
    return (base, signed), (quote, -signed * trade.price), (trade.fee_asset, -trade.fee)


def _filled(balances: Mapping[K, Decimal]) -> dict[str, Decimal]:
    """Return the entries that are not zero, in the order of their names."""
    return {str(asset): qty for asset, qty in sorted(balances.items()) if qty}
