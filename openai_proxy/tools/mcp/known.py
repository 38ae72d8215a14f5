"""What a server's tools are known to be, from one listing to the next, across connections and restarts."""

import logging
from collections.abc import Mapping

from openai_proxy.tools.mcp.definitions import Listing, ToolDefinition, compare, hold_back
from openai_proxy.tools.mcp.pins import Pins

log = logging.getLogger(__name__)


class KnownTools:
    """The tools on offer. `version` counts changes; `held` names those whose new definition is held back."""

    def __init__(self, server: str, pins: Pins) -> None:
        self._server = server
        self._pins = pins
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

    def take(self, listing: Listing, *, identity: str, pin: bool) -> None:
        """Make `listing` the known one. A redefined tool is told, and with `pin` keeps its old definition.

        The first listing of a pinned server is compared with what was accepted of that `identity` before a restart.
        """
        new = dict(listing.tools)
        self.left_out, self.held = listing.left_out, ()
        before: Mapping[str, ToolDefinition] | None = self._tools
        if before is None and pin:
            before = self._pins.of(identity)
        if before is not None:
            change = compare(before, new)
            if change.changed:
                held = " (held back: pinned)" if pin and not self._accept else ""
                log.warning("mcp server %s redefined %s%s", self._server, ", ".join(change.changed), held)
            if change.added or change.removed:
                counts = len(change.added), len(change.removed)
                log.info("mcp server %s: %d tools added, %d removed", self._server, *counts)
            if pin and not self._accept:
                new, self.held = hold_back(before, new)
        self._accept = False
        self._tools = new
        self._pins.keep(identity, new if pin else None)
        self.version += 1
