"""How the command line talks to a running daemon: find it, ask it, read its errors."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import orjson

from tradefan.errors import Refused, TradeFanError
from tradefan.units import clean

FAILED = 1
USAGE = 2
NOT_RUNNING = 3
NOT_READY = 4
UNPERSISTED = 5
TIMEOUT_S = 10
_CONTROL = "/api/"


class Unanswered(TradeFanError):
    """No useful answer; `code` is the exit code that says why.

    `status` and `body` are those of the HTTP answer where there was one, `retry_after_s` what it asked for.
    """

    def __init__(
        self, code: int, text: str, status: int | None = None, body: object = None, retry_after_s: float = 0
    ) -> None:
        super().__init__(text)
        self.code = code
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s

    def refusal(self) -> Refused | None:
        """Return what the daemon refused; None where nobody knows what became of the call."""
        if self.status is None or self.status >= 500:
            return None
        code, _, text = str(self).partition(": ")
        return RateLimited(code, text, self.retry_after_s) if self.status == 429 else Refused(code, text)


class RateLimited(Refused):
    """Asked more often than `api.requests_per_second`; nothing was done."""

    def __init__(self, code: str, text: str, retry_after_s: float) -> None:
        super().__init__(code, text)
        self.retry_after_s = retry_after_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the daemon that was named and to nobody whom an answer names."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


# A proxy in the environment is not meant for the daemon, which listens on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


class Client:
    """Asks one daemon over HTTP; control calls carry the token."""

    def __init__(self, url: str, token: Callable[[], str | None], timeout_s: float = TIMEOUT_S) -> None:
        """Name the daemon; `token` is called when one is needed."""
        if not url.startswith(("http://", "https://")):
            raise Unanswered(USAGE, f"expected a URL that begins with http:// or https://, got {url!r}")
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s

    def get(self, path: str) -> Any:  # noqa: ANN401 JSON
        """Return the JSON of a GET."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 JSON
        """Return the JSON of a POST."""
        return self._ask("POST", path, _json(body))

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:  # noqa: ANN401 JSON
        headers = {"Content-Type": "application/json", "User-Agent": "tradefan-cli"}
        token = self._token() if path.startswith(_CONTROL) else None
        if token is not None:
            if not (token.isascii() and token.isprintable()):
                raise Unanswered(FAILED, "expected a token of printable ASCII characters, got another one")
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310 checked above
        try:
            with _OPENER.open(request, timeout=self._timeout_s) as response:
                return orjson.loads(response.read())
        except urllib.error.HTTPError as error:
            raise _unanswered(error) from error
        except orjson.JSONDecodeError as error:
            raise Unanswered(FAILED, f"{self.url}{path}: expected JSON; is it TradeFan?") from error
        except (OSError, HTTPException, ValueError) as error:
            # ValueError: an address that cannot be one, such as a port of letters.
            raise Unanswered(NOT_RUNNING, f"no answer from {self.url}: {error}") from error


def _json(body: dict[str, Any]) -> bytes:
    """Return a body as JSON.

    Raises:
        Unanswered: the terminal gave a text that UTF-8 cannot carry.
    """
    for key, value in body.items():
        if isinstance(value, str) and clean(value) != value:
            raise Unanswered(USAGE, f"{key}: expected a text in UTF-8, got {value!r}")
    return orjson.dumps(body)


def read_token(path: Path) -> str | None:
    """Return `TRADEFAN_TOKEN`, else the token of a data directory, None where there is none.

    Raises:
        Unanswered: the file is there, and not for this user.
    """
    if (given := os.environ.get("TRADEFAN_TOKEN")) is not None:
        return given
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unanswered(FAILED, f"expected to read the token in {path}: {error}") from error


def _unanswered(error: urllib.error.HTTPError) -> Unanswered:
    """Return what the daemon's refusal says: code, sentence, and what would have passed."""
    body: Any = None
    try:
        body = orjson.loads(error.read())
        problem = body["error"]
        lines = [f"{problem['code']}: {problem['text']}"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return Unanswered(FAILED, f"HTTP {error.code} {error.reason}", error.code, body)
    words = {"limit": "limit", "used": "used", "would_pass": "would pass", "ref": "ref"}
    lines += [f"{word}: {problem[key]}" for key, word in words.items() if problem.get(key)]
    # Seconds are all that the daemon gives, and a date of a proxy's is no reason to fail.
    wait = error.headers.get("Retry-After", "")
    code = NOT_READY if error.code == 503 else FAILED
    retry_after_s = float(wait) if wait.isdecimal() else 0
    return Unanswered(code, "\n  ".join(lines), error.code, body, retry_after_s)
