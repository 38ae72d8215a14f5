# openai_proxy: one target for everything that users and developers do. `make` or `make help` lists them.
#
# Needs only Python 3.11+ (Debian and Ubuntu: with python3-venv). All downloads are pinned with hashes, in
# requirements.lock (to run), tests/requirements.lock (to run and to develop) and openai_proxy/compiled/requirements.lock
# (to compile the modules on every request's path, with a C compiler); with the same versions in all.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
# A package index may fail temporarily: let pip retry.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input --retries 10 --timeout 60
# uv takes a tenth of the time. If it cannot reach the index (one configured only for pip), pip is used.
UV := $(shell command -v uv 2>/dev/null)
ARGS ?=

# Where `make install` puts things. DESTDIR stages it all under another root, for packagers.
DESTDIR ?=
PREFIX ?= /usr/local
LIBDIR := $(PREFIX)/lib/openai-proxy
UNITDIR := $(PREFIX)/lib/systemd/system
CONFDIR := /etc/openai-proxy

.DEFAULT_GOAL := help
.PHONY: help run test coverage clients check fix docs bench probe fuzz venv compiled page page-shots lock install compiler uninstall clean \
	deb test-deb test-systemd image homeassistant-app

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The page is built while the daemon is already serving; see `page`.
run: $(VENV)/.run  ## serve on http://localhost:8000 (ARGS="--port 9000" adds flags)
	@$(BUILD_PAGE) & exec $(BIN)/openai-proxy serve $(ARGS)

# Half of the suite's time is spent waiting for other processes: two more workers than cores keep the cores busy.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 2)))

test: compiled  ## run the whole test suite in WORKERS processes (ARGS="tests/config -x" narrows it)
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder)

# A separate target with the unit tests only, in one process and interpreted: on Python 3.11 tracing is slow, and
# traced daemons miss their tests' timeouts. Failures were already reported by `make test`.
COVERED := $(addprefix tests/,agent auth config decision dialects fastpath pipeline prompt protocols records routing runtime \
	server store tools transforms upstream wyoming)
coverage: $(VENV)/.dev  ## coverage of the unit tests in per cent (ARGS="tests/config" measures fewer)
	rm -f .coverage
	-OPENAI_PROXY_INTERPRETED=1 $(BIN)/python -m coverage run -m pytest $(or $(ARGS),$(COVERED))
	$(BIN)/python -m coverage report | tail -n 30

clients: $(VENV)/.dev  ## run real clients, each with every kind of model (ARGS="codex --install")
	$(BIN)/python -m tests.clients.matrix $(ARGS)

check: $(VENV)/.dev  ## lint, format, types, import rules, and whether the lock files are current
	$(BIN)/ruff check openai_proxy tests docs
	$(BIN)/ruff format --check openai_proxy tests docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/ops/test_lock.py

fix: $(VENV)/.dev  ## let the tools fix what they can
	$(BIN)/ruff check --fix openai_proxy tests docs
	$(BIN)/ruff format openai_proxy tests docs

docs: $(VENV)/.dev  ## regenerate the schemas and docs/settings.md from the program
	$(BIN)/python -m openai_proxy.config.schemas
	cp openai_proxy/config/schemas/*.json conf/.schemas/
	$(BIN)/python -m docs.make_settings

bench: compiled  ## measure against nginx and a plain aiohttp proxy (ARGS="--quick", "--peers", "--help")
	$(BIN)/python -m tests.bench $(ARGS)

probe: compiled  ## how long other requests wait while a large one is served (ARGS="house readers", "--list")
	$(BIN)/python -m tests.probe $(ARGS)

fuzz: compiled  ## send random requests with and without the fast path and compare (ARGS="--requests 1000", "--help")
	$(BIN)/python -m tests.fuzz $(ARGS)

venv: compiled page  ## make .venv with everything for development

# Always run, since an existing library may be outdated; returns at once if it is current. If it cannot be built, it
# says why, without failing. `make run` uses an existing library, but never waits for one.
compiled: $(VENV)/.dev
	@$(BIN)/python -m openai_proxy.compiled >/dev/null

# The application at `/`, if Node is installed. If it cannot be built, it says why, without failing.
page: $(VENV)/.run
	@$(BUILD_PAGE)

BUILD_PAGE = test ! -f openai_proxy/admin/page_build.py || nice $(BIN)/python openai_proxy/admin/page_build.py

page-shots: page $(VENV)/.dev  ## write a screenshot of every section of the page into build/page-shots (needs Chromium)
	mkdir -p build/page-shots
	PAGE_SHOTS=$(CURDIR)/build/page-shots $(BIN)/python -m pytest tests/page

lock:  ## regenerate the lock files from pyproject.toml (needs uv; UPGRADE=1 also upgrades versions)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	echo 'setuptools>=77' | $(UV_COMPILE) --extra redis pyproject.toml - -o requirements.lock
	echo 'setuptools>=77' | $(UV_COMPILE) --extra redis --extra dev -c requirements.lock pyproject.toml - -o tests/requirements.lock
	echo 'mypy[mypyc]' | $(UV_COMPILE) -c tests/requirements.lock - -o openai_proxy/compiled/requirements.lock

UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --no-annotate $(if $(UPGRADE),--upgrade)

# Modules are compiled to bytecode when they are imported; the rest of the packages need not be.
WITH_PIP = $(BIN)/python $(PIP_INSTALL) --no-compile --require-hashes -r $(1)
LOCKED = $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r $(1) \
	|| { $(BIN)/python -m ensurepip >/dev/null && $(WITH_PIP); },$(WITH_PIP))

# To run, the sources only need to be found: no build, no metadata.
$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(call LOCKED,requirements.lock)
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "openai_proxy.pth").write_text("$(CURDIR)\n")'
	@printf '#!/bin/sh\nexec "%s" -P -m openai_proxy "$$@"\n' '$(CURDIR)/$(BIN)/python' > $(BIN)/openai-proxy && chmod +x $(BIN)/openai-proxy
	@touch $@

# To develop, the package itself is installed editable, without build isolation: the build tool is in the lock file,
# too, so nothing unpinned is ever fetched.
$(VENV)/.dev: tests/requirements.lock pyproject.toml | $(BIN)/python
	$(call LOCKED,tests/requirements.lock)
	$(if $(UV),@$(BIN)/python -m ensurepip >/dev/null)
	$(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python $(PIP_INSTALL)) --no-deps --no-build-isolation --no-index --editable .
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "openai_proxy needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(if $(UV),--without-pip) $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# The installed venv is used only as LIBDIR/bin/python, which finds its packages beside itself, so it works below any
# root and name; pip's own scripts would contain the staging directory and are left out. It is built beside the version
# in service, and packaging/switch.sh swaps the two.
NEW := $(DESTDIR)$(LIBDIR).new

install:  ## install or upgrade: PREFIX, /etc/openai-proxy and systemd units (DESTDIR=… stages it)
	@test -n "$(PYTHON)" || { echo "openai_proxy needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(NEW)
	$(NEW)/bin/python $(PIP_INSTALL) --no-compile --require-hashes -r requirements.lock
	@$(MAKE) --no-print-directory compiler COMPILED_BY='$(NEW)/bin/python'
	rm -rf build/lib* build/bdist.*
	OPENAI_PROXY_COMPILE=1 PYTHONPATH='$(COMPILER)' $(NEW)/bin/python $(PIP_INSTALL) --no-compile --no-deps --no-build-isolation --no-index .
	rm -rf '$(COMPILER)'
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

# mypyc is needed only for the build, so it is kept outside the installed Python, and fetched only if there is a C
# compiler. Without either the sources are run, and a message says why.
COMPILER := $(CURDIR)/build/compiler
COMPILED_BY ?= $(BIN)/python

compiler:
	@rm -rf '$(COMPILER)'; ! $(COMPILED_BY) -m openai_proxy.compiled --check || \
	$(COMPILED_BY) $(PIP_INSTALL) --no-compile --only-binary :all: --require-hashes --target '$(COMPILER)' \
		-r openai_proxy/compiled/requirements.lock || echo "not compiled: mypyc is not available here" >&2

deb:  ## build a Debian package, build/openai-proxy_*.deb (needs debhelper and python3-venv)
	@sh packaging/deb.sh

test-deb: deb  ## install, upgrade and purge it in a separate Debian (root; ROOT=/path, made with debootstrap)
	@sh packaging/test-deb.sh $$(ls -t build/openai-proxy_*.deb | head -n 1) $(or $(ROOT),build/debian-root)

test-systemd: deb  ## try the service under systemd in a container (root, debootstrap, systemd-nspawn)
	@sh packaging/test-systemd.sh $$(ls -t build/openai-proxy_*.deb | head -n 1) $(or $(ROOT),build/systemd-root)

image:  ## build the container image openai-proxy (needs docker, or ENGINE=podman)
	$(or $(ENGINE),docker) build --tag openai-proxy .

homeassistant-app:  ## put the app for Home Assistant, with its sources, into build/homeassistant-app
	@sh packaging/homeassistant/app.sh

uninstall:  ## uninstall; the configuration in /etc/openai-proxy and the logs are kept
	@test -n "$(DESTDIR)" || { command -v systemctl >/dev/null && systemctl disable --now openai-proxy.socket openai-proxy.service; } || true
	rm -rf $(DESTDIR)$(LIBDIR) $(DESTDIR)$(LIBDIR).new $(DESTDIR)$(LIBDIR).old $(DESTDIR)$(LIBDIR).failed
	rm -f $(DESTDIR)$(PREFIX)/bin/openai-proxy $(DESTDIR)$(UNITDIR)/openai-proxy.service $(DESTDIR)$(UNITDIR)/openai-proxy.socket $(DESTDIR)$(UNITDIR)/openai-proxy@.service
	rm -rf $(DESTDIR)$(UNITDIR)/openai-proxy.service.d
	@test -n "$(DESTDIR)" || { command -v systemctl >/dev/null && systemctl daemon-reload; } || true

clean:  ## remove .venv and everything that was generated
	rm -rf openai_proxy/compiled/hot-* openai_proxy/admin/page/dist
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .bench
