"""What a key of the configuration says about itself: meaning, unit, bounds, and when a change takes effect.

`live` keys change by a swap while the daemon runs, `restart` keys at the next start, `fixed` keys never for
the life of a data directory, because what is stored was made with them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

Change = Literal["live", "restart", "fixed"]
Bound: TypeAlias = int | str | Decimal
"""A bound is an int or the text of a Decimal, so that it is exact."""

NAME = r"[a-z][a-z0-9_]{0,31}"
FILE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"


def key(
    change: Change,
    doc: str,
    *,
    unit: str = "",
    ge: Bound | None = None,
    gt: Bound | None = None,
    le: Bound | None = None,
    pattern: str | None = None,
    such_as: str = "",
) -> Meta:
    """Describe one key; bounds are checked by the loader because msgspec bounds no Decimal."""
    extra: dict[str, Any] = {"change": change, "unit": unit}
    for name, bound in (("ge", ge), ("gt", gt), ("le", le)):
        if bound is not None:
            extra[name] = Decimal(bound)
    if pattern is not None:
        extra |= {"pattern": pattern, "such_as": such_as}
    return Meta(description=doc, extra=extra)


def live(doc: str, **rest: Any) -> Meta:
    """Describe a key that a swap may change."""
    return key("live", doc, **rest)


def restart(doc: str, **rest: Any) -> Meta:
    """Describe a key that is read at a start."""
    return key("restart", doc, **rest)


def fixed(doc: str, **rest: Any) -> Meta:
    """Describe a key that never changes for one data directory."""
    return key("fixed", doc, **rest)


def named(such_as: str, pattern: str) -> Meta:
    """Describe the keys of a map."""
    return Meta(extra={"such_as": such_as, "pattern": pattern})


Duration: TypeAlias = Annotated[int, Meta(extra={"kind": "duration"})]
"""Integer nanoseconds, written `250ms 30s 5m 1h 1d`; always above zero."""
Secret: TypeAlias = Annotated[str, Meta(extra={"kind": "secret"})]
"""A reference `${ENV_NAME}` or `${file:PATH}`; only links resolve it, nothing prints it."""
Share: TypeAlias = Annotated[
    Decimal, Meta(extra={"unit": "share of equity", "gt": Decimal(0), "le": Decimal(1)})
]
"""A part of equity above 0 and up to 1."""

AccountName: TypeAlias = Annotated[str, named("an account id such as paper:main", rf"{NAME}:{NAME}")]
VenueName: TypeAlias = Annotated[str, named("a venue name such as binance", NAME)]
FeedName: TypeAlias = Annotated[
    str,
    named("an instrument id such as binance:BTC/USDT", rf"{NAME}:[A-Z0-9]{{1,20}}/[A-Z0-9:-]{{1,40}}"),
]
NotifierName: TypeAlias = Annotated[str, named("a notifier's name such as ops", NAME)]
StrategyName: TypeAlias = Annotated[str, named("a strategy name such as trend_btc", NAME)]
Timeframe: TypeAlias = Annotated[str, named("a timeframe such as 1s, 5s, 1m or 1h", r"[1-9][0-9]{0,4}[smhd]")]
AssetName: TypeAlias = Annotated[str, named("an asset such as USDT", r"[A-Z0-9]{1,20}")]
SettingName: TypeAlias = Annotated[
    str, named("a setting's name such as symbol", r"[A-Za-z_][A-Za-z0-9_]{0,63}")
]
