"""A private Prometheus and a private Alertmanager with the shipped files, and how a test asks them."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.services.server import Server, free_ports, require

CONFIG = Path(__file__).resolve().parents[2] / "config"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus(Server):
    """Scrapes the daemon at a port every 5 s, and evaluates the shipped rules."""

    def __init__(self, folder: Path, daemon_port: int, alertmanager_port: int = 9) -> None:
        """Choose a port; skips where there is no prometheus. Nobody listens at the default Alertmanager."""
        program = require("prometheus")
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.target = f"127.0.0.1:{daemon_port}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "prometheus.yml"
        swaps = {"127.0.0.1:8000": self.target, "127.0.0.1:9093": f"127.0.0.1:{alertmanager_port}"}
        config.write_text(_rewritten(CONFIG / "prometheus.yml", swaps), encoding="utf-8")
        shutil.copytree(CONFIG / "alerts", folder / "alerts", dirs_exist_ok=True)
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        super().__init__(command, folder, lambda: _is_up(f"{self.url}/-/ready"))

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an answer under /api/v1; errors of the server are the test's."""
        answer = get_json(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return what an expression is now."""
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found


class Alertmanager(Server):
    """Tells a receiver what the shipped file has it tell."""

    def __init__(self, folder: Path, receiver_port: int) -> None:
        """Choose a port; skips where there is none."""
        program = require("prometheus-alertmanager", "alertmanager")
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "alertmanager.yml"
        swaps = {"127.0.0.1:9095": f"127.0.0.1:{receiver_port}"}
        config.write_text(_rewritten(CONFIG / "alertmanager.yml", swaps), encoding="utf-8")
        command = [
            program,
            f"--config.file={config}",
            f"--storage.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        super().__init__(command, folder, lambda: _is_up(f"{self.url}/-/ready"))

    def raise_alerts(self, *labels: dict[str, str]) -> None:
        """Raise alerts as Prometheus would."""
        body = json.dumps([{"labels": one} for one in labels]).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", body, {"Content-Type": "application/json"}
        )
        with _OPENER.open(request, timeout=10) as answer:
            assert answer.status == 200

    def states(self) -> dict[str, str]:
        """Return by alert whether it is told (`active`) or not (`suppressed`)."""
        found = get_json(f"{self.url}/api/v2/alerts")
        return {one["labels"]["alertname"]: one["status"]["state"] for one in found}


def get_json(url: str) -> Any:
    """Return the JSON of an address; of a refusal, too."""
    try:
        with _OPENER.open(url, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return json.loads(error.read())


def _rewritten(file: Path, swaps: dict[str, str]) -> str:
    """Return a shipped file with other addresses, each of which has to be in it."""
    text = file.read_text(encoding="utf-8")
    for shipped, other in swaps.items():
        assert shipped in text, f"{file.name} has no {shipped} any more"
        text = text.replace(shipped, other)
    return text


def _is_up(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=1) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
