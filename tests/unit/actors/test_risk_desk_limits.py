"""Limits of the risk desk: what stops new risk, what a human lets go, seams booked apart."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tests.unit.actors.risk_scene import (
    ETHER,
    MAIN,
    ME,
    RICH,
    SENT,
    T0,
    TODAY,
    Scene,
    held,
    mark,
    quote,
    rest,
)
from tests.unit.core.test_equity import BTC, SPOT, USDT, fill
from tradefan.config.schema import Config, RiskConfig
from tradefan.messages.account import EquityMark, SetMode
from tradefan.messages.control import ConfigChanged
from tradefan.messages.market import SessionBreak
from tradefan.messages.orders import PositionUpdate
from tradefan.units import DAY, SECOND


def test_exposure_when_a_fill_exceeds_it_then_stops_new_risk_in_the_same_turn() -> None:
    """The OMS hears code, limit, used and what would pass; the room in the picture is negative."""
    scene = Scene(*RICH)
    sent = scene.give(fill(SPOT, "buy", "8", "100"))
    assert scene.modes(sent) == [
        (MAIN, "exposure", "NO_NEW_RISK", "RISK_EXPOSURE"),
        (SPOT.id, f"concentration {MAIN}", "NO_NEW_RISK", "RISK_CONCENTRATION"),
    ]
    (first, _) = [msg for msg in sent if isinstance(msg, SetMode)]
    assert (first.limit, first.used, first.would_pass) == ("0.8", "0.9", "at most 800.00 USDT")
    assert (scene.view.room.exposure, scene.view.room.concentration) == (-100, -400)
    assert [breach.cause for breach in scene.view.breaches] == ["exposure", "concentration"]


def test_exposure_when_inside_again_then_goes_after_a_while_and_not_for_a_moment() -> None:
    """A limit that is crossed to and fro does not flap (I-38)."""
    scene = Scene(*RICH, max_concentration=Decimal(1))
    scene.give(fill(SPOT, "buy", "8", "100"))
    assert scene.modes(scene.give(fill(SPOT, "sell", "5", "100"))) == []
    assert scene.modes(scene.wait(29 * SECOND)) == []
    assert scene.modes(scene.give(fill(SPOT, "buy", "5", "100"))) == []
    assert scene.modes(scene.give(fill(SPOT, "sell", "5", "100"))) == []
    assert scene.modes(scene.wait(29 * SECOND)) == []
    assert scene.modes(scene.wait(SECOND)) == [(MAIN, "exposure", "NORMAL", "")]
    assert scene.modes(scene.give(fill(SPOT, "buy", "5", "100"))) == [
        (MAIN, "exposure", "NO_NEW_RISK", "RISK_EXPOSURE")
    ]


def test_drawdown_when_reached_then_stays_until_a_human_lets_go() -> None:
    """Equity that comes back is no reason to trust the strategy that lost it."""
    scene = Scene(rest(USDT, "500"), held(SPOT, "5"), max_daily_loss=Decimal(1), max_concentration=Decimal(1))
    assert scene.modes(scene.price(BTC=60.1)) == []
    sent = scene.price(BTC=60.0)
    assert scene.modes(sent) == [(MAIN, "drawdown", "REDUCE_ONLY", "RISK_DRAWDOWN")]
    assert scene.modes(scene.price(BTC=55.0)) == []
    assert scene.modes(scene.price(BTC=100.0)) == []
    assert [breach.cause for breach in scene.view.latched] == ["drawdown"]
    scene.price(BTC=90.0)
    sent = scene.give(SetMode(MAIN, "drawdown", "NORMAL", "", ""))
    assert scene.modes(sent) == [(MAIN, "drawdown", "NORMAL", "")]
    assert (scene.view.latched, scene.view.peak, scene.view.drawdown) == ((), 950, 0)


def test_daily_loss_when_reached_then_goes_with_the_day() -> None:
    """At the roll the day's equity is what is there, and losses count from it."""
    scene = Scene(rest(USDT, "500"), held(SPOT, "5"), max_concentration=Decimal(1))
    assert scene.modes(scene.price(BTC=90.0)) == [(MAIN, "daily_loss", "REDUCE_ONLY", "RISK_DAILY_LOSS")]
    assert scene.modes(scene.price(BTC=100.0)) == []
    scene.turns.now_ns = TODAY + DAY - SECOND
    scene.turns.timers = [(TODAY + DAY, 1, timer) for _, _, timer in scene.turns.timers]
    sent = scene.wait(SECOND)
    assert scene.modes(sent) == [(MAIN, "daily_loss", "NORMAL", "")]
    assert mark("1000", "1000", day_start_ns=TODAY + DAY) in sent
    assert scene.view.latched == ()


def paid(btc: str, usdt: str) -> PositionUpdate:
    fees = {BTC: Decimal(btc), USDT: Decimal(usdt)}
    zero = Decimal(0)
    return PositionUpdate(MAIN, ME, SPOT.id, Decimal(1), Decimal(100), zero, fees, zero, zero, T0)


def test_fees_when_a_day_begins_then_those_of_the_days_before_are_not_of_today() -> None:
    """Fees are kept by asset and valued as equity is; a restart on the same day changes nothing."""
    scene = Scene(*RICH)
    scene.give(paid("0.1", "5"))
    assert (scene.view.fees, scene.view.fees_today) == (15, 15)
    scene.turns.now_ns = TODAY + DAY - SECOND
    scene.turns.timers = [(TODAY + DAY, 1, timer) for _, _, timer in scene.turns.timers]
    (told,) = [msg for msg in scene.wait(SECOND) if isinstance(msg, EquityMark)]
    assert told == msgspec.structs.replace(
        mark("1000", "1000", day_start_ns=TODAY + DAY), day_fees={BTC: Decimal("0.1"), USDT: Decimal(5)}
    )
    scene.give(paid("0.12", "8"))
    assert (scene.view.fees, scene.view.fees_today) == (20, 5)
    again = Scene(msgspec.structs.replace(told, day_start_ns=TODAY), *RICH, paid("0.12", "8"))
    assert (again.view.fees, again.view.fees_today) == (20, 5)


def test_daily_loss_when_a_human_lets_go_then_counts_from_there() -> None:
    """The rest of the day has its own allowance."""
    scene = Scene(rest(USDT, "500"), held(SPOT, "5"), max_concentration=Decimal(1))
    scene.price(BTC=90.0)
    scene.give(SetMode(MAIN, "daily_loss", "NORMAL", "", ""))
    assert (scene.view.day_equity, scene.view.daily_loss, scene.view.latched) == (950, 0, ())
    assert scene.give(SetMode(MAIN, "daily_loss", "NO_NEW_RISK", "", "")) == []


def test_loss_when_a_human_lets_go_while_a_mark_is_missing_then_it_is_measured_anew_with_the_mark() -> None:
    """What falls behind that is a loss of its own: no limit is forgotten for the rest of a life."""
    books = (rest(USDT, "500"), held(SPOT, "5"))
    scene = Scene(*books, max_daily_loss=Decimal(1), max_concentration=Decimal(1))
    assert scene.modes(scene.price(BTC=60.0)) == [(MAIN, "drawdown", "REDUCE_ONLY", "RISK_DRAWDOWN")]
    scene.give(*books, rest(ETHER.base, "1", "1"), SENT)
    assert scene.view.missing == (ETHER.id,)
    sent = scene.give(SetMode(MAIN, "drawdown", "NORMAL", "", ""))
    assert scene.modes(sent) == [(MAIN, "drawdown", "NORMAL", "")]
    assert scene.modes(scene.price(ETH=10.0)) == []
    assert (scene.view.peak, scene.view.latched) == (810, ())
    sent = scene.price(BTC=20.0)
    assert (MAIN, "drawdown", "REDUCE_ONLY", "RISK_DRAWDOWN") in scene.modes(sent)


def test_limit_when_lowered_under_what_is_held_then_counts_in_that_step() -> None:
    """A change of the configuration waits for no quote."""
    scene = Scene(*RICH)
    scene.turns.config = Config(risk=RiskConfig(max_exposure=Decimal("0.05")))
    assert scene.modes(scene.give(ConfigChanged("c2"))) == [
        (MAIN, "exposure", "NO_NEW_RISK", "RISK_EXPOSURE")
    ]
    assert scene.desk.view().limits.exposure == Decimal("0.05")  # type: ignore[union-attr]


def test_peak_when_it_rises_then_is_told_at_most_once_a_second() -> None:
    """The journal is not written at every tick of a rising market; the last peak is never left out."""
    scene = Scene(*RICH)
    (told,) = [msg for msg in scene.price(BTC=110.0) if isinstance(msg, EquityMark)]
    assert told == mark("1000", "1010", btc="110")
    sent = scene.give(fill(SPOT, "buy", "1", "100"), fill(SPOT, "buy", "1", "100"))
    assert [msg for msg in sent if isinstance(msg, EquityMark)] == []
    assert [msg for msg in scene.wait(SECOND) if isinstance(msg, EquityMark)] == [
        mark("1000", "1030", btc="110")
    ]
    assert [msg for msg in scene.wait(5 * SECOND) if isinstance(msg, EquityMark)] == []


# --- seams --------------------------------------------------------------------------------


def test_seam_when_the_market_jumps_across_a_break_then_is_no_loss_and_no_gain() -> None:
    """The jump between the last mark before and the first after is booked apart, exactly."""
    scene = Scene(rest(USDT, "500"), held(SPOT, "5"), max_concentration=Decimal(1))
    scene.price(BTC=110.0)
    scene.give(SessionBreak(SPOT.id, 2, "lap", scene.turns.now_ns))
    sent = scene.price(BTC=50.0)
    assert scene.modes(sent) == []
    view = scene.view
    assert (view.equity, view.seam, view.peak, view.day_equity) == (750, -300, 750, 700)
    assert (view.drawdown, view.daily_loss) == (0, 0)
    assert mark("700", "750", "-300", btc="50") in sent
    scene.price(BTC=49.0)
    assert (scene.view.seam, scene.view.equity) == (-300, 745)


def test_seam_when_a_quote_from_before_the_break_comes_late_then_it_is_not_the_market() -> None:
    """Quotes are taken after facts: the last one of the old lap may follow the break."""
    scene = Scene(*RICH)
    at_ns = scene.turns.now_ns
    scene.give(SessionBreak(SPOT.id, 2, "lap", at_ns), quote(SPOT, 300, at_ns))
    scene.wait(3 * SECOND)
    assert (scene.view.equity, scene.view.seam) == (1000, 0)
    scene.price(BTC=200.0)
    assert (scene.view.equity, scene.view.seam) == (1100, 100)


def test_seam_when_nothing_is_held_then_changes_nothing() -> None:
    """A break of another instrument, or before any mark, books nothing."""
    scene = Scene(*RICH)
    scene.give(SessionBreak(ETHER.id, 2, "lap", scene.turns.now_ns))
    scene.price(ETH=5.0, BTC=101.0)
    assert (scene.view.seam, scene.view.equity, scene.desk.view().counters.seams) == (0, 1001, 0)
    assert scene.desk.state.breaks == {}
