"""conf/models/*.yaml: one augmented model each."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from openai_proxy.config.connection import ParamsConfig
from openai_proxy.config.fields import (
    Flag,
    Globs,
    Names,
    Natural,
    Number,
    Priority,
    Seconds,
    StrictModel,
    one_or_many,
    without_nulls,
    wrong,
)

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def _new_names(names: dict[str, str]) -> dict[str, str]:
    seen: dict[str, str] = {}
    for tool, new in names.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,48}", new):
            raise wrong(f'"{new[:60]}" cannot be used as a tool\'s new name: use letters, digits, - and _, at most 48')
        if new in seen:
            raise wrong(f'"{seen[new]}" and "{tool}" would both be called "{new}"')
        seen[new] = tool
    return names


PromptName = Annotated[str, Field(min_length=1, max_length=256)]


class McpFilter(StrictModel):
    """Which tools of a server a model gets, and how it sees them; all by the server's own tool names."""

    whitelist: Globs | None = Field(default=None, description="Only these; null: all.")
    blacklist: Globs = Field(default=(), description="Never these.")
    rename: Annotated[dict[str, str], AfterValidator(_new_names)] = Field(
        default={}, description="TOOL: new name, replacing the tool's part of mcp_SERVER_TOOL."
    )
    describe: dict[str, str] = Field(default={}, description="TOOL: description, replacing the server's own.")
    defer: Flag | Literal["auto"] = Field(
        default="auto",
        description="true: its tools are found by find_tools instead of being listed; auto: if there are too many.",
    )
    prompt: Flag | PromptName = Field(
        default=False, description="Add a prompt of the server to the model's prompt: true for its first, or a name."
    )


def _servers(value: Any) -> Any:
    """A list of names (or of `{name: filter}`) as a mapping."""
    value = one_or_many(value)
    if value is None:
        return {}
    if isinstance(value, list):
        result: dict[str, Any] = {}
        for item in value:
            if isinstance(item, dict) and "name" in item:
                raise wrong("each server has its name as its key: NAME: {whitelist: […]}, without a dash")
            for name, rule in item.items() if isinstance(item, dict) else [(item, None)]:
                if not isinstance(name, str):
                    raise wrong("expected the name of an MCP server")
                if name in result:
                    raise wrong(f'duplicate MCP server "{name}"')
                result[name] = rule
        value = result
    if isinstance(value, dict):
        return {name: {} if rule is None else rule for name, rule in value.items()}
    return value


_FILTER_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}, "description": "Names of servers, with all their tools."},
        {"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#/$defs/McpFilter"}, {"type": "null"}]}},
    ]
}


def _tools(tools: tuple[str | dict[str, Any], ...]) -> tuple[str | dict[str, Any], ...]:
    seen: set[str] = set()
    for tool in tools:
        name = tool if isinstance(tool, str) else _defined(tool)
        if not TOOL_NAME.match(name):
            raise wrong(f'"{name[:64]}" cannot be used as a tool name: use letters, digits, - and _, at most 64')
        if name in seen:
            raise wrong(f'duplicate tool "{name}"')
        seen.add(name)
    return tools


def _defined(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise wrong("expected a name, or {type: function, function: {name, description, parameters}}")
    name = function.get("name")
    if not isinstance(name, str):
        raise wrong("a tool's definition needs function.name")
    if not isinstance(function.get("parameters", {}), dict):
        raise wrong(f'the parameters of the tool "{name[:64]}" must be a mapping with a JSON Schema')
    return name


def _name(value: str) -> str:
    if value != value.strip():
        raise wrong("a model name cannot begin or end with a space")
    if not value.isprintable():
        from openai_proxy.config.yaml_words import invisible

        odd = invisible(value)
        raise wrong(f"the name contains {odd[1] if odd is not None else 'a control character'}: type it again")
    return value


class ModelConfig(StrictModel):
    """An augmented model: an upstream model with your own prompt, tools and skills."""

    name: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_name)] = Field(
        description="The name clients use."
    )
    upstream_model: str = Field(default="", description="The upstream model, routed like any name; default: name.")
    system_prompt: str = Field(default="", description="May contain templates: {{tool_name(argument=1)}}.")
    tools: Annotated[
        tuple[str | dict[str, Any], ...],
        AfterValidator(_tools),
        WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}),
    ] = Field(default=(), description="Names of handlers, or full definitions; only these are offered.")
    mcp_servers: Annotated[dict[str, McpFilter], BeforeValidator(_servers)] = Field(
        default={}, description="Names of MCP servers, or names with filters.", json_schema_extra=_FILTER_SCHEMA
    )
    skills: Names = Field(default=(), description="Ids of skills.")
    include_global_skills: Flag = Field(default=True, description="All global skills, not only those in skills.")
    skills_mode: Literal["inject", "on_demand"] = Field(
        default="inject", description="inject: into the prompt; on_demand: the model loads them when it needs them."
    )
    description: str = Field(default="", description="For people: shown in lists of models.")
    owned_by: str = Field(default="openai-proxy", description="Shown in lists of models.")
    params: ParamsConfig = Field(default=ParamsConfig(), description="Parameters of requests to this model.")
    tool_status: Literal["chunk", "reasoning", "off"] = Field(
        default="chunk",
        description="How a stream reports tool activity: in chunks of its own, as reasoning, or not at all.",
    )
    reasoning: Literal["pass", "strip"] = Field(default="pass", description="strip: clients see no reasoning.")
    remember_tool_turns: Flag = Field(default=False, description="Restore finished hidden rounds in later turns.")
    max_tool_rounds: Annotated[Natural, Field(le=1000)] = Field(
        default=10, description="Rounds of tool calls per turn; then the model must answer."
    )
    tool_timeout: Seconds = Field(default=60, description="Seconds for one call.")
    template_timeout: Seconds = Field(default=3, description="Seconds for one template call.")
    template_cache: Annotated[Number, Field(ge=0)] = Field(
        default=0, description="Seconds for which a result may be reused."
    )
    deadline: Seconds | None = Field(
        default=None, description="Seconds from the arrival of a request to the last byte of its answer."
    )
    confirm: Globs = Field(
        default=(), description="Globs on the names of our tools that run only after the person has agreed."
    )
    client_tools: Literal["pass", "prefer", "drop"] = Field(
        default="pass",
        description="Client tools that duplicate ours. prefer: ours are left out; drop: theirs are.",
    )
    warm: Flag = Field(
        default=False, description="Kept loaded at the provider, with the unchanging part of its prompt."
    )
    priority: Priority = Field(
        default="normal", description="Its place in line if a connection serves few requests at a time."
    )
    speech: Flag = Field(default=False, description="Remove everything from answers that cannot be spoken.")

    @model_validator(mode="before")
    @classmethod
    def _nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return without_nulls(data, "system_prompt", "tools", "skills", "params", "description", "upstream_model")

    @model_validator(mode="after")
    def _whole(self) -> "ModelConfig":
        if not self.upstream_model:
            self.__dict__["upstream_model"] = self.name
        return self
