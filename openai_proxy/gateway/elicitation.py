"""A person's yes, asked for through their MCP client (elicitation), in either era of the protocol.

Of 2026-07-28: the call is answered with `input_required`, and the client repeats it with the person's answer
(https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/mrtr). Before: `elicitation/create` goes to
the client on the stream of the call, and its answer comes as a POST of its own.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.agent.fingerprint import canonical

PATIENCE: Final = 300.0
"""Seconds a person has to answer."""

QUESTION: Final = "confirm"
"""What the question is called among the inputs of a call."""

_KEPT: Final = 1000
_SHOWN: Final = 600  # characters of the arguments in the question


class Elicitations:
    """The questions that are open, and which sessions can be asked. Belongs to the event loop."""

    def __init__(self) -> None:
        self._asked: OrderedDict[str, tuple[str, str, str]] = OrderedDict()  # state -> who, tool, arguments
        self._waiting: dict[str, tuple[str, asyncio.Future[bool]]] = {}  # id of our request -> who is to answer
        self._able: OrderedDict[tuple[str, str], None] = OrderedDict()  # sessions whose client declared it

    def declared(self, who: str, session: str, capabilities: object) -> None:
        """A client of the older era said at `initialize` what it can do."""
        if can_ask(capabilities):
            self._able[who, session] = None
            _trim(self._able)

    def is_able(self, who: str, session: str) -> bool:
        """True if the client of this session can ask its person."""
        return (who, session) in self._able

    def state(self, who: str, tool: str, arguments: Mapping[str, Any]) -> str:
        """A question about this call is open: what the client has to send back with the answer."""
        state = secrets.token_urlsafe(24)
        self._asked[state] = (who, tool, canonical(dict(arguments)))
        _trim(self._asked)
        return state

    def answered(
        self, who: str, tool: str, arguments: Mapping[str, Any], state: object, responses: object
    ) -> bool | None:
        """The person's answer to the question `state`, used up by this; None if it is no answer to this call's."""
        if not isinstance(state, str) or self._asked.get(state) != (who, tool, canonical(dict(arguments))):
            return None
        response = responses.get(QUESTION) if isinstance(responses, Mapping) else None
        if not isinstance(response, Mapping):
            return None
        del self._asked[state]
        return response.get("action") == "accept"

    def open(self, who: str) -> tuple[str, asyncio.Future[bool]]:
        """A request of ours to the client: its id, and what comes of it."""
        request_id = f"confirm-{secrets.token_urlsafe(16)}"
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = (who, future)
        future.add_done_callback(lambda _: self._waiting.pop(request_id, None))
        return request_id, future

    def response(self, who: str, request_id: object, result: object) -> None:
        """The client has answered a request of ours."""
        caller, future = self._waiting.get(request_id, ("", None)) if isinstance(request_id, str) else ("", None)
        if future is not None and caller == who and not future.done():
            future.set_result(isinstance(result, Mapping) and result.get("action") == "accept")


def can_ask(capabilities: object) -> bool:
    """True if these are capabilities of a client that can ask its person by a form."""
    if not isinstance(capabilities, Mapping) or not isinstance(found := capabilities.get("elicitation"), Mapping):
        return False
    return not found or "form" in found  # an empty one means forms, as before there were others


def question(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The params of `elicitation/create`."""
    given = canonical(dict(arguments))
    shown = given if len(given) <= _SHOWN else given[: _SHOWN - 1] + "…"
    return {
        "mode": "form",
        "message": f"May {tool} run with {shown}?",
        "requestedSchema": {"type": "object", "properties": {}},
    }


def _trim(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _KEPT:
        kept.popitem(last=False)
