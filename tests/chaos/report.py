"""Where chaos tests leave their numbers, for tables: a JSON line each in TRADEFAN_CHAOS_REPORT."""

from __future__ import annotations

import json
import os
from pathlib import Path


def report(experiment: str, **numbers: object) -> None:
    """Add a line where the variable names a file; else nobody wants them."""
    path = os.environ.get("TRADEFAN_CHAOS_REPORT")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"experiment": experiment, **numbers}) + "\n")
