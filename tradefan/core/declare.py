"""From a strategy's class to a strategy that has declared: every misuse is refused here, in words.

`declare` makes one instance; wiring asks it for subscriptions, the trader runs it, `describe` prints
it. Nothing of a strategy runs before this but its module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct

from tradefan.contracts import Settings, lookup, read_settings
from tradefan.core.desk import Declared, Desk
from tradefan.core.kept import require_keepable
from tradefan.core.purity import impurities
from tradefan.core.series import Series, SeriesState
from tradefan.errors import Defect, Refused
from tradefan.setting import suggest
from tradefan.strategy.author import State, Strategy
from tradefan.strategy.view import View
from tradefan.strategy.wishes import Commands
from tradefan.units import InstrumentId

AnyStrategy = Strategy[Any, Any]
Handler = Callable[[Any, View], Commands]
LATER = {"on_book", "on_signal", "on_settings"}
"""Handlers of the contract that a later version brings."""


class Saved(Struct, frozen=True):
    """What a trader's state holds of a strategy: living objects, or what they were decoded to."""

    series: list[SeriesState]
    indicators: list[Any]
    memory: Any


class Made(Struct, frozen=True):
    """A strategy that has declared, with the handlers that it has."""

    strategy: AnyStrategy
    declared: Declared
    series: Mapping[tuple[str, str], Series]
    indicators: list[Any]
    series_states: list[SeriesState]
    on_bar: Mapping[str, Handler]
    on_quote: Handler | None
    on_trade: Handler | None
    on_timer: Mapping[str, Handler]


def declare(
    strategy: type[AnyStrategy],
    settings: Settings,
    resolve: Callable[[str], InstrumentId],
    saved: Saved | None = None,
) -> Made:
    """Make a strategy and let it declare; with `saved`, everything takes its saved place again.

    Raises:
        Refused: BAD_STRATEGY, or what `setup` was refused (UNKNOWN_INSTRUMENT, BAD_DURATION).
        Defect: what was saved does not fit what is declared.
    """
    _, state_type = types_of(strategy)
    require_keepable(state_type)
    bad = impurities(strategy, Strategy)
    if bad:
        raise Refused("BAD_STRATEGY", f"a strategy does no I/O and never waits: {'; '.join(bad)}")
    desk = Desk(resolve) if saved is None else Desk(resolve, saved.series, saved.indicators)
    one = strategy(settings, _memory(state_type, saved), desk)
    one.setup()
    declared = desk.close()
    handlers = _handlers(strategy)
    timers = [timer.name for timer in declared.timers]
    frames = list(dict.fromkeys(need.timeframe for need in declared.bars))
    _check_handlers(strategy, handlers, declared, frames, timers)
    series_states, indicators = desk.states()
    return Made(
        one,
        declared,
        desk.series,
        indicators,
        series_states,
        {frame: getattr(one, name) for frame in frames if (name := _bar_handler(frame, handlers))},
        one.on_quote if "on_quote" in handlers else None,
        one.on_trade if "on_trade" in handlers else None,
        {name: getattr(one, f"on_timer_{name}") for name in timers},
    )


def find_strategy(
    use: str, given: Mapping[str, Any], strategy: type[AnyStrategy] | None = None
) -> tuple[type[AnyStrategy], Settings]:
    """Return a strategy's class, the registered one unless it is given, and its settings.

    Raises:
        Refused: UNKNOWN_STRATEGY, UNKNOWN_SETTING, BAD_SETTING, or BAD_STRATEGY.
    """
    if strategy is None:
        plugin = lookup("strategy", use)
        strategy = plugin.make
        if plugin.settings is not types_of(strategy)[0]:
            text = f"{strategy.__name__} is registered with {plugin.settings.__name__}, which it is not for"
            raise Refused("BAD_STRATEGY", text)
    settings = read_settings(types_of(strategy)[0], given, f"strategy {use}")
    assert isinstance(settings, Settings)
    return strategy, settings


def types_of(strategy: type[Any]) -> tuple[type[Settings], type[State]]:
    """Return the settings and state types that a class was written for: `Strategy[S, T]`."""
    for owner in strategy.__mro__:
        for base in vars(owner).get("__orig_bases__", ()):
            if get_origin(base) is Strategy:
                settings, state = get_args(base)
                if _is(settings, Settings) and _is(state, State):
                    return settings, state
    text = f"{strategy.__name__}: expected class {strategy.__name__}(Strategy[MySettings, MyState])"
    raise Refused("BAD_STRATEGY", text)


def _is(value: object, base: type[Any]) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def _memory(state_type: type[State], saved: Saved | None) -> State:
    if saved is None:
        try:
            return state_type()
        except TypeError as error:
            text = f"{state_type.__name__}: every field of a State needs a default ({error})"
            raise Refused("BAD_STRATEGY", text) from error
    try:
        return msgspec.convert(msgspec.to_builtins(saved.memory), state_type)
    except msgspec.ValidationError as error:
        raise Defect(f"what was saved is no {state_type.__name__}: {error}") from error


def _handlers(strategy: type[AnyStrategy]) -> tuple[str, ...]:
    """Return the handlers that a class adds or replaces, in alphabetical order."""
    names = (name for name in dir(strategy) if name.startswith("on_"))
    return tuple(name for name in names if getattr(strategy, name) is not getattr(Strategy, name, None))


def _bar_handler(frame: str, handlers: tuple[str, ...]) -> str | None:
    special = f"on_bar_{frame}"
    if special in handlers:
        return special
    return "on_bar" if "on_bar" in handlers else None


def _check_handlers(
    strategy: type[AnyStrategy],
    handlers: tuple[str, ...],
    declared: Declared,
    frames: list[str],
    timers: list[str],
) -> None:
    """Refuse a handler that would never run, and a schedule without a handler."""
    common = [name for name in dir(Strategy) if name.startswith("on_")]
    known = [*common, *(f"on_bar_{frame}" for frame in frames), *(f"on_timer_{name}" for name in timers)]
    for name in handlers:
        if name in LATER:
            _refuse(strategy, f"{name} is not supported yet")
        if name not in known:
            _refuse(
                strategy, f"{name} would never run, setup() declares nothing for it{suggest(name, known)}"
            )
    for name, needed, call in (
        ("on_bar", declared.bars, "bars"),
        ("on_quote", declared.quotes, "quotes"),
        ("on_trade", declared.trades, "trades"),
    ):
        if name in handlers and not needed:
            _refuse(strategy, f"{name} would never run, call self.{call}(...) in setup()")
    for name in timers:
        if f"on_timer_{name}" not in handlers:
            _refuse(
                strategy, f"a schedule {name!r} is declared, but there is no on_timer_{name}(timer, view)"
            )


def _refuse(strategy: type[AnyStrategy], text: str) -> None:
    raise Refused("BAD_STRATEGY", f"{strategy.__name__}: {text}")
