#!/bin/sh
# test-systemd.sh DEB ROOT: boot a Debian with the package in a container, and try the service under its own systemd.
#
# ROOT is created with debootstrap if it does not exist; root and systemd-nspawn (Debian: systemd-container) are needed.
# The tests are in tests/machine/guest.py. The guest has no network.
set -eu
deb=$1 root=$2
here=$(cd "$(dirname "$0")/.." && pwd)
work=$here/build/machine
stage=$work/stage

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }

if [ ! -e "$root/sbin/init" ]; then
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,python3,adduser,iproute2,nodejs \
        "${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}" "$root"
fi
rm -rf "$work/root" "$work/two"
mkdir -p "$work"

echo "-- a version by make install, a package, and the same package as a newer version"
if [ ! -d "$stage/share" ]; then
    make -s -C "$here" install DESTDIR="$stage" PYTHON=/usr/bin/python3
    mv "$stage/usr/local/lib/openai-proxy/share" "$stage/share"
fi
guest=$work/root
cp -a "$root" "$guest"
root=$guest
mkdir -p "$root/opt/trial" "$root/opt/stage"
cp -a "$stage/." "$root/opt/stage/"
mkdir "$root/opt/stage/usr/local/lib/openai-proxy/share"
cp "$here/packaging/switch.sh" "$here/tests/machine/server.mjs" "$here/tests/machine/upstream.py" "$here/tests/machine/guest.py" \
    "$here/tests/mcp/fault_server.py" "$root/opt/trial/"
mv "$root/opt/trial/switch.sh" "$root/opt/"
cp "$deb" "$root/opt/one.deb"
dpkg-deb -R "$deb" "$work/two"
sed -i 's/^Version: .*/&+1/' "$work/two/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip -z1 -b "$work/two" "$root/opt/two.deb" >/dev/null
inside dpkg -i /opt/one.deb </dev/null

cat >"$root/etc/systemd/system/trial.service" <<'EOF'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=PYTHONUNBUFFERED=1
ExecStart=/usr/bin/python3 /opt/trial/guest.py
ExecStopPost=/usr/bin/systemctl poweroff
StandardOutput=append:/opt/trial/log
[Install]
WantedBy=multi-user.target
EOF
inside systemctl enable trial.service 2>/dev/null
inside systemctl mask systemd-networkd-wait-online.service 2>/dev/null

echo "-- boot"
log=$root/opt/trial/log
[ -d /run/systemd/system ] || alone="--register=no --keep-unit" # without systemd here the container cannot be a unit
# The variable is for machines with cgroups version 1.
# shellcheck disable=SC2086
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout "${LIMIT:-1800}" systemd-nspawn --quiet --directory="$root" --machine=openai-proxy-trial \
    --boot --private-network --console=pipe ${alone:-} </dev/null >"$work/console.log" 2>&1 &
machine=$!
tail -n +1 --pid=$machine -F "$log" 2>/dev/null || true
wait $machine || true
grep -Eq 'THE TRIAL IS OVER: ([0-9]+) of \1 went well' "$log" || { echo "FAILED; see $log" >&2; exit 1; }
rm -rf "$root" "$stage" "$work/two"
