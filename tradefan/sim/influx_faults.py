"""What the faults of the InfluxDB beside the daemon do; a seed without one has nothing to do them to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tradefan.sim.falls import break_one
from tradefan.sim.influx import SLOW_NS
from tradefan.sim.process import Life
from tradefan.wiring import INFLUX, POINT_WRITERS

if TYPE_CHECKING:
    from tradefan.sim.world import World


def _trouble(world: World, life: Life, kind: str, rng: Random) -> bool:
    server = world.rack.influxd
    if server is None:
        return False
    server.trouble.begin(kind, world.now_ns, rng)
    return True


def _death(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let the link die, mostly with batches under way at a slow server, or the actor that writes to it."""
    server = world.rack.influxd
    if server is None:
        return False
    if rng.random() < 0.6:
        server.trouble.slow_ns = max(server.trouble.slow_ns, world.now_ns + SLOW_NS)
        world.later(world.now_ns + int(SLOW_NS * rng.random()), partial(_end_link, world, life, kind))
        return False
    cell = life.kernel.cells[life.kernel.refs[POINT_WRITERS[INFLUX]]]
    if cell is None or cell.actor is None:
        return False
    break_one(cell, int(rng.random() * 30), (), behind=rng.random() < 0.5)
    return True


def _end_link(world: World, life: Life, kind: str) -> None:
    if world.life is life and life.link_dies(INFLUX):
        world.rack.renew(INFLUX, life.machines, world.now_ns)
        world.note(kind, "of the link")


INFLUX_ACTS: dict[str, Callable[[World, Life, str, Random], bool]] = {
    "influx_away": _trouble,
    "influx_slow": _trouble,
    "influx_unheard": _trouble,
    "influx_poison": _trouble,
    "influx_death": _death,
}
