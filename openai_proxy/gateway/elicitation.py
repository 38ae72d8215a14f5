"""A person's consent, requested through their MCP client (elicitation), in both versions of the protocol.

In 2026-07-28 the call is answered with `input_required`, and the client repeats it with the person's answer
(https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/mrtr). Before, `elicitation/create` is sent to
the client on the stream of the call, and its answer is a separate POST.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.agent.fingerprint import canonical

PATIENCE: Final = 300.0
"""Seconds that a person has to answer."""

QUESTION: Final = "confirm"
"""The name of the question among the inputs of a call."""

_KEPT: Final = 1000
_SHOWN: Final = 600  # characters of the arguments in the question


class Elicitations:
    """The open questions, and which sessions can be asked. Belongs to the event loop."""

    def __init__(self) -> None:
        self._open_questions: OrderedDict[str, tuple[str, str, str]] = OrderedDict()  # state -> owner, tool, arguments
        self._waiting: dict[str, tuple[str, asyncio.Future[bool]]] = {}  # id of our request -> who must answer
        self._able: OrderedDict[tuple[str, str], None] = OrderedDict()  # sessions whose client declared it

    def declared(self, who: str, session: str, capabilities: object) -> None:
        """Note the capabilities that a client of the older version sent with `initialize`."""
        if can_ask(capabilities):
            self._able[who, session] = None
            _trim(self._able)

    def is_able(self, who: str, session: str) -> bool:
        """True if the client of this session can ask its person."""
        return (who, session) in self._able

    def state(self, who: str, tool: str, arguments: Mapping[str, Any]) -> str:
        """Open a question about this call; returns what the client must send back with the answer."""
        state = secrets.token_urlsafe(24)
        self._open_questions[state] = (who, tool, canonical(dict(arguments)))
        _trim(self._open_questions)
        return state

    def answered(
        self, who: str, tool: str, arguments: Mapping[str, Any], state: object, responses: object
    ) -> bool | None:
        """The person's answer to the question `state`, which is then used up; None if it is not about this call."""
        if not isinstance(state, str) or self._open_questions.get(state) != (who, tool, canonical(dict(arguments))):
            return None
        response = responses.get(QUESTION) if isinstance(responses, Mapping) else None
        if not isinstance(response, Mapping):
            return None
        del self._open_questions[state]
        return response.get("action") == "accept"

    def open(self, who: str) -> tuple[str, asyncio.Future[bool]]:
        """A request of ours to the client: its id, and its future answer."""
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
    """True if these capabilities include asking a person with a form."""
    if not isinstance(capabilities, Mapping) or not isinstance(found := capabilities.get("elicitation"), Mapping):
        return False
    return not found or "form" in found  # an empty one means forms, as it did before there were others


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
