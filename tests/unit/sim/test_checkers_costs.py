"""The checker of costs sees what is missing and what is wrong, and nothing where all is well."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tests.unit.core.order_builders import PID, fill, intent, parent
from tests.unit.sim.checker_bench import Bench
from tests.unit.stores.made import costs
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.records import Bust, Correct, Fill, FillInferred, FillReplaced, PhaseChange
from tradefan.messages.tca import Lines, Met, Tca
from tradefan.sim.checkers.costs import CostsTold
from tradefan.units import Asset

D = Decimal


def bench() -> Bench:
    one = Bench(CostsTold())
    assert one.step(parent(), intent()) is None
    return one


def done() -> PhaseChange:
    return PhaseChange(9, PID, Phase.DONE, OrderStatus.FILLED, "")


def told(filled: Any, avg_px: Any, fees: Any) -> Tca:
    """Return a record of costs."""
    wish = parent().order
    known: dict[str, Any] = {
        "filled": D(str(filled)),
        "avg_px": None if avg_px is None else D(str(avg_px)),
        "fees": None if fees is None else D(str(fees)),
    }
    place = (wish.account, wish.instrument, wish.owner)
    return Tca(9, PID, *place, wish.side, wish.algo, Asset("USDT"), 1, costs(**known), Lines(), Met())


def trade(name: str, qty: Any, price: Any, fee: Any = 0, **changes: Any) -> Fill:
    return fill(str(qty), str(price), name, fee=D(str(fee)), **changes)


def test_costs_when_a_parent_ends_without_them_then_it_is_broken() -> None:
    """A parent that ended is never without them, not for a step."""
    found = bench().step(done())
    assert found is not None
    assert found.invariant == "TCA"


def test_costs_when_they_are_those_of_the_fills_then_all_is_well() -> None:
    """Two fills, one fee of them in the base asset at its price."""
    one = bench()
    base = trade("t2", 3, 104, "0.01", fee_asset=Asset("BTC"), fee_px=D(100))
    assert (
        one.step(trade("t1", 1, 100, "0.5", fee_asset=Asset("USDT")), base, done(), told(4, 103, 1.5)) is None
    )


def test_costs_when_a_figure_is_another_then_it_is_broken() -> None:
    """Quantity, price, fees."""
    for wrong in (told(3, 100, 0.5), told(4, 101, 0.5), told(4, 100, 0.4), told(4, 100, None)):
        one = bench()
        first = trade("t1", 4, 100, "0.5", fee_asset=Asset("USDT"))
        assert one.step(first, done(), wrong) is not None


def test_costs_when_a_fee_has_no_price_then_it_has_to_be_unknown() -> None:
    """Nothing is made up."""
    for fees, well in ((None, True), (0, False)):
        one = bench()
        found = one.step(trade("t1", 4, 100, "0.5", fee_asset=Asset("BNB")), done(), told(4, 100, fees))
        assert (found is None) is well


def test_costs_when_a_fill_comes_late_then_they_are_to_be_written_anew() -> None:
    """In the same step."""
    one = bench()
    assert one.step(trade("t1", 1, 100), done(), told(1, 100, 0)) is None
    assert one.step(trade("t2", 1, 102)) is not None
    one = bench()
    assert one.step(trade("t1", 1, 100), done(), told(1, 100, 0)) is None
    assert one.step(trade("t2", 1, 102), told(2, 101, 0)) is None


def test_costs_when_trades_are_inferred_replaced_busted_and_corrected_then_sums_follow() -> None:
    """As the journal says, in every step."""
    one = bench()
    made_up, real = trade("inferred c1 5", 2, 100), trade("t1", 2, 101, "0.2", fee_asset=Asset("USDT"))
    assert one.step(FillInferred(8, made_up), done(), told(2, 100, None)) is None
    where = (made_up.account, made_up.instrument)
    replaced = FillReplaced(9, *where, made_up.trade_id, D(2))
    assert one.step(replaced, real, told(2, 101, 0.2)) is None
    correct = Correct(10, *where, real.trade_id, real, D(1), D(103))
    assert one.step(correct, told(1, 103, 0.2)) is None
    now = replace(real, qty=D(1), price=D(103))
    assert one.step(Bust(11, *where, real.trade_id, now), told(0, None, 0)) is None
