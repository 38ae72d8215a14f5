"""`openai-proxy import FILE`: another proxy's configuration as conf/proxy.yaml, and what could not come along."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import click

from openai_proxy.cli.options import config_dir
from openai_proxy.cli.screen import say
from openai_proxy.errors import BadRequest


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables; may be missing.")
@click.option("--force", is_flag=True, help="Replace a proxy.yaml that is there.")
def command(file: Path, config_dir: Path, env_file: Path, force: bool) -> int:
    """Turn lm-proxy's TOML, a config.json with primary_backends, or LiteLLM's YAML into conf/."""
    from openai_proxy.cli.draft import Draft
    from openai_proxy.cli.foreign import read
    from openai_proxy.cli.init import SCHEMAS

    target = config_dir / "proxy.yaml"
    if target.exists() and not force:
        raise BadRequest(f"{target} is there already; --force replaces it, --config-dir writes elsewhere")
    draft = Draft(_environment(env_file))
    kind = read(_parsed(file), draft)
    text = draft.text(file.name)
    config_dir.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(".proxy.yaml.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    temporary.replace(target)
    (config_dir / ".schemas").mkdir(exist_ok=True)
    for schema in SCHEMAS.glob("*.json"):
        (config_dir / ".schemas" / schema.name).write_bytes(schema.read_bytes())
    say(
        f"{target}: {len(draft.connections)} connections, {len(draft.routing)} routes, {len(draft.groups)} groups "
        f"from {file.name} ({kind})"
    )
    for name in draft.unset:
        say(f"set {name} in .env")
    for line in draft.lost:
        say(line)
    return 0


def _environment(env_file: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    values = {k: v for k, v in dotenv_values(env_file, interpolate=False).items() if v is not None}
    return {**values, **os.environ}


def _parsed(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".toml":
            return tomllib.loads(text)
        if file.suffix.lower() == ".json":
            return json.loads(text)
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            return YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"line {mark.line + 1}: " if mark is not None else ""
            raise BadRequest(f"{file.name}: {place}not valid YAML") from None
    except OSError as error:
        raise BadRequest(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{file.name}: {error}") from None
