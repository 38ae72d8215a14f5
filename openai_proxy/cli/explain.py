"""`openai-proxy explain MODEL`: where a request would go, in which shape, and which rule decided."""

from pathlib import Path

import click

from openai_proxy.cli.options import config_dir, default_state_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.terminal_text import printable_line


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
    from openai_proxy.decision.explain import lines
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
    lessons = LessonTable((state_dir or default_state_dir(config_dir)) / LESSONS)
    for line in lines(generation, caller, model, decision, lessons):
        say(printable_line(line))
    return 0 if isinstance(decision, Decision) else 1
