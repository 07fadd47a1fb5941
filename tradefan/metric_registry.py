"""Every metric by its name: code, docs/metrics.md, panels and alerts use these and no others.

The daemon's are `METRICS`; `USER_METRICS` are those of a process that uses `tradefan.infra`, which has a page
of its own and which no panel asks.

Names are `tradefan_<noun>_<unit>[_total]`; ids are never labels, because each would be a series for ever.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["gauge", "counter", "histogram"]


class Spec(NamedTuple):
    """What a metric says of itself; a counter's samples end in `_total`."""

    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    def sample(self, name: str) -> str:
        """Return the name of its samples as queries need it."""
        ends = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
        return f"tradefan_{name}{ends[self.kind]}"


def _gauge(text: str, *labels: str) -> Spec:
    return Spec("gauge", text, labels)


def _counter(text: str, *labels: str) -> Spec:
    return Spec("counter", text, labels)


def _histogram(text: str, *labels: str) -> Spec:
    return Spec("histogram", text, labels)


METRICS: dict[str, Spec] = {
    # The process.
    "build_info": _gauge("What runs here", "version", "environment"),
    "ready": _gauge("1 while orders can be placed on every feed, as /ready says"),
    "uptime_seconds": _gauge("Since this daemon began"),
    "steps": _counter("Steps of the kernel"),
    "messages": _counter("Messages handled by actors"),
    "messages_lost_to_down": _counter("Messages to actors that stayed down"),
    "loop_lag_seconds": _gauge("Longest delay of the loop's heartbeat in the last 10 s"),
    "loop_delay_seconds": _histogram("Delay of the loop's heartbeats"),
    "loop_lag_worst_seconds": _gauge("Longest delay of the loop's heartbeat"),
    "loop_stalls": _counter("Stalls that the watchdog reported"),
    "turns_broken": _counter("Turns of strategies that took too long"),
    "latch_closed_scopes": _gauge("Scopes in which nothing new is written"),
    "clock_offset_seconds": _gauge("Wall clock ahead of the daemon's steady clock"),
    # Its configuration and log.
    "config_version": _gauge("Number of the configuration in force, 0 where none could be kept"),
    "config_swaps": _counter("Configurations that were taken while it runs"),
    "config_refused": _counter("Edits of the configuration that were refused"),
    "log_lines_dropped": _counter("Log lines that a full queue pushed out"),
    "log_lines_lost": _counter("Log lines that the disk refused"),
    "log_lines_spared": _counter("Debug lines not written for want of space"),
    # The machine.
    "disk_free_bytes": _gauge("Where the journal lies"),
    "host_cpu_seconds": _counter("Of all cores since the machine started, by what for", "status"),
    "host_load_ratio": _gauge("Runnable processes of the last minute, per core"),
    "host_memory_bytes": _gauge("Memory of the machine: total, available", "status"),
    "host_network_bytes": _counter("Of all interfaces but loopback: in, out", "status"),
    # Actors, links and lanes.
    "actor_up": _gauge("1 while an actor or link runs", "actor"),
    "actor_restarts": _counter("Of an actor or link", "actor"),
    "actor_turns": _counter("Messages handled", "actor"),
    "actor_crashes": _counter("Turns that raised", "actor"),
    "lane_depth": _gauge("Messages that wait", "actor", "lane"),
    "lane_refused": _counter("Commands refused", "actor"),
    "lane_conflated": _counter("Quotes replaced", "actor"),
    "lane_dropped": _counter("Quotes dropped", "actor"),
    # Feeds.
    "feed_quality": _gauge("1 for the present one", "instrument", "status"),
    "feed_age_seconds": _gauge("Since the newest frame", "instrument"),
    "feed_trades": _counter("Public trades", "instrument"),
    "feed_deltas": _counter("Changes of the book", "instrument"),
    "feed_bars": _counter("Bars closed", "instrument"),
    "feed_duplicates": _counter("Trades seen before", "instrument"),
    "feed_gaps": _counter("Holes in the ids", "instrument"),
    "feed_resyncs": _counter("Books built anew", "instrument"),
    "frames_quarantined": _counter("Frames that said nothing usable", "venue"),
    # Orders.
    "fills": _counter("Fills booked, each once, since the account is traded"),
    "orders": _counter("Orders sent"),
    "refusals": _counter(
        "Wishes refused, by code; those of our risk rules are there from the start", "reason"
    ),
    "orders_open": _gauge("Orders that are not terminal"),
    "orders_live": _gauge("Orders that are not terminal or in doubt, by status", "status"),
    "orders_in_doubt": _gauge("Orders of unknown outcome"),
    "orders_not_placed": _counter("Orders of which two looks proved that they do not exist"),
    "order_reports_illegal": _counter("Reports that the order table forbids"),
    "overfills": _counter("Orders of which a venue filled more than they asked for"),
    "parents_open": _gauge("Parents that work"),
    "parents_at_work": _gauge("Parents that have not ended, by what works them", "algo"),
    "parents_failed": _counter("Parents whose algorithm raised or broke a bound"),
    "journal_lsn": _gauge("Last record"),
    "journal_durable_lsn": _gauge("Last record on the disk"),
    # Accounts at their venues.
    "order_ack_seconds": _histogram("From the write of an order to the venue's first word of it", "account"),
    "venue_requests": _counter("Written: create, replace, cancel, query", "account", "status"),
    "venue_failures": _counter(
        "Of requests: rejected, not_sent, in_doubt, timeout, rate_limit, garbage", "account", "status"
    ),
    # Costs of parents.
    "arrival_slippage_bps": _histogram(
        "Of parents against the mid at their arrival, positive is cost", "algo", "instrument"
    ),
    "shortfall_bps": _histogram(
        "Of parents against the mid of their decision, fees included", "algo", "instrument"
    ),
    "schedule_error_ratio": _gauge(
        "Of the newest parent, time average, as a share of it", "algo", "instrument"
    ),
    "maker_share_ratio": _gauge("Of the newest parent", "algo", "instrument"),
    "participation_ratio": _gauge("Of the newest parent in all that traded meanwhile", "algo", "instrument"),
    "spread_capture_ratio": _gauge(
        "Of the newest parent, 1 earned half the spread, -1 paid it", "algo", "instrument"
    ),
    # Money and risk.
    "equity": _gauge("In the numeraire", "account"),
    "day_equity": _gauge("When the day began, in the numeraire", "account"),
    "realised": _gauge("Result of what was closed, before fees, in the numeraire", "account"),
    "unrealised": _gauge("Result of what is open, in the numeraire", "account"),
    "fees_paid": _gauge("In the numeraire, since the account is traded", "account"),
    "seam": _gauge("Equity booked apart at the seams of a recording", "account"),
    "drawdown_ratio": _gauge("Share below the peak", "account"),
    "daily_loss_ratio": _gauge("Share lost since the day began", "account"),
    "exposure_ratio": _gauge("Positions as a share of equity", "account"),
    "concentration_ratio": _gauge("Largest position as a share of equity", "account"),
    "limit_used_ratio": _gauge(
        "1 where a limit is reached; of positions the highest of any instrument and owner, orders included",
        "account",
        "limit",
    ),
    "mode": _gauge("1 for the tightest mode that holds anywhere", "status"),
    "books_differ": _gauge("Instruments in which the risk desk's book is not the order manager's"),
    "position_qty": _gauge("Signed, in the base asset", "account", "owner", "instrument"),
    "position_value": _gauge("At the mark, in the quote asset", "account", "owner", "instrument"),
    # Stores.
    "store_rows": _counter("Rows written", "store"),
    "store_rows_waiting": _gauge("Rows that wait for a batch", "store"),
    "store_rows_dropped": _counter("Rows lost, the oldest first", "store"),
    "influx_up": _gauge("1 while points are written"),
    "influx_points_waiting": _gauge("Points that wait for a batch"),
    "influx_points_written": _counter("Points written"),
    "influx_points_dropped": _counter("Points lost for want of room", "measurement"),
    "influx_points_aside": _counter("Points that no server takes", "measurement"),
    "influx_points_left": _counter("Points left to the journal, from which they come later", "measurement"),
    "influx_behind": _gauge("1 while InfluxDB lacks, or may lack, something of the journal"),
    "redis_up": _gauge("1 while entries are written"),
    "redis_points_waiting": _gauge("Entries that wait for a batch"),
    "redis_points_written": _counter("Messages written"),
    "redis_points_dropped": _counter("Messages lost for want of room", "measurement"),
    "redis_points_aside": _counter("Messages that the server does not take", "measurement"),
    "notices_sent": _counter("Messages that a notifier's receiver took", "actor"),
    "notices_held": _counter("Messages held back, because they were too many or the same", "actor"),
    "notices_lost": _counter("Messages that a receiver did not take", "actor"),
    "recorder_up": _gauge("1 while steps are recorded for replay"),
    "recorder_steps": _counter("Steps recorded"),
    "recorder_steps_lost": _counter("Steps not recorded"),
    "recorder_written_bytes": _counter("Written to segments, compressed"),
    "recorder_queue_bytes": _gauge("That wait for the disk"),
}
"""Without `tradefan_` in front and `_total` behind."""
USER_METRICS: dict[str, Spec] = {
    "user_orders": _counter("Orders, as the user counts them", "status", "instrument", "owner"),
    "user_pnl": _gauge("Result, as the user computes it", "instrument", "owner"),
    "user_alert": _gauge("1 while a business alert fires", "reason"),
    "user_cache_hits": _counter("Questions about stored data answered from memory"),
    "user_cache_misses": _counter("Questions about stored data that a store was asked"),
}
"""What `tradefan.infra` measures in the process of its user."""
ONLY_WITH = {
    "disk_free_bytes": "a daemon",
    "influx_up": "influx.url",
    "influx_points_waiting": "influx.url",
    "influx_points_written": "influx.url",
    "influx_points_dropped": "influx.url",
    "influx_points_aside": "influx.url",
    "influx_points_left": "influx.url",
    "influx_behind": "influx.url",
    "redis_up": "redis.url",
    "redis_points_waiting": "redis.url",
    "redis_points_written": "redis.url",
    "redis_points_dropped": "redis.url",
    "redis_points_aside": "redis.url",
    "notices_sent": "notifiers.NAME",
    "notices_held": "notifiers.NAME",
    "notices_lost": "notifiers.NAME",
    "recorder_up": "recorder.enabled",
    "recorder_steps": "recorder.enabled",
    "recorder_steps_lost": "recorder.enabled",
    "recorder_written_bytes": "recorder.enabled",
    "recorder_queue_bytes": "recorder.enabled",
}
"""What is there only where something is configured."""
