"""What the guide to operations finds on a machine, and a machine for tests rarely has.

A repository with a tag and a place to pull from; and programs in the place of an engine, compose, `sudo`
and systemd. A container is a word in a file: what is run in it runs in the checkout. A service is a real
daemon, started by the drop-in that the script has written.
"""

from __future__ import annotations

import shutil
import subprocess

from tests.integration.deploying import ROOT, put_program
from tests.integration.guide_pages import Checkout

DOCKER = """
case "$1 $2" in
    "compose version") exit 1 ;;
    "ps -q") if [ -e "$STATE/container" ]; then echo c0ffee; fi ;;
    "image inspect") echo 100000000 ;;
    "inspect -f")
        case "$3" in *RestartCount*) echo 0 ;; *StopTimeout*) echo 30 ;; *) echo sha256:this ;; esac ;;
    "stop -t") rm -f "$STATE/container" ;;
    "logs --tail") echo "left at the venue: nothing of ours" ;;
    "exec c0ffee")
        case "$3 $4" in
            "tradefan status") echo "PAPER  development  ready" ;;
            "tradefan config") shift 3; exec scripts/tradefan "$@" ;;
            *) echo http://127.0.0.1:8000 ;;
        esac ;;
esac
"""
COMPOSE = """
while [ "$1" = -f ] || [ "$1" = --project-directory ]; do
    if ! [ -e "$2" ]; then echo "no $2" >&2; exit 1; fi
    shift 2
done
case "$*" in
    run*" check "*) while [ "$1" != check ]; do shift; done; exec scripts/tradefan "$@" ;;
    up*" tradefan") touch "$STATE/container" ;;
esac
"""
SYSTEMCTL = """
pid="$(cat "$STATE/service" 2>/dev/null)"
alive() { [ -n "$pid" ] && grep -q . "/proc/$pid/cmdline" 2>/dev/null; }
stop() {
    if alive; then kill -TERM "$pid"; fi
    while alive; do sleep 0.1; done
}
case "$1" in
    show) if alive; then echo "$pid"; else echo 0; fi ;;
    stop) stop ;;
    restart)
        stop
        here="$TRADEFAN_UNIT_DIR/$2.d"
        name="${2#tradefan@}"
        clean="s/\\"//g; s/%i/${name%.service}/"
        said() { sed -n "s/^$1=//p" "$here/deploy.conf" | tail -n 1 | sed "$clean"; }
        set -a
        . "$here/secrets.env"
        . "$here/overrides.env"
        set +a
        cd "$(said WorkingDirectory)" || exit 1
        setsid $(said ExecStart) </dev/null >"$STATE/journal" 2>&1 &
        echo "$!" >"$STATE/service" ;;
esac
"""
JOURNALCTL = 'case "$*" in *-u*) tail -n 20 "$STATE/journal" ;; esac'


class Machine:
    """The programs beside one checkout, and its repository."""

    def __init__(self, checkout: Checkout) -> None:
        """Put all of it there; nothing of it outlasts `close`."""
        self._checkout = checkout
        self._programs = checkout.folder.with_name(f"{checkout.folder.name}-programs")
        for name in ("state", "units"):
            (self._programs / name).mkdir(parents=True)
        texts = {
            "docker": DOCKER,
            "docker-compose": COMPOSE,
            "systemctl": SYSTEMCTL,
            "journalctl": JOURNALCTL,
        }
        for name, text in {**texts, "sudo": 'exec "$@"'}.items():
            put_program(self._programs / name, text)
        for name in (".env.example", ".gitignore", "docker-compose.yml"):
            shutil.copy(ROOT / name, checkout.folder / name)
        self._repository()

    @property
    def before(self) -> str:
        """The command that lets a shell find the programs."""
        found, state, units = (str(self._programs / name) for name in ("", "state", "units"))
        return f'export PATH="{found}:$PATH" STATE="{state}" TRADEFAN_UNIT_DIR="{units}"'

    def close(self) -> None:
        """End the service that a page has left."""
        words = ["bash", "-c", f"{self.before}; systemctl stop any"]
        subprocess.run(words, cwd=self._checkout.folder, check=False, capture_output=True, timeout=60)

    def _repository(self) -> None:
        folder, origin = self._checkout.folder, str(self._programs / "origin.git")
        me = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
        for words in (
            ("init", "-q"),
            ("checkout", "-q", "-b", "main"),
            ("add", "-A"),
            (*me, "commit", "-q", "--no-gpg-sign", "-m", "All of it"),
            ("tag", "v0.1.0"),
            ("clone", "-q", "--bare", ".", origin),
            ("remote", "add", "origin", origin),
            ("fetch", "-q", "origin"),
            ("branch", "-q", "-u", "origin/main"),
        ):
            subprocess.run(["git", *words], cwd=folder, check=True)
