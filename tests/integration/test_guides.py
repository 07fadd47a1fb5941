"""The guides in docs/ are true: each is read as it stands, and does what it says (`guide_pages.py`).

Three checkouts are read beside each other: the seconds in which a feed is watched are waited for once.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.integration.daemon_process import ROOT
from tests.integration.guide_machine import Machine
from tests.integration.guide_pages import RUN, SHOWN, Checkout, Reader, blocks, commands, matches, unseen
from tests.services.server import require
from tradefan.api.openapi import document
from tradefan.cli import app
from tradefan.config.loader import load_texts
from tradefan.config.sources import read_layers

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
STOP = "## Stop"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "README.zh-CN.md"])
COMMANDS = get_command(app)
GUIDES = ("quick-start", "api", "troubleshooting", "data", "operations", "strategies")
"""Read from end to end."""
NOT_RUN = {
    "tradefan replay FILE --set strategies.ebb.settings.bet=0.2": "the reader's own; test_replay.py does it",
    "tradefan simulate --seeds 20 --faults all": "takes minutes; .ci/run runs it with 300 seeds",
}
"""Commands of theirs that no test can run, which stand in a block of text, and why."""
ELSEWHERE = {
    "./scripts/deploy.sh -a test": (".ci/run", "exec ./scripts/deploy.sh -a test"),
    "./scripts/tradefan simulate --seeds 20 --faults all": (".ci/run", "tradefan simulate --seeds 300 "),
    "./scripts/tradefan new strategy trend": ("tests/unit/test_cli.py", 'shell.ours("new", "strategy", '),
}
"""Commands of the README that no guide has: what runs them, and by which words."""


def beside_a_daemon(folder: Path) -> dict[str, AssertionError | None]:
    """Read the guides that one daemon serves, between the quick start's first command and its stop."""
    checkout = Checkout(folder)
    found: dict[str, AssertionError | None] = {}

    def read(name: str, **part: str) -> None:
        try:
            Reader(checkout).read(DOCS / f"{name}.md", **part)
        except AssertionError as error:
            found[name] = error
        else:
            found.setdefault(name, None)

    try:
        read("quick-start", until=STOP)
        read("api")
        read("troubleshooting")
        read("data", before='export PATH="$PWD/scripts:$PATH"')
        read("quick-start", after=STOP)
    finally:
        checkout.close()
    return found


def alone(folder: Path) -> dict[str, AssertionError | None]:
    """Read the guide that kills its daemon."""
    checkout = Checkout(folder)
    try:
        Reader(checkout).read(DOCS / "strategies.md")
    except AssertionError as error:
        return {"strategies": error}
    finally:
        checkout.close()
    return {"strategies": None}


def on_a_machine(folder: Path) -> dict[str, AssertionError | None]:
    """Read the guide that stops its daemon and starts it in other ways."""
    checkout = Checkout(folder)
    machine = Machine(checkout)
    try:
        Reader(checkout).read(DOCS / "operations.md", before=machine.before)
    except AssertionError as error:
        return {"operations": error}
    finally:
        machine.close()
        checkout.close()
    return {"operations": None}


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """Begin all readings; whoever asks for a page waits for its own."""
    require("curl")
    with ThreadPoolExecutor(3) as pool:
        served = pool.submit(beside_a_daemon, tmp_path_factory.mktemp("served"))
        others = {
            "strategies": pool.submit(alone, tmp_path_factory.mktemp("killed")),
            "operations": pool.submit(on_a_machine, tmp_path_factory.mktemp("operated")),
        }
        yield {name: others.get(name, served) for name in GUIDES}


@pytest.mark.parametrize("name", GUIDES)
def test_guide_when_it_is_read_then_everything_is_as_it_says(
    readings: dict[str, Future[Any]], name: str
) -> None:
    """Every command in its order, with what it shows; files are written where the page says so."""
    error = readings[name].result()[name]
    if error is not None:
        raise error


# The reader itself.


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def reader(checkout: Checkout) -> Reader:
    return Reader(checkout)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```sh\nfalse\n```\n", r"page\.md:1: \$ false"),
        ("```console\n$ echo one\ntwo\n```\n", "the page shows\ntwo"),
        ("```console\n$ echo 'tradefan: BAD: it is'\ntradefan: BAD: ...\n```\n", "exit code 0"),
        ("```bash\ntrue\n```\n", "a block that is not run is marked as text, got 'bash'"),
        ("```\ntrue\n```\n", "a block that is not run is marked as text, got ''"),
        ("```python\nraise ValueError\n```\n", "ValueError"),
        ("Write it:\n\n```yaml\na: 1\n```\n", "expected the line before to name the file"),
        ("Do:\n\n    false\n", r"code that is not run .*page\.md:3: false"),
        ("1. Do:\n\n   ```sh\n   false\n   ```\n", r"code that is not run .*page\.md:3: ```sh"),
        ("``` sh\nfalse\n```\n", r"code that is not run .*page\.md:1: ``` sh"),
    ],
)
def test_reader_when_a_page_is_not_true_then_it_says_where(reader: Reader, text: str, words: str) -> None:
    """What a page claims and the shell does not do fails, and so does a block that nobody would run."""
    page = reader.checkout.folder / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match=words):
        reader.read(page)


def test_reader_when_a_page_is_true_then_all_of_it_is_done(reader: Reader) -> None:
    """Variables last, files are written, dots stand for anything, JSON is compared without its line ends."""
    page = reader.checkout.folder / "page.md"
    page.write_text(
        '```sh\nONE=1\n```\n\n`config/own.yaml`:\n\n```yaml\na: {b: 1}\n```\n\n```console\n$ echo "$ONE" \\\n'
        '    two; cat config/own.yaml\n1 two\n...\n$ printf \'{\\n  "a": [1]\\n}\\n\'\n{"a": [...]}\n'
        "$ printf '%s\\n' 'a\n> b'\na\nb\n```\n\n```text\nnot run\n```\n\n```python\nassert 1\n```\n"
    )
    reader.read(page)
    assert [block.kind for block in reader.done] == ["sh", "yaml", "console", "python"]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a ...\nb", "a x\ny\nb", True),
        ("...\nb", "b", True),
        ("a\n...", "a", True),
        ("a", "a b", False),
        ("a b", "a    b  \n", True),
        ('{"a": ..., "c": 1}', '{\n  "a": 2,\n  "c": 1\n}', True),
        ('{"a": 1}', '{"a": 2}', False),
    ],
)
def test_output_when_compared_then_only_dots_and_spaces_are_loose(
    shown: str, printed: str, same: bool
) -> None:
    """A page may leave out, and may not be wrong."""
    assert matches(shown, printed) is same


# What the pages name.


GUIDE_PAGES = [DOCS / f"{name}.md" for name in GUIDES]


@pytest.mark.parametrize("page", GUIDE_PAGES, ids=lambda page: page.stem)
def test_block_when_not_run_then_it_is_marked(page: Path) -> None:
    """Either it is run, or it says that it is to look at; nothing is shown as code in another way."""
    assert {block.kind for block in blocks(page)} <= {*RUN, *SHOWN}
    assert unseen(page) == []


def test_command_when_no_test_runs_it_then_the_list_says_why() -> None:
    """A block of text is no way around: each command in it has a reason, and no reason is old."""
    form = re.compile(r"(?:\$ |\./|(?:scripts/|tradefan |sudo |git |docker|make |curl |cp |export )).*")
    shown = [
        line
        for page in GUIDE_PAGES
        for block in blocks(page)
        if block.kind in SHOWN
        for line in block.text.splitlines()
    ]
    assert {line for line in shown if form.match(line)} == {*NOT_RUN}


def plain(command: str) -> list[str]:
    """Return the words of a command, whatever reason it gives, in the environment that is the default."""
    words = shlex.split(command, comments=True)
    words[0] = words[0].rpartition("/")[2]
    if "--reason" in words:
        words[words.index("--reason") + 1] = "TEXT"
    if words[0] == "tradefan" and "development" in words:
        at = words.index("development")
        del words[at - 1 : at + 1]
    return words


def given(page: Path) -> Iterator[list[str]]:
    """Yield the commands that are run when a guide is read."""
    for block in blocks(page):
        if block.kind in ("sh", "console"):
            for command in commands(block):
                if re.match(r"(\./scripts/|tradefan )", command.text):
                    yield plain(command.text.splitlines()[0])


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_readme_when_it_shows_a_command_then_a_test_runs_it(name: str) -> None:
    """A guide has it, maybe with more words; else the list above says what does."""
    run = [words for page in GUIDE_PAGES for words in given(page)]
    text = (ROOT / name).read_text(encoding="utf-8")
    shown = {line.partition("  ")[0] for line in re.findall(r"^ {4}(\S*scripts/.+)", text, re.MULTILINE)}
    assert len(shown) > 10
    others = {one for one in shown if not any(words[: len(plain(one))] == plain(one) for words in run)}
    assert others == {*ELSEWHERE}
    for file, words in ELSEWHERE.values():
        assert words in (ROOT / file).read_text(encoding="utf-8"), file


def test_api_guide_when_the_document_has_a_path_then_it_is_named() -> None:
    """Each path of the OpenAPI document, with its methods, and none that is not there."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    paths = document()["paths"]
    told = set(re.findall(r"`(?:(?:GET|POST)`?(?:, `)? ?)*(/[\w/{}.]+)`", text))
    assert set(paths) <= told
    assert {path for path in told if path.startswith("/api/v1/")} <= set(paths)
    for path, methods in paths.items():
        line = next(line for line in text.splitlines() if f"{path}`" in line and line.startswith("|"))
        assert all(method.upper() in line for method in methods), path


@pytest.fixture(scope="module")
def program() -> str:
    """All text of the program."""
    sources = [*sorted((ROOT / "tradefan").rglob("*.py")), *sorted((ROOT / "scripts").rglob("*.sh"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in sources)


@pytest.mark.parametrize("name", ["api", "troubleshooting", "strategies", "quick-start"])
def test_guide_when_it_names_a_code_then_the_program_has_it(program: str, name: str) -> None:
    """A code that was renamed would be looked for in vain."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r'"([A-Z][A-Z_]+)"', program))
    codes = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text))
    # That of a mode is made of the mode's name.
    assert codes - quoted - {f"MODE_{one}" for one in quoted} == set()
    assert name not in ("api", "troubleshooting") or len(codes) > 15


def test_troubleshooting_when_it_names_an_event_or_a_message_then_the_program_has_it(program: str) -> None:
    """The first column of its tables: what somebody sees."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    seen = {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}
    assert len(seen) > 60
    assert {word for word in seen if word not in program and not word.startswith("MODE_")} == set()


def test_troubleshooting_when_there_is_an_alert_then_it_is_named() -> None:
    """All of config/alerts, and none besides."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## Alerts")[2]
    told = {
        word for cell in re.findall(r"^\| ([A-Z][\w, ]+) \|", text, re.MULTILINE) for word in cell.split(", ")
    }
    groups = yaml.safe_load((ROOT / "config" / "alerts" / "tradefan.yml").read_text())["groups"]
    assert told == {rule["alert"] for group in groups for rule in group["rules"]}


# What every page says of commands and links.


def spoken(page: Path) -> Iterator[str]:
    """Yield the commands in blocks, indented lines and backticks of a page."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        for one in [line, *re.findall(r"`([^`]+)`", line)]:
            for part in one.strip().split(";"):
                yield from re.findall(r"(?:^|\$ |> | |\()(?:\./)?(?:scripts/)?(tradefan [a-z].*)", part)


def check_command(text: str) -> None:
    """See that a command and its options exist; alternatives (`show|export`) are all looked at."""
    text = re.split(r"\s#|[;>`]|\s\|\s|\)$", text)[0]
    words = [
        word.strip("[],") for word in shlex.split(text.replace("'", '"') if text.count("'") % 2 else text)
    ]
    here = [COMMANDS]
    for word in words[1:]:
        groups = [one for one in here if getattr(one, "commands", None)]
        if word.startswith("-"):
            options = {name for one in here for parameter in one.params for name in parameter.opts}
            assert word.partition("=")[0] in {*options, "--help"}, f"{text}: no option {word}"
        elif groups:
            for choice in word.split("|"):
                assert choice in groups[0].commands, f"{text}: no command {choice}"  # type: ignore[attr-defined]
            here = [groups[0].commands[choice] for choice in word.split("|")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_when_it_names_a_command_then_the_command_exists(page: Path) -> None:
    """Command and options of every `tradefan ...` in every document."""
    for command in spoken(page):
        check_command(command)


@pytest.mark.parametrize(
    "text",
    [
        "tradefan stauts",
        "tradefan order list --fast",
        "tradefan data show|exprot trades",
        "tradefan order lst",
    ],
)
def test_command_when_it_does_not_exist_then_it_is_found(text: str) -> None:
    """A check that lets everything pass would prove nothing."""
    with pytest.raises(AssertionError, match=r"no (option|command)"):
        check_command(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_when_it_calls_deploy_then_words_and_options_exist(page: Path) -> None:
    """Actions, environments, modes and options of scripts/deploy.sh."""
    for line in re.findall(r"deploy\.sh ([^`#\n|>)]+)", page.read_text(encoding="utf-8")):
        check_deploy(line)


@pytest.mark.parametrize("words", ["-a log", "-a data", "-e develop", "-m process", "-a status --quiet"])
def test_deploy_words_when_one_does_not_exist_then_it_is_found(words: str) -> None:
    """A word of the usage text is not an action for that."""
    with pytest.raises(AssertionError, match=r"no -[aem]|no option"):
        check_deploy(words)


@cache
def known_words() -> dict[str, list[str]]:
    """Return what the script itself knows behind each option."""
    lists = "echo ${ACTIONS[*]}; echo ${MODES[*]}; environments | xargs; usage"
    code = f"source {ROOT}/scripts/deploy.sh; {lists}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    actions, modes, environments, usage = done.stdout.split("\n", 3)
    options = re.findall(r"(?<!\w)--?[a-z][a-z-]*", usage)
    return {"-a": actions.split(), "-m": modes.split(), "-e": environments.split(), "": options}


def check_deploy(line: str) -> None:
    """See that actions, environments, modes and options exist; a word in capitals stands for any."""
    known, words = known_words(), line.split()
    for option, word in zip(words, [*words[1:], ""], strict=True):
        assert not option.startswith("-") or option in known[""] or option == "--", (
            f"{line}: no option {option}"
        )
        if option in ("-a", "-e", "-m") and not word.isupper():
            named = word.split("|")
            assert {*named} <= {*known[option]}, f"{line}: no {option} {word}"


RULES = [
    rule
    for group in yaml.safe_load((ROOT / "config" / "alerts" / "tradefan.yml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_when_it_says_what_to_do_then_its_commands_are_good_for_any_environment(
    rule: dict[str, Any],
) -> None:
    """Whoever is woken has to give the environment's name: without it another one would be asked, or none."""
    said = rule["annotations"]["do"]
    for line in re.findall(r"deploy\.sh ([^,;.]+)", said):
        assert "-e ENVIRONMENT" in line, said
        check_deploy(line)
    for command in re.findall(r"(?<!/)\btradefan [a-z][^,;.:]*", said):
        check_command(re.split(r" (?:says|shows|lists|names|has|stops|lets)\b", command)[0])
        assert "-e ENVIRONMENT" in command, said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_when_it_links_to_a_file_then_the_file_is_there(page: Path) -> None:
    """Links within the project."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


SHOWING = [
    page for page in PAGES if "```yaml" in page.read_text(encoding="utf-8") and page.stem != "strategies"
]


@pytest.mark.parametrize("page", SHOWING, ids=lambda page: page.stem)
def test_page_when_it_shows_configuration_then_it_is_taken(page: Path) -> None:
    """As config/local.yaml over `development`; that of the strategies' guide is run, with its strategy."""

    def read(file: str, local: str) -> bytes | None:
        path = ROOT / "config" / file
        return local.encode() if file == "local.yaml" else path.read_bytes() if path.exists() else None

    for block in blocks(page):
        if block.kind == "yaml":
            layers = read_layers(partial(read, local=block.text), "development")
            assert load_texts(layers, {}, (), environment="development").config_id, f"line {block.line}"


def shape(page: Path) -> dict[str, Any]:
    """Return what two languages of one text share."""
    text = page.read_text(encoding="utf-8")
    indented = re.findall(r"^    (.+)$", text, re.MULTILINE)
    fenced = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {
        "headings": [len(level) for level in re.findall(r"^(#+) ", prose, re.MULTILINE)],
        "commands": [line.partition("  #")[0].rstrip() for line in indented if line.startswith("./")],
        "screen": [line for line in indented if not line.startswith("./") and not line[0].isdigit()],
        "fenced": fenced,
        "links": sorted(re.findall(r"\]\(([^)]+)\)", text)),
        "rows": text.count("\n|"),
    }


def test_chinese_readme_when_the_english_one_changes_then_it_changes_with_it() -> None:
    """The same headings, commands, blocks, links and tables."""
    chinese = ROOT / "README.zh-CN.md"
    assert json.dumps(shape(chinese), indent=1) == json.dumps(shape(ROOT / "README.md"), indent=1)
    letters = re.sub(
        r"```.*?```|`[^`]*`|\]\([^)]*\)", "", chinese.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert len(re.findall(r"[\u4e00-\u9fff]", letters)) > 900
