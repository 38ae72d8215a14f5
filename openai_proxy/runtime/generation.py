"""One configuration in service: everything that is compiled from it, immutable once built.

A request takes the present generation when it arrives and keeps it to its end; an edit creates a new one beside it.
What lives longer (pools, sockets, logs, sessions) is in runtime.state and only referenced here.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from openai_proxy.auth.access import Access
from openai_proxy.auth.gate import Gate
from openai_proxy.auth.limits import Allowance
from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.config.problems import Problem
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.exchange import NORMAL, PRIORITIES
from openai_proxy.routing.router import Router
from openai_proxy.runtime.leases import Lease
from openai_proxy.transforms.commands.mark import CommandMark
from openai_proxy.transforms.params import NONE, Rules
from openai_proxy.upstream.builtin import ECHO, BuiltInEcho
from openai_proxy.upstream.health import Health, Upstreams
from openai_proxy.upstream.provider import Provider
from openai_proxy.upstream.queue import ConnectionQueues, Publish, publish_nothing

DEFAULT_TAG: Final = ":latest"
"""Ollama's suffix for a model's name without a tag of its own."""

if TYPE_CHECKING:  # imported at run time only if there is a model (see runtime.augmented)
    from openai_proxy.auth.validators import Validator
    from openai_proxy.runtime.augmented_models import AugmentedModels
    from openai_proxy.telemetry.service import Telemetry
    from openai_proxy.upstream.wake import Waker


@dataclass(frozen=True, slots=True)
class Generation:
    """A configuration in service. `number` counts up from 1; `loaded_at` is wall-clock time for people."""

    number: int
    snapshot: Snapshot
    config: ProxyConfig  # the snapshot's global settings
    max_requests: int  # settings that every request needs: limits.max_concurrent_requests,
    executes_tools: bool  # whether clients' tools are run for plain models,
    interactive: bool  # and whether answers say what a command did
    providers: Mapping[str, Provider]
    gate: Gate
    access: Access
    router: Router
    upstreams: Upstreams
    allowances: Mapping[str | None, Allowance]  # groups with limits
    validator: "Validator | None"
    params: Mapping[str, Rules]  # by connection, the augmented's folded in
    command_mark: CommandMark
    augmented: "AugmentedModels | None" = None
    telemetry: "Telemetry | None" = None
    problems: tuple[Problem, ...] = ()
    loaded_at: float = field(default_factory=time.time)
    lease: Lease = field(default_factory=Lease, compare=False)

    def untagged(self, model: str) -> str:
        """`model` without Ollama's default tag, unless a model or a rule has the full name."""
        if not model.endswith(DEFAULT_TAG) or model in self.snapshot.models or model in self.config.routing:
            return model
        return model.removesuffix(DEFAULT_TAG)

    def rules(self, connection: str, model: str | None) -> Rules:
        """The parameter rules for a request on `connection` for `model`."""
        rules = self.params[connection]
        augmented = self.snapshot.models.get(model) if model is not None else None
        if augmented is None:
            return rules
        rules = rules.refined(augmented.params)
        # An augmented model's prompt is ordered where it is built.
        return replace(rules, prompt_cache="") if rules.prompt_cache else rules

    def priority(self, group: str | None, model: str | None) -> int:
        """The priority of a request: the model's or the group's, whichever is higher."""
        named = [g.priority for g in (self.config.groups.get(group or ""),) if g is not None]
        augmented = self.snapshot.models.get(model) if model is not None else None
        named += [augmented.priority] if augmented is not None else []
        return min((PRIORITIES[name] for name in named), default=NORMAL)


def _wakers(config: ProxyConfig, publish: Publish) -> Mapping[str, "Waker"]:
    """What wakes the machines of connections, if any may be asleep."""
    asleep = {name: c.wake for name, c in config.connections.items() if c.wake is not None}
    if not asleep:
        return {}
    from openai_proxy.upstream.wake import Waker

    return {name: Waker(name, wake, publish) for name, wake in asleep.items()}


def _rules(global_rules: Rules, connection: ConnectionConfig) -> Rules:
    """The parameter rules for plain requests on `connection`, if there are any."""
    rules = global_rules.refined(connection.params)
    if not connection.prompt_cache:
        return rules
    from openai_proxy.dialects.prompt_cache import whose

    return replace(rules, prompt_cache=whose(connection.api_type, connection.api_base))


def build(
    number: int,
    snapshot: Snapshot,
    providers: Mapping[str, Provider],
    health: Health,
    augmented: "AugmentedModels | None" = None,
    validator: "Validator | None" = None,
    lines: ConnectionQueues | None = None,
    publish: Publish = publish_nothing,
) -> Generation:
    """Compile `snapshot`. Everything that can fail fails here, before anything is replaced."""
    config = snapshot.proxy
    params = NONE.refined(config.params)
    if ECHO not in providers:
        providers = {**providers, ECHO: BuiltInEcho()}
    return Generation(
        number=number,
        snapshot=snapshot,
        config=config,
        max_requests=config.limits.max_concurrent_requests,
        executes_tools=config.execute_tools,
        interactive=config.commands.interactive,
        providers=providers,
        gate=Gate(config, validator),
        validator=validator,
        allowances={
            name: allowance
            for name, group in config.groups.items()
            if (allowance := Allowance.of(group.limits, config.currency)) is not None
        },
        access=Access(config.groups),
        router=Router(config),
        params={ECHO: params, **{name: _rules(params, c) for name, c in config.connections.items()}},
        command_mark=CommandMark(config.commands.prefix, enabled=config.commands.enabled),
        augmented=augmented,
        problems=snapshot.problems + (augmented.problems if augmented is not None else ()),
        upstreams=Upstreams(
            providers,
            retries={name: c.max_retries for name, c in config.connections.items()},
            keys={name: tuple(c.api_keys) for name, c in config.connections.items()},
            health=health,
            lines=lines or ConnectionQueues(),
            wakers=_wakers(config, publish),
        ),
    )
