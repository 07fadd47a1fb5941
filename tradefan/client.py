"""How the command line talks to a running daemon: find it, ask it, read its errors."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson

from tradefan.errors import TradeFanError

NOT_RUNNING = 3
NOT_READY = 4
FAILED = 1


class Unanswered(TradeFanError):
    """No useful answer; `code` is the exit code that says why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Client:
    """Asks one daemon over HTTP; control calls carry the token."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._token = token

    @classmethod
    def find(cls, data_dir: Path, running_url: str | None, url: str | None) -> Client:
        """Return a client for `--url`, else `TRADEFAN_URL`, else the daemon of the data directory.

        Raises:
            Unanswered: NOT_RUNNING when no daemon was found.
        """
        found = url or os.environ.get("TRADEFAN_URL") or running_url
        if found is None:
            raise Unanswered(
                NOT_RUNNING, f"no daemon is running on {data_dir}; start one with 'tradefan run'"
            )
        token = os.environ.get("TRADEFAN_TOKEN")
        token_file = data_dir / "token"
        if token is None and token_file.is_file():
            token = token_file.read_text(encoding="ascii").strip()
        return cls(found, token)

    def get(self, path: str) -> Any:  # noqa: ANN401 JSON
        """Return the JSON of a GET."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any], key: str | None = None) -> Any:  # noqa: ANN401 JSON
        """Return the JSON of a POST; `key` is its Idempotency-Key."""
        return self._ask("POST", path, orjson.dumps(body), key)

    def _ask(self, method: str, path: str, body: bytes | None, key: str | None = None) -> Any:  # noqa: ANN401 JSON
        headers = {"Content-Type": "application/json", "User-Agent": "tradefan-cli"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        if not self.url.startswith(("http://", "https://")):
            raise Unanswered(2, f"expected a URL that begins with http:// or https://, got {self.url!r}")
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310 checked above
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 checked above
                return orjson.loads(response.read())
        except urllib.error.HTTPError as error:
            raise self._problem(error) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise Unanswered(NOT_RUNNING, f"no answer from {self.url}: {error}") from error

    @staticmethod
    def _problem(error: urllib.error.HTTPError) -> Unanswered:
        try:
            problem = orjson.loads(error.read())["error"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Unanswered(FAILED, f"HTTP {error.code} {error.reason}")
        parts = [f"{problem['code']}: {problem['text']}"]
        parts += [
            f"{name.replace('_', ' ')}: {problem[name]}"
            for name in ("limit", "used", "would_pass")
            if problem.get(name)
        ]
        code = NOT_READY if problem["code"] in ("NOT_READY", "RESTARTING") else FAILED
        return Unanswered(code, "\n  ".join(parts))
