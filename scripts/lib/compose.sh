# shellcheck shell=bash
# A daemon in a container, alone or with the servers around it (docker-compose.yml).

COMPOSE_STOP_S=30
# What a container cannot take from the caller: its volume, its name, its port inside, and the login of the servers
# around it, which docker-compose.yml says.
readonly CONTAINERS_OWN='^(TRADEFAN__(DATA_DIR|API__HOST|API__PORT)|INFLUXDB_(USER|PASSWORD)|REDIS_PASSWORD)$'

# The plugin where there is one, else compose v1: the file is valid for both. That of a release means the same folders.
compose() {
    local program=(docker compose) files=(-f "$SERVICES_FILE")
    if [[ "$SERVICES_FILE" != "$ROOT"/docker-compose.yml ]]; then files=(--project-directory "$ROOT" "${files[@]}"); fi
    if ! docker compose version >/dev/null 2>&1; then program=(docker-compose); fi
    if [[ -e "$OVERRIDES" ]]; then files+=(-f "$OVERRIDES"); fi
    # It would end over such a .env itself; what could be read of it is in the environment. The file has to be one:
    # compose v1 refuses /dev/null.
    if [[ "$ENV_MISTAKEN" == yes ]]; then
        mkdir -p -- "${OVERRIDES%/*}"
        : >"$OVERRIDES.empty"
        files+=(--env-file "$OVERRIDES.empty")
    fi
    "${program[@]}" "${files[@]}" "$@"
}

# Find the programs, and say to the file which environment is meant.
prepare_compose() {
    command -v docker >/dev/null || fail "$MISSING" "There is no docker here." "On Debian: sudo apt install docker.io"
    if ! docker compose version >/dev/null 2>&1 && ! command -v docker-compose >/dev/null; then
        fail "$MISSING" "There is no docker compose here." "On Debian: sudo apt install docker-compose"
    fi
    docker version >/dev/null 2>&1 ||
        fail "$MISSING" "The container engine does not answer." "Start it, or let this user reach it: docker version"
    RELEASE="$ROOT/data/compose-$ENVIRONMENT/release"
    OVERRIDES="$ROOT/data/compose-$ENVIRONMENT/overrides.yml"
    SERVICES_FILE="$ROOT/docker-compose.yml"
    export TRADEFAN_IMAGE="${TRADEFAN_IMAGE:-tradefan:local}"
    WORDS='^TRADEFAN__|^TRADEFAN_(PORT|STOP_S|INFLUX_URL|REDIS_URL)$'
    # Inside it is 8000 always: who asks for another port means the one of this machine. Said in any case, so that going
    # back knows it of then.
    export TRADEFAN_PORT="${TRADEFAN_PORT:-${TRADEFAN__API__PORT:-8000}}"
    export TRADEFAN_INFLUX_URL="${TRADEFAN_INFLUX_URL:-}" TRADEFAN_REDIS_URL="${TRADEFAN_REDIS_URL:-}"
    export COMPOSE_PROJECT_NAME="tradefan-$ENVIRONMENT" TRADEFAN_ENVIRONMENT="$ENVIRONMENT"
    if [[ "$FULL" == yes ]]; then
        export COMPOSE_PROFILES=full TRADEFAN_INFLUX_URL=http://influxdb:8086 TRADEFAN_REDIS_URL=redis://redis:6379/0
    fi
}

container() {
    # Without the file, because that is read anew each time and may have a mistake by now. A check or a self-test of the
    # new image is a container of the same service, too.
    docker ps -q -f "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" -f label=com.docker.compose.service=tradefan \
        -f label=com.docker.compose.oneoff=False "$@"
}

# Name to compose the overrides and the secrets that the container gets; it takes their values from the environment
# itself, so that they are in no file.
pass_words() {
    local name names=""
    while IFS= read -r name; do names+="${names:+, }\"$name\""; done < <(
        { compgen -e | grep '^TRADEFAN__' || true; secret_names; } | grep -Ev -- "$CONTAINERS_OWN" || true
    )
    mkdir -p -- "${OVERRIDES%/*}"
    say "services: {tradefan: {environment: [$names]}}" >"$OVERRIDES"
}

# container_stop_s ID: print the seconds that a container was given to end in, when it was made.
container_stop_s() {
    local said
    said="$(docker inspect -f '{{.Config.StopTimeout}}' "$1" 2>/dev/null)" || true
    if [[ "$said" =~ ^[0-9]+$ ]]; then say "$said"; else say "$COMPOSE_STOP_S"; fi
}

compose_running() {
    local id
    id="$(container)"
    [[ -n "$id" ]] && say "container $id"
}

in_container() {
    local id
    id="$(container)"
    if [[ -z "$id" ]]; then
        fail "$NOT_RUNNING" "$ENVIRONMENT does not run in a container here." \
            "Start it: scripts/deploy.sh -m compose -e $ENVIRONMENT -a deploy"
    fi
    docker exec "$id" "$@"
}

# Run a command of the new image with the new configuration, beside whatever runs.
in_new_container() {
    compose run --rm --no-deps -T "$@" </dev/null
}

gate_compose() {
    local said code=0
    refuse_unsafe
    have_passwords
    mkdir -p -- "$ROOT/strategies"
    "$ROOT/scripts/image.sh" build
    pass_words
    said="$(in_new_container tradefan check -e "$ENVIRONMENT" 2>&1 >"$OVERRIDES.checked")" || code=$?
    TRADEFAN_STOP_S="$(configured_stop_s <"$OVERRIDES.checked")"
    rm -f -- "$OVERRIDES.checked"
    if ((TRADEFAN_STOP_S < COMPOSE_STOP_S)); then TRADEFAN_STOP_S=$COMPOSE_STOP_S; fi
    export TRADEFAN_STOP_S
    if ((code == 0)) && [[ "$said" == *"to run, $ENVIRONMENT lacks "* ]]; then code=$USAGE; fi
    if ((code)); then fail "$code" "$said" "Nothing was started or stopped. Mend the configuration, then try again."; fi
    if [[ "$SELF_TEST" == yes ]]; then test_image; fi
}

test_image() {
    local code=0
    # Elsewhere: the address of the daemon that runs is good in its own container alone.
    in_new_container -e TRADEFAN__DATA_DIR=/tmp/data tradefan self-test -e "$ENVIRONMENT" --for "$SELF_TEST_S" \
        --no-health || code=$?
    if ((code)); then fail "$code" "The self-test of $ENVIRONMENT failed; the line above says where. Nothing was deployed."; fi
}

# Start the daemon anew, then what is around it. Whatever compose takes for unchanged: an edit of what is mounted is
# none to it. The one that runs has the time to end that it was made with, and goes before: compose v1 cannot replace a
# container where the engine is newer than it.
start_containers() {
    local id
    ANSWER="compose could not start it" ENDED=yes
    for id in $(container -a); do
        docker stop -t "$(container_stop_s "$id")" "$id" >/dev/null || return 1
        docker rm "$id" >/dev/null || return 1
    done
    compose up -d --no-deps --force-recreate tradefan || return 1
    if [[ "${1:-}" != alone ]]; then compose up -d || return 1; fi
    await_container
}

# Wait for the daemon in its container; ANSWER says why it is not ready, ENDED whether it has ended.
await_container() {
    local deadline=$((SECONDS + READY_S)) id
    ANSWER="" ENDED=no
    say "Waiting for $ENVIRONMENT to be ready, at most $READY_S s"
    while ((SECONDS < deadline)); do
        id="$(container)"
        if [[ -z "$id" || "$(docker inspect -f '{{.RestartCount}}' "$id" 2>/dev/null)" != 0 ]]; then
            ANSWER="it has ended" ENDED=yes
            return 1
        fi
        if ANSWER="$(docker exec "$id" python -m tradefan.probe --ready 2>&1)"; then return; fi
        sleep 0.5
    done
    return 1
}

show_container_log() {
    local id
    id="$(container -a)"
    say "The last lines of the container:" >&2
    if [[ -n "$id" ]]; then docker logs --tail 20 "$id" 2>&1 | sed 's/^/    /' >&2; fi
}

compose_deploy() {
    local before="" why
    prepare_compose
    if [[ -n "$(container)" && -d "$RELEASE" ]]; then before="$(docker inspect -f '{{.Image}}' "$(container)")"; fi
    gate_compose
    if start_containers; then
        keep_container_release
        compose_next_steps
        return
    fi
    show_container_log
    why="The new daemon did not become ready: $ANSWER."
    if [[ -z "$before" ]]; then first_container_failed "$why"; fi
    say "$why Going back to what ran before." >&2
    if go_back_to_image "$before"; then
        fail "$FAILED" "$why" "What ran before runs again: image $TRADEFAN_IMAGE, configuration of $TRADEFAN_CONFIG." \
            "Mend what the lines above name, and deploy again."
    fi
    show_container_log
    fail "$FAILED" "$why" "What ran before does not start either ($ANSWER): nothing may run now."
}

# The engine would start it again and again: what has ended is stopped, what still tries is left to it.
first_container_failed() {
    local id code
    if [[ "$ENDED" == no ]]; then
        fail "$NOT_READY" "$1" "It goes on trying.  See: scripts/deploy.sh -m compose -e $ENVIRONMENT -a status"
    fi
    id="$(container -a)"
    code="$(docker inspect -f '{{.State.ExitCode}}' "$id" 2>/dev/null)" || true
    if [[ -n "$id" ]]; then docker stop "$id" >/dev/null || true; fi
    fail "$(exit_code_of "$code")" "$1" "Nothing ran before, so there is nothing to go back to; it is stopped."
}

# What has become ready: the image by a name that no build takes away, the configuration, and how it is started.
keep_container_release() {
    docker tag "$(docker inspect -f '{{.Image}}' "$(container)")" "tradefan:kept-$ENVIRONMENT"
    rm -rf -- "$RELEASE"
    mkdir -p -- "$RELEASE"
    cp -Rp -- "$ROOT/config" "$ROOT/strategies" "$ROOT/docker-compose.yml" "$RELEASE/"
    # The mounts are read by another user, who does not come by this way; the words are nobody else's.
    (umask 077 && environment_words >"$RELEASE/words")
}

go_back_to_image() {
    docker tag "$1" "tradefan:kept-$ENVIRONMENT" || say "The image of before could not be named." >&2
    export TRADEFAN_IMAGE="tradefan:kept-$ENVIRONMENT" TRADEFAN_CONFIG="$RELEASE/config" TRADEFAN_STRATEGIES="$RELEASE/strategies"
    # One that an older script has kept has none.
    if [[ -e "$RELEASE/docker-compose.yml" ]]; then SERVICES_FILE="$RELEASE/docker-compose.yml"; fi
    restore_words
    pass_words
    start_containers alone
}

compose_next_steps() {
    local me="scripts/deploy.sh -m compose -e $ENVIRONMENT"
    say "TradeFan $ENVIRONMENT is ready (container $(container))." \
        "  health   http://127.0.0.1:${TRADEFAN_PORT:-8000}/health"
    if [[ "${COMPOSE_PROFILES:-}" == *full* ]]; then
        say "  grafana  http://127.0.0.1:3000" "  prometheus http://127.0.0.1:9090" "  influxdb http://127.0.0.1:8086"
        say_login
    fi
    say "Next:" "  $me -a status" "  $me -a logs -f" "  $me -a stop"
}

compose_start() {
    prepare_compose
    if [[ -n "$(container)" ]]; then
        say "$ENVIRONMENT runs already ($(compose_running)).  See: scripts/deploy.sh -m compose -e $ENVIRONMENT -a status"
        return
    fi
    compose_deploy
}

compose_stop() {
    local id said
    prepare_compose
    id="$(container)"
    if [[ -z "$id" ]]; then in_container true; fi
    say "Stopping $ENVIRONMENT (container $id)"
    docker stop -t "$(container_stop_s "$id")" "$id" >/dev/null
    docker logs --tail 5 "$id" 2>&1 | sed 's/^/    /'
    said="$(COMPOSE_PROFILES=full compose down -t "$COMPOSE_STOP_S" 2>&1)" ||
        fail "$FAILED" "$said" "The daemon has ended, but not everything around it could be taken down; the lines above say why."
    say "Stopped."
}

compose_status() {
    prepare_compose
    in_container tradefan status -e "$ENVIRONMENT"
}

compose_logs() {
    local id
    prepare_compose
    id="$(container -a)"
    if [[ -z "$id" ]]; then in_container true; fi
    docker logs ${LOG_OPTIONS[@]+"${LOG_OPTIONS[@]}"} "$id"
}

# Its containers and networks go, and the image that was kept; with --all its data, too.
compose_cleanup() {
    local said options=()
    prepare_compose
    if [[ -n "$(container)" ]]; then
        fail "$FAILED" "$ENVIRONMENT still runs ($(compose_running)). Nothing was removed. Stop it first." \
            "  scripts/deploy.sh -m compose -e $ENVIRONMENT -a stop"
    fi
    say "To be removed: containers, networks and the kept image of $COMPOSE_PROJECT_NAME"
    if [[ "$ALL" == yes ]]; then
        options=(-v)
        say "and its volumes: positions, history, what the servers around it stored"
    fi
    confirm_cleanup
    said="$(COMPOSE_PROFILES=full compose down ${options[@]+"${options[@]}"} 2>&1)" ||
        fail "$FAILED" "$said" "Not everything could be removed; the lines above say why."
    docker image rm "tradefan:kept-$ENVIRONMENT" >/dev/null 2>&1 || true
    remove "$RELEASE" "$OVERRIDES" "$OVERRIDES.empty"
    say "Removed."
}

compose_self_test() {
    prepare_compose
    refuse_unsafe
    have_passwords
    mkdir -p -- "$ROOT/strategies"
    "$ROOT/scripts/image.sh" build
    pass_words
    test_image
    container_health
}

# The container that runs is asked in itself: a new one has neither its address nor its data.
container_health() {
    local id said code=0
    id="$(container)"
    if [[ -z "$id" ]]; then
        say "health         no container of $ENVIRONMENT runs here"
        return
    fi
    said="$(docker exec "$id" python -m tradefan.probe 2>&1)" || code=$?
    if ((code)); then fail "$code" "health         FAILED: $said"; fi
    say "health         ok, $said (container $id)"
}
