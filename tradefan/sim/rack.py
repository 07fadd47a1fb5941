"""The machines of the simulated process: what it opens at its start, and what becomes of it at its end.

Venue, market, disk, and what is wrong with the store, outlive every process; the journal and the
store on the disk are opened anew by each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from random import Random

from tradefan.drivers.machines import TimedMachine
from tradefan.errors import Outage, Refused
from tradefan.messages.records import Record
from tradefan.sim.damage import probe
from tradefan.sim.disk import ErrorKind, SimDisk
from tradefan.sim.influx import SimInflux, SimInfluxd
from tradefan.sim.market import SimMarket
from tradefan.sim.observer import Observer
from tradefan.sim.options import ACCOUNT, VENUE, Options
from tradefan.sim.personality import chance
from tradefan.sim.process import DISK, REPAIR, ApiPort, Countdown, Crash, DiskTap, JournalTap, MarketTap, Tap
from tradefan.sim.store import SimStore, StoreTrouble
from tradefan.sim.venue import SimVenue
from tradefan.sim.witness import Violation
from tradefan.stores.following import Following
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_layout import SUBJECTS_AT_ONCE
from tradefan.stores.journal_link import JournalMachine
from tradefan.stores.kill_byte import KILL_END
from tradefan.units import SECOND
from tradefan.wiring import INFLUX, account_port, market_port

JOURNAL = "journal.db"
JOURNAL_PORT, STORE_PORT = "journal", "store"
LATE_NS, LATE_SHARE = 5 * SECOND, 0.3
"""The store's link is greeted that much behind the start at most, in so many of the starts."""


class Rack:
    """Everything under the process; `journal` and `store` are None while nothing is open."""

    def __init__(
        self,
        options: Options,
        disk: SimDisk,
        market: SimMarket,
        venue: SimVenue,
        countdown: Countdown,
        observer: Observer,
    ) -> None:
        """Let the process die before a disk call, when the countdown says so."""
        self.options = options
        self.disk = disk
        self.market = market
        self.venue = venue
        self.trouble = StoreTrouble()
        self.influxd = SimInfluxd(chance(options.seed, "influxd")) if options.config.influx.url else None
        observer.witness.influx = None if self.influxd is None else self.influxd.truth
        self.journal: JournalMachine | None = None
        self.store: SimStore | None = None
        self._following: Following | None = None
        self._late = chance(options.seed, "greeting")
        self._countdown = countdown
        self._observer = observer
        self._subjects_at_once = chance(options.seed, "subjects").choice((1, 7, 100, SUBJECTS_AT_ONCE))
        self._old: dict[str, bytes] = {}
        self._mark_lost = False
        """A power loss may have taken the newest mark, the witness of the last rows: an opening writes it."""
        disk.on_call = self._called
        disk.on_fault = self._failed
        self._failures = 0

    def _called(self, _operation: str, path: str) -> None:
        self._countdown.passes(DISK)
        if path == JOURNAL:
            self._countdown.passes(REPAIR)

    def _failed(self, kind: ErrorKind, path: str) -> None:
        """Count what fails of the journal; a file without room may stay as it is while the WAL has some."""
        if path.startswith(JOURNAL) and path != f"{JOURNAL}{KILL_END}":
            self._failures += kind == "EIO" or path != JOURNAL

    def failures(self) -> int:
        """Return how many calls on the journal's files have failed."""
        return self._failures

    def open(self, skew_ns: int, now_ns: int) -> dict[str, TimedMachine]:
        """Open what a process opens, in the order of its ports.

        Raises:
            Outage, Refused: the journal cannot be opened.
            Crash: the process was killed by it.
        """
        countdown, observer = self._countdown, self._observer
        try:
            self.journal = self._open_journal()
            self._following = Following(self._read_journal)
            late_ns = int(LATE_NS * self._late.random()) if self._late.random() < LATE_SHARE else 0
            self.store = self._open_store(now_ns + late_ns)
        except (Outage, Refused):
            countdown.check()
            raise
        symbols = {one.symbol.replace("/", "").lower().encode(): one.id for one in self.options.instruments}
        seen = observer.witness
        machines: dict[str, TimedMachine] = {
            JOURNAL_PORT: JournalTap(self.journal, countdown, skew_ns, observer, self.failures),
            market_port(VENUE): MarketTap(self.market, countdown, skew_ns, seen, symbols),
            account_port(ACCOUNT): Tap(self.venue, countdown, skew_ns),
            STORE_PORT: DiskTap(self.store, countdown, skew_ns),
            "api": ApiPort(countdown, skew_ns, observer.answered),
        }
        if self.influxd is not None:
            machines[INFLUX] = DiskTap(self._open_influx(self.influxd, now_ns), countdown, skew_ns)
        return machines

    def renew(self, port: str, machines: Mapping[str, TimedMachine], now_ns: int = 0) -> None:
        """Do what the death of a port's link means for what lies behind it.

        Raises:
            Crash: a file that cannot be opened again ends the process.
        """
        if port == INFLUX:
            tap = machines[port]
            assert isinstance(tap, Tap)
            assert self.influxd is not None
            tap.renew(self._open_influx(self.influxd, now_ns))
            return
        if port not in (JOURNAL_PORT, STORE_PORT):
            (self.market if port == market_port(VENUE) else self.venue).crash()
            return
        tap = machines[port]
        assert isinstance(tap, Tap)
        try:
            tap.renew(self._reopen(port))
        except (Outage, Refused):
            self._countdown.check()
            raise Crash(DISK) from None

    def _reopen(self, port: str) -> TimedMachine:
        journal, store = self.journal, self.store
        assert journal is not None
        assert store is not None
        if port == JOURNAL_PORT:
            journal.close()
            self.journal = self._open_journal()
            return self.journal
        store.drain()
        store.close()
        self.store = self._open_store(0)
        return self.store

    def close(self) -> None:
        """End in order: what waits is written, files are closed; what cannot be closed dies."""
        try:
            if self.store is not None:
                self.store.drain()
                self.store.close()
            if self.journal is not None:
                self.journal.close()
        except Outage:
            self._countdown.check()
        finally:
            self._let_go(power_loss=False)

    def crash(self, *, power_loss: bool) -> None:
        """End as kill -9 or a loss of power does."""
        self._mark_lost |= power_loss
        self._let_go(power_loss=power_loss)

    def heal(self, now_ns: int) -> None:
        """Let nothing new go wrong."""
        self.disk.heal()
        self.trouble.heal()
        if self.influxd is not None:
            self.influxd.trouble.heal()
        self.market.heal(now_ns)
        self.venue.heal(now_ns)
        if self.journal is not None:
            self.journal.commit_ns = self.options.commit_ns

    def damage(
        self, acknowledged: Sequence[Record], rng: Random, now_ns: int
    ) -> tuple[str, Violation | None] | None:
        """Harm a copy of the disk that a killed process left behind; the world goes on with its own.

        Return what was done and what it broke, None where nothing was: so it is while no mark can tell a flip
        in the last row from a write that the power did not let end.
        """
        if self._mark_lost or not self.disk.exists(JOURNAL):
            return None
        done = None
        if rng.random() < 0.7:
            done = probe(self.disk, JOURNAL, acknowledged, self._old, rng, now_ns)
        self._old = {path: self.disk.peek(path) for path in self.disk.paths() if path.startswith(JOURNAL)}
        return done

    def _open_journal(self) -> JournalMachine:
        options = self.options
        file = JournalFile(
            JOURNAL,
            disk=self.disk,
            checkpoint_frames=options.checkpoint_frames,
            subjects_at_once=self._subjects_at_once,
        )
        if not file.base.failing:
            self._mark_lost = False
        return JournalMachine(file, options.commit_ns, backlog_max=options.backlog_max)

    def _read_journal(self) -> contextlib.AbstractContextManager[JournalFile]:
        """Read by the writer's own connection.

        The simulated disk knows no locks: a second one would take the first one's WAL away as it closes.
        """
        assert self.journal is not None
        return contextlib.nullcontext(self.journal.file)

    def _open_influx(self, server: SimInfluxd, now_ns: int) -> SimInflux:
        return SimInflux(server, lambda: None if self.journal is None else self._read_journal(), now_ns)

    def _open_store(self, greet_ns: int) -> SimStore:
        assert self._following is not None
        store = SimStore(self.disk, self._following, self.trouble, greet_ns)
        self._observer.witness.store = store.file
        return store

    def _let_go(self, *, power_loss: bool) -> None:
        self.disk.crash(power_loss=power_loss)
        self.venue.crash()
        self.market.crash()
        self.journal = None
