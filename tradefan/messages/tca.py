"""What a parent order cost against the market that it met: figures, and the lines that a drawing needs.

Slippage and cost are positive where they cost; markout and spread capture are positive where they were good
for us. What is not known is None, with a flag that says why, and never 0.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from tradefan.messages.base import Fact
from tradefan.messages.record_base import RecordBase
from tradefan.units import AccountId, Asset, InstrumentId, OwnerId, ParentId, Side

State = Literal["live", "provisional", "final"]
Points: TypeAlias = tuple[tuple[int, float], ...]
"""(instant in ns, value), oldest first."""


class Costs(Struct, frozen=True, array_like=True):
    """The costs of one parent (docs/tca.md); prices and `fees` are in the quote asset."""

    state: State
    order_qty: Decimal
    filled: Decimal
    avg_px: Decimal | None
    fees: Decimal | None
    arrived_ns: int | None
    ended_ns: int | None
    decision_px: Decimal | None
    arrival_px: Decimal | None
    end_px: Decimal | None
    vwap: Decimal | None
    twap: Decimal | None
    arrival_slippage_bps: Decimal | None
    vwap_slippage_bps: Decimal | None
    twap_slippage_bps: Decimal | None
    is_bps: Decimal | None
    is_delay_bps: Decimal | None
    is_trading_bps: Decimal | None
    is_opportunity_bps: Decimal | None
    is_fees_bps: Decimal | None
    markout_1s_bps: Decimal | None
    markout_5s_bps: Decimal | None
    markout_30s_bps: Decimal | None
    markout_300s_bps: Decimal | None
    spread_capture: Decimal | None
    maker_share: Decimal | None
    fill_ratio: Decimal
    participation: Decimal | None
    schedule_error_mean: float | None
    schedule_error_max: float | None
    ack_p50_ms: float | None
    ack_p95_ms: float | None
    ack_p99_ms: float | None
    estimate_bps: float | None
    flags: tuple[str, ...]
    curve_error: float | None = None

    @property
    def begun(self) -> bool:
        """Whether it ever worked: a mean over what did not, like a stop that never fired, says nothing."""
        return self.arrived_ns is not None or bool(self.filled)


class Met(Struct, frozen=True, array_like=True):
    """What the market did from arrival to end: its VWAP without own fills, its mean mid, the mid at the end.

    `volume` is the total in base, own fills included; `sigma_bps` that of the mid over the whole time.
    """

    end_px: Decimal | None = None
    vwap: Decimal | None = None
    twap: Decimal | None = None
    volume: Decimal | None = None
    sigma_bps: float | None = None


class Lines(Struct, frozen=True, array_like=True):
    """What a drawing of a parent shows: the mid, and target and done as shares of the order, as steps."""

    mids: Points = ()
    targets: Points = ()
    done: Points = ()


# --- records --------------------------------------------------------------------------------------


class Arrived(RecordBase, frozen=True, array_like=True, tag=True):
    """A parent that did not work at once begins to: its arrival, with the market of this instant."""

    parent_id: ParentId
    mid: Decimal | None
    spread: Decimal | None


class Mark(RecordBase, frozen=True, array_like=True, tag=True):
    """The mid for which the analysis of fills has waited: for those due up to `through_ns`.

    None where nobody saw it, for the reason `flag`; `whole`: for all that wait, behind a break of the market.
    """

    instrument: InstrumentId
    through_ns: int
    mid: Decimal | None
    flag: str = ""
    whole: bool = False


class Tca(RecordBase, frozen=True, array_like=True, tag=True):
    """The costs of a parent that has ended; the newest counts. `sample` calibrates later estimates."""

    parent_id: ParentId
    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    side: Side
    algo: str
    quote: Asset
    created_ns: int
    costs: Costs
    lines: Lines
    market: Met
    sample: float | None = None


TcaRecord: TypeAlias = Arrived | Mark | Tca
"""What stands in the journal for the analysis of costs alone."""


# --- for store and API ----------------------------------------------------------------------------


class TcaUpdate(Fact, frozen=True, array_like=True, tag=True):
    """The analysis of a parent as the journal has it; the whole picture, so that the newest is enough."""

    parent_id: ParentId
    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    side: Side
    algo: str
    quote: Asset
    created_ns: int
    at_ns: int
    costs: Costs
    lines: Lines
    lsn: int = 0
    """The journal number of its record: of two pictures the one with the higher is the newer."""
