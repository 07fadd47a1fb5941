"""What an account is worth, how far it fell, and which limits do not hold."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import pytest

from tradefan.core.equity import (
    BEYOND,
    Book,
    Breach,
    Curve,
    Limits,
    Valuer,
    Worth,
    book_fill,
    day_start,
    judge,
    money,
    parse_roll,
    share,
)
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import FillUpdate
from tradefan.units import DAY, HOUR, MINUTE, AccountId, Asset, InstrumentId, OwnerId, TradeId, parse_iso

USDT, BTC, ETH, BNB = Asset("USDT"), Asset("BTC"), Asset("ETH"), Asset("BNB")
ME = OwnerId("me")


def instrument(
    symbol: str, base: Asset, quote: Asset, kind: Literal["spot", "linear"] = "spot"
) -> Instrument:
    return Instrument(
        id=InstrumentId(f"binance:{symbol}"),
        venue="binance",
        symbol=symbol,
        kind=kind,
        base=base,
        quote=quote,
        settle=quote,
        price_tick=Decimal("0.01"),
        qty_lot=Decimal("0.001"),
        min_qty=Decimal("0.001"),
        max_qty=Decimal(1000),
        min_notional=Decimal(5),
    )


SPOT = instrument("BTC/USDT", BTC, USDT)
CROSS = instrument("ETH/BTC", ETH, BTC)
PERP = instrument("BTC/USDT:USDT", BTC, USDT, "linear")
ALL = {one.id: one for one in (SPOT, CROSS, PERP)}
VALUER = Valuer(ALL, USDT)


def fill(where: Instrument, side: Literal["buy", "sell"], qty: str, price: str, **rest: Any) -> FillUpdate:
    return FillUpdate(
        account=AccountId("paper:main"),
        instrument=where.id,
        owner=rest.get("owner", ME),
        parent_id=None,
        client_order_id=None,
        trade_id=TradeId("t"),
        side=side,
        qty=Decimal(qty),
        price=Decimal(price),
        fee=Decimal(rest.get("fee", 0)),
        fee_asset=rest.get("fee_asset", USDT),
        liquidity="taker",
        event_ns=0,
        lsn=1,
        realised=Decimal(0),
    )


# --- the book -------------------------------------------------------------------------------------


def test_spot_fill_when_booked_then_exchanges_base_for_quote_and_pays_its_fee() -> None:
    """A fee in base leaves the owner's position, a fee in a third asset only that asset."""
    book = Book(assets={USDT: Decimal(1000)})
    book_fill(book, SPOT, fill(SPOT, "buy", "2", "100", fee="0.002", fee_asset=BTC))
    book_fill(book, SPOT, fill(SPOT, "sell", "0.5", "120", fee="0.06"))
    book_fill(book, SPOT, fill(SPOT, "sell", "0.5", "120", fee="0.01", fee_asset=BNB))
    assert book == Book(
        assets={USDT: Decimal("919.94"), BTC: Decimal("0.998"), BNB: Decimal("-0.01")},
        held={ME: {SPOT.id: Decimal("0.998")}},
    )


def test_linear_fill_when_booked_then_is_worth_realised_plus_unrealised_result() -> None:
    """Bought 2 at 100, sold 1 at 130: 30 realised and, at a mark of 90, 10 lost, less the fee."""
    book = Book(assets={USDT: Decimal(1000)})
    book_fill(book, PERP, fill(PERP, "buy", "2", "100", fee="1"))
    book_fill(book, PERP, fill(PERP, "sell", "1", "130"))
    worth = VALUER.worth(book, {PERP.id: Decimal(90)})
    assert worth == Worth(Decimal(1000 + 30 - 10 - 1), {PERP.id: Decimal(90)})
    assert book.contracts == {PERP.id: Decimal(1)}


# --- worth ----------------------------------------------------------------------------------------


def test_worth_when_all_is_priced_then_adds_up_in_the_numeraire() -> None:
    """Assets are priced by the first spot instrument against the numeraire, shorts count negative."""
    book = Book(assets={USDT: Decimal(1000), BTC: Decimal(-2)}, contracts={PERP.id: Decimal(0)})
    worth = VALUER.worth(book, {SPOT.id: Decimal(100)})
    assert worth == Worth(Decimal(800), {BTC: Decimal(-200)})
    assert (worth.gross, worth.largest, worth.exposure) == (
        Decimal(200),
        (BTC, Decimal(200)),
        Decimal("0.25"),
    )


def test_worth_when_a_mark_is_missing_then_says_which_and_makes_up_nothing() -> None:
    """There are no default prices."""
    book = Book(assets={USDT: Decimal(1), BTC: Decimal(1)}, contracts={PERP.id: Decimal(1)})
    assert VALUER.worth(book, {}).missing == (SPOT.id, PERP.id)


def test_worth_when_nothing_prices_an_asset_then_it_counts_as_nothing_and_is_named() -> None:
    """ETH trades against BTC only here; zero quantities need no price."""
    book = Book(assets={USDT: Decimal(5), ETH: Decimal(3), BNB: Decimal(0)})
    worth = VALUER.worth(book, {})
    assert worth == Worth(Decimal(5), {}, (), (ETH,))
    assert worth.largest == ("", Decimal(0))


# --- day and peak -----------------------------------------------------------------------------------


def test_curve_when_equity_moves_then_peak_follows_and_the_day_rolls_once() -> None:
    """The peak never falls with equity; a day begins with the first equity seen in it."""
    curve = Curve(0, Decimal(100), Decimal(100))
    assert [curve.follow(Decimal(at)) for at in (90, 120, 110)] == [False, True, False]
    assert (curve.drawdown(Decimal(90)), curve.daily_loss(Decimal(90))) == (Decimal("0.25"), Decimal("0.1"))
    assert (curve.drawdown(Decimal(130)), curve.daily_loss(Decimal(130))) == (Decimal(0), Decimal(0))
    assert [curve.roll(at, Decimal(110)) for at in (0, DAY, DAY)] == [False, True, False]
    assert curve == Curve(DAY, Decimal(110), Decimal(120))


def test_curve_when_the_clock_was_set_back_then_only_a_day_far_ahead_is_given_up() -> None:
    """Over midnight and back the day goes on; a day begun weeks ahead does not hide the loss of today."""
    curve = Curve(30 * DAY, Decimal(100), Decimal(100))
    assert [curve.roll(at, Decimal(90)) for at in (30 * DAY, 29 * DAY)] == [False, False]
    assert curve.daily_loss(Decimal(90)) == Decimal("0.1")
    assert curve.roll(2 * DAY, Decimal(200))
    assert curve == Curve(2 * DAY, Decimal(200), Decimal(100))


def test_curve_when_money_comes_or_a_seam_jumps_then_no_loss_changes() -> None:
    """What was lost before is lost after; only a seam is kept in a sum of its own."""
    curve = Curve(0, Decimal(100), Decimal(120))
    curve.shift(Decimal(50))
    curve.book_seam(Decimal(-30))
    assert curve == Curve(0, Decimal(120), Decimal(140), Decimal(-30))


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [("1", "4", "0.25"), ("0", "0", "0"), ("1", "0", "Infinity"), ("1", "-1", "Infinity"), ("0", "-1", "0")],
)
def test_share_when_nothing_is_left_then_is_beyond_every_limit(part: str, whole: str, expected: str) -> None:
    """An account without equity has no room for any position."""
    assert share(Decimal(part), Decimal(whole)) == Decimal(expected)


def test_day_when_it_begins_later_then_belongs_to_the_day_before_until_then() -> None:
    """`time.day_roll` moves the beginning of the day."""
    at = parse_iso("2026-03-05T16:00:00Z")
    assert day_start(at) == parse_iso("2026-03-05T00:00:00Z")
    assert day_start(at, parse_roll("17:30")) == parse_iso("2026-03-04T17:30:00Z")
    assert day_start(at, parse_roll("16:00")) == at
    assert parse_roll("17:30") == 17 * HOUR + 30 * MINUTE


@pytest.mark.parametrize(
    ("zone", "roll", "now", "begun"),
    [
        ("Asia/Shanghai", "00:00", "2026-03-05T15:59:59Z", "2026-03-04T16:00:00Z"),
        ("Asia/Shanghai", "00:00", "2026-03-05T16:00:00Z", "2026-03-05T16:00:00Z"),
        ("Asia/Shanghai", "08:30", "2026-03-05T00:29:59Z", "2026-03-04T00:30:00Z"),
        # Summer time began on 2026-03-08 at 02:00: that day is 23 hours long.
        ("America/New_York", "00:00", "2026-03-09T03:59:59Z", "2026-03-08T05:00:00Z"),
        ("America/New_York", "17:00", "2026-03-08T20:59:59Z", "2026-03-07T22:00:00Z"),
    ],
)
def test_day_when_counted_in_a_zone_then_begins_by_its_wall_clock(
    zone: str, roll: str, now: str, begun: str
) -> None:
    """`time.zone` says whose midnight it is; UTC has no summer time, others may."""
    assert day_start(parse_iso(now), parse_roll(roll), zone) == parse_iso(begun)


# --- limits -----------------------------------------------------------------------------------------

LIMITS = Limits(Decimal("0.20"), Decimal("0.05"), Decimal("0.80"), Decimal("0.50"))
DAWN = Curve(0, Decimal(1000), Decimal(1000))


def judged(equity: str, curve: Curve = DAWN, **parts: str) -> tuple[Breach, ...]:
    worth = Worth(Decimal(equity), {name: Decimal(part) for name, part in parts.items()})
    return judge(worth, curve, LIMITS, USDT)


def test_judge_when_all_is_inside_then_finds_nothing() -> None:
    """A position may reach its limit."""
    assert judged("1000", BTC="500", ETH="-300") == ()


def test_judge_when_positions_are_too_large_then_says_limit_used_and_what_would_pass() -> None:
    """The sum and the largest are judged by size, whatever their sign."""
    assert judged("1000", BTC="510", ETH="-300") == (
        Breach(
            "exposure",
            "",
            "RISK_EXPOSURE",
            "all positions together are worth 810.00 USDT, 81.00 % of equity 1000.00",
            "0.8",
            "0.81",
            "at most 800.00 USDT",
        ),
        Breach(
            "concentration",
            "BTC",
            "RISK_CONCENTRATION",
            "what is held of BTC is worth 510.00 USDT, 51.00 % of equity 1000.00",
            "0.5",
            "0.51",
            "at most 500.00 USDT",
        ),
    )


def test_judge_when_losses_reach_their_limits_then_says_which_equity_would_pass() -> None:
    """A loss may not even reach its limit; each has its own base."""
    assert judged("800", Curve(0, Decimal(840), Decimal(1000))) == (
        Breach(
            "drawdown",
            "",
            "RISK_DRAWDOWN",
            "equity 800.00 USDT is 20.00 % below its peak, 1000.00",
            "0.2",
            "0.2",
            "equity above 800.00 USDT",
        ),
    )
    (loss,) = judged("950")
    assert (loss.code, loss.used, loss.would_pass) == ("RISK_DAILY_LOSS", "0.05", "equity above 950.00 USDT")
    assert judged("950.01") == ()


def test_judge_when_no_equity_is_left_then_every_position_is_too_much() -> None:
    """Words stay words where a share has no number."""
    breaches = judged("0", BTC="1")
    assert [breach.code for breach in breaches] == [
        "RISK_DRAWDOWN",
        "RISK_DAILY_LOSS",
        "RISK_EXPOSURE",
        "RISK_CONCENTRATION",
    ]
    assert (breaches[2].used, breaches[2].would_pass) == ("all and more", "at most 0.00 USDT")
    assert share(Decimal(1), Decimal(0)) == BEYOND
    assert money(Decimal("1.005")) == "1.00"
