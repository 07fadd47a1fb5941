"""What every registered strategy must keep; a new one is picked up from the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

import tradefan.strategies
from tradefan.contracts import names
from tradefan.core.describe import describe
from tradefan.scaffold import load_strategies
from tradefan.testing import CHECKS
from tradefan.testing.conformance import make_case

assert tradefan.strategies.__all__
load_strategies(Path(__file__).resolve().parents[3] / "strategies")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", names("strategy"))
def test_strategy_when_put_through_a_check_then_it_holds(name: str, check: str) -> None:
    """Determinism, restarts, warm-up, no look-ahead, gaps, feed and refusal, on random markets."""
    for seed in (1, 2, 3):
        CHECKS[check](make_case(name, seed=seed))


@pytest.mark.parametrize("name", names("strategy"))
def test_strategy_when_described_then_its_declaration_is_printable(name: str) -> None:
    """`strategy show` prints name, settings, subscriptions and warm-up of every registered strategy."""
    first, *lines = describe(name).splitlines()
    assert first.startswith(f"{name}: ")
    assert [line for line in lines if line.startswith("settings")] != []
    assert [line for line in lines if line.startswith("follows")] != []
