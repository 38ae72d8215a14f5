"""What a record keeps of a request: its messages, in one shape for every API, without what would only fill the disk."""

from typing import Any, Final

from openai_proxy.endpoints import Endpoint
from openai_proxy.steps import find, join, pieces

MIN_BLOB: Final = 4096  # bytes of base64 from which a data: URL is replaced by its size
_MARKER: Final = b";base64,"
_PARAMS: Final = frozenset(
    {"frequency_penalty", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "min_p", "n",
     "parallel_tool_calls", "presence_penalty", "reasoning_effort", "repetition_penalty", "seed", "service_tier",
     "stop", "temperature", "think", "tool_choice", "top_k", "top_logprobs", "top_p", "verbosity"}
)  # fmt: skip
_PLAIN: Final = frozenset({bool, float, int, str})
_MAX_PARAM: Final = 200  # characters of one


def without_blobs(body: bytes) -> bytes:
    """`body` with the data of long data: URLs replaced by a note.

    Done on bytes, before parsing, so that a 20 MB picture need not become a 20 MB string: base64 has neither quotes nor
    backslashes, so it ends at the next quote.
    """
    if len(body) < MIN_BLOB:
        return body
    out: list[bytes] = []
    position = 0
    while True:
        start = find(body, _MARKER, position)
        if start < 0:
            break
        start += len(_MARKER)
        end = find(body, b'"', start)
        if end < 0:
            break
        if end - start >= MIN_BLOB and find(body, b"\\", start, end) < 0:
            out += pieces(body, position, start)
            out.append(b"[%d bytes left out]" % (end - start))
        else:
            out += pieces(body, position, end)
        position = end
    if not out:
        return body
    out += pieces(body, position)
    return b"".join(out)


def messages_of(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    """The messages of a chat-shaped request, in the form of /chat/completions."""
    path = endpoint.path
    if endpoint.dialect == "gemini":
        return _gemini_messages(body)
    if path == "/api/generate":
        system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        return [*system, {"role": "user", "content": str(body.get("prompt") or "")}]
    if path == "/completions":
        prompt = body.get("prompt")
        return [{"role": "user", "content": prompt if isinstance(prompt, str) else str(prompt)}]
    if path == "/responses":
        items = body.get("input")
        turns = items if isinstance(items, list) else [{"role": "user", "content": items}]
        instructions = body.get("instructions")
        return [{"role": "system", "content": instructions}, *turns] if instructions else turns
    messages = body.get("messages")
    if path == "/messages" and body.get("system") and isinstance(messages, list):
        return [{"role": "system", "content": body["system"]}, *messages]
    return messages if isinstance(messages, list) else []


def _gemini_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    contents = body.get("contents")
    contents = contents if isinstance(contents, list) else [contents]
    system = body.get("systemInstruction") or body.get("system_instruction")
    turns = [("system", system)] if system else []
    for content in contents:
        role = content.get("role") if isinstance(content, dict) else None
        turns.append(("assistant" if role == "model" else "user", content))
    return [{"role": role, "content": _parts(content)} for role, content in turns]


def _parts(content: Any) -> Any:
    """The text of a Gemini content; its parts if they have anything else."""
    parts = content.get("parts") if isinstance(content, dict) else content
    if isinstance(parts, list) and all(isinstance(part, dict) and "text" in part for part in parts):
        return join(str(part["text"]) for part in parts)
    return parts


def params_of(body: dict[str, Any]) -> dict[str, Any]:
    """A request's parameters for its answer, if they are numbers, flags or words."""
    found: dict[str, Any] = {}
    for name in body:
        if name in _PARAMS:
            value = body[name]
            if type(value) in _PLAIN and (type(value) is not str or len(value) <= _MAX_PARAM):
                found[name] = value
    return found


def tool_names(body: dict[str, Any]) -> list[str]:
    """The names of a request's tools; their definitions would only be repeated in every line."""
    names: list[str] = []
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            declared = tool.get("functionDeclarations")
            if isinstance(declared, list):
                names += [str(one.get("name")) for one in declared if isinstance(one, dict)]
                continue
            function = tool.get("function")
            name = function.get("name") if isinstance(function, dict) else tool.get("name") or tool.get("type")
            names.append(str(name))
    return names
