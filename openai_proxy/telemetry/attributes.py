"""Names of the semantic conventions, and their values for a request.

https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.endpoints import Endpoint
from openai_proxy.secrets import vault

_BY_TYPE: Final = {"anthropic": "anthropic", "google": "gcp.gemini", "ollama": "ollama", "openai": "openai"}
_BY_HOST: Final = {
    "groq.com": "groq", "mistral.ai": "mistral_ai", "deepseek.com": "deepseek", "x.ai": "x_ai", "cohere.com": "cohere",
    "perplexity.ai": "perplexity", "openrouter.ai": "openrouter", "azure.com": "azure.ai.openai",
    "together.xyz": "together", "fireworks.ai": "fireworks", "googleapis.com": "gcp.gemini",
}  # fmt: skip
"""Providers with OpenAI's API, by the end of their host's name."""

_OPERATIONS: Final = {"completions": "text_completion", "embeddings": "embeddings", "embed_content": "embeddings",
                      "batch_embed_contents": "embeddings", "ollama/embed": "embeddings",
                      "ollama/embeddings": "embeddings"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProviderAddress:
    """A connection in the conventions' terms."""

    name: str
    address: str | None = None
    port: int | None = None

    @classmethod
    def of(cls, connection: str, config: ConnectionConfig | None) -> "ProviderAddress":
        """The provider behind a connection; a built-in one has no configuration."""
        if config is None:
            return cls(connection)
        try:
            url = urlsplit(config.api_base or "")
            host, port = url.hostname, url.port or (443 if url.scheme == "https" else 80)
        except ValueError:
            host, port = None, None
        name = _BY_TYPE.get(config.api_type, config.api_type)
        if config.api_type == "openai" and host is not None:
            name = next((known for end, known in _BY_HOST.items() if f".{host}".endswith(f".{end}")), name)
        return cls(name, host, port if host is not None else None)

    def attributes(self) -> dict[str, Any]:
        """As attributes."""
        found = {"gen_ai.provider.name": self.name, "server.address": self.address, "server.port": self.port}
        return {name: value for name, value in found.items() if value is not None}


def operation(endpoint: Endpoint) -> str:
    """`gen_ai.operation.name`: the operation requested of a provider."""
    if endpoint.commanded and endpoint.name != "completions":
        return "chat"
    return _OPERATIONS.get(endpoint.name, "chat" if endpoint.metered and endpoint.generates else endpoint.name)


def input_messages(messages: Any) -> str:
    """Chat messages as `gen_ai.input.messages`, without secrets."""
    found = [message for message in (messages if isinstance(messages, list) else ()) if isinstance(message, dict)]
    return _text([{"role": str(message.get("role") or "user"), "parts": _parts(message)} for message in found])


def output_messages(content: str | None, tool_calls: Any, finish: str | None) -> str:
    """An answer as `gen_ai.output.messages`, without secrets."""
    message = {"role": "assistant", "content": content, "tool_calls": tool_calls}
    return _text([{"role": "assistant", "parts": _parts(message), "finish_reason": finish or "stop"}])


def text_of(value: Any) -> str:
    """Arguments or a result of a tool, without secrets."""
    return vault.scrub(value) if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    try:
        return vault.scrub(orjson.dumps(value, default=str).decode())
    except TypeError:  # text that is not UTF-8, or numbers beyond 64 bits
        return vault.scrub(repr(value))


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content, parts = message.get("content"), list[dict[str, Any]]()
    if message.get("role") == "tool":
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
    if isinstance(content, str) and content:
        parts.append({"type": "text", "content": content})
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict):
            text = part.get("text")
            kind = str(part.get("type"))
            parts.append({"type": "text", "content": text} if isinstance(text, str) else {"type": kind})
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            function = call.get("function") if isinstance(call.get("function"), dict) else call
            assert isinstance(function, dict)
            parts.append(
                {"type": "tool_call", "id": call.get("id"), "name": function.get("name"),
                 "arguments": function.get("arguments")}
            )  # fmt: skip
    return parts
