"""A user's own inference function, in the child: called with `messages` and the parameters.

It may be a plain function that returns the text, a generator of pieces, or async versions of either; a piece is text or
the delta of a chat chunk (`{"tool_calls": […]}`, `{"reasoning_content": …}`). It gets the parameters that it names, or
all of them with `**parameters`.
"""

import asyncio
import importlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from openai_proxy.upstream.local.engine import EngineRefused, Run

_NOT_PARAMETERS = frozenset({"messages", "stream", "stream_options"})


class Function:
    """The function at the dotted name `module.function`."""

    def __init__(self, dotted: str) -> None:
        module_name, _, name = dotted.rpartition(".")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and module_name.startswith(error.name):
                raise EngineRefused(
                    f"There is no module '{module_name}'.", status=503, code="callable_not_found"
                ) from None
            raise
        except ValueError:
            raise EngineRefused(
                "A callable is written as module.function.", status=503, code="callable_not_found"
            ) from None
        function = getattr(module, name, None)
        if not callable(function):
            raise EngineRefused(f"There is no function '{dotted}'.", status=503, code="callable_not_found")
        self._function: Callable[..., Any] = function

    def run(self, body: dict[str, Any], cancelled: threading.Event) -> Run:
        """See worker.Engine."""
        parameters = {name: value for name, value in body.items() if name not in _NOT_PARAMETERS}
        signature = inspect.signature(self._function)
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()):
            parameters = {name: value for name, value in parameters.items() if name in signature.parameters}
        messages = body.get("messages") or []
        return _FunctionRun(lambda: self._function(messages, **parameters), messages, cancelled)


class _FunctionRun:
    """One call. Tokens are estimated: a token has about four characters."""

    def __init__(self, call: Callable[[], Any], messages: list[Any], cancelled: threading.Event) -> None:
        self._call = call
        self._cancelled = cancelled
        self._characters = 0
        self.finish_reason = "stop"
        self.prompt_tokens = -(-sum(_length(message.get("content")) for message in messages) // 4)

    @property
    def completion_tokens(self) -> int:
        """The approximate number of tokens."""
        return -(-self._characters // 4)

    def __iter__(self) -> Iterator[str | dict[str, Any]]:
        for piece in self._pieces():
            if self._cancelled.is_set():
                return
            if not isinstance(piece, (str, dict)):
                raise TypeError(f"the function gave a {type(piece).__name__}, not a text or a delta")
            self._characters += _length(piece if isinstance(piece, str) else piece.get("content"))
            yield piece

    def _pieces(self) -> Iterator[Any]:
        result = self._call()
        if inspect.isasyncgen(result) or isinstance(result, AsyncIterator):
            yield from self._driven(result)
        elif inspect.isawaitable(result):
            yield from _several(asyncio.run(_awaited(result)))
        else:
            yield from _several(result)

    def _driven(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        """An async generator's pieces, as they arrive."""
        with asyncio.Runner() as runner:
            try:
                while True:
                    try:
                        piece = runner.run(_next(source))
                    except StopAsyncIteration:
                        return
                    yield piece
            finally:
                close = getattr(source, "aclose", None)
                if close is not None:
                    runner.run(close())


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source)


async def _awaited(result: Any) -> Any:
    return await result


def _several(result: Any) -> Iterator[Any]:
    """A text is one piece; a list or generator yields its own."""
    if isinstance(result, (str, dict)):
        yield result
    elif hasattr(result, "__iter__"):
        yield from result
    else:
        yield result


def _length(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    parts = content if isinstance(content, list) else ()
    return sum(len(part.get("text") or "") for part in parts if isinstance(part, dict))
