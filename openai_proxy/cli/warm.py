"""`openai-proxy warm MODEL…`: have the upstream load a model and read the fixed part of its prompt."""

from pathlib import Path

import click

from openai_proxy.cli.control import ask
from openai_proxy.cli.options import config_dir, default_state_dir, state_dir
from openai_proxy.cli.screen import complain, say

PATIENCE = 900.0
"""Seconds: a large model is read from a slow disk."""


@click.command("warm")
@click.argument("models", nargs=-1)
@config_dir
@state_dir
def command(models: tuple[str, ...], config_dir: Path, state_dir: Path | None) -> int:
    """Have the upstream load MODELS and the fixed part of their prompts; without names, those with `warm: true`."""
    directory = state_dir or default_state_dir(config_dir)
    status, answer = ask(directory, "POST", "/admin/warm", {"models": list(models)}, timeout=PATIENCE)
    if status != 200:
        complain(answer["error"]["message"])
        return 1
    for result in answer["models"]:
        if not result["warm"]:
            complain(f"{result['model']}: {result['error']}")
            continue
        tokens = result.get("prompt_tokens")
        read = f", {tokens:,} prompt tokens, {result['cached_tokens']:,} of them cached before" if tokens else ""
        say(f"{result['model']} is warm on {result['connection']} after {result['seconds']:.1f} s{read}")
    return 0 if all(result["warm"] for result in answer["models"]) else 1
