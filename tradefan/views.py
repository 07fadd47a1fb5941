"""Typed access to the actors' views between steps, and who is up: the source of status, health, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from tradefan.actors.configurator import ConfiguratorState
from tradefan.actors.data_writer import DataWriterView
from tradefan.actors.gateway_state import GatewayView
from tradefan.actors.market_state import FeedView, MarketDataView
from tradefan.actors.oms import Oms
from tradefan.actors.oms_limits_view import PositionUse, position_use
from tradefan.actors.oms_progress import Progress, progress_of
from tradefan.actors.oms_tca_view import Look, costs_now, shown
from tradefan.actors.oms_view import OmsView
from tradefan.actors.point_writer import PointWriterView
from tradefan.actors.risk_desk_state import RiskView
from tradefan.actors.trader_state import TraderView
from tradefan.config.schema import Config
from tradefan.core.trading import Trading
from tradefan.messages.market import Quality
from tradefan.messages.tca import TcaUpdate
from tradefan.runtime.kernel import Kernel
from tradefan.stores.recorder import FlightRecorder
from tradefan.units import AccountId, ParentId, iso
from tradefan.wiring import (
    CONFIGURATOR,
    POINT_WRITERS,
    Plan,
    account_port,
    gateway_name,
    market_name,
    market_port,
    strategy_name,
)

READY = "READY"
DOWN = "DOWN"
WARMING = "WARMING"


@dataclass(frozen=True)
class Part:
    """One actor or link: `state` is STARTING, WARMING, READY or DOWN, `text` what is missing."""

    name: str
    kind: str
    state: str
    text: str
    restarts: int
    critical: bool


class Views:
    """One system's views; each is None while its actor is down."""

    def __init__(self, kernel: Kernel, plan: Plan) -> None:
        """Remember whom to ask; nothing is kept between two questions."""
        self.kernel = kernel
        self.plan = plan
        """Who sets it says that others are there: another configuration came into force."""
        self.recorder: FlightRecorder | None = None
        """Where a daemon has one."""
        self._venues = {market_name(venue): venue for venue in plan.venues}
        self._accounts = {gateway_name(account): account for account in plan.accounts}
        links = [*map(market_port, plan.venues), *map(account_port, plan.accounts)]
        self._critical = {"journal", "oms", "risk_desk", *links, *self._venues, *self._accounts}

    # --- one actor's picture ----------------------------------------------------------------------

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

    def configurator(self) -> ConfiguratorState | None:
        """Return the configurator's."""
        view = self.kernel.view(CONFIGURATOR)
        return view if isinstance(view, ConfiguratorState) else None

    def points(self, port: str) -> PointWriterView | None:
        """Return that of whoever writes to InfluxDB or Redis; None also where none is configured."""
        view = self.kernel.view(POINT_WRITERS[port]) if port in self.plan.refs else None
        return view if isinstance(view, PointWriterView) else None

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

    def trading(self) -> Trading | None:
        """Return what the order manager knows of orders, to look one of them up and not to change it."""
        actor = self._oms()
        return None if actor is None else actor.state.trading

    def progress(self, parent_id: ParentId, now_ns: int) -> Progress:
        """Return how far a parent has come by now."""
        actor = self._oms()
        parent = None if actor is None else actor.state.trading.parents.get(parent_id)
        if actor is None or parent is None:
            return Progress()
        return progress_of(actor.state, actor.wiring, parent, now_ns)

    def costs(self, now_ns: int) -> tuple[list[TcaUpdate], list[TcaUpdate]]:
        """Return the analyses of open parents, and the newest final ones; nothing while the OMS is down."""
        actor = self._oms()
        return ([], []) if actor is None else shown(actor.state, actor.wiring, now_ns)

    def position_use(self) -> dict[AccountId, PositionUse]:
        """Return how much of the position limits each account has used; nothing while the OMS is down."""
        actor, config = self._oms(), self.kernel.config
        assert isinstance(config, Config)
        return {} if actor is None else position_use(actor.state, actor.wiring, config)

    def cost(self, parent_id: ParentId, now_ns: int) -> TcaUpdate | None:
        """Return the analysis of one parent as it stands, None where memory does not have it."""
        actor = self._oms()
        if actor is None:
            return None
        return costs_now(Look(actor.state.trading, actor.state.live, actor.wiring), parent_id, now_ns)

    def _oms(self) -> Oms | None:
        cell = self.kernel.cells[self.kernel.refs["oms"]]
        actor = None if cell is None else cell.actor
        return actor if isinstance(actor, Oms) else None

    # --- who is up --------------------------------------------------------------------------------

    def parts(self) -> list[Part]:
        """Return every actor and link in the order of their start."""
        return [self._part(child.id, child.kind) for child in self.kernel.life.tree.order]

    def part(self, name: str) -> Part:
        """Return one actor or link."""
        return self._part(name, "link" if self.kernel.refs[name] in self.kernel.ports else "actor")

    def waiting(self) -> dict[str, str]:
        """Return why orders cannot be placed on every feed now; nothing means that they can.

        A dead link stands here by its own name, beside what it makes unusable.
        """
        waits = {
            part.name: f"{part.state}: {part.text}" if part.text else part.state
            for part in self.parts()
            if part.critical and part.state != READY
        }
        for feed in self.feeds():
            if feed.quality is not Quality.LIVE:
                waits[feed.instrument] = f"{feed.quality}: {feed.reason}"
        return waits

    def _part(self, name: str, kind: str) -> Part:
        child = self.kernel.life.tree.child(name)
        state, text = self._link(name) if kind == "link" else self._actor(name)
        if state == DOWN and child.retry_ns is not None:
            text = f"next try at {iso(child.retry_ns)}"
        return Part(name, kind, state, text, child.restarts, name in self._critical)

    def _link(self, name: str) -> tuple[str, str]:
        running = self.kernel.ports[self.kernel.refs[name]].running
        return (READY, "") if running else (DOWN, "")

    def _actor(self, name: str) -> tuple[str, str]:
        """Return an actor's own word for how far it is."""
        view = self.kernel.view(name)
        if view is None:
            return DOWN, ""
        if isinstance(view, OmsView):
            return view.state, ""
        if isinstance(view, RiskView):
            return view.state, view.reason
        if isinstance(view, TraderView):
            return str(view.phase), view.forecast
        if isinstance(view, MarketDataView) and view.phase != "LIVE":
            return WARMING, f"{market_port(self._venues[name])}: {view.reason or view.phase}"
        if isinstance(view, GatewayView) and not view.connected:
            return WARMING, f"{account_port(self._accounts[name])}: {view.auth or view.reason or view.phase}"
        return READY, ""
