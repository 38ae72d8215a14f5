#!/bin/sh
# The container's first process: puts a starter configuration into an empty volume, then becomes the daemon.
set -eu
if [ "${1:-serve}" = serve ] && [ ! -d conf ]; then
    openai-proxy init --yes
fi
exec openai-proxy "$@"
