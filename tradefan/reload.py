"""Live configuration: an edit is read when it stands still, checked as a whole, and swapped in or refused.

All of it or none: one key that only a start can change keeps the whole edit out, and so does a mistake in
any file. What was active stays, and the reasons are said with file, line and key.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from hashlib import blake2b
from typing import NamedTuple, TypeVar, cast

from tradefan.config.check import Difference, diff
from tradefan.config.history import Version, files_of
from tradefan.config.loader import Loaded
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config.schema import Config
from tradefan.config.sources import Layer, Unsettled
from tradefan.config_files import modes_of
from tradefan.config_versions import ConfigVersions
from tradefan.environment import Environment
from tradefan.errors import Outage, Refused, place_of
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigResult, SwapConfig
from tradefan.messages.instrument import Instrument
from tradefan.wiring import encode_config

T = TypeVar("T")

STILL_S = 0.1
"""Files stand still when they are the same so much later."""
LOOKS_MAX = 20
ANSWER_S = 10.0
"""For so long a swap is waited for; the kernel answers in the step that takes it."""
SHOWN_MAX = 50
"""Most differences of one edit that are logged."""


class Reloader:
    """Looks at the files of an environment and hands what is new to the kernel."""

    def __init__(
        self,
        environment: Environment,
        versions: ConfigVersions,
        *,
        config: Callable[[], Config],
        swap: Callable[[Message], None],
        refuse: Callable[[Message], None],
        log: Callable[..., None],
        now_ns: Callable[[], int],
        rules: Callable[[Config], tuple[Instrument, ...]] = lambda _config: (),
    ) -> None:
        """`swap` takes what the kernel is to decide, `refuse` what the configurator is to say was not.

        `rules` are those of instruments that nobody has observed so far; it may ask, in a thread.
        """
        self._environment = environment
        self._folder = str(environment.folder)
        self._versions = versions
        self._config = config
        self._swap = swap
        self._refuse = refuse
        self._log = log
        self._rules = rules
        self._now_ns = now_ns
        self._seen = fingerprint(environment.layers)
        self._unstable = False
        """Whether it has been said that the files do not stand still."""
        self._answer: asyncio.Future[ConfigResult] | None = None
        self._late: dict[str, Callable[[], None]] = {}
        """What is still to be done for a swap that was not answered in time."""
        self.number = 0
        """That of the version in force; 0 while none could be kept."""
        self.judged = self._seen
        """The state of the files about which all has been said."""

    def begin(self) -> None:
        """Keep what the daemon starts with."""
        loaded, layers = self._environment.loaded, self._environment.layers
        newest = self._newest()
        if newest is not None and (newest.config_id, newest.files) == (loaded.config_id, self._files(layers)):
            self.number = newest.number
            return
        before = None if newest is None else self._load(newest)
        changed = () if before is None else tuple(map(str, diff(before.config, loaded.config)))
        self._keep("start", loaded, layers, changed)

    async def look(self) -> None:
        """Take what is new, if anything is."""
        await self._look()
        self.judged = self._seen

    async def _look(self) -> None:
        seen = await self._still()
        if seen is None or seen.mark == self._seen:
            return
        if seen.error is not None:
            self._invalid(seen.mark, seen.error)
            return
        layers, mark = seen.layers, seen.mark
        try:
            loaded = await asyncio.to_thread(self._environment.parse, layers)
        except ConfigInvalid as error:
            self._invalid(mark, error)
            return
        self._seen = mark
        differences = diff(self._config(), loaded.config)
        if not differences:
            self._log("info", "config_unchanged", config_id=loaded.config_id)
            return
        fixed = [one for one in differences if one.change != "live"]
        if fixed:
            self._refuse(ConfigResult(loaded.config_id, tuple(_where(one, loaded) for one in fixed)))
            return
        await self._activate(loaded, layers, differences)

    def answered(self, result: ConfigResult) -> None:
        """Hear how a swap ended."""
        late = self._late.pop(result.config_id, None)
        if late is not None and not result.errors:
            late()
        elif late is None and self._answer is not None and not self._answer.done():
            self._answer.set_result(result)

    async def _activate(
        self, loaded: Loaded, layers: tuple[Layer, ...], differences: Sequence[Difference]
    ) -> None:
        try:
            rules = await _apart(partial(self._rules, loaded.config))
        except (Refused, Outage) as no:
            self._refuse(ConfigResult(loaded.config_id, (_placed(no, loaded),)))
            return
        self._answer = asyncio.get_running_loop().create_future()
        payload, places = encode_config(loaded.config), _places(differences, loaded)
        self._swap(SwapConfig(loaded.config_id, payload, rules, places))
        try:
            async with asyncio.timeout(ANSWER_S):
                result = await self._answer
        except TimeoutError:
            self._log("error", "config_swap_unanswered", config_id=loaded.config_id)
            self._late[loaded.config_id] = lambda: self._active(loaded, layers, differences)
            return
        if not result.errors:
            # Otherwise the configurator has said why.
            self._active(loaded, layers, differences)

    def _active(self, loaded: Loaded, layers: tuple[Layer, ...], differences: Sequence[Difference]) -> None:
        """Keep and tell what is in force from now on."""
        changed = tuple(f"{one.key}: from {one.old} to {one.new}" for one in differences)
        self._keep("edit", loaded, layers, changed)
        self._log(
            "info",
            "config_changed",
            config_id=loaded.config_id,
            version=self.number,
            keys=len(changed),
            changed=list(changed[:SHOWN_MAX]),
        )

    async def _still(self) -> _Seen | None:
        """Return the files when two looks that stand apart agree; None where they never do.

        What is being written may be right for itself at any moment, and nobody has meant it.
        """
        seen = await asyncio.to_thread(self._see)
        for _ in range(LOOKS_MAX):
            if isinstance(seen, _Seen) and seen.mark == self._seen:
                self._unstable = False
                return seen
            await asyncio.sleep(STILL_S)
            before, seen = seen, await asyncio.to_thread(self._see)
            if isinstance(seen, _Seen) and isinstance(before, _Seen) and seen.mark == before.mark:
                self._unstable = False
                return seen
        if not self._unstable:
            reason = seen.text if isinstance(seen, Unsettled) else "no two looks at the files agree"
            self._log("warning", "config_unstable", folder=self._folder, reason=reason)
        self._unstable = True
        return None

    def _see(self) -> _Seen | Unsettled:
        """Look once; a mistake in the files is a state of theirs as any other."""
        try:
            layers = self._environment.read()
        except Unsettled as why:
            return why
        except (ConfigInvalid, OSError) as error:
            return _Seen(blake2b(str(error).encode("utf-8", "replace"), digest_size=16).digest(), (), error)
        return _Seen(fingerprint(layers), layers)

    def _invalid(self, mark: bytes, error: ConfigInvalid | OSError) -> None:
        """Say what is wrong with the files, once for each state of them."""
        if mark != self._seen:
            self._seen = mark
            mistakes = error.mistakes if isinstance(error, ConfigInvalid) else (error,)
            self._refuse(ConfigResult(mark.hex()[:12], tuple(map(str, mistakes))))

    def _files(self, layers: tuple[Layer, ...]) -> dict[str, str]:
        return files_of(layers, self._folder)

    def _newest(self) -> Version | None:
        """Return the newest version that can be read: what is damaged is no reason not to trade."""

        def warn(reason: str) -> None:
            self._log("warning", "config_version_unreadable", reason=reason)

        try:
            return self._versions.newest(warn)
        except OSError as error:
            warn(f"{error.filename}: {error.strerror}")
            return None

    def _load(self, version: Version) -> Loaded | None:
        """Return an older version as this program reads it, None where it cannot."""
        try:
            return self._environment.parse_version(version)
        except ConfigInvalid:
            return None

    def _keep(self, cause: str, loaded: Loaded, layers: tuple[Layer, ...], changed: tuple[str, ...]) -> None:
        """Keep a version; a disk that does not take it is no reason to trade by another configuration."""
        environment, files = self._environment, self._files(layers)
        modes = modes_of(environment.folder, files)
        at_ns, over = self._now_ns(), environment.overrides
        version = Version(0, loaded.config_id, at_ns, cause, files, changed, over, modes)
        try:
            self.number = self._versions.add(version)
        except OSError as error:
            self.number = 0
            self._log("warning", "config_version_not_kept", reason=f"{error.filename}: {error.strerror}")


class _Seen(NamedTuple):
    """One look at the files: what they say, or what is wrong with them."""

    mark: bytes
    layers: tuple[Layer, ...]
    error: ConfigInvalid | OSError | None = None


def fingerprint(layers: Sequence[Layer]) -> bytes:
    """Return what changes with any byte of any file."""
    digest = blake2b(digest_size=16)
    for layer in layers:
        digest.update(f"{layer.name} {len(layer.data)}\n".encode() + layer.data)
    return digest.digest()


def _where(one: Difference, loaded: Loaded) -> str:
    """Return why a key cannot change now, with the place that says its new value."""
    place = place_of(one.key, loaded.origins)
    return f"{place}: {one}" if place else str(one)


def _placed(no: Refused | Outage, loaded: Loaded) -> str:
    """Return why the rest of the program refuses it, with the place of the key that it names first."""
    text = no.text if isinstance(no, Refused) else str(no)
    place = place_of(text.partition(": ")[0], loaded.origins)
    return f"{place}: {text}" if place else str(no)


def _places(differences: Sequence[Difference], loaded: Loaded) -> tuple[tuple[str, str], ...]:
    """Return where the keys that differ were said, for a refusal of the kernel."""
    found = [(one.key, place_of(one.key, loaded.origins)) for one in differences]
    return tuple((key, place) for key, place in found if place is not None)


async def _apart(work: Callable[[], T]) -> T:
    """Return what work gives, done on a thread that no stop waits for: it may be endless."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def end(result: T | None, error: BaseException | None) -> None:
        if error is not None and not done.done():
            done.set_exception(error)
        elif not done.done():
            done.set_result(cast("T", result))

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 it is raised where it is waited for
            failure = error
        # A loop that is closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(end, result, failure)

    # As `asyncio.to_thread`: the decimal context is one of those variables.
    threading.Thread(target=copy_context().run, args=(run,), name="config-rules", daemon=True).start()
    return await done
