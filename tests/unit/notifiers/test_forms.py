"""What receivers are sent: forms of four kinds, and which answers mean that a message was taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qs, urlsplit

import pytest

from tradefan.config.services import NotifierConfig
from tradefan.notifiers.forms import KINDS, TEXT_MAX, Notice, Receiver, post_of, secret_parts, taken
from tradefan.units import SECOND

NOTICE = Notice(
    1_700_000_000 * SECOND, "critical", "trigger_blocked", "TradeFan development", {"price": "94"}, 2
)
TEXT = "[critical] TradeFan development: trigger_blocked price=94 (and 2 more)"


def sent(kind: str, url: str = "https://example.org/x", **words: str) -> tuple[str, Any]:
    post = post_of(Receiver(kind, url, words.get("secret", ""), words.get("chat", "")), NOTICE)
    return post.url, json.loads(post.body)


def test_kinds_are_those_of_the_configuration() -> None:
    """A kind that can be configured has a form."""
    hint = get_type_hints(NotifierConfig)["kind"]
    assert get_args(hint) == KINDS


def test_webhook_then_has_everything_as_json() -> None:
    """A program of one's own gets fields, not sentences."""
    assert sent("webhook") == (
        "https://example.org/x",
        {
            "at": "2023-11-14T22:13:20.000Z",
            "level": "critical",
            "event": "trigger_blocked",
            "where": "TradeFan development",
            "fields": {"price": "94"},
            "others": 2,
            "gravest": None,
            "text": TEXT,
        },
    )


def test_slack_then_has_a_text() -> None:
    assert sent("slack") == ("https://example.org/x", {"text": TEXT})


def test_telegram_then_is_send_message_to_the_chat() -> None:
    url, body = sent("telegram", "https://api.telegram.org/bot1:abc/", chat="-100")
    assert url == "https://api.telegram.org/bot1:abc/sendMessage"
    assert (body["chat_id"], body["text"]) == ("-100", TEXT)


def test_dingtalk_when_it_has_a_secret_then_is_signed_with_the_instant() -> None:
    """base64(HMAC-SHA256(secret, `ms` line end `secret`)), as its documentation says."""
    url, body = sent("dingtalk", "https://oapi.dingtalk.com/robot/send?access_token=t", secret="SEC1")
    query = parse_qs(urlsplit(url).query)
    digest = hmac.new(b"SEC1", b"1700000000000\nSEC1", hashlib.sha256).digest()
    assert query == {
        "access_token": ["t"],
        "timestamp": ["1700000000000"],
        "sign": [base64.b64encode(digest).decode()],
    }
    assert body == {"msgtype": "text", "text": {"content": TEXT}}
    assert sent("dingtalk")[0] == "https://example.org/x"


@pytest.mark.parametrize(
    ("kind", "status", "body", "expected"),
    [
        ("webhook", 204, b"", True),
        ("webhook", 302, b"", False),
        ("slack", 200, b"ok", True),
        ("slack", 404, b"no_service", False),
        ("telegram", 200, b'{"ok":true}', True),
        ("telegram", 200, b'{"ok":false}', False),
        ("dingtalk", 200, b'{"errcode":0,"errmsg":"ok"}', True),
        ("dingtalk", 200, b'{"errcode":310000,"errmsg":"sign not match"}', False),
        ("dingtalk", 200, b"<html>", False),
        ("telegram", 200, b"[]", False),
    ],
)
def test_answer_when_it_says_no_in_its_body_then_is_not_taken(
    kind: str, status: int, body: bytes, *, expected: bool
) -> None:
    """DingTalk and Telegram answer 200 to what they do not deliver."""
    assert taken(kind, status, body) == expected


def test_text_when_long_or_odd_then_is_cut_and_moves_no_cursor() -> None:
    """Fields may be a stranger's words."""
    long = Notice(0, "error", "e", "w", {"text": "x" * 5_000})
    assert len(long.text) <= TEXT_MAX
    odd = Notice(0, "error", "e", "w", {"text": "a\x1b[2Jb", "absent": None})
    assert odd.text == "[error] w: e text='a\\x1b[2Jb'"


@pytest.mark.parametrize(
    ("url", "echo"),
    [
        ("https://api.telegram.org/bot123:ABCdefGHI", "Cannot POST /bot123:ABCdefGHI/sendMessage"),
        ("https://api.telegram.org/bot123:ABCdefGHI", "no bot of token 123:ABCdefGHI, nor ABCdefGHI"),
        ("https://oapi.dingtalk.com/robot/send?access_token=TOKEN99", '{"access_token": "TOKEN99"}'),
        ("https://example.org/a/s3cr%3Det", "no /a/s3cr=et, no /a/s3cr%3Det"),
        ("https://me:passw0rd@example.org/a/", "me:passw0rd?"),
    ],
)
def test_secret_parts_when_an_answer_repeats_them_then_nothing_of_them_is_left(url: str, echo: str) -> None:
    """Whole, decoded, or one word of them, with what is around it in JSON or a page."""
    for part in secret_parts(url, 4):
        echo = echo.replace(part, "***")
    assert "***" in echo
    assert [word for word in ("ABC", "TOKEN99", "s3cr", "passw0rd") if word in echo] == []


def test_secret_parts_when_they_are_short_then_are_words_of_everybody() -> None:
    """What is taken out of the whole log must be no word of it."""
    assert secret_parts("https://hooks.slack.com/services/T00/B00/XXXXXXXXXXXXXXXXXXXX", 16) == (
        "https://hooks.slack.com/services/T00/B00/XXXXXXXXXXXXXXXXXXXX",
        "/services/T00/B00/XXXXXXXXXXXXXXXXXXXX",
        "XXXXXXXXXXXXXXXXXXXX",
    )
    assert secret_parts("http://127.0.0.1/x", 19) == ()


def test_text_when_something_was_held_back_then_says_the_gravest() -> None:
    """That one may be why somebody has to get up."""
    notice = Notice(0, "error", "notices_held", "TradeFan test", {}, 7, "kill")
    assert notice.text == "[error] TradeFan test: notices_held (and 7 more, the gravest kill)"
