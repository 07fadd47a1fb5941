"""The risk desk: its own book beside the OMS's, from its beginning to its end."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
import pytest

from tests.unit.actors.risk_scene import (
    ETHER,
    MAIN,
    ME,
    OMS,
    RICH,
    SENT,
    T0,
    TODAY,
    WIRING,
    Scene,
    held,
    mark,
    quote,
    rest,
)
from tests.unit.actors.turns import Turns, copied
from tests.unit.core.test_equity import BTC, PERP, SPOT, USDT, fill
from tradefan.actors.risk_desk import RiskDesk
from tradefan.errors import Defect
from tradefan.messages.account import EquityMark, EquityPoint, SetMode
from tradefan.messages.base import Message
from tradefan.messages.control import ActorState, Ready, Started, Stop, Stopped
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import AskFeeds, FeedQuality, Quality, SessionBreak
from tradefan.messages.orders import AskPositions, PositionsSent, PositionUpdate
from tradefan.runtime.system import RIM
from tradefan.units import DAY, HOUR, SECOND, AccountId, Asset, InstrumentId, Ref

# --- beginning --------------------------------------------------------------------------------


def test_start_when_new_then_asks_and_says_that_it_does_not_see_yet() -> None:
    """The OMS takes no new risk before the desk has a book and marks."""
    turns = Turns(now_ns=T0)
    desk = RiskDesk(WIRING)
    sent = turns.give(desk, Started(0))
    assert sent == [
        (OMS, AskPositions(None, 1)),
        (OMS, ActorState("risk_desk", "STARTING", f"the book of {MAIN} is not known yet")),
    ]
    asked = turns.until(desk, T0 + 2 * SECOND)
    assert [(ref, type(msg)) for ref, msg in asked] == [(OMS, AskPositions)] * 2
    sent = turns.give(desk, *RICH, SENT)
    assert sent == [(OMS, ActorState("risk_desk", "WARMING", "no mark yet of binance:BTC/USDT"))]
    turns.give(desk, quote(SPOT, 100, T0 + 2 * SECOND))
    sent = turns.until(desk, T0 + 3 * SECOND)
    assert (OMS, ActorState("risk_desk", "READY", "")) in sent
    assert (OMS, mark("1000", "1000")) in sent


def test_start_when_markets_are_wired_then_asks_them_how_they_stand() -> None:
    """Quotes come only when they change: a desk that begins anew asks for the present ones."""
    turns = Turns(now_ns=T0)
    desk = RiskDesk(msgspec.structs.replace(WIRING, markets=(Ref(8), Ref(9))))
    assert turns.give(desk, Started(1))[:2] == [(Ref(8), AskFeeds()), (Ref(9), AskFeeds())]


def test_ready_when_first_seen_then_clears_position_limits_of_an_earlier_life() -> None:
    """A mode of exposure that was journaled would stand for ever if nobody withdrew it."""
    turns = Turns(now_ns=T0)
    desk = RiskDesk(WIRING)
    turns.give(desk, Started(0), *RICH, SENT, quote(SPOT, 100, T0))
    sent = [msg for _, msg in turns.until(desk, T0 + SECOND) if isinstance(msg, SetMode)]
    assert [(msg.scope, msg.cause, msg.mode) for msg in sent] == [
        (MAIN, "exposure", "NORMAL"),
        (SPOT.id, f"concentration {MAIN}", "NORMAL"),
        (ETHER.id, f"concentration {MAIN}", "NORMAL"),
    ]


def test_mark_when_journaled_before_then_limits_go_on_from_it() -> None:
    """A restart forgets neither the peak nor the day's beginning nor the seams."""
    scene = Scene(mark("1040", "1200", "7"), *RICH)
    view = scene.view
    assert (view.equity, view.peak, view.day_equity, view.seam) == (1000, 1200, 1040, 7)
    assert view.drawdown == Decimal(200) / 1200
    assert [msg for _, msg in scene.turns.sent if isinstance(msg, EquityMark)] == []


@pytest.mark.parametrize("status", ["HALT", "BREAK", "TRADING"])
def test_mark_when_a_held_instrument_is_halted_at_the_start_then_it_is_worth_what_it_was(
    status: Literal["HALT", "BREAK", "TRADING"],
) -> None:
    """Nobody quotes it, and all others are traded: no loss and no gain, until it is quoted again.

    Of one that trades the quote is waited for.
    """
    turns, desk = Turns(now_ns=T0), RiskDesk(WIRING)
    turns.give(desk, Started(0), InstrumentUpdate(msgspec.structs.replace(SPOT, status=status)))
    turns.give(desk, *RICH, mark("1040", "1200", btc="90"), SENT)
    sent = turns.until(desk, T0 + SECOND)
    if status == "TRADING":
        assert desk.state.said == "WARMING"
        return
    assert (OMS, ActorState("risk_desk", "READY", "")) in sent
    assert desk.view().accounts[0].equity == 990
    turns.give(desk, quote(SPOT, 100, turns.now_ns))
    turns.until(desk, T0 + 2 * SECOND)
    assert desk.view().accounts[0].equity == 1000


@pytest.mark.parametrize(("gone", "qty", "fell"), [("SOL/USDT", "40", 0), ("SOL/BTC", "40", 200)])
def test_mark_when_the_feed_of_a_holding_left_then_what_it_was_worth_is_booked_apart(
    gone: str, qty: str, fell: int
) -> None:
    """No loss: the same is held as before, and counts as nothing from now on. Once: the mark tells it so."""
    told = msgspec.structs.replace(
        mark("1200", "1200"), marks={SPOT.id: Decimal(100), InstrumentId(f"binance:{gone}"): Decimal(5)}
    )
    scene = Scene(rest(Asset("SOL"), qty), told, *RICH)
    view = scene.view
    assert (view.equity, view.seam) == (1000, fell - 200)
    assert (view.peak - view.equity, view.day_equity - view.equity) == (fell, fell)
    (again,) = [msg for _, msg in scene.turns.sent if isinstance(msg, EquityMark)]
    assert again.seam == fell - 200
    assert list(again.marks) == [SPOT.id]
    assert Scene(rest(Asset("SOL"), qty), again, *RICH).view.seam == fell - 200


@pytest.mark.parametrize(("left", "moved"), [("0", "-40"), ("30", "-10"), ("50", "10")])
def test_mark_when_the_feed_left_behind_a_transfer_then_what_had_been_held_is_booked_apart(
    left: str, moved: str
) -> None:
    """Day start and peak do not count the transfer yet, and nothing prices it any more."""
    told = msgspec.structs.replace(
        mark("1200", "1200"), marks={SPOT.id: Decimal(100), InstrumentId("binance:SOL/USDT"): Decimal(5)}
    )
    view = Scene(rest(Asset("SOL"), left, moved), told, *RICH).view
    assert (view.equity, view.day_equity, view.peak, view.seam) == (1000, 1000, 1000, -200)


@pytest.mark.parametrize(
    ("moved", "btc", "day", "loss"),
    [("0", 100.0, 1000, 0), ("0", 1.0, 1000, "0.099"), ("-1", 100.0, 900, 0), ("1", 100.0, 1100, 0)],
)
def test_mark_when_the_feed_of_a_holding_is_there_again_then_the_seam_is_booked_back(
    moved: str, btc: float, day: int, loss: str | int
) -> None:
    """What it lost meanwhile is a loss again, and what was transferred meanwhile is none."""
    books = (rest(USDT, "900"), rest(BTC, "1"))
    without = Scene(mark("1000", "1000"), *books, instruments=(ETHER,), prices={"ETH": 10.0})
    without.give(rest(USDT, "900"), rest(BTC, str(1 + Decimal(moved)), moved), SENT)
    without.wait(2 * SECOND)
    told = [msg for _, msg in without.turns.sent if isinstance(msg, EquityMark)][-1]
    assert (told.day_equity, told.peak_equity, told.seam) == (Decimal(900), Decimal(900), Decimal(-100))
    books = (rest(USDT, "900"), rest(BTC, str(1 + Decimal(moved)), moved))
    again = Scene(told, *books, prices={"BTC": btc, "ETH": 10.0})
    view = again.view
    assert (view.day_equity, view.peak, view.daily_loss) == (day, day, Decimal(loss))
    last = [msg for _, msg in again.turns.sent if isinstance(msg, EquityMark)][-1]
    assert last.seam == day - 1000
    assert not last.gone


def test_stop_when_prices_have_moved_then_the_marks_are_told_once_more() -> None:
    """Whatever the next start can value holdings at, it is not hours old."""
    scene = Scene(*RICH)
    scene.price(BTC=90.0)
    assert [msg for msg in scene.price(BTC=95.0) if isinstance(msg, EquityMark)] == []
    told = [msg for msg in scene.give(Stop(T0 + 60 * SECOND)) if isinstance(msg, EquityMark)]
    assert [one.marks for one in told] == [{SPOT.id: Decimal(95)}]
    assert [msg for msg in scene.wait(SECOND) if isinstance(msg, EquityMark)] == []


def test_mark_when_it_is_of_yesterday_then_a_new_day_begins_and_the_daily_loss_goes() -> None:
    """A day's loss ends with its day, also across a restart."""
    scene = Scene(mark("2000", "1010", day_start_ns=TODAY - DAY), *RICH)
    sent = [msg for _, msg in scene.turns.sent]
    assert mark("1000", "1010") in sent
    assert SetMode(MAIN, "daily_loss", "NORMAL", "", "") in sent


# --- own book --------------------------------------------------------------------------------


def test_fill_when_it_comes_then_the_own_book_and_equity_follow_at_once() -> None:
    """Equity follows the fill's price against the mark, and its fee."""
    scene = Scene(*RICH)
    scene.give(fill(SPOT, "buy", "2", "90", fee="0.5"))
    assert (scene.view.equity, scene.view.gross) == (Decimal("1019.5"), 300)
    assert scene.view.marks[0].qty == 3


def test_fill_when_the_book_is_not_known_then_is_left_to_the_answer() -> None:
    """What the OMS tells later holds this fill already."""
    turns = Turns(now_ns=T0)
    desk = RiskDesk(WIRING)
    turns.give(desk, Started(0), fill(SPOT, "buy", "2", "90"), *RICH, SENT, quote(SPOT, 100, T0))
    turns.until(desk, T0 + SECOND)
    assert (desk.view().accounts[0].equity, desk.view().counters.unbooked) == (Decimal(1000), 1)


def test_point_when_five_seconds_pass_then_goes_to_the_store() -> None:
    """Results come from the OMS's positions, equity from the own book."""
    scene = Scene(*RICH)
    scene.give(
        PositionUpdate(
            MAIN,
            ME,
            SPOT.id,
            Decimal(1),
            Decimal(80),
            Decimal(6),
            {USDT: Decimal(2), BTC: Decimal("0.01"), Asset("BNB"): Decimal(9)},
            Decimal(0),
            Decimal(0),
            T0,
        )
    )
    points = [msg for msg in scene.wait(7 * SECOND) if isinstance(msg, EquityPoint)]
    assert points == [
        EquityPoint(
            account=MAIN,
            numeraire=USDT,
            at_ns=T0 + 6 * SECOND,
            equity=Decimal(1000),
            realised=Decimal(6),
            unrealised=Decimal(20),
            fees=Decimal(3),
            seam=Decimal(0),
            drawdown=Decimal(0),
            exposure=Decimal("0.1"),
        )
    ]
    assert (scene.view.realised, scene.view.unrealised, scene.view.fees) == (6, 20, 3)


# --- the rest --------------------------------------------------------------------------------


def test_ready_when_the_oms_began_anew_then_everything_is_said_again() -> None:
    """A new OMS knows neither that we see nor what does not hold; our memory is kept."""
    scene = Scene(rest(USDT, "500"), held(SPOT, "5"), max_concentration=Decimal("0.3"))
    scene.price(BTC=90.0)
    sent = scene.give(Ready(2))
    assert AskPositions in map(type, sent)
    assert ActorState("risk_desk", "READY", "") in sent
    assert scene.modes(sent) == [
        (MAIN, "daily_loss", "REDUCE_ONLY", "RISK_DAILY_LOSS"),
        (MAIN, "exposure", "NORMAL", ""),
        (SPOT.id, f"concentration {MAIN}", "NO_NEW_RISK", "RISK_CONCENTRATION"),
        (ETHER.id, f"concentration {MAIN}", "NORMAL", ""),
    ]
    assert scene.view.equity == 950


def test_mark_when_a_successor_of_the_oms_has_lost_it_then_day_and_peak_are_told_again() -> None:
    """Else the next start would measure the loss of this day from where the market is by then."""
    yesterday = mark("900", "1100", day_start_ns=TODAY - DAY)
    scene = Scene(yesterday, *RICH)
    scene.price(BTC=100.0)
    scene.give(Ready(2))
    sent = scene.give(yesterday, *RICH, SENT)
    assert (MAIN, "daily_loss", "NORMAL", "") in scene.modes(sent)
    told = [one for one in (*sent, *scene.wait(2 * SECOND)) if isinstance(one, EquityMark)]
    assert told == [mark("1000", "1100")]
    sent = scene.give(mark("1000", "1100"), *RICH, SENT)
    assert scene.modes(sent) == []
    assert [one for one in (*sent, *scene.wait(2 * SECOND)) if isinstance(one, EquityMark)] == []


def test_stop_when_asked_then_tells_the_peak_and_answers() -> None:
    """The OMS journals it before it stops itself."""
    scene = Scene(*RICH)
    scene.price(BTC=110.0)
    scene.give(fill(SPOT, "buy", "1", "100"))
    assert scene.turns.give(scene.desk, Stop(T0 + HOUR)) == [
        (OMS, mark("1000", "1020", btc="110")),
        (RIM, Stopped("risk_desk")),
    ]


def test_rules_when_an_instrument_changes_then_the_new_lot_counts() -> None:
    """A version of the rules replaces the one before; quality is shown beside the mark."""
    scene = Scene(*RICH)
    coarse = msgspec.structs.replace(SPOT, qty_lot=Decimal(1), version=2)
    scene.give(InstrumentUpdate(coarse), FeedQuality(SPOT.id, Quality.STALE, "silence", T0, 1))
    for _ in range(2):
        sent = scene.give(rest(USDT, "900"), held(SPOT, "1.5"), SENT)
        assert "CANCEL_ONLY" not in [mode[2] for mode in scene.modes(sent)]
    shown = scene.view.marks[0]
    assert (shown.mark, shown.quality, shown.qty, shown.worth) == (100, "STALE", 1, 100)


def test_message_when_about_nobody_it_watches_then_changes_nothing() -> None:
    """Other accounts, other owners' answers and unknown instruments are somebody else's."""
    scene = Scene(*RICH)
    before = copied(scene.desk.state)
    other = AccountId("paper:other")
    scene.give(
        msgspec.structs.replace(rest(USDT, "5"), account=other),
        msgspec.structs.replace(mark("1", "1"), account=other),
        PositionsSent(ME, 1),
    )
    assert scene.desk.state == before
    scene.give(
        msgspec.structs.replace(fill(SPOT, "buy", "1", "1"), account=other), fill(PERP, "buy", "1", "1")
    )
    assert scene.desk.view().counters.unbooked == 2
    with pytest.raises(Defect, match="does not take Stopped"):
        scene.give(Stopped("x"))


def test_state_when_snapshot_and_restored_then_goes_on_the_same() -> None:
    """All that the desk knows is in its state."""
    scene = Scene(*RICH)
    scene.give(fill(SPOT, "buy", "8", "100"), rest(USDT, "1"))
    scene.give(SessionBreak(SPOT.id, 2, "lap", scene.turns.now_ns))
    again = RiskDesk(WIRING, copied(scene.desk.state))
    assert again.state == scene.desk.state
    other = Turns(scene.turns.config, scene.turns.now_ns)
    other.timers, other.ids = list(scene.turns.timers), scene.turns.ids
    later: list[Message] = [quote(SPOT, 70, scene.turns.now_ns + 1), fill(SPOT, "sell", "3", "70")]
    assert other.give(again, *later) == scene.turns.give(scene.desk, *later)
    until = scene.turns.now_ns + 20 * SECOND
    assert other.until(again, until) == scene.turns.until(scene.desk, until)
    assert again.view() == scene.desk.view()


def test_view_when_nothing_is_known_then_numbers_are_absent() -> None:
    """Absent is None, never zero."""
    view = RiskDesk(WIRING).view()
    (account,) = view.accounts
    assert (view.state, account.equity, account.drawdown, account.room, account.largest) == (
        "STARTING",
        None,
        None,
        None,
        None,
    )
