"""A tool's result prepared for a model: bounded, without invisible characters, secrets and paths.

Results are untrusted text (https://genai.owasp.org/llmrisk/llm01-prompt-injection/): characters that people reading the
log cannot see, but a model can, are removed here, once, for every kind of tool.
"""

import json
import re
from typing import Any, Final

import orjson

from openai_proxy.secrets import vault
from openai_proxy.tools.base import ToolResult

MAX_RESULT_BYTES: Final = 100_000
"""About 25k tokens, the value commonly set for Claude Code's MAX_MCP_OUTPUT_TOKENS."""

MAX_ERROR_CHARACTERS: Final = 2000
NO_OUTPUT: Final = "(no output)"

_MARKER_ROOM: Final = 100  # bytes of the limit reserved for the marker, so that bounding twice changes nothing
_HEAD_SHARE: Final = 0.6  # the head says what it is, the tail how it ended
_SLACK: Final = 4096  # kept beyond each cut while scrubbing, so that no secret is split before it is found

# C0 except tab and newline, DEL, C1; Arabic letter mark, zero width space, LRM/RLM; line and paragraph separators and
# bidi embeddings/overrides; word joiner and invisible operators; bidi isolates; deprecated format characters; BOM;
# interlinear annotation; tag characters ("ASCII smuggling"). ZWJ and ZWNJ are kept: emoji and Persian need them.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CARRIAGE: Final = re.compile("\r\n?")

_URL: Final = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s'\"<>)\]]{1,2000}")
_QUOTED_PATH: Final = re.compile(r"(['\"])(?:~?/|[A-Za-z]:[\\/]|\\\\)[^'\"\n]{1,4096}\1")
_PATH: Final = re.compile(
    r"(?<![\w.~/\\:-])(?:~?/[\w.@+~-]{1,255}(?:/[\w.@+~-]{0,255}){0,64}"
    r"|[A-Za-z]:[\\/][\w.@+~-]{1,255}(?:[\\/][\w.@+~-]{0,255}){0,64}"
    r"|\\\\[\w.-]{1,255}(?:\\[\w.@+~$-]{1,255}){1,64})"
)


def clean(text: str) -> str:
    """`text` without control, bidi and invisible characters; line ends as "\\n"; lone surrogates as U+FFFD.

    A lone surrogate would make the whole request to the provider impossible to encode.
    """
    if text.isascii() and text.isprintable():
        return text
    if "\r" in text:
        text = _CARRIAGE.sub("\n", text)
    return _SURROGATE.sub("\ufffd", _INVISIBLE.sub("", text))


def bound(text: str, limit: int = MAX_RESULT_BYTES) -> str:
    """`text` in at most `limit` UTF-8 bytes: head and tail kept, a marker with the original size between."""
    if len(text) * 4 <= limit:
        return text
    size = len(text.encode("utf-8", "replace"))
    return text if size <= limit else _cut(text, text, size, limit)


def without_places(text: str) -> str:
    """`text` with addresses and file paths, which only concern the owner, replaced by "[url]" and "[path]"."""
    text = _URL.sub("[url]", text)
    text = _QUOTED_PATH.sub(r"\1[path]\1", text)
    return _PATH.sub("[path]", text)


def success(value: object) -> ToolResult:
    """The result for whatever a handler returned, ready for the model."""
    text = to_text(value)
    limit = MAX_RESULT_BYTES
    if len(text) > limit + 2 * _SLACK:  # do not clean or scrub megabytes of which little is kept
        size = len(text.encode("utf-8", "replace"))
        part = limit + _SLACK
        return ToolResult(_cut(_tidy(text[:part]), _tidy(text[-part:]), size, limit))
    return ToolResult(bound(_tidy(text), limit) or NO_OUTPUT)


def failure(message: str) -> ToolResult:
    """An error the model can act on: short, without secrets, addresses and paths."""
    text = without_places(vault.scrub(clean(message[: 8 * MAX_ERROR_CHARACTERS]))).strip()
    if len(text) > MAX_ERROR_CHARACTERS:
        text = text[: MAX_ERROR_CHARACTERS - 1] + "…"
    return ToolResult(text or "The tool failed without giving a reason.", is_error=True)


def to_text(value: object) -> str:
    """Any value that a handler may return, as text: strings unchanged, nothing as "(no output)", the rest as JSON."""
    if value is None or value == "":
        return NO_OUTPUT
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError, RecursionError):
        pass  # integers beyond 64 bits and the like: the slower way supports them
    try:
        return json.dumps(value, default=_plain, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        return f"(a value of type {type(value).__name__} that cannot be converted to text)"


def _plain(value: object) -> Any:
    """For types that JSON lacks: sets as lists, objects as their text."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return str(value)


def _tidy(text: str) -> str:
    return vault.scrub(clean(text))


def _cut(start: str, end: str, size: int, limit: int) -> str:
    """The head of `start` and the tail of `end` in `limit` bytes; "ignore" drops partial characters."""
    room = max(0, limit - _MARKER_ROOM)
    head_bytes = int(room * _HEAD_SHARE)
    head = start.encode("utf-8", "replace")[:head_bytes].decode("utf-8", "ignore")
    tail = end.encode("utf-8", "replace")[-(room - head_bytes) :].decode("utf-8", "ignore") if room else ""
    return f"{head}\n\n[… {max(0, size - room)} bytes left out here; the whole result has {size} bytes …]\n\n{tail}"
