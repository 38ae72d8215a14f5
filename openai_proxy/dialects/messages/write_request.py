"""A Chat Completions request as a Messages request."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.dialects.messages.capabilities import DEFAULT_MAX_TOKENS, UNKNOWN, Capabilities
from openai_proxy.dialects.messages.content import blocks, call_id, thinking_blocks, tool_input
from openai_proxy.dialects.messages.tables import BUDGETS
from openai_proxy.dialects.odd_input import understood
from openai_proxy.dialects.token_numbers import token_limit
from openai_proxy.dialects.tool_schema import schema_for
from openai_proxy.errors import BadRequest

_CONSUMED: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p", "top_k", "n", "tools",
     "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "reasoning", "user",
     "safety_identifier", "service_tier", "stream", "stream_options", "functions", "function_call"}
)  # fmt: skip
_NATIVE: Final = frozenset(
    {"thinking", "output_config", "container", "mcp_servers", "context_management", "cache_control", "metadata",
     "stop_sequences", "inference_geo", "speed", "betas", "fallbacks"}
)  # fmt: skip
_HARMLESS: Final = frozenset({"store", "include_reasoning"})
"""Members that can be omitted without the caller noticing: they are not reported."""

_COMBINED: Final = frozenset({"oneOf", "anyOf", "allOf"})
"""Keywords that the API does not accept at the root of a schema."""

_MIN_BUDGET: Final = 1024  # tokens; https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


@dataclass(frozen=True, slots=True)
class Translated:
    """A Messages body, and the members of the chat request without an equivalent."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


def to_messages(
    chat: dict[str, Any], capabilities: Capabilities = UNKNOWN, refused: Collection[str] = frozenset()
) -> Translated:
    """A Messages request equivalent to `chat`. Raises BadRequest for what has no equivalent.

    `refused`: names from `capabilities.learn_refused` that this model does not support. Anthropic's own members in the
    chat request (`thinking`, `output_config`, …) are copied unchanged and win over derived ones.
    """
    return understood(lambda chat: _translated(chat, capabilities, refused), chat)


def _translated(chat: dict[str, Any], capabilities: Capabilities, refused: Collection[str]) -> Translated:
    if not isinstance(chat.get("model"), str):
        raise BadRequest("'model' must be a text.", param="model")
    if chat.get("n") not in (None, 1):
        raise BadRequest("This provider gives one choice per request.", param="n", code="unsupported_parameter")
    if chat.get("functions"):
        raise BadRequest("'functions' is deprecated; use 'tools'.", param="functions", code="unsupported_parameter")
    dropped: list[str] = []
    body: dict[str, Any] = {"model": chat["model"]}
    system, body["messages"] = _turns(chat.get("messages"))
    if system:
        body["system"] = system
    body["max_tokens"] = _max_tokens(chat, capabilities)
    _sampling(chat, body, dropped, capabilities, refused)
    _tools(chat, body, refused)
    _thinking(chat, body, dropped, capabilities, refused)
    _format(chat, body, dropped, capabilities)
    _identity(chat, body, dropped)
    if chat.get("stream"):
        body["stream"] = True
    for name, value in chat.items():
        if name in _NATIVE and value is not None and not (name == "metadata" and not _is_theirs(value)):
            body[name] = {**body[name], **value} if _both_objects(body.get(name), value) else value
        elif name not in _CONSUMED and name not in _HARMLESS and value is not None:
            dropped.append(name)
    return Translated(body, tuple(dropped))


def _both_objects(ours: Any, theirs: Any) -> bool:
    # `thinking` is one choice and is replaced as a whole; `output_config` is a set of independent settings.
    return isinstance(ours, dict) and isinstance(theirs, dict) and "type" not in ours


def _is_theirs(metadata: Any) -> bool:
    return isinstance(metadata, dict) and isinstance(metadata.get("user_id"), str) and len(metadata) == 1


def _max_tokens(chat: dict[str, Any], capabilities: Capabilities) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        value = chat.get(name)
        if value is not None:
            return token_limit(value, name)
    return capabilities.max_tokens or DEFAULT_MAX_TOKENS


def _sampling(
    chat: dict[str, Any], body: dict[str, Any], dropped: list[str], capabilities: Capabilities, refused: Collection[str]
) -> None:
    for name in ("temperature", "top_p", "top_k"):
        value = chat.get(name)
        if value is None:
            continue
        if not capabilities.samples or name in refused:
            dropped.append(name)
        else:
            body[name] = min(value, 1) if name == "temperature" and isinstance(value, (int, float)) else value
    stop = chat.get("stop")
    sequences = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    sequences = [text for text in sequences if isinstance(text, str) and text.strip()]
    if sequences:
        body["stop_sequences"] = sequences


def _identity(chat: dict[str, Any], body: dict[str, Any], dropped: list[str]) -> None:
    user = chat.get("safety_identifier") or chat.get("user")
    if isinstance(user, str) and user:
        body["metadata"] = {"user_id": user}
    if chat.get("metadata") and not _is_theirs(chat["metadata"]):
        dropped.append("metadata")
    tier = chat.get("service_tier")
    if tier is not None:
        if tier in _TIERS:
            body["service_tier"] = _TIERS[tier]
        else:
            dropped.append("service_tier")


def _tools(chat: dict[str, Any], body: dict[str, Any], refused: Collection[str]) -> None:
    tools = chat.get("tools")
    if not tools:
        return
    if not isinstance(tools, list):
        raise BadRequest("'tools' must be a list.", param="tools")
    body["tools"] = [_tool(tool, f"tools[{index}]", refused) for index, tool in enumerate(tools)]
    choice = chat.get("tool_choice")
    made: dict[str, Any] | None = None
    if choice in ("auto", "none"):
        made = {"type": choice}
    elif choice == "required":
        made = {"type": "any"}
    elif isinstance(choice, dict):
        function = choice.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            made = {"type": "tool", "name": function["name"]}
        elif choice.get("type") in ("auto", "any", "none", "tool"):
            made = dict(choice)
    if choice is not None and made is None:
        raise BadRequest("This 'tool_choice' is not understood.", param="tool_choice")
    if chat.get("parallel_tool_calls") is False and (made is None or made["type"] != "none"):
        made = {**(made or {"type": "auto"}), "disable_parallel_tool_use": True}
    if made is not None:
        body["tool_choice"] = made


def _tool(tool: Any, param: str, refused: Collection[str]) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise BadRequest("A tool must be an object.", param=param)
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        if isinstance(tool.get("name"), str):
            return tool  # one of Anthropic's: web_search_20250305 and the like, or a Messages definition
        raise BadRequest("This provider accepts function tools only.", param=param, code="unsupported_parameter")
    made: dict[str, Any] = {"name": function.get("name")}
    if function.get("description"):
        made["description"] = function["description"]
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    if isinstance(schema, dict) and not _COMBINED.isdisjoint(schema):
        schema, note = schema_for(schema, "anthropic")
        made["description"] = f"{made.get('description', '')}\n{note}".strip() if note else made.get("description", "")
    made["input_schema"] = schema if not isinstance(schema, dict) or "type" in schema else {"type": "object", **schema}
    if function.get("strict") and "strict" not in refused:
        made["strict"] = True
    control = tool.get("cache_control") or function.get("cache_control")
    if control:
        made["cache_control"] = control
    return made


def _thinking(
    chat: dict[str, Any], body: dict[str, Any], dropped: list[str], capabilities: Capabilities, refused: Collection[str]
) -> None:
    effort = chat.get("reasoning_effort")
    reasoning = chat.get("reasoning")  # OpenRouter's object: {"effort"} or {"max_tokens"}
    if effort is None and isinstance(reasoning, dict):
        effort = reasoning.get("effort")
        budget = reasoning.get("max_tokens")
        if effort is None and isinstance(budget, int):
            body["thinking"] = {"type": "enabled", "budget_tokens": max(budget, _MIN_BUDGET)}
            return
    if effort is None or chat.get("thinking") is not None:
        return
    if not isinstance(effort, str):
        raise BadRequest("'reasoning_effort' must be a text.", param="reasoning_effort")
    if effort == "none":
        if capabilities.disabled is not False and "disabled" not in refused:
            body["thinking"] = {"type": "disabled"}
        else:
            dropped.append("reasoning_effort")
        return
    if capabilities.adaptive is not False and "adaptive" not in refused:
        body["thinking"] = {"type": "adaptive"}
        if "display" not in refused:
            body["thinking"]["display"] = "summarized"
        if "effort" not in refused and capabilities.efforts != frozenset():
            body["output_config"] = {"effort": capabilities.effort(effort)}
    elif capabilities.enabled is True or (capabilities.adaptive is None and "adaptive" in refused):
        budget = min(BUDGETS.get(effort, BUDGETS["medium"]), body["max_tokens"] // 2)
        if budget < _MIN_BUDGET:  # the caller's limit leaves no room to think and answer
            dropped.append("reasoning_effort")
            return
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        dropped.append("reasoning_effort")
        return
    # Thinking allows no temperature but 1, no top_k, and no forced tool.
    for name in ("temperature", "top_k"):
        if name in body:
            del body[name]
            dropped.append(name)
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        del body["thinking"]
        body.pop("output_config", None)
        dropped.append("reasoning_effort")


def _format(chat: dict[str, Any], body: dict[str, Any], dropped: list[str], capabilities: Capabilities) -> None:
    wanted = chat.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return
    schema = wanted.get("json_schema")
    schema = schema.get("schema") if isinstance(schema, dict) else None
    if wanted["type"] != "json_schema" or not isinstance(schema, dict):
        dropped.append("response_format")
        return
    if capabilities.structured_outputs is False:
        raise BadRequest(
            "This model does not support JSON schemas.", param="response_format", code="unsupported_parameter"
        )
    body["output_config"] = {**body.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}


def _turns(messages: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system blocks, alternating turns). Adjacent messages of one role form one turn, which tool results begin."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list with at least one message.", param="messages")
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []

    def put(role: str, made: list[dict[str, Any]]) -> None:
        if made and turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(made)
        elif made:
            turns.append({"role": role, "content": made})

    for index, message in enumerate(messages):
        param = f"messages[{index}]"
        if not isinstance(message, dict):
            raise BadRequest("A message must be an object.", param=param)
        role = message.get("role")
        if role in ("system", "developer"):
            made = blocks(message.get("content"), f"{param}.content")
            if turns:
                # Kept in place: moving it to the front would change its meaning, and the cached prefix.
                put("user", [_tagged(block) for block in made])
            else:
                system += made
        elif role == "user":
            put("user", blocks(message.get("content"), f"{param}.content"))
        elif role == "assistant":
            put("assistant", _assistant(message, param))
        elif role in ("tool", "function"):
            put("user", [_result(message, param)])
        else:
            raise BadRequest("This role is not known.", param=f"{param}.role")
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")  # stable: results first
    if not turns:
        raise BadRequest("At least one message must not be a system message.", param="messages")
    return system, turns


def _tagged(block: dict[str, Any]) -> dict[str, Any]:
    return {**block, "text": f"<system>\n{block['text']}\n</system>"} if block["type"] == "text" else block


def _assistant(message: dict[str, Any], param: str) -> list[dict[str, Any]]:
    made = thinking_blocks(message)
    made += blocks(message.get("content"), f"{param}.content")
    if not message.get("content") and isinstance(message.get("refusal"), str):
        made += blocks(message["refusal"], f"{param}.refusal")
    for index, call in enumerate(message.get("tool_calls") or ()):
        where = f"{param}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise BadRequest("This provider accepts calls of function tools only.", param=where)
        block = {
            "type": "tool_use",
            "id": call_id(call.get("id")),
            "name": function.get("name"),
            "input": tool_input(function.get("arguments"), f"{where}.function.arguments"),
        }
        if call.get("cache_control"):
            block["cache_control"] = call["cache_control"]
        made.append(block)
    return made


def _result(message: dict[str, Any], param: str) -> dict[str, Any]:
    content = message.get("content")
    made: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": call_id(message.get("tool_call_id") or message.get("name")),
    }
    if isinstance(content, str):
        made["content"] = content
    elif content is not None:
        made["content"] = blocks(content, f"{param}.content")
    if message.get("is_error") is True:
        made["is_error"] = True
    if message.get("cache_control"):
        made["cache_control"] = message["cache_control"]
    return made
