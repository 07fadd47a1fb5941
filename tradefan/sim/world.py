"""The simulated world of one seed: real wiring under virtual time, over machines that go wrong.

Venue, market, disk and store outlive the process. The world starts it, injects what its seed has
planned, kills it and starts it again; then everything heals, and the books must agree.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace

import tradefan.executors
import tradefan.strategies
from tradefan.config.schema import Config
from tradefan.drivers.latch import Latch
from tradefan.drivers.machines import TimedMachine
from tradefan.errors import Outage, Refused, traceback_of
from tradefan.messages.control import LoopLag, StopAll
from tradefan.messages.instrument import Instrument
from tradefan.messages.wire import Text, Write
from tradefan.runtime.system import System
from tradefan.sim.disk import SimDisk
from tradefan.sim.faults import KINDS, on_in, schedule
from tradefan.sim.influx_truth import watched
from tradefan.sim.inject import inject
from tradefan.sim.market import SimMarket
from tradefan.sim.observer import Broken, Observer
from tradefan.sim.only import Only
from tradefan.sim.operator import LINK, Ambush, Operator
from tradefan.sim.options import DEFAULT_HOURS, HOUR_NS, T0, Bounds, draw, is_liar, spans
from tradefan.sim.personality import chance
from tradefan.sim.personality import draw as draw_personality
from tradefan.sim.process import (
    DISK,
    EFFECT,
    REPAIR,
    Countdown,
    Crash,
    Life,
)
from tradefan.sim.rack import Rack
from tradefan.sim.report import Outcome
from tradefan.sim.venue import FEE, SimVenue
from tradefan.sim.witness import DEFECT, Checker, Violation, Witness, Written
from tradefan.units import MS, SECOND, ClientOrderId, InstrumentId, use_decimal_context
from tradefan.wiring import wire

SHIPPED = (tradefan.executors.__name__, tradefan.strategies.__name__)
"""Importing the packages registers what comes with TradeFan."""
JOURNAL = "journal.db"
INSTANCE = "sim"
STOP_NS = 10 * SECOND
STOP_WAIT_NS = 60 * SECOND
REPAIR_NS = 500 * MS
CONVERGE_NS = 90 * SECOND
"""Behind A + V after everything healed, all is well (I-36)."""
ORDER_EVERY_NS = 3 * SECOND
"""The pace that the operator keeps up: 20 orders a minute, when modes and venue let them pass."""
CATCH_UP_MAX = 4
STARTS_MAX = 300
"""A seed with more starts than this has a process that cannot live."""
_BPS = Decimal(10_000)
_FIRST = "I-36"
"""It is looked at before the last stop, all others at rest behind it."""


class _Enough(Exception):
    """The instant has come behind which nobody wants to know, or there is no time to wait for it."""


class Fate(Struct, frozen=True):
    """What comes with a crash: that many of the next starts die, too, and the clock may jump to a skew."""

    power_loss: bool
    start_crashes: int
    pause_ns: int
    skew_ns: int | None


class World:
    """One seed, from its first start to its last stop."""

    def __init__(
        self,
        seed: int,
        *,
        hours: float = DEFAULT_HOURS,
        kinds: Iterable[str] = tuple(KINDS),
        all_on: bool = False,
        only: Iterable[str] | None = None,
        checkers: Sequence[Checker] = (),
    ) -> None:
        """Draw everything; with `all_on` each kind is on, else a subset of them.

        Of what is on and drawn, `only` these words happen, as `sim.only` reads them.
        """
        use_decimal_context()
        self.only = Only(only)
        self.seed = seed
        self.now_ns = T0
        liar = is_liar(seed)
        on = on_in(seed, kinds, all_on=all_on, liar=liar)
        self.personality = personality = draw_personality(seed, liar, on, all_on=True)
        bounds = Bounds(
            personality.accept_bound_ns,
            personality.visible_bound_ns,
            personality.late_fill_bound_ns,
            FEE * _BPS,
        )
        fault_ns, _ = spans(hours)
        self.faults = schedule(seed, on, T0, fault_ns)
        self.options = draw(seed, hours, bounds, self.faults, self.only)
        self.config: Config = self.options.config
        self.config_id = "cfg-0"
        self.configs = 0
        self.chance = chance(seed, "world")
        self.operator = Operator(self.options, chance(seed, "operator"))
        self.market = SimMarket(self.options.instruments, seed, kinds=on, note=self.note, only=self.only)
        self.venue = SimVenue(
            self.options.instruments,
            self.market,
            personality,
            seed=seed,
            balances=dict(self.options.balances),
            note=self.note,
            on_write=self._on_write,
            faults_until_ns=T0 + fault_ns,
            only=self.only,
        )
        self.witness = Witness(seed, self.config, self.venue, now_ns=T0)
        self.witness.configs[self.config_id] = self.config
        self.observer = Observer(self.witness, checkers)
        self.countdown = Countdown()
        self.ambush = Ambush()
        self.rack = Rack(self.options, SimDisk(seed), self.market, self.venue, self.countdown, self.observer)
        self.life: Life | None = None
        self.starts = self.crashes = self.start_crashes = self.steps = 0
        self.refusal = ""
        self._damage_chance = chance(seed, "damage")
        self.skew_ns = 0
        self._wired: tuple[Config, dict[InstrumentId, Instrument], System] | None = None
        self._starting = False
        self._traces: list[str] = []
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._until_ns: int | None = None
        self._over: Callable[[], bool] = lambda: False

    # --- the whole seed ---------------------------------------------------------------------------------

    def run(self, until_ns: int | None = None, over: Callable[[], bool] = lambda: False) -> Outcome:
        """Run the seed, to its end or until an instant behind which nobody wants to know.

        A broken invariant and an unexpected exception are part of the outcome. Where it is `over` the run
        is broken off, and what it would have shown is not known.
        """
        violation, self._until_ns, self._over = None, until_ns, over
        try:
            self._run()
        except _Enough:
            pass
        except Broken as broken:
            violation = broken.violation
        except Exception as error:  # noqa: BLE001 whatever escapes is a defect to report with its seed
            text = traceback_of(error)[-3_000:]
            violation = Violation(DEFECT, self.now_ns, "no exception", text)
        if self.life is not None:
            self._end_life()
        self.rack.disk.close()
        return self._outcome(violation)

    def _run(self) -> None:
        options = self.options
        heal_ns = T0 + options.fault_ns
        for one in self.faults.plan:
            self.later(
                one.at_ns, partial(inject, self, one, chance(self.seed, f"do/{one.kind}/{one.number}"))
            )
        self.later(T0, self.start)
        self.later(T0 + options.operator_every_ns, self._operate)
        self.later(T0 + 10 * SECOND, self._repair_sometimes)
        self._live(heal_ns)
        self._heal()
        personality = self.personality
        self._live(heal_ns + personality.accept_bound_ns + personality.visible_bound_ns + CONVERGE_NS)
        self._rest()

    def _heal(self) -> None:
        """Let nothing new go wrong; what is down starts, and the operator lets go what waits for him."""
        self.witness.healed_ns = self.now_ns
        self._agenda.clear()
        self.countdown.disarm()
        self.ambush.leave()
        self.start_crashes = 0
        self.rack.heal(self.now_ns)
        if self.life is None:
            self._starting = True
            self.later(self.now_ns, self.start)
        else:
            # A stall at the very end: its loop keeps time again.
            self.life.inject("oms", LoopLag(0))
        self._repair_always()

    def _rest(self) -> None:
        """Look whether all has come to agree, stop, and look again."""
        if self.life is None:
            found = f"none, the last start refused by {self.refusal}" if self.refusal else "none"
            raise Broken(Violation(_FIRST, self.now_ns, "a process that runs", found))
        life, deadline_ns = self.life, self.now_ns + STOP_WAIT_NS
        rest = [one.invariant for one in self.observer.checkers if one.invariant != _FIRST]
        self.observer.at_rest((_FIRST,))
        self._agenda.clear()
        self.stop()
        while not life.ended and self.now_ns < deadline_ns:
            life.run_until(min(self.now_ns + SECOND, deadline_ns))
            self.now_ns = life.now_ns
        if not life.ended:
            raise Broken(
                Violation("STOP", self.now_ns, f"an exit within {STOP_WAIT_NS / SECOND:g} s", "none")
            )
        if self.rack.store is not None:
            self.rack.store.drain()
        self.observer.at_rest(rest)

    def _outcome(self, violation: Violation | None) -> Outcome:
        trace = blake2b("".join(self._traces).encode(), digest_size=32).hexdigest()
        return Outcome(
            seed=self.seed,
            trace=trace,
            violation=violation,
            simulated_ns=self.now_ns - T0,
            liar=self.options.liar,
            orders=self.observer.orders,
            fills=sum(trade.ours for trade in self.venue.trades),
            crashes=self.crashes,
            starts=self.starts,
            steps=self.steps,
            faults=dict(Counter(one.kind for one in self.witness.faults)),
            refused=dict(Counter(one.refused for one in self.witness.writes if one.refused is not None)),
            coverage=self.observer.coverage,
            happened=() if violation is None else tuple(self.only.happened),
        )

    # --- time -------------------------------------------------------------------------------------------

    def later(self, at_ns: int, act: Callable[[], None]) -> None:
        """Do something at an instant, in the order of instants and then of calls."""
        self._numbers += 1
        heapq.heappush(self._agenda, (at_ns, self._numbers, act))

    def _live(self, until_ns: int) -> None:
        """Let the world go on, whether or not the process lives."""
        enough_ns = self._until_ns
        if enough_ns is not None:
            until_ns = min(until_ns, enough_ns)
        while self.now_ns < until_ns:
            if self._over():
                raise _Enough
            try:
                self._act()
                next_ns = min(until_ns, self._agenda[0][0]) if self._agenda else until_ns
                self._go(max(next_ns, self.now_ns))
            except Crash as crash:
                self._die(str(crash))
        if self.now_ns == enough_ns:
            raise _Enough

    def _act(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.now_ns:
            heapq.heappop(self._agenda)[2]()

    def _go(self, until_ns: int) -> None:
        life = self.life
        if life is None:
            self.now_ns = until_ns
            return
        try:
            life.run_until(until_ns)
        finally:
            self.now_ns = life.now_ns
        if life.ended:
            self._exited()

    # --- the process ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; one whose journal cannot be opened is started again a moment later."""
        if self.life is not None:
            return
        self._starting = False
        self.starts += 1
        if self.starts > STARTS_MAX:
            found = f"{self.starts}, the last refused by {self.refusal or 'nobody'}"
            raise Broken(Violation("STARTS", self.now_ns, f"at most {STARTS_MAX} starts", found))
        self.countdown.disarm()
        if self.start_crashes > 0:
            self.start_crashes -= 1
            place = self.chance.choice((DISK, EFFECT))
            self.countdown.arm(place, int(40 * self.chance.random() ** 2))
        try:
            machines = self.rack.open(self.skew_ns, self.now_ns)
        except (Outage, Refused) as error:
            self.refusal = str(error)
            self._start_again(SECOND + int(self.chance.random() * 4 * SECOND), self._skew())
            return
        self.refusal = ""
        self._born(machines)

    def _born(self, machines: dict[str, TimedMachine]) -> None:
        # A daemon asks for the rules before it starts, and begins to count their versions anew.
        rules = {one.id: replace(self.market.rules(one.id), version=1) for one in self.options.instruments}
        if self._wired is None or self._wired[:2] != (self.config, rules):
            system, truth = wire(self.config, rules, INSTANCE, "sim"), self.witness.influx
            self._wired = self.config, rules, system if truth is None else watched(system, truth)
        latch = Latch()
        self.venue.latched = partial(self._latched, latch)
        self.life = life = Life(
            self._wired[2],
            self.config,
            self.config_id,
            machines,
            now_ns=self.now_ns,
            skew_ns=self.skew_ns,
            seed=self.seed + self.starts,
            countdown=self.countdown,
            latch=latch,
            observer=self.observer,
        )
        life.looked = lambda: self.ambush.look(life.kernel, self.witness.oms)
        self.observer.begin(self.starts, life.kernel, self.skew_ns)

    def _die(self, place: str) -> None:
        """End the process as kill -9 does, or as the loss of power does."""
        self.crashes += 1
        self.note(f"crash_{place}")
        if self.life is not None:
            self._end_life()
        self.countdown.disarm()
        fate = self.fate(place)
        power_loss = fate.power_loss and self.only.drawn("power_loss")
        if power_loss:
            self.note("power_loss")
        if fate.start_crashes and self.only.drawn("crash_start"):
            self.start_crashes = fate.start_crashes
            self.note("crash_start")
        self.rack.crash(power_loss=power_loss)
        if self.faults.has("damage") and self.witness.healed_ns is None:
            self._damage()
        self._start_again(fate.pause_ns, fate.skew_ns)

    def fate(self, place: str) -> Fate:
        """Draw what comes with a crash; drawn for one that is left out, too, so that the next has its own."""
        share = 0.9 if place == REPAIR else 0.5
        power_loss = self.faults.has("power_loss") and self.chance.random() < share
        starts = self.faults.has("crash_start") and not self.start_crashes and self.chance.random() < 0.4
        start_crashes = 1 + int(self.chance.random() * 3) if starts else 0
        return Fate(power_loss, start_crashes, int(20 * SECOND * self.chance.random() ** 3), self._skew())

    def _skew(self) -> int | None:
        """Draw by how much the wall clock of the next process is ahead, None where it stays as it is."""
        jumps = self.faults.has("wall_jump") and self.witness.healed_ns is None and self.chance.random() < 0.3
        return int((2 * self.chance.random() - 1) * HOUR_NS) if jumps else None

    def _damage(self) -> None:
        # It harms a copy, so that one that is left out is tried all the same, and says nothing.
        done = self.rack.damage(self.witness.acknowledged, self._damage_chance, self.now_ns)
        if done is not None and self.only.drawn("damage"):
            text, violation = done
            self.note("damage", text)
            if violation is not None:
                raise Broken(violation)

    def _exited(self) -> None:
        """The process ended by itself: it closes what it has open, and is started again."""
        self._end_life()
        self.rack.close()
        self._start_again(SECOND + int(5 * SECOND * self.chance.random()), self._skew())

    def _end_life(self) -> None:
        life, self.life = self.life, None
        assert life is not None
        self._traces.append(life.trace())
        self.steps += life.kernel.state.steps
        self.config, self.config_id = life.kernel.config, life.kernel.state.config_id
        self.observer.end()

    def _start_again(self, pause_ns: int, skew_ns: int | None) -> None:
        """Start anew behind a pause; the wall clock may differ by then."""
        if skew_ns is not None and self.only.drawn("wall_jump"):
            self.skew_ns = skew_ns
            self.note("wall_jump")
        if not self._starting:
            self._starting = True
            self.later(self.now_ns + pause_ns, self.start)

    def stop(self) -> None:
        """Ask the process to stop in order."""
        assert self.life is not None
        self.life.inject("", StopAll(self.now_ns + self.life.skew_ns + STOP_NS))

    # --- what others call -------------------------------------------------------------------------------

    def note(self, kind: str, text: str = "") -> None:
        """Remember that something was injected."""
        now_ns = self.now_ns if self.life is None else self.life.now_ns
        self.observer.note(now_ns, kind, text)

    def ready(self) -> bool:
        """Say whether the order manager runs."""
        oms = self.witness.oms
        return self.life is not None and oms is not None and oms.live.running

    def _latched(self, latch: Latch, write: Write) -> bool:
        """Answer the link for the latch; whoever kills in the last moment closes it just before."""
        self.ambush.passes(LINK, write.scopes)
        if write.op == "replace":
            self.ambush.passes(LINK, write.scopes, replaces=True)
        return latch.is_closed(write.scopes)

    def _on_write(self, write: Write, refused: str | None) -> None:
        seen = self.witness
        now_ns = self.now_ns if self.life is None else self.life.now_ns
        if write.op not in ("create", "cancel", "replace"):
            seen.asked[now_ns] = None
            return
        assert isinstance(write.body, Text)
        params = _REQUEST.decode(write.body.text).params
        name = params.origClientOrderId if write.op == "cancel" else params.newClientOrderId
        durable = self.observer.durable
        closed = () if self.life is None else tuple(self.life.latch.closed)
        seen.writes.append(
            Written(now_ns, seen.life, write.op, ClientOrderId(name), write.scopes, refused, durable, closed)
        )

    # --- the operator -----------------------------------------------------------------------------------

    def _operate(self) -> None:
        """Act as every so often, and order more while a seed has fewer orders than it should have."""
        self.later(self.now_ns + self.options.operator_every_ns, self._operate)
        if self.ready():
            assert self.life is not None
            behind = (self.now_ns - T0) // ORDER_EVERY_NS - self.observer.orders
            for _ in range(1 + min(max(behind, 0), CATCH_UP_MAX)):
                self.operator.act(self.life, self.witness.oms)

    def _repair_sometimes(self) -> None:
        """Somebody is paged now and then; kills are resumed by whoever killed."""
        self.later(self.now_ns + int((5 + 25 * self.chance.random()) * SECOND), self._repair_sometimes)
        self._repair(kills=False)

    def _repair_always(self) -> None:
        self.later(self.now_ns + REPAIR_NS, self._repair_always)
        self._repair(kills=True)

    def _repair(self, *, kills: bool) -> None:
        if self.ready():
            assert self.life is not None
            self.operator.repair(self.life, self.witness.oms, kills=kills)


class _Params(Struct, frozen=True):
    newClientOrderId: str = ""  # noqa: N815 the venue's word
    origClientOrderId: str = ""  # noqa: N815 the venue's word


class _Request(Struct, frozen=True):
    params: _Params = _Params()


_REQUEST = msgspec.json.Decoder(_Request)
