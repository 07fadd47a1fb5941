"""The link to an InfluxDB 1.x: batches of messages become lines, and the server's answers have a meaning.

* 204: every line is stored. A line that comes twice is one point, so what timed out may be sent again.
* 400: some line is poison, and which one nobody says (`dropped` is not to be believed): halves are sent
  again until it is found, and it is set aside in a file of its own. A batch is never repeated whole.
* 404: the database is not there; it is made, and the batch goes again.
* Anything else, and no answer at all, is an outage: tried again with growing random waits.

One batch is encoded while the server works on another. Rows that follow from the journal come with the place
that they lead to, which the server keeps beside them (`progress`); asked for what is missing, the link reads
that place there, and the journal from it on.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import tenacity
from msgspec import Struct

from tradefan.errors import Defect, Outage, Refused
from tradefan.messages.base import Message
from tradefan.messages.control import PointBatch, PointsWritten, Stored, StoreFailed
from tradefan.messages.market import Quote
from tradefan.messages.wire import Credit
from tradefan.stores.following import Source
from tradefan.stores.influx_bodies import Delivery, add_lines, asked_place, with_place
from tradefan.stores.journal_points import JournalPoints, epoch_of, held, journal_name
from tradefan.stores.line_protocol import Aside, Lines
from tradefan.units import iso

with warnings.catch_warnings():
    # It loads pandas where that is installed, 46 MB and a second, and says where not; nothing here needs it.
    warnings.simplefilter("ignore")
    _pandas = sys.modules.pop("pandas", None)
    sys.modules["pandas"] = None  # type: ignore[assignment]
    from aioinflux import InfluxDBClient
    from aioinflux.client import InfluxDBError, InfluxDBWriteError

    del sys.modules["pandas"]
    if _pandas is not None:
        sys.modules["pandas"] = _pandas

BATCHES_MAX = 2
"""Batches under way at one time."""
ENCODE_AT_ONCE = 200
"""Points between two moments in which the loop does what is more urgent."""
WAIT_MAX_S = 10.0
_GREETING = 0
_NOT_ADMIN = "requires admin privilege"


class InfluxSettings(Struct, frozen=True):
    """Where the server is and who we are there; `timeout_s` is that of one request."""

    url: str
    db: str
    timeout_s: float
    username: str = ""
    password: str = ""


class Poison(Exception):
    """The server refused a line of these."""


def open_client(settings: InfluxSettings) -> Any:  # noqa: ANN401 the library has no types
    """Return a client of the library, which is used to carry bytes."""
    where = urlsplit(settings.url)
    secure = where.scheme == "https"
    port = where.port or (443 if secure else 80)
    words: dict[str, Any] = {"host": where.hostname, "port": port, "ssl": secure, "db": settings.db}
    # By a header: the library's `username=` goes a way that aiohttp will not know any more.
    words["headers"] = login(settings)
    return InfluxDBClient(**words, path=f"{where.path.rstrip('/')}/", timeout=settings.timeout_s)


def login(settings: InfluxSettings) -> dict[str, str]:
    """Return the headers that say who asks."""
    if not settings.username:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(settings.username, settings.password)}


class InfluxLink:
    """Writes to one InfluxDB; what it cannot write is told and set aside, never dropped in silence."""

    def __init__(
        self,
        settings: InfluxSettings,
        deliver: Callable[[Message], None],
        now_ns: Callable[[], int],
        set_aside: Callable[[Sequence[str]], None],
        name: str = "influx",
        source: Source = lambda: None,
    ) -> None:
        """Prepare; nothing is opened before `run`. `set_aside` takes lines for a file, on another thread.

        So is the journal read that `source` opens.
        """
        self._settings = settings
        self._deliver = deliver
        self._now_ns = now_ns
        self._set_aside = set_aside
        self._name = name
        self._source = source
        self._journal = ""
        self._room = BATCHES_MAX
        self._waiting: deque[PointBatch] = deque()
        self._wake = asyncio.Event()
        self._failed: dict[asyncio.Task[Any] | None, str] = {}
        """What fails now, by whose work: one waits for the journal while another one writes."""

    def apply(self, effect: Message) -> None:
        """Take a batch; the server is never waited for."""
        if not isinstance(effect, PointBatch):
            raise Defect(f"InfluxDB does not take {type(effect).__name__}")
        self._waiting.append(effect)
        self._wake.set()

    async def run(self) -> None:
        """Find the database, then write batch after batch until cancelled."""
        client = open_client(self._settings)
        try:
            await self._insist(self._find_database, client)
            self._deliver(Credit(self._name, self._room))
            self._deliver(PointsWritten(_GREETING, 0))
            async with asyncio.TaskGroup() as group:
                for number in range(BATCHES_MAX):
                    group.create_task(self._serve(client), name=f"{self._name} {number}")
        finally:
            await client.close()

    async def _serve(self, client: Any) -> None:  # noqa: ANN401 see `open_client`
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            batch = self._waiting.popleft()
            written = await self._write_batch(client, batch)
            self._room += 1
            self._deliver(Credit(self._name, self._room))
            self._deliver(written)

    async def _write_batch(self, client: Any, batch: PointBatch) -> PointsWritten:  # noqa: ANN401
        if batch.up_to is not None:
            return await self._catch_up(client, batch.batch_id, batch.up_to)
        lines = Lines([], [], [])
        await self._encode(lines, batch.rows[: batch.own])
        if batch.place is not None:
            await self._add_place(lines, batch.place)
        await self._encode(lines, batch.rows[batch.own :])
        sent = await self._write_lines(client, lines)
        return _written(batch.batch_id, len(batch.rows), sent)

    async def _encode(self, lines: Lines, rows: Sequence[Stored | Quote]) -> None:
        """Add the lines of rows to those that are there."""
        for first in range(0, len(rows), ENCODE_AT_ONCE):
            add_lines(lines, rows[first : first + ENCODE_AT_ONCE])
            await asyncio.sleep(0)

    async def _write_lines(self, client: Any, lines: Lines) -> Delivery:  # noqa: ANN401
        """Write lines, and down those that the server does not take."""
        sent = Delivery(lines)
        while (text := sent.text) is not None:
            try:
                await self._insist(self._post, client, text.encode())
            except Poison as poison:
                sent.refused(str(poison))
            else:
                sent.taken()
        if sent.aside:
            await self._keep(sent.aside)
        return sent

    # --- the journal ----------------------------------------------------------------------------------

    async def _catch_up(self, client: Any, batch_id: int, up_to: int) -> PointsWritten:  # noqa: ANN401
        """Write what the server lacks of the journal up to a number, piece by piece, each with its place."""
        points = JournalPoints(self._source, up_to)
        points.begin(await self._insist(self._read_place, client))
        rows, whole, reason = 0, not self._journal, ""
        aside: Counter[str] = Counter()
        while not whole:
            piece = await self._insist(self._read, points.read)
            lines = Lines([], [], [])
            await self._encode(lines, piece.rows)
            await self._add_place(lines, piece.lsn)
            sent = await self._write_lines(client, lines)
            one = _written(batch_id, len(piece.rows), sent)
            rows, whole, reason = rows + one.written, piece.whole, reason or one.reason
            aside.update(one.aside)
        return PointsWritten(batch_id, rows, dict(aside), reason)

    async def _add_place(self, lines: Lines, lsn: int) -> None:
        await self._insist(self._know_journal)
        if self._journal:
            epoch = 0
            with suppress(Outage):
                epoch = await self._read(epoch_of, self._source, lsn)
            with_place(lines, self._journal, lsn, epoch, self._now_ns())

    async def _know_journal(self) -> None:
        self._journal = self._journal or await self._read(journal_name, self._source)

    async def _read_place(self, client: Any) -> int:  # noqa: ANN401
        """Ask the server up to where it has this journal, as far as that has the same rows."""
        await self._know_journal()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await client.query(asked_place(self._journal), epoch="ns")
        except (aiohttp.ClientError, InfluxDBError, TimeoutError, OSError, ValueError) as error:
            raise self._outage(error) from error
        (result,) = answer["results"]
        series: list[dict[str, Any]] = result.get("series", [])
        if not series:
            return 0
        _, place, epoch = series[0]["values"][0]
        return int(await self._read(held, self._source, place, epoch or 0))

    async def _read(self, read: Callable[..., Any], *words: Any) -> Any:  # noqa: ANN401 whatever it returns
        """Read the journal on a thread; one that cannot be read is waited for like the server."""
        try:
            return await asyncio.to_thread(read, *words)
        except Refused as error:
            raise Outage(error.text) from error

    async def _keep(self, aside: list[Aside]) -> None:
        """Write down what was set aside; a disk that cannot take it costs nothing else."""
        at = iso(self._now_ns())
        texts = [f"# {at} {one.measurement} {one.reason}\n{one.text}" for one in aside]
        with suppress(OSError):
            await asyncio.to_thread(self._set_aside, texts)

    # --- one request --------------------------------------------------------------------------------

    async def _insist(self, ask: Callable[..., Any], *words: Any) -> Any:  # noqa: ANN401 what it answers
        """Ask until the server is there; say why it is not, once for each reason that lasts."""
        again = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Outage),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=WAIT_MAX_S),
            before_sleep=self._say_failed,
        )
        try:
            return await again(ask, *words)
        finally:
            self._failed.pop(asyncio.current_task(), None)

    def _say_failed(self, state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None, "it is asked between two tries"
        reason = str(state.outcome.exception())
        if reason not in self._failed.values():
            self._deliver(StoreFailed(reason))
        self._failed[asyncio.current_task()] = reason

    async def _find_database(self, client: Any) -> None:  # noqa: ANN401
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await client.ping()
                await _make_database(client)
        except (aiohttp.ClientError, InfluxDBError, TimeoutError, OSError, ValueError) as error:
            raise self._outage(error) from error

    async def _post(self, client: Any, text: bytes) -> None:  # noqa: ANN401
        try:
            await client.write(text)
        except InfluxDBWriteError as error:
            said = error.headers.get("X-Influxdb-Error") or error.reason
            if error.status in (400, 413):
                raise Poison(f"{error.status} {said}") from error
            if error.status == 404:
                await self._find_database(client)
            raise Outage(f"{self._settings.url}: {error.status} {said}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._outage(error) from error

    def _outage(self, error: Exception) -> Outage:
        return Outage(f"{self._settings.url}: {type(error).__name__}: {error}".rstrip(": "))


async def _make_database(client: Any) -> None:  # noqa: ANN401 see `open_client`
    try:
        await client.create_database()
    except InfluxDBError as error:
        # Who has rights on his database alone may make none: whether it is there the answer to a write says.
        if _NOT_ADMIN not in str(error):
            raise


def _written(batch_id: int, rows: int, sent: Delivery) -> PointsWritten:
    counts = sent.counts()
    reason = sent.aside[0].reason if sent.aside else ""
    return PointsWritten(batch_id, rows - sum(counts.values()), counts, reason)
