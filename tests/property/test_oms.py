"""The OMS under any sequence of wishes, venue's words, faults, kills and restarts; then it heals."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.property import oms_truths as truths
from tests.property.oms_heal import answer, heal, snapshot_rows
from tests.property.oms_rim import Rim
from tests.property.oms_venue import Venue
from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, CONFIG, ETH, GATEWAY, TREND, foreign
from tests.unit.actors.oms_wired import submit as wish
from tradefan import contracts
from tradefan.contracts import EndParent, ParentView, PlaceChild, ReplaceChild, Settings
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.base import Message
from tradefan.messages.control import ActorState, ConfigChanged, Durable
from tradefan.messages.gateway import (
    CancelOrder,
    CancelRejected,
    GatewayReset,
    Look,
    OrderInDoubt,
    OrderNotSent,
)
from tradefan.messages.market import Quality
from tradefan.messages.orders import (
    TERMINAL,
    AssignPosition,
    CancelAll,
    CancelParent,
    Doubt,
    OrderStatus,
    OwnerTurn,
    ResolveOrder,
    ResumeTrading,
)
from tradefan.messages.records import Fill
from tradefan.units import EXTERNAL, MS, SECOND, OwnerId

D = Decimal
S = OrderStatus
SIDES = st.sampled_from(["buy", "sell"])
SCOPES = ("all", str(BTC), str(TREND), "paper")
QUANTITIES = st.integers(1, 9)
NUMBERS = st.integers(0, 50)
LIMIT = CONFIG.risk.max_position
pytestmark = pytest.mark.failure(
    "OR-01", "OR-02", "OR-06", "OR-07", "OR-12", "OR-20", "OR-21", "OR-23", "OR-26", "ST-01", "ST-10", "ST-11"
)


class Repricer:
    """Rest at 99 and follow to 98 once, in one request; what ends its child ends the parent."""

    def __init__(self, settings: Settings) -> None:
        """Take no settings."""

    def decide(self, view: ParentView) -> Any:
        if not view.attempts:
            return (PlaceChild(view.open_qty, D(99), "GTC"),)
        live = [child for child in view.children if child.live]
        if not live:
            return (EndParent(S.CANCELED, ""),)
        if view.attempts == 1 and live[0].status is S.NEW:
            return (ReplaceChild(live[0].client_order_id, live[0].order_qty, D(98)),)
        return ()


class Living(RuleBasedStateMachine):
    """A venue that says anything about orders that it got, and never fills more than was ordered."""

    @initialize()
    def begin(self) -> None:
        self.plugins = contracts._plugins
        contracts._plugins = dict(contracts._plugins)
        contracts.register("executor", "repricer")(Repricer)
        self.bench = Bench().ready()
        self.venue = Venue({"USDT": D(1_000_000)})
        self.rim = Rim()
        self.shadow = truths.Shadow()
        self.limit = LIMIT
        self.lives = [0]
        self.included = False
        self.req = 0
        self.strangers = 0

    def teardown(self) -> None:
        if hasattr(self, "plugins"):
            try:
                heal(self.bench, self.venue, self.rim)
                self.shadow.follow(self.bench)
            finally:
                contracts._plugins = self.plugins

    def tell(self, *messages: Message) -> None:
        self.bench.tell(*messages)
        self.take()

    def take(self) -> None:
        """Take what left; what is not ours is cancelled only where a human said so (I-17)."""
        for msg in self.rim.take(self.bench):
            if isinstance(msg, CancelOrder):
                target = self.venue.creates.get(msg.client_order_id)
                assert self.included or target is None or target.parent_id
            else:
                self.venue.got(msg)

    # --- wishes -----------------------------------------------------------------------------------

    @rule(
        qty=QUANTITIES,
        side=SIDES,
        owner=st.sampled_from([TREND, API]),
        limit=st.sampled_from([None, 99, 101]),
        where=st.sampled_from([BTC, ETH]),
    )
    def submit(self, qty: int, side: Any, owner: Any, limit: int | None, where: Any) -> None:
        price = None if limit is None else D(limit) if where == BTC else D(limit) / 10
        algo = "market" if price is None else "limit"
        self.bench.submit(qty, side=side, owner=owner, algo=algo, limit_price=price, instrument=where)
        self.take()

    @rule(qty=QUANTITIES)
    def reprice(self, qty: int) -> None:
        self.bench.submit(qty, algo="repricer")
        self.take()

    @rule(qty=st.integers(0, 9), by=st.sampled_from(["market", "limit"]))
    def target(self, qty: int, by: str) -> None:
        self.bench.target(qty, algo=by, limit_price=D(100) if by == "limit" else None)
        self.take()

    @rule(step=st.sampled_from([1, 1, 1, 0]), qty=QUANTITIES, state=st.booleans())
    def owner_turn(self, step: int, qty: int, state: bool) -> None:
        known = self.bench.trading.owners.get(TREND)
        turn = (0 if known is None else known.turn) + step
        self.bench.ids += 1
        commands = (wish(qty, ref=f"o{self.bench.ids}"),)
        self.tell(OwnerTurn(TREND, turn, bytes([turn % 256]) if state else None, commands))

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        create = self.venue.pick(number, ours=True)
        if create is not None:
            self.tell(CancelParent(create.owner, create.parent_id))

    @rule()
    def cancel_all(self) -> None:
        self.tell(CancelAll(TREND))

    # --- venue ------------------------------------------------------------------------------------

    @rule(number=NUMBERS, status=st.sampled_from(list(OrderStatus)), look=st.booleans())
    def report(self, number: int, status: OrderStatus, look: bool) -> None:
        """Say a status with what has really traded; once it ended nothing trades any more."""
        create = self.venue.pick(number)
        if create is not None:
            cum = self.venue.say(create, status, self.bench.now_ns)
            self.bench.report(create, status, cum, source="look" if look else "stream")
            self.take()

    @rule(number=NUMBERS, part=st.integers(1, 3), price=st.integers(97, 101), now=st.booleans())
    def trade(self, number: int, part: int, price: int, now: bool) -> None:
        """Let an order trade, and tell of it now or later."""
        create = self.venue.pick(number)
        if create is not None and self.venue.trade(create, D(part), D(price), self.bench.now_ns) and now:
            self.told(-1)

    @rule(number=NUMBERS)
    def told(self, number: int) -> None:
        fill = self.venue.tell(number)
        if fill is not None:
            self.tell(fill)

    @rule(number=NUMBERS, keep=st.integers(0, 2))
    def bust(self, number: int, keep: int) -> None:
        """Take a trade back, or a part of it, told or not yet."""
        bust = self.venue.bust(number, D(keep), self.bench.now_ns)
        if bust is not None:
            self.tell(bust)

    @rule(succeeds=st.booleans(), answered=st.booleans())
    def replaced(self, succeeds: bool, answered: bool) -> None:
        """Carry a replacement out or not, and tell both legs, or nothing."""
        for new, old in list(self.venue.undecided.items())[:1]:
            done = self.venue.decide(new, succeeds=succeeds)
            first, second = self.venue.creates[old], self.venue.creates[new]
            if not answered:
                self.tell(*(OrderInDoubt(ACCOUNT, one, Doubt.REPLACE, "time-out") for one in (old, new)))
            elif done:
                self.bench.report(first, S.CANCELED, self.venue.cum(first))
                self.bench.report(second, S.NEW)
            else:
                self.venue.ended.setdefault(new, S.REJECTED)
                self.tell(CancelRejected(ACCOUNT, old, "no"))
                self.bench.report(second, S.REJECTED, reason="CANCEL_FAILED")
        self.take()

    @rule(number=NUMBERS, kind=st.sampled_from([Doubt.CREATE, Doubt.CANCEL]))
    def doubt(self, number: int, kind: Doubt) -> None:
        create = self.venue.pick(number, ours=True)
        order = None if create is None else self.bench.trading.orders.get(create.client_order_id)
        if order is not None and (kind is Doubt.CREATE or order.cancel_ns is not None):
            self.tell(OrderInDoubt(ACCOUNT, order.client_order_id, kind, "time-out"))

    @rule(number=NUMBERS, cancel=st.booleans())
    def refused(self, number: int, cancel: bool) -> None:
        create = self.venue.pick(number, ours=True)
        if create is not None:
            kind = CancelRejected if cancel else OrderNotSent
            self.tell(kind(ACCOUNT, create.client_order_id, "no"))

    @rule(qty=QUANTITIES, side=SIDES)
    def stranger(self, qty: int, side: Any) -> None:
        """Let somebody else place an order on the account."""
        self.strangers += 1
        create = foreign(qty, f"web{self.strangers}", side=side)
        self.venue.creates[create.client_order_id] = create
        self.venue.say(create, S.NEW, self.bench.now_ns)
        self.bench.report(create, S.NEW)
        self.take()

    @rule(asset=st.sampled_from(["USDT", "BTC", "BNB"]), qty=st.integers(-2, 3))
    def deposit(self, asset: str, qty: int) -> None:
        self.venue.deposit(asset, D(qty))

    # --- humans -----------------------------------------------------------------------------------

    @rule(scope=st.sampled_from(SCOPES), external=st.booleans(), keep=st.booleans())
    def kill(self, scope: str, external: bool, keep: bool) -> None:
        self.included = self.included or external
        self.req += 1
        self.bench.kill(scope, including_external=external, keep_protection=keep, req=self.req)
        self.take()

    @rule(error=st.sampled_from([None, None, "EIO"]))
    def byte(self, error: str | None) -> None:
        self.rim.put_byte(self.bench, error)
        self.take()

    @rule(number=NUMBERS, written=st.booleans())
    def resume(self, number: int, written: bool) -> None:
        """Resume a killed scope; the byte is written at once, or as the disk likes."""
        killed = list(self.bench.trading.kills)
        if killed:
            self.tell(ResumeTrading(killed[number % len(killed)], "seen", "me", req=1))
        while written and self.rim.bytes:
            self.byte(None)

    @rule(number=NUMBERS)
    def resolve(self, number: int) -> None:
        """Let a human look at the venue and say what he saw."""
        create = self.venue.pick(number, ours=True)
        if create is not None:
            found = self.venue.status(create)
            verdict = "PLACED" if found is not None and found not in TERMINAL else "NOT_PLACED"
            self.tell(ResolveOrder(create.client_order_id, verdict, "looked", "me"))  # type: ignore[arg-type]

    @rule(qty=QUANTITIES, pair=st.permutations([TREND, API, EXTERNAL]))
    def assign(self, qty: int, pair: list[OwnerId]) -> None:
        self.tell(AssignPosition(ACCOUNT, BTC, pair[0], pair[1], D(qty), D(100), "me"))

    @rule(limit=st.sampled_from([LIMIT, D(5)]))
    def lower(self, limit: Decimal) -> None:
        """Change the limit under what is held, or back."""
        self.limit = limit
        risk = msgspec.structs.replace(CONFIG.risk, max_position=limit)
        self.bench.config = msgspec.structs.replace(CONFIG, risk=risk)
        self.tell(ConfigChanged("next"))

    # --- world ------------------------------------------------------------------------------------

    @rule(
        delay=st.sampled_from([MS, 250 * MS, SECOND, 5 * SECOND, 40 * SECOND]),
        complete=st.booleans(),
        shown=st.booleans(),
    )
    def pass_time(self, delay: int, complete: bool, shown: bool) -> None:
        self.bench.advance(delay)
        self.take()
        for look in self.bench.take(GATEWAY, Look):
            answer(self.bench, self.venue, look, complete=complete, shown=shown)
            self.take()
        self.bench.market()
        self.take()

    @rule(quality=st.sampled_from([Quality.LIVE] * 5 + list(Quality)))
    def feed(self, quality: Quality) -> None:
        self.bench.quote(BTC, 100, quality)
        self.take()

    @rule(mode=st.sampled_from(["NORMAL"] * 6 + ["NO_NEW_RISK", "REDUCE_ONLY", "CANCEL_ONLY", "KILLED"]))
    def mode(self, mode: Any) -> None:
        self.tell(SetMode("all", "test", mode, "TEST", ""))

    @rule(lost=st.booleans())
    def connection(self, lost: bool) -> None:
        """Lose the connection, or have it back; the look that follows is answered as time passes."""
        if lost:
            self.tell(AccountState(ACCOUNT, False, ""))
        self.tell(AccountState(ACCOUNT, True, ""))

    @rule()
    def gateway_reset(self) -> None:
        self.tell(GatewayReset(ACCOUNT))

    @rule()
    def disk(self) -> None:
        """Let the disk wait, or catch up."""
        self.bench.auto_durable = not self.bench.auto_durable
        if self.bench.auto_durable:
            self.tell(Durable(len(self.bench.records)))

    @rule(crash=st.booleans(), at=st.integers(0, 1000))
    def restart(self, crash: bool, at: int) -> None:
        """Kill the process (what was not durable never left), or the OMS alone; begin at some snapshot."""
        durable = self.bench.oms.state.live.outbox.durable
        records = self.bench.records[:durable] if crash else self.bench.records
        if crash:
            self.rim.crash()
            self.venue.lost([record.trade_id for record in records if isinstance(record, Fill)])
        bench = Bench(records=records, now_ns=self.bench.now_ns + SECOND, config=self.bench.config)
        bench.ids = self.bench.ids
        rows = snapshot_rows(records, at % (len(records) + 1))
        bench.fold({**rows, "durable": durable, "killed": self.rim.byte}, restart=0 if crash else 1)
        self.bench, self.shadow = bench, truths.Shadow()
        self.lives.append(len(records))
        self.take()
        if crash:
            self.rim.after_boot(bench)
        bench.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
        self.take()

    # --- what always holds ----------------------------------------------------------------------------

    @invariant()
    def what_it_knows_is_right(self) -> None:
        """The journal's fold, its sums recomputed, its money; limits hold, or REDUCE_ONLY does."""
        self.shadow.follow(self.bench)
        trading, records = self.bench.trading, self.bench.records
        truths.exposure_is_that_of_the_orders(trading)
        truths.parents_stay_within_their_quantity(trading, records)
        truths.balances_are_those_of_the_records(records, trading)
        truths.owners_add_up_to_the_account(trading)
        truths.trades_are_booked_once(records)
        truths.turns_rise(records)
        truths.nobody_draws_on_external(records)
        truths.modes_do_not_flap(records[self.lives[-1] :])
        truths.nothing_is_beyond_its_limit_unnoticed(self.bench, self.limit)
        truths.waiting_wishes_wait_for_somebody(self.bench)


TestLiving = Living.TestCase
TestLiving.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
