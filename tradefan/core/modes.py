"""Modes: their causes as data, when one is entered and when it is left (RELIABILITY.md 2b).

A cause is entered in the step that learns it. It is left when it has been clear for its clear time;
what has held since the start at once, and what needs a human only by RESUME. An order gets the
tightest of its scopes, a scope the tightest of its causes.
"""

from __future__ import annotations

from msgspec import Struct, field

from tradefan.messages.account import MODES, Mode
from tradefan.units import MINUTE, SECOND

CLEAR_NS = 30 * SECOND
JOURNAL_CLEAR_NS = 10 * SECOND
SAFE_NS = 10 * MINUTE
RECENT_NS = 5 * MINUTE
"""A cause that was entered before within this is left more slowly."""


class CauseSpec(Struct, frozen=True):
    """What a cause does; `clear_again_ns` holds where it was entered before in the last five minutes."""

    mode: Mode
    clear_ns: int = CLEAR_NS
    clear_again_ns: int = CLEAR_NS
    human: bool = False


CAUSES: dict[str, CauseSpec] = {
    "feed": CauseSpec("NO_NEW_RISK", 0),
    "link": CauseSpec("NO_NEW_RISK"),
    "loop lag": CauseSpec("NO_NEW_RISK"),
    "risk desk": CauseSpec("NO_NEW_RISK"),
    "chain": CauseSpec("NO_NEW_RISK", human=True),
    "over limit": CauseSpec("REDUCE_ONLY"),
    "hold": CauseSpec("CANCEL_ONLY", 0, 0),
    "poison": CauseSpec("CANCEL_ONLY", 0, 0),
    "in doubt": CauseSpec("CANCEL_ONLY"),
    "auth": CauseSpec("CANCEL_ONLY", human=True),
    "ban": CauseSpec("CANCEL_ONLY"),
    "journal": CauseSpec("CANCEL_ONLY", JOURNAL_CLEAR_NS, CLEAR_NS),
    "starting": CauseSpec("CANCEL_ONLY", 0, 0),
    "safe": CauseSpec("CANCEL_ONLY", 0, 0),
}
"""Those that the OMS enters and leaves by itself; the risk desk's come as `SetMode` and leave by its word."""
OVER_LIMIT = "over limit @"
"""Begins the cause of a limit; behind it stands what is over it."""
DESK_HUMAN = ("drawdown", "daily_loss", "books differ")
"""Causes of the risk desk that a human withdraws there: it measures anew, or takes the OMS's book over."""
RESUMABLE = ("chain", "auth", "safe", *DESK_HUMAN)
"""What a human's RESUME lets go."""


class Cause(Struct):
    """One cause in one scope as it is followed: since when it is clear, and when it was entered."""

    clear_since_ns: int | None = None
    entered_ns: int = 0
    entered_before_ns: int | None = None
    since_start: bool = False


class Causes(Struct):
    """What is followed, by `scope cause`; not journaled, the MODE records are."""

    known: dict[str, Cause] = field(default_factory=dict)


def word(cause: str) -> str:
    """Return the word of a cause that carries its subject behind it."""
    return cause.partition(" @")[0]


def waits_for_human(cause: str) -> bool:
    """Say whether a human's RESUME withdraws this cause."""
    return cause in RESUMABLE


def is_over_limit(cause: str) -> bool:
    """Say whether a cause is a position limit that something else than an order of ours has broken."""
    return cause.startswith(OVER_LIMIT)


def is_own(cause: str) -> bool:
    """Say whether the OMS itself decides about this cause."""
    return word(cause) in CAUSES


def tighter(one: Mode, other: Mode) -> bool:
    """Say whether `one` allows less than `other`."""
    return MODES.index(one) > MODES.index(other)


def entered(causes: Causes, scope: str, cause: str, now_ns: int, *, at_start: bool) -> None:
    """Note that a cause was entered now."""
    known = causes.known.get(_key(scope, cause))
    before_ns = None if known is None else known.entered_ns
    causes.known[_key(scope, cause)] = Cause(None, now_ns, before_ns, at_start and known is None)


def holds(causes: Causes, scope: str, cause: str) -> None:
    """Note that an entered cause still holds: the clear time begins anew."""
    known = causes.known.get(_key(scope, cause))
    if known is not None:
        known.clear_since_ns = None


def left_ns(causes: Causes, scope: str, cause: str, now_ns: int) -> int | None:
    """Return when a cause that is clear now may be left, None where only a human withdraws it."""
    spec = CAUSES[word(cause)]
    if spec.human:
        return None
    known = causes.known.get(_key(scope, cause))
    if known is None or known.since_start:
        return now_ns
    if known.clear_since_ns is None:
        known.clear_since_ns = now_ns
    again = known.entered_before_ns is not None and known.entered_ns - known.entered_before_ns <= RECENT_NS
    return known.clear_since_ns + (spec.clear_again_ns if again else spec.clear_ns)


def _key(scope: str, cause: str) -> str:
    return f"{scope} {cause}"
