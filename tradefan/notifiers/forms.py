"""What each kind of receiver wants to be sent, and what its answer means; pure functions of a notice."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

import msgspec
from msgspec import Struct

from tradefan.units import MS, iso

TEXT_MAX = 2_000
"""Of one message; Telegram takes 4,096 letters, DingTalk 20,000 bytes."""

_BETWEEN = re.compile(r"[/?&=:;,#@+]")
"""What stands between the words of an address."""


class Notice(Struct, frozen=True):
    """One line of the log that somebody is to see; `others` were held back since the one before it.

    `gravest` is the event of the gravest of those.
    """

    at_ns: int
    level: str
    event: str
    where: str
    fields: dict[str, Any]
    others: int = 0
    gravest: str = ""

    @property
    def text(self) -> str:
        """Return it as people read it."""
        parts = [f"{key}={_shown(value)}" for key, value in self.fields.items() if value is not None]
        gravest = f", the gravest {self.gravest}" if self.gravest else ""
        more = f" (and {self.others} more{gravest})" if self.others else ""
        head = f"[{self.level}] {self.where}: {self.event}"
        return f"{head} {' '.join(parts)}".rstrip()[:TEXT_MAX] + more


class Post(NamedTuple):
    """One request."""

    url: str
    body: bytes


class Receiver(NamedTuple):
    """Where, with what secrets, and in which form."""

    kind: str
    url: str
    secret: str
    chat: str


def post_of(receiver: Receiver, notice: Notice) -> Post:
    """Return the request that tells a receiver."""
    return _FORMS[receiver.kind](receiver, notice)


def taken(kind: str, status: int, body: bytes) -> bool:
    """Say whether the receiver has taken it: some answer 200 and say no in the body."""
    if not 200 <= status < 300:
        return False
    if kind not in ("telegram", "dingtalk"):
        return True
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return isinstance(said, dict) and (
        said.get("ok") is True if kind == "telegram" else said.get("errcode") == 0
    )


def secret_parts(url: str, least: int) -> tuple[str, ...]:
    """Return what of an address may give away who may post there, the longest first, of `least` letters on.

    Whoever answers may repeat a path, a query or a word of them, and as text, not as an address has it.
    """
    parts = urlsplit(url)
    behind = f"{parts.path}?{parts.query}" if parts.query else parts.path
    said = {url, behind, parts.path, parts.query, parts.username or "", parts.password or ""}
    said |= {unquote(text) for text in said}
    said |= {word for text in (behind, unquote(behind)) for word in _BETWEEN.split(text)}
    said |= {word.removeprefix("bot") for word in said}
    return tuple(sorted({text for text in said if len(text) >= least}, key=len, reverse=True))


def _webhook(receiver: Receiver, notice: Notice) -> Post:
    """Everything as JSON, for a program of one's own."""
    body = {
        "at": iso(notice.at_ns),
        "level": notice.level,
        "event": notice.event,
        "where": notice.where,
        "fields": notice.fields,
        "others": notice.others,
        "gravest": notice.gravest or None,
        "text": notice.text,
    }
    return Post(receiver.url, msgspec.json.encode(body, enc_hook=str))


def _slack(receiver: Receiver, notice: Notice) -> Post:
    """Source: https://api.slack.com/messaging/webhooks, seen 2026-11."""
    return Post(receiver.url, msgspec.json.encode({"text": notice.text}))


def _telegram(receiver: Receiver, notice: Notice) -> Post:
    """Return `sendMessage`; the URL is https://api.telegram.org/botTOKEN.

    Source: https://core.telegram.org/bots/api#sendmessage.
    """
    body = {"chat_id": receiver.chat, "text": notice.text, "disable_web_page_preview": True}
    return Post(f"{receiver.url.rstrip('/')}/sendMessage", msgspec.json.encode(body))


def _dingtalk(receiver: Receiver, notice: Notice) -> Post:
    """Return a text message, signed where a secret is given: HMAC-SHA256 under it of ms, line end, secret.

    Source: https://open.dingtalk.com/document/robots/customize-robot-security-settings.
    """
    url, at_ms = receiver.url, notice.at_ns // MS
    if receiver.secret:
        digest = hmac.digest(receiver.secret.encode(), f"{at_ms}\n{receiver.secret}".encode(), "sha256")
        signed = urlencode({"timestamp": at_ms, "sign": base64.b64encode(digest).decode()})
        url = f"{url}{'&' if '?' in url else '?'}{signed}"
    return Post(url, msgspec.json.encode({"msgtype": "text", "text": {"content": notice.text}}))


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)


_FORMS: dict[str, Callable[[Receiver, Notice], Post]] = {
    "webhook": _webhook,
    "slack": _slack,
    "telegram": _telegram,
    "dingtalk": _dingtalk,
}
KINDS = tuple(_FORMS)
