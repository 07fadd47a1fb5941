"""What `tradefan strategy show` prints: settings, subscriptions and warm-up of a strategy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tradefan.contracts import Settings
from tradefan.core.declare import AnyStrategy, declare, find_strategy
from tradefan.core.desk import Declared
from tradefan.core.series import span_text
from tradefan.units import HOUR, MINUTE, SECOND, InstrumentId, parse_duration


def describe(strategy: str | type[AnyStrategy], given: Mapping[str, Any] | None = None) -> str:
    """Return a registered strategy (or a class) in words, with these settings over its defaults.

    Symbols are not looked up: what an instance may trade is its account's business.

    Raises:
        Refused: as `find_strategy` and `declare`.
    """
    name, cls = (strategy, None) if isinstance(strategy, str) else (strategy.__name__, strategy)
    made, settings = find_strategy(name, given or {}, cls)
    declared = declare(made, settings, InstrumentId).declared
    text = (made.__doc__ or "").strip().partition("\n")[0]
    return "\n".join([f"{name}: {text}" if text else name, *_settings(settings), *_declared(declared)])


def _settings(settings: Settings) -> Iterator[str]:
    fields = msgspec.structs.fields(type(settings))
    yield "settings" if fields else "settings: none"
    schema = msgspec.json.schema(type(settings))["$defs"][type(settings).__name__]["properties"]
    for item in fields:
        yield f"  {item.encode_name}: {_kind(schema[item.encode_name])} = {getattr(settings, item.name)!r}"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a field's JSON Schema in a few words: `integer`, `number > 0`, `one of a, b`."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return " ".join([str(schema.get("type", "value")), *bounds])


def _declared(declared: Declared) -> Iterator[str]:
    yield "follows" if declared.instruments else "follows: nothing"
    for need in declared.bars:
        depth = span_text(need.depth * parse_duration(need.timeframe)) if need.depth else "none"
        yield f"  bars {need.instrument} {need.timeframe}, warm-up {need.depth} bars ({depth})"
    for instrument in declared.quotes:
        yield f"  quotes {instrument}"
    for instrument in declared.trades:
        yield f"  trades {instrument}"
    for timer in declared.timers:
        yield f"  every {span_text(timer.period_ns)} at {_clock(timer.offset_ns)} UTC: on_timer_{timer.name}"


def _clock(offset_ns: int) -> str:
    hours, rest = divmod(offset_ns, HOUR)
    return f"{hours:02d}:{rest // MINUTE:02d}:{rest % MINUTE // SECOND:02d}"
