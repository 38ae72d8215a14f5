"""MCP messages over HTTP, in both versions of the protocol, and their answers. No I/O.

Imports the SDK: loaded in a thread by `endpoint.py`, with the first client.
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

from openai_proxy.dialects import json_text
from openai_proxy.dialects.json_text import holds_long_number
from openai_proxy.version import __version__

__all__ = ["INTERNAL_ERROR", "INVALID_PARAMS", "INVALID_REQUEST", "METHOD_NOT_FOUND"]

CANCELLED: Final = 0
"""The code of a request that its client cancelled; the SDK's servers use it, the specification names none."""

SERVER: Final = {"name": "openai-proxy", "title": "openai-proxy", "version": __version__}
_CAPABILITIES: Final = {"tools": {"listChanged": True}}

RequestId = int | str


class RpcRefusal(Exception):
    """A message answered with an error: JSON-RPC `code` and message, and the matching HTTP status."""

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
        return json_text.dumps({"jsonrpc": "2.0", "id": self.request_id, "error": error})


@dataclass(frozen=True, slots=True)
class Message:
    """A valid request, or with `id` None a notification. `modern`: of the stateless version."""

    id: RequestId | None
    method: str
    params: Mapping[str, Any]
    modern: bool

    @property
    def progress_token(self) -> RequestId | None:
        """The token for progress of this request, if requested."""
        meta = self.params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, Mapping) else None
        return token if isinstance(token, int | str) and not isinstance(token, bool) else None

    @property
    def capabilities(self) -> Any:
        """The client's capabilities in this request; only in the stateless version."""
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
        return json_text.dumps({"jsonrpc": "2.0", "id": self.id, "result": result})


def input_required(message: Message, name: str, params: Mapping[str, Any], state: str) -> bytes:
    """The answer that makes the client ask its person, and repeat the request with the answer."""
    requests = {name: {"method": "elicitation/create", "params": params}}
    result = {
        "resultType": "input_required", "inputRequests": requests, "requestState": state,
        "_meta": {SERVER_INFO_META_KEY: SERVER},
    }  # fmt: skip
    return json_text.dumps({"jsonrpc": "2.0", "id": message.id, "result": result})


def elicitation(request_id: str, params: Mapping[str, Any]) -> bytes:
    """A request of ours to a client of the older version."""
    return json_text.dumps({"jsonrpc": "2.0", "id": request_id, "method": "elicitation/create", "params": params})


def is_modern(headers: Mapping[str, str]) -> bool:
    """True for the stateless version; an unknown version is refused by its rules."""
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
    return version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS


def has_stream(headers: Mapping[str, str], session: str) -> bool:
    """True for a GET of the older version; without session and version it is HTTP+SSE, which would wait forever."""
    return not is_modern(headers) and bool(session or headers.get(MCP_PROTOCOL_VERSION_HEADER))


@dataclass(frozen=True, slots=True)
class Response:
    """A client's answer to a request of ours; `result` is None for an error."""

    id: object
    result: Any


def read(body: bytes, headers: Mapping[str, str], raw_headers: Sequence[tuple[str, str]]) -> Message | Response:
    """The message of a POST. Raises RpcRefusal.

    `headers` by lower-case name; `raw_headers` unchanged, to detect repeated ones.
    """
    try:
        document = orjson.loads(body)
        if holds_long_number(body):
            document = json_text.loads(body)
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
    """Check what every message of the stateless version must contain. Raises RpcRefusal."""
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
    """Check that arguments marked with `x-mcp-header` in a tool's schema are in headers, too. Raises RpcRefusal."""
    if message.modern:
        _unless_fine(validate_mcp_param_headers(schema, arguments, headers), message.id)


def _unless_fine(rejection: InboundLadderRejection | None, request_id: RequestId | None) -> None:
    if rejection is not None:
        status = ERROR_CODE_HTTP_STATUS.get(rejection.code, 400)
        raise RpcRefusal(rejection.code, rejection.message, status=status, request_id=request_id, data=rejection.data)


def initialized(message: Message, instructions: str) -> bytes:
    """The answer to `initialize`: the requested version if we support it, else our newest of that kind."""
    proposed = message.params.get("protocolVersion")
    version = proposed if proposed in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION
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
    """An empty list of what we do not offer: clients request it although we do not announce it."""
    kind = {"prompts/list": "prompts", "resources/list": "resources"}.get(method, "resourceTemplates")
    return _list(message, kind, [])


def _list(message: Message, kind: str, found: Any) -> bytes:
    members: dict[str, Any] = {kind: found}
    if message.modern:
        members |= {"ttlMs": 0, "cacheScope": "private"}
    return message.result(members)


def acknowledged(message: Message, kinds: Mapping[str, Any]) -> bytes:
    """The first frame of a `subscriptions/listen` stream: which of the requested `kinds` will be reported."""
    honoured = {"toolsListChanged": True} if kinds.get("toolsListChanged") is True else {}
    params = {"notifications": honoured, "_meta": {SUBSCRIPTION_ID_META_KEY: message.id}}
    return notification("notifications/subscriptions/acknowledged", params)


def tools_changed(message: Message | None) -> bytes:
    """Announces a changed tool list, for a listener of the stateless version or (None) of the older one."""
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
    return json_text.dumps(document)


def event(data: bytes) -> bytes:
    """One message as a server-sent event."""
    return b"event: message\ndata: %b\n\n" % data
