"""`market`: take what the book shows within the collar, again after a while, a few times in all."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from tradefan.contracts import EndParent, ExecutorCommand, ParentView, PlaceChild, Settings, Wake, register
from tradefan.errors import Refused
from tradefan.messages.orders import OrderStatus
from tradefan.units import MS

COLLAR_MAX = Decimal(1_000)


class MarketSettings(Settings, frozen=True, kw_only=True):
    """`retry_after` in ms; `collar_bps` is the most that a price may be worse than the mid."""

    retry_after: Annotated[int, Meta(ge=1, le=60_000)] = 250
    tries: Annotated[int, Meta(ge=1, le=100)] = 4
    collar_bps: Decimal = Decimal(50)


@register("executor", "market", settings=MarketSettings)
class Market:
    """Immediate-or-cancel at the collar; the rest goes again after `retry_after`, `tries` in all."""

    def __init__(self, settings: MarketSettings) -> None:
        """Keep the settings.

        Raises:
            Refused: BAD_SETTING, a collar that is none; msgspec bounds no Decimals.
        """
        if not 0 < settings.collar_bps <= COLLAR_MAX:
            raise Refused(
                "BAD_SETTING", f"expected 0 < collar_bps <= {COLLAR_MAX}, got {settings.collar_bps}"
            )
        self.settings = settings

    def decide(self, view: ParentView) -> tuple[ExecutorCommand, ...]:
        if view.busy or not view.open_qty:
            return ()
        if view.attempts >= self.settings.tries:
            return (EndParent(OrderStatus.EXPIRED, "tries"),)
        due_ns = (view.last_end_ns or 0) + self.settings.retry_after * MS
        if view.attempts and view.now_ns < due_ns:
            return (Wake(due_ns),)
        return self._take(view)

    def _take(self, view: ParentView) -> tuple[ExecutorCommand, ...]:
        """Place all that is open; nothing is sent when the other side stands beyond the price."""
        if view.collar_px is None or view.touch_px is None:
            return (EndParent(OrderStatus.EXPIRED, "no_reference"),)
        buys = view.order.side == "buy"
        price, limit = view.collar_px, view.order.limit_price
        # The lot may have changed since the order was accepted (MD-17).
        qty = view.instrument.floor_qty(view.open_qty)
        if not qty:
            return (EndParent(OrderStatus.EXPIRED, "dust"),)
        if limit is not None:
            limit = view.instrument.price_within(view.order.side, limit)
            price = min(price, limit) if buys else max(price, limit)
        if view.touch_px > price if buys else view.touch_px < price:
            return (EndParent(OrderStatus.EXPIRED, "collar"),)
        return (PlaceChild(qty, price, "IOC"),)
