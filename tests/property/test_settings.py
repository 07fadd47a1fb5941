"""Whatever settings somebody sends, an order is accepted or refused; the order manager never fails."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import API, FACE, submit
from tradefan.contracts import lookup, plugins
from tradefan.core.contingent import FIELDS, TRIGGERS
from tradefan.core.group import GROUPS, BracketSettings, OcoSettings
from tradefan.messages.orders import Answer, AskPlan, PlanAnswer, Refusal

ALGORITHMS: dict[str, dict[str, Any]] = {
    "market": {},
    "limit": {},
    "twap": {"duration": "60s"},
    "vwap": {"duration": "60s"},
    "pov": {"duration": "60s"},
    "iceberg": {"display": "1"},
    "stop": {"trigger_price": "110"},
    "stop_limit": {"trigger_price": "110"},
    "take_profit": {"trigger_price": "90"},
    "trailing": {"callback_bps": "100"},
    "oco": {"take_profit.limit_price": "90", "stop.trigger_price": "110"},
    "bracket": {"take_profit.limit_price": "110", "stop.trigger_price": "95"},
}
"""Each with what makes it valid."""
PARTS = (
    "trigger_price",
    "limit_price",
    "offset_bps",
    "algo",
    "duration",
    "callback_bps",
    "max_steps",
    "then",
)
LEGS = ("stop", "take_profit", "trailing", "limit", "entry")
WORDS: tuple[str, ...] = (
    "NaN",
    "-inf",
    "1e999",
    "1e-999",
    "1e30",
    "0",
    "0.5",
    "95",
    "105",
    "5m",
    "",
    "cancel",
)
WORDS += (
    "extend:1e99s",
    "extend:-5s",
    "threshold:NaN",
    "threshold:sNaN",
    "2030-01-01T00:00:00Z",
    "take",
    "peg",
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-3, 20),
    st.floats(),
    st.sampled_from(WORDS),
    st.sampled_from([[], {}, {"a": 1}, {"b": {"c": 1}}, [1, 2]]),
)


def test_algorithms_when_listed_then_none_of_ours_is_left_out() -> None:
    ours = {one.name for one in plugins("executor") if one.make.__module__.startswith("tradefan.executors.")}
    assert ours | {*TRIGGERS, *GROUPS} == {*ALGORITHMS}


def known(algo: str) -> tuple[str, ...]:
    """Return the names of an algorithm's settings."""
    if algo in GROUPS:
        return (*LEGS, *(OcoSettings if algo == "oco" else BracketSettings).__struct_encode_fields__)
    if algo in TRIGGERS:
        return (*FIELDS, "duration", "then", "limit_price")
    return lookup("executor", algo).settings.__struct_encode_fields__


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_order_when_its_settings_are_anything_then_it_is_answered(algo: str) -> None:
    """Accepted, planned or refused: one answer, and the state is still that of its records."""
    bench = Bench().ready()
    keys = st.sampled_from(known(algo))
    keys = keys | st.tuples(keys, st.sampled_from(PARTS)).map(".".join)

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.dictionaries(keys, VALUES, min_size=1, max_size=3),
        st.sampled_from([None, Decimal(99), Decimal("NaN"), Decimal("1e30"), Decimal(-1)]),
        st.booleans(),
    )
    def asked(some: dict[str, Any], price: Decimal | None, dry: bool) -> None:
        wish = submit(1, owner=API, algo=algo, req=9, settings=ALGORITHMS[algo] | some, limit_price=price)
        bench.ids += 1
        wish = type(wish)(
            **{name: getattr(wish, name) for name in wish.__struct_fields__} | {"ref": str(bench.ids)}
        )
        bench.tell(AskPlan(wish) if dry else wish)
        bench.advance(10**9)
        answers = [one for kind in (Answer, PlanAnswer, Refusal) for one in bench.take(FACE, kind)]
        assert len(answers) == 1, answers
        assert getattr(answers[0], "code", "") != "EXECUTOR_FAILED", answers
        bench.sent.clear()

    asked()
    bench.check()
