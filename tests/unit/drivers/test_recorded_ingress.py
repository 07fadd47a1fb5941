"""What a step did not admit is recorded with the step that takes it: else a replay hears it twice."""

from __future__ import annotations

from tests.unit.runtime.players import LIMITS, build, kernel_of, say
from tradefan.drivers.machines import Hosted
from tradefan.messages.union import encode
from tradefan.runtime.recording import StepList
from tradefan.units import Ref

A = Ref(1)


def test_ingress_when_a_lane_blocks_then_recorded_once_in_the_step_that_took_it() -> None:
    """Back-pressure: the driver keeps the rest and offers it again."""
    steps = StepList(encode)
    hosted = Hosted(kernel_of(build({"a": {}})), {}, steps)
    sent = [say(f"fact {number}") for number in range(3 * LIMITS.facts_high)]
    for msg in sent:
        hosted.inject(A, msg)
    for number in range(5):
        hosted.step(1_000_000_000 + number)
    recorded = [raw for step in steps.steps for _, raw in step.ingress]
    assert recorded == [encode(msg) for msg in sent]
    assert len(steps.steps[0].ingress) < len(sent)
