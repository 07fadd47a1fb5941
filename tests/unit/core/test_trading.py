"""Trading state: what each record does, what is counted instead, and that memory is bounded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.core.order_builders import (
    ACCOUNT,
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
from tradefan.core import apply_books, apply_orders, apply_parents
from tradefan.core.exposure import account_sides
from tradefan.core.ledger import balance, position
from tradefan.core.trading import Trading, apply, knows_fill
from tradefan.messages.orders import Doubt, OrderStatus, Phase
from tradefan.messages.records import (
    CancelIntent,
    CancelRefused,
    Cursor,
    Epoch,
    Equity,
    InDoubt,
    ModeChange,
    NotSent,
    Opening,
    PhaseChange,
    Poison,
    Record,
    Resolved,
    Sealed,
    Transfer,
)
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.units import ClientOrderId, ParentId, TradeId

D = Decimal
S = OrderStatus
WINDOWS: dict[Any, tuple[str, ...]] = {
    apply_parents: ("ENDED_MAX", "REFS_MAX"),
    apply_orders: ("ENDED_MAX", "FILL_KEYS_MAX", "FILLS_MAX", "CHILDREN_MAX"),
    apply_books: ("POISON_MAX",),
}
"""Where each window's size is read."""


def folded(*records: Record, unapplied: int = 0) -> Trading:
    state = Trading()
    for record in records:
        apply(state, record)
    assert (state.unapplied, state.lsn) == (unapplied, len(records))
    return state


def epoch(number: int) -> Epoch:
    return Epoch(number, number, "dev", "cfg", "0")


def done(name: str = "p1", status: OrderStatus = S.FILLED) -> PhaseChange:
    return PhaseChange(9, ParentId(name), Phase.DONE, status, "")


def end_more(state: Trading, numbers: range) -> None:
    """Let further children of the parent be placed and cancelled, c2 and so on."""
    for number in numbers:
        name = ClientOrderId(f"c{number}")
        apply(state, intent(client_order_id=name, sequence=number))
        apply(state, report(S.CANCELED, client_order_id=name))


def test_epoch_when_it_rises_then_counters_begin_anew() -> None:
    """An epoch that does not rise is not believed."""
    state = folded(epoch(1), parent(), intent(sequence=7), epoch(2))
    assert (state.epoch, state.sequence, state.parent_sequence, state.instance) == (2, 0, 0, "dev")
    apply(state, epoch(2))
    assert (state.unapplied, state.epoch) == (1, 2)


def test_parent_when_its_children_trade_then_its_sums_follow() -> None:
    """10 wanted, one child of 6 of which 2 traded, one of 4 in doubt: nothing is open."""
    second = ClientOrderId("c2")
    state = folded(
        epoch(1),
        parent(D(10)),
        intent(order_qty=D(6)),
        intent(client_order_id=second, order_qty=D(4), sequence=2),
        report(S.PARTIALLY_FILLED, 2),
        fill(2, 101),
        InDoubt(3, ACCOUNT, second, Doubt.CREATE, "time-out"),
    )
    one = state.parents[PID]
    assert (one.cum_qty, one.working_qty, one.in_doubt_qty, one.open_qty) == (D(2), D(4), D(4), D(0))
    assert (one.shown_status, one.attempts, one.target_qty, one.pending_signed) == (
        S.PARTIALLY_FILLED,
        2,
        D(10),
        D(8),
    )
    assert (one.filled, one.value, list(one.live)) == (D(2), D(202), [CID, second])
    apply(state, Resolved(9, ACCOUNT, second, "NOT_PLACED", "looks", 1, 6))
    assert (one.in_doubt_qty, one.open_qty, one.last_end_ns, list(one.ended)) == (D(0), D(4), 9, [second])


def test_parent_when_it_ends_then_it_stays_ended_and_its_ref_is_known() -> None:
    """DONE is final; the idempotency key outlives the parent."""
    state = folded(epoch(1), parent(), done())
    apply(state, PhaseChange(10, PID, Phase.WORKING, S.NEW, "again"))
    apply(state, ParentFailed(11, PID, "too late"))
    assert (state.unapplied, state.parents[PID].phase, state.parents_open) == (2, Phase.DONE, {})
    assert state.refs == {OWNER: {"r1": PID}}


def test_parent_when_its_plug_in_fails_then_it_is_paused_with_its_children_only() -> None:
    """PAUSED(defect): what it may still trade is what its children may."""
    state = folded(epoch(1), parent(), intent(order_qty=D(3)), ParentFailed(4, PID, "boom"))
    one = state.parents[PID]
    assert (one.phase, one.reason, one.failures, one.pending_signed) == (Phase.PAUSED, "defect", 1, D(3))


def test_parent_when_completing_then_it_shows_pending_cancel_until_done() -> None:
    """Its last status is not true before its children have ended."""
    state = folded(epoch(1), parent(), intent(), PhaseChange(2, PID, Phase.COMPLETING, S.CANCELED, "user"))
    assert state.parents[PID].shown_status is S.PENDING_CANCEL
    apply(state, done(status=S.CANCELED))
    assert state.parents[PID].shown_status is S.CANCELED


@pytest.mark.failure("OR-20", "ST-11")
def test_fill_when_known_then_it_books_once() -> None:
    """Key (account, instrument, trade id): the second one changes nothing and is counted."""
    state = folded(epoch(1), parent(), intent(), fill(4))
    before = msgspec.msgpack.encode(state.ledger)
    apply(state, fill(4))
    assert (msgspec.msgpack.encode(state.ledger), state.unapplied, state.fills) == (before, 1, 1)
    assert knows_fill(state, ACCOUNT, BTC, TradeId("t1"))
    assert not knows_fill(state, ACCOUNT, BTC, TradeId("t2"))


def test_fill_when_late_then_it_is_booked_and_counted() -> None:
    """A fill beyond what the venue had said when the order ended."""
    state = folded(epoch(1), parent(), intent(), report(S.CANCELED, 4), fill(4), fill(1, trade_id="t2"))
    assert (state.late_fills, state.orders[CID].filled, state.parents[PID].cum_qty) == (1, D(5), D(5))
    assert position(state.ledger, ACCOUNT, OWNER, BTC).qty == D(5)


@pytest.mark.failure("ST-10")
def test_fill_when_of_no_order_or_of_another_instrument_then_only_the_ledger_has_it() -> None:
    """A foreign fill is money all the same."""
    other = fill(1, trade_id="t2", instrument="binance:ETH/USDT")
    state = folded(epoch(1), parent(), intent(), fill(1, client_order_id=None), other)
    assert (state.fills, state.orders[CID].filled) == (2, D(0))


@pytest.mark.parametrize(
    "record",
    [
        fill(0),
        fill(-1),
        fill("NaN"),
        fill("Infinity"),
        fill("1e30"),
        fill(1, "1e-40"),
        fill(1, fee=D("sNaN")),
        report(S.NEW, "NaN"),
        report(S.NEW, client_order_id=ClientOrderId("nobody")),
        report(S.NEW, order_qty=D("NaN")),
        intent(order_qty=D("NaN"), client_order_id=ClientOrderId("c9")),
        intent(),
        parent(),
        parent(parent_id=ParentId("p9"), order_qty=D("Infinity")),
        NotSent(1, ACCOUNT, ClientOrderId("nobody"), "x"),
        CancelIntent(1, ACCOUNT, ClientOrderId("nobody"), "x"),
        Resolved(1, ACCOUNT, CID, "NOT_PLACED", "after it was acknowledged"),
        Resolved(1, ACCOUNT, CID, "PLACED", "it always was"),
        InDoubt(1, ACCOUNT, CID, Doubt.CREATE, "after it was acknowledged"),
        Sealed(1, ACCOUNT, CID),
        Sealed(1, ACCOUNT, ClientOrderId("nobody")),
        PhaseChange(1, ParentId("nobody"), Phase.DONE, S.FILLED, ""),
        ParentFailed(1, ParentId("nobody"), ""),
        Opening(1, ACCOUNT, USDT, D("NaN"), None),
        Transfer(1, ACCOUNT, USDT, D("Infinity"), ""),
        "no record",
    ],
    ids=str,
)
def test_record_when_it_cannot_be_applied_then_it_is_counted_and_changes_nothing(record: Any) -> None:
    """Total: never an exception, never half a change."""
    state = folded(epoch(1), parent(), intent(), report(S.NEW))
    before = msgspec.msgpack.encode(state)
    apply(state, record)
    assert (state.lsn, state.unapplied) == (5, 1)
    state.lsn, state.unapplied = 4, 0
    assert msgspec.msgpack.encode(state) == before


def test_cancel_when_refused_then_the_wish_stays() -> None:
    """CANCEL_INTENT marks the order, a refusal takes the status back, and cancel_ns remains."""
    state = folded(
        epoch(1),
        parent(),
        intent(),
        report(S.NEW),
        CancelIntent(5, ACCOUNT, CID, "stop"),
        CancelRefused(6, ACCOUNT, CID, "unknown"),
    )
    one = state.orders[CID]
    assert (one.status, one.cancel_ns, one.reason) == (S.NEW, 5, "unknown")


def test_transfers_when_summed_then_a_mark_of_before_sums_were_kept_begins_them() -> None:
    """A snapshot of an older program knows no sums: a fold of all records counts none of then, either."""
    moved = [Transfer(at, ACCOUNT, USDT, D(qty), "") for at, qty in ((1, 5), (3, -2), (5, 1))]
    old = Equity(2, ACCOUNT, USDT, 0, D(1), D(2), D(0))
    new = Equity(4, ACCOUNT, USDT, 0, D(1), D(2), D(0), transferred={USDT: D(-2)})
    assert folded(*moved).ledger.transferred == {ACCOUNT: {USDT: D(4)}}
    assert folded(moved[0], old, moved[1], new, moved[2]).ledger.transferred == {ACCOUNT: {USDT: D(-1)}}


def test_books_when_opened_then_balances_cursors_and_marks_are_there() -> None:
    """OPENING carries the trade cursors, CURSOR moves one, TRANSFER pays."""
    equity = Equity(3, ACCOUNT, USDT, 0, D(1), D(2), D(0))
    state = folded(
        Opening(1, ACCOUNT, USDT, D(1000), None, ((BTC, TradeId("5")),)),
        Cursor(2, ACCOUNT, BTC, TradeId("9")),
        Transfer(3, ACCOUNT, USDT, D(-1), "fee"),
        equity,
    )
    assert balance(state.ledger, ACCOUNT, USDT) == D(999)
    assert (state.cursors, state.opened, state.equity) == (
        {ACCOUNT: {BTC: TradeId("9")}},
        {ACCOUNT: 1},
        {ACCOUNT: equity},
    )


def test_modes_when_a_cause_is_withdrawn_then_the_others_stay() -> None:
    """A scope has as many modes as it has causes; NORMAL takes one away."""
    first = ModeChange(1, "all", "drawdown", "NO_NEW_RISK", "RISK_DRAWDOWN", "")
    second = ModeChange(2, "all", "loss", "REDUCE_ONLY", "RISK_DAILY_LOSS", "")
    state = folded(first, second)
    assert state.modes == {"all": {"drawdown": first, "loss": second}}
    apply(state, ModeChange(3, "all", "drawdown", "NORMAL", "", ""))
    assert state.modes == {"all": {"loss": second}}
    apply(state, ModeChange(4, "all", "loss", "NORMAL", "", ""))
    apply(state, ModeChange(5, "all", "never was", "NORMAL", "", ""))
    assert (state.modes, state.unapplied) == ({}, 0)


def test_memory_when_much_has_ended_then_the_oldest_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Done parents, ended orders, fill keys, refs, poisons: windows, the newest stay; live ones never go."""
    for module, names in WINDOWS.items():
        for name in names:
            monkeypatch.setattr(module, name, 3)
    state = folded(epoch(1), parent(ref="live"), intent())
    for number in range(2, 12):
        pid, cid = ParentId(f"p{number}"), ClientOrderId(f"c{number}")
        apply(state, parent(parent_id=pid, ref=f"r{number}"))
        apply(state, intent(parent_id=pid, client_order_id=cid, sequence=number))
        apply(state, fill(10, trade_id=f"t{number}", client_order_id=cid))
        apply(state, done(pid))
        apply(state, Poison(1, f"fill {number}", BTC, ""))
    assert state.unapplied == 0
    newest = [9, 10, 11]
    assert list(state.parents) == [PID, *(f"p{n}" for n in newest)]
    assert list(state.orders) == [CID, *(f"c{n}" for n in newest)]
    assert (list(state.orders_live), list(state.parents_open)) == ([CID], [PID])
    assert list(state.fill_keys[ACCOUNT][BTC]) == [f"t{n}" for n in newest]
    assert list(state.refs[OWNER]) == [f"r{n}" for n in newest]
    assert list(state.poisons) == [f"fill {n}" for n in newest]
    assert [one.trade_id for one in state.recent_fills.values()] == [f"t{n}" for n in newest]


def test_ended_order_when_its_fill_is_missing_then_it_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it counts as traded is in exposure until the fill is booked: then it goes, and nothing is left."""
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 2)
    monkeypatch.setattr(apply_orders, "UNSEALED_MAX", 2)
    state = folded(epoch(1), parent(), intent(), report(S.FILLED, 10))
    end_more(state, range(2, 6))
    assert (CID in state.orders, len(state.orders)) == (True, 3)
    assert account_sides(state.exposure, ACCOUNT, BTC).unbooked == D(10)
    apply(state, fill(10))
    assert account_sides(state.exposure, ACCOUNT, BTC).unbooked == D(0)
    end_more(state, range(6, 9))
    assert list(state.orders) == ["c7", "c8"]


@pytest.mark.failure("OR-07")
def test_ended_order_when_its_parent_still_works_then_it_stays_until_it_is_sealed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its late fill would not reach the parent else; a bound of its own holds however many these are."""
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 2)
    monkeypatch.setattr(apply_orders, "UNSEALED_MAX", 5)
    state = folded(epoch(1), parent(), intent(), report(S.CANCELED))
    end_more(state, range(2, 6))
    assert len(state.orders) == 5
    apply(state, fill(10))
    assert state.parents[PID].cum_qty == D(10)
    end_more(state, range(6, 9))
    assert (len(state.orders), CID in state.orders) == (5, False)
    for name in tuple(state.orders_ended):
        apply(state, Sealed(9, ACCOUNT, name))
    end_more(state, range(9, 11))
    assert list(state.orders) == ["c9", "c10"]


def test_ended_order_when_its_parent_is_done_then_it_leaves_unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late fill finds its owner by the journal, and no parent waits for it."""
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 2)
    state = folded(epoch(1), parent(), intent(), report(S.CANCELED))
    end_more(state, range(2, 4))
    apply(state, done())
    end_more(state, range(4, 6))
    assert list(state.orders) == ["c4", "c5"]


def test_ended_orders_when_others_end_many_then_ours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A market maker on the account ends a thousand in minutes: each has a window of its own."""
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 2)
    state = folded(epoch(1), parent(), intent(), report(S.CANCELED))
    for number in range(4):
        apply(state, external(f"web{number}"))
        apply(state, report(S.CANCELED, client_order_id=ClientOrderId(f"web{number}")))
    assert list(state.orders) == [CID, "web2", "web3"]


def test_done_parent_when_a_child_still_lives_then_it_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child that was adopted late keeps its parent in memory."""
    monkeypatch.setattr(apply_parents, "ENDED_MAX", 1)
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 1)
    state = folded(epoch(1), parent(), intent(), done())
    for number in (2, 3):
        pid = ParentId(f"p{number}")
        apply(state, parent(parent_id=pid, ref=f"r{number}"))
        apply(state, done(pid))
    assert PID in state.parents
    apply(state, report(S.CANCELED))
    apply(state, parent(parent_id=ParentId("p4"), ref="r4"))
    apply(state, done("p4"))
    assert list(state.parents) == ["p4"]


def test_state_when_encoded_then_it_comes_back_equal() -> None:
    """All of it is Structs, dicts, Decimals and numbers."""
    state = folded(
        epoch(1),
        Opening(1, ACCOUNT, USDT, D(1000), None, ((BTC, None),)),
        parent(D(10)),
        intent(),
        report(S.PARTIALLY_FILLED, 2),
        fill(2),
        Poison(1, "fill x", BTC, "boom"),
        ModeChange(1, "all", "loss", "REDUCE_ONLY", "RISK_DAILY_LOSS", "", "5 %", "6 %", None),
    )
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Trading)
    assert again == state
