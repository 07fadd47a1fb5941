"""Walks every case of the property tests with the program that PYTHONPATH names: the second judge of mutants.

Lines come in and go out as with `attack.py`; a seed is one walk of each case.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from tests.mutants.mutant import WALKS
from tests.property.walks import CASES, make
from tradefan.errors import traceback_of
from tradefan.sim.witness import DEFECT

STEPS = 400
"""Of each walk, which mostly ends before."""


def main() -> None:
    """Take the core-seconds that may be used as an argument, seeds as they come."""
    budget_s = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (budget_s, budget_s + 1))
    for line in sys.stdin:
        found = broken(int(line.split()[1]))
        seen = {"trace": "", "violation": found, "core_s": time.process_time()}
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()


def broken(seed: int) -> list[str] | None:
    """Return the first rule that a case breaks; what is no rule is the program that comes apart."""
    for name in CASES:
        try:
            make(name, seed, "sell" if seed % 2 else "buy").walk(STEPS)
        except AssertionError as error:
            return [WALKS, f"{name} to keep its rules", str(error) or traceback_of(error)[-400:]]
        except Exception as error:  # noqa: BLE001 whatever escapes is told with its seed
            return [DEFECT, f"{name} without an exception", traceback_of(error)[-400:]]
    return None


if __name__ == "__main__":
    main()
