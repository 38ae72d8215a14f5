"""What a refusal teaches: request members that a model does not know, or knows under another name.

Refused parameters are learnt, never refused values: `temperature: 9` keeps its 400. Nothing is ever omitted whose
absence would change the meaning of an answer. The patterns match providers' real messages, with sources in the
tests.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Lesson
from openai_proxy.dialects.call_ids import CALL_ID, fit_call_ids
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.derived import derived
from openai_proxy.dialects.edits import BodyEdits
from openai_proxy.dialects.responses.needed import needs_responses
from openai_proxy.dialects.tool_schema import fit_tools

_STATUSES: Final = frozenset({400, 404, 422})
_MAX_MESSAGE: Final = 8192

_MEANING: Final = frozenset(
    {"model", "messages", "input", "prompt", "tools", "tool_choice", "functions", "function_call", "response_format",
     "stream", "n", "stop", "logprobs", "top_logprobs", "logit_bias", "modalities", "audio", "prediction",
     "previous_response_id", "instructions", "max_output_tokens", "options", "contents", "system", "format", "text"}
)  # fmt: skip
"""Members that are never omitted; those below them may be."""

_OTHER_NAME: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_IDENTIFIERS: Final = frozenset({"user", "safety_identifier", "prompt_cache_key"})

_REFUSED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"Unsupported parameter:? '([\w.\[\]]{1,200})'",
        r"Unknown parameter:? '([\w.\[\]]{1,200})'",
        r"Unrecognized request arguments? supplied: ([\w., \[\]]{1,400})",
        r"property '([\w.\[\]]{1,200})' is unsupported",
        r"(?m)^([\w.\[\]]{1,200}): Extra inputs are not permitted",
        r"unknown field: parameter '([\w.\[\]]{1,200})'",
        r"Argument not supported on this model: (\w{1,100})",
        r"does not support parameter '?(\w{1,100})",
        r"unexpected keyword argument '(\w{1,100})'",
        r"`(\w{1,100})` is (?:deprecated|not supported|no longer supported)",
        r"'(\w{1,100})' is not supported (?:with|by|for|on) this model",
        r"Unsupported value: '(\w{1,100})' does not support .{1,100}Only the default",
    )
)
_UNKNOWN_NAME: Final = re.compile(r"Unknown name \"([^\"]{1,200})\"(?: at '([^']{1,300})')?")
_INSTEAD: Final = re.compile(r"Use '(\w{1,100})' instead")
_TOO_LONG: Final = re.compile(r"'(\w{1,100})': string too long. Expected a string with maximum length (\d{1,6})")
_ID_UNFIT: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"\.(?:tool_calls\[\d{1,4}\]\.id|tool_call_id)': string too long\. Expected a string with maximum length"
        r" (\d{1,3})",
        r"Tool call id was .{0,300} but must be a-z, A-Z, 0-9, with a length of (\d{1,3})",  # Mistral
    )
)
_INDEX: Final = re.compile(r"\[\d{1,6}\]|\.\d{1,6}(?=\.|$)")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_ROLE_REFUSED: Final = re.compile(
    r"does not support '(developer|system)'|unknown variant `(developer|system)`"
    r"|[Uu]nexpected role:? '?(developer|system)|([Ss]ystem) role (?:is )?not supported"
    r"|([Dd]eveloper) instruction is not enabled"
)
_GEMINI_SCHEMA: Final = re.compile(r"function_?[dD]eclarations?\[|GenerateContentRequest\.tools")
_CODES: Final = frozenset({"unsupported_parameter", "unknown_parameter"})


def lesson_from(status: int, body: bytes, request: Mapping[str, Any]) -> Lesson | None:
    """What the error answer `body` to `request`, a provider's document, teaches; None if it is for the caller to
    handle.

    Only members of `request` are learnt, so that the next attempt will differ.
    """
    if status not in _STATUSES:
        return None
    try:
        document = json_text.loads(body)
    except ValueError:
        return None
    error = error_of(document, status)
    if error is None:
        return None
    message = error["message"][:_MAX_MESSAGE]
    if "messages" in request and (lesson := needs_responses(error)) is not None:
        return lesson
    if status == 404:
        return None
    refused: set[str] = set()
    renamed: dict[str, str] = {}
    for path in {*_named(message, error), *_not_permitted(document)}:
        _learn(path, message, request, refused, renamed)
    lengths = {
        name: int(limit)
        for name, limit in _TOO_LONG.findall(message)
        if name in _IDENTIFIERS and isinstance(request.get(name), str) and 0 < int(limit) < len(request[name])
    }
    limits = [int(found[1]) for pattern in _ID_UNFIT if (found := pattern.search(message)) is not None]
    if limits and fit_call_ids(request.get("messages"), limits[0]) is not None:
        lengths[CALL_ID] = limits[0]
    schema = "gemini" if _GEMINI_SCHEMA.search(message) and _would_change(request.get("tools")) else None
    lesson = Lesson(frozenset(refused), renamed, lengths=lengths, roles=_roles(message, request), schema=schema)
    if lesson == Lesson():
        lesson = Lesson(unfit=frozenset(value for path, value in derived(request) if _names(body, path)))
    return lesson if lesson != Lesson() else None


def _names(body: bytes, path: str) -> bool:
    """True if an error's `body` names the member at `path`, in the words of either OpenAI API."""
    return path.encode() in body or path.replace(".", "_").encode() in body


def _named(message: str, error: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the members that `message` calls unknown or unsupported."""
    for name, where in _UNKNOWN_NAME.findall(message):
        yield f"{where}.{name}" if where else name
    for pattern in _REFUSED:
        for found in pattern.findall(message):
            yield from re.split(r",\s*", found)
    if error.get("code") in _CODES and error.get("param"):
        yield str(error["param"])


def _not_permitted(document: Any) -> Iterator[str]:
    """Paths in a pydantic validation error, as FastAPI and Mistral send it."""
    inner = document.get("message", document) if isinstance(document, dict) else None
    details = inner.get("detail") if isinstance(inner, dict) else None
    for entry in details if isinstance(details, list) else ():
        if isinstance(entry, dict) and entry.get("type") == "extra_forbidden" and isinstance(entry.get("loc"), list):
            yield ".".join(str(step) for step in entry["loc"] if step != "body")


def _learn(named: str, message: str, request: Mapping[str, Any], refused: set[str], renamed: dict[str, str]) -> None:
    path = _INDEX.sub("[]", named.strip())
    if path not in request and (snake := _CAMEL.sub(r"_\1", path).lower()) in request:
        path = snake  # xAI uses its internal names of members
    instead = _INSTEAD.search(message)
    if path in _OTHER_NAME and path in request:
        renamed[path] = instead[1] if instead is not None else _OTHER_NAME[path]
        return
    if path in _MEANING:
        return
    edits = BodyEdits()
    edits.drop(dict(request), path)
    if edits:
        refused.add(path)


def _roles(message: str, request: Mapping[str, Any]) -> dict[str, str]:
    """The role to use instead of a refused one."""
    found = _ROLE_REFUSED.search(message)
    messages = request.get("messages")
    if found is None or not isinstance(messages, list):
        return {}
    role = next(group for group in found.groups() if group).lower()
    used_roles = {message.get("role") for message in messages if isinstance(message, dict)}
    if role == "developer" and "instruction" not in found[0]:
        return {"developer": "system"} if "developer" in used_roles else {}
    # Gemma: Google calls every system message a developer instruction.
    return {"system": "user", "developer": "user"} if used_roles & {"developer", "system"} else {}


def _would_change(tools: Any) -> bool:
    return isinstance(tools, list) and fit_tools(tools, "gemini") is not None
