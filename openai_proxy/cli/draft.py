"""A configuration converted from another program's, and how it is written as YAML."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_WORDS = frozenset({"y", "n", "yes", "no", "true", "false", "on", "off", "null"})


@dataclass(slots=True)
class Draft:
    """What `import` writes to proxy.yaml. `environ` are the variables that are set; `lost` is what was left out."""

    environ: Mapping[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    routing: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)  # connection -> its origin
    unset: dict[str, None] = field(default_factory=dict)  # variables without a value yet
    lost: list[str] = field(default_factory=list)

    def lose(self, where: str, why: str) -> None:
        """Note that something could not be carried over."""
        self.lost.append(f"{where}: {why}")

    def secret(self, value: Any, where: str) -> str | None:
        """A key as it should appear in proxy.yaml: a variable if it was one, else the key itself."""
        if not isinstance(value, str) or not value:
            return None
        for prefix in ("env:", "os.environ/", "$"):
            name = value.removeprefix(prefix).strip("{}")
            if value.startswith(prefix) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                if self.environ.get(name):
                    return f"${{{name}}}"
                self.unset[name] = None
                return f"${{{name}:-}}"  # an empty default lets `check` pass before the variable is set
        self.lost.append(f"{where}: the key was copied into proxy.yaml as it was; better move it to .env")
        return value.replace("$", "$$")

    def client_key(self, value: Any, where: str) -> str | None:
        """A client's key. A variable without a value is left out, because a group may not have an empty key."""
        found = self.secret(value, where)
        if found is None or not found.endswith(":-}"):
            return found
        name = found[2:-3]
        del self.unset[name]
        self.lose(where, f"{name} is not set; set it in .env and add ${{{name}}} to the group")
        return None

    def name(self, wanted: str) -> str:
        """A free connection name, based on `wanted`."""
        base = _NAME.sub("-", wanted).strip("-")[:60] or "connection"
        found, number = base, 2
        while found in self.connections:
            found, number = f"{base}-{number}", number + 1
        return found

    def text(self, source: str) -> str:
        """proxy.yaml, with comments."""
        lines = [
            "# yaml-language-server: $schema=.schemas/proxy.json",
            f"# Made by `openai-proxy import {source}`. Check it with `openai-proxy check`.",
        ]
        if self.unset:
            lines += ["#", "# To be set in .env (then ${NAME} can replace ${NAME:-} here):"]
            lines += [f"#   {name}" for name in self.unset]
        if self.lost:
            lines += ["#", "# Not carried over, or worth a look:"]
            lines += [f"#   {' '.join(line.split())}" for line in self.lost]
        for name, value in self.settings.items():
            lines += ["", f"{name}: {_inline(value)}"]
        lines += ["", "connections:" if self.connections else "connections: {}"]
        for name, members in self.connections.items():
            comment = f"    # {self.comments[name]}" if name in self.comments else ""
            lines.append(f"  {_key(name)}:{comment}")
            lines += [f"    {key}: {_inline(value)}" for key, value in members.items()]
        for title, table in (("routing", self.routing), ("groups", self.groups)):
            if table:
                lines += ["", f"{title}:" + ("    # the first match wins" if title == "routing" else "")]
                lines += [f"  {_key(key)}: {_inline(value)}" for key, value in table.items()]
        return "\n".join(lines) + "\n"


def block(table: Mapping[str, dict[str, Any]]) -> list[str]:
    """The lines of an indented mapping of mappings, one member per line."""
    lines: list[str] = []
    for name, members in table.items():
        lines.append(f"  {_key(name)}:")
        lines += [f"    {key}: {_inline(value)}" for key, value in members.items()]
    return lines


def _key(text: str) -> str:
    return text if _PLAIN.match(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)


def _inline(value: Any) -> str:
    """A value on one line: JSON is YAML, but keys need no quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(str(k))}: {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def literal(value: Any) -> Any:
    """`value` with every $ doubled, so that nothing in it is read as a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {k: literal(v) for k, v in value.items()}
    return [literal(v) for v in value] if isinstance(value, list) else value
