"""From wishes to commands: the few cases that a running trader on spot does not meet."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tradefan.core.wish import Sender, decision_text, message_of
from tradefan.errors import Defect, Refused
from tradefan.messages.market import Quote
from tradefan.messages.orders import SetTarget, SubmitOrder
from tradefan.strategy import buy, cancel, cancel_all, sell, target
from tradefan.strategy.wishes import Wish
from tradefan.testing import make_instrument
from tradefan.units import AccountId, OwnerId, ParentId

SENDER = Sender(AccountId("paper:main"), OwnerId("me"), "t-1-1", Decimal(1000))


def test_target_when_the_instrument_is_inverse_then_its_quantity_is_the_value_itself() -> None:
    """Inverse contracts count their quantity in quote, so no price is needed."""
    inverse = msgspec.structs.replace(make_instrument(), kind="inverse", inverse=True, qty_lot=Decimal(1))
    sent = message_of(target("BTC/USDT", weight=0.5), SENDER, inverse, None)
    assert isinstance(sent, SetTarget)
    assert sent.target_qty == Decimal(500)


def test_limit_price_when_it_lies_between_ticks_then_the_nearest_is_taken() -> None:
    """A target has no side yet, so its limit goes to the nearest tick."""
    spot = make_instrument()
    quote = Quote(spot.id, 99.0, 1.0, 101.0, 1.0, 1, 1)
    sent = message_of(target("BTC/USDT", weight=1, by="limit", limit_price=99.126), SENDER, spot, quote)
    assert isinstance(sent, SetTarget)
    assert (sent.limit_price, sent.target_qty) == (Decimal("99.13"), Decimal(10))


def test_order_when_it_waits_for_a_price_then_that_is_on_the_grid() -> None:
    """A float is just beside its tick; what is no price stays as it is."""
    wish = sell("BTC/USDT", 1, by="stop", trigger_price=95.3, reduce_only=True, gap_limit_bps=50.5)
    sent = message_of(wish, SENDER, make_instrument(), None)
    assert isinstance(sent, SubmitOrder)
    assert (sent.settings, sent.reduce_only) == ({"trigger_price": "95.30", "gap_limit_bps": 50.5}, True)
    legs: dict[str, Any] = {"take_profit": {"limit_price": 110.30000000000001}, "stop": {"offset_bps": 50.5}}
    nested = message_of(buy("BTC/USDT", 1, by="bracket", **legs), SENDER, make_instrument(), None)
    assert isinstance(nested, SubmitOrder)
    assert nested.settings == {"take_profit": {"limit_price": "110.30"}, "stop": {"offset_bps": 50.5}}


def test_wish_when_its_instrument_was_forgotten_then_it_is_a_defect() -> None:
    """The caller resolves symbols first."""
    with pytest.raises(Defect, match="a wish about BTC/USDT came without its instrument"):
        message_of(buy("BTC/USDT", 1), SENDER, None, None)


def test_decision_when_all_of_a_symbol_is_cancelled_then_the_symbol_is_named() -> None:
    """The words of a cancel."""
    assert decision_text(cancel_all("BTC/USDT")) == ("cancel BTC/USDT", "cancel all of BTC/USDT")


@pytest.mark.parametrize(
    ("wish", "code", "text"),
    [
        (buy("BTC/USDT", 1e35), "BAD_NUMBER", "quantity"),
        (buy("BTC/USDT", 1e308), "BAD_NUMBER", "quantity"),
        (target("BTC/USDT", qty=-1e35), "BAD_NUMBER", "quantity"),
        (target("BTC/USDT", weight=1e308), "BAD_NUMBER", "quantity"),
        (buy("BTC/USDT", 1, by="limit", limit_price=1e45), "BAD_NUMBER", "limit_price"),
        (buy("BTC/USDT", 1, reason="\ud800"), "BAD_WISH", "surrogates not allowed"),
        (buy("BTC/USDT", 1, reason=5), "BAD_WISH", "Expected `str`"),  # type: ignore[arg-type]
        (target("BTC/USDT", qty=1, tries=object()), "BAD_WISH", "object"),
        (target("BTC/USDT", qty=1, chase={"a": [[[[[[[[[[[]]]]]]]]]]]}), "BAD_WISH", "more than 12 deep"),
        (cancel(ParentId("\ud800")), "BAD_WISH", "surrogates not allowed"),
    ],
)
def test_wish_when_nobody_could_take_it_then_it_is_refused_here(wish: Wish, code: str, text: str) -> None:
    """A strategy's slip is told to it (`on_refused`); it never reaches the OMS or the journal."""
    quote = Quote(make_instrument().id, 99.0, 1.0, 101.0, 1.0, 1, 1)
    with pytest.raises(Refused, match=text) as caught:
        message_of(wish, SENDER, make_instrument(), quote)
    assert caught.value.code == code


def test_band_when_it_is_a_third_then_it_is_a_number_that_the_oms_takes() -> None:
    """A float has more places than a number may have."""
    sent = message_of(target("BTC/USDT", qty=1, band=0.01 / 3), SENDER, make_instrument(), None)
    assert isinstance(sent, SetTarget)
    assert sent.band == Decimal("0.003333333333")
