"""I-20: how often an owner sends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.order_builders import OWNER, intent
from tests.unit.sim.checker_bench import T0, Bench, broken, config_of
from tradefan.messages.records import Intent
from tradefan.sim.checkers.rates import OrdersPerSecond
from tradefan.units import MS, SECOND, ClientOrderId, OwnerId

LATE_NS = 2 * SECOND


def bench_with(limit: int = 2) -> Bench:
    """Return a bench in which an owner may make so many orders a second."""
    return Bench(OrdersPerSecond(), config=config_of(orders_per_second=limit))


def create(name: str, at_ns: int, **changes: Any) -> Intent:
    """Return an INTENT that was decided at an instant and may leave for 2 s."""
    fields = {"at_ns": at_ns, "not_after_ns": at_ns + LATE_NS, **changes}
    return intent(client_order_id=ClientOrderId(name), **fields)


def send(bench: Bench, *at_ns: int, **changes: Any) -> None:
    """Decide on creates at these instants; all of them leave now."""
    for each_ns in at_ns:
        name = f"c{len(bench.seen.records)}"
        bench.append(create(name, each_ns, **changes))
        bench.write(name)


def test_creates_when_no_second_has_too_many_then_quiet() -> None:
    """Two in each second, which begins behind its first instant; another owner has its own."""
    bench = bench_with()
    send(bench, T0, T0 + SECOND - 1, T0 + SECOND)
    send(bench, T0, T0, owner=OwnerId("other"))
    assert bench.look() is None


def test_creates_when_a_second_has_too_many_then_broken() -> None:
    """I-20: the third within a nanosecond less than a second."""
    bench = bench_with()
    send(bench, T0, T0 + 1, T0 + SECOND - 1)
    broken(bench.look(), "I-20", f"at most 2 creates of {OWNER} up to c2 decided in a second", "3")


def test_creates_when_seen_one_by_one_then_all_count_together() -> None:
    """I-20: each step brings one, and the checker looks between them."""
    bench = bench_with()
    for number in range(3):
        send(bench, T0 + number)
        violation = bench.look(MS)
        assert (violation is None) == (number < 2)


@pytest.mark.parametrize("op", ["create", "replace"])
def test_request_when_it_is_no_create_that_has_left_then_it_does_not_count(op: Any) -> None:
    """I-20: a cancel, and what the link refused; a replacement that has left is a create, too."""
    bench = bench_with()
    send(bench, T0, T0)
    bench.write("c0", "cancel")
    bench.append(create("refused", T0), create("third", T0))
    bench.write("refused", op, refused="LATCHED")
    assert bench.look(MS) is None
    bench.write("third", op)
    broken(bench.look(), "I-20", "up to third", "3")


def test_limit_when_it_is_lowered_then_it_binds_from_the_next_order_on() -> None:
    """I-20: three under a limit of three, and then one under a limit of two."""
    bench = bench_with(3)
    bench.seen.configs["low"] = config_of(orders_per_second=2)
    send(bench, T0, T0, T0)
    send(bench, T0 + SECOND, config_id="low")
    assert bench.look(MS) is None
    send(bench, T0 + SECOND + 1, config_id="low")
    assert bench.look(MS) is None
    send(bench, T0 + SECOND + 2, config_id="low")
    broken(bench.look(), "I-20", "at most 2 creates", "3")


def test_creates_when_another_life_makes_more_then_both_count_in_the_worlds_time() -> None:
    """I-20: the successor's clock is an hour ahead, and its order half a second behind the last."""
    hour_ns = 3_600 * SECOND
    bench = bench_with()
    send(bench, T0, T0)
    bench.seen.skews = [(1, 0), (3, hour_ns)]
    bench.crash(keep=2)
    send(bench, T0 + hour_ns + SECOND // 2)
    broken(bench.look(), "I-20", f"at most 2 creates of {OWNER}", "3")


def test_creates_when_bunched_by_the_disk_then_quiet_up_to_what_their_deadline_allows() -> None:
    """I-20: of three seconds six may leave at once, and the link sees a seventh whatever its INTENT says."""
    bench = bench_with()
    send(bench, *(T0 + second * SECOND for second in (-2, -2, -1, -1, 0, 0)))
    assert bench.look(0) is None
    send(bench, T0 - 10 * SECOND)
    broken(bench.look(), "I-20", f"at most 6 creates of {OWNER} up to c6 written in a second", "7")
