"""The self-test of an environment: its configuration, some seconds of paper trading, the health of what runs.

Nothing is deployed and nothing of the environment is touched; a daemon that runs there goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tradefan.client import FAILED, USAGE
from tradefan.environment import Environment
from tradefan.errors import Outage
from tradefan.probe import probe
from tradefan.rehearsal import Rehearsal
from tradefan.stores.journal import judge_wired

Say = Callable[[str], None]


def self_test(environment: Environment, seconds: float, say: Say, *, health: bool = True) -> int:
    """Say a line for each part; return 0, or the exit code of the first that failed.

    What stands in front of a deployment leaves `health` out: a daemon that is sick may need just that.

    Raises:
        Refused: BAD_STRATEGY, or what the journal needs and the configuration lacks.
    """
    parts = (_configuration, _rehearsal, _health) if health else (_configuration, _rehearsal)
    codes = [code for part in parts for code in part(environment, seconds, say)]
    return next((code for code in codes if code), 0)


def _configuration(environment: Environment, _seconds: float, say: Say) -> Iterator[int]:
    environment.check_strategies()
    judge_wired(str(environment.places.journal), environment.wired())
    missing = environment.missing_to_run()
    for lack in missing:
        say(f"configuration  to run, {environment.name} lacks {lack}")
    if not missing:
        say(f"configuration  ok, {environment.loaded.config_id}")
    yield USAGE if missing else 0


def _rehearsal(environment: Environment, seconds: float, say: Say) -> Iterator[int]:
    rehearsal = Rehearsal(environment)
    if not rehearsal.possible:
        say("rehearsal      not rehearsable: no feed of this configuration is in the packaged recording")
        yield 0
        return
    try:
        with rehearsal as daemon:
            if daemon.left_out:
                say(f"rehearsal      without {', '.join(daemon.left_out)}, which the recording does not have")
            ready_s = daemon.until_ready()
            status = daemon.trade(seconds)
            daemon.stop()
    except Outage as why:
        say(f"rehearsal      FAILED: {why}")
        yield FAILED
        return
    live = sum(feed["quality"] == "LIVE" for feed in status["feeds"])
    say(
        f"rehearsal      ok, ready after {ready_s:.1f} s, {seconds:g} s of paper trading:"
        f" an order {status['order']}, {status['fills']['total']} fills,"
        f" {live} of {len(status['feeds'])} feeds LIVE, stopped in order"
    )
    yield 0


def _health(environment: Environment, _seconds: float, say: Say) -> Iterator[int]:
    running = environment.places.running()
    if running is None:
        say(f"health         no daemon of {environment.name} runs here")
        return
    code, text = probe(running.url)
    say(f"health         {f'FAILED: {text}' if code else f'ok, {text} (pid {running.pid})'}")
    yield code
