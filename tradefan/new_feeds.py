"""Instruments that are observed from now on, while the daemon runs: their rules, and who has to know them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from ctypes import c_ulong, py_object, pythonapi
from functools import partial

import msgspec

from tradefan.config.schema import Config, FeedConfig
from tradefan.drivers.machines import TimedMachine
from tradefan.errors import Refused, TurnOverrun
from tradefan.instruments import load_instruments
from tradefan.messages.control import SwapConfig
from tradefan.messages.instrument import Instrument
from tradefan.runtime.kernel import Kernel
from tradefan.units import SECOND
from tradefan.venues.paper import PaperVenue
from tradefan.venues.tape import Tape
from tradefan.wiring import Plan, market_port, plan


class NewFeeds:
    """Stands between the edited configuration and the machines of the rim."""

    def __init__(self, kernel: Kernel, machines: Mapping[str, TimedMachine]) -> None:
        """Know the run and its machines."""
        self._kernel = kernel
        self._machines = machines

    def rules(self, config: Config) -> tuple[Instrument, ...]:
        """Return the rules of feeds that are new; a live venue is asked. Called in a thread.

        What is wired by them is tried here first: a `setup` may take long, and a turn may not.

        Raises:
            Refused: OTHER_LINKS, UNKNOWN_INSTRUMENT, NO_RECORDING where a tape has no frames of it,
                UNSUPPORTED_KIND, NOT_TRADING, NOT_LIVE; what wiring refuses; or SETUP_SLOW.
            Outage: the venue did not answer.
        """
        system = self._kernel.system
        new = {name: one for name, one in config.feeds.items() if name not in system.made_of}
        self._require_wirable(new)
        loaded = load_instruments(msgspec.structs.replace(config, feeds=new)) if new else {}
        for one in loaded.values():
            self._require_observable(one, new[one.id])
        rules = tuple(loaded.values())
        assert system.rewire is not None
        rewire = partial(system.rewire, config, SwapConfig("", b"", rules), dict(self._kernel.refs))
        most_s = config.runtime.turn_max / SECOND
        if not _ends_within(rewire, most_s):
            key = _setup_key(self._kernel.config, config)
            raise Refused("SETUP_SLOW", f"{key}: expected a setup of at most turn_max ({most_s:g} s)")
        return rules

    def _require_wirable(self, new: Mapping[str, FeedConfig]) -> None:
        """Refuse before anybody is asked what the kernel would, and name the feed: it knows none."""
        ports = {spec.name for spec in self._kernel.system.ports}
        for name in new:
            if market_port(name.partition(":")[0]) not in ports:
                raise Refused("OTHER_LINKS", f"feeds.{name}: another venue takes effect at a restart")

    def _require_observable(self, one: Instrument, feed: FeedConfig) -> None:
        tape = self._machines.get(market_port(one.venue))
        key = f"feeds.{one.id}"
        if feed.tape:
            raise Refused("NOT_LIVE", f"{key}.tape: a recording of its own takes effect at a restart")
        if isinstance(tape, Tape) and one.symbol.replace("/", "") not in tape.recordings:
            text = f"{key}: expected recorded frames, the tape has {sorted(tape.recordings)}"
            raise Refused("NO_RECORDING", text)
        if one.kind != "spot":
            raise Refused("UNSUPPORTED_KIND", f"{key}: expected spot, got {one.kind}")
        if one.status != "TRADING":
            raise Refused("NOT_TRADING", f"{key}: expected status TRADING, got {one.status}")

    def plan(self) -> Plan:
        """Return who is there by the configuration in force, and let paper accounts trade what is new."""
        kernel = self._kernel
        for machine in self._machines.values():
            if isinstance(machine, PaperVenue):
                machine.know(tuple(kernel.system.made_of.values()))
        return plan(kernel.config, kernel.system.made_of, kernel.refs)


def _setup_key(old: Config, new: Config) -> str:
    """Return the one instance that is new or another one; all of them where there are several."""
    changed = [name for name, one in new.strategies.items() if one != old.strategies.get(name)]
    return f"strategies.{changed[0]}" if len(changed) == 1 else "strategies"


def _ends_within(work: Callable[[], object], most_s: float) -> bool:
    """Do work on a thread of its own and say whether it ended in time; what it raises is raised here.

    One that is late is broken off where Python can do that, between two bytecodes, or it would take its share
    of every turn from now on. What does not end even so is left behind, and no stop waits for it.
    """
    failures: list[BaseException] = []
    ending, ended = threading.Lock(), threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 it is raised where it is waited for
            failures.append(error)
        with ending:
            ended.set()

    thread = threading.Thread(target=copy_context().run, args=(run,), name="setup", daemon=True)
    thread.start()
    ended.wait(most_s)
    # Its number may be another thread's as soon as it has ended, which it has not while we hold this.
    with ending:
        if not ended.is_set():
            pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread.ident or 0), py_object(TurnOverrun))
            return False
    if failures:
        raise failures[0]
    return True
