"""Messages of both protocol versions, without a socket: any input is a message, needs no answer, or is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.gateway import rpc

from .conftest import LEGACY, META, MODERN

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["jsonrpc", "id", "method", "params", "result", "_meta"])
ERAS = st.sampled_from([{}, {"mcp-protocol-version": LEGACY}, {"mcp-protocol-version": MODERN, "mcp-method": "ping"}])


def read(body: bytes, headers: dict[str, str]) -> rpc.Message | rpc.Response:
    return rpc.read(body, headers, list(headers.items()))


@given(st.dictionaries(NAMES, JSON), ERAS)
def test_any_object_is_read_or_refused(document: dict[str, Any], headers: dict[str, str]) -> None:
    answer = _answer(document, headers)
    if "error" in answer:
        assert answer["error"]["message"]
    else:
        assert answer.get("id") == document.get("id") or answer == {}


def _answer(document: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """The refusal, the id of the message to answer, or nothing."""
    try:
        message = read(json.dumps(document).encode(), headers)
    except rpc.RpcRefusal as refusal:
        found: dict[str, Any] = json.loads(refusal.body())
        return found
    if isinstance(message, rpc.Response) or message.id is None:
        return {}
    return dict(json.loads(message.result({})))


@given(st.binary(max_size=200), ERAS)
def test_any_bytes_are_refused(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(rpc.RpcRefusal):
        read(b"\xff" + body, headers)


def test_a_truncated_message_is_refused_at_every_byte() -> None:
    whole = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}}).encode()
    for end in range(len(whole)):
        with pytest.raises(rpc.RpcRefusal):
            read(whole[:end], {})
    assert read(whole, {}) is not None


@pytest.mark.parametrize("token", [None, True, [], {}, 1.5])
def test_an_invalid_progress_token_is_ignored(token: Any) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": {"progressToken": token}}}
    message = read(json.dumps(body).encode(), {})
    assert message is not None
    assert message.progress_token is None


def test_results_of_the_stateless_version_identify_the_server() -> None:
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "ping"}
    body = {"jsonrpc": "2.0", "id": "a", "method": "ping", "params": {"_meta": META}}
    message = read(json.dumps(body).encode(), headers)
    assert message is not None
    result = json.loads(message.result({"_meta": {"mine": 1}}))["result"]
    assert result["resultType"] == "complete"
    assert result["_meta"] == {"mine": 1, "io.modelcontextprotocol/serverInfo": rpc.SERVER}
    assert message.error(rpc.METHOD_NOT_FOUND, "no").status == 404
    assert message.error(rpc.INTERNAL_ERROR, "no").status == 200


def test_a_routing_header_sent_twice_is_refused() -> None:
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "ping"}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": META}}).encode()
    with pytest.raises(rpc.RpcRefusal, match="more than once"):
        rpc.read(body, headers, [*headers.items(), ("Mcp-Method", "tools/call")])


def test_arguments_also_sent_in_headers_are_compared() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    message = rpc.Message(1, "tools/call", {}, modern=True)
    rpc.check_parameter_headers(message, schema, {"region": "eu"}, {"mcp-param-region": "eu"})
    for arguments, headers in (({"region": "eu"}, {}), ({"region": "eu"}, {"mcp-param-region": "us"})):
        with pytest.raises(rpc.RpcRefusal) as refusal:
            rpc.check_parameter_headers(message, schema, arguments, headers)
        assert refusal.value.status == 400
    rpc.check_parameter_headers(rpc.Message(1, "tools/call", {}, modern=False), schema, {"region": "eu"}, {})
