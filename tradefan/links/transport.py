"""What all links to a venue have in common: how to reach it, and the question before each write."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect

from tradefan.core.connection import may_write
from tradefan.messages.wire import Open, Write


class Transport(Struct, frozen=True):
    """How to reach a venue; `latched` says whether the latch is closed for a write's scopes.

    `tls` None verifies with the system's authorities. A proxy is used only where it is named here:
    the environment of the process does not decide how orders travel.
    """

    latched: Callable[[tuple[str, ...]], bool] = lambda _scopes: False
    tls: ssl.SSLContext | None = None
    proxy: str | None = None
    open_s: float = 10.0
    ping_s: float = 5.0
    close_s: float = 1.0
    answer_s: float = 10.0

    def refusal(self, write: Write, is_open: bool, now_ns: int) -> str | None:
        """Return why a write must not happen; only what creates risk is held up by the latch."""
        latched = write.op in ("create", "replace") and self.latched(write.scopes)
        return may_write(latched, (write.gen, write.gen if is_open else 0), write.not_after_ns, now_ns)

    async def dial(self, effect: Open, bytes_max: int) -> ClientConnection:
        """Open a websocket: no compression, redirect or library ping, whole messages up to a size."""
        return await _Connect(
            effect.url,
            additional_headers=list(effect.headers),
            compression=None,
            proxy=self.proxy,
            open_timeout=self.open_s,
            close_timeout=self.close_s,
            ping_interval=None,
            max_size=bytes_max,
            ssl=self.tls or (True if effect.url.startswith("wss:") else None),
        )


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a venue asks to wait; its other form, a date, is not used by venues."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
