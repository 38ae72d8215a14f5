"""The wire formats of the APIs we speak, one folder each, without I/O.

Every format is translated to and from one pivot: the documents and chunks of OpenAI's chat completions. `base.py` says
what a dialect does; `DIALECTS` is the list of them. A new one is a folder and a row.
"""

from importlib import import_module
from typing import Final

from openai_proxy.dialects.base import Dialect

DIALECTS: Final[dict[str, str]] = {
    "chat": "openai_proxy.dialects.chat.dialect",
    "messages": "openai_proxy.dialects.messages.dialect",
    "responses": "openai_proxy.dialects.responses.dialect",
    "ollama": "openai_proxy.dialects.ollama",
}
"""Name of a dialect -> the module that holds its `DIALECT`; imported when it is first needed."""

_loaded: dict[str, Dialect] = {}


def dialect(name: str) -> Dialect:
    """The dialect called `name`, a key of `DIALECTS`. Raises KeyError."""
    found = _loaded.get(name)
    if found is None:
        found = _loaded[name] = import_module(DIALECTS[name]).DIALECT
    return found
