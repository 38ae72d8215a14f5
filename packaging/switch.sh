#!/bin/sh
# switch.sh LIBDIR UNITDIR BINDIR [DESTDIR]: put the version in LIBDIR.new into service; the last step of `make install`.
#
# The old version is kept until the new one serves. A running service is restarted, which with openai-proxy.socket
# refuses no request; if it does not start, the old version is restored, and this exits with 1.
set -eu
lib=$1 units=$2 bin=$3 dest=${4:-}
systemctl=${SYSTEMCTL:-systemctl}

version_of() { "$dest$1/bin/python" -c 'from openai_proxy.version import __version__; print(__version__)'; }

place() { # a version's files in other directories
    install -d "$dest$units/openai-proxy.service.d" "$dest$bin"
    for unit in openai-proxy.service openai-proxy.socket openai-proxy@.service; do # an older version may lack one
        [ ! -f "$dest$lib/share/$unit" ] || install -m 644 "$dest$lib/share/$unit" "$dest$units/$unit"
    done
    install -m 644 "$dest$lib/share/mcp-node.conf" "$dest$units/openai-proxy.service.d/mcp-node.conf.example"
    install -m 755 "$dest$lib/share/openai-proxy.sh" "$dest$bin/openai-proxy"
}

# Restart what is running, one after the other, so that a load balancer always finds one; stop at the first that fails.
restart() { for unit in $running; do "$systemctl" restart "$unit" || return 1; done; }

new=$(version_of "$lib.new")
old=
rm -rf "$dest$lib.old"
if [ -d "$dest$lib" ]; then
    old=$(version_of "$lib" 2>/dev/null || echo "an older version")
    mv "$dest$lib" "$dest$lib.old"
fi
mv "$dest$lib.new" "$dest$lib"
place

if [ -z "$dest" ] && command -v "$systemctl" >/dev/null; then
    "$systemctl" daemon-reload || true # no systemd is running: a container
    running=$("$systemctl" list-units --plain --no-legend --state=active 'openai-proxy.service' 'openai-proxy@*.service' |
        cut -d ' ' -f 1)
    if ! restart; then
        if [ -d "$lib.old/share" ]; then
            rm -rf "$lib.failed"
            mv "$lib" "$lib.failed"
            mv "$lib.old" "$lib"
            place
            "$systemctl" daemon-reload
            for unit in $running; do "$systemctl" restart "$unit" || true; done
            echo "openai_proxy $new did not start, so $old serves again; the new one is in $lib.failed." >&2
        else
            echo "openai_proxy $new did not start." >&2
        fi
        echo "Why: journalctl -u 'openai-proxy*' -n 50" >&2
        exit 1
    fi
fi
rm -rf "$dest$lib.old" "$dest$lib.failed"

if [ -z "$old" ]; then
    echo "Installed openai_proxy $new."
elif [ "$old" = "$new" ]; then
    echo "Installed openai_proxy $new again."
else
    echo "openai_proxy $old is now $new. What changed:"
    awk -v old="## $old" 'index($0, "## ") == 1 { on = index($0, old) != 1 } index($0, old) == 1 { exit } on' \
        "$dest$lib/share/CHANGELOG.md" | head -n 40
fi
