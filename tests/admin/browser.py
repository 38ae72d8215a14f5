"""A browser from the admin API's view: it keeps the session's cookie and sends the page's origin."""

import json
import re
from typing import Any

from tests.harness.daemon import Daemon
from tests.harness.wire import Answer


class Browser:
    """Requests to one daemon with its cookie. `origin` is the page's own by default."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.cookie: str | None = None
        self.set_cookie = ""

    @property
    def origin(self) -> str:
        """The page's own origin."""
        return f"http://127.0.0.1:{self.daemon.port}"

    def ask(
        self,
        method: str,
        target: str,
        document: Any = None,
        *,
        origin: str | None = "own",
        headers: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One request on its own connection."""
        fields = list(headers or [])
        if origin is not None and method not in ("GET", "HEAD"):
            fields.append(("Origin", self.origin if origin == "own" else origin))
        elif origin not in (None, "own"):
            fields.append(("Origin", str(origin)))
        if self.cookie is not None:
            fields.append(("Cookie", self.cookie))
        if document is not None:
            body = json.dumps(document).encode()
        elif body is None and method in ("POST", "PUT"):
            body = b""
        with self.daemon.wire() as wire:
            answer = wire.request(method, target, body=body, headers=fields).answer(method=method)
        for value in answer.all("set-cookie"):
            self.set_cookie = value
            self.cookie = value.partition(";")[0] if "Max-Age=0" not in value else None
        return answer

    def get(self, target: str, **options: Any) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.ask("GET", target, **options)
        assert answer.status == 200, answer.body
        return answer.json()

    def sign_in(self) -> "Browser":
        """Sign in with a one-time address, as printed by `openai-proxy ui`."""
        address = self.daemon.control("POST", "/admin/ui").json()["path"]
        answer = self.ask("GET", address)
        assert answer.status == 303, answer.body
        assert self.cookie is not None
        return self


def attributes(set_cookie: str) -> set[str]:
    """The attributes of a Set-Cookie field, in lower case."""
    return {part.strip().lower() for part in re.split(";", set_cookie)[1:]}
