"""The part `kills`: how long a real daemon takes to acknowledge a kill while a client trades."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct, field

from tests.chaos.load import Load
from tests.chaos.test_kill_cycles import SETS
from tests.integration.daemon_process import DaemonProcess
from tests.proof.figures import Kills, save
from tests.proof.stamp import Stamp, stamp, still
from tradefan.messages.records import Intent, Kill, Record, Resume
from tradefan.stores.kill_byte import ALL, KILL_END, killed

COUNT, SIGNALS = 200, 50
GONE_S = 20.0
BYTE_S = 5.0
FLIGHT_NS = 250_000_000
"""What had left before is taken by the venue within its latency, 50 ms one way, and a busy moment."""
KILLED_S = 0.4
"""So long nothing may rest before a resume."""
OPEN = "SELECT count(*) FROM orders WHERE status IN ('NEW', 'PARTIALLY_FILLED')"


class Seen(Struct):
    """What was seen of kills so far; `closed` are the spans from acknowledgement to resume, in wall ns."""

    api_ms: list[float] = field(default_factory=list)
    signal_ms: list[float] = field(default_factory=list)
    gone_ms: list[float] = field(default_factory=list)
    closed: list[tuple[int, int]] = field(default_factory=list)
    persisted: int = 0
    rested: int = 0


def run(place: Path, count: int, signals: int, say: Callable[[str], None]) -> None:
    """Kill and resume that often, by the API and by the signal."""
    begun = stamp(f"python -m tests.proof kills --kills {count} --signals {signals}", place)
    with TemporaryDirectory() as folder:
        figures = measure(begun, Path(folder), count, signals, say)
    still(begun, place)
    save(place, figures)


def measure(begun: Stamp, folder: Path, count: int, signals: int, say: Callable[[str], None]) -> Kills:
    """Return the figures of so many kills by the API and by the signal, in a daemon of their own."""
    daemon, seen, dice = DaemonProcess(folder, *SETS), Seen(), random.Random(1)
    # Shuffled, so that both ways meet the daemon at every age.
    ways = [kill_by_api] * count + [kill_by_signal] * signals
    dice.shuffle(ways)
    try:
        daemon.start().until_ready()
        load = Load(daemon, 1).start()
        for number, way in enumerate(ways, 1):
            time.sleep(dice.uniform(0.3, 0.9))
            kill_and_resume(daemon, seen, way)
            if number % 50 == 0:
                say(f"{number} of {len(ways)} kills")
        load.stop()
        code, _ = daemon.end(signal.SIGTERM)
        assert code == 0, daemon.console()
        accepted = [at_ns for (at_ns,) in daemon.paper("SELECT created_ns FROM orders")]
        behind = decided_behind(daemon.journal()) + accepted_behind(accepted, seen.closed)
    finally:
        daemon.close()
    return Kills(
        stamp=begun,
        api_ms=tuple(seen.api_ms),
        persisted=seen.persisted,
        signal_ms=tuple(seen.signal_ms),
        gone_ms=tuple(seen.gone_ms),
        orders=len(accepted),
        rested=seen.rested,
        behind=behind,
    )


def kill_and_resume(daemon: DaemonProcess, seen: Seen, way: Callable[[DaemonProcess, Seen], None]) -> None:
    """Kill in the midst of trading, see what rests go, and trade again."""
    seen.rested += resting(daemon)
    way(daemon, seen)
    acknowledged_ns = time.time_ns()
    seen.gone_ms.append(_ms(until_gone(daemon)))
    seen.closed.append((acknowledged_ns, time.time_ns()))
    code, answer = daemon.ask("/api/v1/resume", {"scope": "all", "reason": "proof"})
    assert code == 200, answer


def kill_by_api(daemon: DaemonProcess, seen: Seen) -> None:
    """Kill as `tradefan kill` does."""
    asked_s = time.perf_counter()
    code, answer = daemon.ask("/api/v1/kill", {"scope": "all", "reason": "proof"})
    seen.api_ms.append(_ms(time.perf_counter() - asked_s))
    assert code == 200, answer
    assert answer["closed"], answer
    seen.persisted += answer["persisted"]


def kill_by_signal(daemon: DaemonProcess, seen: Seen) -> None:
    """Kill as `tradefan kill` does where the API is silent; the byte is all that answers."""
    byte = daemon.data / f"journal.db{KILL_END}"
    asked_s = time.perf_counter()
    daemon.send(signal.SIGUSR2)
    while killed(byte.read_bytes()) != ALL:
        assert time.perf_counter() < asked_s + BYTE_S, "the kill byte says open"
        time.sleep(0.0005)
    seen.signal_ms.append(_ms(time.perf_counter() - asked_s))


def until_gone(daemon: DaemonProcess) -> float:
    """Wait until nothing has rested for a while; return how long something did, in seconds.

    What had left before the kill may reach the venue behind it, and is cancelled then.
    """
    began_s = time.perf_counter()
    last_s = now_s = 0.0
    while now_s < last_s + KILLED_S:
        if resting(daemon) > 0:
            last_s = now_s
        assert now_s < GONE_S, f"{resting(daemon)} orders still rest"
        time.sleep(0.005)
        now_s = time.perf_counter() - began_s
    return last_s


def resting(daemon: DaemonProcess) -> int:
    """Return how many orders rest, by the venue's own file."""
    ((count,),) = daemon.paper(OPEN)
    return int(count)


def decided_behind(records: tuple[Record, ...]) -> int:
    """Count the INTENTs that the journal has between a KILL of everything and its RESUME."""
    closed, found = False, 0
    for record in records:
        if isinstance(record, Kill | Resume) and record.scope == "all":
            closed = isinstance(record, Kill)
        elif isinstance(record, Intent):
            found += closed
    return found


def accepted_behind(accepted: list[int], closed: list[tuple[int, int]]) -> int:
    """Count the orders that the venue accepted when none could be on its way any more."""
    return sum(any(first + FLIGHT_NS < at < last for first, last in closed) for at in accepted)


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 2)
