"""What the flight recorder costs a message, as a share of the tick path of the same run; bytes a message.

The same recorded frames go through market data and two traders (as in tick_path.py), one a step: without
a recorder, and with the daemon's own; then the whole development system does. Blocks take turns, so that
both meet the machine in the same mood. Counted is the computing of the loop's thread; what the recorder's
own thread compresses meanwhile is another core's. A minute of the same system is then recorded and replayed.
Run: .venv/bin/python benchmarks/recorder.py
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tick_path import following_frames, ready_path
from tests.simulation.recorded import record
from tests.simulation.world import World, development, recordings
from tests.unit.stores.made import RUN, head
from tradefan.drivers.virtual import VirtualDriver
from tradefan.messages.wire import Received
from tradefan.runtime.kernel import Kernel
from tradefan.stores.recorder import FlightRecorder, RecorderLimits
from tradefan.stores.segments import segments_in
from tradefan.units import HOUR, SECOND, use_decimal_context

BLOCK = 200
ROUNDS = 12
SECONDS = 60


@contextmanager
def recording(kernel: Kernel, folder: Path) -> Iterator[FlightRecorder]:
    """Record a kernel as the daemon does."""
    limits = RecorderLimits(1 << 26, HOUR, 1 << 30, HOUR, SECOND, 1 << 25, 0)
    recorder = FlightRecorder(
        folder,
        RUN,
        kernel,
        head=head,
        encode_config=lambda _config: b"",
        limits=lambda: limits,
        broken=[],
        log=lambda *_, **__: None,
        secrets=lambda: ("a-token-as-long-as-a-real-one-is-made",),
    )
    with recorder:
        yield recorder


def block(driver: VirtualDriver, frames: list[Received], recorder: FlightRecorder | None) -> float:
    """Return the seconds of a block of frames, one a step."""
    kernel = driver.hosted.kernel
    ref, step, now_ns = kernel.refs["md"], kernel.step, kernel.state.now_ns
    start = time.thread_time()
    if recorder is None:
        for frame in frames:
            now_ns += 1_000
            step(now_ns, ((ref, frame),))
    else:
        record = recorder.record
        for frame in frames:
            now_ns += 1_000
            ingress = ((ref, frame),)
            step(now_ns, ingress)
            record(now_ns, ingress)
    return time.thread_time() - start


def compare(kind: bytes) -> tuple[float, float, float, float]:
    """Return seconds a frame without and with the recorder, bytes a frame before and behind compression."""
    bare, _ = ready_path(trace=False)
    traced, tape = ready_path(trace=True)
    frames = following_frames(traced, tape, kind)
    plain_s: list[float] = []
    recorded_s: list[float] = []
    folder = Path(tempfile.mkdtemp())
    gc.disable()
    with recording(traced.hosted.kernel, folder) as recorder:
        for at in range(0, len(frames) - BLOCK + 1, BLOCK):
            part = frames[at : at + BLOCK]
            plain_s.append(block(bare, part, None))
            recorded_s.append(block(traced, part, recorder))
    gc.enable()
    view = recorder.view()
    steps = max(view.steps, 1)
    size = sum(path.stat().st_size for path in segments_in(folder))
    return (
        statistics.median(plain_s) / BLOCK,
        statistics.median(recorded_s) / BLOCK,
        view.bytes_in / steps,
        size / steps,
    )


def wired() -> tuple[float, float]:
    """Return seconds a frame of the whole development system, without and with the recorder."""
    worlds = [
        World(development(), Path(tempfile.mkdtemp()), recordings(), trace=trace) for trace in (False, True)
    ]
    for world in worlds:
        world.driver.hosted.recorder = None
        world.run_until(world.ready, 60)
    spent: tuple[list[float], list[float]] = ([], [])
    gc.disable()
    with recording(worlds[1].kernel, Path(tempfile.mkdtemp())) as recorder:
        worlds[1].driver.hosted.recorder = recorder
        for _ in range(SECONDS):
            for world, found in zip(worlds, spent, strict=True):
                frames = world.view("market_data:binance").frames
                start = time.thread_time()
                world.run(1)
                seconds = time.thread_time() - start
                found.append(seconds / (world.view("market_data:binance").frames - frames))
    gc.enable()
    for world in worlds:
        world.crash()
    return statistics.median(spent[0]), statistics.median(spent[1])


def replayed() -> float:
    """Record a minute of the development system, replay it, and return its steps a second."""
    with tempfile.TemporaryDirectory() as folder:
        report = record(Path(folder), lambda world: world.run(SECONDS)).replay()
    if report.code:
        raise SystemExit(f"the recording does not replay: {report.divergence or report.raised}")
    return report.steps / report.replayed_s


def main() -> None:
    """Print the share, and bytes a message."""
    use_decimal_context()
    plain, recorded = wired()
    print(
        f"development system, a frame of any kind: {plain * 1e6:.1f} us, recorded {recorded * 1e6:.1f} us:"
        f" the recorder is {100 * (recorded - plain) / plain:.0f} % (goal under 20 %)"
    )
    print(f"replaying a minute of it: {replayed():,.0f} recorded steps/s   required 3,000")
    for name, kind in (("trade", b"@trade"), ("depth", b"@depth"), ("quote", b"@bookTicker")):
        found = [compare(kind) for _ in range(ROUNDS)]
        plain, recorded, bytes_in, bytes_out = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        print(
            f"{name} frame: tick path {plain * 1e6:.2f} us, recorded {recorded * 1e6:.2f} us:"
            f" the recorder is {100 * (recorded - plain) / plain:.0f} % of the tick path (goal under 20 %);"
            f" {bytes_in:.0f} bytes a message, {bytes_out:.0f} compressed, the snapshot's share included"
        )


if __name__ == "__main__":
    main()
