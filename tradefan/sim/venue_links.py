"""The account's connections: who hears what, and what gets lost with a connection that ends."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from tradefan.messages.base import Message
from tradefan.messages.wire import Closed, Open, Opened, Received
from tradefan.units import SECOND

Key = tuple[str, int]
"""Connection and generation."""
Hear = Callable[[int, bytes], None]
"""(instant, body) to one listener."""


class Conn(Struct):
    """One generation; a deaf one takes requests that arrive nowhere, and brings nothing."""

    gen: int
    subscribed: bool = False
    deaf: bool = False


class Links:
    """Open connections, and messages on their way to the process that listens."""

    def __init__(self) -> None:
        """Begin without any."""
        self.conns: dict[Key, Conn] = {}
        self.refused_ns = 0
        """Until when no connection is taken."""
        self.slow_until_ns = self.slow_ns = 0
        """Until when all bytes come late, and by how much."""
        self._out: list[tuple[int, int, Key, Message]] = []
        self._number = 0

    # --- what is heard ------------------------------------------------------------------------------------

    def hear(self, due_ns: int, key: Key, message: Message) -> None:
        """Let a message be heard at an instant."""
        self._number += 1
        heapq.heappush(self._out, (due_ns, self._number, key, message))

    def say(self, key: Key, due_ns: int, body: bytes) -> None:
        """Let bytes be heard, if the connection still stands then; a slow one keeps their order."""
        if due_ns < self.slow_until_ns + self.slow_ns:
            due_ns = min(due_ns, self.slow_until_ns) + self.slow_ns
        self.hear(due_ns, key, Received(*key, due_ns, body))

    def next_ns(self) -> int | None:
        """Return when the next message is heard."""
        return self._out[0][0] if self._out else None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is heard by now."""
        out = self._out
        heard: list[Message] = []
        while out and out[0][0] <= now_ns and len(heard) < limit:
            _, _, key, message = heapq.heappop(out)
            if type(message) is not Received or self._hears(key):
                heard.append(message)
        return heard

    def hurry(self, bound_ns: int) -> None:
        """Let everything be heard by an instant."""
        self._out = [(min(due_ns, bound_ns), number, key, msg) for due_ns, number, key, msg in self._out]
        heapq.heapify(self._out)

    def listeners(self) -> list[Hear]:
        """Return everybody who hears the private stream."""
        return [partial(self.say, key) for key, conn in self.conns.items() if conn.subscribed]

    def _hears(self, key: Key) -> bool:
        conn = self.conns.get(key)
        return conn is not None and not conn.deaf

    # --- connections --------------------------------------------------------------------------------------

    def open(self, effect: Open, at_ns: int, heard_ns: int, banned_ns: int) -> None:
        """Take a connection, unless the address is banned or nothing is taken at all."""
        key = (effect.conn, effect.gen)
        if at_ns < banned_ns:
            self.hear(heard_ns, key, Closed(*key, heard_ns, 418, "banned", (banned_ns - at_ns) / SECOND))
        elif at_ns < self.refused_ns:
            self.hear(heard_ns, key, Closed(*key, heard_ns, None, "connection refused"))
        else:
            self.conns[key] = Conn(effect.gen)
            self.hear(heard_ns, key, Opened(*key, heard_ns))

    def close(self, key: Key, at_ns: int, code: int | None, reason: str) -> None:
        """End a connection; requests that left still arrive, but nobody hears their answers."""
        self.conns.pop(key, None)
        self.hear(at_ns, key, Closed(*key, at_ns, code, reason))

    def break_all(self, at_ns: int, reason: str, *, deaf_only: bool = False) -> bool:
        """End connections without being asked; say whether there was one."""
        keys = [key for key, conn in self.conns.items() if conn.deaf or not deaf_only]
        for key in keys:
            self.close(key, at_ns, 1006, reason)
        return bool(keys)

    def go_deaf(self) -> bool:
        """Let all connections be half open: nothing comes or goes, and nobody is told."""
        for conn in self.conns.values():
            conn.deaf = True
        return bool(self.conns)

    def end_streams(self, due_ns: int, body: bytes) -> bool:
        """End the private stream with the venue's word for it; say whether anybody heard it."""
        keys = [key for key, conn in self.conns.items() if conn.subscribed]
        for key in keys:
            self.conns[key].subscribed = False
            self.say(key, due_ns, body)
        return bool(keys)

    def crash(self) -> None:
        """The process is gone: its connections end, and nobody hears what it asked for."""
        self.conns.clear()
        self._out.clear()
