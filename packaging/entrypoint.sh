#!/bin/sh
# The container's first process: a starter configuration into an empty volume, then the daemon, which takes its place.
set -eu
if [ "${1:-serve}" = serve ] && [ ! -d conf ]; then
    openai-proxy init --yes
fi
exec openai-proxy "$@"
