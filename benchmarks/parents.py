"""What a thousand TWAP parents cost: CPU per parent and second, and the tick path beside them against none.

The whole daemon in virtual time on fifty instruments, each with the recorded frames of BTC/USDT; the same
seconds once without parents and once with them, in one process. CPU time, not wall time. Whole intervals of
the schedule are measured, from a boundary on: each parent decides once in each, and the first time before.
Run: .venv/bin/python benchmarks/parents.py [--parents N] [--instruments N] [--seconds N]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msgspec import Struct

from tests.simulation.world import ACCOUNT, RECORDINGS, World, development, recordings
from tradefan.messages.orders import Phase, SubmitOrder
from tradefan.messages.wire import Received
from tradefan.runtime.kernel import Stepped
from tradefan.runtime.system import Ingress
from tradefan.units import SECOND, InstrumentId, OwnerId, use_decimal_context
from tradefan.venues.tape import Recording

PARENTS, INSTRUMENTS, SECONDS = 1_000, 50, 60
QTY = Decimal("0.02")
DURATION = "10m"
INTERVAL_S = 30
"""Between two decisions of a parent; a jitter makes them later, and never so late as the next boundary."""
SOURCE = "BTCUSDT"
AT_ONCE = 40
"""Wishes sent together: the owner's rate is per second."""
SETS = (
    "strategies.rebalance_btc=null",
    "strategies.ema_cross_eth=null",
    "risk.instruments.binance:ETH/USDT=null",
    "feeds.binance:BTC/USDT=null",
    "feeds.binance:ETH/USDT=null",
    "accounts.paper:main.balances.USDT=1000000000",
    "risk.orders_per_second=1000",
    "risk.max_position_notional=1000000000",
    "risk.max_exposure=1",
    "risk.max_concentration=1",
)


class Spent(Struct):
    """CPU seconds and how many steps: of frames of the market, and of all else."""

    frames: int = 0
    on_frames: float = 0.0
    steps: int = 0
    on_others: float = 0.0


def bases(count: int) -> list[str]:
    """Name the base assets."""
    return [f"A{number:02}" for number in range(count)]


def exchange_info(names: Sequence[str]) -> bytes:
    """Return rules as those of BTC/USDT for every name."""
    whole = json.loads((RECORDINGS / "instruments.json").read_bytes())
    rules = next(one for one in whole["symbols"] if one["symbol"] == SOURCE)
    whole["symbols"] = [{**rules, "symbol": f"{name}USDT", "baseAsset": name} for name in names]
    return json.dumps(whole).encode()


def renamed(source: Recording, name: str) -> Recording:
    """Return a recording under another symbol."""
    symbol = f"{name}USDT"

    def frames() -> Iterator[tuple[int, bytes]]:
        for at_ns, raw in source.frames():
            yield at_ns, _renamed(raw, symbol)

    return Recording(symbol, frames, _renamed(source.snapshot, symbol), source.first_ns, source.last_ns)


def _renamed(raw: bytes, symbol: str) -> bytes:
    return raw.replace(SOURCE.encode(), symbol.encode()).replace(
        SOURCE.lower().encode(), symbol.lower().encode()
    )


def world(names: Sequence[str], folder: str) -> World:
    """Return a daemon that is ready."""
    feeds = (f"feeds.binance:{name}/USDT.bars.1m=true" for name in names)
    source = recordings()[SOURCE]
    tape = {f"{name}USDT": renamed(source, name) for name in names}
    made = World(
        development(*SETS, *feeds),
        Path(folder),
        tape,
        history_ns=SECOND,
        orders_max=100_000,
        exchange_info=exchange_info(names),
    )
    made.run_until(made.ready, 60)
    return made


def timed(made: World, seconds: int) -> Spent:
    """Go on for so long and return what it cost."""
    spent, step, market = Spent(), made.kernel.step, made.kernel.refs["market_data:binance"]

    def measured(now_ns: int, ingress: Sequence[Ingress] = ()) -> Stepped:
        frames = sum(ref == market and isinstance(msg, Received) for ref, msg in ingress)
        start = time.process_time()
        stepped = step(now_ns, ingress)
        cost = time.process_time() - start
        if frames:
            spent.frames, spent.on_frames = spent.frames + frames, spent.on_frames + cost
        else:
            spent.steps, spent.on_others = spent.steps + 1, spent.on_others + cost
        return stepped

    made.kernel.step = measured  # type: ignore[method-assign]
    made.run(seconds)
    made.kernel.step = step  # type: ignore[method-assign]
    return spent


def submit(made: World, names: Sequence[str], count: int) -> None:
    """Submit the parents, spread over all instruments, and let them be accepted."""
    for first in range(0, count, AT_ONCE):
        for number in range(first, min(first + AT_ONCE, count)):
            wish = SubmitOrder(
                account=ACCOUNT,
                instrument=InstrumentId(f"binance:{names[number % len(names)]}/USDT"),
                owner=OwnerId("cli"),
                ref=str(number),
                side="buy",
                order_qty=QTY,
                algo="twap",
                settings={"duration": DURATION, "interval": f"{INTERVAL_S}s"},
            )
            made.send("oms", wish)
        made.run(0.05)


def measured(parents: int, instruments: int, seconds: int) -> Spent:
    """Return what some seconds cost with so many parents at work; with none the same time has passed."""
    names = bases(instruments)
    with tempfile.TemporaryDirectory() as folder:
        made = world(names, folder)
        boundary_ns = made.driver.now_ns + INTERVAL_S * SECOND
        submit(made, names, parents)
        assert made.driver.now_ns <= boundary_ns, f"expected {parents} parents within one interval"
        made.driver.run_until(boundary_ns)
        require_work(made, parents)
        spent = timed(made, seconds)
        require_work(made, parents)
        made.crash()
    return spent


def require_work(made: World, parents: int) -> None:
    """Fail where a parent was refused, has ended or waits: it would cost nothing."""
    # The picture of the order manager shows only so many of them.
    phases = Counter(one.phase for one in made.store.parents(limit=parents))
    assert phases[Phase.WORKING] == parents, f"expected {parents} parents at work, got {dict(phases)}"


def main() -> None:
    """Print costs and ratio."""
    use_decimal_context()
    words = argparse.ArgumentParser(description=__doc__)
    for name, default in (("parents", PARENTS), ("instruments", INSTRUMENTS), ("seconds", SECONDS)):
        words.add_argument(f"--{name}", type=int, default=default)
    given = words.parse_args()
    if given.seconds < 2 * INTERVAL_S or given.seconds % INTERVAL_S:
        words.error(f"--seconds: expected whole intervals of {INTERVAL_S}, at least two, got {given.seconds}")
    run = partial(measured, instruments=given.instruments, seconds=given.seconds)
    without, beside = run(0), run(given.parents)
    alone, with_them = (one.on_frames / max(one.frames, 1) * 1e6 for one in (without, beside))
    more = beside.on_frames + beside.on_others - without.on_frames - without.on_others
    each = more / (given.parents * given.seconds) * 1e6
    print(
        f"{given.parents} TWAP parents at work over {given.instruments} instruments,"
        f" {given.seconds} virtual seconds: {given.seconds // INTERVAL_S} decisions of each"
    )
    print(f"CPU per parent and second: {each:.1f} us ({more:.2f} s in all)")
    ratio = with_them / alone
    print(f"tick path: {alone:.1f} us a frame, {with_them:.1f} us beside them: {ratio:.2f}x   goal below 2")


if __name__ == "__main__":
    main()
