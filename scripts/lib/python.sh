# shellcheck shell=bash
# The environment .venv: made from the locks, and made again when they, the Python or the place change.

# python_version PYTHON: print its version; false if it does not run or is too old.
python_version() {
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 11))' \
        2>/dev/null </dev/null
}

# Print a Python that can make the environment: TRADEFAN_PYTHON, or the newest that is found. Each is run: a pyenv
# shim exists for versions that are not there.
find_python() {
    local name candidate version useless=""
    for name in ${TRADEFAN_PYTHON:+"$TRADEFAN_PYTHON"} python3.14 python3.13 python3.12 python3.11 python3 python; do
        while IFS= read -r candidate; do
            version="$(python_version "$candidate")" || continue
            if "$candidate" -c 'import ensurepip, venv' 2>/dev/null </dev/null; then
                say "$candidate"
                return
            fi
            useless="$candidate ($version)"
        done < <(type -aP "$name" || true)
        # Whoever names one gets that one or none.
        if [[ -n "${TRADEFAN_PYTHON:-}" ]]; then break; fi
    done
    no_python "$useless"
}

no_python() {
    if [[ -n "$1" ]]; then
        fail "$MISSING" "$1 cannot make environments: its modules venv and ensurepip are missing." \
            "On Debian and Ubuntu: sudo apt install python3-venv"
    fi
    if [[ -n "${TRADEFAN_PYTHON:-}" ]]; then
        fail "$MISSING" "TRADEFAN_PYTHON is $TRADEFAN_PYTHON, which does not run as Python 3.11 or newer."
    fi
    fail "$MISSING" "TradeFan needs Python 3.11 or newer; none of python3.14 ... python3.11, python3, python runs as one." \
        "On Debian 12, Ubuntu 24.04 or newer: sudo apt install python3 python3-venv" \
        "Elsewhere: pyenv install 3.13 && pyenv global 3.13, or brew install python"
}

# base_of PYTHON: where the interpreter itself is installed, below any environment.
base_of() {
    "$1" -c 'import sys; print(sys.base_prefix, *sys.version_info[:2])' 2>/dev/null </dev/null
}

# A moved checkout leaves scripts in .venv that name the old folder, so such an environment is made again; so is
# one of another Python than TRADEFAN_PYTHON.
venv_is_usable() {
    python_version "$PYTHON" >/dev/null || return 1
    if [[ -n "${TRADEFAN_PYTHON:-}" && "$(base_of "$TRADEFAN_PYTHON")" != "$(base_of "$PYTHON")" ]]; then return 1; fi
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
