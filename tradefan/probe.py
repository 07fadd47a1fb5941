"""Ask a daemon how it is, with nothing but the standard library: the health check of a container.

It runs every few seconds beside the daemon, so it imports neither the configuration nor the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 3.0
FAILED, NOT_RUNNING, NOT_READY = 1, 3, 4
"""The exit codes of the command line."""

# A proxy in the environment is not meant for the daemon, which listens on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(words: Sequence[str] | None = None) -> int:
    """Print one line on how a daemon is; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tradefan.probe", description="Ask a daemon how it is.")
    parser.add_argument("--url", default=os.environ.get("TRADEFAN_URL", ""), help="its address")
    parser.add_argument("--data", default=os.environ.get("TRADEFAN__DATA_DIR", ""), help="else its directory")
    parser.add_argument("--pid", type=int, help="with --data: only the daemon with this pid is meant")
    parser.add_argument("--ready", action="store_true", help="whether it takes orders, not whether it lives")
    given = parser.parse_args(words)
    code, text = probe(given.url or announced(Path(given.data), given.pid), ready=given.ready)
    sys.stdout.write(f"{text}\n")
    return code


def announced(data: Path, pid: int | None = None) -> str:
    """Return the address that a daemon wrote into its directory; nothing where it wrote none.

    A file that an earlier daemon left behind names another pid.
    """
    try:
        record = json.loads((data / "daemon.json").read_bytes())
        return str(record["url"]) if pid in (None, record["pid"]) else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def probe(url: str, *, ready: bool = False) -> tuple[int, str]:
    """Return an exit code and a line: the address of a daemon that is well, else what is wrong."""
    if not url:
        return NOT_RUNNING, "it has not opened its port"
    url = url.rstrip("/")
    try:
        answer = _ask(url, "/ready" if ready else "/health")
        return _ready(url, answer) if ready else _health(url, answer)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        # Whatever listens there may be no daemon at all, and answer anything.
        return NOT_RUNNING, f"{url} does not answer: {problem}"


def _ready(url: str, answer: dict[str, Any]) -> tuple[int, str]:
    if answer["ready"]:
        return 0, url
    waiting = ", ".join(f"{name} ({state})" for name, state in answer["waiting"].items())
    return NOT_READY, f"waiting for {waiting}"


def _health(url: str, answer: dict[str, Any]) -> tuple[int, str]:
    if answer["status"] == "ok":
        return 0, url
    bad = [name for name, check in answer["checks"].items() if check["status"] != "ok"]
    return FAILED, f"{url} is {answer['status']}: {', '.join(bad)}"


def _ask(url: str, path: str) -> dict[str, Any]:
    """Return the JSON of an answer, also of one that says no."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("expected a URL that begins with http:// or https://")
    try:
        with _OPENER.open(url + path, timeout=TIMEOUT_S) as answer:
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        found = json.loads(error.read())
    if not isinstance(found, dict):
        raise TypeError("expected a JSON object")
    return found


if __name__ == "__main__":
    sys.exit(main())
