"""`!/hello`: information about the proxy. The banner of interactive mode is the same text."""

from openai_proxy.transforms.commands.context import CommandContext, CommandHost
from openai_proxy.transforms.commands.parser import CommandCall
from openai_proxy.transforms.commands.registry import command


@command("hello", "Show what this proxy is and which backends it has.")
def hello(call: CommandCall, context: CommandContext) -> str:
    """The banner."""
    return banner(context.host, context.prefix)


def banner(host: CommandHost, prefix: str) -> str:
    """Version, backends, and how many models each offers."""
    listed = host.models()
    names = [f"{name} ({_models(len(listed[name]))})" if name in listed else name for name in host.connections]
    parts = [f"This is openai_proxy {host.version}."]
    parts.append(f"Backends: {', '.join(names)}." if names else "There is no backend for you.")
    if host.augmented:
        parts.append(f"Models with tools: {', '.join(host.augmented[:10])}{'…' if len(host.augmented) > 10 else ''}.")
    parts.append(f"Type {prefix}help for the commands.")
    return " ".join(parts)


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"
