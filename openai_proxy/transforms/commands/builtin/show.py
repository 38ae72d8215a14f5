"""`!/show`: what is set, and where."""

from openai_proxy.transforms.commands.context import CommandContext
from openai_proxy.transforms.commands.parser import CommandCall
from openai_proxy.transforms.commands.registry import command


@command("show", "Show the settings of this session.")
def show(call: CommandCall, context: CommandContext) -> str:
    """One line per setting."""
    session, config = context.session, context.host.config
    default = config.default_connection or (context.host.connections[0] if len(config.connections) == 1 else None)
    rows = [
        ("model", session.model, "as requested"),
        ("backend", session.backend, f"by the routes, else {default}" if default else "by the routes"),
        ("interactive", _switch(session.interactive), _switch(config.commands.interactive)),
        ("redact-api-keys-in-prompts", _switch(session.redact), _switch(config.redact_api_keys_in_prompts)),
    ]
    lines = [f"{name}: {value} (this session)" if value else f"{name}: {otherwise}" for name, value, otherwise in rows]
    lines += [
        f"route {name} ({route.policy}): {', '.join(route.targets) or 'no targets yet'}"
        for name, route in sorted(session.routes.items())
    ]
    return "\n".join(lines)


def _switch(value: bool | None) -> str | None:
    return None if value is None else "on" if value else "off"
