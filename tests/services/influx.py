"""A private influxd 1.x, and how a test asks it."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.services.server import Server, free_ports, require

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  auth-enabled = {auth}
[subscriber]
  enabled = false
"""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Influxd(Server):
    """InfluxDB on loopback; its data lies in `folder` and survives a restart."""

    def __init__(self, folder: Path, *, auth: bool = False) -> None:
        """Choose ports; skips where there is no influxd."""
        program = require("influxd")
        self.port, rpc = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.login: dict[str, str] = {}
        """Name and password as `u` and `p`, where the server asks for them."""
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "influx.conf"
        text = _CONFIG.format(rpc=rpc, port=self.port, folder=folder, auth=str(auth).lower())
        config.write_text(text, encoding="utf-8")
        super().__init__([program, "-config", str(config)], folder, self._ping)

    def ask(
        self, query: str, db: str = "tradefan", user: str = "", password: str = ""
    ) -> list[dict[str, Any]]:
        """Return the series of a query's answer; errors of the server are the test's."""
        who = urllib.parse.urlencode({"u": user, "p": password} if user else self.login)
        body = urllib.parse.urlencode({"q": query, "db": db, "epoch": "ns"}).encode()
        with _OPENER.open(f"{self.url}/query?{who}", data=body, timeout=60) as answer:
            (result,) = json.loads(answer.read())["results"]
        assert "error" not in result, result["error"]
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def points(self, measurement: str, db: str = "tradefan") -> list[dict[str, Any]]:
        """Return every point of a measurement, tags and fields together, in the order of time."""
        series = self.ask(f'SELECT * FROM "{measurement}"', db)
        return [dict(zip(one["columns"], row, strict=True)) for one in series for row in one["values"]]

    def count(self, measurement: str, field: str, db: str = "tradefan") -> int:
        """Return how many points have this field."""
        series = self.ask(f'SELECT count("{field}") FROM "{measurement}"', db)
        return int(series[0]["values"][0][1]) if series else 0

    def _ping(self) -> bool:
        try:
            with _OPENER.open(f"{self.url}/ping", timeout=1) as answer:
                return int(answer.status) == 204
        except OSError:
            return False
