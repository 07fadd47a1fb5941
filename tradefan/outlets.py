"""Links to the services beside the daemon: what they are told, and where they keep what they cannot use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradefan.config.schema import Config
from tradefan.data_dir import DataDir
from tradefan.links.secret import read_secret
from tradefan.telemetry import Logging, RotatingFile
from tradefan.units import MS, SECOND
from tradefan.wiring import INFLUX, REDIS, Plan, notifier_port

if TYPE_CHECKING:
    from tradefan.drivers.live import LinkFactory, LinkHandle
    from tradefan.notifiers.link import Counts, NotifierLink
    from tradefan.stores.influx import InfluxLink
    from tradefan.stores.redis import RedisLink

JSON = dict[str, Any]
ASIDE = "influx-aside.log"
"""Among the logs: points that InfluxDB does not take, each under its reason."""
_TOKEN_MIN = 16
"""Letters from which a part of a notifier's address is a token: no word of the log is taken for one."""
_ASIDE_MAX, _ASIDE_FILES = 10_485_760, 3


class Notices:
    """The links that listen to the log; whatever it warns of is offered to each of them."""

    def __init__(self, config: Callable[[], Config], environment: str, log: Logging) -> None:
        """Listen to the log from now on."""
        self.config = config
        self._where = f"TradeFan {environment}"
        self._log = log
        self._links: dict[str, NotifierLink] = {}
        self._offers: dict[str, Callable[[str, str, dict[str, Any]], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the messages of each."""
        return {name: link.counts for name, link in self._links.items()}

    def link(self, name: str, handle: LinkHandle) -> NotifierLink:
        """Return the link of one notifier, for as long as it runs."""
        # Whoever is told nothing does without the libraries.
        from tradefan.notifiers.forms import Receiver, secret_parts  # noqa: PLC0415
        from tradefan.notifiers.link import NotifierLink  # noqa: PLC0415

        one = self.config().notifiers[name]
        url, secret = read_secret(one.url), read_secret(one.secret)
        for part in (secret, url, *secret_parts(url, _TOKEN_MIN)):
            self._log.redact(part)
        before = self._links.get(name)
        made = self._links[name] = NotifierLink(
            Receiver(one.kind, url, secret, one.chat),
            self._where,
            level=lambda: self.config().notifiers[name].level,
            per_minute=lambda: self.config().notifiers[name].per_minute,
            hide=self._log.hide,
            now_ns=handle.now_ns,
            log=self._log.log,
        )
        if before is not None:
            made.counts = before.counts
        self.hear(notifier_port(name), made.offer)
        return made

    def hear(self, name: str, offer: Callable[[str, str, dict[str, Any]], None]) -> None:
        """Offer to somebody what the log says from now on."""
        self._offers[name] = offer
        self._loop, self._log.listener = asyncio.get_running_loop(), self._hear

    def _hear(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Take a line on whatever thread says it."""
        if self._loop is not None:
            # A loop that is closed has nobody left who would tell it.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._offer, level, event, dict(fields))

    def _offer(self, level: str, event: str, fields: dict[str, Any]) -> None:
        for offer in self._offers.values():
            offer(level, event, fields)


def outlets(
    config: Config,
    plan: Plan,
    places: DataDir,
    redact: Callable[[str], None],
    notices: Notices,
    status: Callable[[], JSON],
) -> dict[str, LinkFactory]:
    """Return the links of services that this configuration names; `redact` is told their secrets.

    `status` is what `/status` says.
    """
    found: dict[str, LinkFactory] = {
        notifier_port(name): partial(notices.link, name) for name in config.notifiers
    }
    if INFLUX in plan.refs:
        found[INFLUX] = partial(_influx, config, places, redact)
    if REDIS in plan.refs:
        found[REDIS] = partial(_redis, config, redact, notices, status)
    return found


def _influx(config: Config, places: DataDir, redact: Callable[[str], None], handle: LinkHandle) -> InfluxLink:
    # Whoever has no InfluxDB does without its libraries.
    from tradefan.stores.following import reading  # noqa: PLC0415
    from tradefan.stores.influx import InfluxLink, InfluxSettings  # noqa: PLC0415

    one = config.influx
    username, password = read_secret(one.username), read_secret(one.password)
    redact(password)
    settings = InfluxSettings(one.url, one.db, one.timeout / SECOND, username, password)
    return InfluxLink(
        settings,
        handle.deliver,
        handle.now_ns,
        partial(_set_aside, places.logs / ASIDE),
        source=reading(str(places.journal)),
    )


def _redis(
    config: Config,
    redact: Callable[[str], None],
    notices: Notices,
    status: Callable[[], JSON],
    handle: LinkHandle,
) -> RedisLink:
    from tradefan.stores.redis import RedisLink, RedisSettings, Sizes  # noqa: PLC0415

    one = config.redis
    username, password = read_secret(one.username), read_secret(one.password)
    redact(password)
    settings = RedisSettings(one.url, one.timeout / SECOND, username, password)

    def sizes() -> Sizes:
        now = notices.config().redis
        return Sizes(now.ttl // MS, now.stream_max)

    link = RedisLink(settings, handle.deliver, handle.now_ns, sizes, status)
    notices.hear(REDIS, link.offer)
    return link


def _set_aside(path: Path, texts: Sequence[str]) -> None:
    file = RotatingFile(path, _ASIDE_MAX, _ASIDE_FILES)
    try:
        file.write(texts)
    finally:
        file.close()
