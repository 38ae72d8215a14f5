"""Where a host is, judging by its name or address: on this machine, on the local network, on the internet."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

LOCAL_SUFFIXES: Final = (".local", ".lan", ".home.arpa", ".internal", ".localhost")
"""Suffixes that public DNS never resolves (RFC 6762, 6761, 8375)."""


def kind_of(address: str) -> str:
    """ "public", "private", "this machine", "link-local" or "reserved". Raises ValueError if it is not an address."""
    parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    if parsed.is_loopback or parsed.is_unspecified:
        return "this machine"
    if parsed.is_link_local:
        return "link-local"
    if parsed.is_multicast or (parsed.is_reserved and not parsed.is_global):
        return "reserved"
    return "public" if parsed.is_global else "private"


def is_private_host(host: str) -> bool:
    """True for an address that is not public, and for a name that can only be a local one."""
    name = host.lower().rstrip(".")
    try:
        return kind_of(name.strip("[]")) != "public"
    except ValueError:
        return "." not in name or name.endswith(LOCAL_SUFFIXES)
