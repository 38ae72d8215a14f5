"""`openai-proxy connect CLIENT`: what to enter in a client to use this proxy."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_proxy.admin.recipes import KEY_PLACE, NO_KEY, RECIPES, RecipePlace
from openai_proxy.cli.control import NotRunning, ask
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.globs import is_glob
from openai_proxy.nearest import nearest

if TYPE_CHECKING:
    from openai_proxy.config.snapshot import Snapshot


@click.command("connect")
@click.argument("client", required=False)
@config_dir
@state_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables (optional).")
@click.option("--url", help="The address to print (default: this machine's, as other devices reach it).")
@click.option("--key", help="The client's key, printed in place of the placeholder.")
@click.option("--model", help="The model to start with (default: one that exists).")
def command(
    client: str | None,
    config_dir: Path,
    state_dir: Path,
    env_file: Path,
    url: str | None,
    key: str | None,
    model: str | None,
) -> int:
    """Print what to enter in CLIENT to use this proxy; without CLIENT, list the known clients.

    Lines beginning with # explain; the rest is for the client: shell variables, or the contents of the named file.
    """
    if client is None:
        width = max(map(len, RECIPES))
        for name, (title, _) in RECIPES.items():
            say(f"{name:<{width}}  {title}")
        return 0
    if client not in RECIPES:
        near = nearest(client, RECIPES)
        hint = f"; did you mean {near[0]}?" if near else "; `openai-proxy connect` lists them"
        raise click.UsageError(f"unknown client '{client}'{hint}")
    from openai_proxy.cli.offline import snapshot_of

    snapshot = snapshot_of(config_dir, env_file)
    place = _place(snapshot, state_dir, url, key, model)
    say(RECIPES[client][1](place), scrub=False)  # the owner asked for this key to be printed
    return 0


def _place(snapshot: "Snapshot", state: Path, url: str | None, key: str | None, model: str | None) -> RecipePlace:
    """This proxy as the running daemon describes it, else as configured."""
    from openai_proxy import addresses

    try:
        listed: list[dict[str, Any]] = ask(state, "GET", "/v1/models")[1]["data"]
        urls: list[str] = ask(state, "GET", "/admin/status")[1]["addresses"]
    except NotRunning:
        names = [*snapshot.models, *(name for name in snapshot.proxy.routing if not is_glob(name)), "echo"]
        listed = [{"id": name} for name in dict.fromkeys(names)]
        urls = addresses.urls([snapshot.proxy.host], snapshot.proxy.port)
    if model is not None and all(entry["id"] != model for entry in listed):
        say(f"there is no model '{model}'; `openai-proxy models` lists them", err=True)
    needed = _keys_required(snapshot)
    return RecipePlace(
        url=(url or urls[0]).rstrip("/").removesuffix("/v1"),
        key=key or (KEY_PLACE if needed else NO_KEY),
        key_hint=_hint(snapshot, key, needed),
        models=tuple(listed),
        model=model or next((str(entry["id"]) for entry in listed), "echo"),
        chosen=model is not None,
        augmented=frozenset(snapshot.models),
        has_tools=snapshot.has_tools or any(server.enabled for server in snapshot.servers.values()),
    )


def _keys_required(snapshot: "Snapshot") -> bool:
    proxy = snapshot.proxy
    groups = any(group.api_keys for group in proxy.groups.values())
    return groups or proxy.require_api_key or proxy.check_api_key is not None


def _hint(snapshot: "Snapshot", key: str | None, needed: bool) -> str:
    if key is not None:
        return "The key is the one you gave."
    if not needed:
        return "No key is needed on this network; enter anything."
    named = [name for name, group in snapshot.proxy.groups.items() if group.api_keys]
    return (
        f"A key of {named[0]}; for a new one: openai-proxy keys new" if named else "A key that your validator accepts."
    )
