"""The environment variables that are settings, as one table, and the `.env` file.

Each variable overrides the file and is overridden by a flag. Some are a setting of proxy.yaml (`PORT` is `port`), some
belong to a provider: those create its connection if the file has no `connections:`, and otherwise override the key and
base of the connection of that name. The process's own environment wins over `.env`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai_proxy.config.connection import full_base
from openai_proxy.config.dotenv_file import Line, read_dotenv
from openai_proxy.config.fields import client_key, client_or_upstream_key
from openai_proxy.config.problems import ENVIRONMENT, Problem
from openai_proxy.secrets import SECRET_NAME, vault

BASE_URL_DEFAULT = "https://openrouter.ai/api/v1"
NUMBERED = 20
PROVIDERS = ("default", "openai", "openrouter", "gemini", "anthropic")
"""Connections that the environment can create; the first one is the default connection."""

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _flag(text: str) -> bool:
    if text.strip().lower() not in _TRUTH:
        raise ValueError("expected true or false")
    return _TRUTH[text.strip().lower()]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\s*[0-9]{1,9}(?:\.[0-9]{1,9})?\s*", text) or float(text) <= 0:
        raise ValueError("expected a number of seconds above 0")
    return float(text)


def _text(text: str) -> str:
    return text.strip()


def _host(text: str) -> str:
    if not re.fullmatch(r"[^\s/]{1,253}", text.strip()):
        raise ValueError("expected an address or a host name")
    return text.strip()


def _prefix(text: str) -> str:
    if not re.fullmatch(r"\S{1,16}", text):
        raise ValueError("expected 1 to 16 characters without spaces")
    return text


def _key(text: str) -> str:
    return client_or_upstream_key(text)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def _list(text: str) -> list[str]:
    """Parse a list, separated by commas or as JSON."""
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("expected texts separated by commas, or a JSON list of texts")
    else:
        value = text.split(",")
    return [item.strip() for item in value if item.strip()]


def _keys(text: str) -> list[str]:
    """Parse client keys; a variable that is set but contains none would silently admit everyone."""
    keys = [client_key(key) for key in _list(text)]
    if not keys:
        raise ValueError("expected at least one key")
    return keys


@dataclass(frozen=True, slots=True)
class Variable:
    """One row: `name` is parsed by `parse` and overrides `setting` of proxy.yaml, or of the connection `provider`.

    With `makes`, it creates its provider's connection if the file has none.
    """

    name: str
    parse: Callable[[str], Any]
    setting: tuple[str, ...] = ()
    provider: str | None = None
    makes: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable("BASE_URL", full_base, ("api_base",), "default", makes=True),
    Variable("API_KEY", _key, ("api_key",), "default", makes=True),
    Variable("HOST", _host, ("host",)),
    Variable("PORT", _whole(0, 65_535), ("port",)),
    Variable("MODELS_CONFIG_DIR", _text),
    Variable("REQUEST_TIMEOUT", _seconds),
    Variable("OPENAI_API_KEY", _key, ("api_key",), "openai", makes=True),
    Variable("OPENAI_BASE_URL", full_base, ("api_base",), "openai", makes=True),
    Variable("OPENAI_TIMEOUT", _seconds, ("timeout",), "openai"),
    Variable("OPENAI_MAX_RETRIES", _whole(0, 20), ("max_retries",), "openai"),
    Variable("OPENAI_ORGANIZATION", _text, ("organization",), "openai"),
    Variable("OPENAI_PROJECT", _text, ("project",), "openai"),
    Variable("PROXY_REQUIRE_API_KEY", _flag, ("require_api_key",)),
    Variable("PROXY_API_KEYS", _keys, ("groups", "default", "api_keys")),
    Variable("PROXY_FORWARD_AUTH_HEADER", _flag),
    Variable("ALLOW_UNAUTHENTICATED_HEALTH", _flag, ("allow_unauthenticated_health",)),
    Variable("ENABLE_TOOL_EXECUTION", _flag, ("execute_tools",)),
    Variable("OPENAI_PARAM_DEFAULTS", _object, ("params", "default")),
    Variable("OPENAI_PARAM_OVERRIDES", _object, ("params", "override")),
    Variable("OPENAI_PARAM_DROP", _list, ("params", "drop")),
    Variable("OPENROUTER_API_KEY", _key, ("api_key",), "openrouter", makes=True),
    *(
        Variable(f"OPENROUTER_API_KEY_{n}", _key, ("api_keys",), "openrouter", makes=True)
        for n in range(1, NUMBERED + 1)
    ),
    Variable("GEMINI_API_KEY", _key, ("api_key",), "gemini", makes=True),
    *(Variable(f"GEMINI_API_KEY_{n}", _key, ("api_keys",), "gemini", makes=True) for n in range(1, NUMBERED + 1)),
    Variable("ANTHROPIC_API_KEY", _key, ("api_key",), "anthropic", makes=True),
    Variable("LLM_BACKEND", _text, ("default_connection",)),
    Variable("COMMAND_PREFIX", _prefix, ("commands", "prefix")),
    Variable("INTERACTIVE_MODE", _flag, ("commands", "interactive")),
    Variable("REDACT_API_KEYS_IN_PROMPTS", _flag, ("redact_api_keys_in_prompts",)),
)
"""Every variable of the contract. An empty variable counts as not set (`.env.example` lists them like this)."""

BUILT: Mapping[str, Mapping[str, Any]] = {
    "default": {"api_type": "openai", "api_base": BASE_URL_DEFAULT},
    "openai": {"api_type": "openai"},
    "openrouter": {"api_type": "openai", "api_base": BASE_URL_DEFAULT},
    "gemini": {"api_type": "google"},
    "anthropic": {"api_type": "anthropic"},
}
"""The initial settings of a connection created by the environment."""

FLAGS: Mapping[str, tuple[str, ...]] = {
    "backend": ("default_connection",),
    "host": ("host",),
    "port": ("port",),
    "default_connection": ("default_connection",),
    "command_prefix": ("commands", "prefix"),
    "interactive": ("commands", "interactive"),
    "redact_api_keys_in_prompts": ("redact_api_keys_in_prompts",),
}
"""Name of a flag in `load(flags=...)` -> the setting it overrides. A value of None is a flag not given."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The parsed environment: all variables for `${NAME}`, and those that are settings."""

    variables: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, tuple[str, int, int]]
    problems: tuple[Problem, ...]
    broken: tuple[Problem, ...] = ()
    """Those of the problems that concern a setting."""
    raw: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The text of every valid setting: the fallback for an invalid one at the next load."""
    dotenv: tuple[Line, ...] = field(default=(), repr=False)
    """The last good content of `.env`."""

    def place(self, name: str) -> tuple[str, int, int]:
        """Where a variable was set."""
        return self.places.get(name, (ENVIRONMENT, 1, 1))


def read_environment(
    env_file: Path | None, environ: Mapping[str, str], previous: Environment | None = None
) -> Environment:
    """The environment, with `.env` below it. Values of variables with secret-sounding names go to the vault.

    A setting that cannot be parsed is a problem, and keeps its value in `previous`.
    """
    variables: dict[str, str] = {}
    places: dict[str, tuple[str, int, int]] = {}
    lines, problems = read_dotenv(env_file, previous.dotenv if previous is not None else None)
    for name, value, line in lines:
        variables[name] = value
        places[name] = (str(env_file), line, 1)
    for name, value in environ.items():
        variables[name] = value
        places.pop(name, None)
    vault.learn(value.strip() for name, value in variables.items() if _holds_secret(name, value))
    vault.learn(key for key in _keys_in(variables.get("PROXY_API_KEYS", "")))

    broken: list[Problem] = []
    settings: dict[str, Any] = {}
    raw: dict[str, str] = {}
    for row in VARIABLES:
        text = variables.get(row.name, "")
        if not text.strip():
            continue
        try:
            settings[row.name] = row.parse(text)
            raw[row.name] = text
        except ValueError as error:
            place = places.get(row.name, (ENVIRONMENT, 1, 1))
            broken.append(Problem(*place, f"{row.name}: {error}"))
            if previous is not None and row.name in previous.raw:
                settings[row.name] = previous.settings[row.name]
                raw[row.name] = previous.raw[row.name]
    return Environment(variables, settings, places, (*problems, *broken), tuple(broken), raw, lines)


def _holds_secret(name: str, value: str) -> bool:
    """True if the value must not be written anywhere.

    A boolean (PROXY_REQUIRE_API_KEY), a number (MAX_TOKENS) or a path (SSH_KEY_FILE) is not a secret: removing it from
    text would blank out half of every log.
    """
    value = value.strip()
    if not SECRET_NAME.search(name) or name == "PROXY_API_KEYS":
        return False
    return (
        value.lower() not in _TRUTH
        and not value.startswith(("/", "./", "~"))
        and not re.fullmatch(r"[\d.]{1,11}", value)
    )


def _keys_in(text: str) -> list[str]:
    try:
        return [key for key in _list(text) if not key.startswith("sha256:")]
    except ValueError:
        return []
