"""Mistakes in the books: ledger, what is inferred, taken back and assigned, the second book, the store."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant

BOOKS: tuple[Mutant, ...] = (
    Mutant(
        "base-fee-left-in-position",
        "A fee in what was bought is taken from the balance, but not from the position that pays it.",
        (
            Change(
                "core/ledger.py",
                """\
        trade(position, -fill.fee, fill.price)
        change -= fill.fee
""",
                """\
        change -= fill.fee
""",
            ),
        ),
        ("I-07",),
        shows_always=True,
    ),
    Mutant(
        "turned-position-not-split",
        "What turns a position is booked as if all of it closed something.",
        (
            Change(
                "core/ledger.py",
                "    closing = signed if abs(signed) <= abs(held) else -held\n",
                "    closing = signed\n",
            ),
        ),
        ("I-07",),
        shows_always=True,
    ),
    Mutant(
        "bust-keeps-its-fee",
        "A trade that is taken back keeps its fee.",
        (
            Change(
                "core/ledger.py",
                "msgspec.structs.replace(fill, qty=-fill.qty, fee=-fill.fee)",
                "msgspec.structs.replace(fill, qty=-fill.qty, fee=ZERO)",
            ),
        ),
        ("I-05",),
    ),
    Mutant(
        "assignment-forgets-net",
        "A quantity that goes to another owner leaves the account's net as it was.",
        (
            Change(
                "core/ledger.py",
                """\
    held.updated_ns = record.at_ns
    nets = ledger.nets.setdefault(record.account, {})
    nets[record.instrument] = nets.get(record.instrument, ZERO) + signed
""",
                """\
    held.updated_ns = record.at_ns
""",
            ),
        ),
        ("I-05", "I-44"),
    ),
    Mutant(
        "inferred-not-replaced",
        "The real fill is booked beside what was inferred in its place.",
        (
            Change(
                "actors/oms_fills.py",
                "    _replace_inferred(turn, fill, fill.qty, order)\n    if not _emit",
                "    if not _emit",
            ),
        ),
        ("I-05", "I-36", "I-03"),
    ),
    Mutant(
        "bust-before-fill-forgotten",
        "The bust of a trade that nobody has seen yet is about nothing, so it is forgotten.",
        (
            Change(
                "actors/oms_fills.py",
                """\
    last = known is None or (known.event_ns, isinstance(known, Bust)) < (msg.event_ns, not correction)
""",
                """\
    last = known is not None and (known.event_ns, isinstance(known, Bust)) < (msg.event_ns, not correction)
""",
            ),
        ),
        ("I-05", "I-36"),
    ),
    Mutant(
        "bust-counted-twice",
        "A bust that is told again takes the trade back again.",
        (
            Change(
                "actors/oms_fills.py",
                """\
        elif isinstance(record, Bust):
            fill = None
""",
                "",
            ),
        ),
        ("I-05", "I-24"),
    ),
    Mutant(
        "bust-leaves-the-count",
        "A trade is taken back in the books, and still counts as traded of its order.",
        (
            Change(
                "core/apply_orders.py",
                "    _revise(state, record.fill, record.fill.qty, record)\n",
                "",
            ),
        ),
        ("I-32", "I-03"),
    ),
    Mutant(
        "collar-rounded-outward",
        "The collar of a buy is rounded up to the tick, beyond what it allows.",
        (
            Change(
                "actors/oms_gate.py",
                "return floor_step(total * (_BPS + collar_bps)",
                "return ceil_step(total * (_BPS + collar_bps)",
            ),
        ),
        ("I-13",),
        shows_always=True,
    ),
    Mutant(
        "correction-told-as-new-trade",
        "A corrected trade is told to owner, desk and store beside the one whose place it takes.",
        (
            Change(
                "core/told.py",
                "return taken, msgspec.structs.replace(now,",
                "return (msgspec.structs.replace(now,",
            ),
            Change(
                "core/told.py",
                'trade_id=TradeId(f"corrected {record.trade_id} {lsn}"))',
                'trade_id=TradeId(f"corrected {record.trade_id} {lsn}")),)',
            ),
        ),
        ("I-45", "I-24"),
    ),
    Mutant(
        "desk-looks-too-rarely",
        "The risk desk compares the two books so rarely that two looks take longer than 30 s.",
        (Change("actors/risk_desk.py", "LOOK_NS = 14 * SECOND\n", "LOOK_NS = 30 * SECOND\n"),),
        ("I-45",),
    ),
    Mutant(
        "transfer-by-one-look",
        "One look that shows another balance makes a transfer of the difference.",
        (
            Change(
                "actors/oms_evidence.py",
                "    return apart.looks >= (2 if quiet else LOOKS_AGREED)\n",
                "    return apart.looks >= (1 if quiet else LOOKS_AGREED)\n",
            ),
        ),
        ("I-33", "I-05", "I-11"),
    ),
    Mutant(
        "transfer-of-what-is-in-doubt",
        "The difference that an order in doubt or an unbooked trade has made is booked as a transfer.",
        (
            Change(
                "actors/oms_evidence.py",
                """\
        if unknown and not order.external:
            names[order.instrument] = None
""",
                """\
        if unknown and order.external:
            names[order.instrument] = None
""",
            ),
        ),
        ("I-33", "I-05", "I-11"),
    ),
    Mutant(
        "store-keeps-unjournaled-rows",
        "What the store has from beyond the journal's end stays in it.",
        (
            Change(
                "stores/sqlite.py",
                """\
            for table in ("fills", "orders", "parents", "positions", "tca"):
                self._db.execute(f"DELETE FROM {table} WHERE lsn > ?", (last_lsn,))  # noqa: S608 our names
""",
                "",
            ),
        ),
        ("I-24",),
    ),
    Mutant(
        "greeting-without-catch-up",
        "A store that is greeted says where it stands, and does not catch up with the journal.",
        (
            Change(
                "stores/following.py",
                "                    catch_up(file, journal)\n",
                "",
            ),
        ),
        ("I-24",),
        shows_always=True,
    ),
    Mutant(
        "store-not-told-of-the-fold",
        "What a dead order manager told beyond the journal stays on its way to the store.",
        (
            Change(
                "actors/data_writer.py",
                """\
        state.own = journaled(state.own, msg.lsn)
        for batch_id, batch in state.under_way.items():
            state.under_way[batch_id] = replace(batch, rows=tuple(journaled(batch.rows, msg.lsn)))
        state.missing_lsn = min(state.missing_lsn, msg.lsn)
        state.forget(msg.lsn)
""",
                """\
        state.missing_lsn = min(state.missing_lsn, msg.lsn)
""",
            ),
        ),
        ("I-24",),
    ),
    Mutant(
        "place-beyond-dropped-rows",
        "Rows that were let go for want of room do not hold the store's place back.",
        (
            Change(
                "actors/data_writer.py",
                "None if state.missing_lsn else max(lsns, default=None)",
                "max(lsns, default=None)",
            ),
            Change(
                "actors/data_writer.py",
                """\
        state.own.clear()
        self._ask_later(ctx)
""",
                """\
        state.own.clear()
""",
            ),
        ),
        ("I-24",),
    ),
)
