"""`limit`: rest one child at the limit price; what ends it ends the parent."""

from __future__ import annotations

from tradefan.contracts import EndParent, ExecutorCommand, ParentView, PlaceChild, Settings, register
from tradefan.errors import Refused
from tradefan.messages.orders import OrderStatus, TimeInForce


class LimitSettings(Settings, frozen=True, kw_only=True):
    """How long it may rest; `post_only` never takes."""

    time_in_force: TimeInForce = "GTC"
    post_only: bool = False


@register("executor", "limit", settings=LimitSettings)
class Limit:
    """Good till cancelled at the limit price, or IOC, or FOK; never placed twice."""

    def __init__(self, settings: LimitSettings) -> None:
        """Refuse what contradicts itself.

        Raises:
            Refused: BAD_SETTING, post-only with a time in force that only takes.
        """
        if settings.post_only and settings.time_in_force != "GTC":
            raise Refused("BAD_SETTING", f"post_only rests, {settings.time_in_force} does not: use GTC")
        self.settings = settings

    def decide(self, view: ParentView) -> tuple[ExecutorCommand, ...]:
        if view.busy or not view.open_qty:
            return ()
        if view.attempts:
            child = view.children[-1] if view.children else None
            status = OrderStatus.EXPIRED if child is None else child.status
            return (EndParent(status, "" if child is None else child.reason),)
        price = view.order.limit_price
        assert price is not None, "the entry check lets no limit order without its price through"
        # Tick and lot may have changed since the order was accepted (MD-17); its limit is never passed.
        price = view.instrument.price_within(view.order.side, price)
        qty = view.instrument.floor_qty(view.open_qty)
        if not qty or price <= 0:
            return (EndParent(OrderStatus.EXPIRED, "dust"),)
        settings = self.settings
        return (PlaceChild(qty, price, settings.time_in_force, settings.post_only),)
