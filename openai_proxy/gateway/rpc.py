"""What an MCP message over HTTP is, in either era of the protocol, and how it is answered. No I/O.

Imports the SDK: loaded in a thread by `endpoint.py`, when the first client comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import mcp  # noqa: F401 - first: else this thread and the one that loads the client deadlock
import orjson
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
    unsupported_protocol_version_rejection,
    validate_mcp_param_headers,
)
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import CLIENT_CAPABILITIES_META_KEY, SERVER_INFO_META_KEY
from mcp_types.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from openai_proxy.version import __version__

__all__ = ["INTERNAL_ERROR", "INVALID_PARAMS", "INVALID_REQUEST", "METHOD_NOT_FOUND"]

CANCELLED: Final = 0
"""The code of a request that its client cancelled; the SDK's servers use it, the specification names none."""

SERVER: Final = {"name": "openai-proxy", "title": "openai-proxy", "version": __version__}
_CAPABILITIES: Final = {"tools": {"listChanged": True}}

RequestId = int | str


class RpcRefusal(Exception):
    """A message that is answered with an error: JSON-RPC `code` and message, and the HTTP status that goes with it."""

    def __init__(
        self, code: int, message: str, *, status: int, request_id: RequestId | None = None, data: Any = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.data = data

    def body(self) -> bytes:
        """The JSON-RPC error."""
        error = {"code": self.code, "message": str(self)}
        if self.data is not None:
            error["data"] = self.data
        return orjson.dumps({"jsonrpc": "2.0", "id": self.request_id, "error": error})


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or with `id` None a notification, that may be answered. `modern`: of the stateless era."""

    id: RequestId | None
    method: str
    params: Mapping[str, Any]
    modern: bool

    @property
    def progress_token(self) -> RequestId | None:
        """Under which progress of this request is to be told, if at all."""
        meta = self.params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, Mapping) else None
        return token if isinstance(token, int | str) and not isinstance(token, bool) else None

    @property
    def capabilities(self) -> Any:
        """What the client says with this request that it can do; of the stateless era only."""
        meta = self.params.get("_meta")
        return meta.get(CLIENT_CAPABILITIES_META_KEY) if isinstance(meta, Mapping) else None

    def error(self, code: int, message: str, data: Any = None) -> RpcRefusal:
        """An error for this request."""
        status = ERROR_CODE_HTTP_STATUS.get(code, 200) if self.modern else 200
        return RpcRefusal(code, message, status=status, request_id=self.id, data=data)

    def result(self, members: Mapping[str, Any]) -> bytes:
        """The response with a result of `members`."""
        result = dict(members)
        if self.modern:
            result["resultType"] = "complete"
            result["_meta"] = {**result.get("_meta", {}), SERVER_INFO_META_KEY: SERVER}
        return orjson.dumps({"jsonrpc": "2.0", "id": self.id, "result": result})


def input_required(message: Message, name: str, params: Mapping[str, Any], state: str) -> bytes:
    """The answer that asks the client to ask its person, and to repeat the request with what they said."""
    requests = {name: {"method": "elicitation/create", "params": params}}
    result = {
        "resultType": "input_required", "inputRequests": requests, "requestState": state,
        "_meta": {SERVER_INFO_META_KEY: SERVER},
    }  # fmt: skip
    return orjson.dumps({"jsonrpc": "2.0", "id": message.id, "result": result})


def elicitation(request_id: str, params: Mapping[str, Any]) -> bytes:
    """A request of ours to a client of the older era."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "method": "elicitation/create", "params": params})


def is_modern(headers: Mapping[str, str]) -> bool:
    """True for the stateless era; a version we do not know is told so by its rules."""
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
    return version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS


def has_stream(headers: Mapping[str, str], session: str) -> bool:
    """True for a GET of the older era; with neither session nor version it is HTTP+SSE, which would wait for ever."""
    return not is_modern(headers) and bool(session or headers.get(MCP_PROTOCOL_VERSION_HEADER))


@dataclass(frozen=True, slots=True)
class Response:
    """A client's answer to a request of ours; `result` is None where it is an error."""

    id: object
    result: Any


def read(body: bytes, headers: Mapping[str, str], raw_headers: Sequence[tuple[str, str]]) -> Message | Response:
    """The message of a POST. Raises RpcRefusal.

    `headers` by lower-case name; `raw_headers` as they came, in which a repeated one can be seen.
    """
    try:
        document = orjson.loads(body)
    except ValueError:
        raise RpcRefusal(PARSE_ERROR, "Parse error: the body is not valid JSON.", status=400) from None
    if not isinstance(document, dict) or "method" not in document:
        if isinstance(document, dict) and ("result" in document or "error" in document):
            return Response(document.get("id"), document.get("result"))
        raise RpcRefusal(INVALID_REQUEST, "The body must be one JSON-RPC request or notification.", status=400)
    method, params = document["method"], document.get("params")
    request_id = document.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str | None):
        raise RpcRefusal(INVALID_REQUEST, "The id must be a string or an integer.", status=400)
    if "id" in document and request_id is None:
        raise RpcRefusal(INVALID_REQUEST, "The id must not be null.", status=400)
    if not isinstance(method, str) or not isinstance(params, dict | None):
        raise RpcRefusal(INVALID_REQUEST, "The request is malformed.", status=400, request_id=request_id)
    message = Message(request_id, method, params or {}, is_modern(headers))
    if message.modern:
        _check_envelope(message, document, headers, raw_headers)
    return message


def _check_envelope(
    message: Message,
    document: Mapping[str, Any],
    headers: Mapping[str, str],
    raw_headers: Sequence[tuple[str, str]],
) -> None:
    """What every message of the stateless era must say of itself. Raises RpcRefusal."""
    if message.id is None:
        requested = headers[MCP_PROTOCOL_VERSION_HEADER]
        _unless_fine(unsupported_protocol_version_rejection(requested), None)
        return
    if (twice := find_duplicated_routing_header(raw_headers)) is not None:
        raise message.error(HEADER_MISMATCH, f"{twice} header appears more than once")
    verdict = classify_inbound_request(document, headers=headers)
    _unless_fine(verdict if isinstance(verdict, InboundLadderRejection) else None, message.id)


def check_parameter_headers(
    message: Message, schema: Any, arguments: Mapping[str, Any], headers: Mapping[str, str]
) -> None:
    """Arguments that a tool's schema marks with `x-mcp-header` must be in headers, too. Raises RpcRefusal."""
    if message.modern:
        _unless_fine(validate_mcp_param_headers(schema, arguments, headers), message.id)


def _unless_fine(rejection: InboundLadderRejection | None, request_id: RequestId | None) -> None:
    if rejection is not None:
        status = ERROR_CODE_HTTP_STATUS.get(rejection.code, 400)
        raise RpcRefusal(rejection.code, rejection.message, status=status, request_id=request_id, data=rejection.data)


def initialized(message: Message, instructions: str) -> bytes:
    """The answer to `initialize`: the version that was asked for if we speak it, else our newest of that era."""
    asked = message.params.get("protocolVersion")
    version = asked if asked in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION
    about: dict[str, Any] = {"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": SERVER}
    if instructions:
        about["instructions"] = instructions
    return message.result(about)


def discovered(message: Message, instructions: str) -> bytes:
    """The answer to `server/discover`."""
    about: dict[str, Any] = {
        "supportedVersions": list(MODERN_PROTOCOL_VERSIONS), "capabilities": _CAPABILITIES,
        "ttlMs": 0, "cacheScope": "private",
    }  # fmt: skip
    if instructions:
        about["instructions"] = instructions
    return message.result(about)


def listed(message: Message, tools: bytes) -> bytes:
    """The answer to `tools/list`; `tools` is the JSON array."""
    return _list(message, "tools", orjson.Fragment(tools))


def nothing_of(message: Message, method: str) -> bytes:
    """An empty list of what we do not offer: clients ask for it although we do not announce it."""
    kind = {"prompts/list": "prompts", "resources/list": "resources"}.get(method, "resourceTemplates")
    return _list(message, kind, [])


def _list(message: Message, kind: str, found: Any) -> bytes:
    members: dict[str, Any] = {kind: found}
    if message.modern:
        members |= {"ttlMs": 0, "cacheScope": "private"}
    return message.result(members)


def acknowledged(message: Message, kinds: Mapping[str, Any]) -> bytes:
    """The first frame of a `subscriptions/listen` stream: which of the wished-for `kinds` will be told."""
    honoured = {"toolsListChanged": True} if kinds.get("toolsListChanged") is True else {}
    params = {"notifications": honoured, "_meta": {SUBSCRIPTION_ID_META_KEY: message.id}}
    return notification("notifications/subscriptions/acknowledged", params)


def tools_changed(message: Message | None) -> bytes:
    """That the list of tools has changed, for a listener of the stateless era or (None) of the one before."""
    params = {"_meta": {SUBSCRIPTION_ID_META_KEY: message.id}} if message is not None else None
    return notification("notifications/tools/list_changed", params)


def unsubscribed(message: Message) -> bytes:
    """The last frame of a `subscriptions/listen` stream that we end."""
    return message.result({"_meta": {SUBSCRIPTION_ID_META_KEY: message.id}})


def progressed(token: RequestId, progress: float, total: float | None, text: str | None) -> bytes:
    """A progress notification."""
    params: dict[str, Any] = {"progressToken": token, "progress": progress}
    if total is not None:
        params["total"] = total
    if text:
        params["message"] = text
    return notification("notifications/progress", params)


def notification(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A notification of ours."""
    document: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        document["params"] = params
    return orjson.dumps(document)


def event(data: bytes) -> bytes:
    """One message as a server-sent event."""
    return b"event: message\ndata: %b\n\n" % data
