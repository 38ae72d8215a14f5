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

MAX_BODY: Final = 8 * 2**20  # bytes of a document an admin may send
_IDLE: Final = 15.0  # seconds between two pieces of it

T = TypeVar("T")


@dataclass(slots=True)
class AdminAnswer:
    """An answer that is not simply 200 with JSON."""

    body: Any = None  # bytes are sent as they are, anything else as JSON without the secrets of the house
    status: int = 200
    content_type: str = "application/json"
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class AdminCall:
    """`names` are the parts of the path that its route leaves open, decoded; `local` came by the control socket."""

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
        """A member of the query."""
        if self._arguments is None:
            self._arguments = parse_qs(self.query, keep_blank_values=True)
        return self._arguments.get(name, [default])[0]

    def number(self, name: str, default: int, most: int) -> int:
        """A member of the query that is a whole number from 1 to `most`. Raises BadRequest."""
        text = self.argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
            raise BadRequest(f"`{name}` must be a whole number.", param=name)
        return min(int(text), most)

    async def body(self) -> bytes:
        """The body as it came. Raises TooLarge."""
        return await RequestBody(self.request, self.reply, BodyLimits(MAX_BODY, _IDLE)).whole()

    async def document(self) -> dict[str, Any]:
        """The body, a JSON object; an empty one is {}. Raises BadRequest."""
        body = await self.body()
        try:
            found = orjson.loads(body) if body.strip() else {}
        except orjson.JSONDecodeError:
            raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
        if not isinstance(found, dict):
            raise BadRequest("The body must be a JSON object.", code="invalid_json")
        return found

    async def thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function`, which blocks, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def text_of(document: dict[str, Any], name: str, default: str | None = None) -> str:
    """A text of a document. Raises BadRequest where it is missing (and has no default) or is something else."""
    value = document.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be a string.", param=name)
    return value
