"""From files to a generation in service: read, build beside the present one, replace it by one assignment.

`prepare` and `make` do everything that blocks or can fail, off the event loop; `adopt` replaces, on the loop, and
cannot fail half-way.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from openai_proxy.config import last_good
from openai_proxy.config.key_names import names_of_keys
from openai_proxy.config.load import load
from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.records.counting.prices import Prices
from openai_proxy.runtime.generation import Generation, build
from openai_proxy.runtime.observing import exchange_telemetry, telemetry_of
from openai_proxy.runtime.state import ProxyState, Settings
from openai_proxy.runtime.tree import Tree, look
from openai_proxy.secrets import vault

if TYPE_CHECKING:
    from openai_proxy.auth.validators import Validator
    from openai_proxy.tools.custom import CustomTools

SETTLE = 0.15
"""Seconds without changes before anything is read: 158 of 330 prefixes of a model file are valid YAML."""

START_PATIENCE = 2.0  # seconds a start waits for files that are being written


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration read and imported, not yet in service. `tree` is the state of conf/ after it was read."""

    snapshot: Snapshot
    tools: CustomTools | None  # None: nothing needs tools
    tree: Tree


def prepare_first(settings: Settings) -> Prepared:
    """What the daemon starts with. Blocks. Raises ConfigError if there is nothing valid to serve."""
    roots = [settings.config_dir, *([settings.env_file] if settings.env_file is not None else [])]
    limit = time.monotonic() + START_PATIENCE
    while time.monotonic() < limit:
        before = look(roots)
        wait = SETTLE - before.quiet_for()
        if 0 < wait <= SETTLE:
            time.sleep(wait)
            continue
        prepared = prepare(settings, None)
        if look(roots).same(before):
            return prepared
    return prepare(settings, None)


def prepare(settings: Settings, previous: Generation | None) -> Prepared:
    """Read conf/, the environment and conf/tools. Blocks. Raises ConfigError only without `previous`."""
    before = previous.snapshot if previous is not None else None
    kept = settings.state_dir / last_good.NAME
    snapshot = load(settings.config_dir, settings.env_file, os.environ, settings.flags, before, kept)
    tools = None
    if settings.tools or snapshot.models or snapshot.has_tools or snapshot.servers or snapshot.proxy.execute_tools:
        from openai_proxy.runtime.augmented_models import load_tools

        augmented = previous.augmented if previous is not None else None
        tools = load_tools(snapshot, augmented.custom if augmented is not None else None, settings.state_dir)
        if settings.tools:
            tools = replace(tools, handlers={**tools.handlers, **{tool.name: tool for tool in settings.tools}})
    return Prepared(snapshot, tools, look(snapshot.watched))


def make(state: ProxyState, prepared: Prepared) -> Generation:
    """Build `prepared` beside the present generation, reusing the objects for what did not change. Blocks."""
    snapshot = prepared.snapshot
    state.redactor.refresh()  # the vault has got new secrets from what was read
    previous: Generation | None = getattr(state, "generation", None)
    augmented = None
    if prepared.tools is not None:
        from openai_proxy.runtime import augmented_models

        augmented = augmented_models.build(snapshot, prepared.tools, state.supervisor, state.workshop, previous)
    providers = state.providers.build(snapshot.proxy.connections)
    number = previous.number + 1 if previous is not None else 1
    trouble = list(_configure_records(state, snapshot))
    telemetry = telemetry_of(snapshot, state.telemetry, trouble)
    validator = _validator(state, snapshot, previous, trouble)
    generation = build(number, snapshot, providers, state.health, augmented, validator, state.lines, state.publish)
    if any(allowance.budget is not None for allowance in generation.allowances.values()):
        state.governor.spendings  # noqa: B018 (it has to know what the others have spent before it is asked)
    if snapshot.proxy_text is not None:
        last_good.keep(state.settings.state_dir, snapshot.proxy_text)
    return replace(generation, problems=(*generation.problems, *trouble), telemetry=telemetry)


def _validator(
    state: ProxyState, snapshot: Snapshot, previous: Generation | None, problems: list[Problem]
) -> Validator | None:
    given, dotted = state.settings.validator, snapshot.proxy.check_api_key
    if given is None and dotted is None:
        return None
    from openai_proxy.auth import validators

    if given is not None:
        return validators.Validator("validator", "", given)
    assert dotted is not None
    found, trouble = validators.load(dotted, snapshot.config_dir, previous.validator if previous is not None else None)
    if trouble is not None:
        problems.append(Problem(*snapshot.place("proxy", None, ("check_api_key",)), vault.scrub(trouble)))
    return found


def _configure_records(state: ProxyState, snapshot: Snapshot) -> Iterator[Problem]:
    config = snapshot.proxy
    lines = state.records.configure(
        prices=Prices(
            config.prices,
            config.connections,
            state.records.usage.bundled if config.bundled_prices else None,
            config.currency,
        ),
        loggers=config.loggers,
        retention_days=config.log_retention_days,
        config_dir=snapshot.config_dir,
    )
    for line in lines:
        number = re.match(r"loggers\[(\d+)\]", line)
        path = ("loggers", int(number[1])) if number else ("loggers",)
        yield Problem(*snapshot.place("proxy", None, path), line)


def adopt(state: ProxyState, generation: Generation) -> None:
    """Put `generation` in service. The previous one is released when its last request has ended."""
    previous: Generation | None = getattr(state, "generation", None)
    snapshot = generation.snapshot
    providers = {name: generation.providers[name] for name in snapshot.proxy.connections}  # without the built-in ones
    if snapshot.servers or state.has_supervisor:
        state.supervisor.reconcile(snapshot.servers)
        generation.lease.on_release(state.supervisor.hold(snapshot.servers))
    changed = frozenset(state.providers.changed(providers))
    for name in changed:
        state.health.forget(name)
    state.providers.adopt(snapshot.proxy.connections, providers)
    state.leases.hold(generation.lease, providers.values())
    state.lines.follow({name: c.concurrency for name, c in snapshot.proxy.connections.items()})
    bases = {name: config.api_base for name, config in snapshot.proxy.connections.items()}
    state.catalog.follow({name: provider.list_models for name, provider in providers.items()}, changed, bases)
    state.shared.follow(snapshot.proxy.shared_storage)
    state.generation = generation
    exchange_telemetry(state, generation.telemetry)
    state.adopted.set()
    if previous is not None:  # for the first one `Reloads` does that: a newly fetched document triggers a reload
        state.follow_documents(snapshot.declared_tools)
    state.records.lines.labels = state.health.keys.names = names_of_keys(snapshot)
    if previous is not None:
        state.leases.retire(previous.lease)
