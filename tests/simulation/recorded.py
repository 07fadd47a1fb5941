"""A world in virtual time with the daemon's own flight recorder, as `tradefan run` has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.world import AT_ONCE, ROOT, T0, World, recordings
from tradefan import __version__
from tradefan.drivers.turns import TurnBreaker
from tradefan.environment import Environment
from tradefan.flight import make_recorder, program_hash
from tradefan.replay.check import Asked, Report, Runs
from tradefan.replay.player import Played, Player
from tradefan.stores.recorder import FlightRecorder
from tradefan.stores.segments import segments_in
from tradefan.units import MINUTE, SECOND

TOKEN = "a-token-that-nobody-may-read-anywhere"
QUICK = ("recorder.segment_time=20s", "venues.binance.tape.history=20s", "logs.console=false", *AT_ONCE)


@dataclass
class Recorded:
    """A run that is over, and where its recording lies."""

    folder: Path
    world: World
    recorder: FlightRecorder
    logged: list[tuple[str, str]]

    @property
    def segments(self) -> list[Path]:
        """The files of the recording, in order."""
        return segments_in(self.folder / "logs" / "recorder")

    def asked(self, path: Path | None = None, **more: object) -> Asked:
        """Ask for a replay of all, or of one file."""
        return Asked(path or self.folder / "logs" / "recorder", program_hash(), "", **more)  # type: ignore[arg-type]

    def replay(
        self, path: Path | None = None, see: Callable[[Player, Played], None] | None = None, **more: object
    ) -> Report:
        """Replay, and return the report of the only run."""
        runs = Runs(self.asked(path, **more))
        (segments,) = runs.runs
        return runs.play(segments, see or (lambda _player, _played: None))


def record(
    folder: Path,
    play: Callable[[World], None],
    *sets: str,
    span_ns: int = 5 * MINUTE,
    history_ns: int = 20 * SECOND,
    start_ns: int = T0,
) -> Recorded:
    """Run a world with a recorder, let `play` do what it wants with it, end it; again in the same folder."""
    environment = Environment.load("development", ROOT / "config", (*QUICK, *sets, f"data_dir={folder}"))
    places, config = environment.places, environment.loaded.config
    places.root.mkdir(parents=True, exist_ok=True)
    world = World(
        config,
        folder,
        recordings(span_ns),
        history_ns=history_ns,
        start_ns=start_ns,
        trace=True,
        instance=places.instance(),
        version=__version__,
    )
    logged: list[tuple[str, str]] = []
    turns = TurnBreaker(60)
    # As under the live driver: its guard stands in the traceback of a strategy that raises.
    turns.watch(world.kernel)
    recorder = make_recorder(
        environment,
        world.kernel,
        world.machines,
        turns.noted,
        log=lambda level, event, **_fields: logged.append((level, event)),
        secrets=lambda: (TOKEN,),
    )
    assert recorder is not None
    world.driver.hosted.recorder = recorder
    recorder.start()
    play(world)
    recorder.close()
    world.crash()
    return Recorded(folder, world, recorder, logged)
