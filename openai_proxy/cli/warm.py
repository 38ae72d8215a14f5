"""`openai-proxy warm MODEL…`: have the provider load a model and process the fixed part of its prompt."""

from pathlib import Path

import click

from openai_proxy.cli.control import answer_of
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import complain, say

PATIENCE = 900.0
"""Seconds to wait: a large model may be loaded from a slow disk."""


@click.command("warm")
@click.argument("models", nargs=-1)
@config_dir
@state_dir
def command(models: tuple[str, ...], config_dir: Path, state_dir: Path) -> int:
    """Have the provider load MODELS and the fixed part of their prompts; without names, those with `warm: true`."""
    answer = answer_of(state_dir, "POST", "/admin/warm", {"models": list(models)}, timeout=PATIENCE)
    for result in answer["models"]:
        if not result["warm"]:
            complain(f"{result['model']}: {result['error']}")
            continue
        tokens = result.get("prompt_tokens")
        read = f", {tokens:,} prompt tokens, {result['cached_tokens']:,} of them cached before" if tokens else ""
        say(f"{result['model']} is warm on {result['connection']} after {result['seconds']:.1f} s{read}")
    return 0 if all(result["warm"] for result in answer["models"]) else 1
