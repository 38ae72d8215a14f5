"""Ollama's `options` and `think`, and the equivalent members of a chat request.

Options: https://docs.ollama.com/modelfile#valid-parameters-and-values. Those without an equivalent (`num_ctx`,
`repeat_penalty`, …) stay in the chat request under Ollama's own names (`EXTRAS`): an Ollama server gets them back, for
any other provider they are removed.
"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.derived import Derived
from openai_proxy.errors import BadRequest

EXTRAS: Final = ("options", "keep_alive", "think")
"""Members of a chat request that only Ollama understands."""

_CHAT_NAMES: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "num_predict": "max_tokens",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_WHOLE: Final = frozenset({"top_k", "seed", "num_predict"})
_NONE_BELOW: Final = {"seed": 0, "num_predict": 1}
"""Options whose negative values stand for the default: a random seed, an answer of any length."""

_EFFORTS: Final = frozenset({"low", "medium", "high", "max"})
_THINK_OF_EFFORT: Final[Mapping[str, bool | str]] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max",
}  # fmt: skip


def without_extras(chat: dict[str, Any], api_type: str) -> dict[str, Any]:
    """A chat request without the members that only Ollama understands, unless the target is Ollama."""
    if api_type == "ollama" or not any(name in chat for name in EXTRAS):
        return chat
    return {name: value for name, value in chat.items() if name not in EXTRAS}


def left_out(chat: Mapping[str, Any], api_type: str) -> tuple[str, ...]:
    """The names of members that `without_extras` drops and that have no equivalent."""
    if api_type == "ollama":
        return ()
    options = chat.get("options")
    names = [f"options.{name}" for name in options] if isinstance(options, dict) else []
    return (*names, "keep_alive") if "keep_alive" in chat else tuple(names)


def read_options(options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(members of a chat request, the options without an equivalent). Raises BadRequest."""
    if options is None:
        return {}, {}
    if not isinstance(options, dict):
        raise BadRequest("'options' must be an object.", param="options")
    members: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name not in _CHAT_NAMES:
            rest[name] = value
        elif (read := _stops(value) if name == "stop" else _number(name, value)) is not None:
            members[_CHAT_NAMES[name]] = read
    return members, rest


def _stops(value: Any) -> list[str] | None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise BadRequest("The option 'stop' must be a list of strings.", param="options.stop")
    return stops or None


def _number(name: str, value: Any) -> int | float | None:
    """A number as the chat API accepts it: Home Assistant writes all of them as floats."""
    whole = name in _WHOLE
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and not float(value).is_integer()):
        kind = "a whole number" if whole else "a number"
        raise BadRequest(f"The option '{name}' must be {kind}.", param=f"options.{name}")
    if value < _NONE_BELOW.get(name, value):
        return None
    return int(value) if whole else value


def write_options(chat: Mapping[str, Any]) -> dict[str, Any]:
    """The options equivalent to a chat request's members, overriding those it carries. Raises BadRequest."""
    given = chat.get("options")
    if given is not None and not isinstance(given, dict):
        raise BadRequest("'options' must be an object.", param="options")
    options: dict[str, Any] = dict(given or {})
    for option, member in _CHAT_NAMES.items():
        value = chat.get(member)
        if member == "max_tokens":
            completion = chat.get("max_completion_tokens")
            value = completion if completion is not None else value
        if value is not None:
            options[option] = [value] if option == "stop" and isinstance(value, str) else value
    return options


def read_think(think: Any) -> dict[str, Any]:
    """The chat request members equivalent to `think`."""
    if think is None:
        return {}
    if isinstance(think, bool):
        return {"think": think, "reasoning_effort": Derived("medium" if think else "none")}
    if think not in _EFFORTS:
        raise BadRequest("'think' must be true, false, low, medium, high or max.", param="think")
    return {"think": think, "reasoning_effort": Derived(think)}


def write_think(chat: Mapping[str, Any]) -> bool | str | None:
    """The `think` equivalent to a chat request's reasoning settings, or None if it has none."""
    think = chat.get("think")
    if isinstance(think, bool | str):
        return think
    effort = chat.get("reasoning_effort")
    reasoning = chat.get("reasoning")
    if effort is None and isinstance(reasoning, dict):
        effort = "none" if reasoning.get("enabled") is False else reasoning.get("effort")
    return _THINK_OF_EFFORT.get(effort) if isinstance(effort, str) else None
