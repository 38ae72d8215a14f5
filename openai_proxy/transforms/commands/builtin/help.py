"""`!/help`: generated from the registry."""

from openai_proxy.transforms.commands.context import CommandContext, CommandError, did_you_mean
from openai_proxy.transforms.commands.parser import CommandCall
from openai_proxy.transforms.commands.registry import command, commands


@command("help", "Show the commands, or one of them.", "COMMAND")
def show_help(call: CommandCall, context: CommandContext) -> str:
    """One line per command."""
    known = commands()
    wanted = next((value for _, value in call.arguments), None)
    if wanted is not None:
        name = wanted.removeprefix(context.prefix).lower().replace("_", "-")
        if name not in known:
            raise CommandError(f'There is no command "{name[:60]}".{did_you_mean(name, known)}')
        return _line(name, context)
    lines = [_line(name, context) for name in sorted(known)]
    return "\n".join(["Commands of this proxy:", *lines, "Add scope=global to change it for everyone."])


def _line(name: str, context: CommandContext) -> str:
    found = commands()[name]
    return f"{context.prefix}{name}({found.takes})  {found.does}"
