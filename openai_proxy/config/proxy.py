"""conf/proxy.yaml: the settings of the proxy."""

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
    Host,
    Key,
    Number,
    Port,
    Positive,
    Priority,
    Seconds,
    StrictModel,
    TextOrNames,
    checked_globs,
    client_key,
    matching,
    one_or_many,
    wrong,
)
from openai_proxy.config.problems import did_you_mean
from openai_proxy.config.storage import MEMORY, Storage
from openai_proxy.config.wyoming import WyomingConfig


@dataclass(frozen=True, slots=True)
class RouteRule:
    """Where a name goes: targets as `connection.model` (`*`: the requested name), tried by `policy`."""

    targets: tuple[str, ...]
    policy: Literal["ordered", "round_robin"] = "ordered"
    patience: tuple[float | None, ...] = ()  # seconds each target has for its first byte; empty: not set

    def first_byte(self, number: int) -> float | None:
        """The first-byte timeout of target `number`, if the rule sets one."""
        return self.patience[number] if self.patience else None


_TARGET_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "connection.model; * is the requested name"},
        {
            "type": "object",
            "properties": {
                "target": {"type": "string", "description": "connection.model; * is the requested name"},
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
        {"type": "string", "description": "connection.model; * is the requested name"},
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
                f'"{target[:80]}" is not a target: write connection.model, or connection.* for the requested name'
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
        raise wrong("first_byte: expected a number of seconds greater than 0")
    return seconds


Route = Annotated[RouteRule, BeforeValidator(_route), WithJsonSchema(_ROUTE_SCHEMA)]


Cost = Annotated[Number, Field(gt=0, le=1e9, allow_inf_nan=False)]
"""An amount of money."""

Rate = Annotated[Number, Field(ge=0, le=1e9, allow_inf_nan=False)]
"""The price of a million tokens."""


class GroupLimits(StrictModel):
    """What each key of a group may use; null means no limit."""

    requests_per_minute: Positive | None = Field(default=None, description="Requests per minute.")
    requests_per_day: Positive | None = Field(default=None, description="Requests per day.")
    tokens_per_minute: Positive | None = Field(default=None, description="Input and output tokens per minute.")
    tokens_per_day: Positive | None = Field(default=None, description="Input and output tokens per day.")
    cost_per_day: Cost | None = Field(default=None, description="Money per day, in `currency`.")
    cost_per_month: Cost | None = Field(default=None, description="Money per calendar month, in `currency`.")
    concurrent_requests: Positive | None = Field(default=None, description="Concurrent requests.")


ClientKey = Annotated[Key, AfterValidator(client_key)]
"""A client's key: plain, or `sha256:` and its hex digest."""


class GroupConfig(StrictModel):
    """Clients with the same permissions."""

    api_keys: tuple[ClientKey, ...] = Field(default=(), repr=False, description="Plain, or sha256: and 64 hex digits.")
    allowed_connections: TextOrNames = Field(default=("*",), description='Names, or "*".')
    allowed_models: Globs = Field(default=("*",), description="Names or globs.")
    limits: GroupLimits = Field(default=GroupLimits(), description="For each key of the group.")
    commands: Flag = Field(default=True, description="Whether these clients may use in-chat commands.")
    mcp: Globs = Field(
        default=(), description="MCP servers whose tools these clients see at /mcp; `tools`: those of conf/tools."
    )
    priority: Priority = Field(
        default="normal", description="Their place in line if a connection serves few requests at a time."
    )


class CommandsConfig(StrictModel):
    """In-chat commands."""

    enabled: Flag = Field(default=True, description="false: commands are treated as text.")
    prefix: Annotated[str, Field(min_length=1, max_length=16, pattern=r"^\S+$")] = Field(
        default="!/", description="The prefix of a command."
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


class CorsConfig(StrictModel):
    """Which web pages may use the API."""

    origins: Annotated[AutoOrNames, AfterValidator(_origins)] = Field(
        default="auto", description='auto, a list or "*".'
    )


def _hosts(value: Any) -> Any:
    for host in () if value == "auto" else value:
        if "/" in host:
            raise wrong(f'"{host[:80]}" is not a host name: write it without http:// and without a path')
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    result = []
    for text in value:
        try:
            result.append(str(ip_network(text.strip(), strict=False)))
        except ValueError:
            raise wrong(f'"{text[:60]}" is not a network: write an address or a network such as 10.0.0.0/8') from None
    return tuple(result)


class LimitsConfig(StrictModel):
    """Limits of the whole daemon."""

    max_body_mb: Annotated[Number, Field(gt=0, le=1_000_000)] = Field(
        default=100, description="Maximum size of a request."
    )
    max_concurrent_requests: Positive = Field(default=1000, description="Concurrent requests; further ones get a 503.")
    max_connections: Positive = Field(
        default=10_000, description="Client connections; fewer if the process may not open twice as many files."
    )
    max_connections_per_client: Positive = Field(
        default=2000, description="Connections per address; this machine and trusted_proxies are not limited."
    )
    max_bodies_mb: Annotated[Number, Field(gt=0, le=1_000_000)] = Field(
        default=400, description="All bodies being read or served at a time; further requests get a 503."
    )
    storage: Storage = Field(default=MEMORY, repr=False, description="Another name for the setting `storage`.")
    header_seconds: Seconds = Field(default=20, description="Seconds for a client to send the head of a request.")
    body_idle_seconds: Seconds = Field(default=15, description="Seconds between two chunks of a request's body.")
    body_bytes_per_second: Annotated[Number, Field(ge=0, le=1e9)] = Field(
        default=500,
        description="A slower client is disconnected after body_idle_seconds; 0: never.",
    )
    write_seconds: Seconds = Field(default=60, description="Seconds for a client to accept data that is sent to it.")
    drain_seconds: Annotated[Number, Field(ge=0, le=86_400)] = Field(
        default=30, description="Seconds that running requests have when the daemon stops."
    )


class PriceConfig(StrictModel):
    """Per million tokens."""

    input: Rate = Field(default=0, description="For input tokens.")
    cached_input: Rate | None = Field(default=None, description="Read from the provider's cache; default: as input.")
    cache_write: Rate | None = Field(default=None, description="Written to the provider's cache; default: as input.")
    output: Rate = Field(default=0, description="For output tokens.")
    reasoning: Rate | None = Field(default=None, description="For reasoning tokens; default: as output.")


_COLLECTOR = matching(r"https?://[^\s/?#]+(/[^\s?#]*)?", "the base URL of a collector, such as http://127.0.0.1:4318")


class TelemetryConfig(StrictModel):
    """OpenTelemetry: where spans and metrics are sent, by OTLP over HTTP."""

    endpoint: Annotated[str, _COLLECTOR] | None = Field(
        default=None, description="Base URL of a collector; null: only what OTEL_EXPORTER_OTLP_* set."
    )
    headers: Headers = Field(default={}, repr=False, description="Sent with every export, for instance a token.")
    content: Flag = Field(default=False, description="Also send prompts and answers.")


class LoggerConfig(StrictModel):
    """One additional logger."""

    class_: DottedPath = Field(alias="class", description="openai_proxy.loggers.JsonLogger or your own class.")
    file_name: str | None = Field(default=None, description="In the logs directory unless absolute.")
    entry: dict[str, str] = Field(default={}, description="Column: path into the record (request.model, group, ...).")


def _named(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not pattern.match(name):
                raise wrong(f'"{name[:60]}" cannot be used as a {what} name: use letters, digits, - and _, at most 64')
        return value

    return AfterValidator(check)


def _or_none(value: Any) -> Any:
    return None if value == "" else value


def _empty_maps(value: Any) -> Any:
    return {} if value is None else value


_MAP = BeforeValidator(_empty_maps)  # `connections:` with every line below it commented out


class ProxyConfig(StrictModel):
    """All of proxy.yaml, with the environment and flags applied."""

    host: Host = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104 - the local network must reach it
    port: Port = Field(default=8000, description="Port to listen on.")
    connections: Annotated[dict[str, ConnectionConfig], _MAP, _named(CONNECTION_NAME, "connection")] = Field(
        default={}, description="One upstream each."
    )
    default_connection: Annotated[str | None, BeforeValidator(_or_none)] = Field(
        default=None, description="For names that no rule matches; default: the only connection."
    )
    routing: Annotated[dict[str, Route], _MAP, AfterValidator(checked_globs)] = Field(
        default={}, description="Requested names or globs and their targets; the first match wins."
    )
    model_listing_mode: Literal["as_is", "ignore_wildcards", "expand_wildcards"] = Field(
        default="expand_wildcards",
        description="What /v1/models lists: all rules, those without globs, or what upstreams offer for them.",
    )
    model_listing_prefix: Flag = Field(default=False, description="List ids as connection:model.")
    groups: Annotated[dict[str, GroupConfig], _MAP] = Field(default={}, description="Clients and their permissions.")
    check_api_key: Annotated[DottedPath | None, BeforeValidator(_or_none)] = Field(
        default=None, description="callable(key) -> group name or None, in conf/ or on sys.path."
    )
    require_api_key: Flag = Field(default=False, description="true: require a key even if none is configured.")
    allow_unauthenticated_health: Flag = Field(default=True, description="Whether /health needs no key.")
    admin_api_keys: tuple[ClientKey, ...] = Field(
        default=(), repr=False, description="For /admin and signing in to the page; empty: only by `openai-proxy ui`."
    )
    params: Annotated[ParamsConfig, _MAP] = Field(default=ParamsConfig(), description="Parameters of every request.")
    execute_tools: Flag = Field(default=False, description="Also run a plain model's calls to tools that we have.")
    redact_api_keys_in_prompts: Flag = Field(
        default=True, description="Remove our own keys from prompts before they are sent upstream."
    )
    commands: Annotated[CommandsConfig, _MAP] = Field(default=CommandsConfig(), description="In-chat commands.")
    session_ttl: Seconds = Field(default=3600, description="Seconds for which an idle session is remembered.")
    cors: Annotated[CorsConfig, _MAP] = Field(default=CorsConfig(), description="Which web pages may use the API.")
    allowed_hosts: Annotated[AutoOrNames, AfterValidator(_hosts)] = Field(
        default="auto", description="Host names accepted while no keys are required."
    )
    allow_public_unauthenticated: Flag = Field(default=False, description="Serve anyone, including the internet.")
    trusted_proxies: Annotated[TextOrNames, AfterValidator(_networks)] = Field(
        default=(), description="Networks whose X-Forwarded-For is trusted."
    )
    limits: Annotated[LimitsConfig, _MAP] = Field(default=LimitsConfig(), description="Limits of the daemon.")
    storage: Storage = Field(
        default=MEMORY,
        repr=False,
        description="redis://... lets several daemons share their state.",
    )
    prices: Annotated[dict[str, PriceConfig], _MAP, AfterValidator(checked_globs)] = Field(
        default={}, description="Per million tokens, by model name or glob."
    )
    bundled_prices: Flag = Field(
        default=True, description="Use the bundled price data (in dollars) for models that `prices` does not list."
    )
    telemetry: Annotated[TelemetryConfig, _MAP] = Field(
        default=TelemetryConfig(), description="Spans and metrics for an OpenTelemetry collector."
    )
    currency: Annotated[
        str,
        Field(json_schema_extra={"pattern": r"^[A-Z]{3}$"}),
        matching(r"[A-Z]{3}", "the three letters of a currency, such as EUR"),
    ] = Field(default="USD", description="The currency of costs, prices and budgets (ISO 4217). Nothing is converted.")
    wyoming: WyomingConfig | None = Field(default=None, description="A port for voice satellites (Wyoming protocol).")
    log_retention_days: Positive | None = Field(default=30, description="Days to keep chat logs; null: forever.")
    loggers: tuple[LoggerConfig, ...] = Field(default=(), description="In addition to the chat logs.")

    @property
    def shared_storage(self) -> str:
        """Where shared state is kept, under either name of the setting."""
        return self.storage if self.storage != MEMORY else self.limits.storage
