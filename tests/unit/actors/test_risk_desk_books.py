"""Two books: the risk desk compares its own with the OMS's, and holds what differs."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.unit.actors.risk_scene import (
    ETHER,
    MAIN,
    ME,
    RICH,
    SENT,
    T0,
    WIRING,
    Scene,
    held,
    mark,
    quote,
    rest,
)
from tests.unit.actors.turns import Turns
from tests.unit.core.test_equity import BTC, PERP, SPOT, USDT
from tradefan.actors.risk_desk import RiskDesk
from tradefan.actors.risk_desk_books import HOLD
from tradefan.config.schema import Config
from tradefan.errors import Defect
from tradefan.messages.account import SetMode
from tradefan.messages.control import Started
from tradefan.messages.orders import AskPositions, PositionMoved, PositionsSent
from tradefan.units import EXTERNAL, SECOND, AccountId, OwnerId

OTHER = OwnerId("other")


def test_look_when_due_then_asks_every_fifteen_seconds() -> None:
    """Two looks fall into the 30 s within which a difference must be held (I-45)."""
    scene = Scene(*RICH)
    asked = [msg for msg in scene.wait(60 * SECOND) if isinstance(msg, AskPositions)]
    assert len(asked) == 4


def test_answer_when_a_predecessor_asked_then_its_rest_is_no_book() -> None:
    """A desk that died between two lines of an answer leaves the lines behind it to its successor."""
    turns = Turns(Config(), T0)
    desk = RiskDesk(WIRING)
    turns.ids = 7
    turns.give(desk, Started(1), held(SPOT, "1", "100"), PositionsSent(None, 1, asked=3))
    assert desk.state.accounts[MAIN].book is None
    turns.give(desk, *RICH, PositionsSent(None, 1, asked=8))
    book = desk.state.accounts[MAIN].book
    assert book is not None
    assert (book.assets[USDT], book.held) == (Decimal(900), {ME: {SPOT.id: Decimal(1)}})


@pytest.mark.failure("ST-09")
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


def test_difference_when_a_successor_of_the_oms_tells_otherwise_then_its_book_is_taken_over_once() -> None:
    """What an OMS told before its record was on the disk may be told again by the next, or never."""
    scene = Scene(*RICH)
    successor = PositionsSent(None, 2)
    other = (rest(USDT, "900"), held(SPOT, "1.5"))
    for _ in range(3):
        assert [mode for mode in scene.modes(scene.give(*other, successor)) if mode[2] != "NORMAL"] == []
    assert scene.desk.view().differences == {}
    # Later differences of the same epoch are held.
    scene.give(*RICH, successor)
    (held_now,) = scene.give(*RICH, successor)
    assert isinstance(held_now, SetMode)
    assert (held_now.scope, held_now.cause, held_now.mode) == (SPOT.id, HOLD, "CANCEL_ONLY")


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


@pytest.mark.parametrize(("usdt", "moved"), [("600", "-300"), ("1900", "1000")])
def test_transfer_when_the_process_died_before_the_look_then_is_no_loss_and_no_gain(
    usdt: str, moved: str
) -> None:
    """The curve of an earlier life names the transfers that it counts; it moves by the others."""
    sums = {USDT: Decimal(50)}
    told = rest(USDT, usdt, str(Decimal(moved) + 50))
    scene = Scene(told, rest(BTC, "0"), held(SPOT, "1", "100"), mark("1000", "1000", transferred=sums))
    worth = 1000 + Decimal(moved)
    assert (scene.view.equity, scene.view.peak, scene.view.day_equity) == (worth, worth, worth)
    assert (scene.view.drawdown, scene.view.latched) == (0, ())
    marked = scene.desk.state.accounts[MAIN].marked
    assert marked is not None
    assert marked.transferred == {USDT: Decimal(moved) + 50}


def test_transfer_when_its_asset_has_no_mark_yet_then_equity_waits_for_one() -> None:
    """What was withdrawn whole is no position any more, and its worth is needed all the same."""
    books = (rest(USDT, "900"), rest(BTC, "0", "-1"))
    scene = Scene(*books, mark("1000", "1000"), prices={"ETH": 10.0})
    assert (scene.view.latched, scene.desk.view().state) == ((), "WARMING")
    scene.price(BTC=100.0)
    assert (scene.view.peak, scene.view.latched, scene.desk.view().state) == (900, (), "READY")


def test_transfer_when_a_successor_of_the_oms_tells_it_with_other_positions_then_is_no_loss() -> None:
    """A book that is taken over whole shows no transfers; the sums of the OMS do."""
    scene = Scene(*RICH)
    scene.give(rest(USDT, "500", "-300"), rest(BTC, "0"), held(SPOT, "2", "100"), PositionsSent(None, 2))
    assert (scene.view.equity, scene.view.peak, scene.view.latched) == (700, 700, ())


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


def moved(qty: str, giver: OwnerId = ME, taker: OwnerId = OTHER) -> PositionMoved:
    return PositionMoved(MAIN, SPOT.id, giver, taker, Decimal(qty))


def test_quantity_when_a_human_gives_it_to_another_owner_then_the_books_still_agree() -> None:
    """The desk's own book follows: no difference, no transfer, no change of equity."""
    scene = Scene(*RICH)
    scene.give(moved("0.4"))
    told = (rest(USDT, "900"), held(SPOT, "0.6", "60"), held(SPOT, "0.4", "40", OwnerId("other")))
    for _ in range(2):
        sent = scene.give(*told, SENT)
        assert "CANCEL_ONLY" not in [mode[2] for mode in scene.modes(sent)]
    view = scene.desk.view()
    assert (view.differences, view.counters.transfers, scene.view.equity) == ({}, 0, 1000)


@pytest.mark.parametrize("to_external", [True, False])
def test_quantity_when_external_gives_or_takes_it_then_only_the_strategys_position_moves(
    to_external: bool,
) -> None:
    """Of spot `external` holds assets: its side of the move is in the rest of the account already."""
    scene = Scene(rest(USDT, "900"), rest(BTC, "2"), held(SPOT, "1", "100"))
    giver, taker = (ME, EXTERNAL) if to_external else (EXTERNAL, ME)
    scene.give(moved("0.5", giver, taker))
    mine, left = ("0.5", "2.5") if to_external else ("1.5", "1.5")
    for _ in range(2):
        scene.give(rest(USDT, "900"), rest(BTC, left), held(SPOT, mine), SENT)
    view = scene.desk.view()
    assert (view.differences, view.counters.transfers, scene.view.equity) == ({}, 0, 1200)


def test_quantity_when_of_an_unknown_account_or_before_the_book_then_it_is_left_to_the_answer() -> None:
    """What the OMS tells later holds the move already."""
    turns = Turns(now_ns=T0)
    desk = RiskDesk(WIRING)
    turns.give(desk, Started(0), moved("0.4"))
    turns.give(desk, msgspec.structs.replace(moved("0.4"), account=AccountId("paper:other")))
    turns.give(desk, *RICH, SENT)
    assert desk.view().differences == {}


def test_book_when_it_names_an_unknown_instrument_then_is_a_defect() -> None:
    """The OMS and the desk are wired with the same instruments."""
    scene = Scene(*RICH)
    scene.give(held(PERP, "1"))
    with pytest.raises(Defect, match="which wiring has not named"):
        scene.give(SENT)
