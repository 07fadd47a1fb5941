"""Instruments that are observed from now on, while the daemon runs: their rules, and who has to know them."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from tradefan.config.schema import Config, FeedConfig
from tradefan.drivers.machines import TimedMachine
from tradefan.errors import Refused
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
            Refused: UNKNOWN_INSTRUMENT, NO_RECORDING where a tape has no frames of it, UNSUPPORTED_KIND,
                NOT_TRADING, NOT_LIVE; what wiring refuses; or SETUP_SLOW.
            Outage: the venue did not answer.
        """
        system = self._kernel.system
        new = {name: one for name, one in config.feeds.items() if name not in system.made_of}
        loaded = load_instruments(msgspec.structs.replace(config, feeds=new)) if new else {}
        for one in loaded.values():
            self._require_observable(one, new[one.id])
        rules = tuple(loaded.values())
        assert system.rewire is not None
        begun_s = time.monotonic()
        system.rewire(config, SwapConfig("", b"", rules), dict(self._kernel.refs))
        took_s, most_s = time.monotonic() - begun_s, config.runtime.turn_max / SECOND
        if took_s > most_s:
            text = f"strategies: their setup took {took_s:.1f} s, expected at most turn_max ({most_s:g} s)"
            raise Refused("SETUP_SLOW", text)
        return rules

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
