"""Alarms: what is logged as an error was injected in this seed."""

from __future__ import annotations

from tradefan.sim.checkers.base import Newer, Source, Watch
from tradefan.sim.witness import Kind, Violation, Witness

_CRASH = (
    *("crash_effect", "crash_disk", "crash_take", "crash_start", "power_loss", "stall", "stop"),
    "link_death",
)
_ACTOR = ("actor_raise", "influx_death", "poison_fact", "strategy_", "executor_")
_DISK = ("disk_full", "disk_error", "sync_slow", "crash_disk", "power_loss")
_LINE = (
    *("ack_delay", "answer_lost", "answer_duplicated", "late_accept", "request_lost", "malformed"),
    *("oversized", "item_missing", "rate_limit", "ban", "server_error", "cancel_lost", "echo_rewritten"),
    *("query_lag", "stream_", "connection_", "half_open", "not_found"),
)
_MONEY = ("foreign_", "transfer", "opening", "balance_wrong", "bust", "correction", "overfill", "late_fill")

_MARKET = ("market_", "swizzle", "stream_")
_HUMAN = ("kill", "cancel_storm", "config_", "assign", "resolve")

CAUSES: dict[str, tuple[str, ...]] = {
    "owner_lost": _ACTOR,
    "unowned_protection": (*_ACTOR, "config_strategies"),
    "doubt_alarm": (*_LINE, *_CRASH, *_ACTOR, *_DISK),
    "bad_frames": ("market_garbage",),
    "overfill": ("overfill", "bust", "correction"),
    "late_fill": ("late_fill", "correction"),
    "fill_inferred": (*_LINE, *_CRASH, *_ACTOR, "trade_id_missing", "trade_hidden", "bust", "correction"),
    "bust_awaits_fill": ("bust", "correction"),
    "inferred_taken_back": ("bust", "correction"),
    "bust": ("bust",),
    "correction": ("correction",),
    "orphan": ("echo_rewritten",),
    "parent_failed": ("executor_",),
    "order_missing": ("not_found", "item_missing", "query_lag"),
    "journal_failing": (*_DISK, *_CRASH),
    "safe": (*_CRASH, *_ACTOR, *_DISK),
    "poison": _ACTOR,
    "config_refused": ("config_",),
    "kill": ("kill", *_ACTOR, *_DISK),
    "not_heard": _ACTOR,
    "kill_byte_failed": _DISK,
    "kill_not_persisted": (*_DISK, *_CRASH),
    "trigger_blocked": (*_MARKET, *_CRASH, *_LINE, *_ACTOR, *_DISK, *_MONEY, *_HUMAN, "book_differs"),
    "oco_overfilled": (*_MONEY, *_LINE, *_CRASH),
    "order_adopted": ("late_accept", "not_found", "query_lag", "resolve"),
    "books_differ": ("book_differs", *_ACTOR, *_CRASH, *_MONEY, "assign"),
    "records_unwritten": (*_DISK, "stall"),
    "influx_failing": ("influx_", *_DISK),
    "store_failing": ("store_fails", "store_partial", *_DISK),
    "actor_crashed": (*_ACTOR, *_DISK, "link_death"),
    "child_stays_down": (*_ACTOR, *_DISK, "link_death"),
    # A storm of fills may be more than waits for the disk where that is kept short.
    "supervisor_exhausted": (*_ACTOR, *_DISK, "link_death", "partial_storm"),
}
"""By event: the kinds of faults that may lead to it; one that ends in `_` stands for its family.

What has no entry (records that do not apply, a broken chain, a create that is repeated, an account
that is refused) no fault of this world may cause.
"""
ALWAYS = (
    "position_kept",
    "trigger_frozen",
    "fired_not_done",
    "fired_refused",
    "not_flattened",
    "parent_paused",
    "parent_missed",
)
"""What no fault is needed for: an operator may have sold from the account what a strategy shall flatten, and
a quiet market is STALE, which freezes what waits for its prices and takes time from what works; a thin one
leaves undone what has fired, and what works may need more money than is there.
Where it has moved a plan of what has fired may not fit, and without a price nothing is flattened."""
HONEST = {"order_adopted": ("resolve",), "order_missing": ("item_missing",)}
"""Where the venue keeps its bounds fewer kinds may lead to it."""


class ErrorsNameFaults(Watch):
    """I-41: each ERROR or CRITICAL event is one that a fault injected before in this seed may lead to.

    Which fault may lead to which event is the table `CAUSES`; an event without an entry is a violation.
    """

    invariant: str = "I-41"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("logs",)

    def __init__(self) -> None:
        """Begin without faults."""
        self._logs, self._faults = Newer(), Newer()
        self._kinds: dict[str, None] = {}

    def after_step(self, seen: Witness) -> Violation | None:
        for fault in self._faults.of(seen.faults):
            self._kinds[fault.kind] = None
        for _, line in self._logs.of(seen.logs):
            if line.level not in ("error", "critical") or line.event in ALWAYS:
                continue
            causes = CAUSES.get(line.event, ())
            if seen.venue.honest:
                causes = HONEST.get(line.event, causes)
            if not self._injected(causes):
                expected = f"{line.event} of {line.actor} only behind one of {causes}"
                return self.broken(seen, expected, f"{line.fields} behind {list(self._kinds)}"[:1_000])
        return None

    def _injected(self, causes: tuple[str, ...]) -> bool:
        families = tuple(cause for cause in causes if cause.endswith("_"))
        return any(kind in causes or kind.startswith(families) for kind in self._kinds)
