"""Recognising a conversation and a call again after a client has had them in its hands.

Clients re-serialise arguments, drop ids, turn text into lists of parts and rewrite the system prompt (the time stands
in it), so what is compared is what survives all that: roles, text, tool names and canonical arguments.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

import orjson

from openai_proxy.dialects import json_text

_SIZE: Final = 16
_STEP: Final = 1 << 20  # characters that are evened out at a stretch
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
    except (TypeError, ValueError):
        return repr(arguments)  # integers beyond 64 bits among them


def recognisable(arguments: Any) -> str:
    """What is left of `arguments` after Home Assistant's Ollama client, in one form, whoever brings them back.

    It takes out every argument that is empty (null, "", 0, false) and reads JSON that stands in a text:
    `_parse_tool_args` in homeassistant/components/ollama/entity.py.
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


def named_calls(message: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(id or "", name, canonical arguments) of each call in an assistant message, as leniently as clients write it."""
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
    """The text of a message's content with white space evened out; media parts by their JSON."""
    if isinstance(content, str):
        return _evened(content)
    if not isinstance(content, list):
        return ""
    parts = [
        part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else _media(part)
        for part in content
    ]
    return " ".join(" ".join(parts).split())


def _evened(text: str) -> str:
    """`text` with one space for each run of white space, none at its ends; a long one in steps.

    Between two steps other threads have a turn, and its words are not all held at a time.
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
    return "".join(parts)


def _media(part: Any) -> str:
    if isinstance(part, str):
        return part
    try:
        return blake2b(orjson.dumps(part, option=orjson.OPT_SORT_KEYS), digest_size=_SIZE).hexdigest()
    except TypeError:
        return ""


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
        said = text(message.get("content"))
        self._hash.update(f"{'tool' if role == 'function' else role}\0{said}\0".encode(errors="replace"))
        for _, name, arguments in named_calls(message):
            self._hash.update(f"{name}\1{arguments}\0".encode(errors="replace"))
        self._hash.update(b"\2")
        if role == "user":
            self.question = blake2b(said.encode(errors="replace"), digest_size=_SIZE).hexdigest()

    @property
    def whole(self) -> str:
        """The fingerprint of everything so far."""
        return self._hash.hexdigest()


def key(*parts: str) -> str:
    """A key made of `parts`; what goes in cannot be read out of it again."""
    return blake2b("\0".join(parts).encode(errors="replace"), digest_size=_SIZE).hexdigest()
