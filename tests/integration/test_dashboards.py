"""Every query of every dashboard, asked of a real Prometheus and InfluxDB beside a daemon that trades."""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tradefan
from tests.dashboards.asking import Answer, Servers, ask, table
from tests.dashboards.files import FOLDER
from tests.integration.daemon_process import DaemonProcess
from tests.services.influx import Influxd
from tests.services.prometheus import Prometheus
from tests.services.redis import RedisServer
from tests.services.server import require
from tradefan.units import SECOND

pytestmark = pytest.mark.slow

RECORDED = Path(tradefan.__file__).parent / "recordings" / "binance-ws-20240808"
SOON_FINAL = Path(__file__).parent / "soon_final.py"
FILLED_S = 120
"""Until then everything is there: what is traded is final, and rates have two samples."""
WISHES = (
    {"side": "buy", "quantity": "0.02"},
    {"side": "buy", "quantity": "0.3", "algo": "twap", "settings": {"duration": "10s", "slices": 2}},
    {"side": "buy", "quantity": "0.1", "algo": "limit", "limit_price": "55000"},
    {
        "side": "buy",
        "quantity": "0.2",
        "algo": "iceberg",
        "limit_price": "62500",
        "settings": {"display": "0.1"},
    },
    {"side": "buy", "quantity": "1000", "algo": "market"},
)
"""One of each kind, one that rests, and one that is refused."""


class SoonFinal(DaemonProcess):
    """A daemon whose analyses need not be awaited for five minutes."""

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", str(SOON_FINAL), *words, "--config", str(self.config)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Let a daemon trade by several algorithms, with everything that may be configured."""
    require("prometheus")
    folder = tmp_path_factory.mktemp("dashboards")
    (folder / "daemon").mkdir()
    with Influxd(folder / "influx") as influx, RedisServer(folder / "redis") as redis:
        daemon = SoonFinal(
            folder / "daemon",
            f"influx.url={influx.url}",
            f"redis.url={redis.url}",
            f"feeds.binance:ETH/USDT.tape={_with_a_hole(folder / 'tape')}",
            "notifiers={ops: {url: '${TF_TEST_URL}', level: critical}}",
        )
        with (
            pytest.MonkeyPatch.context() as patched,
            Prometheus(folder / "prometheus", daemon.port) as prometheus,
        ):
            patched.setenv("TF_TEST_URL", "http://127.0.0.1:1/nobody")
            daemon.start()
            try:
                daemon.until_ready()
                _trade(daemon)
                yield Servers(prometheus, influx)
            finally:
                daemon.close()


def _with_a_hole(folder: Path) -> Path:
    """Copy the market that comes with TradeFan, but for a trade that was made soon behind its history."""
    folder.mkdir()
    for file in sorted(RECORDED.glob("spot_ethusdt_*.gz")):
        lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
        late_ns = int(lines[0].split()[0]) + 320 * SECOND
        lost = next(
            (i for i, line in enumerate(lines) if b"@trade" in line and int(line.split()[0]) > late_ns), None
        )
        if lost is not None:
            del lines[lost]
        (folder / file.name).write_bytes(gzip.compress(b"".join(lines), 1))
    return folder


def _trade(daemon: DaemonProcess) -> None:
    codes, ids = [], []
    for wish in WISHES:
        code, answer = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", **wish})
        codes.append(code)
        ids.append(answer.get("parent_id", ""))
    assert codes == [201, 201, 201, 201, 422], codes
    assert daemon.run("order", "cancel", ids[2]).returncode == 0


def test_dashboards_when_everything_is_asked_then_nothing_is_empty_or_wrong(servers: Servers) -> None:
    """Variables, panels and marks, as Grafana asks them; `-s` shows the table."""
    deadline = time.monotonic() + FILLED_S
    while True:
        answers = asked(servers)
        bad = [one for one in answers if not one.good]
        if not bad or time.monotonic() > deadline:
            break
        time.sleep(5)
    sys.stdout.write(f"\n{table(answers)}\n")
    assert not bad, f"{len(bad)} of {len(answers)} show nothing:\n{table(bad)}"


def test_dashboards_when_one_value_of_each_variable_is_chosen_then_no_query_is_wrong(
    servers: Servers,
) -> None:
    """What is chosen may have nothing to show; a name with a slash or a dot must not break a query."""
    wrong = [one for one in asked(servers, first=True) if one.error]
    assert not wrong, table(wrong)


def test_queries_when_wrong_or_empty_then_named(servers: Servers) -> None:
    """The tests above see what they should."""
    panels = [
        {"title": title, "gridPos": {"w": 8}, "targets": [{"datasource": {"type": source}, **target}]}
        for title, source, target in (
            ("no metric", "prometheus", {"expr": "tradefan_nothing", "instant": True}),
            ("no number", "prometheus", {"expr": "vector(0) / 0", "instant": True}),
            ("no PromQL", "prometheus", {"expr": "sum(", "instant": False}),
            ("no variable", "prometheus", {"expr": "rate(up[$__nothing])", "instant": False}),
            ("no field", "influxdb", {"query": 'SELECT "nothing" FROM "fills" WHERE $timeFilter'}),
            ("no InfluxQL", "influxdb", {"query": "SELECT FROM WHERE"}),
        )
    ]
    broken = {
        "title": "broken",
        "time": {"from": "now-1h"},
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": panels,
    }
    answers = [*ask(broken, servers, time.time())]
    assert [one.panel for one in answers if not one.good] == [panel["title"] for panel in panels]
    assert [one.panel for one in answers if one.error] == ["no PromQL", "no variable", "no InfluxQL"]


def asked(servers: Servers, *, first: bool = False) -> list[Answer]:
    files = sorted(FOLDER.glob("*.json"))
    return [
        one for file in files for one in ask(json.loads(file.read_text()), servers, time.time(), first=first)
    ]
