# shellcheck shell=bash
# Passwords and keys: the file .env beside the checkout's README, and what production refuses.

ENV_FILE="$ROOT/.env"
readonly LOGIN=admin DEVELOPMENT_PASSWORD=tradefan123
readonly PASSWORDS=(GRAFANA_PASSWORD INFLUXDB_PASSWORD REDIS_PASSWORD)

# load_env_file: take from .env what the environment itself does not say.
load_env_file() {
    local line name value
    if ! [[ -r "$ENV_FILE" ]]; then return; fi
    while IFS= read -r line || [[ -n "$line" ]]; do
        if ! [[ "$line" =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]]; then continue; fi
        name="${BASH_REMATCH[1]}" value="${BASH_REMATCH[2]}"
        if [[ "$value" =~ ^\"(.*)\"$ || "$value" =~ ^\'(.*)\'$ ]]; then value="${BASH_REMATCH[1]}"; fi
        if [[ -z "${!name:-}" ]]; then export "$name=$value"; fi
    done <"$ENV_FILE"
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
