"""The data directory: who owns it, where its files are, what other programs may read there."""

from __future__ import annotations

import os
import secrets
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import msgspec
from msgspec import Struct

from tradefan.config.schema import Config
from tradefan.core.ids import is_instance
from tradefan.errors import Outage, Refused
from tradefan.links.lock import DirLock
from tradefan.stores.disk import checkpoint
from tradefan.stores.mark import MARK_END
from tradefan.stores.rebuild import REBUILT

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_TOKEN_MIN = 32


class DaemonFile(Struct, frozen=True):
    """`daemon.json`: how clients and `deploy.sh` find a running daemon."""

    pid: int
    url: str
    started_ns: int
    environment: str
    version: str
    stop_deadline_s: int = 10
    """How long a stop of it takes at most: who stops it waits that long."""


class DataDir:
    """One run's directory; a second daemon on it is refused by name."""

    def __init__(self, root: Path, logs: Path, journal: str = "journal.db", store: str = "store.db") -> None:
        """Name the places; nothing is made before `take`."""
        self.root = root
        self.logs = logs
        self.log = logs / "tradefan.log"
        self.recorder = logs / "recorder"
        self.journal = root / journal
        self.store = root / store
        self.user = root / "user.db"
        self.paper = root / "paper.db"
        self.token = root / "token"
        self.tape = root / "tape.json"
        self.versions = root / "config"
        self.daemon_file = root / "daemon.json"
        self._instance_file = root / "instance"
        self._lock = DirLock(root)

    @classmethod
    def of(cls, config: Config, base: Path) -> DataDir:
        """Return the places for a configuration; relative ones lie under `base`."""
        root, logs = (base / Path(path).expanduser() for path in (config.data_path, config.logs_path))
        places = cls(root, logs, config.journal.path, config.store.path)
        if not config.data_dir:
            # Environments share the folder of the logs: one must not let another one's recordings go.
            places.recorder /= config.environment
        return places

    def take(self, what: str = "") -> None:
        """Make the directories and lock them; `what` says it where it is not for a daemon.

        Raises:
            Refused: DATA_DIR_IN_USE with the pid that holds it.
            Outage: the directories cannot be made or written.
        """
        try:
            for folder in (self.root, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            holder = self._lock.take(f"{os.getpid()} {what}".rstrip())
        except OSError as error:
            # A call on a descriptor knows no name.
            where = error.filename or self._lock.path
            text = f"expected a writable data directory, got {error.strerror} for {where}"
            raise Outage(text) from error
        self._require_mine(holder)
        # A daemon that was killed left it behind, and clients would ask at its address.
        self.daemon_file.unlink(missing_ok=True)

    def require_free(self) -> None:
        """See that nobody holds the directory now, before much is begun; only `take` decides it.

        Raises:
            Refused: DATA_DIR_IN_USE with the pid that holds it.
        """
        # Where nobody can look, `take` says why.
        with suppress(OSError):
            self._require_mine(self._lock.holder())

    def _require_mine(self, holder: str | None) -> None:
        if holder is not None:
            text = f"{self.root} is used by the daemon with pid {holder or 'unknown'}; stop that one first"
            raise Refused("DATA_DIR_IN_USE", text)

    def release(self) -> None:
        """Take back what says that a daemon runs here."""
        if self._lock.held:
            self.daemon_file.unlink(missing_ok=True)
            self._lock.release()

    def leave(self) -> None:
        """Say that no daemon answers here any more, but keep the lock: the system lets it go with us."""
        if self._lock.held:
            self.daemon_file.unlink(missing_ok=True)

    def holder(self) -> int | None:
        """Return the pid of the daemon that runs here, also while it only starts; None without one.

        Where the lock does not tell, the daemon that announced itself is meant, if it lives.
        """
        note = self._note()
        return int(note) if note is not None and note.isdecimal() else None

    def _note(self) -> str | None:
        """Return the note of whoever holds the directory, empty without one; None when nobody does."""
        try:
            note = self._lock.holder()
        except OSError:
            # Nobody can look, which does not mean that nobody is there.
            return self._announced_pid()
        return note if note != "" else self._announced_pid() or ""

    def _announced_pid(self) -> str | None:
        record = self._announced()
        return None if record is None or not _lives(record.pid) else str(record.pid)

    def instance(self) -> str:
        """Return the three letters that begin every order id from this directory; drawn once.

        Where their file is lost they are those of the journal's newest EPOCH.

        Raises:
            Refused: BAD_INSTANCE when the file says something else: other letters would make the
                orders at the venue look like a stranger's.
        """
        if self.restore_instance() is None and not self._instance_file.exists():
            write_whole(self._instance_file, _draw())
        text = self._instance_file.read_text(encoding="utf-8", errors="replace").strip()
        if not is_instance(text):
            raise Refused("BAD_INSTANCE", f"{self._instance_file}: expected 3 of a-z2-7, got {text[:20]!r}")
        return text

    def restore_instance(self) -> str | None:
        """Write the file of the letters again where it is lost and the journal knows them; return them then.

        Raises:
            Refused, Outage: there is a journal that cannot be read.
        """
        from tradefan.stores.journal import JournalFile  # noqa: PLC0415 clients do without its libraries

        if self._instance_file.exists() or not self.journal.exists():
            return None
        with closing(JournalFile(str(self.journal), read_only=True)) as file:
            letters = file.trading().instance
        if not letters:
            return None
        write_whole(self._instance_file, letters)
        return letters

    def set_aside(self) -> list[str]:
        """Put journal and store beside themselves under the next number, and draw new letters.

        The letters come first and are never those of before: whatever fails after that, no order id
        repeats one that the venue's history has.

        Raises:
            Outage: a file cannot be brought to rest or moved.
        """
        for path in (self.journal, self.store):
            if path.exists():
                checkpoint(str(path))
        kept = (self.journal, self.store, self._instance_file)
        number = next(n for n in count(1) if not any(_numbered(path, n).exists() for path in kept))
        done = [self._draw_again(number)]
        for path in (self.journal, self.store):
            aside = _numbered(path, number)
            if path.exists():
                done.append(f"{path.name} is kept as {aside.name}")
            # What is left of a file that is gone is in the way of a new one too. The kill byte stays: a
            # fresh journal does not resume what was killed.
            for end in (MARK_END, REBUILT, "-wal", "-shm", ""):
                side = path.with_name(path.name + end)
                if side.exists():
                    side.rename(aside.with_name(aside.name + end))
        return done

    def _draw_again(self, number: int) -> str:
        before = self.instance()
        used = {file.read_text(encoding="utf-8").strip() for file in self.root.glob("instance*")}
        write_whole(_numbered(self._instance_file, number), before)
        letters = next(drawn for drawn in iter(_draw, None) if drawn not in used)
        write_whole(self._instance_file, letters)
        return f"order ids begin with {letters}, no more with {before}"

    def load_token(self) -> str:
        """Return what control calls must carry; made for its owner's eyes only at the first start.

        Raises:
            Refused: BAD_TOKEN when the file holds none: an empty one would let everybody in.
        """
        if not self.token.exists():
            write_whole(self.token, f"{secrets.token_urlsafe(32)}\n", 0o600)
        self.token.chmod(0o600)
        token = self.token.read_text(encoding="utf-8", errors="replace").strip()
        if len(token) < _TOKEN_MIN or not token.isascii():
            text = f"{self.token}: expected at least {_TOKEN_MIN} ASCII characters; remove it for a new one"
            raise Refused("BAD_TOKEN", text)
        return token

    def announce(self, record: DaemonFile) -> None:
        """Let clients find us; a file of an earlier run is replaced in one piece."""
        write_whole(self.daemon_file, msgspec.json.encode(record).decode())

    def running(self) -> DaemonFile | None:
        """Return what a running daemon announced, None when none holds the directory."""
        record = self._announced()
        return None if record is None or self._note() is None else record

    def _announced(self) -> DaemonFile | None:
        try:
            return msgspec.json.decode(self.daemon_file.read_bytes(), type=DaemonFile)
        except (OSError, msgspec.MsgspecError):
            return None


def may_be_daemon(pid: int) -> bool:
    """Say whether a process may be a daemon: a number alone may be another's, and SIGUSR2 ends most."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        # No /proc, or one that hides others: a kill is not withheld for that.
        return True
    return b"tradefan" in line and b"run" in line.split(b"\0")


def _lives(pid: int) -> bool:
    """Say whether a daemon may run under this number now."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (OSError, OverflowError):
        return False
    return may_be_daemon(pid)


def _draw() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(3))


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file that is never seen half, not even after a power loss."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
