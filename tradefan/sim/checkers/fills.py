"""Fills: within their order, once, and the only thing that may change what has ended."""

from __future__ import annotations

from decimal import Decimal

from tradefan.messages.orders import TERMINAL
from tradefan.messages.records import (
    Bust,
    Correct,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    PoisonResolved,
    Record,
    Report,
    Resolved,
)
from tradefan.sim.checkers.base import LAST_LOOK_NS, LIAR_LAG_NS, Newer, OverRecords, Source, oms_of
from tradefan.sim.checkers.orders import Child, Orders
from tradefan.sim.checkers.venue import Index
from tradefan.sim.witness import Kind, VenueTrade, Violation, Witness
from tradefan.units import EXTERNAL, SECOND, ZERO

ALARM_NS = SECOND


class WithinQty(OverRecords):
    """I-02: an order's trades add up to at most its quantity, and what exceeds it is alarmed within 1 s.

    The venue's trades that were made beyond the order on purpose count apart. The alarm is an `overfill`
    line of level error or critical, due 1 s after the FILL or REPORT that tells of it, unless the trade is
    taken back in the same step: its bust was heard before it.
    """

    invariant: str = "I-02"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("records", "venue", "logs")

    def __init__(self) -> None:
        """Begin without orders."""
        super().__init__()
        self._venue, self._logs = Index(), Newer()
        self._alarmed: dict[str, None] = {}
        self._life = 0

    def begin(self) -> None:
        self._orders = Orders()
        self._due: dict[str, tuple[int, Decimal, Decimal]] = {}

    def after_step(self, seen: Witness) -> Violation | None:
        if seen.life != self._life:
            # What a process did not live to alarm its successor finds in the books, not in the news.
            self._life, self._due = seen.life, {}
        return super().after_step(seen)

    def take(self, seen: Witness, record: Record) -> Violation | None:
        child = self._orders.take(record)
        tells = isinstance(record, Fill | Report)
        if child is not None and tells and child.owner != EXTERNAL and child.cum > child.qty:
            name = child.client_order_id
            self._due.setdefault(name, (seen.now_ns + ALARM_NS, child.qty, child.cum))
        elif child is not None and isinstance(record, Bust | Correct) and child.cum <= child.qty:
            due = self._due.get(child.client_order_id)
            if due is not None and due[0] == seen.now_ns + ALARM_NS:
                del self._due[child.client_order_id]
        return None

    def judge(self, seen: Witness) -> Violation | None:
        for _, line in self._logs.of(seen.logs):
            if line.event == "overfill" and line.level in ("error", "critical"):
                self._alarmed[str(line.fields.get("client_order_id"))] = None
        if self._due or self.due_ns is not None:
            self._due = {name: due for name, due in self._due.items() if name not in self._alarmed}
            self.due_ns = min((at_ns for at_ns, *_ in self._due.values()), default=None)
        return self._of_venue(seen) or self._late(seen)

    def _of_venue(self, seen: Witness) -> Violation | None:
        for name in self._venue.follow(seen.venue):
            for placed in self._venue.of(name):
                traded = sum((one.qty for one in (*placed.trades, *placed.beyond) if _counts(one)), ZERO)
                if traded > placed.order.qty:
                    return self.broken(seen, f"at most {placed.order.qty} traded of {name}", traded)
        return None

    def _late(self, seen: Witness) -> Violation | None:
        for name, (due_ns, qty, cum) in self._due.items():
            if seen.now_ns > due_ns:
                return self.broken(seen, f"an alarm by {due_ns} ns: {name} has {qty}", f"none, {cum} traded")
        return None


class AppliedOnce(OverRecords):
    """I-06: the journal holds each (account, instrument, trade id) as one FILL, over all lives.

    What is inferred has ids of its own, and each of them once too.
    """

    invariant: str = "I-06"
    kind: Kind = "T"

    def begin(self) -> None:
        self._lsns: dict[tuple[str, str, str], int] = {}

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Fill | FillInferred):
            fill = record if isinstance(record, Fill) else record.fill
            key = (fill.account, fill.instrument, fill.trade_id)
            before = self._lsns.setdefault(key, self.lsn)
            if before != self.lsn:
                found = f"FILLs at lsn {before} and {self.lsn}"
                return self.broken(seen, f"one FILL of {' '.join(key)}", found)
        return None


class AllBooked(OverRecords):
    """I-06: at rest what is booked of each of our orders is what the venue's book says it has traded.

    But for the trades of the last moments, which nobody could have seen yet, and orders of which a trade was
    revised then. Unless a human has dropped a fill or a bust.
    """

    invariant: str = "I-06"
    kind: Kind = "Q"

    def begin(self) -> None:
        self._orders = Orders()
        self._dropped = False

    def take(self, seen: Witness, record: Record) -> Violation | None:
        self._orders.take(record)
        self._dropped = self._dropped or (isinstance(record, PoisonResolved) and record.verdict == "DROP")
        return None

    def at_rest(self, seen: Witness) -> Violation | None:
        self.follow(seen)
        traded: dict[str, Decimal] = {}
        fresh: dict[str, Decimal] = {}
        lag_ns = seen.venue.visible_bound_ns + LAST_LOOK_NS + (0 if seen.venue.honest else LIAR_LAG_NS)
        for trade in seen.venue.trades:
            if trade.ours and not trade.busted:
                name = trade.client_order_id
                traded[name] = traded.get(name, ZERO) + trade.qty
                if trade.at_ns >= seen.now_ns - lag_ns:
                    fresh[name] = fresh.get(name, ZERO) + trade.qty
        revised = {
            event.client_order_id
            for event in seen.venue.log
            if event.what in ("bust", "correct") and event.at_ns >= seen.now_ns - lag_ns
        }
        for name in dict.fromkeys((*traded, *self._orders.known)) if not self._dropped else ():
            child, most = self._orders.known.get(name), traded.get(name, ZERO)
            booked = ZERO if child is None else child.filled
            ours = child is None or child.intent is not None
            if ours and name not in revised and not most - fresh.get(name, ZERO) <= booked <= most:
                return self.broken(seen, f"{most} of {name} booked", booked)
        return None


class LastWord(OverRecords):
    """I-15: an order that has ended changes its status only by a late fill, BUST, CORRECT or adoption.

    The status is read from State after each step that a record names the order in; what justifies a
    change is a record of the same step: a fill, a report of more traded, RESOLVED PLACED. Adopted is what
    was proved never to have been (I-16), and of what had ended only what had not ended at the venue when
    we took it for that; a liar may show anything.
    """

    invariant: str = "I-15"
    kind: Kind = "T"

    def begin(self) -> None:
        self._orders = Orders()
        self._ended: dict[str, str] = {}
        self._ends: dict[str, int] = {}
        """When a record ended an order, in the world's time."""
        self._touched: dict[str, bool] = {}
        """Whether something in this step justifies a change."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        before = self._cum(record)
        broken = self._adopted(seen, record) if isinstance(record, Resolved) else None
        child = self._orders.take(record)
        if child is not None and not isinstance(record, Intent):
            name = child.client_order_id
            self._touched[name] = self._touched.get(name, False) or _justifies(record, child, before)
            if child.ended:
                self._ends.setdefault(name, self.true_ns(seen, record.at_ns))
            else:
                self._ends.pop(name, None)
        return broken

    def _adopted(self, seen: Witness, record: Resolved) -> Violation | None:
        """Hold an adoption of what had ended against the venue's own book."""
        name = record.client_order_id
        child, ended_ns = self._orders.known.get(name), self._ends.get(name)
        denied = record.verdict != "PLACED" or child is None or child.void
        if denied or ended_ns is None or not seen.venue.honest:
            return None
        for order in seen.venue.orders.values():
            if order.client_order_id == name and (order.ended_ns is None or order.ended_ns > ended_ns):
                return None
        return self.broken(seen, f"{name} to stay ended", f"adopted: {record.evidence}")

    def _cum(self, record: Record) -> Decimal:
        known = self._orders.known.get(record.client_order_id) if isinstance(record, Report) else None
        return ZERO if known is None else known.cum

    def judge(self, seen: Witness) -> Violation | None:
        touched, self._touched = self._touched, {}
        if oms_of(seen) is None:
            return None
        first = None
        for name, justified in touched.items():
            order = seen.oms.trading.orders.get(name)
            if order is None:
                continue
            before, status = self._ended.get(name), str(order.status)
            if before not in (None, status) and not justified and first is None:
                first = self.broken(seen, f"{name} to stay {before}", status)
            if order.status in TERMINAL:
                self._ended[name] = status
            else:
                self._ended.pop(name, None)
        return first


def _counts(trade: VenueTrade) -> bool:
    return not (trade.busted or trade.overfill)


def _justifies(record: Record, child: Child, before: Decimal) -> bool:
    if isinstance(record, Report):
        return child.cum > before
    if isinstance(record, Resolved):
        return record.verdict == "PLACED"
    # An order of others that has ended may come again: the same id, another order.
    return isinstance(record, Fill | FillInferred | FillReplaced | Bust | Correct | ExternalOrder)
