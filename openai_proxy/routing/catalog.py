"""The models that each connection offers: requested in the background, answered from memory.

A client that lists models (Home Assistant does at every start, with ten seconds of patience) is answered at once, even
while an upstream is down: the last good list is kept, over restarts too, and daemons share their lists.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from openai_proxy import statefile
from openai_proxy.errors import ProxyError
from openai_proxy.store.shared import Shared, SharedTable
from openai_proxy.tasks import cancel, spawn

log = logging.getLogger(__name__)

VERSION = 1

REFRESH = 300.0  # seconds between two requests to a connection that answers
RETRY = 30.0  # and to one that does not
FETCH_TIMEOUT = 10.0
KEPT = 30 * 86400.0  # seconds for which a list is available to other daemons
FIRST_WAIT = 1.0  # seconds after a connection came up in which clients wait for its first list

Fetch = Callable[[], Awaitable[list[dict[str, Any]]]]


class _Listing:
    __slots__ = ("answered", "base", "changed", "due", "error", "fetch", "models", "since", "task")

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch
        self.base = ""  # its address: in another daemon the same name may stand for another server
        self.changed = 0.0  # wall clock
        self.models: list[dict[str, Any]] = []
        self.answered = asyncio.Event()
        self.due = 0.0
        self.since = time.monotonic()
        self.error: str | None = None
        self.task: asyncio.Task[None] | None = None


class Catalog:
    """Model lists by connection. Lives as long as the process; `follow` sets the present connections."""

    def __init__(self, saved: Path | None = None) -> None:
        self._saved = saved
        self._listings: dict[str, _Listing] = {}
        self._remembered: dict[str, list[dict[str, Any]]] = self._load()
        self._keeper: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._saving = threading.Lock()
        self._shared: SharedTable | None = None
        self.version = 0  # counts the changes of what is known

    def follow(
        self,
        fetchers: Mapping[str, Fetch],
        changed: frozenset[str] = frozenset(),
        bases: Mapping[str, str | None] | None = None,
    ) -> None:
        """List these connections from now on; those in `changed` are requested again. `bases`: their addresses."""
        for name in self._listings.keys() - fetchers.keys():
            self._drop(name)
        for name, fetch in fetchers.items():
            listing = self._listings.get(name)
            if listing is None:
                listing = self._listings[name] = _Listing(fetch)
                listing.models = self._remembered.get(name, [])
            elif name in changed:
                listing.due = 0.0
                if listing.task is not None:
                    listing.task.cancel()  # its answer would be the old server's, and count for the next five minutes
            listing.fetch = fetch
            listing.base = (bases or {}).get(name) or ""
        self.version += 1
        if self._keeper is None:
            self._keeper = spawn(self._keep(), name="model catalog")
        self._wake.set()

    def _drop(self, name: str) -> None:
        listing = self._listings.pop(name)
        if listing.task is not None:
            listing.task.cancel()

    async def models(self) -> dict[str, list[dict[str, Any]]]:
        """The models of each connection. Waits only for lists that never existed, in their first second."""
        missing = [x for x in self._listings.values() if not x.models and not x.answered.is_set()]
        left = max((x.since for x in missing), default=0.0) + FIRST_WAIT - time.monotonic()
        if missing and left > 0:
            waits = [spawn(x.answered.wait(), name="first model list") for x in missing]
            await asyncio.wait(waits, timeout=left)
            await cancel(*waits)
        return self.known()

    def known(self) -> dict[str, list[dict[str, Any]]]:
        """The models of each connection as currently known."""
        return {name: listing.models for name, listing in self._listings.items()}

    def find(self, connection: str, model: str) -> dict[str, Any] | None:
        """A connection's entry about one of its models, if it was listed."""
        listing = self._listings.get(connection)
        return next((m for m in listing.models if m.get("id") == model), None) if listing is not None else None

    def error(self, connection: str) -> str | None:
        """Why the last request to a connection failed, or None."""
        listing = self._listings.get(connection)
        return listing.error if listing is not None else None

    async def _keep(self) -> None:
        while True:
            now = time.monotonic()
            for name, listing in self._listings.items():
                if listing.due <= now and (listing.task is None or listing.task.done()):
                    listing.due = now + RETRY
                    listing.task = spawn(self._refresh(name, listing), name=f"model list of {name}")
            self._wake.clear()
            delay = min((x.due for x in self._listings.values()), default=now + REFRESH) - now
            try:
                async with asyncio.timeout(max(delay, 0.05)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _refresh(self, name: str, listing: _Listing) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                models = await listing.fetch()
        except (ProxyError, TimeoutError) as error:
            before, listing.error = listing.error, _why(error)
            if before is None:
                log.warning("%s does not return its list of models: %s", name, listing.error)
        else:
            if listing.error is not None:
                log.info("%s returns its list of models again", name)
            listing.error = None
            listing.due = time.monotonic() + REFRESH
            if models != listing.models:
                listing.models = models
                listing.changed = time.time()
                self.version += 1
                if self._shared is not None:
                    self._shared.changed(name)
                await asyncio.get_running_loop().run_in_executor(None, self._store)
        finally:
            listing.answered.set()

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Share the lists with the other daemons."""
        self._shared = shared.table("models", read=self._read, take=self._take, names=self._names)

    def _read(self, name: str) -> tuple[Any, float] | None:
        listing = self._listings.get(name)
        return ({"base": listing.base, "models": listing.models}, KEPT) if listing is not None else None

    def _take(self, name: str, value: Any) -> None:
        listing = self._listings.get(name)
        if listing is None or value is None or value["base"] != listing.base or value["models"] == listing.models:
            return
        models = value["models"]
        if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
            raise TypeError(name)
        listing.models = models
        self.version += 1
        listing.answered.set()
        spawn(asyncio.to_thread(self._store), name="save model lists")

    def _names(self) -> list[tuple[str, float]]:
        return [(name, listing.changed) for name, listing in self._listings.items() if listing.models]

    # -- over a restart ---------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, list[dict[str, Any]]]:
        if self._saved is None:
            return {}
        models = statefile.load(self._saved, VERSION, lambda document: {"models": document}).get("models")
        return models if isinstance(models, dict) else {}

    def _store(self) -> None:
        if self._saved is None:
            return
        with self._saving:  # several lists arrive at once, each with its thread
            known = {name: listing.models for name, listing in list(self._listings.items())}
            try:
                statefile.save(self._saved, VERSION, {"models": known})
            except OSError as error:
                log.warning("model lists cannot be saved: %s", error.strerror)

    async def aclose(self) -> None:
        """Stop requesting lists."""
        await cancel(self._keeper, *(listing.task for listing in self._listings.values()))
        self._keeper = None


def _why(error: ProxyError | TimeoutError) -> str:
    """In words for the owner."""
    if isinstance(error, ProxyError):
        return error.cause or error.message
    return f"no answer within {FETCH_TIMEOUT:g} s"
