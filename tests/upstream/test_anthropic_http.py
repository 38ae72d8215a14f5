"""The Anthropic connection over real sockets, through the pool that all connections share."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.errors import UpstreamTruncated, UpstreamUnreachable
from openai_proxy.exchange import UpstreamRequest
from openai_proxy.upstream.factory import Providers
from tests.upstream.anthropic_oracle import TOOLS_STREAM, client_reads, vendor_reads


class Vendor:
    """A provider that checks its requests."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.seen: list[tuple[Any, Any]] = []
        self.breaks = False
        self.peers: set[Any] = set()

    async def models(self, request: web.Request) -> web.Response:
        assert request.headers["x-api-key"] == "sk-good"
        return web.json_response({"data": [{"id": "c", "max_tokens": 4000}], "has_more": False})

    async def messages(self, request: web.Request) -> web.StreamResponse:
        for name in ("x-api-key", "anthropic-version", "content-type", "accept-encoding", "x-title"):
            assert len(request.headers.getall(name)) == 1, name
        assert "authorization" not in request.headers
        self.seen.append((dict(request.headers), await request.json()))
        self.peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        if request.headers["x-api-key"] != "sk-good":
            error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
            return web.json_response(error, status=401)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        half = len(TOOLS_STREAM) // 2
        await response.write(TOOLS_STREAM[:half])
        await self.gate.wait()
        if self.breaks:
            assert request.transport is not None
            request.transport.abort()
            return response
        for at in range(half, len(TOOLS_STREAM), 100):
            await response.write(TOOLS_STREAM[at : at + 100])
        return response


@pytest.fixture
async def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def providers(tmp_path: Path) -> AsyncIterator[Providers]:
    made = Providers(asyncio.get_running_loop(), tmp_path)
    yield made
    await made.aclose()


def connect(providers: Providers, **config: Any) -> Any:
    connections = {"claude": ConnectionConfig.model_validate(config)}
    built = providers.build(connections)
    providers.adopt(connections, built)
    return built["claude"]


@pytest.fixture
async def provider(vendor: Vendor, providers: Providers) -> AsyncIterator[Any]:
    app = web.Application()
    app.router.add_get("/v1/models", vendor.models)
    app.router.add_post("/v1/messages", vendor.messages)
    async with TestServer(app) as server:
        base = str(server.make_url("/"))
        yield connect(providers, api_type="anthropic", api_base=base, api_key="sk-good", headers={"X-Title": "home"})


def ask(provider: Any, key: str = "sk-good") -> Any:
    chat = {"model": "c", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5,
            "messages": [{"role": "user", "content": "hi"}]}  # fmt: skip
    headers = [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"gzip"), (b"X-Title", b"client")]
    return provider.send(UpstreamRequest("POST", "/chat/completions", headers=headers, body=orjson.dumps(chat)), key)


async def test_a_stream_arrives_as_it_is_sent(provider: Any, vendor: Vendor):
    response = await ask(provider)
    first = await response.chunk()
    assert b'"role":"assistant"' in first  # although the provider still holds the rest back
    vendor.gate.set()
    made = first + await response.read(1 << 20)
    response.close()
    assert client_reads(made)[:3] == vendor_reads(TOOLS_STREAM)[:3]
    headers, body = vendor.seen[0]
    assert headers["X-Title"] == "home"
    assert body["max_tokens"] == 4000
    again = await ask(provider)
    await again.read(1 << 20)
    again.close()
    assert len(vendor.peers) == 1  # the connection was kept


async def test_a_wrong_key_is_the_providers_401(provider: Any):
    response = await ask(provider, "sk-bad")
    assert response.status == 401
    assert orjson.loads(await response.read(9999))["error"]["code"] == "authentication_error"


async def test_a_break_in_mid_stream_is_raised(provider: Any, vendor: Vendor):
    vendor.breaks = True
    response = await ask(provider)
    assert await response.chunk()
    vendor.gate.set()
    with pytest.raises(UpstreamTruncated):
        await response.read(1 << 20)
    response.close()


async def test_the_model_list(provider: Any):
    assert [model["id"] for model in await provider.list_models()] == ["c"]


@pytest.mark.parametrize("kind", ["anthropic", "google"])
async def test_a_provider_that_is_down(providers: Providers, kind: str):
    down = connect(providers, api_type=kind, api_base="http://127.0.0.1:9/v1")
    with pytest.raises(UpstreamUnreachable):
        await ask(down)
