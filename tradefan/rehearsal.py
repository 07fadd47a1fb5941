"""Paper trading for some seconds beside everything, with an environment's own configuration and strategies.

What it would touch outside is taken away: its data lie in a temporary folder, the API listens on a free port,
the market is the recording that comes with TradeFan, real accounts become paper, servers and notifiers are
left out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from tradefan import scaffold
from tradefan.client import Client, Unanswered, read_token
from tradefan.config.check import PAPER, matching_feeds
from tradefan.config.schema import Config, StrategyConfig, TapeConfig
from tradefan.environment import Environment
from tradefan.errors import Outage
from tradefan.links.tape import open_recordings
from tradefan.market_tape import recordings_dir
from tradefan.messages.orders import TERMINAL, OrderStatus
from tradefan.probe import announced, probe

READY_S = 60.0
STOP_S = 20.0
LOOK_S = 0.1
ORDER_QTY = Decimal("0.01")
"""Small for every limit, and enough for the least that a venue takes of the recorded instruments."""
STAGE = "testing"
"""Production refuses to run without a real account: the copy of its configuration goes by another name."""
ACCOUNT = f"{PAPER}:main"
BALANCE = 1_000_000
RECORDING = TapeConfig().recordings
SERVERS = ("influx", "redis")
JSON = dict[str, Any]


class Rehearsal:
    """A daemon in a process and a folder of its own, which go with it."""

    def __init__(self, environment: Environment) -> None:
        """Look at the configuration; nothing is written and nothing runs before `with`."""
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.left_out = tuple(_unrecorded(environment.loaded.config))
        self.possible = len(self.left_out) < len(environment.loaded.config.feeds)
        """Whether a feed is left to trade on."""

    def __enter__(self) -> Self:
        """Start the daemon."""
        self._folder = Path(tempfile.mkdtemp(prefix="tradefan-rehearsal-"))
        self._data = self._folder / "data"
        _copy(self._environment, self._folder)
        sets = (f"data_dir={self._data}", *_sets(self._environment.loaded.config, self.left_out))
        words = [word for one in (*self._environment.sets, *sets) for word in ("--set", one)]
        command = [sys.executable, "-P", "-m", "tradefan", "run", "-e", STAGE, "--tied"]
        command += ["--config", str(self._folder / "config"), *words]
        with (self._folder / "out").open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 our own program
                command, cwd=self._folder, stdin=subprocess.PIPE, stdout=out, stderr=out
            )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Leave neither process nor folder behind."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        if process is not None and process.stdin is not None:
            process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def until_ready(self) -> float:
        """Wait until orders can be placed; return the seconds that it took.

        Raises:
            Outage: it ended, or was not ready in time.
        """
        return self._until(lambda: probe(announced(self._data), ready=True), READY_S)

    def trade(self, seconds: float) -> JSON:
        """Fill an order of our own, let the strategies trade, and return the status behind it.

        `order` is what became of ours: limits that are narrower than it refuse it, as they should.

        Raises:
            Outage: something was not as it should be.
        """
        began = time.monotonic()
        client = Client(announced(self._data), lambda: read_token(self._data / "token"))
        try:
            order = self._order(client)
            self._until(lambda: (int(time.monotonic() < began + seconds), "trading"), seconds + 1)
            code, said = probe(announced(self._data))
            if code:
                raise Outage(said)
            return {**client.get("/status"), "order": order}
        except Unanswered as no:
            raise Outage(f"the daemon answers {no}") from no

    def _order(self, client: Client) -> str:
        feed = next(name for name in self._environment.loaded.config.feeds if name not in self.left_out)
        body = {"symbol": feed, "side": "buy", "quantity": str(ORDER_QTY), "owner": "cli", "account": ACCOUNT}
        try:
            order = client.post("/api/v1/orders", body)
        except Unanswered as no:
            if not str(no).startswith("RISK_"):
                raise
            return f"refused by {str(no).partition(':')[0]}"
        path = f"/api/v1/orders/{order['parent_id']}"
        self._until(lambda: _filled(client.get(path)), READY_S)
        return "FILLED"

    def stop(self) -> None:
        """Stop it as a service would be stopped.

        Raises:
            Outage: it did not end, or not with exit code 0, or its log tells of errors.
        """
        process = self._process
        assert process is not None
        process.terminate()
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise Outage(f"expected an end within {STOP_S:g} s of SIGTERM; it goes on") from None
        if code:
            raise Outage(f"expected exit code 0 on SIGTERM, got {code}: {self._last_words()}")
        for line in self._errors():
            raise Outage(f"its log has {line.get('event')}: {line.get('reason', line.get('actor', ''))}")

    def _until(self, look: Any, limit_s: float) -> float:  # noqa: ANN401 returns what a probe returns
        """Wait until a look returns code 0; return the seconds that it took."""
        began = time.monotonic()
        while (found := look())[0]:
            assert self._process is not None
            if (code := self._process.poll()) is not None:
                raise Outage(f"the daemon ended with exit code {code}: {self._last_words()}")
            if time.monotonic() > began + limit_s:
                raise Outage(f"not within {limit_s:g} s: {found[1]}")
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def _last_words(self) -> str:
        text = (self._folder / "out").read_text(encoding="utf-8", errors="replace").strip()
        return text[-600:] or "it said nothing"

    def _errors(self) -> Iterator[JSON]:
        path = self._data / "logs" / "tradefan.log"
        for line in path.read_bytes().splitlines() if path.exists() else ():
            found = orjson.loads(line)
            if found.get("level") in ("error", "critical"):
                yield found


def _filled(order: JSON) -> tuple[int, str]:
    said = f"order {order['parent_id']} is {order['status']}"
    if order["status"] in TERMINAL - {OrderStatus.FILLED}:
        raise Outage(f"expected FILLED, got: {said}")
    return int(order["status"] != OrderStatus.FILLED), said


def _copy(environment: Environment, folder: Path) -> None:
    """Copy the files that were read, under the name of the stage, and the user's own strategies."""
    for layer in environment.layers:
        file = Path(layer.name).name
        named = file == f"{environment.name}.yaml"
        place = folder / "config" / ("environments" if named else "") / (f"{STAGE}.yaml" if named else file)
        place.parent.mkdir(parents=True, exist_ok=True)
        text = layer.data
        if named:
            text = re.sub(rb"^environment:.*$", f"environment: {STAGE}".encode(), text, flags=re.MULTILINE)
        place.write_bytes(text)
    own = environment.base / scaffold.PACKAGE
    if own.is_dir():
        shutil.copytree(own, folder / scaffold.PACKAGE)


def _unrecorded(config: Config) -> Iterator[str]:
    """Give the feeds whose market the packaged recording does not have."""
    recorded = open_recordings(recordings_dir(RECORDING, Path()))
    for name in config.feeds:
        if name.partition(":")[2].replace("/", "") not in recorded:
            yield name


def _sets(config: Config, left_out: tuple[str, ...]) -> Iterator[str]:
    """Give the overrides that leave nothing outside to touch."""
    yield from ("api.host=127.0.0.1", "api.port=0", "logs.console=false", "production.confirm=false")
    for name in SERVERS:
        yield from (f"{name}.{key}=" for key in ("url", "username", "password"))
    yield from (f"notifiers.{name}=null" for name in config.notifiers)
    for name in config.venues:
        yield from (f"venues.{name}.source=tape", f"venues.{name}.tape.recordings={RECORDING}")
    for name in config.feeds:
        yield f"feeds.{name}{'=null' if name in left_out else '.tape='}"
    yield from (f"risk.instruments.{name}=null" for name in left_out if name in config.risk.instruments)
    real = [name for name, account in config.accounts.items() if account.venue != PAPER]
    yield from (f"accounts.{name}=null" for name in real)
    yield from (
        f"accounts.{ACCOUNT}.venue={PAPER}",
        f"accounts.{ACCOUNT}.balances.{config.portfolio.numeraire}={BALANCE}",
    )
    for name, one in config.strategies.items():
        if _on(config, one) & {*left_out}:
            yield f"strategies.{name}=null"
        elif one.account in real:
            yield f"strategies.{name}.account={ACCOUNT}"


def _on(config: Config, strategy: StrategyConfig) -> set[str]:
    """Return the feeds that a strategy's settings name."""
    return {feed for text in _texts(strategy.settings) for feed in matching_feeds(config, text)}


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 settings are of any shape
    """Give the texts in settings, also those in lists and under keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in (*value, *value.values()):
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)
