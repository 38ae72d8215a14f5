"""`openai-proxy models`: the ids that a client would see.

The running daemon knows what the upstreams offer; if none is running, their lists are requested now.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_proxy.cli.control import NotRunning, ask
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.terminal_text import printable_line

if TYPE_CHECKING:
    from openai_proxy.config.snapshot import Snapshot

PATIENCE = 10.0  # seconds for an upstream's list


@click.command("models")
@config_dir
@state_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables (optional).")
@click.option("--key", help="See them as the client with this key.")
@click.option("--json", "as_json", is_flag=True, help="In the format of /v1/models.")
def command(config_dir: Path, state_dir: Path, env_file: Path, key: str | None, as_json: bool) -> int:
    """List the ids that a client would see, one per line."""
    from openai_proxy.cli.offline import caller_of, generation_of, snapshot_of
    from openai_proxy.decision.visible import may_ask

    snapshot = snapshot_of(config_dir, env_file)
    generation = generation_of(snapshot)
    caller = caller_of(generation, key)
    try:
        status, answer = ask(state_dir, "GET", "/v1/models")
        listed: list[dict[str, Any]] = answer["data"] if status == 200 else []
    except NotRunning:
        listed = asyncio.run(_fetch_models(snapshot))
    models = [model for model in listed if may_ask(generation, caller, model["id"])]
    if as_json:
        import json

        say(json.dumps({"object": "list", "data": models}, indent=2))
    else:
        for model in models:
            say(printable_line(model["id"]))
    return 0


async def _fetch_models(snapshot: "Snapshot") -> list[dict[str, Any]]:
    """What a daemon with this configuration would list. Upstreams without a list are reported on stderr."""
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
