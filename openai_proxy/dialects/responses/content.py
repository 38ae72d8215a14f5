"""Content parts of Responses items and chat messages, converted both ways."""

from typing import Any, Final

from openai_proxy.errors import BadRequest

_TEXT: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_FILE_MEMBERS: Final = ("filename", "file_data", "file_id")


def user_content(content: Any, param: str) -> Any:
    """The `content` of a chat user message: a text, or a list of parts if there is more. Raises BadRequest."""
    if isinstance(content, str):
        return content
    parts = _parts(content, param)
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def text_and_parts(content: Any, param: str) -> tuple[str, list[dict[str, Any]]]:
    """(text, other parts in chat form) of a `content`. BadRequest: `param`."""
    if isinstance(content, str):
        return content, []
    parts = _parts(content, param)
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n\n".join(texts), [part for part in parts if part["type"] != "text"]


def _parts(content: Any, param: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise BadRequest("A content must be a text or a list of parts.", param=param)
    return [_part(part, f"{param}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, param: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict):
        raise BadRequest("A content part must be an object.", param=param)
    kind = part.get("type")
    if kind in _TEXT:
        if not isinstance(part.get("text"), str):
            raise BadRequest("A text part needs a text.", param=f"{param}.text")
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "text", "text": str(part.get("refusal") or "")}
    if kind == "input_image":
        return _image(part, param)
    if kind == "input_file":
        return _file(part, param)
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    raise BadRequest(
        f"Content of the type {str(kind)[:64]!r} is not understood.", param=param, code="unsupported_content"
    )


def _image(part: dict[str, Any], param: str) -> dict[str, Any]:
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    if not isinstance(url, str) or not url:
        raise BadRequest(
            "An image must be a URL or a data: URL: files are not stored here.",
            param=f"{param}.image_url", code="unsupported_content",
        )  # fmt: skip
    image: dict[str, Any] = {"url": url}
    if part.get("detail"):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: dict[str, Any], param: str) -> dict[str, Any]:
    file = {name: part[name] for name in _FILE_MEMBERS if isinstance(part.get(name), str)}
    if "file_data" not in file and "file_id" not in file:
        raise BadRequest(
            "A file must be data or an id: it is not fetched from an address.",
            param=f"{param}.file_data", code="unsupported_content",
        )  # fmt: skip
    return {"type": "file", "file": file}


def input_content(content: Any, param: str) -> Any:
    """The `content` of a message, or `output` of a call, from a chat message's. Raises BadRequest."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest("A message's content must be a text or a list of parts.", param=param)
    return [_input_part(part, f"{param}[{index}]") for index, part in enumerate(content)]


def _input_part(part: Any, param: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    kind = part.get("type") if isinstance(part, dict) else None
    made: dict[str, Any] | None = None
    if kind == "text":
        made = {"type": "input_text", "text": str(part.get("text") or "")}
    elif kind == "refusal":
        made = {"type": "input_text", "text": str(part.get("refusal") or "")}
    elif kind == "image_url":
        image = part.get("image_url")
        image = image if isinstance(image, dict) else {"url": image}
        made = {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail") or "auto"}
    elif kind == "file" and isinstance(part.get("file"), dict):
        made = {"type": "input_file", **{n: part["file"][n] for n in _FILE_MEMBERS if part["file"].get(n) is not None}}
    elif kind in ("input_text", "input_image", "input_file"):
        return dict(part)  # from a client that knows which provider it uses
    if made is None:
        raise BadRequest("This provider does not accept this kind of content.", param=param, code="unsupported_content")
    if part.get("prompt_cache_breakpoint") is not None:
        made["prompt_cache_breakpoint"] = part["prompt_cache_breakpoint"]
    return made
