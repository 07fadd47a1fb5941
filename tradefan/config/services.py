"""Sections of what serves trading from beside it: stores, recorder, HTTP face, logs, what is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from tradefan.config.fields import FILE, NAME, Duration, Secret, live, restart
from tradefan.units import DAY, MINUTE, MS, SECOND


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections."""


class StoreConfig(Section, frozen=True, kw_only=True):
    """The embedded store: a projection that may be deleted."""

    path: Annotated[str, restart("file in the data directory", pattern=FILE, such_as="a file name")] = (
        "store.db"
    )
    flush_interval: Annotated[Duration, live("a row waits at most this long for its batch", le=MINUTE)] = (
        500 * MS
    )
    batch_size: Annotated[int, live("a full batch is written at once", unit="rows", ge=1, le=10**5)] = 1000
    queue_max: Annotated[
        int,
        live(
            "rows that wait; beyond it the oldest market rows go, and are counted; the journal has the rest",
            unit="rows",
            ge=1,
            le=10**7,
        ),
    ] = 50_000


class InfluxConfig(Section, frozen=True, kw_only=True):
    """Everything that is stored, as points in an InfluxDB 1.x as well. Nothing that trades waits for it."""

    url: Annotated[
        str,
        restart(
            "address of the server; empty: none is written to",
            pattern=r"(https?://[^\s/@]{1,200})?",
            such_as="http://localhost:8086",
        ),
    ] = ""
    db: Annotated[str, restart("its database, made where it is missing", pattern=NAME, such_as="a name")] = (
        "tradefan"
    )
    username: Annotated[Secret, restart("reference to the user's name, where the server asks for one")] = ""
    password: Annotated[Secret, restart("reference to the password")] = ""
    timeout: Annotated[Duration, restart("of one request", ge=100 * MS, le=MINUTE)] = 5 * SECOND
    batch_size: Annotated[int, live("a full batch is written at once", unit="points", ge=1, le=20_000)] = 1000
    flush_interval: Annotated[
        Duration, live("a point waits at most this long for its batch", ge=10 * MS, le=MINUTE)
    ] = 1 * SECOND
    queue_max: Annotated[
        int,
        live(
            "points that wait for the server; beyond it the oldest of the market go, and are counted",
            unit="points",
            ge=1,
            le=10**7,
        ),
    ] = 100_000


class RedisConfig(Section, frozen=True, kw_only=True):
    """Newest prices, positions and status for other programs, and streams of what happens, in a Redis."""

    url: Annotated[
        str,
        restart(
            "address of the server with the number of its database; empty: none is written to",
            pattern=r"(rediss?://[^\s/@]{1,200}(/\d{1,4})?)?",
            such_as="redis://localhost:6379/0",
        ),
    ] = ""
    username: Annotated[Secret, restart("reference to the user's name, where the server asks for one")] = ""
    password: Annotated[Secret, restart("reference to the password")] = ""
    timeout: Annotated[Duration, restart("of each answer", ge=10 * MS, le=MINUTE)] = 250 * MS
    batch_size: Annotated[int, live("a full batch is sent at once", unit="entries", ge=1, le=10_000)] = 500
    flush_interval: Annotated[
        Duration, live("an entry waits at most this long for its batch", ge=MS, le=MINUTE)
    ] = 100 * MS
    queue_max: Annotated[
        int,
        live(
            "entries that wait for the server; beyond it the oldest of the market go, and are counted",
            unit="entries",
            ge=1,
            le=10**7,
        ),
    ] = 10_000
    ttl: Annotated[Duration, live("a price is gone after so long without a newer one", ge=MS, le=DAY)] = (
        5 * SECOND
    )
    stream_max: Annotated[
        int, live("a stream keeps about so many, the newest", unit="entries", ge=1, le=10**8)
    ] = 10_000


class NotifierConfig(Section, frozen=True, kw_only=True):
    """Somebody who is told what the log has of this level and above."""

    kind: Annotated[
        Literal["webhook", "slack", "telegram", "dingtalk"], restart("the form that the receiver takes")
    ] = "webhook"
    url: Annotated[
        Secret, restart("reference to its address; telegram: https://api.telegram.org/botTOKEN")
    ] = ""
    secret: Annotated[Secret, restart("dingtalk: reference to the secret that signs")] = ""
    chat: Annotated[str, restart("telegram: the chat's id")] = ""
    level: Annotated[Literal["warning", "error", "critical"], live("least severity that is told")] = "error"
    per_minute: Annotated[
        int,
        live(
            "more are held back and counted; critical ones count for themselves", unit="messages", ge=1, le=60
        ),
    ] = 10


class RecorderConfig(Section, frozen=True, kw_only=True):
    """The flight recorder: every input of the daemon, for replay."""

    enabled: Annotated[
        bool, restart("record every step into DATA_DIR/logs/recorder, or logs/recorder/ENVIRONMENT")
    ] = True
    segment_size: Annotated[int, live("then a new file is begun", unit="bytes", ge=65_536, le=2**32)] = 2**26
    segment_time: Annotated[
        Duration, live("then a new file is begun, with a snapshot", ge=SECOND, le=DAY)
    ] = 10 * MINUTE
    size_max: Annotated[
        int, live("all files together; the oldest go", unit="bytes", ge=131_072, le=2**50)
    ] = 2**30
    age_max: Annotated[Duration, live("older files go", ge=MINUTE, le=365 * DAY)] = 7 * DAY
    flush_interval: Annotated[Duration, live("a step waits at most this long for its chunk", le=MINUTE)] = (
        1 * SECOND
    )
    queue_max: Annotated[
        int,
        live(
            "bytes that wait for the disk; with more, recording pauses and begins a new file",
            unit="bytes",
            ge=2**20,
            le=2**32,
        ),
    ] = 2**25


class ApiConfig(Section, frozen=True, kw_only=True):
    """The HTTP face. Beyond 127.0.0.1 put a proxy with TLS in front of it."""

    host: Annotated[
        str, restart("address that it listens on", pattern=r"[0-9A-Za-z.:-]{1,253}", such_as="a host")
    ] = "127.0.0.1"
    port: Annotated[int, restart("0 takes a free one", ge=0, le=65535)] = 8000
    requests_per_second: Annotated[
        int, restart("of control, and as many of open pages", unit="requests per second", ge=1, le=10**5)
    ] = 20
    connections_max: Annotated[int, restart("at one time", unit="connections", ge=1, le=10**5)] = 64
    body_max: Annotated[int, restart("of a request", unit="bytes", ge=1024, le=2**24)] = 65_536


class LogsConfig(Section, frozen=True, kw_only=True):
    """The log file and the console."""

    level: Annotated[Literal["debug", "info", "warning", "error"], live("least severity that is written")] = (
        "info"
    )
    file_max: Annotated[int, restart("then a new file is begun", unit="bytes", ge=65_536, le=2**31)] = (
        10_485_760
    )
    files: Annotated[int, restart("kept in all", unit="files", ge=1, le=1000)] = 5
    console: Annotated[bool, restart("also for people, on standard error")] = True
    queue_max: Annotated[
        int,
        restart(
            "lines that wait for the writer; the oldest are dropped, and counted",
            unit="lines",
            ge=16,
            le=10**6,
        ),
    ] = 10_000


class TelemetryConfig(Section, frozen=True, kw_only=True):
    """What the faces show."""

    metrics: Annotated[bool, restart("serve Prometheus metrics under /metrics")] = True
    top: Annotated[
        int,
        live(
            "most rows of one list in /status; of open orders and positions 200", unit="rows", ge=1, le=1000
        ),
    ] = 50
