"""`openai-proxy import FILE`: convert another program's configuration, and list what could not be carried over.

Another proxy's configuration becomes conf/proxy.yaml; MCP servers are added to conf/mcp/servers.yaml.
"""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from openai_proxy.cli.options import config_dir
from openai_proxy.cli.screen import say
from openai_proxy.errors import BadRequest

if TYPE_CHECKING:
    from openai_proxy.cli.draft import Draft

PROXIES: Final = {"model_list", "primary_backends", "connections"}
"""Any of these marks a configuration as another proxy's."""


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables (optional).")
@click.option(
    "--force", is_flag=True, help="Replace an existing proxy.yaml, or existing MCP servers of the same names."
)
def command(file: Path, config_dir: Path, env_file: Path, force: bool) -> int:
    """Convert another program's configuration into conf/.

    Reads lm-proxy's TOML, a config.json with primary_backends, LiteLLM's YAML, and MCP servers from an mcpServers JSON
    (Claude Desktop, Cursor) or VS Code's mcp.json.
    """
    from openai_proxy.cli.draft import Draft
    from openai_proxy.cli.foreign import read
    from openai_proxy.cli.foreign_servers import servers_of

    document = _parsed(file)
    if not (isinstance(document, dict) and PROXIES & document.keys()) and (table := servers_of(document)) is not None:
        return _servers(table, Draft(_environment(env_file)), file.name, config_dir, force=force)
    target = config_dir / "proxy.yaml"
    if target.exists() and not force:
        raise BadRequest(f"{target} already exists; --force replaces it, --config-dir writes elsewhere")
    draft = Draft(_environment(env_file))
    kind = read(document, draft)
    _write(config_dir, target, draft.text(file.name))
    say(
        f"{target}: {len(draft.connections)} connections, {len(draft.routing)} routes, {len(draft.groups)} groups "
        f"from {file.name} ({kind})"
    )
    _report(draft)
    return 0


def _servers(table: dict[str, Any], draft: "Draft", source: str, config_dir: Path, *, force: bool) -> int:
    """Add the MCP servers of `table` to servers.yaml."""
    from openai_proxy.cli.foreign_servers import read_servers, written
    from openai_proxy.config import edit
    from openai_proxy.config.yaml_text import BrokenYaml, parse

    target = config_dir / "mcp" / "servers.yaml"
    before = target.read_bytes() if target.exists() else None
    node = parse(before or b"", str(target))
    if isinstance(node, BrokenYaml):
        raise BadRequest(f"{node.problems[0]}; fix it first")
    there = node.value.get("servers") if isinstance(node.value, dict) else None
    present = set(there) if isinstance(there, dict) else set()
    wanted = {name: server for name, server in table.items() if force or name not in present}
    for name in table.keys() - wanted.keys():
        draft.lose(f"mcpServers.{name}", "a server of that name already exists; --force replaces it")
    servers = read_servers(wanted, draft, present - table.keys() if force else set(present))
    if servers:
        text = written(servers, before.decode("utf-8-sig") if before is not None else None)
        if text is None:
            put: dict[tuple[str, ...], Any] = {("servers", name): members for name, members in servers.items()}
            text = edit.edited(target, before or b"", put).decode()
        _write(config_dir, target, text)
    say(f"{target}: {len(servers)} MCP server{'s' if len(servers) != 1 else ''} from {source}")
    _report(draft)
    if servers:
        say("list them in a model's mcp_servers; `openai-proxy mcp list` tries them")
    return 0


def _write(config_dir: Path, target: Path, text: str) -> None:
    from openai_proxy.cli.init import SCHEMAS

    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    temporary.replace(target)
    (config_dir / ".schemas").mkdir(exist_ok=True)
    for schema in SCHEMAS.glob("*.json"):
        (config_dir / ".schemas" / schema.name).write_bytes(schema.read_bytes())


def _report(draft: "Draft") -> None:
    for name in draft.unset:
        say(f"set {name} in .env")
    for line in draft.lost:
        say(line)


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
            return _json(text)
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


def _json(text: str) -> Any:
    """Parse JSON, also with the comments and trailing commas that editors allow. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError:
        bare = re.sub(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or " ", text, flags=re.DOTALL)
        return json.loads(re.sub(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])', lambda found: found[1] or "", bare))
