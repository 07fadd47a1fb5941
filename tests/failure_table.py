"""The failure catalogue of stage 2: which test proves which row, and which rows are left out and why.

A test names its rows by `@pytest.mark.failure("OR-01", ...)`, a module by `pytestmark`. This program
reads the markers from the source of all tests, without importing or running them, and writes
`docs/failures.md`; run it as `python -m tests.failure_table` after a marker or a marked test changed.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, convert

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
CATALOGUE = TESTS / "data" / "failures.toml"
TABLE = ROOT / "docs" / "failures.md"
TITLES = {"OR": "Orders", "ST": "State and recovery"}
HEAD = """# Failures and their tests

Each row of the failure catalogue for orders (OR) and for state and recovery (ST), and the tests that
prove what a correct system does. Written by `python -m tests.failure_table` from the markers
`@pytest.mark.failure`; a test keeps it current.
"""


class Failure(Struct, frozen=True, forbid_unknown_fields=True):
    """One row: what happens, and why no test carries it yet, or what is still missing."""

    what: str
    reason: str = ""


def catalogue() -> dict[str, Failure]:
    """Return all rows by id, in the order of the file."""
    return convert(tomllib.loads(CATALOGUE.read_text(encoding="utf-8")), dict[str, Failure])


def carried() -> dict[str, list[str]]:
    """Return by id the tests that carry it, as `path::name`, in the order of paths and lines."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, ids in _marked(ast.parse(path.read_text(encoding="utf-8"))):
            for failure in ids:
                found.setdefault(failure, []).append(f"{path.relative_to(ROOT).as_posix()}{name}")
    return found


def _marked(module: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Give each marked test, or the whole module, with its ids."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            ids = [one for mark in node.decorator_list for one in _ids(mark)]
            if ids:
                yield f"::{node.name}", ids
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            ids = [one for mark in marks for one in _ids(mark)]
            if ids:
                yield "", ids


def _ids(mark: ast.expr) -> list[str]:
    """Return the ids of a marker; of any other one, none."""
    if not isinstance(mark, ast.Call) or ast.unparse(mark.func) != "pytest.mark.failure":
        return []
    return [ast.literal_eval(argument) for argument in mark.args]


def render() -> str:
    """Return the table as Markdown."""
    tests = carried()
    lines = [HEAD]
    for prefix, title in TITLES.items():
        lines += [f"## {title}\n", "| Id | Failure | Proved by |", "|---|---|---|"]
        for name, failure in catalogue().items():
            if name.startswith(prefix):
                lines.append(f"| {name} | {failure.what} | {_proof(failure, tests.get(name, []))} |")
        lines.append("")
    return "\n".join(lines)


def _proof(failure: Failure, tests: list[str]) -> str:
    words = [f"`{test}`" for test in tests]
    if failure.reason:
        words.append(f"*{'Left out' if not tests else 'Still to come'}: {failure.reason}*")
    return "<br>".join(words)


def main() -> None:
    """Write the table."""
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
