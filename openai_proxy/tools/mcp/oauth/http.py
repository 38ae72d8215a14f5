"""The HTTP client for addresses from a server's OAuth metadata: someone else chose them, so they are checked.

A server, or an impostor, chooses the URLs of its metadata, its authorization server and the latter's endpoints. None of
them may make the daemon reach hosts behind the firewall: a private address is allowed only if the MCP server has one
itself, this machine only if the server runs on it, a link-local one (cloud metadata) only if the server is link-local
(https://modelcontextprotocol.io/specification/2026-07-28/basic/security_best_practices). The name is resolved once and
the connection goes to the checked address, so a second look-up cannot differ.

Imports the SDK's HTTP library: reached only through `account.load_module`.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from openai_proxy.hosts import kind_of
from openai_proxy.tools.mcp.http_client import CONNECT_TIMEOUT, environment_proxy, network_error_text
from openai_proxy.tools.mcp.oauth.account import SignInUnavailable

BODY_CAP = 1024 * 1024
"""Maximum bytes of one answer: metadata, registrations and tokens are a few KB."""

_TIMEOUT = httpx2.Timeout(15.0, connect=CONNECT_TIMEOUT)
_TOTAL = 30.0  # seconds for one exchange, however slow


class ForbiddenAddress(Exception):
    """An address that is not allowed. The text says why, without the address."""


async def addresses(host: str, port: int | None) -> list[str]:
    """The addresses of `host`. Raises SignInUnavailable if it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise SignInUnavailable("the host name of its authorization server is not known") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def allowed_kinds(server_url: str) -> frozenset[str]:
    """The kinds of address allowed in metadata of the server at `server_url`."""
    url = httpx2.URL(server_url)
    own = {kind_of(address) for address in await addresses(url.host, url.port)}
    return frozenset({"public", *own, *(["private"] if "this machine" in own else [])})


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Sends requests only to addresses of an allowed kind, and reads at most BODY_CAP of the answer."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._direct = httpx2.AsyncHTTPTransport()
        self._proxied: dict[str, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises ForbiddenAddress, and network errors."""
        proxy = environment_proxy(str(request.url))
        if proxy is not None:
            self._check_literal(request.url)
            transport = self._proxied.setdefault(proxy, httpx2.AsyncHTTPTransport(proxy=proxy))
            response = await transport.handle_async_request(request)
        else:
            response = await self._direct.handle_async_request(await self._pinned(request))
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        response.stream = _Capped(stream)
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()

    async def _pinned(self, request: httpx2.Request) -> httpx2.Request:
        """The same request for one checked address; the name stays in Host, and in TLS."""
        url = request.url
        found = await addresses(url.host, url.port)
        good = [address for address in found if kind_of(address) in self._kinds]
        if not good:
            raise ForbiddenAddress(f"it names {_article(kind_of(found[0]))} address, but runs elsewhere")
        if url.scheme != "https" and kind_of(good[0]) == "public":
            raise ForbiddenAddress("it names an address on the internet without https")
        pinned = httpx2.Request(
            request.method, url.copy_with(host=good[0]), headers=request.headers, stream=request.stream,
            extensions={**request.extensions, "sni_hostname": url.host},
        )  # fmt: skip
        pinned.headers["host"] = request.headers["host"]
        return pinned

    def _check_literal(self, url: httpx2.URL) -> None:
        """Behind a proxy only literal addresses can be checked: names are resolved by the proxy."""
        try:
            kind = kind_of(url.host)
        except ValueError:
            kind = "this machine" if url.host == "localhost" else "public"
        if kind not in self._kinds:
            raise ForbiddenAddress(f"it names {_article(kind)} address, but runs elsewhere")


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > BODY_CAP:
                raise httpx2.StreamError("the answer is too large")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class CheckedClient:
    """Runs the SDK's flow: request in, whole response out."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Never follows a redirect. Raises ForbiddenAddress, or SignInUnavailable if no answer arrived."""
        # A request that was not built by a client has no timeouts, and would wait forever.
        request.extensions = {**request.extensions, "timeout": _TIMEOUT.as_dict()}
        try:
            async with asyncio.timeout(_TOTAL):
                return await self._client.send(request)
        except TimeoutError:
            raise SignInUnavailable("its authorization server did not answer in time") from None
        except httpx2.TransportError as problem:
            raise SignInUnavailable(f"its authorization server: {network_error_text(problem)}") from None
        except httpx2.StreamError as problem:
            raise SignInUnavailable(f"its authorization server: {problem}") from None

    async def status_of(self, request: httpx2.Request) -> httpx2.Response:
        """The head of an answer whose body may never end. Raises as `send` does."""
        request.extensions = {**request.extensions, "timeout": _TIMEOUT.as_dict()}
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.TransportError as problem:
            raise SignInUnavailable(network_error_text(problem)) from None
        await response.aclose()
        return response


@asynccontextmanager
async def checked_client(server_url: str) -> AsyncIterator[CheckedClient]:
    """A client for one sign-in or refresh with the server at `server_url`."""
    transport = CheckedTransport(await allowed_kinds(server_url))
    async with httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False) as client:
        yield CheckedClient(client)


def _article(kind: str) -> str:
    return {"this machine": "this machine's own"}.get(kind, f"a {kind}")
