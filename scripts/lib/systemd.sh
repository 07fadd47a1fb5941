# shellcheck shell=bash
# A daemon as a service of systemd: config/systemd/tradefan@.service, and a drop-in for each environment.

prepare_systemd() {
    UNIT_DIR="${TRADEFAN_UNIT_DIR:-/etc/systemd/system}"
    UNIT="tradefan@$ENVIRONMENT.service"
    DROP_IN="$UNIT_DIR/$UNIT.d/deploy.conf"
    OVERRIDES="$UNIT_DIR/$UNIT.d/overrides.env"
    SECRETS="$UNIT_DIR/$UNIT.d/secrets.env"
    if ! command -v systemctl >/dev/null; then fail "$MISSING" "There is no systemd here." "Without it: -m native"; fi
    if ! [[ -d "$UNIT_DIR" && -w "$UNIT_DIR" ]]; then
        fail "$MISSING" "The user $(id -un) cannot write units to $UNIT_DIR." "With the rights of root: sudo $0 ..."
    fi
}

# systemd reads % as a specifier, in every value.
plain_word() {
    say "${1//%/%%}"
}

# Where there may be several words it unescapes \ and ", too.
quoted_word() {
    local value="${1//\\/\\\\}"
    value="${value//\"/\\\"}"
    say "\"${value//%/%%}\""
}

# What holds for this environment alone, whatever other checkouts install: whose program runs as whom, how long it may
# take to stop, where it may write, and the overrides that it was deployed with.
drop_in_text() {
    local python stop_s
    python="$(quoted_word "$PYTHON")"
    stop_s="$( (cd -- "$ROOT" && scripts/tradefan check -e "$ENVIRONMENT" 2>/dev/null </dev/null || true) | configured_stop_s)"
    # An empty value takes back what stood before.
    say "[Service]" "User=$(owner)" "WorkingDirectory=$(plain_word "$ROOT")" \
        "EnvironmentFile=" "EnvironmentFile=$(plain_word "$SECRETS")" "EnvironmentFile=$(plain_word "$OVERRIDES")" \
        "ExecStartPre=" "ExecStartPre=$python -m tradefan check --quiet -e %i" \
        "ExecStart=" "ExecStart=$python -m tradefan run -e %i" \
        "TimeoutStopSec=$stop_s" \
        "ReadWritePaths=$(quoted_word "-$ROOT/data") $(quoted_word "-$ROOT/logs")" \
        "ReadWritePaths=$(quoted_word "$DATA_DIR") $(quoted_word "$LOG_DIR")"
}

# env_file: print the variables that standard input names as systemd reads them, which is as a shell does between double
# quotes.
env_file() {
    local name value
    while IFS= read -r name; do
        value="$(printf '%s\n' "${!name}" | sed 's/[\\"`$]/\\&/g')"
        say "$name=\"$value\""
    done
}

# Files, because what stands in a unit itself may be read by everybody and goes before neither. systemd reads .env
# differently, and as it is at that time; what was checked is what is in these.
write_env_files() {
    (umask 077 && secret_names | env_file >"$SECRETS")
    (umask 077 && { compgen -e | grep '^TRADEFAN__' || true; } | env_file >"$OVERRIDES")
}

install_unit() {
    mkdir -p -- "$DATA_DIR" "$LOG_DIR" "${DROP_IN%/*}"
    if [[ "$(id -u)" == 0 ]]; then chown -- "$(owner)" "$DATA_DIR" "$LOG_DIR"; fi
    cp -- "$ROOT/config/systemd/tradefan@.service" "$UNIT_DIR/tradefan@.service"
    drop_in_text >"$DROP_IN.new"
    mv -f -- "$DROP_IN.new" "$DROP_IN"
    write_env_files
    # The one that runs ends by the limit that it was started with, so before the new one is read.
    if systemd_running >/dev/null; then stop_service || true; fi
    systemctl daemon-reload
}

systemd_running() {
    local pid
    pid="$(systemctl show -p MainPID --value "tradefan@$ENVIRONMENT.service" 2>/dev/null)"
    [[ "$pid" =~ ^[1-9][0-9]*$ ]] && say "pid $pid"
}

# End the service, and show what it says of what is left at the venue.
stop_service() {
    local since code=0
    since="$(date +%s)"
    systemctl stop "$UNIT" || code=$?
    journalctl --sync >/dev/null 2>&1 || true
    { journalctl -u "$UNIT" --since "@$since" -n 20 --no-pager -o cat 2>/dev/null || true; } | sed 's/^/    /'
    return "$code"
}

# Let systemd start it, and wait until it is ready; ANSWER says why it is not, ENDED whether it has ended.
start_service() {
    local deadline=$((SECONDS + READY_S)) pid
    ANSWER="systemd could not start it" ENDED=yes
    # Starts that failed before this one would count against it.
    systemctl reset-failed "$UNIT" 2>/dev/null || true
    if ! systemctl restart "$UNIT"; then return 1; fi
    ENDED=no
    say "Waiting for $UNIT to be ready, at most $READY_S s"
    while ((SECONDS < deadline)); do
        if ! pid="$(systemd_running)"; then
            ANSWER="it has ended" ENDED=yes
            return 1
        fi
        DAEMON="${pid#pid }"
        if ANSWER="$(probe "$DAEMON")"; then return; fi
        sleep 0.3
    done
    return 1
}

systemd_deploy() {
    local before=no why
    prepare_systemd
    gate_native
    if systemd_running >/dev/null && [[ -d "$RELEASE" && -e "$DROP_IN" ]]; then before=yes; fi
    install_unit
    if start_service; then
        keep_service_release
        systemctl enable --quiet "$UNIT" || fail "$FAILED" "$UNIT runs, but cannot be enabled to start with the machine."
        systemd_next_steps
        return
    fi
    why="The new daemon did not become ready: $ANSWER."
    systemd_last_lines
    if [[ "$before" == no ]]; then first_service_failed "$why"; fi
    say "$why Going back to what ran before." >&2
    restore_packages
    restore_service
    if start_service; then
        fail "$FAILED" "$why" "What ran before runs again (pid $DAEMON, $ANSWER), from its copy in $RELEASE." \
            "Mend what the lines above name, and deploy again."
    fi
    systemd_last_lines
    fail "$FAILED" "$why" "What ran before does not start either ($ANSWER): nothing may run now."
}

# The unit, its drop-in and the overrides of before, for the program of before. The files keep their owner.
restore_service() {
    local unit="$RELEASE/config/systemd/tradefan@.service"
    if [[ -r "$unit" ]]; then cat -- "$unit" >"$UNIT_DIR/tradefan@.service"; fi
    cat -- "$RELEASE/deploy.conf" >"$DROP_IN"
    say "WorkingDirectory=$(plain_word "$RELEASE")" >>"$DROP_IN"
    cat -- "$RELEASE/overrides.env" >"$OVERRIDES"
    # A relative folder begins at the configuration's, which is another one in a copy. The last word counts.
    if [[ "$DATA_DIR_SAID" == yes ]]; then
        export TRADEFAN__DATA_DIR="$DATA_DIR"
        env_file <<<TRADEFAN__DATA_DIR >>"$OVERRIDES"
    fi
    systemctl daemon-reload
}

# As for a process: what has ended is not started again and again, what still tries is left to it.
first_service_failed() {
    local code=""
    if [[ "$ENDED" == no ]]; then
        fail "$NOT_READY" "$1" "It goes on trying.  See: scripts/deploy.sh -m systemd -e $ENVIRONMENT -a status"
    fi
    # 1: it ended by itself. A signal's number would be no exit code.
    if [[ "$(systemctl show -p ExecMainCode --value "$UNIT" 2>/dev/null)" == 1 ]]; then
        code="$(systemctl show -p ExecMainStatus --value "$UNIT" 2>/dev/null)" || true
    fi
    systemctl stop "$UNIT" || true
    fail "$(exit_code_of "$code")" "$1" "Nothing ran before, so there is nothing to go back to; it is stopped."
}

keep_service_release() {
    keep_release
    cp -p -- "$DROP_IN" "$OVERRIDES" "$RELEASE/"
    if [[ "$(id -u)" == 0 ]]; then chown -Rh -- "$(owner)" "$RELEASE"; fi
}

systemd_last_lines() {
    say "The last lines of $UNIT:" >&2
    { journalctl -u "$UNIT" -n 20 --no-pager -o cat 2>/dev/null || true; } | sed 's/^/    /' >&2
}

systemd_next_steps() {
    local me="scripts/deploy.sh -m systemd -e $ENVIRONMENT"
    say "TradeFan $ENVIRONMENT is ready (pid $DAEMON, $UNIT); it starts with the machine." \
        "  health   $ANSWER/health" "  data     $DATA_DIR" \
        "Next:" "  $me -a status" "  $me -a logs -f" "  $me -a stop"
}

systemd_start() {
    local running
    prepare_systemd
    if running="$(systemd_running)"; then
        say "$ENVIRONMENT runs already ($running).  See: scripts/deploy.sh -m systemd -e $ENVIRONMENT -a status"
        return
    fi
    systemd_deploy
}

systemd_stop() {
    local running
    prepare_systemd
    if ! running="$(systemd_running)"; then
        fail "$NOT_RUNNING" "$UNIT does not run." "Start it: scripts/deploy.sh -m systemd -e $ENVIRONMENT -a deploy"
    fi
    say "Stopping $UNIT ($running)"
    systemctl disable --quiet "$UNIT"
    stop_service || fail "$FAILED" "systemd could not stop $UNIT; the lines above say why."
    say "Stopped; it does not start with the machine any more."
}

# The environment's drop-in goes; the unit goes with the last one of them. Data stay: -m native removes those.
systemd_cleanup() {
    prepare_systemd
    if systemd_running >/dev/null; then
        fail "$FAILED" "$UNIT still runs. Nothing was removed. Stop it first." \
            "  scripts/deploy.sh -m systemd -e $ENVIRONMENT -a stop"
    fi
    say "To be removed: ${DROP_IN%/*}"
    confirm_cleanup
    # It may wait for its next start, and be wanted by the next one of the machine.
    systemctl stop "$UNIT" 2>/dev/null || true
    systemctl disable --quiet "$UNIT" 2>/dev/null || true
    remove "${DROP_IN%/*}"
    if ! compgen -G "$UNIT_DIR/tradefan@?*.service.d" >/dev/null; then remove "$UNIT_DIR/tradefan@.service"; fi
    systemctl daemon-reload
    systemctl reset-failed "$UNIT" 2>/dev/null || true
    say "Removed."
}

systemd_status() { native_status; }
systemd_logs() { native_logs; }
systemd_self_test() { native_self_test; }
