"""Lines of InfluxDB: exact, one point for one thing, and never a line that a server would refuse."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stores.made import (
    BTC,
    bar,
    equity,
    fill,
    gap,
    health,
    indicator,
    order,
    parent,
    position,
    refusal,
    risk,
    tca,
    trade,
)
from tradefan.core.ids import client_order_id, parent_id
from tradefan.messages.market import Quote, Trade
from tradefan.messages.orders import Doubt
from tradefan.stores.line_protocol import TEXT_MAX, encode
from tradefan.stores.schema import MEASUREMENTS, flat
from tradefan.units import MS, SECOND, AccountId, OwnerId

QUOTE = Quote(BTC, 61709.5, 1.25, 61710.0, 0.5, 77, 5 * SECOND + 7)
ALL = (
    trade(1),
    bar(0),
    gap(7),
    order(1),
    parent(1),
    fill(1, 4),
    position("0.4995"),
    equity(5),
    refusal(6),
    indicator(8),
    risk(11),
    health(12),
    tca(1),
    QUOTE,
)


def line(message: msgspec.Struct) -> str:
    found = encode([message])
    assert found.aside == []
    return found.lines[0]


def at_ns(message: msgspec.Struct) -> int:
    return int(line(message).rpartition(" ")[2])


def test_measurements_cover_every_message_of_this_file() -> None:
    """A kind that is written has an example here."""
    assert set(MEASUREMENTS) == {type(message) for message in ALL}


def test_encode_when_a_trade_then_tags_fields_and_a_time_of_its_own() -> None:
    """The hot form, to the letter: ids and exact times are fields, the id stands below the millisecond."""
    one = Trade(BTC, 3_000_123, 61710.01, 0.01234, "buy", 1_722_470_400_123_456_789, 17)
    assert line(one) == (
        "trades,instrument=binance:BTC/USDT,taker_side=buy trade_id=3000123i,price=61710.01,qty=0.01234,"
        "event_ns=1722470400123456789i,recv_ns=17i 1722470400123000123"
    )


def test_encode_when_an_order_then_decimals_are_floats_and_what_is_absent_is_left_out() -> None:
    """The careful form, to the letter."""
    made = msgspec.structs.replace(
        order(1),
        client_order_id=client_order_id("abc", 1, 2),
        reason='say "no" \\ or\nyes',
        in_doubt=Doubt.CREATE,
        limit_price=Decimal("0.1000000000000000055"),
        venue_order_id=None,
        avg_px=None,
        updated_ns=5 * SECOND,
        lsn=3,
    )
    text = line(made)
    assert text.startswith(
        f"orders,account={made.account},instrument={BTC},owner={made.owner},side={made.side},"
    )
    assert f"status={made.status} " in text
    assert 'reason="say \\"no\\" \\\\ or\nyes"' in text
    assert ',limit_price=0.1,limit_price_exact="0.1000000000000000055",' in text
    assert 'in_doubt="CREATE"' in text
    assert "venue_order_id" not in text
    assert "avg_px" not in text
    assert text.endswith(f"lsn=3i {5 * SECOND + ((104_729 + 2) * 1009 + 3) % 10**6}")


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_encode_when_it_comes_twice_then_is_the_same_line(message: msgspec.Struct) -> None:
    """A retry overwrites a point with itself."""
    assert encode([message, message]).lines == [line(message)] * 2


def test_encode_when_things_share_series_and_millisecond_then_each_has_its_own_time() -> None:
    """Orders of one turn have one journal number, pictures of one order another each."""
    ids = [client_order_id("abc", 1, number) for number in range(300)]
    orders = [
        msgspec.structs.replace(order(1), client_order_id=name, updated_ns=7 * SECOND, lsn=lsn)
        for name in ids
        for lsn in range(40, 60)
    ]
    assert len({at_ns(one) for one in orders}) == len(orders)
    trades = [msgspec.structs.replace(trade(1), trade_id=number) for number in range(10**6, 10**6 + 2_000)]
    assert len({at_ns(one) for one in trades}) == len(trades)
    numbers = [msgspec.structs.replace(indicator(7 * SECOND), ordinal=number) for number in range(2_000)]
    assert len({at_ns(one) for one in numbers}) == len(numbers)


def test_encode_when_the_time_is_made_then_stays_within_its_millisecond() -> None:
    """Whatever the number, a point is not moved to where it did not happen."""
    for message in ALL:
        table = MEASUREMENTS[type(message)]
        true_ns = dict(zip(table.columns, flat(message), strict=True))[table.time]
        assert at_ns(message) // MS == true_ns // MS


def values(message: msgspec.Struct) -> tuple[object, ...]:
    from tradefan.stores.schema import flat

    return flat(message)


def test_encode_when_a_parent_id_then_start_and_sequence_tell_it_apart() -> None:
    """The letter in front of a parent's id is not part of its number; each start counts from one again."""
    made = parent(1)

    def placed(epoch: int, number: int) -> int:
        order = msgspec.structs.replace(made.order, parent_id=parent_id("abc", epoch, number))
        return at_ns(msgspec.structs.replace(made, order=order, lsn=5))

    assert placed(1, 2) - placed(1, 1) == 1009
    assert len({placed(epoch, number) for epoch in range(1, 9) for number in range(1, 500)}) == 8 * 499


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_encode_when_a_number_is_not_finite_then_is_set_aside_alone(bad: float) -> None:
    """NaN would cost the whole batch (aioinflux sends it); the others of its batch stay."""
    found = encode([trade(1), msgspec.structs.replace(trade(2), price=bad), trade(3)])
    assert found.lines == [line(trade(1)), line(trade(3))]
    (aside,) = found.aside
    assert (aside.measurement, aside.reason) == ("trades", f"price: expected a finite number, got {bad}")
    assert "trade_id=2" in aside.text


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (msgspec.structs.replace(trade(1), trade_id=2**63), "trade_id: expected an integer of 64 bits"),
        (msgspec.structs.replace(fill(1, 4), price=Decimal("NaN")), "price: expected a finite number"),
        (msgspec.structs.replace(fill(1, 4), price=Decimal("1e400")), "price: expected a finite number"),
        (msgspec.structs.replace(order(1), reason="x" * (TEXT_MAX + 1)), "reason: expected at most"),
        (msgspec.structs.replace(order(1), owner=OwnerId("a\nb")), "owner: expected a printable tag"),
        (msgspec.structs.replace(order(1), owner=OwnerId("a\\")), "owner: expected a printable tag"),
        (msgspec.structs.replace(equity(5), at_ns=2**63), "at_ns: expected an integer of 64 bits"),
    ],
)
def test_encode_when_it_cannot_be_a_point_then_says_which_field_and_why(
    message: msgspec.Struct, reason: str
) -> None:
    """A newline in a tag would write another measurement; a number too large would cost its neighbours."""
    found = encode([message])
    assert found.lines == []
    assert found.aside[0].reason.startswith(reason)


def test_encode_when_floats_are_large_but_finite_then_is_a_point() -> None:
    """Their sum is infinite, which only the quick look takes for one that is not finite."""
    assert "bid=1e+308" in line(msgspec.structs.replace(QUOTE, bid=1e308, ask=1e308))


def test_encode_when_a_tag_has_signs_of_the_protocol_then_they_are_escaped() -> None:
    """A comma, a space and an equals sign would end the tag."""
    made = msgspec.structs.replace(equity(5), account=AccountId("a,b c=d"))
    assert line(made).startswith("equity,account=a\\,b\\ c\\=d,numeraire=USDT ")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_encode_when_a_decimal_then_float_or_text_is_exactly_it(value: Decimal) -> None:
    """No quantity is rounded without a word."""
    text = line(msgspec.structs.replace(fill(1, 4), qty=value))
    fields = dict(part.split("=", 1) for part in text.split(" ")[1].split(","))
    shown = fields.get("qty_exact", "").strip('"') or fields["qty"]
    assert Decimal(shown) == value
