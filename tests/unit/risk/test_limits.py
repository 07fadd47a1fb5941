"""Each risk rule at its limit and one step beyond, with the words of its refusal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tradefan import contracts
from tradefan.config.schema import InstrumentRisk, RiskConfig
from tradefan.contracts import Held, MarketView, RiskIntent, RiskRefused, RiskState
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quality
from tradefan.risk import Approved, check, reduces
from tradefan.units import AccountId, Asset, InstrumentId, OwnerId

D = Decimal
BTC = InstrumentId("binance:BTC/USDT")
CONFIG = RiskConfig(
    max_order_qty=D(10),
    max_order_notional=D(900),
    max_position=D(12),
    max_position_notional=D(1100),
    price_band_bps=D(200),
    orders_per_second=3,
)
ROOMY = RiskConfig(
    max_order_qty=D(10),
    max_order_notional=D(1000),
    max_position=D(12),
    max_position_notional=D(1200),
    price_band_bps=D(200),
    orders_per_second=3,
)
MARKET = MarketView(D("99.5"), D("100.5"), D(100), 0, Quality.LIVE)


def instrument(**changes: Any) -> Instrument:
    fields: dict[str, Any] = {
        "id": BTC,
        "venue": "binance",
        "symbol": "BTC/USDT",
        "kind": "spot",
        "base": Asset("BTC"),
        "quote": Asset("USDT"),
        "settle": Asset("USDT"),
        "price_tick": D("0.1"),
        "qty_lot": D("0.5"),
        "min_qty": D("0.5"),
        "max_qty": D(1000),
        "min_notional": D(5),
    }
    return Instrument(**{**fields, **changes})


def intent(order_qty: Any = 1, price: Any = 100, **changes: Any) -> RiskIntent:
    fields: dict[str, Any] = {
        "account": AccountId("paper:main"),
        "instrument": instrument(),
        "owner": OwnerId("trend"),
        "side": "buy",
        "order_qty": D(order_qty),
        "price": D(price),
        "order_type": "limit",
        "reduce_only": False,
    }
    return RiskIntent(**{**fields, **changes})


def held(position: Any = 0, buy: Any = 0, sell: Any = 0) -> Held:
    return Held(D(position), D(buy), D(sell))


def state(**changes: Any) -> RiskState:
    fields: dict[str, Any] = {
        "account": held(),
        "owner": held(),
        "free_base": D(1000),
        "free_quote": D(100_000),
        "fee_rate": D("0.001"),
        "orders_recent": 0,
        "latched": None,
    }
    return RiskState(**{**fields, **changes})


def refused(verdict: Approved | RiskRefused) -> tuple[Any, ...]:
    """Return what a refusal says, without its sentence."""
    assert isinstance(verdict, RiskRefused), verdict
    assert verdict.text
    return (verdict.code, verdict.limit, verdict.used, verdict.would_pass)


CASES = {
    "quantity": (state(), intent("10.5", 1), ("RISK_MAX_ORDER_QTY", "10", "10.5", "order_qty 10")),
    "notional": (state(), intent("9.5"), ("RISK_MAX_NOTIONAL", "900", "950", "order_qty 9")),
    "notional of a sale at the reference": (
        state(account=held(9), owner=held(9)),
        intent("9.5", "98.5", side="sell"),
        ("RISK_MAX_NOTIONAL", "900", "950", "order_qty 9"),
    ),
    "buy above the band": (state(), intent(1, "102.1"), ("RISK_PRICE_BAND", "200 bps", "210 bps", "102")),
    "sale below the band": (
        state(account=held(5), owner=held(5)),
        intent(1, "97.9", side="sell"),
        ("RISK_PRICE_BAND", "200 bps", "210 bps", "98"),
    ),
    "account with all that works": (
        state(account=held(4, buy="7.5")),
        intent(1),
        ("RISK_MAX_POSITION", "12", "12.5", "order_qty 0.5"),
    ),
    "owner": (
        state(owner=held(12)),
        intent(1),
        ("RISK_MAX_POSITION", "12", "13", "nothing"),
    ),
    "short side": (
        state(account=held(-8, sell="3.5"), owner=held(-8)),
        intent(1, side="sell"),
        ("RISK_MAX_POSITION", "12", "12.5", "order_qty 0.5"),
    ),
    "position's worth": (
        state(account=held("10.5")),
        intent(1),
        ("RISK_MAX_POSITION_NOTIONAL", "1100", "1150", "order_qty 0.5"),
    ),
    "rate": (state(orders_recent=3), intent(), ("RISK_ORDER_RATE", "3", "3", "a second later")),
    "latch": (state(latched="kill"), intent(), ("RISK_LATCHED", None, None, None)),
    "quote with fees": (
        state(free_quote=D(100)),
        intent(1),
        ("INSUFFICIENT_FUNDS", "100", "100.1", "order_qty 0.5"),
    ),
    "base": (
        state(free_base=D("0.7"), account=held(5), owner=held(5)),
        intent(1, side="sell"),
        ("INSUFFICIENT_FUNDS", "0.7", "1", "order_qty 0.5"),
    ),
    "no base": (
        state(free_base=D(-1)),
        intent(1, side="sell"),
        ("INSUFFICIENT_FUNDS", "0", "1", "nothing"),
    ),
    "reduce-only": (
        state(owner=held(1, sell="0.5")),
        intent(1, side="sell", reduce_only=True),
        ("RISK_REDUCE_ONLY", "0.5", "1", "order_qty 0.5"),
    ),
    "reduce-only of a short": (
        state(owner=held(-1)),
        intent(2, reduce_only=True),
        ("RISK_REDUCE_ONLY", "1", "2", "order_qty 1"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rule_when_over_its_limit_then_it_says_limit_used_and_what_passes(name: str) -> None:
    """The first rule that has something against an intent answers with its code and numbers."""
    books, wanted, answer = CASES[name]
    assert refused(check(books, wanted, MARKET, CONFIG)) == answer


PASSES = {
    "at quantity and worth of an order": (state(), intent(10)),
    "at the band": (state(), intent(1, 102)),
    "far from the market on the safe side": (state(), intent(1, 10)),
    "sale far above": (state(account=held(5), owner=held(5)), intent(1, 300, side="sell")),
    "at quantity and worth of a position": (state(account=held(4, buy=7)), intent(1)),
    "a sale out of a position over the limit": (
        state(account=held(20), owner=held(20)),
        intent(5, side="sell"),
    ),
    "at the free quote": (state(free_quote=D("100.1")), intent(1)),
    "at the free base": (state(free_base=D(1), account=held(1), owner=held(1)), intent(1, side="sell")),
    "one below the rate": (state(orders_recent=2), intent()),
    "reduce-only to flat": (state(owner=held(1), account=held(1)), intent(1, side="sell", reduce_only=True)),
    "linear without funds towards flat": (
        state(owner=held(2), account=held(2), free_quote=D(0)),
        intent(2, side="sell", instrument=instrument(kind="linear")),
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_rule_when_at_its_limit_then_it_approves(name: str) -> None:
    """A limit is what may still be done."""
    books, wanted = PASSES[name]
    assert check(books, wanted, MARKET, ROOMY) == Approved()


def test_linear_when_it_opens_then_it_needs_its_worth() -> None:
    """Without leverage a contract needs its notional with fees."""
    books = state(free_quote=D(50))
    wanted = intent(1, instrument=instrument(kind="linear"), side="sell")
    assert refused(check(books, wanted, MARKET, CONFIG))[0] == "INSUFFICIENT_FUNDS"


def test_limits_when_an_instrument_overrides_them_then_the_override_holds() -> None:
    """`risk.instruments` narrows one instrument."""
    config = RiskConfig(instruments={BTC: InstrumentRisk(max_order_qty=D("0.5"))})
    assert refused(check(state(), intent(1), MARKET, config))[:2] == ("RISK_MAX_ORDER_QTY", "0.5")


def test_rule_when_it_raises_then_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fence: a broken rule lets nothing through, and says which one it is."""

    class Broken:
        """Raises."""

        def check(self, *_: Any) -> None:
            raise ZeroDivisionError("ratio")

    monkeypatch.setattr(contracts, "_plugins", dict(contracts._plugins))
    contracts.register("risk_rule", "broken")(Broken)
    verdict = check(state(), intent(), MARKET, CONFIG)
    assert isinstance(verdict, RiskRefused)
    assert verdict.code == "RISK_RULE_FAILED"
    assert "'broken' raised ZeroDivisionError" in verdict.text


class Mute(Exception):
    """An error that cannot even say its name."""

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __str__ = __repr__


def mute() -> Any:
    raise Mute


def leaves() -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda: False, "TypeError"),
        (lambda: "no way", "TypeError"),
        (lambda: ("RISK_X", "no"), "TypeError"),
        (lambda: RiskRefused(5, "no"), "ValidationError"),  # type: ignore[arg-type]
        (lambda: RiskRefused("RISK_X", "\ud800"), "UnicodeEncodeError"),
        (mute, "Mute"),
        (leaves, "SystemExit"),
    ],
)
def test_rule_when_it_answers_nonsense_then_it_refuses(
    monkeypatch: pytest.MonkeyPatch, answer: Any, word: str
) -> None:
    """Fails closed: what is neither None nor a refusal that can be told lets no order leave."""

    class Broken:
        """Answers as it is told."""

        def check(self, *_: Any) -> Any:
            return answer()

    monkeypatch.setattr(contracts, "_plugins", dict(contracts._plugins))
    contracts.register("risk_rule", "broken")(Broken)
    verdict = check(state(), intent(), MARKET, CONFIG)
    assert verdict == RiskRefused("RISK_RULE_FAILED", f"risk rule 'broken' raised {word}")


@pytest.mark.parametrize(
    ("side", "qty", "position", "wanted"),
    [
        ("sell", 2, held(3, sell=1), True),
        ("sell", 3, held(3, sell=1), False),
        ("buy", 2, held(-3, buy=1), True),
        ("buy", 3, held(-3, buy=1), False),
        ("buy", 1, held(3), False),
    ],
)
def test_reduces_when_asked_then_only_towards_flat_counts(
    side: Any, qty: int, position: Held, wanted: bool
) -> None:
    """NO_NEW_RISK lets through what shrinks the account's and the owner's position, and never turns it."""
    assert reduces(state(account=position, owner=position), side, D(qty)) is wanted
    assert not reduces(state(account=held(), owner=position), side, D(qty))
