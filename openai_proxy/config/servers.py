"""conf/mcp/servers.yaml: MCP servers."""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from openai_proxy.config.fields import (
    Flag,
    Globs,
    Headers,
    Names,
    Seconds,
    StrictModel,
    TextMap,
    http_url,
    texts,
    without_nulls,
    wrong,
)
from openai_proxy.config.secret_names import header_secrets
from openai_proxy.secrets import SECRET_NAME

SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
START_TIMEOUT = 30.0
"""Seconds for a server to list its tools: a cold `npx` needs 8 on a fast line."""

TRANSPORT_ALIASES = {"http": "streamablehttp", "streamable-http": "streamablehttp", "streamable_http": "streamablehttp"}
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")  # RFC 6749 section 3.3
_VARIABLE = re.compile(r"[^=\x00]+\Z")


def _variables(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _VARIABLE.match(name) or "\x00" in text:
            raise wrong(f'"{name[:60]}" cannot be used as an environment variable')
    return value


def _auth(value: Any) -> Any:
    if isinstance(value, str):
        if value != "oauth":
            raise wrong('expected "oauth", or a mapping with type: oauth; a fixed token goes into headers')
        return {}
    return value


class OAuthConfig(StrictModel):
    """How to sign in to a server with OAuth. All of it is optional if the server registers clients."""

    type: Literal["oauth"] = Field(default="oauth", description="The only kind.")
    client_id: str | None = Field(default=None, min_length=1, description="Of a manually registered client.")
    client_secret: str | None = Field(default=None, min_length=1, repr=False, description="The secret of client_id.")
    scopes: Names = Field(default=(), description="Scopes to request; default: what the server names.")
    redirect_uri: Annotated[str, AfterValidator(http_url)] | None = Field(
        default=None, description="As registered for client_id; default: /oauth/callback on this machine's own port."
    )

    @model_validator(mode="after")
    def _whole(self) -> "OAuthConfig":
        if self.client_secret is not None and self.client_id is None:
            raise wrong("client_secret needs a client_id")
        for scope in self.scopes:
            if not _SCOPE.match(scope):
                raise wrong(f'"{scope[:60]}" cannot be a scope: one word each, without quotes')
        return self


def _several_words(command: str) -> list[str]:
    """The words of a command line given as the program; none if a program has that very name, with spaces."""
    if " " not in command.strip() or Path(command).exists():
        return []
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


class ServerConfig(StrictModel):
    """One MCP server: a command to run (stdio) or a URL (sse, streamablehttp)."""

    name: str = Field(default="", exclude=True, description="Its key in servers.yaml.")
    type: Literal["stdio", "sse", "streamablehttp"] = Field(
        default="stdio", description="The transport; default: by command or url."
    )
    command: str | None = Field(default=None, description="stdio: the program to run.")
    args: Annotated[
        tuple[str, ...],
        BeforeValidator(texts),
        WithJsonSchema({"type": "array", "items": {"type": ["string", "number", "boolean"]}}),
    ] = Field(default=(), repr=False, description="stdio: its arguments.")
    env: Annotated[TextMap, AfterValidator(_variables)] = Field(
        default={}, repr=False, description="stdio: its environment variables, in addition to paths and locale."
    )
    cwd: str | None = Field(default=None, description="stdio: its working directory.")
    url: Annotated[str, AfterValidator(http_url)] | None = Field(
        default=None, repr=False, description="sse, streamablehttp: its address."
    )
    headers: Headers = Field(default={}, repr=False, description="Sent with every HTTP request to it.")
    auth: Annotated[OAuthConfig | None, BeforeValidator(_auth)] = Field(
        default=None,
        description="oauth: sign in with `openai-proxy mcp login NAME`.",
        json_schema_extra={"x-shorthand": {"const": "oauth"}},
    )
    description: str = Field(default="", description="For people.")
    enabled: Flag = Field(default=True, description="false: not started.")
    timeout: Seconds = Field(default=60, description="Seconds for one call.")
    start_timeout: Seconds = Field(default=START_TIMEOUT, description="Seconds until it must be ready.")
    whitelist: Globs | None = Field(default=None, description="Only these tools; null: all.")
    blacklist: Globs = Field(default=(), description="Never these tools.")
    pin: Flag = Field(default=False, description="Withhold changed tool definitions until accepted.")

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = without_nulls(data, "args", "env", "headers", "description", "blacklist")
        kind = data.get("type")
        if isinstance(kind, str):
            data["type"] = TRANSPORT_ALIASES.get(kind, kind)
        elif kind is None and ("command" in data) != ("url" in data):
            data["type"] = "stdio" if "command" in data else "streamablehttp"
        return data

    @model_validator(mode="after")
    def _whole(self) -> "ServerConfig":
        if "type" not in self.model_fields_set:  # with both or neither of them; either one alone determines it
            if self.command is not None:
                raise wrong("set either command (a program on this machine) or url (a remote server), not both")
            raise wrong("set command (a program to run) or url (the address of a server)")
        here, there = ("command", "url") if self.type == "stdio" else ("url", "command")
        if not getattr(self, here):
            raise wrong(f"a server of type {self.type} needs {here}")
        if self.command is not None and (words := _several_words(self.command)):
            first, *others = words
            raise wrong(f"command is only the program; write command: {first}, args: [{', '.join(others)}]")
        for key in (there, "headers", "auth") if here == "command" else (there, "args", "env", "cwd"):
            if getattr(self, key) not in (None, "", (), {}):
                raise wrong(f"a server of type {self.type} has no {key}")
        return self

    def identity(self) -> str:
        """A digest of what identifies this server: if it changes, a new process or connection is needed.

        Policy (filters, timeouts, description) is not part of it.
        """
        what: tuple[Any, ...] = (
            self.type, self.command, self.args, sorted(self.env.items()), self.cwd, self.url,
            sorted(self.headers.items()),
        )  # fmt: skip
        if self.auth is not None:  # pinned tools are stored under the digest from before `auth` existed
            what += ("oauth", self.auth.client_id, self.auth.client_secret)
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def secrets(self) -> Iterator[str]:
        """Its values that must not be written anywhere, judging by their names."""
        for name, value in self.env.items():
            if SECRET_NAME.search(name):
                yield value
        yield from header_secrets(self.headers)
        if self.auth is not None and self.auth.client_secret:
            yield self.auth.client_secret
        for name, value in parse_qsl(urlsplit(self.url or "").query):
            if SECRET_NAME.search(name):
                yield value
        for flag, value in zip(self.args, (*self.args[1:], ""), strict=False):
            if flag.startswith("-") and SECRET_NAME.search(flag):
                name, equals, own = flag.partition("=")
                if equals or not value.startswith("-"):
                    yield own if equals else value


class ServersFile(StrictModel):
    """The whole of servers.yaml."""

    servers: dict[str, ServerConfig] = Field(default={}, description="Name ([A-Za-z0-9_-], at most 32) -> server.")
