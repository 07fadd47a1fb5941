"""`tradefan replay --explain ID`: the story of one order, from what was seen to how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from tradefan.actors.oms_state import OmsState
from tradefan.contracts import plugins
from tradefan.core.trading_state import Trading
from tradefan.messages.control import Durable, LogLine, Rows
from tradefan.messages.gateway import (
    CancelRejected,
    ExecutionReport,
    OrderInDoubt,
    OrderNotSent,
    VenueFill,
)
from tradefan.messages.orders import Asked, OwnerTurn, ParentOrder, Refusal, SetTarget, SubmitOrder
from tradefan.messages.records import Fill, Intent, Parent, Record
from tradefan.messages.wire import NotWritten, Received, Text, Write, Written
from tradefan.messages.work import Decision
from tradefan.replay.bounds import records_of
from tradefan.replay.player import Played, Player
from tradefan.runtime.kernel import Kernel
from tradefan.stores.journal_tool import iso, orders_of, plain_fields
from tradefan.units import MS, ClientOrderId, InstrumentId, plain

PARENTS_MAX = 10_000
"""Wishes that are remembered until a child of theirs is the one that is asked for."""
TEXT_MAX = 400
_CAME = (ExecutionReport, VenueFill, OrderNotSent, OrderInDoubt, CancelRejected)


class Event(Struct, frozen=True):
    """One line of a story; `what` is seen, wished, decided, refused, sent, came, durable or logged."""

    step: int
    at_ns: int
    what: str
    text: str


class Story:
    """Listens to a replay for one order: a client order id, a parent id, or the ref of a wish."""

    def __init__(self, order: str) -> None:
        """Know nothing yet."""
        self.order = order
        self.events: list[Event] = []
        self.parent: ParentOrder | None = None
        self.children: dict[str, None] = {}
        self._whole = False
        """The parent is asked for, with all of its children."""
        self._parents: dict[str, tuple[ParentOrder, list[Event]]] = {}
        self._oms: OmsState | None = None
        self._requests: dict[tuple[str, int, int], str] = {}
        self._undurable: dict[int, str] = {}
        self._now = (0, 0)
        self._known: Kernel | None = None
        """The kernel whose orders were looked through: behind a gap there is another one."""

    def see(self, player: Player, played: Played) -> None:
        """Take a step."""
        self._now = (played.number, played.now_ns)
        refs = player.kernel.refs
        oms = player.kernel.cells[refs["oms"]]
        state = None if oms is None or oms.actor is None else oms.actor.state
        self._oms = state if isinstance(state, OmsState) else None
        folded = any(isinstance(msg, Rows) and ref == refs["oms"] for ref, msg in played.ingress)
        if self._oms is not None and (folded or player.kernel is not self._known):
            self._known = player.kernel
            self._recall(self._oms.trading)
        self._in(played)
        for ref, msg in played.heard:
            if ref == refs["oms"] and isinstance(msg, _CAME) and msg.client_order_id in self.children:
                self._add("came", f"{type(msg).__name__} {_words(msg)}")
        self._refusals(played)
        for lsn, record in records_of(played):
            self._record(lsn, record, played)
        self._out(played)

    def lines(self) -> Iterator[str]:
        """Give the story as text, with the milliseconds since its beginning."""
        if not self.events:
            return
        begin_ns = self.events[0].at_ns
        yield self._head()
        for event in self.events:
            after_ms = (event.at_ns - begin_ns) / MS
            head = f"{after_ms:>12.3f} ms  {iso(event.at_ns)[11:-4]}  step {event.step:<8}"
            yield f"{head} {event.what:8} {event.text}"

    def _head(self) -> str:
        parent = self.parent
        if parent is None:
            return f"{self.order}: never became an order"
        price = "" if parent.limit_price is None else f" at {plain(parent.limit_price)}"
        wish = f"{parent.side} {plain(parent.order_qty)} {parent.instrument} {parent.algo}{price}"
        children = ", ".join(self.children) or "none"
        return f"{parent.parent_id}: {wish}, {parent.account}, owner {parent.owner}; children: {children}"

    def _recall(self, trading: Trading) -> None:
        """Take up an order of an earlier life, or of before the first step of what is recorded."""
        order = trading.orders.get(ClientOrderId(self.order))
        for parent_id, one in trading.parents.items():
            whole = self.order in (parent_id, one.order.ref)
            if whole or (order is not None and order.parent_id == parent_id):
                self.parent, self._whole = self.parent or one.order, whole
                self.children |= dict.fromkeys([*one.ended, *one.live] if whole else [self.order])

    # --- what comes in --------------------------------------------------------------------------------

    def _in(self, played: Played) -> None:
        for _, msg in played.ingress:
            if isinstance(msg, Durable):
                self._durable(msg.lsn)
            elif isinstance(msg, Written | NotWritten):
                self._written(msg)
            elif (
                isinstance(msg, Received)
                and self.children
                and self._mine(msg.body.decode("utf-8", "replace"))
            ):
                self._add("came", _cut(msg.body.decode("utf-8", "replace")))

    def _written(self, msg: Written | NotWritten) -> None:
        name = self._requests.get((msg.conn, msg.gen, msg.req))
        if name is not None and isinstance(msg, NotWritten):
            self._add("sent", f"NOT: the link refused {name}: {msg.reason}")
        elif name is not None:
            self._add("sent", f"{name} is on the wire")

    def _durable(self, lsn: int) -> None:
        for known in [known for known in self._undurable if known <= lsn]:
            self._add("durable", f"{self._undurable.pop(known)}, record {known}, is on the disk")

    # --- what was decided -----------------------------------------------------------------------------

    def _refusals(self, played: Played) -> None:
        told = {id(msg): msg for _, msg in played.heard if isinstance(msg, Refusal)}
        told |= {id(msg): msg for _, msg in played.effects if isinstance(msg, Refusal)}
        seen: dict[tuple[str, str], None] = {}
        for refusal in told.values():
            mine = self.order == refusal.ref or (self.parent is not None and refusal.ref == self.parent.ref)
            if mine and (refusal.owner, refusal.ref) not in seen:
                seen[refusal.owner, refusal.ref] = None
                if refusal.instrument is not None and not self.events:
                    self._add("seen", self._market(refusal.instrument))
                bounds = f"limit {refusal.limit}, used {refusal.used}, would pass: {refusal.would_pass}"
                self._add("refused", f"by {refusal.code}: {refusal.text} ({bounds})")

    def _record(self, lsn: int, record: Record, played: Played) -> None:
        if isinstance(record, Parent):
            self._begin_parent(record.order, lsn, played)
            return
        if isinstance(record, Decision) and not self._is_parent(record.parent_id):
            self._note_clip(lsn, record)
        if isinstance(record, Intent):
            self._begin_child(record)
        spoken = set(orders_of(record))
        mine = spoken & set(self.children)
        parent = self.parent is not None and self.parent.parent_id in spoken
        if mine or (parent and (self._whole or not isinstance(record, Intent | Fill))):
            self._decided(lsn, record)

    def _begin_parent(self, order: ParentOrder, lsn: int, played: Played) -> None:
        """Note a wish that was accepted, with what was seen then, until somebody asks for it."""
        events, self.events = self.events, []
        self._add("seen", self._market(order.instrument))
        self._add("wished", _wish(order, played))
        self._add(
            "decided",
            f"Parent {lsn}: accepted as {order.parent_id}{f', {order.reason}' if order.reason else ''}",
        )
        noted, self.events = self.events, events
        self._parents[order.parent_id] = (order, noted)
        if len(self._parents) > PARENTS_MAX:
            del self._parents[next(iter(self._parents))]
        if self.order in (order.parent_id, order.ref):
            self._whole = True
            self._take(order.parent_id)

    def _note_clip(self, lsn: int, record: Decision) -> None:
        """Note the newest clip of a parent that nobody has asked for yet: a child of it may be asked for."""
        if record.parent_id in self._parents:
            events, self.events = self.events, []
            self._decided(lsn, record)
            order, noted = self._parents[record.parent_id]
            kept = [event for event in noted if not event.text.startswith("Decision ")]
            self._parents[record.parent_id] = (order, [*kept, *self.events])
            self.events = events

    def _begin_child(self, intent: Intent) -> None:
        if intent.client_order_id == self.order or (self._whole and self._is_parent(intent.parent_id)):
            self._take(intent.parent_id)
            self.children[intent.client_order_id] = None

    def _is_parent(self, parent_id: str) -> bool:
        return self.parent is not None and self.parent.parent_id == parent_id

    def _take(self, parent_id: str) -> None:
        """From now on this is the parent; what was noted of it is the beginning of the story."""
        if parent_id in self._parents and not self._is_parent(parent_id):
            self.parent, noted = self._parents[parent_id]
            self.events = [*noted, *self.events]

    def _decided(self, lsn: int, record: Record) -> None:
        if isinstance(record, Intent):
            self._add("seen", self._market(record.instrument))
            rules = ", ".join(rule.name for rule in plugins("risk_rule"))
            reference = f"reference {plain(record.reference_px)}, {record.reference_age_ns / MS:.1f} ms old"
            collar = "" if record.collar_px is None else f", collar {plain(record.collar_px)}"
            passed = f"passed {rules} of configuration {record.config_id}"
            self._add("decided", f"Intent {lsn}: {_words(record)}; {reference}{collar}; {passed}")
            self._undurable[lsn] = f"the Intent of {record.client_order_id}"
        else:
            self._add("decided", f"{type(record).__name__} {lsn}: {_words(record)}")

    # --- what leaves ----------------------------------------------------------------------------------

    def _out(self, played: Played) -> None:
        for _, effect in played.effects:
            if isinstance(effect, Write) and isinstance(effect.body, Text) and self._mine(effect.body.text):
                name = f"{effect.op} (request {effect.req})"
                self._requests[effect.conn, effect.gen, effect.req] = name
                self._add("sent", f"{name}: {_cut(effect.body.text)}")
            elif isinstance(effect, LogLine) and self._mine(*map(str, effect.fields.values())):
                fields = " ".join(f"{key}={value}" for key, value in effect.fields.items())
                self._add("logged", _cut(f"{effect.level} {effect.event} {fields}"))

    def _mine(self, *texts: str) -> bool:
        return any(child in text for child in self.children for text in texts)

    def _market(self, instrument: InstrumentId) -> str:
        """Say what the order manager knows of a market in this step."""
        live = None if self._oms is None else self._oms.live
        quality = None if live is None else live.qualities.get(instrument)
        quote = None if live is None else live.quotes.get(instrument)
        feed = "not heard of" if quality is None else f"{quality.quality} ({quality.reason or 'well'})"
        if quote is None:
            return f"{instrument}: no quote, {feed}"
        age_ms = (self._now[1] - quote.recv_ns) / MS
        return f"{instrument} {quote.bid} / {quote.ask}, {age_ms:.1f} ms old, {feed}"

    def _add(self, what: str, text: str) -> None:
        self.events.append(Event(*self._now, what, text))


def _wish(order: ParentOrder, played: Played) -> str:
    """Say how the wish came: the message in the hands of the order manager."""
    for _, msg in played.heard:
        if isinstance(msg, OwnerTurn) and msg.owner == order.owner:
            for command in msg.commands:
                if getattr(command, "ref", None) == order.ref:
                    wished = f"{type(command).__name__} {_words(command)}"
                    return f"by strategy {msg.owner} in its turn {msg.turn}: {wished}"
        who, asked = (msg.principal, msg.wish) if isinstance(msg, Asked) else (order.owner, msg)
        if isinstance(asked, SubmitOrder | SetTarget) and (asked.owner, asked.ref) == (
            order.owner,
            order.ref,
        ):
            return f"by {who}: {type(asked).__name__} {_words(asked)}"
    return f"by {order.owner}, ref {order.ref}"


def _words(msg: Struct) -> str:
    """Return what a message says, but for what is empty and what the story's first line says."""
    fields: dict[str, Any] = plain_fields(msg)
    kept = {name: value for name, value in fields.items() if name not in _KNOWN and value not in _EMPTY}
    return _cut(" ".join(f"{name}={value}" for name, value in kept.items()))


_KNOWN = ("at_ns", "account", "instrument", "owner", "parent_id", "base", "quote", "kind", "recv_ns")
_EMPTY: tuple[object, ...] = (None, "", {}, [], False)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}..."
