"""Every key of the configuration with its type, default, unit, bounds, and when a change takes effect.

One frozen Struct per section. Durations are integer nanoseconds here and `250ms 30s 5m` in files;
amounts are Decimal. Collections are maps keyed by name, in the order of their names.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import field

from tradefan.config.fields import (
    FILE,
    NAME,
    AccountName,
    AssetName,
    Duration,
    FeedName,
    NotifierName,
    Secret,
    SettingName,
    Share,
    StrategyName,
    Timeframe,
    VenueName,
    fixed,
    live,
    restart,
)
from tradefan.config.services import (
    ApiConfig,
    InfluxConfig,
    LogsConfig,
    NotifierConfig,
    RecorderConfig,
    RedisConfig,
    Section,
    StoreConfig,
    TelemetryConfig,
)
from tradefan.units import MINUTE, MS, SECOND


class AccountConfig(Section, frozen=True, kw_only=True):
    """One account at one venue. `paper` is a simulated account on the instruments of the feeds."""

    venue: Annotated[
        str, fixed("`paper`, or the venue that holds real money", pattern=NAME, such_as="a venue name")
    ] = "paper"
    balances: Annotated[
        dict[AssetName, Annotated[Decimal, fixed("opening balance", unit="asset", ge=0, le="1e15")]],
        fixed("what a paper account holds when it is made"),
    ] = field(default_factory=lambda: {"USDT": Decimal(1_000_000)})
    maker_fee_bps: Annotated[
        Decimal, restart("paper: fee of a resting order", unit="bps", ge=-100, le=1000)
    ] = Decimal(10)
    taker_fee_bps: Annotated[
        Decimal, restart("paper: fee of a taking order", unit="bps", ge=-100, le=1000)
    ] = Decimal(10)
    latency: Annotated[Duration, restart("paper: one way to the venue and back again", le=10 * SECOND)] = (
        20 * MS
    )
    request_timeout: Annotated[Duration, live("then a request's outcome is in doubt", le=MINUTE)] = 5 * SECOND
    order_deadline: Annotated[Duration, live("a create is never written later than this", le=MINUTE)] = (
        2 * SECOND
    )
    accept_bound: Annotated[
        Duration, restart("after the deadline, the latest that the venue may still accept", le=10 * MINUTE)
    ] = 1 * SECOND
    visible_bound: Annotated[
        Duration, restart("after it, every query shows what happened", le=10 * MINUTE)
    ] = 1 * SECOND
    late_fill_bound: Annotated[
        Duration, restart("the latest fill after a terminal report", le=60 * MINUTE)
    ] = 10 * SECOND
    api_key: Annotated[Secret, restart("real venues: reference to the API key")] = ""
    api_secret: Annotated[Secret, restart("real venues: reference to its secret")] = ""


class TapeConfig(Section, frozen=True, kw_only=True):
    """The recorded market that stands in for a live one."""

    recordings: Annotated[
        str, restart("a recording that comes with TradeFan, or a directory of such files")
    ] = "binance-ws-20240808"
    speed: Annotated[float, restart("how much faster than it was recorded", unit="times", gt=0, le=1000)] = (
        1.0
    )
    history: Annotated[Duration, restart("played at once at the start, to warm up", le=60 * MINUTE)] = (
        5 * MINUTE
    )


class VenueConfig(Section, frozen=True, kw_only=True):
    """Where a venue's public market comes from, and how patient its connections are."""

    source: Annotated[
        Literal["tape", "live"], restart("a recording, or the venue's public streams, which need no key")
    ] = "tape"
    stream_url: Annotated[
        str, restart("websocket host", pattern=r"wss?://[^\s]{1,200}", such_as="ws:// or wss:// and a host")
    ] = "wss://data-stream.binance.vision"
    rest_url: Annotated[
        str, restart("HTTP host", pattern=r"https?://[^\s]{1,200}", such_as="http:// or https:// and a host")
    ] = "https://data-api.binance.vision"
    connect_timeout: Annotated[Duration, restart("to open a connection", le=5 * MINUTE)] = 10 * SECOND
    ack_timeout: Annotated[Duration, restart("to acknowledge a subscription", le=5 * MINUTE)] = 5 * SECOND
    first_frame_timeout: Annotated[
        Duration, restart("a busy stream is heard within this, else it counts as mute", le=5 * MINUTE)
    ] = 10 * SECOND
    silence_timeout: Annotated[
        Duration, restart("no frame at all for this long: reconnect", le=10 * MINUTE)
    ] = 30 * SECOND
    backoff_base: Annotated[Duration, restart("first bound of the random wait", le=MINUTE)] = 500 * MS
    backoff_cap: Annotated[Duration, restart("the bound doubles up to this", le=10 * MINUTE)] = 30 * SECOND
    tape: Annotated[TapeConfig, restart("what `source: tape` plays")] = TapeConfig()


class StreamsConfig(Section, frozen=True, kw_only=True):
    """Which streams of an instrument are subscribed."""

    trade: Annotated[bool, restart("every trade; bars are made of them")] = True
    depth: Annotated[bool, restart("changes of the book; the paper venue matches on it")] = True
    book_ticker: Annotated[bool, restart("best bid and ask at once")] = True
    agg_trade: Annotated[bool, restart("trades aggregated by the venue")] = False
    kline_1m: Annotated[bool, restart("the venue's own minute bars")] = False
    ticker: Annotated[bool, restart("rolling 24 hour statistics")] = False

    def names(self) -> tuple[str, ...]:
        """Return the streams that are on, in order of declaration."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name))


class FeedConfig(Section, frozen=True, kw_only=True):
    """One instrument whose market is observed."""

    streams: Annotated[StreamsConfig, restart("subscriptions")] = StreamsConfig()
    bars: Annotated[
        dict[Timeframe, Annotated[bool, live("kept in the store")]],
        live("bars that are stored, whatever strategies ask for"),
    ] = field(default_factory=lambda: {"1m": True})

    tape: Annotated[
        str,
        restart("recorded frames of this instrument alone, a directory or a recording; empty: its venue's"),
    ] = ""

    def timeframes(self) -> tuple[str, ...]:
        """Return the timeframes of stored bars that are on."""
        return tuple(name for name, on in self.bars.items() if on)


class StrategyConfig(Section, frozen=True, kw_only=True):
    """One instance of a strategy; its name is the owner of its orders.

    While the daemon runs it comes or goes as a whole, and begins again with what it remembers where its
    capital or its settings change.
    """

    use: Annotated[str, restart("the registered strategy that this is an instance of")] = ""
    account: Annotated[str, restart("the account that it trades on")] = "paper:main"
    capital: Annotated[Decimal, live("what its weights refer to", unit="numeraire", gt=0, le="1e15")] = (
        Decimal(100_000)
    )
    settings: Annotated[
        dict[SettingName, Annotated[Any, live("a setting")]], live("the strategy's own settings")
    ] = {}
    on_stop: Annotated[
        Literal["cancel", "leave", "flatten"],
        live("its resting orders at a stop: cancelled, left, or cancelled and the position sold"),
    ] = "cancel"
    on_owner_loss: Annotated[
        Literal["cancel", "keep"],
        live("its orders when it stays down: cancelled, or kept; protective ones are always kept"),
    ] = "cancel"
    enabled: Annotated[bool, live("false keeps the block and starts nothing")] = True


class Limits(Section, frozen=True, kw_only=True):
    """The limits that hold for one instrument, after its overrides."""

    max_order_qty: Decimal
    max_order_notional: Decimal
    max_position: Decimal
    max_position_notional: Decimal
    price_band_bps: Decimal


class InstrumentRisk(Section, frozen=True, kw_only=True):
    """Overrides for one instrument; what is not given is inherited."""

    max_order_qty: Annotated[Decimal | None, live("one order", unit="base asset", gt=0, le="1e15")] = None
    max_order_notional: Annotated[Decimal | None, live("one order", unit="numeraire", gt=0, le="1e15")] = None
    max_position: Annotated[
        Decimal | None, live("position, working included", unit="base asset", gt=0, le="1e15")
    ] = None
    max_position_notional: Annotated[
        Decimal | None, live("position, working included", unit="numeraire", gt=0, le="1e15")
    ] = None
    price_band_bps: Annotated[
        Decimal | None,
        live("how much worse than the reference a limit price may be", unit="bps", gt=0, le=5000),
    ] = None


class RiskConfig(Section, frozen=True, kw_only=True):
    """What is checked before an order leaves, and what the risk desk watches."""

    max_order_qty: Annotated[Decimal, live("one order", unit="base asset", gt=0, le="1e15")] = Decimal(10)
    max_order_notional: Annotated[Decimal, live("one order", unit="numeraire", gt=0, le="1e15")] = Decimal(
        400_000
    )
    max_position: Annotated[
        Decimal, live("position, working included", unit="base asset", gt=0, le="1e15")
    ] = Decimal(20)
    max_position_notional: Annotated[
        Decimal, live("position, working included", unit="numeraire", gt=0, le="1e15")
    ] = Decimal(600_000)
    price_band_bps: Annotated[
        Decimal, live("how much worse than the reference a limit price may be", unit="bps", gt=0, le=5000)
    ] = Decimal(200)
    orders_per_second: Annotated[
        int, live("new orders of one owner", unit="orders per second", ge=1, le=1000)
    ] = 10
    max_drawdown: Annotated[Share, live("fall from the highest equity")] = Decimal("0.2")
    max_exposure: Annotated[Share, live("sum of all positions' worth")] = Decimal("0.8")
    max_daily_loss: Annotated[Share, live("loss since the day began")] = Decimal("0.05")
    max_concentration: Annotated[Share, live("worth of one instrument's position")] = Decimal("0.5")
    reference_age_max: Annotated[
        Duration, live("an older reference price approves nothing", le=5 * MINUTE)
    ] = 10 * SECOND
    instruments: Annotated[dict[FeedName, InstrumentRisk], live("overrides by instrument")] = {}

    def limits(self, instrument: str) -> Limits:
        """Return the limits of one instrument: its overrides over the common ones."""
        override = self.instruments.get(instrument, InstrumentRisk())
        return Limits(
            max_order_qty=_either(override.max_order_qty, self.max_order_qty),
            max_order_notional=_either(override.max_order_notional, self.max_order_notional),
            max_position=_either(override.max_position, self.max_position),
            max_position_notional=_either(override.max_position_notional, self.max_position_notional),
            price_band_bps=_either(override.price_band_bps, self.price_band_bps),
        )


def _either(override: Decimal | None, common: Decimal) -> Decimal:
    return common if override is None else override


class RuntimeConfig(Section, frozen=True, kw_only=True):
    """Kernel, supervision and stopping."""

    seed: Annotated[int, restart("of all random numbers; 0 draws one at the start", ge=0, le=2**63 - 1)] = 0
    facts_high_water: Annotated[
        int,
        restart(
            "an actor's waiting facts, from which its links are not read", unit="messages", ge=64, le=10**6
        ),
    ] = 4096
    commands_capacity: Annotated[
        int, restart("an actor's waiting commands; more are refused", unit="messages", ge=1, le=10**6)
    ] = 256
    market_capacity: Annotated[
        int, restart("an actor's slots for quotes", unit="instruments", ge=1, le=10**6)
    ] = 1024
    messages_per_step: Annotated[int, restart("at most, in one step", unit="messages", ge=1, le=10**6)] = 256
    messages_per_visit: Annotated[
        int, restart("at most, by one actor in a row", unit="messages", ge=1, le=10**6)
    ] = 64
    restarts_max: Annotated[
        int, restart("of one actor within the window", unit="restarts", ge=0, le=1000)
    ] = 3
    restarts_window: Annotated[Duration, restart("in which restarts are counted", le=1440 * MINUTE)] = (
        300 * SECOND
    )
    venue_restarts_max: Annotated[
        int, restart("of a venue's link, market data or gateway", unit="restarts", ge=0, le=1000)
    ] = 5
    venue_restarts_window: Annotated[Duration, restart("in which those are counted", le=1440 * MINUTE)] = (
        60 * SECOND
    )
    venue_retry: Annotated[
        Duration, restart("between tries of an exhausted venue or risk desk", le=60 * MINUTE)
    ] = 30 * SECOND
    service_retry: Annotated[Duration, restart("between tries of an exhausted service", le=60 * MINUTE)] = (
        60 * SECOND
    )
    loop_stall_warn: Annotated[
        Duration, restart("a loop that stands still this long is logged, with its stack", le=MINUTE)
    ] = 250 * MS
    stop_deadline: Annotated[Duration, restart("a stop takes at most this", le=5 * MINUTE)] = 10 * SECOND
    starts_max: Annotated[
        int,
        restart(
            "within the window, those after a clean stop not counted; more: only cancels leave",
            unit="starts",
            ge=1,
            le=10**6,
        ),
    ] = 3
    starts_window: Annotated[Duration, restart("in which starts are counted", le=1440 * MINUTE)] = 10 * MINUTE
    turn_max: Annotated[
        Duration, restart("a strategy that thinks longer is broken off, which counts as a crash", le=MINUTE)
    ] = 1 * SECOND
    loop_lag_max: Annotated[Duration, live("a loop that is later than this takes no new risk", le=MINUTE)] = (
        2 * SECOND
    )


class JournalConfig(Section, frozen=True, kw_only=True):
    """The truth that recovery reads."""

    path: Annotated[str, fixed("file in the data directory", pattern=FILE, such_as="a file name")] = (
        "journal.db"
    )
    group_bytes_max: Annotated[
        int, restart("written in one transaction", unit="bytes", ge=4096, le=2**26)
    ] = 1_048_576
    backlog_max: Annotated[
        int, restart("records that wait for a disk; more end the daemon", unit="records", ge=1000, le=10**7)
    ] = 100_000
    backlog_bytes_max: Annotated[
        int,
        restart(
            "memory of those, 1 kB a record and the states of strategies; more end the daemon",
            unit="bytes",
            ge=2**22,
            le=2**36,
        ),
    ] = 268_435_456
    durable_timeout: Annotated[
        Duration, live("records not on the disk after this: only cancels leave", le=MINUTE)
    ] = 1 * SECOND
    snapshot_every: Annotated[
        int, live("records between two pictures of the whole state", unit="records", ge=100, le=10**7)
    ] = 10_000
    disk_free_min: Annotated[
        int,
        restart(
            "below it recorder, store and debug log stop, the journal goes on", unit="bytes", ge=0, le=2**50
        ),
    ] = 1_073_741_824


class TimeConfig(Section, frozen=True, kw_only=True):
    """Days, and when a bar is over. Everything stored is UTC."""

    zone: Annotated[str, restart("time zone of daily limits and reports")] = "UTC"
    day_roll: Annotated[
        str,
        restart(
            "when a day begins there",
            pattern=r"([01][0-9]|2[0-3]):[0-5][0-9]",
            such_as="a time such as 00:00 or 17:30",
        ),
    ] = "00:00"
    bar_grace: Annotated[
        Duration, restart("a bar without a later trade closes this long after its end", le=MINUTE)
    ] = 2 * SECOND


class PortfolioConfig(Section, frozen=True, kw_only=True):
    """How different assets are made comparable."""

    numeraire: Annotated[
        str,
        fixed(
            "asset in which equity and limits are counted",
            pattern=r"[A-Z0-9]{1,20}",
            such_as="an asset such as USDT",
        ),
    ] = "USDT"


class ProductionConfig(Section, frozen=True, kw_only=True):
    """What has to be said before real money is traded."""

    confirm: Annotated[bool, restart("true: orders with real money are wanted")] = False


class Config(Section, frozen=True, kw_only=True):
    """One immutable snapshot of everything that can be configured."""

    environment: Annotated[
        str, fixed("its name", pattern=r"[a-z][a-z0-9_-]{0,31}", such_as="a name such as development")
    ] = "development"
    data_dir: Annotated[str, restart("where a run writes; empty: data/ENVIRONMENT, and logs under logs/")] = (
        ""
    )
    accounts: Annotated[dict[AccountName, AccountConfig], restart("accounts by name")] = {}
    venues: Annotated[dict[VenueName, VenueConfig], restart("venues by name")] = {}
    feeds: Annotated[dict[FeedName, FeedConfig], restart("observed instruments by id")] = {}
    strategies: Annotated[dict[StrategyName, StrategyConfig], live("strategy instances by name")] = {}
    risk: Annotated[RiskConfig, live("limits")] = RiskConfig()
    runtime: Annotated[RuntimeConfig, restart("kernel and supervision")] = RuntimeConfig()
    journal: Annotated[JournalConfig, restart("journal")] = JournalConfig()
    store: Annotated[StoreConfig, restart("embedded store")] = StoreConfig()
    influx: Annotated[InfluxConfig, restart("InfluxDB")] = InfluxConfig()
    redis: Annotated[RedisConfig, restart("Redis")] = RedisConfig()
    notifiers: Annotated[dict[NotifierName, NotifierConfig], restart("who is told, by name")] = {}
    recorder: Annotated[RecorderConfig, live("flight recorder")] = RecorderConfig()
    api: Annotated[ApiConfig, restart("HTTP face")] = ApiConfig()
    logs: Annotated[LogsConfig, restart("logs")] = LogsConfig()
    telemetry: Annotated[TelemetryConfig, restart("metrics and status")] = TelemetryConfig()
    time: Annotated[TimeConfig, restart("days and bars")] = TimeConfig()
    portfolio: Annotated[PortfolioConfig, restart("valuation")] = PortfolioConfig()
    production: Annotated[ProductionConfig, restart("real money")] = ProductionConfig()

    @property
    def data_path(self) -> str:
        """Directory of journal, stores and locks."""
        return self.data_dir or f"data/{self.environment}"

    @property
    def logs_path(self) -> str:
        """Directory of the log files."""
        return f"{self.data_dir}/logs" if self.data_dir else "logs"
