"""Checks across entries: references to missing names, rules that never match, duplicate definitions.

Only the dangling reference itself is dropped: a route loses the target, a model the server. The rest keeps working.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase, translate
from typing import TYPE_CHECKING

from openai_proxy.config.problems import Problem, did_you_mean
from openai_proxy.config.proxy import ProxyConfig, RouteRule
from openai_proxy.config.sources import Path, SourceOrigin
from openai_proxy.globs import is_glob

if TYPE_CHECKING:
    from openai_proxy.config.model_file import ModelConfig
    from openai_proxy.config.skills import SkillFile
    from openai_proxy.config.wyoming import WyomingConfig


def check_proxy(
    proxy: ProxyConfig, origin: SourceOrigin, excused: Collection[Path], model_names: Collection[str] | None
) -> tuple[ProxyConfig, list[Problem]]:
    """`proxy` without dangling references, and the problems.

    `excused` are (section, name) pairs that were left out for another reason: references to them are not reported
    again. `model_names` are the names of conf/models and of their upstream models; None if unknown.
    """
    problems: list[Problem] = []
    gone = {str(path[1]) for path in excused if len(path) > 1 and path[0] == "connections"}
    check = _ProxyCheck(proxy, origin, gone, problems)
    update = {
        "default_connection": check.default(),
        "routing": check.routes(),
        "groups": check.groups(),
        "wyoming": check.wyoming(),
    }
    check.unreachable()
    check.keys_of_two_groups()
    if model_names is not None:
        check.prices(update["routing"], model_names)
    changed = {key: value for key, value in update.items() if value != getattr(proxy, key)}
    return (proxy.model_copy(update=changed) if changed else proxy), problems


class _ProxyCheck:
    def __init__(
        self, proxy: ProxyConfig, origin: SourceOrigin, gone: Collection[str], problems: list[Problem]
    ) -> None:
        self.proxy, self.origin, self.gone, self.problems = proxy, origin, gone, problems

    def report(self, path: Path, message: str, *, key: bool = False) -> None:
        self.problems.append(Problem(*self.origin.place(path, key=key), message))

    def known(self, name: str, path: Path, *, who: str = "") -> bool:
        """True if the connection exists; if not, it is reported (unless it was left out before)."""
        if name in self.proxy.connections:
            return True
        if name not in self.gone:
            near = did_you_mean(name, self.proxy.connections)
            first = re.split("[:/]", name)[0]
            if first in self.proxy.connections:
                near = f" (write a dot between connection and model: {first}.MODEL)"
            self.report(path, f'{who}there is no connection "{name[:80]}"{near}')
        return False

    def default(self) -> str | None:
        name = self.proxy.default_connection
        path: Path = ("default_connection",)
        who = "LLM_BACKEND or --backend: " if path in self.origin.overlaid else ""
        return name if name is None or self.known(name, path, who=who) else None

    def routes(self) -> dict[str, RouteRule]:
        result: dict[str, RouteRule] = {}
        for pattern, rule in self.proxy.routing.items():
            kept = []
            for index, target in enumerate(rule.targets):
                path = self.target_path(pattern, index)
                if self.known(target.partition(".")[0], path):
                    kept.append(index)
            if len(kept) == len(rule.targets):
                result[pattern] = rule
            elif kept:
                targets = tuple(rule.targets[index] for index in kept)
                patience = tuple(rule.first_byte(index) for index in kept) if rule.patience else ()
                result[pattern] = RouteRule(targets, rule.policy, patience)
        return result

    def target_path(self, pattern: str, index: int) -> Path:
        """A route is written as text, as a list, or with `targets`: returns the deepest path that exists."""
        node = self.origin.node
        route = node.entries.get("routing") if node is not None and node.entries else None
        entry = route[2].entries.get(pattern) if route is not None and route[2].entries else None
        has_targets = entry is not None and entry[2].entries is not None
        return ("routing", pattern, "targets", index) if has_targets else ("routing", pattern, index)

    def groups(self) -> dict[str, object]:
        result: dict[str, object] = {}
        for name, group in self.proxy.groups.items():
            allowed = tuple(
                connection
                for index, connection in enumerate(group.allowed_connections)
                if is_glob(connection) or self.known(connection, ("groups", name, "allowed_connections", index))
            )
            if allowed != group.allowed_connections:
                group = group.model_copy(update={"allowed_connections": allowed})
            result[name] = group
        return result

    def wyoming(self) -> WyomingConfig | None:
        config = self.proxy.wyoming
        if config is not None and config.port == self.proxy.port and config.port:
            self.report(("wyoming", "port"), f"{config.port} is the proxy's own port: choose another, such as 10300")
            return None
        if config is None or config.group is None or config.group in self.proxy.groups:
            return config
        near = did_you_mean(config.group, self.proxy.groups)
        self.report(("wyoming", "group"), f'there is no group "{config.group[:80]}"{near}')
        return None  # it must not be served without the intended limits

    def unreachable(self) -> None:
        """Rules after one that matches everything they could, as far as that is certain.

        A glob of literals and stars that matches the *text* of a later glob covers it: the wildcards in that text can
        only have been matched by stars, which also match whatever those wildcards stand for. Globs with ? or [ are only
        certain for exact names. Each kind is one alternation, whose first match is the earliest rule: 1,000 globs take
        90 ms, pairwise 300.
        """
        rules = list(self.proxy.routing)
        every = [rule for rule in rules if is_glob(rule)]
        stars = [rule for rule in every if not any(char in rule for char in "?[")]
        position = {rule: index for index, rule in enumerate(rules)}
        for_names, for_globs = _first_of(every), _first_of(stars)
        for pattern in rules:
            globs, first = (stars, for_globs) if is_glob(pattern) else (every, for_names)
            found = first.match(pattern)
            if found is None or found.lastindex is None:
                continue
            earlier = globs[found.lastindex - 1]
            if position[earlier] < position[pattern]:
                line = self.origin.place(("routing", earlier), key=True)[1]
                message = f'"{pattern[:80]}" is never reached: "{earlier[:80]}" in line {line} matches first'
                self.report(("routing", pattern), message, key=True)

    def keys_of_two_groups(self) -> None:
        owner: dict[str, str] = {}
        for name, group in self.proxy.groups.items():
            for index, key in enumerate(group.api_keys):
                digest = key if key.startswith("sha256:") else "sha256:" + hashlib.sha256(key.encode()).hexdigest()
                if digest not in owner:
                    owner[digest] = name
                elif owner[digest] == name:
                    self.report(("groups", name, "api_keys", index), f'duplicate key in the group "{name}"')
                else:
                    message = f'this key also belongs to the group "{owner[digest]}", which comes first and wins'
                    self.report(("groups", name, "api_keys", index), message)

    def prices(self, routing: object, model_names: Collection[str]) -> None:
        """Prices that no request can ever match, if the set of names is closed (no default, no glob in the routes)."""
        rules = routing if isinstance(routing, dict) else {}
        if self.proxy.default_connection is not None or any(map(is_glob, rules)) or not self.proxy.prices:
            return
        names = {*rules, *model_names, *(c.model for c in self.proxy.connections.values() if c.model)}
        names |= {target.partition(".")[2] for rule in rules.values() for target in rule.targets} - {"*"}
        for pattern in self.proxy.prices:
            if not any(fnmatchcase(name, pattern) for name in names):
                near = did_you_mean(pattern, names)
                self.report(("prices", pattern), f'no route or model leads to "{pattern[:80]}"{near}', key=True)


def _first_of(globs: Sequence[str]) -> re.Pattern[str]:
    """A pattern whose `lastindex` is the number (from 1) of the first matching glob of `globs`."""
    return re.compile("|".join(f"({translate(glob)})" for glob in globs) or r"(?!)")


def check_models(
    models: Mapping[str, tuple[ModelConfig, SourceOrigin]],
    servers: Collection[str],
    excused_servers: Collection[str],
    skills: Collection[SkillFile],
    excused_skills: Collection[str],
) -> tuple[dict[str, ModelConfig], list[Problem]]:
    """The models without missing servers and skills, and the problems."""
    problems: list[Problem] = []
    result: dict[str, ModelConfig] = {}
    for name, (model, origin) in models.items():
        there = {skill.id for skill in skills if skill.model in (None, name)}
        kept = {}
        for server, rule in model.mcp_servers.items():
            if server in servers:
                kept[server] = rule
            elif server not in excused_servers:
                path = (
                    "mcp_servers",
                    server if _is_mapping(origin, "mcp_servers") else list(model.mcp_servers).index(server),
                )
                near = did_you_mean(server, servers)
                problems.append(Problem(*origin.place(path), f'there is no MCP server "{server[:80]}"{near}'))
        for index, skill_id in enumerate(model.skills):
            if skill_id not in there and skill_id not in excused_skills:
                near = did_you_mean(skill_id, there)
                place = origin.place(("skills", index))
                problems.append(Problem(*place, f'there is no skill "{skill_id[:80]}"{near}'))
        wanted = tuple(skill_id for skill_id in model.skills if skill_id in there)
        if len(kept) != len(model.mcp_servers) or wanted != model.skills:
            model = model.model_copy(update={"mcp_servers": kept, "skills": wanted})
        result[name] = model
    return result, problems


def _is_mapping(origin: SourceOrigin, key: str) -> bool:
    node = origin.node
    entry = node.entries.get(key) if node is not None and node.entries else None
    return entry is not None and entry[2].entries is not None
