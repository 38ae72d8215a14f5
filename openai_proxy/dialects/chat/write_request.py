"""Adapts a chat request to one model: without what it refuses, with the names it knows."""

from hashlib import blake2b
from typing import Any

from openai_proxy.dialects.base import Lesson
from openai_proxy.dialects.call_ids import CALL_ID, fit_call_ids
from openai_proxy.dialects.derived import known_unfit
from openai_proxy.dialects.edits import BodyEdits
from openai_proxy.dialects.tool_schema import fit_tools


def learnt(chat: dict[str, Any], lessons: Lesson) -> BodyEdits:
    """The members to change in `chat` for a model with these `lessons`.

    A client's own value is never changed because it is refused, only an unknown member and a value that we derived; a
    text that is too long (`user`) is replaced by its digest, so that two users stay distinct.
    """
    edits = BodyEdits()
    for name, known_as in lessons.renamed.items():
        if name in chat:
            if chat[name] is not None and known_as not in chat:
                edits.replace[known_as] = chat[name]
            edits.remove.append(name)
    for path in sorted(lessons.refused):
        edits.drop(chat, path)
    for path, _ in known_unfit(chat, lessons):
        edits.drop(chat, path)
    for name, length in lessons.lengths.items():
        value = chat.get(name)
        if isinstance(value, str) and len(value) > length and name not in edits.remove:
            edits.replace[name] = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()[:length]
    if CALL_ID in lessons.lengths:
        renamed = fit_call_ids(chat.get("messages"), lessons.lengths[CALL_ID])
        if renamed is not None:
            edits.replace["messages"] = renamed
    if lessons.schema is not None:
        tools = edits.replace.get("tools", chat.get("tools"))
        fitted = fit_tools(tools, lessons.schema) if isinstance(tools, list) else None
        if fitted is not None:
            edits.replace["tools"] = fitted
    messages = edits.replace.get("messages", chat.get("messages"))
    if lessons.roles and isinstance(messages, list):
        adapted = [_in_role(message, lessons) for message in messages]
        if adapted != messages:
            edits.replace["messages"] = adapted
    return edits


def _in_role(message: Any, lessons: Lesson) -> Any:
    role = message.get("role") if isinstance(message, dict) else None
    instead = lessons.roles.get(role) if isinstance(role, str) else None
    return {**message, "role": instead} if instead is not None else message
