"""When a contingent order fires: stop, take profit and trailing, over any price that somebody watches.

A trigger is a value that takes one price after the other (`observe`) and says whether it has fired. One print
is no market: a level counts as reached when `confirm` has confirmed it, and a trailing watermark moves only
to a level that is confirmed. Prices are whole ticks.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tradefan.core.schedule import ceil_div
from tradefan.errors import Refused, naming
from tradefan.units import Side, parse_duration

Kind = Literal["stop", "take_profit", "trailing"]
BPS = 10_000
PRINTS_MAX = 100
HELD_MAX, SPANS = 400, 100
"""Prices remembered for `held`; of more one span is made of those of a hundredth of its time."""


class Confirm(Struct, frozen=True, array_like=True):
    """So many prints in a row with distinct trade ids, or a price that holds for so long; 1 and 0: any."""

    prints: int = 1
    held_ns: int = 0


class Condition(Struct, frozen=True, array_like=True):
    """What fires an order on `side`: a level, or for a trailing one a distance from the best price since.

    A stop to buy fires at or above its level, one to sell at or below; a take profit the other way round.
    """

    kind: Kind
    side: Side
    confirm: Confirm
    trigger: int | None = None
    callback_bps: Decimal | None = None
    callback_ticks: int | None = None
    activation: int | None = None
    gap_limit_bps: Decimal | None = None

    @property
    def rises(self) -> bool:
        """Whether it fires at prices at or above its level."""
        return trigger_rises(self.kind, self.side)


def trigger_rises(kind: Kind, side: Side) -> bool:
    """Say whether a trigger fires at prices at or above its level."""
    return (side == "buy") != (kind == "take_profit")


class Seen(Struct, frozen=True, array_like=True):
    """A price, or the lowest and the highest of a span that begins at `at_ns`; `print_id` is the newest."""

    at_ns: int
    print_id: int
    low: int
    high: int


class Armed(Struct, frozen=True, array_like=True):
    """Where an armed trigger stands. `recent` are the newest prices, oldest first."""

    watermark: int | None = None
    recent: tuple[Seen, ...] = ()
    fired: int | None = None
    """The price that fired it."""
    gapped: bool = False
    """A price beyond the gap limit was confirmed: it waits, and somebody is to look."""


def read_confirm(text: str) -> Confirm:
    """Return what `prints:2`, `held:500ms` or `any` means.

    Raises:
        Refused: BAD_SETTING.
    """
    what, _, much = text.partition(":")
    if text == "any":
        return Confirm()
    if what == "prints" and much.isdecimal() and 1 <= int(much) <= PRINTS_MAX:
        return Confirm(int(much))
    if what == "held" and much:
        with naming("confirm", "BAD_SETTING", "confirm held:500ms"):
            return Confirm(1, parse_duration(much))
    raise Refused("BAD_SETTING", f"confirm: expected prints:2, held:500ms or any, got {text!r}")


def level_of(condition: Condition, armed: Armed) -> int | None:
    """Return the level that fires, rounded away from the market; None before a trailing one has begun."""
    if condition.kind != "trailing":
        return condition.trigger
    mark = armed.watermark
    if mark is None:
        return None
    if condition.callback_ticks is not None:
        return mark + condition.callback_ticks if condition.rises else mark - condition.callback_ticks
    assert condition.callback_bps is not None, "the entry check lets none without a callback through"
    num, den = condition.callback_bps.as_integer_ratio()
    if condition.rises:
        return ceil_div(mark * (BPS * den + num), BPS * den)
    return mark * (BPS * den - num) // (BPS * den)


def is_true(condition: Condition, price: int) -> bool:
    """Say whether a price is at or beyond the level of a trigger that is not armed yet."""
    level = condition.trigger
    return level is not None and (price >= level if condition.rises else price <= level)


def is_beyond(condition: Condition, armed: Armed, price: int) -> bool:
    """Say whether a price is at or beyond the level at which a trigger stands."""
    level = level_of(condition, armed)
    return level is not None and (price >= level if condition.rises else price <= level)


def observe(condition: Condition, armed: Armed, price: int, print_id: int, now_ns: int) -> Armed:
    """Return where a trigger stands behind one more price; a print that came before changes nothing."""
    if armed.fired is not None or (armed.recent and print_id <= armed.recent[-1].print_id):
        return armed
    recent = _recent(condition.confirm, (*armed.recent, Seen(now_ns, print_id, price, price)), now_ns)
    level = level_of(condition, armed)
    # Whoever was told of a gap is told again when the market comes back to it.
    armed = replace(armed, recent=recent, gapped=armed.gapped and is_beyond(condition, armed, price))
    if level is not None and _confirmed(condition, recent, level, now_ns, rises=condition.rises):
        if _gaps(condition, level, price):
            return replace(armed, gapped=True)
        return replace(armed, fired=price)
    return replace(armed, watermark=_watermark(condition, armed, now_ns))


def again(armed: Armed) -> Armed:
    """Return a trigger that has fired and may not: the next price decides anew."""
    return replace(armed, fired=None)


def _recent(confirm: Confirm, prices: tuple[Seen, ...], now_ns: int) -> tuple[Seen, ...]:
    """Keep what confirms: the newest prints, or all since the time that a price has to hold began."""
    if not confirm.held_ns:
        return prices[-confirm.prints :]
    begin_ns, first = now_ns - confirm.held_ns, 0
    # The newest price from before the window still holds at its beginning.
    while first + 1 < len(prices) and prices[first + 1].at_ns <= begin_ns:
        first += 1
    kept = prices[first:]
    return kept if len(kept) <= HELD_MAX else _spans(kept, confirm.held_ns // SPANS)


def _spans(prices: tuple[Seen, ...], width_ns: int) -> tuple[Seen, ...]:
    """Make one span of neighbours that are close: when it began stays known, and what it held."""
    spans = [prices[0]]
    for one in prices[1:-1]:
        last = spans[-1]
        if one.at_ns - last.at_ns < width_ns:
            spans[-1] = Seen(last.at_ns, one.print_id, min(last.low, one.low), max(last.high, one.high))
        else:
            spans.append(one)
    return (*spans, prices[-1])


def _confirmed(
    condition: Condition, recent: tuple[Seen, ...], level: int, now_ns: int, *, rises: bool
) -> bool:
    """Say whether the market has been at or beyond a level for as long as it takes."""
    confirm = condition.confirm
    beyond = all(one.low >= level if rises else one.high <= level for one in recent)
    if confirm.held_ns:
        return beyond and recent[0].at_ns <= now_ns - confirm.held_ns
    return beyond and len(recent) >= confirm.prints


def _gaps(condition: Condition, level: int, price: int) -> bool:
    """Say whether a confirmed price is further beyond the level than anybody wants to trade unseen."""
    if condition.gap_limit_bps is None:
        return False
    num, den = condition.gap_limit_bps.as_integer_ratio()
    return abs(price - level) * BPS * den > num * level


def _watermark(condition: Condition, armed: Armed, now_ns: int) -> int | None:
    """Return the best price that is confirmed, in favour only; it begins where the activation is confirmed.

    In favour is away from the level: up for a sale that trails below, down for a purchase.
    """
    if condition.kind != "trailing":
        return None
    recent, confirm = armed.recent, condition.confirm
    held = recent[0].at_ns <= now_ns - confirm.held_ns if confirm.held_ns else True
    if len(recent) < confirm.prints or not held:
        return armed.watermark
    reached = max(one.high for one in recent) if condition.rises else min(one.low for one in recent)
    if armed.watermark is None:
        active = condition.activation is None or (
            reached <= condition.activation if condition.rises else reached >= condition.activation
        )
        return reached if active else None
    return min(armed.watermark, reached) if condition.rises else max(armed.watermark, reached)
