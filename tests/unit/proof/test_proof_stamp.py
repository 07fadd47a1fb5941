"""Figures name the commit that they were measured on, or are not kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.proof import stamp
from tests.proof.stamp import PLACE, changes, code_of, machine, still
from tradefan.errors import Refused


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a program and a page."""
    git(tmp_path, "init", "-q")
    write(tmp_path, "program.py", "1")
    write(tmp_path, "RELIABILITY.md", "1")
    commit(tmp_path)
    return tmp_path


def git(tree: Path, *words: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *words], cwd=tree, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(tree: Path, name: str, text: str) -> None:
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text)


def commit(tree: Path) -> str:
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "a change")
    return git(tree, "rev-parse", "HEAD")


def test_code_when_only_the_proof_was_committed_then_is_that_of_before(tree: Path) -> None:
    """Else to commit figures would make them those of an older commit."""
    first = code_of("HEAD", tree)
    write(tree, "RELIABILITY.md", "2")
    write(tree, "tests/data/proof/seeds.json", "{}")
    assert changes(tree) == []
    proof = commit(tree)
    assert code_of("HEAD", tree) == code_of(proof, tree) == first
    write(tree, "program.py", "2")
    assert changes(tree) == ["program.py"]
    assert code_of("HEAD", tree) == first
    assert commit(tree) == code_of("HEAD", tree) != first


def test_changes_when_a_file_is_new_to_git_then_it_counts(tree: Path) -> None:
    """It may be imported."""
    write(tree, "tests/new.py", "")
    assert changes(tree) == ["tests/new.py"]


def test_code_when_git_knows_no_such_commit_then_refused(tree: Path, tmp_path: Path) -> None:
    """Also where there is no repository at all."""
    with pytest.raises(Refused, match="NO_COMMIT"):
        code_of("f" * 40, tree)
    with pytest.raises(Refused, match="NO_COMMIT"):
        code_of("HEAD", Path(tmp_path.anchor))


def test_stamp_when_the_tree_is_dirty_then_refused_and_elsewhere_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept in git is of a commit; what goes to another folder says that it is of none."""
    monkeypatch.setattr(stamp, "code_of", lambda ref: "1" * 40)
    monkeypatch.setattr(stamp, "changes", lambda: [f"{number}.py" for number in range(7)])
    monkeypatch.chdir(stamp.ROOT / "tests")
    for place in (PLACE, Path("data/proof"), Path("unit/../data/./proof")):
        with pytest.raises(Refused, match=r"TREE_DIRTY: .* 0.py, 1.py, 2.py, 3.py, 4.py and 2 more"):
            stamp.stamp("a command", place)
    assert stamp.stamp("a command", tmp_path).commit == "1" * 40 + "-dirty"


def test_still_when_the_code_has_changed_meanwhile_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which of both has run."""
    commits = ["1" * 40, "1" * 40, "2" * 40]
    monkeypatch.setattr(stamp, "code_of", lambda ref: commits.pop(0))
    monkeypatch.setattr(stamp, "changes", list)
    begun = stamp.stamp("a command", tmp_path)
    still(begun, tmp_path)
    with pytest.raises(Refused, match="CODE_CHANGED: began at 111111111111, and now it is 222222222222"):
        still(begun, tmp_path)


def test_machine_when_asked_then_names_what_figures_depend_on() -> None:
    """No name of a host, no path."""
    here = machine()
    assert here.cores > 0
    assert here.cpu
    assert here.python.startswith("3.")
    assert here.sqlite.startswith("3.")
