"""One environment of one installation: its checked configuration and its places on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

import msgspec

import tradefan.strategies
from tradefan import scaffold
from tradefan.config.check import missing_to_run
from tradefan.config.loader import Loaded, load_texts
from tradefan.config.mistakes import meant
from tradefan.config.render import render
from tradefan.config.sources import read_layers
from tradefan.contracts import lookup, names
from tradefan.core.describe import describe
from tradefan.errors import Refused
from tradefan.infra import DataDir
from tradefan.links.keys import KeyLocks
from tradefan.links.paper import accounts_in, reset_paper
from tradefan.stores.needs import Wired
from tradefan.units import AccountId, InstrumentId, plain

_ = tradefan.strategies  # Importing the package registers the strategies that come with TradeFan.


@dataclass(frozen=True)
class Environment:
    """What `-e ENV --config DIR --set KEY=VALUE` name."""

    name: str
    base: Path
    loaded: Loaded
    places: DataDir
    code: str
    """Hash of the user's own strategy files, which is part of the configuration's id; empty without any."""

    @classmethod
    def load(cls, name: str, config_dir: Path | None, sets: Sequence[str]) -> Environment:
        """Read, merge and check the configuration; load the user's strategies.

        Raises:
            ConfigInvalid: with every mistake at once.
            Refused: NO_CONFIG, NO_ENVIRONMENT or BAD_STRATEGY.
        """
        folder = _config_dir(config_dir)
        scaffold.load_strategies(folder.parent / scaffold.PACKAGE)
        strategies = {known: lookup("strategy", known).settings for known in names("strategy")}
        loaded = _load(folder, name, sets, strategies)
        code = _hash_code(folder.parent / scaffold.PACKAGE)
        if code:
            both = blake2b(f"{loaded.config_id} {code}".encode(), digest_size=6).hexdigest()
            loaded = msgspec.structs.replace(loaded, config_id=both)
        return cls(name, folder.parent, loaded, DataDir.of(loaded.config, folder.parent), code)

    def render(self) -> str:
        """Return the configuration in force, each value with its origin."""
        return render(self.loaded)

    def missing_to_run(self) -> tuple[str, ...]:
        """Return what `run` still needs; nothing means that it can start."""
        return missing_to_run(self.loaded.config, secret_is_set)

    def require_free(self) -> None:
        """See that no other daemon has the directory or a key: a refusal comes within a second of the start.

        Raises:
            Refused: DATA_DIR_IN_USE or KEY_IN_USE with the other one's pid and directory.
        """
        self.places.require_free()
        KeyLocks().require_free(self.loaded.config.accounts)

    def check_strategies(self) -> None:
        """See that every instance can be declared with its settings.

        Raises:
            Refused: with all that cannot, by the name of the instance.
        """
        mistakes = []
        for name, one in self.loaded.config.strategies.items():
            try:
                describe(one.use, one.settings)
            except Refused as no:
                mistakes.append(f"strategies.{name}: {no}")
        if mistakes:
            raise Refused("BAD_STRATEGY", "\n".join(mistakes))

    def wired(self) -> Wired:
        """Return what the configuration names of what a journal may need."""
        config = self.loaded.config
        return Wired(
            tuple(AccountId(name) for name in config.accounts),
            frozenset(InstrumentId(name) for name in config.feeds),
        )

    def describe_strategy(self, name: str) -> str:
        """Return what an instance or a registered strategy declares."""
        instance = self.loaded.config.strategies.get(name)
        if instance is None:
            return describe(name)
        return describe(instance.use, instance.settings)

    def reset_paper(self, account: str, balances: Mapping[str, Decimal] | None) -> str:
        """Begin a new epoch of a paper account; its history is kept.

        The journal knows positions that the venue then has no more, so it is set aside with the store
        before: if that is all that happens, what the account holds is `external`.

        Raises:
            Refused: UNKNOWN_ACCOUNT, or DATA_DIR_IN_USE while the daemon runs.
        """
        configured = self.loaded.config.accounts.get(account)
        if configured is None or configured.venue != "paper":
            raise Refused("UNKNOWN_ACCOUNT", f"expected a paper account of {self.name}, got {account!r}")
        wanted = configured.balances if balances is None else balances
        self.places.take("(paper reset)")
        try:
            known = accounts_in(self.places.paper)
            if account not in known:
                return f"nothing to reset: {account} is made at the first start"
            aside = self.places.set_aside()
            reset_paper(self.places.paper, wanted, AccountId(account))
        finally:
            self.places.release()
        held = ", ".join(f"{plain(qty)} {asset}" for asset, qty in wanted.items())
        first = f"{account}: new epoch with {held}; orders and trades of before are kept"
        others = [f"{name}: what it holds is external now" for name in known if name != account]
        return "\n".join((first, *aside, *others))


def find_places(name: str, config_dir: Path | None) -> DataDir:
    """Return where an environment's daemon keeps its files; for clients, which run no strategy.

    Raises:
        ConfigInvalid: with every mistake at once.
        Refused: NO_CONFIG or NO_ENVIRONMENT.
    """
    folder = _config_dir(config_dir)
    return DataDir.of(_load(folder, name, (), None).config, folder.parent)


def load_own_strategies(config_dir: Path | None) -> str:
    """Load the user's own strategies, for whoever runs them without a daemon; return the hash of their files.

    Raises:
        Refused: NO_CONFIG, or BAD_STRATEGY.
    """
    folder = own_strategies(config_dir)
    scaffold.load_strategies(folder)
    return _hash_code(folder)


def secret_is_set(reference: str) -> bool:
    """Say whether `${NAME}` or `${file:PATH}` leads to something; the secret itself goes nowhere."""
    name = reference[2:-1]
    if not name.startswith("file:"):
        return bool(os.environ.get(name))
    path = Path(name.removeprefix("file:")).expanduser()
    return path.is_file() and path.stat().st_size > 0


def own_strategies(config_dir: Path | None) -> Path:
    """Return the folder of the user's own strategies: it lies beside that of the configuration."""
    return _config_dir(config_dir).parent / scaffold.PACKAGE


def _load(
    folder: Path, name: str, sets: Sequence[str], strategies: Mapping[str, type[msgspec.Struct]] | None
) -> Loaded:
    known = sorted(path.stem for path in (folder / "environments").glob("*.yaml"))
    if name not in known:
        raise Refused("NO_ENVIRONMENT", f"there is no environment {name!r}; {meant(name, known)}")
    layers = read_layers(lambda file: _read(folder / file), name, directory=str(folder))
    return load_texts(layers, os.environ, sets, environment=name, strategies=strategies)


def _config_dir(given: Path | None) -> Path:
    candidates = [given] if given else [Path.cwd() / "config", Path(__file__).resolve().parents[1] / "config"]
    for folder in candidates:
        if (folder / "base.yaml").is_file():
            return folder.resolve()
    raise Refused("NO_CONFIG", f"expected base.yaml in {' or '.join(str(folder) for folder in candidates)}")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _hash_code(folder: Path) -> str:
    """Return a hash of everything that the user's strategies are made of; tests are no part of it."""
    files = [path for path in sorted(folder.rglob("*.py")) if not path.name.startswith("test_")]
    if not files:
        return ""
    digest = blake2b(digest_size=6)
    for path in files:
        text = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(text)}\n".encode() + text)
    return digest.hexdigest()
