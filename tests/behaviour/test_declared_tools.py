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
    """A device with an HTTP API: records its requests, and answers by path."""

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
        """Says nothing."""

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

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # as the base class has it


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def nothing_seen(device: Device) -> None:
    """Each test looks at its own requests."""
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
def house(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("tools")
    model = {"name": "augmented/m", "upstream_model": "echo", "tools": ["say", "light"], "system_prompt": "{{say(text='in a prompt')}}"}  # fmt: skip  # noqa: E501
    with Daemon(
        root,
        {"connections": {"echo": {"api_type": "echo"}}},
        files={"tools/house.yaml": tools(device, root), "models/m.yaml": json.dumps(model)},
        env={"DEVICE": device.url, "DEVICE_TOKEN": SECRET},
    ).serving() as daemon:
        yield daemon


def call(house: Daemon, name: str, text: str | None = None, **arguments: Any) -> tuple[str, bool]:
    """A tool's result over /mcp, and whether it is an error."""
    given = {"text": text, **arguments} if text is not None else arguments
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": given}}
    result = post(house, body).json()["result"]
    return str(result["content"][0]["text"]), bool(result["isError"])


def post(house: Daemon, body: dict[str, Any]) -> Answer:
    headers = [("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")]
    return house.post("/mcp", json.dumps(body).encode(), headers=headers)


def names(house: Daemon) -> list[str]:
    listed = post(house, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).json()["result"]["tools"]
    return [tool["name"] for tool in listed]


def test_a_request_is_sent_as_written_and_its_result_is_read(house: Daemon, device: Device) -> None:
    assert call(house, "light", "a/b ?&=é") == ("[1,2]", False)
    method, path, headers, body = device.seen[-1]
    assert (method, path) == ("PUT", "/lights/a%2Fb%20%3F%26%3D%C3%A9?q=a%2Fb%20%3F%26%3D%C3%A9")
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert json.loads(body) == {"value": "a/b ?&=é"}


@pytest.mark.parametrize("text", ["../admin", "..", "a\r\nX-Evil: 1", "", "%2e%2e/x"])
def test_an_argument_that_would_escape_its_place_is_not_sent(house: Daemon, device: Device, text: str) -> None:
    told, is_error = call(house, "light", text)
    assert is_error
    assert "text must not" in told
    assert device.seen == []


def test_failures_are_sentences_without_secrets_or_addresses(house: Daemon, device: Device) -> None:
    told, is_error = call(house, "error")
    assert is_error
    assert told.startswith("HTTP 500")
    assert SECRET not in told
    assert device.url not in told
    assert call(house, "away") == ("It redirected to another host, which is not followed.", True)
    assert call(house, "here")[1] is False
    assert device.seen[-1][1] == "/lights/moved"
    assert call(house, "large") == ("The answer is larger than 2 MiB.", True)
    assert call(house, "slow") == ("There was no answer within 0.3 seconds.", True)
    assert call(house, "rebound", "x") == ("Its host name is not known.", True)


def test_a_command_gets_each_argument_as_one_word(house: Daemon) -> None:
    evil = "a; echo b $(id) `id` | cat"
    assert call(house, "say", evil) == (f"{evil}|--opt={evil}|", False)
    assert call(house, "say", "-n") == ("The argument text must not begin with -.", True)
    assert call(house, "read", "line one\nline two") == ("read: line one\nline two", False)
    assert call(house, "fail") == ("It failed with exit status 3: it went wrong", True)
    assert call(house, "nowhere") == ("The program cannot be run: no such file or directory", True)
    assert SECRET not in call(house, "variables")[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flood", "It wrote more than 1 MiB and was stopped."),
        ("hang", "It did not answer within 0.5 seconds and was stopped."),
    ],
)  # fmt: skip
def test_a_command_that_never_ends_is_killed_with_its_children(house: Daemon, name: str, said: str) -> None:
    assert call(house, name) == (said, True)
    pid = int((house.root / name).read_text())
    eventually(lambda: not psutil.pid_exists(pid), "the process is gone")


def test_children_that_a_command_leaves_behind_are_killed(house: Daemon) -> None:
    assert call(house, "leaves")[1] is False
    eventually(lambda: (house.root / "leaves").exists(), "it wrote its pid")
    pid = int((house.root / "leaves").read_text())
    eventually(lambda: not psutil.pid_exists(pid), "the process is gone")


def test_a_disconnect_kills_the_command(house: Daemon) -> None:
    house.write("tools/long.yaml", json.dumps({"name": "long", "command": ["sh", "-c", f"echo $$$$ > {house.root}/long; exec sleep 1000"]}))  # fmt: skip  # noqa: E501
    eventually(lambda: "long" in names(house), "the tool is there")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "long"}}
    with house.wire() as wire:
        wire.request("POST", "/mcp", body=json.dumps(body).encode(), headers=[("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")])  # fmt: skip  # noqa: E501
        eventually(lambda: (house.root / "long").exists() and (house.root / "long").read_text().strip(), "it runs")
    pid = int((house.root / "long").read_text())
    eventually(lambda: not psutil.pid_exists(pid), "the process is gone")


def test_a_model_and_its_prompt_use_them(house: Daemon) -> None:
    body = {"model": "augmented/m", "messages": [{"role": "user", "content": 'say {"text": "from a turn"}'}]}
    answer = house.post("/v1/chat/completions", json.dumps(body).encode()).json()
    assert "from a turn|" in answer["choices"][0]["message"]["content"]
    records = eventually(lambda: list(house.log_lines()), "the turn is in the log")
    assert SECRET not in json.dumps(records)


def test_an_edit_takes_effect_and_a_broken_one_keeps_the_last_good_form(house: Daemon, device: Device) -> None:
    house.write("tools/more.yaml", "{name: more, command: [echo, one]}")
    eventually(lambda: "more" in names(house), "the tool is there")
    house.write("tools/more.yaml", "{name: more, command: [")
    eventually(lambda: house.get("/admin/status").json()["config"]["problems"], "the problem is reported")
    assert call(house, "more") == ("one", False)
    house.write("tools/more.yaml", "{name: more, command: [echo, two]}")
    eventually(lambda: call(house, "more") == ("two", False), "the edit is in effect")
    (house.conf_dir / "tools/more.yaml").unlink()
    eventually(lambda: "more" not in names(house), "it is gone")


def test_mistakes_are_reported_at_their_line(house: Daemon) -> None:
    text = "- name: bad\n  parameters:\n    properties: {a: {type: strange}}\n  command: [echo]\n"
    text += "- {name: say, command: [x]}\n"
    house.write("tools/wrong.yaml", text)
    told = eventually(lambda: house.get("/admin/status").json()["config"]["problems"], "the problems are reported")
    found = {(p["line"], p["message"].split(":")[0].split(";")[0]) for p in told if p["file"].endswith("wrong.yaml")}
    assert found == {
        (3, "the parameters of bad are not a valid JSON Schema"),
        (5, "the tool 'say' is already defined in house.yaml"),
    }
    (house.conf_dir / "tools/wrong.yaml").unlink()
    eventually(lambda: not house.get("/admin/status").json()["config"]["problems"], "the problems are gone")


def openapi(*ids: str) -> bytes:
    paths = {f"/lights/{name}": {"get": {"operationId": name}} for name in ids}
    return json.dumps({"openapi": "3.1.0", "servers": [{"url": "/"}], "paths": paths}).encode()


def test_a_document_is_fetched_cached_and_reported_if_broken(house: Daemon, device: Device) -> None:
    device.document = openapi("first")
    house.write("tools/api.yaml", json.dumps({"openapi": f"{device.url}/openapi.json", "headers": {"X-Key": "k"}}))
    eventually(lambda: "first" in names(house), "the operation is a tool")
    assert call(house, "first")[1] is False
    assert device.seen[-1][2]["X-Key"] == "k"
    house.stop()
    device.document = b"no document"
    house.start()
    assert "first" in names(house)
    problems = lambda: house.get("/admin/status").json()["config"]["problems"]  # noqa: E731
    eventually(lambda: any("cannot be fetched" in p["message"] for p in problems()), "the failed download is reported")
    assert "first" in names(house)


def test_a_local_document_is_read_and_its_edits_are_noticed(house: Daemon, device: Device) -> None:
    (house.conf_dir / "hub.json").write_bytes(openapi("one"))
    house.write("tools/api.yaml", json.dumps({"openapi": "hub.json", "base": device.url}))
    eventually(lambda: "one" in names(house), "the operation is a tool")
    (house.conf_dir / "hub.json").write_bytes(openapi("two"))
    eventually(lambda: {"one", "two"} & set(names(house)) == {"two"}, "the edit is in effect")


def test_the_secret_is_written_nowhere(house: Daemon, device: Device) -> None:
    call(house, "light", "x")
    status = json.dumps(house.get("/admin/status").json())
    house.stop()
    assert SECRET not in house.stderr
    assert SECRET not in status
    for folder, _, found in os.walk(house.logs_dir):
        for name in found:
            assert SECRET not in (Path(folder) / name).read_text()
    house.start()
