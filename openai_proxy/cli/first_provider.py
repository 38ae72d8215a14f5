"""The questions of `openai-proxy init`: which provider, which key, does it work?"""

import asyncio
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from openai_proxy.cli.screen import complain, say
from openai_proxy.errors import ProxyError

OLLAMA: Final = "http://127.0.0.1:11434"


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """One choice. `variable` holds its key in `.env`; `connection` is its entry in proxy.yaml."""

    name: str
    title: str
    variable: str | None = None
    keys_at: str = ""
    asks_url: str | None = None  # suggested address; None: the address is known
    connection: dict[str, Any] = field(default_factory=dict)


PROVIDERS: Final = (
    KnownProvider(
        "openrouter", "OpenRouter: most models, one key", "OPENROUTER_API_KEY", "https://openrouter.ai/keys",
        connection={"api_base": "https://openrouter.ai/api/v1"},
    ),
    KnownProvider("openai", "OpenAI", "OPENAI_API_KEY", "https://platform.openai.com/api-keys"),
    KnownProvider(
        "anthropic", "Anthropic", "ANTHROPIC_API_KEY", "https://console.anthropic.com/settings/keys",
        connection={"api_type": "anthropic"},
    ),
    KnownProvider(
        "gemini", "Google Gemini", "GEMINI_API_KEY", "https://aistudio.google.com/apikey",
        connection={"api_type": "google"},
    ),
    KnownProvider("ollama", "Ollama on the local network", asks_url=OLLAMA, connection={"api_type": "ollama"}),
    KnownProvider(
        "local-server", "Another server that speaks OpenAI's API (llama.cpp, vLLM, LM Studio …)",
        "LOCAL_SERVER_API_KEY", asks_url="",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChosenProvider:
    """A provider, with its key or address."""

    provider: KnownProvider
    key: str | None
    members: dict[str, Any]

    def write(self, directory: Path, env_file: Path) -> None:
        """Write the key to `env_file`, and a connection to proxy.yaml if the key alone does not create one."""
        from openai_proxy.cli.offline import snapshot_of
        from openai_proxy.config.edit import change
        from openai_proxy.config.problems import ConfigError

        provider, variable = self.provider, self.provider.variable
        if variable is not None and self.key is not None:
            put_variable(env_file, variable, self.key)
            say(f"Wrote {variable} to {env_file}.")
        try:
            made = provider.asks_url is None and provider.name in snapshot_of(directory, env_file).proxy.connections
            if not made:
                members = {**self.members, **({"api_key": f"${{{variable}}}"} if variable and self.key else {})}
                change(directory / "proxy.yaml", {("connections", provider.name): members})
                say(f"Wrote the connection {provider.name} to {directory / 'proxy.yaml'}.")
        except ConfigError as error:
            complain(error.problems[0])


def choose() -> ChosenProvider | None:
    """Ask until a provider answers, or the owner declines."""
    say("Which provider do you use?")
    for number, provider in enumerate(PROVIDERS, 1):
        say(f"  {number}  {provider.title}{_found(provider)}")
    say(f"  {len(PROVIDERS) + 1}  None yet: start with the offline model `echo`")
    number = click.prompt("Number", type=click.IntRange(1, len(PROVIDERS) + 1), default=_likely())
    if number > len(PROVIDERS):
        return None
    provider = PROVIDERS[number - 1]
    while True:
        chosen = _with_key(provider) if provider.asks_url is None else _with_url(provider)
        say("Trying it … ", nl=False)
        trouble, models = asyncio.run(_tried(chosen))
        if trouble is None:
            some = f", such as {models[0]}" if models else ""
            say(f"it works: {len(models)} models{some}." if models else "it works.")
            return chosen
        say(trouble)
        if not click.confirm("Try again with something else?", default=True):
            return chosen if click.confirm("Keep it anyway?", default=False) else None


def _with_key(provider: KnownProvider) -> ChosenProvider:
    assert provider.variable is not None
    known = os.environ.get(provider.variable, "").strip()
    if known and click.confirm(f"Use {provider.variable} from this shell?", default=True):
        return ChosenProvider(provider, known, provider.connection)
    key = click.prompt(f"Key (create one at {provider.keys_at}; input is hidden)", hide_input=True)
    return ChosenProvider(provider, key.strip(), provider.connection)


def _with_url(provider: KnownProvider) -> ChosenProvider:
    url = click.prompt("Address", default=provider.asks_url or None).strip()
    url = url if "://" in url else f"http://{url}"
    key = ""
    if provider.variable is not None:
        key = click.prompt("Key (leave empty if none is needed; input is hidden)", default="", hide_input=True).strip()
    return ChosenProvider(provider, key or None, {**provider.connection, "api_base": url})


def _likely() -> int:
    """The most likely choice."""
    for number, provider in enumerate(PROVIDERS, 1):
        if _found(provider):
            return number
    return 1


def _found(provider: KnownProvider) -> str:
    if provider.variable is not None:
        return f"  ({provider.variable} is set)" if os.environ.get(provider.variable, "").strip() else ""
    if provider.asks_url != OLLAMA:
        return ""
    try:
        with socket.create_connection(("127.0.0.1", 11434), timeout=0.3):
            return "  (one runs on this machine)"
    except OSError:
        return ""


async def _tried(chosen: ChosenProvider) -> tuple[str | None, list[str]]:
    """The models that it offers, or a description of what is wrong."""
    from openai_proxy.cli.probe import fetch_models
    from openai_proxy.config.connection import ConnectionConfig
    from openai_proxy.config.outgoing import from_environment
    from openai_proxy.config.validate import validate

    data = {**chosen.members, **({"api_key": chosen.key} if chosen.key else {})}
    config, mistakes = validate(ConnectionConfig, data, lambda path, key: ("", 1, 1))
    if config is None:
        return "; ".join(problem.message for problem in mistakes.problems), []
    config = config.model_copy(update={"proxy": from_environment(config.api_base, os.environ).proxy})
    try:
        return None, await fetch_models(chosen.provider.name, config)
    except ProxyError as error:
        return error.cause or error.message, []


def put_variable(file: Path, name: str, value: str) -> None:
    """Set `name` in a `.env` file, keeping its other lines; a new file is readable by its owner only."""
    line = f"{name}={value}" if not any(char in value for char in "'\"#$\\` ") else f"{name}='{value}'"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = before.splitlines()
    for number, text in enumerate(lines):
        if text.strip().removeprefix("export ").partition("=")[0].strip() == name:
            lines[number] = line
            break
    else:
        lines.append(line)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(file, flags, 0o600), "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
