"""May a body hold a command? Asked of every chat request, so it costs one search."""

import json
from typing import Final

from openai_proxy.transforms.flat import flatten

_PART: Final = 1 << 20
"""Bytes that are looked through at a stretch."""


class CommandMark:
    """The prefix of commands, however JSON may write it."""

    def __init__(self, prefix: str, *, enabled: bool) -> None:
        self.enabled = enabled
        self._plain = prefix.encode()
        # As a number: looking for bytes in bytes first makes an error of what is no number, and forgets it: 0.15 µs.
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
        """True if a command may stand in `body`; False if none does."""
        if not self.enabled:
            return False
        if len(body) > _PART:  # others get the interpreter lock between two parts
            return any(self.in_body(body[at : at + _PART]) for at in range(0, len(body), _PART - self._overlap))
        if self._plain in body or any(form in body for form in self._others):
            return True
        if b"\\/" in body or b"\\u00" in body:
            flat = flatten(body)
            return self._plain in flat or any(form in flat for form in self._others)
        return False
