#!/bin/sh
# app.sh, run by `make homeassistant-app`: creates a folder from which Home Assistant builds the app.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
app=$root/build/homeassistant-app/openai_proxy
rm -rf "$app"
mkdir -p "$app/packaging/homeassistant"
cd "$root"
cp -R LICENSE README.md CHANGELOG.md pyproject.toml requirements.lock setup.py .dockerignore openai_proxy "$app"
cp packaging/entrypoint.sh "$app/packaging/"
cp packaging/homeassistant/run.sh "$app/packaging/homeassistant/"
cp packaging/homeassistant/DOCS.md "$app/"
find "$app" \( -name __pycache__ -o -name node_modules -o -name dist -o -name '.dist.new' \) -prune -exec rm -rf {} +
rm -f "$app"/openai_proxy/compiled/hot-*
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' openai_proxy/version.py)
sed "s/@VERSION@/$version/" packaging/homeassistant/config.yaml >"$app/config.yaml"
cat Dockerfile packaging/homeassistant/Dockerfile.app >"$app/Dockerfile"
echo "Copy $app into the folder addons of Home Assistant, then: Settings, Apps, reload, openai_proxy."
