"""Runs recorded segments through the kernel, step by step, and holds each step against the recording."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from tradefan.drivers.turns import TurnBreaker
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.wire import Received
from tradefan.replay.beginning import Beginning
from tradefan.runtime.context import TurnContext
from tradefan.runtime.kernel import Kernel, Stepped
from tradefan.runtime.recording import BrokenTurn, Check, Step, ingress_of
from tradefan.runtime.snapshot import KernelSnapshot, take
from tradefan.runtime.system import Ingress, System
from tradefan.runtime.trace import Trace
from tradefan.stores.segments import MARKET, Segment
from tradefan.units import Ref
from tradefan.wiring import encode_config

Heard = list[tuple[Ref, Message]]


class Played(Struct):
    """One step as it went now."""

    number: int
    now_ns: int
    ingress: list[Ingress]
    effects: list[Ingress]
    heard: Heard
    """What each actor took, in order; empty unless the player listens."""


class Divergence(Struct, frozen=True):
    """The first step that did not go as recorded, with what was recorded and what came now."""

    step: int
    at_ns: int
    what: str
    recorded: str
    replayed: str

    def __str__(self) -> str:
        """Return one sentence."""
        return f"step {self.step}: {self.what}: recorded {self.recorded}, replayed {self.replayed}"


class Diverged(Exception):
    """The replay has come to a step that did not go as recorded."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(str(divergence))
        self.divergence = divergence


class Raised(Exception):
    """The kernel itself raises at this step, as it did when it was recorded, if it is the last one."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"step {number} raises:\n{text}")
        self.number = number


class ListeningTrace(Trace):
    """A trace that also keeps what each actor took, of one step."""

    __slots__ = ("_context", "_plain", "heard")

    def __init__(self, context: TurnContext) -> None:
        """Listen from now on; the context knows whose turn it is."""
        super().__init__()
        self.heard: Heard = []
        self._context = context
        self._plain = plain = self.encode

        def encode(msg: Any, buffer: bytearray, at: int) -> None:  # noqa: ANN401 as the encoder it stands before
            self.heard.append((context.cell.ref, msg))
            plain(msg, buffer, at)

        self.encode = encode  # type: ignore[assignment]

    def received(self, msg: Received) -> None:
        """Keep it."""
        self.heard.append((self._context.cell.ref, msg))
        super().received(msg)

    def message(self, now_ns: int, ref: Ref, msg: Message) -> None:
        """Keep what the kernel itself takes."""
        self.heard.append((ref, msg))
        self.encode, listening = self._plain, self.encode
        super().message(now_ns, ref, msg)
        self.encode = listening


class Player:
    """Replays the segments of one run; `play` gives each step behind it."""

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        listen: bool = False,
        checks: bool = True,
        before: Callable[[int, int], None] = lambda _number, _now_ns: None,
    ) -> None:
        """Prepare; `before` is called with number and instant of each step to come.

        Without `checks` nothing is held against the recording: for who only wants what came in.
        """
        self.segments = segments
        self.steps = self.digests = self.joints = 0
        self.kernel: Kernel
        self.system: System
        self.names: dict[Ref, str] = {}
        """Of the actors and ports: one run has one system, from the first segment to the last."""
        self.gaps: list[str] = []
        self.played: Played | None = None
        """The last step, also one that diverged."""
        self._listen = listen
        self._checks = checks
        self._check = Check(MARKET)
        self._before = before
        self._script: dict[tuple[Ref, int], BrokenTurn] = {}
        self._run = self._code = ""
        self.unchecked_from: int | None = None
        """The first step of this segment that cannot be checked, because a secret was struck out of it."""
        self._struck = False
        """Whether the kernel may hold asterisks where the recorded one had a secret."""

    def play(self) -> Iterator[Played]:
        """Run every step.

        Raises:
            Diverged: a step did not go as recorded.
            Raised: the kernel raised.
            Refused: a snapshot is of another version, or the recording names what is not here.
        """
        for segment in self.segments:
            try:
                self._begin(segment)
            except msgspec.MsgspecError as error:
                raise segment.other("its beginning", error) from error
            for place, chunk in segment.chunks():
                self._struck |= chunk.redacted > 0
                try:
                    for step in chunk.steps:
                        yield self._step(step)
                except msgspec.MsgspecError as error:
                    raise segment.other(f"step {self.kernel.state.steps + 1}", error) from error
                self._compare_digest(chunk.digest, f"chunk at offset {place.offset}")
            ended = segment.ended
            if ended is not None:
                self._compare_digest(bytes.fromhex(ended.digest), "end of the segment")

    # --- segments -------------------------------------------------------------------------------------

    def _begin(self, segment: Segment) -> None:
        """Go on where the last segment ended, or restore the kernel where this one begins."""
        head = segment.head
        goes_on, self._run = head.run == self._run, head.run
        if goes_on and self.kernel.state.steps != head.first_step:
            self.gaps.append(
                f"nothing is recorded between step {self.kernel.state.steps} and {head.first_step}"
            )
        elif goes_on and self.unchecked_from is None and self._joins(segment):
            self._struck = segment.struck
            return
        self.unchecked_from, self._struck = None, segment.struck
        beginning = Beginning(segment)
        self.system = beginning.wire(beginning.config)
        self.kernel = kernel = beginning.restore(self.system)
        self.names = {ref: name for name, ref in kernel.refs.items()}
        self._code = beginning.saved.code
        self._script.clear()
        TurnBreaker(beginning.config.runtime.turn_max, script=self._script).watch(kernel)
        if self._listen:
            trace, digest = ListeningTrace(kernel.context), beginning.saved.digest
            if digest is None:
                raise Refused("NO_RECORDING", f"{segment.path}: the snapshot has no trace")
            # What was restored begins with the digest of the snapshot.
            trace.restart(digest)
            kernel.trace = trace

    def _joins(self, segment: Segment) -> bool:
        """Take the same snapshot that was taken then: its digest goes on, and its bytes must be the same.

        Return False where they differ and a secret was struck out of one of them.
        """
        raw = segment.snapshot()
        ours = take(self.kernel, encode_config(self.kernel.config), self._code)
        if ours != raw and self._checks and (self._struck or segment.struck):
            step = self.kernel.state.steps
            self.gaps.append(f"a secret was struck out: the snapshot behind step {step} is not checked")
            return False
        self.joints += 1
        if ours != raw and self._checks:
            where = _first_difference(ours, raw)
            raise self._diverged(f"the snapshot of {segment.path.name}", where[0], where[1])
        return True

    # --- steps ----------------------------------------------------------------------------------------

    def _step(self, step: Step) -> Played:
        kernel = self.kernel
        number = kernel.state.steps + 1
        for one in step.broken:
            self._script[one.ref, one.turn] = one
        ingress = ingress_of(step, self.system.decode_message)
        heard = kernel.trace.heard if isinstance(kernel.trace, ListeningTrace) else []
        heard.clear()
        self._before(number, step.now_ns)
        try:
            stepped: Stepped = kernel.step(step.now_ns, ingress)
        except Exception as error:
            raise Raised(number, traceback.format_exc()) from error
        self.steps += 1
        if len(self.names) < len(kernel.refs):
            # Wired anew: names stay, and there are more of them.
            self.names.update((ref, name) for name, ref in kernel.refs.items())
        self.played = played = Played(number, step.now_ns, ingress, stepped.effects, list(heard))
        if stepped.admitted != len(ingress) and self._checks:
            raise self._diverged("admitted ingress", str(len(ingress)), str(stepped.admitted), played)
        assert kernel.trace is not None
        crc = self._check.of(kernel.trace.crc(), stepped.effects)
        if self._checks and self.unchecked_from is None and crc != step.crc:
            if self._struck:
                self.gaps.append(
                    f"a secret was struck out: not checked from step {number} to the segment's end"
                )
                self.unchecked_from = number
                return played
            raise self._diverged(
                "what actors took or sent out", f"trace {step.crc:08x}", f"{crc:08x}", played
            )
        return played

    def _compare_digest(self, recorded: bytes, where: str) -> None:
        if self.unchecked_from is not None or not self._checks:
            return
        assert self.kernel.trace is not None
        ours = self.kernel.trace.hexdigest()
        self.digests += 1
        if bytes.fromhex(ours) != recorded:
            raise self._diverged(f"trace at the {where}", recorded.hex(), ours)

    def _diverged(self, what: str, recorded: str, replayed: str, played: Played | None = None) -> Diverged:
        state = self.kernel.state
        if played is not None and played.heard:
            took = ", ".join(
                f"{self.names.get(ref, 'kernel')} {type(msg).__name__}" for ref, msg in played.heard[:20]
            )
            replayed = f"{replayed} ({took})"
        return Diverged(Divergence(state.steps, state.now_ns, what, recorded, replayed))


def _first_difference(ours: bytes, recorded: bytes) -> tuple[str, str]:
    """Name the part of two snapshots that differs first: recorded, then ours."""
    one, two = (msgspec.msgpack.decode(raw, type=KernelSnapshot) for raw in (recorded, ours))
    if len(one.cells) != len(two.cells):
        return _actors(one), _actors(two)
    for name in KernelSnapshot.__struct_fields__:
        was, now = getattr(one, name), getattr(two, name)
        if was == now:
            continue
        if name == "cells":
            pairs = ((a, b) for a, b in zip(was, now, strict=True) if a != b)
            cell_was, cell_now = next(pairs)
            return f"{cell_was.name}: {_cut(cell_was)}", f"{cell_now.name}: {_cut(cell_now)}"
        return f"{name} {_cut(was)}", f"{name} {_cut(now)}"
    # The same said in other bytes, such as keys in another order.
    at = next(
        (at for at, (was, now) in enumerate(zip(recorded, ours, strict=False)) if was != now),
        min(len(recorded), len(ours)),
    )
    said, replayed = (f"{len(raw)} bytes, from byte {at} {raw[at:][:20].hex()}" for raw in (recorded, ours))
    return said, replayed


def _actors(snapshot: KernelSnapshot) -> str:
    return f"{len(snapshot.cells)} actors {_cut([cell.name for cell in snapshot.cells])}"


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
