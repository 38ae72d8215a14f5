"""Reads other proxies' configurations into a Draft: lm-proxy's TOML, config.json with primary_backends, LiteLLM's YAML.

lm-proxy: https://github.com/Nayjest/lm-proxy; LiteLLM: https://docs.litellm.ai/docs/proxy/config_settings.
"""

from collections.abc import Mapping
from typing import Any

from openai_proxy.cli.draft import Draft, literal
from openai_proxy.errors import BadRequest
from openai_proxy.globs import is_glob

Document = Mapping[str, Any]


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _rows(value: Any) -> list[dict[str, Any]]:
    return [_table(row) for row in value] if isinstance(value, list) else []


def _rest(draft: Draft, where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for name in table:
        if name not in known:
            draft.lose(f"{where}.{name}" if where else str(name), "it has no equivalent here")


# -- lm-proxy ----

_LM_TYPES = {
    "open_ai": "openai", "openai": "openai", "anthropic": "anthropic", "google_ai_studio": "google", "google": "google",
}  # fmt: skip


def lm_proxy(document: Document, draft: Draft) -> None:
    """lm-proxy's config.toml."""
    for name in ("host", "port", "model_listing_mode"):
        if name in document:
            draft.settings[name] = literal(document[name])
    names: dict[str, str] = {}
    for name, value in _table(document.get("connections")).items():
        table, where = _table(value), f"connections.{name}"
        api_type = _LM_TYPES.get(str(table.get("api_type", "open_ai")).lower())
        if api_type is None:
            draft.lose(where, f"api_type {table.get('api_type')!r} is not supported; see api_type: local")
            continue
        ours = names[name] = draft.name(name)
        members: dict[str, Any] = {"api_type": api_type}
        if base := table.get("api_base"):
            members["api_base"] = literal(str(base))
        if (key := draft.secret(table.get("api_key"), f"{where}.api_key")) is not None:
            members["api_key"] = key
        draft.connections[ours] = members
        draft.comments[ours] = f"[{where}]"
        _rest(draft, where, table, {"api_type", "api_base", "api_key"})
    for pattern, target in _table(document.get("routing")).items():
        targets = [target] if isinstance(target, str) else target
        if not isinstance(targets, list) or not all(isinstance(t, str) and "." in t for t in targets):
            draft.lose(f"routing.{pattern}", "only connection.model, or a list of these, can be carried over")
            continue
        known = [f"{names[c]}.{m}" for c, _, m in (t.partition(".") for t in targets) if c in names]
        if len(known) < len(targets):
            draft.lose(f"routing.{pattern}", "its connection was not carried over")
        if known:
            draft.routing[pattern] = literal(known[0] if len(known) == 1 else known)
    for name, value in _table(document.get("groups")).items():
        table, where = _table(value), f"groups.{name}"
        keys = [draft.client_key(key, f"{where}.api_keys") for key in table.get("api_keys") or ()]
        group: dict[str, Any] = {"api_keys": [key for key in keys if key]}
        allowed = table.get("allowed_connections", "*")
        wanted = [x.strip() for x in allowed.split(",")] if isinstance(allowed, str) else list(allowed)
        if wanted != ["*"]:
            group["allowed_connections"] = [names[x] for x in wanted if x in names]
        draft.groups[name] = group
        _rest(draft, where, table, {"api_keys", "allowed_connections"})
    _lm_loggers(document, draft)
    check = document.get("api_key_check", document.get("check_api_key"))
    if isinstance(check, str) and not check.startswith("lm_proxy."):
        draft.lose("check_api_key", f"put the module of {check} into conf/ and write check_api_key: {check}")
    elif isinstance(check, Mapping):
        draft.lose("api_key_check", "a validator must be a function: check_api_key: module.function")
    _rest(draft, "", document, {"host", "port", "model_listing_mode", "connections", "routing", "groups", "loggers",
                                "api_key_check", "check_api_key"})  # fmt: skip


def _lm_loggers(document: Document, draft: Draft) -> None:
    kept = []
    for number, logger in enumerate(_rows(document.get("loggers"))):
        writer = _table(logger.get("log_writer"))
        file = writer.get("file_name")
        if not str(writer.get("class", "")).endswith("JsonLogWriter") or not isinstance(file, str):
            draft.lose(f"loggers[{number}]", "only JSON files can be carried over; see loggers in the README")
            continue
        kept.append({"class": "openai_proxy.loggers.JsonLogger", "file_name": file.rpartition("/")[2]})
        if logger.get("entry_transformer"):
            draft.lose(f"loggers[{number}].entry_transformer", "write its columns as entry: {column: path}")
    if kept:
        draft.settings["loggers"] = literal(kept)


# -- config.json with primary_backends ----


def primary_backends(document: Document, draft: Draft) -> None:
    """A config.json: requests go to its `primary_backends`, by default to the first."""
    settings = _table(document.get("settings"))
    timeout = settings.get("timeout")
    names = []
    for number, table in enumerate(_rows(document.get("primary_backends"))):
        where = f"primary_backends[{number}]"
        base = table.get("url") or table.get("base_url") or table.get("api_base")
        if not isinstance(base, str):
            draft.lose(where, "it has no url")
            continue
        name = draft.name(str(table.get("name") or f"backend-{number + 1}"))
        members: dict[str, Any] = {"api_base": literal(base)}
        if model := table.get("model"):
            members["model"] = literal(str(model))
        key = draft.secret(table.get("api_key") or table.get("key"), f"{where}.api_key")
        if key is not None:
            members["api_key"] = key
        else:
            members["forward_auth"] = True
        if isinstance(timeout, int | float):
            members["timeout"] = timeout
        draft.connections[name] = members
        draft.comments[name] = where
        names.append(name)
        _rest(draft, where, table, {"name", "url", "base_url", "api_base", "model", "api_key", "key"})
    if names:
        draft.settings["default_connection"] = names[0]
    if len(names) > 1:
        draft.routing["*"] = [f"{name}.*" for name in names]
        draft.lose("primary_backends", "they are tried in turn until one answers, not all at once")
    _rest(draft, "settings", settings, {"timeout"})
    _rest(draft, "", document, {"primary_backends", "settings"})


# -- LiteLLM ----

_PROVIDERS: dict[str, tuple[str, str | None, str | None]] = {
    "openai": ("openai", None, "OPENAI_API_KEY"),
    "text-completion-openai": ("openai", None, "OPENAI_API_KEY"),
    "anthropic": ("anthropic", None, "ANTHROPIC_API_KEY"),
    "gemini": ("google", None, "GEMINI_API_KEY"),
    "openrouter": ("openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "groq": ("openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": ("openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": ("openai", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "xai": ("openai", "https://api.x.ai/v1", "XAI_API_KEY"),
    "together_ai": ("openai", "https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("openai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "perplexity": ("openai", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "ollama": ("ollama", "http://localhost:11434", None),
    "ollama_chat": ("ollama", "http://localhost:11434", None),
    "lm_studio": ("openai", "http://localhost:1234/v1", None),
    "hosted_vllm": ("openai", None, None),
    "openai_like": ("openai", None, None),
    "custom_openai": ("openai", None, None),
}
"""LiteLLM's provider prefix -> our api_type, its base, and the variable from which LiteLLM takes its key."""


_FOREIGN = frozenset(
    {"azure", "azure_ai", "bedrock", "vertex_ai", "vertex_ai_beta", "sagemaker", "cohere", "huggingface", "replicate",
     "watsonx", "databricks", "cloudflare", "nlp_cloud", "predibase", "triton", "palm", "petals", "oci", "snowflake"}
)  # fmt: skip
"""Providers with an API of their own, whatever their base."""


class _LiteLLM:
    def __init__(self, document: Document, draft: Draft) -> None:
        self.document, self.draft = document, draft
        self.made: dict[tuple[Any, ...], str] = {}
        self.settings = _table(document.get("litellm_settings"))
        self.router = _table(document.get("router_settings"))
        self.general = _table(document.get("general_settings"))

    def read(self) -> None:
        draft = self.draft
        routes: dict[str, list[str]] = {}
        for number, row in enumerate(_rows(self.document.get("model_list"))):
            name = row.get("model_name")
            target = self.deployment(row, f"model_list[{number}]")
            if isinstance(name, str) and target is not None:
                routes.setdefault(name, []).append(target)
            _rest(draft, f"model_list[{number}]", row, {"model_name", "litellm_params"})
        fallbacks = self.fallbacks()
        for name in sorted(routes, key=is_glob):  # LiteLLM prefers exact names
            targets = list(dict.fromkeys(routes[name]))
            more = [t for other in fallbacks.get(name, ()) for t in routes.get(other, ()) if t not in targets]
            if len(targets) > 1 and not more:
                draft.routing[name] = {"targets": literal(targets), "policy": "round_robin"}
            else:
                if len(targets) > 1:
                    draft.lose(f"model_name {name}", "tried in turn, not shuffled, because it has fallbacks")
                targets += dict.fromkeys(more)
                draft.routing[name] = literal(targets[0] if len(targets) == 1 else targets)
        if (key := draft.client_key(self.general.get("master_key"), "general_settings.master_key")) is not None:
            draft.groups["default"] = {"api_keys": [key]}
            draft.settings["admin_api_keys"] = [key]
        self.rest()

    def deployment(self, row: dict[str, Any], where: str) -> str | None:
        """The target of one deployment; creates its connection if needed."""
        draft, params = self.draft, _table(row.get("litellm_params"))
        text = str(params.get("model") or "")
        prefix, slash, model = text.partition("/")
        provider = str(params.get("custom_llm_provider") or (prefix if slash and prefix in _PROVIDERS else ""))
        if not provider:
            if slash and (prefix in _FOREIGN or not params.get("api_base")):
                draft.lose(where, f"the provider of {text} is not supported")
                return None
            provider, model = "openai", text
        if provider not in _PROVIDERS:
            draft.lose(where, f"the provider {provider} is not supported")
            return None
        api_type, base, variable = _PROVIDERS[provider]
        given = params.get("api_base") or params.get("base_url") or base
        if isinstance(given, str) and given.startswith("os.environ/"):
            given = draft.secret(given, f"{where}.api_base")
            if given is not None and given.endswith(":-}"):
                draft.lose(f"{where}.api_base", "its address is in a variable that is not set")
                return None
        raw = params.get("api_key") or (f"os.environ/{variable}" if variable is not None else None)
        limit = params.get("timeout", self.settings.get("request_timeout", self.router.get("timeout")))
        retries = self.router.get("num_retries", self.settings.get("num_retries"))
        identity = (provider, given, raw, params.get("organization"), limit)
        if identity not in self.made:
            name = self.made[identity] = draft.name(provider)
            members: dict[str, Any] = {"api_type": api_type}
            if given:
                members["api_base"] = given
            if (key := draft.secret(raw, f"{where}.api_key")) is not None:
                members["api_key"] = key
            if params.get("organization"):
                members["organization"] = literal(params["organization"])
            if isinstance(limit, int | float):
                members["timeout"] = limit
            if isinstance(retries, int):
                members["max_retries"] = min(retries, 20)
            draft.connections[name] = members
            draft.comments[name] = where
        known = {"model", "custom_llm_provider", "api_base", "base_url", "api_key", "organization", "timeout"}
        _rest(draft, f"{where}.litellm_params", params, known)
        requested = str(row.get("model_name") or "")
        if "*" in model:
            if requested != "*" and requested != model:
                draft.lose(where, f"{requested} is sent on with its prefix; ask for {self.made[identity]}:… instead")
            model = "*"
        return f"{self.made[identity]}.{model}" if model else None

    def fallbacks(self) -> dict[str, list[str]]:
        """model_name -> the names tried after it."""
        found: dict[str, list[str]] = {}
        for place in (self.settings, self.router):
            for row in _rows(place.get("fallbacks")):
                for name, others in row.items():
                    found.setdefault(name, []).extend(x for x in others or () if isinstance(x, str))
            for kind in ("context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks"):
                if place.get(kind):
                    self.draft.lose(
                        kind, "a refused prompt is reported to the caller; only failures fall back to the next target"
                    )
        return found

    def rest(self) -> None:
        refusals = {"fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks"}
        _rest(self.draft, "litellm_settings", self.settings, refusals | {"request_timeout", "num_retries"})
        strategy = self.router.get("routing_strategy")
        if strategy not in (None, "simple-shuffle"):
            self.draft.lose(
                "router_settings.routing_strategy", f"{strategy} is not supported; use ordered or round_robin"
            )
        _rest(self.draft, "router_settings", self.router, refusals | {"timeout", "num_retries", "routing_strategy"})
        _rest(self.draft, "general_settings", self.general, {"master_key"})
        _rest(self.draft, "", self.document, {"model_list", "litellm_settings", "router_settings", "general_settings"})


def litellm(document: Document, draft: Draft) -> None:
    """LiteLLM's config.yaml."""
    _LiteLLM(document, draft).read()


def read(document: Any, draft: Draft) -> str:
    """Read `document` into `draft`; returns which program it belongs to. Raises BadRequest."""
    if isinstance(document, Mapping):
        if "model_list" in document:
            litellm(document, draft)
            return "LiteLLM"
        if "primary_backends" in document:
            primary_backends(document, draft)
            return "config.json with primary_backends"
        if "connections" in document:
            lm_proxy(document, draft)
            return "lm-proxy"
    raise BadRequest(
        "not a configuration that can be imported: lm-proxy's TOML (connections), "
        "config.json (primary_backends), LiteLLM's YAML (model_list), MCP servers (mcpServers)"
    )
