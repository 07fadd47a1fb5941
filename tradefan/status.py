"""What the daemon shows: health, readiness, status and orders, pulled from views between steps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from tradefan import __version__
from tradefan.actors.market_state import FeedView
from tradefan.actors.oms_view import OPEN_SHOWN, OmsView
from tradefan.config.check import PAPER
from tradefan.config.schema import Config
from tradefan.core.order import Order
from tradefan.core.symbols import resolve_symbol
from tradefan.core.updates import order_update, parent_update
from tradefan.drivers.latch import ALL, Latch
from tradefan.drivers.watchdog import Watchdog
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.host import read_host, rss_bytes
from tradefan.messages.account import MODES, HealthPoint, Mode
from tradefan.messages.orders import OrderUpdate, ParentUpdate, PositionUpdate, Refusal
from tradefan.messages.records import Fill, Kill
from tradefan.metrics import Metrics
from tradefan.runtime.kernel import Kernel
from tradefan.setting import suggest
from tradefan.status_rows import (
    JSON,
    drawdown_row,
    equity_row,
    feed_row,
    fields_of,
    limits_row,
    mid,
    money,
    parent_row,
    recorder_row,
    today_row,
)
from tradefan.stores.recorder import FlightRecorder
from tradefan.tca_rows import cost_summary
from tradefan.tca_store import costs_since, detail_of, read_store
from tradefan.telemetry import Logging
from tradefan.units import EXTERNAL, SECOND, AccountId, InstrumentId, ParentId, iso, plain
from tradefan.views import DOWN, Part, Views
from tradefan.wiring import Plan

SCHEMA = 1
OPERATORS = ("api", "cli")
"""Owners that are people: they may be killed like any other."""
T = TypeVar("T")


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
        latch: Latch | None = None,
        recorder: FlightRecorder | None = None,
    ) -> None:
        """Remember where to look; `url` is set by whoever listens, `config_files` by whoever reads them."""
        self.url = ""
        self.config_files: Callable[[], tuple[int, str]] = lambda: (0, "")
        """Who knows the number of the version in force, and which state of the files was judged last."""
        self.notices: Callable[[], Mapping[str, Any]] = dict
        """Who knows what became of messages, by notifier."""
        self._environment = environment
        self._kernel = kernel
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._watchdog = watchdog
        self._log = log
        self.views = Views(kernel, plan)
        self.views.recorder = recorder
        self._latch = Latch() if latch is None else latch
        self._metrics = Metrics(
            self.views,
            watchdog,
            log,
            environment.name,
            now_ns,
            self._latch,
            lambda: self.config_files()[0],
            lambda: {**self.notices()},
        )

    @property
    def _config(self) -> Config:
        config = self._kernel.config
        assert isinstance(config, Config)
        return config

    # --- health and readiness ---------------------------------------------------------------------

    def health(self) -> JSON:
        """Return what runs; `down` when a critical part does not."""
        parts = self.views.parts()
        down = any(part.critical and part.state == DOWN for part in parts)
        return {
            "status": "down" if down else "ok",
            "timestamp": iso(self._now_ns()),
            "checks": {part.name: _check(part) for part in parts},
        }

    def ready(self) -> JSON:
        """Return whether orders can be placed on every feed, and what is waited for."""
        waiting = self.views.waiting()
        return {"ready": not waiting, "waiting": waiting}

    def health_point(self) -> HealthPoint:
        """Return how the daemon is, for the stores."""
        kernel, now_ns, host = self._kernel, self._now_ns(), read_host()
        memory, network = host.get("host_memory_bytes", {}), host.get("host_network_bytes", {})
        return HealthPoint(
            now_ns,
            _mode(self.views.oms(), self._latch)["mode"],
            not self.views.waiting(),
            round(self._watchdog.lag_s, 6),
            rss_bytes(),
            kernel.state.steps,
            kernel.state.messages,
            sum(part.restarts for part in self.views.parts()),
            round(time.process_time(), 3),
            round(host.get("host_load_ratio", {}).get("", 0.0), 4),
            int(memory.get("available", 0)),
            self._log.free_bytes or 0,
            int(network.get("in", 0)),
            int(network.get("out", 0)),
        )

    def metrics(self) -> bytes:
        """Return the Prometheus exposition text."""
        return self._metrics.text()

    # --- status -----------------------------------------------------------------------------------

    def status(self) -> JSON:
        """Return everything that one screen shows; `more` counts what its lists of open things leave out."""
        now_ns, oms, risk, feeds = self._now_ns(), self.views.oms(), self.views.risk(), self.views.feeds()
        accounts, working, holdings = risk.accounts if risk else (), _working(oms), self._holdings()
        positions = self._top(oms.positions, lambda one: bool(one.qty)) if oms else ()
        return {
            "schema": SCHEMA,
            "version": __version__,
            "environment": self._environment.name,
            "paper": all(account.venue == PAPER for account in self._config.accounts.values()),
            "pid": os.getpid(),
            "url": self.url,
            "data_dir": str(self._environment.places.root),
            "now": iso(now_ns),
            "uptime_s": round((now_ns - self._started_ns) / SECOND, 1),
            "config_id": self._kernel.state.config_id,
            "config": self._configuration(),
            "ready": not self.views.waiting(),
            "mode": _mode(oms, self._latch),
            "equity": [equity_row(one) for one in accounts],
            "today": [today_row(one) for one in accounts],
            "drawdown": [drawdown_row(one, self._config) for one in accounts],
            "limits": [limits_row(one) for one in accounts],
            "feeds": [feed_row(feed, now_ns) for feed in feeds],
            "positions": self._positions(positions, feeds),
            "holdings": holdings[:OPEN_SHOWN],
            "parents": [*map(self._parent, working)],
            "orders": self._orders_now(oms),
            "more": {
                "positions": oms.positions_kept - len(positions) if oms else 0,
                "holdings": max(len(holdings) - OPEN_SHOWN, 0),
                "parents": oms.parents_open - len(working) if oms else 0,
                "orders": oms.orders_open - len(oms.orders) if oms else 0,
            },
            "fills": _fills(oms),
            "tca": self._costs(now_ns),
            "refusals": [_refusal(one) for one in oms.refusals] if oms else [],
            "strategies": self.strategies(),
            **self._who_runs(),
            "stores": self._stores(oms),
        }

    def _configuration(self) -> JSON:
        """Return which version is in force, and the last edit that was refused, with all reasons."""
        seen, (version, files) = self.views.configurator(), self.config_files()
        return {
            "config_id": self._kernel.state.config_id,
            "version": version or None,
            "files": files,
            "swaps": seen.swaps if seen else None,
            "refused": seen.refused if seen else None,
            "refused_id": seen.refused_id if seen else None,
            "refused_errors": list(seen.refused_errors) if seen else [],
        }

    def _costs(self, now_ns: int) -> JSON:
        """Return what open parents have cost so far, and what the newest final ones did."""
        live, final = self.views.costs(now_ns)
        return {"live": [*map(cost_summary, live)], "final": [*map(cost_summary, final)]}

    def _top(self, rows: Sequence[T], is_open: Callable[[T], bool] = lambda _: False) -> Sequence[T]:
        """Return the first rows up to `telemetry.top`, but all that are open, which stand in front."""
        return rows[: max(self._config.telemetry.top, sum(map(is_open, rows)))]

    def _positions(self, rows: Sequence[PositionUpdate], feeds: list[FeedView]) -> list[JSON]:
        marks = {feed.instrument: mid(feed) for feed in feeds}
        return [self._position(one, marks.get(one.instrument)) for one in rows]

    def _position(self, one: PositionUpdate, mark: Decimal | None) -> JSON:
        instrument = self.views.plan.instruments.get(one.instrument)
        unrealised = None
        if mark is not None and one.avg_px is not None and instrument is not None:
            unrealised = instrument.pnl(one.qty, one.avg_px, mark)
        return {
            "account": one.account,
            "instrument": one.instrument,
            "owner": one.owner,
            "qty": one.qty,
            "avg_px": money(one.avg_px),
            "mark": mark,
            "unrealised": money(unrealised),
            "realised": money(one.realised),
            "fees": one.fees,
            "working_qty": one.working_qty,
            "in_doubt_qty": one.in_doubt_qty,
        }

    def _holdings(self) -> list[JSON]:
        """Return what accounts held before us, or got by transfers: `external`'s, by asset; money is none."""
        trading, money = self.views.trading(), self._config.portfolio.numeraire
        held = {} if trading is None else trading.ledger.external
        return [
            {"account": account, "owner": EXTERNAL, "asset": asset, "qty": one.qty}
            for account, assets in held.items()
            for asset, one in assets.items()
            if one.qty and asset != money
        ]

    def _orders_now(self, oms: OmsView | None) -> JSON:
        if oms is None:
            return {"open": None, "in_doubt": None, "total": None, "list": []}
        return {
            "open": oms.orders_open,
            "in_doubt": oms.in_doubt,
            "total": oms.counters.orders,
            "list": [_child(one) for one in oms.orders],
        }

    def _who_runs(self) -> JSON:
        """Return actors with what their lanes went through, and links."""
        lanes = self._kernel.statistics()
        turns = {cell.spec.name: cell.turns for cell in self._kernel.cells if cell is not None}
        actors: list[JSON] = []
        links: list[JSON] = []
        for part in self.views.parts():
            row = {"name": part.name, "state": part.state, "text": part.text, "restarts": part.restarts}
            if part.kind == "link":
                links.append(row)
                continue
            lane = lanes[part.name]
            row |= {"turns": turns[part.name], "facts_peak": lane.facts_peak}
            actors.append({**row, "refused": lane.refused, "dropped": lane.dropped})
        return {"actors": actors, "links": links}

    def _stores(self, oms: OmsView | None) -> list[JSON]:
        writer, journal, store = self.views.writer(), self.views.part("journal"), self.views.part("store")
        return [
            {
                "name": "journal",
                "state": journal.state,
                "lsn": oms.lsn if oms else None,
                "durable_lsn": oms.durable_lsn if oms else None,
            },
            {"name": "store", "state": store.state, **({} if writer is None else fields_of(writer))},
            *map(self._server, self.views.plan.point_writers),
            *(() if self.views.recorder is None else (recorder_row(self.views.recorder.view()),)),
        ]

    def _server(self, port: str) -> JSON:
        writer = self.views.points(port)
        known = {} if writer is None else fields_of(writer)
        return {"name": port, "state": self.views.part(port).state, **known}

    def strategies(self) -> list[JSON]:
        """Return the strategy instances."""
        return [self._strategy(owner) for owner in self.views.plan.strategies]

    def _strategy(self, owner: str) -> JSON:
        one, view = self._config.strategies[owner], self.views.trader(owner)
        known: JSON = {"bars": None, "commands": None, "refusals": None, "decision": None, "refusal": None}
        if view is not None:
            known = {key: getattr(view, key) for key in known}
        return {
            "owner": owner,
            "use": one.use,
            "account": one.account,
            "capital": one.capital,
            "state": DOWN if view is None else view.phase,
            "text": "" if view is None else view.forecast,
            **{key: None if value == "" else value for key, value in known.items()},
        }

    def left(self) -> list[str]:
        """Return, when everything has ended, what is left at the venues.

        A line for each own order, and for each position that `on_stop: flatten` did not sell.
        """
        trading, stopping = self.views.trading(), self._kernel.life.stopping
        if trading is None:
            return ["left at the venue: unknown, the order manager was down"]
        orders = [order for name in trading.orders_live if not (order := trading.orders[name]).external]
        sure = stopping is not None and not stopping.unverified
        count = f"{len(orders)} own order{'' if len(orders) == 1 else 's'}" if orders else "nothing of ours"
        kept = () if stopping is None else stopping.positions
        return [
            f"left at the venue: {count}{'' if sure else ' (not verified)'}",
            *map(_left, orders),
            *(
                f"  {owner} on {account} still holds {plain(qty)} {name}: on_stop flatten did not sell it"
                for account, owner, name, qty in kept
            ),
        ]

    # --- orders -----------------------------------------------------------------------------------

    def orders(self) -> JSON:
        """Return the open parents and the newest done ones, and how many of each are left out."""
        oms = self.views.oms()
        if oms is None:
            return {"orders": [], "more_open": 0, "more_done": 0}
        shown, working = self._top(oms.parents, _is_working), len(_working(oms))
        more_open = oms.parents_open - working
        more_done = oms.parents_kept - more_open - len(shown)
        return {"orders": [*map(self._parent, shown)], "more_open": more_open, "more_done": more_done}

    def order(self, parent_id: str) -> JSON | None:
        """Return one parent with its children, None when memory does not hold it."""
        trading = self.views.trading()
        parent = None if trading is None else trading.parents.get(ParentId(parent_id))
        if trading is None or parent is None:
            return None
        names = [*parent.ended, *parent.live]
        children = [order_update(trading.orders[name]) for name in names if name in trading.orders]
        return {
            **self._parent(parent_update(parent)),
            "children_orders": [_child(child) for child in children],
        }

    def _parent(self, one: ParentUpdate) -> JSON:
        trading = self.views.trading()
        parent = None if trading is None else trading.parents.get(one.order.parent_id)
        progress = self.views.progress(one.order.parent_id, self._now_ns())
        return parent_row(one, progress, parent)

    def tca(self, parent_id: str) -> Callable[[], JSON | None]:
        """Return who looks up the analysis of a parent in the store, beside what memory has of it.

        To be called by another thread: the disk is slow.

        Raises, from there:
            Outage: the store cannot be read.
        """
        now = self.views.cost(ParentId(parent_id), self._now_ns())
        path = self._environment.places.store

        def look() -> JSON | None:
            with read_store(path) as store:
                return None if store is None and now is None else detail_of(store, parent_id, now)

        return look

    def tcas(self, since_ns: int) -> Callable[[], JSON]:
        """Return who looks up the analyses of parents that have ended since then, likewise."""
        path = self._environment.places.store

        def look() -> JSON:
            with read_store(path) as store:
                return costs_since(store, since_ns)

        return look

    def scope(self, word: str) -> str:
        """Return the scope of a kill or resume that a user's word names.

        One that was killed, or has a mode, stays known when the configuration names it no more.

        Raises:
            Refused: UNKNOWN_SCOPE or AMBIGUOUS_SYMBOL.
        """
        plan, accounts = self.views.plan, self._config.accounts
        venues = (*plan.venues, *(accounts[name].venue for name in plan.accounts))
        trading = self.views.trading()
        held = () if trading is None else (*trading.kills, *trading.modes)
        known = (ALL, *plan.accounts, *plan.strategies, *OPERATORS, *venues, *held)
        if word in known:
            return word
        try:
            return resolve_symbol(plan.instruments, word)
        except Refused as no:
            if no.code == "AMBIGUOUS_SYMBOL":
                raise
            near = suggest(word, [*known, *plan.instruments])
            text = f"expected all, an account, instrument, owner or venue, got {word!r}{near}"
            raise Refused("UNKNOWN_SCOPE", text) from no

    def resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        """Return the account and instrument that a user's words name.

        Raises:
            Refused: UNKNOWN_ACCOUNT, AMBIGUOUS_ACCOUNT, UNKNOWN_INSTRUMENT or AMBIGUOUS_SYMBOL.
        """
        instrument = resolve_symbol(self.views.plan.instruments, symbol)
        accounts = self.views.plan.accounts
        if account is None:
            if len(accounts) != 1:
                raise Refused("AMBIGUOUS_ACCOUNT", f"name one of {', '.join(accounts)}")
            return accounts[0], instrument
        if account not in accounts:
            raise Refused("UNKNOWN_ACCOUNT", f"no account {account!r}{suggest(account, accounts)}")
        return AccountId(account), instrument


# --- shapes -------------------------------------------------------------------------------------------


def _check(part: Part) -> JSON:
    return {
        "status": "down" if part.state == DOWN else "ok",
        "state": part.state,
        "kind": part.kind,
        "critical": part.critical,
    }


def _mode(oms: OmsView | None, latch: Latch) -> JSON:
    """Return the tightest mode that holds anywhere, its causes from the tightest on, and the latch.

    The latch is what the links obey: it is shown beside what the order manager knows of it.
    """
    causes = [_cause("all", "oms", "CANCEL_ONLY", "the order manager is down")]
    if oms is not None:
        kills = [_cause(one.scope, "kill", "KILLED", _killed(one)) for one in oms.kills]
        causes = kills + [{name: getattr(one, name) for name in _CAUSE} for one in oms.modes]
    shown = {cause["scope"] for cause in causes if cause["cause"] == "kill"}
    causes += [
        _cause(scope, "latch", "KILLED", f"the latch is closed: {reason}")
        for scope, reason in latch.closed.items()
        if scope not in shown
    ]
    causes.sort(key=lambda cause: -MODES.index(cause["mode"]))
    mode = causes[0]["mode"] if causes else "NORMAL"
    return {"mode": mode, "causes": causes, "latch": dict(latch.closed)}


_CAUSE = ("scope", "cause", "mode", "code", "text", "limit", "used", "would_pass")


def _cause(scope: str, cause: str, mode: Mode, text: str) -> JSON:
    known = {"scope": scope, "cause": cause, "mode": mode, "code": f"MODE_{mode}", "text": text}
    return {name: known.get(name) for name in _CAUSE}


def _killed(kill: Kill) -> str:
    kept = ", protection kept" if kill.keep_protection else ""
    return f"killed at {iso(kill.at_ns)} by {kill.principal}: {kill.reason or 'no reason given'}{kept}"


def _is_working(parent: ParentUpdate) -> bool:
    return parent.phase != "DONE"


def _working(oms: OmsView | None) -> list[ParentUpdate]:
    return [*filter(_is_working, oms.parents)] if oms else []


def _child(one: OrderUpdate) -> JSON:
    return {**fields_of(one), "avg_px": money(one.avg_px)}


def _left(order: Order) -> str:
    price = "at the market" if order.limit_price is None else f"at {plain(order.limit_price)}"
    doubt = f" IN DOUBT ({order.in_doubt})" if order.in_doubt else ""
    what = f"{order.side} {plain(order.order_qty)} {order.instrument} {price}"
    done = f"filled {plain(order.filled)}"
    ids = f"{order.client_order_id} of {order.owner} on {order.account}"
    return f"  {ids}: {what}, {order.status}{doubt}, {done}"


def _fills(oms: OmsView | None) -> JSON:
    if oms is None:
        return {"total": None, "last": []}
    return {"total": oms.fills, "last": [_fill(one) for one in oms.last_fills]}


def _fill(one: Fill) -> JSON:
    shown = ("account", "instrument", "owner", "side", "qty", "price", "fee", "fee_asset", "liquidity")
    ids = ("trade_id", "client_order_id")
    return {"at": iso(one.event_ns), **{name: getattr(one, name) for name in (*shown, *ids)}}


def _refusal(one: Refusal) -> JSON:
    return {**fields_of(one), "at": iso(one.at_ns)}
