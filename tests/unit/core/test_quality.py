"""Quality of a feed: what enters a state, what must be clear before it is left, and when to look."""

from __future__ import annotations

import msgspec
import pytest

from tradefan.core.quality import (
    AHEAD_MAX,
    BLIND,
    FLAP_MAX,
    NEVER,
    STALE,
    SUSPECT,
    FeedWatch,
    Stream,
)
from tradefan.messages.market import Quality
from tradefan.units import MINUTE, MS, SECOND

T0 = 1_800_000_000 * SECOND
SKEW = -1_270 * MS
"""The recording's clock runs behind the venue's: receive time less event time is negative."""


class Bench:
    """A feed that hears a diff each 100 ms, and a clock."""

    def __init__(self, *, live: bool = True) -> None:
        self.watch = FeedWatch([Stream("depth"), Stream("book_ticker")])
        self.now = T0
        self.next_ns = NEVER
        if live:
            self.connect()
            self.run(11)

    def connect(self) -> None:
        self.watch.opened(self.now, history=False)
        self.watch.book_ready(self.now)

    def frame(self, *, event_ns: int | None = None, depth: bool = True, quote: bool = True) -> None:
        if depth:
            self.watch.heard(self.watch.streams[0], self.now, self.now)
            self.watch.event(self.now, self.now, self.now - SKEW if event_ns is None else event_ns)
        if quote:
            self.watch.heard(self.watch.streams[1], self.now, self.now)

    def run(self, seconds: float, *, depth: bool = True, quote: bool = True) -> list[tuple[float, str]]:
        """Run with frames each 100 ms; return changes of quality as (seconds since T0, state)."""
        changes, end = [], self.now + round(seconds * SECOND)
        while self.now < end:
            self.now += 100 * MS
            before = self.watch.quality
            self.frame(depth=depth, quote=quote)
            self.next_ns = self.watch.check(self.now)
            if self.watch.quality is not before:
                changes.append((round((self.now - T0) / SECOND, 1), self.watch.quality.value))
        return changes

    def sleep_until_next(self, until_s: float) -> list[tuple[float, str]]:
        """Only look when the watch asks to; return changes of quality."""
        changes = []
        while self.next_ns <= T0 + round(until_s * SECOND):
            assert self.next_ns > self.now, "a look that brings nothing new would never end"
            self.now = self.next_ns
            before = self.watch.quality
            self.next_ns = self.watch.check(self.now)
            if self.watch.quality is not before:
                changes.append((round((self.now - T0) / SECOND, 1), self.watch.quality.value))
        return changes

    def state(self) -> tuple[str, str]:
        self.next_ns = self.watch.check(self.now)
        return self.watch.quality.value, self.watch.reason


# --- connection and book ------------------------------------------------------------------------------


def test_watch_when_new_then_blind_until_connection_and_book_were_there_for_ten_seconds() -> None:
    """BLIND is left 10 s after its last cause."""
    bench = Bench(live=False)
    assert bench.state() == ("BLIND", "no connection")
    bench.watch.opened(bench.now, history=False)
    assert bench.state() == ("BLIND", "no book")
    assert bench.run(3) == []
    bench.watch.book_ready(bench.now)
    assert bench.run(9.9) == []
    assert bench.run(0.2) == [(13.0, "LIVE")]
    assert bench.watch.since_ns == T0 + 13 * SECOND


def test_watch_when_the_connection_ends_then_blind_with_its_reason_until_clear_again() -> None:
    """A reconnect that takes 5 s costs 15."""
    bench = Bench()
    bench.watch.closed(bench.now, "closed: 1006", seam=False)
    assert bench.state() == ("BLIND", "closed: 1006")
    bench.now += 5 * SECOND
    assert bench.state() == ("BLIND", "closed: 1006")
    bench.connect()
    assert bench.run(12) == [(26.0, "LIVE")]


def test_watch_when_a_lap_ends_then_stale_and_live_five_seconds_after_the_new_book() -> None:
    """A seam is known to be followed at once: STALE, not BLIND."""
    bench = Bench()
    bench.watch.closed(bench.now, "seam", seam=True)
    assert bench.state() == ("STALE", "seam")
    bench.watch.opened(bench.now, history=False)
    assert bench.run(1) == []
    bench.watch.book_ready(bench.now)
    assert bench.run(6) == [(17.0, "LIVE")]


def test_watch_when_the_book_breaks_then_stale_until_five_seconds_after_the_next() -> None:
    """Without a fresh book the clear time does not begin (MD-06)."""
    bench = Bench()
    bench.watch.book_lost(bench.now, "book: jump")
    assert bench.state() == ("STALE", "book: jump")
    assert bench.run(20) == []
    bench.watch.book_ready(bench.now)
    assert bench.run(6) == [(36.0, "LIVE")]


def test_watch_when_frames_are_history_then_never_live() -> None:
    """Old frames only warm; BLIND ends by its own time, STALE by the first live frame."""
    bench = Bench(live=False)
    bench.watch.opened(bench.now, history=True)
    bench.watch.book_ready(bench.now)
    assert bench.run(11) == [(10.0, "STALE")]
    assert bench.state() == ("STALE", "history")
    bench.watch.history = False
    assert bench.run(6) == [(16.0, "LIVE")]


def test_watch_when_no_book_is_wanted_then_live_without_one() -> None:
    """A feed of trades alone is LIVE when it is connected."""
    watch = FeedWatch([], needs_book=False)
    watch.opened(T0, history=False)
    assert watch.check(T0) == T0 + 10 * SECOND
    watch.check(T0 + 10 * SECOND)
    assert watch.quality is Quality.LIVE


# --- silence (MD-01, MD-03) ---------------------------------------------------------------------------


def test_silence_when_all_frames_stop_then_suspect_stale_blind() -> None:
    """Nobody has to ask: the watch says itself when to look."""
    bench = Bench()
    assert bench.sleep_until_next(60) == [(13.0, "SUSPECT"), (17.0, "STALE"), (41.0, "BLIND")]
    assert bench.watch.reason == "book_ticker is silent"
    bench.now = T0 + 60 * SECOND
    assert bench.run(11) == [(70.1, "LIVE")]


def test_silence_when_one_stream_stops_then_the_other_does_not_hide_it() -> None:
    """A book that stands still under running quotes is suspect."""
    bench = Bench()
    assert bench.run(3, depth=False) == [(13.1, "SUSPECT")]
    assert bench.watch.reason == "depth is silent"
    assert bench.run(3) == [(16.1, "LIVE")]


def test_silence_when_a_stream_is_slow_by_nature_then_its_limit_is_wide() -> None:
    """A frame each 4 s may be silent for 60 s; the first gaps are no alarm either."""
    watch = FeedWatch([Stream("depth")])
    watch.opened(T0, history=False)
    watch.book_ready(T0)
    now, states = T0, []
    for _ in range(40):
        watch.heard(watch.streams[0], now, now)
        watch.check(now + 3 * SECOND)
        states.append(watch.quality)
        now += 4 * SECOND
    assert watch.streams[0].limit_ns() == MINUTE
    watch.check(now + 50 * SECOND)
    assert watch.quality is Quality.LIVE
    assert states[5:] == [Quality.LIVE] * 35


def test_silence_when_a_gap_ended_before_anybody_looked_then_marked_all_the_same() -> None:
    """A frame after 5 s of silence shows it, whoever was stalled."""
    bench = Bench()
    bench.now += 5 * SECOND
    bench.frame()
    assert bench.state() == ("SUSPECT", "book_ticker was silent")


def test_frames_when_we_are_behind_then_suspect() -> None:
    """What we decode now was received long ago."""
    bench = Bench()
    bench.now += 100 * MS
    depth = bench.watch.streams[0]
    depth.heard_ns = 0
    bench.watch.heard(depth, bench.now, bench.now - 2 * SECOND)
    assert bench.state() == ("LIVE", "")
    bench.watch.heard(depth, bench.now, bench.now - 2 * SECOND - 1)
    assert (bench.watch.quality, bench.watch.reason) == (Quality.SUSPECT, "we are behind")


# --- lag and venue time (MD-02) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late_ms", "state"),
    [(0, "LIVE"), (1_900, "LIVE"), (2_100, "SUSPECT"), (4_900, "SUSPECT"), (5_100, "STALE")],
)
def test_lag_when_above_its_lowest_then_by_how_much(late_ms: int, state: str) -> None:
    """The clock's own error does not count, only what came on top of it."""
    bench = Bench()
    bench.now += 100 * MS
    bench.frame(event_ns=bench.now - SKEW - late_ms * MS)
    assert bench.state()[0] == state


def test_lag_when_its_lowest_is_five_minutes_old_then_forgotten() -> None:
    """A clock that was set is a new normal after six minutes at most."""
    bench = Bench()
    states = []
    for _ in range(7 * 60 * 2):
        bench.now += 500 * MS
        bench.frame(event_ns=bench.now - SKEW - 3 * SECOND)
        states.append(bench.state()[0])
    assert (states[0], states[-1]) == ("SUSPECT", "LIVE")


def test_venue_time_when_it_stands_still_then_stale_after_five_seconds() -> None:
    """Frames that repeat one instant are a dead cache behind a live socket."""
    bench = Bench()
    frozen = bench.now - SKEW
    changes = []
    for _ in range(60):
        bench.now += 100 * MS
        before = bench.watch.quality
        bench.frame(event_ns=frozen)
        bench.state()
        if bench.watch.quality is not before:
            changes.append((round((bench.now - T0) / SECOND, 1), bench.watch.quality.value))
    assert changes == [(13.1, "SUSPECT"), (16.1, "STALE")]


def test_venue_time_when_one_frame_is_a_year_ahead_then_suspect_only() -> None:
    """One wrong time must not make all right ones look late."""
    bench = Bench()
    bench.now += 100 * MS
    bench.frame(event_ns=bench.now + 365 * 24 * 60 * MINUTE)
    assert bench.state() == ("SUSPECT", "venue time jumped")
    assert bench.run(3) == [(13.1, "LIVE")]


def test_venue_time_when_it_stays_ahead_then_it_is_the_new_time() -> None:
    """A venue whose clock was set is believed after so many frames."""
    bench = Bench()
    for _ in range(AHEAD_MAX + 30):
        bench.now += 100 * MS
        bench.frame(event_ns=bench.now + MINUTE)
        bench.state()
    assert bench.state() == ("LIVE", "")


# --- crossed book (MD-08) -----------------------------------------------------------------------------


def test_book_when_crossed_then_suspect_after_200_ms_and_stale_after_two_seconds() -> None:
    """Locked counts as crossed; a short moment is nothing."""
    bench = Bench()
    bench.watch.top(100.0, 100.0, bench.now)
    assert bench.state() == ("LIVE", "")
    assert bench.next_ns == bench.now + 200 * MS + 1
    assert not bench.watch.crossed_too_long(bench.now + 2 * SECOND)
    assert bench.run(3) == [(11.3, "SUSPECT"), (13.1, "STALE")]
    assert bench.watch.crossed_too_long(bench.now)
    bench.watch.top(99.0, 100.0, bench.now)
    assert bench.run(6) == [(19.0, "LIVE")]


def test_book_when_uncrossed_in_time_then_live() -> None:
    """Nothing happened."""
    bench = Bench()
    bench.watch.top(101.0, 100.0, bench.now)
    bench.now += 150 * MS
    bench.watch.top(99.0, 100.0, bench.now)
    assert bench.state() == ("LIVE", "")


# --- leaving ------------------------------------------------------------------------------------------


def test_states_when_several_hold_then_the_worst_counts_and_each_clears_for_itself() -> None:
    """SUSPECT of now outlives STALE of before."""
    bench = Bench()
    bench.watch.mark(STALE, "old", bench.now)
    assert bench.run(4) == []
    bench.watch.mark(SUSPECT, "new", bench.now)
    assert bench.state() == ("STALE", "old")
    assert bench.run(4) == [(16.0, "SUSPECT"), (17.0, "LIVE")]


def test_mark_when_worse_then_at_once_without_a_look() -> None:
    """Nobody may trade on what was true until the next look."""
    bench = Bench()
    bench.watch.mark(BLIND, "gone", bench.now)
    assert (bench.watch.quality, bench.watch.reason, bench.watch.since_ns) == (
        Quality.BLIND,
        "gone",
        bench.now,
    )


def test_stale_when_entered_five_times_in_a_minute_then_stays_until_a_minute_is_clear() -> None:
    """A feed that flaps is worse than one that is away."""
    bench = Bench()
    for _ in range(FLAP_MAX - 1):
        bench.watch.mark(STALE, "again", bench.now)
        bench.run(6)
        assert (bench.watch.quality, bench.watch.flapping) == (Quality.LIVE, False)
    bench.watch.mark(STALE, "again", bench.now)
    assert bench.watch.flapping
    assert bench.run(61) == [(95.0, "LIVE")]
    assert not bench.watch.flapping


def test_watch_when_encoded_and_decoded_then_goes_on_alike() -> None:
    """All that it knows is state."""
    bench = Bench()
    bench.watch.mark(STALE, "again", bench.now)
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.watch), type=FeedWatch)
    assert copy == bench.watch
    assert copy.check(bench.now + SECOND) == bench.watch.check(bench.now + SECOND)
