"""The operations of an OpenAPI document (3.0, 3.1) as tools without code.

Specification: https://spec.openapis.org/oas/v3.1.1. Path, query and header parameters and the members of a JSON body
become the tool's arguments. A document may come from a foreign server, so it can choose neither another host nor one of
the owner's headers, and cycles, depth and size are bounded.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from openai_proxy.config.tool_file import DeclaredTool, HttpAction, OpenApiSource
from openai_proxy.config.tool_places import ArgumentPlace, PlacedText
from openai_proxy.dialects.tool_schema import NAME_LENGTH, resolve_local, written_out
from openai_proxy.hosts import is_private_host

MAX_TOOLS: Final = 1000
"""Maximum number of operations of one document; above it, `operations` must choose."""

MAX_YAML: Final = 4 << 20
"""Maximum bytes of a YAML document, which takes seconds per MiB to read; JSON takes a hundredth."""

_METHODS: Final = ("get", "post", "put", "patch", "delete", "head")
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_IN_PATH: Final = re.compile(r"\{([^{}/]+)\}")
_OWN_HEADERS: Final = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"}
)
MAX_SCHEMA: Final = 128 * 1024
"""Maximum bytes of one tool's schema; a larger one is left out."""

MAX_SCHEMAS: Final = 16 << 20
"""Maximum bytes of all schemas of one document."""

_NO_SCHEMA: Final = ("example", "examples", "xml", "discriminator", "externalDocs", "readOnly", "writeOnly")
_DESCRIPTION: Final = 1500
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")


class DocumentError(Exception):
    """A document that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Operations:
    """The result of a document: its tools, and a description of what was left out."""

    tools: tuple[DeclaredTool, ...]
    left_out: tuple[str, ...] = ()


def parse_document(data: bytes, name: str) -> dict[str, Any]:
    """The document in `data`, JSON or YAML. Raises DocumentError."""
    text = data.decode("utf-8-sig", "replace")
    document: Any = None
    if text.lstrip()[:1] == "{":
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
    if document is None:
        if len(data) > MAX_YAML:
            raise DocumentError(f"{name} is larger than {MAX_YAML >> 20} MiB; as JSON it may have 16 MiB")
        document = _yaml(text, name)
    if not isinstance(document, dict):
        raise DocumentError(f"{name} is not an OpenAPI document")
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith("3."):
        old = f" (its version is swagger: {str(document['swagger'])[:8]})" if "swagger" in document else ""
        raise DocumentError(f"{name} is not an OpenAPI 3 document{old}")
    if not isinstance(document.get("paths"), dict):
        raise DocumentError(f"{name} has no paths")
    return document


def _yaml(text: str, name: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    reader = YAML(typ="safe", pure=True)
    reader.allow_duplicate_keys = True
    try:
        return reader.load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise DocumentError(f"{name} is neither JSON nor YAML{place}") from None
    except (ValueError, RecursionError):
        raise DocumentError(f"{name} is neither JSON nor YAML") from None


def operations(document: Mapping[str, Any], source: OpenApiSource, name: str) -> Operations:
    """The tools of `document`. Raises DocumentError if its server is missing or not allowed."""
    base, private = _base(document, source, name)
    tools: dict[str, DeclaredTool] = {}
    left_out: list[str] = []
    count = size = 0
    for path, method, item, operation in _selected(document, source.operations):
        count += 1
        if len(tools) >= MAX_TOOLS or size > MAX_SCHEMAS:
            continue
        try:
            tool = _Operation(document, source, base, private).tool(path, method, item, operation)
            size += (own := len(json.dumps(tool.parameters, default=str)))
            if own > MAX_SCHEMA:
                raise DocumentError("its schema is too large")
        except DocumentError as error:
            left_out.append(f"{method.upper()} {path}: {error}")
            continue
        if tool.name in tools:
            left_out.append(f"{method.upper()} {path}: another operation is called {tool.name}")
        else:
            tools[tool.name] = tool
    if count > MAX_TOOLS:
        left_out.append(f"{count} operations match, but at most {MAX_TOOLS} are allowed: choose with `operations`")
    if size > MAX_SCHEMAS:
        left_out.append("its schemas are too large in total: choose with `operations`")
    if source.operations is not None and not count:
        left_out.append("`operations` matches none of its operations")
    return Operations(tuple(tools.values()), tuple(left_out))


def _selected(
    document: Mapping[str, Any], globs: tuple[str, ...] | None
) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    for path, given in document["paths"].items():
        item = _resolved(document, given)
        for method in _METHODS if isinstance(item, Mapping) else ():
            operation = item.get(method)
            if not isinstance(operation, Mapping):
                continue
            names = (_operation_name(operation, method, str(path)), f"{method.upper()} {path}")
            if globs is None or any(fnmatchcase(candidate, glob) for glob in globs for candidate in names):
                yield str(path), method, item, operation


def _operation_name(operation: Mapping[str, Any], method: str, path: str) -> str:
    given = operation.get("operationId")
    return given if isinstance(given, str) and given else f"{method}_{path.strip('/')}"


def _resolved(document: Mapping[str, Any], value: Any) -> Any:
    """`value`, or the target of its reference, after at most ten steps."""
    for _ in range(10):
        if not isinstance(value, Mapping) or "$ref" not in value:
            return value
        value = resolve_local(document, value["$ref"])
    return None


def _base(document: Mapping[str, Any], source: OpenApiSource, name: str) -> tuple[str, bool]:
    """The base URL of the operations, and whether that host may have a private address."""
    if source.base is not None:
        return source.base, source.private
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    url = first.get("url") if isinstance(first, Mapping) else None
    url = url if isinstance(url, str) else "/"
    variables = first.get("variables") if isinstance(first, Mapping) else None
    for variable, about in variables.items() if isinstance(variables, Mapping) else ():
        default = about.get("default") if isinstance(about, Mapping) else None
        url = url.replace(f"{{{variable}}}", str(default))
    if source.is_url:
        url = urljoin(source.source, url)
    try:
        parts, own = urlsplit(url), urlsplit(source.source if source.is_url else url)
        host, foreign = parts.hostname, (parts.scheme, parts.netloc) != (own.scheme, own.netloc)
    except ValueError:
        host, foreign = None, False
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s{}@\\?#]", url):
        raise DocumentError(f"{name} does not name its server: set base")
    if foreign:  # the document's server could otherwise choose where our headers go
        raise DocumentError(f"{name} says that its server is {host[:100]}, another host: if that is right, set base")
    return url.rstrip("/"), source.private or is_private_host(host)


class _Operation:
    """One operation being converted to a tool."""

    def __init__(self, document: Mapping[str, Any], source: OpenApiSource, base: str, private: bool) -> None:
        self._document = document
        self._source = source
        self._base = base
        self._private = private
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._query: list[tuple[str, Any]] = []
        self._headers = [(name, PlacedText((text,))) for name, text in source.headers]

    def tool(self, path: str, method: str, item: Mapping[str, Any], operation: Mapping[str, Any]) -> DeclaredTool:
        """The tool. Raises DocumentError."""
        in_path = self._parameters(item, operation)
        url = self._url(path, in_path)
        body, has_body = self._body(_resolved(self._document, operation.get("requestBody")))
        parameters: dict[str, Any] = {"type": "object", "properties": self._properties}
        if self._required:
            parameters["required"] = self._required
        action = HttpAction(
            method=method.upper(), url=url, query=tuple(self._query), headers=tuple(self._headers), json=body,
            has_json=has_body, timeout=self._source.timeout, private=self._private,
        )  # fmt: skip
        name = _FOREIGN.sub("_", _operation_name(operation, method, path)).strip("_")[:NAME_LENGTH]
        texts = [operation.get("summary"), operation.get("description")]
        description = "\n".join(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))
        return DeclaredTool(
            name or f"{method}_operation", description[:_DESCRIPTION] or f"{method.upper()} {path}", parameters, action,
            self._source.path,
        )  # fmt: skip

    def _parameters(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> dict[str, str]:
        """Add the parameters; returns the names in the path with the arguments that fill them."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for holder in (item, operation):
            listed = holder.get("parameters")
            for given in listed if isinstance(listed, list) else ():
                parameter = _resolved(self._document, given)
                if isinstance(parameter, Mapping) and isinstance(parameter.get("name"), str):
                    found[str(parameter.get("in")), parameter["name"]] = parameter
        in_path: dict[str, str] = {}
        for (kind, name), parameter in found.items():
            if kind not in ("path", "query", "header") or (kind == "header" and not self._may_set(name)):
                continue
            required = parameter.get("required") is True or kind == "path"
            argument = self._argument(name, self._schema_of(parameter), required, parameter.get("description"))
            place = PlacedText((ArgumentPlace(argument),))
            if kind == "path":
                in_path[name] = argument
            elif kind == "query":
                self._query.append((name, place))
            else:
                self._headers.append((name, place))
        return in_path

    def _may_set(self, name: str) -> bool:
        own = {known.lower() for known, _ in self._source.headers}
        return _HEADER_NAME.match(name) is not None and name.lower() not in own | _OWN_HEADERS

    def _schema_of(self, parameter: Mapping[str, Any]) -> Any:
        if "schema" in parameter:
            return parameter["schema"]
        content = parameter.get("content")
        media = next(iter(content.values()), None) if isinstance(content, Mapping) else None
        return media.get("schema") if isinstance(media, Mapping) else None

    def _argument(self, name: str, schema: Any, required: bool, description: Any = None) -> str:
        """Add an argument; returns its name."""
        argument = wished = _FOREIGN.sub("_", name)[:NAME_LENGTH] or "value"
        number = 2
        while argument in self._properties:
            argument, number = f"{wished}_{number}", number + 1
        written = self._written(schema)
        if isinstance(description, str) and description.strip() and "description" not in written:
            written["description"] = description.strip()[:_DESCRIPTION]
        self._properties[argument] = written
        if required:
            self._required.append(argument)
        return argument

    def _written(self, schema: Any) -> dict[str, Any]:
        """A self-contained schema of the document, as JSON Schema."""
        if not isinstance(schema, Mapping):
            return {}
        written = written_out({**self._document, "properties": {"value": schema}})["properties"]["value"]
        return _plain(written) if isinstance(written, dict) else {}

    def _url(self, path: str, in_path: Mapping[str, str]) -> PlacedText:
        parts: list[str | ArgumentPlace] = [self._base + ("" if path.startswith("/") else "/")]
        end = 0
        for found in _IN_PATH.finditer(path):
            argument = in_path.get(found[1]) or self._argument(found[1], {"type": "string"}, True)
            parts += [path[end : found.start()], ArgumentPlace(argument)]
            end = found.end()
        parts.append(path[end:])
        if any(isinstance(part, str) and re.search(r"[\s#\\]", part) for part in parts):
            raise DocumentError("its path cannot be part of a URL")
        first, *rest = [part for part in parts if part != ""]
        if rest and isinstance(rest[0], str):
            first, rest = str(first) + rest[0], rest[1:]
        return PlacedText((first, *rest))

    def _body(self, body: Any) -> tuple[Any, bool]:
        """The JSON body with placeholders, and whether there is one. Raises DocumentError for other kinds of bodies."""
        content = body.get("content") if isinstance(body, Mapping) else None
        if not isinstance(content, Mapping) or not content:
            return None, False
        media = next(
            (about for kind, about in content.items() if re.match(r"(application/([\w.-]+\+)?json|\*/\*)", str(kind))),
            None,
        )
        if media is None:
            raise DocumentError(f"its body is {str(next(iter(content)))[:60]}, not JSON")
        schema = self._written(media.get("schema") if isinstance(media, Mapping) else None)
        required = body.get("required") is True
        properties = schema.get("properties")
        simple = schema.get("type", "object") == "object" and not schema.keys() & {"oneOf", "anyOf", "allOf"}
        if not (simple and isinstance(properties, dict) and properties) or properties.keys() & self._properties.keys():
            argument = self._argument("body", schema, required)
            return PlacedText((ArgumentPlace(argument),)), True
        needed = schema.get("required") or ()
        members = {
            name: PlacedText((ArgumentPlace(self._argument(name, member, required and name in needed)),))
            for name, member in properties.items()
        }
        return members, True


def _plain(schema: Any) -> Any:
    """OpenAPI 3.0's own keywords as JSON Schema's; read-only members are left out."""
    if isinstance(schema, list):
        return [_plain(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: value for key, value in schema.items() if key not in _NO_SCHEMA and not str(key).startswith("x-")}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(plain.get(exclusive), bool) and plain.pop(exclusive) and bound in plain:
            plain[exclusive] = plain.pop(bound)
    if plain.pop("nullable", None) is True and isinstance(plain.get("type"), str):
        plain["type"] = [plain["type"], "null"]
        if isinstance(plain.get("enum"), list) and None not in plain["enum"]:
            plain["enum"] = [*plain["enum"], None]
    properties = plain.get("properties")
    if isinstance(properties, dict):
        kept = {
            name: _plain(member)
            for name, member in properties.items()
            if not (isinstance(member, dict) and member.get("readOnly") is True)
        }
        plain["properties"] = kept
        if isinstance(plain.get("required"), list):
            plain["required"] = [name for name in plain["required"] if name in kept]
    for key in ("items", "additionalProperties", "not", "allOf", "anyOf", "oneOf"):
        if key in plain:
            plain[key] = _plain(plain[key])
    return plain
