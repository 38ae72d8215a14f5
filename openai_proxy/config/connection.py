"""`connections:` of proxy.yaml: one upstream each."""

import re
from ipaddress import IPv4Address
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from openai_proxy.config.fields import (
    DottedPath,
    Flag,
    Headers,
    Key,
    Natural,
    Port,
    Positive,
    Seconds,
    StrictModel,
    http_url,
    one_or_many,
    wrong,
)

_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]?){5}[0-9a-f]{2}\Z", re.IGNORECASE)

ApiType = Literal["openai", "ollama", "anthropic", "google", "local", "echo"]
API_TYPE_ALIASES = {"open_ai": "openai", "google_ai_studio": "google"}
Api = Literal["auto", "chat", "responses"]
DEFAULT_BASES: dict[str, str] = {
    "openai": "https://api.openai.com/v1",
    "ollama": "http://127.0.0.1:11434",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
}
_DURATION = re.compile(r"-?(\d+(\.\d+)?(ns|us|ms|s|m|h)?)+")
CONNECTION_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z")
"""A dot would end the name in a route's `connection.model`, a colon in `connection:model`."""


def _split_names(value: Any) -> Any:
    return tuple(one_or_many(value)) if isinstance(value, str) else value


class ParamsConfig(StrictModel):
    """Changes to the parameters of a chat-like request: `drop`, `default`, `override`, `rename`, in this order.

    Nested members are written with dots (`stream_options.include_usage`).
    """

    default: dict[str, Any] = Field(default={}, description="Set if the request does not set it.")
    override: dict[str, Any] = Field(default={}, description="Set regardless of the request.")
    drop: Annotated[
        tuple[str, ...],
        BeforeValidator(_split_names),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = Field(default=(), description="Removed from the request.")
    rename: dict[str, str] = Field(
        default={}, description="Sent under another name: {max_tokens: max_completion_tokens}."
    )


class TimeoutConfig(StrictModel):
    """Seconds; null means no limit."""

    connect: Seconds | None = Field(default=10, description="To open a connection.")
    first_byte: Seconds | None = Field(
        default=300, description="From the end of the request to the first byte of the answer."
    )
    idle: Seconds | None = Field(default=120, description="Between two chunks of an answer.")
    total: Seconds | None = Field(default=None, description="For the whole exchange.")


def _or_none(value: Any) -> Any:
    return "none" if value is None or value is False else value


def _mac(value: str) -> str:
    """`value` as "aa:bb:cc:dd:ee:ff"."""
    value = value.strip()
    if not _MAC.match(value):
        raise wrong(f'"{value[:40]}" is not a MAC address: write six pairs of hex digits, such as aa:bb:cc:dd:ee:ff')
    digits = re.sub(r"[:-]", "", value).lower()
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def _ipv4(value: str) -> str:
    try:
        return str(IPv4Address(value.strip()))
    except ValueError:
        raise wrong(f'"{value[:40]}" is not an IPv4 address, such as 192.168.1.255') from None


class WakeConfig(StrictModel):
    """How to wake the machine of a connection (Wake-on-LAN)."""

    mac: Annotated[str, AfterValidator(_mac)] = Field(description="MAC address of its network card.")
    broadcast: Annotated[str, AfterValidator(_ipv4)] = Field(
        default="255.255.255.255", description="Where the packet is sent: the broadcast address of its network."
    )
    port: Annotated[Port, Field(ge=1)] = Field(default=9, description="The UDP port of the packet.")
    wait: Seconds = Field(default=120, description="Seconds a request waits for the machine to answer.")


def _timeout(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)  # from a variable
        except ValueError:
            raise wrong("expected a number of seconds, or {connect, first_byte, idle, total}") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"first_byte": value, "idle": value}
    return value


ENDPOINTS: Final = ("/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/api/chat")
"""Endings of URLs that people copy into api_base by mistake."""


def full_base(url: str) -> str:
    """A complete base URL: http(s), with a path ("/v1" by default), without a trailing slash."""
    url = http_url(url)
    parts = urlsplit(url)
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise wrong("a base URL cannot have a ? or # part")
    base = url.rstrip("/")
    for ending in ENDPOINTS:
        if parts.path.rstrip("/").endswith(ending):
            raise wrong(f"this is the address of one endpoint; write {base.removesuffix(ending)}, without {ending}")
    return base if parts.path.strip("/") else f"{base}/v1"


ENV: Final = "env"
NONE: Final = "none"


def proxy_setting(value: str) -> str:
    """`value` of `proxy:` if it is valid: env, none, or the URL of a proxy."""
    text = value.strip()
    return text.lower() or NONE if text.lower() in (ENV, NONE, "") else proxy_url(text)


def proxy_url(text: str) -> str:
    """`text` as the URL of a proxy, with or without credentials. Errors repeat neither."""
    text = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong("this is not a proxy URL: write http://host:port") from None
    if parts.scheme.startswith("socks"):
        raise wrong("SOCKS proxies are not supported: use an http:// or https:// proxy, or none")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.path.strip("/"):
        raise wrong("expected env, none, or the URL of a proxy such as http://192.168.1.1:3128")
    return text.rstrip("/")


def _keep_alive(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and not _DURATION.fullmatch(value)):
        raise wrong("expected seconds, or a duration such as 10m or 1h30m; -1 for ever")
    try:
        return float(value)  # from a variable, a number is text
    except (TypeError, ValueError):
        return value


KeepAlive = Annotated[str | int | float, BeforeValidator(_keep_alive)]


def _base(url: str) -> str:
    return full_base(url) if url else url


class ConnectionConfig(StrictModel):
    """One upstream. `api_key` is merged into `api_keys`; `api_base` is filled in and completed."""

    api_type: ApiType = Field(default="openai", description="The API the upstream speaks.")
    api: Api = Field(
        default="auto", description="openai: the API for chat requests; auto: Responses for models that require it."
    )
    api_base: Annotated[str, AfterValidator(_base)] = Field(
        default="", description="Its base URL; /v1 is added if it has no path."
    )
    api_key: Key | None = Field(default=None, repr=False, description="Its key; for several use api_keys.")
    api_keys: tuple[Key, ...] = Field(default=(), repr=False, description="Keys to rotate.")
    model: str = Field(default="", description="If set, replaces the model of every request on this connection.")
    forward_auth: Flag = Field(default=False, description="Send the caller's own bearer token upstream.")
    organization: str | None = Field(default=None, description="The OpenAI-Organization header.")
    project: str | None = Field(default=None, description="The OpenAI-Project header.")
    headers: Headers = Field(default={}, repr=False, description="Headers added to every request.")
    timeout: Annotated[
        TimeoutConfig,
        BeforeValidator(_timeout),
        Field(json_schema_extra={"x-shorthand": {"type": "number", "exclusiveMinimum": 0}}),
    ] = Field(default=TimeoutConfig(), description="Seconds. One number sets first_byte and idle.")
    max_retries: Annotated[Natural, Field(le=20)] = Field(default=2, description="Retries before the first byte.")
    params: ParamsConfig = Field(default=ParamsConfig(), description="Parameters of requests on this connection.")
    prompt_cache: Flag = Field(
        default=False, description="For plain models, too: move what changes every turn to the end of the prompt."
    )
    concurrency: Positive | None = Field(
        default=None, description="Maximum concurrent requests; others wait in line, by priority."
    )
    wake: WakeConfig | None = Field(default=None, description="Wake its machine if it cannot be reached.")
    proxy: Annotated[str, BeforeValidator(_or_none), AfterValidator(proxy_setting)] = Field(
        default=ENV,
        repr=False,
        description="env (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY), none, or http(s)://[user:password@]host:port.",
    )
    ca_file: str | None = Field(
        default=None, description="PEM file of your own certificate authority, in addition to the system's."
    )
    options: dict[str, Any] = Field(
        default={}, description="ollama: options for every request that does not set them, such as num_ctx."
    )
    keep_alive: KeepAlive | None = Field(
        default=None, description="ollama: how long a model stays loaded, in seconds or as 10m; -1 for ever."
    )
    path: str | None = Field(default=None, description="local: the directory of a transformers model.")
    callable: DottedPath | None = Field(default=None, description="local: module.function, in conf/ or on sys.path.")

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        api_type = data.get("api_type", "openai")
        if isinstance(api_type, str):
            api_type = data["api_type"] = API_TYPE_ALIASES.get(api_type, api_type)
        for empty in ("api_base", "api_key", "api_keys"):
            if data.get(empty, 0) is None:
                del data[empty]
        if data.get("model", 0) is None:
            data["model"] = ""
        return data

    @model_validator(mode="after")
    def _whole(self) -> "ConnectionConfig":
        if self.api_key and self.api_keys:
            raise wrong("set api_key or api_keys, not both")
        keys = (self.api_key,) if self.api_key else tuple(key for key in self.api_keys if key)
        if len(set(keys)) != len(keys):
            raise wrong("duplicate key in api_keys")
        # The only place where a frozen model is modified: shorthand becomes the full form.
        values = self.__dict__
        values["api_key"], values["api_keys"] = None, keys
        if self.api_type in DEFAULT_BASES:
            values["api_base"] = self.api_base or full_base(DEFAULT_BASES[self.api_type])
        if self.api_type == "ollama":
            # Its native API is at the root, beside the /v1 that people know.
            values["api_base"] = self.api_base.removesuffix("/v1").removesuffix("/api")
        elif self.options or self.keep_alive is not None:
            raise wrong("options and keep_alive are for connections with api_type: ollama")
        if self.api != "auto" and self.api_type != "openai":
            raise wrong("api is only for connections with api_type: openai")
        if self.api_type == "local" and (self.path is None) == (self.callable is None):
            raise wrong("a local connection needs either path (a model directory) or callable (module.function)")
        return self
