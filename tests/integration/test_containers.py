"""The image and the file for compose: what their texts promise, and that what the image starts does start.

An engine builds and runs it where there is one (`make image`). Here the same command starts in an empty root
that cannot be written, as another user, with nothing but the interpreter, its packages and the configuration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import tradefan
from tests.integration.deploying import ROOT, call, function
from tests.services.server import require

EXAMPLE = ROOT / ".env.example"
"""All of it is commented out; the file of whoever runs the tests is none of theirs."""
DOCKERFILE = (ROOT / "Dockerfile").read_text()
FULL = {"influxdb", "redis", "prometheus", "alertmanager", "grafana", "node-exporter"}
PORTS = {"tradefan": "8000", "influxdb": "8086", "prometheus": "9090", "grafana": "3000"}
USER = 10001


def compose_program() -> str:
    """Return compose v1; where it could be had, a run that promises the servers fails without it."""
    if shutil.which("docker-compose") is None:
        policy = shutil.which("apt-cache") and subprocess.run(
            ["apt-cache", "policy", "docker-compose"], capture_output=True, text=True, check=False
        )
        if not policy or not re.search(r"Candidate: \d", policy.stdout):
            pytest.skip("there is no docker-compose here, and none can be installed")
    return require("docker-compose")


def config(*program: str, **env: str) -> dict[str, Any]:
    """Return the file as compose reads it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRADEFAN", "COMPOSE"))}
    command = [*program, "-f", str(ROOT / "docker-compose.yml"), "--env-file", str(EXAMPLE), "config"]
    done = subprocess.run(command, env={**kept, **env}, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.mark.slow
def test_compose_file_when_v1_reads_it_then_every_service_is_bounded_and_local() -> None:
    """Limits, rotated logs, no rights, ports of this machine; the profile `full` around a daemon alone."""
    services = config(compose_program(), COMPOSE_PROFILES="full", TRADEFAN_ENVIRONMENT="staging")["services"]
    assert set(services) == FULL | {"tradefan"}
    for name, one in services.items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert float(one["cpus"]) > 0, name
        assert one["mem_limit"], name
        published = [_published(port) for port in one.get("ports", [])]
        assert published == ([f"127.0.0.1:{PORTS[name]}:{PORTS[name]}"] if name in PORTS else []), name
        assert one.get("profiles") == (None if name == "tradefan" else ["full"]), name
    daemon = services["tradefan"]
    assert daemon["read_only"] is True
    assert daemon["command"] == ["run", "-e", "staging"]
    assert daemon["stop_grace_period"] == "30s"
    # The name that Prometheus and other containers call is one that the daemon answers to.
    assert daemon["environment"]["TRADEFAN__API__HOST"] == daemon["hostname"] == "tradefan"
    assert services["grafana"]["environment"]["INFLUXDB_DB"] == "tradefan"
    assert services["grafana"]["environment"]["TRADEFAN_DASHBOARDS"] == "/etc/grafana/dashboards"


@pytest.mark.slow
def test_compose_file_when_overrides_are_named_beside_it_then_their_values_are_the_callers(
    tmp_path: Path,
) -> None:
    """Whatever is in them; they go before what the file says itself, and a stop has its time."""
    words = {"TRADEFAN__INFLUX__PASSWORD": "${MINE} 'a\" $$", "TRADEFAN__RISK__MAX_ORDER_QTY": "8"}
    # A secret of .env is passed on by its name alone; what the file refers to is one, too.
    (tmp_path / ".env").write_text("BOT_URL=https://bot/${TOKEN}\n")
    read = f"ENVIRONMENT=development; ENV_FILE={tmp_path}/.env; load_env_file"
    code = f"{read}; OVERRIDES={tmp_path}/there/overrides.yml; pass_words"
    left = {"TRADEFAN__DATA_DIR": "/nowhere", "TRADEFAN__API__PORT": "1", "TRADEFAN__API__HOST": "here"}
    assert function(ROOT, code, env=words | left).returncode == 0
    words["BOT_URL"] = function(ROOT, f'{read}; printf %s "$BOT_URL"').stdout
    program = compose_program()
    env = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE")}
    files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(tmp_path / "there" / "overrides.yml")]
    done = subprocess.run(
        [program, *files, "--env-file", str(EXAMPLE), "config"],
        env={**env, **words, **left, "TRADEFAN_STOP_S": "70"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    daemon = yaml.safe_load(done.stdout)["services"]["tradefan"]
    found = daemon["environment"]
    # What compose prints can be read by itself: $ stands there twice.
    assert {name: found[name].replace("$$", "$") for name in words} == words
    assert found["TRADEFAN__API__HOST"] == "tradefan"
    assert not {"TRADEFAN__DATA_DIR", "TRADEFAN__API__PORT"} & {*found}
    assert daemon["stop_grace_period"] in ("70s", "1m10s")


@pytest.mark.slow
def test_compose_file_when_it_is_the_copy_of_a_release_then_means_the_same_folders(tmp_path: Path) -> None:
    """Going back starts by the file of then, whose relative folders are the checkout's."""
    compose_program()
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    found = []
    for file in (ROOT, tmp_path):
        code = f"OVERRIDES=/nowhere; SERVICES_FILE={file}/docker-compose.yml; compose config"
        done = function(ROOT, code, env={"COMPOSE_PROFILES": "full", "COMPOSE_PROJECT_NAME": "one"})
        assert done.returncode == 0, done.stderr
        found.append(yaml.safe_load(done.stdout))
    assert found[0] == found[1]
    assert f"{ROOT}/config:/app/config:ro" in found[0]["services"]["tradefan"]["volumes"]


def _published(port: str | dict[str, Any]) -> str:
    if isinstance(port, str):
        return port.removesuffix("/tcp")
    return f"{port.get('host_ip')}:{port['published']}:{port['target']}"


@pytest.mark.slow
def test_compose_file_when_the_plugin_reads_it_then_is_valid_too() -> None:
    """Both are in use."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("the plugin is not on this machine")
    assert set(config(docker, "compose", COMPOSE_PROFILES="full")["services"]) == FULL | {"tradefan"}


def test_compose_file_when_it_mounts_a_file_then_the_file_exists() -> None:
    """An engine makes a folder of what is not there."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = [text.split(":")[0] for one in services.values() for text in one.get("volumes", [])]
    mounts += [text for one in services.values() for text in one.get("env_file", [])]
    named = [text for text in mounts if text.startswith(("./", "config/"))]
    assert len(named) >= 6
    assert [text for text in named if not (ROOT / text).exists()] == []


@pytest.mark.slow
def test_prometheus_when_it_reads_the_file_for_containers_then_finds_nothing_wrong() -> None:
    """The same rules as natively, at the names that compose gives."""
    promtool = require("promtool")
    done = subprocess.run(
        [promtool, "check", "config", ROOT / "config" / "prometheus.compose.yml"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    jobs = [
        yaml.safe_load((ROOT / "config" / name).read_text())["scrape_configs"][0]["job_name"]
        for name in ("prometheus.yml", "prometheus.compose.yml")
    ]
    assert jobs == ["tradefan", "tradefan"]


def words_of(instruction: str) -> list[str]:
    """Return the words of the last instruction of that name in exec form."""
    text = DOCKERFILE.replace("\\\n", " ")
    found = re.findall(rf"^(?:HEALTHCHECK .*)?{instruction} (\[.*\])$", text, re.MULTILINE)
    words: list[str] = json.loads(found[-1])
    return words


def test_image_when_its_recipe_is_read_then_is_bounded_by_rules() -> None:
    """Two stages, hashes, a user with a number, no shell before the daemon, no secrets in the context."""
    assert DOCKERFILE.count("\nFROM ${BASE}") == 2
    assert "--require-hashes" in DOCKERFILE
    assert f"\nUSER {USER}:{USER}\n" in DOCKERFILE
    assert "\nADD " not in DOCKERFILE
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "pip" not in last
    assert words_of("ENTRYPOINT") == ["/opt/tradefan/bin/tradefan"]
    assert words_of("CMD")[0] in ("run", "/opt/tradefan/bin/python")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert not [line for line in rules if re.match(r"!(\.|data|logs|\*)", line)]
    assert "config/local.yaml" in rules


def test_image_script_when_its_word_is_wrong_or_there_is_no_engine_then_says_what_is_missing(
    tmp_path: Path,
) -> None:
    """Exit code 2 for the word, 69 for the machine; nothing is left behind."""
    tools = ("bash", "basename", "dirname", "readlink", "mktemp", "rm", "cat", "id", "mkdir", "awk")
    for tool in tools:
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    (tmp_path / "tmp").mkdir()
    env = {"PATH": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    script = ROOT / "scripts" / "image.sh"
    assert call(script, "bild", env=env).returncode == 2
    done = call("bash", script, "build", env=env)
    assert (done.returncode, done.stdout) == (69, "")
    assert "There is no docker here." in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


ENTER = """
set -e
mount -t tmpfs -o mode=0755 none "$TOP"
for path in $SEEN; do
    mkdir -p "$TOP$path"; mount --rbind "$path" "$TOP$path"; mount -o remount,bind,ro "$TOP$path"
done
mkdir -p "$TOP/app/config" "$TOP/data" "$TOP/tmp" "$TOP/proc" "$TOP/dev"
mount --bind "$CONFIG" "$TOP/app/config"; mount -o remount,bind,ro "$TOP/app/config"
mount --bind "$DATA" "$TOP/data"
mount -t proc none "$TOP/proc"
for name in null urandom; do touch "$TOP/dev/$name"; mount --bind "/dev/$name" "$TOP/dev/$name"; done
for name in bin lib lib64; do if [ -L "/$name" ]; then ln -s "usr/$name" "$TOP/$name"; fi; done
mount -o remount,ro "$TOP"
exec chroot --userspec="$USER_ID:$USER_ID" "$TOP" /usr/bin/env -i -C /app $WORDS
"""


@pytest.mark.slow
def test_image_when_started_in_an_empty_read_only_root_then_is_healthy_and_ends_with_0(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The recipe's own command, environment and health check; SIGTERM ends it in order."""
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root makes such a root here")
    probing = subprocess.run(["unshare", "--mount", "true"], check=False)
    if probing.returncode:
        pytest.skip("this machine lets nobody have mounts of their own")
    for name in ("top", "data", "config"):
        (tmp_path / name).mkdir()
    shutil.copytree(ROOT / "config", tmp_path / "config", dirs_exist_ok=True, ignore=_local)
    os.chown(tmp_path / "data", USER, USER)
    # What an engine would do by the recipe: these stand for the image's own files.
    seen = {"/usr", sys.prefix, sys.base_prefix, str(Path(tradefan.__file__).parent)}
    seen |= {sysconfig.get_paths()["purelib"]}
    environment = dict(re.findall(r"(TRADEFAN__\w+)=(\S+)", DOCKERFILE))
    environment |= {"TRADEFAN__API__PORT": str(free_port()), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONPATH": str(Path(tradefan.__file__).parents[1])}
    _run(tmp_path, sorted(seen), environment)


def _local(_folder: str, names: list[str]) -> set[str]:
    return {"local.yaml"} & {*names}


def _run(folder: Path, seen: list[str], environment: dict[str, str]) -> None:
    begin = [f"{name}={value}" for name, value in environment.items()] + [sys.executable]
    outer = {"TOP": str(folder / "top"), "CONFIG": str(folder / "config"), "DATA": str(folder / "data")}
    outer |= {"SEEN": " ".join(seen), "USER_ID": str(USER), "PATH": os.environ["PATH"]}
    outer["WORDS"] = " ".join([*begin, "-m", "tradefan", "run", "-e", "development"])
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER],
            env=outer,
            stdout=out,
            stderr=out,
        )
    try:
        check = [
            "nsenter",
            f"--target={process.pid}",
            "--mount",
            "--root",
            f"--setuid={USER}",
            f"--setgid={USER}",
        ]
        check += ["/usr/bin/env", "-i", *begin, "-m", "tradefan.probe"]
        deadline = time.monotonic() + 60
        while subprocess.run([*check, "--ready"], capture_output=True, check=False).returncode:
            assert process.poll() is None, (folder / "out").read_text()
            assert time.monotonic() < deadline, (folder / "out").read_text()
            time.sleep(0.2)
        assert subprocess.run(check, capture_output=True, check=False).returncode == 0
        assert (folder / "data" / "journal.db").stat().st_uid == USER
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (folder / "out").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
