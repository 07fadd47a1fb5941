"""The risk desk's book and curve: exact money, and no loss or gain made by a seam."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.test_equity import ALL, BNB, BTC, ETH, PERP, SPOT, USDT, VALUER, fill
from tradefan.core.equity import Book, Curve, book_fill
from tradefan.units import Asset, InstrumentId

SIDES = st.sampled_from(["buy", "sell"])
QTY = st.integers(1, 10**6).map(lambda lots: Decimal(lots) / 1000)
PRICE = st.integers(1, 10**7).map(lambda ticks: Decimal(ticks) / 100)
FEE = st.integers(-100, 1000).map(lambda tenths: Decimal(tenths) / 10_000)
TRADES = st.lists(
    st.tuples(st.sampled_from(sorted(ALL)), SIDES, QTY, PRICE, FEE, st.sampled_from([USDT, BTC, BNB])),
    max_size=20,
)
Trade = tuple[InstrumentId, Literal["buy", "sell"], Decimal, Decimal, Decimal, Asset]


@given(trades=TRADES, opening=st.tuples(PRICE, QTY))
def test_book_when_any_fills_come_then_equals_opening_plus_fills_less_fees_exactly(
    trades: list[Trade], opening: tuple[Decimal, Decimal]
) -> None:
    """I-05: what is held of each asset is what was there, plus what was bought, less what was paid."""
    book = Book(assets={USDT: opening[0], BTC: opening[1]})
    for name, side, qty, price, fee, fee_asset in trades:
        where = ALL[name]
        book_fill(book, where, fill(where, side, str(qty), str(price), fee=str(fee), fee_asset=fee_asset))
    bought = [trade for trade in trades if trade[1] == "buy"]
    sold = [trade for trade in trades if trade[1] == "sell"]
    for asset in (USDT, BTC, ETH, BNB):
        start = {USDT: opening[0], BTC: opening[1]}.get(asset, Decimal(0))
        got = sum(trade[2] for trade in bought if ALL[trade[0]].base == asset and trade[0] != PERP.id)
        gave = sum(trade[2] for trade in sold if ALL[trade[0]].base == asset and trade[0] != PERP.id)
        paid = sum(trade[2] * trade[3] for trade in bought if ALL[trade[0]].quote == asset)
        earned = sum(trade[2] * trade[3] for trade in sold if ALL[trade[0]].quote == asset)
        fees = sum(trade[4] for trade in trades if trade[5] == asset)
        assert book.assets.get(asset, Decimal(0)) == start + got - gave - paid + earned - fees


@given(trades=TRADES, marks=st.tuples(PRICE, PRICE))
def test_worth_when_marks_are_given_then_equals_opening_plus_the_result_of_each_fill(
    trades: list[Trade], marks: tuple[Decimal, Decimal]
) -> None:
    """Equity is the opening plus, for every fill, what its quantity gained since; fees at the marks."""
    priced = [trade for trade in trades if trade[0] != InstrumentId("binance:ETH/BTC") and trade[5] != BNB]
    now = {SPOT.id: marks[0], PERP.id: marks[1]}
    book = Book(assets={USDT: Decimal(10_000)})
    expected = Decimal(10_000)
    for name, side, qty, price, fee, fee_asset in priced:
        book_fill(
            book, ALL[name], fill(ALL[name], side, str(qty), str(price), fee=str(fee), fee_asset=fee_asset)
        )
        gain = qty * (now[name] - price)
        expected += gain if side == "buy" else -gain
        expected -= fee * (marks[0] if fee_asset == BTC else 1)
    assert VALUER.worth(book, now).equity == expected


STEPS = st.lists(
    st.tuples(st.sampled_from(["market", "seam", "deposit", "day"]), st.integers(-5000, 5000)), max_size=40
)


@given(steps=STEPS)
def test_curve_when_seams_and_deposits_come_then_losses_are_those_of_the_market_alone(
    steps: list[tuple[str, int]],
) -> None:
    """Day start and peak move with every jump that nobody won or lost, and the seam is their exact sum.

    The same path without its seams and deposits has the same distance from peak and day start at every
    step, whatever the order of jumps, days and new highs.
    """
    curve, plain = (Curve(0, Decimal(100_000), Decimal(100_000)) for _ in range(2))
    equity = alone = Decimal(100_000)
    seams = Decimal(0)
    for day, (what, change) in enumerate(steps, 1):
        equity += 0 if what == "day" else change
        if what == "seam":
            seams += change
            curve.book_seam(Decimal(change))
        elif what == "deposit":
            curve.shift(Decimal(change))
        elif what == "market":
            alone += change
        else:
            curve.roll(day, equity)
            plain.roll(day, alone)
        rose = (curve.follow(equity), plain.follow(alone))
        assert rose[0] == rose[1]
        assert curve.peak - equity == plain.peak - alone >= 0
        assert curve.day_equity - equity == plain.day_equity - alone
    assert curve.seam == seams


@given(path=st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_drawdown_when_equity_moves_then_is_a_share_that_grows_as_equity_falls(path: list[int]) -> None:
    """The peak is the highest equity so far; at it there is no drawdown, below it a lower one is deeper."""
    curve = Curve(0, Decimal(path[0]), Decimal(path[0]))
    for seen, at in enumerate(path, 1):
        curve.follow(Decimal(at))
        assert curve.peak == max(path[:seen])
    falls = [curve.drawdown(Decimal(at)) for at in sorted(path, reverse=True)]
    assert falls == sorted(falls)
    assert falls[0] == 0
    assert all(0 <= fall < 1 for fall in falls)
