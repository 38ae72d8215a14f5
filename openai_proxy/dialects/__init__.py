"""The wire formats of the supported APIs, one folder each, without I/O.

Every format is translated to and from one pivot: the documents and chunks of OpenAI's chat completions. `base.py`
defines what a dialect does; `DIALECTS` lists them. A new dialect is a folder and a row.
"""

from functools import cache
from importlib import import_module
from typing import Any, Final

from openai_proxy.dialects.base import ClientDialect, Dialect

DIALECTS: Final[dict[str, str]] = {
    "chat": "openai_proxy.dialects.chat.dialect",
    "messages": "openai_proxy.dialects.messages.dialect",
    "responses": "openai_proxy.dialects.responses.dialect",
    "ollama": "openai_proxy.dialects.ollama.dialect",
}
"""Name of a dialect -> the module with its `DIALECT`; imported when first needed."""

CLIENT_DIALECTS: Final[dict[str, str]] = {**DIALECTS, "gemini": "openai_proxy.dialects.gemini.dialect"}
"""The same, including those that only clients use."""


@cache
def _load(module: str) -> Any:
    return import_module(module).DIALECT


def dialect(name: str) -> Dialect:
    """The dialect called `name`, a key of `DIALECTS`. Raises KeyError."""
    found: Dialect = _load(DIALECTS[name])
    return found


def client_dialect(name: str) -> ClientDialect:
    """The client side of the dialect called `name`, a key of `CLIENT_DIALECTS`. Raises KeyError."""
    found: ClientDialect = _load(CLIENT_DIALECTS[name])
    return found
