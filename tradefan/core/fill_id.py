"""Ids for executions to which the venue gives none (RELIABILITY.md 2a, "Fills"; OR-20).

A trade without an id is named by everything that is known of it: SHA-256 of its fields and of its
place among equal ones of one complete reading. The same trades read again get the same ids, however
many others came or went in between. Equal tuples are told apart by number only, so it does not
matter which of them is which.

Two things must hold, and the reader sees to them: a reading contains all equal tuples or none of
them (it never begins or ends between two trades of one instant), and a trade has an id of the
venue on every road or on none.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from tradefan.units import TradeId

_HEX_DIGITS = 32
"""128 bits: no two trades of an account's life collide."""


def derived_ids(readings: Iterable[tuple[str, ...]]) -> tuple[TradeId, ...]:
    """Return one id for each tuple of fields, in order; `h` keeps them apart from a venue's numbers."""
    seen: dict[tuple[str, ...], int] = {}
    ids = []
    for fields in readings:
        ordinal = seen.get(fields, 0)
        seen[fields] = ordinal + 1
        # Encoded as a list, so that no two tuples run into the same bytes.
        digest = sha256(msgspec.json.encode([*fields, ordinal])).hexdigest()
        ids.append(TradeId("h" + digest[:_HEX_DIGITS]))
    return tuple(ids)
