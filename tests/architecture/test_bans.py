"""What ruff cannot see: calls that would make the pure floors answer differently at the next run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.pure import module_name, package_files, pure_files

BANNED_CALLS = {
    "open": "a file: links read, and hand over what they read",
    "input": "a terminal",
    "print": "a terminal: log through ctx.log",
    "id": "an address, which differs at every run",
    "hash": "a number that PYTHONHASHSEED changes",
    "eval": "code from data",
    "exec": "code from data",
}
CLOCKS = frozenset({"now", "utcnow", "today"})
FILE_METHODS = frozenset({"read_text", "read_bytes", "write_text", "write_bytes"})
TASK_STARTERS = frozenset({"create_task", "ensure_future"})
STARTS_TASKS = frozenset({"drivers.live"})


def findings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from banned_call(node)
        if isinstance(node, ast.For | ast.comprehension) and is_set(node.iter):
            yield f"line {node.iter.lineno}: iterates over a set, whose order PYTHONHASHSEED changes"


def banned_call(call: ast.Call) -> Iterator[str]:
    match call.func:
        case ast.Name(id=name) if name in BANNED_CALLS:
            yield f"line {call.lineno}: {name}() is {BANNED_CALLS[name]}"
        case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=name) if name in CLOCKS:
            yield f"line {call.lineno}: {name}() is a clock: use ctx.now_ns"
        case ast.Attribute(attr=name) if name in FILE_METHODS:
            yield f"line {call.lineno}: {name}() is a file: links read, and hand over what they read"


def is_set(node: ast.expr) -> bool:
    """Tell whether an expression is a set on its face; `sorted(...)` around it makes it fine."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.Sub() | ast.BitXor(), left=left, right=right):
            return is_set(left) or is_set(right)
    return False


def started_tasks(tree: ast.AST) -> Iterator[str]:
    """Find tasks that nobody owns; a TaskGroup owns those that it creates."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value)
        if node.func.attr in TASK_STARTERS and ("loop" in owner or owner == "asyncio"):
            yield f"line {node.lineno}: {owner}.{node.func.attr}"


def test_pure_modules_ask_nothing_of_the_machine() -> None:
    """No clock, file, address or hash order on the pure floors: the same input gives the same output."""
    asked = {
        module_name(path): found
        for path in pure_files()
        if (found := list(findings(ast.parse(path.read_text()))))
    }
    assert asked == {}


def test_only_the_live_driver_starts_bare_tasks() -> None:
    """A task that the driver does not know dies unseen and outlives a stop."""
    bare = {
        module_name(path): found
        for path in package_files()
        if (found := list(started_tasks(ast.parse(path.read_text()))))
        and module_name(path) not in STARTS_TASKS
    }
    assert bare == {}


@pytest.mark.parametrize(
    "code",
    [
        "open('x')",
        "hash(x)",
        "datetime.now(UTC)",
        "Path('x').read_text()",
        "[x for x in {1, 2}]",
        "for x in set(a) | b: pass",
    ],
)
def test_ban_sees_what_it_is_for(code: str) -> None:
    """A ban that finds nothing because it looks wrongly would pass for ever."""
    assert list(findings(ast.parse(code))) != []


def test_ban_lets_pure_code_pass() -> None:
    """Sorted sets and one's own methods of the same name are fine."""
    assert list(findings(ast.parse("for x in sorted({2, 1}): book.open(x); x in {1, 2}"))) == []


def test_bare_task_is_told_from_a_task_group() -> None:
    """The group waits for its tasks and passes their exceptions on."""
    code = "asyncio.create_task(a())\nself.loop.create_task(b())\ngroup.create_task(c())"
    assert [text.partition(":")[0] for text in started_tasks(ast.parse(code))] == ["line 1", "line 2"]
