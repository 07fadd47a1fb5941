"""The only map of who talks to whom: configuration in, a wired system out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import Struct

from tradefan.actors.configurator import Configurator, ConfiguratorState
from tradefan.actors.data_writer import DataWriter, DataWriterState, DataWriterWiring
from tradefan.actors.gateway import Gateway, GatewayWiring
from tradefan.actors.gateway_state import GatewayState
from tradefan.actors.market_data import MarketData
from tradefan.actors.market_state import Fanout, FeedSpec, MarketState, MarketWiring
from tradefan.actors.oms import Oms
from tradefan.actors.oms_kill import last_resort
from tradefan.actors.oms_state import OmsState, OmsWiring
from tradefan.actors.point_writer import PointWriter, PointWriterState, PointWriterWiring
from tradefan.actors.risk_desk import RiskDesk
from tradefan.actors.risk_desk_state import RiskDeskState, RiskDeskWiring
from tradefan.actors.trader import Trader
from tradefan.actors.trader_state import TraderState, TraderWiring
from tradefan.config.check import validate_swap
from tradefan.config.schema import Config, StrategyConfig, VenueConfig
from tradefan.core.connection import Timing
from tradefan.core.declare import declare, find_strategy
from tradefan.core.desk import Declared
from tradefan.core.needs import depths_of, messages_of
from tradefan.core.symbols import resolve_symbol
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import SwapConfig
from tradefan.messages.instrument import Instrument, InstrumentUpdate
from tradefan.messages.market import (
    BarCorrected,
    BarsClosed,
    BookDelta,
    BookSnapshot,
    FeedQuality,
    FollowTrades,
    Gap,
    Quote,
    SessionBreak,
    Trade,
    VolumeTick,
)
from tradefan.messages.union import decode
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import ActorSpec, PortSpec, System, number_refs
from tradefan.units import SECOND, AccountId, Asset, InstrumentId, OwnerId, Ref

WRITER = "data_writer"
INFLUX = "influx"
REDIS = "redis"
POINT_WRITERS = {INFLUX: "point_writer", REDIS: "publisher"}
"""Ports that are there where such a server is configured, and the actor that writes to each."""
WATCHER = "watcher"
CONFIGURATOR = "configurator"
OMS_SHUTDOWN_NS = 6 * SECOND
"""Cancel and verify own orders: 5 s with a healthy venue, and a moment for the journal."""
FACTS_PER_TURN = 1_500
"""Most facts that one turn sends to one actor: a look of 1,000 open orders and what goes with it."""


class Plan(Struct, frozen=True):
    """Names of actors and ports, from which refs follow; and what the daemon has to open."""

    venues: tuple[str, ...]
    accounts: tuple[AccountId, ...]
    strategies: dict[OwnerId, StrategyConfig]
    instruments: dict[InstrumentId, Instrument]
    refs: dict[str, Ref]

    @property
    def writers(self) -> tuple[str, ...]:
        """Name who hears everything that is stored."""
        return (WRITER, *self.point_writers.values())

    @property
    def point_writers(self) -> dict[str, str]:
        """Name the actors that write to servers beside the daemon, by port."""
        return {port: actor for port, actor in POINT_WRITERS.items() if port in self.refs}


def market_name(venue: str) -> str:
    """Name the market data actor of a venue."""
    return f"market_data:{venue}"


def market_port(venue: str) -> str:
    """Name the port of a venue's public market."""
    return f"market:{venue}"


def gateway_name(account: str) -> str:
    """Name the gateway of an account."""
    return f"gateway:{account}"


def account_port(account: str) -> str:
    """Name the port of an account's venue."""
    return f"venue:{account}"


def notifier_port(name: str) -> str:
    """Name the port of a notifier."""
    return f"notifier:{name}"


def strategy_name(owner: str) -> str:
    """Name the trader of a strategy instance."""
    return f"strategy:{owner}"


def plan(
    config: Config,
    instruments: Mapping[InstrumentId, Instrument],
    known: Mapping[str, Ref] | None = None,
) -> Plan:
    """Number everybody, actors in the order of the tree, then ports; who has a ref in `known` keeps it."""
    feeds = {InstrumentId(name) for name in config.feeds}
    traded = {id_: one for id_, one in sorted(instruments.items()) if id_ in feeds}
    venues = tuple(sorted({one.venue for one in traded.values()}))
    accounts = tuple(AccountId(name) for name in sorted(config.accounts))
    strategies = {OwnerId(name): one for name, one in sorted(config.strategies.items()) if one.enabled}
    servers = [port for port, url in ((INFLUX, config.influx.url), (REDIS, config.redis.url)) if url]
    actors = [
        *(market_name(venue) for venue in venues),
        *(gateway_name(account) for account in accounts),
        "oms",
        *(strategy_name(owner) for owner in strategies),
        "risk_desk",
        WRITER,
        *(POINT_WRITERS[port] for port in servers),
        CONFIGURATOR,
    ]
    ports = [
        "journal",
        *(market_port(venue) for venue in venues),
        *(account_port(account) for account in accounts),
        "store",
        *servers,
        *(notifier_port(name) for name in config.notifiers),
        "api",
        WATCHER,
    ]
    return Plan(venues, accounts, strategies, traded, number_refs([*actors, *ports], known))


def wire(
    config: Config,
    instruments: Mapping[InstrumentId, Instrument],
    instance: str,
    version: str,
    known: Mapping[str, Ref] | None = None,
) -> System:
    """Wire a system for a configuration; `known` are the refs of a run that wires itself anew.

    Raises:
        Refused: a strategy of the configuration cannot be declared.
    """
    names = plan(config, instruments, known)
    declared = {owner: _declared(owner, one, names) for owner, one in names.strategies.items()}
    return System(
        actors=tuple(_actors(config, names, declared, instance, version)),
        ports=tuple(_ports(config, names)),
        tree=_tree(config, names),
        decode_message=decode,
        decode_config=partial(msgspec.msgpack.decode, type=Config),
        validators=(validate_swap,),
        configurator=CONFIGURATOR,
        last_resort=partial(last_resort, names.refs["journal"]),
        known={} if known is None else dict(known),
        rewire=partial(_rewire, config, instruments, instance, version),
        made_of=instruments,
    )


def _rewire(
    old: Config,
    instruments: Mapping[InstrumentId, Instrument],
    instance: str,
    version: str,
    new: Config,
    swap: SwapConfig,
    known: Mapping[str, Ref],
) -> System | None:
    """Wire anew where others trade, or observe other things."""
    if (old.strategies, old.feeds) == (new.strategies, new.feeds):
        return None
    told = {one.id: one for one in swap.instruments}
    return wire(new, {**instruments, **told}, instance, version, known)


def encode_config(config: Config) -> bytes:
    """Return a configuration as `SwapConfig` and snapshots carry it."""
    return msgspec.msgpack.encode(config)


# --- actors -----------------------------------------------------------------------------------------


def _actors(
    config: Config, names: Plan, declared: Mapping[OwnerId, Declared], instance: str, version: str
) -> list[ActorSpec]:
    refs = names.refs
    limits = Limits(
        facts_high=config.runtime.facts_high_water,
        facts_max=config.runtime.facts_high_water + config.runtime.messages_per_step * FACTS_PER_TURN,
        commands_max=config.runtime.commands_capacity,
        market_max=config.runtime.market_capacity,
    )

    def spec(
        name: str,
        factory: Callable[[Any], Any],
        state: Any,  # noqa: ANN401 a Struct class
        watchers: tuple[str, ...] = (),
        *,
        breakable: bool = False,
        warned: bool = False,
        kind: object = None,
    ) -> ActorSpec:
        return ActorSpec(name, factory, state, limits, watchers, breakable, warned, kind)

    fanout = _fanout(names, declared)
    return [
        *(
            spec(
                market_name(venue),
                partial(MarketData, _market(config, names, declared, venue), fanout),
                MarketState,
            )
            for venue in names.venues
        ),
        *(
            spec(gateway_name(account), partial(Gateway, _gateway(names, account)), GatewayState)
            for account in names.accounts
        ),
        spec("oms", partial(Oms, _oms(config, names, instance, version)), OmsState, warned=True),
        *(
            spec(
                strategy_name(owner),
                partial(Trader, _trader(config, names, owner)),
                TraderState,
                ("oms",),
                breakable=True,
                kind=(one.use, one.settings, one.capital),
            )
            for owner, one in names.strategies.items()
        ),
        spec(
            "risk_desk",
            partial(
                RiskDesk,
                RiskDeskWiring(
                    oms=refs["oms"],
                    stores=tuple(refs[name] for name in names.writers),
                    markets=tuple(refs[market_name(venue)] for venue in names.venues),
                    accounts=names.accounts,
                    instruments=names.instruments,
                    numeraire=Asset(config.portfolio.numeraire),
                ),
            ),
            RiskDeskState,
            ("oms",),
        ),
        spec(
            WRITER,
            partial(
                DataWriter,
                DataWriterWiring(
                    refs["store"],
                    refs["oms"],
                    markets={venue: refs[market_name(venue)] for venue in names.venues},
                ),
            ),
            DataWriterState,
        ),
        *(
            spec(name, partial(PointWriter, _point_writer(names, port)), PointWriterState)
            for port, name in names.point_writers.items()
        ),
        spec(CONFIGURATOR, partial(Configurator, CONFIGURATOR), ConfiguratorState),
    ]


def _market(config: Config, names: Plan, declared: Mapping[OwnerId, Declared], venue: str) -> MarketWiring:
    settings = config.venues[venue]
    feeds = []
    for id_, instrument in names.instruments.items():
        if instrument.venue != venue:
            continue
        depths = depths_of(declared, id_)
        wanted = {*config.feeds[id_].timeframes(), *depths}
        feeds.append(FeedSpec(instrument, config.feeds[id_].streams.names(), tuple(sorted(wanted)), depths))
    return MarketWiring(
        name=market_name(venue),
        venue=venue,
        link=names.refs[market_port(venue)],
        url=settings.stream_url,
        feeds=tuple(feeds),
        timing=_timing(settings),
        bar_grace_ns=config.time.bar_grace,
        klines=settings.source == "live",
        store=names.refs[WRITER],
    )


def _timing(settings: VenueConfig) -> Timing:
    return Timing(
        connect_ns=settings.connect_timeout,
        ack_ns=settings.ack_timeout,
        first_frame_ns=settings.first_frame_timeout,
        silence_ns=settings.silence_timeout,
        backoff_base_ns=settings.backoff_base,
        backoff_cap_ns=settings.backoff_cap,
    )


def _fanout(names: Plan, declared: Mapping[OwnerId, Declared]) -> Fanout:
    """Say who hears what: OMS, risk desk, traders, store, then the paper venues."""
    refs, fanout = names.refs, Fanout()
    traders = {owner: refs[strategy_name(owner)] for owner in declared}
    for id_ in names.instruments:
        hearers: list[tuple[Ref, Sequence[type[Message]]]] = [
            (refs["oms"], (Quote, FeedQuality, SessionBreak, InstrumentUpdate, VolumeTick, FollowTrades)),
            (refs["risk_desk"], (Quote, FeedQuality, SessionBreak, InstrumentUpdate)),
            *((ref, messages_of(declared[owner], id_)) for owner, ref in traders.items()),
            (refs[WRITER], (Trade, BarsClosed, BarCorrected, Gap)),
            *((refs[name], (Trade, Quote, BarsClosed, BarCorrected, Gap)) for name in names.writers[1:]),
            *(
                (refs[account_port(name)], (Trade, BookDelta, BookSnapshot, SessionBreak))
                for name in names.accounts
            ),
        ]
        for ref, kinds in hearers:
            for kind in kinds:
                fanout.add(kind, id_, ref)
    for owner, ref in traders.items():
        fanout.add_owner(owner, ref)
    return fanout


def _gateway(names: Plan, account: AccountId) -> GatewayWiring:
    refs = names.refs
    return GatewayWiring(
        name=gateway_name(account),
        account=account,
        oms=refs["oms"],
        link=refs[account_port(account)],
        instruments=tuple(names.instruments.values()),
    )


def _oms(config: Config, names: Plan, instance: str, version: str) -> OmsWiring:
    refs = names.refs
    return OmsWiring(
        journal=refs["journal"],
        gateways={account: refs[gateway_name(account)] for account in names.accounts},
        accounts={account: tuple(names.instruments) for account in names.accounts},
        instruments=names.instruments,
        owners={owner: refs[strategy_name(owner)] for owner in names.strategies},
        instance=instance,
        numeraire=Asset(config.portfolio.numeraire),
        risk_desk=refs["risk_desk"],
        markets=tuple(refs[market_name(venue)] for venue in names.venues),
        observers=tuple(refs[name] for name in names.writers),
        followers=tuple(refs[name] for port, name in names.point_writers.items() if port == INFLUX),
        api=refs["api"],
        version=version,
        own_fills_in_feed={account: config.accounts[account].venue != "paper" for account in names.accounts},
    )


def _point_writer(names: Plan, port: str) -> PointWriterWiring:
    section: Literal["influx", "redis"] = "redis" if port == REDIS else "influx"
    # Entries of a stream have an order: one batch follows the other.
    under_way = 1 if port == REDIS else 2
    return PointWriterWiring(names.refs[port], POINT_WRITERS[port], section, under_way, port == INFLUX)


def _trader(config: Config, names: Plan, owner: OwnerId) -> TraderWiring:
    one = names.strategies[owner]
    venue = names.venues[0]
    return TraderWiring(
        owner=owner,
        account=AccountId(one.account),
        oms=names.refs["oms"],
        use=one.use,
        settings=one.settings,
        capital=one.capital,
        instruments=names.instruments,
        venue=venue,
        name=strategy_name(owner),
        numeraire=Asset(config.portfolio.numeraire),
        market=names.refs[market_name(venue)],
        stores=tuple(names.refs[name] for name in names.writers),
    )


# --- what strategies declare ------------------------------------------------------------------------


def _declared(owner: OwnerId, one: StrategyConfig, names: Plan) -> Declared:
    try:
        strategy, settings = find_strategy(one.use, one.settings)
        return declare(strategy, settings, partial(_resolve, names)).declared
    except Refused as no:
        raise Refused(no.code, f"strategies.{owner}: {no.text}") from no
    except Exception as error:
        raise Refused("BAD_STRATEGY", f"strategies.{owner}: its setup fails: {error!r}") from error


def _resolve(names: Plan, symbol: str) -> InstrumentId:
    return resolve_symbol(names.instruments, symbol)


# --- ports and tree ---------------------------------------------------------------------------------


def _ports(config: Config, names: Plan) -> list[PortSpec]:
    return [
        PortSpec("journal", "oms"),
        *(PortSpec(market_port(venue), market_name(venue)) for venue in names.venues),
        *(PortSpec(account_port(account), gateway_name(account)) for account in names.accounts),
        PortSpec("store", WRITER, credit=True),
        *(PortSpec(port, name, credit=True) for port, name in names.point_writers.items()),
        *(PortSpec(notifier_port(name), None) for name in config.notifiers),
        PortSpec("api", None),
        PortSpec(WATCHER, CONFIGURATOR),
    ]


def _tree(config: Config, names: Plan) -> Supervisor:
    runtime = config.runtime
    usual = (runtime.restarts_max, runtime.restarts_window)
    venue_limits = (runtime.venue_restarts_max, runtime.venue_restarts_window)
    venues = [
        Supervisor(
            f"venue {venue}",
            (Child(market_port(venue), "link"), Child(market_name(venue), "actor")),
            *venue_limits,
            "group_down",
            runtime.venue_retry,
        )
        for venue in names.venues
    ]
    accounts = [
        Supervisor(
            f"account {account}",
            (Child(account_port(account), "link"), Child(gateway_name(account), "actor")),
            *venue_limits,
            "group_down",
            runtime.venue_retry,
        )
        for account in names.accounts
    ]
    traders = tuple(Child(strategy_name(owner), "actor", "transient") for owner in names.strategies)
    servers = names.point_writers.items()
    services = (
        Child("store", "link"),
        Child(WRITER, "actor"),
        *(child for port, name in servers for child in (Child(port, "link"), Child(name, "actor"))),
        *(Child(notifier_port(name), "link") for name in config.notifiers),
        Child("api", "link"),
        Child(CONFIGURATOR, "actor"),
        Child(WATCHER, "link"),
    )
    return Supervisor(
        "root",
        (
            Child("journal", "link"),
            *venues,
            *accounts,
            Child("oms", "actor", shutdown_ns=OMS_SHUTDOWN_NS),
            Supervisor("strategies", traders, *usual, "stay_down", runtime.service_retry),
            Supervisor("risk", (Child("risk_desk", "actor"),), *usual, "stay_down", runtime.venue_retry),
            Supervisor("services", services, *usual, "stay_down", runtime.service_retry),
        ),
        *usual,
        "escalate",
    )
