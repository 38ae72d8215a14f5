"""The wire formats of the APIs we speak, one folder each, without I/O.

Every format is translated to and from one pivot: the documents and chunks of OpenAI's chat completions. `base.py` says
what a dialect does; `DIALECTS` is the list of them. A new one is a folder and a row.
"""

from importlib import import_module
from typing import Final

from openai_proxy.dialects.base import ClientDialect, Dialect

DIALECTS: Final[dict[str, str]] = {
    "chat": "openai_proxy.dialects.chat.dialect",
    "messages": "openai_proxy.dialects.messages.dialect",
    "responses": "openai_proxy.dialects.responses.dialect",
    "ollama": "openai_proxy.dialects.ollama.dialect",
}
"""Name of a dialect -> the module that holds its `DIALECT`; imported when it is first needed."""

CLIENT_DIALECTS: Final[dict[str, str]] = {**DIALECTS, "gemini": "openai_proxy.dialects.gemini.dialect"}
"""The same, with those that only clients speak to us."""

_loaded: dict[str, Dialect] = {}
_loaded_for_clients: dict[str, ClientDialect] = {}


def dialect(name: str) -> Dialect:
    """The dialect called `name`, a key of `DIALECTS`. Raises KeyError."""
    found = _loaded.get(name)
    if found is None:
        found = _loaded[name] = import_module(DIALECTS[name]).DIALECT
    return found


def client_dialect(name: str) -> ClientDialect:
    """The dialect called `name`, a key of `CLIENT_DIALECTS`, as clients speak it. Raises KeyError."""
    found = _loaded_for_clients.get(name)
    if found is None:
        found = _loaded_for_clients[name] = import_module(CLIENT_DIALECTS[name]).DIALECT
    return found
