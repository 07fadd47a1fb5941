"""`python -m tests.proof PART`: runs parts of the proof, stores their figures and writes RELIABILITY.md."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.mutants.run import at_least
from tests.proof import kills, mutants, recovery, seeds
from tests.proof.figures import Proof, load_all
from tests.proof.promises import read
from tests.proof.render import page
from tests.proof.stamp import PAGE, PLACE, Stamp, code_of, is_kept
from tradefan.errors import Defect, Refused

HOURS_MIN = 0.07
"""A minute with faults and three to heal; no world is shorter."""
PARTS = ("all", "seeds", "mutants", "kills", "recovery", "render")
FAILED, REFUSED = 1, 2
_BROKEN = (Defect, AssertionError)
"""A process of a seed died, or a daemon did not do what it should."""


def main(words: list[str]) -> int:
    """Run a part; return 1 where it found what breaks a promise, 2 where it cannot run."""
    asked = _parser().parse_args(words)
    if asked.page is None:
        asked.page = PAGE if is_kept(asked.place) else asked.place / PAGE.name
    say = partial(print, flush=True)
    try:
        failures = _all(asked, say) if asked.part == "all" else _one(asked.part, asked, say)
        render(asked.place, asked.page)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return REFUSED
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    return FAILED if failures else 0


def render(place: Path, where: Path) -> None:
    """Write the page."""
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(page(read(), load_all(place)), encoding="utf-8")


def _all(asked: argparse.Namespace, say: Callable[[str], None]) -> list[str]:
    """Run every part that lacks figures of this code; what is wrong with one keeps none from running."""
    failures = _try("seeds", asked, say, _BROKEN)
    for part, stored in _stored(load_all(asked.place), asked):
        if stored is not None and stored.commit == code_of("HEAD"):
            say(f"{part}: stored for this code already")
            failures += _judge(part, asked.place)
        else:
            failures += _try(part, asked, say, (*_BROKEN, Refused))
        render(asked.place, asked.page)
    return failures


def _try(
    part: str, asked: argparse.Namespace, say: Callable[[str], None], kinds: tuple[type[Exception], ...]
) -> list[str]:
    """Run a part; what ends it in its midst is told like what it finds."""
    try:
        return _one(part, asked, say)
    except kinds as error:
        return [f"{part}: {error}"]


def _stored(proof: Proof, asked: argparse.Namespace) -> list[tuple[str, Stamp | None]]:
    """Return the stamps of parts, None of one that has fewer figures than are asked for."""
    kills, recovery = proof.kills, proof.recovery
    if kills is not None and (len(kills.api_ms) < asked.kills or len(kills.signal_ms) < asked.signals):
        kills = None
    if recovery is not None and (len(recovery.plain) < asked.starts or len(recovery.large) < asked.large):
        recovery = None
    parts = (("mutants", proof.mutants), ("kills", kills), ("recovery", recovery))
    return [(name, None if found is None else found.stamp) for name, found in parts]


def _one(part: str, asked: argparse.Namespace, say: Callable[[str], None]) -> list[str]:
    if part == "seeds":
        wanted = seeds.Asked(asked.first, asked.count, asked.hours, asked.jobs, asked.chunk)
        seeds.run(asked.place, wanted, say)
    elif part == "mutants":
        mutants.run(asked.place, asked.file)
    elif part == "kills":
        kills.run(asked.place, asked.kills, asked.signals, say)
    elif part == "recovery":
        recovery.run(asked.place, asked.starts, asked.large, say)
    return _judge(part, asked.place)


def _judge(part: str, place: Path) -> list[str]:
    """Return what the stored figures of a part say against a promise."""
    proof = load_all(place)
    found: list[str] = []
    if part == "seeds" and proof.seeds is not None:
        broken = [bad for chunk in proof.seeds.chunks for bad in chunk.violations]
        found += [f"seed {bad.seed} violates {bad.invariant}" for bad in broken]
        found += [f"{kind} never struck: no seed shows anything of it" for kind in seeds.silent(proof.seeds)]
    if part == "mutants" and proof.mutants is not None:
        results = proof.mutants.results
        for which, some in (("", results), (" by the simulator", mutants.of_seeds(results))):
            share = mutants.share(some) if some else 1.0
            if share < mutants.SHARE_MIN:
                found.append(f"mutants killed{which}: expected {mutants.SHARE_MIN:.0%}, got {share:.1%}")
    if part == "kills" and proof.kills is not None and proof.kills.behind:
        found.append(f"{proof.kills.behind} orders were decided or accepted behind a kill")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("part", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--from", dest="first", type=at_least(0), default=1, help="seeds: the first")
    parser.add_argument("--count", type=at_least(1), default=seeds.COUNT, help="seeds: how many")
    parser.add_argument("--hours", type=_hours, default=seeds.HOURS, help="seeds: simulated hours of each")
    parser.add_argument("--jobs", type=at_least(1), default=2, help="seeds: processes")
    parser.add_argument(
        "--chunk", type=at_least(1), default=seeds.CHUNK, help="seeds: so many are stored together"
    )
    parser.add_argument("--file", type=Path, default=None, help="mutants: results that are there already")
    parser.add_argument("--kills", type=at_least(1), default=kills.COUNT, help="kills: by the API")
    parser.add_argument("--signals", type=at_least(1), default=kills.SIGNALS, help="kills: by SIGUSR2")
    parser.add_argument(
        "--starts", type=at_least(1), default=recovery.COUNT, help="recovery: kill -9 in trading"
    )
    parser.add_argument(
        "--large", type=at_least(1), default=recovery.LARGE, help="recovery: on a large journal"
    )
    parser.add_argument(
        "--place", type=Path, default=PLACE, help="folder of the figures; another may be dirty"
    )
    parser.add_argument("--page", type=Path, help="what is written; with another --place it stands there")
    return parser


def _hours(text: str) -> float:
    """Return the hours of a seed that an option names."""
    found = float(text)
    if not HOURS_MIN <= found < math.inf:
        raise argparse.ArgumentTypeError(f"expected at least {HOURS_MIN}, got {text}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
