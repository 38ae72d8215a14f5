"""conf/tools/*.yaml: tools without code, each an HTTP request, a command, or the operations of an OpenAPI document."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, RootModel, WithJsonSchema, model_validator

from openai_proxy.config.fields import Flag, Globs, Headers, Seconds, StrictModel, source_text, texts, wrong
from openai_proxy.config.model_file import TOOL_NAME
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.tool_places import PlacedText

TIMEOUT = 30.0
"""Seconds that a tool may take by default."""

Method = Annotated[
    Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]
_Text = Annotated[str, BeforeValidator(source_text)]


class HttpCall(StrictModel):
    """One HTTP request; `{name}` in url, query, headers, json and body is replaced by that argument."""

    method: Method | None = Field(default=None, description="Default: POST with a json or body, else GET.")
    url: str = Field(
        min_length=1, description="The URL; arguments may be in its path and query, percent-encoded. ${NAME} works."
    )
    query: dict[str, Any] = Field(default={}, description="Query parameters; one whose argument is missing is omitted.")
    headers: Headers = Field(default={}, repr=False, description="Header fields. ${NAME} works.")
    json_body: Any = Field(
        default=None,
        alias="json",
        description="A JSON body; a placeholder that is a whole value keeps its argument's type.",
    )
    body: _Text | None = Field(default=None, description="A body as text, instead of json.")
    timeout: Seconds = Field(default=TIMEOUT, description="Seconds for one call.")
    result: str | None = Field(default=None, min_length=1, description="A dotted path into a JSON answer: data.items.0")
    private: Flag = Field(
        default=False, description="The host may have a private address although its name does not suggest so."
    )

    @model_validator(mode="after")
    def _whole(self) -> "HttpCall":
        if "json_body" in self.model_fields_set and self.body is not None:
            raise wrong("json and body are mutually exclusive")
        return self


class _Named(StrictModel):
    name: str = Field(description="Its name for models: 1 to 64 letters, digits, _ and -.")
    description: str = Field(default="", description="What it does, for the model.")
    parameters: dict[str, Any] = Field(
        default={}, description="Its parameters: a JSON Schema of type object, as in any tool definition."
    )

    @model_validator(mode="after")
    def _fit(self) -> "_Named":
        if not TOOL_NAME.match(self.name):
            raise wrong(f'"{self.name[:64]}" cannot be used as a tool name: use letters, digits, - and _, at most 64')
        return self


class HttpToolConfig(_Named):
    """A tool that makes an HTTP request."""

    http: HttpCall = Field(description="The request.")


def _some(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        raise wrong("expected a program and its arguments")
    return words


class CommandToolConfig(_Named):
    """A tool that runs a program, without a shell."""

    command: Annotated[
        tuple[str, ...],
        BeforeValidator(texts),
        AfterValidator(_some),
        WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}}),
    ] = Field(
        repr=False,
        description="The program and its arguments as a list. {name} becomes at most one argument. ${NAME} works.",
    )
    stdin: _Text | None = Field(default=None, description="The program's standard input.")
    timeout: Seconds = Field(default=TIMEOUT, description="Seconds for one call.")


class OpenApiToolsConfig(StrictModel):
    """Tools from an OpenAPI document: one per operation, named after its operationId."""

    openapi: str = Field(min_length=1, description="A file, relative to conf/, or a URL. ${NAME} works.")
    base: str | None = Field(default=None, description="Base URL of the operations; default: what the document says.")
    headers: Headers = Field(default={}, repr=False, description="Sent with every request. ${NAME} works.")
    operations: Globs | None = Field(
        default=None, description='Only these: globs on operationIds, or on method and path ("GET /lights/*").'
    )
    timeout: Seconds = Field(default=TIMEOUT, description="Seconds for one call.")
    private: Flag = Field(
        default=False, description="The host may have a private address although its name does not suggest so."
    )


Entry = HttpToolConfig | CommandToolConfig | OpenApiToolsConfig


class ToolsFile(RootModel[Entry | list[Entry]]):
    """The whole content of a file in conf/tools: one tool, or a list."""


@dataclass(frozen=True, slots=True)
class HttpAction:
    """An HTTP request with placeholders. `has_json` distinguishes a JSON body of null from none."""

    method: str
    url: PlacedText
    query: tuple[tuple[str, Any], ...] = ()
    headers: tuple[tuple[str, PlacedText], ...] = field(default=(), repr=False)
    json: Any = None
    has_json: bool = False
    body: PlacedText | None = None
    timeout: float = TIMEOUT
    result: tuple[str, ...] = ()
    private: bool = False  # the owner's definition names a private host, or allows one


@dataclass(frozen=True, slots=True)
class CommandAction:
    """A program and its arguments with placeholders; `stdin` is its standard input."""

    command: tuple[PlacedText, ...] = field(repr=False)
    stdin: PlacedText | None = None
    timeout: float = TIMEOUT


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """One tool without code, its variables filled in. `path` is its place in the file."""

    name: str
    description: str
    parameters: dict[str, Any]
    action: HttpAction | CommandAction
    path: tuple[str | int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class OpenApiSource:
    """A document whose operations are tools. `source` is a URL, or the path of a file."""

    source: str
    is_url: bool
    base: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    operations: tuple[str, ...] | None = None
    timeout: float = TIMEOUT
    private: bool = False
    digest: str = ""  # of the file's bytes; empty for a URL
    path: tuple[str | int, ...] = field(default=(), compare=False)


Tool = DeclaredTool | OpenApiSource


@dataclass(frozen=True, slots=True)
class ToolFile:
    """One file: its valid tools, in order."""

    path: Path
    digest: str
    tools: tuple[Tool, ...] = ()
    origin: SourceOrigin | None = field(default=None, compare=False)
