"""Fixtures for actors: an executor that decides as a test tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tradefan import contracts
from tradefan.contracts import ParentView, Settings


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[ParentView], Any]], None]:
    """Register an executor `test` that decides as it is told."""
    monkeypatch.setattr(contracts, "_plugins", dict(contracts._plugins))

    def enter(decide: Callable[[ParentView], Any]) -> None:
        class Told:
            """Does as it is told."""

            def __init__(self, settings: Settings) -> None:
                """Take no settings."""

            def decide(self, view: ParentView) -> Any:
                return decide(view)

        contracts.register("executor", "test")(Told)

    return enter
