"""Sends the request of a tool: bounded in size and time, and only to the host that the owner named.

Redirects are followed on the same host only. A host whose name does not mark it as local is only contacted at public
addresses, so that the owner of its DNS entry cannot make us reach hosts behind the firewall: we connect only to the
addresses that were looked up and checked.

Imports aiohttp's client, 7 MB: loaded in a thread on the first such call.
"""

import asyncio
import logging
import os
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
    """Resolves names to public addresses only."""

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
        """Does nothing: there is nothing to release."""
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
        raise ToolFailure(_words(error, request.url)) from None


async def _follow(request: ToolRequest, limit: int) -> Answer:
    url, method, body = request.url, request.method, request.body
    if not request.private and is_private_host(urlsplit(url).hostname or ""):
        raise ToolFailure("Its host is not allowed.")
    # One connection per call: tools are called rarely, and nothing stays open when the configuration changes.
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
    """True if the environment names a proxy for `url`: the proxy then resolves the name, in its own network."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return bool(getproxies().get(parts.scheme)) and not proxy_bypass(parts.hostname or "")


def _redirected(url: str, location: str) -> str:
    """The target of a redirect, on the same host. Raises ToolFailure for another host."""
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


def _words(error: aiohttp.ClientError, url: str) -> str:
    """What went wrong, without the address, which is only logged."""
    parts, message = urlsplit(url), _message_of(error)
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    cause = getattr(error, "os_error", None) or error.__cause__
    # The numbers of look-ups and of TLS are not those of the operating system.
    other = isinstance(error, aiohttp.ClientConnectorDNSError | aiohttp.ClientSSLError)
    number = 0 if other else getattr(cause, "errno", None) or 0
    why = os.strerror(number).lower() if number > 0 else message.lower().rstrip(".")
    log.warning("the request of a tool failed: %s", vault.scrub(f"{where}: {why}"))
    return message


def _message_of(error: aiohttp.ClientError) -> str:
    cause = getattr(error, "os_error", None) or error.__cause__
    if isinstance(cause, PrivateAddress) or isinstance(error.__cause__, PrivateAddress):
        return "Its host has a private address, which is allowed only if the tool sets private: true."
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "Its host name is not known."
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "Its certificate is not accepted."
    if isinstance(error, aiohttp.ClientSSLError):
        return "A TLS connection to it cannot be established."
    if isinstance(error, aiohttp.ClientConnectorError):
        return "It cannot be reached."
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return "It dropped the connection."
    return "Its answer is not valid HTTP."
