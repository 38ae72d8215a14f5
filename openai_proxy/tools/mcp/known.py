"""What a server's tools are known to be, from one listing to the next, across connections and restarts."""

import logging
from collections.abc import Mapping

from openai_proxy.tools.mcp.definitions import Listing, ToolDefinition, compare, hold_back

log = logging.getLogger(__name__)


class KnownTools:
    """The tools on offer. `version` counts changes; `held` names those whose new definition is held back."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._tools: dict[str, ToolDefinition] | None = None
        self._accept = False
        self.held: tuple[str, ...] = ()
        self.left_out = 0
        self.version = 0

    @property
    def listed(self) -> bool:
        """True once the server has told its tools."""
        return self._tools is not None

    @property
    def tools(self) -> Mapping[str, ToolDefinition]:
        """By the server's own names; empty before the first listing."""
        return self._tools or {}

    def accept(self) -> None:
        """Take the next listing as the truth, also where definitions are pinned."""
        self._accept = True

    def take(self, listing: Listing, *, pin: bool) -> None:
        """Make `listing` the known one. A redefined tool is told, and with `pin` keeps its old definition."""
        new = dict(listing.tools)
        self.left_out, self.held = listing.left_out, ()
        if self._tools is not None:
            change = compare(self._tools, new)
            if change.changed:
                held = " (held back: pinned)" if pin and not self._accept else ""
                log.warning("mcp server %s redefined %s%s", self._server, ", ".join(change.changed), held)
            if change.added or change.removed:
                counts = len(change.added), len(change.removed)
                log.info("mcp server %s: %d tools added, %d removed", self._server, *counts)
            if pin and not self._accept:
                new, self.held = hold_back(self._tools, new)
        self._accept = False
        self._tools = new
        self.version += 1
