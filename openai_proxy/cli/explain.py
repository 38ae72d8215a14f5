"""`openai-proxy explain MODEL`: where a request would go, in what form, and which rule decided."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.terminal_text import printable_line

if TYPE_CHECKING:
    from openai_proxy.config.snapshot import Snapshot

OFFERED = "offered now: "


@click.command("explain")
@click.argument("model")
@config_dir
@state_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables (optional).")
@click.option("--key", help="Explain it for this client key.")
def command(model: str, config_dir: Path, state_dir: Path, env_file: Path, key: str | None) -> int:
    """Show the connection, upstream model, params, tools and skills of a request for MODEL."""
    from openai_proxy.cli.offline import caller_of, generation_of, snapshot_of
    from openai_proxy.decision.decide import Decision, decide
    from openai_proxy.decision.explain import USAGE_SINCE, lines
    from openai_proxy.decision.visible import CHAT
    from openai_proxy.upstream.lessons import LESSONS, LessonTable

    snapshot = snapshot_of(config_dir, env_file)
    generation = generation_of(snapshot)
    caller = caller_of(generation, key)
    decision = decide(generation, caller, CHAT, model)
    lessons = LessonTable(state_dir / LESSONS)
    for line in lines(generation, caller, model, decision, lessons, _usage(state_dir, USAGE_SINCE)):
        if line.startswith("skills (") and (offered := _offered_now(snapshot, state_dir, model)) is not None:
            say(printable_line(offered))
        say(printable_line(line))
    return 0 if isinstance(decision, Decision) else 1


def _offered_now(snapshot: "Snapshot", state_dir: Path, model: str) -> str | None:
    """The number of tools of an augmented model, from the running daemon, else only those that need no MCP server."""
    from openai_proxy.cli.control import NotRunning, ask, listens

    if listens(state_dir):
        try:
            _, answer = ask(state_dir, "GET", f"/admin/explain?model={quote(model)}")
        except NotRunning:
            return None
        found = answer.get("lines") if isinstance(answer, dict) else None
        return next((line for line in found or () if line.startswith(OFFERED)), None)
    from openai_proxy.runtime import augmented_models
    from openai_proxy.tools.mcp.supervisor import Supervisor

    tools = augmented_models.load_tools(snapshot, None, state_dir)
    models = augmented_models.build(snapshot, tools, Supervisor(), augmented_models.SharedResources()).models
    if model not in models:
        return None
    without = "; tools of MCP servers are counted only while the daemon runs" if models[model].servers else ""
    return f"{OFFERED}{models[model].offering.summary()}{without}"


def _usage(state: Path, since: str) -> dict[str, Any] | None:
    """Usage by model; None if none has been recorded yet."""
    from openai_proxy.cli.usage import ask
    from openai_proxy.errors import BadRequest

    try:
        return ask(state, "model", since)
    except BadRequest:
        return None
