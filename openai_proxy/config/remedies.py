"""What to write instead: for mistakes whose cause is known from the key or from the kind of value."""

import re
from typing import Any, Final

from openai_proxy.config.sources import Path

_PARAMETERS: Final = frozenset(
    {"temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty",
     "seed", "stop", "reasoning_effort", "response_format", "repeat_penalty", "num_ctx"}
)  # fmt: skip
"""Parameters of requests, which people write where the model is."""

_AT_THE_TOP: Final = {
    "ProxyConfig": {
        "api_keys": "keys of clients belong to a group: groups: {family: {api_keys: […]}}",
        "api_key": "a provider's key belongs to its connection: connections: {NAME: {api_key: …}}",
        "api_base": "an address belongs to its connection: connections: {NAME: {api_base: …}}",
        "base_url": "an address belongs to its connection: connections: {NAME: {api_base: …}}",
        "models": "each augmented model has a file of its own: models/NAME.yaml",
        "servers": "MCP servers stand in mcp/servers.yaml",
        "mcp_servers": "MCP servers stand in mcp/servers.yaml",
        "mcpServers": "MCP servers stand in mcp/servers.yaml; `openai-proxy import FILE` takes them over",
        "tools": "tools stand in files of their own: tools/*.py",
        "skills": "skills stand in files of their own: skills/*.md",
        "system_prompt": "a prompt belongs to an augmented model: models/NAME.yaml",
    },
    "ModelConfig": {
        "models": "one model a file: its `name:` stands at the left margin",
        "api_key": "a provider's key belongs to its connection in proxy.yaml",
        "api_base": "an address belongs to its connection in proxy.yaml",
    },
}
"""Model -> key at its root -> where that belongs."""

_TYPES: Final = {
    "gemini": "google",
    "claude": "anthropic",
    "openrouter": "openai, with api_base: https://openrouter.ai/api/v1",
    "groq": "openai, with api_base: https://api.groq.com/openai/v1",
    "mistral": "openai, with api_base: https://api.mistral.ai/v1",
    "deepseek": "openai, with api_base: https://api.deepseek.com/v1",
    "llama.cpp": "openai, with its address as api_base",
    "llamacpp": "openai, with its address as api_base",
    "lmstudio": "openai, with its address as api_base",
    "vllm": "openai, with its address as api_base",
    "litellm": "openai, with its address as api_base",
    "azure": "openai, with its address as api_base",
}
"""What people call providers -> `api_type`."""

_WITH_UNIT: Final = re.compile(r"\d+(\.\d+)?\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?)\Z")


def for_unknown_key(model: str, path: Path) -> str | None:
    """Where a key that is not known here belongs; `model` is the class of the file. None if nobody can tell."""
    key = str(path[-1]) if path else ""
    if len(path) == 1 and (words := _AT_THE_TOP.get(model, {}).get(key)) is not None:
        return words
    if key in _PARAMETERS:
        where = "params: {default: {%s: …}}" if path[:-1][-1:] != ("params",) else "default: {%s: …}"
        return f"parameters of requests stand below {where % key}"
    return None


def for_value(kind: str, path: Path, given: Any) -> str:
    """What to write instead of `given`, as ": …" or " (…)"; empty if that goes without saying.

    `kind` is what pydantic calls the mistake. No value is repeated: it may be a secret.
    """
    if kind == "string_type" and path[-1:] == ("api_key",) and isinstance(given, list):
        return " (several keys: api_keys)"
    if kind in ("dict_type", "model_type", "model_attributes_type") and isinstance(given, list) and given:
        if not path:
            return ": one thing a file, without a dash in front"
        if all(isinstance(item, dict) for item in given):
            named = any("name" in item for item in given)
            return ": take the dashes away" + ("; each has its name as its key (NAME: {…})" if named else "")
        return ": each needs a name and a colon (NAME: {…})"
    if kind in ("list_type", "tuple_type") and isinstance(given, str) and not given.startswith("-"):
        return ": put it in brackets"
    if kind.startswith(("int_", "float_")) and isinstance(given, str) and _WITH_UNIT.match(given.strip()):
        return ": write the number alone, in the unit of this setting"
    return ""


def for_api_type(given: Any) -> str:
    """` (write …)` for what somebody calls a provider; empty for anything else."""
    words = _TYPES.get(given.lower()) if isinstance(given, str) else None
    return f" (write {words})" if words else ""
