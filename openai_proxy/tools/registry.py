"""The API for conf/tools/*.py: `ToolHandler`, `register_handler`, `tool`.

A context variable passes a registration to the code that loads the file. There is no global table, so two generations
never see each other's handlers, nor those of a file that fails halfway.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeVar, overload

from openai_proxy.tools.handler import Handler, ToolFailure
from openai_proxy.tools.schema import definition_fault

__all__ = ["ToolFailure", "ToolHandler", "collecting", "make_handler", "register_handler", "tool"]

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H")

collecting: Final[ContextVar[list[Handler] | None]] = ContextVar("handlers of the file being loaded", default=None)

ANYTHING: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


class ToolHandler(ABC):
    """A tool as a class: `name` and `execute`; `description` and `parameters` (JSON Schema) are for the model.

    Without `description` the class's docstring is used. If a handler raises `ToolFailure("…")`, the model gets its text
    unchanged.
    """

    description: str | None = None
    parameters: Mapping[str, Any] | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """The tool's name: 1 to 64 letters, digits, _ and -."""

    @abstractmethod
    async def execute(self, arguments: dict[str, Any]) -> str:
        """Run the tool with checked arguments; the model gets the result."""


def register_handler(*parts: H) -> H:
    """Offer a handler: `register_handler(MyHandler())`, `register_handler(MyHandler)`, or as a class decorator.

    A name can be given as well (`register_handler("name", handler)`). When conf/tools is not being loaded it does
    nothing, so a file can also be run or tested alone. Raises TypeError for what is not a handler.
    """
    names = [part for part in parts if isinstance(part, str)]
    others = [part for part in parts if not isinstance(part, str)]
    if len(others) != 1 or len(names) > 1:
        raise TypeError("register_handler takes one handler, and at most a name")
    given = others[0]
    handler: Any = given() if inspect.isclass(given) else given
    execute = getattr(handler, "execute", None)
    if callable(execute):
        name = names[0] if names else handler.name
        definition = getattr(handler, "definition", None)
        if not isinstance(definition, Mapping):
            own_words = inspect.getdoc(type(handler)) if type(handler).__doc__ else None
            definition = _definition(
                name, getattr(handler, "description", None) or own_words, getattr(handler, "parameters", None)
            )
        _register(make_handler(name, definition, execute))
    elif callable(handler):
        _register(_from_function(handler, names[0] if names else None, None))
    else:
        raise TypeError(f"{type(handler).__name__} has no execute(arguments)")
    return given


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, name: str | None = None, description: str | None = None) -> Callable[[F], F]: ...
def tool(function: F | None = None, /, *, name: str | None = None, description: str | None = None) -> Any:
    """Offer a function, sync or async: `@tool` or `@tool(name="…", description="…")`.

    The schema is derived from its signature (types, Literal, Optional, dataclasses, Annotated with a description) and
    its docstring (first paragraphs, and the section on arguments). Raises TypeError for a signature without a
    schema.
    """

    def decorate(decorated: F) -> F:
        if not callable(decorated):
            raise TypeError("@tool must be used on a function")
        _register(_from_function(decorated, name, description))
        return decorated

    return decorate if function is None else decorate(function)


def make_handler(name: object, definition: Mapping[str, Any], run: Callable[[dict[str, Any]], object]) -> Handler:
    """A checked handler. Raises TypeError with what is wrong."""
    if not isinstance(name, str):
        raise TypeError("a tool's name must be text")
    if (fault := definition_fault(definition)) is not None:
        raise TypeError(fault)
    if definition["function"]["name"] != name:
        raise TypeError(f"the handler is called {name!r}, but its definition {definition['function']['name']!r}")
    return Handler(name, dict(definition), run, is_async=inspect.iscoroutinefunction(run))


def _from_function(function: Callable[..., Any], name: str | None, description: str | None) -> Handler:
    # pydantic is needed only if @tool is used
    from openai_proxy.tools.signature import Signature

    signature = Signature(function)
    called = name or getattr(function, "__name__", "")
    definition = _definition(called, description or signature.description, signature.parameters)
    if inspect.iscoroutinefunction(function):

        async def run_async(arguments: dict[str, Any]) -> object:
            return await signature.call(arguments)

        return make_handler(called, definition, run_async)
    return make_handler(called, definition, signature.call)


def _definition(name: object, description: object, parameters: object) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name, "parameters": dict(ANYTHING) if parameters is None else parameters}
    if description:
        function["description"] = description
    return {"type": "function", "function": function}


def _register(handler: Handler) -> None:
    handlers = collecting.get()
    if handlers is not None:
        handlers.append(handler)
