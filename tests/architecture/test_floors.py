"""The floors are import-linter contracts; this proves that those speak of the tree that is there."""

from __future__ import annotations

import ast
import tomllib

from tests.architecture.pure import IMPURE, NEITHER, PURE, ROOT, module_name, package_files, pure_files, under

# ARCHITECTURE.md, part 3.
FORBIDDEN = frozenset(
    {"aiohttp", "asyncio", "logging", "os", "random", "secrets", "socket", "structlog", "threading", "time"}
    | {"uuid", "websockets"}
)


def contract(wanted: str) -> dict[str, list[str]]:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found: dict[str, list[str]] = next(table for table in tables if table["id"] == wanted)
    return found


def imported(tree: ast.AST) -> set[str]:
    """Name the packages that a module imports when it runs, not those that only the type checker sees."""
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_every_module_is_declared_pure_or_impure() -> None:
    """A new room is put on a floor on purpose, not by being forgotten."""
    undeclared = [
        name
        for name in map(module_name, package_files())
        if not under(name, PURE) and not under(name, IMPURE) and not under(name, NEITHER)
    ]
    assert undeclared == []


def test_contract_names_every_pure_module() -> None:
    """The import-linter contract covers what the tests call pure, and nothing slips out of its list."""
    sources = tuple(
        source.removeprefix("tradefan.").removesuffix(".**") for source in contract("pure")["source_modules"]
    )
    missing = [name for name in map(module_name, pure_files()) if not under(name, sources)]
    assert missing == []


def test_contract_forbids_all_that_the_architecture_does() -> None:
    """The list in pyproject.toml may be longer, never shorter."""
    assert set(contract("pure")["forbidden_modules"]) >= FORBIDDEN


def test_pure_modules_import_nothing_impure() -> None:
    """This reads also a package's `__init__`, which the wildcards of the contract leave out."""
    forbidden = set(contract("pure")["forbidden_modules"])
    found = {
        module_name(path): sorted(names)
        for path in pure_files()
        if (names := imported(ast.parse(path.read_text())) & forbidden)
    }
    assert found == {}
