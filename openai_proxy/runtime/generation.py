"""One configuration brought to life: everything that is compiled from it, immutable once built.

A request takes the present generation at the door and keeps it to its end; an edit makes a new one beside it.
What lives longer (pools, sockets, logs, sessions) is in runtime.state and only referred to here.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from openai_proxy.auth.access import Access
from openai_proxy.auth.gate import Gate
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.routing.router import Router
from openai_proxy.upstream.provider import Provider


@dataclass(frozen=True, slots=True)
class Generation:
    """A configuration in service. `number` counts up from 1; `loaded_at` is wall-clock time for people."""

    number: int
    snapshot: Snapshot
    providers: Mapping[str, Provider]
    gate: Gate
    access: Access
    router: Router
    keys: Mapping[str, tuple[str, ...]]
    retries: Mapping[str, int]
    loaded_at: float = field(default_factory=time.time)

    @property
    def config(self) -> ProxyConfig:
        """The global settings."""
        return self.snapshot.proxy


def build(number: int, snapshot: Snapshot, providers: Mapping[str, Provider]) -> Generation:
    """Compile `snapshot`. Everything that can fail fails here, before anything is swapped."""
    config = snapshot.proxy
    return Generation(
        number=number,
        snapshot=snapshot,
        providers=providers,
        gate=Gate(config),
        access=Access(config.groups),
        router=Router(config),
        keys={name: tuple(c.api_keys) for name, c in config.connections.items()},
        retries={name: c.max_retries for name, c in config.connections.items()},
    )
