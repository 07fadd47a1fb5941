"""I-36, I-37: all well behind the heal, and cancelled orders gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.core.order_builders import (
    ACCOUNT,
    BASE,
    BTC,
    CID,
    OWNER,
    USDT,
    external,
    fill,
    intent,
    report,
)
from tests.unit.sim.checker_bench import T0, Bench, D, broken, config_of, desk_with, opening
from tradefan.actors.oms_state import AccountLive
from tradefan.config.schema import Config, FeedConfig
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.messages.records import CancelIntent, InDoubt, Kill, ModeChange
from tradefan.sim.checkers.healing import CANCELED_NS, AllWell, CancelsCome
from tradefan.units import SECOND

S = OrderStatus


def well() -> Bench:
    """Return a world in which all is well: one order rests, 4 BTC are held."""
    config = Config(feeds={BTC: FeedConfig()}, risk=config_of().risk)
    bench = Bench(AllWell(), config=config)
    bench.append(opening("USDT", 1000), intent(), report(S.NEW), fill(4))
    live = bench.seen.oms.live
    live.accounts[ACCOUNT] = AccountLive(connected=True, ready=True)
    live.qualities[BTC] = quality(Quality.LIVE)
    bench.seen.desk = desk_with({OWNER: {BTC: D(4)}}, {BASE: D(4), USDT: D(600)})
    return bench


def quality(value: Quality) -> FeedQuality:
    return FeedQuality(BTC, value, "", 0, 0)


def test_world_when_all_is_well_then_quiet_even_with_a_limit_exceeded() -> None:
    """I-36: a mode whose cause is a limit that is still exceeded may stand."""
    bench = well()
    assert bench.rest() is None
    bench.append(ModeChange(1, BTC, "over limit @x", "REDUCE_ONLY", "MODE_REDUCE_ONLY", "x"))
    assert bench.rest() is None


def _no_oms(bench: Bench) -> None:
    bench.seen.oms.live.running = False


def _doubt(bench: Bench) -> None:
    bench.append(InDoubt(1, ACCOUNT, CID, Doubt.CANCEL, "x"))


def _mode(bench: Bench) -> None:
    bench.append(ModeChange(1, "all", "journal", "CANCEL_ONLY", "MODE_CANCEL_ONLY", "the disk is full"))


def _kill(bench: Bench) -> None:
    bench.append(Kill(1, "all", "x", "me"))


def _latch(bench: Bench) -> None:
    bench.seen.latched = (BTC,)


def _account(bench: Bench) -> None:
    bench.seen.oms.live.accounts[ACCOUNT].connected = False


def _feed(bench: Bench) -> None:
    bench.seen.oms.live.qualities[BTC] = quality(Quality.STALE)


def _books(bench: Bench) -> None:
    bench.seen.desk.accounts[ACCOUNT].book.held[OWNER][BTC] = D(5)


def _desk(bench: Bench) -> None:
    bench.seen.desk = None


@pytest.mark.parametrize(
    ("trouble", "found"),
    [
        (_no_oms, "order manager up, risk desk up"),
        (_desk, "risk desk down"),
        (_doubt, "c1 in doubt: CANCEL"),
        (_mode, "all CANCEL_ONLY for 'journal' (the disk is full)"),
        (_kill, "all is killed"),
        (_latch, f"{BTC} is killed"),
        (_account, f"{ACCOUNT} connected False, ready True"),
        (_feed, f"the feed of {BTC} is STALE"),
        (_books, f"{OWNER} holds 4 of {BTC}, 5 in the desk's book"),
    ],
)
def test_world_when_something_is_not_well_then_broken(trouble: Callable[[Bench], Any], found: str) -> None:
    """I-36: each trouble is named."""
    bench = well()
    trouble(bench)
    broken(bench.rest(), "I-36", "all well", found)


@pytest.mark.parametrize(("ago_s", "honest"), [(36, True), (35, True), (96, False), (95, False)])
def test_world_when_an_order_has_ended_at_the_venue_only_then_broken_once_looks_have_told(
    ago_s: int, honest: bool
) -> None:
    """I-36: V + 30 s behind its end nothing is open in our books any more, 60 s later with a liar."""
    bench = well()
    bench.venue.honest = honest
    order = bench.venue.accept(CID)
    assert bench.rest() is None
    bench.venue.end(order)
    bench.seen.now_ns += ago_s * SECOND
    if ago_s in (36, 96):
        broken(bench.rest(), "I-36", "all well", f"{CID} PARTIALLY_FILLED, ended at the venue at {T0} ns")
    else:
        assert bench.rest() is None


HEALED = T0 + 100 * SECOND
PATIENCE = (12 + 5) * SECOND + CANCELED_NS


def cancelling(wished_ns: int) -> Bench:
    """Return an order that rests at the venue while we want it gone."""
    bench = Bench(CancelsCome())
    bench.append(intent(), report(S.NEW), CancelIntent(wished_ns, ACCOUNT, CID, "x"))
    bench.venue.accept(CID)
    bench.seen.healed_ns = HEALED
    bench.seen.now_ns = HEALED + 1_000 * SECOND
    return bench


@pytest.mark.parametrize("wished", [T0, HEALED + 50 * SECOND], ids=["before the heal", "behind it"])
@pytest.mark.parametrize("late", [0, 1])
def test_cancel_when_its_order_ended_in_time_then_quiet_else_broken(wished: int, late: int) -> None:
    """I-37: A + V + 40 s behind the later of wish and heal."""
    bench = cancelling(wished)
    due = max(wished, HEALED) + PATIENCE
    bench.venue.now_ns = due + late
    bench.venue.end(bench.venue.orders[1])
    if late:
        broken(bench.rest(), "I-37", f"{CID} terminal at the venue by {due} ns", str(due + 1))
    else:
        assert bench.rest() is None


def test_cancel_when_its_order_is_open_at_rest_then_broken() -> None:
    """I-37: it never ended."""
    broken(cancelling(T0).rest(), "I-37", f"{CID} terminal at the venue", "open")


def test_cancel_when_its_order_never_came_to_be_then_quiet_unless_it_still_may() -> None:
    """I-37: a create that was lost is gone, one that waits inside the venue is not."""
    bench = cancelling(T0)
    bench.venue.orders.clear()
    assert bench.rest() is None
    bench.venue.pending[CID] = None
    broken(bench.rest(), "I-37", f"{CID} cancelled", "it may still be accepted")


def test_order_when_nobody_wanted_it_gone_then_it_may_rest() -> None:
    """I-37: what a strategy leaves at its stop."""
    bench = Bench(CancelsCome())
    bench.append(intent(), report(S.NEW))
    bench.venue.accept(CID)
    bench.seen.healed_ns = HEALED
    assert bench.rest() is None


@pytest.mark.parametrize(("known", "ago_s", "quiet"), [("2", 40, False), ("1", 40, True), ("2", 30, True)])
def test_world_when_an_order_of_others_rests_unknown_then_broken_once_looks_have_told(
    known: str, ago_s: int, quiet: bool
) -> None:
    """I-36: it counts in exposure, under the number that the venue knows it by; ids of others come again."""
    bench = well()
    bench.append(external(venue_order_id=known))
    bench.venue.accept("web", ours=False)
    bench.seen.now_ns += ago_s * SECOND
    violation = bench.rest()
    if quiet:
        assert violation is None
    else:
        broken(violation, "I-36", "all well", "web of others rests at the venue as 1, unknown here")
