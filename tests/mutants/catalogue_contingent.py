"""Mistakes in contingent orders and groups: when something fires, how often, how much legs may trade."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant


def _done(counted: str) -> Change:
    """Return the budget where children are created with the same mistake: it counts `counted` as done."""
    old = "    done = sum((one.done_qty for one in sharing(group, legs)), ZERO)"
    return Change(
        "actors/oms_room.py", old, f"    done = sum(({counted} for one in sharing(group, legs)), ZERO)"
    )


def _entry(counted: str) -> Change:
    """Return the budget of exits with the same mistake: the entry gives them `counted`."""
    old = "    return legs[ENTRY].cum_qty if ENTRY in legs else ZERO"
    return Change("actors/oms_room.py", old, f"    return legs[ENTRY].{counted} if ENTRY in legs else ZERO")


_TRADED_OF_OTHERS = _done("one.done_qty if one is parent else one.cum_qty")
_RISES = 'return (side == "buy") != (kind == "take_profit")'

CONTINGENT: tuple[Mutant, ...] = (
    Mutant(
        "stop-works-at-once",
        "A contingent parent is at work as soon as it is accepted, like any other.",
        (
            Change(
                "core/apply_parents.py",
                "Phase.VALIDATED if record.held or order.algo in TRIGGERS else Phase.WORKING",
                "Phase.VALIDATED if record.held else Phase.WORKING",
            ),
        ),
        ("THEN", "I-13"),
        shows_always=True,
    ),
    Mutant(
        "stop-fires-on-the-wrong-side",
        "A stop fires where a take profit does: a sale above its level.",
        (Change("core/trigger.py", _RISES, 'return (side == "buy") != (kind != "trailing")'),),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "stop-fires-again",
        "TRIGGERED does not end being armed, and the market is looked at further on.",
        (
            Change(
                "core/apply_triggers.py",
                "    parent.phase, parent.status = Phase.WORKING, OrderStatus.NEW\n",
                "    parent.status = OrderStatus.NEW\n",
            ),
            Change(
                "actors/oms_trigger.py",
                "    unwatch(turn, parent)\n    turn.parents",
                "    turn.live.watched[order.parent_id].armed = Armed()\n    turn.parents",
            ),
            Change(
                "actors/oms_trigger.py",
                "from tradefan.core.trigger import BPS, Condition",
                "from tradefan.core.trigger import BPS, Armed, Condition",
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "stop-fires-in-killed",
        "Whether a kill forbids it is not asked: its child would be refused anyway.",
        (
            Change(
                "actors/oms_trigger.py",
                '    if now.mode == "KILLED":\n        return now.code\n',
                '    if now.mode == "KILLED":\n        return None\n',
            ),
        ),
        ("MODE",),
        shows_always=True,
    ),
    Mutant(
        "stop-limit-without-its-limit",
        "A stop_limit becomes a market order: the limit is kept for orders called limit.",
        (
            Change("core/contingent.py", '"stop_limit": True,', '"stop_limit": False,'),
            Change(
                "core/contingent.py",
                "    return replace(order, algo=algo, settings=settings)",
                "    return replace(order, algo=algo, settings=settings, limit_price=None)",
            ),
            Change(
                "actors/oms_children.py",
                "    if parent.order.limit_price is not None or plan is None or plan.limit is None:\n"
                "        return parent.order.limit_price\n"
                "    return plan.limit * plan.price_tick",
                "    if plan is None:\n"
                "        return parent.order.limit_price\n"
                "    return None if plan.limit is None else plan.limit * plan.price_tick",
            ),
        ),
        ("I-13",),
        shows_always=True,
    ),
    Mutant(
        "stop-limit-fires-at-any-price",
        "One price is enough for a stop, wherever it is: whether it is beyond the level is not looked at.",
        (
            Change(
                "core/trigger.py",
                "    return beyond and len(recent) >= confirm.prints",
                "    return len(recent) >= confirm.prints",
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "stop-limit-armed-twice",
        "What has fired is armed again when it is looked at the next time.",
        (
            Change(
                "core/apply_triggers.py",
                "Phase.ARMED)\n    if parent is None:\n        return False\n    at_ns",
                "Phase.ARMED, Phase.WORKING)\n    if parent is None:\n        return False\n    at_ns",
            ),
            Change(
                "actors/oms_fired.py",
                "    if not fit(turn, parent):\n        return False\n    try:",
                "    assert parent.trigger is not None or parent.group is not None\n"
                "    if parent.trigger is not None:\n"
                "        turn.emit(Armed(turn.now, parent.order.parent_id, parent.trigger.level))\n"
                "    if not fit(turn, parent):\n        return False\n    try:",
            ),
            Change(
                "actors/oms_fired.py",
                "from tradefan.messages.contingent import Amend",
                "from tradefan.messages.contingent import Amend, Armed",
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "take-profit-as-a-stop",
        "The direction of a take profit is that of a stop.",
        (
            Change(
                "core/trigger.py",
                "recent, level, now_ns, rises=condition.rises)",
                'recent, level, now_ns, rises=condition.side == "buy")',
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "take-profit-fires-when-held",
        "A price that has to hold fires when its time is over, wherever it was meanwhile.",
        (
            Change(
                "core/trigger.py",
                "        return beyond and recent[0].at_ns <= now_ns - confirm.held_ns",
                "        return recent[0].at_ns <= now_ns - confirm.held_ns",
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "take-profit-child-first",
        "What is armed is asked for its next step like what works.",
        (
            Change(
                "actors/oms_engine.py",
                "    if parent.phase is Phase.ARMED:\n        watch(turn, parent)\n",
                "    if parent.phase is Phase.ARMED and plan_of(turn, parent.order) is not None:\n"
                "        watch(turn, parent)\n"
                "        parent.plan = plan_of(turn, parent.order)\n"
                "        parent.phase = Phase.WORKING\n",
            ),
        ),
        ("THEN", "I-08"),
        shows_always=True,
    ),
    Mutant(
        "stop-fires-while-paused",
        "What somebody has paused looks at the market all the same.",
        (
            Change("actors/oms_watch.py", "    if trigger.paused:\n        return\n", ""),
            Change("core/apply_triggers.py", " or parent.trigger is None or parent.trigger.paused:", ":"),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "trailing-watermark-falls",
        "The watermark of a sale follows the market down, too.",
        (
            Change(
                "core/trigger.py",
                "else max(armed.watermark, reached)",
                "else reached",
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "trailing-without-its-callback",
        "The level is the watermark itself.",
        (
            Change(
                "core/trigger.py",
                "if condition.rises else mark - condition.callback_ticks",
                "if condition.rises else mark",
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "trailing-begins-anew",
        "A restart forgets the watermark: the next one is the first price that is seen.",
        (
            Change(
                "actors/oms_watch.py",
                "    mark = None if known is None else steps_beyond(known, tick, rises=condition.rises)",
                "    mark = None",
            ),
        ),
        ("THEN",),
        shows_always=True,
    ),
    Mutant(
        "oco-both-legs-at-once",
        "A leg that fires does not wait for the end of the one that rests.",
        (
            _TRADED_OF_OTHERS,
            Change(
                "actors/oms_group.py",
                'group.kind == "bracket" and parent.leg == ENTRY):\n        return False\n'
                "    legs = members(turn, group)\n    others",
                'group.kind == "oco" or parent.leg == ENTRY):\n        return False\n'
                "    legs = members(turn, group)\n    others",
            ),
        ),
        ("GROUP", "I-11"),
        shows_always=True,
    ),
    Mutant(
        "oco-keeps-its-size",
        "What one leg has traded does not lower the other one.",
        (
            _done("one.done_qty if one is parent else ZERO"),
            Change(
                "actors/oms_group.py",
                "        left = most - (total - one.cum_qty)\n",
                "        left = most\n",
            ),
        ),
        ("GROUP",),
        shows_always=True,
    ),
    Mutant(
        "oco-evidence-not-awaited",
        "A leg begins when the other one was asked to end, not when it has ended.",
        (
            _TRADED_OF_OTHERS,
            Change(
                "actors/oms_group.py",
                "    return any(one.live for one in others) or (\n"
                "        parent.fired and any(one.phase not in _ENDED for one in others)\n    )",
                "    return parent.fired and any(one.phase not in _ENDED for one in others)",
            ),
        ),
        ("GROUP",),
        shows_always=True,
    ),
    Mutant(
        "bracket-exits-by-wish",
        "Exits are as large as the entry was asked for, not as it has traded.",
        (
            _entry("order.order_qty"),
            Change(
                "actors/oms_group.py",
                "_coverable(turn, instrument, exits, got(entry) - out)",
                "_coverable(turn, instrument, exits, entry.order.order_qty - out)",
            ),
        ),
        ("GROUP",),
        shows_always=True,
    ),
    Mutant(
        "bracket-counts-what-works",
        "Exits cover what of the entry still works, as if it had traded.",
        (
            _entry("done_qty"),
            Change(
                "actors/oms_group.py",
                "_coverable(turn, instrument, exits, got(entry) - out)",
                "_coverable(turn, instrument, exits, entry.done_qty - out)",
            ),
        ),
        ("GROUP",),
        shows_always=True,
    ),
    Mutant(
        "bracket-forgets-what-went-out",
        "What exits have sold is still to be covered by them.",
        (
            _done('one.done_qty - (one.cum_qty if group.kind == "bracket" else ZERO)'),
            Change(
                "actors/oms_group.py",
                "_coverable(turn, instrument, exits, got(entry) - out)",
                "_coverable(turn, instrument, exits, entry.cum_qty)",
            ),
        ),
        ("GROUP",),
        shows_always=True,
    ),
)
