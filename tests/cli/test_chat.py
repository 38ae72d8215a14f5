"""`openai-proxy chat` against a scripted daemon on a socket."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from openai_proxy.cli.chat import command
from openai_proxy.cli.main import COMMANDS
from tests.agent.support import chunk, events, says


class Scripted(ThreadingHTTPServer):
    """Answers each request with the next script: bytes of a stream, or (status, body)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[bytes | tuple[int, bytes]] = []
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The command disconnects after `[DONE]`, perhaps before the end of the body is written."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # the base class's name
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.requests.append((dict(self.headers), body))
        answer = server.script.pop(0)
        status, data = answer if isinstance(answer, tuple) else (200, answer)
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(data), 7):
            piece = data[at : at + 7]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Log nothing."""


@pytest.fixture
def daemon() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def chat(daemon: Scripted, *arguments: str, stdin: str = "") -> Result:
    port = str(daemon.server_address[1])
    return CliRunner().invoke(command, ["m", *arguments, "--port", port], input=stdin, standalone_mode=True)


def test_the_answer_to_a_question_is_streamed(daemon: Scripted) -> None:
    daemon.script = [says("Grüße aus Paris")]
    result = chat(daemon, "Hi", "--key", "sk-test", "--host", "0.0.0.0", "--system", "Be brief.")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Grüße aus Paris\n", "")
    headers, body = daemon.requests[0]
    assert headers["Authorization"] == "Bearer sk-test"
    system, question = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
    assert body == {"model": "m", "stream": True, "messages": [system, question]}


def test_tool_status_goes_to_stderr(daemon: Scripted) -> None:
    states = [
        {"status": "calling_llm"},
        {"status": "executing_tool", "tool_name": "mcp_house_light"},
        {"status": "executing_tool", "tool_name": "mcp_house_light", "message": "half way"},
        {"status": "tool_completed", "tool_name": "mcp_house_light"},
        {"status": "tool_completed", "tool_name": "b", "is_error": True},
    ]
    told = [chunk({}, proxy_status={"type": "tool_execution", **s}) for s in states]
    daemon.script = [events(*told, chunk({"content": "On."}), chunk({}, "stop"))]
    result = chat(daemon, "Light on")
    assert result.stdout == "On.\n"
    assert result.stderr == "mcp_house_light …\nmcp_house_light: half way\nmcp_house_light done\nb failed\n"


def test_a_conversation_keeps_its_history(daemon: Scripted) -> None:
    daemon.script = [says("One"), (500, b"oops"), says("Two")]
    result = chat(daemon, stdin="first\n\nlost\nsecond\n")
    assert result.exit_code == 0
    assert result.stdout.split() == ["One", "Two"]
    assert "the daemon answered 500" in result.stderr
    assert [m["content"] for m in daemon.requests[2][1]["messages"]] == ["first", "One", "second"]
    assert daemon.requests[0][0]["X-Session-ID"] == daemon.requests[2][0]["X-Session-ID"]


FAILURES = {
    "an error answer": ((401, b'{"error":{"message":"No key."}}'), "No key."),
    "an error in the stream": (events(chunk({"content": "Hi"}), {"error": {"message": "boom"}}, done=False), "boom"),
    "no end": (events(chunk({"content": "Hi"}), done=False), "before it was complete"),
    "not json": (b"data: {oops\n\n", "not JSON"),
    "an error that is no object": ((500, b'{"error":"down"}'), "down"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_one_line_and_exit_code_1(daemon: Scripted, name: str) -> None:
    answer, words = FAILURES[name]
    daemon.script = [answer]
    result = chat(daemon, "Hi")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert words in line


def test_text_from_stdin_and_a_truncated_answer(daemon: Scripted) -> None:
    daemon.script = [says("Half", "length")]
    result = chat(daemon, "-", stdin="a\nb")
    assert daemon.requests[0][1]["messages"][0]["content"] == "a\nb"
    assert "token limit" in result.stderr


def test_no_daemon() -> None:
    with socket.socket() as publish_nothing:  # bound, so that no other program takes the port, but not listening
        publish_nothing.bind(("127.0.0.1", 0))
        result = CliRunner().invoke(command, ["m", "Hi", "--port", str(publish_nothing.getsockname()[1])])
    assert result.exit_code == 1
    assert "is the daemon running?" in result.stderr


def test_it_is_a_command_of_the_program() -> None:
    assert command.callback is not None
    assert COMMANDS["chat"][0] == command.callback.__module__
