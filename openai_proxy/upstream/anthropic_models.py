"""Anthropic's model list: paged and cached, so that it never delays an answer for long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from openai_proxy.errors import UpstreamError
from openai_proxy.tasks import cancel, spawn
from openai_proxy.upstream.model_list import entries_of

FRESH: Final = 600.0  # seconds for which an entry is valid
AGAIN: Final = 60.0  # seconds after a failure before the list is requested again
PATIENCE: Final = 3.0  # seconds that a request may wait for the first list
_PAGE: Final = 1000  # the API's maximum
_PAGES: Final = 20

Get = Callable[[str, str, str | None], Awaitable[dict[str, Any]]]
"""(path, query, key) -> JSON object."""


class ModelEntries:
    """Entries of `/v1/models` by id."""

    def __init__(self, name: str, get: Get) -> None:
        self._name = name
        self._get = get
        self._entries: dict[str, dict[str, Any]] = {}
        self._next = 0.0  # monotonic time from which the list may be requested again
        self._task: asyncio.Task[None] | None = None

    async def fetch(self, key: str | None) -> list[dict[str, Any]]:
        """The whole list, page by page, never from the cache. Raises the UpstreamError family."""
        entries: list[dict[str, Any]] = []
        after = ""
        for _ in range(_PAGES):
            page = await self._get("/models", f"limit={_PAGE}" + (f"&after_id={quote(after)}" if after else ""), key)
            entries += entries_of(self._name, page)
            after = page.get("last_id") or ""
            if not page.get("has_more") or not after:
                break
        self._entries = {entry["id"]: entry for entry in entries}
        self._next = time.monotonic() + FRESH
        return entries

    async def entry(self, model: str, key: str | None, *, wait: bool) -> dict[str, Any] | None:
        """The entry of `model`, None if unknown. With `wait`, waits for the very first list, but only briefly."""
        if time.monotonic() >= self._next and self._task is None:
            self._next = time.monotonic() + AGAIN
            self._task = spawn(self._refresh(key), name=f"models of {self._name}")
        if wait and not self._entries and self._task is not None:
            await asyncio.wait([self._task], timeout=PATIENCE)
        return self._entries.get(model)

    async def aclose(self) -> None:
        """End a running refresh."""
        await cancel(self._task)

    async def _refresh(self, key: str | None) -> None:
        try:
            await self.fetch(key)
        except UpstreamError:
            self._next = time.monotonic() + AGAIN  # answers do not depend on it; listing models reports the error
        finally:
            self._task = None
