# shellcheck shell=bash
# Before something is started: its checks. Behind it: a copy of what became ready, to go back to.

# gate_native: end unless what the checkout holds now may be started. Nothing was stopped so far.
gate_native() {
    ensure_environment runtime
    refuse_unsafe
    check_configuration
    if [[ "$SELF_TEST" == yes ]]; then run_self_test; fi
}

# check_configuration: a configuration that cannot run must not cost the daemon that does.
check_configuration() {
    local said code=0 running
    # From the checkout, as the daemon: elsewhere a ./config of somebody else's would be taken.
    said="$(cd -- "$ROOT" && scripts/tradefan check -e "$ENVIRONMENT" 2>&1 >/dev/null </dev/null)" || code=$?
    # Where a secret is missing, `check` only remarks on it, but `run` refuses.
    if ((code == 0)) && [[ "$said" == *"to run, $ENVIRONMENT lacks "* ]]; then code=$USAGE; fi
    if ((code == 0)); then return; fi
    if running="$("${MODE}_running")"; then
        fail "$code" "$said" "Nothing was stopped: the running daemon ($running) goes on untouched, as it was started." \
            "Mend the configuration, check it with: scripts/tradefan check -e $ENVIRONMENT"
    fi
    fail "$code" "$said" "Nothing was started." \
        "Mend the configuration, check it with: scripts/tradefan check -e $ENVIRONMENT"
}

# In front of a deployment the health of what runs decides nothing: what is deployed may be its cure.
run_self_test() {
    local code=0 options=()
    if [[ -n "$ACTION" ]]; then options=(--no-health); fi
    (cd -- "$ROOT" && scripts/tradefan self-test -e "$ENVIRONMENT" --for "$SELF_TEST_S" \
        ${options[@]+"${options[@]}"} </dev/null) || code=$?
    if ((code == 0)); then return; fi
    fail "$code" "The self-test of $ENVIRONMENT failed; the line above says where. Nothing was deployed."
}

# Keep a copy of the program, the configuration and the words of the environment that have just become ready. The rest
# of the checkout is linked, so that a path within it (a secret's file, say) means the same from there.
keep_release() {
    local new="$RELEASE.new" path name
    rm -rf -- "$new"
    mkdir -p -- "$new"
    chmod 0700 "$new"
    for path in "$ROOT"/* "$ROOT"/.[!.]* "$ROOT"/..?*; do
        name="${path##*/}"
        if ! [[ -e "$path" || -L "$path" ]]; then continue; fi
        case "$name" in
            tradefan | config | strategies | requirements.txt) cp -Rp -- "$path" "$new/$name" ;;
            *) ln -s -- "$path" "$new/$name" ;;
        esac
    done
    environment_words >"$new/words"
    rm -rf -- "$RELEASE"
    mv -- "$new" "$RELEASE"
}

# What of the environment belongs to a release: the overrides; a container has more.
WORDS='^TRADEFAN__'

# Print the overrides of this environment as lines that a shell reads.
environment_words() {
    local name
    while IFS= read -r name; do printf '%s=%q\n' "$name" "${!name}"; done < <(compgen -e | grep -E -- "$WORDS" || true)
}

# Take the overrides that the release ran with, and no others.
restore_words() {
    local name
    while IFS= read -r name; do unset "$name"; done < <(compgen -e | grep -E -- "$WORDS" || true)
    set -a
    # shellcheck source=/dev/null
    source "$RELEASE/words"
    set +a
}

# A stop takes `runtime.stop_deadline` at most, and then files and links are closed.
readonly STOP_DEADLINE_S=10 STOP_MARGIN_S=10

# configured_stop_s: read what `tradefan check` prints, and print how many seconds a stop may take.
configured_stop_s() {
    awk -v seconds="$STOP_DEADLINE_S" -v margin="$STOP_MARGIN_S" '
        BEGIN { factor["ms"] = 0.001; factor["s"] = 1; factor["m"] = 60; factor["h"] = 3600 }
        /^[a-z]/ { section = $1 }
        section == "runtime:" && /^  stop_deadline:/ {
            unit = $2
            sub(/^[0-9]+/, "", unit)
            if (unit in factor) seconds = ($2 + 0) * factor[unit]
        }
        END { print int(seconds) + (seconds > int(seconds)) + margin }'
}

# exit_code_of CODE: print the exit code of a daemon where it says more than "failed", else that.
exit_code_of() {
    case "$1" in
        "$USAGE" | "$MISSING" | "$DEFECT") say "$1" ;;
        *) say "$FAILED" ;;
    esac
}

# Where the new lock pins other packages, .venv has them already: install those of before.
restore_packages() {
    if cmp -s -- "$ROOT/requirements.txt" "$RELEASE/requirements.txt"; then return; fi
    rm -f -- "$VENV"/.tradefan-*
    say "Installing what the requirements.txt of before pins" >&2
    pip_install "$(grep -c '^[a-z0-9].*==' "$RELEASE/requirements.txt")" --require-hashes -r "$RELEASE/requirements.txt"
}
