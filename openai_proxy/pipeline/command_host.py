"""What commands may know of the configuration, and how they change it for everyone: conf/proxy.yaml, then a reload."""

from typing import Any

from openai_proxy.config.environment import FLAGS, VARIABLES
from openai_proxy.config.problems import ENVIRONMENT, ConfigError
from openai_proxy.decision.decide import Decision, decide
from openai_proxy.errors import ProxyError
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.runtime.shared_edits import write_members
from openai_proxy.secrets import vault
from openai_proxy.transforms.commands.context import CommandHost, Keys
from openai_proxy.version import __version__


def command_host(context: RequestContext) -> CommandHost:
    """The configuration as this caller may see it."""
    generation, caller = context.generation, context.exchange.caller
    access, snapshot = generation.access, generation.snapshot
    connections = tuple(name for name in generation.config.connections if access.may_reach(caller, name))

    def serves(model: str) -> bool:
        return isinstance(decide(generation, caller, context.endpoint, model), Decision)

    def models() -> dict[str, list[str]]:
        known = context.state.catalog.known()
        return {name: [str(model.get("id")) for model in known[name]] for name in connections if name in known}

    def overridden(keys: Keys) -> str | None:
        for flag, path in FLAGS.items():
            if path == keys and context.state.settings.flags.get(flag) is not None:
                return f"the flag --{flag.replace('_', '-')}"
        environment = snapshot.memory.environment
        settings = environment.settings if environment is not None else {}
        return next(
            (f"the variable {row.name}" for row in VARIABLES
             if row.provider is None and row.setting == keys and row.name in settings),
            None,
        )  # fmt: skip

    def in_file(keys: Keys) -> bool:
        return snapshot.place("proxy", None, keys)[0] != ENVIRONMENT

    augmented = tuple(name for name in snapshot.models if access.may_use(caller, name))
    return CommandHost(__version__, generation.config, connections, augmented, serves, models, overridden, in_file)


async def write_down(context: RequestContext, members: dict[Keys, Any]) -> list[str]:
    """Change conf/proxy.yaml and reload; this request continues with the new configuration. Returns what went wrong."""
    state = context.state
    try:
        await write_members(state, members)
    except ConfigError as error:
        reason = vault.scrub(error.problems[0].message)
        return [f"But the configuration file could not be changed: {reason}."]
    state.edits.publish(members)
    try:
        result = await state.reloads.ask()
    except ProxyError:
        return ["But the configuration could not be reloaded."]
    context.follow(state.generation)
    problems = [p for p in result.get("problems", ()) if str(p.get("file", "")).endswith("proxy.yaml")]
    return [f"But the configuration has a problem now: {problems[0]['message']}."] if problems else []
