"""What a command may see and change. Changes take effect only when all commands of a message have succeeded."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openai_proxy.config.interpolate import literal
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.nearest import nearest
from openai_proxy.transforms.commands.parser import CommandCall
from openai_proxy.transforms.sessions import Session, SessionRoute

Keys = tuple[str, ...]

MAX_MODEL_NAME = 256
_ODD = frozenset(" \"'\\${}<>`")
"""Characters that no provider uses in model ids."""


class CommandError(Exception):
    """A command that cannot be run; the text is for the person who typed it."""


@dataclass(frozen=True, slots=True)
class CommandHost:
    """The configuration as a command sees it, limited to what its caller may know.

    `connections` are those the caller may use; `serves` says whether a model name has a target for them; `models` are
    the ids that each connection lists, as far as known; `overridden` names the variable or flag that overrides a
    setting; `in_file` says whether a setting is in proxy.yaml.
    """

    version: str
    config: ProxyConfig
    connections: tuple[str, ...]
    augmented: tuple[str, ...]
    serves: Callable[[str], bool]
    models: Callable[[], Mapping[str, Collection[str]]]
    overridden: Callable[[Keys], str | None]
    in_file: Callable[[Keys], bool]


@dataclass(slots=True)
class CommandEdits:
    """Changes to conf/proxy.yaml. A value of None removes the member."""

    members: dict[Keys, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.members)


@dataclass(slots=True)
class CommandContext:
    """One message's commands. `may_change_globally`: the caller may use `scope=global`; `alone`: without other text."""

    host: CommandHost
    session: Session
    prefix: str
    may_change_globally: bool
    alone: bool
    drafts: Mapping[str, str]
    edits: CommandEdits = field(default_factory=CommandEdits)
    new_drafts: dict[str, str | None] = field(default_factory=dict)
    global_routes: dict[str, SessionRoute | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def is_global(self, call: CommandCall) -> bool:
        """True if `call` applies globally, not to the session. Raises CommandError if the caller is not allowed."""
        scope = (call.get("scope") or "session").lower()
        if scope not in ("session", "global"):
            raise CommandError(f'The scope is session or global, not "{scope[:40]}".')
        if scope == "global":
            if not self.may_change_globally:
                raise CommandRefused("Only an administrator may change settings for everyone.")
            self.require_alone("A setting for everyone")
        return scope == "global"

    def require_alone(self, what: str) -> None:
        """Raise CommandError if the message has other content: it may be pasted text."""
        if not self.alone:
            raise CommandError(f"{what} can only be changed by a message with nothing but commands.")

    def change_globally(self, keys: Keys, value: Any) -> None:
        """Set (or with None remove) a member of conf/proxy.yaml, and mention if it will have no effect.

        What is written is data: nothing in it is expanded as a variable. Raises CommandError if it cannot be escaped.
        """
        try:
            self.edits.members[keys] = literal(value)
        except ValueError:
            raise CommandError(f'"{str(value)[:80]}" cannot be written to the configuration.') from None
        if (name := self.host.overridden(keys)) is not None:
            self.notes.append(f"It has no effect while {name} is set.")

    def connection(self, name: str) -> str:
        """The connection called `name`. Raises CommandError."""
        if name in self.host.connections:
            return name
        raise CommandError(f'There is no backend "{name[:80]}".{did_you_mean(name, self.host.connections)}')

    def model(self, name: str) -> str:
        """The model called `name`, if it has a target. Raises CommandError."""
        if not name:
            raise CommandError("Which model? Write model=NAME.")
        if name in self.session.routes or self.host.serves(name):
            return name
        raise CommandError(f'The model "{name[:80]}" is not available.{did_you_mean(name, self.host.augmented)}')

    def target(self, text: str) -> str:
        """`connection.model` for a target written with a dot or a colon. Raises CommandError."""
        for connection in sorted(self.host.connections, key=len, reverse=True):
            rest = text[len(connection) :]
            if text.startswith(connection) and rest[:1] in (".", ":") and len(rest) > 1:
                return f"{connection}.{self._model_of(connection, rest[1:])}"
        known = ", ".join(self.host.connections)
        raise CommandError(f'"{text[:80]}" is not a target. Write connection.model; the connections are: {known}.')

    def _model_of(self, connection: str, name: str) -> str:
        """`name` as the model of a target; adds a note if `connection` does not list it."""
        if len(name) > MAX_MODEL_NAME or not _ODD.isdisjoint(name) or not name.isprintable():
            raise CommandError(f'"{name[:80]}" is not the name of a model.')
        listed = self.host.models().get(connection)
        if listed and "*" not in name and name not in listed:
            self.notes.append(f'{connection} does not list "{name[:80]}".{nearest(name, listed)}')
        return name


class CommandRefused(CommandError):
    """This caller may not use the command."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ " Did you mean …?", or ""."""
    found = nearest(name, names)
    return f' Did you mean "{found[0]}"?' if found else ""


TRUE = frozenset({"true", "on", "yes", "1", ""})
FALSE = frozenset({"false", "off", "no", "0"})


def flag(name: str, text: str) -> bool:
    """Read a switch. Raises CommandError."""
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise CommandError(f'{name} is on or off, not "{text[:40]}".')
