"""`!/set` and `!/unset`: the settings of a session, or with scope=global everyone's defaults."""

from collections.abc import Callable
from typing import Any, NamedTuple

from openai_proxy.transforms.commands.context import CommandContext, CommandError, Keys, did_you_mean, flag
from openai_proxy.transforms.commands.parser import CommandCall
from openai_proxy.transforms.commands.registry import command

REDACT = "redact-api-keys-in-prompts"


class Setting(NamedTuple):
    """`read` checks a value; `keys` is the place of the global one in proxy.yaml (None: not a plain member)."""

    attribute: str
    read: Callable[[CommandContext, str], Any]
    keys: Keys | None = None
    switch: bool = False


SETTINGS = {
    "model": Setting("model", CommandContext.model),
    "backend": Setting("backend", CommandContext.connection, ("default_connection",)),
    "interactive": Setting(
        "interactive", lambda _, text: flag("interactive", text), ("commands", "interactive"), switch=True
    ),
    REDACT: Setting("redact", lambda _, text: flag(REDACT, text), ("redact_api_keys_in_prompts",), switch=True),
}
_ALSO = {"redact": REDACT, "connection": "backend", "interactive-mode": "interactive"}


def _setting(name: str) -> tuple[str, Setting]:
    name = _ALSO.get(name, name)
    if name not in SETTINGS:
        known = ", ".join(SETTINGS)
        raise CommandError(
            f'There is no setting "{name[:60]}".{did_you_mean(name, SETTINGS) or f" There are: {known}."}'
        )
    return name, SETTINGS[name]


def _named(call: CommandCall) -> list[tuple[str, str]]:
    named = [(key, value) if key is not None else (value.lower(), "") for key, value in call.arguments]
    wanted = [(key, value) for key, value in named if key != "scope"]
    if not wanted:
        raise CommandError(f"Which setting? There are: {', '.join(SETTINGS)}.")
    return wanted


@command("set", "Change a setting of this session.", "model=NAME, backend=NAME, interactive=on, " + REDACT + "=on")
def set_(call: CommandCall, context: CommandContext) -> str:
    """Every argument is a setting."""
    everywhere = context.is_global(call)
    results: list[str] = []
    for key, text in _named(call):
        name, setting = _setting(key)
        if not text and not setting.switch:
            raise CommandError(f"Which {name}? Write {name}=NAME.")
        value = setting.read(context, text)
        if name == REDACT and value is False:
            context.require_alone("Removing secrets from messages")
        words = ("on" if value else "off") if setting.switch else value
        _change(context, setting, value, everywhere)
        results.append(f"{name} is now {words}{' for everyone' if everywhere else ''}")
    return _sentence(results)


@command("unset", "Forget a setting of this session.", "model, backend, interactive, " + REDACT)
def unset(call: CommandCall, context: CommandContext) -> str:
    """Every argument is the name of a setting."""
    everywhere = context.is_global(call)
    results: list[str] = []
    for key, _ in _named(call):
        name, setting = _setting(key)
        _change(context, setting, None, everywhere)
        results.append(f"{name} is no longer set for everyone" if everywhere else f"{name} is as configured again")
    return _sentence(results)


def _change(context: CommandContext, setting: Setting, value: Any, everywhere: bool) -> None:
    if not everywhere:
        setattr(context.session, setting.attribute, value)
    elif setting.keys is None:
        _default_model(context, value)
    else:
        context.change_globally(setting.keys, value)


def _default_model(context: CommandContext, name: str | None) -> None:
    """The global default model is its default connection's `model`, which applies to every request there."""
    config = context.host.config
    connection = config.default_connection or (next(iter(config.connections)) if len(config.connections) == 1 else None)
    if name is not None:
        _must_be_a_model(context, name)
        head, colon, rest = name.partition(":")
        if colon and rest and head in context.host.connections:
            name = rest
            if head != connection:
                context.change_globally(("default_connection",), head)
                connection = head
    if connection is None or connection not in context.host.connections:
        raise CommandError("There is no default backend to set a model for. Set the backend first.")
    if not context.host.in_file(("connections", connection)):
        raise CommandError(f'The backend "{connection}" comes from the environment; its model cannot be changed here.')
    context.change_globally(("connections", connection, "model"), name)


def _must_be_a_model(context: CommandContext, name: str) -> None:
    """Check a connection's model, which must be the provider's. Raises CommandError for a name only known here."""
    if name in context.session.routes or name in context.host.config.routing:
        raise CommandError(f'"{name[:80]}" is a route. A default for everyone must be a model of a backend.')
    if name in context.host.augmented:
        raise CommandError(f'"{name[:80]}" is a model with tools. A default for everyone must be a model of a backend.')


def _sentence(results: list[str]) -> str:
    text = ", ".join(results)
    return f"{text[:1].upper()}{text[1:]}."
