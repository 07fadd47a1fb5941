"""The risk desk: its own book beside the OMS's, limits that stop new risk, seams booked apart."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.turns import Turns, copied
from tests.unit.core.test_equity import BTC, ETH, PERP, SPOT, USDT, fill, instrument
from tradefan.actors.risk_desk import RiskDesk
from tradefan.actors.risk_desk_books import HOLD
from tradefan.actors.risk_desk_state import RiskDeskWiring
from tradefan.config.schema import Config, RiskConfig
from tradefan.errors import Defect
from tradefan.messages.account import EquityMark, EquityPoint, OwnBook, SetMode
from tradefan.messages.base import Message
from tradefan.messages.control import ActorState, ConfigChanged, Ready, Started, Stop, Stopped
from tradefan.messages.instrument import Instrument, InstrumentUpdate
from tradefan.messages.market import AskFeeds, FeedQuality, Quality, Quote, SessionBreak
from tradefan.messages.orders import AskPositions, PositionsSent, PositionUpdate
from tradefan.runtime.system import RIM
from tradefan.units import DAY, EXTERNAL, HOUR, SECOND, AccountId, Asset, OwnerId, Ref, parse_iso

OMS, STORE = Ref(3), Ref(4)
MAIN = AccountId("paper:main")
ME = OwnerId("me")
ETHER = instrument("ETH/USDT", ETH, USDT)
T0 = parse_iso("2026-03-05T10:00:00Z")
TODAY = parse_iso("2026-03-05T00:00:00Z")
WIRING = RiskDeskWiring(OMS, (MAIN,), {one.id: one for one in (SPOT, ETHER)}, STORE)


def quote(where: Instrument, price: float, at_ns: int) -> Quote:
    return Quote(where.id, price - 0.5, 1.0, price + 0.5, 1.0, 7, at_ns)


def rest(asset: Asset, qty: str) -> OwnBook:
    return OwnBook(MAIN, EXTERNAL, None, asset, Decimal(qty), Decimal(0))


def held(where: Instrument, qty: str, cost: str = "0", owner: OwnerId = ME) -> OwnBook:
    return OwnBook(MAIN, owner, where.id, where.base, Decimal(qty), Decimal(cost))


SENT = PositionsSent(None, 1)


def mark(day: str, peak: str, seam: str = "0", day_start_ns: int = TODAY) -> EquityMark:
    return EquityMark(MAIN, USDT, day_start_ns, Decimal(day), Decimal(peak), Decimal(seam))


class Scene:
    """A desk, its turns, and the instant; prices are quoted just before each second."""

    def __init__(self, *books: Message, prices: dict[str, float] | None = None, **risk: Any) -> None:
        self.turns = Turns(Config(risk=RiskConfig(**risk)), T0)
        self.desk = RiskDesk(WIRING)
        self.give(Started(0))
        self.give(*books, SENT)
        self.price(**(prices or {"BTC": 100.0}))

    def give(self, *messages: Message) -> list[Message]:
        return [msg for _, msg in self.turns.give(self.desk, *messages)]

    def price(self, **prices: float) -> list[Message]:
        """Quote assets and let the next second come."""
        for base, price in prices.items():
            where = SPOT if base == "BTC" else ETHER
            self.give(quote(where, price, self.turns.now_ns + SECOND // 2))
        return self.wait(SECOND)

    def wait(self, ns: int) -> list[Message]:
        return [msg for _, msg in self.turns.until(self.desk, self.turns.now_ns + ns)]

    def modes(self, messages: list[Message]) -> list[tuple[str, str, str, str]]:
        found = [msg for msg in messages if isinstance(msg, SetMode)]
        return [(msg.scope, msg.cause, msg.mode, msg.code) for msg in found]

    @property
    def view(self) -> Any:
        return self.desk.view().accounts[0]


RICH = (rest(USDT, "900"), rest(BTC, "0"), held(SPOT, "1", "100"))
"""1,000 in all, a tenth of it in BTC at 100."""


# --- beginning ------------------------------------------------------------------------------------


def test_start_when_new_then_asks_and_says_that_it_does_not_see_yet() -> None:
    """The OMS takes no new risk before the desk has a book and marks."""
    turns = Turns(now_ns=T0)
    desk = RiskDesk(WIRING)
    sent = turns.give(desk, Started(0))
    assert sent == [
        (OMS, AskPositions(None)),
        (OMS, ActorState("risk_desk", "STARTING", f"the book of {MAIN} is not known yet")),
    ]
    assert turns.until(desk, T0 + 2 * SECOND) == [(OMS, AskPositions(None))] * 2
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


def test_mark_when_it_is_of_yesterday_then_a_new_day_begins_and_the_daily_loss_goes() -> None:
    """A day's loss ends with its day, also across a restart."""
    scene = Scene(mark("2000", "1010", day_start_ns=TODAY - DAY), *RICH)
    sent = [msg for _, msg in scene.turns.sent]
    assert mark("1000", "1010") in sent
    assert SetMode(MAIN, "daily_loss", "NORMAL", "", "") in sent


# --- own book -------------------------------------------------------------------------------------


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


# --- limits -----------------------------------------------------------------------------------------


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
    assert scene.modes(sent) == [(MAIN, "drawdown", "NO_NEW_RISK", "RISK_DRAWDOWN")]
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
    assert scene.modes(scene.price(BTC=90.0)) == [(MAIN, "daily_loss", "NO_NEW_RISK", "RISK_DAILY_LOSS")]
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
    assert told == mark("1000", "1010")
    sent = scene.give(fill(SPOT, "buy", "1", "100"), fill(SPOT, "buy", "1", "100"))
    assert [msg for msg in sent if isinstance(msg, EquityMark)] == []
    assert [msg for msg in scene.wait(SECOND) if isinstance(msg, EquityMark)] == [mark("1000", "1030")]
    assert [msg for msg in scene.wait(5 * SECOND) if isinstance(msg, EquityMark)] == []


# --- seams --------------------------------------------------------------------------------------------


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
    assert mark("700", "750", "-300") in sent
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


# --- two books ----------------------------------------------------------------------------------------


def test_look_when_due_then_asks_every_fifteen_seconds() -> None:
    """Two looks fall into the 30 s within which a difference must be held (I-45)."""
    scene = Scene(*RICH)
    asked = [msg for msg in scene.wait(60 * SECOND) if isinstance(msg, AskPositions)]
    assert len(asked) == 4


def test_difference_when_two_looks_find_it_then_the_instrument_is_held_until_two_agree() -> None:
    """One look may fall between a fill and its message; two in a row do not."""
    scene = Scene(*RICH)
    scene.give(*RICH, SENT)
    wrong = (rest(USDT, "900"), held(SPOT, "1.5"))
    assert scene.modes(scene.give(*wrong, SENT)) == []
    assert ("error", "books_differ", {"instrument": SPOT.id, "qty": "0.5"}) in scene.turns.logs
    (held_now,) = scene.give(*wrong, SENT)
    text = "the risk desk's book of binance:BTC/USDT and the OMS's are 0.5 apart"
    assert held_now == SetMode(
        SPOT.id, HOLD, "CANCEL_ONLY", "MODE_CANCEL_ONLY", text, "0.001", "0.5", "equal books"
    )
    view = scene.desk.view()
    assert (view.differences, view.held, view.counters.differences) == (
        {SPOT.id: Decimal("0.5")},
        (SPOT.id,),
        1,
    )
    assert scene.modes(scene.give(*wrong, SENT)) == []
    assert scene.modes(scene.give(*RICH, SENT)) == []
    assert scene.modes(scene.give(*RICH, SENT)) == [(SPOT.id, HOLD, "NORMAL", "")]
    assert scene.desk.view().held == ()


def test_difference_when_it_is_one_lot_or_less_then_nothing_is_held() -> None:
    """Below a lot nothing can be traded either."""
    scene = Scene(*RICH)
    near = (rest(USDT, "900"), held(SPOT, "1.001"))
    for _ in range(3):
        assert [mode for mode in scene.modes(scene.give(*near, SENT)) if mode[2] != "NORMAL"] == []
    assert scene.desk.view().differences == {SPOT.id: Decimal("0.001")}


def test_difference_when_the_owner_is_another_then_counts_too() -> None:
    """Whose position it is matters: one strategy must not sell what another holds."""
    scene = Scene(*RICH)
    other = (rest(USDT, "900"), held(SPOT, "1", owner=OwnerId("other")))
    scene.give(*other, SENT)
    assert scene.modes(scene.give(*other, SENT)) == [(SPOT.id, HOLD, "CANCEL_ONLY", "MODE_CANCEL_ONLY")]


def test_hold_when_a_human_lets_go_then_the_book_of_the_oms_is_taken_over() -> None:
    """Somebody looked at the venue: from here on both count from the same numbers."""
    scene = Scene(*RICH)
    wrong = (rest(USDT, "900"), held(SPOT, "1.5"))
    scene.give(*wrong, SENT)
    scene.give(*wrong, SENT)
    sent = scene.give(SetMode(SPOT.id, HOLD, "NORMAL", "", ""))
    assert [type(msg).__name__ for msg in sent] == ["AskPositions", "SetMode", "ActorState"]
    scene.give(*wrong, SENT)
    assert scene.view.equity == 1050
    assert scene.desk.view().state == "READY"


def test_hold_when_left_from_an_earlier_life_then_goes_once_two_looks_agree() -> None:
    """A held instrument is journaled; a desk that began anew withdraws it once it has seen enough."""
    scene = Scene(*RICH)
    sent = scene.give(*RICH, SENT)
    assert scene.modes(sent) == [(name, HOLD, "NORMAL", "") for name in (SPOT.id, ETHER.id)]
    assert scene.modes(scene.give(*RICH, SENT)) == []


def test_deposit_when_seen_then_is_no_gain() -> None:
    """Money that no fill brought moves day start and peak with equity."""
    scene = Scene(*RICH)
    scene.give(rest(USDT, "1400"), rest(BTC, "2"), held(SPOT, "1", "100"), SENT)
    view = scene.view
    assert (view.equity, view.peak, view.day_equity, view.seam) == (1700, 1700, 1700, 0)
    assert [log[2]["asset"] for log in scene.turns.logs if log[1] == "transfer_seen"] == [USDT, BTC]
    assert scene.desk.view().counters.transfers == 2


def test_book_when_a_contract_is_held_then_its_cost_is_no_loss() -> None:
    """A linear position is worth its result, not its size, but counts with its size as exposure."""
    wiring = msgspec.structs.replace(WIRING, instruments={PERP.id: PERP})
    turns = Turns(now_ns=T0)
    desk = RiskDesk(wiring)
    turns.give(desk, Started(0), rest(USDT, "1000"), held(PERP, "2", "200"), SENT)
    turns.give(desk, quote(PERP, 110, T0))
    turns.until(desk, T0 + SECOND)
    view = desk.view().accounts[0]
    assert (view.equity, view.gross, view.largest) == (Decimal(1020), Decimal(220), str(PERP.id))
    turns.give(desk, rest(USDT, "1000"), held(PERP, "2", "200"), SENT)
    assert (desk.view().differences, desk.view().counters.transfers) == ({}, 0)


def test_book_when_it_names_an_unknown_instrument_then_is_a_defect() -> None:
    """The OMS and the desk are wired with the same instruments."""
    scene = Scene(*RICH)
    scene.give(held(PERP, "1"))
    with pytest.raises(Defect, match="which wiring has not named"):
        scene.give(SENT)


# --- the rest -----------------------------------------------------------------------------------------


def test_ready_when_the_oms_began_anew_then_everything_is_said_again() -> None:
    """A new OMS knows neither that we see nor what does not hold; our memory is kept."""
    scene = Scene(rest(USDT, "500"), held(SPOT, "5"), max_concentration=Decimal("0.3"))
    scene.price(BTC=90.0)
    sent = scene.give(Ready(2))
    assert AskPositions(None) in sent
    assert ActorState("risk_desk", "READY", "") in sent
    assert scene.modes(sent) == [
        (MAIN, "daily_loss", "NO_NEW_RISK", "RISK_DAILY_LOSS"),
        (MAIN, "exposure", "NORMAL", ""),
        (SPOT.id, f"concentration {MAIN}", "NO_NEW_RISK", "RISK_CONCENTRATION"),
        (ETHER.id, f"concentration {MAIN}", "NORMAL", ""),
    ]
    assert scene.view.equity == 950


def test_stop_when_asked_then_tells_the_peak_and_answers() -> None:
    """The OMS journals it before it stops itself."""
    scene = Scene(*RICH)
    scene.price(BTC=110.0)
    scene.give(fill(SPOT, "buy", "1", "100"))
    assert scene.turns.give(scene.desk, Stop(T0 + HOUR)) == [
        (OMS, mark("1000", "1020")),
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
