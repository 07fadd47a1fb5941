# shellcheck shell=bash
# What was built here goes, what was earned stays.

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

native_cleanup() {
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
    while IFS= read -r path; do remove "$path"; done <<<"$paths"
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
