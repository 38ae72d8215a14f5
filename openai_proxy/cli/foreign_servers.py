"""Other programs' MCP servers as entries of conf/mcp/servers.yaml: an `mcpServers` JSON, and its relatives.

Claude Desktop and Claude Code (https://code.claude.com/docs/en/mcp), Cursor, Cline, Windsurf and Gemini CLI write
`mcpServers`; VS Code writes `servers` in mcp.json, or `mcp: {servers}` in its settings
(https://code.visualstudio.com/docs/copilot/customization/mcp-servers), where a value may be `${input:ID}`.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from openai_proxy.cli.draft import Draft, block, literal
from openai_proxy.secrets import SECRET_NAME

_TYPES: Final = {
    "stdio": "stdio", "local": "stdio", "sse": "sse", "http": "streamablehttp", "remote": "streamablehttp",
    "streamable-http": "streamablehttp", "streamable_http": "streamablehttp", "streamablehttp": "streamablehttp",
}  # fmt: skip
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]+")
_VARIABLE: Final = re.compile(
    r"\$\{env:(?P<env>[A-Za-z_]\w*)\}|\$\{input:(?P<input>[\w.-]+)\}|\$\{(?P<plain>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}"
    r"|\$\{userHome\}|\$"
)
_EVERYWHERE: Final = ("url", "serverUrl", "httpUrl", "uri")
_KNOWN: Final = frozenset(
    {"name", "type", "transport", "command", "args", "env", "cwd", "headers", "disabled", "enabled", "timeout", "oauth",
     "description", "disabledTools", "excludeTools", "includeTools", "enabledTools", "auth", *_EVERYWHERE}
)  # fmt: skip
_MILLISECONDS: Final = 3600  # larger timeouts are in milliseconds
_EMPTY: Final = re.compile(r"^servers:[ \t]*(\{[ \t]*\})?[ \t]*(#.*)?$", re.MULTILINE)
HEADER: Final = "# yaml-language-server: $schema=../.schemas/servers.json\n\n"


def servers_of(document: Any) -> dict[str, Any] | None:
    """The table of MCP servers in `document`, by name; None if it has none."""
    if not isinstance(document, Mapping):
        return None
    found: dict[str, Any] = {}
    inner = document.get("mcp")
    tables = [document.get("mcpServers"), document.get("servers"), document.get("context_servers")]
    tables += [inner.get("servers") if isinstance(inner, Mapping) else None]
    projects = document.get("projects")  # of Claude Code's own file
    for project in projects.values() if isinstance(projects, Mapping) else ():
        tables.append(project.get("mcpServers") if isinstance(project, Mapping) else None)
    for table in tables:
        if isinstance(table, Mapping):
            for name, server in table.items():
                found.setdefault(str(name), server)
    return found if any(isinstance(table, Mapping) for table in tables) else None


def read_servers(table: Mapping[str, Any], draft: Draft, taken: set[str]) -> dict[str, dict[str, Any]]:
    """Entries of servers.yaml for `table`, under valid names that are not `taken`; `draft` notes what is lost."""
    servers: dict[str, dict[str, Any]] = {}
    for given, value in table.items():
        where = f"mcpServers.{given}"
        if not isinstance(value, Mapping):
            draft.lose(where, "expected a mapping")
            continue
        name = _name(given, taken)
        if name != given:
            draft.lose(where, f"it is called {name} here: letters, digits, - and _, at most 32")
        members = _Server(where, value, draft).members()
        if members is None:
            continue
        taken.add(name)
        servers[name] = members
    return servers


def _name(wanted: str, taken: set[str]) -> str:
    base = _FOREIGN.sub("-", wanted).strip("-")[:32] or "server"
    name, number = base, 2
    while name in taken:
        tail = f"-{number}"
        name, number = base[: 32 - len(tail)] + tail, number + 1
    return name


class _Server:
    """One server being converted."""

    def __init__(self, where: str, given: Mapping[str, Any], draft: Draft) -> None:
        self._where = where
        self._given = given
        self._draft = draft

    def members(self) -> dict[str, Any] | None:
        """Its entry; None if it cannot be converted."""
        given = self._given
        command, url = given.get("command"), next((given[key] for key in _EVERYWHERE if given.get(key)), None)
        members: dict[str, Any]
        if isinstance(command, Mapping):  # Zed: command: {path, args, env}
            given = self._given = {**given, **command, "command": command.get("path")}
            command = given["command"]
        if isinstance(command, str) and command.strip():
            members = self._program(command)
        elif isinstance(url, str):
            members = self._remote(url)
        else:
            self._draft.lose(self._where, "it has neither a command nor a url")
            return None
        if isinstance(given.get("description"), str):
            members["description"] = literal(given["description"])
        if given.get("disabled") is True or given.get("enabled") is False:
            members["enabled"] = False
        self._timeout(members)
        for theirs, ours in (("includeTools", "whitelist"), ("enabledTools", "whitelist"),
                             ("excludeTools", "blacklist"), ("disabledTools", "blacklist")):  # fmt: skip
            tools = given.get(theirs)
            if isinstance(tools, list) and tools:
                members[ours] = [literal(str(tool)) for tool in tools]
        for key in given:
            if key not in _KNOWN:
                self._draft.lose(f"{self._where}.{key}", _why(key))
        return members

    def _program(self, command: str) -> dict[str, Any]:
        args = self._given.get("args")
        words = [str(word) for word in args] if isinstance(args, list) else []
        if " " in command.strip() and not Path(command).exists():
            try:
                command, *first = shlex.split(command)
            except ValueError:
                command, *first = command.split()
            words = [*first, *words]
        if command.lower() in ("cmd", "cmd.exe") and words[:1] and words[0].lower() == "/c" and len(words) > 1:
            command, words = words[1], words[2:]  # how npx is run on Windows
        members: dict[str, Any] = {"command": self._text(command, "command")}
        if words:
            members["args"] = [self._text(word, f"args[{number}]") for number, word in enumerate(words)]
        if env := self._texts("env"):
            members["env"] = env
        if isinstance(self._given.get("cwd"), str):
            members["cwd"] = self._text(self._given["cwd"], "cwd")
        return members

    def _remote(self, url: str) -> dict[str, Any]:
        kind = self._given.get("type") or self._given.get("transport")
        ours = _TYPES.get(str(kind).lower()) if kind else None
        if kind and ours is None:
            self._draft.lose(f"{self._where}.type", f"{kind} is not supported: treated as Streamable HTTP")
        members: dict[str, Any] = {"type": "sse"} if ours == "sse" else {}
        members["url"] = self._text(url, "url")
        if headers := self._texts("headers"):
            members["headers"] = headers
        sign_in = self._given.get("oauth") or self._given.get("auth")
        if isinstance(sign_in, Mapping):
            names = {"clientId": "client_id", "CLIENT_ID": "client_id", "client_id": "client_id", "scopes": "scopes",
                     "clientSecret": "client_secret", "CLIENT_SECRET": "client_secret"}  # fmt: skip
            found = {names[key]: self._value(value, key) for key, value in sign_in.items() if key in names and value}
            members["auth"] = {"type": "oauth", **found} if found else "oauth"
        return members

    def _timeout(self, members: dict[str, Any]) -> None:
        limit = self._given.get("timeout")
        if isinstance(limit, int | float) and not isinstance(limit, bool) and limit > 0:
            members["timeout"] = limit / 1000 if limit > _MILLISECONDS else limit

    def _texts(self, member: str) -> dict[str, str]:
        found = self._given.get(member)
        if not isinstance(found, Mapping):
            return {}
        texts = {str(name): self._value(value, f"{member}.{name}") for name, value in found.items()}
        for name, value in texts.items():
            if SECRET_NAME.search(name) and isinstance(value, str) and value and "${" not in value:
                note = "the secret was copied into servers.yaml as it was; better move it to .env"
                self._draft.lose(f"{self._where}.{member}.{name}", note)
        return texts

    def _value(self, value: Any, member: str) -> Any:
        if isinstance(value, list):
            return [self._value(one, member) for one in value]
        return self._text(value if isinstance(value, str) else "" if value is None else str(value), member)

    def _text(self, text: str, member: str) -> str:
        """`text` with its variables in our syntax and every other $ escaped."""

        def ours(found: re.Match[str]) -> str:
            if found[0] == "$":
                return "$$"
            if found[0] == "${userHome}":
                return str(Path.home())
            name = found["env"] or found["plain"] or _FOREIGN.sub("_", found["input"].replace(".", "_")).upper()
            name = name.replace("-", "_")
            if found["default"] is not None:
                return f"${{{name}:-{found['default']}}}"
            if self._draft.environ.get(name) or name in os.environ:
                return f"${{{name}}}"
            self._draft.unset[name] = None
            return f"${{{name}:-}}"

        if "${workspaceFolder" in text or "${file" in text:
            self._draft.lose(f"{self._where}.{member}", "there is no workspace here: write the path")
            return literal(text)  # type: ignore[no-any-return]
        return _VARIABLE.sub(ours, text)


def _why(key: str) -> str:
    if key in ("autoApprove", "alwaysAllow", "trust"):
        return "tools run without confirmation here; list those that need it in a model's confirm"
    if key == "envFile":
        return "variables come from openai-proxy's .env"
    return "it has no equivalent here"


def written(servers: Mapping[str, dict[str, Any]], before: str | None) -> str | None:
    """servers.yaml with `servers` added, if `before` has no servers yet (None: there is no file).

    None if it already has servers, because the new ones must then be merged with care.
    """
    entries = "".join(f"{line}\n" for line in block(servers))
    if before is None or not before.strip():
        return f"{HEADER}servers:\n{entries}"
    if len(_EMPTY.findall(before)) != 1 or re.search(r"^servers:[^\n]*\n+[ \t]+[^#\s]", before, re.MULTILINE):
        return None
    return _EMPTY.sub(lambda _: f"servers:\n{entries}".rstrip("\n"), before, count=1)
