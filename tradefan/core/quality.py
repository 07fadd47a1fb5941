"""How far one instrument's feed can be trusted: LIVE, SUSPECT, STALE or BLIND (VENUES.md part 1).

Conditions enter a state at once; a state is left when its conditions have been clear for its time. So
the machine remembers per state when its condition was last seen, and the worst state that is not yet
clear is the quality. Frames mark what they show; `check` looks at what only time can show and says
when to look again. Ages use receive time; the lag is measured against its own lowest value, because a
recording's clock may be seconds off.
"""

from __future__ import annotations

from msgspec import Struct, field

from tradefan.messages.market import Quality
from tradefan.units import MINUTE, MS, SECOND

SUSPECT = 1
STALE = 2
BLIND = 3
QUALITIES = (Quality.LIVE, Quality.SUSPECT, Quality.STALE, Quality.BLIND)
CLEAR_NS = (0, 2 * SECOND, 5 * SECOND, 10 * SECOND)
"""How long a state's conditions must be gone before it is left."""

LIMIT_GAPS = 20
"""A stream is silent after so many mean gaps, within these bounds."""
LIMIT_MIN_NS = 2 * SECOND
LIMIT_MAX_NS = 60 * SECOND
BLIND_NS = 30 * SECOND
MEAN_OF = 64
"""Gaps in the running mean of a stream."""
LAG_SUSPECT_NS = 2 * SECOND
LAG_STALE_NS = 5 * SECOND
FROZEN_NS = 5 * SECOND
AHEAD_NS = 10 * SECOND
"""A venue time so far ahead of all others is a mistake in one frame, until so many in a row say it."""
AHEAD_MAX = 10
CROSSED_SUSPECT_NS = 200 * MS
CROSSED_STALE_NS = 2 * SECOND
FLAP_MAX = 5
FLAP_NS = 60 * SECOND
"""So many entries into STALE in so long a time: it stays until that time is clear."""
NEVER = 1 << 62


class Stream(Struct):
    """A busy stream: when something new came, and how often it does."""

    name: str
    heard_ns: int = 0
    mean_ns: int = 0
    gaps: int = 0

    def limit_ns(self) -> int:
        """Return how long it may be silent."""
        return min(max(LIMIT_GAPS * self.mean_ns, LIMIT_MIN_NS), LIMIT_MAX_NS)


class Lag(Struct):
    """Receive time less event time, above its lowest value of the last five to six minutes."""

    base_ns: int = NEVER
    roll_ns: int = 0
    lows: list[int] = []
    ahead: int = 0

    def roll(self, recv_ns: int) -> None:
        """Begin a new minute and forget the oldest."""
        self.lows = [*self.lows[-5:], NEVER]
        self.base_ns = min(self.lows)
        self.roll_ns = recv_ns + MINUTE


class FeedWatch(Struct):
    """The quality of one instrument's feed with all that it follows from."""

    streams: list[Stream]
    quality: Quality = Quality.BLIND
    reason: str = "no connection"
    since_ns: int = 0
    connected: bool = False
    booked: bool = False
    needs_book: bool = True
    history: bool = False
    why_down: str = "no connection"
    level: int = BLIND
    bad_ns: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    why: list[str] = field(default_factory=lambda: ["", "", "", ""])
    lag: Lag = field(default_factory=Lag)
    event_ns: int = 0
    moved_ns: int = 0
    crossed_ns: int | None = None
    entries_ns: list[int] = []
    flapping: bool = False

    # --- what frames show ---------------------------------------------------------------------------

    def heard(self, stream: Stream, now_ns: int, recv_ns: int) -> None:
        """A busy stream brought something new."""
        last_ns = stream.heard_ns
        if last_ns:
            gap_ns = recv_ns - last_ns
            if gap_ns > LIMIT_MIN_NS:
                self._was_silent(stream, gap_ns, now_ns)
            if stream.gaps < MEAN_OF:
                stream.gaps += 1
            stream.mean_ns += (gap_ns - stream.mean_ns) // stream.gaps
        stream.heard_ns = recv_ns
        if self.history:
            self.mark(STALE, "history", now_ns)
        elif now_ns - recv_ns > LIMIT_MIN_NS:
            self.mark(SUSPECT, "we are behind", now_ns)

    def event(self, now_ns: int, recv_ns: int, event_ns: int) -> None:
        """A frame named its venue time: watch the lag, and that the venue's clock moves."""
        lag, lag_ns = self.lag, recv_ns - event_ns
        if recv_ns >= lag.roll_ns:
            lag.roll(recv_ns)
        if lag_ns < lag.lows[-1]:
            if lag_ns < lag.base_ns - AHEAD_NS and lag.base_ns != NEVER:
                self._ahead(now_ns, recv_ns)
                return
            lag.lows[-1] = lag_ns
            lag.base_ns = min(lag.base_ns, lag_ns)
        elif lag_ns - lag.base_ns > LAG_SUSPECT_NS:
            worse = lag_ns - lag.base_ns > LAG_STALE_NS
            self.mark(STALE if worse else SUSPECT, "lag", now_ns)
        if event_ns > self.event_ns:
            self.event_ns = event_ns
            self.moved_ns = recv_ns
            lag.ahead = 0
        elif recv_ns - self.moved_ns > FROZEN_NS:
            self.mark(STALE, "venue time is frozen", now_ns)

    def top(self, bid: float, ask: float, now_ns: int) -> None:
        """The book's top changed: crossed or locked for a while is not a market."""
        if bid < ask:
            if self.crossed_ns is not None:
                self._crossed(now_ns)
                self.crossed_ns = None
        elif self.crossed_ns is None:
            self.crossed_ns = now_ns

    def crossed_too_long(self, now_ns: int) -> bool:
        """Say whether the book must be thrown away because it stays crossed."""
        return self.crossed_ns is not None and now_ns - self.crossed_ns > CROSSED_STALE_NS

    def mark(self, level: int, reason: str, now_ns: int) -> None:
        """Enter a state at once, or keep it."""
        self.bad_ns[level] = now_ns
        self.why[level] = reason
        if level > self.level:
            self._enter(level, now_ns)

    # --- connection and book --------------------------------------------------------------------------

    def opened(self, now_ns: int, *, history: bool) -> None:
        """A connection serves this instrument from now on; a tape may begin with old frames."""
        self._lost(now_ns)
        self.connected = True
        self.history = history
        self.why_down = "no book"

    def closed(self, now_ns: int, reason: str, *, seam: bool) -> None:
        """The connection ended; a seam is known to be followed at once by the next lap."""
        self._lost(now_ns)
        self.connected = seam
        self.why_down = "no book" if seam else reason
        self.mark(STALE if seam else BLIND, "seam" if seam else reason, now_ns)

    def book_lost(self, now_ns: int, reason: str) -> None:
        """The chain of ids broke; until the next book nothing can be created."""
        self.booked = False
        self.crossed_ns = None
        self.mark(STALE, reason, now_ns)

    def book_ready(self, now_ns: int) -> None:
        """A fresh book stands; the clear time of what was missing begins."""
        if self.booked:
            return
        self.booked = True
        worst = BLIND if self.level == BLIND else STALE
        self.mark(worst, self.why[worst] or self.why_down, now_ns)

    # --- time ---------------------------------------------------------------------------------------

    def check(self, now_ns: int) -> int:
        """Bring the quality up to date and return when to look again, NEVER if only a frame can help."""
        next_ns = self._conditions(now_ns)
        level, reason = 0, ""
        for worse in (BLIND, STALE, SUSPECT):
            ends_ns = self.bad_ns[worse] + self._clear_ns(worse)
            if self.bad_ns[worse] and now_ns < ends_ns:
                level, reason = max(level, worse), reason or self.why[worse]
                next_ns = min(next_ns, ends_ns)
        if level < STALE and self.level >= STALE:
            self.flapping = False
        if level != self.level:
            self.level, self.since_ns = level, now_ns
        self.quality, self.reason = QUALITIES[level], reason
        return next_ns

    def _conditions(self, now_ns: int) -> int:
        """Mark what holds now and return when time alone would make it worse."""
        if not self.connected or (not self.booked and self.level == BLIND and self.needs_book):
            self.mark(BLIND, self.why_down, now_ns)
        elif not self.booked and self.needs_book:
            self.mark(STALE, self.why[STALE] or self.why_down, now_ns)
        next_ns = self._silences(now_ns) if self.connected and not self.history else NEVER
        if self.history:
            self.mark(STALE, "history", now_ns)
        if self.crossed_ns is not None:
            next_ns = min(next_ns, self._crossed(now_ns))
        return next_ns

    def _silences(self, now_ns: int) -> int:
        next_ns = NEVER
        for stream in self.streams:
            if not stream.heard_ns:
                continue
            silent_ns, limit_ns = now_ns - stream.heard_ns, stream.limit_ns()
            if silent_ns > limit_ns:
                self.mark(_silence(silent_ns, limit_ns), f"{stream.name} is silent", now_ns)
            for bound_ns in (limit_ns, 3 * limit_ns, max(BLIND_NS, 3 * limit_ns)):
                if silent_ns <= bound_ns:
                    next_ns = min(next_ns, stream.heard_ns + bound_ns + 1)
                    break
        return next_ns

    def _was_silent(self, stream: Stream, gap_ns: int, now_ns: int) -> None:
        limit_ns = stream.limit_ns()
        if gap_ns > limit_ns and not self.history:
            self.mark(_silence(gap_ns, limit_ns), f"{stream.name} was silent", now_ns)

    def _ahead(self, now_ns: int, recv_ns: int) -> None:
        """Keep one wrong venue time from making all right ones look late."""
        self.mark(SUSPECT, "venue time jumped", now_ns)
        self.lag.ahead += 1
        if self.lag.ahead >= AHEAD_MAX:
            self.lag = Lag()
            self.lag.roll(recv_ns)

    def _crossed(self, now_ns: int) -> int:
        """Mark a crossed book by how long it has been so; return when it gets worse."""
        assert self.crossed_ns is not None
        for_ns = now_ns - self.crossed_ns
        if for_ns > CROSSED_STALE_NS:
            self.mark(STALE, "book is crossed", now_ns)
            return NEVER
        if for_ns > CROSSED_SUSPECT_NS:
            self.mark(SUSPECT, "book is crossed", now_ns)
            return self.crossed_ns + CROSSED_STALE_NS + 1
        return self.crossed_ns + CROSSED_SUSPECT_NS + 1

    def _clear_ns(self, level: int) -> int:
        return FLAP_NS if level == STALE and self.flapping else CLEAR_NS[level]

    def _enter(self, level: int, now_ns: int) -> None:
        if level == STALE:
            self.entries_ns = [at_ns for at_ns in self.entries_ns if now_ns - at_ns < FLAP_NS] + [now_ns]
            self.flapping = self.flapping or len(self.entries_ns) >= FLAP_MAX
        self.level, self.since_ns = level, now_ns
        self.quality, self.reason = QUALITIES[level], self.why[level]

    def _lost(self, now_ns: int) -> None:
        """Nothing measured on one connection says anything about the next."""
        self.booked = False
        self.crossed_ns = None
        self.event_ns = self.moved_ns = 0
        self.lag = Lag()
        for stream in self.streams:
            stream.heard_ns = 0
        if self.level == BLIND:
            self.bad_ns[BLIND] = now_ns


def _silence(silent_ns: int, limit_ns: int) -> int:
    if silent_ns > max(BLIND_NS, 3 * limit_ns):
        return BLIND
    return STALE if silent_ns > 3 * limit_ns else SUSPECT
