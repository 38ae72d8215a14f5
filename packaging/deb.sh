#!/bin/sh
# deb.sh, run by `make deb`: builds build/openai-proxy_VERSION_ARCH.deb from this checkout, with the system's Python.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
for tool in dh dpkg-parsechangelog; do
    command -v $tool >/dev/null || { echo "make deb needs debhelper: apt install debhelper python3-venv" >&2; exit 1; }
done
version=${VERSION:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/openai_proxy/version.py")}
work=$root/build/deb
rm -rf "$work"
mkdir -p "$work"
cp -R "$root/packaging/debian" "$work/debian"
# Compiled wheels fit one minor version of Python.
python=$(/usr/bin/python3 -c 'import sys; print("python3 (>= 3.%d~), python3 (<< 3.%d~)" % (sys.version_info[1], sys.version_info[1] + 1))')
sed -i "s/@PYTHON@/$python/" "$work/debian/control"
cat >"$work/debian/changelog" <<EOF
openai-proxy ($version) unstable; urgency=medium

  * Built from the sources of version $version; see CHANGELOG.md.

 -- openai_proxy <openai-proxy@localhost>  $(date -R -r "$root/openai_proxy/version.py")
EOF
cd "$work"
if [ "$(id -u)" = 0 ]; then CHECKOUT=$root debian/rules binary; else CHECKOUT=$root fakeroot debian/rules binary; fi
rm -rf "$work"
ls "$root"/build/openai-proxy_"$version"_*.deb
