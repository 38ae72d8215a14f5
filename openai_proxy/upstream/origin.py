"""Where a connection's requests go: an API root taken apart once."""

import functools
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """One API root. `prefix` is the path in front of every endpoint ("/v1"), `authority` the Host header's value."""

    scheme: str
    host: str
    port: int
    prefix: str
    authority: str

    @classmethod
    def parse(cls, api_base: str) -> "Origin":
        """Take an http or https URL apart. Raises ValueError for any other."""
        url = urlsplit(api_base)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("an http:// or https:// address is needed")
        default = 443 if url.scheme == "https" else 80
        port = url.port or default
        host = url.hostname
        shown = f"[{host}]" if ":" in host else host
        authority = shown if port == default else f"{shown}:{port}"
        return cls(url.scheme, host, port, url.path.rstrip("/"), authority)

    @property
    def tls(self) -> bool:
        """True if the connection is encrypted."""
        return self.scheme == "https"


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The one client context: system trust store, verification on, HTTP/1.1 offered by ALPN."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
