"""Gemini's generateContent, streamGenerateContent and countTokens as chat requests.

https://ai.google.dev/api/generate-content
"""

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.derived import Derived
from openai_proxy.dialects.estimate import estimate_tokens
from openai_proxy.dialects.gemini.contents import messages_of, text_of
from openai_proxy.dialects.gemini.fields import an_object, camel, member, objects
from openai_proxy.dialects.gemini.schemas import to_json_schema
from openai_proxy.dialects.messages.tables import effort_of
from openai_proxy.dialects.response_format import json_schema
from openai_proxy.dialects.tool_names import ToolNames
from openai_proxy.errors import BadRequest

_REQUEST: Final = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "model"})
_CONFIG: Final = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "seed": "seed",
    "logprobs": "top_logprobs",
    "responseLogprobs": "logprobs",
}
_WHOLE: Final = frozenset({"topK", "maxOutputTokens", "seed", "candidateCount"})
_HANDLED: Final = frozenset(
    {*_CONFIG, "candidateCount", "responseMimeType", "responseSchema", "responseJsonSchema", "thinkingConfig",
     "responseModalities"}
)  # fmt: skip
_LEVELS: Final = frozenset({"minimal", "low", "medium", "high"})


@dataclass(frozen=True, slots=True)
class GeminiDetails:
    """What the answer's writer needs to know of the request."""

    sse: bool  # a stream of events rather than one array
    thoughts: bool  # whether reasoning is shown
    names: ToolNames = field(default_factory=ToolNames)


def read_generate(model: str, document: dict[str, Any], *, stream: bool, sse: bool) -> IncomingRequest:
    """A request for an answer by `model`. Raises BadRequest."""
    names = ToolNames()
    dropped = [name for name in map(camel, document) if name not in _REQUEST]
    chat: dict[str, Any] = {"model": model, "messages": messages_of(document.get("contents"), names)}
    system = text_of(member(document, "systemInstruction"), "systemInstruction")
    if system:
        chat["messages"].insert(0, {"role": "system", "content": system})
    if member(document, "cachedContent"):
        raise BadRequest(
            "Cached content is not available for this model.", param="cachedContent", code="unsupported_parameter"
        )
    _tools(document, chat, names, dropped)
    thoughts = _config(an_object(member(document, "generationConfig"), "generationConfig"), chat, dropped)
    if stream:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    return IncomingRequest(chat, dropped=tuple(dropped), details=GeminiDetails(sse, thoughts, names))


def read_count(model: str, document: dict[str, Any]) -> IncomingRequest:
    """A token-counting request: answered with an estimate, since most providers cannot count."""
    inner = member(document, "generateContentRequest")
    request = read_generate(model, an_object(inner, "generateContentRequest") or document, stream=False, sse=False)
    total = estimate_tokens(request.chat)
    answer = {"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]}
    return IncomingRequest(request.chat, details=request.details, answer=orjson.dumps(answer))


def _tools(document: dict[str, Any], chat: dict[str, Any], names: ToolNames, dropped: list[str]) -> None:
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(objects(document.get("tools"), "tools")):
        where = f"tools[{index}].functionDeclarations"
        dropped += [f"tools.{name}" for name in map(camel, tool) if name != "functionDeclarations"]
        for at, declaration in enumerate(objects(member(tool, "functionDeclarations"), where)):
            tools.append(_tool(declaration, f"{where}[{at}]", names))
    if not tools:
        return
    chat["tools"] = tools
    settings = an_object(member(document, "toolConfig"), "toolConfig")
    calling = an_object(member(settings, "functionCallingConfig"), "toolConfig.functionCallingConfig")
    mode = str(calling.get("mode") or "AUTO").upper()
    allowed = member(calling, "allowedFunctionNames") or []
    if not isinstance(allowed, list):
        raise BadRequest("'allowedFunctionNames' must be a list.", param="toolConfig.functionCallingConfig")
    if mode == "NONE":
        chat["tool_choice"] = "none"
    elif mode == "ANY":
        chat["tool_choice"] = "required"
    elif mode not in ("AUTO", "VALIDATED", "MODE_UNSPECIFIED"):
        raise BadRequest("This mode is not known.", param="toolConfig.functionCallingConfig.mode")
    if allowed and mode in ("ANY", "VALIDATED"):
        wanted = {names.fit(str(name)) for name in allowed}
        chat["tools"] = [tool for tool in tools if tool["function"]["name"] in wanted]
        if len(wanted) == 1 and mode == "ANY":
            chat["tool_choice"] = {"type": "function", "function": {"name": wanted.pop()}}


def _tool(declaration: dict[str, Any], where: str, names: ToolNames) -> dict[str, Any]:
    name = declaration.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest("A function needs a name.", param=f"{where}.name")
    function: dict[str, Any] = {"name": names.fit(name)}
    if declaration.get("description"):
        function["description"] = declaration["description"]
    schema = member(declaration, "parametersJsonSchema")
    if schema is None:
        schema = to_json_schema(declaration.get("parameters"))
    function["parameters"] = schema or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _config(config: dict[str, Any], chat: dict[str, Any], dropped: list[str]) -> bool:
    """Put the settings into `chat`; returns whether reasoning is shown."""
    for name, chat_name in _CONFIG.items():
        value = member(config, name)
        if value is not None:
            chat[chat_name] = _whole(name, value) if name in _WHOLE else value
    if chat.get("top_logprobs") is not None and not chat.get("logprobs"):
        del chat["top_logprobs"]
    count = member(config, "candidateCount")
    if count is not None and _whole("candidateCount", count) != 1:
        chat["n"] = int(count)
    modalities = member(config, "responseModalities") or ["TEXT"]
    if "TEXT" not in [str(modality).upper() for modality in modalities]:
        raise BadRequest(
            "This model answers in text only.",
            param="generationConfig.responseModalities",
            code="unsupported_parameter",
        )
    _format(config, chat)
    dropped += [f"generationConfig.{name}" for name in map(camel, config) if name not in _HANDLED]
    if len(modalities) > 1:
        dropped.append("generationConfig.responseModalities")
    return _thinking(an_object(member(config, "thinkingConfig"), "generationConfig.thinkingConfig"), chat)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise BadRequest(f"'{name}' must be a whole number.", param=f"generationConfig.{name}")
    return int(value)


def _format(config: dict[str, Any], chat: dict[str, Any]) -> None:
    kind = member(config, "responseMimeType")
    if kind in (None, "", "text/plain"):
        return
    if kind != "application/json":
        raise BadRequest(
            "This model answers in text or JSON.", param="generationConfig.responseMimeType",
            code="unsupported_parameter",
        )  # fmt: skip
    schema = member(config, "responseJsonSchema")
    if schema is None and member(config, "responseSchema") is not None:
        schema = to_json_schema(member(config, "responseSchema"))
    if schema is None:
        chat["response_format"] = {"type": "json_object"}
    else:
        chat["response_format"] = json_schema(an_object(schema, "generationConfig.responseJsonSchema"))


def _thinking(thinking: dict[str, Any], chat: dict[str, Any]) -> bool:
    level, budget = member(thinking, "thinkingLevel"), member(thinking, "thinkingBudget")
    if isinstance(level, str) and level.lower() in _LEVELS:
        chat["reasoning_effort"] = Derived(level.lower())
    elif isinstance(budget, int | float) and not isinstance(budget, bool) and budget >= 0:
        chat["reasoning_effort"] = Derived(effort_of(int(budget)) if budget else "none")
    return member(thinking, "includeThoughts") is True
