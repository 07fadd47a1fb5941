#!/usr/bin/env bash
# Build the image, run it once as it will be run, and say what came of it. Needs a container engine; where no registry
# answers, debootstrap makes the base. TRADEFAN_IMAGE (tradefan:local) is its name, TRADEFAN_BASE what it stands on.
set -euo pipefail

ROOT="$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")"
# shellcheck source=scripts/lib/words.sh
source "$ROOT/scripts/lib/words.sh"
# shellcheck source=scripts/lib/secrets.sh
source "$ROOT/scripts/lib/secrets.sh"
# The names of the image and its base may be there, where compose finds them, too.
load_env_file

IMAGE="${TRADEFAN_IMAGE:-tradefan:local}"
BASE="${TRADEFAN_BASE:-python:3.11-slim-bookworm}"
WHEELS="$ROOT/build/wheels"
readonly READY_S=60 PULL_S=30
TEMP=""
CONTAINER=""
ENGINE_PID=""

usage() {
    cat <<'TEXT'
Usage: scripts/image.sh [build|try|all]

  build   build the image
  try     start it with a read-only root and no rights, fill an order in it, and stop it
  all     both (this is what `make image` does)

Without an engine that answers, root's own dockerd is started for the while where it is installed.
TEXT
}

# Take back what was started here, whatever happened.
clean_up() {
    if [[ -n "$CONTAINER" ]]; then docker rm -f -v "$CONTAINER" >/dev/null 2>&1 || true; fi
    if [[ -n "$ENGINE_PID" ]]; then
        kill -TERM "$ENGINE_PID" 2>/dev/null || true
        wait "$ENGINE_PID" 2>/dev/null || true
        # It leaves the mount of a network behind, and a folder with a mount in it cannot be removed.
        umount "$TEMP"/exec/netns/* 2>/dev/null || true
    fi
    if [[ -n "$TEMP" ]]; then rm -rf -- "$TEMP"; fi
}

# Another engine's configuration, network and firewall are none of ours: this one has no bridge, and ends with us.
start_engine() {
    if docker version >/dev/null 2>&1; then return; fi
    command -v docker >/dev/null || fail "$MISSING" "There is no docker here." "On Debian: sudo apt install docker.io"
    if ! command -v dockerd >/dev/null || [[ "$(id -u)" != 0 ]]; then
        fail "$MISSING" "No container engine answers, and none can be started (dockerd, as root)." \
            "On Debian: sudo apt install docker.io"
    fi
    say "No engine answers: starting one for the while"
    export DOCKER_HOST="unix://$TEMP/docker.sock"
    dockerd --host "$DOCKER_HOST" --data-root "$TEMP/data" --exec-root "$TEMP/exec" --pidfile "$TEMP/docker.pid" \
        --iptables=false --bridge=none >"$TEMP/dockerd.log" 2>&1 &
    ENGINE_PID=$!
    local deadline=$((SECONDS + READY_S))
    until docker version >/dev/null 2>&1; do
        if ((SECONDS > deadline)) || ! kill -0 "$ENGINE_PID" 2>/dev/null; then
            tail -n 5 -- "$TEMP/dockerd.log" >&2
            fail "$MISSING" "dockerd does not start here; its last lines are above."
        fi
        sleep 0.2
    done
}

# Have the base: as it is, from the registry, or made here of Debian's own packages.
have_base() {
    if docker image inspect "$BASE" >/dev/null 2>&1 || timeout "$PULL_S" docker pull -q "$BASE" 2>/dev/null; then return; fi
    BASE=tradefan-base:bookworm
    if docker image inspect "$BASE" >/dev/null 2>&1; then return; fi
    command -v debootstrap >/dev/null || fail "$MISSING" "No registry has the base within $PULL_S s." \
        "Name one that is here: TRADEFAN_BASE=IMAGE, or have debootstrap make it: sudo apt install debootstrap"
    say "No registry answers: making $BASE with debootstrap"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$TEMP/base" \
        >"$TEMP/debootstrap.log" 2>&1 || {
        tail -n 5 -- "$TEMP/debootstrap.log" >&2
        fail "$FAILED" "debootstrap did not end well; its last lines are above."
    }
    # What only an installation or a reader of manuals looks at.
    rm -rf -- "$TEMP"/base/var/cache/apt/archives/*.deb "$TEMP"/base/var/lib/apt/lists/* \
        "$TEMP"/base/usr/share/{doc,man,locale,info}/*
    tar -C "$TEMP/base" -c . | docker import - "$BASE" >/dev/null
}

# Fetch what the lock pins for the Python of the base, with this machine's certificates: an image has those of its
# maker, and a mirror behind a company's proxy is signed by the company.
fetch_wheels() {
    local certificates=/etc/ssl/certs/ca-certificates.crt options=() stamp
    stamp="$(cksum <"$ROOT/requirements.txt") $(docker image inspect -f '{{.Id}}' "$BASE")"
    if [[ "$(cat -- "$WHEELS/.made-for" 2>/dev/null)" == "$stamp" ]]; then return; fi
    say "Fetching what requirements.txt pins"
    if [[ -r "$certificates" ]]; then options=(-v "$certificates:/certificates:ro" -e PIP_CERT=/certificates); fi
    rm -rf -- "$WHEELS"
    mkdir -p -- "$WHEELS"
    docker run --rm --network host "${options[@]}" -e PIP_INDEX_URL -e PIP_EXTRA_INDEX_URL -e PIP_TRUSTED_HOST \
        -v "$WHEELS:/wheels" -v "$ROOT/requirements.txt:/requirements.txt:ro" "$BASE" sh -c \
        'python3 -m venv /tmp/venv && /tmp/venv/bin/pip download -q --disable-pip-version-check --require-hashes \
            --only-binary=:all: -d /wheels -r /requirements.txt' ||
        fail "$FAILED" "The packages could not be fetched; pip's words are above."
    say "$stamp" >"$WHEELS/.made-for"
}

build() {
    local started=$SECONDS
    have_base
    fetch_wheels
    say "Building $IMAGE on $BASE"
    # The classic builder is in every engine.
    if ! DOCKER_BUILDKIT=0 docker build --network none --build-arg "BASE=$BASE" -t "$IMAGE" "$ROOT" >"$TEMP/build.log" 2>&1; then
        tail -n 15 -- "$TEMP/build.log" >&2
        fail "$FAILED" "The image could not be built; the last lines are above."
    fi
    say "Built after $((SECONDS - started)) s: $(($(docker image inspect -f '{{.Size}}' "$IMAGE") / 1000000)) MB"
}

# Start it as docker-compose.yml does, but for the network: an engine of our own has none.
start_container() {
    local port
    port="$(docker run --rm --network host --entrypoint python "$IMAGE" -c \
        'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
    CONTAINER="$(docker run -d --network host --read-only --tmpfs /tmp --cap-drop ALL --memory 2g \
        --security-opt no-new-privileges -e TRADEFAN__API__HOST=127.0.0.1 -e "TRADEFAN__API__PORT=$port" "$IMAGE")"
}

await() {
    local what="$1" deadline=$((SECONDS + READY_S))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > deadline)) || [[ "$(docker inspect -f '{{.State.Running}}' "$CONTAINER")" != true ]]; then
            docker logs --tail 20 "$CONTAINER" >&2
            fail "$FAILED" "Not $what within $READY_S s; the container's last lines are above."
        fi
        sleep 0.1
    done
}

is_healthy() { [[ "$(docker inspect -f '{{.State.Health.Status}}' "$CONTAINER")" == healthy ]]; }
inside() { docker exec "$CONTAINER" "$@"; }

try() {
    local begun ready_ms code said
    docker image inspect "$IMAGE" >/dev/null 2>&1 || fail "$MISSING" "There is no image $IMAGE." "Build it: scripts/image.sh build"
    begun="$(date +%s%3N)"
    start_container
    await ready inside python -m tradefan.probe --ready
    ready_ms=$(($(date +%s%3N) - begun))
    said="$(inside tradefan order submit --symbol BTC/USDT --side buy --quantity 0.01 --watch | tail -n 1)"
    if [[ "$said" != *FILLED* ]]; then fail "$FAILED" "Expected an order that is FILLED, got: $said"; fi
    await healthy is_healthy
    docker stop -t 20 "$CONTAINER" >/dev/null
    code="$(docker inspect -f '{{.State.ExitCode}}' "$CONTAINER")"
    say "Ready after $ready_ms ms, healthy as user $(docker inspect -f '{{.Config.User}}' "$CONTAINER")" "$said" \
        "Stopped with exit code $code"
    if [[ "$code" != 0 ]]; then fail "$FAILED" "Expected exit code 0 on SIGTERM."; fi
}

main() {
    case "${1:-all}" in
        build | try | all) ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit "$USAGE" ;;
    esac
    TEMP="$(mktemp -d)"
    trap clean_up EXIT
    start_engine
    if [[ "${1:-all}" != try ]]; then build; fi
    if [[ "${1:-all}" != build ]]; then try; fi
}

main "$@"
