"""Mistakes in the order core: what an order is, what a parent may still place, what leaves when."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant

ORDERS: tuple[Mutant, ...] = (
    Mutant(
        "create-unguarded",
        "A create is sent in the turn that decides on it, without waiting for its INTENT to be on the disk.",
        (
            Change(
                "actors/oms_children.py",
                """\
    turn.guard(_intend(turn, order, instrument, command, None))
""",
                """\
    made = _intend(turn, order, instrument, command, None)
    turn.send(turn.wiring.gateways[made.account], made)
""",
            ),
        ),
        ("I-04",),
        shows_always=True,
    ),
    Mutant(
        "journal-after-send",
        "What waits for the disk waits for the records before its own turn, so its own come after the send.",
        (
            Change(
                "actors/oms.py",
                "outbox.put(live.outbox, trading.lsn, effect)",
                "outbox.put(live.outbox, trading.lsn - len(turn.records), effect)",
            ),
        ),
        ("I-04",),
        shows_always=True,
    ),
    Mutant(
        "doubt-not-in-exposure",
        "The rest of an order in doubt counts nowhere, as if nobody could still trade it.",
        (
            Change(
                "core/exposure.py",
                "return Weight(ZERO, rest, cum, unbooked, live=True)",
                "return Weight(ZERO, ZERO, cum, unbooked, live=True)",
            ),
        ),
        ("I-32", "I-11", "I-03"),
    ),
    Mutant(
        "doubt-frees-parent",
        "A parent may place again what is in doubt: only what works counts as done.",
        (
            Change(
                "core/trading_state.py",
                "return self.cum_qty + self.working_qty + self.in_doubt_qty",
                "return self.cum_qty + self.working_qty",
            ),
        ),
        ("I-03",),
    ),
    Mutant(
        "deltas-added",
        "A report's growth is added to the fills that are known, instead of merging what both count in all.",
        (
            Change(
                "core/order.py",
                """\
    order.venue_cum, order.venue_cum_ns = word if settles(order, report.event_ns) else max(known, word)
""",
                """\
    grown = (order.filled + max(word[0] - order.venue_cum, ZERO), report.event_ns)
    order.venue_cum, order.venue_cum_ns = word if settles(order, report.event_ns) else max(known, grown)
""",
            ),
        ),
        ("I-32", "I-03"),
    ),
    Mutant(
        "last-report-wins",
        "The last report to arrive says what has traded, though it is older and more has been booked.",
        (
            Change(
                "core/order.py",
                """\
    order.venue_cum, order.venue_cum_ns = word if settles(order, report.event_ns) else max(known, word)
""",
                """\
    order.venue_cum, order.venue_cum_ns = word
""",
            ),
            Change(
                "core/order.py",
                "        return max(self.filled, self.venue_cum)\n",
                "        return self.venue_cum\n",
            ),
            Change(
                "core/order.py",
                "        or cum_qty > order.cum_qty\n",
                "        or cum_qty != order.cum_qty\n",
            ),
            Change(
                "core/order.py",
                "    order.filled += qty\n",
                "    order.filled += qty\n    order.venue_cum = max(order.filled, order.venue_cum)\n",
            ),
        ),
        ("I-31", "I-32", "I-03"),
        shows_always=True,
    ),
    Mutant(
        "status-trusted",
        "CANCELED is taken for the whole truth: what such a report counts as traded is not read (OR-12).",
        (
            Change(
                "core/order.py",
                "    word = (counted(order, report.cum_qty, report.event_ns), report.event_ns)\n    known",
                """\
    ended = report.status is OrderStatus.CANCELED
    word = (ZERO if ended else counted(order, report.cum_qty, report.event_ns), report.event_ns)
    known""",
            ),
        ),
        ("I-32", "I-03"),
    ),
    Mutant(
        "old-word-reopens",
        "An acknowledgement that arrives behind the end of its order opens it again.",
        (
            Change(
                "core/order.py",
                'OrderStatus.CANCELED: "== == == FI',
                'OrderStatus.CANCELED: "== NW == FI',
            ),
        ),
        ("I-15",),
    ),
    Mutant(
        "fill-before-ack-dropped",
        "A fill that overtakes the acknowledgement of its order is noted as known and not booked (OR-06).",
        (
            Change(
                "core/apply_orders.py",
                """\
    book_fill(state.ledger, record)
    order = _order_of(state, record)
    if order is None:
        return
""",
                """\
    order = _order_of(state, record)
    if order is not None and late and not order.acknowledged:
        return
    book_fill(state.ledger, record)
    if order is None:
        return
""",
            ),
        ),
        ("I-05", "I-24", "I-32"),
        shows_always=True,
    ),
    Mutant(
        "late-fill-refused",
        "A fill behind the end of its order is counted as a contradiction, and not booked (OR-07).",
        (
            Change(
                "actors/oms_fills.py",
                """\
    turn.account(msg.account).activity_ns = turn.now
    if order is not None and order.never_was:
""",
                """\
    if order is not None and order.status in TERMINAL and order.filled >= order.venue_cum:
        illegal(turn, order, f"fill {msg.trade_id}")
        return
    turn.account(msg.account).activity_ns = turn.now
    if order is not None and order.never_was:
""",
            ),
        ),
        ("I-05", "I-36"),
    ),
    Mutant(
        "reservation-leaked",
        "An order that was proved not to exist ends without giving back what was reserved for it.",
        (
            Change(
                "core/apply_orders.py",
                """\
    return _change(
        state,
        record.client_order_id,
        record.at_ns,
        lambda order: happen(order, event, reason, record.at_ns),
    )


def on_sealed""",
                """\
    order = state.orders.get(record.client_order_id)
    return order is not None and happen(order, event, reason, record.at_ns)


def on_sealed""",
            ),
        ),
        ("I-32", "I-36"),
    ),
    Mutant(
        "cancel-lost",
        "A cancel is sent once: nobody repeats it when it gets lost on its way (OR-09).",
        (
            Change(
                "actors/oms_waiting.py",
                """\
    turn.ctx.after(repeat_after(step), Timer("cancel", order.client_order_id, step))
""",
                "",
            ),
        ),
        ("I-37", "I-36"),
    ),
    Mutant(
        "external-cancelled",
        "Whoever cancels everything cancels what others have placed on the account, too.",
        (
            Change(
                "actors/oms_waiting.py",
                "order.cancel_ns is not None or (order.external and not external):",
                "order.cancel_ns is not None:",
            ),
            Change(
                "actors/oms_kill.py",
                "return (order.external and not kill.including_external) or (kill.keep",
                "return (kill.keep",
            ),
        ),
        ("I-17",),
    ),
    Mutant(
        "doubtful-not-cancelled",
        "An order in doubt is not cancelled, since nobody knows whether it exists (R6).",
        (
            Change(
                "actors/oms_waiting.py",
                "order.cancel_ns is not None or (order.external and not external):",
                "order.cancel_ns is not None or order.may_not_exist or (order.external and not external):",
            ),
        ),
        ("I-37",),
    ),
    Mutant(
        "over-budget-child-stays",
        "What rests or waits is left alone when a late fill has used up what it was placed for.",
        (
            Change(
                "actors/oms_engine.py",
                """\
    shed(turn, parent)
    finished(turn, parent)
""",
                """\
    finished(turn, parent)
""",
            ),
        ),
        ("I-03",),
    ),
    Mutant(
        "executor-without-budget",
        "The fence trusts an executor with the quantity, and nobody takes back what is too much.",
        (
            Change(
                "actors/oms_engine.py",
                """\
    shed(turn, parent)
    finished(turn, parent)
""",
                """\
    finished(turn, parent)
""",
            ),
            Change(
                "actors/oms_children.py",
                "    if not ZERO < qty <= budget:\n",
                "    if not ZERO < qty <= order.order_qty:\n",
            ),
        ),
        ("I-03",),
    ),
    Mutant(
        "executor-beyond-limit",
        "The fence does not hold the price of an executor against the limit of its parent.",
        (
            Change(
                "actors/oms_children.py",
                """\
        beyond = _beyond(order, price, limit, "the parent's limit")
""",
                """\
        beyond = None
""",
            ),
        ),
        ("I-13",),
    ),
)
