"""The proxy inside another aiohttp program.

    from aiohttp import web
    import openai_proxy

    app = openai_proxy.build_app("conf")                     # everything the daemon serves, as an aiohttp application
    web.run_app(app, port=8000, handler_cancellation=True)

    house = web.Application()                                # or below a path of a program of your own
    house.add_subapp("/llm", openai_proxy.build_app("conf", prefix="/llm", tools=[MyHandler()], validator=check))

What the daemon has besides: sockets of its own, the control socket, signals, and the splice that copies pass-through
bytes from socket to socket. `handler_cancellation=True` lets a client that leaves end its request upstream at once.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from openai_proxy.pipeline.dispatch import Dispatcher
from openai_proxy.pipeline.warm_schedule import keep_warm
from openai_proxy.runtime.prepare import adopt, make, prepare_first
from openai_proxy.runtime.reload import Reloads
from openai_proxy.runtime.state import ProxyState, Settings
from openai_proxy.runtime.watcher import Watcher
from openai_proxy.tasks import cancel, spawn

SWEEP = 5.0  # seconds between two looks at idle upstream sockets

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
    `command_prefix` …). `tools` are handlers (`ToolHandler`s or plain functions) besides those of conf/tools;
    `validator` stands for `check_api_key`; `loggers` are objects with `write(row)`, or functions. With `watch` edits
    take effect by themselves. Starting the application raises ConfigError where proxy.yaml cannot be served.
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
        adopt(state, await loop.run_in_executor(None, make, state, prepared))
        for logger in loggers:
            state.records.feeds.add(logger)
        reloads = state.reloads = Reloads(state, prepared.tree, None)
        watcher = Watcher(loop, lambda: reloads.roots, reloads.noticed) if watch else None
        if watcher is not None:
            watcher.start()
            reloads.remote = watcher.polling
        helpers = [spawn(_sweep(state), name="sweep"), spawn(keep_warm(state), name="keep models warm")]
        yield
        if watcher is not None:
            watcher.stop()
        state.draining = True
        await cancel(*helpers)
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


async def _sweep(state: ProxyState) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        state.sweep()
