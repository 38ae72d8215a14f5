"""Click groups that suggest the nearest command for a misspelt one, as click does for options."""

import click

from openai_proxy.nearest import suggestion


class NearestGroup(click.Group):
    """A click group with suggestions."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click.Group. Raises UsageError with the nearest command's name."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise click.UsageError(f"no such command '{name}'{suggestion(name, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)
