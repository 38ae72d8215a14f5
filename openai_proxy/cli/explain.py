"""`openai-proxy explain MODEL`: where a request would go, in which shape, and which rule decided."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from openai_proxy.cli.options import config_dir, default_state_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.terminal_text import printable_line

if TYPE_CHECKING:
    from openai_proxy.config.snapshot import Snapshot

OFFERED = "offered now: "


@click.command("explain")
@click.argument("model")
@config_dir
@state_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables; may be missing.")
@click.option("--key", help="Explain it for this client key.")
def command(model: str, config_dir: Path, state_dir: Path | None, env_file: Path, key: str | None) -> int:
    """Tell which connection, upstream model, params, tools and skills a request for MODEL would get."""
    from openai_proxy.cli.offline import caller_of, generation_of, snapshot_of
    from openai_proxy.config.problems import ConfigError
    from openai_proxy.decision.decide import Decision, decide
    from openai_proxy.decision.explain import USAGE_SINCE, lines
    from openai_proxy.endpoints import at
    from openai_proxy.upstream.lessons import LESSONS, LessonTable

    try:
        snapshot = snapshot_of(config_dir, env_file)
    except ConfigError as error:
        for problem in error.problems:
            say(problem, err=True)
        return 1
    generation = generation_of(snapshot)
    caller = caller_of(generation, key)
    decision = decide(generation, caller, at("/chat/completions"), model)
    state = state_dir or default_state_dir(config_dir)
    lessons = LessonTable(state / LESSONS)
    for line in lines(generation, caller, model, decision, lessons, _usage(state, USAGE_SINCE)):
        if line.startswith("skills (") and (offered := _offered_now(snapshot, state, model)) is not None:
            say(printable_line(offered))
        say(printable_line(line))
    return 0 if isinstance(decision, Decision) else 1


def _offered_now(snapshot: "Snapshot", state_dir: Path, model: str) -> str | None:
    """How many tools an augmented model has: as the running daemon counts them, else those that need no MCP server."""
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
    models = augmented_models.build(snapshot, tools, Supervisor(), augmented_models.Workshop()).models
    if model not in models:
        return None
    without = "; those of MCP servers are counted while the daemon runs" if models[model].servers else ""
    return f"{OFFERED}{models[model].offering.summary()}{without}"


def _usage(state: Path, since: str) -> dict[str, Any] | None:
    """Usage by model; None where nothing has been written down yet."""
    from openai_proxy.cli.usage import ask
    from openai_proxy.errors import BadRequest

    try:
        return ask(state, "model", since)
    except BadRequest:
        return None
