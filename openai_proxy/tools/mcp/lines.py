"""Newline-delimited JSON from a server's stdout: split without repeated copying, and read leniently.

The SDK's reader is quadratic (a 50 MB line stalls the loop for 30 s, measured) and has no limit. Here chunks are kept
in a list, a line beyond the limit is dropped as it arrives, and only its ends are kept, to find out whose answer it
was.
"""

import json
import re
from typing import Any

import orjson

from openai_proxy.dialects.json_text import holds_long_number

LINE_CAP = 16 * 1024 * 1024
"""Maximum bytes of one line: a screenshot of 10 MB as base64 fits."""

ENDLESS = 16 * LINE_CAP
"""Bytes without a line end after which a server is considered out of control."""

_ENDS = 4096
_HEAD_ID = re.compile(rb'^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,15}|"[^"\\]{1,100}")\s*[,}]')
_TAIL_ID = re.compile(rb',\s*"id"\s*:\s*(\d{1,15}|"[^"\\]{1,100}")\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


class Oversized:
    """What is left of a line beyond the limit: its size so far, and its two ends."""

    __slots__ = ("head", "size", "tail")

    def __init__(self, head: bytes, size: int, tail: bytes) -> None:
        self.head = head
        self.size = size
        self.tail = tail

    def answers(self) -> int | str | None:
        """The id of the request that the line answered, if its ends show it."""
        found = _HEAD_ID.search(self.head) or _TAIL_ID.search(self.tail)
        if found is None:
            return None
        value: int | str = orjson.loads(found.group(1))
        return value


class LineSplitter:
    """Bytes in, whole lines out (without their newline); `Oversized` in place of a line beyond `cap`."""

    def __init__(self, cap: int = LINE_CAP) -> None:
        self._cap = cap
        self._chunks: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None  # set while a line beyond the limit is being dropped

    @property
    def pending(self) -> int:
        """Bytes of the unfinished line, kept or dropped."""
        return self._size

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """The lines completed by `data`."""
        lines: list[bytes | Oversized] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            lines.append(self._take())
            start = end + 1
        if start < len(data):
            self._add(data[start:] if start else data)
        return lines

    def flush(self) -> list[bytes | Oversized]:
        """What follows the last newline, at the end of the stream."""
        return [self._take()] if self._size else []

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._chunks.append(piece)
        if self._size <= self._cap:
            return
        if self._head is None:
            self._head = b"".join(self._chunks)[:_ENDS]
        self._chunks = [b"".join(self._chunks[-2:])[-_ENDS:]]

    def _take(self) -> bytes | Oversized:
        chunks, head, size = self._chunks, self._head, self._size
        self._chunks, self._head, self._size = [], None, 0
        line = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return line if head is None else Oversized(head, size, line)


def parse(line: bytes) -> Any:
    """The JSON of one line, read as leniently as servers write it. Raises ValueError if it is not JSON.

    Invalid UTF-8 and lone surrogates are replaced, and NaN or Infinity (which Python's own `json.dumps` writes) become
    null: one bad character should cost that character, not the connection. Integers keep their digits.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    else:
        if not holds_long_number(line):
            return value
    text = line.decode("utf-8", "replace").removeprefix("\ufeff")
    text = _LONE_SURROGATE.sub(r"\\ufffd", text)
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deep") from None
