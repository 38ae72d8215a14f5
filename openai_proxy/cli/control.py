"""Talking to the running daemon over its control socket, without a key."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from openai_proxy.addresses import short
from openai_proxy.errors import ProxyError

CONTROL = "control.sock"
TIMEOUT = 60.0  # seconds; a reload may wait for an MCP server


class NotRunning(ProxyError):
    """No daemon is listening there."""

    default_code = "not_running"


class DaemonRefused(ProxyError):
    """The daemon refused a request, in its own words."""


class ControlConnection(http.client.HTTPConnection):
    """HTTP over the control socket at `path`; `timeout` in seconds."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(short(self._path))


def listens(state_dir: Path) -> bool:
    """True if a daemon listens on the control socket in `state_dir`."""
    connection = ControlConnection(state_dir / CONTROL)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def ask(state_dir: Path, method: str, path: str, body: object = None, *, timeout: float = TIMEOUT) -> tuple[int, Any]:
    """Status and JSON answer of one request to the daemon of `state_dir`. `timeout` in seconds. Raises NotRunning."""
    connection = ControlConnection(state_dir / CONTROL, timeout)
    try:
        payload = json.dumps(body) if body is not None else None
        connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    except (FileNotFoundError, ConnectionError):
        raise NotRunning(
            f"no daemon answers at {state_dir / CONTROL}; is it running, and is this its --state-dir?"
        ) from None
    except TimeoutError:
        raise NotRunning("the daemon did not answer in time") from None
    except OSError as error:
        if error.errno is None:
            raise NotRunning(f"the path {state_dir / CONTROL} is too long for a socket: use a shorter one") from None
        raise
    finally:
        connection.close()


def answer_of(state_dir: Path, method: str, path: str, body: object = None, *, timeout: float = TIMEOUT) -> Any:
    """The same, but of a request that succeeds. Raises NotRunning and DaemonRefused."""
    status, answer = ask(state_dir, method, path, body, timeout=timeout)
    if status != 200:
        explained = isinstance(answer, dict) and "error" in answer
        raise DaemonRefused(answer["error"]["message"] if explained else f"the daemon answered HTTP {status}")
    return answer
