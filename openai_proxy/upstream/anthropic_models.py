"""The vendor's model list: paged, remembered, and never in the way of an answer for long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from openai_proxy.errors import UpstreamError, UpstreamInvalid
from openai_proxy.tasks import cancel, spawn

FRESH: Final = 600.0  # seconds an entry is believed without asking again
AGAIN: Final = 60.0  # seconds after a failure before the list is asked for again
PATIENCE: Final = 3.0  # seconds one request may wait for the first list
_PAGE: Final = 1000  # the most the API gives at once
_PAGES: Final = 20

Get = Callable[[str, str, str | None], Awaitable[dict[str, Any]]]
"""(path, query, key) -> JSON object."""


class ModelBook:
    """Entries of `/v1/models` by id."""

    def __init__(self, name: str, get: Get) -> None:
        self._name = name
        self._get = get
        self._entries: dict[str, dict[str, Any]] = {}
        self._next = 0.0  # monotonic time from which the list may be asked for again
        self._task: asyncio.Task[None] | None = None

    async def fetch(self, key: str | None) -> list[dict[str, Any]]:
        """The whole list, page by page, newly asked for. Raises the UpstreamError family."""
        entries: list[dict[str, Any]] = []
        after = ""
        for _ in range(_PAGES):
            page = await self._get("/models", f"limit={_PAGE}" + (f"&after_id={quote(after)}" if after else ""), key)
            listed = page.get("data")
            if not isinstance(listed, list):
                raise UpstreamInvalid(f"The connection '{self._name}' gave no model list.")
            entries += [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
            after = page.get("last_id") or ""
            if not page.get("has_more") or not after:
                break
        self._entries = {entry["id"]: entry for entry in entries}
        self._next = time.monotonic() + FRESH
        return entries

    async def entry(self, model: str, key: str | None, *, wait: bool) -> dict[str, Any] | None:
        """The entry of `model`, None if unknown. With `wait` the very first list is waited for, but only so long."""
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
            self._next = time.monotonic() + AGAIN  # answers go on without it; whoever lists models sees the error
        finally:
            self._task = None
