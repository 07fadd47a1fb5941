"""A rollback puts several files in place as one: whoever reads takes all of them or none."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_reload import CONFIG, Desk
from tradefan import config_commands
from tradefan.config.history import decode
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config.sources import ROLLBACK, Unsettled
from tradefan.environment import Environment
from tradefan.errors import Outage, Refused

ORDER, POSITION = "max_order_notional: 400000", "max_position_notional: 11110"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Two versions that differ in each file: without and with a local.yaml."""
    monkeypatch.setattr("tradefan.reload.STILL_S", 0.001)
    monkeypatch.setenv("TRADEFAN__DATA_DIR", str(tmp_path / "data"))
    shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("local.yaml"))
    made = Desk(tmp_path / "config", tmp_path / "data" / "config")
    base, other = made.folder / "base.yaml", made.folder / "environments" / "development.yaml"
    base.write_text(base.read_text().replace(ORDER, "max_order_notional: 1111"))
    other.write_text(f"{other.read_text()}# touched\n")
    (made.folder / "local.yaml").write_text(f"risk:\n  {POSITION}\n")
    (made.folder / "local.yaml").chmod(0o600)
    asyncio.run(made.reloader.look())
    assert limits(made) == (1111, 11110)
    return made


def limits(desk: Desk) -> tuple[int, int]:
    risk = desk.config.risk
    return int(risk.max_order_notional), int(risk.max_position_notional)


def rollback(desk: Desk, number: int) -> None:
    config_commands.rollback(number, "development", desk.folder)


def slowed(call: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    def slow(*words: Any) -> Any:
        time.sleep(seconds)
        return call(*words)

    return slow


def failing(call: Callable[..., Any], number: int, error: int) -> Callable[..., Any]:
    """Fail from the `number`th call on; of two names both are told, as the system does."""
    calls = iter(range(1, 1_000))

    def fail(*words: Any) -> Any:
        if next(calls) >= number:
            raise OSError(error, os.strerror(error), str(words[0]), None, *map(str, words[1:2]))
        return call(*words)

    return fail


def denying(call: Callable[..., Any]) -> Callable[..., Any]:
    """Let everything go but the mark of a rollback."""

    def deny(path: Any, *words: Any, **more: Any) -> Any:
        if Path(path).name == ROLLBACK:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return call(path, *words, **more)

    return deny


@pytest.mark.parametrize("slow", ["fsync", "replace"])
async def test_rollback_when_the_disk_is_slow_then_no_mixture_is_in_force(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """Between two files there may be more time than files have to stand still."""
    monkeypatch.setattr(os, slow, slowed(getattr(os, slow), 0.05))
    task = asyncio.create_task(asyncio.to_thread(rollback, desk, 1))
    seen = {limits(desk)}
    while not task.done():
        await desk.reloader.look()
        seen.add(limits(desk))
    await task
    await desk.reloader.look()
    assert seen | {limits(desk)} == {(1111, 11110), (400000, 600000)}
    assert [desk.versions.read(number).cause for number in desk.versions.numbers()] == [
        "start",
        "edit",
        "edit",
    ]
    assert desk.refused == []


def test_rollback_when_the_disk_is_full_then_nothing_has_changed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the first file either."""
    before = {path: path.read_text() for path in desk.folder.rglob("*") if path.is_file()}
    (desk.folder / "local.yaml").write_text(f"risk:\n  {POSITION}1\n")
    before[desk.folder / "local.yaml"] = (desk.folder / "local.yaml").read_text()
    # The version of what is replaced is written first; of two files the second has no room.
    monkeypatch.setattr(os, "fsync", failing(os.fsync, 3, errno.ENOSPC))
    with pytest.raises(Outage, match="No space left on device; nothing has changed"):
        rollback(desk, 1)
    assert {path: path.read_text() for path in desk.folder.rglob("*") if path.is_file()} == before


async def test_rollback_when_it_is_broken_off_then_nobody_reads_its_files_until_it_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon goes on and says so once; a start is refused; the same words once more bring it to its end."""
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", failing(os.replace, 2, errno.EIO))
        with pytest.raises(
            Outage, match=r"nobody reads them until this ends well, or .*\.rollback is removed"
        ):
            rollback(desk, 1)
    monkeypatch.setattr("tradefan.reload.LOOKS_MAX", 3)
    await desk.reloader.look()
    await desk.reloader.look()
    said = [fields["reason"] for _, event, fields in desk.logs if event == "config_unstable"]
    assert (limits(desk), desk.refused, len(said)) == ((1111, 11110), [], 1)
    assert said[0].startswith(f"{desk.folder}/.rollback: expected no rollback on its way; ")
    with pytest.raises(Unsettled, match=r"run `config rollback` again"):
        Environment.load("development", desk.folder, ())
    rollback(desk, 1)
    await desk.reloader.look()
    assert (limits(desk), (desk.folder / ROLLBACK).exists()) == ((400000, 600000), False)


@pytest.mark.parametrize("call", ["fsync", "unlink"])
async def test_rollback_when_it_is_broken_off_behind_its_last_file_then_the_same_once_more_ends_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    """All files are in place, and only the mark is left: it goes, and nothing more is kept."""
    with monkeypatch.context() as broken:
        # Two files and the mark are brought to the disk first; local.yaml goes before the mark does.
        broken.setattr(os, call, failing(getattr(os, call), 4 if call == "fsync" else 2, errno.EIO))
        with pytest.raises(Outage, match="nobody reads them until this ends well"):
            rollback(desk, 1)
    monkeypatch.setattr("tradefan.reload.LOOKS_MAX", 3)
    await desk.reloader.look()
    assert (limits(desk), (desk.folder / ROLLBACK).exists()) == ((1111, 11110), True)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    rollback(desk, 1)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "the files are those of version 1 already",
        "the rollback that was broken off behind its last file has come to its end",
    ]
    assert desk.versions.numbers() == [1, 2]
    # The names that were changed before are on the disk before the mark is not.
    assert {(desk.folder / name).stat().st_ino for name in (".", "environments")} <= set(synced[:-1])
    await desk.reloader.look()
    assert (limits(desk), (desk.folder / ROLLBACK).exists()) == ((400000, 600000), False)


@pytest.mark.parametrize(("call", "number", "error"), [("replace", 1, errno.EBUSY), ("fsync", 3, errno.EIO)])
def test_rollback_when_its_first_file_cannot_change_then_its_mark_is_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: int
) -> None:
    """As with a file that is mounted by itself: no try would ever end well, and nobody could start."""
    before = {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(os, call, failing(getattr(os, call), number, error))
    said = (
        rf"base\.yaml or beside it, got {os.strerror(error)}; nothing" if call == "replace" else "; nothing"
    )
    with pytest.raises(Outage, match=f"{said} has changed$"):
        rollback(desk, 1)
    assert {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()} == before
    Environment.load("development", desk.folder, ())


def test_rollback_when_its_first_file_cannot_change_and_the_mark_was_there_then_it_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may have changed some of them."""
    (desk.folder / ROLLBACK).touch()
    monkeypatch.setattr(os, "replace", failing(os.replace, 1, errno.EBUSY))
    with pytest.raises(Outage, match=r"base\.yaml; nobody reads them until this ends well"):
        rollback(desk, 1)
    assert (desk.folder / ROLLBACK).exists()


def test_rollback_when_its_mark_cannot_be_taken_back_then_says_that_it_is_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has changed, and yet nobody reads them."""
    monkeypatch.setattr(os, "replace", failing(os.replace, 1, errno.EIO))
    monkeypatch.setattr(os, "unlink", denying(os.unlink))
    with pytest.raises(Outage, match=r"or .*\.rollback is removed"):
        rollback(desk, 1)


def test_rollback_when_its_mark_cannot_be_locked_then_it_is_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may have no locks."""
    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, 1, errno.ENOLCK))
    with pytest.raises(Outage, match="nothing has changed"):
        rollback(desk, 1)
    assert not (desk.folder / ROLLBACK).exists()


def test_rollback_when_another_one_is_on_its_way_then_refused(desk: Desk) -> None:
    """Who ends first would take the other one's mark away."""
    with (desk.folder / ROLLBACK).open("w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="ROLLBACK_RUNS"):
            rollback(desk, 1)
    assert not list(desk.folder.rglob("*.tmp"))


async def test_rollback_when_files_have_rights_then_they_keep_them(desk: Desk) -> None:
    """Also one that was gone between; and what is kept of them is for its owner alone."""
    (desk.folder / "base.yaml").chmod(0o640)
    rollback(desk, 1)
    await desk.reloader.look()
    assert not (desk.folder / "local.yaml").exists()
    rollback(desk, 2)
    modes = {name: (desk.folder / name).stat().st_mode & 0o777 for name in ("base.yaml", "local.yaml")}
    assert modes == {"base.yaml": 0o640, "local.yaml": 0o600}
    kept = [path.stat().st_mode & 0o777 for path in desk.versions.folder.glob("*.json")]
    assert set(kept) == {0o600}


async def test_rollback_when_a_file_has_line_ends_of_windows_then_they_are_its_own(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come back as they were, and files that have them are those of their version."""
    local = b"risk:\r\n  max_order_notional: 2222\r\n"
    (desk.folder / "local.yaml").write_bytes(local)
    await desk.reloader.look()
    rollback(desk, 1)
    await desk.reloader.look()
    rollback(desk, 3)
    assert (desk.folder / "local.yaml").read_bytes() == local
    await desk.reloader.look()
    capsys.readouterr()
    rollback(desk, 5)
    assert capsys.readouterr().out == "the files are those of version 5 already\n"
    rollback(desk, 1)
    causes = [desk.versions.read(number).cause for number in desk.versions.numbers()]
    assert causes == ["start", *["edit"] * 4]


# --- versions ---------------------------------------------------------------------------------------


def test_version_when_the_process_had_overrides_then_is_shown_with_them(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks has others: what was in force is what is told."""
    with_sets = Desk(desk.folder, desk.versions.folder, "risk.max_order_notional=1000")
    assert with_sets.reloader.number == 3
    (line,) = with_sets.versions.read(3).changed
    assert line == "risk.max_order_notional: from 1111 to 1000 takes effect at once"
    config_commands.show(3, "development", desk.folder)
    shown = capsys.readouterr().out
    assert "max_order_notional: 1000 " in shown
    assert "# --set risk.max_order_notional" in shown
    config_commands.diff_versions(2, 3, "development", desk.folder, as_json=False)
    assert capsys.readouterr() == (f"{line}\n", "")


def test_version_when_an_override_is_of_a_secret_then_its_reference_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it leads to is in no file; one that is written out is no configuration at all."""
    monkeypatch.setenv("TF_TEST_PASSWORD", "canary7f3a")
    monkeypatch.setenv("TRADEFAN__INFLUX__PASSWORD", "${TF_TEST_PASSWORD}")
    made = Desk(desk.folder, desk.versions.folder, "redis.password=${TF_TEST_PASSWORD}")
    over = made.versions.read(3).overrides
    assert over is not None
    assert over.environ["TRADEFAN__INFLUX__PASSWORD"] == "${TF_TEST_PASSWORD}"
    assert over.sets == ("redis.password=${TF_TEST_PASSWORD}",)
    assert "canary7f3a" not in (desk.versions.folder / "000003.json").read_text()
    with pytest.raises(ConfigInvalid) as refused:
        Environment.load("development", desk.folder, ("redis.password=canary7f3a",))
    assert "canary7f3a" not in str(refused.value)


def test_version_when_an_older_program_kept_it_then_is_read_and_said_to_be_less(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not know what lay over its files."""
    path = desk.versions.folder / "000001.json"
    old = {key: one for key, one in json.loads(path.read_text()).items() if key not in ("overrides", "modes")}
    path.write_text(json.dumps(old))
    config_commands.show(1, "development", desk.folder)
    out, err = capsys.readouterr()
    assert "max_order_notional: 400000 " in out
    assert err.startswith("tradefan: version 1 does not say what lay over its files")


def test_versions_when_some_cannot_be_read_then_a_start_warns_and_goes_on(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty file after a crash, one that is not ours to read, and the cause of a newer program."""
    newer = json.loads((desk.versions.folder / "000002.json").read_text()) | {"number": 3, "cause": "signal"}
    (desk.versions.folder / "000003.json").write_text(json.dumps(newer))
    (desk.versions.folder / "000004.json").write_text("")
    (desk.versions.folder / "000005.json").mkdir()
    again = Desk(desk.folder, desk.versions.folder)
    assert again.reloader.number == 3
    reasons = [fields["reason"] for _, event, fields in again.logs if event == "config_version_unreadable"]
    assert [reason.partition(": ")[0] for reason in reasons] == [
        str(desk.versions.folder / f"00000{number}.json") for number in (5, 4)
    ]
    config_commands.history("development", desk.folder, as_json=False)
    out, err = capsys.readouterr()
    assert ([line.split()[0] for line in out.splitlines()], len(err.splitlines())) == (["1", "2", "3"], 2)
    with pytest.raises(Refused, match="BAD_VERSION"):
        config_commands.show(4, "development", desk.folder)
    assert decode(b'{"number":1,"config_id":"","at_ns":1,"cause":"later","files":{}}', "x").cause == "later"
