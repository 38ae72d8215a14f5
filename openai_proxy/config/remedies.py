"""Advice on what to write instead, for mistakes whose cause is clear from the key or the type of the value."""

import re
import shlex
from collections.abc import Collection
from typing import Any, Final

from openai_proxy.config.sources import Path

_PARAMETERS: Final = frozenset(
    {"temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty",
     "seed", "stop", "reasoning_effort", "response_format", "repeat_penalty", "num_ctx"}
)  # fmt: skip
"""Request parameters, which people write at the level of the model."""

_AT_THE_TOP: Final = {
    "ProxyConfig": {
        "api_keys": "keys of clients belong to a group: groups: {family: {api_keys: […]}}",
        "api_key": "a provider's key belongs to its connection: connections: {NAME: {api_key: …}}",
        "api_base": "an address belongs to its connection: connections: {NAME: {api_base: …}}",
        "base_url": "an address belongs to its connection: connections: {NAME: {api_base: …}}",
        "models": "each augmented model has a file of its own: models/NAME.yaml",
        "servers": "MCP servers belong in mcp/servers.yaml",
        "mcp_servers": "MCP servers belong in mcp/servers.yaml",
        "mcpServers": "MCP servers belong in mcp/servers.yaml; `openai-proxy import FILE` converts them",
        "tools": "tools belong in their own files: tools/*.py",
        "skills": "skills belong in their own files: skills/*.md",
        "system_prompt": "a prompt belongs to an augmented model: models/NAME.yaml",
        "log_level": "an option of the command: openai-proxy serve --log-level debug",
        "log_format": "an option of the command: openai-proxy serve --log-format json",
    },
    "ModelConfig": {
        "models": "one model per file: its `name:` starts at the left margin",
        "messages": "the system message goes into `system_prompt`; the others come from the client",
        "api_key": "a provider's key belongs to its connection in proxy.yaml",
        "api_base": "an address belongs to its connection in proxy.yaml",
    },
}
"""Model -> key at its root -> where it belongs."""

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
"""Common names of providers -> `api_type`."""

_NO_LIMIT: Final = frozenset({"never", "unlimited", "infinite", "infinity", "inf", "none", "off", "no", "forever"})
_MONEY: Final = re.compile(r"[$€£¥]\s*[\d.,]+\Z|[\d.,]+\s*([$€£¥]|[A-Za-z]{3})\Z")
_COMMA: Final = re.compile(r"\d+(,\d+)+\Z")

_WITH_UNIT: Final = re.compile(r"\d+(\.\d+)?\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\Z")
_AMONG_SIGNS: Final = re.compile(r"[^\w-]+\d+\W*\Z|\d+\W.*\Z")
_OF_APPROVAL: Final = frozenset({"alwaysAllow", "always_allow", "autoApprove", "auto_approve", "trust"})


def for_unknown_key(model: str, path: Path, known: Collection[str]) -> str | None:
    """Where a key that is not `known` here belongs; `model` is the class of the file. None if that is unclear."""
    key = str(path[-1]) if path else ""
    if len(path) == 1 and (words := _AT_THE_TOP.get(model, {}).get(key)) is not None:
        return words
    if model == "ProxyConfig" and re.fullmatch(r"[A-Z][A-Z\d]*(_[A-Z\d]+)+", key) and key.lower() not in known:
        return f"environment variables belong in .env ({key}=…)"
    if model == "ServerConfig" and key in _OF_APPROVAL:
        return "tools run without confirmation, except those that a model lists in `confirm`"
    if model == "ServerConfig" and key in ("image", "docker"):
        return "a container is a command: {command: docker, args: [run, --rm, -i, IMAGE]}"
    if path[:-1][-1:] == ("auth",) and key in ("token", "bearer", "bearer_token", "key", "api_key"):
        return 'a fixed token goes into headers: {Authorization: "Bearer …"}'
    if key in _PARAMETERS:
        where = "params: {default: {%s: …}}" if path[:-1][-1:] != ("params",) else "default: {%s: …}"
        return f"request parameters belong below {where % key}"
    return None


def for_value(kind: str, path: Path, given: Any, *, nullable: bool = False) -> str:
    """What to write instead of `given`, as ": …" or " (…)"; empty if that is obvious.

    `kind` is pydantic's name of the mistake; `nullable` means that null is allowed. Values are not repeated, as they
    may be secret, except that of a command line.
    """
    if kind == "string_type":
        return _for_text(path, given)
    if kind in ("dict_type", "model_type", "model_attributes_type") and isinstance(given, list) and given:
        if not path:
            return ": one per file, without a leading dash"
        if (below := _instead_of_list(path)) is not None:
            return below
        if all(isinstance(item, dict) for item in given):
            named = any("name" in item for item in given)
            return ": remove the dashes" + ("; each has its name as its key (NAME: {…})" if named else "")
        return ": each needs a name and a colon (NAME: {…})" if kind == "dict_type" else ""
    if kind == "dict_type" and isinstance(given, str) and ": " in given:
        return _instead_of_list(path) or ""
    if kind in ("list_type", "tuple_type"):
        return _for_list(path, given)
    if kind.startswith(("int_", "float_")) and isinstance(given, str):
        return _for_number(given.strip(), whole=kind.startswith("int_"), nullable=nullable)
    return ""


def _for_text(path: Path, given: Any) -> str:
    if path[-1:] == ("api_key",) and isinstance(given, list):
        return " (several keys: api_keys)"
    if isinstance(given, list):
        return f": for several lines write `{path[-1]}: |` and the text below it, indented" if path else ""
    return ' (write "" for an empty one)' if given is None and path[-2:-1] in (("env",), ("headers",)) else ""


def _instead_of_list(path: Path) -> str | None:
    """What to write instead of a list, or of a text with a colon in it, if that is known."""
    if path[-2:-1] == ("groups",):
        return ": keys belong below it ({api_keys: […]})"
    if path[-1:] in (("headers",), ("env",)):
        return ": write each as NAME: value, without dashes, brackets or quotes around the whole"
    return None


def _for_list(path: Path, given: Any) -> str:
    if isinstance(given, dict):
        if given and all(str(key).startswith("-") for key in given):
            return ": is a space missing after the -?"
        return ": each entry has a leading dash (- …)"
    if given == "":
        return " (write [] for an empty one)"
    if not isinstance(given, str) or given.startswith("-"):
        return ""
    if given[:1] in "\u2013\u2014\u2022":
        return f": each item of a list begins with - and a space, not with {given[:1]}"
    if path[-1:] != ("command",):
        return ": put it in brackets"
    try:
        words = shlex.split(given)
    except ValueError:
        words = given.split()
    return f": write command: [{', '.join(words)}]" if 0 < len(words) <= 8 else ": put each of its words in brackets"


def _for_number(given: str, *, whole: bool, nullable: bool) -> str:
    if _WITH_UNIT.match(given):
        return ": write only the number, in the unit of this setting"
    if nullable and given.lower() in _NO_LIMIT:
        return ": for no limit write null"
    if _MONEY.match(given):
        return ": write only the number; its currency is the setting `currency`"
    if _COMMA.match(given) and whole:
        return ": write it without commas"
    if _COMMA.match(given):
        return ": write fractions with a point (2.5), and thousands without a comma"
    return ": write only the number" if _AMONG_SIGNS.match(given) else ""


def for_mapping(path: Path, keys: Collection[str], given: Any, data: Any) -> str:
    """What is expected in a mapping with these `keys`, if `given` was found instead; `data` is the whole file."""
    if len(path) == 2 and path[-1] in keys:
        empty = [name for name, value in data[path[0]].items() if value is None]
        if empty:
            return f": if it belongs to {empty[-1]}, indent it further"
        return f": a name is missing above it ({path[0]}: {{NAME: {{{path[-1]}: …}}}})"
    return f" (its keys: {', '.join(keys)})" if 0 < len(keys) <= 8 and given is not None else ""


def for_api_type(given: Any) -> str:
    """` (write …)` for a common name of a provider; empty for anything else."""
    words = _TYPES.get(given.lower()) if isinstance(given, str) else None
    return f" (write {words})" if words else ""
