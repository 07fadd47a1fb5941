"""The list of steps: all that is needed to run a system again to the same trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from tradefan.messages.base import Message
from tradefan.runtime.system import Ingress
from tradefan.units import Ref


class Step(Struct, frozen=True, array_like=True):
    """One step: its instant and the ingress that it admitted, in order."""

    now_ns: int
    ingress: tuple[tuple[Ref, bytes], ...]


class Recorder(Protocol):
    """Whoever wants every step; called after the step with what it admitted."""

    def record(self, now_ns: int, ingress: Sequence[Ingress]) -> None:
        """Keep one step."""
        ...


class StepList:
    """A recording in memory, for tests; messages are kept encoded, as a file would keep them."""

    def __init__(self, encode: Callable[[Message], bytes]) -> None:
        """Take the encoder of the message union."""
        self._encode = encode
        self.steps: list[Step] = []

    def record(self, now_ns: int, ingress: Sequence[Ingress]) -> None:
        """Keep one step."""
        self.steps.append(Step(now_ns, tuple((ref, self._encode(msg)) for ref, msg in ingress)))


def ingress_of(step: Step, decode: Callable[[bytes], Message]) -> list[tuple[Ref, Message]]:
    """Return a step's ingress as messages."""
    return [(ref, decode(raw)) for ref, raw in step.ingress]
