"""Effects and ingress between a connection machine and its link (VENUES.md part 1).

Links move bytes and decide nothing; `gen` is a connection generation that is never reused, `req`
the machine's own number of a request.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tradefan.messages.base import Control, Fact

Op = Literal["subscribe", "query", "create", "cancel", "replace"]


class Text(Struct, frozen=True, array_like=True, tag=True):
    """A websocket text message."""

    text: str


class Http(Struct, frozen=True, array_like=True, tag=True):
    """An HTTP request; `query` and `headers` are ordered pairs, already in wire spelling."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class Open(Fact, frozen=True, array_like=True, tag=True):
    """Open a connection; answered by `Opened` or `Closed`."""

    conn: str
    gen: int
    url: str
    headers: tuple[tuple[str, str], ...] = ()


class Close(Fact, frozen=True, array_like=True, tag=True):
    """Close a generation; answered by `Closed`."""

    conn: str
    gen: int
    code: int = 1000


class Write(Fact, frozen=True, array_like=True, tag=True):
    """Write one request; answered by `Written` or `NotWritten`."""

    conn: str
    gen: int
    req: int
    op: Op
    not_after_ns: int | None
    body: Text | Http
    sign: bool = False
    scopes: tuple[str, ...] = ()
    """Of a create or replace: where a closed latch forbids it (`all`, instrument, account, owner, venues)."""


class Opened(Fact, frozen=True, array_like=True, tag=True):
    """A connection is up. A tape adds `shift_ns` to times and `shift_id` to ids: the codec adds them.

    Frames with a receive time before `live_from_ns` are history of a tape, played at once.
    """

    conn: str
    gen: int
    at_ns: int
    shift_ns: int = 0
    shift_id: int = 0
    live_from_ns: int = 0


class Received(Fact, frozen=True, array_like=True, tag=True, gc=False):
    """Bytes as they came; `req` and `status` only for answers."""

    conn: str
    gen: int
    recv_ns: int
    body: bytes
    req: int | None = None
    status: int | None = None
    retry_after_s: float | None = None


class Written(Fact, frozen=True, array_like=True, tag=True):
    """The request was handed to the transport, which proves nothing about the other end."""

    conn: str
    gen: int
    req: int
    at_ns: int


class NotWritten(Fact, frozen=True, array_like=True, tag=True):
    """Proof that nothing of this request left: `LATCHED STALE_GENERATION EXPIRED link_down`."""

    conn: str
    gen: int
    req: int
    reason: str


class Closed(Fact, frozen=True, array_like=True, tag=True):
    """A generation ended; `seam` is the end of a tape's lap.

    `code` is a close code, or below 1000 the HTTP status that refused the connection.
    """

    conn: str
    gen: int
    at_ns: int
    code: int | None
    reason: str
    retry_after_s: float | None = None


class LinkDown(Control, frozen=True, array_like=True, tag=True):
    """A link's task ended."""

    link: str
    generation: int
    reason: str

    def key(self) -> str:
        """One slot per link."""
        return f"LinkDown {self.link}"


class Credit(Control, frozen=True, array_like=True, tag=True):
    """A link with a queue has room for `total` effects in all since its start (cumulative)."""

    link: str
    total: int

    def key(self) -> str:
        """One slot per link."""
        return f"Credit {self.link}"


class Overflow(Control, frozen=True, array_like=True, tag=True):
    """A link whose queue may lose nothing holds more than its bound: all must end while it still has it."""

    link: str
    reason: str

    def key(self) -> str:
        """One slot per link."""
        return f"Overflow {self.link}"


FOR_THE_KERNEL: frozenset[type[Control]] = frozenset({Credit, Overflow})
"""What a link says of itself: not to the owner of its port, but to the kernel."""
