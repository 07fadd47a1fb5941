"""I-33, I-44, I-45: free funds, an owner's own, and two books."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.core.order_builders import ACCOUNT, BASE, BTC, CID, OWNER, USDT, fill, intent, report
from tests.unit.sim.checker_bench import Bench, D, broken, desk_with, opening
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import FillInferred, FillReplaced, Intent, ModeChange, Transfer
from tradefan.sim.checkers.funds import HOLD_NS, EqualBooks, OwnFunds, WithinFree
from tradefan.units import EXTERNAL, MINUTE, SECOND, ClientOrderId, OwnerId

S = OrderStatus
API, CLI = OwnerId("api"), OwnerId("cli")


def sale(qty: Any, name: str = "s1", **changes: Any) -> Intent:
    """Return the INTENT of a sale."""
    return intent(
        client_order_id=ClientOrderId(name),
        side="sell",
        order_qty=D(qty),
        reserve_asset=BASE,
        reserve_per_unit=D(1),
        **changes,
    )


def test_create_when_funds_cover_it_with_all_others_then_quiet() -> None:
    """I-33: 2,002 USDT carry two buys of 10 at 100.1, and a third one when the first has ended."""
    bench = Bench(WithinFree())
    third = intent(client_order_id="c3")
    assert bench.step(opening("USDT", 2002), intent(), intent(client_order_id="c2")) is None
    assert bench.step(report(S.CANCELED), third) is None


def test_create_when_others_have_reserved_the_funds_then_broken() -> None:
    """I-33: the second buy would need 2,002 of 2,000."""
    bench = Bench(WithinFree())
    bench.append(opening("USDT", 2000), intent(), intent(client_order_id="c2"))
    broken(bench.look(), "I-33", "at most 2000 USDT of paper:main reserved with c2", "2002")


def test_create_when_what_it_spends_has_been_spent_then_broken() -> None:
    """I-33: a fill has taken the money that the reservation no longer holds."""
    bench = Bench(WithinFree())
    assert bench.step(opening("USDT", 1500), intent(), fill(10)) is None
    broken(bench.step(intent(client_order_id="c2")), "I-33", "at most 500 USDT", "1001.0")


def test_replacement_when_funds_are_there_once_then_quiet() -> None:
    """I-33: of an order and the one that takes its place one is real."""
    bench = Bench(WithinFree())
    replacement = intent(client_order_id="c2", replaces=CID)
    assert bench.step(opening("USDT", 1001), intent(), replacement) is None


def test_sale_when_its_owner_holds_it_then_quiet() -> None:
    """I-44: 10 bought by fills: 6 on sale, then 4, of which 1 comes back and is sold again."""
    bench = Bench(OwnFunds())
    assert bench.step(intent(), fill(10), sale(6), sale(4, "s2")) is None
    rest = sale(1, "s3")
    assert bench.step(fill(3, trade_id="t2", side="sell", client_order_id=ClientOrderId("s2"))) is None
    assert bench.step(report(S.CANCELED, 3, client_order_id="s2"), rest) is None


def test_sale_when_it_draws_on_what_was_there_before_then_broken() -> None:
    """I-44: the account holds 100 from before; its strategy holds nothing of them."""
    bench = Bench(OwnFunds())
    assert bench.step(opening("BTC", 100), intent(), fill(2)) is None
    broken(bench.step(sale(3)), "I-44", f"{OWNER} in {BTC} to sell at most 2", "s1 3")


def test_sale_when_another_sale_has_it_already_then_broken() -> None:
    """I-44: what is on sale, and what has traded without being booked, is no more to be sold."""
    bench = Bench(OwnFunds())
    assert bench.step(intent(), fill(10), sale(6)) is None
    assert bench.step(report(S.FILLED, 6, client_order_id="s1")) is None
    broken(bench.step(sale(5, "s2")), "I-44", "to sell at most 4", "s2 5")


def test_sale_when_the_fee_of_what_it_sells_is_still_to_come_then_that_fee_is_not_sold() -> None:
    """I-44: 10 bps of 10 that were bought may be taken in them, while no trade, or an inferred one, tells."""
    told = FillInferred(1, fill(10, trade_id="inferred c1 2"))
    for unsettled in ((report(S.FILLED, 10),), (report(S.FILLED, 10), told)):
        bench = Bench(OwnFunds())
        assert bench.step(opening("BTC", 100), intent(), *unsettled, sale("9.99")) is None
        bench = Bench(OwnFunds())
        assert bench.step(opening("BTC", 100), intent(), *unsettled) is None
        broken(bench.step(sale(10)), "I-44", "to sell at most 9.99", "s1 10")
    bench = Bench(OwnFunds())
    real = (FillReplaced(1, ACCOUNT, BTC, told.fill.trade_id, D(10)), fill(10))
    assert bench.step(intent(), report(S.FILLED, 10), told, *real, sale(10)) is None


def test_sale_when_a_trade_is_inferred_for_good_then_what_its_fee_might_have_taken_is_sold() -> None:
    """I-44: no trade comes any more 10 min behind the inferred one."""
    told = FillInferred(1, fill(10, trade_id="inferred c1 2"))
    late = sale(10, at_ns=1 + 10 * MINUTE)
    bench = Bench(OwnFunds())
    assert bench.step(opening("BTC", 100), intent(), report(S.FILLED, 10), told, late) is None
    bench = Bench(OwnFunds())
    assert bench.step(opening("BTC", 100), intent(), report(S.FILLED, 10), told) is None
    broken(bench.step(sale(10, at_ns=10 * MINUTE)), "I-44", "to sell at most 9.99", "s1 10")


def test_sale_when_a_humans_then_it_may_draw_on_external_once() -> None:
    """I-44: whoever sits at API or CLI sells what the account held before, as far as it is there."""
    bench = Bench(OwnFunds())
    assert bench.step(opening("BTC", 100), sale(60, owner=API), sale(40, "s2", owner=CLI)) is None
    broken(bench.step(sale(1, "s3", owner=API)), "I-44", f"api in {BTC} to sell at most 0", "s3 1")


def test_sale_when_a_human_draws_on_what_a_strategy_holds_then_broken() -> None:
    """I-44: the account has 14, of which 10 are the strategy's."""
    bench = Bench(OwnFunds())
    assert bench.step(opening("BTC", 4), intent(), fill(10), sale(4, owner=CLI)) is None
    broken(bench.step(sale(1, "s2", owner=CLI)), "I-44", f"cli in {BTC} to sell at most 0", "s2 1")


def test_sale_when_it_replaces_another_then_that_one_is_not_counted() -> None:
    """I-44: of a sale and the one that takes its place one is real."""
    bench = Bench(OwnFunds())
    assert bench.step(intent(), fill(10), sale(10), sale(10, "s2", replaces="s1")) is None


def test_owners_at_rest_when_they_add_up_then_quiet_else_broken() -> None:
    """I-44, Q: the account's net is the sum over its owners."""
    bench = Bench(OwnFunds())
    bench.append(intent(), fill(4), fill(3, trade_id="t2", owner=EXTERNAL, client_order_id=None))
    assert bench.rest() is None
    bench.seen.oms.trading.ledger.positions[ACCOUNT][OWNER][BTC].qty = D(5)
    broken(bench.rest(), "I-44", f"{ACCOUNT} {BTC} net 7", "its owners' sum 8")


def two_books() -> Bench:
    """Return 4 BTC bought for 400 of 1,000 USDT, and a desk that knows it."""
    bench = Bench(EqualBooks())
    bench.append(opening("USDT", 1000), intent(), fill(4))
    bench.seen.desk = desk_with({OWNER: {BTC: D(4)}}, {BASE: D(4), USDT: D(600)})
    return bench


def test_books_when_equal_then_quiet() -> None:
    """I-45: positions by owner and assets by account, whatever zeros one of them keeps."""
    bench = two_books()
    bench.seen.desk.accounts[ACCOUNT].book.held[API] = {BTC: D(0)}
    assert bench.look() is None
    assert bench.rest() is None


@pytest.mark.parametrize(
    ("ago", "told", "quiet"), [(0, 600, True), (0, 550, True), (0, 649, False), (31, 600, False)]
)
def test_books_at_rest_when_money_has_just_come_then_the_desk_may_not_know_yet(
    ago: int, told: int, quiet: bool
) -> None:
    """I-45, Q: 50 went and 100 came; of the newest within 30 s the desk may lack each, and nothing else."""
    bench = two_books()
    bench.seen.desk.accounts[ACCOUNT].book.assets[USDT] = D(told)
    for qty in (-50, 100):
        bench.append(Transfer(bench.seen.now_ns - ago * SECOND, ACCOUNT, USDT, D(qty), "x"))
    violation = bench.rest()
    if quiet:
        assert violation is None
    else:
        broken(violation, "I-45", "USDT 650", f"{told} in the desk's book")


def test_books_at_rest_when_a_position_or_an_asset_differs_then_broken() -> None:
    """I-45, Q: both are named with both values."""
    bench = two_books()
    bench.seen.desk.accounts[ACCOUNT].book.held[OWNER][BTC] = D(3)
    broken(bench.rest(), "I-45", f"('{OWNER}', '{BTC}') 4", "3 in the desk's book")
    bench = two_books()
    bench.seen.desk.accounts[ACCOUNT].book.assets[USDT] = D(601)
    broken(bench.rest(), "I-45", "USDT 600", "601 in the desk's book")


def test_books_at_rest_when_the_desk_has_none_then_broken() -> None:
    """I-45, Q: a desk that is down, or still asks, compares nothing."""
    bench = two_books()
    bench.seen.desk.accounts[ACCOUNT].book = None
    broken(bench.rest(), "I-45", "the desk's book of paper:main", "None")
    bench.seen.desk = None
    broken(bench.rest(), "I-45", "a risk desk", "None")


def test_difference_when_it_lasts_then_its_instrument_is_on_hold_within_30_s() -> None:
    """I-45: however it came about; a hold, or equal books, end the matter."""
    for cure in ("hold", "equal", None):
        bench = two_books()
        held = bench.seen.desk.accounts[ACCOUNT].book.held[OWNER]
        held[BTC] = D(3)
        assert bench.look() is None
        since = bench.seen.now_ns
        assert bench.checker.due_ns == since + HOLD_NS + 1
        if cure == "equal":
            held[BTC] = D(4)
        hold = ModeChange(1, BTC, "books differ", "CANCEL_ONLY", "MODE_CANCEL_ONLY", "x")
        violation = bench.step(*((hold,) if cure == "hold" else ()))
        assert violation is None
        violation = bench.look(HOLD_NS)
        if cure is None:
            broken(violation, "I-45", f"{BTC} on hold: two books have differed since {since}", "modes {}")
        else:
            assert violation is None


def test_difference_when_its_account_is_not_reconciled_then_the_time_begins_when_it_is() -> None:
    """I-45: until then nobody compares; the desk needs its looks behind it."""
    bench = two_books()
    bench.seen.desk.accounts[ACCOUNT].book.held[OWNER][BTC] = D(3)
    starting = ModeChange(1, ACCOUNT, "starting", "CANCEL_ONLY", "MODE_CANCEL_ONLY", "x")
    assert bench.step(starting) is None
    assert bench.look(2 * HOLD_NS) is None
    assert bench.step(replace(starting, mode="NORMAL", code="", text="")) is None
    assert bench.look(HOLD_NS - SECOND) is None
    broken(bench.look(SECOND), "I-45", f"{BTC} on hold: two books have differed", "modes {}")


def test_difference_when_it_was_injected_then_it_counts_from_there_and_anew_behind_a_stall() -> None:
    """I-45: no record tells of it; while the process stands still nobody can compare."""
    bench = two_books()
    assert bench.look() is None
    bench.seen.desk.accounts[ACCOUNT].book.held[OWNER][BTC] = D(3)
    bench.fault("book_differs")
    assert bench.look() is None
    bench.fault("stall")
    assert bench.look(HOLD_NS + 1) is None
    since = bench.seen.now_ns
    assert bench.look(HOLD_NS) is None
    broken(bench.look(1), "I-45", f"{BTC} on hold: two books have differed since {since}", "modes {}")
