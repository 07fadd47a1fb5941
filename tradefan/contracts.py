"""Extension points: the registry, and what a plug-in sees and answers.

A plug-in is a class under `@register(kind, name, settings=S)`; it is made with its settings and is
pure: a frozen view in, frozen commands out. Settings are validated against their Struct before the
class is made, so a plug-in never sees a value that it did not declare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from tradefan.errors import Defect, Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quality, Quote
from tradefan.messages.orders import Doubt, OrderStatus, OrderType, ParentOrder, TimeInForce
from tradefan.messages.plan import Clip, Plan, Volume
from tradefan.setting import explain, settings_schema, suggest
from tradefan.spans import read_special
from tradefan.units import AccountId, ClientOrderId, OwnerId, Side

Bound = Literal["limit", "collar", "wide"]
Kind = Literal[
    "strategy",
    "executor",
    "trigger",
    "group",
    "trajectory",
    "pacing",
    "tactic",
    "guard",
    "risk_rule",
    "venue",
    "store",
    "notifier",
]
T = TypeVar("T")


# --- registry -----------------------------------------------------------------------------------


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a plug-in's settings: every field has a default; an unknown key is an error."""

    private: ClassVar[tuple[str, ...]] = ()
    """Fields that only TradeFan itself sets: in no schema, and unknown where somebody else gives them."""


class Plugin(Struct, frozen=True):
    """One registered class with the Struct of its settings."""

    kind: Kind
    name: str
    make: type[Any]
    settings: type[Struct]

    @property
    def text(self) -> str:
        """The first line of its documentation."""
        return (self.make.__doc__ or "").strip().partition("\n")[0]

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its settings, with units (`x-unit`) and defaults.

        Raises:
            TypeError: a type that no schema describes.
        """
        return settings_schema(self.settings)


_plugins: dict[tuple[Kind, str], Plugin] = {}

# A wrong algorithm is an order's refusal with a stable code of its own; the others follow their kind.
_UNKNOWN: dict[Kind, str] = {"executor": "UNKNOWN_ALGO"}


def register(kind: Kind, name: str, *, settings: type[Struct] = Settings) -> Callable[[type[T]], type[T]]:
    """Make a class known under (kind, name).

    Loading the same file again replaces its own class; two classes under one name are a Defect.
    """

    def enter(make: type[T]) -> type[T]:
        known = _plugins.get((kind, name))
        if known is not None and _origin(known.make) != _origin(make):
            raise Defect(f"{kind} {name!r} is {_origin(known.make)}, so {_origin(make)} needs another name")
        _plugins[kind, name] = Plugin(kind, name, make, settings)
        return make

    return enter


def lookup(kind: Kind, name: str) -> Plugin:
    """Return what is registered under (kind, name).

    Raises:
        Refused: UNKNOWN_ALGO for an executor, UNKNOWN_<KIND> for the others.
    """
    plugin = _plugins.get((kind, name))
    if plugin is None:
        code = _UNKNOWN.get(kind, f"UNKNOWN_{kind.upper()}")
        raise Refused(code, f"no {kind} is called {name!r}{suggest(name, names(kind))}")
    return plugin


def names(kind: Kind) -> tuple[str, ...]:
    """Return the registered names of a kind in alphabetical order."""
    return tuple(sorted(name for known, name in _plugins if known == kind))


def plugins(kind: Kind) -> tuple[Plugin, ...]:
    """Return what is registered of a kind, in order of registration."""
    return tuple(plugin for (known, _), plugin in _plugins.items() if known == kind)


def read_settings(settings: type[Struct], given: Mapping[str, Any], where: str) -> Struct:
    """Return given settings as their Struct; numbers may be written as strings (`--set tries=3`).

    `chase.max_steps` names a field of a part.

    Raises:
        Refused: UNKNOWN_SETTING names the key and what was probably meant, BAD_SETTING key and value.
    """
    # Not msgspec.structs.fields: it evaluates the annotations anew at each call, 60 us of a submit.
    known = settings.__struct_encode_fields__
    nested: dict[str, Any] = {}
    for key, value in given.items():
        whole, dot, part = key.partition(".")
        if whole not in known:
            text = f"{where} has no setting {key!r}{suggest(key, public_fields(settings))}"
            raise Refused("UNKNOWN_SETTING", text)
        if dot and whole in given:
            raise Refused("BAD_SETTING", f"{where}: {whole} is given as a whole and in part")
        if not dot:
            nested[key] = value
        else:
            nested.setdefault(whole, {})[part] = value
    try:
        return msgspec.convert(nested, settings, strict=False, dec_hook=read_special)
    except msgspec.ValidationError as error:
        text = f"{where}: {explain(error, lambda: nested, settings)}"
        raise Refused("BAD_SETTING", text) from error


def refuse_private(algo: str, given: Iterable[str]) -> None:
    """Refuse settings of an executor that only TradeFan itself gives, as names that nobody knows.

    Raises:
        Refused: UNKNOWN_SETTING.
    """
    plugin = _plugins.get(("executor", algo))
    private = () if plugin is None else getattr(plugin.settings, "private", ())
    for key in given:
        if plugin is not None and key.partition(".")[0] in private:
            known = public_fields(plugin.settings)
            raise Refused("UNKNOWN_SETTING", f"{algo} has no setting {key!r}{suggest(key, known)}")


def public_fields(settings: type[Struct]) -> tuple[str, ...]:
    """Return the names of settings that others than TradeFan itself may give."""
    private = getattr(settings, "private", ())
    return tuple(name for name in settings.__struct_encode_fields__ if name not in private)


def _origin(make: type[Any]) -> str:
    return f"{make.__module__}.{make.__qualname__}"


# --- executors ----------------------------------------------------------------------------------


class ChildView(Struct, frozen=True):
    """One child as its executor sees it; `live` while it is not terminal, or in doubt.

    `ending` once its end was asked for; `clip` and `step` are those that placed it, `filled_ns` when it
    traded last.
    """

    client_order_id: ClientOrderId
    status: OrderStatus
    in_doubt: Doubt | None
    live: bool
    order_qty: Decimal
    cum_qty: Decimal
    limit_price: Decimal | None
    reason: str
    created_ns: int
    time_in_force: TimeInForce = "GTC"
    ending: bool = False
    filled_ns: int = 0
    clip: int = -1
    step: int = 0


class ParentView(Struct, frozen=True):
    """All that an executor may know: the parent, its children and the market of this instant.

    `open_qty` is what may still be placed: order - cum - working - in doubt. `collar_px` is the
    worst price that a crossing child may name and `touch_px` the best price on the other side,
    both None without a trusted reference. `children` holds the live ones and the newest that ended,
    oldest first; `attempts` counts all ever made; `last_end_ns` is when the newest one ended. `quote` is
    what the market shows, and `crossing` whether that is trusted enough to cross. `plan`, the number of
    plans so far, and the newest clip are what was journaled of this parent.
    """

    now_ns: int
    order: ParentOrder
    instrument: Instrument
    cum_qty: Decimal
    working_qty: Decimal
    in_doubt_qty: Decimal
    open_qty: Decimal
    children: tuple[ChildView, ...]
    attempts: int
    last_end_ns: int | None
    collar_px: Decimal | None
    touch_px: Decimal | None
    wide_collar_px: Decimal | None = None
    quote: Quote | None = None
    crossing: bool = False
    plan: Plan | None = None
    plans: int = 0
    clip: Clip | None = None
    volume: Volume = Volume()

    @property
    def busy(self) -> bool:
        """Whether a child is live."""
        return any(child.live for child in self.children)


class PlaceChild(Struct, frozen=True):
    """Place a child; the engine checks budget, limit, collar, lot and risk before it exists."""

    order_qty: Decimal
    limit_price: Decimal
    time_in_force: TimeInForce
    post_only: bool = False
    step: int = 0
    bound: Bound = "limit"
    """`limit`: the parent's, where it has one, else the collar; `collar`, `wide`: that one, and the limit."""


class ReplaceChild(Struct, frozen=True):
    """Replace a resting child that has not begun to trade; at most its rest, in one request.

    What cannot be replaced (it trades already, or is in doubt) stays as it is.
    """

    client_order_id: ClientOrderId
    order_qty: Decimal
    limit_price: Decimal
    post_only: bool = False
    step: int = 0


class CancelChild(Struct, frozen=True):
    """Cancel a child to evidence."""

    client_order_id: ClientOrderId
    reason: str


class QueryChild(Struct, frozen=True):
    """Ask the venue what became of a child."""

    client_order_id: ClientOrderId


class Wake(Struct, frozen=True):
    """Ask again at an instant, or when the market gets there; the newest wake replaces the older.

    `bid_below` fires at a bid at or below it, `bid_above` at one at or above it, and so on; `volume_at` is
    total volume in lots since the parent's arrival.
    """

    at_ns: int | None = None
    bid_below: float | None = None
    bid_above: float | None = None
    ask_below: float | None = None
    ask_above: float | None = None
    volume_at: int | None = None


class Decide(Struct, frozen=True):
    """Begin a clip of so many lots (`messages.plan.Clip`), journaled before a child is placed for it."""

    k: int
    target: int
    due: int
    lots: int
    deadline_ns: int | None
    reason: str = ""
    before: int = 0
    share: int = 0
    factor: float = 1.0
    price: int | None = None
    unseen: float = 0.0


class Replan(Struct, frozen=True):
    """Make the rest of the plan anew."""

    reason: str


class PauseParent(Struct, frozen=True):
    """Place nothing until what it waits for is there, or a human resumes it."""

    reason: str


class EndParent(Struct, frozen=True):
    """Place nothing more: children to evidence, then DONE; a residual makes it EXPIRED or REJECTED."""

    status: OrderStatus
    reason: str


ExecutorCommand: TypeAlias = (
    PlaceChild | ReplaceChild | CancelChild | QueryChild | Wake | Decide | Replan | PauseParent | EndParent
)


class Executor(Protocol):
    """One algorithm, a pure function of its view; it remembers nothing.

    It is asked when its parent is accepted, after each change of a child, and when it wakes.
    Raising pauses its parent only.
    """

    def decide(self, view: ParentView) -> tuple[ExecutorCommand, ...]:
        """Return what to do next; `()` waits for the next change."""
        ...


# --- risk rules ---------------------------------------------------------------------------------


class RiskIntent(Struct, frozen=True):
    """What would be sent; `price` is the worst price that it may trade at."""

    account: AccountId
    instrument: Instrument
    owner: OwnerId
    side: Side
    order_qty: Decimal
    price: Decimal
    order_type: OrderType
    reduce_only: bool
    child_qty: Decimal | None = None
    """The largest part that is sent as one order; None: all of it."""

    @property
    def largest(self) -> Decimal:
        """What is sent as one order at most."""
        return self.order_qty if self.child_qty is None else self.child_qty


class Held(Struct, frozen=True):
    """Position and everything that may still trade: working and in doubt, by side."""

    position: Decimal
    buy_qty: Decimal
    sell_qty: Decimal


class RiskState(Struct, frozen=True):
    """What the books say at this instant, read without a scan.

    `account` is the net of all owners, `owner` the asking one. `orders_recent` are the creates of
    the last second of kernel time; `free` counts what open orders have reserved as gone.
    """

    account: Held
    owner: Held
    free_base: Decimal
    free_quote: Decimal
    fee_rate: Decimal
    orders_recent: int
    latched: str | None


class MarketView(Struct, frozen=True):
    """The reference of an instrument; `age_ns` since it was received."""

    bid: Decimal
    ask: Decimal
    mid: Decimal
    age_ns: int
    quality: Quality


class RiskLimits(Struct, frozen=True):
    """The limits that hold for one instrument, from the `risk` section."""

    max_order_qty: Decimal
    max_order_notional: Decimal
    max_position: Decimal
    max_position_notional: Decimal
    price_band_bps: Decimal
    orders_per_second: int


class RiskRefused(Struct, frozen=True):
    """A rule's no: its stable code, the limit, what is used, and what would have passed."""

    code: str
    text: str
    limit: str | None = None
    used: str | None = None
    would_pass: str | None = None


class RiskRule(Protocol):
    """One limit, a pure function; it answers None where it has nothing against the intent.

    Raising refuses the intent.
    """

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        """Return why not, or None."""
        ...
