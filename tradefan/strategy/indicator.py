"""What an indicator is: a Struct that follows bars and behaves like the float that it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsFloat

import msgspec
from msgspec import Struct

from tradefan.messages.market import Bar

if TYPE_CHECKING:
    import numpy as np


class Indicator(Struct, kw_only=True, eq=False):
    """A number that follows bars; it compares and computes like a float.

    One's own: a subclass with typed fields (they are part of the trader's state) that sets
    `value` in `update(bar)` and says in `warmup` how many bars it needs before it can be trusted.
    """

    value: float = math.nan

    @property
    def warmup(self) -> int:
        """Bars of history after which the value no longer depends on where history began."""
        return 1

    @property
    def ready(self) -> bool:
        """Whether there is a value; the series also counts `warmup` bars before a handler runs."""
        return not math.isnan(self.value)

    def update(self, bar: Bar) -> None:
        """Take the next closed bar."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def push(self, value: Any) -> None:  # noqa: ANN401 a float, or what else a subclass takes
        """Take the next raw value; only indicators of plain numbers can."""
        raise NotImplementedError(f"{type(self).__name__} takes bars")

    def batch(self, values: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the value after each bar (or number), NaN before the first; self is unchanged.

        The same `update` as live, so an array of the past and the live value cannot disagree.
        """
        import numpy as np  # noqa: PLC0415 the daemon stays small unless an array is asked for

        twin = msgspec.msgpack.decode(msgspec.msgpack.encode(self), type=type(self))
        out: list[float] = []
        for value in values:
            (twin.update if isinstance(value, Bar) else twin.push)(value)
            out.append(twin.value)
        return np.array(out, dtype=np.float64)

    def __float__(self) -> float:
        return self.value

    def __bool__(self) -> bool:
        return bool(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    __hash__ = None  # type: ignore[assignment] # a number that changes is no key

    def __eq__(self, other: object) -> bool:
        return self.value == _plain(other)

    def __lt__(self, other: SupportsFloat) -> bool:
        return self.value < float(other)

    def __le__(self, other: SupportsFloat) -> bool:
        return self.value <= float(other)

    def __gt__(self, other: SupportsFloat) -> bool:
        return self.value > float(other)

    def __ge__(self, other: SupportsFloat) -> bool:
        return self.value >= float(other)

    def __add__(self, other: SupportsFloat) -> float:
        return self.value + float(other)

    def __sub__(self, other: SupportsFloat) -> float:
        return self.value - float(other)

    def __mul__(self, other: SupportsFloat) -> float:
        return self.value * float(other)

    def __truediv__(self, other: SupportsFloat) -> float:
        return self.value / float(other)

    def __rsub__(self, other: SupportsFloat) -> float:
        return float(other) - self.value

    def __rtruediv__(self, other: SupportsFloat) -> float:
        return float(other) / self.value

    def __neg__(self) -> float:
        return -self.value

    def __abs__(self) -> float:
        return abs(self.value)

    __radd__ = __add__
    __rmul__ = __mul__


def _plain(other: object) -> object:
    return other.value if isinstance(other, Indicator) else other
