"""Creates providers for the configured connections, and keeps what survives an edit."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.upstream.lessons import LessonTable
from openai_proxy.upstream.openai import OpenAIProvider
from openai_proxy.upstream.origin import Origin
from openai_proxy.upstream.pool import Pool
from openai_proxy.upstream.provider import Provider
from openai_proxy.upstream.watch import Watch

Key = tuple[str, Origin]


class Providers:
    """Creates providers for each configuration; HTTP pools and unchanged providers are reused by the next.

    Lives as long as the process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, config_dir: Path, lessons: LessonTable | None = None) -> None:
        self._config_dir = config_dir  # where a local connection's callable may be
        self._loop = loop
        self.lessons = lessons or LessonTable()
        self.watch = Watch(loop)
        self._pools: dict[Key, Pool] = {}
        self._present: dict[str, tuple[ConnectionConfig, Provider]] = {}

    def build(self, connections: Mapping[str, ConnectionConfig]) -> dict[str, Provider]:
        """Providers for `connections`; those whose configuration is unchanged are reused."""
        built: dict[str, Provider] = {}
        for name, config in connections.items():
            present = self._present.get(name)
            built[name] = present[1] if present is not None and present[0] == config else self._make(name, config)
        return built

    def adopt(self, connections: Mapping[str, ConnectionConfig], built: Mapping[str, Provider]) -> list[Provider]:
        """`built` is now in service. Returns the providers that no longer are; close them when nobody uses them any
        more.

        Pools that are no longer needed accept no new exchange; running ones end normally.
        """
        retired = [provider for name, (_, provider) in self._present.items() if built.get(name) is not provider]
        self._present = {name: (connections[name], provider) for name, provider in built.items()}
        wanted = {_pool_key(name, config) for name, config in connections.items() if config.api_base}
        for key in self._pools.keys() - wanted:
            self._pools.pop(key).retire()
        return retired

    def changed(self, built: Mapping[str, Provider]) -> set[str]:
        """Names in `built` that are not the provider in service."""
        present = self._present
        return {name for name, p in built.items() if name not in present or present[name][1] is not p}

    def sweep(self) -> None:
        """Close idle sockets past their time."""
        for pool in tuple(self._pools.values()):  # a reload may be creating one in its thread
            pool.sweep()

    async def aclose(self) -> None:
        """Close everything."""
        for _, provider in self._present.values():
            await provider.aclose()
        for pool in self._pools.values():
            pool.close()
        await self.lessons.aclose()
        self.watch.close()

    def _pool(self, name: str, config: ConnectionConfig) -> Pool:
        key = _pool_key(name, config)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(name, key[1], self.watch, self._loop)
        return pool

    # Imported only if used: each of these imports its translator.
    def _make(self, name: str, config: ConnectionConfig) -> Provider:
        if config.api_type == "echo":
            from openai_proxy.upstream.echo import EchoProvider

            return EchoProvider(name)
        if config.api_type == "local":
            from openai_proxy.upstream.local.provider import LocalProvider

            return LocalProvider(
                name, path=config.path, function=config.callable, search=self._config_dir, model=config.model,
                first_byte=config.timeout.first_byte, idle=config.timeout.idle,
            )  # fmt: skip
        lessons = self.lessons.of(name, config.api_base or "")
        plain = OpenAIProvider(config, self._pool(name, config), lessons)
        if config.api_type == "anthropic":
            from openai_proxy.upstream.anthropic import AnthropicProvider

            return AnthropicProvider(
                name, plain.send_as_is, keys=config.api_keys, forward_auth=config.forward_auth, lessons=lessons
            )
        if config.api_type == "ollama":
            from openai_proxy.upstream.ollama import OllamaProvider

            return OllamaProvider(
                name, plain.send_as_is, keys=config.api_keys, options=config.options, keep_alive=config.keep_alive,
                lessons=lessons,
            )  # fmt: skip
        if config.api_type == "google":
            from openai_proxy.upstream.google import GoogleProvider

            return GoogleProvider(name, plain.send_as_is, keys=config.api_keys, lessons=lessons)
        return plain


def _pool_key(name: str, config: ConnectionConfig) -> Key:
    return name, Origin.parse(config.api_base or "", config.proxy, config.ca_file)
