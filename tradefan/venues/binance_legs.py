"""The two legs of an `order.cancelReplace`, each read for itself (OR-23).

The request is no transaction: a cancel that was done stays done when the new order fails. Binance
answers 200 when both were done, -2021 when one was, -2022 when none was; what STOP_ON_FAILURE did
not attempt does not exist. Legs that contradict their code prove nothing.
Source: binance-spot-api-docs, web-socket-api.md and errors.md at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from msgspec import Struct

from tradefan.messages.wire import Op
from tradefan.venues import binance_account_wire as wire
from tradefan.venues.binance_orders import Event, OrderCodec
from tradefan.venues.binance_outcome import Outcome, Verdict, leg
from tradefan.venues.feed_events import BadFrame

_DONE = Outcome(Verdict.DONE, "")
_SUCCESSES = {-2021: 1, -2022: 0}


class Leg(Struct, frozen=True):
    """What one leg proves; `events` is what the venue says of its order, where it was done."""

    outcome: Outcome
    events: tuple[Event, ...] = ()


class Legs(Struct, frozen=True):
    """Both legs; `create` None was not attempted."""

    cancel: Leg
    create: Leg | None


def read_legs(codec: OrderCodec, found: Outcome, result: bytes, error: bytes, recv_ns: int) -> Legs:
    """Read the answer to a cancel-replace whose outcome is DONE, or LEGS.

    Raises:
        BadFrame: and nothing else; then both orders are in doubt.
    """
    done = found.verdict is Verdict.DONE
    legs = wire.read_legs(result if done else b"", error)
    _check(legs, 2 if done else _SUCCESSES.get(found.code or 0), found.code)
    return Legs(_cancel(codec, legs, recv_ns), _create(codec, legs, recv_ns))


def _check(legs: wire.Legs, successes: int | None, code: int | None) -> None:
    canceled, placed = legs.cancel_result == "SUCCESS", legs.new_order_result == "SUCCESS"
    skipped = legs.new_order_result == "NOT_ATTEMPTED"
    if canceled + placed != successes or (skipped and canceled):
        told = f"{legs.cancel_result} and {legs.new_order_result}"
        raise BadFrame("Legs", f"{code or 'a success'} does not go with {told}")


def _cancel(codec: OrderCodec, legs: wire.Legs, recv_ns: int) -> Leg:
    body = bytes(legs.cancel_response)
    if legs.cancel_result == "FAILURE":
        return _failed("cancel", body)
    return Leg(_DONE, (codec.order(body, recv_ns, "answer"),))


def _create(codec: OrderCodec, legs: wire.Legs, recv_ns: int) -> Leg | None:
    body = bytes(legs.new_order_response)
    if legs.new_order_result == "NOT_ATTEMPTED":
        return None
    if legs.new_order_result == "FAILURE":
        return _failed("create", body)
    return Leg(_DONE, codec.placed(body, recv_ns))


def _failed(op: Op, body: bytes) -> Leg:
    error = wire.read_leg_error(body)
    return Leg(leg(op, error.code, error.msg))
