"""scripts/deploy.sh run as its users run it: in copies of the checkout, or from this one beside others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]


def call(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Run a command as a machine would: no terminal, no standard input, a session of its own."""
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        start_new_session=True,
        check=False,
    )


def deploy(checkout: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
    return call("bash", checkout / "scripts" / "deploy.sh", *arguments, env=env)


def function(checkout: Path, code: str, env: Mapping[str, str] | None = None) -> Done:
    """Run functions of deploy.sh without its main."""
    return call("bash", "-c", f"source '{checkout}/scripts/deploy.sh'; {code}", env=env)


def make_checkout(folder: Path) -> Path:
    """Copy what the script itself reads: of the configuration only the names of the environments."""
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt", "docker-compose.yml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "config" / "environments").mkdir(parents=True)
    for name in ("development", "testing", "staging", "production"):
        (folder / "config" / "environments" / f"{name}.yaml").touch()
    return folder


def put_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# What stands for an engine and for a service manager.

HARMLESS = {"BINANCE_API_KEY": "", "GRAFANA_PASSWORD": "", "INFLUXDB_PASSWORD": "", "REDIS_PASSWORD": ""}
DOCKER = """
echo "docker $*" >>"$TOLD"
case "$1 $2" in
    "ps -q") if [ -e "$TOLD.up" ]; then echo c0ffee; fi ;;
    "inspect -f")
        case "$3" in
            *RestartCount*) if [ -e "$TOLD.ended" ]; then echo 3; else echo 0; fi ;;
            *StopTimeout*) echo 45 ;;
            *ExitCode*) echo 69 ;;
            *) echo sha256:before ;;
        esac ;;
    "exec c0ffee")
        if [ -e "$TOLD.broken" ]; then echo "waiting for oms (starting)"; exit 4; fi
        echo http://ready ;;
    "compose version") exit 1 ;;
    "image inspect") exit "${NO_IMAGE:-0}" ;;
esac
"""
COMPOSE = """
echo "compose $* image=$TRADEFAN_IMAGE config=$TRADEFAN_CONFIG env=$TRADEFAN_ENVIRONMENT" \\
    "port=$TRADEFAN_PORT stop=$TRADEFAN_STOP_S qty=$TRADEFAN__RISK__MAX_ORDER_QTY" >>"$TOLD"
case "$* $TRADEFAN_IMAGE" in
    *" up "*" tradefan:kept-"*) rm -f "$TOLD.broken" ;;
    *" up "*) touch "$TOLD.up"; exit "${UP_CODE:-0}" ;;
    *" check "*) printf 'runtime:\\n  stop_deadline: 1m  # local.yaml:3\\n'
        echo "$SAYS" >&2; exit "$CHECK_CODE" ;;
    *" down "*) if [ -e "$TOLD.stuck" ]; then echo "in use" >&2; exit 1; fi ;;
esac
"""


def put_stand_ins(tmp_path: Path) -> dict[str, str]:
    """Return the environment in which they stand for the programs, and tell what they were told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    put_program(folder / "docker", DOCKER)
    put_program(folder / "docker-compose", COMPOSE)
    put_program(folder / "systemctl", 'echo "systemctl $*" >>"$TOLD"; exit "${SYSTEMCTL_CODE:-0}"')
    put_program(
        folder / "journalctl", 'case "$*" in *--since*) echo "left at the venue: nothing of ours" ;; esac'
    )
    told = {"TOLD": str(tmp_path / "told"), "SAYS": "", "CHECK_CODE": "0"}
    return {"PATH": f"{folder}:{os.environ['PATH']}", **told}


STAND_IN = """
import os, sys, time
if sys.argv[1] == "run":
    time.sleep(300)
if sys.argv[1] == "self-test":
    with open(os.path.join(os.environ["PYTHONPATH"], "told"), "a") as told:
        print(*sys.argv, file=told)
    sys.exit(int(os.environ["SELF_TEST_CODE"]))
print("# what is in force")
print(os.environ["SAYS"], file=sys.stderr)
sys.exit(int(os.environ["CHECK_CODE"]))
"""


class StandIns:
    """Starts them, and ends each by its own pid."""

    def __init__(self, folder: Path) -> None:
        (folder / "tradefan").mkdir(parents=True)
        (folder / "tradefan" / "__main__.py").write_text(STAND_IN)
        self.folder = folder
        self.env = {"PYTHONPATH": str(folder)}
        self.started: list[subprocess.Popen[bytes]] = []

    def start(
        self, *words: str | Path, program: Path, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run `program` with `words` as its command line; it is to be seen there when this returns."""
        process = subprocess.Popen(
            [str(word) for word in words],
            executable=program,
            cwd=cwd,
            env={**os.environ, **self.env, **(env or {})},
        )
        self.started.append(process)
        return process


RUN = ("-m", "tradefan", "run", "-e", "testing")


@dataclass
class Daemon:
    """A place where one daemon of this checkout runs, side by side with any other."""

    port: int
    data: Path
    before: tuple[str, ...] = ()

    @property
    def env(self) -> dict[str, str]:
        return {"TRADEFAN__API__PORT": str(self.port), "TRADEFAN__DATA_DIR": str(self.data)}

    def act(self, action: str, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        script = ROOT / "scripts" / "deploy.sh"
        words: tuple[str | Path, ...] = (*self.before, script, "-e", "development", "-a", action, *arguments)
        return call(*words, env={**self.env, **(env or {})})

    def pid(self) -> int:
        return int((self.data / "deploy.pid").read_text())

    def status(self) -> dict[str, object]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
        return found


def gone(pid: int) -> bool:
    """Tell whether a process has ended, also where nobody has asked for its exit code yet."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def done_well(done: Done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
