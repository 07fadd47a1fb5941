"""Mistakes in what holds when all else fails: kill and latch, modes, limits, references, funds."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant

SAFETY: tuple[Mutant, ...] = (
    Mutant(
        "latch-above-the-queue",
        "The latch is asked when an order is decided on, not in the statement of its write.",
        (
            Change(
                "core/connection.py",
                """\
    if latched:
        return "LATCHED"
    if generation""",
                """\
    if generation""",
            ),
        ),
        ("I-09",),
    ),
    Mutant(
        "latch-read-once",
        "What the latch says of some scopes is read once and kept: a kill that comes later is not seen.",
        (
            Change("drivers/latch.py", '__slots__ = ("closed",)', '__slots__ = ("closed", "read")'),
            Change(
                "drivers/latch.py",
                "        self.closed: dict[str, str] = {}\n",
                """\
        self.closed: dict[str, str] = {}
        self.read: dict[tuple[str, ...], bool] = {}
""",
            ),
            Change(
                "drivers/latch.py",
                """\
        return bool(closed) and (ALL in closed or any(scope in closed for scope in scopes))
""",
                """\
        found = bool(closed) and (ALL in closed or any(scope in closed for scope in scopes))
        return self.read.setdefault(scopes, found)
""",
            ),
        ),
        ("I-09",),
    ),
    Mutant(
        "latch-knows-only-all",
        "A latch closes everything or nothing: a closed scope lets its orders pass.",
        (
            Change(
                "drivers/latch.py",
                "(ALL in closed or any(scope in closed for scope in scopes))",
                "ALL in closed",
            ),
        ),
        ("I-09",),
    ),
    Mutant(
        "latch-opens-with-any-scope",
        "Whatever scope is resumed, the latch is open.",
        (
            Change(
                "drivers/latch.py",
                "        self.closed.pop(scope, None)\n",
                "        self.closed.clear()\n",
            ),
        ),
        ("I-09", "I-10"),
    ),
    Mutant(
        "latch-open-at-boot",
        "A start reads which scopes are killed, and forgets to close their latch.",
        (
            Change(
                "actors/oms_kill.py",
                """\
    for kill in kills.values():
        turn.send(turn.wiring.supervisor, CloseLatch(kill.scope, kill.reason))
""",
                """\
    for kill in kills.values():
""",
            ),
        ),
        ("I-10",),
    ),
    Mutant(
        "kill-acknowledged-too-early",
        "A kill is acknowledged as lasting when it is under way to the disk.",
        (
            Change(
                "actors/oms_kill.py",
                """\
    killing.lsn = turn.trading.lsn if killing.lsn is None else killing.lsn
""",
                """\
    killing.lsn = turn.trading.lsn if killing.lsn is None else killing.lsn
    killing.persisted = True
""",
            ),
        ),
        ("I-10",),
    ),
    Mutant(
        "kill-dies-with-order-manager",
        "A kill that an order manager falls over is not told to its successor.",
        (
            Change(
                "runtime/mailbox.py",
                """\
            if msg.kept:
                self.kept[msg.key()] = Kept(msg)
""",
                "",
            ),
        ),
        ("I-36", "I-10"),
    ),
    Mutant(
        "venue-is-no-scope",
        "An order has no venue among its scopes, so a kill or ban of its venue does not hold for it.",
        (
            Change(
                "core/scopes.py",
                """\
    venues = dict.fromkeys((account.partition(":")[0], instrument.partition(":")[0]))
    return ("all", instrument, account, owner, *venues)
""",
                """\
    return ("all", instrument, account, owner)
""",
            ),
        ),
        ("I-09", "I-37", "MODE"),
    ),
    Mutant(
        "doubt-alarm-without-hold",
        "A doubt that lasts too long is alarmed, and trading goes on in its instrument.",
        (
            Change(
                "actors/oms_waiting.py",
                """\
    held[name] = text
    turn.judge = True
    turn.log("critical", "doubt_alarm\"""",
                """\
    turn.judge = True
    turn.log("critical", "doubt_alarm\"""",
            ),
        ),
        ("R4",),
    ),
    Mutant(
        "disk-watch-pushed-back",
        "Each turn that appends records waits anew for the disk, so a busy disk is never late.",
        (
            Change(
                "actors/oms_recovery.py",
                """\
    if not live.durable_due_ns:
        live.durable_due_ns = turn.now + timeout_ns
        turn.ctx""",
                """\
    if turn.now + timeout_ns > live.durable_due_ns:
        live.durable_due_ns = turn.now + timeout_ns
        turn.ctx""",
            ),
        ),
        ("ST-03",),
    ),
    Mutant(
        "modes-left-at-once",
        "A mode is left as soon as its cause is clear, and entered again a moment later.",
        (
            Change(
                "core/modes.py",
                """\
    again = known.entered_before_ns is not None and known.entered_ns - known.entered_before_ns <= RECENT_NS
    return known.clear_since_ns + (spec.clear_again_ns if again else spec.clear_ns)
""",
                """\
    return known.clear_since_ns
""",
            ),
        ),
        ("I-38",),
    ),
    Mutant(
        "last-mode-wins",
        "Of several causes the one that was entered last decides, not the tightest.",
        (
            Change(
                "actors/oms_gate.py",
                """\
            if tighter(record.mode, tightest.mode):
                tightest = _from_record(record)
""",
                """\
            tightest = _from_record(record)
""",
            ),
        ),
        ("MODE",),
    ),
    Mutant(
        "position-limit-without-open-orders",
        "The position limit counts what is held and the new order, not what is open.",
        (
            Change(
                "risk/limits.py",
                "        return held.position + held.buy_qty + intent.order_qty\n",
                "        return held.position + intent.order_qty\n",
            ),
        ),
        ("I-11",),
    ),
    Mutant(
        "position-limit-of-owners-only",
        "The position limit bounds each owner, and not what all of them come to.",
        (
            Change(
                "risk/limits.py",
                """\
        limit = limits.max_position
        for whose, held in (("account", state.account), (f"owner {intent.owner}", state.owner)):
""",
                """\
        limit = limits.max_position
        for whose, held in ((f"owner {intent.owner}", state.owner),):
""",
            ),
        ),
        ("I-11",),
    ),
    Mutant(
        "lowered-limit-not-judged",
        "A limit that is lowered below what is held counts from the next order on.",
        (
            Change(
                "actors/oms.py",
                """\
        end_strangers(turn)
        suspect_all(turn)
""",
                """\
        end_strangers(turn)
""",
            ),
        ),
        ("I-11",),
    ),
    Mutant(
        "foreign-order-not-judged",
        "An order that others place on the account is judged when we place the next of ours.",
        (
            Change(
                "actors/oms_external.py",
                """\
    turn.touch(turn.trading.orders[name])
    suspect(turn, msg.account, msg.instrument)
""",
                """\
    turn.touch(turn.trading.orders[name])
""",
            ),
        ),
        ("I-11",),
    ),
    Mutant(
        "order-rate-of-a-tenth",
        "The orders of the last tenth of a second are held against the limit of a second.",
        (
            Change(
                "actors/oms_gate.py",
                "turn.live.recent.get(owner, ()) if at_ns > turn.now - SECOND]",
                "turn.live.recent.get(owner, ()) if at_ns > turn.now - SECOND // 10]",
            ),
        ),
        ("I-20",),
        shows_always=True,
    ),
    Mutant(
        "order-rate-without-replacements",
        "A replacement is no new order, so it does not count as one.",
        (
            Change(
                "actors/oms_children.py",
                "    _note_rate(turn, order)\n    turn.touch(",
                "    turn.touch(",
            ),
            Change(
                "actors/oms_children.py",
                "    turn.live.counters.orders += 1\n",
                "    turn.live.counters.orders += 1\n    _note_rate(turn, order)\n",
            ),
        ),
        ("I-20",),
        shows_always=True,
    ),
    Mutant(
        "price-band-of-buys-only",
        "The price band holds buys; a sale may be given away.",
        (
            Change(
                "risk/limits.py",
                '        beyond = intent.price > worst if intent.side == "buy" else intent.price < worst\n',
                '        beyond = intent.side == "buy" and intent.price > worst\n',
            ),
        ),
        ("I-13",),
    ),
    Mutant(
        "reference-of-any-age",
        "A reference is good as long as its feed is, however old its last quote.",
        (
            Change(
                "actors/oms_gate.py",
                """\
    if age_ns > most_ns:
        text = f"the quote of {instrument.id} is {age_ns / SECOND:.1f} s old"
        return RiskRefused("NO_REFERENCE", text, f"{most_ns / SECOND:g} s", f"{age_ns / SECOND:.1f} s")
""",
                "",
            ),
        ),
        ("I-12",),
    ),
    Mutant(
        "crossing-on-a-suspect-feed",
        "What takes from the book is let through on a feed that is only good for what rests.",
        (
            Change(
                "actors/oms_gate.py",
                "    trusted = (Quality.LIVE,) if crossing else (Quality.LIVE, Quality.SUSPECT)\n",
                "    trusted = (Quality.LIVE, Quality.SUSPECT)\n",
            ),
        ),
        ("I-12",),
    ),
    Mutant(
        "funds-without-reservations",
        "A buy may use the whole balance, also what open orders have reserved.",
        (
            Change(
                "actors/oms_gate.py",
                """\
        free_quote=balance(books, account, instrument.quote)
        - reserved(trading.exposure, account, instrument.quote),
""",
                """\
        free_quote=balance(books, account, instrument.quote),
""",
            ),
        ),
        ("I-33",),
    ),
    Mutant(
        "sells-what-others-own",
        "A strategy may sell whatever the account holds.",
        (
            Change(
                "actors/oms_gate.py",
                "        base_free = min(base_free, own_free(turn, account, instrument.id, owner))\n",
                "        base_free = max(base_free, own_free(turn, account, instrument.id, owner))\n",
            ),
        ),
        ("I-44",),
        shows_always=True,
    ),
    Mutant(
        "fee-of-untold-buy-sold",
        "What was bought may be sold whole, before its trade has told what fee was taken of it.",
        (
            Change(
                "actors/oms_gate.py",
                "    return own_qty + mine.unbooked - mine.sell_qty - untold * fee_rate(turn, account)\n",
                "    return own_qty + mine.unbooked - mine.sell_qty - untold * 0\n",
            ),
        ),
        ("I-44",),
    ),
    Mutant(
        "refused-config-half-taken",
        "A configuration is in force before its validators have been asked.",
        (
            Change(
                "runtime/life.py",
                """\
        errors, config, system = self._check_config(msg)
        if not errors:
            kernel.config = config
""",
                """\
        errors, config, system = self._check_config(msg)
        kernel.config = kernel.config if config is None else config
        if not errors:
""",
            ),
        ),
        ("I-25", "I-26"),
    ),
)
