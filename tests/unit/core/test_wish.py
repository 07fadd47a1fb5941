"""From wishes to commands: the few cases that a running trader on spot does not meet."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tradefan.core.wish import Sender, decision_text, message_of
from tradefan.errors import Defect
from tradefan.messages.market import Quote
from tradefan.messages.orders import SetTarget
from tradefan.strategy import buy, cancel_all, target
from tradefan.testing import make_instrument
from tradefan.units import AccountId, OwnerId

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


def test_wish_when_its_instrument_was_forgotten_then_it_is_a_defect() -> None:
    """The caller resolves symbols first."""
    with pytest.raises(Defect, match="a wish about BTC/USDT came without its instrument"):
        message_of(buy("BTC/USDT", 1), SENDER, None, None)


def test_decision_when_all_of_a_symbol_is_cancelled_then_the_symbol_is_named() -> None:
    """The words of a cancel."""
    assert decision_text(cancel_all("BTC/USDT")) == ("cancel BTC/USDT", "cancel all of BTC/USDT")
