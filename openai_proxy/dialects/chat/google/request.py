"""A chat request as Google's endpoint accepts it: only members that must change are new objects."""

from dataclasses import replace
from typing import Any, Final

from openai_proxy.dialects.base import Lesson
from openai_proxy.dialects.chat.google.signatures import SENTINEL, Signatures, needs_signatures, signature_of
from openai_proxy.dialects.chat.write_request import learnt
from openai_proxy.dialects.edits import BodyEdits

DROPPED: Final = ("frequency_penalty", "presence_penalty", "logit_bias", "store")
"""Members refused by the endpoint, or by 2.5 and later models (github.com/google-gemini/cookbook/issues/1290)."""

_QUIET: Final = frozenset({"store"})  # omitting it changes nothing the caller can notice
PREFIX: Final = "models/"


def adapt(
    chat: dict[str, Any], lessons: Lesson, signatures: Signatures, *, fresh_signatures: bool = False
) -> BodyEdits:
    """The members to change in `chat` for a model with these `lessons`.

    Thought signatures that a client left out are restored; for unknown ones, the first call of a message of the current
    turn gets the documented sentinel. With `fresh_signatures` it replaces all of them, as old ones are worthless after
    a change of key or model. Tool schemas are reduced to the subset of JSON Schema that Gemini accepts.
    """
    edits = learnt(chat, replace(lessons, schema="gemini"))
    model = chat.get("model")
    if isinstance(model, str) and model.startswith(PREFIX):
        edits.replace["model"] = model.removeprefix(PREFIX)
    for name in DROPPED:
        if name in chat and name not in edits.remove:
            edits.remove.append(name)
            if chat[name] and name not in _QUIET:
                edits.dropped.append(name)
    changed = edits.applied(chat)
    messages = _signed(changed, str(model or ""), signatures, fresh_signatures)
    if messages is not None:
        edits.replace["messages"] = messages
    return edits


def _signed(chat: dict[str, Any], model: str, signatures: Signatures, fresh: bool) -> list[Any] | None:
    """The messages with their thought signatures; None if nothing changes."""
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
