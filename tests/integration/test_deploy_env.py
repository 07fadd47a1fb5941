"""What deploy.sh takes from .env, what of it reaches a daemon, and what production refuses."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
import yaml

from tests.integration.deploying import (
    HARMLESS,
    RUN,
    StandIns,
    call,
    deploy,
    function,
    put_program,
    put_stand_ins,
)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("BINANCE_API_KEY=own\n", 0o644, ".env: readable by other users; expected a file of mode 0600"),
        (
            "GRAFANA_PASSWORD=tradefan123\n",
            0o600,
            "GRAFANA_PASSWORD: a default password; expected one of its own",
        ),
        ("BINANCE_API_KEY='admin'\n", 0o600, "BINANCE_API_KEY: a default password"),
    ],
)
@pytest.mark.parametrize("mode_of_deploy", ["native", "compose", "systemd"])
def test_production_when_env_file_is_unsafe_then_exit_2_names_the_key(
    small_venv: Path, tmp_path: Path, text: str, mode: int, words: str, mode_of_deploy: str
) -> None:
    """In every mode, before anything is built, started or stopped; no value is said."""
    (small_venv / ".env").write_text(text)
    (small_venv / ".env").chmod(mode)
    env = {**HARMLESS, **put_stand_ins(tmp_path), "TRADEFAN_UNIT_DIR": str(tmp_path)}
    action = ("-s",) if mode_of_deploy == "compose" else ("-a", "start")
    for words_of_action in (("-a", "deploy"), action):
        done = deploy(small_venv, "-m", mode_of_deploy, "-e", "production", *words_of_action, env=env)
        assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("production refuses to start:\n")
    assert words in done.stderr
    assert "own\n" not in done.stderr.replace("of its own", "")
    assert "tradefan123" not in done.stderr


def test_passwords_when_missing_then_drawn_once_and_kept_private(small_venv: Path) -> None:
    """What is there is never overwritten, and development has its known login without a file."""
    have = 'load_env_file; have_passwords; echo "$GRAFANA_PASSWORD $INFLUXDB_PASSWORD $REDIS_PASSWORD"'
    done = function(small_venv, f"ENVIRONMENT=development; {have}; say_login", env=HARMLESS)
    assert done.stdout.splitlines()[0] == "tradefan123 tradefan123 tradefan123"
    assert "admin / tradefan123 (development only: everybody knows it)" in done.stdout
    file = small_venv / ".env"
    assert not file.exists()
    file.write_text("# mine\nGRAFANA_PASSWORD=\nREDIS_PASSWORD=mine")
    said = [
        function(small_venv, f"ENVIRONMENT=staging; {have}", env=HARMLESS).stdout.splitlines()
        for _ in range(2)
    ]
    assert said[0][0] == "Drawn and kept in .env (mode 0600): GRAFANA_PASSWORD INFLUXDB_PASSWORD"
    assert said[1] == said[0][1:]
    grafana, influx, redis = said[1][0].split()
    assert (len(grafana), len(influx), redis) == (24, 24, "mine")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("# mine\nGRAFANA_PASSWORD=\nREDIS_PASSWORD=mine\nGRAFANA_PASSWORD=")


DOTENV = b"""# mine
ONE=one # and why\r
export TWO = "two \\\\ \\"x\\"" # and why
THREE='three # $x'\r
FOUR=
FIVE=a#b= c
ONE_MORE=first
ONE_MORE=last
HERE=not this
"""


def test_env_file_when_read_then_values_are_those_that_compose_finds(checkout: Path) -> None:
    """Comments, quotes and line ends; of two lines the last one, and the environment before all of them."""
    (checkout / ".env").write_bytes(DOTENV)
    names = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "ONE_MORE", "HERE")
    show = "; ".join(f'printf "%s|" "${{{name}-}}"' for name in names)
    done = function(checkout, f"load_env_file; {show}", env={"HERE": "said"})
    assert done.stderr == ""
    assert done.stdout == 'one|two \\ "x"|three # $x||a#b= c|last|said|'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A=1\nB='topsecret\n", ".env:2: B: expected the quote to end in this line"),
        ('A="top\\nsecret"\n', ".env:1: A: expected the quote to end in this line"),
        ("A='topsecret'more\n", ".env:1: A: expected the quote to end in this line"),
        ("A= # topsecret\n", ".env:1: A: expected a value, or nothing, before a comment"),
        ("\n\nTOP-SECRET=x\n", ".env:3: expected NAME=VALUE"),
    ],
)
def test_env_file_when_two_programs_would_read_it_differently_then_exit_2_names_the_line(
    checkout: Path, text: str, words: str
) -> None:
    """Half a file of secrets is worse than none, but is enough for a stop; and no value is said."""
    (checkout / ".env").write_text(text)
    for action in ("deploy", "start", "restart"):
        done = deploy(checkout, "-e", "testing", "-a", action)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(words)
        assert "secret" not in done.stderr
    (checkout / ".env").write_text(f"{text}TRADEFAN__DATA_DIR=/srv/said\n")
    done = deploy(checkout, "-e", "testing", "-a", "stop")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(words)
    assert "Going on without it: this starts nothing.\ntesting does not run here" in done.stderr
    assert "in /srv/said)" in done.stderr
    assert "secret" not in done.stderr


def test_env_file_when_it_has_a_name_of_the_scripts_then_that_steers_nothing(
    small_venv: Path, stand_ins: StandIns
) -> None:
    """`ACTION=deploy`, written for another tool, must not make a deployment of a self-test."""
    (small_venv / ".env").write_text("ACTION=deploy\nYES=yes\nUID=7\nTRADEFAN_SELF_TEST_S=3\n")
    env = {**stand_ins.env, "SELF_TEST_CODE": "0", "ACTION": ""}
    done = deploy(small_venv, "-e", "testing", "-s", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    said = ".env:{}: {} is left out: it is a variable of the shell's or of this script's own"
    assert done.stderr.splitlines() == [
        said.format(line, name) for line, name in ((1, "ACTION"), (2, "YES"), (3, "UID"))
    ]
    assert (stand_ins.folder / "told").read_text().endswith("self-test -e testing --for 3\n")
    assert not (small_venv / "data").exists()


def test_env_file_when_it_has_any_variable_of_the_scripts_then_that_is_left_out(checkout: Path) -> None:
    """Also what they assign much later: a daemon would get their value in the place of the file's."""
    text = "\n".join(
        path.read_text() for path in (checkout / "scripts").rglob("*.sh") if path.stem != "image"
    )
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    names = sorted({*re.findall(r"(?:^|[\s;(])([A-Z][A-Z0-9_]*)\+?=", code)} - {"NAME", "LC_ALL"})
    own = [name for name in names if not name.startswith(("TRADEFAN_", "COMPOSE_PRO", "PYTHONDONT"))]
    assert {"RELEASE", "SECRETS", "OUT", "UNIT", "WORDS", "ENV_NAMES", "READY_S"} < {*own}
    (checkout / ".env").write_text("".join(f"{name}=secret\n" for name in own))
    show = "load_env_file; compgen -e | grep -Fx -f <(cut -d = -f 1 $ENV_FILE) || echo none"
    done = function(checkout, show, env={"RELEASE": "of the caller's", "OUT": ""})
    said = ".env:{}: {} is left out: it is a variable of the shell's or of this script's own"
    assert done.stderr.splitlines() == [said.format(line, name) for line, name in enumerate(own, 1)]
    assert done.stdout == "none\n"


def test_env_file_when_it_cannot_be_read_then_exit_69_and_nothing_is_started(checkout: Path) -> None:
    """Without it a daemon would start that lacks its secrets, or has none of its own."""
    (checkout / ".env").symlink_to("/nowhere/env")
    for words in (("-a", "deploy"), ("-s",), ("-a", "start", "-m", "compose")):
        done = deploy(checkout, "-e", "testing", *words)
        assert (done.returncode, done.stdout) == (69, "")
        assert f"cannot read {checkout}/.env." in done.stderr


@pytest.mark.parametrize("broken", ["unreadable", "a line"])
def test_env_file_when_it_is_broken_then_what_runs_is_seen_and_stopped(
    small_venv: Path, tmp_path: Path, stand_ins: StandIns, broken: str
) -> None:
    """In every mode; compose is kept from reading the file itself, over which it would end."""
    if broken == "unreadable":
        (small_venv / ".env").symlink_to("/nowhere/env")
        words = f"cannot read {small_venv}/.env.\n"
    else:
        (small_venv / ".env").write_text("A='b\n")
        words = ".env:1: A: expected the quote to end in this line"
    python = small_venv / ".venv" / "bin" / "python"
    process = stand_ins.start(python, *RUN, program=python, cwd=small_venv)
    record = small_venv / "data" / "testing" / "deploy.pid"
    record.parent.mkdir(parents=True)
    record.write_text(f"{process.pid}\n")
    env = {**stand_ins.env, **put_stand_ins(tmp_path), "TRADEFAN_UNIT_DIR": str(tmp_path)}
    put_program(tmp_path / "bin" / "systemctl", 'case "$1" in show) echo 7 ;; esac')
    (tmp_path / "told.up").touch()
    for mode in ("native", "compose", "systemd"):
        for action in ("status", "logs", "stop"):
            done = deploy(small_venv, "-m", mode, "-e", "testing", "-a", action, env=env)
            assert done.returncode == 0, done.stdout + done.stderr
            assert words in done.stderr
    assert process.wait(10) == -signal.SIGTERM
    empty = small_venv / "data" / "compose-testing" / "overrides.yml.empty"
    assert empty.read_bytes() == b""
    assert f" --env-file {empty} down -t 30 " in (tmp_path / "told").read_text()


def test_env_file_when_it_has_settings_of_the_script_then_they_hold(small_venv: Path, tmp_path: Path) -> None:
    """The image, for how long one waits, where units lie: the file is read before they are needed."""
    (small_venv / ".env").write_text(
        f"TRADEFAN_IMAGE=registry/mine:7\nTRADEFAN_READY_S=1\nTRADEFAN_UNIT_DIR={tmp_path}/nowhere\n"
    )
    env = {**put_stand_ins(tmp_path), **HARMLESS}
    called = call(small_venv / "scripts" / "image.sh", "try", env={**env, "NO_IMAGE": "1"})
    assert "There is no image registry/mine:7." in called.stderr
    put_program(small_venv / "scripts" / "image.sh", 'echo "image $TRADEFAN_IMAGE" >>"$TOLD"')
    (tmp_path / "told.broken").touch()
    done = deploy(small_venv, "-m", "compose", "-e", "development", "-a", "deploy", env=env)
    assert "Waiting for development to be ready, at most 1 s" in done.stdout, done.stderr
    told = (tmp_path / "told").read_text()
    assert "image registry/mine:7\n" in told
    assert " image=registry/mine:7 " in told
    done = deploy(small_venv, "-m", "systemd", "-e", "testing", "-a", "stop", env=env)
    assert f"cannot write units to {tmp_path}/nowhere." in done.stderr


def test_secrets_when_the_daemon_is_not_our_child_then_all_that_the_configuration_may_use_reach_it(
    small_venv: Path, tmp_path: Path
) -> None:
    """The names of .env and those that the configuration refers to; a container's own things stay its own.

    What the configuration refers to is a secret, whatever its name begins with.
    """
    (small_venv / ".env").write_text(
        "BOT_URL=https://bot\nDING_SECRET='$x'\nNO=\nGRAFANA_PASSWORD=g\nREDIS_PASSWORD=r\n"
        "COMPOSE_PROFILES=full\nTRADEFAN_PORT=8003\nTRADEFAN__RISK__MAX_ORDER_QTY=8\nPATH=/nowhere\n"
        "TRADEFAN_SLACK_URL=https://slack\nDOCKER_KEY=k\n"
    )
    (small_venv / "config" / "local.yaml").write_text(
        "notifiers: {a: {kind: slack, url: '${OPS_URL}'}, b: {kind: slack, url: '${TRADEFAN_SLACK_URL}'},\n"
        " c: {kind: webhook, url: 'https://c/${DOCKER_KEY}${TRADEFAN_KEY}${HOME}'}}\n"
    )
    env = {
        **HARMLESS,
        "OPS_URL": "https://ops",
        "TRADEFAN__REDIS__URL": "${MORE_URL}",
        "MORE_URL": "redis://x",
        "TRADEFAN_KEY": "of the environment",
    }
    env |= {"OTHERS_KEY": "of another program"}
    made = f"ENVIRONMENT=development; load_env_file; OVERRIDES={tmp_path}/overrides.yml; pass_words"
    assert function(small_venv, made, env=env).returncode == 0
    found = yaml.safe_load((tmp_path / "overrides.yml").read_text())["services"]["tradefan"]["environment"]
    secret = {"BOT_URL", "DING_SECRET", "OPS_URL", "MORE_URL"}
    secret |= {"TRADEFAN_SLACK_URL", "DOCKER_KEY", "TRADEFAN_KEY"}
    assert sorted(found) == sorted({*secret, "TRADEFAN__REDIS__URL", "TRADEFAN__RISK__MAX_ORDER_QTY"})
    done = function(small_venv, "ENVIRONMENT=development; load_env_file; secret_names | env_file", env=env)
    assert 'BOT_URL="https://bot"\nDING_SECRET="\\$x"\n' in done.stdout
    assert {line.partition("=")[0] for line in done.stdout.splitlines()} == {*secret, "REDIS_PASSWORD"}
