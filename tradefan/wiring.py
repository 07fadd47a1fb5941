"""The only map of who talks to whom: configuration in, a wired system out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

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
from tradefan.actors.risk_desk import RiskDesk
from tradefan.actors.risk_desk_state import RiskDeskState, RiskDeskWiring
from tradefan.actors.trader import Trader
from tradefan.actors.trader_state import TraderState, TraderWiring
from tradefan.config.check import validate_swap
from tradefan.config.schema import Config, StrategyConfig, VenueConfig
from tradefan.contracts import suggest
from tradefan.core.connection import Timing
from tradefan.core.declare import declare, find_strategy
from tradefan.core.desk import Declared
from tradefan.errors import Refused
from tradefan.messages.base import Message
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


def strategy_name(owner: str) -> str:
    """Name the trader of a strategy instance."""
    return f"strategy:{owner}"


def plan(config: Config, instruments: Mapping[InstrumentId, Instrument]) -> Plan:
    """Number everybody: actors in the order of the tree, then ports."""
    feeds = {InstrumentId(name) for name in config.feeds}
    traded = {id_: one for id_, one in sorted(instruments.items()) if id_ in feeds}
    venues = tuple(sorted({one.venue for one in traded.values()}))
    accounts = tuple(AccountId(name) for name in sorted(config.accounts))
    strategies = {OwnerId(name): one for name, one in sorted(config.strategies.items()) if one.enabled}
    actors = [
        *(market_name(venue) for venue in venues),
        *(gateway_name(account) for account in accounts),
        "oms",
        *(strategy_name(owner) for owner in strategies),
        "risk_desk",
        "data_writer",
        "configurator",
    ]
    ports = [
        "journal",
        *(market_port(venue) for venue in venues),
        *(account_port(account) for account in accounts),
        "store",
        "api",
    ]
    return Plan(venues, accounts, strategies, traded, number_refs([*actors, *ports]))


def wire(
    config: Config, instruments: Mapping[InstrumentId, Instrument], instance: str, version: str
) -> System:
    """Wire a system for a configuration.

    Raises:
        Refused: a strategy of the configuration cannot be declared.
    """
    names = plan(config, instruments)
    declared = {owner: _declared(one, names) for owner, one in names.strategies.items()}
    return System(
        actors=tuple(_actors(config, names, declared, instance, version)),
        ports=tuple(_ports(names)),
        tree=_tree(config, names),
        decode_message=decode,
        decode_config=partial(msgspec.msgpack.decode, type=Config),
        validators=(validate_swap,),
        configurator="configurator",
        last_resort=partial(last_resort, names.refs["journal"]),
    )


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
    ) -> ActorSpec:
        return ActorSpec(name, factory, state, limits, watchers, breakable, warned)

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
            )
            for owner in names.strategies
        ),
        spec(
            "risk_desk",
            partial(
                RiskDesk,
                RiskDeskWiring(
                    oms=refs["oms"],
                    store=refs["data_writer"],
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
            "data_writer",
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
        spec("configurator", partial(Configurator, "configurator"), ConfiguratorState),
    ]


def _market(config: Config, names: Plan, declared: Mapping[OwnerId, Declared], venue: str) -> MarketWiring:
    settings = config.venues[venue]
    feeds = []
    for id_, instrument in names.instruments.items():
        if instrument.venue != venue:
            continue
        depths = _depths(declared, id_)
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
        store=names.refs["data_writer"],
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
            *((ref, _needs(declared[owner], id_)) for owner, ref in traders.items()),
            (refs["data_writer"], (Trade, BarsClosed, BarCorrected, Gap)),
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
        observers=(refs["data_writer"],),
        api=refs["api"],
        version=version,
        own_fills_in_feed={account: config.accounts[account].venue != "paper" for account in names.accounts},
    )


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
        on_stop=one.on_stop,
        market=names.refs[market_name(venue)],
    )


# --- what strategies declare ------------------------------------------------------------------------


def _declared(one: StrategyConfig, names: Plan) -> Declared:
    strategy, settings = find_strategy(one.use, one.settings)
    return declare(strategy, settings, partial(_resolve, names)).declared


def _needs(declared: Declared, instrument: InstrumentId) -> list[type[Message]]:
    """Return what a trader hears of an instrument, in the order of sending."""
    if instrument not in declared.instruments:
        return []
    needs: list[type[Message]] = [FeedQuality, SessionBreak, InstrumentUpdate, Quote]
    if instrument in declared.trades:
        needs.append(Trade)
    if any(need.instrument == instrument for need in declared.bars):
        needs.append(BarsClosed)
    return needs


def _depths(declared: Mapping[OwnerId, Declared], instrument: InstrumentId) -> dict[str, int]:
    """Return the timeframes that strategies follow, and how many bars the deepest wants."""
    depths: dict[str, int] = {}
    for need in (need for one in declared.values() for need in one.bars):
        if need.instrument == instrument:
            depths[need.timeframe] = max(depths.get(need.timeframe, 0), need.depth)
    return depths


def _resolve(names: Plan, symbol: str) -> InstrumentId:
    return resolve_symbol(names.instruments, symbol)


def resolve_symbol(instruments: Mapping[InstrumentId, Instrument], symbol: str) -> InstrumentId:
    """Return the instrument that a user's word names: an id, or a symbol that one venue carries.

    Raises:
        Refused: UNKNOWN_INSTRUMENT, or AMBIGUOUS_SYMBOL with the ids to choose from.
    """
    if symbol in instruments:
        return InstrumentId(symbol)
    found = [id_ for id_, one in instruments.items() if one.symbol == symbol]
    if not found:
        raise Refused(
            "UNKNOWN_INSTRUMENT", f"no feed carries {symbol!r}{suggest(symbol, _words(instruments))}"
        )
    if len(found) > 1:
        raise Refused("AMBIGUOUS_SYMBOL", f"{symbol} is traded as {' and '.join(found)}; name one of them")
    return found[0]


def _words(instruments: Mapping[InstrumentId, Instrument]) -> list[str]:
    return sorted({one.symbol for one in instruments.values()})


# --- ports and tree ---------------------------------------------------------------------------------


def _ports(names: Plan) -> list[PortSpec]:
    return [
        PortSpec("journal", "oms"),
        *(PortSpec(market_port(venue), market_name(venue)) for venue in names.venues),
        *(PortSpec(account_port(account), gateway_name(account)) for account in names.accounts),
        PortSpec("store", "data_writer", credit=True),
        PortSpec("api", None),
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
    services = (
        Child("store", "link"),
        Child("data_writer", "actor"),
        Child("api", "link"),
        Child("configurator", "actor"),
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
