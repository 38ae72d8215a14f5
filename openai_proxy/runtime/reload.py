"""From the present configuration to the next: read, build beside, swap by one assignment.

`prepare` does everything that blocks or can fail, off the event loop; `adopt` swaps, on it, and cannot fail half-way.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from openai_proxy.config.diff import diff
from openai_proxy.config.load import load
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.runtime.generation import Generation, build
from openai_proxy.runtime.state import Settings, State

if TYPE_CHECKING:
    from openai_proxy.tools.custom import CustomTools


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration read and imported, not yet in service."""

    snapshot: Snapshot
    tools: CustomTools | None  # None: nothing needs tools


def prepare(settings: Settings, previous: Generation | None) -> Prepared:
    """Read conf/, the environment and conf/tools. Blocks. Raises ConfigError where nothing sound can be served."""
    before = previous.snapshot if previous is not None else None
    snapshot = load(settings.config_dir, settings.env_file, os.environ, settings.flags, before)
    if not (snapshot.models or snapshot.tool_files or snapshot.servers or snapshot.proxy.execute_tools):
        return Prepared(snapshot, None)
    from openai_proxy.runtime.augmented import load_tools

    house = previous.house if previous is not None else None
    return Prepared(snapshot, load_tools(snapshot, house.custom if house is not None else None))


def adopt(state: State, prepared: Prepared) -> Generation:
    """Bring `prepared` to life and put it in service; what did not change stays the same object."""
    snapshot = prepared.snapshot
    previous = getattr(state, "generation", None)
    connections = snapshot.proxy.connections
    if snapshot.servers or state.has_supervisor:
        state.supervisor.reconcile(snapshot.servers)
    house = None
    if prepared.tools is not None:
        from openai_proxy.runtime import augmented

        house = augmented.build(snapshot, prepared.tools, state.supervisor, state.workshop)
    providers = state.providers.build(connections)
    number = previous.number + 1 if previous is not None else 1
    generation = build(number, snapshot, providers, state.health, house)
    changed = frozenset(state.providers.changed(providers))
    for name in changed:
        state.health.forget(name)
    retired = state.providers.adopt(connections, providers)
    state.generation = generation
    state.catalog.follow({name: provider.list_models for name, provider in providers.items()}, changed)
    state.retire(retired)
    return generation


async def reload(state: State) -> dict[str, Any]:
    """Read again and swap if anything changed. Returns what `POST /admin/reload` answers. Raises ConfigError."""
    async with state.reloading:
        present = state.generation
        prepared = await asyncio.get_running_loop().run_in_executor(None, prepare, state.settings, present)
        fresh = prepared.snapshot
        changes = diff(present.snapshot, fresh)
        before = present.house.custom if present.house is not None else None
        changed = fresh.digest != present.snapshot.digest or _handlers(prepared.tools) != _handlers(before)
        if changed or fresh.problems != present.snapshot.problems:
            adopt(state, prepared)
        result: dict[str, Any] = {
            "changed": changed,
            "generation": state.generation.number,
            "added": list(changes.added),
            "removed": list(changes.removed),
            "updated": list(changes.updated),
        }
        if state.generation.problems:
            result["problems"] = [asdict(problem) for problem in state.generation.problems]
        state.publish("reload", result)
        return result


def _handlers(tools: CustomTools | None) -> object:
    return None if tools is None else (tools.handlers, tools.problems)
