"""The proxy inside another aiohttp program.

    from aiohttp import web
    import openai_proxy

    app = openai_proxy.build_app("conf")                     # everything the daemon serves, as an aiohttp application
    web.run_app(app, port=8000, handler_cancellation=True)

    app = web.Application()                                  # or below a path of your own program
    app.add_subapp("/llm", openai_proxy.build_app("conf", prefix="/llm", tools=[MyHandler()], validator=check))

Only the daemon has its own sockets, the control socket, signals, and the fast path that copies pass-through bytes from
socket to socket. With `handler_cancellation=True` a client that disconnects ends its upstream request at once.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from openai_proxy.pipeline.dispatch import Dispatcher
from openai_proxy.runtime.prepare import prepare_first
from openai_proxy.runtime.state import ProxyState, Settings
from openai_proxy.upkeep import Upkeep, put_into_service

STATE: web.AppKey[ProxyState] = web.AppKey("openai_proxy", ProxyState)


def build_app(
    config_dir: str | os.PathLike[str] = "conf",
    *,
    env_file: str | os.PathLike[str] | None = ".env",
    logs_dir: str | os.PathLike[str] = "logs",
    state_dir: str | os.PathLike[str] | None = None,
    prefix: str = "",
    settings: Mapping[str, object] | None = None,
    tools: Iterable[Any] = (),
    validator: Callable[[str], Any] | None = None,
    loggers: Iterable[Any] = (),
    watch: bool = True,
) -> web.Application:
    """An application that serves the configuration in `config_dir`.

    `prefix` is the path it is mounted below. `settings` are flags over the files, as `serve` takes them (`backend`,
    `command_prefix` …). `tools` are handlers (`ToolHandler`s or plain functions) in addition to those of conf/tools;
    `validator` replaces `check_api_key`; `loggers` are objects with `write(row)`, or functions. With `watch` edits take
    effect automatically. Starting the application raises ConfigError if proxy.yaml cannot be served.
    """
    root = Path(config_dir)
    made = Settings(
        config_dir=root,
        env_file=Path(env_file) if env_file is not None else None,
        logs_dir=Path(logs_dir),
        state_dir=Path(state_dir) if state_dir is not None else root.absolute().parent / ".state",
        flags=dict(settings or {}),
        tools=_handlers(tools),
        validator=validator,
    )
    app = web.Application()

    async def serve(request: web.Request) -> web.StreamResponse:
        return await Dispatcher(request.config_dict[STATE], prefix=prefix.rstrip("/"))(request)

    async def live(running: web.Application) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(None, prepare_first, made)
        state = running[STATE] = ProxyState(made, loop)
        await put_into_service(state, prepared, in_thread=True)
        for logger in loggers:
            state.records.feeds.add(logger)
        upkeep = Upkeep(state, prepared.tree)
        if watch:
            upkeep.watch()
        yield
        upkeep.stop_watching()
        state.draining = True
        await upkeep.aclose()
        await state.aclose()

    app.cleanup_ctx.append(live)
    app.router.add_route("*", "/{path:.*}", serve)
    return app


def _handlers(tools: Iterable[Any]) -> tuple[Any, ...]:
    given = list(tools)
    if not given:
        return ()
    from openai_proxy.tools.registry import collecting, register_handler, tool

    found: list[Any] = []
    token = collecting.set(found)
    try:
        for one in given:
            if hasattr(one, "execute"):
                register_handler(one)
            else:
                tool(one)
    finally:
        collecting.reset(token)
    return tuple(found)
