"""Who may call what: bearer token, host names, request rate, body size (RELIABILITY.md 1.8)."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from tradefan.units import SECOND

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def load_token(path: Path) -> str:
    """Return the control token, made with mode 0600 at the first start."""
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    token = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token


def problem(status: int, code: str, text: str, **more: object) -> web.Response:
    """Return an error as JSON: a stable code, a sentence, and what else helps."""
    return web.json_response({"error": {"code": code, "text": text, **more}}, status=status)


class Guard:
    """The middleware in front of every handler."""

    def __init__(self, token: str, host: str, requests_per_second: int, now_ns: Callable[[], int]) -> None:
        """Allow `requests_per_second` in bursts of as many; control needs the token."""
        self.refused = 0
        self._digest = hashlib.sha256(token.encode()).digest()
        self._names = _LOCAL_NAMES | {host}
        self._rate = requests_per_second
        self._now_ns = now_ns
        self._allowance = float(requests_per_second)
        self._last_ns = now_ns()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what may not pass; let the rest through."""
        refusal = self._refusal(request)
        if refusal is not None:
            self.refused += 1
            return refusal
        return await handler(request)

    def _refusal(self, request: web.Request) -> web.Response | None:
        name = request.host.rpartition(":")[0] if ":" in request.host.rpartition("]")[2] else request.host
        if name not in self._names:
            # A page that rebinds its own name to this address must not reach us.
            return problem(403, "BAD_HOST", f"expected one of {sorted(self._names)} as Host, got {name!r}")
        if not request.path.startswith("/api/"):
            return None
        if not self._spend():
            return problem(429, "RATE_LIMIT", f"more than {self._rate} requests in a second")
        if not self._known(request.headers.get("Authorization", "")):
            return problem(401, "NO_TOKEN", "expected 'Authorization: Bearer TOKEN'; it is in DATA_DIR/token")
        if request.method == "POST" and request.content_type != "application/json":
            return problem(415, "NOT_JSON", f"expected application/json, got {request.content_type}")
        return None

    def _known(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).digest()
        return hmac.compare_digest(digest, self._digest) and scheme == "Bearer"

    def _spend(self) -> bool:
        now_ns = self._now_ns()
        earned = (now_ns - self._last_ns) / SECOND * self._rate
        self._last_ns = now_ns
        self._allowance = min(float(self._rate), self._allowance + earned)
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
