#!/bin/sh
# The `openai-proxy` command of an installed openai_proxy: the service's own configuration and state are the default.
# Below another HOME or user, name your own: openai-proxy --help.
if [ -d "@CONFDIR@" ] && [ -z "${MODELS_CONFIG_DIR:-}" ]; then
    MODELS_CONFIG_DIR="@CONFDIR@"
    export MODELS_CONFIG_DIR
fi
: "${STATE_DIRECTORY:=/var/lib/openai-proxy}"
export STATE_DIRECTORY
exec "@PYTHON@" -m openai_proxy "$@"
