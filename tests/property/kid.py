"""A child of the walker's parent."""

from __future__ import annotations

from dataclasses import dataclass

from tradefan.execution import Child
from tradefan.messages.orders import OrderStatus

S = OrderStatus


@dataclass
class Kid:
    """A child, as the venue has it and as we know it."""

    name: str
    lots: int
    price: int
    tif: str
    clip: int
    step: int
    created_ns: int
    post_only: bool
    cum: int = 0
    known: int = 0
    status: OrderStatus = S.NEW
    doubt: bool = False
    ending: bool = False
    filled_ns: int = 0
    reason: str = ""
    open: bool = True
    """Whether it may still trade at the venue."""
    live: bool = True
    """Whether we count it as live."""
    shown: Child | None = None
    """How it is seen, since it has ended."""

    @property
    def leaves(self) -> int:
        return self.lots - self.cum
