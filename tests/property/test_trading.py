"""fold(records) == state, sums kept equal sums recomputed, and `apply` is total."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.property.oms_truths import exposure_is_that_of_the_orders
from tests.unit.core.order_builders import (
    ACCOUNT,
    BASE,
    BTC,
    OWNER,
    external,
    fill,
    intent,
    parent,
    report,
)
from tradefan.core.trading import Trading, apply, place_key
from tradefan.messages.orders import TERMINAL, Doubt, OrderStatus, Phase
from tradefan.messages.records import (
    Assign,
    Bust,
    CancelIntent,
    CancelRefused,
    Correct,
    Epoch,
    FillInferred,
    FillReplaced,
    InDoubt,
    Kill,
    NotSent,
    OwnerState,
    PhaseChange,
    Record,
    Resolved,
    Resume,
)
from tradefan.units import EXTERNAL, ZERO, ClientOrderId, ParentId, TradeId

D = Decimal
S = OrderStatus
children = st.integers(0, 5).map(lambda n: ClientOrderId(f"c{n}"))
parents = st.integers(0, 2).map(lambda n: ParentId(f"p{n}"))
small = st.integers(0, 12).map(Decimal)


class Folding(RuleBasedStateMachine):
    """Any records in any order: the state is their fold, and its sums are those of its orders."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Trading()
        self.records: list[Record] = []
        self.trade = 0

    def emit(self, record: Record) -> None:
        apply(self.state, record)
        self.records.append(record)

    @rule(name=parents)
    def accept(self, name: ParentId) -> None:
        self.emit(parent(parent_id=name, ref=name))

    @rule(name=children, under=parents, side=st.sampled_from(["buy", "sell"]), qty=st.integers(1, 12))
    def send(self, name: ClientOrderId, under: ParentId, side: str, qty: int) -> None:
        self.emit(intent(client_order_id=name, parent_id=under, side=side, order_qty=D(qty)))

    @rule(name=children, status=st.sampled_from(list(OrderStatus)), cum=small, qty=st.none() | small)
    def report(self, name: ClientOrderId, status: OrderStatus, cum: Decimal, qty: Decimal | None) -> None:
        self.emit(report(status, cum, client_order_id=name, order_qty=qty or None))

    @rule(name=children, qty=st.integers(1, 5), again=st.booleans())
    def fill(self, name: ClientOrderId, qty: int, again: bool) -> None:
        self.trade += not again
        order = self.state.orders.get(name)
        side = "buy" if order is None else order.side
        self.emit(fill(qty, client_order_id=name, trade_id=f"t{self.trade}", side=side))

    @rule(name=children, doubt=st.sampled_from(list(Doubt)))
    def doubt(self, name: ClientOrderId, doubt: Doubt) -> None:
        self.emit(InDoubt(5, ACCOUNT, name, doubt, ""))

    @rule(name=children, verdict=st.sampled_from(["PLACED", "NOT_PLACED"]))
    def resolve(self, name: ClientOrderId, verdict: Any) -> None:
        self.emit(Resolved(6, ACCOUNT, name, verdict, ""))

    @rule(name=children, kind=st.sampled_from([NotSent, CancelIntent, CancelRefused]))
    def event(self, name: ClientOrderId, kind: Any) -> None:
        self.emit(kind(7, ACCOUNT, name, ""))

    @rule(name=parents, phase=st.sampled_from(list(Phase)))
    def phase(self, name: ParentId, phase: Phase) -> None:
        self.emit(PhaseChange(8, name, phase, S.NEW, ""))

    @rule(number=st.integers(0, 9), restart=st.integers(0, 1))
    def epoch(self, number: int, restart: int) -> None:
        self.emit(Epoch(9, number, "dev", "", "", restart))

    @rule(name=children, old=children, qty=st.integers(1, 12))
    def replace(self, name: ClientOrderId, old: ClientOrderId, qty: int) -> None:
        under = self.state.orders[old].parent_id if old in self.state.orders else ParentId("p0")
        self.emit(intent(client_order_id=name, parent_id=under, order_qty=D(qty), replaces=old))

    @rule(number=st.integers(0, 2), qty=st.integers(1, 12), cum=st.integers(0, 12))
    def stranger(self, number: int, qty: int, cum: int) -> None:
        self.emit(external(f"web{number}", order_qty=D(qty), cum_qty=D(cum)))

    @rule(name=children, qty=st.integers(0, 5))
    def infer(self, name: ClientOrderId, qty: int) -> None:
        self.trade += 1
        order = self.state.orders.get(name)
        side = "buy" if order is None else order.side
        made = fill(qty, client_order_id=name, trade_id=f"inferred {self.trade}", side=side)
        self.emit(FillInferred(3, made))

    @rule(number=st.integers(0, 9), qty=st.integers(0, 5))
    def replaced(self, number: int, qty: int) -> None:
        names = [*self.state.inferred, TradeId("nobody")]
        self.emit(FillReplaced(4, ACCOUNT, BTC, names[number % len(names)], D(qty)))

    @rule(number=st.integers(0, 9), keep=st.none() | small, known=st.booleans())
    def take_back(self, number: int, keep: Decimal | None, known: bool) -> None:
        """Bust a fill, or correct it; of one that nobody has seen it waits."""
        found = list(self.state.recent_fills.values())
        one = found[number % len(found)] if found and known else None
        where = (5, ACCOUNT, BTC, TradeId(f"t{number}") if one is None else one.trade_id, one)
        self.emit(Bust(*where) if keep is None else Correct(*where, keep, D(99)))

    @rule(scope=st.sampled_from(["all", "x"]), resume=st.booleans())
    def kill(self, scope: str, resume: bool) -> None:
        self.emit(Resume(6, scope, "", "") if resume else Kill(6, scope, "", ""))

    @rule(turn=st.integers(0, 9), state=st.none() | st.binary(max_size=2))
    def owner(self, turn: int, state: bytes | None) -> None:
        self.emit(OwnerState(6, OWNER, turn, state))

    @invariant()
    def sums_are_those_of_the_orders(self) -> None:
        """I-32 and more: exposure, reservation and doubts recomputed from scratch."""
        exposure_is_that_of_the_orders(self.state)

    @invariant()
    def parents_add_up_their_children(self) -> None:
        for name, one in self.state.parents.items():
            mine = [o for o in self.state.orders.values() if o.parent_id == name and not o.orphan]
            known = [order for order in mine if order.client_order_id in (*one.live, *one.ended)]
            assert one.cum_qty == sum((order.cum_qty for order in known), ZERO)
            assert one.filled == sum((order.filled for order in known), ZERO)
            assert one.working_qty + one.in_doubt_qty == sum(
                (order.leaves_qty for order in known if order.live), ZERO
            )
            assert sorted(one.live) == sorted(o.client_order_id for o in known if o.live)

    @invariant()
    def lists_agree_with_the_orders(self) -> None:
        state = self.state
        for name, order in state.orders.items():
            assert (name in state.orders_live) == order.live
            assert (name in state.orders_ended) != order.live
            assert order.live or order.status in TERMINAL
        assert len(state.orders_live) + len(state.orders_ended) == len(state.orders)

    @invariant()
    def places_have_the_open_parents(self) -> None:
        found: dict[str, dict[ParentId, None]] = {}
        for name in self.state.parents_open:
            order = self.state.parents[name].order
            found.setdefault(place_key(order.account, order.instrument, order.owner), {})[name] = None
        assert found == self.state.parents_at

    def teardown(self) -> None:
        """I-08: the fold of the records is the state, and so is a snapshot with what follows it."""
        for cut in (0, len(self.records) // 3, len(self.records) // 2, len(self.records)):
            again = Trading()
            for record in self.records[:cut]:
                apply(again, record)
            again = msgspec.msgpack.decode(msgspec.msgpack.encode(again), type=Trading)
            for record in self.records[cut:]:
                apply(again, record)
            assert again == self.state


TestFolding = Folding.TestCase
TestFolding.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

WHERE, BTCS, TRADES = st.just(ACCOUNT), st.just(BTC), st.just(TradeId("t1"))
OWNERS = st.sampled_from([OWNER, EXTERNAL])
wild = st.decimals(allow_nan=True, allow_infinity=True) | st.sampled_from(
    [D("1e999"), D("-1e-999"), D("sNaN")]
)


@given(
    st.lists(
        st.one_of(
            st.builds(fill, wild, wild, fee=wild, trade_id=st.text(max_size=2)),
            st.builds(report, st.sampled_from(list(OrderStatus)), wild, order_qty=st.none() | wild),
            st.builds(intent, order_qty=wild, reserve_px=wild, reserve_per_unit=wild),
            st.builds(parent, order_qty=wild),
            st.builds(external, order_qty=wild, cum_qty=wild, reserve_px=wild, reserve_per_unit=wild),
            st.builds(FillInferred, st.just(1), st.builds(fill, wild, wild, st.text(max_size=2), fee=wild)),
            st.builds(
                Correct, st.just(1), WHERE, BTCS, TRADES, st.none() | st.builds(fill, wild, wild), wild, wild
            ),
            st.builds(Bust, st.just(1), WHERE, BTCS, TRADES, st.none() | st.builds(fill, wild, wild)),
            st.builds(FillReplaced, st.just(1), WHERE, BTCS, TRADES, wild),
            st.builds(
                Assign, st.just(1), WHERE, BTCS, st.just(BASE), OWNERS, OWNERS, wild, wild, st.just("me")
            ),
        ),
        max_size=12,
    )
)
def test_apply_when_given_nonsense_then_it_never_raises(records: list[Record]) -> None:
    """Whatever a damaged journal holds, the fold ends, and every record was counted."""
    state = Trading()
    for record in records:
        apply(state, record)
    assert state.lsn == len(records)
    assert 0 <= state.unapplied <= len(records)
