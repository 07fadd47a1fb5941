"""One environment of one installation: its checked configuration and its places on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

import msgspec

import tradefan.strategies
from tradefan import scaffold
from tradefan.config import nodes
from tradefan.config.check import missing_to_run
from tradefan.config.history import Overrides, Version
from tradefan.config.loader import Loaded, load_texts
from tradefan.config.mistakes import ConfigInvalid, Mistake, meant
from tradefan.config.render import render
from tradefan.config.schema import Config
from tradefan.config.sources import PREFIX, Layer, read_layers
from tradefan.contracts import lookup, names
from tradefan.core.describe import describe
from tradefan.data_dir import DataDir
from tradefan.errors import Refused
from tradefan.links.keys import KeyLocks
from tradefan.links.paper import accounts_in, reset_paper
from tradefan.links.secret import UNREADABLE, read_secret, secret_flaw, secret_lack
from tradefan.stores.needs import Wired
from tradefan.units import AccountId, InstrumentId, clean, plain

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
    folder: Path
    layers: tuple[Layer, ...]
    """The files as they were read."""
    sets: tuple[str, ...] = ()

    @classmethod
    def load(cls, name: str, config_dir: Path | None, sets: Sequence[str]) -> Environment:
        """Read, merge and check the configuration; load the user's strategies.

        Raises:
            ConfigInvalid: with every mistake at once.
            Refused: NO_CONFIG, NO_ENVIRONMENT or BAD_STRATEGY.
        """
        folder = _config_dir(config_dir)
        scaffold.load_strategies(folder.parent / scaffold.PACKAGE)
        layers, code = _read_layers(folder, name), _hash_code(folder.parent / scaffold.PACKAGE)
        loaded = _parse(name, layers, _overrides(sets), code)
        places = DataDir.of(loaded.config, folder.parent)
        return cls(name, folder.parent, loaded, places, code, folder, layers, tuple(sets))

    def read(self) -> tuple[Layer, ...]:
        """Return the files as they are now.

        Raises:
            ConfigInvalid: one is missing or cut short; as Unsettled, one is being written.
        """
        return read_layers(lambda file: _read(self.folder / file), self.name, directory=str(self.folder))

    def parse(self, layers: Sequence[Layer]) -> Loaded:
        """Return what other files would mean here, with this process's environment and `--set`.

        Raises:
            ConfigInvalid: with every mistake at once.
        """
        return _parse(self.name, layers, self.overrides, self.code)

    def parse_version(self, version: Version) -> Loaded:
        """Return what a version means as this program reads it, under what lay over its files then.

        Raises:
            ConfigInvalid: with every mistake at once.
        """
        return _parse(self.name, version.layers(str(self.folder)), _then(version), self.code)

    @property
    def overrides(self) -> Overrides:
        """What lies over the files here."""
        return _overrides(self.sets)

    def render(self) -> str:
        """Return the configuration in force, each value with its origin."""
        return render(self.loaded)

    def missing_to_run(self) -> tuple[str, ...]:
        """Return what `run` still needs; nothing means that it can start."""
        return (*missing_to_run(self.loaded.config, secret_lack), *self._unsafe())

    def require_readable(self) -> None:
        """See that every secret which lies in a file can be read by this user.

        Raises:
            ConfigInvalid: with each that cannot, by the place that names it.
        """
        mistakes = []
        for key, reference in self._secrets().items():
            try:
                read_secret(reference)
            except Refused as no:
                place = self.loaded.origins.get(key, "default")
                if no.code == UNREADABLE:
                    mistakes.append(Mistake(place, None, key, None, "a secret that can be read", no.text))
        if mistakes:
            raise ConfigInvalid(mistakes)

    def _secrets(self) -> dict[str, str]:
        """Return the references that are said, by their keys."""
        config = self.loaded.config
        found: dict[str, str] = {}
        for section, server in (("influx", config.influx), ("redis", config.redis)):
            found |= {f"{section}.username": server.username, f"{section}.password": server.password}
        for name, account in config.accounts.items():
            found[f"accounts.{name}.api_key"] = account.api_key
            found[f"accounts.{name}.api_secret"] = account.api_secret
        for name, notifier in config.notifiers.items():
            found[f"notifiers.{name}.url"] = notifier.url
            found[f"notifiers.{name}.secret"] = notifier.secret
        return {key: reference for key, reference in found.items() if reference}

    def _unsafe(self) -> Iterator[str]:
        """Give the secrets that are good enough for every environment but production."""
        if self.loaded.config.environment != "production":
            return
        for key, reference in self._secrets().items():
            # A user's name is no secret, although it is said like one.
            if key.endswith(".username") or secret_lack(reference):
                continue
            flaw = secret_flaw(reference)
            if flaw is not None:
                yield f"a safe secret ({key}: {flaw})"

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

    A daemon goes on with the configuration of before while the files say nothing usable, and has to be
    reached then, too: of these only `data_dir` is read.

    Raises:
        Refused: NO_CONFIG or NO_ENVIRONMENT.
    """
    folder = _config_dir(config_dir)
    try:
        layers = _read_layers(folder, name)
        config = load_texts(layers, os.environ, (), environment=name).config
    except ConfigInvalid:
        config = Config(environment=name, data_dir=_said_data_dir(folder, name))
    return DataDir.of(config, folder.parent)


def _said_data_dir(folder: Path, name: str) -> str:
    """Return `data_dir` as the last of the files says it, or the process's environment; else nothing."""
    said = ""
    for file in ("base.yaml", f"environments/{name}.yaml", "local.yaml"):
        try:
            tree = nodes.parse(file, _read(folder / file) or b"").root
        except ConfigInvalid:
            continue
        for entry in tree.entries if isinstance(tree, nodes.Mapping) else ():
            if entry.key == "data_dir" and isinstance(entry.node, nodes.Scalar):
                said = entry.node.text
    return os.environ.get(f"{PREFIX}DATA_DIR", said)


def parse_version(name: str, config_dir: Path | None, version: Version) -> Loaded:
    """Return what files of another time meant, under what lay over them then; else under what does here.

    Raises:
        ConfigInvalid: with every mistake at once.
        Refused: NO_CONFIG, or BAD_STRATEGY.
    """
    layers = version.layers(str(_config_dir(config_dir)))
    return _parse(name, layers, _then(version), load_own_strategies(config_dir))


def _then(version: Version) -> Overrides:
    return _overrides(()) if version.overrides is None else version.overrides


def _overrides(sets: Sequence[str]) -> Overrides:
    said = {name: clean(value) for name, value in os.environ.items() if name.startswith(PREFIX)}
    return Overrides(said, tuple(map(clean, sets)))


def read_files(name: str, config_dir: Path | None) -> tuple[Layer, ...]:
    """Return the files of an environment as they are now.

    Raises:
        ConfigInvalid: one is missing, cut short, or is being written.
        Refused: NO_CONFIG or NO_ENVIRONMENT.
    """
    return _read_layers(_config_dir(config_dir), name)


def config_folder(config_dir: Path | None) -> Path:
    """Return the folder of the configuration.

    Raises:
        Refused: NO_CONFIG.
    """
    return _config_dir(config_dir)


def load_own_strategies(config_dir: Path | None) -> str:
    """Load the user's own strategies, for whoever runs them without a daemon; return the hash of their files.

    Raises:
        Refused: NO_CONFIG, or BAD_STRATEGY.
    """
    folder = own_strategies(config_dir)
    scaffold.load_strategies(folder)
    return _hash_code(folder)


def own_strategies(config_dir: Path | None) -> Path:
    """Return the folder of the user's own strategies: it lies beside that of the configuration."""
    return _config_dir(config_dir).parent / scaffold.PACKAGE


def _read_layers(folder: Path, name: str) -> tuple[Layer, ...]:
    known = sorted(path.stem for path in (folder / "environments").glob("*.yaml"))
    if name not in known:
        raise Refused("NO_ENVIRONMENT", f"there is no environment {name!r}; {meant(name, known)}")
    return read_layers(lambda file: _read(folder / file), name, directory=str(folder))


def _parse(name: str, layers: Sequence[Layer], over: Overrides, code: str) -> Loaded:
    """Return a configuration whose strategies are those that are registered; `code` is part of its id."""
    strategies = {known: lookup("strategy", known).settings for known in names("strategy")}
    loaded = load_texts(layers, over.environ, over.sets, environment=name, strategies=strategies)
    if not code:
        return loaded
    both = blake2b(f"{loaded.config_id} {code}".encode(), digest_size=6).hexdigest()
    return msgspec.structs.replace(loaded, config_id=both)


def _config_dir(given: Path | None) -> Path:
    candidates = [given] if given else [Path.cwd() / "config", Path(__file__).resolve().parents[1] / "config"]
    for folder in candidates:
        try:
            if (folder / "base.yaml").is_file():
                return folder.resolve()
        except PermissionError:
            raise _unreadable(folder / "base.yaml") from None
    raise Refused("NO_CONFIG", f"expected base.yaml in {' or '.join(str(folder) for folder in candidates)}")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise _unreadable(path) from None


def _unreadable(path: Path) -> ConfigInvalid:
    expected = f"a file that user {os.geteuid()} may read"
    return ConfigInvalid([Mistake(str(path), None, "", None, expected, "a container's user is 10001")])


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
