"""A live venue is asked for the rules of a feed that no recording describes; bad answers are outages."""

from __future__ import annotations

import socket
import threading

import pytest

from tradefan.errors import Outage
from tradefan.instruments import ask_exchange_info


def serve(answer: bytes) -> str:
    """Answer one connection with these bytes and hang up; return its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        with server, server.accept()[0] as client:
            client.recv(4096)
            client.sendall(answer)

    threading.Thread(target=work, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def http(status: str, body: bytes, *, length: int | None = None) -> bytes:
    """Return a response; `length` other than the body's is a lie."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("451 Unavailable", b"{}"), "this region is refused"),
        (http("500 Broken", b"{}"), "HTTP 500"),
        (http("200 OK", b"<html>"), "BadFrame"),
        (http("200 OK", b'{"sym', length=100), "IncompleteRead"),
        (b"", "RemoteDisconnected"),
    ],
)
def test_exchange_info_when_the_answer_is_useless_then_an_outage_says_why(answer: bytes, words: str) -> None:
    """Whatever the other end says, the start ends with a sentence, not with a traceback."""
    with pytest.raises(Outage, match=words):
        ask_exchange_info(serve(answer), "BTCUSDT")


def test_exchange_info_when_the_venue_knows_no_such_symbol_then_nothing() -> None:
    """An empty list is an answer; who asked refuses the feed by name."""
    assert ask_exchange_info(serve(http("200 OK", b'{"symbols": []}')), "NOPE") == ()
