"""Contingent orders as their owners write them: a trigger, and the order that it becomes when it fires.

`stop`, `stop_limit`, `take_profit` and `trailing` are algorithms of a parent. Their settings are those of the
trigger and, beside them, those of the algorithm `then`: `worked` separates what the fired order is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from tradefan.contracts import Settings, lookup, public_fields, read_settings, register
from tradefan.core.trigger import Condition, Confirm, Kind, read_confirm, trigger_rises
from tradefan.errors import Refused, naming
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import ParentOrder
from tradefan.setting import suggest, unit
from tradefan.units import is_number, parse_iso, plain, sign, steps_up

TRIGGERS: dict[str, Kind] = {
    "stop": "stop",
    "stop_limit": "stop",
    "take_profit": "take_profit",
    "trailing": "trailing",
}
"""Algorithms that wait for the market before they work, and what each waits for."""
WIDE_COLLAR_BPS = Decimal(200)
"""Default of `wide_collar_bps` (`execution.Common`): a market order that a trigger fires uses it."""
WIDE_COLLAR_BPS_MAX = Decimal(1_000)
"""Of such a market order no more than of any that takes (`executors.bounds`)."""
BPS_MAX = Decimal(5_000)
GOOD_TILL = "good_till:"
Source = Literal["last", "mid", "bid_ask", "mark"]


class TriggerSettings(Settings, frozen=True, kw_only=True):
    """What fires, and how it is to be understood; docs/contingent.md explains each."""

    trigger_price: Annotated[Decimal | None, unit("price", "its level; trailing has none")] = None
    source: Annotated[Source, unit("choice", "the price that is looked at")] = "last"
    confirm: Annotated[
        str | None, unit("choice", "prints:2, held:500ms or any; by its source where none is given")
    ] = None
    on_untrusted: Annotated[
        Literal["block", "fire"], unit("choice", "on a price that other venues contradict")
    ] = "block"
    gap_limit_bps: Annotated[
        Decimal | None, unit("bps", "a first price further beyond its level waits and alarms")
    ] = None
    on_gap: Annotated[
        Literal["recheck", "fire"], unit("choice", "on what crossed its level while nobody looked")
    ] = "recheck"
    callback_bps: Annotated[Decimal | None, unit("bps", "how far behind the best price it trails")] = None
    callback_abs: Annotated[Decimal | None, unit("price", "the same as a distance in price")] = None
    activation: Annotated[Decimal | None, unit("price", "it trails only from here on")] = None
    chase_stop: Annotated[bool, unit("flag", "a fired market order goes on behind its tries")] = True
    allow_immediate: Annotated[bool, unit("flag", "what is true at entry fires, and is not refused")] = False
    expiry: Annotated[str, unit("choice", "gtc, day or good_till:2026-03-27T08:00:00Z")] = "gtc"
    then: Annotated[
        str | None, unit("name", "the algorithm that it becomes; settings of it stand beside these")
    ] = None
    protective: Annotated[
        bool | None, unit("flag", "kept when its owner is lost; true but for a take_profit")
    ] = None


FIELDS = TriggerSettings.__struct_encode_fields__


@register("trigger", "stop", settings=TriggerSettings)
class Stop:
    """Fires at its level or worse; then `market`, or any other algorithm."""


@register("trigger", "stop_limit", settings=TriggerSettings)
class StopLimit:
    """Fires at its level or worse; then `limit` at limit_price."""


@register("trigger", "take_profit", settings=TriggerSettings)
class TakeProfit:
    """Fires at its level or better; then `limit` at limit_price where one is given, else `market`."""


@register("trigger", "trailing", settings=TriggerSettings)
class Trailing:
    """Fires so far behind the best price since; then `market`, or `limit` at limit_offset_bps."""


# --- the order that it becomes --------------------------------------------------------------------------


def worked(order: ParentOrder) -> ParentOrder:
    """Return an order as it is worked: a contingent one as the order that it becomes."""
    if order.algo not in TRIGGERS:
        return order
    algo = _then(order)
    settings = own_settings(order)
    if algo == "market":
        settings["collar_bps"] = settings.get("wide_collar_bps", WIDE_COLLAR_BPS)
        settings.setdefault("insist", True)
        settings.setdefault("tries_end", str(order.settings.get("chase_stop")).lower() in ("false", "0"))
    elif algo == "limit" and settings.get("time_in_force", "GTC") == "GTC":
        # What ends early at the venue rests again: nothing but its end, or its owner, takes it back.
        settings.setdefault("grows", True)
        settings.setdefault("on_restart", "resume")
    if order.protective and _has_setting(algo, "on_restart"):
        # What has fired to protect a position waits for no human behind a restart.
        settings.setdefault("on_restart", "resume")
    return replace(order, algo=algo, settings=settings)


def own_settings(order: ParentOrder) -> dict[str, Any]:
    """Return what its owner says of how an order is worked: of a contingent one, of its `then`."""
    if order.algo not in TRIGGERS:
        return order.settings
    return {name: value for name, value in order.settings.items() if name not in FIELDS}


def at_market(order: ParentOrder) -> ParentOrder:
    """Return a contingent order that becomes `market`, without the settings of what it was to become."""
    settings = {name: value for name, value in order.settings.items() if name in FIELDS}
    return replace(order, settings={**settings, "then": "market"})


def worst_of(order: ParentOrder, price: Decimal) -> Decimal:
    """Return the worst price at which a contingent order may trade that fires at a price."""
    if order.limit_price is not None:
        return order.limit_price
    offset = worked(order).settings.get("limit_offset_bps")
    if offset is None:
        return price
    return price * (1 + sign(order.side) * Decimal(str(offset)) / 10_000)


def _has_setting(algo: str, name: str) -> bool:
    try:
        return name in lookup("executor", algo).settings.__struct_encode_fields__
    except Refused:
        return False


def _then(order: ParentOrder) -> str:
    given = order.settings.get("then")
    if isinstance(given, str):
        return given
    limited = {
        "stop": False,
        "stop_limit": True,
        "take_profit": order.limit_price is not None,
        "trailing": "limit_offset_bps" in order.settings,
    }
    return "limit" if limited[order.algo] else "market"


# --- the trigger --------------------------------------------------------------------------------------------


def trigger_settings(order: ParentOrder) -> TriggerSettings:
    """Return what a contingent order says of its trigger.

    Raises:
        Refused: BAD_SETTING.
    """
    own = {name: value for name, value in order.settings.items() if name in FIELDS}
    made = read_settings(TriggerSettings, own, order.algo)
    assert isinstance(made, TriggerSettings)
    return made


def is_protective(algo: str, settings: dict[str, Any]) -> bool:
    """Say whether an order protects: a stop does, unless it is said that it does not."""
    said = settings.get("protective")
    if said is None:
        return algo in ("stop", "stop_limit", "trailing")
    return str(said).lower() in ("true", "1")


def confirm_of(settings: TriggerSettings) -> Confirm:
    """Return how a price is confirmed: two prints, or half a second of quotes, where nothing is said.

    Raises:
        Refused: BAD_SETTING.
    """
    usual = "prints:2" if settings.source == "last" else "held:500ms"
    return read_confirm(settings.confirm or usual)


def condition_of(
    order: ParentOrder, settings: TriggerSettings, instrument: Instrument, level: Decimal | None
) -> Condition:
    """Return the condition of an order in steps of `step_of`; `level` is its resolved trigger price.

    What a venue has put off its grid since is rounded so that it fires later, not sooner.
    """
    step, kind = step_of(settings, instrument), TRIGGERS[order.algo]
    rises = trigger_rises(kind, order.side)
    active = settings.activation
    return Condition(
        kind=kind,
        side=order.side,
        confirm=confirm_of(settings),
        trigger=None if level is None else steps_beyond(level, step, rises=rises),
        callback_bps=settings.callback_bps,
        callback_ticks=None if settings.callback_abs is None else steps_up(settings.callback_abs, step),
        activation=None if active is None else steps_beyond(active, step, rises=not rises),
        gap_limit_bps=settings.gap_limit_bps,
    )


def step_of(settings: TriggerSettings, instrument: Instrument) -> Decimal:
    """Return the step in which a trigger counts prices: the tick, and half of it where a mid is looked at."""
    return instrument.price_tick / 2 if settings.source == "mid" else instrument.price_tick


def steps_beyond(price: Decimal, step: Decimal, *, rises: bool) -> int:
    """Return a price in steps, rounded to where whoever waits for it from below (`rises`) has it later."""
    return steps_up(price, step) if rises else int(price // step)


def check_trigger(order: ParentOrder, settings: TriggerSettings, instrument: Instrument) -> None:
    """Refuse a trigger that cannot be one, whatever the market is.

    Raises:
        Refused: BAD_SETTING, OFF_GRID, UNSUPPORTED_SOURCE, UNSUPPORTED, with what would pass.
    """
    if settings.source == "mark":
        text = "source mark: only perpetuals have a mark price, and they are not traded yet"
        raise Refused("UNSUPPORTED_SOURCE", text, "source last")
    if settings.on_gap == "fire":
        text = "on_gap fire: no feed tells prices of a time in which nobody listened"
        raise Refused("UNSUPPORTED", text, "on_gap recheck")
    if settings.on_untrusted == "fire":
        text = "on_untrusted fire: nothing measures yet whether venues agree on a price"
        raise Refused("UNSUPPORTED", text, "on_untrusted block")
    if settings.source != "last" and (settings.confirm or "").startswith("prints"):
        raise Refused("BAD_SETTING", "confirm prints needs source last", "confirm held:500ms")
    confirm_of(settings)
    _check_words(order, settings)
    _check_numbers(settings, instrument)


def _check_words(order: ParentOrder, settings: TriggerSettings) -> None:
    trailing = order.algo == "trailing"
    if trailing and settings.trigger_price is not None:
        text = "trailing has no trigger_price: its level follows"
        raise Refused("BAD_SETTING", text, "activation")
    if not trailing and settings.trigger_price is None:
        raise Refused("BAD_SETTING", f"{order.algo} needs a trigger_price", "trigger_price")
    callbacks = (settings.callback_bps is not None) + (settings.callback_abs is not None)
    if callbacks != trailing:
        wanted = "exactly one of callback_bps and callback_abs" if trailing else "no callback"
        raise Refused("BAD_SETTING", f"{order.algo}: expected {wanted}, got {callbacks}", "callback_bps 100")
    if settings.activation is not None and not trailing:
        raise Refused("BAD_SETTING", f"{order.algo} has no activation", "trailing")
    if settings.expiry not in ("gtc", "day") and not settings.expiry.startswith(GOOD_TILL):
        text = f"expiry: expected gtc, day or good_till:<instant>, got {settings.expiry!r}"
        raise Refused("BAD_SETTING", text[:200], "expiry gtc")
    work = worked(order)
    if work.algo in TRIGGERS:
        raise Refused("BAD_SETTING", f"then: a trigger cannot become another trigger, {work.algo}", "market")
    priced = order.limit_price is not None or "limit_offset_bps" in work.settings
    if work.algo == "limit" and not priced:
        raise Refused("BAD_SETTING", f"{order.algo} that becomes a limit needs a limit_price", "limit_price")


def _check_numbers(settings: TriggerSettings, instrument: Instrument) -> None:
    for name in ("trigger_price", "activation", "callback_abs"):
        price: Decimal | None = getattr(settings, name)
        if price is None:
            continue
        tick = instrument.price_tick
        if not is_number(price) or price <= 0 or price % tick:
            text = f"{name}: expected a positive multiple of the tick {plain(tick)}, got {str(price)[:60]}"
            near = f"{name} {plain(instrument.price_within('buy', price))}" if is_number(price) else None
            raise Refused("OFF_GRID", text, near)
    for name in ("callback_bps", "gap_limit_bps"):
        bps: Decimal | None = getattr(settings, name)
        if bps is not None and not (is_number(bps) and 0 < bps <= BPS_MAX):
            text = f"{name}: expected above 0, up to {BPS_MAX}, got {str(bps)[:60]}"
            raise Refused("BAD_SETTING", text, f"{name} 100")


def check_then(order: ParentOrder, settings: type[Struct]) -> None:
    """Refuse what its owner says of the `then`, before anything else is added to it: wrong, or passed over.

    Raises:
        Refused: UNKNOWN_SETTING, BAD_SETTING, with what would pass.
    """
    check_names(order, public_fields(settings))
    own, becomes = read_settings(settings, own_settings(order), order.algo), worked(order).algo
    if becomes != "market":
        if "chase_stop" in order.settings:
            text = f"{order.algo}: chase_stop is of a market order, and this becomes {becomes}"
            raise Refused("BAD_SETTING", text, "without chase_stop")
        return
    wide, given = (
        getattr(own, "wide_collar_bps", WIDE_COLLAR_BPS),
        getattr(own, "collar_bps", WIDE_COLLAR_BPS),
    )
    if "collar_bps" in order.settings:
        text = (
            f"{order.algo}: collar_bps: a market order that is fired has wide_collar_bps, got {given!s:.60}"
        )
        raise Refused("BAD_SETTING", text, f"wide_collar_bps {given if _is_wide(given) else WIDE_COLLAR_BPS}")
    if not _is_wide(wide):
        bounds = f"above 0, up to {WIDE_COLLAR_BPS_MAX}"
        text = f"{order.algo}: wide_collar_bps: expected {bounds}, got {wide!s:.60}"
        raise Refused("BAD_SETTING", text, f"wide_collar_bps {WIDE_COLLAR_BPS}")


def _is_wide(bps: Decimal) -> bool:
    return is_number(bps) and 0 < bps <= WIDE_COLLAR_BPS_MAX


def check_callback(
    order: ParentOrder, settings: TriggerSettings, price: Decimal, instrument: Instrument
) -> None:
    """Refuse a trailing distance above half of where it begins: its level is one that no market comes to.

    Raises:
        Refused: BAD_SETTING, with the largest that would pass.
    """
    begins, off = settings.activation or price, settings.callback_abs
    most = begins * BPS_MAX / 10_000
    if off is None or off <= most:
        return
    tick, asked = instrument.price_tick, f"half of the {plain(begins)} where it begins to trail"
    text = f"{order.algo}: callback_abs: expected up to {plain(most)}, {asked}, got {plain(off)}"
    raise Refused("BAD_SETTING", text, f"callback_abs {plain(max(most // tick * tick, tick))}")


def check_names(order: ParentOrder, known: tuple[str, ...]) -> None:
    """Refuse a setting that neither the trigger nor its `then` has, with what was probably meant.

    Raises:
        Refused: UNKNOWN_SETTING.
    """
    every = (*FIELDS, *known)
    for key in order.settings:
        if key.partition(".")[0] not in every:
            raise Refused("UNKNOWN_SETTING", f"{order.algo} has no setting {key!r}{suggest(key, every)}")


def good_till_ns(expiry: str) -> int | None:
    """Return the instant of `good_till:<instant>`, None for the others.

    Raises:
        Refused: BAD_SETTING, the text is no instant that a record can hold.
    """
    if not expiry.startswith(GOOD_TILL):
        return None
    with naming("expiry", "BAD_SETTING", "expiry gtc"):
        return parse_iso(expiry.removeprefix(GOOD_TILL))
