"""conf/tools/*.yaml from the outside: called over /mcp, in a turn, in a template; and every way to misbehave."""

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually
from tests.harness.wire import Answer

SECRET = "sesame-opens-7d1f"
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}


class Device(http.server.ThreadingHTTPServer):
    """A device with an HTTP API: it records its requests; the path determines the answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.release = threading.Event()
        self.document = b""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is not an error."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Device

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        device = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        device.seen.append((self.command, self.path, dict(self.headers), body))
        path = self.path.partition("?")[0]
        status, headers, answer = 200, {"Content-Type": "application/json"}, b'{"state": {"level": [1, 2]}}'
        if path == "/away":
            status, headers, answer = 302, {"Location": "http://localhost:9/else"}, b""
        elif path == "/here":
            status, headers, answer = 302, {"Location": "/lights/moved"}, b""
        elif path == "/error":
            status, answer = 500, f"broken at {device.url}/error with {SECRET}".encode()
        elif path == "/large":
            answer = b"x" * (3 << 20)
        elif path == "/slow":
            device.release.wait(60)
        elif path == "/openapi.json":
            answer = device.document
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # the base class looks these names up


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def nothing_seen(device: Device) -> None:
    """Forget the requests of earlier tests."""
    device.seen.clear()


def tools(device: Device, folder: Path) -> str:
    """The tool file, as JSON, which is also YAML."""
    place = {"url": "${DEVICE}/lights/{text}", "headers": {"Authorization": "Bearer ${DEVICE_TOKEN}"}}
    shell = ["sh", "-c"]
    http_tools = {
        "light": {**place, "method": "PUT", "query": {"q": "{text}"}, "json": {"value": "{text}"},
                  "result": "state.level"},
        "away": {"url": "${DEVICE}/away"}, "here": {"url": "${DEVICE}/here"}, "error": {"url": "${DEVICE}/error"},
        "large": {"url": "${DEVICE}/large"}, "slow": {"url": "${DEVICE}/slow", "timeout": 0.3},
        "rebound": {"url": "http://rebound.example.invalid/{text}"},
    }  # fmt: skip
    commands: dict[str, Any] = {
        "say": {"command": ["printf", "%s|", "{text}", "--opt={text}"]},
        "fail": {"command": [*shell, "echo it went wrong >&2; exit 3"]},
        "flood": {"command": [*shell, f"echo $$$$ > {folder}/flood; yes"]},
        "hang": {"command": [*shell, f"sleep 1000 & echo $! > {folder}/hang; wait"], "timeout": 0.5},
        "leaves": {"command": [*shell, f"setsid sleep 1000 >/dev/null 2>&1 & echo $! > {folder}/leaves"]},
        "variables": {"command": ["env"]},
        "read": {"command": ["cat"], "stdin": "read: {text}"},
        "nowhere": {"command": ["/no/such/program"]},
    }
    made = [{"name": n, "description": n, "parameters": TEXT, "http": http} for n, http in http_tools.items()]
    made += [{"name": n, "description": n, "parameters": TEXT, **command} for n, command in commands.items()]
    return json.dumps(made)


@pytest.fixture(scope="module")
def configured_daemon(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("tools")
    model = {"name": "augmented/m", "upstream_model": "echo", "tools": ["say", "light"], "system_prompt": "{{say(text='in a prompt')}}"}  # fmt: skip  # noqa: E501
    with Daemon(
        root,
        {"connections": {"echo": {"api_type": "echo"}}},
        files={"tools/house.yaml": tools(device, root), "models/m.yaml": json.dumps(model)},
        env={"DEVICE": device.url, "DEVICE_TOKEN": SECRET},
    ).serving() as daemon:
        yield daemon


def call(configured_daemon: Daemon, name: str, text: str | None = None, **arguments: Any) -> tuple[str, bool]:
    """A tool's result over /mcp, and whether it is an error."""
    given = {"text": text, **arguments} if text is not None else arguments
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": given}}
    result = post(configured_daemon, body).json()["result"]
    return str(result["content"][0]["text"]), bool(result["isError"])


def post(configured_daemon: Daemon, body: dict[str, Any]) -> Answer:
    headers = [("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")]
    return configured_daemon.post("/mcp", json.dumps(body).encode(), headers=headers)


def names(configured_daemon: Daemon) -> list[str]:
    listed = post(configured_daemon, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).json()["result"]["tools"]
    return [tool["name"] for tool in listed]


def test_a_request_is_sent_as_written_and_its_result_is_read(configured_daemon: Daemon, device: Device) -> None:
    assert call(configured_daemon, "light", "a/b ?&=é") == ("[1,2]", False)
    method, path, headers, body = device.seen[-1]
    assert (method, path) == ("PUT", "/lights/a%2Fb%20%3F%26%3D%C3%A9?q=a%2Fb%20%3F%26%3D%C3%A9")
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert json.loads(body) == {"value": "a/b ?&=é"}


@pytest.mark.parametrize("text", ["../admin", "..", "a\r\nX-Evil: 1", "", "%2e%2e/x"])
def test_an_argument_that_would_escape_its_place_is_not_sent(
    configured_daemon: Daemon, device: Device, text: str
) -> None:
    told, is_error = call(configured_daemon, "light", text)
    assert is_error
    assert "text must not" in told
    assert device.seen == []


def test_failures_are_sentences_without_secrets_or_addresses(configured_daemon: Daemon, device: Device) -> None:
    told, is_error = call(configured_daemon, "error")
    assert is_error
    assert told.startswith("HTTP 500")
    assert SECRET not in told
    assert device.url not in told
    assert call(configured_daemon, "away") == ("It redirected to another host, which is not followed.", True)
    assert call(configured_daemon, "here")[1] is False
    assert device.seen[-1][1] == "/lights/moved"
    assert call(configured_daemon, "large") == ("The answer is larger than 2 MiB.", True)
    assert call(configured_daemon, "slow") == ("There was no answer within 0.3 seconds.", True)
    assert call(configured_daemon, "rebound", "x") == ("Its host name is not known.", True)


def test_a_command_gets_each_argument_as_one_word(configured_daemon: Daemon) -> None:
    evil = "a; echo b $(id) `id` | cat"
    assert call(configured_daemon, "say", evil) == (f"{evil}|--opt={evil}|", False)
    assert call(configured_daemon, "say", "-n") == ("The argument text must not begin with -.", True)
    assert call(configured_daemon, "read", "line one\nline two") == ("read: line one\nline two", False)
    assert call(configured_daemon, "fail") == ("It failed with exit status 3: it went wrong", True)
    assert call(configured_daemon, "nowhere") == ("The program cannot be run: no such file or directory", True)
    assert SECRET not in call(configured_daemon, "variables")[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flood", "It wrote more than 1 MiB and was stopped."),
        ("hang", "It did not answer within 0.5 seconds and was stopped."),
    ],
)  # fmt: skip
def test_a_command_that_never_ends_is_killed_with_its_children(configured_daemon: Daemon, name: str, said: str) -> None:
    assert call(configured_daemon, name) == (said, True)
    pid = int((configured_daemon.root / name).read_text())
    eventually(lambda: not psutil.pid_exists(pid), "the process is gone")


def test_children_that_a_command_leaves_behind_are_killed(configured_daemon: Daemon) -> None:
    assert call(configured_daemon, "leaves")[1] is False
    eventually(lambda: (configured_daemon.root / "leaves").exists(), "the child's pid is written")
    pid = int((configured_daemon.root / "leaves").read_text())
    eventually(lambda: not psutil.pid_exists(pid), "the process is gone")


def test_a_disconnect_kills_the_command(configured_daemon: Daemon) -> None:
    configured_daemon.write("tools/long.yaml", json.dumps({"name": "long", "command": ["sh", "-c", f"echo $$$$ > {configured_daemon.root}/long; exec sleep 1000"]}))  # fmt: skip  # noqa: E501
    eventually(lambda: "long" in names(configured_daemon), "the new tool is listed")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "long"}}
    with configured_daemon.wire() as wire:
        wire.request("POST", "/mcp", body=json.dumps(body).encode(), headers=[("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")])  # fmt: skip  # noqa: E501
        eventually(
            lambda: (
                (configured_daemon.root / "long").exists() and (configured_daemon.root / "long").read_text().strip()
            ),
            "the command is running",
        )
    pid = int((configured_daemon.root / "long").read_text())
    eventually(lambda: not psutil.pid_exists(pid), "the process is gone")


def test_a_model_and_its_prompt_use_declared_tools(configured_daemon: Daemon) -> None:
    body = {"model": "augmented/m", "messages": [{"role": "user", "content": 'say {"text": "from a turn"}'}]}
    answer = configured_daemon.post("/v1/chat/completions", json.dumps(body).encode()).json()
    assert "from a turn|" in answer["choices"][0]["message"]["content"]
    records = eventually(lambda: list(configured_daemon.log_lines()), "the turn is in the log")
    assert SECRET not in json.dumps(records)


def test_an_edit_takes_effect_and_a_broken_one_keeps_the_last_good_form(
    configured_daemon: Daemon, device: Device
) -> None:
    configured_daemon.write("tools/more.yaml", "{name: more, command: [echo, one]}")
    eventually(lambda: "more" in names(configured_daemon), "the new tool is listed")
    configured_daemon.write("tools/more.yaml", "{name: more, command: [")
    eventually(lambda: configured_daemon.get("/admin/status").json()["config"]["problems"], "the problem is reported")
    assert call(configured_daemon, "more") == ("one", False)
    configured_daemon.write("tools/more.yaml", "{name: more, command: [echo, two]}")
    eventually(lambda: call(configured_daemon, "more") == ("two", False), "the edit is in effect")
    (configured_daemon.conf_dir / "tools/more.yaml").unlink()
    eventually(lambda: "more" not in names(configured_daemon), "the deleted tool is no longer listed")


def test_mistakes_are_reported_at_their_line(configured_daemon: Daemon) -> None:
    text = "- name: bad\n  parameters:\n    properties: {a: {type: strange}}\n  command: [echo]\n"
    text += "- {name: say, command: [x]}\n"
    configured_daemon.write("tools/wrong.yaml", text)
    told = eventually(
        lambda: configured_daemon.get("/admin/status").json()["config"]["problems"], "the problems are reported"
    )
    found = {(p["line"], p["message"].split(":")[0].split(";")[0]) for p in told if p["file"].endswith("wrong.yaml")}
    assert found == {
        (3, "the parameters of bad are not a valid JSON Schema"),
        (5, "the tool 'say' is already defined in house.yaml"),
    }
    (configured_daemon.conf_dir / "tools/wrong.yaml").unlink()
    eventually(lambda: not configured_daemon.get("/admin/status").json()["config"]["problems"], "the problems are gone")


def openapi(*ids: str) -> bytes:
    paths = {f"/lights/{name}": {"get": {"operationId": name}} for name in ids}
    return json.dumps({"openapi": "3.1.0", "servers": [{"url": "/"}], "paths": paths}).encode()


def test_a_document_is_fetched_cached_and_reported_if_broken(configured_daemon: Daemon, device: Device) -> None:
    device.document = openapi("first")
    configured_daemon.write(
        "tools/api.yaml", json.dumps({"openapi": f"{device.url}/openapi.json", "headers": {"X-Key": "k"}})
    )
    eventually(lambda: "first" in names(configured_daemon), "the operation is a tool")
    assert call(configured_daemon, "first")[1] is False
    assert device.seen[-1][2]["X-Key"] == "k"
    configured_daemon.stop()
    device.document = b"no document"
    configured_daemon.start()
    assert "first" in names(configured_daemon)
    problems = lambda: configured_daemon.get("/admin/status").json()["config"]["problems"]  # noqa: E731
    eventually(lambda: any("cannot be fetched" in p["message"] for p in problems()), "the failed download is reported")
    assert "first" in names(configured_daemon)


def test_a_local_document_is_read_and_its_edits_are_noticed(configured_daemon: Daemon, device: Device) -> None:
    (configured_daemon.conf_dir / "hub.json").write_bytes(openapi("one"))
    configured_daemon.write("tools/api.yaml", json.dumps({"openapi": "hub.json", "base": device.url}))
    eventually(lambda: "one" in names(configured_daemon), "the operation is a tool")
    (configured_daemon.conf_dir / "hub.json").write_bytes(openapi("two"))
    eventually(lambda: {"one", "two"} & set(names(configured_daemon)) == {"two"}, "the edit is in effect")


def test_the_secret_is_written_nowhere(configured_daemon: Daemon, device: Device) -> None:
    call(configured_daemon, "light", "x")
    status = json.dumps(configured_daemon.get("/admin/status").json())
    configured_daemon.stop()
    assert SECRET not in configured_daemon.stderr
    assert SECRET not in status
    for folder, _, found in os.walk(configured_daemon.logs_dir):
        for name in found:
            assert SECRET not in (Path(folder) / name).read_text()
    configured_daemon.start()
