"""MODE: nothing is decided against a mode that holds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.order_builders import BASE, CID, external, fill, intent, report
from tests.unit.sim.checker_bench import BTC, T0, Bench, D, broken, opening
from tradefan.messages.account import Mode
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import Intent, Kill, ModeChange, Record
from tradefan.sim.checkers.modes import Obeyed
from tradefan.units import ClientOrderId, OwnerId

SCOPES = ("all", BTC, "paper:main", "trend", "paper", "binance")
API = OwnerId("api")


def change(mode: Mode, scope: str = BTC, cause: str = "feed") -> ModeChange:
    return ModeChange(T0, scope, cause, mode, "", "")


def sale(qty: Any, name: str = "c2", **changes: Any) -> Intent:
    fields: dict[str, Any] = {"reserve_asset": BASE, "reserve_per_unit": D(1), **changes}
    return intent(client_order_id=ClientOrderId(name), side="sell", order_qty=D(qty), **fields)


def bought(qty: Any) -> tuple[Record, ...]:
    """Return an order of the strategy that is filled."""
    return intent(order_qty=D(qty)), report(OrderStatus.FILLED, qty), fill(qty)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("mode", ["CANCEL_ONLY", "NO_NEW_RISK", "REDUCE_ONLY"])
def test_intent_when_a_mode_of_one_of_its_scopes_forbids_it_then_broken(scope: str, mode: Mode) -> None:
    """A buy from flat is new risk in each of them."""
    bench = Bench(Obeyed())
    assert bench.step(change(mode, scope)) is None
    broken(bench.step(intent()), "MODE", CID, f"buy 10 by trend in {{'{scope}': {{'feed': '{mode}'}}}}")


def test_intent_when_killed_or_several_causes_hold_then_the_tightest_counts() -> None:
    """Whatever came last: not even what reduces is let through by CANCEL_ONLY."""
    for forbids in (change("CANCEL_ONLY"), Kill(T0, "all", "x", "me")):
        bench = Bench(Obeyed())
        assert bench.step(*bought(10), forbids, change("NO_NEW_RISK", cause="link")) is None
        broken(bench.step(sale(1)), "MODE", "no INTENT", "sell 1 by trend")


def test_intent_when_the_mode_is_elsewhere_comes_behind_it_or_is_over_then_quiet() -> None:
    """What counts is what stands before it among the records."""
    bench = Bench(Obeyed())
    assert bench.step(change("CANCEL_ONLY", "binance:ETH/USDT"), intent(), change("CANCEL_ONLY")) is None
    assert bench.step(change("NORMAL")) is None
    assert bench.step(intent(client_order_id="c2")) is None


def test_sale_when_risk_may_only_shrink_then_all_that_is_on_sale_fits_into_what_is_held() -> None:
    """Of the strategy and of the account; a replacement counts for the order whose place it takes."""
    bench = Bench(Obeyed())
    assert bench.step(opening("BTC", 5), *bought(10), change("NO_NEW_RISK"), sale(6)) is None
    assert bench.step(sale(7, "c3", replaces=ClientOrderId("c2"))) is None
    broken(bench.step(sale(5, "c4")), "MODE", "only what reduces", "sell 5")


def test_sale_when_others_have_the_rest_on_sale_then_the_account_has_no_room_for_it() -> None:
    """What others sell brings the account to flat, so nothing of the strategy's reduces it any more."""
    bench = Bench(Obeyed())
    foreign = external(side="sell", order_qty=D(8), reserve_asset=BASE, reserve_per_unit=D(1))
    assert bench.step(*bought(10), foreign, change("REDUCE_ONLY"), sale(2)) is None
    broken(bench.step(sale(1, "c3")), "MODE", "only what reduces", "sell 1")


def test_sale_of_a_human_when_external_holds_it_then_quiet() -> None:
    """He may sell what the account held before: that lowers what it holds."""
    bench = Bench(Obeyed())
    assert bench.step(opening("BTC", 5), change("NO_NEW_RISK"), sale(5, owner=API)) is None
    broken(bench.step(sale(1, "c3", owner=API)), "MODE", "only what reduces", "sell 1 by api")


def test_buy_when_short_then_it_may_come_back_to_flat() -> None:
    """What has traded and is not booked counts as held, or as sold."""
    bench = Bench(Obeyed())
    assert bench.step(sale(4), report(OrderStatus.FILLED, 4, client_order_id="c2")) is None
    assert bench.step(change("NO_NEW_RISK"), intent(order_qty=D(4))) is None
    broken(bench.step(intent(client_order_id="c3", order_qty=D(1))), "MODE", "only what reduces", "buy 1")
