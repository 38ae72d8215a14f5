"""The target of a connection's requests, an API root parsed once, and how to reach it."""

import base64
import functools
import ssl
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """An HTTP proxy. `authorization` is the value of a Proxy-Authorization header, or None."""

    scheme: str
    host: str
    port: int
    authorization: str | None = None

    @classmethod
    def parse(cls, url: str) -> "HttpProxy":
        """Parse `http(s)://[user:password@]host[:port]`."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port, authorization)

    @property
    def tls(self) -> bool:
        """True if the connection to the proxy is encrypted."""
        return self.scheme == "https"


@dataclass(frozen=True, slots=True)
class Origin:
    """One API root. `prefix` is the path before every endpoint ("/v1"), `authority` the value of the Host header.

    `proxy` is used to reach it; `ca_file` holds authorities that are trusted besides the system's.
    """

    scheme: str
    host: str
    port: int
    prefix: str
    authority: str
    proxy: HttpProxy | None = None
    ca_file: str | None = None

    @classmethod
    def parse(cls, api_base: str, proxy: str = "none", ca_file: str | None = None) -> "Origin":
        """Parse an http or https URL. Raises ValueError for any other."""
        url = urlsplit(api_base)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("an http:// or https:// address is required")
        default = 443 if url.scheme == "https" else 80
        port = url.port or default
        host = url.hostname
        shown = f"[{host}]" if ":" in host else host
        authority = shown if port == default else f"{shown}:{port}"
        via = HttpProxy.parse(proxy) if "://" in proxy else None
        return cls(url.scheme, host, port, url.path.rstrip("/"), authority, via, ca_file)

    @property
    def tls(self) -> bool:
        """True if the connection is encrypted."""
        return self.scheme == "https"

    @property
    def relayed(self) -> bool:
        """True if a proxy forwards each request, rather than opening a tunnel (RFC 9110 section 7.3.2)."""
        return self.proxy is not None and not self.tls

    @property
    def target_prefix(self) -> str:
        """What precedes an endpoint's path in a request line: the absolute form if it is `relayed`."""
        return f"{self.scheme}://{self.authority}{self.prefix}" if self.relayed else self.prefix


@functools.cache
def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """The client context: system trust store and `ca_file`, verification on, HTTP/1.1 offered by ALPN.

    A private authority's certificates seldom meet all of RFC 5280, so strict checking is disabled for it.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
