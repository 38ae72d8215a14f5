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
from openai_proxy.cli.options import config_dir, default_state_dir, state_dir
from openai_proxy.cli.screen import StatusLine, complain, say
from openai_proxy.dialects import sse
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.errors import ProxyError

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what a daemon listens on, not what one calls
_TIMEOUT: Final = 600.0  # seconds without a byte; the OpenAI client's own default


class ChatFailed(click.ClickException):
    """An answer that did not come or did not come whole; one line, exit code 1."""

    def show(self, file: Any = None) -> None:
        complain(self.message)


class Screen:
    """Text on stdout; what the daemon's tools do on a status line."""

    def __init__(self) -> None:
        self._status = StatusLine()
        self._open = False  # a line of text has begun

    def text(self, text: str) -> None:
        """A piece of the answer."""
        self._status.wipe()
        say(text, nl=False)
        sys.stdout.flush()
        self._open = True

    def status(self, status: dict[str, Any]) -> None:
        """A `proxy_status` member."""
        name, state = status.get("tool_name"), status.get("status")
        if not name or state not in ("executing_tool", "tool_completed"):
            return
        if state == "executing_tool":
            self._status.show(f"{name}: {status['message']}" if status.get("message") else f"{name} …")
        else:
            self._status.show(f"{name} {'failed' if status.get('is_error') else 'done'}")

    def end(self) -> None:
        """The answer is over."""
        self._status.wipe()
        if self._open:
            say()
            self._open = False


class Talk:
    """One conversation with one model of the daemon that `connect` leads to; `where` is that in words."""

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
        """Ask, show the answer as it comes, and keep both for the next question. Raises ChatFailed."""
        asked = [*self.messages, {"role": "user", "content": text}]
        fold = MessageFold()
        connection = self._connect()
        try:
            for chunk in self._chunks(connection, asked):
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
        self.messages = [*asked, {"role": "assistant", "content": fold.message()["content"] or ""}]

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
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables; may be missing.")
@click.option("--host", envvar="HOST", help="Where the daemon listens (default: its control socket, or as configured).")
@click.option("--port", envvar="PORT", type=click.IntRange(1, 65535), help="Its port (default: as configured).")
@click.option("--key", envvar="OPENAI_PROXY_KEY", help="Talk as the client with this key.")
@click.option("--system", help="A system message for the whole conversation.")
def command(
    model: str,
    text: str | None,
    config_dir: Path,
    state_dir: Path | None,
    env_file: Path,
    host: str | None,
    port: int | None,
    key: str | None,
    system: str | None,
) -> int:
    """Talk to MODEL of the running daemon.

    It is found by its control socket, which needs no key; with --host, --port or --key it is asked over the network,
    as any client would.

    With TEXT: one question ("-": read from stdin). Without: a conversation, a line each, until end of input.
    Ctrl-C ends an answer, or the conversation where none is coming.
    """
    state = state_dir or default_state_dir(config_dir)
    if host is None and port is None and key is None and listens(state):
        talk = Talk(lambda: ControlConnection(state / CONTROL, _TIMEOUT), str(state / CONTROL), None, model, Screen())
    else:
        name, number = _address(config_dir, env_file, host, port)
        talk = Talk(
            lambda: http.client.HTTPConnection(name, number, timeout=_TIMEOUT), f"{name}:{number}", key, model, Screen()
        )
    if system:
        talk.messages.append({"role": "system", "content": system})
    if text is not None:
        talk.say(sys.stdin.read() if text == "-" else text)
        return 0
    return _converse(talk)


def _address(config_dir: Path, env_file: Path, host: str | None, port: int | None) -> tuple[str, int]:
    """Host and port to ask: as told, else as configured."""
    if host is None or port is None:
        from openai_proxy.cli.offline import snapshot_of
        from openai_proxy.config.problems import ConfigError
        from openai_proxy.config.proxy import ProxyConfig

        try:
            configured = snapshot_of(config_dir, env_file).proxy
        except ConfigError:  # `check` says what is wrong
            configured = ProxyConfig()
        host, port = host or configured.host, port or configured.port
    return _EVERYWHERE.get(host, host), port


def _converse(talk: Talk) -> int:
    """Questions from stdin until it ends; the exit code is that of the last answer."""
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
            talk.say(line.rstrip("\n"))
            code = 0
        except KeyboardInterrupt:
            say("(stopped)", err=True)
        except ChatFailed as error:
            error.show()
            code = 1
