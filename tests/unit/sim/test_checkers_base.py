"""What all checkers share: following records through crashes."""

from __future__ import annotations

import msgspec

from tests.unit.core.order_builders import fill, intent
from tests.unit.sim.checker_bench import Bench, broken
from tradefan.messages.records import Fill, Record
from tradefan.sim.checkers import CHECKERS, all_checkers
from tradefan.sim.checkers.base import Newer, OverRecords, Tail
from tradefan.sim.witness import Kind, Violation, Witness


class NoFills(OverRecords):
    """Finds every fill a violation."""

    invariant: str = "I-99"
    kind: Kind = "T"

    def take(self, seen: Witness, record: Record) -> Violation | None:
        return self.broken(seen, "none", self.lsn) if isinstance(record, Fill) else None


def read_again(records: list[Record]) -> list[Record]:
    """Return equal records that are other objects, as a journal returns them."""
    return [msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=type(one)) for one in records]


def test_tail_when_records_come_then_each_is_told_once() -> None:
    """Nothing is new where nothing came."""
    tail = Tail()
    records: list[Record] = [intent()]
    assert tail.news(records) == (None, [intent()])
    assert tail.news(records) == (None, [])
    records.append(fill(1))
    assert tail.news(records) == (None, [fill(1)])


def test_tail_when_all_rows_are_read_again_then_only_what_follows_is_new() -> None:
    """A restart whose journal lost nothing takes nothing back."""
    tail = Tail()
    records: list[Record] = [intent(), fill(1)]
    tail.news(records)
    again = [*read_again(records), fill(2, trade_id="t2")]
    assert tail.news(again) == (None, [fill(2, trade_id="t2")])
    assert tail.news(read_again(again)) == (None, [])


def test_tail_when_a_crash_took_the_last_rows_then_everything_is_told_again() -> None:
    """With how many stood: the fill at lsn 2 is another one now."""
    tail = Tail()
    tail.news([intent(), fill(1), fill(2, trade_id="t2")])
    again: list[Record] = [*read_again([intent()]), fill(3, trade_id="t3")]
    assert tail.news(again) == (1, again)


def test_tail_when_nothing_is_folded_yet_then_nothing_was_taken_back() -> None:
    """A new order manager knows no records before it has read its journal."""
    tail = Tail()
    tail.news([intent(), fill(1)])
    assert tail.news([]) == (None, [])
    assert tail.news(read_again([intent(), fill(1)])) == (None, [])
    assert tail.news([]) == (None, [])
    assert tail.news([intent()]) == (1, [intent()])


def test_checker_when_it_folds_again_then_what_it_judged_before_is_not_judged_anew() -> None:
    """The first look found the fill; behind a crash only a new one counts."""
    bench = Bench(NoFills())
    broken(bench.step(intent(), fill(1), fill(2, trade_id="t2")), "I-99", "none", "2")
    assert bench.crash(2) is None
    broken(bench.step(fill(3, trade_id="t3")), "I-99", "none", "3")


def test_newer_when_a_list_grows_then_its_end_is_handed_out_once() -> None:
    """Lists of the witness only grow."""
    newer, items = Newer(), [1, 2]
    assert (newer.of(items), newer.of(items)) == ([1, 2], ())
    items.append(3)
    assert newer.of(items) == [3]


def test_checkers_when_made_then_fresh_and_one_for_each_invariant_of_the_stages_so_far() -> None:
    """I-28, I-42 and I-46 are tests; what is missing besides belongs to later stages."""
    found = [one.invariant for one in all_checkers()]
    later = (19, 21, 22, 28, 34, 40, 42)
    numbered = [f"I-{number:02}" for number in range(1, 46) if number not in later]
    assert list(dict.fromkeys(found)) == [
        *numbered,
        "R4",
        "ST-03",
        "MODE",
        "TCA",
        "THEN",
        "GROUP",
        "E-03",
        "E-04",
        "E-05",
    ]
    assert all(one is not other for one, other in zip(all_checkers(), all_checkers(), strict=True))
    assert all(make.__doc__ and make.__doc__.startswith(make.invariant) for make in CHECKERS)
