"""The bodies of control calls: what may be said, in which words, within which bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from tradefan.api.guard import Problem
from tradefan.errors import Refused, naming
from tradefan.messages.orders import SubmitOrder
from tradefan.setting import explain
from tradefan.units import (
    NAME_MAX,
    REASON_MAX,
    ZERO,
    AccountId,
    InstrumentId,
    OwnerId,
    cut,
    parse_iso,
    require_number,
)

REF_MAX = 64

Reason = Annotated[str, Meta(max_length=REASON_MAX)]
GivenReason = Annotated[str, Meta(min_length=1, max_length=REASON_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """What every call may say of the one who calls: by which face he comes, and his name on his machine.

    Both are his own words; what lets him in is the token.
    """

    owner: Literal["api", "cli"] = "api"
    user: Annotated[str, Meta(max_length=NAME_MAX)] = ""

    @property
    def owner_id(self) -> OwnerId:
        """The owner of what is asked for."""
        return OwnerId(self.owner)

    @property
    def principal(self) -> str:
        """Who is written into the journal: `cli alice`."""
        return f"{self.owner} {self.user}".rstrip()

    def check(self) -> None:
        """Raise Refused for what no type can say."""


class OrderBody(Body, kw_only=True):
    """`POST /api/v1/orders`."""

    symbol: str
    side: Literal["buy", "sell"]
    quantity: Decimal | None = None
    notional: Decimal | None = None
    algo: str = "market"
    limit_price: Decimal | None = None
    account: str | None = None
    ref: Annotated[str, Meta(min_length=1, max_length=REF_MAX)] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    reason: Reason = ""
    reduce_only: bool = False

    def check(self) -> None:
        """Raise for numbers that are none, or that nobody can compute with."""
        _check_positive(quantity=self.quantity, notional=self.notional, limit_price=self.limit_price)
        if (self.quantity is None) == (self.notional is None):
            got = "neither" if self.quantity is None else "both"
            text = f"quantity, notional: expected exactly one of them, got {got}"
            raise Refused("BAD_REQUEST", f"{text}; a notional is in the quote asset")
        if self.notional is not None and "notional" in self.settings:
            raise Refused("BAD_REQUEST", "notional: is given in settings, too; expected one of them")

    def wish(self, account: AccountId, instrument: InstrumentId, ref: str) -> SubmitOrder:
        """Return what the order manager is asked for."""
        worth = {} if self.notional is None else {"notional": str(self.notional)}
        return SubmitOrder(
            account=account,
            instrument=instrument,
            owner=self.owner_id,
            ref=ref,
            side=self.side,
            order_qty=self.quantity or ZERO,
            algo=self.algo,
            settings=self.settings | worth,
            limit_price=self.limit_price,
            reason=self.reason,
            reduce_only=self.reduce_only,
        )


class PauseBody(Body, kw_only=True):
    """`POST /api/v1/orders/{id}/pause`: what rests is cancelled, the clock stops, or not."""

    keep_children: bool = False
    keep_end: bool = False


class AmendBody(Body, kw_only=True):
    """`POST /api/v1/orders/{id}/amend`: what is left out stays; `end_at` is ISO 8601.

    `end_at` and `display` are of an order at work, `trigger_price` is of one that is armed.
    """

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    end_at: Name | None = None
    display: Decimal | None = None
    trigger_price: Decimal | None = None

    def check(self) -> None:
        """Raise for numbers that are none, an end that is no instant, or nothing to amend."""
        _check_positive(quantity=self.quantity, limit_price=self.limit_price, display=self.display)
        _check_positive(trigger_price=self.trigger_price)
        if self.end_at is not None:
            with naming("end_at"):
                parse_iso(self.end_at)


class KillBody(Body, kw_only=True):
    """`POST /api/v1/kill`; nothing said means everything.

    A kill never fails because of its words: a reason and a name of any length and spelling are taken.
    """

    scope: Name = "all"
    reason: str = ""
    user: str = ""
    keep_protection: bool = False
    including_external: bool = False

    def __post_init__(self) -> None:
        """Keep of reason and name what a record can hold."""
        self.reason, self.user = cut(self.reason, REASON_MAX), cut(self.user, NAME_MAX)


class ResumeBody(Body, kw_only=True):
    """`POST /api/v1/resume`."""

    scope: Name = "all"
    reason: GivenReason


class ResolveBody(Body, kw_only=True):
    """`POST /api/v1/orders/{id}/resolve`."""

    verdict: Literal["PLACED", "NOT_PLACED", "RETRY", "DROP"]
    reason: GivenReason


class AssignBody(Body, kw_only=True):
    """`POST /api/v1/positions/assign`; `from` and `to` are owners, `external` is what nobody here bought."""

    symbol: str
    quantity: Decimal
    giver: Name = field(name="from", default="external")
    taker: Name = field(name="to")
    price: Decimal | None = None
    account: str | None = None

    def check(self) -> None:
        """Raise for numbers that are none, or that nobody can compute with."""
        _check_positive(quantity=self.quantity, price=self.price)


AnyBody = TypeVar("AnyBody", bound=Body)


def read(text: bytes, kind: type[AnyBody]) -> AnyBody:
    """Return a body, checked.

    Raises:
        Problem: 400 with what is wrong.
    """
    text = text or b"{}"

    def decoded() -> AnyBody:
        return _lenient(text, kind) if kind is KillBody else msgspec.json.decode(text, type=kind)

    return _checked(decoded, lambda: json.loads(text), kind)


def convert(words: dict[str, Any], kind: type[AnyBody]) -> AnyBody:
    """Return a body of a caller in this process, checked as one that came over HTTP.

    Raises:
        Problem: as `read`.
    """
    return _checked(lambda: msgspec.convert(words, kind), lambda: words, kind)


def _checked(make: Callable[[], AnyBody], said: Callable[[], Any], kind: type[AnyBody]) -> AnyBody:
    try:
        body = make()
        body.check()
    except Refused as refused:
        raise Problem(400, refused.code, refused.text) from refused
    except RecursionError as error:
        raise Problem(400, "BAD_REQUEST", "expected an object in JSON, nested less deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise Problem(400, "BAD_REQUEST", explain(error, said, kind)) from error
    return body


def _lenient(text: bytes, kind: type[AnyBody]) -> AnyBody:
    """Take JSON that strict readers refuse: of other encodings, with half a surrogate pair or a line end."""
    return msgspec.convert(json.loads(text.decode("utf-8", "replace"), strict=False), kind)


def _check_positive(**values: Decimal | None) -> None:
    for name, value in values.items():
        if value is None:
            continue
        if not (value.is_finite() and value > 0):
            raise Refused("BAD_REQUEST", f"{name}: expected a number above zero, got {value}")
        require_number(name, value)
