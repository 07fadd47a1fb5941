"""The test that pins a failing seed: it fails until the seed is mended, and keeps it so from then on."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill, indent

from tradefan.sim.faults import KINDS
from tradefan.sim.only import kind_of
from tradefan.sim.options import DEFAULT_HOURS
from tradefan.sim.reduce import Reduced

WIDTH = 100
TOLD_MAX = 600
"""Characters of what was found that a reader needs; the end of a traceback says most."""

_TEXT = '''\
"""A seed that `tradefan simulate` saw break {invariant}, with the faults that it needs and no others."""

from __future__ import annotations

from tradefan.sim.command import replay

{words}


def test_seed_{seed}_when_its_faults_happen_then_no_invariant_breaks() -> None:
    """{told}

{faults}
    """
    outcome = replay({arguments})
    assert outcome.violation is None, str(outcome.violation)
'''


def pin(folder: Path, seed: int, faults: str, reduced: Reduced) -> Path:
    """Write the test of a seed and return where it lies.

    Raises:
        OSError: it cannot be written.
    """
    name = re.sub(r"\W+", "_", reduced.violation.invariant).lower()
    path = folder / f"test_seed_{seed}_{name}.py"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(pinned(seed, faults, reduced), encoding="utf-8")
    return path


def pinned(seed: int, faults: str, reduced: Reduced) -> str:
    """Return the test as text, laid out as the formatter does."""
    arguments, words = [str(seed)], [_words("ONLY", " ".join(reduced.only) or "none")]
    if reduced.hours != DEFAULT_HOURS:
        arguments.append(f"hours={reduced.hours!r}")
    if faults != "all":
        arguments.append("faults=FAULTS")
        words.insert(0, _words("FAULTS", faults.replace(",", " ")))
    arguments.append("only=ONLY")
    return _TEXT.format(
        invariant=reduced.violation.invariant,
        words="\n".join(words),
        seed=seed,
        told=indent(fill(_plain(str(reduced.violation)), WIDTH), "    ").lstrip(),
        faults="\n".join(f"    {word}: {KINDS[kind_of(word)]}" for word in reduced.only) or "    No faults.",
        arguments=", ".join(arguments),
    )


def _words(name: str, text: str) -> str:
    return f'{name} = """\n{fill(text, WIDTH)}\n"""'


def _plain(text: str) -> str:
    """Return what a docstring can hold: one line of ASCII without quotes and backslashes, not too long."""
    words = " ".join(text.encode("ascii", "replace").decode().split())
    words = words.replace("\\", "/").replace('"', "'")
    if len(words) > TOLD_MAX:
        words = f"{words[: TOLD_MAX // 3]} ... {words[-TOLD_MAX * 2 // 3 :]}"
    return words if words.endswith(".") else f"{words}."
