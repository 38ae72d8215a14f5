"""Turns plain data into a model; every error is in plain words and has its place."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from openai_proxy.config.problems import Problem, did_you_mean
from openai_proxy.config.sources import Path, Place
from openai_proxy.secrets import vault

Locate = Callable[[Path, bool], Place]
"""(path, whether the key is meant rather than its value) -> file, line, column."""

M = TypeVar("M", bound=BaseModel)

KNOWN_BY: Mapping[str, str | tuple[str, ...]] = {
    "base_url": "api_base",
    "api_url": "api_base",
    "url": "api_base",
    "serverUrl": "url",
    "httpUrl": "url",
    "endpoint": "api_base",
    "key": "api_key",
    "token": "api_key",
    "type": "api_type",
    "provider": "api_type",
    "backend": "default_connection",
    "default_backend": "default_connection",
    "routes": "routing",
    "backends": "connections",
    "providers": "connections",
    "upstreams": "connections",
    "prompt": ("system_prompt", "input"),
    "completion": "output",
    "cached": "cached_input",
    "instructions": "system_prompt",
    "model": "upstream_model",
    "backend_model": "upstream_model",
    "mcp": "mcp_servers",
    "mcpServers": "mcp_servers",
    "environment": "env",
    "working_dir": "cwd",
    "transport": "type",
    "allow": "whitelist",
    "allowed_tools": "whitelist",
    "include": "whitelist",
    "deny": "blacklist",
    "exclude": "blacklist",
    "disabled": "enabled",
}
"""Other programs' names for our keys."""

_EXPECTED = {
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "dict_type": "expected a mapping (key: value)",
    "model_type": "expected a mapping (key: value)",
    "model_attributes_type": "expected a mapping (key: value)",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
}

_BOUNDS = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "string_too_short": ("must not be empty", "min_length"),
    "string_too_long": ("must have at most {} characters", "max_length"),
}


@dataclass(slots=True)
class Mistakes:
    """What `validate` found: `problems`, and the `paths` of the members they concern."""

    problems: list[Problem] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)


def validate(
    model: type[M], data: Any, locate: Locate, *, traps: Mapping[Path, str] | None = None, partial: bool = False
) -> tuple[M | None, Mistakes]:
    """An instance of `model`, or None and what is wrong.

    `traps` are messages for ambiguous scalars (see yaml_text.trap): each is reported as a problem instead of what the
    model itself says about that place. With `partial`, members may be missing: `data` is what is left of a broken
    file.
    """
    mistakes = Mistakes()
    instance: M | None = None
    explained = dict(traps or {})
    try:
        instance = model.model_validate(data)
    except ValidationError as error:
        seen: set[tuple[Path, str]] = set()
        for detail in error.errors(include_url=False, include_context=True, include_input=True):
            if partial and (detail["type"] == "missing" or detail.get("input") is None):
                continue  # what is missing may have been in the lost lines
            path = _real_path(detail["loc"], data)
            mistakes.paths.append(path)
            if path in explained:
                continue
            words, at_key = _words(model, detail, path, data)
            if (path, words) not in seen:
                seen.add((path, words))
                mistakes.problems.append(Problem(*locate(path, at_key), vault.scrub(words)))
    mistakes.problems.extend(Problem(*locate(path, False), words) for path, words in explained.items())
    mistakes.problems.sort(key=lambda p: (p.line, p.column))
    return (None if mistakes.problems else instance), mistakes


def without_mistakes(model: type[M], data: Any, mistakes: Mistakes) -> M | None:
    """An instance of `model` from `data` without the invalid members, to look for more; None if that fails."""
    rest = copied(data)
    for path in mistakes.paths:
        if not path or not _take_out(rest, path):
            return None
    try:
        return model.model_validate(rest)
    except ValidationError:
        return None


def copied(value: Any) -> Any:
    """`value` with its dicts and lists copied; nothing else is."""
    if isinstance(value, dict):
        return {key: copied(member) for key, member in value.items()}
    return [copied(member) for member in value] if isinstance(value, list) else value


def _take_out(data: Any, path: Path) -> bool:
    """Remove the member at `path`, or its list; True if it was there, or its parent had already been removed."""
    for step in path[:-1]:
        inner = data.get(step) if isinstance(data, dict) else None
        if isinstance(inner, list):
            del data[step]
            return True
        if inner is None:
            return isinstance(data, dict)
        data = inner
    if isinstance(data, dict):
        data.pop(path[-1], None)
        return True
    return False


def _real_path(loc: tuple[str | int, ...], data: Any) -> Path:
    """`loc` without what pydantic adds for its own unions and functions; a final missing key is kept."""
    path: list[str | int] = []
    for index, step in enumerate(loc):
        last = index + 1 == len(loc)
        if isinstance(data, dict):
            if step in data:
                data = data[step]
            elif not (last and isinstance(step, str) and step.isidentifier()):
                continue
        elif isinstance(data, list | tuple) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _words(model: type[BaseModel], detail: ErrorDetails, path: Path, data: Any) -> tuple[str, bool]:
    """The message, and whether it concerns the key. `data` is the whole input."""
    from openai_proxy.config import remedies  # most files are valid

    kind = detail["type"]
    context = detail.get("ctx", {})
    name = _dotted(path)
    front = f"{name}: " if name else ""
    if kind == "extra_forbidden":
        return _unknown_key(model, path, data), True
    if kind == "wrong":
        return front + str(context["words"]), False
    if kind == "missing":
        return f'"{path[-1]}" is missing' if path else "empty", False
    if kind in ("literal_error", "enum"):
        given = detail.get("input")
        expected = str(context.get("expected", "")).replace("'", "")
        hint = remedies.for_api_type(given) if path[-1:] == ("api_type",) else ""
        if not hint and _is_text(given):
            hint = did_you_mean(given, expected.replace(" or ", ", ").split(", "))
        return f"{front}expected {expected}{hint}", False
    if kind in _EXPECTED:
        given = detail.get("input")
        remedy = remedies.for_value(kind, path, given, nullable=_may_be_null(model, path))
        if not remedy and kind in ("model_type", "model_attributes_type"):
            remedy = remedies.for_mapping(path, list(_keys_at(model, path)), given, data)
        return f"{front}{_EXPECTED[kind]}{_instead(given, kind)}{remedy}", False
    if kind in _BOUNDS:
        words, member = _BOUNDS[kind]
        hint = ": null means no limit" if member in ("gt", "ge") and _may_be_null(model, path) else ""
        return front + words.format(context.get(member)) + hint, False
    return f"{front}this value cannot be used here", False


def _unknown_key(model: type[BaseModel], path: Path, data: Any) -> str:
    from openai_proxy.config import remedies

    wrong_key = str(path[-1]) if path else "?"
    keys = list(_keys_at(model, path[:-1]))
    meant = KNOWN_BY.get(wrong_key, ())
    known = next((name for name in ((meant,) if isinstance(meant, str) else meant) if name in keys), None)
    remedy = remedies.for_unknown_key(model.__name__, path, keys)
    if not remedy and known is None:
        remedy = _deeper(model, path) or _unindented(model, path, data)
    if remedy:
        return f'unknown key "{wrong_key[:80]}": {remedy}'
    hint = f' (did you mean "{known}"?)' if known is not None else did_you_mean(wrong_key, keys)
    if not hint and keys:
        hint = f" (there are: {', '.join(keys)})" if len(keys) <= 12 else ""
    where = f" in {_dotted(path[:-1])}" if len(path) > 1 else ""
    return f'unknown key "{wrong_key[:80]}"{where}{hint}'


def _deeper(model: type[BaseModel], path: Path) -> str | None:
    """Where the key belongs, if exactly one of the keys beside it has such a member."""
    holder = _model_in(_annotation(model, path[:-1]))
    key = str(path[-1])
    places = []
    for name, info in holder.model_fields.items() if holder is not None else ():
        below = _model_in(info.annotation)
        if below is not None and key in below.model_fields:
            inner = f"{{NAME: {{{key}: …}}}}" if _container(info.annotation) is not None else f"{{{key}: …}}"
            places.append(f"it belongs below {info.alias or name}: {inner}")
    return places[0] if len(places) == 1 else None


def _unindented(model: type[BaseModel], path: Path, data: Any) -> str | None:
    """The empty section above a root key, which was probably meant to be its member."""
    if len(path) != 1 or not isinstance(data, dict):
        return None
    above = list(data)[: list(data).index(path[0])]
    if not above or _container(_field(model, str(above[-1]))) is None:
        return None
    own = data[path[0]]
    fits = isinstance(own, dict) and own.keys() <= set(_keys_at(model, (above[-1], path[0])))
    return f"if it belongs to {above[-1]}, indent it" if fits or data[above[-1]] is None else None


def _may_be_null(model: type[BaseModel], path: Path) -> bool:
    return type(None) in get_args(_annotation(model, path))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 200


def _instead(given: Any, kind: str) -> str:
    """What was found instead, without the value itself, which may be a secret."""
    if given is None:
        return ", not nothing"
    if isinstance(given, bool):
        return f", not {str(given).lower()}" + (" (put it in quotes if it is text)" if kind == "string_type" else "")
    if kind == "int_from_float":
        return ", not a fraction"
    if isinstance(given, int | float):
        return ", not a number" + (" (put it in quotes if it is text)" if kind == "string_type" else "")
    if isinstance(given, dict):
        return ", not a mapping"
    if isinstance(given, list | tuple):
        return ", not a list"
    if kind in ("tuple_type", "list_type") and _is_text(given) and re.match(r"-\S", given):
        return ", not text: is a space missing after the -?"
    if kind in ("dict_type", "model_type") and _is_text(given) and re.match(r"[\w-]+:(?!//)\S", given):
        return ", not text: is a space missing after the colon?"
    return ", not text"


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")[:200]


def _keys_at(model: type[BaseModel], path: Path) -> Iterator[str]:
    """The keys that a mapping at `path` may have."""
    found = _model_in(_annotation(model, path))
    if found is not None:
        yield from (info.alias or key for key, info in found.model_fields.items())


def _annotation(model: type[BaseModel], path: Path) -> Any:
    """What is allowed at `path`."""
    annotation: Any = model
    for step in path:
        if (container := _container(annotation)) is not None:
            annotation = next((a for a in reversed(get_args(container)) if _model_in(a) is not None), None)
        elif (found := _model_in(annotation)) is not None:
            annotation = _field(found, str(step))
    return annotation


def _field(model: type[BaseModel], key: str) -> Any:
    for name, info in model.model_fields.items():
        if key in (name, info.alias):
            return info.annotation
    return None


def _container(annotation: Any) -> Any:
    """The dict or tuple that an annotation is, or holds as an optional."""
    if get_origin(annotation) in (dict, tuple):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((found for a in get_args(annotation) if (found := _container(a)) is not None), None)
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model an annotation is or holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
