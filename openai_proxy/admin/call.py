"""One request to /admin/*, as its handlers see it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

import orjson
from aiohttp.web_request import BaseRequest

from openai_proxy.auth.page_sessions import PageSession
from openai_proxy.errors import BadRequest
from openai_proxy.exchange import Caller
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.reply import Reply
from openai_proxy.server.request_body import BodyLimits, RequestBody

MAX_BODY: Final = 8 * 2**20  # bytes of a document that an admin may send
_IDLE: Final = 15.0  # seconds between two chunks of it

T = TypeVar("T")


@dataclass(slots=True)
class AdminAnswer:
    """An answer other than 200 with JSON."""

    body: Any = None  # bytes are sent unchanged, anything else as JSON with the secrets removed
    status: int = 200
    content_type: str = "application/json"
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class AdminCall:
    """`names` are the decoded values of the route's placeholders; `local` means it came through the control socket."""

    state: ProxyState
    request: BaseRequest
    reply: Reply
    path: str
    query: str
    local: bool = False
    names: tuple[str, ...] = ()
    caller: Caller | None = None
    session: PageSession | None = None
    _arguments: dict[str, list[str]] | None = field(default=None, repr=False)

    def argument(self, name: str, default: str = "") -> str:
        """A query parameter."""
        if self._arguments is None:
            self._arguments = parse_qs(self.query, keep_blank_values=True)
        return self._arguments.get(name, [default])[0]

    def number(self, name: str, default: int, most: int) -> int:
        """A query parameter that is a whole number from 1 to `most`. Raises BadRequest."""
        text = self.argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
            raise BadRequest(f"`{name}` must be a whole number.", param=name)
        return min(int(text), most)

    async def body(self) -> bytes:
        """The raw body. Raises TooLarge."""
        return await RequestBody(self.request, self.reply, BodyLimits(MAX_BODY, _IDLE)).whole()

    async def document(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is {}. Raises BadRequest."""
        body = await self.body()
        try:
            found = orjson.loads(body) if body.strip() else {}
        except orjson.JSONDecodeError:
            raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
        if not isinstance(found, dict):
            raise BadRequest("The body must be a JSON object.", code="invalid_json")
        return found

    async def thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run the blocking `function` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def text_of(document: dict[str, Any], name: str, default: str | None = None) -> str:
    """A string member of a document. Raises BadRequest if it is missing without a default, or not a string."""
    value = document.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be a string.", param=name)
    return value
