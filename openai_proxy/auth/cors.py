"""Which web pages may use the API (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from openai_proxy.auth.peers import host_name, is_local_name, is_private

METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
MAX_AGE = "600"  # seconds; Chromium caps it at 7200


class OriginRule:
    """The setting `cors.origins` applied: which Origin values are allowed."""

    def __init__(self, origins: str | Iterable[str], *, keys_required: bool) -> None:
        self._auto = origins == "auto"
        listed = (origins,) if isinstance(origins, str) else tuple(origins)
        self._any = "*" in listed or (self._auto and keys_required)
        self._listed = frozenset() if self._auto else frozenset(o.rstrip("/").lower() for o in listed)

    def allows(self, origin: str, host: str | None) -> bool:
        """True if a page of `origin` may read our answers; pages that we served ourselves always may."""
        if self._any:
            return True
        if origin == "null":  # a page from a file, or in a sandbox
            return origin in self._listed
        try:
            url = urlsplit(origin)
        except ValueError:  # "http://[": anyone can send that
            return False
        if url.scheme not in ("http", "https") or not url.netloc:
            return False
        if host is not None and url.netloc.lower() == host.lower() and (name := host_name(host)) is not None:
            return is_local_name(name) or origin.lower() in self._listed
        if origin.lower() in self._listed:
            return True
        if not self._auto:
            return False
        name = host_name(url.netloc)
        # A literal public address is a page on the internet, whatever its form.
        return name is not None and (is_private(name) or (is_local_name(name) and not _literal(name)))

    @staticmethod
    def preflight(origin: str, requested_headers: str | None) -> list[tuple[str, str]]:
        """Header fields that answer a preflight of an allowed origin."""
        return [
            *OriginRule.grant(origin),
            ("Access-Control-Allow-Methods", METHODS),
            ("Access-Control-Allow-Headers", requested_headers or "Authorization, Content-Type, x-api-key"),
            ("Access-Control-Max-Age", MAX_AGE),
        ]

    @staticmethod
    def grant(origin: str) -> list[tuple[str, str]]:
        """Header fields that let a page of an allowed origin read the answer."""
        return [
            ("Access-Control-Allow-Origin", origin),
            (
                "Access-Control-Expose-Headers",
                "x-request-id, x-proxy-error, x-proxy-attempts, x-proxy-budget-remaining, X-Session-ID",
            ),
            ("Vary", "Origin"),
        ]


def is_own_page(headers: Mapping[str, str]) -> bool:
    """True for a request of a page that we served, or of no page at all: the rule for everything that needs an admin.

    Another port of the same machine is a foreign page. A reverse proxy that rewrites Host puts the browser's into
    X-Forwarded-Host; a foreign page cannot set that field, because that requires a preflight, which is never granted
    here. A browser that sends no Origin may still say where a request comes from
    (https://www.w3.org/TR/fetch-metadata/).
    """
    origin = headers.get("Origin")
    if origin is None:
        return headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
    scheme, separator, netloc = origin.lower().partition("://")
    if not separator or scheme not in ("http", "https"):
        return False
    port = ":443" if scheme == "https" else ":80"
    hosts = [headers.get("Host", ""), *headers.get("X-Forwarded-Host", "").split(",")]
    return netloc.removesuffix(port) in {host.strip().lower().removesuffix(port) for host in hosts if host.strip()}


def _literal(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()
