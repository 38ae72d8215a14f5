"""A server's stderr: the last lines for the status, a trickle for the debug log, and the rest counted."""

import logging
import time
from collections import deque

from openai_proxy.secrets import vault

log = logging.getLogger(__name__)

KEPT_LINES = 50
LINE_LENGTH = 500
_BURST = 30  # lines logged at once …
_PER_SECOND = 2.0  # … and then at this rate: a flood of 200,000 lines must not fill the journal


class StderrTail:
    """Feed it bytes; read `text()` for the status page. Costs one scan of each chunk, whatever is in it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._partial = b""
        self._budget = float(_BURST)
        self._refilled = time.monotonic()
        self.unlogged = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        pieces = (self._partial + data).rsplit(b"\n", KEPT_LINES + 1)
        self._partial = pieces.pop()[-LINE_LENGTH * 4 :]
        if len(pieces) > KEPT_LINES:
            # The first piece is everything before the lines that are kept.
            self.unlogged += pieces.pop(0).count(b"\n") + 1
        for piece in pieces:
            self._keep(piece)

    def flush(self) -> None:
        """Take the unfinished last line as a line: the server has gone."""
        if self._partial:
            self._keep(self._partial)
            self._partial = b""

    def text(self) -> str:
        """The last lines, without secrets."""
        return "\n".join(self._lines)

    def last_line(self) -> str:
        """The last line that says anything, or ""."""
        return next((line for line in reversed(self._lines) if line.strip()), "")

    def _keep(self, piece: bytes) -> None:
        text = piece[: LINE_LENGTH * 4].decode("utf-8", "replace").rstrip()
        line = vault.scrub("".join(c if c.isprintable() or c == "\t" else "�" for c in text[:LINE_LENGTH]))
        self._lines.append(line)
        now = time.monotonic()
        self._budget = min(_BURST, self._budget + (now - self._refilled) * _PER_SECOND)
        self._refilled = now
        if self._budget < 1:
            self.unlogged += 1
            return
        self._budget -= 1
        log.debug("mcp server %s: %s", self._server, line)
