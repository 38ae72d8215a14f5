#!/bin/sh
# test-deb.sh DEB ROOT: install, serve, upgrade and purge a package in the Debian system at ROOT, as root.
#
# ROOT is created with debootstrap if it does not exist. No systemd runs in it, so the units are only inspected; the
# daemon is started manually as the package's user.
set -eu
deb=$1 root=$2

say() { echo "-- $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }

if [ ! -x "$root/usr/bin/dpkg" ]; then
    debootstrap --variant=minbase --include=python3,adduser "${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}" "$root"
fi
trap 'rm -f "$root"/tmp/*.deb; umount "$root/proc" 2>/dev/null || true' EXIT
mount -t proc proc "$root/proc" 2>/dev/null || true

say "install"
cp "$deb" "$root/tmp/one.deb"
inside dpkg -i /tmp/one.deb </dev/null
inside id openai-proxy >/dev/null || fail "there is no user"
[ "$(stat -c '%U %a' "$root/etc/openai-proxy/openai-proxy.env")" = "root 600" ] || fail "the keys can be read"
[ "$(inside stat -c '%U:%G %a' /etc/openai-proxy)" = "root:openai-proxy 1775" ] || fail "owner of /etc/openai-proxy"
[ "$(inside stat -c '%U' /etc/openai-proxy/proxy.yaml)" = openai-proxy ] || fail "the page could not edit proxy.yaml"
inside runuser -u openai-proxy -- sh -c 'mv /etc/openai-proxy/openai-proxy.env /tmp/' 2>/dev/null && fail "the keys can be moved"
inside openai-proxy check || fail "the starter configuration does not check"
[ -L "$root/etc/systemd/system/multi-user.target.wants/openai-proxy.service" ] || fail "the service is not enabled"
[ -L "$root/etc/systemd/system/sockets.target.wants/openai-proxy.socket" ] || fail "the socket is not enabled"

serves() {
    inside install -d -o openai-proxy -g openai-proxy -m 700 /var/lib/openai-proxy /var/log/openai-proxy
    inside runuser -u openai-proxy -- /usr/lib/openai-proxy/bin/python -m openai_proxy serve --host 127.0.0.1 --port 0 \
        --config-dir /etc/openai-proxy --env-file /nonexistent --logs-dir /var/log/openai-proxy \
        --state-dir /var/lib/openai-proxy >"$root/tmp/serve.log" 2>&1 &
    served=0
    for _ in $(seq 150); do
        if inside openai-proxy status >/dev/null 2>&1; then served=1; break; fi
        sleep 0.2
    done
    [ $served = 1 ] || { cat "$root/tmp/serve.log"; fail "the daemon does not serve"; }
    inside openai-proxy status
    inside openai-proxy reload || fail "reload"
    kill "$(inside /usr/lib/openai-proxy/bin/python -c 'import json; print(json.load(open("/var/lib/openai-proxy/daemon.json"))["pid"])' 2>/dev/null || pgrep -f -n 'openai_proxy serve --host 127.0.0.1 --port 0')"
    wait
}

say "serve"
serves

say "upgrade"
echo "# mine" >>"$root/etc/openai-proxy/proxy.yaml"
echo "MY_KEY=x" >>"$root/etc/openai-proxy/openai-proxy.env"
work=$(mktemp -d)
dpkg-deb -R "$deb" "$work"
sed -i 's/^Version: .*/&+1/' "$work/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip -z1 -b "$work" "$root/tmp/two.deb" >/dev/null
rm -rf "$work"
inside dpkg -i /tmp/two.deb </dev/null | tee "$root/tmp/upgrade.log"
grep -q "What changed since" "$root/tmp/upgrade.log" || fail "an upgrade does not say what changed"
grep -q "^# mine" "$root/etc/openai-proxy/proxy.yaml" || fail "the configuration was replaced"
grep -q "^MY_KEY=x" "$root/etc/openai-proxy/openai-proxy.env" || fail "the keys were replaced"
[ -e "$root/var/lib/openai-proxy" ] || fail "the state is gone"
serves

say "purge"
inside dpkg --purge openai-proxy </dev/null
for left in /etc/openai-proxy /var/lib/openai-proxy /var/log/openai-proxy /usr/lib/openai-proxy /usr/bin/openai-proxy; do
    [ ! -e "$root$left" ] || fail "$left is left"
done
inside id openai-proxy >/dev/null 2>&1 && fail "the user is left"
say "install, serve, upgrade and purge went well"
