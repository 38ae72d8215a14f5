"""`openai-proxy status`: what the running daemon is doing."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from openai_proxy.cli.control import answer_of
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.terminal_text import printable_line


@click.command("status")
@config_dir
@state_dir
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as JSON.")
@click.option("--forget", metavar="CONNECTION[:MODEL]", help="First forget what was learnt about it.")
def command(config_dir: Path, state_dir: Path, as_json: bool, forget: str | None) -> int:
    """Show the running daemon: configuration, connections and what was learnt about them, MCP servers, requests."""
    if forget is not None:
        name, _, model = forget.partition(":")
        answer_of(state_dir, "DELETE", f"/admin/lessons/{quote(name, '')}?model={quote(model, '')}")
    status = answer_of(state_dir, "GET", "/admin/status")
    if as_json:
        say(json.dumps(status, indent=2))
        return 0
    for line in _lines(status):
        say(printable_line(line))
    return 0


def _lines(status: dict[str, Any]) -> list[str]:
    config = status["config"]
    lines = [
        f"openai-proxy {status['version']}, up since {status['started_at']}",
        f"configuration {config['generation']}, loaded {config['loaded_at']}",
    ]
    lines += [f"  problem: {p['file']}:{p['line']}:{p['column']}: {p['message']}" for p in config["problems"]]
    lines += _storage(status["storage"])
    lines.append("connections:")
    lines += [
        f"  {c['name']} ({c['api_type']}): {c['state']}" + (f", {c['last_error']}" if c.get("last_error") else "")
        for c in status["connections"]
    ]
    lines += [
        f"  learnt: {c['name']}{f':{model}' if model else ''} {words}"
        for c in status["connections"]
        for model, words in c.get("learnt", {}).items()
    ]
    if status["mcp_servers"]:
        lines.append("MCP servers:")
        lines += [
            f"  {m['name']} ({m['type']}): {m['state']}, {len(m['tools'])} tools (about {m.get('tokens', 0):,} tokens)"
            + (f", {m['last_error']}" if m.get("last_error") else "")
            for m in status["mcp_servers"]
        ]
    if wyoming := status.get("wyoming"):
        models = ", ".join(f"{name} by {wyoming[name]}" for name in ("stt", "tts") if wyoming[name])
        lines.append(f"Wyoming: port {wyoming['port']}, {models}, {wyoming['clients']} clients connected")
    lines.append(f"requests: {len(status['requests'])} running")
    lines += [f"  {r['id']} {r['model']}: {r['state']}, since {r['since']}" for r in status["requests"]]
    return lines


def _storage(storage: dict[str, Any]) -> list[str]:
    if storage["state"] == "memory":
        return []
    if storage["state"] == "alone":
        return [f"storage: redis cannot be used ({storage['cause']}); this daemon counts for itself"]
    return [f"storage: redis, shared by {storage['daemons']} daemon{'s' if storage['daemons'] != 1 else ''}"]
