"""Groups as their owners write them: `oco`, one quantity by several legs, and `bracket`, an entry with exits.

A group is asked for as one order; what is nested in its settings are its legs, each an order of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Struct

from tradefan.contracts import Settings, read_settings, refuse_private, register
from tradefan.core.contingent import TRIGGERS, is_protective
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import SubmitOrder
from tradefan.setting import suggest, unit
from tradefan.spans import Span
from tradefan.units import MS, Side, is_number, opposite, plain, sign

GROUPS = ("oco", "bracket")
ENTRY = "entry"
EXITS = ("take_profit", "stop", "stop_limit", "trailing")
LEGS_MAX = 4
BPS = Decimal(10_000)
OFFSET_BPS_MAX = Decimal(5_000)
_LEG_FIELDS = ("algo", "side", "limit_price", "offset_bps", "offset_abs")


class OcoSettings(Settings, frozen=True, kw_only=True):
    """What a fill of one leg does to the others."""

    partial: Annotated[
        Literal["reduce", "cancel_all"], unit("choice", "it lowers the others by as much, or ends them")
    ] = "reduce"


class BracketSettings(Settings, frozen=True, kw_only=True):
    """How often exits follow the entry, what offsets count from, and what a cancel leaves."""

    resize: Annotated[Span, unit("duration", "exits follow fills of the entry not more often")] = Span(
        500 * MS
    )
    levels_from: Annotated[
        Literal["first_fill", "avg_px"], unit("choice", "the price that offsets of exits count from")
    ] = "first_fill"
    on_cancel: Annotated[
        Literal["keep_exits", "flatten", "drop_exits"],
        unit("choice", "what a cancel of the entry leaves of a bracket that has traded"),
    ] = "keep_exits"


@register("group", "oco", settings=OcoSettings)
class Oco:
    """One quantity by several legs, given as nested settings: a fill of one lowers or ends the others."""


@register("group", "bracket", settings=BracketSettings)
class Bracket:
    """An entry with its exits, given as nested settings: exits follow what the entry has traded."""


class Leg(Struct, frozen=True):
    """One leg: an algorithm with its settings; an exit may have its level as a distance from the entry."""

    name: str
    algo: str
    side: Side
    settings: dict[str, Any]
    limit_price: Decimal | None = None
    offset_bps: Decimal | None = None
    offset_abs: Decimal | None = None

    @property
    def waits(self) -> bool:
        """Whether it is armed, and rests nowhere."""
        return self.algo in TRIGGERS

    @property
    def is_offset(self) -> bool:
        """Whether its level is known with the first fill of the entry only."""
        return self.offset_bps is not None or self.offset_abs is not None

    def level(self, entry_px: Decimal, instrument: Instrument) -> Decimal | None:
        """Return the level of an exit, counted from the entry where it is an offset; None: it follows."""
        if not self.is_offset:
            given = self.settings.get("trigger_price") if self.waits else self.limit_price
            return None if given is None else Decimal(str(given))
        off = self.offset_abs if self.offset_bps is None else entry_px * self.offset_bps / BPS
        assert off is not None
        # A profit is on the far side of the entry as its exit trades, a stop on the near one.
        away = -sign(self.side) if self.name == "take_profit" else sign(self.side)
        return instrument.price_within(self.side, entry_px + away * off)


def oco_settings(settings: Mapping[str, Any]) -> OcoSettings:
    """Return what is said of the group itself.

    Raises:
        Refused: BAD_SETTING.
    """
    made = read_settings(OcoSettings, _own(settings, OcoSettings), "oco")
    assert isinstance(made, OcoSettings)
    return made


def bracket_settings(settings: Mapping[str, Any]) -> BracketSettings:
    """Return what is said of the group itself.

    Raises:
        Refused: BAD_SETTING.
    """
    made = read_settings(BracketSettings, _own(settings, BracketSettings), "bracket")
    assert isinstance(made, BracketSettings)
    return made


def _own(settings: Mapping[str, Any], kind: type[Settings]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key in kind.__struct_encode_fields__}


# --- what may be said of one ---------------------------------------------------------------------------


def check_words(wish: SubmitOrder) -> None:
    """Refuse what would not count beside what else is said: nothing of a group is passed over.

    Only of a group that is to come in: what was let in once is worked on.

    Raises:
        Refused: BAD_SETTING, UNKNOWN_SETTING, with what would pass.
    """
    legs = {name: one for name, one in _nested(wish.settings).items() if isinstance(one, dict)}
    if wish.algo == "oco":
        if wish.limit_price is not None:
            price = plain(wish.limit_price)
            text = f"oco: limit_price: a limit belongs to one of its legs, got {price} for all of it"
            raise Refused("BAD_SETTING", text, f"{next(iter(legs), 'take_profit')}.limit_price {price}")
    else:
        _check_bracket(wish, legs)
    usual = {ENTRY: "market" if wish.limit_price is None else "limit"}
    for name, leg in legs.items():
        _check_leg(name, leg, leg.get("algo", usual.get(name, name)))


def _check_bracket(wish: SubmitOrder, legs: dict[str, dict[str, Any]]) -> None:
    if wish.reduce_only:
        text = "bracket: reduce_only: its entry opens a position, its exits only reduce it anyway, got true"
        raise Refused("BAD_SETTING", text, "without reduce_only")
    limit = legs.get(ENTRY, {}).get("limit_price")
    if limit is not None and wish.limit_price is not None:
        price = plain(wish.limit_price)
        text = f"bracket: limit_price {price}: its entry has a limit_price, too, {limit!r:.60}"
        raise Refused("BAD_SETTING", text, f"limit_price {price} without entry.limit_price")
    for name, leg in legs.items():
        side = wish.side if name == ENTRY else opposite(wish.side)
        if leg.get("side", side) != side:
            text = f"{name}.side: expected {side} in a bracket to {wish.side}, got {leg['side']!r:.60}"
            raise Refused("BAD_SETTING", text, f"without {name}.side")
        if name != ENTRY and "protective" in leg and not is_protective(name, leg):
            text = f"{name}.protective: an exit of a bracket always is, got {leg['protective']!r:.60}"
            raise Refused("BAD_SETTING", text, f"without {name}.protective")


def _check_leg(name: str, leg: dict[str, Any], algo: object) -> None:
    """Refuse two prices of which one would win, and names that are nobody's to give."""
    rests = algo == "take_profit" and "then" not in leg
    levels = [key for key in ("limit_price", "trigger_price") if leg.get(key) is not None]
    if rests and len(levels) > 1:
        both = " and ".join(f"{key} {leg[key]!r:.60}" for key in levels)
        text = f"{name}: expected one of limit_price and trigger_price, as it rests at its price, got {both}"
        raise Refused("BAD_SETTING", text, f"{name}.then limit")
    offset = next((key for key in ("offset_bps", "offset_abs") if leg.get(key) is not None), None)
    level = next((key for key in levels if rests or key == "trigger_price"), None)
    if offset is not None and level is not None:
        both = f"{level} {leg[level]!r:.60} and {offset} {leg[offset]!r:.60}"
        text = f"{name}: expected one of {level} and {offset}, got {both}"
        raise Refused("BAD_SETTING", text, f"{name}.{level} {leg[level]!s:.60}")
    refuse_private("limit" if rests else str(algo), leg)


# --- legs -----------------------------------------------------------------------------------------------


def legs_of(kind: str, side: Side, limit_price: Decimal | None, settings: Mapping[str, Any]) -> list[Leg]:
    """Return the legs of a group in the order of their names: the entry first.

    Raises:
        Refused: BAD_SETTING, UNKNOWN_SETTING, OCO_ONE_RESTS, with what would pass.
    """
    nested = _nested(settings)
    own = (OcoSettings if kind == "oco" else BracketSettings).__struct_encode_fields__
    given = {name: value for name, value in nested.items() if name not in own}
    if "notional" in given:
        text = f"{kind}: notional: a group needs a quantity, got a notional of {given['notional']!r:.60}"
        raise Refused("BAD_SETTING", text, "quantity")
    for name, value in given.items():
        if not isinstance(value, dict):
            legs = (*EXITS, *((ENTRY,) if kind == "bracket" else ("limit",)))
            if name in legs:
                text = f"{kind}: {name}: expected the settings of a leg, got {value!r}"
                raise Refused("BAD_SETTING", text, f"{name}.offset_bps 100")
            text = f"{kind}: expected a leg with settings as {name!r}{suggest(name, (*own, *legs))}"
            raise Refused("UNKNOWN_SETTING", text)
    return _oco(side, given) if kind == "oco" else _bracket(side, limit_price, given)


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with `stop.trigger_price` as a value inside of `stop`."""
    made: dict[str, Any] = {}
    for key, value in settings.items():
        name, dot, rest = key.partition(".")
        part = {rest: value} if dot else value
        made[name] = _joined(name, made[name], part) if name in made else part
    return made


def _joined(name: str, held: object, part: object) -> dict[str, Any]:
    """Return both parts of a leg's settings; what stands in both would be overwritten silently."""
    if not (isinstance(held, dict) and isinstance(part, dict)):
        raise Refused("BAD_SETTING", f"{name} is given as a whole and in part")
    for key in sorted(held.keys() & part.keys()):
        text = f"{name}.{key}: is given twice, as {held[key]!r:.60} and as {part[key]!r:.60}"
        raise Refused("BAD_SETTING", f"{text}; expected one of them")
    return {**held, **part}


def _oco(side: Side, given: dict[str, Any]) -> list[Leg]:
    if not 2 <= len(given) <= LEGS_MAX:
        text = f"oco: expected 2 to {LEGS_MAX} legs, got {len(given)}"
        raise Refused("BAD_SETTING", text, "take_profit.limit_price and stop.trigger_price")
    legs = [_leg(name, side, value, exits=False) for name, value in given.items()]
    resting = [leg.name for leg in legs if not leg.waits]
    if len(resting) > 1:
        text = f"oco: only one leg may rest, got {' and '.join(resting)}"
        raise Refused("OCO_ONE_RESTS", text, "a trigger_price in all but one leg")
    return sorted(legs, key=lambda leg: leg.waits)


def _bracket(side: Side, limit_price: Decimal | None, given: dict[str, Any]) -> list[Leg]:
    unknown = [name for name in given if name not in (ENTRY, *EXITS)]
    if unknown:
        text = f"bracket has no leg {unknown[0]!r}{suggest(unknown[0], (ENTRY, *EXITS))}"
        raise Refused("UNKNOWN_SETTING", text)
    stops = [name for name in given if name in ("stop", "stop_limit", "trailing")]
    if len(stops) > 1 or not any(name in EXITS for name in given):
        text = "bracket: expected a take_profit, or one of stop, stop_limit and trailing, or both"
        raise Refused("BAD_SETTING", text, "stop.trigger_price")
    entry = {"algo": "market" if limit_price is None else "limit", **given.get(ENTRY, {})}
    if limit_price is not None:
        entry.setdefault("limit_price", limit_price)
    exits = [_leg(name, opposite(side), given[name], exits=True) for name in EXITS if name in given]
    return [_leg(ENTRY, side, entry, exits=False), *exits]


def _leg(name: str, side: Side, value: dict[str, Any], *, exits: bool) -> Leg:
    if "notional" in value:
        raise Refused("BAD_SETTING", f"{name}.notional: a leg has the quantity of its group")
    settings = {key: one for key, one in value.items() if key not in _LEG_FIELDS}
    algo, its_side = value.get("algo", name), value.get("side", side)
    if not isinstance(algo, str) or its_side not in ("buy", "sell"):
        raise Refused("BAD_SETTING", f"{name}: expected an algorithm and a side, got {value!r}"[:200])
    limit, offsets = _price(name, "limit_price", value), {}
    for key in ("offset_bps", "offset_abs"):
        offsets[key] = _price(name, key, value)
    if any(offsets.values()) and not exits:
        raise Refused("BAD_SETTING", f"{name}: only an exit of a bracket has an offset from its entry")
    if all(offsets.values()) or (offsets["offset_bps"] or 0) > OFFSET_BPS_MAX:
        text = f"{name}: expected offset_bps up to {OFFSET_BPS_MAX}, or offset_abs"
        raise Refused("BAD_SETTING", text, "offset_bps 100")
    leg = Leg(name, algo, its_side, settings, limit, **offsets)
    return _resting(leg) if algo == "take_profit" and "then" not in settings else leg


def _resting(leg: Leg) -> Leg:
    """Return a take profit as it rests at the venue: at its limit, else at its level."""
    settings = dict(leg.settings)
    level = settings.pop("trigger_price", None)
    limit = leg.limit_price or (None if level is None else _price(leg.name, "trigger_price", leg.settings))
    if (limit is None) == (not leg.is_offset):
        raise Refused("BAD_SETTING", f"{leg.name}: expected a limit_price", "limit_price")
    grown = {**settings, "grows": True}
    grown.setdefault("on_restart", "resume")
    return Leg(leg.name, "limit", leg.side, grown, limit, leg.offset_bps, leg.offset_abs)


def _price(name: str, key: str, value: Mapping[str, Any]) -> Decimal | None:
    """Return a number that may be written as a text.

    Raises:
        Refused: BAD_SETTING.
    """
    given = value.get(key)
    if given is None:
        return None
    try:
        number = Decimal(str(given))
    except ArithmeticError:
        number = Decimal("NaN")
    if isinstance(given, bool) or not is_number(number) or number <= 0:
        raise Refused("BAD_SETTING", f"{name}.{key}: expected a number above zero, got {given!r}"[:200])
    return number


def check_level(leg: Leg, level: Decimal, reference: Decimal) -> None:
    """Refuse an exit that the market would reach at once, seen from where the entry trades.

    Raises:
        Refused: WOULD_TRIGGER_NOW.
    """
    above = (leg.side == "sell") == (leg.name == "take_profit")
    if (level > reference) != above or level == reference:
        where = "above" if above else "below"
        text = f"{leg.name} at {plain(level)}: expected a level {where} {plain(reference)}, where it begins"
        raise Refused("WOULD_TRIGGER_NOW", text, f"a level {where} {plain(reference)}")
