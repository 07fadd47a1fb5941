"""The configurator's picture of swaps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tests.unit.runtime.players import build, kernel_of
from tradefan.actors.configurator import Configurator, ConfiguratorState
from tradefan.messages.control import LogLine, SwapConfig
from tradefan.runtime.system import RIM

T0 = 1_000_000_000


def test_configurator_when_a_swap_is_refused_then_the_old_id_stays_and_the_reason_is_shown() -> None:
    """One good and one bad swap: the active id is the good one's, the errors are the bad one's."""
    system = build({"a": {}}, validators=(lambda _old, new: ("too small",) if new == "bad" else (),))
    spec = replace(system.actors[0], factory=partial(Configurator, "a"), state_type=ConfiguratorState)
    kernel = kernel_of(replace(system, actors=(spec,)))
    stepped = kernel.step(T0, [(RIM, SwapConfig("c2", b"good")), (RIM, SwapConfig("c3", b"bad"))])
    assert kernel.view("a") == ConfiguratorState("c2", 1, 1, "c3", ("too small",))
    lines = [effect for _, effect in stepped.effects if isinstance(effect, LogLine)]
    assert [(line.event, line.fields["config_id"]) for line in lines] == [
        ("config_active", "c2"),
        ("config_refused", "c3"),
    ]
