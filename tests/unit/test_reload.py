"""Live configuration: an edit is taken whole or not at all, and what is refused is named with its line."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.core.recorded import instruments
from tradefan.config.check import validate_swap
from tradefan.config.schema import Config
from tradefan.config.sources import Layer
from tradefan.config_versions import ConfigVersions
from tradefan.environment import Environment
from tradefan.errors import Outage, Refused
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigResult, SwapConfig
from tradefan.messages.instrument import Instrument
from tradefan.reload import SHOWN_MAX, Reloader

CONFIG = Path(__file__).resolve().parents[2] / "config"


class Desk:
    """A reloader with a kernel that decides as the real one: every validator, all or nothing."""

    def __init__(self, folder: Path, versions: Path | None = None, *sets: str) -> None:
        self.folder = folder
        self.environment = Environment.load("development", folder, sets)
        self.config = self.environment.loaded.config
        self.ids = [self.environment.loaded.config_id]
        self.refused: list[tuple[str, ...]] = []
        self.rules: tuple[Instrument, ...] = ()
        self.no: Refused | Outage | None = None
        self.silent = False
        self.before_rules: Callable[[], object] = lambda: None
        self.places: tuple[tuple[str, str], ...] = ()
        self.logs: list[tuple[str, str, dict[str, Any]]] = []
        self.versions = ConfigVersions(versions or folder.parent / "versions")
        self.reloader = Reloader(
            self.environment,
            self.versions,
            config=lambda: self.config,
            swap=self.swap,
            refuse=self.refuse,
            log=lambda level, event, **fields: self.logs.append((level, event, fields)),
            now_ns=lambda: 7,
            rules=self.rules_of,
        )
        self.reloader.begin()

    def rules_of(self, config: Config) -> tuple[Instrument, ...]:
        self.before_rules()
        if self.no is not None:
            raise self.no
        return self.rules

    def swap(self, msg: Message) -> None:
        assert isinstance(msg, SwapConfig)
        assert msg.instruments == self.rules
        self.places = msg.places
        new = msgspec.msgpack.decode(msg.payload, type=Config)
        errors = validate_swap(self.config, new)
        if not errors:
            self.config = new
            self.ids.append(msg.config_id)
        if not self.silent:
            asyncio.get_running_loop().call_soon(self.reloader.answered, ConfigResult(msg.config_id, errors))

    def refuse(self, msg: Message) -> None:
        assert isinstance(msg, ConfigResult)
        self.refused.append(msg.errors)

    async def edit(self, text: str, file: str = "local.yaml") -> None:
        (self.folder / file).write_text(text)
        await self.reloader.look()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("tradefan.reload.STILL_S", 0.001)
    shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("local.yaml"))
    return Desk(tmp_path / "config")


async def test_edit_when_its_keys_are_live_then_is_in_force_and_kept_with_what_changed(desk: Desk) -> None:
    """One swap for the whole edit; the log and the version say each key."""
    await desk.edit("risk:\n  max_order_notional: 1234\nlogs: {level: debug}\n")
    assert (desk.config.risk.max_order_notional, desk.config.logs.level) == (Decimal(1234), "debug")
    changed = ("risk.max_order_notional: from 400000 to 1234", "logs.level: from info to debug")
    version = desk.versions.read(2)
    assert (version.changed, version.cause, version.config_id) == (changed, "edit", desk.ids[-1])
    assert version.files["local.yaml"] == (desk.folder / "local.yaml").read_text()
    assert desk.logs[-1][1:] == (
        "config_changed",
        {"config_id": desk.ids[-1], "version": 2, "keys": 2, "changed": list(changed)},
    )


async def test_edit_when_it_names_a_new_instrument_then_its_rules_go_with_the_swap(desk: Desk) -> None:
    """Who is wired anew has to know ticks and lots."""
    desk.rules = tuple(instruments().values())
    await desk.edit("logs: {level: debug}\n")
    assert desk.config.logs.level == "debug"


@pytest.mark.parametrize(
    "no", [Refused("UNKNOWN_INSTRUMENT", "feeds.x: nobody knows it"), Outage("no answer")]
)
async def test_edit_when_nobody_knows_an_instrument_then_nothing_of_it_is_taken(
    desk: Desk, no: Refused | Outage
) -> None:
    """The venue may be away: another edit, or the same once more, tries again."""
    desk.no = no
    await desk.edit("logs: {level: debug}\n")
    ((reason,),) = desk.refused
    known = f"{desk.folder}/base.yaml:54: feeds.x: nobody knows it"
    assert (reason, desk.config.logs.level) == (known if isinstance(no, Refused) else "no answer", "info")
    desk.no = None
    await desk.edit("logs: {level: debug}\n\n")
    assert desk.config.logs.level == "debug"


async def test_edit_when_what_it_needs_never_comes_then_no_stop_waits_for_it(desk: Desk) -> None:
    """A venue that is silent, code of a stranger's: its thread is left behind."""
    never = threading.Event()
    desk.before_rules = never.wait
    look = asyncio.create_task(desk.edit("logs: {level: debug}\n"))
    async with asyncio.timeout(10):
        while not (found := [one for one in threading.enumerate() if one.name == "config-rules"]):
            await asyncio.sleep(0.01)
    look.cancel()
    await asyncio.gather(look, return_exceptions=True)
    assert [one.daemon for one in found] == [True]
    never.set()


async def test_swap_then_says_where_what_differs_was_said(desk: Desk) -> None:
    """The kernel refuses by keys, too, and knows no files."""
    await desk.edit("risk:\n  max_order_notional: 1234\nlogs: {level: debug}\n")
    assert desk.places == (
        ("risk.max_order_notional", f"{desk.folder}/local.yaml:2"),
        ("logs.level", f"{desk.folder}/local.yaml:3"),
    )


async def test_swap_when_very_much_differs_then_says_where_all_of_it_was_said(desk: Desk) -> None:
    """Also that behind the ones that are logged: it may be the one that is refused."""
    names = [f"s{number}" for number in range(SHOWN_MAX + 10)]
    await desk.edit("strategies:\n" + "".join(f"  {name}: {{use: ema_cross}}\n" for name in names))
    assert desk.refused == []
    last = f"{desk.folder}/local.yaml:{len(names) + 1}"
    assert (f"strategies.{names[-1]}.use", last) in desk.places


async def test_edit_when_one_key_is_not_live_then_nothing_of_it_is_taken(desk: Desk) -> None:
    """The key is named with its file and line, and when it would take effect."""
    await desk.edit("risk:\n  max_order_notional: 1234\napi:\n  port: 9999\n")
    assert len(desk.ids) == 1
    where = f"{desk.folder}/local.yaml:4"
    assert desk.refused == [(f"{where}: api.port: from 8000 to 9999 takes effect at a restart",)]
    assert desk.versions.numbers() == [1]


async def test_edit_when_a_file_is_wrong_then_every_mistake_is_said_once_and_the_old_one_stays(
    desk: Desk,
) -> None:
    """A look each second does not say it each second."""
    await desk.edit("risk:\n  max_order_notional: much\n  max_drawdwn: 0.1\n")
    await desk.reloader.look()
    assert len(desk.refused) == 1
    lines = desk.refused[0]
    assert [line.partition(": ")[0] for line in lines] == [f"{desk.folder}/local.yaml:{n}" for n in (2, 3)]
    assert "did you mean max_drawdown?" in lines[1]
    assert len(desk.ids) == 1
    await desk.edit("risk:\n  max_order_notional: 1234\n")
    assert desk.config.risk.max_order_notional == 1234


@pytest.mark.parametrize(
    "text", ["risk:\n  max_order_notional: 12", "risk: {\n", "\tx: 1\n", "risk: 1\nrisk: 2\n"]
)
async def test_edit_when_cut_short_or_broken_then_is_never_active(desk: Desk, text: str) -> None:
    """A file without its last line end, or no YAML at all."""
    await desk.edit(text)
    assert (len(desk.refused), len(desk.ids)) == (1, 1)


async def test_file_when_it_is_gone_then_refused_and_taken_when_it_is_back(desk: Desk) -> None:
    """Between the two steps of an editor that writes anew there is no file."""
    path = desk.folder / "environments" / "development.yaml"
    text = path.read_text()
    path.unlink()
    await desk.reloader.look()
    await desk.reloader.look()
    assert len(desk.refused) == 1
    assert "a file that exists" in desk.refused[0][0]
    path.write_text(text)
    await desk.reloader.look()
    assert (desk.logs[-1][1], len(desk.ids)) == ("config_unchanged", 1)


async def test_file_when_it_cannot_be_read_then_refused_like_any_mistake(desk: Desk) -> None:
    """A folder in its place, or one that this user may not read: the old configuration goes on."""
    (desk.folder / "local.yaml").mkdir()
    await desk.reloader.look()
    await desk.reloader.look()
    assert (len(desk.refused), len(desk.ids)) == (1, 1)
    assert f"{desk.folder}/local.yaml" in desk.refused[0][0]


async def test_edit_when_only_comments_change_then_nothing_is_swapped(desk: Desk) -> None:
    """The id of a configuration is that of its values."""
    await desk.edit("# nothing\n")
    assert (desk.logs[-1][1], len(desk.ids), desk.refused) == ("config_unchanged", 1, [])


async def test_edit_when_the_file_is_still_being_written_then_waits_until_it_stands_still(desk: Desk) -> None:
    """Half of an edit may be right for itself: two looks have to agree."""
    path = desk.folder / "local.yaml"
    path.write_text("risk:\n  max_order_notional: 1\n")

    async def write_on() -> None:
        for number in range(2, 8):
            await asyncio.sleep(0)
            path.write_text(f"risk:\n  max_order_notional: {number}\n")

    monkey = asyncio.create_task(write_on())
    await desk.reloader.look()
    await monkey
    await desk.reloader.look()
    assert desk.config.risk.max_order_notional == 7


async def test_file_when_it_never_stands_still_then_nothing_is_judged_and_that_is_said_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being written may be right for itself, and nobody has meant it."""
    path, read, count = desk.folder / "local.yaml", Environment.read, iter(range(10_000))

    def growing(environment: Environment) -> tuple[Layer, ...]:
        path.write_text(f"risk:\n  max_order_notional: 1000\n# line {next(count)}\n")
        return read(environment)

    with monkeypatch.context() as writer:
        writer.setattr(Environment, "read", growing)
        await desk.reloader.look()
        await desk.reloader.look()
    said = [event for _, event, _ in desk.logs if event == "config_unstable"]
    assert (desk.refused, said) == ([], ["config_unstable"])
    assert desk.config.risk.max_order_notional == 400000
    await desk.reloader.look()
    assert desk.config.risk.max_order_notional == 1000


async def test_file_when_it_is_cut_short_only_for_a_moment_then_is_not_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that writes in place is on its way."""
    path = desk.folder / "local.yaml"
    path.write_text("risk:\n  max_order_no")
    asyncio.get_running_loop().call_later(0.02, path.write_text, "risk:\n  max_order_notional: 1234\n")
    monkeypatch.setattr("tradefan.reload.STILL_S", 0.1)
    await desk.reloader.look()
    assert desk.config.risk.max_order_notional == 1234
    assert desk.refused == []


async def test_link_when_it_is_swapped_then_what_it_leads_to_is_read(desk: Desk) -> None:
    """Containers put a folder of files in place by one link, `..data`."""
    for number, limit in ((1, 500), (2, 600)):
        (desk.folder / f"..{number}").mkdir()
        (desk.folder / f"..{number}" / "local.yaml").write_text(f"risk: {{max_order_notional: {limit}}}\n")
    (desk.folder / "..data").symlink_to("..1")
    (desk.folder / "local.yaml").symlink_to("..data/local.yaml")
    await desk.reloader.look()
    assert desk.config.risk.max_order_notional == 500
    (desk.folder / "..new").symlink_to("..2")
    (desk.folder / "..new").rename(desk.folder / "..data")
    await desk.reloader.look()
    assert desk.config.risk.max_order_notional == 600


async def test_versions_when_the_disk_does_not_take_them_then_the_edit_is_in_force(desk: Desk) -> None:
    """The limit that was lowered counts; that it is not kept is said."""
    shutil.rmtree(desk.folder.parent / "versions")
    (desk.folder.parent / "versions").write_text("in the way\n")
    await desk.edit("risk: {max_order_notional: 1234}\n")
    assert desk.config.risk.max_order_notional == 1234
    assert "config_version_not_kept" in [event for _, event, _ in desk.logs]
    assert desk.reloader.number == 0


async def test_swap_when_its_answer_is_late_then_is_kept_when_it_comes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force is a version, however long the kernel took; one that it refuses is none."""
    monkeypatch.setattr("tradefan.reload.ANSWER_S", 0.01)
    desk.silent = True
    await desk.edit("risk:\n  max_order_notional: 1234\n")
    await desk.edit("risk:\n  max_order_notional: 1235\n")
    first, second = desk.ids[-2:]
    assert [event for _, event, _ in desk.logs][-2:] == ["config_swap_unanswered"] * 2
    assert desk.reloader.number == 1
    desk.reloader.answered(ConfigResult(second, ("no",)))
    assert desk.reloader.number == 1
    desk.reloader.answered(ConfigResult(first, ()))
    assert (desk.reloader.number, desk.versions.read(2).config_id) == (2, first)


def test_start_when_the_files_are_those_of_before_then_is_the_same_version(desk: Desk) -> None:
    """A restart is no change; one with other files is, and says which keys."""
    assert Desk(desk.folder).reloader.number == 1
    (desk.folder / "local.yaml").write_text("api: {port: 9999}\n")
    assert Desk(desk.folder).reloader.number == 2
    version = desk.versions.read(2)
    assert (version.cause, version.changed) == (
        "start",
        ("api.port: from 8000 to 9999 takes effect at a restart",),
    )
