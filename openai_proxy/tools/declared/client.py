"""Sending the request of a tool: bounded in size and time, to the host its owner named and to no other.

A redirect is followed on the same host only. A host whose name does not say that it stands in the house is asked only
at public addresses, so that whoever owns its DNS entry cannot make us ask what stands behind the firewall: the
addresses that were looked up and checked are the ones that are connected to.

Imports aiohttp's client, 7 MB: loaded in a thread when the first such tool is called.
"""

import asyncio
import logging
import socket
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from openai_proxy.hosts import is_private_host, kind_of
from openai_proxy.secrets import vault
from openai_proxy.tools.declared.request import MAX_ANSWER, ToolRequest
from openai_proxy.tools.handler import ToolFailure
from openai_proxy.version import __version__

log = logging.getLogger(__name__)

MAX_REDIRECTS: Final = 5
_CONNECT: Final = 10.0  # seconds
_CHUNK: Final = 64 * 1024
_KEEPS_METHOD: Final = frozenset({307, 308})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class PrivateAddress(OSError):
    """A name that should be public has only private addresses."""


class PublicResolver(AbstractResolver):
    """Looks names up, and gives only public addresses."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of `host`. Raises PrivateAddress if it has none, OSError if it has no address at all."""
        found = await self._inner.resolve(host, port, family)
        public = [entry for entry in found if kind_of(entry["host"]) == "public"]
        if found and not public:
            raise PrivateAddress(f"{host} has a private address")
        return public

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()


Answer = tuple[int, str, str, bytes]
"""Status, reason, Content-Type, body."""


async def send(request: ToolRequest, timeout: float, limit: int = MAX_ANSWER) -> Answer:
    """Send it within `timeout` seconds, and read at most `limit` bytes. Raises ToolFailure with words for the model."""
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            return await _follow(request, limit)
    except TimeoutError:
        raise ToolFailure(f"There was no answer within {timeout:g} seconds.") from None
    except aiohttp.ClientError as error:
        raise ToolFailure(_words(error)) from None


async def _follow(request: ToolRequest, limit: int) -> Answer:
    url, method, body = request.url, request.method, request.body
    if not request.private and is_private_host(urlsplit(url).hostname or ""):
        raise ToolFailure("Its host is not one that may be asked.")
    # One connection a call: tools are called seldom, and nothing is left open when the configuration changes.
    resolver = None if request.private or _has_proxy(url) else PublicResolver()
    connector = aiohttp.TCPConnector(resolver=resolver, force_close=True, limit=1, use_dns_cache=False)
    headers = {"User-Agent": f"openai-proxy/{__version__}", "Accept": "*/*", **request.headers}
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
        trust_env=True,
        skip_auto_headers=("Content-Type",),
    )
    async with session:
        for _ in range(MAX_REDIRECTS + 1):
            async with session.request(
                method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
            ) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    kind = response.headers.get("Content-Type", "")
                    return response.status, response.reason or "", kind, await _read(response, limit)
                url = _redirected(url, location)
                if response.status == 303 or (response.status not in _KEEPS_METHOD and method == "POST"):
                    method, body = ("HEAD" if method == "HEAD" else "GET"), None
                    headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    raise ToolFailure("It redirected too often.")


def _has_proxy(url: str) -> bool:
    """True where the environment names a proxy for `url`: then that one looks the name up, in a network of its own."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return bool(getproxies().get(parts.scheme)) and not proxy_bypass(parts.hostname or "")


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads, on the same host. Raises ToolFailure for another."""
    before, target = urlsplit(url), URL(url, encoded=True).join(URL(location, encoded=True))
    after = urlsplit(str(target))
    same = (after.scheme, after.hostname, after.port) == (before.scheme, before.hostname, before.port)
    upgrade = (before.scheme, after.scheme) == ("http", "https") and after.hostname == before.hostname
    if not (same or (upgrade and before.port in (None, 80) and after.port in (None, 443))):
        raise ToolFailure("It redirected to another host, which is not followed.")
    return str(target).partition("#")[0]


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_chunked(_CHUNK):
        size += len(piece)
        if size > limit:
            raise ToolFailure(f"The answer is larger than {limit >> 20} MiB.")
        pieces.append(piece)
    return b"".join(pieces)


def _words(error: aiohttp.ClientError) -> str:
    """What went wrong, without the address; the owner finds it in the log."""
    log.warning("the request of a tool failed: %s", vault.scrub(f"{type(error).__name__}: {error}"))
    cause = getattr(error, "os_error", None) or error.__cause__
    if isinstance(cause, PrivateAddress) or isinstance(error.__cause__, PrivateAddress):
        return "Its host has a private address, which is asked only where the tool says private: true."
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "Its host name is not known."
    if isinstance(error, aiohttp.ClientSSLError):
        return "Its certificate is not accepted."
    if isinstance(error, aiohttp.ClientConnectorError):
        return "It cannot be reached."
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return "It broke the connection off."
    return "Its answer is not HTTP that can be read."
