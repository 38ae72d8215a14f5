"""Which addresses and Host names are local.

Without client keys the proxy is open to the local network and closed to the internet, to web pages in local browsers,
and to rebound DNS (Ollama's CVE-2024-28224 shows what happens without the Host rule).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from openai_proxy.hosts import LOCAL_SUFFIXES

Network = IPv4Network | IPv6Network

_PRIVATE: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8", "::1/128",
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "fe80::/10",  # link-local
        "100.64.0.0/10",  # RFC 6598: Tailscale and other overlay networks
        "fc00::/7",  # RFC 4193
    )
)  # fmt: skip
UNKNOWN = "unknown"
"""The address of a caller whose proxies did not report a readable one: it belongs to no network."""

_FORWARDED_PAIR = re.compile(
    r"""[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*+"|[!#$%&'*+.^_`|~0-9A-Za-z-]+))?[ \t]*([;,]|\Z)"""
)
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?\Z")


def _parse(address: str) -> object | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed


@lru_cache(maxsize=4096)
def is_private(address: str) -> bool:
    """True for loopback, RFC 1918, link-local, 100.64/10 and fc00::/7 addresses (IPv4-mapped ones too)."""
    return is_within(address, _PRIVATE)


@lru_cache(maxsize=1024)
def is_loopback(address: str) -> bool:
    """True for 127/8 and ::1."""
    parsed = _parse(address)
    return parsed is not None and bool(getattr(parsed, "is_loopback", False))


@lru_cache(maxsize=4096)
def host_name(host: str) -> str | None:
    """The name or address of a Host header without its port, lower case; None if it is malformed.

    RFC 9110 §7.2 allows only uri-host and port: user parts, paths and spaces have been used to fool proxies.
    """
    match = _HOST.match(host)
    if match is None or (match[3] is not None and int(match[3]) > 65535):
        return None
    if match[1] is not None:
        return match[1].lower() if _parse(match[1]) is not None else None
    return str(match[2]).lower().rstrip(".") or None


@lru_cache(maxsize=4096)
def is_local_name(name: str) -> bool:
    """True for IP literals, one-label names and the suffixes no public DNS answers for (RFC 6762, 8375)."""
    if _parse(name) is not None:
        return True
    if re.fullmatch(r"[0-9.]+", name):  # "127.1": not an address that we can judge
        return False
    return "." not in name or name.endswith(LOCAL_SUFFIXES)


def is_loopback_name(name: str) -> bool:
    """True for localhost and loopback literals."""
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)


def host_rule(allowed: str | Iterable[str]) -> Callable[[str], bool]:
    """A predicate for host names from the setting `allowed_hosts`: "auto", or names and globs."""
    if allowed == "auto":
        return is_local_name
    patterns = tuple(entry.lower() for entry in ([allowed] if isinstance(allowed, str) else allowed))
    return lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)


def remote_address(peer: str, headers: Mapping[str, str], trusted: tuple[Network, ...]) -> str:
    """The caller's address: the peer, or the last hop before it that is not one of our trusted proxies.

    Hops are read from `X-Forwarded-For` and `Forwarded` (RFC 7239), across all lines of either, from the right: a
    caller may have invented those further left. UNKNOWN if a relevant hop cannot be read; if both headers are present
    and differ, the address that is not local is used.
    """
    if not trusted or not is_within(peer, trusted):
        return peer
    listed = field_lines(headers, "X-Forwarded-For")
    forwarded = field_lines(headers, "Forwarded")
    found: list[str] = []
    if any(line.strip() for line in listed):
        found.append(_last_untrusted([hop.strip() for hop in ",".join(listed).split(",")], trusted))
    if any(line.strip() for line in forwarded):
        found.append(_last_untrusted(forwarded_for(",".join(forwarded)), trusted))
    return next((remote for remote in found if not is_private(remote)), found[0]) if found else peer


def _last_untrusted(hops: Sequence[str], trusted: tuple[Network, ...]) -> str:
    remote = UNKNOWN
    for hop in reversed(hops):
        if _parse(hop) is None:
            return UNKNOWN
        remote = hop
        if not is_within(hop, trusted):
            break
    return remote


def field_lines(headers: Mapping[str, str], name: str) -> list[str]:
    """The values of every line of a header, separately, if `headers` keeps them apart."""
    lines = getattr(headers, "getall", None)
    if lines is not None:
        return list(lines(name, ()))
    return [headers[name]] if name in headers else []


def forwarded_for(value: str) -> list[str]:
    """The address in `for` of each element of a `Forwarded` header (RFC 7239 §4), without a port.

    UNKNOWN instead of an element that has none, more than one, or a hidden one ("_hidden", "unknown"); and for all of
    them, if the header is malformed.
    """
    found: list[str] = []
    position, element = 0, 0
    name = UNKNOWN
    while position <= len(value):
        pair = _FORWARDED_PAIR.match(value, position)
        if pair is None:
            return [UNKNOWN]
        position = pair.end()
        if pair[1] is not None and pair[1].lower() == "for":
            element += 1
            name = _node(pair[2]) if element == 1 else UNKNOWN
        if pair[3] != ";":
            found.append(name)
            name, element = UNKNOWN, 0
            if not pair[3]:
                break
    return found


def _node(value: str) -> str:
    match = _NODE.fullmatch(value[1:-1] if value.startswith('"') else value)
    return (match[1] or match[2]) if match is not None else UNKNOWN


def is_within(address: str, networks: tuple[Network, ...]) -> bool:
    """True if `address` belongs to one of `networks`."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks from the setting `trusted_proxies` (already validated)."""
    return tuple(ip_network(text, strict=False) for text in texts)
