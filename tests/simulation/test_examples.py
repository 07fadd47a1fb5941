"""What a newcomer writes runs on the shipped market: the README's strategy and the template."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.world import ROOT, World, development, recordings
from tradefan.scaffold import load_strategies, new_strategy


def _from_readme(folder: Path) -> str:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    text = code.group(1).replace('"trend"', '"readme_sim"')
    (folder / "readme_sim.py").write_text(text, encoding="utf-8")
    return "readme_sim"


def _from_template(folder: Path) -> str:
    new_strategy("template_sim", folder)
    return "template_sim"


@pytest.mark.parametrize("write", [_from_readme, _from_template])
def test_own_strategy_when_run_in_development_then_it_gets_warm_and_decides(
    write: object, tmp_path: Path
) -> None:
    """READY and a first decision within one session of the recorded market."""
    assert callable(write)
    folder = tmp_path / "strategies"
    folder.mkdir()
    name = write(folder)
    load_strategies(folder)
    off = [f"strategies.{one}.enabled=false" for one in ("rebalance_btc", "ema_cross_eth")]
    config = development(*off, f"strategies.mine.use={name}", "strategies.mine.account=paper:main")
    made = World(config, tmp_path, recordings())
    made.run(1)
    took = made.run_until(lambda: made.view("strategy:mine").phase == "READY", 120)
    made.run(15)
    assert took <= 60
    assert made.view("strategy:mine").decision
    assert not made.errors()
