"""The meaning of a model name: which connections are used, under which name, and which rule decided.

In order: `connection:model` (only if the part before the first colon is a connection's name), then the routing rules
from top to bottom, then the default connection.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase, translate

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.config.proxy import ProxyConfig, RouteRule
from openai_proxy.exchange import Target
from openai_proxy.globs import is_glob

_CACHE_SIZE = 4096
ECHO = "echo"
"""The offline model that always exists, unless an exact rule or a connection has that name."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes. `rule` is for people: which rule decided."""

    targets: tuple[Target, ...]
    policy: str
    rule: str


class Router:
    """The routing of one configuration, compiled; answers are remembered per name."""

    def __init__(self, config: ProxyConfig) -> None:
        self._connections = config.connections
        self._default = config.default_connection
        if self._default is None and len(config.connections) == 1:
            self._default = next(iter(config.connections))
        self._rules = tuple(config.routing.items())
        # A rule without a known connection is skipped. Exact names are looked up, and all globs are one expression
        # whose first matching alternative is the first matching rule: 1,000 globs in 50 µs.
        usable = [
            (number, pattern)
            for number, (pattern, rule) in enumerate(self._rules)
            if any(connection_of(target, self._connections) is not None for target in rule.targets)
        ]
        self._exact = {pattern: number for number, pattern in usable if not is_glob(pattern)}
        self._globs = [number for number, pattern in usable if is_glob(pattern)]
        self._any = re.compile("|".join(f"({translate(self._rules[n][0])})" for n in self._globs) or r"(?!)", re.DOTALL)
        self._known: dict[str | None, Route | None] = {}

    @property
    def default_connection(self) -> str | None:
        """The connection for what no rule matches, or None."""
        return self._default

    @property
    def rules(self) -> Iterable[tuple[str, RouteRule]]:
        """The rules in order."""
        return self._rules

    def deciding(self, model: str) -> int | None:
        """The number of the rule that decides about `model`, or None."""
        exact = self._exact.get(model)
        match = self._any.match(model) if self._globs else None
        glob = self._globs[match.lastindex - 1] if match is not None and match.lastindex is not None else None
        if exact is None or glob is None:
            return exact if glob is None else glob
        return min(exact, glob)

    def resolve(self, model: str | None) -> Route | None:
        """The route for `model` (None: the request names none); None if nothing serves it."""
        try:
            return self._known[model]
        except KeyError:
            if len(self._known) >= _CACHE_SIZE:  # names come from clients: bounded
                self._known.clear()
            route = self._known[model] = self._resolve(model)
            return route

    def _resolve(self, model: str | None) -> Route | None:
        if model is None:
            return self._to_default(None)
        head, colon, rest = model.partition(":")
        if colon and rest and head in self._connections:
            return Route((self._target(head, rest, model),), "ordered", f"named connection '{head}'")
        number = self.deciding(model)
        if self._built_in(model):
            return Route((Target(ECHO),), "ordered", "the built-in model echo")
        if number is None:
            return self._to_default(model)
        pattern, rule = self._rules[number]
        targets = tuple(
            replace(target, first_byte=rule.first_byte(number)) if rule.patience else target
            for number, text in enumerate(rule.targets)
            if (target := self._parse(text, model)) is not None
        )
        return Route(targets, rule.policy, f"rule '{pattern}'")

    def why(self, model: str) -> list[tuple[str, str]]:
        """Every rule and its effect on `model`, for people: it decides, comes too late, or does not match."""
        found: list[tuple[str, str]] = []
        head, colon, rest = model.partition(":")
        named = bool(colon and rest and head in self._connections)
        if colon and rest:
            found.append((f"{head}:…", "decides: a connection is named" if named else f"no connection '{head}'"))
        built_in = self._built_in(model)
        if built_in:
            found.append((ECHO, "decides: it is built in"))
        decides = None if named or built_in else self.deciding(model)
        for number, (pattern, rule) in enumerate(self._rules):
            matches = fnmatchcase(model, pattern) if is_glob(pattern) else model == pattern
            if number == decides:
                verdict = "decides"
            elif not matches:
                verdict = "does not match"
            elif all(connection_of(target, self._connections) is None for target in rule.targets):
                verdict = "matches, but its connections do not exist"
            else:
                verdict = "matches, but the connection is named" if named else "matches, but comes later"
                verdict = "matches, but echo is built in" if built_in else verdict
            found.append((pattern, verdict))
        if self._default is not None:
            decided = named or built_in or decides is not None
            found.append((f"default connection '{self._default}'", "not needed" if decided else "decides"))
        return found

    def _built_in(self, model: str) -> bool:
        """True for the offline model, unless a connection or an exact rule has its name."""
        if model != ECHO or model in self._connections or model in self._exact:
            return False
        default = self._connections.get(self._default) if self._default is not None else None
        return default is None or default.api_type != ECHO  # which offers the same model itself

    def _to_default(self, model: str | None) -> Route | None:
        if self._default is None or self._default not in self._connections:
            return None
        return Route((self._target(self._default, model, model),), "ordered", "default connection")

    def _parse(self, text: str, requested: str) -> Target | None:
        """`connection.model`, with `*` in the model replaced by the requested name; None for an unknown connection."""
        connection = connection_of(text, self._connections)
        if connection is None:
            return None
        return self._target(connection, text[len(connection) + 1 :].replace("*", requested), requested)

    def _target(self, connection: str, model: str | None, requested: str | None) -> Target:
        name = self._connections[connection].model or model
        return Target(connection, None if name == requested else name)


def connection_of(target: str, connections: Iterable[str] | dict[str, ConnectionConfig]) -> str | None:
    """The connection that a target names: the longest known name before a dot."""
    position = len(target)
    while (position := target.rfind(".", 0, position)) > 0:
        if target[:position] in connections:
            return target[:position]
    return None
