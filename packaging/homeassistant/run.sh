#!/bin/sh
# The app's first process: options become the variables of the same name, conf/ is the app's own configuration folder.
set -eu
options=${OPTIONS:-/data/options.json} config=${CONFIG:-/config} data=${DATA:-/data}

variables=$(python3 - "$options" <<'PY'
import json, shlex, sys

for name, value in json.load(open(sys.argv[1])).items():
    if name != "log_level" and value not in (None, ""):
        print(f"export {name.upper()}={shlex.quote(str(value))}")
PY
)
eval "$variables"
level=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get("log_level") or "info")' "$options")

[ -e "$config/proxy.yaml" ] || openai-proxy init --yes "$config" --env-file "$data/none.env"
mkdir -p "$data/logs" "$data/state"
set -- openai-proxy serve --config-dir "$config" --env-file "$data/none.env" --logs-dir "$data/logs" \
    --state-dir "$data/state" --log-level "$level"
if [ "$(id -u)" = 0 ] && id openai-proxy >/dev/null 2>&1; then
    chown -R openai-proxy:openai-proxy "$config" "$data/logs" "$data/state"
    exec setpriv --reuid openai-proxy --regid openai-proxy --clear-groups "$@"
fi
exec "$@"
