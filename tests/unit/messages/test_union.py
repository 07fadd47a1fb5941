"""Every message and record round-trips through msgpack, holds no callable, and knows its lane."""

from __future__ import annotations

import enum
import types
import typing
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradefan.errors import TradeFanError
from tradefan.messages import records
from tradefan.messages.base import FACTS, Command, Control, Fact, Market, Message
from tradefan.messages.union import MESSAGES, decode, encode

RECORDS = typing.get_args(records.Record)
_DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**9), max_value=10**9)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**60), 2**60),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=8),
    bytes: st.binary(max_size=8),
    bool: st.booleans(),
    type(None): st.none(),
    Decimal: _DECIMALS,
    Any: st.one_of(st.none(), st.integers(0, 9), st.text(max_size=3)),
    msgspec.Raw: st.integers(0, 9).map(lambda n: msgspec.Raw(msgspec.msgpack.encode(n))),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return values of an annotation that a message uses."""
    if isinstance(hint, typing.NewType):
        return values(hint.__supertype__)
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(arg) for arg in args])
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is tuple and len(args) == 2 and args[1] is ...:
        return st.lists(values(args[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(arg) for arg in args))
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=2)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(list(hint))
    assert isinstance(hint, type), f"no values for {hint}"
    assert issubclass(hint, msgspec.Struct), f"no values for {hint}"
    return structs(hint)


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return instances of a Struct; those whose own check refuses are left out."""
    hints = typing.get_type_hints(kind)
    fields = {name: values(hints[name]) for name in kind.__struct_fields__}

    @st.composite
    def build(draw: st.DrawFn) -> Any:
        try:
            return kind(**{name: draw(value) for name, value in fields.items()})
        except (TradeFanError, ValueError):
            return draw(st.nothing())

    return build()


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_message_when_encoded_then_decodes_to_itself(kind: type[Message], data: st.DataObject) -> None:
    """Any mailbox can become a stream of bytes: nothing is lost, nothing changes its type."""
    message = data.draw(structs(kind))
    again = decode(encode(message))
    assert again == message
    assert type(again) is kind
    assert encode(again) == encode(message)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_record_when_encoded_then_decodes_to_itself(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    """What the journal holds comes back as it was."""
    record = data.draw(structs(kind))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=records.Record)
    assert again == record
    assert type(again) is kind


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_message_when_defined_then_frozen_tagged_and_on_one_lane(kind: type[Message]) -> None:
    """Messages are frozen arrays with their name in front; the lane is a fact of the class."""
    config = kind.__struct_config__
    assert config.frozen
    assert config.array_like
    assert config.tag == kind.__name__
    bases: tuple[type, ...] = (Control, Fact, Command, Market)
    lanes = [lane for lane, base in enumerate(bases) if issubclass(kind, base)]
    assert len(lanes) <= 1
    assert kind.lane == (lanes[0] if lanes else FACTS)


def test_orders_when_they_concern_an_order_then_they_name_account_and_instrument() -> None:
    """Account and instrument, or an id that leads to them, stand in every message about an order."""
    leads = {"account", "parent_id", "order", "req", "owner", "wish"}
    from tradefan.messages import orders

    for kind in MESSAGES:
        if kind.__module__ == orders.__name__:
            assert leads & set(kind.__struct_fields__), kind.__name__
