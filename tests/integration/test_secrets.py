"""I-34: no secret is in anything that a daemon writes or answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess
from tests.services.influx import Influxd
from tests.services.redis import RedisServer
from tests.unit.stores.made import head
from tradefan.runtime.recording import HEAD, SNAPSHOT, STEPS, pack_chunk
from tradefan.stores.segments import ENDING, Segment

pytestmark = pytest.mark.slow

CANARY = 'canary "7f3a" ä'
"""With signs that encoders spell in different ways."""
PAGES = ("/status", "/metrics", "/health", "/ready", "/api/v1/orders", "/api/v1/plugins")


@pytest.mark.parametrize("right", [True, False], ids=["right password", "wrong password"])
def test_secrets_when_the_daemon_has_run_then_nothing_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, right: bool
) -> None:
    """Journal, stores, recordings, logs, console, versions, answers: also where a service refuses them."""
    monkeypatch.setenv("TF_TEST_PASSWORD", CANARY)
    with Influxd(tmp_path / "influx", auth=True) as server, RedisServer(tmp_path / "redis") as redis:
        known = CANARY if right else "another"
        server.ask(f"CREATE USER tf WITH PASSWORD '{known}' WITH ALL PRIVILEGES")
        redis.ask("CONFIG", "SET", "requirepass", known)
        monkeypatch.setenv("TF_TEST_USER", "tf")
        daemon = DaemonProcess(
            tmp_path / "daemon",
            f"influx.url={server.url}",
            "influx.username=${TF_TEST_USER}",
            "influx.password=${TF_TEST_PASSWORD}",
            f"redis.url={redis.url}",
            "redis.password=${TF_TEST_PASSWORD}",
        )
        daemon.start()
        try:
            daemon.until_ready()
            word = "written" if right else "failing"
            daemon.until(lambda: all(_store(daemon, name)[word] for name in ("influx", "redis")), 30)
            daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})
            (daemon.config / "local.yaml").write_text("risk: {max_order_notional: 1234}\n")
            daemon.until(lambda: daemon.status()["config"]["version"] == 2, 10)
            answers = {page: json.dumps(daemon.ask(page)[1]) for page in PAGES}
            assert daemon.end()[0] == 0
        finally:
            daemon.close()
    token = (daemon.data / "token").read_text().strip()
    assert len(token) > 30
    for secret in (CANARY, token):
        for spelling in _spellings(secret):
            _absent(daemon.folder, spelling, but=daemon.data / "token")
            assert [page for page, text in answers.items() if spelling.decode() in text] == []


def _store(daemon: DaemonProcess, name: str) -> dict[str, object]:
    return next(one for one in daemon.status()["stores"] if one["name"] == name)


def _spellings(secret: str) -> set[bytes]:
    """Return a secret as plain text and as JSON has it."""
    return {
        secret.encode(),
        json.dumps(secret)[1:-1].encode(),
        json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
    }


def _absent(folder: Path, secret: bytes, *, but: Path) -> None:
    found = [path for path in folder.rglob("*") if path.is_file() and path != but and _has(path, secret)]
    assert found == []


def _has(path: Path, secret: bytes) -> bool:
    """Look into what is compressed, too."""
    parts = [path.read_bytes()]
    if path.suffix == ENDING:
        segment = Segment(path)
        parts += [segment._content(place) for place in segment._places]
    return any(secret in part for part in parts)


def test_search_when_a_chunk_of_a_recording_has_a_secret_then_found(tmp_path: Path) -> None:
    """The chunks are compressed: the file's own bytes show nothing."""
    path = tmp_path / f"x{ENDING}"
    kinds = ((HEAD, head(1, 0)()), (SNAPSHOT, b"s"), (STEPS, CANARY.encode() * 3))
    path.write_bytes(b"".join(pack_chunk(kind, content, 0, 0) for kind, content in kinds))
    assert CANARY.encode() not in path.read_bytes()
    with pytest.raises(AssertionError):
        _absent(tmp_path, CANARY.encode(), but=tmp_path)
