#!/usr/bin/env bash
# Set up, start, watch and stop a TradeFan daemon from this checkout: as a process, in containers, or as a service.
set -euo pipefail

ROOT="$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")"
VENV="$ROOT/.venv"
PYTHON="$VENV/bin/python"
INSTALL_LOG="$VENV/install.log"

# shellcheck source=scripts/lib/words.sh
source "$ROOT/scripts/lib/words.sh"
# shellcheck source=scripts/lib/python.sh
source "$ROOT/scripts/lib/python.sh"
# shellcheck source=scripts/lib/secrets.sh
source "$ROOT/scripts/lib/secrets.sh"
# shellcheck source=scripts/lib/release.sh
source "$ROOT/scripts/lib/release.sh"
# shellcheck source=scripts/lib/native.sh
source "$ROOT/scripts/lib/native.sh"
# shellcheck source=scripts/lib/compose.sh
source "$ROOT/scripts/lib/compose.sh"
# shellcheck source=scripts/lib/systemd.sh
source "$ROOT/scripts/lib/systemd.sh"
# shellcheck source=scripts/lib/cleanup.sh
source "$ROOT/scripts/lib/cleanup.sh"

readonly ACTIONS=(deploy start stop restart status logs cleanup test)
readonly MODES=(native compose systemd)

ACTION=""
ENVIRONMENT=""
MODE=native
SELF_TEST=no
FULL=no
ALL=no
YES=no
LOG_OPTIONS=()
PYTEST_OPTIONS=()
# What is found out on the way has its name from the beginning, so that .env is read beside all of them.
ANSWER="" CODE="" DAEMON="" ENDED=""
LOG_DIR="" DATA_DIR="" DATA_DIR_SAID="" OUT="" PID_FILE="" RELEASE=""
OVERRIDES="" SERVICES_FILE=""
UNIT_DIR="" UNIT="" DROP_IN="" SECRETS=""
# A caller may export such a name for a purpose of his own: it is not said to him, nor does .env say it to us.
export -n ACTION ENVIRONMENT MODE SELF_TEST FULL ALL YES ANSWER CODE DAEMON ENDED LOG_DIR DATA_DIR DATA_DIR_SAID OUT \
    PID_FILE RELEASE OVERRIDES SERVICES_FILE UNIT_DIR UNIT DROP_IN SECRETS

# What the environment says of the script itself; once more when .env has been read.
take_settings() {
    READY_S="${TRADEFAN_READY_S:-60}"
    SELF_TEST_S="${TRADEFAN_SELF_TEST_S:-20}"
}
take_settings

usage() {
    cat <<'TEXT'
Usage: scripts/deploy.sh -e ENVIRONMENT -a ACTION [-m MODE] [options]

Environments: development, testing, staging, production (the files in config/environments)
Modes: native (a process of this user, the default), compose (containers), systemd (a service; needs root)

Actions:
  deploy    check the configuration, (re)start the daemon, wait until it is ready; where it does not become
            ready, go back to what ran before and exit with 1
  start     start it, but leave a running daemon alone
  stop      end the daemon that this script started; its orders are handled first
  restart   the same as deploy
  status    show the daemon's status on one screen
  logs      show its log: [--tail N] [--since T] [-f]
  cleanup   list what was built here, ask, remove it: [--yes]; with [--all --yes] data/ and logs/ too;
            compose, systemd: the containers (--all: and volumes), the unit
  test      make .venv with the tools and run the whole test-suite (needs no -e): [-- PYTEST OPTIONS]

  -s, --self-test   test the environment: configuration, 20 s of paper trading beside everything, health. Alone it
                    deploys nothing; with -a deploy all but the health has to pass before anything is stopped
  --full            compose: with InfluxDB, Redis, Prometheus, Alertmanager, Grafana and node-exporter

Two daemons run side by side with TRADEFAN__API__PORT=8001 TRADEFAN__DATA_DIR=/some/folder in front.
Exit codes: 0 done, 1 failed, 2 usage or config, 3 not running, 4 not ready, 69 prerequisite missing, 70 defect.
TEXT
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

parse_arguments() {
    while (($#)); do
        case "$1" in
            -e | --environment) need_value "$@" && ENVIRONMENT="$2" && shift 2 ;;
            -a | --action) need_value "$@" && ACTION="$2" && shift 2 ;;
            -m | --mode) need_value "$@" && MODE="$2" && shift 2 ;;
            -s | --self-test) SELF_TEST=yes && shift ;;
            --full) FULL=yes && shift ;;
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

# pytest speaks last: whoever reads only the last line learns whether the tests passed.
do_test() {
    ensure_environment dev
    cd -- "$ROOT"
    # In the order of their names: real processes come first, and what waits for them is filled with the rest.
    exec "$PYTHON" -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov=tradefan ${PYTEST_OPTIONS[@]+"${PYTEST_OPTIONS[@]}"}
}

main() {
    parse_arguments "$@"
    require_choice mode -m "$MODE" "${MODES[@]}"
    if [[ "$SELF_TEST" == no || -n "$ACTION" ]]; then require_choice action -a "$ACTION" "${ACTIONS[@]}"; fi
    if [[ "$SELF_TEST" == yes && ! "${ACTION:-deploy}" =~ ^(deploy|restart)$ ]]; then
        fail "$USAGE" "-s goes alone or with -a deploy; got -a $ACTION" "Help: scripts/deploy.sh -h"
    fi
    case "$ACTION $MODE" in
        "test "*) do_test ;;
        # What was built in a checkout is of no single environment.
        "cleanup native")
            # No `&&` behind it: what fails in there would go on.
            native_cleanup
            return
            ;;
    esac
    require_environment
    # Before the places: .env may say where the data are.
    case "$ACTION" in
        stop | status | logs) load_env_file lenient ;;
        *) load_env_file ;;
    esac
    take_settings
    locate_daemon
    if [[ "$MODE" != native ]]; then keep_owner; fi
    case "$ACTION" in
        "") "${MODE}_self_test" ;;
        restart) "${MODE}_deploy" ;;
        *) "${MODE}_$ACTION" ;;
    esac
}

# .ci/run reads this file for ensure_environment alone.
if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then main "$@"; fi
