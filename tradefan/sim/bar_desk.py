"""The real order manager in a market of bars: what stands around it answers at once and decides nothing.

Engine, entry check, risk and records are the product's; kernel, journal, gateway and market data are stood in
for. An order reaches the venue and its answer comes back at the same instant; the disk is always durable.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from tradefan.actors.oms import Oms
from tradefan.actors.oms_state import OmsWiring
from tradefan.config.schema import AccountConfig, Config, RiskConfig
from tradefan.core.trading import ParentState
from tradefan.errors import Defect
from tradefan.messages.account import AccountState, Balance, Balances
from tradefan.messages.base import Message
from tradefan.messages.control import ActorState, Append, Durable, Fold, Rows, Started, Timer
from tradefan.messages.gateway import (
    CancelOrder,
    CreateOrder,
    ExecutionReport,
    Look,
    LookDone,
    ReplaceOrder,
    VenueFill,
)
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import FeedQuality, FollowVolume, Quality, Quote, VolumeDays, VolumeTick
from tradefan.messages.orders import OrderStatus, Refusal, SubmitOrder
from tradefan.messages.records import Record
from tradefan.sim.bar_market import BarMarket
from tradefan.units import (
    SECOND,
    ZERO,
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    Ref,
    Side,
    TradeId,
)

ACCOUNT = AccountId("paper:main")
OWNER = OwnerId("cli")
"""A human's own orders may sell what the account held before."""
PLENTY = Decimal(10) ** 15
"""No limit binds."""
HELD = Decimal(10) ** 9
"""Of every asset: no order lacks money."""
JOURNAL, GATEWAY, MARKET, STORE = Ref(1), Ref(2), Ref(3), Ref(4)
S = OrderStatus
CONFIG = Config(
    accounts={ACCOUNT: AccountConfig()},
    risk=RiskConfig(
        max_order_qty=PLENTY,
        max_order_notional=PLENTY,
        max_position=PLENTY,
        max_position_notional=PLENTY,
        orders_per_second=1_000,
    ),
)


Liquidity = Literal["maker", "taker"]


class Resting(Struct):
    """An order that the venue has."""

    create: CreateOrder
    limit: int
    lots: int
    cum: int = 0


class BarDesk:
    """One order manager, and the market of each of its instruments; all step together, second by second.

    `on_record` hears every record at the instant at which it is made.
    """

    def __init__(
        self,
        instruments: Mapping[InstrumentId, Instrument],
        markets: Mapping[InstrumentId, BarMarket],
        now_ns: int,
        on_record: Callable[[int, Record], None] = lambda _now, _record: None,
    ) -> None:
        """Build everything; nothing has begun."""
        self.config: Any = CONFIG
        self.config_id = "bars"
        self.now_ns = now_ns
        self.markets = dict(markets)
        self.records = 0
        self.refusals: list[Refusal] = []
        self._instruments = dict(instruments)
        self._on_record = on_record
        self._mail: list[Message] = []
        self._timers: list[tuple[int, int, Timer]] = []
        self._off: dict[int, None] = {}
        self._ids = 0
        self._resting: dict[ClientOrderId, Resting] = {}
        self._followed: dict[InstrumentId, tuple[int, int]] = {}
        self._trades: dict[InstrumentId, int] = {}
        self.oms = Oms(
            OmsWiring(
                journal=JOURNAL,
                gateways={ACCOUNT: GATEWAY},
                accounts={ACCOUNT: tuple(self._instruments)},
                instruments=self._instruments,
                owners={},
                instance="bar",
                numeraire=Asset("USDT"),
                observers=(STORE,),
                markets=(MARKET,),
                own_fills_in_feed={ACCOUNT: False},
            )
        )

    # --- what somebody does with it -----------------------------------------------------------------

    def begin(self) -> None:
        """Step the markets until orders can be placed."""
        self._tell(Started(0))
        self._tell(AccountState(ACCOUNT, True, ""))
        self._tell(ActorState("risk_desk", "READY"))
        for name in self._instruments:
            self._tell(FeedQuality(name, Quality.LIVE, "", self.now_ns, 1))
        while not (
            self.oms.state.live.accounts.get(ACCOUNT) and self.oms.state.live.accounts[ACCOUNT].announced
        ):
            if not self.step():
                raise Defect("expected an order manager that is ready before its market ends")

    def history(self, days: VolumeDays) -> None:
        """Let the order manager know what traded on earlier days."""
        self._tell(days)

    def submit(
        self, instrument: InstrumentId, side: Side, qty: Decimal, algo: str, **settings: Any
    ) -> ParentId:
        """Submit an order and return its parent's id.

        Raises:
            Defect: it was refused, with the words of the refusal.
        """
        self._ids += 1
        before = len(self.oms.state.trading.parents)
        wish = SubmitOrder(
            account=ACCOUNT,
            instrument=instrument,
            owner=OWNER,
            ref=f"r{self._ids}",
            side=side,
            order_qty=qty,
            algo=algo,
            settings=settings,
        )
        self._tell(wish)
        if len(self.oms.state.trading.parents) == before:
            raise Defect(f"expected an order that is accepted, got {self.refusals[-1]}")
        return next(reversed(self.oms.state.trading.parents))

    def parent(self, name: ParentId) -> ParentState:
        """Return a parent as it is."""
        return self.oms.state.trading.parents[name]

    def step(self) -> bool:
        """Go on to the next second of every market; False when one of them has ended."""
        next_ns = self.now_ns // SECOND * SECOND + SECOND
        while self._timers and self._timers[0][0] < next_ns:
            self.now_ns, timer_id, timer = heapq.heappop(self._timers)
            if timer_id in self._off:
                del self._off[timer_id]
            else:
                self._tell(timer)
        self.now_ns = next_ns
        for name, market in self.markets.items():
            one = market.step()
            if one is None:
                return False
            assert one.at_ns == next_ns, f"expected a print at {next_ns}, got {one}"
            self._trade(name, market)
            self._show(name, market)
        return True

    # --- the market -----------------------------------------------------------------------------------

    def _trade(self, name: InstrumentId, market: BarMarket) -> None:
        """Let the present print trade with what rests."""
        for resting in [one for one in self._resting.values() if one.create.instrument == name]:
            lots = market.met(resting.create.side, resting.limit, resting.lots - resting.cum)
            if lots:
                self._fill(resting, lots, resting.limit, "maker")
                self._report(resting, S.FILLED if resting.cum == resting.lots else S.PARTIALLY_FILLED)
        self._deliver()

    def _show(self, name: InstrumentId, market: BarMarket) -> None:
        one, instrument = market.now, self._instruments[name]
        assert one is not None
        # The nearest float to each price, as a feed reads it: a product of floats may be another one.
        bid, ask, last = (float(ticks * instrument.price_tick) for ticks in (one.bid, one.ask, one.price))
        depth = float(market.shown.depth * instrument.qty_lot)
        self._tell(Quote(name, bid, depth, ask, depth, one.at_ns, one.at_ns))
        if name in self._followed:
            lots, value = self._followed[name]
            worth = float((market.value - value) * instrument.price_tick)
            self._tell(VolumeTick(name, 1, market.lots - lots, worth, last, one.at_ns))

    # --- the venue --------------------------------------------------------------------------------------

    def _create(self, create: CreateOrder) -> None:
        instrument, market = self._instruments[create.instrument], self.markets[create.instrument]
        assert create.limit_price is not None, "expected children with a limit"
        resting = Resting(
            create,
            int(create.limit_price / instrument.price_tick),
            int(create.order_qty / instrument.qty_lot),
        )
        if create.post_only and market.crosses(create.side, resting.limit):
            self._report(resting, S.REJECTED, "POST_ONLY: it would take")
            return
        price, lots = market.taken(create.side, resting.limit, resting.lots)
        if lots and not create.post_only:
            self._fill(resting, lots, price, "taker")
        if resting.cum == resting.lots:
            self._report(resting, S.FILLED)
        elif create.time_in_force != "GTC":
            self._report(resting, S.EXPIRED)
        else:
            self._resting[create.client_order_id] = resting
            self._report(resting, S.PARTIALLY_FILLED if resting.cum else S.NEW)

    def _cancel(self, name: ClientOrderId) -> bool:
        resting = self._resting.pop(name, None)
        if resting is not None:
            self._report(resting, S.CANCELED)
        return resting is not None

    def _fill(self, resting: Resting, lots: int, price: int, liquidity: Liquidity) -> None:
        create = resting.create
        instrument = self._instruments[create.instrument]
        resting.cum += lots
        number = self._trades[create.instrument] = self._trades.get(create.instrument, 0) + 1
        self._mail.append(
            VenueFill(
                ACCOUNT,
                create.instrument,
                TradeId(str(number)),
                create.client_order_id,
                create.client_order_id,
                create.side,
                lots * instrument.qty_lot,
                price * instrument.price_tick,
                ZERO,
                instrument.quote,
                liquidity,
                self.now_ns,
                self.now_ns,
                "stream",
            )
        )
        if resting.cum == resting.lots:
            self._resting.pop(create.client_order_id, None)

    def _report(self, resting: Resting, status: OrderStatus, reason: str = "") -> None:
        create = resting.create
        self._mail.append(
            ExecutionReport(
                ACCOUNT,
                create.instrument,
                create.client_order_id,
                create.client_order_id,
                status,
                create.side,
                create.order_qty,
                resting.cum * self._instruments[create.instrument].qty_lot,
                create.limit_price,
                reason,
                self.now_ns,
                self.now_ns,
                "stream",
            )
        )

    def _look(self, look: Look) -> None:
        """Answer that all is as the order manager knows it: nothing is lost on the way."""
        held = self.oms.state.trading.ledger.balances.get(ACCOUNT, {})
        assets = {one: HELD for name in self._instruments for one in _assets(self._instruments[name])}
        totals = tuple(Balance(asset, qty, ZERO) for asset, qty in {**assets, **held}.items())
        for resting in self._resting.values():
            self._report(resting, S.PARTIALLY_FILLED if resting.cum else S.NEW)
        self._mail.append(Balances(ACCOUNT, totals, True, self.now_ns, self.now_ns, "look"))
        missing = tuple(name for _, name in look.orders if name not in self._resting)
        cursors = tuple((name, TradeId(str(self._trades.get(name, 0)))) for name, _ in look.cursors)
        self._mail.append(LookDone(ACCOUNT, look.look_id, self.now_ns, True, missing, cursors))

    # --- the order manager's world: runtime.actor.Context -------------------------------------------------

    def send(self, ref: Ref, msg: Message) -> bool:
        """Take what it sends; answers come behind its turn."""
        if isinstance(msg, Append):
            self._append(msg)
        elif isinstance(msg, Fold):
            self._mail.append(Rows(msg.gen, (), 0))
        elif isinstance(msg, CreateOrder):
            self._create(msg)
        elif isinstance(msg, ReplaceOrder):
            # STOP_ON_FAILURE: nothing new where the old one is gone.
            if self._cancel(msg.old_id):
                self._create(msg.create)
            else:
                self._report(Resting(msg.create, 0, 0), S.REJECTED, "NOT_PLACED: the old order is gone")
        elif isinstance(msg, CancelOrder):
            self._cancel(msg.client_order_id)
        elif isinstance(msg, Look):
            self._look(msg)
        elif isinstance(msg, FollowVolume):
            self._follow(msg)
        elif isinstance(msg, Refusal):
            self.refusals.append(msg)
        return True

    def _append(self, msg: Append) -> None:
        for record in msg.records:
            self._on_record(self.now_ns, record)
        self.records = msg.first_lsn + len(msg.records) - 1
        self._mail.append(Durable(self.records))

    def _follow(self, msg: FollowVolume) -> None:
        if msg.on:
            market = self.markets[msg.instrument]
            self._followed.setdefault(msg.instrument, (market.lots, market.value))
        else:
            self._followed.pop(msg.instrument, None)

    def after(self, delay_ns: int, msg: Message) -> int:
        """Arm a timer."""
        assert isinstance(msg, Timer), f"expected a timer, got {msg}"
        self._ids += 1
        heapq.heappush(self._timers, (self.now_ns + delay_ns, self._ids, msg))
        return self._ids

    def cancel(self, timer_id: int) -> None:
        """Forget a timer when its time comes."""
        self._off[timer_id] = None

    def next_id(self) -> int:
        """Return the next number."""
        self._ids += 1
        return self._ids

    def series_id(self) -> int:
        """Return the next number."""
        return self.next_id()

    def random(self) -> float:
        """Refuse: the order manager decides nothing by chance."""
        raise Defect("the order manager asked for a random number")

    def log(self, level: str, event: str, **fields: Any) -> None:
        """See that nothing went wrong."""
        if level in ("error", "critical"):
            raise Defect(f"the order manager said {event}: {fields}")

    def _tell(self, msg: Message) -> None:
        self._mail.append(msg)
        self._deliver()

    def _deliver(self) -> None:
        """Give what waits, and all that follows from it at this instant."""
        while self._mail:
            self.oms.handle(self._mail.pop(0), self)


def _assets(instrument: Instrument) -> tuple[Asset, Asset]:
    return instrument.base, instrument.quote
