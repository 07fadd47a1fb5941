"""Requests of a batch for InfluxDB: their size, and the search for poison."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.stores.made import fill, trade
from tradefan.stores.influx_bodies import (
    BODY_MAX,
    PROGRESS,
    REQUESTS_MAX,
    UNTRIED,
    Delivery,
    add_lines,
    asked_place,
    with_place,
)
from tradefan.stores.line_protocol import Aside, Lines


def delivery(*texts: str) -> Delivery:
    return Delivery(Lines(list(texts), ["trades"] * len(texts), []))


def sent(one: Delivery, poison: str) -> list[str]:
    """Send everything to a server that refuses one line; return the requests."""
    requests = []
    while (text := one.text) is not None:
        requests.append(text)
        if poison in text.split("\n"):
            one.refused("400 bad")
        else:
            one.taken()
    return requests


def test_delivery_when_all_is_taken_then_one_request_has_all_in_order() -> None:
    """A batch is one request."""
    assert sent(delivery("a", "b", "c"), "") == ["a\nb\nc"]


def test_delivery_when_a_line_is_poison_then_halves_find_it_and_nothing_is_sent_again_whole() -> None:
    """Each request that was refused is halved, in the order of its lines."""
    one = delivery("a", "b", "c", "d", "e")
    assert sent(one, "c") == ["a\nb\nc\nd\ne", "a\nb", "c\nd\ne", "c", "d\ne"]
    assert one.aside == [Aside("trades", "400 bad", "c")]
    assert one.counts() == {"Trade": 1}


def test_delivery_when_the_search_takes_too_long_then_the_rest_is_set_aside_unseen() -> None:
    """No batch costs more than so many requests that are refused."""
    one = delivery(*(f"{number}" for number in range(1_000)))
    refused = 0
    while one.text is not None:
        one.refused("400 bad")
        refused += 1
    assert len(one.aside) == 1_000
    assert refused < REQUESTS_MAX * 2 + 20
    alone = [aside for aside in one.aside if UNTRIED not in aside.reason]
    assert 0 < len(alone) < REQUESTS_MAX


def test_delivery_when_points_are_too_old_for_the_server_then_the_oldest_are_set_aside_at_once() -> None:
    """It says how many it dropped, and has stored the others: nothing is sent again."""
    one = delivery("a v=1 500", "b v=1 100", "c v=1 300", "d v=1 200", "e v=1 400")
    said = "400 partial write: points beyond retention policy dropped=2"
    one.refused(said)
    assert one.text is None
    assert [aside.text for aside in one.aside] == ["b v=1 100", "d v=1 200"]
    assert {aside.reason for aside in one.aside} == {said}


def test_delivery_when_the_server_does_not_say_how_many_are_too_old_then_halves_find_them() -> None:
    """Any other word is one of poison."""
    one = delivery("a v=1 500", "b v=1 100")
    one.refused("400 partial write: points beyond retention policy dropped=0")
    assert one.text == "a v=1 500"


def test_delivery_when_lines_are_long_then_several_requests_have_them_in_order() -> None:
    """A server takes only so much at once."""
    texts = [str(number) * (BODY_MAX // 3) for number in range(5)]
    requests = sent(delivery(*texts), "")
    assert "\n".join(requests) == "\n".join(texts)
    assert [len(text) <= BODY_MAX for text in requests] == [True] * len(requests)


def test_place_when_added_then_is_a_line_of_the_same_request_and_no_message() -> None:
    """Behind the rows that lead to it; where the server refuses that line nothing of ours is lost."""
    lines = Lines([], [], [])
    add_lines(lines, (fill(1, 4),))
    with_place(lines, "ab12", 7, 3, 99)
    add_lines(lines, (trade(1),))
    assert lines.lines[1] == f"{PROGRESS},journal=ab12 lsn=7i,epoch=3i 99"
    assert lines.measurements == ["fills", PROGRESS, "trades"]
    one = Delivery(lines)
    sent(one, lines.lines[1])
    assert one.counts() == {}
    assert "\"journal\" = 'ab12'" in asked_place("ab12")
    with_place(lines, "ab12", 7, 0, 99)
    assert lines.lines[-1] == f"{PROGRESS},journal=ab12 lsn=7i 99"


@pytest.mark.parametrize("price", [float("nan"), float("inf")])
def test_lines_when_a_row_cannot_be_a_point_then_it_is_aside_from_the_start(price: float) -> None:
    """The encoder's own refusals are counted with the server's."""
    lines = Lines([], [], [])
    add_lines(lines, (msgspec.structs.replace(trade(1), price=price), trade(2)))
    one = Delivery(lines)
    assert len(sent(one, "")) == 1
    assert one.counts() == {"Trade": 1}
