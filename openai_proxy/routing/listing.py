"""The ids that a client sees: the routing rules applied in reverse to the models that the connections offer."""

import datetime
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from openai_proxy.globs import is_glob
from openai_proxy.routing.router import Router, connection_of

Models = Mapping[str, Sequence[dict[str, Any]]]


def listed_models(router: Router, offered: Models, mode: str, *, prefixed: bool = False) -> list[dict[str, Any]]:
    """Model objects for `GET /v1/models` from the routing rules.

    `mode` is `model_listing_mode`: `as_is` lists the rules' names, `ignore_wildcards` those without globs,
    `expand_wildcards` replaces a glob by the matching models of the upstreams. The default connection counts as a last
    rule "*". An id is listed once, by its first rule; with `prefixed` as `connection:model`.
    """
    rules: list[tuple[str, tuple[str, ...]]] = [(pattern, rule.targets) for pattern, rule in router.rules]
    if router.default_connection is not None:
        rules.append(("*", (router.default_connection + ".*",)))
    found: dict[str, dict[str, Any]] = {}
    for pattern, targets in rules:
        if not is_glob(pattern) or mode == "as_is":
            _add(found, router, offered, pattern, prefixed)
        elif mode == "expand_wildcards":
            for target in targets:
                _expand(found, router, offered, pattern, target, prefixed)
    return list(found.values())


def _add(found: dict[str, dict[str, Any]], router: Router, offered: Models, name: str, prefixed: bool) -> None:
    route = router.resolve(name) if not is_glob(name) else None
    known: dict[str, Any] | None = None
    key = name
    if route is not None:
        target = route.targets[0]
        known = next((m for m in offered.get(target.connection, ()) if m.get("id") == (target.model or name)), None)
        if prefixed:
            key = f"{target.connection}:{target.model or name}"
    found.setdefault(key, model_object(key, known))


def _expand(
    found: dict[str, dict[str, Any]], router: Router, offered: Models, pattern: str, target: str, prefixed: bool
) -> None:
    connection = connection_of(target, offered)
    if connection is None:
        return
    model = target[len(connection) + 1 :]
    if model != "*":
        return  # a glob with one fixed target model has no names of its own to list
    for known in offered[connection]:
        name = known["id"]
        if not fnmatchcase(name, pattern):
            continue
        route = router.resolve(name)
        if route is None or all(t.connection != connection for t in route.targets):
            continue  # an earlier rule routes this name elsewhere
        key = f"{connection}:{name}" if prefixed else name
        found.setdefault(key, model_object(key, known))


def model_object(name: str, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An OpenAI model object under our name, keeping whatever else the provider says about it.

    Clients with typed models fail on a whole list because of one `created` that is text, or one `owned_by` that is
    null.
    """
    model: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": "openai-proxy"}
    if known is not None:
        model.update(known)
        model["id"] = name
        model["object"] = "model"
        model["created"] = _seconds(known.get("created"))
        if not isinstance(known.get("owned_by", ""), str):
            model["owned_by"] = "openai-proxy"
    return model


def _seconds(created: Any) -> int:
    """A creation time in seconds since 1970, from a number or a text; 0 if unknown."""
    if isinstance(created, str):
        try:
            return int(float(created)) if created.strip("0123456789.") == "" else _seconds_of_date(created)
        except (ValueError, OverflowError):
            return 0
    if isinstance(created, int | float) and not isinstance(created, bool) and abs(created) < 1e15:
        return int(created)
    return 0


def _seconds_of_date(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp())
