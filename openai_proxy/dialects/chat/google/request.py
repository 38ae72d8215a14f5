"""A chat request as Google's endpoint takes it: only the members that must change are new objects."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from openai_proxy.dialects.chat.google.signatures import SENTINEL, Signatures, needs_signatures, signature_of

DROPPED: Final = ("frequency_penalty", "presence_penalty", "logit_bias", "store")
"""Members the endpoint refuses or that 2.5 and later models refuse (github.com/google-gemini/cookbook/issues/1290)."""

_QUIET: Final = frozenset({"store"})  # its absence changes nothing the caller can notice
_UNKNOWN_NAME: Final = re.compile(r"Unknown name \"([^\"]{1,200})\"(?: at '([^']{1,300})')?")
_INDEX: Final = re.compile(r"\[\d+\]")
PREFIX: Final = "models/"


@dataclass(slots=True)
class Edits:
    """Top-level members to set and to take out; `dropped` names what the caller must be told of."""

    replace: dict[str, Any] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, bytes]:
        """`replace` with the values encoded."""
        return {name: orjson.dumps(value) for name, value in self.replace.items()}


def adapt(
    chat: dict[str, Any], unknown: Collection[str], signatures: Signatures, *, fresh_signatures: bool = False
) -> Edits:
    """What has to change in `chat`. `unknown`: paths from `learn_unknown`, which this connection does not take.

    Thought signatures a client left out are put back; where none is known, the first call of a message of the current
    turn gets the documented sentinel. With `fresh_signatures` all are replaced by it: after a change of key or model
    the old ones are worth nothing.
    """
    edits = Edits()
    model = chat.get("model")
    if isinstance(model, str) and model.startswith(PREFIX):
        edits.replace["model"] = model.removeprefix(PREFIX)
    for name in DROPPED:
        if name in chat:
            edits.remove.append(name)
            if chat[name] and name not in _QUIET:
                edits.dropped.append(name)
    messages = _signed(chat, str(model or ""), signatures, fresh_signatures)
    if messages is not None:
        edits.replace["messages"] = messages
    for path in sorted(unknown):
        _drop(chat, edits, path)
    return edits


def learn_unknown(message: str) -> frozenset[str]:
    """The members an error says it does not know, as paths with `[]` for any index: `seed`, `messages[].name`."""
    found = set()
    for name, where in _UNKNOWN_NAME.findall(message):
        path = f"{where}.{name}" if where else name
        found.add(_INDEX.sub("[]", path))
    return frozenset(found)


def _drop(chat: dict[str, Any], edits: Edits, path: str) -> None:
    first, *rest = path.replace("[]", ".[]").split(".")
    if first not in chat or first in edits.remove or (first in ("model", "messages") and not rest):
        return
    if not rest:
        edits.remove.append(first)
        edits.replace.pop(first, None)
        if chat[first] is not None:
            edits.dropped.append(first)
        return
    value = edits.replace.get(first, chat[first])
    cut, changed = _without(value, rest)
    if changed:
        edits.replace[first] = cut
        edits.dropped.append(path)


def _without(value: Any, path: list[str]) -> tuple[Any, bool]:
    """`value` without what lies at `path`, on a copy, and whether anything did."""
    step, *rest = path
    if step == "[]" and isinstance(value, list) and rest:
        pairs = [_without(item, rest) for item in value]
        return [item for item, _ in pairs], any(changed for _, changed in pairs)
    if isinstance(value, dict) and step in value:
        if not rest:
            return {name: item for name, item in value.items() if name != step}, True
        inner, changed = _without(value[step], rest)
        return ({**value, step: inner}, True) if changed else (value, False)
    return value, False


def _signed(chat: dict[str, Any], model: str, signatures: Signatures, fresh: bool) -> list[Any] | None:
    """The messages with thought signatures where they belong; None if nothing changes."""
    messages = chat.get("messages")
    if not isinstance(messages, list):
        return None
    current = max((at for at, m in enumerate(messages) if isinstance(m, dict) and m.get("role") == "user"), default=-1)
    made: list[Any] = []
    touched = False
    for at, message in enumerate(messages):
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        if isinstance(calls, list) and calls and all(isinstance(call, dict) for call in calls):
            needed = at > current and needs_signatures(model)
            signed = _sign_calls(calls, signatures, needed, fresh)
            if signed is not None:
                touched = True
                message = {**message, "tool_calls": signed}
        made.append(message)
    return made if touched else None


def _sign_calls(
    calls: list[dict[str, Any]], signatures: Signatures, needed: bool, fresh: bool
) -> list[dict[str, Any]] | None:
    made = []
    touched = False
    for index, call in enumerate(calls):
        extra: Any = None if fresh else call.get("extra_content") or signatures.get(call.get("id"))
        if needed and index == 0 and signature_of(extra) is None:
            extra = {"google": {"thought_signature": SENTINEL}}
        bare = {name: value for name, value in call.items() if name != "extra_content"}
        signed = {**bare, "extra_content": extra} if extra else bare
        touched = touched or signed != call
        made.append(signed)
    return made if touched else None
