"""What every record of the journal is."""

from __future__ import annotations

from msgspec import Struct


class RecordBase(Struct, frozen=True, array_like=True, tag=True):
    """Base of all records; `at_ns` is kernel time of the turn that made it."""

    at_ns: int
