"""What each record of stage 2 does to the trading state, and what cannot be applied."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.core.order_builders import (
    ACCOUNT,
    BASE,
    BTC,
    CID,
    OWNER,
    PID,
    USDT,
    external,
    fill,
    intent,
    parent,
    report,
)
from tradefan.core import apply_orders
from tradefan.core.exposure import account_sides, owner_sides, reserved
from tradefan.core.ledger import balance, held_before, net, position
from tradefan.core.trading import apply
from tradefan.core.trading_state import Trading, fill_key, knows_fill, may_have_forgotten, place_key
from tradefan.messages.orders import OrderStatus, SetTarget
from tradefan.messages.records import (
    Assign,
    Bust,
    CancelRefused,
    CleanStop,
    ConfigChange,
    Correct,
    Difference,
    Epoch,
    FillInferred,
    FillReplaced,
    Kill,
    ModeChange,
    NotSent,
    Opening,
    OwnerState,
    Poison,
    PoisonResolved,
    Record,
    Resume,
    Waiting,
)
from tradefan.units import EXTERNAL, ClientOrderId, InstrumentId, OwnerId, TradeId

D = Decimal
S = OrderStatus
OTHER = OwnerId("other")
NEW_CID = ClientOrderId("c2")


def folded(*records: Record, unapplied: int = 0) -> Trading:
    state = Trading()
    for record in records:
        apply(state, record)
    assert (state.unapplied, state.lsn) == (unapplied, len(records))
    return state


def epoch(number: int, at_ns: int = 0, restart: int = 0) -> Epoch:
    return Epoch(at_ns or number, number, "dev", "cfg", "0", restart)


RESTING = (epoch(1), parent(), intent(), report(S.NEW))
"""One child of 10 that rests."""


# --- starts and owners ---------------------------------------------------------------------------------


def test_start_when_a_clean_stop_went_before_then_it_is_not_counted() -> None:
    """Instants of starts after a crash, restarts inside the process apart."""
    state = folded(
        epoch(1, 10),
        epoch(2, 20),
        epoch(3, 30, restart=1),
        CleanStop(40, 0),
        epoch(4, 50),
        epoch(5, 60),
    )
    assert (state.starts, state.stopped) == ([10, 20, 60], False)


def test_config_when_it_changes_then_the_state_names_it() -> None:
    """CONFIG and EPOCH both say which configuration decides."""
    state = folded(epoch(1), ConfigChange(2, "next"))
    assert state.config_id == "next"


def test_owner_state_when_a_turn_is_repeated_then_it_changes_nothing() -> None:
    """Turns rise; one that changes no state keeps the older one (I-43)."""
    state = folded(
        OwnerState(1, OWNER, 1, b"one"),
        OwnerState(2, OWNER, 3, None),
        OwnerState(3, OTHER, 1, None),
        OwnerState(4, OWNER, 3, b"again"),
        unapplied=1,
    )
    assert (state.owners[OWNER].turn, state.owners[OWNER].state) == (3, b"one")
    assert state.owners[OTHER].state is None


# --- orders --------------------------------------------------------------------------------------------


@pytest.mark.failure("OR-23")
def test_replacement_when_intended_then_the_old_order_waits_and_both_count() -> None:
    """INTENT with `replaces` is one record and one change: two orders, two reservations."""
    state = folded(*RESTING, intent(client_order_id=NEW_CID, sequence=2, order_qty=D(8), replaces=CID))
    old, new = state.orders[CID], state.orders[NEW_CID]
    assert (old.status, old.replaced_by, new.replaces) == (S.PENDING_REPLACE, NEW_CID, CID)
    assert account_sides(state.exposure, ACCOUNT, BTC).buy_qty == D(18)
    apply(state, NotSent(9, ACCOUNT, NEW_CID, "EXPIRED"))
    apply(state, CancelRefused(9, ACCOUNT, CID, "EXPIRED"))
    assert (old.status, account_sides(state.exposure, ACCOUNT, BTC).buy_qty) == (S.NEW, D(10))


def test_external_order_when_recorded_then_it_counts_for_external() -> None:
    """Exposure and reservation of nobody's order; no parent, no owner's position."""
    state = folded(epoch(1), external(cum_qty=D(4)))
    order = state.orders[ClientOrderId("web")]
    assert (order.owner, order.external, order.status) == (EXTERNAL, True, S.PARTIALLY_FILLED)
    assert owner_sides(state.exposure, ACCOUNT, BTC, EXTERNAL).buy_qty == D(6)
    assert reserved(state.exposure, ACCOUNT, USDT) == D(600)
    assert state.ledger.positions == {}


def test_external_order_when_its_id_comes_again_then_only_an_ended_one_makes_room() -> None:
    """A live one, and an order of ours, keep their id."""
    state = folded(epoch(1), external(), external(order_qty=D(3)), unapplied=1)
    apply(state, report(S.CANCELED, client_order_id=ClientOrderId("web")))
    apply(state, external(order_qty=D(3)))
    assert (state.unapplied, account_sides(state.exposure, ACCOUNT, BTC).buy_qty) == (1, D(3))
    assert (list(state.orders_live), list(state.orders_ended)) == (["web"], [])
    ours = folded(*RESTING, external(str(CID)), unapplied=1)
    assert not ours.orders[CID].external


# --- fills ---------------------------------------------------------------------------------------------


def inferred(qty: Any, name: str = "inferred c1 9") -> FillInferred:
    return FillInferred(4, fill(qty, 99, name))


def replaced(qty: Any, name: str = "inferred c1 9") -> FillReplaced:
    return FillReplaced(5, ACCOUNT, BTC, TradeId(name), D(qty))


@pytest.mark.failure("OR-21")
def test_inferred_fill_when_replaced_in_parts_then_each_part_leaves_exactly() -> None:
    """It books like a fill, under a name of its own, and gives way to as much as a real one explains."""
    state = folded(*RESTING, report(S.FILLED, 10), inferred(10))
    assert position(state.ledger, ACCOUNT, OWNER, BTC).cost == D(990)
    assert not knows_fill(state, ACCOUNT, BTC, TradeId("inferred c1 9"))
    for number, qty in enumerate((4, 6), 1):
        apply(state, replaced(qty))
        apply(state, fill(qty, 98, f"t{number}"))
    held = position(state.ledger, ACCOUNT, OWNER, BTC)
    assert (held.qty, held.cost - held.realised, state.inferred) == (D(10), D(980), {})
    assert (state.orders[CID].filled, state.parents[PID].filled, state.fills) == (D(10), D(10), 2)


def test_bust_when_of_a_booked_fill_then_order_parent_and_books_go_back() -> None:
    """The fee returns, `cum_qty` falls, the key stays known: the same trade never books again."""
    state = folded(*RESTING, fill(4, fee=D(1)), report(S.CANCELED, 4))
    apply(state, Bust(9, ACCOUNT, BTC, TradeId("t1"), fill(4, fee=D(1))))
    apply(state, fill(4, fee=D(1)))
    assert state.unapplied == 1
    assert (state.orders[CID].cum_qty, state.parents[PID].cum_qty) == (D(0), D(0))
    assert balance(state.ledger, ACCOUNT, USDT) == D(0)
    assert position(state.ledger, ACCOUNT, OWNER, BTC).fees == {USDT: D(0)}
    assert state.recent_fills == {}


def test_bust_when_its_fill_is_unknown_then_it_waits_by_its_key() -> None:
    """Remembered until the fill comes and is taken back."""
    state = folded(*RESTING, Bust(9, ACCOUNT, BTC, TradeId("t1"), None))
    assert list(state.busts) == [fill_key(ACCOUNT, BTC, TradeId("t1"))]
    apply(state, fill(4))
    apply(state, Bust(9, ACCOUNT, BTC, TradeId("t1"), fill(4)))
    assert (state.busts, position(state.ledger, ACCOUNT, OWNER, BTC).qty) == ({}, D(0))


@pytest.mark.parametrize(("qty", "price"), [(D(3), D(100)), (D(4), D(90)), (D(0), D(100))])
def test_correction_when_of_a_booked_fill_then_the_new_numbers_hold(qty: Decimal, price: Decimal) -> None:
    """One record takes the old execution back and books the new one; a quantity of zero is a bust."""
    state = folded(*RESTING, fill(4, fee=D(1)))
    apply(state, Correct(9, ACCOUNT, BTC, TradeId("t1"), fill(4, fee=D(1)), qty, price))
    held = position(state.ledger, ACCOUNT, OWNER, BTC)
    assert (held.qty, held.cost - held.realised) == (qty, qty * price)
    assert (state.orders[CID].filled, state.parents[PID].value) == (qty, qty * price)
    assert [one.qty for one in state.recent_fills.values()] == ([qty] if qty else [])


def test_floor_when_keys_leave_their_window_then_older_ones_may_be_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Numbers up to the highest that left; a name that is no number makes every unknown one suspect."""
    monkeypatch.setattr(apply_orders, "FILL_KEYS_MAX", 2)
    state = folded(*RESTING, *(fill(1, 100, str(number)) for number in (5, 7, 8, 9)))
    asked = [may_have_forgotten(state, ACCOUNT, BTC, TradeId(name)) for name in ("6", "7", "8", "99", "h1")]
    assert asked == [True, True, False, False, True]
    assert not may_have_forgotten(state, ACCOUNT, InstrumentId("x"), TradeId("1"))
    for name in ("h1", "h2", "h3"):
        apply(state, fill(1, 100, name))
    assert may_have_forgotten(state, ACCOUNT, BTC, TradeId("99"))


# --- money, modes, humans ------------------------------------------------------------------------------


def test_assign_when_recorded_then_positions_move_and_the_account_does_not() -> None:
    """Between owners by instrument, of `external` by asset; the account's net follows only the latter."""
    state = folded(
        Opening(1, ACCOUNT, BASE, D(5), D(90)),
        fill(4),
        Assign(2, ACCOUNT, BTC, BASE, OWNER, OTHER, D(1), D(110), "me"),
        Assign(3, ACCOUNT, BTC, BASE, EXTERNAL, OTHER, D(2), D(100), "me"),
    )
    given, taken = (position(state.ledger, ACCOUNT, one, BTC) for one in (OWNER, OTHER))
    assert (given.qty, given.realised, taken.qty, taken.cost) == (D(3), D(10), D(3), D(310))
    assert (held_before(state.ledger, ACCOUNT, BASE), net(state.ledger, ACCOUNT, BTC)) == (D(3), D(6))
    assert balance(state.ledger, ACCOUNT, BASE) == D(9)


def test_kill_when_resumed_then_modes_that_wait_for_a_human_go_too() -> None:
    """RESUME opens one scope; its other causes stay, and so do other scopes."""
    state = folded(
        Kill(1, "all", "panic", "me", keep_protection=True),
        Kill(1, BTC, "odd", "me"),
        ModeChange(2, "all", "chain", "NO_NEW_RISK", "", ""),
        ModeChange(2, "all", "loop lag", "NO_NEW_RISK", "", ""),
        ModeChange(2, ACCOUNT, "auth", "CANCEL_ONLY", "", ""),
        Resume(3, "all", "seen", "me"),
    )
    assert list(state.kills) == [BTC]
    assert {scope: list(causes) for scope, causes in state.modes.items()} == {
        "all": ["loop lag"],
        ACCOUNT: ["auth"],
    }
    apply(state, Resume(4, ACCOUNT, "seen", "me"))
    assert list(state.modes) == ["all"]


def test_difference_when_it_ends_then_it_is_forgotten() -> None:
    """DIFF by subject, apart and equal again."""
    apart = Difference(1, ACCOUNT, BTC, "c1", True, "missing")
    state = folded(apart)
    assert state.differences == {"c1": apart}
    apply(state, Difference(2, ACCOUNT, BTC, "c1", False, "shown"))
    assert (state.differences, state.unapplied) == ({}, 0)


@pytest.mark.parametrize(("verdict", "dropped"), [("RETRY", []), ("DROP", ["fill x"])])
def test_poison_when_resolved_then_it_may_come_again_or_never(verdict: Any, dropped: list[str]) -> None:
    """What was dropped stays known, so that no road brings it back."""
    state = folded(Poison(1, "fill x", BTC, "boom"), PoisonResolved(2, "fill x", verdict, "seen", "me"))
    assert (state.poisons, list(state.dropped)) == ({}, dropped)


def waits(ref: str | None) -> Waiting:
    wish = None if ref is None else SetTarget(ACCOUNT, BTC, OWNER, ref, D(9), D(0), "market", {"tries": 2})
    return Waiting(5, ACCOUNT, BTC, OWNER, wish)


def test_wish_when_it_waits_then_the_newest_counts_until_its_parent_comes_or_its_wait_ends() -> None:
    """By place; a parent of another target, or of a plain order, is not it."""
    place = place_key(ACCOUNT, BTC, OWNER)
    state = folded(waits("a"), waits("b"), parent(D(1), ref="a"), parent(None, parent_id="p2", ref="b"))
    assert state.wishes == {place: waits("b").wish}
    apply(state, parent(D(9), parent_id="p3", ref="b"))
    assert (state.wishes, state.unapplied) == ({}, 0)
    assert folded(waits("a"), waits(None)).wishes == {}


@pytest.mark.parametrize(
    "record",
    [
        external(order_qty=D("NaN")),
        inferred(0),
        inferred("NaN"),
        replaced(1, "nobody"),
        replaced(0),
        replaced("NaN"),
        Bust(1, ACCOUNT, BTC, TradeId("t1"), fill("NaN")),
        Bust(1, ACCOUNT, BTC, TradeId("t1"), fill(4, fee=D("Infinity"))),
        Correct(1, ACCOUNT, BTC, TradeId("t1"), fill("NaN"), D(1), D(1)),
        Correct(1, ACCOUNT, BTC, TradeId("t1"), fill(4), D(-1), D(1)),
        Correct(1, ACCOUNT, BTC, TradeId("t1"), fill(4), D("NaN"), D(1)),
        Assign(1, ACCOUNT, BTC, BASE, OWNER, OTHER, D(0), D(1), "me"),
        Assign(1, ACCOUNT, BTC, BASE, OWNER, OTHER, D(1), D("Infinity"), "me"),
        PoisonResolved(1, "fill nobody", "DROP", "", "me"),
        OwnerState(1, OWNER, 0, b"zero"),
        waits(None),
        intent(client_order_id=NEW_CID, replaces=CID, order_qty=D("NaN")),
    ],
    ids=str,
)
def test_record_when_it_cannot_be_applied_then_it_is_counted_and_changes_nothing(record: Any) -> None:
    """Total: never an exception, never half a change."""
    state = folded(*RESTING, fill(4))
    before = msgspec.msgpack.encode(state)
    apply(state, record)
    assert (state.lsn, state.unapplied) == (6, 1)
    state.lsn, state.unapplied = 5, 0
    assert msgspec.msgpack.encode(state) == before


def test_state_when_all_of_it_is_there_then_it_comes_back_equal() -> None:
    """Everything of stage 2 survives encoding: a snapshot is the state."""
    state = folded(
        *RESTING,
        external(),
        inferred(2),
        fill(3),
        Bust(5, ACCOUNT, BTC, TradeId("t9"), None),
        Correct(5, ACCOUNT, BTC, TradeId("t8"), None, D(1), D(2)),
        OwnerState(5, OWNER, 1, b"state"),
        waits("a"),
        Kill(5, "all", "panic", "me"),
        Difference(5, ACCOUNT, None, "BNB", True, "x"),
        PoisonResolved(5, "fill x", "DROP", "", "me"),
        unapplied=1,
    )
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Trading)
    assert again == state
