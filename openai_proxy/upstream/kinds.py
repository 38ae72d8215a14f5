"""A provider for each api_type that is not plain OpenAI. Each kind is imported when the first connection needs it."""

from collections.abc import Callable
from pathlib import Path

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.upstream.provider import Provider
from openai_proxy.upstream.translating import Ask


def make_provider(
    name: str, config: ConnectionConfig, ask: Callable[[], Ask], search: Path | None = None
) -> Provider | None:
    """The provider for `config`; None where it is a plain OpenAI connection.

    `ask` gives the `send` of a plain connection to the same address: the kinds that speak HTTP go through it, so pool,
    timeouts, the connection's own headers and every fault of the wire are the same for all. `search` is the folder
    (conf/) in which a `callable` is looked up first.
    """
    if config.api_type == "echo":
        from openai_proxy.upstream.echo import EchoProvider

        return EchoProvider(name)
    if config.api_type == "anthropic":
        from openai_proxy.upstream.anthropic import AnthropicProvider

        return AnthropicProvider(name, ask(), keys=config.api_keys, forward_auth=config.forward_auth)
    if config.api_type == "google":
        from openai_proxy.upstream.google import GoogleProvider

        return GoogleProvider(name, ask(), keys=config.api_keys)
    if config.api_type == "local":
        from openai_proxy.upstream.local.provider import LocalProvider

        return LocalProvider(
            name,
            path=config.path,
            function=config.callable,
            search=search,
            model=config.model,
            first_byte=config.timeout.first_byte,
            idle=config.timeout.idle,
        )
    return None
