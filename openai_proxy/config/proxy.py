"""conf/proxy.yaml: the settings of the house."""

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from openai_proxy.config.connection import CONNECTION_NAME, ConnectionConfig, ParamsConfig
from openai_proxy.config.fields import (
    DottedPath,
    Flag,
    Globs,
    Headers,
    Key,
    Number,
    Port,
    Positive,
    Priority,
    Seconds,
    Strict,
    TextOrNames,
    client_key,
    glob_trouble,
    one_or_many,
    wrong,
)
from openai_proxy.config.problems import did_you_mean
from openai_proxy.config.storage import MEMORY, Storage
from openai_proxy.config.wyoming import WyomingConfig


@dataclass(frozen=True, slots=True)
class RouteRule:
    """Where a name goes: targets as `connection.model` (`*`: the name as asked), tried by `policy`."""

    targets: tuple[str, ...]
    policy: Literal["ordered", "round_robin"] = "ordered"
    patience: tuple[float | None, ...] = ()  # seconds each target has for its first byte; empty: none says

    def first_byte(self, number: int) -> float | None:
        """The patience with target `number`, where the rule says it."""
        return self.patience[number] if self.patience else None


_TARGET_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "connection.model; * is the name as asked"},
        {
            "type": "object",
            "properties": {
                "target": {"type": "string", "description": "connection.model; * is the name as asked"},
                "first_byte": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "seconds until its answer begins",
                },
            },
            "required": ["target"],
            "additionalProperties": False,
        },
    ]
}
_TARGETS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "connection.model; * is the name as asked"},
        {"type": "array", "items": _TARGET_SCHEMA, "minItems": 1, "description": "in turn, until one answers"},
    ]
}
_ROUTE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        *_TARGETS_SCHEMA["anyOf"],
        {
            "type": "object",
            "properties": {"targets": _TARGETS_SCHEMA, "policy": {"enum": ["ordered", "round_robin"]}},
            "required": ["targets"],
            "additionalProperties": False,
        },
    ]
}


def _route(value: Any) -> Any:
    if isinstance(value, RouteRule):
        return value
    policy: Any = "ordered"
    targets = value
    if isinstance(value, dict):
        unknown = [key for key in value if key not in ("targets", "policy")]
        if unknown:
            near = did_you_mean(unknown[0], ("targets", "policy")) or " (a route has targets and policy)"
            raise wrong(f'unknown key "{unknown[0][:80]}"{near}')
        targets, policy = value.get("targets"), value.get("policy", "ordered")
    if policy not in ("ordered", "round_robin"):
        raise wrong("policy: expected ordered or round_robin")
    if isinstance(targets, str):
        targets = one_or_many(targets)
    if isinstance(targets, dict):
        targets = [targets]
    if not isinstance(targets, list | tuple) or not targets or not all(isinstance(t, str | dict) for t in targets):
        raise wrong('expected "connection.model", a list of these, or {targets: [...], policy: ...}')
    patience = tuple(_patience(target) if isinstance(target, dict) else None for target in targets)
    targets = [target["target"] if isinstance(target, dict) else target for target in targets]
    for target in targets:
        connection, dot, model = target.partition(".")
        if not dot or not connection or not model:
            raise wrong(
                f'"{target[:80]}" is not a target: write connection.model, or connection.* for the name as asked'
            )
    return RouteRule(tuple(targets), policy, patience if any(patience) else ())


def _patience(target: dict[str, Any]) -> float | None:
    """`first_byte` of a target written as a mapping."""
    unknown = [key for key in target if key not in ("target", "first_byte")]
    if unknown:
        raise wrong(f'unknown key "{unknown[0][:80]}" (a target has target and first_byte)')
    if not isinstance(target.get("target"), str):
        raise wrong("a target written as a mapping needs target: connection.model")
    seconds = target.get("first_byte")
    if isinstance(seconds, str):
        try:
            seconds = float(seconds)  # from a variable
        except ValueError:
            raise wrong("first_byte: expected a number of seconds") from None
    if seconds is not None and (not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0):
        raise wrong("first_byte: expected a number of seconds, more than 0")
    return seconds


Route = Annotated[RouteRule, BeforeValidator(_route), WithJsonSchema(_ROUTE_SCHEMA)]


Cost = Annotated[Number, Field(gt=0, le=1e9, allow_inf_nan=False)]
"""An amount of money."""

Rate = Annotated[Number, Field(ge=0, le=1e9, allow_inf_nan=False)]
"""What a million tokens cost."""


class GroupLimits(Strict):
    """What each key of a group may use; null is no limit."""

    requests_per_minute: Positive | None = Field(default=None, description="Requests in any minute.")
    requests_per_day: Positive | None = Field(default=None, description="Requests in any day.")
    tokens_per_minute: Positive | None = Field(default=None, description="Tokens, read and written, in any minute.")
    tokens_per_day: Positive | None = Field(default=None, description="Tokens, read and written, in any day.")
    cost_per_day: Cost | None = Field(default=None, description="Money in any day, in `currency`.")
    cost_per_month: Cost | None = Field(default=None, description="Money in any calendar month, in `currency`.")
    concurrent_requests: Positive | None = Field(default=None, description="Requests at the same time.")


ClientKey = Annotated[Key, AfterValidator(client_key)]
"""A client's key: plain, or `sha256:` and the hex digest of it."""


class GroupConfig(Strict):
    """Clients who may do the same."""

    api_keys: tuple[ClientKey, ...] = Field(default=(), repr=False, description="Plain, or sha256: and 64 hex digits.")
    allowed_connections: TextOrNames = Field(default=("*",), description='Names, or "*".')
    allowed_models: Globs = Field(default=("*",), description="Names or globs.")
    limits: GroupLimits = Field(default=GroupLimits(), description="For each key of the group.")
    commands: Flag = Field(default=True, description="May these clients use in-chat commands?")
    mcp: Globs = Field(
        default=(), description="MCP servers whose tools these clients see at /mcp; `tools`: those of conf/tools."
    )
    priority: Priority = Field(default="normal", description="Before whom they are served, where a line forms.")


class CommandsConfig(Strict):
    """In-chat commands."""

    enabled: Flag = Field(default=True, description="false: what looks like a command is text.")
    prefix: Annotated[str, Field(min_length=1, max_length=16, pattern=r"^\S+$")] = Field(
        default="!/", description="What a command begins with."
    )
    interactive: Flag = Field(default=False, description="Confirm in the answer what a command did.")


def _auto_or_many(value: Any) -> Any:
    return value if value == "auto" else one_or_many(value)


AutoOrNames = Annotated[
    Literal["auto"] | tuple[str, ...],
    BeforeValidator(_auto_or_many),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "default": "auto"}),
]


def _origins(value: Any) -> Any:
    for origin in () if value == "auto" else value:
        if origin not in ("*", "null") and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+", origin):
            raise wrong(f'"{origin[:80]}" is not an origin: write scheme://host[:port], without a path')
    return value


class CorsConfig(Strict):
    """Which web pages may ask."""

    origins: Annotated[AutoOrNames, AfterValidator(_origins)] = Field(
        default="auto", description='auto, a list or "*".'
    )


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    result = []
    for text in value:
        try:
            result.append(str(ip_network(text.strip(), strict=False)))
        except ValueError:
            raise wrong(f'"{text[:60]}" is not a network: write an address or a network such as 10.0.0.0/8') from None
    return tuple(result)


class LimitsConfig(Strict):
    """Bounds of the whole daemon."""

    max_body_mb: Annotated[Number, Field(gt=0, le=1_000_000)] = Field(default=100, description="Of a request.")
    max_concurrent_requests: Positive = Field(default=1000, description="Requests at the same time; more get a 503.")
    max_connections: Positive = Field(
        default=10_000, description="Of clients; fewer where the process may not open twice as many files."
    )
    max_connections_per_client: Positive = Field(
        default=2000, description="Of one address; this machine's and those of trusted_proxies have no such limit."
    )
    max_bodies_mb: Annotated[Number, Field(gt=0, le=1_000_000)] = Field(
        default=400, description="Of all bodies that are being read or served at a time; more get a 503."
    )
    storage: Storage = Field(default=MEMORY, repr=False, description="Another name for the setting `storage`.")
    header_seconds: Seconds = Field(default=20, description="For a client to send the head of a request.")
    body_idle_seconds: Seconds = Field(default=15, description="Between two pieces of a request's body.")
    body_bytes_per_second: Annotated[Number, Field(ge=0, le=1e9)] = Field(
        default=500,
        description="A client that sends a body more slowly, after body_idle_seconds, is cut off; 0: never.",
    )
    write_seconds: Seconds = Field(default=60, description="For a client to take what it is sent.")
    drain_seconds: Annotated[Number, Field(ge=0, le=86_400)] = Field(default=30, description="For requests at stop.")


class PriceConfig(Strict):
    """Per million tokens."""

    input: Rate = Field(default=0, description="For tokens that are read.")
    cached_input: Rate | None = Field(default=None, description="Read from the provider's cache; default: as input.")
    cache_write: Rate | None = Field(default=None, description="Put into the provider's cache; default: as input.")
    output: Rate = Field(default=0, description="For tokens that are written.")
    reasoning: Rate | None = Field(default=None, description="Written while thinking; default: as output.")


def _collector(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value):
        raise wrong("expected the base URL of a collector, such as http://127.0.0.1:4318")
    return value


class TelemetryConfig(Strict):
    """OpenTelemetry: where spans and metrics go, by OTLP over HTTP."""

    endpoint: Annotated[str, AfterValidator(_collector)] | None = Field(
        default=None, description="Base URL of a collector; null: only what OTEL_EXPORTER_OTLP_* say."
    )
    headers: Headers = Field(default={}, repr=False, description="Sent along, a token for instance.")
    content: Flag = Field(default=False, description="Also send what was asked and answered.")


class LoggerConfig(Strict):
    """One more logger."""

    class_: DottedPath = Field(alias="class", description="openai_proxy.loggers.JsonLogger or a class of your own.")
    file_name: str | None = Field(default=None, description="In the logs directory unless absolute.")
    entry: dict[str, str] = Field(default={}, description="Column: path into the record (request.model, group, ...).")


def _named(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not pattern.match(name):
                raise wrong(f'"{name[:60]}" cannot be used as a {what} name: use letters, digits, - and _, at most 64')
        return value

    return AfterValidator(check)


def _glob_keys(value: dict[str, Any]) -> dict[str, Any]:
    for pattern in value:
        if (trouble := glob_trouble(pattern)) is not None:
            raise wrong(trouble)
    return value


def _or_none(value: Any) -> Any:
    return None if value == "" else value


def _empty_maps(value: Any) -> Any:
    return {} if value is None else value


def _host(value: str) -> str:
    if re.fullmatch(r"[^:\[\]]+:\d+|\[.*\]:\d+", value):
        raise wrong("an address without its port: that belongs into `port`")
    if "/" in value or re.search(r"\s", value):
        raise wrong("expected an address or a host name, without http:// and without a path")
    return value


def _currency(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise wrong("expected the three letters of a currency, such as EUR")
    return value


Host = Annotated[
    str, Field(min_length=1, max_length=253, json_schema_extra={"pattern": r"^[^\s/]+$"}), AfterValidator(_host)
]
_MAP = BeforeValidator(_empty_maps)  # `connections:` with every line below it commented out


class ProxyConfig(Strict):
    """All of proxy.yaml, with the environment and flags laid over it."""

    host: Host = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104 - a house is a network
    port: Port = Field(default=8000, description="Port to listen on.")
    connections: Annotated[dict[str, ConnectionConfig], _MAP, _named(CONNECTION_NAME, "connection")] = Field(
        default={}, description="One upstream each."
    )
    default_connection: Annotated[str | None, BeforeValidator(_or_none)] = Field(
        default=None, description="For what no rule matches; the only connection if there is one."
    )
    routing: Annotated[dict[str, Route], _MAP, AfterValidator(_glob_keys)] = Field(
        default={}, description="Asked-for names or globs and where they go; the first match wins."
    )
    model_listing_mode: Literal["as_is", "ignore_wildcards", "expand_wildcards"] = Field(
        default="expand_wildcards",
        description="What /v1/models lists: all rules, those without globs, or what upstreams offer for them.",
    )
    model_listing_prefix: Flag = Field(default=False, description="List ids as connection:model.")
    groups: Annotated[dict[str, GroupConfig], _MAP] = Field(default={}, description="Clients and what they may do.")
    check_api_key: Annotated[DottedPath | None, BeforeValidator(_or_none)] = Field(
        default=None, description="callable(key) -> group name or None, in conf/ or on sys.path."
    )
    require_api_key: Flag = Field(default=False, description="true: require a key even where none is listed.")
    allow_unauthenticated_health: Flag = Field(default=True, description="May anybody ask /health?")
    admin_api_keys: tuple[ClientKey, ...] = Field(
        default=(), repr=False, description="For /admin and to sign in to the page; empty: only by `openai-proxy ui`."
    )
    params: Annotated[ParamsConfig, _MAP] = Field(default=ParamsConfig(), description="Parameters of every request.")
    execute_tools: Flag = Field(default=False, description="Also run a plain model's calls to tools we have.")
    redact_api_keys_in_prompts: Flag = Field(
        default=True, description="Take our own keys out of prompts before they go upstream."
    )
    commands: Annotated[CommandsConfig, _MAP] = Field(default=CommandsConfig(), description="In-chat commands.")
    session_ttl: Seconds = Field(default=3600, description="Seconds a silent session is remembered.")
    cors: Annotated[CorsConfig, _MAP] = Field(default=CorsConfig(), description="Which web pages may ask.")
    allowed_hosts: AutoOrNames = Field(default="auto", description="Host names served when no keys are required.")
    allow_public_unauthenticated: Flag = Field(default=False, description="Serve anyone, also from the internet.")
    trusted_proxies: Annotated[TextOrNames, AfterValidator(_networks)] = Field(
        default=(), description="Networks whose X-Forwarded-For is believed."
    )
    limits: Annotated[LimitsConfig, _MAP] = Field(default=LimitsConfig(), description="Bounds of the daemon.")
    storage: Storage = Field(
        default=MEMORY,
        repr=False,
        description="redis://... lets several daemons share their state.",
    )
    prices: Annotated[dict[str, PriceConfig], _MAP, AfterValidator(_glob_keys)] = Field(
        default={}, description="Per million tokens, by model name or glob."
    )
    bundled_prices: Flag = Field(
        default=True, description="Where `prices` says nothing, the price data that come with the program (in dollars)."
    )
    telemetry: Annotated[TelemetryConfig, _MAP] = Field(
        default=TelemetryConfig(), description="Spans and metrics for a collector of OpenTelemetry."
    )
    currency: Annotated[str, Field(json_schema_extra={"pattern": r"^[A-Z]{3}$"}), AfterValidator(_currency)] = Field(
        default="USD", description="What costs, prices and budgets are in (ISO 4217). Nothing is converted."
    )
    wyoming: WyomingConfig | None = Field(default=None, description="A port for voice satellites (Wyoming protocol).")
    log_retention_days: Positive | None = Field(default=30, description="null: for ever.")
    loggers: tuple[LoggerConfig, ...] = Field(default=(), description="Besides the chat logs.")

    @property
    def shared_storage(self) -> str:
        """Where shared state is kept, by whichever name it was set."""
        return self.storage if self.storage != MEMORY else self.limits.storage
