"""Replay: the recorded steps through the same code; effects go nowhere."""

from __future__ import annotations

from collections.abc import Iterable

from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import Step, ingress_of


def replay(kernel: Kernel, steps: Iterable[Step]) -> str | None:
    """Run recorded steps and return the trace hash, None where the kernel keeps no trace."""
    for step in steps:
        kernel.step(step.now_ns, ingress_of(step, kernel.system.decode_message))
    return None if kernel.trace is None else kernel.trace.hexdigest()
