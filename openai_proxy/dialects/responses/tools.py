"""A Responses client's tools as function tools, which every provider supports.

`namespace` tools become one function each, `custom` tools a function with one text, a `tool_search` run by the client a
function of that name. `Tools.declared` maps each function to its declaration, so that calls can be returned in that
form. Tools that OpenAI's own servers run are left out and reported.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.errors import BadRequest

CUSTOM_INPUT: Final = "input"
"""The single parameter of a function that represents a custom tool."""

_MAX_NAME: Final = 64  # characters of a function's name that every provider accepts
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]")
_FIT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LABEL: Final = re.compile(r"[A-Za-z0-9_.-]{1,48}")
_MAPS_OF_SCHEMAS: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
_SEARCH_PARAMETERS: Final = {
    "type": "object",
    "properties": {"query": {"type": "string", "description": "What the tool should be able to do."}},
    "required": ["query"],
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What a function represents: a `function`, `custom` or `tool_search` tool, with its own name and namespace."""

    kind: str
    name: str
    namespace: str | None = None


class Tools:
    """The tools of one request, from all its parts."""

    def __init__(self) -> None:
        self.declared: dict[str, Declared] = {}  # the function's name -> its declaration
        self.dropped: list[str] = []
        self._functions: dict[str, dict[str, Any]] = {}

    def functions(self) -> list[dict[str, Any]]:
        """All tools as entries of a chat request's `tools`, in the order of declaration."""
        return [{"type": "function", "function": function} for function in self._functions.values()]

    def add(self, tools: Any, param: str, *, found: bool = False) -> None:
        """Add a list of declarations. `found`: the client's search has found them, so `defer_loading` no longer
        applies.

        Raises BadRequest.
        """
        if tools is None:
            return
        if not isinstance(tools, list):
            raise BadRequest(f"'{param}' must be a list.", param=param)
        searched = not found and any(_is_client_search(tool) for tool in tools)
        for index, tool in enumerate(tools):
            where = f"{param}[{index}]"
            if not isinstance(tool, dict):
                raise BadRequest("A tool must be an object.", param=where)
            if searched and tool.get("defer_loading"):
                continue  # offered once the client's own search has found it
            if tool.get("type") == "namespace":
                self._namespace(tool, where)
            else:
                self._tool(tool, None, where)

    def function_name(self, name: Any, namespace: Any = None) -> str:
        """The name of the function that represents the tool `name`."""
        if not isinstance(name, str) or not name:
            return ""
        return _flat(name, namespace if isinstance(namespace, str) and namespace else None)

    def choose(self, choice: Any, chat: dict[str, Any]) -> None:
        """Set `tools` and `tool_choice` of the chat request for a `tool_choice`. Raises BadRequest."""
        tools = self.functions()
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            allowed = {self._chosen(entry) for entry in choice.get("tools") or ()}
            tools = [tool for tool in tools if tool["function"]["name"] in allowed]
            choice = choice.get("mode") or "auto"
        if tools:
            chat["tools"] = tools
        if choice is None:
            return
        if choice == "required" and not tools:
            raise BadRequest("'tool_choice' is 'required', but there is no tool that this model can call.",
                             param="tool_choice")  # fmt: skip
        if choice in ("none", "auto", "required"):
            if tools or choice == "none":
                chat["tool_choice"] = choice
            return
        name = self._chosen(choice)
        if name is None:
            kind = choice.get("type") if isinstance(choice, dict) else choice
            raise BadRequest(
                f"'tool_choice' requires {str(kind)[:64]!r}, which is not available for this model.",
                param="tool_choice", code="unsupported_parameter",
            )  # fmt: skip
        chat["tool_choice"] = {"type": "function", "function": {"name": name}}

    def _chosen(self, choice: Any) -> str | None:
        if not isinstance(choice, dict):
            return None
        if choice.get("type") in ("function", "custom"):
            return self.function_name(choice.get("name"), choice.get("namespace")) or None
        if choice.get("type") == "tool_search":
            return "tool_search" if "tool_search" in self.declared else None
        return None

    def _namespace(self, namespace: dict[str, Any], param: str) -> None:
        name = namespace.get("name")
        members = namespace.get("tools")
        if not isinstance(name, str) or not name or not isinstance(members, list):
            raise BadRequest("A namespace needs a name and tools.", param=param)
        for index, tool in enumerate(members):
            where = f"{param}.tools[{index}]"
            if not isinstance(tool, dict):
                raise BadRequest("A tool must be an object.", param=where)
            self._tool(tool, name, where)

    def _tool(self, tool: dict[str, Any], namespace: str | None, param: str) -> None:
        kind = tool.get("type")
        if kind == "tool_search":
            if _is_client_search(tool):
                self._declare(Declared("tool_search", "tool_search"), _search_function(tool), param)
            return  # a search run by OpenAI would find only tools that are offered here anyway
        if kind not in ("function", "custom"):
            self.dropped.append(f"tools.{kind}" if isinstance(kind, str) and _LABEL.fullmatch(kind) else "tools")
            return
        name = tool.get("name")
        if not isinstance(name, str) or not name:
            raise BadRequest("A tool needs a name.", param=f"{param}.name")
        made = _custom_function(tool) if kind == "custom" else _function(tool, param)
        self._declare(Declared(kind, name, namespace), made, param)

    def _declare(self, declared: Declared, function: dict[str, Any], param: str) -> None:
        name = _flat(declared.name, declared.namespace)
        known = self.declared.get(name)
        if known is not None and known != declared:
            raise BadRequest(f"Two different tools are called {name!r}.", param=param)
        self.declared[name] = declared
        self._functions[name] = {"name": name, **function}


def unwrap_custom(arguments: str) -> str:
    """The text of a custom tool's call, from the `arguments` of its function.

    Models that know the tool well answer with the bare text, or call the parameter `patch`.
    """
    import orjson

    try:
        value = orjson.loads(arguments)
    except ValueError:
        return _without_fence(arguments)
    if isinstance(value, dict):
        for name in (CUSTOM_INPUT, "patch", "text", "code"):
            if isinstance(value.get(name), str):
                return str(value[name])
        texts = [text for text in value.values() if isinstance(text, str)]
        return texts[0] if len(texts) == 1 and len(value) == 1 else arguments if value else ""
    return value if isinstance(value, str) else arguments


def _without_fence(text: str) -> str:
    lines = text.strip().split("\n")
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1] == "```":
        return "\n".join(lines[1:-1])
    return text


def _is_client_search(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "tool_search" and tool.get("execution") == "client"


def _flat(name: str, namespace: str | None) -> str:
    whole = name if namespace is None else f"{namespace}__{name}"
    if _FIT.fullmatch(whole):
        return whole
    digest = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{_UNFIT.sub('_', whole)[: _MAX_NAME - 9]}_{digest}"


def _function(tool: dict[str, Any], param: str) -> dict[str, Any]:
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest("A tool's parameters must be a JSON schema.", param=f"{param}.parameters")
    made: dict[str, Any] = {}
    if tool.get("description"):
        made["description"] = tool["description"]
    made["parameters"] = _plain_schema(parameters) if parameters else dict(_NO_PARAMETERS)
    if tool.get("strict") is not None:
        made["strict"] = tool["strict"]
    return made


def _custom_function(tool: dict[str, Any]) -> dict[str, Any]:
    description = str(tool.get("description") or "")
    form = tool.get("format")
    if isinstance(form, dict) and form.get("definition"):
        description += f"\n\nThe input must follow this {form.get('syntax') or ''} grammar:\n{form['definition']}"
    text = {"type": "string", "description": "The whole input of the tool, as plain text."}
    parameters = {"type": "object", "properties": {CUSTOM_INPUT: text}, "required": [CUSTOM_INPUT]}
    made: dict[str, Any] = {"parameters": parameters}
    if description.strip():
        made["description"] = description.strip()
    return made


def _search_function(tool: dict[str, Any]) -> dict[str, Any]:
    parameters = tool.get("parameters")
    description = tool.get("description") or "Finds further tools by what they can do."
    return {
        "description": description,
        "parameters": parameters if isinstance(parameters, dict) else _SEARCH_PARAMETERS,
    }


def _plain_schema(schema: Any) -> Any:
    """`schema` without the keyword `encrypted`, which only OpenAI's own validator knows."""
    if isinstance(schema, list):
        return [_plain_schema(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _plain_schema(member) for name, member in value.items()}
        if key in _MAPS_OF_SCHEMAS and isinstance(value, dict)
        else _plain_schema(value)
        for key, value in schema.items()
        if not (key == "encrypted" and isinstance(value, bool))
    }
