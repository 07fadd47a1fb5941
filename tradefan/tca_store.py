"""Analyses of costs out of the store's file, beside the daemon that writes it, or without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec.structs import replace

from tradefan.messages.tca import Lines, TcaUpdate
from tradefan.status_rows import JSON
from tradefan.stores.sqlite import StoreFile
from tradefan.tca_rows import aggregated, cost_detail, cost_row

ROWS_MAX = 10_000
"""Parents of one answer, the newest."""


@contextmanager
def read_store(path: Path) -> Iterator[StoreFile | None]:
    """Open a store to be read, None where there is none yet.

    Raises:
        Outage: the file or its disk; Refused: it is of another version.
    """
    if not path.exists():
        yield None
        return
    with closing(StoreFile(str(path), read_only=True)) as store:
        yield store


def detail_of(store: StoreFile | None, parent_id: str, now: TcaUpdate | None = None) -> JSON | None:
    """Return the analysis of a parent with lines and fills; what memory has of it (`now`) is newer."""
    kept = None if store is None else store.tca(parent_id)
    one = kept if now is None else now
    if one is None:
        return None
    if kept is not None and (not one.lines.mids or one.costs.state != "live"):
        # Only the first record of its end has the lines, and only the store keeps them.
        one = replace(one, lines=one.lines if kept.lines == Lines() else kept.lines)
    return cost_detail(one, () if store is None else store.fills_of(parent_id))


def costs_since(store: StoreFile | None, since_ns: int) -> JSON:
    """Return the parents that have ended since then, newest first, and means over them."""
    rows = () if store is None else store.tcas(since_ns, ROWS_MAX + 1)
    shown = rows[:ROWS_MAX]
    return {
        "since_ns": since_ns,
        "rows": [cost_row(one) for one in shown],
        "by": aggregated(shown),
        "more": len(rows) > ROWS_MAX,
    }
