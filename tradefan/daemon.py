"""Starts and stops a wired system: opens links and files, runs the live driver, cleans up."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from tradefan import __version__
from tradefan.api.asking import Asker
from tradefan.api.server import ApiLink, ApiSettings
from tradefan.config.check import PAPER
from tradefan.config.schema import VenueConfig
from tradefan.config_versions import ConfigVersions
from tradefan.data_dir import DaemonFile
from tradefan.drivers.kill_signal import REASON as KILL_REASON
from tradefan.drivers.kill_signal import KillSignal
from tradefan.drivers.latch import ALL, Latch
from tradefan.drivers.live import LinkFactory, LinkHandle, LiveDriver, SteadyClock
from tradefan.drivers.machines import TimedMachine
from tradefan.drivers.stop_signals import StopSignals
from tradefan.drivers.turns import TurnBreaker
from tradefan.drivers.watchdog import Watchdog
from tradefan.environment import Environment
from tradefan.errors import Outage, Refused
from tradefan.flight import make_recorder
from tradefan.handle import ORDER_WORDS, Number, OrderDesk, OrderHandle
from tradefan.instruments import load_instruments
from tradefan.links.keys import KeyLocks
from tradefan.links.paper import open_paper
from tradefan.links.public import PublicLink
from tradefan.links.transport import Transport
from tradefan.links.watcher import WatcherLink
from tradefan.market_tape import make_tape
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigResult, KillSwitch, LogLine, LoopLag, Rows
from tradefan.new_feeds import NewFeeds
from tradefan.outlets import Notices, outlets
from tradefan.reload import Reloader
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.system import RIM
from tradefan.service_manager import ServiceManager
from tradefan.status import Picture
from tradefan.stores.disk import DEBUG_LOG_STOPS_PERCENT, free_bytes
from tradefan.stores.following import follow
from tradefan.stores.journal import check_journal
from tradefan.stores.journal_link import JournalLink
from tradefan.stores.kill_byte import ALL as KILLED_ALL
from tradefan.stores.kill_byte import KILL_END, killed
from tradefan.stores.store_link import StoreLink
from tradefan.stores.thread_link import left_behind
from tradefan.telemetry import Logging, start_logging
from tradefan.units import SECOND, AccountId, Side, use_decimal_context
from tradefan.venues.paper_state import PaperConfig
from tradefan.wiring import CONFIGURATOR, WATCHER, account_port, market_port, plan, wire

_BPS = 10_000
HEALTH_S = 10.0
"""Between two points of health."""
ANNOUNCE_AGAIN_S = 1.0
"""How long to wait for the room that `daemon.json` needs."""


class Daemon:
    """One environment, wired and ready to run."""

    def __init__(
        self,
        environment: Environment,
        log: Logging,
        kill: KillSignal | None = None,
        stop: StopSignals | None = None,
    ) -> None:
        """Open files and wire; nothing runs before `run`. The latch is that of `kill`."""
        config, places = environment.loaded.config, environment.places
        self.environment = environment
        self.config = config
        self._kill = KillSignal(Latch()) if kill is None else kill
        self.latch = self._kill.latch
        self.clock = SteadyClock()
        self._log = log
        self._token = places.load_token()
        self._announcing: asyncio.TimerHandle | None = None
        self._manager = ServiceManager()
        instruments = load_instruments(config)
        self.plan = plan(config, instruments)
        system = wire(config, instruments, places.instance(), __version__)
        self.kernel = Kernel(
            system,
            config,
            environment.loaded.config_id,
            now_ns=self.clock.now_ns(),
            seed=config.runtime.seed or secrets.randbits(63),
            per_step=config.runtime.messages_per_step,
            per_visit=config.runtime.messages_per_visit,
            # What is recorded is checked by it when it is replayed.
            trace=config.recorder.enabled,
        )
        turns = TurnBreaker(config.runtime.turn_max / SECOND)
        self.watchdog = Watchdog(
            config.runtime.loop_stall_warn / SECOND,
            self._on_stall,
            turns=turns,
            lag_max_s=lambda: self.kernel.config.runtime.loop_lag_max / SECOND,
            on_lag=lambda lag_ns: self.driver.inject(self.kernel.refs["oms"], LoopLag(lag_ns)),
        )
        self.machines = self._machines()
        self._new_feeds = NewFeeds(self.kernel, self.machines)
        self.notices = Notices(lambda: self.kernel.config, environment.name, log)
        log.redact(self._token)
        self.recorder = make_recorder(
            environment, self.kernel, self.machines, turns.noted, log=log.log, secrets=lambda: log.secrets
        )
        self.driver = LiveDriver(
            self.kernel,
            self.machines,
            self._links(),
            clock=self.clock,
            log=self._on_log,
            latch=self.latch,
            recorder=self.recorder,
            stop_deadline_ns=config.runtime.stop_deadline,
            watchdog=self.watchdog,
            interrupted=lambda: stop is not None and stop.asked,
            on_config=self._on_config,
            on_stop=self._manager.stopping,
        )
        self.reloader = Reloader(
            environment,
            ConfigVersions(places.versions),
            config=lambda: self.kernel.config,
            swap=partial(self.driver.inject, RIM),
            refuse=partial(self.driver.inject, self.kernel.refs[CONFIGURATOR]),
            log=log.log,
            now_ns=self.clock.now_ns,
            rules=self._new_feeds.rules,
        )
        self.asker = Asker(self._tell_oms, self.clock.now_ns)
        self.picture = Picture(
            environment,
            self.kernel,
            self.plan,
            self.clock.now_ns,
            self.watchdog,
            log,
            self.latch,
            self.recorder,
        )
        self.picture.config_files = lambda: (self.reloader.number, self.reloader.judged.hex())
        self.picture.notices = lambda: self.notices.counts
        self.orders = OrderDesk(self.asker, self.picture, self._stopped)
        log.watch_space(
            lambda: free_bytes(str(places.journal)),
            config.journal.disk_free_min * DEBUG_LOG_STOPS_PERCENT // 100,
        )

    async def run(self, seconds: float | None = None) -> int:
        """Run until stopped, or for some seconds; return the exit code."""
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self.driver.stop)
        self._kill.bind(asyncio.get_running_loop(), self._on_kill_signal)
        self.reloader.begin()
        self._manager.feed(asyncio.get_running_loop().call_later, self._status_line)
        self._tell_health()
        try:
            with nullcontext() if self.recorder is None else self.recorder:
                return await self.driver.run()
        finally:
            self._kill.unbind()
            self._manager.close()

    async def submit_order(
        self, symbol: str, side: Side, quantity: Number | None = None, **words: Any
    ) -> OrderHandle:
        """Submit an order from Python (`OrderDesk.submit`); other words are settings of its algorithm.

        Raises:
            Refused, Outage: why not.
        """
        known = {name: words.pop(name) for name in ORDER_WORDS if name in words}
        return await self.orders.submit(symbol, side, quantity, settings=words, **known)

    def close(self) -> None:
        """Close the files of the timed machines."""
        for machine in self.machines.values():
            close = getattr(machine, "close", None)
            if close is not None:
                close()

    # --- links and machines ---------------------------------------------------------------------

    def _machines(self) -> dict[str, TimedMachine]:
        config, places = self.config, self.environment.places
        machines: dict[str, TimedMachine] = {}
        for venue in self.plan.venues:
            if config.venues[venue].source == "tape":
                here = [one for one in self.plan.instruments.values() if one.venue == venue]
                symbols = {one.id: one.symbol.replace("/", "") for one in here}
                machines[market_port(venue)] = make_tape(
                    self.environment, venue, symbols, self.clock.now_ns()
                )
        for account in self.plan.accounts:
            one = config.accounts[account]
            if one.venue == PAPER:
                paper = PaperConfig(
                    maker_fee=one.maker_fee_bps / _BPS,
                    taker_fee=one.taker_fee_bps / _BPS,
                    latency_ns=one.latency,
                )
                machines[account_port(account)] = open_paper(
                    places.paper,
                    AccountId(account),
                    tuple(self.plan.instruments.values()),
                    one.balances,
                    config=paper,
                    latched=self.latch.is_closed,
                )
        return machines

    def _links(self) -> Mapping[str, LinkFactory]:
        config, places = self.config, self.environment.places
        following, folded = follow(str(places.journal)), threading.Event()
        links: dict[str, LinkFactory] = {
            "journal": lambda handle: JournalLink(
                str(places.journal),
                partial(_deliver_rows, handle, folded),
                backlog_max=config.journal.backlog_max,
                backlog_bytes_max=config.journal.backlog_bytes_max,
                group_bytes_max=config.journal.group_bytes_max,
            ),
            "store": lambda handle: StoreLink(
                str(places.store),
                handle.deliver,
                following=following,
                disk_free_min=config.journal.disk_free_min,
                first=folded,
            ),
            "api": self._api,
            WATCHER: lambda _handle: WatcherLink(self.environment.folder, self.reloader.look, self._log.log),
        }
        links |= outlets(config, self.plan, places, self._log.redact, self.notices, self._status)
        for venue in self.plan.venues:
            settings = config.venues[venue]
            if settings.source == "live":
                links[market_port(venue)] = partial(_public_link, settings)
        return links

    def _api(self, handle: LinkHandle) -> ApiLink:
        api = self.config.api
        settings = ApiSettings(
            host=api.host,
            port=api.port,
            metrics=self.config.telemetry.metrics,
            token=self._token,
            requests_per_second=api.requests_per_second,
            connections_max=api.connections_max,
            body_max=api.body_max,
        )
        link = ApiLink(handle, settings, self.picture, self._on_listening, self.latch.close, self.asker)
        self.driver.on_rejected(link.rejected)
        return link

    def _on_listening(self, port: int) -> None:
        url = self.picture.url = _url(self.config.api.host, port)
        self._log.log("info", "listening", url=url)
        self._manager.tell(READY=1, MAINPID=os.getpid())
        if self._announcing is not None:
            self._announcing.cancel()
        self._announce(url, again=False)

    def _announce(self, url: str, *, again: bool) -> None:
        """Write down where we listen, as soon as the disk has room: who is not found serves all the same."""
        name, stop_s = self.environment.name, -(-self.config.runtime.stop_deadline // SECOND)
        record = DaemonFile(os.getpid(), url, self.clock.now_ns(), name, __version__, stop_s)
        places, loop = self.environment.places, asyncio.get_running_loop()
        self._announcing = None
        try:
            places.announce(record)
        except OSError as error:
            if not again:
                reason = f"{places.daemon_file}: {error.strerror}"
                self._log.log("warning", "address_not_written", reason=reason, url=url)
            self._announcing = loop.call_later(ANNOUNCE_AGAIN_S, partial(self._announce, url, again=True))

    def _status(self) -> dict[str, Any]:
        return self.picture.status()

    def _status_line(self) -> str:
        ready = self.picture.ready()
        return "ready" if ready["ready"] else f"waiting for {', '.join(ready['waiting'])}"

    def _tell_health(self) -> None:
        """Let the stores keep how we are, every few seconds until the stop."""
        if not self._stopped():
            point = self.picture.health_point()
            for name in self.plan.writers:
                self.driver.inject(self.kernel.refs[name], point)
            asyncio.get_running_loop().call_later(HEALTH_S, self._tell_health)

    def _stopped(self) -> bool:
        return self.kernel.life.exited is not None

    def _tell_oms(self, msg: Message) -> None:
        self.driver.inject(self.kernel.refs["oms"], msg)

    def _on_kill_signal(self) -> None:
        self.driver.inject(self.kernel.refs["oms"], KillSwitch(ALL, KILL_REASON, "signal"))

    def _on_config(self, result: ConfigResult) -> None:
        """Take what the rim itself does by the configuration."""
        self.plan = self.picture.views.plan = self._new_feeds.plan()
        self._log.set_level(self.kernel.config.logs.level)
        self.reloader.answered(result)

    def _on_log(self, _now_ns: int, line: LogLine) -> None:
        self._log.log(line.level, line.event, actor=line.actor, **line.fields)

    def _on_stall(self, seconds: float, stack: str) -> None:
        self._log.log("warning", "loop_stalled", seconds=round(seconds, 3), stack=stack)


def _deliver_rows(handle: LinkHandle, folded: threading.Event, msg: Message) -> None:
    """Deliver what the journal says; `folded` is set behind the step that takes its rows."""
    handle.deliver(msg)
    if isinstance(msg, Rows):
        asyncio.get_running_loop().call_soon(folded.set)


def _public_link(settings: VenueConfig, handle: LinkHandle) -> PublicLink:
    transport = Transport(open_s=settings.connect_timeout / SECOND)
    return PublicLink(handle.deliver, handle.now_ns, settings.rest_url, transport)


def run_daemon(
    environment: Environment,
    seconds: float | None,
    say: Callable[[str], None] = lambda _line: None,
    *,
    accept_loss: bool = False,
    stop: StopSignals | None = None,
) -> int:
    """Run the daemon in the foreground; return its exit code. `say` is told what is left at the venue.

    `stop` has listened since before this was imported; one that it heard ends the start in order.
    `accept_loss` starts on a damaged journal with what can be believed; what is lost is journaled.

    Raises:
        Refused: the environment cannot run, its data directory or an API key is in use, its journal is
            damaged or that of a newer TradeFan, or needs a feed or account that the configuration lacks.
        Outage: a file or folder that is needed cannot be had.
    """
    use_decimal_context()
    _require_runnable(environment)
    with KillSignal(Latch()) as kill, holding(environment):
        log = _start_log(environment)
        try:
            # Said here and now: a journal's link that refused would only be started again and again.
            journal = str(environment.places.journal)
            check_journal(journal, accept_loss=accept_loss, wired=environment.wired())
            if (letters := environment.places.restore_instance()) is not None:
                reason = "its file was lost; the journal's newest EPOCH has these letters"
                log.log("warning", "instance_restored", instance=letters, reason=reason)
            close_if_killed(kill.latch, environment.places.journal)
            code, left = _run(environment, log, kill, stop, seconds)
        except Exception as error:
            log.log("critical", "cannot_run", reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            log.stop()
    for line in left:
        say(line)
    return code


def close_if_killed(latch: Latch, journal: Path) -> None:
    """Close the latch where the kill byte says that everything was killed; the order manager confirms.

    Where it says that some scope was, the journal knows which: before it is read nothing is sent.
    """
    try:
        content = Path(f"{journal}{KILL_END}").read_bytes()
    except FileNotFoundError:
        return
    except OSError:
        # Nobody can say that it is open.
        content = b""
    if killed(content) == KILLED_ALL:
        latch.close(ALL, "killed before this start")


@contextmanager
def holding(environment: Environment) -> Iterator[None]:
    """Hold the data directory and every API key: no second daemon trades beside this one.

    A thread that hangs in a disk call still writes when the disk comes back: the directory stays ours until
    the process has ended, whatever else it does before.
    """
    places, accounts = environment.places, environment.loaded.config.accounts
    places.take()
    try:
        keys = KeyLocks()
        keys.take(accounts, places.root)
        try:
            yield
        finally:
            keys.release()
    finally:
        if left_behind():
            places.leave()
        else:
            places.release()


def _run(
    environment: Environment,
    log: Logging,
    kill: KillSignal,
    stop: StopSignals | None,
    seconds: float | None,
) -> tuple[int, list[str]]:
    config = environment.loaded.config
    paper = all(account.venue == PAPER for account in config.accounts.values())
    log.log(
        "info",
        "starting",
        version=__version__,
        environment=environment.name,
        accounts=sorted(config.accounts),
        money="PAPER" if paper else "REAL MONEY",
        data_dir=str(environment.places.root),
        config_id=environment.loaded.config_id,
        strategies_hash=environment.code or None,
        pid=os.getpid(),
    )
    require_port(config.api.host, config.api.port)
    daemon = Daemon(environment, log, kill, stop)
    try:
        code = uvloop.run(daemon.run(seconds))
    finally:
        daemon.close()
    for name in left_behind():
        log.log("error", "link_left_behind", link=name)
    log.log("info", "stopped", code=code)
    return code, daemon.picture.left()


def _start_log(environment: Environment) -> Logging:
    logs = environment.loaded.config.logs
    try:
        return start_logging(
            environment.places.log,
            logs.level,
            file_max_bytes=logs.file_max,
            files=logs.files,
            console=logs.console,
            queue_max=logs.queue_max,
        )
    except OSError as error:
        raise Outage(f"expected a writable log, got {error.strerror} for {error.filename}") from error


def _require_runnable(environment: Environment) -> None:
    """Refuse an environment that would trade with what is not there, naming all that it lacks."""
    missing = environment.missing_to_run()
    if missing:
        text = "\n  ".join([f"{environment.name} cannot run. It lacks:", *missing])
        raise Refused("NOT_RUNNABLE", text)


def require_port(host: str, port: int) -> None:
    """See whether the API will be able to listen, before anything else is begun.

    Raises:
        Outage: the port is taken or may not be opened, with what to do about it.
    """
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as probe:
            # As the server itself will do: connections of an earlier daemon that fade away do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        taken = "another program listens on" if error.errno == errno.EADDRINUSE else "cannot listen on"
        text = f"{taken} api.host {host}, api.port {port} ({error.strerror}): end it or choose another port,"
        other = port + 1 if port < 65_535 else 0
        raise Outage(f"{text} TRADEFAN__API__PORT={other} or --set api.port={other}") from error


def _url(host: str, port: int) -> str:
    # Who listens on every address is reached on this machine by the loopback one.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 compared, not bound
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"
