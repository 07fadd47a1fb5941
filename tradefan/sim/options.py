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
from tradefan.config.services import InfluxConfig, StoreConfig
from tradefan.messages.instrument import Instrument
from tradefan.sim.faults import Faults, misdeeds
from tradefan.sim.only import Only
from tradefan.sim.personality import chance
from tradefan.sim.plugins import TRADER
from tradefan.units import MINUTE, MS, SECOND, AccountId, Asset, InstrumentId

T0 = 1_700_000_000 * SECOND
"""True time at which every seed begins."""
ACCOUNT = AccountId("paper:main")
VENUE = "binance"
NUMERAIRE = Asset("USDT")
HOUR_NS = 60 * MINUTE
DEFAULT_HOURS = 1 / 5
"""12 simulated minutes: 9 with faults, 3 to heal."""
HEAL_NS = 3 * MINUTE
LIAR_SHARE = 0.1
BACKLOGS = (150, 100_000)
"""Records that may wait for the disk: so few as no configuration allows only where a disk may fail, and end
processes. A storm of fills alone comes up to them, too."""

QUEUES = (40, 50_000)
"""Rows that wait for the store: in half of the seeds so few that some are left to the journal."""

INFLUX_SHARE = 0.25
"""So many of the seeds have an InfluxDB beside the daemon, which is about a twelfth of their work."""


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
    sizes: dict[InstrumentId, Decimal]
    balances: dict[str, Decimal]
    config: Config
    commit_ns: int
    backlog_max: int
    checkpoint_frames: int
    operator_every_ns: int


class Bounds(Struct, frozen=True):
    """What the venue's personality declares, and its fees: the configuration says the same."""

    accept_ns: int
    visible_ns: int
    late_fill_ns: int
    fee_bps: Decimal


def is_liar(seed: int) -> bool:
    """Say whether the venue of this seed breaks its declared bounds: one seed in ten."""
    return chance(seed, "liar").random() < LIAR_SHARE


def spans(hours: float) -> tuple[int, int]:
    """Return how long things go wrong, and how long they may heal."""
    whole_ns = int(hours * HOUR_NS)
    heal_ns = max(HEAL_NS, whole_ns * 3 // 20)
    return max(whole_ns - heal_ns, MINUTE), heal_ns


def draw(seed: int, hours: float, bounds: Bounds, faults: Faults, only: Only) -> Options:
    """Draw a seed's options; what its strategies do wrong stands in their settings."""
    rng = chance(seed, "options")
    picked = sorted(rng.sample(range(len(MARKETS)), rng.choice((2, 2, 3))))
    markets = [MARKETS[index] for index in picked]
    instruments = tuple(_instrument(one) for one in markets)
    fault_ns, heal_ns = spans(hours)
    return Options(
        seed=seed,
        liar=is_liar(seed),
        fault_ns=fault_ns,
        heal_ns=heal_ns,
        instruments=instruments,
        sizes={one.id: Decimal(traded.size) for one, traded in zip(instruments, markets, strict=True)},
        balances=_balances(rng, markets),
        config=_config(seed, rng, instruments, markets, bounds, faults, only),
        commit_ns=_commit_ns(rng),
        backlog_max=chance(seed, "backlog").choice(BACKLOGS) if _disk_fails(faults) else BACKLOGS[-1],
        # At the usual thousand a seed has a checkpoint or two, and no failure of the disk meets one.
        checkpoint_frames=chance(seed, "checkpoint").choice((4, 16, 64, 1_000)),
        operator_every_ns=rng.choice((2, 3, 5, 8)) * SECOND,
    )


def _disk_fails(faults: Faults) -> bool:
    return any(faults.has(kind) for kind in ("disk_full", "disk_error", "sync_slow"))


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


def _balances(rng: Random, markets: list[Traded]) -> dict[str, Decimal]:
    """Draw what the account holds: enough, or so little that free balance binds; a position sometimes."""
    found = {str(NUMERAIRE): Decimal(rng.choice((1_500, 5_000, 20_000, 100_000)))}
    for one in markets:
        if rng.random() < 0.5:
            # Mostly inside the limits, now and then beyond them from the start.
            found[one.base] = Decimal(one.size) * rng.choice((1, 1, 2, 2, 2, 10))
    return found


def _commit_ns(rng: Random) -> int:
    """Draw how long a commit takes: 0.1-50 ms, often exactly a bound."""
    roll = rng.random()
    if roll < 0.2:
        return MS // 10
    if roll < 0.35:
        return 50 * MS
    return int(MS / 10 * 500 ** rng.random())


def _runtime(seed: int, rng: Random) -> RuntimeConfig:
    """Draw how often a start counts as too often, and steps so short that messages wait between them."""
    messages = chance(seed, "step").choice((256, 256, 256, 3))
    return RuntimeConfig(
        seed=seed + 1,
        # The start counter shuts a daemon that crashes often: in most seeds it would end the trading.
        starts_max=3 if rng.random() < 0.25 else 1_000,
        messages_per_step=messages,
        messages_per_visit=min(messages, 64),
    )


def _config(
    seed: int,
    rng: Random,
    instruments: tuple[Instrument, ...],
    markets: list[Traded],
    bounds: Bounds,
    faults: Faults,
    only: Only,
) -> Config:
    return Config(
        environment="simulation",
        accounts={ACCOUNT: _account(rng, bounds)},
        venues={VENUE: VenueConfig(source=rng.choice(("tape", "live")))},
        feeds={one.id: FeedConfig() for one in instruments},
        strategies=_strategies(seed, rng, instruments, markets, faults, only),
        risk=_risk(rng, instruments, markets),
        runtime=_runtime(seed, rng),
        journal=JournalConfig(snapshot_every=int(100 * 20 ** rng.random())),
        # The store is a tenth of a seed's work at its usual interval; its batches are the longer for it.
        store=StoreConfig(
            flush_interval=rng.choice((1, 2, 5)) * SECOND, queue_max=chance(seed, "queue").choice(QUEUES)
        ),
        influx=_influx(seed),
    )


def _influx(seed: int) -> InfluxConfig:
    """Draw whether there is an InfluxDB, and how much may wait for it: in half of the seeds too little."""
    rng = chance(seed, "influx")
    if rng.random() >= INFLUX_SHARE:
        return InfluxConfig()
    return InfluxConfig(
        url="http://influx",
        batch_size=rng.choice((20, 1_000)),
        flush_interval=rng.choice((1, 2)) * SECOND,
        queue_max=rng.choice(QUEUES),
    )


def _account(rng: Random, bounds: Bounds) -> AccountConfig:
    return AccountConfig(
        venue="paper",
        maker_fee_bps=bounds.fee_bps,
        taker_fee_bps=bounds.fee_bps,
        request_timeout=rng.choice((1, 2, 5, 5)) * SECOND,
        order_deadline=rng.choice((500, 2_000, 2_000, 2_000)) * MS,
        accept_bound=bounds.accept_ns,
        # A duration of zero cannot be written; a millisecond more changes no promise.
        visible_bound=max(bounds.visible_ns, MS),
        late_fill_bound=max(bounds.late_fill_ns, MS),
    )


def _strategies(
    seed: int,
    rng: Random,
    instruments: tuple[Instrument, ...],
    markets: list[Traded],
    faults: Faults,
    only: Only,
) -> dict[str, StrategyConfig]:
    found, count = {}, rng.choice((2, 3, 3))
    wrong = misdeeds(faults, count, only)
    for number in range(count):
        index = number % len(instruments)
        found[f"sim{number}"] = StrategyConfig(
            use=TRADER,
            account=ACCOUNT,
            settings={
                "symbol": instruments[index].symbol,
                "seed": seed * 10 + number,
                "period": rng.choice(("4s", "5s", "6s", "8s")),
                "activity": round(0.3 + 0.4 * rng.random(), 3),
                "size": float(markets[index].size),
                "misdeeds": wrong.get(number, ""),
            },
            on_stop=rng.choice(("cancel", "cancel", "leave", "flatten")),
            on_owner_loss=rng.choice(("cancel", "keep")),
        )
    return found


def _risk(rng: Random, instruments: tuple[Instrument, ...], markets: list[Traded]) -> RiskConfig:
    """Draw limits a few orders wide, so that they bind."""
    overrides = {}
    for instrument, one in zip(instruments, markets, strict=True):
        size, wide = Decimal(one.size), rng.choice((3, 6, 12))
        overrides[str(instrument.id)] = InstrumentRisk(
            max_order_qty=size * 2,
            max_position=size * wide,
            max_position_notional=(size * wide * Decimal(one.price)).quantize(Decimal(1)),
        )
    return RiskConfig(
        max_order_notional=Decimal(2_000),
        price_band_bps=Decimal(rng.choice((100, 200, 500))),
        orders_per_second=rng.choice((3, 10, 10)),
        # Random trading loses its fees: the breakers of losses would end most seeds early.
        max_drawdown=Decimal("0.9") if rng.random() < 0.8 else Decimal("0.02"),
        max_daily_loss=Decimal("0.9") if rng.random() < 0.8 else Decimal("0.01"),
        max_exposure=Decimal("0.95"),
        max_concentration=Decimal("0.95"),
        instruments=overrides,
    )
