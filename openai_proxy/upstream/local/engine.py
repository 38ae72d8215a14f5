"""The interface between the worker and the two kinds of local model: request, answer, refusal."""

import threading
from collections.abc import Iterator
from typing import Any, Protocol


class EngineRefused(Exception):
    """A request that the model cannot serve, with the text for the caller."""

    def __init__(self, message: str, *, status: int = 400, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Run(Protocol):
    """One running answer. The numbers are valid after its last piece."""

    @property
    def finish_reason(self) -> str:
        """`stop` or `length`."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the conversation."""
        ...

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer."""
        ...

    def __iter__(self) -> Iterator[str | dict[str, Any]]:
        """Pieces of text, or deltas of a chat chunk. May raise EngineRefused."""
        ...


class Engine(Protocol):
    """Answers requests: model.Model or function.Function."""

    def run(self, body: dict[str, Any], cancelled: threading.Event) -> Run:
        """Start to answer `body`; ends soon after `cancelled` is set."""
        ...
