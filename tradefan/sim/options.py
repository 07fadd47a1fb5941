"""What a seed draws before it runs: instruments, limits, owners, balances, journal, and its configuration.

Every purpose has a stream of chance of its own, so that a fault kind that is dropped changes nothing
that another kind draws; that is what makes a failing seed's list of faults shorter.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random

from msgspec import Struct

from tradefan.config.schema import (
    AccountConfig,
    Config,
    FeedConfig,
    InstrumentRisk,
    JournalConfig,
    RiskConfig,
    RuntimeConfig,
    StrategyConfig,
    VenueConfig,
)
from tradefan.messages.instrument import Instrument
from tradefan.sim.plugins import TRADER
from tradefan.units import MINUTE, MS, SECOND, AccountId, Asset, InstrumentId

T0 = 1_700_000_000 * SECOND
"""True time at which every seed begins."""
ACCOUNT = AccountId("paper:main")
VENUE = "binance"
NUMERAIRE = Asset("USDT")
HOUR_NS = 60 * MINUTE
DEFAULT_HOURS = 1 / 3
"""20 simulated minutes: 17 with faults, 3 to heal."""
HEAL_NS = 3 * MINUTE
LIAR_SHARE = 0.1


class Traded(Struct, frozen=True):
    """An instrument with the price that its market begins at and the size of a usual order."""

    base: str
    price: str
    tick: str
    lot: str
    size: str


MARKETS = (
    Traded("BTC", "60000", "0.01", "0.00001", "0.004"),
    Traded("ETH", "2500", "0.01", "0.0001", "0.08"),
    Traded("SOL", "150", "0.01", "0.001", "1.2"),
    Traded("BNB", "550", "0.1", "0.001", "0.4"),
)


class Options(Struct, frozen=True):
    """All that a seed draws; times in ns."""

    seed: int
    liar: bool
    fault_ns: int
    heal_ns: int
    instruments: tuple[Instrument, ...]
    prices: dict[InstrumentId, Decimal]
    sizes: dict[InstrumentId, Decimal]
    balances: dict[str, Decimal]
    config: Config
    commit_ns: int
    operator_every_ns: int


class Bounds(Struct, frozen=True):
    """What the venue's personality declares, and its fees: the configuration says the same."""

    accept_ns: int
    visible_ns: int
    late_fill_ns: int
    fee_bps: Decimal


def stream(seed: int, purpose: str) -> Random:
    """Return the stream of chance of one purpose; equal under any PYTHONHASHSEED."""
    return Random(f"tradefan {seed} {purpose}")  # noqa: S311 simulation, not secrets


def is_liar(seed: int) -> bool:
    """Say whether the venue of this seed breaks its declared bounds: one seed in ten."""
    return stream(seed, "liar").random() < LIAR_SHARE


def draw(seed: int, hours: float, bounds: Bounds, misdeeds: dict[int, str]) -> Options:
    """Draw a seed's options; `misdeeds` are what its strategies do wrong, by their number."""
    chance = stream(seed, "options")
    picked = sorted(chance.sample(range(len(MARKETS)), chance.choice((2, 2, 3))))
    markets = [MARKETS[index] for index in picked]
    instruments = tuple(_instrument(one) for one in markets)
    whole_ns = int(hours * HOUR_NS)
    heal_ns = max(HEAL_NS, whole_ns * 3 // 20)
    return Options(
        seed=seed,
        liar=is_liar(seed),
        fault_ns=max(whole_ns - heal_ns, MINUTE),
        heal_ns=heal_ns,
        instruments=instruments,
        prices={one.id: Decimal(traded.price) for one, traded in zip(instruments, markets, strict=True)},
        sizes={one.id: Decimal(traded.size) for one, traded in zip(instruments, markets, strict=True)},
        balances=_balances(chance, markets),
        config=_config(seed, chance, instruments, markets, bounds, misdeeds),
        commit_ns=_commit_ns(chance),
        operator_every_ns=chance.choice((2, 3, 5, 8)) * SECOND,
    )


def _instrument(one: Traded) -> Instrument:
    lot = Decimal(one.lot)
    return Instrument(
        id=InstrumentId(f"{VENUE}:{one.base}/{NUMERAIRE}"),
        venue=VENUE,
        symbol=f"{one.base}/{NUMERAIRE}",
        kind="spot",
        base=Asset(one.base),
        quote=NUMERAIRE,
        settle=NUMERAIRE,
        price_tick=Decimal(one.tick),
        qty_lot=lot,
        min_qty=lot,
        max_qty=Decimal(9_000),
        min_notional=Decimal(5),
    )


def _balances(chance: Random, markets: list[Traded]) -> dict[str, Decimal]:
    """Draw what the account holds: enough, or so little that free balance binds; a position sometimes."""
    found = {str(NUMERAIRE): Decimal(chance.choice((1_500, 5_000, 20_000, 100_000)))}
    for one in markets:
        if chance.random() < 0.5:
            found[one.base] = Decimal(one.size) * chance.choice((1, 3, 10))
    return found


def _commit_ns(chance: Random) -> int:
    """Draw how long a commit takes: 0.1-50 ms, often exactly a bound."""
    roll = chance.random()
    if roll < 0.2:
        return MS // 10
    if roll < 0.35:
        return 50 * MS
    return int(MS / 10 * 500 ** chance.random())


def _config(
    seed: int,
    chance: Random,
    instruments: tuple[Instrument, ...],
    markets: list[Traded],
    bounds: Bounds,
    misdeeds: dict[int, str],
) -> Config:
    return Config(
        environment="simulation",
        accounts={ACCOUNT: _account(chance, bounds)},
        venues={VENUE: VenueConfig(source="tape")},
        feeds={one.id: FeedConfig() for one in instruments},
        strategies=_strategies(seed, chance, instruments, markets, misdeeds),
        risk=_risk(chance, instruments, markets),
        runtime=RuntimeConfig(
            seed=seed + 1,
            # The start counter shuts a daemon that crashes often: in most seeds it would end the trading.
            starts_max=3 if chance.random() < 0.25 else 1_000,
        ),
        journal=JournalConfig(snapshot_every=int(100 * 20 ** chance.random())),
    )


def _account(chance: Random, bounds: Bounds) -> AccountConfig:
    return AccountConfig(
        venue="paper",
        maker_fee_bps=bounds.fee_bps,
        taker_fee_bps=bounds.fee_bps,
        request_timeout=chance.choice((1, 2, 5, 5)) * SECOND,
        order_deadline=chance.choice((500, 2_000, 2_000, 2_000)) * MS,
        accept_bound=bounds.accept_ns,
        visible_bound=bounds.visible_ns,
        late_fill_bound=bounds.late_fill_ns,
    )


def _strategies(
    seed: int,
    chance: Random,
    instruments: tuple[Instrument, ...],
    markets: list[Traded],
    misdeeds: dict[int, str],
) -> dict[str, StrategyConfig]:
    found = {}
    for number in range(chance.choice((2, 3, 3))):
        index = number % len(instruments)
        found[f"sim{number}"] = StrategyConfig(
            use=TRADER,
            account=ACCOUNT,
            settings={
                "symbol": instruments[index].symbol,
                "seed": seed * 10 + number,
                "period": chance.choice(("2s", "3s", "4s", "5s")),
                "activity": round(0.4 + 0.5 * chance.random(), 3),
                "size": float(markets[index].size),
                "misdeeds": misdeeds.get(number, ""),
            },
            on_stop=chance.choice(("cancel", "cancel", "leave", "flatten")),
            on_owner_loss=chance.choice(("cancel", "keep")),
        )
    return found


def _risk(chance: Random, instruments: tuple[Instrument, ...], markets: list[Traded]) -> RiskConfig:
    """Draw limits a few orders wide, so that they bind."""
    overrides = {}
    for instrument, one in zip(instruments, markets, strict=True):
        size, wide = Decimal(one.size), chance.choice((3, 6, 12))
        overrides[str(instrument.id)] = InstrumentRisk(
            max_order_qty=size * 2,
            max_position=size * wide,
            max_position_notional=(size * wide * Decimal(one.price)).quantize(Decimal(1)),
        )
    return RiskConfig(
        max_order_notional=Decimal(2_000),
        price_band_bps=Decimal(chance.choice((100, 200, 500))),
        orders_per_second=chance.choice((3, 10, 10)),
        # Random trading loses its fees: the breakers of losses would end most seeds early.
        max_drawdown=Decimal("0.9") if chance.random() < 0.8 else Decimal("0.02"),
        max_daily_loss=Decimal("0.9") if chance.random() < 0.8 else Decimal("0.01"),
        max_exposure=Decimal("0.95"),
        max_concentration=Decimal("0.95"),
        instruments=overrides,
    )
