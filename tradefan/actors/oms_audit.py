"""What humans ask for: audited in the transaction of what comes of it, and answered once for each key.

The output commit (`core/outbox`) lets nothing out before that transaction is durable, so the audit is on
the disk before its effect; cancels alone wait for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import refuse
from tradefan.contracts import RiskRefused
from tradefan.core.trading_state import KEYS_NS, Answered
from tradefan.messages.orders import Answer, Asked, Audited
from tradefan.messages.records import Audit
from tradefan.messages.union import encode
from tradefan.units import ParentId

Handlers = dict[type[Any], Callable[[Turn, Any], None]]
_SUBJECTS = ("parent_id", "ref", "subject", "scope", "instrument")


def on_asked(turn: Turn, asked: Asked, handlers: Handlers) -> None:
    """Take a human's wish once, however often it is asked under its key, and write down who asked."""
    wish = asked.wish
    if not turn.live.running:
        # It is refused in its own words; nothing can be journaled yet.
        handlers[type(wish)](turn, wish)
        return
    digest = _digest(wish) if asked.once else b""
    known = _answered(turn, asked)
    if known is not None and known.digest == digest:
        if wish.req is not None:
            turn.guard(Answer(wish.req, known.parent_ids, known=True))
        return
    if known is not None:
        text = f"the key {asked.once!r} of {wish.owner} was used for something else"
        refuse(turn, wish, RiskRefused("KEY_REUSED", text, None, asked.once, "another key"))
    else:
        handlers[type(wish)](turn, wish)
    code = "" if turn.refused is None or turn.refused.req != wish.req else turn.refused.code
    turn.emit(
        Audit(
            turn.now,
            wish.owner,
            asked.principal,
            type(wish).__name__,
            next(str(getattr(wish, name)) for name in _SUBJECTS if hasattr(wish, name)),
            code,
            () if code else _parents(turn, wish),
            asked.once,
            digest,
        )
    )


def _answered(turn: Turn, asked: Asked) -> Answered | None:
    """Return what was answered under a key within the last day."""
    known = turn.trading.answers.get(asked.wish.owner, {}).get(asked.once) if asked.once else None
    return known if known is not None and turn.now - known.at_ns < KEYS_NS else None


def _digest(wish: Audited) -> bytes:
    """Return what tells wishes apart: all that was asked, but for the number of the request."""
    return blake2b(encode(replace(wish, req=None)), digest_size=16).digest()


def _parents(turn: Turn, wish: Audited) -> tuple[ParentId, ...]:
    """Return the parents that the answer names: those that were made, or the one that was meant."""
    for effect in turn.guarded:
        if isinstance(effect, Answer) and effect.req == wish.req:
            return effect.parent_ids
    meant: ParentId | None = getattr(wish, "parent_id", None)
    return () if meant is None else (meant,)
