"""The venue of the OMS's state machine: what it has, what it has traded, what it has told of that."""

from __future__ import annotations

from decimal import Decimal

from tests.unit.actors.oms_wired import ACCOUNT, venue_fill
from tradefan.messages.gateway import CreateOrder, FillBusted, ReplaceOrder, VenueFill
from tradefan.messages.orders import OrderStatus
from tradefan.units import ZERO, ClientOrderId, TradeId, sign

D = Decimal
S = OrderStatus
FEE = D("0.01")
"""Per unit, in USDT."""


class Venue:
    """Orders that it got, trades, and a wallet that is the truth about balances."""

    def __init__(self, wallet: dict[str, Decimal]) -> None:
        """Begin with what the account holds."""
        self.wallet = wallet
        self.creates: dict[ClientOrderId, CreateOrder] = {}
        self.exists: dict[ClientOrderId, None] = {}
        self.ended: dict[ClientOrderId, OrderStatus] = {}
        self.traded: dict[ClientOrderId, Decimal] = {}
        self.told: dict[TradeId, VenueFill] = {}
        self.untold: list[VenueFill] = []
        self.busts: list[FillBusted] = []
        self.undecided: dict[ClientOrderId, ClientOrderId] = {}
        """Replacements that arrived: the new id, and the old one."""
        self.trades = 0

    def got(self, msg: CreateOrder | ReplaceOrder) -> None:
        """Let a request arrive; what becomes of it is decided later."""
        create = msg.create if isinstance(msg, ReplaceOrder) else msg
        self.creates[create.client_order_id] = create
        if isinstance(msg, ReplaceOrder):
            self.undecided[create.client_order_id] = msg.old_id

    def pick(self, number: int, *, ours: bool | None = None) -> CreateOrder | None:
        """Return one of the orders that it got, of ours or of others."""
        found = [
            one
            for name, one in self.creates.items()
            if name not in self.undecided and (ours is None or (one.parent_id != "") is ours)
        ]
        return found[number % len(found)] if found else None

    def decide(self, new: ClientOrderId, *, succeeds: bool) -> bool:
        """Carry a replacement out, or not: STOP_ON_FAILURE and ONLY_NEW."""
        old = self.undecided.pop(new)
        rests = old not in self.ended and not self.traded.get(old) and old in self.exists
        if not (succeeds and rests):
            return False
        self.ended[old] = S.CANCELED
        self.exists[new] = None
        return True

    def cum(self, create: CreateOrder) -> Decimal:
        """Return what an order has traded."""
        return self.traded.get(create.client_order_id, ZERO)

    def trade(self, create: CreateOrder, most: Decimal, price: Decimal, now_ns: int) -> VenueFill | None:
        """Let an order trade, if it can; the trade is not told yet."""
        name = create.client_order_id
        qty = min(most, create.order_qty - self.cum(create))
        if qty <= 0 or name in self.ended:
            return None
        self.exists[name] = None
        self.traded[name] = self.cum(create) + qty
        self.trades += 1
        fill = venue_fill(create, qty, f"{self.trades}", now_ns, price=price, fee=FEE * qty)
        self._pay(fill, 1)
        self.untold.append(fill)
        if self.cum(create) == create.order_qty:
            self.ended[name] = S.FILLED
        return fill

    def say(self, create: CreateOrder, status: OrderStatus, now_ns: int) -> Decimal:
        """Let a status be true, if it can; return the quantity that goes with it."""
        name = create.client_order_id
        if status is S.FILLED:
            self.trade(create, create.order_qty, D(100), now_ns)
        if status in (S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED):
            done = self.cum(create) == create.order_qty
            refused = status is S.REJECTED and name not in self.exists
            self.ended.setdefault(name, S.FILLED if done else S.REJECTED if refused else S.CANCELED)
        self.exists[name] = None
        return self.cum(create)

    def tell(self, number: int) -> VenueFill | None:
        """Return a trade that was not told yet, and count it as told."""
        if not self.untold:
            return None
        fill = self.untold.pop(number % len(self.untold))
        self.told[fill.trade_id] = fill
        return fill

    def lost(self, booked: list[TradeId]) -> None:
        """Be ready to tell again what a crash has forgotten: the cursor did not pass it."""
        again = [fill for name, fill in self.told.items() if name not in booked]
        self.told = {name: fill for name, fill in self.told.items() if name in booked}
        self.untold += again

    def bust(self, number: int, keep: Decimal, now_ns: int) -> FillBusted | None:
        """Take back a trade of an order that has ended, or keep a part of it, told or not."""
        ended = {**self.told, **{fill.trade_id: fill for fill in self.untold}}
        found = [fill for fill in ended.values() if fill.client_order_id in self.ended]
        if not found:
            return None
        fill = found[number % len(found)]
        name = fill.client_order_id
        assert name is not None
        if any(bust.trade_id == fill.trade_id for bust in self.busts) or keep >= fill.qty:
            return None
        self._pay(fill, -1)
        self.traded[name] -= fill.qty - keep
        if keep:
            kept = venue_fill(self.creates[name], keep, fill.trade_id, now_ns, price=fill.price, fee=fill.fee)
            self._pay(kept, 1)
        told = (keep, fill.price) if keep else (None, None)
        self.busts.append(FillBusted(ACCOUNT, fill.instrument, fill.trade_id, now_ns, now_ns, *told))
        return self.busts[-1]

    def status(self, create: CreateOrder) -> OrderStatus | None:
        """Return what a query by id answers; None: not found."""
        name = create.client_order_id
        if name in self.ended:
            return self.ended[name]
        if name not in self.exists:
            return None
        return S.PARTIALLY_FILLED if self.cum(create) else S.NEW

    def deposit(self, asset: str, qty: Decimal) -> None:
        """Move money without any trade."""
        self.wallet[asset] = self.wallet.get(asset, ZERO) + qty

    def _pay(self, fill: VenueFill, direction: int) -> None:
        base = "BTC" if "BTC" in fill.instrument else "ETH"
        signed = fill.qty * sign(fill.side) * direction
        self.deposit(base, signed)
        self.deposit("USDT", -signed * fill.price - fill.fee * direction)
