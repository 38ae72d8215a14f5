"""A chat request as a Responses request.

https://platform.openai.com/docs/guides/migrate-to-responses
"""

from typing import Any, Final

from openai_proxy.dialects.base import Lessons, OutgoingRequest
from openai_proxy.dialects.odd_input import understood
from openai_proxy.dialects.responses.input_items import input_items
from openai_proxy.dialects.token_numbers import token_limit
from openai_proxy.errors import BadRequest

MIN_OUTPUT_TOKENS: Final = 16
"""Smaller limits are refused."""

_ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"
_READ: Final = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "reasoning_effort", "reasoning", "response_format",
     "verbosity", "tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "stream_options",
     "store", "include", "text", "n", "modalities", "audio", "include_reasoning"}
)  # fmt: skip
_WITHOUT_EQUAL: Final = frozenset(
    {"stop", "seed", "logit_bias", "presence_penalty", "frequency_penalty", "prediction", "web_search_options"}
)


def write_request(chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
    """A Responses request equivalent to `chat`. Raises BadRequest for what has no equivalent."""
    return understood(lambda chat: _written(chat, lessons), chat)


def _written(chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
    if not isinstance(chat.get("model"), str):
        raise BadRequest("'model' must be a text.", param="model")
    if chat.get("n") not in (None, 1):
        raise BadRequest("This provider gives one choice per request.", param="n", code="unsupported_parameter")
    if chat.get("audio") is not None or "audio" in (chat.get("modalities") or ()):
        raise BadRequest("This provider does not answer in audio.", param="modalities", code="unsupported_parameter")
    # Members in neither list are passed on for the caller: `truncation`, `context_management`, newer ones.
    body = {name: value for name, value in chat.items()
            if name not in _READ and name not in _WITHOUT_EQUAL and value is not None}  # fmt: skip
    body["input"] = input_items(chat.get("messages"))
    body["store"] = bool(chat.get("store"))
    _limits(chat, body, lessons.max_output_tokens)
    _reasoning(chat, body)
    _text(chat, body)
    _tools(chat, body)
    include = [name for name in chat.get("include") or () if isinstance(name, str)]
    if chat.get("logprobs"):
        include.append(_LOGPROBS)
        if chat.get("top_logprobs") is not None:
            body["top_logprobs"] = chat["top_logprobs"]
    if "include" not in lessons.refused:
        include.append(_ENCRYPTED)
    if include:
        body["include"] = list(dict.fromkeys(include))
    options = chat.get("stream_options")
    options = options if isinstance(options, dict) else {}
    if "include_obfuscation" in options:
        body["stream_options"] = {"include_obfuscation": options["include_obfuscation"]}
    dropped = [name for name in _WITHOUT_EQUAL if chat.get(name) is not None and not _asks_nothing(name, chat[name])]
    return OutgoingRequest("/responses", body, tuple(sorted(dropped)))


def _asks_nothing(name: str, value: Any) -> bool:
    return value in ([], {}) or (name.endswith("_penalty") and value == 0)


def _limits(chat: dict[str, Any], body: dict[str, Any], most: int | None) -> None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = chat.get(name)
        if value is None:
            continue
        value = token_limit(value, name)
        body["max_output_tokens"] = max(value if most is None else min(value, most), MIN_OUTPUT_TOKENS)
        return


def _reasoning(chat: dict[str, Any], body: dict[str, Any]) -> None:
    given = chat.get("reasoning")  # OpenRouter's object, and this API's own: {"effort", "summary"}
    reasoning: dict[str, Any] = {}
    if isinstance(given, dict):
        reasoning = {n: given[n] for n in ("effort", "summary", "context", "mode") if given.get(n) is not None}
    if chat.get("reasoning_effort") is not None:
        reasoning["effort"] = chat["reasoning_effort"]
    if reasoning:
        body["reasoning"] = reasoning


def _text(chat: dict[str, Any], body: dict[str, Any]) -> None:
    text: dict[str, Any] = dict(chat["text"]) if isinstance(chat.get("text"), dict) else {}
    if chat.get("verbosity") is not None:
        text["verbosity"] = chat["verbosity"]
    form = chat.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = form["json_schema"]
        text["format"] = {"type": "json_schema", "strict": False, "name": "answer", **schema}
    elif isinstance(form, dict) and form.get("type") is not None:
        text["format"] = {"type": form["type"]}
    if text:
        body["text"] = text


def _tools(chat: dict[str, Any], body: dict[str, Any]) -> None:
    tools = chat.get("tools") or [{"type": "function", "function": f} for f in chat.get("functions") or ()]
    if not tools:
        return
    if not isinstance(tools, list):
        raise BadRequest("'tools' must be a list.", param="tools")
    body["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = chat.get("tool_choice")
    if choice is None and isinstance(chat.get("function_call"), dict):
        choice = {"type": "function", "function": chat["function_call"]}
    elif choice is None:
        choice = chat.get("function_call")
    if choice is not None:
        body["tool_choice"] = _choice(choice)


def _choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type", "function")
    if kind in ("function", "custom") and isinstance(choice.get(kind), dict):
        return {"type": kind, "name": choice[kind].get("name")}
    if kind == "allowed_tools" and isinstance(choice.get("allowed_tools"), dict):
        allowed = choice["allowed_tools"]
        return {"type": kind, "mode": allowed.get("mode"), "tools": [_choice(tool) for tool in allowed["tools"]]}
    return choice


def _tool(tool: Any, param: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise BadRequest("A tool must be an object.", param=param)
    kind = tool.get("type", "function")
    inner = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inner, dict):
        return tool  # one of this API's own: `web_search` and the like
    if kind == "custom":
        form = inner.get("format")
        made = {"type": kind, **inner}
        if isinstance(form, dict) and isinstance(form.get("grammar"), dict):
            made["format"] = {"type": "grammar", **form["grammar"]}
        return made
    # Here a missing `strict` means strict, which makes every optional argument required.
    return {
        "type": kind,
        "name": inner.get("name"),
        "description": inner.get("description"),
        "parameters": inner.get("parameters") or {"type": "object", "properties": {}},
        "strict": bool(inner.get("strict")),
    }
