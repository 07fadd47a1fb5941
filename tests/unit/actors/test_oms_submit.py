"""What a wish must be, and in which words it is refused; nothing is written then."""

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
    CONFIG,
    ETH,
    FACE,
    GATEWAY,
    STORE,
    TRADER,
    USDT,
)
from tradefan.actors.oms_state import OTHER_REASON, REASONS_MAX
from tradefan.config.schema import AccountConfig, Config, RiskConfig
from tradefan.core.exposure import reserved
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import Quality, SessionBreak
from tradefan.messages.orders import Answer, OrderStatus, Refusal
from tradefan.messages.records import (
    Parent,
)
from tradefan.units import EXTERNAL, MINUTE, MS, SECOND, InstrumentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def test_ref_when_repeated_then_the_first_answer_comes_again(bench: Bench) -> None:
    """(owner, ref) is the idempotency key; another owner may use the same ref, another order may not."""
    wish = bench.submit(owner=API, ref="once", req=1)
    bench.tell(msgspec.structs.replace(wish, req=2))
    bench.tell(msgspec.structs.replace(wish, req=3, order_qty=D(9)))
    assert [(one.code, one.req) for one in bench.take(FACE, Refusal)] == [("REF_REUSED", 3)]
    first, again = bench.take(FACE, Answer)
    assert (again.req, again.parent_ids, again.known, first.known) == (2, first.parent_ids, True, False)
    bench.submit(owner=CLI, ref="once")
    assert len(bench.made(Parent)) == 2


@pytest.mark.parametrize(
    "text", ["1E+15", "1E+40", "1E+999999999", "1E-19", "1E-60", "NaN", "sNaN", "Infinity", "-Infinity"]
)
def test_wish_when_a_number_is_none_then_it_is_refused_before_anything_is_computed(
    bench: Bench, text: str
) -> None:
    """BAD_NUMBER names field and value; the OMS lives, nothing is written, the ref stays free."""
    number, records = D(text), len(bench.records)
    bench.submit(number)
    bench.submit(1, algo="limit", limit_price=number)
    bench.target(number)
    bench.target(1, band=number)
    bench.target(1, algo="limit", limit_price=number)
    refusals = bench.take(TRADER, Refusal)
    fields = ("order_qty", "limit_price", "target_qty", "band", "limit_price")
    assert [one.code for one in refusals] == ["BAD_NUMBER"] * 5
    for one, field in zip(refusals, fields, strict=True):
        wanted = f"{field}: expected a finite number below 1e15 with at most 18 places, got {number}"
        assert one.text == wanted
    assert len(bench.records) == records
    bench.submit(1, ref=refusals[0].ref)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1


BAD: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "account": ({"account": "paper:mian"}, "UNKNOWN_ACCOUNT", None),
    "instrument": ({"instrument": InstrumentId("binance:XRP/USDT")}, "UNKNOWN_INSTRUMENT", None),
    "algo": ({"algo": "twapp"}, "UNKNOWN_ALGO", None),
    "setting": ({"settings": {"trys": 1}}, "UNKNOWN_SETTING", None),
    "value": ({"settings": {"tries": -1}}, "BAD_SETTING", None),
    "not for owners": ({"settings": {"insist": True}}, "UNKNOWN_SETTING", None),
    "unread": ({"settings": {"halt": "extend"}}, "BAD_SETTING", "without halt"),
    "limit without price": ({"algo": "limit"}, "BAD_SETTING", None),
    "hedge mode": ({"position_side": "long"}, "UNSUPPORTED_KIND", None),
    "nothing": ({"order_qty": D(0)}, "BELOW_MIN_QTY", None),
    "no number": ({"order_qty": D("NaN")}, "BAD_NUMBER", None),
    "lot": ({"order_qty": D("1.0005")}, "OFF_GRID", "order_qty 1"),
    "tick": ({"algo": "limit", "limit_price": D("99.999")}, "OFF_GRID", "limit_price 99.99"),
    "price": ({"algo": "limit", "limit_price": D("Infinity")}, "BAD_NUMBER", None),
    "negative price": ({"algo": "limit", "limit_price": D(-99)}, "OFF_GRID", "limit_price 99"),
    "too much": ({"order_qty": D(2000)}, "ABOVE_MAX_QTY", "order_qty 1000"),
    "worth too little": ({"order_qty": D("0.001")}, "BELOW_MIN_NOTIONAL", "order_qty 0.05"),
    "risk": ({"order_qty": D(11)}, "RISK_MAX_ORDER_QTY", "order_qty 10"),
    "band": ({"algo": "limit", "limit_price": D(103)}, "RISK_PRICE_BAND", "102"),
    "sale of nothing": ({"side": "sell"}, "INSUFFICIENT_FUNDS", "nothing"),
    "external": ({"owner": EXTERNAL}, "UNKNOWN_OWNER", None),
}


@pytest.mark.failure("OR-17")
@pytest.mark.parametrize("name", BAD)
def test_submit_when_wrong_then_it_is_refused_and_nothing_is_written(bench: Bench, name: str) -> None:
    """Code, and what would have passed; no record, no effect; the API hears its request number."""
    changes, code, passes = BAD[name]
    records = len(bench.records)
    bench.submit(**{"req": 3, **changes})
    refusal = bench.one(FACE, Refusal)
    assert (refusal.code, refusal.would_pass, refusal.req) == (code, passes, 3)
    assert refusal.text
    assert len(bench.records) == records
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.oms.view().refusals[0] == refusal
    assert bench.one(STORE, Refusal) == refusal


def test_submit_when_below_the_minimum_quantity_then_the_minimum_would_pass() -> None:
    """The venue's filters are checked before anything exists."""
    bench = Bench().ready()
    bench.submit("0.001", instrument=ETH, owner=API)
    bench.submit(1, instrument=ETH, algo="limit", limit_price=D("0.1"))
    codes = [(one.code, one.would_pass) for one in bench.take(STORE, Refusal)]
    assert codes == [("OFF_GRID", "order_qty 0.01"), ("BELOW_MIN_NOTIONAL", "order_qty 50")]


def test_sale_when_a_strategy_holds_less_than_the_account_then_only_its_own_sells() -> None:
    """What the account held before us belongs to no strategy; a human may sell it."""
    bench = Bench().ready(USDT=1000, BTC=5)
    bench.submit(1, side="sell")
    assert bench.one(TRADER, Refusal).code == "INSUFFICIENT_FUNDS"
    bench.submit(1, side="sell", owner=CLI)
    assert bench.one(GATEWAY, CreateOrder).side == "sell"


def test_funds_when_reserved_by_open_orders_then_they_are_not_free() -> None:
    """Two orders never pass the same headroom (RK-05)."""
    bench = Bench().ready(USDT=250)
    bench.limit(2)
    bench.submit(1, algo="limit", limit_price=D(99))
    assert bench.one(TRADER, Refusal).code == "INSUFFICIENT_FUNDS"


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_funds_when_traded_and_not_booked_then_they_are_not_free_either(side: str) -> None:
    """The venue says FILLED, no fill has told the balance yet: the money has gone all the same."""
    bench = Bench().ready(USDT=250, BTC=2)
    first = bench.limit(2, 101 if side == "sell" else 99, side=side, owner=CLI)
    bench.report(first, S.FILLED, 2)
    bench.submit(1, algo="limit", limit_price=D(101 if side == "sell" else 99), side=side, owner=CLI)
    assert bench.oms.view().refusals[-1].code == "INSUFFICIENT_FUNDS"
    asset = USDT if side == "buy" else BASE
    assert reserved(bench.trading.exposure, ACCOUNT, asset) > 0
    bench.fill(first, 2, price=D(99))
    assert reserved(bench.trading.exposure, ACCOUNT, asset) == 0
    bench.check()


def test_rate_when_an_owner_is_too_fast_then_it_waits_a_second() -> None:
    """`orders_per_second` counts one owner's creates of the last second of kernel time."""
    config = msgspec.structs.replace(CONFIG, risk=RiskConfig(orders_per_second=2))
    bench = Bench(config=config).ready()
    for _ in range(3):
        bench.submit()
    assert bench.one(TRADER, Refusal).code == "RISK_ORDER_RATE"
    bench.submit(owner=API)
    bench.advance(SECOND)
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 4


@pytest.mark.parametrize("away_ns", [MS, MINUTE, -MINUTE])
def test_rate_when_restarted_then_the_creates_of_the_last_second_count_as_made_now(away_ns: int) -> None:
    """Nobody knows how long a start took where the clock has jumped; what was older counts no more."""
    config = msgspec.structs.replace(CONFIG, risk=RiskConfig(orders_per_second=2))
    bench = Bench(config=config).ready()
    bench.submit()
    bench.advance(SECOND)
    bench.submit()
    again = Bench(config=config, records=bench.records, now_ns=bench.now_ns + away_ns).ready()
    again.submit()
    assert len(again.take(GATEWAY, CreateOrder)) == 1
    again.submit()
    assert again.one(TRADER, Refusal).code == "RISK_ORDER_RATE"
    again.advance(SECOND)
    again.submit()
    assert len(again.take(GATEWAY, CreateOrder)) == 1


def test_account_when_it_has_no_block_then_the_defaults_hold() -> None:
    """An account without configuration has the defaults of `accounts.NAME`."""
    bench = Bench(config=Config(risk=CONFIG.risk)).ready()
    assert bench.limit().not_after_ns == bench.now_ns + AccountConfig().order_deadline


@pytest.mark.failure("OR-17")
def test_instrument_when_its_rules_change_then_the_newest_hold(bench: Bench) -> None:
    """MD-17: a halted instrument takes no order, a new lot is the grid; INTENT names the version."""
    rules = bench.wiring.instruments[BTC]
    bench.tell(InstrumentUpdate(msgspec.structs.replace(rules, qty_lot=D(1), version=2)))
    bench.submit("1.5")
    bench.submit(1)
    assert bench.one(TRADER, Refusal).code == "OFF_GRID"
    assert bench.records[-1].instrument_version == 2  # type: ignore[union-attr]
    bench.tell(InstrumentUpdate(msgspec.structs.replace(rules, status="HALT")))
    bench.submit(1)
    assert bench.one(TRADER, Refusal).code == "INSTRUMENT_HALT"


def test_kind_when_unsupported_then_it_is_refused_by_name() -> None:
    """Inverse contracts and options decode and are refused."""
    name = InstrumentId("binance:BTC/USD:BTC")
    base = Bench().wiring.instruments[BTC]
    inverse = msgspec.structs.replace(base, id=name, kind="inverse", inverse=True)
    bench = Bench(instruments={name: inverse}, accounts={ACCOUNT: (name,)}).ready()
    bench.submit(instrument=name)
    assert bench.one(TRADER, Refusal).code == "UNSUPPORTED_KIND"


# --- the reference ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BLIND, Quality.SUSPECT])
def test_market_when_the_feed_is_not_live_then_there_is_no_reference(bench: Bench, quality: Quality) -> None:
    """What crosses needs a LIVE feed; no default price exists (RK-01)."""
    bench.quote(BTC, 100, quality)
    bench.submit()
    refusal = bench.one(TRADER, Refusal)
    assert (refusal.code, refusal.limit) == ("NO_REFERENCE", "LIVE")


def test_passive_order_when_the_feed_is_suspect_then_it_may_rest(bench: Bench) -> None:
    """SUSPECT lets passive orders through, and nothing that would cross."""
    bench.quote(BTC, 100, Quality.SUSPECT)
    assert bench.limit(1, 99).limit_price == D(99)
    bench.submit(1, algo="limit", limit_price=D(101))
    assert bench.one(TRADER, Refusal).code == "NO_REFERENCE"


def test_reference_when_old_or_of_another_session_then_it_is_none(bench: Bench) -> None:
    """A quote older than `reference_age_max`, and one from before a seam, approve nothing."""
    bench.advance(10 * SECOND + 1)
    bench.submit()
    bench.quote(BTC, 100)
    bench.tell(SessionBreak(BTC, 2, "seam", bench.now_ns))
    bench.submit()
    texts = [refusal.text for refusal in bench.take(TRADER, Refusal)]
    assert texts == ["the quote of binance:BTC/USDT is 10.0 s old", "binance:BTC/USDT has no quote yet"]


def test_refusals_when_a_rule_makes_up_codes_then_their_count_is_bounded(bench: Bench) -> None:
    """Each is a series for ever: beyond the bound they are one, and none is lost."""
    counters = bench.oms.state.live.counters
    counters.reasons.update({f"MADE_UP_{number}": 1 for number in range(REASONS_MAX - 1)})
    bench.submit("-1", ref="a")
    bench.submit("1", ref="b", algo="nothing")
    bench.submit("-1", ref="c")
    new = {code: count for code, count in counters.reasons.items() if not code.startswith("MADE_UP")}
    assert new == {"BELOW_MIN_QTY": 2, OTHER_REASON: 1}
    assert counters.refusals == 3
    shown = bench.oms.view().counters
    bench.submit("-1", ref="d")
    assert shown.reasons["BELOW_MIN_QTY"] == 2
