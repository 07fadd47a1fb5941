"""Two parts of the proof as `make proof` runs them, a small one each, and the page that they make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof.figures import load_all
from tests.proof.promises import read
from tests.proof.render import page
from tests.proof.stamp import PAGE, ROOT, code_of

pytestmark = pytest.mark.slow


def proof(place: Path, *words: str) -> str:
    """Run a part; its figures and its page go to a folder of their own, where a tree may be dirty."""
    command = [
        sys.executable,
        "-m",
        "tests.proof",
        *words,
        "--place",
        str(place),
        "--page",
        str(place / "R.md"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_proof_when_two_parts_have_run_then_the_page_has_their_figures_and_no_others(tmp_path: Path) -> None:
    """Two seeds in two chunks, three kills by the API and one by the signal."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of git, so nobody knows the commit")
    before = PAGE.read_bytes()
    seeds = ("seeds", "--from", "3", "--count", "2", "--hours", "0.1", "--jobs", "1", "--chunk", "1")
    assert proof(tmp_path, *seeds) == "seeds 3-3\nseeds 4-4\n"
    assert proof(tmp_path, *seeds) == ""
    proof(tmp_path, "kills", "--kills", "3", "--signals", "1")
    found = load_all(tmp_path)
    assert found.seeds is not None
    assert found.kills is not None
    assert found.seeds.chunks[0].stamp.commit.partition("-")[0] == code_of("HEAD")
    assert [(one.first, one.last, one.violations) for one in found.seeds.chunks] == [(3, 3, ()), (4, 4, ())]
    assert min(one.orders for one in found.seeds.chunks) > 0
    assert (len(found.kills.api_ms), len(found.kills.signal_ms), len(found.kills.gone_ms)) == (3, 1, 4)
    assert (found.kills.persisted, found.kills.behind) == (3, 0)
    assert found.kills.orders > 0
    text = (tmp_path / "R.md").read_text()
    assert text == page(read(), found)
    assert "| Mutants killed | not run yet |" in text
    assert PAGE.read_bytes() == before
