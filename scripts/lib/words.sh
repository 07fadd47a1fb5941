# shellcheck shell=bash
# Words and refusals that all scripts share.

# The exit codes are those of the `tradefan` command.
# shellcheck disable=SC2034 # Each script uses some of them.
readonly FAILED=1 USAGE=2 NOT_RUNNING=3 NOT_READY=4 MISSING=69 DEFECT=70

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

need_value() {
    if (($# < 2)) || [[ -z "$2" ]]; then fail "$USAGE" "$1 needs a value." "Help: scripts/deploy.sh -h"; fi
}

# remove PATH...: a removal that left something behind is no success.
remove() {
    rm -rf -- "$@" || fail "$FAILED" "Not everything could be removed; the lines above name it."
}

# The owner of the checkout, who is rarely root.
owner() {
    # shellcheck disable=SC2012 # The names of users are plain words.
    ls -ld -- "$ROOT" | awk '{ print $3 }'
}

# keep_owner: what root makes in somebody's checkout is that somebody's, however this ends.
keep_owner() {
    if [[ "$(id -u)" != 0 || "$(owner)" == root ]]; then return; fi
    export PYTHONDONTWRITEBYTECODE=1
    trap give_to_owner EXIT
}

give_to_owner() {
    local path paths=()
    for path in "$VENV" "$ENV_FILE" "$ROOT"/{data,logs,strategies,build} "$DATA_DIR" "$LOG_DIR"; do
        if [[ -e "$path" && ! -L "$path" ]]; then paths+=("$path"); fi
    done
    # Links themselves, not what they lead to.
    if ((${#paths[@]})); then find "${paths[@]}" -user 0 -exec chown -h -- "$(owner)" {} + || true; fi
}

# need_writable FOLDER: make it if need be, and end where this user may not write to it.
need_writable() {
    local folder="$1"
    if mkdir -p -- "$folder" 2>/dev/null && [[ -w "$folder" ]]; then return; fi
    fail "$MISSING" "The user $(id -un 2>/dev/null || id -u) cannot write to $folder." \
        "Use a checkout of your own, or give the folder to this user: sudo chown -R \"\$USER\" '$ROOT'" \
        "The daemon's data can lie elsewhere: TRADEFAN__DATA_DIR=/some/folder"
}
