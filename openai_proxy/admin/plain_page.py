"""The page where it could not be built (no Node): plain HTML with the facts of the status, and no script at all."""

from collections.abc import Iterable
from html import escape
from typing import Any, Final

from openai_proxy.admin.status import status_of
from openai_proxy.runtime.state import ProxyState

REFRESH: Final = 10  # seconds between two looks
_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>openai_proxy</title>{more}
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
</head><body><main><h1>openai_proxy</h1>
"""
_END: Final = "</main></body></html>\n"
_SAID: Final = {
    "used": "This address was used before, or is older than ten minutes. `openai-proxy ui` prints a new one.",
    "wrong": "This is not an admin key, and not a code that still works.",
}


def entrance() -> bytes:
    """What `GET /` shows: it leads to where the session's cookie is sent to."""
    head = _HEAD.format(more='<meta http-equiv="refresh" content="0; url=admin">')
    return f'{head}<p><a href="admin">Status</a></p>{_END}'.encode()


def login(outcome: str) -> bytes:
    """The way in; `outcome`: what came of the last try."""
    said = f"<p><strong>{escape(_SAID[outcome])}</strong></p>" if outcome in _SAID else ""
    form = """<form method="post" action="admin/session">
<p><label>Admin key, or a code of <code>openai-proxy ui</code><br>
<input type="password" name="key" autocomplete="current-password" required></label></p>
<p><button>Sign in</button></p></form>
<p>On the machine of the proxy, <code>openai-proxy ui</code> prints an address that signs you in.</p>"""
    return f"{_HEAD.format(more='')}{said}{form}{_END}".encode()


def facts(state: ProxyState) -> bytes:
    """The status as tables."""
    status = status_of(state)
    config = status["config"]
    parts = [
        _HEAD.format(more=f'<meta http-equiv="refresh" content="{REFRESH}">'),
        f"<p>version {escape(status['version'])}, up since {escape(status['started_at'])}; configuration "
        f"{config['generation']}, loaded {escape(config['loaded_at'])}</p>",
        _table("Configuration problems", ("place", "what is wrong"),
               ((f"{p['file']}:{p['line']}:{p['column']}", p["message"]) for p in config["problems"])),
        _table("Connections", ("name", "type", "state", "models", "last error"),
               ((c["name"], c["api_type"], c["state"], c["models"], c["last_error"]) for c in status["connections"])),
        _table("MCP servers", ("name", "type", "state", "tools", "restarts", "last error"),
               ((s["name"], s["type"], s["state"], ", ".join(s["tools"]), s["restarts"], s["last_error"])
                for s in status["mcp_servers"])),
        _table("Running requests", ("id", "model", "state", "connection", "seconds"),
               ((r["id"], r["model"], r["state"], r["connection"], r["seconds"]) for r in status["requests"])),
        "<p>This is the plain form of the page. Where Node 20 or newer is installed, <code>make run</code> builds the "
        "whole one.</p>",
        _END,
    ]  # fmt: skip
    return "".join(parts).encode()


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(_shown(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return f"<h2>{title}</h2><p>none</p>"
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<h2>{title}</h2><table border="1" cellpadding="4"><tr>{head}</tr>{body}</table>'


def _shown(cell: Any) -> str:
    return "" if cell is None else str(cell)
