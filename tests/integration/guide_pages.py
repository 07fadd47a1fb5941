"""A page of docs as its reader meets it: its blocks in order, and a checkout with a shell in which they run.

* `sh`: commands, each of which must end with 0.
* `console`: lines behind `$ ` (and then `> `) are commands, what follows is what they print; `...` stands for
  anything. One that shows an error (`tradefan: ...`) must fail, every other one must end with 0.
* `python`, `yaml`: a file, where the line before names one (`` `config/local.yaml`: ``); other Python is run.
* `text`, `json`: to look at.

Nothing else is code: an indented line, or a fence of another form, would be read and not be run.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from tests.integration.daemon_process import ROOT, free_port

LIMIT_S = 90.0
"""For one command."""
LOOK_S = 25.0
"""For so long a command that only looks is repeated, until it shows what the page does."""
PORT = "127.0.0.1:8000"
RUN = ("sh", "console", "python", "yaml")
SHOWN = ("text", "json")
_END = "end-of-command"
_FENCE = re.compile(r"```(\w*)")
_UNSEEN = re.compile(r"(?: {4}|\t)\s*\S|\s*(?:```|~~~)")
_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml))`[^`]*:$")
_LOOKS = re.compile(
    r"tradefan (?:status|logs|order (?:list|show)|data show|position list|strategy list|config history"
    r"|journal show|tca)\b|(?:curl|api) (?!.*(?:--json|-X|-d ))"
)


class Block(NamedTuple):
    """A fenced block: its word, its text, the line that it begins in, and the file that it is to be."""

    kind: str
    text: str
    line: int
    file: str | None


class Command(NamedTuple):
    """A command, and what is shown of what it prints; None where nothing is."""

    text: str
    shown: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Return the fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    before, number = "", 0
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        if fence is None:
            before = lines[number] or before
            number += 1
            continue
        end = lines.index("```", number + 1)
        named = _FILE.search(before)
        text = "\n".join(lines[number + 1 : end]) + "\n"
        yield Block(fence[1], text, number + 1, named[1] if named else None)
        before, number = "", end + 1


def unseen(page: Path) -> list[str]:
    """Return the lines that a page shows as code, and that are in no block: indented ones, other fences."""
    found, inside = [], False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if inside:
            inside = line != "```"
        elif _FENCE.fullmatch(line):
            inside = True
        elif _UNSEEN.match(line):
            found.append(f"{page.name}:{number}: {line.strip()}")
    return found


def commands(block: Block) -> Iterator[Command]:
    """Return the commands of a `sh` or `console` block."""
    if block.kind == "sh":
        joined = block.text.replace("\\\n", "")
        yield from (Command(line, None) for line in joined.splitlines() if line and line[0] != "#")
        return
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"line {block.line}: expected a console block to begin with a command"
    for part in parts[1:]:
        first, *rest = part.replace("\\\n", "").splitlines()
        more = [line.removeprefix("> ") for line in takewhile(lambda line: line.startswith("> "), rest)]
        yield Command("\n".join([first, *more]), "\n".join(rest[len(more) :]).strip() or None)


def matches(shown: str, printed: str) -> bool:
    """Tell whether something was printed as it is shown: `...` is anything, and spaces are not counted.

    Nor are the line ends of JSON, which a page shows in one line.
    """
    even = _packed if shown[0] in "{[" else _even
    pieces = [re.escape(even(piece)) for piece in shown.split("...")]
    return re.fullmatch(r"[\s\S]*".join(pieces), even(printed)) is not None


def _even(text: str) -> str:
    return re.sub(r" ?\n", "\n", re.sub(r"[ \t]+", " ", text)).strip()


def _packed(text: str) -> str:
    return re.sub(r"\s+", "", text)


class Checkout:
    """What a clone has behind `deploy`, in a folder of its own and on a port of its own."""

    def __init__(self, folder: Path) -> None:
        """Copy what is not the program, and make an environment that borrows the packages of this one."""
        self.folder = folder
        self.port = free_port()
        for name in ("scripts", "config"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("local.yaml"))
        for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, folder / name)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
        packages = sysconfig.get_path("purelib")
        place = next((folder / ".venv" / "lib").glob("python3*/site-packages"))
        (place / "borrowed.pth").write_text(f"{ROOT}\n{packages}\n", encoding="utf-8")
        stamp = "source scripts/deploy.sh; stamp_of runtime >$VENV/.tradefan-runtime"
        subprocess.run(["bash", "-c", stamp], cwd=folder, check=True)

    @property
    def environ(self) -> dict[str, str]:
        """Nothing of this machine's user, and no other daemon's port."""
        kept = {
            name: text for name, text in os.environ.items() if not name.startswith(("TRADEFAN_", "PYTHON"))
        }
        ours = {"TRADEFAN__API__PORT": str(self.port), "TRADEFAN_SELF_TEST_S": "2"}
        return {**kept, **ours, "COLUMNS": "120", "NO_COLOR": "1"}

    def close(self) -> None:
        """End the daemon that a page has left."""
        lock = self.folder / "data" / "development" / "deploy.pid"
        if lock.exists():
            words = ["bash", "scripts/deploy.sh", "-e", "development", "-a", "stop"]
            subprocess.run(words, cwd=self.folder, env=self.environ, check=False, capture_output=True)


class Shell:
    """A bash that stays: a later command knows the variables of an earlier one."""

    def __init__(self, checkout: Checkout) -> None:
        """Start it where the reader stands."""
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=checkout.folder,
            env=checkout.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, text: str, limit_s: float = LIMIT_S) -> tuple[int, str]:
        """Run a command without a terminal; return its exit code and all that it printed."""
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{{ {text}\n}} </dev/null\nprintf '\\n{_END} %d\\n' $?\n".encode())
        self._bash.stdin.flush()
        printed, deadline = "", time.monotonic() + limit_s
        while (found := re.search(rf"\n?{_END} (\d+)\n", printed)) is None:
            printed += self._read(deadline - time.monotonic(), text)
        return int(found[1]), printed[: found.start()]

    def _read(self, limit_s: float, text: str) -> str:
        assert self._bash.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._bash.stdout, selectors.EVENT_READ)
            assert selector.select(max(0.0, limit_s)), f"not within {LIMIT_S:g} s: {text}"
        came = os.read(self._bash.stdout.fileno(), 65536)
        assert came, f"the shell ended at: {text}"
        return came.decode("utf-8", "replace")

    def close(self) -> None:
        """End it; what it has started goes on."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(10)
        assert self._bash.stdout is not None
        self._bash.stdout.close()


class Reader:
    """Does what a page says, block by block."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.done: list[Block] = []

    def read(
        self, page: Path, *, before: str = ":", after: str | None = None, until: str | None = None
    ) -> None:
        """Do a page, or what lies between two of its headings; an assertion names the line that is not true.

        `before` is a command that another page has given already.
        """
        assert not (hidden := unseen(page)), f"code that is not run stands in a block, as text: {hidden}"
        lines = page.read_text(encoding="utf-8").splitlines()
        first = 0 if after is None else lines.index(after)
        last = len(lines) if until is None else lines.index(until)
        shell = Shell(self.checkout)
        try:
            shell.run(before)
            for block in blocks(page):
                if first < block.line <= last:
                    self._do(block, page, shell)
        finally:
            shell.close()

    def _do(self, block: Block, page: Path, shell: Shell) -> None:
        where = f"{page.name}:{block.line}"
        assert block.kind in RUN + SHOWN, (
            f"{where}: a block that is not run is marked as text, got {block.kind!r}"
        )
        if block.kind in SHOWN:
            return
        here = block._replace(text=block.text.replace(PORT, f"127.0.0.1:{self.checkout.port}"))
        if block.kind in ("sh", "console"):
            for command in commands(here):
                self._run(command, where, shell)
        elif block.file is not None:
            path = self.checkout.folder / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(here.text, encoding="utf-8")
        else:
            assert block.kind == "python", f"{where}: expected the line before to name the file"
            self._python(here, where)
        self.done.append(block)

    def _run(self, command: Command, where: str, shell: Shell) -> None:
        deadline = time.monotonic() + LOOK_S
        while True:
            began = time.monotonic()
            code, printed = shell.run(command.text)
            took = time.monotonic() - began
            fails = command.shown is not None and re.search(r"^tradefan: ", command.shown, re.MULTILINE)
            fits = command.shown is None or matches(command.shown, printed)
            if fits and (code != 0) == bool(fails):
                self._note(command, printed, took)
                return
            if not _LOOKS.search(command.text) or time.monotonic() > deadline:
                told = f"{where}: $ {command.text}\nexit code {code}\n--- printed\n{printed}"
                self._false(f"{told}\n--- the page shows\n{command.shown}")
                return
            time.sleep(0.3)

    def _false(self, told: str) -> None:
        raise AssertionError(told)

    def _note(self, command: Command, printed: str, took: float) -> None:
        """With TRADEFAN_GUIDES_SHOW=1 and `pytest -s`, tell what a page should show."""
        if os.environ.get("TRADEFAN_GUIDES_SHOW"):
            sys.stderr.write(f"\n$ {command.text}\n{printed}\n[{took:.2f} s]\n")

    def _python(self, block: Block, where: str) -> None:
        done = subprocess.run(
            [self.checkout.folder / ".venv" / "bin" / "python", "-"],
            input=block.text,
            cwd=self.checkout.folder,
            env=self.checkout.environ,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{where}: {done.stderr}"
