"""The start-up message: where to go, what is served, and what is missing."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from openai_proxy import addresses
from openai_proxy.globs import is_glob
from openai_proxy.records.process_log.output import Colours, one_line
from openai_proxy.runtime.generation import Generation
from openai_proxy.version import __version__

MANY: Final = 8  # names per line


class Banner:
    """output.Facts of the start. `hosts` and `port` are those listened on."""

    key: tuple[Any, ...] | None = None
    subject: tuple[Any, ...] = ("start",)
    bare = True  # no time in front: it is a heading

    def __init__(
        self,
        generation: Generation,
        hosts: Sequence[str],
        port: int | None,
        page: str | None = None,
        wyoming: int | None = None,
    ) -> None:
        self._generation = generation
        self._wyoming = wyoming
        self._urls = addresses.urls(hosts, port) if port is not None else []
        self._page = page or (f"{self._urls[0]}/" if self._urls else None)

    def text(self, paint: Colours) -> str:
        """output.Facts: several lines, the first with the address to use."""
        first, *others = [f"{url}/v1" for url in self._urls] or ["a socket of the service manager"]
        lines = [f"{paint('strong', f'openai_proxy {__version__}')} serving on {paint('strong', first)}"]
        rows = [("also", other) for other in others]
        if self._page is not None:
            rows.append(("page", self._page))
        rows += self._rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join([*lines, *(f"  {name:<{width}}  {one_line(text)}" for name, text in rows)])

    def members(self) -> dict[str, Any]:
        """output.Facts: the same for programs."""
        generation = self._generation
        return {
            "version": __version__,
            "addresses": [f"{url}/v1" for url in self._urls],
            "models": list(generation.snapshot.models),
            "connections": list(generation.config.connections),
            "mcp_servers": list(generation.snapshot.servers),
            "wyoming_port": self._wyoming,
            "problems": len(generation.problems),
        }

    def _rows(self) -> Iterator[tuple[str, str]]:
        generation = self._generation
        config, snapshot = generation.config, generation.snapshot
        yield "models", _some([*snapshot.models, *(name for name in config.routing if not is_glob(name))])
        yield "connections", _some(f"{name} ({c.api_type})" for name, c in config.connections.items())
        if snapshot.servers:
            servers = (name if s.enabled else f"{name} (disabled)" for name, s in snapshot.servers.items())
            yield "MCP servers", _some(servers)
        if self._wyoming is not None and config.wyoming is not None:
            serves = [f"{what} by {name}" for what, name in config.wyoming.served()]
            yield "Wyoming", f"port {self._wyoming}: {', '.join(serves)}"
        yield "clients", self._clients()
        if addresses.in_container():
            yield "note", "this is a container: other devices use its host's address and the published port"
        yield from (("missing", text) for text in self._missing())

    def _clients(self) -> str:
        generation = self._generation
        if generation.gate.keys_required:
            named = [name for name, group in generation.config.groups.items() if group.api_keys]
            return f"those with a key of {_some(named)}" if named else "those with a key"
        if generation.config.allow_public_unauthenticated:
            return "everybody, without a key (allow_public_unauthenticated)"
        return "every device of this network, without a key; nobody from outside"

    def _missing(self) -> Iterator[str]:
        generation = self._generation
        connections = generation.config.connections.values()
        if connections and all(connection.api_type == "echo" for connection in connections):
            yield "a provider: `openai-proxy init` asks for one, or put its key into .env; until then `echo` answers"
        if not generation.snapshot.config_dir.is_dir():
            yield f"the directory {generation.snapshot.config_dir}: `openai-proxy init` creates it"
        if number := len(generation.problems):
            noun = "problem" if number == 1 else "problems"
            yield f"{number} {noun} in the configuration, named above and by `openai-proxy check`"


def _some(names: Iterable[str]) -> str:
    found = list(names)
    if not found:
        return "none of its own"
    more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
    return ", ".join(found[:MANY]) + more
