"""What a strategy remembers, as bytes for the journal and back: `State` and its changed shapes.

Bytes that go out were read back first, so that what the journal holds can always be restored. Bytes
that come in must fit the State of today whole; what does not fit is a changed shape, and only the
strategy's own `upgrade` may say what becomes of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tradefan.actors.trader_state import TraderState, TraderWiring
from tradefan.actors.trader_turn import is_news, lose_turns
from tradefan.core.declare import AnyStrategy, types_of
from tradefan.errors import Defect, Refused
from tradefan.messages.orders import OwnerMemory
from tradefan.runtime.actor import Context
from tradefan.strategy.author import State
from tradefan.units import clean

STATE_MAX_BYTES = 1 << 20
"""A state is written whole with each turn that changes it; more than this belongs into a store."""
_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


class Memory:
    """Writes and reads the State of one strategy class."""

    def __init__(self, strategy: type[AnyStrategy]) -> None:
        """Learn the State that the class was written for."""
        self._strategy = strategy
        self._type = types_of(strategy)[1]
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(self._type)
        self._empty = not self._type.__struct_fields__

    def changed(self, state: State, journaled: bytes | None) -> bytes | None:
        """Return a state's bytes where they differ from those journaled last, else None.

        Raises:
            Defect: the state cannot be written, or would not be read again; the field is named.
        """
        if journaled is not None and self._empty and type(state) is self._type:
            return None
        blob = self.encode(state)
        return None if blob == journaled else blob

    def encode(self, state: State) -> bytes:
        """Return a state as msgpack that can be read again.

        Raises:
            Defect: as `changed`.
        """
        if type(state) is not self._type:
            wanted, got = self._type.__name__, type(state).__name__
            raise Defect(f"{self._strategy.__name__}: expected self.state to be a {wanted}, got {got}")
        try:
            blob = self._encoder.encode(state)
            self._decoder.decode(blob)
        except _UNWRITABLE as error:
            where = self._unwritable(state) or clean(str(error))
            raise Defect(f"{self._strategy.__name__}: its state cannot be journaled: {where}") from error
        if len(blob) > STATE_MAX_BYTES:
            text = f"its state is {len(blob)} bytes, expected at most {STATE_MAX_BYTES}"
            raise Defect(f"{self._strategy.__name__}: {text}")
        return blob

    def restore(self, strategy: AnyStrategy, blob: bytes) -> State:
        """Return the State of journaled bytes; of another shape, what `upgrade` makes of it.

        Raises:
            Refused: STATE_CHANGED names the field that does not fit, where there is no `upgrade`.
            Defect: `upgrade` returned what is no State of this strategy.
        """
        old = msgspec.msgpack.decode(blob)
        state, misfit = self._read(blob, old)
        if misfit is None:
            assert state is not None
            return state
        upgrade = getattr(strategy, "upgrade", None)
        if upgrade is None:
            name, wanted = self._strategy.__name__, self._type.__name__
            text = f"{name}: the journaled state is no {wanted} any more: {misfit}"
            raise Refused("STATE_CHANGED", f"{text}; give {name} an upgrade(old: dict) -> {wanted}")
        upgraded: State = upgrade(old)
        self.encode(upgraded)
        return upgraded

    def _read(self, blob: bytes, old: Any) -> tuple[State | None, str | None]:
        """Return the State of some bytes, and what of them does not fit it."""
        try:
            state = self._decoder.decode(blob)
        except msgspec.ValidationError as error:
            return None, clean(str(error))
        lost = _lost(old, msgspec.msgpack.decode(self._encoder.encode(state)), "$")
        return state, None if lost is None else f"`{lost}` is unknown"

    def _unwritable(self, state: State) -> str | None:
        """Name the field that cannot be written: msgspec names only those that cannot be read."""
        for name in state.__struct_fields__:
            try:
                self._encoder.encode(getattr(state, name))
            except _UNWRITABLE as error:
                return f"{name}: {clean(str(error))}"
        return None


def _lost(old: Any, new: Any, path: str) -> str | None:
    """Return the path of the first key of `old` that `new`, read from it, has not kept."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            here = f"{path}.{key}"
            found = _lost(value, new[key], here) if key in new else here
            if found is not None:
                return found
    elif isinstance(old, list) and isinstance(new, list):
        for place, (before, after) in enumerate(zip(old, new, strict=False)):
            found = _lost(before, after, f"{path}[{place}]")
            if found is not None:
                return found
    return None


# --- going on from what the OMS holds ----------------------------------------------------------------


def take_up(
    state: TraderState, wiring: TraderWiring, strategy: AnyStrategy, memory: Memory, ctx: Context
) -> None:
    """Go on from what the OMS holds: with its State before the start, with the living one later.

    A turn that an OMS took down with it is not in its memory. Then the next one carries the State,
    and before it the strategy hears that its commands are refused: else the State would be durable
    without the orders that it tells of. So it does of wishes that waited in an OMS and were lost.
    """
    offered = state.offered or OwnerMemory(wiring.owner, 0, None)
    state.offered = None
    if not state.started:
        _restore(state, wiring, strategy, memory, offered.state, ctx)
    elif offered.turn != state.turn:
        state.journaled = None
        lose_turns(state, wiring, offered.turn, ctx.now_ns)
    state.turn = max(state.turn, offered.turn)
    known = [one.ref for one in state.lost]
    state.lost += [one for one in offered.refused if one.ref not in known and is_news(state, one)]


def _restore(
    state: TraderState,
    wiring: TraderWiring,
    strategy: AnyStrategy,
    memory: Memory,
    blob: bytes | None,
    ctx: Context,
) -> None:
    """Give the strategy the State of its last life, or say why it may not begin."""
    state.refused = ""
    if blob is None:
        state.journaled = memory.encode(strategy.state)
        return
    state.journaled = blob
    try:
        strategy.state = state.memory = memory.restore(strategy, blob)
    except Refused as no:
        state.refused = no.text
        ctx.log("error", "strategy_refused", owner=wiring.owner, code=no.code, text=no.text)
