"""The test plug-ins: fair ones keep the rules whatever they draw, the others break exactly one."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

from tests.unit.core.order_builders import parent_order
from tests.unit.executors.test_executors import child
from tests.unit.risk.test_limits import instrument
from tradefan.contracts import CancelChild, EndParent, ParentView, PlaceChild, ReplaceChild, Wake, lookup
from tradefan.messages.orders import OrderStatus
from tradefan.sim.plugins import CHAOS, TRADER, SimChaos, SimChaosSettings
from tradefan.units import SECOND

D = Decimal
RESTS = child(OrderStatus.NEW, order_qty=D(4))


def view(**changes: Any) -> ParentView:
    """A fresh parent without a plan: buy 10, ask and collar 100.5."""
    fields: dict[str, Any] = {
        "now_ns": SECOND,
        "order": parent_order(),
        "instrument": instrument(),
        "cum_qty": D(0),
        "working_qty": D(0),
        "in_doubt_qty": D(0),
        "open_qty": D(10),
        "children": (),
        "attempts": 0,
        "last_end_ns": None,
        "collar_px": D("100.5"),
        "touch_px": D("100.5"),
    }
    return ParentView(**{**fields, **changes})


FRESH = view()
RESTING = view(children=(RESTS,), working_qty=D(4), open_qty=D(6), attempts=1, now_ns=60 * SECOND)
WHOLE = view(children=(RESTS,), working_qty=D(10), open_qty=D(0), attempts=1, now_ns=60 * SECOND)


def decisions(seen: ParentView, count: int = 300, **settings: Any) -> list[tuple[Any, ...]]:
    return [SimChaos(SimChaosSettings(seed=seed, **settings)).decide(seen) for seed in range(count)]


def test_plugins_when_imported_then_strategy_and_executor_are_registered() -> None:
    """Configuration and orders name them as they name every other."""
    assert lookup("strategy", TRADER).name == "sim_trader"
    assert lookup("executor", CHAOS).name == "sim_chaos"


def test_chaos_when_asked_twice_then_it_answers_alike() -> None:
    """It is pure: the same view and settings give the same commands."""
    assert decisions(FRESH) == decisions(FRESH)


def test_chaos_when_fresh_then_every_clip_is_one_that_the_engine_lets_through() -> None:
    """Whole lots within the budget, on the tick, inside the collar: what is refused is no load."""
    clips = [command for answer in decisions(FRESH) for command in answer if isinstance(command, PlaceChild)]
    assert len(clips) == 300
    rules = FRESH.instrument
    for clip in clips:
        assert 0 < clip.order_qty <= FRESH.open_qty
        assert clip.order_qty % rules.qty_lot == 0
        assert clip.limit_price % rules.price_tick == 0
        assert 0 < clip.limit_price <= D("100.5")
        assert not (clip.post_only and clip.time_in_force != "GTC")
    assert len({clip.order_qty for clip in clips}) > 10
    assert {clip.time_in_force for clip in clips} == {"GTC", "IOC"}


def test_chaos_when_a_child_rests_then_it_cancels_replaces_waits_and_slices() -> None:
    """All roads of an engine are taken."""
    kinds = {type(command) for answer in decisions(RESTING) for command in answer}
    assert kinds == {PlaceChild, ReplaceChild, CancelChild, Wake}


def test_chaos_when_nothing_is_left_to_place_then_it_only_tends_what_rests() -> None:
    """A clip beyond the budget would pause the parent as a defect."""
    kinds = {type(command) for answer in decisions(WHOLE) for command in answer}
    assert kinds == {ReplaceChild, CancelChild, Wake}


def test_chaos_when_the_tries_are_gone_then_it_ends() -> None:
    """A parent comes to its end, so that a seed is not full of waiting ones."""
    gone = view(children=(child(OrderStatus.CANCELED),), attempts=3, open_qty=D(6))
    assert set(decisions(gone, tries=3)) == {(EndParent(OrderStatus.EXPIRED, "tries"),)}


def test_chaos_when_nobody_says_what_the_market_is_then_it_waits() -> None:
    """Without a reference there is no price."""
    blind = view(collar_px=None, touch_px=None)
    assert {type(command) for answer in decisions(blind) for command in answer} == {Wake}


@pytest.mark.parametrize("mode", ["nonsense", "ignores_fills"])
def test_chaos_when_it_overshoots_then_its_clip_is_beyond_the_budget(mode: str) -> None:
    """The engine has to stop what the executor does not."""
    (clip,) = SimChaos(SimChaosSettings(mode=mode)).decide(RESTING)  # type: ignore[arg-type]
    assert isinstance(clip, PlaceChild)
    assert clip.order_qty > RESTING.open_qty


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("limit", [None, D("99.5")])
def test_chaos_when_it_prices_beyond_its_bound_then_nothing_else_is_wrong(
    side: Any, limit: Decimal | None
) -> None:
    """Only limit and collar can stop it: whole lots within the budget, on the tick, by a tick or by more."""
    order = parent_order(side=side, limit_price=limit)
    seen = [
        view(order=order, children=(RESTS,), open_qty=D(left), attempts=1, now_ns=60 * SECOND + at)
        for at in range(100)
        for left in (0, 6)
    ]
    chaos = SimChaos(SimChaosSettings(mode="price"))
    commands = [command for one in seen for command in chaos.decide(one)]
    assert {type(command) for command in commands} == {PlaceChild, ReplaceChild}
    worst: Decimal = limit or D("100.5")
    tick = seen[0].instrument.price_tick
    found = []
    for command in commands:
        assert isinstance(command, PlaceChild | ReplaceChild)
        assert command.order_qty == (6 if isinstance(command, PlaceChild) else 4)
        assert command.limit_price % tick == 0
        found.append(command.limit_price - worst if side == "buy" else worst - command.limit_price)
    assert min(found) == tick
    assert worst / 50 < max(found) <= worst / 10 + tick


def test_chaos_when_it_floods_then_there_are_more_commands_than_are_taken() -> None:
    """The engine bounds what one answer may hold."""
    assert len(SimChaos(SimChaosSettings(mode="flood")).decide(RESTING)) > 1_000


def test_chaos_when_it_never_ends_then_commands_keep_coming() -> None:
    """A generator without an end is bounded by the engine alone."""
    endless = SimChaos(SimChaosSettings(mode="endless")).decide(RESTING)
    assert len(list(islice(endless, 5_000))) == 5_000


def test_chaos_when_it_raises_then_only_behind_its_first_child() -> None:
    """A parent with a living child is what a defect must not lose."""
    raises = SimChaos(SimChaosSettings(mode="raise"))
    assert isinstance(raises.decide(FRESH)[0], PlaceChild)
    with pytest.raises(RuntimeError, match="scripted"):
        raises.decide(RESTING)
