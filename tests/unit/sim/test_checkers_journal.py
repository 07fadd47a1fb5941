"""I-08, I-24, I-43: the fold is State, turns are whole, the store follows."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.unit.core.order_builders import ACCOUNT, BTC, CID, OWNER, fill, intent, parent, report
from tests.unit.runtime.players import build, kernel_of
from tests.unit.sim.checker_bench import Bench, D, broken, epoch, opening
from tradefan.core.trading import apply
from tradefan.core.trading_state import Trading
from tradefan.core.updates import order_update
from tradefan.messages.contingent import GroupEnding
from tradefan.messages.orders import FillUpdate, OrderStatus, OrderUpdate, Phase, SetTarget
from tradefan.messages.records import (
    Bust,
    Correct,
    Fill,
    FillInferred,
    FillReplaced,
    OwnerState,
    Parent,
    PhaseChange,
    Record,
    Waiting,
)
from tradefan.sim.checkers.journal import EVERY_STEPS, SameFold, StoreFollows, WholeTurns
from tradefan.units import ZERO, ClientOrderId, OwnerId, ParentId, TradeId

S = OrderStatus
SOME: tuple[Record, ...] = (opening("USDT", 1000), parent(), intent(), report(S.NEW), fill(4))


def folding() -> Bench:
    """Return a bench with a kernel that counts steps, and some records folded."""
    bench = Bench(SameFold())
    bench.seen.kernel = kernel_of(build({"a": {}}))
    bench.append(*SOME)
    return bench


def steps(bench: Bench, count: int) -> None:
    assert bench.seen.kernel is not None
    bench.seen.kernel.state.steps += count


def test_state_when_it_is_the_fold_then_quiet() -> None:
    """I-08: step by step, behind a crash, and at rest."""
    bench = folding()
    for record in (fill(3, trade_id="t2"), report(S.CANCELED, 7)):
        steps(bench, EVERY_STEPS)
        assert bench.step(record) is None
    assert bench.crash(len(bench.seen.records)) is None
    assert bench.rest() is None


def test_state_when_changed_without_a_record_then_broken_at_the_hundredth_step() -> None:
    """I-08: whatever changes State beside `emit`; the first entry that differs is named."""
    bench = folding()
    assert bench.look() is None
    bench.seen.oms.trading.orders[CID].cancels = 9
    steps(bench, EVERY_STEPS - 1)
    assert bench.step(fill(1, trade_id="t2")) is None
    steps(bench, 1)
    violation = bench.step(fill(1, trade_id="t3"))
    broken(violation, "I-08", f"the fold's orders[{CID}]", "cancels=9")


def test_state_when_its_maps_have_another_order_then_broken() -> None:
    """I-08: order in a map is part of State: it decides what comes first."""
    bench = folding()
    bench.append(intent(client_order_id="c2"))
    live = bench.seen.oms.trading.orders_live
    del live[CID]
    live[CID] = None
    broken(bench.look(), "I-08", "the fold's orders_live in the order of ['c1', 'c2']", "['c2', 'c1']")


def test_journal_when_it_lost_what_was_acknowledged_then_broken_at_the_start() -> None:
    """I-08: the last acknowledged record is gone."""
    bench = folding()
    assert bench.look() is None
    broken(bench.crash(4), "I-08", "5 acknowledged records", "4")


def test_journal_when_it_changed_what_was_acknowledged_then_broken_at_the_start() -> None:
    """I-08: the same lsn, another record."""
    bench = folding()
    assert bench.look() is None
    bench.seen.records[4] = fill(5)
    broken(bench.crash(5), "I-08", "lsn 5 as it was acknowledged Fill(", "qty=Decimal('5')")


def test_journal_when_the_fold_at_the_start_is_another_then_broken() -> None:
    """I-08: a snapshot that is not the fold of what is before it, seen before the venue is asked."""
    bench = folding()
    bench.seen.oms.trading.sequence = 99
    broken(bench.checker.at_start(bench.seen), "I-08", "the fold's sequence 1", "99")


def test_state_when_the_order_manager_folds_then_nothing_is_compared() -> None:
    """I-08: before the fold State is empty."""
    bench = folding()
    bench.seen.oms.live.running = False
    bench.seen.oms.trading = Trading()
    assert bench.look() is None


def state(turn: int, owner: OwnerId = OWNER) -> OwnerState:
    return OwnerState(1, owner, turn, b"x")


def plain_parent(number: int, **changes: Any) -> Record:
    return parent(parent_id=f"p{number}", **changes)


def test_turns_when_whole_and_rising_then_quiet() -> None:
    """I-43: a turn with its parents, one of state only, another owner's, a target that waited, a human's."""
    bench = Bench(WholeTurns())
    assert bench.step(state(1), plain_parent(1), intent()) is None
    assert bench.step(state(2)) is None
    assert bench.step(state(1, OwnerId("other"))) is None
    assert bench.step(parent(D(5), parent_id="p2")) is None
    assert bench.step(plain_parent(3, owner="api")) is None
    assert bench.crash(4) is None
    assert bench.step(state(3), plain_parent(4)) is None


def test_turn_when_it_comes_again_then_broken() -> None:
    """I-43: a turn on record is never repeated, over all lives; what was lost may be."""
    bench = Bench(WholeTurns())
    assert bench.step(state(1)) is None
    assert bench.step(state(2)) is None
    assert bench.crash(1) is None
    assert bench.step(state(2)) is None
    broken(bench.step(state(2)), "I-43", f"a turn of {OWNER} behind 2", "2")


def test_parent_when_its_turns_state_is_in_another_append_then_broken() -> None:
    """I-43: a crash between the two would leave one without the other."""
    bench = Bench(WholeTurns())
    bench.append(plain_parent(1))
    bench.append(state(1))
    broken(bench.look(), "I-43", f"an OWNER_STATE of {OWNER} in the Append of p1", "none")


def test_parent_when_it_brings_a_group_to_nothing_then_it_is_no_turns() -> None:
    """I-43: the order manager sells what a cancelled bracket has bought; the same Append says so."""
    bench = Bench(WholeTurns())
    made, late = plain_parent(1), plain_parent(2)
    assert isinstance(made, Parent)
    assert isinstance(late, Parent)
    assert bench.step(made, GroupEnding(1, ParentId("g1"), "flatten", made.order.parent_id)) is None
    bench.append(late)
    bench.append(GroupEnding(1, ParentId("g1"), "flatten", late.order.parent_id))
    broken(bench.look(), "I-43", f"an OWNER_STATE of {OWNER} in the Append of p2", "none")


def test_append_when_a_crash_tears_it_then_broken() -> None:
    """I-43: of state and parent in one Append the state alone is left."""
    bench = Bench(WholeTurns())
    assert bench.step(state(1), plain_parent(1)) is None
    bench.crash(1)
    broken(bench.step(state(2)), "I-43", "an Append behind whole Appends", "from lsn 2 on")


def waits(ref: str | None, owner: OwnerId = OWNER) -> Waiting:
    wish = None if ref is None else SetTarget(ACCOUNT, BTC, owner, ref, D(9), D(0), "market")
    return Waiting(1, ACCOUNT, BTC, owner, wish)


def ends(number: int, phase: Phase = Phase.COMPLETING) -> PhaseChange:
    """Return what ends a parent of an older target."""
    return PhaseChange(1, ParentId(f"p{number}"), phase, S.CANCELED, "new_target")


def old_target() -> Bench:
    """Return a bench with a target's parent that works."""
    bench = Bench(WholeTurns())
    assert bench.step(state(1), parent(D(5), parent_id="p1", ref="a"), intent()) is None
    return bench


def test_wish_when_it_waits_on_record_then_quiet() -> None:
    """I-43: it waits in its turn's Append and becomes a parent; or nothing is left to wait for at once."""
    bench = old_target()
    assert bench.step(state(2), ends(1), waits("b")) is None
    assert bench.step(ends(1, Phase.DONE), parent(D(9), parent_id="p2", ref="b")) is None
    assert bench.step(state(3), ends(2), ends(2, Phase.DONE), parent(D(7), parent_id="p3", ref="c")) is None


def test_wish_when_it_waits_in_memory_only_then_broken() -> None:
    """I-43: a crash would leave the State that tells of it, and nothing of it."""
    broken(old_target().step(state(2), ends(1)), "I-43", "in the Append that ends p1", "none")
    bench = old_target()
    bench.append(state(2), ends(1))
    bench.append(waits("b"))
    broken(bench.look(), "I-43", f"a WAITING of {ACCOUNT} {BTC} {OWNER}", "none")


def test_wish_when_a_start_has_come_since_then_it_is_told_as_lost() -> None:
    """I-43: it ends with a later turn of its owner; a restart of the order manager alone is not judged."""
    bench = old_target()
    assert bench.step(state(2), ends(1), waits("b")) is None
    assert bench.step(epoch(2), ends(1, Phase.DONE)) is None
    assert bench.step(state(3), waits(None)) is None
    assert bench.step(waits("c"), epoch(3, restart=1), waits(None)) is None
    assert bench.step(waits("d", OwnerId("gone")), epoch(4), waits(None, OwnerId("gone"))) is None


def test_wish_when_a_start_loses_it_or_orders_it_then_broken() -> None:
    """I-43: silence behind a start, or an order without a new decision."""
    bench = old_target()
    assert bench.step(state(2), ends(1), waits("b"), epoch(2)) is None
    broken(bench.step(waits(None)), "I-43", f"an OWNER_STATE of {OWNER} with the end of its wish", "none")
    bench = old_target()
    assert bench.step(state(2), ends(1), waits("b"), epoch(2)) is None
    late = parent(D(9), parent_id="p2", ref="b")
    broken(bench.step(late), "I-43", f"b of {OWNER} told as lost behind a start", "p2")


class Rows:
    """A store's rows, made from records."""

    def __init__(self, bench: Bench) -> None:
        """Hold what follows from all records."""
        self.applied_lsn = len(bench.seen.records)
        self.fill_rows = [
            _row(lsn, one) for lsn, one in enumerate(bench.seen.records, 1) if isinstance(one, Fill)
        ]
        self.order_rows = [order_update(one) for one in bench.seen.oms.trading.orders.values()]

    def fills(self, *, limit: int) -> list[FillUpdate]:
        """Return the fills."""
        return self.fill_rows[:limit]

    def orders(self, *, limit: int) -> list[OrderUpdate]:
        """Return the orders."""
        return self.order_rows[:limit]


def _row(lsn: int, one: Fill) -> FillUpdate:
    return FillUpdate(
        account=one.account,
        instrument=one.instrument,
        owner=one.owner,
        parent_id=None,
        client_order_id=one.client_order_id,
        trade_id=one.trade_id,
        side=one.side,
        qty=one.qty,
        price=one.price,
        fee=one.fee,
        fee_asset=one.fee_asset,
        liquidity=one.liquidity,
        event_ns=one.event_ns,
        lsn=lsn,
        realised=ZERO,
    )


def stored() -> tuple[Bench, Rows]:
    """Return a store that is what the journal says."""
    bench = Bench(StoreFollows())
    bench.append(*SOME, fill(2, trade_id="t2"))
    rows = Rows(bench)
    bench.seen.store = rows
    return bench, rows


def test_store_when_it_is_the_journals_projection_then_quiet() -> None:
    """I-24: its place lies behind the last fill: one that stood still would hide that rows are missing."""
    bench, rows = stored()
    assert bench.rest() is None
    rows.applied_lsn = 5
    del rows.fill_rows[-1]
    broken(bench.rest(), "I-24", "the store's place at lsn 6 or behind", "5")


def test_store_when_fills_are_inferred_and_taken_back_then_its_rows_name_the_records() -> None:
    """I-24: a bust of 4, a correction from 2 to 1, and 3 inferred of which 1 is replaced."""
    bench, rows = stored()
    bench.append(
        Bust(9, ACCOUNT, BTC, TradeId("t1"), fill(4)),
        Correct(9, ACCOUNT, BTC, TradeId("t2"), fill(2, trade_id="t2"), D(1), D(100)),
        FillInferred(9, fill(3, trade_id="inferred")),
        FillReplaced(9, ACCOUNT, BTC, TradeId("inferred"), D(1)),
    )
    rows = Rows(bench)
    bench.seen.store = rows
    told = [(7, -4, "bust"), (8, -2, "old"), (8, 1, "new"), (9, 3, "inferred"), (10, -1, "replaced")]
    rows.fill_rows += [_row(lsn, fill(qty, trade_id=f"{name} {lsn}")) for lsn, qty, name in told]
    assert bench.rest() is None
    rows.fill_rows[-1] = _row(10, fill(-2, trade_id="replaced 10"))
    broken(bench.rest(), "I-24", f"{OWNER} {BTC} traded 3 in the store", "2")


def test_store_when_a_fill_is_missing_other_or_made_up_then_broken() -> None:
    """I-24: by key, with lsn, quantity, price and fee."""
    key = f"{ACCOUNT} {BTC} t2"
    bench, rows = stored()
    del rows.fill_rows[-1]
    broken(bench.rest(), "I-24", f"fill {key} stored as (6, Decimal('2')", "None")
    bench, rows = stored()
    rows.fill_rows[-1] = _row(6, fill(3, trade_id="t2"))
    broken(bench.rest(), "I-24", f"fill {key}", "Decimal('3')")
    bench, rows = stored()
    rows.fill_rows.append(_row(4, fill(1, trade_id="t9")))
    broken(bench.rest(), "I-24", f"no fill {ACCOUNT} {BTC} t9 in the store", "4")


def test_store_when_an_order_is_older_than_state_then_broken() -> None:
    """I-24: status and quantity of each order that State knows."""
    bench, _ = stored()
    apply(bench.seen.oms.trading, report(S.CANCELED, 6))
    broken(bench.rest(), "I-24", f"order {CID} stored as ('CANCELED', Decimal('6'))", "PARTIALLY_FILLED")


def test_store_when_an_order_was_never_journaled_then_broken() -> None:
    """I-24: a crash took its record, and the row stayed."""
    bench, rows = stored()
    rows.order_rows.append(replace(rows.order_rows[0], client_order_id=ClientOrderId("ghost")))
    broken(bench.rest(), "I-24", "no order ghost in the store", "PARTIALLY_FILLED")


def test_store_when_nobody_can_ask_it_then_quiet() -> None:
    """I-24: a world without a store proves nothing about it."""
    bench, _ = stored()
    bench.seen.store = None
    assert bench.rest() is None
