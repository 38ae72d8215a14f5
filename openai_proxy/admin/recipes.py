"""Recipes: what to enter in each client that `connect` knows so that it uses this proxy.

A recipe is in a form that the client itself reads (variables, a file), if there is one; lines that begin with `#`
explain it. So `eval "$(openai-proxy connect claude)"` works, and so does pasting the block into the named file.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

NO_KEY: Final = "not-needed"
"""The placeholder where no key is required: many clients insist on one."""

KEY_PLACE: Final = "YOUR_KEY"
"""The placeholder for an unknown key."""

_DEFAULT_CONTEXT: Final = 32_768
_DEFAULT_OUTPUT: Final = 8_192
"""Token limits for models whose limits are unknown: some clients require a number."""


@dataclass(frozen=True, slots=True)
class RecipePlace:
    """This proxy as a client should reach it."""

    url: str  # "http://192.168.1.10:8000"
    key: str
    key_hint: str  # where to get a key, in words
    models: tuple[Mapping[str, Any], ...]  # as listed by /v1/models
    model: str  # the default choice
    chosen: bool  # whether the owner named it
    augmented: frozenset[str] = frozenset()
    has_tools: bool = False  # its own or of MCP servers, for clients that speak MCP

    @property
    def mcp(self) -> str:
        """The MCP endpoint."""
        return f"{self.url}/mcp"

    @property
    def v1(self) -> str:
        """The root of the OpenAI API."""
        return f"{self.url}/v1"

    def first(self, *preferred: Callable[[str], bool]) -> str:
        """The id to enter: the owner's choice, else the first that matches one of `preferred`, in order."""
        ids = [self.model] if self.chosen else [str(model["id"]) for model in self.models]
        for likes in preferred:
            for name in ids:
                if likes(name):
                    return name
        return self.model

    def size(self, model: str) -> tuple[int, int]:
        """(context, output) of a model, in tokens."""
        entry: Mapping[str, Any] = next((m for m in self.models if m["id"] == model), {})
        context = entry.get("context_length")
        output = entry.get("max_output_tokens")
        return (
            context if isinstance(context, int) else _DEFAULT_CONTEXT,
            output if isinstance(output, int) else _DEFAULT_OUTPUT,
        )

    def can(self, model: str, capability: str) -> bool:
        """Whether a model is known to have a capability."""
        entry: Mapping[str, Any] = next((m for m in self.models if m["id"] == model), {})
        return capability in (entry.get("capabilities") or ())


def _lines(*lines: str) -> str:
    return "\n".join(lines)


def _variables(*pairs: tuple[str, str]) -> str:
    return "\n".join(f"export {name}={quote(value)}" for name, value in pairs)


def _fields(*pairs: tuple[str, str]) -> str:
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"#   {name:<{width}}  {value}" for name, value in pairs)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _home_assistant(place: RecipePlace) -> str:
    model = place.first(lambda name: name in place.augmented)
    return _lines(
        "# Home Assistant 2026.8 or later: Settings → Devices & services → Add integration → llama.cpp",
        _fields(("URL", place.v1), ("API key", place.key_hint), ("Model", model)),
        "#",
        "# For AI tasks (any version): Add integration → Ollama",
        _fields(("URL", place.url), ("API key", place.key_hint), ("Model", model)),
        *_home_assistant_tools(place),
    )


def _home_assistant_tools(place: RecipePlace) -> tuple[str, ...]:
    if not place.has_tools:
        return ()
    if place.key != NO_KEY:  # its MCP integration supports OAuth, but no keys
        return ("#", "# The tools of this proxy cannot be used from there: that integration sends no key.")
    return ("#", "# The tools of this proxy: Add integration → Model Context Protocol", _fields(("URL", place.mcp)))


def _open_webui(place: RecipePlace) -> str:
    return _lines(
        "# Open WebUI: Admin panel → Settings → Connections → OpenAI API → +, or these variables when it starts.",
        f"# {place.key_hint}",
        _variables(("OPENAI_API_BASE_URL", place.v1), ("OPENAI_API_KEY", place.key)),
    )


def _claude(place: RecipePlace) -> str:
    model = place.first(lambda name: name.startswith("claude"), lambda name: name not in place.augmented)
    small = place.first(lambda name: name.startswith("claude") and "haiku" in name)
    small = small if "haiku" in small else model
    return _lines(
        '# Claude Code: eval "$(openai-proxy connect claude)", then claude.',
        f"# {place.key_hint}",
        "# Its model picker lists only ids that begin with claude; these variables choose any other.",
        _variables(
            ("ANTHROPIC_BASE_URL", place.url),
            ("ANTHROPIC_AUTH_TOKEN", place.key),
            ("ANTHROPIC_MODEL", model),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL", small),
        ),
        *_claude_tools(place),
    )


def _claude_tools(place: RecipePlace) -> tuple[str, ...]:
    if not place.has_tools:
        return ()
    key = "" if place.key == NO_KEY else f" --header {quote(f'Authorization: Bearer {place.key}')}"
    return (
        "# The tools of this proxy in Claude Code:",
        f"# claude mcp add --transport http house {quote(place.mcp)}{key}",
    )


def _codex(place: RecipePlace) -> str:
    model = place.first(lambda name: name not in place.augmented)
    context, _ = place.size(model)
    return _lines(
        "# Codex CLI: in ~/.codex/config.toml; its key comes from a variable:",
        f"# export OPENAI_PROXY_KEY={quote(place.key)}    # {place.key_hint}",
        f"model = {json.dumps(model)}",
        'model_provider = "openai-proxy"',
        f"model_context_window = {context}",
        "",
        "[model_providers.openai-proxy]",
        'name = "openai-proxy"',
        f"base_url = {json.dumps(place.v1)}",
        'env_key = "OPENAI_PROXY_KEY"',
        'wire_api = "responses"',
        *_codex_tools(place),
    )


def _codex_tools(place: RecipePlace) -> tuple[str, ...]:
    if not place.has_tools:
        return ()
    key = () if place.key == NO_KEY else ('bearer_token_env_var = "OPENAI_PROXY_KEY"',)
    return ("", "[mcp_servers.house]", f"url = {json.dumps(place.mcp)}", *key)


def _cursor(place: RecipePlace) -> str:
    server: dict[str, Any] = {"url": place.mcp}
    if place.key != NO_KEY:
        server["headers"] = {"Authorization": f"Bearer {place.key}"}
    return _lines(
        "# Cursor sends chats through its own servers, which cannot reach this proxy, but it calls tools itself:",
        f"# in ~/.cursor/mcp.json. {place.key_hint}",
        _json({"mcpServers": {"house": server}}),
    )


def _opencode(place: RecipePlace) -> str:
    model = place.first(lambda name: name not in place.augmented)
    models = {}
    for entry in place.models:
        context, output = place.size(str(entry["id"]))
        models[str(entry["id"])] = {"name": entry["id"], "limit": {"context": context, "output": output}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "openai-proxy",
        "options": {"baseURL": place.v1, "apiKey": place.key},
        "models": models or {model: {"name": model}},
    }
    config = {
        "$schema": "https://opencode.ai/config.json",
        "model": f"openai-proxy/{model}",
        "provider": {"openai-proxy": provider},
    }
    return f"# OpenCode: in ~/.config/opencode/opencode.json. {place.key_hint}\n{_json(config)}"


def _cline(place: RecipePlace) -> str:
    model = place.first(lambda name: name not in place.augmented)
    context, _ = place.size(model)
    return _lines(
        "# Cline in an editor: settings → API Provider → OpenAI Compatible",
        _fields(
            ("Base URL", place.v1),
            ("API Key", place.key_hint),
            ("Model ID", model),
            ("Context Window Size", str(context)),
        ),
        "#",
        "# Cline in a terminal:",
        f"cline auth --provider openai --apikey {quote(place.key)} --modelid {quote(model)} "
        f"--baseurl {quote(place.v1)}",
    )


def _continue(place: RecipePlace) -> str:
    model = place.first(lambda name: name not in place.augmented)
    return _lines(
        f"# Continue: in ~/.continue/config.yaml. {place.key_hint}",
        "name: openai-proxy",
        "version: 1.0.0",
        "schema: v1",
        "models:",
        f"  - name: {json.dumps(model)}",
        "    provider: openai",
        f"    model: {json.dumps(model)}",
        f"    apiBase: {json.dumps(place.v1)}",
        f"    apiKey: {json.dumps(place.key)}",
        "    roles: [chat, edit, apply]",
    )


def _vscode(place: RecipePlace) -> str:
    model = place.first(lambda name: name not in place.augmented)
    context, output = place.size(model)
    entry = {
        "id": model,
        "name": model,
        "url": f"{place.v1}/chat/completions",
        "toolCalling": True,
        "vision": place.can(model, "vision"),
        "maxInputTokens": max(context - output, output),
        "maxOutputTokens": output,
    }
    provider = {
        "name": "openai-proxy",
        "vendor": "customendpoint",
        "apiType": "chat-completions",
        "apiKey": place.key,
        "models": [entry],
    }
    return _lines(
        "# VS Code with Copilot: Manage Models → Ollama finds the models itself; its address in settings.json:",
        f'#   "github.copilot.chat.byok.ollamaEndpoint": "{place.url}"',
        "#",
        f"# Or Manage Models → Custom Endpoint, in chatLanguageModels.json. {place.key_hint}",
        _json([provider]),
    )


def _zed(place: RecipePlace) -> str:
    models = []
    for entry in place.models or ({"id": place.model},):
        name = str(entry["id"])
        context, output = place.size(name)
        capabilities = {
            "tools": True,
            "images": place.can(name, "vision"),
            "parallel_tool_calls": True,
            "prompt_cache_key": False,
        }
        models.append({"name": name, "max_tokens": context, "max_output_tokens": output, "capabilities": capabilities})
    settings = {
        "language_models": {"openai_compatible": {"openai-proxy": {"api_url": place.v1, "available_models": models}}}
    }
    return _lines(
        "# Zed: in settings.json. Enter the key in the agent's settings, or set this variable:",
        f"# export OPENAI_PROXY_API_KEY={quote(place.key)}    # {place.key_hint}",
        _json(settings),
    )


def _aider(place: RecipePlace) -> str:
    model = place.first(lambda name: name not in place.augmented)
    return _lines(
        f"# aider. {place.key_hint}",
        _variables(("OPENAI_API_BASE", place.v1), ("OPENAI_API_KEY", place.key), ("AIDER_MODEL", f"openai/{model}")),
    )


def _gemini(place: RecipePlace) -> str:
    model = place.first(lambda name: name not in place.augmented)
    return _lines(
        f"# Gemini CLI and Google's SDKs. {place.key_hint}",
        _variables(("GOOGLE_GEMINI_BASE_URL", place.url), ("GEMINI_API_KEY", place.key), ("GEMINI_MODEL", model)),
    )


def _ollama(place: RecipePlace) -> str:
    return _lines(
        "# Apps that ask for the address of an Ollama server:",
        _fields(("URL", place.url), ("API key", place.key_hint), ("Model", place.model)),
        "#",
        "# Ollama's own client and SDKs:",
        _variables(("OLLAMA_HOST", place.url), ("OLLAMA_API_KEY", place.key)),
    )


def _openai(place: RecipePlace) -> str:
    return _lines(
        f"# OpenAI's SDKs, and programs built on them. {place.key_hint}",
        _variables(("OPENAI_BASE_URL", place.v1), ("OPENAI_API_KEY", place.key), ("OPENAI_MODEL", place.model)),
    )


RECIPES: Final[Mapping[str, tuple[str, Callable[[RecipePlace], str]]]] = {
    "homeassistant": ("Home Assistant", _home_assistant),
    "open-webui": ("Open WebUI", _open_webui),
    "claude": ("Claude Code", _claude),
    "codex": ("Codex CLI", _codex),
    "cursor": ("Cursor (tools only)", _cursor),
    "opencode": ("OpenCode", _opencode),
    "cline": ("Cline", _cline),
    "continue": ("Continue", _continue),
    "vscode": ("Visual Studio Code with Copilot", _vscode),
    "zed": ("Zed", _zed),
    "aider": ("aider", _aider),
    "gemini": ("Gemini CLI", _gemini),
    "ollama": ("apps that ask for an Ollama address", _ollama),
    "openai": ("OpenAI's SDKs", _openai),
}
"""Name on the command line -> (the client's name, its recipe)."""
