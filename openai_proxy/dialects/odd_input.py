"""Answers unexpected types in a client's request that no check has caught with a 400 rather than a 500."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from openai_proxy.errors import BadRequest, ProxyError

Read = TypeVar("Read")

_ODD: Final = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What reading a member of an unexpected type may raise."""
_LONG: Final = frozenset({"messages", "input", "contents", "requests"})
"""Members that may have megabytes: their lists are cut to one entry while another member is tested."""
_MOST: Final = 64  # members that are tested


def understood(read: Callable[[dict[str, Any]], Read], document: dict[str, Any]) -> Read:
    """The result of `read` for `document`. Raises BadRequest, with the member's name, if one has an unexpected type."""
    try:
        return read(document)
    except RecursionError:
        raise BadRequest("The request is nested too deeply.") from None
    except _ODD:
        name = _odd_member(read, document)
    if name is None:
        raise BadRequest("The request is not understood: a member has the wrong type.") from None
    raise BadRequest(f"'{name}' is not understood: it, or something in it, has the wrong type.", param=name) from None


def _odd_member(read: Callable[[dict[str, Any]], Any], document: dict[str, Any]) -> str | None:
    """The member without which `document` can be read, or at least gets a specific error."""
    short = {
        name: value[:1] if name in _LONG and isinstance(value, list) else value for name, value in document.items()
    }
    if _outcome(read, short) is not _ODD:
        return next((name for name in document if name in _LONG), None)
    refused = missed = None
    for name in sorted(list(document)[:_MOST], key=_LONG.__contains__):
        outcome = _outcome(read, {other: value for other, value in short.items() if other != name})
        if outcome is None:
            return name
        if isinstance(outcome, ProxyError) and outcome.param == name:
            missed = name
        elif isinstance(outcome, ProxyError):
            refused = refused or name
    return refused or missed


def _outcome(read: Callable[[dict[str, Any]], Any], document: dict[str, Any]) -> Any:
    """None if `document` can be read, the error if it is refused, _ODD if it has a member of an unexpected type."""
    try:
        read(document)
    except ProxyError as refusal:
        return refusal
    except (*_ODD, RecursionError):
        return _ODD
    return None


def with_member(error: Mapping[str, Any]) -> Any:
    """The message of the chat API's error object including the member's name, for APIs without a place for it."""
    message, param = error.get("message"), error.get("param")
    if not isinstance(message, str) or not isinstance(param, str) or param in message:
        return message
    return f"{param}: {message}"


def in_own_format(error: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The chat API's error object with the member renamed as in its client's API (`names`).

    Indices within a list of messages are dropped, because an API with another name for the list also counts
    differently.
    """
    param, message = error.get("param"), error.get("message")
    own = names.get(param.partition("[")[0]) if isinstance(param, str) else None
    if own is None:
        return dict(error)
    translated = {**error, "param": own}
    if isinstance(message, str):
        translated["message"] = message.replace(f"'{str(param).partition('[')[0]}'", f"'{own}'")
    return translated
