"""Maximum lengths of the names that clients choose. Longer ones are refused on arrival.

Names become metric labels, rows of usage, parts of log lines and file names, and cache keys: bounded here, they need no
bounds there.
"""

from typing import Any, Final

from openai_proxy.errors import BadRequest

MAX_MODEL_NAME: Final = 256  # bytes; the longest ids of OpenRouter and Hugging Face have about 100
MAX_SESSION_ID: Final = 256
MAX_USER: Final = 512  # Claude Code puts 150 bytes of JSON into it; OpenAI allows 512 for a metadata value
MAX_TOOL_NAME: Final = 128  # OpenAI and Google allow 64, Anthropic 128
MAX_HEAD: Final = 32 * 1024  # bytes of a request's head including its first line: Apache's 8 KiB times 4


def check_model(name: str) -> None:
    """Raise BadRequest for what cannot be a model's name."""
    if longer(name, MAX_MODEL_NAME):
        raise BadRequest(
            f"The model's name is longer than {MAX_MODEL_NAME} bytes.", param="model", code="model_name_too_long"
        )
    if not name.isascii() and not is_text(name):
        raise BadRequest("The model's name is not valid text.", param="model", code="invalid_model")


def is_text(name: str) -> bool:
    """False for a lone surrogate ("\\ud83d"), which no answer, log or label could hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def requested_model(document: dict[str, Any]) -> str | None:
    """The `model` member of a request. Raises BadRequest if it is not a string, or too long."""
    model = document.get("model")
    if model is None:
        return None
    if isinstance(model, str):
        check_model(model)
        return model or None
    raise BadRequest("The model must be a string.", param="model")


def check_session(name: str | None) -> None:
    """Raise BadRequest for a session id that is too long."""
    if name is not None and longer(name, MAX_SESSION_ID):
        raise BadRequest(f"The session id is longer than {MAX_SESSION_ID} bytes.", code="session_id_too_long")


def check_names(document: dict[str, Any]) -> None:
    """Raise BadRequest if a request's JSON document has a user, session or tool name that is too long."""
    user = document.get("user")
    if type(user) is str and longer(user, MAX_USER):
        raise _user_too_long("user")
    if "metadata" in document and type(metadata := document["metadata"]) is dict:
        session, user = metadata.get("session_id"), metadata.get("user_id")
        if type(session) is str:
            check_session(session)
        if type(user) is str and longer(user, MAX_USER):
            raise _user_too_long("metadata.user_id")
    if "tools" in document and type(tools := document["tools"]) is list:
        for index, tool in enumerate(tools):
            if type(tool) is dict:
                inner = tool.get("function")
                name = inner.get("name") if type(inner) is dict else tool.get("name")
                if type(name) is str and longer(name, MAX_TOOL_NAME):
                    raise BadRequest(
                        f"A tool's name is longer than {MAX_TOOL_NAME} bytes.",
                        param=f"tools[{index}]",
                        code="tool_name_too_long",
                    )


def user_of(document: dict[str, Any]) -> str | None:
    """The end user that a request's JSON document names, as OpenAI or Anthropic do; None if it names none."""
    user = document.get("user")
    if user is None and "metadata" in document and type(metadata := document["metadata"]) is dict:
        user = metadata.get("user_id")
    if type(user) is int:
        return str(user)
    return user if type(user) is str and user else None


def _user_too_long(param: str) -> BadRequest:
    return BadRequest(f"'{param}' is longer than {MAX_USER} bytes.", param=param, code="user_too_long")


def longer(text: str, limit: int) -> bool:
    """True if `text` has more than `limit` bytes in UTF-8."""
    size = len(text)
    return size * 4 > limit and (size > limit or len(text.encode("utf-8", "surrogatepass")) > limit)
