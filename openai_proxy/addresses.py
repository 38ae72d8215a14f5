"""The addresses at which other devices reach a server on this machine.

Nothing is sent: interfaces are read from the kernel, and the address of the default route is the one the kernel would
choose for a packet to the internet.
"""

import array
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

EVERY_IPV4: Final = ("0.0.0.0", "")  # noqa: S104 - recognised, not bound
EVERY_IPV6: Final = "::"
_OUTSIDE: Final = "192.0.2.1"  # TEST-NET-1 of RFC 5737: only the route to it is looked up
_VIRTUAL: Final = ("docker", "br-", "veth", "virbr", "vnet", "lxc", "lxd", "podman", "cni", "flannel", "kube")
_SIOCGIFCONF: Final = 0x8912  # netdevice(7)
_ENTRY: Final = 40 if struct.calcsize("P") == 8 else 32  # bytes of a struct ifreq
_MANY: Final = 64
_IPV6_TABLE: Final = Path("/proc/net/if_inet6")
_AVAHI: Final = Path("/run/avahi-daemon/socket")


def short(path: Path) -> str:
    """`path` of a Unix socket, relative if that is shorter: the kernel accepts 107 characters (macOS: 103)."""
    return min(str(path), os.path.relpath(path), key=len)


def plain(address: str) -> str:
    """`address` as people write it: a dual-stack socket calls IPv4 clients ::ffff:192.168.1.5."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def urls(hosts: Iterable[str], port: int) -> list[str]:
    """Base URLs ("http://192.168.1.10:8000") of a server that listens on `hosts`, the best for other devices first.

    A wildcard host stands for the addresses on the local network, this machine's name if the network knows it, and the
    loopback address.
    """
    near: list[str] = []
    own: list[str] = []
    for host in hosts:
        if host in EVERY_IPV4:
            near += [str(address) for address in ipv4_addresses()]
            near += [name] if (name := mdns_name()) is not None else []
            own.append("127.0.0.1")
        elif host == EVERY_IPV6:
            near += [str(address) for address in ipv6_addresses()]
            own.append("::1")
        else:
            near.append(host)
    return [url(host, port) for host in dict.fromkeys([*near, *own])]


def url(host: str, port: int) -> str:
    """`http://host:port`, with brackets where the host is an IPv6 address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ipv4_addresses() -> list[IPv4Address]:
    """IPv4 addresses of this machine that other devices may use, that of the default route first."""
    chosen = _of_default_route()
    others = [address for name, address in _ipv4_interfaces() if not name.startswith(_VIRTUAL)]
    return list(dict.fromkeys(x for x in ([chosen] if chosen else []) + others if _useful(x)))


def ipv6_addresses() -> list[IPv6Address]:
    """The same for IPv6; empty if the system does not list them (Linux does)."""
    try:
        rows = [line.split() for line in _IPV6_TABLE.read_text().splitlines()]
    except OSError:
        return []
    found = [IPv6Address(int(row[0], 16)) for row in rows if len(row) > 5 and not row[5].startswith(_VIRTUAL)]
    return [address for address in found if _useful(address)]


def mdns_name() -> str | None:
    """`NAME.local` if this machine announces its name on the network; else None."""
    name = socket.gethostname().partition(".")[0]
    announced = sys.platform == "darwin" or _AVAHI.exists()
    return f"{name.lower()}.local" if announced and name and name != "localhost" else None


def in_container() -> bool:
    """True in Docker or Podman: the addresses above are the container's, and only published ports are reachable."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _useful(address: IPv4Address | IPv6Address) -> bool:
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast)


def _of_default_route() -> IPv4Address | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_OUTSIDE, 9))
        except OSError:
            return None
        found = ip_address(probe.getsockname()[0])
    return found if isinstance(found, IPv4Address) else None


def _ipv4_interfaces() -> Iterator[tuple[str, IPv4Address]]:
    """Name and address of every interface that has one; empty on other systems than Linux."""
    if not sys.platform.startswith("linux"):
        return
    import fcntl

    table = array.array("B", bytes(_MANY * _ENTRY))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            filled = fcntl.ioctl(channel.fileno(), _SIOCGIFCONF, struct.pack("iP", len(table), table.buffer_info()[0]))
        except OSError:  # a sandbox may forbid it
            return
    entries = table.tobytes()[: struct.unpack("iP", filled)[0]]
    for start in range(0, len(entries) - _ENTRY + 1, _ENTRY):
        name = entries[start : start + 16].partition(b"\0")[0].decode("ascii", "replace")
        yield name, IPv4Address(entries[start + 20 : start + 24])
