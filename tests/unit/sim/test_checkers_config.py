"""I-25, I-26: one configuration a step, and only valid ones."""

from __future__ import annotations

from typing import Any

from tests.unit.core.order_builders import intent
from tests.unit.runtime.players import build, kernel_of
from tests.unit.sim.checker_bench import Bench, broken, config_of, epoch
from tradefan.messages.control import SwapConfig
from tradefan.messages.records import ConfigChange
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.system import RIM
from tradefan.sim.checkers.base import Watch
from tradefan.sim.checkers.config import OneConfig, ValidConfig
from tradefan.units import SECOND


def kernel_before(checker: Watch) -> tuple[Bench, Kernel]:
    """Return a bench with a real kernel under the configuration `c1`, which is a text."""
    bench = Bench(checker)
    kernel = kernel_of(build({"a": {}}, validators=(lambda _old, new: ("no",) if new == "bad" else (),)))
    kernel.step(SECOND)
    bench.seen.kernel = kernel
    bench.seen.configs = {"c1": _config("config")}
    return bench, kernel


def _config(text: str) -> Any:
    """Return a configuration of the test's kernel, which takes any value for one."""
    return text


def swap(kernel: Kernel, config_id: str, text: str) -> None:
    kernel.step(kernel.state.now_ns + SECOND, [(RIM, SwapConfig(config_id, text.encode()))])


def test_records_when_of_the_config_in_force_then_quiet() -> None:
    """I-25: before and behind a swap, and what an earlier life has folded of another one."""
    bench, kernel = kernel_before(OneConfig())
    old, now = intent(config_id="c0", at_ns=5), kernel.state.now_ns
    assert bench.step(old, intent(client_order_id="c2", config_id="c1", at_ns=now)) is None
    swap(kernel, "c2", "next")
    assert bench.step(ConfigChange(kernel.state.now_ns, "c2")) is None
    swap(kernel, "c3", "bad")
    assert bench.look() is None


def test_records_when_of_another_config_in_this_step_then_broken() -> None:
    """I-25: an INTENT that was decided on what is not in force any more."""
    bench, kernel = kernel_before(OneConfig())
    swap(kernel, "c2", "next")
    late = intent(config_id="c1", at_ns=kernel.state.now_ns)
    broken(bench.step(late), "I-25", "Intent of config c2", "c1")
    bench, kernel = kernel_before(OneConfig())
    wrong = epoch(1, at_ns=kernel.state.now_ns, config_id="c9")
    broken(bench.step(wrong), "I-25", "Epoch of config c1", "c9")


def test_config_when_it_changes_under_its_id_then_broken() -> None:
    """I-25: a refused configuration that has left a part of itself behind."""
    bench, kernel = kernel_before(OneConfig())
    assert bench.look() is None
    kernel.config = "a part of another"
    broken(bench.look(), "I-25", "config c1 unchanged", "another content")


def test_config_when_valid_then_quiet() -> None:
    """I-26: the first one, one that was swapped in, and one that was refused."""
    bench, kernel = kernel_before(ValidConfig())
    assert bench.look() is None
    bench.seen.configs["c2"] = _config("next")
    swap(kernel, "c2", "next")
    swap(kernel, "c3", "bad")
    assert bench.look() is None
    assert kernel.state.config_id == "c2"


def test_config_when_nobody_offered_it_whole_then_broken() -> None:
    """I-26: a truncated one has no entry among the valid ones."""
    bench, kernel = kernel_before(ValidConfig())
    swap(kernel, "c2", "nex")
    broken(bench.look(), "I-26", "a config among ['c1']", "c2")


def test_config_when_its_content_is_not_what_was_offered_then_broken() -> None:
    """I-26: the id alone proves nothing."""
    bench, kernel = kernel_before(ValidConfig())
    bench.seen.configs["c2"] = config_of()
    swap(kernel, "c2", "next")
    broken(bench.look(), "I-26", "the content of config c2", "another")
