"""Reads conf/tools/*.yaml: every valid tool of every file, and the problems of the others."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic_core import PydanticCustomError

from openai_proxy.config import files
from openai_proxy.config.entries import traps_of
from openai_proxy.config.fields import http_url
from openai_proxy.config.files import Unreadable
from openai_proxy.config.interpolate import MissingVariable
from openai_proxy.config.problems import Problem, did_you_mean
from openai_proxy.config.reading import LoadState
from openai_proxy.config.secret_names import header_secrets
from openai_proxy.config.sources import Path as KeyPath
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.tool_file import (
    CommandAction,
    CommandToolConfig,
    DeclaredTool,
    HttpAction,
    HttpCall,
    HttpToolConfig,
    OpenApiSource,
    OpenApiToolsConfig,
    Tool,
    ToolFile,
)
from openai_proxy.config.tool_places import PlacedText, read_text, read_value
from openai_proxy.config.validate import validate
from openai_proxy.config.yaml_text import BrokenYaml, Node
from openai_proxy.hosts import is_private_host
from openai_proxy.secrets import SECRET_NAME, vault

MAX_DOCUMENT: Final = 16 << 20
"""Bytes of an OpenAPI document: the largest in public use have 12 MB."""

_KINDS: Final[dict[str, type[HttpToolConfig | CommandToolConfig | OpenApiToolsConfig]]] = {
    "http": HttpToolConfig,
    "command": CommandToolConfig,
    "openapi": OpenApiToolsConfig,
}
_FRAMING: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)|\Aenv:([A-Za-z_][A-Za-z0-9_]*)\Z")
_FIXED_HOST: Final = re.compile(r"https?://[^/?#\s]+[/?]", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

NO_SCHEMA: Final = (
    "parameters is a JSON Schema: {type: object, properties: {NAME: {type: string}}}; names alone are not enough"
)


def load_tool_files(reading: LoadState, directory: Path) -> tuple[ToolFile, ...]:
    """The YAML files directly in `directory`. What is broken keeps its last good form and is reported."""
    try:
        paths = files.yaml_files(directory)
    except Unreadable:  # reported with the Python files of the same directory
        return tuple(reading.before.tool_files.values())
    found: list[ToolFile] = []
    for path in paths:
        if (file := _file(reading, path)) is not None:
            found.append(file)
            reading.memory.tool_files[str(path)] = file
            reading.origins["tool", path.name] = file.origin or SourceOrigin(str(path))
    return tuple(found)


def _file(reading: LoadState, path: Path) -> ToolFile | None:
    last = reading.before.tool_files.get(str(path))
    node = reading.read(path, "the file is empty: a tool needs a name, and http, command or openapi")
    if node is None or isinstance(node, BrokenYaml):
        return last if node is not None else None
    origin = SourceOrigin(str(path), node)
    kept = {_identity(tool): tool for tool in last.tools} if last is not None else {}
    entries = [((), node)] if node.items is None else [((index,), item) for index, item in enumerate(node.items)]
    tools: list[Tool] = []
    for at, entry in entries:
        tool = _ToolEntry(reading, origin, at, entry).tool()
        if tool is None and isinstance(entry.value, dict):
            tool = kept.get(str(entry.value.get("name") or entry.value.get("openapi")))
        if tool is not None:
            tools.append(tool)
    return ToolFile(path, reading.memory.parsed[str(path)][0], tuple(tools), origin)


def _identity(tool: Tool) -> str:
    return tool.name if isinstance(tool, DeclaredTool) else tool.source


class _ToolEntry:
    """One entry of a file, being read."""

    def __init__(self, reading: LoadState, origin: SourceOrigin, at: KeyPath, node: Node) -> None:
        self._reading = reading
        self._origin = origin
        self._at = at
        self._node = node
        self._environ = reading.environment.variables
        self._wrong = False
        self._arguments: set[str] = set()
        self._is_no_schema = False

    def tool(self) -> Tool | None:
        """The tool, if it is valid; problems are reported."""
        data = self._node.value
        if not isinstance(data, dict):
            self._report(
                (), "expected a tool: a mapping with name, description, parameters and http, command or openapi"
            )
            return None
        kinds = [kind for kind in _KINDS if kind in data]
        if len(kinds) != 1:
            near = next((hint for key in data if not kinds and (hint := did_you_mean(str(key), _KINDS))), "")
            kinds_text = "both " + " and ".join(kinds) if kinds else "none"
            self._report((), f"a tool needs exactly one of http, command and openapi; this one has {kinds_text}{near}")
            return None
        config, mistakes = validate(
            _KINDS[kinds[0]],
            self._as_written(data),
            lambda path, key: self._origin.place((*self._at, *path), key=key),
            traps=traps_of(self._node),
        )
        self._reading.problems += mistakes.problems
        if config is None:
            return None
        made: Tool
        if isinstance(config, OpenApiToolsConfig):
            made = self._openapi(config)
        else:
            properties = config.parameters.get("properties")
            self._is_no_schema = bool(config.parameters) and not {"properties", "$ref"} & config.parameters.keys()
            self._arguments = set(properties) if isinstance(properties, dict) else set()
            assert isinstance(config, HttpToolConfig | CommandToolConfig)
            action = self._http(config.http) if isinstance(config, HttpToolConfig) else self._command(config)
            made = DeclaredTool(config.name, config.description, config.parameters, action, self._at)
        return None if self._wrong else made

    def _as_written(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with numbers in a command as they were written (`1.10`, not `1.1`)."""
        entry = (self._node.entries or {}).get("command")
        if entry is None or entry[2].items is None:
            return dict(data)
        words = [item.raw if item.raw is not None and item.value is not None else item.value for item in entry[2].items]
        return {**data, "command": words}

    def _report(self, path: KeyPath, message: str) -> None:
        self._wrong = True
        self._reading.problems.append(Problem(*self._origin.place((*self._at, *path)), vault.scrub(message)))

    # -- texts --------------------------------------------------------------------------------------------------------

    def _text(self, text: str, path: KeyPath, *, variables: bool = False, places: bool = True) -> PlacedText:
        """Parse `text`, reporting a missing variable or a placeholder without a parameter."""
        if variables:
            self._learn(text)
        try:
            read = read_text(text, self._environ if variables else None)
        except MissingVariable as missing:
            self._report(path, f"the environment variable {missing.name} is not set, so this tool is left out")
            return PlacedText()
        if places:
            self._check_places(read.places, path)
        return read

    def _check_places(self, places: tuple[str, ...], path: KeyPath) -> None:
        for name in places:
            if name not in self._arguments and self._is_no_schema:
                self._report(("parameters",), NO_SCHEMA)
            elif name not in self._arguments:
                near = did_you_mean(name, self._arguments)
                self._report(path, f"{{{name}}}: parameters.properties has no {name}{near}")

    def _value(self, value: Any, path: KeyPath) -> Any:
        read = read_value(value)
        for places, where in _places_in(read, path):
            self._check_places(places, where)
        return read

    def _learn(self, text: str) -> None:
        """Register the variables of `text` with secret-sounding names with the vault."""
        names = [found[1] or found[2] for found in _VARIABLE.finditer(text)]
        vault.learn(self._environ[name] for name in names if name in self._environ and SECRET_NAME.search(name))

    def _headers(self, headers: Mapping[str, str], path: KeyPath, *, places: bool) -> list[tuple[str, PlacedText]]:
        found: list[tuple[str, PlacedText]] = []
        for name, text in headers.items():
            at = (*path, name)
            if name.lower() in _FRAMING:
                self._report(at, f"the header {name} is set by the proxy itself")
                continue
            read = self._text(text, at, variables=True, places=places)
            if _CONTROL.search(read.sample()):
                self._report(at, f'the value of the header "{name}" contains a line break or control character')
            found.append((name, read))
        vault.learn(
            secret for secret in header_secrets({n: t.sample("") for n, t in found if not t.places}) if secret.strip()
        )
        return found

    # -- kinds --------------------------------------------------------------------------------------------------------

    def _http(self, call: HttpCall) -> HttpAction:
        at: KeyPath = ("http",)
        url = self._url(call.url, (*at, "url"))
        has_json = "json_body" in call.model_fields_set
        method = call.method or ("POST" if has_json or call.body is not None else "GET")
        return HttpAction(
            method=method,
            url=url,
            query=tuple(self._value(call.query, (*at, "query")).items()),
            headers=tuple(self._headers(call.headers, (*at, "headers"), places=True)),
            json=self._value(call.json_body, (*at, "json")),
            has_json=has_json,
            body=self._text(call.body, (*at, "body")) if call.body is not None else None,
            timeout=call.timeout,
            result=tuple(re.sub(r"\[(\d+)\]", r".\1", call.result).strip(".").split(".")) if call.result else (),
            private=call.private or is_private_host(_host(url.sample())),
        )

    def _url(self, text: str, path: KeyPath) -> PlacedText:
        url = self._text(text.strip(), path, variables=True)
        if not url.parts:
            return url
        if url.places and not _FIXED_HOST.match(url.beginning):
            self._report(path, "an argument must not choose the host: {name} may only follow it, in path or query")
            return url
        self._check_url(url.sample(), path)
        return url

    def _check_url(self, url: str, path: KeyPath) -> None:
        try:
            http_url(url)
        except PydanticCustomError as error:
            self._report(path, str(error))
            return
        if "#" in url:
            self._report(path, "a fragment (#…) is never sent: remove it")
        vault.learn(value for name, value in parse_qsl(urlsplit(url).query) if SECRET_NAME.search(name))

    def _command(self, config: CommandToolConfig) -> CommandAction:
        words = [
            self._text(word, ("command", index), variables=True) for index, word in enumerate(config.command)
        ]  # fmt: skip
        if words[0].places:
            self._report(("command", 0), "an argument must not choose the program")
        elif not words[0].sample().strip() and not self._wrong:
            self._report(("command", 0), "the program is missing")
        elif " " in words[0].sample().strip() and not Path(words[0].sample()).exists():
            self._report(("command", 0), "the first entry is only the program; each argument is an entry of its own")
        vault.learn(_flag_secrets(words))
        stdin = self._text(config.stdin, ("stdin",)) if config.stdin is not None else None
        return CommandAction(tuple(words), stdin, config.timeout)

    def _openapi(self, config: OpenApiToolsConfig) -> OpenApiSource:
        source = self._text(config.openapi.strip(), ("openapi",), variables=True, places=False).sample()
        base = None
        if config.base is not None:
            base = self._text(config.base.strip(), ("base",), variables=True, places=False).sample().rstrip("/")
            self._check_url(base, ("base",))
        headers = self._headers(config.headers, ("headers",), places=False)
        is_url = re.match(r"https?://", source, re.IGNORECASE) is not None
        digest = ""
        if is_url:
            self._check_url(source, ("openapi",))
        elif not self._wrong:
            source, digest = self._document(source)
        return OpenApiSource(
            source=source,
            is_url=is_url,
            base=base,
            headers=tuple((name, text.sample("")) for name, text in headers),
            operations=config.operations,
            timeout=config.timeout,
            private=config.private or (base is not None and is_private_host(_host(base))),
            digest=digest,
            path=self._at,
        )

    def _document(self, name: str) -> tuple[str, str]:
        """The path of a document in conf/, and its digest, so that editing it counts as changing the configuration."""
        path = self._reading.config_dir / name
        try:
            data = files.read(path, MAX_DOCUMENT)
        except Unreadable as error:
            self._report(("openapi",), f"{name}: {error}")
            return name, ""
        if data is None:
            self._report(("openapi",), f"there is no file {name} in {self._reading.config_dir}")
            return name, ""
        return str(path), self._reading.note(path, data)


def _places_in(value: Any, path: KeyPath) -> Iterator[tuple[tuple[str, ...], KeyPath]]:
    if isinstance(value, PlacedText):
        yield value.places, path
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _places_in(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _places_in(member, (*path, index))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _flag_secrets(words: list[PlacedText]) -> Iterator[str]:
    """What follows a flag with a secret-sounding name, as in `--token=…` or `--token …`."""
    texts = [word.sample("") if not word.places else "" for word in words]
    for flag, value in zip(texts, (*texts[1:], ""), strict=True):
        if flag.startswith("-") and SECRET_NAME.search(flag):
            _, equals, own = flag.partition("=")
            yield own if equals else value if not value.startswith("-") else ""
