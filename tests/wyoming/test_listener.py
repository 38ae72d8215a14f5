"""Who may connect to the port for Wyoming clients."""

from types import SimpleNamespace
from typing import Any

import pytest

from openai_proxy.auth.gate import Gate
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.wyoming.listener import MAX_CONNECTIONS, WyomingListener


class Writer:
    """The writer of a connection from `peer`; `refused` once it was closed."""

    def __init__(self, peer: str) -> None:
        self.refused = False
        self.transport = SimpleNamespace(abort=self._abort)
        self._peer = peer

    def get_extra_info(self, name: str) -> Any:
        return {"peername": (self._peer, 40_000)}[name]

    def _abort(self) -> None:
        self.refused = True


class Session:
    """Stands for the server of a connection."""

    busy = True

    def __init__(self, state: Any, caller: Any, reader: Any, writer: Any) -> None:
        self.caller = caller
        served.append(self)

    async def serve(self) -> None:
        return None


served: list[Session] = []


def connections(*, draining: bool = False, **settings: Any) -> Any:
    config = ProxyConfig.model_validate({"wyoming": {"stt": "m", "group": "voice"}, **settings})
    generation = SimpleNamespace(config=config, gate=Gate(config))
    state: Any = SimpleNamespace(generation=generation, draining=draining, idle_closers=[])
    found = WyomingListener(state)._server
    found.protocol = SimpleNamespace(WyomingSession=Session)
    served.clear()
    return found


def refused(server: Any, peer: str) -> bool:
    writer = Writer(peer)
    server._accept(None, writer)
    return writer.refused


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "192.168.1.7", "10.1.2.3", "fd00::1", "fe80::1%eth0", "::ffff:192.168.1.7"]
)
async def test_local_devices_may_connect(peer: str) -> None:
    assert not refused(connections(), peer)
    assert served[0].caller.group == "voice"
    assert served[0].caller.remote == peer.removeprefix("::ffff:")  # in plain IPv4 notation


@pytest.mark.parametrize("peer", ["8.8.8.8", "2001:db8::1", "", "::ffff:8.8.8.8"])
@pytest.mark.parametrize("keys", [{}, {"require_api_key": True}])
async def test_others_may_connect_only_if_allowed(peer: str, keys: Any) -> None:
    assert refused(connections(**keys), peer)
    assert served == []
    assert not refused(connections(allow_public_unauthenticated=True, **keys), peer)


async def test_nobody_may_connect_while_stopping_or_without_the_setting() -> None:
    assert refused(connections(draining=True), "127.0.0.1")
    assert refused(connections(wyoming=None), "127.0.0.1")


async def test_the_number_of_connections_is_limited() -> None:
    server = connections()
    assert [refused(server, "127.0.0.1") for _ in range(MAX_CONNECTIONS + 1)] == [False] * MAX_CONNECTIONS + [True]
