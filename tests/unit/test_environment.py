"""An environment: configuration, the user's own strategies, and what `run` still needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tradefan import contracts
from tradefan.config.mistakes import ConfigInvalid
from tradefan.environment import Environment, find_places, own_strategies
from tradefan.errors import Refused
from tradefan.links.secret import secret_lack

CONFIG = Path(__file__).resolve().parents[2] / "config"
OWN = '''"""A strategy of one's own."""

from tradefan.strategy import Settings, State, Strategy, register


@register("strategy", "{name}")
class Own(Strategy[Settings, State]):
    """Does nothing."""

    def setup(self) -> None:
        self.bars("1m", "BTC/USDT")
'''


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped configuration, and one for strategies beside it."""
    # What a test registers is forgotten after it.
    monkeypatch.setattr("tradefan.contracts._plugins", dict(contracts._plugins))
    shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("local.yaml"))
    (tmp_path / "strategies").mkdir()
    return tmp_path / "config"


def test_recordings_when_environments_share_a_folder_of_logs_then_each_has_its_own(config: Path) -> None:
    """What bounds the recordings of one must not let those of another one go."""
    logs = config.parent / "logs"
    assert find_places("development", config).recorder == logs / "recorder" / "development"
    assert find_places("production", config).recorder == logs / "recorder" / "production"
    (config / "local.yaml").write_text("data_dir: mine\n")
    assert find_places("development", config).recorder == config.parent / "mine" / "logs" / "recorder"


@pytest.mark.parametrize("name", ["development", "testing", "staging", "production"])
def test_environment_when_shipped_then_is_right_and_lies_beside_its_configuration(
    config: Path, name: str
) -> None:
    """All four pass `check`; data goes where the configuration is, not where the user stands."""
    environment = Environment.load(name, config, ())
    environment.check_strategies()
    assert (environment.name, environment.loaded.config.environment) == (name, name)
    assert environment.places.root == config.parent / "data" / name
    assert find_places(name, config).root == environment.places.root
    assert f"# config {environment.loaded.config_id}" in environment.render()


@pytest.mark.parametrize("name", ["prodution", "../config/environments/production", "local", ""])
def test_environment_when_unknown_then_refused_with_those_that_exist(config: Path, name: str) -> None:
    """A name is one of the files, never a path."""
    with pytest.raises(Refused, match=r"NO_ENVIRONMENT: there is no environment .*production"):
        Environment.load(name, config, ())


def test_environment_when_there_is_no_configuration_then_refused_with_the_place(tmp_path: Path) -> None:
    """The user learns where it was looked for."""
    with pytest.raises(Refused, match=f"NO_CONFIG: expected base.yaml in {tmp_path}"):
        Environment.load("development", tmp_path, ())


def test_environment_when_several_things_are_wrong_then_all_are_said(config: Path) -> None:
    """One look is enough to correct them."""
    with pytest.raises(ConfigInvalid) as caught:
        Environment.load("development", config, ("api.prt=1", "risk.max_drawdown=2"))
    assert [mistake.key for mistake in caught.value.mistakes] == ["api.prt", "risk.max_drawdown"]


def test_production_when_asked_then_names_all_that_it_lacks(config: Path) -> None:
    """Only paper can be traded; the others need nothing."""
    lacks = "\n".join(Environment.load("production", config, ()).missing_to_run())
    for word in ("api_key", "api_secret", "trades on paper only", "production.confirm"):
        assert word in lacks
    for name in ("development", "testing", "staging"):
        assert Environment.load(name, config, ()).missing_to_run() == ()


def test_secret_when_its_reference_leads_nowhere_then_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty variable and an empty file are as good as none."""
    (tmp_path / "full").write_text("x")
    (tmp_path / "empty").write_text("")
    monkeypatch.setenv("FULL", "x")
    monkeypatch.setenv("EMPTY", "")
    references = ["${FULL}", "${EMPTY}", "${NONE_SUCH}"]
    references += [f"${{file:{tmp_path}/{name}}}" for name in ("full", "empty", "none")]
    lacks = [secret_lack(text) for text in references]
    assert [lack is None for lack in lacks] == [True, False, False, True, False, False]
    assert lacks[2] == "${NONE_SUCH} is not set"


@pytest.mark.parametrize("how", ["not ours", "a folder", "no text"])
def test_secret_when_its_file_cannot_be_read_then_key_file_and_reason_are_said(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """As any mistake of the configuration: a supervisor would try a defect again and again."""
    secret = tmp_path / "secret"
    reference = f"${{file:{secret}}}"
    if how == "a folder":
        secret.mkdir()
    else:
        secret.write_bytes(b"\xff\xfehush")
    if how == "not ours":
        # Root may read everything, so the system's own word is not to be had in a container.
        monkeypatch.setattr(Path, "read_text", _not_ours(secret))
    reason = {
        "not ours": f"user {os.geteuid()} may not read {reference}",
        "a folder": f"{reference} cannot be read: Is a directory",
        "no text": f"{reference} cannot be read: no text in UTF-8",
    }[how]
    said = f"influx:\n  url: 'http://127.0.0.1:1'\n  password: '{reference}'\n"
    (config / "local.yaml").write_text(said)
    environment = Environment.load("development", config, ())
    assert environment.missing_to_run() == (f"the password of InfluxDB (influx.password: {reason})",)
    with pytest.raises(ConfigInvalid) as caught:
        environment.require_readable()
    where = f"{config}/local.yaml:3: influx.password: expected a secret that can be read; {reason}"
    assert list(map(str, caught.value.mistakes)) == [where]


def _not_ours(secret: Path) -> Callable[..., str]:
    read = Path.read_text

    def read_text(path: Path, *words: Any, **more: Any) -> str:
        if path == secret:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *words, **more)

    return read_text


def test_production_when_secrets_are_known_or_readable_then_says_which_and_no_value(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key, kind and what is expected; elsewhere the same secrets will do."""
    monkeypatch.setenv("BINANCE_API_KEY", "tradefan123")
    (tmp_path / "secret").write_text("hush-hush")
    (tmp_path / "secret").chmod(0o640)
    reference = f"${{file:{tmp_path}/secret}}"
    (config / "local.yaml").write_text(
        f"accounts: {{'binance:main': {{venue: binance, api_secret: '{reference}'}}}}\n"
        f"influx: {{url: 'http://127.0.0.1:1', password: '{reference}'}}\n"
    )
    lacks = Environment.load("production", config, ()).missing_to_run()
    readable = f"{reference} may be read by others, its mode is 0640; expected 0600"
    known = "${BINANCE_API_KEY} is a default password; expected one of its own"
    assert [one for one in lacks if "safe" in one] == [
        f"a safe secret (influx.password: {readable})",
        f"a safe secret (accounts.binance:main.api_key: {known})",
        f"a safe secret (accounts.binance:main.api_secret: {readable})",
    ]
    assert "hush" not in str(lacks)
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setenv("BINANCE_API_KEY", "a-key-of-its-own")
    lacks = Environment.load("production", config, ()).missing_to_run()
    assert [one for one in lacks if "safe" in one] == []


def test_own_code_when_it_changes_then_the_id_of_the_configuration_does(config: Path) -> None:
    """Two runs with one id ran the same code; tests are no part of it."""
    folder = own_strategies(config)
    plain = Environment.load("development", config, ())
    assert (plain.code, folder) == ("", config.parent / "strategies")
    (folder / "own_one.py").write_text(OWN.format(name="own_one"))
    first = Environment.load("development", config, ())
    (folder / "test_own_one.py").write_text("raise ValueError")
    assert Environment.load("development", config, ()).loaded.config_id == first.loaded.config_id
    (folder / "_helper.py").write_text("LENGTH = 5\n")
    second = Environment.load("development", config, ())
    ids = [one.loaded.config_id for one in (plain, first, second)]
    assert len({*ids}) == 3
    assert {len(one) for one in ids} == {12}


def test_own_strategy_when_named_in_the_configuration_then_found_and_described(config: Path) -> None:
    """A file in the folder is enough."""
    (own_strategies(config) / "own_two.py").write_text(OWN.format(name="own_two"))
    environment = Environment.load("development", config, ("strategies.mine={use: own_two}",))
    environment.check_strategies()
    assert environment.describe_strategy("mine").startswith("own_two: Does nothing.\n")
    assert environment.describe_strategy("own_two") == environment.describe_strategy("mine")


def test_own_strategy_when_it_cannot_be_loaded_then_refused_but_clients_still_find_the_daemon(
    config: Path,
) -> None:
    """Whoever edits a strategy can still look at the daemon that runs, and stop it."""
    (own_strategies(config) / "own_bad.py").write_text("1 / 0\n")
    with pytest.raises(Refused, match=r"BAD_STRATEGY: .*own_bad.py: ZeroDivisionError"):
        Environment.load("development", config, ())
    assert find_places("development", config).root == config.parent / "data" / "development"


def test_strategy_when_its_settings_cannot_be_declared_then_check_refuses(config: Path) -> None:
    """`check` says what `run` would meet."""
    broken = OWN.format(name="own_three").replace('"1m"', '"1q"')
    (own_strategies(config) / "own_three.py").write_text(broken)
    environment = Environment.load("development", config, ("strategies.mine={use: own_three}",))
    with pytest.raises(Refused, match=r"BAD_STRATEGY: strategies.mine: .*'1q'"):
        environment.check_strategies()


def test_paper_reset_when_the_account_is_none_or_the_daemon_runs_then_refused(config: Path) -> None:
    """It writes the file that the daemon uses."""
    environment = Environment.load("development", config, ())
    with pytest.raises(Refused, match="UNKNOWN_ACCOUNT: expected a paper account of development"):
        environment.reset_paper("paper:other", None)
    assert environment.reset_paper("paper:main", None).startswith("nothing to reset")
    environment.places.take()
    with pytest.raises(Refused, match="DATA_DIR_IN_USE"):
        Environment.load("development", config, ()).reset_paper("paper:main", None)
    environment.places.release()


def test_environment_when_a_file_may_not_be_read_then_says_which_and_who(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user is nobody that the owner of a private file knows; its daemon is still found."""
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "local.yaml":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigInvalid) as refused:
        Environment.load("development", config, ())
    assert f"{config}/local.yaml: expected a file that user " in str(refused.value)
    assert find_places("development", config).root == config.parent / "data" / "development"
