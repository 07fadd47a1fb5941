"""README, ARCHITECTURE and CHANGELOG say what is true: commands exist, examples run, paths are there."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from tradefan.cli import app
from tradefan.core.describe import describe
from tradefan.scaffold import load_strategies

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (\./scripts/\S+ .*?)(?:\s+#.*)?$", README, re.MULTILINE)


def test_readme_when_read_then_it_is_short() -> None:
    """A newcomer reads it in five minutes."""
    assert len(README.splitlines()) < 120


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_when_it_names_a_command_then_the_command_exists(command: str) -> None:
    """Every program, action and option in the README is one that answers."""
    program, *words = shlex.split(command)
    assert (ROOT / program).is_file()
    if program.endswith("deploy.sh"):
        usage = subprocess.run([ROOT / program, "-h"], capture_output=True, text=True, check=True).stdout
        assert re.search(rf"\b{words[words.index('-a') + 1]}\b", usage)
        return
    here = get_command(app)
    while words and not words[0].startswith("-"):
        children = getattr(here, "commands", {})
        if words[0] not in children:
            break
        here = children[words.pop(0)]
    known = {name for parameter in here.params for name in parameter.opts}
    assert not getattr(here, "commands", None), f"{command}: a group, not a command"
    assert {word for word in words if word.startswith("-")} <= known


def test_readme_when_it_shows_a_strategy_then_the_strategy_works(tmp_path: Path) -> None:
    """The example is loaded as a user's file and declares what the text says."""
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    (tmp_path / "readme_example.py").write_text(
        code.group(1).replace('"trend"', '"readme_trend"'), encoding="utf-8"
    )
    load_strategies(tmp_path)
    text = describe("readme_trend")
    assert "BTC/USDT" in text
    assert "5s, warm-up 61 bars" in text


def test_architecture_when_it_names_a_file_then_the_file_exists() -> None:
    """Paths in backticks are paths of this project."""
    named = re.findall(
        r"`((?:tradefan|actors|core|runtime|links|venues|config|tests|risk)/[\w/.]*)`", ARCHITECTURE
    )
    assert named
    for path in named:
        assert (ROOT / path).exists() or (ROOT / "tradefan" / path).exists(), path


def test_architecture_when_there_is_a_dependency_then_it_says_why() -> None:
    """A dependency needs one line that says why it is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[=<>~! ;]", item)[0] for item in project["dependencies"]]
    table = ARCHITECTURE.partition("## Dependencies")[2].lower()
    assert [name for name in names if name.lower() not in table] == []
