"""`openai-proxy connect CLIENT`: what to enter in a client to use this proxy."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openai_proxy.admin.recipes import KEY_PLACE, NO_KEY, RECIPES, RecipePlace
from openai_proxy.cli.control import NotRunning, ask
from openai_proxy.cli.options import config_dir, default_state_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.globs import is_glob
from openai_proxy.nearest import nearest

if TYPE_CHECKING:
    from openai_proxy.config.snapshot import Snapshot


@click.command("connect")
@click.argument("client", required=False)
@config_dir
@state_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables; may be missing.")
@click.option("--url", help="The address to print (default: this machine's, as other devices reach it).")
@click.option("--key", help="The client's key, to be printed in its place.")
@click.option("--model", help="The model to begin with (default: one that exists).")
def command(
    client: str | None,
    config_dir: Path,
    state_dir: Path | None,
    env_file: Path,
    url: str | None,
    key: str | None,
    model: str | None,
) -> int:
    """Print what to enter in CLIENT to use this proxy; without CLIENT the clients there are.

    Lines beginning with # explain; the rest is what the client reads: variables for a shell, or the file that is named.
    """
    if client is None:
        width = max(map(len, RECIPES))
        for name, (title, _) in RECIPES.items():
            say(f"{name:<{width}}  {title}")
        return 0
    if client not in RECIPES:
        near = nearest(client, RECIPES)
        hint = f"; did you mean {near[0]}?" if near else "; `openai-proxy connect` lists them"
        raise click.UsageError(f"'{client}' is not a client that I know{hint}")
    from openai_proxy.cli.offline import snapshot_of
    from openai_proxy.config.problems import ConfigError

    try:
        snapshot = snapshot_of(config_dir, env_file)
    except ConfigError as error:
        for problem in error.problems:
            say(problem, err=True)
        return 1
    place = _place(snapshot, state_dir or default_state_dir(config_dir), url, key, model)
    say(RECIPES[client][1](place), scrub=False)  # the key that was given is what is to be printed
    return 0


def _place(snapshot: "Snapshot", state: Path, url: str | None, key: str | None, model: str | None) -> RecipePlace:
    """This proxy: as the running daemon knows it, else as it is configured."""
    from openai_proxy import addresses

    try:
        listed: list[dict[str, Any]] = ask(state, "GET", "/v1/models")[1]["data"]
        urls: list[str] = ask(state, "GET", "/admin/status")[1]["addresses"]
    except NotRunning:
        names = [*snapshot.models, *(name for name in snapshot.proxy.routing if not is_glob(name)), "echo"]
        listed = [{"id": name} for name in dict.fromkeys(names)]
        urls = addresses.urls([snapshot.proxy.host], snapshot.proxy.port)
    if model is not None and all(entry["id"] != model for entry in listed):
        say(f"there is no model '{model}' in the list; `openai-proxy models` prints it", err=True)
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
    return f"A key of {named[0]}; a new one: openai-proxy keys new" if named else "A key that your validator knows."
