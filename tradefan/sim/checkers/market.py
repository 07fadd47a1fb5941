"""What an INTENT was decided on: a fresh reference, a price within band and collar, rules that hold."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tradefan.config.schema import Config
from tradefan.messages.contingent import Amend
from tradefan.messages.orders import ParentOrder
from tradefan.messages.records import (
    Epoch,
    Intent,
    Parent,
    Record,
    Report,
)
from tradefan.messages.work import (
    Decision,
)
from tradefan.sim.checkers.base import Newer, OverRecords, Source
from tradefan.sim.market_faults import LASTS_MS
from tradefan.sim.witness import Kind, VenueEvent, Violation, Witness
from tradefan.units import MS, SECOND, InstrumentId

TRUSTED = ("LIVE", "SUSPECT")
"""A passive order may be placed on a SUSPECT feed, one that takes only on a LIVE one."""
COLLAR_BPS = Decimal(50)
"""Where a parent's settings name none (EXECUTION.md part 3)."""
WIDE_COLLAR_BPS = Decimal(200)
WAITS = ("stop", "stop_limit", "take_profit", "trailing")
"""Algorithms whose market orders a trigger fires."""
AT_END = "at_end"
"""The reason of a clip behind the end; said here again: the judge does not follow the product."""
REREAD_NS = 60 * SECOND
"""How long after a reject by a filter the rules may take to be read again."""
UNREAD = ("market_refused", "market_disconnect")
"""Faults of the market that keep rules from being read."""
UNHEARD_MAX = 20
"""So many orders in a row may be rejected behind a change without that a report of one arrives."""
_BPS = Decimal(10_000)
_FILTERS = ("PRICE_FILTER", "LOT_SIZE", "NOTIONAL")


class FreshReference(OverRecords):
    """I-12: no INTENT from a reference that is too old, STALE, BLIND or UNTRUSTED.

    What it says of itself keeps `risk.reference_age_max` of its own config, LIVE for IOC and FOK; and
    its age is at least what has passed since the market last showed a price of the instrument.
    """

    invariant: str = "I-12"
    kind: Kind = "T"

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if not isinstance(record, Intent):
            return None
        name, age_ns, most_ns = record.client_order_id, record.reference_age_ns, _risk(seen, record)
        if age_ns > most_ns.reference_age_max:
            return self.broken(
                seen, f"a reference of {name} up to {most_ns.reference_age_max} ns old", age_ns
            )
        wanted = TRUSTED if record.time_in_force == "GTC" else TRUSTED[:1]
        if record.reference_quality not in wanted:
            return self.broken(seen, f"a {' or '.join(wanted)} feed for {name}", record.reference_quality)
        if not seen.heard:
            return None
        heard_ns = seen.heard.get(record.instrument)
        if heard_ns is None:
            return self.broken(seen, f"a price of {record.instrument} before {name}", "none was ever shown")
        silent_ns = self.true_ns(seen, record.at_ns) - heard_ns
        if age_ns < silent_ns:
            return self.broken(seen, f"a reference of {name} at least {silent_ns} ns old", f"{age_ns} ns")
        return None


class WithinCollar(OverRecords):
    """I-13: no price beyond the band of its config, beyond its collar, or beyond its parent's limit.

    The band is `risk.price_band_bps` around the reference on the side that loses money; the collar itself
    lies within the parent's `collar_bps` of the reference, its wide one behind its end where it says so and
    for what a trigger has fired, and stands where the parent has no limit.
    """

    invariant: str = "I-13"
    kind: Kind = "T"

    def begin(self) -> None:
        self._parents: dict[str, ParentOrder] = {}
        self._at_end: dict[str, bool] = {}
        """Whether the newest clip of a parent is worked behind its end."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Parent):
            self._parents[record.order.parent_id] = record.order
        if isinstance(record, Amend) and record.limit_price is not None:
            known = self._parents.get(record.parent_id)
            if known is not None:
                self._parents[record.parent_id] = replace(known, limit_price=record.limit_price)
        if isinstance(record, Decision):
            self._at_end[record.parent_id] = record.clip.reason == AT_END
        if not isinstance(record, Intent) or record.limit_price is None:
            return None
        bounds = {"its config's band": self._band(seen, record)}
        parent = self._parents.get(record.parent_id)
        if parent is not None and parent.limit_price is not None:
            bounds["its parent's limit"] = parent.limit_price
        if record.collar_px is not None:
            bounds["its collar"] = record.collar_px
            worst = _away(record, _collar_bps(parent, at_end=self._at_end.get(record.parent_id, False)))
            if _beyond(record, record.collar_px, worst):
                expected = f"a collar of {record.client_order_id} within {worst}"
                return self.broken(seen, expected, record.collar_px)
        elif parent is not None and parent.limit_price is None and "limit_offset_bps" not in parent.settings:
            return self.broken(seen, f"a collar or a limit for {record.client_order_id}", "neither")
        for what, worst in bounds.items():
            if _beyond(record, record.limit_price, worst):
                expected = f"{record.side} of {record.client_order_id} within {what} {worst}"
                return self.broken(seen, expected, record.limit_price)
        return None

    def _band(self, seen: Witness, record: Intent) -> Decimal:
        return _away(record, _risk(seen, record).limits(record.instrument).price_band_bps)


class FittingOrders(OverRecords):
    """I-14: no order breaks a filter of the venue, but those that a change of filters finds on their way.

    On its way is what was decided before the change, or before the rules were read again: 60 s after
    a first reject by a filter was reported in one process, or the market could be asked again.
    A process that began behind the change has read them, and rejects do not go on unheard.
    """

    invariant: str = "I-14"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "venue", "faults")

    def __init__(self) -> None:
        """Begin without a change."""
        super().__init__()
        self._log, self._faults = Newer(), Newer()
        self._made: dict[str, tuple[InstrumentId, int]] = {}
        """Instrument and true instant of each INTENT, also of those that a crash took."""
        self._changed_ns: int | None = None
        self._unread_ns = -REREAD_NS

    def begin(self) -> None:
        self._reported: dict[str, int] = {}
        """When a reject by a filter was first reported of an instrument since the last change of any."""
        self._unheard: dict[str, int] = {}
        """How many orders were rejected since then without that a report came."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Epoch):
            if record.restart == 0:
                # A process begins with the rules that it was wired with; a part of it has to be told.
                self._reported.clear()
                self._unheard.clear()
        elif isinstance(record, Intent):
            made = (record.instrument, self.true_ns(seen, record.at_ns))
            self._made.setdefault(record.client_order_id, made)
        elif isinstance(record, Report) and record.status == "REJECTED" and _by_filter(record.reason):
            known = self._made.get(record.client_order_id)
            if known is not None:
                self._reported.setdefault(known[0], seen.now_ns)
        return None

    def after_step(self, seen: Witness) -> Violation | None:
        for fault in self._faults.of(seen.faults):
            if fault.kind == "filter_change":
                self._changed_ns = fault.at_ns
                self._reported.clear()
                self._unheard.clear()
            elif fault.kind in UNREAD:
                self._unread_ns = fault.at_ns + LASTS_MS.get(fault.kind, (0,))[-1] * MS
        return super().after_step(seen)

    def judge(self, seen: Witness) -> Violation | None:
        for event in self._log.of(seen.venue.log):
            if event.what == "rejected" and _by_filter(event.text):
                broken = self._judge(seen, event)
                if broken is not None:
                    return broken
        return None

    def _judge(self, seen: Witness, event: VenueEvent) -> Violation | None:
        made = self._made.get(event.client_order_id)
        if made is None:
            return None
        name, made_ns = made
        changed_ns, reported_ns = self._changed_ns, self._reported.get(name)
        expected = f"{event.client_order_id} within the filters of {name}"
        if changed_ns is None:
            return self.broken(seen, expected, f"{event.text!r}, and they never changed")
        if made_ns <= changed_ns:
            return None
        if changed_ns < seen.born_ns <= made_ns:
            return self.broken(seen, expected, f"{event.text!r}, by a process that began behind the change")
        if reported_ns is None:
            self._unheard[name] = count = self._unheard.get(name, 0) + 1
            found = f"{event.text!r}, the reject number {count} of which none was reported"
            return self.broken(seen, expected, found) if count > UNHEARD_MAX else None
        if made_ns <= max(reported_ns, self._unread_ns) + REREAD_NS:
            return None
        found = f"{event.text!r}, decided {(made_ns - reported_ns) / SECOND:.1f} s behind the first reject"
        return self.broken(seen, expected, found)


def _risk(seen: Witness, record: Intent) -> Any:  # noqa: ANN401 RiskConfig, of the INTENT's own config
    config: Config = seen.configs.get(record.config_id, seen.config)
    return config.risk


def _collar_bps(parent: ParentOrder | None, *, at_end: bool) -> Decimal:
    if parent is None:
        return COLLAR_BPS
    fired = parent.algo in WAITS and parent.settings.get("then", "market") == "market"
    if fired or (at_end and parent.settings.get("at_end") == "market"):
        return Decimal(str(parent.settings.get("wide_collar_bps", WIDE_COLLAR_BPS)))
    return Decimal(str(parent.settings.get("collar_bps", COLLAR_BPS)))


def _away(record: Intent, bps: Decimal) -> Decimal:
    """Return the price that is so far from the reference on the side that loses money."""
    share = bps / _BPS
    return record.reference_px * (1 + share if record.side == "buy" else 1 - share)


def _beyond(record: Intent, price: Decimal, worst: Decimal) -> bool:
    return price > worst if record.side == "buy" else price < worst


def _by_filter(text: str) -> bool:
    return any(name in text for name in _FILTERS)
