"""Makes the flight recorder of a daemon: where it writes, how much, and what a replay has to know."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from tradefan import __version__
from tradefan.config.schema import Config
from tradefan.drivers.machines import TimedMachine
from tradefan.environment import Environment
from tradefan.errors import Outage
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import BrokenTurn
from tradefan.stores.recorder import FlightRecorder, RecorderLimits
from tradefan.stores.segments import FORMAT, Head
from tradefan.units import SECOND
from tradefan.venues.paper import PaperVenue
from tradefan.wiring import account_port, encode_config


def make_recorder(
    environment: Environment,
    kernel: Kernel,
    machines: Mapping[str, TimedMachine],
    broken: list[BrokenTurn],
    *,
    log: Callable[..., None],
    secrets: Callable[[], Sequence[str]],
) -> FlightRecorder | None:
    """Return the recorder of a daemon that is about to start; what `secrets` says never reaches its files.

    None where the configuration wants none.
    """
    places, config = environment.places, environment.loaded.config
    if not config.recorder.enabled:
        return None
    at = datetime.fromtimestamp(kernel.state.now_ns // SECOND, UTC)
    run = f"{at:%Y%m%dT%H%M%S}.{kernel.state.now_ns % SECOND // 1_000:06d}Z"
    config_id = kernel.state.config_id
    instance = places.instance()

    def head(number: int, step: int) -> Callable[[], bytes]:
        # Now, as the snapshot is: another configuration may wire others before the thread asks.
        instruments = tuple(kernel.system.made_of.values())
        saved = {name: _saved(machines.get(account_port(name))) for name in config.accounts}
        return lambda: msgspec.msgpack.encode(
            Head(
                format=FORMAT,
                run=run,
                number=number,
                first_step=step,
                version=__version__,
                python=platform.python_version(),
                code=program_hash(),
                strategies=environment.code,
                environment=environment.name,
                config_id=config_id,
                instruments=instruments,
                instance=instance,
                journal=str(places.journal.absolute()),
                accounts={name: state for name, state in saved.items() if state is not None},
            )
        )

    return FlightRecorder(
        places.recorder,
        run,
        kernel,
        head=head,
        encode_config=encode_config,
        limits=lambda: limits_of(kernel.config),
        broken=broken,
        log=log,
        secrets=secrets,
    )


def limits_of(config: Config) -> RecorderLimits:
    """Return what a configuration lets the recorder keep."""
    one = config.recorder
    return RecorderLimits(
        segment_bytes=one.segment_size,
        segment_ns=one.segment_time,
        total_bytes=one.size_max,
        age_ns=one.age_max,
        flush_ns=one.flush_interval,
        queue_bytes=one.queue_max,
        disk_free_min=config.journal.disk_free_min,
    )


@cache
def program_hash() -> str:
    """Return a hash of the program's own files: another one may decide otherwise.

    They are read once, for they may be replaced while we run.
    """
    total, root = blake2b(digest_size=8), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _saved(machine: TimedMachine | None) -> bytes | None:
    """Return what a paper account holds, None for another one, or while its file cannot be read."""
    if not isinstance(machine, PaperVenue):
        return None
    try:
        return msgspec.msgpack.encode(machine.saved())
    except Outage:
        return None
