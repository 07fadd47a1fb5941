"""A daemon that tells a receiver on loopback when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess
from tests.services.receiver import Receiver

pytestmark = pytest.mark.slow

PATH = "/hook/secret-token-7f3a"
TOKEN = "/bot123456:AAcanary7f3aTOKENofABot"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(PATH)
    yield made
    made.close()


def test_kill_when_a_notifier_is_configured_then_it_is_told_and_its_address_stays_secret(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a refused edit is told: whatever the log has of that level."""
    monkeypatch.setenv("TF_TEST_URL", receiver.url)
    daemon = DaemonProcess(tmp_path, "notifiers={ops: {url: '${TF_TEST_URL}', level: warning}}")
    daemon.start()
    try:
        daemon.until_ready()
        daemon.ask("/api/v1/kill", {"reason": "a test", "owner": "cli", "user": "tester"})
        daemon.until(lambda: any("kill" in one["event"] for one in receiver.got), 10)
        (daemon.config / "local.yaml").write_text("risk: {max_drawdown: lots}\n")
        daemon.until(lambda: any(one["event"] == "config_refused" for one in receiver.got), 10)
        metrics = daemon.ask("/metrics")[1]
        assert 'tradefan_notices_sent_total{actor="notifier:ops"}' in metrics
        daemon.end()
    finally:
        daemon.close()
    assert {one["path"] for one in receiver.got} == {PATH}
    assert {one["where"] for one in receiver.got} == {"TradeFan development"}
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and PATH.encode() in path.read_bytes()]
    assert holders == []


def test_notice_when_the_receiver_repeats_its_address_then_no_token_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot whose token was taken back, a proxy before it: the answer is in the log, and not what we sent."""
    receiver = Receiver(TOKEN, knows=False)
    monkeypatch.setenv("TF_TEST_URL", receiver.url)
    words = "kind: telegram, url: '${TF_TEST_URL}', chat: '1', level: warning"
    daemon = DaemonProcess(tmp_path, f"notifiers={{ops: {{{words}}}}}")
    daemon.start()
    try:
        daemon.until_ready()
        (daemon.config / "local.yaml").write_text("risk: {max_drawdown: lots}\n")
        line = daemon.logged("notice_lost", 30)[0]
        daemon.end()
    finally:
        daemon.close()
        receiver.close()
    assert {one["path"] for one in receiver.got} == {f"{TOKEN}/sendMessage"}
    assert line["reason"].startswith("404 Cannot POST ***")
    secret = TOKEN.partition(":")[2].encode()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()] == []
