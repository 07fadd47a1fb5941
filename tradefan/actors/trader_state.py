"""Who a trader is, what it knows, and what follows from it: readiness and the picture for status."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from tradefan.core.declare import AnyStrategy, Made, Saved, declare, find_strategy
from tradefan.core.desk import Declared
from tradefan.core.series import SeriesState
from tradefan.messages.control import Timer
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quality
from tradefan.messages.orders import FillUpdate, OwnerMemory, ParentUpdate, Refusal
from tradefan.strategy.view import Picture, find_instrument
from tradefan.units import AccountId, Asset, InstrumentId, OwnerId, Ref

Held: TypeAlias = FillUpdate | ParentUpdate | Refusal | Timer
OnStop: TypeAlias = Literal["cancel", "leave", "flatten"]
TraderPhase: TypeAlias = Literal["STARTING", "WARMING", "READY", "DOWN"]


class TraderWiring(Struct, frozen=True):
    """Who a trader is and whom it talks to; `name` is the actor's in the kernel.

    `instruments` are those that the account may trade, `venue` completes a symbol. With `market` it
    asks there for closed bars (and hears the feed's quality with them) when it begins, so that a restart
    in mid-session is warm at once.
    """

    owner: OwnerId
    account: AccountId
    oms: Ref
    use: str
    settings: dict[str, Any]
    capital: Decimal
    instruments: dict[InstrumentId, Instrument]
    venue: str
    name: str
    numeraire: Asset = Asset("USDT")
    on_stop: OnStop = "cancel"
    market: Ref | None = None
    stores: tuple[Ref, ...] = ()
    """Who keeps what the strategy records."""


class TraderCounters(Struct):
    """What happened since this trader began."""

    bars: int = 0
    commands: int = 0
    refusals: int = 0
    held_dropped: int = 0


class Sent(Struct, frozen=True):
    """A command that went out with a turn, by what a refusal of it would name."""

    turn: int
    instrument: InstrumentId | None
    ref: str


class TraderState(Struct):
    """All that a trader knows; what the strategy declared is kept in order of declaration.

    `memory` is the strategy's State. `turn` numbers the last turn sent, `journaled` is the State that
    it left in the journal (None: not known, so the next turn carries it), `asked` is the newest
    question to the OMS and `offered` the memory that its answer brought. `refused` says why the
    strategy may not begin.

    `sent` are the commands of the newest turns that nobody refused, `forgotten` is the newest turn of
    which they are not all there any more. `lost` are refusals of commands that went with an OMS, or that a
    predecessor has not heard: the strategy hears them before its State is journaled again. `told` are the
    refs of the former: the OMS may say so too.
    """

    picture: Picture = field(default_factory=Picture)
    series: list[SeriesState] = []
    indicators: list[Any] = []
    memory: Any = None
    turn: int = 0
    journaled: bytes | None = None
    asked: int = 0
    offered: OwnerMemory | None = None
    refused: str = ""
    generation: int | None = None
    positions_known: bool = False
    bars_awaited: dict[InstrumentId, bool] = {}
    quotes_awaited: dict[InstrumentId, bool] = {}
    settling: bool = False
    ready: bool = False
    started: bool = False
    stopped: bool = False
    held: list[Held] = []
    decisions: dict[str, str] = {}
    decision: str = ""
    decided_ns: int | None = None
    refusal: str = ""
    counters: TraderCounters = field(default_factory=TraderCounters)
    fold: int = 0
    sent: list[Sent] = []
    forgotten: int = 0
    lost: list[Refusal] = []
    told: dict[str, None] = {}
    recorded: dict[str, None] = {}
    """Names of numbers that were kept."""
    ordinal: int = 0
    """Numbers that were kept."""


class TraderView(Struct, frozen=True):
    """One strategy instance for status; `forecast` says what it waits for."""

    owner: OwnerId
    account: AccountId
    use: str
    phase: TraderPhase
    forecast: str
    bars: int
    commands: int
    refusals: int
    held_dropped: int
    decision: str
    decided_ns: int | None
    refusal: str


def needs(wiring: TraderWiring) -> Declared:
    """Return what a trader of this wiring will follow.

    Raises:
        Refused: the strategy, a setting, a symbol or a declaration is not what it must be.
    """
    return make_strategy(wiring).declared


def make_strategy(
    wiring: TraderWiring, state: TraderState | None = None, strategy: type[AnyStrategy] | None = None
) -> Made:
    """Make the strategy of a wiring and let it declare; `strategy` replaces what `use` names."""
    made, settings = find_strategy(wiring.use, wiring.settings, strategy)

    def resolve(symbol: str) -> InstrumentId:
        return find_instrument(wiring.instruments, wiring.venue, symbol)

    saved = None if state is None else Saved(state.series, state.indicators, state.memory)
    return declare(made, settings, resolve, saved)


def waits_for(state: TraderState, made: Made) -> str | None:
    """Say what is missing before a handler may run and, where it can be known, for how long."""
    if state.refused:
        return state.refused
    if state.generation is None:
        return "the order manager is not ready"
    if not state.positions_known:
        return "own positions are not known yet"
    for instrument in state.bars_awaited:
        return f"{instrument}: history was asked for"
    cold = [series.forecast() for series in made.series.values() if not series.ready]
    if cold:
        return "; ".join(cold)
    for instrument in made.declared.instruments:
        feed = state.picture.quality.get(instrument)
        if feed is None or feed.quality is not Quality.LIVE:
            return f"{instrument}: feed is {feed.quality if feed else 'not known'}"
        if instrument in state.quotes_awaited:
            return f"{instrument}: no quote yet"
    return None


def view_of(wiring: TraderWiring, state: TraderState, made: Made) -> TraderView:
    """Return the picture for status."""
    counters, quiet = state.counters, state.ready or state.stopped
    return TraderView(
        wiring.owner,
        wiring.account,
        wiring.use,
        _phase(state),
        "" if quiet else waits_for(state, made) or "about to start",
        counters.bars,
        counters.commands,
        counters.refusals,
        counters.held_dropped,
        state.decision,
        state.decided_ns,
        state.refusal,
    )


def _phase(state: TraderState) -> TraderPhase:
    if state.stopped or state.refused:
        return "DOWN"
    if state.ready:
        return "READY"
    return "WARMING" if state.positions_known else "STARTING"
