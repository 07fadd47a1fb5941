"""The answers about costs: the fields of `messages.tca.Costs` beside whose they are, as JSON shows them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_type_hints

from msgspec import Struct, defstruct, structs

from tradefan.messages.tca import Costs

_HEAD: list[tuple[str, type]] = [
    ("parent_id", str),
    ("account", str),
    ("instrument", str),
    ("symbol", str),
    ("owner", str),
    ("side", str),
    ("algo", str),
    ("quote", str),
    ("created_ns", int),
    ("at_ns", int),
]
_HINTS = get_type_hints(Costs)
_COSTS: list[tuple[str, Any]] = [(field.name, _HINTS[field.name]) for field in structs.fields(Costs)]


class FillShown(Struct, frozen=True, kw_only=True):
    """One fill of an order; what was taken back is below zero."""

    trade_id: str
    side: str
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    liquidity: str
    event_ns: int


class LinesShown(Struct, frozen=True, kw_only=True):
    """What a drawing shows, as (instant in ns, value): the mid, and shares of the order as steps."""

    mids: list[tuple[int, float]]
    targets: list[tuple[int, float]]
    done: list[tuple[int, float]]


class MeansShown(Struct, frozen=True, kw_only=True):
    """Means over the orders of one algorithm, instrument or venue, within one pair of assets."""

    algo: list[dict[str, Any]]
    instrument: list[dict[str, Any]]
    venue: list[dict[str, Any]]


CostsShown: type[Struct] = defstruct("CostsShown", [*_HEAD, *_COSTS], frozen=True, kw_only=True)
OrderCosts: type[Struct] = defstruct(
    "OrderCosts",
    [*_HEAD, *_COSTS, ("lines", LinesShown), ("fills", list[FillShown])],
    frozen=True,
    kw_only=True,
)
ManyCosts: type[Struct] = defstruct(
    "ManyCosts",
    [("since_ns", int), ("rows", list[CostsShown]), ("by", MeansShown), ("more", bool)],  # type: ignore[valid-type]
    frozen=True,
    kw_only=True,
)
