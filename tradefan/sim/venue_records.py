"""Orders and trades of the simulated venue: the truth, and how the wire showed it at each instant."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeVar

from tradefan.sim.witness import VenueOrder, VenueTrade
from tradefan.units import ZERO
from tradefan.venues.paper_state import PaperOrder, PaperTrade, WireTimeInForce, WireType

What = Literal["NEW", "TRADE", "CANCELED", "EXPIRED", "REJECTED", "TRADE_PREVENTION"]
"""Execution types of the private stream."""
T = TypeVar("T")


class SimOrder(VenueOrder):
    """An order with what the wire says of it; `versions` are (instant, picture), oldest first."""

    type: WireType = "LIMIT"
    time_in_force: WireTimeInForce = "GTC"
    cum_quote: Decimal = ZERO
    ticks: int = 0
    locked: Decimal = ZERO
    versions: list[tuple[int, PaperOrder]] = []

    @property
    def leaves(self) -> Decimal:
        """What has not been filled, also of an order that has ended."""
        return self.qty - self.cum_qty

    def remember(self, at_ns: int) -> PaperOrder:
        """Keep and return a picture of how it stands."""
        picture = PaperOrder(
            order_id=self.order_id,
            client_order_id=self.client_order_id,
            instrument=self.instrument,
            side=self.side,
            type=self.type,
            time_in_force=self.time_in_force,
            price=self.price,
            qty=self.qty,
            cum_qty=self.cum_qty,
            cum_quote=self.cum_quote,
            status=self.status,
            created_ns=self.accepted_ns,
            updated_ns=at_ns,
        )
        self.versions.append((at_ns, picture))
        return picture


class SimTrade(VenueTrade):
    """A trade with its number, its id at the venue; `versions` are rows of `myTrades`, None: gone."""

    number: int = 0
    maker: bool = False
    named: bool = True
    """False: the venue tells its id to nobody."""
    versions: list[tuple[int, PaperTrade | None]] = []

    def remember(self, at_ns: int) -> PaperTrade | None:
        """Keep and return the row of `myTrades` as it reads now."""
        row = PaperTrade(
            trade_id=self.number,
            order_id=self.order_id,
            instrument=self.instrument,
            side=self.side,
            price=self.price,
            qty=self.qty,
            fee=self.fee,
            fee_asset=self.fee_asset,
            maker=self.maker,
            at_ns=self.at_ns,
        )
        self.versions.append((at_ns, None if self.busted else row))
        return row


def picture_at(versions: list[tuple[int, T]], at_ns: int) -> T | None:
    """Return what held at an instant, None before the first version."""
    for since_ns, picture in reversed(versions):
        if since_ns <= at_ns:
            return picture
    return None
