"""Shared by daemon and library: putting a configuration into service, following its edits, and housekeeping."""

import asyncio
from collections.abc import Sequence
from typing import Final

from openai_proxy.pipeline.warm_schedule import keep_warm
from openai_proxy.runtime.prepare import Prepared, adopt, make
from openai_proxy.runtime.reload import MovableListener, ReconfigurablePort, Reloads
from openai_proxy.runtime.state import ProxyState
from openai_proxy.runtime.tree import Tree
from openai_proxy.runtime.watcher import Watcher
from openai_proxy.tasks import cancel, spawn

SWEEP: Final = 5.0  # seconds between two sweeps of idle upstream sockets
SHARED: Final = 2.5  # seconds to wait for the shared store's first answer


async def put_into_service(state: ProxyState, prepared: Prepared, *, in_thread: bool = False) -> None:
    """Create the first generation of `state`; with `in_thread` without blocking the event loop."""
    if in_thread:
        made = await asyncio.get_running_loop().run_in_executor(None, make, state, prepared)
    else:
        made = make(state, prepared)
    adopt(state, made)
    await state.shared.ready(SHARED)


class Upkeep:
    """Keeps the configuration up to date, sweeps idle sockets, and keeps models warm, until `aclose`."""

    def __init__(
        self,
        state: ProxyState,
        tree: Tree,
        listening: MovableListener | None = None,
        others: Sequence[ReconfigurablePort] = (),
    ) -> None:
        self.reloads = state.reloads = Reloads(state, tree, listening, others)
        self._watcher: Watcher | None = None
        self._helpers = [spawn(_sweep(state), name="sweep"), spawn(keep_warm(state), name="keep models warm")]

    def watch(self) -> None:
        """Apply edits of files as they happen."""
        reloads = self.reloads
        watcher = self._watcher = Watcher(asyncio.get_running_loop(), lambda: reloads.roots, reloads.noticed)
        watcher.start()
        reloads.remote = watcher.polling

    def stop_watching(self) -> None:
        """From now on, edits wait for the next start."""
        if self._watcher is not None:
            self._watcher.stop()

    async def aclose(self) -> None:
        """Stop everything."""
        self.stop_watching()
        await cancel(*self._helpers)


async def _sweep(state: ProxyState) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        state.sweep()
