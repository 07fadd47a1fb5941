"""What the daemon shows: health, readiness, status and orders, pulled from views between steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tradefan import __version__
from tradefan.actors.market_state import FeedView
from tradefan.actors.oms import Oms
from tradefan.actors.oms_view import OmsView, order_update, parent_update
from tradefan.actors.risk_desk_state import AccountRiskView
from tradefan.config.schema import Config
from tradefan.contracts import suggest
from tradefan.drivers.watchdog import Watchdog
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.messages.market import Quality
from tradefan.messages.orders import OrderUpdate, ParentUpdate, PositionUpdate, Refusal
from tradefan.metrics import Metrics
from tradefan.runtime.kernel import Kernel
from tradefan.telemetry import Logging
from tradefan.units import MS, SECOND, AccountId, InstrumentId, exact, iso
from tradefan.views import Views
from tradefan.wiring import (
    Plan,
    account_port,
    gateway_name,
    market_name,
    market_port,
    resolve_symbol,
    strategy_name,
)

SCHEMA = 1
JSON = dict[str, Any]


class Picture:
    """Views of one running system; nothing here changes it."""

    def __init__(
        self,
        environment: Environment,
        kernel: Kernel,
        plan: Plan,
        now_ns: Callable[[], int],
        watchdog: Watchdog,
        log: Logging,
    ) -> None:
        self.url = ""
        self._environment = environment
        self._kernel = kernel
        self._plan = plan
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._views = Views(kernel, plan)
        self._metrics = Metrics(self._views, watchdog, log, environment.name, now_ns)

    @property
    def _config(self) -> Config:
        config = self._kernel.config
        assert isinstance(config, Config)
        return config

    # --- health and readiness -------------------------------------------------------------------------

    def health(self) -> JSON:
        """Return what is up; `down` when a critical part is not."""
        checks = {"journal": _check(self._views.running("journal"), "link")}
        checks["oms"] = _check(self._views.oms() is not None, "actor")
        checks["risk_desk"] = _check(self._views.risk() is not None, "actor")
        for venue in self._plan.venues:
            up = self._views.market(venue) is not None and self._views.running(market_port(venue))
            checks[market_name(venue)] = _check(up, "actor and link")
        for account in self._plan.accounts:
            up = self._views.gateway(account) is not None and self._views.running(account_port(account))
            checks[gateway_name(account)] = _check(up, "actor and link")
        down = [name for name, check in checks.items() if check["status"] != "ok"]
        return {
            "status": "down" if down else "ok",
            "timestamp": iso(self._now_ns()),
            "checks": checks,
        }

    def ready(self) -> JSON:
        """Return whether orders can be placed on every feed, and what is waited for."""
        waiting = {name: "down" for name, check in self.health()["checks"].items() if check["status"] != "ok"}
        oms, risk = self._views.oms(), self._views.risk()
        if oms is not None and oms.state != "READY":
            waiting["oms"] = oms.state
        if risk is not None and risk.state != "READY":
            waiting["risk_desk"] = risk.state
        for feed in self._views.feeds():
            if feed.quality is not Quality.LIVE:
                waiting[feed.instrument] = f"{feed.quality}: {feed.reason}"
        return {"ready": not waiting, "waiting": waiting}

    # --- status ---------------------------------------------------------------------------------------

    def status(self) -> JSON:
        """Return everything that one screen shows."""
        now_ns, oms, risk = self._now_ns(), self._views.oms(), self._views.risk()
        return {
            "schema": SCHEMA,
            "version": __version__,
            "environment": self._environment.name,
            "paper": all(account.venue == "paper" for account in self._config.accounts.values()),
            "pid": os.getpid(),
            "url": self.url,
            "data_dir": str(self._environment.places.root),
            "now": iso(now_ns),
            "uptime_s": round((now_ns - self._started_ns) / SECOND, 1),
            "config_id": self._kernel.state.config_id,
            "mode": _mode(oms),
            "equity": [_equity(one) for one in risk.accounts] if risk else [],
            "today": [_today(one) for one in risk.accounts] if risk else [],
            "drawdown": [_drawdown(one, self._config) for one in risk.accounts] if risk else [],
            "limits": [_limits(one) for one in risk.accounts] if risk else [],
            "feeds": [_feed(feed, now_ns) for feed in self._views.feeds()],
            "positions": self._positions(oms),
            "parents": [_parent(one) for one in _working(oms)],
            "orders": _orders(oms),
            "fills": {"total": oms.fills if oms else None},
            "refusals": [_refusal(one) for one in oms.refusals] if oms else [],
            "strategies": self.strategies(),
            "actors": self._actors(),
            "stores": self._stores(oms),
        }

    def _positions(self, oms: OmsView | None) -> list[JSON]:
        marks = {feed.instrument: _mid(feed) for feed in self._views.feeds()}
        positions = oms.positions if oms else ()
        return [self._position(one, marks.get(one.instrument)) for one in positions]

    def _position(self, one: PositionUpdate, mark: Decimal | None) -> JSON:
        instrument = self._plan.instruments.get(one.instrument)
        unrealised = None
        if mark is not None and one.avg_px is not None and instrument is not None:
            unrealised = instrument.pnl(one.qty, one.avg_px, mark)
        return {
            "account": one.account,
            "instrument": one.instrument,
            "owner": one.owner,
            "qty": one.qty,
            "avg_px": None if one.avg_px is None else round(one.avg_px, 8),
            "mark": mark,
            "unrealised": None if unrealised is None else round(unrealised, 8),
            "realised": one.realised,
            "fees": one.fees,
            "working_qty": one.working_qty,
            "in_doubt_qty": one.in_doubt_qty,
        }

    def _actors(self) -> list[JSON]:
        lanes = self._kernel.statistics()
        found = []
        for cell in self._kernel.cells:
            if cell is None:
                continue
            name = cell.spec.name
            state, text = self._actor_state(name, up=cell.actor is not None)
            found.append(
                {
                    "name": name,
                    "state": state,
                    "text": text,
                    "restarts": self._kernel.life.tree.child(name).restarts,
                    "turns": cell.turns,
                    "facts_peak": lanes[name].facts_peak,
                    "refused": lanes[name].refused,
                    "dropped": lanes[name].dropped,
                }
            )
        return found

    def _actor_state(self, name: str, *, up: bool) -> tuple[str, str]:
        if not up:
            return "DOWN", "restarts exhausted"
        oms, risk = self._views.oms(), self._views.risk()
        if name == "oms" and oms is not None:
            return oms.state, ""
        if name == "risk_desk" and risk is not None:
            return risk.state, ""
        for owner in self._plan.strategies:
            view = self._views.trader(owner)
            if name == strategy_name(owner) and view is not None:
                return str(view.phase), view.forecast
        return "UP", ""

    def _stores(self, oms: OmsView | None) -> list[JSON]:
        writer = self._views.writer()
        journal: JSON = {
            "name": "journal",
            "state": "UP" if self._views.running("journal") else "DOWN",
            "lsn": oms.lsn if oms else None,
            "durable_lsn": oms.durable_lsn if oms else None,
        }
        store: JSON = {"name": "store", "state": "UP" if self._views.running("store") else "DOWN"}
        if writer is not None:
            store.update(_fields(writer))
        return [journal, store]

    def strategies(self) -> list[JSON]:
        """Return the strategy instances."""
        found = []
        for owner, one in self._plan.strategies.items():
            view = self._views.trader(owner)
            found.append(
                {
                    "owner": owner,
                    "use": one.use,
                    "account": one.account,
                    "capital": one.capital,
                    "state": "DOWN" if view is None else str(view.phase),
                    "text": "" if view is None else view.forecast,
                    "bars": None if view is None else view.bars,
                    "commands": None if view is None else view.commands,
                    "refusals": None if view is None else view.refusals,
                    "decision": None if view is None else view.decision or None,
                    "refusal": None if view is None else view.refusal or None,
                }
            )
        return found

    # --- orders ---------------------------------------------------------------------------------------

    def orders(self) -> list[JSON]:
        """Return the newest parents."""
        oms = self._views.oms()
        return [_parent(one) for one in oms.parents] if oms else []

    def order(self, parent_id: str) -> JSON | None:
        """Return one parent with its children, None when memory does not hold it."""
        cell = self._kernel.cells[self._kernel.refs["oms"]]
        if cell is None or not isinstance(cell.actor, Oms):
            return None
        trading = cell.actor.state.trading
        parent = trading.parents.get(parent_id)  # type: ignore[call-overload]  # a user's text is no ParentId yet
        if parent is None:
            return None
        names = [*parent.ended, *parent.live]
        children = [order_update(trading.orders[name]) for name in names if name in trading.orders]
        return {**_parent(parent_update(parent)), "children_orders": [_child(child) for child in children]}

    def resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        """Return the account and instrument that a user's words name.

        Raises:
            Refused: UNKNOWN_ACCOUNT, AMBIGUOUS_ACCOUNT, UNKNOWN_INSTRUMENT or AMBIGUOUS_SYMBOL.
        """
        instrument = resolve_symbol(self._plan.instruments, symbol)
        accounts = self._plan.accounts
        if account is None:
            if len(accounts) != 1:
                raise Refused("AMBIGUOUS_ACCOUNT", f"name one of {', '.join(accounts)}")
            return accounts[0], instrument
        if account not in accounts:
            raise Refused("UNKNOWN_ACCOUNT", f"no account {account!r}{suggest(account, accounts)}")
        return AccountId(account), instrument

    def metrics(self) -> bytes:
        """Return the Prometheus exposition text."""
        return self._metrics.text()


def _check(up: bool, kind: str) -> JSON:
    return {"status": "ok" if up else "down", "kind": kind}


def _mode(oms: OmsView | None) -> JSON:
    if oms is None:
        return {"mode": "CANCEL_ONLY", "causes": [{"scope": "all", "text": "the order manager is down"}]}
    now = oms.mode
    causes = [] if now.mode == "NORMAL" else [{"scope": "all", **_fields(now)}]
    causes += [{"scope": instrument, "text": text} for instrument, text in oms.holds.items()]
    return {"mode": now.mode, "causes": causes}


def _fields(struct: Any) -> JSON:  # noqa: ANN401 any Struct
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _working(oms: OmsView | None) -> list[ParentUpdate]:
    return [one for one in oms.parents if one.phase != "DONE"] if oms else []


def _orders(oms: OmsView | None) -> JSON:
    if oms is None:
        return {"open": None, "in_doubt": None, "total": None, "list": []}
    return {
        "open": oms.orders_open,
        "in_doubt": oms.in_doubt,
        "total": oms.counters.orders,
        "list": [_child(one) for one in oms.orders],
    }


def _parent(one: ParentUpdate) -> JSON:
    order = one.order
    return {
        "parent_id": order.parent_id,
        "account": order.account,
        "instrument": order.instrument,
        "symbol": order.instrument.partition(":")[2],
        "owner": order.owner,
        "ref": order.ref,
        "status": str(one.status),
        "phase": str(one.phase),
        "reason": one.reason,
        "side": order.side,
        "algo": order.algo,
        "order_qty": order.order_qty,
        "cum_qty": one.cum_qty,
        "leaves_qty": one.leaves_qty,
        "working_qty": one.working_qty,
        "in_doubt_qty": one.in_doubt_qty,
        "avg_px": None if one.avg_px is None else round(one.avg_px, 8),
        "limit_price": order.limit_price,
        "created_ns": order.created_ns,
        "start_ns": None,
        "end_ns": None,
        "progress": round(float(one.cum_qty / order.order_qty), 6),
        "schedule_error": None,
        "children": one.children,
    }


def _child(one: OrderUpdate) -> JSON:
    shown = _fields(one)
    shown["status"] = str(one.status)
    shown["avg_px"] = None if one.avg_px is None else round(one.avg_px, 8)
    shown["in_doubt"] = None if one.in_doubt is None else str(one.in_doubt)
    return shown


def _refusal(one: Refusal) -> JSON:
    return {**_fields(one), "at": iso(one.at_ns)}


def _feed(feed: FeedView, now_ns: int) -> JSON:
    return {
        "instrument": feed.instrument,
        "quality": str(feed.quality),
        "reason": feed.reason or None,
        "age_ms": None if feed.heard_ns is None else max(0, now_ns - feed.heard_ns) // MS,
        "last": feed.last_price,
        "bid": feed.bid,
        "ask": feed.ask,
        "session": feed.session,
        "counters": _fields(feed.counters),
    }


def _mid(feed: FeedView) -> Decimal | None:
    if feed.bid is None or feed.ask is None:
        return None
    return (exact(feed.bid) + exact(feed.ask)) / 2


def _equity(one: AccountRiskView) -> JSON:
    return {
        "account": one.account,
        "numeraire": one.numeraire,
        "equity": one.equity,
        "realised": one.realised,
        "unrealised": one.unrealised,
        "fees": one.fees,
        "seam": one.seam,
        "exposure": one.exposure,
        "concentration": one.concentration,
        "largest": one.largest,
    }


def _today(one: AccountRiskView) -> JSON:
    """Net is the change of equity since the day began, seams booked apart; gross is before fees."""
    known = one.equity is not None and one.day_equity is not None
    net = (
        one.equity - one.day_equity
        if known and one.equity is not None and one.day_equity is not None
        else None
    )
    return {
        "account": one.account,
        "since": None if one.day_start_ns is None else iso(one.day_start_ns),
        "gross": None if net is None else net + one.fees,
        "fees": one.fees,
        "net": net,
    }


def _drawdown(one: AccountRiskView, config: Config) -> JSON:
    return {
        "account": one.account,
        "value": one.drawdown,
        "limit": config.risk.max_drawdown,
        "peak": one.peak,
        "daily_loss": one.daily_loss,
        "daily_loss_limit": config.risk.max_daily_loss,
    }


def _limits(one: AccountRiskView) -> JSON:
    return {
        "account": one.account,
        "room": None if one.room is None else _fields(one.room),
        "breaches": [_fields(breach) for breach in (*one.breaches, *one.latched)],
    }
