"""Mistakes in the talk with the venue: what is sent, what an answer proves, what a look proves."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant

VENUE: tuple[Mutant, ...] = (
    Mutant(
        "resend-on-timeout",
        "A create whose answer does not come in time is written again (OR-02).",
        (
            Change(
                "actors/gateway_orders.py",
                """\
        else:
            kind = Doubt.CREATE if flight.what == "create" else Doubt.CANCEL
""",
                """\
        elif reason == "TIMEOUT" and flight.order is not None:
            self._write_create(flight.order, ctx)
        else:
            kind = Doubt.CREATE if flight.what == "create" else Doubt.CANCEL
""",
            ),
        ),
        ("I-01", "I-16"),
    ),
    Mutant(
        "resend-at-start",
        "A start sends the creates of the journal again that have no outcome.",
        (
            Change(
                "actors/oms_recovery.py",
                """\
        doubt_request(turn, order, "restart")
""",
                """\
        again = CreateOrder(
            account=order.account,
            instrument=order.instrument,
            owner=order.owner,
            parent_id=order.parent_id,
            client_order_id=order.client_order_id,
            side=order.side,
            order_type=order.order_type,
            time_in_force=order.time_in_force,
            post_only=False,
            order_qty=order.order_qty,
            limit_price=order.limit_price,
            reduce_only=order.reduce_only,
            not_after_ns=turn.now + turn.account_config(order.account).order_deadline,
        )
        turn.guard(again)
""",
            ),
            Change(
                "actors/oms_recovery.py",
                "from tradefan.messages.gateway import ExecutionReport\n",
                "from tradefan.messages.gateway import CreateOrder, ExecutionReport\n",
            ),
        ),
        ("I-01", "I-16"),
    ),
    Mutant(
        "start-takes-it-for-unsent",
        "A start takes a create without any word for one that never left.",
        (
            Change(
                "actors/oms_recovery.py",
                """\
        doubt_request(turn, order, "restart")
""",
                """\
        not_sent(turn, order, "restart")
""",
            ),
            Change(
                "actors/oms_recovery.py",
                "import difference_over, drop_creates, send_cancel, watch_doubt\n",
                "import difference_over, drop_creates, not_sent, send_cancel, watch_doubt\n",
            ),
        ),
        ("I-16",),
    ),
    Mutant(
        "server-error-rejects",
        "A server error is an error, so the order was rejected: 5xx proves something (OR-01).",
        (
            Change(
                "venues/binance_outcome.py",
                """\
        return Outcome(_DOUBT, "VENUE", error.msg[:TEXT_MAX], error.code)
""",
                """\
        return Outcome(_REJECTED, "VENUE", error.msg[:TEXT_MAX], error.code)
""",
            ),
        ),
        ("I-15", "I-36", "I-03"),
    ),
    Mutant(
        "cancel-reject-ends-order",
        "A cancel that the venue refuses as unknown proves that the order is gone (hummingbot #1993).",
        (
            Change(
                "actors/oms_venue.py",
                """\
        clear_holds(turn, order)
    ask_for(turn, order, 0)


def on_gateway_reset""",
                """\
        clear_holds(turn, order)
    if order.acknowledged and not msg.reason.startswith("NOT_SENT"):
        said = (order.account, order.client_order_id, order.venue_order_id, OrderStatus.CANCELED)
        turn.emit(Report(turn.now, *said, order.cum_qty, msg.reason, turn.now))
        turn.touch(order)
    ask_for(turn, order, 0)


def on_gateway_reset""",
            ),
        ),
        ("I-15", "I-36", "I-03"),
    ),
    Mutant(
        "replacement-of-what-trades",
        "A replacement does not ask for ONLY_NEW: the old order may trade while it is on its way.",
        (Change("venues/binance_orders.py", '            "cancelRestrictions": "ONLY_NEW",\n', ""),),
        ("I-03",),
    ),
    Mutant(
        "replacement-without-scopes",
        "A replacement is written without the scopes that the latch is asked for.",
        (
            Change(
                "actors/gateway_flights.py",
                "order.owner) if order is not None else ()",
                'order.owner) if order is not None and what == "create" else ()',
            ),
        ),
        ("I-09",),
    ),
    Mutant(
        "one-look",
        "One look that does not find an order proves that it is not there.",
        (
            Change(
                "actors/oms_evidence.py",
                """\
        if first_ns is None:
            here.negatives[name] = msg.asked_ns
        elif msg.asked_ns - first_ns >= SECOND_LOOK_NS:
            del here.negatives[name]
            _not_placed(turn, order, first_ns, msg.asked_ns)
""",
                """\
        _not_placed(turn, order, msg.asked_ns if first_ns is None else first_ns, msg.asked_ns)
""",
            ),
        ),
        ("I-16",),
    ),
    Mutant(
        "r4-without-v",
        "The first look of R4 does not wait for what a query may still hide.",
        (
            Change(
                "actors/oms_look.py",
                """\
        deadline_ns = turn.trading.epoch_ns + config.order_deadline
    return deadline_ns + config.accept_bound + config.visible_bound + CLOCK_BOUND_NS
""",
                """\
        deadline_ns = turn.trading.epoch_ns + config.order_deadline
    return deadline_ns + config.accept_bound + CLOCK_BOUND_NS
""",
            ),
        ),
        ("I-16",),
    ),
    Mutant(
        "r4-by-an-old-clock",
        "The deadline of an INTENT of an earlier life counts by that life's clock.",
        (
            Change(
                "actors/oms_look.py",
                """\
    if order.epoch != turn.trading.epoch:
        deadline_ns = turn.trading.epoch_ns + config.order_deadline
""",
                "",
            ),
        ),
        ("I-16",),
    ),
    Mutant(
        "look-dated-by-its-answer",
        "A look counts from when it was answered, not from when it was asked.",
        (
            Change(
                "actors/gateway_look.py",
                "            asked_ns=looking.asked_ns,\n",
                "            asked_ns=ctx.now_ns,\n",
            ),
        ),
        ("I-16", "I-15", "I-36"),
    ),
    Mutant(
        "cursor-past-hidden-trades",
        "The cursor moves to the newest trade at once, past what a query may still hide.",
        (
            Change(
                "actors/gateway_look.py",
                """\
        return safe_cursor(reading, cursor, known.number) if known is not None and ripe else cursor
""",
                """\
        newest = ripen(reading, ctx.now_ns)
        return cursor if newest is None else safe_cursor(reading, cursor, newest.number)
""",
            ),
        ),
        ("I-05", "I-36"),
    ),
    Mutant(
        "cursor-before-apply",
        "The cursor moves with a streamed fill, before older trades have been told.",
        (
            Change(
                "actors/oms_fills.py",
                """\
    turn.live.counters.fills += 1
    _log(turn, fill)
""",
                """\
    turn.live.counters.fills += 1
    if msg.source == "stream" and msg.trade_id.isdecimal():
        turn.emit(Cursor(turn.now, msg.account, msg.instrument, msg.trade_id))
    _log(turn, fill)
""",
            ),
            Change(
                "actors/oms_fills.py",
                "import Bust, Correct, Fill, FillInferred, FillReplaced, Intent\n",
                "import Bust, Correct, Cursor, Fill, FillInferred, FillReplaced, Intent\n",
            ),
        ),
        ("I-05", "I-36"),
    ),
    Mutant(
        "cursor-past-poison",
        "The cursor moves past a fill that waits for a human.",
        (
            Change(
                "actors/oms_evidence.py",
                """\
        if instrument in waiting or turn.live.asking:
            continue
""",
                """\
        if turn.live.asking:
            continue
""",
            ),
        ),
        ("I-05",),
    ),
    Mutant(
        "equal-trades-are-one",
        "Two equal trades without an id of the venue get one id, and are booked as one (OR-20).",
        (
            Change(
                "core/fill_id.py",
                "seen[fields] = ordinal + 1",
                "seen[fields] = ordinal",
            ),
        ),
        ("I-05",),
    ),
    Mutant(
        "trade-id-of-any-symbol",
        "A trade id is known when it is known of any instrument of its account.",
        (
            Change(
                "core/trading_state.py",
                "    return trade_id in state.fill_keys.get(account, {}).get(instrument, {})\n",
                "    return any(trade_id in keys for keys in state.fill_keys.get(account, {}).values())\n",
            ),
        ),
        ("I-05",),
    ),
    Mutant(
        "foreign-id-is-the-order",
        "An order of others under an id that another one had before is taken for that one.",
        (
            Change(
                "actors/oms_external.py",
                """\
    return (
        order.external
        and bool(order.venue_order_id and venue_order_id)
        and (venue_order_id != order.venue_order_id)
    )
""",
                """\
    return False
""",
            ),
        ),
        ("I-36", "I-05", "I-11"),
    ),
    Mutant(
        "rules-not-read-again",
        "A reject by a filter does not have the rules of the instrument read again.",
        (
            Change(
                "actors/oms_venue.py",
                """\
        for market in turn.wiring.markets:
            turn.send(market, AskRules(msg.instrument))
""",
                """\
        turn.log("warning", "filter", instrument=msg.instrument)
""",
            ),
        ),
        ("I-14",),
    ),
)
