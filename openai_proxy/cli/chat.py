"""`openai-proxy chat MODEL [TEXT]`: talk to the running daemon, over its control socket or as any client would."""

import http.client
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
import orjson

from openai_proxy.cli.control import CONTROL, ControlConnection, listens
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import StatusLine, complain, say
from openai_proxy.dialects import sse
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.errors import ProxyError

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what a daemon listens on, not what one calls
_TIMEOUT: Final = 600.0  # seconds without a byte; the OpenAI client's own default


class ChatFailed(click.ClickException):
    """The answer failed or was incomplete; shown as one line, exit code 1."""

    def show(self, file: Any = None) -> None:
        complain(self.message)


class Screen:
    """Writes text to stdout, and the activity of the daemon's tools to a status line."""

    def __init__(self) -> None:
        self._status = StatusLine()
        self._open = False  # a line of text has begun

    def text(self, text: str) -> None:
        """Show a piece of the answer."""
        self._status.wipe()
        say(text, nl=False)
        sys.stdout.flush()
        self._open = True

    def status(self, status: dict[str, Any]) -> None:
        """Show a `proxy_status` member."""
        name, state = status.get("tool_name"), status.get("status")
        if not name or state not in ("executing_tool", "tool_completed"):
            return
        if state == "executing_tool":
            self._status.show(f"{name}: {status['message']}" if status.get("message") else f"{name} …")
        else:
            self._status.show(f"{name} {'failed' if status.get('is_error') else 'done'}")

    def end(self) -> None:
        """End the answer."""
        self._status.wipe()
        if self._open:
            say()
            self._open = False


class TerminalChat:
    """One conversation with one model of the daemon that `connect` reaches; `where` names that daemon in messages."""

    def __init__(
        self, connect: Callable[[], http.client.HTTPConnection], where: str, key: str | None, model: str, screen: Screen
    ) -> None:
        self._connect = connect
        self._where = where
        self._model = model
        self._screen = screen
        self._headers = {"Content-Type": "application/json", "X-Session-ID": f"chat-{uuid.uuid4().hex}"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self.messages: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Send a question, print the answer as it arrives, and keep both for the next one. Raises ChatFailed."""
        conversation = [*self.messages, {"role": "user", "content": text}]
        fold = MessageFold()
        connection = self._connect()
        try:
            for chunk in self._chunks(connection, conversation):
                fold.feed(chunk)
                self._show(chunk)
        except (OSError, http.client.HTTPException) as error:
            where = self._where
            if isinstance(error, ConnectionRefusedError):
                raise ChatFailed(f"nothing answers at {where}; is the daemon running?") from None
            raise ChatFailed(f"the connection to {where} failed: {error or type(error).__name__}") from None
        except ProxyError as error:
            raise ChatFailed(error.message) from None
        finally:
            connection.close()
            self._screen.end()
        if fold.error:
            raise ChatFailed(_message(fold.error))
        if fold.finish_reason is None:
            raise ChatFailed("the answer ended before it was complete")
        if fold.finish_reason == "length":
            say("(cut off at the token limit)", err=True)
        self.messages = [*conversation, {"role": "assistant", "content": fold.message()["content"] or ""}]

    def _chunks(
        self, connection: http.client.HTTPConnection, messages: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        body = orjson.dumps({"model": self._model, "messages": messages, "stream": True})
        connection.request("POST", "/v1/chat/completions", body, self._headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ChatFailed(_refusal(response.status, response.read(1_000_000)))
        splitter = sse.EventSplitter()
        while data := response.read1(65536):
            for event in splitter.feed(data):
                if event.data == sse.DONE:
                    return
                try:
                    yield orjson.loads(event.data)
                except orjson.JSONDecodeError:
                    raise ChatFailed("the daemon's answer is not JSON") from None

    def _show(self, chunk: dict[str, Any]) -> None:
        status = chunk.get("proxy_status")
        if isinstance(status, dict):
            self._screen.status(status)
        for choice in chunk.get("choices") or ():
            content = choice.get("delta", {}).get("content")
            if isinstance(content, str) and content:
                self._screen.text(content)


def _refusal(status: int, body: bytes) -> str:
    try:
        return _message(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered {status}"


def _message(error: Any) -> str:
    words = error.get("message") if isinstance(error, dict) else error
    return str(words) if words else "the daemon reported an error"


@click.command("chat")
@click.argument("model")
@click.argument("text", required=False)
@config_dir
@state_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables (optional).")
@click.option("--host", envvar="HOST", help="Where the daemon listens (default: its control socket, or as configured).")
@click.option("--port", envvar="PORT", type=click.IntRange(1, 65535), help="Its port (default: as configured).")
@click.option("--key", envvar="OPENAI_PROXY_KEY", help="Talk as the client with this key.")
@click.option("--system", help="A system message for the whole conversation.")
def command(
    model: str,
    text: str | None,
    config_dir: Path,
    state_dir: Path,
    env_file: Path,
    host: str | None,
    port: int | None,
    key: str | None,
    system: str | None,
) -> int:
    """Talk to MODEL of the running daemon.

    By default through its control socket, which needs no key; with --host, --port or --key over the network, like any
    other client.

    With TEXT: one question ("-" reads it from stdin). Without: a conversation, one line per message, until end of
    input. Ctrl-C stops the current answer, or ends the conversation if there is none.
    """
    if host is None and port is None and key is None and listens(state_dir):
        session = TerminalChat(
            lambda: ControlConnection(state_dir / CONTROL, _TIMEOUT), str(state_dir / CONTROL), None, model, Screen()
        )
    else:
        name, number = _address(config_dir, env_file, host, port)
        session = TerminalChat(
            lambda: http.client.HTTPConnection(name, number, timeout=_TIMEOUT), f"{name}:{number}", key, model, Screen()
        )
    if system:
        session.messages.append({"role": "system", "content": system})
    if text is not None:
        session.say(sys.stdin.read() if text == "-" else text)
        return 0
    return _converse(session)


def _address(config_dir: Path, env_file: Path, host: str | None, port: int | None) -> tuple[str, int]:
    """The host and port to connect to: from the options, else from the configuration."""
    if host is None or port is None:
        from openai_proxy.cli.offline import snapshot_of
        from openai_proxy.config.problems import ConfigError
        from openai_proxy.config.proxy import ProxyConfig

        try:
            configured = snapshot_of(config_dir, env_file).proxy
        except ConfigError:  # `check` reports problems
            configured = ProxyConfig()
        host, port = host or configured.host, port or configured.port
    return _EVERYWHERE.get(host, host), port


def _converse(session: TerminalChat) -> int:
    """Send questions from stdin until it ends; the exit code is that of the last answer."""
    prompt = sys.stdin.isatty()
    code = 0
    while True:
        if prompt:
            say("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return code
        if not line.strip():
            continue
        try:
            session.say(line.rstrip("\n"))
            code = 0
        except KeyboardInterrupt:
            say("(stopped)", err=True)
        except ChatFailed as error:
            error.show()
            code = 1
