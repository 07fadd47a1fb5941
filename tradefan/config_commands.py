"""`tradefan config`: which configurations were active, how they differ, and the way back to one of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tradefan.errors import Outage, Refused
from tradefan.terminal import AsJson, ConfigDir, Env, fail, print_json, program
from tradefan.units import iso

if TYPE_CHECKING:
    from tradefan.client import Client
    from tradefan.config.history import Version
    from tradefan.config.loader import Loaded
    from tradefan.config_versions import ConfigVersions

config_app = typer.Typer(no_args_is_help=True, help="Versions of the configuration.")
ANSWER_S = 10.0
"""For so long a running daemon is waited for behind a rollback."""
Number = Annotated[int, typer.Argument(min=1, metavar="N", help="a version's number")]


@config_app.command("history")
def history(env: Env = "development", config: ConfigDir = None, as_json: AsJson = False) -> None:
    """List the configurations that were active, the newest last."""
    versions = _versions(env, config)
    rows, damaged = _rows(versions)
    for why in damaged:
        print(f"tradefan: {why}", file=sys.stderr)
    if as_json:
        print_json([{**_head(one), "changed": one.changed} for one in rows])
        return
    for one in rows:
        more = f" and {len(one.changed) - 1} more" if len(one.changed) > 1 else ""
        head = f"{one.number:5}  {iso(one.at_ns)}  {one.config_id:12}  {one.cause:8}"
        print(f"{head}  {''.join(one.changed[:1])}{more}".rstrip())
    if not rows and not damaged:
        print("none is kept yet: the first is that of the first start")


@config_app.command("show")
def show(
    number: Annotated[int | None, typer.Argument(min=1, metavar="[N]", help="else the newest")] = None,
    env: Env = "development",
    config: ConfigDir = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="NAME", help="one of its files, as it was: local.yaml")
    ] = None,
) -> None:
    """Print a whole configuration as it was in force, each value with its origin; or one of its files."""
    from tradefan.config.render import render

    if file is not None:
        print(_file(_version(env, config, number), file), end="")
        return
    print(render(_loaded(_known(_version(env, config, number)), env, config)), end="")


@config_app.command("diff")
def diff_versions(
    first: Number,
    second: Annotated[int | None, typer.Argument(min=1, metavar="[M]", help="else the newest")] = None,
    env: Env = "development",
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the keys that differ between two versions, and when such a change takes effect."""
    from tradefan.config.check import diff

    one, other = (_loaded(_known(_version(env, config, number)), env, config) for number in (first, second))
    found = diff(one.config, other.config)
    if as_json:
        print_json([{"key": d.key, "old": d.old, "new": d.new, "change": d.change} for d in found])
        return
    for line in found:
        print(line)
    if not found:
        print("nothing differs")


@config_app.command("rollback")
def rollback(number: Number, env: Env = "development", config: ConfigDir = None) -> None:
    """Write the files of a version back; a running daemon takes them as it takes any edit.

    What stands in the files now is kept as a version of its own before.
    """
    from tradefan.config.sources import ROLLBACK
    from tradefan.config_files import text_of
    from tradefan.environment import config_folder

    version, folder = _version(env, config, number), config_folder(config)
    before = {name: text_of(folder / name) for name in (*version.files, "local.yaml")}
    words = [f"the files are those of version {number} already"]
    if all(version.files.get(name, "") == (text or "") for name, text in before.items()):
        if not (folder / ROLLBACK).exists():
            print(*words)
            return
        words.append("the rollback that was broken off behind its last file has come to its end")
    else:
        words = _make_ready(version, before, env, config)
    daemon = _daemon(env, config)
    refused = None if daemon is None else daemon.get("/status")["config"]["refused"]
    _put(folder, {name: version.files.get(name) for name in before}, version.modes)
    print(*words, sep="\n")
    if daemon is None:
        print("no daemon runs; the next start takes them")
    else:
        _await(daemon, refused, env, config)


def _make_ready(
    version: Version, before: Mapping[str, str | None], env: str, config: Path | None
) -> list[str]:
    """See that a version's files can go back, and keep those of before; return what is said of it."""
    from tradefan.environment import config_folder

    folder, number, versions = config_folder(config), version.number, _versions(env, config)
    for name, text in before.items():
        if version.files.get(name) != text:
            _require_writable(folder / name, f"config show {number} --file {name} -e {env}")
    there = {name: text for name, text in before.items() if text is not None}
    newest = versions.newest()
    # Only files go back: what lies over them is what the daemon has been started with.
    over = None if newest is None else newest.overrides
    wanted = msgspec.structs.replace(version, overrides=over)
    changed = _changed(msgspec.structs.replace(wanted, files=there), wanted, env, config)
    kept = newest.number if newest is not None and newest.files == there else _keep(versions, folder, there)
    return [*changed, f"wrote the files of version {number}; those of before are version {kept}"]


def _changed(old: Version, new: Version, env: str, config: Path | None) -> list[str]:
    """Return what changes from one to the other; nothing where the old one is no configuration.

    Raises:
        ConfigInvalid: the new one is none.
    """
    from tradefan.config.check import diff
    from tradefan.config.mistakes import ConfigInvalid

    wanted = _loaded(new, env, config)
    try:
        return [str(one) for one in diff(_loaded(old, env, config).config, wanted.config)]
    except ConfigInvalid:
        return []


def _daemon(env: str, config: Path | None) -> Client | None:
    from tradefan.client import Client
    from tradefan.environment import find_places

    running = find_places(env, config).running()
    return None if running is None else Client(running.url, lambda: "")


def _await(daemon: Client, refused: int | None, env: str, config: Path | None) -> None:
    """Say what a running daemon makes of the files; it had refused so many edits before."""
    from tradefan.environment import read_files
    from tradefan.reload import fingerprint

    files, deadline = fingerprint(read_files(env, config)).hex(), time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        found = daemon.get("/status")["config"]
        if found["files"] == files:
            if found["refused"] != refused:
                fail("the daemon refuses them; it goes on as before", 1, found["refused_errors"])
            print(f"the daemon has them in force as version {found['version']}")
            return
        time.sleep(0.1)
    fail(f"the daemon has not answered within {ANSWER_S:.0f} s; see {program()} logs -e {env}", 1)


def _keep(versions: ConfigVersions, folder: Path, files: dict[str, str]) -> int:
    from tradefan.config.history import REPLACED, Version
    from tradefan.config_files import modes_of

    replaced = Version(0, "", time.time_ns(), REPLACED, files, modes=modes_of(folder, files))
    try:
        return versions.add(replaced)
    except OSError as error:
        raise Outage(
            f"expected to keep the present files in {error.filename}, got {error.strerror}"
        ) from error


def _require_writable(path: Path, instead: str) -> None:
    """See that a file can be replaced, before anything is kept or written; `instead` is what prints it.

    Raises:
        Outage: with the path, and whether everything there is read-only.
    """
    place = path.resolve().parent
    if os.access(place, os.W_OK):
        return
    read_only = place.is_dir() and os.statvfs(place).f_flag & os.ST_RDONLY
    why = "is read-only here, as in a container" if read_only else "may not be written by this user"
    text = f"expected to write {path}, but {place} {why}; nothing was changed."
    raise Outage(f"{text} Write that file where it can be written, as printed by: {program()} {instead}")


def _file(version: Version, name: str) -> str:
    """Return the text of a file; who wants none of `local.yaml` has an empty one."""
    if name not in version.files and name != "local.yaml":
        fail(f"version {version.number} has no file {name!r}; it has {', '.join(version.files)}", 2)
    return version.files.get(name, "")


def _put(folder: Path, files: Mapping[str, str | None], modes: Mapping[str, int]) -> None:
    """Put all files of a version in place; None: there was no such file."""
    from tradefan.config.sources import ROLLBACK
    from tradefan.config_files import Halfway, put_in_place

    try:
        put_in_place(folder, files, modes)
    except Halfway as error:
        again = f"nobody reads them until this ends well, or {folder / ROLLBACK} is removed"
        raise Outage(
            f"expected to put files in place, got {error.strerror} for {error.filename}; {again}"
        ) from error
    except OSError as error:
        # Of two names, as of a file that is mounted by itself, the second one is that of the configuration.
        where = error.filename2 or error.filename
        raise Outage(
            f"expected to write {where} or beside it, got {error.strerror}; nothing has changed"
        ) from error


def _versions(env: str, config: Path | None) -> ConfigVersions:
    from tradefan.config_versions import ConfigVersions
    from tradefan.environment import find_places

    return ConfigVersions(find_places(env, config).versions)


def _version(env: str, config: Path | None, number: int | None) -> Version:
    versions = _versions(env, config)
    found = versions.newest() if number is None else versions.read(number)
    if found is None:
        raise Refused("NO_VERSION", "no version of the configuration is kept yet")
    return found


def _rows(versions: ConfigVersions) -> tuple[list[Version], list[str]]:
    """Return all versions, and why some cannot be read."""
    rows, damaged = [], []
    for number in versions.numbers():
        try:
            rows.append(versions.read(number))
        except Refused as no:
            damaged.append(no.text)
    return rows, damaged


def _known(version: Version) -> Version:
    """Return a version, and say where what is shown of it is not all that was in force."""
    if version.overrides is None:
        text = f"version {version.number} does not say what lay over its files; shown with what does so here"
        print(f"tradefan: {text}", file=sys.stderr)
    return version


def _loaded(version: Version, env: str, config: Path | None) -> Loaded:
    from tradefan.environment import parse_version

    return parse_version(env, config, version)


def _head(version: Version) -> dict[str, Any]:
    at = iso(version.at_ns)
    return {"number": version.number, "at": at, "config_id": version.config_id, "cause": version.cause}
