# openai_proxy: everything a user or a developer does, one word each. `make` or `make help` lists the words.
#
# Needs only Python 3.11+ (Debian and Ubuntu: with python3-venv). All that is downloaded is pinned with hashes, in
# requirements.lock (to run), tests/requirements.lock (to run and to develop) and openai_proxy/compiled/requirements.lock
# (to compile what every request passes, where there is a C compiler); same versions in all.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
# The index of a home or a CI may hiccup: let pip try again rather than fail.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input --retries 10 --timeout 60
ARGS ?=

# Where `make install` puts things. DESTDIR stages it all under another root, for packagers.
DESTDIR ?=
PREFIX ?= /usr/local
LIBDIR := $(PREFIX)/lib/openai-proxy
UNITDIR := $(PREFIX)/lib/systemd/system
CONFDIR := /etc/openai-proxy

.DEFAULT_GOAL := help
.PHONY: help run test clients check fix docs bench fuzz venv compiled page page-shots lock install install-compiled uninstall clean \
	deb test-deb image homeassistant-app

help:  ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run page  ## serve on http://localhost:8000 (ARGS="--port 9000" adds flags)
	$(BIN)/openai-proxy serve $(ARGS)

test: compiled  ## run the whole test suite, a process for each core (ARGS="tests/config -x" narrows it)
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses=logical --dist=loadfile --no-loadscope-reorder)

clients: $(VENV)/.dev  ## ask through real clients, each on every kind of model (ARGS="codex --install")
	$(BIN)/python -m tests.clients.matrix $(ARGS)

check: $(VENV)/.dev  ## lint, format, types, who may import whom, and that the locks are current
	$(BIN)/ruff check openai_proxy tests docs
	$(BIN)/ruff format --check openai_proxy tests docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/ops/test_lock.py

fix: $(VENV)/.dev  ## let the tools repair what they can
	$(BIN)/ruff check --fix openai_proxy tests docs
	$(BIN)/ruff format openai_proxy tests docs

docs: $(VENV)/.dev  ## write the schemas and docs/settings.md anew from the program
	$(BIN)/python -m openai_proxy.config.schemas
	cp openai_proxy/config/schemas/*.json conf/.schemas/
	$(BIN)/python -m docs.make_settings

bench: compiled  ## measure against nginx and a plain aiohttp proxy (ARGS="--quick", "--peers", "--help")
	$(BIN)/python -m tests.bench $(ARGS)

fuzz: compiled  ## send random requests with and without the fast path and compare (ARGS="--requests 1000", "--help")
	$(BIN)/python -m tests.fuzz $(ARGS)

venv: compiled page  ## make .venv with everything for development

# Always asked, for it may be of older sources; at once where it is of these. Says why where it cannot be made, and that
# is no failure. `make run` uses it when it is there, and never waits for it.
compiled: $(VENV)/.dev
	@$(BIN)/python -m openai_proxy.compiled >/dev/null

# Where Node is: the application at `/`. Says why where it cannot be built, and that is no failure either.
page: $(VENV)/.run
	@test ! -f openai_proxy/admin/page_build.py || $(BIN)/python openai_proxy/admin/page_build.py

page-shots: page $(VENV)/.dev  ## write a screenshot of every section of the page into build/page-shots (needs Chromium)
	mkdir -p build/page-shots
	PAGE_SHOTS=$(CURDIR)/build/page-shots $(BIN)/python -m pytest tests/page

lock:  ## write the lock files anew from pyproject.toml (needs uv; UPGRADE=1 also moves to new versions)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	echo 'setuptools>=77' | $(UV_COMPILE) --extra redis pyproject.toml - -o requirements.lock
	echo 'setuptools>=77' | $(UV_COMPILE) --extra redis --extra dev -c requirements.lock pyproject.toml - -o tests/requirements.lock
	echo 'mypy[mypyc]' | $(UV_COMPILE) -c tests/requirements.lock - -o openai_proxy/compiled/requirements.lock

UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --no-annotate $(if $(UPGRADE),--upgrade)

# The package itself is installed editable, without build isolation: the build tool is in the lock too, so nothing
# unpinned is ever fetched.
$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: tests/requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r tests/requirements.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --no-index --editable .
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "openai_proxy needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# The installed venv is used only as LIBDIR/bin/python, which finds its packages beside itself, so it works from any
# root and by any name; pip's own scripts would name the staging directory and are left out. It is made beside the
# version that serves, and packaging/switch.sh changes the two.
NEW := $(DESTDIR)$(LIBDIR).new

install:  ## put it on this machine, or upgrade it: PREFIX, /etc/openai-proxy and systemd units (DESTDIR=… stages it)
	@test -n "$(PYTHON)" || { echo "openai_proxy needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(NEW)
	$(NEW)/bin/python $(PIP_INSTALL) --no-compile --require-hashes -r requirements.lock
	rm -rf build/lib build/bdist.*
	$(NEW)/bin/python $(PIP_INSTALL) --no-compile --no-deps --no-build-isolation --no-index .
	@$(MAKE) --no-print-directory install-compiled INSTALLED='$(NEW)'
	find $(NEW)/bin -type f -delete
	$(NEW)/bin/python -m compileall -q -s '$(NEW)' -p '$(LIBDIR)' $(NEW)/lib
	install -d $(NEW)/share $(DESTDIR)$(CONFDIR)
	sed 's|@PYTHON@|$(LIBDIR)/bin/python|; s|@CONFDIR@|$(CONFDIR)|' systemd/openai-proxy.sh > $(NEW)/share/openai-proxy.sh
	for unit in openai-proxy.service openai-proxy.socket mcp-node.conf; do \
		sed 's|/usr/local/lib/openai-proxy|$(LIBDIR)|g; s|/usr/local/lib/systemd/system|$(UNITDIR)|g' systemd/$$unit > $(NEW)/share/$$unit || exit 1; done
	sed -f systemd/instance.sed $(NEW)/share/openai-proxy.service > $(NEW)/share/openai-proxy@.service
	cp CHANGELOG.md $(NEW)/share/
	test -e $(DESTDIR)$(CONFDIR)/openai-proxy.env || install -m 600 .env.example $(DESTDIR)$(CONFDIR)/openai-proxy.env
	test -e $(DESTDIR)$(CONFDIR)/proxy.yaml || { cp -R conf/. $(DESTDIR)$(CONFDIR)/ && chmod -R u=rwX,go=rX $(DESTDIR)$(CONFDIR) && chmod 600 $(DESTDIR)$(CONFDIR)/openai-proxy.env; }
	@sh packaging/switch.sh '$(LIBDIR)' '$(UNITDIR)' '$(PREFIX)/bin' '$(DESTDIR)'
	@echo "Keys go into $(CONFDIR)/openai-proxy.env, then: systemctl enable --now openai-proxy.socket openai-proxy.service"

# mypyc is needed only to compile, so it is put beside the installed Python, not into it; and it is fetched only where a
# compiler is. `-P`: the installed package, not the one in this directory.
COMPILER := $(CURDIR)/build/compiler

INSTALLED := $(DESTDIR)$(LIBDIR)

install-compiled:
	@set -e; \
	python='$(INSTALLED)/bin/python'; \
	$$python -P -m openai_proxy.compiled --check || exit 0; \
	rm -rf '$(COMPILER)'; \
	if $$python $(PIP_INSTALL) --no-compile --only-binary :all: --require-hashes --target '$(COMPILER)' \
		-r openai_proxy/compiled/requirements.lock; \
	then PYTHONPATH='$(COMPILER)' $$python -P -m openai_proxy.compiled >/dev/null; \
	else echo "not compiled: mypyc cannot be had here" >&2; fi; \
	rm -rf '$(COMPILER)'

deb:  ## build a Debian package, build/openai-proxy_*.deb (needs debhelper and python3-venv)
	@sh packaging/deb.sh

test-deb: deb  ## install, upgrade and purge it in a Debian of its own (root; ROOT=/path, made with debootstrap)
	@sh packaging/test-deb.sh $$(ls -t build/openai-proxy_*.deb | head -n 1) $(or $(ROOT),build/debian-root)

image:  ## build the container image openai-proxy (needs docker, or ENGINE=podman)
	$(or $(ENGINE),docker) build --tag openai-proxy .

homeassistant-app:  ## put the app for Home Assistant, with its sources, into build/homeassistant-app
	@sh packaging/homeassistant/app.sh

uninstall:  ## take it off again; the configuration in /etc/openai-proxy and the logs stay
	@test -n "$(DESTDIR)" || { command -v systemctl >/dev/null && systemctl disable --now openai-proxy.socket openai-proxy.service; } || true
	rm -rf $(DESTDIR)$(LIBDIR) $(DESTDIR)$(LIBDIR).new $(DESTDIR)$(LIBDIR).old $(DESTDIR)$(LIBDIR).failed
	rm -f $(DESTDIR)$(PREFIX)/bin/openai-proxy $(DESTDIR)$(UNITDIR)/openai-proxy.service $(DESTDIR)$(UNITDIR)/openai-proxy.socket $(DESTDIR)$(UNITDIR)/openai-proxy@.service
	rm -rf $(DESTDIR)$(UNITDIR)/openai-proxy.service.d
	@test -n "$(DESTDIR)" || { command -v systemctl >/dev/null && systemctl daemon-reload; } || true

clean:  ## remove .venv and everything that was generated
	rm -rf openai_proxy/compiled/hot-* openai_proxy/admin/page/dist
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .bench
