"""Begin a strategy of one's own: a file of twenty lines with its test, and the loading of such files."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import tradefan.strategies  # noqa: F401 registers what comes along, whose names are taken
from tradefan.contracts import names
from tradefan.errors import Refused

PACKAGE = "strategies"
"""Modules of the user's folder are `strategies.NAME`, for the daemon and for their tests."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

_STRATEGY = '''"""{title}: say here what it does and why it should work."""

from __future__ import annotations

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register, target


class {cls}Settings(Settings, frozen=True):
    """What the configuration may set."""

    symbol: str = "BTC/USDT"
    length: int = 20
    weight: float = 0.1


@register("strategy", "{name}", settings={cls}Settings)
class {cls}(Strategy[{cls}Settings, State]):
    """Hold while the close is above its average."""

    def setup(self) -> None:
        """Declare what to follow; the warm-up follows from it."""
        self.mean = self.bars("5s").ema(self.s.length)

    def on_bar(self, bar: Bar, view: View) -> Commands:
        """Wish for a position; repeating a wish is free."""
        return target(bar.symbol, weight=self.s.weight if bar.close > self.mean else 0, reason="{name}")
'''

_TEST = '''"""What {name} must do."""

from __future__ import annotations

from {package}.{name} import {cls}
from tradefan.strategy import target
from tradefan.testing import Scenario, conform, make_bars


def test_a_close_above_the_mean_is_bought() -> None:
    """It wishes for its weight as soon as it is warm and the close is above the mean, else for none."""
    closes = [100.0] * 6 + [110.0, 90.0]
    outcome = Scenario({cls}, {{"length": 2, "weight": 0.5}}, bars=make_bars(closes, timeframe="5s")).run()
    assert outcome.commands == [
        target("BTC/USDT", weight=0.5, reason="{name}"),
        target("BTC/USDT", weight=0, reason="{name}"),
    ]


def test_it_keeps_what_every_strategy_must_keep() -> None:
    """Same input, same orders; restarts, holes and refusals are survived; the future is not seen."""
    conform({cls})
'''


def new_strategy(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py into a folder and return their paths; nothing is overwritten.

    Raises:
        Refused: BAD_NAME, NAME_TAKEN by a registered strategy, or FILE_EXISTS.
    """
    if not _NAME.fullmatch(name):
        raise Refused("BAD_NAME", f"expected a name such as my_trend, got {name!r}")
    if name in names("strategy"):
        raise Refused("NAME_TAKEN", f"a strategy is called {name!r} already")
    paths = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in paths:
        if path.exists():
            raise Refused("FILE_EXISTS", f"{path} exists: choose another name or remove it")
    words = {
        "name": name,
        "cls": name.title().replace("_", ""),
        "title": name.replace("_", " ").capitalize(),
        "package": PACKAGE,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path, template in zip(paths, (_STRATEGY, _TEST), strict=True):
        path.write_text(template.format(**words), encoding="utf-8")
    return paths


def load_strategies(folder: Path) -> tuple[str, ...]:
    """Run every strategy file of a folder, so that it registers; return the names of the modules.

    Files that begin with `_` or `test_` are not strategies. A missing folder is an empty one.

    Raises:
        Refused: BAD_STRATEGY with the file and what its module raised.
    """
    files = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith(("_", "test_"))]
    return tuple(_load(path) for path in files)


def _load(path: Path) -> str:
    name = f"{PACKAGE}.{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise Refused("BAD_STRATEGY", f"{path}: {type(error).__name__}: {error}") from error
    return name
