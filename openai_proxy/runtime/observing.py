"""Telemetry across edits: created if a collector is configured, kept if nothing about it has changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.runtime.state import LAST_EXPORT, ProxyState
from openai_proxy.secrets import vault

if TYPE_CHECKING:  # imported at run time only if telemetry is configured
    from openai_proxy.telemetry.service import Telemetry

_VARIABLES: Final = "OTEL_EXPORTER_OTLP_"


def telemetry_of(snapshot: Snapshot, present: Telemetry | None, problems: list[Problem]) -> Telemetry | None:
    """The telemetry for `snapshot`: `present` if nothing about it has changed; None if none is configured.

    Blocks: it may import the SDK. Obstacles are added to `problems`, and requests are served without telemetry.
    """
    config = snapshot.proxy.telemetry
    environment = snapshot.memory.environment
    variables = dict(environment.variables) if environment is not None else dict(os.environ)
    if config.endpoint is None and not any(name.startswith(_VARIABLES) for name in variables):
        return None
    key = (config, tuple(sorted(pair for pair in variables.items() if pair[0].startswith("OTEL_"))))
    if present is not None and present.key == key:
        return present
    try:
        from openai_proxy.telemetry.service import Telemetry, wanted

        return Telemetry(config, variables, key) if wanted(config, variables) else None
    except ImportError:
        trouble = "telemetry needs the extra of that name: in a clone, pip install '.[telemetry]'"
    except Exception as error:
        trouble = f"telemetry cannot be used: {error}"
    problems.append(Problem(*snapshot.place("proxy", None, ("telemetry",)), vault.scrub(trouble)))
    return None


def exchange_telemetry(state: ProxyState, telemetry: Telemetry | None) -> None:
    """Report requests to `telemetry` from now on, and let the previous one send what it has."""
    before, state.telemetry = state.telemetry, telemetry
    if telemetry is not None:
        telemetry.follow(state.generation.config.connections)
    if before is telemetry:
        return
    state.records.observe(telemetry.finished if telemetry is not None else None)
    if before is not None:
        state.loop.run_in_executor(None, before.close, LAST_EXPORT)
