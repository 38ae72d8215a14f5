"""The page if it could not be built (no Node): plain HTML with the status, and no script."""

from collections.abc import Iterable
from html import escape
from typing import Any, Final

from openai_proxy.admin.status import status_of
from openai_proxy.runtime.state import ProxyState

REFRESH: Final = 10  # seconds between two reloads
_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>openai_proxy</title>{more}
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
</head><body><main><h1>openai_proxy</h1>
"""
_END: Final = "</main></body></html>\n"
_OUTCOMES: Final = {
    "used": "This address was already used, or is older than ten minutes. `openai-proxy ui` prints a new one.",
    "wrong": "This is not an admin key, and not a code that is still valid.",
}


def entrance() -> bytes:
    """What `GET /` shows: a redirect to the path for which the session cookie is sent."""
    head = _HEAD.format(more='<meta http-equiv="refresh" content="0; url=admin">')
    return f'{head}<p><a href="admin">Status</a></p>{_END}'.encode()


def login(outcome: str) -> bytes:
    """The sign-in form; `outcome` is the result of the last attempt."""
    outcome_text = f"<p><strong>{escape(_OUTCOMES[outcome])}</strong></p>" if outcome in _OUTCOMES else ""
    form = """<form method="post" action="admin/session">
<p><label>Admin key, or a code from <code>openai-proxy ui</code><br>
<input type="password" name="key" autocomplete="current-password" required></label></p>
<p><button>Sign in</button></p></form>
<p>On the proxy's machine, <code>openai-proxy ui</code> prints an address that signs you in.</p>"""
    return f"{_HEAD.format(more='')}{outcome_text}{form}{_END}".encode()


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
