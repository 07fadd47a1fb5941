"""Typed access to the actors' views between steps."""

from __future__ import annotations

from tradefan.actors.data_writer import DataWriterView
from tradefan.actors.gateway_state import GatewayView
from tradefan.actors.market_state import FeedView, MarketDataView
from tradefan.actors.oms_view import OmsView
from tradefan.actors.risk_desk_state import RiskView
from tradefan.actors.trader_state import TraderView
from tradefan.runtime.kernel import Kernel
from tradefan.wiring import Plan, gateway_name, market_name, strategy_name


class Views:
    """One system's views; each is None while its actor is down."""

    def __init__(self, kernel: Kernel, plan: Plan) -> None:
        self.kernel = kernel
        self.plan = plan

    def oms(self) -> OmsView | None:
        """Return the order manager's."""
        view = self.kernel.view("oms")
        return view if isinstance(view, OmsView) else None

    def risk(self) -> RiskView | None:
        """Return the risk desk's."""
        view = self.kernel.view("risk_desk")
        return view if isinstance(view, RiskView) else None

    def writer(self) -> DataWriterView | None:
        """Return the data writer's."""
        view = self.kernel.view("data_writer")
        return view if isinstance(view, DataWriterView) else None

    def market(self, venue: str) -> MarketDataView | None:
        """Return a venue's public market's."""
        view = self.kernel.view(market_name(venue))
        return view if isinstance(view, MarketDataView) else None

    def gateway(self, account: str) -> GatewayView | None:
        """Return an account's gateway's."""
        view = self.kernel.view(gateway_name(account))
        return view if isinstance(view, GatewayView) else None

    def trader(self, owner: str) -> TraderView | None:
        """Return a strategy instance's."""
        view = self.kernel.view(strategy_name(owner))
        return view if isinstance(view, TraderView) else None

    def feeds(self) -> list[FeedView]:
        """Return all feeds of venues that are up."""
        views = [self.market(venue) for venue in self.plan.venues]
        return [feed for view in views if view is not None for feed in view.feeds]

    def running(self, port: str) -> bool:
        """Say whether a port's link runs."""
        return self.kernel.ports[self.kernel.refs[port]].running
