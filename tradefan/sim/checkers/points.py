"""InfluxDB beside the daemon: what was told is there once or counted, and what the journal has is there."""

from __future__ import annotations

import re
from collections import Counter

from tradefan.messages.records import (
    Bust,
    Correct,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    Record,
)
from tradefan.sim.checkers.base import OverRecords, Source, Watch, oms_of
from tradefan.sim.influx_truth import InfluxTruth, unbalanced
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import SECOND

SOON_NS = 30 * SECOND
"""What was journaled so long before the end is in InfluxDB, which has been well since."""


class PointsCounted(Watch):
    """I-23: each row that the writer was told is a point, waits, or is counted as lost, exactly.

    So it is of each writer when another one begins, and of the last one at rest. What was acknowledged is
    stored, no point takes the place of another one, no request is repeated that was refused, and never more
    rows wait than the configuration allows.
    """

    invariant: str = "I-23"
    kind: Kind = "Q"
    watches: tuple[Source, ...] = ()

    def at_rest(self, seen: Witness) -> Violation | None:
        truth = seen.influx
        if truth is None:
            return None
        for expected, found in truth.wrong:
            return self.broken(seen, expected, found)
        lost = None if truth.writer is None else unbalanced(truth.writer)
        return None if lost is None else self.broken(seen, *lost)


class InfluxFollows(OverRecords):
    """I-24: InfluxDB is the journal's projection up to the place that it has noted, which is close behind.

    Each FILL is one point of its own lsn, each order is there as it is now, and there is no point of a fill
    or an order that was never journaled. What the server did not take is set aside instead.
    """

    invariant: str = "I-24"
    kind: Kind = "Q"

    def begin(self) -> None:
        self._fills: dict[int, Fill] = {}
        self._others: dict[int, None] = {}
        self._changed: dict[str, int] = {}
        """Orders, each with the last record that may have changed it."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Fill):
            self._fills[self.lsn] = record
        elif isinstance(record, FillInferred | FillReplaced | Bust | Correct):
            self._others[self.lsn] = None
        for name in _orders_of(record):
            if name in self._changed or isinstance(record, Intent | ExternalOrder):
                self._changed[name] = self.lsn
        return None

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        truth = seen.influx
        if truth is None or oms_of(seen) is None:
            return None
        place = truth.newest_place
        due = max((lsn for lsn, one in self._fills.items() if self._is_old(seen, one)), default=0)
        if place < due:
            return self.broken(seen, f"InfluxDB's place at lsn {due} or behind", place)
        return self._of_fills(seen, truth, place) or self._of_orders(seen, truth, place)

    def _is_old(self, seen: Witness, fill: Fill) -> bool:
        return fill.at_ns - seen.skew_ns < seen.now_ns - SOON_NS

    def _of_fills(self, seen: Witness, truth: InfluxTruth, place: int) -> Violation | None:
        stored: Counter[tuple[str, str, int]] = Counter()
        for key, fields in truth.of("fills"):
            stored[_tag(key, "instrument"), _text(fields, "trade_id"), _lsn(fields)] += 1
        aside = {_lsn(line) for line in truth.aside_of("fills")}
        for lsn, fill in self._fills.items():
            found = stored.pop((fill.instrument, fill.trade_id, lsn), 0)
            if found != 1 and (found or (lsn <= place and lsn not in aside)):
                return self.broken(seen, f"fill {fill.instrument} {fill.trade_id} of lsn {lsn} once", found)
        for where in stored:
            if where[2] not in self._others:
                return self.broken(seen, "no fill in InfluxDB that the journal lacks", where)
        return None

    def _of_orders(self, seen: Witness, truth: InfluxTruth, place: int) -> Violation | None:
        newest: dict[str, tuple[int, str, float]] = {}
        for key, fields in truth.of("orders"):
            name, qty = _text(fields, "client_order_id"), float(_number(fields, "cum_qty"))
            picture = (_lsn(fields), _tag(key, "status"), qty)
            newest[name] = max(newest.get(name, picture), picture)
        for name, found in newest.items():
            if name not in self._changed:
                return self.broken(seen, f"no order {name} in InfluxDB", found)
        aside = {_text(line, "client_order_id") for line in truth.aside_of("orders")}
        for name, order in seen.oms.trading.orders.items():
            if self._changed.get(name, place + 1) > place or name in aside:
                continue
            wanted = (str(order.status), float(order.cum_qty))
            if name not in newest or newest[name][1:] != wanted:
                return self.broken(seen, f"order {name} in InfluxDB as {wanted}", newest.get(name))
        return None


def _orders_of(record: Record) -> tuple[str, ...]:
    """Return the orders that a record is about."""
    about = [record, getattr(record, "fill", None)]
    names = [getattr(one, word, None) for one in about for word in ("client_order_id", "replaces")]
    return tuple(name for name in names if isinstance(name, str))


def _tag(key: str, name: str) -> str:
    found = re.search(rf",{name}=((?:[^,\\ ]|\\.)*)", key)
    return "" if found is None else re.sub(r"\\(.)", r"\1", found[1])


def _text(fields: str, name: str) -> str:
    found = re.search(rf'(?:^|,){name}="((?:[^"\\]|\\.)*)"', fields)
    return "" if found is None else re.sub(r"\\(.)", r"\1", found[1])


def _number(fields: str, name: str) -> str:
    found = re.search(rf"(?:^|,){name}=([^,]*)", fields)
    return "0" if found is None else found[1]


def _lsn(fields: str) -> int:
    return int(_number(fields, "lsn").removesuffix("i"))
