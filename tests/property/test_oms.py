"""The OMS under any sequence of wishes, venue's words, faults and restarts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, CONFIG, ETH, GATEWAY, TREND
from tradefan.actors.oms_gate import risk_state
from tradefan.actors.oms_state import Turn
from tradefan.core.exposure import account_sides
from tradefan.core.trading import Trading, apply
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.control import Durable
from tradefan.messages.market import Quality
from tradefan.messages.orders import (
    TERMINAL,
    CancelAll,
    CancelParent,
    CancelRejected,
    CreateOrder,
    Doubt,
    GatewayReset,
    Look,
    OrderInDoubt,
    OrderNotSent,
    OrderStatus,
    Phase,
)
from tradefan.messages.records import Intent
from tradefan.units import MS, SECOND, ZERO, ClientOrderId

D = Decimal
S = OrderStatus
MOST = CONFIG.risk.max_position


class Living(RuleBasedStateMachine):
    """A venue that says anything about orders that it got, and never fills more than was ordered."""

    @initialize()
    def begin(self) -> None:
        self.bench = Bench().ready()
        self.creates: dict[ClientOrderId, CreateOrder] = {}
        self.filled: dict[ClientOrderId, Decimal] = {}
        self.ended: dict[ClientOrderId, None] = {}

    def take(self) -> None:
        """Take what left; each client id leaves once, and only behind its durable INTENT."""
        intents = {record.client_order_id for record in self.bench.records if isinstance(record, Intent)}
        for create in self.bench.take(GATEWAY, CreateOrder):
            assert create.client_order_id not in self.creates
            assert create.client_order_id in intents
            self.creates[create.client_order_id] = create

    def pick(self, number: int) -> CreateOrder | None:
        names = list(self.creates)
        return self.creates[names[number % len(names)]] if names else None

    # --- wishes -----------------------------------------------------------------------------------

    @rule(
        qty=st.integers(1, 9),
        side=st.sampled_from(["buy", "sell"]),
        owner=st.sampled_from([TREND, API]),
        limit=st.sampled_from([None, 99, 101]),
        where=st.sampled_from([BTC, ETH]),
    )
    def submit(self, qty: int, side: Any, owner: Any, limit: int | None, where: Any) -> None:
        price = None if limit is None else D(limit) if where == BTC else D(limit) / 10
        algo = "market" if price is None else "limit"
        self.bench.submit(qty, side=side, owner=owner, algo=algo, limit_price=price, instrument=where)
        self.take()

    @rule(qty=st.integers(0, 9), by=st.sampled_from(["market", "limit"]))
    def target(self, qty: int, by: str) -> None:
        self.bench.target(qty, algo=by, limit_price=D(100) if by == "limit" else None)
        self.take()

    @rule(number=st.integers(0, 50))
    def cancel(self, number: int) -> None:
        create = self.pick(number)
        if create is not None:
            self.bench.tell(CancelParent(create.owner, create.parent_id))
            self.take()

    @rule()
    def cancel_all(self) -> None:
        self.bench.tell(CancelAll(TREND))
        self.take()

    # --- venue ------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 50), status=st.sampled_from(list(OrderStatus)), look=st.booleans())
    def report(self, number: int, status: OrderStatus, look: bool) -> None:
        """Say a status with what has really traded; once it ended nothing trades any more."""
        create = self.pick(number)
        if create is None:
            return
        cum = self.filled.get(create.client_order_id, ZERO)
        if status is S.FILLED and cum < create.order_qty:
            cum = self.filled[create.client_order_id] = create.order_qty
        if status in TERMINAL:
            self.ended[create.client_order_id] = None
        self.bench.report(create, status, cum, source="look" if look else "stream")
        self.take()

    @rule(number=st.integers(0, 50), part=st.integers(1, 3))
    def fill(self, number: int, part: int) -> None:
        create = self.pick(number)
        if create is None or create.client_order_id in self.ended:
            return
        known = self.filled.get(create.client_order_id, ZERO)
        qty = min(D(part), create.order_qty - known)
        if qty > 0:
            self.filled[create.client_order_id] = known + qty
            self.bench.fill(create, qty)
            self.take()

    @rule(number=st.integers(0, 50), kind=st.sampled_from([Doubt.CREATE, Doubt.CANCEL]))
    def doubt(self, number: int, kind: Doubt) -> None:
        create = self.pick(number)
        if create is not None:
            self.bench.tell(OrderInDoubt(ACCOUNT, create.client_order_id, kind, "time-out"))

    @rule(number=st.integers(0, 50), cancel=st.booleans())
    def refused(self, number: int, cancel: bool) -> None:
        create = self.pick(number)
        if create is not None:
            kind = CancelRejected if cancel else OrderNotSent
            self.bench.tell(kind(ACCOUNT, create.client_order_id, "no"))
            self.take()

    # --- world ------------------------------------------------------------------------------------

    @rule(
        delay=st.sampled_from([MS, 250 * MS, SECOND, 5 * SECOND]), complete=st.booleans(), found=st.booleans()
    )
    def pass_time(self, delay: int, complete: bool, found: bool) -> None:
        self.bench.advance(delay)
        self.take()
        for look in self.bench.take(GATEWAY, Look):
            missing = () if found else tuple(name for _, name in look.orders)
            self.bench.done(look, complete=complete, missing=missing)
            self.take()
        self.bench.quote(BTC, 100)
        self.bench.quote(ETH, 10)

    @rule(quality=st.sampled_from([Quality.LIVE] * 5 + list(Quality)))
    def feed(self, quality: Quality) -> None:
        self.bench.quote(BTC, 100, quality)
        self.take()

    @rule(mode=st.sampled_from(["NORMAL"] * 6 + ["NO_NEW_RISK", "REDUCE_ONLY", "CANCEL_ONLY", "KILLED"]))
    def mode(self, mode: Any) -> None:
        self.bench.tell(SetMode("all", "test", mode, "TEST", ""))
        self.take()

    @rule(lost=st.booleans())
    def connection(self, lost: bool) -> None:
        """Lose the connection, or have it back; the look that follows is answered as time passes."""
        if lost:
            self.bench.tell(AccountState(ACCOUNT, False, ""))
        self.bench.tell(AccountState(ACCOUNT, True, ""))
        self.take()

    @rule()
    def gateway_reset(self) -> None:
        self.bench.tell(GatewayReset(ACCOUNT))
        self.take()

    @rule()
    def disk(self) -> None:
        """Let the disk wait, or catch up."""
        self.bench.auto_durable = not self.bench.auto_durable
        if self.bench.auto_durable:
            self.bench.tell(Durable(len(self.bench.records)))
            self.take()

    @rule()
    def restart(self) -> None:
        """Kill it: what was not durable is gone, and nothing of it ever left."""
        durable = self.bench.oms.state.live.outbox.durable
        bench = Bench(records=self.bench.records[:durable], now_ns=self.bench.now_ns + SECOND)
        bench.ids = self.bench.ids
        self.bench = bench.ready()
        self.take()

    # --- what always holds ----------------------------------------------------------------------------

    @invariant()
    def records_are_the_state(self) -> None:
        """I-08, and every record that was emitted could be applied."""
        again = Trading()
        for record in self.bench.records:
            apply(again, record)
        assert again == self.bench.trading
        assert again.unapplied == 0

    @invariant()
    def parents_never_exceed_their_quantity(self) -> None:
        """I-03: done = traded + working + in doubt, whatever comes."""
        for parent in self.bench.trading.parents.values():
            assert parent.done_qty <= parent.order.order_qty
            if parent.phase is Phase.DONE:
                # Only an order that never was, and then was after all, lives on: on its way to its end.
                assert all(self.bench.trading.orders[name].cancel_ns is not None for name in parent.live)

    @invariant()
    def worst_case_stays_inside_the_limit(self) -> None:
        """I-11: position + working + in doubt, by account."""
        turn = Turn(self.bench.oms.state, self.bench.wiring, self.bench)
        instrument = turn.instrument(BTC)
        assert instrument is not None
        held = risk_state(turn, ACCOUNT, instrument, TREND).account
        assert held.position + held.buy_qty <= MOST
        assert held.position - held.sell_qty >= -MOST

    @invariant()
    def nothing_is_reserved_when_nothing_lives(self) -> None:
        """I-32."""
        if not self.bench.trading.orders_live:
            sides = account_sides(self.bench.trading.exposure, ACCOUNT, BTC)
            assert (sides.buy_qty, sides.sell_qty) == (ZERO, ZERO)
            assert not any(self.bench.trading.exposure.reserved.get(ACCOUNT, {}).values())

    @invariant()
    def waiting_wishes_wait_for_somebody(self) -> None:
        """A target waits only while a parent of its place is ending."""
        for wish in self.bench.oms.state.live.wishes.values():
            open_ = [self.bench.trading.parents[name] for name in self.bench.trading.parents_open]
            assert any(
                (one.order.instrument, one.order.owner) == (wish.instrument, wish.owner) for one in open_
            )


TestLiving = Living.TestCase
TestLiving.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
