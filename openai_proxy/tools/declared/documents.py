"""OpenAPI documents behind a URL: fetched in the background, and cached, so that a restart needs no network.

They are cached in the state directory, one file per URL, where `load.py` reads them. A document that can no longer be
fetched keeps its last good form, and is retried later.
"""

import asyncio
import hashlib
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from openai_proxy import statefile
from openai_proxy.config.tool_entries import MAX_DOCUMENT
from openai_proxy.config.tool_file import OpenApiSource
from openai_proxy.hosts import is_private_host
from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.declared.openapi import DocumentError, parse_document
from openai_proxy.tools.declared.request import ToolRequest
from openai_proxy.tools.handler import ToolFailure

log = logging.getLogger(__name__)

VERSION: Final = 1
FOLDER: Final = "openapi"
"""Name in the state directory."""

_FETCH: Final = 60.0  # seconds for one document
_AGAIN: Final = (5.0, 30.0, 120.0, 600.0)  # seconds until a failed one is retried
_FRESH: Final = 600.0  # seconds for which a document is not fetched again, however often the configuration is read


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    """The state of a URL: its last good document, and the error of the last attempt."""

    body: bytes | None = None
    error: str | None = None


class DocumentStore:
    """The cache on disk. Without a directory it is empty."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def get(self, url: str) -> FetchedDocument:
        """The state of `url`. Reads the disk."""
        if self._directory is None:
            return FetchedDocument()
        saved = statefile.load(self._path(url), VERSION)
        body, error = saved.get("body"), saved.get("error")
        return FetchedDocument(
            body.encode() if isinstance(body, str) else None, error if isinstance(error, str) else None
        )

    def put(self, url: str, found: FetchedDocument) -> None:
        """Store it. Writes the disk; raises OSError."""
        if self._directory is None:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        body = found.body.decode("utf-8", "replace") if found.body is not None else None
        statefile.save(self._path(url), VERSION, {"body": body, "error": found.error})

    def _path(self, url: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


async def fetch(source: OpenApiSource) -> bytes:
    """The document of `source`. Raises ToolFailure or DocumentError with what is wrong."""
    client: Any = await asyncio.to_thread(importlib.import_module, "openai_proxy.tools.declared.client")
    origin = urlsplit(source.source)
    # The owner's headers are for the API: they are sent to the document's server only if it is the same.
    api = urlsplit(source.base) if source.base is not None else origin
    headers = dict(source.headers) if (api.scheme, api.netloc) == (origin.scheme, origin.netloc) else {}
    private = source.private or is_private_host(origin.hostname or "")
    request = ToolRequest("GET", source.source, headers, None, private)
    status, reason, _, body = await client.send(request, _FETCH, MAX_DOCUMENT)
    if status != 200:
        raise ToolFailure(f"HTTP {status} {reason}".strip())
    await asyncio.to_thread(parse_document, body, "it")
    return bytes(body)


class DocumentFetcher:
    """Fetches the documents of the present configuration. Belongs to the event loop."""

    def __init__(self, store: DocumentStore, changed: Callable[[], Awaitable[object]]) -> None:
        """`changed` is awaited when a document differs from the cached one."""
        self._store = store
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._fetched: dict[str, float] = {}  # by loop.time()

    def follow(self, sources: Iterable[OpenApiSource]) -> None:
        """Fetch these documents from now on. Returns at once."""
        wanted = {source.source: source for source in sources}
        for url in [url for url in self._tasks if url not in wanted]:
            self._tasks.pop(url).cancel()
        for url, source in wanted.items():
            task = self._tasks.get(url)
            if task is None or (task.done() and self._is_old(url)):
                self._tasks[url] = spawn(self._fetch(source), name="fetch an OpenAPI document")

    async def aclose(self) -> None:
        """Stop fetching."""
        await cancel(*self._tasks.values())

    def _is_old(self, url: str) -> bool:
        return asyncio.get_running_loop().time() - self._fetched.get(url, float("-inf")) > _FRESH

    async def _fetch(self, source: OpenApiSource) -> None:
        """Retry until it was fetched once; its problem changes with each attempt."""
        url, attempt = source.source, 0
        while True:
            before = await asyncio.to_thread(self._store.get, url)
            try:
                found = FetchedDocument(await fetch(source))
            except (ToolFailure, DocumentError) as error:
                found = FetchedDocument(before.body, str(error))
            if found != before:
                await self._keep(url, found)
            if found.error is None:
                self._fetched[url] = asyncio.get_running_loop().time()
                return
            await asyncio.sleep(_AGAIN[min(attempt, len(_AGAIN) - 1)])
            attempt += 1

    async def _keep(self, url: str, found: FetchedDocument) -> None:
        try:
            await asyncio.to_thread(self._store.put, url, found)
        except OSError as error:
            log.warning("an OpenAPI document cannot be cached: %s", error.strerror)
            return
        # In a separate task: the reload may cancel this one, if the document is no longer wanted.
        spawn(_awaited(self._changed()), name="reload for an OpenAPI document")


async def _awaited(awaitable: Awaitable[object]) -> None:
    await awaitable
