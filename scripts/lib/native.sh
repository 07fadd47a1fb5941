# shellcheck shell=bash
# A daemon as a process of this user: no root, no terminal, no service needed.

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
    DATA_DIR_SAID=no
    if [[ -n "$DATA_DIR" ]]; then
        # shellcheck disable=SC2088 # As it stands in a file.
        if [[ "$DATA_DIR" == "~/"* ]]; then DATA_DIR="$HOME/${DATA_DIR#??}"; fi
        if [[ "$DATA_DIR" != /* ]]; then DATA_DIR="$ROOT/$DATA_DIR"; fi
        # systemd takes no path with `..` in it; where readlink knows no -m there is no systemd.
        if [[ "$DATA_DIR/" == */../* ]]; then DATA_DIR="$(readlink -m -- "$DATA_DIR" 2>/dev/null || say "$DATA_DIR")"; fi
        DATA_DIR_SAID=yes
        LOG_DIR="$DATA_DIR/logs"
    fi
    DATA_DIR="${DATA_DIR:-$ROOT/data/$ENVIRONMENT}"
    OUT="$LOG_DIR/$ENVIRONMENT.out"
    PID_FILE="$DATA_DIR/deploy.pid"
    RELEASE="$DATA_DIR/release"
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

# spawn_daemon FOLDER: start a daemon with the program and the configuration of a checkout, or of a release.
spawn_daemon() {
    local folder="$1" detach=(nohup)
    # Its own session, so that closing the terminal or Ctrl-C here does not reach it; macOS has no setsid.
    if command -v setsid >/dev/null; then detach=(setsid nohup); fi
    need_writable "$DATA_DIR"
    need_writable "$LOG_DIR"
    if [[ -e "$OUT" ]]; then mv -f -- "$OUT" "$OUT.1"; fi
    cd -- "$folder"
    "${detach[@]}" "$PYTHON" -m tradefan run -e "$ENVIRONMENT" </dev/null >"$OUT" 2>&1 &
    DAEMON=$!
    say "$DAEMON" >"$PID_FILE"
}

# probe PID: ask the daemon whether it is ready. Prints its URL when it is, else why not, and is false.
probe() {
    (cd -- "$ROOT" && "$PYTHON" -P -m tradefan.probe --ready --data "$DATA_DIR" --pid "$1" 2>/dev/null)
}

# Wait for the daemon. ANSWER is its URL, or why it is not ready; CODE its exit code where it has ended.
await_ready() {
    local deadline=$((SECONDS + READY_S))
    ANSWER="" CODE=""
    say "Waiting for $ENVIRONMENT (pid $DAEMON) to be ready, at most $READY_S s"
    while ((SECONDS < deadline)); do
        if ANSWER="$(probe "$DAEMON")"; then return; fi
        if ! kill -0 "$DAEMON" 2>/dev/null; then
            CODE=0
            wait "$DAEMON" || CODE=$?
            rm -f -- "$PID_FILE"
            return 1
        fi
        sleep 0.3
    done
    return 1
}

show_last_lines() {
    say "The last lines of $OUT:" >&2
    tail -n 20 -- "$OUT" | sed 's/^/    /' >&2
}

# Pass on the daemon's own exit code where it says more than "failed".
start_failed() {
    local me="scripts/deploy.sh -e $ENVIRONMENT"
    show_last_lines
    case "$CODE" in
        "") fail "$NOT_READY" "$ENVIRONMENT runs (pid $DAEMON) but was not ready within $READY_S s: $ANSWER" \
            "It goes on trying.  See: $me -a status" ;;
        "$USAGE") fail "$USAGE" "The configuration is refused. Check it with: scripts/tradefan check -e $ENVIRONMENT" ;;
        "$MISSING") fail "$MISSING" "Something that the daemon needs is missing or taken; the lines above name it." \
            "A busy port: TRADEFAN__API__PORT=8001 $me -a deploy" \
            "A busy data directory: end the daemon that the lines name, or set TRADEFAN__DATA_DIR=/some/folder" ;;
        "$DEFECT") fail "$DEFECT" "The daemon met a defect of its own; please report the lines above." ;;
        *) fail "$FAILED" "The daemon ended with exit code $CODE before it was ready." ;;
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

# stop_limit PID: print how many seconds the daemon may take to end. It announced that with its address.
stop_limit() {
    local said
    said="$(sed -n "s/^{\"pid\":$1,.*\"stop_deadline_s\":\([0-9]*\).*/\1/p" "$DATA_DIR/daemon.json" 2>/dev/null)" || true
    say "$((${said:-$STOP_DEADLINE_S} + STOP_MARGIN_S))"
}

# stop_daemon PID [kill]: end the daemon and print what it says meanwhile: orders that are left at a venue are named
# there. Where it does not end, that is a failure, or with `kill` it is killed.
stop_daemon() {
    local pid="$1" or="${2:-fail}" lines limit deadline
    limit="$(stop_limit "$pid")"
    deadline=$((SECONDS + limit))
    lines="$(wc -l <"$OUT" 2>/dev/null || say 0)"
    say "Stopping $ENVIRONMENT (pid $pid)"
    kill -TERM "$pid" 2>/dev/null || ! is_our_daemon "$pid" || fail "$FAILED" "This user may not stop pid $pid."
    while is_our_daemon "$pid"; do
        if ((SECONDS >= deadline)); then
            if [[ "$or" == fail ]]; then stop_failed "$pid" "$limit"; fi
            say "pid $pid did not end within $limit s of SIGTERM; it is killed." >&2
            kill -KILL "$pid" 2>/dev/null || true
            deadline=$((SECONDS + STOP_MARGIN_S)) or=fail
        fi
        sleep 0.2
    done
    if [[ -r "$OUT" ]]; then tail -n "+$((lines + 1))" -- "$OUT" | sed 's/^/    /'; fi
    rm -f -- "$PID_FILE"
    say "Stopped."
}

stop_failed() {
    show_last_lines
    fail "$FAILED" "pid $1 did not end within $2 s of SIGTERM: runtime.stop_deadline and $STOP_MARGIN_S s." \
        "Try again; 'kill -9 $1' ends it at once and leaves open orders at the venue until the next start."
}

native_running() {
    local pid
    pid="$(running_pid)" && say "pid $pid"
}

native_start() {
    local pid
    ensure_environment runtime
    if pid="$(running_pid)"; then
        say "$ENVIRONMENT runs already (pid $pid).  See: scripts/deploy.sh -e $ENVIRONMENT -a status"
        return
    fi
    refuse_unsafe
    spawn_daemon "$ROOT"
    await_ready || start_failed
    keep_release
    print_next_steps "$ANSWER"
}

native_deploy() {
    local pid before=no
    gate_native
    if pid="$(running_pid)"; then
        if [[ -d "$RELEASE" ]]; then before=yes; fi
        stop_daemon "$pid"
    fi
    spawn_daemon "$ROOT"
    if await_ready; then
        keep_release
        print_next_steps "$ANSWER"
    elif [[ "$before" == yes ]]; then
        native_go_back
    else
        start_failed
    fi
}

# What was started is not well: end it, and start what ran before as it ran then.
native_go_back() {
    local why="ended with exit code $CODE"
    show_last_lines
    if [[ -z "$CODE" ]]; then
        why="was not ready within $READY_S s: $ANSWER"
        # It keeps the place of what ran before, so it goes in any case.
        stop_daemon "$DAEMON" kill
    fi
    why="The new daemon $why."
    say "$why Going back to what ran before." >&2
    restore_packages
    restore_words
    # A relative folder begins at the configuration's, which is another one in a copy.
    if [[ "$DATA_DIR_SAID" == yes ]]; then export TRADEFAN__DATA_DIR="$DATA_DIR"; fi
    spawn_daemon "$RELEASE"
    if await_ready; then
        fail "$FAILED" "$why" "What ran before runs again (pid $DAEMON, $ANSWER), from its copy in $RELEASE." \
            "Mend what the lines above name, and deploy again."
    fi
    show_last_lines
    fail "$FAILED" "$why" "What ran before does not start either (${CODE:+exit code $CODE}${ANSWER}): nothing may run now." \
        "See: scripts/deploy.sh -e $ENVIRONMENT -a status"
}

native_stop() {
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

native_status() {
    exec "$ROOT/scripts/tradefan" status -e "$ENVIRONMENT"
}

native_logs() {
    exec "$ROOT/scripts/tradefan" logs -e "$ENVIRONMENT" ${LOG_OPTIONS[@]+"${LOG_OPTIONS[@]}"}
}

native_self_test() {
    ensure_environment runtime
    refuse_unsafe
    run_self_test
}
