"""Applies the environment and the flags to what proxy.yaml says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openai_proxy.config.environment import BUILT, FLAGS, NUMBERED, PROVIDERS, VARIABLES, Environment
from openai_proxy.config.problems import ENVIRONMENT, Problem
from openai_proxy.config.sources import Path, Place

TIMEOUT_PARTS = (("first_byte",), ("idle",))
"""The timeouts set by a single number; connect and total keep the file's values."""


@dataclass(slots=True)
class Overlay:
    """What to remove from the file's data before its variables are filled in, and what to add afterwards.

    `places` says where each added value comes from.
    """

    remove: list[Path] = field(default_factory=list)
    put: dict[Path, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def set(self, path: Path, value: Any, place: Place) -> None:
        self.remove.append(path)
        self.put[path] = value
        self.places[path] = place


def overlay(data: Mapping[str, Any], environment: Environment, flags: Mapping[str, object]) -> Overlay:
    """What `environment` and `flags` change about `data`, the plain content of proxy.yaml."""
    result = Overlay()
    in_file = data.get("connections")
    if not isinstance(in_file, Mapping):
        in_file = {}
    settings = environment.settings
    for row in VARIABLES:
        if row.provider is None and row.setting and row.name in settings:
            result.set(row.setting, settings[row.name], environment.place(row.name))
    names = list(in_file)
    for provider in PROVIDERS:
        if in_file and provider not in in_file:
            continue
        if _provider(result, provider, environment, made=not in_file) and not in_file:
            names.append(provider)
    _every_connection(result, names, environment, data)
    if not in_file and names and "default_connection" not in data and "LLM_BACKEND" not in settings:
        result.put["default_connection",] = names[0]
        result.places["default_connection",] = (ENVIRONMENT, 1, 1)
    for flag, path in FLAGS.items():
        if flags.get(flag) is not None:
            result.set(path, flags[flag], (ENVIRONMENT, 1, 1))
    return result


def _provider(result: Overlay, provider: str, environment: Environment, *, made: bool) -> bool:
    """Apply one provider's variables to its connection (or create it); returns whether there is one then."""
    rows = [row for row in VARIABLES if row.provider == provider and row.name in environment.settings]
    forwards = provider == "openai" and environment.settings.get("PROXY_FORWARD_AUTH_HEADER") is True
    if made and not any(row.makes for row in rows) and not (forwards and not _any_maker(environment)):
        return False
    single = [row for row in rows if row.setting == ("api_key",)]
    numbered = [row for row in rows if row.setting == ("api_keys",)]
    if single and numbered:
        place = environment.place(numbered[0].name)
        message = f"{single[0].name} and {numbered[0].name} are both set: set one, or number all (1 to {NUMBERED})"
        result.problems.append(Problem(*place, message))
        return False
    here: Path = ("connections", provider)
    if made:
        result.set(here, dict(BUILT[provider]), environment.place(rows[0].name) if rows else (ENVIRONMENT, 1, 1))
    if single or numbered:
        result.remove += [(*here, "api_key"), (*here, "api_keys")]
        keys = list(dict.fromkeys(environment.settings[row.name] for row in single + numbered))
        result.put[*here, "api_keys"] = keys
        result.places[*here, "api_keys"] = environment.place((single + numbered)[0].name)
    for row in rows:
        if row.setting in (("api_key",), ("api_keys",)):
            continue
        for part in TIMEOUT_PARTS if row.setting == ("timeout",) else ((),):
            result.set((*here, *row.setting, *part), environment.settings[row.name], environment.place(row.name))
    return True


def _any_maker(environment: Environment) -> bool:
    return any(row.makes and row.name in environment.settings for row in VARIABLES)


def _every_connection(result: Overlay, names: list[str], environment: Environment, data: Mapping[str, Any]) -> None:
    """REQUEST_TIMEOUT applies to all connections; PROXY_FORWARD_AUTH_HEADER to `openai` and `default`, else to the
    default connection.
    """
    seconds = environment.settings.get("REQUEST_TIMEOUT")
    if seconds is not None:
        place = environment.place("REQUEST_TIMEOUT")
        for name in names:
            for part in TIMEOUT_PARTS:
                path: Path = ("connections", name, "timeout", *part)
                if path not in result.put:  # OPENAI_TIMEOUT is more specific
                    result.set(path, seconds, place)
    forward = environment.settings.get("PROXY_FORWARD_AUTH_HEADER")
    if forward is not None:
        default = environment.settings.get("LLM_BACKEND", data.get("default_connection"))
        own = [name for name in names if name in ("openai", "default")]
        for name in own or [n for n in names if n == default or len(names) == 1]:
            result.set(("connections", name, "forward_auth"), forward, environment.place("PROXY_FORWARD_AUTH_HEADER"))


def take_out(data: Any, path: Path) -> None:
    """Remove the member at `path` of nested dicts, if it is there."""
    for step in path[:-1]:
        if not isinstance(data, dict) or step not in data:
            return
        data = data[step]
    if isinstance(data, dict):
        data.pop(path[-1], None)


def put_in(data: dict[str, Any], path: Path, value: Any) -> None:
    """Set the member at `path`, creating the mappings on the way; a timeout's single number is expanded first.

    Wrong types on the way (text instead of a mapping) are left for validation to report.
    """
    here: Any = data
    for step in path[:-1]:
        inner = here.get(step)
        if step == "timeout" and isinstance(inner, int | float | str) and not isinstance(inner, bool):
            inner = {"first_byte": inner, "idle": inner}
        elif inner is None:
            inner = {}
        if not isinstance(inner, dict):
            return
        here[step] = inner
        here = inner
    here[path[-1]] = value
