"""`openai-proxy keys`: create or hash a client key. Only the hash goes into YAML."""

import sys

import click

from openai_proxy.auth.keys import hashed, new_key
from openai_proxy.cli.groups import NearestGroup
from openai_proxy.cli.screen import say


@click.group("keys", cls=NearestGroup)
def command() -> None:
    """Create or hash client keys."""


@command.command("new")
@click.option("--group", default="family", show_default=True, help="The group for the printed YAML lines.")
def new(group: str) -> None:
    """Print a new key, its hash, and the lines for conf/proxy.yaml. The key itself is not stored anywhere."""
    import json

    key = new_key()
    name = group if group.replace("-", "").replace("_", "").isalnum() else json.dumps(group)
    say(f"key:  {key}")
    say(f"hash: {hashed(key)}")
    say("\nGive the key to the client, and paste this into conf/proxy.yaml:\n")
    say(f'groups:\n  {name}:\n    api_keys: ["{hashed(key)}"]')


@command.command("hash")
@click.argument("key", required=False)
def hash_(key: str | None) -> None:
    """Print `sha256:…` for KEY, or for a key typed (hidden) or piped in."""
    if key is None:
        key = click.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise click.UsageError("a key must be printable ASCII without spaces")
    say(hashed(key))
