"""The command line: a click group whose commands are imported only when they are called.

`openai-proxy --help` must not pay for aiohttp, nor `keys hash` for pydantic.
"""

import importlib
import logging
import sys
from collections.abc import Sequence

import click

from openai_proxy.cli.groups import NearestGroup
from openai_proxy.cli.screen import complain, say
from openai_proxy.errors import ProxyError
from openai_proxy.nearest import suggestion
from openai_proxy.version import __version__

COMMANDS = {
    "serve": ("openai_proxy.cli.serve", "Run the daemon (the default command)."),
    "check": ("openai_proxy.cli.check", "Read and validate the configuration without serving."),
    "keys": ("openai_proxy.cli.keys", "Create or hash client keys."),
    "init": ("openai_proxy.cli.init", "Write a commented starter configuration."),
    "ui": ("openai_proxy.cli.ui", "Print an address of the page that signs in once."),
    "status": ("openai_proxy.cli.status", "Show what the running daemon is doing."),
    "reload": ("openai_proxy.cli.reload", "Have the running daemon read conf/ now."),
    "warm": ("openai_proxy.cli.warm", "Have the provider load a model and the fixed part of its prompt."),
    "mcp": ("openai_proxy.cli.mcp", "Try MCP servers from the shell; restart one."),
    "logs": ("openai_proxy.cli.logs", "Read chat logs as conversations."),
    "chat": ("openai_proxy.cli.chat", "Talk to a model of the running daemon."),
    "models": ("openai_proxy.cli.models", "List the ids that a client would see."),
    "connect": ("openai_proxy.cli.connect", "Show what to enter in a client to use this proxy."),
    "explain": ("openai_proxy.cli.explain", "Explain where a request for a model goes, and why."),
    "import": ("openai_proxy.cli.import_", "Convert another program's configuration into conf/."),
    "usage": ("openai_proxy.cli.usage", "Report tokens and cost by month, day, group, key, model, connection, user …"),
}
"""Command name -> (module with a click command called `command`, one line of help)."""

EXIT_REFUSED = 1  # the configuration or the request is wrong
EXIT_CRASH = 70  # EX_SOFTWARE of sysexits.h


class LazyGroup(NearestGroup):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # `openai-proxy --port 9000` is `openai-proxy serve --port 9000`.
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "-h", "--version")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="openai-proxy")
def cli() -> None:
    """The LLM proxy for a home server: any OpenAI client on one side, any provider on the other."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are one line on stderr."""
    try:
        result = cli.main(args=list(arguments), prog_name="openai-proxy", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "openai-proxy"
        words = " ".join(error.format_message().split())
        if isinstance(error, click.NoSuchOption):
            words = f"no such option '{error.option_name}'{suggestion(error.option_name, error.possibilities or ())}"
        complain(f"{words.rstrip('.')}; see `{command} --help`")
        return 2
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except ProxyError as error:
        problems = getattr(error, "problems", ())  # a ConfigError has them; importing it would cost every command
        for problem in problems:
            say(problem, err=True)
        if not problems:
            complain(error.message)
        return EXIT_REFUSED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_REFUSED
    except Exception as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger(__name__).exception("crash")
        complain(f"internal error: {type(error).__name__}: {error}")
        return EXIT_CRASH
    return result if isinstance(result, int) else 0
