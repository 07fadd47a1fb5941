"""What a strategy may wish for: positions, orders, and the end of its own orders."""

from __future__ import annotations

import math
import re
from typing import Any, Literal, SupportsFloat, TypeAlias, get_args

from msgspec import Struct

from tradefan.errors import Defect
from tradefan.messages.orders import ParentUpdate
from tradefan.units import ParentId, Side


class TargetWish(Struct, frozen=True):
    """A position is wished for; exactly one of weight, qty and notional is given."""

    symbol: str
    weight: float | None
    qty: float | None
    notional: float | None
    by: str
    band: float
    limit_price: float | None
    reason: str
    settings: dict[str, Any]


class OrderWish(Struct, frozen=True):
    """An order is wished for, whatever the position is."""

    side: Side
    symbol: str
    qty: float
    by: str
    limit_price: float | None
    reason: str
    settings: dict[str, Any]
    reduce_only: bool = False


class CancelWish(Struct, frozen=True):
    """One own parent shall end."""

    parent_id: ParentId


class CancelAllWish(Struct, frozen=True):
    """All own parents shall end, of one symbol or of all."""

    symbol: str | None


class RecordWish(Struct, frozen=True):
    """A number is to be kept, and may be drawn."""

    name: str
    value: float
    symbol: str | None


class NoteWish(Struct, frozen=True):
    """A sentence is to stand in the log."""

    text: str


class AlertWish(Struct, frozen=True):
    """A sentence is to reach people."""

    text: str
    severity: Severity


Severity: TypeAlias = Literal["warning", "error", "critical"]
SayWish: TypeAlias = RecordWish | NoteWish | AlertWish
"""What changes no order."""
Wish: TypeAlias = TargetWish | OrderWish | CancelWish | CancelAllWish
AnyWish: TypeAlias = Wish | SayWish
Commands: TypeAlias = AnyWish | tuple[AnyWish, ...] | list[AnyWish]
"""What a handler returns: one wish, several in order, or `()`."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
TEXT_MAX = 500


def target(
    symbol: str,
    *,
    weight: SupportsFloat | None = None,
    qty: SupportsFloat | None = None,
    notional: SupportsFloat | None = None,
    by: str = "market",
    band: SupportsFloat = 0.01,
    limit_price: SupportsFloat | None = None,
    reason: str = "",
    **settings: Any,
) -> TargetWish:
    """Wish for a position: a share of the strategy's capital, a quantity, or a value in quote.

    Repeating it is free: what is held, working and in doubt is subtracted where the order is made,
    and a difference below `band` (a share of the target) does nothing. Zero always acts.
    `weight` refers to the constant capital of the instance, not to its equity. Other keywords are
    settings of the algorithm `by`.
    """
    given = [
        name
        for name, value in (("weight", weight), ("qty", qty), ("notional", notional))
        if value is not None
    ]
    if len(given) != 1:
        raise Defect(f"target({symbol!r}): expected one of weight, qty, notional, got {given or 'none'}")
    share = _number("band", band)
    if not 0 <= share < 1:
        raise Defect(f"target({symbol!r}): expected 0 <= band < 1, got {share}")
    return TargetWish(
        symbol,
        None if weight is None else _number("weight", weight),
        None if qty is None else _number("qty", qty),
        None if notional is None else _number("notional", notional),
        by,
        share,
        _price(limit_price),
        reason,
        settings,
    )


def buy(
    symbol: str,
    qty: SupportsFloat,
    *,
    by: str = "market",
    limit_price: SupportsFloat | None = None,
    reason: str = "",
    reduce_only: bool = False,
    **settings: Any,
) -> OrderWish:
    """Wish to buy a quantity of the base asset; "limit" takes a `limit_price`, "stop" a `trigger_price`."""
    price = _price(limit_price)
    return OrderWish("buy", symbol, _positive("qty", qty), by, price, reason, settings, reduce_only)


def sell(
    symbol: str,
    qty: SupportsFloat,
    *,
    by: str = "market",
    limit_price: SupportsFloat | None = None,
    reason: str = "",
    reduce_only: bool = False,
    **settings: Any,
) -> OrderWish:
    """Wish to sell a quantity of the base asset; with `reduce_only` never more than what is held by then."""
    price = _price(limit_price)
    return OrderWish("sell", symbol, _positive("qty", qty), by, price, reason, settings, reduce_only)


def cancel(parent: ParentId | ParentUpdate) -> CancelWish:
    """Wish to end one own parent."""
    return CancelWish(parent.order.parent_id if isinstance(parent, ParentUpdate) else parent)


def cancel_all(symbol: str | None = None) -> CancelAllWish:
    """Wish to end all own parents, of one symbol or of all."""
    return CancelAllWish(symbol)


def record(name: str, value: SupportsFloat, symbol: str | None = None) -> RecordWish:
    """Keep a number under a name, in the stores that are configured; `tradefan data show indicators` has it.

    A name is a word of at most 40 letters, digits, `_ . -`, and there are few of them: panels draw one line
    for each. The instant is that of the event. Two of one name, symbol and instant are one: the last.
    """
    if not NAME.fullmatch(name):
        raise Defect(f"record({name!r}): expected a word of at most 40 letters, digits, _ . -")
    return RecordWish(name, _number("value", value), symbol)


def note(text: str) -> NoteWish:
    """Write a sentence into the log, at most 500 characters of it."""
    return NoteWish(text[:TEXT_MAX])


def alert(text: str, severity: Severity = "warning") -> AlertWish:
    """Tell people: into the log with this severity, from where notifiers take it (docs/alerts.md)."""
    if severity not in get_args(Severity):
        expected = ", ".join(get_args(Severity))
        raise Defect(f"alert({text!r}): expected a severity of {expected}, got {severity!r}")
    return AlertWish(text[:TEXT_MAX], severity)


def _price(limit_price: SupportsFloat | None) -> float | None:
    return None if limit_price is None else _positive("limit_price", limit_price)


def _number(name: str, value: SupportsFloat) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise Defect(f"expected a finite {name}, got {number}")
    return number


def _positive(name: str, value: SupportsFloat) -> float:
    number = _number(name, value)
    if number <= 0:
        raise Defect(f"expected {name} > 0, got {number}")
    return number
