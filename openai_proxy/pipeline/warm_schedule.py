"""When augmented models with `warm: true` are warmed: at start, after changes to them, and when idle.

Ollama unloads a model after `keep_alive`, prompt caches expire after minutes to an hour. A turn renews both, so only
idle time counts.
"""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.errors import BadRequest, ProxyError
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState

log = logging.getLogger(__name__)

SILENCE: Final = 1800.0
"""Idle seconds after which a model is warmed, unless the connection's `keep_alive` is shorter."""

EARLIER: Final = 0.9
"""The share of `keep_alive` to wait: afterwards the model would have to be loaded again."""

RETRY: Final = 60.0  # seconds until a failure is retried
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)?")


async def warm_now(state: ProxyState, names: Sequence[str]) -> list[dict[str, Any]]:
    """Warm models on request, one after another; without names, those with `warm: true`.

    A failure is reported in its model's place. Raises BadRequest if there is nothing to warm.
    """
    from openai_proxy.pipeline.warming import warm

    chosen = list(dict.fromkeys(names)) or _configured(state.generation)
    if not chosen:
        raise BadRequest("Name the models to warm; none has `warm: true`.", param="models")
    results: list[dict[str, Any]] = []
    for name in chosen:
        try:
            results.append(await warm(state, name))
        except ProxyError as error:
            results.append({"model": name, "warm": False, "error": error.message})
    return results


async def keep_warm(state: ProxyState) -> None:
    """Keep models with `warm: true` warm, until cancelled; for others, preload the code of a turn."""
    done: dict[str, _Warmed] = {}
    while True:
        state.adopted.clear()
        generation = state.generation
        if _is_spoken_to(generation):
            from openai_proxy.pipeline import augmented  # noqa: F401 (0.1 s that the first request would wait)
        done = {name: done.get(name, _Warmed()) for name in _configured(generation)}
        for name, before in done.items():
            if state.draining:
                return
            version = _version(generation, name)
            if version == before.version and _due(state, generation, name, before) > time.monotonic():
                continue
            failed = not await _warmed(state, name)
            now = time.monotonic()
            done[name] = _Warmed(version, now, now + RETRY if failed else None)
        due = min((_due(state, generation, name, before) for name, before in done.items()), default=None)
        try:
            async with asyncio.timeout(None if due is None else max(0.1, due - time.monotonic())):
                await state.adopted.wait()
        except TimeoutError:
            continue


@dataclass(frozen=True, slots=True)
class _Warmed:
    """What was warmed of a model, and when, by the monotonic clock; after a failure, when to retry."""

    version: tuple[object, ...] | None = None
    at: float = 0.0
    again: float | None = None


async def _warmed(state: ProxyState, name: str) -> bool:
    from openai_proxy.pipeline.warming import warm

    try:
        result = await warm(state, name, wakes=False)
    except ProxyError as error:
        log.warning("%s could not be warmed: %s", name, error.message)
        return False
    except Exception:
        log.exception("%s could not be warmed", name)
        return False
    if result["warm"]:
        tokens = result.get("prompt_tokens")
        size = f", {tokens} prompt tokens" if tokens else ""
        log.info("%s is warm on %s after %.1f s%s", name, result["connection"], result["seconds"], size)
    return True


def _is_spoken_to(generation: Generation) -> bool:
    """True if there are augmented models, and connections besides the example's echo."""
    real = any(connection.api_type != "echo" for connection in generation.config.connections.values())
    return real and bool(generation.snapshot.models)


def _configured(generation: Generation) -> list[str]:
    return [name for name, model in generation.snapshot.models.items() if model.warm]


def _version(generation: Generation, name: str) -> tuple[object, ...]:
    """What determines a model's prompt and target: the same objects, even in the next generation, until an edit."""
    augmented = generation.augmented
    model = augmented.models.get(name) if augmented is not None else None
    route = generation.router.resolve(generation.snapshot.models[name].upstream_model)
    target = route.targets[0] if route is not None else None
    return (
        _Identity(model),
        target,
        _Identity(generation.providers.get(target.connection) if target is not None else None),
    )


class _Identity:
    """Equal to any other that refers to the same object."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _due(state: ProxyState, generation: Generation, name: str, before: _Warmed) -> float:
    """When to warm `name` again, by the monotonic clock."""
    if before.again is not None:
        return before.again
    route = generation.router.resolve(generation.snapshot.models[name].upstream_model)
    connection = generation.config.connections.get(route.targets[0].connection) if route is not None else None
    keep = seconds_of(connection.keep_alive) if connection is not None else None
    silence = SILENCE if keep is None or keep <= 0 else min(SILENCE, keep * EARLIER)
    return max(before.at, state.last_asked.get(name, 0.0)) + silence


def seconds_of(keep_alive: str | float | None) -> float | None:
    """Ollama's `keep_alive` in seconds: a number, or a duration such as `1h30m`; below 0 is forever, None unknown."""
    if keep_alive is None or not isinstance(keep_alive, str):
        return keep_alive
    total = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(keep_alive))
    return -total if keep_alive.startswith("-") else total
