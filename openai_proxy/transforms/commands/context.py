"""What a command may see and change. What it changes is taken over only when all commands of a message went well."""

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
"""Characters no provider has in the id of a model."""


class CommandError(Exception):
    """A command that cannot be obeyed; the text is for the person who typed it."""


@dataclass(frozen=True, slots=True)
class CommandHost:
    """What a command knows of the configuration, as far as its caller may know it.

    `connections` are those the caller may use; `serves` tells if a model name leads anywhere for them; `models` are
    the ids each connection lists, as far as they are known; `overridden` names the variable or flag that stands above
    a setting; `in_file` tells if a setting stands in proxy.yaml.
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
    """Changes to conf/proxy.yaml. A value of None takes the member out."""

    members: dict[Keys, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.members)


@dataclass(slots=True)
class CommandContext:
    """One message's commands. `may_change_house`: the caller may use `scope=global`; `alone`: it says nothing else."""

    host: CommandHost
    session: Session
    prefix: str
    may_change_house: bool
    alone: bool
    drafts: Mapping[str, str]
    edits: CommandEdits = field(default_factory=CommandEdits)
    new_drafts: dict[str, str | None] = field(default_factory=dict)
    global_routes: dict[str, SessionRoute | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def is_global(self, call: CommandCall) -> bool:
        """True if `call` is about the house, not the session. Raises CommandError where the caller may not."""
        scope = (call.get("scope") or "session").lower()
        if scope not in ("session", "global"):
            raise CommandError(f'The scope is session or global, not "{scope[:40]}".')
        if scope == "global":
            if not self.may_change_house:
                raise CommandRefused("Only an administrator may change settings for everyone.")
            self.require_alone("A setting for everyone")
        return scope == "global"

    def require_alone(self, what: str) -> None:
        """Raise CommandError if the message says anything besides: it may be a text that was pasted."""
        if not self.alone:
            raise CommandError(f"{what} is changed by a message of nothing but commands.")

    def change_house(self, keys: Keys, value: Any) -> None:
        """Set (or with None take out) a member of conf/proxy.yaml, and say so if it will not count.

        What is written is data: nothing in it is read as a variable. Raises CommandError where that cannot be said.
        """
        try:
            self.edits.members[keys] = literal(value)
        except ValueError:
            raise CommandError(f'"{str(value)[:80]}" cannot be written to the configuration.') from None
        if (name := self.host.overridden(keys)) is not None:
            self.notes.append(f"It will not count while {name} is set.")

    def connection(self, name: str) -> str:
        """The connection called `name`. Raises CommandError."""
        if name in self.host.connections:
            return name
        raise CommandError(f'There is no backend "{name[:80]}".{did_you_mean(name, self.host.connections)}')

    def model(self, name: str) -> str:
        """The model called `name`, if it leads anywhere. Raises CommandError."""
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
        raise CommandError(f'"{text[:80]}" is no target. Write connection.model; the connections are: {known}.')

    def _model_of(self, connection: str, name: str) -> str:
        """`name` as the model of a target; a note is made if `connection` has a list of models without it."""
        if len(name) > MAX_MODEL_NAME or not _ODD.isdisjoint(name) or not name.isprintable():
            raise CommandError(f'"{name[:80]}" is no name of a model.')
        listed = self.host.models().get(connection)
        if listed and "*" not in name and name not in listed:
            self.notes.append(f'{connection} does not list "{name[:80]}".{nearest(name, listed)}')
        return name


class CommandRefused(CommandError):
    """A command this caller may not give."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ " Did you mean …?", or nothing."""
    found = nearest(name, names)
    return f' Did you mean "{found[0]}"?' if found else ""


TRUE = frozenset({"true", "on", "yes", "1", ""})
FALSE = frozenset({"false", "off", "no", "0"})


def flag(name: str, text: str) -> bool:
    """A switch. Raises CommandError."""
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise CommandError(f'{name} is on or off, not "{text[:40]}".')
