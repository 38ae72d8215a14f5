"""From the present configuration to the next: read, build beside, swap by one assignment."""

import asyncio
import os
from dataclasses import asdict

from openai_proxy.config.load import load
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.runtime.generation import Generation, build
from openai_proxy.runtime.state import Settings, State


def read_snapshot(settings: Settings, previous: Snapshot | None) -> Snapshot:
    """Read conf/ and the environment. Raises ConfigError where nothing sound can be served."""
    return load(settings.config_dir, settings.env_file, os.environ, settings.flags, previous)


def adopt(state: State, snapshot: Snapshot) -> Generation:
    """Bring `snapshot` to life and put it in service; what did not change stays the same object."""
    number = state.generation.number + 1 if hasattr(state, "generation") else 1
    connections = snapshot.proxy.connections
    providers = state.providers.build(connections)
    generation = build(number, snapshot, providers)
    changed = frozenset(state.providers.changed(providers))
    retired = state.providers.adopt(connections, providers)
    state.generation = generation
    state.catalog.follow({name: provider.list_models for name, provider in providers.items()}, changed)
    state.retire(retired)
    return generation


async def reload(state: State) -> dict[str, object]:
    """Read again and swap if anything changed. Returns what `POST /admin/reload` answers."""
    present = state.generation.snapshot
    fresh = await asyncio.get_running_loop().run_in_executor(None, read_snapshot, state.settings, present)
    changed = fresh.digest != present.digest
    if changed or fresh.problems != present.problems:
        adopt(state, fresh)
    return {
        "changed": changed,
        "generation": state.generation.number,
        "added": [],
        "removed": [],
        "updated": [],
        "problems": [asdict(problem) for problem in fresh.problems],
    }
