"""`openai-proxy models`: the ids a client would see.

The running daemon knows what the upstreams offer; where none runs, they are asked here and now.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_proxy.cli.control import NotRunning, ask
from openai_proxy.cli.options import config_dir, default_state_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.terminal_text import printable_line

if TYPE_CHECKING:
    from openai_proxy.config.snapshot import Snapshot

PATIENCE = 10.0  # seconds for an upstream's list


@click.command("models")
@config_dir
@state_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables; may be missing.")
@click.option("--key", help="See them as the client with this key.")
@click.option("--json", "as_json", is_flag=True, help="As /v1/models has them.")
def command(config_dir: Path, state_dir: Path | None, env_file: Path, key: str | None, as_json: bool) -> int:
    """List the ids a client would see, one a line."""
    from openai_proxy.cli.offline import caller_of, generation_of, snapshot_of
    from openai_proxy.config.problems import ConfigError
    from openai_proxy.decision.visible import may_ask

    try:
        snapshot = snapshot_of(config_dir, env_file)
    except ConfigError as error:
        for problem in error.problems:
            say(problem, err=True)
        return 1
    generation = generation_of(snapshot)
    caller = caller_of(generation, key)
    try:
        status, answer = ask(state_dir or default_state_dir(config_dir), "GET", "/v1/models")
        listed: list[dict[str, Any]] = answer["data"] if status == 200 else []
    except NotRunning:
        listed = asyncio.run(_asked(snapshot))
    models = [model for model in listed if may_ask(generation, caller, model["id"])]
    if as_json:
        import json

        say(json.dumps({"object": "list", "data": models}, indent=2))
    else:
        for model in models:
            say(printable_line(model["id"]))
    return 0


async def _asked(snapshot: "Snapshot") -> list[dict[str, Any]]:
    """What a daemon of this configuration would list. What an upstream does not tell is said on stderr."""
    from openai_proxy.cli.offline import generation_of
    from openai_proxy.decision.visible import every_model
    from openai_proxy.errors import ProxyError
    from openai_proxy.upstream.factory import Providers

    providers = Providers(asyncio.get_running_loop(), snapshot.config_dir)
    built = providers.build(snapshot.proxy.connections)
    offered: dict[str, list[dict[str, Any]]] = {}

    async def fetch(name: str) -> None:
        offered[name] = []
        try:
            async with asyncio.timeout(PATIENCE):
                offered[name] = await built[name].list_models()
        except (ProxyError, TimeoutError) as error:
            say(f"{name}: {str(error) or 'no answer in time'}", err=True)

    try:
        await asyncio.gather(*(fetch(name) for name in built))
    finally:
        for provider in built.values():
            await provider.aclose()
        await providers.aclose()
    return every_model(generation_of(snapshot), offered)
