"""What humans ask for: audited with what comes of it, done once for each key, for a day."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, CLI, FACE, GATEWAY, TREND, submit
from tradefan.core.trading import apply
from tradefan.core.trading_state import KEYS_MAX, Trading
from tradefan.messages.control import Append, Started
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import Answer, Asked, AssignPosition, Audited, CancelParent, Refusal
from tradefan.messages.records import Assign, Audit, Intent, Parent
from tradefan.units import DAY, SECOND, ParentId

D = Decimal
WISH = submit(1, owner=API, ref="mine")


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def ask(bench: Bench, wish: Audited, req: int, once: str = "") -> Answer | Refusal:
    """Ask as a face does, and return what it is told."""
    bench.tell(Asked(replace(wish, req=req), "api alice", once))
    told: list[Answer | Refusal] = [*bench.take(FACE, Answer), *bench.take(FACE, Refusal)]
    (answer,) = [one for one in told if one.req == req]
    return answer


def test_wish_when_asked_then_its_audit_is_in_the_append_of_its_effect(bench: Bench) -> None:
    """Who, what and the result are durable before anything leaves, or together with it not at all."""
    bench.auto_durable = False
    bench.oms.handle(Asked(replace(WISH, req=1), "api alice", "k1"), bench)
    (append,) = [msg for _, msg in bench.sent if isinstance(msg, Append)]
    kinds = [type(record) for record in append.records]
    assert (Parent in kinds, Intent in kinds, kinds.count(Audit)) == (True, True, True)
    (audit,) = [record for record in append.records if isinstance(record, Audit)]
    (parent,) = bench.trading.parents
    assert (audit.owner, audit.principal, audit.action, audit.subject) == (
        API,
        "api alice",
        "SubmitOrder",
        "mine",
    )
    assert (audit.code, audit.parent_ids, audit.key) == ("", (parent,), "k1")
    assert (bench.take(GATEWAY, CreateOrder), bench.take(FACE, Answer)) == ([], [])
    bench.journal()
    bench.durable()
    bench.one(GATEWAY, CreateOrder)
    assert bench.one(FACE, Answer) == Answer(1, (parent,))
    bench.check()


def test_wish_when_refused_then_the_audit_has_its_code_and_the_key_stays_free(bench: Bench) -> None:
    """What did nothing may be asked again when it would pass."""
    large = replace(WISH, order_qty=D(1_000))
    answer = ask(bench, large, 1, "k1")
    assert isinstance(answer, Refusal)
    (audit,) = bench.made(Audit)
    assert (audit.code, audit.parent_ids) == (answer.code, ())
    assert bench.trading.answers == {}
    assert isinstance(ask(bench, WISH, 2, "k1"), Answer)
    bench.check()


def test_wish_when_its_key_is_known_then_the_first_answer_again_and_nothing_is_done(bench: Bench) -> None:
    """Also where doing it twice would do twice as much, as a move between owners does."""
    first = ask(bench, WISH, 1, "k1")
    assert isinstance(first, Answer)
    before = len(bench.records)
    assert ask(bench, WISH, 2, "k1") == Answer(2, first.parent_ids, known=True)
    assert len(bench.records) == before
    bench.take(GATEWAY, CreateOrder)
    bench.bought(2)
    move = AssignPosition(ACCOUNT, BTC, TREND, CLI, D(1), None, "cli bob", CLI)
    for req in (3, 4):
        assert isinstance(ask(bench, move, req, "k1"), Answer)
    assert len(bench.made(Assign)) == 1
    bench.check()


@pytest.mark.parametrize(
    "other",
    [
        replace(WISH, order_qty=D(2)),
        replace(WISH, settings={"tries": 2}),
        replace(WISH, ref="another"),
        CancelParent(API, ParentId("p")),
    ],
)
def test_wish_when_its_key_was_used_for_something_else_then_refused(bench: Bench, other: Audited) -> None:
    """The first answer would look as if this had been heard."""
    ask(bench, WISH, 1, "k1")
    answer = ask(bench, other, 2, "k1")
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.used, answer.would_pass) == ("KEY_REUSED", "k1", "another key")
    assert bench.made(Audit)[-1].code == "KEY_REUSED"
    assert len(bench.trading.parents) == 1
    bench.check()


def test_key_when_the_daemon_was_killed_then_it_is_still_known(bench: Bench) -> None:
    """It is folded from the journal; another caller's key of the same name is another one."""
    first = ask(bench, WISH, 1, "k1")
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND).ready()
    assert isinstance(first, Answer)
    assert ask(again, WISH, 1, "k1") == Answer(1, first.parent_ids, known=True)
    other = ask(again, replace(WISH, owner=CLI), 2, "k1")
    assert isinstance(other, Answer)
    assert not other.known
    again.check()


def test_key_when_a_day_has_passed_then_it_is_free_again(bench: Bench) -> None:
    """24 hours, by the clock of the records."""
    ask(bench, WISH, 1, "k1")
    for after, code in ((DAY - 1, "KEY_REUSED"), (DAY, None)):
        later = Bench(records=bench.records, now_ns=bench.now_ns + after)
        later.fold()
        answer = ask(later, replace(WISH, ref="another"), 2, "k1")
        # Without a market it would be refused all the same, for its own reason.
        assert (answer.code == "KEY_REUSED") is (code == "KEY_REUSED")  # type: ignore[union-attr]


def test_keys_when_there_are_too_many_then_the_oldest_goes() -> None:
    """Memory is bounded: the newest 10,000 of a day for each owner."""
    trading, day = Trading(), (("a", 0), ("b", 1), ("c", DAY))
    for key, at_ns in day:
        apply(trading, Audit(at_ns, API, "me", "SubmitOrder", "r", key=key))
    assert list(trading.answers[API]) == ["b", "c"]
    for number in range(KEYS_MAX):
        apply(trading, Audit(DAY, API, "me", "SubmitOrder", "r", key=str(number)))
    assert len(trading.answers[API]) == KEYS_MAX
    assert ("b" in trading.answers[API], "0" in trading.answers[API]) == (False, True)
    assert trading.unapplied == 0


def test_cancel_when_asked_then_it_leaves_before_its_audit_is_durable(bench: Bench) -> None:
    """Cancels never wait for the disk, whoever asks."""
    create = bench.resting(owner=API)
    (parent,) = bench.trading.parents
    bench.auto_durable = False
    bench.tell(Asked(CancelParent(API, parent, 7), "api alice"))
    assert bench.one(GATEWAY, CancelOrder).client_order_id == create.client_order_id
    assert bench.one(FACE, Answer) == Answer(7, (parent,))
    (audit,) = bench.made(Audit)
    assert (audit.action, audit.subject, audit.parent_ids) == ("CancelParent", parent, (parent,))
    bench.durable()
    bench.check()


def test_wish_when_the_journal_is_being_read_then_refused_and_not_audited() -> None:
    """Nothing can be written yet, and nothing is done."""
    bench = Bench()
    bench.tell(Started(0))
    answer: Any = ask(bench, WISH, 1, "k1")
    assert (answer.code, bench.records) == ("NOT_READY", [])


def test_wish_when_it_waited_for_a_predecessor_then_refused_in_its_own_words(bench: Bench) -> None:
    """The commands of a lane whose actor died are answered, those of humans too."""
    fresh = Bench(records=bench.records, now_ns=bench.now_ns + SECOND)
    fresh.tell(Started(1, (Asked(replace(WISH, req=4), "api alice", "k1"),)))
    refusal = fresh.one(FACE, Refusal)
    assert (refusal.req, refusal.code, refusal.ref, refusal.account) == (4, "RESTARTING", "mine", ACCOUNT)
