"""Whether a body may contain a command. Checked for every chat request, so it costs one search."""

import json

from openai_proxy.steps import STEP, any_piece
from openai_proxy.transforms.flat import flatten


class CommandMark:
    """The prefix of commands, in all the ways that JSON can write it."""

    def __init__(self, prefix: str, *, enabled: bool) -> None:
        self.enabled = enabled
        self._plain = prefix.encode()
        # As a number: for other types `in` first raises and discards an error, which costs 0.15 µs.
        self._first = self._plain[0] if prefix[0].isascii() and prefix[0] not in '"\\' else -1
        escaped = json.dumps(prefix)[1:-1]
        raw = json.dumps(prefix, ensure_ascii=False)[1:-1]
        upper = "".join(c if i % 6 < 2 else c.upper() for i, c in enumerate(escaped))
        others = {escaped.encode(), raw.encode(), upper.encode() if "\\u" in escaped else raw.encode()}
        self._others = tuple(others - {self._plain})
        self._overlap = 6 * len(self._plain)  # each character as \u002f

    def in_quiet(self, body: bytes) -> bool:
        """`in_body` for a body without escapes that could hide it."""
        if not self.enabled or (self._first >= 0 and self._first not in body):
            return False
        return self._plain in body or any(form in body for form in self._others)

    def in_body(self, body: bytes) -> bool:
        """True if `body` may contain a command; False if it has none."""
        if not self.enabled:
            return False
        return self._in_piece(body) if len(body) <= STEP else any_piece(self._in_piece, body, self._overlap)

    def _in_piece(self, body: bytes) -> bool:
        if self._plain in body or any(form in body for form in self._others):
            return True
        if b"\\/" in body or b"\\u00" in body:
            flat = flatten(body)
            return self._plain in flat or any(form in flat for form in self._others)
        return False
