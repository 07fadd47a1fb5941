"""I-12, I-13, I-14: reference, collar, filters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.order_builders import CID, intent, parent, report
from tests.unit.sim.checker_bench import BTC, T0, Bench, D, broken, config_of, epoch
from tradefan.messages.orders import OrderStatus
from tradefan.sim.checkers.market import REREAD_NS, UNHEARD_MAX, FittingOrders, FreshReference, WithinCollar
from tradefan.units import SECOND

S = OrderStatus
TOO_OLD = 10 * SECOND + 1


@pytest.mark.parametrize(
    "changes",
    [{"reference_age_ns": 10 * SECOND}, {"reference_quality": "SUSPECT"}, {"time_in_force": "IOC"}],
    ids=["just fresh", "passive on a suspect feed", "taking on a live feed"],
)
def test_intent_when_its_reference_is_fresh_and_trusted_then_quiet(changes: dict[str, Any]) -> None:
    """I-12: up to 10 s old; a passive order may be placed on a SUSPECT feed."""
    assert Bench(FreshReference()).step(intent(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"reference_age_ns": TOO_OLD}, f"up to {10 * SECOND} ns old", str(TOO_OLD)),
        ({"reference_quality": "STALE"}, f"a LIVE or SUSPECT feed for {CID}", "STALE"),
        ({"reference_quality": "UNTRUSTED"}, "a LIVE or SUSPECT feed", "UNTRUSTED"),
        ({"reference_quality": "SUSPECT", "time_in_force": "IOC"}, f"a LIVE feed for {CID}", "SUSPECT"),
    ],
)
def test_intent_when_its_reference_is_old_or_not_trusted_then_broken(
    changes: dict[str, Any], expected: str, found: str
) -> None:
    """I-12: what it says of itself."""
    broken(Bench(FreshReference()).step(intent(**changes)), "I-12", expected, found)


def test_intent_when_its_own_config_allows_older_ones_then_that_one_counts() -> None:
    """I-12: the configuration that approved it, not today's."""
    bench = Bench(FreshReference())
    bench.seen.configs["slow"] = config_of(reference_age_max=20 * SECOND)
    assert bench.step(intent(config_id="slow", reference_age_ns=TOO_OLD)) is None


def test_intent_when_the_market_was_silent_for_longer_than_it_says_then_broken() -> None:
    """I-12: the world knows when a price was last shown; in its own time, the INTENT's is 7 ns ahead."""
    for age in (5, 4):
        bench = Bench(FreshReference())
        bench.seen.skew_ns = 7
        bench.seen.heard[BTC] = T0 - 12
        violation = bench.step(intent(at_ns=T0, reference_age_ns=age))
        if age == 5:
            assert violation is None
        else:
            broken(violation, "I-12", "at least 5 ns old", "4 ns")


def test_intent_when_no_price_was_ever_shown_then_broken() -> None:
    """I-12: a default price does not exist."""
    bench = Bench(FreshReference())
    bench.seen.heard[BTC.replace("BTC", "ETH")] = T0  # type: ignore[index]
    broken(bench.step(intent()), "I-12", f"a price of {BTC} before {CID}", "none was ever shown")


@pytest.mark.parametrize(
    "changes",
    [
        {"limit_price": D(102)},
        {"limit_price": D(98), "side": "sell"},
        {"limit_price": D(150), "side": "sell"},
        {"limit_price": D("100.5"), "collar_px": D("100.5")},
        {"limit_price": D("99.5"), "collar_px": D("99.5"), "side": "sell"},
    ],
)
def test_price_when_within_band_and_collar_then_quiet(changes: dict[str, Any]) -> None:
    """I-13: 200 bps of 100 on the side that loses, none on the other; 50 bps where it takes."""
    limit = None if "collar_px" in changes else changes["limit_price"]
    bench = Bench(WithinCollar())
    assert bench.step(parent(limit_price=limit), intent(**changes)) is None


@pytest.mark.parametrize(("side", "price", "worst"), [("buy", "102.01", "102"), ("sell", "97.99", "98")])
def test_price_when_beyond_the_band_then_broken(side: str, price: str, worst: str) -> None:
    """I-13: 200 bps around the reference of 100, whatever the parent's own limit allows."""
    bench = Bench(WithinCollar())
    child = intent(limit_price=D(price), side=side)
    violation = bench.step(parent(limit_price=D(price)), child)
    broken(violation, "I-13", f"{side} of c1 within its config's band {worst}", price)


@pytest.mark.parametrize(
    ("side", "price", "collar", "expected"),
    [
        ("buy", "100.4", "100.3", "buy of c1 within its collar 100.3"),
        ("sell", "99.6", "99.7", "sell of c1 within its collar 99.7"),
        ("buy", "100.6", "100.6", "a collar of c1 within 100.5"),
        ("sell", "99.4", "99.4", "a collar of c1 within 99.5"),
        ("buy", "100", None, "a collar or a limit for c1"),
    ],
)
def test_price_when_beyond_its_collar_or_without_one_then_broken(
    side: str, price: str, collar: str | None, expected: str
) -> None:
    """I-13: a market parent's child has a collar within 50 bps, and keeps it."""
    bench = Bench(WithinCollar())
    child = intent(limit_price=D(price), side=side, collar_px=None if collar is None else D(collar))
    broken(bench.step(parent(), child), "I-13", expected, price if collar else "neither")


def test_price_when_beyond_its_parents_limit_then_broken() -> None:
    """I-13: whatever band and collar allow."""
    bench = Bench(WithinCollar())
    child = intent(limit_price=D("100.2"))
    broken(bench.step(parent(limit_price=D("100.1")), child), "I-13", "its parent's limit 100.1", "100.2")


def test_collar_when_its_parent_sets_another_then_that_one_counts() -> None:
    """I-13: `collar_bps` may be written as a string in a parent's settings."""
    bench = Bench(WithinCollar())
    wide = parent(settings={"collar_bps": "150"})
    assert bench.step(wide, intent(limit_price=D("101.5"), collar_px=D("101.5"))) is None


def reject(bench: Bench, name: str = CID, text: str = "Filter failure: LOT_SIZE") -> None:
    bench.venue.reject(name, text)


def test_reject_when_by_no_filter_then_quiet() -> None:
    """I-14: funds, post-only and the like are no filters; what is foreign is not ours."""
    bench = Bench(FittingOrders())
    bench.append(intent())
    reject(bench, text="Account has insufficient balance")
    reject(bench, "web_1")
    assert bench.look() is None


def test_reject_when_the_filters_never_changed_then_broken() -> None:
    """I-14: an order that does not fit was planned wrongly."""
    bench = Bench(FittingOrders())
    bench.append(intent(at_ns=T0))
    reject(bench)
    broken(bench.look(), "I-14", f"{CID} within the filters of {BTC}", "LOT_SIZE', and they never changed")


def test_reject_when_a_change_found_it_on_its_way_then_quiet_and_later_broken() -> None:
    """I-14: what was decided before the change, or up to 60 s behind the first reported reject."""
    bench = Bench(FittingOrders())
    bench.append(intent(at_ns=bench.seen.now_ns - 1))
    bench.fault("filter_change")
    reject(bench)
    assert bench.step(report(S.REJECTED, reason="FILTER: Filter failure: LOT_SIZE")) is None
    reported = bench.seen.now_ns
    for late in (0, 1):
        bench.append(intent(client_order_id=f"d{late}", at_ns=reported + REREAD_NS + late))
        reject(bench, f"d{late}")
        violation = bench.look()
        if late:
            broken(violation, "I-14", "d1 within the filters", "60.0 s behind the first reject")
        else:
            assert violation is None


@pytest.mark.parametrize("restart", [0, 1], ids=["the process", "the order manager"])
def test_reject_when_the_rules_are_forgotten_then_only_a_new_process_may(restart: int) -> None:
    """I-14: a process begins with the rules that it was wired with, a restart inside it with those it had."""
    bench = Bench(FittingOrders())
    bench.append(intent(at_ns=bench.seen.now_ns - 1))
    bench.fault("filter_change")
    reject(bench)
    assert bench.step(report(S.REJECTED, reason="FILTER: PRICE_FILTER")) is None
    assert bench.step(epoch(2, restart=restart)) is None
    bench.append(intent(client_order_id="d1", at_ns=bench.seen.now_ns + 2 * REREAD_NS))
    reject(bench, "d1")
    violation = bench.look()
    if restart:
        broken(violation, "I-14", f"d1 within the filters of {BTC}", "121.0 s behind the first reject")
    else:
        assert violation is None


def test_reject_when_the_rules_could_not_be_read_again_then_quiet() -> None:
    """I-14: while the public market is in trouble nobody can ask for rules."""
    bench = Bench(FittingOrders())
    bench.append(intent(at_ns=bench.seen.now_ns - 1))
    bench.fault("filter_change")
    reject(bench)
    assert bench.step(report(S.REJECTED, reason="FILTER: PRICE_FILTER")) is None
    bench.fault("market_duplicated")
    bench.fault("market_refused")
    bench.append(intent(client_order_id="d1", at_ns=bench.seen.now_ns + 2 * REREAD_NS))
    reject(bench, "d1")
    assert bench.look() is None
    bench.append(intent(client_order_id="d2", at_ns=bench.seen.now_ns + 2 * REREAD_NS + 1))
    reject(bench, "d2")
    broken(bench.look(), "I-14", "d2 within the filters", "s behind the first reject")


def test_reject_when_the_process_began_behind_the_change_then_broken_at_once() -> None:
    """I-14: it has read the rules that hold; what an earlier one had decided is still on its way."""
    for made_by_it in (False, True):
        bench = Bench(FittingOrders())
        bench.fault("filter_change")
        born = bench.seen.born_ns = bench.seen.now_ns + 1
        assert bench.step(epoch(2)) is None
        bench.append(intent(at_ns=born if made_by_it else born - 1))
        reject(bench)
        violation = bench.look()
        if made_by_it:
            broken(violation, "I-14", f"{CID} within", "by a process that began behind the change")
        else:
            assert violation is None


def test_rejects_when_none_is_ever_reported_then_broken_in_the_end() -> None:
    """I-14: answers get lost, but not those of twenty orders in a row."""
    bench = Bench(FittingOrders())
    bench.fault("filter_change")
    for number in range(UNHEARD_MAX + 1):
        bench.append(intent(client_order_id=f"d{number}", at_ns=bench.seen.now_ns + 1))
        reject(bench, f"d{number}")
        violation = bench.look()
        assert (violation is None) == (number < UNHEARD_MAX)
    broken(violation, "I-14", f"d20 within the filters of {BTC}", "number 21 of which none was reported")
