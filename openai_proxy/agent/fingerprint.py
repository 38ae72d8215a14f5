"""Recognises a conversation and a call after they have been through a client.

Clients re-serialise arguments, drop ids, turn text into lists of parts and rewrite the system prompt (which contains
the time), so only what survives all that is compared: roles, text, tool names and canonical arguments.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

import orjson

from openai_proxy.dialects import json_text
from openai_proxy.steps import add_text, join
from openai_proxy.tasks import is_beside

_SIZE: Final = 16
_STEP: Final = 1 << 20  # characters normalised at a time
_IGNORED: Final = frozenset({"system", "developer"})


def canonical(arguments: Any) -> str:
    """Arguments (JSON text, or already an object) in one form: keys sorted, 1.0 as 1; other text is stripped."""
    if isinstance(arguments, str):
        text = arguments.strip()
        if not text:
            return "{}"
        try:
            arguments = json_text.loads(text)
        except ValueError:
            return text
    if arguments is None:
        return "{}"
    try:
        return orjson.dumps(_plain(arguments), option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError, RecursionError):  # integers beyond 64 bits, or nested deeply
        return _unrolled(arguments)


def recognisable(arguments: Any) -> str:
    """`arguments` as Home Assistant's Ollama client leaves them, whichever client returns them.

    It removes every empty argument (null, "", 0, false) and parses JSON inside a text: `_parse_tool_args` in
    homeassistant/components/ollama/entity.py.
    """
    given = json_text.object_in(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(given, dict):
        return canonical(arguments)
    return canonical({name: _unpacked(value) for name, value in given.items() if value})


def _unpacked(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("[", "{")):
        return value
    try:
        return json_text.loads(value)
    except ValueError:
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value) if abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return value


def _unrolled(value: Any) -> str:
    """`value` as text, whatever its depth: equal values give equal texts, and others do not."""
    written: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            written.append(f"{{{len(one)}")
            for name in sorted(one, reverse=True):
                waiting += (one[name], name)
        elif isinstance(one, list):
            written.append(f"[{len(one)}")
            waiting += reversed(one)
        else:
            written.append(repr(one))
    return " ".join(written)


def named_calls(message: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(id or "", name, canonical arguments) of each call in an assistant message, however leniently written."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        inner = call.get("function") or call.get("custom")
        inner = inner if isinstance(inner, dict) else call
        name, call_id = inner.get("name"), call.get("id")
        yield (
            call_id if isinstance(call_id, str) else "",
            name if isinstance(name, str) else "",
            recognisable(inner.get("arguments", inner.get("input"))),
        )


def text(content: Any) -> str:
    """The text of a message's content with white space normalised; media parts as their JSON."""
    if isinstance(content, str):
        return _evened(content)
    if not isinstance(content, list):
        return ""
    parts = (
        part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else _media(part)
        for part in content
    )
    return join(filter(None, map(_evened, parts)), " ")


def _evened(text: str) -> str:
    """`text` with runs of white space as one space, and none at its ends; a long one in steps.

    Between two steps other threads get a turn, and not all words are in memory at once.
    """
    if len(text) <= _STEP:
        return " ".join(text.split())
    parts: list[str] = []
    apart = True  # white space, or the beginning, comes before the next part
    for at in range(0, len(text), _STEP):
        part = text[at : at + _STEP]
        words = " ".join(part.split())
        if words:
            if parts and (apart or part[0].isspace()):
                parts.append(" ")
            parts.append(words)
            apart = part[-1].isspace()
        else:
            apart = True
    return join(parts)


def _media(part: Any) -> str:
    if isinstance(part, str):
        return part
    try:
        written = json_text.dumps(_sorted(part)) if is_beside() else orjson.dumps(part, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError):
        return ""
    return blake2b(written, digest_size=_SIZE).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(member) for key, member in sorted(value.items())}
    if isinstance(value, list):
        return [_sorted(member) for member in value]
    return value


def fingerprint(text: str) -> str:
    """The fingerprint of one text."""
    digest = blake2b(digest_size=_SIZE)
    add_text(digest, text, "replace")
    return digest.hexdigest()


class ConversationFingerprint:
    """The fingerprint of the messages added so far; system messages do not count."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=_SIZE)
        self.question = ""  # fingerprint of the last user message alone

    def add(self, message: Any) -> None:
        """One more message of the conversation, as the client sent it."""
        if not isinstance(message, dict):
            return
        role = str(message.get("role"))
        if role in _IGNORED:
            return
        message_text = text(message.get("content"))
        self._add("tool" if role == "function" else role, "\0", message_text, "\0")
        for _, name, arguments in named_calls(message):
            self._add(name, "\1", arguments, "\0")
        self._hash.update(b"\2")
        if role == "user":
            self.question = fingerprint(message_text)

    def _add(self, *texts: str) -> None:
        for each in texts:
            add_text(self._hash, each, "replace")

    @property
    def whole(self) -> str:
        """The fingerprint of everything so far."""
        return self._hash.hexdigest()


def key(*parts: str) -> str:
    """A key made of `parts`, which cannot be recovered from it."""
    return blake2b("\0".join(parts).encode(errors="replace"), digest_size=_SIZE).hexdigest()
