"""Puts several files of a configuration in place as one: nobody ever takes a part of them for the whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tradefan.config.sources import ROLLBACK
from tradefan.errors import Refused

_MODE = 0o644
_RIGHTS = 0o7777


class Halfway(OSError):
    """Some files may be in place and some not; the mark stays, so that nobody reads them."""


class _Ready(NamedTuple):
    target: Path
    temporary: Path | None
    """None: the file is to go."""


def put_in_place(folder: Path, files: Mapping[str, str | None], modes: Mapping[str, int]) -> None:
    """Let files of a folder have these texts, None for no file, through links to where they lead.

    All are on the disk under other names before the first one changes, so a full disk changes nothing.
    ROLLBACK lies beside them while they change, and whoever reads looks for that (`read_layers`); one that
    was left there goes with the last file, also where none is to change. A file keeps mode and owner; one
    that comes anew has that of `modes`.

    Raises:
        Refused: ROLLBACK_RUNS, another one is at it.
        Halfway: the first file may have changed already.
        OSError: nothing has changed.
    """
    ready: list[_Ready] = []
    targets = {name: (folder / name).resolve() for name in files}
    # Those of files that stay as they are, too: who changed them may have been broken off before they were
    # on the disk. Nobody changed any where we may not write.
    folders = {target.parent for target in targets.values() if os.access(target.parent, os.W_OK)}
    try:
        for name, target in targets.items():
            text = files[name]
            if text_of(target) != text:
                temporary = None if text is None else _prepared(target, text, modes.get(name))
                ready.append(_Ready(target, temporary))
        _change(folder, ready, folders)
    finally:
        for one in ready:
            # A disk that turned read-only takes none away, and says nothing of what has changed.
            with suppress(OSError):
                if one.temporary is not None:
                    one.temporary.unlink(missing_ok=True)


def text_of(path: Path) -> str | None:
    """Return what a file says, with the line ends that it has; None where there is none."""
    try:
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except FileNotFoundError:
        return None


def modes_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the modes of files, for when one has to be made again."""
    found = {}
    for name in names:
        with suppress(OSError):
            found[name] = (folder / name).stat().st_mode & _RIGHTS
    return found


def _prepared(target: Path, text: str, mode: int | None) -> Path:
    """Write what is to be a file, with the mode and the owner that it has, under another name."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        # Nobody else reads it before it has the mode of the file.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            _dress(descriptor, target, _MODE if mode is None else mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _dress(descriptor: int, target: Path, mode: int) -> None:
    try:
        now = target.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, mode)
        return
    # Only root gives a file away; another user's becomes ours, as with any editor.
    with suppress(PermissionError):
        os.fchown(descriptor, now.st_uid, now.st_gid)
    os.fchmod(descriptor, now.st_mode & _RIGHTS)


def _change(folder: Path, ready: Iterable[_Ready], folders: Iterable[Path]) -> None:
    """Let the files change names; the mark is on the disk before the first one and until the last one."""
    mark = folder / ROLLBACK
    descriptor, untouched = _hold(mark)
    try:
        _sync(folder)
        for one in ready:
            _rename(one)
            untouched = False
        for touched in folders:
            _sync(touched)
        mark.unlink()
        _sync(folder)
    except OSError as error:
        if untouched and _take_back(mark):
            raise
        raise Halfway(error.errno, error.strerror, error.filename2 or error.filename) from error
    finally:
        os.close(descriptor)


def _rename(one: _Ready) -> None:
    if one.temporary is None:
        one.target.unlink(missing_ok=True)
    else:
        one.temporary.replace(one.target)


def _take_back(mark: Path) -> bool:
    """Take a mark away under which nothing has changed; False: it is still there."""
    try:
        mark.unlink(missing_ok=True)
    except OSError:
        return False
    with suppress(OSError):
        _sync(mark.parent)
    return True


def _hold(mark: Path) -> tuple[int, bool]:
    """Return the mark, locked, and whether it is new: one that is found says that files may have changed."""
    while True:
        descriptor, new = _open(mark)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before may have taken it away between our two calls.
            with suppress(FileNotFoundError):
                if mark.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor, new
        except BlockingIOError:
            os.close(descriptor)
            raise Refused("ROLLBACK_RUNS", f"{mark}: another rollback is on its way; try again") from None
        except OSError:
            # A file system without locks: nobody else has it.
            os.close(descriptor)
            if new:
                _take_back(mark)
            raise
        os.close(descriptor)


def _open(mark: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        with suppress(FileExistsError):
            return os.open(mark, flags | os.O_CREAT | os.O_EXCL, _MODE), True
        with suppress(FileNotFoundError):
            return os.open(mark, flags), False


def _sync(folder: Path) -> None:
    """Bring the names of a folder to the disk, in the order in which they were changed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
