"""A step in words: what `--print orders|decisions|all` shows of it, as text or as objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson
from msgspec import Struct

from tradefan.errors import Refused
from tradefan.messages.control import Append, LogLine
from tradefan.messages.orders import Refusal
from tradefan.messages.wire import Received
from tradefan.replay.bounds import records_of
from tradefan.replay.player import Played
from tradefan.runtime.system import Ingress
from tradefan.stores.journal_tool import iso, orders_of, plain_fields
from tradefan.units import Ref

Shown = dict[str, Any]
WORDS = ("orders", "decisions", "all")
BODY_MAX = 200


def require_word(word: str) -> None:
    """See that it says what to show.

    Raises:
        Refused: BAD_PRINT.
    """
    if word not in WORDS:
        raise Refused("BAD_PRINT", f"--print: expected one of {', '.join(WORDS)}, got {word!r}")


def shower(word: str, names: Mapping[Ref, str]) -> Callable[[Played], Iterator[Shown]]:
    """Return what gives the objects that a word asks for; `names` are those of actors and ports.

    Raises:
        Refused: BAD_PRINT.
    """
    require_word(word)

    def show(played: Played) -> Iterator[Shown]:
        head = {"step": played.number, "time": iso(played.now_ns)}
        if word == "all":
            yield from _messages(head, "in", played.ingress, names)
            yield from _messages(head, "took", played.heard, names)
        yield from _refusals(head, played)
        for lsn, record in records_of(played):
            if word != "orders" or any(orders_of(record)):
                yield head | {"what": "record", "lsn": lsn, **_named(record)}
        if word == "decisions":
            yield from _messages(
                head, "log", [one for one in played.effects if isinstance(one[1], LogLine)], names
            )
        if word == "all":
            effects = [one for one in played.effects if not isinstance(one[1], Append)]
            yield from _messages(head, "out", effects, names)

    return show


def line(shown: Shown) -> str:
    """Return an object as one line."""
    head = f"{shown['step']:>9} {shown['time']} {shown['what']:6}"
    who = shown.get("who")
    number = f"{shown['lsn']} " if "lsn" in shown else ""
    fields = " ".join(
        f"{name}={_word(value)}" for name, value in shown["fields"].items() if value is not None
    )
    return f"{head} {f'{who} ' if who else ''}{number}{shown['type']} {fields}".rstrip()


def _refusals(head: Shown, played: Played) -> Iterator[Shown]:
    """Give each refusal once, whoever else hears of it."""
    told = {id(msg): msg for _, msg in played.heard if isinstance(msg, Refusal)}
    for refusal in told.values():
        yield head | {"what": "refuse", **_named(refusal)}


def _messages(
    head: Shown, what: str, messages: Iterable[Ingress], names: Mapping[Ref, str]
) -> Iterator[Shown]:
    for ref, msg in messages:
        yield head | {"what": what, "who": names.get(ref, "kernel"), **_named(msg)}


def _named(msg: Struct) -> Shown:
    fields = plain_fields(msg)
    fields.pop("at_ns", None)
    if isinstance(msg, Received):
        fields["body"] = msg.body[:BODY_MAX].decode("utf-8", "replace")
    if isinstance(msg, LogLine):
        return {"type": msg.event, "fields": {"level": msg.level, **plain_fields_of(msg.fields)}}
    return {"type": type(msg).__name__, "fields": fields}


def plain_fields_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a log line's fields as plain values."""
    plain: dict[str, Any] = orjson.loads(orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS))
    return plain


def _word(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and value and " " not in value:
        return value
    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return text if len(text) <= BODY_MAX * 2 else f"{text[: BODY_MAX * 2]}..."
