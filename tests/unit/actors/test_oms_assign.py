"""Who owns a position: a human moves a quantity, the account holds what it held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BASE,
    BTC,
    CLI,
    DESK,
    ETH,
    FACE,
    GATEWAY,
    STORE,
    TRADER,
    TREND,
    foreign,
    wiring,
)
from tradefan.core.ledger import balance, held_before, position
from tradefan.messages.control import Started
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.orders import (
    Answer,
    AssignPosition,
    OrderStatus,
    PositionMoved,
    PositionUpdate,
    Refusal,
)
from tradefan.messages.records import Assign
from tradefan.units import EXTERNAL, Asset, InstrumentId, OwnerId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    """Return a bench whose account held 5 BTC before, and whose strategy has bought 2."""
    bench = Bench().ready(USDT=1000, BTC=5)
    bench.bought(2)
    return bench


def assign(bench: Bench, qty: Any, giver: str = TREND, taker: str = API, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": BTC,
        "giver": OwnerId(giver),
        "taker": OwnerId(taker),
        "qty": D(qty),
        "price": None,
        "principal": "me",
        "req": 3,
    }
    bench.tell(AssignPosition(**{**fields, **changes}))


def qty_of(bench: Bench, owner: OwnerId) -> Decimal:
    return position(bench.trading.ledger, ACCOUNT, owner, BTC).qty


def test_assign_when_between_owners_then_one_has_less_and_the_other_more(bench: Bench) -> None:
    """ASSIGN at the giver's average; no balance moves; both owners and the risk desk hear; journaled."""
    before = dict(bench.trading.ledger.balances[ACCOUNT])
    bench.auto_durable = False
    assign(bench, "0.5")
    assert bench.made(Assign) == [
        Assign(bench.now_ns, ACCOUNT, BTC, BASE, TREND, API, D("0.5"), D(100), "me", "spot")
    ]
    assert bench.take(FACE, Answer) == []
    bench.durable()
    assert bench.one(FACE, Answer) == Answer(3, ())
    assert (qty_of(bench, TREND), qty_of(bench, API)) == (D("1.5"), D("0.5"))
    assert bench.trading.ledger.balances[ACCOUNT] == before
    assert bench.one(DESK, PositionMoved) == PositionMoved(ACCOUNT, BTC, TREND, API, D("0.5"))
    assert bench.one(TRADER, PositionUpdate).qty == D("1.5")
    again = Bench(records=bench.records)
    again.fold()
    assert again.trading.ledger == bench.trading.ledger
    bench.check()


def test_assign_when_from_external_then_the_strategy_may_sell_it(bench: Bench) -> None:
    """What the account held before is nobody's to trade until a human gives it away."""
    bench.submit(3, side="sell")
    assert bench.one(TRADER, Refusal).code == "INSUFFICIENT_FUNDS"
    assign(bench, 1, EXTERNAL, TREND, price=D(90))
    assert held_before(bench.trading.ledger, ACCOUNT, BASE) == D(4)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).cost == D(290)
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(7)
    bench.submit(3, side="sell")
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(3)
    bench.check()


def test_release_when_a_sale_has_traded_and_is_not_booked_then_it_is_not_given_away(bench: Bench) -> None:
    """The venue says FILLED and the trade comes later: what it sold is not the strategy's any more."""
    bench.submit(2, side="sell", algo="limit", limit_price=D(101))
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.FILLED, "1.5")
    assign(bench, 1, TREND, EXTERNAL)
    refusal = bench.one(FACE, Refusal)
    assert (refusal.code, "holds 0.5" in refusal.text) == ("NOT_HELD", True)
    assign(bench, "0.5", TREND, EXTERNAL)
    bench.fill(create, "1.5", price=D(101))
    assert qty_of(bench, TREND) == D(0)
    bench.check()


def test_release_when_a_purchase_is_not_booked_then_it_cannot_be_given_yet(bench: Bench) -> None:
    """Only what the books hold can be moved; an unbooked purchase adds nothing to it."""
    create = bench.resting(3)
    bench.report(create, S.FILLED, 3)
    assign(bench, 3, TREND, EXTERNAL)
    assert bench.one(FACE, Refusal).code == "NOT_HELD"


def test_release_when_a_strategy_gives_back_then_external_has_it(bench: Bench) -> None:
    """`position release` is an assignment to `external`."""
    assign(bench, 2, TREND, EXTERNAL)
    assert (qty_of(bench, TREND), held_before(bench.trading.ledger, ACCOUNT, BASE)) == (D(0), D(7))
    bench.submit(1, side="sell")
    assert bench.one(TRADER, Refusal).code == "INSUFFICIENT_FUNDS"
    bench.check()


def test_assign_when_no_price_is_named_then_the_mark_stands_in_for_an_unknown_average(bench: Bench) -> None:
    """`external` paid nobody knows what: the mark counts; without one a price has to be named."""
    assign(bench, 1, EXTERNAL, TREND)
    assert bench.made(Assign)[0].price == D(100)
    dark = Bench(records=bench.records)
    dark.fold()
    assign(dark, 1, EXTERNAL, TREND)
    assert dark.one(FACE, Refusal).code == "NO_REFERENCE"
    assign(dark, 1, EXTERNAL, TREND, price=D(80))
    assert dark.made(Assign)[-1].price == D(80)


def test_assign_when_others_have_traded_for_external_then_that_is_there_to_give_as_well(
    bench: Bench,
) -> None:
    """A manual trade is a position of `external`, the opening a holding: both are its own."""
    bench.fill(foreign(3), 3, client_order_id=None)
    assign(bench, 8, EXTERNAL, TREND, price=D(100))
    assert qty_of(bench, TREND) == D(10)
    assign(bench, 1, EXTERNAL, TREND, price=D(100))
    assert bench.one(FACE, Refusal).code == "NOT_HELD"
    bench.check()


def sell(bench: Bench, qty: Any, owner: OwnerId) -> list[Decimal]:
    """Let a human sell at the market; return what was sold."""
    bench.submit(qty, owner=owner, side="sell")
    creates = bench.take(GATEWAY, CreateOrder)
    for create in creates:
        bench.fill(create, create.order_qty)
        bench.report(create, S.FILLED, create.order_qty)
    return [create.order_qty for create in creates]


def test_sale_when_a_humans_then_what_a_strategy_holds_is_not_in_it(bench: Bench) -> None:
    """5 are `external`'s, 2 the strategy's: 5 may be sold, and the strategy still gets rid of its 2."""
    bench.submit(6, owner=CLI, side="sell")
    refusal = [msg for ref, msg in bench.sent if ref == STORE and isinstance(msg, Refusal)][-1]
    assert (refusal.code, refusal.would_pass) == ("INSUFFICIENT_FUNDS", "order_qty 5")
    assert sell(bench, 5, CLI) == [D(5)]
    assert sell(bench, 1, CLI) == []
    bench.target(0)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(2)
    bench.check()


def test_sale_when_another_human_has_sold_or_has_on_sale_then_that_is_gone(bench: Bench) -> None:
    """Shorts of humans are what `external` owes; who buys it back gives it back."""
    assert sell(bench, 2, CLI) == [D(2)]
    bench.resting(2, 101, owner=CLI, side="sell")
    assert sell(bench, 2, API) == []
    assert sell(bench, 1, API) == [D(1)]
    bench.submit(1, owner=API)
    bench.fill(bench.one(GATEWAY, CreateOrder), 1)
    assert sell(bench, "0.5", CLI) == [D("0.5")]
    bench.check()


def test_sale_when_a_human_bought_it_against_another_quote_then_it_is_his(bench: Bench) -> None:
    """What `external` holds is an asset: a short here and a long there draw nothing from it."""
    usdc = InstrumentId("binance:BTC/USDC")
    btc = msgspec.structs.replace(bench.wiring.instruments[BTC], id=usdc, quote=Asset("USDC"))
    tradable = {**bench.wiring.instruments, usdc: btc}
    bench = Bench(accounts={ACCOUNT: (BTC, ETH, usdc)}, instruments=tradable).ready(USDC=1000, BTC=5, USDT=1)
    bench.quote(usdc, 100)
    bench.submit(2, owner=CLI, instrument=usdc)
    bench.fill(bench.one(GATEWAY, CreateOrder), 2)
    assert sell(bench, 7, CLI) == [D(7)]
    assert sell(bench, 1, API) == []
    assign(bench, "0.001", EXTERNAL, TREND, price=D(100))
    assert bench.one(FACE, Refusal).code == "NOT_HELD"


def test_sale_when_others_sold_it_where_no_feed_is_any_more_then_that_is_gone_all_the_same() -> None:
    """5 of the 10 that were there were sold against EUR; what a strategy bought since is not for a human."""
    eur = InstrumentId("binance:BTC/EUR")
    tradable = wiring().instruments
    tradable = {**tradable, eur: msgspec.structs.replace(tradable[BTC], id=eur, quote=Asset("EUR"))}
    bench = Bench(accounts={ACCOUNT: (BTC, ETH, eur)}, instruments=tradable)
    bench.ready(USDT=1_000_000, BTC=10, EUR=0)
    sold: dict[str, Any] = {"client_order_id": None, "side": "sell", "instrument": eur}
    bench.fill(foreign(5), 5, fee_asset=Asset("EUR"), **sold)
    bench.bought(5)
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready(USDT=999_500, BTC=10, EUR=500)
    again.submit(8, owner=CLI, side="sell")
    refusal = [msg for ref, msg in again.sent if ref == STORE and isinstance(msg, Refusal)][-1]
    assert (refusal.code, refusal.would_pass) == ("INSUFFICIENT_FUNDS", "order_qty 5")
    assign(again, 6, EXTERNAL, TREND, price=D(100))
    assert "external holds 5 of" in again.one(FACE, Refusal).text


def test_assign_when_a_human_has_sold_it_then_external_has_nothing_left_to_give(bench: Bench) -> None:
    """The account would hold less than its owners are said to."""
    assert sell(bench, 4, CLI) == [D(4)]
    assign(bench, 2, EXTERNAL, TREND, price=D(100))
    assert "external holds 1 of" in bench.one(FACE, Refusal).text
    assign(bench, 1, EXTERNAL, TREND, price=D(100))
    assert (qty_of(bench, TREND), balance(bench.trading.ledger, ACCOUNT, BASE)) == (D(3), D(3))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more than it holds": ({"qty": D("2.001")}, "NOT_HELD"),
    "nothing": ({"qty": D(0)}, "BAD_NUMBER"),
    "less than nothing": ({"qty": D(-1)}, "BAD_NUMBER"),
    "no number": ({"qty": D("NaN")}, "BAD_NUMBER"),
    "a price that is none": ({"price": D(0)}, "BAD_NUMBER"),
    "to itself": ({"taker": TREND}, "SAME_OWNER"),
    "to nobody": ({"taker": OwnerId("trnd")}, "UNKNOWN_OWNER"),
    "of an unknown account": ({"account": "paper:mian"}, "UNKNOWN_INSTRUMENT"),
    "of an unknown instrument": ({"instrument": "binance:XRP/USDT"}, "UNKNOWN_INSTRUMENT"),
    "of another instrument": ({"instrument": ETH}, "NOT_HELD"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_assign_when_wrong_then_it_is_refused_and_nothing_is_written(bench: Bench, name: str) -> None:
    """Code and request number; the books stay."""
    changes, code = REFUSED[name]
    records = len(bench.records)
    assign(bench, **{"qty": 1, **changes})
    refusal = bench.one(FACE, Refusal)
    assert (refusal.code, refusal.req) == (code, 3)
    assert len(bench.records) == records


@pytest.mark.parametrize(("key", "side"), [("from", "giver"), ("to", "taker")])
def test_assign_when_an_owner_is_nobody_then_it_is_said_which_one(bench: Bench, key: str, side: str) -> None:
    """Of two names one is wrong, and what is meant stands beside it."""
    assign(bench, 1, **{side: OwnerId("trnd")})
    text = bench.one(FACE, Refusal).text
    assert text.startswith(f"{key}: expected an owner, got 'trnd'; did you mean 'trend")


def test_assign_when_a_sale_of_it_is_open_then_only_the_rest_can_be_given(bench: Bench) -> None:
    """What an open sale still needs is not there to give away."""
    bench.resting("1.5", 101, side="sell")
    assign(bench, 1)
    assert bench.one(FACE, Refusal).code == "NOT_HELD"
    assign(bench, "0.5")
    assert bench.one(FACE, Answer).req == 3


def test_assign_when_a_foreign_sale_is_open_then_external_can_give_the_rest_only(bench: Bench) -> None:
    """Its own open sales need it, as with every other owner."""
    bench.report(foreign(4, side="sell", limit_price=D(120)), S.NEW, limit_price=D(120))
    assign(bench, 2, EXTERNAL, TREND, price=D(100))
    assert bench.one(FACE, Refusal).code == "NOT_HELD"
    assign(bench, 1, EXTERNAL, TREND, price=D(100))
    assert bench.one(FACE, Answer).req == 3


def test_assign_when_the_journal_is_being_read_then_it_is_refused() -> None:
    """Who holds what is known after the fold."""
    bench = Bench()
    bench.tell(Started(0))
    assign(bench, 1)
    assert bench.one(FACE, Refusal).code == "NOT_READY"
