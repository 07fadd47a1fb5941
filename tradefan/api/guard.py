"""Who may call what: host names, origins, bearer token, request rate (RELIABILITY.md 1.8)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tradefan.units import SECOND

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CONTROL = "/api/"
KILL = "/api/v1/kill"
SPARE_MAX = 4
"""Connections beyond the limit that are heard out: one of them may be a kill."""
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def problem(status: int, code: str, text: str, **more: object) -> web.Response:
    """Return an error as JSON: a stable code, a sentence, and what else helps."""
    return web.json_response({"error": {"code": code, "text": text, **more}}, status=status)


class Problem(Exception):
    """What a handler raises to answer with an error; the guard makes a response of it."""

    def __init__(self, status: int, code: str, text: str, **more: object) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.response = problem(status, code, text, **more)


class Spare:
    """The slot of the kill: a few connections beyond the limit, on which nothing else is answered.

    The oldest gives way, so that whoever fills them keeps nobody out for longer than his own
    connections come.
    """

    def __init__(self) -> None:
        self._handlers: dict[RequestHandler, None] = {}

    def __contains__(self, handler: object) -> bool:
        return handler in self._handlers

    def add(self, handler: RequestHandler) -> RequestHandler:
        """Let one more be heard, in the place of the oldest when there are too many."""
        while len(self._handlers) >= SPARE_MAX:
            oldest = next(iter(self._handlers))
            del self._handlers[oldest]
            oldest.force_close()
        self._handlers[handler] = None
        return handler

    def discard(self, handler: RequestHandler) -> None:
        """Forget a connection whose request has come."""
        self._handlers.pop(handler, None)


class Bucket:
    """So many requests a second, in bursts of as many."""

    def __init__(self, per_second: int, now_ns: Callable[[], int]) -> None:
        """Begin full."""
        self._rate = per_second
        self._now_ns = now_ns
        self._allowance = float(per_second)
        self._last_ns = now_ns()

    def spend(self) -> bool:
        """Take one, or say that there is none."""
        now_ns = self._now_ns()
        earned = (now_ns - self._last_ns) / SECOND * self._rate
        self._last_ns = now_ns
        self._allowance = min(float(self._rate), self._allowance + earned)
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


class Guard:
    """The middleware in front of every handler.

    Control has a bucket of its own, which only the token opens: whoever floods the open pages, or
    guesses tokens, does not keep the owner out. The owner's kill asks no bucket at all.
    """

    def __init__(self, token: str, host: str, requests_per_second: int, now_ns: Callable[[], int]) -> None:
        """Allow `requests_per_second` of control, and as many of all the rest."""
        self.spare = Spare()
        self._digest = hashlib.sha256(token.encode()).digest()
        self._names = (*_LOCAL_NAMES, host.lower())
        self._rate = requests_per_second
        self._control = Bucket(requests_per_second, now_ns)
        self._open = Bucket(requests_per_second, now_ns)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what may not pass; let the rest through, and answer every error as JSON."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except Problem as wrong:
            return wrong.response
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            text = f"expected a method and path of this API, got {request.method} {request.path[:100]!r}"
            return problem(error.status, error.reason.upper().replace(" ", "_"), text)
        except web.HTTPException as error:
            return problem(error.status, error.reason.upper().replace(" ", "_"), error.text or error.reason)

    def _refusal(self, request: web.Request) -> web.Response | None:
        known = self._known(request.headers.get("Authorization", ""))
        control = request.path.startswith(CONTROL)
        kill = known and request.path == KILL
        if request.protocol in self.spare:
            self.spare.discard(request.protocol)
            if not kill:
                request.protocol.force_close()
                return problem(503, "CROWDED", "too many connections")
        if not kill and not (self._control if control and known else self._open).spend():
            busy = problem(429, "RATE_LIMIT", f"more than {self._rate} requests in a second")
            # A bucket that is empty has one again within a second at the latest.
            busy.headers["Retry-After"] = "1"
            return busy
        if (elsewhere := self._elsewhere(request)) is not None:
            # A page that rebinds its own name to this address, or posts here from its own, must not reach us.
            names = ", ".join(self._names)
            return problem(403, "BAD_HOST", f"expected one of {names} as host, got {elsewhere[:100]!r}")
        if control and not known:
            return problem(401, "NO_TOKEN", "expected 'Authorization: Bearer TOKEN'; it is in DATA_DIR/token")
        if request.method == "POST" and request.content_type != "application/json":
            return problem(415, "NOT_JSON", f"expected application/json, got {request.content_type}")
        return None

    def _elsewhere(self, request: web.Request) -> str | None:
        """Return the name of Host, or of Origin where there is one, that is not ours."""
        for url in (f"//{request.host}", request.headers.get("Origin")):
            if url is not None and _name(url) not in self._names:
                return url
        return None

    def _known(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(digest, self._digest) and scheme == "Bearer"


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
