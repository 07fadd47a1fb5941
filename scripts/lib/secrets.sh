# shellcheck shell=bash
# Passwords and keys: the file .env beside the checkout's README, and what production refuses.

ENV_FILE="$ROOT/.env"
readonly LOGIN=admin DEVELOPMENT_PASSWORD=tradefan123
readonly PASSWORDS=(GRAFANA_PASSWORD INFLUXDB_PASSWORD REDIS_PASSWORD)
# The names that .env has, and those of them that the environment did not say.
ENV_NAMES="" ENV_TAKEN=" "
# Whether a mistake in .env ends the script, and whether there was one.
ENV_STRICT=yes ENV_MISTAKEN=no
# What of .env is for the scripts and for the programs around the daemon, unless the configuration refers to it.
# Overrides (TRADEFAN__...) go their own way.
readonly OTHERS='^(TRADEFAN_.*|COMPOSE_.*|DOCKER_.*|GRAFANA_PASSWORD)$'
# What each machine, or container, has of its own: that of another one would break it, whoever refers to it.
readonly MACHINES='^(TRADEFAN__.*|PATH|HOME|HOSTNAME|USER|LOGNAME|SHELL|PWD|TMPDIR|LANG|LC_.*|LD_.*|PYTHON.*)$'

# load_env_file [lenient]: take from .env what the environment itself does not say. A daemon must not start with half a
# file; `lenient` is for what only looks or stops: it takes what can be read.
load_env_file() {
    local line number=0
    ENV_NAMES="" ENV_TAKEN=" " ENV_STRICT=yes ENV_MISTAKEN=no
    if [[ "${1:-}" == lenient ]]; then ENV_STRICT=no; fi
    if ! [[ -e "$ENV_FILE" || -L "$ENV_FILE" ]]; then return; fi
    if [[ -d "$ENV_FILE" || ! -r "$ENV_FILE" ]]; then
        env_mistake "$MISSING" "The user $(id -un 2>/dev/null || id -u) cannot read $ENV_FILE." \
            "Give it to this user, or run this as its owner; without it secrets would be missing."
        return
    fi
    while IFS= read -r line || [[ -n "$line" ]]; do
        number=$((number + 1))
        line="${line%$'\r'}"
        if [[ "$line" =~ $ENV_BLANK ]]; then continue; fi
        take_env_line "$number" "$line"
    done <"$ENV_FILE"
}

# env_mistake CODE LINE...: say what is wrong with .env, and end unless what can be read is enough.
env_mistake() {
    if [[ "$ENV_STRICT" == yes ]]; then fail "$@"; fi
    shift
    # shellcheck disable=SC2034 # compose.sh asks for it.
    ENV_MISTAKEN=yes
    say "$@" "Going on without it: this starts nothing." >&2
}

# In variables, because bash 3 and later ones read quoted patterns differently.
readonly ENV_BLANK='^[[:space:]]*(#|$)'
readonly ENV_LINE='^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$'
readonly ENV_DOUBLE='^"(([^"\\]|\\["\\])*)"[[:space:]]*(#.*)?$'
readonly ENV_SINGLE="^'([^']*)'[[:space:]]*(#.*)?\$"

# take_env_line NUMBER LINE: a value ends before white space and #, or with its quote, as docker compose has it. What
# compose, a shell and this script would each read differently is refused; the value is never said.
take_env_line() {
    local name value
    if ! [[ "$2" =~ $ENV_LINE ]]; then
        env_mistake "$USAGE" ".env:$1: expected NAME=VALUE"
        return
    fi
    name="${BASH_REMATCH[2]}" value="${BASH_REMATCH[3]}"
    if [[ "$value" =~ $ENV_SINGLE ]]; then
        value="${BASH_REMATCH[1]}"
    elif [[ "$value" =~ $ENV_DOUBLE ]]; then
        value="${BASH_REMATCH[1]//\\\"/\"}"
        value="${value//\\\\/\\}"
    elif [[ "$value" == [\"\']* ]]; then
        env_mistake "$USAGE" ".env:$1: $name: expected the quote to end in this line, and nothing behind it;" \
            "between double quotes a backslash stands before \\ or \" only (single quotes leave all as it is)"
        return
    elif [[ "$value" == "#"* ]]; then
        env_mistake "$USAGE" ".env:$1: $name: expected a value, or nothing, before a comment;" \
            "a value that begins with # stands between single quotes"
        return
    else
        value="${value%%[[:space:]]#*}"
        value="${value%"${value##*[![:space:]]}"}"
    fi
    take_env_word "$1" "$name" "$value"
}

# take_env_word NUMBER NAME VALUE: export it where the environment has none, but never into a variable of the script's.
take_env_word() {
    local is
    is="$(declare -p "$2" 2>/dev/null)" || true
    if [[ -n "$is" && "$is" != "declare -x "* ]]; then
        say ".env:$1: $2 is left out: it is a variable of the shell's or of this script's own" >&2
        return
    fi
    ENV_NAMES+=" $2"
    # Of two lines the last one counts.
    if [[ -z "${!2:-}" || "$ENV_TAKEN" == *" $2 "* ]]; then
        export "$2=$3"
        ENV_TAKEN+="$2 "
    fi
}

# Print the names of .env, one a line.
env_names() {
    # shellcheck disable=SC2086 # Words without spaces.
    say $ENV_NAMES
}

# Print the names that the configuration of this environment refers to as ${NAME}.
referred_names() {
    local folder="${TRADEFAN_CONFIG:-config}" name
    if [[ "$folder" != /* ]]; then folder="$ROOT/$folder"; fi
    {
        cat -- "$folder/base.yaml" "$folder/environments/$ENVIRONMENT.yaml" "$folder/local.yaml" 2>/dev/null || true
        while IFS= read -r name; do say "${!name}"; done < <(compgen -e | grep '^TRADEFAN__' || true)
    } | { grep -o '[$]{[A-Za-z_][A-Za-z0-9_]*}' || true; } | tr -d '{}$'
}

# Print the names, not the values, that the daemon gets beside its overrides wherever it is not this script's child: what
# the configuration takes from the environment, and of .env what is nobody else's, because an edit may refer to any of it
# while it runs.
secret_names() {
    local name
    while IFS= read -r name; do
        if [[ -n "${!name:-}" ]]; then say "$name"; fi
    done < <(
        compgen -e | grep -Fx -f <(env_names | grep -Ev -- "$OTHERS" || true; referred_names) |
            grep -Ev -- "$MACHINES" || true
    )
}

# is_private FILE: whether its owner alone may read it.
is_private() {
    local mode
    # shellcheck disable=SC2012 # `stat` and `find` spell this differently on each system; this word does not.
    mode="$(ls -ldL -- "$1" | cut -c 5-10)"
    [[ "$mode" == ------ ]]
}

# refuse_unsafe: production starts with secrets of its own, which nobody else reads. The names of what is wrong are
# said, the values never; the configuration's own references are checked by `tradefan check`.
refuse_unsafe() {
    local name wrong=()
    if [[ "$ENVIRONMENT" != production ]]; then return; fi
    if [[ -e "$ENV_FILE" ]] && ! is_private "$ENV_FILE"; then
        wrong+=("  .env: readable by other users; expected a file of mode 0600: chmod 600 .env")
    fi
    while IFS= read -r name; do
        case "${!name}" in
            "$LOGIN" | "$DEVELOPMENT_PASSWORD" | password | changeme | secret | 12345*)
                wrong+=("  $name: a default password; expected one of its own (remove the line from .env: one is generated)") ;;
        esac
    done < <(compgen -e | grep -E '(PASSWORD|SECRET|TOKEN|KEY)$' || true)
    if ((${#wrong[@]} == 0)); then return; fi
    fail "$USAGE" "production refuses to start:" "${wrong[@]}" "Nothing was started or stopped."
}

# have_passwords: those of the servers around the daemon. Development has the known one and says so; elsewhere what
# is missing is drawn and kept. What is there is never overwritten.
have_passwords() {
    local name made=()
    for name in "${PASSWORDS[@]}"; do
        if [[ -n "${!name:-}" ]]; then continue; fi
        if [[ "$ENVIRONMENT" == development ]]; then
            export "$name=$DEVELOPMENT_PASSWORD"
        else
            draw_password "$name"
            made+=("$name")
        fi
    done
    if ((${#made[@]})); then say "Drawn and kept in .env (mode 0600): ${made[*]}"; fi
}

draw_password() {
    local value
    value="$(head -c 64 /dev/urandom | LC_ALL=C tr -dc 'a-zA-Z0-9' | cut -c 1-24)"
    while ((${#value} < 24)); do value+="$(head -c 64 /dev/urandom | LC_ALL=C tr -dc 'a-zA-Z0-9' | cut -c "1-$((24 - ${#value}))")"; done
    (umask 077 && touch -- "$ENV_FILE")
    chmod 0600 "$ENV_FILE"
    # A last line without an end would swallow the next one.
    if [[ -s "$ENV_FILE" && -n "$(tail -c 1 -- "$ENV_FILE")" ]]; then printf '\n' >>"$ENV_FILE"; fi
    printf '%s=%s\n' "$1" "$value" >>"$ENV_FILE"
    export "$1=$value"
}

say_login() {
    if [[ "$ENVIRONMENT" == development && "$GRAFANA_PASSWORD" == "$DEVELOPMENT_PASSWORD" ]]; then
        say "  login    $LOGIN / $DEVELOPMENT_PASSWORD (development only: everybody knows it)"
    else
        say "  login    $LOGIN, with GRAFANA_PASSWORD of .env"
    fi
}
