"""`openai-proxy reload`: have the running daemon read conf/ now."""

from pathlib import Path

import click

from openai_proxy.cli.control import ask
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import complain, say


@click.command("reload")
@config_dir
@state_dir
def command(config_dir: Path, state_dir: Path) -> int:
    """Reload now and print what changed. Exits with 1 if anything in conf/ is wrong."""
    code, answer = ask(state_dir, "POST", "/admin/reload")
    for problem in answer.get("problems", ()):
        say(f"{problem['file']}:{problem['line']}:{problem['column']}: {problem['message']}", err=True)
    if "error" in answer:
        complain(answer["error"]["message"])
        return 1
    words = [f"{kind} {name}" for kind in ("added", "removed", "updated") for name in answer[kind]]
    state = "configuration" if answer["changed"] else "nothing changed: configuration"
    say(f"{state} {answer['generation']}" + (": " + ", ".join(words) if words else ""))
    return 0 if code == 200 else 1
