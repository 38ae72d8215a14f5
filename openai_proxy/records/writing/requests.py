"""What a record keeps of a request: its messages, in one shape for every API, without what only fills the disk."""

from typing import Any, Final

from openai_proxy.endpoints import Endpoint

MIN_BLOB: Final = 4096  # bytes of base64 from which on a data: URL is replaced by its size
MAX_STRING: Final = 256 * 1024  # characters of one string of a message
_MARKER: Final = b";base64,"
_PARAMS: Final = frozenset(
    {"frequency_penalty", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "min_p", "n",
     "parallel_tool_calls", "presence_penalty", "reasoning_effort", "repetition_penalty", "seed", "service_tier",
     "stop", "temperature", "think", "tool_choice", "top_k", "top_logprobs", "top_p", "verbosity"}
)  # fmt: skip
_PLAIN: Final = frozenset({bool, float, int, str})
_MAX_PARAM: Final = 200  # characters of one
_STEP: Final = 1 << 20


def without_blobs(body: bytes) -> bytes:
    """`body` with the data of long data: URLs replaced by a note.

    Done on bytes, before parsing, because a picture of 20 MB need not become a string of 20 MB: base64 holds
    neither quote nor backslash, so it ends at the next quote.
    """
    if len(body) < MIN_BLOB:
        return body
    out: list[bytes] = []
    position = 0
    while True:
        start = _find(body, position)
        if start < 0:
            break
        start += len(_MARKER)
        end = body.find(b'"', start)
        if end < 0:
            break
        if end - start >= MIN_BLOB and body.find(b"\\", start, end) < 0:
            out.append(body[position:start])
            out.append(b"[%d bytes left out]" % (end - start))
        else:
            out.append(body[position:end])
        position = end
    if not out:
        return body
    out.append(body[position:])
    return b"".join(out)


def _find(body: bytes, position: int) -> int:
    """Where the next marker begins; in steps, between which others get the interpreter lock."""
    for at in range(position, len(body), _STEP):
        if (start := body.find(_MARKER, at, at + _STEP + len(_MARKER) - 1)) >= 0:
            return start
    return -1


def bounded(value: Any, depth: int = 0) -> Any:
    """`value` with strings past MAX_STRING cut; for bodies so large that one may be there."""
    if isinstance(value, str):
        return value if len(value) <= MAX_STRING else f"{value[:1000]}… [{len(value) - 1000} characters left out]"
    if depth > 20:
        return value
    if isinstance(value, list):
        return [bounded(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: bounded(item, depth + 1) for key, item in value.items()}
    return value


def messages_of(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    """The messages of a chat-shaped request, as it would have sent them to /chat/completions."""
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
    """The text of a content of Gemini's; its parts where they hold anything else."""
    parts = content.get("parts") if isinstance(content, dict) else content
    if isinstance(parts, list) and all(isinstance(part, dict) and "text" in part for part in parts):
        return "".join(str(part["text"]) for part in parts)
    return parts


def params_of(body: dict[str, Any]) -> dict[str, Any]:
    """What a request says of how its answer is to be made, as far as it is a number, a flag or a word."""
    return {
        name: value
        for name, value in body.items()
        if name in _PARAMS and type(value) in _PLAIN and (type(value) is not str or len(value) <= _MAX_PARAM)
    }


def tool_names(body: dict[str, Any]) -> list[str]:
    """The names of the tools a request offers; their definitions would only be repeated in every line."""
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
