#!/usr/bin/env bash
# Set up, start, watch and stop a TradeFan daemon from this checkout: no root, no terminal, no service needed.
set -euo pipefail

ROOT="$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")"
VENV="$ROOT/.venv"
PYTHON="$VENV/bin/python"
INSTALL_LOG="$VENV/install.log"

# The exit codes are those of the `tradefan` command.
readonly FAILED=1 USAGE=2 NOT_RUNNING=3 NOT_READY=4 MISSING=69 DEFECT=70
readonly READY_S=60 STOP_S=15
readonly ACTIONS=(deploy start stop restart status logs cleanup test)

ACTION=""
ENVIRONMENT=""
ALL=no
YES=no
LOG_OPTIONS=()
PYTEST_OPTIONS=()

usage() {
    cat <<'TEXT'
Usage: scripts/deploy.sh -e ENVIRONMENT -a ACTION [options]

Environments: development, testing, staging, production (the files in config/environments)

Actions:
  deploy    make .venv if anything changed, (re)start the daemon, wait until it is ready
  start     the same, but leave a running daemon alone
  stop      end the daemon that this script started; its orders are handled first
  restart   stop and start
  status    show the daemon's status on one screen
  logs      show its log: [--tail N] [--since T] [-f]
  cleanup   list what was built here, ask, remove it: [--yes]; with [--all --yes] data/ and logs/ too
  test      make .venv with the tools and run the whole test-suite (needs no -e): [-- PYTEST OPTIONS]

Two daemons run side by side with TRADEFAN__API__PORT=8001 TRADEFAN__DATA_DIR=/some/folder in front.
Exit codes: 0 done, 1 failed, 2 usage or config, 3 not running, 4 not ready, 69 prerequisite missing, 70 defect.
TEXT
}

say() {
    printf '%s\n' "$@"
}

# fail CODE LINE...: say what is wrong and what to do about it, and end.
fail() {
    local code="$1"
    shift
    printf '%s\n' "$@" >&2
    exit "$code"
}

# nearest WORD CHOICE...: print the choice that begins with WORD, or else is the fewest edits away from it.
nearest() {
    local word="$1"
    shift
    printf '%s\n' "$@" | awk -v word="$word" '
        function least(a, b, c) { return a < b ? (a < c ? a : c) : (b < c ? b : c) }
        function edits(a, b,    i, j, d) {
            for (i = 0; i <= length(a); i++) d[i, 0] = i
            for (j = 0; j <= length(b); j++) d[0, j] = j
            for (i = 1; i <= length(a); i++)
                for (j = 1; j <= length(b); j++)
                    d[i, j] = least(d[i - 1, j] + 1, d[i, j - 1] + 1,
                                    d[i - 1, j - 1] + (substr(a, i, 1) != substr(b, j, 1)))
            return d[length(a), length(b)]
        }
        { distance = index($0, word) == 1 ? 0 : edits(word, $0) }
        NR == 1 || distance < best { best = distance; found = $0 }
        END { print found }'
}

# require_choice NAME OPTION WORD CHOICE...: end with the allowed words unless WORD is one of them.
require_choice() {
    local name="$1" option="$2" word="$3" choice
    shift 3
    for choice in "$@"; do
        if [[ "$choice" == "$word" ]]; then return; fi
    done
    if [[ -z "$word" ]]; then
        fail "$USAGE" "Which $name? Add $option with one of: $*" "Help: scripts/deploy.sh -h"
    fi
    fail "$USAGE" "There is no $name '$word'. Did you mean '$(nearest "$word" "$@")'?" "Allowed: $*"
}

environments() {
    local file
    for file in "$ROOT"/config/environments/*.yaml; do
        if [[ -e "$file" ]]; then basename -- "$file" .yaml; fi
    done
}

require_environment() {
    local names
    # The names are words without spaces, one a line.
    names="$(environments)"
    # shellcheck disable=SC2086
    require_choice environment -e "$ENVIRONMENT" $names
}

need_value() {
    if (($# < 2)) || [[ -z "$2" ]]; then fail "$USAGE" "$1 needs a value." "Help: scripts/deploy.sh -h"; fi
}

parse_arguments() {
    while (($#)); do
        case "$1" in
            -e | --environment) need_value "$@" && ENVIRONMENT="$2" && shift 2 ;;
            -a | --action) need_value "$@" && ACTION="$2" && shift 2 ;;
            --tail | --since) need_value "$@" && LOG_OPTIONS+=("$1" "$2") && shift 2 ;;
            -f | --follow) LOG_OPTIONS+=(-f) && shift ;;
            --all) ALL=yes && shift ;;
            --yes) YES=yes && shift ;;
            -h | --help) usage && exit 0 ;;
            --) shift && PYTEST_OPTIONS=("$@") && return ;;
            *) fail "$USAGE" "There is no option '$1'." "Help: scripts/deploy.sh -h" ;;
        esac
    done
}

# need_writable FOLDER: make it if need be, and end where this user may not write to it.
need_writable() {
    local folder="$1"
    if mkdir -p -- "$folder" 2>/dev/null && [[ -w "$folder" ]]; then return; fi
    fail "$MISSING" "The user $(id -un 2>/dev/null || id -u) cannot write to $folder." \
        "Use a checkout of your own, or give the folder to this user: sudo chown -R \"\$USER\" '$ROOT'" \
        "The daemon's data can lie elsewhere: TRADEFAN__DATA_DIR=/some/folder"
}

# python_version PYTHON: print its version; false if it does not run or is too old.
python_version() {
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 11))' \
        2>/dev/null </dev/null
}

# Print a Python that can make the environment. Each is run: a pyenv shim exists for versions that are not there.
find_python() {
    local name candidate version useless=""
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        while IFS= read -r candidate; do
            version="$(python_version "$candidate")" || continue
            if "$candidate" -c 'import ensurepip, venv' 2>/dev/null </dev/null; then
                say "$candidate"
                return
            fi
            useless="$candidate ($version)"
        done < <(type -aP "$name" || true)
    done
    no_python "$useless"
}

no_python() {
    if [[ -n "$1" ]]; then
        fail "$MISSING" "$1 cannot make environments: its modules venv and ensurepip are missing." \
            "On Debian and Ubuntu: sudo apt install python3-venv"
    fi
    fail "$MISSING" "TradeFan needs Python 3.11 or newer; none of python3.14 ... python3.11, python3, python runs as one." \
        "On Debian 12, Ubuntu 24.04 or newer: sudo apt install python3 python3-venv" \
        "Elsewhere: pyenv install 3.13 && pyenv global 3.13, or brew install python"
}

# A moved checkout leaves scripts in .venv that name the old folder, so such an environment is made again.
venv_is_usable() {
    python_version "$PYTHON" >/dev/null || return 1
    ! grep -q '^command = ' "$VENV/pyvenv.cfg" || grep -qF -- "$VENV" "$VENV/pyvenv.cfg"
}

# fingerprint FILE...: one line that changes when a file, the Python or the checkout's place does.
fingerprint() {
    "$PYTHON" -c 'import hashlib, pathlib, sys
text = b"".join(pathlib.Path(name).read_bytes() for name in sys.argv[2:])
print(hashlib.blake2b(text + (sys.version + sys.argv[1]).encode()).hexdigest()[:32])' "$ROOT" "$@"
}

# lock_files runtime|dev: what an environment of this kind is made from.
lock_files() {
    say "$ROOT/pyproject.toml" "$ROOT/requirements.txt"
    if [[ "$1" == dev ]]; then say "$ROOT/requirements-dev.txt"; fi
}

stamp_of() {
    local file files=()
    while IFS= read -r file; do files+=("$file"); done < <(lock_files "$1")
    fingerprint "${files[@]}"
}

environment_is_current() {
    local stamp="$VENV/.tradefan-$1"
    [[ -r "$stamp" ]] && venv_is_usable && [[ "$(stamp_of "$1")" == "$(cat -- "$stamp")" ]]
}

# ensure_environment runtime|dev: make .venv from the locks, or do nothing when they and the Python are unchanged.
ensure_environment() {
    local kind="$1" lock="$ROOT/requirements.txt" started=$SECONDS
    if environment_is_current "$kind"; then return; fi
    if [[ "$kind" == dev ]]; then lock="$ROOT/requirements-dev.txt"; fi
    make_venv
    say "[2/3] Installing what ${lock##*/} pins"
    pip_install "$(grep -c '^[a-z0-9].*==' "$lock")" --require-hashes -r "$lock"
    say "[3/3] Installing TradeFan itself"
    pip_install 1 --no-deps --no-build-isolation -e "$ROOT"
    # The dev lock holds everything of the runtime lock, so it makes an environment of both kinds.
    stamp_of runtime >"$VENV/.tradefan-runtime"
    if [[ "$kind" == dev ]]; then stamp_of dev >"$VENV/.tradefan-dev"; fi
    say "The environment is ready after $((SECONDS - started)) s."
}

make_venv() {
    local python
    need_writable "$ROOT"
    if venv_is_usable; then
        need_writable "$VENV"
        say "[1/3] Keeping .venv (Python $(python_version "$PYTHON"))"
        return
    fi
    # Through a link the environment of another checkout would be cleared, under whatever runs from it.
    if [[ -L "$VENV" ]]; then rm -- "$VENV"; fi
    python="$(find_python)"
    say "[1/3] Making .venv with $python (Python $(python_version "$python"))"
    "$python" -m venv --clear "$VENV" || fail "$FAILED" "$python could not make $VENV; its words are above."
}

# pip_install TOTAL ARGUMENT...: pip alone prints pages or nothing, so count packages instead.
pip_install() {
    local total="$1"
    shift
    if "$PYTHON" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" \
        </dev/null 2>&1 | tee -a -- "$INSTALL_LOG" | show_progress "$total"; then return; fi
    tail -n 15 -- "$INSTALL_LOG" >&2
    fail "$FAILED" "The installation failed; the end of $INSTALL_LOG is above." \
        "Without a network a package index or its mirror must be reachable for pip; then try again: it resumes."
}

# One line that is written over on a terminal; every tenth package where output goes to a file.
show_progress() {
    local terminal=0
    if [[ -t 1 ]]; then terminal=1; fi
    awk -v total="$1" -v terminal="$terminal" '
        /^ *Collecting |^Requirement already satisfied|^Obtaining |^Processing |^Ignoring / {
            name = $0
            sub(/^ *(Collecting|Requirement already satisfied:|Obtaining|Processing|Ignoring) */, "", name)
            sub(/:? .*/, "", name)
            sub(/.*\//, "", name)
            n++
            if (terminal) printf "\r\033[K      %d/%d %s", n, total, name
            else if (n % 10 == 0) printf "      %d/%d %s\n", n, total, name
            fflush()
        }
        /^Installing collected packages/ {
            printf "%s      unpacking\n", terminal ? "\r\033[K" : ""
            fflush()
        }
        END { if (terminal) printf "\r\033[K" }'
}

# Print the data directory that the configuration names, if any: a top-level key, so no parser is needed to find it.
configured_data_dir() {
    local file value
    for file in local "environments/$ENVIRONMENT" base; do
        value="$(sed -n "s/^data_dir:[[:space:]]*//p" "$ROOT/config/$file.yaml" 2>/dev/null |
            sed "s/[[:space:]]*#.*//; s/[\"']//g; s|^~/|$HOME/|")" || true
        if [[ -n "$value" && "$value" != null ]]; then
            say "$value"
            return
        fi
    done
}

# Set the places of this environment's daemon; like the daemon, take a relative folder from the checkout.
locate_daemon() {
    LOG_DIR="$ROOT/logs"
    DATA_DIR="${TRADEFAN__DATA_DIR:-$(configured_data_dir)}"
    if [[ -n "$DATA_DIR" ]]; then
        if [[ "$DATA_DIR" != /* ]]; then DATA_DIR="$ROOT/$DATA_DIR"; fi
        LOG_DIR="$DATA_DIR/logs"
    fi
    DATA_DIR="${DATA_DIR:-$ROOT/data/$ENVIRONMENT}"
    OUT="$LOG_DIR/$ENVIRONMENT.out"
    PID_FILE="$DATA_DIR/deploy.pid"
}

command_line_of() {
    if [[ -r "/proc/$1/cmdline" ]]; then
        tr '\0' ' ' <"/proc/$1/cmdline" | sed 's/ $//'
    else
        ps -o args= -p "$1" 2>/dev/null || true
    fi
}

# A dead process's number is given to another one sooner or later: a pid alone proves nothing.
is_our_daemon() {
    [[ "$1" =~ ^[0-9]+$ ]] && [[ "$(command_line_of "$1")" == "$PYTHON -m tradefan run -e $ENVIRONMENT" ]]
}

# Print the pid of the daemon that this script started, if it runs.
running_pid() {
    local pid
    pid="$(cat -- "$PID_FILE" 2>/dev/null)" && is_our_daemon "$pid" && say "$pid"
}

spawn_daemon() {
    local detach=(nohup)
    # Its own session, so that closing the terminal or Ctrl-C here does not reach it; macOS has no setsid.
    if command -v setsid >/dev/null; then detach=(setsid nohup); fi
    need_writable "$DATA_DIR"
    need_writable "$LOG_DIR"
    if [[ -e "$OUT" ]]; then mv -f -- "$OUT" "$OUT.1"; fi
    cd -- "$ROOT"
    "${detach[@]}" "$PYTHON" -m tradefan run -e "$ENVIRONMENT" </dev/null >"$OUT" 2>&1 &
    DAEMON=$!
    say "$DAEMON" >"$PID_FILE"
}

# Ask the daemon whether it is ready. Prints its URL when it is, else why not, and is false.
probe() {
    "$PYTHON" - "$DATA_DIR/daemon.json" "$1" 2>/dev/null <<'PY'
import json, pathlib, sys, urllib.error, urllib.request

def ask(path, pid):
    # A file that an earlier daemon left behind names another pid.
    written = json.loads(path.read_bytes()) if path.exists() else {}
    if written.get("pid") != pid:
        return 1, "it has not opened its port"
    # A proxy in the environment is not meant for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(written["url"] + "/ready", timeout=5).close()
    except urllib.error.HTTPError as answer:
        waiting = json.loads(answer.read()).get("waiting", {})
        return 1, "waiting for " + ", ".join(f"{name} ({state})" for name, state in waiting.items())
    except (OSError, ValueError) as problem:
        return 1, f"{written['url']} does not answer: {problem}"
    return 0, written["url"]

code, text = ask(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
print(text)
sys.exit(code)
PY
}

await_ready() {
    local deadline=$((SECONDS + READY_S)) answer=""
    say "Waiting for $ENVIRONMENT (pid $DAEMON) to be ready, at most $READY_S s"
    while ((SECONDS < deadline)); do
        if answer="$(probe "$DAEMON")"; then
            print_next_steps "$answer"
            return
        fi
        if ! kill -0 "$DAEMON" 2>/dev/null; then start_failed; fi
        sleep 0.3
    done
    show_last_lines
    fail "$NOT_READY" "$ENVIRONMENT runs (pid $DAEMON) but was not ready within $READY_S s: $answer" \
        "It goes on trying.  See: scripts/deploy.sh -e $ENVIRONMENT -a status"
}

show_last_lines() {
    say "The last lines of $OUT:" >&2
    tail -n 20 -- "$OUT" | sed 's/^/    /' >&2
}

# Pass on the daemon's own exit code where it says more than "failed".
start_failed() {
    local code=0
    wait "$DAEMON" || code=$?
    rm -f -- "$PID_FILE"
    show_last_lines
    case "$code" in
        "$USAGE") fail "$USAGE" "The configuration is refused. Check it with: scripts/tradefan check -e $ENVIRONMENT" ;;
        "$MISSING") fail "$MISSING" "Something that the daemon needs is missing or taken; the lines above name it." \
            "A busy port: TRADEFAN__API__PORT=8001 scripts/deploy.sh -e $ENVIRONMENT -a deploy" \
            "A busy data directory: end the daemon that the lines name, or set TRADEFAN__DATA_DIR=/some/folder" ;;
        "$DEFECT") fail "$DEFECT" "The daemon met a defect of its own; please report the lines above." ;;
        *) fail "$FAILED" "The daemon ended with exit code $code before it was ready." ;;
    esac
}

print_next_steps() {
    local url="$1" me="scripts/deploy.sh -e $ENVIRONMENT"
    say "TradeFan $ENVIRONMENT is ready (pid $DAEMON)." \
        "  status   $url/status" \
        "  health   $url/health" \
        "  metrics  $url/metrics" \
        "  data     $DATA_DIR" \
        "  output   $OUT" \
        "Next:" \
        "  $me -a status" \
        "  $me -a logs -f" \
        "  scripts/tradefan order submit --help" \
        "  $me -a stop"
}

start_daemon() {
    local pid
    if pid="$(running_pid)"; then
        say "$ENVIRONMENT runs already (pid $pid).  See: scripts/deploy.sh -e $ENVIRONMENT -a status"
        return
    fi
    spawn_daemon
    await_ready
}

# End the recorded daemon and print what it says meanwhile: orders that are left at a venue are named there.
stop_daemon() {
    local pid="$1" lines deadline=$((SECONDS + STOP_S))
    lines="$(wc -l <"$OUT" 2>/dev/null || say 0)"
    say "Stopping $ENVIRONMENT (pid $pid)"
    kill -TERM "$pid" 2>/dev/null || ! is_our_daemon "$pid" || fail "$FAILED" "This user may not stop pid $pid."
    while is_our_daemon "$pid"; do
        if ((SECONDS >= deadline)); then stop_failed "$pid"; fi
        sleep 0.2
    done
    if [[ -r "$OUT" ]]; then tail -n "+$((lines + 1))" -- "$OUT" | sed 's/^/    /'; fi
    rm -f -- "$PID_FILE"
    say "Stopped."
}

stop_failed() {
    show_last_lines
    fail "$FAILED" "pid $1 did not end within $STOP_S s of SIGTERM." \
        "Try again; 'kill -9 $1' ends it at once and leaves open orders at the venue until the next start."
}

do_deploy() {
    local pid
    ensure_environment runtime
    if pid="$(running_pid)"; then
        check_before_stopping "$pid"
        stop_daemon "$pid"
    fi
    start_daemon
}

# check_before_stopping PID: a configuration that cannot run must not cost the daemon that does.
check_before_stopping() {
    local said code=0
    # From the checkout, as the daemon: elsewhere a ./config of somebody else's would be taken.
    said="$(cd -- "$ROOT" && scripts/tradefan check -e "$ENVIRONMENT" 2>&1 >/dev/null </dev/null)" || code=$?
    # Where a secret is missing, `check` only remarks on it, but `run` refuses.
    if ((code == 0)) && [[ "$said" == *"to run, $ENVIRONMENT lacks "* ]]; then code=$USAGE; fi
    if ((code == 0)); then return; fi
    fail "$code" "$said" "Nothing was stopped: the running daemon (pid $1) goes on untouched, as it was started." \
        "Mend the configuration, check it with: scripts/tradefan check -e $ENVIRONMENT"
}

do_start() {
    ensure_environment runtime
    start_daemon
}

do_restart() {
    do_deploy
}

do_stop() {
    local pid
    if pid="$(running_pid)"; then
        stop_daemon "$pid"
        return
    fi
    if [[ -e "$PID_FILE" ]]; then
        say "The recorded pid $(cat -- "$PID_FILE") is not this daemon any more; the record is removed, the process is not touched."
        rm -f -- "$PID_FILE"
    fi
    fail "$NOT_RUNNING" "$ENVIRONMENT does not run here (no daemon that this script started, in $DATA_DIR)." \
        "Start it: scripts/deploy.sh -e $ENVIRONMENT -a deploy"
}

do_status() {
    exec "$ROOT/scripts/tradefan" status -e "$ENVIRONMENT"
}

do_logs() {
    exec "$ROOT/scripts/tradefan" logs -e "$ENVIRONMENT" ${LOG_OPTIONS[@]+"${LOG_OPTIONS[@]}"}
}

# Print what `cleanup` would remove, one path a line, seen from the checkout.
removable() {
    local name names=(.venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov)
    if [[ "$ALL" == yes ]]; then names+=(data logs results); fi
    for name in "${names[@]}" .coverage.* *.egg-info; do
        if [[ -e "$name" ]]; then say "$name"; fi
    done
    find . -name __pycache__ -type d -not -path './.venv/*' | sed 's|^\./||' | sort
}

# Print the pids of all processes that may be daemons. Few machines lack /proc, and some that have it lack ps.
pids_to_look_at() {
    if [[ -r /proc/self/cmdline ]]; then
        grep -ls -- tradefan /proc/[0-9]*/cmdline | cut -d / -f 3
    else
        ps -A -o pid=,args= | awk '/tradefan/ { print $1 }'
    fi
}

# runs_from_here PID: whether it is a daemon in this .venv, whoever started it and wherever its data lies.
runs_from_here() {
    local line folder form='^(.*/)?python[0-9.]* (-[^ ]+ )*(-m tradefan|[^ ].*/bin/tradefan) run( |$)'
    line="$(command_line_of "$1" 2>/dev/null)" || return 1
    [[ "$line" =~ $form ]] || return 1
    folder="${BASH_REMATCH[1]%/}"
    # An activated environment is called by the bare name.
    if [[ -z "$folder" ]]; then
        tr '\0' '\n' 2>/dev/null <"/proc/$1/environ" | grep -qxF -- "VIRTUAL_ENV=$VENV"
        return
    fi
    if [[ "$folder" != /* ]]; then folder="/proc/$1/cwd/$folder"; fi
    [[ "$folder" == "$VENV/bin" || "$folder" -ef "$VENV/bin" ]]
}

# A daemon whose environment is pulled from under it would fail much later and far from the cause.
refuse_while_daemons_run() {
    local pid lines=()
    while IFS= read -r pid; do
        if runs_from_here "$pid"; then lines+=("A daemon of this checkout still runs: pid $pid, $(command_line_of "$pid")"); fi
    done < <(pids_to_look_at || true)
    if ((${#lines[@]} == 0)); then return; fi
    fail "$FAILED" "${lines[@]}" "Nothing was removed. Stop it first: 'kill PID' ends it in order, as does" \
        "  scripts/deploy.sh -e ENVIRONMENT -a stop, with the TRADEFAN__DATA_DIR that it was started with."
}

do_cleanup() {
    local paths path
    cd -- "$ROOT"
    refuse_while_daemons_run
    paths="$(removable)"
    if [[ -z "$paths" ]]; then
        say "There is nothing to remove."
        return
    fi
    say "To be removed from $ROOT:"
    while IFS= read -r path; do say "  $path"; done <<<"$paths"
    confirm_cleanup
    while IFS= read -r path; do rm -rf -- "$path"; done <<<"$paths"
    say "Removed."
}

confirm_cleanup() {
    local answer=""
    if [[ "$YES" == yes ]]; then return; fi
    if [[ "$ALL" == yes ]]; then
        fail "$USAGE" "Nothing was removed: data/ holds positions and history. If you mean it: -a cleanup --all --yes"
    fi
    if [[ ! -t 0 ]]; then
        fail "$USAGE" "Nothing was removed: there is no terminal to ask on. If you mean it: -a cleanup --yes"
    fi
    read -r -p "Remove them? [y/N] " answer
    if [[ "$answer" != [yY]* ]]; then fail "$FAILED" "Nothing was removed."; fi
}

# pytest speaks last: whoever reads only the last line learns whether the tests passed.
do_test() {
    ensure_environment dev
    cd -- "$ROOT"
    # In the order of their names: real processes come first, and what waits for them is filled with the rest.
    exec "$PYTHON" -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov=tradefan ${PYTEST_OPTIONS[@]+"${PYTEST_OPTIONS[@]}"}
}

main() {
    parse_arguments "$@"
    require_choice action -a "$ACTION" "${ACTIONS[@]}"
    case "$ACTION" in
        cleanup | test) ;;
        *)
            require_environment
            locate_daemon
            ;;
    esac
    "do_$ACTION"
}

# .ci/run reads this file for ensure_environment alone.
if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then main "$@"; fi
