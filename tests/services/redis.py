"""A private redis-server, and how a test asks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.services.server import Server, free_ports, require


class RedisServer(Server):
    """Redis on loopback that keeps nothing on the disk."""

    def __init__(self, folder: Path, *flags: str, password: str = "") -> None:
        """Choose a port; skips where there is no redis-server."""
        program = require("redis-server")
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.password = password
        folder.mkdir(parents=True, exist_ok=True)
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        secret = ["--requirepass", password] if password else []
        super().__init__([program, *words, *secret, "--dir", str(folder), *flags], folder, self._ping)

    def ask(self, *words: str | int) -> Any:
        """Return the answer to one command."""
        return self.client(lambda one: one.execute_command(*words))

    def client(self, use: Callable[[Any], Any]) -> Any:
        """Let a client of its own be used."""
        with Redis.from_url(
            self.url, password=self.password or None, decode_responses=True, socket_timeout=5
        ) as one:
            return use(one)

    def entries(self, stream: str) -> list[dict[str, str]]:
        """Return the fields of a stream's entries, the oldest first."""
        return [fields for _, fields in self.client(lambda one: one.xrange(stream))]

    def _ping(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except RedisError:
            return False
