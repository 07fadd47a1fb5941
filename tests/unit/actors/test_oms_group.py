"""Groups inside the order manager: one quantity by several legs, and an entry with its exits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, CLI, CONFIG, FACE, GATEWAY, TREND
from tests.unit.actors.test_oms_trigger import Prints, fired, restarted
from tradefan.core.trading import ParentState
from tradefan.messages.contingent import Amend, Armed, Group
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import Answer, CancelParent, OrderStatus, Phase, Refusal
from tradefan.messages.records import (
    Fill,
    Intent,
    Parent,
    Record,
)
from tradefan.units import MS, SECOND

D = Decimal
S = OrderStatus
LEGS: dict[str, Any] = {"take_profit.limit_price": "110", "stop.trigger_price": "95"}


@pytest.fixture
def bench() -> Bench:
    """A market at 100, and nothing held."""
    return Bench().ready()


def group(bench: Bench, algo: str, qty: Any = 10, **changes: Any) -> dict[str, ParentState]:
    """Submit a group; return its members by leg."""
    settings = changes.pop("settings", LEGS)
    bench.submit(qty, algo=algo, settings=settings, req=1, **changes)
    refused = bench.take(FACE, Refusal)
    assert refused == [], refused
    names = bench.one(FACE, Answer).parent_ids
    return {bench.trading.parents[name].leg: bench.trading.parents[name] for name in names}


def oco(bench: Bench, **changes: Any) -> dict[str, ParentState]:
    """Hold 10, and let them be sold at 110, or when the market falls to 95."""
    bench.bought(10)
    return group(bench, "oco", **{"side": "sell", "reduce_only": True, **changes})


def sizes(legs: dict[str, ParentState]) -> dict[str, Decimal]:
    return {leg: one.order.order_qty for leg, one in legs.items()}


def filled(bench: Bench, create: CreateOrder, qty: Any, whole: Any, **changes: Any) -> None:
    """Let an order trade, and the venue say how far it is by now."""
    bench.fill(create, qty, **changes)
    done = bench.trading.orders[create.client_order_id].cum_qty
    bench.report(create, S.FILLED if done == D(whole) else S.PARTIALLY_FILLED, done)


# --- oco ----------------------------------------------------------------------------------------------


def test_oco_when_accepted_then_one_leg_rests_and_the_other_is_armed(bench: Bench) -> None:
    """One quantity: the take profit is at the venue, the stop with us; it is one append."""
    legs = oco(bench)
    create = bench.one(GATEWAY, CreateOrder)
    assert (create.order_qty, create.limit_price, create.reduce_only) == (D(10), D(110), True)
    assert (legs["take_profit"].phase, legs["stop"].phase) == (Phase.WORKING, Phase.ARMED)
    kinds = [type(one) for one in bench.records]
    assert kinds[kinds.index(Group) :] == [Group, Parent, Parent, Armed, Intent]
    bench.check()


def test_oco_when_one_member_is_filled_in_part_then_the_other_has_the_rest(bench: Bench) -> None:
    """X 10, one member filled 4: the other is 6."""
    legs = oco(bench)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    filled(bench, create, 4, 10, price=D(110))
    assert sizes(legs) == {"take_profit": D(10), "stop": D(6)}
    assert legs["stop"].phase is Phase.ARMED
    bench.check()


def test_oco_when_the_armed_leg_fires_then_the_resting_one_goes_first(bench: Bench) -> None:
    """Cancelled to evidence, then the stop sells what that has left."""
    legs = oco(bench)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    Prints(bench)(94, 94)
    assert len(fired(bench)) == 1
    assert bench.take(GATEWAY, CreateOrder) == []
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    bench.fill(create, 4, price=D(110))
    bench.report(cancel, S.CANCELED, 4)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(6)
    assert legs["take_profit"].phase is Phase.DONE
    assert sum(one.done_qty for one in legs.values()) == D(10)
    bench.check()


def test_oco_when_its_resting_leg_is_full_then_the_other_is_disarmed(bench: Bench) -> None:
    """One ends the other."""
    legs = oco(bench)
    create = bench.one(GATEWAY, CreateOrder)
    filled(bench, create, 10, 10, price=D(110))
    assert (legs["stop"].phase, legs["stop"].status) == (Phase.DONE, S.CANCELED)
    Prints(bench)(90, 90, 90)
    assert fired(bench) == []


def test_oco_when_the_first_execution_cancels_then_the_other_is_gone(bench: Bench) -> None:
    """`partial: cancel_all`."""
    legs = oco(bench, settings={**LEGS, "partial": "cancel_all"})
    create = bench.one(GATEWAY, CreateOrder)
    filled(bench, create, 1, 10, price=D(110))
    assert (legs["stop"].phase, legs["take_profit"].phase) == (Phase.DONE, Phase.WORKING)


@pytest.mark.parametrize("leg", ["stop", "take_profit"])
def test_oco_when_one_leg_is_cancelled_then_the_other_ends(bench: Bench, leg: str) -> None:
    """It is one order: whoever takes a leg back takes it back."""
    legs = oco(bench)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    bench.tell(CancelParent(TREND, legs[leg].order.parent_id))
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    bench.report(cancel, S.CANCELED)
    assert {one.phase for one in legs.values()} == {Phase.DONE}


def test_oco_when_a_race_overfills_then_it_is_booked_flattened_and_said(bench: Bench) -> None:
    """A fill told behind the end of the resting leg: what is too much is bought back."""
    oco(bench)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    Prints(bench)(94, 94)
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    bench.report(cancel, S.CANCELED)
    sale = bench.one(GATEWAY, CreateOrder)
    filled(bench, sale, 10, 10, price=D(94))
    bench.fill(create, 1, price=D(110))
    assert "oco_overfilled" in bench.alarms
    back = bench.one(GATEWAY, CreateOrder)
    assert (back.side, back.order_qty, back.time_in_force) == ("buy", D(1), "IOC")
    bench.check()


def test_oco_when_repeated_then_the_first_answer_is_given_again(bench: Bench) -> None:
    """(owner, ref) names the whole of it; another wish by that name is refused."""
    bench.bought(10)
    wish = bench.submit(10, algo="oco", side="sell", reduce_only=True, settings=LEGS, req=1, ref="mine")
    first = bench.one(FACE, Answer)
    bench.tell(wish)
    again = bench.one(FACE, Answer)
    assert (again.parent_ids, again.known) == (first.parent_ids, True)
    bench.submit(9, algo="oco", side="sell", reduce_only=True, settings=LEGS, req=2, ref="mine")
    assert bench.one(FACE, Refusal).code == "REF_REUSED"


# --- bracket --------------------------------------------------------------------------------------------


def bracket(bench: Bench, **changes: Any) -> tuple[dict[str, ParentState], CreateOrder]:
    """Buy 10 at 100 or better; out at 110, or when the market falls to 95."""
    legs = group(bench, "bracket", **{"limit_price": D("99.5"), **changes})
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    return legs, create


def later(bench: Bench, delay_ns: int = 500 * MS) -> None:
    bench.advance(delay_ns)
    bench.market()


def test_bracket_when_nothing_is_bought_then_its_exits_are_idle(bench: Bench) -> None:
    """Neither armed nor resting: there is nothing to protect yet."""
    legs, create = bracket(bench)
    assert create.side == "buy"
    assert [legs[leg].phase for leg in ("take_profit", "stop")] == [Phase.VALIDATED] * 2
    Prints(bench)(94, 94)
    assert fired(bench) == []


def test_bracket_when_its_entry_fills_then_exits_cover_it(bench: Bench) -> None:
    """X 10: entry fills 3: exits 3; fills 4: 7; take profit fills 2: the stop has 5."""
    legs, entry = bracket(bench)
    filled(bench, entry, 3, 10)
    first = bench.one(GATEWAY, CreateOrder)
    assert (first.side, first.order_qty, first.limit_price) == ("sell", D(3), D(110))
    assert sizes(legs) == {"entry": D(10), "take_profit": D(3), "stop": D(3)}
    assert legs["stop"].phase is Phase.ARMED
    bench.report(first, S.NEW)
    filled(bench, entry, 4, 10)
    # Batched: half a second behind the last time.
    assert sizes(legs)["stop"] == D(3)
    later(bench)
    assert sizes(legs) == {"entry": D(10), "take_profit": D(7), "stop": D(7)}
    second = bench.one(GATEWAY, CreateOrder)
    assert second.order_qty == D(4)
    bench.report(second, S.NEW)
    # Protection never lapses: the first child rests on beside the further one.
    assert bench.take(GATEWAY, CancelOrder) == []
    filled(bench, second, 2, 4, price=D(110))
    assert sizes(legs)["stop"] == D(5)
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [entry.client_order_id]
    bench.check()


def test_bracket_when_its_stop_fires_then_the_entry_ends_first(bench: Bench) -> None:
    """Entry and take profit are cancelled to evidence; then it sells all that was bought."""
    legs, entry = bracket(bench)
    filled(bench, entry, 3, 10)
    profit = bench.one(GATEWAY, CreateOrder)
    bench.report(profit, S.NEW)
    Prints(bench)(94, 94)
    cancels = bench.take(GATEWAY, CancelOrder)
    assert {one.client_order_id for one in cancels} == {entry.client_order_id, profit.client_order_id}
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.report(profit, S.CANCELED)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.fill(entry, 1)
    bench.report(entry, S.CANCELED, 4)
    sale = bench.one(GATEWAY, CreateOrder)
    assert (sale.side, sale.order_qty, sale.parent_id) == ("sell", D(4), legs["stop"].order.parent_id)
    filled(bench, sale, 4, 4, price=D(94))
    assert {one.phase for one in legs.values()} == {Phase.DONE}
    bench.check()


def test_bracket_when_its_entry_ends_with_nothing_then_exits_are_disarmed(bench: Bench) -> None:
    """There never was a position."""
    legs, entry = bracket(bench)
    bench.tell(CancelParent(TREND, legs["entry"].order.parent_id))
    bench.report(entry, S.CANCELED)
    assert {one.phase for one in legs.values()} == {Phase.DONE}
    assert legs["stop"].reason == "entry_ended"


@pytest.mark.parametrize(
    ("on_cancel", "phases", "sold"),
    [
        ("keep_exits", {Phase.ARMED, Phase.WORKING}, None),
        ("drop_exits", {Phase.DONE}, None),
        ("flatten", {Phase.DONE}, D(3)),
    ],
)
def test_bracket_when_cancelled_with_a_position_then_as_it_says(
    bench: Bench, on_cancel: str, phases: set[Phase], sold: Decimal | None
) -> None:
    """Exits stay, go, or go and all is sold at once."""
    legs, entry = bracket(bench, settings={**LEGS, "on_cancel": on_cancel})
    filled(bench, entry, 3, 10)
    profit = bench.one(GATEWAY, CreateOrder)
    bench.report(profit, S.NEW)
    bench.tell(CancelParent(TREND, legs["entry"].order.parent_id))
    for cancel in bench.take(GATEWAY, CancelOrder):
        bench.report(cancel, S.CANCELED, bench.trading.orders[cancel.client_order_id].cum_qty)
    assert {legs[leg].phase for leg in ("take_profit", "stop")} == phases
    creates = bench.take(GATEWAY, CreateOrder)
    assert [one.order_qty for one in creates] == ([] if sold is None else [sold])
    bench.check()


def test_bracket_when_levels_are_offsets_then_they_count_from_the_entry(bench: Bench) -> None:
    """Each from the price of the first fill: 99.5, so 104.475 becomes 104.48 and 94.525 becomes 94.53."""
    legs, entry = bracket(bench, settings={"take_profit.offset_bps": "500", "stop.offset_bps": "500"})
    filled(bench, entry, 10, 10, price=D("99.5"))
    assert bench.one(GATEWAY, CreateOrder).limit_price == D("104.48")
    assert legs["stop"].trigger is not None
    assert legs["stop"].trigger.level == D("94.53")


def test_bracket_when_levels_follow_the_mean_price_then_they_move_with_it(bench: Bench) -> None:
    """`levels_from: avg_px`: both exits are moved as the mean price is."""
    settings = {"take_profit.offset_abs": "10", "stop.offset_abs": "5", "levels_from": "avg_px"}
    legs, entry = bracket(bench, settings=settings)
    filled(bench, entry, 5, 10, price=D("99.5"))
    profit = bench.one(GATEWAY, CreateOrder)
    bench.report(profit, S.NEW)
    filled(bench, entry, 5, 10, price=D("98.5"))
    later(bench)
    assert legs["stop"].trigger is not None
    assert legs["stop"].trigger.level == D(94)
    assert legs["take_profit"].order.limit_price == D(109)
    bench.check()


def test_bracket_when_trailing_then_its_watermark_begins_with_the_entry(bench: Bench) -> None:
    """An exit may follow the market."""
    legs, entry = bracket(bench, settings={"trailing.callback_bps": "100"})
    filled(bench, entry, 10, 10)
    assert legs["trailing"].trigger is not None
    assert legs["trailing"].trigger.watermark == D(100)
    Prints(bench)(98.9, 98.8)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(10)


def test_bracket_when_a_fee_lessens_what_was_bought_then_exits_cover_what_there_is(bench: Bench) -> None:
    """A tenth of a per cent in the base asset: 9.99 can be sold of 10."""
    legs, entry = bracket(bench)
    filled(bench, entry, 10, 10, fee=D("0.01"), fee_asset="BTC")
    assert bench.one(GATEWAY, CreateOrder).order_qty == D("9.99")
    assert sizes(legs)["stop"] == D("9.99")


def test_bracket_when_its_first_fill_is_dust_then_it_is_armed_and_said(bench: Bench) -> None:
    """Below what the venue takes nothing can rest: `unprotected_dust`, once."""
    legs, entry = bracket(bench)
    filled(bench, entry, "0.002", 10)
    assert legs["stop"].phase is Phase.ARMED
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.logs.count("unprotected_dust") >= 1
    assert legs["take_profit"].phase is Phase.WORKING
    filled(bench, entry, "0.998", 10)
    later(bench)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(1)


def test_bracket_when_a_fee_left_less_than_a_lot_then_it_is_over_with_its_exit(bench: Bench) -> None:
    """10 bought, 9.989 can be sold: when that is sold the stop protects and reserves nothing."""
    bench.bought(3)
    legs, entry = bracket(bench)
    filled(bench, entry, 10, 10, fee=D("0.0105"), fee_asset="BTC")
    profit = bench.one(GATEWAY, CreateOrder)
    # Nothing of what its owner holds beside it is an exit's to sell.
    assert sizes(legs)["stop"] == profit.order_qty == D("9.989")
    bench.report(profit, S.NEW)
    filled(bench, profit, "9.989", "9.989", price=D(110))
    assert {one.phase for one in legs.values()} == {Phase.DONE}
    assert bench.levels["unprotected_dust"] == "info"
    bench.check()


@pytest.mark.parametrize(("left", "ends"), [("0.04", True), ("0.052", False)])
def test_bracket_when_what_is_left_cannot_be_traded_then_it_is_over(
    bench: Bench, left: str, ends: bool
) -> None:
    """Worth less than 5 USDT here and at each level that an exit waits for; 0.052 is enough at 100."""
    legs, entry = bracket(bench, settings={"stop.trigger_price": "95"})
    filled(bench, entry, left, 10)
    bench.tell(CancelParent(TREND, legs["entry"].order.parent_id))
    bench.report(entry, S.CANCELED, D(left))
    assert (legs["stop"].phase is Phase.DONE) == ends
    assert ("unprotected_dust" in bench.logs) == ends
    bench.check()


def test_bracket_when_dust_is_left_behind_its_stop_then_it_ends_and_is_said(bench: Bench) -> None:
    """What the take profit has left is worth less at the stop than the venue takes: nobody waits for ever."""
    legs, entry = bracket(bench)
    filled(bench, entry, 10, 10)
    profit = bench.one(GATEWAY, CreateOrder)
    bench.report(profit, S.NEW)
    filled(bench, profit, "9.948", 10, price=D(110))
    bench.quote(BTC, 94)
    Prints(bench)(94, 94)
    assert len(fired(bench)) == 1
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    bench.report(cancel, S.CANCELED, D("9.948"))
    assert bench.take(GATEWAY, CreateOrder) == []
    assert {one.phase for one in legs.values()} == {Phase.DONE}
    assert bench.levels["unprotected_dust"] == "warning"


def test_bracket_when_it_sells_first_then_its_exits_buy(bench: Bench) -> None:
    """The mirror: sell what is held, buy it back lower, or when the market rises."""
    bench.bought(10)
    legs = group(
        bench,
        "bracket",
        side="sell",
        limit_price=D("100.5"),
        settings={"take_profit.limit_price": "90", "stop.trigger_price": "105"},
    )
    entry = bench.one(GATEWAY, CreateOrder)
    filled(bench, entry, 10, 10)
    assert legs["stop"].order.side == "buy"


def test_bracket_when_its_resting_exit_is_ended_by_the_venue_then_it_is_placed_again(bench: Bench) -> None:
    """A second later, not in a loop."""
    _, entry = bracket(bench)
    filled(bench, entry, 10, 10)
    profit = bench.one(GATEWAY, CreateOrder)
    bench.report(profit, S.EXPIRED)
    assert bench.take(GATEWAY, CreateOrder) == []
    later(bench, SECOND)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(10)


# --- refusals ---------------------------------------------------------------------------------------------


REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "one leg": ("oco", {"stop.trigger_price": "95"}, "BAD_SETTING"),
    "two that rest": ("oco", {"limit.limit_price": "110", "take_profit.limit_price": "111"}, "OCO_ONE_RESTS"),
    "no leg": ("bracket", {}, "BAD_SETTING"),
    "two stops": ("bracket", {"stop.trigger_price": "95", "trailing.callback_bps": "10"}, "BAD_SETTING"),
    "unknown leg": ("bracket", {**LEGS, "stopp.trigger_price": "95"}, "UNKNOWN_SETTING"),
    "leg as a text": ("bracket", {**LEGS, "stop": '{"trigger_price": 95}'}, "BAD_SETTING"),
    "leg as a text alone": ("bracket", {"stop": '{"trigger_price": 95}'}, "BAD_SETTING"),
    "unknown setting": ("bracket", {**LEGS, "resise": "1s"}, "UNKNOWN_SETTING"),
    "setting of a leg": ("bracket", {**LEGS, "stop.trigger_prize": "1"}, "UNKNOWN_SETTING"),
    "stop above": ("bracket", {"stop.trigger_price": "105"}, "WOULD_TRIGGER_NOW"),
    "profit below": ("bracket", {"take_profit.limit_price": "95"}, "WOULD_TRIGGER_NOW"),
    "off the grid": ("bracket", {"take_profit.limit_price": "110.001"}, "OFF_GRID"),
    "both offsets": ("bracket", {"stop.offset_bps": "10", "stop.offset_abs": "1"}, "BAD_SETTING"),
    "entry": ("bracket", {**LEGS, "entry.algo": "twap"}, "BAD_SETTING"),
    "given twice": ("bracket", {"stop.trigger_price": "95", "stop": {"trigger_price": "1"}}, "BAD_SETTING"),
    "given twice the other way": ("bracket", {"stop": {"trigger_price": "1"}, **LEGS}, "BAD_SETTING"),
    "notional of a leg": ("bracket", {**LEGS, "entry.notional": "1"}, "BAD_SETTING"),
    "no number": ("bracket", {"stop.offset_bps": "ten"}, "BAD_SETTING"),
    "nobody's": ("bracket", {**LEGS, "entry.insist": "true"}, "UNKNOWN_SETTING"),
    "nobody's of what rests": ("oco", {**LEGS, "take_profit.grows": "false"}, "UNKNOWN_SETTING"),
    "nobody's of what is armed": ("bracket", {**LEGS, "stop.tries_end": "true"}, "UNKNOWN_SETTING"),
    "unread": ("bracket", {**LEGS, "take_profit.tries": "2"}, "BAD_SETTING"),
}
PASSED_OVER: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, dict[str, Any]]] = {
    "limit of an oco": (
        "oco",
        {"limit_price": D(105)},
        {"take_profit.trigger_price": "105", "stop.trigger_price": "95"},
        "take_profit.limit_price 105",
        {"take_profit.limit_price": "105", "stop.trigger_price": "95"},
    ),
    "reduce-only bracket": ("bracket", {"reduce_only": True}, LEGS, "without reduce_only", LEGS),
    "level and offset": (
        "bracket",
        {},
        {"stop.trigger_price": "95", "stop.offset_bps": "100"},
        "stop.trigger_price 95",
        {"stop.trigger_price": "95"},
    ),
    "limit and offset": (
        "bracket",
        {},
        {"take_profit.limit_price": "110", "take_profit.offset_abs": "9"},
        "take_profit.limit_price 110",
        {"take_profit.limit_price": "110"},
    ),
    "limit and level": (
        "oco",
        {},
        {"take_profit": {"limit_price": "111", "trigger_price": "110"}, "stop.trigger_price": "95"},
        "take_profit.then limit",
        {
            "take_profit": {"limit_price": "111", "trigger_price": "110", "then": "limit"},
            "stop.trigger_price": "95",
        },
    ),
    "two limits of an entry": (
        "bracket",
        {"limit_price": D(99)},
        {**LEGS, "entry.limit_price": "98"},
        "limit_price 99 without entry.limit_price",
        LEGS,
    ),
    "side of an entry": ("bracket", {}, {**LEGS, "entry.side": "sell"}, "without entry.side", LEGS),
    "side of an exit": ("bracket", {}, {**LEGS, "stop.side": "buy"}, "without stop.side", LEGS),
    "exit that does not protect": (
        "bracket",
        {},
        {**LEGS, "stop.protective": "false"},
        "without stop.protective",
        LEGS,
    ),
}
"""What would not count beside what else is said; what would pass, in words and as settings."""


@pytest.mark.parametrize("name", PASSED_OVER)
def test_group_when_a_word_would_not_count_then_it_is_refused_and_what_is_proposed_passes(
    bench: Bench, name: str
) -> None:
    """docs/execution.md: contradictory settings refuse the order."""
    algo, fields, settings, passes, instead = PASSED_OVER[name]
    bench.bought(10)
    side: Any = "sell" if algo == "oco" else "buy"
    bench.submit(10, algo=algo, side=side, settings=settings, req=1, **fields)
    no = bench.one(FACE, Refusal)
    assert (no.code, no.would_pass) == ("BAD_SETTING", passes)
    assert bench.made(Group) == []
    bench.submit(10, algo=algo, side=side, settings=instead, req=2)
    assert bench.take(FACE, Refusal) == []


def test_leg_when_its_setting_is_wrong_then_the_refusal_names_it_as_it_was_given(bench: Bench) -> None:
    """By the leg where its algorithm has another name."""
    for settings, text in (
        ({**LEGS, "take_profit.max_clip": "x"}, "take_profit: limit: max_clip: expected a number"),
        ({**LEGS, "entry.tries": "x"}, "entry: market: tries: expected `int`, got 'x'"),
        ({**LEGS, "stop.tries": "x"}, "stop: tries: expected `int`, got 'x'"),
    ):
        bench.submit(10, algo="bracket", owner=CLI, settings=settings, req=1)
        assert bench.one(FACE, Refusal).text.startswith(text)


@pytest.mark.parametrize("name", REFUSALS)
def test_group_when_it_cannot_be_then_nothing_of_it_exists(bench: Bench, name: str) -> None:
    """All legs are checked before one is written."""
    algo, settings, code = REFUSALS[name]
    before = len(bench.records)
    bench.submit(10, algo=algo, owner=CLI, settings=settings, req=1)
    assert bench.one(FACE, Refusal).code == code
    assert len(bench.records) == before


def test_group_when_its_size_is_a_notional_then_it_is_told_that_it_needs_a_quantity(bench: Bench) -> None:
    """And what is given twice is named as it was written."""
    bench.submit(0, algo="bracket", owner=CLI, settings={**LEGS, "notional": "500"}, req=1)
    no = bench.one(FACE, Refusal)
    assert (no.code, no.text) == (
        "BAD_SETTING",
        "bracket: notional: a group needs a quantity, got a notional of '500'",
    )
    twice = {"stop.trigger_price": "95", "stop": {"trigger_price": "1"}}
    bench.submit(10, algo="bracket", owner=CLI, settings=twice, req=2)
    assert (
        bench.one(FACE, Refusal).text
        == "stop.trigger_price: is given twice, as '95' and as '1'; expected one of them"
    )


@pytest.mark.parametrize(
    ("leg", "code"), [("stop", "RISK_MAX_ORDER_QTY"), ("take_profit", "RISK_MAX_ORDER_QTY")]
)
def test_bracket_when_an_exit_could_never_be_placed_then_it_is_refused(leg: str, code: str) -> None:
    """Its entry is sliced, its exit is one order of all that it bought: 10, and 3 are allowed."""
    bench = Bench(config=replace(CONFIG, risk=replace(CONFIG.risk, max_order_qty=D(3)))).ready()
    entry = {"entry.algo": "twap", "entry.duration": "60s", "entry.slices": 4}
    level = {key: value for key, value in LEGS.items() if key.startswith(leg)}
    bench.submit(10, algo="bracket", owner=CLI, settings={**entry, **level}, req=1)
    refused = bench.one(FACE, Refusal)
    assert (refused.code, refused.would_pass) == (code, "order_qty 3")
    assert refused.text.startswith(leg)
    assert bench.made(Group) == []
    split = {**entry, **level, f"{leg}.max_clip": "2"}
    bench.submit(10, algo="bracket", owner=CLI, settings=split, req=2)
    assert bench.take(FACE, Refusal) == []


def test_bracket_when_the_limit_of_an_exit_is_beyond_the_band_then_it_is_refused(bench: Bench) -> None:
    """Held against the band around its trigger, not around the market of today."""
    for limit, code in (("92", "RISK_PRICE_BAND"), ("94", None)):
        settings = {"stop_limit.trigger_price": "95", "stop_limit.limit_price": limit}
        bench.submit(10, algo="bracket", owner=CLI, settings=settings, req=1)
        assert [one.code for one in bench.take(FACE, Refusal)] == ([code] if code else [])


def test_oco_when_more_than_held_then_it_is_refused_and_counts_once_when_not(bench: Bench) -> None:
    """Two legs of 10 on 10 held pass; a further reduce-only order has nothing left."""
    oco(bench)
    bench.submit(1, algo="limit", side="sell", limit_price=D(120), reduce_only=True)
    assert bench.oms.state.live.refusals[-1].code == "RISK_REDUCE_ONLY"


def test_target_when_by_a_group_then_refused(bench: Bench) -> None:
    """A target is worked at once."""
    bench.target(1, algo="bracket", settings=LEGS)
    assert bench.oms.state.live.refusals[-1].code == "BAD_SETTING"


# --- kill -9 ------------------------------------------------------------------------------------------------


def cut_points(records: list[Record], first: int) -> range:
    return range(first + 1, len(records) + 1)


def budget_holds(bench: Bench) -> None:
    """I1: exits never come to more than their entry has, an oco never to more than its quantity."""
    for one in bench.trading.groups.values():
        known = bench.trading.parents
        legs = {leg: known[name] for leg, name in one.members.items() if name in known}
        exits = [leg for name, leg in legs.items() if name != "entry"]
        most = legs["entry"].cum_qty if "entry" in legs else one.wish.order_qty
        assert sum(leg.done_qty for leg in exits) <= most


@pytest.mark.parametrize("kind", ["oco", "bracket"])
def test_group_when_killed_behind_any_record_then_it_goes_on_without_a_double(
    bench: Bench, kind: str
) -> None:
    """Cut anywhere: whatever was there is covered, budgets hold, no `then` is begun twice."""
    first = len(bench.records)
    if kind == "oco":
        oco(bench)
        profit = bench.one(GATEWAY, CreateOrder)
    else:
        _, entry = bracket(bench)
        filled(bench, entry, 3, 10)
        profit = bench.one(GATEWAY, CreateOrder)
    bench.report(profit, S.NEW)
    filled(bench, profit, 1, profit.order_qty, price=D(110))
    Prints(bench)(94, 94)
    for cancel in bench.take(GATEWAY, CancelOrder):
        bench.report(cancel, S.CANCELED, bench.trading.orders[cancel.client_order_id].cum_qty)
    whole = list(bench.records)
    begun = next(i for i, one in enumerate(whole) if isinstance(one, Group))
    assert begun >= first
    for cut in cut_points(whole, begun):
        again = restarted(whole[:cut], bench.now_ns + SECOND)
        Prints(again, 100)(94, 94, 94)
        again.passed(2)
        budget_holds(again)
        held = sum((f.qty if f.side == "buy" else -f.qty for f in again.made(Fill)), D(0))
        open_now = [p for p in again.trading.parents.values() if p.phase is not Phase.DONE and p.group]
        members = next(iter(again.trading.groups.values())).members
        if len([1 for r in whole[:cut] if isinstance(r, Parent) and r.group]) < len(members):
            # Its append was not whole: nobody had an answer, and nothing of it is left.
            assert not any(one.phase in (Phase.ARMED, Phase.WORKING) for one in open_now)
        elif held and kind == "bracket":
            assert any(one.held for one in open_now), whole[cut - 1]
        per_parent: dict[str, int] = {}
        for intent in again.made(Intent):
            if again.trading.parents[intent.parent_id].fired:
                per_parent[intent.parent_id] = per_parent.get(intent.parent_id, 0) + 1
        assert all(count <= 1 for count in per_parent.values())
        if cut in bench.commits and any(isinstance(one, Fill) for one in whole[:cut]):
            sold_out(again)
        again.check()


def sold_out(bench: Bench) -> None:
    """Let the venue do what it is asked for: the stop sells exactly what is held, and the group is over."""
    for _ in range(60):
        for cancel in bench.take(GATEWAY, CancelOrder):
            bench.report(cancel, S.CANCELED, bench.trading.orders[cancel.client_order_id].cum_qty)
        for create in bench.take(GATEWAY, CreateOrder):
            bench.fill(create, create.order_qty, price=D(94))
            bench.report(create, S.FILLED, create.order_qty)
        bench.advance(SECOND, answering=True)
        bench.market()
        Prints(bench, 200 + bench.ids)(94, 94)
    signed = [one.qty if one.side == "buy" else -one.qty for one in bench.made(Fill)]
    assert sum(signed) == 0, signed
    assert all(one.phase is Phase.DONE for one in bench.trading.parents.values() if one.group)


def test_amends_when_sizes_change_then_each_is_journaled(bench: Bench) -> None:
    """A restart knows the sizes by its records alone."""
    legs, entry = bracket(bench)
    filled(bench, entry, 3, 10)
    assert [one.order_qty for one in bench.made(Amend)] == [D(3), D(3)]
    again = restarted(list(bench.records), bench.now_ns + SECOND)
    found = {one.leg: one.order.order_qty for one in again.trading.parents.values()}
    assert found == {**sizes(legs)}
    assert BTC in again.oms.state.live.watchers
