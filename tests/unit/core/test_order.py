"""The order table, cell by cell, the merge of quantities, and the FIX order state change matrices."""

from __future__ import annotations

import json
from copy import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.core.order_builders import CID, order, report
from tradefan.core.order import (
    COLUMNS,
    TABLE,
    Cell,
    Column,
    Event,
    Move,
    Order,
    Revision,
    begin_doubt,
    counted,
    happen,
    judge,
    merge_fill,
    merge_report,
    revise,
    take_back,
    tells_news,
)
from tradefan.messages.orders import TERMINAL, Doubt, OrderStatus
from tradefan.units import ClientOrderId

S = OrderStatus
STORED = [status for status in OrderStatus if status is not OrderStatus.UNKNOWN]
CELLS = [(status, column) for status in STORED for column in COLUMNS]
D = Decimal

# What must become of an order that `held` describes, written down from FIX and the rules of doubt, not
# from the product: rows are what we hold, columns what comes, a cell is the status afterwards. `!!` is
# illegal. REPLACE is our request to replace it: of what the venue has acknowledged, has not ended and is
# not being cancelled (a chain of them is legal, FIX D16). A rejected cancel (CREJ) and an adoption take an
# order back to its quantities: 4 of 10 are filled where we hold PENDING_CANCEL, CANCELED or EXPIRED, all
# where we hold FILLED, nothing where we hold PENDING_REPLACE or REJECTED.
GRID = """
    PN NW PF FI PC CX PR RJ EX DD SU ?? FILL FULL CANCEL CREJ NSENT NPLACED ADOPTED REPLACE
PN  PN NW PF FI PC CX PR RJ EX DD SU !! PF   FI   PC     PN   EX    EX      !!      !!
NW  NW NW PF FI PC CX PR RJ EX DD SU !! PF   FI   PC     NW   !!    !!      !!      PR
PF  PF PF PF FI PC CX PR !! EX DD SU !! PF   FI   PC     PF   !!    !!      !!      PR
FI  FI FI FI FI FI !! FI !! !! FI FI !! FI   FI   !!     FI   !!    !!      FI      !!
PC  PC PC PC FI PC CX PC RJ EX PC PC !! PC   FI   PC     PF   EX    EX      !!      !!
CX  CX CX CX FI CX CX CX !! CX CX CX !! CX   FI   !!     CX   !!    !!      PF      !!
PR  PR NW PF FI PC CX PR !! EX DD SU !! PR   FI   PC     NW   !!    !!      !!      PR
RJ  RJ !! !! !! !! !! !! RJ !! !! !! !! !!   !!   !!     RJ   !!    !!      NW      !!
EX  EX EX EX FI EX EX EX !! EX EX EX !! EX   FI   !!     EX   !!    !!      PF      !!
DD  DD NW PF FI PC CX PR !! EX DD SU !! DD   FI   PC     DD   !!    !!      !!      PR
SU  SU NW PF FI PC CX PR RJ EX DD SU !! PF   FI   PC     SU   !!    !!      !!      PR
"""
WORDS: dict[str, Column] = {
    "PN": S.PENDING_NEW,
    "NW": S.NEW,
    "PF": S.PARTIALLY_FILLED,
    "FI": S.FILLED,
    "PC": S.PENDING_CANCEL,
    "CX": S.CANCELED,
    "PR": S.PENDING_REPLACE,
    "RJ": S.REJECTED,
    "EX": S.EXPIRED,
    "DD": S.DONE_FOR_DAY,
    "SU": S.SUSPENDED,
    "??": S.UNKNOWN,
    "FILL": Event.FILL,
    "FULL": Event.FULL,
    "CANCEL": Event.CANCEL,
    "CREJ": Event.CANCEL_REJECTED,
    "NSENT": Event.NOT_SENT,
    "NPLACED": Event.NOT_PLACED,
    "ADOPTED": Event.ADOPTED,
    "REPLACE": Event.REPLACE,
}


def read_grid() -> dict[tuple[Column, Column], Column | None]:
    """Return what must become of each pair; None for illegal."""
    head, *rows = (line.split() for line in GRID.strip().splitlines())
    return {
        (WORDS[row[0]], WORDS[column]): WORDS.get(cell)
        for row in rows
        for column, cell in zip(head, row[1:], strict=True)
    }


WANTED = read_grid()


def held(status: OrderStatus, *, column: Column | None = None) -> Order:
    """Return an order that stands in a status with quantities that suit it and the column."""
    one = order()
    one.status = status
    one.acknowledged = status is not S.PENDING_NEW
    partly = status in (S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.CANCELED, S.EXPIRED)
    if partly and column not in (S.REJECTED, Event.NOT_SENT, Event.NOT_PLACED):
        one.filled = one.venue_cum = D(4)
    if status is S.FILLED:
        one.filled = one.venue_cum = D(10)
    if status in TERMINAL:
        one.ended_ns = 1
    return one


def come(one: Order, column: Column) -> bool:
    """Let what a column means come to an order."""
    if isinstance(column, OrderStatus):
        cum = max(one.cum_qty, D(10)) if column is S.FILLED else one.cum_qty
        return merge_report(one, report(column, cum, at_ns=9))
    if column in (Event.FILL, Event.FULL):
        rest = one.order_qty - one.cum_qty
        qty = rest if column is Event.FULL or not rest else D(1)
        return merge_fill(one, qty or D(1), D(100), 9)
    return happen(one, column, "why", 9)


def test_table_when_read_then_it_has_every_cell() -> None:
    """Every status that can be stored has a cell for every report and event, and UNKNOWN has no row."""
    assert list(TABLE) == [
        S.PENDING_NEW,
        S.NEW,
        S.PARTIALLY_FILLED,
        S.FILLED,
        S.PENDING_CANCEL,
        S.CANCELED,
        S.PENDING_REPLACE,
        S.REJECTED,
        S.EXPIRED,
        S.DONE_FOR_DAY,
        S.SUSPENDED,
    ]
    assert sorted(TABLE) == sorted(STORED)
    assert all(tuple(row) == COLUMNS for row in TABLE.values())
    assert len(CELLS) == 11 * 20
    assert sorted(WANTED) == sorted(CELLS)


def check_cell(status: OrderStatus, column: Column) -> None:
    one = held(status, column=column)
    before = msgspec.structs.asdict(one)
    wanted = WANTED[status, column]
    legal = come(one, column)
    assert legal is (wanted is not None)
    assert one.status is (wanted or status)
    if not legal and column not in (Event.FILL, Event.FULL):
        assert msgspec.structs.asdict(one) == before
    if legal:
        assert one.updated_ns == 9
        assert (one.ended_ns is not None) is (one.status in TERMINAL)


@pytest.mark.parametrize(("status", "column"), CELLS)
def test_cell_when_it_comes_then_the_order_does_what_the_grid_says(
    status: OrderStatus, column: Column
) -> None:
    """A legal pair leads to the grid's status; an illegal one changes nothing that did not trade."""
    check_cell(status, column)


@pytest.mark.parametrize(
    ("status", "column", "cell"),
    [
        (S.DONE_FOR_DAY, S.CANCELED, Move.ILLEGAL),
        (S.REJECTED, S.NEW, S.NEW),
        (S.FILLED, Event.CANCEL, S.PENDING_CANCEL),
        (S.SUSPENDED, S.FILLED, Move.ILLEGAL),
        (S.SUSPENDED, S.SUSPENDED, Move.ILLEGAL),
        (S.NEW, S.SUSPENDED, S.NEW),
        (S.PENDING_CANCEL, S.EXPIRED, S.CANCELED),
        (S.NEW, S.REJECTED, Move.ILLEGAL),
        (S.PENDING_CANCEL, S.NEW, S.NEW),
        (S.CANCELED, S.NEW, S.NEW),
        (S.FILLED, S.CANCELED, Move.SAME),
        (S.EXPIRED, Event.FULL, Move.SAME),
        (S.PENDING_NEW, Event.NOT_PLACED, Move.ILLEGAL),
        (S.PENDING_NEW, Event.REPLACE, S.PENDING_REPLACE),
        (S.PENDING_CANCEL, Event.REPLACE, S.PENDING_REPLACE),
        (S.PENDING_REPLACE, Event.CANCEL_REJECTED, Move.SAME),
    ],
)
def test_grid_when_a_cell_of_the_table_is_wrong_then_it_is_seen(
    monkeypatch: pytest.MonkeyPatch, status: OrderStatus, column: Column, cell: Cell
) -> None:
    """The grid does not follow the table: a table that is changed fails against it."""
    monkeypatch.setitem(TABLE[status], column, cell)
    with pytest.raises(AssertionError):
        check_cell(status, column)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_terminal_order_when_anything_comes_then_only_late_fill_or_adoption_moves_it(
    status: OrderStatus,
) -> None:
    """I-15: an end is left only towards FILLED by what traded, and by adoption."""
    moves = {
        column: cell
        for column, cell in TABLE[status].items()
        if cell not in (Move.SAME, Move.ILLEGAL, status)
    }
    allowed: dict[OrderStatus, dict[Column, Cell]] = {
        S.FILLED: {Event.ADOPTED: Move.BACK},
        S.REJECTED: {Event.ADOPTED: Move.BACK},
        S.CANCELED: {S.FILLED: S.FILLED, Event.FULL: S.FILLED, Event.ADOPTED: Move.BACK},
        S.EXPIRED: {S.FILLED: S.FILLED, Event.FULL: S.FILLED, Event.ADOPTED: Move.BACK},
    }
    assert moves == allowed[status]


@pytest.mark.failure("OR-13")
def test_unknown_word_when_reported_then_it_is_illegal_everywhere() -> None:
    """A venue's word that we do not map never changes an order (OR-13)."""
    assert [TABLE[status][S.UNKNOWN] for status in STORED] == [Move.ILLEGAL] * 11


@pytest.mark.failure("OR-12")
def test_quantities_when_words_come_twice_and_late_then_they_merge_by_maximum() -> None:
    """Cumulative quantities never fall and are never added."""
    one = order()
    for status, cum in ((S.NEW, 0), (S.PARTIALLY_FILLED, 6), (S.PARTIALLY_FILLED, 2), (S.NEW, 0)):
        assert merge_report(one, report(status, cum))
    assert (one.status, one.cum_qty, one.leaves_qty) == (S.PARTIALLY_FILLED, D(6), D(4))
    assert merge_fill(one, D(2), D(100), 5)
    assert (one.cum_qty, one.filled, one.avg_px) == (D(6), D(2), D(100))


@pytest.mark.failure("OR-06")
def test_fill_when_before_the_acknowledgement_then_it_opens_the_order() -> None:
    """OR-06: a fill may be the first word about an order, and the late NEW says nothing new."""
    one = order()
    assert begin_doubt(one, Doubt.CREATE, "time-out", 2)
    assert merge_fill(one, D(3), D(101), 3)
    assert (one.status, one.in_doubt, one.acknowledged) == (S.PARTIALLY_FILLED, None, True)
    assert merge_report(one, report(S.NEW, 0))
    assert one.status is S.PARTIALLY_FILLED


@pytest.mark.failure("OR-07")
def test_late_fill_when_after_the_end_then_quantity_counts_and_the_end_stays() -> None:
    """OR-07: a fill after CANCELED is booked; when everything traded after all the order is FILLED."""
    one = order()
    assert merge_report(one, report(S.CANCELED, 4))
    one.sealed = True
    assert merge_fill(one, D(6), D(100), 5)
    assert (one.status, one.cum_qty, one.sealed) == (S.CANCELED, D(6), False)
    assert merge_fill(one, D(4), D(100), 6)
    assert (one.status, one.leaves_qty) == (S.FILLED, D(0))


def test_fill_when_the_order_was_rejected_then_it_counts_and_is_illegal() -> None:
    """A fill of a rejected order contradicts the venue, but the money moved."""
    one = order()
    assert merge_report(one, report(S.REJECTED))
    assert not merge_fill(one, D(1), D(100), 5)
    assert (one.status, one.filled) == (S.REJECTED, D(1))


@pytest.mark.parametrize(("cum", "already"), [(D(1), D(0)), (D(0), D(1)), (D(-1), D(0))])
def test_report_when_rejected_or_negative_with_quantity_then_it_is_illegal(
    cum: Decimal, already: Decimal
) -> None:
    """What traded cannot be rejected, and nothing trades less than nothing."""
    one = order()
    one.filled = already
    status = S.NEW if cum < 0 else S.REJECTED
    assert judge(one, status, cum) is Move.ILLEGAL
    assert not merge_report(one, report(status, cum))


@pytest.mark.failure("OR-08")
def test_cancel_when_rejected_then_the_status_follows_the_quantities_again() -> None:
    """FIX D3, D4, B.1.c: a rejected cancel takes the order back to NEW, PARTIALLY_FILLED or FILLED."""
    shown = []
    for cum in (0, 4, 10):
        one = order()
        assert merge_report(one, report(S.NEW))
        assert happen(one, Event.CANCEL, "stop", 5)
        assert merge_report(one, report(S.PENDING_CANCEL, cum))
        assert begin_doubt(one, Doubt.CANCEL, "time-out", 6)
        assert happen(one, Event.CANCEL_REJECTED, "too late", 7)
        shown.append((one.status, one.in_doubt, one.cancel_ns, one.cancels))
    assert shown == [(status, None, 5, 1) for status in (S.NEW, S.PARTIALLY_FILLED, S.FILLED)]


def test_cancel_when_the_create_was_never_acknowledged_then_a_rejection_leads_back_to_pending() -> None:
    """Nobody has said yet that the order exists, so it is not NEW."""
    one = order()
    assert happen(one, Event.CANCEL, "stop", 5)
    assert happen(one, Event.CANCEL_REJECTED, "unknown order", 6)
    assert one.status is S.PENDING_NEW


def test_doubt_when_the_outcome_is_known_then_it_does_not_begin() -> None:
    """A create that was acknowledged, and an order that has ended, are not in doubt."""
    one = order()
    assert merge_report(one, report(S.NEW))
    assert not begin_doubt(one, Doubt.CREATE, "late time-out", 4)
    assert begin_doubt(one, Doubt.CANCEL, "time-out", 5)
    assert not begin_doubt(one, Doubt.CANCEL, "again", 6)
    assert (one.in_doubt_since_ns, one.live) == (5, True)
    assert merge_report(one, report(S.CANCELED))
    assert (one.in_doubt, one.in_doubt_since_ns, one.live) == (None, None, False)


@pytest.mark.failure("OR-23")
def test_replacement_when_in_doubt_then_only_evidence_of_each_leg_ends_it() -> None:
    """Beside REPLACE the old order is acknowledged: its life is no proof, its end or a refused cancel is."""
    for end in ("refused", "canceled", "filled"):
        old = order()
        assert merge_report(old, report(S.NEW))
        assert happen(old, Event.REPLACE, "", 4)
        assert begin_doubt(old, Doubt.REPLACE, "time-out", 5)
        assert merge_report(old, report(S.NEW, at_ns=6))
        assert (old.in_doubt, old.may_not_exist, old.live) == (Doubt.REPLACE, False, True)
        if end == "refused":
            assert happen(old, Event.CANCEL_REJECTED, "not placed", 7)
        elif end == "canceled":
            assert merge_report(old, report(S.CANCELED, at_ns=7))
        else:
            assert merge_fill(old, D(10), D(100), 7)
        assert (old.in_doubt, old.live) == (None, end == "refused")


def test_replacement_when_its_new_order_is_in_doubt_then_it_may_not_exist() -> None:
    """The venue's first word about it ends the doubt; proof that it is missing does as well (R4)."""
    new = order(replaces=ClientOrderId("old"))
    assert begin_doubt(new, Doubt.REPLACE, "time-out", 2)
    assert (new.may_not_exist, new.replaces) == (True, "old")
    found, missing = copy(new), copy(new)
    assert merge_report(found, report(S.NEW))
    assert (found.in_doubt, found.may_not_exist) == (None, False)
    assert happen(missing, Event.NOT_PLACED, "looks", 9)
    assert (missing.in_doubt, missing.never_was, missing.live) == (None, True, False)


def bust(one: Order, qty: int, event_ns: int) -> None:
    """Let the venue take a booked trade back."""
    take_back(one, D(qty), D(100), event_ns)
    revise(one, Revision(event_ns, D(qty)), event_ns)


def test_bust_when_a_report_from_before_it_comes_late_then_quantity_does_not_rise_again() -> None:
    """What was taken back is in older words only; the venue's end stays, the accounting is open."""
    one = order()
    assert merge_fill(one, D(10), D(100), 2)
    assert merge_report(one, report(S.FILLED, 10, at_ns=2))
    one.sealed = True
    bust(one, 4, 5)
    assert (one.cum_qty, one.filled, one.value, one.sealed) == (D(6), D(6), D(600), False)
    assert merge_report(one, report(S.FILLED, 10, at_ns=4))
    assert (one.cum_qty, one.status) == (D(6), S.FILLED)


@pytest.mark.parametrize(
    ("cum", "event_ns", "counts"),
    [(8, 9, 8), (8, 5, 8), (8, 4, 4)],
    ids=["behind it", "at its instant", "before it"],
)
def test_report_when_a_trade_was_taken_back_then_only_words_from_before_count_too_much(
    cum: int, event_ns: int, counts: int
) -> None:
    """The venue's own count follows its bust: what it says later hides nothing that traded since."""
    one = order()
    assert merge_fill(one, D(4), D(100), 3)
    bust(one, 4, 5)
    assert merge_report(one, report(S.PARTIALLY_FILLED, cum, at_ns=event_ns))
    assert (one.filled, one.cum_qty) == (D(0), D(counts))


def test_bust_when_the_venues_count_is_younger_then_it_is_in_it_already() -> None:
    """Report and bust may swap: the count of 6 holds, the fill of 4 is no part of it."""
    one = order()
    assert merge_fill(one, D(4), D(100), 3)
    assert merge_report(one, report(S.PARTIALLY_FILLED, 6, at_ns=7))
    bust(one, 4, 5)
    assert (one.filled, one.cum_qty) == (D(0), D(6))


def test_revisions_when_a_trade_is_changed_twice_then_each_counts_what_it_lowered() -> None:
    """10 became 7 and then 4: an old word counts 6 too much, one from between them 3."""
    for event_ns, cum in ((4, 10), (6, 7), (8, 4)):
        one = order()
        assert merge_fill(one, D(10), D(100), 3)
        for at_ns in (5, 7):
            bust(one, 3, at_ns)
        assert merge_report(one, report(S.PARTIALLY_FILLED, cum, at_ns=event_ns))
        assert one.cum_qty == D(4)


@pytest.mark.parametrize(("told", "status"), [(True, S.FILLED), (False, S.PARTIALLY_FILLED)])
def test_bust_when_only_our_sum_had_ended_the_order_then_it_lives_again(
    told: bool, status: OrderStatus
) -> None:
    """The venue took 4 back before it filled the rest: there 4 are open still, unless it said FILLED."""
    one = order()
    assert merge_fill(one, D(4), D(100), 3)
    assert merge_fill(one, D(6), D(100), 6)
    if told:
        assert merge_report(one, report(S.FILLED, 10, at_ns=6))
    bust(one, 4, 5)
    assert (one.status, one.live, one.ended_ns is None) == (status, not told, not told)
    assert (one.cum_qty, one.leaves_qty) == (D(10) if told else D(6), D(0) if told else D(4))


def test_correction_when_nobody_knows_what_was_lost_then_the_venues_later_word_counts() -> None:
    """It had counted 8 and the one trade comes as 4: its word from since is the truth, older ones no more."""
    one = order()
    assert merge_report(one, report(S.PARTIALLY_FILLED, 8, at_ns=3))
    assert merge_fill(one, D(4), D(100), 6)
    revise(one, Revision(5, D(0)), 6)
    assert one.cum_qty == D(8)
    assert tells_news(one, S.PARTIALLY_FILLED, D(4), D(10), 5)
    for at_ns, cum, counts in ((5, 4, 4), (4, 8, 4), (7, 6, 6), (5, 4, 6)):
        assert merge_report(one, report(S.PARTIALLY_FILLED, cum, at_ns=at_ns))
        assert one.cum_qty == D(counts)
    assert not tells_news(one, S.PARTIALLY_FILLED, counted(one, D(8), 4), D(10), 4)
    assert not tells_news(one, S.PARTIALLY_FILLED, D(6), D(10), 7)


def test_inferred_quantity_when_taken_back_then_the_venues_word_stays() -> None:
    """Only a bust lowers what the venue counts."""
    one = order()
    assert merge_report(one, report(S.PARTIALLY_FILLED, 4))
    assert merge_fill(one, D(4), D(100), 2)
    take_back(one, D(4), D(100), 3)
    assert (one.filled, one.venue_cum, one.cum_qty) == (D(0), D(4), D(4))


def test_order_when_it_never_was_then_only_adoption_revives_it() -> None:
    """R5: NOT_PLACED may be wrong where the venue broke its bounds; then the order is ours again."""
    one = order()
    assert begin_doubt(one, Doubt.CREATE, "time-out", 2)
    assert happen(one, Event.NOT_PLACED, "two looks", 3)
    assert (one.status, one.never_was, one.live) == (S.EXPIRED, True, False)
    assert happen(one, Event.ADOPTED, "look", 4)
    assert (one.status, one.never_was, one.live, one.ended_ns) == (S.PENDING_NEW, False, True, None)
    assert not happen(one, Event.ADOPTED, "look", 5)


def test_order_when_it_had_ended_then_adoption_takes_it_back_to_its_quantities() -> None:
    """R5: it rests at the venue with what it has not traded, acknowledged as it was; its end is off."""
    one = order()
    assert merge_report(one, report(S.CANCELED, 4))
    assert happen(one, Event.ADOPTED, "look", 5)
    assert (one.status, one.live, one.ended_ns, one.leaves_qty) == (S.PARTIALLY_FILLED, True, None, D(6))


def test_news_when_a_report_repeats_then_there_is_none() -> None:
    """Periodic looks repeat the same words: they are not journaled."""
    one = order()
    assert tells_news(one, S.NEW, D(0), D(10), 1)
    merge_report(one, report(S.NEW))
    assert not tells_news(one, S.NEW, D(0), D(10), 1)
    assert tells_news(one, S.NEW, D(0), D(8), 1)
    assert tells_news(one, S.PARTIALLY_FILLED, D(1), D(10), 1)
    merge_report(one, report(S.NEW, 0, order_qty=D(8)))
    assert (one.order_qty, tells_news(one, S.NEW, D(0), D(8), 1)) == (D(8), False)


# --- the FIX specification's own examples -------------------------------------------------------------

MATRICES = 12


@pytest.fixture(scope="session")
def matrices(reference_data: Path) -> list[dict[str, Any]]:
    """The order state change matrices of FIX 4.2 to 5.0."""
    found: list[dict[str, Any]] = json.loads(
        (reference_data / "ref-execution" / "fix_order_state_matrices.json").read_text()
    )["matrices"]
    assert len(found) == MATRICES
    return found


def word(text: str) -> OrderStatus:
    return S(text.upper().replace(" ", "_"))


def branches(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the story without alternatives, and one story per alternative, which ends with it."""
    main = [row for row in rows if "ALTERNATIVE" not in row["comment"]]
    stories = [main]
    for index, row in enumerate(rows):
        if "ALTERNATIVE" in row["comment"]:
            stories.append([item for item in rows[:index] if "ALTERNATIVE" not in item["comment"]] + [row])
    return stories


@pytest.mark.failure("OR-12")
@pytest.mark.parametrize("number", range(MATRICES))
@pytest.mark.parametrize("ours", [False, True], ids=["as the venue sees it", "with our cancel sent"])
def test_fix_matrix_when_played_then_status_and_quantities_agree(
    matrices: list[dict[str, Any]], number: int, ours: bool
) -> None:
    """Each row of each matrix leaves the order as FIX says; a cancel of ours that is out takes precedence."""
    rows = 0
    for story in branches(matrices[number]["rows"]):
        book: dict[str, Order] = {}
        pending = False
        for row in story:
            rows += 1
            if row["received"] is not None:
                pending = _request(book, row, ours=ours) or pending
                continue
            target = _target(book, row)
            if target is None:
                assert row["sent"] == "Cancel Reject(Y,X)"
                assert not book
                continue
            pending = _answer(target, row) and pending
            wanted = word(row["ord_status"])
            overtaken = pending and wanted in (S.NEW, S.PARTIALLY_FILLED)
            assert target.status is (S.PENDING_CANCEL if overtaken else wanted), row
            if row["cum_qty"] is not None:
                assert target.cum_qty == row["cum_qty"], row
            # A day order that is done for the day leaves nothing; ours is GTC, and its rest counts.
            if row["leaves_qty"] is not None and wanted is not S.DONE_FOR_DAY:
                leaves = target.leaves_qty if target.status not in TERMINAL else D(0)
                assert leaves == row["leaves_qty"], row
    assert rows >= 2


def _request(book: dict[str, Order], row: dict[str, Any], *, ours: bool) -> bool:
    """Let us send a request; True when a cancel of ours is under way."""
    kind, _, names = row["received"].partition("(")
    name = names.rstrip(")").split(",")[0]
    if kind == "New Order" and name not in book:
        book[name] = order(order_qty=D(row["order_qty"]))
    if kind == "Cancel Request" and ours and book:
        assert happen(book["X"], Event.CANCEL, "", 5)
        return True
    return False


def _target(book: dict[str, Order], row: dict[str, Any]) -> Order | None:
    """Return the order that an answer is about: a replaced one goes on under each of its ids."""
    names = row["sent"].partition("(")[2].rstrip(")").split(",")
    known = [book[name] for name in reversed(names) if name in book]
    if known:
        return known[0]
    return next(iter(book.values()), None)


def _answer(target: Order, row: dict[str, Any]) -> bool:
    """Let the venue's word come; False when it ends a pending cancel."""
    if row["sent"].startswith("Cancel Reject"):
        assert happen(target, Event.CANCEL_REJECTED, "", 6)
        return False
    changed = row["order_qty"] != target.order_qty and row["exec_type"] == "Replace"
    restated = D(row["order_qty"]) if changed else None
    word_ = report(word(row["ord_status"]), row["cum_qty"], order_qty=restated, client_order_id=CID)
    assert merge_report(target, word_), row
    return True
