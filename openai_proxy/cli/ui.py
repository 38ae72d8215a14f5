"""`openai-proxy ui`: an address of the page that signs in once."""

from pathlib import Path

import click

from openai_proxy.cli.control import ask
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.errors import BadRequest


@click.command("ui")
@config_dir
@state_dir
def command(config_dir: Path, state_dir: Path) -> int:
    """Print an address of the page that signs in the first browser that opens it within ten minutes."""
    status, answer = ask(state_dir, "POST", "/admin/ui")
    if status != 200:
        raise BadRequest("the running daemon has no page; is it of an older version?")
    first, *others = answer["urls"] or [f"(the proxy's address){answer['path']}"]
    say(first)
    for other in others:
        say(f"or {other}")
    say("The address works once, for ten minutes.", err=True)
    return 0
