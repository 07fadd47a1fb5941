"""Attacks the program that PYTHONPATH names: a line `FAULTS SEED` comes in, a line of JSON goes out.

A program of its own, so that a mutant never shares an interpreter with what judges it. It needs nothing
of the tests beside it.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from tradefan.sim.command import replay


def main() -> None:
    """Take the core-seconds that may be used and the hours of a seed as arguments, seeds as they come."""
    budget_s, hours = int(sys.argv[1]), float(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CPU, (budget_s, budget_s + 1))
    for line in sys.stdin:
        faults, seed = line.split()
        outcome = replay(int(seed), hours=hours, faults=faults)
        broken = outcome.violation
        seen = {
            "trace": outcome.trace,
            "violation": None if broken is None else [broken.invariant, broken.expected, broken.found],
            "core_s": time.process_time(),
        }
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
