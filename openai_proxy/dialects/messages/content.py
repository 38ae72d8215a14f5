"""Content parts of chat messages as Messages content blocks."""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.media import data_url, text_of
from openai_proxy.dialects.messages.tables import THINKING_FORMAT
from openai_proxy.errors import BadRequest

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_NATIVE: Final = frozenset(
    {"image", "document", "search_result", "tool_result", "tool_use", "thinking", "redacted_thinking",
     "container_upload"}
)  # fmt: skip

_CALL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")


def blocks(content: Any, param: str) -> list[dict[str, Any]]:
    """The blocks of a message's `content`; empty texts are omitted, as the API refuses them. BadRequest: `param`."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if not isinstance(content, list):
        raise BadRequest("A message's content must be a text or a list of parts.", param=param)
    made = []
    for index, part in enumerate(content):
        block = _block(part, f"{param}[{index}]")
        if block is not None:
            made.append(block)
    return made


def _block(part: Any, param: str) -> dict[str, Any] | None:
    if isinstance(part, str):
        return {"type": "text", "text": part} if part.strip() else None
    if not isinstance(part, dict):
        raise BadRequest("A content part must be an object.", param=param)
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get("text") if kind == "text" else part.get("refusal")
        block: dict[str, Any] | None = (
            {"type": "text", "text": text} if isinstance(text, str) and text.strip() else None
        )
        if block is not None and part.get("citations"):
            block["citations"] = part["citations"]
    elif kind == "image_url":
        block = {"type": "image", "source": _image_source(part.get("image_url"), param)}
    elif kind == "file":
        block = _document(part.get("file"), param)
    elif kind in _NATIVE:
        return part  # already an Anthropic block, from a client that knows which provider it uses
    elif kind == "input_audio":
        raise BadRequest("This provider does not accept audio.", param=param, code="unsupported_content")
    else:
        raise BadRequest("This provider does not accept this kind of content.", param=param, code="unsupported_content")
    if block is not None and part.get("cache_control"):
        block["cache_control"] = part["cache_control"]
    return block


def _image_source(image: Any, param: str) -> dict[str, Any]:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str) or not url:
        raise BadRequest("An image needs a URL.", param=param)
    data = data_url(url)
    if data is None:
        return {"type": "url", "url": url}
    if data[0] not in _IMAGES:
        raise BadRequest(
            "This provider accepts JPEG, PNG, GIF and WebP images.", param=param, code="unsupported_content"
        )
    return {"type": "base64", "media_type": data[0], "data": data[1]}


def _document(file: Any, param: str) -> dict[str, Any]:
    if not isinstance(file, dict):
        raise BadRequest("A file part needs a file.", param=param)
    block: dict[str, Any] = {"type": "document"}
    if isinstance(file.get("file_id"), str):
        block["source"] = {"type": "file", "file_id": file["file_id"]}
    elif isinstance(file.get("file_data"), str):
        data = data_url(file["file_data"]) or ("application/pdf", file["file_data"])
        if data[0] == "text/plain":
            block["source"] = {"type": "text", "media_type": "text/plain", "data": _decoded(data[1], param)}
        elif data[0] == "application/pdf":
            block["source"] = {"type": "base64", "media_type": data[0], "data": data[1]}
        else:
            raise BadRequest("This provider accepts PDF and plain text files.", param=param, code="unsupported_content")
    else:
        raise BadRequest("A file part needs file_data or file_id.", param=param)
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def _decoded(data: str, param: str) -> str:
    try:
        return text_of(data)
    except ValueError:
        raise BadRequest("The file's data is not base64 of UTF-8 text.", param=param) from None


def thinking_blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The thinking of an assistant message, as signed blocks.

    It is in `reasoning_details`, complete or in streamed pieces: entries with the same `index` form one block. Thinking
    without a signature is omitted, since the API refuses it.
    """
    details = message.get("reasoning_details")
    made: dict[Any, dict[str, Any]] = {}
    for position, detail in enumerate(details if isinstance(details, list) else ()):
        if not isinstance(detail, dict) or not is_claudes(detail):
            continue
        kind = detail.get("type")
        index = detail.get("index", ("at", position))
        if kind == "reasoning.encrypted" and isinstance(detail.get("data"), str):
            made[index] = {"type": "redacted_thinking", "data": detail["data"]}
        elif kind == "reasoning.text":
            block = made.setdefault(index, {"type": "thinking", "thinking": [], "signature": ""})
            if block["type"] == "thinking":
                block["thinking"].append(detail.get("text") or "")
                block["signature"] = detail.get("signature") or block["signature"]
    for block in made.values():
        if block["type"] == "thinking":
            block["thinking"] = "".join(block["thinking"])
    return [block for block in made.values() if block["type"] == "redacted_thinking" or block["signature"]]


def other_details(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `reasoning_details` of an assistant message that are not Anthropic's."""
    details = message.get("reasoning_details")
    return [d for d in details if isinstance(d, dict) and not is_claudes(d)] if isinstance(details, list) else []


def is_claudes(detail: Mapping[str, Any]) -> bool:
    """True for an entry of `reasoning_details` that Claude wrote; only its first piece has a `format`.

    Clients that concatenate repeated texts turn it into "anthropic-claude-v1anthropic-claude-v1".
    """
    return str(detail.get("format") or THINKING_FORMAT).startswith(THINKING_FORMAT)


def call_id(given: object) -> str:
    """A valid id for a call and its result: `[A-Za-z0-9_-]+`. The same every time."""
    text = str(given)
    if _CALL_ID.fullmatch(text):
        return text
    return f"toolu_{blake2b(text.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"


def tool_input(arguments: Any, param: str) -> dict[str, Any]:
    """A tool call's `arguments`, JSON text, as the object of a tool_use block. Raises BadRequest if it is not one."""
    value = json_text.object_in(arguments)
    if value is None:
        raise BadRequest("A tool call's arguments must be a JSON object.", param=param)
    return value
