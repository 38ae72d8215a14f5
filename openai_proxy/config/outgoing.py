"""The way out to a provider: the HTTP proxy, and the trusted certificate authorities.

`proxy:` of a connection sets the proxy, or leaves it to the usual variables.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are read as curl and Go do: lower-case names work too and win; no proxy
is used for this machine itself. NO_PROXY is a comma-separated list of `*`, host names (including subdomains; a leading
dot makes no difference), addresses and networks such as 192.168.0.0/16, each with an optional `:port`.
"""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from openai_proxy.config.connection import ENV, NONE, ConnectionConfig, proxy_url
from openai_proxy.config.problems import Problem
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.sources import SourceOrigin

_DEFAULT_PORTS = {"http": 80, "https": 443}


def resolve(
    config: ProxyConfig, origin: SourceOrigin, environ: Mapping[str, str], config_dir: Path
) -> tuple[ProxyConfig, list[Problem]]:
    """`config` with every connection's `proxy` (a URL or "none") and `ca_file` resolved, and the problems."""
    problems: list[Problem] = []
    connections = {
        name: _settled(name, connection, origin, environ, config_dir, problems)
        for name, connection in config.connections.items()
    }
    if connections == config.connections:
        return config, problems
    return config.model_copy(update={"connections": connections}), problems


def secrets_of(connection: ConnectionConfig) -> Iterator[str]:
    """The password in a proxy's URL, as written and decoded."""
    password = urlsplit(connection.proxy).password
    if password:
        yield password
        yield unquote(password)


def _settled(
    name: str,
    connection: ConnectionConfig,
    origin: SourceOrigin,
    environ: Mapping[str, str],
    config_dir: Path,
    problems: list[Problem],
) -> ConnectionConfig:
    update: dict[str, str | None] = {}
    if connection.proxy == ENV:
        chosen = from_environment(connection.api_base, environ)
        update["proxy"] = chosen.proxy
        if chosen.trouble is not None:
            message = f"{chosen.variable}: {chosen.trouble}; {name} is reached directly"
            problems.append(Problem(*origin.place(("connections", name, "proxy")), message))
    if connection.ca_file is not None:
        path = config_dir / Path(connection.ca_file).expanduser()
        trouble = _untrustworthy(path)
        update["ca_file"] = str(path) if trouble is None else None
        if trouble is not None:
            problems.append(Problem(*origin.place(("connections", name, "ca_file")), f"ca_file: {trouble}"))
    return connection.model_copy(update=update) if update else connection


def _untrustworthy(path: Path) -> str | None:
    """What is wrong with a file of certificates, or None."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=str(path))
    except ssl.SSLError:
        return f"{path} contains no certificate: expected PEM, which begins with -----BEGIN CERTIFICATE-----"
    except (OSError, ValueError) as error:
        return f"{path}: {(getattr(error, 'strerror', None) or 'not a usable path').lower()}"
    return None


@dataclass(frozen=True, slots=True)
class ProxyChoice:
    """What the environment says about one URL: the proxy, or `none`; `trouble` is what is wrong with `variable`."""

    proxy: str = NONE
    variable: str = ""
    trouble: str | None = None


def from_environment(url: str, environ: Mapping[str, str]) -> ProxyChoice:
    """The proxy that the environment sets for requests to `url`."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower().removesuffix(".")
    if not host or _is_here(host):
        return ProxyChoice()
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    for name in (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        named = environ.get(name, "").strip()
        if not named:
            continue
        if _excepted(host, port, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
            return ProxyChoice(variable=name)
        try:
            return ProxyChoice(proxy_url(named), name)
        except ValueError as error:
            return ProxyChoice(variable=name, trouble=str(error))
    return ProxyChoice()


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _excepted(host: str, port: int, listed: str) -> bool:
    return any(_matches(host, port, entry) for item in listed.lower().replace(" ", ",").split(",") if (entry := item))


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.startswith("[")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        address = ip_address(host)
    except ValueError:
        entry = entry.removeprefix("*").strip(".")
        return bool(entry) and (host == entry or host.endswith(f".{entry}"))
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False
