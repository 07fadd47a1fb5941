"""I-11: the worst case at the venue, and REDUCE_ONLY where something else moved it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.order_builders import ACCOUNT, BASE, BTC, CID, OWNER, USDT, fill, intent, report
from tests.unit.runtime.players import build, kernel_of
from tests.unit.sim.checker_bench import T0, Bench, D, broken, config_of, opening
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import Assign, Bust, ExternalOrder, Intent, ModeChange, Transfer
from tradefan.sim.checkers.limits import WorstCase
from tradefan.units import EXTERNAL, ClientOrderId, OwnerId, TradeId

S = OrderStatus
OTHER = OwnerId("other")


def bench_with(*, honest: bool = True, **risk: Any) -> Bench:
    """Return a bench whose limits are 10 BTC in a position, or as given, and a wide notional."""
    wide = {"max_position": D(10), "max_position_notional": D(100_000)}
    bench = Bench(WorstCase(), honest=honest, config=config_of(**{**wide, **risk}))
    kernel = kernel_of(build({"a": {}}))
    kernel.config = bench.seen.config
    bench.seen.kernel = kernel
    return bench


def buy(qty: Any, name: str = "c2", **changes: Any) -> Intent:
    """Return the INTENT of another buy."""
    return intent(client_order_id=ClientOrderId(name), order_qty=D(qty), **changes)


def test_creates_when_within_the_limit_then_quiet() -> None:
    """4 traded, 3 open, 3 on their way: 10; and one that was rejected is nothing."""
    bench = bench_with()
    bench.append(buy(9, "c0"), report(S.REJECTED, client_order_id="c0"))
    bench.append(buy(4, "c1"), fill(4), buy(3, "c2"), buy(3, "c3"))
    for name in ("c0", "c1", "c2", "c3"):
        bench.write(name)
    bench.venue.reject("c0", "no")
    bench.venue.trade(bench.venue.accept("c1", 4), 4)
    bench.venue.accept("c2", 3)
    assert bench.look() is None


def test_creates_when_written_and_unanswered_ones_are_too_many_then_broken() -> None:
    """An account's worst case counts what is on its way to the venue whole."""
    bench = bench_with()
    bench.append(buy(6, "c1", owner=OTHER), buy(5, "c2"))
    bench.write("c1")
    bench.write("c2")
    broken(bench.look(), "I-11", f"{ACCOUNT} in {BTC} with c2 at most 10", "11")


def test_creates_when_one_owner_has_too_many_then_broken_with_his_name() -> None:
    """The account sells 5 elsewhere, so that only its owner is over the limit."""
    bench = bench_with()
    short = intent(
        client_order_id="s1",
        side="sell",
        owner=OTHER,
        order_qty=D(5),
        reserve_asset=BASE,
        reserve_per_unit=D(1),
    )
    bench.append(buy(6, "c1"), short, buy(5, "c2"))
    bench.venue.trade(bench.venue.accept("c1", 6), 6)
    bench.venue.trade(bench.venue.accept("s1", 5, "sell"), 5)
    for name in ("c1", "s1", "c2"):
        bench.write(name)
    broken(bench.look(), "I-11", f"{OWNER} in {BTC} with c2 at most 10", "11")


def test_creates_when_their_worth_is_too_much_then_broken() -> None:
    """6 at the reserve price of 100 of the newest INTENT are over a notional of 550."""
    bench = bench_with(max_position_notional=D(550))
    bench.append(buy(6))
    bench.write("c2")
    broken(bench.look(), "I-11", "worth at most 550", "600")


def test_create_when_made_under_another_config_then_its_own_limit_counts() -> None:
    """The INTENT names the configuration that approved it."""
    bench = bench_with()
    bench.seen.configs["wide"] = config_of(max_position=D(20), max_position_notional=D(100_000))
    bench.append(buy(11, config_id="wide"), reduce_only(BTC))
    bench.write("c2")
    assert bench.look() is None


@pytest.mark.parametrize("known", [True, False])
def test_create_when_others_hold_a_part_then_what_was_known_counts(known: bool) -> None:
    """5 that somebody brought count from when we knew them: before that nobody could."""
    bench = bench_with()
    brought = Transfer(T0, ACCOUNT, BASE, D(5), "two looks agree")
    records = (brought, buy(6)) if known else (buy(6), brought)
    bench.append(*records, reduce_only(BTC))
    bench.write("c2")
    violation = bench.look()
    if known:
        broken(violation, "I-11", "at most 10", "11")
    else:
        assert violation is None


def test_create_when_a_human_gave_its_owner_a_part_then_that_counts_as_the_owners() -> None:
    """5 assigned from what was there before, and 6 more: 11 of the account and of the owner."""
    bench = bench_with()
    given = Assign(T0, ACCOUNT, BTC, BASE, EXTERNAL, OWNER, D(5), D(100), "me")
    bench.append(opening("BTC", 5), given, buy(5, "c1"))
    bench.write("c1")
    assert bench.look() is None
    bench.append(buy(1))
    bench.write("c2")
    broken(bench.look(), "I-11", "at most 10", "11")


def test_create_when_the_venue_has_taken_a_sale_back_unknown_to_us_then_nothing_is_concluded() -> None:
    """A bust that we have not heard of moves the position without any order; T's rule takes over."""
    for known in (True, False):
        bench = bench_with()
        bench.append(buy(10, "c1"), fill(10), sell(10), SOLD, *((BUST,) if known else ()), buy(1, "c2"))
        bench.venue.trade(bench.venue.accept("c1", 10), 10)
        bench.venue.bust(bench.venue.trade(bench.venue.accept("s1", 10, "sell"), 10))
        for name in ("c1", "s1", "c2"):
            bench.write(name)
        violation = bench.look()
        if known:
            broken(violation, "I-11", "at most 10", "11")
        else:
            assert violation is None


def sell(qty: Any, **changes: Any) -> Intent:
    """Return the INTENT of a sale."""
    funds = {"reserve_asset": BASE, "reserve_per_unit": D(1)}
    return intent(client_order_id=ClientOrderId("s1"), side="sell", order_qty=D(qty), **funds, **changes)


SOLD = fill(10, trade_id="t2", side="sell", client_order_id=ClientOrderId("s1"))
BUST = Bust(T0, ACCOUNT, BTC, TradeId("t2"), SOLD)


def test_creates_when_a_liar_has_more_then_r5_is_i_16s() -> None:
    """With a liar only what we know is held against the limit."""
    bench = bench_with(honest=False)
    bench.append(buy(6, "c1"), report(S.EXPIRED), buy(5))
    bench.write("c1")
    bench.write("c2")
    assert bench.look() is None


# --- REDUCE_ONLY in the step that learns it ------------------------------------------------------


def reduce_only(scope: str, mode: Any = "REDUCE_ONLY") -> ModeChange:
    return ModeChange(T0, scope, "over limit @x", mode, "MODE_REDUCE_ONLY", "x")


FOREIGN = ExternalOrder(
    T0, ACCOUNT, BTC, ClientOrderId("web_1"), "7", "buy", D(7), D(0), D(90), D(90), USDT, D(90), orphan=False
)


@pytest.mark.parametrize(
    "news",
    [
        (fill(12),),
        (report(S.FILLED, 12),),
        (Transfer(T0, ACCOUNT, BASE, D(7), "x"),),
        (FOREIGN,),
    ],
    ids=["overfill", "reported overfill", "transfer", "foreign order"],
)
@pytest.mark.parametrize("mode", ["REDUCE_ONLY", "CANCEL_ONLY", "NO_NEW_RISK", None])
def test_worst_case_when_something_else_moves_it_then_reduce_only_in_the_same_step(
    news: tuple[Any, ...], mode: str | None
) -> None:
    """With 10 of 10 ordered each of these is too much; NO_NEW_RISK does not cancel what rests."""
    bench = bench_with(max_position=D(10))
    assert bench.step(intent()) is None
    assert bench.step(*news, *((reduce_only(BTC, mode),) if mode else ())) is None
    since = bench.seen.now_ns
    violation = bench.look()
    if mode in ("REDUCE_ONLY", "CANCEL_ONLY"):
        assert violation is None
    else:
        broken(
            violation, "I-11", f"REDUCE_ONLY for paper:main in {BTC}, over its limit since {since}", "modes"
        )


def test_worst_case_when_the_limit_is_lowered_under_it_then_reduce_only_in_the_same_step() -> None:
    """The configuration that was swapped in counts at once; of an owner his own scope is enough."""
    for scope in (OWNER, None):
        bench = bench_with()
        bench.append(buy(4, "c1"), fill(4), buy(4, "c3", owner=OTHER))
        assert bench.look() is None
        assert bench.seen.kernel is not None
        bench.seen.kernel.config = config_of(max_position=D(3), max_position_notional=D(100_000))
        modes = (reduce_only(OTHER), reduce_only(OWNER), reduce_only(BTC)) if scope else ()
        assert bench.step(*modes) is None
        violation = bench.look()
        if scope:
            assert violation is None
        else:
            broken(violation, "I-11", "REDUCE_ONLY for", "modes {}")


def test_worst_case_when_it_comes_back_inside_at_once_then_quiet() -> None:
    """Nothing is left to reduce when the next step begins."""
    bench = bench_with()
    assert bench.step(intent(), FOREIGN) is None
    assert bench.step(report(S.CANCELED, client_order_id="web_1")) is None
    assert bench.look() is None


def test_worst_case_when_no_order_manager_runs_then_nothing_is_due() -> None:
    """What the journal tells is judged when it has been folded."""
    bench = bench_with()
    bench.seen.oms.live.running = False
    assert bench.step(intent(), fill(12)) is None
    assert bench.look() is None
    assert CID in bench.seen.oms.trading.orders
