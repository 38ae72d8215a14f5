"""Which hosts the request of a tool may reach."""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from openai_proxy.hosts import is_private_host
from openai_proxy.tools.declared import client
from openai_proxy.tools.declared.client import PrivateAddress, PublicResolver, send
from openai_proxy.tools.declared.request import ToolRequest
from openai_proxy.tools.handler import ToolFailure
from tests.harness.certificates import make_authority


@pytest.mark.parametrize(
    "host",
    ["localhost", "nas", "ha.local", "HA.LOCAL.", "x.lan", "x.home.arpa", "10.0.0.1", "127.0.0.1", "169.254.169.254",
     "[::1]", "fe80::1", "100.64.1.1", "::ffff:192.168.1.1"],
)  # fmt: skip
def test_hosts_in_the_local_network(host: str) -> None:
    assert is_private_host(host)


@pytest.mark.parametrize("host", ["example.com", "local.example.com", "8.8.8.8", "2606:4700::1111"])
def test_hosts_on_the_internet(host: str) -> None:
    assert not is_private_host(host)


def answers(*addresses: str) -> Any:
    """A resolver that gives these for every name."""

    class Fake:
        async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[dict[str, Any]]:
            return [
                {"hostname": host, "host": one, "port": port, "family": family, "proto": 0, "flags": 0}
                for one in addresses
            ]

        async def close(self) -> None:
            """There is nothing to close."""

    return Fake


async def test_public_names_lead_to_public_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp, "ThreadedResolver", answers("10.0.0.1", "93.184.215.14", "::1"))
    assert [found["host"] for found in await PublicResolver().resolve("example.com", 80)] == ["93.184.215.14"]
    monkeypatch.setattr(aiohttp, "ThreadedResolver", answers("127.0.0.1", "169.254.169.254"))
    with pytest.raises(PrivateAddress):
        await PublicResolver().resolve("example.com", 80)
    with pytest.raises(ToolFailure, match="private: true"):
        await send(ToolRequest("GET", "http://rebound.example.com/", {}), 5)


async def test_local_addresses_need_the_owners_permission() -> None:
    with pytest.raises(ToolFailure, match="host is not allowed"):
        await send(ToolRequest("GET", "http://127.0.0.1:9/", {}), 5)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/"
        with pytest.raises(ToolFailure, match="cannot be reached"):
            await send(ToolRequest("GET", url, {}, private=True), 5)


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/other?x=1#f", "http://a.lan/other?x=1"),
        ("next", "http://a.lan/dir/next"),
        ("http://a.lan/z", "http://a.lan/z"),
        ("https://a.lan/z", "https://a.lan/z"),
        ("https://a.lan:8443/z", None),
        ("http://a.lan:81/z", None),
        ("http://b.lan/z", None),
        ("//b.lan/z", None),
        ("file:///etc/passwd", None),
    ],
)
def test_a_redirect_stays_on_its_host(location: str, leads: str | None) -> None:
    if leads is not None:
        assert client._redirected("http://a.lan/dir/page", location) == leads
    else:
        with pytest.raises(ToolFailure, match="another host"):
            client._redirected("http://a.lan/dir/page", location)


def test_a_redirect_does_not_leave_tls() -> None:
    with pytest.raises(ToolFailure, match="another host"):
        client._redirected("https://a.lan/", "http://a.lan/")


async def test_the_log_names_the_host_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nothing listens there
        port = held.getsockname()[1]
        with caplog.at_level(logging.WARNING), pytest.raises(ToolFailure, match="It cannot be reached"):
            await send(ToolRequest("GET", f"http://127.0.0.1:{port}/", {}, private=True), 5)
    assert caplog.messages == [f"the request of a tool failed: 127.0.0.1:{port}: connection refused"]


async def test_the_log_says_that_a_certificate_is_not_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=make_authority(tmp_path).server
    )
    port = server.sockets[0].getsockname()[1]
    with caplog.at_level(logging.WARNING), pytest.raises(ToolFailure, match="certificate is not accepted"):
        await send(ToolRequest("GET", f"https://127.0.0.1:{port}/", {}, private=True), 5)
    server.close()
    assert caplog.messages == [f"the request of a tool failed: 127.0.0.1:{port}: its certificate is not accepted"]
